"""The jobs that people and sensors start."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition as AssetJob

from assets.domains import Domain
from assets.features.pushed import PUSHED
from assets.ingestion.assets import feed_key, source_key
from assets.ingestion.freshness import FRESH, TELLS
from assets.knowledge.keys import ELEMENTS, GRAPH, PUBLISHED, READERS
from assets.knowledge.spec import read_graph
from assets.partitions import periods
from assets.training.llm.assets import copilot_of


def _fresh(domain: Domain) -> list[dg.AssetCheckKey]:
    sources = domain.sources.values()
    files = [dg.AssetCheckKey(source_key(s.name), FRESH) for s in sources if s.partitioned]
    return files + [dg.AssetCheckKey(feed_key(s.name), TELLS) for s in sources if s.feed]


def _knowledge() -> list[AssetJob]:
    group = dg.AssetSelection.groups("knowledge")
    return [
        dg.define_asset_job(
            "knowledge",
            selection=group,
            description="Things, documents, vectors, communities and their index, published by one switch.",
        ),
        dg.define_asset_job(
            "knowledge_repair",
            selection=group - dg.AssetSelection.assets(ELEMENTS),
            config={"ops": {"__".join(GRAPH.path): {"config": {"verify": True}}}},
            description="Compare every id of the copy that nobody reads with what is wanted, mend it, publish it.",
        ),
        dg.define_asset_job(
            "knowledge_check",
            selection=dg.AssetSelection.checks(dg.AssetCheckKey(PUBLISHED, READERS)),
            description="Whether what readers get holds every id of what was published, in graph and vectors.",
        ),
    ]


def jobs(domain: Domain) -> list[AssetJob]:
    """``lifecycle`` is the whole path; ``ingest`` and ``train`` are its first and last parts."""
    by_group = dg.AssetSelection.groups
    # By its prefix, since a domain without a feed has none.
    told = dg.AssetSelection.key_prefixes(list(PUSHED.path))
    copilot = [
        dg.define_asset_job(
            "copilot",
            selection=by_group("copilot"),
            description="Pairs of question and query, a tuned language model, its gates, the release of what passed.",
        )
    ]
    return [
        *(copilot if copilot_of(domain) else []),
        *(_knowledge() if read_graph(domain.folder) else []),
        dg.define_asset_job(
            "lifecycle",
            selection=dg.AssetSelection.all() - by_group("monitoring", "retraining", "copilot", "knowledge") - told,
            partitions_def=periods(domain),
            description="From the dropped files of the chosen months to a released, served version, as one run.",
        ),
        dg.define_asset_job(
            "ingest",
            selection=by_group("ingestion"),
            partitions_def=periods(domain),
            description="Publish the current drops of the chosen months; what was published from the same drop stays.",
        ),
        dg.define_asset_job(
            "train",
            selection=by_group("training", "delivery") | dg.AssetSelection.key_prefixes("training_sets"),
            description="Training sets, a version, its gates, and the release of what passed.",
        ),
        dg.define_asset_job(
            "feeds",
            selection=dg.AssetSelection.key_prefixes("feeds") | told,
            description="Publish what operations told since the last time, and push the features of it online.",
        ),
        dg.define_asset_job(
            "settle",
            selection=by_group("ingestion", "warehouse", "metrics", "features")
            - dg.AssetSelection.key_prefixes("training_sets")
            - told,
            partitions_def=periods(domain),
            description="From the dropped files of the chosen months to features, without a training.",
        ),
        dg.define_asset_job(
            "monitor",
            selection=dg.AssetSelection.key_prefixes("events") | by_group("monitoring"),
            description="Publish prediction events, join them to labels, make metrics and reports of what was served.",
        ),
        dg.define_asset_job(
            "review",
            selection=dg.AssetSelection.key_prefixes("events") | by_group("monitoring", "retraining"),
            partitions_def=periods(domain),
            description="Decide for the chosen months whether to retrain, after the job monitor's work.",
        ),
        dg.define_asset_job(
            "freshness",
            selection=dg.AssetSelection.checks(*_fresh(domain)),
            description="See whether every period that was due is there, and whether operations still tell.",
        ),
        dg.define_asset_job(
            "story",
            selection=dg.AssetSelection.key_prefixes("retrainings"),
            description="Show every review and what came of it, as it is now.",
        ),
        dg.define_asset_job(
            "outcomes",
            selection=(dg.AssetSelection.key_prefixes("events") | by_group("monitoring"))
            - dg.AssetSelection.key_prefixes("drift", "skew", "operations"),
            description="What rollouts wait for every minute: the job monitor without its reports.",
        ),
        dg.define_asset_job(
            "publish_events",
            selection=dg.AssetSelection.key_prefixes("events"),
            description="Publish the closed segments of prediction events into the lakehouse.",
        ),
    ]
