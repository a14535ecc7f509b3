"""The ontology, the graph, documents, vectors and communities: what retrieval stands on."""
