//! Messages between nodes, and between clients and nodes.

use mcp_chaos_consensus::{Message, MessageKind};
use mcp_chaos_evidence::NodeId;
use mcp_manager::Input;
use mcp_manager::command::{Request, Response};

use super::{Event, World};
use crate::clients::{Effect, Home, Reply, Roaming};
use crate::network::Fate;
use crate::plan::CLIENTS;
use crate::process::State;

/// The request that a client waits on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Call {
    node: NodeId,
    serial: u32,
    /// The node has it: if its process dies, the connection breaks.
    arrived: bool,
}

/// One of the clients, whoever drives it.
enum Client<'a> {
    Roams(&'a mut Roaming),
    AtHome(&'a mut Home),
}

/// A client and the number of its request, as a ticket that is unique in the run.
fn ticket(client: usize, serial: u32) -> u64 {
    (client as u64) << 32 | u64::from(serial)
}

fn client_of(ticket: u64) -> (usize, u32) {
    ((ticket >> 32) as usize, ticket as u32)
}

impl World {
    pub(super) fn send_to_peer(&mut self, message: Message) {
        match self.network.send(self.now_ns, message.from, message.to) {
            Fate::Arrives(arrival_ns) => self.queue.push(arrival_ns, Event::Peer(message)),
            Fate::Withheld => self.connection_fails(&message),
            Fate::Lost => self.snapshot_feedback(&message, false),
        }
    }

    pub(super) fn peer_message_arrives(&mut self, message: Message) {
        let (from, to) = (message.from, message.to);
        if !matches!(self.machine(to).state, State::Up(_)) || !self.network.arrive(from, to) {
            return self.connection_fails(&message);
        }
        self.snapshot_feedback(&message, true);
        let life = self.machine(to).life;
        self.hand_over(to, life, Input::Peer(message));
    }

    /// The sender learns that its connection broke: once, until something gets through again.
    fn connection_fails(&mut self, message: &Message) {
        self.snapshot_feedback(message, false);
        if self.network.break_connection(message.from, message.to) {
            self.give_feedback(message.from, Input::Unreachable { peer: message.to });
        }
    }

    /// A sender waits to hear what became of a snapshot before it goes on with that follower.
    fn snapshot_feedback(&mut self, message: &Message, delivered: bool) {
        if message.kind == MessageKind::Snapshot {
            self.give_feedback(message.from, Input::SnapshotSent { peer: message.to, delivered });
        }
    }

    fn give_feedback(&mut self, node: NodeId, input: Input) {
        let life = self.machine(node).life;
        let at_ns = self.now_ns + self.plan.network.latency_min_ns;
        self.queue.push(at_ns, Event::Feedback { node, life, input });
    }

    pub(super) fn start_client(&mut self, client: usize) {
        self.with_client(client, |world, effects| {
            let now_ns = world.now_ns;
            match world.client(client) {
                Client::Roams(roaming) => roaming.start(now_ns, effects),
                Client::AtHome(home) => home.start(effects),
            }
        });
    }

    pub(super) fn wake_client(&mut self, client: usize, epoch: u32) {
        self.with_client(client, |world, effects| {
            let now_ns = world.now_ns;
            match world.client(client) {
                Client::Roams(roaming) => roaming.wake(now_ns, epoch, effects),
                Client::AtHome(home) => home.wake(now_ns, epoch, effects),
            }
        });
    }

    /// The number of the first client that is driven by hand.
    pub(super) fn first_hand(&self) -> usize {
        self.roaming.len() + self.homes.len()
    }

    fn client(&mut self, client: usize) -> Client<'_> {
        let first_home = self.roaming.len();
        let first_hand = self.first_hand();
        if client < first_home {
            Client::Roams(&mut self.roaming[client])
        } else if client < first_hand {
            Client::AtHome(&mut self.homes[client - first_home])
        } else {
            Client::Roams(self.hands.client(client - first_hand))
        }
    }

    /// Hands a message of a client, or to it, to its link.
    fn send_for(&mut self, client: usize, from: NodeId, to: NodeId) -> Fate {
        match client.checked_sub(self.first_hand()) {
            None => self.network.send(self.now_ns, from, to),
            Some(hand) => {
                let lane = self.hands.lane(self.plan.seed, hand, from, to);
                self.network.send_by_hand(self.now_ns, from, to, lane)
            }
        }
    }

    /// Lets a client act, and carries out what it wants.
    pub(super) fn with_client(&mut self, client: usize, act: impl FnOnce(&mut World, &mut Vec<Effect>)) {
        let mut effects = std::mem::take(&mut self.effects);
        act(self, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Record(event) => {
                    if let Some(hand) = client.checked_sub(self.first_hand()) {
                        self.hands.see(hand, &event);
                    }
                    self.records.history(event);
                }
                Effect::Wake { at_ns, epoch } => self.queue.push(at_ns, Event::ClientWake { client, epoch }),
                Effect::Send { node, serial, request } => {
                    self.calls[client] = Call { node, serial, arrived: false };
                    if let Fate::Arrives(at_ns) = self.send_for(client, CLIENTS, node) {
                        self.queue.push(at_ns, Event::Request { node, client, serial, request });
                    }
                }
                Effect::Cancel { node, serial } => {
                    self.calls[client].arrived = false;
                    if let Fate::Arrives(at_ns) = self.send_for(client, CLIENTS, node) {
                        self.queue.push(at_ns, Event::Cancel { node, client, serial });
                    }
                }
            }
        }
        self.effects = effects;
    }

    pub(super) fn request_arrives(&mut self, node: NodeId, client: usize, serial: u32, request: Request) {
        if !self.network.arrive(CLIENTS, node) {
            return;
        }
        match self.machine(node).state {
            State::Up(_) => {
                let call = &mut self.calls[client];
                call.arrived |= call.node == node && call.serial == serial;
                let life = self.machine(node).life;
                self.hand_over(node, life, Input::Client { ticket: ticket(client, serial), request });
            }
            // A machine without power does not even refuse.
            State::Down { powered: false, .. } => {}
            _ => self.send_reply(node, client, serial, Reply::Refused),
        }
    }

    pub(super) fn cancel_arrives(&mut self, node: NodeId, client: usize, serial: u32) {
        if self.network.arrive(CLIENTS, node) {
            let life = self.machine(node).life;
            self.hand_over(node, life, Input::Cancel { ticket: ticket(client, serial) });
        }
    }

    pub(super) fn reply_to_client(&mut self, node: NodeId, ticket: u64, response: Response) {
        // Requests of the nemesis carry a ticket of no client: nobody waits for the answer.
        let (client, serial) = client_of(ticket);
        if client < self.calls.len() {
            self.send_reply(node, client, serial, Reply::Response(response));
        }
    }

    fn send_reply(&mut self, node: NodeId, client: usize, serial: u32, reply: Reply) {
        let call = &mut self.calls[client];
        if (call.node, call.serial) == (node, serial) {
            call.arrived = false;
        }
        if let Fate::Arrives(at_ns) = self.send_for(client, node, CLIENTS) {
            self.queue.push(at_ns, Event::Reply { node, client, serial, reply });
        }
    }

    pub(super) fn reply_arrives(&mut self, node: NodeId, client: usize, serial: u32, reply: &Reply) {
        if !self.network.arrive(node, CLIENTS) {
            return;
        }
        self.with_client(client, |world, effects| {
            let now_ns = world.now_ns;
            match world.client(client) {
                Client::Roams(roaming) => roaming.reply(now_ns, serial, reply, effects),
                Client::AtHome(home) => home.reply(now_ns, serial, reply, effects),
            }
        });
    }

    /// The process of `node` died: the kernel breaks the connections on which clients wait.
    pub(super) fn reset_calls(&mut self, node: NodeId) {
        for client in 0..self.calls.len() {
            let Call { node: asked, serial, arrived } = self.calls[client];
            if arrived && asked == node {
                self.send_reply(node, client, serial, Reply::Reset);
            }
        }
    }
}
