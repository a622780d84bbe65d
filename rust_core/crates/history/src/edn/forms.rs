//! A parser of EDN (<https://github.com/edn-format/edn>), as Clojure prints it, that knows where it stands.

use crate::{
    Value,
    error::{Flaw, after_mark},
    json::DEEPEST,
};

/// Where the parser stands in a text.
pub(crate) struct Edn<'a> {
    pub(super) text: &'a str,
    /// In bytes.
    pub at: usize,
}

impl<'a> Edn<'a> {
    pub(crate) fn new(text: &'a str) -> Edn<'a> {
        Edn { text, at: after_mark(text) }
    }

    /// The next byte; 0 at the end.
    pub(super) fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    pub(super) fn is_over(&self) -> bool {
        self.at >= self.text.len()
    }

    #[cold]
    pub(super) fn unexpected(&self, expected: &'static str) -> Flaw {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(found) => Flaw::new(self.at, format!("{found:?} is not expected here"), expected),
            None => Flaw::new(self.at, "the text ends too early", expected),
        }
    }

    /// Passes over white space, commas, comments, and forms that `#_` takes away.
    pub(crate) fn space(&mut self) -> Result<(), Flaw> {
        self.space_at(0)
    }

    fn space_at(&mut self, depth: u32) -> Result<(), Flaw> {
        loop {
            match self.byte() {
                b' ' | b',' | b'\n' | b'\t' | b'\r' | 0x0b | 0x0c => self.at += 1,
                b';' => {
                    let rest = &self.text.as_bytes()[self.at..];
                    self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                }
                b'#' if self.text[self.at..].starts_with("#_") => {
                    self.at += 2;
                    self.value_at(depth + 1)?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Passes over tags and the names of records; the last one.
    pub(super) fn tag(&mut self) -> Result<Option<&'a str>, Flaw> {
        let mut last = None;
        while self.byte() == b'#'
            && !matches!(self.text.as_bytes().get(self.at + 1), Some(b'{' | b'#' | b'"'))
        {
            self.at += 1;
            let tag = self.token();
            if tag.is_empty() {
                return Err(self.unexpected("a tag's name"));
            }
            last = Some(tag);
            self.space()?;
        }
        Ok(last)
    }

    /// What stands until white space or a bracket: a symbol, a keyword, a number.
    pub(super) fn token(&mut self) -> &'a str {
        let rest = &self.text.as_bytes()[self.at..];
        let ends = |byte: &u8| {
            matches!(
                byte,
                0..=b' '
                    | b','
                    | b'('
                    | b')'
                    | b'['
                    | b']'
                    | b'{'
                    | b'}'
                    | b'"'
                    | b';'
                    | b'@'
                    | b'^'
                    | b'`'
                    | b'~'
                    | b'\\'
            )
        };
        let start = self.at;
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
        &self.text[start..self.at]
    }

    /// Any form, as a value: keywords and symbols as text, sets as sorted lists, tags dropped.
    pub(crate) fn value(&mut self) -> Result<Value, Flaw> {
        self.value_at(0)
    }

    fn value_at(&mut self, depth: u32) -> Result<Value, Flaw> {
        if depth > DEEPEST {
            return Err(Flaw::new(
                self.at,
                "lists within lists go too deep",
                "at most 100 within each other",
            ));
        }
        self.space_at(depth)?;
        let start = self.at;
        match self.byte() {
            b'"' => self.string(),
            b'\\' => self.character(),
            b'[' => self.list(b']', depth).map(Value::list),
            b'(' => self.list(b')', depth).map(Value::list),
            b'{' => {
                let forms = self.list(b'}', depth)?;
                if forms.len() % 2 == 1 {
                    return Err(Flaw::new(
                        start,
                        "this map has a key without a value",
                        "pairs of keys and values",
                    ));
                }
                let mut forms = forms.into_iter();
                let mut entries = Vec::with_capacity(forms.len() / 2);
                while let (Some(key), Some(value)) = (forms.next(), forms.next()) {
                    entries.push((key, value));
                }
                entries.sort_by(|(one, _), (other, _)| one.cmp(other));
                entries.dedup_by(|(later, _), (earlier, _)| later == earlier);
                Ok(Value::Map(entries.into()))
            }
            b'#' => match self.text.as_bytes().get(self.at + 1) {
                Some(b'{') => {
                    self.at += 1;
                    let mut elements = self.list(b'}', depth)?;
                    elements.sort_unstable();
                    elements.dedup();
                    Ok(Value::list(elements))
                }
                Some(b'#') => {
                    self.at += 2;
                    self.token();
                    Ok(Value::Number(self.text[start..self.at].into()))
                }
                Some(b'"') => {
                    // A regular expression, which Clojure prints although EDN has none.
                    self.at += 1;
                    self.string()
                }
                _ => {
                    self.at += 1;
                    if self.token().is_empty() {
                        return Err(self.unexpected("a tag's name"));
                    }
                    self.value_at(depth + 1)
                }
            },
            b':' => match self.token() {
                ":" => Err(Flaw::new(start, "this keyword has no name", "a keyword such as :read")),
                keyword => Ok(Value::text(&keyword[1..])),
            },
            _ => match self.token() {
                "" => Err(self.unexpected("a value")),
                "nil" => Ok(Value::Null),
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                token if is_number(token) => number(token)
                    .ok_or_else(|| Flaw::new(start, format!("{token} is no number"), "a number of EDN")),
                symbol => Ok(Value::text(symbol)),
            },
        }
    }

    fn list(&mut self, end: u8, depth: u32) -> Result<Vec<Value>, Flaw> {
        let open = self.at;
        self.at += 1;
        let mut list = Vec::with_capacity(2);
        loop {
            self.space_at(depth)?;
            if self.byte() == end {
                self.at += 1;
                return Ok(list);
            }
            if self.is_over() {
                return Err(Flaw::new(
                    open,
                    "this bracket is never closed",
                    "its counterpart before the text ends",
                ));
            }
            list.push(self.value_at(depth + 1)?);
        }
    }

    fn string(&mut self) -> Result<Value, Flaw> {
        let open = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let Some(length) = memchr::memchr2(b'"', b'\\', rest) else {
                return Err(Flaw::new(open, "this string has no end", "a closing quote"));
            };
            text.push_str(&self.text[self.at..self.at + length]);
            self.at += length + 1;
            if rest[length] == b'"' {
                return Ok(Value::Text(text.into()));
            }
            text.push(self.escape()?);
        }
    }

    /// What follows a backslash within a string.
    fn escape(&mut self) -> Result<char, Flaw> {
        let at = self.at - 1;
        let wrong = || Flaw::new(at, "this escape means nothing", "\\t \\r \\n \\b \\f \\\\ \\\" \\uXXXX");
        self.at += 1;
        Ok(match self.text.as_bytes().get(self.at - 1) {
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'n') => '\n',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'\\') => '\\',
            Some(b'"') => '"',
            Some(b'u') => {
                let first = self.unit().ok_or_else(wrong)?;
                let mut units = vec![first];
                if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u") {
                    self.at += 2;
                    units.push(self.unit().ok_or_else(wrong)?);
                }
                match char::decode_utf16(units).next() {
                    Some(Ok(character)) => character,
                    _ => return Err(wrong()),
                }
            }
            _ => return Err(wrong()),
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u16> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            u16::from_str_radix(digits, 16).ok()
        } else {
            None
        }
    }

    /// `\a`, `\newline`, `\u0041`.
    fn character(&mut self) -> Result<Value, Flaw> {
        let start = self.at;
        self.at += 1;
        let Some(first) = self.text[self.at..].chars().next() else {
            return Err(self.unexpected("a character"));
        };
        self.at += first.len_utf8();
        if first.is_alphanumeric() {
            self.token();
        }
        let name = &self.text[start + 1..self.at];
        let wrong = || {
            Flaw::new(start, format!("\\{name} is no character"), "\\a, \\newline, \\space, \\tab, \\uXXXX")
        };
        Ok(Value::text(match name {
            "newline" => "\n",
            "space" => " ",
            "tab" => "\t",
            "return" => "\r",
            "formfeed" => "\u{c}",
            "backspace" => "\u{8}",
            name if name.chars().nth(1).is_none() => name,
            name => {
                let digits = name
                    .strip_prefix('u')
                    .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                let character = code.and_then(char::from_u32).ok_or_else(wrong)?;
                return Ok(Value::Text(character.to_string().into()));
            }
        }))
    }
}

