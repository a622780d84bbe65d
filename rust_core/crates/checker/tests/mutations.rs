//! Every check passes correct runs, and fires on each of many random corruptions of the kind it is there for.

mod cluster;

use cluster::{Run, Shape, generate};
use mcp_chaos_checker::{CHECKS, Check, Evidence, Judgement, Limits, Verdict, judge, summary};
use mcp_chaos_evidence::{
    Function, HistoryEvent, Kind, NodeId, Phase, Role, TraceEvent, TraceRecord, rng::Stream,
};
use serde_json::{Value, json};

/// Corruptions of each kind that must be detected, all of them.
const CASES: usize = 250;

fn shape(seed: u64) -> Shape {
    let stream = Stream::new(seed, "shape", 0, 0);
    Shape {
        nodes: [3, 5][stream.between(0, 0, 1) as usize],
        clients: stream.between(1, 2, 5) as usize,
        keys: stream.between(2, 1, 2) as usize,
        operations: stream.between(3, 20, 80) as usize,
        trouble_one_in: stream.between(4, 10, 60),
    }
}

fn judge_run(run: &Run, checks: &[Check], limits: &Limits) -> Vec<Judgement> {
    let evidence = Evidence {
        history: &run.history,
        traces: &run.traces,
        nemesis: &run.nemesis,
        system_has_trace: true,
    };
    judge(&evidence, checks, limits)
}

fn all() -> Vec<Check> {
    CHECKS.iter().map(|info| info.check).collect()
}

#[test]
fn correct_runs_pass_every_check() {
    for seed in 0..1500 {
        let run = generate(seed, shape(seed));
        for judgement in judge_run(&run, &all(), &Limits::default()) {
            assert_eq!(
                judgement.verdict,
                Verdict::Valid,
                "seed {seed}: {:?} {}",
                judgement.check,
                judgement.reason
            );
        }
    }
}

#[test]
fn correct_runs_hold_what_the_mutations_need() {
    let (mut truncated, mut installed, mut duplicates, mut info, mut leaders) = (0, 0, 0, 0, 0);
    for seed in 0..200 {
        let run = generate(seed, shape(seed));
        for record in &run.traces {
            match record.event {
                TraceEvent::Truncated { .. } => truncated += 1,
                TraceEvent::SnapshotInstalled { .. } => installed += 1,
                TraceEvent::Applied { duplicate: true, .. } => duplicates += 1,
                TraceEvent::RoleChanged { role: Role::Leader, .. } => leaders += 1,
                _ => {}
            }
        }
        info += run.history.iter().filter(|event| event.kind == Kind::Info).count();
        let evidence = Evidence {
            history: &run.history,
            traces: &run.traces,
            nemesis: &run.nemesis,
            system_has_trace: true,
        };
        assert!(summary(&evidence).first_success_after_heal.is_some());
    }
    for count in [truncated, installed, duplicates, info, leaders] {
        assert!(count > 100, "{truncated} {installed} {duplicates} {info} {leaders}");
    }
}

/// Draws for a corruption.
struct Draws {
    stream: Stream,
    n: u64,
}

impl Draws {
    fn below(&mut self, limit: usize) -> usize {
        self.n += 1;
        self.stream.between(self.n, 0, limit as u64 - 1) as usize
    }

    /// One of the items; none of none.
    fn pick<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        if items.is_empty() { None } else { Some(items[self.below(items.len())].clone()) }
    }
}

/// Corrupts runs until enough were found that offer what the corruption needs; the check must see each.
fn detects(check: Check, corrupt: fn(&mut Run, &mut Draws) -> Option<()>) {
    let (mut cases, mut seed) = (0, 0);
    while cases < CASES {
        seed += 1;
        assert!(seed < 20_000, "{}: the runs offer too little to corrupt", check.name());
        let mut run = generate(seed, shape(seed));
        let mut draws = Draws { stream: Stream::new(seed, check.name(), 1, 0), n: 0 };
        let limits = Limits {
            unavailable_at_most_ns: (check == Check::Available).then(|| longest_gap(&run)),
            progress_within_ns: (check == Check::Progresses).then(|| longest_stall(&run)),
            recovers_within_ns: 1_000_000_000,
            ..Limits::default()
        };
        assert_eq!(judge_run(&run, &[check], &limits)[0].verdict, Verdict::Valid, "seed {seed}");
        if corrupt(&mut run, &mut draws).is_none() {
            continue;
        }
        let judgement = judge_run(&run, &[check], &limits).remove(0);
        assert_eq!(
            judgement.verdict,
            Verdict::Invalid,
            "{} missed seed {seed}: {}",
            check.name(),
            judgement.reason
        );
        cases += 1;
    }
}

