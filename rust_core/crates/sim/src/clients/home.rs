//! A reader that only ever asks its home node.
//!
//! A roaming client leaves a node that does not answer; so nobody but this reader would notice that an
//! isolated node goes on answering from its own state.

use std::{collections::VecDeque, sync::Arc};

use mcp_chaos_evidence::{HistoryEvent, Kind, NodeId, OperationName, rng::Stream};
use mcp_manager::command::Request;
use serde_json::Value;

use super::{Alarm, Effect, PAUSE_NS, Reply, Setting, error_code, read_result};
use crate::{
    plan::FIRST_HOME_PROCESS,
    workload::{self, Action},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// Until the next read is due.
    Thinking,
    Asking,
    /// Before a final read is tried again.
    Pausing,
}

#[derive(Clone, Copy, Debug)]
struct Read {
    key: u32,
    /// `None`: a final read.
    slot: Option<u64>,
    /// A final read is tried again until then; any other is tried once.
    deadline_ns: u64,
}

/// The home reader of one node.
#[derive(Debug)]
pub struct Home {
    setting: Arc<Setting>,
    node: NodeId,
    alarm: Alarm,
    serial: u32,
    phase: Phase,
    /// When its first slot was due.
    first_due_ns: u64,
    /// The slot that it waits for, from 1: one every interval, whether or not it can be used.
    slot: u64,
    read: Option<Read>,
    finals: VecDeque<u32>,
}

impl Home {
    /// The home reader of `node`.
    pub fn new(setting: Arc<Setting>, node: NodeId) -> Home {
        let interval_ns = setting.workload.home_read_interval_ns;
        // Not all readers at one moment.
        let offset_ns = Stream::new(setting.seed, "home", node, 0).between(0, 0, interval_ns - 1);
        let first_due_ns = setting.start_ns + offset_ns;
        Home {
            setting,
            node,
            alarm: Alarm::default(),
            serial: 0,
            phase: Phase::Idle,
            first_due_ns,
            slot: 1,
            read: None,
            finals: VecDeque::new(),
        }
    }

    /// Begins: waits for the plan's start.
    pub fn start(&mut self, out: &mut Vec<Effect>) {
        self.wait_for_slot(1, out);
    }

    /// True if it waits for nothing.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// After the workload's end: read each of these registers once, and mark it as final.
    pub fn begin_finals(&mut self, now_ns: u64, keys: impl Iterator<Item = u32>, out: &mut Vec<Effect>) {
        self.finals.extend(keys.map(|key| self.setting.final_key(key)));
        self.begin_next_final(now_ns, out);
    }

    /// The moment it waited for has come.
    pub fn wake(&mut self, now_ns: u64, epoch: u32, out: &mut Vec<Effect>) {
        if epoch != self.alarm.epoch {
            return;
        }
        match self.phase {
            Phase::Idle => {}
            Phase::Thinking => {
                let Setting { workload, start_ns, .. } = &*self.setting;
                let key =
                    workload::key_at(workload, workload::home_key(workload, self.slot), now_ns - start_ns);
                self.begin(now_ns, Read { key, slot: Some(self.slot), deadline_ns: now_ns }, out);
            }
            Phase::Asking => {
                out.push(Effect::Cancel { node: self.node, serial: self.serial });
                self.failed(now_ns, "timeout", out);
            }
            Phase::Pausing => self.ask(now_ns, out),
        }
    }

    /// A reply came, or the connection failed.
    pub fn reply(&mut self, now_ns: u64, serial: u32, reply: &Reply, out: &mut Vec<Effect>) {
        if self.phase != Phase::Asking || serial != self.serial {
            return;
        }
        let result = match reply {
            Reply::Response(response) => read_result(response)
                .and_then(|(answer, log_index)| Some((self.setting.found(answer)?, log_index))),
            Reply::Refused | Reply::Reset => None,
        };
        match result {
            None => self.failed(now_ns, error_code(reply), out),
            Some((found, log_index)) => {
                let done = HistoryEvent { log_index: Some(log_index), ..self.event(now_ns, Kind::Ok, found) };
                out.push(Effect::Record(done));
                self.next(now_ns, out);
            }
        }
    }

    fn begin(&mut self, now_ns: u64, read: Read, out: &mut Vec<Effect>) {
        self.read = Some(read);
        out.push(Effect::Record(self.event(now_ns, Kind::Invoke, Value::Null)));
        self.ask(now_ns, out);
    }

    fn ask(&mut self, now_ns: u64, out: &mut Vec<Effect>) {
        let query = self.setting.query(self.read.expect("a read is under way").key);
        self.serial += 1;
        self.phase = Phase::Asking;
        out.push(Effect::Send { node: self.node, serial: self.serial, request: Request::Query(query) });
        self.alarm.set(now_ns + self.setting.workload.attempt_timeout_ns, out);
    }

    fn failed(&mut self, now_ns: u64, error: &str, out: &mut Vec<Effect>) {
        let read = self.read.expect("a read is under way");
        if read.slot.is_none() && now_ns + PAUSE_NS < read.deadline_ns {
            self.phase = Phase::Pausing;
            self.alarm.set(now_ns + PAUSE_NS, out);
            return;
        }
        let failed =
            HistoryEvent { error: Some(error.to_owned()), ..self.event(now_ns, Kind::Fail, Value::Null) };
        out.push(Effect::Record(failed));
        self.next(now_ns, out);
    }

