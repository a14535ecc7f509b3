"""A source of documents is declared; what is wrong names the file and the field."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from assets.knowledge.documents.spec import Cut, DocumentSource, document_sources
from assets.knowledge.documents.template import Template, TemplateError
from assets.knowledge.documents.wildcard import matches
from serving.errors import DeclarationError

TABLE = {"columns": ["id", "site"], "key": ["id"], "title": "Pump {id}", "text": ["At {site}."]}


def write(domain: Path, **fields: object) -> None:
    (domain / "documents").mkdir(exist_ok=True)
    content = {"name": "manuals", "description": "d", **fields}
    (domain / "documents" / "manuals.yaml").write_text(yaml.safe_dump(content))


def test_defaults(tmp_path: Path) -> None:
    assert document_sources(tmp_path) == {}
    write(tmp_path)
    found = document_sources(tmp_path)["manuals"]
    assert found.files == ("**/*",)
    assert found.labels == ()
    assert found.chunk == Cut(size=200, overlap=30, max_passages=2000)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"labels": ["Not One"]}, "labels: expected"),
        ({"labels_by": {"x/**": ["a|b"]}}, "labels_by: expected"),
        ({"lables": ["a"]}, "lables: expected no such field"),
        ({"chunk": {"size": 50, "overlap": 50}}, "chunk: expected: .*overlap: below size"),
        ({"files": []}, "files"),
        ({"name": "own"}, "name: expected: .*another name"),
        ({"name": "other"}, "field name: expected 'manuals'"),
        ({"table": {**TABLE, "key": ["nr"]}}, r"table: expected: .*nr \(key\)"),
        ({"table": {**TABLE, "title": "{nr}"}}, r"nr \(title\)"),
        ({"table": {**TABLE, "text": ["ok {id}", "[[ {site}"]}}, r"text\[1\]: brackets or braces"),
        ({"table": {**TABLE, "columns": ["id", "site", "id"]}}, "named twice: id"),
        ({"table": {**TABLE, "date": {"column": "id", "zone": "Nowhere"}}}, "date.zone: expected"),
        ({"table": {**TABLE, "date": {"column": "id"}, "metadata": {"date": {"column": "site"}}}}, "is the date's"),
        ({"table": {**TABLE, "metadata": {"x": {"column": "id", "type": "money"}}}}, r"metadata.x.type: expected"),
        ({"table": {**TABLE, "entities": [{"kind": "Site", "column": "site", "split": "("}]}}, r"entities\[0\].split"),
        ({"table": {**TABLE, "entities": [{"kind": "Site", "column": "s"}]}}, r"s \(entities\[0\]\)"),
        (
            {"table": {**TABLE, "entities": [{"kind": "Site", "column": "site", "replace": {"x": r"\2"}}]}},
            r"entities\[0\].replace: expected",
        ),
        ({"table": {**TABLE, "labels_column": "who"}}, r"who \(labels_column\)"),
    ],
)
def test_an_error_names_file_and_field(tmp_path: Path, fields: dict[str, object], said: str) -> None:
    write(tmp_path, **fields)
    with pytest.raises(DeclarationError, match=said) as error:
        document_sources(tmp_path)
    assert "documents/manuals.yaml" in str(error.value)


def test_labels_of_a_file(manuals: DocumentSource) -> None:
    assert manuals.labels_of("a.md") == ("staff",)
    assert manuals.labels_of("secret/deep/a.md") == ("board", "staff")
    assert manuals.labels_of("SECRET/a.md") == ("board", "staff"), "case does not open a folder"


def test_who_may_read_and_which_files_make_no_other_document(manuals: DocumentSource) -> None:
    for change in ({"labels": ("x",)}, {"files": ("*.md",)}, {"description": "x"}):
        assert manuals.model_copy(update=change).fingerprint() == manuals.fingerprint()
    assert manuals.model_copy(update={"chunk": Cut(size=100)}).fingerprint() != manuals.fingerprint()


@pytest.mark.parametrize(
    ("pattern", "path", "does"),
    [
        ("*.md", "a.md", True), ("*.md", "x/a.md", False), ("**/*.md", "a.md", True), ("**/*.md", "x/y/a.md", True),
        ("x/**", "x/y/a.md", True), ("x/**", "y/a.md", False), ("a?.md", "ab.md", True), ("a?.md", "a/.md", False),
        ("a.md", "aXmd", False), ("**/*", "a\nb.md", True), ("[a].md", "[a].md", True),
    ],
)  # fmt: skip
def test_patterns(pattern: str, path: str, does: bool) -> None:
    assert matches(pattern, path) is does


def test_templates() -> None:
    template = Template("Pump {id}[[ of {site}, {place#}]]. [[Seal: {seal}.]]")
    assert template.columns == ("id", "site", "place#", "seal")
    row = {"id": "P1", "site": "S", "place#": "", "seal": "{site} Inc."}
    assert template.fill(row) == "Pump P1. Seal: {site} Inc.", "a cell is not read as a template"
    assert template.fill({**row, "place#": "7", "seal": ""}) == "Pump P1 of S, 7."
    with pytest.raises(TemplateError):
        Template("{a")
