//! Faults beyond Raft's model, and the refusals that they explain.
//!
//! Raft rests on disks that keep what they reported durable. Where one does not (it lied about a sync, a bit flipped,
//! it was wiped), the right answer is a refusal with a reason by the node concerned, while the others go on. So such
//! a node may be out from then on: `no_panic` accepts its refusal, and `recovers` asks nothing of it. A refusal for
//! another reason, by another node, or before the fault, is what it always was.

use mcp_chaos_evidence::{NemesisRecord, NodeId, Phase, Status, TraceEvent, TraceRecord};

/// What a node says in such a case, and after which faults.
const REASONS: [(&str, &[&str]); 4] = [
    ("the data directory is corrupt", &["corrupt", "lying_fsync"]),
    ("the data directory is empty", &["wiped", "lying_fsync"]),
    // Not after a flipped bit: checksums tell it before anybody trusts the log.
    ("the log cannot be trusted", &["lying_fsync"]),
    ("this node has forgotten what it acknowledged", &["lying_fsync"]),
];

/// Which faults of this sort hit whom, and from when on.
pub(crate) struct Beyond<'a>(Vec<(NodeId, u64, &'a str)>);

impl<'a> Beyond<'a> {
    pub fn of(nemesis: &'a [NemesisRecord]) -> Beyond<'a> {
        let is_one = |record: &&NemesisRecord| {
            record.phase == Phase::Install
                && record.status != Status::Skipped
                && REASONS.iter().any(|(_, kinds)| kinds.contains(&record.kind.as_str()))
        };
        let hit = nemesis
            .iter()
            .filter(is_one)
            .flat_map(|record| record.nodes.iter().map(|node| (*node, record.time_ns, record.kind.as_str())));
        Beyond(hit.collect())
    }

    /// Whether the node had this to say because of such a fault.
    pub fn explains(&self, record: &TraceRecord) -> bool {
        let (TraceEvent::Refused { reason } | TraceEvent::Stopped { reason }) = &record.event else {
            return false;
        };
        self.0.iter().any(|(node, from_ns, kind)| {
            *node == record.node
                && *from_ns <= record.time_ns
                && REASONS.iter().any(|(words, kinds)| reason.contains(words) && kinds.contains(kind))
        })
    }

    /// Whether the last that is known of the node is such a refusal.
    pub fn took_out(&self, node: NodeId, traces: &[TraceRecord]) -> bool {
        self.0.iter().any(|(hit, ..)| *hit == node)
            && traces.iter().rfind(|record| record.node == node).is_some_and(|last| self.explains(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn only_the_node_that_was_hit_and_only_for_that_reason_and_only_from_then_on() {
        let faults = [
            nemesis(Some(0), Phase::Install, "corrupt", 50, &[1]),
            nemesis(Some(1), Phase::Install, "wiped", 50, &[2]),
            nemesis(Some(2), Phase::Install, "lying_fsync", 50, &[3]),
            nemesis(Some(3), Phase::Install, "kill", 0, &[4]),
        ];
        let beyond = Beyond::of(&faults);
        let says = |node, time_ns, reason: &str| TraceRecord {
            time_ns,
            node,
            boot: 2,
            event: TraceEvent::Refused { reason: reason.into() },
        };
        let (corrupt, empty) =
            ("the data directory is corrupt: log-1.wal at offset 64: …", "the data directory is empty, …");
        let forgotten = "this node has forgotten what it acknowledged: n1, which leads term 2, …";
        for (node, reason, explained) in [
            (1, corrupt, true),
            (1, empty, false),
            (1, forgotten, false),
            (1, "the log cannot be trusted: …", false),
            (2, empty, true),
            (2, corrupt, false),
            (3, forgotten, true),
            (3, corrupt, true),
            (3, "the log cannot be trusted: …", true),
            (3, "what was committed is lost: n1, …", false),
            (3, "the leader's snapshot at index 9 cannot be restored", false),
            (4, corrupt, false),
        ] {
            assert_eq!(beyond.explains(&says(node, 60, reason)), explained, "n{node}: {reason}");
            assert!(!beyond.explains(&says(node, 40, reason)), "n{node} before the fault: {reason}");
        }
        assert!(beyond.took_out(1, &[says(1, 60, corrupt), says(2, 70, corrupt)]));
        assert!(!beyond.took_out(2, &[says(1, 60, corrupt), says(2, 70, corrupt)]));
        let back = TraceRecord { time_ns: 80, node: 1, boot: 3, event: started(1, None, 0) };
        assert!(!beyond.took_out(1, &[says(1, 60, corrupt), back]), "it is up again");
    }
}
