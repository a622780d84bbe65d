//! Text that grows by appending, and shares what it grew from.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use super::chain::Chain;

/// A text in pieces. Equal texts are equal, whatever their pieces.
#[derive(Clone, Debug)]
pub struct Rope {
    pieces: Chain<Arc<str>>,
    len: usize,
    digest: u64,
}

impl Rope {
    pub const EMPTY: Rope = Rope { pieces: Chain::EMPTY, len: 0, digest: 0 };

    /// What one more piece takes in memory, in bytes, the piece itself apart.
    pub const PIECE_BYTES: usize = Chain::<Arc<str>>::LINK_BYTES;

    /// The text with this one appended.
    pub fn with(&self, piece: &Arc<str>) -> Rope {
        if piece.is_empty() {
            return self.clone();
        }
        Rope {
            pieces: self.pieces.with(Arc::clone(piece)),
            len: self.len + piece.len(),
            digest: piece.bytes().fold(self.digest, |digest, byte| {
                digest.wrapping_mul(0xf135_7aea_2e62_a9c5).wrapping_add(u64::from(byte) + 1)
            }),
        }
    }

    /// The whole text.
    pub fn text(&self) -> String {
        let mut pieces: Vec<&str> = self.pieces.backwards().map(AsRef::as_ref).collect();
        pieces.reverse();
        pieces.concat()
    }
}

impl From<&str> for Rope {
    fn from(text: &str) -> Rope {
        Rope::EMPTY.with(&text.into())
    }
}

impl PartialEq for Rope {
    fn eq(&self, other: &Rope) -> bool {
        if (self.len, self.digest) != (other.len, other.digest) {
            return false;
        }
        // From the end, until what is left is shared. What is left of the two last pieces is never both
        // empty and non-empty for long: the lengths are equal.
        let (mut one, mut two) = (&self.pieces, &other.pieces);
        let (mut ends, mut with): (&[u8], &[u8]) = (&[], &[]);
        loop {
            if ends.is_empty() && with.is_empty() && one.is_same(two) {
                return true;
            }
            if ends.is_empty() {
                let Some((before, piece)) = one.split_last() else { return false };
                (one, ends) = (before, piece.as_bytes());
            }
            if with.is_empty() {
                let Some((before, piece)) = two.split_last() else { return false };
                (two, with) = (before, piece.as_bytes());
            }
            let common = ends.len().min(with.len());
            let (ends_left, ends_last) = ends.split_at(ends.len() - common);
            let (with_left, with_last) = with.split_at(with.len() - common);
            if ends_last != with_last {
                return false;
            }
            (ends, with) = (ends_left, with_left);
        }
    }
}

impl Eq for Rope {}

impl Hash for Rope {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::digest;

    fn rope(pieces: &[&str]) -> Rope {
        pieces.iter().fold(Rope::EMPTY, |rope, piece| rope.with(&(*piece).into()))
    }

    #[test]
    fn equal_texts_are_equal_whatever_their_pieces() {
        let whole = Rope::from("abcdef");
        for pieces in [&["abc", "def"][..], &["a", "bcde", "", "f"], &["", "abcdef"]] {
            assert_eq!(rope(pieces), whole);
            assert_eq!(digest(&rope(pieces)), digest(&whole));
            assert_eq!(rope(pieces).text(), "abcdef");
        }
        assert_eq!(rope(&["abc", "def"]), rope(&["ab", "cd", "ef"]));
        let shared = Rope::from("abc");
        assert_eq!(shared.with(&"de".into()).with(&"f".into()), shared.with(&"d".into()).with(&"ef".into()));
        assert_ne!(rope(&["abc", "deg"]), whole);
        assert_ne!(rope(&["abd", "def"]), whole);
        assert_ne!(rope(&["abc"]), whole);
        assert_eq!(rope(&[]), Rope::from(""));
    }
}
