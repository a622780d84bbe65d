//! Reads transactions out of a history, or says which operation is none.

use mcp_chaos_history::{Ending, History, Map, Value};

/// What a micro-operation does.
#[derive(Clone, Copy)]
pub(crate) enum Act<'h> {
    Append(&'h Value),
    /// What was read; `None` where nobody saw the answer.
    Read(Option<&'h [Value]>),
}

#[derive(Clone, Copy)]
pub(crate) struct Micro<'h> {
    pub key: u32,
    pub act: Act<'h>,
}

pub(crate) struct Transaction {
    /// Where its micro-operations begin; they end where the next transaction's begin.
    first: u32,
    pub ending: Ending,
}

/// Transactions, numbered as the history's operations.
pub(crate) struct Input<'h> {
    pub history: &'h History,
    pub transactions: Vec<Transaction>,
    pub keys: Vec<&'h Value>,
    micros: Vec<Micro<'h>>,
}

/// An operation that is no transaction over lists.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "operation {operation} (event {event}): {why}; expected a list of [\"append\", key, value] and \
     [\"r\", key, list]"
)]
pub struct Malformed {
    /// Its number in the history, from 0.
    pub operation: usize,
    /// The position of the event that says so.
    pub event: u32,
    /// What is wrong with it.
    pub why: String,
}

/// How many micro-operations there are, roughly: what is malformed counts as none.
pub(crate) fn size(history: &History) -> usize {
    let listed = |id| history.values.get(id).as_list().map_or(0, <[Value]>::len);
    history.operations.iter().map(|operation| listed(operation.argument)).sum()
}

impl<'h> Input<'h> {
    pub fn read(history: &'h History) -> Result<Input<'h>, Malformed> {
        let mut input = Input { history, transactions: Vec::new(), keys: Vec::new(), micros: Vec::new() };
        let mut numbers: Map<&'h Value, u32> = Map::default();
        for (number, operation) in history.operations.iter().enumerate() {
            let first = input.micros.len() as u32;
            let argument = history.values.get(operation.argument);
            let malformed = |event, why| Malformed { operation: number, event, why };
            let asked = argument.as_list().ok_or_else(|| {
                malformed(operation.invoked_at, format!("its argument is {}", brief(argument)))
            })?;
            let answered = if operation.ending == Ending::Ok {
                let result = history.values.get(operation.result);
                let answered = result.as_list().filter(|answered| answered.len() == asked.len());
                Some(answered.ok_or_else(|| {
                    malformed(
                        operation.completed_at,
                        format!(
                            "its result {} has not as many micro-operations as its argument",
                            brief(result)
                        ),
                    )
                })?)
            } else {
                None
            };
            for (at, micro) in asked.iter().enumerate() {
                let (key, act) = micro_operation(micro).ok_or_else(|| {
                    malformed(
                        operation.invoked_at,
                        format!("its argument has the micro-operation {}", brief(micro)),
                    )
                })?;
                let act = match (act, answered.map(|answered| &answered[at])) {
                    (Act::Append(_), Some(answer)) if answer != micro => {
                        return Err(malformed(
                            operation.completed_at,
                            format!("it was asked for {} and answered {}", brief(micro), brief(answer)),
                        ));
                    }
                    (Act::Read(_), Some(answer)) => match micro_operation(answer) {
                        Some((same, Act::Read(list))) if same == key => Act::Read(Some(list.unwrap_or(&[]))),
                        _ => {
                            return Err(malformed(
                                operation.completed_at,
                                format!("it was asked for {} and answered {}", brief(micro), brief(answer)),
                            ));
                        }
                    },
                    (Act::Read(_), None) => Act::Read(None),
                    (append, _) => append,
                };
                let new = input.keys.len() as u32;
                let key = *numbers.entry(key).or_insert_with(|| {
                    input.keys.push(key);
                    new
                });
                input.micros.push(Micro { key, act });
            }
            input.transactions.push(Transaction { first, ending: operation.ending });
        }
        Ok(input)
    }

    pub fn micros(&self, transaction: u32) -> &[Micro<'h>] {
        let first = self.transactions[transaction as usize].first as usize;
        let end = self
            .transactions
            .get(transaction as usize + 1)
            .map_or(self.micros.len(), |next| next.first as usize);
        &self.micros[first..end]
    }
}

fn micro_operation(value: &Value) -> Option<(&Value, Act<'_>)> {
    let [f, key, value] = value.as_list()? else { return None };
    match (f.as_text()?, value) {
        ("append", value) => Some((key, Act::Append(value))),
        ("r", Value::Null) => Some((key, Act::Read(None))),
        ("r", value) => Some((key, Act::Read(Some(value.as_list()?)))),
        _ => None,
    }
}

/// A value in a message: not more than a line of it.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
