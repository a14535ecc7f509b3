"""Another domain, by declarations, dbt models and feature views only: from landing to a served prediction."""

from __future__ import annotations

import json
import shlex
import subprocess

import httpx
import pytest

from serving.settings import PROJECT
from tests.end_to_end.ran import Ran

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]


def test_it_runs_whole(library: Ran) -> None:
    assert library.done.returncode == 0, library.text[-4000:]
    assert "late_return" in library.text
    assert "completed" in library.text


def test_its_only_code_is_the_sample_and_the_feature_views() -> None:
    python = {p.name for p in (PROJECT / "tests" / "second_domain").rglob("*.py")}
    assert python == {"sample.py", "features.py"}


def test_it_answers(library: Ran) -> None:
    line = next(x for x in library.text.splitlines() if x.startswith("curl "))
    done = subprocess.run(shlex.split(line), capture_output=True, text=True, timeout=30)
    answer = json.loads(done.stdout)
    assert answer["model"] == "late_return"
    assert answer["predictions"][0]["missing_features"] == []


def test_a_value_that_training_never_saw_is_refused_with_a_reason(library: Ran) -> None:
    key = (library.place.home / "local.key").read_text().strip()
    answer = httpx.post(
        f"http://127.0.0.1:{library.place.ports['GATEWAY']}/v1/predictions/late_return",
        headers={"authorization": f"Bearer {key}"},
        json={"branch": "atlantis", "reader": "r007", "genre": "history", "lent_at": "2021-05-01T10:00:00Z"},
    )
    assert answer.status_code == 422
    assert "branch" in answer.text
    assert "atlantis" in answer.text
