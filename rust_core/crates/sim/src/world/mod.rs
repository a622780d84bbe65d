//! The world: everything that happens in a run, on one virtual clock.
//!
//! [`World::advance`] is the loop: take the next event, set the clock to its time, carry it out. What an event
//! leads to is put into the queue, or done at the same virtual time; nothing else moves the world.

mod hand;
mod lines;
mod machines;
mod nemesis;
mod observe;
mod recovery;
mod storage;
mod traffic;

use std::collections::VecDeque;
use std::sync::Arc;

use mcp_chaos_evidence::{NodeId, node_name, rng::Stream};
use mcp_manager::{Input, Output, Plants, UnknownPlant};

use crate::clients::{self, Home, Roaming, Setting};
use crate::expirations::Expirations;
use crate::network::Network;
use crate::plan::Plan;
use crate::process::Machine;
use crate::queue::Queue;
use crate::records::{Records, Run, Stats};
use hand::Hands;
pub use hand::{HandOutcome, OperateError};
use lines::{Lines, Parcel};
use nemesis::Nemesis;
use recovery::Stage;
use traffic::Call;

/// The plan's time 0 on the world's clock. Before it the cluster is founded, elects a leader, and clients
/// open their sessions.
pub const START_NS: u64 = 3_000_000_000;
/// When clients open their sessions.
const SESSIONS_NS: u64 = 1_500_000_000;
/// The name under which every simulated cluster is founded.
pub const CLUSTER: &str = "sim";

/// What happens in the world.
enum Event {
    Tick {
        node: NodeId,
    },
    /// A message reaches the end of its link.
    Arrives {
        from: NodeId,
        to: NodeId,
        connection: u32,
        parcel: Parcel,
        /// A duplicate of one that arrives too: nobody is told what becomes of it.
        is_copy: bool,
    },
    /// A link of limited bandwidth has taken the first message in line.
    LinkTakes {
        from: NodeId,
        to: NodeId,
        turn: u64,
    },
    /// A slow process has taken its time over the next input.
    Handled {
        node: NodeId,
        life: u64,
        turn: u64,
    },
    /// The disk is done with what it was given last.
    DiskDone {
        node: NodeId,
        life: u64,
    },
    /// The process is up.
    Start {
        node: NodeId,
        life: u64,
    },
    /// The sender's connection tells it what became of an earlier message.
    Feedback {
        node: NodeId,
        life: u64,
        input: Input,
    },
    ClientStart {
        client: usize,
    },
    ClientWake {
        client: usize,
        epoch: u32,
    },
    StepDue {
        step: usize,
    },
    StepEnd {
        step: usize,
    },
    /// See whether leadership was handed over.
    TransferSeen {
        step: usize,
    },
    /// See how far an administrator has come with a change of the membership.
    ErrandDue {
        errand: usize,
    },
    HealAll,
    /// After the workload: see how far recovery has come.
    Recovery,
    /// See which leases may have ended.
    LeasesEnd,
}

/// One simulated cluster with its clients and its nemesis, steppable. See [`crate::simulate`] for a whole plan.
pub struct World {
    plan: Arc<Plan>,
    plants: Plants,
    now_ns: u64,
    queue: Queue<Event>,
    network: Network,
    /// What waits before links of limited bandwidth.
    lines: Lines,
    machines: Vec<Machine>,
    roaming: Vec<Roaming>,
    /// One for each node, at least for the final reads.
    homes: Vec<Home>,
    /// Clients driven by hand.
    hands: Hands,
    /// The request that each client waits on: roaming clients, then those at home, then those driven by hand.
    calls: Vec<Call>,
    nemesis: Nemesis,
    stage: Stage,
    expirations: Expirations,
    records: Records,
    events: u64,
    /// Inputs due at this very moment, in order: (node, its life, input).
    due: VecDeque<(NodeId, u64, Input)>,
    /// Kept for their capacity.
    outputs: Vec<Output>,
    effects: Vec<clients::Effect>,
}

impl World {
    /// A founded cluster at virtual time 0; the plan begins at [`START_NS`]. `plants` are names of planted bugs.
    ///
    /// # Errors
    /// If there is no planted bug of such a name.
    pub fn new(plan: Plan, plants: &[impl AsRef<str>]) -> Result<World, UnknownPlant> {
        let plants = Plants::parse(plants)?;
        let plan = Arc::new(plan);
        let setting = Arc::new(Setting::new(&plan, START_NS));
        let roaming: Vec<_> =
            (1..=plan.workload.clients).map(|number| Roaming::new(setting.clone(), number)).collect();
        let mut world = World {
            plants,
            now_ns: 0,
            queue: Queue::default(),
            network: Network::new(plan.seed, plan.nodes, plan.network.clone()),
            lines: Lines::default(),
            machines: (1..=plan.nodes).map(|id| Machine::new(plan.seed, id)).collect(),
            calls: vec![Call::default(); roaming.len() + plan.nodes as usize],
            roaming,
            hands: Hands::new(setting.clone()),
            homes: (1..=plan.nodes).map(|node| Home::new(setting.clone(), node)).collect(),
            nemesis: Nemesis::new(&plan),
            stage: Stage::default(),
            expirations: Expirations::new(plan.workload.lease_ns),
            records: Records::default(),
            events: 0,
            due: VecDeque::new(),
            outputs: Vec::new(),
            effects: Vec::new(),
            plan,
        };
        world.begin();
        Ok(world)
    }

