"""Asks a copilot the questions it was never trained on, and judges each reply by the rows that it gives."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.errors import ClearwayError
from serving.semantics.asking import speaks_for_others
from serving.semantics.linking import linker
from serving.semantics.query import MetricQuery, QueryError, dated, resolve
from serving.semantics.reply import Refusal, Reply, read
from serving.semantics.values import checked, mended

if TYPE_CHECKING:
    from serving.semantics.engine import MetricEngine

# What a caller of the model waits for at most, in s.
PATIENCE_S = 120.0
AT_ONCE = 12
TWO_SIDED, ONE_SIDED = 1.959964, 1.644854


@dataclass(frozen=True)
class Said:
    """What a model said to one question: its text, seconds to the whole of it, tokens."""

    text: str
    seconds: float
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Judged:
    """One question and its reply, judged.

    Attributes:
        line: of the pairs' file.
        valid: it is a refusal or a query that the semantic layer takes, with values that there are.
        exact: it asks for the very same: metrics, groups, filters, days, order, limit.
        executed: it gives the right rows; of a question without an answer, it is a refusal.
        refused: it is a refusal.
    """

    line: dict[str, str]
    said: Said
    valid: bool
    exact: bool
    executed: bool
    refused: bool

    @property
    def answerable(self) -> bool:
        return self.line["kind"] != "refusal"


def lines(pairs: Path) -> list[dict[str, str]]:
    """The held-out questions of a pairs' file."""
    found = [json.loads(line) for line in pairs.read_text().splitlines()]
    return [line for line in found if line["split"] != "train"]


def ask(url: str, bodies: Sequence[dict[str, Any]], at_once: int = AT_ONCE, rival: bool = False) -> list[Said]:
    """The replies of a server (``http://host:port``) to requests by OpenAI's protocol, in their order.

    Args:
        rival: what is asked is what a version is compared with; a refusal of its server is no win for the version.

    Raises:
        ClearwayError: it does not answer; or, of a rival, refuses.
    """
    import httpx

    def one(body: dict[str, Any]) -> Said:
        began = time.perf_counter()
        answer = client.post(f"{url}/v1/chat/completions", json=body)
        if answer.status_code != 200 and rival:
            raise ClearwayError(
                f"the server at {url} refused what it is compared by: HTTP {answer.status_code}: {answer.text[:300]}",
                untouched="every version that users get.",
                todo="see that max_model_len holds the prompt, then judge the version again.",
            )
        if answer.status_code != 200:
            return Said(f"HTTP {answer.status_code}: {answer.text[:200]}", time.perf_counter() - began)
        content = answer.json()
        usage = content["usage"]
        text = content["choices"][0]["message"]["content"] or ""
        return Said(text, time.perf_counter() - began, usage["prompt_tokens"], usage["completion_tokens"])

    try:
        with httpx.Client(timeout=PATIENCE_S) as client, ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(one, bodies))
    except httpx.HTTPError as error:
        raise ClearwayError(
            f"the server at {url} did not answer all questions: {type(error).__name__}: {error}",
            untouched="every version that users get.",
            todo="read its log, then judge the version again.",
        ) from error


