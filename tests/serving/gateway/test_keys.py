"""Keys are kept as hashes, in a file that only its owner reads, and work from the moment they are made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.errors import ClearwayError
from serving.gateway.keys import KeyRing, create_key, key_ids
from serving.settings import PROJECT, Settings


def test_a_key_is_shown_once_and_found_by_its_hash(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    ring = KeyRing(settings)
    assert ring.caller("cw_anything") is None
    first = create_key("first", ["predict"], settings)
    caller = ring.caller(first)
    assert caller is not None
    assert (caller.id, caller.scopes) == ("first", {"predict"})
    second = create_key("second", ["read", "operate"], settings)
    assert ring.caller(second) is not None
    assert ring.caller(first + "x") is None
    content = settings.keys_file.read_text()
    assert first not in content
    assert second not in content
    assert settings.keys_file.stat().st_mode & 0o777 == 0o600
    assert set(json.loads(content)["keys"][0]) == {"id", "sha256", "scopes", "created_at"}
    settings.keys_file.unlink()
    assert ring.caller(first) is None


def test_bad_ids_scopes_and_files_are_told(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    create_key("me", ["predict"], settings)
    for ident, scopes, told in (
        ("me", ["read"], "there is a key 'me' already"),
        ("a b", ["read"], "expected letters"),
        ("you", ["everything"], "unknown scopes"),
        ("you", [], "at least one"),
    ):
        with pytest.raises(ClearwayError, match=told):
            create_key(ident, scopes, settings)
    assert key_ids(settings) == ["me"]
    settings.keys_file.write_text("{")
    with pytest.raises(ClearwayError, match="cannot be read"):
        KeyRing(settings).caller("x")


def test_the_command_prints_the_key_and_says_what_is_wrong(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "serving.gateway.keys", *arguments]
        environment = {**os.environ, "CLEARWAY_HOME": str(tmp_path)}
        return subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)

    made = run("create", "--id", "me", "--scope", "predict", "--scope", "read")
    caller = KeyRing(Settings(home=tmp_path)).caller(made.stdout.strip())
    assert caller is not None
    assert caller.scopes == {"predict", "read"}
    again = run("create", "--id", "me", "--scope", "predict")
    assert again.returncode == 1
    assert "already" in again.stderr
    assert run("list").stdout == "me\n"


def test_a_key_carries_its_limits(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    ring = KeyRing(settings)
    limited = ring.caller(create_key("limited", ["predict"], settings, requests_per_minute=60, tokens_per_minute=9000))
    free = ring.caller(create_key("free", ["predict"], settings))
    assert limited is not None
    assert free is not None
    assert (limited.requests_per_minute, limited.tokens_per_minute) == (60, 9000)
    assert (free.requests_per_minute, free.tokens_per_minute) == (None, None)
    with pytest.raises(ClearwayError, match="tokens_per_minute is 0, expected at least 1"):
        create_key("none", ["predict"], settings, tokens_per_minute=0)
    assert key_ids(settings) == ["limited", "free"]


def test_a_key_carries_its_labels(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    caller = KeyRing(settings).caller(create_key("staff", ["read"], settings, labels=["staff", "plan"]))
    assert caller is not None
    assert (caller.labels, caller.sees_everything) == (frozenset({"staff", "plan"}), False)
    everything = KeyRing(settings).caller(create_key("all", ["read"], settings, labels=["*"]))
    assert everything is not None
    assert everything.sees_everything
    none = KeyRing(settings).caller(create_key("none", ["read"], settings))
    assert none is not None
    assert none.labels == frozenset()
    with pytest.raises(ClearwayError, match="labels"):
        create_key("bad", ["read"], settings, labels=["A|B"])
    assert key_ids(settings) == ["staff", "all", "none"]
