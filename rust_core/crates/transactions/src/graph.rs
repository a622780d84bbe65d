//! The dependency graph: who must come before whom in any order that explains the history.
//!
//! For a key whose appends stand in a known order (Adya, §4.4.2; Elle, §4.3):
//! - ww: who appended a value comes before who appended the next one;
//! - wr: who appended the last value that a read saw comes before the reader;
//! - rw: a reader comes before who appended the first value that it did not see.
//!
//! What committed transactions appended and nobody read (`orders.rs`) comes after all that was read: after the last
//! append of the known order, and after all who read it whole. As there may be many of both, these edges go through
//! one node of the key's own, its *rest*. Likewise the order of real time goes through nodes of time, each after
//! those that ended before it and before those that began after it, so that there are not more edges than
//! transactions.
//!
//! **The graph has no cycle if and only if the history is serializable** (strictly, with the edges of real time),
//! given that there is no anomaly without one. Each edge holds in every order that explains the history, so a cycle
//! leaves none. And any order that agrees with the edges explains it: all whose appends a read saw come before it, one
//! after another, and all others after it.

use mcp_chaos_history::History;

use crate::Level;
use crate::meter::{Meter, Stopped};
use crate::orders::{NONE, Orders};

/// What an edge stands for; several together are a set of such.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

impl Kinds {
    pub const WW: Kinds = Kinds(1);
    pub const WR: Kinds = Kinds(2);
    pub const RW: Kinds = Kinds(4);
    /// It ended before the other began.
    pub const REALTIME: Kinds = Kinds(8);
    /// Goes on from a node that is no transaction: part of the edge before it.
    pub const ON: Kinds = Kinds(16);

    pub const fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    pub const fn number(self) -> u8 {
        self.0
    }

