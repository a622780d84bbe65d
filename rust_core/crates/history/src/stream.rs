//! Events of a history that comes piece by piece, in any format: one that is larger than memory, or not yet over.

use crate::{
    FaultBand, Format, Options, RawEvent, ReadError,
    edn::Pieces,
    error::{Flaw, utf8},
    etcd,
    event::Sieve,
    format::no_format,
    jsonl,
    lines::Lines,
};

/// So much of a text shows its format, if a line is not yet over.
const SHOWS_FORMAT_BYTES: usize = 256;

/// So far a log may go on without a line that tells its format.
const LONGEST_BEGINNING_BYTES: usize = 1 << 20;

/// Reads a history piece by piece, and holds no more of it than an event that is not yet complete.
#[derive(Debug)]
pub struct EventStream {
    options: Options,
    sieve: Sieve,
    /// Events of operations so far.
    events: u64,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    /// The format is not yet known: what came so far.
    Unknown(Vec<u8>),
    JsonLines(jsonl::Reader),
    Edn(Pieces),
    /// And whether any line was an event.
    EtcdLog(Lines, bool),
}

impl Reader {
    fn of(format: Format) -> Reader {
        match format {
            Format::JsonLines => Reader::JsonLines(jsonl::Reader::new()),
            Format::Edn => Reader::Edn(Pieces::default()),
            Format::EtcdLog => Reader::EtcdLog(Lines::default(), false),
        }
    }
}

impl EventStream {
    /// A stream at its beginning. Without a format: the one that [`Format::detect`] sees.
    pub fn new(format: Option<Format>, options: Options) -> EventStream {
        let is_mismatch = options.failed_cas_is_mismatch && format != Some(Format::JsonLines);
        EventStream {
            options,
            sieve: Sieve::new(is_mismatch),
            events: 0,
            reader: format.map_or(Reader::Unknown(Vec::new()), Reader::of),
        }
    }

    /// Takes the next piece, wherever it ends, and calls `each` for every event of an operation that is now
    /// complete; events of a nemesis are kept for [`EventStream::faults`]. An error of `each` says in words why the
    /// event makes no sense.
    ///
    /// # Errors
    /// The first place that is no event, or that `each` refuses. Nothing can be fed after that.
    pub fn feed(
        &mut self,
        piece: &[u8],
        each: &mut impl FnMut(RawEvent) -> Result<(), String>,
    ) -> Result<(), ReadError> {
        if let Reader::Unknown(beginning) = &mut self.reader {
            beginning.extend_from_slice(piece);
            let text = beginning.trim_ascii_start();
            let is_short = text.len() < SHOWS_FORMAT_BYTES && !text.contains(&b'\n');
            if is_short && beginning.len() <= LONGEST_BEGINNING_BYTES {
                return Ok(());
            }
            let beginning = std::mem::take(beginning);
            return match Format::detect(&beginning) {
                Some(format) => self.begin(format, &beginning, each),
                None if beginning.len() > LONGEST_BEGINNING_BYTES => Err(no_format()),
                None => {
                    self.reader = Reader::Unknown(beginning);
                    Ok(())
                }
            };
        }
        self.read(piece, each)
    }

    fn begin(
        &mut self,
        format: Format,
        beginning: &[u8],
        each: &mut impl FnMut(RawEvent) -> Result<(), String>,
    ) -> Result<(), ReadError> {
        *self = EventStream::new(Some(format), self.options);
        self.read(beginning, each)
    }

    fn read(
        &mut self,
        piece: &[u8],
        each: &mut impl FnMut(RawEvent) -> Result<(), String>,
    ) -> Result<(), ReadError> {
        let EventStream { options, sieve, events, reader } = self;
        let mut pass = |event: RawEvent| pass(sieve, events, event, each);
        match reader {
            Reader::Unknown(_) => unreachable!("its format is known"),
            Reader::JsonLines(reader) => reader.feed(piece, &mut pass),
            Reader::Edn(pieces) => pieces.feed(piece, options.independent, &mut pass),
            Reader::EtcdLog(lines, any) => {
                lines.feed(piece, |line, number| logged(line, number, any, &mut pass))
            }
        }
    }

    /// The history is over.
    ///
    /// # Errors
    /// As for [`EventStream::feed`]; and for a text that was like no format.
    pub fn finish(&mut self, each: &mut impl FnMut(RawEvent) -> Result<(), String>) -> Result<(), ReadError> {
        if let Reader::Unknown(beginning) = &mut self.reader {
            let beginning = std::mem::take(beginning);
            match Format::detect(&beginning) {
                Some(format) => self.begin(format, &beginning, each)?,
                None if beginning.trim_ascii().is_empty() => return Ok(()),
                None => return Err(no_format()),
            }
        }
        let EventStream { options, sieve, events, reader } = self;
        let mut pass = |event: RawEvent| pass(sieve, events, event, each);
        match std::mem::replace(reader, Reader::Unknown(Vec::new())) {
            Reader::Unknown(_) => Ok(()),
            Reader::JsonLines(reader) => reader.finish(&mut pass),
            Reader::Edn(pieces) => pieces.finish(options.independent, &mut pass),
            Reader::EtcdLog(lines, mut any) => {
                lines.finish(|line, number| logged(line, number, &mut any, &mut pass))?;
                if !any { Err(etcd::no_event()) } else { Ok(()) }
            }
        }
    }