class Judge:
    """Judges replies against the right ones, running both; rows of a query are kept, so that each runs once."""

    def __init__(self, engine: MetricEngine) -> None:
        self._engine = engine
        self._linked = linker(engine)
        self._rows: dict[str, Any] = {}

    def __call__(self, line: dict[str, str], said: Said) -> Judged:
        right, today = read(line["reply"]), date.fromisoformat(line["today"])
        try:
            question, linked = line["question"], self._linked  # what follows is what whoever answers people does
            hostile = speaks_for_others(question)
            reply = Refusal(refuse="instructions") if hostile else read(said.text, linked.metrics(question))
            if isinstance(reply, MetricQuery):
                catalogue, values = self._engine.catalogue(), self._engine.values
                reply = mended(reply, catalogue, values, question, linked.values(question))
                reply = checked(reply, catalogue, values)
                self._engine.compile(reply)
        except QueryError:
            return Judged(line, said, False, False, False, False)
        exact = self._meant(reply, today) == self._meant(right, today)
        if isinstance(reply, Refusal) or isinstance(right, Refusal):
            executed = isinstance(reply, Refusal) and isinstance(right, Refusal)
        else:
            # That both give nothing tells nothing.
            wanted = self._result(right, today)
            executed = exact or (not _empty(wanted) and self._result(reply, today) == wanted)
        return Judged(line, said, True, exact, executed, isinstance(reply, Refusal))

    def _meant(self, reply: Reply, today: date) -> Any:
        """What a reply asks for, in one form: a period as its days, the best as the column with its sign."""
        if isinstance(reply, Refusal):
            return reply
        asked = dated(reply, today)
        order = resolve(asked, self._engine.catalogue()).order_by
        return {**asked.model_dump(), "order_by": order, "where": sorted(map(repr, asked.where))}

    def _result(self, query: MetricQuery, today: date) -> Any:
        """Rows for comparison: in their order where the query asks for one. A query that fails is like no other."""
        query = dated(query, today)
        key = query.model_dump_json()
        if key not in self._rows:
            try:
                found = self._engine.query(query)
                rows = [tuple(map(_rounded, row)) for row in found.rows]
                ordered = rows if query.order_by else sorted(rows, key=repr)
                self._rows[key] = (found.columns, ordered)
            except ClearwayError:
                self._rows[key] = object()
        return self._rows[key]


def _empty(result: Any) -> bool:
    return isinstance(result, tuple) and not any(value is not None for row in result[1] for value in row)


def _rounded(value: Any) -> Any:
    return round(value, 9) if isinstance(value, float) else value


@dataclass(frozen=True)
class Share:
    """``hits`` of ``count``, with Wilson's 95% interval (JASA 22, 1927); 0 to 1 while there is none to count."""

    hits: int
    count: int

    @property
    def value(self) -> float:
        return self.hits / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        if not self.count:
            return 0.0, 1.0
        z2, n, p = TWO_SIDED**2, self.count, self.hits / self.count
        middle, half = p + z2 / (2 * n), math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))
        return max(0.0, (middle - half) / (1 + z2 / n)), min(1.0, (middle + half) / (1 + z2 / n))


def share(judged: Iterable[Judged], what: Callable[[Judged], bool]) -> Share:
    """How many of these hold to something."""
    verdicts = [what(each) for each in judged]
    return Share(sum(verdicts), len(verdicts))


def table(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """A row for each language and split, and for each kind of question in English."""
    groups: dict[str, list[Judged]] = {}
    for each in judged:
        line = each.line
        split = line["split"] if each.answerable else "refusal"
        groups.setdefault(f"{line['language']}: {split}", []).append(each)
        if line["language"] == "en" and each.answerable:
            groups.setdefault(f"en kind: {line['kind']}", []).append(each)
    rows = []
    for name, members in sorted(groups.items()):
        right = share(members, lambda j: j.executed)
        low, high = right.interval
        rows.append({
            "questions": name, "asked": len(members),
            "right": round(right.value, 4), "low": round(low, 4), "high": round(high, 4),
            "exact": round(share(members, lambda j: j.exact).value, 4),
            "valid": round(share(members, lambda j: j.valid).value, 4),
            "refused": round(share(members, lambda j: j.refused).value, 4),
            "tokens": round(sum(j.said.completion_tokens for j in members) / len(members), 1),
        })  # fmt: skip
    return rows


def paired(one: Sequence[Judged], other: Sequence[Judged], normal: float = TWO_SIDED) -> tuple[float, float, float]:
    """Share of right results of ``one`` less that of ``other`` on the same questions, with its 95% interval.

    Args:
        normal: quantile of the normal distribution; ``ONE_SIDED`` where only the lower end is asked for.

    Newcombe's interval for paired shares would need all four counts; with the few discordant pairs there are here, the
    normal one of the mean difference is widened by half a pair on either side.
    """
    if len(one) != len(other) or not one:
        raise ValueError(f"{len(one)} and {len(other)} replies cannot be paired")
    differences = [float(a.executed) - float(b.executed) for a, b in zip(one, other, strict=True)]
    n = len(differences)
    mean = sum(differences) / n
    spread = math.sqrt(sum((d - mean) ** 2 for d in differences) / max(1, n - 1) / n)
    half = normal * spread + 0.5 / n
    return mean, mean - half, mean + half
