"""A second model on the same data, by declarations only: a dbt model, two YAML files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from serving.rollout.read import read_state
from serving.settings import PROJECT, Settings
from tests.running import Place

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]
FIRST, SECOND = "arrival_delay", "departure_delay"
EXAMPLES = """{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key=['flight_id', 'label_known_at']
) }}
select
    flight_id,
    greatest(actual_departure, known_at) as label_known_at,
    period,
    scheduled_departure - interval 2 hour as prediction_time,
    carrier,
    flight,
    origin,
    dest,
    tailnum,
    scheduled_departure,
    scheduled_arrival,
    distance,
    route,
    (departure_delay > 15)::integer as left_late
from {{ ref('fct_flights') }}
where departure_delay is not null and {{ in_build_range('period') }}
"""


def declare(folder: Path) -> list[str]:
    """The reference domain until April, and the second model; returns what was added."""
    for part in ("domain", "dbt_project", "feature_repo"):
        source = PROJECT / ("assets/domain" if part == "domain" else part)
        shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "target", "logs"))
    domain = folder / "domain"
    before = {p for p in folder.rglob("*") if p.is_file()}
    file = domain / "domain.yaml"
    content = yaml.safe_load(file.read_text())
    content["partitions"]["end"] = "2013-05-01"
    content |= {"dbt_project": "../dbt_project", "feature_repo": "../feature_repo"}
    file.write_text(yaml.safe_dump(content))
    first = yaml.safe_load((domain / "models" / f"{FIRST}.yaml").read_text())
    first["train"] = {"start": "2013-01-01", "end": "2013-03-01"}
    first["evaluate"] = {"start": "2013-03-01", "end": "2013-05-01"}
    first["learner"] |= {"trials": 1, "folds": 2, "rounds": 80}
    first["gates"] = {"floor": {"auc": 0.6, "log_loss": 0.7}, "calibration": {"max_error": 0.3}}
    del first["retraining"]
    (domain / "models" / f"{FIRST}.yaml").write_text(yaml.safe_dump(first, sort_keys=False))
    second = {**first, "name": SECOND, "title": "Will this flight leave late?", "release": SECOND,
              "examples": {**first["examples"], "model": f"examples_{SECOND}", "label": "left_late"},
              "description": "The probability that a flight leaves more than 15 minutes late."}  # fmt: skip
    (domain / "models" / f"{SECOND}.yaml").write_text(yaml.safe_dump(second, sort_keys=False))
    plan = yaml.safe_load((domain / "releases" / f"{FIRST}.yaml").read_text())
    (domain / "releases" / f"{SECOND}.yaml").write_text(yaml.safe_dump({**plan, "model": SECOND}))
    marts = folder / "dbt_project" / "models" / "marts" / "training"
    (marts / f"examples_{SECOND}.sql").write_text(EXAMPLES)
    known = yaml.safe_load((marts / "_training.yml").read_text())
    (described,) = known["models"]
    columns = [{**c, "name": "left_late", "description": "The label."} if c["name"] == "is_late" else c
               for c in described["columns"]]  # fmt: skip
    known["models"] = [{**described, "name": f"examples_{SECOND}", "columns": columns}]
    (marts / "_departures.yml").write_text(yaml.safe_dump(known, sort_keys=False))
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p not in before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("second")
    added = declare(folder)
    assert {Path(a).suffix for a in added} == {".yaml", ".yml", ".sql"}
    assert len(added) == 4
    made = Place(folder / "home", folder / "domain")
    try:
        done = made.python("-m", "orchestration.run", timeout=840)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-3000:]
        yield made
    finally:
        made.python("-m", "orchestration.ui", "stop")


def test_both_are_trained_released_and_answer(place: Place) -> None:
    settings = Settings(home=place.home, domain=place.domain)
    key = (place.home / "local.key").read_text().strip()
    answers = {}
    for model in (FIRST, SECOND):
        state = read_state(model, settings)
        assert state.stable is not None
        answer = httpx.post(
            f"http://127.0.0.1:{place.ports['GATEWAY']}/v1/predictions/{model}",
            headers={"authorization": f"Bearer {key}"},
            json={"carrier": "UA", "flight": 1545, "origin": "EWR", "dest": "IAH", "tailnum": "N14228",
                  "distance": 1400, "scheduled_departure": "2013-05-01T10:15:00Z",
                  "scheduled_arrival": "2013-05-01T14:19:00Z"},
            timeout=30,
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        answers[model] = answer.json()["predictions"][0]["probability"]
    assert answers[FIRST] != answers[SECOND]
