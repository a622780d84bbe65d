//! A list that grows at its end and shares all the rest with the lists that it grew from.
//!
//! A search holds thousands of states of a log, each an entry longer than another: copies would take memory that
//! grows with the square of the history.

use std::sync::Arc;

/// The last link; the links before it are shared.
#[derive(Debug)]
pub struct Chain<T>(Option<Arc<Link<T>>>);

#[derive(Debug)]
struct Link<T> {
    before: Chain<T>,
    item: T,
}

impl<T> Chain<T> {
    /// What one more link takes in memory, in bytes, with the counts of references to it.
    pub const LINK_BYTES: usize = size_of::<Link<T>>() + 16;

    pub const EMPTY: Chain<T> = Chain(None);

    /// The chain with one more item at its end.
    pub fn with(&self, item: T) -> Chain<T> {
        Chain(Some(Arc::new(Link { before: self.clone(), item })))
    }

    /// The last item, and the chain before it.
    pub fn split_last(&self) -> Option<(&Chain<T>, &T)> {
        self.0.as_deref().map(|link| (&link.before, &link.item))
    }

    /// From the last item to the first.
    pub fn backwards(&self) -> Backwards<'_, T> {
        Backwards(self)
    }

    /// Whether both are the very same links in memory, and so certainly equal.
    pub fn is_same(&self, other: &Chain<T>) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }
}

/// Compared from the end, up to what both share.
impl<T: PartialEq> PartialEq for Chain<T> {
    fn eq(&self, other: &Chain<T>) -> bool {
        let (mut one, mut two) = (self, other);
        while !one.is_same(two) {
            match (one.split_last(), two.split_last()) {
                (Some((before_one, last_one)), Some((before_two, last_two))) if last_one == last_two => {
                    (one, two) = (before_one, before_two);
                }
                _ => return false,
            }
        }
        true
    }
}

impl<T> Clone for Chain<T> {
    fn clone(&self) -> Chain<T> {
        Chain(self.0.clone())
    }
}

/// Frees link after link: the compiler's own way would call itself once for each, and run out of stack.
impl<T> Drop for Chain<T> {
    fn drop(&mut self) {
        let mut last = self.0.take();
        while let Some(mut link) = last.and_then(Arc::into_inner) {
            last = link.before.0.take();
        }
    }
}

/// Items of a chain, the last first.
pub struct Backwards<'a, T>(&'a Chain<T>);

impl<'a, T> Iterator for Backwards<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        let (before, item) = self.0.split_last()?;
        self.0 = before;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_share_what_they_grew_from() {
        let one = Chain::EMPTY.with(1);
        let (two, three) = (one.with(2), one.with(3));
        assert_eq!(two.backwards().collect::<Vec<_>>(), [&2, &1]);
        assert_eq!(three.backwards().collect::<Vec<_>>(), [&3, &1]);
        assert!(two.split_last().unwrap().0.is_same(three.split_last().unwrap().0));
        assert!(!two.is_same(&three));
        assert!(two == one.with(2) && two != three && two != one);
    }

    /// Freed recursively, this one took more stack than a thread has.
    #[test]
    fn a_long_chain_is_freed() {
        let mut chain = Chain::EMPTY;
        for item in 0..1_000_000 {
            chain = chain.with(item);
        }
        drop(chain);
    }
}
