"""The check of what readers get, which can be run at any time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from assets.knowledge.keys import PUBLISHED, READERS
from assets.knowledge.spec import GraphFile
from assets.metadata import table
from assets.warehouse.resources import WarehouseResource
from serving.settings import get_settings

if TYPE_CHECKING:
    from assets.knowledge.agree import Disagreement


def readers_check(graph: GraphFile) -> dg.AssetChecksDefinition:
    """Compares what readers get with what was published, id by id."""

    @dg.asset_check(
        asset=PUBLISHED,
        name=READERS,
        description=(
            "What readers get holds every id of what was published, in graph and vectors, and no other; "
            "and the marts have the same things."
        ),
    )
    def readers_agree(warehouse: WarehouseResource) -> dg.AssetCheckResult:
        import duckdb

        from assets.knowledge.agree import behind, compare
        from assets.knowledge.staged import of_version
        from serving.retrieval import servers
        from serving.retrieval.bolt import READ_SECONDS
        from serving.retrieval.copy import Copy
        from serving.retrieval.embedding import embedder
        from serving.retrieval.published import current

        settings = get_settings()
        now = current(settings)
        if now is None:
            return dg.AssetCheckResult(passed=True, metadata={"status": "nothing is published yet"})
        servers.start(settings)
        wanted = of_version(now.version, settings)
        collection = servers.vectors(settings, now.slot)
        servers.bound(settings, now.slot, 0)
        try:
            with servers.graph(settings, now.slot) as client:
                found = compare(wanted, Copy(client), collection, embedder(wanted.embeddings).name, deep=True)
            with duckdb.connect(str(warehouse.file), read_only=True) as connection:
                found += behind(graph, connection, wanted)
        finally:
            servers.bound(settings, now.slot, READ_SECONDS)
            collection.close()
        return dg.AssetCheckResult(
            passed=not found,
            metadata={
                "version": now.version, **wanted.counts(),
                "differences": table([{**vars(d), "examples": ", ".join(d.examples)} for d in found]),
                "what to do": _remedy(found),
            },
        )  # fmt: skip

    return readers_agree


def _remedy(found: Sequence["Disagreement"]) -> str:
    if not found:
        return "nothing"
    if all(one.store == "marts" for one in found):
        return "run the job knowledge: the marts have moved on"
    return "run the job knowledge_repair"
