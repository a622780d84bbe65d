//! Progress under faults that stand: while nothing changes and some node that clients reach can lead a majority, writes
//! and reads of roaming clients go on succeeding, never without one for longer than the limit.
//!
//! What Raft promises as the cluster stands, and what it does not, is [`crate::standing::promise`]'s to say, from the
//! nemesis log and the nodes' traces. A stall counts from where all of this holds: a client wants something of the
//! kind (a write, or a read), progress is promised, and no fault, process or set of voters has changed since. So what
//! a fault breaks may take an election, and clients their time to find the new leader; but a fault that stands for
//! ever is no excuse for longer.
//!
//! A change of the voters that has begun must end as well: a joint configuration is left by itself as soon as it is
//! committed (Ongaro's dissertation §4.3), and stays for no longer than the limit while progress is promised.
//!
//! A cluster may serve reads while it commits nothing, or commit while reads hang; hence each is judged apart. What the
//! state machine refused has gone through the log (a compare-and-set that found another value, a lease that another
//! client holds), and counts as a success of the cluster.

use mcp_chaos_evidence::{HistoryEvent, Kind};
use serde_json::{Value, json};

use crate::{
    Check, Evidence, Gap, Judgement,
    available::is_roaming,
    operations::served,
    standing::{Change, Cluster, Record, Records, promise::Excuse, why::Why},
    words::seconds,
};

const CHECK: Check = Check::Progresses;

/// What is waited for.
const WRITE: usize = 0;
const READ: usize = 1;
const CHANGE: usize = 2;

/// How one of these fares.
struct Want {
    /// What is to be said if it does not come.
    missing: &'static str,
    under_way: u64,
    /// When somebody first waited for one since the last success, or since progress is promised.
    began_ns: Option<u64>,
    /// Since when somebody waits; none while nobody wants any.
    since: Option<u64>,
    /// For how long somebody waited before that, all together.
    waited_ns: u64,
    succeeded_ns: Option<u64>,
}

impl Want {
    fn new(missing: &'static str) -> Want {
        Want { missing, under_way: 0, began_ns: None, since: None, waited_ns: 0, succeeded_ns: None }
    }

    /// What was waited for until now does not count.
    fn anew(&mut self, now_ns: u64) {
        self.since = (self.under_way > 0).then_some(now_ns);
        (self.began_ns, self.waited_ns) = (self.since, 0);
    }

    fn asked(&mut self, now_ns: u64) {
        if self.under_way == 0 {
            self.since = Some(now_ns);
            self.began_ns = self.began_ns.or(self.since);
        }
        self.under_way += 1;
    }

    fn ended(&mut self, now_ns: u64) {
        self.under_way = self.under_way.saturating_sub(1);
        if self.under_way == 0 {
            self.waited_ns = self.waited_until(now_ns);
            self.since = None;
        }
    }

    fn waited_until(&self, now_ns: u64) -> u64 {
        self.waited_ns + self.since.map_or(0, |since| now_ns.saturating_sub(since))
    }
}

/// A stall longer than the limit.
struct Stall {
    missing: &'static str,
    gap: Gap,
    /// How long somebody waited meanwhile.
    waited_ns: u64,
    why: Why,
}

struct Watch {
    cluster: Cluster,
    limit_ns: Option<u64>,
    wants: [Want; 3],
    /// Since when progress is promised and nothing has changed.
    promised_since: Option<u64>,
    /// Since when it is, whatever has changed.
    held_since: Option<u64>,
    /// For how long progress was promised, all together.
    promised_ns: u64,
    longest_ns: u64,
    excuses: Vec<Excuse>,
    stall: Option<Stall>,
    /// What had stalled for too long when somebody changed its role, if nothing succeeded since.
    stalled: Option<Stall>,
}

