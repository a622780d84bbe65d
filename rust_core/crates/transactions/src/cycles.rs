//! Finds, for each kind of cycle that the graph has, the shortest (after Elle, §5.1: components first, then a search
//! in breadth within each).

use std::collections::{BTreeMap, VecDeque};

use crate::Level;
use crate::anomalies::Kind;
use crate::components::{Components, components};
use crate::graph::{Edge, Graph, Kinds};
use crate::meter::{Meter, Stopped};
use crate::orders::NONE;

/// Edges that the searches for short cycles may look at, all together. In small components this is never reached; in
/// one of a hundred thousand transactions the shortest cycle that was found by then counts.
const FUEL: u64 = 16_000_000;

/// Of that, for one kind in one component.
const FUEL_FOR_A_COMPONENT: u64 = 2_000_000;

/// A cycle of transactions.
pub(crate) struct Cycle {
    pub kind: Kind,
    /// How many components of the graph have such a cycle.
    pub count: u64,
    pub links: Vec<Link>,
}

/// One transaction before another.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    pub from: u32,
    pub to: u32,
    pub kind: Kinds,
    pub key: u32,
    /// As in [`crate::graph::Edge`].
    pub at: u32,
    /// Where the edge goes through a key's rest: the append that nobody read.
    pub unread: u32,
}

/// The shortest cycle of each kind. None at all if and only if the graph has no cycle.
pub(crate) fn search(graph: &Graph, level: Level, meter: &mut Meter) -> Result<Vec<Cycle>, Stopped> {
    let also = match level {
        Level::Serializable => Kinds::ON,
        Level::StrictSerializable => Kinds::ON.and(Kinds::REALTIME),
    };
    let all = components(graph, DEPENDENCIES.and(also), meter)?;
    let Some(smallest) = all.members.iter().min_by_key(|members| members.len()) else {
        return Ok(Vec::new());
    };
    let mut search = Search::new(graph);
    // From here on the answer is known; who stops the search gets what was found by then, one cycle at least.
    let stopped = search.kinds(Kinds::ON, None, meter).and_then(|worse| match level {
        Level::Serializable => Ok(()),
        Level::StrictSerializable => search.kinds(also, Some(&worse), meter).map(|_| ()),
    });
    if stopped.is_err() && search.cycles.is_empty() {
        search.fuel = 0;
        search.component(&all, smallest, DEPENDENCIES, DEPENDENCIES.and(also), true);
    }
    Ok(search.cycles.into_values().collect())
}

const INFORMATION: Kinds = Kinds::WW.and(Kinds::WR);
const DEPENDENCIES: Kinds = INFORMATION.and(Kinds::RW);

struct Search<'a> {
    graph: &'a Graph,
    cycles: BTreeMap<Kind, Cycle>,
    fuel: u64,
    /// The number of the search in breadth, and what it knows of the nodes that it has seen: how far they are, and
    /// the node and the edge that led there.
    round: u32,
    seen: Vec<u32>,
    distance: Vec<u32>,
    by: Vec<(u32, u32)>,
}

impl<'a> Search<'a> {
    fn new(graph: &'a Graph) -> Search<'a> {
        let nodes = graph.nodes as usize;
        Search {
            graph,
            cycles: BTreeMap::new(),
            fuel: FUEL,
            round: 0,
            seen: vec![0; nodes],
            distance: vec![0; nodes],
            by: vec![(NONE, NONE); nodes],
        }
    }

    /// Looks for each kind of cycle, with `also` besides dependencies, where no `worse` component is. Returns the
    /// components of all these edges.
    fn kinds(
        &mut self,
        also: Kinds,
        worse: Option<&Components>,
        meter: &mut Meter,
    ) -> Result<Components, Stopped> {
        for (start, path) in [(Kinds::WW, Kinds::WW), (Kinds::WR, INFORMATION)] {
            let path = path.and(also);
            let found = components(self.graph, path, meter)?;
            for members in fresh(&found, worse) {
                meter.step(members.len() as u64)?;
                self.component(&found, members, start, path, true);
            }
        }
        let all = DEPENDENCIES.and(also);
        let found = components(self.graph, all, meter)?;
        for members in fresh(&found, worse) {
            meter.step(members.len() as u64)?;
            if !self.component(&found, members, Kinds::RW, INFORMATION.and(also), false) {
                self.component(&found, members, Kinds::RW, all, true);
            }
        }
        Ok(found)
    }

    /// The shortest cycle within a component that begins with an edge of one of the kinds `start` and goes on by
    /// those of `path`. One of them is found whatever it costs if the caller is `sure` that every such edge is on one.
    fn component(
        &mut self,
        within: &Components,
        members: &[u32],
        start: Kinds,
        path: Kinds,
        sure: bool,
    ) -> bool {
        let mut fuel = FUEL_FOR_A_COMPONENT.min(self.fuel);
        let given = fuel;
        let mut best: Option<Vec<(u32, u32)>> = None;
        let mut length = u32::MAX;
        'edges: for &from in members {
            for number in self.graph.out(from) {
                let edge = self.graph.edge(number);
                if !start.has(edge.kind) || within.of[edge.to as usize] != within.of[from as usize] {
                    continue;
                }
                if length == 2 || fuel == 0 && (best.is_some() || !sure) {
                    break 'edges;
                }
                let mut enough = if sure && best.is_none() { u64::MAX } else { fuel };
                let before = enough;
                let found = self.shortest_path(within, edge.to, from, path, length - 1, &mut enough);
                fuel = fuel.saturating_sub(before - enough);
                if let Some(distance) = found {
                    length = distance + 1;
                    let mut edges = self.way_back(edge.to, from);
                    edges.push((from, number));
                    edges.rotate_right(1);
                    best = Some(edges);
                }
            }
        }
        self.fuel -= given - fuel;
        let Some(best) = best else { return false };
        let links = self.links(&best);
        let kind = kind(&links);
        match self.cycles.get_mut(&kind) {
            Some(cycle) => {
                cycle.count += 1;
                if links.len() < cycle.links.len() {
                    cycle.links = links;
                }
            }
            None => {
                self.cycles.insert(kind, Cycle { kind, count: 1, links });
            }
        }
        true
    }

