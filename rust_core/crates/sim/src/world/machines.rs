//! Processes: founding, starting, dying, pausing, handling inputs.

use mcp_chaos_consensus::{Recovered, Snapshot};
use mcp_chaos_evidence::{NodeId, TraceEvent};
use mcp_chaos_wal::{DiskError, DiskOp, OpenError, SimDisk, Wal};
use mcp_manager::{Input, Node, Now, Options, Output};

use super::{CLUSTER, Event, World};
use crate::panics;
use crate::plan::Trigger;
use crate::process::{Job, MAX_INBOX, Running, State, Waiting};

/// A segment of a simulated log: small, so that a run goes through several.
const SEGMENT_BYTES: u64 = 64 << 10;

/// Why a call into a process did not return as it should.
pub(super) enum Mishap {
    /// The disk crashed at a point that a step had set.
    Crashed,
    /// The disk failed: the process says so with this event and ends. It is started again once the disk is well.
    DiskFailed(TraceEvent),
    /// The process panicked.
    Panicked(String),
    /// The storage refused to go on.
    Refused(String),
}

impl World {
    /// Founds the node on an empty disk, and starts its process, at once.
    pub(super) fn found(&mut self, node: NodeId) {
        let disk = self.machine(node).take_disk();
        let (wal, _) = Wal::open(disk, self.wal_options(node)).expect("an empty disk opens");
        if let Err(mishap) = self.found_on(node, wal) {
            self.end_badly(node, mishap);
        }
    }

    fn found_on(&mut self, node: NodeId, wal: Wal<SimDisk>) -> Result<(), Mishap> {
        let voters = self.plan.founders();
        let snapshot = Node::found(CLUSTER, node, &voters).expect("the voters are the cluster's nodes");
        let (wal, recovered) = self.found_log(node, wal, CLUSTER, snapshot)?;
        self.trace(node, TraceEvent::Initialized { cluster: CLUSTER.to_owned(), voters });
        self.run_process(node, wal, recovered)
    }

    /// Founds a log on a snapshot: with what a process begins on it.
    fn found_log(
        &mut self,
        node: NodeId,
        mut wal: Wal<SimDisk>,
        cluster: &str,
        snapshot: Snapshot,
    ) -> Result<(Wal<SimDisk>, Recovered), Mishap> {
        let machine = self.machine(node);
        if let Err(error) = wal.found(cluster, &snapshot) {
            machine.state = State::Down { disk: wal.into_disk(), powered: true };
            return Err(error.into());
        }
        // Should its disk be lost from now on, it must not come up as if it had never belonged to anybody.
        (machine.boot, machine.founded) = (wal.boot(), true);
        let recovered = Recovered {
            boot: wal.boot(),
            cluster: cluster.to_owned(),
            hard_state: wal.hard_state(),
            snapshot: Some(snapshot),
            entries: Vec::new(),
        };
        Ok((wal, recovered))
    }

    /// Starts the process of a spare, on an empty disk: it belongs to no cluster.
    pub(super) fn start_empty(&mut self, node: NodeId) {
        let disk = self.machine(node).take_disk();
        let (wal, recovered) = Wal::open(disk, self.wal_options(node)).expect("an empty disk opens");
        self.machine(node).boot = recovered.boot;
        if let Err(mishap) = self.run_process(node, wal, recovered) {
            self.end_badly(node, mishap);
        }
    }

    /// A leader made the node, which was empty, a member: it is founded on the leader's snapshot, and goes on.
    fn found_by_leader(&mut self, node: NodeId, cluster: &str, snapshot: Snapshot) {
        let machine = self.machine(node);
        let before = std::mem::replace(&mut machine.state, State::Ended(SimDisk::new()));
        let State::Up(running) = before else { unreachable!("a process that is up was made a member") };
        let (pauses, inbox) = (running.pauses, running.inbox);
        let begun = self
            .found_log(node, running.wal, cluster, snapshot)
            .and_then(|(wal, recovered)| self.run_process(node, wal, recovered));
        if let Err(mishap) = begun {
            return self.end_badly(node, mishap);
        }
        if let Some(running) = self.machine(node).running() {
            (running.pauses, running.inbox) = (pauses, inbox);
        }
    }

