"""Model cards: what each registered version is, was trained on, scored, and had to pass."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from assets.knowledge.documents.document import Document
from assets.knowledge.documents.own_documents import CARD, Labels, lines, own, told, version_link
from assets.knowledge.platform import MODEL
from serving.errors import ClearwayError

if TYPE_CHECKING:
    from assets.training.spec import ModelDeclaration
    from serving.models.registry import Version

FACTS, GATES, COMMIT = "clearway.facts", "clearway.gates", "clearway.commit"
# Told in sections of their own, or of no use to a reader.
APART = ("scores", "gates", "months", "parameters", "training_set", "evaluation_set", "snapshots", "commit")
OF_A_SET = ("from", "to", "as_of", "rows", "positive_share", "features", "feature_service", "key")


def model_cards(
    versions: Mapping[str, Sequence[Version]],
    declared: Mapping[str, ModelDeclaration],
    labels: Labels | None = None,
) -> list[Document]:
    """One document a version.

    Args:
        versions: of each registered model.
        declared: the domain's models by name; a registered one need not be among them.

    Raises:
        ClearwayError: the facts that are kept with a version are no JSON; names it.
    """
    return [
        _card(version, declared.get(model), labels)
        for model in sorted(versions)
        for version in sorted(versions[model], key=lambda v: int(v.version))
    ]


def _card(version: Version, declared: ModelDeclaration | None, labels: Labels | None) -> Document:
    facts = _facts(version)
    made = datetime.fromtimestamp(version.created_at / 1000, UTC).date().isoformat()
    gates = version.tags.get(GATES, "not judged")
    aliases = ", ".join(version.aliases)
    text = f"{declared.title}: {declared.description}\n\n" if declared else ""
    text += (
        f"Version {version.version} of model {version.model} was registered on {made}. Its gates: {gates}. "
        f"Aliases: {aliases or 'none'}. Run: {version.run_id or 'none'}. "
        f"Commit: {version.tags.get(COMMIT, 'not known')}."
    )
    rest = {name: value for name, value in facts.items() if name not in APART and value not in (None, [], {}, "")}
    return own(
        CARD,
        f"{version.model}-{version.version}",
        f"Model card of {version.model}, version {version.version}",
        {
            "": text,
            "Scores": lines(f"{name}: {_score(value)}" for name, value in _mapping(facts, "scores").items()),
            "Gates": lines(_gate(gate) for gate in _list(facts, "gates")),
            "Months of evaluation": lines(told(month) for month in _list(facts, "months")),
            "Training data": _set(_mapping(facts, "training_set")),
            "Evaluation data": _set(_mapping(facts, "evaluation_set")),
            "Parameters": told(_mapping(facts, "parameters")),
            "Further facts": lines(f"{name.replace('_', ' ')}: {told(value)}" for name, value in rest.items()),
        },
        [version_link(version.model, version.version), (MODEL, version.model)],
        labels,
        {"model": version.model, "version": version.version, "date": made, "gates": gates},
    )


def _facts(version: Version) -> dict[str, Any]:
    try:
        facts = json.loads(version.tags.get(FACTS, "{}"))
    except ValueError as error:
        raise ClearwayError(
            f"model {version.model}, version {version.version}: its tag {FACTS} is no JSON: {error}",
            untouched="the registry.",
            todo="mend the tag, or remove the version.",
        ) from error
    return facts if isinstance(facts, dict) else {}


def _mapping(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = facts.get(name)
    return found if isinstance(found, Mapping) else {}


def _list(facts: Mapping[str, Any], name: str) -> list[Any]:
    found = facts.get(name)
    return found if isinstance(found, list) else []


def _score(value: Any) -> str:
    if isinstance(value, Mapping) and {"value", "low", "high"} <= value.keys():
        return f"{told(value['value'])} ({told(value['low'])} to {told(value['high'])})"
    return told(value)


def _gate(gate: Any) -> str:
    if not isinstance(gate, Mapping) or "gate" not in gate:
        return told(gate)
    did = "passed" if gate.get("passed") else "failed"
    return f"{gate['gate']} {did}: observed {told(gate.get('observed'))}; expected {told(gate.get('expected'))}"


def _set(facts: Mapping[str, Any]) -> str:
    return told({name: facts[name] for name in OF_A_SET if facts.get(name) is not None})
