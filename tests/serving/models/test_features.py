"""Features come from the window that the pointer names, at once when it moves, and never from a store that is gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from serving.models.features import FeaturesUnavailable, OnlineFeatures, _redis_connection
from serving.settings import Settings
from tests.serving.models import toy

pytestmark = pytest.mark.integration
KEYS = {"bed_id": "bed-3", "bed_crop_id": "bed-3-kale"}


def test_values_and_times_of_each_key(home: Settings) -> None:
    features = OnlineFeatures(toy.SERVICE, home)
    features.check()
    known, empty, nobody = features.read([KEYS, {**KEYS, "bed_id": "bed-0"}, {"bed_id": "", "bed_crop_id": "x"}])
    assert known.values == {"bed_soil__moisture_7d": 0.5, "bed_soil__soil": "loam", "bed_crop__thirst": 1.25}
    assert known.times == dict.fromkeys(("bed_soil", "bed_crop"), datetime(2024, 5, 31, 21, tzinfo=UTC))
    assert "bed_soil__moisture_7d" not in empty.values
    assert nobody.values == {}
    assert nobody.times == {}


def test_a_value_older_than_its_ttl_is_absent_and_its_time_says_why(home: Settings) -> None:
    features = OnlineFeatures(toy.SERVICE, home)
    known_at = datetime(2024, 5, 31, 21, tzinfo=UTC)
    last = known_at + timedelta(days=60)
    within, expired = features.read([KEYS, KEYS], [last, last + timedelta(seconds=1)])
    assert set(within.values) == {"bed_soil__moisture_7d", "bed_soil__soil", "bed_crop__thirst"}
    assert expired.values == {}
    assert expired.times == within.times == dict.fromkeys(("bed_soil", "bed_crop"), known_at)


def test_it_follows_the_pointer_and_notices_a_store_that_goes(home: Settings) -> None:
    features = OnlineFeatures(toy.SERVICE, home)
    assert features.read([KEYS])[0].values["bed_soil__moisture_7d"] == 0.5
    file = toy.materialise(home, "w2", moisture=0.75)
    assert features.read([KEYS])[0].values["bed_soil__moisture_7d"] == 0.75
    assert features.window == "w2"

    hidden = file.with_suffix(".hidden")
    file.rename(hidden)
    for _ in range(2):
        with pytest.raises(FeaturesUnavailable, match=r"online\.db does not exist"):
            features.read([KEYS])
    assert not file.exists()  # and no empty store was made in its place
    hidden.rename(file)
    assert features.read([KEYS])[0].values["bed_soil__moisture_7d"] == 0.75

    pointer = home.online_pointer.read_text()
    for broken in ("{", "{}", "[]"):
        home.online_pointer.write_text(broken)
        with pytest.raises(FeaturesUnavailable, match="pointer cannot be read"):
            features.read([KEYS])
    home.online_pointer.unlink()
    with pytest.raises(FeaturesUnavailable, match=r"current\.json does not exist"):
        features.check()
    home.online_pointer.write_text(pointer)
    features.check()


def test_a_corrupt_store_and_an_unknown_service_are_unavailable_not_a_crash(home: Settings) -> None:
    with pytest.raises(FeaturesUnavailable, match="cannot be opened"):
        OnlineFeatures("no_such_service", home).check()
    file = toy.materialise(home, "w3")
    file.write_bytes(b"this is no database" * 1000)
    with pytest.raises(FeaturesUnavailable, match="cannot be read"):
        OnlineFeatures(toy.SERVICE, home).read([KEYS])
    toy.materialise(home, "w4")


def test_redis_addresses_become_feasts_own() -> None:
    assert _redis_connection("redis://cache:6380/2") == "cache:6380,db=2"
    assert _redis_connection("rediss://me:p%40ss@cache") == "cache:6379,db=0,username=me,password=p@ss,ssl=true"
