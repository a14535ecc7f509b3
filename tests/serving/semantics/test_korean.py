"""What a Korean question says of time, order and conditions is read by rule, and every period that is told is one."""

from __future__ import annotations

import random
from datetime import date

import pytest

from assets.training.llm.pairs import phrases
from assets.training.llm.times import any_stretch
from serving.semantics.korean import told
from serving.semantics.period import days_of


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("8월부터 정시율은 월별로", ["since August: period", "month: grain"]),
        ("4월 14일부터 5월 4일까지 결항률", ["April 14 to May 4: period"]),
        ("10월부터 4월까지", ["October to April: period"]),
        ("2013년 1월 지연", ["January 2013: period"]),
        ("2013년 3분기에 분기별", ["Q3 2013: period", "quarter: grain"]),
        ("2012년 결항 수", ["2012: period"]),
        ("8월 전까지 / 9월 말까지", ["before August: period", "through September: period"]),
        ("최근 10일간 목적지", ["last 10 days: period"]),
        ("지난 2주 동안", ["last 2 weeks: period"]),
        ("지난달과 이번 달", ["last month: period", "this month: period"]),
        ("정시율이 가장 낮은 목적지 5개", ["lowest: order_by", "5: limit"]),
        ("JFK를 제외한 제일 나쁜 노선마다", ["!=: op", "worst: order_by", "group_by"]),
        ("목적지가 LAX 또는 SFO인", ["in: op"]),
        ("15시에 출발하는 요일별", ["group_by"]),
        ("which carrier in July?", []),
        ("", []),
    ],
)  # fmt: skip
def test_what_is_said_is_told(question: str, expected: list[str]) -> None:
    assert [text for _, text in sorted(told(question))] == expected


def test_every_stretch_that_the_phrases_say_is_told_as_it_is_meant() -> None:
    said, chance, today = phrases("ko"), random.Random(3), date(2013, 12, 31)
    for _ in range(400):
        stretch = any_stretch(chance, today, said)
        for template in said["times"][stretch.kind]:
            text = f"{template.format(**stretch.slots)}목적지의 결항률"
            assert [t for _, t in told(text)] == [f"{stretch.period}: period"], text
            days_of(stretch.period, today)