fn longest_gap(run: &Run) -> u64 {
    let evidence = Evidence {
        history: &run.history,
        traces: &run.traces,
        nemesis: &run.nemesis,
        system_has_trace: true,
    };
    summary(&evidence).longest_gap.map_or(0, |gap| gap.to_ns - gap.from_ns)
}

/// The longest time for which writes, or reads, waited without a success while progress was promised.
fn longest_stall(run: &Run) -> u64 {
    let judgement = judge_run(run, &[Check::Progresses], &Limits::default()).remove(0);
    judgement.evidence["longest_ns"].as_u64().expect("the check says it")
}

/// Positions of the records that satisfy a condition.
fn positions(run: &Run, condition: impl Fn(&TraceRecord) -> bool) -> Vec<usize> {
    (0..run.traces.len()).filter(|at| condition(&run.traces[*at])).collect()
}

/// Inserts a record of the same node and boot behind the one at `at`.
fn insert_behind(run: &mut Run, at: usize, event: TraceEvent) {
    let TraceRecord { time_ns, node, boot, .. } = run.traces[at];
    run.traces.insert(at + 1, TraceRecord { time_ns, node, boot, event });
}

/// A node's log and term as of some record.
#[derive(Clone, Default)]
struct Replayed {
    term: u64,
    base: u64,
    log: Vec<(u64, u64)>,
}

impl Replayed {
    fn last(&self) -> u64 {
        self.base + self.log.len() as u64
    }

    fn of(run: &Run, node: NodeId, until: usize) -> Replayed {
        let mut replayed = Replayed::default();
        for record in run.traces[..until].iter().filter(|record| record.node == node) {
            match record.event {
                TraceEvent::Started { term, snapshot_index, .. } => {
                    replayed = Replayed { term, base: snapshot_index, log: vec![] }
                }
                TraceEvent::SnapshotInstalled { index, .. } => {
                    (replayed.base, replayed.log) = (index, vec![])
                }
                TraceEvent::RoleChanged { term, .. } | TraceEvent::VoteCast { term, .. } => {
                    replayed.term = term
                }
                TraceEvent::Truncated { from } => replayed.log.truncate((from - replayed.base - 1) as usize),
                TraceEvent::Appended { term, checksum, .. } => replayed.log.push((term, checksum)),
                _ => {}
            }
        }
        replayed
    }
}

#[test]
fn two_leaders_in_a_term() {
    detects(Check::ElectionSafety, |run, draws| {
        let leaders = positions(run, |record| {
            matches!(record.event, TraceEvent::RoleChanged { role: Role::Leader, .. })
        });
        let event = run.traces[draws.pick(&leaders)?].event.clone();
        let node = run.traces.iter().find(|record| record.event == event)?.node;
        let others = positions(run, |record| record.node != node);
        insert_behind(run, draws.pick(&others)?, event);
        Some(())
    });
}

/// Every node tells first who votes: all of them. Gives their names.
fn tell_voters(run: &mut Run) -> Vec<NodeId> {
    let mut voters: Vec<NodeId> = run.traces.iter().map(|record| record.node).collect();
    voters.sort_unstable();
    voters.dedup();
    for &node in &voters {
        let event = TraceEvent::ConfigChanged {
            index: 1,
            voters: voters.clone(),
            learners: vec![],
            voters_outgoing: vec![],
        };
        run.traces.insert(0, TraceRecord { time_ns: 0, node, boot: 1, event });
    }
    voters
}

