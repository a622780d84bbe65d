//! One machine: its process in one of its states, and the disk that outlives it.

use std::collections::VecDeque;

use mcp_chaos_consensus::{Batch, Snapshot};
use mcp_chaos_evidence::{NodeId, rng::Stream};
use mcp_chaos_wal::{Failing, SimDisk, Wal};
use mcp_manager::{Input, Node};

use crate::clock::Clock;
use crate::plan::{self, Slow};

/// What waits at a stopped process, at most: the buffers of its sockets are bounded too.
pub(crate) const MAX_INBOX: usize = 4_096;
/// How long a process takes to come up, in nanoseconds.
pub(crate) const START_MIN_NS: u64 = 20_000_000;
/// As above, at most.
pub(crate) const START_MAX_NS: u64 = 80_000_000;

/// A machine.
pub(crate) struct Machine {
    pub state: State,
    /// Counts lives: what was meant for an earlier one is passed over.
    pub life: u64,
    /// Steps that hold the process down.
    pub holds: u32,
    /// The boot counter, as last read from the disk.
    pub boot: u64,
    pub clock: Clock,
    /// It was founded: an empty disk is then one that was lost.
    pub founded: bool,
    /// A fault beyond Raft's model has hit it: it may refuse to go on, and the others need not wait for it.
    pub beyond_model: bool,
    /// Steps that make its disk lie.
    pub lying: Vec<u64>,
    /// Ticks that it had, whether or not its process could handle them, over the whole run.
    pub ticks: u64,
    /// Ticks that a pause withheld, over the whole run.
    pub ticks_withheld: u64,
    /// What a full inbox of a paused process turned away, over the whole run.
    pub overflowed: u64,
    /// What steps make its disk fail at.
    pub failing: Vec<(u64, Failing)>,
    /// Its process is gone because the disk failed, and comes up again once the disk is well.
    pub awaits_disk: bool,
    /// It is gone for good, with its disk.
    pub lost: bool,
    /// How often a process ended, or did not start, because the disk failed, over the whole run.
    pub disk_failures: u64,
    /// What steps make its process slow at.
    pub slow: Vec<Slowed>,
    /// What they have slowed, over the whole run.
    pub slowed: SlowCounters,
    pub sync_times: Draws,
    pub start_times: Draws,
    pub power_losses: Draws,
}

/// One step's hold on a process.
pub(crate) struct Slowed {
    pub step: u64,
    what: Slow,
    range_ns: (u64, u64),
    draws: Draws,
}

impl Slowed {
    pub fn new(seed: u64, node: NodeId, step: u64, what: Slow, range_ns: (u64, u64)) -> Slowed {
        let draws = Draws { stream: Stream::new(seed, what.name(), node, step), n: 0 };
        Slowed { step, what, range_ns, draws }
    }
}

/// What was slowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlowCounters {
    pub inputs: u64,
    pub writes: u64,
    pub syncs: u64,
    /// By how much, all together.
    pub added_ns: u64,
}

/// A stream with the number of its next draw.
pub(crate) struct Draws {
    pub stream: Stream,
    pub n: u64,
}

impl Draws {
    fn new(seed: u64, label: &str, node: NodeId) -> Draws {
        Draws { stream: Stream::new(seed, label, node, 0), n: 0 }
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        let n = self.take();
        self.stream.between(n, low, high)
    }

    /// The number of the next draw, taken.
    pub fn take(&mut self) -> u64 {
        self.n += 1;
        self.n - 1
    }
}

/// A process's state. The disk is in the hands of the process while it is up.
pub(crate) enum State {
    Up(Box<Running>),
    /// On its way up.
    Starting(SimDisk),
    /// `powered`: the machine is on, and refuses connections; else it keeps silent.
    Down {
        disk: SimDisk,
        powered: bool,
    },
    /// It panicked, stopped of its own accord or refused its data, and nothing brings it up again.
    Ended(SimDisk),
}

/// A process that is up.
pub(crate) struct Running {
    pub node: Node,
    pub wal: Wal<SimDisk>,
    /// What the storage thread is to do next.
    pub jobs: VecDeque<Job>,
    /// What it is doing.
    pub flight: Option<Flight>,
    /// Steps that stop the process.
    pub pauses: u32,
    /// What arrived since it was stopped, or what a slow process has not come to yet.
    pub inbox: VecDeque<Waiting>,
    /// A slow process takes its time over the first in its inbox: the turn at whose end it is done with it.
    pub in_hand: Option<u64>,
    /// So many turns there have been.
    pub turns: u64,
}

impl Running {
    /// Whether a tick waits in its inbox.
    pub fn has_tick_waiting(&self) -> bool {
        self.inbox.iter().any(|waiting| matches!(waiting, Waiting::Input(Input::Tick)))
    }
}

/// A task for the storage thread.
pub(crate) enum Job {
    Persist { token: u64, batch: Batch },
    SaveSnapshot(Box<Snapshot>),
}

/// What the storage thread is doing until the disk is done.
pub(crate) enum Flight {
    /// These batches are written; the sync comes at the end.
    Batches(Vec<u64>),
    /// These batches are being written to a slow disk, and need no sync.
    Written(Vec<u64>),
    /// The disk is done with these batches, but the process is stopped and has not learned of it.
    Done(Vec<u64>),
    /// The snapshot's file is written and synced at the end.
    Snapshot(Box<Snapshot>),
}

