//! When leases may end without anybody's word, so that a history can say so.
//!
//! A lease ends by the log's clock, which no client sees. What clients know is the earliest moment at which it may
//! have ended: it was granted no sooner than it was asked for. At that moment the history has an `expire` of unknown
//! outcome, as the model of a lock wants it: it may take effect then, or at any later time, or never.
//!
//! The log's clock is the greatest time of day that any leader wrote. While all clocks show the same, a lease lasts as
//! long as it was granted for. Let clocks be ahead of true time by no more than `a`, or behind by no more than `b`:
//! then a lease may be dated by a clock that is behind, and ended by one that is ahead, `a + b` too soon, and no
//! sooner. So a lease is shortened by what clocks have come apart, from the moment at which they do, and by no more.

use mcp_chaos_evidence::{Function, HistoryEvent, Kind};
use serde_json::Value;

/// The process number of the first `expire`: above those of home readers (500 to 598). Each has one of its own.
pub const FIRST_EXPIRY_PROCESS: u64 = 599;
/// A lease's time is counted in milliseconds, and so may begin a part of one early.
const GRAIN_NS: u64 = 1_000_000;
/// A whole, in parts of a million.
const WHOLE_PPM: u64 = 1_000_000;

/// An `acquire` whose lease may not have ended yet.
#[derive(Clone, Debug)]
struct Grant {
    process: u64,
    key: String,
    holder: Value,
    /// It may end from then on.
    ends_ns: u64,
    /// The client was told that it holds it.
    told: bool,
}

/// What a client has asked for and not been answered.
#[derive(Clone, Debug)]
struct Asked {
    process: u64,
    holder: Value,
    since_ns: u64,
    /// How far clocks were apart at most since then.
    apart_ns: u64,
}

/// The leases of a run.
#[derive(Clone, Debug)]
pub struct Expirations {
    /// How long a lease lasts at least while all clocks show the same.
    lasts_ns: u64,
    /// How far clocks are apart at most: what sets some ahead and what sets some back, together …
    apart_ns: u64,
    /// … at this time …
    at_ns: u64,
    /// … and how fast they part, in parts of a million.
    parting_ppm: u64,
    grants: Vec<Grant>,
    asked: Vec<Asked>,
    told: u64,
}

impl Expirations {
    /// Of leases that last so long, by clocks that show the same until something is said of them.
    pub fn new(lease_ns: u64) -> Expirations {
        Expirations {
            lasts_ns: lease_ns.saturating_sub(GRAIN_NS),
            apart_ns: 0,
            at_ns: 0,
            parting_ppm: 0,
            grants: Vec::new(),
            asked: Vec::new(),
            told: 0,
        }
    }

    /// Some clocks are set ahead or back by so much; gives times at which to ask for what has ended.
    pub fn clocks_part(&mut self, by_ns: u64, now_ns: u64) -> Vec<u64> {
        self.settle(now_ns);
        self.apart_ns = self.apart_ns.saturating_add(by_ns);
        self.asked.iter_mut().for_each(|asked| asked.apart_ns = asked.apart_ns.max(self.apart_ns));
        self.shorten(now_ns, |left_ns| left_ns.saturating_sub(by_ns))
    }

    /// What had set them apart by so much is taken away.
    pub fn clocks_meet(&mut self, by_ns: u64, now_ns: u64) {
        self.settle(now_ns);
        self.apart_ns = self.apart_ns.saturating_sub(by_ns);
    }

    /// Some clocks begin to go too fast or too slow, by so many parts of a million; gives times at which to ask for what
    /// has ended.
    pub fn clocks_drift(&mut self, ppm: u64, now_ns: u64) -> Vec<u64> {
        self.settle(now_ns);
        let before_ppm = WHOLE_PPM + self.parting_ppm;
        self.parting_ppm += ppm;
        let now_ppm = WHOLE_PPM + self.parting_ppm;
        self.shorten(now_ns, |left_ns| scaled(left_ns, before_ppm, now_ppm))
    }

    /// They go as they should again, and stay as far apart as they have come.
    pub fn clocks_go_alike(&mut self, ppm: u64, now_ns: u64) {
        self.settle(now_ns);
        self.parting_ppm = self.parting_ppm.saturating_sub(ppm);
    }

