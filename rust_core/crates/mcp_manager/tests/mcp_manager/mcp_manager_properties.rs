//! Properties over random logs, against a model that keeps everything for ever.

use std::collections::BTreeMap;

use mcp_manager::command::{
    Answer, Command, Expected, ListStep, Operation, Outcome, Query, ServerSpec, ServerState, Transport,
};
use mcp_manager::limits::{SessionLimits, check};
use mcp_manager::{Applied, Machine};
use proptest::prelude::*;

const LIMITS: SessionLimits = SessionLimits { ttl_ms: 50, max_count: 3 };

/// One entry of a random log. Clients are chosen among the sessions ever opened, by number.
#[derive(Clone, Debug)]
enum Step {
    Open {
        later_ms: u64,
    },
    Operate {
        who: usize,
        operation: Operation,
        later_ms: u64,
    },
    /// The (client, sequence) of an earlier request once more, with whatever it now asks for.
    Repeat {
        which: usize,
        operation: Operation,
        later_ms: u64,
    },
    NoOp,
    Junk(Vec<u8>),
}

fn operations() -> impl Strategy<Value = Operation> {
    let key = || prop_oneof![Just(""), Just("a"), Just("b")].prop_map(str::to_owned);
    let value = || (0u8..4).prop_map(|n| n.to_string());
    let expected = prop_oneof![
        proptest::option::of(value()).prop_map(Expected::Value),
        (0u64..30).prop_map(Expected::Version)
    ];
    let name = || prop_oneof![Just("s"), Just("t")].prop_map(str::to_owned);
    let endpoint = prop_oneof![Just("http://s"), Just("serve")].prop_map(str::to_owned);
    let transport = prop_oneof![Just(Transport::Stdio), Just(Transport::Sse)];
    let list_step = prop_oneof![
        (key(), value()).prop_map(|(key, element)| ListStep::Append { key, element }),
        key().prop_map(|key| ListStep::Read { key }),
    ];
    let holder = || prop_oneof![Just("c1"), Just("c2")].prop_map(str::to_owned);
    let ttl_ms = || prop_oneof![1 => Just(0u64), 9 => 1u64..40];
    let state = prop_oneof![Just(ServerState::Ready), Just(ServerState::Failed)];
    prop_oneof![
        3 => (key(), value()).prop_map(|(key, value)| Operation::Write { key, value }),
        3 => (key(), expected, value())
            .prop_map(|(key, expected, value)| Operation::CompareAndSet { key, expected, value }),
        1 => (name(), transport, endpoint).prop_map(|(name, transport, endpoint)| Operation::Register {
            server: ServerSpec { name, transport, endpoint }
        }),
        1 => name().prop_map(|name| Operation::Deregister { name }),
        1 => (name(), state).prop_map(|(name, state)| Operation::SetState { name, state }),
        1 => (key(), -3i64..4).prop_map(|(key, amount)| Operation::Add { key, amount }),
        2 => proptest::collection::vec(list_step, 0..4).prop_map(|steps| Operation::Transact { steps }),
        2 => (name(), holder(), ttl_ms()).prop_map(|(name, holder, ttl_ms)| Operation::Acquire { name, holder, ttl_ms }),
        1 => (name(), holder(), ttl_ms()).prop_map(|(name, holder, ttl_ms)| Operation::Renew { name, holder, ttl_ms }),
        1 => (name(), holder()).prop_map(|(name, holder)| Operation::Release { name, holder }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let later = || prop_oneof![4 => 0u64..10, 1 => 40u64..60];
    let step = prop_oneof![
        2 => later().prop_map(|later_ms| Step::Open { later_ms }),
        6 => (0usize..8, operations(), later())
            .prop_map(|(who, operation, later_ms)| Step::Operate { who, operation, later_ms }),
        4 => (0usize..8, operations(), later())
            .prop_map(|(which, operation, later_ms)| Step::Repeat { which, operation, later_ms }),
        1 => Just(Step::NoOp),
        1 => proptest::collection::vec(any::<u8>(), 1..12).prop_map(Step::Junk),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The entries of a log, from index 2 on.
fn entries(steps: &[Step]) -> Vec<Vec<u8>> {
    let (mut index, mut now_ms) = (1, 1_000);
    let mut opened = Vec::new();
    let mut sent: Vec<(u64, u64)> = Vec::new();
    let mut entries = Vec::new();
    for step in steps {
        index += 1;
        let data = match step.clone() {
            Step::Open { later_ms } => {
                now_ms += later_ms;
                opened.push((index, 0u64));
                Command::OpenSession { now_ms }.encode().to_vec()
            }
            Step::Operate { who, operation, later_ms } => {
                now_ms += later_ms;
                let count = opened.len();
                let (client, sequence) = match opened.get_mut(who.checked_rem(count).unwrap_or(0)) {
                    Some((client, last)) => {
                        *last += 1;
                        (*client, *last)
                    }
                    None => (99, 1), // Nobody's.
                };
                sent.push((client, sequence));
                Command::Operate { client, sequence, now_ms, operation }.encode().to_vec()
            }
            Step::Repeat { which, operation, later_ms } => {
                now_ms += later_ms;
                let back = which.min(sent.len().saturating_sub(1)) + 1;
                let (client, sequence) = sent.len().checked_sub(back).map_or((99, 0), |at| sent[at]);
                Command::Operate { client, sequence, now_ms, operation }.encode().to_vec()
            }
            Step::NoOp => Vec::new(),
            // Bytes that happen to be a command would surprise the model.
            Step::Junk(bytes) if Command::decode(&bytes).is_ok() => Vec::new(),
            Step::Junk(bytes) => bytes,
        };
        entries.push(data);
    }
    entries
}

fn founded() -> Machine {
    Machine::found("test", LIMITS)
}

fn apply_all(machine: &mut Machine, first: u64, entries: &[Vec<u8>]) -> Vec<Applied> {
    (first..).zip(entries).map(|(index, data)| machine.apply(index, 1, data)).collect()
}

/// The simplest thing that could be right: remembers every request it carried out, looks through lists.
#[derive(Default)]
struct Model {
    now_ms: u64,
    /// (used_ms, client, last sequence).
    sessions: Vec<(u64, u64, u64)>,
    carried_out: BTreeMap<(u64, u64), (Outcome, u64)>,
    settings: BTreeMap<String, (String, u64)>,
    servers: BTreeMap<String, (ServerSpec, ServerState, u64)>,
    counters: BTreeMap<String, (i64, u64)>,
    lists: BTreeMap<String, Vec<String>>,
    /// Holder, token, and when it ends.
    leases: BTreeMap<String, (String, u64, u64)>,
}

impl Model {
    /// (outcome, log index, duplicate).
    fn apply(&mut self, index: u64, data: &[u8]) -> (Outcome, u64, bool) {
        if data.is_empty() {
            return (Outcome::Done { version: index }, index, false);
        }
        match Command::decode(data) {
            Err(error) => (Outcome::Rejected { reason: error.to_string() }, index, false),
            Ok(Command::OpenSession { now_ms }) => {
                self.pass(now_ms);
                self.sessions.push((self.now_ms, index, 0));
                if self.sessions.len() as u64 > LIMITS.max_count {
                    self.sessions.sort();
                    self.sessions.remove(0);
                }
                (Outcome::Session { client: index }, index, false)
            }
            Ok(Command::Operate { client, sequence, now_ms, operation }) => {
                if let Some((_, _, last)) = self.sessions.iter().find(|session| session.1 == client) {
                    if sequence == *last && sequence > 0 {
                        let (outcome, log_index) = self.carried_out[&(client, sequence)].clone();
                        return (outcome, log_index, true);
                    }
                    if sequence <= *last {
                        return (Outcome::StaleSequence { last: *last }, index, false);
                    }
                }
                self.pass(now_ms);
                let now_ms = self.now_ms;
                let Some(session) = self.sessions.iter_mut().find(|session| session.1 == client) else {
                    return (Outcome::SessionExpired, index, false);
                };
                (session.0, session.2) = (now_ms, sequence);
                let outcome = self.carry_out(index, operation);
                let earlier = self.carried_out.insert((client, sequence), (outcome.clone(), index));
                assert_eq!(earlier, None, "carried out twice");
                (outcome, index, false)
            }
        }
    }

    fn pass(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        let now_ms = self.now_ms;
        self.sessions.retain(|session| now_ms - session.0 <= LIMITS.ttl_ms);
        self.leases.retain(|_, (_, _, ends_ms)| *ends_ms > now_ms);
    }

    fn carry_out(&mut self, index: u64, operation: Operation) -> Outcome {
        if let Err(reason) = check(&operation) {
            return Outcome::Rejected { reason };
        }
        match operation {
            Operation::Write { key, value } => drop(self.settings.insert(key, (value, index))),
            Operation::CompareAndSet { key, expected, value } => {
                let (actual, version) = match self.settings.get(&key) {
                    Some((value, version)) => (Some(value.clone()), *version),
                    None => (None, 0),
                };
                let holds = match expected {
                    Expected::Value(value) => value == actual,
                    Expected::Version(expected) => expected == version,
                };
                if !holds {
                    return Outcome::Mismatch { actual, version };
                }
                self.settings.insert(key, (value, index));
            }
            Operation::Register { server } => {
                self.servers.insert(server.name.clone(), (server, ServerState::Registered, index));
            }
            Operation::Deregister { name } => {
                if self.servers.remove(&name).is_none() {
                    return Outcome::NotFound;
                }
            }
            Operation::SetState { name, state } => match self.servers.get_mut(&name) {
                Some(server) => (server.1, server.2) = (state, index),
                None => return Outcome::NotFound,
            },
            Operation::Add { key, amount } => {
                let counter = self.counters.entry(key).or_default();
                *counter = (counter.0 + amount, index);
            }
            Operation::Transact { steps } => {
                let mut lists = Vec::new();
                for step in steps {
                    match step {
                        ListStep::Append { key, element } => self.lists.entry(key).or_default().push(element),
                        ListStep::Read { key } => {
                            lists.push(self.lists.get(&key).cloned().unwrap_or_default())
                        }
                    }
                }
                return Outcome::Transacted { version: index, lists };
            }
            Operation::Acquire { name, holder, ttl_ms } => {
                if let Some((holder, token, _)) = self.leases.get(&name).cloned() {
                    return Outcome::Held { holder, token };
                }
                self.leases.insert(name, (holder, index, self.now_ms + ttl_ms));
                return Outcome::Leased { token: index };
            }
            Operation::Renew { name, holder, ttl_ms } => match self.leases.get_mut(&name) {
                Some(lease) if lease.0 == holder => {
                    lease.2 = self.now_ms + ttl_ms;
                    return Outcome::Leased { token: lease.1 };
                }
                _ => return Outcome::NotHeld,
            },
            Operation::Release { name, holder } => {
                if self.leases.get(&name).is_none_or(|lease| lease.0 != holder) {
                    return Outcome::NotHeld;
                }
                self.leases.remove(&name);
            }
        }
        Outcome::Done { version: index }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Under random retries, each request takes effect once, and every retry is told what the first gave.
    #[test]
    fn requests_are_applied_exactly_once(steps in steps()) {
        let (mut machine, mut model) = (founded(), Model::default());
        for (index, data) in (2..).zip(entries(&steps)) {
            let applied = machine.apply(index, 1, &data);
            prop_assert_eq!((applied.outcome, applied.log_index, applied.duplicate), model.apply(index, &data));
            prop_assert_eq!(machine.session_count(), model.sessions.len());
        }
        for key in ["a", "b"] {
            let answer = machine.query(&Query::Setting { key: key.into() });
            let (value, version) = model.settings.get(key).cloned().map_or((None, 0), |(v, n)| (Some(v), n));
            prop_assert_eq!(answer, Answer::Setting { value, version });
            let (value, version) = model.counters.get(key).copied().unwrap_or_default();
            prop_assert_eq!(machine.query(&Query::Counter { key: key.into() }), Answer::Counter { value, version });
            let lists = vec![model.lists.get(key).cloned().unwrap_or_default()];
            prop_assert_eq!(machine.query(&Query::Lists { keys: vec![key.into()] }), Answer::Lists { lists });
        }
        for name in ["s", "t"] {
            let held = model.leases.get(name).cloned();
            let (holder, token) = held.map_or((None, 0), |(holder, token, _)| (Some(holder), token));
            prop_assert_eq!(machine.query(&Query::Lease { name: name.into() }), Answer::Lease { holder, token });
        }
        let Answer::Servers { servers } = machine.query(&Query::Servers) else { panic!("not a list") };
        let servers: Vec<_> = servers.into_iter().map(|server| (server.spec, server.state, server.version)).collect();
        prop_assert_eq!(servers, model.servers.into_values().collect::<Vec<_>>());
    }

    /// The running checksum is that of the content, after every entry.
    #[test]
    fn the_checksum_is_that_of_the_content(steps in steps()) {
        let mut machine = founded();
        for (index, data) in (2..).zip(entries(&steps)) {
            let applied = machine.apply(index, 1, &data);
            prop_assert_eq!(applied.state_checksum, machine.recomputed_checksum());
        }
    }

    /// Same bytes if and only if same checksum, along one log: nothing changes unseen.
    #[test]
    fn the_checksum_changes_exactly_when_the_content_does(steps in steps()) {
        let mut machine = founded();
        let mut seen = BTreeMap::from([(machine.snapshot(), machine.state_checksum())]);
        for (index, data) in (2..).zip(entries(&steps)) {
            let applied = machine.apply(index, 1, &data);
            let checksum = *seen.entry(machine.snapshot()).or_insert(applied.state_checksum);
            prop_assert_eq!(checksum, applied.state_checksum);
        }
        let distinct: std::collections::BTreeSet<u64> = seen.values().copied().collect();
        prop_assert_eq!(distinct.len(), seen.len());
    }

    /// A retry, a stale number, a no-op and junk change nothing at all.
    #[test]
    fn what_is_not_carried_out_changes_nothing(steps in steps()) {
        let mut machine = founded();
        for (index, data) in (2..).zip(entries(&steps)) {
            let before = machine.snapshot();
            let applied = machine.apply(index, 1, &data);
            let is_stale = matches!(applied.outcome, Outcome::StaleSequence { .. });
            if applied.duplicate || is_stale || Command::decode(&data).is_err() {
                prop_assert_eq!(machine.snapshot(), before);
            }
            if applied.duplicate {
                prop_assert!(applied.client > 0 && applied.sequence > 0 && applied.log_index < index);
            }
        }
    }

    /// Replicas that apply the same log agree, and terms do not matter to the state.
    #[test]
    fn replicas_agree(steps in steps(), term in 1u64..9) {
        let entries = entries(&steps);
        let (mut one, mut other) = (founded(), founded());
        let first = apply_all(&mut one, 2, &entries);
        for (applied, (index, data)) in first.iter().zip((2..).zip(&entries)) {
            let mut twin = other.apply(index, term, data);
            twin.term = applied.term;
            prop_assert_eq!(applied, &twin);
        }
        prop_assert_eq!(one.snapshot(), other.snapshot());
    }

    /// A replica restored from a snapshot made anywhere goes on as if it had applied everything itself.
    #[test]
    fn a_snapshot_anywhere_changes_nothing_thereafter(steps in steps(), at in any::<prop::sample::Index>()) {
        let entries = entries(&steps);
        let at = at.index(entries.len() + 1);
        let mut whole = founded();
        apply_all(&mut whole, 2, &entries[..at]);
        let mut restored = Machine::restore(&whole.snapshot()).unwrap();
        prop_assert_eq!(restored.state_checksum(), whole.state_checksum());
        let first = 2 + at as u64;
        prop_assert_eq!(apply_all(&mut restored, first, &entries[at..]), apply_all(&mut whole, first, &entries[at..]));
        prop_assert_eq!(restored.snapshot(), whole.snapshot());
        prop_assert_eq!(restored.state_checksum(), restored.recomputed_checksum());
    }

    /// Whatever stands in a log, applying it does not panic.
    #[test]
    fn no_bytes_panic_the_machine(data in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut machine = founded();
        machine.apply(2, 1, &Command::OpenSession { now_ms: 5 }.encode());
        machine.apply(3, 1, &data);
        prop_assert_eq!(machine.state_checksum(), machine.recomputed_checksum());
    }

    /// Whatever a snapshot holds, restoring it gives an error or a machine, never a panic; and such a machine
    /// works.
    #[test]
    fn a_flipped_bit_never_panics_a_restore(steps in steps(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut machine = founded();
        apply_all(&mut machine, 2, &entries(&steps));
        let mut bytes = machine.snapshot().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(mut restored) = Machine::restore(&bytes) {
            restored.apply(1_000, 1, &Command::OpenSession { now_ms: 1_000_000 }.encode());
            prop_assert_eq!(restored.state_checksum(), restored.recomputed_checksum());
        }
    }

    #[test]
    fn commands_survive_their_encoding(operation in operations(), client: u64, sequence: u64, now_ms: u64) {
        let command = Command::Operate { client, sequence, now_ms, operation };
        prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
    }
}
