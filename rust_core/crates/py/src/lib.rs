//! `chaos._core`.
