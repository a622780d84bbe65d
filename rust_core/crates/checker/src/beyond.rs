//! Faults beyond Raft's model, and the refusals that they explain.
//!
//! Raft rests on disks that keep what they reported durable. Where one does not (it lied about a sync, a bit flipped,
//! it was wiped), the right answer is a refusal with a reason by the node concerned, while the others go on. So such
//! a node may be out from then on: `no_panic` accepts its refusal, and `recovers` asks nothing of it. A refusal for
//! another reason, by another node, or before the fault, is what it always was.
//!
//! Nor does a fault explain anything that took nothing: a node that refuses sound data is wrong, whatever was tried on
//! its disk. By the nemesis log a bit must have flipped, in the file that the node names; and a lie must have cost what
//! was reported durable, which happens when the power goes while it stands.

use mcp_chaos_evidence::{NemesisRecord, NodeId, Phase, Status, TraceEvent, TraceRecord, node_name};

/// What a node says in such a case, and after which faults.
const REASONS: [(&str, &[&str]); 4] = [
    ("the data directory is corrupt", &["corrupt", "lying_fsync"]),
    ("the data directory is empty", &["wiped", "lying_fsync"]),
    // Not after a flipped bit: checksums tell it before anybody trusts the log.
    ("the log cannot be trusted", &["lying_fsync"]),
    ("this node has forgotten what it acknowledged", &["lying_fsync"]),
];

/// A node's disk is not any more what was reported durable.
struct Loss<'a> {
    node: NodeId,
    from_ns: u64,
    kind: &'a str,
    /// The file that differs, if it is one.
    file: Option<&'a str>,
}

impl<'a> Loss<'a> {
    /// What a fault took from a node; none if it took nothing.
    fn of(record: &'a NemesisRecord, node: NodeId, nemesis: &'a [NemesisRecord]) -> Option<Loss<'a>> {
        let kind = record.kind.as_str();
        let loss = |from_ns, file| Some(Loss { node, from_ns, kind, file });
        match kind {
            "wiped" => loss(record.time_ns, None),
            "corrupt" => {
                let file = record.evidence["flipped"][node_name(node)]["file"].as_str()?;
                loss(record.time_ns, Some(file))
            }
            "lying_fsync" => {
                let lies = &record.evidence["lies"][node_name(node)];
                ["lost_bytes", "lost_names"].iter().find(|what| lies[**what].as_u64() > Some(0))?;
                loss(power_lost_ns(record, node, nemesis)?, None)
            }
            _ => None,
        }
    }

    fn explains(&self, record: &TraceRecord, reason: &str) -> bool {
        self.node == record.node
            && self.from_ns <= record.time_ns
            && REASONS.iter().any(|(words, kinds)| reason.contains(words) && kinds.contains(&self.kind))
            && self.file.is_none_or(|file| reason.contains(file))
    }
}

/// When a node first lost power while a step stood.
fn power_lost_ns(step: &NemesisRecord, node: NodeId, nemesis: &[NemesisRecord]) -> Option<u64> {
    let is_end = |record: &&NemesisRecord| {
        record.phase == Phase::AllHealed || record.phase == Phase::Heal && record.step == step.step
    };
    let end_ns = nemesis.iter().find(is_end).map_or(u64::MAX, |heal| heal.time_ns);
    nemesis
        .iter()
        .filter(|record| is_carried_out(record) && record.kind == "power_off" && record.nodes.contains(&node))
        .map(|record| record.time_ns)
        .find(|time_ns| (step.time_ns..=end_ns).contains(time_ns))
}

fn is_carried_out(record: &NemesisRecord) -> bool {
    record.phase == Phase::Install && record.status != Status::Skipped
}

/// What faults of this sort took, from whom, and from when on.
pub(crate) struct Beyond<'a>(Vec<Loss<'a>>);

