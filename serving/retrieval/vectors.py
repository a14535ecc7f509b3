"""Passages in Milvus: dense vectors and BM25 side by side, filtered by access. milvus-lite here, a Milvus server there.

BM25 of Milvus counts over all passages of a collection; where what a caller may not see must not even move a score, the
ranking in :mod:`serving.retrieval.ranking` counts anew. These searches bring candidates.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.errors import ClearwayError
from serving.retrieval.embedding import DIMENSION

# milvus-lite takes any other name without a word and then searches as it likes.
INDEXES = {"HNSW": {"M": 16, "efConstruction": 200}, "IVF_FLAT": {"nlist": 128}, "FLAT": {}, "AUTOINDEX": {}}
IndexType = Literal["HNSW", "IVF_FLAT", "FLAT", "AUTOINDEX"]
BATCH = 500
LEAST_EF = 400  # of HNSW: 64 misses one in seventy of the nearest
TEXT_BYTES = 16_000
SECONDS, SETTLE_SECONDS = 20.0, 300.0
ALIAS = "passages"
# Milvus' code of a collection that is not loaded, as all are to a milvus-lite that was started again.
NOT_LOADED = 101


class VectorsFault(ClearwayError):
    """The vectors' server is away, or refuses what it was asked."""


@dataclass(frozen=True, slots=True)
class Row:
    """A passage as it is stored. ``digest`` covers text, access and the model of the vector."""

    uid: str
    document: str
    text: str
    access: str
    digest: str
    vector: NDArray[np.float32]


