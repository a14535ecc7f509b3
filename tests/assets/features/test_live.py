"""Marts computed in memory are the built ones, and what is pushed of them online is what holds offline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from assets.domains import load_domain
from assets.features import online
from assets.features.live import LiveMarts, compiled
from assets.features.offline import feature_marts
from assets.features.push import Pusher
from assets.features.pushed import push_told
from assets.features.store import open_store
from assets.features.training_set import historical_features
from assets.ingestion.lakehouse import Lakehouse
from assets.warehouse.manifest import Manifest, load_manifest
from serving.errors import ClearwayError
from serving.models.features import OnlineFeatures
from serving.settings import PROJECT, get_settings
from tests.dbt_project.building import raw
from tests.dbt_project.fixtures import warehouse  # noqa: F401

pytestmark = pytest.mark.integration
START = datetime(2013, 3, 10, 5, tzinfo=UTC)
SERVICE = "arrival_delay_v2"


@dataclass
class Live:
    manifest: Manifest
    marts: dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Live:
    domain = load_domain(PROJECT / "assets" / "domain")
    manifest = load_manifest(domain.dbt_project, tmp_path_factory.mktemp("dbt"))
    wanted = [*feature_marts(manifest), "examples_arrival_delay"]
    sql = compiled(manifest, domain.dbt_project, wanted)
    assert list(sql).index("fct_flights") < list(sql).index("feat_origin_recent")
    tables = {name: pa.Table.from_pandas(frame, preserve_index=False) for name, frame in raw().items()}
    return Live(manifest, LiveMarts(domain, manifest, sql).compute(tables, wanted))


def test_a_mart_in_memory_is_the_built_one(live: Live, warehouse: Path) -> None:  # noqa: F811
    for name, frame in live.marts.items():
        model = live.manifest.models[name]
        with duckdb.connect(str(warehouse), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'")
            built = connection.execute(f'select * from "{model.schema}"."{name}"').df()
        key = list(built.columns[:3])
        pd.testing.assert_frame_equal(
            frame[built.columns].sort_values(key, ignore_index=True), built.sort_values(key, ignore_index=True),
            check_dtype=False,
        )  # fmt: skip


@pytest.fixture
def pointer(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A served window that holds at START, made of the parquet files that Feast reads."""
    monkeypatch.setenv("CLEARWAY_HOME", str(tmp_path))
    get_settings.cache_clear()
    settings = get_settings()
    for name in feature_marts(live.manifest):
        folder = settings.features / "offline" / name
        folder.mkdir(parents=True)
        live.marts[name].to_parquet(folder / "all.parquet", index=False)
    settings.online_pointer.parent.mkdir(parents=True)
    _, content = online.materialize(
        "airline_operations", PROJECT / "feature_repo", settings.online_pointer.parent, START
    )
    online.switch(settings.online_pointer, content)
    yield settings.online_pointer
    get_settings.cache_clear()


def keys(live: Live) -> pd.DataFrame:
    asked = live.marts["examples_arrival_delay"]
    asked = asked[asked["tailnum"].notna()].tail(3000).iloc[::10]
    return asked[["carrier", "route", "origin", "tailnum"]].drop_duplicates().reset_index(drop=True)


def differing(live: Live, pointer: Path, at: datetime) -> dict[str, int]:
    """By feature, how many entities are served another value at an instant than offline holds for it."""
    served = online.current(pointer)
    assert served is not None
    entities = keys(live)
    assert len(entities) > 200
    store = open_store("airline_operations", Path(served["registry"]), Path(served["online_store"]))
    offline = historical_features(store, SERVICE, entities.assign(event_timestamp=at), as_known_then=False)
    read = OnlineFeatures(SERVICE, get_settings()).read(entities.to_dict("records"), [at] * len(entities))
    found = pd.DataFrame([row.values for row in read]).reindex(columns=offline.columns)
    assert 0 < found["aircraft_recent__last_arrival_delay"].isna().sum() < len(entities), "some have not moved for long"
    same = np.isclose(found.astype(float), offline.astype(float), rtol=1e-6, atol=1e-6, equal_nan=True)
    return {name: int(count) for name, count in zip(offline, (~same).sum(axis=0), strict=True) if count}


