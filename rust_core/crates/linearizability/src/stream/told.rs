//! What operations of a stream did, for as long as an explanation may name them: the latest ones, and all that the
//! search may still speak of.

use std::collections::VecDeque;

use mcp_chaos_history::{Ending, History, Map, NEVER, Names, Operation, Set, Value};

use crate::{
    machine::table_bytes,
    online::{allocated, value_bytes},
};

/// At least so many of the latest operations are kept, if they fit.
const RECENT: usize = 1 << 13;

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct Tale {
    pub process: Box<str>,
    pub f: u32,
    pub key: Box<str>,
    pub argument: Value,
    pub invoked_at: u32,
    pub invoked_ns: u64,
    pub end: Option<End>,
}

#[derive(Clone, Debug)]
pub(super) struct End {
    ending: Ending,
    result: Value,
    error: Option<Box<str>>,
    completed_at: u32,
    completed_ns: u64,
}

impl Tale {
    /// The time of its event at this position.
    pub(super) fn time_ns_at(&self, event: u32) -> u64 {
        match &self.end {
            Some(end) if end.completed_at == event => end.completed_ns,
            _ => self.invoked_ns,
        }
    }

    fn heap_bytes(&self) -> u64 {
        let end = self.end.as_ref().map_or(0, End::heap_bytes);
        allocated(self.process.len()) + allocated(self.key.len()) + value_bytes(&self.argument) + end
    }
}

impl End {
    fn heap_bytes(&self) -> u64 {
        value_bytes(&self.result) + self.error.as_ref().map_or(0, |error| allocated(error.len()))
    }
}

/// The operations that are remembered.
#[derive(Debug)]
pub(super) struct Told {
    most_bytes: u64,
    functions: Names,
    /// The latest, without a gap.
    recent: VecDeque<Tale>,
    /// The number of the first of these.
    first: u32,
    /// Others that are at stake.
    older: Map<u32, Tale>,
    heap_bytes: u64,
    /// What was held after the last time that some were forgotten.
    kept_bytes: u64,
    forgotten_until: Option<u32>,
}

impl Told {
    pub(super) fn new(most_bytes: u64) -> Told {
        Told {
            most_bytes,
            functions: Names::default(),
            recent: VecDeque::new(),
            first: 0,
            older: Map::default(),
            heap_bytes: 0,
            kept_bytes: 0,
            forgotten_until: None,
        }
    }

    /// The number of the next operation, and how many there are.
    pub(super) fn next_number(&self) -> u32 {
        self.first + self.recent.len() as u32
    }

    /// A function's number.
    pub(super) fn function(&mut self, name: &str) -> u32 {
        self.functions.number(name)
    }

    pub(super) fn is_function(&self, number: u32, name: &str) -> bool {
        self.functions.get(number) == name
    }

    /// The last position at which an operation ended that is forgotten.
    pub(super) fn forgotten_until(&self) -> Option<u32> {
        self.forgotten_until
    }

    /// The next operation begins.
    pub(super) fn begin(&mut self, tale: Tale) {
        self.heap_bytes += tale.heap_bytes();
        self.recent.push_back(tale);
    }

    /// An operation has ended.
    pub(super) fn end(
        &mut self,
        operation: u32,
        ending: Ending,
        result: Value,
        error: Option<&str>,
        completed_at: u32,
        completed_ns: u64,
    ) {
        let end = End { ending, result, error: error.map(Box::from), completed_at, completed_ns };
        self.heap_bytes += end.heap_bytes();
        self.get_mut(operation).expect("what is in flight is at stake").end = Some(end);
    }

    fn get_mut(&mut self, operation: u32) -> Option<&mut Tale> {
        match operation.checked_sub(self.first) {
            Some(at) => self.recent.get_mut(at as usize),
            None => self.older.get_mut(&operation),
        }
    }

    pub(super) fn get(&self, operation: u32) -> Option<&Tale> {
        match operation.checked_sub(self.first) {
            Some(at) => self.recent.get(at as usize),
            None => self.older.get(&operation),
        }
    }

    /// The key of an operation in flight.
    pub(super) fn key(&self, operation: u32) -> &str {
        self.get(operation).map_or("", |tale| &tale.key)
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        (self.recent.capacity() * size_of::<Tale>()) as u64
            + table_bytes(self.older.capacity(), size_of::<(u32, Tale)>())
            + self.heap_bytes
    }

    /// Whether some should be forgotten.
    pub(super) fn is_full(&self) -> bool {
        self.recent.len() >= 2 * RECENT || self.bytes() > self.most_bytes.max(2 * self.kept_bytes)
    }

    /// Forgets the older half of the latest operations, and older ones, unless they are at stake.
    pub(super) fn forget_all_but(&mut self, at_stake: &Set<u32>) {
        let Told { recent, first, older, heap_bytes, forgotten_until, .. } = self;
        let mut forget = |tale: &Tale| {
            *heap_bytes -= tale.heap_bytes();
            let ended_at = tale.end.as_ref().map(|end| end.completed_at);
            *forgotten_until = (*forgotten_until).max(ended_at);
        };
        older.retain(|number, tale| {
            let is_kept = at_stake.contains(number);
            if !is_kept {
                forget(tale);
            }
            is_kept
        });
        for tale in recent.drain(..recent.len() / 2) {
            if at_stake.contains(first) {
                older.insert(*first, tale);
            } else {
                forget(&tale);
            }
            *first += 1;
        }
        self.kept_bytes = self.bytes();
    }

    /// What is known of one key's operations (of all, if none is named) as a history of its own, and the number of
    /// each, ascending. Where an operation's end was read, but is later than what is judged, it is told all the same.
    pub(super) fn excerpt(&self, key: Option<&str>, operation: u32) -> (History, Vec<u32>) {
        let mut tales: Vec<(u32, &Tale)> = self.older.iter().map(|(number, tale)| (*number, tale)).collect();
        tales.extend((self.first..).zip(&self.recent));
        tales.retain(|(number, tale)| *number == operation || key.is_none_or(|key| *tale.key == *key));
        tales.sort_unstable_by_key(|(number, _)| *number);
        let mut history = History { functions: self.functions.clone(), ..History::default() };
        history.keys.number("");
        for (_, tale) in &tales {
            let end = tale.end.as_ref();
            let told = Operation {
                invoked_ns: tale.invoked_ns,
                completed_ns: end.map_or(u64::MAX, |end| end.completed_ns),
                invoked_at: tale.invoked_at,
                completed_at: end.map_or(NEVER, |end| end.completed_at),
                process: history.processes.number(&tale.process),
                key: history.keys.number(&tale.key),
                f: tale.f,
                argument: history.values.number(tale.argument.clone()),
                result: history.values.number(end.map_or(Value::Null, |end| end.result.clone())),
                error: end
                    .and_then(|end| end.error.as_deref())
                    .map_or(0, |error| history.errors.number(error) + 1),
                ending: end.map_or(Ending::Unknown, |end| end.ending),
            };
            history.operations.push(told);
        }
        (history, tales.into_iter().map(|(number, _)| number).collect())
    }
}
