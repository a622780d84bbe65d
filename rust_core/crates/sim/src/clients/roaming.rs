//! A client that keeps a session, follows hints to the leader and tries again elsewhere.
//!
//! It keeps apart what certainly had no effect (`fail`) from what nobody knows (`info`): an attempt that was
//! sent and never answered may still be proposed, applied, or both, at any later time.

use std::{collections::VecDeque, sync::Arc};

use mcp_chaos_evidence::{HistoryEvent, Kind, NodeId, OperationName};
use mcp_manager::command::{
    Answer, Expected, ListStep, Operation, Outcome, Request, Response, ServerSpec, Transport,
};
use serde_json::Value;

use super::{Alarm, Effect, MAX_HOPS, PAUSE_NS, Reply, Setting, error_code, read_result};
use crate::{
    plan::{FIRST_HAND_PROCESS, PROCESS_STEP},
    workload::{self, Action, Step},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// Until the next operation begins.
    Thinking,
    Asking,
    /// Before the next request of the same task.
    Pausing,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    OpenSession,
    Operate { key: u32, action: Action },
}

/// What is under way: the opening of a session, or one operation with all its attempts.
#[derive(Clone, Copy, Debug)]
struct Task {
    deed: Deed,
    deadline_ns: u64,
    attempt_deadline_ns: u64,
    hops: u32,
    /// An attempt was sent and not turned away: its effect is unknown.
    in_doubt: bool,
    /// `None`: not of the workload.
    op: Option<OperationName>,
    is_final: bool,
    /// Set: this node is asked, and no other.
    only_node: Option<NodeId>,
    /// Its pauses say nothing about availability.
    home: bool,
    error: &'static str,
}

/// An operation that a client driven by hand is to do.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The register's number.
    pub key: u32,
    /// What is done to it.
    pub action: Action,
    /// Set: this node is asked, and no other.
    pub only_node: Option<NodeId>,
    /// Marked as a reader's at home: its pauses say nothing about availability.
    pub home: bool,
}

/// The number of every client that is driven by hand.
const BY_HAND: u32 = 0;

/// One roaming client.
#[derive(Debug)]
pub struct Roaming {
    setting: Arc<Setting>,
    number: u32,
    process: u64,
    node: NodeId,
    session: Option<u64>,
    sequence: u64,
    /// Operations of the workload begun so far.
    n: u64,
    /// The number of the operation begun last, from 1; those left out count, and the final ones go on counting.
    number_begun: u64,
    begun_ns: u64,
    /// What it last saw in each register; in each lease, the number of the acquire under which it holds it.
    seen: Vec<Option<Option<i64>>>,
    alarm: Alarm,
    serial: u32,
    phase: Phase,
    task: Option<Task>,
    /// Begun by hand, and waits for a session.
    ordered: Option<Task>,
    finals: VecDeque<u32>,
}

impl Roaming {
    /// The client number `hand`, from 0, of those that do nothing but what they are told.
    pub fn by_hand(setting: Arc<Setting>, hand: u64) -> Roaming {
        Roaming {
            process: FIRST_HAND_PROCESS + hand,
            node: hand % setting.nodes + 1,
            number: BY_HAND,
            ..Roaming::new(setting, 1)
        }
    }

    /// One operation, now. Only for an idle client driven by hand. A write opens a session first if there is none,
    /// wherever one can be had, within the operation's time.
    pub fn operate(&mut self, now_ns: u64, order: Order, out: &mut Vec<Effect>) {
        debug_assert!(self.number == BY_HAND && self.is_idle());
        let Order { key, action, only_node, home } = order;
        let task = Task { only_node, home, ..self.new_task(now_ns, key, action) };
        if action == Action::Read || self.session.is_some() {
            return self.begin(now_ns, task, out);
        }
        self.task = Some(task);
        out.push(Effect::Record(self.event(now_ns, key, action, Kind::Invoke, action.argument())));
        self.ordered = Some(task);
        self.sequence = 0;
        self.task = Some(Task::new(Deed::OpenSession, task.deadline_ns));
        self.attempt(now_ns, out);
    }

