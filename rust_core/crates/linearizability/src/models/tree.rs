//! A sorted map that shares all but a path with the map it was made from: a treap (Seidel and Aragon, Randomized
//! search trees, 1996) whose priorities are digests of the keys. So a map's shape follows from its content alone,
//! however it came about, and two maps are compared by walking only where they differ.

use std::{
    cmp::Ordering,
    hash::{Hash, Hasher},
    sync::Arc,
};

use super::digest;

/// The map.
#[derive(Debug)]
pub struct Tree<K, V>(Option<Arc<Node<K, V>>>);

#[derive(Debug)]
struct Node<K, V> {
    entry: Entry<K, V>,
    left: Tree<K, V>,
    right: Tree<K, V>,
    /// Of this node and all below.
    digest: u64,
    len: usize,
}

#[derive(Debug)]
struct Entry<K, V> {
    /// Key and value, which stay where they are while nodes around them are made anew.
    content: Arc<(K, V)>,
    priority: u64,
    digest: u64,
}

impl<K, V> Clone for Tree<K, V> {
    fn clone(&self) -> Tree<K, V> {
        Tree(self.0.clone())
    }
}

impl<K, V> Clone for Entry<K, V> {
    fn clone(&self) -> Entry<K, V> {
        Entry { content: Arc::clone(&self.content), ..*self }
    }
}

impl<K, V> Entry<K, V> {
    fn key(&self) -> &K {
        &self.content.0
    }
}

impl<K, V> Tree<K, V> {
    pub const EMPTY: Tree<K, V> = Tree(None);

    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |node| node.len)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// A number that equal maps share.
    pub fn digest(&self) -> u64 {
        self.0.as_ref().map_or(0, |node| node.digest)
    }

    /// Entries, ascending by key.
    pub fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter(Vec::new());
        iter.descend(self);
        iter
    }

    /// What a map costs that was made from another by one change, in bytes, roughly: a path's nodes and an entry.
    pub fn change_bytes(&self) -> usize {
        let depth = 1 + self.len().checked_ilog2().unwrap_or(0) as usize;
        depth * (size_of::<Node<K, V>>() + 16) + size_of::<(K, V)>() + 16
    }

    fn join(entry: Entry<K, V>, left: Tree<K, V>, right: Tree<K, V>) -> Tree<K, V> {
        let digest = entry.digest.wrapping_add(left.digest()).wrapping_add(right.digest());
        let len = 1 + left.len() + right.len();
        Tree(Some(Arc::new(Node { entry, left, right, digest, len })))
    }

    /// The map of two of which all keys of the one are less than all of the other.
    fn merge(left: &Tree<K, V>, right: &Tree<K, V>) -> Tree<K, V>
    where
        K: Ord,
    {
        match (&left.0, &right.0) {
            (None, _) => right.clone(),
            (_, None) => left.clone(),
            (Some(one), Some(two)) if one.entry.is_above(&two.entry) => {
                Tree::join(one.entry.clone(), one.left.clone(), Tree::merge(&one.right, right))
            }
            (_, Some(two)) => Tree::join(two.entry.clone(), Tree::merge(left, &two.left), two.right.clone()),
        }
    }
}

impl<K: Ord, V> Entry<K, V> {
    /// Which of two entries is the root: priorities are equal too seldom to matter, but must not make the shape
    /// depend on the past.
    fn is_above(&self, other: &Entry<K, V>) -> bool {
        (self.priority, self.key()) > (other.priority, other.key())
    }
}

