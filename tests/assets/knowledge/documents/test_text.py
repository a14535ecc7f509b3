"""Bytes become text: whatever encoding they are in, also two in one file, and never when they are binary."""

from __future__ import annotations

import codecs

import pytest

from assets.knowledge.documents import text as module
from assets.knowledge.documents.text import decode
from serving.errors import ClearwayError

GERMAN = "Die Prüfstelle für größere Pumpen übergab das Gerät.\n"
KOREAN = "펌프의 압력이 갑자기 떨어졌다\n"


@pytest.mark.parametrize(
    "content",
    [
        GERMAN.encode(),
        codecs.BOM_UTF8 + GERMAN.encode(),
        codecs.BOM_UTF16_LE + GERMAN.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + GERMAN.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + GERMAN.encode("utf-32-le"),
        GERMAN.replace("\n", "\r\n").encode(),
    ],
)
def test_unicode_is_read_as_it_is(content: bytes) -> None:
    assert decode(content, "a.txt") == (GERMAN, [])


@pytest.mark.parametrize(("line", "encoding"), [(GERMAN, "cp1252"), (KOREAN, "cp949"), (KOREAN * 20, "euc_kr")])
def test_another_encoding_is_detected(line: str, encoding: str) -> None:
    text, notes = decode(line.encode(encoding), "a.txt")
    assert text == line
    assert "a.txt" in notes[0]
    assert "not UTF-8" in notes[0]


def test_russian_is_told_by_its_letters() -> None:
    line = "Насос остановился, и давление в системе упало до нуля за несколько минут.\n" * 5
    assert decode(line.encode("cp1251"), "a.txt")[0] == line


@pytest.mark.parametrize(("line", "encoding"), [(GERMAN, "cp1252"), (KOREAN, "cp949")])
def test_two_encodings_in_one_file(line: str, encoding: str) -> None:
    content = (GERMAN + KOREAN).encode() + line.encode(encoding) + b"plain\n" + KOREAN.encode()
    text, notes = decode(content, "a.txt")
    assert text == GERMAN + KOREAN + line + "plain\n" + KOREAN
    assert notes == [f"a.txt: two encodings in one file: UTF-8, and 1 lines that were read as {encoding}"]


def test_three_encodings_in_one_file() -> None:
    content = KOREAN.encode() + GERMAN.encode("cp1252") + KOREAN.encode("cp949")
    text, notes = decode(content, "a.txt")
    assert text == KOREAN + GERMAN + KOREAN
    assert "cp1252 or cp949" in notes[0]


def test_a_mark_that_promises_too_much_is_not_believed() -> None:
    assert decode(codecs.BOM_UTF8 + GERMAN.encode("cp1252"), "a.txt")[0] == GERMAN
    with pytest.raises(ClearwayError, match=r"a\.txt: this is no text: its byte-order mark says utf-16-le"):
        decode(codecs.BOM_UTF16_LE + b"abc", "a.txt")


def test_a_declared_encoding_is_taken_where_it_fits() -> None:
    line = "Příliš žluťoučký kůň\n"
    assert decode(line.encode("iso8859-2"), "a.html", hint="ISO-8859-2")[0] == line
    assert decode(GERMAN.encode("cp1252"), "a.html", hint="no-such")[0] == GERMAN
    assert decode("“x”".encode("cp1252"), "a.html", hint="latin-1")[0] == "“x”"


def test_control_characters_are_removed() -> None:
    text, notes = decode("a\x00b\x1b[31m\tc\u202ed\x85\n\ufeffe".encode(), "a.txt")
    assert text == "ab[31m\tcd\ne"
    assert notes == ["a.txt: 5 control characters were removed"]


def test_binary_is_refused() -> None:
    with pytest.raises(ClearwayError, match=r"a\.txt: this is no text: 500 of its 1000 bytes are NUL"):
        decode(b"\x00\x7f" * 500, "a.txt")


def test_what_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    with pytest.raises(ClearwayError, match=r"a\.txt: .* MiB"):
        decode(b"x" * 11, "a.txt")


def test_nothing_is_text() -> None:
    assert decode(b"", "a.txt") == ("", [])
