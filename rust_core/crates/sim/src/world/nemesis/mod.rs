//! Carries out the plan's steps: when each is due, on whom, what shows that it held, and when it ends.

mod errands;
mod evidence;
#[cfg(test)]
mod tests;

use mcp_chaos_evidence::{NemesisRecord, NodeId, Phase, Role, Status, TraceEvent, node_name, rng::Stream};
use mcp_chaos_wal::{Lies, SimDisk};
use mcp_manager::Input;
use mcp_manager::command::Request;
use serde_json::{Map, Value, json};

use super::{Event, START_NS, World};
use crate::network::LinkCounters;
use crate::plan::{
    Action, Anchor, ClockFault, Disturbance, Part, Plan, PlanError, Sent, Step, Trigger, When,
};
use crate::process::{SlowCounters, Slowed, State};

/// A timed step that needs a leader waits for one in such paces …
const RETRY_NS: u64 = 20_000_000;
/// … for so long.
const RETRY_FOR_NS: u64 = 2_000_000_000;
/// How long a new leader may take to show after leadership was handed over.
const TRANSFER_NS: u64 = 2_000_000_000;
/// The ticket of the nemesis's own requests: of no client.
const NEMESIS_TICKET: u64 = u64::MAX;

pub(super) use errands::is_errand;

/// The steps and how far each has come.
pub(super) struct Nemesis {
    steps: Vec<StepState>,
    watches: Vec<Watch>,
    /// Steps whose event has happened, with its node: due once the handling is complete.
    set_off: Vec<SetOff>,
    membership: errands::Membership,
    /// Changes of the membership, under way or over.
    errands: Vec<errands::Errand>,
    /// So many requests were made for them.
    errand_requests: u64,
    healed: bool,
}

struct StepState {
    step: Step,
    /// When the plan has it, on the world's clock; a step given by hand says when it was given.
    planned_ns: Option<u64>,
    progress: Progress,
}

enum Progress {
    Waiting,
    InForce(Box<Force>),
    /// An administrator is at it.
    OnErrand(usize),
    Over,
}

/// A fault in force, and what is needed to end it and to tell what it did.
struct Force {
    action: Action,
    anchor: Option<NodeId>,
    /// Position of its record of installation: completed when the fault ends.
    record: usize,
    /// Counters of its links when it began.
    links_before: Vec<LinkCounters>,
    /// Counters of its nodes when it began.
    slowed_before: Vec<SlowCounters>,
    failures_before: Vec<u64>,
    ticks_before: Vec<u64>,
    lies_before: Vec<Lies>,
    /// What it corrupted, for the record.
    flipped: Map<String, Value>,
    /// Nodes that it paused, with their lives and the ticks withheld before.
    paused: Vec<(NodeId, u64, u64)>,
    /// Nodes that it restarted and that are not up yet.
    awaited: Vec<NodeId>,
    leader_before: Option<NodeId>,
}

/// A step whose event has happened.
struct SetOff {
    step: usize,
    /// Where it happened.
    node: NodeId,
    /// Who led just before it, where the event itself may have ended that: a crash of the leader's disk.
    leader_before: Option<NodeId>,
}

struct Watch {
    step: usize,
    trigger: Trigger,
    /// Occurrences that are still missing.
    missing: u64,
    node: Option<NodeId>,
}

impl Nemesis {
    pub fn new(plan: &Plan) -> Nemesis {
        let mut nemesis = Nemesis {
            steps: Vec::new(),
            watches: Vec::new(),
            set_off: Vec::new(),
            membership: errands::Membership::default(),
            errands: Vec::new(),
            errand_requests: 0,
            healed: false,
        };
        for (position, step) in plan.steps.iter().enumerate() {
            let planned_ns = match step.when {
                When::At { at_ns } => Some(START_NS + at_ns),
                When::On { event, nth, node } => {
                    nemesis.watches.push(Watch { step: position, trigger: event, missing: nth, node });
                    None
                }
            };
            nemesis.steps.push(StepState { step: step.clone(), planned_ns, progress: Progress::Waiting });
        }
        nemesis
    }

