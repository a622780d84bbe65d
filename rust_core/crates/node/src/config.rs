//! What a node is told: options from the command line and a file, checked and completed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use mcp_chaos_evidence::{NodeId, node_name, parse_node_name};
use serde::Deserialize;

use crate::failure::Failure;

/// The options of `serve`, each of which may be left out here and given in the file.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ServeOptions {
    /// This node's name: n1, n2, …
    #[arg(long, value_name = "NAME")]
    pub id: Option<String>,
    /// Where log and snapshots live; created if it does not exist.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Set once the node was founded: an empty data directory is then a lost one, and refused.
    #[arg(long)]
    pub founded: bool,
    /// Where peers are accepted [default: 127.0.0.1:7001].
    #[arg(long, value_name = "IP:PORT")]
    pub listen_peers: Option<SocketAddr>,
    /// Where clients are accepted [default: 127.0.0.1:8001]. Anything but loopback needs --token-file.
    #[arg(long, value_name = "IP:PORT")]
    pub listen_clients: Option<SocketAddr>,
    /// Where a peer is reached, once for each: n2=10.0.0.2:7001. This node itself may be among them.
    #[arg(long, value_name = "NAME=IP:PORT")]
    pub peer: Vec<String>,
    /// Directory with ca.pem, ID.pem and ID.key; needed if there are peers.
    #[arg(long, value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
    /// File with the bearer token that clients must show.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Where to append what this node does, as JSON Lines [default: nowhere]. Not in the data directory.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Where to write the addresses actually bound, as JSON, once both listen.
    #[arg(long, value_name = "FILE")]
    pub ports_file: Option<PathBuf>,
    /// CLOCK_MONOTONIC at the run's start, in nanoseconds: the trace's time 0 [default: 0].
    #[arg(long, value_name = "NS")]
    pub epoch_ns: Option<u64>,
    /// Seed of the election timeouts [default: from the operating system].
    #[arg(long)]
    pub seed: Option<u64>,
    /// Length of a tick [default: 20].
    #[arg(long, value_name = "MS")]
    pub tick_ms: Option<u64>,
    /// Ticks between two heartbeats of a leader [default: 5].
    #[arg(long, value_name = "TICKS")]
    pub heartbeat_ticks: Option<u32>,
    /// Shortest election timeout in ticks; the longest is twice this [default: 25].
    #[arg(long, value_name = "TICKS")]
    pub election_ticks: Option<u32>,
    /// Entries applied between two snapshots [default: 1000].
    #[arg(long, value_name = "ENTRIES")]
    pub snapshot_every: Option<u64>,
    /// Entries kept behind a snapshot for followers that lag a little [default: 100].
    #[arg(long, value_name = "ENTRIES")]
    pub keep_entries: Option<u64>,
    /// A planted bug to switch on (`mcp-manager plants` lists them); only in builds that carry them.
    #[arg(long, value_name = "NAME")]
    pub plant: Vec<String>,
    /// Which log lines go to stderr, in RUST_LOG's syntax [default: RUST_LOG, else info].
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// How log lines look: text or json [default: text].
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// What `serve` runs on: complete and checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub id: NodeId,
    /// Log and snapshots.
    pub data_dir: PathBuf,
    /// Whether the data directory must hold a founded node.
    pub founded: bool,
    /// Where to accept peers.
    pub listen_peers: SocketAddr,
    /// Where to accept clients.
    pub listen_clients: SocketAddr,
    /// The other nodes.
    pub peers: BTreeMap<NodeId, SocketAddr>,
    /// TLS material; present whenever there are peers.
    pub tls_dir: Option<PathBuf>,
    /// What clients must show.
    pub token: Option<String>,
    /// The trace file.
    pub trace: Option<PathBuf>,
    /// Where to write the bound addresses.
    pub ports_file: Option<PathBuf>,
    /// The trace's time 0.
    pub epoch_ns: u64,
    /// Seed of the election timeouts; `None`: draw one.
    pub seed: Option<u64>,
    /// Length of a tick.
    pub tick: Duration,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: u32,
    /// Shortest election timeout in ticks.
    pub election_ticks: u32,
    /// Entries between snapshots.
    pub snapshot_every_entries: u64,
    /// Entries kept behind a snapshot.
    pub keep_entries: u64,
    /// Planted bugs by name, unchecked.
    pub plants: Vec<String>,
}

