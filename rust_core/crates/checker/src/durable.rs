//! Durability and exactly-once: what was acknowledged stands, once, on every node (a log entry counts when it
//! is on disk on a quorum: Ongaro's dissertation §3.8; each request takes effect once: §6.3).
//!
//! - Every acknowledged write and compare-and-set, by (client, sequence), is what each node applied at its log
//!   index, or lies below a snapshot that the node installed or started from, and whose state is the one that
//!   the others reached at that index. A node that ends behind is judged up to what it applied last (`recovers`
//!   judges the rest), but at least one node alive at the end must hold the operation.
//! - No request takes effect at two indexes, and none appears from nowhere: a client of the history never
//!   sent it. (Clients that the history does not know are somebody else's, an operator's say.)

use std::collections::BTreeMap;

use mcp_chaos_evidence::{Function, HistoryEvent, Kind, TraceEvent, TraceRecord, node_name};
use serde_json::json;

use crate::{
    Check, Evidence, Judgement,
    acknowledgement::{EARLY, is_early},
    life,
    table::Table,
    words::seconds,
};

const CHECK: Check = Check::Durable;

/// A request: session and number within it.
type Request = (u64, u64);

/// An acknowledged mutation.
struct Acknowledged<'a> {
    event: &'a HistoryEvent,
    request: Request,
    /// Which nodes applied it, by their position among the nodes.
    seen: Vec<bool>,
}

/// What is known of an index from the nodes that applied it, or hold a snapshot of it.
struct Known {
    state: u64,
    request: Option<Request>,
}

pub(crate) fn judge(evidence: &Evidence) -> Judgement {
    if evidence.traces.is_empty() {
        return Judgement::without_trace(CHECK, evidence.system_has_trace);
    }
    let ends = life::at_end(evidence.traces, evidence.nemesis, u64::MAX);
    let (mut acknowledged, at_index) = match acknowledgements(evidence, ends.len()) {
        Ok(found) => found,
        Err(judgement) => return *judgement,
    };
    let sent = Sent::by(evidence.history);
    let mut known: Table<Known> = Table::default();
    let mut applied_at: BTreeMap<Request, u64> = BTreeMap::new();
    // For each node, the greatest index below which a snapshot stands for the entries.
    let mut hidden_below = vec![0_u64; ends.len()];
    let mut snapshots: Vec<(usize, u64, u64)> = Vec::new();
    for record in evidence.traces {
        let node =
            ends.iter().position(|end| end.node == record.node).expect("each node of the trace has an end");
        let (index, state, request) = match record.event {
            TraceEvent::Applied { index, state, client, sequence, duplicate, .. } => {
                (index, state, (client != 0 && !duplicate).then_some((client, sequence)))
            }
            TraceEvent::SnapshotInstalled { index, state, .. }
            | TraceEvent::Started { snapshot_index: index, snapshot_state: state, .. }
                if index > 0 =>
            {
                snapshots.push((node, index, state));
                continue;
            }
            _ => continue,
        };
        if let Some(number) = at_index.get(index) {
            let operation = &mut acknowledged[*number];
            if request != Some(operation.request) {
                return displaced(evidence, record, operation, request);
            }
            operation.seen[node] = true;
        }
        match known.get(index) {
            Some(known) if known.request == request => continue,
            Some(_) => {}
            None => known.insert(index, Known { state, request }),
        }
        // Looked up once for each index, not once for each node.
        let Some(request) = request else { continue };
        let first = *applied_at.entry(request).or_insert(index);
        if first != index {
            let reason = format!(
                "request {} of client {} took effect twice: at index {first}, and at index {index} on {} at {}",
                request.1,
                request.0,
                node_name(record.node),
                seconds(record.time_ns)
            );
            return Judgement::invalid(
                CHECK,
                "applied-twice",
                reason,
                json!({"record": record, "first_index": first}),
            );
        }
        if sent.never(request) {
            let reason = format!(
                "{} applied request {} of client {} at index {index}, at {}, which that client never sent",
                node_name(record.node),
                request.1,
                request.0,
                seconds(record.time_ns)
            );
            return Judgement::invalid(CHECK, "from-nowhere", reason, json!({"record": record}));
        }
    }
    for (node, index, state) in snapshots {
        // A snapshot of another state than the others' hides nothing.
        if known.get(index).is_none_or(|known| known.state == state) {
            hidden_below[node] = hidden_below[node].max(index);
        }
    }
    for operation in &acknowledged {
        let Some(index) = operation.event.log_index else { continue };
        let mut held_by_living = false;
        for (node, end) in ends.iter().enumerate() {
            let reached = end.applied.is_some_and(|(applied, _)| applied >= index);
            let holds = reached && (operation.seen[node] || hidden_below[node] >= index);
            if reached && !holds {
                return lost(
                    evidence,
                    operation,
                    &format!(
                        "{} has applied all up to {} without it",
                        node_name(end.node),
                        end.applied.unwrap_or_default().0
                    ),
                );
            }
            held_by_living |= holds && end.alive;
        }
        if !held_by_living {
            return lost(evidence, operation, "no node alive at the end has applied it");
        }
    }
    let reason = format!(
        "{} acknowledged operations stand at their indexes on {} nodes",
        acknowledged.len(),
        ends.len()
    );
    Judgement::valid(CHECK, reason, json!({"acknowledged": acknowledged.len(), "nodes": ends.len()}))
}