    /// Whether it has a session, as far as it knows.
    pub fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// Client `number`, from 1.
    pub fn new(setting: Arc<Setting>, number: u32) -> Roaming {
        Roaming {
            number,
            process: u64::from(number) - 1,
            node: (u64::from(number) - 1) % setting.nodes + 1,
            session: None,
            sequence: 0,
            n: 0,
            number_begun: 0,
            begun_ns: setting.start_ns,
            seen: vec![None; setting.keys.len()],
            alarm: Alarm::default(),
            serial: 0,
            phase: Phase::Idle,
            task: None,
            ordered: None,
            finals: VecDeque::new(),
            setting,
        }
    }

    /// Begins: opens its session.
    pub fn start(&mut self, now_ns: u64, out: &mut Vec<Effect>) {
        self.open_session(now_ns, out);
    }

    /// True if no operation is under way and none will begin by itself.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// After the workload's end: change each of these once, and mark it as final.
    pub fn begin_finals(&mut self, now_ns: u64, keys: impl Iterator<Item = u32>, out: &mut Vec<Effect>) {
        self.finals.extend(keys.map(|key| self.setting.final_key(key)));
        if self.is_idle() {
            self.next(now_ns, out);
        }
    }

    /// Gives up what it could not begin for want of a session: final operations that count as failed.
    pub fn abandon(&mut self, now_ns: u64, out: &mut Vec<Effect>) {
        if matches!(self.task, Some(Task { deed: Deed::Operate { .. }, .. })) {
            return;
        }
        for key in std::mem::take(&mut self.finals) {
            let action = self.final_write(key);
            self.task = Some(Task { is_final: true, ..Task::new(Deed::Operate { key, action }, now_ns) });
            let invoke = self.event(now_ns, key, action, Kind::Invoke, action.argument());
            let failed = self.event(now_ns, key, action, Kind::Fail, action.argument());
            out.push(Effect::Record(invoke));
            out.push(Effect::Record(HistoryEvent { error: Some("no_session".to_owned()), ..failed }));
        }
        self.task = None;
        self.phase = Phase::Idle;
        self.alarm.clear();
    }

    /// The moment it waited for has come.
    pub fn wake(&mut self, now_ns: u64, epoch: u32, out: &mut Vec<Effect>) {
        if epoch != self.alarm.epoch {
            return;
        }
        match self.phase {
            Phase::Idle => {}
            Phase::Thinking => self.begin_next(now_ns, out),
            Phase::Asking => {
                out.push(Effect::Cancel { node: self.node, serial: self.serial });
                let task = self.task();
                task.in_doubt = true;
                task.error = "timeout";
                self.turn_to_next_node();
                self.attempt(now_ns, out);
            }
            Phase::Pausing => {
                if now_ns < self.task().attempt_deadline_ns {
                    self.ask(now_ns, out);
                } else {
                    self.attempt(now_ns, out);
                }
            }
        }
    }

    /// A reply came, or the connection failed.
    pub fn reply(&mut self, now_ns: u64, serial: u32, reply: &Reply, out: &mut Vec<Effect>) {
        if self.phase != Phase::Asking || serial != self.serial {
            return;
        }
        match reply {
            Reply::Response(Response::NotLeader { leader }) => self.not_leader(now_ns, *leader, out),
            Reply::Response(Response::Applied { outcome, log_index }) => {
                self.applied(now_ns, outcome, *log_index, out)
            }
            Reply::Response(response @ Response::Read { .. }) => self.read(now_ns, response, out),
            Reply::Response(Response::Unavailable { .. } | Response::NotMember { .. }) | Reply::Refused => {
                self.turned_away(now_ns, reply, out)
            }
            Reply::Response(
                Response::Unknown { .. }
                | Response::Accepted
                | Response::Changed { .. }
                | Response::ChangeRefused { .. },
            )
            | Reply::Reset => {
                self.task().in_doubt = true;
                self.turned_away(now_ns, reply, out);
            }
        }
    }