def quoted(text: str) -> str:
    """A string as a literal of a Milvus expression: nothing in it ends the literal.

    Raises:
        ClearwayError: it has a control character, which no uid or label has.
    """
    if any(ord(c) < 32 for c in text):
        raise ClearwayError(f"{text!r:.80} has control characters", untouched="all passages.")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Vectors:
    """A client of one collection; it connects when first asked."""

    def __init__(self, url: str, collection: str, token: str = "") -> None:
        self.url, self.collection, self._token = url, collection, token
        self._client: Any = None

    @property
    def client(self) -> Any:
        if self._client is None:
            import logging

            from pymilvus import MilvusClient

            logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
            self._client = self._guarded(lambda: MilvusClient(uri=self.url, token=self._token, timeout=SECONDS))
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _guarded(self, work: Any) -> Any:
        import grpc
        from pymilvus.exceptions import MilvusException

        try:
            return work()
        except (MilvusException, grpc.RpcError, OSError, ValueError) as error:
            raise VectorsFault(
                f"the vectors at {self.url} failed: {str(error)[:300]}",
                untouched="what is published.",
                todo="is their server up (make status)? What was begun can be begun again.",
            ) from error

    def _reading(self, work: Any) -> Any:
        """``work``, which reads the collection, loading it first where the server does not have it loaded."""
        from pymilvus.exceptions import MilvusException

        def loaded() -> Any:
            try:
                return work()
            except MilvusException as error:
                if error.code != NOT_LOADED:
                    raise
                self.client.load_collection(self.collection)
                return work()

        return self._guarded(loaded)

    def problem(self) -> str | None:
        """Why the server does not answer; None when it does."""
        try:
            self._guarded(lambda: self.client.list_collections())
        except ClearwayError as error:
            self._client = None
            return error.what
        return None

    def make(self, index: IndexType = "HNSW") -> None:
        """Create the collection where it is not, and load it.

        Raises:
            ClearwayError: the index is not of :data:`INDEXES`.
        """
        if index not in INDEXES:
            raise ClearwayError(f"index {index!r} is not known; expected {', '.join(INDEXES)}", untouched="all.")
        self._guarded(lambda: self._make(index))

    def _make(self, index: IndexType) -> None:
        from pymilvus import DataType, Function, FunctionType, MilvusClient

        if not self.client.has_collection(self.collection):
            schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("uid", DataType.VARCHAR, max_length=512, is_primary=True)
            schema.add_field("document", DataType.VARCHAR, max_length=512)
            schema.add_field("text", DataType.VARCHAR, max_length=65_535, enable_analyzer=True)
            schema.add_field("access", DataType.VARCHAR, max_length=1024, is_partition_key=True)
            schema.add_field("digest", DataType.VARCHAR, max_length=64)
            schema.add_field("dense", DataType.FLOAT_VECTOR, dim=DIMENSION)
            schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
            schema.add_function(
                Function(
                    name="bm25",
                    input_field_names=["text"],
                    output_field_names=["sparse"],
                    function_type=FunctionType.BM25,
                )
            )
            indexes = self.client.prepare_index_params()
            indexes.add_index("dense", index_type=index, metric_type="COSINE", params=INDEXES[index])
            indexes.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
            self.client.create_collection(self.collection, schema=schema, index_params=indexes)
        self.client.load_collection(self.collection)

    def held(self) -> dict[str, str]:
        """Digests of all passages by uid."""

        def work() -> dict[str, str]:
            found: dict[str, str] = {}
            iterator = self.client.query_iterator(
                self.collection, filter='uid != ""', output_fields=["uid", "digest"], batch_size=2000
            )
            while rows := iterator.next():
                found.update({row["uid"]: row["digest"] for row in rows})
            iterator.close()
            return found

        return dict(self._reading(work))

    def remove(self, uids: Collection[str]) -> None:
        for some in _batches(sorted(uids)):
            self._guarded(lambda some=some: self.client.delete(self.collection, ids=list(some)))

    def put(self, rows: Sequence[Row]) -> None:
        """Write passages. One that is there is removed first: an upsert into another partition leaves the old one."""
        for some in _batches(rows):
            uids = [row.uid for row in some]
            data = [
                {
                    "uid": row.uid, "document": row.document, "text": clipped(row.text), "access": row.access,
                    "digest": row.digest, "dense": row.vector,
                }
                for row in some
            ]  # fmt: skip
            self._guarded(lambda uids=uids: self.client.delete(self.collection, ids=uids))
            self._guarded(lambda data=data: self.client.insert(self.collection, data))

    def settle(self) -> None:
        """Let what was written be indexed: until then every search reads all of it, in a server's log.

        Of 5,500 passages in milvus-lite a search took 250 ms before and 15 ms after.
        """
        self._guarded(lambda: self.client.flush(self.collection, timeout=SETTLE_SECONDS))

    def drop(self) -> None:
        self._guarded(lambda: self.client.drop_collection(self.collection))

    def dense(
        self, vector: NDArray[np.float32], accesses: Collection[str], limit: int, *, exact: bool = False
    ) -> dict[str, float]:
        """Cosine similarities of the nearest passages that have one of ``accesses``, by uid."""
        if not accesses:
            return {}
        params = {"params": {"ef": max(LEAST_EF, 2 * limit), "nprobe": 32}}
        if exact:
            params = {"params": {"ef": 32_768, "nprobe": 128}}
        found = self._search([vector.tolist()], "dense", accesses, limit, params)
        return {hit["uid"]: float(hit["distance"]) for hit in found}

    def lexical(self, text: str, accesses: Collection[str], limit: int) -> dict[str, float]:
        """BM25 scores of the best passages that have one of ``accesses``, by uid."""
        if not accesses or not text.strip():
            return {}
        found = self._search([clipped(text)], "sparse", accesses, limit, {})
        return {hit["uid"]: abs(float(hit["distance"])) for hit in found}  # milvus-lite gives them below zero

    def _search(
        self, data: list[Any], field: str, accesses: Collection[str], limit: int, params: dict[str, Any]
    ) -> list[Any]:
        allowed = f"access in [{', '.join(quoted(access) for access in sorted(accesses))}]"

        def work() -> Any:
            return self.client.search(
                self.collection, data=data, anns_field=field, filter=allowed, limit=limit, output_fields=["uid"],
                search_params=params, timeout=SECONDS,
            )[0]  # fmt: skip

        return [{"uid": hit["entity"]["uid"], "distance": hit["distance"]} for hit in self._reading(work)]

    def point(self, alias: str = ALIAS) -> None:
        """Let the alias name this collection, for whoever reads without :mod:`serving.retrieval.published`."""

        def work() -> None:
            if alias in self.client.list_aliases().get("aliases", []):
                self.client.alter_alias(self.collection, alias)
                return
            try:
                self.client.create_alias(self.collection, alias)
            except Exception:
                self.client.alter_alias(self.collection, alias)

        self._guarded(work)


def clipped(text: str) -> str:
    """As much of a text as a field holds."""
    return text.encode()[:TEXT_BYTES].decode(errors="ignore")


def _batches(rows: Sequence[Any]) -> list[Sequence[Any]]:
    return [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