fn is_number(token: &str) -> bool {
    token.trim_start_matches(['+', '-']).starts_with(|first: char| first.is_ascii_digit())
}

/// A number: whole ones as such if they fit, all others as they are written, without the letter that tells
/// how exact Clojure keeps them.
fn number(token: &str) -> Option<Value> {
    let unsigned = token.strip_prefix(['+', '-']).unwrap_or(token);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let whole = |text: &str| digits(text) && (text == "0" || !text.starts_with('0'));
    let text = token.strip_prefix('+').unwrap_or(token);
    if let Some(exact) = unsigned.strip_suffix('N').or(Some(unsigned)).filter(|text| whole(text)) {
        let text = &text[..text.len() - (unsigned.len() - exact.len())];
        return Some(text.parse().map_or_else(|_| Value::Number(text.into()), Value::Int));
    }
    if let Some((above, below)) = unsigned.split_once('/') {
        return (digits(above) && digits(below)).then(|| Value::Number(text.into()));
    }
    let exact = unsigned.strip_suffix('M').unwrap_or(unsigned);
    let (mantissa, exponent) = exact.split_once(['e', 'E']).unwrap_or((exact, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let is_float = whole(before)
        && (after.is_empty() || digits(after))
        && digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    is_float.then(|| Value::Number(text[..text.len() - (unsigned.len() - exact.len())].into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_edn_is_read() {
        let value =
            |text: &str| Edn::new(text).value().map(|value| value.to_string()).map_err(|flaw| flaw.message);
        for (text, expected) in [
            ("[nil true false :a/b sym -7 +7 5N]", "[null,true,false,\"a/b\",\"sym\",-7,7,5]"),
            ("#{3 1 2 1}", "[1,2,3]"),
            ("(1, 2 ; and no more\n)", "[1,2]"),
            ("{:b 1 \"a\" [] 3 4}", "{\"3\":4,\"a\":[],\"b\":1}"),
            ("[\\a \\newline \\space \\u0041 \\( \\é]", "[\"a\",\"\\n\",\" \",\"A\",\"(\",\"é\"]"),
            (
                r#""a\"\\\n\u00e9\ud83d\ude00
b""#,
                r#""a\"\\\né😀\nb""#,
            ),
            ("#inst \"2020-01-01\"", "\"2020-01-01\""),
            ("#_ #_ 1 2 #object[a.B 5 \"c\"]", "[\"a.B\",5,\"c\"]"),
            ("#:jepsen{:a 1}", "{\"a\":1}"),
        ] {
            assert_eq!(value(text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["1.5", "-1e9", "99999999999999999999"] {
            assert_eq!(Edn::new(text).value(), Ok(Value::Number(text.into())));
        }
        assert_eq!(Edn::new("1.50M").value(), Ok(Value::Number("1.50".into())));
        assert_eq!(
            Edn::new("99999999999999999999N").value(),
            Ok(Value::Number("99999999999999999999".into()))
        );
        assert_eq!(Edn::new("-1/3").value(), Ok(Value::Number("-1/3".into())));
        assert_eq!(Edn::new("##NaN").value(), Ok(Value::Number("##NaN".into())));
        assert_eq!(value("{:a}").unwrap_err(), "this map has a key without a value");
        assert_eq!(value(&"#_".repeat(100_000)).unwrap_err(), "lists within lists go too deep");
        assert_eq!(value(&"[".repeat(100_000)).unwrap_err(), "lists within lists go too deep");
        assert_eq!(value(&"#a ".repeat(100_000)).unwrap_err(), "lists within lists go too deep");
    }
}
