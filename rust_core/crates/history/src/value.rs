//! Values as histories hold them, each kept once.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use crate::{Map, Mix};

/// An argument or a result, whichever format it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// Nothing: JSON's `null`, EDN's `nil`.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number, as it was written.
    Number(Box<str>),
    /// A string; a keyword or symbol of EDN without its colon.
    Text(Box<str>),
    /// A list, vector or set.
    List(Box<[Value]>),
    /// A map, sorted by key.
    Map(Box<[(Value, Value)]>),
}

impl Value {
    /// The elements, if it is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// The number, if it is whole.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value under a key, if it is a map.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Map(entries) => {
                entries.iter().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// A list of values.
    pub fn list(values: impl IntoIterator<Item = Value>) -> Value {
        Value::List(values.into_iter().collect())
    }

    /// A text.
    pub fn text(text: &str) -> Value {
        Value::Text(text.into())
    }
}

impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Value {
        use serde_json::Value as Json;
        match json {
            Json::Null => Value::Null,
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Number(number) => match number.as_i64() {
                Some(whole) => Value::Int(whole),
                None => Value::Number(number.to_string().into()),
            },
            Json::String(text) => Value::text(text),
            Json::Array(list) => Value::list(list.iter().map(Value::from)),
            Json::Object(entries) => {
                let mut entries: Vec<(Value, Value)> =
                    entries.iter().map(|(name, value)| (Value::text(name), Value::from(value))).collect();
                entries.sort_unstable();
                Value::Map(entries.into())
            }
        }
    }
}

impl From<&Value> for serde_json::Value {
    fn from(value: &Value) -> serde_json::Value {
        use serde_json::Value as Json;
        match value {
            Value::Null => Json::Null,
            Value::Bool(truth) => Json::Bool(*truth),
            Value::Int(number) => Json::from(*number),
            Value::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| Json::from(text.as_ref())),
            Value::Text(text) => Json::from(text.as_ref()),
            Value::List(list) => Json::Array(list.iter().map(Json::from).collect()),
            Value::Map(entries) => Json::Object(
                entries
                    .iter()
                    .map(|(name, value)| {
                        (name.as_text().map_or_else(|| name.to_string(), str::to_owned), Json::from(value))
                    })
                    .collect(),
            ),
        }
    }
}

/// As JSON.
impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Value::Null => formatter.write_str("null"),
            Value::Int(number) => write!(formatter, "{number}"),
            other => write!(formatter, "{}", serde_json::Value::from(other)),
        }
    }
}

/// A value's number in [`Values`].
pub type ValueId = u32;

/// Values, each once, numbered from 0 in the order in which they first came. Number 0 is [`Value::Null`].
#[derive(Clone, Debug)]
pub struct Values {
    list: Vec<Value>,
    /// Numbers, at the places that their values' hashes give, or the next free ones (open addressing): a map
    /// would hold every value a second time. Its length is a power of two.
    table: Vec<ValueId>,
    pairs: Map<ValueId, (ValueId, ValueId)>,
}

/// A place in the table without a number.
const FREE: ValueId = ValueId::MAX;

impl Default for Values {
    fn default() -> Values {
        Values { list: vec![Value::Null], table: vec![FREE; 16], pairs: Map::default() }
    }
}

impl Values {
    /// The number of [`Value::Null`].
    pub const NULL: ValueId = 0;

    /// The number of this value; a new one if it never came before.
    pub fn number(&mut self, value: Value) -> ValueId {
        match value {
            Value::Null => Values::NULL,
            Value::Int(whole) => self.integer(whole),
            other => match self.find(&other) {
                Some(known) => known,
                None => {
                    let pair = match other.as_list() {
                        Some([first, second]) => {
                            Some((self.number(first.clone()), self.number(second.clone())))
                        }
                        _ => None,
                    };
                    let new = self.add(other);
                    if let Some(pair) = pair {
                        self.pairs.insert(new, pair);
                    }
                    new
                }
            },
        }
    }

    /// As [`Values::number`], for a whole number.
    pub fn integer(&mut self, whole: i64) -> ValueId {
        let value = Value::Int(whole);
        match self.find(&value) {
            Some(known) => known,
            None => self.add(value),
        }
    }

