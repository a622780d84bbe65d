//! Streams that peers dialled: who they are, and what they say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mcp_chaos_evidence::{NodeId, node_name};
use tokio::io::{AsyncRead, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Identity, NetworkStats, PeerEvent, tune};
use crate::frame::{
    FrameError, HEADER_BYTES, Hello, MAX_SNAPSHOT_BYTES, PROTOCOL, read_hello, read_length, read_message,
};
use crate::tls::identify;

/// Connections that have not yet said who they are.
const HANDSHAKES: usize = 64;
/// How long a connection may take to say who it is. Longer than the dialler's own limit.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of one peer's messages that the node has not yet handled.
const IN_FLIGHT_BYTES: usize = MAX_SNAPSHOT_BYTES;
/// Read from the socket at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// The newest stream of each peer. An older one is a leftover: its sender has given it up.
type Streams = Arc<Mutex<BTreeMap<NodeId, AbortHandle>>>;

/// Accepts peers for ever.
pub async fn accept(
    listener: TcpListener,
    identity: Identity,
    events: mpsc::Sender<PeerEvent>,
    stats: Arc<NetworkStats>,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let streams = Streams::default();
    loop {
        let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, or a connection already gone: neither is helped by a hot loop.
                tracing::warn!(%error, "cannot accept a peer");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let guest = Guest { identity: identity.clone(), events: events.clone(), stats: Arc::clone(&stats) };
        tokio::spawn(guest.receive(stream, permit, Arc::clone(&streams)));
    }
}

/// One incoming connection.
struct Guest {
    identity: Identity,
    events: mpsc::Sender<PeerEvent>,
    stats: Arc<NetworkStats>,
}

impl Guest {
    async fn receive(self, stream: TcpStream, permit: OwnedSemaphorePermit, streams: Streams) {
        let introduced = timeout(HANDSHAKE_WITHIN, self.introduce(stream)).await;
        let (peer, stream) = match introduced {
            Ok(Ok(introduced)) => introduced,
            Ok(Err(reason)) => {
                self.stats.refused_connections.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(reason, "refused a peer's connection");
                return;
            }
            Err(_) => return,
        };
        let mut newest = streams.lock().await;
        let reading = tokio::spawn(self.read(peer, stream));
        if let Some(older) = newest.insert(peer, reading.abort_handle()) {
            older.abort();
        }
        drop(permit);
    }

    /// Finds out who dialled: from the certificate, which the hello must agree with.
    async fn introduce(
        &self,
        stream: TcpStream,
    ) -> Result<(NodeId, BufReader<TlsStream<TcpStream>>), String> {
        tune(&stream).map_err(|error| error.to_string())?;
        let acceptor = TlsAcceptor::from(Arc::clone(&self.identity.tls.acceptor));
        let stream = acceptor.accept(stream).await.map_err(|error| error.to_string())?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let peer = certificate
            .and_then(|certificate| identify(certificate, self.stats.peers.keys().copied()))
            .ok_or("its certificate names none of the peers")?;
        let mut stream = BufReader::with_capacity(BUFFER_BYTES, stream);
        let hello = read_hello(&mut stream).await.map_err(|error| error.to_string())?;
        let cluster = self.identity.cluster.borrow().clone().ok_or("this node is not founded yet")?;
        let expected = Hello { protocol: PROTOCOL, cluster, from: peer, to: self.identity.id };
        if hello != expected {
            return Err(format!("expected {expected:?}, found {hello:?}"));
        }
        Ok((peer, stream))
    }

    async fn read(self, peer: NodeId, mut stream: BufReader<TlsStream<TcpStream>>) {
        tracing::debug!(peer = node_name(peer), "accepted");
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_BYTES));
        loop {
            match self.read_one(peer, &mut stream, &in_flight).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(FrameError::Io(error)) => {
                    tracing::debug!(peer = node_name(peer), %error, "stream ended");
                    return;
                }
                Err(error) => {
                    self.stats.malformed_frames.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(peer = node_name(peer), %error, "stream refused");
                    return;
                }
            }
        }
    }

    /// Reads a message and hands it on; false at the end.
    async fn read_one<R: AsyncRead + Unpin>(
        &self,
        peer: NodeId,
        stream: &mut R,
        in_flight: &Arc<Semaphore>,
    ) -> Result<bool, FrameError> {
        let Some(bytes) = read_length(stream).await? else { return Ok(false) };
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(in_flight).acquire_many_owned(permits).await else { return Ok(false) };
        let message = read_message(stream, bytes).await?;
        let counters = &self.stats.peers[&peer];
        counters.received_messages.fetch_add(1, Ordering::Relaxed);
        counters.received_bytes.fetch_add((HEADER_BYTES + bytes) as u64, Ordering::Relaxed);
        if message.from != peer || message.to != self.identity.id {
            tracing::warn!(
                peer = node_name(peer),
                from = message.from,
                to = message.to,
                "dropped a message in another's name"
            );
            return Ok(true);
        }
        Ok(self.events.send(PeerEvent::Received(message, permit)).await.is_ok())
    }
}