    fn settle(&mut self, now_ns: u64) {
        let parted_ns = scaled(now_ns.saturating_sub(self.at_ns), self.parting_ppm, WHOLE_PPM);
        (self.apart_ns, self.at_ns) = (self.apart_ns.saturating_add(parted_ns), now_ns.max(self.at_ns));
        self.asked.iter_mut().for_each(|asked| asked.apart_ns = asked.apart_ns.max(self.apart_ns));
    }

    fn shorten(&mut self, now_ns: u64, left: impl Fn(u64) -> u64) -> Vec<u64> {
        let ends = self.grants.iter_mut().map(|grant| {
            grant.ends_ns = now_ns + left(grant.ends_ns.saturating_sub(now_ns));
            grant.ends_ns
        });
        ends.collect()
    }

    /// When a lease may end that was asked for then, while clocks were no further apart than that.
    fn ends_ns(&self, since_ns: u64, apart_ns: u64) -> u64 {
        let lasts_ns = self.lasts_ns.saturating_sub(apart_ns);
        since_ns + scaled(lasts_ns, WHOLE_PPM, WHOLE_PPM + self.parting_ppm)
    }

    /// Takes the history's next event; gives a time at which to ask for what has ended.
    pub fn see(&mut self, event: &HistoryEvent) -> Option<u64> {
        let Function::Other(f) = &event.f else { return None };
        if self.parting_ppm > 0 {
            self.settle(event.time_ns);
        }
        if event.kind == Kind::Invoke {
            return self.asked_for(f, event);
        }
        let at = self.asked.iter().position(|asked| asked.process == event.process)?;
        let Asked { holder, since_ns, apart_ns, .. } = self.asked.swap_remove(at);
        let of_same = |grant: &Grant| grant.key == event.key && grant.holder == holder;
        match (f.as_str(), event.kind) {
            ("acquire", Kind::Ok) => {
                let grant = self.grants.iter_mut().rev().find(|grant| grant.process == event.process);
                if let Some(grant) = grant {
                    grant.told = true;
                }
            }
            ("acquire", Kind::Fail) => {
                self.grants.retain(|grant| grant.process != event.process || grant.told)
            }
            // What had not ended by the time it was answered lasts as long again from when that was asked for. The
            // grant may be an older one, of unknown outcome: if it took effect at all, that was before, and it is
            // this; or it will be later, and ends later still.
            ("renew", Kind::Ok) => {
                let ends_ns = self.ends_ns(since_ns, apart_ns);
                let alive = |grant: &&mut Grant| of_same(grant) && grant.ends_ns > event.time_ns;
                self.grants
                    .iter_mut()
                    .filter(alive)
                    .for_each(|grant| grant.ends_ns = grant.ends_ns.max(ends_ns));
                // A renewal that was under way for longer than a lease lasts moves nothing.
                return (ends_ns > event.time_ns).then_some(ends_ns);
            }
            // One that its client knew to hold, and gave back in time, ended by that.
            ("release", Kind::Ok) => {
                self.grants.retain(|grant| !(of_same(grant) && grant.told && grant.ends_ns > event.time_ns));
            }
            _ => {}
        }
        None
    }

    fn asked_for(&mut self, f: &str, event: &HistoryEvent) -> Option<u64> {
        if !matches!(f, "acquire" | "renew" | "release") {
            return None;
        }
        let (process, holder, since_ns) = (event.process, event.value.clone(), event.time_ns);
        let apart_ns = self.apart_ns;
        self.asked.push(Asked { process, holder: holder.clone(), since_ns, apart_ns });
        (f == "acquire").then(|| {
            let ends_ns = self.ends_ns(since_ns, apart_ns);
            self.grants.push(Grant { process, key: event.key.clone(), holder, ends_ns, told: false });
            ends_ns
        })
    }

    /// The events to record for what may have ended by now: an `expire` and its unknown outcome for each.
    pub fn ended(&mut self, now_ns: u64) -> Vec<HistoryEvent> {
        let mut events = Vec::new();
        while let Some(at) = self.grants.iter().position(|grant| grant.ends_ns <= now_ns) {
            let Grant { key, holder, .. } = self.grants.remove(at);
            let process = FIRST_EXPIRY_PROCESS + self.told * crate::plan::PROCESS_STEP;
            self.told += 1;
            for kind in [Kind::Invoke, Kind::Info] {
                let f = Function::Other("expire".to_owned());
                // No client's: whether the cluster answers clients it does not tell.
                let home = true;
                events.push(HistoryEvent {
                    home,
                    ..HistoryEvent::new(now_ns, process, kind, f, &key, holder.clone())
                });
            }
        }
        events
    }
}

