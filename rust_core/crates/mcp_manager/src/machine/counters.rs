//! Counters, which are only ever added to.

use std::collections::BTreeMap;

use super::at_most;
use super::checksum::{Checksum, Item};
use crate::command::{Answer, Outcome};
use crate::limits;

/// All counters, by name: where each stands, and the log index of its last change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    by_key: BTreeMap<String, (i64, u64)>,
}

impl Counters {
    /// As a snapshot has them.
    pub(super) fn restored(content: Vec<(String, i64, u64)>) -> Counters {
        Counters {
            by_key: content.into_iter().map(|(key, value, version)| (key, (value, version))).collect(),
        }
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, i64, u64)> {
        self.by_key.iter().map(|(key, (value, version))| (key.as_str(), *value, *version))
    }

    pub(super) fn query(&self, key: &str) -> Answer {
        let (value, version) = self.by_key.get(key).copied().unwrap_or_default();
        Answer::Counter { value, version }
    }

    pub(super) fn add(&mut self, index: u64, key: String, amount: i64, checksum: &mut Checksum) -> Outcome {
        let before = self.by_key.get(&key).copied();
        if before.is_none() && self.by_key.len() >= limits::MAX_COUNTERS {
            return Outcome::Rejected { reason: at_most(limits::MAX_COUNTERS, "counters") };
        }
        let Some(value) = before.map_or(0, |(value, _)| value).checked_add(amount) else {
            return Outcome::Rejected { reason: "a counter has 64 bits: this would be beyond them".into() };
        };
        if let Some((value, version)) = before {
            checksum.remove(&Item::Counter { key: &key, value, version });
        }
        checksum.add(&Item::Counter { key: &key, value, version: index });
        self.by_key.insert(key, (value, index));
        Outcome::Done { version: index }
    }

    pub(super) fn sum_up(&self, checksum: &mut Checksum) {
        for (key, value, version) in self.iter() {
            checksum.add(&Item::Counter { key, value, version });
        }
    }
}
