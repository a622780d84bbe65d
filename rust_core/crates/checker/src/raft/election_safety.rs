//! Election safety: at most one leader is elected in a given term (Ongaro's dissertation, §3.2, figure 3.2).

use std::collections::BTreeMap;

use mcp_chaos_evidence::{Role, TraceEvent, TraceRecord, node_name};
use serde_json::json;

use super::{Property, Sighting, Violation, log::NodeLog};
use crate::{Check, words::seconds};

/// Who led which term. What counts is a node's own word that it leads.
#[derive(Default)]
pub(super) struct ElectionSafety {
    leaders: BTreeMap<u64, Sighting>,
}

impl Property for ElectionSafety {
    const CHECK: Check = Check::ElectionSafety;

    fn observe(&mut self, record: &TraceRecord, _log: &NodeLog) -> Result<(), Violation> {
        let TraceEvent::RoleChanged { role: Role::Leader, term, .. } = record.event else { return Ok(()) };
        let first = *self.leaders.entry(term).or_insert(Sighting::of(record));
        if first.node == record.node {
            return Ok(());
        }
        let reason = format!(
            "term {term} had two leaders: {}, and {} at {}",
            first.words(),
            node_name(record.node),
            seconds(record.time_ns)
        );
        Err(Violation::new(record, reason, json!({"term": term, "first": first.data()})))
    }

    fn seen(&self) -> String {
        format!("{} terms had a leader, each one only", self.leaders.len())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Check, Verdict, testing::*};

    #[test]
    fn two_leaders_in_a_term_fire() {
        let judgement = judge_trace(Check::ElectionSafety, [(1, leads(1)), (2, leads(3)), (1, leads(3))]);
        assert_eq!(judgement.verdict, Verdict::Invalid);
        assert!(
            judgement.reason.contains("term 3 had two leaders: n2 at 0.001 s, and n1"),
            "{}",
            judgement.reason
        );
    }

    #[test]
    fn one_leader_for_each_term_is_silent() {
        let judgement =
            judge_trace(Check::ElectionSafety, [(1, leads(1)), (2, leads(2)), (1, leads(1)), (1, leads(3))]);
        assert_eq!(judgement.verdict, Verdict::Valid);
    }
}
