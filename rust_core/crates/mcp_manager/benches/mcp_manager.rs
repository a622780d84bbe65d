//! What the inner loop of a simulation costs: entries applied, snapshots, ticks, commits.

use std::collections::VecDeque;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mcp_chaos_consensus::Recovered;
use mcp_manager::command::{Command, Expected, Operation, Query, Request, ServerSpec, Transport};
use mcp_manager::limits::SessionLimits;
use mcp_manager::{Input, Machine, Node, Options, Output};

/// A machine with `settings` settings and `servers` servers, the id of its one session, and how many
/// entries it has applied.
fn machine(settings: u64, servers: u64) -> (Machine, u64, u64) {
    let mut machine = Machine::found("bench", SessionLimits::default());
    machine.apply(2, 1, &Command::OpenSession { now_ms: 1 }.encode());
    let mut index = 2;
    let writes = (0..settings).map(|n| write(&format!("k{n}"), n));
    let registrations = (0..servers).map(|n| register(&format!("s{n}")));
    for operation in writes.chain(registrations) {
        index += 1;
        machine.apply(index, 1, &operate(index, operation));
    }
    (machine, 2, index)
}

/// The operation of session 2 that stands at `index`, under that number.
fn operate(index: u64, operation: Operation) -> bytes::Bytes {
    Command::Operate { client: 2, sequence: index, now_ms: 1, operation }.encode()
}

fn write(key: &str, value: u64) -> Operation {
    Operation::Write { key: key.into(), value: value.to_string() }
}

fn register(name: &str) -> Operation {
    let endpoint = format!("https://{name}.example/mcp");
    Operation::Register {
        server: ServerSpec { name: name.into(), transport: Transport::StreamableHttp, endpoint },
    }
}

/// Measures the application of one entry after the other; making them is not measured.
fn bench_apply(c: &mut Criterion, id: &str, operation: impl Fn(u64) -> Operation) {
    let (mut machine, _, mut made) = machine(1_000, 100);
    let mut applied = made;
    c.benchmark_group("mcp_manager").bench_function(id, |b| {
        b.iter_batched(
            || {
                made += 1;
                operate(made, operation(made))
            },
            |data| {
                applied += 1;
                machine.apply(applied, 1, &data)
            },
            BatchSize::SmallInput,
        );
    });
}

fn benches_of_the_machine(c: &mut Criterion) {
    bench_apply(c, "apply_write", |n| write(&format!("k{}", n % 1_000), n));
    bench_apply(c, "apply_cas", |n| Operation::CompareAndSet {
        key: format!("k{}", n % 1_000),
        expected: Expected::Value(Some("0".into())),
        value: n.to_string(),
    });
    bench_apply(c, "register", |n| register(&format!("s{}", n % 100)));

    let mut group = c.benchmark_group("mcp_manager");
    let (mut retried, _, last) = machine(1_000, 0);
    let data = operate(last, write("k0", 0));
    group.bench_function("apply_retry", |b| b.iter(|| retried.apply(last + 1, 1, black_box(&data))));

    let (full, ..) = machine(1_000, 100);
    let query = Query::Setting { key: "k500".into() };
    group.bench_function("read", |b| b.iter(|| full.query(black_box(&query))));
    group.bench_function("list", |b| b.iter(|| full.query(black_box(&Query::Servers))));

    let (thousand, ..) = machine(1_000, 0);
    let snapshot = thousand.snapshot();
    group.bench_function("snapshot_1k", |b| b.iter(|| thousand.snapshot()));
    group.bench_function("restore_1k", |b| b.iter(|| Machine::restore(black_box(&snapshot))));

    let mut crowded = Machine::found("bench", SessionLimits { ttl_ms: 10, max_count: 10_000 });
    for index in 2..1_002 {
        crowded.apply(index, 1, &Command::OpenSession { now_ms: 1 }.encode());
    }
    let later = Command::OpenSession { now_ms: 1_000 }.encode();
    group.bench_function("expire_sessions", |b| {
        b.iter_batched_ref(
            || crowded.clone(),
            |machine| machine.apply(2_000, 1, &later),
            BatchSize::LargeInput,
        );
    });
}

