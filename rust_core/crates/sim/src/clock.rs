//! A machine's own clocks, beside the world's true time.
//!
//! As on Linux (clock_gettime(2)) there are two. `CLOCK_MONOTONIC` never goes back, and what sets the time of day
//! does not touch it: timers run by it, so a node's ticks and every lease do. `CLOCK_REALTIME` is the time of day:
//! it can be set to anything at any moment, and a leader writes it into its entries. Both follow one oscillator, so
//! one that is too fast or too slow (or NTP that slews) makes both drift. Neither stands still while a process is
//! stopped by SIGSTOP.
//!
//! So an offset and a jump move the time of day alone, a drift changes the rate of both. What a drift has gained or
//! lost by its end stays: the monotonic clock cannot go back, and nobody sets the other one right.

/// A whole, in parts of a million.
const WHOLE_PPM: i64 = 1_000_000;
/// However many drifts add up, a clock goes at least at this rate, in parts of a million of the true one.
const LEAST_RATE_PPM: i64 = 100_000;

/// The clocks of one machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// The drifts in force, in parts of a million: (step, how much too fast).
    drifts: Vec<(u64, i64)>,
    /// The offsets in force: (step, how much ahead).
    offsets: Vec<(u64, i64)>,
    /// What all jumps moved the time of day by, together.
    jumped_ns: i64,
    /// When the rate last changed, in true time …
    since_ns: u64,
    /// … and by how much the monotonic clock was ahead of true time then.
    gained_ns: i64,
}

impl Clock {
    /// `CLOCK_MONOTONIC`, in nanoseconds since the world began.
    pub fn monotonic_ns(&self, now_ns: u64) -> u64 {
        if self.drifts.is_empty() && self.gained_ns == 0 {
            return now_ns;
        }
        now_ns.saturating_add_signed(self.gained_at(now_ns))
    }

    /// `CLOCK_REALTIME`, since the world began; a clock shows no time before that. To begin at a date would change every
    /// entry's bytes, and show no more: the log's clock has passed the beginning, and takes no time before its own.
    pub fn wall_ns(&self, now_ns: u64) -> u64 {
        let set_ns: i64 = self.offsets.iter().map(|(_, ahead_ns)| ahead_ns).sum::<i64>() + self.jumped_ns;
        self.monotonic_ns(now_ns).saturating_add_signed(set_ns)
    }

    /// Both, in milliseconds, as a process reads them at every input.
    pub fn shown_ms(&self, now_ns: u64) -> (u64, u64) {
        let monotonic_ms = self.monotonic_ns(now_ns) / 1_000_000;
        let is_set = !self.offsets.is_empty() || self.jumped_ns != 0;
        (if is_set { self.wall_ns(now_ns) / 1_000_000 } else { monotonic_ms }, monotonic_ms)
    }

    /// How long it truly takes until the monotonic clock has gone on by `own_ns`.
    pub fn true_ns(&self, own_ns: u64) -> u64 {
        if self.drifts.is_empty() {
            return own_ns;
        }
        (u128::from(own_ns) * WHOLE_PPM as u128 / self.rate_ppm() as u128) as u64
    }

    /// A step makes the clocks too fast by this many parts of a million; too slow if it is negative.
    pub fn begin_drift(&mut self, step: u64, ppm: i64, now_ns: u64) {
        self.settle(now_ns);
        self.drifts.push((step, ppm));
    }

    /// A step sets the time of day ahead by so much, or back, for as long as it stands.
    pub fn begin_offset(&mut self, step: u64, ahead_ns: i64) {
        self.offsets.push((step, ahead_ns));
    }

    /// The time of day jumps, and stays there.
    pub fn jump(&mut self, ahead_ns: i64) {
        self.jumped_ns = self.jumped_ns.saturating_add(ahead_ns);
    }

    /// The step ends.
    pub fn end(&mut self, step: u64, now_ns: u64) {
        self.settle(now_ns);
        self.drifts.retain(|(of, _)| *of != step);
        self.offsets.retain(|(of, _)| *of != step);
    }

    /// By how much the time of day is ahead of the true one; negative if it is behind.
    pub fn ahead_ns(&self, now_ns: u64) -> i64 {
        self.wall_ns(now_ns) as i64 - now_ns as i64
    }

    fn rate_ppm(&self) -> i64 {
        let drift_ppm: i64 = self.drifts.iter().map(|(_, ppm)| ppm).sum();
        (WHOLE_PPM + drift_ppm).max(LEAST_RATE_PPM)
    }

    fn gained_at(&self, now_ns: u64) -> i64 {
        let passed_ns = i128::from(now_ns - self.since_ns);
        let gained = passed_ns * i128::from(self.rate_ppm() - WHOLE_PPM) / i128::from(WHOLE_PPM);
        self.gained_ns + gained as i64
    }

    fn settle(&mut self, now_ns: u64) {
        (self.gained_ns, self.since_ns) = (self.gained_at(now_ns), now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_clock_that_nobody_touches_shows_the_true_time() {
        let clock = Clock::default();
        assert_eq!((clock.monotonic_ns(7 * S), clock.wall_ns(7 * S), clock.true_ns(20)), (7 * S, 7 * S, 20));
        assert_eq!(clock.shown_ms(7 * S + 999_999), (7_000, 7_000));
    }

    #[test]
    fn a_drift_changes_the_rate_of_both_clocks_and_what_it_gained_stays() {
        let mut clock = Clock::default();
        clock.begin_drift(1, 100_000, 10 * S);
        assert_eq!(clock.monotonic_ns(20 * S), 21 * S);
        assert_eq!(clock.true_ns(11 * S), 10 * S);
        clock.begin_drift(2, -300_000, 20 * S);
        assert_eq!(clock.wall_ns(30 * S), 29 * S, "together they are slow by a fifth");
        clock.end(1, 30 * S);
        clock.end(2, 30 * S);
        assert_eq!((clock.monotonic_ns(40 * S), clock.wall_ns(40 * S)), (39 * S, 39 * S));
        assert_eq!(clock.ahead_ns(40 * S), -(S as i64));
    }

    #[test]
    fn offsets_and_jumps_move_the_time_of_day_alone() {
        let mut clock = Clock::default();
        clock.begin_offset(1, 5 * S as i64);
        clock.jump(-2 * S as i64);
        assert_eq!((clock.monotonic_ns(10 * S), clock.wall_ns(10 * S)), (10 * S, 13 * S));
        assert_eq!(clock.shown_ms(10 * S), (13_000, 10_000));
        clock.end(1, 11 * S);
        assert_eq!(clock.wall_ns(12 * S), 10 * S, "the jump stays");
        clock.begin_offset(2, -30 * S as i64);
        clock.jump(25 * S as i64);
        assert_eq!(clock.wall_ns(12 * S), 5 * S, "they add up before anything is cut off");
        clock.end(2, 12 * S);
        clock.jump(-125 * S as i64);
        assert_eq!(clock.wall_ns(12 * S), 0, "no clock shows a time before its first");
    }

    #[test]
    fn no_sum_of_drifts_stops_a_clock_or_turns_it_back() {
        let mut clock = Clock::default();
        for step in 0..4 {
            clock.begin_drift(step, -500_000, S);
        }
        assert_eq!(clock.monotonic_ns(11 * S), 2 * S);
        assert_eq!(clock.true_ns(S), 10 * S);
    }
}
