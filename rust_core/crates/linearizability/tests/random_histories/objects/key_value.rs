use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::{
    draws::Draws,
    object::{Asked, Object, Reply, Values},
};

/// A missing key reads as null, or as `""` if `EMPTY`.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyValue<const EMPTY: bool>(BTreeMap<&'static str, Json>);

#[derive(Clone, Debug)]
pub struct Op {
    key: &'static str,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Get,
    Put(Json),
    Append(String),
    Delete,
    Cas(Json, Json),
}

impl<const EMPTY: bool> KeyValue<EMPTY> {
    fn missing() -> Json {
        if EMPTY { json!("") } else { Json::Null }
    }

    fn get(&self, key: &str) -> Json {
        self.0.get(key).cloned().unwrap_or(Self::missing())
    }

    fn put(&self, key: &'static str, value: &Json) -> Self {
        let mut map = self.0.clone();
        match Self::plain(value) {
            value if value == Self::missing() => map.remove(key),
            value => map.insert(key, value),
        };
        KeyValue(map)
    }

    /// Null means that the key is not there.
    fn plain(value: &Json) -> Json {
        if value.is_null() { Self::missing() } else { value.clone() }
    }
}

fn value(values: &mut Values) -> Json {
    let number = values.new_value();
    match values.draws.below(8) {
        0 => Json::Null,
        1 => json!(""),
        2 | 3 => json!(number),
        _ => json!(format!("<{number}>")),
    }
}

impl<const EMPTY: bool> Object for KeyValue<EMPTY> {
    const MODEL: &'static str = "key-value";
    type Op = Op;

    fn begin(values: &mut Values) -> Self {
        let mut map = KeyValue(BTreeMap::new());
        if values.draws.one_in(4) {
            map = map.put("a", &value(values));
        }
        map
    }

    fn initial(&self) -> Option<Json> {
        (!self.0.is_empty()).then(|| json!(self.0))
    }

    fn missing() -> Option<Json> {
        EMPTY.then(|| json!(""))
    }

    fn ask(&self, values: &mut Values) -> Op {
        let key = *values.draws.one_of(&["a", "b"]);
        let new = value(values);
        let what = match values.draws.below(9) {
            0..=2 => What::Get,
            3 => What::Put(new),
            4..=6 => What::Append(values.draws.one_of(&["x", "y", "xy", ""]).to_string()),
            7 => What::Delete,
            _ if values.draws.one_in(2) => What::Cas(self.get(key), new),
            _ => What::Cas(value(values), new),
        };
        Op { key, what }
    }

    fn asked(op: &Op) -> Asked {
        let (f, argument) = match &op.what {
            What::Get => ("get", Json::Null),
            What::Put(new) => ("put", new.clone()),
            What::Append(text) => ("append", json!(text)),
            What::Delete => ("delete", Json::Null),
            What::Cas(expected, new) => ("cas", json!([expected, new])),
        };
        Asked { f, key: op.key, argument }
    }

    fn outcomes(&self, op: &Op) -> Vec<(Self, Reply)> {
        let held = self.get(op.key);
        let nothing = || Reply::Ok(Json::Null);
        vec![match &op.what {
            What::Get => (self.clone(), Reply::Ok(held)),
            What::Put(new) => (self.put(op.key, new), nothing()),
            What::Append(text) => match held {
                Json::Null => (self.put(op.key, &json!(text)), nothing()),
                Json::String(before) => (self.put(op.key, &json!(before + text)), nothing()),
                _ => (self.clone(), Reply::Refused("no text")),
            },
            What::Delete => (self.put(op.key, &Json::Null), Reply::Ok(json!(self.0.contains_key(op.key)))),
            What::Cas(expected, new) if Self::plain(expected) == held => (self.put(op.key, new), nothing()),
            What::Cas(..) => (self.clone(), Reply::Refused("mismatch")),
        }]
    }

    fn observations(op: &Op) -> &'static [&'static str] {
        match op.what {
            What::Delete => &["not-found", "not_found"],
            What::Cas(..) => &["mismatch"],
            _ => &[],
        }
    }

    fn agrees(op: &Op, told: &Reply, full: &Reply) -> bool {
        match (&op.what, told) {
            (What::Get, Reply::Ok(told)) => *full == Reply::Ok(Self::plain(told)),
            (What::Delete, Reply::Ok(Json::Null)) => true,
            (What::Delete, Reply::Refused(_)) => *full == Reply::Ok(json!(false)),
            _ => told == full,
        }
    }

    fn retold(op: &Op, reply: Reply, draws: &mut Draws) -> Reply {
        match (&op.what, &reply) {
            (What::Delete, Reply::Ok(_)) if draws.one_in(2) => Reply::Ok(Json::Null),
            (What::Delete, Reply::Ok(Json::Bool(false))) if draws.one_in(2) => Reply::Refused("not_found"),
            _ => reply,
        }
    }

    fn any_reply(op: &Op, values: &mut Values) -> Reply {
        match op.what {
            What::Get if values.draws.one_in(2) => {
                Reply::Ok(json!(values.draws.one_of(&["x", "y", "xy", "xyx"])))
            }
            What::Get => Reply::Ok(value(values)),
            What::Delete => match values.draws.below(4) {
                0 => Reply::Refused("not-found"),
                1 => Reply::Ok(Json::Null),
                answer => Reply::Ok(json!(answer == 2)),
            },
            What::Cas(..) if values.draws.one_in(2) => Reply::Refused("mismatch"),
            _ => Reply::Ok(Json::Null),
        }
    }
}
