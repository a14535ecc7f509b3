"""The dbt project is parsed when its files say something new, and not otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from assets.warehouse import manifest as module
from assets.warehouse.manifest import load_manifest, project_fingerprint
from serving.errors import ClearwayError
from tests.running import SECOND_DOMAIN

pytestmark = pytest.mark.integration


@pytest.fixture
def project(tmp_path: Path) -> Path:
    copy = tmp_path / "project"
    shutil.copytree(SECOND_DOMAIN / "dbt_project", copy, ignore=shutil.ignore_patterns("target", "logs"))
    return copy


def test_it_is_parsed_once_a_content(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[Path] = []
    real = module._parse

    def counted(project: Path, folder: Path) -> None:
        parsed.append(folder)
        real(project, folder)

    monkeypatch.setattr(module, "_parse", counted)
    target = tmp_path / "target"
    first = load_manifest(project, target)
    assert load_manifest(project, target) == first
    assert len(parsed) == 1
    assert set(first.models) == {"fct_loans", "feat_reader_daily", "examples_late_return", "time_spine"}
    assert first.models["feat_reader_daily"].models == ("fct_loans",)
    assert first.models["fct_loans"].sources == ("loans", "branches")
    assert first.tests["unique_fct_loans_loan"].model == "fct_loans"
    assert first.tests["unique_fct_loans_loan"].severity == "error"

    new = project / "models" / "branches_again.sql"
    new.write_text("select branch from {{ source('raw', 'branches') }}")
    second = load_manifest(project, target)
    assert len(parsed) == 2
    assert second.fingerprint != first.fingerprint
    assert "branches_again" in second.models
    new.unlink()
    assert load_manifest(project, target) == first
    assert len(parsed) == 2, "what was parsed before is still known"


def test_what_dbt_writes_is_not_the_project(project: Path) -> None:
    before = project_fingerprint(project)
    for name in ("target/manifest.json", "logs/dbt.log", "warehouse.duckdb"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("x")
    assert project_fingerprint(project) == before
    (project / "models" / "time_spine.sql").rename(project / "models" / "spine.sql")
    assert project_fingerprint(project) != before, "a renamed model is another project"


def test_a_project_that_dbt_cannot_parse_is_a_clear_error_each_time(project: Path, tmp_path: Path) -> None:
    (project / "models" / "broken.sql").write_text("select * from {{ ref('nobody') }}")
    for _ in range(2):  # a failed parse must not look like a finished one
        with pytest.raises(ClearwayError, match="dbt cannot parse") as caught:
            load_manifest(project, tmp_path / "target")
        assert "nobody" in caught.value.what
        assert caught.value.untouched == "the published warehouse."
