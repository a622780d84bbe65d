//! Registers with reads, writes and compare-and-set, by algorithms made for them: what users' histories mostly are.

pub mod prepare;

mod depth_first;
mod frontier;
mod zones;