#[test]
fn a_leader_without_a_majority() {
    detects(Check::ElectionSafety, |run, draws| {
        let leaders = positions(run, |record| {
            matches!(record.event, TraceEvent::RoleChanged { role: Role::Leader, .. })
        });
        let leader = run.traces[draws.pick(&leaders)?].clone();
        let TraceEvent::RoleChanged { term, .. } = leader.event else { return None };
        let (vote, before) = (TraceEvent::VoteCast { term, candidate: leader.node }, run.traces.len());
        run.traces.retain(|record| record.node == leader.node || record.event != vote);
        let removed = before - run.traces.len();
        // Nor does any restart tell of one.
        for record in run.traces.iter_mut().filter(|record| record.node != leader.node) {
            if let TraceEvent::Started { term: of, vote, .. } = &mut record.event
                && (*of, *vote) == (term, Some(leader.node))
            {
                *vote = None;
            }
        }
        tell_voters(run);
        (removed > 0).then_some(())
    });
}

#[test]
fn an_entry_committed_before_a_majority_has_it() {
    detects(Check::CommittedNeverChanges, |run, draws| {
        if tell_voters(run).len() < 2 {
            return None;
        }
        let mut leads = std::collections::BTreeMap::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut first = Vec::new();
        for (at, record) in run.traces.iter().enumerate() {
            match record.event {
                TraceEvent::Started { .. } => drop(leads.remove(&record.node)),
                TraceEvent::RoleChanged { role, term, .. } => {
                    leads.insert(record.node, (role == Role::Leader).then_some(term));
                }
                TraceEvent::Appended { index, term, .. }
                    if seen.insert((index, term)) && leads.get(&record.node) == Some(&Some(term)) =>
                {
                    first.push((at, index));
                }
                _ => {}
            }
        }
        let (at, index) = draws.pick(&first)?;
        insert_behind(run, at, TraceEvent::Committed { index });
        Some(())
    });
}

#[test]
fn an_entry_with_another_checksum() {
    detects(Check::LogMatching, |run, draws| {
        let appended = positions(run, |record| matches!(record.event, TraceEvent::Appended { .. }));
        let at = draws.pick(&appended)?;
        let TraceEvent::Appended { index, term, .. } = run.traces[at].event else { return None };
        let same = |record: &TraceRecord| matches!(record.event, TraceEvent::Appended { index: i, term: t, .. } if (i, t) == (index, term));
        if positions(run, same).len() < 2 {
            return None;
        }
        let TraceEvent::Appended { checksum, .. } = &mut run.traces[at].event else { return None };
        *checksum ^= 1 << draws.below(64);
        Some(())
    });
}

#[test]
fn an_entry_behind_another_prefix() {
    detects(Check::LogMatching, |run, draws| {
        // A node's entry gets another term, while the one behind it stands behind the old one elsewhere.
        let appended = positions(run, |record| matches!(record.event, TraceEvent::Appended { .. }));
        let at = draws.pick(&appended)?;
        let TraceEvent::Appended { index, term, .. } = run.traces[at].event else { return None };
        let node = run.traces[at].node;
        let next = (at + 1..run.traces.len()).find(|next| run.traces[*next].node == node)?;
        let TraceEvent::Appended { index: behind, term: next_term, .. } = run.traces[next].event else {
            return None;
        };
        let elsewhere = (0..run.traces.len()).any(|other| {
            let TraceEvent::Appended { index: i, term: t, .. } = run.traces[other].event else {
                return false;
            };
            run.traces[other].node != node
                && (i, t) == (behind, next_term)
                && Replayed::of(run, run.traces[other].node, other)
                    .log
                    .last()
                    .is_some_and(|(previous, _)| *previous == term)
        });
        if behind != index + 1 || !elsewhere {
            return None;
        }
        let TraceEvent::Appended { term, .. } = &mut run.traces[at].event else { return None };
        *term -= 1;
        Some(())
    });
}

#[test]
fn a_leader_without_a_committed_entry() {
    detects(Check::LeaderCompleteness, |run, draws| {
        let leaders = positions(run, |record| {
            matches!(record.event, TraceEvent::RoleChanged { role: Role::Leader, .. })
        });
        let at = draws.pick(&leaders)?;
        let TraceEvent::RoleChanged { term, .. } = run.traces[at].event else { return None };
        let leader = Replayed::of(run, run.traces[at].node, at);
        // Entries that some node reported as committed, before or after, while in an earlier term.
        let mut known = Vec::new();
        for report in 0..run.traces.len() {
            let TraceEvent::Committed { index } = run.traces[report].event else { continue };
            let reporter = Replayed::of(run, run.traces[report].node, report);
            if reporter.term < term {
                known.extend(
                    (reporter.base + 1..=index)
                        .filter(|index| *index > leader.base && *index <= leader.last()),
                );
            }
        }
        let index = draws.pick(&known)?;
        let replaced = draws.below(2) == 0;
        insert_behind(run, at - 1, TraceEvent::Truncated { from: index });
        let node = run.traces[at + 1].node;
        run.traces[at].node = node;
        if replaced {
            insert_behind(run, at, TraceEvent::Appended { index, term: term - 1, checksum: 4711 });
        }
        Some(())
    });
}

