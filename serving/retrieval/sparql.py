"""SPARQL over the published RDF, by pyoxigraph in a process of its own, so that no query outlives its time.

``python -m serving.retrieval.sparql FOLDER`` reads a query on standard input and writes its rows as JSON.
"""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from serving.errors import ClearwayError
from serving.settings import PROJECT

SECONDS, MAX_ROWS, MAX_LENGTH = 10.0, 1000, 8000
MEMORY = 2 << 30
STORE = "rdf"
_MASKED = re.compile(
    r"#[^\n]*|<[^<>\s]*>|\"\"\".*?\"\"\"|'''.*?'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL
)
_REFUSED = re.compile(r"(?<![?$:\w])(service|insert|delete|load|clear|create|drop|copy|move|add|with)\b", re.IGNORECASE)


class SparqlRefused(ClearwayError):
    """The query may do more than read this store, or took too long."""


def build(quads: Path, folder: Path) -> None:
    """Make a store of an N-Quads file; ``folder`` must not exist.

    Raises:
        ClearwayError: the file is broken or the disk refuses it.
    """
    import pyoxigraph as ox

    try:
        folder.mkdir(parents=True)
        store = ox.Store(str(folder))
        store.bulk_load(path=str(quads), format=ox.RdfFormat.N_QUADS)
        store.flush()
        store.optimize()
        del store
    except (OSError, SyntaxError, ValueError) as error:
        raise ClearwayError(
            f"{folder}: the RDF store cannot be made: {error}", untouched="what is published."
        ) from error


def derive(before: Path, folder: Path, gone: bytes, new: bytes) -> bool:
    """Make a store of another one, without some quads and with others, both as N-Quads; ``folder`` must not exist.

    False when the other cannot be gone on from; ``folder`` is then not there.

    Raises:
        ClearwayError: the disk refuses it.
    """
    import pyoxigraph as ox

    try:
        ox.Store.read_only(str(before)).backup(str(folder))
    except (OSError, ValueError):
        shutil.rmtree(folder, ignore_errors=True)
        return False
    try:
        store = ox.Store(str(folder))
        for quad in ox.parse(gone, format=ox.RdfFormat.N_QUADS):
            store.remove(quad)
        store.bulk_extend(ox.parse(new, format=ox.RdfFormat.N_QUADS))
        store.flush()
        del store
    except (OSError, SyntaxError, ValueError) as error:
        raise ClearwayError(
            f"{folder}: the RDF store cannot be changed: {error}", untouched="what is published."
        ) from error
    return True


def check(query: str) -> None:
    """Refuse what is no reading query of this store alone.

    Raises:
        SparqlRefused: with the word that is not allowed.
    """
    if len(query) > MAX_LENGTH:
        raise _refused(f"the query has {len(query)} characters; at most {MAX_LENGTH} are read")
    found = _REFUSED.search(_MASKED.sub(" ", query))
    if found:
        raise _refused(f"{found.group().upper()} is not for reading queries")


def _refused(what: str) -> SparqlRefused:
    return SparqlRefused(what, untouched="the store.", todo="send one SELECT, ASK, CONSTRUCT or DESCRIBE.")


def ask(folder: Path, query: str, *, seconds: float = SECONDS, rows: int = MAX_ROWS) -> dict[str, Any]:
    """``{"columns": [...], "rows": [[...]], "truncated": bool}``; terms in N-Triples' form, unbound is null.

    Raises:
        SparqlRefused: see :func:`check`; or the query is malformed, or was ended after ``seconds``.
    """
    check(query)
    command = [sys.executable, "-m", "serving.retrieval.sparql", str(folder), str(rows)]
    try:
        done = subprocess.run(command, input=query.encode(), capture_output=True, timeout=seconds, cwd=PROJECT)
    except subprocess.TimeoutExpired as error:
        raise SparqlRefused(
            f"the query was ended after {seconds:g} s", untouched="the store.", todo="ask for less: bind more, LIMIT."
        ) from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise _refused(f"the query failed: {lines[-1][:400] if lines else f'exit code {done.returncode}'}")
    found: dict[str, Any] = orjson.loads(done.stdout)
    return found


def _answer(folder: str, query: str, limit: int) -> dict[str, Any]:
    import pyoxigraph as ox

    store = ox.Store.read_only(folder)
    result = store.query(query, use_default_graph_as_union=True)
    if isinstance(result, ox.QueryBoolean):
        return {"columns": ["answer"], "rows": [[bool(result)]], "truncated": False}
    if isinstance(result, ox.QueryTriples):
        columns = ["subject", "predicate", "object"]
        every: Iterator[list[str | None]] = ([str(t.subject), str(t.predicate), str(t.object)] for t in result)
    else:
        columns = [variable.value for variable in result.variables]
        every = ([None if v is None else str(v) for v in (row[c] for c in columns)] for row in result)
    rows: list[list[Any]] = []
    for row in every:
        if len(rows) == limit:
            return {"columns": columns, "rows": rows, "truncated": True}
        rows.append(row)
    return {"columns": columns, "rows": rows, "truncated": False}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        found = _answer(sys.argv[1], sys.stdin.read(), int(sys.argv[2]))
    except (SyntaxError, ValueError, OSError, MemoryError) as error:
        raise SystemExit(f"{error}".replace("\n", " ") or type(error).__name__) from error
    sys.stdout.buffer.write(orjson.dumps(found))


if __name__ == "__main__":
    main()