impl<'a> Beyond<'a> {
    pub fn of(nemesis: &'a [NemesisRecord]) -> Beyond<'a> {
        let hit = nemesis
            .iter()
            .filter(|record| is_carried_out(record))
            .flat_map(|record| record.nodes.iter().filter_map(|node| Loss::of(record, *node, nemesis)));
        Beyond(hit.collect())
    }

    /// Whether the node had this to say because of such a fault.
    pub fn explains(&self, record: &TraceRecord) -> bool {
        let (TraceEvent::Refused { reason } | TraceEvent::Stopped { reason }) = &record.event else {
            return false;
        };
        self.0.iter().any(|loss| loss.explains(record, reason))
    }

    /// Whether the last that is known of the node is such a refusal.
    pub fn took_out(&self, node: NodeId, traces: &[TraceRecord]) -> bool {
        self.0.iter().any(|loss| loss.node == node)
            && traces.iter().rfind(|record| record.node == node).is_some_and(|last| self.explains(last))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::*;

    fn says(node: NodeId, time_ns: u64, reason: &str) -> TraceRecord {
        TraceRecord { time_ns, node, boot: 2, event: TraceEvent::Refused { reason: reason.into() } }
    }

    fn with(record: NemesisRecord, evidence: Value) -> NemesisRecord {
        NemesisRecord { evidence, ..record }
    }

    const CORRUPT: &str = "the data directory is corrupt: log-1.wal at offset 64: …";
    const FORGOTTEN: &str = "this node has forgotten what it acknowledged: n1, which leads term 2, …";

    /// A bit of a node's first segment flips.
    fn flip(step: u64, node: NodeId) -> NemesisRecord {
        let name = node_name(node);
        let record = nemesis(Some(step), Phase::Install, "corrupt", 50, &[node]);
        with(record, json!({"flipped": {name: {"file": "log-1.wal", "offset": 70, "bit": 3}}}))
    }

    /// A node's disk lies from 40 to 70, and its power goes at 50.
    fn lie(step: u64, node: NodeId, lost_bytes: u64) -> [NemesisRecord; 3] {
        let name = node_name(node);
        let record = nemesis(Some(step), Phase::Install, "lying_fsync", 40, &[node]);
        [
            with(record, json!({"lies": {name: {"syncs": 9, "lost_bytes": lost_bytes, "lost_names": 0}}})),
            nemesis(Some(step + 1), Phase::Install, "power_off", 50, &[node]),
            nemesis(Some(step), Phase::Heal, "lying_fsync", 70, &[node]),
        ]
    }

    #[test]
    fn only_the_node_that_was_hit_and_only_for_that_reason_and_only_from_then_on() {
        let faults = [
            vec![flip(0, 1), nemesis(Some(1), Phase::Install, "wiped", 50, &[2])],
            lie(2, 3, 80).to_vec(),
            vec![nemesis(Some(4), Phase::Install, "kill", 0, &[4])],
        ]
        .concat();
        let beyond = Beyond::of(&faults);
        let empty = "the data directory is empty, …";
        for (node, reason, explained) in [
            (1, CORRUPT, true),
            (1, "the data directory is corrupt: log-2.wal at offset 64: …", false),
            (1, empty, false),
            (1, FORGOTTEN, false),
            (1, "the log cannot be trusted: …", false),
            (2, empty, true),
            (2, CORRUPT, false),
            (3, FORGOTTEN, true),
            (3, CORRUPT, true),
            (3, "the log cannot be trusted: …", true),
            (3, "what was committed is lost: n1, …", false),
            (3, "the leader's snapshot at index 9 cannot be restored", false),
            (4, CORRUPT, false),
        ] {
            assert_eq!(beyond.explains(&says(node, 60, reason)), explained, "n{node}: {reason}");
            assert!(!beyond.explains(&says(node, 45, reason)), "n{node} before the fault: {reason}");
        }
        assert!(beyond.took_out(1, &[says(1, 60, CORRUPT), says(2, 70, CORRUPT)]));
        assert!(!beyond.took_out(2, &[says(1, 60, CORRUPT), says(2, 70, CORRUPT)]));
        let back = TraceRecord { time_ns: 80, node: 1, boot: 3, event: started(1, None, 0) };
        assert!(!beyond.took_out(1, &[says(1, 60, CORRUPT), back]), "it is up again");
    }

    #[test]
    fn a_fault_that_took_nothing_explains_nothing() {
        let none =
            with(nemesis(Some(0), Phase::Install, "corrupt", 50, &[1]), json!({"flipped": {"n1": null}}));
        assert!(!Beyond::of(&[none]).explains(&says(1, 60, CORRUPT)), "there was no file to corrupt");
        assert!(
            !Beyond::of(&lie(0, 1, 0)).explains(&says(1, 60, FORGOTTEN)),
            "the power loss kept everything"
        );
        let [mut lied, power, heal] = lie(0, 1, 0);
        lied.evidence["lies"]["n1"]["lost_names"] = json!(1);
        assert!(Beyond::of(&[lied.clone(), power.clone(), heal.clone()]).explains(&says(1, 60, FORGOTTEN)));
        assert!(
            !Beyond::of(&[lied.clone(), heal.clone()]).explains(&says(1, 60, FORGOTTEN)),
            "no power loss"
        );
        let late = NemesisRecord { time_ns: 80, ..power };
        assert!(
            !Beyond::of(&[lied, heal, late]).explains(&says(1, 90, FORGOTTEN)),
            "the lie was over by then"
        );
    }
}
