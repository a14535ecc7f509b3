"""Programs become sections that supervisord reads back as they were meant."""

from __future__ import annotations

import socket
from configparser import ConfigParser
from pathlib import Path

import pytest

from serving.errors import ClearwayError
from serving.runtime.program import PORTS, Program, clearway_environment, free_port, port_in_use, render
from serving.settings import Settings


def test_text_survives_percent_signs_quotes_and_spaces(tmp_path: Path) -> None:
    from supervisor.datatypes import dict_of_key_value_pairs

    environment = {"A": "50%", "B": 'say "hi", you', "C": "x=y z"}
    text = render(Program("p", ("echo", "a b", "100%"), environment), tmp_path / "my logs")
    parser = ConfigParser(interpolation=None)
    parser.read_string(text)
    section = parser["program:p"]
    assert section["command"].replace("%%", "%") == "echo 'a b' 100%"
    found = dict_of_key_value_pairs(section["environment"])
    assert {name: value.replace("%%", "%") for name, value in found.items()} == environment
    assert section["stopasgroup"] == section["killasgroup"] == "true"


@pytest.mark.parametrize("value", ["a\nb", "a ;b", "both ' and \""])
def test_what_cannot_be_written_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(ClearwayError):
        render(Program("p", ("true",), {"A": value}), tmp_path)


def test_children_read_the_settings_of_their_parent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, gateway_port=1234, mlflow_tracking_uri="http://registry:1")
    for name, value in clearway_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_a_free_port_is_free_and_not_taken() -> None:
    port = free_port(taken=PORTS[:-3])
    assert port in PORTS[-3:]
    with socket.create_server(("127.0.0.1", port)):
        assert port_in_use(port)
        assert free_port(taken=PORTS[:-3]) != port
