//! What the trace has told so far, as far as more than one property asks for it: the nodes' logs, every entry
//! ever seen, what was committed, and which entries were lost again.
//!
//! It grows with the log, not with the trace: some 150 bytes for each index, whatever the number of nodes and
//! records. It can forget the lower end of the log; what comes later about indexes there cannot be judged.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use mcp_chaos_evidence::{NodeId, Role, TraceEvent, TraceRecord};

use super::{
    Sighting,
    fate::Loss,
    log::{Entry, Log, differing_at},
    quorum::Voters,
};
use mcp_chaos_history::Map;

use crate::table::Table;

/// A node by the order in which nodes appeared, from 1.
pub(super) type Slot = NonZeroU16;

/// An entry with this index and term: every record of it in any node's log says the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub term: u64,
    pub checksum: u64,
    /// The term of the entry before, where some log showed it.
    pub previous_term: Option<PreviousTerm>,
    /// When it was told first.
    time_ns: u64,
    /// The record by which a node wrote it that had held an entry of this index and term before its last
    /// restart, 0 if none did.
    pub rewritten: u64,
    /// Who ever had it on disk: a bit for each of the first 32 nodes.
    pub holders: u32,
    by: Slot,
}

/// A term in 8 bytes with room for none, which takes the place of the greatest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PreviousTerm(std::num::NonZeroU64);

impl PreviousTerm {
    fn of(term: u64) -> Option<PreviousTerm> {
        std::num::NonZeroU64::new(!term).map(PreviousTerm)
    }

    pub(super) fn get(self) -> u64 {
        !self.0.get()
    }
}

impl Seen {
    pub(super) fn entry(&self) -> Entry {
        Entry { term: self.term, checksum: self.checksum }
    }
}

/// An entry known as committed, by the first report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committed {
    pub entry: Entry,
    /// The least term in which a node reported it.
    pub in_term: u64,
    /// The record of the first report.
    pub record: u64,
    time_ns: u64,
    /// Whether a majority had it on disk then, in the configuration of who reported it.
    pub held: Held,
    by: Slot,
}

/// Whether a majority held an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// The configuration is not known.
    Unknown,
    ByMajority,
    ByTooFew,
}

#[derive(Default)]
struct Node {
    log: Log,
    /// The term of the entry at the log's base, if known.
    base_term: Option<u64>,
    /// The greatest term that the node has reported.
    term: u64,
    /// Whether it leads, by its own word.
    leads: bool,
    /// Its configuration, if it told.
    voters: Option<Voters>,
    /// Whether anything is known of this log: a trace may begin in the middle.
    known: bool,
    /// The log as it stood before the last restart.
    before: Log,
    /// Up to here its committed entries are in the table, in this boot.
    committed: u64,
}

#[derive(Default)]
pub(super) struct Facts {
    slots: Map<NodeId, Slot>,
    ids: Vec<NodeId>,
    nodes: Vec<Node>,
    /// What was told first at each index.
    entries: Table<Seen>,
    /// Whatever else was told, by index and term: several only if logs do not match.
    others: BTreeMap<(u64, u64), Vec<Seen>>,
    committed: Table<Committed>,
    /// Entries committed where another one had been: the record, and whether a majority held them.
    also_committed: BTreeMap<(u64, Entry), (u64, Held)>,
    losses: Vec<Loss>,
    /// The memory of `losses` beside the list itself.
    lost_bytes: usize,
    /// Whether records come in the order in which they were written.
    pub one_clock: bool,
    /// How many records were taken in.
    records: u64,
    forgotten_below: u64,
}

impl Facts {
    /// The node's slot; none if there are more than can be told apart.
    #[inline]
    pub(super) fn slot(&mut self, node: NodeId) -> Option<Slot> {
        if let Some(slot) = self.slots.get(&node) {
            return Some(*slot);
        }
        let slot = Slot::new(u16::try_from(self.ids.len() + 1).ok()?)?;
        self.slots.insert(node, slot);
        self.ids.push(node);
        self.nodes.push(Node::default());
        Some(slot)
    }

