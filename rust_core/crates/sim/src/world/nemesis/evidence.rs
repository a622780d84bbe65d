//! What the nemesis writes down: what was done to whom, and what shows that it held.

use mcp_chaos_evidence::{NemesisRecord, NodeId, Phase, Status, node_name};
use serde_json::{Map, Value, json};

use super::{Force, StepState};
use crate::plan::{Action, Disturbance, Slow};
use crate::world::{START_NS, World, end_name};

impl World {
    pub(super) fn record(
        &self,
        step: usize,
        phase: Phase,
        status: Status,
        target: Option<(&Action, Option<NodeId>)>,
    ) -> NemesisRecord {
        let StepState { step, planned_ns, .. } = &self.nemesis.steps[step];
        let planned_ns = match phase {
            Phase::Heal => planned_ns.map(|planned_ns| match step.for_ns {
                Some(for_ns) => planned_ns + for_ns,
                None => START_NS + self.plan.timeline.heal_ns,
            }),
            _ => *planned_ns,
        };
        let (nodes, links) =
            target.map_or((&[][..], &[][..]), |(action, _)| (action.nodes(), action.links()));
        NemesisRecord {
            step: Some(step.id),
            phase,
            status,
            planned_ns,
            time_ns: self.now_ns,
            kind: step.kind.clone(),
            nodes: nodes.to_vec(),
            links: links.iter().map(|(from, to)| (end_name(*from), end_name(*to))).collect(),
            anchor: target.and_then(|(_, anchor)| anchor),
            evidence: Value::Null,
            reason: None,
            fixed: step.fixed,
        }
    }

    /// Each node's process state in a word.
    pub(super) fn words(&self, nodes: &[NodeId]) -> Map<String, Value> {
        let word = |node: &NodeId| (node_name(*node), Value::from(self.machines[*node as usize - 1].word()));
        nodes.iter().map(word).collect()
    }

    /// What shows that a fault has begun.
    pub(super) fn evidence(&self, force: &Force, before: Map<String, Value>) -> Value {
        match &force.action {
            Action::Cut { .. } | Action::Disturb { .. } | Action::Reset { .. } => {
                self.evidence_of_links(force)
            }
            Action::TransferLeader(_) => json!({"leader_before": force.leader_before.map(node_name)}),
            Action::Clock { .. } => json!({"clocks": self.clocks(force)}),
            Action::Lie(_) => json!({"lies": self.lies(force)}),
            Action::Corrupt { .. } => json!({"flipped": force.flipped}),
            action => json!({"processes_before": before, "processes": self.words(action.nodes())}),
        }
    }

    /// When the fault ends it is known what it did: the record of its beginning is completed.
    pub(super) fn complete_evidence(&mut self, force: &Force) {
        let evidence = match &force.action {
            Action::Cut { .. } | Action::Disturb { .. } => self.evidence_of_links(force),
            Action::FailDisk { nodes, .. } => {
                let failures: Map<String, Value> = nodes
                    .iter()
                    .zip(&force.failures_before)
                    .map(|(node, before)| {
                        let failures = self.machines[*node as usize - 1].disk_failures - before;
                        (node_name(*node), Value::from(failures))
                    })
                    .collect();
                let words = self.words(nodes);
                let mut evidence = self.records.nemesis[force.record].evidence.take();
                evidence["disk_failures"] = Value::Object(failures);
                evidence["processes_at_end"] = Value::Object(words);
                evidence
            }
            Action::Slow { what, .. } => {
                let mut evidence = self.records.nemesis[force.record].evidence.take();
                evidence["slowed"] = Value::Object(self.slowed(force, *what));
                evidence
            }
            Action::Pause(_) => {
                let withheld: Map<String, Value> = force
                    .paused
                    .iter()
                    .map(|(node, _, before)| {
                        let withheld = self.machines[*node as usize - 1].ticks_withheld - before;
                        (node_name(*node), Value::from(withheld))
                    })
                    .collect();
                let mut evidence = self.records.nemesis[force.record].evidence.take();
                evidence["ticks_withheld"] = Value::Object(withheld);
                evidence
            }
            Action::TransferLeader(_) => {
                json!({"leader_before": force.leader_before.map(node_name), "leader_after": self.leader().map(node_name)})
            }
            Action::Clock { .. } => json!({"clocks": self.clocks(force)}),
            Action::Lie(_) => json!({"lies": self.lies(force)}),
            Action::Kill(_)
            | Action::PowerOff(_)
            | Action::Restart(_)
            | Action::Wipe(_)
            | Action::Corrupt { .. }
            | Action::Reset { .. }
            | Action::AddNode(_)
            | Action::RemoveNode(_)
            | Action::ReplaceNode(_) => return,
            Action::SnapshotNow(nodes) => {
                let mut evidence = self.records.nemesis[force.record].evidence.take();
                evidence["snapshots"] = Value::Object(self.snapshot_indexes(nodes));
                evidence
            }
        };
        self.records.nemesis[force.record].evidence = evidence;
    }

