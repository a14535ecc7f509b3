"""One clock for all processes: the wall's, one that stands still, or a file's that is moved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from serving import clock
from serving.errors import SettingsError

INSTANT = datetime(2013, 4, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLEARWAY_NOW", "CLEARWAY_CLOCK"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_setting_it_is_the_walls() -> None:
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_file_is_read_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "clock"
    monkeypatch.setenv("CLEARWAY_CLOCK", str(file))
    monkeypatch.setenv("CLEARWAY_NOW", "2000-01-01T00:00:00+00:00")
    clock.set_to(file, INSTANT)
    assert clock.now() == INSTANT
    clock.set_to(file, INSTANT.astimezone(timezone(timedelta(hours=-4))) + timedelta(hours=1))
    assert clock.now() == INSTANT + timedelta(hours=1)
    assert clock.now().tzinfo == UTC


@pytest.mark.parametrize("text", ["2013-04-01T12:00:00", "soon", ""])
def test_what_is_no_instant_names_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    file = tmp_path / "clock"
    file.write_text(text)
    monkeypatch.setenv("CLEARWAY_CLOCK", str(file))
    if text:
        with pytest.raises(SettingsError, match="CLEARWAY_CLOCK"):
            clock.now()
    file.unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        clock.now()
