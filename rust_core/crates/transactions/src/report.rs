//! What a check answers: the verdict, what is wrong by name, and the shortest cycles in plain words.

use std::collections::{BTreeMap, VecDeque};

use mcp_chaos_history::{Ending, History, NEVER, Value};
use mcp_chaos_linearizability::{Stop, Verdict};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::Level;
use crate::anomalies::{Anomalies, Kind, Seen};
use crate::cycles::{Cycle, Link};
use crate::graph::{Graph, Kinds};
use crate::input::Input;
use crate::meter::Stopped;
use crate::orders::{NONE, Orders, name, show};

/// The most transactions that a report shows around its cycles.
const SHOWN: usize = 64;

/// What a check answers.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether the history keeps the level.
    pub verdict: Verdict,
    /// What was asked.
    pub level: Level,
    /// How many transactions there are.
    pub transactions: usize,
    /// The verdict in one sentence.
    pub reason: String,
    /// What is wrong, the worst first.
    pub anomalies: Vec<Anomaly>,
    /// The dependency graph around what `anomalies` name.
    pub graph: Surroundings,
}

/// One kind of thing that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Anomaly {
    /// As the literature calls it: `G1a`, `G-single`, …
    pub name: &'static str,
    /// How many there are; of cycles, how many components of the graph have one.
    pub count: u64,
    /// The first of them in plain words; of cycles, the shortest.
    pub says: String,
    /// The transactions it is about, by their numbers in the history.
    pub transactions: Vec<u32>,
    /// The cycle, if it is one: the last step leads to where the first begins.
    pub cycle: Vec<Step>,
}

/// Why one transaction comes before another.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The earlier transaction.
    pub from: u32,
    /// The later one.
    pub to: u32,
    /// `ww`, `wr`, `rw` or `realtime`.
    pub kind: &'static str,
    /// The list; null for real time.
    pub key: Json,
    /// What proves it. `ww`: the two values; `wr`: the value, and the list that was read; `rw`: the list, and the value
    /// that it lacks; `realtime`: the positions of the two events.
    pub values: Vec<Json>,
    /// The same in plain words.
    pub says: String,
}

/// A part of the dependency graph.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Surroundings {
    /// At most 64 transactions, those of cycles first.
    pub nodes: Vec<Node>,
    /// Edges between them; those of real time only where they are part of a cycle.
    pub edges: Vec<Step>,
}

/// One transaction.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// Its number among the history's operations; sentences call it `T` and this number.
    pub transaction: u32,
    /// Who did it.
    pub process: String,
    /// `ok`, `fail` or `unknown`.
    pub outcome: &'static str,
    /// The positions of its events in the history.
    pub invoked_at: u32,
    /// Absent if it never ended.
    pub completed_at: Option<u32>,
    /// Its micro-operations, with what was read.
    pub micro_operations: Json,
    /// Whether an anomaly names it.
    pub named: bool,
}

impl Report {
    /// As JSON.
    pub fn to_json(&self) -> Json {
        json!(self)
    }

    pub(crate) fn stopped(history: &History, level: Level, stopped: Stopped) -> Report {
        Report {
            verdict: Verdict::Unknown,
            level,
            transactions: history.operations.len(),
            reason: match stopped {
                Stopped::Memory(bytes) => {
                    format!(
                        "judging this history takes {} MB: more than the limit of memory",
                        bytes.div_ceil(1 << 20)
                    )
                }
                Stopped::Steps => "the limit of steps was reached before the whole history was judged".into(),
                Stopped::Watch(Stop::Time) => "time was up before the whole history was judged".into(),
                Stopped::Watch(Stop::Cancelled) => "the check was cancelled".into(),
            },
            anomalies: Vec::new(),
            graph: Surroundings::default(),
        }
    }

