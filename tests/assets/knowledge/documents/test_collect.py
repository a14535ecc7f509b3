"""A folder's documents: what is broken is told and leaves the others, and the result is the same each time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from assets.knowledge.cache import Cache
from assets.knowledge.documents import collect as module
from assets.knowledge.documents import document as document_module
from assets.knowledge.documents.collect import collect
from assets.knowledge.documents.document import document_uid
from assets.knowledge.documents.passages import cut
from assets.knowledge.documents.spec import Cut, DocumentSource, Table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "landing" / "documents" / "manuals"
    made.mkdir(parents=True)
    return made


def drop(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def landing(folder: Path) -> Path:
    return folder.parent.parent


def test_an_empty_landing_folder(tmp_path: Path, manuals: DocumentSource) -> None:
    assert collect(tmp_path / "none", [manuals]).documents == ()
    assert collect(tmp_path, [manuals]).problems == ()


def test_documents_in_a_stable_order_with_labels(folder: Path, manuals: DocumentSource) -> None:
    drop(folder, "b.md", "# Pump B\nText.")
    drop(folder, "a.txt", "Pump A")
    drop(folder, "secret/c.html", "<title>C</title><p>Pump C")
    for unseen in (".hidden.md", "d.md.part", ".git/e.md"):
        drop(folder, unseen, "unseen")
    found = collect(landing(folder), [manuals])
    assert [(d.uid, d.title, d.access) for d in found.documents] == [
        ("document:manuals/a.txt", "a", "staff"),
        ("document:manuals/b.md", "Pump B", "staff"),
        ("document:manuals/secret/c.html", "C", "board|staff"),
    ]
    assert found.problems == ()
    assert collect(landing(folder), [manuals]) == found


def test_the_digest_covers_content_labels_declaration_and_code(
    folder: Path, manuals: DocumentSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(folder, "a.md", "Text.")

    def digest(source: DocumentSource = manuals) -> str:
        return collect(landing(folder), [source]).documents[0].digest

    first = digest()
    os.utime(folder / "a.md", (1, 1))
    assert digest() == first, "the time of a file is not its content"
    assert digest(manuals.model_copy(update={"labels": ("board",)})) != first
    assert digest(manuals.model_copy(update={"chunk": Cut(size=100)})) != first
    with monkeypatch.context() as changed:
        changed.setattr(document_module, "CODE_VERSION", "other")
        assert digest() != first
    drop(folder, "a.md", "Text!")
    assert digest() != first


def test_what_is_broken_leaves_the_others(
    folder: Path, manuals: DocumentSource, pdf: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    drop(folder, "good.md", "Good.")
    drop(folder, "mixed.txt", "é\n".encode() + "é\n".encode("cp1252"))
    drop(folder, "broken.pdf", b"%PDF-1.7 nothing")
    drop(folder, "locked.pdf", pdf("x", password="secret"))
    drop(folder, "scan.pdf", pdf(""))
    drop(folder, "binary.txt", bytes(range(256)) * 40 + bytes(1000))
    drop(folder, "empty.md", "")
    drop(folder, "large.txt", b"x" * 100_001)
    drop(folder, "image.png", b"\x89PNG")
    os.mkfifo(folder / "pipe.txt")
    found = collect(landing(folder), [manuals])
    assert [d.uid for d in found.documents] == ["document:manuals/good.md", "document:manuals/mixed.txt"]
    assert [p.file for p in found.lost] == [
        f"manuals/{name}"
        for name in (
            "binary.txt", "broken.pdf", "empty.md", "image.png", "large.txt", "locked.pdf", "pipe.txt", "scan.pdf",
        )
    ]  # fmt: skip
    assert all(Path(p.file).name in p.message for p in found.problems)
    assert [(p.file, p.document) for p in found.problems if not p.lost] == [
        ("manuals/mixed.txt", "document:manuals/mixed.txt")
    ]


def test_links_that_leave_the_folder_are_not_followed(folder: Path, manuals: DocumentSource, tmp_path: Path) -> None:
    outside = drop(tmp_path, "outside/secret.md", "secret")
    inside = drop(folder, "real/a.md", "inside")
    (folder / "out.md").symlink_to(outside)
    (folder / "folder").symlink_to(outside.parent)
    (folder / "dangling.md").symlink_to(tmp_path / "gone")
    (folder / "loop.md").symlink_to(folder / "loop.md")
    (folder / "again").symlink_to(inside.parent)
    (folder / "b.md").symlink_to(inside)
    found = collect(landing(folder), [manuals])
    assert [d.uid for d in found.documents] == ["document:manuals/b.md", "document:manuals/real/a.md"]
    assert [p.file for p in found.problems] == [
        f"manuals/{n}" for n in ("again", "dangling.md", "folder", "loop.md", "out.md")
    ]
    assert "leaves the source's folder" in found.problems[-1].message


def test_a_link_in_place_of_the_folder(tmp_path: Path, manuals: DocumentSource) -> None:
    drop(tmp_path, "outside/secret.md", "secret")
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "manuals").symlink_to(tmp_path / "outside")
    found = collect(tmp_path, [manuals])
    assert found.documents == ()
    assert "not followed" in found.problems[0].message


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read(folder: Path, manuals: DocumentSource) -> None:
    drop(folder, "a.md", "x").chmod(0)
    drop(folder, "b.md", "x")
    found = collect(landing(folder), [manuals])
    assert [d.uid for d in found.documents] == ["document:manuals/b.md"]
    assert "Permission denied" in found.problems[0].message


def test_a_file_that_fails_while_it_is_read(
    folder: Path, manuals: DocumentSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(folder, "a.md", "x")
    drop(folder, "b.md", "x")
    real = os.open

    def failing(path: Path, *arguments: int) -> int:
        if str(path).endswith("a.md"):
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments)

    monkeypatch.setattr(module.os, "open", failing)
    found = collect(landing(folder), [manuals])
    assert [d.uid for d in found.documents] == ["document:manuals/b.md"]
    assert "manuals/a.md: cannot be read: Permission denied" in found.problems[0].message


def test_what_no_pattern_or_source_takes_is_told(folder: Path, manuals: DocumentSource) -> None:
    drop(folder, "a.md", "x")
    drop(folder, "b.txt", "x")
    drop(folder.parent, "stray/c.md", "x")
    found = collect(landing(folder), [manuals.model_copy(update={"files": ("**/*.md",)})])
    assert [d.uid for d in found.documents] == ["document:manuals/a.md"]
    assert [p.file for p in found.problems] == ["stray", "manuals/b.txt"]


def test_two_files_with_the_same_rows(folder: Path, manuals: DocumentSource) -> None:
    table = Table(columns=("id", "what"), key=("id",), title="Pump {id}", text=("{what}",))
    source = manuals.model_copy(update={"table": table})
    drop(folder, "1.csv", "id,what\n1,same\n2,old\n,none\n")
    drop(folder, "2.csv", "id,what\n1,same\n2,new\n3,more\n")
    drop(folder, "3.csv", "id,what\n1,same\n")
    drop(folder, "4.csv", "nr,what\n1,same\n")
    drop(folder, "read.md", "A manual beside the table.")
    found = collect(landing(folder), [source])
    assert [(d.uid, d.text) for d in found.documents] == [
        ("document:manuals/1", "same"),
        ("document:manuals/2", "old"),
        ("document:manuals/3", "more"),
        ("document:manuals/read.md", "A manual beside the table."),
    ]
    assert [(p.file, p.lost) for p in found.problems] == [
        ("manuals/1.csv", True), ("manuals/2.csv", True), ("manuals/3.csv", False), ("manuals/4.csv", True),
    ]  # fmt: skip
    assert "line 4" in found.problems[0].message
    assert "2 documents are in manuals/1.csv, too" in found.problems[1].message
    assert "1 of them say something else" in found.problems[1].message


def test_uids() -> None:
    assert document_uid("s", "a/b.md") == "document:s/a/b.md"
    assert document_uid("s", "a/b", "c") == "document:s/a%2Fb/c"
    assert document_uid("s", "a#1\n") == "document:s/a%231%0A", "what follows # is a passage"
    assert document_uid("s", "e\u0301") == document_uid("s", "\u00e9")


def test_fifty_megabytes_of_text(folder: Path, manuals: DocumentSource) -> None:
    line = "The pump of site one was opened, and its seal was found worn. " * 8 + "\n\n"
    drop(folder, "large.txt", line * (50 * 2**20 // len(line)))
    drop(folder, "small.txt", "Small.")
    tokens = lambda text: len(text) // 5 + 1  # noqa: E731
    (large, small) = (d for d in collect(landing(folder), [manuals]).documents)
    (_, refused), (_, short) = cut([large, small], tokens)
    assert isinstance(short, list)
    assert [p.document for p in short] == [small.uid]
    assert "manuals/large.txt: more than 2,000 passages (chunk.max_passages)" in str(refused)
    roomy = manuals.model_copy(update={"chunk": Cut(max_passages=1_000_000)})
    (large, _) = collect(landing(folder), [roomy]).documents
    ((_, passages),) = cut([large], tokens)
    assert isinstance(passages, list)
    assert sum(p.text.count("its seal was found worn.") for p in passages) >= 8 * (50 * 2**20 // len(line))
    assert max(tokens(p.text) for p in passages) <= 200


def test_passages_are_cut_once_and_forgotten_with_their_document(
    folder: Path, manuals: DocumentSource, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        drop(folder, f"{name}.txt", f"Pump {name} was opened.")
    counted: list[str] = []

    def tokens(text: str) -> int:
        counted.append(text)
        return len(text.split())

    first, second = collect(landing(folder), [manuals]).documents
    with Cache(tmp_path / "passages.db") as cache:
        found = list(cut([first, second], tokens, cache))
        counted.clear()
        assert list(cut([first, second], tokens, cache)) == found
        assert counted == []
        list(cut([second], tokens, cache))
        assert list(cut([first, second], tokens, cache)) == found
        assert set(counted) == {first.text}
