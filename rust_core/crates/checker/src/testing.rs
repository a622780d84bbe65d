//! Short spellings of histories and traces, for unit tests.

use mcp_chaos_evidence::{
    Function, HistoryEvent, Kind, NemesisRecord, NodeId, Phase, Role, Status, TraceEvent, TraceRecord,
};
use serde_json::{Value, json};

use crate::{Check, Evidence, Judgement, Limits, judge};

/// An event such as `1 ok read 5`, `2 invoke cas 1 2`, `2 fail cas 1 2 mismatch`: process, kind, function,
/// values (`-` for null).
pub(crate) fn event(text: &str) -> HistoryEvent {
    let mut words = text.split_whitespace();
    let process = words.next().unwrap().parse().unwrap();
    let kind = match words.next().unwrap() {
        "invoke" => Kind::Invoke,
        "ok" => Kind::Ok,
        "fail" => Kind::Fail,
        "info" => Kind::Info,
        other => panic!("{other}"),
    };
    let f = match words.next().unwrap() {
        "read" => Function::Read,
        "write" => Function::Write,
        "cas" => Function::Cas,
        other => Function::Other(other.into()),
    };
    let mut numbers = Vec::new();
    let mut error = None;
    for word in words {
        match word.parse::<i64>() {
            Ok(number) => numbers.push(json!(number)),
            Err(_) if word == "-" => numbers.push(Value::Null),
            Err(_) => error = Some(word.to_string()),
        }
    }
    let value = match f {
        Function::Cas => Value::Array(numbers),
        _ => numbers.pop().unwrap_or_default(),
    };
    HistoryEvent { error, ..HistoryEvent::new(0, process, kind, f, "k0", value) }
}

/// Events separated by `;`, one every 10 ms.
pub(crate) fn history(text: &str) -> Vec<HistoryEvent> {
    let mut events: Vec<_> = text.split(';').filter(|part| !part.trim().is_empty()).map(event).collect();
    for (at, event) in events.iter_mut().enumerate() {
        event.index = at as u64;
        event.time_ns = at as u64 * 10_000_000;
    }
    events
}

/// One record for each (node, event), 1 ms apart, in boot 1 until the node's second `started`, and so on.
pub(crate) fn trace(events: impl IntoIterator<Item = (NodeId, TraceEvent)>) -> Vec<TraceRecord> {
    let mut boots = std::collections::BTreeMap::<NodeId, u64>::new();
    events
        .into_iter()
        .enumerate()
        .map(|(at, (node, event))| {
            let boot = boots.entry(node).or_insert(0);
            if matches!(event, TraceEvent::Started { .. } | TraceEvent::Refused { .. }) || *boot == 0 {
                *boot += 1;
            }
            TraceRecord { time_ns: at as u64 * 1_000_000, node, boot: *boot, event }
        })
        .collect()
}

pub(crate) fn started(term: u64, vote: Option<NodeId>, last_index: u64) -> TraceEvent {
    TraceEvent::Started { term, vote, snapshot_index: 0, snapshot_term: 0, snapshot_state: 0, last_index }
}

pub(crate) fn role(role: Role, term: u64) -> TraceEvent {
    TraceEvent::RoleChanged { role, term, leader: None }
}

pub(crate) fn leads(term: u64) -> TraceEvent {
    role(Role::Leader, term)
}

pub(crate) fn vote(term: u64, candidate: NodeId) -> TraceEvent {
    TraceEvent::VoteCast { term, candidate }
}

pub(crate) fn appended(index: u64, term: u64, checksum: u64) -> TraceEvent {
    TraceEvent::Appended { index, term, checksum }
}

pub(crate) fn committed(index: u64) -> TraceEvent {
    TraceEvent::Committed { index }
}

pub(crate) fn applied(index: u64, term: u64, state: u64) -> TraceEvent {
    TraceEvent::Applied { index, term, state, client: 0, sequence: 0, duplicate: false }
}

pub(crate) fn operated(index: u64, client: u64, sequence: u64) -> TraceEvent {
    TraceEvent::Applied { index, term: 1, state: index, client, sequence, duplicate: false }
}

pub(crate) fn installed(index: u64, term: u64, state: u64) -> TraceEvent {
    TraceEvent::SnapshotInstalled { index, term, state }
}

pub(crate) fn nemesis(
    step: Option<u64>,
    phase: Phase,
    kind: &str,
    time_ns: u64,
    nodes: &[NodeId],
) -> NemesisRecord {
    NemesisRecord {
        step,
        phase,
        status: Status::Done,
        planned_ns: Some(time_ns),
        time_ns,
        kind: kind.into(),
        nodes: nodes.to_vec(),
        links: Vec::new(),
        anchor: None,
        evidence: Value::Null,
        reason: None,
        fixed: false,
    }
}

/// What one check says of one trace.
pub(crate) fn judge_trace(check: Check, events: impl IntoIterator<Item = (NodeId, TraceEvent)>) -> Judgement {
    let traces = trace(events);
    let evidence = Evidence { history: &[], traces: &traces, nemesis: &[], system_has_trace: true };
    judge(&evidence, &[check], &Limits::default()).remove(0)
}
