//! Sets of small numbers, of a size fixed at compile time so that configurations are plain values.

/// A set over `0..64 * N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bits<const N: usize>([u64; N]);

impl<const N: usize> Bits<N> {
    pub const EMPTY: Bits<N> = Bits([0; N]);

    #[inline]
    pub fn has(&self, bit: u16) -> bool {
        self.0[usize::from(bit) / 64] >> (bit % 64) & 1 != 0
    }

    #[inline]
    pub fn set(&mut self, bit: u16) {
        self.0[usize::from(bit) / 64] |= 1 << (bit % 64);
    }

    #[inline]
    pub fn clear(&mut self, bit: u16) {
        self.0[usize::from(bit) / 64] &= !(1 << (bit % 64));
    }

    #[inline]
    pub fn and(mut self, other: &Bits<N>) -> Bits<N> {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= other);
        self
    }

    #[inline]
    pub fn or(mut self, other: &Bits<N>) -> Bits<N> {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
        self
    }

    #[inline]
    pub fn without(mut self, other: &Bits<N>) -> Bits<N> {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= !other);
        self
    }

    #[inline]
    pub fn contains(&self, other: &Bits<N>) -> bool {
        self.0.iter().zip(other.0).all(|(word, other)| other & !word == 0)
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Folded to one word, for hashing.
    #[inline]
    pub fn fold(&self, mut seed: u64) -> u64 {
        for word in self.0 {
            seed = (seed.rotate_left(23) ^ word).wrapping_mul(0xf135_7aea_2e62_a9c5);
        }
        seed
    }
}
