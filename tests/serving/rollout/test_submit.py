"""A submission has one effect, waits its turn, and can be watched."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.errors import ClearwayError
from serving.rollout import read
from serving.rollout.log import RolloutLog
from serving.rollout.plan import ReleasePlan
from serving.rollout.read import list_rollouts, read_rollout, wait_for
from serving.rollout.submit import folder, submit, take_back, waiting
from serving.settings import Settings

PLAN = ReleasePlan(model="m", version="1")


def test_submissions_wait_in_order_and_an_own_id_counts_once(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    first = submit(PLAN, settings)
    again = [submit(ReleasePlan(model="m", version="2"), settings, "mine") for _ in range(2)]
    assert again == ["mine", "mine"]
    assert [item["id"] for item in waiting(settings)] == [first, "mine"]
    assert [(r.id, r.phase) for r in list_rollouts("m", settings)] == [(first, "queued"), ("mine", "queued")]

    RolloutLog("m", settings).append("submitted", "mine", plan=PLAN.model_dump(mode="json"))
    take_back("mine", settings)
    submit(PLAN, settings, "mine")  # the log knows it: nothing waits again
    assert [item["id"] for item in waiting(settings)] == [first]
    assert read_rollout("m", "mine", settings).phase == "submitted"


def test_what_is_no_submission_is_left_out(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    submit(PLAN, settings, "good")
    for name, text in {"a.json": "{", "b.json": "[]", "c.json": '{"id": "c"}', ".hidden": "x"}.items():
        (folder(settings) / name).write_text(text)
    assert [item["id"] for item in waiting(settings)] == ["good"]


def test_bad_ids_unknown_rollouts_and_slow_ones_are_told(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with pytest.raises(ClearwayError, match="expected letters"):
        submit(PLAN, settings, "../../etc")
    with pytest.raises(ClearwayError, match="no rollout 'x'"):
        read_rollout("m", "x", settings)
    submit(PLAN, settings, "slow")
    with pytest.raises(ClearwayError, match="still queued"):
        wait_for("m", "slow", 0.1, settings, poll_s=0.05)


def test_a_submission_that_is_taken_while_it_is_looked_for_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller logs it and takes it out of the queue between an observer's two reads."""
    settings = Settings(home=tmp_path)
    ident = submit(PLAN, settings, "taken")

    def take(*_: object) -> list[object]:
        found = waiting(settings)
        content = PLAN.model_dump(mode="json")
        RolloutLog(PLAN.model, settings).append("submitted", ident, plan=content, submitted_at="2024-01-01T00:00:00Z")
        take_back(ident, settings)
        return list(found)

    monkeypatch.setattr(read, "waiting", take)
    assert [r.phase for r in list_rollouts(PLAN.model, settings)] == ["submitted"]
