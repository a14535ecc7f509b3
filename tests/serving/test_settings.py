"""Settings of a profile: defaults on a laptop, nothing silent in production."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving import clock, settings
from serving.errors import SettingsError


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(__import__("os").environ):
        if name.startswith("CLEARWAY_"):
            monkeypatch.delenv(name)
    settings.get_settings.cache_clear()
    yield
    settings.get_settings.cache_clear()


def test_a_laptop_needs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLEARWAY_HOME", str(tmp_path))
    found = settings.get_settings()
    assert found.profile == "laptop"
    assert found.catalog == f"sqlite:///{tmp_path}/lakehouse/catalog.db"
    assert found.warehouse_file.is_relative_to(tmp_path)


def test_production_says_which_settings_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARWAY_PROFILE", "production")
    monkeypatch.setenv("CLEARWAY_CATALOG_URI", "postgresql://db/catalog")
    with pytest.raises(SettingsError) as caught:
        settings.get_settings()
    text = str(caught.value)
    assert "CLEARWAY_LAKEHOUSE_URI" in text
    assert "CLEARWAY_ONLINE_STORE_URI" in text
    assert "CLEARWAY_CATALOG_URI" not in text


def test_production_starts_when_all_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARWAY_PROFILE", "production")
    for name in settings.REQUIRED_IN_PRODUCTION:
        monkeypatch.setenv(f"CLEARWAY_{name.upper()}", "https://example.org/x")
    assert settings.get_settings().lakehouse == "https://example.org/x"


def test_a_malformed_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARWAY_GATEWAY_PORT", "door")
    with pytest.raises(SettingsError, match="CLEARWAY_GATEWAY_PORT"):
        settings.get_settings()


def test_the_clock_is_data_time_when_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARWAY_NOW", "2013-04-01T00:00:00-04:00")
    assert clock.now().isoformat() == "2013-04-01T04:00:00+00:00"
    monkeypatch.setenv("CLEARWAY_NOW", "2013-04-01")
    with pytest.raises(SettingsError, match="offset"):
        clock.now()