    fn begin(&mut self) {
        for node in 1..=self.plan.nodes {
            if node <= self.plan.nodes - self.plan.spares {
                self.found(node);
            } else {
                self.start_empty(node);
            }
            let tick_ns = self.plan.options.tick_ns;
            let phase_ns = Stream::new(self.plan.seed, "tick", node, 0).between(0, 0, tick_ns - 1);
            self.queue.push(phase_ns, Event::Tick { node });
        }
        let clients = if self.plan.workload.home_readers { self.calls.len() } else { self.roaming.len() };
        for client in 0..clients {
            self.queue.push(SESSIONS_NS, Event::ClientStart { client });
        }
        // Before the steps: one that is due at the heal itself would last no time, and is skipped.
        self.queue.push(START_NS + self.plan.timeline.heal_ns, Event::HealAll);
        self.schedule_steps();
        self.queue.push(START_NS + self.plan.timeline.workload_ns, Event::Recovery);
        self.settle();
    }

    /// The virtual time, in nanoseconds since the cluster was founded.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// True once the plan's timeline has come to its end: nothing happens any more.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Lets everything happen that is due up to and including `until_ns`.
    pub fn advance(&mut self, until_ns: u64) {
        while !self.is_over() && self.queue.next_time_ns().is_some_and(|time_ns| time_ns <= until_ns) {
            let (time_ns, event) = self.queue.pop().expect("there is a next event");
            assert!(time_ns >= self.now_ns, "time never goes back");
            self.now_ns = time_ns;
            self.events += 1;
            self.carry_out(event);
            self.settle();
        }
        if !self.is_over() {
            self.now_ns = self.now_ns.max(until_ns);
        }
    }

    /// Lets the rest of the plan happen: faults, heal, recovery, final operations.
    pub fn finish(mut self) -> Run {
        while !self.is_over() {
            let next_ns = self.queue.next_time_ns().expect("the recovery goes on until the run is over");
            self.advance(next_ns);
        }
        let stats = self.stats();
        self.records.into_run(self.plan.nodes, stats)
    }

    fn carry_out(&mut self, event: Event) {
        match event {
            Event::Tick { node } => self.tick(node),
            Event::Arrives { from, to, connection, parcel, is_copy } => {
                self.arrives(from, to, connection, parcel, is_copy)
            }
            Event::LinkTakes { from, to, turn } => self.link_takes(from, to, turn),
            Event::Handled { node, life, turn } => self.slow_input_is_due(node, life, turn),
            Event::DiskDone { node, life } => self.disk_done(node, life),
            Event::Start { node, life } => self.start(node, life),
            Event::Feedback { node, life, input } => self.due.push_back((node, life, input)),
            Event::ClientStart { client } => self.start_client(client),
            Event::ClientWake { client, epoch } => self.wake_client(client, epoch),
            Event::StepDue { step } => self.step_due(step),
            Event::StepEnd { step } => self.step_ends(step),
            Event::TransferSeen { step } => self.see_transfer(step),
            Event::ErrandDue { errand } => self.errand_goes_on(errand),
            Event::HealAll => self.heal_all(),
            Event::Recovery => self.recovery(),
            Event::LeasesEnd => {
                for event in self.expirations.ended(self.now_ns) {
                    self.records.history(event);
                }
            }
        }
    }

    /// Does what is due at this very moment: inputs in order, and after each the steps that it set off.
    fn settle(&mut self) {
        loop {
            self.fire_steps_set_off();
            let Some((node, life, input)) = self.due.pop_front() else { return };
            self.hand_over(node, life, input);
        }
    }

    fn machine(&mut self, node: NodeId) -> &mut Machine {
        &mut self.machines[node as usize - 1]
    }

    fn stats(&self) -> Stats {
        let links = self.network.totals();
        Stats {
            simulated_ns: self.now_ns,
            events: self.events,
            messages: links.sent,
            delivered: links.delivered,
            withheld: links.withheld,
            lost: links.lost,
            disk_writes: self.machines.iter().map(|machine| machine.disk().writes()).sum(),
            disk_syncs: self.machines.iter().map(|machine| machine.disk().syncs()).sum(),
            operations: self
                .records
                .history
                .iter()
                .filter(|event| event.kind == mcp_chaos_evidence::Kind::Invoke)
                .count() as u64,
            trace_records: self.records.trace.len() as u64,
        }
    }
}

/// A link's end, as JSON has it.
fn end_name(end: NodeId) -> String {
    if end == crate::plan::CLIENTS { "clients".to_owned() } else { node_name(end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each is moved into the queue and out of it, and most are small: what is large is in a box.
    #[test]
    fn events_are_cheap_to_move() {
        assert!(size_of::<Event>() <= 48, "{}", size_of::<Event>());
    }
}
