//! Lists, which are only ever appended to, several at one moment if need be.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::at_most;
use super::checksum::{Checksum, Item};
use crate::command::{Answer, ListStep, Outcome};
use crate::limits;

/// A list, and the log index of its last change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct List {
    pub(super) elements: Vec<String>,
    pub(super) version: u64,
}

/// All lists that anybody appended to, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lists {
    by_key: BTreeMap<String, List>,
}

impl Lists {
    /// As a snapshot has them.
    pub(super) fn restored(content: Vec<(String, List)>) -> Lists {
        Lists { by_key: content.into_iter().collect() }
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &List)> {
        self.by_key.iter().map(|(key, list)| (key.as_str(), list))
    }

    pub(super) fn query(&self, keys: &[String]) -> Answer {
        Answer::Lists { lists: keys.iter().map(|key| self.elements(key).to_vec()).collect() }
    }

    fn elements(&self, key: &str) -> &[String] {
        self.by_key.get(key).map_or(&[], |list| &list.elements)
    }

    pub(super) fn transact(&mut self, index: u64, steps: Vec<ListStep>, checksum: &mut Checksum) -> Outcome {
        if let Err(reason) = self.check(&steps) {
            return Outcome::Rejected { reason };
        }
        let mut lists = Vec::new();
        for step in steps {
            match step {
                ListStep::Read { key } => lists.push(self.elements(&key).to_vec()),
                ListStep::Append { key, element } => self.append(index, key, element, checksum),
            }
        }
        Outcome::Transacted { version: index, lists }
    }

    /// All or nothing: what cannot be done whole is refused before any of it is.
    fn check(&self, steps: &[ListStep]) -> Result<(), String> {
        let bytes = |element: &String| limits::OVERHEAD_BYTES + element.len();
        let mut new = BTreeSet::new();
        // What earlier steps append is read by later ones.
        let mut appended_bytes: BTreeMap<&str, usize> = BTreeMap::new();
        let mut answer_bytes = 0;
        for step in steps {
            match step {
                ListStep::Append { key, element } => {
                    if !self.by_key.contains_key(key) {
                        new.insert(key);
                    }
                    *appended_bytes.entry(key).or_default() += bytes(element);
                }
                ListStep::Read { key } => {
                    answer_bytes += self.elements(key).iter().map(bytes).sum::<usize>();
                    answer_bytes += appended_bytes.get(key.as_str()).copied().unwrap_or(0);
                }
            }
        }
        if self.by_key.len() + new.len() > limits::MAX_LISTS {
            return Err(at_most(limits::MAX_LISTS, "lists"));
        }
        if answer_bytes > limits::MAX_TRANSACTION_BYTES {
            return Err(format!(
                "a transaction that appends reads at most {} bytes, not {answer_bytes}: read without it",
                limits::MAX_TRANSACTION_BYTES
            ));
        }
        Ok(())
    }

    fn append(&mut self, index: u64, key: String, element: String, checksum: &mut Checksum) {
        let list = match self.by_key.get_mut(&key) {
            Some(list) => {
                checksum.remove(&head(&key, list));
                list
            }
            None => self.by_key.entry(key.clone()).or_insert(List { elements: Vec::new(), version: 0 }),
        };
        checksum.add(&Item::Element { key: &key, position: list.elements.len() as u64, element: &element });
        list.elements.push(element);
        list.version = index;
        checksum.add(&head(&key, list));
    }

    pub(super) fn sum_up(&self, checksum: &mut Checksum) {
        for (key, list) in self.iter() {
            checksum.add(&head(key, list));
            for (position, element) in (0..).zip(&list.elements) {
                checksum.add(&Item::Element { key, position, element });
            }
        }
    }
}

/// What is to be known of a list besides its elements, which have items of their own: an append costs the same however
/// long the list is.
fn head<'a>(key: &'a str, list: &List) -> Item<'a> {
    Item::List { key, length: list.elements.len() as u64, version: list.version }
}