    /// The machine is lost: nobody will ever see its process or its disk again.
    pub(super) fn lose(&mut self, node: NodeId) {
        self.process_dies(node, false);
        self.never_again(node);
        self.machine(node).lost = true;
    }

    fn options(&self, node: NodeId) -> Options {
        let options = &self.plan.options;
        Options {
            tick_ns: options.tick_ns,
            heartbeat_ticks: options.heartbeat_ticks,
            election_ticks: options.election_ticks,
            snapshot_every_entries: options.snapshot_every_entries,
            keep_entries: options.keep_entries,
            plants: self.plants,
            ..Options::new(node, self.plan.seed)
        }
    }

    pub(super) fn wal_options(&self, node: NodeId) -> mcp_chaos_wal::Options {
        let must_be_founded = self.machines[node as usize - 1].founded;
        let defaults = mcp_chaos_wal::Options::new(node);
        mcp_chaos_wal::Options {
            must_be_founded,
            segment_bytes: SEGMENT_BYTES,
            plants: self.plants,
            ..defaults
        }
    }

    /// The process begins on an open log.
    fn run_process(&mut self, node: NodeId, wal: Wal<SimDisk>, recovered: Recovered) -> Result<(), Mishap> {
        let options = self.options(node);
        let is_empty = recovered.cluster.is_empty();
        let mut outputs = std::mem::take(&mut self.outputs);
        let begun = panics::catch(|| Node::new(options, recovered, &mut outputs));
        let failed = match begun {
            Ok(Ok(new)) => {
                let running = Running {
                    node: new,
                    wal,
                    jobs: Default::default(),
                    flight: None,
                    pauses: 0,
                    inbox: Default::default(),
                    in_hand: None,
                    turns: 0,
                };
                self.machine(node).state = State::Up(Box::new(running));
                if is_empty {
                    // Nothing has happened yet, and there is nothing to tell.
                    outputs.clear();
                }
                self.carry_out_outputs(node, &mut outputs);
                None
            }
            Ok(Err(error)) => Some((Mishap::Refused(error.to_string()), wal)),
            Err(message) => Some((Mishap::Panicked(message), wal)),
        };
        outputs.clear();
        self.outputs = outputs;
        match failed {
            None => Ok(()),
            Some((mishap, wal)) => {
                self.machine(node).state = State::Ended(wal.into_disk());
                Err(mishap)
            }
        }
    }

    pub(super) fn trace(&mut self, node: NodeId, event: TraceEvent) {
        self.nemesis.see_event(node, &event);
        let boot = self.machine(node).boot;
        self.records.trace(self.now_ns, node, boot, event);
    }

    pub(super) fn tick(&mut self, node: NodeId) {
        let own_ns = self.plan.options.tick_ns;
        let machine = self.machine(node);
        let tick_ns = machine.clock.true_ns(own_ns);
        machine.ticks += 1;
        self.queue.push(self.now_ns + tick_ns, Event::Tick { node });
        let machine = self.machine(node);
        match &machine.state {
            State::Up(running) if running.pauses > 0 => machine.ticks_withheld += 1,
            State::Up(_) => {
                let life = machine.life;
                self.hand_over(node, life, Input::Tick);
            }
            _ => {}
        }
    }

    /// Gives an input to the node of that life; a paused process finds it later, and so does a slow one.
    pub(super) fn hand_over(&mut self, node: NodeId, life: u64, input: Input) {
        let machine = &mut self.machines[node as usize - 1];
        if machine.life != life {
            return;
        }
        let is_slow = machine.is_slow();
        let State::Up(running) = &mut machine.state else { return };
        if running.pauses > 0 || is_slow {
            // Only what comes from outside can be turned away.
            let may_drop = matches!(input, Input::Peer(_) | Input::Client { .. } | Input::Cancel { .. });
            if may_drop && running.inbox.len() >= MAX_INBOX {
                machine.overflowed += 1;
            } else if matches!(input, Input::Tick) && running.has_tick_waiting() {
                // As the binary's timer: a process that is behind does not catch up on its ticks.
                machine.ticks_withheld += 1;
            } else {
                running.inbox.push_back(Waiting::Input(input));
            }
            return self.begin_slow_input(node);
        }
        self.handle(node, input);
    }