pub(crate) fn judge(evidence: &Evidence, within_ns: Option<u64>) -> Judgement {
    if evidence.traces.is_empty() {
        return Judgement::without_trace(CHECK, evidence.system_has_trace);
    }
    if evidence.nemesis.is_empty() {
        return Judgement::unknown(CHECK, "no nemesis log: nobody knows which faults stood", json!({}));
    }
    let mut roaming = evidence.history.iter().filter(|event| is_roaming(event));
    let (Some(first), Some(last)) =
        (roaming.next(), evidence.history.iter().rfind(|event| is_roaming(event)))
    else {
        return Judgement::unknown(CHECK, "no operation of a roaming client in the history", json!({}));
    };
    let mut watch = Watch {
        cluster: Cluster::default(),
        limit_ns: within_ns,
        wants: [
            Want::new("no write succeeded"),
            Want::new("no read succeeded"),
            Want::new("the change of the voters did not come to its end"),
        ],
        promised_since: None,
        held_since: None,
        promised_ns: 0,
        longest_ns: 0,
        excuses: Vec::new(),
        stall: None,
        stalled: None,
    };
    for record in Records::of(evidence).take_while(|record| record.time_ns() <= last.time_ns) {
        watch.see(&record, first.time_ns);
        if watch.stall.is_some() {
            break;
        }
    }
    watch.end(last.time_ns);
    watch.judgement()
}

impl Watch {
    fn see(&mut self, record: &Record, begins_ns: u64) {
        let now_ns = record.time_ns();
        match record {
            Record::Client(event) if is_roaming(event) => self.hear(event),
            Record::Client(_) => {}
            _ => {
                let members = matches!(record, Record::Nemesis(_))
                    || matches!(record, Record::Node(record) if may_change_members(&record.event));
                if members {
                    // What has stalled so far is told by how things stood before.
                    self.close_all(now_ns);
                }
                let changes_role = matches!(record, Record::Node(record) if is_role(&record.event));
                if changes_role && self.stalled.is_none() {
                    self.stalled = self.stalls(now_ns);
                }
                match self.cluster.see(record) {
                    Change::None => {}
                    Change::Roles => self.weigh(now_ns.max(begins_ns), false),
                    Change::Members => self.weigh(now_ns.max(begins_ns), true),
                }
                self.await_end_of_change(now_ns.max(begins_ns));
                // So is what ends with a leader of whom nothing is promised.
                if self.promised_since.is_none() {
                    self.stall = self.stall.take().or(self.stalled.take());
                }
            }
        }
    }

    /// While the voters are being changed somebody waits for the end of that.
    fn await_end_of_change(&mut self, now_ns: u64) {
        let want = &mut self.wants[CHANGE];
        match (self.cluster.is_joint(), want.under_way > 0) {
            (true, false) => want.asked(now_ns),
            (false, true) => {
                want.ended(now_ns);
                want.anew(now_ns);
            }
            _ => {}
        }
    }

    /// Looks again whether progress is promised.
    fn weigh(&mut self, now_ns: u64, anew: bool) {
        match self.cluster.promise() {
            Ok(()) => {
                self.held_since = self.held_since.or(Some(now_ns));
                if anew || self.promised_since.is_none() {
                    self.promised_since = Some(now_ns);
                    self.wants.iter_mut().for_each(|want| want.anew(now_ns));
                    self.stalled = None;
                }
            }
            Err(excuse) => {
                self.close_all(now_ns);
                self.count(now_ns);
                self.promised_since = None;
                if !self.excuses.contains(&excuse) {
                    self.excuses.push(excuse);
                }
            }
        }
    }

    fn count(&mut self, now_ns: u64) {
        self.promised_ns += self.held_since.take().map_or(0, |since| now_ns.saturating_sub(since));
    }

    fn hear(&mut self, event: &HistoryEvent) {
        let at = if event.f.is_read() { READ } else { WRITE };
        if event.kind == Kind::Invoke {
            return self.wants[at].asked(event.time_ns);
        }
        let answered = served(event);
        if answered {
            self.close(at, event.time_ns);
        }
        let want = &mut self.wants[at];
        want.ended(event.time_ns);
        if answered {
            want.succeeded_ns = Some(event.time_ns);
            want.anew(event.time_ns);
            self.stalled = None;
        }
    }

    fn close_all(&mut self, now_ns: u64) {
        for at in 0..self.wants.len() {
            self.close(at, now_ns);
        }
    }

    /// What has been waited for until now was waited for so long. Time in which nobody waited does not count.
    fn close(&mut self, at: usize, now_ns: u64) {
        if self.promised_since.is_none() {
            return;
        }
        let waited_ns = self.wants[at].waited_until(now_ns);
        if !self.exceeds(at, now_ns) {
            if at != CHANGE {
                self.longest_ns = self.longest_ns.max(waited_ns);
            }
        } else if let Some(stall) = self.stall_of(at, now_ns) {
            self.longest_ns = self.longest_ns.max(waited_ns);
            self.stall.get_or_insert(stall);
        }
    }

