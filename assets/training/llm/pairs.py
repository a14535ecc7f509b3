"""Questions and the replies that are right for them, drawn from a vocabulary and phrases. Pure and seeded.

What is held out is decided by a hash, so that it stays held out whatever else is added: combinations of a metric and a
dimension, values of a dimension; and phrasings, which the phrases' files mark.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from assets.training.llm.times import Stretch, any_stretch
from assets.training.llm.vocabulary import Dimension, Language, Metric, Vocabulary
from serving.semantics.period import days_of
from serving.semantics.query import Filter, MetricQuery
from serving.semantics.reply import Reason, Refusal, Reply

Split = Literal["train", "phrasing", "combination", "value"]
HELD_COMBINATIONS, HELD_VALUES = 0.15, 0.15
KINDS = ("value", "by", "one", "some", "trend", "two")
WEIGHTS = (5, 3, 5, 3, 2, 1)
REFUSED = 0.15  # share of the questions that have no answer


@dataclass(frozen=True)
class Pair:
    """A question and the right reply.

    Attributes:
        today: the newest day of the data when it is asked.
        kind: of question; ``refusal`` for what has no answer.
        split: ``train``, or what about the question is never trained on.
    """

    question: str
    today: date
    reply: Reply
    language: Language
    kind: str
    split: Split


@cache
def phrases(language: Language) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "phrases" / f"{language}.yaml").read_text())
    return content


def held(what: str, share: float) -> bool:
    """Whether something named so is held out; a share of all names is."""
    return int(hashlib.sha256(what.encode()).hexdigest()[:8], 16) / 2**32 < share


def pairs(
    vocabulary: Vocabulary,
    language: Language,
    split: Split,
    count: int,
    seed: int,
    answerable: Callable[[MetricQuery, date], bool] = lambda *_: True,
) -> list[Pair]:
    """So many different questions of a split; fewer when the vocabulary has no more of them.

    Args:
        answerable: whether the semantic layer takes a query; what it does not is not asked.
    """
    found: dict[str, Pair] = {}
    drawn = _Drawn(vocabulary, language, split, random.Random(f"{seed}-{language}-{split}"))
    for _ in range(30 * count):
        if len(found) >= count:
            break
        pair = drawn.pair()
        if pair is not None and (isinstance(pair.reply, Refusal) or answerable(pair.reply, pair.today)):
            found.setdefault(pair.question, pair)
    return list(found.values())


class _Drawn:
    """Draws pairs of one language and split."""

    def __init__(self, vocabulary: Vocabulary, language: Language, split: Split, chance: random.Random) -> None:
        self._vocabulary, self._language, self._split, self._chance = vocabulary, language, split, chance
        self._said = phrases(language)
        self._called = {w.lower() for m in vocabulary.metrics.values() for w in (m.name, *m.words[language])} | {
            w.lower() for d in vocabulary.dimensions.values() for pair in d.words[language] for w in (d.name, *pair)
        }

    def pair(self) -> Pair | None:
        """A pair, or None when what was drawn does not belong to the split."""
        if self._split != "value" and self._split != "combination" and self._chance.random() < REFUSED:
            return self._refusal()
        kind = self._chance.choices(KINDS, WEIGHTS)[0]
        metric = self._chance.choice(list(self._vocabulary.metrics.values()))
        if not metric.dimensions:
            return None
        dimension = self._vocabulary.dimensions[self._chance.choice(metric.dimensions)]
        grouped = kind in ("by", "one", "some", "two")
        if grouped and held(f"{metric.name}/{dimension.name}", HELD_COMBINATIONS) != (self._split == "combination"):
            return None
        if not grouped and self._split == "combination":
            return None
        other = self._other(metric, dimension) if kind == "two" else None
        if kind == "two" and other is None:
            return None
        made = self._filters([metric, *([other] if other else [])], dimension.name if grouped else None)
        if made is None:
            return None
        filters, where = made
        today = self._vocabulary.last
        stretch = self._stretch(today)
        query, slots = self._query(kind, metric, other, dimension, where, stretch)
        question = self._filled(self._chance.choice(self._templates(kind)), slots, filters, stretch)
        return Pair(question, today, query, self._language, kind, self._split)

    def _templates(self, kind: str) -> Sequence[str]:
        known: dict[str, Sequence[str]] = self._said[kind]
        return known["unseen" if self._split == "phrasing" else "seen"]

    def _stretch(self, today: date) -> Stretch | None:
        """Any in training; of what is held out one that reaches into the data: rows are to tell right from wrong."""
        known = self._vocabulary
        if self._chance.random() < 0.25:
            return None
        for _ in range(20):
            found = any_stretch(self._chance, today, self._said)
            since, until = days_of(found.period, today)
            if self._split == "train" or (
                (since is None or since <= known.last) and (until is None or until > known.first)
            ):
                return found
        return None

    def _other(self, metric: Metric, dimension: Dimension) -> Metric | None:
        """A metric to ask for together with one, by a dimension; its combination is of the split, too."""
        combined = self._split == "combination"
        others = [m for m in self._vocabulary.metrics.values()
                  if m.name != metric.name and dimension.name in m.dimensions
                  and held(f"{m.name}/{dimension.name}", HELD_COMBINATIONS) == combined]  # fmt: skip
        return self._chance.choice(others) if others else None

    def _query(
        self,
        kind: str,
        metric: Metric,
        other: Metric | None,
        dimension: Dimension,
        where: tuple[Filter, ...],
        stretch: Stretch | None,
    ) -> tuple[MetricQuery, dict[str, Any]]:
        chance = self._chance
        single, plural = chance.choice(dimension.words[self._language])
        slots: dict[str, Any] = {
            "metric": chance.choice(metric.words[self._language]), "dimension": single, "dimensions": plural
        }  # fmt: skip
        common: dict[str, Any] = {
            "metrics": (metric.name,),
            "where": where,
            "period": stretch.period if stretch else None,
        }
        if kind == "trend":
            grain = chance.choice(list(self._said["grains"]))
            slots["grain"] = chance.choice(self._said["grains"][grain])
            return MetricQuery(**common, grain=grain), slots
        if kind == "value":
            return MetricQuery(**common), slots
        common["group_by"] = (dimension.name,)
        if other is not None:
            slots["metrics"] = self._said["both"].format(slots["metric"], chance.choice(other.words[self._language]))
            return MetricQuery(**{**common, "metrics": (metric.name, other.name)}), slots
        if kind == "by":
            return MetricQuery(**common), slots
        direction = chance.choice(["highest", "lowest", *(["best", "worst"] * 2 if metric.better else [])])
        slots["superlative"] = chance.choice(self._said["superlatives"][direction])
        n = 1 if kind == "one" else chance.choice([2, 3, 5, 10])
        slots["n"] = n
        return MetricQuery(**common, order_by=(direction,), limit=n), slots

    def _filters(self, metrics: Sequence[Metric], but: str | None) -> tuple[str, tuple[Filter, ...]] | None:
        """Parts of a sentence that keep some values, and the filters that they mean; None when of another split."""
        chance = self._chance
        wanted = 1 if self._split == "value" else chance.choices([0, 1, 2], [4, 5, 1])[0]
        names = [
            d for d in metrics[0].dimensions
            if d != but and self._vocabulary.dimensions[d].values and all(d in m.dimensions for m in metrics)
            and not (self._split == "train" and any(held(f"{m.name}/{d}", HELD_COMBINATIONS) for m in metrics))
        ]  # fmt: skip
        texts, where = [], []
        for name in chance.sample(names, min(wanted, len(names))):
            dimension = self._vocabulary.dimensions[name]
            values = [v for v in dimension.values
                      if held(f"{name}={v}", HELD_VALUES) == (self._split == "value")]  # fmt: skip
            if not values:
                return None
            text, item = self._filter(dimension, values)
            texts.append(text)
            where.append(item)
        if len(where) < wanted and self._split == "value":
            return None
        return "".join(texts), tuple(where)

    def _filter(self, dimension: Dimension, values: Sequence[str | int]) -> tuple[str, Filter]:
        chance = self._chance
        word = chance.choice(dimension.words[self._language])[0]
        how = chance.choices(["is", "not", "among"], [6, 1, 1])[0]
        if how == "among" and len(values) > 1:
            two = chance.sample(list(values), 2)
            return self._said["among"].format(word, *two), Filter(dimension=dimension.name, op="in", values=tuple(two))
        value = chance.choice(values)
        if how == "not":
            return self._said["not"].format(word, value), Filter(dimension=dimension.name, op="!=", values=(value,))
        said = dimension.said[self._language]
        text = chance.choice(said).format(value=value) if said else self._said["is"].format(word, value).strip()
        # English parts are joined by a blank before, Korean ones by a blank after.
        text = f" {text}" if self._language == "en" else f"{text} "
        return text, Filter(dimension=dimension.name, values=(value,))

    def _refusal(self) -> Pair | None:
        chance, said = self._chance, self._said
        reason: Reason = chance.choice(list(said["refusals"]))
        templates = said["refusals"][reason]["unseen" if self._split == "phrasing" else "seen"]
        metric = chance.choice(list(self._vocabulary.metrics.values()))
        if not metric.dimensions:
            return None
        dimension = self._vocabulary.dimensions[chance.choice(metric.dimensions)]
        made = self._filters([metric], dimension.name)
        if made is None:
            return None
        single, plural = chance.choice(dimension.words[self._language])
        words = {name: [w for w in said[name] if held(w, 0.3) == (self._split != "train") and not self._has(w)]
                 for name in ("strange", "oddities")}  # fmt: skip
        slots = {
            "metric": chance.choice(metric.words[self._language]),
            "other": chance.choice(chance.choice(list(self._vocabulary.metrics.values())).words[self._language]),
            "dimension": single,
            "dimensions": plural,
            "superlative": chance.choice([w for each in said["superlatives"].values() for w in each]),
            "strange": chance.choice(words["strange"] or ["-"]),
            "oddity": chance.choice(words["oddities"] or ["-"]),
        }
        if "-" in (slots["strange"], slots["oddity"]):
            return None
        today = self._vocabulary.last
        question = self._filled(chance.choice(templates), slots, made[0], self._stretch(today))
        return Pair(question, today, Refusal(refuse=reason), self._language, "refusal", self._split)

    def _has(self, word: str) -> bool:
        """Whether something that the vocabulary has is called so."""
        return word.lower() in self._called

    def _filled(self, template: str, slots: dict[str, Any], filters: str, stretch: Stretch | None) -> str:
        time = ""
        if stretch is not None:
            time = self._chance.choice(self._said["times"][stretch.kind]).format(**stretch.slots)
        first = f"{time}, " if time else ""
        blank = " " if self._language == "en" and time else ""
        text = template.format(**slots, filters=filters, time=blank + time, time_first=first)
        return _particles(re.sub(r"\s+", " ", text).strip())


# 이 after a final consonant, 가 after a vowel; so are the others. Latin letters and digits by how they are read.
_PARTICLE = re.compile(r"(\S)(은\(는\)|이\(가\)|을\(를\)|와\(과\))")
_CHOICES = {"은(는)": ("은", "는"), "이(가)": ("이", "가"), "을(를)": ("을", "를"), "와(과)": ("과", "와")}
_FINAL = frozenset("lmnrLMNR013678")


def _particles(text: str) -> str:
    def chosen(match: re.Match[str]) -> str:
        letter, particle = match.groups()
        final = (ord(letter) - 0xAC00) % 28 != 0 if "가" <= letter <= "힣" else letter in _FINAL
        return letter + _CHOICES[particle][0 if final else 1]

    return _PARTICLE.sub(chosen, text)


def all_pairs(
    vocabulary: Vocabulary,
    counts: dict[tuple[Language, Split], int],
    seed: int,
    answerable: Callable[[MetricQuery, date], bool] = lambda *_: True,
) -> Iterator[Pair]:
    """Pairs of every language and split; a question that is in ``train`` is in no other."""
    trained: set[str] = set()
    for (language, split), count in sorted(counts.items(), key=lambda item: item[0][1] != "train"):
        for pair in pairs(vocabulary, language, split, count, seed, answerable):
            if split == "train":
                trained.add(pair.question)
            elif pair.question in trained:
                continue
            yield pair
