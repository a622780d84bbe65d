//! Registers with reads, writes and compare-and-set, by algorithms made for them: what users' histories mostly are.

pub mod prepare;

mod antichain;
mod bits;
mod depth_first;
mod families;
mod frontier;
mod zones;

#[cfg(test)]
mod histories;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod tight;

pub use depth_first::DepthFirst;
pub use frontier::Frontier;
pub use zones::ZoneSearch;
