//! A smallest sub-history that is still not linearizable.
