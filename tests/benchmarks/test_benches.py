"""The command knows its benches, and each prepares what it says it measures."""

from __future__ import annotations

import csv
import importlib
import io
from pathlib import Path

import pytest
import yaml

from assets.domains import load_domain
from benchmarks import volume
from benchmarks.__main__ import BENCHES, main
from benchmarks.harness import LeftOut
from benchmarks.metrics import QUESTIONS
from serving.semantics.query import MetricQuery
from serving.settings import PROJECT


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_can_be_measured(name: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{name}").measure)


def test_an_unknown_bench_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", "nonsense"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "lifecycle" in capsys.readouterr().err


def test_copies_have_keys_of_their_own() -> None:
    content = b"flight,tailnum,origin\n1,N1,EWR\n2,NA,JFK\n"
    rows = list(csv.DictReader(io.StringIO(volume._copies(content, 10).decode())))
    assert len(rows) == 20
    assert len({row["flight"] for row in rows}) == 20
    assert sum(row["tailnum"] == "NA" for row in rows) == 10  # what fails a rule fails it as often
    assert len({row["tailnum"] for row in rows} - {"NA"}) == 10
    assert volume._copies(content, 1) == content


def test_only_the_bands_of_the_copied_domain_are_wider(tmp_path: Path) -> None:
    before = load_domain(PROJECT / "assets" / "domain")
    after = load_domain(volume._widened(tmp_path / "domain"))
    assert (after.dbt_project, after.feature_repo) == (before.dbt_project, before.feature_repo)
    assert after.models == before.models
    for name, source in before.sources.items():
        factor = 10 if name in volume.WIDENED else 1
        expected = source.model_dump()
        expected["rows"]["max"] *= factor
        assert after.sources[name].model_dump() == expected
    original = yaml.safe_load((PROJECT / "assets/domain/sources/flights.yaml").read_text())
    assert original["rows"]["max"] == before.sources["flights"].rows.max


def test_at_least_twelve_different_questions_are_asked() -> None:
    assert len({MetricQuery(**question).model_dump_json() for question in QUESTIONS}) >= 12


def test_what_is_not_installed_is_left_out_of_all_and_fails_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(_: object) -> None:
        raise LeftOut("the model is not installed", todo="make it")

    monkeypatch.setenv("CLEARWAY_HOME", str(tmp_path))
    monkeypatch.setattr("benchmarks.harness.World.warm", lambda _: None)
    for name in BENCHES:
        monkeypatch.setattr(f"benchmarks.{name}.measure", measure)
    for arguments, code in (([], 0), (["llm"], 1)):
        monkeypatch.setattr("sys.argv", ["benchmarks", *arguments])
        assert main() == code
        assert "llm is left out: the model is not installed" in capsys.readouterr().out
