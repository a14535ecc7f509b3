"""A PDF made on the spot, and a source of documents that nothing is special about."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from assets.knowledge.documents.spec import DocumentSource


def _pdf(*pages: str, password: str | None = None, title: str = "") -> bytes:
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
            NameObject("/Encoding"): NameObject("/WinAnsiEncoding"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(300, 300)
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode() if text else b"")
        page[NameObject("/Contents")] = writer._add_object(stream)
    if title:
        writer.add_metadata({"/Title": title})
    if password is not None:
        writer.encrypt(user_password=password, owner_password="owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.fixture
def pdf() -> Callable[..., bytes]:
    """Makes a PDF of pages, by their text."""
    return _pdf


@pytest.fixture
def manuals() -> DocumentSource:
    return DocumentSource(
        name="manuals",
        description="Manuals of pumps.",
        labels=("staff",),
        labels_by={"secret/**": ("board",)},
    )


def words(text: str) -> int:
    """Tokens of a test: words."""
    return len(text.split())
