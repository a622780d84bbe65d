//! Which abstract states a run went through: what a search that looks for new behaviour counts. (The idea is
//! that of a coverage map, as in Zalewski's American Fuzzy Lop, over the protocol's state in place of the
//! program's branches.)
//!
//! A state is the cluster as seen after one record of the merged trace and nemesis log. It leaves out who is
//! who (nodes are sorted), absolute terms and indexes (only distances to the greatest, in buckets) and time.
//! What it holds of each node:
//!
//! - running, down or paused; how many of its links are cut, in either direction; which classes of other faults
//!   are in force on it or its links ([`faults`]);
//! - its role, and how far its term lies behind the greatest;
//! - how far its log lies behind the longest, and whether its commit index lies far behind the greatest;
//! - its uncommitted tail: of a follower, how much of its log nobody knows as committed; of others, how much they
//!   do not know as committed themselves;
//! - the configuration: what the newest one that anybody follows makes of it (a voter, one that is on its way out
//!   of a joint one, a learner, none of these), and whether it follows that one itself;
//! - whether it lives off a snapshot of the leader's, and whether it may be waiting for one: its log ends before
//!   the newest snapshot of the one that leads;
//! - for the node to which the record belongs: what happened, if it was more than an entry on its way.

use mcp_chaos_evidence::{
    Kind as Outcome, NemesisRecord, NodeId, Phase, Role, Status, TraceEvent, TraceRecord, checksum,
};

use mcp_chaos_history::Set;

mod faults;

use faults::{Faults, Hit, SUFFERINGS, taken_down};

use crate::Evidence;

/// For so long after a start or a change of role a node counts as new in it.
const RECENT_NS: u64 = 200_000_000;
/// Up to here a distance counts as small.
const FEW: u64 = 8;

/// The states that the run went through, as 64-bit numbers, ascending and each once. A state's number is the
/// same in every run, process and release that abstracts alike.
pub fn states(evidence: &Evidence) -> Vec<u64> {
    let mut seen: Set<u64> = Set::default();
    walk(
        evidence,
        |_, _| {},
        |state| {
            seen.insert(state);
        },
    );
    ascending(seen)
}

/// The steps from one state to the next other one, and what reads were answered in: numbers as those of
/// [`states`]. They tell runs apart that go through the same states in another order, or are asked at other moments.
pub fn transitions(evidence: &Evidence) -> Vec<u64> {
    let mut seen: Set<u64> = Set::default();
    let mut reads = evidence
        .history
        .iter()
        .filter(|event| event.kind == Outcome::Ok && event.f.is_read() && !event.is_final)
        .peekable();
    let (mut before, mut answers) = (0, Vec::new());
    let cluster = walk(
        evidence,
        |cluster, until_ns| {
            // Where the node stood when it answered: the next record may move it elsewhere.
            while let Some(read) = reads.next_if(|read| read.time_ns < until_ns) {
                answers.extend(read.node.and_then(|node| cluster.answer(node)));
            }
        },
        |state| {
            if state != before {
                seen.insert(pair(before, state));
                before = state;
            }
        },
    );
    answers.extend(reads.filter_map(|read| cluster.answer(read.node?)));
    seen.extend(answers);
    ascending(seen)
}

fn ascending(seen: Set<u64>) -> Vec<u64> {
    let mut numbers: Vec<u64> = seen.into_iter().collect();
    numbers.sort_unstable();
    numbers
}

fn pair(first: u64, second: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..].copy_from_slice(&second.to_le_bytes());
    checksum(&bytes)
}

/// Shows the cluster as it stands before each record, with the record's time in nanoseconds, and then the state after
/// it; answers with the cluster as it stands at the end.
fn walk(evidence: &Evidence, mut before: impl FnMut(&Cluster, u64), mut visit: impl FnMut(u64)) -> Cluster {
    let mut cluster = Cluster::of(evidence);
    let mut nemesis = evidence.nemesis.iter().peekable();
    for record in evidence.traces {
        while let Some(done) = nemesis.next_if(|done| done.time_ns <= record.time_ns) {
            before(&cluster, done.time_ns);
            cluster.suffer(done);
            visit(cluster.state(None));
        }
        before(&cluster, record.time_ns);
        let acted = cluster.act(record);
        visit(cluster.state(Some(acted)));
    }
    for done in nemesis {
        before(&cluster, done.time_ns);
        cluster.suffer(done);
        visit(cluster.state(None));
    }
    cluster
}

