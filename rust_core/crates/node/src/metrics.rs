//! Counters, as Prometheus reads them.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mcp_chaos_evidence::{Role, node_name};
use mcp_manager::node::NodeStatus;

use crate::build;
use crate::peers::{NetworkStats, PeerStats};
use crate::storage::StorageStats;

/// All that the process counts.
#[derive(Debug)]
pub struct Metrics {
    /// The network of peers.
    pub network: Arc<NetworkStats>,
    /// The disk.
    pub storage: Arc<StorageStats>,
    /// HTTP requests by status code.
    requests: Mutex<BTreeMap<u16, u64>>,
}

impl Metrics {
    /// These counters, and HTTP's at zero.
    pub fn new(network: Arc<NetworkStats>, storage: Arc<StorageStats>) -> Metrics {
        Metrics { network, storage, requests: Mutex::default() }
    }

    /// Counts an HTTP request.
    pub fn count_request(&self, status: u16) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
    }

    /// The text; without the node's own part if it does not answer.
    pub fn render(&self, status: Option<&NodeStatus>) -> String {
        let mut page = Page::default();
        let features = build::FEATURES.join(",");
        page.gauge("build_info", "Version and features of this build.");
        page.sample("build_info", &[("version", build::VERSION), ("features", &features)], 1);
        page.gauge("up", "1 if the node answers.");
        page.sample("up", &[], u8::from(status.is_some()));
        if let Some(status) = status {
            node(&mut page, status);
        }
        self.network(&mut page);
        self.disk(&mut page);
        page.counter("http_requests_total", "HTTP requests by status code.");
        for (code, count) in self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            page.sample("http_requests_total", &[("code", &code.to_string())], count);
        }
        page.text
    }

    fn network(&self, page: &mut Page) {
        type Read = fn(&PeerStats) -> u64;
        let by_peer: [(&str, &str, Read); 7] = [
            ("peer_connected", "1 if this node's stream to the peer stands.", |peer| {
                u64::from(peer.connected.load(Ordering::Relaxed))
            }),
            ("peer_connections_total", "Streams to the peer opened.", |peer| count(&peer.connections)),
            ("peer_sent_messages_total", "Messages written.", |peer| count(&peer.sent_messages)),
            ("peer_sent_bytes_total", "Bytes written.", |peer| count(&peer.sent_bytes)),
            ("peer_dropped_messages_total", "Messages dropped instead of sent.", |peer| {
                count(&peer.dropped_messages)
            }),
            ("peer_received_messages_total", "Messages received.", |peer| count(&peer.received_messages)),
            ("peer_received_bytes_total", "Bytes received.", |peer| count(&peer.received_bytes)),
        ];
        for (name, help, read) in by_peer {
            if name.ends_with("_total") {
                page.counter(name, help)
            } else {
                page.gauge(name, help)
            }
            for (peer, stats) in &self.network.peers {
                page.sample(name, &[("peer", &node_name(*peer))], read(stats));
            }
        }
        page.counter("peer_refused_connections_total", "Incoming connections of strangers.");
        page.sample("peer_refused_connections_total", &[], count(&self.network.refused_connections));
        page.counter("peer_malformed_frames_total", "Frames that no peer sends.");
        page.sample("peer_malformed_frames_total", &[], count(&self.network.malformed_frames));
    }

    fn disk(&self, page: &mut Page) {
        for (name, help, value) in [
            ("disk_batches_total", "Batches written to the log.", &self.storage.batches),
            ("disk_syncs_total", "Groups of batches synced.", &self.storage.syncs),
            ("disk_snapshots_total", "Snapshots of the node's own state written.", &self.storage.snapshots),
        ] {
            page.counter(name, help);
            page.sample(name, &[], count(value));
        }
        page.counter("disk_sync_seconds_total", "Time spent in syncs.");
        let ns = count(&self.storage.sync_ns);
        let seconds = format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
        page.sample("disk_sync_seconds_total", &[], seconds);
    }
}

fn node(page: &mut Page, status: &NodeStatus) {
    let role = match status.role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre_candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    };
    page.gauge("role", "1 beside the node's part in the protocol.");
    page.sample("role", &[("role", role)], 1);
    for (name, help, value) in [
        ("boot", "How often the node has started on its data.", status.boot),
        ("term", "Raft's term.", status.term),
        ("has_leader", "1 if a leader is known.", u64::from(status.leader.is_some())),
        ("commit_index", "Commit index.", status.commit),
        ("applied_index", "Last index applied.", status.applied),
        ("last_index", "Last index in the log.", status.last_index),
        ("persisted_index", "Last index known durable.", status.persisted),
        ("snapshot_index", "Last index covered by the newest snapshot.", status.snapshot_index),
        ("sessions", "Open sessions.", status.sessions as u64),
        ("settings", "Settings.", status.settings as u64),
        ("servers", "Registered MCP servers.", status.servers as u64),
        ("pending_requests", "Requests that wait.", status.pending as u64),
    ] {
        page.gauge(name, help);
        page.sample(name, &[], value);
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The text format, version 0.0.4. All values here are free of what its label syntax would escape.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.text, "# HELP mcp_manager_{name} {help}\n# TYPE mcp_manager_{name} {kind}");
    }

    fn gauge(&mut self, name: &str, help: &str) {
        self.head(name, help, "gauge");
    }

    fn counter(&mut self, name: &str, help: &str) {
        self.head(name, help, "counter");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(key, text)| format!("{key}=\"{text}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "mcp_manager_{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::stats_for;

    #[test]
    fn every_sample_has_its_type_said_before() {
        let metrics = Metrics::new(stats_for([2, 3].into_iter()), Arc::default());
        metrics.count_request(200);
        metrics.count_request(200);
        metrics.storage.sync_ns.store(1_000_000_007, Ordering::Relaxed);
        let text = metrics.render(None);
        let mut typed = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                typed.push(rest.split(' ').next().unwrap());
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                assert_eq!(typed.last(), Some(&name), "{line}");
            }
        }
        assert!(text.contains("mcp_manager_http_requests_total{code=\"200\"} 2\n"), "{text}");
        assert!(text.contains("mcp_manager_peer_connected{peer=\"n3\"} 0\n"), "{text}");
        assert!(text.contains("mcp_manager_disk_sync_seconds_total 1.000000007\n"), "{text}");
    }
}
