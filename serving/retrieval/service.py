"""Hybrid retrieval over what is published: entry points, the graph around them, and an answer with citations.

Everything a caller gets is of one published version and of elements whose labels the caller holds. A store that does
not answer is named under ``degraded``; what the others give is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from serving.errors import ClearwayError
from serving.retrieval import sparql
from serving.retrieval.access import EVERYTHING, seen
from serving.retrieval.compose import Composed, Context, checked, extract, prompt, sentences
from serving.retrieval.copy import checked as name_checked
from serving.retrieval.cypher import check_reads
from serving.retrieval.embedding import embedder
from serving.retrieval.guarded import DeclaredQuery, guard, values
from serving.retrieval.methods import METHODS, RANKINGS
from serving.retrieval.opened import NotPublished, Version, Versions
from serving.retrieval.ranking.index import Found
from serving.retrieval.structured import Chosen, Entity
from serving.retrieval.telling import heading, sentence
from serving.settings import Settings

CANDIDATES, NEIGHBOURS, AROUND = 100, 12, 3
# Relations of a predicate that are read for its neighbours: several may lead to one.
READ = 48
OWN = frozenset(("uid", "digest", "part", "access"))
MAX_ROWS, TOLD = 1000, 20
# Embedded to be extracted; the words of further ones are compared alone.
MOST_SENTENCES = 32
__all__ = ["NotPublished", "Retrieval"]
# A question about the whole, which reports of communities answer and no single passage.
_WHOLE = re.compile(
    r"\b(overall|overview|summar\w+|themes?|in general|groups?|communit\w+|what is there)\b", re.IGNORECASE
)
Chat = Callable[[Sequence[Mapping[str, str]]], str]


class Retrieval:
    """Answers from the published version."""

    def __init__(self, settings: Settings) -> None:
        self.version = Versions(settings).current

    # Search

    def search(
        self, question: str, labels: frozenset[str], limit: int = 8, methods: Collection[str] = METHODS
    ) -> dict[str, Any]:
        """Passages, the things that the question names, what is around them, and reports of communities."""
        return self._search(self.version(), question, labels, limit, methods)

    def _search(
        self, version: Version, question: str, labels: frozenset[str], limit: int, methods: Collection[str]
    ) -> dict[str, Any]:
        degraded: list[str] = []
        access = seen(version.published.accesses, labels)
        dense: Mapping[str, float] | None = None
        if "dense" in methods:
            model = embedder(version.published.embeddings)
            try:
                dense = version.vectors.dense(model.questions([question])[0], access, CANDIDATES)
            except ClearwayError as error:
                degraded.append(f"dense: {error.what}")
        ranking = [m for m in methods if m in RANKINGS]
        found = version.index.search(question, labels, limit, dense, ranking)
        entities = _entities(found)
        named = entities[:AROUND] if "local" in methods else []
        around = self._neighbours(version, named, labels, degraded)
        reports = version.reports.search(question, labels, 3, None).passages if "global" in methods else ()
        linked = tuple(e.uid for e in found.entities)
        return {
            "question": question,
            "version": version.published.version,
            "methods": list(methods),
            "degraded": degraded,
            "entities": [
                {"uid": e.uid, "name": e.name, "kind": _kind(e.uid), "matched": e.matched, "how": e.how}
                for e in found.entities
            ],
            "passages": [
                {
                    "uid": hit.passage.uid, "document": hit.passage.document, "title": hit.passage.title,
                    "text": hit.passage.text, "score": round(hit.score, 5), "ranks": dict(hit.ranks),
                    "path": list(version.index.path(hit.passage.uid, linked, labels)),
                }
                for hit in found.passages
            ],
            "neighbours": around,
            "reports": [
                {"uid": h.passage.document, "title": h.passage.title, "text": h.passage.text, "score": h.score}
                for h in reports
            ],
        }  # fmt: skip

    def _neighbours(
        self, version: Version, entities: Sequence[Entity], labels: frozenset[str], degraded: list[str]
    ) -> list[dict[str, Any]]:
        try:
            return self._around(version, entities, seen(version.published.accesses, labels))
        except ClearwayError as error:
            degraded.append(f"local: {error.what}")
            return []

    def _around(self, version: Version, entities: Sequence[Entity], access: Collection[str]) -> list[dict[str, Any]]:
        """Relations of some things: of each predicate those to the first few others, and ``of`` how many there are."""
        rows: list[dict[str, Any]] = []
        for entity in entities:
            kind = name_checked(entity.kind)
            # Sorted by what they are: a store gives them in an order that hidden relations have a part in.
            query = guard(
                f"MATCH (a:{kind} {{uid: $uid}})-[r]-(b) WITH r, b ORDER BY r.uid WITH type(r) AS predicate, "
                "count(r) AS many, collect({source: startNode(r).uid, target: endNode(r).uid, uid: b.uid, "
                f"name: b.name, properties: properties(r)}})[0..{READ}] AS found RETURN predicate, many, found"
            )
            found = version.graph.read(query, {"uid": entity.uid, "access": sorted(access)}, rows=READ)
            for each in sorted(found, key=lambda row: str(row["predicate"])):
                others = dict.fromkeys(one["uid"] for one in each["found"])
                shown = set(list(others)[: NEIGHBOURS // 3])
                for one in each["found"]:
                    if one["uid"] in shown:
                        said = {k: v for k, v in one["properties"].items() if k not in OWN}
                        rows.append({**one, "predicate": each["predicate"], "properties": said, "of": each["many"]})
        return rows

    # Graph

    def query(self, name: str, given: Mapping[str, Any], labels: frozenset[str]) -> dict[str, Any]:
        """Rows of a declared query, of what the caller sees.

        Raises:
            KeyError: there is no such query.
            ClearwayError: parameters are wrong, or the graph does not answer.
        """
        version = self.version()
        return self._run(version, version.queries[name], given, labels)

    def _run(
        self, version: Version, declared: DeclaredQuery, given: Mapping[str, Any], labels: frozenset[str]
    ) -> dict[str, Any]:
        access = sorted(seen(version.published.accesses, labels))
        parameters = {**values(declared, given), "access": access}
        rows = version.graph.read(guard(declared.cypher), parameters, rows=MAX_ROWS + 1)
        return {
            "query": declared.name,
            "version": version.published.version,
            "parameters": {k: v for k, v in parameters.items() if k != "access"},
            "columns": list(rows[0]) if rows else [],
            "rows": rows[:MAX_ROWS],
            "truncated": len(rows) > MAX_ROWS,
        }

    def cypher(self, text: str, parameters: Mapping[str, Any], labels: frozenset[str]) -> dict[str, Any]:
        """Rows of a caller's own query; only for those who see everything.

        Raises:
            ClearwayError: the caller does not, or the query may do more than read; see ``cypher.check_reads``.
        """
        _require_everything(labels)
        check_reads(text)
        version = self.version()
        rows = version.graph.read(text, parameters, rows=MAX_ROWS + 1)
        return {
            "version": version.published.version,
            "columns": list(rows[0]) if rows else [],
            "rows": rows[:MAX_ROWS],
            "truncated": len(rows) > MAX_ROWS,
        }

    def sparql(self, text: str, labels: frozenset[str]) -> dict[str, Any]:
        """Rows of a SPARQL query over the published RDF; only for those who see everything.

        Raises:
            ClearwayError: see :meth:`cypher` and ``sparql.ask``.
        """
        _require_everything(labels)
        version = self.version()
        found = sparql.ask(version.folder / sparql.STORE, text, rows=MAX_ROWS)
        return {"version": version.published.version, **found}

    # Answers

    def answer(
        self,
        question: str,
        labels: frozenset[str],
        limit: int = 8,
        methods: Collection[str] = METHODS,
        chat: Chat | None = None,
        model: str = "",
    ) -> dict[str, Any]:
        """An answer with citations: of a declared query's rows when one fits, else of what search finds.

        Args:
            chat: a language model's reply to messages; None extracts.
            model: its name.
        """
        version = self.version()
        found = self._search(version, question, labels, limit, methods)
        rows: dict[str, Any] | None = None
        chosen: Chosen | None = None
        if "query" in methods:
            entities = [Entity(e["uid"], e["kind"], e["matched"]) for e in found["entities"]]
            entities += version.names.find(question, entities, labels)
            chosen = version.phrases.choose(question, entities)
        if chosen is not None:
            try:
                rows = self._run(version, chosen.query, chosen.parameters, labels)
            except ClearwayError as error:
                found["degraded"].append(f"query: {error.what}")
        context = _context(chosen, rows, found)
        if chosen is not None and rows is not None:
            found["entities"] = _shown(chosen, rows, found["entities"])
            shown = [Entity(e["uid"], e["kind"], e["matched"]) for e in found["entities"][:AROUND]]
            found["neighbours"] = self._neighbours(version, shown, labels, found["degraded"])
        composed: Composed | None = None
        if chosen is not None and rows is not None:
            composed = _told(chosen.query, rows, context)
        elif chat is not None:
            try:
                composed = checked(chat(prompt(question, context)), context, model)
            except ClearwayError as error:
                found["degraded"].append(f"{model}: {error.what}")
        if composed is None:
            composed = extract(question, context, self._near(version, question, context))
        return {
            **found,
            "answer": composed.text,
            "by": composed.by,
            "dropped": list(composed.dropped),
            "citations": [
                {"number": n, "uid": context[n - 1].uid, "title": context[n - 1].title, "text": context[n - 1].text}
                for n in composed.cited
            ],
            "query": None if chosen is None or rows is None else {
                **rows, "score": round(chosen.score, 3), "phrase": chosen.phrase,
                "description": chosen.query.description, "cypher": chosen.query.cypher.strip(),
            },
        }  # fmt: skip

    def _near(self, version: Version, question: str, context: Sequence[Context]) -> Any:
        model = embedder(version.published.embeddings)
        texts = [part for one in context for part in sentences(one.text)][:MOST_SENTENCES]
        return model.passages(texts) @ model.questions([question])[0] if texts else None


def _shown(chosen: Chosen, rows: Mapping[str, Any], named: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The things that a query was asked of, and those of its first rows."""
    taken = {value for value in chosen.parameters.values() if isinstance(value, str)}
    found = {one["uid"]: one for one in named if one["uid"] in taken}
    for row in rows["rows"][:AROUND]:
        for column in chosen.query.cites[:1]:
            uid = row.get(column)
            if isinstance(uid, str) and uid not in found:
                name = uid.partition(":")[2]
                found[uid] = {"uid": uid, "name": name, "kind": _kind(uid), "matched": name, "how": "row"}
    return list(found.values())


