//! Messages between nodes, and between clients and nodes.

use mcp_chaos_consensus::{Message, MessageKind};
use mcp_chaos_evidence::NodeId;
use mcp_manager::Input;
use mcp_manager::command::{Request, Response};

use super::lines::Parcel;
use super::{Event, World, nemesis};
use crate::clients::{Effect, Home, Reply, Roaming};
use crate::network::{Arrival, Fate};
use crate::plan::{CLIENTS, Sent};
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
pub(super) fn ticket(client: usize, serial: u32) -> u64 {
    (client as u64) << 32 | u64::from(serial)
}

/// What a step may wait for in a message to a peer.
fn sent_to_peer(message: &Message) -> Option<Sent> {
    match message.kind {
        MessageKind::Append if !message.entries.is_empty() => Some(Sent::Append),
        MessageKind::Snapshot => Some(Sent::Snapshot),
        MessageKind::RequestVote => Some(Sent::VoteRequest),
        MessageKind::ReadIndexResponse => Some(Sent::ReadIndex),
        _ => None,
    }
}

fn client_of(ticket: u64) -> (usize, u32) {
    ((ticket >> 32) as usize, ticket as u32)
}

impl World {
    pub(super) fn send_to_peer(&mut self, message: Box<Message>) {
        if let (true, Some(sent)) = (self.nemesis.watches(), sent_to_peer(&message)) {
            self.nemesis.see_sent(message.from, sent);
        }
        self.hand_to_link(message.from, message.to, Parcel::Peer(message));
    }

    /// A link takes a message.
    pub(super) fn put_on_link(&mut self, from: NodeId, to: NodeId, parcel: Parcel) {
        let fate = match &parcel {
            Parcel::Peer(_) => self.network.send(self.now_ns, from, to),
            Parcel::Request { client, .. } | Parcel::Cancel { client, .. } | Parcel::Reply { client, .. } => {
                self.send_for(*client, from, to)
            }
        };
        match (fate, parcel) {
            (Fate::Arrives(Arrival { at_ns, copy_ns, connection }), parcel) => {
                // Only messages between nodes are ever copied: a client's request rides on TCP.
                let copy = match (copy_ns, &parcel) {
                    (Some(copy_ns), Parcel::Peer(message)) => Some((copy_ns, Parcel::Peer(message.clone()))),
                    _ => None,
                };
                self.queue.push(at_ns, Event::Arrives { from, to, connection, parcel, is_copy: false });
                if let Some((copy_ns, parcel)) = copy {
                    self.queue.push(copy_ns, Event::Arrives { from, to, connection, parcel, is_copy: true });
                }
            }
            (Fate::Withheld, Parcel::Peer(message)) => self.connection_fails(&message),
            (Fate::Lost, Parcel::Peer(message)) => self.snapshot_feedback(&message, false),
            _ => {}
        }
    }

    /// A message comes out of its link, unless the connection broke or the link was cut meanwhile.
    pub(super) fn arrives(
        &mut self,
        from: NodeId,
        to: NodeId,
        connection: u32,
        parcel: Parcel,
        is_copy: bool,
    ) {
        let is_whole = self.network.land(from, to, connection);
        if is_copy {
            return self.copy_arrives(is_whole, parcel);
        }
        if !is_whole {
            return self.tear(from, to, parcel);
        }
        match parcel {
            Parcel::Peer(message) => {
                if !self.peer_takes(&message) {
                    return self.connection_fails(&message);
                }
                self.snapshot_feedback(&message, true);
                self.hand_over_now(to, Input::Peer(message));
            }
            _ if !self.network.arrive(from, to) => {}
            Parcel::Request { client, serial, request } => self.request_arrives(to, client, serial, request),
            Parcel::Cancel { client, serial } => {
                self.hand_over_now(to, Input::Cancel { ticket: ticket(client, serial) });
            }
            Parcel::Reply { client, serial, reply } => self.tell_client(client, serial, &reply),
        }
    }

    fn copy_arrives(&mut self, is_whole: bool, parcel: Parcel) {
        if let Parcel::Peer(message) = parcel
            && is_whole
            && self.peer_takes(&message)
        {
            self.hand_over_now(message.to, Input::Peer(message));
        }
    }