/// What waits for a stopped process.
pub(crate) enum Waiting {
    Input(Input),
    DiskDone,
}

impl Machine {
    pub fn new(seed: u64, id: NodeId) -> Machine {
        Machine {
            state: State::Down { disk: SimDisk::new(), powered: true },
            life: 0,
            holds: 0,
            boot: 0,
            clock: Clock::default(),
            founded: false,
            beyond_model: false,
            lying: Vec::new(),
            ticks: 0,
            ticks_withheld: 0,
            overflowed: 0,
            failing: Vec::new(),
            awaits_disk: false,
            lost: false,
            disk_failures: 0,
            slow: Vec::new(),
            slowed: SlowCounters::default(),
            sync_times: Draws::new(seed, "sync", id),
            start_times: Draws::new(seed, "start", id),
            power_losses: Draws::new(seed, "power_off", id),
        }
    }

    /// The process, if it is up (perhaps paused).
    pub fn running(&mut self) -> Option<&mut Running> {
        match &mut self.state {
            State::Up(running) => Some(running),
            _ => None,
        }
    }

    /// The node, if its process is up and not paused.
    pub fn live_node(&self) -> Option<&Node> {
        match &self.state {
            State::Up(running) if running.pauses == 0 => Some(&running.node),
            _ => None,
        }
    }

    /// The state in one word, as evidence has it.
    pub fn word(&self) -> &'static str {
        match &self.state {
            State::Up(running) if running.pauses > 0 => "paused",
            State::Up(_) => "up",
            State::Starting(_) => "starting",
            State::Down { .. } if self.holds == 0 && self.awaits_disk => "stopped",
            // Nothing holds it down: its disk has crashed just now, at the point that a step had set.
            State::Down { .. } if self.holds == 0 => "crashed",
            State::Down { .. } => "down",
            State::Ended(_) => "ended",
        }
    }

    pub fn disk(&self) -> &SimDisk {
        match &self.state {
            State::Up(running) => running.wal.disk(),
            State::Starting(disk) | State::Ended(disk) | State::Down { disk, .. } => disk,
        }
    }

    pub fn disk_mut(&mut self) -> &mut SimDisk {
        match &mut self.state {
            State::Up(running) => running.wal.disk_mut(),
            State::Starting(disk) | State::Ended(disk) | State::Down { disk, .. } => disk,
        }
    }

    /// Tells the disk what is to fail now.
    pub fn set_failing(&mut self) {
        let failing = self.failing.iter().fold(Failing::default(), |all, (_, one)| all.or(*one));
        self.disk_mut().set_failing(failing);
    }

    /// Tells the disk whether it lies now.
    pub fn set_lying(&mut self) {
        let lying = !self.lying.is_empty();
        self.disk_mut().set_lying(lying);
    }

    /// Takes the disk out of whatever state the machine is in; the caller puts a new state in its place.
    pub fn take_disk(&mut self) -> SimDisk {
        let gone = State::Down { disk: SimDisk::new(), powered: true };
        match std::mem::replace(&mut self.state, gone) {
            State::Up(running) => running.wal.into_disk(),
            State::Starting(disk) | State::Ended(disk) | State::Down { disk, .. } => disk,
        }
    }

    /// Draws how long the next sync takes.
    pub fn sync_time_ns(&mut self, disk: &plan::Disk) -> u64 {
        let added_ns = self.added_ns(|what| matches!(what, Slow::Disk | Slow::Sync));
        self.slowed.syncs += u64::from(added_ns.is_some());
        self.sync_times.between(disk.sync_min_ns, disk.sync_max_ns) + added_ns.unwrap_or(0)
    }

    /// Draws how long the next write takes: no time, unless a step slows the disk.
    pub fn write_time_ns(&mut self) -> u64 {
        let added_ns = self.added_ns(|what| what == Slow::Disk);
        self.slowed.writes += u64::from(added_ns.is_some());
        added_ns.unwrap_or(0)
    }

    /// Draws how long the process takes over the next input, if a step slows it.
    pub fn input_time_ns(&mut self) -> Option<u64> {
        let added_ns = self.added_ns(|what| what == Slow::Node);
        self.slowed.inputs += u64::from(added_ns.is_some());
        added_ns
    }

    /// Whether a step slows the handling of inputs.
    pub fn is_slow(&self) -> bool {
        self.slow.iter().any(|slowed| slowed.what == Slow::Node)
    }

    /// What the steps that slow this add, together.
    fn added_ns(&mut self, concerned: impl Fn(Slow) -> bool) -> Option<u64> {
        let slow = self.slow.iter_mut().filter(|slowed| concerned(slowed.what));
        let added = slow.map(|slowed| slowed.draws.between(slowed.range_ns.0, slowed.range_ns.1));
        let added_ns = added.reduce(|sum, one| sum + one);
        self.slowed.added_ns += added_ns.unwrap_or(0);
        added_ns
    }

    /// Draws how long the next start takes.
    pub fn start_time_ns(&mut self) -> u64 {
        self.start_times.between(START_MIN_NS, START_MAX_NS)
    }
}
