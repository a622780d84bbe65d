//! The trace hash: 128 bits of xxh3 over every record of a run, in order, in a canonical binary form.
//!
//! Two runs with one hash are one run. The form depends on nothing but the records: all numbers are 64-bit
//! little-endian, all texts and lists carry their length, every optional field says whether it is there.
//! Hashed are the history, each node's trace in its own order, and the nemesis records; then these hashes,
//! with the nodes ascending. So records read back from one file for each node have the hash of the run.

use std::collections::BTreeMap;

use mcp_chaos_evidence::{
    Function, HistoryEvent, Kind, NemesisRecord, NodeId, OperationName, Phase, Role, Status, TraceEvent,
    TraceRecord,
};
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

/// Hash of one run's records. How the records of different nodes interleave does not count.
pub fn fingerprint(history: &[HistoryEvent], trace: &[TraceRecord], nemesis: &[NemesisRecord]) -> u128 {
    let mut whole = Sink::default();
    whole.list(history, Sink::history);
    let mut nodes = BTreeMap::<NodeId, Sink>::new();
    for record in trace {
        nodes.entry(record.node).or_default().trace(record);
    }
    whole.number(nodes.len() as u64);
    for (node, sink) in nodes {
        whole.number(node);
        whole.buffer.extend_from_slice(&sink.finish().to_le_bytes());
    }
    whole.list(nemesis, Sink::nemesis);
    whole.finish()
}

#[derive(Default)]
struct Sink {
    hasher: Xxh3,
    /// The hasher is fast on long input, and slow on single numbers.
    buffer: Vec<u8>,
}

impl Sink {
    const FLUSH_BYTES: usize = 1 << 14;

    fn flush_if_full(&mut self) {
        if self.buffer.len() >= Sink::FLUSH_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.hasher.update(&self.buffer);
        self.buffer.clear();
    }

    fn finish(mut self) -> u128 {
        self.flush();
        self.hasher.digest128()
    }

    fn number(&mut self, number: u64) {
        self.buffer.extend_from_slice(&number.to_le_bytes());
    }

