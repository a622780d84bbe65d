//! The formats that histories come in.

use memchr::memmem;

use crate::{History, HistoryBuilder, ReadError, edn, error::Flaw, etcd, jsonl};

/// A format of histories (docs/histories.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Our own: JSON Lines, one event each.
    JsonLines,
    /// Jepsen's `history.edn`.
    Edn,
    /// The log lines of Jepsen's etcd tests, which Porcupine carries.
    EtcdLog,
}

/// How a text is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// EDN: each `:value` is `[key value]`, as `jepsen.independent` makes them. Tuples with a tag that says so are
    /// taken for such without this option.
    pub independent: bool,
    /// EDN and etcd logs: a `cas` that failed without an error, or with one that Jepsen's clients have for it, has
    /// seen that the value was not the expected one (error `mismatch`), and so constrains the order. True by
    /// default.
    pub failed_cas_is_mismatch: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { independent: false, failed_cas_is_mismatch: true }
    }
}

impl Format {
    /// All there are.
    pub const ALL: [Format; 3] = [Format::JsonLines, Format::Edn, Format::EtcdLog];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::JsonLines => "jsonl",
            Format::Edn => "edn",
            Format::EtcdLog => "etcd-log",
        }
    }

    /// The format of this name.
    pub fn parse(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The format of a history, by how it begins (some kilobytes are enough); none if it is like none of them.
    pub fn detect(beginning: &[u8]) -> Option<Format> {
        let text = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(beginning).trim_ascii_start();
        let second = text.get(1..).unwrap_or_default().trim_ascii_start().first();
        match (text.first(), second) {
            (Some(b'{'), Some(b'"' | b'}')) => Some(Format::JsonLines),
            // A vector of JSON objects is neither.
            (Some(b'['), Some(b'{')) if opens_json(text) => None,
            (Some(b'{' | b'[' | b'(' | b'#' | b';'), _) => Some(Format::Edn),
            _ if memmem::find(text, etcd::LOGGER.as_bytes()).is_some() => Some(Format::EtcdLog),
            _ => None,
        }
    }
}

fn opens_json(text: &[u8]) -> bool {
    let brace = memchr::memchr(b'{', text).map_or(text.len(), |at| at + 1);
    text[brace..].trim_ascii_start().starts_with(b"\"")
}

/// Reads a history.
///
/// # Errors
/// The first place at which it is not of this format, or makes no sense.
pub fn read(text: &[u8], format: Format, options: &Options) -> Result<History, ReadError> {
    match format {
        Format::JsonLines => jsonl::read(text),
        Format::Edn => edn::read(text, options),
        Format::EtcdLog => etcd::read(text, options),
    }
}

/// As [`read`], in the format that [`Format::detect`] sees.
///
/// # Errors
/// As [`read`]; and for a text that is like no format.
pub fn read_any(text: &[u8], options: &Options) -> Result<History, ReadError> {
    let Some(format) = Format::detect(text) else {
        if text.trim_ascii().is_empty() {
            return Ok(HistoryBuilder::new().finish());
        }
        return Err(no_format());
    };
    read(text, format, options)
}

/// What is wrong with a text that is like no format.
pub(crate) fn no_format() -> ReadError {
    let expected = "JSON Lines ({\"process\": …}), Jepsen's EDN ({:process …}), or log lines of jepsen.util";
    Flaw::new(0, "this is like no format of histories", expected).on_line(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_seen_by_how_a_history_begins() {
        for (text, format) in [
            (" \n{\"index\":0", Some(Format::JsonLines)),
            ("\u{feff}{ \"index\":0", Some(Format::JsonLines)),
            ("{:process 0", Some(Format::Edn)),
            ("[{:process 0", Some(Format::Edn)),
            ("; from Jepsen\n{:process", Some(Format::Edn)),
            ("#jepsen.history.Op{:process", Some(Format::Edn)),
            ("INFO  jepsen.core - hello\nINFO  jepsen.util - 0\t:invoke", Some(Format::EtcdLog)),
            ("[{\"index\":0", None),
            ("hello", None),
            ("", None),
        ] {
            assert_eq!(Format::detect(text.as_bytes()), format, "{text}");
        }
        for format in Format::ALL {
            assert_eq!(Format::parse(format.name()), Some(format));
        }
        let error = read_any(b"hello", &Options::default()).unwrap_err().to_string();
        assert!(error.contains("like no format of histories; expected JSON Lines"), "{error}");
    }
}
