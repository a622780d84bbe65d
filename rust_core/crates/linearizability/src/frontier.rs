//! A frontier of configurations moved along a history, moment by moment, for any model. See the module `window`
//! for how.

use crate::{
    engine::{Answer, Engine, Progress, Survivor},
    machine::Machine,
    problem::{Moment, Problem, Step},
    window::{Entry, Trouble, Window, Worked},
};

/// The engine that knows the first operation that cannot be explained, and what survived until then.
pub struct Frontier<'a, K: Machine> {
    steps: &'a [Step],
    moments: &'a [Moment],
    machine: K,
    window: Result<Window, Trouble>,
    at: usize,
    is_inside: bool,
    answer: Option<Answer>,
    failure: Option<String>,
}

impl<'a, K: Machine> Frontier<'a, K> {
    /// Begins. It holds at most `memory_bytes`; it can tell a witness only if it is to `remember` one, which
    /// takes eight bytes for each step in each order that is still possible.
    pub fn new<A>(
        problem: &'a Problem<A>,
        mut machine: K,
        memory_bytes: u64,
        remember: bool,
    ) -> Frontier<'a, K> {
        Frontier {
            steps: &problem.steps,
            moments: &problem.moments,
            window: Window::new(&mut machine, memory_bytes, remember),
            machine,
            at: 0,
            is_inside: false,
            answer: None,
            failure: None,
        }
    }

    fn go(&mut self, fuel: u64) -> Result<Progress, Trouble> {
        let window = self.window.as_mut().map_err(|trouble| trouble.clone())?;
        let until = window.steps_taken.saturating_add(fuel);
        loop {
            if !self.is_inside {
                match self.moments.get(self.at) {
                    None => return Ok(Progress::Done(Answer::Linearizable)),
                    Some(Moment::Invoke(number)) => {
                        let Step { action, required, .. } = self.steps[*number as usize];
                        window.invoke(&mut self.machine, Entry { step: *number, action, required })?;
                    }
                    Some(Moment::Return(number)) => window.complete(*number),
                }
                window.steps_taken += 1;
                self.is_inside = true;
            }
            match window.work(&mut self.machine, until)? {
                Worked::Running => return Ok(Progress::Running),
                Worked::Explained => {
                    self.is_inside = false;
                    self.at += 1;
                }
                Worked::Inexplicable => {
                    return Ok(Progress::Done(Answer::Inexplicable { moment: self.at, is_first: true }));
                }
            }
            if window.steps_taken >= until {
                return Ok(Progress::Running);
            }
        }
    }
}

impl<K: Machine> Engine for Frontier<'_, K> {
    fn name(&self) -> &'static str {
        "frontier"
    }

    fn advance(&mut self, fuel: u64) -> Progress {
        if let Some(answer) = self.answer {
            return Progress::Done(answer);
        }
        let progress =
            self.go(fuel).unwrap_or_else(|trouble| Progress::Done(trouble.into_answer(&mut self.failure)));
        if let Progress::Done(answer) = progress {
            self.answer = Some(answer);
        }
        progress
    }

    fn steps(&self) -> u64 {
        self.window.as_ref().map_or(0, |window| window.steps_taken)
    }

    fn bytes(&self) -> u64 {
        self.window.as_ref().map_or(0, |window| window.bytes(&self.machine))
    }

    fn verified(&self) -> usize {
        self.at
    }

    fn survivors(&self) -> Vec<Survivor> {
        match (&self.answer, &self.window) {
            (Some(Answer::Inexplicable { .. }), Ok(window)) => window.survivors(&self.machine),
            _ => Vec::new(),
        }
    }

    fn witness(&self) -> Option<Vec<u32>> {
        match (&self.answer, &self.window) {
            (Some(Answer::Linearizable), Ok(window)) => window.order(),
            _ => None,
        }
    }

    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}
