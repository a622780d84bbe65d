//! The log's promises, tested through its public interface on the simulated disk.
//!
//! `model` says what a log must hold, `script` runs one against the other; `crash` loses power everywhere,
//! `corruption` damages what was durable, `torn` builds by hand the two images that a wrong reader would fall for,
//! `random` draws scripts, `failing` fills the disk and lets it fail, `lifecycle` walks through founding, refusal and
//! misuse.

mod corruption;
mod crash;
mod failing;
mod lifecycle;
mod lying;
mod model;
mod random;
mod script;
mod torn;
