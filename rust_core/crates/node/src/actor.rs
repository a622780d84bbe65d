//! The task that owns the node: inputs come in over bounded queues, outputs are carried out in order.
//!
//! The node itself does no I/O. Here its batches go to the storage thread, its messages to the peers' queues,
//! its replies to the HTTP handlers, and its trace to a file: in the order given, the trace's records written
//! before any message or reply behind them leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mcp_chaos_consensus::{HardState, MembershipChange, MessageKind, Recovered, Snapshot};
use mcp_chaos_evidence::{NodeId, Role, TraceEvent, node_name};
use mcp_manager::command::{Request, Response};
use mcp_manager::node::{FatalError, Input, Node, Now, Options, Output};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::calls::{Call, InitRefused};
use crate::clock::{monotonic_ns, wall_ms};
use crate::failure::Failure;
use crate::peers::{PeerEvent, Peers};
use crate::storage::{Command, Done, Storage};
use crate::trace::TraceWriter;

/// Inputs of one kind handled before the outputs of all are carried out: larger groups for the disk and the
/// network, and still a bound on how long anyone waits.
const GROUP: usize = 128;
/// How long a stopping leader waits for its successor, in all and for each candidate.
const HAND_OVER_WITHIN: Duration = Duration::from_millis(1_500);
const EACH_SUCCESSOR: Duration = Duration::from_millis(500);

/// All that feeds the node.
pub struct Inputs {
    /// What the disk has done.
    pub done: mpsc::UnboundedReceiver<Done>,
    /// What the network brought.
    pub peers: mpsc::Receiver<PeerEvent>,
    /// What the process itself asks.
    pub calls: mpsc::Receiver<Call>,
}

/// The node and what carries out its outputs.
pub struct Actor {
    /// What the node was started with; founding starts it anew.
    pub options: Options,
    /// The node.
    pub node: Node,
    /// The disk.
    pub storage: Storage,
    /// The network.
    pub peers: Peers,
    /// The nodes this one has addresses of, itself included.
    pub known: BTreeSet<NodeId>,
    /// The trace.
    pub trace: TraceWriter,
    /// Tells the network that the node was founded, and for which cluster.
    pub cluster: watch::Sender<Option<String>>,
    /// Counts ticks: a sign of life for `/healthz`.
    pub beat: watch::Sender<u64>,
    /// Outputs not carried out yet.
    pub outputs: Vec<Output>,
    /// Clients that wait, by ticket.
    pub waiting: BTreeMap<u64, oneshot::Sender<Response>>,
    /// The next ticket.
    pub next_ticket: u64,
}

/// Why the loop ends.
enum End {
    Graceful,
    Failed(Failure),
}

/// The way out of a leader that is to stop.
struct HandOver {
    since: Instant,
    /// Successors asked, and when the last was.
    asked: BTreeSet<NodeId>,
    asked_at: Instant,
}

