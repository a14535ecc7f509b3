"""The copilot's pairs as files, of the published warehouse's metrics and values, drawn once for what they depend on."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.declared import fingerprint
from assets.training.llm.pairs import Pair, Split, all_pairs, phrases
from assets.training.llm.vocabulary import LANGUAGES, Language, Vocabulary, vocabulary
from serving.errors import ClearwayError
from serving.semantics.catalogue import Catalogue
from serving.semantics.linking import NONE, all_values, linker
from serving.semantics.query import MetricQuery, QueryError, dated, resolve
from serving.semantics.reply import write
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.semantics.engine import MetricEngine

CODE_VERSION = "2"
VALUES, UNNAMED = 300, 50  # of a dimension at most; of one that has no declared words
UNLINKED = 0.05  # share of the training questions that nothing is told of, as of words that nobody declared
COUNTS: dict[tuple[Language, Split], int] = {
    ("en", "train"): 6000, ("en", "phrasing"): 500, ("en", "combination"): 300, ("en", "value"): 200,
    ("ko", "train"): 1000, ("ko", "phrasing"): 150, ("ko", "combination"): 100, ("ko", "value"): 100,
}  # fmt: skip


@dataclass(frozen=True)
class Dataset:
    """Pairs on disk.

    Attributes:
        path: JSON lines: ``question``, ``values`` (that it names, as the model is told), ``today``, ``reply`` (as the
            model is to write it), ``language``, ``kind``, ``split``.
        card: JSON: how many of what, what they were made of, examples.
        new: False when they were there.
    """

    path: Path
    card: dict[str, Any]
    new: bool


def known(engine: MetricEngine) -> Vocabulary:
    """The vocabulary of what an engine answers: its metrics, its dimensions with their values, the days it has.

    Raises:
        ClearwayError: no metric has a value, or the warehouse cannot be read.
    """
    days = engine.days()
    if days is None:
        raise ClearwayError(
            "no metric of the semantic layer has a value, so there is nothing to ask.",
            untouched="the training pairs.",
            todo="build the warehouse first.",
        )
    catalogue = engine.catalogue()
    named = {d.name for m in catalogue.metrics.values() for d in m.dimensions.values() if "words" in d.meta}
    values: dict[str, list[str | int]] = {}
    for name, found in all_values(engine).items():
        # Of many values without a word for what they are nobody asks: they are ids.
        if found and (name in named or len(found) <= UNNAMED):
            # By a hash: of names in their order the first would all begin alike.
            some = sorted(found, key=lambda value: hashlib.sha256(str(value).encode()).digest())[:VALUES]
            values[name] = sorted(some, key=str)
    return vocabulary(catalogue, values, *days)


def make(engine: MetricEngine, folder: Path, seed: int, progress: Callable[[str], None]) -> Dataset:
    """Draw the pairs, or find those of the same metrics, words, values and phrases.

    Raises:
        ClearwayError: the warehouse cannot be read, or the folder cannot be written.
        DeclarationError: words of a metric or dimension are not as they must be.
    """
    words = known(engine)
    said = [json.dumps(phrases(each)) for each in LANGUAGES]
    counts = sorted((*split, count) for split, count in COUNTS.items())
    key = fingerprint([CODE_VERSION, seed, repr(words), manifest_key(engine.catalogue()), *said, counts])
    path, beside = folder / f"{key}.jsonl", folder / f"{key}.json"
    if path.exists() and beside.exists():
        _point(folder, key)
        progress(f"the pairs {key} were drawn before")
        return Dataset(path, json.loads(beside.read_text()), False)
    found = list(all_pairs(words, COUNTS, seed, answerable(engine.catalogue())))
    card = _card(key, seed, words, found) | {"manifest": manifest_key(engine.catalogue())}
    folder.mkdir(parents=True, exist_ok=True)
    linked, chance = linker(engine), random.Random(seed)
    lines = "".join(
        json.dumps(_line(pair, linked(pair.question) if chance.random() > UNLINKED else NONE), ensure_ascii=False)
        + "\n"
        for pair in found
    )
    # The card last: without it the pairs count as not drawn.
    for target, content in ((path, lines), (beside, json.dumps(card, ensure_ascii=False, indent=1))):
        part = target.with_name(f"{target.name}.part")
        part.write_text(content)
        os.replace(part, target)
    _point(folder, key)
    progress(f"{len(found):,} pairs drawn")
    return Dataset(path, card, True)


def _point(folder: Path, key: str) -> None:
    part = folder / "newest.part"
    part.write_text(key)
    os.replace(part, folder / "newest")


def manifest_key(catalogue: Catalogue) -> str:
    """Hash of what there is to ask for and of the words for it; values and days are not part of it."""
    return fingerprint([
        [m.name, m.kind, m.meta, sorted([d.qualified, json.dumps(d.meta, sort_keys=True)]
                                        for d in m.dimensions.values())]
        for _, m in sorted(catalogue.metrics.items())
    ])  # fmt: skip


def folder_of(settings: Settings) -> Path:
    """Where the pairs lie."""
    return settings.home / "copilot" / "pairs"


def newest(settings: Settings) -> Dataset:
    """The pairs that were drawn or found last.

    Raises:
        ClearwayError: there are none.
    """
    mark = folder_of(settings) / "newest"
    if not mark.exists():
        raise ClearwayError(
            f"{mark.parent} holds no pairs.", untouched="every version.", todo="materialize copilot/pairs first."
        )
    key = mark.read_text().strip()
    path = mark.with_name(f"{key}.jsonl")
    return Dataset(path, json.loads(path.with_suffix(".json").read_text()), False)


def answerable(catalogue: Catalogue) -> Callable[[MetricQuery, date], bool]:
    """Whether a catalogue takes a query, asked on a day.

    A metric that accumulates is asked for day by day: MetricFlow gives it by time only, and refuses to cut a longer
    period.
    """

    def takes(query: MetricQuery, today: date) -> bool:
        if any(catalogue.metrics[name].accumulates for name in query.metrics if name in catalogue.metrics):
            return query.grain == "day"
        try:
            resolve(dated(query, today), catalogue)
        except QueryError:
            return False
        return True

    return takes


def _line(pair: Pair, values: str) -> dict[str, str]:
    return {"question": pair.question, "values": values, "today": pair.today.isoformat(), "reply": write(pair.reply),
            "language": pair.language, "kind": pair.kind, "split": pair.split}  # fmt: skip


def _card(key: str, seed: int, words: Vocabulary, found: list[Pair]) -> dict[str, Any]:
    counted = Counter((p.language, p.split, p.kind) for p in found)
    examples: dict[tuple[str, str, str], Pair] = {}
    for pair in found:
        examples.setdefault((pair.language, pair.split, pair.kind), pair)
    return {
        "key": key,
        "seed": seed,
        "pairs": len(found),
        "metrics": sorted(words.metrics),
        "dimensions": {d.name: len(d.values) for d in words.dimensions.values()},
        "first": words.first.isoformat(),
        "last": words.last.isoformat(),
        "counts": [{"language": a, "split": b, "kind": c, "pairs": n} for (a, b, c), n in sorted(counted.items())],
        "examples": [_line(pair, "") for _, pair in sorted(examples.items())],
    }
