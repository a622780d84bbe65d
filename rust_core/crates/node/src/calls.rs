//! How the rest of the process speaks to the task that owns the node.

use std::time::Duration;

use mcp_chaos_evidence::NodeId;
use mcp_manager::command::{Request, Response};
use mcp_manager::node::NodeStatus;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Calls waiting for the node. More are turned away: an overloaded node says so at once.
const QUEUE: usize = 1_024;
/// The node answers every request within its own limit (2 s by default); this one is for a node that hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A healthy node answers this within a few ms.
const STATUS_WITHIN: Duration = Duration::from_secs(1);

/// What the node is asked.
#[derive(Debug)]
pub enum Call {
    /// A client's request. If the receiver is dropped, the client no longer waits.
    Client(Request, oneshot::Sender<Response>),
    /// Found the node.
    Init {
        /// The cluster's name.
        cluster: String,
        /// Who votes.
        voters: Vec<NodeId>,
        /// What became of it.
        reply: oneshot::Sender<Result<(), InitRefused>>,
    },
    /// Wait to be made a member of a cluster.
    Join {
        /// The cluster's name.
        cluster: String,
        /// The node's answer.
        reply: oneshot::Sender<Response>,
    },
    /// How is it?
    Status(oneshot::Sender<NodeStatus>),
    /// Stop in good order.
    Stop,
}

/// Why a node was not founded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitRefused {
    /// It was founded before, otherwise.
    Already(String),
    /// The request cannot be carried out.
    Bad(String),
    /// The node is stopping, or its disk failed.
    Stopping,
}

/// A caller's end.
#[derive(Clone, Debug)]
pub struct Calls {
    queue: mpsc::Sender<Call>,
}

/// Both ends.
pub fn channel() -> (Calls, mpsc::Receiver<Call>) {
    let (queue, calls) = mpsc::channel(QUEUE);
    (Calls { queue }, calls)
}

impl Calls {
    /// Asks for a client, and waits for the answer.
    pub async fn client(&self, request: Request) -> Response {
        let (reply, answer) = oneshot::channel();
        if self.queue.try_send(Call::Client(request, reply)).is_err() {
            return Response::Unavailable { reason: "overloaded or stopping; try again".to_owned() };
        }
        match timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => Response::Unknown { reason: "the node stopped".to_owned() },
            Err(_) => Response::Unknown { reason: "the node does not answer".to_owned() },
        }
    }

    /// Founds the node.
    pub async fn init(&self, cluster: String, voters: Vec<NodeId>) -> Result<(), InitRefused> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Call::Init { cluster, voters, reply }).await.map_err(|_| InitRefused::Stopping)?;
        answer.await.unwrap_or(Err(InitRefused::Stopping))
    }

    /// Lets an empty node wait to be made a member.
    pub async fn join(&self, cluster: String) -> Response {
        let stopping = || Response::Unavailable { reason: "the node is stopping".to_owned() };
        let (reply, answer) = oneshot::channel();
        if self.queue.send(Call::Join { cluster, reply }).await.is_err() {
            return stopping();
        }
        answer.await.unwrap_or_else(|_| stopping())
    }

    /// The node's status; `None` if it does not answer.
    pub async fn status(&self) -> Option<NodeStatus> {
        let (reply, answer) = oneshot::channel();
        timeout(STATUS_WITHIN, async {
            self.queue.send(Call::Status(reply)).await.ok()?;
            answer.await.ok()
        })
        .await
        .ok()?
    }

    /// Asks the node to stop in good order.
    pub async fn stop(&self) {
        // An error means that it has stopped already.
        let _ = self.queue.send(Call::Stop).await;
    }
}
