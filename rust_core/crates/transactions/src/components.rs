//! Strongly connected components (Tarjan, Depth-first search and linear graph algorithms, 1972), without recursion:
//! a history's graph is deeper than any stack.

use crate::graph::{Graph, Kinds};
use crate::meter::{Meter, Stopped};
use crate::orders::NONE;

/// The components of more than one node: what is on a cycle at all.
pub(crate) struct Components {
    /// The component of each node; [`NONE`] for those on no cycle.
    pub of: Vec<u32>,
    pub members: Vec<Vec<u32>>,
}

/// Of the graph with edges of these kinds only.
pub(crate) fn components(graph: &Graph, kinds: Kinds, meter: &mut Meter) -> Result<Components, Stopped> {
    let nodes = graph.nodes as usize;
    let mut found = Components { of: vec![NONE; nodes], members: Vec::new() };
    // When each node was come to; then, the earliest that is reached from it. `NONE`: not yet.
    let mut index = vec![NONE; nodes];
    let mut low = vec![NONE; nodes];
    let mut done = vec![false; nodes];
    let mut stack: Vec<u32> = Vec::new();
    // Nodes on the way here, and the next edge of each.
    let mut path: Vec<(u32, u32)> = Vec::new();
    let mut count = 0;
    for root in 0..graph.nodes {
        if index[root as usize] != NONE {
            continue;
        }
        path.push((root, graph.out(root).start));
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            let at = node as usize;
            if index[at] == NONE {
                meter.step(1)?;
                index[at] = count;
                low[at] = count;
                count += 1;
                stack.push(node);
            }
            if *next < graph.out(node).end {
                let edge = graph.edge(*next);
                *next += 1;
                if !kinds.has(edge.kind) {
                    continue;
                }
                let to = edge.to as usize;
                if index[to] == NONE {
                    path.push((edge.to, graph.out(edge.to).start));
                } else if !done[to] {
                    low[at] = low[at].min(index[to]);
                }
                continue;
            }
            path.pop();
            if let Some((parent, _)) = path.last() {
                low[*parent as usize] = low[*parent as usize].min(low[at]);
            }
            if low[at] == index[at] {
                close(&mut found, &mut stack, &mut done, node);
            }
        }
    }
    Ok(found)
}

/// Takes a component off the stack, down to its root.
fn close(found: &mut Components, stack: &mut Vec<u32>, done: &mut [bool], root: u32) {
    let start = stack.iter().rposition(|node| *node == root).unwrap_or(0);
    let mut members = stack.split_off(start);
    for member in &members {
        done[*member as usize] = true;
    }
    if members.len() > 1 {
        members.sort_unstable();
        for member in &members {
            found.of[*member as usize] = found.members.len() as u32;
        }
        found.members.push(members);
    }
}
