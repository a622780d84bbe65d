//! Counter-based randomness (after Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//!
//! A draw is a pure function of (seed, stream, n). One stream for each link, node and client; so removing a
//! step from a plan never shifts another's draws. Integers only: the last bits of transcendental functions
//! differ between machines.

/// One stream of draws: a seed, a name for what it is used for, and who uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: u64,
}

impl Stream {
    /// The stream `label` of user `a` (and `b`, for a link; 0 otherwise) under `seed`.
    pub fn new(seed: u64, label: &str, a: u64, b: u64) -> Stream {
        let mut key = mix(seed ^ 0x9e37_79b9_7f4a_7c15);
        for byte in label.bytes() {
            key = mix(key ^ u64::from(byte));
        }
        Stream { key: mix(mix(key ^ a).wrapping_add(b)) }
    }

    /// The n-th draw: 64 uniform bits.
    pub fn bits(self, n: u64) -> u64 {
        mix(self.key.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// The n-th draw as a uniform integer in `low..=high`. Panics if `low > high`.
    pub fn between(self, n: u64, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty range: {low}..={high}");
        let width = u128::from(high - low) + 1;
        low + ((u128::from(self.bits(n)) * width) >> 64) as u64
    }

    /// The n-th draw as a coin that lands true with a probability of `ppm` parts in a million.
    pub fn chance_ppm(self, n: u64, ppm: u32) -> bool {
        self.between(n, 0, 999_999) < u64::from(ppm)
    }
}

/// SplitMix64's finalizer: a bijection of 64 bits whose every input bit moves every output bit.
fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_seed_label_user_and_counter_alone() {
        let stream = Stream::new(7, "latency", 1, 2);
        assert_eq!(stream.bits(5), Stream::new(7, "latency", 1, 2).bits(5));
        for other in [
            Stream::new(8, "latency", 1, 2),
            Stream::new(7, "loss", 1, 2),
            Stream::new(7, "latency", 2, 1),
            Stream::new(7, "latency", 1, 3),
        ] {
            assert_ne!(stream.bits(5), other.bits(5));
        }
        assert_ne!(stream.bits(5), stream.bits(6));
    }

    #[test]
    fn ranges_include_both_ends_and_are_even() {
        let stream = Stream::new(1, "die", 0, 0);
        let mut seen = [0u32; 6];
        for n in 0..60_000 {
            seen[stream.between(n, 1, 6) as usize - 1] += 1;
        }
        assert!(seen.iter().all(|count| (9_500..10_500).contains(count)), "{seen:?}");
        assert_eq!(stream.between(0, 4, 4), 4);
        stream.between(0, 0, u64::MAX);
    }
}
