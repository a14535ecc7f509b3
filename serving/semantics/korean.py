"""What a Korean question says of time, order and conditions, in the words of a query. Pure.

A small model whose tokenizer knows no Hangul reads ``8월부터`` as bytes; what can be read by rule is told to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from serving.semantics.period import MONTHS

Told = Callable[[re.Match[str]], str]

_POINT = (
    r"(?<![0-9])(?:[12][0-9]{3}년\s*)?(?:(?:1[0-2]|[1-9])월(?:\s*(?:3[01]|[12][0-9]|[1-9])일)?|[1-4]분기(?!별))"
    r"|(?<![0-9])[12][0-9]{3}년"
)
_PERIODS: tuple[tuple[str, Told], ...] = (
    (r"(?:최근|지난)\s*([1-9][0-9]{0,2})\s*일", lambda m: f"last {m[1]} days"),
    (r"(?:최근|지난)\s*([1-9][0-9]{0,2})\s*주", lambda m: f"last {m[1]} weeks"),
    (rf"({_POINT})\s*부터\s*({_POINT})\s*까지", lambda m: f"{_point(m[1])} to {_point(m[2])}"),
    (rf"({_POINT})\s*(?:부터|이후)", lambda m: f"since {_point(m[1])}"),
    (rf"({_POINT})\s*(?:전까지|이전|전)", lambda m: f"before {_point(m[1])}"),
    (rf"({_POINT})\s*말?\s*까지", lambda m: f"through {_point(m[1])}"),
    (_POINT, lambda m: _point(m[0])),
    *((words, lambda m, told=told: told) for words, told in (
        (r"지난\s*주", "last week"), (r"지난\s*달", "last month"), (r"지난\s*분기", "last quarter"),
        (r"작년|지난\s*해", "last year"), (r"이번\s*주", "this week"), (r"이번\s*달", "this month"),
        (r"이번\s*분기", "this quarter"), (r"올해|금년", "this year"),
    )),
)  # fmt: skip
_OTHERS: tuple[tuple[str, Told], ...] = (
    *((f"(?<!요){words}별", lambda m, told=told: f"{told}: grain")
      for words, told in (("일", "day"), ("주", "week"), ("월", "month"), ("분기", "quarter"))),
    *((f"(?:가장|제일)\\s*(?:{words})", lambda m, told=told: f"{told}: order_by") for words, told in (
        ("높은|큰|많은|긴", "highest"), ("낮은|작은|적은|짧은", "lowest"), ("좋은", "best"), ("나쁜", "worst"),
    )),
    (r"제외", lambda m: "!=: op"),
    (r"또는|이나", lambda m: "in: op"),
    (r"(?<![0-9])([1-9][0-9]{0,2})\s*개", lambda m: f"{m[1]}: limit"),
    (r"별|마다", lambda m: "group_by"),
)  # fmt: skip


def told(question: str) -> Iterator[tuple[int, str]]:
    """(where, what) of each stretch of time, grain, order, relation and limit that a question says, in any order."""
    taken = bytearray(len(question))
    for rules, kind in ((_PERIODS, ": period"), (_OTHERS, "")):
        for pattern, tell in rules:
            for match in re.finditer(pattern, question):
                if not any(taken[match.start() : match.end()]):
                    taken[match.start() : match.end()] = b"\1" * len(match.group())
                    yield match.start(), f"{tell(match)}{kind}"


def _point(text: str) -> str:
    """A day, month, quarter or year as a period names it."""
    year = re.match(r"([12][0-9]{3})년", text)
    rest = text[year.end() :] if year else text
    of_year = f" {year[1]}" if year else ""
    if quarter := re.search(r"([1-4])분기", rest):
        return f"Q{quarter[1]}{of_year}"
    if month := re.search(r"([0-9]{1,2})월", rest):
        day = re.search(r"([0-9]{1,2})일", rest)
        return f"{MONTHS[int(month[1]) - 1]}{f' {day[1]}' if day else ''}{of_year}"
    return of_year.strip()
