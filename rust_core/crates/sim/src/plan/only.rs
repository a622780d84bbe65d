//! Which operations of a workload are done, where a plan leaves others out.

use std::collections::BTreeMap;

use mcp_chaos_evidence::{NodeId, OperationName};

use super::{MAX_OPERATION, PlanError};

/// The operations that are done, by number, ascending; no others are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    clients: BTreeMap<u32, Vec<u64>>,
    homes: BTreeMap<NodeId, Vec<u64>>,
}

impl Only {
    /// Reads a list of names, each of a client or node that there is, and each once.
    pub(crate) fn read(
        path: &str,
        names: Vec<String>,
        clients: u32,
        nodes: NodeId,
    ) -> Result<Only, PlanError> {
        let mut read = Vec::with_capacity(names.len());
        for (position, text) in names.iter().enumerate() {
            let known = OperationName::parse(text).filter(|name| match *name {
                OperationName::Client { client, number } => client <= clients && number <= MAX_OPERATION,
                OperationName::Home { node, number } => node <= nodes && number <= MAX_OPERATION,
            });
            let name = known.ok_or_else(|| {
                let expected = format!(
                    "expected c1.1 to c{clients}.{MAX_OPERATION} or n1.1 to n{nodes}.{MAX_OPERATION}"
                );
                PlanError::new(format!("{path}[{position}]"), format!("no operation {text:?}; {expected}"))
            })?;
            read.push((name, position));
        }
        read.sort_unstable();
        if let Some(pair) = read.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let (name, position) = pair[1];
            return Err(PlanError::new(format!("{path}[{position}]"), format!("{name} again: each once")));
        }
        let mut only = Only::default();
        for (name, _) in read {
            match name {
                OperationName::Client { client, number } => {
                    only.clients.entry(client).or_default().push(number);
                }
                OperationName::Home { node, number } => only.homes.entry(node).or_default().push(number),
            }
        }
        Ok(only)
    }

    /// The operations of a roaming client.
    pub fn of_client(&self, client: u32) -> &[u64] {
        self.clients.get(&client).map_or(&[], Vec::as_slice)
    }

    /// The slots of a node's home reader.
    pub fn of_home(&self, node: NodeId) -> &[u64] {
        self.homes.get(&node).map_or(&[], Vec::as_slice)
    }
}