    /// A slow process that is idle turns to what waits first.
    fn begin_slow_input(&mut self, node: NodeId) {
        let machine = self.machine(node);
        let Some(running) = machine.running() else { return };
        if running.in_hand.is_some() || running.pauses > 0 || running.inbox.is_empty() {
            return;
        }
        let Some(time_ns) = machine.input_time_ns() else { return };
        let life = machine.life;
        let running = machine.running().expect("it is up");
        running.turns += 1;
        running.in_hand = Some(running.turns);
        let turn = running.turns;
        self.queue.push(self.now_ns + time_ns, Event::Handled { node, life, turn });
    }

    /// A slow process has taken its time over an input.
    pub(super) fn slow_input_is_due(&mut self, node: NodeId, life: u64, turn: u64) {
        let machine = self.machine(node);
        if machine.life != life {
            return;
        }
        let Some(running) = machine.running() else { return };
        if running.in_hand != Some(turn) {
            return;
        }
        running.in_hand = None;
        if running.pauses > 0 {
            return;
        }
        match running.inbox.pop_front() {
            Some(Waiting::Input(input)) => self.handle(node, input),
            Some(Waiting::DiskDone) => self.disk_done(node, life),
            None => {}
        }
        self.begin_slow_input(node);
    }

    /// A step slows the process no more. If none does, it handles what it had not come to.
    pub(super) fn quicken(&mut self, node: NodeId, step: u64) {
        let machine = self.machine(node);
        machine.slow.retain(|slowed| slowed.step != step);
        if !machine.is_slow() {
            self.empty_inbox(node);
        }
    }

    /// The process handles an input.
    fn handle(&mut self, node: NodeId, input: Input) {
        let now_ns = self.now_ns;
        let machine = &mut self.machines[node as usize - 1];
        let (wall_ms, monotonic_ms) = machine.clock.shown_ms(now_ns);
        let now = Now { wall_ms, monotonic_ms };
        let Some(running) = machine.running() else { return };
        let mut outputs = std::mem::take(&mut self.outputs);
        let handled = panics::catch(|| running.node.handle(now, input, &mut outputs));
        match handled {
            Ok(()) => self.carry_out_outputs(node, &mut outputs),
            Err(message) => self.end_badly(node, Mishap::Panicked(message)),
        }
        outputs.clear();
        self.outputs = outputs;
    }

    fn carry_out_outputs(&mut self, node: NodeId, outputs: &mut Vec<Output>) {
        let mut made_member = None;
        for output in outputs.drain(..) {
            match output {
                Output::Trace(event) => self.trace(node, event),
                Output::Send(message) => self.send_to_peer(message),
                Output::Reply { ticket, response } => self.reply_to_client(node, ticket, response),
                Output::Persist { token, batch } => self.add_job(node, Job::Persist { token, batch }),
                Output::SaveSnapshot(snapshot) => self.add_job(node, Job::SaveSnapshot(snapshot)),
                Output::Found { cluster, snapshot } => made_member = Some((cluster, snapshot)),
                Output::Fatal(error) => {
                    self.trace(node, TraceEvent::Stopped { reason: error.to_string() });
                    self.process_dies(node, false);
                    self.never_again(node);
                    return;
                }
            }
        }
        match made_member {
            Some((cluster, snapshot)) => self.found_by_leader(node, &cluster, *snapshot),
            None => self.start_disk(node),
        }
    }

    /// A process that cannot go on.
    pub(super) fn end_badly(&mut self, node: NodeId, mishap: Mishap) {
        match mishap {
            // The step that set the point takes the process down, as soon as this event is over; until
            // then nothing may touch the disk.
            Mishap::Crashed => self.process_dies(node, true),
            Mishap::DiskFailed(event) => {
                self.trace(node, event);
                self.process_dies(node, false);
                let machine = self.machine(node);
                machine.awaits_disk = true;
                machine.disk_failures += 1;
                self.start_if_disk_is_well(node);
            }
            Mishap::Panicked(message) => {
                self.trace(node, TraceEvent::Panicked { message });
                self.process_dies(node, false);
                self.never_again(node);
            }
            Mishap::Refused(reason) => {
                self.trace(node, TraceEvent::Refused { reason });
                self.never_again(node);
            }
        }
    }

