//! Histories through every format: what is written is read again, and nothing that is fed ends in a panic.

use mcp_chaos_evidence::{Function, HistoryEvent, Kind, NemesisRecord, Phase, Status};
use mcp_chaos_history::{
    Format, History, HistoryBuilder, Options, RawEvent, Value, edn, etcd, fault_bands, jsonl, read, read_any,
};
use proptest::prelude::*;

/// Every event of a history, in words: two histories that tell the same are the same.
fn told(history: &History) -> Vec<String> {
    let tell = |operation: &mcp_chaos_history::Operation| {
        format!(
            "{} {:?} {:?} {:?} {:?} {:?} {}..{} {}..{}",
            history.processes.get(operation.process),
            history.function(operation),
            history.key(operation),
            history.values.get(operation.argument),
            history.outcome(operation),
            history.error(operation),
            operation.invoked_at,
            operation.completed_at,
            operation.invoked_ns,
            operation.completed_ns,
        )
    };
    history.operations.iter().map(tell).collect()
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (0_i64..5).prop_map(Value::Int),
        "-?[1-9][0-9]{19,30}(\\.[0-9]{1,3})?(e-?[0-9]{1,3})?".prop_map(|text| Value::Number(text.into())),
        ".{0,5}".prop_map(|text| Value::text(&text)),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::list),
            prop::collection::btree_map(".{0,3}", inner, 0..3).prop_map(|entries| {
                Value::Map(entries.into_iter().map(|(name, value)| (Value::text(&name), value)).collect())
            }),
        ]
    })
}

/// A history in which each of some processes has one operation at a time.
fn history() -> impl Strategy<Value = History> {
    let event =
        (0_u64..4, 0_u8..4, "[a-z]{1,4}|.{1,3}", "[0-9]?|.{0,3}", value(), prop::option::of(".{0,6}"));
    prop::collection::vec(event, 0..30).prop_map(|events| {
        let mut builder = HistoryBuilder::new();
        let mut open: [Option<(u32, u32, u32)>; 4] = [None; 4];
        for (time_ns, (slot, ending, f, key, value, error)) in (5_u64..).step_by(3).zip(events) {
            use mcp_chaos_history::Ending;
            let tables = builder.history();
            let value = tables.values.number(value);
            match open[slot as usize].take() {
                None => {
                    let process =
                        tables.processes.number(&if slot == 3 { "p".into() } else { slot.to_string() });
                    let (f, key) = (tables.functions.number(&f), tables.keys.number(&key));
                    builder.invoke(process, f, key, value, time_ns).unwrap();
                    open[slot as usize] = Some((process, f, key));
                }
                Some((process, f, key)) => {
                    let ending = [Ending::Ok, Ending::Fail, Ending::Unknown, Ending::Ok][usize::from(ending)];
                    let error = error.map(|error| tables.errors.number(&error));
                    builder.end(process, f, key, ending, value, error, time_ns).unwrap();
                }
            }
        }
        builder.finish()
    })
}

/// Reads in pieces that end wherever the given lengths have it.
fn in_pieces(text: &[u8], lengths: &[usize]) -> Result<Vec<String>, String> {
    let mut seen = Vec::new();
    let mut each = |event: RawEvent| {
        seen.push(format!("{event:?}"));
        Ok(())
    };
    let mut reader = jsonl::Reader::new();
    let (mut rest, mut lengths) = (text, lengths.iter().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(*lengths.next().unwrap_or(&1)));
        reader.feed(piece, &mut each).map_err(|error| error.to_string())?;
        rest = after;
    }
    reader.finish(&mut each).map_err(|error| error.to_string())?;
    Ok(seen)
}

