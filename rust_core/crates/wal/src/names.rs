//! The names of the log's files. Numbers are padded, so that names ascend as numbers do.

/// A snapshot in the making.
pub const TEMPORARY: &str = "snapshot.tmp";

/// What a file's name says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// The log's segment of this sequence, from 1.
    Segment(u64),
    /// The snapshot at this index, from 1.
    Snapshot(u64),
    /// A snapshot in the making.
    Temporary,
}

/// The file of the segment `sequence`.
pub fn segment(sequence: u64) -> String {
    format!("log-{sequence:020}.wal")
}

/// The file of the snapshot at `index`.
pub fn snapshot(index: u64) -> String {
    format!("snapshot-{index:020}.snap")
}

/// What `file` is; `None` if the log would never have named it so.
pub fn parse(file: &str) -> Option<Name> {
    if file == TEMPORARY {
        return Some(Name::Temporary);
    }
    let number = |prefix, suffix| file.strip_prefix(prefix)?.strip_suffix(suffix)?.parse::<u64>().ok();
    let name =
        number("log-", ".wal").map(Name::Segment).or(number("snapshot-", ".snap").map(Name::Snapshot))?;
    let canonical = match name {
        Name::Segment(sequence) => segment(sequence),
        Name::Snapshot(index) => snapshot(index),
        Name::Temporary => unreachable!("returned above"),
    };
    (file == canonical && !matches!(name, Name::Segment(0) | Name::Snapshot(0))).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_strangers_are_not() {
        assert_eq!(parse(&segment(7)), Some(Name::Segment(7)));
        assert_eq!(parse(&snapshot(u64::MAX)), Some(Name::Snapshot(u64::MAX)));
        assert_eq!(parse(TEMPORARY), Some(Name::Temporary));
        for stranger in
            ["log-7.wal", "log-00000000000000000000.wal", "log-+0000000000000000007.wal", "notes.txt", ""]
        {
            assert_eq!(parse(stranger), None, "{stranger}");
        }
    }
}
