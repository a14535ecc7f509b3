"""A release may change what a model is fed: another feature service, another request schema, other training data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from serving.models.skew import InputSkew, training_ranges
from tests.serving.models import toy
from tests.serving.rollout.canary import Laptop, Users

pytestmark = pytest.mark.integration
V1, V2, V3 = (f"{toy.MODEL}-v{n}" for n in (1, 2, 3))
NEW = {**toy.REQUEST, "sun": 7.5}


def changed() -> dict[str, Any]:
    """Version 2 needs a request field that version 1 refuses, and features of another service."""
    declared = toy.spec().model_dump(mode="json")
    request = [*declared["request"], {"name": "sun", "type": "number", "example": 7.5}]
    dropped = ("moisture", "soil")
    inputs = [i for i in declared["inputs"] if i["name"] not in dropped]
    inputs.append({"name": "sun", "source": {"request": {"take": "value", "fields": ["sun"]}}})
    return {"request": request, "inputs": inputs, "feature_service": toy.OTHER_SERVICE,
            "keys": {"bed_crop_id": "{bed}-{crop}"}}  # fmt: skip


def trained_on(low: float, high: float) -> dict[str, Any]:
    """A version whose training saw litres in this range."""
    import numpy as np

    inputs = toy.spec().inputs
    rng = np.random.default_rng(0)
    training = np.column_stack(
        [rng.uniform(low, high, 300) if i.name == "litres" else np.full(300, np.nan) for i in inputs]
    )
    ranged = training_ranges(inputs, training)
    assert InputSkew(ranged).known
    return {"inputs": [i.model_dump(mode="json") for i in ranged]}


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    folder = tmp_path_factory.mktemp("home")
    settings = toy.home(folder, versions=0)
    assert toy.register(settings, folder / "trained" / "1", 1, **trained_on(1, 10)) == "1"
    assert toy.register(settings, folder / "trained" / "2", 2, **changed()) == "2"
    assert toy.register(settings, folder / "trained" / "3", 3, **trained_on(4000, 5000)) == "3"
    found = Laptop(settings)
    try:
        yield found
    finally:
        found.stop()


def post(laptop: Laptop, request: dict[str, Any]) -> httpx.Response:
    return httpx.post(laptop.url, json=request, headers=laptop.headers)


def features(laptop: Laptop, arm: str) -> set[str]:
    folder = laptop.settings.events / arm
    lines = [line for file in folder.glob("*.*") for line in file.read_text().splitlines()]
    return {name for line in lines for name in json.loads(line)["features"]}


def test_a_version_whose_training_saw_other_inputs_is_rolled_back(laptop: Laptop) -> None:
    gates = {"latency": [], "scalars": [{"measure": "input_skew", "promote_margin": 0.02}]}
    with Users(laptop) as users:
        rollout = laptop.done(laptop.submit("3", gates=gates))
    assert rollout.phase == "rolled_back"
    assert "gate input_skew: 0.0769 on the new version against 0 on stable" in str(rollout.reason)
    assert set(users.statuses) == {"200"}


def test_both_versions_are_fed_what_they_need_and_both_schemas_are_answered(laptop: Laptop) -> None:
    assert post(laptop, NEW).status_code == 422, "before the release nobody knows the field"
    gates = {"latency": [], "scalars": []}
    ident = laptop.submit("2", gates=gates, steps=[{"weight": 50, "min_seconds": 600}, 100])
    laptop.until(ident, "stepped")
    httpx_statuses: set[int] = set()
    with Users(laptop, 20) as users:  # who know nothing of the release
        versions = set()
        for _ in range(60):
            response = post(laptop, NEW)
            httpx_statuses.add(response.status_code)
            versions.add(response.json().get("version"))
    assert (httpx_statuses, versions) == ({200}, {"1", "2"}), "callers of the new schema are answered by both"
    assert (set(users.statuses), set(users.versions)) == ({"200"}, {"1"}), "callers of the old one by stable"
    assert "bed_soil__moisture_7d" in features(laptop, V1)
    assert features(laptop, V2) == {"bed_crop__thirst"}
    url = f"{laptop.settings.gateway_url}/v1/rollouts/{toy.MODEL}/promote"
    assert httpx.post(url, json={"reason": "callers have moved"}, headers=laptop.headers).status_code == 202
    assert laptop.done(ident).phase == "completed"
    assert post(laptop, NEW).json()["version"] == "2"
    refused = post(laptop, toy.REQUEST)
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "sun")
