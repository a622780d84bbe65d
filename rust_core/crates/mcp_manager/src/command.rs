//! What is replicated, what comes back, and what a client may ask of a node.

use bytes::Bytes;
use mcp_chaos_consensus::{ChangeRefused, MembershipChange};
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
        /// 1, 2, … within the session; a client has one operation in flight. Gaps are allowed.
        sequence: u64,
        /// The proposing leader's clock in ms.
        now_ms: u64,
        /// What to do.
        operation: Operation,
    },
}

/// The bytes are not exactly one command of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not one command of this version, whole and with nothing after it")]
pub struct NotACommand;

impl Command {
    /// The log entry's data. Never empty: an empty entry is a new leader's no-op.
    pub fn encode(&self) -> Bytes {
        postcard::to_stdvec(self).expect("encoding into memory cannot fail").into()
    }

    /// Reads what [`Command::encode`] wrote; trailing bytes are an error, so that no two readings exist.
    pub fn decode(data: &[u8]) -> Result<Command, NotACommand> {
        match postcard::take_from_bytes(data) {
            Ok((command, [])) => Ok(command),
            _ => Err(NotACommand),
        }
    }
}

/// What a client may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Sets a setting, whatever it was.
    Write {
        /// The setting.
        key: String,
        /// Its new value.
        value: String,
    },
    /// Sets a setting if it is as expected.
    CompareAndSet {
        /// The setting.
        key: String,
        /// What it must be now.
        expected: Expected,
        /// What it becomes.
        value: String,
    },
    /// Adds an MCP server, or replaces one of the same name (its state is then `registered` again).
    Register {
        /// The server.
        server: ServerSpec,
    },
    /// Removes an MCP server.
    Deregister {
        /// Which.
        name: String,
    },
    /// Records the state of a server.
    SetState {
        /// Which.
        name: String,
        /// The state it is in.
        state: ServerState,
    },
    /// Adds to a counter. One that nobody added to stands at 0.
    Add {
        /// The counter.
        key: String,
        /// How much; may be negative.
        amount: i64,
    },
    /// Reads lists and appends to them, all at one moment. A list that nobody appended to is empty.
    Transact {
        /// In this order: a read sees the appends before it.
        steps: Vec<ListStep>,
    },
    /// Takes a lease, if nobody holds it.
    Acquire {
        /// The lease.
        name: String,
        /// Who is to hold it.
        holder: String,
        /// How long it lasts unless it is renewed, by the log's clock.
        ttl_ms: u64,
    },
    /// Lets a lease last for so long again, if this holder holds it.
    Renew {
        /// The lease.
        name: String,
        /// Who holds it.
        holder: String,
        /// How long it lasts from now, by the log's clock.
        ttl_ms: u64,
    },
    /// Gives a lease back, if this holder holds it.
    Release {
        /// The lease.
        name: String,
        /// Who holds it.
        holder: String,
    },
}

/// One step of a transaction over lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ListStep {
    /// Appends an element.
    Append {
        /// The list.
        key: String,
        /// What is appended.
        element: String,
    },
    /// Reads a list.
    Read {
        /// The list.
        key: String,
    },
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
    /// Its name, unique in the registry.
    pub name: String,
    /// How it is spoken to.
    pub transport: Transport,
    /// A command line for `stdio`, an http or https URL else.
    pub endpoint: String,
}

/// How an MCP server is spoken to (MCP specification, "Transports").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// A child process, over its standard input and output.
    Stdio,
    /// Streamable HTTP.
    StreamableHttp,
    /// HTTP with server-sent events, the older form.
    Sse,
}

/// A server's state in the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// Known; nobody has started it.
    #[default]
    Registered,
    /// Being started.
    Starting,
    /// Serves.
    Ready,
    /// Serves, with failures.
    Degraded,
    /// Being stopped.
    Stopping,
    /// Stopped on purpose.
    Stopped,
    /// Stopped, or never came up, against the operator's will.
    Failed,
}

/// A registered server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// As its operator describes it.
    #[serde(flatten)]
    pub spec: ServerSpec,
    /// Its state.
    pub state: ServerState,
    /// Log index of the last change.
    pub version: u64,
}

/// What applying an operation gave. Kept in the session and given again to a retry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Done {
        /// The log index of the change.
        version: u64,
    },
    /// A compare-and-set found something else: it changed nothing, and has observed `actual`.
    Mismatch {
        /// The value found; null: never written.
        actual: Option<String>,
        /// Its version; 0: never written.
        version: u64,
    },
    /// No such server.
    NotFound,
    /// A new session.
    Session {
        /// Its id: the log index of the entry that opened it.
        client: u64,
    },
    /// The session is unknown or has expired: whether an earlier try was applied nobody can say.
    SessionExpired,
    /// A sequence number below the session's last: a duplicate from long ago. Nothing changed.
    StaleSequence {
        /// The session's last.
        last: u64,
    },
    /// The operation breaks a limit (name or value too long, …); nothing changed.
    Rejected {
        /// What was expected, and what was found.
        reason: String,
    },
    /// A transaction was done.
    Transacted {
        /// Its log index.
        version: u64,
        /// What each of its reads found, in order.
        lists: Vec<Vec<String>>,
    },
    /// The lease is this holder's.
    Leased {
        /// The fencing token: greater than that of every lease granted before (Kleppmann, How to do distributed
        /// locking, 2016). It stays the same while the lease is renewed.
        token: u64,
    },
    /// Somebody holds the lease; nothing changed.
    Held {
        /// Who.
        holder: String,
        /// Under which token.
        token: u64,
    },
    /// This holder does not hold the lease: it never did, gave it back, or it ended. Nothing changed.
    NotHeld,
}

