"""Declared graph queries: Cypher with parameters, in which each node and relation is filtered by the caller's access.

A declared text names all that it matches; the filters by ``$access``, the accesses that the caller sees, are written
into each MATCH here and cannot be forgotten. A text that matches something without a name, or matches outside of a
MATCH, is refused when it is declared, before anybody can run it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.errors import ClearwayError
from serving.retrieval.cypher import CypherRefused, Token, check_reads, tokens


class Parameter(BaseModel):
    """A parameter; without a default it must be given. ``kind`` names whose uid, name or alias it is, if one's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["string", "integer", "number", "date", "strings"] = "string"
    description: str
    default: str | int | float | list[str] | None = None
    required: bool = True
    kind: str | None = None


class DeclaredQuery(BaseModel):
    """A query that callers run by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    description: str
    cypher: str
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    questions: tuple[str, ...] = Field(default=(), description="how people ask for it; {parameter} marks a value")
    cites: tuple[str, ...] = Field(default=(), description="columns that hold uids of nodes or passages")
    answer: str | None = Field(default=None, description="a row as a sentence, {column} marks a value")
    heading: str | None = Field(default=None, description="what is said of all rows, see telling.heading")

    @model_validator(mode="after")
    def _readable(self) -> DeclaredQuery:
        try:
            expanded = guard(self.cypher)
        except CypherRefused as error:
            raise ValueError(error.what) from error
        used = {token.text[1:] for token in tokens(expanded) if token.kind == "parameter"} - {"access"}
        if used != set(self.parameters):
            raise ValueError(f"the text uses parameters {sorted(used)}, declared are {sorted(self.parameters)}")
        return self


def guard(cypher: str) -> str:
    """The text with the caller's filter in each of its MATCH clauses.

    Raises:
        CypherRefused: it does more than read, or matches something that has no name and so gets no filter.
    """
    check_reads(cypher)
    found = tokens(cypher)
    inserts: list[tuple[int, str]] = []
    i = 0
    for place, token in enumerate(found):
        if token.kind == "parameter" and token.text == "$access":
            raise _hidden(token, "$access is filled in for the caller; leave it out")
        if token.low in _SUBQUERIES and _text(found, place + 1) == "{":
            raise _hidden(token, f"{token.text} {{}} hides what it matches")
    while i < len(found):
        token = found[i]
        if token.low != "match" or not _clause(found, i):
            _no_pattern(found, i)
            i += 1
            continue
        i, names = _pattern(found, i + 1)
        condition = " AND ".join(_filter(name, path) for name, path in names.items())
        end = len(cypher)
        if i < len(found) and found[i].low == "where":
            inserts.append((found[i].at + len("where"), f" {condition} AND ("))
            i += 1
            depth = 0
            while i < len(found) and not (depth == 0 and _clause(found, i)):
                _no_pattern(found, i)
                depth += (found[i].text in "([{") - (found[i].text in ")]}")
                i += 1
            inserts.append((found[i].at if i < len(found) else end, ") "))
        else:
            inserts.append((found[i].at if i < len(found) else end, f" WHERE {condition} "))
    for at, text in reversed(inserts):
        cypher = cypher[:at] + text + cypher[at:]
    return cypher


_SUBQUERIES = frozenset(("exists", "count", "collect", "call"))
_CLAUSES = frozenset(["match", "optional", "where", "with", "return", "unwind", "order", "skip", "limit", "union"])


def _filter(name: str, path: bool) -> str:
    if not path:
        return f"{name}.access IN $access"
    return (
        f"all(_n IN nodes({name}) WHERE _n.access IN $access) AND "
        f"all(_r IN relationships({name}) WHERE _r.access IN $access)"
    )


def _text(found: list[Token], i: int) -> str:
    return found[i].text if 0 <= i < len(found) else ""


def _clause(found: list[Token], i: int) -> bool:
    """Whether a clause begins here; the WITH of STARTS WITH is none."""
    if found[i].kind != "word" or _text(found, i - 1) in (".", ":", "|"):
        return False
    if found[i].low == "with" and _text(found, i - 1).lower() in ("starts", "ends"):
        return False
    return found[i].low in _CLAUSES


def _no_pattern(found: list[Token], i: int) -> None:
    """Refuse a pattern that stands where an expression does: nothing in it would be filtered."""
    here, after = found[i].text, (_text(found, i + 1), _text(found, i + 2))
    arrow = here in ("->", "<-") or (here == "-" and after[0] in ("-", "->", "["))
    if arrow and _text(found, i - 1) != "":
        raise _hidden(found[i], "a pattern outside MATCH hides what it matches")


def _hidden(token: Token, why: str) -> CypherRefused:
    return CypherRefused(
        f"{why} (character {token.at + 1})", untouched="the graph.", todo="put it into a MATCH with names."
    )


def _pattern(found: list[Token], i: int) -> tuple[int, dict[str, bool]]:
    """Names that one MATCH binds, True for a path, which stands for all its parts; and where its pattern ends."""
    names: dict[str, bool] = {}
    path = False
    depth = 0
    while i < len(found) and not (depth == 0 and _clause(found, i)):
        token, after = found[i], _text(found, i + 1)
        if depth == 0 and token.kind == "word" and after == "=":
            path = True
            names[token.text] = True
        elif depth == 0 and token.text == ",":
            path = False
        elif token.text in "([" and not path:
            named = i + 1 < len(found) and found[i + 1].kind == "word"
            if not named or _text(found, i - 1).lower() in ("shortestpath", "allshortestpaths"):
                raise _hidden(token, "an element without a name gets no filter")
            if token.text == "[" and "*" in _inside(found, i):
                raise _hidden(
                    token, "a relation of variable length gets no filter: name its path, p = (a)-[*1..2]->(b)"
                )
            names[found[i + 1].text] = False
        elif depth == 0 and not path and token.text in ("->", "-", "<-") and not _named_relation(found, i):
            raise _hidden(token, "an element without a name gets no filter")
        depth += (token.text in "([{") - (token.text in ")]}")
        i += 1
    return i, names


def _named_relation(found: list[Token], i: int) -> bool:
    """Whether a dash or arrow stands beside the brackets of a relation, and so is no relation without a name."""
    return _text(found, i + 1) == "[" or (_text(found, i - 1) == "]" and _text(found, i + 1) == "(")


def _inside(found: list[Token], i: int) -> list[str]:
    end = i
    while end < len(found) and found[end].text != "]":
        end += 1
    return [token.text for token in found[i:end]]


def values(query: DeclaredQuery, given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as the graph takes them.

    Raises:
        ClearwayError: one is unknown, missing, or of another type.
    """
    unknown = sorted(set(given) - set(query.parameters))
    if unknown:
        raise _wrong(query, f"has no parameter {', '.join(unknown)}; it has {', '.join(query.parameters) or 'none'}")
    found: dict[str, Any] = {}
    for name, parameter in query.parameters.items():
        value = given.get(name, parameter.default)
        if value is None:
            if parameter.required:
                raise _wrong(query, f"needs parameter {name}: {parameter.description}")
            found[name] = None
            continue
        found[name] = _typed(query, name, parameter, value)
    return found


def _typed(query: DeclaredQuery, name: str, parameter: Parameter, value: Any) -> Any:
    try:
        match parameter.type:
            case "integer" if not isinstance(value, bool):
                return int(value)
            case "number" if not isinstance(value, bool):
                return float(value)
            case "date":
                return date.fromisoformat(str(value)).isoformat()
            case "strings" if isinstance(value, list) and all(isinstance(v, str) for v in value):
                return list(value)
            case "string" if isinstance(value, str):
                return value
    except ValueError:
        pass
    raise _wrong(query, f"parameter {name}: expected {parameter.type}, found {value!r:.80}")


def _wrong(query: DeclaredQuery, what: str) -> ClearwayError:
    return ClearwayError(f"query {query.name} {what}", untouched="the graph.", todo="mend the parameters.")