    #[inline]
    pub(super) fn view(&self, slot: Slot) -> View<'_> {
        View { facts: self, node: &self.nodes[at(slot)], slot }
    }

    /// Below this index everything is forgotten.
    pub(super) fn forgotten_below(&self) -> u64 {
        self.forgotten_below
    }

    pub(super) fn nodes(&self) -> usize {
        self.ids.len()
    }

    /// Whether anything was heard of the node.
    pub(super) fn knows(&self, node: NodeId) -> bool {
        self.slots.contains_key(&node)
    }

    pub(super) fn losses(&self) -> &[Loss] {
        &self.losses
    }

    pub(super) fn sighting(&self, by: Slot, time_ns: u64) -> Sighting {
        Sighting { node: self.ids[at(by)], time_ns }
    }

    pub(super) fn committed_at(&self, index: u64) -> Option<&Committed> {
        self.committed.get(index)
    }

    /// The least index from `index` on that is known as committed.
    pub(super) fn committed_from(&self, index: u64) -> Option<u64> {
        self.committed.at_or_after(index)
    }

    /// When this entry was first told by a node that had it on disk.
    pub(super) fn appended_ns(&self, index: u64, entry: Entry) -> Option<u64> {
        self.of_term(index, entry.term).find(|seen| seen.entry() == entry).map(|seen| seen.time_ns)
    }

    /// When an entry at this index was first reported as committed.
    pub(super) fn committed_ns(&self, index: u64) -> Option<u64> {
        self.committed.get(index).map(|committed| committed.time_ns)
    }

    /// Where the entries of a term begin, of which one stands at `index`; none if that was not told.
    pub(super) fn beginning_of_term(&self, term: u64, index: u64) -> Option<u64> {
        let mut first = index;
        loop {
            let before = self.of_term(first, term).next()?.previous_term?;
            if before.get() != term {
                return Some(first);
            }
            first -= 1;
        }
    }

    /// What stands at an index where nothing differs.
    #[inline]
    pub(super) fn told_first(&self, index: u64) -> Option<Entry> {
        self.entries.get(index).map(Seen::entry)
    }

    /// All entries of this index and term.
    pub(super) fn of_term(&self, index: u64, term: u64) -> impl Iterator<Item = &Seen> {
        let first = self.entries.get(index).filter(|seen| seen.term == term);
        first.into_iter().chain(self.others.get(&(index, term)).into_iter().flatten())
    }

    /// When this entry was first reported as committed, and whether a majority held it then.
    pub(super) fn first_commit(&self, index: u64, entry: Entry) -> Option<(u64, Held)> {
        match self.committed.get(index) {
            Some(committed) if committed.entry == entry => Some((committed.record, committed.held)),
            _ => self.also_committed.get(&(index, entry)).copied(),
        }
    }

    #[inline]
    fn entry(&self, log: &Log, index: u64) -> Option<Entry> {
        if !log.reaches(index) {
            return None;
        }
        differing_at(&log.differing, index).or_else(|| self.told_first(index))
    }

    /// Takes in a record of the node.
    #[inline]
    pub(super) fn take_in(&mut self, slot: Slot, record: &TraceRecord) {
        self.records += 1;
        let node = &mut self.nodes[at(slot)];
        match &record.event {
            &TraceEvent::Appended { index, term, checksum } => {
                self.appended(slot, record.time_ns, index, Entry { term, checksum });
            }
            &TraceEvent::Committed { index } => self.commit(slot, record.time_ns, index),
            &TraceEvent::RoleChanged { term, role, .. } => {
                node.term = node.term.max(term);
                node.leads = role == Role::Leader;
            }
            &TraceEvent::VoteCast { term, .. } => node.term = node.term.max(term),
            &TraceEvent::Truncated { from } => {
                self.lose(slot, "truncated", from);
                self.nodes[at(slot)].log.truncate(from);
            }
            &TraceEvent::Started { term, snapshot_index, snapshot_term, last_index, .. } => {
                if snapshot_index == 0 && last_index == 0 {
                    self.lose(slot, "came-up-empty", 0);
                } else {
                    self.lose(slot, "forgotten-at-restart", last_index.max(snapshot_index).saturating_add(1));
                }
                let node = &mut self.nodes[at(slot)];
                node.before = std::mem::take(&mut node.log);
                node.rebase(snapshot_index, (snapshot_index > 0).then_some(snapshot_term));
                node.term = node.term.max(term);
                node.leads = false;
                node.committed = snapshot_index;
            }
            &TraceEvent::SnapshotInstalled { index, term, .. } => {
                self.lose(slot, "hidden-by-older-snapshot", index.saturating_add(1));
                let node = &mut self.nodes[at(slot)];
                node.rebase(index, Some(term));
                node.committed = index;
            }
            // The log below a snapshot of the node's own stays comparable; only a snapshot beyond the log's
            // end (founding writes one) says where the log begins.
            &TraceEvent::SnapshotMade { index, term, .. } if index > node.log.last => {
                node.rebase(index, Some(term));
            }
            event @ (TraceEvent::Initialized { .. } | TraceEvent::ConfigChanged { .. }) => {
                node.voters = Voters::told_by(event);
            }
            _ => {}
        }
    }

    fn appended(&mut self, slot: Slot, time_ns: u64, index: u64, entry: Entry) {
        let view = self.view(slot);
        let previous_term = view.previous_term(index).and_then(PreviousTerm::of);
        let rewritten = if view.held_before(index, entry.term) { self.records } else { 0 };
        let holders = bit(slot);
        let node = &mut self.nodes[at(slot)];
        if index > node.log.last.saturating_add(1) {
            node.rebase(index - 1, None);
        }
        let is_in_log = index > node.log.base;
        if is_in_log {
            node.log.truncate(index);
            node.log.last = index;
        }
        node.known = true;
        // Where a trace begins in the middle, this may be the first that is heard of the node's term: no leader's
        // entry is taken from a term later than one's own.
        node.term = node.term.max(entry.term);
        if index < self.forgotten_below {
            return;
        }
        let now = Seen {
            term: entry.term,
            checksum: entry.checksum,
            previous_term,
            time_ns,
            rewritten,
            holders,
            by: slot,
        };
        let seen = match self.entries.get_mut(index) {
            None => {
                self.entries.insert(index, now);
                return;
            }
            Some(seen) if seen.entry() == entry => seen,
            Some(_) => {
                if is_in_log {
                    node.log.differing.push((index, entry));
                }
                let others = self.others.entry((index, entry.term)).or_default();
                match others.iter().position(|seen| seen.checksum == entry.checksum) {
                    Some(at) => &mut others[at],
                    None => {
                        others.push(now);
                        return;
                    }
                }
            }
        };
        seen.holders |= holders;
        if seen.previous_term.is_none() {
            seen.previous_term = previous_term;
        }
        if seen.rewritten == 0 {
            seen.rewritten = rewritten;
        }
    }

    fn commit(&mut self, slot: Slot, time_ns: u64, index: u64) {
        let node = &self.nodes[at(slot)];
        let (from, to) = (node.uncommitted_from().max(self.forgotten_below), index.min(node.log.last));
        let in_term = node.term;
        for index in from..=to {
            let Some(entry) = self.entry(&self.nodes[at(slot)].log, index) else { continue };
            if let Some(known) = self.committed.get_mut(index)
                && known.entry == entry
            {
                known.in_term = known.in_term.min(in_term);
                continue;
            }
            let held = self.held(&self.nodes[at(slot)], index, entry);
            if self.committed.get(index).is_some() {
                self.also_committed.entry((index, entry)).or_insert((self.records, held));
            } else {
                let record = self.records;
                self.committed.insert(index, Committed { entry, in_term, record, time_ns, held, by: slot });
            }
        }
        let node = &mut self.nodes[at(slot)];
        node.committed = node.committed.max(index);
    }

    /// Whether a majority, as `node` counts, has or had this entry on disk.
    fn held(&self, node: &Node, index: u64, entry: Entry) -> Held {
        let Some(voters) = &node.voters else { return Held::Unknown };
        let holders = self.of_term(index, entry.term).find(|seen| seen.entry() == entry);
        let holders = holders.map_or(0, |seen| seen.holders);
        let is_holder = |id| self.slots.get(&id).is_some_and(|slot| holders & bit(*slot) != 0);
        if voters.ids().any(|id| self.slots.get(&id).is_some_and(|slot| bit(*slot) == 0)) {
            // More nodes than there are bits.
            Held::Unknown
        } else if voters.are_won(is_holder) {
            Held::ByMajority
        } else {
            Held::ByTooFew
        }
    }

    /// The node's entries from `from` on go. Remembered in case that one of them turns out to be committed.
    fn lose(&mut self, slot: Slot, how: &'static str, from: u64) {
        let log = &self.nodes[at(slot)].log;
        let from = from.max(log.base.saturating_add(1));
        if from > log.last {
            return;
        }
        let begin = log.differing.partition_point(|(index, _)| *index < from);
        let differing: Box<[_]> = log.differing[begin..].into();
        self.lost_bytes += size_of_val(&*differing);
        self.losses.push(Loss { record: self.records, how, from, to: log.last, differing });
    }

    /// The memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let logs =
            self.nodes.iter().map(|node| node.log.differing.capacity() + node.before.differing.capacity());
        self.entries.bytes()
            + self.committed.bytes()
            + logs.sum::<usize>() * size_of::<(u64, Entry)>()
            + self.ids.len() * (size_of::<Node>() + 64)
            + self.others.len() * (96 + size_of::<Seen>())
            + self.also_committed.len() * 80
            + self.losses.capacity() * size_of::<Loss>()
            + self.lost_bytes
    }

    /// Where the lowest part of the log ends that can be forgotten.
    pub(super) fn end_of_lowest(&self) -> Option<u64> {
        self.entries.end_of_lowest().into_iter().chain(self.committed.end_of_lowest()).min()
    }

    /// Forgets what lies below this index.
    pub(super) fn forget_below(&mut self, index: u64) {
        self.forgotten_below = self.forgotten_below.max(index);
        self.entries.forget_below(index);
        self.committed.forget_below(index);
        self.others = self.others.split_off(&(index, 0));
        self.also_committed = self.also_committed.split_off(&(index, Entry { term: 0, checksum: 0 }));
        self.losses.retain(|loss| loss.to >= index);
        self.losses.shrink_to_fit();
        self.lost_bytes = self.losses.iter().map(|loss| size_of_val(&*loss.differing)).sum();
        for node in &mut self.nodes {
            for log in [&mut node.log, &mut node.before] {
                let end = log.differing.partition_point(|(at, _)| *at < index);
                log.differing.drain(..end);
                log.differing.shrink_to_fit();
            }
        }
    }
}

