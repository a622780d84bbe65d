//! Changes of the membership, as an administrator makes them: asks the leader, goes where it is sent, looks how far
//! things are, and asks again until it is done, or until everything is healed.
//!
//! An administrator is careful: never so many are removed that of those who vote no majority lives. A request
//! that was never answered may still take effect, so whoever was to be removed by it counts as gone.

use std::collections::BTreeMap;

use mcp_chaos_consensus::{ChangeRefused, MembershipChange};
use mcp_chaos_evidence::{NodeId, Phase, Status, TraceEvent, node_name};
use mcp_manager::Input;
use mcp_manager::command::{Request, Response};
use mcp_manager::node::NodeStatus;
use serde_json::{Value, json};

use super::{Progress, RETRY_NS};
use crate::plan::Action;
use crate::process::State;
use crate::world::{CLUSTER, Event, World};

/// Tickets of administrators' requests have this bit, and no client's have.
const TICKETS: u64 = 1 << 63;
/// An administrator gives an answer so long before asking again.
const PATIENCE_NS: u64 = 1_000_000_000;

/// Whether a request with this ticket is an administrator's (and not the nemesis's own, which nobody waits for).
pub(in crate::world) fn is_errand(ticket: u64) -> bool {
    ticket & TICKETS != 0 && ticket != super::NEMESIS_TICKET
}

/// What is to become so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Add { spare: NodeId },
    Remove { node: NodeId },
    Replace { lost: NodeId, spare: NodeId },
}

impl Goal {
    fn spare(self) -> Option<NodeId> {
        match self {
            Goal::Add { spare } | Goal::Replace { spare, .. } => Some(spare),
            Goal::Remove { .. } => None,
        }
    }

    /// Who is to go.
    fn leaver(self) -> Option<NodeId> {
        match self {
            Goal::Remove { node } | Goal::Replace { lost: node, .. } => Some(node),
            Goal::Add { .. } => None,
        }
    }

    /// What has to be asked for next, as the leader sees things; nothing once the goal is reached.
    fn next(self, seen: &NodeStatus) -> Option<MembershipChange> {
        let votes = |id| seen.voters.contains(&id) || seen.voters_outgoing.contains(&id);
        let listens = |id| seen.learners.contains(&id);
        match self {
            Goal::Add { spare } | Goal::Replace { spare, .. } if !votes(spare) && !listens(spare) => {
                Some(MembershipChange::AddLearner(spare))
            }
            Goal::Add { spare } => listens(spare).then_some(MembershipChange::Promote(spare)),
            Goal::Replace { lost, spare } if votes(lost) && listens(spare) => {
                Some(MembershipChange::Replace { old: lost, new: spare })
            }
            // Another administrator has removed the lost one meanwhile.
            Goal::Replace { spare, .. } if listens(spare) => Some(MembershipChange::Promote(spare)),
            Goal::Replace { lost: node, .. } | Goal::Remove { node } => {
                (votes(node) || listens(node)).then_some(MembershipChange::Remove(node))
            }
        }
    }
}

/// Who belongs to the cluster, as far as any node has ever applied it: a node that lives may know an older state of
/// things than one that is down.
#[derive(Default)]
pub(super) struct Membership {
    index: u64,
    voters: Vec<NodeId>,
    voters_outgoing: Vec<NodeId>,
    learners: Vec<NodeId>,
    /// At which index each node's own configuration stands.
    known: BTreeMap<NodeId, u64>,
}

impl Membership {
    /// A node has applied something.
    pub(super) fn see(&mut self, node: NodeId, event: &TraceEvent) {
        let TraceEvent::ConfigChanged { index, voters, voters_outgoing, learners } = event else { return };
        self.known.insert(node, *index);
        if *index >= self.index {
            self.index = *index;
            self.voters.clone_from(voters);
            self.voters_outgoing.clone_from(voters_outgoing);
            self.learners.clone_from(learners);
        }
    }

    /// Whether the node goes by the newest configuration. A restart does not undo that.
    fn is_known_to(&self, node: NodeId) -> bool {
        self.known.get(&node).is_some_and(|index| *index >= self.index)
    }

    fn has(&self, node: NodeId) -> bool {
        [&self.voters, &self.voters_outgoing, &self.learners].iter().any(|ids| ids.contains(&node))
    }
}

