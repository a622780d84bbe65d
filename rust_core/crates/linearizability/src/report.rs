//! What a check answers.