/// That share of a time, rounded down.
fn scaled(time_ns: u64, numerator: u64, denominator: u64) -> u64 {
    let share = u128::from(time_ns) * u128::from(numerator) / u128::from(denominator);
    u64::try_from(share).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE_NS: u64 = 1_000 * GRAIN_NS;

    fn event(time_ms: u64, process: u64, kind: Kind, f: &str) -> HistoryEvent {
        let value = Value::from(if process.is_multiple_of(1_000) { "c1" } else { "c2" });
        HistoryEvent::new(time_ms * GRAIN_NS, process, kind, Function::Other(f.into()), "k0", value)
    }

    /// When leases may end, in ms.
    fn ends(events: &[(u64, u64, Kind, &str)]) -> Vec<u64> {
        ends_where(events, |_, _| Vec::new())
    }

    /// The same while something happens to the clocks, each ms.
    fn ends_where(
        events: &[(u64, u64, Kind, &str)],
        clocks: impl Fn(u64, &mut Expirations) -> Vec<u64>,
    ) -> Vec<u64> {
        let mut expirations = Expirations::new(LEASE_NS);
        let mut found = Vec::new();
        let mut events = events.iter().peekable();
        for now_ms in 0..5_000 {
            let asks_again = clocks(now_ms, &mut expirations);
            assert!(asks_again.iter().all(|time_ns| *time_ns >= now_ms * GRAIN_NS), "never in the past");
            while let Some((time_ms, process, kind, f)) = events.next_if(|event| event.0 == now_ms) {
                let asks_again_ns = expirations.see(&event(*time_ms, *process, *kind, f));
                assert!(
                    asks_again_ns.is_none_or(|time_ns| time_ns >= now_ms * GRAIN_NS),
                    "never in the past"
                );
            }
            found.extend(expirations.ended(now_ms * GRAIN_NS).iter().step_by(2).map(|_| now_ms));
        }
        found
    }

    #[test]
    fn a_lease_may_end_no_sooner_than_it_lasts_from_when_it_was_asked_for() {
        assert_eq!(ends(&[(10, 0, Kind::Invoke, "acquire"), (30, 0, Kind::Ok, "acquire")]), [1_009]);
        assert_eq!(ends(&[(10, 0, Kind::Invoke, "acquire"), (30, 0, Kind::Info, "acquire")]), [1_009]);
        assert_eq!(ends(&[(10, 0, Kind::Invoke, "acquire"), (30, 0, Kind::Fail, "acquire")]), [0; 0]);
    }

    #[test]
    fn a_renewal_that_was_answered_in_time_moves_the_end_and_others_do_not() {
        let taken = [(10, 0, Kind::Invoke, "acquire"), (30, 0, Kind::Ok, "acquire")];
        let with = |more: &[(u64, u64, Kind, &'static str)]| ends(&[&taken[..], more].concat());
        assert_eq!(with(&[(500, 0, Kind::Invoke, "renew"), (520, 0, Kind::Ok, "renew")]), [1_499]);
        assert_eq!(with(&[(500, 0, Kind::Invoke, "renew"), (520, 0, Kind::Info, "renew")]), [1_009]);
        assert_eq!(with(&[(900, 0, Kind::Invoke, "renew"), (1_100, 0, Kind::Ok, "renew")]), [1_009]);
        assert_eq!(with(&[(500, 1, Kind::Invoke, "renew"), (520, 1, Kind::Ok, "renew")]), [1_009]);
        let late = [(500, 0, Kind::Invoke, "renew"), (1_700, 0, Kind::Ok, "renew")];
        assert_eq!(with(&late), [1_009], "answered after it would have ended again");
    }

    #[test]
    fn a_lease_given_back_in_time_needs_no_end_unless_nobody_knows_that_it_was_held() {
        let taken = [(10, 0, Kind::Invoke, "acquire"), (30, 0, Kind::Ok, "acquire")];
        let with = |more: &[(u64, u64, Kind, &'static str)]| ends(&[&taken[..], more].concat());
        assert_eq!(with(&[(500, 0, Kind::Invoke, "release"), (520, 0, Kind::Ok, "release")]), [0; 0]);
        assert_eq!(with(&[(500, 0, Kind::Invoke, "release"), (520, 0, Kind::Info, "release")]), [1_009]);
        let unknown = [(10, 0, Kind::Invoke, "acquire"), (30, 0, Kind::Info, "acquire")];
        let given_back = [(500, 1_000, Kind::Invoke, "release"), (520, 1_000, Kind::Ok, "release")];
        assert_eq!(ends(&[unknown, given_back].concat()), [1_009]);
    }

    #[test]
    fn what_clocks_come_apart_shortens_leases_from_then_on_and_by_no_more() {
        let leases = [
            (10, 0, Kind::Invoke, "acquire"),
            (1_500, 1_000, Kind::Invoke, "acquire"),
            (3_000, 2_000, Kind::Invoke, "acquire"),
        ];
        assert_eq!(ends(&leases), [1_009, 2_499, 3_999]);
        let jump = |at_ms: u64, by_ms: u64| {
            move |now_ms: u64, expirations: &mut Expirations| {
                let now_ns = now_ms * GRAIN_NS;
                if now_ms == at_ms { expirations.clocks_part(by_ms * GRAIN_NS, now_ns) } else { Vec::new() }
            }
        };
        assert_eq!(ends_where(&leases, jump(1_200, 300)), [1_009, 2_199, 3_699], "from then on");
        assert_eq!(ends_where(&leases, jump(500, 300)), [709, 2_199, 3_699], "one that is held as well");
        assert_eq!(ends_where(&leases, jump(900, 300)), [900, 2_199, 3_699], "at once, and not before");
        assert_eq!(ends_where(&leases, jump(500, 9_000)), [500, 1_500, 3_000]);
        let offset = |now_ms: u64, expirations: &mut Expirations| {
            if now_ms == 2_000 {
                expirations.clocks_meet(300 * GRAIN_NS, now_ms * GRAIN_NS);
            }
            jump(500, 300)(now_ms, expirations)
        };
        assert_eq!(ends_where(&leases, offset), [709, 2_199, 3_999], "an offset ends");
    }

    #[test]
    fn a_renewal_is_shortened_by_how_far_clocks_were_apart_since_it_was_asked_for() {
        let taken = [
            (10, 0, Kind::Invoke, "acquire"),
            (30, 0, Kind::Ok, "acquire"),
            (500, 0, Kind::Invoke, "renew"),
            (520, 0, Kind::Ok, "renew"),
        ];
        let offset = |until_ms: u64| {
            move |now_ms: u64, expirations: &mut Expirations| {
                let now_ns = now_ms * GRAIN_NS;
                if now_ms == until_ms {
                    expirations.clocks_meet(300 * GRAIN_NS, now_ns);
                }
                if now_ms == 400 { expirations.clocks_part(300 * GRAIN_NS, now_ns) } else { Vec::new() }
            }
        };
        assert_eq!(ends_where(&taken, offset(450)), [1_499]);
        assert_eq!(ends_where(&taken, offset(510)), [1_199]);
    }

    #[test]
    fn a_drift_shortens_leases_by_its_share_and_leaves_behind_what_it_gained() {
        let leases = [
            (0, 0, Kind::Invoke, "acquire"),
            (1_500, 1_000, Kind::Invoke, "acquire"),
            (3_000, 2_000, Kind::Invoke, "acquire"),
        ];
        let drift = |now_ms: u64, expirations: &mut Expirations| {
            let now_ns = now_ms * GRAIN_NS;
            if now_ms == 2_000 {
                expirations.clocks_go_alike(250_000, now_ns);
            }
            if now_ms == 0 { expirations.clocks_drift(250_000, now_ns) } else { Vec::new() }
        };
        // 999 ms in 5/4 of the time; 624 ms (999 less 375) likewise; 499 ms (999 less 500) in true time.
        assert_eq!(ends_where(&leases, drift), [800, 2_000, 3_499]);
    }
}
