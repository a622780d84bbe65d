//! Clusters of real processes on loopback, for tests.
//!
//! Each test has addresses of its own in 127.0.0.0/8, made from the process's number: so ports never collide,
//! not even with another test run. Whatever a test starts dies with it, also if it panics.

#![allow(dead_code)] // Each test file uses its own part.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use mcp_chaos_evidence::{TraceEvent, TraceRecord};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The token of all test clusters.
pub const TOKEN: &str = "a-token-for-tests";

/// The binary, ready to be given arguments.
pub fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mcp-manager"))
}

/// Runs the binary to its end: (exit code, stdout, stderr).
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = binary().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Polls until `done` gives something.
pub fn eventually<T>(what: &str, within: Duration, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Long enough for anything here, even on a busy machine.
pub const SOON: Duration = Duration::from_secs(15);

/// A reply of HTTP: status code and JSON (null if it is not JSON).
pub type Reply = (u16, Value);

/// Sends a request with the token. `None`: no reply.
pub fn request(method: &str, url: &str, token: Option<&str>, body: Option<&Value>) -> Option<Reply> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(4)))
        .build();
    let agent = ureq::Agent::new_with_config(config);
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = body.map_or(String::new(), Value::to_string);
    let request =
        agent.configure_request(request.body(body).unwrap()).allow_non_standard_methods(true).build();
    let mut reply = agent.run(request).ok()?;
    let text = reply.body_mut().read_to_string().ok()?;
    Some((reply.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null)))
}

