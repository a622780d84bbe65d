//! The binary `mcp-manager`: one node of a Raft-replicated manager of MCP servers.
//!
//! The node itself is `mcp_manager::node::Node`, which does no I/O; here is the shell around it. [`serve`]
//! puts the parts together; [`actor`] is the main loop.

mod actor;
mod build;
mod calls;
mod certs;
mod cli;
mod clock;
mod config;
mod data_dir;
mod failure;
mod file_disk;
mod frame;
mod http;
mod metrics;
mod peers;
mod serve;
mod storage;
mod tls;
mod trace;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use mcp_manager::plants::PLANTS;
use serde_json::json;

use cli::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(serve) => serve::serve(*serve),
        Command::Certs(certs) => certs::write_certificates(&certs.out, certs.nodes),
        Command::Version(how) => print(&version(how.json)),
        Command::Plants(how) => print(&plants(how.json)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("mcp-manager: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn version(as_json: bool) -> String {
    if as_json {
        return json!({"version": build::VERSION, "features": build::FEATURES}).to_string();
    }
    build::line()
}

fn plants(as_json: bool) -> String {
    if as_json {
        let plants: Vec<_> = PLANTS
            .iter()
            .map(|plant| {
                json!({"name": plant.name, "layer": plant.layer.name(), "about": plant.about, "source": plant.source})
            })
            .collect();
        return json!({"plants": plants}).to_string();
    }
    if PLANTS.is_empty() {
        return "this build carries no planted bugs (feature `plants`)".to_owned();
    }
    let lines: Vec<_> = PLANTS
        .iter()
        .map(|plant| {
            format!("{} ({}): {}\n    {}", plant.name, plant.layer.name(), plant.about, plant.source)
        })
        .collect();
    lines.join("\n")
}

fn print(text: &str) -> Result<(), Failure> {
    // A reader that has gone (`| head`) is no reason to panic.
    writeln!(std::io::stdout(), "{text}").map_err(|error| Failure::Other(format!("stdout: {error}")))
}
