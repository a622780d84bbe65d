//! Recovery: once every fault is healed the cluster serves again, within the limit (Raft elects a leader as
//! soon as messages arrive in time: Ongaro's dissertation §3.4, §3.9; lagging nodes are brought up to date:
//! §3.5, chapter 5).
//!
//! - A roaming client's operation, invoked after the heal, succeeds within the limit.
//! - Of the final operations, at least one write of a roaming client succeeds, and each home reader's read (but for
//!   those at a node that a fault beyond Raft's model has taken out: see `beyond`).
//! - At the end one node alive leads, in the greatest term of all nodes alive.
//! - At the end all nodes alive have applied every final write, and the states that they reached are the same
//!   wherever they reached the same index. (They need not have ended at the very same index: an entry of no
//!   consequence, a leader's no-op say, may still be under way when the run ends.)

use mcp_chaos_evidence::{HistoryEvent, Phase, Role, Status, TraceEvent, node_name};
use serde_json::json;

use crate::{
    Check, Evidence, Judgement,
    beyond::Beyond,
    life::{self, NodeEnd},
    operations::{Operation, pair},
    standing::Cluster,
    words::{call, nodes, seconds},
};

const CHECK: Check = Check::Recovers;

/// When every fault was healed, if the nemesis log says so.
pub(crate) fn healed_at(evidence: &Evidence) -> Option<u64> {
    let all_healed = |record: &&_| {
        matches!(
            record,
            mcp_chaos_evidence::NemesisRecord { phase: Phase::AllHealed, status: Status::Done, .. }
        )
    };
    evidence.nemesis.iter().find(all_healed).map(|record| record.time_ns)
}

pub(crate) fn judge(evidence: &Evidence, within_ns: u64) -> Judgement {
    if evidence.traces.is_empty() && evidence.system_has_trace {
        return Judgement::without_trace(CHECK, true);
    }
    let Some(healed) = healed_at(evidence) else {
        return Judgement::unknown(
            CHECK,
            "the nemesis log has no record that every fault was healed (all_healed)",
            json!({}),
        );
    };
    let operations = match pair(evidence.history) {
        Ok(operations) => operations,
        Err(why) => {
            return Judgement::unknown(CHECK, format!("the history makes no sense: {why}"), json!({}));
        }
    };
    let last: Vec<&Operation> = operations.iter().filter(|operation| operation.invoke.is_final).collect();
    if last.is_empty() {
        return Judgement::unknown(
            CHECK,
            "the history has no final operations: nobody tried whether the cluster serves again",
            json!({}),
        );
    }
    let deadline = healed.saturating_add(within_ns);
    let agreement = end_of(evidence, &last);
    // Whatever the symptom: a cluster that has not come together at the end is told by that.
    let until = evidence.history.last().map_or(0, |event| event.time_ns);
    let invalid = |symptom: &'static str, reason: String, seen_at_ns: u64, data| {
        let shape = agreement.as_ref().err().map_or(symptom, |apart| apart.shape);
        let reason = format!("{reason}{}", because(evidence, healed, seen_at_ns.min(until)));
        Judgement::invalid(CHECK, shape, reason, data)
    };

    let Some(first) = first_success(&operations, healed) else {
        return invalid(
            "no-success",
            format!("no roaming client's operation succeeded after the heal at {}", seconds(healed)),
            until,
            json!({"healed_ns": healed}),
        );
    };
    let data = json!({"healed_ns": healed, "deadline_ns": deadline, "first_success_ns": first.time_ns});
    if first.time_ns > deadline {
        let reason = format!(
            "after the heal at {} the first success came at {}; the limit is {}",
            seconds(healed),
            seconds(first.time_ns),
            seconds(within_ns)
        );
        return invalid("late", reason, deadline, data);
    }
    if !last.iter().any(is_final_write) {
        return invalid(
            "no-final-write",
            "no final write succeeded: the cluster takes no new operations".into(),
            until,
            data,
        );
    }
    let beyond = Beyond::of(evidence.nemesis);
    let home = |read: &Operation| read.completion.and_then(|event| event.node).or(read.invoke.node);
    let is_out = |read: &Operation| home(read).is_some_and(|node| beyond.took_out(node, evidence.traces));
    let failed = |read: &&&Operation| read.invoke.home && read.ok().is_none() && !is_out(read);
    if let Some(read) = last.iter().find(failed) {
        let asked = home(read).map_or(format!("process {}", read.invoke.process), node_name);
        let reason = format!("the final {} of the reader at {asked} did not succeed", call(read));
        return invalid(
            "no-home-read",
            reason,
            until,
            json!({"operation": {"invoke": read.invoke, "completion": read.completion}}),
        );
    }
    if let Err(Apart { shape, reason, data }) = agreement {
        // States that differ are nobody's refusal.
        let because = if shape == "states-differ" { String::new() } else { because(evidence, healed, until) };
        return Judgement::invalid(CHECK, shape, format!("{reason}{because}"), data);
    }
    let reason = format!(
        "served again {} after the heal; all agree at the end",
        seconds(first.time_ns.saturating_sub(healed))
    );
    Judgement::valid(CHECK, reason, data)
}

