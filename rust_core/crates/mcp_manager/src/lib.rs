//! The replicated manager of MCP servers.
pub mod command;
