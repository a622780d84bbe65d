//! When clients are busy: bursts, in which all go faster, and quiet windows, in which nobody begins anything.
//!
//! A client's think time is counted on a clock that runs faster in bursts and stands still in quiet windows. So which
//! operations there are, and what they do, is the same with them and without.

use serde::Deserialize;

/// Windows of time that come again: the first begins after `every_ns`, from the plan's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Windows {
    /// From the beginning of one to the beginning of the next.
    pub every_ns: u64,
    /// How long each is: less than from one to the next.
    pub for_ns: u64,
}

impl Windows {
    /// Whether it is in a window, and when that changes.
    fn at(&self, time_ns: u64) -> (bool, u64) {
        let (number, into_ns) = (time_ns / self.every_ns, time_ns % self.every_ns);
        let begin_ns = number * self.every_ns;
        if number > 0 && into_ns < self.for_ns {
            (true, begin_ns + self.for_ns)
        } else {
            (false, begin_ns + self.every_ns)
        }
    }
}

/// Windows in which every client goes so many times as fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bursts {
    /// From the beginning of one to the beginning of the next.
    pub every_ns: u64,
    /// How long each is: less than from one to the next.
    pub for_ns: u64,
    /// How many times the rate.
    pub factor: u64,
}

/// When clients are busy. Times are counted from the plan's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub(super) bursts: Option<Bursts>,
    pub(super) quiet: Option<Windows>,
}

impl Pace {
    /// When an operation is due that follows one begun at `begun_ns` after so long a think time.
    pub fn due_ns(&self, begun_ns: u64, think_ns: u64) -> u64 {
        let (mut now_ns, mut left_ns) = (begun_ns, think_ns);
        loop {
            let (rate, until_ns) = self.at(now_ns);
            match until_ns {
                None => return now_ns + left_ns,
                Some(until_ns) if left_ns > (until_ns - now_ns) * rate || rate == 0 => {
                    left_ns -= (until_ns - now_ns) * rate;
                    now_ns = until_ns;
                }
                Some(_) => return self.waited_ns(now_ns + left_ns.div_ceil(rate)),
            }
        }
    }

    /// When an operation may begin that could begin at `time_ns`: then, or once it is quiet no more.
    pub fn waited_ns(&self, time_ns: u64) -> u64 {
        match self.quiet.map(|quiet| quiet.at(time_ns)) {
            Some((true, until_ns)) => until_ns,
            _ => time_ns,
        }
    }

    /// How many times as fast as usual clients go, and until when; for ever if no time is given.
    fn at(&self, time_ns: u64) -> (u64, Option<u64>) {
        let mut rate = 1;
        let mut until_ns = None;
        if let Some(Bursts { every_ns, for_ns, factor }) = self.bursts {
            let (within, changes_ns) = Windows { every_ns, for_ns }.at(time_ns);
            rate = if within { factor } else { rate };
            until_ns = Some(changes_ns);
        }
        if let Some((within, changes_ns)) = self.quiet.map(|quiet| quiet.at(time_ns)) {
            rate = if within { 0 } else { rate };
            until_ns = Some(until_ns.map_or(changes_ns, |until_ns: u64| until_ns.min(changes_ns)));
        }
        (rate, until_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Pace = Pace { bursts: None, quiet: None };
    const BURSTS: Pace = Pace { bursts: Some(Bursts { every_ns: 1_000, for_ns: 100, factor: 10 }), ..PLAIN };
    const QUIET: Pace = Pace { quiet: Some(Windows { every_ns: 1_000, for_ns: 200 }), ..PLAIN };

    #[test]
    fn without_windows_a_think_time_is_what_it_is() {
        assert_eq!((PLAIN.due_ns(70, 30), PLAIN.waited_ns(1_050)), (100, 1_050));
    }

    #[test]
    fn in_a_burst_think_times_pass_faster() {
        // The first window begins after one period.
        assert_eq!(BURSTS.due_ns(0, 90), 90);
        assert_eq!(BURSTS.due_ns(990, 510), 1_050);
        assert_eq!(BURSTS.due_ns(990, 1_110), 1_200);
        assert_eq!(BURSTS.due_ns(1_000, 1_000), 1_100);
    }

    #[test]
    fn nothing_begins_in_a_quiet_window() {
        assert_eq!(QUIET.due_ns(990, 5), 995);
        assert_eq!(QUIET.due_ns(990, 11), 1_201);
        assert_eq!(QUIET.due_ns(990, 10), 1_200, "what is due as it begins waits for its end");
        assert_eq!(
            [999, 1_000, 1_199, 1_200].map(|time_ns| QUIET.waited_ns(time_ns)),
            [999, 1_200, 1_200, 1_200]
        );
    }

    #[test]
    fn where_both_are_it_is_quiet() {
        let both = Pace { bursts: BURSTS.bursts, ..QUIET };
        assert_eq!(both.due_ns(990, 30), 1_220);
    }

    #[test]
    fn two_think_times_are_as_long_as_their_sum() {
        let both = Pace { quiet: Some(Windows { every_ns: 700, for_ns: 90 }), ..BURSTS };
        for first in [0, 35, 480, 1_900] {
            for second in [0, 77, 1_234] {
                let apart = both.due_ns(both.due_ns(13, first), second);
                assert!(apart.abs_diff(both.due_ns(13, first + second)) <= 1, "{first} and {second}");
            }
        }
    }
}
