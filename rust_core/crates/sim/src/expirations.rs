//! When leases may end without anybody's word, so that a history can say so.
//!
//! A lease ends by the log's clock, which no client sees. What clients know is the earliest moment at which it may have
//! ended: it was granted no sooner than it was asked for. At that moment the history has an `expire` of unknown outcome,
//! as the model of a lock wants it: it may take effect then, or at any later time, or never.

use mcp_chaos_evidence::{Function, HistoryEvent, Kind};
use serde_json::Value;

/// The process number of the first `expire`: above those of home readers (500 to 598). Each has one of its own.
pub const FIRST_EXPIRY_PROCESS: u64 = 599;
/// A lease's time is counted in milliseconds, and so may begin a part of one early.
const GRAIN_NS: u64 = 1_000_000;

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
}

/// The leases of a run.
#[derive(Clone, Debug)]
pub struct Expirations {
    /// How long a lease lasts at least, by everybody's clock.
    lasts_ns: u64,
    grants: Vec<Grant>,
    asked: Vec<Asked>,
    told: u64,
}

impl Expirations {
    /// Of leases that last so long. Where clocks may jump they may end at once.
    pub fn new(lease_ns: u64, clocks_may_jump: bool) -> Expirations {
        let lasts_ns = if clocks_may_jump { 0 } else { lease_ns.saturating_sub(GRAIN_NS) };
        Expirations { lasts_ns, grants: Vec::new(), asked: Vec::new(), told: 0 }
    }

    /// Takes the history's next event; gives a time at which to ask for what has ended.
    pub fn see(&mut self, event: &HistoryEvent) -> Option<u64> {
        let Function::Other(f) = &event.f else { return None };
        if event.kind == Kind::Invoke {
            return self.asked_for(f, event);
        }
        let at = self.asked.iter().position(|asked| asked.process == event.process)?;
        let Asked { holder, since_ns, .. } = self.asked.swap_remove(at);
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
                let ends_ns = since_ns + self.lasts_ns;
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
        self.asked.push(Asked { process, holder: holder.clone(), since_ns });
        (f == "acquire").then(|| {
            let ends_ns = since_ns + self.lasts_ns;
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

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE_NS: u64 = 1_000 * GRAIN_NS;

    fn event(time_ms: u64, process: u64, kind: Kind, f: &str) -> HistoryEvent {
        let value = Value::from(if process.is_multiple_of(1_000) { "c1" } else { "c2" });
        HistoryEvent::new(time_ms * GRAIN_NS, process, kind, Function::Other(f.into()), "k0", value)
    }

    /// When leases may end, in ms.
    fn ends(events: &[(u64, u64, Kind, &str)], clocks_may_jump: bool) -> Vec<u64> {
        let mut expirations = Expirations::new(LEASE_NS, clocks_may_jump);
        let mut found = Vec::new();
        let mut events = events.iter().peekable();
        for now_ms in 0..5_000 {
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
        assert_eq!(ends(&[(10, 0, Kind::Invoke, "acquire"), (30, 0, Kind::Ok, "acquire")], false), [1_009]);
        assert_eq!(ends(&[(10, 0, Kind::Invoke, "acquire"), (30, 0, Kind::Info, "acquire")], false), [1_009]);
        assert_eq!(ends(&[(10, 0, Kind::Invoke, "acquire"), (30, 0, Kind::Fail, "acquire")], false), [0; 0]);
        assert_eq!(
            ends(&[(10, 0, Kind::Invoke, "acquire")], true),
            [10],
            "a clock that jumped ends it at once"
        );
    }

    #[test]
    fn a_renewal_that_was_answered_in_time_moves_the_end_and_others_do_not() {
        let taken = [(10, 0, Kind::Invoke, "acquire"), (30, 0, Kind::Ok, "acquire")];
        let with = |more: &[(u64, u64, Kind, &'static str)]| ends(&[&taken[..], more].concat(), false);
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
        let with = |more: &[(u64, u64, Kind, &'static str)]| ends(&[&taken[..], more].concat(), false);
        assert_eq!(with(&[(500, 0, Kind::Invoke, "release"), (520, 0, Kind::Ok, "release")]), [0; 0]);
        assert_eq!(with(&[(500, 0, Kind::Invoke, "release"), (520, 0, Kind::Info, "release")]), [1_009]);
        let unknown = [(10, 0, Kind::Invoke, "acquire"), (30, 0, Kind::Info, "acquire")];
        let given_back = [(500, 1_000, Kind::Invoke, "release"), (520, 1_000, Kind::Ok, "release")];
        assert_eq!(ends(&[unknown, given_back].concat(), false), [1_009]);
    }
}