    /// The length of the shortest path, if it is below `limit`. An edge that only goes on has no length.
    fn shortest_path(
        &mut self,
        within: &Components,
        from: u32,
        to: u32,
        kinds: Kinds,
        limit: u32,
        fuel: &mut u64,
    ) -> Option<u32> {
        self.round += 1;
        self.seen[from as usize] = self.round;
        self.distance[from as usize] = 0;
        let mut queue = VecDeque::from([(from, 0)]);
        while let Some((node, distance)) = queue.pop_front() {
            if node == to {
                return Some(distance);
            }
            if distance > self.distance[node as usize] {
                continue; // A shorter way was found since.
            }
            let out = self.graph.out(node);
            *fuel = fuel.checked_sub(u64::from(out.end - out.start) + 1)?;
            for number in out {
                let edge = self.graph.edge(number);
                let next = edge.to as usize;
                if !kinds.has(edge.kind) || within.of[next] != within.of[to as usize] {
                    continue;
                }
                let step = u32::from(edge.kind != Kinds::ON);
                let there = distance + step;
                if there >= limit || self.seen[next] == self.round && self.distance[next] <= there {
                    continue;
                }
                self.seen[next] = self.round;
                self.distance[next] = there;
                self.by[next] = (node, number);
                if step == 0 {
                    queue.push_front((edge.to, there));
                } else {
                    queue.push_back((edge.to, there));
                }
            }
        }
        None
    }

    /// The edges of the path that was just found, each with the node it leaves.
    fn way_back(&self, from: u32, to: u32) -> Vec<(u32, u32)> {
        let mut edges = Vec::new();
        let mut node = to;
        while node != from {
            let by = self.by[node as usize];
            edges.push(by);
            node = by.0;
        }
        edges.reverse();
        edges
    }

    /// Joins edges through nodes that are no transactions.
    fn links(&self, edges: &[(u32, u32)]) -> Vec<Link> {
        let mut links: Vec<Link> = Vec::new();
        for &(from, number) in edges {
            let edge = self.graph.edge(number);
            if edge.kind != Kinds::ON {
                let Edge { to, key, at, kind } = edge;
                links.push(Link { from, to, kind, key, at, unread: NONE });
            } else if let Some(link) = links.last_mut() {
                link.to = edge.to;
                link.unread = edge.at;
            }
        }
        links
    }
}

/// Components that have nothing of a worse one.
fn fresh<'c>(
    found: &'c Components,
    worse: Option<&'c Components>,
) -> impl Iterator<Item = &'c Vec<u32>> + 'c {
    found.members.iter().filter(move |members| {
        worse.is_none_or(|worse| members.iter().all(|node| worse.of[*node as usize] == NONE))
    })
}

fn kind(links: &[Link]) -> Kind {
    let count = |kind| links.iter().filter(|link| link.kind == kind).count();
    let realtime = count(Kinds::REALTIME) > 0;
    match (count(Kinds::RW), count(Kinds::WR), realtime) {
        (0, 0, false) => Kind::G0,
        (0, _, false) => Kind::G1c,
        (1, _, false) => Kind::GSingle,
        (_, _, false) => Kind::G2,
        (0, 0, true) => Kind::G0Realtime,
        (0, _, true) => Kind::G1cRealtime,
        (1, _, true) => Kind::GSingleRealtime,
        (_, _, true) => Kind::G2Realtime,
    }
}
