"""The second version of a model: compared with the champion on the same rows, released only when it is not worse."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from serving.models.registry import versions
from serving.rollout.read import read_state
from serving.settings import Settings
from tests.running import SECOND_DOMAIN, Place

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]
MODEL = "late_return"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("next")
    shutil.copytree(SECOND_DOMAIN, folder / "domain")
    made = Place(folder / "home", folder / "domain")
    try:
        yield made
    finally:
        made.python("-m", "orchestration.ui", "stop")


def declare(folder: Path, margin: float) -> None:
    """A revision of the feature list that forgets the reader's lateness, which is what the model lives on."""
    views = folder / "feature_repo" / "features.py"
    if "late_return_v2" not in views.read_text():
        views.write_text(
            views.read_text()
            + 'late_return_v2 = FeatureService(name="late_return_v2", features=[reader_daily[["loans"]]])\n'
        )
    file = folder / "models" / f"{MODEL}.yaml"
    content = yaml.safe_load(file.read_text())
    content["feature_service"] = "late_return_v2"
    content["inputs"] = [i for i in content["inputs"] if i["name"] != "reader_late_share"]
    content["gates"]["floor"] = {"auc": 0.5, "log_loss": 1.0}
    content["gates"]["champion"] = {"margin": margin}
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def test_a_worse_version_stays_without_alias_and_a_tolerated_one_is_released(place: Place) -> None:
    settings = Settings(home=place.home, domain=place.domain)
    first = place.python("-m", "orchestration.run")
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]

    declare(place.domain, margin=0.0)
    refused = place.python("-m", "orchestration.run")
    assert refused.returncode == 1
    found = {v.version: v for v in versions(MODEL, settings)}
    assert found["2"].tags["clearway.gates"] == "failed"
    assert found["2"].aliases == ()
    assert "champion" in found["1"].aliases
    state = read_state(MODEL, settings)
    assert state.stable is not None
    assert state.arms[state.stable].version == "1"
    assert "champion" in refused.stdout

    declare(place.domain, margin=0.5)
    released = place.python("-m", "orchestration.run")
    assert released.returncode == 0, released.stdout[-3000:] + released.stderr[-3000:]
    state = read_state(MODEL, settings)
    assert state.stable is not None
    assert state.arms[state.stable].version == "3"
    assert state.previous is not None
    assert state.arms[state.previous].version == "1"  # blue is kept
    key = (place.home / "local.key").read_text().strip()
    answer = httpx.post(
        f"http://127.0.0.1:{place.ports['GATEWAY']}/v1/predictions/{MODEL}",
        headers={"authorization": f"Bearer {key}"},
        json={"branch": "south", "reader": "r007", "genre": "history", "lent_at": "2021-05-01T10:00:00Z"},
    )
    assert answer.json()["version"] == "3"
    record = next(r for r in state.rollouts.values() if r.version == "3").record
    assert record is not None