#[test]
fn another_state_at_an_index() {
    detects(Check::StateMachineSafety, |run, draws| {
        let applied = positions(run, |record| matches!(record.event, TraceEvent::Applied { .. }));
        let at = draws.pick(&applied)?;
        let TraceEvent::Applied { index, .. } = run.traces[at].event else { return None };
        let same =
            |record: &TraceRecord| matches!(record.event, TraceEvent::Applied { index: i, .. } if i == index);
        if positions(run, same).len() < 2 {
            return None;
        }
        let TraceEvent::Applied { state, term, client, .. } = &mut run.traces[at].event else { return None };
        match draws.below(3) {
            0 => *state ^= 1 << draws.below(64),
            1 => *term += 1,
            _ => *client += 1,
        }
        Some(())
    });
}

#[test]
fn a_snapshot_of_another_state() {
    detects(Check::StateMachineSafety, |run, draws| {
        let snapshots = positions(run, |record| {
            matches!(
                record.event,
                TraceEvent::SnapshotInstalled { .. } | TraceEvent::Started { snapshot_index: 2.., .. }
            )
        });
        match &mut run.traces[draws.pick(&snapshots)?].event {
            TraceEvent::SnapshotInstalled { state, .. }
            | TraceEvent::Started { snapshot_state: state, .. } => *state ^= 1,
            _ => return None,
        }
        Some(())
    });
}

#[test]
fn a_committed_entry_replaced_or_removed() {
    detects(Check::CommittedNeverChanges, |run, draws| {
        let reports = positions(run, |record| matches!(record.event, TraceEvent::Committed { .. }));
        let at = draws.pick(&reports)?;
        let TraceEvent::Committed { index: commit } = run.traces[at].event else { return None };
        let node = run.traces[at].node;
        let base = Replayed::of(run, node, at).base;
        let index = commit - draws.below((commit - base) as usize) as u64;
        let elsewhere = run.traces.iter().any(|record| {
            record.node != node && matches!(record.event, TraceEvent::Applied { index: i, .. } if i == index)
        });
        match draws.below(3) {
            0 => insert_behind(run, at, TraceEvent::Truncated { from: index }),
            1 => insert_behind(run, at, TraceEvent::Appended { index, term: 99, checksum: 4711 }),
            // Committed with another entry than elsewhere.
            _ if elsewhere => {
                let entry = (0..at).rev().find(|entry| {
                    run.traces[*entry].node == node && matches!(run.traces[*entry].event, TraceEvent::Appended { index: i, .. } if i == index)
                })?;
                let TraceEvent::Appended { checksum, .. } = &mut run.traces[entry].event else { return None };
                *checksum ^= 1;
            }
            _ => return None,
        }
        Some(())
    });
}

#[test]
fn a_log_that_comes_back_too_short() {
    detects(Check::CommittedNeverChanges, |run, draws| {
        let starts = positions(run, |record| matches!(record.event, TraceEvent::Started { .. }));
        let at = draws.pick(&starts)?;
        let node = run.traces[at].node;
        let known = run.traces[..at].iter().filter(|record| record.node == node).filter_map(|record| {
            match record.event {
                TraceEvent::Committed { index } => Some(index),
                _ => None,
            }
        });
        let known = known.max()?;
        let TraceEvent::Started { last_index, snapshot_index, .. } = &mut run.traces[at].event else {
            return None;
        };
        if *snapshot_index >= known {
            return None;
        }
        *last_index = known - 1;
        Some(())
    });
}