    fn task(&mut self) -> &mut Task {
        self.task.as_mut().expect("a task is under way")
    }

    fn turn_to_next_node(&mut self) {
        if self.task().only_node.is_some() {
            return;
        }
        self.node = self.node % self.setting.nodes + 1;
    }

    fn open_session(&mut self, now_ns: u64, out: &mut Vec<Effect>) {
        self.session = None;
        self.sequence = 0;
        self.task = Some(Task::new(Deed::OpenSession, u64::MAX));
        self.attempt(now_ns, out);
    }

    /// After a task: the session, the final operations, the workload's next operation, or nothing.
    fn next(&mut self, now_ns: u64, out: &mut Vec<Effect>) {
        self.task = None;
        if self.number == BY_HAND {
            return match self.ordered.take() {
                Some(task) => self.proceed(now_ns, task, out),
                None => self.rest(),
            };
        }
        if self.session.is_none() {
            return self.open_session(now_ns, out);
        }
        if let Some(key) = self.finals.pop_front() {
            let action = self.final_write(key);
            let task = self.new_task(now_ns, key, action);
            return self.begin(now_ns, Task { is_final: true, ..task }, out);
        }
        let Setting { seed, workload, start_ns, stop_ns, .. } = &*self.setting;
        let pace = workload::pace(workload);
        let due_ns = workload::think_ns(*seed, workload, self.number, self.n)
            .map(|think_ns| start_ns + pace.due_ns(self.begun_ns - start_ns, think_ns))
            .map(|due_ns| start_ns + pace.waited_ns(due_ns.max(now_ns).max(*start_ns) - start_ns))
            .filter(|due_ns| due_ns < stop_ns);
        match due_ns {
            None => self.rest(),
            Some(due_ns) => {
                self.phase = Phase::Thinking;
                self.alarm.set(due_ns, out);
            }
        }
    }

    fn rest(&mut self) {
        self.phase = Phase::Idle;
        self.alarm.clear();
    }

    fn final_write(&mut self, key: u32) -> Action {
        self.number_begun += 1;
        let value = workload::value(self.number, self.number_begun);
        workload::last_change(&self.setting.workload, key, value)
    }

    fn begin_next(&mut self, now_ns: u64, out: &mut Vec<Effect>) {
        let Setting { seed, workload, .. } = &*self.setting;
        let drawn = workload::operation(*seed, workload, self.number, self.n, |key| self.seen[key as usize]);
        let workload::Operation { number, key, action, .. } = drawn.expect("it has waited for one");
        self.n += 1;
        self.number_begun = number;
        self.begun_ns = now_ns;
        let op = Some(OperationName::Client { client: self.number, number });
        let task = self.new_task(now_ns, key, action);
        self.begin(now_ns, Task { op, ..task }, out);
    }

    fn new_task(&self, now_ns: u64, key: u32, action: Action) -> Task {
        let deadline_ns = now_ns + self.setting.workload.operation_timeout_ns;
        Task::new(Deed::Operate { key, action }, deadline_ns)
    }

    /// Begins an operation, with its session open.
    fn begin(&mut self, now_ns: u64, task: Task, out: &mut Vec<Effect>) {
        let Deed::Operate { key, action } = task.deed else { unreachable!("only operations begin so") };
        if action != Action::Read {
            self.sequence += 1;
        }
        self.turn_to(task);
        let invoke = self.event(now_ns, key, action, Kind::Invoke, action.argument());
        out.push(Effect::Record(invoke));
        self.attempt(now_ns, out);
    }

    /// Goes on with a write begun without a session, now that there is one.
    fn proceed(&mut self, now_ns: u64, task: Task, out: &mut Vec<Effect>) {
        self.sequence += 1;
        self.turn_to(task);
        self.attempt(now_ns, out);
    }

    fn turn_to(&mut self, task: Task) {
        self.node = task.only_node.unwrap_or(self.node);
        self.task = Some(task);
    }

