"""A tuned copilot as a registry version: made once of what it depends on, judged, and challenger when it passes."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.declared import fingerprint
from assets.training.llm import baselines, red_team
from assets.training.llm.adapter import Adapter
from assets.training.llm.dataset import Dataset, known, manifest_key
from assets.training.llm.evaluate import Judge, Judged, ask, lines, table
from assets.training.llm.gates import gates
from assets.training.llm.spec import CopilotDeclaration
from assets.training.tabular.register import KEY_TAG, client, code_commit
from assets.training.tabular.version import stable_version
from serving.errors import ClearwayError
from serving.faults import boundary
from serving.llm.fits import base_digest
from serving.llm.once import serving
from serving.llm.register import register
from serving.llm.spec import base_of
from serving.models.registry import CHALLENGER, set_alias
from serving.semantics import reply
from serving.semantics.asking import COPILOT, body, speaks_for_others
from serving.semantics.catalogue import Catalogue
from serving.semantics.linking import linker
from serving.semantics.query import QueryError
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.semantics.engine import MetricEngine

CODE_VERSION = "1"
FACTS, GATES, MANIFEST, SCHEMA, TUNED, BASE = (
    "clearway.facts", "clearway.gates", "clearway.manifest", "clearway.schema", "clearway.tuned", "clearway.base"
)  # fmt: skip
BASE_KEY = "base"
MOST_MARKED = 200
MOST_SAID = 400  # characters of a wrong reply that are kept
ALONE = 20  # questions of the base's that are asked one after another, for the time that one user waits


@dataclass(frozen=True)
class Version:
    """A registry version of the copilot; ``facts`` are what was measured, JSON."""

    version: str
    passed: bool
    facts: dict[str, Any]
    new: bool


def find(settings: Settings, key: str) -> tuple[str, dict[str, str]] | None:
    """(number, tags) of the newest version of this key."""
    found = client(settings).search_model_versions(f"name = '{COPILOT}' and tag.`{KEY_TAG}` = '{key}'")
    if not found:
        return None
    newest = max(found, key=lambda v: int(v.version))
    return str(newest.version), dict(newest.tags)


def base_version(declared: CopilotDeclaration, engine: MetricEngine, pairs: Dataset, settings: Settings) -> str:
    """The untuned base with its instructions in the chat template, registered once for each manifest."""
    catalogue = engine.catalogue()
    key = f"{BASE_KEY}-{fingerprint([CODE_VERSION, declared.server, manifest_key(catalogue)])}"
    found = find(settings, key)
    if found is not None:
        return found[0]
    rows = [json.loads(line) for line in pairs.path.read_text().splitlines()]
    told = baselines.instructions(catalogue, baselines.chosen(rows))
    file = settings.home / "copilot" / "base_chat_template.jinja"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(baselines.template(told, Path(base_of(declared.spec(), settings))))
    tags = {KEY_TAG: key, MANIFEST: manifest_key(catalogue), TUNED: "no"}
    return register(declared.spec(), template=file, tags=tags, alias=None, settings=settings)


def make(
    declared: CopilotDeclaration,
    engine: MetricEngine,
    pairs: Dataset,
    adapter: Adapter,
    marked: Sequence[dict[str, str]],
    settings: Settings,
    progress: Callable[[str], None],
) -> Version:
    """Register the tuned model, judge it by the served replies, and make it challenger when its gates pass.

    A version that was registered and not judged, because its run was killed, is judged by the next run.

    Args:
        marked: questions that users marked wrong, as lines of the pairs' file.

    Raises:
        ClearwayError: the registry, the server or the warehouse cannot be read, or has other metrics than the pairs.
    """
    catalogue = engine.catalogue()
    if pairs.card["manifest"] != manifest_key(catalogue):
        raise ClearwayError(
            f"the pairs {pairs.card['key']} were drawn of other metrics than are published now.",
            untouched="every version.",
            todo="run the job copilot again: it draws pairs of what there is, and tunes on them.",
        )
    key = fingerprint([CODE_VERSION, adapter.key, declared.server, manifest_key(catalogue)])
    found = find(settings, key)
    if found is None:
        version = _register(declared, adapter, pairs, catalogue, key, settings)
        boundary("copilot.registered")
        tags: dict[str, str] = {}
        progress(f"version {version} is registered")
    else:
        version, tags = found
    # What users get is part of it: a version is compared with that. One that failed is measured again.
    against = stable_version(COPILOT, settings)
    against = None if against == version else against
    judged_by = fingerprint([declared.gates.model_dump(), declared.questions.model_dump(), list(marked), against])
    if tags.get("clearway.judged") == judged_by and tags.get(GATES) == "passed":
        facts = json.loads(tags[FACTS])
        made = Version(version, tags[GATES] == "passed", facts, False)
    else:
        facts = judge(declared, engine, pairs, version, marked, settings, progress)
        facts |= {"commit": code_commit(), "tuning": {"steps": len(adapter.losses), "seconds": adapter.seconds,
                                                      "cpu_seconds": adapter.cpu_seconds}}  # fmt: skip
        made = Version(version, all(gate["passed"] for gate in facts["gates"]), facts, True)
        mlflow_client = client(settings)
        told = json.dumps(facts, ensure_ascii=False)
        for name, value in (
            (FACTS, told),
            (GATES, "passed" if made.passed else "failed"),
            ("clearway.judged", judged_by),
        ):
            mlflow_client.set_model_version_tag(COPILOT, version, name, value)
    boundary("copilot.judged")
    if made.passed:
        set_alias(COPILOT, CHALLENGER, version, settings)
    return made


def _register(
    declared: CopilotDeclaration, adapter: Adapter, pairs: Dataset, catalogue: Catalogue, key: str, settings: Settings
) -> str:
    from mlflow.entities import Metric, Param

    mlflow_client = client(settings)
    experiment = mlflow_client.get_experiment_by_name(COPILOT)
    ident = (
        experiment.experiment_id
        if experiment
        else mlflow_client.create_experiment(COPILOT, f"{settings.mlflow_artifacts}/{COPILOT}")
    )
    run = mlflow_client.create_run(ident, run_name=f"{COPILOT}-{key[:8]}").info.run_id
    losses = [Metric("loss", step["loss"], 0, step["step"]) for step in adapter.losses]
    for begin in range(0, len(losses), 500):
        mlflow_client.log_batch(run, metrics=losses[begin : begin + 500])
    settings_of = {**declared.tuning.model_dump(), "pairs": pairs.card["key"], "base": declared.spec().base}
    if declared.student is not None:
        settings_of |= {f"student_{name}": value for name, value in declared.student.model_dump().items()}
    mlflow_client.log_batch(run, params=[Param(k, str(v)) for k, v in settings_of.items()])
    mlflow_client.log_dict(run, pairs.card, "pairs.json")
    mlflow_client.set_terminated(run)
    spec = declared.spec(metadata={"pairs": pairs.card["key"], "commit": code_commit()})
    base = Path(base_of(spec, settings))
    tags = {KEY_TAG: key, MANIFEST: manifest_key(catalogue), SCHEMA: fingerprint(reply.schema(catalogue)), TUNED: "yes",
            BASE: base_digest(base) if base.is_dir() else str(base), "clearway.commit": code_commit()}  # fmt: skip
    only, whole = (None, adapter.path) if declared.whole else (adapter.path, None)
    return register(spec, only, weights=whole, run_id=run, tags=tags, alias=None, settings=settings)


def asked(declared: CopilotDeclaration, pairs: Path, seed: int) -> list[dict[str, str]]:
    """The held-out questions that an evaluation asks, the same for every version of the same pairs."""
    chance, counts = random.Random(seed), declared.questions
    groups: dict[str, list[dict[str, str]]] = {
        name: [] for name in ("phrasing", "refusal", "combination", "value", "korean")
    }
    for line in lines(pairs):
        split = "refusal" if line["kind"] == "refusal" else line["split"]
        groups["korean" if line["language"] == "ko" else split].append(line)
    found = []
    for name, members in groups.items():
        found += chance.sample(members, min(len(members), getattr(counts, name)))
    return found


def judge(
    declared: CopilotDeclaration,
    engine: MetricEngine,
    pairs: Dataset,
    version: str,
    marked: Sequence[dict[str, str]],
    settings: Settings,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Ask a version's own server everything, and say how it does beside base, nearest question and champion."""
    catalogue = engine.catalogue()
    schema, questions = reply.schema(catalogue), asked(declared, pairs.path, declared.seed)
    hostile = red_team.prompts(known(engine), declared.seed)
    asked_hostile = [prompt for prompt in hostile if not speaks_for_others(prompt.question)]
    linked = linker(engine)

    def asking(these: Iterable[str]) -> list[dict[str, Any]]:
        return [body(question, linked(question), schema) for question in these]

    judge_one = Judge(engine)
    some = random.Random(declared.seed).sample(questions, min(declared.questions.base, len(questions)))
    with serving(COPILOT, version, settings) as url:
        progress(f"version {version}: {len(questions)} questions")
        said = ask(url, asking(line["question"] for line in questions))
        alone = ask(url, asking(line["question"] for line in some[:ALONE]), at_once=1)
        said_marked = ask(url, asking(line["question"] for line in marked))
        said_hostile = ask(url, asking(prompt.question for prompt in asked_hostile))
    progress(f"the untuned base: {len(some)} of them")
    with serving(COPILOT, base_version(declared, engine, pairs, settings), settings) as url:
        of_base = ask(url, asking(line["question"] for line in some), rival=True)
    judged = [judge_one(line, each) for line, each in zip(questions, said, strict=True)]
    near = baselines.Nearest(pairs.path)([line["question"] for line in questions])
    nearest = [judge_one(line, each) for line, each in zip(questions, near, strict=True)]
    base = [judge_one(line, each) for line, each in zip(some, of_base, strict=True)]
    of_marked = [judge_one(line, each) for line, each in zip(marked, said_marked, strict=True)]
    champion = _champion(engine, questions, asking, version, settings, progress)
    facts: dict[str, Any] = {
        "version": version,
        "manifest": manifest_key(catalogue),
        "metrics": sorted(catalogue.metrics),
        "pairs": pairs.card["key"],
        "by_question": table(judged),
        "nearest": table(nearest),
        "base": table(base),
        "marked": table(of_marked),
        "seconds": [round(each.seconds, 4) for each in alone],
        "completion_tokens": sum(each.completion_tokens for each in said) / len(said),
        "wrong": [
            {"question": j.line["question"], "right": j.line["reply"], "said": j.said.text[:MOST_SAID]}
            for j in judged if not j.executed
        ][:40],
        "went_along": [
            {"question": p.question[:MOST_SAID], "said": s.text[:MOST_SAID]}
            for p, s in zip(asked_hostile, said_hostile, strict=True) if not red_team.held(p, s.text)
        ],
    }  # fmt: skip
    facts["gates"] = gates(declared.gates, judged, nearest, base, champion, of_marked, len(hostile), facts)
    return facts


