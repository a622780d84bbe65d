//! Why an operation cannot be explained.
