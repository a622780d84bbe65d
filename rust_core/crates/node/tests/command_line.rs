//! The subcommands, the configuration file, the ports file, the features of the build.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{Cluster, TOKEN, binary, request, run};
use serde_json::{Value, json};

#[test]
fn the_version_says_which_build_this_is() {
    let (code, stdout, _) = run(&["version"]);
    assert_eq!(code, 0);
    let features = match (cfg!(feature = "faults"), cfg!(feature = "plants")) {
        (true, true) => "faults, plants",
        (true, false) => "faults",
        (false, true) => "plants",
        (false, false) => "release",
    };
    assert_eq!(stdout, format!("mcp-manager {} ({features})\n", env!("CARGO_PKG_VERSION")));
    let (_, stdout, _) = run(&["version", "--json"]);
    let version: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(version["features"].as_array().unwrap().contains(&json!("plants")), cfg!(feature = "plants"));
}

#[test]
fn the_planted_bugs_are_listed() {
    let (code, stdout, _) = run(&["plants", "--json"]);
    assert_eq!(code, 0);
    let listed: Value = serde_json::from_str(&stdout).unwrap();
    let names: Vec<&str> =
        listed["plants"].as_array().unwrap().iter().map(|plant| plant["name"].as_str().unwrap()).collect();
    for known in ["ack-before-commit", "stale-read", "vote-not-durable"] {
        assert_eq!(names.contains(&known), cfg!(feature = "plants"), "{known} in {names:?}");
    }
    assert_eq!(names.is_empty(), !cfg!(feature = "plants"), "a released node carries none");
    assert_eq!(run(&["plants"]).1.contains("stale-read"), cfg!(feature = "plants"));
}

#[cfg(feature = "plants")]
#[test]
fn a_planted_bug_shows_in_the_status() {
    let cluster = Cluster::founded(1, &["--plant", "stale-read"]);
    let status = cluster.status(1);
    assert_eq!(status["plants"], json!(["stale-read"]));
    assert!(cluster.log(1).contains("planted bugs"));
}

#[test]
fn the_status_says_all_that_it_should() {
    let cluster = Cluster::founded(1, &[]);
    let status = cluster.status(1);
    for field in [
        "node",
        "boot",
        "cluster",
        "role",
        "term",
        "vote",
        "leader",
        "commit",
        "applied",
        "first_index",
        "last_index",
        "persisted",
        "state",
        "received",
        "version",
        "features",
        "plants",
    ] {
        assert!(status.get(field).is_some(), "{field} is missing: {status}");
    }
    assert_eq!((&status["cluster"], &status["role"]), (&json!("test"), &json!("leader")));
}

#[test]
fn certificates_are_written_once_and_keys_are_private() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("tls");
    let arguments = ["certs", "--out", out.to_str().unwrap(), "--nodes", "2"];
    assert_eq!(run(&arguments).0, 0);
    let names: Vec<String> = common::contents(&out).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["ca.pem", "n1.key", "n1.pem", "n2.key", "n2.pem"]);
    let mode = fs::metadata(out.join("n1.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, _, stderr) = run(&arguments);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("holds certificates already"), "{stderr}");
}

#[test]
fn a_configuration_file_and_free_ports() {
    let mut cluster = Cluster::new(1, &[]);
    let ports = cluster.path("ports.json");
    let config = cluster.path("node.toml");
    let text = format!(
        "id = \"n1\"\ndata-dir = {:?}\nlisten-peers = \"127.0.0.1:0\"\nlisten-clients = \"127.0.0.1:0\"\n\
         token-file = {:?}\nports-file = {:?}\nlog-format = \"json\"\n",
        cluster.data(1),
        cluster.path("token"),
        ports
    );
    fs::write(&config, text).unwrap();
    let mut command = binary();
    command.args(["serve", "--config"]).arg(&config);
    command.stderr(fs::File::create(cluster.path("n1.log")).unwrap());
    cluster.spawn(1, &mut command);
    let bound: Value = common::eventually("the ports file", common::SOON, || {
        serde_json::from_str(&fs::read_to_string(&ports).ok()?).ok()
    });
    let url = |path| format!("http://{}{path}", bound["clients"].as_str().unwrap());
    let founding = json!({"cluster": "c", "voters": ["n1"]});
    assert_eq!(request("POST", &url("/v1/init"), Some(TOKEN), Some(&founding)).unwrap().0, 200);
    let log = cluster.log(1);
    let line: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(line["fields"]["node"], json!("n1"), "{line}");
}

#[test]
fn metrics_are_there_for_prometheus() {
    let cluster = Cluster::founded(1, &[]);
    let mut reply = ureq::get(cluster.url(1, "/metrics"))
        .header("authorization", format!("Bearer {TOKEN}"))
        .call()
        .unwrap();
    assert!(reply.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let text = reply.body_mut().read_to_string().unwrap();
    assert!(text.contains("\nmcp_manager_role{role=\"leader\"} 1\n"), "{text}");
}
