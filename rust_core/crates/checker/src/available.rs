//! Availability: clients that may turn to any node are never without a success for longer than the limit
//! (Raft's purpose: Ongaro's dissertation §2.1, and §3.9 on timing; the limit is the scenario's).
//!
//! Home readers do not count: each is bound to one node, which may well be cut off. Nor do the operations
//! after the recovery. The span runs from the first invocation to the last completion.

use mcp_chaos_evidence::{HistoryEvent, Kind};
use serde_json::json;

use crate::{Check, Evidence, Gap, Judgement, words::seconds};

const CHECK: Check = Check::Available;

/// Whether the event belongs to a client that may turn to any node, before the recovery phase.
pub(crate) fn is_roaming(event: &HistoryEvent) -> bool {
    !event.home && !event.is_final
}

/// The longest time without a success of a roaming client, and the number of successes; none if there was
/// no operation at all.
pub(crate) fn longest_gap(history: &[HistoryEvent]) -> Option<(Gap, usize)> {
    let mut roaming = history.iter().filter(|event| is_roaming(event));
    let first = roaming.next()?;
    let mut longest = Gap { from_ns: first.time_ns, to_ns: first.time_ns };
    let (mut since, mut last, mut successes) = (first.time_ns, first.time_ns, 0);
    let mut close = |since: u64, until: u64| {
        if until.saturating_sub(since) > longest.to_ns - longest.from_ns {
            longest = Gap { from_ns: since, to_ns: until };
        }
    };
    for event in roaming.filter(|event| event.kind != Kind::Invoke) {
        last = last.max(event.time_ns);
        if event.kind == Kind::Ok {
            successes += 1;
            close(since, event.time_ns);
            since = event.time_ns;
        }
    }
    close(since, last);
    Some((longest, successes))
}

pub(crate) fn judge(evidence: &Evidence, at_most_ns: Option<u64>) -> Judgement {
    let Some((gap, successes)) = longest_gap(evidence.history) else {
        return Judgement::unknown(CHECK, "no operation of a roaming client in the history", json!({}));
    };
    let length = gap.to_ns - gap.from_ns;
    let data = json!({"gap_ns": length, "from_ns": gap.from_ns, "to_ns": gap.to_ns, "at_most_ns": at_most_ns, "successes": successes});
    if successes == 0 {
        return Judgement::invalid(
            CHECK,
            "no-success",
            "no operation of a roaming client ever succeeded",
            data,
        );
    }
    let words = format!(
        "the longest time without a success was {}, from {} to {}",
        seconds(length),
        seconds(gap.from_ns),
        seconds(gap.to_ns)
    );
    match at_most_ns {
        Some(limit) if length > limit => {
            Judgement::invalid(CHECK, "gap", format!("{words}; the limit is {}", seconds(limit)), data)
        }
        _ => Judgement::valid(CHECK, words, data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Verdict, testing::history};

    fn judge_history(text: &str, at_most_ms: Option<u64>) -> Judgement {
        let history = history(text);
        let evidence = Evidence { history: &history, traces: &[], nemesis: &[], system_has_trace: true };
        judge(&evidence, at_most_ms.map(|ms| ms * 1_000_000))
    }

    const RUN: &str =
        "1 invoke write 1; 1 ok write 1; 1 invoke write 2; 1 fail write 2; 1 invoke write 3; 1 ok write 3";

    #[test]
    fn a_long_gap_or_no_success_fires() {
        let judgement = judge_history(RUN, Some(39));
        assert_eq!(judgement.verdict, Verdict::Invalid);
        assert!(judgement.reason.contains("0.040 s, from 0.010 s to 0.050 s"), "{}", judgement.reason);
        assert_eq!(judge_history("1 invoke write 1; 1 fail write 1", None).verdict, Verdict::Invalid);
        // The end of the span counts too.
        let tail = format!(
            "{RUN}; 1 invoke write 4; 1 info write 4; 2 invoke write 5; 2 info write 5; 3 invoke read; 3 fail read"
        );
        assert_eq!(judge_history(&tail, Some(59)).verdict, Verdict::Invalid);
    }

    #[test]
    fn a_gap_within_the_limit_is_silent() {
        assert_eq!(judge_history(RUN, Some(40)).verdict, Verdict::Valid);
        assert_eq!(judge_history(RUN, None).verdict, Verdict::Valid);
        assert_eq!(judge_history("", None).verdict, Verdict::Unknown);
    }

    #[test]
    fn home_readers_and_final_operations_do_not_count() {
        let mut events = history(RUN);
        events[1].home = true;
        events[5].is_final = true;
        let evidence = Evidence { history: &events, traces: &[], nemesis: &[], system_has_trace: true };
        assert_eq!(judge(&evidence, None).verdict, Verdict::Invalid);
    }
}
