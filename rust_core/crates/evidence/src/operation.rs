//! Names of a workload's operations, by which a plan leaves some out and a history says which is which.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::NodeId;

/// Which operation of the workload this is. `c3.12` in JSON for the 12th of client 3, `n2.7` for the 7th due read
/// of the reader at home at n2; both count from 1.
///
/// In order: clients first, then nodes, each with its numbers ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OperationName {
    /// Of a roaming client.
    Client {
        /// The client, from 1.
        client: u32,
        /// Its how manieth, from 1.
        number: u64,
    },
    /// Of a home reader.
    Home {
        /// The reader's node.
        node: NodeId,
        /// The how manieth time a read is due there, from 1.
        number: u64,
    },
}

impl OperationName {
    /// The operation of this name; `None` if it is none. There is one way to write each: `c03.1` is no name.
    pub fn parse(text: &str) -> Option<OperationName> {
        let (who, number) = text.split_at_checked(1)?.1.split_once('.')?;
        let number = positive(number)?;
        match text.as_bytes()[0] {
            b'c' => Some(OperationName::Client { client: positive(who)?.try_into().ok()?, number }),
            b'n' => Some(OperationName::Home { node: positive(who)?, number }),
            _ => None,
        }
    }
}

fn positive(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

impl fmt::Display for OperationName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OperationName::Client { client, number } => write!(formatter, "c{client}.{number}"),
            OperationName::Home { node, number } => write!(formatter, "n{node}.{number}"),
        }
    }
}

impl Serialize for OperationName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OperationName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OperationName, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        OperationName::parse(&text).ok_or_else(|| {
            D::Error::custom(format!("expected an operation's name such as c3.12 or n2.7, found {text:?}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_in_no_other_way() {
        for name in ["c1.1", "c499.1000000", "n3.27"] {
            assert_eq!(OperationName::parse(name).unwrap().to_string(), name);
        }
        let wrong = ["", "c", "c1", "c1.", ".1", "c0.1", "c1.0", "c01.1", "c1.01", "c+1.1", "c1.-1", "k1.1"];
        let wrong = wrong.into_iter().chain(["c1.1.1", "c1. 1", "é1.1", "c4294967296.1", "C1.1"]);
        for name in wrong {
            assert_eq!(OperationName::parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn clients_come_before_nodes_and_numbers_count_as_numbers() {
        let mut names: Vec<_> =
            ["n1.2", "c2.1", "c1.10", "n1.10", "c1.9"].map(|name| OperationName::parse(name).unwrap()).into();
        names.sort();
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["c1.9", "c1.10", "c2.1", "n1.2", "n1.10"]);
    }
}