/// Three nodes whose messages and disks take no time.
struct Cluster {
    nodes: Vec<Node>,
    inputs: VecDeque<(usize, Input)>,
    out: Vec<Output>,
    replies: u64,
}

impl Cluster {
    fn new() -> Cluster {
        let mut cluster = Cluster { nodes: Vec::new(), inputs: VecDeque::new(), out: Vec::new(), replies: 0 };
        for id in 1..=3 {
            let snapshot = Node::found("bench", id, &[1, 2, 3]).expect("three voters");
            let recovered = Recovered {
                boot: 1,
                cluster: "bench".into(),
                snapshot: Some(snapshot),
                ..Recovered::default()
            };
            let node = Node::new(Options::new(id, 1), recovered, &mut cluster.out).expect("a fresh disk");
            cluster.nodes.push(node);
        }
        cluster
    }

    /// Ticks until a node leads, and gives its place.
    fn elect(&mut self) -> usize {
        loop {
            if let Some(leader) = self.nodes.iter().position(Node::is_leader) {
                return leader;
            }
            for at in 0..self.nodes.len() {
                self.input(at, Input::Tick);
            }
        }
    }

    /// Handles an input and all that follows from it.
    fn input(&mut self, at: usize, input: Input) {
        self.inputs.push_back((at, input));
        while let Some((at, input)) = self.inputs.pop_front() {
            self.nodes[at].handle(1, input, &mut self.out);
            for output in self.out.drain(..) {
                match output {
                    Output::Persist { token, .. } => self.inputs.push_back((at, Input::Persisted { token })),
                    Output::SaveSnapshot(snapshot) => {
                        self.inputs.push_back((at, Input::SnapshotSaved { index: snapshot.meta.index }));
                    }
                    Output::Send(message) => {
                        self.inputs.push_back((message.to as usize - 1, Input::Peer(message)));
                    }
                    Output::Reply { .. } => self.replies += 1,
                    Output::Trace(_) => {}
                    Output::Found { .. } => unreachable!("every node was founded"),
                    Output::Fatal(error) => panic!("{error}"),
                }
            }
        }
    }
}

fn benches_of_the_node(c: &mut Criterion) {
    let mut group = c.benchmark_group("mcp_manager");

    let mut idle = Cluster::new();
    let leader = idle.elect();
    let follower = (leader + 1) % 3;
    let mut ticks = 0u64;
    group.bench_function("node_tick_idle", |b| {
        b.iter(|| {
            // A heartbeat now and then, so that the follower does not campaign; its share is one in 20.
            ticks += 1;
            if ticks.is_multiple_of(20) {
                idle.nodes[follower].handle(
                    1,
                    heartbeat(leader as u64 + 1, follower as u64 + 1),
                    &mut idle.out,
                );
            }
            idle.nodes[follower].handle(1, Input::Tick, &mut idle.out);
            idle.out.clear();
        });
    });

    let mut busy = Cluster::new();
    let leader = busy.elect();
    busy.input(leader, Input::client(0, Request::OpenSession));
    let client = busy.nodes[leader].applied();
    assert_eq!(busy.replies, 1, "the session is open");
    let mut sequence = 0;
    group.bench_function("commit_3_nodes", |b| {
        b.iter(|| {
            sequence += 1;
            let operation = write("k0", sequence);
            let request = Request::Operate { client, sequence, operation };
            busy.input(leader, Input::client(sequence, request));
            assert_eq!(busy.replies, sequence + 1, "every write is answered");
        });
    });
}

/// Of the first leader's term.
fn heartbeat(from: u64, to: u64) -> Input {
    Input::Peer(Box::new(mcp_chaos_consensus::Message {
        kind: mcp_chaos_consensus::MessageKind::Heartbeat,
        from,
        to,
        term: 2,
        log_term: 0,
        index: 0,
        entries: Vec::new(),
        commit: 0,
        commit_term: 0,
        snapshot: None,
        request_snapshot: 0,
        reject: false,
        reject_hint: 0,
        context: bytes::Bytes::new(),
        priority: 0,
    }))
}

criterion_group!(benches, benches_of_the_machine, benches_of_the_node);
criterion_main!(benches);
