//! A check that takes events as they come.
