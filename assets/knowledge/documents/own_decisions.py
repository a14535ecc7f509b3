"""Decision records as documents: why a version was released or rolled back, and why a model was retrained or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from assets.knowledge.documents.document import Document
from assets.knowledge.documents.own_documents import DECISION, Labels, lines, month, own, told, version_link
from assets.knowledge.platform import MODEL

if TYPE_CHECKING:
    from assets.monitoring.record import Record
    from serving.rollout.state import Rollout

# Told in words, or lists of data that a reader has no use for.
TOLD = (
    "model", "version", "replaced", "strategy", "outcome", "why", "requested_by", "request_reason", "approved_by",
    "submitted_at", "decided_at", "steps", "trained_from",
)  # fmt: skip


def releases(rollouts: Iterable[Rollout], labels: Labels | None = None) -> list[Document]:
    """One document a release that was decided."""
    return [_release(rollout, rollout.record, labels) for rollout in rollouts if rollout.record is not None]


def _release(rollout: Rollout, record: Mapping[str, Any], labels: Labels | None) -> Document:
    model, version, replaced = rollout.model, str(record["version"]), record.get("replaced")
    outcome = str(record["outcome"]).replace("_", " ")
    decided = str(record.get("decided_at") or "")
    text = f"The release of version {version} of model {model} was {outcome} on {decided[:10]}"
    text += f", in place of version {replaced}." if replaced else "."
    text += f" Strategy: {str(record.get('strategy')).replace('_', ' ')}."
    text += f" Reason: {record['why']}." if record.get("why") else ""
    text += f" Requested by {record.get('requested_by')}, because {record.get('request_reason')}."
    text += f" Approved by {record['approved_by']}." if record.get("approved_by") else ""
    trained = record.get("trained_from")
    data = {k: v for k, v in trained.items() if not isinstance(v, Mapping)} if isinstance(trained, Mapping) else {}
    evidence = {name: value for name, value in record.items() if name not in TOLD and value}
    return own(
        DECISION,
        f"release-{rollout.id}",
        f"Release of {model}, version {version}: {outcome}",
        {
            "": text,
            "Steps": lines(_step(step) for step in record.get("steps") or ()),
            "Evidence": lines(f"{name}: {told(value)}" for name, value in evidence.items()),
            "Trained from": told(data),
        },
        [(MODEL, model), version_link(model, version), *([version_link(model, replaced)] if replaced else [])],
        labels,
        {"model": model, "version": version, "outcome": outcome, **({"date": decided[:10]} if decided else {})},
        f"rollouts/{model}/log.jsonl",
    )


def _step(step: Mapping[str, Any]) -> str:
    words = f"{step.get('at')}: {step.get('what')}"
    words += f" at {step['percent']}%" if step.get("percent") is not None else ""
    words += f", by {step['by']}" if step.get("by") else ""
    return words + (f", because {step['why']}" if step.get("why") else "")


def reviews(records: Iterable[Record], labels: Labels | None = None) -> list[Document]:
    """One document a review of a model."""
    return [_review(record, labels) for record in records]


def _review(record: Record, labels: Labels | None) -> Document:
    period = month(date.fromisoformat(record.period))
    action = record.action.replace("_", " ")
    text = f"The review of model {record.model} for {period} (revision {record.revision}) decided: {action}. "
    text += f"Why: {record.why}. Version under review: {record.champion or 'none'}."
    if record.cut:
        text += f" It learns from labels before {record.cut} and is judged on those until {record.until}."
    text += f" {record.outcome[:1].upper()}{record.outcome[1:]}." if record.outcome else ""
    raised = [f"{alarm.get('slice') or 'the model'}: {told(alarm)}" for alarm in record.raised]
    return own(
        DECISION,
        f"review-{record.id}",
        f"Review of {record.model}, {period}: {action}",
        {
            "": text,
            "Numbers": told(record.numbers),
            "Risk": told(record.risk),
            "Alarms": lines(raised),
            "What other policies would have done": told(record.others),
        },
        [(MODEL, record.model), *([version_link(record.model, record.champion)] if record.champion else [])],
        labels,
        {"model": record.model, "date": record.period, "outcome": action},
        f"reviews/{record.model}/{record.period}-{record.revision}.json",
    )
