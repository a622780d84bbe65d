//! Histories that are linearizable by construction, longer than any brute force could judge: an order of operations
//! is drawn first, then an interval around each one's place in it. Whoever calls one of them inexplicable is wrong.

use mcp_chaos_history::History;

use super::{
    DepthFirst, Frontier, ZoneSearch,
    frontier::Narrow,
    histories::{Action, Draws, End, Events, histories, prepared},
    prepare::Register,
};
use crate::{
    engine::{Answer, Engine, Progress},
    machine::Interned,
    models, problem,
};

/// A register's operation at its place in the order.
struct Placed {
    action: Action,
    end: End,
    /// True: no completion is recorded at all.
    vanishes: bool,
    begins: u64,
    ends: u64,
}

/// Distance between two places: room for the ends of intervals between them.
const APART: u64 = 1_000;

fn order(draws: &mut Draws) -> Vec<Placed> {
    let longest = [6, 12, 24][draws.below(3) as usize];
    let operations = 4 + draws.below(longest);
    let values = 2 + draws.below(3) as i64;
    let writes = 1 + draws.below(6);
    let unknown_one_in = [3, 8, 1_000_000][draws.below(3) as usize];
    let ghosts_one_in = [3, 8, 1_000_000][draws.below(3) as usize];
    let spread = 1 + draws.below(8);
    let tight = 1 + draws.below(2);
    let mut register = 0;
    let mut order = Vec::new();
    for place in 1..=operations {
        let value = |draws: &mut Draws| draws.below(values as u64) as i64;
        let action = match draws.below(4 + writes) {
            0 | 1 => Action::Read,
            2 | 3 => {
                let expected = if draws.one_in(4) { value(draws) } else { register };
                Action::Cas(expected, value(draws))
            }
            _ => Action::Write(value(draws)),
        };
        // A ghost is of unknown outcome, and never takes effect.
        let is_ghost = action != Action::Read && draws.one_in(ghosts_one_in);
        let end = match action {
            _ if is_ghost => End::Unknown,
            _ if draws.one_in(20) => End::Unavailable,
            Action::Read => End::Found(register),
            Action::Cas(expected, _) if expected != register => End::Mismatch,
            Action::Cas(_, new) | Action::Write(new) => {
                register = new;
                if draws.one_in(unknown_one_in) { End::Unknown } else { End::Ok }
            }
        };
        // Where most intervals are short, few orders are possible, and none of them may be missed.
        let reach = |draws: &mut Draws| match draws.below(3) {
            0 => draws.below(spread * APART),
            _ => draws.below(APART / tight),
        };
        let at = place * APART;
        order.push(Placed {
            action,
            end,
            vanishes: end == End::Unknown && draws.one_in(2),
            begins: at.saturating_sub(reach(draws)),
            ends: at + reach(draws),
        });
    }
    order
}

fn history(order: &[Placed]) -> History {
    let mut edges: Vec<(u64, bool, usize)> = order
        .iter()
        .enumerate()
        .flat_map(|(number, placed)| [(placed.begins, false, number), (placed.ends, true, number)])
        .collect();
    // Of events at the same time beginnings come first: intervals only grow by that.
    edges.sort_unstable();
    let mut events = Events::new();
    let mut numbers = vec![usize::MAX; order.len()];
    for (_, is_end, number) in edges {
        match is_end {
            false => numbers[number] = events.invoke(order[number].action),
            true if order[number].vanishes => {}
            true => events.end(numbers[number], order[number].end),
        }
    }
    events.history()
}

fn answer(engine: &mut dyn Engine, fuel: u64) -> Answer {
    loop {
        if let Progress::Done(answer) = engine.advance(fuel) {
            return answer;
        }
    }
}

fn words(history: &History) -> String {
    let operation = |operation: &mcp_chaos_history::Operation| {
        format!(
            "{} {} {:?} {} [{}, {}]",
            history.function(operation),
            history.values.get(operation.argument),
            operation.ending,
            history.values.get(operation.result),
            operation.invoked_at,
            operation.completed_at
        )
    };
    history.operations.iter().map(operation).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_was_made_from_an_order_is_linearizable() {
    let number = histories(15_000);
    let mut decided_by_zones = 0;
    for seed in 0..number {
        let mut draws = Draws::new(seed, "orders");
        let mut history = history(&order(&mut draws));
        let register: Register = prepared(&mut history);
        let fuel = 1 + draws.below(60);
        let narrow = Narrow { window: 1 << draws.below(7), families: 1 << draws.below(12) };
        let mut engines: Vec<(&str, Box<dyn Engine + '_>)> = vec![
            ("frontier", Box::new(Frontier::narrow(&register, &history, 1 << 24, narrow))),
            ("depth-first", Box::new(DepthFirst::new(&register, 1 << 24))),
        ];
        for (name, engine) in &mut engines {
            let answer = answer(engine.as_mut(), fuel);
            assert_eq!(answer, Answer::Linearizable, "{name}, seed {seed}, {narrow:?}\n{}", words(&history));
        }
        match answer(&mut ZoneSearch::new(&register, &history, 1 << 24), fuel) {
            Answer::Linearizable => decided_by_zones += 1,
            other => assert_eq!(other, Answer::NotApplicable, "zones, seed {seed}\n{}", words(&history)),
        }
    }
    assert!(decided_by_zones > 0, "no history of values that are written once");
}

#[test]
fn any_model_s_engines_find_it_linearizable_too() {
    let number = histories(3_000);
    let model = models::Register { initial: mcp_chaos_history::Value::Int(0), cas: true };
    for seed in 0..number {
        let mut draws = Draws::new(seed, "orders");
        let history = history(&order(&mut draws));
        let problem = problem::prepare(&history, 0..history.operations.len() as u32, &model).unwrap();
        let machine = || Interned::new(&model, &problem);
        let mut engines: Vec<(&str, Box<dyn Engine + '_>)> = vec![
            ("frontier", Box::new(crate::Frontier::new(&problem, machine(), 1 << 26, false))),
            ("depth-first", Box::new(crate::DepthFirst::new(&problem, machine(), 1 << 26))),
        ];
        for (name, engine) in &mut engines {
            let answer = answer(engine.as_mut(), 1 << 14);
            assert_eq!(answer, Answer::Linearizable, "{name}, seed {seed}\n{}", words(&history));
        }
    }
}
