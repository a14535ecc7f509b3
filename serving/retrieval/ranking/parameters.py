"""What the ranking index can be tuned by; the defaults come from ``python -m benchmarks.multihop_tuning``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from serving.errors import ClearwayError


@dataclass(frozen=True)
class Parameters:
    """Weights are relative; shares lie between 0 and 1.

    Attributes:
        k1, b: saturation and length normalisation of BM25.
        restart: probability that the walk goes back to the question's entities and passages.
        text_weight: share of the restart that lies on the passages that BM25 finds, when nothing that a question says
            is a name; with the share of its words that are in names it falls. The rest lies on entities.
        text_passages: so many of BM25's passages get that share.
        title_weight: of the edge between a document's node and its passages; a mention of the rarest entity has 1.
        phrase_weight: of the edge between a noun phrase and a passage, and of a phrase's seed.
        relation_weight: of the edge between related entities.
        focus: how much more a mention weighs beside a word of the question, in the passages of the question's entities.
        agreement: how much the words that a passage shares with the question raise its PageRank, and so dense scores.
        fusion: ``sum`` adds scores that are divided by their largest, ``rrf`` adds 1 / (60 + place).
        pagerank_weight, lexical_weight, dense_weight, names_weight: of each method in the fusion. Beside PageRank, BM25
            and dense scores take over as fewer of the question's words are in names, and lead where none is.
    """

    k1: float = 1.2
    b: float = 0.75
    restart: float = 0.15
    text_weight: float = 0.05
    text_passages: int = 10
    title_weight: float = 4.0
    phrase_weight: float = 0.02
    relation_weight: float = 1.0
    focus: float = 2.0
    agreement: float = 0.25
    fusion: str = "sum"
    pagerank_weight: float = 1.0
    lexical_weight: float = 0.5
    dense_weight: float = 0.5
    names_weight: float = 0.0

    def __post_init__(self) -> None:
        shares = {"b": self.b, "restart": self.restart, "text_weight": self.text_weight}
        wrong = [name for name, value in shares.items() if not 0 <= value <= 1]
        weights = ("k1", "title_weight", "phrase_weight", "relation_weight", "focus", "agreement", "pagerank_weight",
                   "lexical_weight", "dense_weight", "names_weight")  # fmt: skip
        wrong += [name for name in weights if not 0 <= getattr(self, name) < 1e6]
        wrong += ["fusion"] if self.fusion not in ("sum", "rrf") else []
        wrong += ["restart"] if self.restart == 0 else []
        wrong += ["text_passages"] if self.text_passages < 0 else []
        if wrong:
            raise ClearwayError(
                f"ranking parameters {sorted(set(wrong))}: out of range in {self}",
                untouched="the index.",
                todo="give shares between 0 and 1, weights of at least 0, and 'sum' or 'rrf' for fusion.",
            )

    def weight(self, method: str) -> float:
        """The weight of a method in the fusion."""
        return float(getattr(self, f"{method}_weight"))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Parameters:
        """Raises ``ClearwayError`` for a name that no parameter has."""
        unknown = sorted(content.keys() - {f.name for f in fields(cls)})
        if unknown:
            raise ClearwayError(
                f"ranking parameters {unknown} are unknown", untouched="the index.", todo="build it again."
            )
        return cls(**content)
