//! The models there are, by name.
//!
//! States share what they have in common ([`chain`], [`tree`], [`rope`]): a search holds thousands of them at once,
//! each one change away from another.

mod chain;
mod counter;
mod key_value;
mod lock;
mod log;
mod queue;
mod register;
mod registry;
mod rope;
mod set;
mod tree;
mod versioned;

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use mcp_chaos_history::{Mix, Value};

pub use self::{
    counter::Counter,
    key_value::{KeyValue, Missing},
    lock::Lock,
    log::Log,
    queue::{Bag, Queue},
    register::Register,
    registry::Registry,
    set::Set,
    versioned::{Versioned, VersionedRegister},
};
use crate::model::{Call, Model, Reading};

/// What people should know of a model.
#[derive(Clone, Copy, Debug)]
pub struct ModelInfo {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// The functions that it knows. A history with any other is not for it.
    pub functions: &'static [&'static str],
    /// Errors with which an operation of one of these functions fails and that constrain the order all the same.
    /// Every other failure says nothing.
    pub observations: &'static [(&'static str, &'static str)],
    /// Whether each key is judged apart, if nothing else is asked for.
    pub parted_by_key: bool,
}

/// All of them.
pub const MODELS: &[ModelInfo] = &[
    ModelInfo {
        name: "register",
        about: "one value, read and written",
        functions: &["read", "write"],
        observations: &[],
        parted_by_key: true,
    },
    ModelInfo {
        name: "cas-register",
        about: "one value, read, written, compared and set",
        functions: &["read", "write", "cas"],
        observations: &[("cas", "mismatch")],
        parted_by_key: true,
    },
    ModelInfo {
        name: "versioned-register",
        about: "one value and a version that counts its changes, as in etcd",
        functions: &["read", "write", "cas", "cas-version"],
        observations: &[("cas", "mismatch"), ("cas-version", "mismatch")],
        parted_by_key: true,
    },
    ModelInfo {
        name: "key-value",
        about: "a map from keys to values, which may be texts that are appended to",
        functions: &["get", "read", "put", "write", "append", "delete", "cas"],
        observations: &[("cas", "mismatch"), ("delete", "not-found")],
        parted_by_key: true,
    },
    ModelInfo {
        name: "log",
        about: "a list that is only appended to",
        functions: &["append", "read", "read-at", "length"],
        observations: &[("read-at", "out-of-range")],
        parted_by_key: true,
    },
    ModelInfo {
        name: "counter",
        about: "a whole number that is added to",
        functions: &["add", "increment", "decrement", "add-and-get", "read"],
        observations: &[],
        parted_by_key: true,
    },
    ModelInfo {
        name: "set",
        about: "elements, each in it or not",
        functions: &["add", "remove", "contains", "read"],
        observations: &[("add", "exists"), ("remove", "not-found")],
        parted_by_key: true,
    },
    ModelInfo {
        name: "queue",
        about: "first in, first out",
        functions: &["enqueue", "dequeue"],
        observations: &[("dequeue", "empty")],
        parted_by_key: true,
    },
    ModelInfo {
        name: "bag",
        about: "a queue without an order",
        functions: &["enqueue", "dequeue"],
        observations: &[("dequeue", "empty")],
        parted_by_key: true,
    },
    ModelInfo {
        name: "lock",
        about: "a lock or a lease, perhaps with fencing tokens",
        functions: &["acquire", "release", "renew", "expire", "read"],
        observations: &[("acquire", "held"), ("release", "not-held"), ("renew", "not-held")],
        parted_by_key: true,
    },
    ModelInfo {
        name: "registry",
        about: "the registry of MCP servers that this project's nodes replicate",
        functions: &["register", "deregister", "set_state", "lookup", "list"],
        observations: &[("deregister", "not_found"), ("set_state", "not_found"), ("lookup", "not_found")],
        parted_by_key: false,
    },
];

/// The model of this name, if there is one.
pub fn model_info(name: &str) -> Option<&'static ModelInfo> {
    MODELS.iter().find(|model| model.name == name)
}

/// What may be said of a model beside its name. What a model has no use for must not be said.
#[derive(Clone, Debug, Default)]
pub struct ModelOptions {
    /// What the object holds at the beginning, as a read of it answers; for `key-value` a map, for `queue` and
    /// `bag` a list, for `lock` the holder. Not for `registry`.
    pub initial: Option<Value>,
    /// Whether each key is judged apart, for `key-value` and `registry`.
    pub parted: Option<bool>,
    /// What a key that is not there reads as, for `key-value`: null or `""`.
    pub missing: Option<Value>,
}

/// Does something with a model, whichever type it has.
pub trait Visitor {
    /// What comes out of it.
    type Output;

    /// Does it.
    fn visit<M: Model + Clone + 'static>(self, model: M) -> Self::Output;
}

