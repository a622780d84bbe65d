//! The network of peers: one-way TCP streams under mutual TLS.
//!
//! This node dials each peer and only sends on that connection; each peer dials it for its own messages. So
//! a directed link is a connection, and can be cut alone. Everything is bounded: queues by messages and
//! bytes, frames by length, handshakes by number and time. What does not fit is dropped, counted and
//! reported: Raft sends again.

mod inbound;
mod outbound;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use mcp_chaos_consensus::Message;
use mcp_chaos_evidence::NodeId;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use crate::tls::Tls;

/// Messages waiting for one peer's connection.
const QUEUE_MESSAGES: usize = 1_024;
/// Bytes (about) waiting for one peer's connection; a single larger message still passes an empty queue.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// What peers' tasks have to say to the node and it has not yet heard.
const INBOX: usize = 1_024;
/// The kernel gives a connection up when bytes stay unacknowledged for so long: a link that swallows packets.
const UNACKNOWLEDGED_AT_MOST: Duration = Duration::from_secs(1);

/// What the network tells the node.
#[derive(Debug)]
pub enum PeerEvent {
    /// A message arrived. The permit bounds the bytes in flight; drop it when the message is done with.
    Received(Message, OwnedSemaphorePermit),
    /// Messages to this peer were lost.
    Unreachable(NodeId),
    /// A snapshot was written to the peer's connection, or lost.
    SnapshotSent {
        /// To whom.
        peer: NodeId,
        /// Whether it was written whole.
        delivered: bool,
    },
}

/// Counters of one peer, for `/metrics`.
#[derive(Debug, Default)]
pub struct PeerStats {
    /// Whether this node's stream to the peer stands.
    pub connected: AtomicBool,
    /// Streams to the peer opened so far.
    pub connections: AtomicU64,
    /// Messages written.
    pub sent_messages: AtomicU64,
    /// Bytes written, frames' headers included.
    pub sent_bytes: AtomicU64,
    /// Messages dropped: the queue was full, or no connection stood.
    pub dropped_messages: AtomicU64,
    /// Messages received.
    pub received_messages: AtomicU64,
    /// Bytes received, frames' headers included.
    pub received_bytes: AtomicU64,
}

/// Counters of the whole network, for `/metrics`.
#[derive(Debug, Default)]
pub struct NetworkStats {
    /// By peer.
    pub peers: BTreeMap<NodeId, PeerStats>,
    /// Incoming connections refused: no valid certificate, another's name, another cluster.
    pub refused_connections: AtomicU64,
    /// Incoming connections ended because of a frame that no peer sends.
    pub malformed_frames: AtomicU64,
}

/// What a node needs to know to take part.
#[derive(Clone, Debug)]
pub struct Identity {
    /// This node.
    pub id: NodeId,
    /// The cluster it was founded for; `None` until then, and peers are ignored.
    pub cluster: watch::Receiver<Option<String>>,
    /// Keys and certificates.
    pub tls: Tls,
}

/// The node's end of the network.
#[derive(Debug)]
pub struct Peers {
    outboxes: BTreeMap<NodeId, Outbox>,
    stats: Arc<NetworkStats>,
}

