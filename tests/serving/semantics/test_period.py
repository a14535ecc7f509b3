"""Periods that move with the newest day of the data."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.semantics.period import MONTHS, days_of
from serving.semantics.query import MetricQuery, QueryError, dated

TODAY = date(2013, 5, 15)  # a Wednesday


@pytest.mark.parametrize(
    ("period", "since", "until"),
    [
        ("last 1 days", date(2013, 5, 15), date(2013, 5, 16)),
        ("last 14 days", date(2013, 5, 2), date(2013, 5, 16)),
        ("last 2 weeks", date(2013, 5, 2), date(2013, 5, 16)),
        ("this week", date(2013, 5, 13), date(2013, 5, 20)),
        ("last week", date(2013, 5, 6), date(2013, 5, 13)),
        ("this month", date(2013, 5, 1), date(2013, 6, 1)),
        ("last month", date(2013, 4, 1), date(2013, 5, 1)),
        ("this quarter", date(2013, 4, 1), date(2013, 7, 1)),
        ("last quarter", date(2013, 1, 1), date(2013, 4, 1)),
        ("this year", date(2013, 1, 1), date(2014, 1, 1)),
        ("last year", date(2012, 1, 1), date(2013, 1, 1)),
        ("May", date(2013, 5, 1), date(2013, 6, 1)),
        ("June", date(2012, 6, 1), date(2012, 7, 1)),
        ("June 2013", date(2013, 6, 1), date(2013, 7, 1)),
        ("Q2", date(2013, 4, 1), date(2013, 7, 1)),
        ("Q3", date(2012, 7, 1), date(2012, 10, 1)),
        ("Q1 2010", date(2010, 1, 1), date(2010, 4, 1)),
        ("2011", date(2011, 1, 1), date(2012, 1, 1)),
        ("May 15", date(2013, 5, 15), date(2013, 5, 16)),
        ("May 16", date(2012, 5, 16), date(2012, 5, 17)),
        ("March 5 2001", date(2001, 3, 5), date(2001, 3, 6)),
        ("February 29", date(2012, 2, 29), date(2012, 3, 1)),
        ("April to June", date(2012, 4, 1), date(2012, 7, 1)),
        ("March to May", date(2013, 3, 1), date(2013, 6, 1)),
        ("December to February", date(2012, 12, 1), date(2013, 3, 1)),
        ("December 2011 to February", date(2011, 12, 1), date(2012, 3, 1)),
        ("May 10 to May 20", date(2012, 5, 10), date(2012, 5, 21)),
        ("May 10 to May 14", date(2013, 5, 10), date(2013, 5, 15)),
        ("2010 to 2012", date(2010, 1, 1), date(2013, 1, 1)),
        ("Q4 to Q1", date(2012, 10, 1), date(2013, 4, 1)),
        ("since March", date(2013, 3, 1), None),
        ("since June 3", date(2012, 6, 3), None),
        ("before Q2", None, date(2013, 4, 1)),
        ("through Q1", None, date(2013, 4, 1)),
    ],
)
def test_a_period_is_the_days_that_its_words_say(period: str, since: date | None, until: date | None) -> None:
    assert days_of(period, TODAY) == (since, until)


@given(st.dates(date(1990, 1, 1), date(2100, 1, 1)), st.sampled_from(["week", "month", "quarter", "year"]))
def test_the_last_one_ends_where_this_one_begins(today: date, grain: str) -> None:
    begin, end = days_of(f"this {grain}", today)
    assert begin is not None
    assert end is not None
    assert begin <= today < end
    before = days_of(f"last {grain}", today)
    assert before[1] == begin
    assert days_of(f"this {grain}", begin - timedelta(days=1)) == before


@pytest.mark.parametrize(
    "period",
    [
        "yesterday",
        "last 0 days",
        "last 1000 days",
        "last days",
        "next week",
        "this day",
        "",
        "july",
        "Q5",
        "March 0",
        "since last week",
        "May to",
        "May to June to July",
        "before",
        "13",
        "March 5 to last week",
    ],
)
def test_what_is_no_period_is_refused(period: str) -> None:
    with pytest.raises(ValueError, match="is no period"):
        days_of(period, TODAY)
    with pytest.raises(ValidationError, match="period"):
        MetricQuery(metrics=("flights",), period=period)


@given(st.dates(date(1990, 1, 1), date(2100, 1, 1)), st.sampled_from(MONTHS), st.sampled_from(MONTHS))
def test_months_without_a_year_are_the_newest_that_have_begun(today: date, one: str, other: str) -> None:
    begin, end = days_of(one, today)
    assert begin is not None
    assert end is not None
    assert begin <= today < begin.replace(year=begin.year + 1)
    since, until = days_of(f"{one} to {other}", today)
    assert until == days_of(other, today)[1]
    assert since is not None
    assert until is not None
    assert since < until <= since.replace(year=since.year + 1)
    assert since.month == begin.month


@pytest.mark.parametrize(
    "period", ["June 31", "February 29 2013", "before November 31", "May to April 31", "2012 to 2011"]
)
def test_a_day_that_there_is_not_is_named(period: str) -> None:
    with pytest.raises(QueryError, match=period):
        dated(MetricQuery(metrics=("flights",), period=period), TODAY)


def test_a_query_with_a_period_has_days_once_it_is_dated_and_none_beside_it() -> None:
    query = MetricQuery(metrics=("flights",), period="last month")
    assert dated(query, TODAY) == MetricQuery(metrics=("flights",), since=date(2013, 4, 1), until=date(2013, 5, 1))
    with pytest.raises(ValidationError, match="instead of since and until"):
        MetricQuery(metrics=("flights",), period="last month", since=TODAY)