    pub fn see_event(&mut self, node: NodeId, event: &TraceEvent) {
        self.membership.see(node, event);
        if !self.watches.is_empty() {
            let name = event.name();
            self.see(node, None, 1, |trigger| matches!(trigger, Trigger::Trace(wanted) if wanted == name));
        }
    }

    /// `node` hands something to a link; asked only while a step waits for anything.
    pub fn see_sent(&mut self, node: NodeId, sent: Sent) {
        self.see(node, None, 1, |trigger| trigger == Trigger::Sends(sent));
    }

    /// Whether a step still waits for something to happen.
    pub fn watches(&self) -> bool {
        !self.watches.is_empty()
    }

    /// `count` disk operations of one kind happened at `node`; just before them, `leader_before` led.
    pub fn see_disk(&mut self, node: NodeId, leader_before: Option<NodeId>, kind: Trigger, count: u64) {
        if count > 0 && !self.watches.is_empty() {
            self.see(node, leader_before, count, |trigger| trigger == kind);
        }
    }

    fn see(
        &mut self,
        node: NodeId,
        leader_before: Option<NodeId>,
        count: u64,
        is_it: impl Fn(Trigger) -> bool,
    ) {
        let set_off = &mut self.set_off;
        self.watches.retain_mut(|watch| {
            if !is_it(watch.trigger) || watch.node.is_some_and(|wanted| wanted != node) {
                return true;
            }
            watch.missing = watch.missing.saturating_sub(count);
            if watch.missing == 0 {
                set_off.push(SetOff { step: watch.step, node, leader_before });
            }
            watch.missing > 0
        });
    }

    /// The nearest disk operation of `node` at which a step would take this very process down, as (kind,
    /// which one from now on, the step's id), while `leader` leads.
    pub fn nearest_crash(&self, node: NodeId, leader: Option<NodeId>) -> Option<(Trigger, u64, u64)> {
        self.watches
            .iter()
            .filter(|watch| matches!(watch.trigger, Trigger::DiskWrite | Trigger::DiskSync))
            .filter(|watch| watch.node.is_none_or(|wanted| wanted == node))
            .filter(|watch| self.steps[watch.step].step.takes_down(node, leader))
            .min_by_key(|watch| watch.missing)
            .map(|watch| (watch.trigger, watch.missing, self.steps[watch.step].step.id))
    }
}

impl Step {
    fn case(&self, anchor: Option<NodeId>) -> Option<&Action> {
        match self.anchor {
            Anchor::None => self.cases.get(&Step::ANY),
            Anchor::Leader | Anchor::Event => self.cases.get(&anchor?),
        }
    }

    /// Whether the step, set off at `node` while `leader` leads, takes `node`'s own process down.
    fn takes_down(&self, node: NodeId, leader: Option<NodeId>) -> bool {
        let anchor = if self.anchor == Anchor::Leader { leader } else { Some(node) };
        match self.case(anchor) {
            Some(
                Action::Kill(nodes) | Action::PowerOff(nodes) | Action::Restart(nodes) | Action::Wipe(nodes),
            ) => nodes.contains(&node),
            _ => false,
        }
    }
}

impl World {
    pub(super) fn schedule_steps(&mut self) {
        for (step, state) in self.nemesis.steps.iter().enumerate() {
            if let Some(planned_ns) = state.planned_ns {
                self.queue.push(planned_ns, Event::StepDue { step });
            }
        }
    }

