//! Maps whose hasher has no random seed: the same evidence must give the same answer in the same time.

use std::hash::{BuildHasherDefault, Hasher};

/// A set under [`Mix`].
#[expect(clippy::disallowed_types, reason = "disallowed for its random state, which this one has not")]
pub type Set<T> = std::collections::HashSet<T, BuildHasherDefault<Mix>>;

/// A map under [`Mix`].
#[expect(clippy::disallowed_types, reason = "as above")]
pub type Map<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Mix>>;

/// Folds words by multiplication and rotation (as rustc's FxHasher does), and mixes once at the end.
#[derive(Clone, Copy, Default)]
pub struct Mix(u64);

const ODD: u64 = 0xf135_7aea_2e62_a9c5;

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        let x = self.0.wrapping_mul(ODD);
        x ^ (x >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(ODD);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}
