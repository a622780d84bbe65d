//! After the workload: the cluster agrees again, the final operations prove it, and the run ends.

use super::{Event, World};
use crate::process::State;
use mcp_chaos_evidence::{NodeId, Role};

/// How often the world looks whether the next part may begin.
const POLL_NS: u64 = 20_000_000;
/// How long after the final operations nodes may take to have applied all of them.
const SETTLE_NS: u64 = 1_000_000_000;

/// The parts of a run, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Faults and workload.
    #[default]
    Running,
    /// The workload is over: its last operations end, and all nodes come to agree.
    Recovering,
    /// Each register is written once.
    FinalWrites { until_ns: u64 },
    /// Each register is read at each node.
    FinalReads,
    /// The last entries reach the last node.
    Settling { until_ns: u64 },
    /// Nothing happens any more.
    Over,
}

impl World {
    /// One look at the recovery; it looks again until the run is over.
    pub(super) fn recovery(&mut self) {
        let now_ns = self.now_ns;
        match self.stage {
            Stage::Running => self.stage = Stage::Recovering,
            Stage::Recovering => {
                let ended = self.clients_are_idle();
                if ended && self.has_converged() || now_ns >= self.recovery_deadline_ns() {
                    self.begin_final_writes();
                }
            }
            Stage::FinalWrites { until_ns } => {
                if now_ns >= until_ns {
                    self.abandon_final_writes();
                }
                if self.roaming.iter().all(|client| client.is_idle()) {
                    self.begin_final_reads();
                }
            }
            Stage::FinalReads => {
                if self.homes.iter().all(|home| home.is_idle()) {
                    self.stage = Stage::Settling { until_ns: now_ns + SETTLE_NS };
                }
            }
            Stage::Settling { until_ns } => {
                if now_ns >= until_ns || self.has_converged() {
                    self.stage = Stage::Over;
                }
            }
            Stage::Over => return,
        }
        self.queue.push(now_ns + POLL_NS, Event::Recovery);
    }

    fn clients_are_idle(&self) -> bool {
        self.roaming.iter().all(|client| client.is_idle())
            && self.homes.iter().all(|home| home.is_idle())
            && self.hands.are_idle()
    }

    /// The cluster has had the time that the plan allows, and the workload's last operations theirs.
    fn recovery_deadline_ns(&self) -> u64 {
        let timeline = &self.plan.timeline;
        let recovered_ns = timeline.heal_ns + timeline.recovers_within_ns;
        let ended_ns = timeline.workload_ns + self.plan.workload.operation_timeout_ns;
        super::START_NS + recovered_ns.max(ended_ns)
    }

    /// Every node is up (but those that a fault beyond Raft's model has taken out), one leads, and all have applied the
    /// same log to the same state.
    fn has_converged(&self) -> bool {
        let mut leaders = 0;
        let mut first = None;
        let members = self.members_to_agree();
        for machine in members.iter().map(|node| &self.machines[*node as usize - 1]) {
            if machine.beyond_model && matches!(machine.state, State::Ended(_)) {
                continue;
            }
            let Some(node) = machine.live_node() else { return false };
            leaders += u32::from(node.role() == Role::Leader);
            let state = (node.applied(), node.state_checksum());
            if *first.get_or_insert(state) != state {
                return false;
            }
        }
        leaders == 1
    }

    /// The nodes that have to agree at the end: who belongs to the cluster, less what is gone for good.
    fn members_to_agree(&self) -> Vec<NodeId> {
        let all = 1..=self.plan.nodes;
        if !self.plan.changes_membership() {
            return all.collect();
        }
        // The newest configuration that any of them has applied.
        let live = self.machines.iter().filter_map(|machine| machine.live_node());
        let Some(newest) = live.filter(|node| node.is_founded()).max_by_key(|node| node.applied()) else {
            return all.collect();
        };
        let status = newest.status();
        let is_member = |id: &NodeId| {
            [&status.voters, &status.voters_outgoing, &status.learners].iter().any(|ids| ids.contains(id))
        };
        all.filter(is_member).filter(|id| !self.machines[*id as usize - 1].lost).collect()
    }

    fn begin_final_writes(&mut self) {
        let (clients, keys) = (self.plan.workload.clients, self.plan.workload.keys);
        let rounds = u64::from(keys.div_ceil(clients));
        // Each write is bounded by itself; this bounds the wait for a session.
        let until_ns = self.now_ns + (rounds + 1) * self.plan.workload.operation_timeout_ns;
        self.stage = Stage::FinalWrites { until_ns };
        for client in 0..clients.min(keys) {
            let keys = (client..keys).step_by(clients as usize);
            self.with_client(client as usize, |world, effects| {
                world.roaming[client as usize].begin_finals(world.now_ns, keys, effects);
            });
        }
    }

    /// Clients that could not even open a session say so in the history.
    fn abandon_final_writes(&mut self) {
        for client in 0..self.roaming.len() {
            self.with_client(client, |world, effects| world.roaming[client].abandon(world.now_ns, effects));
        }
    }

    fn begin_final_reads(&mut self) {
        self.stage = Stage::FinalReads;
        let keys = self.plan.workload.keys;
        let first = self.roaming.len();
        // Who belongs to the cluster no more, or not yet, has nothing to say.
        for home in self.members_to_agree().into_iter().map(|node| node as usize - 1) {
            self.with_client(first + home, |world, effects| {
                world.homes[home].begin_finals(world.now_ns, 0..keys, effects);
            });
        }
    }
}