    /// Begins an attempt at the node it uses now, unless the operation has run out of time.
    fn attempt(&mut self, now_ns: u64, out: &mut Vec<Effect>) {
        let attempt_timeout_ns = self.setting.workload.attempt_timeout_ns;
        let task = self.task();
        if now_ns >= task.deadline_ns {
            return self.give_up(now_ns, out);
        }
        task.attempt_deadline_ns = now_ns + attempt_timeout_ns;
        task.hops = 0;
        self.ask(now_ns, out);
    }

    fn ask(&mut self, now_ns: u64, out: &mut Vec<Effect>) {
        let task = *self.task();
        if now_ns >= task.deadline_ns {
            return self.give_up(now_ns, out);
        }
        self.serial += 1;
        self.phase = Phase::Asking;
        out.push(Effect::Send { node: self.node, serial: self.serial, request: self.request(task.deed) });
        self.alarm.set(task.attempt_deadline_ns.min(task.deadline_ns), out);
    }

    fn pause(&mut self, now_ns: u64, out: &mut Vec<Effect>) {
        self.phase = Phase::Pausing;
        self.alarm.set(now_ns + PAUSE_NS, out);
    }

    fn request(&self, deed: Deed) -> Request {
        let Deed::Operate { key: number, action } = deed else { return Request::OpenSession };
        let key = self.setting.name(number).into_owned();
        let ttl_ms = self.setting.workload.lease_ns / 1_000_000;
        let stored = |value: i64| workload::text(&self.setting.workload, value);
        let operation = match action {
            Action::Read => return Request::Query(self.setting.query(number)),
            Action::Write(value) => Operation::Write { key, value: stored(value) },
            Action::Cas { expected, new } => Operation::CompareAndSet {
                key,
                expected: Expected::Value(expected.map(stored)),
                value: stored(new),
            },
            Action::Add(amount) => Operation::Add { key, amount },
            Action::Append(value) => {
                Operation::Transact { steps: vec![ListStep::Append { key, element: stored(value) }] }
            }
            Action::Transact(transaction) => {
                let name = |step: &Step| self.setting.name(step.key).into_owned();
                let step = |step: &Step| match step.appended {
                    Some(element) => ListStep::Append { key: name(step), element: stored(element) },
                    None => ListStep::Read { key: name(step) },
                };
                Operation::Transact { steps: transaction.steps().iter().map(step).collect() }
            }
            Action::Register(number) => Operation::Register {
                server: ServerSpec {
                    name: key,
                    transport: Transport::StreamableHttp,
                    endpoint: workload::endpoint(number),
                },
            },
            Action::SetState(state) => Operation::SetState { name: key, state },
            Action::Deregister => Operation::Deregister { name: key },
            Action::Acquire(number) => {
                Operation::Acquire { name: key, holder: workload::holder(number), ttl_ms }
            }
            Action::Renew(number) => Operation::Renew { name: key, holder: workload::holder(number), ttl_ms },
            Action::Release(number) => Operation::Release { name: key, holder: workload::holder(number) },
        };
        let client = self.session.expect("an operation has its session");
        Request::Operate { client, sequence: self.sequence, operation }
    }

    fn not_leader(&mut self, now_ns: u64, leader: Option<NodeId>, out: &mut Vec<Effect>) {
        let node = self.node;
        let task = self.task();
        task.error = "not_leader";
        match leader {
            Some(leader) if leader != node && task.hops < MAX_HOPS && task.only_node.is_none() => {
                task.hops += 1;
                self.node = leader;
            }
            _ => {
                task.attempt_deadline_ns = now_ns;
                self.turn_to_next_node();
            }
        }
        self.pause(now_ns, out);
    }

    fn turned_away(&mut self, now_ns: u64, reply: &Reply, out: &mut Vec<Effect>) {
        let task = self.task();
        task.error = error_code(reply);
        task.attempt_deadline_ns = now_ns;
        self.turn_to_next_node();
        self.pause(now_ns, out);
    }

