"""Reads declared files and says, for a bad one, which file, which field and what was expected."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from serving.errors import DeclarationError

# libyaml's loader reads the same language, several times faster; not every build of PyYAML has it.
SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
M = TypeVar("M", bound="Declared")


class Declared(BaseModel):
    """Base of everything a user declares: frozen, and a field that is not known is an error, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def fingerprint(self) -> str:
        """Hash of the declaration's content (hex, 16 characters); part of every publish key."""
        return fingerprint(self.model_dump(mode="json"))


def fingerprint(value: Any) -> str:
    """Hash of any JSON-serialisable value, independent of the order of keys (hex, 16 characters)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read(path: Path, kind: type[M]) -> M:
    """Read one YAML file as ``kind``.

    Raises:
        DeclarationError: the file is absent, is not YAML, or does not match; every wrong field is named.
    """
    try:
        content = yaml.load(path.read_text(), Loader=SafeLoader)
    except FileNotFoundError as error:
        raise DeclarationError(
            f"{path}: this declared file does not exist.",
            untouched="everything; nothing was loaded.",
            todo="create it, or point CLEARWAY_DOMAIN at a folder that has it.",
        ) from error
    except yaml.YAMLError as error:
        raise DeclarationError(
            f"{path}: not valid YAML: {error}", untouched="everything; nothing was loaded.", todo="mend the YAML."
        ) from error
    if not isinstance(content, dict):
        raise DeclarationError(
            f"{path}: expected a mapping of fields, found {type(content).__name__}.",
            untouched="everything; nothing was loaded.",
            todo=f"give the fields of {kind.__name__}.",
        )
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        lines = [f"  {_field(e['loc'])}: {_expected(e)}" for e in error.errors()]
        raise DeclarationError(
            f"{path}: {len(lines)} field{'s do' if len(lines) > 1 else ' does'} not match {kind.__name__}:\n"
            + "\n".join(lines),
            untouched="everything; nothing was loaded.",
            todo="mend the named fields.",
        ) from error


def read_folder(folder: Path, kind: type[M]) -> dict[str, M]:
    """Read every ``*.yaml`` of a folder, by its declared ``name``, which must be the file's name.

    Returns:
        Declarations by name, in the order of the file names; empty when the folder does not exist.
    """
    found: dict[str, M] = {}
    for path in sorted(folder.glob("*.yaml")):
        declared = read(path, kind)
        name = getattr(declared, "name", None)
        if name != path.stem:
            raise DeclarationError(
                f"{path}: field name: expected {path.stem!r}, as the file is called, found {name!r}.",
                untouched="everything; nothing was loaded.",
                todo="rename the file or the field.",
            )
        found[path.stem] = declared
    return found


def _field(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text or "(file)"


def _expected(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "expected no such field"
    if error["type"] == "missing":
        return "expected a value, found none"
    found = repr(error.get("input"))
    return f"expected: {error['msg']}; found {found if len(found) < 80 else found[:77] + '...'}"