impl ServeOptions {
    /// Reads a configuration file: JSON if it ends in `.json`, else TOML.
    pub fn from_file(path: &Path) -> Result<ServeOptions, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::Usage(format!("--config {}: {error}", path.display())))?;
        let parsed = if path.extension().is_some_and(|ending| ending == "json") {
            serde_json::from_str(&text).map_err(|error| error.to_string())
        } else {
            toml::from_str(&text).map_err(|error| error.to_string())
        };
        parsed.map_err(|error| Failure::Usage(format!("--config {}: {}", path.display(), error.trim_end())))
    }

    /// These options, completed by `other`'s where they are silent. Lists are not merged.
    pub fn or(self, other: ServeOptions) -> ServeOptions {
        ServeOptions {
            id: self.id.or(other.id),
            data_dir: self.data_dir.or(other.data_dir),
            founded: self.founded || other.founded,
            listen_peers: self.listen_peers.or(other.listen_peers),
            listen_clients: self.listen_clients.or(other.listen_clients),
            peer: if self.peer.is_empty() { other.peer } else { self.peer },
            tls_dir: self.tls_dir.or(other.tls_dir),
            token_file: self.token_file.or(other.token_file),
            trace: self.trace.or(other.trace),
            ports_file: self.ports_file.or(other.ports_file),
            epoch_ns: self.epoch_ns.or(other.epoch_ns),
            seed: self.seed.or(other.seed),
            tick_ms: self.tick_ms.or(other.tick_ms),
            heartbeat_ticks: self.heartbeat_ticks.or(other.heartbeat_ticks),
            election_ticks: self.election_ticks.or(other.election_ticks),
            snapshot_every: self.snapshot_every.or(other.snapshot_every),
            keep_entries: self.keep_entries.or(other.keep_entries),
            plant: if self.plant.is_empty() { other.plant } else { self.plant },
            log: self.log.or(other.log),
            log_format: self.log_format.or(other.log_format),
        }
    }

    /// Checks the options and fills in the defaults.
    pub fn complete(self) -> Result<Settings, Failure> {
        let id = self.id.ok_or_else(|| usage("--id: expected this node's name, such as n1"))?;
        let id = node_id("--id", &id)?;
        let data_dir = self.data_dir.ok_or_else(|| usage("--data-dir: expected a directory"))?;
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listen_clients = self.listen_clients.unwrap_or_else(|| loopback(8001));
        let token = self.token_file.as_deref().map(read_token).transpose()?;
        if token.is_none() && !listen_clients.ip().is_loopback() {
            return Err(Failure::Usage(format!(
                "--listen-clients {listen_clients}: refuses to listen beyond loopback without a token; \
                 give --token-file, or listen on 127.0.0.1"
            )));
        }
        let peers = peers(&self.peer, id)?;
        if !peers.is_empty() && self.tls_dir.is_none() {
            return Err(usage(
                "--tls-dir: peers are reached by mutual TLS only; write certificates with `mcp-manager certs`",
            ));
        }
        if self.trace.as_deref().is_some_and(|trace| lies_in(trace, &data_dir)) {
            return Err(usage(
                "--trace: the trace must not lie in the data directory, which holds data alone",
            ));
        }
        let heartbeat_ticks = self.heartbeat_ticks.unwrap_or(5);
        let election_ticks = self.election_ticks.unwrap_or(25);
        if heartbeat_ticks == 0 || election_ticks <= heartbeat_ticks {
            return Err(usage("--election-ticks: expected more than --heartbeat-ticks, and that at least 1"));
        }
        let tick_ms = self.tick_ms.unwrap_or(20);
        let snapshot_every_entries = self.snapshot_every.unwrap_or(1_000);
        if tick_ms == 0 || snapshot_every_entries == 0 {
            return Err(usage("--tick-ms, --snapshot-every: expected at least 1"));
        }
        Ok(Settings {
            id,
            data_dir,
            founded: self.founded,
            listen_peers: self.listen_peers.unwrap_or_else(|| loopback(7001)),
            listen_clients,
            peers,
            tls_dir: self.tls_dir,
            token,
            trace: self.trace,
            ports_file: self.ports_file,
            epoch_ns: self.epoch_ns.unwrap_or(0),
            seed: self.seed,
            tick: Duration::from_millis(tick_ms),
            heartbeat_ticks,
            election_ticks,
            snapshot_every_entries,
            keep_entries: self.keep_entries.unwrap_or(100),
            plants: self.plant,
        })
    }
}

