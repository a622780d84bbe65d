//! Reads a directory, changes nothing in it, and says what it holds or why it must be refused.

use mcp_chaos_consensus::{Entry, HardState, Snapshot};
use mcp_chaos_evidence::{Plant, Plants};

use crate::frame::{self, Found, Place};
use crate::names::{self, Name};
use crate::record::{self, FORMAT, Mark, Record, SegmentHeader};
use crate::snapshot_file::{self, Head};
use crate::wal::Options;
use crate::{Disk, OpenError};

/// A segment that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its sequence.
    pub sequence: u64,
    /// The greatest index of an entry in it that no later batch supersedes; 0 if there is none.
    pub last_live_index: u64,
}

/// The last segment: the one that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Its length without what is torn.
    pub whole_bytes: u64,
    /// Whether anything is to be cut.
    pub torn: bool,
}

/// What a directory holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// The cluster; empty if the node was not founded.
    pub cluster: String,
    /// Boot counter as last written, newest snapshot, first segment.
    pub mark: Mark,
    /// The hard state, made consistent with snapshot and log.
    pub hard_state: HardState,
    /// The newest snapshot.
    pub snapshot: Option<Snapshot>,
    /// The log above the snapshot.
    pub entries: Vec<Entry>,
    /// The segments that count, ascending; none in a fresh directory.
    pub segments: Vec<Segment>,
    /// The last of them.
    pub tail: Option<Tail>,
    /// Files that do not count any more, or never did.
    pub obsolete: Vec<String>,
}

/// Raft's demands on a hard state beside a snapshot: the term is no lower than the snapshot's (a vote in a lower
/// one is spent), everything under the snapshot is committed.
pub fn consistent(state: HardState, snapshot: &Snapshot) -> HardState {
    let (term, vote) =
        if state.term < snapshot.meta.term { (snapshot.meta.term, 0) } else { (state.term, state.vote) };
    HardState { term, vote, commit: state.commit.max(snapshot.meta.index) }
}

/// Reads everything.
pub fn read_directory<D: Disk>(disk: &D, options: &Options) -> Result<Contents, OpenError> {
    let Files { mut sequences, snapshots, mut obsolete } = list_files(disk)?;
    let newest = snapshots.last().map(|index| read_snapshot(disk, options, *index)).transpose()?;
    let (head, snapshot) = newest.unzip();
    obsolete.extend(snapshots.iter().rev().skip(1).map(|index| names::snapshot(*index)));

    // The last segment, unless its very header was never synced: then the one before it.
    let mut last = read_last(disk, options, &sequences)?;
    let mut unborn = None;
    if let Some(segment) = last.take_if(|segment| segment.frames.is_empty()) {
        unborn = sequences.pop();
        obsolete.push(segment.file);
        last = read_last(disk, options, &sequences)?;
        if let Some(segment) = &last {
            segment.must_be_whole()?;
        }
    }
    let Some(last) = last else {
        return match (head, unborn) {
            (None, None | Some(1)) => Ok(Contents { obsolete, ..Contents::default() }),
            (Some(head), _) => Err(missing(names::segment(head.first_segment))),
            (None, Some(sequence)) => Err(missing(names::segment(sequence - 1))),
        };
    };
    if unborn.is_some_and(|sequence| sequence != last.sequence + 1) {
        return Err(missing(names::segment(last.sequence + 1)));
    }

    let marked = last.marks().map(|mark| mark.first_segment).max().unwrap_or(0);
    let first_segment = marked.max(head.as_ref().map_or(0, |head| head.first_segment));
    obsolete
        .extend(sequences.iter().filter(|sequence| **sequence < first_segment).map(|s| names::segment(*s)));
    if let Some(absent) =
        (first_segment..=last.sequence.max(first_segment)).find(|s| sequences.binary_search(s).is_err())
    {
        return Err(missing(names::segment(absent)));
    }
    let tail = Tail { whole_bytes: last.whole_bytes, torn: last.torn };
    let mut segments = Vec::new();
    for sequence in first_segment..last.sequence {
        segments.push(SegmentContents::read(disk, options.plants, sequence)?);
    }
    segments.push(last);
    check_joints(&segments)?;

    let mut replay = Replay::new(options, first_segment, head);
    for segment in segments {
        replay.segment(segment)?;
    }
    replay.finish(snapshot, obsolete, tail)
}

