"""The metric copilot on questions that it never saw, beside the base, the nearest question and a student.

Needs ``make llm``. The tuning is the declared one; client and server share the machine.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.delivery_llm import link_models, refuse_unless_installed
from benchmarks.harness import World
from benchmarks.report import Row
from serving.settings import PROJECT, Settings

AIMS = {"en: phrasing": 3.0, "en: combination": 8.0, "en: refusal": 5.0}
P50_S = 2.5
AT_ONCE = (1, 4, 16)


def measure(world: World) -> list[Row]:
    refuse_unless_installed()
    home = world.built()
    steps = {"steps": 4} if world.quick else {}
    most = 20 if world.quick else 10_000
    world.say("tuning")
    tuned = world.call(home, "benchmarks.copilot:tune", **steps).result
    rows = [Row("CPU seconds of the tuning", "s", (tuned["cpu_seconds"],)),
            Row("seconds of the tuning", "s", (tuned["seconds"],))]  # fmt: skip
    world.say("the held-out questions")
    found = world.call(home, "benchmarks.copilot:ask_all", version=tuned["version"], most=most).result
    world.details = {"tables": found["tables"], "tokens": found["tokens"]}
    by_name = {who: {row["questions"]: row for row in table} for who, table in found["tables"].items()}
    for questions, row in sorted(by_name["copilot"].items()):
        rows.append(Row(f"{questions}: wrong results of {row['asked']}", "%", (_wrong(row),), aim=AIMS.get(questions)))
        rows.append(Row(f"{questions}: not the very query", "%", (round(100 * (1 - row["exact"]), 2),)))
        for who, other in by_name.items():
            if who != "copilot" and questions in other and not questions.startswith("en kind"):
                rows.append(Row(f"{questions}: the same of {who}", "%", (_wrong(other[questions]),)))
    rows.append(Row("invalid replies", "%", (100 * found["invalid"],), aim=0.0))
    for language, mean in found["prompts"].items():
        rows.append(Row(f"tokens of a prompt, {language}", "", (round(mean, 1),)))
    for number in AT_ONCE:
        rows.append(Row(f"tokens a second, {number} at once", "1/s", (found["tokens"][str(number)],)))
    world.say("questions through the gateway")
    answered = world.call(home, "benchmarks.copilot:through_gateway", version=tuned["version"],
                         count=5 if world.quick else 60).result  # fmt: skip
    rows.append(Row("question to rows, one user, p50", "s", tuple(answered["seconds"]), aim=P50_S))
    rows.append(Row("of them without rows", "%", (100 * answered["without"],)))
    world.say("a student of half the layers")
    student = world.call(home, "benchmarks.copilot:distil", most=most,
                         **({"steps": 4, "teacher_steps": 4} if world.quick else {})).result  # fmt: skip
    for row in student["table"]:
        if not row["questions"].startswith("en kind"):
            rows.append(Row(f"student, {row['questions']}: wrong results", "%", (_wrong(row),)))
    rows.append(
        Row("student, tokens a second, 1 at once", "1/s", (student["rate"],), "copilot", (found["tokens"]["1"],))
    )
    rows.append(Row("student, CPU seconds of the distillation", "s", (student["cpu_seconds"],)))
    world.details["student"] = student["table"]
    return rows


def _wrong(row: dict[str, Any]) -> float:
    return round(100 * (1 - row["right"]), 2)


def _run(command: list[str], variables: dict[str, str]) -> None:
    subprocess.run(command, env={**os.environ, **variables}, check=True)


@contextmanager
def _known() -> Iterator[tuple[Any, Any, Any, Settings]]:
    """(declaration, engine, pairs, settings) of this home."""
    from assets.domains import current_domain
    from assets.training.llm.dataset import folder_of, make
    from assets.training.llm.spec import read_copilot
    from assets.warehouse.manifest import load_manifest
    from serving.semantics.engine import MetricEngine
    from serving.settings import get_settings

    settings, domain = get_settings(), current_domain()
    link_models(settings)
    (settings.home / "mlflow").mkdir(parents=True, exist_ok=True)
    manifest = load_manifest(domain.dbt_project, settings.dbt_target)
    declared = read_copilot(domain.folder)
    assert declared is not None
    engine = MetricEngine(manifest.folder / "semantic_manifest.json", settings.warehouse_file)
    try:
        yield declared, engine, make(engine, folder_of(settings), declared.seed, print), settings
    finally:
        engine.close()


def _declared(declared: Any, steps: int | None) -> Any:
    return (
        declared.model_copy(update={"tuning": declared.tuning.model_copy(update={"steps": steps})})
        if steps
        else declared
    )


def tune(steps: int | None = None) -> dict[str, Any]:
    """The declared tuning, registered; seconds are of its steps."""
    from assets.training.llm.adapter import tuned
    from serving.llm.register import register

    with _known() as (declared, _, pairs, settings):
        made = tuned(_declared(declared, steps), pairs, settings, _run, print)
        version = register(declared.spec(), made.path, alias=None, settings=settings)
    return {"version": version, "seconds": made.seconds, "cpu_seconds": made.cpu_seconds}


def ask_all(version: str, most: int) -> dict[str, Any]:
    """Tables of who answers how well, and tokens a second by requests at once."""
    from assets.training.llm import baselines
    from assets.training.llm.evaluate import Judge, Said, ask, table
    from assets.training.llm.version import base_version
    from serving.llm.once import serving
    from serving.llm.register import register
    from serving.semantics.asking import COPILOT

    with _known() as (declared, engine, pairs, settings):
        held = _held(pairs, most)
        held += own_words(date.fromisoformat(held[0]["today"]))
        some = held[: declared.questions.base * 2]
        said: dict[str, tuple[Sequence[dict[str, str]], list[Said]]] = {}
        tokens: dict[str, float] = {}
        bodies = _bodies(engine, held)
        with serving(COPILOT, version, settings) as url:
            said["copilot"] = (held, ask(url, bodies))
            for number in AT_ONCE:
                tokens[str(number)] = _rate(url, bodies[: 8 * number][:64], number)
        for who, its in (
            ("the untuned base", register(declared.spec(), alias=None, settings=settings)),
            ("the base with all in its prompt", base_version(declared, engine, pairs, settings)),
        ):
            with serving(COPILOT, its, settings) as url:
                said[who] = (some, ask(url, bodies[: len(some)], rival=True))
        near = baselines.Nearest(pairs.path)([line["question"] for line in held])
        said["the nearest question"] = (held, near)
        judge = Judge(engine)
        tables = {
            who: table([judge(line, each) for line, each in zip(asked_of, replies, strict=True)])
            for who, (asked_of, replies) in said.items()
        }
        invalid = [not judge(line, each).valid for line, each in zip(*said["copilot"], strict=True)]
        prompts = {
            language: _mean(each.prompt_tokens for line, each in zip(*said["copilot"], strict=True)
                            if line["language"] == language)
            for language in sorted({line["language"] for line in held})
        }  # fmt: skip
    return {"tables": tables, "tokens": tokens, "invalid": sum(invalid) / len(invalid), "prompts": prompts}


def _held(pairs: Any, most: int) -> list[dict[str, str]]:
    """So many of the held-out questions, the same ones in every call."""
    from assets.training.llm.evaluate import lines

    held = lines(pairs.path)
    random.Random(1).shuffle(held)
    return held[:most]


def _bodies(engine: Any, held: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """The requests of questions, as the gateway makes them."""
    from serving.semantics import reply
    from serving.semantics.asking import body
    from serving.semantics.linking import linker

    schema, linked = reply.schema(engine.catalogue()), linker(engine)
    return [body(line["question"], linked(line["question"]), schema) for line in held]


def own_words(today: date) -> list[dict[str, str]]:
    """Questions that were written by hand, as lines of the pairs' file."""
    import yaml

    from serving.semantics import reply

    found = yaml.safe_load((Path(__file__).parent / "own_words.yaml").read_text())
    return [
        {"question": each["question"], "today": today.isoformat(), "language": "en", "split": "own words",
         "kind": "own words",
         "reply": reply.write(reply.read(json.dumps(each.get("query") or {"refuse": each["refuse"]})))}
        for each in found
    ]  # fmt: skip


