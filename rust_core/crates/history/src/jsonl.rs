//! Our own histories: JSON Lines, one event each (docs/histories.md).

use std::borrow::Cow;

use crate::{
    Ending, History, NEVER, RawEvent, ReadError, Sort, Value,
    error::{Flaw, utf8},
    event::Assembler,
    json::Json,
    lines::Lines,
};

const EVENT: &str =
    "a history event: {\"process\", \"type\": invoke|ok|fail|info, \"f\", \"key\", \"value\", …}";
const TYPE: &str = "\"invoke\", \"ok\", \"fail\" or \"info\"";

pub use crate::lines::LONGEST_LINE_BYTES;

/// Reads a whole history.
///
/// # Errors
/// The first line that is no event, or makes no sense after those before it.
pub fn read(text: &[u8]) -> Result<History, ReadError> {
    let mut assembler = Assembler::new(false);
    let mut reader = Reader::new();
    let mut take = |event: RawEvent| assembler.take(event);
    reader.feed(text, &mut take)?;
    reader.finish(&mut take)?;
    Ok(assembler.finish())
}

/// Reads a history piece by piece, for those that are larger than memory, or not yet over.
#[derive(Debug, Default)]
pub struct Reader(Lines);

impl Reader {
    /// A reader at the beginning.
    pub fn new() -> Reader {
        Reader::default()
    }

    /// Takes the next piece, wherever it ends, and calls `each` for every event whose line is now complete. An
    /// error of `each` says in words why the event makes no sense.
    ///
    /// # Errors
    /// The first line that is no event, or that `each` refuses. Nothing can be fed after that.
    pub fn feed(
        &mut self,
        piece: &[u8],
        each: &mut impl FnMut(RawEvent) -> Result<(), String>,
    ) -> Result<(), ReadError> {
        self.0.feed(piece, |line, number| take(line, number, each))
    }

    /// The history is over: the last line may have no end.
    ///
    /// # Errors
    /// As for [`Reader::feed`].
    pub fn finish(self, each: &mut impl FnMut(RawEvent) -> Result<(), String>) -> Result<(), ReadError> {
        self.0.finish(|line, number| take(line, number, each))
    }
}

/// The event on a line goes to `each`.
fn take(
    line: &[u8],
    number: usize,
    each: &mut impl FnMut(RawEvent) -> Result<(), String>,
) -> Result<(), ReadError> {
    let event = utf8(line).and_then(event).map_err(|flaw| flaw.on_line(number))?;
    match event.map(each) {
        Some(Err(why)) => Err(Flaw::new(0, why, "").on_line(number)),
        _ => Ok(()),
    }
}

/// The event on a line; none on an empty one.
fn event(line: &str) -> Result<Option<RawEvent<'_>>, Flaw> {
    let mut json = Json::new(line);
    if json.peek() == 0 && json.at == line.len() {
        return Ok(None);
    }
    if !json.eat(b'{') {
        return Err(json.unexpected(EVENT));
    }
    let (mut sort, mut process, mut f) = (None, None, None);
    let (mut key, mut value, mut error, mut time_ns) = (None, None, None, None);
    let mut nemesis = false;
    let mut more = json.peek() != b'}';
    while more {
        let at = json.at;
        let name = json.name()?;
        let twice = match name.as_ref() {
            "type" => sort.replace(sort_of(&mut json)?).is_some(),
            "process" => {
                nemesis = json.peek() == b'"';
                process.replace(text_or_number(&mut json, "a process: a whole number or a string")?).is_some()
            }
            "f" => f.replace(text(&mut json, "the function's name as a string")?).is_some(),
            "key" => key.replace(key_of(&mut json)?).is_some(),
            "value" => value.replace(json.value()?).is_some(),
            "error" => error.replace(error_of(&mut json)?).is_some(),
            "time_ns" | "time" => time_ns.replace(time(&mut json)?).is_some(),
            _ => {
                json.skip()?;
                false
            }
        };
        if twice {
            return Err(Flaw::new(at, format!("the field `{name}` comes twice"), "each field once"));
        }
        more = json.eat(b',');
        if !more && json.peek() != b'}' {
            return Err(json.unexpected("a comma or }"));
        }
    }
    json.at += 1;
    if json.peek() != 0 || json.at < line.len() {
        return Err(json.unexpected("one event on each line"));
    }
    let missing = |name: &str| Flaw::new(line.trim_end().len() - 1, format!("missing field `{name}`"), EVENT);
    let process: Cow<str> = process.ok_or_else(|| missing("process"))?;
    Ok(Some(RawEvent {
        sort: sort.ok_or_else(|| missing("type"))?,
        nemesis: nemesis && process == "nemesis",
        process,
        f: f.ok_or_else(|| missing("f"))?,
        key: key.unwrap_or_default(),
        value: value.unwrap_or_default(),
        error: error.flatten(),
        time_ns,
    }))
}