    fn never_again(&mut self, node: NodeId) {
        let machine = self.machine(node);
        let disk = machine.take_disk();
        machine.state = State::Ended(disk);
    }

    /// The process of `node`, if there is one, is gone; what it wrote stays. Clients whose requests it had
    /// see their connections break, unless the machine went silent.
    pub(super) fn process_dies(&mut self, node: NodeId, silent: bool) {
        let machine = self.machine(node);
        // On a machine that a step holds down nothing is left to die: in particular, one without power stays
        // without.
        if matches!(machine.state, State::Ended(_)) || machine.holds > 0 {
            return;
        }
        machine.life += 1;
        let disk = machine.take_disk();
        machine.state = State::Down { disk, powered: !silent };
        self.clear_lines_of(node, silent);
        if !silent {
            self.reset_calls(node);
        }
    }

    /// The machine of `node` loses power: what is not synced is lost, torn or kept, as drawn.
    pub(super) fn power_goes(&mut self, node: NodeId) {
        if matches!(self.machine(node).state, State::Ended(_)) {
            return;
        }
        self.process_dies(node, true);
        let machine = self.machine(node);
        let counter = machine.power_losses.take();
        let stream = machine.power_losses.stream;
        let mut disk = machine.take_disk();
        disk.power_off(stream, counter);
        machine.state = State::Down { disk, powered: false };
    }

    /// Nothing holds the process down any more: it comes up after a drawn time.
    pub(super) fn schedule_start(&mut self, node: NodeId) {
        let machine = self.machine(node);
        if !matches!(machine.state, State::Down { .. }) {
            return;
        }
        machine.awaits_disk = false;
        let mut disk = machine.take_disk();
        disk.restart();
        machine.state = State::Starting(disk);
        machine.life += 1;
        let (life, time_ns) = (machine.life, machine.start_time_ns());
        self.queue.push(self.now_ns + time_ns, Event::Start { node, life });
    }

    /// A step that made the disk fail has ended, or the process has. If no other step makes it fail, and none holds
    /// the process down, it comes up again.
    pub(super) fn start_if_disk_is_well(&mut self, node: NodeId) {
        let machine = self.machine(node);
        if machine.awaits_disk && machine.failing.is_empty() && machine.holds == 0 {
            self.schedule_start(node);
        }
    }

    /// The process comes up on what its disk holds.
    pub(super) fn start(&mut self, node: NodeId, life: u64) {
        let leader = self.leader_for_steps();
        let point = self.crash_point(node, leader);
        let wal_options = self.wal_options(node);
        let machine = &mut self.machines[node as usize - 1];
        if machine.life != life || !matches!(machine.state, State::Starting(_)) {
            return;
        }
        let mut disk = machine.take_disk();
        if let Some(point) = point {
            disk.crash_at(point);
        }
        let before = (disk.writes(), disk.count(DiskOp::Sync));
        let (after, result) = match Wal::open(disk, wal_options) {
            Ok((mut wal, recovered)) => {
                let disk = wal.disk_mut();
                disk.disarm();
                let after = (disk.writes(), disk.count(DiskOp::Sync));
                machine.boot = recovered.boot;
                // Only with the planted bug: whoever starts it founds it once more, with the same `init`, as if nothing
                // had happened.
                let founds_again = machine.founded && recovered.snapshot.is_none();
                if founds_again && self.plan.founders().contains(&node) {
                    (after, self.found_on(node, wal))
                } else {
                    (after, self.run_process(node, wal, recovered))
                }
            }
            Err(failure) => {
                let mut disk = failure.disk;
                disk.disarm();
                let after = (disk.writes(), disk.count(DiskOp::Sync));
                machine.state = State::Starting(disk);
                let mishap = match failure.error {
                    OpenError::Disk(DiskError::PoweredOff) => Mishap::Crashed,
                    error @ OpenError::Disk(DiskError::Full { .. } | DiskError::Io { .. }) => {
                        Mishap::DiskFailed(TraceEvent::Refused { reason: error.to_string() })
                    }
                    error => {
                        machine.boot += 1;
                        Mishap::Refused(error.to_string())
                    }
                };
                (after, Err(mishap))
            }
        };
        self.nemesis.see_disk(node, leader, Trigger::DiskWrite, after.0 - before.0);
        self.nemesis.see_disk(node, leader, Trigger::DiskSync, after.1 - before.1);
        match result {
            Ok(()) => self.process_is_up(node),
            Err(mishap) => self.end_badly(node, mishap),
        }
    }