def _mean(values: Iterable[int]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _rate(url: str, bodies: list[dict[str, Any]], at_once: int) -> float:
    from assets.training.llm.evaluate import ask

    began = time.perf_counter()
    said = ask(url, bodies, at_once)
    return sum(each.completion_tokens for each in said) / (time.perf_counter() - began)


def through_gateway(version: str, count: int) -> dict[str, Any]:
    """``seconds`` from question to rows, one after another, through the whole chain; share ``without`` rows."""
    import httpx

    from assets.training.llm.evaluate import lines
    from benchmarks.llm_gateway import declare
    from serving.gateway.keys import create_key
    from serving.llm.once import serving
    from serving.models.registry import resolve
    from serving.routing.envoy import EnvoyRouter
    from serving.runtime.program import clearway_environment
    from serving.semantics.asking import COPILOT

    with _known() as (_, _, pairs, settings):
        resolve(COPILOT, version, settings)
        held = [line for line in lines(pairs.path) if line["language"] == "en" and line["kind"] != "refusal"]
        with serving(COPILOT, version, settings) as url:
            arm, port = f"{COPILOT}-v{version}", int(url.rpartition(":")[2])
            declare(settings, port, COPILOT, version, arm)
            router = EnvoyRouter(settings)
            router.prepare()
            router.set_arms({arm: f"{settings.host}:{port}"})
            router.set_weights(COPILOT, {arm: 100})
            environment = {**os.environ, **clearway_environment(settings)}
            commands = [router.command(), [sys.executable, "-m", "serving.gateway.app"]]
            processes = [subprocess.Popen(command, cwd=PROJECT, env=environment) for command in commands]
            headers = {"authorization": f"Bearer {create_key('bench', ['read'], settings)}"}
            try:
                with httpx.Client(headers=headers, timeout=120) as client:
                    address = f"{settings.gateway_url}/v1/metrics/query"
                    _until_answered(client, address, held[0]["question"])
                    taken = []
                    for line in held[1 : count + 1]:
                        began = time.perf_counter()
                        answer = client.post(address, json={"question": line["question"]})
                        if "rows" in answer.json():
                            taken.append(time.perf_counter() - began)
            finally:
                for process in processes:
                    process.terminate()
                for process in processes:
                    process.wait(20)
    return {"seconds": taken, "without": 1 - len(taken) / len(held[1 : count + 1])}


def _until_answered(client: Any, url: str, question: str) -> None:
    import httpx

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if client.post(url, json={"question": question}).status_code in (200, 422):
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise AssertionError("the gateway does not answer questions")


def distil(most: int, steps: int | None = None, teacher_steps: int | None = None) -> dict[str, Any]:
    """A student of half the layers, of the teacher that :func:`tune` left: how well it answers, speed, what it took."""
    from assets.training.llm.adapter import tuned
    from assets.training.llm.evaluate import Judge, ask, table
    from assets.training.llm.spec import StudentSettings
    from serving.llm.once import serving
    from serving.llm.register import register
    from serving.semantics.asking import COPILOT

    with _known() as (declared, engine, pairs, settings):
        student = StudentSettings(**({"steps": steps} if steps else {}))
        made = tuned(
            _declared(declared, teacher_steps).model_copy(update={"student": student}), pairs, settings, _run, print
        )
        version = register(declared.spec(), weights=made.path, alias=None, settings=settings)
        held = _held(pairs, most)
        bodies = _bodies(engine, held)
        with serving(COPILOT, version, settings) as url:
            said = ask(url, bodies)
            rate = _rate(url, bodies[:8], 1)
        judge = Judge(engine)
        judged = [judge(line, each) for line, each in zip(held, said, strict=True)]
    return {"table": table(judged), "rate": rate, "cpu_seconds": made.cpu_seconds}