    /// Carries a step out now, whatever its `when` says, and gives its record.
    ///
    /// # Errors
    /// If the step cannot be read, or its id is taken.
    pub fn apply(&mut self, step: &str) -> Result<NemesisRecord, PlanError> {
        let step = Step::parse_immediate(step, self.plan.nodes)?;
        if self.nemesis.steps.iter().any(|known| known.step.id == step.id) {
            let message = format!("{} is the id of another step of this run: ids are unique", step.id);
            return Err(PlanError::new("step.id", message));
        }
        if step.cases.values().any(Action::is_errand) {
            let message = format!(
                "{} takes its time, as an administrator does; it cannot be applied by hand: put it into the plan",
                step.kind
            );
            return Err(PlanError::new("step.kind", message));
        }
        let record = self.records.nemesis.len();
        let position = self.nemesis.steps.len();
        self.nemesis.steps.push(StepState {
            step,
            planned_ns: Some(self.now_ns),
            progress: Progress::Waiting,
        });
        if self.nemesis.healed {
            self.skip(
                position,
                "every fault is healed already: apply it before the plan's heal_ns".to_owned(),
            );
        } else {
            match self.anchor_of(position) {
                Ok(anchor) => self.fire(position, anchor),
                Err(reason) => self.skip(position, reason.to_owned()),
            }
        }
        self.settle();
        Ok(self.records.nemesis[record].clone())
    }

    /// A timed step is due, or tried again.
    pub(super) fn step_due(&mut self, step: usize) {
        let state = &self.nemesis.steps[step];
        if !matches!(state.progress, Progress::Waiting) {
            return;
        }
        match self.anchor_of(step) {
            Ok(anchor) => self.fire(step, anchor),
            Err(reason) => {
                let due_ns = state.planned_ns.expect("a timed step has its time");
                if self.now_ns + RETRY_NS <= due_ns + RETRY_FOR_NS {
                    self.queue.push(self.now_ns + RETRY_NS, Event::StepDue { step });
                } else {
                    self.skip(step, format!("{reason}, for 2 s"));
                }
            }
        }
    }

    /// Fires the steps whose event has happened.
    pub(super) fn fire_steps_set_off(&mut self) {
        while !self.nemesis.set_off.is_empty() {
            let all = std::mem::take(&mut self.nemesis.set_off);
            for &SetOff { step, node, leader_before } in &all {
                let state = &self.nemesis.steps[step];
                if !matches!(state.progress, Progress::Waiting) {
                    continue;
                }
                match state.step.anchor {
                    Anchor::Event => self.fire(step, Some(node)),
                    Anchor::Leader if leader_before.is_some() => self.fire(step, leader_before),
                    _ => match self.anchor_of(step) {
                        Ok(anchor) => self.fire(step, anchor),
                        Err(reason) => self.skip(step, reason.to_owned()),
                    },
                }
            }
            // A process whose disk crashed for a step that was then skipped is held down by nobody.
            for SetOff { node, .. } in all {
                if self.machine(node).word() == "crashed" {
                    self.schedule_start(node);
                }
            }
        }
    }

    /// Who leads, as the live nodes see it: of those that call themselves leader the one with the greatest term.
    pub(super) fn leader(&self) -> Option<NodeId> {
        let live = self.machines.iter().filter_map(|machine| machine.live_node());
        live.filter(|node| node.role() == Role::Leader).max_by_key(|node| node.term()).map(|node| node.id())
    }

