//! Random histories of every model: every engine against a brute force over all orders ([`brute_force`]), and
//! properties that hold of any history ([`metamorphic`]); the whole check as a user calls it ([`portfolio`]).
//!
//! [`object`] and [`objects`] are sequential specifications that share no code with the models; [`history`] runs
//! them at random and corrupts what they replied; [`search`] is the brute force, and verifies witnesses.

mod brute_force;
mod draws;
mod engines;
mod history;
mod metamorphic;
mod object;
mod objects;
mod plain;
mod portfolio;
mod search;
