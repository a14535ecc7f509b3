"""The documents of a landing folder: every file of every source, and what is wrong with those that are none."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from assets.knowledge.documents.document import Document, document, document_uid
from assets.knowledge.documents.parse import parse
from assets.knowledge.documents.rows import read_rows
from assets.knowledge.documents.spec import FOLDER, DocumentSource
from assets.knowledge.documents.text import MAX_BYTES
from serving.errors import ClearwayError


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong: the file below ``landing/documents``, and for people what. ``document`` is a uid, where known.

    ``lost`` says that something was not taken; otherwise it is a note on what was.
    """

    file: str
    message: str
    document: str = ""
    lost: bool = True


@dataclass(frozen=True)
class Collected:
    """What was found, in the order of source, file and line."""

    documents: tuple[Document, ...]
    problems: tuple[Problem, ...]

    @property
    def lost(self) -> tuple[Problem, ...]:
        """The problems by which something was not taken."""
        return tuple(problem for problem in self.problems if problem.lost)


def collect(landing: Path, sources: Sequence[DocumentSource]) -> Collected:
    """Read ``landing/documents/<source>/`` of every source.

    Files that end in ``.part`` or begin with a dot are still being written and are not looked at. A file that cannot
    be read, is broken, is taken by no pattern, or is a link that leaves its source's folder is a problem and leaves
    the others. Of two documents with one uid the first stands.

    Args:
        landing: ``settings.landing``.
    """
    documents: dict[str, Document] = {}
    problems: list[Problem] = []
    root = landing / FOLDER
    declared = {source.name for source in sources}
    for stray in sorted(p.name for p in root.iterdir() if not passing(p.name)) if root.is_dir() else ():
        if stray not in declared:
            problems.append(Problem(stray, f"{root / stray}: no declared source of documents has this name"))
    for source in sorted(sources, key=lambda s: s.name):
        for path, full, trouble in _files(root / source.name):
            where = f"{source.name}/{path}"
            if trouble is None and not source.takes(path):
                trouble = f"{where}: no pattern under files takes it ({', '.join(source.files)})"
            if trouble is not None:
                problems.append(Problem(where, trouble))
                continue
            try:
                found, notes = _read(source, path, _content(full, where))
            except ClearwayError as error:
                problems.append(Problem(where, str(error)))
                continue
            problems += notes
            repeated = [d for d in found if d.uid in documents]
            problems += _repeated(where, repeated, documents)
            documents.update({d.uid: d for d in found if d.uid not in documents})
    return Collected(tuple(documents.values()), tuple(problems))


def _read(source: DocumentSource, path: str, content: bytes) -> tuple[list[Document], list[Problem]]:
    where = f"{source.name}/{path}"
    if source.table is not None and path.lower().endswith((".csv", ".tsv")):
        rows = read_rows(source, source.table, path, content)
        lost = [Problem(where, f"{where}, line {row.line}: {row.why}") for row in rows.quarantined]
        return list(rows.documents), [*lost, *(Problem(where, note, lost=False) for note in rows.notes)]
    parsed = parse(where, content)
    made = document(
        document_uid(source.name, path),
        source.name,
        parsed.title,
        source.kind,
        parsed.sections,
        labels=source.labels_of(path),
        file=where,
        cut=source.chunk,
        notes=parsed.notes,
        declaration=source.fingerprint(),
    )
    return [made], [Problem(where, note, made.uid, lost=False) for note in parsed.notes]


def _repeated(where: str, repeated: list[Document], documents: dict[str, Document]) -> Iterator[Problem]:
    """One problem a file that says the same again: two exports may overlap by thousands of rows."""
    other = [d for d in repeated if documents[d.uid].digest != d.digest]
    if repeated:
        first = (other or repeated)[0]
        yield Problem(
            where,
            f"{where}: {len(repeated)} documents are in {documents[first.uid].file}, too, and were taken from there; "
            f"{len(other)} of them say something else"
            + (f" (the first is {first.uid}). What to do: take one of the files away." if other else "."),
            first.uid,
            lost=bool(other),
        )


def passing(name: str) -> bool:
    """Whether a file or folder is still being written, or is hidden."""
    return name.startswith(".") or name.endswith(".part")


def _files(folder: Path) -> Iterator[tuple[str, Path, str | None]]:
    """Relative path, full path, and what is wrong, of every file, sorted by path."""
    found: list[tuple[str, Path, str | None]] = []
    inside = folder.resolve()
    if folder.is_symlink():
        yield ".", folder, f"{folder}: a link in place of a source's folder is not followed"
        return

    def unreadable(error: OSError) -> None:
        path = Path(error.filename)
        if path.exists() or path != folder:
            found.append((path.relative_to(folder).as_posix(), path, f"{path}: cannot be listed: {error.strerror}"))

    for parent, folders, names in os.walk(folder, onerror=unreadable, followlinks=False):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        folders[:] = [name for name in folders if not passing(name) and name not in links]
        for name in (*names, *links):
            full = Path(parent) / name
            path = full.relative_to(folder).as_posix()
            if not passing(name):
                found.append((path, full, _wrong(full, inside)))
    yield from sorted(found, key=lambda item: item[0])


def _wrong(full: Path, inside: Path) -> str | None:
    """Why a directory entry is not to be read."""
    try:
        full.name.encode()
        if full.is_symlink():
            target = full.resolve(strict=True)
            if not target.is_relative_to(inside):
                return f"{full}: a link that leaves the source's folder is not followed"
            if target.is_dir():
                return f"{full}: a link to a folder is not followed"
        if not stat.S_ISREG(full.stat().st_mode):
            return f"{full}: not a regular file"
    except UnicodeEncodeError:
        return f"{str(full).encode(errors='replace').decode()}: its name is not UTF-8"
    except (OSError, RuntimeError) as error:
        return f"{full}: cannot be read: {getattr(error, 'strerror', None) or error}"
    return None


def _content(full: Path, where: str) -> bytes:
    """At most ``MAX_BYTES`` of a regular file.

    Raises:
        ClearwayError: it is larger, or cannot be read.
    """
    try:
        # Without waiting: what was a file a moment ago may be a pipe that nobody writes to.
        with open(os.open(full, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ClearwayError(
            f"{where}: cannot be read: {error.strerror or error}",
            untouched="all other documents.",
            todo="give read permission, or take it away.",
        ) from error
    if len(content) > MAX_BYTES:
        raise ClearwayError(
            f"{where}: more than {MAX_BYTES // 2**20} MiB, which a document has at most",
            untouched="all other documents.",
            todo="split the file.",
        )
    return content
