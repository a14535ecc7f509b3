"""The declared source of safety events fits the export that a user downloads."""

from __future__ import annotations

import csv
import io

import pytest

from assets.knowledge.documents.document import Document
from assets.knowledge.documents.passages import cut
from assets.knowledge.documents.rows import Rows, entity_values, read_rows
from assets.knowledge.documents.spec import DocumentSource, Table, document_sources
from serving.errors import ClearwayError
from serving.settings import PROJECT
from tests.assets.knowledge.documents.conftest import words

EXPORT = PROJECT.parent / "shared" / "data" / "ntsb" / "carol_export.csv"


@pytest.fixture(scope="module")
def source() -> DocumentSource:
    return document_sources(PROJECT / "assets" / "domain")["safety_events"]


@pytest.fixture(scope="module")
def table(source: DocumentSource) -> Table:
    assert source.table is not None
    return source.table


@pytest.fixture(scope="module")
def export(source: DocumentSource, table: Table) -> Rows:
    if not EXPORT.exists():
        pytest.skip(f"the export of safety events is not in {EXPORT}")
    return read_rows(source, table, EXPORT.name, EXPORT.read_bytes())


def row(table: Table, **cells: str) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, table.columns, restval="")
    writer.writeheader()
    writer.writerow({"NtsbNo": "X1", "EventType": "ACC", "EventDate": "2009-03-01T05:00:00Z", **cells})
    return out.getvalue().encode()


def test_a_row(source: DocumentSource, table: Table) -> None:
    cells = {"N#": "n123aa", "City": "Houston", "Operator": "AMERICAN AIRLINES, INC.", "AirportID": "KHOU",
             "FatalInjuryCount": "0", "ProbableCause": ".", "AirCraftDamage": "Substantial"}  # fmt: skip
    (made,) = read_rows(source, table, "a.csv", row(table, **cells)).documents
    assert made.uid == "document:safety_events/X1"
    assert made.title == "Accident n123aa, Houston, 2009-03-01"
    assert made.links == (("Aircraft", "N123AA"), ("Carrier", "AMERICAN AIRLINES, INC."), ("Airport", "HOU"))
    assert made.metadata["fatal_injuries"] == 0
    assert made.metadata["damage"] == "substantial"
    assert "cause" not in made.text


@pytest.mark.parametrize(
    ("column", "cell", "values"),
    [
        ("N#", "N510HM, N269AA", ["N510HM", "N269AA"]),
        ("N#", "UNK", []),
        ("N#", "N 12 AB", ["N12AB"]),
        ("Operator", "SB 501 LLC, WHITMORE HOLDINGS LLC", ["SB 501 LLC", "WHITMORE HOLDINGS LLC"]),
        ("Operator", "Allegiant Air, LLC", ["Allegiant Air, LLC"]),
        ("Operator", "DELTA AIR LINES,INC.", ["DELTA AIR LINES,INC."]),
        ("Operator", "Delta Air Lines, Inc, SkyWest Airlines", ["Delta Air Lines, Inc", "SkyWest Airlines"]),
        ("AirportID", "KJFK", ["JFK"]),
        ("AirportID", "D/FW", ["DFW"]),
        ("AirportID", "EGLL", ["EGLL"]),
        ("AirportID", "N/A", []),
    ],
)
def test_names_of_entities(table: Table, column: str, cell: str, values: list[str]) -> None:
    (entity,) = (e for e in table.entities if e.column == column)
    assert entity_values(cell, entity) == values


def test_another_export_is_refused(source: DocumentSource, table: Table) -> None:
    content = row(table).replace(b"EventDate", b"Event Date")
    with pytest.raises(ClearwayError, match="missing EventDate; unexpected Event Date"):
        read_rows(source, table, "a.csv", content)


def test_every_row_of_the_export_is_a_document(export: Rows) -> None:
    assert (export.read, len(export.documents), export.quarantined) == (4802, 4802, ())
    assert len({made.uid for made in export.documents}) == 4802
    found = [passages for _, passages in cut(export.documents, words)]
    assert all(isinstance(passages, list) and passages for passages in found)


def test_known_events(export: Rows) -> None:
    events: dict[str, Document] = {made.uid.removeprefix("document:safety_events/"): made for made in export.documents}
    ditched = events["DCA09MA026"]
    assert ditched.title == "Accident N106US, Weehawken, 2009-01-15"
    assert ("Aircraft", "N106US") in ditched.links
    assert ("Carrier", "US AIRWAYS INC") in ditched.links
    assert events["DCA09MA027"].metadata["date"] == "2009-02-12", "at 22:17 in New York"
    two = events["DCA24FA017"]
    assert two.links[:2] == (("Aircraft", "N510HM"), ("Aircraft", "N269AA"))
    assert two.links[-1] == ("Airport", "HOU")


def test_aircraft_and_airports_of_the_export(export: Rows) -> None:
    links = [link for made in export.documents for link in made.links]
    assert len({value for kind, value in links if kind == "Aircraft"}) > 4600
    assert sum(kind == "Airport" for kind, _ in links) > 2600
    assert not {value for kind, value in links if kind == "Aircraft"} & {"UNK", "UNKNOWN", "NONE"}