    fn exceeds(&self, at: usize, now_ns: u64) -> bool {
        self.limit_ns.is_some_and(|limit_ns| self.wants[at].waited_until(now_ns) > limit_ns)
    }

    fn stalls(&self, now_ns: u64) -> Option<Stall> {
        self.promised_since?;
        (0..self.wants.len()).filter(|at| self.exceeds(*at, now_ns)).find_map(|at| self.stall_of(at, now_ns))
    }

    /// What has been waited for, and why it did not come; nothing if it is not promised any more: while nobody leads
    /// logs may have changed unseen, and what was promised must be so at the end as well.
    fn stall_of(&self, at: usize, now_ns: u64) -> Option<Stall> {
        let want = &self.wants[at];
        let from_ns = want.began_ns?;
        self.cluster.promise().ok()?;
        let writes_succeed = self.wants[WRITE].succeeded_ns.is_some_and(|time_ns| time_ns > from_ns);
        let mut why = self.cluster.why(from_ns);
        match at {
            READ if writes_succeed => why.shape = "reads-unanswered",
            CHANGE => why.shape = "change-without-end",
            _ => {}
        }
        let gap = Gap { from_ns, to_ns: now_ns };
        Some(Stall { missing: want.missing, gap, waited_ns: want.waited_until(now_ns), why })
    }

    fn end(&mut self, now_ns: u64) {
        if self.stall.is_none() {
            self.close_all(now_ns);
        }
        self.count(now_ns);
    }

    fn judgement(self) -> Judgement {
        let mut data = json!({
            "within_ns": self.limit_ns,
            "promised_ns": self.promised_ns,
            "longest_ns": self.longest_ns,
        });
        if let Some(Stall { missing, gap, waited_ns, why: Why { shape, words } }) = self.stall {
            data["from_ns"] = Value::from(gap.from_ns);
            data["to_ns"] = Value::from(gap.to_ns);
            let reason = format!(
                "{missing} for {}, from {} to {}, though a majority could have gone on (the limit is {}): {words}",
                seconds(waited_ns),
                seconds(gap.from_ns),
                seconds(gap.to_ns),
                seconds(self.limit_ns.unwrap_or(0)),
            );
            return Judgement::invalid(CHECK, shape, reason, data);
        }
        let mut reason = format!(
            "for {} progress was promised, and no write or read waited longer than {} meanwhile",
            seconds(self.promised_ns),
            seconds(self.longest_ns)
        );
        if !self.excuses.is_empty() {
            let words: Vec<&str> = self.excuses.iter().map(|excuse| excuse.words()).collect();
            reason = format!("{reason}; nothing was promised while {}", words.join(", or "));
        }
        Judgement::valid(CHECK, reason, data)
    }
}

fn is_role(event: &mcp_chaos_evidence::TraceEvent) -> bool {
    matches!(event, mcp_chaos_evidence::TraceEvent::RoleChanged { .. })
}

fn may_change_members(event: &mcp_chaos_evidence::TraceEvent) -> bool {
    use mcp_chaos_evidence::TraceEvent;
    matches!(
        event,
        TraceEvent::Started { .. }
            | TraceEvent::Initialized { .. }
            | TraceEvent::ConfigChanged { .. }
            | TraceEvent::Stopped { .. }
            | TraceEvent::Refused { .. }
            | TraceEvent::Panicked { .. }
    )
}

#[cfg(test)]
mod tests {
    use mcp_chaos_evidence::{
        NemesisRecord, NodeId, Phase, Role, Status, TraceEvent, TraceRecord, node_name,
    };

    use super::*;
    use crate::{Verdict, testing};

    const MS: u64 = 1_000_000;

    /// A run told record by record; times in milliseconds.
    #[derive(Default)]
    struct Run {
        history: Vec<HistoryEvent>,
        traces: Vec<TraceRecord>,
        nemesis: Vec<NemesisRecord>,
    }