#[test]
fn a_vote_or_term_forgotten_or_changed() {
    detects(Check::Monotonic, |run, draws| {
        let starts =
            positions(run, |record| matches!(record.event, TraceEvent::Started { vote: Some(_), .. }));
        let at = draws.pick(&starts)?;
        let TraceEvent::Started { term, vote, .. } = &mut run.traces[at].event else { return None };
        match draws.below(3) {
            0 => *term -= 1,
            1 => *vote = None,
            _ => {
                *vote = vote.map(|candidate| candidate % 3 + 1).filter(|candidate| Some(*candidate) != *vote)
            }
        }
        Some(())
    });
}

#[test]
fn two_votes_in_a_term() {
    detects(Check::Monotonic, |run, draws| {
        let votes = positions(run, |record| matches!(record.event, TraceEvent::VoteCast { .. }));
        let at = draws.pick(&votes)?;
        let TraceEvent::VoteCast { term, candidate } = run.traces[at].event else { return None };
        insert_behind(run, at, TraceEvent::VoteCast { term, candidate: candidate % 3 + 1 });
        Some(())
    });
}

#[test]
fn a_term_a_commit_or_an_applied_index_that_goes_back() {
    detects(Check::Monotonic, |run, draws| {
        let moved = positions(run, |record| {
            matches!(
                record.event,
                TraceEvent::Committed { .. } | TraceEvent::Applied { .. } | TraceEvent::RoleChanged { .. }
            )
        });
        let at = draws.pick(&moved)?;
        let mut back = run.traces[at].event.clone();
        match &mut back {
            TraceEvent::Committed { index } => *index -= 1,
            TraceEvent::Applied { index, .. } => *index -= draws.below(2) as u64,
            TraceEvent::RoleChanged { term, .. } => *term -= 1,
            _ => return None,
        }
        insert_behind(run, at, back);
        Some(())
    });
}

#[test]
fn applied_beyond_committed() {
    detects(Check::Monotonic, |run, draws| {
        let reports = positions(run, |record| matches!(record.event, TraceEvent::Committed { .. }));
        let at = draws.pick(&reports)?;
        // Without its last report of a commit the node applies what it does not know as committed.
        let node = run.traces[at].node;
        let applied_next = run.traces[at + 1..].iter().find(|record| record.node == node)?;
        if !matches!(applied_next.event, TraceEvent::Applied { .. }) {
            return None;
        }
        let TraceEvent::Committed { index } = run.traces[at].event else { return None };
        let before = run.traces[..at]
            .iter()
            .rev()
            .find(|record| record.node == node && matches!(record.event, TraceEvent::Applied { .. }))?;
        let TraceEvent::Applied { index: applied, .. } = before.event else { return None };
        let TraceEvent::Applied { index: next, .. } = applied_next.event else { return None };
        if next != applied + 1 || index < next {
            return None;
        }
        let commits = run.traces[..at].iter().rev().find_map(|record| match record.event {
            TraceEvent::Committed { index } if record.node == node => Some(index),
            _ => None,
        });
        if commits.is_some_and(|known| known >= next) {
            return None;
        }
        run.traces.remove(at);
        Some(())
    });
}

/// Positions of acknowledged mutations in the history.
fn acknowledged(run: &Run) -> Vec<usize> {
    let mutation =
        |event: &HistoryEvent| event.kind == Kind::Ok && matches!(event.f, Function::Write | Function::Cas);
    (0..run.history.len()).filter(|at| mutation(&run.history[*at])).collect()
}

#[test]
fn an_acknowledged_operation_missing() {
    detects(Check::Durable, |run, draws| {
        let event = run.history[draws.pick(&acknowledged(run))?].clone();
        let at_index = |record: &TraceRecord| matches!(record.event, TraceEvent::Applied { index, .. } if Some(index) == event.log_index);
        let applied = positions(run, at_index);
        let at = draws.pick(&applied)?;
        let node = run.traces[at].node;
        match draws.below(3) {
            // Something else stands there on one node.
            0 => {
                let TraceEvent::Applied { client, sequence, .. } = &mut run.traces[at].event else {
                    return None;
                };
                (*client, *sequence) = (0, 0);
            }
            1 => {
                let TraceEvent::Applied { duplicate, .. } = &mut run.traces[at].event else { return None };
                *duplicate = true;
            }
            // One node never applied it, and has no snapshot above.
            _ => {
                let hidden = run.traces.iter().any(|record| {
                    record.node == node
                        && match record.event {
                            TraceEvent::SnapshotInstalled { index, .. }
                            | TraceEvent::Started { snapshot_index: index, .. } => {
                                Some(index) >= event.log_index
                            }
                            _ => false,
                        }
                });
                // A node that ends right below it is merely behind: `recovers` says so.
                let beyond = run.traces.iter().any(|record| {
                    record.node == node && matches!(record.event, TraceEvent::Applied { index, .. } if Some(index) > event.log_index)
                });
                if hidden || !beyond {
                    return None;
                }
                run.traces.retain(|record| record.node != node || !at_index(record));
            }
        }
        Some(())
    });
}