/// One change under way.
pub(super) struct Errand {
    step: usize,
    goal: Goal,
    begun_ns: u64,
    /// The record of installation, if it is written already.
    record: Option<usize>,
    anchor: Option<NodeId>,
    /// The request that waits: its ticket, and when it was made.
    waits: Option<(u64, u64)>,
    /// Whom a follower named.
    sent_to: Option<NodeId>,
    /// How often it was asked, redirected, and refused, by reason.
    asked: u64,
    redirected: u64,
    refused: BTreeMap<String, u64>,
    /// What was asked for may have taken effect, or take effect yet.
    is_open: bool,
    /// Why nothing could be asked the last time.
    obstacle: Option<String>,
}

impl World {
    /// Begins a change of the membership, or says why there is none to make.
    pub(super) fn begin_errand(&mut self, step: usize, action: &Action, anchor: Option<NodeId>) {
        let spare = self.next_spare();
        let goal = match (action, spare) {
            (Action::RemoveNode(node), _) if !self.nemesis.membership.has(*node) => {
                return self.skip(step, format!("{} was no member", node_name(*node)));
            }
            (Action::RemoveNode(node), _) => Goal::Remove { node: *node },
            (Action::AddNode(_), Some(spare)) => Goal::Add { spare },
            (Action::ReplaceNode(nodes), Some(spare)) => Goal::Replace { lost: nodes[0], spare },
            _ => return self.skip(step, "there is no spare node left".to_owned()),
        };
        if let Goal::Replace { lost, .. } = goal
            && let Some(reason) = self.may_not_lose(lost)
        {
            return self.skip(step, reason);
        }
        let mut errand = Errand {
            step,
            goal,
            begun_ns: self.now_ns,
            record: None,
            anchor,
            waits: None,
            sent_to: None,
            asked: 0,
            redirected: 0,
            refused: BTreeMap::new(),
            is_open: false,
            obstacle: None,
        };
        let number = self.nemesis.errands.len();
        if let Goal::Replace { lost, spare } = goal {
            // The machine is lost first; what comes of it is told at the end.
            let action = Action::ReplaceNode(vec![lost, spare]);
            let mut record = self.record(step, Phase::Install, Status::Done, Some((&action, anchor)));
            let before = self.words(&[lost]);
            self.lose(lost);
            record.evidence = json!({"processes_before": before, "processes": self.words(&[lost])});
            errand.record = Some(self.records.nemesis.len());
            self.records.nemesis(record);
        }
        self.nemesis.errands.push(errand);
        self.nemesis.steps[step].progress = Progress::OnErrand(number);
        self.queue.push(self.now_ns, Event::ErrandDue { errand: number });
    }

    /// The first spare that no errand was about.
    fn next_spare(&self) -> Option<NodeId> {
        let first = self.plan.nodes - self.plan.spares + 1;
        let taken = |id: &NodeId| self.nemesis.errands.iter().any(|errand| errand.goal.spare() == Some(*id));
        (first..=self.plan.nodes).find(|id| !taken(id))
    }

    /// Why this machine may not be lost for good. A majority has to live that goes by the newest configuration: a node
    /// goes by a change once it has applied it, and until then might wait for ever for the votes of an older majority,
    /// though the newer one lives.
    fn may_not_lose(&self, lost: NodeId) -> Option<String> {
        let name = node_name(lost);
        if self.machines[lost as usize - 1].lost {
            return Some(format!("{name} was lost already"));
        }
        if self.nemesis.errands.iter().any(|errand| errand.is_open && errand.goal.leaver().is_some()) {
            return Some("another node may be about to leave".to_owned());
        }
        let membership = &self.nemesis.membership;
        if !membership.voters.contains(&lost) {
            return Some(format!("{name} was no voter"));
        }
        let living = |id: &&NodeId| **id != lost && self.will_live(**id);
        let knowing = |id: &&NodeId| living(id) && membership.is_known_to(**id);
        let enough = |among: &dyn Fn(&&NodeId) -> bool| {
            let majority = |voters: &Vec<NodeId>| {
                voters.is_empty() || 2 * voters.iter().filter(among).count() > voters.len()
            };
            majority(&membership.voters) && majority(&membership.voters_outgoing)
        };
        if !enough(&living) {
            Some(format!("without {name} no majority would live"))
        } else if !enough(&knowing) {
            Some(format!("without {name} no majority would live that has heard of the newest change"))
        } else {
            None
        }
    }

