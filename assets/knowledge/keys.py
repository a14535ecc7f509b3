"""Names of the knowledge's assets and checks."""

import dagster as dg

GROUP = "knowledge"
POOL = "knowledge"
ELEMENTS, GRAPH, VECTORS = (dg.AssetKey([GROUP, name]) for name in ("elements", "graph", "vectors"))
INDEX, PUBLISHED = dg.AssetKey([GROUP, "index"]), dg.AssetKey([GROUP, "published"])
CONSISTENT, SHAPED, TAKEN = "ontology_holds", "shapes_hold", "documents_taken"
AGREE, READERS, RUN = "stores_agree", "readers_agree", "queries_run"
