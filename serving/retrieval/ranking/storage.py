"""The index as files: elements as JSON lines, arrays as npz, and a manifest with the digest of each. No pickle."""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from serving.errors import ClearwayError
from serving.retrieval.elements import Node, Passage, Relation
from serving.retrieval.ranking import graph
from serving.retrieval.ranking.entities import Entity, Parts
from serving.retrieval.ranking.lexical import Lexical
from serving.retrieval.ranking.parameters import Parameters
from serving.retrieval.ranking.view import View

VERSION = 1
MANIFEST = "manifest.json"
MATRIX = ("data", "indices", "indptr", "shape")


@dataclass(frozen=True)
class Elements:
    """All that an index is made of, as it was given."""

    passages: tuple[Passage, ...]
    nodes: tuple[Node, ...]
    relations: tuple[Relation, ...]

    @cached_property
    def accesses(self) -> frozenset[str]:
        """The distinct accesses."""
        return frozenset(e.access for part in (self.passages, self.nodes, self.relations) for e in part)


def save(folder: Path, elements: Elements, whole: View) -> None:
    """Write beside the folder, then put it in its place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        contents = _contents(elements, whole)
        for name, content in contents.items():
            (part / name).write_bytes(content)
        manifest = {
            "version": VERSION,
            "parameters": whole.parameters.as_json(),
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        }
        (part / MANIFEST).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        part.chmod(0o755)
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            folder.replace(old)
            part.replace(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _contents(elements: Elements, whole: View) -> dict[str, bytes]:
    parts = whole.parts
    arrays = {f"lexical_{n}": a for n, a in _arrays(parts.lexical.weights)}
    arrays |= {f"graph_{n}": a for n, a in _arrays(parts.graph.adjacency)}
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    return {
        "passages.jsonl": _lines(elements.passages),
        "nodes.jsonl": _lines(elements.nodes),
        "relations.jsonl": _lines(elements.relations),
        "entities.jsonl": _lines([e.uid, e.name, e.frequency] for e in parts.entities),
        "names.jsonl": _lines(parts.names),
        "mentions.jsonl": _lines(p.mentions for p in whole.passages),
        "terms.json": orjson.dumps(list(parts.lexical.vocabulary)),
        "arrays.npz": packed.getvalue(),
    }


def load(folder: Path) -> tuple[Elements, View]:
    """Elements and the whole's view.

    Raises:
        ClearwayError: a file is missing, broken or of another version.
    """
    try:
        manifest = orjson.loads((folder / MANIFEST).read_bytes())
        version, digests, parameters = manifest["version"], dict(manifest["files"]), dict(manifest["parameters"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _broken(folder / MANIFEST, f"cannot be read ({type(error).__name__})") from error
    if version != VERSION:
        raise _broken(folder / MANIFEST, f"has version {version}, this Clearway reads {VERSION}")

    def content(name: str) -> bytes:
        try:
            read = (folder / name).read_bytes()
        except OSError as error:
            raise _broken(folder / name, "cannot be read") from error
        if hashlib.sha256(read).hexdigest() != digests.get(name):
            raise _broken(folder / name, "is not what was written: its digest differs from the manifest's")
        return read

    try:
        return _read(content, Parameters.from_json(parameters))
    except (ValueError, TypeError, KeyError) as error:
        raise _broken(folder, f"does not hold what its version says ({error})") from error


def _read(content: Callable[[str], bytes], parameters: Parameters) -> tuple[Elements, View]:
    elements = Elements(
        tuple(Passage(**{**p, "mentions": tuple(p["mentions"])}) for p in _parsed(content("passages.jsonl"))),
        tuple(Node(**{**n, "aliases": tuple(n["aliases"])}) for n in _parsed(content("nodes.jsonl"))),
        tuple(Relation(**r) for r in _parsed(content("relations.jsonl"))),
    )
    with np.load(io.BytesIO(content("arrays.npz")), allow_pickle=False) as arrays:
        lexical, adjacency = (_matrix(arrays, name) for name in ("lexical", "graph"))
    vocabulary = {term: number for number, term in enumerate(orjson.loads(content("terms.json")))}
    parts = Parts(
        tuple(Entity(*entity) for entity in _parsed(content("entities.jsonl"))),
        tuple((number, name, how) for number, name, how in _parsed(content("names.jsonl"))),
        Lexical(vocabulary, lexical),
        graph.of(adjacency),
    )
    passages = sorted(elements.passages, key=lambda passage: passage.uid)
    kept = zip(passages, _parsed(content("mentions.jsonl")), strict=True)
    return elements, View(tuple(_mentioning(p, tuple(mentions)) for p, mentions in kept), parts, parameters)


def _mentioning(passage: Passage, mentions: tuple[str, ...]) -> Passage:
    if passage.mentions == mentions:
        return passage
    return Passage(**{**asdict(passage), "mentions": mentions})


def _arrays(matrix: Any) -> list[tuple[str, Any]]:
    return list(zip(MATRIX, (matrix.data, matrix.indices, matrix.indptr, np.array(matrix.shape)), strict=True))


def _matrix(arrays: Any, name: str) -> Any:
    from scipy.sparse import csr_matrix

    data, indices, indptr, shape = (arrays[f"{name}_{part}"] for part in MATRIX)
    return csr_matrix((data, indices, indptr), shape=tuple(int(n) for n in shape))


def _lines(values: Iterable[Any]) -> bytes:
    return b"".join(orjson.dumps(value) + b"\n" for value in values)


def _parsed(content: bytes) -> list[Any]:
    return [orjson.loads(line) for line in content.splitlines()]


def _broken(path: Path, how: str) -> ClearwayError:
    return ClearwayError(
        f"{path} {how}", untouched="the folder; no part of it was used.", todo="build and save the index again."
    )
