"""Rows are told in declared words, one by one and all together."""

from __future__ import annotations

from serving.retrieval.telling import heading, sentence


def test_a_row_as_a_sentence() -> None:
    row = {"pump": "P-7", "hours": 12345, "wear": 0.123456, "load": 12345.6, "sites": ["a", 2], "on": True, "by": ""}
    assert sentence("{pump}: {hours} h, {wear}, {load}, {sites}, {on}, {by}, {gone}", row) == (
        "P-7: 12,345 h, 0.1235, 12,346, a, 2, True, unknown, unknown"
    )


def test_all_rows_together() -> None:
    rows = [{"pump": "P-7", "hours": 10, "wear": 0.5}, {"pump": "P-8", "hours": 30, "wear": 0.1}, {"pump": "P-9"}]
    template = "{rows} pumps. They ran {sum:hours} h, worn by {mean:wear:hours} an hour and {mean:wear} a pump."
    assert heading(template, rows, False) == "3 pumps. They ran 40 h, worn by 0.2 an hour and 0.3 a pump."
    assert heading(template, rows, True).startswith("3 or more pumps. They ran")
    assert heading(template, [], False) == "0 pumps."
    assert heading("{rows} pumps; mean {mean:wear:hours}.", [{"wear": 1.0, "hours": 0}], False) == ""
    assert heading("{sum:pump} {sum:on}", [{"pump": "P-7", "on": True}], False) == ""