/// Pieces of all three formats, so that random texts come far into the readers.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "\"",
    "\\",
    ":",
    ",",
    "\n",
    " ",
    "\t",
    "#",
    "#_",
    "#{",
    "##",
    ";",
    "-",
    "0",
    "7",
    "1.5",
    "1e",
    "5N",
    "1/2",
    "nil",
    "null",
    "true",
    "é",
    "\u{feff}",
    "\0",
    "\\u00",
    "\\ud800",
    "\\u+041",
    "\\newline",
    "\"process\":1",
    "\"type\":\"invoke\"",
    "\"type\":\"ok\"",
    "\"f\":\"read\"",
    "\"value\":",
    "\"key\":",
    "\"error\":",
    ":process 1 ",
    ":type :invoke ",
    ":type :ok ",
    ":f :read ",
    ":value ",
    ":key ",
    ":error ",
    ":time ",
    ":nemesis ",
    "#jepsen.history.Op{",
    "INFO  jepsen.util - ",
    "0\t:invoke\t:read\tnil",
    "0\t:ok\t",
    ":cas\t[1 2]",
];

fn soup() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        prop::collection::vec(prop::sample::select(PIECES), 0..40)
            .prop_map(|pieces| pieces.concat().into_bytes()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_again(history in history()) {
        let text = jsonl::write(&history);
        prop_assert_eq!(told(&jsonl::read(&text).unwrap()), told(&history));
        prop_assert_eq!(&jsonl::write(&jsonl::read(&text).unwrap()), &text);
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            // Huge exponents are more than serde_json's numbers hold: all else it reads as well.
            let read = serde_json::from_slice::<serde_json::Value>(line);
            prop_assert!(read.is_ok() || read.unwrap_err().to_string().contains("number out of range"));
        }
    }

    #[test]
    fn where_pieces_end_changes_nothing(history in history(), lengths in prop::collection::vec(1_usize..90, 1..6)) {
        let text = jsonl::write(&history);
        prop_assert_eq!(in_pieces(&text, &lengths), in_pieces(&text, &[usize::MAX]));
    }

    #[test]
    fn a_corrupted_line_is_named(history in history(), place in any::<prop::sample::Index>(), crlf in any::<bool>()) {
        let text = String::from_utf8(jsonl::write(&history)).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        prop_assume!(!lines.is_empty());
        let bad = place.index(lines.len());
        lines[bad] = &lines[bad][..lines[bad].len() - 1];
        let error = jsonl::read(lines.join(if crlf { "\r\n" } else { "\n\n" }).as_bytes()).unwrap_err();
        prop_assert_eq!(error.line, if crlf { bad + 1 } else { 2 * bad + 1 });
    }

    #[test]
    fn no_text_ends_in_a_panic(text in soup()) {
        for options in [Options::default(), Options { independent: true, failed_cas_is_mismatch: false }] {
            for format in Format::ALL {
                if let Err(error) = read(&text, format, &options) {
                    let lines = text.split(|byte| *byte == b'\n').count();
                    prop_assert!((1..=lines).contains(&error.line) && error.column >= 1, "{}", error);
                }
            }
            let _ = read_any(&text, &options);
        }
        prop_assert_eq!(in_pieces(&text, &[3]), in_pieces(&text, &[usize::MAX]));
    }

    #[test]
    fn json_is_what_serde_takes_for_json(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..8)) {
        let text = format!("{{\"process\":1,\"type\":\"invoke\",\"f\":\"x\",\"a\":[{}]}}", pieces.concat());
        prop_assume!(!text.contains('\n') && !text.contains("\"process\":1\"") );
        let ours = jsonl::read(text.as_bytes());
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}: {:?}, {:?}", text, ours.err(), theirs.err());
    }
}

fn event(process: u64, kind: Kind, f: Function, value: serde_json::Value) -> HistoryEvent {
    HistoryEvent::new(7, process, kind, f, "k0", value)
}

/// What is judged in memory is what is judged from the file.
#[test]
fn events_in_memory_make_the_same_history_as_their_file() {
    let mut failed = event(3, Kind::Fail, Function::Cas, serde_json::json!([1, 2]));
    failed.error = Some("mismatch".into());
    let events = [
        event(0, Kind::Invoke, Function::Write, 1.into()),
        event(3, Kind::Invoke, Function::Cas, serde_json::json!([1, 2])),
        event(0, Kind::Info, Function::Write, 1.into()),
        failed,
        event(1000, Kind::Invoke, Function::Other("drain".into()), serde_json::json!({"a": 1.5})),
        event(1000, Kind::Ok, Function::Other("drain".into()), "x".into()),
        event(3, Kind::Invoke, Function::Read, serde_json::Value::Null),
    ];
    let text: String = events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect();
    let history = History::from_events(&events).unwrap();
    assert_eq!(told(&history), told(&jsonl::read(text.as_bytes()).unwrap()));
    assert_eq!(history.operations.len(), 4);
    let error = History::from_events(&events[2..3]).unwrap_err();
    assert_eq!((error.at, error.why.as_str()), (0, "process 0 ends an operation that it never invoked"));
}

