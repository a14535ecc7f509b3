"""Passages carry their document's uid and access, and a title that says where they stand."""

from __future__ import annotations

import pytest

from assets.knowledge.documents.document import document, document_uid
from assets.knowledge.documents.parsed import Section
from assets.knowledge.documents.passages import passages
from assets.knowledge.documents.spec import Cut
from serving.errors import ClearwayError
from tests.assets.knowledge.documents.conftest import words

SECTIONS = [Section((), "Before all."), Section(("Parts", "Seal"), "It holds. " * 20)]


def test_passages() -> None:
    made = document(
        document_uid("manuals", "a.md"), "manuals", "Pumps", "manual", SECTIONS,
        labels=["staff", "board"], cut=Cut(size=20, overlap=0),
    )  # fmt: skip
    found = passages(made, words)
    assert [p.uid for p in found] == [f"document:manuals/a.md#{i}" for i in range(3)]
    assert [p.order for p in found] == [0, 1, 2]
    assert [p.title for p in found] == ["Pumps", "Pumps – Parts > Seal", "Pumps – Parts > Seal"]
    assert {(p.document, p.access) for p in found} == {("document:manuals/a.md", "board|staff")}
    assert passages(made, words) == found


def test_too_many_passages_are_refused() -> None:
    made = document("document:m/a", "m", "t", "k", SECTIONS, file="m/a.md", cut=Cut(size=20, overlap=0, max_passages=2))
    with pytest.raises(ClearwayError, match=r"m/a\.md: more than 2 passages \(chunk\.max_passages\)"):
        passages(made, words)