    /// What each node's disk lied about since the fault began, and what of that is gone.
    fn lies(&self, force: &Force) -> Map<String, Value> {
        let nodes = force.action.nodes().iter().zip(&force.lies_before).map(|(node, before)| {
            // A disk that was wiped meanwhile has lied about nothing yet.
            let now = self.machines[*node as usize - 1].disk().lies();
            let lies = json!({
                "syncs": now.syncs.saturating_sub(before.syncs),
                "lost_bytes": now.lost_bytes.saturating_sub(before.lost_bytes),
                "lost_names": now.lost_names.saturating_sub(before.lost_names),
            });
            (node_name(*node), lies)
        });
        nodes.collect()
    }

    /// By how much each node's time of day is ahead, and how many ticks it had since the fault began.
    fn clocks(&self, force: &Force) -> Map<String, Value> {
        let nodes = force.action.nodes().iter().zip(&force.ticks_before).map(|(node, before)| {
            let machine = &self.machines[*node as usize - 1];
            let clock =
                json!({"ahead_ns": machine.clock.ahead_ns(self.now_ns), "ticks": machine.ticks - before});
            (node_name(*node), clock)
        });
        nodes.collect()
    }

    /// Up to which index each node's newest snapshot reaches, on its disk or on the way there.
    fn snapshot_indexes(&self, nodes: &[NodeId]) -> Map<String, Value> {
        let index = |node: &NodeId| {
            let live = self.machines[*node as usize - 1].live_node();
            (node_name(*node), Value::from(live.map(|node| node.newest_snapshot())))
        };
        nodes.iter().map(index).collect()
    }

    /// What each node was slowed at since the fault began, by whatever step slowed it.
    fn slowed(&self, force: &Force, what: Slow) -> Map<String, Value> {
        let nodes = force.action.nodes().iter().zip(&force.slowed_before).map(|(node, before)| {
            let now = self.machines[*node as usize - 1].slowed;
            let mut slowed = match what {
                Slow::Node => json!({"inputs": now.inputs - before.inputs}),
                Slow::Disk => {
                    json!({"writes": now.writes - before.writes, "syncs": now.syncs - before.syncs})
                }
                Slow::Sync => json!({"syncs": now.syncs - before.syncs}),
            };
            slowed["added_ns"] = Value::from(now.added_ns - before.added_ns);
            (node_name(*node), slowed)
        });
        nodes.collect()
    }

    /// What each link did since the fault began, in messages.
    fn evidence_of_links(&self, force: &Force) -> Value {
        let links = force.action.links().iter().zip(&force.links_before).map(|((from, to), before)| {
            let now = self.network.counters(*from, *to);
            let mut link = json!({
                "link": [end_name(*from), end_name(*to)],
                "sent": now.sent - before.sent,
                "withheld": now.withheld - before.withheld,
                "delayed": now.delayed - before.delayed,
                "delivered": now.delivered - before.delivered,
            });
            match force.action {
                Action::Reset { .. } => link["torn"] = Value::from(now.torn - before.torn),
                Action::Disturb { by: Disturbance::Drop { .. }, .. } => {
                    link["dropped"] = Value::from(now.dropped - before.dropped);
                }
                Action::Disturb { by: Disturbance::Duplicate { .. }, .. } => {
                    link["duplicated"] = Value::from(now.duplicated - before.duplicated);
                }
                Action::Disturb { by: Disturbance::Reorder { .. }, .. } => {
                    link["reordered"] = Value::from(now.reordered - before.reordered);
                }
                Action::Disturb { by: Disturbance::Bandwidth { .. }, .. } => {
                    link["queued"] = Value::from(now.queued - before.queued);
                    link["queued_bytes"] = Value::from(now.queued_bytes - before.queued_bytes);
                    link["overflowed"] = Value::from(now.overflowed - before.overflowed);
                }
                _ => {}
            }
            link
        });
        json!({"links": links.collect::<Vec<_>>()})
    }

    /// What shows that a fault is gone, or which other one still holds.
    pub(super) fn evidence_of_end(&self, action: &Action) -> Value {
        let among = |links: Vec<(NodeId, NodeId)>| {
            let still = links.into_iter().filter(|link| action.links().contains(link));
            still.map(|(from, to)| json!([end_name(from), end_name(to)])).collect::<Vec<_>>()
        };
        match action {
            Action::Cut { .. } => json!({"links_still_cut": among(self.network.cut_links().collect())}),
            Action::Disturb { by: by @ Disturbance::Latency { .. }, .. } => {
                json!({"links_still_slow": among(self.network.disturbed_likewise(*by).collect())})
            }
            Action::Disturb { by, .. } => {
                json!({"links_still_so": among(self.network.disturbed_likewise(*by).collect())})
            }
            Action::Reset { .. } => json!({}),
            Action::TransferLeader(_) => json!({"leader": self.leader().map(node_name)}),
            Action::Clock { nodes, .. } => {
                let ahead = |node: &NodeId| {
                    let ahead_ns = self.machines[*node as usize - 1].clock.ahead_ns(self.now_ns);
                    (node_name(*node), Value::from(ahead_ns))
                };
                json!({"still_ahead_ns": nodes.iter().map(ahead).collect::<Map<_, _>>()})
            }
            action => json!({"processes": self.words(action.nodes())}),
        }
    }
}
