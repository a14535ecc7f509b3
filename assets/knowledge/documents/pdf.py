"""PDF to sections, one a page."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from assets.knowledge.documents.parsed import Section
from assets.knowledge.documents.text import CONTROLS
from serving.errors import ClearwayError

if TYPE_CHECKING:
    from pypdf import PdfReader

MAX_PAGES = 5_000
HYPHENATED = re.compile(r"(?<=[a-z])-\n(?=[a-z])")


def pdf_sections(content: bytes, where: str) -> tuple[str, tuple[Section, ...], list[str]]:
    """The title that the file declares (empty when it has none), its pages with text, and notes.

    A file that is encrypted with the empty password is read as every viewer reads it.

    Raises:
        ClearwayError: it is broken, encrypted, too long, or has no text on any page.
    """
    import pypdf

    # pypdf tells of each repair on its log; what matters is raised or noted here.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = pypdf.PdfReader(io.BytesIO(content), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise _refused(where, "it is encrypted with a password", "save it without one.")
        pages = len(reader.pages)
        if pages > MAX_PAGES:
            raise _refused(where, f"{pages} pages, and a document has at most {MAX_PAGES:,}", "split the file.")
        title = str((reader.metadata and reader.metadata.title) or "").strip()
        sections = tuple(_pages(reader))
    except ClearwayError:
        raise
    except RecursionError as error:
        raise _refused(where, "the PDF's objects are nested without end", "export it once more.") from error
    except Exception as error:  # pypdf lets through whatever a broken file makes it stumble over
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise _refused(where, f"the PDF is broken or cannot be read: {reason}", "export it once more.") from error
    if not sections:
        raise _refused(where, "no page of the PDF has text; it may be scanned", "run text recognition on it.")
    blank = pages - len(sections)
    return title, sections, [f"{where}: {blank} of {pages} pages have no text"] if blank else []


def _refused(where: str, why: str, todo: str) -> ClearwayError:
    return ClearwayError(f"{where}: {why}", untouched="all other documents.", todo=todo)


def _pages(reader: PdfReader) -> Iterator[Section]:
    for number, page in enumerate(reader.pages, 1):
        # A font's table may name halves of surrogate pairs, which no store takes.
        text = page.extract_text().encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\r", "\n")
        text = CONTROLS.sub("", HYPHENATED.sub("", text)).strip()
        if text:
            yield Section((f"Page {number}",), text)