/// A model that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelError {
    /// There is none of this name.
    Unknown {
        /// The name asked for.
        name: String,
        /// The name that is most like it.
        nearest: &'static str,
    },
    /// It has no such option, or not with this value.
    Option {
        /// The model.
        model: &'static str,
        /// What was expected, and what was found.
        why: String,
    },
}

impl fmt::Display for ModelError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ModelError::Unknown { name, nearest } => {
                write!(formatter, "there is no model {name:?}: did you mean {nearest:?}?")
            }
            ModelError::Option { model, why } => write!(formatter, "model {model}: {why}"),
        }
    }
}

impl std::error::Error for ModelError {}

/// Lets the visitor visit the model of this name.
///
/// # Errors
/// There is no such model, or an option is not for it.
pub fn with_model<V: Visitor>(
    name: &str,
    options: &ModelOptions,
    visitor: V,
) -> Result<V::Output, ModelError> {
    let Some(info) = model_info(name) else {
        let nearest = MODELS.iter().min_by_key(|model| distance(model.name, name));
        return Err(ModelError::Unknown {
            name: name.into(),
            nearest: nearest.map_or("", |model| model.name),
        });
    };
    let refused = |why: String| ModelError::Option { model: info.name, why };
    if options.parted.is_some() && !matches!(name, "key-value" | "registry") {
        return Err(refused("its keys are always judged apart".into()));
    }
    if options.missing.is_some() && name != "key-value" {
        return Err(refused("only key-value can be told what a missing key reads as".into()));
    }
    let initial = options.initial.clone();
    let list = || match &initial {
        None => Ok(Vec::new()),
        Some(Value::List(list)) => Ok(list.to_vec()),
        Some(other) => Err(refused(format!("it begins with a list, not {other}"))),
    };
    Ok(match info.name {
        "register" => visitor.visit(Register { initial: initial.unwrap_or_default(), cas: false }),
        "cas-register" => visitor.visit(Register { initial: initial.unwrap_or_default(), cas: true }),
        "versioned-register" => visitor.visit(VersionedRegister {
            initial: match initial.as_ref().map(|initial| (initial, initial.as_list())) {
                None => Versioned::default(),
                Some((_, Some([Value::Int(version), value]))) => {
                    Versioned { version: *version, value: value.clone() }
                }
                Some((other, _)) => {
                    return Err(refused(format!("it begins with [version, value], not {other}")));
                }
            },
        }),
        "key-value" => visitor.visit(KeyValue {
            parted: options.parted.unwrap_or(info.parted_by_key),
            missing: match &options.missing {
                None | Some(Value::Null) => Missing::Null,
                Some(Value::Text(text)) if text.is_empty() => Missing::EmptyText,
                Some(other) => {
                    return Err(refused(format!("a missing key reads as null or \"\", not as {other}")));
                }
            },
            initial: match initial {
                None => Vec::new(),
                Some(Value::Map(entries)) => entries
                    .iter()
                    .map(|(key, value)| {
                        (key.as_text().map_or_else(|| key.to_string(), str::to_owned).into(), value.clone())
                    })
                    .collect(),
                Some(other) => return Err(refused(format!("it begins with a map, not {other}"))),
            },
        }),
        "log" => visitor.visit(Log { initial: list()?.into(), ..Log::default() }),
        "counter" => visitor.visit(Counter {
            initial: match &initial {
                None => 0,
                Some(initial) => whole_number("what it begins with", initial).map_err(refused)?,
            },
        }),
        "set" => visitor.visit(Set { initial: list()? }),
        "queue" => visitor.visit(Queue { initial: list()? }),
        "bag" => visitor.visit(Bag { initial: list()? }),
        "lock" => visitor.visit(Lock { holder: initial.filter(|holder| *holder != Value::Null) }),
        _ if initial.is_some() => return Err(refused("it begins empty".into())),
        _ => visitor.visit(Registry { parted: options.parted.unwrap_or(info.parted_by_key) }),
    })
}

/// How many letters must be put in, taken out or changed to make one name of the other (Levenshtein).
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, other) in two.iter().enumerate() {
            let change = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[two.len()]
}

/// A number that equal values share.
fn digest<T: Hash>(value: &T) -> u64 {
    let mut mix = Mix::default();
    value.hash(&mut mix);
    mix.finish()
}

/// A function that the model does not know. It may have changed the object: passing over it could make the
/// verdict wrong either way.
fn unknown_function<A>(call: &Call, model: &str) -> Result<Reading<A>, String> {
    let functions = model_info(model).map_or(&[][..], |info| info.functions);
    Err(format!("model {model} knows {}, not {}", functions.join(", "), call.f))
}

