//! CONTRACT SKETCH: what is replicated, and what comes back.

use mcp_chaos_evidence::NodeId;
use serde::{Deserialize, Serialize};

/// One log entry's content (postcard).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Opens a session (Ongaro's dissertation §6.3); its id is the entry's log index.
    OpenSession {
        /// The proposing leader's clock in ms; the log's clock is the greatest seen. Sessions expire by it.
        now_ms: u64,
    },
    /// An operation, applied once for each (client, sequence).
    Operate {
        /// The session.
        client: u64,
        /// 1, 2, … within the session; a client has one operation in flight.
        sequence: u64,
        /// The proposing leader's clock in ms.
        now_ms: u64,
        /// What to do.
        operation: Operation,
    },
}

/// What a client may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Sets a setting, whatever it was.
    Write { key: String, value: String },
    /// Sets a setting if it is as expected.
    CompareAndSet { key: String, expected: Expected, value: String },
    /// Adds an MCP server, or replaces one of the same name.
    Register { server: ServerSpec },
    /// Removes an MCP server.
    Deregister { name: String },
    /// Records the state of a server.
    SetState { name: String, state: ServerState },
}

/// What a compare-and-set compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// The value; null: never written.
    Value(Option<String>),
    /// The version; 0: never written.
    Version(u64),
}

/// An MCP server as its operator describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSpec {
    pub name: String,
    pub transport: Transport,
    /// A command line for `stdio`, a URL else.
    pub endpoint: String,
}

/// How an MCP server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport { Stdio, StreamableHttp, Sse }

/// A server's state in the registry. (Its lifecycle is driven by a later issue.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState { #[default] Registered, Starting, Ready, Degraded, Stopping, Stopped, Failed }

/// A registered server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    #[serde(flatten)]
    pub spec: ServerSpec,
    pub state: ServerState,
    /// Log index of the last change.
    pub version: u64,
}

/// What applying an operation gave. Kept in the session and given again to a retry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done. `version` is the log index of the change.
    Done { version: u64 },
    /// A compare-and-set found something else: it changed nothing, and has observed `actual`.
    Mismatch { actual: Option<String>, version: u64 },
    /// No such server.
    NotFound,
    /// A new session.
    Session { client: u64 },
    /// The session is unknown or has expired: whether an earlier try was applied nobody can say.
    SessionExpired,
    /// A sequence number below the session's last: a duplicate from long ago. Nothing changed.
    StaleSequence { last: u64 },
    /// The operation breaks a limit (name or value too long, …); nothing changed.
    Rejected { reason: String },
}

/// What a client may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    Setting { key: String },
    Server { name: String },
    Servers,
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// `value` null and `version` 0: never written.
    Setting { value: Option<String>, version: u64 },
    Server { server: Option<Server> },
    Servers { servers: Vec<Server> },
}

/// What reaches a node from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    OpenSession,
    Operate { client: u64, sequence: u64, operation: Operation },
    Query(Query),
    TransferLeader { to: NodeId },
    SnapshotNow,
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Applied at `log_index` (for a retry: where the first try was applied).
    Applied { outcome: Outcome, log_index: u64 },
    /// Read at a state that has applied `log_index`.
    Read { answer: Answer, log_index: u64 },
    /// This node does not lead. Certainly no effect.
    NotLeader { leader: Option<NodeId> },
    /// Certainly no effect, for another reason (not founded, overloaded, shutting down, superseded).
    Unavailable { reason: String },
    /// Nobody knows whether it will take effect (timed out after it was proposed).
    Unknown { reason: String },
    /// An administrative request was accepted.
    Accepted,
}
