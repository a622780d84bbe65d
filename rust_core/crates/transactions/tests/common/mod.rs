//! Small histories of transactions, as tests write and make them.

use mcp_chaos_history::{Ending, History, HistoryBuilder, Value};

/// What a micro-operation does to a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    Append(i64),
    /// What an `ok` transaction read.
    Read(Vec<i64>),
}

#[derive(Clone, Debug)]
pub struct Transaction {
    pub process: String,
    pub micros: Vec<(String, Act)>,
    pub ending: Ending,
    /// When it began and ended: any numbers, none of them twice.
    pub invoked: u32,
    pub completed: Option<u32>,
}

/// A history, in the order of the numbers at which its transactions begin and end.
pub fn history(transactions: &[Transaction]) -> History {
    let mut events: Vec<(u32, bool, &Transaction)> = Vec::new();
    for transaction in transactions {
        events.push((transaction.invoked, false, transaction));
        events.extend(transaction.completed.map(|at| (at, true, transaction)));
    }
    events.sort_by_key(|(at, ..)| *at);
    let mut builder = HistoryBuilder::new();
    for (at, ended, transaction) in events {
        let history = builder.history();
        let process = history.processes.number(&transaction.process);
        let f = history.functions.number("txn");
        let value = value(transaction, ended && transaction.ending == Ending::Ok);
        let value = history.values.number(value);
        if ended {
            builder.end(process, f, 0, transaction.ending, value, None, u64::from(at)).expect("it is open");
        } else {
            builder.invoke(process, f, 0, value, u64::from(at)).expect("it is not open");
        }
    }
    builder.finish()
}

fn value(transaction: &Transaction, answered: bool) -> Value {
    Value::list(transaction.micros.iter().map(|(key, act)| {
        let (f, value) = match act {
            Act::Append(value) => ("append", Value::Int(*value)),
            Act::Read(list) if answered => ("r", Value::list(list.iter().copied().map(Value::Int))),
            Act::Read(_) => ("r", Value::Null),
        };
        Value::list([Value::text(f), Value::text(key), value])
    }))
}

/// Reads transactions from text:
///
/// ```text
/// T0: append x 1, append x 2; T1 unknown: append y 3
/// T2: r x [1 2], r y []; T3 fails: append x 4
/// ```
///
/// Transactions of one line are concurrent; a line begins when the one above has ended (one of unknown
/// outcome never does). Names count from `T0`, as the checker's do.
#[allow(dead_code)] // Not every test file writes text.
pub fn parse(text: &str) -> Vec<Transaction> {
    let mut transactions: Vec<Transaction> = Vec::new();
    let mut now = 0;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let first = transactions.len();
        for part in line.split(';') {
            let (head, body) = part.trim().split_once(':').expect("NAME: micro-operations");
            let (name, outcome) = head.split_once(' ').unwrap_or((head, "ok"));
            assert_eq!(name, format!("T{}", transactions.len()), "names count from T0");
            let ending = match outcome {
                "ok" => Ending::Ok,
                "fails" => Ending::Fail,
                "unknown" => Ending::Unknown,
                other => panic!("no outcome: {other}"),
            };
            transactions.push(Transaction {
                process: format!("p{name}"),
                micros: body.split(',').map(micro).collect(),
                ending,
                invoked: now,
                completed: None,
            });
            now += 1;
        }
        for transaction in &mut transactions[first..] {
            if transaction.ending != Ending::Unknown {
                transaction.completed = Some(now);
                now += 1;
            }
        }
    }
    transactions
}

#[allow(dead_code)]
fn micro(text: &str) -> (String, Act) {
    let words: Vec<&str> = text.split([' ', '[', ']']).filter(|word| !word.is_empty()).collect();
    let number = |word: &&str| word.parse().expect("a number");
    match words[..] {
        ["append", key, ref value] => (key.into(), Act::Append(number(value))),
        ["r", key, ref list @ ..] => (key.into(), Act::Read(list.iter().map(number).collect())),
        _ => panic!("no micro-operation: {text}"),
    }
}
