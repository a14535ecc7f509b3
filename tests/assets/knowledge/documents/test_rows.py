"""The rows of a CSV become documents as declared; what does not is told by line, and none is lost."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.knowledge.documents.rows import Rows, entity_values, read_rows
from assets.knowledge.documents.spec import DocumentSource, Entity
from serving.errors import ClearwayError

SOURCE = DocumentSource.model_validate(
    {
        "name": "faults",
        "description": "Faults of pumps.",
        "kind": "fault",
        "labels": ["staff"],
        "table": {
            "columns": ["nr", "day", "pump#", "maker", "cost", "shut", "cause", "who", "code"],
            "key": ["nr"],
            "title": "Fault {nr}[[ of {pump#}]], {day}",
            "text": ["Fault {nr} on {day}[[ of pump {pump#}]].", "[[Cause ({code}): {cause}]]"],
            "empty": ["", "n/a"],
            "values": {"code": {"S": "seal"}},
            "date": {"column": "day", "format": "%d.%m.%Y"},
            "metadata": {
                "cost": {"column": "cost", "type": "number"},
                "shut": {"column": "shut", "type": "boolean"},
                "code": {"column": "code"},
            },
            "entities": [
                {"kind": "Pump", "column": "pump#", "split": r",\s*", "upper": True, "keep": "[A-Z0-9]+"},
                {"kind": "Maker", "column": "maker", "replace": {r",? inc\.?$": ""}},
            ],
            "labels_column": "who",
        },
    }
)
HEADER = "nr,day,pump#,maker,cost,shut,cause,who,code\n"


def read(text: str, header: str = HEADER) -> Rows:
    assert SOURCE.table is not None
    return read_rows(SOURCE, SOURCE.table, "2013/faults.csv", (header + text).encode())


def test_a_row_is_a_document() -> None:
    found = read('F/1,3.2.2013,"p1, P2, ?, p1","Acme, inc.",12.5,yes,"The ""old"" seal\nbroke.",board,S\n')
    (made,) = found.documents
    assert made.uid == "document:faults/F/1", "a key of one column is a path"
    assert made.title == "Fault F/1 of p1, P2, ?, p1, 2013-02-03"
    assert made.text == 'Fault F/1 on 2013-02-03 of pump p1, P2, ?, p1.\n\nCause (seal): The "old" seal\nbroke.'
    assert made.kind == "fault"
    assert made.access == "board|staff"
    assert made.metadata == {"date": "2013-02-03", "cost": 12.5, "shut": True, "code": "seal"}
    assert made.links == (("Pump", "P1"), ("Pump", "P2"), ("Maker", "Acme"))
    assert made.file == "faults/2013/faults.csv"
    assert (found.read, found.quarantined, found.notes) == (1, (), ())


def test_what_is_no_row_is_told_by_line() -> None:
    found = read(
        "1,1.1.2013,,,,,x,,\n"
        "1,2.1.2013,,,,,again,,\n"
        "\n"
        ",1.1.2013,,,,,no key,,\n"
        '2,31.2.2013,,,,,"two\nlines",,\n'
        "3,1.1.2013,short\n"
        "4,1.1.2013,,,,,long,,,more\n"
        "5,1.1.2013,,,,,x,Not-A-Label!,\n"
        "6,1.1.2013,,,dear,maybe,x,,\n"
        "n/a,1.1.2013,,,,,x,,\n"
    )
    assert [d.uid for d in found.documents] == ["document:faults/1", "document:faults/6"]
    assert [(q.line, q.why) for q in found.quarantined] == [
        (3, "key 1: repeats line 2"),
        (5, "key nr: expected a value, found none"),
        (6, "column day: expected a date as %d.%m.%Y, found '31.2.2013'"),
        (8, "3 cells, expected 9"),
        (9, "10 cells, expected 9"),
        (10, "column who: labels that are none: Not-A-Label!"),
        (12, "key nr: expected a value, found none"),
    ]
    assert found.notes == (
        "faults/2013/faults.csv, line 11: column cost: expected number, found 'dear'",
        "faults/2013/faults.csv, line 11: column shut: expected boolean, found 'maybe'",
    )
    assert found.read == 9


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.text(st.sampled_from('1a.,"\n;é'), max_size=5), min_size=1, max_size=10), max_size=12))
def test_what_was_read_is_a_document_or_quarantined(rows: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    found = read(out.getvalue())
    assert found.read == len(found.documents) + len(found.quarantined)
    assert found.read == sum(any(cell.strip() for cell in row) for row in rows)


def test_another_header_is_refused() -> None:
    with pytest.raises(ClearwayError) as error:
        read("", header="nr;day\n")
    assert "faults/2013/faults.csv: its header is not the declared one: missing nr, day, pump#" in str(error.value)
    assert "unexpected nr;day" in str(error.value)
    with pytest.raises(ClearwayError, match="missing none; unexpected none; twice nr"):
        read("", header="nr," + HEADER)
    with pytest.raises(ClearwayError, match="no header"):
        read("", header="")


def test_further_columns_are_noted_and_order_is_free() -> None:
    header = "extra," + ",".join(reversed(HEADER.strip().split(","))) + "\n"
    found = read("e,S,,x,,,,,1.1.2013,7\n", header=header)
    assert found.documents[0].title == "Fault 7, 2013-01-01"
    assert found.notes == ("faults/2013/faults.csv: columns that are not declared were not read: extra",)


def test_what_is_no_csv_is_refused() -> None:
    with pytest.raises(ClearwayError, match="line 2 is no CSV"):
        read('1,1.1.2013,"never closed,,,,x,,\n' + "x,\n" * 5)


def test_two_encodings_in_one_csv() -> None:
    assert SOURCE.table is not None
    content = (HEADER + "1,1.1.2013,,Müller,,,ü,,\n").encode() + "2,1.1.2013,,Jäger,,,ä,,\n".encode("cp1252")
    found = read_rows(SOURCE, SOURCE.table, "a.csv", content)
    assert [d.links for d in found.documents] == [(("Maker", "Müller"),), (("Maker", "Jäger"),)]
    assert "two encodings" in found.notes[0]


def test_a_day_is_that_of_the_declared_zone() -> None:
    assert SOURCE.table is not None
    assert SOURCE.table.date is not None
    date = SOURCE.table.date.model_copy(update={"format": "%Y-%m-%dT%H:%M:%SZ", "zone": "America/New_York"})
    table = SOURCE.table.model_copy(update={"date": date})
    found = read_rows(SOURCE, table, "a.csv", (HEADER + "1,2013-01-01T03:00:00Z,,,,,x,,\n").encode())
    assert found.documents[0].metadata["date"] == "2012-12-31"


def test_labels_make_another_digest_and_order_does_not() -> None:
    plain, labelled, again = (
        read(f"1,1.1.2013,,,,,x,{who},\n").documents[0] for who in ("", "board", '"board, staff"')
    )
    assert plain.digest != labelled.digest
    assert labelled.digest == again.digest


def test_values_of_entities() -> None:
    entity = Entity(kind="Maker", column="maker", split=r",(?!\s*Inc\b)\s*", keep="(?!unknown).+")
    assert entity_values("Acme, Inc, Beta,Acme, Inc, unknown,", entity) == ["Acme, Inc", "Beta"]
    assert entity_values("", entity) == []