def _require_everything(labels: frozenset[str]) -> None:
    if EVERYTHING not in labels:
        raise PermissionError("free queries are for keys that see everything (label *); use a declared query")


def _kind(uid: str) -> str:
    return uid.partition(":")[0]


def _entities(found: Found) -> list[Entity]:
    return [Entity(e.uid, _kind(e.uid), e.matched) for e in found.entities if ":" in e.uid]


def _context(chosen: Chosen | None, rows: Mapping[str, Any] | None, found: Mapping[str, Any]) -> list[Context]:
    """What may be cited: rows of a query, else passages and then reports."""
    if chosen is not None and rows is not None:
        made = []
        for row in rows["rows"]:
            said = sentence(chosen.query.answer, row) if chosen.query.answer else ", ".join(
                f"{column}: {value}" for column, value in row.items()
            )  # fmt: skip
            uids = [str(row[column]) for column in chosen.query.cites if row.get(column)]
            made.append(Context(uids[0] if uids else chosen.query.name, ", ".join(uids), said))
        return made
    passages = [Context(p["uid"], p["title"], p["text"]) for p in found["passages"]]
    reports = [Context(r["uid"], r["title"], r["text"]) for r in found["reports"]]
    if not found["entities"] and _WHOLE.search(str(found["question"])):
        return [*reports, *passages]
    return [*passages, *reports[:2]]


def _told(query: DeclaredQuery, rows: Mapping[str, Any], context: Sequence[Context]) -> Composed:
    """A query's rows as sentences, each cited."""
    count = len(rows["rows"])
    lines = [heading(query.heading or "{rows} found.", rows["rows"], rows["truncated"])]
    lines += [f"{one.text} [{number}]" for number, one in enumerate(context[:TOLD], 1)]
    if count > TOLD:
        lines.append(f"The other {count - TOLD} are in the table.")
    return Composed("\n".join(lines), tuple(range(1, min(count, TOLD) + 1)), f"query {query.name}")