/// A part of a history keeps the positions of its events, so that they can be found in the whole.
#[test]
fn a_part_of_a_history_is_written_with_its_positions() {
    let text = "{:process 0 :type :invoke :f :write :value 1}{:process 1 :type :invoke :f :read}
                {:process 0 :type :ok :f :write :value 1}{:process 1 :type :ok :f :read :value 1/2}";
    let mut history = edn::read(text.as_bytes(), &Options::default()).unwrap();
    history.operations.remove(0);
    let written = String::from_utf8(jsonl::write(&history)).unwrap();
    assert_eq!(
        written,
        "{\"index\":1,\"time_ns\":1,\"process\":1,\"type\":\"invoke\",\"f\":\"read\",\"value\":null}\n\
         {\"index\":3,\"time_ns\":3,\"process\":1,\"type\":\"ok\",\"f\":\"read\",\"value\":\"1/2\"}\n"
    );
}

/// One history, in all formats.
#[test]
fn all_formats_tell_the_same() {
    let texts = [
        "{\"process\":0,\"type\":\"invoke\",\"f\":\"cas\",\"value\":[1,2]}\n\
         {\"process\":0,\"type\":\"fail\",\"f\":\"cas\",\"value\":[1,2],\"error\":\"mismatch\"}",
        "{:process 0, :type :invoke, :f :cas, :value [1 2]}\n{:process 0, :type :fail, :f :cas, :value [1 2]}",
        "INFO  jepsen.util - 0\t:invoke\t:cas\t[1 2]\nINFO  jepsen.util - 0\t:fail\t:cas\t[1 2]\n",
    ];
    let options = Options::default();
    let histories = texts.map(|text| told(&read_any(text.as_bytes(), &options).unwrap()));
    assert_eq!(
        histories[0],
        ["0 \"cas\" \"\" List([Int(1), Int(2)]) Fail(Some(\"mismatch\")) Some(\"mismatch\") 0..1 0..1"]
    );
    assert_eq!(histories[1], histories[0]);
    assert_eq!(histories[2], histories[0]);
    assert!(etcd::read(texts[0].as_bytes(), &options).is_err());
}

#[test]
fn the_nemesis_log_of_a_run_tells_when_faults_were_in_force() {
    let record = |step, phase, status, time_ns, kind: &str, nodes: &[u64]| NemesisRecord {
        step,
        phase,
        status,
        planned_ns: None,
        time_ns,
        kind: kind.into(),
        nodes: nodes.to_vec(),
        links: vec![],
        anchor: None,
        evidence: serde_json::Value::Null,
        reason: None,
        fixed: false,
    };
    let (install, heal, done) = (Phase::Install, Phase::Heal, Status::Done);
    let mut cut = record(Some(3), install, done, 40, "cut", &[]);
    cut.links = vec![("n1".into(), "n2".into()), ("clients".into(), "n2".into())];
    let log = [
        record(Some(0), install, done, 10, "kill", &[1, 3]),
        record(Some(1), install, Status::Skipped, 15, "pause", &[]),
        record(Some(2), install, done, 20, "delay", &[]),
        record(Some(0), heal, done, 30, "kill", &[1, 3]),
        cut,
        record(None, Phase::AllHealed, done, 50, "all_healed", &[]),
        record(Some(4), install, done, 60, "kill", &[]),
    ];
    let bands: Vec<String> = fault_bands(&log, 70)
        .into_iter()
        .map(|band| format!("{} {}..{}", band.words, band.from_ns, band.to_ns))
        .collect();
    assert_eq!(bands, ["kill n1 n3 10..30", "delay 20..50", "cut n1→n2 clients→n2 40..50", "kill 60..70"]);
}
