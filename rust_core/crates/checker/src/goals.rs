//! What a scenario may ask to happen at least once (`sometimes`): a campaign in which leaders never change has
//! shown nothing about leader changes.

use mcp_chaos_evidence::{Kind, NodeId, Role, TraceEvent};

use crate::{Evidence, operations::Operation, summary::DuringFault};

/// How soon after a leader change a read counts as one right after it.
const RIGHT_AFTER_NS: u64 = 1_000_000_000;

/// The goals that the run reached, by name.
pub(crate) fn reached(
    evidence: &Evidence,
    operations: &[Operation],
    during_faults: &[DuringFault],
) -> Vec<&'static str> {
    let changes = leader_changes(evidence);
    let any = |wanted: fn(&TraceEvent) -> bool| evidence.traces.iter().any(|record| wanted(&record.event));
    let read_after_change = || {
        let reads = operations.iter().filter(|read| read.ok().is_some_and(is_read));
        reads.into_iter().any(|read| {
            let (began, ended) = (read.invoke.time_ns, read.completion.map_or(u64::MAX, |end| end.time_ns));
            changes.iter().any(|changed| began >= *changed && ended <= changed + RIGHT_AFTER_NS)
        })
    };
    let cut_links = |fault: &&DuringFault| matches!(fault.kind.as_str(), "partition" | "one_way");
    let goals = [
        ("leader_changed", !changes.is_empty()),
        ("log_truncated", any(|event| matches!(event, TraceEvent::Truncated { .. }))),
        ("snapshot_installed", any(|event| matches!(event, TraceEvent::SnapshotInstalled { .. }))),
        ("read_after_leader_change", read_after_change()),
        (
            "operation_during_partition",
            during_faults.iter().filter(cut_links).any(|fault| fault.began_and_succeeded > 0),
        ),
    ];
    goals.into_iter().filter(|(_, reached)| *reached).map(|(name, _)| name).collect()
}

/// When another node than the one before it came to lead.
fn leader_changes(evidence: &Evidence) -> Vec<u64> {
    let mut elected: Vec<(u64, u64, NodeId)> = evidence
        .traces
        .iter()
        .filter_map(|record| match record.event {
            TraceEvent::RoleChanged { role: Role::Leader, term, .. } => {
                Some((term, record.time_ns, record.node))
            }
            _ => None,
        })
        .collect();
    elected.sort_unstable();
    elected.windows(2).filter(|pair| pair[0].2 != pair[1].2).map(|pair| pair[1].1).collect()
}

fn is_read(event: &mcp_chaos_evidence::HistoryEvent) -> bool {
    event.kind == Kind::Ok && event.f.is_read()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{history, leads, nemesis, trace};
    use mcp_chaos_evidence::Phase;

    fn goals(history_text: &str, events: Vec<(NodeId, TraceEvent)>, kind: &str) -> Vec<&'static str> {
        let history = history(history_text);
        let nemesis = [
            nemesis(Some(0), Phase::Install, kind, 0, &[1]),
            nemesis(Some(0), Phase::Heal, kind, 50_000_000, &[1]),
        ];
        let traces = trace(events);
        let evidence =
            Evidence { history: &history, traces: &traces, nemesis: &nemesis, system_has_trace: true };
        crate::summary(&evidence).goals
    }

    #[test]
    fn nothing_happened() {
        assert!(goals("1 invoke read; 1 fail read", vec![(1, leads(1))], "kill").is_empty());
        // The same node leading again is no change of leader.
        assert!(goals("1 invoke read; 1 fail read", vec![(1, leads(1)), (1, leads(2))], "kill").is_empty());
    }

    #[test]
    fn each_goal_is_reached_by_what_it_names() {
        let changed = vec![(1, leads(1)), (2, leads(2))];
        assert_eq!(goals("1 invoke read; 1 fail read", changed.clone(), "kill"), ["leader_changed"]);
        assert_eq!(
            goals("1 invoke write 1; 1 ok write 1; 1 invoke read; 1 ok read 1", changed, "kill"),
            ["leader_changed", "read_after_leader_change"]
        );
        let logs = vec![
            (1, TraceEvent::Truncated { from: 3 }),
            (1, TraceEvent::SnapshotInstalled { index: 3, term: 1, state: 0 }),
        ];
        assert_eq!(goals("", logs, "kill"), ["log_truncated", "snapshot_installed"]);
        assert_eq!(
            goals("1 invoke write 1; 1 ok write 1", vec![], "partition"),
            ["operation_during_partition"]
        );
        assert!(goals("1 invoke write 1; 1 ok write 1", vec![], "latency").is_empty());
    }
}
