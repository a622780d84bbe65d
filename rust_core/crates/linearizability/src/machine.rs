//! A model as engines see it: states and actions by number.
