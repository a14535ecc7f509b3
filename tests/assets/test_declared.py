"""A wrong declaration is refused by file, field and expectation."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from assets.domains import load_domain
from serving.errors import DeclarationError
from serving.settings import PROJECT

DOMAIN = PROJECT / "assets" / "domain"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(DOMAIN, tmp_path / "domain")
    return tmp_path / "domain"


def change(file: Path, **values: object) -> None:
    content = yaml.safe_load(file.read_text())
    for name, value in values.items():
        if value is None:
            content.pop(name)
        else:
            content[name] = value
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def test_the_reference_domain_loads(folder: Path) -> None:
    domain = load_domain(folder)
    assert list(domain.sources) == sorted(domain.sources)
    assert domain.models
    assert len(domain.periods) == 12
    start, end = domain.bounds(domain.periods[2])
    assert (end - start).total_seconds() == (31 * 24 - 1) * 3600  # March loses an hour to daylight saving


@pytest.mark.parametrize(
    ("file", "values", "expected"),
    [
        ("domain.yaml", {"timezone": "Mars/Olympus"}, ["domain.yaml", "timezone", "IANA time zone"]),
        ("domain.yaml", {"owner": None}, ["domain.yaml", "owner", "expected a value, found none"]),
        ("domain.yaml", {"ownr": "team:x"}, ["domain.yaml", "ownr", "expected no such field"]),
        (
            "sources/planes.yaml",
            {"max_quarantined_share": 2},
            ["planes.yaml", "max_quarantined_share", "less than or equal to 1"],
        ),
        ("sources/planes.yaml", {"key": ["tail"]}, ["planes.yaml", "not declared under columns: tail (key)"]),
        ("sources/planes.yaml", {"name": "plains"}, ["planes.yaml", "name", "expected 'planes'"]),
        (
            "sources/planes.yaml",
            {
                "rules": [
                    {"name": "r", "description": "d", "action": "drop", "expectation": "ExpectColumnValuesToNotBeNull"}
                ]
            },
            ["planes.yaml", "rules[0].action", "'quarantine', 'repair', 'note' or 'reject'", "found 'drop'"],
        ),
        (
            "sources/planes.yaml",
            {"rules": [{"name": "r", "description": "d", "action": "note", "expectation": "ExpectMagic"}]},
            ["planes.yaml", "rules[0]", "expectation is one of ExpectColumnValuesToNotBeNull"],
        ),
        (
            "sources/planes.yaml",
            {
                "rules": [
                    {
                        "name": "r",
                        "description": "d",
                        "action": "repair",
                        "expectation": "ExpectColumnValuesToNotBeNull",
                    }
                ]
            },
            ["planes.yaml", "rules[0]", "action repair and the field repair go together"],
        ),
        (
            "sources/planes.yaml",
            {
                "rules": [
                    {
                        "name": "r",
                        "description": "d",
                        "action": "note",
                        "references": {"source": "hangars", "columns": ["tailnum"]},
                        "columns": ["tailnum"],
                    }
                ]
            },
            ["planes.yaml", "field rules", "found 'hangars'"],
        ),
        (
            "models/arrival_delay.yaml",
            {"evaluate": {"start": "2013-02-01", "end": "2013-06-01"}},
            ["arrival_delay.yaml", "evaluate.start: expected no month that is trained on"],
        ),
        (
            "models/arrival_delay.yaml",
            {"keys": {"carrier": "airline"}},
            ["arrival_delay.yaml", "names 'airline', which is no request field"],
        ),
    ],
)
def test_a_wrong_declaration_names_file_field_and_expectation(
    folder: Path, file: str, values: dict[str, object], expected: list[str]
) -> None:
    change(folder / file, **values)
    with pytest.raises(DeclarationError) as caught:
        load_domain(folder)
    for words in expected:
        assert words in str(caught.value)
    assert "Left untouched" in str(caught.value)
    assert "What to do" in str(caught.value)


def test_broken_yaml_and_a_missing_file_are_named(folder: Path) -> None:
    (folder / "sources" / "planes.yaml").write_text("name: [")
    with pytest.raises(DeclarationError, match=r"planes\.yaml: not valid YAML"):
        load_domain(folder)
    with pytest.raises(DeclarationError, match=r"domain\.yaml: this declared file does not exist"):
        load_domain(folder / "nowhere")
