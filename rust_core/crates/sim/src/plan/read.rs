//! Reads a compiled plan, strictly: what is not known, not there or out of range is an error with its path.

use std::collections::BTreeMap;

use mcp_chaos_evidence::{NodeId, parse_node_name};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::*;

impl Plan {
    /// Reads a compiled plan. The error names the path of what is wrong.
    pub fn parse(text: &str) -> Result<Plan, PlanError> {
        let value: Value = serde_json::from_str(text).map_err(|error| PlanError::new("(document)", error))?;
        Plan::from_value(value)
    }

    /// Reads a compiled plan from JSON that is already parsed.
    pub fn from_value(value: Value) -> Result<Plan, PlanError> {
        let mut fields = Fields::new("", value)?;
        let format: u64 = fields.take("format")?;
        if format != FORMAT {
            let message = format!("expected {FORMAT}, found {format}: compile the plan with this release");
            return Err(PlanError::new("format", message));
        }
        let nodes = fields.take("nodes")?;
        within("nodes", nodes, 1, MAX_NODES)?;
        let steps: Vec<Value> = fields.take("steps")?;
        let plan = Plan {
            seed: fields.take("seed")?,
            nodes,
            spares: if fields.has("spares") { fields.take("spares")? } else { 0 },
            options: fields.take("options")?,
            network: fields.take("network")?,
            disk: fields.take("disk")?,
            workload: Workload::from_value(fields.take("workload")?, nodes)?,
            timeline: fields.take("timeline")?,
            steps: steps
                .into_iter()
                .enumerate()
                .map(|(position, step)| Step::from_value(&format!("steps[{position}]"), step, nodes))
                .collect::<Result<_, _>>()?,
            checks: fields.take("checks")?,
        };
        fields.end()?;
        plan.validate()?;
        Ok(plan)
    }

    fn validate(&self) -> Result<(), PlanError> {
        let Plan { options, network, disk, workload, timeline, .. } = self;
        within("spares", self.spares, 0, self.nodes - 1)?;
        within("options.tick_ns", options.tick_ns, 1_000_000, 1_000_000_000)?;
        within("options.heartbeat_ticks", options.heartbeat_ticks.into(), 1, 1_000)?;
        let above = u64::from(options.heartbeat_ticks) + 1;
        within("options.election_ticks", options.election_ticks.into(), above, 10_000)?;
        within("options.snapshot_every_entries", options.snapshot_every_entries, 1, u64::MAX)?;
        range("network.latency", network.latency_min_ns, network.latency_max_ns)?;
        within("network.loss_ppm", network.loss_ppm.into(), 0, 1_000_000)?;
        range("disk.sync", disk.sync_min_ns, disk.sync_max_ns)?;
        within("workload.clients", workload.clients.into(), 1, MAX_CLIENTS.into())?;
        within("workload.rate_per_1000s", workload.rate_per_1000s, 1, 100_000_000)?;
        within("workload.keys", workload.keys.into(), 1, 10_000)?;
        within("workload.read_percent", workload.read_percent.into(), 0, 100)?;
        let rest = 100 - u64::from(workload.read_percent);
        within("workload.cas_percent", workload.cas_percent.into(), 0, rest)?;
        within("workload.hot_key_ppm", workload.hot_key_ppm.into(), 0, 1_000_000)?;
        within("workload.key_skew", workload.key_skew.into(), 0, MAX_KEY_SKEW.into())?;
        let most_bytes = match workload.kind {
            WorkloadKind::Lists => MAX_ELEMENT_BYTES,
            WorkloadKind::Transactions => MAX_ELEMENT_BYTES_OF_MANY,
            _ => MAX_VALUE_BYTES,
        };
        within("workload.value_bytes", workload.value_bytes, 0, most_bytes)?;
        within("workload.lease_ns", workload.lease_ns, 1_000_000, MAX_DURATION_NS)?;
        if let Some(Bursts { every_ns, for_ns, factor }) = workload.bursts {
            windows("workload.bursts", Windows { every_ns, for_ns })?;
            within("workload.bursts.factor", factor, 1, MAX_BURST_FACTOR)?;
        }
        if let Some(quiet) = workload.quiet {
            windows("workload.quiet", quiet)?;
        }
        for (path, time_ns) in [
            ("workload.home_read_interval_ns", workload.home_read_interval_ns),
            ("workload.attempt_timeout_ns", workload.attempt_timeout_ns),
            ("workload.operation_timeout_ns", workload.operation_timeout_ns),
        ] {
            within(path, time_ns, 1_000_000, MAX_DURATION_NS)?;
        }
        within("timeline.workload_ns", timeline.workload_ns, 0, MAX_DURATION_NS)?;
        within("timeline.heal_ns", timeline.heal_ns, 0, timeline.workload_ns)?;
        within("timeline.recovers_within_ns", timeline.recovers_within_ns, 0, MAX_DURATION_NS)?;
        let mut ids = std::collections::BTreeSet::new();
        for (position, step) in self.steps.iter().enumerate() {
            if !ids.insert(step.id) {
                let message = format!("{} is the id of an earlier step: ids are unique", step.id);
                return Err(PlanError::new(format!("steps[{position}].id"), message));
            }
            if let When::At { at_ns } = step.when {
                within(&format!("steps[{position}].when.at_ns"), at_ns, 0, timeline.heal_ns)?;
            }
        }
        Ok(())
    }
}