struct Files {
    /// Of segments, ascending.
    sequences: Vec<u64>,
    /// Indexes, ascending.
    snapshots: Vec<u64>,
    /// Left from a snapshot in the making.
    obsolete: Vec<String>,
}

fn list_files<D: Disk>(disk: &D) -> Result<Files, OpenError> {
    let mut files = Files { sequences: Vec::new(), snapshots: Vec::new(), obsolete: Vec::new() };
    for file in disk.list()? {
        match names::parse(&file) {
            Some(Name::Segment(sequence)) => files.sequences.push(sequence),
            Some(Name::Snapshot(index)) => files.snapshots.push(index),
            Some(Name::Temporary) => files.obsolete.push(file),
            None => {
                let what = "expected only log-*.wal and snapshot-*.snap, as this program names them, in a data directory".into();
                return Err(OpenError::Foreign { file, what });
            }
        }
    }
    files.sequences.sort_unstable();
    files.snapshots.sort_unstable();
    Ok(files)
}

fn missing(file: String) -> OpenError {
    OpenError::Corrupt { file, offset: 0, what: "the file is missing".into() }
}

fn read_snapshot<D: Disk>(disk: &D, options: &Options, index: u64) -> Result<(Head, Snapshot), OpenError> {
    let file = names::snapshot(index);
    let corrupt = |what: &str| OpenError::Corrupt { file: file.clone(), offset: 0, what: what.into() };
    let (head, snapshot) = snapshot_file::decode(&disk.read(&file)?).map_err(corrupt)?;
    check_owner(options, &file, head.node, &head.cluster)?;
    if head.meta.index != index {
        return Err(corrupt("the snapshot stands at another index than its name says"));
    }
    Ok((head, snapshot))
}

fn check_owner(options: &Options, file: &str, node: u64, cluster: &str) -> Result<(), OpenError> {
    let foreign = |what| Err(OpenError::Foreign { file: file.into(), what });
    if node != options.node {
        return foreign(format!("expected node n{}, found n{node}", options.node));
    }
    match &options.cluster {
        Some(expected) if !cluster.is_empty() && cluster != expected => {
            foreign(format!("expected cluster {expected:?}, found {cluster:?}"))
        }
        _ => Ok(()),
    }
}

fn read_last<D: Disk>(
    disk: &D,
    options: &Options,
    sequences: &[u64],
) -> Result<Option<SegmentContents>, OpenError> {
    sequences.last().map(|sequence| SegmentContents::read(disk, options.plants, *sequence)).transpose()
}

/// A segment's frames, up to where it is torn.
struct SegmentContents {
    sequence: u64,
    file: String,
    /// With their offsets. The first is a header.
    frames: Vec<(u64, Record)>,
    whole_bytes: u64,
    torn: bool,
}