def test_what_is_pushed_is_what_holds_offline_at_that_instant(live: Live, pointer: Path) -> None:
    pusher = Pusher("airline_operations", pointer)
    pusher.load({name: live.marts[name] for name in feature_marts(live.manifest)})
    later = START + timedelta(hours=37, minutes=10)
    assert differing(live, pointer, later), "the window is a day old"
    count = 0
    for hours in (1, 2, 30, 37):
        count += pusher.push(START + timedelta(hours=hours))
    count += pusher.push(later)
    assert count > 1000
    assert differing(live, pointer, later) == {}
    assert pusher.push(later) == 0
    # A window that holds at an earlier instant is brought up to date at once.
    settings = get_settings()
    _, content = online.materialize(
        "airline_operations", PROJECT / "feature_repo", settings.online_pointer.parent, START
    )
    online.switch(pointer, content)
    assert pusher.push(later) > 0
    assert differing(live, pointer, later) == {}


def test_an_old_value_that_is_corrected_late_does_not_replace_a_newer_one(live: Live, pointer: Path) -> None:
    name = "feat_origin_recent"
    rows = live.marts[name]
    late = START + timedelta(hours=5, minutes=30)
    old = rows[(rows["origin"] == "JFK") & (rows["event_timestamp"] == pd.Timestamp(START + timedelta(hours=2)))]
    assert len(old) == 1
    corrected = old.assign(created_at=pd.Timestamp(late), temperature=-40.0)
    pusher = Pusher("airline_operations", pointer)
    pusher.load({name: rows})
    pusher.push(START + timedelta(hours=5))
    pusher.load({name: corrected})
    pusher.push(START + timedelta(hours=5, minutes=45))
    served = online.current(pointer)
    assert served is not None
    store = open_store("airline_operations", Path(served["registry"]), Path(served["online_store"]))
    found = store.get_online_features(["origin_recent:temperature"], [{"origin": "JFK"}]).to_dict()
    assert found["temperature"][0] > -40
    pusher.forget(START + timedelta(days=60))
    assert pusher.push(START + timedelta(hours=7)) == 0


def test_without_a_window_it_says_what_to_do(live: Live, tmp_path: Path) -> None:
    with pytest.raises(ClearwayError, match="no online window is served") as error:
        Pusher("airline_operations", tmp_path / "current.json").push(START)
    assert "features/online_window" in (error.value.todo or "")


@pytest.fixture
def told(pointer: Path, live: Live) -> Lakehouse:
    """A lakehouse that has published the rows of both months."""
    settings = get_settings()
    lakehouse = Lakehouse(settings.catalog, settings.lakehouse)
    for name, frame in raw().items():
        months = [date(2013, m, 1) for m in (2, 3)] if "month" in frame and name != "planes" else [None]
        for month in months:
            part = frame if month is None else frame[frame["month"] == month.month]
            part = part.drop(columns="_period", errors="ignore")  # the lakehouse adds it
            rows = pa.Table.from_pandas(part, preserve_index=False)
            kinds = [pa.timestamp("us", "UTC") if pa.types.is_timestamp(f.type) else f.type for f in rows.schema]
            rows = rows.cast(pa.schema(list(zip(rows.column_names, kinds, strict=True))))
            lakehouse.publish(f"raw.{name}", rows, month, f"{name}-{month}", {"drop": "feed-x"}, lambda _: None)
    return lakehouse


def test_what_was_told_is_pushed_from_what_is_published(live: Live, pointer: Path, told: Lakehouse) -> None:
    domain, settings = load_domain(PROJECT / "assets" / "domain"), get_settings()
    later = START + timedelta(hours=30, minutes=20)
    assert differing(live, pointer, later), "the window is a day old"
    done = push_told(domain, live.manifest, told, settings, later)
    assert (done.status, done.rows > 1000) == ("pushed", True)
    assert differing(live, pointer, later) == {}
    # A run that comes again, or that was killed half way, ends in the same; one of the past changes nothing.
    assert push_told(domain, live.manifest, told, settings, later).rows == done.rows
    assert push_told(domain, live.manifest, told, settings, START).status == "the served window knows everything"
    assert differing(live, pointer, later) == {}
    far = push_told(domain, live.manifest, told, settings, datetime(2026, 1, 1, tzinfo=UTC))
    assert far.status.startswith("no rows are published")
    settings.online_pointer.unlink()
    assert push_told(domain, live.manifest, told, settings, later).status == "no window is served yet"
