"""What followed from each review: version, gates, rollout, read back from the registry and the rollouts' log."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assets.monitoring.record import Record, Records
from assets.training.tabular.register import DECISION
from serving.errors import ClearwayError
from serving.models.registry import Version, versions
from serving.rollout.read import list_rollouts
from serving.rollout.state import Rollout
from serving.settings import Settings

TAGS = "tags"


@dataclass(frozen=True)
class Chapter:
    """A review and what came of it.

    Attributes:
        version: registry version that a decision to retrain led to; None without one.
        gates: ``passed``, or the gates that failed; empty without a version.
        rollout: its status, and why it ended so; empty without one.
        ended: whether its rollout is over, or waits for a person.
        followed: the record of the review that could tell what the version has brought; None before it.
    """

    record: Record
    version: str | None = None
    gates: str = ""
    rollout: str = ""
    ended: bool = False
    followed: Record | None = None

    @property
    def carried_out(self) -> bool:
        """Whether a decision to retrain has led to a rollout, or to a version that may have none."""
        return self.state == "rejected" or bool(self.rollout)

    @property
    def state(self) -> str:
        """In a word: what became of the decision."""
        if self.record.action != "retrain":
            return ""
        if self.version is None:
            return "not trained yet"
        if self.gates != "passed":
            return "rejected"
        return self.rollout.split(":")[0] or "not released yet"


def history(model: str, settings: Settings) -> list[Chapter]:
    """Every review of a model, oldest first.

    Raises:
        ClearwayError: a record cannot be read. A registry that cannot be reached leaves versions out.
    """
    records = Records(settings.reviews, model).all()
    try:
        made = [(v.version, {**_facts(v), TAGS: v.tags}) for v in versions(model, settings)] if records else []
    except ClearwayError:
        made = []
    rollouts = list_rollouts(model, settings) if records else []
    followed = {str(r.brought["version"]): r for r in records if r.brought}
    return [_chapter(record, made, rollouts, followed) for record in records]


def _facts(version: Version) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(version.tags.get("clearway.facts", "{}"))
    return found


def _chapter(
    record: Record,
    made: Sequence[tuple[str, dict[str, Any]]],
    rollouts: Sequence[Rollout],
    followed: Mapping[str, Record],
) -> Chapter:
    mine = [(v, facts) for v, facts in made
            if facts.get("decision") == record.id or DECISION + record.id in facts[TAGS]]  # fmt: skip
    if not mine:
        return Chapter(record)
    version, facts = max(mine, key=lambda item: int(item[0]))
    failed = [f"{gate['gate']}: {gate['observed']}" for gate in facts["gates"] if not gate["passed"]]
    rollout = next((r for r in reversed(rollouts) if r.version == version), None)
    told = "" if rollout is None else rollout.status + (f": {rollout.reason}" if rollout.reason else "")
    ended = rollout is not None and (rollout.done or rollout.stopped is not None)
    return Chapter(record, version, "; ".join(failed) or "passed", told, ended, followed.get(version))
