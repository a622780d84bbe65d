//! One line of a trace, read at the speed of the bytes.
//!
//! serde reads a record with a flattened, tagged event by way of a map of everything on the line, which costs ten
//! times what judging the record does. Nodes write plain lines: an object of integers, short strings without
//! escapes and lists of names. Those are read here; whatever is not plain, or not right, is left to serde, which
//! then says what is wrong with it. So this reader may refuse anything, but never reads a line otherwise than
//! serde would.

use mcp_chaos_evidence::{NodeId, Role, TraceEvent, TraceRecord};

/// A record at the beginning of `text` and the length of its line, the newline included. None: the line is not
/// plain, or does not end within `text`.
pub(crate) fn read(text: &[u8]) -> Option<(TraceRecord, usize)> {
    let mut scanner = Scanner { text, at: 0 };
    let mut fields = Fields([Value::Absent; KEYS]);
    scanner.expect(b'{')?;
    loop {
        scanner.expect(b'"')?;
        let key = scanner.string()?;
        scanner.expect(b':')?;
        let value = scanner.value()?;
        if let Some(key) = key_of(key) {
            // Which of two values counts is for serde to say.
            if !matches!(fields.0[key as usize], Value::Absent) {
                return None;
            }
            fields.0[key as usize] = value;
        }
        match scanner.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    (scanner.next()? == b'\n').then_some(())?;
    Some((fields.record()?, scanner.at))
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Absent,
    Null,
    Number(u64),
    Flag(bool),
    /// Printable ASCII without escapes.
    Text(&'a [u8]),
    /// What stands between the brackets: such strings, commas and spaces.
    List(&'a [u8]),
}

#[derive(Clone, Copy)]
enum Key {
    TimeNs,
    Node,
    Boot,
    Event,
    Term,
    Vote,
    SnapshotIndex,
    SnapshotTerm,
    SnapshotState,
    LastIndex,
    Cluster,
    Voters,
    Role,
    Leader,
    Candidate,
    Index,
    Checksum,
    From,
    State,
    Client,
    Sequence,
    Duplicate,
    Learners,
    VotersOutgoing,
    Reason,
    Message,
}

const KEYS: usize = Key::Message as usize + 1;

fn key_of(name: &[u8]) -> Option<Key> {
    Some(match name {
        b"time_ns" => Key::TimeNs,
        b"node" => Key::Node,
        b"boot" => Key::Boot,
        b"event" => Key::Event,
        b"term" => Key::Term,
        b"vote" => Key::Vote,
        b"snapshot_index" => Key::SnapshotIndex,
        b"snapshot_term" => Key::SnapshotTerm,
        b"snapshot_state" => Key::SnapshotState,
        b"last_index" => Key::LastIndex,
        b"cluster" => Key::Cluster,
        b"voters" => Key::Voters,
        b"role" => Key::Role,
        b"leader" => Key::Leader,
        b"candidate" => Key::Candidate,
        b"index" => Key::Index,
        b"checksum" => Key::Checksum,
        b"from" => Key::From,
        b"state" => Key::State,
        b"client" => Key::Client,
        b"sequence" => Key::Sequence,
        b"duplicate" => Key::Duplicate,
        b"learners" => Key::Learners,
        b"voters_outgoing" => Key::VotersOutgoing,
        b"reason" => Key::Reason,
        b"message" => Key::Message,
        _ => return None,
    })
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// The next byte that is no space within a line.
    #[inline]
    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            self.at += 1;
            if !matches!(byte, b' ' | b'\t' | b'\r') {
                return Some(byte);
            }
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// The rest of a string whose opening quote was taken.
    #[inline]
    fn string(&mut self) -> Option<&'a [u8]> {
        let rest = &self.text[self.at..];
        for (length, byte) in rest.iter().enumerate() {
            match byte {
                b'"' => {
                    self.at += length + 1;
                    return Some(&rest[..length]);
                }
                b'\\' | 0..=0x1f | 0x7f..=0xff => return None,
                _ => {}
            }
        }
        None
    }

    #[inline]
    fn word(&mut self, rest: &[u8]) -> Option<()> {
        self.text[self.at..].starts_with(rest).then(|| self.at += rest.len())
    }

    #[inline]
    fn value(&mut self) -> Option<Value<'a>> {
        match self.next()? {
            b'"' => self.string().map(Value::Text),
            first @ b'0'..=b'9' => self.number(first).map(Value::Number),
            b'n' => self.word(b"ull").map(|()| Value::Null),
            b't' => self.word(b"rue").map(|()| Value::Flag(true)),
            b'f' => self.word(b"alse").map(|()| Value::Flag(false)),
            b'[' => self.list(),
            _ => None,
        }
    }

    #[inline]
    fn number(&mut self, first: u8) -> Option<u64> {
        let mut number = u64::from(first - b'0');
        let start = self.at;
        while let Some(digit @ b'0'..=b'9') = self.text.get(self.at) {
            number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            self.at += 1;
        }
        // JSON has no leading zeros; whatever follows the digits of a fraction is not a comma.
        (first != b'0' || self.at == start).then_some(number)
    }

    fn list(&mut self) -> Option<Value<'a>> {
        let start = self.at;
        if self.next()? == b']' {
            return Some(Value::List(&[]));
        }
        self.at = start;
        loop {
            self.expect(b'"')?;
            self.string()?;
            match self.next()? {
                b',' => {}
                b']' => return Some(Value::List(&self.text[start..self.at - 1])),
                _ => return None,
            }
        }
    }
}