impl SegmentContents {
    fn read<D: Disk>(disk: &D, plants: Plants, sequence: u64) -> Result<SegmentContents, OpenError> {
        let file = names::segment(sequence);
        let bytes = disk.read(&file)?;
        let mut segment =
            SegmentContents { sequence, file, frames: Vec::new(), whole_bytes: 0, torn: bytes.is_empty() };
        while !segment.torn && segment.whole_bytes < bytes.len() as u64 {
            let offset = segment.whole_bytes;
            let verified = !plants.has(Plant::CorruptFrameAccepted);
            match frame::read(&bytes, Place { sequence, offset }, verified) {
                Found::Frame { kind, payload, next, .. } => {
                    let record = record::decode(kind, &payload);
                    let record = record.ok_or_else(|| {
                        segment.corrupt(offset, "a frame whose content is not of this format")
                    })?;
                    if matches!(record, Record::Header(_)) != (offset == 0) {
                        return Err(segment
                            .corrupt(offset, "a header frame where none belongs, or none where one does"));
                    }
                    segment.frames.push((offset, record));
                    segment.whole_bytes = next;
                }
                Found::Torn => segment.torn = true,
                Found::Damaged(what) => return Err(segment.corrupt(offset, what)),
            }
        }
        if segment.torn
            && frame::greatest_watermark(&bytes, sequence, segment.whole_bytes) > segment.whole_bytes
        {
            return Err(
                segment.corrupt(segment.whole_bytes, "a frame is lost that a later one knows to be durable")
            );
        }
        Ok(segment)
    }

    fn corrupt(&self, offset: u64, what: &str) -> OpenError {
        OpenError::Corrupt { file: self.file.clone(), offset, what: what.into() }
    }

    fn must_be_whole(&self) -> Result<(), OpenError> {
        if self.torn {
            Err(self.corrupt(self.whole_bytes, "a frame is lost from a segment that was complete"))
        } else {
            Ok(())
        }
    }

    fn header(&self) -> Result<&SegmentHeader, OpenError> {
        match self.frames.first() {
            Some((_, Record::Header(header))) => Ok(header),
            _ => Err(self.corrupt(0, "the segment has no header")),
        }
    }

    fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.frames.iter().filter_map(|(_, record)| match record {
            Record::Header(header) => Some(&header.mark),
            Record::Mark(mark) => Some(mark),
            Record::Batch { .. } => None,
        })
    }
}

/// Every segment but the last is as long as its successor says, so none of them is torn.
fn check_joints(segments: &[SegmentContents]) -> Result<(), OpenError> {
    for pair in segments.windows(2) {
        let (segment, next) = (&pair[0], &pair[1]);
        let complete_bytes = next.header()?.previous_bytes;
        if complete_bytes != segment.whole_bytes {
            let what = format!("a complete segment of {complete_bytes} bytes is whole only up to here");
            return Err(segment.corrupt(segment.whole_bytes, &what));
        }
    }
    Ok(())
}

/// The state that the frames amount to, one after the other.
struct Replay<'a> {
    options: &'a Options,
    head: Option<Head>,
    contents: Contents,
    has_batches: bool,
}