impl Workload {
    fn from_value(value: Value, nodes: u64) -> Result<Workload, PlanError> {
        let Value::Object(mut fields) = value else {
            return Err(PlanError::new("workload", format!("expected an object, found {value}")));
        };
        let names: Option<Vec<String>> = fields
            .remove("only")
            .map_or(Ok(None), serde_json::from_value)
            .map_err(|error| PlanError::new("workload.only", error))?;
        let mut workload: Workload = serde_json::from_value(Value::Object(fields))
            .map_err(|error| PlanError::new("workload", error))?;
        workload.only =
            names.map(|names| Only::read("workload.only", names, workload.clients, nodes)).transpose()?;
        Ok(workload)
    }
}

/// Windows follow one another with some time in between.
fn windows(path: &str, Windows { every_ns, for_ns }: Windows) -> Result<(), PlanError> {
    within(&format!("{path}.every_ns"), every_ns, MIN_WINDOW_NS, MAX_DURATION_NS)?;
    within(&format!("{path}.for_ns"), for_ns, 1, every_ns - 1)
}

impl Step {
    /// Reads a step to be carried out now, in a cluster of `nodes`: its `when` may be left out.
    pub fn parse_immediate(text: &str, nodes: u64) -> Result<Step, PlanError> {
        let mut value: Value = serde_json::from_str(text).map_err(|error| PlanError::new("(step)", error))?;
        if let Value::Object(fields) = &mut value {
            fields.entry("when").or_insert_with(|| serde_json::json!({"at_ns": 0}));
        }
        Step::from_value("step", value, nodes)
    }

    fn from_value(path: &str, value: Value, nodes: u64) -> Result<Step, PlanError> {
        let mut fields = Fields::new(path, value)?;
        let anchor = fields.take("anchor")?;
        let when = When::from_value(&fields.path("when"), fields.take("when")?, nodes)?;
        if anchor == Anchor::Event && matches!(when, When::At { .. }) && path != "step" {
            return Err(PlanError::new(fields.path("anchor"), "\"event\" needs `when: {\"on\": …}`"));
        }
        let cases: Map<String, Value> = fields.take("cases")?;
        let step = Step {
            id: fields.take("id")?,
            fixed: fields.take("fixed")?,
            kind: fields.take("kind")?,
            when,
            for_ns: fields.take_or_null("for_ns")?,
            anchor,
            cases: read_cases(&fields.path("cases"), cases, anchor, nodes)?,
        };
        if let Some(for_ns) = step.for_ns {
            within(&fields.path("for_ns"), for_ns, 0, MAX_DURATION_NS)?;
        }
        fields.end()?;
        Ok(step)
    }
}

