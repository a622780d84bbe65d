//! Every boot of a node ends as it should: killed by the nemesis, stopped gracefully, or with the run. A panic
//! is never legal; nor is it, within the fault model, to refuse the node's own data or to stop for another
//! reason (the fault model: ARCHITECTURE.md). Only one whose disk the nemesis makes fail may stop, or refuse to
//! start, for that: to go on would be wrong (after a failed sync nothing may be assumed about what is on the disk).
//! And one whose disk the nemesis corrupts, empties or lets lie must refuse it, with the words for that (`beyond`).
//!
//! A boot that ends without a word, while the nemesis has killed that node less often than its boots ended so,
//! has crashed by itself (out of memory, say).

use std::collections::BTreeMap;

use mcp_chaos_evidence::{NemesisRecord, NodeId, Phase, Status, TraceEvent, TraceRecord, node_name};
use serde_json::json;

use crate::{Check, Evidence, Judgement, beyond::Beyond, words::seconds};

const CHECK: Check = Check::NoPanic;

pub(crate) fn judge(evidence: &Evidence) -> Judgement {
    if evidence.traces.is_empty() {
        return Judgement::without_trace(CHECK, evidence.system_has_trace);
    }
    let bad = |record: &TraceRecord, shape: String, what: String| {
        let reason = format!("{} {what} at {}", node_name(record.node), seconds(record.time_ns));
        Judgement::invalid(CHECK, shape, reason, json!({"record": record}))
    };
    /// The boot in which a node was last seen, whether it said that it ended, how many ended without a word.
    #[derive(Default)]
    struct Node {
        boot: Option<u64>,
        ended: bool,
        silent_ends: u64,
    }
    let mut kills: BTreeMap<NodeId, u64> = BTreeMap::new();
    for record in evidence.nemesis {
        // A kill that is reported as failed may have killed all the same.
        if record.phase == Phase::Install
            && record.status != Status::Skipped
            && matches!(record.kind.as_str(), "kill" | "power_off" | "restart" | "wiped")
        {
            for node in &record.nodes {
                *kills.entry(*node).or_default() += 1;
            }
        }
    }
    let disk_failures = DiskFailures::of(evidence.nemesis);
    let beyond = Beyond::of(evidence.nemesis);
    let mut nodes: BTreeMap<NodeId, Node> = BTreeMap::new();
    let mut boots = 0;
    for record in evidence.traces {
        match &record.event {
            TraceEvent::Panicked { message } => {
                return bad(record, shape("panicked", message), format!("panicked ({message})"));
            }
            TraceEvent::Refused { reason }
                if disk_failures.explain(record, reason) || beyond.explains(record) => {}
            TraceEvent::Refused { reason } => {
                return bad(
                    record,
                    shape("refused", reason),
                    format!("refused to start on its own data ({reason})"),
                );
            }
            TraceEvent::Stopped { reason }
                if reason != "graceful"
                    && !disk_failures.explain(record, reason)
                    && !beyond.explains(record) =>
            {
                return bad(record, shape("stopped", reason), format!("stopped by itself ({reason})"));
            }
            TraceEvent::Stopped { .. } => nodes.entry(record.node).or_default().ended = true,
            TraceEvent::Started { .. } => {
                boots += 1;
                let node = nodes.entry(record.node).or_default();
                if node.boot.is_some_and(|boot| boot != record.boot) && !node.ended {
                    node.silent_ends += 1;
                    if node.silent_ends > kills.get(&record.node).copied().unwrap_or(0) {
                        return bad(
                            record,
                            "crashed".into(),
                            format!(
                                "came up as boot {} though nothing had ended boot {}: it crashed before this,",
                                record.boot,
                                node.boot.unwrap_or(0)
                            ),
                        );
                    }
                }
                *node = Node { boot: Some(record.boot), ended: false, silent_ends: node.silent_ends };
            }
            _ => {}
        }
    }
    Judgement::valid(CHECK, format!("{boots} boots, and each ended as it should"), json!({"boots": boots}))
}

/// When the nemesis made whose disks fail.
struct DiskFailures(Vec<(NodeId, u64, u64)>);

impl DiskFailures {
    fn of(nemesis: &[NemesisRecord]) -> DiskFailures {
        let is_one = |record: &&NemesisRecord| {
            record.status != Status::Skipped && matches!(record.kind.as_str(), "full_disk" | "disk_error")
        };
        let mut spans = Vec::new();
        for install in nemesis.iter().filter(is_one).filter(|record| record.phase == Phase::Install) {
            let ends = |record: &&NemesisRecord| record.phase == Phase::Heal && record.step == install.step;
            let end_ns = nemesis.iter().find(ends).map_or(u64::MAX, |heal| heal.time_ns);
            spans.extend(install.nodes.iter().map(|node| (*node, install.time_ns, end_ns)));
        }
        DiskFailures(spans)
    }

    /// Whether a node had this to say because its disk failed.
    fn explain(&self, record: &TraceRecord, reason: &str) -> bool {
        let is_of_disk = ["the log's disk failed", "the data directory could not be opened"];
        is_of_disk.iter().any(|words| reason.starts_with(words))
            && self.0.iter().any(|(node, from_ns, to_ns)| {
                *node == record.node && (*from_ns..=*to_ns).contains(&record.time_ns)
            })
    }
}

