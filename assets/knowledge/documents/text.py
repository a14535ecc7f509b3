"""Bytes of a file to text: UTF-8 where it is, a detected encoding where it is not, line by line when both occur.

Unicode, chapter 3.9: a byte sequence of another encoding is hardly ever well-formed UTF-8, so what decodes is UTF-8.
"""

from __future__ import annotations

import codecs
import re

from serving.errors import ClearwayError

MAX_BYTES = 64 * 1024 * 1024
# What an encoding is detected by; more would cost time and tell no more.
SAMPLE_BYTES, SAMPLE_LINES = 64 * 1024, 1000
# Bytes beyond ASCII that detection by frequencies needs; a shorter sample is taken as Western European.
ENOUGH = 64
BINARY_SHARE = 0.001
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Controls but for tab and newline, byte-order marks, and marks that change the direction in which text is shown.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")


def decode(content: bytes, where: str, hint: str | None = None) -> tuple[str, list[str]]:
    """The text of a file, with ``\\n`` line ends and without control characters, and notes of what was done to it.

    Args:
        content: at most ``MAX_BYTES``.
        where: the file, for messages.
        hint: an encoding that the file itself declares; used where it is not UTF-8.

    Raises:
        ClearwayError: it is too large, or no text.
    """
    if len(content) > MAX_BYTES:
        raise ClearwayError(
            f"{where}: {len(content) / 2**20:.0f} MiB, and a document has at most {MAX_BYTES / 2**20:.0f} MiB",
            untouched="all other documents.",
            todo="split the file.",
        )
    notes: list[str] = []
    text = _marked(content, where)
    if text is None:
        _refuse_binary(content, where)
        text = _unmarked(content, where, hint, notes)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    cleaned = CONTROLS.sub("", text)
    if len(cleaned) < len(text):
        notes.append(f"{where}: {len(text) - len(cleaned)} control characters were removed")
    return cleaned, notes


def _marked(content: bytes, where: str) -> str | None:
    """Text that begins with a byte-order mark; None of one that has none, or whose mark promises too much."""
    for mark, encoding in MARKS:
        if content.startswith(mark):
            try:
                return content[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                if encoding == "utf-8":
                    return None
                raise _no_text(where, f"its byte-order mark says {encoding}, and it is not") from error
    return None


def _refuse_binary(content: bytes, where: str) -> None:
    nul = content.count(0)
    if nul > max(1, len(content) * BINARY_SHARE):
        raise _no_text(where, f"{nul} of its {len(content)} bytes are NUL, so it is binary or UTF-16 without a mark")


def _no_text(where: str, why: str) -> ClearwayError:
    return ClearwayError(
        f"{where}: this is no text: {why}", untouched="all other documents.", todo="save it as UTF-8, or take it away."
    )


def _unmarked(content: bytes, where: str, hint: str | None, notes: list[str]) -> str:
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode()
    except UnicodeDecodeError:
        pass
    lines = content.splitlines(keepends=True)
    utf8, other = _sorted(lines)
    if not utf8:
        encoding = _fitting(hint, content) or _legacy(other)
        notes.append(f"{where}: read as {encoding}, not UTF-8")
        return content.decode(encoding, errors="replace")
    rest = _legacy([line for line in other[:SAMPLE_LINES] if not _is_korean(line)])
    found: set[str] = set()
    decoded = []
    for line in lines:
        try:
            decoded.append(line.decode())
        except UnicodeDecodeError:
            encoding = "cp949" if _is_korean(line) else rest
            found.add(encoding)
            decoded.append(line.decode(encoding, errors="replace"))
    notes.append(
        f"{where}: two encodings in one file: UTF-8, and {len(other)} lines that were read as "
        f"{' or '.join(sorted(found))}"
    )
    return "".join(decoded)


def _sorted(lines: list[bytes]) -> tuple[int, list[bytes]]:
    """How many lines are UTF-8 beyond ASCII, and the lines that are not UTF-8."""
    utf8, other = 0, []
    for line in lines:
        if not line.isascii():
            try:
                line.decode()
                utf8 += 1
            except UnicodeDecodeError:
                other.append(line)
    return utf8, other


def _is_korean(line: bytes) -> bool:
    """Whether what is not ASCII are Hangul syllables: in KS X 1001 they have two high bytes each."""
    try:
        text = line.decode("cp949")
    except UnicodeDecodeError:
        return False
    wide = [c for c in text if ord(c) > 127]
    hangul = sum("가" <= c <= "힣" for c in wide)
    try:
        line.decode("euc_kr")
        plain = True
    except UnicodeDecodeError:
        plain = False
    return hangul >= (1 if plain else 4) and hangul >= 0.6 * len(wide)


def _fitting(encoding: str | None, content: bytes) -> str | None:
    """The encoding's name when it is known and fits."""
    if encoding is None:
        return None
    try:
        name = codecs.lookup(encoding).name
        content.decode(name)
    except (LookupError, UnicodeDecodeError, ValueError):
        return None
    # What declares Latin-1 is read as Windows-1252 by every browser (WHATWG, Encoding Standard).
    return "cp1252" if name in ("iso8859-1", "ascii") and _fitting("cp1252", content) else name


def _legacy(lines: list[bytes]) -> str:
    """The encoding of lines that are not UTF-8."""
    lines = [line[:SAMPLE_BYTES] for line in lines[:SAMPLE_LINES]]
    if lines and sum(_is_korean(line) for line in lines) > len(lines) / 2:
        return "cp949"
    sample, size = [], 0
    for line in lines:
        sample.append(line)
        size += len(line)
        if size > SAMPLE_BYTES:
            break
    joined = b"".join(sample)
    if sum(byte > 127 for byte in joined) >= ENOUGH:
        from charset_normalizer import from_bytes

        best = from_bytes(joined).best()
        if best is not None and best.encoding not in ("utf_8", "ascii"):
            # Among encodings that say the same of the sample, the one that is met most often says it of the rest.
            return "cp1252" if "cp1252" in best.could_be_from_charset else best.encoding
    return _fitting("cp1252", joined) or "latin-1"