#[derive(Debug)]
struct Outbox {
    queue: mpsc::Sender<Message>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// Counters for these peers, all at zero.
pub fn stats_for(peers: impl Iterator<Item = NodeId>) -> Arc<NetworkStats> {
    let peers = peers.map(|id| (id, PeerStats::default())).collect();
    Arc::new(NetworkStats { peers, ..NetworkStats::default() })
}

/// Starts to dial all peers and to accept them. Without peers (and so without an identity) there is nothing
/// to do, and messages have nowhere to go.
pub fn start(
    identity: Option<Identity>,
    addresses: &BTreeMap<NodeId, SocketAddr>,
    listener: TcpListener,
    stats: &Arc<NetworkStats>,
) -> (Peers, mpsc::Receiver<PeerEvent>) {
    let (events, inbox) = mpsc::channel(INBOX);
    let mut outboxes = BTreeMap::new();
    if let Some(identity) = identity {
        for (peer, address) in addresses {
            let (queue, waiting) = mpsc::channel(QUEUE_MESSAGES);
            let waiting_bytes = Arc::new(AtomicUsize::new(0));
            outboxes.insert(*peer, Outbox { queue, waiting_bytes: Arc::clone(&waiting_bytes) });
            tokio::spawn(
                outbound::Dialler {
                    peer: *peer,
                    address: *address,
                    identity: identity.clone(),
                    queue: waiting,
                    waiting_bytes,
                    events: events.clone(),
                    stats: Arc::clone(stats),
                }
                .run(),
            );
        }
        tokio::spawn(inbound::accept(listener, identity, events, Arc::clone(stats)));
    }
    (Peers { outboxes, stats: Arc::clone(stats) }, inbox)
}

impl Peers {
    /// Queues a message for its receiver. False if it was dropped: the queue is full, or nobody is there.
    pub fn send(&self, message: Message) -> bool {
        let to = message.to;
        let Some(outbox) = self.outboxes.get(&to) else { return false };
        let bytes = weight(&message);
        let waiting = outbox.waiting_bytes.load(Ordering::Relaxed);
        let fits = waiting == 0 || waiting + bytes <= QUEUE_BYTES;
        // Counted before it is queued: the other end subtracts as soon as it takes the message out.
        outbox.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if fits && outbox.queue.try_send(message).is_ok() {
            return true;
        }
        outbox.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(stats) = self.stats.peers.get(&to) {
            stats.dropped_messages.fetch_add(1, Ordering::Relaxed);
        }
        false
    }