    /// One more step stops the process; false if there is none to stop.
    pub(super) fn pause(&mut self, node: NodeId) -> bool {
        let Some(running) = self.machine(node).running() else { return false };
        running.pauses += 1;
        true
    }

    /// One step less stops the process. When the last one ends, it handles what has arrived meanwhile.
    pub(super) fn resume(&mut self, node: NodeId) {
        let machine = self.machine(node);
        let Some(running) = machine.running() else { return };
        running.pauses = running.pauses.checked_sub(1).expect("a process goes on as often as it was stopped");
        if running.pauses > 0 {
            return;
        }
        self.empty_inbox(node);
        self.start_disk(node);
    }

    /// The process finds what waits for it, unless it is stopped.
    fn empty_inbox(&mut self, node: NodeId) {
        let machine = self.machine(node);
        let life = machine.life;
        let Some(running) = machine.running() else { return };
        if running.pauses > 0 {
            return;
        }
        running.in_hand = None;
        for waiting in std::mem::take(&mut running.inbox) {
            match waiting {
                Waiting::Input(input) => self.due.push_back((node, life, input)),
                Waiting::DiskDone => self.disk_done(node, life),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;
    use crate::world::START_NS;

    fn events_of(run: &crate::Run, node: NodeId) -> Vec<&'static str> {
        run.trace.iter().filter(|record| record.node == node).map(|record| record.event.name()).collect()
    }

    #[test]
    fn a_panic_ends_its_node_and_the_others_go_on() {
        let mut world = World::new(plan(1, 3), &[] as &[&str]).unwrap();
        world.advance(START_NS);
        let mishap = panics::catch(|| -> () { panic!("to_commit 9 is out of range") }).unwrap_err();
        world.end_badly(2, Mishap::Panicked(mishap));
        world.schedule_start(2);
        assert_eq!(world.observe()["nodes"]["n2"]["process"], "ended");
        let run = world.finish();
        let last = run.trace.iter().rfind(|record| record.node == 2).unwrap();
        match &last.event {
            TraceEvent::Panicked { message } => {
                assert!(message.starts_with("to_commit 9 is out of range ("), "{message}");
            }
            other => panic!("expected the panic at the end, found {other:?}"),
        }
        assert_eq!(last.time_ns, START_NS);
        assert!(run.trace.iter().any(|record| record.node == 1 && record.time_ns > START_NS + 1_000_000_000));
    }

    #[test]
    fn a_damaged_disk_is_refused_and_the_node_stays_down() {
        let mut world = World::new(plan(2, 3), &[] as &[&str]).unwrap();
        world.advance(START_NS);
        world.process_dies(3, false);
        let machine = world.machine(3);
        let mut disk = machine.take_disk();
        let files = mcp_chaos_wal::Disk::list(&disk).unwrap();
        assert!(disk.corrupt(&files[0], 40, 0xff), "{files:?}");
        machine.state = State::Down { disk, powered: true };
        world.schedule_start(3);
        let run = world.finish();
        assert_eq!(events_of(&run, 3).last(), Some(&"refused"));
        let refused = run.trace.iter().rfind(|record| record.node == 3).unwrap();
        assert_eq!(refused.boot, 2);
    }

    #[test]
    fn what_waits_for_a_stopped_process_is_bounded() {
        let mut world = World::new(plan(3, 3), &[] as &[&str]).unwrap();
        world.advance(START_NS);
        assert!(world.pause(1));
        let life = world.machine(1).life;
        for ticket in 0..2 * MAX_INBOX as u64 {
            world.hand_over(1, life, Input::Cancel { ticket });
        }
        world.hand_over(1, life, Input::Persisted { token: u64::MAX });
        let machine = world.machine(1);
        assert!(machine.overflowed >= MAX_INBOX as u64);
        assert!(machine.running().unwrap().inbox.len() <= MAX_INBOX + 1, "and what the disk did is kept");
    }
}
