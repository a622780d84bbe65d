//! Jepsen's histories: `history.edn`, one map for each event.
//!
//! The maps may stand on lines of their own, in a vector, or over several lines each, and they may carry the name
//! of a record.

mod forms;
mod pieces;

use std::borrow::Cow;

use crate::{
    Ending, History, Options, RawEvent, ReadError, Sort, Value,
    error::{Flaw, utf8},
    event::Assembler,
};

pub(crate) use forms::Edn;
pub(crate) use pieces::Pieces;

const EVENT: &str = "an event: {:process 0, :type :invoke, :f :read, :value nil, …}";
const TYPE: &str = ":invoke, :ok, :fail or :info";

/// Reads a whole history.
///
/// # Errors
/// The first place that is not EDN, is no event, or makes no sense after those before it.
pub fn read(text: &[u8], options: &Options) -> Result<History, ReadError> {
    events(text, options).map_err(|flaw| flaw.within(text))
}

fn events(text: &[u8], options: &Options) -> Result<History, Flaw> {
    let mut assembler = Assembler::new(options.failed_cas_is_mismatch);
    let mut vector = None;
    each_event(utf8(text)?, &mut vector, true, options.independent, &mut |event| assembler.take(event))?;
    Ok(assembler.finish())
}

/// Calls `each` for every event of a text, or of a part that ends after a whole event. `vector` is what closes the
/// vector that the events stand in, if they stand in one.
fn each_event(
    text: &str,
    vector: &mut Option<u8>,
    is_end: bool,
    independent: bool,
    each: &mut impl FnMut(RawEvent) -> Result<(), String>,
) -> Result<(), Flaw> {
    let mut edn = Edn::new(text);
    loop {
        edn.space()?;
        edn.tag()?;
        match edn.byte() {
            0 if edn.is_over() && (vector.is_none() || !is_end) => return Ok(()),
            b'[' if vector.is_none() => *vector = Some(b']'),
            b'(' if vector.is_none() => *vector = Some(b')'),
            closing if *vector == Some(closing) => *vector = None,
            _ => {
                let at = edn.at;
                let event = event(&mut edn, independent)?;
                each(event).map_err(|why| Flaw::new(at, why, ""))?;
                continue;
            }
        }
        edn.at += 1;
    }
}

/// One event: a map, whose record's name is passed.
fn event<'a>(edn: &mut Edn<'a>, independent: bool) -> Result<RawEvent<'a>, Flaw> {
    let start = edn.at;
    if edn.byte() != b'{' {
        return Err(edn.unexpected(EVENT));
    }
    edn.at += 1;
    let (mut sort, mut process, mut f) = (None, None, None);
    let (mut key, mut value, mut error, mut time_ns) = (None, None, None, None);
    let mut is_tuple = independent;
    let mut value_at = start;
    loop {
        edn.space()?;
        if edn.byte() == b'}' {
            break;
        }
        if edn.is_over() {
            return Err(Flaw::new(start, "this event is never closed", "a } before the text ends"));
        }
        if edn.byte() != b':' {
            // A field of another kind than ours: its name is any form.
            edn.value()?;
            edn.space()?;
            edn.value()?;
            continue;
        }
        let name = edn.token();
        edn.space()?;
        let at = edn.at;
        match name {
            ":type" => {
                let found = edn.value()?;
                sort =
                    Some(sort_of(&found).ok_or_else(|| Flaw::new(at, format!("unknown type {found}"), TYPE)));
            }
            ":process" => process = Some(process_of(edn)?),
            ":f" => match edn.value()? {
                Value::Text(text) => f = Some(text),
                other => {
                    return Err(Flaw::new(at, format!("{other} is no function"), "a keyword such as :read"));
                }
            },
            ":key" => key = Some(name_of(edn.value()?)),
            ":error" => error = Some(edn.value()?).filter(|error| *error != Value::Null).map(name_of),
            ":time" | ":time-ns" | ":time_ns" => time_ns = time(edn)?,
            ":value" => {
                value_at = at;
                let tag = edn.tag()?;
                is_tuple |= tag.is_some_and(|tag| tag.ends_with("Tuple") || tag.ends_with("MapEntry"));
                value = Some(edn.value()?);
            }
            _ => drop(edn.value()?),
        }
    }
    edn.at += 1;
    let missing = |name: &str| Flaw::new(start, format!("this event has no {name}"), EVENT);
    let (process, nemesis): (Cow<str>, bool) = process.ok_or_else(|| missing(":process"))?;
    let f = f.ok_or_else(|| missing(":f"))?;
    let sort = match sort {
        Some(Ok(sort)) => sort,
        // Nemeses log other things too; none of them is an operation.
        _ if nemesis => Sort::Invoke,
        Some(Err(flaw)) => return Err(flaw),
        None => return Err(missing(":type")),
    };
    let mut value = value.unwrap_or_default();
    let mut key = key.unwrap_or_default();
    if is_tuple && !nemesis {
        (key, value) = parts(value).map_err(|other| {
            Flaw::new(
                value_at,
                format!("{other} names no key"),
                "[key value], as the keys are told in the values",
            )
        })?;
    }
    let (key, error) = (Cow::Owned(key), error.map(Cow::Owned));
    Ok(RawEvent { sort, nemesis, process, f: Cow::Owned(f.into()), key, value, error, time_ns })
}