/// The acknowledged mutations, and by index which of them it is.
fn acknowledgements<'a>(
    evidence: &Evidence<'a>,
    nodes: usize,
) -> Result<(Vec<Acknowledged<'a>>, Table<usize>), Box<Judgement>> {
    let mut acknowledged: Vec<Acknowledged> = Vec::new();
    let mut at_index: Table<usize> = Table::default();
    let mut incomplete = 0;
    for event in evidence.history {
        let changes = match event.f {
            Function::Write | Function::Cas => true,
            Function::Read => false,
            // Those of other workloads that go through the log carry what they go by.
            Function::Other(_) => event.sequence.is_some(),
        };
        if event.kind != Kind::Ok || !changes {
            continue;
        }
        let (Some(index), Some(client), Some(sequence)) = (event.log_index, event.client, event.sequence)
        else {
            incomplete += 1;
            continue;
        };
        if let Some(other) = at_index.get(index).map(|number| &acknowledged[*number])
            && other.request != (client, sequence)
        {
            let reason = format!(
                "two operations were acknowledged at index {index}: {} and {}",
                words(other.event),
                words(event)
            );
            let early = [other.event, event].iter().any(|event| is_early(evidence.traces, event));
            return Err(Box::new(Judgement::invalid(
                CHECK,
                if early { EARLY } else { "acknowledged-twice-at-one-index" },
                reason,
                json!({"operations": [other.event, event]}),
            )));
        }
        at_index.insert(index, acknowledged.len());
        acknowledged.push(Acknowledged { event, request: (client, sequence), seen: vec![false; nodes] });
    }
    if incomplete > 0 {
        let reason = format!(
            "{incomplete} acknowledged operations carry no log_index, client or sequence: nobody can say where they should stand"
        );
        return Err(Box::new(Judgement::unknown(CHECK, reason, json!({"incomplete": incomplete}))));
    }
    Ok((acknowledged, at_index))
}

/// The requests that the history's clients sent.
struct Sent {
    clients: Vec<u64>,
    requests: Vec<Request>,
}

impl Sent {
    fn by(history: &[HistoryEvent]) -> Sent {
        let mut requests: Vec<Request> =
            history.iter().filter_map(|event| Some((event.client?, event.sequence?))).collect();
        requests.sort_unstable();
        requests.dedup();
        let mut clients: Vec<u64> = requests.iter().map(|(client, _)| *client).collect();
        clients.dedup();
        Sent { clients, requests }
    }

    /// Whether a client that the history knows never sent this.
    fn never(&self, request: Request) -> bool {
        self.requests.binary_search(&request).is_err() && self.clients.binary_search(&request.0).is_ok()
    }
}

fn words(event: &HistoryEvent) -> String {
    let f = if event.f == Function::Cas { "compare-and-set" } else { event.f.name() };
    format!(
        "the {f} of {} on {} (client {}, sequence {}, acknowledged at {})",
        event.value,
        event.key,
        event.client.unwrap_or(0),
        event.sequence.unwrap_or(0),
        seconds(event.time_ns)
    )
}

#[cold]
fn lost(evidence: &Evidence, operation: &Acknowledged, why: &str) -> Judgement {
    let index = operation.event.log_index.unwrap_or(0);
    let reason = format!("{} should stand at index {index}, but {why}", words(operation.event));
    let shape = if is_early(evidence.traces, operation.event) {
        EARLY
    } else if stands_somewhere(evidence.traces, operation) {
        "missing-on-a-node"
    } else {
        "lost"
    };
    Judgement::invalid(CHECK, shape, reason, json!({"operation": operation.event}))
}

/// Whether any node ever applied an operation where it was acknowledged.
fn stands_somewhere(traces: &[TraceRecord], operation: &Acknowledged) -> bool {
    traces.iter().any(|record| match record.event {
        TraceEvent::Applied { index, client, sequence, .. } => {
            operation.event.log_index == Some(index) && operation.request == (client, sequence)
        }
        _ => false,
    })
}

#[cold]
fn displaced(
    evidence: &Evidence,
    record: &TraceRecord,
    operation: &Acknowledged,
    request: Option<Request>,
) -> Judgement {
    let instead = match request {
        Some((client, sequence)) => format!("request {sequence} of client {client}"),
        None => "nothing that takes effect".to_string(),
    };
    let why = format!("{} applied {instead} there at {}", node_name(record.node), seconds(record.time_ns));
    let mut judgement = lost(evidence, operation, &why);
    judgement.evidence["record"] = json!(record);
    judgement
}

