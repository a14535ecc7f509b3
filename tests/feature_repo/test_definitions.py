"""The feature repo: what it declares is what the marts hold, and a training set sees only what was known."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from tests.dbt_project.building import read

if TYPE_CHECKING:
    from feast import FeatureStore

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).parents[2]
NOW = datetime(2013, 3, 14, 19, 20, tzinfo=UTC)
VIEWS = (
    "carrier_daily",
    "route_daily",
    "origin_daily",
    "aircraft_daily",
    "carrier_recent",
    "origin_recent",
    "aircraft_recent",
)


@pytest.fixture(scope="module")
def home(warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State with the marts exported as parquet, in two files each."""
    import duckdb

    home = tmp_path_factory.mktemp("home")
    (home / "features" / "online").mkdir(parents=True)
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        for mart in (f"feat_{view}" for view in VIEWS):
            folder = home / "features" / "offline" / mart
            folder.mkdir(parents=True)
            for month in ("2013-02-01", "2013-03-01"):
                where = f"date_trunc('month', event_timestamp) = '{month}'"
                connection.execute(f"copy (select * from features.{mart} where {where}) to '{folder / month}.parquet'")
    return home


@pytest.fixture(scope="module")
def store(home: Path) -> Iterator[FeatureStore]:
    """The repo applied by Feast's own command, as a person would."""
    from feast import FeatureStore

    patch = pytest.MonkeyPatch()
    patch.setenv("CLEARWAY_HOME", str(home))
    patch.setenv("PYTHONPATH", str(PROJECT))
    command = [str(Path(sys.executable).with_name("feast")), "-c", str(PROJECT / "feature_repo"), "apply"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    yield FeatureStore(repo_path=str(PROJECT / "feature_repo"))
    patch.undo()


def test_every_view_is_its_mart(store: FeatureStore, warehouse: Path) -> None:
    manifest = json.loads((warehouse.parent / "target" / "manifest.json").read_text())
    marts = {node["name"]: node for node in manifest["nodes"].values() if "feature" in node.get("tags", [])}
    marts = {name: node for name, node in marts.items() if node["resource_type"] == "model"}
    views = {view.name: view for view in store.list_feature_views()}
    assert {f"feat_{name}" for name in views} == set(marts)
    for name, view in views.items():
        columns = {column: spec["data_type"] for column, spec in marts[f"feat_{name}"]["columns"].items()}
        times = {"event_timestamp", "created_at"}
        declared = {field.name: str(field.dtype) for field in [*view.features, *view.entity_columns]}
        kinds = {"varchar": "String", "double": "Float64", "bigint": "Int64"}
        assert declared == {column: kinds[kind] for column, kind in columns.items() if column not in times}, name
        assert view.online
        assert view.batch_source.created_timestamp_column == "created_at"


def test_the_services_are_the_revisions(store: FeatureStore) -> None:
    views = {
        service.name: {projection.name for projection in service.feature_view_projections}
        for service in store.list_feature_services()
    }
    assert set(views) == {"arrival_delay_v1", "arrival_delay_v2"}
    assert views["arrival_delay_v2"] == set(VIEWS)
    assert views["arrival_delay_v1"] == {view for view in VIEWS if view.endswith("_daily")}


def test_a_training_set_and_the_online_store_agree(store: FeatureStore, warehouse: Path) -> None:
    """For every flight due in the two hours after an instant: what offline gives at it, and online after loading it."""
    keys = read(
        warehouse,
        "select distinct on (flight_id) flight_id, carrier, origin, route, tailnum from training.examples_arrival_delay"
        f" where prediction_time between '{NOW}' and timestamptz '{NOW}' + interval 2 hour and tailnum is not null",
    )
    assert len(keys) > 50
    service = store.get_feature_service("arrival_delay_v2")
    offline = store.get_historical_features(
        entity_df=keys.assign(event_timestamp=pd.Timestamp(NOW)),
        features=service,
        full_feature_names=True,
        filter_by_created_timestamp=True,
    ).to_df()
    assert len(offline) == len(keys), "no row is dropped for want of a match"
    for view in store.list_feature_views():
        # Online expiry goes by the wall clock; a window that begins a ttl ago expires by the data's own.
        assert view.ttl
        store.materialize(start_date=NOW - view.ttl, end_date=NOW, feature_views=[view.name])
    online = store.get_online_features(
        features=service,
        entity_rows=keys.drop(columns="flight_id").to_dict("records"),
        full_feature_names=True,
    ).to_df()
    features = [column for column in online if "__" in column]
    assert len(features) == 40 + 12 + 5 + 2
    offline = offline.set_index("flight_id").loc[keys.flight_id].reset_index()
    for feature in features:
        one = pd.to_numeric(offline[feature]).astype(float)
        other = pd.to_numeric(online[feature]).astype(float)
        pd.testing.assert_series_equal(one, other, check_names=False, obj=feature)
    assert offline[features].notna().mean().mean() > 0.8


def test_a_correction_written_later_is_not_used(store: FeatureStore, home: Path, warehouse: Path) -> None:
    """A planted correction of today's row, known an hour from now, is used from then on and not before."""
    sql = f"select * from features.feat_carrier_daily where carrier = 'UA' and event_timestamp <= '{NOW}'"
    newest = read(warehouse, f"{sql} order by event_timestamp desc limit 1")
    known_at = pd.Timestamp(NOW) + pd.Timedelta(hours=1)
    planted = newest.assign(late_share_7d=0.987, created_at=known_at)
    for column in ("event_timestamp", "created_at"):
        planted[column] = planted[column].astype("datetime64[us, UTC]")
    file = home / "features" / "offline" / "feat_carrier_daily" / "planted.parquet"
    planted.to_parquet(file)
    try:
        asked = pd.DataFrame({"carrier": "UA", "event_timestamp": [pd.Timestamp(NOW), known_at]})
        got = store.get_historical_features(
            entity_df=asked, features=["carrier_daily:late_share_7d"], filter_by_created_timestamp=True
        ).to_df()
    finally:
        file.unlink()
    assert got.sort_values("event_timestamp").late_share_7d.tolist() == [newest.late_share_7d[0], 0.987]
