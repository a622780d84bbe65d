//! From what was done to a system, event by event, to the times in which each fault was in force.
//!
//! These bands are for pictures and words; no verdict depends on them. Jepsen's nemeses have no common
//! grammar, so theirs are paired by the names that its library uses.

use mcp_chaos_evidence::{NemesisRecord, Phase, Status};

use crate::{FaultBand, Value};

/// The longest text of a fault's value that is repeated: some list every link that is cut.
const LONGEST: usize = 60;

/// Pairs a Jepsen nemesis's events. Each of its actions comes twice: as it begins, and when it is done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nemesis {
    /// Actions that have begun, and not yet been seen to be done.
    begun: Vec<Action>,
    /// Faults in force, by the action that began them.
    open: Vec<Action>,
    bands: Vec<FaultBand>,
}

#[derive(Clone, Debug)]
struct Action {
    f: String,
    words: String,
    from_ns: u64,
}

impl Nemesis {
    pub(crate) fn take(&mut self, f: &str, value: &Value, time_ns: u64) {
        let Some(at) = self.begun.iter().position(|action| action.f == f) else {
            self.begun.push(Action { f: f.to_owned(), words: words(f, value), from_ns: time_ns });
            return;
        };
        let mut action = self.begun.remove(at);
        if action.words == bare(f) {
            action.words = words(f, value);
        }
        self.done(action, time_ns);
    }

    /// What is still in force is so until the end.
    pub(crate) fn finish(mut self, end_ns: u64) -> Vec<FaultBand> {
        for action in std::mem::take(&mut self.begun) {
            let at_ns = action.from_ns;
            self.done(action, at_ns);
        }
        self.bands.extend(self.open.into_iter().map(|action| band(action, end_ns)));
        self.bands.sort_by_key(|band| band.from_ns);
        self.bands
    }

    fn done(&mut self, action: Action, to_ns: u64) {
        let (ended, open): (Vec<Action>, Vec<Action>) =
            std::mem::take(&mut self.open).into_iter().partition(|fault| ends(&action.f, &fault.f));
        self.open = open;
        if !ended.is_empty() {
            self.bands.extend(ended.into_iter().map(|fault| band(fault, to_ns)));
            return;
        }
        let lasts = ["start", "kill", "pause", "partition", "isolate"].iter().any(|kind| {
            action.f == *kind || action.f.strip_prefix(kind).is_some_and(|rest| rest.starts_with('-'))
        });
        if lasts {
            self.open.push(action);
        } else {
            self.bands.push(band(action, to_ns));
        }
    }
}

/// Whether an action ends a fault, by the names of both: `stop-partition` ends `start-partition`, `start` ends
/// `kill`, `resume` ends `pause`, `heal` ends what has no end of its own.
fn ends(action: &str, fault: &str) -> bool {
    let parts = |name| str::split_once(name, '-').unwrap_or((name, ""));
    let ((verb, what), (began, of)) = (parts(action), parts(fault));
    match verb {
        "stop" => began == "start" && what == of || fault == what,
        "start" => began == "kill" && what == of,
        "resume" => began == "pause" && what == of,
        "heal" | "recover" if what.is_empty() => began != "kill" && began != "pause",
        "heal" | "recover" => what == of || fault == what,
        _ => false,
    }
}

fn band(action: Action, to_ns: u64) -> FaultBand {
    FaultBand { words: action.words, from_ns: action.from_ns, to_ns: to_ns.max(action.from_ns) }
}

fn bare(f: &str) -> &str {
    f.strip_prefix("start-").unwrap_or(f)
}

fn words(f: &str, value: &Value) -> String {
    let name = bare(f);
    let told = match value {
        Value::Null => return name.to_owned(),
        Value::Text(text) => text.to_string(),
        other => other.to_string(),
    };
    match told.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{name} {}…", &told[..at]),
        None => format!("{name} {told}"),
    }
}

/// The bands of a run's own nemesis log. A fault that was never healed lasts until `end_ns`.
pub fn fault_bands(log: &[NemesisRecord], end_ns: u64) -> Vec<FaultBand> {
    let mut bands: Vec<(u64, FaultBand)> = Vec::new();
    let mut open = vec![];
    for record in log.iter().filter(|record| record.status == Status::Done) {
        match record.phase {
            Phase::Install => {
                open.push(bands.len());
                let band = FaultBand {
                    words: in_words(record),
                    from_ns: record.time_ns,
                    to_ns: end_ns.max(record.time_ns),
                };
                bands.push((record.step.unwrap_or(u64::MAX), band));
            }
            Phase::Heal | Phase::AllHealed => open.retain(|number| {
                let (step, band) = &mut bands[*number];
                let healed = record.phase == Phase::AllHealed || Some(*step) == record.step;
                if healed {
                    band.to_ns = record.time_ns.max(band.from_ns);
                }
                !healed
            }),
        }
    }
    bands.into_iter().map(|(_, band)| band).collect()
}

fn in_words(record: &NemesisRecord) -> String {
    let mut words = record.kind.clone();
    for node in &record.nodes {
        words.push_str(&format!(" n{node}"));
    }
    if record.nodes.is_empty() {
        for (from, to) in record.links.iter().take(4) {
            words.push_str(&format!(" {from}→{to}"));
        }
        if record.links.len() > 4 {
            words.push_str(&format!(" and {} links more", record.links.len() - 4));
        }
    }
    words
}
