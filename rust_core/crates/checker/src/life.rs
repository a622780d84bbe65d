//! Each node's condition at the end of a run.

use mcp_chaos_evidence::{NemesisRecord, NodeId, Phase, Role, Status, TraceEvent, TraceRecord};

/// How a node stood when the run ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeEnd {
    pub node: NodeId,
    /// It ran and belonged to the cluster: its last boot had not ended by itself, no fault held it down or paused,
    /// and the last configuration has it as voter or learner. One that stopped gracefully counts as alive: the
    /// harness ends nodes so when the run is over.
    pub alive: bool,
    /// Index and state checksum applied last, in its last boot (or of the snapshot that it started from).
    pub applied: Option<(u64, u64)>,
    pub role: Role,
    pub term: u64,
}

/// All nodes that the trace or the nemesis log knows, in order of their numbers.
///
/// Roles and terms are taken as of `until_ns` (nodes that are shut down one after another elect new leaders),
/// applied entries as of the end of the trace.
pub(crate) fn at_end(traces: &[TraceRecord], nemesis: &[NemesisRecord], until_ns: u64) -> Vec<NodeEnd> {
    let mut ends: Vec<NodeEnd> = Vec::new();
    // The configuration with the greatest index: its members.
    let mut members: Option<(u64, Vec<NodeId>)> = None;
    for record in traces {
        if let TraceEvent::ConfigChanged { index, voters, learners, voters_outgoing } = &record.event
            && members.as_ref().is_none_or(|(newest, _)| index >= newest)
        {
            members = Some((*index, [&voters[..], learners, voters_outgoing].concat()));
        }
        let at = match ends.iter().position(|end| end.node == record.node) {
            Some(at) => at,
            None => {
                ends.push(NodeEnd { node: record.node, alive: true, ..NodeEnd::default() });
                ends.len() - 1
            }
        };
        let end = &mut ends[at];
        let in_time = record.time_ns <= until_ns;
        match &record.event {
            TraceEvent::Started { term, snapshot_index, snapshot_state, .. } => {
                end.alive = true;
                end.applied = (*snapshot_index > 0).then_some((*snapshot_index, *snapshot_state));
                if in_time {
                    (end.role, end.term) = (Role::Follower, *term);
                }
            }
            TraceEvent::RoleChanged { role, term, .. } if in_time => (end.role, end.term) = (*role, *term),
            TraceEvent::Applied { index, state, .. } | TraceEvent::SnapshotInstalled { index, state, .. } => {
                end.applied = Some((*index, *state));
            }
            TraceEvent::SnapshotMade { index, state, .. } if end.applied.is_none() => {
                end.applied = Some((*index, *state));
            }
            TraceEvent::Stopped { reason } if reason != "graceful" => end.alive = false,
            TraceEvent::Panicked { .. } | TraceEvent::Refused { .. } => end.alive = false,
            _ => {}
        }
    }
    for node in held_at_end(nemesis) {
        match ends.iter_mut().find(|end| end.node == node) {
            Some(end) => end.alive = false,
            None => ends.push(NodeEnd { node, ..NodeEnd::default() }),
        }
    }
    if let Some((_, members)) = members {
        for end in ends.iter_mut().filter(|end| !members.contains(&end.node)) {
            end.alive = false;
        }
    }
    ends.sort_by_key(|end| end.node);
    ends
}

/// Nodes that a fault still keeps from running when the nemesis log ends.
fn held_at_end(nemesis: &[NemesisRecord]) -> Vec<NodeId> {
    let mut held: Vec<(Option<u64>, NodeId)> = Vec::new();
    let mut lost = Vec::new();
    for record in nemesis.iter().filter(|record| record.status == Status::Done) {
        match record.phase {
            // A machine that is replaced is gone for good, whether or not its place was taken.
            Phase::Install if record.kind == "replace_node" => lost.extend(record.nodes.first()),
            Phase::Install if matches!(record.kind.as_str(), "kill" | "power_off" | "pause") => {
                held.extend(record.nodes.iter().map(|node| (record.step, *node)));
            }
            Phase::Install => {}
            Phase::Heal => held.retain(|(step, _)| *step != record.step),
            Phase::AllHealed => held.clear(),
        }
    }
    held.into_iter().map(|(_, node)| node).chain(lost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn who_belongs_to_the_cluster_no_more_is_not_alive() {
        let change = |index, voters: &[NodeId]| TraceEvent::ConfigChanged {
            index,
            voters: voters.to_vec(),
            learners: vec![4],
            voters_outgoing: vec![],
        };
        let mut run: Vec<_> = (1..=4).map(|node| (node, started(1, None, 0))).collect();
        run.extend([(1, change(1, &[1, 2, 3])), (1, change(9, &[1, 2])), (3, change(1, &[1, 2, 3]))]);
        let replaced = nemesis(Some(0), Phase::Install, "replace_node", 0, &[2, 4]);
        let healed = nemesis(None, Phase::AllHealed, "all_healed", 9, &[]);
        let ends = at_end(&trace(run), &[replaced, healed], u64::MAX);
        assert_eq!(ends.iter().map(|end| end.alive).collect::<Vec<_>>(), [true, false, false, true]);
    }

    #[test]
    fn killed_nodes_are_dead_until_healed_and_panicked_ones_for_good() {
        let traces = trace([
            (1, started(1, None, 0)),
            (2, started(1, None, 0)),
            (3, started(1, None, 0)),
            (1, leads(2)),
            (1, applied(1, 2, 7)),
            (2, TraceEvent::Panicked { message: "oh".into() }),
            (3, TraceEvent::Stopped { reason: "graceful".into() }),
        ]);
        let kill = nemesis(Some(0), Phase::Install, "kill", 0, &[1]);
        let ends = at_end(&traces, std::slice::from_ref(&kill), u64::MAX);
        assert_eq!(ends.iter().map(|end| end.alive).collect::<Vec<_>>(), [false, false, true]);
        let ends = at_end(&traces, &[kill, nemesis(Some(0), Phase::Heal, "kill", 0, &[1])], 0);
        assert_eq!((ends[0].alive, ends[0].applied, ends[0].role), (true, Some((1, 7)), Role::Follower));
    }
}