    pub(crate) fn new(
        input: &Input,
        level: Level,
        anomalies: Anomalies,
        judged: Result<(Orders, Graph, Vec<Cycle>), Stopped>,
    ) -> Report {
        let mut found: BTreeMap<Kind, Anomaly> = BTreeMap::new();
        for (kind, Seen { count, says, transactions }) in anomalies.seen {
            found.insert(kind, Anomaly { name: kind.name(), count, says, transactions, cycle: Vec::new() });
        }
        let mut report = match &judged {
            Err(stopped) => Report::stopped(input.history, level, *stopped),
            Ok((orders, _, cycles)) => {
                let words = Words { input, orders };
                for cycle in cycles {
                    found.insert(cycle.kind, words.anomaly(cycle));
                }
                Report::judged(input, level, anomalies.unjudged)
            }
        };
        report.anomalies = found.into_values().collect();
        if let Some(first) = report.anomalies.first() {
            report.verdict = Verdict::Invalid;
            report.reason = format!("not {}: {}: {}", level.name(), first.name, first.says);
        }
        report.graph = match &judged {
            Ok((orders, graph, _)) => Words { input, orders }.surroundings(graph, &report.anomalies),
            Err(_) => Surroundings::default(),
        };
        report
    }

    /// What is to be said if there is no anomaly.
    fn judged(input: &Input, level: Level, unjudged: Option<(String, u64)>) -> Report {
        let (verdict, reason) = match unjudged {
            None => (Verdict::Valid, format!("{}: some order of the transactions explains it", level.name())),
            Some((first, count)) => {
                let others = match count {
                    1 => String::new(),
                    _ => format!(" (and so for {} more keys)", count - 1),
                };
                (Verdict::Unknown, format!("{first}{others}; nothing else is wrong"))
            }
        };
        Report {
            verdict,
            level,
            transactions: input.transactions.len(),
            reason,
            anomalies: Vec::new(),
            graph: Surroundings::default(),
        }
    }
}

/// Puts edges into words.
struct Words<'a, 'h> {
    input: &'a Input<'h>,
    orders: &'a Orders<'h>,
}

impl Words<'_, '_> {
    fn anomaly(&self, cycle: &Cycle) -> Anomaly {
        let steps: Vec<Step> = cycle.links.iter().map(|link| self.step(link)).collect();
        let mut says: Vec<&str> = steps.iter().take(8).map(|step| step.says.as_str()).collect();
        let more = format!("and {} steps more", steps.len().saturating_sub(8));
        if steps.len() > 8 {
            says.push(&more);
        }
        Anomaly {
            name: cycle.kind.name(),
            count: cycle.count,
            says: says.join("; "),
            transactions: cycle.links.iter().map(|link| link.from).collect(),
            cycle: steps,
        }
    }

    /// What a transaction's appends to a key followed, as it read it.
    fn list(&self, transaction: u32, key: u32) -> &[Value] {
        let of_key = self.orders.of_key(key);
        let found = of_key
            .binary_search_by_key(&transaction, |&access| self.orders.access(access).transaction)
            .map_or(0, |at| self.orders.access(of_key[at]).before);
        &self.orders.keys[key as usize].list[..found as usize]
    }

    fn step(&self, link: &Link) -> Step {
        let Link { from, to, key, at, .. } = *link;
        if link.kind == Kinds::REALTIME {
            let ended = self.input.history.operations[from as usize].completed_at;
            let began = self.input.history.operations[to as usize].invoked_at;
            return Step {
                from,
                to,
                kind: "realtime",
                key: Json::Null,
                values: vec![json!(ended), json!(began)],
                says: format!("T{from} had ended (event {ended}) before T{to} began (event {began})"),
            };
        }
        let order = &self.orders.keys[key as usize];
        let shown = name(self.input.keys[key as usize]);
        let value_at = |at: u32| match order.appends[at as usize] {
            NONE => &order.list[at as usize],
            append => self.orders.append(append).value,
        };
        let unread = (link.unread != NONE).then(|| self.orders.append(link.unread).value);
        let later = unread.unwrap_or_else(|| value_at(at));
        let how = if unread.is_some() { ", which nobody read" } else { "" };
        let (kind, values, says) = if link.kind == Kinds::WW {
            let earlier = (0..at)
                .rev()
                .find(|&at| self.orders.writer(order.appends[at as usize]) == Some(from))
                .map_or(&Value::Null, value_at);
            let says = format!("T{from} appended {earlier} to {shown} before T{to} appended {later}{how}");
            ("ww", vec![Json::from(earlier), Json::from(later)], says)
        } else {
            let reader = if link.kind == Kinds::WR { to } else { from };
            let list = self.list(reader, key);
            let read = Json::Array(list.iter().map(Json::from).collect());
            let list = show(list);
            if link.kind == Kinds::WR {
                let value = value_at(at);
                let says = format!("T{from} appended {value} to {shown}, and T{to} read {shown} = {list}");
                ("wr", vec![Json::from(value), read], says)
            } else {
                let says =
                    format!("T{from} read {shown} = {list}, so it came before T{to} appended {later}{how}");
                ("rw", vec![read, Json::from(later)], says)
            }
        };
        Step { from, to, kind, key: Json::from(self.input.keys[key as usize]), values, says }
    }