    /// Whether the node's process is up, or will be again.
    fn will_live(&self, node: NodeId) -> bool {
        !matches!(self.machines[node as usize - 1].state, State::Ended(_))
    }

    /// The administrator looks again.
    pub(in crate::world) fn errand_goes_on(&mut self, number: usize) {
        let step = self.nemesis.errands[number].step;
        if !matches!(self.nemesis.steps[step].progress, Progress::OnErrand(_)) {
            return self.see_to_joining(number);
        }
        self.queue.push(self.now_ns + RETRY_NS, Event::ErrandDue { errand: number });
        let now_ns = self.now_ns;
        let errand = &mut self.nemesis.errands[number];
        if errand.waits.is_some_and(|(_, asked_ns)| now_ns < asked_ns + PATIENCE_NS) {
            return;
        }
        errand.waits = None;
        let goal = errand.goal;
        if let Some(spare) = goal.spare() {
            self.have_join(number, spare);
        }
        let sent_to = self.nemesis.errands[number].sent_to.take();
        let asked = sent_to.or_else(|| self.leader());
        let node = asked.and_then(|id| self.machines[id as usize - 1].live_node());
        let Some(node) = node.filter(|node| node.is_founded()) else {
            self.nemesis.errands[number].obstacle = Some("nobody led".to_owned());
            return;
        };
        let (id, seen) = (node.id(), node.status());
        match goal.next(&seen) {
            None if node.is_leader() => self.errand_ends(number, &seen),
            None => {}
            Some(change) => match self.unwise(number, change) {
                Some(reason) => self.nemesis.errands[number].obstacle = Some(reason),
                None => self.ask(number, id, change),
            },
        }
    }

    /// Nothing more is asked for, but whoever was made a member meanwhile is told to join until it has: a restart
    /// forgets that it was told.
    fn see_to_joining(&mut self, number: usize) {
        let errand = &self.nemesis.errands[number];
        let Some(spare) = errand.goal.spare().filter(|_| errand.asked > 0) else { return };
        let founded = self.machines[spare as usize - 1].live_node().is_some_and(|node| node.is_founded());
        if !founded {
            self.have_join(number, spare);
            self.queue.push(self.now_ns + RETRY_NS, Event::ErrandDue { errand: number });
        }
    }

    /// A spare that is up and empty is told to wait for the cluster.
    fn have_join(&mut self, number: usize, spare: NodeId) {
        let machine = self.machine(spare);
        let life = machine.life;
        let waits = machine.live_node().is_some_and(|node| !node.is_founded() && !node.is_joining());
        if waits {
            let request = Request::Join { cluster: CLUSTER.to_owned() };
            let ticket = self.errand_ticket(number);
            self.due.push_back((spare, life, Input::client(ticket, request)));
        }
    }

    fn errand_ticket(&mut self, number: usize) -> u64 {
        self.nemesis.errand_requests += 1;
        TICKETS | (number as u64) << 32 | self.nemesis.errand_requests
    }

    fn ask(&mut self, number: usize, node: NodeId, change: MembershipChange) {
        let (ticket, now_ns) = (self.errand_ticket(number), self.now_ns);
        let errand = &mut self.nemesis.errands[number];
        errand.asked += 1;
        errand.obstacle = None;
        errand.waits = Some((ticket, now_ns));
        errand.is_open |= matches!(change, MembershipChange::Remove(_) | MembershipChange::Replace { .. });
        let request = Request::ChangeMembership(change);
        let life = self.machine(node).life;
        self.due.push_back((node, life, Input::client(ticket, request)));
    }

    /// Why it would be unwise to ask for a removal: of those who then vote no majority might live.
    fn unwise(&self, number: usize, change: MembershipChange) -> Option<String> {
        let MembershipChange::Remove(node) = change else { return None };
        let others = self.nemesis.errands.iter().enumerate();
        let mut leaving: Vec<NodeId> = others
            .filter(|(other, errand)| *other != number && errand.is_open)
            .filter_map(|(_, errand)| errand.goal.leaver())
            .filter(|id| self.will_live(*id))
            .collect();
        leaving.push(node);
        let voters = self.nemesis.membership.voters.iter();
        let left: Vec<NodeId> = voters.copied().filter(|id| !leaving.contains(id)).collect();
        let up = |id: &&NodeId| matches!(self.machines[**id as usize - 1].state, State::Up(_));
        (2 * left.iter().filter(up).count() <= left.len())
            .then(|| format!("without {} no majority would have lived", node_name(node)))
    }

