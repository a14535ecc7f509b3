"""Files become titles and sections by their suffix; what is broken or hidden does not become text."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from assets.knowledge.documents import parse as module
from assets.knowledge.documents import parsed
from assets.knowledge.documents.parse import parse
from assets.knowledge.documents.parsed import Section
from serving.errors import ClearwayError

MARKDOWN = b"""---
title: Pumps
owner: someone
---
Before [all](http://example.org) *headings*.

# Pumps

One `code` line,
and its second.

## Parts

1. rotor
2. seal
   - inner

| part | price |
|------|-------|
| seal | 3 |

```sh
turn on
```

### Seal
Text.

> # Quoted

Care
====
<p hidden>unseen</p><p>seen</p>
<script>evil()</script>
"""


def test_markdown() -> None:
    found = parse("manuals/pumps.md", MARKDOWN)
    assert found.title == "Pumps"
    assert found.sections == (
        Section((), "Before all headings."),
        Section(("Pumps",), "One code line,\nand its second."),
        Section(("Pumps", "Parts"), "- rotor\n- seal\n- inner\n\npart | price\nseal | 3\n\nturn on"),
        Section(("Pumps", "Parts", "Seal"), "Text.\n\nQuoted"),
        Section(("Care",), "seen"),
    )


def test_a_heading_over_all_is_the_title() -> None:
    found = parse("a.md", b"# Pumps\nText.\n## Parts\nMore.\n#### Seal\nEnd.\n## Care\nLast.\n")
    assert found.title == "Pumps"
    assert [s.path for s in found.sections] == [(), ("Parts",), ("Parts", "Seal"), ("Care",)]


def test_front_matter_that_is_no_yaml_is_noted() -> None:
    found = parse("a.md", b"---\ntitle: [\n---\ntext")
    assert (found.title, found.sections) == ("a", (Section((), "text"),))
    assert found.notes == ("a.md: its front matter is no YAML and was not read",)


HTML = b"""<!doctype html><html><head><meta charset="utf-8"><title>Pumps &amp; parts</title>
<style>p {color: red}</style><script>var evil = "<p>shown</p>";</script></head>
<body onload="evil()"><!-- a comment --><h1>Pumps &amp; parts</h1>
<p>First <b>par</b>agraph<br>goes on.<p style="color: red; display : none">hidden by style
<div>A block<script>evil()</script> of text</div><p hidden>hidden by attribute</p>
<noscript>hidden where scripts run</noscript><template>hidden</template><div aria-hidden="true">hidden <p>inside</div>
<h2 id=x>Parts</h2><ul><li>rotor<li>seal</ul>
<table><caption>Prices</caption><tr><th>part<th>price<tr><td>seal</td><td><p>3</p></td></tr></table>
<pre>turn on
  wait</pre>a &lt;tag&gt; &#x202e;x<img src=x onerror=evil()>
</body></html>"""


def test_html_without_scripts_styles_and_what_is_hidden() -> None:
    found = parse("pumps.html", HTML)
    assert found.title == "Pumps & parts"
    assert found.sections == (
        Section((), "First paragraph goes on.\n\nA block of text"),
        Section(("Parts",), "- rotor\n\n- seal\n\nPrices\npart | price\nseal | 3\n\nturn on\n  wait\n\na <tag> x"),
    )
    text = " ".join(s.text for s in found.sections)
    assert not [word for word in ("evil", "hidden", "comment", "color") if word in text]


@pytest.mark.parametrize(
    "content",
    [
        b"<div>" * 20000, b'<a "' * 20000, b"<a" * 20000, b"<!--" * 20000, b"<p a='" * 20000, b"<script>" * 20000,
        b"<td>" * 20000 + b"</b>" * 20000, b"<p hidden>" * 20000, b"</p" * 20000, b"<" * 20000, b"<a x" + b" " * 90000,
    ],
)  # fmt: skip
def test_broken_html_takes_no_longer(content: bytes) -> None:
    began = time.monotonic()
    assert parse("a.html", b"<p>words</p>" + content).sections[0].text.startswith("words")
    assert time.monotonic() - began < 5


def test_html_that_declares_its_encoding() -> None:
    content = '<meta http-equiv=Content-Type content="text/html; charset=iso-8859-2"><p>kůň'.encode("iso8859-2")
    assert parse("a.htm", content).sections[0].text == "kůň"


def test_text() -> None:
    assert parse("notes/today.TXT", b" one\r\n\r\ntwo \n").sections == (Section((), "one\n\ntwo"),)
    assert parse("notes/today.TXT", b"x").title == "today"


@pytest.mark.parametrize("name", ["empty.txt", "empty.md", "empty.html", "script.html", "picture.png", "none"])
def test_what_has_no_text_is_refused(name: str) -> None:
    with pytest.raises(ClearwayError, match=name):
        parse(name, b"<script>1</script>" if name == "script.html" else b" \n")


def test_too_much_markup_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.MAX_MARKUP_BYTES, ".md", 1024)
    with pytest.raises(ClearwayError, match=r"a\.md: .* MiB of markup"):
        parse("a.md", b"x" * 1025)


def test_too_many_sections_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsed, "MAX_SECTIONS", 3)
    with pytest.raises(ClearwayError, match=r"a\.md: more than 3 sections"):
        parse("a.md", b"# a\nx\n" * 4)


def test_pdf(pdf: Callable[..., bytes]) -> None:
    found = parse("a.pdf", pdf("The pump of site one.", "", "Its seal.", title="Pumps"))
    assert found.title == "Pumps"
    assert found.sections == (Section(("Page 1",), "The pump of site one."), Section(("Page 3",), "Its seal."))
    assert found.notes == ("a.pdf: 1 of 3 pages have no text",)


def test_pdf_with_an_empty_password_is_read(pdf: Callable[..., bytes]) -> None:
    assert parse("a.pdf", pdf("The pump.", password="")).sections[0].text == "The pump."


def test_pdf_that_cannot_be_read(pdf: Callable[..., bytes]) -> None:
    whole = pdf("The pump of site one.")
    for content, why in (
        (pdf("x", password="secret"), "encrypted with a password"),
        (pdf("", ""), "no page of the PDF has text"),
        (b"%PDF-1.7\ngarbage", "broken"),
        (b"no pdf at all", "broken"),
        (b"", "broken"),
        (whole[: len(whole) // 3], "broken"),
    ):
        with pytest.raises(ClearwayError, match=why) as error:
            parse("manuals/a.pdf", content)
        assert "manuals/a.pdf" in error.value.what
        assert error.value.todo


@pytest.mark.parametrize("seed", range(20))
def test_damaged_pdf_is_text_or_an_error_that_names_it(pdf: Callable[..., bytes], seed: int) -> None:
    import random

    content = bytearray(pdf("The pump of site one.", "And two."))
    chance = random.Random(seed)
    for _ in range(20):
        content[chance.randrange(len(content))] = chance.randrange(256)
    said = "a.pdf"
    try:
        assert parse("a.pdf", bytes(content)).sections
    except ClearwayError as error:
        said = error.what
    assert "a.pdf" in said
