//! What a scenario may ask to happen at least once (`sometimes`): a campaign in which leaders never change has
//! shown nothing about leader changes.

use std::collections::{BTreeMap, BTreeSet};

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
    let changes_of_voters = voter_changes(evidence);
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
        ("node_refused", any(|event| matches!(event, TraceEvent::Refused { .. }))),
        ("read_after_leader_change", read_after_change()),
        ("voter_added", changes_of_voters.added),
        ("voter_removed", changes_of_voters.removed),
        ("joint_left", changes_of_voters.joint_left),
        (
            "operation_during_partition",
            during_faults.iter().filter(cut_links).any(|fault| fault.began_and_succeeded > 0),
        ),
    ];
    goals.into_iter().filter(|(_, reached)| *reached).map(|(name, _)| name).collect()
}

/// What became of who votes.
#[derive(Default)]
struct VoterChanges {
    added: bool,
    removed: bool,
    joint_left: bool,
}

/// As each node applied it. What a restart or a snapshot brings back is no change unless it is newer.
fn voter_changes(evidence: &Evidence) -> VoterChanges {
    let mut seen: BTreeMap<NodeId, (u64, BTreeSet<NodeId>, bool)> = BTreeMap::new();
    let mut changes = VoterChanges::default();
    for record in evidence.traces {
        let (at, new, old): (u64, &[NodeId], &[NodeId]) = match &record.event {
            TraceEvent::Initialized { voters, .. } => (0, voters, &[]),
            TraceEvent::ConfigChanged { index, voters, voters_outgoing, .. } => {
                (*index, voters, voters_outgoing)
            }
            _ => continue,
        };
        let now: BTreeSet<NodeId> = new.iter().chain(old).copied().collect();
        let is_joint = !old.is_empty();
        if let Some((known, before, was_joint)) = seen.get(&record.node) {
            if at <= *known {
                continue;
            }
            changes.added |= !now.is_subset(before);
            changes.removed |= !before.is_subset(&now);
            changes.joint_left |= *was_joint && !is_joint;
        }
        seen.insert(record.node, (at, now, is_joint));
    }
    changes
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
        let refused = vec![(1, TraceEvent::Refused { reason: "the data directory is empty".into() })];
        assert_eq!(goals("", refused, "kill"), ["node_refused"]);
        assert_eq!(
            goals("1 invoke write 1; 1 ok write 1", vec![], "partition"),
            ["operation_during_partition"]
        );
        assert!(goals("1 invoke write 1; 1 ok write 1", vec![], "latency").is_empty());
    }

    #[test]
    fn voters_come_and_go() {
        let configuration = |index, voters: &[NodeId], outgoing: &[NodeId]| {
            let (voters, voters_outgoing) = (voters.to_vec(), outgoing.to_vec());
            (1, TraceEvent::ConfigChanged { index, voters, learners: vec![4], voters_outgoing })
        };
        let founded = || (1, TraceEvent::Initialized { cluster: "c".into(), voters: vec![1, 2, 3] });
        let after = |events: &[(NodeId, TraceEvent)]| {
            goals("", [founded()].into_iter().chain(events.iter().cloned()).collect(), "kill")
        };
        assert!(after(&[configuration(1, &[1, 2, 3], &[]), configuration(5, &[1, 2, 3], &[])]).is_empty());
        assert_eq!(after(&[configuration(5, &[1, 2, 3, 4], &[])]), ["voter_added"]);
        assert_eq!(after(&[configuration(5, &[1, 2], &[])]), ["voter_removed"]);
        let joint = configuration(5, &[1, 2, 4], &[1, 2, 3]);
        assert_eq!(
            after(std::slice::from_ref(&joint)),
            ["voter_added"],
            "n3 has a say until the change is over"
        );
        let over = configuration(6, &[1, 2, 4], &[]);
        assert_eq!(after(&[joint.clone(), over.clone()]), ["voter_added", "voter_removed", "joint_left"]);
        // Back to an older one, as a restart that has only its snapshot: no change.
        let back = configuration(1, &[1, 2, 3], &[]);
        assert_eq!(after(&[configuration(5, &[1, 2], &[]), back.clone()]), ["voter_removed"]);
        assert_eq!(after(&[joint, back]), ["voter_added"]);
    }
}