fn read_cases(
    path: &str,
    cases: Map<String, Value>,
    anchor: Anchor,
    nodes: u64,
) -> Result<BTreeMap<NodeId, Action>, PlanError> {
    let mut read = BTreeMap::new();
    for (name, case) in cases {
        let path = format!("{path}.{name}");
        let key = match (anchor, name.as_str()) {
            (Anchor::None, "*") => Step::ANY,
            (Anchor::None, _) => {
                return Err(PlanError::new(path, "a step without an anchor has one case, \"*\""));
            }
            (_, name) => node(&path, name, nodes)?,
        };
        read.insert(key, Action::from_value(&path, case, nodes)?);
    }
    if read.is_empty() {
        return Err(PlanError::new(path, "expected at least one case, found none"));
    }
    Ok(read)
}

impl When {
    fn from_value(path: &str, value: Value, nodes: u64) -> Result<When, PlanError> {
        let mut fields = Fields::new(path, value)?;
        let when = if fields.has("on") {
            let mut on = Fields::new(&fields.path("on"), fields.take("on")?)?;
            let event: String = on.take("event")?;
            let node_name: Option<String> = on.take_or_null("node")?;
            let when = When::On {
                event: trigger(&on.path("event"), &event)?,
                nth: on.take("nth")?,
                node: node_name.map(|name| node(&on.path("node"), &name, nodes)).transpose()?,
            };
            if let When::On { nth, .. } = when {
                within(&on.path("nth"), nth, 1, u64::MAX)?;
            }
            on.end()?;
            when
        } else {
            When::At { at_ns: fields.take("at_ns")? }
        };
        fields.end()?;
        Ok(when)
    }
}

fn trigger(path: &str, event: &str) -> Result<Trigger, PlanError> {
    match event {
        DISK_WRITE => Ok(Trigger::DiskWrite),
        DISK_SYNC => Ok(Trigger::DiskSync),
        _ => {
            let traced = EVENTS.iter().find(|known| **known == event).map(|known| Trigger::Trace(known));
            let sent = Sent::ALL.into_iter().find(|known| known.name() == event).map(Trigger::Sends);
            traced.or(sent).ok_or_else(|| {
                let message = format!(
                    "no event {event:?}; expected {DISK_WRITE}, {DISK_SYNC}, {} or one of {}",
                    Sent::ALL.map(Sent::name).join(", "),
                    EVENTS.join(", ")
                );
                PlanError::new(path, message)
            })
        }
    }
}

/// Actions on links, …
const ON_LINKS: [&str; 7] = ["cut", "latency", "drop", "duplicate", "reorder", "bandwidth", "reset"];
/// … and on any number of nodes.
const ON_NODES: [&str; 16] = [
    "kill",
    "power_off",
    "pause",
    "restart",
    "slow_node",
    "slow_disk",
    "slow_sync",
    "full_disk",
    "disk_error",
    "clock_offset",
    "clock_drift",
    "clock_jump",
    "snapshot_now",
    "lying_fsync",
    "corrupt",
    "wiped",
];
/// … on one node, …
const ON_ONE_NODE: [&str; 3] = ["transfer_leader", "remove_node", "replace_node"];
/// … and on one that is chosen when the time comes.
const ADD_NODE: &str = "add_node";

