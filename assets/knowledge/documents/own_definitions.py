"""Contracts of sources and definitions of metrics as documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assets.knowledge.documents.document import Document
from assets.knowledge.documents.own_documents import CONTRACT, DEFINITION, Labels, lines, own, source_link
from assets.knowledge.platform import METRIC, TABLE

if TYPE_CHECKING:
    from assets.domains import Domain
    from assets.ingestion.spec import Rule, Source
    from assets.warehouse.manifest import Manifest
    from serving.semantics.catalogue import Catalogue, Metric

DOES = {
    "quarantine": "a row that fails is quarantined",
    "repair": "a row that fails is repaired",
    "note": "a failure is noted, and the row is published",
    "reject": "a failure rejects the whole drop",
}


def contracts(domain: Domain, labels: Labels | None = None) -> list[Document]:
    """One document a source: what it promises, and what happens when a promise is broken."""
    return [_contract(source, source.owner or domain.owner, labels) for source in domain.sources.values()]


def _contract(source: Source, owner: str, labels: Labels | None) -> Document:
    comes = "one file a month" if source.partitioned else "one file, which replaces the one before"
    return own(
        CONTRACT,
        source.name,
        f"Contract of {source.title}",
        {
            "": (
                f"{source.title} (source {source.name}): {source.description}\n\n"
                f"Owner: {owner}. It comes as {comes}, {source.file.format}. "
                f"A row is identified by {', '.join(source.key)}. A drop has {source.rows.min:,} to "
                f"{source.rows.max:,} rows; above a share of {source.max_quarantined_share:.1%} quarantined rows it is "
                f"rejected."
            ),
            "Columns": lines(f"{c.name} ({c.type}): {c.description or c.name}" for c in source.columns),
            "Rules": lines(_rule(rule) for rule in source.rules),
        },
        [source_link(source.name), *(source_link(name) for name in source.sources_read)],
        labels,
        {"owner": owner},
        f"sources/{source.name}.yaml",
    )


def _rule(rule: Rule) -> str:
    by = rule.expectation or (f"values of {rule.references.source}" if rule.references else f"{rule.in_period} in time")
    return f"{rule.name}: {rule.description}; {DOES[rule.action]} ({by})."


def metrics(manifest: Manifest, catalogue: Catalogue, labels: Labels | None = None) -> list[Document]:
    """One document a metric: what it counts, what it is made of, and by what it can be asked for."""
    return [_metric(metric, manifest, catalogue, labels) for metric in catalogue.metrics.values()]


def _metric(metric: Metric, manifest: Manifest, catalogue: Catalogue, labels: Labels | None) -> Document:
    better = metric.meta.get("better")
    names = sorted({d.label for d in metric.dimensions.values()})
    words = metric.meta.get("words")
    said = [str(w) for each in words.values() for w in each] if isinstance(words, dict) else []
    inputs = [catalogue.metrics[name].label if name in catalogue.metrics else name for name in metric.inputs]
    used = [other for other in catalogue.metrics.values() if metric.name in other.inputs]
    known = {**manifest.models, **manifest.served}
    tables = [known[name] for name in metric.models if name in known]
    text = f"{metric.label} (metric {metric.name}): {metric.description}\n\nIt is a {metric.kind} metric."
    text += f" It is made of {', '.join(inputs)}." if inputs else ""
    text += f" Made of it: {', '.join(other.label for other in used)}." if used else ""
    text += f" {better.capitalize()} is better." if better in ("higher", "lower") else ""
    text += f"\n\nIt is also called {', '.join(said)}." if said else ""
    return own(
        DEFINITION,
        metric.name,
        f"Metric {metric.label}",
        {
            "": text,
            "Dimensions": f"It can be grouped and filtered by {', '.join(names)}." if names else "",
            "Tables": lines(f"{table.name} ({table.layer}): {table.description}" for table in tables),
        },
        [(METRIC, metric.name), *((METRIC, n) for n in metric.inputs), *((TABLE, t.name) for t in tables)],
        labels,
        {"metric_kind": metric.kind},
        tables[0].path if tables else "",
    )
