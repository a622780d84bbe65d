//! What a node refuses, with which words and exit codes, and that it touches nothing then.

mod common;

use std::fs;
use std::process::Command;

use common::{Cluster, SOON, contents, eventually, run};
use mcp_chaos_evidence::{TraceEvent, TraceRecord};
use serde_json::{Value, json};

/// Runs a command that is to end by itself: (exit code, stderr).
fn ended(mut command: Command) -> (i32, String) {
    let output = command.stderr(std::process::Stdio::piped()).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A node that was founded, has written, and was killed.
fn used() -> Cluster {
    let mut cluster = Cluster::founded(1, &[]);
    let client = cluster.session(1);
    for sequence in 1..=20 {
        cluster.write(1, client, sequence, "k", "v");
    }
    cluster.kill(1);
    cluster
}

fn refused(cluster: &Cluster, command: Command, words: &[&str]) {
    let before = contents(&cluster.data(1));
    let (code, stderr) = ended(command);
    assert_eq!(code, 3, "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
    assert_eq!(before, contents(&cluster.data(1)), "the directory was touched");
    let trace = cluster.trace(1);
    let last = trace.last().unwrap();
    assert!(matches!(&last.event, TraceEvent::Refused { reason } if reason.contains(words[0])), "{last:?}");
    assert!(trace.windows(2).all(|pair| pair[0].boot <= pair[1].boot), "boots go back");
}

#[test]
fn a_corrupt_log_is_refused_untouched() {
    let cluster = used();
    let log = contents(&cluster.data(1)).into_iter().find(|(name, _)| name.ends_with(".wal")).unwrap();
    let mut bytes = log.1;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(cluster.data(1).join(&log.0), bytes).unwrap();
    refused(&cluster, cluster.command_with_tls(1), &["corrupt", &log.0, "offset"]);
}

#[test]
fn a_corrupt_snapshot_is_refused_untouched() {
    let cluster = used();
    let snapshot = contents(&cluster.data(1)).into_iter().find(|(name, _)| name.ends_with(".snap")).unwrap();
    let mut bytes = snapshot.1;
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(cluster.data(1).join(&snapshot.0), bytes).unwrap();
    refused(&cluster, cluster.command_with_tls(1), &["corrupt", &snapshot.0, "offset"]);
}

#[test]
fn a_directory_of_anything_else_is_refused_untouched() {
    let cluster = Cluster::new(1, &[]);
    fs::create_dir(cluster.data(1)).unwrap();
    fs::write(cluster.data(1).join("thesis.txt"), "three years of work").unwrap();
    refused(&cluster, cluster.command_with_tls(1), &["not this node's data directory", "thesis.txt"]);
}

#[test]
fn another_nodes_directory_is_refused_untouched() {
    let mut cluster = Cluster::founded(2, &[]);
    cluster.kill(1);
    cluster.kill(2);
    fs::rename(cluster.data(1), cluster.path("swap")).unwrap();
    fs::rename(cluster.data(2), cluster.data(1)).unwrap();
    refused(&cluster, cluster.command_with_tls(1), &["not this node's data directory", "n2"]);
}

#[test]
fn an_empty_directory_is_refused_under_the_identity_of_a_founded_node() {
    let mut cluster = used();
    let mut founded = cluster.command_with_tls(1);
    founded.arg("--founded");
    fs::rename(cluster.data(1), cluster.path("kept")).unwrap();
    fs::create_dir(cluster.data(1)).unwrap();
    refused(&cluster, founded, &["the data directory is empty", "under a new name"]);
    // With its directory back it goes on; and without that word an empty one waits to be founded.
    fs::remove_dir(cluster.data(1)).unwrap();
    fs::rename(cluster.path("kept"), cluster.data(1)).unwrap();
    let mut founded = cluster.command_with_tls(1);
    cluster.start_as(1, founded.arg("--founded"));
    cluster.leader();
}

#[test]
fn a_node_on_another_clusters_directory_takes_no_part_and_harms_nobody() {
    let mut cluster = Cluster::new(3, &[]);
    cluster.start(3);
    let other = json!({"cluster": "other", "voters": ["n3"]});
    assert_eq!(cluster.send(3, "POST", "/v1/init", &other).0, 200);
    cluster.leader_among(&[3]);
    for id in [1, 2] {
        cluster.start(id);
        assert_eq!(cluster.send(id, "POST", "/v1/init", &cluster.founding()).0, 200);
    }
    let leader = cluster.leader_among(&[1, 2]);
    assert_ne!(leader, 3);
    let client = cluster.session(leader);
    cluster.write(leader, client, 1, "k", "v");
    eventually("a stranger's hello refused", SOON, || {
        (cluster.log(leader).contains("refused a peer's connection")
            || cluster.log(3).contains("refused a peer's connection"))
        .then_some(())
    });
    assert_eq!(cluster.status(3)["received"], json!({}), "it hears nobody");
    for id in [1, 2] {
        assert_eq!(cluster.status(id)["received"]["n3"], Value::Null, "and nobody hears it");
    }
    assert_eq!(
        cluster.get(3, "/v1/settings/k").unwrap().1["value"],
        Value::Null,
        "it serves its own cluster alone"
    );
}

#[test]
fn a_directory_in_use_is_refused() {
    let mut cluster = Cluster::founded(1, &[]);
    // Addresses of its own: it must not be refused for another reason.
    let (code, stderr) = ended(without(cluster.command_with_tls(1), &["--listen-peers", "--listen-clients"]));
    assert_eq!(code, 3, "{stderr}");
    let is_refused = |record: &TraceRecord| matches!(record.event, TraceEvent::Refused { .. });
    assert!(!cluster.trace(1).iter().any(is_refused), "the running node's trace is its own");
    assert!(stderr.contains("another process uses this directory"), "{stderr}");
    assert_eq!(cluster.get(1, "/readyz").unwrap().0, 200);
    // The lock dies with its holder, however that dies.
    cluster.kill(1);
    cluster.start(1);
}

/// The command without the first of each of these options; a second one stays.
fn without(command: Command, options: &[&str]) -> Command {
    let mut changed = Command::new(command.get_program());
    let arguments: Vec<_> = command.get_args().collect();
    let mut gone = Vec::new();
    let mut at = 0;
    while at < arguments.len() {
        let name = arguments[at].to_str().unwrap();
        if options.contains(&name) && !gone.contains(&name) {
            gone.push(name);
            at += 2;
        } else {
            changed.arg(arguments[at]);
            at += 1;
        }
    }
    changed
}

#[test]
fn a_node_with_certificates_of_another_authority_takes_no_part() {
    let mut cluster = Cluster::new(3, &[]);
    cluster.write_certificates("foreign");
    let mut stranger = cluster.command(3);
    stranger.arg("--tls-dir").arg(cluster.path("foreign"));
    cluster.start_as(3, &mut stranger);
    cluster.start(1);
    cluster.start(2);
    cluster.found();
    let leader = cluster.leader_among(&[1, 2]);
    assert_ne!(leader, 3);
    let client = cluster.session(leader);
    cluster.write(leader, client, 1, "k", "v");
    eventually("strangers refused on both sides", SOON, || {
        (cluster.log(1).contains("refused a peer's connection")
            && cluster.log(3).contains("refused a peer's connection")
            && cluster.log(3).contains("could not connect"))
        .then_some(())
    });
    let status = cluster.status(3);
    assert_eq!((&status["received"], &status["leader"]), (&json!({}), &Value::Null), "{status}");
    for id in [1, 2] {
        assert_eq!(cluster.status(id)["received"]["n3"], Value::Null);
    }
}

#[test]
fn a_node_with_anothers_certificate_does_not_start() {
    let cluster = Cluster::new(2, &[]);
    fs::copy(cluster.path("tls/n2.pem"), cluster.path("tls/n1.pem")).unwrap();
    let (code, stderr) = ended(cluster.command_with_tls(1));
    assert_eq!(code, 2);
    assert!(stderr.contains("expected a certificate for n1.mcp-manager.internal"), "{stderr}");
    assert!(!cluster.data(1).exists(), "left something behind");
}

#[test]
fn usage_errors_end_with_2_and_a_cure() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let data = data.to_str().unwrap();
    let least = ["serve", "--id", "n1", "--data-dir", data];
    let cases: [(&[&str], &str); 7] = [
        (&["--listen-clients", "0.0.0.0:0"], "--token-file"),
        (&["--peer", "n2=10.0.0.2:7001"], "mcp-manager certs"),
        (&["--peer", "n2"], "NAME=IP:PORT"),
        (
            &["--plant", "stale-raed"],
            if cfg!(feature = "plants") { "stale-read" } else { "--features plants" },
        ),
        (&["--config", "/nowhere.toml"], "/nowhere.toml"),
        (&["--trace", &format!("{data}/trace.jsonl")], "data directory"),
        (&["--log-format", "xml"], "text or json"),
    ];
    for (more, word) in cases {
        let (code, _, stderr) = run(&[&least[..], more].concat());
        assert_eq!(code, 2, "{more:?}: {stderr}");
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
    assert_eq!(run(&["serve", "--no-such-option"]).0, 2);
    assert!(!fs::exists(data).unwrap(), "left something behind");
}

#[test]
fn an_address_in_use_ends_with_1() {
    let cluster = Cluster::founded(1, &[]);
    let mut command = cluster.command_with_tls(1);
    command.arg("--data-dir").arg(cluster.path("another"));
    let (code, stderr) = ended(without(command, &["--data-dir", "--trace"]));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("--listen-peers"), "{stderr}");
}

#[test]
fn a_full_disk_ends_the_node_with_1() {
    let mut cluster = Cluster::new(1, &[]);
    // A limit on the size of files stands for the disk's end; what is written beyond it fails.
    let node = without(cluster.command_with_tls(1), &["--trace"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"]).arg(node.get_program());
    limited.args(node.get_args()).stderr(std::process::Stdio::piped());
    cluster.start_as(1, &mut limited);
    let stderr = cluster.stderr(1);
    cluster.found();
    cluster.leader();
    let client = cluster.session(1);
    let value = "x".repeat(1_000);
    let mut last = 0;
    for sequence in 1..=200 {
        let body = json!({"client": client, "sequence": sequence, "value": value});
        match cluster.try_send(1, "PUT", "/v1/settings/k", Some(&body)) {
            Some((200, _)) => last = sequence,
            Some((504, body)) => assert_eq!(body["effect"], json!("unknown")),
            Some((code, body)) => assert_eq!(body["effect"], json!("none"), "{code} {body}"),
            None => break,
        }
    }
    assert_eq!(cluster.wait(1).code(), Some(1));
    let stderr = std::io::read_to_string(stderr).unwrap();
    assert!(stderr.contains("the log's disk failed"), "{stderr}");
    // On a disk that is well again, all that was acknowledged is there.
    cluster.start(1);
    cluster.leader();
    let (_, read) = cluster.get(1, "/v1/settings/k").unwrap();
    assert!(last > 10 && read["value"] == json!(value), "{last} {read}");
    let body = json!({"client": client, "sequence": last, "value": value});
    assert_eq!(cluster.send(1, "PUT", "/v1/settings/k", &body).0, 200);
}