struct Fields<'a>([Value<'a>; KEYS]);

impl Fields<'_> {
    fn number(&self, key: Key) -> Option<u64> {
        match self.0[key as usize] {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    fn number_or_zero(&self, key: Key) -> Option<u64> {
        match self.0[key as usize] {
            Value::Absent => Some(0),
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    fn text(&self, key: Key) -> Option<&[u8]> {
        match self.0[key as usize] {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn owned(&self, key: Key) -> Option<String> {
        String::from_utf8(self.text(key)?.to_vec()).ok()
    }

    /// 16 hexadecimal digits; serde takes other numbers of digits too.
    fn hex(&self, key: Key) -> Option<u64> {
        let text = self.text(key)?;
        if text.len() != 16 {
            return None;
        }
        let mut number = 0;
        for byte in text {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                b'A'..=b'F' => byte - b'A' + 10,
                _ => return None,
            };
            number = number << 4 | u64::from(digit);
        }
        Some(number)
    }

    fn node(&self, key: Key) -> Option<NodeId> {
        node(self.text(key)?)
    }

    fn node_or_none(&self, key: Key) -> Option<Option<NodeId>> {
        match self.0[key as usize] {
            Value::Absent | Value::Null => Some(None),
            Value::Text(name) => node(name).map(Some),
            _ => None,
        }
    }

    fn nodes(&self, key: Key) -> Option<Vec<NodeId>> {
        let Value::List(text) = self.0[key as usize] else { return None };
        let mut scanner = Scanner { text, at: 0 };
        let mut nodes = Vec::new();
        while let Some(b'"' | b',') = scanner.next() {
            if scanner.text.get(scanner.at - 1) == Some(&b'"') {
                nodes.push(node(scanner.string()?)?);
            }
        }
        Some(nodes)
    }

    fn record(&self) -> Option<TraceRecord> {
        Some(TraceRecord {
            time_ns: self.number(Key::TimeNs)?,
            node: self.node(Key::Node)?,
            boot: self.number(Key::Boot)?,
            event: self.event()?,
        })
    }

    fn event(&self) -> Option<TraceEvent> {
        Some(match self.text(Key::Event)? {
            b"appended" => TraceEvent::Appended {
                index: self.number(Key::Index)?,
                term: self.number(Key::Term)?,
                checksum: self.hex(Key::Checksum)?,
            },
            b"applied" => TraceEvent::Applied {
                index: self.number(Key::Index)?,
                term: self.number(Key::Term)?,
                state: self.hex(Key::State)?,
                client: self.number_or_zero(Key::Client)?,
                sequence: self.number_or_zero(Key::Sequence)?,
                duplicate: match self.0[Key::Duplicate as usize] {
                    Value::Absent => false,
                    Value::Flag(flag) => flag,
                    _ => return None,
                },
            },
            b"committed" => TraceEvent::Committed { index: self.number(Key::Index)? },
            b"role_changed" => TraceEvent::RoleChanged {
                role: match self.text(Key::Role)? {
                    b"follower" => Role::Follower,
                    b"pre_candidate" => Role::PreCandidate,
                    b"candidate" => Role::Candidate,
                    b"leader" => Role::Leader,
                    _ => return None,
                },
                term: self.number(Key::Term)?,
                leader: self.node_or_none(Key::Leader)?,
            },
            b"vote_cast" => {
                TraceEvent::VoteCast { term: self.number(Key::Term)?, candidate: self.node(Key::Candidate)? }
            }
            b"truncated" => TraceEvent::Truncated { from: self.number(Key::From)? },
            b"started" => TraceEvent::Started {
                term: self.number(Key::Term)?,
                vote: self.node_or_none(Key::Vote)?,
                snapshot_index: self.number(Key::SnapshotIndex)?,
                snapshot_term: self.number(Key::SnapshotTerm)?,
                snapshot_state: self.hex(Key::SnapshotState)?,
                last_index: self.number(Key::LastIndex)?,
            },
            b"initialized" => TraceEvent::Initialized {
                cluster: self.owned(Key::Cluster)?,
                voters: self.nodes(Key::Voters)?,
            },
            b"snapshot_made" => TraceEvent::SnapshotMade {
                index: self.number(Key::Index)?,
                term: self.number(Key::Term)?,
                state: self.hex(Key::State)?,
            },
            b"snapshot_installed" => TraceEvent::SnapshotInstalled {
                index: self.number(Key::Index)?,
                term: self.number(Key::Term)?,
                state: self.hex(Key::State)?,
            },
            b"config_changed" => TraceEvent::ConfigChanged {
                index: self.number(Key::Index)?,
                voters: self.nodes(Key::Voters)?,
                learners: self.nodes(Key::Learners)?,
                voters_outgoing: match self.0[Key::VotersOutgoing as usize] {
                    Value::Absent => Vec::new(),
                    _ => self.nodes(Key::VotersOutgoing)?,
                },
            },
            b"stopped" => TraceEvent::Stopped { reason: self.owned(Key::Reason)? },
            b"panicked" => TraceEvent::Panicked { message: self.owned(Key::Message)? },
            b"refused" => TraceEvent::Refused { reason: self.owned(Key::Reason)? },
            _ => return None,
        })
    }
}

/// The number behind `n7`; serde takes a few odd spellings more.
fn node(name: &[u8]) -> Option<NodeId> {
    let digits = name.strip_prefix(b"n")?;
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut number = 0;
    for digit in digits {
        digit.is_ascii_digit().then_some(())?;
        number = number * 10 + u64::from(digit - b'0');
    }
    (number > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use mcp_chaos_evidence::rng::Stream;

    use super::*;
    use crate::testing::*;

    /// One record of each kind.
    fn every_event() -> Vec<TraceRecord> {
        let voters = vec![1, 2, 30];
        trace([
            (1, TraceEvent::Initialized { cluster: "c-1".into(), voters: voters.clone() }),
            (1, started(3, Some(2), 7)),
            (2, started(0, None, 0)),
            (1, role(Role::PreCandidate, 4)),
            (1, TraceEvent::RoleChanged { role: Role::Follower, term: 4, leader: Some(3) }),
            (1, role(Role::Candidate, 5)),
            (1, leads(5)),
            (1, vote(5, 1)),
            (1, appended(u64::MAX, 5, u64::MAX)),
            (1, TraceEvent::Truncated { from: 8 }),
            (1, committed(7)),
            (1, applied(7, 5, 0xabc)),
            (
                1,
                TraceEvent::Applied { index: 8, term: 5, state: 1, client: 9, sequence: 10, duplicate: true },
            ),
            (1, TraceEvent::SnapshotMade { index: 8, term: 5, state: 1 }),
            (2, installed(8, 5, 1)),
            (
                1,
                TraceEvent::ConfigChanged {
                    index: 9,
                    voters: voters.clone(),
                    learners: vec![],
                    voters_outgoing: vec![],
                },
            ),
            (
                1,
                TraceEvent::ConfigChanged {
                    index: 9,
                    voters,
                    learners: vec![4],
                    voters_outgoing: vec![1, 2],
                },
            ),
            (1, TraceEvent::Stopped { reason: "graceful".into() }),
            (1, TraceEvent::Panicked { message: "at line 7".into() }),
            (1, TraceEvent::Refused { reason: "no".into() }),
        ])
    }

    #[test]
    fn every_event_is_plain() {
        for record in every_event() {
            let text = crate::jsonl::write(std::slice::from_ref(&record));
            assert_eq!(read(&text), Some((record, text.len())), "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn spaces_order_and_unknown_fields_do_not_matter() {
        let line = b"{ \"index\": 4,\t\"event\":\"committed\" , \"host\":\"a\",\"tags\":[ ],\"boot\":1,\"node\":\"n1\",\"time_ns\":0}\r\n";
        assert_eq!(read(line).map(|(record, _)| record), serde_json::from_slice(line).ok());
        assert!(read(line).is_some());
    }

    /// Lines with bytes changed, removed, added: what is read here is what serde reads.
    #[test]
    fn nothing_is_read_otherwise_than_by_serde() {
        let lines: Vec<Vec<u8>> =
            every_event().iter().map(|record| crate::jsonl::write(std::slice::from_ref(record))).collect();
        let bytes = b"{}[]\",:0123456789-+.eEntfalsru \\\t\x00\x7f\xc3\xa9";
        let mut read_here = 0;
        for case in 0..100_000 {
            let draws = Stream::new(case, "lines", 0, 0);
            let mut line = lines[draws.between(0, 0, lines.len() as u64 - 1) as usize].clone();
            for change in 0..draws.between(1, 1, 2) {
                let at = draws.between(2 + 3 * change, 0, line.len() as u64 - 2) as usize;
                let byte = bytes[draws.between(3 + 3 * change, 0, bytes.len() as u64 - 1) as usize];
                match draws.between(4 + 3 * change, 0, 2) {
                    0 => line[at] = byte,
                    1 => line.insert(at, byte),
                    _ => drop(line.remove(at)),
                }
            }
            if let Some((record, length)) = read(&line) {
                read_here += 1;
                assert_eq!(length, line.len());
                let by_serde: Result<TraceRecord, _> = serde_json::from_slice(&line);
                assert_eq!(by_serde.ok(), Some(record), "{}", String::from_utf8_lossy(&line));
            }
        }
        assert!(read_here > 1_000, "{read_here}");
    }
}
