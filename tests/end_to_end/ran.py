"""One run of `make run` for the reference domain, shared by a file, and one for the second, shared by all."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.running import SECOND_DOMAIN, Place


@dataclass
class Ran:
    place: Place
    done: subprocess.CompletedProcess[str]

    @property
    def text(self) -> str:
        return self.done.stdout + self.done.stderr


def _run(place: Place) -> Iterator[Ran]:
    try:
        yield Ran(place, place.python("-m", "orchestration.run", timeout=840))
    finally:
        place.python("-m", "orchestration.ui", "stop")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    yield from _run(Place(tmp_path_factory.mktemp("reference")))


@pytest.fixture(scope="package")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    yield from _run(Place(Path(tmp_path_factory.mktemp("library")), SECOND_DOMAIN))