/// The first success of a roaming client's operation that was invoked after `healed`.
pub(crate) fn first_success<'a>(operations: &[Operation<'a>], healed: u64) -> Option<&'a HistoryEvent> {
    operations
        .iter()
        .filter(|operation| {
            !operation.invoke.home && operation.invoke.time_ns >= healed && operation.succeeded()
        })
        .filter_map(|operation| operation.completion)
        .min_by_key(|event| event.time_ns)
}

/// Who refuses what, and why, as the nodes stood at a moment; nothing of a system without a trace.
fn because(evidence: &Evidence, healed: u64, until_ns: u64) -> String {
    if evidence.traces.is_empty() {
        return String::new();
    }
    format!("; {}", Cluster::at(evidence, until_ns).why(healed).words)
}

/// How the nodes have not come together at the end.
struct Apart {
    shape: &'static str,
    reason: String,
    data: serde_json::Value,
}

fn is_final_write(operation: &&Operation) -> bool {
    !operation.invoke.home && !operation.invoke.f.is_read() && operation.succeeded()
}

/// Whether the nodes have come together; of a system without a trace nobody knows otherwise.
fn end_of(evidence: &Evidence, last: &[&Operation]) -> Result<(), Apart> {
    if evidence.traces.is_empty() {
        return Ok(());
    }
    let until = evidence.history.last().map_or(0, |event| event.time_ns);
    let writes = last.iter().copied().filter(is_final_write);
    let last_write = writes.filter_map(|operation| operation.completion?.log_index).max().unwrap_or(0);
    agree(evidence, &life::at_end(evidence.traces, evidence.nemesis, until), last_write)
}

