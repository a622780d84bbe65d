//! The formats of docs/formats.md: what is documented parses, and what is written reads back the same.

use mcp_chaos_evidence::{
    Function, HistoryEvent, Kind, NemesisRecord, Phase, Role, Status, TraceEvent, TraceRecord,
};

fn every_trace_event() -> Vec<TraceEvent> {
    vec![
        TraceEvent::Started {
            term: 3,
            vote: Some(2),
            snapshot_index: 10,
            snapshot_term: 2,
            snapshot_state: u64::MAX,
            last_index: 12,
        },
        TraceEvent::Initialized { cluster: "c".into(), voters: vec![1, 2, 3] },
        TraceEvent::RoleChanged { role: Role::PreCandidate, term: 4, leader: None },
        TraceEvent::VoteCast { term: 4, candidate: 1 },
        TraceEvent::Appended { index: 13, term: 4, checksum: 0xfeed },
        TraceEvent::Truncated { from: 12 },
        TraceEvent::Committed { index: 13 },
        TraceEvent::Applied { index: 13, term: 4, state: 1 << 60, client: 7, sequence: 2, duplicate: true },
        TraceEvent::Applied { index: 14, term: 4, state: 5, client: 0, sequence: 0, duplicate: false },
        TraceEvent::SnapshotMade { index: 13, term: 4, state: 9 },
        TraceEvent::SnapshotInstalled { index: 20, term: 5, state: 9 },
        TraceEvent::ConfigChanged {
            index: 1,
            voters: vec![1, 2],
            learners: vec![3],
            voters_outgoing: vec![],
        },
        TraceEvent::ConfigChanged {
            index: 7,
            voters: vec![1, 3],
            learners: vec![],
            voters_outgoing: vec![1, 2],
        },
        TraceEvent::Stopped { reason: "graceful".into() },
        TraceEvent::Panicked { message: "to_commit 5 is out of range".into() },
        TraceEvent::Refused { reason: "log.3: damaged at 17".into() },
    ]
}

#[test]
fn every_trace_event_reads_back_and_bears_its_name() {
    for event in every_trace_event() {
        let record = TraceRecord { time_ns: 5, node: 3, boot: 1, event };
        let line = serde_json::to_string(&record).unwrap();
        assert!(line.contains(&format!("\"event\":\"{}\"", record.event.name())), "{line}");
        assert!(line.contains("\"node\":\"n3\""), "{line}");
        assert_eq!(serde_json::from_str::<TraceRecord>(&line).unwrap(), record);
    }
}

#[test]
fn checksums_are_text_and_absent_requests_are_left_out() {
    let event =
        TraceEvent::Applied { index: 1, term: 1, state: 255, client: 0, sequence: 0, duplicate: false };
    let line = serde_json::to_string(&TraceRecord { time_ns: 0, node: 1, boot: 1, event }).unwrap();
    assert_eq!(
        line,
        r#"{"time_ns":0,"node":"n1","boot":1,"event":"applied","index":1,"term":1,"state":"00000000000000ff"}"#
    );
}

#[test]
fn the_documented_history_lines_parse() {
    let documented = include_str!("../../../../docs/formats.md");
    let lines: Vec<&str> = documented.lines().filter(|line| line.starts_with("{\"index\"")).collect();
    assert_eq!(lines.len(), 2, "docs/formats.md shows an operation's two events");
    let events: Vec<HistoryEvent> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((events[0].kind, events[1].kind), (Kind::Invoke, Kind::Ok));
    assert_eq!(events[1].f, Function::Write);
    assert_eq!((events[1].node, events[1].log_index), (Some(2), Some(41)));
    for (line, event) in lines.iter().zip(&events) {
        assert_eq!(serde_json::to_string(event).unwrap(), *line);
    }
}

#[test]
fn a_function_of_another_workload_is_kept() {
    let line = r#"{"index":0,"time_ns":0,"process":0,"type":"invoke","f":"enqueue","key":"q","value":[1]}"#;
    let event: HistoryEvent = serde_json::from_str(line).unwrap();
    assert_eq!(event.f, Function::Other("enqueue".into()));
    assert_eq!(serde_json::to_string(&event).unwrap(), line);
}

#[test]
fn a_nemesis_record_reads_back() {
    let record = NemesisRecord {
        step: Some(0),
        phase: Phase::Install,
        status: Status::Done,
        planned_ns: Some(7),
        time_ns: 9,
        kind: "partition".into(),
        nodes: vec![2],
        links: vec![("n2".into(), "n1".into())],
        anchor: Some(2),
        evidence: serde_json::json!({"withheld": 5}),
        reason: None,
        fixed: true,
    };
    let line = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<NemesisRecord>(&line).unwrap(), record);
}

#[test]
fn bad_names_say_what_was_expected() {
    let line = r#"{"time_ns":0,"node":"x9","boot":1,"event":"committed","index":1}"#;
    let error = serde_json::from_str::<TraceRecord>(line).unwrap_err().to_string();
    assert!(error.contains("a node name such as n1") && error.contains("x9"), "{error}");
}
