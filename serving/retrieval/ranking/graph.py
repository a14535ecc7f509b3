"""Personalised PageRank (Haveliwala 2002) over entities and passages, as HippoRAG (Gutierrez et al. 2024) uses it.

Nodes are numbered entities first, then passages. https://arxiv.org/abs/2405.14831
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
TOLERANCE, MOST_STEPS = 1e-7, 60


@dataclass(frozen=True)
class Graph:
    """``adjacency``: CSR, symmetric, weights, (nodes, nodes); ``flow``: what share of a column's mass a row gets."""

    adjacency: Any
    flow: Any

    def neighbours(self, node: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Nodes beside a node, in their order, and the weights of the edges."""
        start, end = self.adjacency.indptr[node : node + 2]
        return self.adjacency.indices[start:end], self.adjacency.data[start:end]

    def pagerank(self, seeds: Vector, restart: float, rewritten: Mapping[int, Vector] | None = None) -> Vector:
        """Where a walk that begins again at ``seeds`` is found, shape (nodes,), sum 1; zeros without seeds.

        Args:
            seeds: weights of at least 0, shape (nodes,).
            restart: probability of beginning again at each step.
            rewritten: for some nodes, other weights of their edges in the order of ``neighbours``: where the walk goes
                on from them.
        """
        if not seeds.sum() > 0:
            return np.zeros(len(seeds))
        seeds = seeds / seeds.sum()
        nodes, change = self._change(rewritten or {})
        rank = seeds
        for _ in range(MOST_STEPS):
            moved = self.flow @ rank
            if len(nodes):
                moved += change @ rank[nodes]
            # What stands on nodes without edges begins again too.
            after = (1 - restart) * moved
            after += (1 - after.sum()) * seeds
            done = np.abs(after - rank).sum() < TOLERANCE
            rank = after
            if done:
                break
        return rank

    def _change(self, rewritten: Mapping[int, Vector]) -> tuple[NDArray[np.int64], Any]:
        """The columns of ``flow`` that differ, and by how much."""
        from scipy.sparse import csr_matrix

        nodes = np.array(sorted(rewritten), np.int64)
        rows, columns, values = [], [], []
        for column, node in enumerate(nodes):
            beside, weights = self.neighbours(int(node))
            new = rewritten[int(node)]
            if new.sum() > 0:
                rows.append(beside)
                columns.append(np.full(len(beside), column))
                values.append(new / new.sum() - weights / weights.sum())
        if not rows:
            return np.zeros(0, np.int64), None
        shape = (self.adjacency.shape[0], len(nodes))
        parts = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        return nodes, csr_matrix(parts, shape=shape)


def build(edges: Mapping[tuple[int, int], float], nodes: int) -> Graph:
    """The graph of undirected edges, each given once in either direction."""
    from scipy.sparse import csr_matrix

    ends = np.array(sorted(edges), np.int32).reshape(-1, 2)
    weights = np.array([edges[int(a), int(b)] for a, b in ends], float)
    rows, columns = np.concatenate([ends[:, 0], ends[:, 1]]), np.concatenate([ends[:, 1], ends[:, 0]])
    return of(csr_matrix((np.concatenate([weights, weights]), (rows, columns)), shape=(nodes, nodes)))


def of(adjacency: Any) -> Graph:
    """The graph of an adjacency matrix."""
    from scipy.sparse import diags

    adjacency.sort_indices()
    degrees = np.asarray(adjacency.sum(axis=0)).ravel()
    shares = np.divide(1.0, degrees, out=np.zeros_like(degrees), where=degrees > 0)
    return Graph(adjacency, (adjacency @ diags(shares)).tocsr())


def shortest_path(graph: Graph, sources: list[int], target: int) -> list[int]:
    """Nodes from the nearest source to the target by breadth first, both included; empty when there is none.

    Among paths of one length the one through the first nodes in their order is taken.
    """
    came: dict[int, int] = {}
    level = list(dict.fromkeys(sources))
    came.update(dict.fromkeys(level, -1))
    while level and target not in came:
        beside: list[int] = []
        for node in level:
            for other in map(int, graph.neighbours(node)[0]):
                if other not in came:
                    came[other] = node
                    beside.append(other)
        level = beside
    if target not in came:
        return []
    path = [target]
    while came[path[-1]] >= 0:
        path.append(came[path[-1]])
    return path[::-1]
