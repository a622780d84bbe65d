//! The log lines of Jepsen's first etcd tests, which Porcupine's own tests read:
//! `INFO  jepsen.util - 3 :invoke :cas [1 4]`.
//!
//! Lines of other loggers are passed over, as logs are full of them.

use std::borrow::Cow;

use crate::{
    Ending, History, Options, RawEvent, ReadError, Sort,
    edn::{Edn, name_of, sort_named},
    error::{Flaw, utf8},
    event::Assembler,
};

const LINE: &str = "INFO  jepsen.util - PROCESS :invoke|:ok|:fail|:info :FUNCTION VALUE";

/// Who writes these lines.
pub(crate) const LOGGER: &str = "jepsen.util";

/// Reads a whole log.
///
/// # Errors
/// The first line of this logger that is no event, or makes no sense after those before it; a log without any.
pub fn read(text: &[u8], options: &Options) -> Result<History, ReadError> {
    let mut assembler = Assembler::new(options.failed_cas_is_mismatch);
    let mut events = 0_u64;
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let event = utf8(line).and_then(event).map_err(|flaw| flaw.on_line(number))?;
        if let Some(event) = event {
            assembler.take(event).map_err(|why| Flaw::new(0, why, "").on_line(number))?;
            events += 1;
        }
    }
    if events == 0 && !text.trim_ascii().is_empty() {
        return Err(no_event());
    }
    Ok(assembler.finish())
}

/// What is wrong with a log in which no line is an event.
pub(crate) fn no_event() -> ReadError {
    Flaw::new(0, "no line of this log is an event", LINE).on_line(1)
}

/// The event on a line; none on lines that tell something else.
pub(crate) fn event(line: &str) -> Result<Option<RawEvent<'_>>, Flaw> {
    let Some(at) = line.find(LOGGER) else { return Ok(None) };
    let mut words = Words { line, at: at + LOGGER.len() };
    let mut process = words.next();
    if process.1 == "-" {
        process = words.next();
    }
    let nemesis = process.1 == ":nemesis";
    if !nemesis && !process.1.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(None);
    }
    if !nemesis && !process.1.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Flaw::new(process.0, format!("{} is no process", process.1), LINE));
    }
    let (at, word) = words.next();
    let sort = word.strip_prefix(':').and_then(sort_named);
    let sort =
        sort.ok_or_else(|| Flaw::new(at, format!("{word:?} is no type"), ":invoke, :ok, :fail or :info"))?;
    let (at, word) = words.next();
    let f = word.strip_prefix(':').filter(|name| !name.is_empty());
    let f = f.ok_or_else(|| Flaw::new(at, format!("{word:?} is no function"), "a keyword such as :read"))?;

    let mut edn = Edn::new(line);
    edn.at = words.at;
    edn.space()?;
    if edn.at == line.len() {
        return Err(Flaw::new(edn.at, "the line ends too early", LINE));
    }
    // Of an operation that did not succeed, a keyword in the place of the value says why.
    let mut error = None;
    let is_error =
        matches!(sort, Sort::End(Ending::Fail | Ending::Unknown)) && line[edn.at..].starts_with(':');
    let mut value = edn.value()?;
    edn.space()?;
    if is_error {
        error = Some(Cow::Owned(name_of(std::mem::take(&mut value))));
    } else if edn.at < line.len() {
        error = Some(Cow::Owned(name_of(edn.value()?)));
        edn.space()?;
    }
    if edn.at < line.len() {
        return Err(Flaw::new(edn.at, "the line goes on after the event", LINE));
    }
    let (process, f, key) = (Cow::Borrowed(process.1), Cow::Borrowed(f), Cow::Borrowed(""));
    Ok(Some(RawEvent { sort, nemesis, process, f, key, value, error, time_ns: None }))
}

/// The words of a line, with their places.
struct Words<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    /// The next word; an empty one at the end.
    fn next(&mut self) -> (usize, &'a str) {
        let rest = &self.line[self.at..];
        let word = rest.trim_start();
        let start = self.at + (rest.len() - word.len());
        let word = &word[..word.find(char::is_whitespace).unwrap_or(word.len())];
        self.at = start + word.len();
        (start, word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "INFO  jepsen.core - Worker 0 starting
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 3   :invoke :cas    [0 2]
INFO  jepsen.util - 0\t:ok\t:read\tnil
INFO  jepsen.util - :nemesis\t:info\t:start\tnil
INFO  jepsen.util - 3\t:fail\t:cas\t[0 2]
INFO  jepsen.util - 4\t:invoke\t:write\t3
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 0\t:fail\t:read\t:timed-out
INFO  jepsen.util - 4\t:info\t:write\t:timed-out
";

    #[test]
    fn a_log_is_read_as_porcupine_reads_it() {
        let history = read(LOG.as_bytes(), &Options::default()).unwrap();
        let told: Vec<String> = history
            .operations
            .iter()
            .map(|operation| {
                let argument = history.values.get(operation.argument);
                let error = history.error(operation).unwrap_or("-");
                format!("{}({argument}) {:?} {error}", history.function(operation), operation.ending)
            })
            .collect();
        assert_eq!(
            told,
            [
                "read(null) Ok -",
                "cas([0,2]) Fail mismatch",
                "write(3) Unknown timed-out",
                "read(null) Fail timed-out",
            ]
        );
        assert_eq!(history.faults[0].words, "start");
    }

    #[test]
    fn errors_say_where_what_and_what_was_expected() {
        for (from, to, expected) in [
            (
                ":invoke\t:write",
                ":inovke\t:write",
                "line 7, column 23: \":inovke\" is no type; expected :invoke",
            ),
            (":write\t3", "write\t3", "line 7, column 31: \"write\" is no function"),
            (
                "[0 2]\nINFO  jepsen.util - 0",
                "[0 2\nINFO  jepsen.util - 0",
                "line 3, column 41: this bracket is never",
            ),
            (
                "4\t:invoke",
                "5\t:invoke",
                "line 10, column 1: process 4 ends an operation that it never invoked",
            ),
            ("4\t:invoke", "4x\t:invoke", "line 7, column 21: 4x is no process"),
            ("\t3", "\t3 4 5", "line 7, column 42: the line goes on after the event"),
            ("\t3", "", "line 7, column 37: the line ends too early"),
        ] {
            assert!(LOG.contains(from), "{from}");
            let error = read(LOG.replace(from, to).as_bytes(), &Options::default()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}\n{expected}");
        }
        let error = read(b"hello\n", &Options::default()).unwrap_err().to_string();
        assert!(error.starts_with("line 1, column 1: no line of this log is an event"), "{error}");
    }
}