    /// The number of a value that has come before.
    pub fn find(&self, value: &Value) -> Option<ValueId> {
        if *value == Value::Null {
            return Some(Values::NULL);
        }
        let mask = self.table.len() - 1;
        let mut place = place(value) & mask;
        loop {
            match self.table[place] {
                FREE => return None,
                number if self.list[number as usize] == *value => return Some(number),
                _ => place = (place + 1) & mask,
            }
        }
    }

    /// A new number for a value that has none.
    fn add(&mut self, value: Value) -> ValueId {
        // At most three places in four are taken.
        if self.list.len() >= self.table.len() / 4 * 3 {
            self.table = vec![FREE; 2 * self.table.len()];
            for number in 1..self.list.len() {
                self.place(number as ValueId);
            }
        }
        let new = self.list.len() as ValueId;
        self.list.push(value);
        self.place(new);
        new
    }

    /// Puts a number that the table has not to its place there.
    fn place(&mut self, number: ValueId) {
        let mask = self.table.len() - 1;
        let mut place = place(&self.list[number as usize]) & mask;
        while self.table[place] != FREE {
            place = (place + 1) & mask;
        }
        self.table[place] = number;
    }

    /// The numbers of a list's two elements, if this is such a list: what a compare-and-set takes.
    pub fn pair(&self, number: ValueId) -> Option<(ValueId, ValueId)> {
        self.pairs.get(&number).copied()
    }

    /// The value of this number.
    pub fn get(&self, number: ValueId) -> &Value {
        &self.list[number as usize]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Never: null is always there.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// Where in a table the search for a value begins; its lower bits count.
fn place(value: &Value) -> usize {
    let mut mix = Mix::default();
    match value {
        Value::Int(whole) => mix.write_i64(*whole),
        other => other.hash(&mut mix),
    }
    mix.finish() as usize
}

/// Strings, each once, numbered from 0 in the order in which they first came.
#[derive(Clone, Debug, Default)]
pub struct Names {
    list: Vec<Box<str>>,
    numbers: Map<Box<str>, u32>,
}

impl Names {
    /// The number of this name; a new one if it never came before.
    pub fn number(&mut self, name: &str) -> u32 {
        if let Some(known) = self.numbers.get(name) {
            return *known;
        }
        let new = self.list.len() as u32;
        self.list.push(name.into());
        self.numbers.insert(name.into(), new);
        new
    }

    /// The number of a name that has come before.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The name of this number.
    pub fn get(&self, number: u32) -> &str {
        &self.list[number as usize]
    }

    /// All names, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(AsRef::as_ref)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_number() {
        let mut values = Values::default();
        let list = || Value::list([Value::Int(1), Value::text("a"), Value::Null]);
        let numbers: Vec<ValueId> =
            [Value::Int(7), list(), Value::Null, Value::text("7"), Value::Int(7), list()]
                .into_iter()
                .map(|value| values.number(value))
                .collect();
        assert_eq!(numbers, [1, 2, 0, 3, 1, 2]);
        let pair = values.number(Value::list([Value::Int(7), Value::Int(8)]));
        assert_eq!(values.pair(pair), Some((1, values.number(Value::Int(8)))));
        assert_eq!(values.pair(2), None);
        assert_eq!(values.get(2).to_string(), "[1,\"a\",null]");
    }

    #[test]
    fn many_values_keep_their_numbers() {
        let mut values = Values::default();
        let value = |n: u32| match n % 3 {
            0 => Value::Int(i64::from(n) << 20),
            1 => Value::text(&n.to_string()),
            _ => Value::list([Value::Int(i64::from(n) << 20), Value::Bool(true), Value::Null]),
        };
        let numbers: Vec<ValueId> = (0..5_000).map(|n| values.number(value(n))).collect();
        assert_eq!(numbers, Vec::from_iter(1..=5_000));
        assert!((0..5_000).all(|n| values.number(value(n)) == n + 1 && *values.get(n + 1) == value(n)));
        assert_eq!(values.len(), 5_001);
    }

    #[test]
    fn json_survives_the_way_here_and_back() {
        let json = serde_json::json!({"b": [1, null, 2.5, "x"], "a": {"true": true}});
        assert_eq!(serde_json::Value::from(&Value::from(&json)), json);
    }
}