    /// The latest time that was told, in nanoseconds of the history's clock.
    pub fn latest_ns(&self) -> u64 {
        self.sieve.latest_ns
    }

    /// The times in which the history's own nemesis had faults in force, up to now.
    pub fn faults(&self) -> Vec<FaultBand> {
        self.sieve.faults()
    }
}

fn pass(
    sieve: &mut Sieve,
    events: &mut u64,
    event: RawEvent,
    each: &mut impl FnMut(RawEvent) -> Result<(), String>,
) -> Result<(), String> {
    let Some(event) = sieve.pass(event, *events) else { return Ok(()) };
    *events += 1;
    each(event)
}

/// The event on a line of a log goes to `each`.
fn logged(
    line: &[u8],
    number: usize,
    any: &mut bool,
    each: &mut impl FnMut(RawEvent) -> Result<(), String>,
) -> Result<(), ReadError> {
    let event = utf8(line).and_then(etcd::event).map_err(|flaw| flaw.on_line(number))?;
    *any |= event.is_some();
    event.map_or(Ok(()), each).map_err(|why| Flaw::new(0, why, "").on_line(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{History, event::Assembler, read_any};

    /// The history that comes in pieces of so many bytes.
    fn in_pieces(text: &str, bytes: usize) -> Result<History, ReadError> {
        let options = Options::default();
        let mut assembler = Assembler::new(false);
        let mut stream = EventStream::new(None, options);
        let mut each = |event: RawEvent| assembler.take(event);
        text.as_bytes().chunks(bytes).try_for_each(|piece| stream.feed(piece, &mut each))?;
        stream.finish(&mut each)?;
        let mut history = assembler.finish();
        history.faults = stream.faults();
        Ok(history)
    }

    const LINES: &str = "{\"process\":0,\"type\":\"invoke\",\"f\":\"cas\",\"value\":[1,2]}\n\n\
        {\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"kill\",\"value\":\"n1\"}\n\
        {\"process\":0,\"type\":\"fail\",\"f\":\"cas\",\"value\":[1,2],\"error\":\"é\"}";
    const EDN: &str = "; from } Jepsen\n[#jepsen.history.Op{:process 0, :type :invoke, :f :cas, :value [1 2]}\n\
        {:process :nemesis :type :info\n :f :kill :value \"n{1\\\"\"}\n  {:process 0 :type :fail :f :cas\n :value [1 2] \
        :x #{\\} {:a 1}}}]\n";
    const LOG: &str = "INFO  jepsen.core - hello\nINFO  jepsen.util - 0 :invoke :cas [1 2]\n\
        INFO  jepsen.util - :nemesis :info :start nil\nINFO  jepsen.util - 0 :fail :cas [1 2]\n";

    #[test]
    fn pieces_of_any_size_give_the_same_history() {
        for text in [LINES, EDN, LOG, "", "\n \n"] {
            let whole = read_any(text.as_bytes(), &Options::default()).unwrap();
            for bytes in [1, 2, 3, 7, 50, 10_000] {
                let pieces = in_pieces(text, bytes).unwrap();
                assert_eq!(pieces.operations, whole.operations, "{text}");
                assert_eq!(pieces.faults, whole.faults);
                assert!(pieces.errors.iter().eq(whole.errors.iter()));
            }
        }
    }

    #[test]
    fn errors_have_the_same_place_as_in_the_whole_text() {
        for (text, from, to) in [
            (LINES, "\"fail\"", "\"fall\""),
            (LINES, "\"process\":0,\"type\":\"fail\"", "\"process\":1,\"type\":\"fail\""),
            (LINES, "\"é\"}", "\"é"),
            (EDN, ":fail", ":fall"),
            (EDN, "{:process 0 :type", "{:process 7 :type"),
            (EDN, "}}}]", "}}"),
            (EDN, "}}}]", "}}}"),
            (LOG, ":fail", ":fall"),
            (LOG, "- 0 :fail", "- 1 :fail"),
            (LOG, "jepsen.util - 0", "jepsen.util - x"),
            (LOG, "INFO  jepsen", "hello"),
        ] {
            assert!(text.contains(from), "{from}");
            let text = text.replace(from, to);
            let whole = read_any(text.as_bytes(), &Options::default()).map(|_| ());
            for bytes in [1, 5, 64, 10_000] {
                assert_eq!(in_pieces(&text, bytes).map(|_| ()), whole, "{text}");
            }
        }
    }
}
