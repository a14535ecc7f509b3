"""What the graph, the vectors and the index hold. All are immutable, have own uids, and an access (see ``access``)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Node:
    """A thing. ``kind`` is a class of the ontology (``Pump``), ``uid`` starts with it (``Pump:7``).

    Aliases are further names under which a question or a document may speak of it.
    """

    uid: str
    kind: str
    name: str
    properties: Mapping[str, Scalar] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    access: str = ""

    def row(self) -> dict[str, Any]:
        """As it is written into the graph."""
        return {
            "uid": self.uid, "name": self.name, "access": self.access, "aliases": list(self.aliases),
            **self.properties,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Relation:
    """A directed relation between two nodes. ``key`` tells several of one predicate between two nodes apart."""

    source: str
    predicate: str
    target: str
    properties: Mapping[str, Scalar] = field(default_factory=dict)
    key: str = ""
    access: str = ""

    @property
    def uid(self) -> str:
        return "\x1f".join((self.source, self.predicate, self.target, self.key))


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document; ``document`` is the uid of its node, ``mentions`` are those of what it is about."""

    uid: str
    document: str
    title: str
    text: str
    order: int = 0
    mentions: tuple[str, ...] = ()
    access: str = ""


@dataclass(frozen=True)
class Part:
    """What is loaded as one: a partition of a table, a document. ``digest`` covers its elements."""

    name: str
    nodes: tuple[Node, ...] = ()
    relations: tuple[Relation, ...] = ()
    passages: tuple[Passage, ...] = ()

    @cached_property
    def digest(self) -> str:
        return digest(
            [(n.kind, n.row()) for n in self.nodes],
            [(r.uid, dict(r.properties), r.access) for r in self.relations],
            [(p.uid, p.title, p.text, p.order, p.mentions, p.access) for p in self.passages],
        )


def digest(*values: Any) -> str:
    """A digest of JSON-able values, the same in every process."""
    return hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)).hexdigest()[:32]
