//! Nodes are numbered from 1 inside, and named `n1`, `n2`, … wherever a person may read them.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// A node's number, from 1. 0 means no node.
pub type NodeId = u64;

/// The name by which scenarios, traces and reports call a node: `n3` for 3.
pub fn node_name(id: NodeId) -> String {
    format!("n{id}")
}

/// The number behind a name; `None` where the name is not of the form `n<positive integer>`.
pub fn parse_node_name(name: &str) -> Option<NodeId> {
    name.strip_prefix('n')?.parse().ok().filter(|id| *id > 0)
}

pub(crate) mod one {
    use super::*;
    pub fn serialize<S: Serializer>(id: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("n{id}"))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NodeId, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        parse_node_name(&text)
            .ok_or_else(|| D::Error::custom(format!("expected a node name such as n1, found {text:?}")))
    }
}

pub(crate) mod option {
    use super::*;
    pub fn serialize<S: Serializer>(id: &Option<NodeId>, serializer: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => super::one::serialize(id, serializer),
            None => serializer.serialize_none(),
        }
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NodeId>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        parse_node_name(&text)
            .map(Some)
            .ok_or_else(|| D::Error::custom(format!("expected a node name such as n1, found {text:?}")))
    }
}

pub(crate) mod list {
    use super::*;
    pub fn serialize<S: Serializer>(ids: &[NodeId], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ids.iter().map(|id| node_name(*id)))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NodeId>, D::Error> {
        Vec::<String>::deserialize(deserializer)?
            .iter()
            .map(|text| {
                parse_node_name(text).ok_or_else(|| {
                    D::Error::custom(format!("expected a node name such as n1, found {text:?}"))
                })
            })
            .collect()
    }
}