    fn read(&mut self, now_ns: u64, response: &Response, out: &mut Vec<Effect>) {
        match (self.task().deed, read_result(response)) {
            (Deed::Operate { key, action: Action::Read }, Some((answer, log_index)))
                if let Some(found) = self.setting.found(answer) =>
            {
                if let Answer::Setting { value, .. } = answer {
                    self.seen[key as usize] = self.seen_in(value.as_deref());
                }
                let done = self.event(now_ns, key, Action::Read, Kind::Ok, found);
                out.push(Effect::Record(HistoryEvent { log_index: Some(log_index), ..done }));
                self.next(now_ns, out);
            }
            _ => self.finish(now_ns, Kind::Info, "unexpected_answer", None, out),
        }
    }

    fn applied(&mut self, now_ns: u64, outcome: &Outcome, log_index: u64, out: &mut Vec<Effect>) {
        match (self.task().deed, outcome) {
            (Deed::OpenSession, Outcome::Session { client }) => {
                self.session = Some(*client);
                self.next(now_ns, out);
            }
            (Deed::OpenSession, _) => self.attempt(now_ns, out),
            (Deed::Operate { action: Action::Transact(transaction), .. }, outcome)
                if !matches!(outcome, Outcome::Transacted { lists, .. } if lists.len() == transaction.reads())
                    && is_done(outcome) =>
            {
                self.finish(now_ns, Kind::Info, "unexpected_answer", None, out);
            }
            (Deed::Operate { key, action }, outcome) if is_done(outcome) => {
                let mut result = action.result();
                match (action, outcome) {
                    (Action::Transact(transaction), Outcome::Transacted { lists, .. }) => {
                        result = transaction.result(lists.iter().map(|list| self.setting.list(list)));
                    }
                    (Action::Write(new) | Action::Cas { new, .. }, _) => {
                        self.seen[key as usize] = Some(Some(new));
                    }
                    (Action::Acquire(number), Outcome::Leased { token }) => {
                        self.seen[key as usize] = Some(Some(number));
                        result = Value::from(*token);
                    }
                    (Action::Release(_), _) => self.seen[key as usize] = Some(None),
                    _ => {}
                }
                let done = self.event(now_ns, key, action, Kind::Ok, result);
                out.push(Effect::Record(HistoryEvent { log_index: Some(log_index), ..done }));
                self.next(now_ns, out);
            }
            (Deed::Operate { key, .. }, Outcome::Mismatch { actual, .. }) => {
                self.seen[key as usize] = self.seen_in(actual.as_deref());
                self.finish(now_ns, Kind::Fail, "mismatch", Some(log_index), out);
            }
            (_, Outcome::NotFound) => self.finish(now_ns, Kind::Fail, "not_found", Some(log_index), out),
            (_, Outcome::Held { .. }) => self.finish(now_ns, Kind::Fail, "held", Some(log_index), out),
            (Deed::Operate { key, .. }, Outcome::NotHeld) => {
                self.seen[key as usize] = Some(None);
                self.finish(now_ns, Kind::Fail, "not_held", Some(log_index), out);
            }
            (_, Outcome::SessionExpired) => {
                let kind = if self.task().in_doubt { Kind::Info } else { Kind::Fail };
                self.session = None;
                self.finish(now_ns, kind, "session_expired", None, out);
            }
            (_, Outcome::Rejected { .. }) => self.finish(now_ns, Kind::Fail, "rejected", None, out),
            _ => self.finish(now_ns, Kind::Info, "unexpected_answer", None, out),
        }
    }

    fn seen_in(&self, text: Option<&str>) -> Option<Option<i64>> {
        match text {
            None => Some(None),
            Some(text) => workload::number_in(&self.setting.workload, text).map(Some),
        }
    }

    fn give_up(&mut self, now_ns: u64, out: &mut Vec<Effect>) {
        let Task { deed, in_doubt, error, .. } = *self.task();
        let is_read = matches!(deed, Deed::Operate { action: Action::Read, .. });
        let kind = if in_doubt && !is_read { Kind::Info } else { Kind::Fail };
        self.finish(now_ns, kind, error, None, out);
    }