/// Who; true for a keyword, which names no client.
fn process_of<'a>(edn: &mut Edn<'a>) -> Result<(Cow<'a, str>, bool), Flaw> {
    let at = edn.at;
    let is_keyword = edn.byte() == b':';
    match edn.value()? {
        Value::Int(number) => {
            let text = &edn.text[at..edn.at];
            let plain = text.bytes().all(|byte| byte.is_ascii_digit());
            Ok((if plain { Cow::Borrowed(text) } else { Cow::Owned(number.to_string()) }, false))
        }
        Value::Text(text) => Ok((Cow::Owned(text.into()), is_keyword)),
        other => {
            Err(Flaw::new(at, format!("{other} is no process"), "a whole number, or a keyword for a nemesis"))
        }
    }
}

/// When; nothing for nil, and for -1, by which Jepsen says that it does not know.
fn time(edn: &mut Edn) -> Result<Option<u64>, Flaw> {
    let at = edn.at;
    match edn.value()? {
        Value::Null => Ok(None),
        Value::Int(number) => Ok(u64::try_from(number).ok()),
        other => Err(Flaw::new(at, format!("{other} is no time"), "nanoseconds: a whole number")),
    }
}

fn sort_of(value: &Value) -> Option<Sort> {
    sort_named(value.as_text()?)
}

/// The sort that Jepsen calls so.
pub(crate) fn sort_named(name: &str) -> Option<Sort> {
    Some(match name {
        "invoke" => Sort::Invoke,
        "ok" => Sort::End(Ending::Ok),
        "fail" => Sort::End(Ending::Fail),
        "info" => Sort::End(Ending::Unknown),
        _ => return None,
    })
}

/// A key or an error as text.
pub(crate) fn name_of(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Text(text) => text.into(),
        other => other.to_string(),
    }
}