    fn next(&mut self, now_ns: u64, out: &mut Vec<Effect>) {
        if self.read.take().is_some_and(|read| read.slot.is_none()) {
            self.begin_next_final(now_ns, out);
            return;
        }
        // Slots that were due while this read was under way are passed over.
        let due = (now_ns - self.first_due_ns) / self.setting.workload.home_read_interval_ns + 1;
        self.wait_for_slot(due + 1, out);
    }

    /// Waits for the first slot, from this one on, in which it is to read.
    fn wait_for_slot(&mut self, slot: u64, out: &mut Vec<Effect>) {
        let Setting { workload, start_ns, stop_ns, .. } = &*self.setting;
        let pace = workload::pace(workload);
        let is_quiet = |due_ns: u64| pace.waited_ns(due_ns - start_ns) > due_ns - start_ns;
        let first_due_ns = self.first_due_ns;
        let mut slot = slot;
        let due = std::iter::from_fn(|| {
            let due = workload::home_slot(workload, self.node, slot)
                .map(|slot| (slot, first_due_ns + (slot - 1) * workload.home_read_interval_ns))
                .filter(|(_, due_ns)| due_ns < stop_ns);
            slot = due.map_or(slot, |(slot, _)| slot + 1);
            due
        })
        .find(|(_, due_ns)| !is_quiet(*due_ns));
        match due {
            None => self.phase = Phase::Idle,
            Some((slot, due_ns)) => {
                self.slot = slot;
                self.phase = Phase::Thinking;
                self.alarm.set(due_ns, out);
            }
        }
    }

    fn begin_next_final(&mut self, now_ns: u64, out: &mut Vec<Effect>) {
        match self.finals.pop_front() {
            None => self.phase = Phase::Idle,
            Some(key) => {
                let deadline_ns = now_ns + self.setting.workload.operation_timeout_ns;
                self.begin(now_ns, Read { key, slot: None, deadline_ns }, out);
            }
        }
    }

    fn event(&self, now_ns: u64, kind: Kind, value: Value) -> HistoryEvent {
        let read = self.read.expect("a read is under way");
        let process = FIRST_HOME_PROCESS + self.node - 1;
        HistoryEvent {
            node: Some(self.node),
            home: true,
            op: read.slot.map(|number| OperationName::Home { node: self.node, number }),
            is_final: read.slot.is_none(),
            ..HistoryEvent::new(
                now_ns,
                process,
                kind,
                Action::Read.function(self.setting.workload.kind),
                &self.setting.name(read.key),
                self.setting.read(read.key, value),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use mcp_manager::command::{Answer, Query, Response};

    use super::super::testing::{recorded, sent, setting, wake};
    use super::*;

    #[test]
    fn reads_in_turn_and_fails_on_a_timeout_without_asking_another_node() {
        let mut home = Home::new(setting(), 2);
        let mut out = Vec::new();
        home.start(&mut out);
        let (due_ns, epoch) = wake(&out);
        assert!((3_000_000_000..3_100_000_000).contains(&due_ns));
        home.wake(due_ns, epoch, &mut out);
        assert_eq!(sent(&out), (2, 1, Request::Query(Query::Setting { key: "k0".into() })));
        let answer = Answer::Setting { value: Some("12".into()), version: 5 };
        home.reply(due_ns + 1, 1, &Reply::Response(Response::Read { answer, log_index: 9 }), &mut out);
        let done = recorded(&out)[1];
        assert_eq!(
            (done.kind, &done.value, done.log_index, done.process),
            (Kind::Ok, &Value::from(12), Some(9), 501)
        );

        let (next_ns, epoch) = wake(&out);
        assert_eq!(next_ns, due_ns + 100_000_000);
        home.wake(next_ns, epoch, &mut out);
        assert_eq!(sent(&out), (2, 2, Request::Query(Query::Setting { key: "k1".into() })));
        let (timeout_ns, epoch) = wake(&out);
        home.wake(timeout_ns, epoch, &mut out);
        let failed = *recorded(&out).last().unwrap();
        assert_eq!((failed.kind, failed.error.as_deref()), (Kind::Fail, Some("timeout")));
        let (late_ns, epoch) = wake(&out);
        assert_eq!(late_ns, next_ns + 600_000_000, "the slots missed meanwhile are passed over");
        home.wake(late_ns, epoch, &mut out);
        let names: Vec<_> = recorded(&out)
            .iter()
            .map(|event| format!("{} {} {:?}", event.op.unwrap(), event.key, event.kind))
            .collect();
        let expected = ["n2.1 k0 Invoke", "n2.1 k0 Ok", "n2.2 k1 Invoke", "n2.2 k1 Fail", "n2.8 k1 Invoke"];
        assert_eq!(names, expected, "which register is read is the slot's matter");
    }

    #[test]
    fn final_reads_are_tried_again_and_marked() {
        let mut home = Home::new(setting(), 1);
        let mut out = Vec::new();
        home.begin_finals(90, 0..2, &mut out);
        home.reply(100, 1, &Reply::Refused, &mut out);
        let (again_ns, epoch) = wake(&out);
        home.wake(again_ns, epoch, &mut out);
        for serial in [2, 3] {
            let answer = Answer::Setting { value: None, version: 0 };
            home.reply(again_ns, serial, &Reply::Response(Response::Read { answer, log_index: 3 }), &mut out);
        }
        assert!(home.is_idle());
        let kinds: Vec<_> = recorded(&out).iter().map(|event| (event.kind, event.is_final)).collect();
        assert_eq!(kinds, [(Kind::Invoke, true), (Kind::Ok, true), (Kind::Invoke, true), (Kind::Ok, true)]);
    }
}
