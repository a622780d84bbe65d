//! A configuration as it stands in snapshot files and messages.
//!
//! Members that were removed are written only where there are any, behind a bit beside `auto_leave`: so what was
//! written before there were such members reads as it did, and is written as it was.

use mcp_chaos_evidence::NodeId;
use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::Configuration;

const NAME: &str = "Configuration";
const FIELDS: &[&str] = &["voters", "learners", "voters_outgoing", "learners_next", "flags", "removed"];
const AUTO_LEAVE: u8 = 1;
const REMOVED: u8 = 2;

impl Serialize for Configuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Configuration { voters, learners, voters_outgoing, learners_next, auto_leave, removed } = self;
        let has_removed = !removed.is_empty();
        let fields = FIELDS.len() - usize::from(!has_removed);
        let mut written = serializer.serialize_struct(NAME, fields)?;
        written.serialize_field(FIELDS[0], voters)?;
        written.serialize_field(FIELDS[1], learners)?;
        written.serialize_field(FIELDS[2], voters_outgoing)?;
        written.serialize_field(FIELDS[3], learners_next)?;
        let flags = if *auto_leave { AUTO_LEAVE } else { 0 } | if has_removed { REMOVED } else { 0 };
        written.serialize_field(FIELDS[4], &flags)?;
        if has_removed {
            written.serialize_field(FIELDS[5], removed)?;
        }
        written.end()
    }
}

impl<'de> Deserialize<'de> for Configuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Configuration, D::Error> {
        deserializer.deserialize_struct(NAME, FIELDS, Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Configuration;

    fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("a configuration")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Configuration, A::Error> {
        fn ids<'de, A: SeqAccess<'de>>(fields: &mut A) -> Result<Vec<NodeId>, A::Error> {
            fields.next_element()?.ok_or_else(|| de::Error::custom("a configuration that ends early"))
        }
        let [voters, learners, voters_outgoing, learners_next] =
            [ids(&mut fields)?, ids(&mut fields)?, ids(&mut fields)?, ids(&mut fields)?];
        let flags: u8 =
            fields.next_element()?.ok_or_else(|| de::Error::custom("a configuration that ends early"))?;
        if flags > AUTO_LEAVE | REMOVED {
            return Err(de::Error::custom("flags of a configuration that nobody writes"));
        }
        let removed = if flags & REMOVED == 0 { Vec::new() } else { ids(&mut fields)? };
        let auto_leave = flags & AUTO_LEAVE != 0;
        Ok(Configuration { voters, learners, voters_outgoing, learners_next, auto_leave, removed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_nobody_left_takes_the_bytes_it_always_took() {
        let plain = Configuration { voters: vec![1, 2, 3], learners: vec![4], ..Configuration::default() };
        let bytes = postcard::to_stdvec(&plain).unwrap();
        assert_eq!(bytes, [3, 1, 2, 3, 1, 4, 0, 0, 0]);
        assert_eq!(postcard::from_bytes::<Configuration>(&bytes).unwrap(), plain);
        let joint = Configuration {
            voters: vec![2, 4],
            voters_outgoing: vec![2, 3],
            auto_leave: true,
            removed: vec![1],
            ..Configuration::default()
        };
        let mut bytes = postcard::to_stdvec(&(joint.clone(), 9u8)).unwrap();
        assert_eq!(postcard::from_bytes::<(Configuration, u8)>(&bytes).unwrap(), (joint, 9));
        bytes[8] = 4;
        assert!(postcard::from_bytes::<(Configuration, u8)>(&bytes).is_err());
    }
}
