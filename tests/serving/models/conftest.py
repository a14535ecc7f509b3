"""One home a module, as building it takes seconds."""

from __future__ import annotations

import pytest

from serving.settings import Settings
from tests.serving.models import toy


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return toy.home(tmp_path_factory.mktemp("home"))
