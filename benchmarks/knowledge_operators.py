"""How well names of companies in documents find their thing, beside simpler ways, on spellings labelled by hand.

``operators.csv`` has every spelling of the NTSB export that shares a word with a carrier's name or with a regional's,
and 60 drawn from the others, each with the code of the carrier that it means. A carrier's former names mean it; its
holding, a brand that several fly under, and a company that was merged into it do not.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

LABELLED = Path(__file__).with_name("operators.csv")
KIND, NEAR = "Carrier", 0.85


@dataclass(frozen=True)
class Agreement:
    """Of what was found and what there was to find: right, wrong (also where nothing was to be found), missed."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def recall(self) -> float:
        return self.right / (self.right + self.missed) if self.right + self.missed else 1.0

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def labelled() -> dict[str, str]:
    """Carrier's code by spelling; empty where it means none of them."""
    with LABELLED.open(newline="", encoding="utf-8") as file:
        return {row["operator"]: row["carrier"] for row in csv.DictReader(file)}


def agreement(labels: Mapping[str, str], found: Mapping[str, str]) -> Agreement:
    right = sum(bool(code) and found[name] == code for name, code in labels.items())
    wrong = sum(bool(found[name]) and found[name] != code for name, code in labels.items())
    return Agreement(right, wrong, sum(bool(code) and found[name] != code for name, code in labels.items()))


def resolved() -> dict[str, Any]:
    """Each way's precision, recall and F1, and what ours gets wrong or misses."""
    from assets.domains import current_domain
    from assets.knowledge.documents.collect import collect
    from assets.knowledge.documents.spec import document_sources
    from assets.knowledge.linked import Links
    from assets.knowledge.staged import newest
    from serving.settings import get_settings

    settings = get_settings()
    nodes = [node for node in newest(settings).nodes if node.kind == KIND]
    documents = collect(settings.landing, list(document_sources(current_domain().folder).values())).documents
    links = Links(nodes, documents)
    known = {alias: node.uid.partition(":")[2] for node in nodes for alias in (node.name, *node.aliases)}
    labels = labelled()

    def ours(name: str) -> str:
        match = links.find(KIND, name)
        return match.uid.partition(":")[2] if match is not None else ""

    found = {name: ours(name) for name in labels}
    ways = {"ours": found, "lower-cased and equal": _by(_equal(known), labels),
            f"best ratio of at least {NEAR:g}": _by(_ratio(known), labels)}  # fmt: skip
    scored = {way: agreement(labels, each) for way, each in ways.items()}
    return {
        "scores": {
            way: {"precision": a.precision, "recall": a.recall, "f1": a.f1, "right": a.right, "wrong": a.wrong}
            for way, a in scored.items()
        },
        "labelled": len(labels), "with_carrier": sum(map(bool, labels.values())),
        "differ": [{"operator": n, "label": c, "found": found[n]} for n, c in labels.items() if found[n] != c],
    }  # fmt: skip


def _by(way: Callable[[str], str], names: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    return {name: way(name) for name in names}


def _equal(known: Mapping[str, str]) -> Callable[[str], str]:
    lower = {_plain(name): code for name, code in known.items()}
    return lambda name: lower.get(_plain(name), "")


def _ratio(known: Mapping[str, str]) -> Callable[[str], str]:
    """The name of the highest ratio of matching characters (Ratcliff & Obershelp), where it is high enough."""
    lower = {_plain(name): code for name, code in known.items()}

    def way(name: str) -> str:
        best = max(lower, key=lambda other: SequenceMatcher(None, _plain(name), other).ratio())
        return lower[best] if SequenceMatcher(None, _plain(name), best).ratio() >= NEAR else ""

    return way


def _plain(name: str) -> str:
    return re.sub(r"\s+", " ", name).strip().lower()