/// The content of every file in a directory, by name.
pub fn contents(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// A cluster of processes. Nodes are numbered from 1.
pub struct Cluster {
    pub directory: TempDir,
    pub size: u64,
    network: [u8; 2],
    test: u8,
    more: Vec<String>,
    processes: Vec<Option<Child>>,
}

impl Cluster {
    /// Certificates and a token; no process yet.
    pub fn new(size: u64, more: &[&str]) -> Cluster {
        static TESTS: AtomicU8 = AtomicU8::new(1);
        let directory = tempfile::tempdir().unwrap();
        let pid = std::process::id();
        let cluster = Cluster {
            size,
            // 127.0.x.x is left to others; the third octet never 0 or 255.
            network: [1 + (pid % 250) as u8, 1 + (pid / 250 % 250) as u8],
            test: TESTS.fetch_add(1, Ordering::Relaxed),
            more: more.iter().map(|&text| text.to_owned()).collect(),
            processes: (0..size).map(|_| None).collect(),
            directory,
        };
        cluster.write_certificates("tls");
        fs::write(cluster.path("token"), TOKEN).unwrap();
        cluster
    }

    /// As [`new`](Self::new), with all nodes started and founded and a leader elected.
    pub fn founded(size: u64, more: &[&str]) -> Cluster {
        let mut cluster = Cluster::new(size, more);
        for id in 1..=size {
            cluster.start(id);
        }
        cluster.found();
        cluster.leader();
        cluster
    }

    pub fn write_certificates(&self, name: &str) {
        let out = self.path(name);
        let (code, _, stderr) =
            run(&["certs", "--out", out.to_str().unwrap(), "--nodes", &self.size.to_string()]);
        assert_eq!(code, 0, "{stderr}");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn data(&self, id: u64) -> PathBuf {
        self.path(&format!("n{id}.data"))
    }

    /// Where node `id` takes part in this test: one address for each test, ports by node.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, self.network[0], self.network[1], self.test)
    }

    pub fn peer_address(&self, id: u64) -> String {
        format!("{}:{}", self.address(), 7000 + id)
    }

    /// The command that starts a node, but for --tls-dir.
    pub fn command(&self, id: u64) -> Command {
        let mut command = self.command_without_peers(id);
        for peer in 1..=self.size {
            command.arg("--peer").arg(format!("n{peer}={}", self.peer_address(peer)));
        }
        command
    }

    /// The whole command.
    pub fn command_with_tls(&self, id: u64) -> Command {
        let mut command = self.command(id);
        command.arg("--tls-dir").arg(self.path("tls"));
        command
    }

    pub fn command_without_peers(&self, id: u64) -> Command {
        let mut command = binary();
        command.arg("serve").args(["--id", &format!("n{id}")]);
        command.arg("--data-dir").arg(self.data(id));
        command.args(["--listen-peers", &self.peer_address(id)]);
        command.args(["--listen-clients", &format!("{}:{}", self.address(), 8000 + id)]);
        command.arg("--token-file").arg(self.path("token"));
        command.arg("--trace").arg(self.path(&format!("n{id}.jsonl")));
        // Twice the usual speed.
        command.args(["--seed", "7", "--tick-ms", "10", "--log", "debug"]).args(&self.more);
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.path(&format!("n{id}.log"))).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    pub fn start(&mut self, id: u64) {
        let mut command = self.command_with_tls(id);
        self.start_as(id, &mut command);
    }

    /// Starts a node by this command and waits until it answers.
    pub fn start_as(&mut self, id: u64, command: &mut Command) {
        self.spawn(id, command);
        eventually("the node answers", SOON, || self.get(id, "/healthz"));
    }

    /// Starts a node by this command.
    pub fn spawn(&mut self, id: u64, command: &mut Command) {
        let child = command.spawn().unwrap();
        assert!(self.processes[id as usize - 1].replace(child).is_none(), "n{id} runs already");
    }

    fn process(&mut self, id: u64) -> &mut Child {
        self.processes[id as usize - 1].as_mut().expect("the node runs")
    }

    /// What the node says on stderr, if its command pipes it.
    pub fn stderr(&mut self, id: u64) -> std::process::ChildStderr {
        self.process(id).stderr.take().expect("piped")
    }

    pub fn signal(&mut self, id: u64, signal: Signal) {
        let pid = Pid::from_child(self.process(id));
        kill_process(pid, signal).unwrap();
    }

    /// kill -9, and waits until the process is gone.
    pub fn kill(&mut self, id: u64) {
        self.process(id).kill().unwrap();
        self.wait(id);
    }

    pub fn wait(&mut self, id: u64) -> ExitStatus {
        let status = eventually("the process ends", SOON, || self.process(id).try_wait().unwrap());
        self.processes[id as usize - 1] = None;
        status
    }

    pub fn url(&self, id: u64, path: &str) -> String {
        format!("http://{}:{}{path}", self.address(), 8000 + id)
    }

    pub fn try_send(&self, id: u64, method: &str, path: &str, body: Option<&Value>) -> Option<Reply> {
        request(method, &self.url(id, path), Some(TOKEN), body)
    }

    pub fn send(&self, id: u64, method: &str, path: &str, body: &Value) -> Reply {
        self.try_send(id, method, path, Some(body)).expect("a reply")
    }

    pub fn get(&self, id: u64, path: &str) -> Option<Reply> {
        self.try_send(id, "GET", path, None)
    }

    pub fn status(&self, id: u64) -> Value {
        self.get(id, "/v1/status").expect("a reply").1
    }

    pub fn founding(&self) -> Value {
        json!({"cluster": "test", "voters": (1..=self.size).map(|id| format!("n{id}")).collect::<Vec<_>>()})
    }

    pub fn found(&self) {
        for id in 1..=self.size {
            let (code, body) = self.send(id, "POST", "/v1/init", &self.founding());
            assert_eq!(code, 200, "{body}");
        }
    }

    fn running(&self) -> impl Iterator<Item = u64> + '_ {
        (1..=self.size).filter(|id| self.processes[*id as usize - 1].is_some())
    }

    /// Waits for a leader that all of `among` agree on, and that leads.
    pub fn leader_among(&self, among: &[u64]) -> u64 {
        eventually("one leader, known to all", SOON, || {
            let statuses: Vec<Value> =
                among.iter().map(|id| Some(self.get(*id, "/v1/status")?.1)).collect::<Option<_>>()?;
            let leader = statuses[0]["leader"].as_str()?;
            let id: u64 = leader[1..].parse().ok()?;
            let leads = |status: &Value| status["node"] == leader && status["role"] == "leader";
            let agreed = statuses
                .iter()
                .all(|status| status["leader"] == leader && status["term"] == statuses[0]["term"]);
            (agreed && statuses.iter().any(leads)).then_some(id)
        })
    }

    pub fn leader(&self) -> u64 {
        let running: Vec<u64> = self.running().collect();
        self.leader_among(&running)
    }

    /// Opens a session and gives its number.
    pub fn session(&self, id: u64) -> u64 {
        let (code, body) = self.send(id, "POST", "/v1/sessions", &json!({}));
        assert_eq!(code, 200, "{body}");
        body["client"].as_u64().unwrap()
    }

    /// Writes and gives the log index.
    pub fn write(&self, id: u64, client: u64, sequence: u64, key: &str, value: &str) -> u64 {
        let body = json!({"client": client, "sequence": sequence, "value": value});
        let (code, body) = self.send(id, "PUT", &format!("/v1/settings/{key}"), &body);
        assert_eq!(code, 200, "{body}");
        body["log_index"].as_u64().unwrap()
    }

    /// Waits until all running nodes have applied the same and hold the same state.
    pub fn converge(&self) {
        eventually("equal states", SOON, || {
            let states: Vec<_> = self
                .running()
                .map(|id| {
                    self.get(id, "/v1/status")
                        .map(|(_, status)| (status["applied"].clone(), status["state"].clone()))
                })
                .collect::<Option<_>>()?;
            states.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
        });
    }

    /// The node's trace so far.
    pub fn trace(&self, id: u64) -> Vec<TraceRecord> {
        let text = fs::read_to_string(self.path(&format!("n{id}.jsonl"))).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// The node's last record.
    pub fn last_event(&self, id: u64) -> TraceEvent {
        self.trace(id).pop().expect("a record").event
    }

    pub fn log(&self, id: u64) -> String {
        fs::read_to_string(self.path(&format!("n{id}.log"))).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.processes.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for id in 1..=self.size {
                let log = self.log(id);
                let tail: Vec<&str> = log.lines().rev().take(25).collect();
                eprintln!("--- the end of n{id}'s log");
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}
