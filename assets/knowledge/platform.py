"""The project itself in the graph: sources, tables, metrics, feature services, models, their versions and runs.

So "what feeds this metric, and which model uses it?" is a path of FEEDS and USES.
"""

from __future__ import annotations

from assets.domains import Domain
from assets.training.llm.spec import read_copilot
from assets.warehouse.manifest import Manifest
from serving.errors import ClearwayError
from serving.models.registry import Version, model_names, versions
from serving.models.spec import FeatureSource
from serving.retrieval.elements import Node, Part, Relation, Scalar
from serving.semantics.asking import COPILOT
from serving.semantics.catalogue import Catalogue
from serving.settings import Settings

SOURCE, TABLE, METRIC = "Source", "Table", "Metric"
FEATURES, MODEL, VERSION, RUN = "FeatureService", "Model", "ModelVersion", "Run"
FEEDS, USES, VERSION_OF, MADE_BY_RUN = "FEEDS", "USES", "VERSION_OF", "MADE_BY_RUN"
KINDS = (SOURCE, TABLE, METRIC, FEATURES, MODEL, VERSION, RUN)


def declared_parts(domain: Domain, manifest: Manifest, catalogue: Catalogue) -> list[Part]:
    """What is declared: sources, tables, metrics, models."""
    return [
        _sources(domain), _tables(domain, manifest), _metrics(catalogue), _models(domain, manifest, catalogue)
    ]  # fmt: skip


def _node(kind: str, ident: str, name: str, aliases: tuple[str, ...] = (), **properties: Scalar | None) -> Node:
    return Node(f"{kind}:{ident}", kind, name, {k: v for k, v in properties.items() if v is not None}, aliases)


def _sources(domain: Domain) -> Part:
    return Part(
        "platform/sources",
        tuple(
            _node(SOURCE, f"source.{s.name}", f"source {s.name}", description=s.description.strip(), owner=domain.owner)
            for s in domain.sources.values()
        ),
    )


def _tables(domain: Domain, manifest: Manifest) -> Part:
    every = {**manifest.models, **manifest.served}
    nodes, relations = [], []
    for name, model in every.items():
        nodes.append(
            _node(TABLE, name, f"table {name}", (name,), description=model.description, layer=model.layer,
                  materialized=model.materialized)
        )  # fmt: skip
        relations += [
            Relation(f"{SOURCE}:source.{source}", FEEDS, f"{TABLE}:{name}")
            for source in model.sources
            if source in domain.sources
        ]
        relations += [
            Relation(f"{TABLE}:{other}", FEEDS, f"{TABLE}:{name}") for other in model.models if other in every
        ]
    return Part("platform/tables", tuple(nodes), tuple(relations))


def _metrics(catalogue: Catalogue) -> Part:
    nodes, relations = [], []
    for name, metric in catalogue.metrics.items():
        words = tuple(str(word) for word in metric.meta.get("synonyms", ()) if isinstance(word, str))
        nodes.append(
            _node(METRIC, name, f"metric {metric.label.lower()}", (name, metric.label, *words), type=metric.kind,
                  description=metric.description)
        )  # fmt: skip
        relations += [Relation(f"{TABLE}:{table}", FEEDS, f"{METRIC}:{name}") for table in metric.models]
        relations += [
            Relation(f"{METRIC}:{other}", FEEDS, f"{METRIC}:{name}")
            for other in metric.inputs
            if other in catalogue.metrics
        ]
    return Part("platform/metrics", tuple(nodes), tuple({one.uid: one for one in relations}.values()))


def _models(domain: Domain, manifest: Manifest, catalogue: Catalogue) -> Part:
    nodes, relations = [], []
    tables = {**manifest.models, **manifest.served}
    for name, model in domain.models.items():
        nodes.append(
            _node(MODEL, name, f"model {name}", (name,), title=model.title, description=model.description.strip(),
                  owner=model.owner or domain.owner)
        )  # fmt: skip
        service = model.feature_service
        nodes.append(_node(FEATURES, service, f"feature service {service}", (service,)))
        relations.append(Relation(f"{MODEL}:{name}", USES, f"{FEATURES}:{service}"))
        if model.examples.model in tables:
            relations.append(Relation(f"{MODEL}:{name}", USES, f"{TABLE}:{model.examples.model}"))
        views = {i.source.feature.partition("__")[0] for i in model.inputs if isinstance(i.source, FeatureSource)}
        relations += [
            Relation(f"{TABLE}:{table}", FEEDS, f"{FEATURES}:{service}")
            for view in sorted(views)
            for table in (view, f"feat_{view}")
            if table in tables
        ]
    if read_copilot(domain.folder) is not None:
        # It writes queries of the metrics, so it uses all there are.
        nodes.append(_node(MODEL, COPILOT, f"model {COPILOT}", (COPILOT,)))
        relations += [Relation(f"{MODEL}:{COPILOT}", USES, f"{METRIC}:{metric}") for metric in catalogue.metrics]
    nodes = list({node.uid: node for node in nodes}.values())
    return Part("platform/models", tuple(nodes), tuple({one.uid: one for one in relations}.values()))


def registry_part(domain: Domain, settings: Settings) -> Part:
    """Versions and the runs that made them, as the registry has them now.

    Raises:
        ClearwayError: the registry cannot be read.
    """
    nodes: list[Node] = []
    relations: list[Relation] = []
    known = [*domain.models, *([COPILOT] if read_copilot(domain.folder) is not None else [])]
    there = set(model_names(settings))
    for model in known:
        for one in versions(model, settings) if model in there else []:
            nodes.append(_version(one))
            relations.append(Relation(nodes[-1].uid, VERSION_OF, f"{MODEL}:{model}"))
            if one.run_id:
                nodes.append(_node(RUN, one.run_id, f"run {one.run_id[:8]}", (one.run_id,)))
                relations.append(Relation(f"{VERSION}:{model}.{one.version}", MADE_BY_RUN, nodes[-1].uid))
    nodes = list({node.uid: node for node in nodes}.values())
    return Part("platform/registry", tuple(nodes), tuple(relations))


def _version(one: Version) -> Node:
    return _node(
        VERSION, f"{one.model}.{one.version}", f"{one.model} version {one.version}",
        gates=one.tags.get("clearway.gates"), alias=", ".join(sorted(one.aliases)) or None,
    )  # fmt: skip


def platform_parts(domain: Domain, manifest: Manifest, catalogue: Catalogue, settings: Settings) -> list[Part]:
    """All of it; without versions where the registry cannot be read yet."""
    parts = declared_parts(domain, manifest, catalogue)
    try:
        return [*parts, registry_part(domain, settings)]
    except ClearwayError:
        if settings.profile == "production":
            raise
        return parts
