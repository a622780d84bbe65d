//! The binary `mcp-manager`.
fn main() {}
