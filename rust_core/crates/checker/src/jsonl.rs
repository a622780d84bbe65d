//! Evidence as JSON Lines: `history.jsonl`, `trace/NODE.jsonl`, `nemesis.jsonl` (docs/formats.md).

use mcp_chaos_evidence::{HistoryEvent, NemesisRecord, TraceRecord};
use serde::{Serialize, de::DeserializeOwned};

use crate::trace_line;

/// A line that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}; expected {expected}")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// From 1, in bytes.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What should stand on the line.
    pub expected: &'static str,
}

/// Reads a history.
pub fn parse_history(text: &[u8]) -> Result<Vec<HistoryEvent>, ParseError> {
    parse(
        text,
        "a history event: {\"index\", \"time_ns\", \"process\", \"type\": invoke|ok|fail|info, \"f\", \"key\", \"value\", …}",
    )
}

/// Reads a trace: of one node, or of several in one.
pub fn parse_trace(text: &[u8]) -> Result<Vec<TraceRecord>, ParseError> {
    // A record takes about a hundred bytes in JSON.
    let mut records = Vec::with_capacity(text.len() / 128);
    let mut reader = TraceReader::default();
    reader.feed(text, |record| records.push(record))?;
    reader.finish(|record| records.push(record))?;
    Ok(records)
}

const TRACE_RECORD: &str = "a trace record: {\"time_ns\", \"node\", \"boot\", \"event\", …}";

/// The longest line that a trace may have: a file of another kind is refused before it fills memory.
const LINE_BYTES: usize = 16 << 20;

/// Reads a trace that comes in pieces, cut anywhere: it keeps no more than one line.
#[derive(Debug, Default)]
pub struct TraceReader {
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    /// How many lines have ended.
    lines: usize,
}

impl TraceReader {
    /// Takes in the next piece; `take` gets each record whose line it ends. After an error nothing more is read.
    pub fn feed(&mut self, mut piece: &[u8], mut take: impl FnMut(TraceRecord)) -> Result<(), ParseError> {
        if !self.partial.is_empty() {
            let Some(end) = piece.iter().position(|byte| *byte == b'\n') else { return self.keep(piece) };
            self.keep(&piece[..=end])?;
            piece = &piece[end + 1..];
            let line = std::mem::take(&mut self.partial);
            self.line(&line, &mut take)?;
        }
        while !piece.is_empty() {
            if let Some((record, length)) = trace_line::read(piece) {
                self.lines += 1;
                take(record);
                piece = &piece[length..];
                continue;
            }
            let Some(end) = piece.iter().position(|byte| *byte == b'\n') else { return self.keep(piece) };
            self.line(&piece[..=end], &mut take)?;
            piece = &piece[end + 1..];
        }
        Ok(())
    }

    /// The trace is at its end: the last line needs no newline.
    pub fn finish(&mut self, mut take: impl FnMut(TraceRecord)) -> Result<(), ParseError> {
        let line = std::mem::take(&mut self.partial);
        self.line(&line, &mut take)
    }

    fn keep(&mut self, piece: &[u8]) -> Result<(), ParseError> {
        self.partial.extend_from_slice(piece);
        if self.partial.len() > LINE_BYTES {
            return Err(ParseError {
                line: self.lines + 1,
                column: LINE_BYTES,
                message: "the line does not end".to_string(),
                expected: TRACE_RECORD,
            });
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], take: &mut impl FnMut(TraceRecord)) -> Result<(), ParseError> {
        self.lines += 1;
        if let Some((record, _)) = trace_line::read(line) {
            take(record);
        } else if let Some(record) =
            parse_line(line.strip_suffix(b"\n").unwrap_or(line), self.lines, TRACE_RECORD)?
        {
            take(record);
        }
        Ok(())
    }
}

/// Reads a nemesis log.
pub fn parse_nemesis(text: &[u8]) -> Result<Vec<NemesisRecord>, ParseError> {
    parse(
        text,
        "a nemesis record: {\"step\", \"phase\", \"status\", \"planned_ns\", \"time_ns\", \"kind\", \"nodes\", \"links\", …}",
    )
}

/// Writes records of any of these kinds, one on each line.
pub fn write<T: Serialize>(records: &[T]) -> Vec<u8> {
    let mut text = Vec::with_capacity(records.len() * 128);
    for record in records {
        serde_json::to_writer(&mut text, record)
            .expect("evidence has string keys only, and a vector takes all");
        text.push(b'\n');
    }
    text
}

/// Joins the traces of several nodes into one, in time order; each node's records keep their own order.
pub fn merge_traces(traces: Vec<Vec<TraceRecord>>) -> Vec<TraceRecord> {
    // A node's own order counts more than its clock: a record is never placed before one that precedes it.
    let mut all: Vec<(u64, TraceRecord)> = Vec::with_capacity(traces.iter().map(Vec::len).sum());
    for trace in traces {
        let mut latest = 0;
        for record in trace {
            latest = record.time_ns.max(latest);
            all.push((latest, record));
        }
    }
    all.sort_by_key(|(time_ns, _)| *time_ns);
    all.into_iter().map(|(_, record)| record).collect()
}