impl<K: Ord + Hash, V: Hash> Tree<K, V> {
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        let mut tree = self;
        while let Some(node) = tree.0.as_deref() {
            match key.cmp(node.entry.key().borrow()) {
                Ordering::Less => tree = &node.left,
                Ordering::Greater => tree = &node.right,
                Ordering::Equal => return Some(&node.entry.content.1),
            }
        }
        None
    }

    /// The map in which the key has this value.
    pub fn with(&self, key: K, value: V) -> Tree<K, V> {
        let entry = Entry {
            digest: Tree::entry_digest(&key, &value),
            priority: digest(&key),
            content: Arc::new((key, value)),
        };
        self.with_entry(entry)
    }

    /// What an entry adds to the digest of the map.
    pub fn entry_digest(key: &K, value: &V) -> u64 {
        digest(&(digest(key), digest(value)))
    }

    fn with_entry(&self, entry: Entry<K, V>) -> Tree<K, V> {
        let Some(node) = self.0.as_deref() else {
            return Tree::join(entry, Tree::EMPTY, Tree::EMPTY);
        };
        match entry.key().cmp(node.entry.key()) {
            Ordering::Equal => Tree::join(entry, node.left.clone(), node.right.clone()),
            _ if entry.is_above(&node.entry) => {
                let (left, right) = self.split(entry.key());
                Tree::join(entry, left, right)
            }
            Ordering::Less => Tree::join(node.entry.clone(), node.left.with_entry(entry), node.right.clone()),
            Ordering::Greater => {
                Tree::join(node.entry.clone(), node.left.clone(), node.right.with_entry(entry))
            }
        }
    }

    /// The parts below and above a key that is not in the map.
    fn split(&self, key: &K) -> (Tree<K, V>, Tree<K, V>) {
        let Some(node) = self.0.as_deref() else {
            return (Tree::EMPTY, Tree::EMPTY);
        };
        if key < node.entry.key() {
            let (below, above) = node.left.split(key);
            (below, Tree::join(node.entry.clone(), above, node.right.clone()))
        } else {
            let (below, above) = node.right.split(key);
            (Tree::join(node.entry.clone(), node.left.clone(), below), above)
        }
    }

    /// The map without the key.
    pub fn without<Q: Ord + ?Sized>(&self, key: &Q) -> Tree<K, V>
    where
        K: std::borrow::Borrow<Q>,
    {
        let Some(node) = self.0.as_deref() else {
            return Tree::EMPTY;
        };
        match key.cmp(node.entry.key().borrow()) {
            Ordering::Less => Tree::join(node.entry.clone(), node.left.without(key), node.right.clone()),
            Ordering::Greater => Tree::join(node.entry.clone(), node.left.clone(), node.right.without(key)),
            Ordering::Equal => Tree::merge(&node.left, &node.right),
        }
    }
}

impl<K: Ord + Hash, V: Hash> FromIterator<(K, V)> for Tree<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Tree<K, V> {
        entries.into_iter().fold(Tree::EMPTY, |tree, (key, value)| tree.with(key, value))
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for Tree<K, V> {
    fn eq(&self, other: &Tree<K, V>) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(two)) => {
                Arc::ptr_eq(one, two)
                    || one.digest == two.digest
                        && one.len == two.len
                        && (Arc::ptr_eq(&one.entry.content, &two.entry.content)
                            || one.entry.content == two.entry.content)
                        && one.left == two.left
                        && one.right == two.right
            }
            _ => false,
        }
    }
}

impl<K: Eq, V: Eq> Eq for Tree<K, V> {}

impl<K, V> Hash for Tree<K, V> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.digest());
    }
}

/// Entries, ascending by key.
pub struct Iter<'a, K, V>(Vec<&'a Node<K, V>>);

impl<'a, K, V> Iter<'a, K, V> {
    fn descend(&mut self, mut tree: &'a Tree<K, V>) {
        while let Some(node) = tree.0.as_deref() {
            self.0.push(node);
            tree = &node.left;
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<(&'a K, &'a V)> {
        let node = self.0.pop()?;
        self.descend(&node.right);
        let (key, value) = &*node.entry.content;
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mcp_chaos_evidence::rng::Stream;

    use super::*;

    /// Changes at random, beside a map of the standard library; what was shared must not have changed.
    #[test]
    fn it_is_a_map_whose_shape_follows_from_its_content() {
        let draws = Stream::new(7, "tree", 0, 0);
        let (mut tree, mut map) = (Tree::EMPTY, BTreeMap::new());
        let mut past = Vec::new();
        for n in 0..5_000 {
            let (key, value) = (draws.between(3 * n, 0, 60), draws.between(3 * n + 1, 0, 3));
            if draws.between(3 * n + 2, 0, 2) == 0 {
                tree = tree.without(&key);
                map.remove(&key);
            } else {
                tree = tree.with(key, value);
                map.insert(key, value);
            }
            past.push((tree.clone(), map.clone()));
        }
        for (tree, map) in past {
            assert!(tree.iter().eq(map.iter()));
            assert_eq!(tree.len(), map.len());
            assert!((0..=60).all(|key| tree.get(&key) == map.get(&key)));
            let afresh: Tree<u64, u64> = map.into_iter().rev().collect();
            assert_eq!(tree, afresh);
            assert_eq!(digest(&tree), digest(&afresh));
            assert_ne!(tree, afresh.with(99, 0));
        }
    }
}