/// The two elements of the argument.
fn pair<'a>(call: &Call<'a>, expected: &str) -> Result<(&'a Value, &'a Value), String> {
    match call.argument.as_list() {
        Some([first, second]) => Ok((first, second)),
        _ => Err(format!("a {} takes {expected}, not {}", call.f, call.argument)),
    }
}

/// The elements of an answer that must be a list.
fn elements<'a>(f: &str, answer: &'a Value) -> Result<&'a [Value], String> {
    answer.as_list().ok_or_else(|| format!("a {f} answers a list, not {answer}"))
}

fn whole_number(what: &str, value: &Value) -> Result<i64, String> {
    value.as_int().ok_or_else(|| format!("{what} is a whole number, not {value}"))
}

/// The value in words, not too many.
fn words(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= MOST {
        return text;
    }
    // The end of a long list or text tells most: that is where it grew.
    let head: String = text.chars().take(MOST / 3).collect();
    let tail: Vec<char> = text.chars().rev().take(MOST - MOST / 3).collect();
    format!("{head}…{}", tail.iter().rev().collect::<String>())
}

/// Memory that a value holds beyond its own size, in bytes.
pub(crate) fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Int(_) => 0,
        Value::Number(text) | Value::Text(text) => text.len() + 16,
        Value::List(list) => {
            list.iter().map(|element| size_of::<Value>() + value_bytes(element)).sum::<usize>() + 16
        }
        Value::Map(entries) => {
            let entry = |(key, value): &(Value, Value)| {
                size_of::<(Value, Value)>() + value_bytes(key) + value_bytes(value)
            };
            entries.iter().map(entry).sum::<usize>() + 16
        }
    }
}

#[cfg(test)]
mod tests {
    use mcp_chaos_history::Outcome;

    use super::*;

    /// Which of the model's functions it takes for its own.
    struct Knows;

    impl Visitor for Knows {
        type Output = Vec<&'static str>;

        fn visit<M: Model + 'static>(self, model: M) -> Vec<&'static str> {
            let all = MODELS.iter().flat_map(|info| info.functions).copied();
            all.filter(|f| {
                let call = Call { f, key: "", argument: &Value::Null, outcome: Outcome::Fail(None) };
                model.read(&call).is_ok()
            })
            .collect()
        }
    }

    #[test]
    fn every_model_knows_the_functions_that_the_table_lists() {
        for info in MODELS {
            let mut knows = with_model(info.name, &ModelOptions::default(), Knows).unwrap();
            knows.sort_unstable();
            knows.dedup();
            let mut listed = info.functions.to_vec();
            listed.sort_unstable();
            assert_eq!(knows, listed, "{}", info.name);
            assert!(info.observations.iter().all(|(f, _)| listed.contains(f)), "{}", info.name);
        }
    }

    /// Whether keys are judged apart.
    struct ByKey;

    impl Visitor for ByKey {
        type Output = bool;

        fn visit<M: Model + 'static>(self, model: M) -> bool {
            model.by_key()
        }
    }

    #[test]
    fn keys_are_judged_apart_as_the_table_says_or_as_asked_for() {
        let options = |parted| ModelOptions { parted, ..ModelOptions::default() };
        for info in MODELS {
            assert_eq!(with_model(info.name, &options(None), ByKey), Ok(info.parted_by_key), "{}", info.name);
        }
        for name in ["key-value", "registry"] {
            assert_eq!(with_model(name, &options(Some(false)), ByKey), Ok(false));
            assert_eq!(with_model(name, &options(Some(true)), ByKey), Ok(true));
        }
    }

    #[test]
    fn a_model_that_cannot_be_had_is_refused_with_a_reason() {
        let refused =
            |name: &str, options: ModelOptions| with_model(name, &options, ByKey).unwrap_err().to_string();
        let plain = ModelOptions::default;
        assert_eq!(
            refused("cas-regster", plain()),
            "there is no model \"cas-regster\": did you mean \"cas-register\"?"
        );
        assert_eq!(
            refused("set", ModelOptions { initial: Some(Value::Int(3)), ..plain() }),
            "model set: it begins with a list, not 3"
        );
        assert_eq!(
            refused("log", ModelOptions { parted: Some(false), ..plain() }),
            "model log: its keys are always judged apart"
        );
        assert_eq!(
            refused("registry", ModelOptions { initial: Some(Value::list([])), ..plain() }),
            "model registry: it begins empty"
        );
    }

    #[test]
    fn long_values_are_told_by_their_ends() {
        let text = "x".repeat(100) + "end";
        let told = words(&Value::text(&text));
        assert_eq!(told.chars().count(), 61);
        assert!(told.starts_with("\"xxx") && told.ends_with("xxend\""), "{told}");
        assert_eq!(words(&Value::list([Value::Int(1), Value::Null])), "[1,null]");
    }
}