/// 0, few, or many.
fn bucket(distance: u64) -> u64 {
    match distance {
        0 => 0,
        1..=FEW => 1,
        _ => 2,
    }
}

#[derive(Clone, Copy, Default)]
struct Node {
    /// False until it has shown where it stands: then it has no distance to anything.
    is_known: bool,
    is_down: bool,
    lives_off_snapshot: bool,
    hit: Hit,
    role: Role,
    term: u64,
    last: u64,
    commit: u64,
    /// Where its own newest snapshot ends.
    snapshot: u64,
    /// Which of [`Cluster::configurations`] it follows, once it has told.
    configuration: Option<usize>,
    /// When it was last started, or changed its role.
    changed_ns: u64,
}

/// A configuration that nodes follow.
#[derive(Default, PartialEq, Eq)]
struct Configuration {
    voters: Vec<NodeId>,
    outgoing: Vec<NodeId>,
    learners: Vec<NodeId>,
}

impl Configuration {
    /// What it makes of the node: none of its members, a voter, one that votes until it is left, a learner.
    fn standing(&self, node: NodeId) -> u64 {
        match node {
            node if self.voters.contains(&node) => 1,
            node if self.outgoing.contains(&node) => 2,
            node if self.learners.contains(&node) => 3,
            _ => 0,
        }
    }
}

struct Cluster {
    ids: Vec<NodeId>,
    nodes: Vec<Node>,
    /// All that there were.
    configurations: Vec<Configuration>,
    /// The newest of them, and the log index at which it was first seen.
    newest: usize,
    newest_index: u64,
    faults: Faults,
    now_ns: u64,
    /// Kept so that a state does not allocate.
    codes: Vec<u64>,
    bytes: Vec<u8>,
}

/// Whose record it was, by position, and what happened.
type Acted = (usize, u64);

impl Cluster {
    fn of(evidence: &Evidence) -> Cluster {
        let mut ids: Vec<NodeId> = Vec::new();
        for record in evidence.traces {
            if !ids.contains(&record.node) {
                ids.push(record.node);
            }
        }
        let nodes = vec![Node::default(); ids.len()];
        Cluster {
            ids,
            nodes,
            configurations: vec![Configuration::default()],
            newest: 0,
            newest_index: 0,
            faults: Faults::default(),
            now_ns: 0,
            codes: Vec::new(),
            bytes: Vec::new(),
        }
    }

    fn act(&mut self, record: &TraceRecord) -> Acted {
        self.now_ns = record.time_ns;
        let at =
            self.ids.iter().position(|id| *id == record.node).expect("every node of the trace is listed");
        let node = &mut self.nodes[at];
        node.is_known |= !matches!(record.event, TraceEvent::Initialized { .. });
        let happened = match record.event {
            TraceEvent::Started { term, snapshot_index, last_index, .. } => {
                node.is_down = false;
                node.lives_off_snapshot = false;
                node.role = Role::Follower;
                node.changed_ns = record.time_ns;
                (node.term, node.last, node.commit) = (term, last_index.max(snapshot_index), snapshot_index);
                node.snapshot = snapshot_index;
                1
            }
            TraceEvent::RoleChanged { role, term, .. } => {
                node.changed_ns = record.time_ns;
                (node.role, node.term) = (role, term);
                2
            }
            TraceEvent::VoteCast { term, .. } => {
                node.term = term;
                3
            }
            TraceEvent::Truncated { from } => {
                node.last = from.saturating_sub(1);
                4
            }
            TraceEvent::SnapshotInstalled { index, .. } => {
                node.lives_off_snapshot = true;
                (node.last, node.commit, node.snapshot) = (index, index, index);
                5
            }
            TraceEvent::SnapshotMade { index, .. } => {
                node.lives_off_snapshot = false;
                (node.last, node.commit) = (node.last.max(index), node.commit.max(index));
                node.snapshot = index;
                6
            }
            TraceEvent::ConfigChanged { index, ref voters, ref learners, ref voters_outgoing } => {
                // A restart, and a leader's snapshot, tell at a later index what was so before.
                let told = Configuration {
                    voters: voters.clone(),
                    outgoing: voters_outgoing.clone(),
                    learners: learners.clone(),
                };
                let known = self.configurations.iter().position(|known| *known == told);
                let of = known.unwrap_or(self.configurations.len());
                if known.is_none() {
                    self.configurations.push(told);
                }
                node.configuration = Some(of);
                if index > self.newest_index && of != self.newest {
                    (self.newest, self.newest_index) = (of, index);
                }
                7
            }
            TraceEvent::Initialized { ref voters, .. } => {
                node.configuration = Some(0);
                let founding = &mut self.configurations[0].voters;
                if founding.is_empty() {
                    founding.clone_from(voters);
                }
                7
            }
            TraceEvent::Stopped { .. } | TraceEvent::Panicked { .. } | TraceEvent::Refused { .. } => {
                node.is_down = true;
                8
            }
            // A log that was read back at the start is told again, entry by entry.
            TraceEvent::Appended { index, .. } => {
                node.last = node.last.max(index);
                0
            }
            TraceEvent::Committed { index } => {
                node.commit = node.commit.max(index);
                0
            }
            TraceEvent::Applied { duplicate, .. } => 9 * u64::from(duplicate),
        };
        (at, happened)
    }

