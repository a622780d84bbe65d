//! Availability: clients that may turn to any node are never without a success for longer than the limit
//! (Raft's purpose: Ongaro's dissertation §2.1, and §3.9 on timing; the limit is the scenario's).
//!
//! Home readers do not count: each is bound to one node, which may well be cut off. Nor do the operations
//! after the recovery. Nor does time in which no client wanted anything: after a success with nothing under way a
//! gap begins with the next invocation. The span runs from the first invocation to the last completion.

use mcp_chaos_evidence::{HistoryEvent, Kind};
use serde_json::json;

use crate::{
    Check, Evidence, Gap, Judgement,
    operations::served,
    standing::{Cluster, why::Why},
    words::seconds,
};

const CHECK: Check = Check::Available;

/// Whether the event belongs to a client that may turn to any node, before the recovery phase.
pub(crate) fn is_roaming(event: &HistoryEvent) -> bool {
    !event.home && !event.is_final
}

/// The longest time without a success of a roaming client, and the number of successes; none if there was
/// no operation at all.
pub(crate) fn longest_gap(history: &[HistoryEvent]) -> Option<(Gap, usize)> {
    let mut roaming = history.iter().filter(|event| is_roaming(event)).peekable();
    let first = roaming.peek()?.time_ns;
    let mut longest = Gap { from_ns: first, to_ns: first };
    let (mut last, mut successes, mut under_way) = (first, 0, 0_u64);
    // Since when somebody has wanted something and nobody has had a success; none while nobody wants anything.
    let mut since = None;
    let mut close = |since: Option<u64>, until: u64| {
        let from_ns = since.unwrap_or(until);
        if until.saturating_sub(from_ns) > longest.to_ns - longest.from_ns {
            longest = Gap { from_ns, to_ns: until };
        }
    };
    for event in roaming {
        if event.kind == Kind::Invoke {
            under_way += 1;
            since = since.or(Some(event.time_ns));
            continue;
        }
        under_way = under_way.saturating_sub(1);
        last = last.max(event.time_ns);
        if served(event) {
            successes += 1;
            close(since, event.time_ns);
            since = (under_way > 0).then_some(event.time_ns);
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
            format!("no operation of a roaming client ever succeeded{}", because(evidence, gap)),
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
            let because = because(evidence, gap);
            Judgement::invalid(
                CHECK,
                "gap",
                format!("{words}; the limit is {}{because}", seconds(limit)),
                data,
            )
        }
        _ => Judgement::valid(CHECK, words, data),
    }
}

/// Who refused what, and why, as the nodes stood before the gap ended; nothing of a system without a trace.
fn because(evidence: &Evidence, gap: Gap) -> String {
    if evidence.traces.is_empty() {
        return String::new();
    }
    // Half-way: towards its end whatever caused the gap may be over.
    let seen_at_ns = gap.from_ns + (gap.to_ns - gap.from_ns) / 2;
    let Why { words, .. } = Cluster::at(evidence, seen_at_ns).why(gap.from_ns);
    format!("; at {} {words}", seconds(seen_at_ns))
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
        let judgement = judge_history(RUN, Some(29));
        assert_eq!(judgement.verdict, Verdict::Invalid);
        assert!(judgement.reason.contains("0.030 s, from 0.020 s to 0.050 s"), "{}", judgement.reason);
        assert_eq!(judge_history("1 invoke write 1; 1 fail write 1", None).verdict, Verdict::Invalid);
        // The end of the span counts too.
        let tail = format!(
            "{RUN}; 1 invoke write 4; 1 info write 4; 2 invoke write 5; 2 info write 5; 3 invoke read; 3 fail read"
        );
        assert_eq!(judge_history(&tail, Some(49)).verdict, Verdict::Invalid);
    }

    #[test]
    fn a_gap_within_the_limit_is_silent() {
        assert_eq!(judge_history(RUN, Some(30)).verdict, Verdict::Valid);
        assert_eq!(judge_history(RUN, None).verdict, Verdict::Valid);
        assert_eq!(judge_history("", None).verdict, Verdict::Unknown);
    }

    #[test]
    fn time_in_which_nobody_wants_anything_is_no_gap() {
        let mut idle = history("1 invoke write 1; 1 ok write 1; 1 invoke write 2; 1 ok write 2");
        idle[2].time_ns += 5_000_000_000;
        idle[3].time_ns += 5_000_000_000;
        assert_eq!(longest_gap(&idle).map(|(gap, _)| gap.to_ns - gap.from_ns), Some(10_000_000));
        // Another client's operation was under way all the time.
        let mut waiting = history("1 invoke write 1; 2 invoke read; 1 ok write 1; 2 ok read 1");
        waiting[3].time_ns += 5_000_000_000;
        let (gap, _) = longest_gap(&waiting).expect("there are operations");
        assert_eq!((gap.from_ns, gap.to_ns), (waiting[2].time_ns, waiting[3].time_ns));
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