    /// So many nodes with one entry each; n1 leads term 1, and the others follow it.
    fn cluster(nodes: NodeId) -> Run {
        let mut run = Run::default();
        let voters: Vec<NodeId> = (1..=nodes).collect();
        for node in 1..=nodes {
            run.acts(0, node, TraceEvent::Initialized { cluster: "c".into(), voters: voters.clone() });
            run.acts(0, node, testing::started(1, Some(1), 0));
            let role = if node == 1 { Role::Leader } else { Role::Follower };
            run.acts(1, node, TraceEvent::RoleChanged { role, term: 1, leader: Some(1) });
            run.acts(2, node, testing::appended(1, 1, 7));
            run.acts(3, node, testing::committed(1));
        }
        run
    }

    impl Run {
        fn acts(&mut self, ms: u64, node: NodeId, event: TraceEvent) {
            self.traces.push(TraceRecord { time_ns: ms * MS, node, boot: 1, event });
        }

        fn suffers(&mut self, ms: u64, kind: &str, nodes: &[NodeId], links: &[(&str, &str)]) {
            let step = self.nemesis.len() as u64;
            let links = links.iter().map(|(from, to)| (from.to_string(), to.to_string())).collect();
            let record = testing::nemesis(Some(step), Phase::Install, kind, ms * MS, nodes);
            self.nemesis.push(NemesisRecord { links, ..record });
        }

        /// Nodes of these two sides do not hear each other.
        fn parts(&mut self, ms: u64, side: &[NodeId], other: &[NodeId]) {
            let names = |ids: &[NodeId]| ids.iter().map(|id| node_name(*id)).collect::<Vec<_>>();
            let (side, other) = (names(side), names(other));
            let pairs = side.iter().flat_map(|a| other.iter().map(move |b| (a.as_str(), b.as_str())));
            let links: Vec<_> = pairs.flat_map(|(a, b)| [(a, b), (b, a)]).collect();
            self.suffers(ms, "partition", &[], &links);
        }

        fn calls(&mut self, ms: u64, text: &str) {
            self.history.push(HistoryEvent { time_ns: ms * MS, ..testing::event(text) });
        }

        /// A write waits from the one time to the other, without an answer.
        fn waits(&mut self, from_ms: u64, to_ms: u64) {
            self.calls(from_ms, "1 invoke write 5");
            self.calls(to_ms, "1 info write 5");
        }

        fn judged(&self) -> Judgement {
            let evidence = Evidence {
                history: &self.history,
                traces: &self.traces,
                nemesis: &self.nemesis,
                system_has_trace: true,
            };
            judge(&evidence, Some(5_000 * MS))
        }

        #[track_caller]
        fn stalls(&self, shape: &str, words: &[&str]) {
            let judgement = self.judged();
            assert_eq!(judgement.shape.as_deref(), Some(shape), "{}", judgement.reason);
            for word in words {
                assert!(judgement.reason.contains(word), "{word}: {}", judgement.reason);
            }
        }

        #[track_caller]
        fn is_fine(&self, word: &str) {
            let judgement = self.judged();
            assert_eq!(judgement.verdict, Verdict::Valid, "{}", judgement.reason);
            assert!(judgement.reason.contains(word), "{}", judgement.reason);
        }
    }

    #[test]
    fn a_dead_minority_is_no_excuse_and_who_refuses_whom_is_told() {
        let mut run = cluster(3);
        run.suffers(1_000, "kill", &[1], &[]);
        run.acts(1_500, 3, testing::appended(2, 1, 8));
        run.acts(2_000, 2, testing::role(Role::PreCandidate, 1));
        run.acts(3_000, 2, testing::role(Role::Follower, 1));
        run.acts(4_000, 2, testing::role(Role::PreCandidate, 1));
        run.waits(1_000, 7_000);
        run.stalls(
            "no-leader",
            &[
                "no write succeeded for 6.000 s, from 1.000 s to 7.000 s",
                "n2 asks to in term 2",
                "n1 is dead since 1.000 s",
                "n3 refuses: its log is newer (term 1, index 2 against term 1, index 1)",
            ],
        );
        // With a success on the way nobody waited for more than 5 s.
        run.history.insert(1, HistoryEvent { time_ns: 4_000 * MS, ..testing::event("2 ok write 1") });
        run.history.insert(0, HistoryEvent { time_ns: 900 * MS, ..testing::event("2 invoke write 1") });
        run.is_fine("no write or read waited longer than 3.000 s");
    }

