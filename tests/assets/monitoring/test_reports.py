"""Reports of the months that a real version served, from real events, labels and training rows, in a small home."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from assets.domains import Domain, load_domain
from assets.features.training_set import read_examples
from assets.ingestion.events import TABLE
from assets.ingestion.lakehouse import Lakehouse
from assets.monitoring.assets import definitions, described, drift_key
from assets.monitoring.reports import Monitored, monitor
from assets.warehouse.manifest import Manifest, load_manifest, project_fingerprint
from assets.warehouse.resources import WarehouseResource
from orchestration.profiles import resources
from serving.models.inputs import derive
from serving.models.model import TabularModel
from serving.models.registry import cache_folder
from serving.rollout.log import RolloutLog
from serving.rollout.plan import ReleasePlan
from serving.settings import PROJECT, Settings
from tests.dbt_project.building import events
from tests.dbt_project.fixtures import warehouse  # noqa: F401

pytestmark = pytest.mark.integration
MODEL = "arrival_delay"


@dataclass
class Home:
    """A home without a server: lakehouse, warehouse, training set, and the artifact of version 1."""

    settings: Settings
    domain: Domain
    manifest: Manifest
    lakehouse: Lakehouse
    warehouse: Path

    def monitor(self, **declared: Any) -> Monitored:
        model = self.domain.models[MODEL]
        if declared:
            monitoring = model.monitoring.model_validate({**model.monitoring.model_dump(), **declared})
            model = model.model_copy(update={"monitoring": monitoring})
        told: list[str] = []
        folder = self.settings.features / "training_sets"
        done = monitor(
            self.domain, self.manifest, model, self.lakehouse, self.warehouse, folder, self.settings, told.append
        )
        assert len(told) == sum(month.new for month in done.months) + 2 * len(done.problems)
        return done

    def release(self, version: str) -> None:
        arm = f"{MODEL}-v{version}"
        log = RolloutLog(MODEL, self.settings)
        plan = ReleasePlan(model=MODEL, version=version).model_dump(mode="json")
        log.append("submitted", "r1", plan=plan, submitted_at="2024-05-01T00:00:00+00:00")
        log.append("starting", "r1", arm=arm, ports=[1])
        log.append("ready", "r1")
        log.append("smoked", "r1", evidence={"passed": True})
        log.append("switched", "r1", weights={arm: 100})
        log.append("aliased", "r1", alias="champion", version=version, was=None)
        log.append("completed", "r1", record={})

    def publish(self, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda f: f) -> None:
        import pyarrow as pa

        rows = change(events()).assign(_segment="s")
        instants = ("prediction_time", "served_at")
        rows = rows.astype(dict.fromkeys(instants, "datetime64[us, UTC]"))
        self.lakehouse.replace_rows(TABLE, pa.Table.from_pandas(rows, preserve_index=False), "_segment", "s")


def two_months(rows: pd.DataFrame) -> pd.DataFrame:
    """Every second answer of a version is for a month later, and every answer had some features."""
    rows = rows.reset_index(drop=True)
    later = (np.arange(len(rows)) // 2) % 2 == 1
    rows.loc[later, "prediction_time"] += pd.Timedelta(days=28)
    values = np.random.default_rng(1).normal(size=len(rows))
    seen = [json.dumps({"carrier_daily__late_share_28d": v, "origin_recent__visibility": 10.0}) for v in values]
    return rows.assign(features=seen)


@pytest.fixture
def home(warehouse: Path, tmp_path: Path) -> Home:  # noqa: F811
    settings = Settings(home=tmp_path)
    domain = load_domain(PROJECT / "assets" / "domain")
    parsed = settings.dbt_target / project_fingerprint(domain.dbt_project)
    parsed.mkdir(parents=True)
    shutil.copy(warehouse.parent / "target" / "manifest.json", parsed)
    (parsed / "complete").touch()
    manifest = load_manifest(domain.dbt_project, settings.dbt_target)
    _train(domain, settings, warehouse)
    return Home(settings, domain, manifest, Lakehouse(settings.catalog, settings.lakehouse), warehouse)


def _train(domain: Domain, settings: Settings, file: Path) -> None:
    import lightgbm

    model = domain.models[MODEL]
    rows = read_examples(model, file, "training", date(2013, 2, 1), date(2013, 4, 1), datetime.now(UTC))
    rows = rows.sample(2000, random_state=1).sort_index().reset_index(drop=True)
    features = {f: np.random.default_rng(2).normal(size=len(rows)) for f in model.serving_spec().features}
    rows = rows.assign(**{**features, "origin_recent__visibility": 10.0})
    folder = settings.features / "training_sets" / MODEL
    folder.mkdir(parents=True)
    rows.to_parquet(folder / "set.parquet", index=False)
    rows.tail(10).to_parquet(folder / "later.parquet", index=False)
    spec = model.serving_spec(
        categories={n: sorted(rows[n].unique()) for n in ("carrier", "origin")},
        metadata={"training_set": "set", "evaluation_set": "later"},
    )
    data = lightgbm.Dataset(derive(spec.inputs, rows, rows), rows["_label"], categorical_feature=spec.categorical)
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 20)
    TabularModel.save(cache_folder(MODEL, "1", settings), booster, spec)


def test_every_month_has_a_report_which_is_made_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert described(home.monitor())["months"] == 0
    home.release("1")
    nothing = described(home.monitor())
    assert (nothing["version"], nothing["months"]) == ("1", 0)
    assert "no prediction" in nothing["status"]

    home.publish(two_months)
    done = home.monitor()
    assert [m.month for m in done.months] == ["2013-02", "2013-03"]
    # Version 1 answered r-0, r-2, ... r-200, each once; of r-200 nobody knows a label.
    assert [m.facts["rows"] for m in done.months] == [51, 50]
    assert sum(m.facts["labelled"] for m in done.months) == 100
    first = done.months[0]
    assert first.path == home.settings.home / "reports" / MODEL / "1" / "2013-02.html"
    assert first.path.read_bytes().startswith(b"<!DOCTYPE html>")
    columns = {column["column"]: column for column in first.facts["features"]}
    assert set(columns) == {
        *("carrier", "origin", "minute_of_day", "weekday", "carrier_late_28d", "visibility"),
    }
    assert columns["visibility"]["method"] == "constant"
    assert columns["weekday"]["drifted"], "the events are of one day"
    assert not columns["carrier_late_28d"]["drifted"]
    assert "distance" in first.facts["without_values"], "the requests did not say it"
    _figures_are_those_of_the_mart(home, done)

    metadata = described(done)
    assert metadata["status"].startswith("2 of 2 reports made")
    assert metadata["newest_month"] == "2013-03"
    assert len(metadata["by_month"].records) == 2
    assert len(metadata["newest_columns"].records) == len(columns) + 2
    assert metadata["report_2013-02"].value == str(first.path)

    again = home.monitor()
    assert [m.new for m in again.months] == [False, False]
    assert [m.facts for m in again.months] == [m.facts for m in done.months]
    _dagster_shows(home, monkeypatch)
    smaller = home.monitor(sample=40, reference={"start": date(2013, 3, 1), "end": date(2013, 4, 1)})
    assert [m.new for m in smaller.months] == [True, True]
    assert {(m.facts["compared"], m.facts["reference_rows"]) for m in smaller.months} == {(40, 40)}
    other = home.monitor(reference={"start": date(2012, 3, 1), "end": date(2012, 4, 1)})
    assert sorted(other.problems) == ["2013-02", "2013-03"]
    assert "no row of these months" in other.problems["2013-02"]


def _materialized(home: Home, monkeypatch: pytest.MonkeyPatch) -> dg.ExecuteInProcessResult:
    for module in ("assets.monitoring.assets", "assets.training.resources"):
        monkeypatch.setattr(f"{module}.get_settings", lambda: home.settings)
    found = definitions(home.domain).assets
    assert found is not None
    given = {**resources(home.settings), "warehouse": WarehouseResource(folder=str(home.warehouse.parent))}
    drift = [a for a in found if isinstance(a, dg.AssetsDefinition) and drift_key(MODEL) in a.keys]
    return dg.materialize(drift, resources=given)


def _dagster_shows(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    done = _materialized(home, monkeypatch)
    (shown,) = done.asset_materializations_for_node(f"drift__{MODEL}")
    assert shown.metadata["status"].value == "0 of 2 reports made, the others were there"
    assert {"plot", "by_month", "newest_columns", "report_2013-02", "report_2013-03"} <= shown.metadata.keys()
    assert all(check.passed for check in done.get_asset_check_evaluations())


def _figures_are_those_of_the_mart(home: Home, done: Monitored) -> None:
    import duckdb

    with duckdb.connect(str(home.warehouse), read_only=True) as connection:
        row = connection.execute(
            "select avg(log_loss), avg(is_late::integer) from marts.fct_predictions where model_version = '1'"
        ).fetchone()
    assert row is not None
    weights = [m.facts["current"]["rows"] for m in done.months]
    for name, value in zip(("log_loss", "positive_share"), row, strict=True):
        assert np.average([m.facts["current"][name] for m in done.months], weights=weights) == pytest.approx(value)


def test_a_training_set_that_is_gone_is_named_and_holds_up_no_review(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.release("1")
    home.publish(two_months)
    (home.settings.features / "training_sets" / MODEL / "set.parquet").unlink()
    done = home.monitor()
    assert done.months == ()
    assert re.search(r"training_set cannot be read: .*set\.parquet", done.problems["2013-02"])
    run = _materialized(home, monkeypatch)
    assert run.success
    (check,) = run.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("reported", False)
    assert [row.data["month"] for row in check.metadata["without_report"].records] == ["2013-02", "2013-03"]


def test_what_is_compared_is_no_part_of_a_version(home: Home) -> None:
    model = home.domain.models[MODEL]
    other = model.model_copy(update={"monitoring": model.monitoring.model_copy(update={"sample": 10})})
    assert other.fingerprint() == model.fingerprint()
    assert model.model_copy(update={"threshold": 0.9}).fingerprint() != model.fingerprint()
