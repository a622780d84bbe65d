//! A history as engines see it: numbered actions, and the order of invocations and completions.

use mcp_chaos_history::{Ending, History, Map};

use crate::model::{Call, Model, Reading};

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
    problem.order(history);
    Ok(problem)
}

impl<A> Problem<A> {
    /// Fills in the moments and the width.
    fn order(&mut self, history: &History) {
        let at = |step: &Step| &history.operations[step.operation as usize];
        let mut returns: Vec<(u32, u32)> = (0_u32..)
            .zip(&self.steps)
            .filter(|(_, step)| step.required)
            .map(|(number, step)| (at(step).completed_at, number))
            .collect();
        returns.sort_unstable();
        self.moments.reserve_exact(self.steps.len() + returns.len());
        let mut returns = returns.into_iter().peekable();
        let mut open = 0_usize;
        for (number, step) in (0_u32..).zip(&self.steps) {
            let invoked_at = at(step).invoked_at;
            while let Some((_, ended)) = returns.next_if(|(completed_at, _)| *completed_at < invoked_at) {
                self.moments.push(Moment::Return(ended));
                open -= 1;
            }
            self.moments.push(Moment::Invoke(number));
            open += 1;
            self.width = self.width.max(open);
        }
        self.moments.extend(returns.map(|(_, ended)| Moment::Return(ended)));
    }
}
