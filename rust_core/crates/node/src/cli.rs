//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::ServeOptions;

/// A Raft-replicated manager of MCP servers.
#[derive(Debug, Parser)]
#[command(name = "mcp-manager", version, about, long_about = None)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node until SIGTERM or SIGINT.
    Serve(Box<Serve>),
    /// Write a throw-away certificate authority and a certificate for each node.
    Certs(Certs),
    /// Print the version and the features of this build.
    Version(Json),
    /// List the planted bugs that this build carries.
    Plants(Json),
}

/// `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// A TOML or JSON file (by its ending) with any of these options, named as here without the dashes;
    /// the command line goes before it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The options.
    #[command(flatten)]
    pub options: ServeOptions,
}

/// `certs`.
#[derive(Debug, Args)]
pub struct Certs {
    /// Where to write ca.pem, n1.pem, n1.key, …; must not hold a set already.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// For how many nodes.
    #[arg(long, value_name = "COUNT")]
    pub nodes: u64,
}

/// How to print.
#[derive(Debug, Args)]
pub struct Json {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}
