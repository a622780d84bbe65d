//! Sets of small numbers, of a size fixed at compile time so that configurations are plain values.

/// A set over `0..64 * N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bits<const N: usize>([u64; N]);

impl<const N: usize> Bits<N> {
    pub(super) const EMPTY: Bits<N> = Bits([0; N]);

    #[inline]
    pub(super) fn has(&self, bit: usize) -> bool {
        self.0[bit / 64] >> (bit % 64) & 1 != 0
    }

    #[inline]
    pub(super) fn set(&mut self, bit: usize) {
        self.0[bit / 64] |= 1 << (bit % 64);
    }

    #[inline]
    pub(super) fn clear(&mut self, bit: usize) {
        self.0[bit / 64] &= !(1 << (bit % 64));
    }

    #[inline]
    pub(super) fn and(mut self, other: &Bits<N>) -> Bits<N> {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= other);
        self
    }

    #[inline]
    pub(super) fn or(mut self, other: &Bits<N>) -> Bits<N> {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
        self
    }

    #[inline]
    pub(super) fn contains(&self, other: &Bits<N>) -> bool {
        self.0.iter().zip(other.0).all(|(word, other)| other & !word == 0)
    }

    #[inline]
    pub(super) fn words(&self) -> &[u64; N] {
        &self.0
    }
}