/// The key and the value of a tuple of `jepsen.independent`.
fn parts(value: Value) -> Result<(String, Value), Value> {
    match value {
        Value::List(list) if list.len() == 2 => {
            let [key, value] = <[Value; 2]>::try_from(Vec::from(list)).expect("its length was looked at");
            Ok((name_of(key), value))
        }
        Value::Map(_) => match (value.get("key"), value.get("value").or(value.get("val"))) {
            (Some(key), Some(inner)) => Ok((name_of(key.clone()), inner.clone())),
            _ => Err(value),
        },
        other => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operation;

    fn history(text: &str) -> History {
        read(text.as_bytes(), &Options::default()).unwrap()
    }

    fn told(history: &History) -> Vec<String> {
        let tell = |operation: &Operation| {
            format!(
                "{} {}({}){} {:?}",
                history.processes.get(operation.process),
                history.function(operation),
                history.values.get(operation.argument),
                history.key(operation),
                history.outcome(operation)
            )
        };
        history.operations.iter().map(tell).collect()
    }

    #[test]
    fn events_come_line_by_line_in_a_vector_or_as_records() {
        let lines = "{:type :invoke, :f :read, :value nil, :process 0, :time 1234, :index 0}\n\
                     {:type :ok, :f :read, :value 3, :process 0, :time 2000, :index 1}\n";
        let expected = ["0 read(null) Ok(Int(3))"];
        assert_eq!(told(&history(lines)), expected);
        assert_eq!(told(&history(&format!("; Jepsen's\n[{lines}]"))), expected);
        assert_eq!(
            told(&history(&format!("\u{feff}({})", lines.replace('{', "#jepsen.history.Op{")))),
            expected
        );
        assert_eq!(told(&history(&lines.replace(", ", "\n  ").replace("0 ", "0 #_ {:gone [1]}"))), expected);
        let operation = history(lines).operations[0];
        assert_eq!((operation.invoked_ns, operation.completed_ns), (1234, 2000));
        assert_eq!(
            history(&lines.replace("1234", "-1").replace("2000", "nil")).operations[0].completed_ns,
            1
        );
    }

    #[test]
    fn the_histories_of_a_key_value_store_carry_their_keys() {
        let text = r#"{:process 0, :type :invoke, :f :append, :key "0", :value "x 0 0 y"}
                      {:process 0, :type :ok, :f :append, :key "0", :value "x 0 0 y"}
                      {:process 0, :type :invoke, :f :get, :key "7", :value nil}
                      {:process 0, :type :ok, :f :get, :key "7", :value ""}"#;
        assert_eq!(
            told(&history(text)),
            [r#"0 append("x 0 0 y")0 Ok(Text("x 0 0 y"))"#, r#"0 get(null)7 Ok(Text(""))"#]
        );
    }

    #[test]
    fn values_may_be_tuples_of_a_key_and_a_value() {
        let text = "{:process 0 :type :invoke :f :cas :value [:x [1 2]]}{:process 0 :type :ok :f :cas :value [:x [1 2]]}";
        let options = Options { independent: true, ..Options::default() };
        let history_of = |text: &str, options: &Options| told(&read(text.as_bytes(), options).unwrap());
        let expected = ["0 cas([1,2])x Ok(List([Int(1), Int(2)]))"];
        assert_eq!(history_of(text, &options), expected);
        let tagged = text.replace("[:x", "#clojure.lang.MapEntry [:x");
        assert_eq!(history_of(&tagged, &Options::default()), expected);
        let record = text.replace("[:x [1 2]]", "#jepsen.independent.Tuple{:key :x, :value [1 2]}");
        assert_eq!(history_of(&record, &Options::default()), expected);
        let error =
            read(b"{:process 0 :type :invoke :f :read :value nil}", &options).unwrap_err().to_string();
        assert!(error.starts_with("line 1, column 43: null names no key; expected [key value]"), "{error}");
    }

    #[test]
    fn a_failed_cas_has_seen_another_value_unless_its_error_says_otherwise() {
        let error = |error: &str, options: &Options| {
            let text = format!(
                "{{:process 0 :type :invoke :f :cas :value [1 2]}}{{:process 0 :type :fail :f :cas :value [1 2] {error}}}"
            );
            let history = read(text.as_bytes(), options).unwrap();
            history.error(&history.operations[0]).map(str::to_owned)
        };
        let default = Options::default();
        for mismatch in
            ["", ":error nil", ":error :precondition-failed", ":error :cas-failed", ":error :did-not-succeed"]
        {
            assert_eq!(error(mismatch, &default).as_deref(), Some("mismatch"), "{mismatch}");
        }
        assert_eq!(
            error(":error [:connection-refused \"n1\"]", &default).unwrap(),
            "[\"connection-refused\",\"n1\"]"
        );
        assert_eq!(error("", &Options { failed_cas_is_mismatch: false, ..default }), None);
    }

    #[test]
    fn transactions_stay_lists() {
        let text = "{:process 1 :type :invoke :f :txn :value [[:append 1 2] [:r 1 nil]]}
                    {:process 1 :type :ok :f :txn :value [[:append 1 2] [:r 1 [1 2]]]}";
        let history = history(text);
        let result = history.values.get(history.operations[0].result);
        assert_eq!(result.to_string(), "[[\"append\",1,2],[\"r\",1,[1,2]]]");
    }

    #[test]
    fn the_nemesis_tells_when_faults_were_in_force() {
        let mut text = String::new();
        let actions = [
            ("start", ":majority"),
            ("kill", "[\"n1\"]"),
            ("bump-clock", "{\"n2\" 5}"),
            ("start", "nil"),
            ("pause-db", "nil"),
            ("stop", "nil"),
            ("resume-db", "nil"),
            ("start-packet", "nil"),
        ];
        for (number, (f, value)) in actions.iter().enumerate() {
            for part in 0..2 {
                let time = 10 * number + part;
                text += &format!("{{:process :nemesis :type :info :f :{f} :value {value} :time {time}}}\n");
            }
        }
        text += "{:process 0 :type :invoke :f :read :time 99}";
        let history = history(&text);
        assert_eq!(history.operations.len(), 1);
        let bands: Vec<String> = history
            .faults
            .iter()
            .map(|band| format!("{} {}..{}", band.words, band.from_ns, band.to_ns))
            .collect();
        assert_eq!(
            bands,
            [
                "start majority 0..51",
                "kill [\"n1\"] 10..31",
                "bump-clock {\"n2\":5} 20..21",
                "pause-db 40..61",
                "packet 70..99",
            ]
        );
    }

    #[test]
    fn errors_say_where_what_and_what_was_expected() {
        let error = |bad: &str| {
            let text = format!("{{:process 1 :type :invoke :f :read}}\n  {bad}");
            read(text.as_bytes(), &Options::default()).unwrap_err().to_string()
        };
        for (bad, expected) in [
            (
                "{:process 1 :type :inovke :f :read}",
                "line 2, column 21: unknown type \"inovke\"; expected :invoke, :ok",
            ),
            (
                "{:type :ok :f :read}",
                "line 2, column 3: this event has no :process; expected an event: {:process 0",
            ),
            ("{:process 1\n :type :ok :f 7}", "line 3, column 15: 7 is no function; expected a keyword"),
            ("{:process [1] :type :ok}", "line 2, column 13: [1] is no process; expected"),
            ("{:process 1 :value [1 2}", "line 2, column 26: '}' is not expected here; expected a value"),
            ("{:process 1 :value [1 2", "line 2, column 22: this bracket is never closed"),
            ("{:process 1 ", "line 2, column 3: this event is never closed"),
            ("{:process 1 :value \"a", "line 2, column 22: this string has no end"),
            ("{:process 1 :value \"a\\q\"}", "line 2, column 24: this escape means nothing"),
            ("{:process 1 :value 017}", "line 2, column 22: 017 is no number"),
            ("{:process 1 :value \\éa}", "line 2, column 22: \\éa is no character"),
            (":ok", "line 2, column 3: ':' is not expected here; expected an event"),
            (
                "{:process 2 :type :ok :f :read}",
                "line 2, column 3: process 2 ends an operation that it never invoked",
            ),
            ("[", "line 2, column 4: the text ends too early"),
        ] {
            let error = error(bad);
            assert!(error.starts_with(expected), "{bad}\n  {error}\n  {expected}");
        }
    }
}