    #[test]
    fn without_a_majority_nothing_is_promised() {
        let mut run = cluster(3);
        run.suffers(1_000, "kill", &[1], &[]);
        run.suffers(1_000, "pause", &[2], &[]);
        run.waits(1_000, 20_000);
        run.is_fine("nothing was promised while no node that works had whole links to a majority");
    }

    #[test]
    fn whatever_changes_begins_the_time_anew() {
        let mut run = cluster(5);
        run.suffers(1_000, "kill", &[1], &[]);
        run.suffers(5_500, "kill", &[2], &[]);
        run.waits(1_000, 10_000);
        run.is_fine("longer than 4.500 s");
    }

    // Omni-Paxos' quorum-loss and constrained-election scenarios: all links are cut but those of one node.
    #[test]
    fn the_middle_of_a_star_can_lead_only_with_a_new_log() {
        let star = || {
            let mut run = cluster(5);
            for node in 2..=5 {
                let others: Vec<NodeId> = (2..=5).filter(|other| *other != node).collect();
                run.parts(1_000, &[node], &others);
            }
            // Before it led, n1 did not have the last entry.
            run.acts(1_100, 1, TraceEvent::RoleChanged { role: Role::Follower, term: 2, leader: None });
            run.waits(1_000, 9_000);
            run
        };
        star().stalls("no-leader", &["nobody leads"]);
        let mut run = star();
        for node in 2..=5 {
            run.acts(900, node, testing::appended(2, 1, 8));
        }
        run.is_fine("nobody with links to a majority had a log as new as theirs");
        // Its followers are connected to nobody else; but if it leads already, it can go on.
        let mut run = star();
        run.acts(1_200, 1, testing::leads(3));
        run.stalls("nothing-committed", &["n1 leads in term 3 but has committed nothing since 0.003 s"]);
    }

    #[test]
    fn a_deaf_leader_must_give_way() {
        let mut run = cluster(3);
        run.suffers(1_000, "one_way", &[2], &[("n2", "n1"), ("n3", "n1")]);
        run.waits(1_000, 9_000);
        run.stalls(
            "leader-without-quorum",
            &[
                "n1 leads in term 1 though only 1 of 3 voters answer it",
                "its answers are lost",
                "n2, n3 still follow it",
            ],
        );
    }

    #[test]
    fn a_slow_leader_excuses_and_a_slow_follower_does_not() {
        for (slow, fine) in [(1, true), (2, false)] {
            let mut run = cluster(3);
            run.suffers(1_000, "slow_disk", &[slow], &[]);
            run.waits(1_000, 9_000);
            if fine {
                run.is_fine("the leader was slow");
            } else {
                run.stalls("nothing-committed", &["n1 leads in term 1"]);
            }
        }
    }

    // A slow leader in the minority was long in noticing; its follower named it to clients, who asked it in vain, and
    // then that follower again.
    #[test]
    fn a_slow_leader_that_was_deposed_may_mislead_clients() {
        for (is_slow, fine) in [(true, true), (false, false)] {
            let mut run = cluster(5);
            if is_slow {
                run.suffers(900, "slow_node", &[1], &[]);
            }
            run.parts(1_000, &[1, 2], &[3, 4, 5]);
            run.acts(2_000, 3, testing::leads(2));
            run.waits(1_000, 9_000);
            if fine {
                run.is_fine("a slow node was yet to notice that it led no more");
            } else {
                run.stalls("nothing-committed", &["n3 leads in term 2"]);
            }
        }
    }

    // To notice that it leads no more takes no disk, and no good links: an election timeout without a quorum is enough.
    #[test]
    fn a_leader_that_was_deposed_excuses_only_while_it_is_slow_to_hear() {
        let deposed = |kind: &str, nodes: &[NodeId], links: &[(&str, &str)]| {
            let mut run = cluster(5);
            run.suffers(900, kind, nodes, links);
            run.parts(1_000, &[1, 2], &[3, 4, 5]);
            run.acts(2_000, 3, testing::leads(2));
            run.waits(1_000, 9_000);
            run
        };
        deposed("clock_drift", &[1], &[]).is_fine("a slow node was yet to notice that it led no more");
        deposed("some_fault_of_tomorrow", &[1], &[]).is_fine("a slow node was yet to notice");
        for kind in ["slow_disk", "slow_sync", "lying_fsync"] {
            deposed(kind, &[1], &[]).stalls("nothing-committed", &["n3 leads in term 2"]);
        }
        let lossy = [("n1", "n2"), ("n1", "n3"), ("n1", "n4"), ("n1", "n5")];
        deposed("drop", &[], &lossy).stalls("nothing-committed", &["n3 leads in term 2"]);
    }