impl Action {
    fn from_value(path: &str, value: Value, nodes: u64) -> Result<Action, PlanError> {
        let mut fields = Fields::new(path, value)?;
        let what: String = fields.take("do")?;
        let names: Vec<String> = fields.take("nodes")?;
        let ends: Vec<(String, String)> = fields.take("links")?;
        let targets = names
            .iter()
            .enumerate()
            .map(|(position, name)| node(&fields.path(&format!("nodes[{position}]")), name, nodes))
            .collect::<Result<Vec<_>, _>>()?;
        let links = ends
            .iter()
            .enumerate()
            .map(|(position, ends)| link(&fields.path(&format!("links[{position}]")), ends, nodes))
            .collect::<Result<Vec<_>, _>>()?;
        let on_links = ON_LINKS.contains(&what.as_str());
        if on_links == links.is_empty() {
            let expected = if on_links { "at least one link" } else { "no links" };
            return Err(PlanError::new(fields.path("links"), format!("{what} takes {expected}")));
        }
        if !on_links && targets.is_empty() && what != ADD_NODE {
            return Err(PlanError::new(fields.path("nodes"), format!("{what} takes at least one node")));
        }
        let action = match what.as_str() {
            "cut" => Action::Cut { nodes: targets, links },
            "latency" => {
                let (min_ns, max_ns) = delay(&mut fields)?;
                Action::Disturb { nodes: targets, links, by: Disturbance::Latency { min_ns, max_ns } }
            }
            "drop" => {
                let by = Disturbance::Drop { share_ppm: share(&mut fields)? };
                Action::Disturb { nodes: targets, links, by }
            }
            "duplicate" => {
                let by = Disturbance::Duplicate {
                    share_ppm: share(&mut fields)?,
                    within_ns: duration(&mut fields, "within_ns")?,
                };
                Action::Disturb { nodes: targets, links, by }
            }
            "reorder" => {
                let by = Disturbance::Reorder {
                    share_ppm: share(&mut fields)?,
                    within_ns: duration(&mut fields, "within_ns")?,
                };
                Action::Disturb { nodes: targets, links, by }
            }
            "bandwidth" => {
                let bytes_per_s = fields.take("bytes_per_s")?;
                within(&fields.path("bytes_per_s"), bytes_per_s, 1, MAX_BYTES_PER_S)?;
                Action::Disturb { nodes: targets, links, by: Disturbance::Bandwidth { bytes_per_s } }
            }
            "reset" => Action::Reset { nodes: targets, links },
            "slow_node" | "slow_disk" | "slow_sync" => {
                let slow = match what.as_str() {
                    "slow_node" => Slow::Node,
                    "slow_disk" => Slow::Disk,
                    _ => Slow::Sync,
                };
                let (delay_min_ns, delay_max_ns) = delay(&mut fields)?;
                Action::Slow { nodes: targets, what: slow, delay_min_ns, delay_max_ns }
            }
            "full_disk" => {
                Action::FailDisk { nodes: targets, failing: Failing { full: true, ..Failing::default() } }
            }
            "disk_error" => {
                let operations: String = fields.take("operations")?;
                let all = operations == "all";
                let fails = |word: &str| all || operations == word;
                let failing = Failing {
                    full: false,
                    reads: fails("reads"),
                    writes: fails("writes"),
                    syncs: fails("syncs"),
                };
                if failing == Failing::default() {
                    let message = format!("expected syncs, writes, reads or all, found {operations:?}");
                    return Err(PlanError::new(fields.path("operations"), message));
                }
                Action::FailDisk { nodes: targets, failing }
            }
            "clock_offset" => {
                let ahead_ns = signed(&mut fields, "ahead_ns", MAX_DURATION_NS as i64)?;
                Action::Clock { nodes: targets, what: ClockFault::Offset { ahead_ns } }
            }
            "clock_drift" => {
                let fast_ppm = signed(&mut fields, "fast_ppm", MAX_DRIFT_PPM)?;
                Action::Clock { nodes: targets, what: ClockFault::Drift { fast_ppm } }
            }
            "clock_jump" => {
                let ahead_ns = signed(&mut fields, "ahead_ns", MAX_DURATION_NS as i64)?;
                Action::Clock { nodes: targets, what: ClockFault::Jump { ahead_ns } }
            }
            "lying_fsync" => Action::Lie(targets),
            "corrupt" => Action::Corrupt { nodes: targets, part: fields.take("part")? },
            "wiped" => Action::Wipe(targets),
            "kill" => Action::Kill(targets),
            "power_off" => Action::PowerOff(targets),
            "pause" => Action::Pause(targets),
            "restart" => Action::Restart(targets),
            "snapshot_now" => Action::SnapshotNow(targets),
            ADD_NODE if targets.is_empty() => Action::AddNode(targets),
            ADD_NODE => {
                return Err(PlanError::new(
                    fields.path("nodes"),
                    "add_node takes no nodes: the next spare is added",
                ));
            }
            what if ON_ONE_NODE.contains(&what) => match (what, &targets[..]) {
                ("transfer_leader", [node]) => Action::TransferLeader(*node),
                ("remove_node", [node]) => Action::RemoveNode(*node),
                (_, [_]) => Action::ReplaceNode(targets),
                _ => {
                    let message = format!("{what} takes exactly one node");
                    return Err(PlanError::new(fields.path("nodes"), message));
                }
            },
            _ => {
                let message = format!(
                    "no action {what:?}; expected {}, {}, {} or {ADD_NODE}",
                    ON_LINKS.join(", "),
                    ON_NODES.join(", "),
                    ON_ONE_NODE.join(", ")
                );
                return Err(PlanError::new(fields.path("do"), message));
            }
        };
        fields.end()?;
        Ok(action)
    }
}