impl Node {
    fn rebase(&mut self, index: u64, term: Option<u64>) {
        self.log.rebase(index);
        self.base_term = term;
        self.known = index > 0;
    }

    /// From here on the node's entries are not yet in the table of committed ones.
    fn uncommitted_from(&self) -> u64 {
        self.committed.max(self.log.base).saturating_add(1)
    }
}

/// The node's bit among the holders of an entry; none beyond the 32nd.
fn bit(slot: Slot) -> u32 {
    1u32.checked_shl(u32::from(slot.get()) - 1).unwrap_or(0)
}

fn at(slot: Slot) -> usize {
    usize::from(slot.get()) - 1
}

/// A node as it was before the record that is looked at, and what all have told.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub facts: &'a Facts,
    node: &'a Node,
    pub slot: Slot,
}

impl<'a> View<'a> {
    /// The last index, 0 for an empty log.
    pub(super) fn last(&self) -> u64 {
        self.node.log.last
    }

    /// The index up to which the log is hidden in a snapshot.
    pub(super) fn base(&self) -> u64 {
        self.node.log.base
    }

    /// The node's term.
    pub(super) fn term(&self) -> u64 {
        self.node.term
    }

    /// The voters, if this node leads its term, reports an entry of that term, and no majority of them ever had it
    /// on disk. Only told where every voter has a trace, and all are by one clock.
    pub(super) fn commits_alone(&self, index: u64) -> Option<&'a Voters> {
        let voters = self.node.voters.as_ref().filter(|_| self.node.leads && self.facts.one_clock)?;
        let entry = self.get(index).filter(|entry| entry.term == self.node.term)?;
        let told = voters.ids().all(|id| self.facts.knows(id));
        (told && self.facts.held(self.node, index, entry) == Held::ByTooFew).then_some(voters)
    }

    /// Whether the trace has shown this log from its beginning (or from a snapshot).
    pub(super) fn known(&self) -> bool {
        self.node.known
    }

    /// The entry at `index`; none below the base or above the end.
    #[inline]
    pub(super) fn get(&self, index: u64) -> Option<Entry> {
        self.facts.entry(&self.node.log, index)
    }

    /// Whether, before its last restart, the node held an entry of this term at `index`.
    #[inline]
    pub(super) fn held_before(&self, index: u64, term: u64) -> bool {
        self.facts.entry(&self.node.before, index).is_some_and(|entry| entry.term == term)
    }

    /// Where the log from `from` on differs from what was told first.
    pub(super) fn differing_from(&self, from: u64) -> &'a [(u64, Entry)] {
        let differing = &self.node.log.differing;
        &differing[differing.partition_point(|(index, _)| *index < from)..]
    }

    /// The term of the entry before `index`, also where a snapshot ends.
    #[inline]
    pub(super) fn previous_term(&self, index: u64) -> Option<u64> {
        let previous = index.checked_sub(1).filter(|previous| *previous > 0)?;
        if previous == self.node.log.base {
            self.node.base_term
        } else {
            self.get(previous).map(|entry| entry.term)
        }
    }

    /// The first entry that was told with this index and term, and by whom.
    #[inline]
    pub(super) fn seen(&self, index: u64, term: u64) -> Option<(&'a Seen, Sighting)> {
        let facts = self.facts;
        facts.of_term(index, term).next().map(|seen| (seen, facts.sighting(seen.by, seen.time_ns)))
    }

    /// Up to here the node's committed entries are in the table, in this boot.
    pub(super) fn uncommitted_from(&self) -> u64 {
        self.node.uncommitted_from()
    }
}

