"""What operations push is kept before it is answered, or refused by event and field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serving.events.reader import closed_segments, read_segment
from serving.gateway.app import create_app
from serving.gateway.keys import create_key
from serving.settings import Settings

EVENT = {"known_at": "2013-04-01T08:10:00-04:00", "record": {"carrier": "UA", "flight": 1545}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    sources = tmp_path / "domain" / "sources"
    sources.mkdir(parents=True)
    (sources / "flights.yaml").write_text("name: flights\nfeed: {late_minutes: 60}\n")
    (sources / "planes.yaml").write_text("name: planes\n")
    return Settings(home=tmp_path / "home", domain=tmp_path / "domain")


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    keys = {scope: create_key(f"{scope}-key", [scope], settings) for scope in ("feed", "predict")}
    with TestClient(create_app(settings)) as made:
        made.headers["authorization"] = f"Bearer {keys['feed']}"
        made.other = keys["predict"]  # type: ignore[attr-defined]
        yield made


def kept(settings: Settings) -> list[dict[str, Any]]:
    return [event for path in closed_segments(settings.feeds / "flights") for event in read_segment(path)]


def test_events_are_kept_with_when_they_came_and_from_whom(settings: Settings) -> None:
    key = create_key("ops", ["feed"], settings)
    with TestClient(create_app(settings)) as client:
        client.headers["authorization"] = f"Bearer {key}"
        one = client.post("/v1/feeds/flights", json=EVENT)
        assert (one.status_code, one.json()["taken"]) == (202, 1)
        assert client.post("/v1/feeds/flights", json=[EVENT, EVENT]).json()["taken"] == 2
    found = kept(settings)
    assert len(found) == 3
    assert found[0]["known_at"] == "2013-04-01T12:10:00Z"
    assert found[0]["record"] == EVENT["record"]
    assert found[0]["caller"] == "ops"
    assert found[0]["received_at"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ([EVENT, {"record": {"a": 1}}], "event 1: expected"),
        ([EVENT, {"record": {"a": 1}}], "'known_at' is missing"),
        ({**EVENT, "known_at": "2013-04-01T08:10:00"}, "known_at has no offset"),
        ({**EVENT, "record": {}}, "record is no object"),
        ({**EVENT, "record": [1]}, "event 0: expected"),
        (["x"], "event 0: expected"),
    ],
)
def test_what_is_no_event_is_refused_whole(client: TestClient, settings: Settings, body: Any, told: str) -> None:
    answer = client.post("/v1/feeds/flights", json=body)
    assert answer.status_code == 422
    assert told in answer.json()["error"]["message"]
    assert not list(settings.feeds.rglob("*.open"))


def test_who_may_and_about_what(client: TestClient) -> None:
    for name in ("trains", "planes"):
        refused = client.post(f"/v1/feeds/{name}", json=EVENT).json()["error"]
        assert refused["reason"] == "unknown_source"
        assert refused["message"].endswith("has a feed; those that have: flights")
    assert client.post("/v1/feeds/..%2Fkeys", json=EVENT).status_code == 404
    assert client.post("/v1/feeds/flights", content="{").status_code == 400
    other = {"authorization": f"Bearer {client.other}"}  # type: ignore[attr-defined]
    assert client.post("/v1/feeds/flights", json=EVENT, headers=other).status_code == 403


def test_events_that_cannot_be_kept_are_not_taken(client: TestClient, settings: Settings) -> None:
    settings.feeds.mkdir(parents=True)
    (settings.feeds / "flights").write_text("a file where the folder should be")
    answer = client.post("/v1/feeds/flights", json=EVENT)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "not_recorded")


def test_what_a_killed_gateway_left_open_is_closed_when_the_next_one_starts(settings: Settings) -> None:
    left = settings.feeds / "flights" / "gateway" / "000001.open"
    left.parent.mkdir(parents=True)
    left.write_text('{"known_at": "2013-04-01T12:10:00Z", "record": {"flight": 1}}\n{"torn')
    with TestClient(create_app(settings)):
        assert [event["record"] for event in kept(settings)] == [{"flight": 1}]