    /// Whether a stream to this peer stands.
    pub fn is_connected(&self, peer: NodeId) -> bool {
        self.stats.peers.get(&peer).is_some_and(|stats| stats.connected.load(Ordering::Relaxed))
    }
}

/// About how many bytes a message holds in memory.
fn weight(message: &Message) -> usize {
    const FIXED: usize = 128;
    let entries: usize = message.entries.iter().map(|entry| FIXED + entry.data.len()).sum();
    FIXED + entries + message.snapshot.as_ref().map_or(0, |snapshot| snapshot.data.len())
}

/// Small messages go at once, and a peer that vanished is noticed.
fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_AT_MOST))?;
    // For the receiving end, which never has anything unacknowledged: a silent peer is normal (followers do
    // not talk to each other), a vanished one must not hold a socket for ever.
    socket.set_tcp_keepalive(
        &socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(10))
            .with_interval(Duration::from_secs(5)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::write_certificates;
    use crate::frame::tests::append;
    use std::path::Path;
    use tokio::time::timeout;

    struct Side {
        peers: Peers,
        inbox: mpsc::Receiver<PeerEvent>,
        stats: Arc<NetworkStats>,
        _founded: watch::Sender<Option<String>>,
    }

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn side(
        id: NodeId,
        cluster: &str,
        tls: &Path,
        listener: TcpListener,
        peer: (NodeId, SocketAddr),
    ) -> Side {
        let (founded, cluster) = watch::channel(Some(cluster.to_owned()));
        let identity = Identity { id, cluster, tls: Tls::load(tls, id).unwrap() };
        let stats = stats_for([peer.0].into_iter());
        let (peers, inbox) = start(Some(identity), &BTreeMap::from([peer]), listener, &stats);
        Side { peers, inbox, stats, _founded: founded }
    }

    /// Sends until the other side has heard something, for at most 10 s.
    async fn heard(from: &Side, to: &mut Side, message: Message) -> Message {
        for _ in 0..500 {
            from.peers.send(message.clone());
            match timeout(Duration::from_millis(20), to.inbox.recv()).await {
                Ok(Some(PeerEvent::Received(message, _))) => return message,
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => panic!("the inbox closed"),
            }
        }
        panic!("nothing heard");
    }

    fn certificates(nodes: u64) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        write_certificates(&directory.path().join("tls"), nodes).unwrap();
        directory
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn messages_flow_each_way_on_a_stream_of_its_own() {
        let directory = certificates(2);
        let tls = directory.path().join("tls");
        let ((one, one_at), (two, two_at)) = (listen().await, listen().await);
        let mut one = side(1, "c", &tls, one, (2, two_at));
        let mut two = side(2, "c", &tls, two, (1, one_at));
        assert_eq!(heard(&one, &mut two, append(3, 10)).await, append(3, 10));
        let back = Message { from: 2, to: 1, ..append(0, 0) };
        assert_eq!(heard(&two, &mut one, back.clone()).await, back);
        assert!(one.peers.is_connected(2));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_message_in_anothers_name_is_dropped() {
        let directory = certificates(3);
        let tls = directory.path().join("tls");
        let ((one, one_at), (two, two_at)) = (listen().await, listen().await);
        let one = side(1, "c", &tls, one, (2, two_at));
        let mut two = side(2, "c", &tls, two, (1, one_at));
        heard(&one, &mut two, append(1, 1)).await;
        one.peers.send(Message { from: 3, ..append(1, 1) });
        let honest = Message { term: 99, ..append(1, 1) };
        loop {
            let message = heard(&one, &mut two, honest.clone()).await;
            assert_eq!(message.from, 1);
            if message.term == 99 {
                break;
            }
        }
    }

    async fn refused(caller: &Side, called: &mut Side) {
        for _ in 0..200 {
            caller.peers.send(append(1, 1));
            if called.stats.refused_connections.load(Ordering::Relaxed) > 0 {
                while let Ok(event) = called.inbox.try_recv() {
                    assert!(!matches!(event, PeerEvent::Received(..)), "heard from a stranger");
                }
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not refused");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn strangers_are_refused() {
        let (ours, theirs) = (certificates(3), certificates(3));
        // Another authority: the acceptor does not trust the dialler, nor the dialler the acceptor.
        let ((one, one_at), (two, two_at)) = (listen().await, listen().await);
        let stranger = side(1, "c", &theirs.path().join("tls"), one, (2, two_at));
        let mut two = side(2, "c", &ours.path().join("tls"), two, (1, one_at));
        refused(&stranger, &mut two).await;

        // Another cluster under the same authority.
        let ((one, one_at), (two, two_at)) = (listen().await, listen().await);
        let foreign = side(1, "other", &ours.path().join("tls"), one, (2, two_at));
        let mut two = side(2, "c", &ours.path().join("tls"), two, (1, one_at));
        refused(&foreign, &mut two).await;

        // A valid certificate of a node that is not among the peers.
        let ((three, three_at), (two, two_at)) = (listen().await, listen().await);
        let third = side(3, "c", &ours.path().join("tls"), three, (2, two_at));
        let mut two = side(2, "c", &ours.path().join("tls"), two, (1, three_at));
        refused(&third, &mut two).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn bytes_that_are_no_tls_do_no_harm() {
        use tokio::io::AsyncWriteExt;
        let directory = certificates(2);
        let tls = directory.path().join("tls");
        let ((one, one_at), (two, two_at)) = (listen().await, listen().await);
        let one = side(1, "c", &tls, one, (2, two_at));
        let mut two = side(2, "c", &tls, two, (1, one_at));
        for _ in 0..100 {
            let mut stream = TcpStream::connect(two_at).await.unwrap();
            stream.write_all(&[0xff; 4096]).await.ok();
        }
        heard(&one, &mut two, append(1, 1)).await;
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts() {
        let (queue, mut waiting) = mpsc::channel(QUEUE_MESSAGES);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let stats = stats_for([2].into_iter());
        let outbox = Outbox { queue, waiting_bytes: Arc::clone(&waiting_bytes) };
        let peers = Peers { outboxes: BTreeMap::from([(2, outbox)]), stats: Arc::clone(&stats) };
        let mebibyte = append(1, 1024 * 1024);
        let taken = (0..100).filter(|_| peers.send(mebibyte.clone())).count();
        assert!((16..=32).contains(&taken), "{taken}");
        assert_eq!(stats.peers[&2].dropped_messages.load(Ordering::Relaxed), 100 - taken as u64);
        while waiting.try_recv().is_ok() {}
        waiting_bytes.store(0, Ordering::Relaxed);
        let taken = (0..2_000).filter(|_| peers.send(append(0, 0))).count();
        assert_eq!(taken, QUEUE_MESSAGES);
        assert!(!peers.send(Message { to: 9, ..append(0, 0) }), "nobody is there");
    }
}