    /// A node answers an administrator.
    pub(in crate::world) fn errand_hears(&mut self, ticket: u64, response: &Response) {
        let number = (ticket >> 32 & 0x7fff_ffff) as usize;
        let errand = &mut self.nemesis.errands[number];
        if errand.waits.is_none_or(|(waits, _)| waits != ticket) {
            return;
        }
        errand.waits = None;
        match response {
            Response::NotLeader { leader } => {
                errand.redirected += 1;
                errand.sent_to = *leader;
            }
            Response::ChangeRefused { why } => {
                *errand.refused.entry(reason_in_a_word(*why).to_owned()).or_default() += 1;
                errand.obstacle = Some(why.to_string());
            }
            Response::Unavailable { reason } | Response::Unknown { reason } => {
                errand.obstacle = Some(reason.clone());
            }
            _ => {}
        }
    }

    fn errand_ends(&mut self, number: usize, seen: &NodeStatus) {
        let evidence = self.evidence_of_errand(number, Some(seen));
        let errand = &mut self.nemesis.errands[number];
        errand.is_open = false;
        let (step, goal, record, anchor) = (errand.step, errand.goal, errand.record, errand.anchor);
        let action = match goal {
            Goal::Add { spare } => Action::AddNode(vec![spare]),
            Goal::Remove { node } => Action::RemoveNode(node),
            Goal::Replace { lost, spare } => Action::ReplaceNode(vec![lost, spare]),
        };
        if record.is_none() {
            let mut record = self.record(step, Phase::Install, Status::Done, Some((&action, anchor)));
            record.evidence = evidence.clone();
            self.records.nemesis(record);
        }
        let mut record = self.record(step, Phase::Heal, Status::Done, Some((&action, anchor)));
        record.evidence = evidence;
        self.nemesis.steps[step].progress = Progress::Over;
        self.records.nemesis(record);
    }

    /// Everything is healed, and the administrator gives up.
    pub(super) fn errand_is_given_up(&mut self, number: usize) {
        let evidence = self.evidence_of_errand(number, None);
        let errand = &self.nemesis.errands[number];
        let (step, anchor, goal) = (errand.step, errand.anchor, errand.goal);
        let obstacle = errand.obstacle.clone().unwrap_or_else(|| "nobody answered".to_owned());
        let reason = format!("the change of the membership was not over before the heal: {obstacle}");
        match (errand.record, goal) {
            (Some(_), Goal::Replace { lost, spare }) => {
                // The machine stays lost; only its place was not taken.
                let action = Action::ReplaceNode(vec![lost, spare]);
                let mut record = self.record(step, Phase::Heal, Status::Skipped, Some((&action, anchor)));
                record.evidence = evidence;
                record.reason = Some(reason);
                self.nemesis.steps[step].progress = Progress::Over;
                self.records.nemesis(record);
            }
            _ => self.skip(step, reason),
        }
    }

    fn evidence_of_errand(&self, number: usize, seen: Option<&NodeStatus>) -> Value {
        let errand = &self.nemesis.errands[number];
        let names = |ids: &[NodeId]| ids.iter().map(|id| node_name(*id)).collect::<Vec<_>>();
        let mut evidence = json!({
            "asked": errand.asked,
            "redirected": errand.redirected,
            "refused": errand.refused,
            "took_ns": self.now_ns - errand.begun_ns,
        });
        if let Some(seen) = seen {
            evidence["voters"] = json!(names(&seen.voters));
            evidence["learners"] = json!(names(&seen.learners));
        }
        evidence
    }
}

fn reason_in_a_word(why: ChangeRefused) -> &'static str {
    match why {
        ChangeRefused::UnderWay => "change_under_way",
        ChangeRefused::NewLeader => "new_leader",
        ChangeRefused::Behind { .. } => "behind",
        ChangeRefused::Silent(_) => "silent",
        _ => "other",
    }
}