impl Committed {
    pub(super) fn by(&self, facts: &Facts) -> Sighting {
        facts.sighting(self.by, self.time_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    /// A log that is told by one node alone, and one that another node told otherwise before: the same.
    #[test]
    fn a_log_follows_its_records() {
        for others in [vec![], vec![appended(1, 5, 99), appended(2, 1, 98), appended(3, 1, 13)]] {
            let mut facts = Facts::default();
            let mut take_in = |node, event| {
                for record in trace([(node, event)]) {
                    let slot = facts.slot(node).unwrap();
                    facts.take_in(slot, &record);
                }
                let view = facts.view(facts.slots[&1]);
                let entries = (1..=9).filter_map(|index| Some((index, view.get(index)?)));
                let checksums: Vec<_> = entries.map(|(index, entry)| (index, entry.checksum)).collect();
                (view.last(), view.previous_term(8), checksums, view.term())
            };
            take_in(1, started(1, None, 0));
            for event in others {
                take_in(2, event);
            }
            take_in(1, appended(1, 1, 11));
            take_in(1, appended(2, 1, 12));
            assert_eq!(take_in(1, appended(3, 1, 13)).2, [(1, 11), (2, 12), (3, 13)]);
            assert_eq!(take_in(1, appended(2, 2, 22)).2, [(1, 11), (2, 22)]);
            assert_eq!(take_in(1, TraceEvent::Truncated { from: 2 }).0, 1);
            take_in(1, installed(7, 3, 0));
            let (last, previous_term, entries, _) = take_in(1, appended(8, 3, 38));
            assert_eq!((last, previous_term, entries), (8, Some(3), vec![(8, 38)]));
            let (last, _, entries, term) = take_in(1, started(9, None, 0));
            assert_eq!((last, entries, term), (0, vec![], 9));
        }
    }

    #[test]
    fn rows_are_small() {
        assert_eq!(size_of::<Option<Seen>>(), 48);
        assert_eq!(size_of::<Option<Committed>>(), 48);
    }
}
