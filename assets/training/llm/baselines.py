"""What a tuned copilot has to beat: the untuned base with all in its prompt, and the nearest training question."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from assets.training.llm.evaluate import Said
from serving.semantics.catalogue import Catalogue


def instructions(catalogue: Catalogue, examples: Sequence[dict[str, str]]) -> str:
    """The prompt of the untuned base: the contract, what there is to ask for, and examples.

    Args:
        examples: lines of the pairs' file.
    """
    dimensions = {d.name: d.label for m in catalogue.metrics.values() for d in m.dimensions.values()}
    metrics = "\n".join(f"{m.name}: {m.label}" for m in catalogue.metrics.values())
    shown = "\n".join(f"Values: {e['values']}\nQuestion: {e['question']}\nAnswer: {e['reply']}" for e in examples)
    return (
        "Write the query that answers the question, as JSON: metrics, group_by, grain, where, period (such as July, Q3 "
        "2013, April to June, since March 5, last 14 days), order_by (highest, lowest, best, worst), limit. Answer "
        '{"refuse": reason} when no metric answers it.\n'
        f"Metrics:\n{metrics}\nDimensions: {', '.join(sorted(dimensions))}\n{shown}"
    )


def chosen(rows: Sequence[dict[str, str]], language: str = "en", each: int = 1) -> list[dict[str, str]]:
    """Training questions to show to the base: the shortest of every kind."""
    found: list[dict[str, str]] = []
    for kind in sorted({row["kind"] for row in rows}):
        of_kind = [r for r in rows if r["kind"] == kind and r["language"] == language and r["split"] == "train"]
        found += sorted(of_kind, key=lambda row: (len(row["question"]) + len(row["reply"]), row["question"]))[:each]
    return found


def template(told: str, base: Path) -> str:
    """A chat template that gives the base its instructions, so that callers ask it as they ask a tuned version.

    Its own template comes after; of a base that is no folder, which has none to read, ChatML.
    """
    own = _own_template(base)
    if own is not None:
        system = "{'role': 'system', 'content': " + json.dumps(told) + " ~ '\nValues: ' ~ messages[0]['content']}"
        return "{%- set messages = [" + system + "] + messages[1:] -%}" + own
    return (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% if message['role'] == 'system' %}{{ " + json.dumps(told) + " }}\nValues: {% endif %}"
        "{{ message['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def _own_template(base: Path) -> str | None:
    if (base / "chat_template.jinja").exists():
        return (base / "chat_template.jinja").read_text()
    if (base / "tokenizer_config.json").exists():
        found = json.loads((base / "tokenizer_config.json").read_text()).get("chat_template")
        return found if isinstance(found, str) else None
    return None


class Nearest:
    """Replies as the training question with the most words and parts of words in common was replied to."""

    def __init__(self, pairs: Path) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        rows = [json.loads(line) for line in pairs.read_text().splitlines()]
        self._rows = [row for row in rows if row["split"] == "train"]
        self._words = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
        self._known = self._words.fit_transform(row["question"] for row in self._rows)

    def __call__(self, questions: Sequence[str]) -> list[Said]:
        import numpy as np

        near = np.asarray((self._words.transform(questions) @ self._known.T).argmax(axis=1)).ravel()
        return [Said(self._rows[int(row)]["reply"], 0.0) for row in near]