    /// Ends an operation that did not succeed.
    fn finish(
        &mut self,
        now_ns: u64,
        kind: Kind,
        error: &str,
        log_index: Option<u64>,
        out: &mut Vec<Effect>,
    ) {
        if let Some(task) = self.ordered.take() {
            // Its session could not be opened in time: it was never sent.
            self.task = Some(task);
            return self.finish(now_ns, Kind::Fail, "no_session", None, out);
        }
        let Deed::Operate { key, action } = self.task().deed else { return self.open_session(now_ns, out) };
        let ended = self.event(now_ns, key, action, kind, action.argument());
        out.push(Effect::Record(HistoryEvent { error: Some(error.to_owned()), log_index, ..ended }));
        if kind == Kind::Info {
            // The sequence number is in doubt, and so is the process: both begin anew.
            self.process += PROCESS_STEP;
            self.session = None;
        }
        self.next(now_ns, out);
    }

    fn event(&self, now_ns: u64, key: u32, action: Action, kind: Kind, value: Value) -> HistoryEvent {
        let f = action.function(self.setting.workload.kind);
        let replicated = action != Action::Read;
        let value = if replicated { value } else { self.setting.read(key, value) };
        HistoryEvent {
            node: Some(self.node),
            client: self.session.filter(|_| replicated),
            sequence: self.session.filter(|_| replicated).map(|_| self.sequence),
            home: self.task.is_some_and(|task| task.home),
            op: self.task.and_then(|task| task.op),
            is_final: self.task.is_some_and(|task| task.is_final),
            ..HistoryEvent::new(now_ns, self.process, kind, f, &self.setting.name(key), value)
        }
    }
}

/// Whether it did what it was asked for.
fn is_done(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done { .. } | Outcome::Transacted { .. } | Outcome::Leased { .. })
}

impl Task {
    fn new(deed: Deed, deadline_ns: u64) -> Task {
        Task {
            deed,
            deadline_ns,
            attempt_deadline_ns: 0,
            hops: 0,
            in_doubt: false,
            op: None,
            is_final: false,
            only_node: None,
            home: false,
            error: "timeout",
        }
    }
}

#[cfg(test)]
mod tests {
    use mcp_manager::command::Answer;

    use super::super::testing::{recorded, sent, setting, wake};
    use super::*;

    const START_NS: u64 = 3_000_000_000;

    /// A client whose session is open and whose first operation is a write, just sent.
    fn writing() -> (Roaming, u64, Vec<Effect>) {
        let mut setting = Arc::into_inner(setting()).unwrap();
        (setting.workload.read_percent, setting.workload.cas_percent) = (0, 0);
        let mut client = Roaming::new(Arc::new(setting), 2);
        let mut out = Vec::new();
        client.start(START_NS - 1_000, &mut out);
        assert_eq!(sent(&out), (2, 1, Request::OpenSession));
        let opened = Response::Applied { outcome: Outcome::Session { client: 17 }, log_index: 17 };
        client.reply(START_NS - 500, 1, &Reply::Response(opened), &mut out);
        let (due_ns, epoch) = wake(&out);
        out.clear();
        client.wake(due_ns, epoch, &mut out);
        (client, due_ns, out)
    }

    fn operates(request: &Request) -> (u64, u64) {
        match request {
            Request::Operate { client, sequence, .. } => (*client, *sequence),
            other => panic!("expected an operation, found {other:?}"),
        }
    }