    pub fn has(self, kind: Kinds) -> bool {
        self.0 & kind.0 != 0
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Edge {
    pub to: u32,
    /// Of a list; [`NONE`] for real time.
    pub key: u32,
    /// Where in the key's order: of the later append (ww), of the last that was seen (wr), of the first that was not
    /// (rw). From a key's rest to a transaction: the number of its first append.
    pub at: u32,
    pub kind: Kinds,
}

/// Nodes are the transactions, then moments, then rests.
pub(crate) struct Graph {
    pub transactions: u32,
    pub nodes: u32,
    starts: Vec<u32>,
    edges: Vec<Edge>,
}

impl Graph {
    /// Numbers of the edges out of a node.
    pub fn out(&self, node: u32) -> std::ops::Range<u32> {
        self.starts[node as usize]..self.starts[node as usize + 1]
    }

    pub fn edge(&self, number: u32) -> Edge {
        self.edges[number as usize]
    }

    pub fn is_transaction(&self, node: u32) -> bool {
        node < self.transactions
    }

    /// Sorts edges by where they come from, keeping their order.
    fn new(transactions: u32, nodes: u32, list: &[(u32, Edge)]) -> Graph {
        let mut starts = vec![0u32; nodes as usize + 1];
        for (from, _) in list {
            starts[*from as usize + 1] += 1;
        }
        for node in 0..nodes as usize {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut edges = vec![Edge { to: 0, key: NONE, at: NONE, kind: Kinds::ON }; list.len()];
        for (from, edge) in list {
            let place = &mut next[*from as usize];
            edges[*place as usize] = *edge;
            *place += 1;
        }
        Graph { transactions, nodes, starts, edges }
    }
}

pub(crate) fn build(
    history: &History,
    orders: &Orders,
    level: Level,
    meter: &mut Meter,
) -> Result<Graph, Stopped> {
    let transactions = history.operations.len() as u32;
    let mut building = Building { orders, nodes: transactions, edges: Vec::new() };
    if level == Level::StrictSerializable {
        building.add_real_time(history);
        meter.step(u64::from(transactions))?;
    }
    for key in 0..orders.keys.len() as u32 {
        if !orders.keys[key as usize].unjudged {
            building.add_key(key);
            meter.step(1 + orders.of_key(key).len() as u64)?;
        }
    }
    Ok(Graph::new(transactions, building.nodes, &building.edges))
}

struct Building<'a, 'h> {
    orders: &'a Orders<'h>,
    nodes: u32,
    edges: Vec<(u32, Edge)>,
}

impl Building<'_, '_> {
    fn add(&mut self, from: u32, to: u32, kind: Kinds, key: u32, at: u32) {
        if from != to {
            self.edges.push((from, Edge { to, key, at, kind }));
        }
    }

    fn new_node(&mut self) -> u32 {
        self.nodes += 1;
        self.nodes - 1
    }

    fn add_key(&mut self, key: u32) {
        let orders = self.orders;
        let order = &orders.keys[key as usize];
        let length = order.appends.len();
        // Beside each append, the last before and the first from there on whose transaction is known.
        let known: Vec<(u32, u32)> = (0u32..)
            .zip(&order.appends)
            .filter_map(|(at, &append)| Some((at, orders.writer(append)?)))
            .collect();
        for pair in known.windows(2) {
            self.add(pair[0].1, pair[1].1, Kinds::WW, key, pair[1].0);
        }
        let mut from_here = vec![0u32; length + 1];
        for &(at, _) in &known {
            from_here[at as usize + 1] = 1;
        }
        for at in 0..length {
            from_here[at + 1] += from_here[at];
        }
        let accesses = orders.of_key(key);
        let rest = accesses.iter().any(|&access| self.in_rest(access)).then(|| self.new_node());
        for &number in accesses {
            let access = orders.access(number);
            if !access.observes() {
                continue;
            }
            let reader = access.transaction;
            let seen = from_here[access.before as usize] as usize;
            let last = seen.checked_sub(1).and_then(|last| known.get(last));
            if let Some(&(at, writer)) = last {
                self.add(writer, reader, Kinds::WR, key, at);
            }
            match (known.get(seen), rest) {
                // A read from the middle of a transaction is G1b, and needs no cycle of two to say so.
                (Some((_, writer)), _) if last.is_some_and(|(_, last)| last == writer) => {}
                (Some(&(at, writer)), _) => self.add(reader, writer, Kinds::RW, key, at),
                // Two that read all and append an unknown place have lost an update: that is said elsewhere, and
                // here they would come before themselves.
                (None, Some(rest)) if !access.unplaced() => {
                    self.add(reader, rest, Kinds::RW, key, length as u32);
                }
                _ => {}
            }
        }
        let Some(rest) = rest else { return };
        if let Some(&(_, writer)) = known.last() {
            self.add(writer, rest, Kinds::WW, key, length as u32);
        }
        for &number in accesses {
            if self.in_rest(number) {
                let access = orders.access(number);
                self.add(rest, access.transaction, Kinds::ON, key, orders.first_append(access));
            }
        }
    }

    /// Whether it certainly appended to its key, and nobody read it.
    fn in_rest(&self, access: u32) -> bool {
        let access = self.orders.access(access);
        access.unplaced() && self.orders.committed[access.transaction as usize]
    }

    /// A moment before each operation that begins after others have ended.
    fn add_real_time(&mut self, history: &History) {
        let committed = |number: &u32| self.orders.committed[*number as usize];
        // One of unknown outcome may take effect after its end.
        let mut ended: Vec<(u32, u32)> = (0u32..)
            .zip(&history.operations)
            .filter(|(number, operation)| {
                committed(number) && operation.ending == mcp_chaos_history::Ending::Ok
            })
            .map(|(number, operation)| (operation.completed_at, number))
            .collect();
        ended.sort_unstable();
        let mut ended = ended.into_iter().peekable();
        let mut moment = NONE;
        for (number, operation) in (0u32..).zip(&history.operations) {
            if !self.orders.committed[number as usize] {
                continue;
            }
            let mut now = NONE;
            while let Some((_, earlier)) = ended.next_if(|(at, _)| *at < operation.invoked_at) {
                if now == NONE {
                    now = self.new_node();
                }
                self.add(earlier, now, Kinds::REALTIME, NONE, NONE);
            }
            if now != NONE {
                if moment != NONE {
                    self.add(moment, now, Kinds::ON, NONE, NONE);
                }
                moment = now;
            }
            if moment != NONE {
                self.add(moment, number, Kinds::ON, NONE, NONE);
            }
        }
    }
}
