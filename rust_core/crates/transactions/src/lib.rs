//! Transactions over lists: serializability and strict serializability, by cycles in the dependency graph.
