"""The built warehouse, shared by every test that reads one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dbt_project.building import built

_FOLDERS: list[Path] = []


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real marts of February and March 2013; the dbt target folder is `target` beside the file."""
    if not _FOLDERS:
        _FOLDERS.append(tmp_path_factory.mktemp("warehouse"))
    return built(_FOLDERS[0])