    /// Whether a message between nodes finds its link whole and its receiver up.
    fn peer_takes(&mut self, message: &Message) -> bool {
        matches!(self.machine(message.to).state, State::Up(_))
            && self.network.arrive(message.from, message.to)
    }

    fn hand_over_now(&mut self, node: NodeId, input: Input) {
        let life = self.machine(node).life;
        self.hand_over(node, life, input);
    }

    /// The sender learns that its connection broke: once, until something gets through again.
    pub(super) fn connection_fails(&mut self, message: &Message) {
        self.snapshot_feedback(message, false);
        if self.network.break_connection(message.from, message.to) {
            self.give_feedback(message.from, Input::Unreachable { peer: message.to });
        }
    }

    /// A sender waits to hear what became of a snapshot before it goes on with that follower.
    pub(super) fn snapshot_feedback(&mut self, message: &Message, delivered: bool) {
        if message.kind == MessageKind::Snapshot {
            self.give_feedback(message.from, Input::SnapshotSent { peer: message.to, delivered });
        }
    }

    pub(super) fn give_feedback(&mut self, node: NodeId, input: Input) {
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
                    if let Some(ends_ns) = self.expirations.see(&event) {
                        self.queue.push(ends_ns, Event::LeasesEnd);
                    }
                    self.records.history(event);
                }
                Effect::Wake { at_ns, epoch } => self.queue.push(at_ns, Event::ClientWake { client, epoch }),
                Effect::Send { node, serial, request } => {
                    self.calls[client] = Call { node, serial, arrived: false };
                    self.hand_to_link(
                        CLIENTS,
                        node,
                        Parcel::Request { client, serial, request: Box::new(request) },
                    );
                }
                Effect::Cancel { node, serial } => {
                    self.calls[client].arrived = false;
                    self.hand_to_link(CLIENTS, node, Parcel::Cancel { client, serial });
                }
            }
        }
        self.effects = effects;
    }

    fn request_arrives(&mut self, node: NodeId, client: usize, serial: u32, request: Box<Request>) {
        match self.machine(node).state {
            State::Up(_) => {
                let call = &mut self.calls[client];
                call.arrived |= call.node == node && call.serial == serial;
                self.hand_over_now(node, Input::Client { ticket: ticket(client, serial), request });
            }
            // A machine without power does not even refuse.
            State::Down { powered: false, .. } => {}
            _ => self.send_reply(node, client, serial, Reply::Refused),
        }
    }

    pub(super) fn reply_to_client(&mut self, node: NodeId, ticket: u64, response: Response) {
        if nemesis::is_errand(ticket) {
            return self.errand_hears(ticket, &response);
        }
        // Other requests of the nemesis carry a ticket of no client: nobody waits for the answer.
        let (client, serial) = client_of(ticket);
        if client < self.calls.len() {
            if self.nemesis.watches() {
                match response {
                    Response::Read { .. } => self.nemesis.see_sent(node, Sent::ReadAnswer),
                    Response::Applied { .. } => self.nemesis.see_sent(node, Sent::WriteAnswer),
                    _ => {}
                }
            }
            self.send_reply(node, client, serial, Reply::Response(response));
        }
    }

    pub(super) fn send_reply(&mut self, node: NodeId, client: usize, serial: u32, reply: Reply) {
        let call = &mut self.calls[client];
        if (call.node, call.serial) == (node, serial) {
            call.arrived = false;
        }
        self.hand_to_link(node, CLIENTS, Parcel::Reply { client, serial, reply: Box::new(reply) });
    }

    /// A client is told how its request fared.
    fn tell_client(&mut self, client: usize, serial: u32, reply: &Reply) {
        self.with_client(client, |world, effects| {
            let now_ns = world.now_ns;
            match world.client(client) {
                Client::Roams(roaming) => roaming.reply(now_ns, serial, reply, effects),
                Client::AtHome(home) => home.reply(now_ns, serial, reply, effects),
            }
        });
    }

    /// The kernel breaks the connections on which clients wait for `node`, and gives whose requests these were.
    pub(super) fn reset_calls(&mut self, node: NodeId) -> Vec<(usize, u32)> {
        let mut broken = Vec::new();
        for client in 0..self.calls.len() {
            let Call { node: asked, serial, arrived } = self.calls[client];
            if arrived && asked == node {
                broken.push((client, serial));
                self.send_reply(node, client, serial, Reply::Reset);
            }
        }
        broken
    }
}