    fn numbers<const N: usize>(&mut self, numbers: [u64; N]) {
        numbers.into_iter().for_each(|number| self.number(number));
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.buffer.extend_from_slice(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Sink, T)) {
        self.buffer.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Sink, &T)) {
        self.number(items.len() as u64);
        for item in items {
            write(self, item);
        }
    }

    fn ids(&mut self, ids: &[NodeId]) {
        self.list(ids, |sink, id| sink.number(*id));
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.buffer.push(0),
            Value::Bool(value) => self.buffer.extend([1, u8::from(*value)]),
            Value::Number(number) => {
                self.buffer.push(2);
                self.text(&number.to_string());
            }
            Value::String(text) => {
                self.buffer.push(3);
                self.text(text);
            }
            Value::Array(items) => {
                self.buffer.push(4);
                self.list(items, Sink::value);
            }
            Value::Object(fields) => {
                self.buffer.push(5);
                self.number(fields.len() as u64);
                for (name, value) in fields {
                    self.text(name);
                    self.value(value);
                }
            }
        }
    }

    fn history(&mut self, event: &HistoryEvent) {
        let HistoryEvent {
            index,
            time_ns,
            process,
            kind,
            f,
            key,
            value,
            error,
            log_index,
            node,
            client,
            sequence,
            op,
            home,
            is_final,
        } = event;
        self.flush_if_full();
        self.numbers([*index, *time_ns, *process]);
        let kind = match kind {
            Kind::Invoke => 0,
            Kind::Ok => 1,
            Kind::Fail => 2,
            Kind::Info => 3,
        };
        // Whether there is a name shares a byte: the hashes of histories without names are those of old.
        self.buffer.extend([kind, u8::from(*home), u8::from(*is_final) | u8::from(op.is_some()) << 1]);
        self.text(match f {
            Function::Read => "read",
            Function::Write => "write",
            Function::Cas => "cas",
            Function::Other(name) => name,
        });
        self.text(key);
        match value.as_i64() {
            Some(number) => {
                self.buffer.push(6);
                self.number(number as u64);
            }
            None => self.value(value),
        }
        self.option(error.as_deref(), Sink::text);
        for field in [log_index, node, client, sequence] {
            self.option(*field, Sink::number);
        }
        match op {
            None => {}
            Some(OperationName::Client { client, number }) => self.numbers([0, (*client).into(), *number]),
            Some(OperationName::Home { node, number }) => self.numbers([1, *node, *number]),
        }
    }

    fn trace(&mut self, record: &TraceRecord) {
        self.flush_if_full();
        self.numbers([record.time_ns, record.node, record.boot]);
        self.buffer.push(crate::plan::event_number(&record.event) as u8);
        match &record.event {
            TraceEvent::Started { term, vote, snapshot_index, snapshot_term, snapshot_state, last_index } => {
                self.option(*vote, Sink::number);
                self.numbers([*term, *snapshot_index, *snapshot_term, *snapshot_state, *last_index]);
            }
            TraceEvent::Initialized { cluster, voters } => {
                self.text(cluster);
                self.ids(voters);
            }
            TraceEvent::RoleChanged { role, term, leader } => {
                self.buffer.push(match role {
                    Role::Follower => 0,
                    Role::PreCandidate => 1,
                    Role::Candidate => 2,
                    Role::Leader => 3,
                });
                self.number(*term);
                self.option(*leader, Sink::number);
            }
            TraceEvent::VoteCast { term, candidate } => self.numbers([*term, *candidate]),
            TraceEvent::Appended { index, term, checksum } => self.numbers([*index, *term, *checksum]),
            TraceEvent::Truncated { from } => self.number(*from),
            TraceEvent::Committed { index } => self.number(*index),
            TraceEvent::Applied { index, term, state, client, sequence, duplicate } => {
                self.numbers([*index, *term, *state, *client, *sequence]);
                self.buffer.push(u8::from(*duplicate));
            }
            TraceEvent::SnapshotMade { index, term, state }
            | TraceEvent::SnapshotInstalled { index, term, state } => {
                self.numbers([*index, *term, *state]);
            }
            TraceEvent::ConfigChanged { index, voters, learners, voters_outgoing } => {
                self.number(*index);
                self.ids(voters);
                self.ids(learners);
                // Only where there are any: runs without changes of the membership keep their fingerprints.
                if !voters_outgoing.is_empty() {
                    self.ids(voters_outgoing);
                }
            }
            TraceEvent::Stopped { reason } | TraceEvent::Refused { reason } => self.text(reason),
            TraceEvent::Panicked { message } => self.text(message),
        }
    }

    fn nemesis(&mut self, record: &NemesisRecord) {
        let NemesisRecord {
            step,
            phase,
            status,
            planned_ns,
            time_ns,
            kind,
            nodes,
            links,
            anchor,
            evidence,
            reason,
            fixed,
        } = record;
        self.number(*time_ns);
        let phase = match phase {
            Phase::Install => 0,
            Phase::Heal => 1,
            Phase::AllHealed => 2,
        };
        let status = match status {
            Status::Done => 0,
            Status::Skipped => 1,
            Status::Failed => 2,
        };
        self.buffer.extend([phase, status, u8::from(*fixed)]);
        self.text(kind);
        for field in [step, planned_ns, anchor] {
            self.option(*field, Sink::number);
        }
        self.ids(nodes);
        self.list(links, |sink, (from, to)| {
            sink.text(from);
            sink.text(to);
        });
        self.value(evidence);
        self.option(reason.as_deref(), Sink::text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(node: NodeId, index: u64) -> TraceRecord {
        let event =
            TraceEvent::Applied { index, term: 1, state: 5, client: 0, sequence: 0, duplicate: false };
        TraceRecord { time_ns: 9, node, boot: 1, event }
    }

    #[test]
    fn every_record_and_its_place_in_its_node_count() {
        let (a, b, other) = (applied(1, 1), applied(1, 2), applied(2, 1));
        let hash = |trace: &[&TraceRecord]| {
            fingerprint(&[], &trace.iter().map(|&record| record.clone()).collect::<Vec<_>>(), &[])
        };
        let whole = hash(&[&a, &b, &other]);
        assert_eq!(whole, hash(&[&other, &a, &b]), "nodes are told apart by name, not by place");
        for different in [&[&b, &a, &other][..], &[&a, &b], &[&a, &other, &other], &[]] {
            assert_ne!(whole, hash(different));
        }
    }

    #[test]
    fn records_read_back_from_json_have_the_same_hash() {
        let records: Vec<_> = (0..1_000).map(|index| applied(3, index)).collect();
        let again: Vec<TraceRecord> = records
            .iter()
            .map(|record| serde_json::from_str(&serde_json::to_string(record).unwrap()).unwrap())
            .collect();
        assert_eq!(fingerprint(&[], &records, &[]), fingerprint(&[], &again, &[]));
    }
}
