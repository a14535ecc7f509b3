"""A home of the second domain for each file of tests, and the process that runs its stages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.forker import Forker
from tests.faults.library import Library


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    forker = Forker(tmp_path_factory.mktemp("home"))
    yield forker
    forker.close()


@pytest.fixture(scope="module")
def landed(forker: Forker) -> Library:
    """Four months published in the lakehouse."""
    library = Library(forker.place.home)
    library.land()
    forker.does("ingest", None, "branches")
    for month in ("2021-01-01", "2021-02-01", "2021-03-01", "2021-04-01"):
        assert forker.does("ingest", month) == "published"
    return library


@pytest.fixture(scope="module")
def built(forker: Forker, landed: Library) -> Library:
    """The warehouse and the feature tables of these months."""
    assert forker.does("build") == "built"
    forker.does("export")
    return landed


@pytest.fixture(scope="module")
def served(forker: Forker, built: Library) -> Library:
    """An online window of these features."""
    assert forker.does("window")["status"] == "switched"
    return built