/// What a client may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// A setting's value and version.
    Setting {
        /// Which.
        key: String,
    },
    /// One MCP server.
    Server {
        /// Which.
        name: String,
    },
    /// All MCP servers, by name.
    Servers,
    /// Where a counter stands.
    Counter {
        /// Which.
        key: String,
    },
    /// The elements of lists, all as of one moment.
    Lists {
        /// Which.
        keys: Vec<String>,
    },
    /// Who holds a lease.
    Lease {
        /// Which.
        name: String,
    },
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A setting.
    Setting {
        /// Its value; null: never written.
        value: Option<String>,
        /// The log index of its last change; 0: never written.
        version: u64,
    },
    /// One MCP server.
    Server {
        /// Null: no such server.
        server: Option<Server>,
    },
    /// All MCP servers.
    Servers {
        /// Ascending by name.
        servers: Vec<Server>,
    },
    /// A counter.
    Counter {
        /// Where it stands.
        value: i64,
        /// The log index of its last change; 0: nobody added to it.
        version: u64,
    },
    /// Lists, in the order asked for.
    Lists {
        /// Their elements.
        lists: Vec<Vec<String>>,
    },
    /// A lease.
    Lease {
        /// Who holds it; null: nobody.
        holder: Option<String>,
        /// Under which token; 0: nobody holds it.
        token: u64,
    },
}

/// What reaches a node from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Open a session.
    OpenSession,
    /// Change something, once.
    Operate {
        /// The session.
        client: u64,
        /// The number within the session; a retry carries the same.
        sequence: u64,
        /// What to do.
        operation: Operation,
    },
    /// A linearizable read.
    Query(Query),
    /// Hand leadership over. The transfer is begun, not awaited.
    TransferLeader {
        /// To whom.
        to: NodeId,
    },
    /// Write a snapshot of the state now. It is begun, not awaited.
    SnapshotNow,
    /// Change who belongs to the cluster. Answered once the change is in force.
    ChangeMembership(MembershipChange),
    /// To a node with an empty directory: wait to be made a member of this cluster. Begun, not awaited, and
    /// forgotten by a restart before the first snapshot has come.
    Join {
        /// The cluster.
        cluster: String,
    },
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Applied.
    Applied {
        /// What it gave.
        outcome: Outcome,
        /// Where it was applied (for a retry: where the first try was).
        log_index: u64,
    },
    /// Read.
    Read {
        /// What was found.
        answer: Answer,
        /// Every entry up to here, and none above, had been applied to what was read.
        log_index: u64,
    },
    /// This node does not lead. Certainly no effect.
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Certainly no effect, for another reason (not founded, overloaded, shutting down, superseded).
    Unavailable {
        /// The reason, in words.
        reason: String,
    },
    /// Nobody knows whether it will take effect (timed out after it was proposed).
    Unknown {
        /// The reason, in words.
        reason: String,
    },
    /// An administrative request was accepted.
    Accepted,
    /// A change of the membership is in force (a joint one is left by itself).
    Changed {
        /// Where it stands.
        log_index: u64,
    },
    /// The leader did not propose the change of the membership. Certainly no effect.
    ChangeRefused {
        /// Why.
        why: ChangeRefused,
    },
    /// This node was removed from the cluster. Certainly no effect.
    NotMember {
        /// Who led when it was.
        leader: Option<NodeId>,
    },
}

impl Request {
    /// How many bytes of values it carries.
    pub fn value_bytes(&self) -> usize {
        match self {
            Request::Operate { operation, .. } => operation.value_bytes(),
            _ => 0,
        }
    }
}

impl Operation {
    fn value_bytes(&self) -> usize {
        match self {
            Operation::Write { value, .. }
            | Operation::CompareAndSet {
                expected: Expected::Value(None) | Expected::Version(_),
                value,
                ..
            } => value.len(),
            Operation::CompareAndSet { expected: Expected::Value(Some(expected)), value, .. } => {
                expected.len() + value.len()
            }
            Operation::Register { server } => server.endpoint.len(),
            Operation::Transact { steps } => steps
                .iter()
                .map(|step| match step {
                    ListStep::Append { element, .. } => element.len(),
                    ListStep::Read { .. } => 0,
                })
                .sum(),
            Operation::Deregister { .. }
            | Operation::SetState { .. }
            | Operation::Add { .. }
            | Operation::Acquire { .. }
            | Operation::Renew { .. }
            | Operation::Release { .. } => 0,
        }
    }
}

impl Response {
    /// How many bytes of values it carries.
    pub fn value_bytes(&self) -> usize {
        match self {
            Response::Applied { outcome: Outcome::Mismatch { actual: Some(value), .. }, .. }
            | Response::Read { answer: Answer::Setting { value: Some(value), .. }, .. } => value.len(),
            Response::Read { answer: Answer::Server { server: Some(server) }, .. } => {
                server.spec.endpoint.len()
            }
            Response::Read { answer: Answer::Servers { servers }, .. } => {
                servers.iter().map(|server| server.spec.endpoint.len()).sum()
            }
            Response::Applied { outcome: Outcome::Transacted { lists, .. }, .. }
            | Response::Read { answer: Answer::Lists { lists }, .. } => {
                lists.iter().flatten().map(String::len).sum()
            }
            _ => 0,
        }
    }
}
