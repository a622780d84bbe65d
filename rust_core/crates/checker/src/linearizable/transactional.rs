//! Linearizability of transactions: strict serializability, judged by the `transactions` crate.

use mcp_chaos_evidence::node_name;
use mcp_chaos_history::History;
use mcp_chaos_linearizability::{Limits, Unwatched, Verdict};
use mcp_chaos_transactions::{Anomaly, Level, Report, check};
use serde_json::json;

use super::{CHECK, shape::Observed};
use crate::{
    Judgement,
    operations::{Operation, pair},
    words::seconds,
};

pub(super) fn judge(observed: &Observed, limits: &Limits) -> Judgement {
    let history = observed.history;
    let makes_no_sense =
        |why: String| Judgement::unknown(CHECK, format!("the history makes no sense: {why}"), json!({}));
    let operations = match pair(history) {
        Ok(operations) => operations,
        Err(why) => return makes_no_sense(why),
    };
    if operations.is_empty() {
        return Judgement::unknown(CHECK, "no transactions in the history", json!({}));
    }
    let checked = History::from_events(history).map_err(|error| error.to_string()).and_then(|compact| {
        check(&compact, Level::StrictSerializable, limits, &Unwatched).map_err(|error| error.to_string())
    });
    let report = match checked {
        Ok(report) => report,
        Err(why) => return makes_no_sense(why),
    };
    match (report.verdict, report.anomalies.first()) {
        (Verdict::Invalid, Some(worst)) => anomalous(&report, worst, &operations, observed),
        (Verdict::Valid, _) => {
            let until = history.last().map_or(0, |event| event.time_ns);
            let reason = format!(
                "{} transactions have an order that explains them, up to {}",
                report.transactions,
                seconds(until)
            );
            Judgement::valid(CHECK, reason, json!({"operations": report.transactions}))
        }
        _ => Judgement::unknown(CHECK, report.reason, json!({})),
    }
}

/// The transaction that was answered last of those that make no sense together is the one to look at.
fn anomalous(report: &Report, worst: &Anomaly, operations: &[Operation], observed: &Observed) -> Judgement {
    let named: Vec<Operation> =
        worst.transactions.iter().filter_map(|number| operations.get(*number as usize).copied()).collect();
    let blamed = named.iter().max_by_key(|operation| operation.ok().map(|_| operation.completed_at));
    let whole =
        |operation: &Operation| json!({"invoke": operation.invoke, "completion": operation.completion});
    let who: Vec<String> = worst
        .transactions
        .iter()
        .zip(&named)
        .map(|(number, operation)| format!("T{number}: {}", who(operation)))
        .collect();
    let evidence = json!({
        "key": blamed.map(|operation| &operation.invoke.key),
        "operation": blamed.map(whole),
        "concurrent": [],
        "possible_values": [],
        "overwritten_by": null,
        "is_first": false,
        "transactions": named.iter().map(whole).collect::<Vec<_>>(),
        "anomalies": report.anomalies,
    });
    let reason = format!("{}: {} ({})", worst.name, worst.says, who.join("; "));
    let word = word(worst.name);
    let shape = blamed.map_or(word, |blamed| observed.shape(&named, blamed, word));
    Judgement::invalid(CHECK, shape, reason, evidence)
}

/// `process 500 at n1 from 4.210 s to 4.213 s`: what it did the anomaly says.
fn who(operation: &Operation) -> String {
    let until = match operation.completion {
        Some(completion) => format!("to {}", seconds(completion.time_ns)),
        None => "on, never answered".to_owned(),
    };
    let node = operation.completion.unwrap_or(operation.invoke).node;
    let at = node.map_or(String::new(), |node| format!(" at {}", node_name(node)));
    format!("process {}{at} from {} {until}", operation.invoke.process, seconds(operation.invoke.time_ns))
}

/// As the literature calls it, in lower case.
fn word(anomaly: &str) -> &'static str {
    match anomaly {
        "garbage-read" => "garbage-read",
        "duplicate-elements" => "duplicate-elements",
        "incompatible-order" => "incompatible-order",
        "internal" => "internal",
        "G0" => "g0",
        "dirty-update" => "dirty-update",
        "G1a" => "g1a",
        "G1b" => "g1b",
        "G1c" => "g1c",
        "lost-update" => "lost-update",
        "G-single" => "g-single",
        "G2" => "g2",
        "G0-realtime" => "g0-realtime",
        "G1c-realtime" => "g1c-realtime",
        "G-single-realtime" => "g-single-realtime",
        "G2-realtime" => "g2-realtime",
        other => unreachable!("no anomaly of the literature: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{Verdict as Judged, testing::history};

    fn judged(text: &str, values: &[(usize, Value)]) -> Judgement {
        let mut events = history(text);
        for (at, value) in values {
            events[*at].value = value.clone();
        }
        let observed = Observed { history: &events, traces: &[] };
        judge(&observed, &Limits { memory_bytes: 1 << 24, steps: 1_000_000 })
    }

    #[test]
    fn a_read_that_misses_what_was_acknowledged_before_it_began_fires() {
        let text = "1 invoke txn; 1 ok txn; 9 invoke read_txn; 9 ok read_txn";
        let write = json!([["append", "k0", 4], ["append", "k1", 5]]);
        let read = |list: Value| {
            let values = [(0, write.clone()), (1, write.clone()), (2, json!([["r", "k1", null]]))];
            judged(text, &[&values[..], &[(3, json!([["r", "k1", list]]))]].concat())
        };
        assert_eq!(read(json!([5])).verdict, Judged::Valid);
        let stale = read(json!([]));
        assert_eq!((stale.verdict, stale.shape), (Judged::Invalid, Some("g-single-realtime".into())));
        assert!(stale.reason.contains("process 9"), "{}", stale.reason);
        assert_eq!(stale.evidence["operation"]["invoke"]["process"], 9);
        assert_eq!(read(json!([6])).shape, Some("garbage-read".into()));
    }

    #[test]
    fn half_a_transaction_fires_whichever_half_it_is() {
        let text = "1 invoke txn; 1 ok txn; 2 invoke txn; 3 invoke txn; 3 ok txn; 2 ok txn";
        let write = json!([["append", "k0", 4], ["append", "k1", 5]]);
        let asked = json!([["append", "k2", 8], ["r", "k0", null], ["r", "k1", null]]);
        let half = json!([["append", "k2", 8], ["r", "k0", [4]], ["r", "k1", []]]);
        let other = json!([["append", "k3", 9]]);
        let values = [(0, write.clone()), (1, write), (2, asked), (3, other.clone()), (4, other), (5, half)];
        assert_eq!(judged(text, &values).shape, Some("g-single".into()));
    }

    #[test]
    fn without_a_transaction_nothing_is_known() {
        assert_eq!(judged("", &[]).verdict, Judged::Unknown);
        assert_eq!(judged("1 invoke write 3; 1 ok write 3", &[]).verdict, Judged::Unknown);
    }
}
