//! What waits before links of limited bandwidth, and connections that are reset.
//!
//! A link takes one message after the other, each for as long as its bytes need. The others wait in the sender's
//! buffer, which is bounded as the node's own is. When the limit goes, what waits follows at once, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mcp_chaos_consensus::Message;
use mcp_chaos_evidence::NodeId;
use mcp_manager::Input;
use mcp_manager::command::Request;
use postcard::ser_flavors::Size;

use super::traffic::ticket;
use super::{Event, World};
use crate::clients::Reply;
use crate::plan::CLIENTS;

/// What waits before one link at most, as in the node's own queue to a peer.
const MAX_WAITING: usize = 1_024;
/// A request or an answer over HTTP: its head is most of it, unless it carries a large value.
const HTTP_BYTES: u64 = 400;
/// Values up to this size are counted with the head.
const SMALL_VALUE_BYTES: u64 = 100;
/// The length that stands before each message between nodes.
const LENGTH_BYTES: u64 = 4;

/// A message that is handed to a link.
pub(super) enum Parcel {
    Peer(Box<Message>),
    Request { client: usize, serial: u32, request: Box<Request> },
    Cancel { client: usize, serial: u32 },
    Reply { client: usize, serial: u32, reply: Box<Reply> },
}

impl Parcel {
    /// Its encoded size.
    fn bytes(&self) -> u64 {
        match self {
            Parcel::Peer(message) => {
                let size = postcard::serialize_with_flavor::<_, Size, _>(message, Size::default());
                LENGTH_BYTES + size.expect("a message has no field that postcard refuses") as u64
            }
            Parcel::Request { request, .. } => HTTP_BYTES + large(request.value_bytes()),
            Parcel::Reply { reply, .. } => match &**reply {
                Reply::Response(response) => HTTP_BYTES + large(response.value_bytes()),
                Reply::Refused | Reply::Reset => HTTP_BYTES,
            },
            Parcel::Cancel { .. } => HTTP_BYTES,
        }
    }
}

/// What a body with so much in it adds to the head.
fn large(value_bytes: usize) -> u64 {
    (value_bytes as u64).saturating_sub(SMALL_VALUE_BYTES)
}

/// What waits before one link; its first is on its way into it.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Parcel>,
    /// Which of all that were ever let in is; what is due for another one is passed over.
    turn: u64,
}

/// The lines of all links.
#[derive(Default)]
pub(super) struct Lines {
    lines: BTreeMap<(NodeId, NodeId), Line>,
    turns: u64,
}

impl Lines {
    /// How many messages wait.
    pub fn waiting(&self) -> usize {
        self.lines.values().map(|line| line.waiting.len()).sum()
    }

    fn take(&mut self, from: NodeId, to: NodeId) -> VecDeque<Parcel> {
        self.lines.remove(&(from, to)).map(|line| line.waiting).unwrap_or_default()
    }
}

impl World {
    /// Hands a message to its link, or lets it wait for room there.
    pub(super) fn hand_to_link(&mut self, from: NodeId, to: NodeId, parcel: Parcel) {
        if self.network.bandwidth(from, to).is_none() {
            return self.put_on_link(from, to, parcel);
        }
        let line = self.lines.lines.entry((from, to)).or_default();
        if line.waiting.len() >= MAX_WAITING {
            self.network.count_overflowed(from, to);
            if let Parcel::Peer(message) = &parcel {
                self.connection_fails(message);
            }
            return;
        }
        self.network.count_queued(from, to, parcel.bytes());
        line.waiting.push_back(parcel);
        if line.waiting.len() == 1 {
            self.let_in_next(from, to);
        }
    }

    /// The first in line takes as long as its bytes need.
    fn let_in_next(&mut self, from: NodeId, to: NodeId) {
        let bytes_per_s = self.network.bandwidth(from, to).expect("only a limited link has a line");
        let Lines { lines, turns } = &mut self.lines;
        let Some(line) = lines.get_mut(&(from, to)) else { return };
        let Some(first) = line.waiting.front() else { return };
        *turns += 1;
        line.turn = *turns;
        let time_ns = first.bytes() * 1_000_000_000 / bytes_per_s;
        self.queue.push(self.now_ns + time_ns, Event::LinkTakes { from, to, turn: line.turn });
    }

    /// The link has taken the first in line.
    pub(super) fn link_takes(&mut self, from: NodeId, to: NodeId, turn: u64) {
        let Some(line) = self.lines.lines.get_mut(&(from, to)).filter(|line| line.turn == turn) else {
            return;
        };
        let Some(parcel) = line.waiting.pop_front() else { return };
        self.put_on_link(from, to, parcel);
        self.let_in_next(from, to);
    }

    /// A limit went. If it was the last one, what waits follows at once; else the first in line begins again at the
    /// rate that is left.
    pub(super) fn widen(&mut self, from: NodeId, to: NodeId) {
        if self.network.bandwidth(from, to).is_some() {
            return self.let_in_next(from, to);
        }
        for parcel in self.lines.take(from, to) {
            self.put_on_link(from, to, parcel);
        }
    }

    /// A process is gone, and what waited in its buffers with it.
    pub(super) fn clear_lines_of(&mut self, node: NodeId, silent: bool) {
        let links: Vec<_> = self.lines.lines.keys().copied().filter(|(from, _)| *from == node).collect();
        for (from, to) in links {
            for parcel in self.lines.take(from, to) {
                if !silent && to == CLIENTS {
                    self.tear(from, to, parcel);
                }
            }
        }
    }

    /// The connections over these links break: what is under way is lost, and both ends are told.
    pub(super) fn reset_connections(&mut self, links: &[(NodeId, NodeId)]) {
        // All break at the same moment, before anybody is told over one of them.
        let mut torn = Vec::new();
        for &(from, to) in links {
            let waiting = self.lines.take(from, to);
            self.network.reset(from, to, waiting.len() as u64);
            torn.extend(waiting.into_iter().map(|parcel| (from, to, parcel)));
        }
        for (from, to, parcel) in torn {
            self.tear(from, to, parcel);
        }
        let mut with_clients = BTreeSet::new();
        for &(from, to) in links {
            if from == CLIENTS || to == CLIENTS {
                with_clients.insert(from.max(to));
            } else if self.network.break_connection(from, to) {
                self.give_feedback(from, Input::Unreachable { peer: to });
            }
        }
        for node in with_clients {
            let life = self.machine(node).life;
            for (client, serial) in self.reset_calls(node) {
                self.due.push_back((node, life, Input::Cancel { ticket: ticket(client, serial) }));
            }
        }
    }

    /// What becomes of a message that was under way over a connection that broke. A client learns of it as of any
    /// answer: later, and only if something can reach it.
    pub(super) fn tear(&mut self, from: NodeId, to: NodeId, parcel: Parcel) {
        match parcel {
            Parcel::Peer(message) => self.snapshot_feedback(&message, false),
            Parcel::Request { client, serial, .. } => self.send_reply(to, client, serial, Reply::Reset),
            Parcel::Reply { client, serial, .. } => self.send_reply(from, client, serial, Reply::Reset),
            Parcel::Cancel { .. } => {}
        }
    }
}