/// Whether one node leads all, and all have the same state.
fn agree(evidence: &Evidence, ends: &[NodeEnd], last_write: u64) -> Result<(), Apart> {
    let alive: Vec<&NodeEnd> = ends.iter().filter(|end| end.alive).collect();
    let term = alive.iter().map(|end| end.term).max().unwrap_or(0);
    let leaders: Vec<_> =
        alive.iter().filter(|end| end.role == Role::Leader && end.term == term).map(|end| end.node).collect();
    if leaders.len() != 1 {
        let who = if leaders.is_empty() {
            "nobody leads".to_string()
        } else {
            format!("{} lead", nodes(leaders.iter().copied()))
        };
        let reason = format!("at the end {who} in term {term}, the greatest of the nodes alive");
        return Err(Apart {
            shape: if leaders.is_empty() { "no-leader" } else { "two-leaders" },
            reason,
            data: json!({"term": term, "leaders": leaders.iter().map(|id| node_name(*id)).collect::<Vec<_>>()}),
        });
    }
    if let Some(behind) = alive.iter().find(|end| end.applied.is_none_or(|(index, _)| index < last_write)) {
        let applied = behind.applied.map_or(0, |(index, _)| index);
        let reason = format!(
            "{} had applied only up to index {applied} at the end; the last final write stands at {last_write}",
            node_name(behind.node)
        );
        return Err(Apart {
            shape: "node-behind",
            reason,
            data: json!({"node": node_name(behind.node), "applied": applied, "final_write": last_write}),
        });
    }
    // What a node ended with must be what every other reached at that index, in its own last boot.
    for end in &alive {
        let Some((index, state)) = end.applied else { continue };
        let other = evidence.traces.iter().rev().take_while(|_| alive.len() > 1).find_map(|record| {
            match record.event {
                TraceEvent::Applied { index: at, state: other, .. }
                | TraceEvent::SnapshotInstalled { index: at, state: other, .. }
                    if at == index && other != state =>
                {
                    Some((record.node, other))
                }
                _ => None,
            }
        });
        if let Some((node, other)) = other {
            let reason = format!(
                "at index {index} {} ended with the state {state:016x}, while {} reached {other:016x}",
                node_name(end.node),
                node_name(node)
            );
            let data = json!({"index": index, "nodes": [node_name(end.node), node_name(node)]});
            return Err(Apart { shape: "states-differ", reason, data });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mcp_chaos_evidence::{Kind, TraceRecord};

    use super::*;
    use crate::{Verdict, testing::*};

    /// A run that is healed at 20 ms, with a final write at index 2 and a final home read at each of two nodes.
    fn run() -> (Vec<HistoryEvent>, Vec<TraceRecord>) {
        let mut events = history(
            "1 invoke write 1; 1 ok write 1; 1 invoke write 2; 1 fail write 2; 1 invoke write 3; 1 ok write 3; \
             500 invoke read; 500 ok read 3; 501 invoke read; 501 ok read 3",
        );
        for event in &mut events[4..] {
            event.is_final = true;
            event.home = event.process >= 500;
            event.node = event.home.then(|| event.process - 499);
            event.log_index = (event.kind == Kind::Ok).then_some(2);
        }
        let traces = trace([
            (1, started(0, None, 0)),
            (2, started(0, None, 0)),
            (1, leads(1)),
            (1, applied(1, 1, 11)),
            (2, applied(1, 1, 11)),
            (1, applied(2, 1, 12)),
            (2, applied(2, 1, 12)),
        ]);
        (events, traces)
    }

    fn judge_run(change: impl Fn(&mut Vec<HistoryEvent>, &mut Vec<TraceRecord>)) -> Judgement {
        let (mut history, mut traces) = run();
        change(&mut history, &mut traces);
        let nemesis = [nemesis(None, Phase::AllHealed, "all_healed", 20_000_000, &[])];
        judge(
            &Evidence { history: &history, traces: &traces, nemesis: &nemesis, system_has_trace: true },
            30_000_000,
        )
    }

    #[test]
    fn a_recovered_run_is_silent() {
        let judgement = judge_run(|_, _| {});
        assert_eq!(judgement.verdict, Verdict::Valid, "{}", judgement.reason);
        // A no-op that one node has applied and the other not yet; a shutdown after the last operation.
        let judgement = judge_run(|_, traces| {
            let more = [
                applied(3, 1, 13),
                role(Role::Follower, 2),
                TraceEvent::Stopped { reason: "graceful".into() },
            ];
            traces.extend(more.map(|event| TraceRecord { time_ns: 1 << 40, node: 1, boot: 1, event }));
        });
        assert_eq!(judgement.verdict, Verdict::Valid, "{}", judgement.reason);
    }

    #[test]
    fn whatever_did_not_recover_fires() {
        type Change = fn(&mut Vec<HistoryEvent>, &mut Vec<TraceRecord>);
        let changes: [(Change, &str); 7] = [
            (
                |history, _| (history[5].kind, history[5].log_index) = (Kind::Fail, None),
                "no roaming client's operation succeeded",
            ),
            (|history, _| history[5].time_ns = 51_000_000, "the limit is 0.030 s"),
            (|history, _| (history[9].kind, history[9].log_index) = (Kind::Fail, None), "the reader at n2"),
            (|_, traces| drop(traces.remove(2)), "nobody leads"),
            (|_, traces| traces.push(TraceRecord { time_ns: 9, node: 2, boot: 1, event: leads(2) }), ""),
            (|_, traces| drop(traces.pop()), "n2 had applied only up to index 1"),
            (|_, traces| traces[6].event = applied(2, 1, 99), "ended with the state"),
        ];
        for (change, word) in changes {
            let judgement = judge_run(change);
            // A second node that leads a later term is one leader of the greatest term: that is no fault.
            let expected = if word.is_empty() { Verdict::Valid } else { Verdict::Invalid };
            assert_eq!(judgement.verdict, expected, "{word}: {}", judgement.reason);
            assert!(judgement.reason.contains(word), "{}", judgement.reason);
        }
    }

    #[test]
    fn the_reader_at_a_node_that_had_to_refuse_asks_in_vain_and_no_other_may() {
        let (mut history, mut traces) = run();
        history[9].kind = Kind::Fail;
        let reason = "the data directory is empty, but this node was founded before".to_owned();
        traces.push(TraceRecord { time_ns: 9, node: 2, boot: 2, event: TraceEvent::Refused { reason } });
        let judge_with = |faults: &[(&str, u64)]| {
            let hit = |(kind, node): &(&str, u64)| nemesis(Some(0), Phase::Install, kind, 5, &[*node]);
            let mut log: Vec<_> = faults.iter().map(hit).collect();
            log.push(nemesis(None, Phase::AllHealed, "all_healed", 20_000_000, &[]));
            let evidence =
                Evidence { history: &history, traces: &traces, nemesis: &log, system_has_trace: true };
            judge(&evidence, 30_000_000)
        };
        assert_eq!(
            judge_with(&[("wiped", 2)]).verdict,
            Verdict::Valid,
            "{}",
            judge_with(&[("wiped", 2)]).reason
        );
        for others in [&[][..], &[("wiped", 1)], &[("corrupt", 2)]] {
            assert_eq!(judge_with(others).shape.as_deref(), Some("no-home-read"), "{others:?}");
        }
    }

    #[test]
    fn missing_evidence_is_unknown() {
        let judgement = judge_run(|history, _| history.truncate(4));
        assert_eq!(judgement.verdict, Verdict::Unknown);
        let (history, traces) = run();
        let evidence = Evidence { history: &history, traces: &traces, nemesis: &[], system_has_trace: true };
        let judgement = judge(&evidence, 1);
        assert!(judgement.verdict == Verdict::Unknown && judgement.reason.contains("all_healed"));
    }
}
