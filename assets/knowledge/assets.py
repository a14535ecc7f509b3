"""The knowledge as assets: what it is to hold, its stores, and the switch by which readers get it."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg

from assets.domains import Domain
from assets.knowledge.checks import readers_check
from assets.knowledge.elements import common, elements_asset
from assets.knowledge.keys import (
    AGREE,
    ELEMENTS,
    GRAPH,
    INDEX,
    PUBLISHED,
    RUN,
    VECTORS,
)
from assets.knowledge.spec import GraphFile, read_graph
from assets.metadata import picture, table
from assets.warehouse.manifest import load_manifest
from serving.errors import ClearwayError
from serving.settings import get_settings

LISTED = 50


def definitions(domain: Domain) -> dg.Definitions:
    """The assets of a domain that declares a graph; none of another."""
    graph = read_graph(domain.folder)
    if graph is None:
        return dg.Definitions()
    manifest = load_manifest(domain.dbt_project, get_settings().dbt_target)
    return dg.Definitions(
        assets=[
            elements_asset(domain, graph, manifest),
            _graph_asset(domain, graph),
            _vectors_asset(domain, graph),
            _index_asset(domain, graph),
            _published_asset(domain, graph),
        ],
        asset_checks=[readers_check(graph)],
    )


class LoadConfig(dg.Config):
    """``verify`` looks at every element of the copy, also of parts that say they are whole."""

    verify: bool = False


def _graph_asset(domain: Domain, graph: GraphFile) -> dg.AssetsDefinition:
    @dg.asset(
        key=GRAPH,
        deps=[ELEMENTS],
        description=(
            "The copy of the graph that nobody reads, brought to what is wanted by what differs. A load that was "
            "killed is finished by the next."
        ),
        **common(domain, graph, "neo4j"),
    )
    def graph_copy(context: dg.AssetExecutionContext, config: LoadConfig) -> dg.MaterializeResult:
        import time

        from assets.knowledge.load import bring, reopen
        from assets.knowledge.staged import newest
        from serving.retrieval import servers
        from serving.retrieval.copy import Copy
        from serving.retrieval.published import spare, wait_until_unread

        settings = get_settings()
        servers.start(settings)
        wanted = newest(settings)
        slot = spare(settings)
        wait_until_unread(settings)
        servers.bound(settings, slot, 0)
        started = time.monotonic()
        with servers.graph(settings, slot) as client:
            copy = Copy(client)
            reopened = reopen(copy, wanted.parts) if config.verify else 0
            done = bring(copy, wanted.parts, context.log.info)
        seconds = time.monotonic() - started
        written = done.nodes_written + done.relations_written
        return dg.MaterializeResult(
            metadata={
                "version": wanted.version, "copy": slot, "parts_mended": reopened, **vars(done),
                "seconds": round(seconds, 2),
                "elements_per_second": round(written / seconds) if written else 0,
            },
        )  # fmt: skip

    return graph_copy


def _vectors_asset(domain: Domain, graph: GraphFile) -> dg.AssetsDefinition:
    @dg.asset(
        key=VECTORS,
        deps=[ELEMENTS],
        description=(
            "The collection of passages that nobody reads, brought to what is wanted: dense vectors and BM25, by "
            "access. A text is embedded once."
        ),
        **common(domain, graph, "milvus", "onnx"),
    )
    def vectors_copy(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        import time

        from assets.knowledge.staged import newest
        from assets.knowledge.vectors import Embedded, bring
        from serving.retrieval import servers
        from serving.retrieval.embedding import embedder
        from serving.retrieval.published import spare, wait_until_unread

        settings = get_settings()
        servers.start(settings)
        wanted = newest(settings)
        slot = spare(settings)
        wait_until_unread(settings)
        started = time.monotonic()
        cache = Embedded(settings.knowledge / "embedded.db", embedder(wanted.embeddings))
        collection = servers.vectors(settings, slot)
        try:
            done = bring(collection, list(wanted.embedded), cache, context.log.info)
        finally:
            cache.close()
            collection.close()
        seconds = time.monotonic() - started
        return dg.MaterializeResult(
            metadata={
                "version": wanted.version, "collection": f"passages_{slot}", "embeddings": cache.model.name,
                **vars(done), "seconds": round(seconds, 2),
            },
        )  # fmt: skip

    return vectors_copy


def _index_asset(domain: Domain, graph: GraphFile) -> dg.AssetsDefinition:
    @dg.asset(
        key=INDEX,
        deps=[ELEMENTS],
        description=(
            "The index that ranks passages by names, words and personalised PageRank over things and passages, the "
            "communities' reports, the declared queries, and the graph as RDF."
        ),
        **common(domain, graph, "scipy", "rdf"),
    )
    def index(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        import time

        from assets.knowledge.build import build_index
        from assets.knowledge.ontology.vocabulary import vocabulary
        from assets.knowledge.staged import newest

        settings = get_settings()
        wanted = newest(settings)
        started = time.monotonic()
        name = build_index(wanted, graph, vocabulary(domain.folder, graph), settings)
        folder = settings.knowledge / "indexes" / name
        files = [f for f in folder.rglob("*") if f.is_file()]
        return dg.MaterializeResult(
            metadata={
                "version": wanted.version, "seconds": round(time.monotonic() - started, 2),
                "mebibytes": round(sum(f.stat().st_size for f in files) / 2**20, 1),
                "queries": table([{"query": q.name, "description": q.description} for q in graph.queries]),
                "path": dg.MetadataValue.path(str(folder)),
            },
        )  # fmt: skip

    return index


def _published_asset(domain: Domain, graph: GraphFile) -> dg.AssetsDefinition:
    @dg.asset(
        key=PUBLISHED,
        deps=[GRAPH, VECTORS, INDEX],
        description=(
            "What readers get: one file names the copy of the graph, the collection of passages and the index, and is "
            "replaced when all three hold the same version. Readers have the old version or the new one."
        ),
        check_specs=[
            dg.AssetCheckSpec(
                AGREE, asset=PUBLISHED, blocking=True,
                description="Graph and vectors hold every id of what is wanted, of its content, and no other.",
            ),
            dg.AssetCheckSpec(
                RUN, asset=PUBLISHED, blocking=True,
                description="Every declared query runs in the new copy and gives the columns that its sentences name.",
            ),
        ],
        **common(domain, graph, "neo4j", "milvus"),
    )  # fmt: skip
    def published(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        from assets.knowledge.agree import compare
        from assets.knowledge.build import switch
        from assets.knowledge.load import bring, reopen
        from assets.knowledge.plots import sizes
        from assets.knowledge.staged import newest
        from assets.knowledge.tried import problems
        from serving.retrieval import servers
        from serving.retrieval.bolt import READ_SECONDS
        from serving.retrieval.copy import Copy
        from serving.retrieval.embedding import embedder
        from serving.retrieval.published import current, spare

        settings = get_settings()
        wanted = newest(settings)
        now = current(settings)
        slot = spare(settings)
        collection = servers.vectors(settings, slot)
        try:
            with servers.graph(settings, slot) as client:
                copy, model = Copy(client), embedder(wanted.embeddings).name
                found = compare(wanted, copy, collection, model, deep=True)
                if any(one.store == "graph" for one in found):
                    # Somebody else wrote into the copy: its parts say they are whole, and are not.
                    context.log.warning(f"{found[0].count} {found[0].what}: the copy is mended")
                    reopen(copy, wanted.parts)
                    bring(copy, wanted.parts)
                    found = compare(wanted, copy, collection, model, deep=True)
                wrong = problems(graph.queries, wanted, client)
            yield dg.AssetCheckResult(
                asset_key=PUBLISHED, check_name=AGREE, passed=not found,
                metadata={"differences": table([{**vars(d), "examples": ", ".join(d.examples)} for d in found])},
            )  # fmt: skip
            yield dg.AssetCheckResult(
                asset_key=PUBLISHED, check_name=RUN, passed=not wrong,
                metadata={"queries": len(graph.queries), "problems": table([{"problem": p} for p in wrong])},
            )  # fmt: skip
            if wrong:
                raise dg.Failure(
                    f"{wrong[0]}. What is published is untouched. Mend the query, and run knowledge again."
                )
            folder = settings.knowledge / "indexes" / wanted.version
            if found or not (folder / "complete").exists():
                raise dg.Failure(
                    f"the stores do not hold version {wanted.version}: "
                    + (f"{found[0].store}, {found[0].count} {found[0].what}" if found else "it has no index")
                    + ". What is published is untouched. Materialize graph, vectors and index again."
                )
            collection.point()
            servers.bound(settings, slot, READ_SECONDS)
        except ClearwayError as error:
            raise dg.Failure(str(error)) from error
        finally:
            collection.close()
        done = switch(wanted, slot, wanted.version, settings)
        kinds = Counter(node.kind for node in wanted.nodes)
        yield dg.MaterializeResult(
            asset_key=PUBLISHED,
            metadata={
                "version": done.version, "copy": slot, "before": now.version if now else "none", **done.counts,
                "things": picture(sizes(dict(kinds.most_common(12))), "nodes by kind"),
            },
        )  # fmt: skip

    return published
