"""Chunks hold every word of every section, in order, none too large, cut where the text has joints."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.knowledge.documents.chunk import Chunk, chunk, chunks
from assets.knowledge.documents.parsed import Parsed, Section
from assets.knowledge.documents.spans import LONGEST_WORD, paragraphs, sentences

COUNTS = {
    "words": lambda text: len(text.split()),
    "characters": lambda text: len(text) // 4 + 1,
    "special": lambda text: len(text.split()) + 2,
    "superadditive": lambda text: len(text.split()) + len(text) // 50,
}
WORDS = st.text(st.sampled_from("abcXYZ019.,;!?…\"'()-|한국"), min_size=1, max_size=12)
TEXT = st.lists(st.tuples(WORDS, st.sampled_from([" ", "  ", "\n", "\n\n", ". ", "\n \n\n"])), max_size=80).map(
    lambda parts: "".join(word + gap for word, gap in parts)
)
PATHS = st.lists(st.sampled_from(["A", "B", "C"]), max_size=3).map(tuple)
SECTIONS = st.lists(st.builds(Section, PATHS, TEXT.filter(str.strip)), max_size=6)


def in_order(wanted: list[str], found: list[str]) -> bool:
    """Whether the wanted are among the found, in order."""
    rest = iter(found)
    return all(word in rest for word in wanted)


@settings(max_examples=200, deadline=None)
@given(SECTIONS, st.sampled_from(sorted(COUNTS)), st.integers(4, 40), st.data())
def test_nothing_is_lost_and_nothing_is_too_large(
    sections: list[Section], name: str, size: int, data: st.DataObject
) -> None:
    count = COUNTS[name]
    overlap = data.draw(st.integers(0, size - 1))
    found = chunk(Parsed("t", tuple(sections)), count, size, overlap)
    assert [c.order for c in found] == list(range(len(found)))
    assert in_order(" ".join(s.text for s in sections).split(), " ".join(c.text for c in found).split())
    for each in found:
        assert each.text.strip() == each.text != ""
        assert count(each.text) <= size or len(each.text.split()) == 1


@settings(max_examples=150, deadline=None)
@given(TEXT.filter(str.strip).map(lambda text: text.replace("c", "。").replace("Z", "！")), st.integers(4, 30))
def test_without_overlap_a_section_is_its_chunks(text: str, size: int) -> None:
    found = chunk(Parsed("t", (Section((), text),)), COUNTS["words"], size, 0)
    assert "".join("".join(c.text for c in found).split()) == "".join(text.split())


@settings(max_examples=100, deadline=None)
@given(TEXT.filter(str.strip), st.integers(6, 30))
def test_an_overlap_is_whole_sentences_of_the_chunk_before(text: str, size: int) -> None:
    plain = chunk(Parsed("t", (Section((), text),)), COUNTS["words"], size, 0)
    found = chunk(Parsed("t", (Section((), text),)), COUNTS["words"], size, size // 3)
    total = sum(len(c.text.split()) for c in found) - sum(len(c.text.split()) for c in plain)
    assert 0 <= total <= (len(found) - 1) * (size // 3)


def test_sections_are_not_mixed_and_small_siblings_are_merged() -> None:
    sections = (
        Section(("Pumps", "Rotor"), "It turns."),
        Section(("Pumps", "Seal"), "It holds."),
        Section(("Sites", "One"), "It is near."),
        Section(("Sites", "One", "Gate"), "It is shut."),
    )
    assert chunk(Parsed("t", sections), COUNTS["words"], 20, 5) == [
        Chunk(0, "Pumps > Rotor; Seal", "Rotor\nIt turns.\n\nSeal\nIt holds."),
        Chunk(1, "Sites > One", "It is near."),
        Chunk(2, "Sites > One > Gate", "It is shut."),
    ]


def test_paragraphs_then_sentences_then_words() -> None:
    text = "One two three.\n\nFour five six.\n\nA b c d. E f g h. I j k l."
    found = [c.text for c in chunk(Parsed("t", (Section((), text),)), COUNTS["words"], 8, 0)]
    assert found == ["One two three.\n\nFour five six.", "A b c d. E f g h.", "I j k l."]
    found = [c.text for c in chunk(Parsed("t", (Section((), "a b c d e f g"),)), COUNTS["words"], 3, 0)]
    assert found == ["a b c", "d e f", "g"]


def test_overlap() -> None:
    text = "The first is long enough. Short one. Another sentence follows here. The end."
    found = [c.text for c in chunk(Parsed("t", (Section((), text),)), COUNTS["words"], 7, 3)]
    assert found == [
        "The first is long enough. Short one.", "Short one. Another sentence follows here.",
        "The end.",
    ]  # fmt: skip


def test_sentences() -> None:
    text = 'Dr. A. Smith left at 3.5 km. He said: "Stop!" Then... Nothing. 펌프가 멈췄다. 다시 켰다. 停了。再开！'
    assert [text[a:b] for a, b in sentences(text, (0, len(text)))] == [
        "Dr. A. Smith left at 3.5 km.", 'He said: "Stop!"', "Then...", "Nothing.", "펌프가 멈췄다.", "다시 켰다.",
        "停了。", "再开！",
    ]  # fmt: skip
    text = "a wrapped\nline. And\n- item\npart | 3\nseal | 4"
    assert [text[a:b] for a, b in sentences(text, (0, len(text)))] == [
        "a wrapped\nline.", "And", "- item", "part | 3", "seal | 4",
    ]  # fmt: skip
    assert [slice(*p) for p in paragraphs("\n a \n \n\n b\nc \n")] == [slice(2, 3), slice(9, 12)]


def test_a_word_without_end_is_cut() -> None:
    found = chunk(Parsed("t", (Section((), "x" * 10_000),)), COUNTS["words"], 20, 0)
    assert "".join(c.text for c in found) == "x" * 10_000
    assert max(len(c.text) for c in found) <= max(LONGEST_WORD, 20 * 32)


def test_scripts_without_spaces_are_cut() -> None:
    text = "泵的压力突然下降" * 100
    found = chunk(Parsed("t", (Section((), text),)), COUNTS["characters"], 20, 0)
    assert "".join(c.text for c in found) == text
    assert max(COUNTS["characters"](c.text) for c in found) <= 20


def test_who_has_enough_may_stop() -> None:
    asked = 0

    def counted(text: str) -> int:
        nonlocal asked
        asked += 1
        return len(text.split())

    next(chunks([Section((), "One two three four. " * 10_000)], counted, 20, 5))
    assert asked < 100


@pytest.mark.parametrize("line", ["word " * 30 + "\n", "word ", "x", ". ", ".", "A b c. ", "\n\n", "한국어 문장이다. "])
def test_time_and_memory_are_bounded_by_the_text(line: str) -> None:
    text = (line * (300_000 // len(line))).strip() or "x"
    tracemalloc.start()
    began = time.monotonic()
    found = sum(1 for _ in chunks([Section((), text)], COUNTS["words"], 200, 30))
    took, peak = time.monotonic() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found >= 1
    assert took < 10
    assert peak < 3 * len(text) + 5_000_000


@pytest.mark.parametrize(("size", "overlap"), [(10, 10), (10, -1)])
def test_an_overlap_that_is_none(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        chunk(Parsed("t", ()), COUNTS["words"], size, overlap)
