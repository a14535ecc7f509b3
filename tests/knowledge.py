"""The real servers of graph and vectors for tests: one of each a session, on ports and in a home of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from serving.retrieval import servers
from serving.retrieval.bolt import Graph
from serving.retrieval.copy import Copy
from serving.retrieval.elements import Node, Part, Passage, Relation
from serving.runtime.laptop import stop_all
from serving.settings import Settings
from tests.running import free_ports


def settings_at(home: Path) -> Settings:
    names = ("graph_port", "graph_http_port", "vectors_port", "gateway_port")
    return Settings(home=home, **dict(zip(names, free_ports(len(names)), strict=True)))  # type: ignore[arg-type]


@contextmanager
def running(home: Path) -> Iterator[Settings]:
    settings = settings_at(home)
    try:
        servers.start(settings)
        yield settings
    finally:
        stop_all(settings)


def empty(graph: Graph) -> None:
    """Remove everything from a copy that a test before has written."""
    for row in graph.read("CALL db.labels()"):
        graph.write(f"MATCH (n:{row['label']}) DETACH DELETE n")


def emptied(settings: Settings, slot: str) -> Copy:
    graph = servers.graph(settings, slot)
    empty(graph)
    return Copy(graph)


def pump(number: int, access: str = "", **properties: object) -> Node:
    return Node(f"Pump:{number}", "Pump", f"pump {number}", dict(properties), (), access)  # type: ignore[arg-type]


def site(name: str, access: str = "") -> Node:
    return Node(f"Site:{name}", "Site", name, {}, (), access)


def at(number: int, name: str, access: str = "", key: str = "") -> Relation:
    return Relation(f"Pump:{number}", "AT", f"Site:{name}", {"since": number}, key, access)


def part(name: str, nodes: Sequence[Node] = (), relations: Sequence[Relation] = (), *passages: Passage) -> Part:
    return Part(name, tuple(nodes), tuple(relations), tuple(passages))