    fn suffer(&mut self, record: &NemesisRecord) {
        self.now_ns = record.time_ns;
        if record.status != Status::Done {
            return;
        }
        if record.phase == Phase::Install {
            for id in taken_down(record) {
                if let Some(at) = self.ids.iter().position(|other| other == id) {
                    self.nodes[at].is_down = true;
                }
            }
        }
        self.faults.note(record);
        for (at, node) in self.nodes.iter_mut().enumerate() {
            node.hit = self.faults.on(self.ids[at], &self.ids);
        }
    }

    /// How the node stood that answered a read, and the others beside it: who leads in which term, whose process or
    /// links were hit, how far it was behind.
    fn answer(&self, node: NodeId) -> Option<u64> {
        let at = self.ids.iter().position(|id| *id == node)?;
        let node = &self.nodes[at];
        let term = self.nodes.iter().map(|node| node.term).max().unwrap_or(0);
        let commit = self.nodes.iter().map(|node| node.commit).max().unwrap_or(0);
        let down = self.nodes.iter().filter(|node| node.is_down).count() as u64;
        let parts = [
            (node.role as u64, 4),
            ((term - node.term).min(2), 3),
            ((commit - node.commit).min(FEW), FEW + 1),
            (bucket(node.last.saturating_sub(node.commit)), 3),
            (u64::from(node.hit.cut[0] > 0), 2),
            (u64::from(node.hit.cut[1] > 0), 2),
            (node.hit.suffers, SUFFERINGS),
            (u64::from(self.now_ns.saturating_sub(node.changed_ns) < RECENT_NS), 2),
            (down.min(2), 3),
        ];
        Some(pair(1, parts.iter().fold(0, |code, (value, of)| code * of + value)))
    }