    #[test]
    fn a_full_disk_does_not_excuse_who_leads_with_it() {
        let mut run = cluster(3);
        run.suffers(1_000, "full_disk", &[1], &[]);
        run.waits(1_000, 9_000);
        run.stalls("nothing-committed", &["n1's disk is full since 1.000 s"]);
    }

    #[test]
    fn what_the_harness_could_not_do_or_nobody_knows_is_not_relied_on() {
        for (kind, status) in [("kill", Status::Failed), ("lying_fsync", Status::Done)] {
            let mut run = cluster(3);
            run.suffers(1_000, kind, &[1], &[]);
            run.nemesis[0].status = status;
            run.waits(1_000, 9_000);
            run.is_fine("the leader was slow, or needed nodes or links that were");
        }
    }

    #[test]
    fn a_wrong_time_of_day_excuses_nothing() {
        let mut run = cluster(3);
        run.suffers(1_000, "clock_offset", &[1, 2, 3], &[]);
        run.waits(1_000, 9_000);
        run.stalls("nothing-committed", &["n1 leads in term 1"]);
    }

    #[test]
    fn time_in_which_nobody_wants_anything_is_no_stall() {
        let mut run = cluster(3);
        run.suffers(900, "kill", &[3], &[]);
        run.waits(1_000, 2_000);
        run.waits(8_000, 8_020);
        run.is_fine("no write or read waited longer than 1.020 s");
        run.waits(9_000, 13_500);
        run.stalls("nothing-committed", &["no write succeeded for 5.520 s, from 1.000 s to 13.500 s"]);
    }

    #[test]
    fn a_stall_counts_also_if_an_excuse_comes_after_it() {
        let mut run = cluster(3);
        run.suffers(900, "slow_node", &[2], &[]);
        run.waits(1_000, 14_000);
        run.acts(12_000, 1, testing::role(Role::Follower, 1));
        run.acts(12_100, 2, testing::leads(2));
        run.stalls("nothing-committed", &["no write succeeded for 11.000 s, from 1.000 s to 12.000 s"]);
    }

    #[test]
    fn a_leader_out_of_the_clients_reach_excuses() {
        let mut run = cluster(3);
        run.suffers(1_000, "partition", &[1], &[("clients", "n1")]);
        run.waits(1_000, 9_000);
        run.is_fine("cut off from the clients");
    }

    #[test]
    fn while_nobody_leads_it_excuses_nothing_that_clients_do_not_reach_one_who_could() {
        let mut run = cluster(3);
        run.suffers(900, "partition", &[2], &[("clients", "n2"), ("n2", "clients")]);
        run.suffers(1_000, "kill", &[1], &[]);
        run.waits(1_000, 9_000);
        run.stalls("no-leader", &["none of n2, n3 asks to"]);
        run.acts(3_000, 2, testing::leads(2));
        run.is_fine("the leader was cut off from the clients");
    }

    #[test]
    fn clients_need_to_reach_only_the_newest_leader() {
        let mut run = cluster(3);
        run.suffers(1_000, "partition", &[1], &[("clients", "n1"), ("n1", "clients")]);
        run.acts(1_500, 2, testing::leads(2));
        run.waits(1_000, 9_000);
        run.stalls("nothing-committed", &["n2 leads in term 2"]);
    }

    fn configured(index: u64, voters: &[NodeId], outgoing: &[NodeId]) -> TraceEvent {
        TraceEvent::ConfigChanged {
            index,
            voters: voters.to_vec(),
            learners: Vec::new(),
            voters_outgoing: outgoing.to_vec(),
        }
    }

    /// Five nodes, of which n1 to n3 vote, and n4 takes n3's place from 500 ms on.
    fn joint() -> Run {
        let mut run = cluster(5);
        for node in 1..=5 {
            run.acts(500, node, configured(2, &[1, 2, 4], &[1, 2, 3]));
        }
        run
    }

