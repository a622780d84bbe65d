//! (contract: see lib.rs)
