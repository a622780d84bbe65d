//! Looking at a node.

use mcp_chaos_evidence::{NodeId, Role};

use super::Node;
use super::status::{NodeStatus, Observation};
use crate::machine::Machine;

impl Node {
    /// This node.
    pub fn id(&self) -> NodeId {
        self.options.id
    }

    /// Whether it leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.replica.is_leader()
    }

    /// Its part in the protocol.
    pub fn role(&self) -> Role {
        self.replica.status().role
    }

    /// Its term.
    pub fn term(&self) -> u64 {
        self.replica.status().term
    }

    /// Who leads, as far as it knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.replica.leader()
    }

    /// Last index applied.
    pub fn applied(&self) -> u64 {
        self.applied.0
    }

    /// Up to which index the newest snapshot reaches, whether it is on the disk already or on its way there.
    pub fn newest_snapshot(&self) -> u64 {
        self.snapshot_index
    }

    /// Checksum of the state.
    pub fn state_checksum(&self) -> u64 {
        self.machine.state_checksum()
    }

    /// The state itself.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// What it says of itself to operators.
    pub fn status(&self) -> NodeStatus {
        let status = self.replica.status();
        NodeStatus {
            node: self.options.id,
            boot: self.boot,
            cluster: self.machine.cluster().to_owned(),
            role: status.role,
            term: status.term,
            vote: status.vote,
            leader: status.leader,
            voters: status.configuration.voters,
            voters_outgoing: status.configuration.voters_outgoing,
            learners: status.configuration.learners,
            removed: status.configuration.removed,
            commit: status.commit,
            applied: self.applied.0,
            first_index: status.first_index,
            last_index: status.last_index,
            persisted: status.persisted,
            snapshot_index: status.snapshot_index,
            state: self.machine.state_checksum(),
            sessions: self.machine.session_count(),
            settings: self.machine.setting_count(),
            servers: self.machine.server_count(),
            pending: self.pending.len(),
            received: self.received.clone(),
            plants: self.options.plants.names(),
        }
    }

    /// What a debugger sees. Costs a copy of the whole log's outline.
    pub fn observe(&self) -> Observation {
        let status = self.replica.status();
        Observation {
            role: status.role,
            term: status.term,
            vote: status.vote,
            leader: status.leader,
            commit: status.commit,
            applied: self.applied.0,
            first_index: status.first_index,
            last_index: status.last_index,
            persisted: status.persisted,
            snapshot_index: status.snapshot_index,
            state: self.machine.state_checksum(),
            log: self.durable_log.entries(),
        }
    }
}
