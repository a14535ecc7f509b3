"""What of the marts becomes the graph: ``ontology/graph.yaml`` of a domain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, field_validator, model_validator

from assets.declared import Declared, SafeLoader, read
from assets.knowledge.extract import Extraction
from serving.errors import ClearwayError, DeclarationError
from serving.retrieval.access import joined
from serving.retrieval.copy import checked
from serving.retrieval.guarded import DeclaredQuery

PLATFORM_QUERIES = Path(__file__).parent / "ontology" / "queries"


class _Rows(Declared):
    """A query of the warehouse; its column ``part`` names the partition that a row belongs to, if it has one."""

    description: str
    reads: tuple[str, ...] = Field(min_length=1, description="dbt models that the query reads")
    sql: str
    labels: tuple[str, ...] = ()

    @field_validator("labels")
    @classmethod
    def _labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            joined(value)
        except ClearwayError as error:
            raise ValueError(error.what) from error
        return value


class Things(_Rows):
    """Nodes of one kind: columns ``id``, ``name``, perhaps ``aliases`` (a list); every other column is a property."""

    iri: str = Field(description="class of the ontology, as prefix:name")


class Relations(_Rows):
    """Relations of one predicate: columns ``source`` and ``target`` (ids), perhaps ``key``; others are properties."""

    iri: str = Field(description="property of the ontology, as prefix:name")
    source: str
    target: str


class GraphFile(Declared):
    """Kinds and predicates by name, declared queries, how companies' names are told from each other."""

    kinds: dict[str, Things]
    relations: dict[str, Relations] = Field(default_factory=dict)
    documents: dict[str, str] = Field(default_factory=dict, description="classes of kinds of documents, as prefix:name")
    mentions: dict[str, str] = Field(default_factory=dict, description="properties of what documents say of things")
    extract: Extraction = Extraction()
    queries: tuple[DeclaredQuery, ...] = ()
    owner: str | None = None
    example: str | None = Field(default=None, description="a question to begin with")

    @model_validator(mode="after")
    def _refers(self) -> GraphFile:
        for name in [*self.kinds, *self.relations]:
            try:
                checked(name)
            except ClearwayError as error:
                raise ValueError(error.what) from error
        for name, relation in self.relations.items():
            for end in (relation.source, relation.target):
                if end not in self.kinds:
                    raise ValueError(f"relations.{name}: {end!r} is no declared kind ({', '.join(self.kinds)})")
        for one in self.extract.relations:
            if one.predicate not in self.mentions:
                raise ValueError(f"extract.relations: {one.predicate!r} is not declared under mentions")
        names = [query.name for query in self.queries]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"queries {', '.join(twice)} are declared twice")
        return self

    @property
    def reads(self) -> list[str]:
        """All dbt models that are read, each once."""
        every: list[_Rows] = [*self.kinds.values(), *self.relations.values()]
        return list(dict.fromkeys(model for one in every for model in one.reads))


def graph_file(domain: Path) -> Path:
    return domain / "ontology" / "graph.yaml"


def read_graph(domain: Path) -> GraphFile | None:
    """A domain's declared graph; None where it has none. Queries of ``ontology/queries/*.yaml`` are part of it,
    and so are those of the project itself.

    Raises:
        DeclarationError: a file or field is not as expected.
    """
    file = graph_file(domain)
    if not file.exists():
        return None
    declared = read(file, GraphFile)
    folders = [PLATFORM_QUERIES, file.parent / "queries"]
    queries = [*declared.queries, *(_query(path) for folder in folders for path in sorted(folder.glob("*.yaml")))]
    names = [query.name for query in queries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DeclarationError(
            f"{file.parent / 'queries'}: {', '.join(twice)} declared twice",
            untouched="everything; nothing was loaded.",
            todo="rename one.",
        )
    return declared.model_copy(update={"queries": tuple(queries)})


def _query(path: Path) -> DeclaredQuery:
    content: Any = None
    try:
        content = yaml.load(path.read_text(), Loader=SafeLoader)
        return DeclaredQuery.model_validate({"name": path.stem, **content})
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise DeclarationError(
            f"{path}: {error}", untouched="everything; nothing was loaded.", todo="mend the named field."
        ) from error
