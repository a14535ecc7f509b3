"""The asset of what the knowledge is to hold, with the checks that block it."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.domains import Domain
from assets.knowledge.keys import CONSISTENT, ELEMENTS, GROUP, POOL, SHAPED, TAKEN
from assets.knowledge.spec import GraphFile
from assets.metadata import table
from assets.warehouse.assets import model_key
from assets.warehouse.manifest import Manifest
from assets.warehouse.metrics import metric_key
from assets.warehouse.resources import WarehouseResource
from serving.semantics.catalogue import load_catalogue
from serving.settings import get_settings

LISTED = 50


def common(domain: Domain, graph: GraphFile, *kinds: str) -> dict[str, Any]:
    """What all assets of the knowledge share."""
    return {
        "owners": [graph.owner or domain.owner],
        "group_name": GROUP,
        "kinds": set(kinds),
        "tags": {"stage": "knowledge"},
        "pool": POOL,
    }


def elements_asset(domain: Domain, graph: GraphFile, manifest: Manifest) -> dg.AssetsDefinition:
    """Everything wanted, written aside when ontology and shapes hold."""
    metrics = load_catalogue(manifest.folder / "semantic_manifest.json").metrics
    served = set(manifest.served)
    read = [name for name, metric in metrics.items() if not served & set(metric.models)]

    @dg.asset(
        key=ELEMENTS,
        deps=[*(model_key(name) for name in graph.reads if name in manifest.models), *(metric_key(m) for m in read)],
        description=(
            "What the knowledge is to hold: things of the marts, the project's own tables, metrics, models and "
            "versions, documents cut into passages and linked to things, communities with their reports. It is written "
            "aside; no reader sees it yet."
        ),
        check_specs=[
            dg.AssetCheckSpec(
                CONSISTENT, asset=ELEMENTS, blocking=True,
                description="Every kind, relation and property is a term of the ontology, which contradicts nothing.",
            ),
            dg.AssetCheckSpec(
                SHAPED, asset=ELEMENTS, blocking=True, description="All things are of their SHACL shapes."
            ),
            dg.AssetCheckSpec(
                TAKEN, asset=ELEMENTS, description="Every dropped document was read whole; what was not is listed."
            ),
        ],
        **common(domain, graph, "rdf", "duckdb"),
    )  # fmt: skip
    def elements(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        import duckdb

        from assets.knowledge.build import gather, properties
        from assets.knowledge.ontology.shapes import violations
        from assets.knowledge.ontology.vocabulary import contradictions, undeclared, vocabulary
        from assets.knowledge.staged import keep

        settings = get_settings()
        words = vocabulary(domain.folder, graph)
        with duckdb.connect(str(warehouse.file), read_only=True) as connection:
            found = gather(domain, graph, manifest, settings, connection, context.log.info)
        parts = found.wanted.parts
        problems = [*undeclared(words, properties(parts)), *contradictions(words)]
        yield dg.AssetCheckResult(
            asset_key=ELEMENTS, check_name=CONSISTENT, passed=not problems,
            metadata={"triples": len(words.schema), "problems": table([{"problem": p} for p in problems[:LISTED]])},
        )  # fmt: skip
        wrong = violations(parts, words)
        yield dg.AssetCheckResult(
            asset_key=ELEMENTS, check_name=SHAPED, passed=not wrong,
            metadata={"violations": table([vars(v) for v in wrong[:LISTED]])},
        )  # fmt: skip
        lost = [p for p in found.problems if p.lost]
        listed = [*lost, *(p for p in found.problems if not p.lost)][:LISTED]
        yield dg.AssetCheckResult(
            asset_key=ELEMENTS, check_name=TAKEN, passed=not lost, severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "documents": len(found.documents), "not taken": len(lost), "notes": len(found.problems) - len(lost),
                "problems": table([{"file": p.file, "problem": p.message} for p in listed]),
            },
        )  # fmt: skip
        if problems or wrong:
            raise dg.Failure(
                f"the knowledge does not hold: {(problems or [f'{v.uid} {v.path}: {v.message}' for v in wrong])[0]}; "
                "what is published is untouched. See the failed check for all of it."
            )
        file = keep(found.wanted, settings)
        kinds = Counter(node.kind for node in found.wanted.nodes)
        predicates = Counter(one.predicate for one in found.wanted.relations)
        by_source = Counter((d.source, d.kind) for d in found.documents)
        links = [
            {
                "kind": kind, "resolved": found.resolved[kind], "unresolved": sum(names.values()),
                "most frequent": ", ".join(f"{n} ({c})" for n, c in names.most_common(5)),
            }
            for kind, names in found.unresolved.items()
        ]  # fmt: skip
        yield dg.MaterializeResult(
            asset_key=ELEMENTS,
            metadata={
                "version": found.wanted.version,
                **found.wanted.counts(),
                "kinds": table([{"kind": k, "nodes": n} for k, n in kinds.most_common()]),
                "relations_by_predicate": table([{"relation": k, "count": n} for k, n in predicates.most_common()]),
                "documents": table([{"source": s, "kind": k, "documents": n} for (s, k), n in by_source.most_common()]),
                "links": table(links),
                "labels": ", ".join(access or "(none)" for access in found.wanted.accesses),
                "path": dg.MetadataValue.path(str(file)),
            },
        )

    return elements