fn text<'a>(json: &mut Json<'a>, expected: &'static str) -> Result<Cow<'a, str>, Flaw> {
    if json.peek() == b'"' { json.string() } else { Err(json.unexpected(expected)) }
}

fn text_or_number<'a>(json: &mut Json<'a>, expected: &'static str) -> Result<Cow<'a, str>, Flaw> {
    if !matches!(json.peek(), b'-' | b'0'..=b'9') {
        return text(json, expected);
    }
    let at = json.at;
    match json.number()? {
        (number, true) => Ok(Cow::Borrowed(number)),
        (number, false) => Err(Flaw::new(at, format!("{number} is not whole"), expected)),
    }
}

fn key_of<'a>(json: &mut Json<'a>) -> Result<Cow<'a, str>, Flaw> {
    if json.peek() == b'n' {
        json.value()?;
        return Ok(Cow::Borrowed(""));
    }
    text_or_number(json, "a key: a string, a whole number or null")
}

fn sort_of(json: &mut Json) -> Result<Sort, Flaw> {
    json.peek();
    let at = json.at;
    match text(json, TYPE)?.as_ref() {
        "invoke" => Ok(Sort::Invoke),
        "ok" => Ok(Sort::End(Ending::Ok)),
        "fail" => Ok(Sort::End(Ending::Fail)),
        "info" => Ok(Sort::End(Ending::Unknown)),
        other => Err(Flaw::new(at, format!("unknown type {other:?}"), TYPE)),
    }
}

fn error_of<'a>(json: &mut Json<'a>) -> Result<Option<Cow<'a, str>>, Flaw> {
    if json.peek() == b'"' {
        return json.string().map(Some);
    }
    Ok(match json.value()? {
        Value::Null => None,
        other => Some(Cow::Owned(other.to_string())),
    })
}

fn time(json: &mut Json) -> Result<u64, Flaw> {
    json.peek();
    let at = json.at;
    let wrong =
        |found: &str| Flaw::new(at, format!("{found} is no time"), "nanoseconds: a whole number from 0");
    let number = text_or_number(json, "nanoseconds: a whole number from 0")?;
    number.parse().map_err(|_| wrong(&number))
}

/// Writes a history, or what is left of one: each event keeps its position as its `index`.
pub fn write(history: &History) -> Vec<u8> {
    let mut moments: Vec<(u32, u32)> = Vec::with_capacity(2 * history.operations.len());
    for (number, operation) in (0_u32..).zip(&history.operations) {
        moments.push((operation.invoked_at, number));
        if operation.completed_at != NEVER {
            moments.push((operation.completed_at, number));
        }
    }
    moments.sort_unstable();
    let mut out = Vec::with_capacity(moments.len() * 112);
    for (at, number) in moments {
        let operation = &history.operations[number as usize];
        let opens = at == operation.invoked_at;
        let (time_ns, kind) = match (opens, operation.ending) {
            (true, _) => (operation.invoked_ns, "invoke"),
            (false, Ending::Ok) => (operation.completed_ns, "ok"),
            (false, Ending::Fail) => (operation.completed_ns, "fail"),
            (false, Ending::Unknown) => (operation.completed_ns, "info"),
        };
        push(&mut out, &format!("{{\"index\":{at},\"time_ns\":{time_ns},\"process\":"));
        let process = history.processes.get(operation.process);
        // A number is written as one if it would be read as the same name.
        if process.parse().is_ok_and(|number: i64| number.to_string() == process) {
            push(&mut out, process);
        } else {
            write_text(process, &mut out);
        }
        push(&mut out, &format!(",\"type\":\"{kind}\",\"f\":"));
        write_text(history.function(operation), &mut out);
        let key = history.key(operation);
        if !key.is_empty() {
            push(&mut out, ",\"key\":");
            write_text(key, &mut out);
        }
        push(&mut out, ",\"value\":");
        let answered = !opens && operation.ending == Ending::Ok;
        let value = if answered { operation.result } else { operation.argument };
        write_value(history.values.get(value), &mut out);
        if let (false, Some(error)) = (opens, history.error(operation)) {
            push(&mut out, ",\"error\":");
            write_text(error, &mut out);
        }
        push(&mut out, "}\n");
    }
    out
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a vector takes all");
}

