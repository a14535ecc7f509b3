"""Answers of the metric engine on real marts, beside SQL written by hand."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from statistics import median

import duckdb
import pytest

from serving.errors import ClearwayError
from serving.semantics.engine import MetricEngine
from serving.semantics.query import Filter, MetricQuery, QueryError
from tests.dbt_project.building import read

pytestmark = pytest.mark.integration

BY_HAND = {
    "flights": "count(*)",
    "cancelled_flights": "count(*) filter (is_cancelled)",
    "cancellation_rate": "count(*) filter (is_cancelled) / count(*)",
    "on_time_rate": "count(*) filter (arrival_delay <= 15) / nullif(count(arrival_delay), 0)",
    "average_arrival_delay": "avg(arrival_delay)",
    "average_departure_delay": "avg(departure_delay)",
    "p90_arrival_delay": "quantile_cont(arrival_delay, 0.9)",
    "average_taxi_time": "avg(taxi_time)",
    "average_air_time": "avg(air_time)",
    "delay_made_up_in_air": "avg(departure_delay) filter (arrival_delay is not null) - avg(arrival_delay)",
}
COLUMNS = {
    "carrier": "carrier",
    "origin": "origin",
    "destination": "dest",
    "route": "route",
    "aircraft": "tailnum",
    "scheduled_hour": "scheduled_hour",
}


@pytest.fixture(scope="module")
def engine(warehouse: Path) -> Iterator[MetricEngine]:
    engine = MetricEngine(warehouse.parent / "target" / "semantic_manifest.json", warehouse)
    yield engine
    engine.close()


def by_hand(warehouse: Path, sql: str) -> dict[tuple[object, ...], tuple[object, ...]]:
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        return {row[:1]: row[1:] for row in connection.execute(sql).fetchall()}


@pytest.mark.parametrize("dimension", COLUMNS)
def test_every_metric_by_every_dimension_equals_sql(engine: MetricEngine, warehouse: Path, dimension: str) -> None:
    column = COLUMNS[dimension]
    values = ", ".join(BY_HAND.values())
    expected = by_hand(warehouse, f"select {column}, {values} from marts.fct_flights group by 1")
    answer = engine.query(MetricQuery(metrics=tuple(BY_HAND), group_by=(dimension,)))
    assert answer.columns == (dimension, *BY_HAND)
    got = {row[:1]: row[1:] for row in answer.rows}
    assert got.keys() == expected.keys()
    for key, row in expected.items():
        for value, wanted in zip(got[key], row, strict=True):
            assert value == (wanted if wanted is None else pytest.approx(wanted, rel=1e-9)), key


def test_months_filters_and_ranges(engine: MetricEngine, warehouse: Path) -> None:
    expected = read(
        warehouse,
        "select count(*) as n, avg(arrival_delay) as a from marts.fct_flights"
        " where carrier in ('UA', 'DL') and scheduled_hour >= 12 and"
        " flight_date >= '2013-02-11' group by period order by period",
    )
    answer = engine.query(
        MetricQuery(
            metrics=("flights", "average_arrival_delay"),
            grain="month",
            where=(
                Filter(dimension="carrier", op="in", values=("UA", "DL")),
                Filter(dimension="scheduled_hour", op=">=", values=(12,)),
            ),
            since=date(2013, 2, 11),
        )
    )
    assert [row[0] for row in answer.rows] == [date(2013, 2, 1), date(2013, 3, 1)]
    assert [row[1] for row in answer.rows] == expected.n.tolist()
    assert [row[2] for row in answer.rows] == pytest.approx(expected.a.tolist())


def test_until_is_the_first_day_left_out(engine: MetricEngine, warehouse: Path) -> None:
    n = read(warehouse, "select count(*) as n from marts.fct_flights where flight_date < '2013-03-01'").n[0]
    assert engine.query(MetricQuery(metrics=("flights",), until=date(2013, 3, 1))).rows == ((n,),)


def test_a_cumulative_metric_reaches_back_before_the_range(engine: MetricEngine, warehouse: Path) -> None:
    sql = "select count(*) as n from marts.fct_flights where flight_date between '2013-02-11' and '2013-03-10'"
    query = MetricQuery(
        metrics=("flights_last_28_days",), grain="day", since=date(2013, 3, 10), until=date(2013, 3, 11)
    )
    assert engine.query(query).rows == ((date(2013, 3, 10), read(warehouse, sql).n[0]),)


def test_a_dimension_of_a_joined_model(engine: MetricEngine, warehouse: Path) -> None:
    expected = by_hand(
        warehouse,
        "select manufacturer, count(*) from marts.fct_flights left join marts.dim_aircraft using (tailnum) group by 1",
    )
    answer = engine.query(MetricQuery(metrics=("flights",), group_by=("manufacturer",)))
    assert {row[:1]: row[1:] for row in answer.rows} == expected


def test_order_and_limit(engine: MetricEngine, warehouse: Path) -> None:
    sql = "select dest from marts.fct_flights group by 1 order by count(*) desc limit 3"
    answer = engine.query(MetricQuery(metrics=("flights",), group_by=("destination",), order_by=("-flights",), limit=3))
    assert [row[0] for row in answer.rows] == read(warehouse, sql).dest.tolist()


@pytest.mark.parametrize(
    "value",
    [
        "UA' or '1'='1",
        "UA') or (1=1) --",
        "'; drop table marts.fct_flights; --",
        "{{ Dimension('scheduled_flight__origin') }}",
        "{% for x in range(9) %}{{ x }}{% endfor %}",
        "{# comment #}",
        "' || (select max(carrier) from marts.fct_flights) || '",
        "\\' or 1=1 --",
        'Ünïcode ✈ \n\t\r "quoted" `x` $$ %s :name ?',
        "",
    ],
)
@pytest.mark.parametrize("op", ["=", "in"])
def test_a_filter_value_is_only_ever_a_value(engine: MetricEngine, value: str, op: str) -> None:
    """Nothing matches it, and everything but it is the complement: it was compared, whole, as text."""
    match = MetricQuery(
        metrics=("flights",), group_by=("carrier",), where=(Filter(dimension="carrier", op=op, values=(value,)),)
    )  # type: ignore[arg-type]
    assert engine.query(match).rows == ()
    other = MetricQuery(
        metrics=("flights",), group_by=("carrier",), where=(Filter(dimension="carrier", op="!=", values=(value,)),)
    )
    everything = MetricQuery(metrics=("flights",), group_by=("carrier",))
    assert engine.query(other).rows == engine.query(everything).rows


def test_a_value_with_every_kind_of_character_finds_itself(engine: MetricEngine) -> None:
    from serving.semantics.filters import _text

    text = "a'b\"c\\d{{e}}{%f%}{#g#};--/*h*/\n\té✈"
    with duckdb.connect() as connection:
        assert connection.execute(f"select {_text(text)}").fetchone() == (text,)
    assert not set("{}'\"\\%#") & set(_text(text).replace("'", "").replace("chr(", "").replace(")", ""))


def test_a_value_of_the_wrong_type_is_the_callers_error(engine: MetricEngine) -> None:
    query = MetricQuery(metrics=("flights",), where=(Filter(dimension="scheduled_hour", values=("noon",)),))
    with pytest.raises(QueryError, match="does not fit its dimension"):
        engine.query(query)


def test_true_and_one_are_different_questions(engine: MetricEngine) -> None:
    one, true = (
        MetricQuery(metrics=("flights",), where=(Filter(dimension="scheduled_hour", values=(value,)),))
        for value in (1, True)
    )
    assert engine.compile(one) != engine.compile(true)


def test_values_of_a_metric_that_has_just_been_renamed_are_refused_by_its_name(engine: MetricEngine) -> None:
    with pytest.raises(QueryError, match="unknown metric: 'flights_of_old'"):
        engine.values(("flights_of_old",), "flight__origin")


def test_the_catalogue_agrees_with_metricflow(engine: MetricEngine) -> None:
    engine.query(MetricQuery(metrics=("flights",)))
    metricflow = engine._current_semantics()._metricflow
    for name, metric in engine.catalogue().metrics.items():
        known = {each.dunder_name for each in metricflow.simple_dimensions_for_metrics([name])}
        times = {
            each
            for each in known
            if each.startswith("metric_time") or each.endswith(("flight_date", "prediction_date"))
        }
        assert set(metric.dimensions) == known - times, name


def test_warm_questions_take_less_than_fifty_milliseconds(engine: MetricEngine) -> None:
    questions = [
        MetricQuery(metrics=(metric,), group_by=(dimension,))
        for metric in BY_HAND
        for dimension in ("carrier", "origin")
    ]
    seconds = []
    for question in questions * 2:
        start = time.perf_counter()
        engine.query(question)
        seconds.append(time.perf_counter() - start)
    assert median(seconds[len(questions) :]) < 0.050


def test_a_replaced_file_is_read_anew_and_can_be_written_meanwhile(warehouse: Path, tmp_path: Path) -> None:
    live, copy = tmp_path / "live.duckdb", tmp_path / "copy.duckdb"
    shutil.copyfile(warehouse, live)
    engine = MetricEngine(warehouse.parent / "target" / "semantic_manifest.json", live)
    question = MetricQuery(metrics=("flights",))
    before = engine.query(question).rows[0][0]
    for removed in ("UA", "DL"):
        shutil.copyfile(live, copy)
        with duckdb.connect(str(copy)) as connection:
            connection.execute(f"delete from marts.fct_flights where carrier = '{removed}'")
        os.replace(copy, live)
        after = engine.query(question).rows[0][0]
        assert after < before
        before = after
    engine.close()


def test_threads_see_one_state_or_the_other_while_files_change(warehouse: Path, tmp_path: Path) -> None:
    live = tmp_path / "live.duckdb"
    full, less = tmp_path / "full.duckdb", tmp_path / "less.duckdb"
    for file in (live, full, less):
        shutil.copyfile(warehouse, file)
    with duckdb.connect(str(less)) as connection:
        connection.execute("delete from marts.fct_flights where carrier = 'UA'")
    states = {read(file, "select count(*) as n from marts.fct_flights").n[0] for file in (full, less)}
    engine = MetricEngine(warehouse.parent / "target" / "semantic_manifest.json", live)
    seen: set[int] = set()
    errors: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            try:
                answer = engine.query(MetricQuery(metrics=("flights",), group_by=("origin",), limit=100 + turn % 7))
                seen.add(sum(row[1] for row in answer.rows))
            except BaseException as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(12):
        shutil.copyfile((full, less)[turn % 2], tmp_path / "next.duckdb")
        os.replace(tmp_path / "next.duckdb", live)
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    engine.close()
    assert not errors
    assert seen == states


def test_a_missing_warehouse_and_a_missing_manifest_say_what_to_do(warehouse: Path, tmp_path: Path) -> None:
    manifest = warehouse.parent / "target" / "semantic_manifest.json"
    with pytest.raises(ClearwayError, match="no published warehouse"):
        MetricEngine(manifest, tmp_path / "none.duckdb").query(MetricQuery(metrics=("flights",)))
    with pytest.raises(ClearwayError, match="dbt parse"):
        MetricEngine(tmp_path / "none.json", warehouse).query(MetricQuery(metrics=("flights",)))


def test_no_question_can_reach_another_file(engine: MetricEngine, tmp_path: Path) -> None:
    """Should a way into the SQL be found one day, it still reads nothing but the warehouse."""
    (tmp_path / "secret.csv").write_text("a\n1\n")
    engine.query(MetricQuery(metrics=("flights",)))
    cursor = engine._warehouse.root.cursor()  # type: ignore[union-attr]
    with pytest.raises(duckdb.Error):
        cursor.execute(f"select * from read_csv('{tmp_path / 'secret.csv'}')")
    with pytest.raises(duckdb.Error):
        cursor.execute("delete from warehouse.marts.fct_flights")
    with pytest.raises(duckdb.Error):
        cursor.execute("set enable_external_access = true")
