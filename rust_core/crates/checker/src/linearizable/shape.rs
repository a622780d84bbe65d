//! In a word, how a history came not to be linearizable: which rule of a replicated register was broken, as far
//! as the nodes' traces tell. What clients saw is much the same whichever it was.

use std::collections::BTreeMap;

use mcp_chaos_evidence::{HistoryEvent, Kind, NodeId, Role, TraceEvent, TraceRecord};

use crate::{
    acknowledgement::{EARLY, is_early},
    operations::Operation,
};

/// What is known besides the operations of the key.
pub(super) struct Observed<'a> {
    /// All keys together.
    pub history: &'a [HistoryEvent],
    /// Empty for a system that writes none.
    pub traces: &'a [TraceRecord],
}

impl Observed<'_> {
    /// The first of these that holds, from causes to consequences; `word` is what the history alone says.
    pub(super) fn shape(
        &self,
        operations: &[Operation],
        blamed: &Operation,
        word: &'static str,
    ) -> &'static str {
        if self.traces.is_empty() {
            return word;
        }
        // What ended later can have no part in it.
        let known = || {
            operations
                .iter()
                .filter(|operation| operation.completed_at <= blamed.completed_at)
                .filter_map(|operation| Some((operation, operation.completion?)))
        };
        let changes = || {
            let effective = known().filter(|(operation, _)| !operation.invoke.f.is_read());
            effective.filter(|(operation, _)| operation.ok().is_some()).map(|(_, completion)| completion)
        };
        if changes().any(|acknowledged| is_early(self.traces, acknowledged)) {
            return EARLY;
        }
        if self.any_applied_twice(operations) {
            return "applied-twice";
        }
        if changes().any(|acknowledged| self.is_lost(acknowledged)) {
            return "lost-write";
        }
        let stale = known()
            .filter(|(operation, _)| operation.invoke.f.is_read() && operation.ok().is_some())
            .filter(|(read, answer)| self.is_stale(read, answer))
            .max_by_key(|(read, _)| (read.invoked_at == blamed.invoked_at, read.completed_at));
        match stale {
            Some((read, answer)) => self.stale_read(read, answer),
            None => word,
        }
    }

    /// Whether a request on this key took effect at two indexes.
    fn any_applied_twice(&self, operations: &[Operation]) -> bool {
        let mut requests: Vec<(u64, u64)> = operations
            .iter()
            .filter_map(|operation| {
                let event = operation.completion.unwrap_or(operation.invoke);
                Some((event.client?, event.sequence?))
            })
            .collect();
        requests.sort_unstable();
        let mut applied_at: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        self.traces.iter().any(|record| match record.event {
            TraceEvent::Applied { index, client, sequence, duplicate: false, .. }
                if requests.binary_search(&(client, sequence)).is_ok() =>
            {
                *applied_at.entry((client, sequence)).or_insert(index) != index
            }
            _ => false,
        })
    }

    /// Whether a node applied another entry where an acknowledged change should stand.
    fn is_lost(&self, acknowledged: &HistoryEvent) -> bool {
        let (Some(at), Some(client), Some(number)) =
            (acknowledged.log_index, acknowledged.client, acknowledged.sequence)
        else {
            return false;
        };
        self.traces.iter().any(|record| match record.event {
            TraceEvent::Applied { index, client: by, sequence, .. } => {
                index == at && (by, sequence) != (client, number)
            }
            _ => false,
        })
    }

    /// Whether a read was answered below what some client had been told of before it was asked. A linearizable
    /// read never is, whatever the key (Ongaro's dissertation §6.4).
    fn is_stale(&self, read: &Operation, answer: &HistoryEvent) -> bool {
        let told = self.history[..read.invoked_at]
            .iter()
            .filter(|event| event.kind == Kind::Ok)
            .filter_map(|event| event.log_index)
            .max();
        answer.log_index.zip(told).is_some_and(|(answered, told)| answered < told)
    }

    /// Which role the node had that answered too low.
    fn stale_read(&self, read: &Operation, answer: &HistoryEvent) -> &'static str {
        let Some(node) = answer.node else { return "stale-read" };
        let Some(term) = self.led(node, read.invoke.time_ns, answer.time_ns) else {
            return "stale-read-from-follower";
        };
        let deposed = self.traces.iter().any(|record| {
            matches!(record.event, TraceEvent::RoleChanged { role: Role::Leader, term: later, .. } if later > term)
                && record.time_ns <= answer.time_ns
                && record.node != node
        });
        if deposed {
            "stale-read-from-deposed-leader"
        } else if !self.had_applied_of(node, term, answer.time_ns) {
            "stale-read-from-new-leader"
        } else {
            "stale-read-from-leader"
        }
    }

    /// Whether a node had applied an entry of `term` by then: before, a leader does not know what is committed
    /// (Ongaro's dissertation §6.4, step 1).
    fn had_applied_of(&self, node: NodeId, term: u64, until_ns: u64) -> bool {
        let mut records = self.traces.iter().filter(|record| record.node == node);
        records.any(|record| {
            matches!(record.event, TraceEvent::Applied { term: of, .. } if of == term)
                && record.time_ns <= until_ns
        })
    }

    /// The least term in which a node led at some time from `since_ns` to `until_ns`.
    fn led(&self, node: NodeId, since_ns: u64, until_ns: u64) -> Option<u64> {
        let mut leads = None;
        for record in self.traces.iter().filter(|record| record.node == node) {
            if record.time_ns > since_ns && leads.is_some() || record.time_ns > until_ns {
                break;
            }
            match record.event {
                TraceEvent::Started { .. } => leads = None,
                TraceEvent::RoleChanged { role, term, .. } => leads = (role == Role::Leader).then_some(term),
                _ => {}
            }
        }
        leads
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Objects, judge_with_trace};
    use super::*;
    use crate::testing::*;

    const EVERYWHERE: [NodeId; 2] = [1, 2];

    /// Client 7 writes 3 and then 4, acknowledged by n1 at the indexes 2 and 3; then n2 answers a read with 3,
    /// having applied up to `applied`.
    fn stale(applied: u64) -> Vec<HistoryEvent> {
        let mut events = history(
            "1 invoke write 3; 1 ok write 3; 1 invoke write 4; 1 ok write 4; 9 invoke read; 9 ok read 3",
        );
        for (at, event) in events[..4].iter_mut().enumerate() {
            (event.client, event.sequence) = (Some(7), Some(at as u64 / 2 + 1));
            event.node = Some(1);
            event.log_index = (event.kind == Kind::Ok).then_some(at as u64 / 2 + 2);
        }
        (events[5].node, events[5].log_index) = (Some(2), Some(applied));
        events
    }

    /// Each event with the time at which it happens, in ms.
    fn shape(history: &[HistoryEvent], events: Vec<(u64, NodeId, TraceEvent)>) -> String {
        let times: Vec<u64> = events.iter().map(|(ms, ..)| *ms).collect();
        let mut traces = trace(events.into_iter().map(|(_, node, event)| (node, event)));
        traces.iter_mut().zip(times).for_each(|(record, ms)| record.time_ns = ms * 1_000_000);
        traces.sort_by_key(|record| record.time_ns);
        let judgement = judge_with_trace(history, &traces, Objects::Registers, 1 << 20, 1_000_000);
        judgement.shape.expect("the history is not linearizable").into_owned()
    }

    /// Both writes as n1 applied them in time.
    fn applied_in_time() -> Vec<(u64, NodeId, TraceEvent)> {
        vec![(1, 1, leads(1)), (5, 1, operated(2, 7, 1)), (25, 1, operated(3, 7, 2))]
    }

    fn with(more: Vec<(u64, NodeId, TraceEvent)>) -> Vec<(u64, NodeId, TraceEvent)> {
        [applied_in_time(), more].concat()
    }

    #[test]
    fn without_a_trace_the_history_speaks() {
        assert_eq!(shape(&stale(2), vec![]), "overwritten-value");
        assert_eq!(shape(&history("9 invoke read; 9 ok read 3"), vec![]), "value-from-nowhere");
        let text = "1 invoke write 3; 1 fail write 3; 9 invoke read; 9 ok read 3";
        assert_eq!(shape(&history(text), vec![]), "failed-write-took-effect");
    }

    #[test]
    fn the_role_of_the_node_that_answered_too_low_is_told() {
        let first =
            |term| TraceEvent::Applied { index: 2, term, state: 2, client: 7, sequence: 1, duplicate: false };
        for (more, word) in [
            (vec![], "stale-read-from-follower"),
            (vec![(2, 2, leads(5)), (3, 1, leads(6))], "stale-read-from-deposed-leader"),
            (vec![(30, 2, leads(5)), (31, 2, first(1))], "stale-read-from-new-leader"),
            (vec![(30, 2, leads(5)), (31, 2, first(5))], "stale-read-from-leader"),
            // It learned that it was deposed while the answer was on its way.
            (
                vec![(2, 2, leads(5)), (30, 1, leads(6)), (45, 2, role(Role::Follower, 6))],
                "stale-read-from-deposed-leader",
            ),
        ] {
            assert_eq!(shape(&stale(2), with(more)), word);
        }
    }

    #[test]
    fn what_broke_the_state_goes_before_what_a_read_saw_of_it() {
        assert_eq!(shape(&stale(3), with(vec![])), "overwritten-value");
        assert_eq!(shape(&stale(4), with(vec![(35, 1, operated(4, 7, 1))])), "applied-twice");
        assert_eq!(shape(&stale(4), with(vec![(35, 2, operated(3, 9, 1))])), "lost-write");
        for node in EVERYWHERE {
            // Acknowledged at 30 ms.
            let late = vec![(1, 1, leads(1)), (5, 1, operated(2, 7, 1)), (31, node, operated(3, 7, 2))];
            assert_eq!(shape(&stale(2), late), EARLY);
        }
    }
}