impl<'a> Replay<'a> {
    fn new(options: &'a Options, first_segment: u64, head: Option<Head>) -> Replay<'a> {
        let cluster = head.as_ref().map(|head| head.cluster.clone()).unwrap_or_default();
        let mark = Mark { first_segment, ..Mark::default() };
        Replay {
            options,
            head,
            contents: Contents { cluster, mark, ..Contents::default() },
            has_batches: false,
        }
    }

    fn segment(&mut self, segment: SegmentContents) -> Result<(), OpenError> {
        self.contents.segments.push(Segment { sequence: segment.sequence, last_live_index: 0 });
        let corrupt = |offset, what: &str| Err(segment.corrupt(offset, what));
        for (offset, record) in &segment.frames {
            match record {
                Record::Header(header) => self.header(&segment, header)?,
                Record::Mark(mark) => self.mark(mark),
                Record::Batch { entries, hard_state } => {
                    self.has_batches = true;
                    let expected = self.contents.entries.last().map(|entry| entry.index + 1);
                    if let (Some(first), Some(expected)) = (entries.first(), expected)
                        && first.index > expected
                    {
                        return corrupt(
                            *offset,
                            &format!("entries from {} on, expected {expected} or lower", first.index),
                        );
                    }
                    self.append(entries);
                    self.contents.hard_state = hard_state.unwrap_or(self.contents.hard_state);
                }
            }
        }
        Ok(())
    }

    fn header(&mut self, segment: &SegmentContents, header: &SegmentHeader) -> Result<(), OpenError> {
        let foreign = |what| Err(OpenError::Foreign { file: segment.file.clone(), what });
        if header.format != FORMAT {
            return foreign(format!("expected format {FORMAT}, found {}", header.format));
        }
        check_owner(self.options, &segment.file, header.node, &header.cluster)?;
        if self.head.is_some() && !header.cluster.is_empty() && header.cluster != self.contents.cluster {
            return foreign(format!(
                "the snapshot is of cluster {:?}, this of {:?}",
                self.contents.cluster, header.cluster
            ));
        }
        if self.head.is_none() && !header.cluster.is_empty() {
            return Err(missing(names::snapshot(header.mark.snapshot_index)));
        }
        self.mark(&header.mark);
        if segment.sequence == self.contents.mark.first_segment {
            // A received snapshot's own hard state is newer than the header of the segment it starts with.
            let brought = self
                .head
                .as_ref()
                .filter(|head| head.first_segment == segment.sequence)
                .and_then(|head| head.hard_state);
            self.contents.hard_state = brought.unwrap_or(header.hard_state);
        }
        Ok(())
    }

    fn mark(&mut self, mark: &Mark) {
        let known = &mut self.contents.mark;
        known.boot = known.boot.max(mark.boot);
        known.snapshot_index = known.snapshot_index.max(mark.snapshot_index);
    }

    fn append(&mut self, new: &[Entry]) {
        let (Some(first), Some(last)) = (new.first(), new.last()) else { return };
        supersede(&mut self.contents.segments, first.index, last.index);
        let log = &mut self.contents.entries;
        log.truncate(log.partition_point(|entry| entry.index < first.index));
        log.extend_from_slice(new);
    }

    fn finish(
        self,
        snapshot: Option<Snapshot>,
        obsolete: Vec<String>,
        tail: Tail,
    ) -> Result<Contents, OpenError> {
        let Replay { mut contents, has_batches, options, .. } = self;
        contents.obsolete = obsolete;
        contents.tail = Some(tail);
        let Some(snapshot) = snapshot else {
            return if has_batches || contents.mark.snapshot_index > 0 {
                Err(missing(names::snapshot(contents.mark.snapshot_index.max(1))))
            } else {
                Ok(contents)
            };
        };
        let (index, term) = (snapshot.meta.index, snapshot.meta.term);
        if index < contents.mark.snapshot_index {
            return Err(missing(names::snapshot(contents.mark.snapshot_index)));
        }
        contents.mark.snapshot_index = index;
        let log = &mut contents.entries;
        if let Some(entry) = log.iter().find(|entry| entry.index == index && entry.term != term) {
            let what =
                format!("a snapshot of term {term} at index {index}, where the log has term {}", entry.term);
            return Err(OpenError::Corrupt { file: names::snapshot(index), offset: 0, what });
        }
        let skips = options.plants.has(Plant::GapAfterSnapshot);
        let resumes_at = index + 1 + u64::from(skips);
        log.drain(..log.partition_point(|entry| entry.index < resumes_at));
        if let Some(first) = log.first().filter(|entry| entry.index != resumes_at) {
            let what = format!("the log begins at {}, the snapshot ends at {index}", first.index);
            return Err(OpenError::Corrupt {
                file: names::segment(contents.mark.first_segment),
                offset: 0,
                what,
            });
        }
        let last_index = log.last().map_or(index, |entry| entry.index);
        contents.hard_state = consistent(contents.hard_state, &snapshot);
        contents.hard_state.commit = contents.hard_state.commit.min(last_index);
        contents.snapshot = Some(snapshot);
        Ok(contents)
    }
}

/// Notes that the last segment received the entries `first..=last`, and that they supersede what stood there.
pub fn supersede(segments: &mut [Segment], first: u64, last: u64) {
    for segment in segments.iter_mut() {
        segment.last_live_index = segment.last_live_index.min(first - 1);
    }
    if let Some(segment) = segments.last_mut() {
        segment.last_live_index = last;
    }
}
