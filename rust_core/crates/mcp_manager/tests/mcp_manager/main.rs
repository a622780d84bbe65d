//! Tests of the manager through its public surface. Each module carries the crate's name, since
//! `cargo test mcp_manager` selects by test path.

mod mcp_manager_limits;
mod mcp_manager_machine;
mod mcp_manager_membership;
mod mcp_manager_node;
mod mcp_manager_node_failures;
mod mcp_manager_node_properties;
mod mcp_manager_node_snapshots;
mod mcp_manager_objects;
mod mcp_manager_plants;
mod mcp_manager_properties;
mod mcp_manager_sessions;
mod mcp_manager_snapshot;
mod support;
