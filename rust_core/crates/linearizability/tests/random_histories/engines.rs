//! Every engine that there is for a model.

use mcp_chaos_history::{History, Value};
use mcp_chaos_linearizability::{
    Answer, Engine, Model, ModelOptions, Moment, Progress, Visitor, prepare, with_model,
};

use crate::{object::Object, plain::Plain};

/// What an engine found.
#[derive(Clone, Debug)]
pub struct Found {
    pub engine: &'static str,
    pub answer: Answer,
    /// The position of the event at which it failed, if it did.
    pub failed_at: Option<usize>,
    /// How many events it says are explained.
    pub verified: usize,
    /// Operations in an order that is said to explain them.
    pub witness: Option<Vec<usize>>,
    pub steps: u64,
}

/// The options of the model that objects of this kind, beginning as this one, are judged by.
pub fn options<O: Object>(initial: &O, parted: Option<bool>) -> ModelOptions {
    ModelOptions {
        initial: initial.initial().as_ref().map(Value::from),
        missing: O::missing().as_ref().map(Value::from),
        parted,
    }
}

/// Lets every engine decide the history of these of its operations. `fuel` is what each gets at a time.
pub fn run_all(
    model: &str,
    options: &ModelOptions,
    history: &History,
    operations: &[u32],
    fuel: u64,
) -> Vec<Found> {
    with_model(model, options, All { history, operations, fuel }).expect("a known model")
}

/// Lets the plainest engine alone decide it: whether it is linearizable.
pub fn is_linearizable(model: &str, options: &ModelOptions, history: &History) -> bool {
    with_model(model, options, PlainAlone(history)).expect("a known model")
}

struct PlainAlone<'a>(&'a History);

impl Visitor for PlainAlone<'_> {
    type Output = bool;

    fn visit<M: Model + 'static>(self, model: M) -> bool {
        let keys: Vec<Vec<u32>> = parts(self.0, model.by_key());
        keys.into_iter().all(|operations| {
            let problem = prepare(self.0, operations, &model).unwrap();
            let mut engine = Plain::new(&model, &problem);
            loop {
                if let Progress::Done(answer) = engine.advance(1) {
                    return answer == Answer::Linearizable;
                }
            }
        })
    }
}

/// The operations of each key, or all in one.
pub fn parts(history: &History, by_key: bool) -> Vec<Vec<u32>> {
    let count = if by_key { history.keys.len() } else { 1 };
    let mut parts = vec![Vec::new(); count];
    for (number, operation) in (0..).zip(&history.operations) {
        parts[if by_key { operation.key as usize } else { 0 }].push(number);
    }
    parts
}

struct All<'a> {
    history: &'a History,
    operations: &'a [u32],
    fuel: u64,
}

impl Visitor for All<'_> {
    type Output = Vec<Found>;

    fn visit<M: Model + 'static>(self, model: M) -> Vec<Found> {
        let problem = prepare(self.history, self.operations.iter().copied(), &model).unwrap();
        let at = |moment: usize| match problem.moments[moment] {
            Moment::Invoke(step) => {
                self.operation(problem.steps[step as usize].operation).invoked_at as usize
            }
            Moment::Return(step) => {
                self.operation(problem.steps[step as usize].operation).completed_at as usize
            }
        };
        let operation = |step: u32| problem.steps[step as usize].operation as usize;
        vec![self.run(&mut Plain::new(&model, &problem), at, operation)]
    }
}

impl All<'_> {
    fn operation(&self, number: u32) -> &mcp_chaos_history::Operation {
        &self.history.operations[number as usize]
    }

    /// Runs an engine to its end; `at` gives the position of a moment's event, `operation` a step's operation.
    fn run(
        &self,
        engine: &mut dyn Engine,
        at: impl Fn(usize) -> usize,
        operation: impl Fn(u32) -> usize,
    ) -> Found {
        let answer = loop {
            if let Progress::Done(answer) = engine.advance(self.fuel) {
                break answer;
            }
            assert!(engine.steps() < 10_000_000, "{} does not come to an end", engine.name());
        };
        Found {
            engine: engine.name(),
            answer,
            failed_at: match answer {
                Answer::Inexplicable { moment, .. } => Some(at(moment)),
                _ => None,
            },
            verified: engine.verified().checked_sub(1).map_or(0, |last| at(last) + 1),
            witness: engine.witness().map(|steps| steps.into_iter().map(&operation).collect()),
            steps: engine.steps(),
        }
    }
}