fn usage(message: &str) -> Failure {
    Failure::Usage(message.to_owned())
}

fn node_id(option: &str, name: &str) -> Result<NodeId, Failure> {
    parse_node_name(name)
        .ok_or_else(|| Failure::Usage(format!("{option}: expected a node's name such as n1, found {name:?}")))
}

fn peers(list: &[String], own: NodeId) -> Result<BTreeMap<NodeId, SocketAddr>, Failure> {
    let mut peers = BTreeMap::new();
    for text in list {
        let (name, address) = text.split_once('=').ok_or_else(|| {
            Failure::Usage(format!("--peer: expected NAME=IP:PORT such as n2=10.0.0.2:7001, found {text:?}"))
        })?;
        let id = node_id("--peer", name)?;
        // Not host names: a static binary in an empty container has no resolver.
        let address = address.parse().map_err(|_| {
            Failure::Usage(format!("--peer {name}: expected an IP address and a port, found {address:?}"))
        })?;
        if id != own && peers.insert(id, address).is_some() {
            return Err(Failure::Usage(format!("--peer: {} is named twice", node_name(id))));
        }
    }
    Ok(peers)
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("--token-file {}: {error}", path.display())))?;
    let token = text.trim();
    if token.is_empty() || token.chars().any(|letter| !letter.is_ascii_graphic()) {
        return Err(Failure::Usage(format!(
            "--token-file {}: expected one word of visible ASCII characters",
            path.display()
        )));
    }
    Ok(token.to_owned())
}

fn lies_in(file: &Path, directory: &Path) -> bool {
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    whole(file).starts_with(whole(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn least() -> ServeOptions {
        ServeOptions { id: Some("n1".into()), data_dir: Some("/data".into()), ..ServeOptions::default() }
    }

    fn refused(options: ServeOptions) -> String {
        match options.complete() {
            Err(Failure::Usage(message)) => message,
            other => panic!("expected a usage error, got {other:?}"),
        }
    }

    #[test]
    fn the_named_defaults_hold() {
        let settings = least().complete().unwrap();
        assert_eq!(settings.tick, Duration::from_millis(20));
        assert_eq!((settings.heartbeat_ticks, settings.election_ticks), (5, 25));
        assert_eq!((settings.snapshot_every_entries, settings.keep_entries), (1_000, 100));
        assert!(settings.listen_clients.ip().is_loopback() && settings.listen_peers.ip().is_loopback());
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let toml = directory.path().join("node.toml");
        std::fs::write(&toml, "id = \"n9\"\ndata-dir = \"/d\"\ntick-ms = 7\npeer = [\"n2=10.0.0.2:7001\"]\n")
            .unwrap();
        let json = directory.path().join("node.json");
        std::fs::write(&json, r#"{"id": "n9", "tick-ms": 7}"#).unwrap();
        let options = least().or(ServeOptions::from_file(&toml).unwrap());
        assert_eq!(options.id.as_deref(), Some("n1"));
        assert_eq!((options.tick_ms, options.peer.len()), (Some(7), 1));
        assert_eq!(ServeOptions::from_file(&json).unwrap().tick_ms, Some(7));
        std::fs::write(&toml, "tikc-ms = 7\n").unwrap();
        let message = ServeOptions::from_file(&toml).unwrap_err().to_string();
        assert!(message.contains("tikc-ms") && message.contains("tick-ms"), "{message}");
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_cure() {
        let wide = Some("0.0.0.0:8001".parse().unwrap());
        assert!(refused(ServeOptions { listen_clients: wide, ..least() }).contains("--token-file"));
        let peer = vec!["n2=10.0.0.2:7001".to_owned()];
        assert!(refused(ServeOptions { peer: peer.clone(), ..least() }).contains("--tls-dir"));
        let twice = [peer.clone(), peer].concat();
        assert!(refused(ServeOptions { peer: twice, ..least() }).contains("twice"));
        assert!(refused(ServeOptions { peer: vec!["n2=host:1".into()], ..least() }).contains("IP address"));
        assert!(
            refused(ServeOptions { trace: Some("/data/t".into()), ..least() }).contains("data directory")
        );
        assert!(refused(ServeOptions { id: Some("one".into()), ..least() }).contains("n1"));
        assert!(refused(ServeOptions { election_ticks: Some(5), ..least() }).contains("--election-ticks"));
    }
}
