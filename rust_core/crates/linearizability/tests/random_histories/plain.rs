//! The plainest engine: all configurations that explain the history so far, moved along event by event, with
//! nothing left out. So the models are tested by themselves, whatever the engines do.

use mcp_chaos_history::Set;
use mcp_chaos_linearizability::{Answer, Engine, Model, Moment, Problem, Progress, Survivor};

pub struct Plain<'a, M: Model> {
    model: &'a M,
    problem: &'a Problem<M::Action>,
    /// State, and which of the steps have taken effect.
    configurations: Vec<(M::State, u64)>,
    open: Vec<u32>,
    moment: usize,
    /// All configurations right before the last completion.
    before: Vec<(M::State, u64)>,
}

impl<'a, M: Model> Plain<'a, M> {
    pub fn new(model: &'a M, problem: &'a Problem<M::Action>) -> Plain<'a, M> {
        assert!(problem.steps.len() <= 64, "small histories only");
        Plain {
            model,
            problem,
            configurations: vec![(model.initial(), 0)],
            open: Vec::new(),
            moment: 0,
            before: Vec::new(),
        }
    }

    /// What is wrong with configurations that another engine says survived until right before the failure that this
    /// one has found too, their steps given as operations: each must be one of those that there are. Registers' own
    /// engines are not `is_exact`: they have words of their own for why, and forget of a write whose value nobody finds
    /// any more whether it took effect.
    pub fn refute(&self, survivors: &[Survivor], is_exact: bool) -> Option<String> {
        let Some(Moment::Return(failed)) = self.problem.moments.get(self.moment) else {
            return Some("nothing failed".into());
        };
        let failed = &self.problem.steps[*failed as usize];
        let in_flight: u64 = self.open.iter().map(|step| 1 << step).sum();
        survivors.iter().find_map(|survivor| {
            let places = self.problem.steps.iter().enumerate();
            let done: u64 = places
                .filter(|(_, step)| survivor.done.contains(&step.operation))
                .map(|(place, _)| 1 << place)
                .sum();
            let mut same = self.before.iter().filter(|(state, spent)| {
                let spent = if is_exact { spent & in_flight } else { spent & done };
                spent == done && self.model.state_in_words(state) == survivor.state
            });
            let action = &self.problem.actions[failed.action as usize];
            let is_told =
                same.any(|(state, _)| !is_exact || self.model.why_not(state, action) == survivor.why);
            (!is_told).then(|| format!("there is no configuration {survivor:?}"))
        })
    }

    /// Adds every configuration that a step in flight leads to.
    fn close(&mut self) {
        let mut known: Set<(M::State, u64)> = self.configurations.iter().cloned().collect();
        let mut at = 0;
        while let Some((state, done)) = self.configurations.get(at).cloned() {
            for step in &self.open {
                let bit = 1 << step;
                let mut next = Vec::new();
                if done & bit == 0 {
                    let action = &self.problem.actions[self.problem.steps[*step as usize].action as usize];
                    self.model.step(&state, action, &mut next);
                    let stays = next.iter().all(|after| *after == state);
                    assert!(
                        stays || !self.model.is_observer(action),
                        "{action:?} observes, and changes {state:?}"
                    );
                    if next.is_empty() {
                        assert!(!self.model.why_not(&state, action).is_empty());
                    }
                }
                for after in next {
                    let configuration = (after, done | bit);
                    if known.insert(configuration.clone()) {
                        self.configurations.push(configuration);
                    }
                }
            }
            at += 1;
        }
    }
}

impl<M: Model> Engine for Plain<'_, M> {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn advance(&mut self, _fuel: u64) -> Progress {
        match self.problem.moments.get(self.moment) {
            None => return Progress::Done(Answer::Linearizable),
            Some(Moment::Invoke(step)) => self.open.push(*step),
            Some(Moment::Return(step)) => {
                self.close();
                self.before.clone_from(&self.configurations);
                self.configurations.retain(|(_, done)| done & (1 << step) != 0);
                self.open.retain(|other| other != step);
            }
        }
        if self.configurations.is_empty() {
            return Progress::Done(Answer::Inexplicable { moment: self.moment, is_first: true });
        }
        self.moment += 1;
        Progress::Running
    }

    fn steps(&self) -> u64 {
        self.moment as u64
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn verified(&self) -> usize {
        self.moment
    }
}
