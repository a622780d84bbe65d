//! What the tests share: a machine fed entry by entry, and a network of nodes in memory.

pub mod network;

use mcp_manager::command::{Command, Operation, Outcome, ServerSpec, Transport};
use mcp_manager::limits::SessionLimits;
use mcp_manager::{Applied, Machine};

/// A machine and the index of its log's end.
pub struct Log {
    pub machine: Machine,
    pub index: u64,
    pub now_ms: u64,
}

impl Log {
    pub fn new() -> Log {
        Log::with(SessionLimits::default())
    }

    pub fn with(limits: SessionLimits) -> Log {
        Log { machine: Machine::found("test", limits), index: 1, now_ms: 1_000 }
    }

    /// Applies the next entry.
    pub fn entry(&mut self, data: &[u8]) -> Applied {
        self.index += 1;
        self.machine.apply(self.index, 1, data)
    }

    pub fn open_session(&mut self) -> u64 {
        let opened = self.entry(&Command::OpenSession { now_ms: self.now_ms }.encode());
        let Outcome::Session { client } = opened.outcome else { panic!("{opened:?}") };
        client
    }

    pub fn operate(&mut self, client: u64, sequence: u64, operation: Operation) -> Applied {
        self.entry(&Command::Operate { client, sequence, now_ms: self.now_ms, operation }.encode())
    }
}

pub fn write(key: &str, value: &str) -> Operation {
    Operation::Write { key: key.into(), value: value.into() }
}

pub fn server(name: &str) -> ServerSpec {
    ServerSpec {
        name: name.into(),
        transport: Transport::StreamableHttp,
        endpoint: format!("https://{name}.example/mcp"),
    }
}

pub fn register(name: &str) -> Operation {
    Operation::Register { server: server(name) }
}