#[test]
fn an_operation_acknowledged_at_another_index() {
    detects(Check::Durable, |run, draws| {
        let at = draws.pick(&acknowledged(run))?;
        run.history[at].log_index = run.history[at].log_index.map(|index| index + 1 + draws.below(3) as u64);
        Some(())
    });
}

#[test]
fn an_operation_applied_twice_or_from_nowhere() {
    detects(Check::Durable, |run, draws| {
        let requests: Vec<(u64, u64)> = run
            .traces
            .iter()
            .filter_map(|record| match record.event {
                TraceEvent::Applied { client, sequence, duplicate: false, .. } if client != 0 => {
                    Some((client, sequence))
                }
                _ => None,
            })
            .collect();
        let request = draws.pick(&requests)?;
        let empty = positions(run, |record| matches!(record.event, TraceEvent::Applied { client: 0, .. }));
        let at = draws.pick(&empty)?;
        let nowhere = draws.below(2) == 0;
        let TraceEvent::Applied { client, sequence, .. } = &mut run.traces[at].event else { return None };
        (*client, *sequence) = if nowhere { (request.0, 999) } else { request };
        Some(())
    });
}

#[test]
fn a_retry_applied_again() {
    detects(Check::Durable, |run, draws| {
        let retries =
            positions(run, |record| matches!(record.event, TraceEvent::Applied { duplicate: true, .. }));
        let at = draws.pick(&retries)?;
        let TraceEvent::Applied { duplicate, .. } = &mut run.traces[at].event else { return None };
        *duplicate = false;
        Some(())
    });
}

/// Replaces an answer by a value that was certainly overwritten before the read began.
fn make_stale(run: &mut Run, draws: &mut Draws, lost: bool) -> Option<()> {
    let invoked = |run: &Run, at: usize| {
        (0..at).rev().find(|other| run.history[*other].process == run.history[at].process)
    };
    let mut choices = Vec::new();
    for read in 0..run.history.len() {
        if run.history[read].kind != Kind::Ok || run.history[read].f != Function::Read {
            continue;
        }
        let begun = invoked(run, read)?;
        let before: Vec<usize> = acknowledged(run)
            .into_iter()
            .filter(|at| *at < begun && run.history[*at].key == run.history[read].key)
            .collect();
        if lost {
            // The register is as if nothing had ever been written.
            choices.extend(before.first().map(|_| (read, Value::Null)));
        }
        for (number, old) in before.iter().enumerate().filter(|_| !lost) {
            if before[number + 1..].iter().any(|new| invoked(run, *new).is_some_and(|begun| begun > *old)) {
                let event = &run.history[*old];
                choices.push((
                    read,
                    if event.f == Function::Cas { event.value[1].clone() } else { event.value.clone() },
                ));
            }
        }
    }
    let (read, value) = draws.pick(&choices)?;
    run.history[read].value = value;
    Some(())
}

#[test]
fn a_stale_read() {
    detects(Check::Linearizable, |run, draws| make_stale(run, draws, false));
}

#[test]
fn a_lost_write() {
    detects(Check::Linearizable, |run, draws| make_stale(run, draws, true));
}

#[test]
fn a_value_from_nowhere() {
    detects(Check::Linearizable, |run, draws| {
        let reads: Vec<usize> = (0..run.history.len())
            .filter(|at| run.history[*at].kind == Kind::Ok && run.history[*at].f == Function::Read)
            .collect();
        run.history[draws.pick(&reads)?].value = json!(424_242_424);
        Some(())
    });
}

