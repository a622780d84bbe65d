//! Depth-first search with a good order: fast where a valid history leaves much open.