/// The most words of a message that a shape keeps.
const WORDS: usize = 10;

/// The message's words behind `how`, without what differs from run to run: numbers and whatever holds one, and
/// the place in the source that stands at the end in brackets.
fn shape(how: &str, message: &str) -> String {
    let message =
        message.rsplit_once(" (").filter(|(_, place)| place.ends_with(')')).map_or(message, |(m, _)| m);
    let words = message
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && !word.contains(|c: char| c.is_ascii_digit()))
        .map(str::to_lowercase);
    std::iter::once(how.to_string()).chain(words.take(WORDS)).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Verdict, testing::*};

    fn judge_run(events: Vec<(NodeId, TraceEvent)>, nemesis: &[NemesisRecord]) -> Judgement {
        let traces = trace(events);
        judge(&Evidence { history: &[], traces: &traces, nemesis, system_has_trace: true })
    }

    #[test]
    fn a_panic_a_refusal_a_stop_and_a_silent_end_fire() {
        for (event, word, shape) in [
            (TraceEvent::Panicked { message: "oh".into() }, "panicked (oh)", "panicked-oh"),
            (TraceEvent::Refused { reason: "torn".into() }, "refused", "refused-torn"),
            (TraceEvent::Stopped { reason: "disk full".into() }, "disk full", "stopped-disk-full"),
            (started(1, None, 0), "though nothing had ended boot 1", "crashed"),
        ] {
            let judgement = judge_run(vec![(1, started(1, None, 0)), (1, event)], &[]);
            assert_eq!(judgement.verdict, Verdict::Invalid, "{word}");
            assert!(judgement.reason.contains(word), "{}", judgement.reason);
            assert_eq!(judgement.shape.as_deref(), Some(shape));
        }
    }

    #[test]
    fn shapes_leave_out_what_differs_from_run_to_run() {
        assert_eq!(
            shape(
                "panicked",
                "to_commit 12 is out of range [last_index 5], raft_id: 3 (/home/x/raft_log.rs:71)"
            ),
            shape(
                "panicked",
                "to_commit 7 is out of range [last_index 6], raft_id: 1 (/opt/y/raft_log.rs:71)"
            ),
        );
        assert_eq!(
            shape("refused", "00000001.log at byte 17: a torn frame"),
            "refused-log-at-byte-a-torn-frame"
        );
        assert_eq!(shape("panicked", ""), "panicked");
    }

    #[test]
    fn only_a_disk_that_fails_explains_a_stop() {
        let reason = "the log's disk failed: no space left on the disk (log-1.wal); stop";
        let run = |what: &str| {
            vec![
                (1, started(1, None, 0)),
                (1, TraceEvent::Stopped { reason: what.into() }),
                (1, TraceEvent::Refused { reason: "the data directory could not be opened: full".into() }),
                (1, started(1, None, 0)),
            ]
        };
        let fault = |node, from_ns, to_ns| {
            [
                nemesis(Some(0), Phase::Install, "full_disk", from_ns, &[node]),
                nemesis(Some(0), Phase::Heal, "full_disk", to_ns, &[node]),
            ]
        };
        assert_eq!(judge_run(run(reason), &fault(1, 0, u64::MAX)).verdict, Verdict::Valid);
        assert_eq!(judge_run(run("graceful shutdown"), &fault(1, 0, u64::MAX)).verdict, Verdict::Invalid);
        assert_eq!(judge_run(run(reason), &fault(2, 0, u64::MAX)).verdict, Verdict::Invalid);
        assert_eq!(judge_run(run(reason), &fault(1, 0, 1)).verdict, Verdict::Invalid, "it was over by then");
    }

    #[test]
    fn only_a_disk_that_was_corrupted_explains_a_refusal_of_it() {
        let reason = "the data directory is corrupt: log-1.wal at offset 64: …";
        let run = vec![(1, started(1, None, 0)), (1, TraceEvent::Refused { reason: reason.into() })];
        let fault = |node| {
            let evidence =
                json!({"flipped": {node_name(node): {"file": "log-1.wal", "offset": 70, "bit": 3}}});
            [NemesisRecord { evidence, ..nemesis(Some(0), Phase::Install, "corrupt", 0, &[node]) }]
        };
        assert_eq!(judge_run(run.clone(), &fault(1)).verdict, Verdict::Valid);
        assert_eq!(judge_run(run.clone(), &fault(2)).verdict, Verdict::Invalid);
        assert_eq!(judge_run(run, &[]).verdict, Verdict::Invalid);
        let panicked = vec![(1, TraceEvent::Panicked { message: reason.into() })];
        assert_eq!(judge_run(panicked, &fault(1)).verdict, Verdict::Invalid, "to panic is no refusal");
    }

    #[test]
    fn killed_and_graceful_ends_are_silent() {
        let run = vec![
            (1, started(1, None, 0)),
            (1, started(1, None, 0)),
            (1, TraceEvent::Stopped { reason: "graceful".into() }),
            (1, started(1, None, 0)),
        ];
        let kill = nemesis(Some(0), Phase::Install, "kill", 0, &[1]);
        assert_eq!(judge_run(run.clone(), &[kill]).verdict, Verdict::Valid);
        assert_eq!(judge_run(run, &[]).verdict, Verdict::Invalid);
    }
}