/// Numbers stay as they were written: [`crate::json`] says why.
fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Int(number) => push(out, &number.to_string()),
        Value::Number(number) if is_json(number) => push(out, number),
        Value::List(list) => {
            out.push(b'[');
            for (number, element) in list.iter().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                write_value(element, out);
            }
            out.push(b']');
        }
        Value::Map(entries) => {
            out.push(b'{');
            for (number, (name, element)) in entries.iter().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                match name {
                    Value::Text(name) => write_text(name, out),
                    other => write_text(&other.to_string(), out),
                }
                out.push(b':');
                write_value(element, out);
            }
            out.push(b'}');
        }
        other => push(out, &other.to_string()),
    }
}

/// Whether JSON would write this number so: EDN's ratios it would not.
fn is_json(number: &str) -> bool {
    let mut json = Json::new(number);
    json.number().is_ok() && json.at == number.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;

    fn line(fields: &str) -> String {
        format!("{{\"process\":3,\"type\":\"invoke\",\"f\":\"write\",{fields}}}\n")
    }

    #[test]
    fn a_history_is_read_with_all_that_matters() {
        let text = br#"
            {"index":0, "time_ns":10, "process":0, "type":"invoke", "f":"write", "key":"k\u0030", "value":7, "op":"c1.1"}
            {"index":1, "time_ns":20, "process":"b", "type":"invoke", "f":"read", "key":5, "value":null, "home":true}
            {"index":2, "time_ns":30, "process":0, "type":"info", "f":"write", "key":"k0", "value":7, "error":"timeout"}
            {"index":3, "time_ns":40, "process":"b", "type":"ok", "f":"read", "key":"5", "value":[1,{"a":null}], "node":"n2"}
            {"process":1000, "type":"invoke", "f":"cas", "value":[7,8]}
            {"process":1000, "type":"fail", "f":"cas", "value":[7,8], "error":"mismatch", "key":null}"#;
        let history = read(text).unwrap();
        let seen: Vec<String> = history
            .operations
            .iter()
            .map(|operation| {
                format!(
                    "{} {} {:?} {} {:?} {}..{}",
                    history.processes.get(operation.process),
                    history.function(operation),
                    history.key(operation),
                    history.values.get(operation.argument),
                    history.outcome(operation),
                    operation.invoked_ns,
                    operation.completed_ns,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                "0 write \"k0\" 7 Unknown 10..30",
                "b read \"5\" null Ok(List([Int(1), Map([(Text(\"a\"), Null)])])) 20..40",
                "1000 cas \"\" [7,8] Fail(Some(\"mismatch\")) 4..5",
            ]
        );
        assert_eq!(history.error(&history.operations[0]), Some("timeout"));
        assert_eq!(history.outcome(&history.operations[0]), Outcome::Unknown);
    }

    #[test]
    fn values_stay_what_they_are() {
        let same = |value: &str| {
            let history = read(line(&format!("\"value\":{value}")).as_bytes()).unwrap();
            history.values.get(history.operations[0].argument).clone()
        };
        assert_eq!(same("-9223372036854775808"), Value::Int(i64::MIN));
        assert_eq!(same("9223372036854775808"), Value::Number("9223372036854775808".into()));
        assert_ne!(
            same("340282366920938463463374607431768211456"),
            same("340282366920938463463374607431768211457")
        );
        assert_eq!(same("1.50e3"), Value::Number("1.50e3".into()));
        assert_eq!(same("\"\\u00e9 \\ud83d\\ude00 é\""), Value::text("é 😀 é"));
        assert_eq!(same("[ ]"), Value::list([]));
        assert_eq!(same("{\"b\":1,\"a\":2,\"b\":3}").to_string(), "{\"a\":2,\"b\":3}");
    }

    #[test]
    fn errors_say_where_what_and_what_was_expected() {
        let error = |bad: &str| {
            let text = format!("{}\n{bad}", line("\"value\":1"));
            read(text.as_bytes()).unwrap_err().to_string()
        };
        for (bad, expected) in [
            (
                "{\"type\":\"inovke\"}",
                "line 3, column 9: unknown type \"inovke\"; expected \"invoke\", \"ok\", ",
            ),
            (
                "{\"type\":\"ok\",,}",
                "line 3, column 14: ',' is not expected here; expected a field's name in quotes",
            ),
            (
                "{\"type\":\"ok\",\"f\":\"read\"}",
                "line 3, column 24: missing field `process`; expected a history",
            ),
            ("{\"f\":\"read\",\"f\":\"write\"}", "line 3, column 13: the field `f` comes twice"),
            (
                "{\"f\":read}",
                "line 3, column 6: 'r' is not expected here; expected the function's name as a string",
            ),
            ("{\"process\":1.5}", "line 3, column 12: 1.5 is not whole; expected a process"),
            ("{\"time_ns\":-1}", "line 3, column 12: -1 is no time; expected nanoseconds"),
            ("{\"value\":01}", "line 3, column 11: '1' is not expected here; expected a comma or }"),
            ("{\"value\":[1,nil]}", "line 3, column 13: 'n' is not expected here; expected a JSON value"),
            ("{\"value\":\"a", "line 3, column 10: this string has no end"),
            ("{\"value\":\"\\x\"}", "line 3, column 10: this string has an escape that means nothing"),
            ("{\"value\":1", "line 3, column 11: the line ends too early; expected a comma or }"),
            ("[]", "line 3, column 1: '[' is not expected here; expected a history event"),
            (&"[".repeat(200), "line 3, column 1: '['"),
            (
                &format!("{{\"value\":{}", "[".repeat(2000)),
                "line 3, column 110: lists within lists go too deep",
            ),
            (
                line("\"value\":2").trim(),
                "line 3, column 1: process 3 invokes an operation while its last has",
            ),
            (
                &line("\"value\":2").repeat(2).replace("invoke", "ok"),
                "line 4, column 1: process 3 ends an op",
            ),
            (
                &line("\"value\":1").trim().repeat(2),
                "line 3, column 52: '{' is not expected here; expected one",
            ),
        ] {
            let error = error(bad);
            assert!(error.starts_with(expected), "{bad}\n  {error}\n  {expected}");
        }
        let error = read(b"{\"f\":\"\xff\"}").unwrap_err();
        assert_eq!(error.to_string(), "line 1, column 7: this byte is not UTF-8; expected text in UTF-8");
    }

    #[test]
    fn the_faults_of_a_nemesis_are_no_operations() {
        let text =
            br#"{"process":"nemesis","type":"info","f":"start-partition","value":"majority","time_ns":5}
            {"process":"nemesis","type":"info","f":"start-partition","value":null,"time_ns":6}
            {"process":"nemesis","type":"info","f":"stop-partition","value":null,"time_ns":8}
            {"process":"nemesis","type":"info","f":"stop-partition","value":null,"time_ns":9}"#;
        let history = read(text).unwrap();
        assert_eq!(history.operations.len(), 0);
        let band = &history.faults[0];
        assert_eq!((band.words.as_str(), band.from_ns, band.to_ns), ("partition majority", 5, 9));
    }
}
