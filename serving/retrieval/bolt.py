"""The graph over Bolt: the neo4j driver on any server that speaks it, in Cypher that Neo4j and ArcadeDB accept.

Elements are found by their own uid, never by the server's element ids, which ArcadeDB changes. A node has its kind as
its only label, because ArcadeDB replaces a record whose labels change. There is no ``EXPLAIN`` or ``READ`` mode to lean
on there either: :mod:`serving.retrieval.cypher` says what may be read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from serving.errors import ClearwayError

READ_SECONDS, MAX_ROWS = 10.0, 1000
BATCH = 1000


class GraphFault(ClearwayError):
    """The graph cannot be reached, or refuses what it was asked."""


class Graph:
    """A client of one database. ``url`` is ``bolt://host:port/database``; it connects when first asked."""

    def __init__(self, url: str, user: str, password: str) -> None:
        parts = urlsplit(url)
        self.url = url
        self.database = parts.path.strip("/") or None
        self._address = f"{parts.scheme}://{parts.netloc}"
        self._auth = (user, password)
        self._driver: Any = None

    def __enter__(self) -> Graph:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._driver is not None:
            self._driver.close()
            self._driver = None

    @property
    def driver(self) -> Any:
        if self._driver is None:
            import logging

            import neo4j

            logging.getLogger("neo4j.notifications").setLevel(logging.ERROR)
            self._driver = neo4j.GraphDatabase.driver(
                self._address, auth=self._auth, connection_timeout=5, connection_acquisition_timeout=20,
                max_transaction_retry_time=20, max_connection_pool_size=16,
            )  # fmt: skip
        return self._driver

    def problem(self) -> str | None:
        """Why it does not answer; None when it does."""
        try:
            self.read("RETURN 1 AS one")
        except ClearwayError as error:
            return error.what
        return None

    def read(
        self,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        seconds: float = READ_SECONDS,
        rows: int | None = None,
    ) -> list[dict[str, Any]]:
        """The rows of a query, at most ``rows`` of them, ended by the server after ``seconds``.

        Raises:
            GraphFault: the server is away, the query is wrong, or it took too long.
        """
        import neo4j
        from neo4j.exceptions import DriverError, Neo4jError

        started = time.monotonic()
        try:
            with self.driver.session(database=self.database, default_access_mode=neo4j.READ_ACCESS) as session:
                result = session.run(neo4j.Query(query, timeout=seconds), dict(parameters or {}))
                found = result.fetch(rows) if rows is not None else list(result)
                return [record.data() for record in found]
        except (Neo4jError, DriverError, OSError) as error:
            late = time.monotonic() - started > 0.9 * seconds
            raise self._fault(error, seconds if late else None) from error

    def write(self, query: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a writing query in a transaction of its own, again when the server says that it lost it.

        Raises:
            GraphFault: see :meth:`read`; what earlier calls wrote stays.
        """
        from neo4j.exceptions import DriverError, Neo4jError

        def work(transaction: Any) -> None:
            transaction.run(query, dict(parameters or {})).consume()

        try:
            with self.driver.session(database=self.database) as session:
                session.execute_write(work)
        except (Neo4jError, DriverError, OSError) as error:
            raise self._fault(error, None) from error

    def define(self, query: str) -> None:
        """Run a definition (constraint, index), which no transaction may hold."""
        from neo4j.exceptions import DriverError, Neo4jError

        try:
            with self.driver.session(database=self.database) as session:
                session.run(query).consume()
        except (Neo4jError, DriverError, OSError) as error:
            raise self._fault(error, None) from error

    def _fault(self, error: Exception, seconds: float | None) -> GraphFault:
        text = str(getattr(error, "message", None) or error)
        if seconds is not None:
            return GraphFault(
                f"the query was ended after {seconds:g} s",
                untouched="the graph.",
                todo="ask for less: fewer hops, a start that is named, a LIMIT.",
            )
        return GraphFault(
            f"the graph at {self.url} failed: {text[:400]}",
            untouched="what is published.",
            todo="is its server up (make status)? What was begun can be begun again.",
        )


def batches(rows: Sequence[Any], size: int = BATCH) -> list[Sequence[Any]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
