"""The life cycle's stages as plain function calls, without a Dagster run: what benches time and build upon."""

from __future__ import annotations

import importlib
import shutil
import tempfile
from datetime import date
from pathlib import Path

from assets.domains import current_domain, following
from assets.ingestion.lakehouse import Lakehouse
from assets.ingestion.publish import ingest
from assets.ingestion.spec import Source
from assets.warehouse.manifest import Manifest, load_manifest
from orchestration.home import prepare
from serving import clock
from serving.settings import get_settings

RUN = "bench"


class Stages:
    """The stages over the home and the domain of this process's settings, in the order of the flow."""

    def __init__(self) -> None:
        self.settings = get_settings()
        prepare(self.settings)
        self.domain = current_domain()
        self.lakehouse = Lakehouse(self.settings.catalog, self.settings.lakehouse)

    @property
    def manifest(self) -> Manifest:
        return load_manifest(self.domain.dbt_project, self.settings.dbt_target)

    @property
    def sources(self) -> list[Source]:
        """Declared sources, each after those that its contract reads."""
        ordered: list[Source] = []

        def visit(source: Source) -> None:
            for name in source.sources_read:
                visit(self.domain.sources[name])
            if source not in ordered:
                ordered.append(source)

        for source in self.domain.sources.values():
            visit(source)
        return ordered

    def land(self) -> None:
        self.domain.sample().land(self.settings.landing)

    def ingestion(self, periods: list[date], sources: list[Source] | None = None) -> None:
        from assets.ingestion.events import publish_events

        for source in self.sources if sources is None else sources:
            for period in periods if source.partitioned else [None]:
                ingest(self.domain, source, period, self.lakehouse, self.settings.landing, clock.now(), RUN)
        if sources is None:
            publish_events(self.lakehouse, self.settings.events)

    def tables(self) -> None:
        """Ingest the sources without partitions."""
        self.ingestion([], [s for s in self.sources if not s.partitioned])

    def warehouse(self, periods: list[date]) -> None:
        from assets.warehouse.assets import plan
        from assets.warehouse.build import publish

        manifest = self.manifest
        build = plan(self.domain, manifest, self.lakehouse, tuple(sorted(manifest.models)), periods)
        publish(build, manifest, self.domain.dbt_project, self.settings.warehouse, RUN, lambda _: None)

    def metrics(self, periods: list[date]) -> None:
        """The values and the plot of every metric, as the metric assets have them."""
        from assets.plots import line
        from serving.semantics.catalogue import load_catalogue
        from serving.semantics.engine import MetricEngine
        from serving.semantics.query import MetricQuery

        file = self.manifest.folder / "semantic_manifest.json"
        engine = MetricEngine(file, self.settings.warehouse_file)
        for name, metric in load_catalogue(file).metrics.items():
            if self.manifest.served.keys() & set(metric.models):
                continue  # of what was served, which is no part of the path
            asked = MetricQuery(metrics=(name,), grain="month", since=periods[0], until=following(periods[-1]))
            answer = engine.query(asked)
            line(metric.label, [str(r[0])[:7] for r in answer.rows], {metric.label: [r[1] for r in answer.rows]})
        engine.close()

    def features(self, periods: list[date]) -> None:
        from assets.features.offline import export, feature_marts
        from assets.features.resources import FeaturesResource
        from assets.features.sets import publish_window

        folder = self.settings.features
        for mart in feature_marts(self.manifest):
            export(self.domain, self.manifest, self.settings.warehouse_file, folder, mart, periods)
        as_of = min(self.domain.bounds(periods[-1])[1], clock.now())
        features = FeaturesResource(folder=str(folder))
        publish_window(self.domain, self.manifest, self.settings.warehouse_file, features, as_of, RUN)

    def training(self) -> None:
        from assets.features.resources import FeaturesResource
        from assets.training.tabular.version import make

        features = FeaturesResource(folder=str(self.settings.features))
        file = self.settings.warehouse_file
        for model in self.domain.models.values():
            make(self.domain, self.manifest, model, file, features, self.settings, clock.now(), lambda _: None)

    def delivery(self) -> None:
        from assets.delivery.release import release

        for model in self.domain.models.values():
            plan = self.domain.folder / "releases" / f"{model.release}.yaml"
            outcome = release(model.name, plan, self.settings, RUN, lambda _: None)
            assert outcome.phase == "completed", outcome

    def warm(self) -> None:
        """Import and first-use costs out of the way: ingest the first month into a lakehouse that is thrown away."""
        folder = Path(tempfile.mkdtemp())
        kept, self.lakehouse = self.lakehouse, Lakehouse(f"sqlite:///{folder}/catalog.db", f"file://{folder}/tables")
        try:
            self.ingestion(self.domain.periods[:1], self.sources)
        finally:
            self.lakehouse = kept
            shutil.rmtree(folder)


HEAVY = (
    "feast",
    "great_expectations.expectations",
    "lightgbm",
    "matplotlib.font_manager",  # builds its list of fonts once a user
    "metricflow.engine.metricflow_engine",
    "mlflow.lightgbm",
    "optuna",
    "orchestration.definitions",
    "pyiceberg.catalog.sql",
    "serving.gateway.app",
    "serving.models.server",
    "sklearn.linear_model",
)


def fill_caches() -> None:
    """Import what the stages import, and parse the dbt project, so that byte code and fonts are there for all."""
    parse()
    for module in HEAVY:
        importlib.import_module(module)


def begin() -> None:
    """Land the sample and bring serving up, as `make run` does before the job."""
    from orchestration.home import local_key
    from serving.runtime.laptop import start_serving

    stages = Stages()
    stages.land()
    local_key(stages.settings)
    start_serving(stages.settings)


def parse() -> None:
    """Parse the dbt project, so that nothing later has to."""
    assert Stages().manifest.models


def build_all() -> None:
    """Everything up to the warehouse, for all months."""
    stages = Stages()
    stages.land()
    stages.ingestion(stages.domain.periods)
    stages.warehouse(stages.domain.periods)