#[cfg(test)]
mod tests {
    use mcp_chaos_evidence::{NemesisRecord, NodeId, Phase};

    use super::*;
    use crate::{Verdict, testing::*};

    /// Client 7 wrote twice, acknowledged at the indexes 2 and 3.
    fn two_writes() -> Vec<HistoryEvent> {
        let mut events = history("1 invoke write 5; 1 ok write 5; 1 invoke write 6; 1 ok write 6");
        for (at, event) in events.iter_mut().enumerate() {
            event.client = Some(7);
            event.sequence = Some(at as u64 / 2 + 1);
            event.log_index = (event.kind == Kind::Ok).then_some(at as u64 / 2 + 2);
        }
        events
    }

    fn judge_run(events: Vec<(NodeId, TraceEvent)>, nemesis: &[NemesisRecord]) -> Judgement {
        let traces = trace(events);
        judge(&Evidence { history: &two_writes(), traces: &traces, nemesis, system_has_trace: true })
    }

    fn on(node: NodeId) -> Vec<(NodeId, TraceEvent)> {
        vec![(node, operated(1, 9, 1)), (node, operated(2, 7, 1)), (node, operated(3, 7, 2))]
    }

    #[test]
    fn what_is_lost_displaced_repeated_or_from_nowhere_fires() {
        let with = |more: Vec<(NodeId, TraceEvent)>| [on(1), more].concat();
        for (events, word, shape) in [
            (vec![(1, operated(1, 9, 1)), (1, operated(2, 7, 1))], "no node alive", "lost"),
            (
                with(vec![(2, operated(2, 9, 2))]),
                "n2 applied request 2 of client 9 there",
                "missing-on-a-node",
            ),
            (with(vec![(2, operated(3, 0, 0))]), "nothing that takes effect", "missing-on-a-node"),
            (
                with(vec![(2, operated(1, 9, 1)), (2, operated(3, 7, 2))]),
                "n2 has applied all up to 3 without it",
                "missing-on-a-node",
            ),
            (with(vec![(1, operated(4, 7, 2))]), "twice: at index 3, and at index 4", "applied-twice"),
            (with(vec![(1, operated(4, 7, 9))]), "never sent", "from-nowhere"),
            (
                with(vec![(2, installed(3, 1, 99))]),
                "n2 has applied all up to 3 without it",
                "missing-on-a-node",
            ),
        ] {
            let judgement = judge_run(events, &[]);
            assert_eq!(judgement.verdict, Verdict::Invalid, "{word}");
            assert!(judgement.reason.contains(word), "{}", judgement.reason);
            assert_eq!(judgement.shape.as_deref(), Some(shape));
        }
    }

    #[test]
    fn an_acknowledgement_that_came_before_the_entry_was_applied_is_told_apart() {
        let mut history = two_writes();
        history[3].node = Some(1);
        let run = [on(1)[..2].to_vec(), vec![(1, operated(3, 9, 2))]].concat();
        let shape = |history: &[HistoryEvent], events: Vec<(NodeId, TraceEvent)>| {
            let traces = trace(events);
            judge(&Evidence { history, traces: &traces, nemesis: &[], system_has_trace: true }).shape
        };
        assert_eq!(shape(&history, run.clone()).as_deref(), Some(EARLY));
        // Once applied, it is lost in another way.
        let applied = [on(1), vec![(1, started(1, None, 3))], run].concat();
        assert_eq!(shape(&history, applied).as_deref(), Some("missing-on-a-node"));
    }

    #[test]
    fn an_operation_that_only_the_dead_hold_fires() {
        let run = [on(1), vec![(2, operated(1, 9, 1))]].concat();
        assert_eq!(judge_run(run.clone(), &[]).verdict, Verdict::Valid);
        let kill = nemesis(Some(0), Phase::Install, "kill", 9, &[1]);
        assert_eq!(judge_run(run, &[kill]).verdict, Verdict::Invalid);
    }

    #[test]
    fn laggards_snapshots_restarts_retries_and_strangers_are_silent() {
        let run = [
            on(1),
            vec![
                (
                    1,
                    TraceEvent::Applied {
                        index: 4,
                        term: 1,
                        state: 4,
                        client: 7,
                        sequence: 2,
                        duplicate: true,
                    },
                ),
                (1, operated(5, 1000, 1)),
                (2, operated(1, 9, 1)),
                (3, installed(3, 1, 3)),
                (1, started(1, None, 5)),
            ],
            on(1),
        ]
        .concat();
        let judgement = judge_run(run, &[]);
        assert_eq!(judgement.verdict, Verdict::Valid, "{}", judgement.reason);
    }

    #[test]
    fn acknowledgements_without_an_index_are_unknown() {
        let history = history("1 invoke write 5; 1 ok write 5");
        let traces = trace(on(1));
        let evidence = Evidence { history: &history, traces: &traces, nemesis: &[], system_has_trace: true };
        assert_eq!(judge(&evidence).verdict, Verdict::Unknown);
    }
}
