"""The ways of retrieval, by the names that requests and answers use."""

from __future__ import annotations

# Rankings of passages, which are fused.
RANKINGS = ("pagerank", "names", "lexical", "dense")
# local: relations of the things named; global: reports of communities; query: a declared graph query that fits.
METHODS = (*RANKINGS, "local", "global", "query")