    #[test]
    fn while_two_majorities_decide_and_both_can_it_must_go_on() {
        let mut run = joint();
        run.suffers(900, "kill", &[4], &[]);
        run.waits(1_000, 9_000);
        run.stalls("nothing-committed", &["n1 leads in term 1", "n4 is dead"]);
        run.suffers(900, "kill", &[2], &[]);
        run.is_fine("no node that works had whole links to a majority");
    }

    #[test]
    fn a_change_of_the_voters_must_come_to_its_end() {
        let run = |left_ms: Option<u64>| {
            let mut run = joint();
            run.suffers(600, "transfer_leader", &[], &[]);
            for ms in (1_000..9_000).step_by(500) {
                run.calls(ms, "1 invoke write 5");
                run.calls(ms + 20, "1 ok write 5");
            }
            if let Some(ms) = left_ms {
                run.acts(ms, 1, configured(3, &[1, 2, 4], &[]));
            }
            run
        };
        let words = "the change of the voters did not come to its end for 7.520 s, from 1.000 s to 8.520 s";
        run(None).stalls("change-without-end", &[words]);
        run(Some(4_000)).is_fine("no write or read waited longer than 0.020 s");
        run(Some(7_000)).stalls("change-without-end", &["from 1.000 s to 7.000 s"]);
        let mut halved = run(None);
        halved.suffers(900, "kill", &[2, 4], &[]);
        halved.is_fine("no node that works had whole links to a majority");
    }

    #[test]
    fn who_lags_behind_a_change_of_the_voters_is_counted_on_all_the_same() {
        let mut run = cluster(4);
        run.acts(500, 1, configured(0, &[1, 2, 3], &[]));
        run.acts(500, 1, configured(2, &[1, 2, 3, 4], &[]));
        run.suffers(900, "kill", &[4], &[]);
        run.waits(1_000, 9_000);
        run.stalls("nothing-committed", &["n1 leads in term 1"]);
    }

    // A third voter was added to two; only the leader had applied that when it died, and each of the others still needs
    // what it knew: n2 its vote, n3 that it votes at all.
    #[test]
    fn who_goes_by_an_old_configuration_needs_the_majority_of_that_one_too() {
        let run = |applied: bool| {
            let mut run = cluster(3);
            run.acts(400, 3, configured(1, &[1, 2], &[]));
            run.acts(400, 2, configured(1, &[1, 2], &[]));
            run.acts(500, 1, configured(2, &[1, 2, 3], &[]));
            if applied {
                run.acts(600, 2, configured(2, &[1, 2, 3], &[]));
            }
            run.suffers(900, "kill", &[1], &[]);
            run.waits(1_000, 9_000);
            run
        };
        run(false).is_fine("no node that works had whole links to a majority");
        run(true).stalls("no-leader", &["n1 is dead"]);
    }

    #[test]
    fn a_change_of_the_members_impairs_nobody() {
        let mut run = cluster(3);
        run.suffers(900, "add_node", &[1], &[]);
        run.waits(1_000, 9_000);
        run.stalls("nothing-committed", &["n1 leads in term 1"]);
    }

    #[test]
    fn reads_must_go_on_as_well_as_writes() {
        let mut run = cluster(3);
        run.suffers(1_000, "kill", &[3], &[]);
        run.calls(1_000, "9 invoke read");
        for ms in (1_000..9_000).step_by(500) {
            run.calls(ms, "1 invoke write 5");
            run.calls(ms + 20, "1 ok write 5");
        }
        run.calls(9_000, "9 fail read");
        run.stalls("reads-unanswered", &["no read succeeded for 8.000 s"]);
    }

    #[test]
    fn elections_without_end_are_told() {
        let mut run = cluster(3);
        run.suffers(1_000, "one_way", &[3], &[("n3", "n1")]);
        for term in 2..8 {
            run.acts(1_000 * term, 1 + term % 2, testing::leads(term));
            run.acts(1_000 * term + 500, 1 + term % 2, testing::role(Role::Follower, term));
        }
        run.waits(1_000, 9_000);
        run.stalls("leaders-change", &["leaders changed 6 times, in terms 2 to 7"]);
    }

    #[test]
    fn missing_evidence_is_unknown_or_not_applicable() {
        let evidence = Evidence { history: &[], traces: &[], nemesis: &[], system_has_trace: false };
        assert_eq!(judge(&evidence, None).verdict, Verdict::NotApplicable);
        assert_eq!(cluster(3).judged().verdict, Verdict::Unknown);
    }
}
