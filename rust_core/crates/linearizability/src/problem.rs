//! A history as engines see it: numbered actions, and the order of invocations and completions.

use mcp_chaos_history::{Ending, History, Map};

use crate::{
    model::{Call, Model, Reading},
    models::value_bytes,
};

/// An operation that constrains the order, or may take part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// A number in [`Problem::actions`].
    pub action: u32,
    /// True: it took effect between invocation and completion. False: at any time after its invocation, or
    /// never.
    pub required: bool,
    /// Its number among the history's operations.
    pub operation: u32,
}

/// An invocation or a completion, by the step's number. Steps that are not required never complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The step may take effect from now on.
    Invoke(u32),
    /// The step has taken effect.
    Return(u32),
}

/// What is to be decided: one object's history.
#[derive(Debug)]
pub struct Problem<A> {
    /// Different actions.
    pub actions: Vec<A>,
    /// In the order of their invocations.
    pub steps: Vec<Step>,
    /// In the order of the history.
    pub moments: Vec<Moment>,
    /// The most steps ever open at once.
    pub width: usize,
}

impl<A> Problem<A> {
    /// Which of the history's operations a step stands for.
    pub(crate) fn operation_of(&self, step: u32) -> u32 {
        self.steps[step as usize].operation
    }

    /// What it takes to prepare these of the history's operations, at most. What actions hold outside themselves is
    /// taken for what the values of their operations do, each once.
    pub(crate) fn bytes_for(history: &History, operations: &[u32]) -> u64 {
        let mut counted = vec![false; history.values.len()];
        let values = operations.iter().flat_map(|number| {
            let operation = &history.operations[*number as usize];
            [operation.argument, operation.result]
        });
        let outside: usize = values
            .filter(|value| !std::mem::replace(&mut counted[*value as usize], true))
            .map(|value| value_bytes(history.values.get(value)))
            .sum();
        let operations = operations.len();
        // Actions say what is done with which argument, and what came of it. While they are numbered they are held
        // twice, and the table of their numbers may be growing.
        let actions = operations.min(4 * history.values.len());
        (actions * (2 * size_of::<A>() + 3 * (size_of::<(A, u32)>() + 1))) as u64
            + (operations * size_of::<Step>()) as u64
            + moments_bytes(history, operations)
            + outside as u64
    }

    /// Memory held, in bytes. What actions hold outside themselves is taken for what the values of their operations do.
    pub(crate) fn bytes(&self, history: &History) -> u64 {
        let values = |step: &Step| {
            let operation = &history.operations[step.operation as usize];
            [operation.argument, operation.result].map(|value| value_bytes(history.values.get(value)))
        };
        let outside: usize = self.steps.iter().flat_map(values).sum();
        // Equal actions are held once.
        let outside = outside as u64 / self.steps.len().max(1) as u64 * self.actions.len() as u64;
        outside
            + (self.actions.capacity() * size_of::<A>()
                + self.steps.capacity() * size_of::<Step>()
                + self.moments.capacity() * size_of::<Moment>()) as u64
    }
}

/// What [`moments`] takes for so many steps: the moments themselves, ends in their order, positions of events.
pub(crate) fn moments_bytes(history: &History, steps: usize) -> u64 {
    let ends = size_of::<(u32, u32)>() * steps;
    let positions =
        if lies_dense(history, steps) { size_of::<u32>() * history.events as usize } else { ends };
    (2 * size_of::<Moment>() * steps + ends + positions) as u64
}

/// Whether so many steps are a good part of the history.
fn lies_dense(history: &History, steps: usize) -> bool {
    steps > history.events as usize / 8
}

/// Prepares those of the history's operations that are numbered in `operations` (ascending).
///
/// # Errors
/// An operation that makes no sense to the model: its number, and what was expected.
pub fn prepare<M: Model>(
    history: &History,
    operations: impl IntoIterator<Item = u32>,
    model: &M,
) -> Result<Problem<M::Action>, (u32, String)> {
    let mut numbers: Map<M::Action, u32> = Map::default();
    let mut problem = Problem { actions: Vec::new(), steps: Vec::new(), moments: Vec::new(), width: 0 };
    let operations = operations.into_iter();
    problem.steps.reserve_exact(operations.size_hint().1.unwrap_or(0));
    for number in operations {
        let operation = &history.operations[number as usize];
        let reading = model.read(&Call::of(history, operation)).map_err(|why| (number, why))?;
        let (action, required) = match reading {
            Reading::Certain(action) => (action, true),
            Reading::Possible(action) => (action, false),
            Reading::Nothing => continue,
        };
        debug_assert!(
            !required || operation.ending != Ending::Unknown,
            "an unknown outcome is never certain"
        );
        let next = problem.actions.len() as u32;
        let action = *numbers.entry(action).or_insert_with_key(|action| {
            problem.actions.push(action.clone());
            next
        });
        problem.steps.push(Step { action, required, operation: number });
    }
    (problem.moments, problem.width) =
        moments(history, &problem.steps, |step| (step.operation, step.required));
    Ok(problem)
}

/// The invocations and completions of steps, given in the order of their invocations, in the order of the history;
/// and the most steps ever open at once. `about` tells a step's operation, and whether it is required: one that is
/// not never ends.
pub(crate) fn moments<S>(
    history: &History,
    steps: &[S],
    about: impl Fn(&S) -> (u32, bool),
) -> (Vec<Moment>, usize) {
    let operation = |step: &S| &history.operations[about(step).0 as usize];
    let ends = (0_u32..).zip(steps).filter(|(_, step)| about(step).1);
    let returns =
        in_order(history, steps.len(), ends.map(|(number, step)| (operation(step).completed_at, number)));
    let mut moments = Vec::with_capacity(steps.len() + returns.len());
    let mut returns = returns.into_iter().peekable();
    let (mut open, mut width) = (0_usize, 0_usize);
    for (number, step) in (0_u32..).zip(steps) {
        let invoked_at = operation(step).invoked_at;
        while let Some((_, ended)) = returns.next_if(|(completed_at, _)| *completed_at < invoked_at) {
            moments.push(Moment::Return(ended));
            open -= 1;
        }
        moments.push(Moment::Invoke(number));
        open += 1;
        width = width.max(open);
    }
    moments.extend(returns.map(|(_, ended)| Moment::Return(ended)));
    (moments, width)
}

/// Ends of some of so many steps, each at an event of its own, by these events.
fn in_order(history: &History, steps: usize, ends: impl Iterator<Item = (u32, u32)>) -> Vec<(u32, u32)> {
    // Those that are most of the history are laid out by the positions of its events, in one go.
    if lies_dense(history, steps) {
        let mut at = vec![u32::MAX; history.events as usize];
        ends.for_each(|(completed_at, number)| at[completed_at as usize] = number);
        let mut returns = Vec::with_capacity(steps);
        returns.extend((0..).zip(at).filter(|(_, number)| *number != u32::MAX));
        return returns;
    }
    let mut returns: Vec<(u32, u32)> = ends.collect();
    returns.sort_unstable();
    returns
}
