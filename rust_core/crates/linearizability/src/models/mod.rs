//! The models there are, by name.