    /// The transactions that anomalies name, then those that depend on them, and so on.
    fn surroundings(&self, graph: &Graph, anomalies: &[Anomaly]) -> Surroundings {
        let mut shown: BTreeMap<u32, bool> = BTreeMap::new();
        let mut queue = VecDeque::new();
        for transaction in anomalies.iter().flat_map(|anomaly| &anomaly.transactions) {
            if shown.len() < SHOWN && shown.insert(*transaction, true).is_none() {
                queue.push_back(*transaction);
            }
        }
        while let Some(transaction) = queue.pop_front() {
            for link in self.links(graph, transaction) {
                if shown.len() < SHOWN && !shown.contains_key(&link.to) {
                    shown.insert(link.to, false);
                    queue.push_back(link.to);
                }
            }
        }
        let mut edges: BTreeMap<(u32, u32, u8, u32), Step> = BTreeMap::new();
        for &transaction in shown.keys() {
            for link in self.links(graph, transaction).filter(|link| shown.contains_key(&link.to)) {
                let step = self.step(&link);
                edges.entry((link.from, link.to, link.kind.number(), link.key)).or_insert(step);
            }
        }
        let in_time = anomalies.iter().flat_map(|anomaly| &anomaly.cycle).filter(|step| step.key.is_null());
        for step in in_time.filter(|step| step.kind == "realtime") {
            edges.entry((step.from, step.to, Kinds::REALTIME.number(), NONE)).or_insert_with(|| step.clone());
        }
        Surroundings {
            nodes: shown.into_iter().map(|(transaction, named)| self.node(transaction, named)).collect(),
            edges: edges.into_values().collect(),
        }
    }

    /// Dependencies out of a transaction, through rests: not more of these than a report may show.
    fn links<'g>(&self, graph: &'g Graph, from: u32) -> impl Iterator<Item = Link> + use<'g> {
        let direct = graph.out(from).map(|number| graph.edge(number));
        direct.filter(|edge| edge.kind != Kinds::REALTIME).flat_map(move |edge| {
            let link = Link { from, to: edge.to, kind: edge.kind, key: edge.key, at: edge.at, unread: NONE };
            let through = if graph.is_transaction(edge.to) { 0..0 } else { graph.out(edge.to) };
            let direct = graph.is_transaction(edge.to).then_some(link);
            direct.into_iter().chain(through.take(SHOWN).map(move |number| {
                let on = graph.edge(number);
                Link { to: on.to, unread: on.at, ..link }
            }))
        })
    }

    fn node(&self, transaction: u32, named: bool) -> Node {
        let history = self.input.history;
        let operation = &history.operations[transaction as usize];
        Node {
            transaction,
            process: history.processes.get(operation.process).to_owned(),
            outcome: match operation.ending {
                Ending::Ok => "ok",
                Ending::Fail => "fail",
                Ending::Unknown => "unknown",
            },
            invoked_at: operation.invoked_at,
            completed_at: (operation.completed_at != NEVER).then_some(operation.completed_at),
            micro_operations: Json::from(history.values.get(match operation.ending {
                Ending::Ok => operation.result,
                _ => operation.argument,
            })),
            named,
        }
    }
}
