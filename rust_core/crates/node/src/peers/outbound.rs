//! This node's stream to one peer: dialled, kept, dialled again.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mcp_chaos_consensus::{Message, MessageKind};
use mcp_chaos_evidence::{NodeId, node_name};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Identity, NetworkStats, PeerEvent, PeerStats, tune, weight};
use crate::frame::{Hello, PROTOCOL, encode_hello, encode_message};
use crate::tls::server_name;

/// A fresh attempt after so long finds a healed link sooner than the kernel's own repeats would.
const CONNECT_WITHIN: Duration = Duration::from_millis(500);
/// Generous, since a proxy that swallows bytes closes the connection when it is healed, and a paused peer
/// goes on where it was.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// A write that makes no progress for so long is stuck: better a fresh connection than stale messages.
const PROGRESS_WITHIN: Duration = Duration::from_secs(1);
/// Between two attempts: doubled from the first to the last. The last bounds how late a heal is noticed.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(250));
/// A connection that lived for so long was a good one: it is dialled again at once.
const GOOD_AFTER: Duration = Duration::from_secs(1);
/// Messages are written together up to about so many bytes.
const GROUP_BYTES: usize = 256 * 1024;
/// Lost messages are reported to the node at most this often.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// The task that owns the stream to one peer.
pub struct Dialler {
    pub peer: NodeId,
    pub address: SocketAddr,
    pub identity: Identity,
    pub queue: mpsc::Receiver<Message>,
    pub waiting_bytes: Arc<AtomicUsize>,
    pub events: mpsc::Sender<PeerEvent>,
    pub stats: Arc<NetworkStats>,
}

/// The node is gone: nobody queues messages any more.
struct Closed;

impl Dialler {
    /// Runs until the node is gone.
    pub async fn run(mut self) {
        let mut founded = self.identity.cluster.clone();
        let Ok(Some(cluster)) = founded.wait_for(Option::is_some).await.map(|cluster| cluster.clone()) else {
            return;
        };
        let mut lost = Lost { reported: None };
        let mut backoff = BACKOFF.0;
        loop {
            let attempt = connect(self.identity.clone(), self.peer, self.address, cluster.clone());
            let connected = match self.discarding(&mut lost, attempt).await {
                Ok(connected) => connected,
                Err(Closed) => return,
            };
            let mut pause = backoff;
            backoff = (backoff * 2).min(BACKOFF.1);
            match connected {
                Err(error) => tracing::debug!(peer = node_name(self.peer), %error, "could not connect"),
                Ok(stream) => {
                    let since = Instant::now();
                    self.counters().connected.store(true, Ordering::Relaxed);
                    self.counters().connections.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(peer = node_name(self.peer), "connected");
                    let ended = self.pump(stream).await;
                    self.counters().connected.store(false, Ordering::Relaxed);
                    match ended {
                        Err(Closed) => return,
                        Ok(reason) => tracing::info!(peer = node_name(self.peer), reason, "connection lost"),
                    }
                    if since.elapsed() >= GOOD_AFTER {
                        (pause, backoff) = (Duration::ZERO, BACKOFF.0);
                    }
                    self.report(PeerEvent::Unreachable(self.peer)).await;
                }
            }
            if self.discarding(&mut lost, sleep(pause)).await.is_err() {
                return;
            }
        }
    }

    /// Waits for `future` and meanwhile drops what is queued: after a cut, Raft's fresh messages should be
    /// the first to arrive, not those of a time long gone.
    async fn discarding<F: Future>(&mut self, lost: &mut Lost, future: F) -> Result<F::Output, Closed> {
        let mut future = pin!(future);
        loop {
            let message = tokio::select! {
                biased;
                output = &mut future => return Ok(output),
                message = self.queue.recv() => message.ok_or(Closed)?,
            };
            self.waiting_bytes.fetch_sub(weight(&message), Ordering::Relaxed);
            self.counters().dropped_messages.fetch_add(1, Ordering::Relaxed);
            if message.kind == MessageKind::Snapshot {
                self.report(PeerEvent::SnapshotSent { peer: self.peer, delivered: false }).await;
            } else if lost.is_due() {
                self.report(PeerEvent::Unreachable(self.peer)).await;
            }
        }
    }