    fn anchor_of(&self, step: usize) -> Result<Option<NodeId>, &'static str> {
        let step = &self.nemesis.steps[step].step;
        let needs_leader = step.anchor == Anchor::Leader
            || step.cases.values().any(|case| matches!(case, Action::TransferLeader(_)));
        match (needs_leader, self.leader()) {
            (true, None) => Err("nobody led"),
            (true, leader) if step.anchor == Anchor::Leader => Ok(leader),
            _ if step.anchor == Anchor::Event => Err("there is no event to say which node is meant"),
            _ => Ok(None),
        }
    }

    fn fire(&mut self, step: usize, anchor: Option<NodeId>) {
        let state = &self.nemesis.steps[step];
        let Some(action) = state.step.case(anchor).cloned() else {
            let anchor = anchor.map_or_else(String::new, node_name);
            return self.skip(step, format!("the plan has no case for {anchor}"));
        };
        match self.obstacle(&action) {
            Some(reason) => self.skip(step, reason),
            None if action.is_errand() => {
                self.begin_errand(step, &action, anchor);
            }
            None => self.install(step, action, anchor),
        }
    }

    /// Why an action cannot be carried out in the state that the cluster is in.
    fn obstacle(&self, action: &Action) -> Option<String> {
        match action {
            Action::Pause(nodes) => {
                let down = |node: &NodeId| !matches!(self.machines[*node as usize - 1].state, State::Up(_));
                nodes.iter().all(down).then(|| "there was no process to stop: the nodes were down".to_owned())
            }
            Action::SnapshotNow(nodes) => {
                let founded = |node: &NodeId| {
                    self.machines[*node as usize - 1].live_node().is_some_and(|node| node.is_founded())
                };
                let nobody = !nodes.iter().any(founded);
                nobody.then(|| "there was no process with a state: the nodes were down or empty".to_owned())
            }
            Action::TransferLeader(to) => match self.leader() {
                None => Some("nobody led".to_owned()),
                Some(leader) if leader == *to => Some(format!("{} led already", node_name(*to))),
                Some(_) => None,
            },
            _ => None,
        }
    }

    fn install(&mut self, position: usize, action: Action, anchor: Option<NodeId>) {
        let Step { id, for_ns, .. } = &self.nemesis.steps[position].step;
        let (id, for_ns) = (*id, *for_ns);
        let words_before = self.words(action.nodes());
        let mut force = Force {
            links_before: action.links().iter().map(|(from, to)| self.network.counters(*from, *to)).collect(),
            record: self.records.nemesis.len(),
            anchor,
            slowed_before: action
                .nodes()
                .iter()
                .map(|node| self.machines[*node as usize - 1].slowed)
                .collect(),
            failures_before: action
                .nodes()
                .iter()
                .map(|node| self.machines[*node as usize - 1].disk_failures)
                .collect(),
            ticks_before: action.nodes().iter().map(|node| self.machines[*node as usize - 1].ticks).collect(),
            lies_before: action
                .nodes()
                .iter()
                .map(|node| self.machines[*node as usize - 1].disk().lies())
                .collect(),
            flipped: Map::new(),
            paused: Vec::new(),
            awaited: Vec::new(),
            leader_before: self.leader(),
            action,
        };
        let record = self.record(position, Phase::Install, Status::Done, Some((&force.action, anchor)));
        self.records.nemesis(record);
        match &force.action {
            Action::Cut { links, .. } => links.iter().for_each(|(from, to)| self.network.cut(*from, *to)),
            Action::Disturb { links, by, .. } => {
                links.iter().for_each(|(from, to)| self.network.disturb(*from, *to, id, *by));
            }
            Action::Reset { links, .. } => {
                self.reset_connections(links);
                self.queue.push(self.now_ns, Event::StepEnd { step: position });
            }
            Action::Slow { nodes, what, delay_min_ns, delay_max_ns } => {
                let (seed, range_ns) = (self.plan.seed, (*delay_min_ns, *delay_max_ns));
                for node in nodes {
                    self.machine(*node).slow.push(Slowed::new(seed, *node, id, *what, range_ns));
                }
            }
            Action::FailDisk { nodes, failing } => {
                for node in nodes {
                    let machine = self.machine(*node);
                    machine.failing.push((id, *failing));
                    machine.set_failing();
                }
            }
            Action::Clock { nodes, what } => {
                let now_ns = self.now_ns;
                for node in nodes {
                    let clock = &mut self.machine(*node).clock;
                    match *what {
                        ClockFault::Offset { ahead_ns } => clock.begin_offset(id, ahead_ns),
                        ClockFault::Drift { fast_ppm } => clock.begin_drift(id, fast_ppm, now_ns),
                        ClockFault::Jump { ahead_ns } => clock.jump(ahead_ns),
                    }
                }
                let may_end = match *what {
                    ClockFault::Drift { fast_ppm } => {
                        self.expirations.clocks_drift(fast_ppm.unsigned_abs(), now_ns)
                    }
                    ClockFault::Offset { ahead_ns } | ClockFault::Jump { ahead_ns } => {
                        self.expirations.clocks_part(ahead_ns.unsigned_abs(), now_ns)
                    }
                };
                may_end.into_iter().for_each(|ends_ns| self.queue.push(ends_ns, Event::LeasesEnd));
                if matches!(what, ClockFault::Jump { .. }) {
                    self.queue.push(now_ns, Event::StepEnd { step: position });
                }
            }
            Action::Lie(nodes) => {
                for node in nodes {
                    let machine = self.machine(*node);
                    machine.beyond_model = true;
                    machine.lying.push(id);
                    machine.set_lying();
                }
            }
            Action::Corrupt { nodes, part } => {
                for node in nodes {
                    force.flipped.insert(node_name(*node), self.corrupt(*node, id, *part));
                }
                self.queue.push(self.now_ns, Event::StepEnd { step: position });
            }
            Action::Wipe(nodes) => {
                for node in nodes {
                    self.wipe(*node);
                }
                self.queue.push(self.now_ns, Event::StepEnd { step: position });
            }
            Action::Kill(nodes) => {
                for node in nodes {
                    self.process_dies(*node, false);
                    self.machine(*node).holds += 1;
                }
            }
            Action::PowerOff(nodes) => {
                for node in nodes {
                    self.power_goes(*node);
                    self.machine(*node).holds += 1;
                }
            }
            Action::Restart(nodes) => {
                for node in nodes {
                    self.process_dies(*node, false);
                    if !matches!(self.machine(*node).state, State::Ended(_)) {
                        force.awaited.push(*node);
                    }
                    if self.machine(*node).holds == 0 {
                        self.schedule_start(*node);
                    }
                }
            }
            Action::Pause(nodes) => {
                for node in nodes {
                    if self.pause(*node) {
                        let machine = self.machine(*node);
                        force.paused.push((*node, machine.life, machine.ticks_withheld));
                    }
                }
            }
            Action::SnapshotNow(nodes) => {
                for node in nodes {
                    let life = self.machine(*node).life;
                    let request = Request::SnapshotNow;
                    self.due.push_back((*node, life, Input::client(NEMESIS_TICKET, request)));
                }
                self.queue.push(self.now_ns, Event::StepEnd { step: position });
            }
            Action::AddNode(_) | Action::RemoveNode(_) | Action::ReplaceNode(_) => {
                unreachable!("an administrator sees to it")
            }
            Action::TransferLeader(to) => {
                let leader = force.leader_before.expect("somebody leads, or the step is skipped");
                let life = self.machine(leader).life;
                let request = Request::TransferLeader { to: *to };
                self.due.push_back((leader, life, Input::client(NEMESIS_TICKET, request)));
                self.queue.push(self.now_ns + RETRY_NS, Event::TransferSeen { step: position });
            }
        }
        let evidence = self.evidence(&force, words_before);
        self.records.nemesis[force.record].evidence = evidence;
        if let (Some(for_ns), false) = (
            for_ns,
            matches!(
                force.action,
                Action::TransferLeader(_)
                    | Action::Restart(_)
                    | Action::Reset { .. }
                    | Action::Corrupt { .. }
                    | Action::Wipe(_)
                    | Action::Clock { what: ClockFault::Jump { .. }, .. }
                    | Action::SnapshotNow(_)
            ),
        ) {
            self.queue.push(self.now_ns + for_ns, Event::StepEnd { step: position });
        }
        self.nemesis.steps[position].progress = Progress::InForce(Box::new(force));
    }

    pub(super) fn step_ends(&mut self, step: usize) {
        let progress = &mut self.nemesis.steps[step].progress;
        if !matches!(progress, Progress::InForce(_)) {
            return;
        }
        let Progress::InForce(force) = std::mem::replace(progress, Progress::Over) else { return };
        self.complete_evidence(&force);
        match &force.action {
            Action::Cut { links, .. } => links.iter().for_each(|(from, to)| self.network.mend(*from, *to)),
            Action::Disturb { links, by, .. } => {
                let id = self.nemesis.steps[step].step.id;
                for (from, to) in links {
                    self.network.calm(*from, *to, id);
                    if matches!(by, Disturbance::Bandwidth { .. }) {
                        self.widen(*from, *to);
                    }
                }
            }
            Action::Slow { nodes, .. } => {
                let id = self.nemesis.steps[step].step.id;
                nodes.iter().for_each(|node| self.quicken(*node, id));
            }
            Action::FailDisk { nodes, .. } => {
                let id = self.nemesis.steps[step].step.id;
                for node in nodes {
                    let machine = self.machine(*node);
                    machine.failing.retain(|(step, _)| *step != id);
                    machine.set_failing();
                    self.start_if_disk_is_well(*node);
                }
            }
            Action::Lie(nodes) => {
                let id = self.nemesis.steps[step].step.id;
                for node in nodes {
                    let machine = self.machine(*node);
                    machine.lying.retain(|step| *step != id);
                    machine.set_lying();
                }
            }
            Action::Clock { nodes, what } => {
                let (id, now_ns) = (self.nemesis.steps[step].step.id, self.now_ns);
                nodes.iter().for_each(|node| self.machine(*node).clock.end(id, now_ns));
                match *what {
                    ClockFault::Offset { ahead_ns } => {
                        self.expirations.clocks_meet(ahead_ns.unsigned_abs(), now_ns)
                    }
                    ClockFault::Drift { fast_ppm } => {
                        self.expirations.clocks_go_alike(fast_ppm.unsigned_abs(), now_ns)
                    }
                    ClockFault::Jump { .. } => {}
                }
            }
            Action::Kill(nodes) | Action::PowerOff(nodes) => {
                nodes.iter().for_each(|node| self.release(*node))
            }
            Action::Pause(_) => {
                for (node, life, _) in &force.paused {
                    if self.machine(*node).life == *life {
                        self.resume(*node);
                    }
                }
            }
            // Nothing is taken away: a restart is over when the processes are up, a transfer when a new leader
            // has shown, or did not in time, a reset at once.
            Action::Restart(_)
            | Action::TransferLeader(_)
            | Action::Reset { .. }
            | Action::SnapshotNow(_)
            | Action::AddNode(_)
            | Action::RemoveNode(_)
            | Action::ReplaceNode(_)
            | Action::Corrupt { .. }
            | Action::Wipe(_) => {}
        }
        let mut record = self.record(step, Phase::Heal, Status::Done, Some((&force.action, force.anchor)));
        record.evidence = self.evidence_of_end(&force.action);
        self.records.nemesis(record);
    }

    /// One bit of the machine's disk flips. Gives which, or null if there is no such file.
    fn corrupt(&mut self, node: NodeId, step: u64, part: Part) -> Value {
        let stream = Stream::new(self.plan.seed, "corrupt", node, step);
        let machine = self.machine(node);
        let is_meant = |name: &str| match part {
            Part::Any => name.ends_with(".wal") || name.ends_with(".snap"),
            Part::Log => name.ends_with(".wal"),
            Part::Snapshot => name.ends_with(".snap"),
        };
        let files: Vec<(String, u64)> = machine
            .disk()
            .files()
            .filter(|(name, bytes)| *bytes > 0 && is_meant(name))
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .collect();
        let Some(last) = (files.len() as u64).checked_sub(1) else { return Value::Null };
        let (file, bytes) = &files[stream.between(0, 0, last) as usize];
        let (offset, bit) = (stream.between(1, 0, bytes - 1), stream.between(2, 0, 7));
        machine.beyond_model = true;
        machine.disk_mut().corrupt(file, offset, 1 << bit);
        json!({"file": file, "offset": offset, "bit": bit})
    }

    /// The machine comes back with an empty disk, in the state that the steps want that disk in.
    fn wipe(&mut self, node: NodeId) {
        self.process_dies(node, false);
        let machine = self.machine(node);
        machine.beyond_model = true;
        match &mut machine.state {
            State::Down { disk, .. } | State::Starting(disk) | State::Ended(disk) => *disk = SimDisk::new(),
            State::Up(_) => unreachable!("its process has just died"),
        }
        machine.set_failing();
        machine.set_lying();
        if machine.holds == 0 {
            self.schedule_start(node);
        }
    }

    /// One step less holds the process down.
    fn release(&mut self, node: NodeId) {
        let machine = self.machine(node);
        machine.holds = machine.holds.checked_sub(1).expect("a process is released as often as it was held");
        if machine.holds == 0 {
            self.schedule_start(node);
        }
    }

    /// A process came up: a step that restarted it may be over.
    pub(super) fn process_is_up(&mut self, node: NodeId) {
        for step in 0..self.nemesis.steps.len() {
            if let Progress::InForce(force) = &mut self.nemesis.steps[step].progress {
                let awaited = force.awaited.len();
                force.awaited.retain(|awaited| *awaited != node);
                if awaited > 0 && force.awaited.is_empty() {
                    self.step_ends(step);
                }
            }
        }
    }

    /// Looks whether the node that was to lead does.
    pub(super) fn see_transfer(&mut self, step: usize) {
        let leader = self.leader();
        let Progress::InForce(force) = &self.nemesis.steps[step].progress else { return };
        let Action::TransferLeader(to) = force.action else { return };
        let begun_ns = self.records.nemesis[force.record].time_ns;
        if leader != Some(to) && self.now_ns < begun_ns + TRANSFER_NS {
            self.queue.push(self.now_ns + RETRY_NS, Event::TransferSeen { step });
        } else {
            self.step_ends(step);
        }
    }

    /// Everything still in force ends; what has not happened by now never will.
    pub(super) fn heal_all(&mut self) {
        self.nemesis.healed = true;
        for step in 0..self.nemesis.steps.len() {
            match &self.nemesis.steps[step].progress {
                Progress::InForce(_) => self.step_ends(step),
                Progress::Waiting => {
                    let reason = self.why_never(step);
                    self.skip(step, reason);
                }
                Progress::OnErrand(errand) => {
                    let errand = *errand;
                    self.errand_is_given_up(errand);
                }
                Progress::Over => {}
            }
        }
        self.nemesis.watches.clear();
        let evidence = json!({
            "links_cut": self.network.cut_links().count(),
            "links_slow": self.network.disturbed_links().count(),
            "processes": self.words(&(1..=self.plan.nodes).collect::<Vec<_>>()),
        });
        self.records.nemesis(NemesisRecord {
            step: None,
            phase: Phase::AllHealed,
            status: Status::Done,
            planned_ns: Some(self.now_ns),
            time_ns: self.now_ns,
            kind: "all_healed".to_owned(),
            nodes: Vec::new(),
            links: Vec::new(),
            anchor: None,
            evidence,
            reason: None,
            fixed: false,
        });
    }

    fn why_never(&self, step: usize) -> String {
        match self.nemesis.steps[step].step.when {
            When::At { .. } => "every fault was healed before it could be carried out".to_owned(),
            When::On { event, nth, .. } => {
                let missing = self
                    .nemesis
                    .watches
                    .iter()
                    .find(|watch| watch.step == step)
                    .map_or(nth, |watch| watch.missing);
                let name = event.name();
                format!("{name} happened {} of {nth} times before the heal", nth - missing)
            }
        }
    }

    fn skip(&mut self, step: usize, reason: String) {
        self.nemesis.steps[step].progress = Progress::Over;
        let mut record = self.record(step, Phase::Install, Status::Skipped, None);
        record.reason = Some(reason);
        self.records.nemesis(record);
    }
}