def _champion(
    engine: MetricEngine,
    questions: Sequence[dict[str, str]],
    asking: Callable[[Iterable[str]], list[dict[str, Any]]],
    version: str,
    settings: Settings,
    progress: Callable[[str], None],
) -> list[Judged]:
    """What users get now, on the same questions; nothing when that is the base, this version, or nothing at all."""
    stable = stable_version(COPILOT, settings)
    if stable is None or stable == version:
        return []
    if client(settings).get_model_version(COPILOT, stable).tags.get(TUNED) != "yes":
        return []
    progress(f"the champion, version {stable}: the same questions")
    judge_one = Judge(engine)
    with serving(COPILOT, stable, settings) as url:
        said = ask(url, asking(line["question"] for line in questions), rival=True)
    return [judge_one(line, each) for line, each in zip(questions, said, strict=True)]


def marked_lines(marks: Sequence[dict[str, Any]], log: Callable[[str], None]) -> list[dict[str, str]]:
    """The newest marked questions whose right query is known and still a query, as lines of the pairs' file."""
    found = []
    for mark in [m for m in marks if m.get("query")][-MOST_MARKED:]:
        try:
            right = reply.write(reply.read(json.dumps(mark["query"])))
        except QueryError as error:
            log(f"marked question {mark.get('id')} is left out: {error.what}")
            continue
        language = "ko" if re.search("[가-힣]", mark["question"]) else "en"
        found.append({"question": mark["question"], "today": mark["today"], "reply": right, "language": language,
                      "kind": "marked", "split": "marked"})  # fmt: skip
    return found
