"""The ontology: its terms, its reasoning, shapes of things, and RDF in and out."""