    /// Writes messages as they come, until the connection is lost: `Ok` with the reason.
    async fn pump(&mut self, stream: TlsStream<TcpStream>) -> Result<String, Closed> {
        let (reader, mut writer) = tokio::io::split(stream);
        let mut closed = pin!(wait_for_close(reader));
        let mut buffer = Vec::new();
        loop {
            let message = tokio::select! {
                biased;
                reason = &mut closed => return Ok(reason),
                message = self.queue.recv() => message.ok_or(Closed)?,
            };
            let group = self.encode_group(message, &mut buffer).await;
            let written = tokio::select! {
                biased;
                reason = &mut closed => Err(io::Error::other(reason)),
                written = write_group(&mut writer, &buffer) => written,
            };
            for _ in 0..group.snapshots {
                self.report(PeerEvent::SnapshotSent { peer: self.peer, delivered: written.is_ok() }).await;
            }
            let counters = self.counters();
            match written {
                Ok(()) => {
                    counters.sent_messages.fetch_add(group.messages, Ordering::Relaxed);
                    counters.sent_bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
                }
                Err(error) => {
                    counters.dropped_messages.fetch_add(group.messages, Ordering::Relaxed);
                    return Ok(error.to_string());
                }
            }
            buffer.clear();
            // A snapshot's worth of memory is not kept for heartbeats.
            buffer.shrink_to(GROUP_BYTES);
        }
    }

    /// Encodes `first` and what else is queued, up to a group's size.
    async fn encode_group(&mut self, first: Message, buffer: &mut Vec<u8>) -> Group {
        let mut group = Group { messages: 0, snapshots: 0 };
        let mut next = Some(first);
        while let Some(message) = next {
            self.waiting_bytes.fetch_sub(weight(&message), Ordering::Relaxed);
            let is_snapshot = message.kind == MessageKind::Snapshot;
            match encode_message(&message, buffer) {
                Ok(()) => {
                    group.messages += 1;
                    group.snapshots += u64::from(is_snapshot);
                }
                Err(error) => {
                    tracing::error!(peer = node_name(self.peer), %error, "a message cannot be sent");
                    self.counters().dropped_messages.fetch_add(1, Ordering::Relaxed);
                    if is_snapshot {
                        self.report(PeerEvent::SnapshotSent { peer: self.peer, delivered: false }).await;
                    }
                }
            }
            next = if buffer.len() < GROUP_BYTES { self.queue.try_recv().ok() } else { None };
        }
        group
    }

    async fn report(&self, event: PeerEvent) {
        // An error means that the node is gone; the queue's end says so too.
        let _ = self.events.send(event).await;
    }

    fn counters(&self) -> &PeerStats {
        &self.stats.peers[&self.peer]
    }
}

struct Group {
    messages: u64,
    snapshots: u64,
}

/// When lost messages were last reported.
struct Lost {
    reported: Option<Instant>,
}

impl Lost {
    fn is_due(&mut self) -> bool {
        let due = self.reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY);
        if due {
            self.reported = Some(Instant::now());
        }
        due
    }
}

async fn connect(
    identity: Identity,
    peer: NodeId,
    address: SocketAddr,
    cluster: String,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await??;
    tune(&stream)?;
    let hello = Hello { protocol: PROTOCOL, cluster, from: identity.id, to: peer };
    let hello = encode_hello(&hello).map_err(io::Error::other)?;
    timeout(HANDSHAKE_WITHIN, async {
        let mut stream = TlsConnector::from(identity.tls.dialler).connect(server_name(peer), stream).await?;
        stream.write_all(&hello).await?;
        stream.flush().await?;
        Ok(stream)
    })
    .await?
}

/// The receiver says nothing on this stream: whatever is read, its end above all, ends it.
async fn wait_for_close<R: AsyncRead + Unpin>(mut reader: R) -> String {
    match reader.read(&mut [0; 1]).await {
        Ok(0) => "closed by the peer".to_owned(),
        // The same without TLS's farewell: a process that was killed, or a proxy between.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => "closed by the peer".to_owned(),
        Ok(_) => "the peer spoke on a one-way stream".to_owned(),
        Err(error) => error.to_string(),
    }
}

async fn write_group<W: AsyncWrite + Unpin>(writer: &mut W, mut bytes: &[u8]) -> io::Result<()> {
    let stuck = |_| io::Error::new(io::ErrorKind::TimedOut, "the link is stuck");
    while !bytes.is_empty() {
        let written = timeout(PROGRESS_WITHIN, writer.write(bytes)).await.map_err(stuck)??;
        bytes = &bytes[written..];
    }
    timeout(PROGRESS_WITHIN, writer.flush()).await.map_err(stuck)?
}