fn delay(fields: &mut Fields) -> Result<(u64, u64), PlanError> {
    let (min_ns, max_ns) = (fields.take("delay_min_ns")?, fields.take("delay_max_ns")?);
    range(&fields.path("delay"), min_ns, max_ns)?;
    Ok((min_ns, max_ns))
}

fn duration(fields: &mut Fields, name: &'static str) -> Result<u64, PlanError> {
    let duration_ns = fields.take(name)?;
    within(&fields.path(name), duration_ns, 0, MAX_DURATION_NS)?;
    Ok(duration_ns)
}

/// A number of either sign.
fn signed(fields: &mut Fields, name: &'static str, most: i64) -> Result<i64, PlanError> {
    let value: i64 = fields.take(name)?;
    if (-most..=most).contains(&value) {
        return Ok(value);
    }
    Err(PlanError::new(fields.path(name), format!("expected -{most} to {most}, found {value}")))
}

fn share(fields: &mut Fields) -> Result<u32, PlanError> {
    let share_ppm: u32 = fields.take("share_ppm")?;
    within(&fields.path("share_ppm"), share_ppm.into(), 0, 1_000_000)?;
    Ok(share_ppm)
}

fn node(path: &str, name: &str, nodes: u64) -> Result<NodeId, PlanError> {
    parse_node_name(name)
        .filter(|id| *id <= nodes)
        .ok_or_else(|| PlanError::new(path, format!("no node {name:?}; expected n1 to n{nodes}")))
}

fn link(path: &str, (from, to): &(String, String), nodes: u64) -> Result<(NodeId, NodeId), PlanError> {
    let end = |name: &str| if name == "clients" { Ok(CLIENTS) } else { node(path, name, nodes) };
    let (from, to) = (end(from)?, end(to)?);
    if from == to {
        return Err(PlanError::new(path, "a link has two different ends"));
    }
    Ok((from, to))
}

fn within(path: &str, value: u64, low: u64, high: u64) -> Result<(), PlanError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(PlanError::new(path, format!("expected {low} to {high}, found {value}")))
}

fn range(path: &str, min_ns: u64, max_ns: u64) -> Result<(), PlanError> {
    within(&format!("{path}_max_ns"), max_ns, 0, MAX_DURATION_NS)?;
    within(&format!("{path}_min_ns"), min_ns, 0, max_ns)
}