fn parse<T: DeserializeOwned>(text: &[u8], expected: &'static str) -> Result<Vec<T>, ParseError> {
    let mut records = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        records.extend(parse_line(line, number + 1, expected)?);
    }
    Ok(records)
}

/// What stands on one line; nothing on a blank one.
fn parse_line<T: DeserializeOwned>(
    line: &[u8],
    number: usize,
    expected: &'static str,
) -> Result<Option<T>, ParseError> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    serde_json::from_slice(line).map(Some).map_err(|error| {
        let (column, message) = describe(line, &error);
        ParseError { line: number, column, message, expected }
    })
}

/// Where in the line the error lies, and serde's words without its own position.
fn describe(line: &[u8], error: &serde_json::Error) -> (usize, String) {
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_string();
    // Records with flattened parts are read as a whole first: their errors point to the line's end. The word
    // that is complained about says more.
    let quoted = message.split(['`', '"']).nth(1).filter(|_| !message.starts_with("missing field"));
    let column = match quoted.and_then(|word| find(line, word.as_bytes())) {
        Some(at) if error.is_data() => at + 1,
        _ => error.column().max(1),
    };
    (column, message)
}

fn find(line: &[u8], word: &[u8]) -> Option<usize> {
    if word.is_empty() {
        return None;
    }
    line.windows(word.len()).position(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn evidence_survives_the_round_trip() {
        let history = history("1 invoke cas 1 2; 1 fail cas 1 2 mismatch; 2 invoke drain 3");
        assert_eq!(parse_history(&write(&history)).unwrap(), history);
        let traces = trace([
            (1, started(1, Some(2), 0)),
            (2, appended(1, 1, u64::MAX)),
            (1, operated(1, 2, 3)),
            (3, leads(9)),
        ]);
        assert_eq!(parse_trace(&write(&traces)).unwrap(), traces);
        let log = [nemesis(Some(3), mcp_chaos_evidence::Phase::Install, "kill", 5, &[1, 2])];
        assert_eq!(parse_nemesis(&write(&log)).unwrap(), log);
        assert_eq!(parse_history(b"\n \n").unwrap(), []);
    }

    #[test]
    fn errors_say_where_and_what_was_expected() {
        let good = write(&trace([(1, leads(1))]));
        let bad = |line: &str| {
            let mut text = good.clone();
            text.extend_from_slice(line.as_bytes());
            parse_trace(&text).unwrap_err()
        };
        let error = bad("{\"time_ns\":1,\"node\":\"x7\",\"boot\":1,\"event\":\"committed\",\"index\":4}");
        assert_eq!((error.line, error.column), (2, 22), "{error}");
        assert!(error.to_string().contains("expected a node name such as n1"), "{error}");
        let error = bad("{\"time_ns\":1,\"node\":\"n7\",\"boot\":1,\"event\":\"comitted\",\"index\":4}");
        assert_eq!((error.line, error.column), (2, 44), "{error}");
        assert!(error.to_string().contains("unknown variant `comitted`"), "{error}");
        let error = bad("{\"time_ns\":1,\"node\":\"n7\",\"boot\":1,\"event\":\"committed\"}");
        assert!(
            error.to_string().starts_with("line 2, column ")
                && error.to_string().contains("missing field `index`"),
            "{error}"
        );
        let error = bad("{\"time_ns\":1,,}");
        assert_eq!((error.line, error.column), (2, 14), "{error}");
    }

    #[test]
    fn a_trace_may_come_in_pieces_cut_anywhere() {
        let records = trace([(1, started(1, Some(2), 0)), (2, appended(1, 1, 7)), (1, leads(9))]);
        let mut text = write(&records[..1]);
        text.extend_from_slice(b"\n  \n");
        text.extend(write(&records[1..]));
        text.pop();
        for length in 1..text.len() {
            let (mut reader, mut read) = (TraceReader::default(), Vec::new());
            for piece in text.chunks(length) {
                reader.feed(piece, |record| read.push(record)).unwrap();
            }
            reader.finish(|record| read.push(record)).unwrap();
            assert_eq!(read, records, "in pieces of {length}");
        }
        text.truncate(text.len() - 1);
        let mut reader = TraceReader::default();
        let error =
            text.chunks(7).try_for_each(|piece| reader.feed(piece, |_| {})).and(reader.finish(|_| {}));
        assert_eq!(error.unwrap_err().line, 5);
    }

    #[test]
    fn merging_keeps_each_nodes_own_order() {
        let mut one = trace([(1, committed(1)), (1, committed(2)), (1, committed(3))]);
        one[1].time_ns = 0;
        one[0].time_ns = 1_500_000;
        let two = trace([(2, committed(1)), (2, committed(2))]);
        let merged = merge_traces(vec![one.clone(), two]);
        let ours: Vec<_> = merged.iter().filter(|record| record.node == 1).cloned().collect();
        assert_eq!(ours, one);
        assert_eq!(merged[0].node, 2);
    }
}