#[test]
fn an_end_without_agreement_service_or_leader() {
    detects(Check::Recovers, |run, draws| {
        let node = draws.below(3) as u64 + 1;
        match draws.below(6) {
            0 => {
                let last = run.traces.iter_mut().rev().find(|record| {
                    record.node == node && matches!(record.event, TraceEvent::Applied { .. })
                })?;
                let TraceEvent::Applied { state, .. } = &mut last.event else { return None };
                *state ^= 1;
            }
            1 => {
                let last = positions(run, |record| {
                    record.node == node && matches!(record.event, TraceEvent::Applied { .. })
                });
                run.traces.remove(*last.last()?);
            }
            2 => {
                let leader = positions(run, |record| {
                    matches!(record.event, TraceEvent::RoleChanged { role: Role::Leader, .. })
                });
                let at = *leader.last()?;
                let TraceEvent::RoleChanged { term, .. } = run.traces[at].event else { return None };
                insert_behind(run, at, TraceEvent::RoleChanged { role: Role::Follower, term, leader: None });
            }
            3 => {
                let is_write = |event: &&mut HistoryEvent| {
                    event.is_final && event.kind == Kind::Ok && event.f == Function::Write
                };
                run.history.iter_mut().filter(is_write).for_each(|event| event.kind = Kind::Info);
            }
            4 => {
                let reads: Vec<usize> = (0..run.history.len())
                    .filter(|at| {
                        run.history[*at].is_final
                            && run.history[*at].home
                            && run.history[*at].kind == Kind::Ok
                    })
                    .collect();
                run.history[draws.pick(&reads)?].kind = Kind::Fail;
            }
            _ => {
                let healed = run.nemesis.iter().find(|record| record.phase == Phase::AllHealed)?.time_ns;
                run.history
                    .iter_mut()
                    .filter(|event| event.time_ns > healed)
                    .for_each(|event| event.time_ns += 2_000_000_000);
            }
        }
        Some(())
    });
}

#[test]
fn a_time_without_a_success() {
    detects(Check::Available, |run, draws| {
        let roaming: Vec<usize> = (0..run.history.len())
            .filter(|at| !run.history[*at].home && !run.history[*at].is_final)
            .collect();
        let at = draws.pick(&roaming[..roaming.len() - 1])?;
        let gap = longest_gap(run) + 1_000_000;
        // Nothing happens for a while behind this event.
        if !roaming.iter().any(|later| *later > at && run.history[*later].kind != Kind::Invoke) {
            return None;
        }
        run.history[at + 1..].iter_mut().for_each(|event| event.time_ns += gap);
        Some(())
    });
}

#[test]
fn a_standstill_while_a_majority_could_go_on() {
    detects(Check::Progresses, |run, draws| {
        let roaming = |event: &HistoryEvent| !event.home && !event.is_final;
        let calls: Vec<usize> = (0..run.history.len())
            .filter(|at| roaming(&run.history[*at]) && run.history[*at].kind == Kind::Invoke)
            .collect();
        let at = draws.pick(&calls)?;
        if !run.history[at + 1..].iter().any(|later| roaming(later) && later.kind != Kind::Invoke) {
            return None;
        }
        // All nodes are up, and nobody does anything: neither clients nor nodes nor the nemesis.
        let (now_ns, stall) = (run.history[at].time_ns, longest_stall(run) + 1_000_000);
        run.history[at + 1..].iter_mut().for_each(|event| event.time_ns += stall);
        run.traces
            .iter_mut()
            .filter(|record| record.time_ns > now_ns)
            .for_each(|record| record.time_ns += stall);
        run.nemesis
            .iter_mut()
            .filter(|record| record.time_ns > now_ns)
            .for_each(|record| record.time_ns += stall);
        Some(())
    });
}

#[test]
fn a_node_that_ends_by_itself() {
    detects(Check::NoPanic, |run, draws| {
        let at = draws.below(run.traces.len());
        let words = || "as planted".to_string();
        match draws.below(4) {
            0 => insert_behind(run, at, TraceEvent::Panicked { message: words() }),
            1 => insert_behind(run, at, TraceEvent::Stopped { reason: words() }),
            2 => insert_behind(run, at, TraceEvent::Refused { reason: words() }),
            // A boot ended, and nobody had killed it.
            _ => {
                let kills: Vec<usize> =
                    (0..run.nemesis.len()).filter(|at| run.nemesis[*at].phase == Phase::Install).collect();
                run.nemesis.remove(draws.pick(&kills)?);
            }
        }
        Some(())
    });
}