impl Actor {
    /// Runs until the node is stopped (`Ok`) or cannot go on.
    pub async fn run(mut self, mut inputs: Inputs) -> Result<(), Failure> {
        let mut ticks = interval(Duration::from_nanos(self.options.tick_ns));
        // A process that was paused must not catch up on its ticks: time stood still for it, not for others.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = match self.carry_out().await {
            Ok(()) => self.serve(&mut inputs, &mut ticks).await,
            Err(failure) => End::Failed(failure),
        };
        let (reason, result) = match end {
            End::Graceful => ("graceful".to_owned(), Ok(())),
            End::Failed(failure) => (failure.to_string(), Err(failure)),
        };
        for (_, reply) in std::mem::take(&mut self.waiting) {
            let _ = reply.send(Response::Unknown { reason: "the node stopped".to_owned() });
        }
        let storage = self.storage;
        // What is queued still gets its sync; a disk that hangs is not waited for for ever.
        let flushed = tokio::task::spawn_blocking(move || storage.finish());
        let _ = tokio::time::timeout(Duration::from_secs(5), flushed).await;
        self.trace.write(TraceEvent::Stopped { reason }).map_err(|error| trace_failed(&error))?;
        result
    }

    async fn serve(&mut self, inputs: &mut Inputs, ticks: &mut Interval) -> End {
        let mut hand_over: Option<HandOver> = None;
        loop {
            let more = tokio::select! {
                biased;
                _ = ticks.tick() => { self.tick(); Ok(()) }
                Some(done) = inputs.done.recv() => self.done(done),
                Some(event) = inputs.peers.recv() => { self.peer(event); Ok(()) }
                Some(call) = inputs.calls.recv() => self.call(call, &mut hand_over).await,
            };
            if let Err(failure) = more {
                return End::Failed(failure);
            }
            if let Err(failure) = self.gather(inputs, &mut hand_over).await {
                return End::Failed(failure);
            }
            if let Err(failure) = self.carry_out().await {
                return End::Failed(failure);
            }
            if let Some(hand_over) = &mut hand_over {
                if self.has_handed_over(hand_over) {
                    return End::Graceful;
                }
                if let Err(failure) = self.carry_out().await {
                    return End::Failed(failure);
                }
            }
        }
    }

    /// Handles what else has arrived, up to a group of each kind.
    async fn gather(&mut self, inputs: &mut Inputs, hand_over: &mut Option<HandOver>) -> Result<(), Failure> {
        while let Ok(done) = inputs.done.try_recv() {
            self.done(done)?;
        }
        for _ in 0..GROUP {
            let Ok(event) = inputs.peers.try_recv() else { break };
            self.peer(event);
        }
        for _ in 0..GROUP {
            let Ok(call) = inputs.calls.try_recv() else { break };
            self.call(call, hand_over).await?;
        }
        Ok(())
    }

    fn handle(&mut self, input: Input) {
        self.node.handle(now(), input, &mut self.outputs);
    }

    fn tick(&mut self) {
        self.beat.send_modify(|beat| *beat += 1);
        self.handle(Input::Tick);
        let gone: Vec<u64> =
            self.waiting.iter().filter(|(_, reply)| reply.is_closed()).map(|(ticket, _)| *ticket).collect();
        for ticket in gone {
            self.waiting.remove(&ticket);
            self.handle(Input::Cancel { ticket });
        }
    }

    fn done(&mut self, done: Done) -> Result<(), Failure> {
        match done {
            Done::Persisted { token } => self.handle(Input::Persisted { token }),
            Done::SnapshotSaved { index } => self.handle(Input::SnapshotSaved { index }),
            Done::Failed(error) => return Err(Failure::Other(error.to_string())),
        }
        Ok(())
    }

    fn peer(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Received(message, _permit) => self.handle(Input::Peer(Box::new(message))),
            PeerEvent::Unreachable(peer) => self.handle(Input::Unreachable { peer }),
            PeerEvent::SnapshotSent { peer, delivered } => {
                self.handle(Input::SnapshotSent { peer, delivered });
            }
        }
    }

    async fn call(&mut self, call: Call, hand_over: &mut Option<HandOver>) -> Result<(), Failure> {
        match call {
            Call::Client(_, reply) if hand_over.is_some() => {
                let _ = reply.send(Response::Unavailable { reason: "this node is stopping".to_owned() });
            }
            Call::Client(Request::ChangeMembership(MembershipChange::AddLearner(id)), reply)
                if !self.known.contains(&id) =>
            {
                let name = node_name(id);
                let reason =
                    format!("no address is known for {name}: start this node with --peer {name}=IP:PORT");
                let _ = reply.send(Response::Unavailable { reason });
            }
            Call::Client(request, reply) => {
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                self.waiting.insert(ticket, reply);
                self.handle(Input::client(ticket, request));
            }
            Call::Init { cluster, voters, reply } => {
                let result = self.init(cluster, &voters).await;
                self.carry_out().await?;
                let failed = result == Err(InitRefused::Stopping);
                // An error: the caller has gone.
                let _ = reply.send(result);
                if failed {
                    return Err(Failure::Other("the disk failed while founding; see above".to_owned()));
                }
            }
            Call::Join { cluster, reply } => {
                let response = self.join(cluster);
                // An error: the caller has gone.
                let _ = reply.send(response);
            }
            Call::Status(reply) => {
                // What it says must be on record before.
                self.carry_out().await?;
                let _ = reply.send(self.node.status());
            }
            Call::Stop => {
                if hand_over.is_none() {
                    let now = Instant::now();
                    *hand_over = Some(HandOver { since: now, asked: BTreeSet::new(), asked_at: now });
                }
            }
        }
        Ok(())
    }

    /// Carries out all outputs, in order.
    async fn carry_out(&mut self) -> Result<(), Failure> {
        // Each is reported once a round: what the report leads to may be lost again.
        let mut unreachable = BTreeSet::new();
        while !self.outputs.is_empty() {
            for output in std::mem::take(&mut self.outputs) {
                match output {
                    Output::Trace(event) => self.trace.push(event),
                    Output::Persist { token, batch } => self.ask(Command::Persist { token, batch }).await,
                    Output::SaveSnapshot(snapshot) => self.ask(Command::SaveSnapshot(*snapshot)).await,
                    Output::Send(message) => {
                        self.flush_trace()?;
                        let (to, kind) = (message.to, message.kind);
                        if !self.peers.send(*message) {
                            if kind == MessageKind::Snapshot {
                                self.handle(Input::SnapshotSent { peer: to, delivered: false });
                            }
                            if unreachable.insert(to) {
                                self.handle(Input::Unreachable { peer: to });
                            }
                        }
                    }
                    Output::Reply { ticket, response } => {
                        self.flush_trace()?;
                        if let Some(reply) = self.waiting.remove(&ticket) {
                            // An error: the client has gone.
                            let _ = reply.send(response);
                        }
                    }
                    Output::Found { cluster, snapshot } => self.found(cluster, *snapshot).await?,
                    Output::Fatal(error) => {
                        self.flush_trace()?;
                        let reason = error.to_string();
                        return Err(match error {
                            FatalError::Broken(_) => Failure::Refused(reason),
                            FatalError::Restore { .. } => Failure::Other(reason),
                        });
                    }
                }
            }
        }
        self.flush_trace()
    }

    async fn ask(&self, command: Command) {
        if !self.storage.ask(command).await {
            // The thread's last report says why, and ends the loop.
            tracing::debug!("the disk is no longer there");
        }
    }

    fn flush_trace(&mut self) -> Result<(), Failure> {
        self.trace.flush().map_err(|error| trace_failed(&error))
    }

    /// Founds the node: its identity and first snapshot become durable, then a node is started on them.
    async fn init(&mut self, cluster: String, voters: &[NodeId]) -> Result<(), InitRefused> {
        let bad = |error: &dyn std::fmt::Display| InitRefused::Bad(error.to_string());
        let snapshot = Node::found(&cluster, self.options.id, voters).map_err(|error| bad(&error))?;
        let status = self.node.status();
        if self.node.is_joining() {
            let message = "this node waits to be made a member; restart it to found a cluster on it";
            return Err(InitRefused::Already(message.to_owned()));
        }
        if !status.cluster.is_empty() {
            if status.cluster == cluster && status.voters == snapshot.meta.configuration.voters {
                return Ok(());
            }
            let voters: Vec<String> = status.voters.iter().map(|id| node_name(*id)).collect();
            return Err(InitRefused::Already(format!(
                "this node already belongs to cluster {:?} with the voters {}",
                status.cluster,
                voters.join(", ")
            )));
        }
        if let Some(unknown) = voters.iter().find(|id| !self.known.contains(id)) {
            return Err(InitRefused::Bad(format!(
                "no address is known for {}: start this node with --peer {}=IP:PORT",
                node_name(*unknown),
                node_name(*unknown)
            )));
        }
        let (reply, founded) = oneshot::channel();
        self.ask(Command::Found { cluster: cluster.clone(), snapshot: snapshot.clone(), reply }).await;
        match founded.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "could not found the node");
                return Err(InitRefused::Stopping);
            }
            Err(_) => return Err(InitRefused::Stopping),
        }
        let recovered = founded_on(status.boot, cluster.clone(), snapshot);
        self.trace.push(TraceEvent::Initialized { cluster: cluster.clone(), voters: voters.to_vec() });
        self.node =
            Node::new(self.options.clone(), recovered, &mut self.outputs).map_err(|error| bad(&error))?;
        tracing::info!(cluster, "founded");
        self.cluster.send_replace(Some(cluster));
        Ok(())
    }

    /// An empty node waits for a leader to make it a member; from now on it hears the cluster's nodes.
    fn join(&mut self, cluster: String) -> Response {
        let mut outputs = Vec::new();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let request = Request::Join { cluster: cluster.clone() };
        self.node.handle(now(), Input::client(ticket, request), &mut outputs);
        let Some(Output::Reply { response, .. }) = outputs.pop() else {
            return Response::Unavailable { reason: "this node is stopping".to_owned() };
        };
        if response == Response::Accepted && self.node.status().cluster.is_empty() {
            tracing::info!(cluster, "waiting to be made a member");
            self.cluster.send_replace(Some(cluster));
        }
        response
    }

    /// A leader made this node a member: its identity and first snapshot become durable, then a node is started
    /// on them.
    async fn found(&mut self, cluster: String, snapshot: Snapshot) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::Other(format!("cannot join: {error}"));
        let boot = self.node.status().boot;
        let (reply, founded) = oneshot::channel();
        self.ask(Command::Found { cluster: cluster.clone(), snapshot: snapshot.clone(), reply }).await;
        match founded.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(failed(&error)),
            Err(_) => return Err(failed(&"the disk failed; see above")),
        }
        let recovered = founded_on(boot, cluster.clone(), snapshot);
        self.node =
            Node::new(self.options.clone(), recovered, &mut self.outputs).map_err(|error| failed(&error))?;
        tracing::info!(cluster, "made a member");
        Ok(())
    }

    /// Whether this node may stop: it does not lead, or nobody takes over in time.
    fn has_handed_over(&mut self, hand_over: &mut HandOver) -> bool {
        if hand_over.since.elapsed() >= HAND_OVER_WITHIN {
            return true;
        }
        if self.node.role() != Role::Leader {
            // Until the successor is heard of: its election may need this node's vote.
            return hand_over.asked.is_empty()
                || self.node.leader().is_some()
                || hand_over.asked_at.elapsed() >= EACH_SUCCESSOR;
        }
        if !hand_over.asked.is_empty() && hand_over.asked_at.elapsed() < EACH_SUCCESSOR {
            return false;
        }
        let status = self.node.status();
        let successor = status.voters.iter().copied().find(|id| {
            *id != self.options.id && self.peers.is_connected(*id) && !hand_over.asked.contains(id)
        });
        let Some(to) = successor else { return true };
        tracing::info!(to = node_name(to), "handing over leadership");
        hand_over.asked.insert(to);
        hand_over.asked_at = Instant::now();
        // Nobody waits for this answer: what counts is the role.
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.handle(Input::client(ticket, Request::TransferLeader { to }));
        false
    }
}

fn now() -> Now {
    Now { wall_ms: wall_ms(), monotonic_ms: monotonic_ns() / 1_000_000 }
}

/// What the disk holds once it is founded.
fn founded_on(boot: u64, cluster: String, snapshot: Snapshot) -> Recovered {
    let hard_state = HardState { term: snapshot.meta.term, vote: 0, commit: snapshot.meta.index };
    Recovered { boot, cluster, hard_state, snapshot: Some(snapshot), entries: Vec::new() }
}

fn trace_failed(error: &std::io::Error) -> Failure {
    Failure::Other(format!("the trace cannot be written: {error}"))
}