/// The fields of one JSON object, taken one by one; what is left at the end nobody knows.
struct Fields {
    path: String,
    fields: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Fields {
    fn new(path: &str, value: Value) -> Result<Fields, PlanError> {
        match value {
            Value::Object(fields) => Ok(Fields { path: path.to_owned(), fields, known: Vec::new() }),
            other => {
                let path = if path.is_empty() { "(document)" } else { path };
                Err(PlanError::new(path, format!("expected an object, found {other}")))
            }
        }
    }

    fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    fn take<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<T, PlanError> {
        if !self.has(name) {
            return Err(PlanError::new(self.path(name), "missing"));
        }
        self.take_or_null(name)
    }

    fn take_or_null<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<T, PlanError> {
        self.known.push(name);
        let value = self.fields.remove(name).unwrap_or(Value::Null);
        serde_json::from_value(value).map_err(|error| PlanError::new(self.path(name), error))
    }

    fn end(&self) -> Result<(), PlanError> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(name) => {
                let message = format!("unknown key; expected {}", self.known.join(", "));
                Err(PlanError::new(self.path(name), message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan() -> Value {
        crate::testing::plan_json(7, 3)
    }

    fn step(cases: Value, anchor: &str, when: Value) -> Value {
        json!({"id": 0, "fixed": true, "kind": "partition", "when": when, "for_ns": 1_000, "anchor": anchor, "cases": cases})
    }

    fn error_of(plan: Value) -> String {
        Plan::from_value(plan).unwrap_err().to_string()
    }

    #[test]
    fn reads_every_kind_of_step() {
        let mut value = plan();
        value["steps"] = json!([step(
            json!({"n1": {"do": "cut", "nodes": ["n1"], "links": [["n1", "n2"], ["clients", "n1"]]}}),
            "leader",
            json!({"at_ns": 5})
        ),]);
        let plan = Plan::from_value(value).unwrap();
        assert_eq!(
            plan.steps[0].cases[&1],
            Action::Cut { nodes: vec![1], links: vec![(1, 2), (CLIENTS, 1)] }
        );
        let step = step(
            json!({"n3": {"do": "power_off", "nodes": ["n3"], "links": []}}),
            "event",
            json!({"on": {"event": "vote_cast", "nth": 2, "node": null}}),
        );
        let step = Step::from_value("steps[0]", step, 3).unwrap();
        assert_eq!(step.when, When::On { event: Trigger::Trace("vote_cast"), nth: 2, node: None });
    }

    #[test]
    fn errors_name_the_path_and_what_was_expected() {
        let cut = json!({"*": {"do": "cut", "nodes": [], "links": [["n1", "n9"]]}});
        let mut bad_link = plan();
        bad_link["steps"] = json!([step(cut, "none", json!({"at_ns": 5}))]);
        assert_eq!(
            error_of(bad_link),
            "compiled plan: steps[0].cases.*.links[0]: no node \"n9\"; expected n1 to n3"
        );

        let mut unknown = plan();
        unknown["network"]["jitter"] = json!(1);
        assert!(error_of(unknown).starts_with("compiled plan: network: unknown field `jitter`"));

        let mut top = plan();
        top["colour"] = json!("red");
        assert!(error_of(top).starts_with("compiled plan: colour: unknown key; expected format, nodes"));

        for (names, expected) in [
            (
                json!(["c5.1", "c6.1"]),
                "workload.only[1]: no operation \"c6.1\"; expected c1.1 to c5.1000000 or n1.1",
            ),
            (json!(["n4.1"]), "workload.only[0]: no operation \"n4.1\""),
            (json!(["c1.1000001"]), "workload.only[0]: no operation \"c1.1000001\""),
            (json!(["c1.2", "n1.2", "c1.2"]), "workload.only[2]: c1.2 again: each once"),
            (json!("c1.1"), "workload.only: invalid type"),
        ] {
            let mut only = plan();
            only["workload"]["only"] = names;
            assert!(
                error_of(only.clone()).starts_with(&format!("compiled plan: {expected}")),
                "{}",
                error_of(only)
            );
        }

        let mut missing = plan();
        missing.as_object_mut().unwrap().remove("seed");
        assert_eq!(error_of(missing), "compiled plan: seed: missing");

        let mut event = plan();
        let kill = json!({"n1": {"do": "kill", "nodes": ["n1"], "links": []}});
        event["steps"] =
            json!([step(kill, "event", json!({"on": {"event": "vote", "nth": 1, "node": null}}))]);
        assert!(
            error_of(event)
                .starts_with("compiled plan: steps[0].when.on.event: no event \"vote\"; expected disk_write")
        );

        let mut late = plan();
        let kill = json!({"*": {"do": "kill", "nodes": ["n1"], "links": []}});
        late["steps"] = json!([step(kill, "none", json!({"at_ns": 1_000_000_000_000u64}))]);
        assert!(error_of(late).starts_with("compiled plan: steps[0].when.at_ns: expected 0 to "));

        let mut empty = plan();
        empty["network"]["latency_min_ns"] = json!(9_000_000_000u64);
        assert!(error_of(empty).contains("network.latency_min_ns: expected 0 to"));

        assert!(Plan::parse("{").unwrap_err().to_string().starts_with("compiled plan: (document): "));
        assert!(Plan::parse("[]").unwrap_err().to_string().contains("expected an object"));
        let mut format = plan();
        format["format"] = json!(2);
        assert!(error_of(format).contains("format: expected 1, found 2"));
    }
}
