"""A document: what a file, a row of a table, or the project itself says, with its labels, before it is cut."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from assets.knowledge.documents.parsed import Section
from assets.knowledge.documents.spec import Cut
from serving.retrieval.access import joined
from serving.retrieval.elements import Scalar, digest

# Whatever makes other documents or passages of the same files gets another number.
CODE_VERSION = "1"
# In a uid they would end the document's part or divide its key.
ESCAPED = {ord(c): f"%{ord(c):02X}" for c in "%#\n\r\t\x1f"}


@dataclass(frozen=True, slots=True)
class Document:
    """One document.

    Attributes:
        uid: ``document:<source>/<path below the source's folder, or key>``; the same for as long as it is there.
        source: name of its source; of the project's own documents ``own``.
        kind: what it is, such as ``document``, ``contract``, ``brief``.
        access: of its labels, see ``serving.retrieval.access``.
        digest: of what it says, its labels, how it is read, and the code that reads it; unchanged means unchanged.
        metadata: typed values beside the text.
        links: (class of the ontology, identifier or name) of things that it is about, as declared; not resolved.
        file: relative to the landing folder; of the project's own documents where they come from.
        cut: how it is cut into passages.
        notes: what was repaired in reading it.
    """

    uid: str
    source: str
    title: str
    kind: str
    access: str
    digest: str
    sections: tuple[Section, ...]
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    links: tuple[tuple[str, str], ...] = ()
    file: str = ""
    cut: Cut = field(default_factory=Cut)
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All sections, each below its headings."""
        return "\n\n".join("\n".join([*s.path[-1:], s.text]) for s in self.sections)


def document_uid(source: str, *parts: str) -> str:
    """The uid of a document by its path, or by the values of its key, in which a slash is no division."""
    escaped = [part.replace("/", "\0") if len(parts) > 1 else part for part in parts]
    text = "/".join(unicodedata.normalize("NFC", part).translate(ESCAPED) for part in escaped)
    return f"document:{source}/{text}".replace("\0", "%2F")


def document(
    uid: str,
    source: str,
    title: str,
    kind: str,
    sections: Iterable[Section],
    *,
    labels: Iterable[str] = (),
    metadata: Mapping[str, Scalar] | None = None,
    links: Iterable[tuple[str, str]] = (),
    file: str = "",
    cut: Cut | None = None,
    notes: Iterable[str] = (),
    declaration: str = "",
) -> Document:
    """A document with its digest.

    Args:
        declaration: fingerprint of what says how it is read.

    Raises:
        ClearwayError: a label is malformed.
    """
    every, access, how = tuple(sections), joined(labels), cut or Cut()
    values, about = dict(metadata or {}), tuple(dict.fromkeys(links))
    said = [[list(section.path), section.text] for section in every]
    key = digest(
        CODE_VERSION, declaration, how.fingerprint(), uid, title, kind, access, said, values, [list(a) for a in about]
    )
    return Document(uid, source, title, kind, access, key, every, values, about, file, how, tuple(notes))