    fn state(&mut self, acted: Option<Acted>) -> u64 {
        let greatest = |of: fn(&Node) -> u64| self.nodes.iter().map(of).max().unwrap_or(0);
        let (term, last, commit) =
            (greatest(|node| node.term), greatest(|node| node.last), greatest(|node| node.commit));
        let peers = self.nodes.len() as u64 - 1;
        let leader = self.nodes.iter().filter(|node| node.role == Role::Leader && !node.is_down);
        let held = leader.max_by_key(|node| node.term).map_or(0, |node| node.snapshot);
        let newest = &self.configurations[self.newest];
        self.codes.clear();
        for (at, node) in self.nodes.iter().enumerate() {
            let happened = acted.filter(|(by, _)| *by == at).map_or(0, |(_, happened)| happened);
            let cut = |count: u64| if count == 0 { 0 } else { 1 + u64::from(count >= peers) };
            if !node.is_known {
                self.codes.push(happened);
                continue;
            }
            // Whoever is down comes back as a follower.
            let role = if node.is_down { Role::Follower } else { node.role };
            let known = if role == Role::Follower { commit } else { node.commit };
            let parts = [
                (happened, 10),
                (1, 2),
                (u64::from(node.is_down) + 2 * u64::from(node.hit.is_paused), 4),
                (node.hit.suffers, SUFFERINGS),
                (u64::from(node.lives_off_snapshot), 2),
                (u64::from(node.last < held), 2),
                (cut(node.hit.cut[0]), 3),
                (cut(node.hit.cut[1]), 3),
                (u64::from(node.hit.cut_from_clients), 2),
                (newest.standing(self.ids[at]), 4),
                (u64::from(node.configuration != Some(self.newest)), 2),
                (role as u64, 4),
                ((term - node.term).min(2), 3),
                (bucket(last - node.last), 3),
                (u64::from(commit - node.commit > FEW), 2),
                (bucket(node.last.saturating_sub(known)), 3),
            ];
            self.codes.push(parts.iter().fold(0, |code, (value, of)| code * of + value));
        }
        self.codes.sort_unstable();
        self.bytes.clear();
        self.codes.iter().for_each(|code| self.bytes.extend_from_slice(&code.to_le_bytes()));
        checksum(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use mcp_chaos_evidence::{HistoryEvent, node_name};

    use super::*;
    use crate::testing::*;

    type Events = Vec<(NodeId, TraceEvent)>;

    fn of(events: Events, nemesis: &[NemesisRecord]) -> Vec<u64> {
        let traces = trace(events);
        states(&Evidence { history: &[], traces: &traces, nemesis, system_has_trace: true })
    }

    /// `[a, b, c]` stand for the nodes, `term` and `index` for what happened before.
    fn run([a, b, c]: [NodeId; 3], term: u64, index: u64) -> Events {
        let begin = |node| {
            let event = TraceEvent::Started {
                term,
                vote: None,
                snapshot_index: index,
                snapshot_term: term,
                snapshot_state: 0,
                last_index: index,
            };
            (node, event)
        };
        vec![
            begin(a),
            begin(b),
            begin(c),
            (a, vote(term + 1, a)),
            (b, vote(term + 1, a)),
            (a, leads(term + 1)),
            (a, appended(index + 1, term + 1, 7)),
            (b, appended(index + 1, term + 1, 7)),
            (a, committed(index + 1)),
            (c, role(Role::Follower, term + 1)),
            (c, installed(index + 1, term + 1, 0)),
        ]
    }

    fn cut(nodes: [NodeId; 3]) -> NemesisRecord {
        let link = |from, to| (node_name(from), node_name(to));
        let [a, b, c] = nodes;
        NemesisRecord {
            links: vec![link(a, b), link(a, c)],
            ..nemesis(Some(0), Phase::Install, "one_way", 5_500_000, &[a])
        }
    }

    #[test]
    fn neither_names_nor_absolute_terms_and_indexes_matter() {
        let base = of(run([1, 2, 3], 1, 1), &[cut([1, 2, 3])]);
        assert!(base.len() > 8, "{}", base.len());
        assert!(base.is_sorted());
        for nodes in [[1, 3, 2], [2, 1, 3], [3, 2, 1], [70, 5, 9]] {
            assert_eq!(of(run(nodes, 1, 1), &[cut(nodes)]), base);
        }
        assert_eq!(of(run([1, 2, 3], 40, 5_000), &[cut([1, 2, 3])]), base);
    }

    fn last_differs(more: Events, nemesis: &[NemesisRecord]) -> bool {
        let base = of(run([1, 2, 3], 1, 1), &[]);
        let with = of([run([1, 2, 3], 1, 1), more].concat(), nemesis);
        with.iter().any(|state| !base.contains(state))
    }

    #[test]
    fn what_matters_gives_another_state() {
        assert!(!last_differs(vec![], &[]));
        let entries = |count: u64| (0..count).map(|n| (1, appended(3 + n, 2, n))).collect::<Events>();
        for (more, why) in [
            (vec![(3, vote(3, 3))], "a vote in a new term"),
            (vec![(3, role(Role::PreCandidate, 2))], "a candidate"),
            (vec![(3, role(Role::Leader, 3))], "two leaders"),
            (entries(2), "a tail"),
            (vec![(2, TraceEvent::Truncated { from: 2 })], "a truncation"),
            (vec![(2, started(2, None, 2))], "a restart"),
            (vec![(2, TraceEvent::Panicked { message: String::new() })], "a panic"),
        ] {
            assert!(last_differs(more, &[]), "{why}");
        }
        let long = of([run([1, 2, 3], 1, 1), entries(40)].concat(), &[]);
        let short = of([run([1, 2, 3], 1, 1), entries(2)].concat(), &[]);
        assert!(long.len() > short.len() && short.iter().all(|state| long.contains(state)));
        let hit = |kind| of(run([1, 2, 3], 1, 1), &[nemesis(Some(0), Phase::Install, kind, 1 << 30, &[1])]);
        let kinds = [
            "pause",
            "kill",
            "latency",
            "drop",
            "slow_node",
            "slow_sync",
            "full_disk",
            "lying_fsync",
            "clock_drift",
        ];
        for (at, kind) in kinds.iter().enumerate() {
            assert!(kinds[..at].iter().all(|other| hit(other) != hit(kind)), "{kind}");
            assert_ne!(hit(kind), hit("transfer_leader"), "{kind}");
        }
        assert_eq!(hit("wiped"), hit("kill"));
        assert_eq!(hit("snapshot_now"), hit("transfer_leader"), "over at once");
        assert!(last_differs(vec![], &[cut([1, 2, 3])]));
        // A follower cut off is another state than the leader cut off.
        let one = of(run([1, 2, 3], 1, 1), &[cut([1, 2, 3])]);
        assert_ne!(one, of(run([1, 2, 3], 1, 1), &[cut([2, 1, 3])]));
    }

    /// How the cluster stands when all is over, whoever acted last.
    fn at_the_end(more: Events) -> u64 {
        let traces = trace([run([1, 2, 3], 1, 1), more].concat());
        let evidence = Evidence { history: &[], traces: &traces, nemesis: &[], system_has_trace: true };
        walk(&evidence, |_, _| {}, |_| {}).state(None)
    }

    #[test]
    fn who_belongs_to_the_cluster_and_who_knows_it_is_part_of_the_state() {
        let config = |node, index, voters: &[NodeId], outgoing: &[NodeId], learners: &[NodeId]| {
            let event = TraceEvent::ConfigChanged {
                index,
                voters: voters.to_vec(),
                learners: learners.to_vec(),
                voters_outgoing: outgoing.to_vec(),
            };
            (node, event)
        };
        let everywhere = |index, voters: &[NodeId], outgoing: &[NodeId], learners: &[NodeId]| {
            at_the_end((1..=3).map(|node| config(node, index, voters, outgoing, learners)).collect())
        };
        let all = everywhere(2, &[1, 2, 3], &[], &[]);
        let told = [
            all,
            everywhere(2, &[1, 2], &[], &[3]),
            everywhere(2, &[1, 2], &[1, 2, 3], &[]),
            everywhere(2, &[1, 2], &[], &[]),
            at_the_end(vec![config(1, 2, &[1, 2, 3], &[], &[]), config(1, 3, &[1, 2], &[], &[])]),
        ];
        assert_eq!(told.iter().collect::<std::collections::BTreeSet<_>>().len(), told.len());
        // A restart tells at the index of its snapshot what was so before.
        let restarted = [1, 2, 3].map(|node| config(node, 2, &[1, 2, 3], &[], &[])).to_vec();
        let again =
            [restarted, vec![config(2, 1, &[1, 2, 3], &[], &[]), config(1, 90, &[1, 2, 3], &[], &[])]];
        assert_eq!(at_the_end(again.concat()), all);
        // The newest is that of the greatest index, whoever tells of another one later.
        let (newer, older) = (config(1, 5, &[1, 2], &[], &[]), config(2, 4, &[1, 2], &[], &[3]));
        assert_eq!(at_the_end(vec![newer.clone(), older.clone()]), at_the_end(vec![older, newer]));
    }

    #[test]
    fn whoever_ends_before_the_leaders_snapshot_and_whoever_has_a_tail_are_other_states() {
        let made = |node| (node, TraceEvent::SnapshotMade { index: 2, term: 2, state: 0 });
        let behind = |node| vec![(1, appended(3, 2, 0)), (2, appended(3, 2, 0)), made(node)];
        let shorter = |node| [vec![(3, TraceEvent::Truncated { from: 2 })], behind(node)].concat();
        assert_ne!(at_the_end(shorter(1)), at_the_end(shorter(2)), "n1 leads, and n3 ends at 1");
        assert_eq!(at_the_end(behind(1)), at_the_end(behind(2)), "nobody ends before it");
        // Both followers' logs are as long in either case, and so is the longest.
        let logs = |committed| {
            let entries = [1, 2, 3].map(|node| (node, appended(3, 2, 0)));
            at_the_end([entries.to_vec(), vec![(2, TraceEvent::Committed { index: committed })]].concat())
        };
        assert_ne!(logs(2), logs(3), "nobody knows of the tails as committed, or somebody does");
    }

    #[test]
    fn transitions_tell_the_order_of_states_and_when_reads_were_answered() {
        let of = |events: Events, history: &[HistoryEvent]| {
            let traces = trace(events);
            transitions(&Evidence { history, traces: &traces, nemesis: &[], system_has_trace: true })
        };
        let base = of(run([1, 2, 3], 1, 1), &[]);
        assert!(base.len() > 8 && base.is_sorted(), "{}", base.len());
        assert_eq!(of(run([3, 1, 2], 40, 5_000), &[]), base, "nobody's name, no absolute term or index");

        let mut other_order = run([1, 2, 3], 1, 1);
        other_order.swap(7, 8);
        assert_ne!(of(other_order, &[]), base);

        let read = |node, kind| HistoryEvent {
            node: Some(node),
            ..HistoryEvent::new(
                u64::MAX >> 1,
                0,
                kind,
                mcp_chaos_evidence::Function::Read,
                "k0",
                serde_json::Value::Null,
            )
        };
        let late = vec![(1, TraceEvent::Committed { index: 2 })];
        let asked = |node, kind| {
            let history = [HistoryEvent { time_ns: 0, ..read(node, kind) }];
            of([run([1, 2, 3], 1, 1), late.clone()].concat(), &history)
        };
        assert_eq!(asked(1, Outcome::Fail), of([run([1, 2, 3], 1, 1), late.clone()].concat(), &[]));
        assert_ne!(asked(1, Outcome::Ok), asked(1, Outcome::Fail));

        // A node that leads answers, and right behind that it follows.
        let deposed = TraceEvent::RoleChanged { role: Role::Follower, term: 9, leader: None };
        let around = |time_ns: u64| {
            let traces = trace([run([1, 2, 3], 1, 1), vec![(1, deposed.clone())]].concat());
            let last_ns = traces.last().expect("there are records").time_ns;
            let history = [HistoryEvent { time_ns: last_ns - 1 + time_ns, ..read(1, Outcome::Ok) }];
            transitions(&Evidence {
                history: &history,
                traces: &traces,
                nemesis: &[],
                system_has_trace: true,
            })
        };
        assert_ne!(around(0), around(1), "where it stood when it answered");
        assert_ne!(
            around(2),
            of([run([1, 2, 3], 1, 1), vec![(1, deposed.clone())]].concat(), &[]),
            "the last one too"
        );
    }

    #[test]
    fn a_fault_that_has_ended_leaves_nothing_behind() {
        let pause = nemesis(Some(0), Phase::Install, "pause", 1 << 30, &[1]);
        let heal = nemesis(Some(0), Phase::Heal, "pause", (1 << 30) + 1, &[1]);
        let healed = nemesis(None, Phase::AllHealed, "all_healed", (1 << 30) + 1, &[]);
        let paused = of(run([1, 2, 3], 1, 1), std::slice::from_ref(&pause));
        // The state after the heal is the one before the pause, with nobody's record last.
        let after = of(run([1, 2, 3], 1, 1), &[pause.clone(), heal]);
        assert_eq!(after, of(run([1, 2, 3], 1, 1), &[pause, healed]));
        assert!(paused.iter().all(|state| after.contains(state)));
        assert_eq!(of(vec![], &[]), Vec::<u64>::new());
    }
}