    #[test]
    fn follows_hints_with_the_same_sequence_number() {
        let (mut client, now_ns, mut out) = writing();
        let (node, serial, first) = sent(&out);
        assert_eq!((node, operates(&first)), (2, (17, 1)));
        client.reply(now_ns + 1, serial, &Reply::Response(Response::NotLeader { leader: Some(3) }), &mut out);
        let (again_ns, epoch) = wake(&out);
        assert_eq!(again_ns, now_ns + 1 + PAUSE_NS);
        client.wake(again_ns, epoch, &mut out);
        let (node, serial, second) = sent(&out);
        assert_eq!((node, &second), (3, &first));
        let done = Response::Applied { outcome: Outcome::Done { version: 20 }, log_index: 20 };
        client.reply(again_ns, serial, &Reply::Response(done), &mut out);
        let ok = *recorded(&out).last().unwrap();
        assert_eq!(
            (ok.kind, ok.log_index, ok.node, ok.client, ok.sequence),
            (Kind::Ok, Some(20), Some(3), Some(17), Some(1))
        );
        assert_eq!(ok.value, Value::from(2_000_001));
    }

    #[test]
    fn an_operation_that_may_have_been_proposed_ends_unknown_under_a_new_process_and_session() {
        let (mut client, begun_ns, mut out) = writing();
        let mut nodes = Vec::new();
        loop {
            nodes.push(sent(&out).0);
            let (due_ns, epoch) = wake(&out);
            client.wake(due_ns, epoch, &mut out);
            if let Some(end) = recorded(&out).get(1) {
                assert_eq!((end.kind, end.time_ns), (Kind::Info, begun_ns + 2_000_000_000));
                assert_eq!(end.process, 1);
                break;
            }
        }
        assert_eq!(nodes, [2, 3, 1, 2], "each attempt asks the next node");
        assert_eq!(sent(&out).2, Request::OpenSession);
        assert_eq!(client.process, 1_001);
    }

    #[test]
    fn an_operation_that_was_only_ever_turned_away_fails() {
        let (mut client, mut now_ns, mut out) = writing();
        let end = loop {
            if client.phase == Phase::Asking {
                now_ns += 2_000_000;
                client.reply(now_ns, sent(&out).1, &Reply::Refused, &mut out);
            } else {
                let (due_ns, epoch) = wake(&out);
                now_ns = due_ns;
                client.wake(due_ns, epoch, &mut out);
            }
            if let Some(end) = recorded(&out).get(1) {
                break (*end).clone();
            }
        };
        assert_eq!((end.kind, end.error.as_deref()), (Kind::Fail, Some("connection_refused")));
        assert_eq!(client.process, 1, "a failure leaves the process as it was");
    }

    #[test]
    fn an_expired_session_is_a_failure_at_first_and_unknown_on_a_retry() {
        let expired = Reply::Response(Response::Applied { outcome: Outcome::SessionExpired, log_index: 30 });
        let (mut client, now_ns, mut out) = writing();
        client.reply(now_ns, sent(&out).1, &expired, &mut out);
        assert_eq!(recorded(&out).last().unwrap().kind, Kind::Fail);
        assert_eq!(sent(&out).2, Request::OpenSession);

        let (mut client, _, mut out) = writing();
        let (timeout_ns, epoch) = wake(&out);
        client.wake(timeout_ns, epoch, &mut out);
        client.reply(timeout_ns, sent(&out).1, &expired, &mut out);
        assert_eq!(recorded(&out).last().unwrap().kind, Kind::Info);
    }

    #[test]
    fn a_mismatch_fails_with_what_it_saw_and_late_replies_are_passed_over() {
        let (mut client, now_ns, mut out) = writing();
        let (_, serial, _) = sent(&out);
        let stale = Reply::Response(Response::Read {
            answer: Answer::Setting { value: None, version: 0 },
            log_index: 1,
        });
        client.reply(now_ns, serial - 1, &stale, &mut out);
        assert_eq!(recorded(&out).len(), 1);
        let outcome = Outcome::Mismatch { actual: Some("5".into()), version: 4 };
        client.reply(
            now_ns,
            serial,
            &Reply::Response(Response::Applied { outcome, log_index: 31 }),
            &mut out,
        );
        let end = *recorded(&out).last().unwrap();
        assert_eq!((end.kind, end.error.as_deref(), end.log_index), (Kind::Fail, Some("mismatch"), Some(31)));
        assert!(client.seen.contains(&Some(Some(5))));
    }
}
