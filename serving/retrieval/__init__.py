"""What things are and how they relate: clients of the graph and the vectors, labels of access, hybrid retrieval."""
