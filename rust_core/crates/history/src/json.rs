//! A JSON parser that keeps what histories need: places of errors, numbers as they were written, and speed.
//!
//! serde_json turns whole numbers beyond 64 bits into floating point numbers: two different values of a history
//! could become one, and its verdict wrong.

use std::borrow::Cow;

use crate::{
    Value,
    error::{Flaw, after_mark},
};

/// How deep lists and maps may lie within each other: the stack is finite.
pub(crate) const DEEPEST: u32 = 100;

/// Where the parser stands in a text.
pub(crate) struct Json<'a> {
    text: &'a str,
    /// In bytes.
    pub at: usize,
}

impl<'a> Json<'a> {
    pub(crate) fn new(text: &'a str) -> Json<'a> {
        Json { text, at: after_mark(text) }
    }

    /// The next byte; 0 at the end.
    #[inline]
    fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// The next byte that is no white space; 0 at the end.
    #[inline]
    pub(crate) fn peek(&mut self) -> u8 {
        while matches!(self.byte(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
        self.byte()
    }

    /// Passes over this byte if it comes next.
    #[inline]
    pub(crate) fn eat(&mut self, wanted: u8) -> bool {
        if self.peek() == wanted {
            self.at += 1;
            return true;
        }
        false
    }

    /// What stands here is not what should.
    #[cold]
    pub(crate) fn unexpected(&self, expected: &'static str) -> Flaw {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(found) => Flaw::new(self.at, format!("{found:?} is not expected here"), expected),
            None => Flaw::new(self.at, "the line ends too early", expected),
        }
    }

    /// A string, its opening quote first.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Flaw> {
        let open = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            match self.byte() {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.at += 2;
                }
                0..=0x1f if self.at >= self.text.len() => {
                    return Err(Flaw::new(
                        open,
                        "this string has no end",
                        "a closing quote on the same line",
                    ));
                }
                0..=0x1f => return Err(self.unexpected("control characters of a string as \\u00XX")),
                _ => self.at += 1,
            }
        }
        self.at += 1;
        if !escaped {
            return Ok(Cow::Borrowed(&self.text[open + 1..self.at - 1]));
        }
        match serde_json::from_str::<String>(&self.text[open..self.at]) {
            Ok(text) => Ok(Cow::Owned(text)),
            Err(_) => Err(Flaw::new(
                open,
                "this string has an escape that means nothing",
                "\\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX",
            )),
        }
    }

    /// A number, as it is written. True if it is whole.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<(&'a str, bool), Flaw> {
        let start = self.at;
        if self.byte() == b'-' {
            self.at += 1;
        }
        if self.byte() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut whole = true;
        if self.byte() == b'.' {
            whole = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), b'e' | b'E') {
            whole = false;
            self.at += 1;
            if matches!(self.byte(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok((&self.text[start..self.at], whole))
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Flaw> {
        if !self.byte().is_ascii_digit() {
            return Err(self.unexpected("a digit"));
        }
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    /// Passes over a word if it comes next.
    #[inline]
    fn word(&mut self, word: &str) -> Result<(), Flaw> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.unexpected("a JSON value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Any value.
    pub(crate) fn value(&mut self) -> Result<Value, Flaw> {
        self.value_at(0)
    }

    /// Any value, which is not kept.
    pub(crate) fn skip(&mut self) -> Result<(), Flaw> {
        match self.peek() {
            b'"' => self.string().map(|_| ()),
            b'-' | b'0'..=b'9' => self.number().map(|_| ()),
            _ => self.value().map(|_| ()),
        }
    }

    fn value_at(&mut self, depth: u32) -> Result<Value, Flaw> {
        match self.peek() {
            b'-' | b'0'..=b'9' => {
                let (text, whole) = self.number()?;
                Ok(match text.parse() {
                    Ok(number) if whole => Value::Int(number),
                    _ => Value::Number(text.into()),
                })
            }
            b'n' => self.word("null").map(|()| Value::Null),
            b't' => self.word("true").map(|()| Value::Bool(true)),
            b'f' => self.word("false").map(|()| Value::Bool(false)),
            b'"' => Ok(Value::Text(self.string()?.into())),
            b'[' | b'{' if depth == DEEPEST => {
                Err(Flaw::new(self.at, "lists within lists go too deep", "at most 100 within each other"))
            }
            b'[' => self.list(depth),
            b'{' => self.map(depth),
            _ => Err(self.unexpected("a JSON value")),
        }
    }

    fn list(&mut self, depth: u32) -> Result<Value, Flaw> {
        self.at += 1;
        let mut list = Vec::with_capacity(2);
        if self.eat(b']') {
            return Ok(Value::list(list));
        }
        loop {
            list.push(self.value_at(depth + 1)?);
            if self.eat(b',') {
                continue;
            }
            return if self.eat(b']') { Ok(Value::list(list)) } else { Err(self.unexpected("a comma or ]")) };
        }
    }

    fn map(&mut self, depth: u32) -> Result<Value, Flaw> {
        self.at += 1;
        let mut entries = Vec::new();
        if self.eat(b'}') {
            return Ok(Value::Map(entries.into()));
        }
        loop {
            let name = self.name()?;
            entries.push((Value::Text(name.into()), self.value_at(depth + 1)?));
            if self.eat(b',') {
                continue;
            }
            if !self.eat(b'}') {
                return Err(self.unexpected("a comma or }"));
            }
            // Of several entries under one name the last counts, as in JavaScript.
            entries.reverse();
            entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            entries.dedup_by(|(later, _), (earlier, _)| later == earlier);
            return Ok(Value::Map(entries.into()));
        }
    }

    /// The name of a field, and the colon.
    #[inline]
    pub(crate) fn name(&mut self) -> Result<Cow<'a, str>, Flaw> {
        if self.peek() != b'"' {
            return Err(self.unexpected("a field's name in quotes"));
        }
        let name = self.string()?;
        if self.eat(b':') { Ok(name) } else { Err(self.unexpected("a colon")) }
    }
}
