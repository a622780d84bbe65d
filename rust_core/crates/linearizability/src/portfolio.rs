//! Which algorithms decide a history, and in which order.
//!
//! A history is parted by key first (Herlihy and Wing 1990, theorem 1), then each part is given to the algorithms
//! that fit, in a race: for registers zones, which decide most histories of unique values in one sweep; the
//! frontier, which is linear where few operations are in flight; and a depth-first search, which does well
//! where much is open and some order exists. For other models the frontier and the depth-first search.
//!
//! Every key gets a little time first, then those that are left get the rest: a violation on an easy key is
//! found although another key is hopeless.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use mcp_chaos_history::{Ending, History, Operation, Value, ValueId};

use crate::{
    depth_first,
    engine::Answer,
    explain::{self, Failed, Possible},
    frontier,
    limits::{Limits, Stop, Watch},
    machine::Interned,
    minimal::{self, Decided, Question},
    model::{self, Call, Model},
    models::{self, ModelOptions, Visitor},
    problem::{self, Moment, Problem},
    race::{Course, Entrant, Exhausted, Finish},
    register::{
        self,
        prepare::{Register, Scratch, prepare_with},
    },
    report::{Minimal, OperationReport, Report, Timeline, Verdict, Verified},
};

/// The least steps that each key gets before any key gets more.
const FIRST_STEPS: u64 = 4_000_000;

/// Enough for zones, and for a frontier of a few configurations: what is ended is begun again later.
fn first_steps(operations: &[u32]) -> u64 {
    FIRST_STEPS.max(32 * operations.len() as u64)
}

/// Steps for which a search runs alone: far more than it takes where little is open at once.
fn head_start(moments: usize) -> u64 {
    400_000 + 400 * moments as u64
}

/// The most operations on one key whose alarm is looked at again.
const SECOND_OPINION_OPERATIONS: usize = 5_000;

/// Steps that the search for a witness may take for each key.
const ORDER_STEPS: u64 = 200_000_000;

/// Steps for each question about a part of an invalid history, beyond what its length takes.
const QUESTION_STEPS: u64 = 2_000_000;

/// What is wanted besides the verdict.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How the model is made.
    pub model: ModelOptions,
    /// For an invalid history: a smallest sub-history that is not linearizable. It has a budget of its own, as
    /// great as the check's.
    pub minimal: bool,
    /// An order that explains the history, or what of it can be explained.
    pub witness: bool,
    /// The operations around the failure (of a valid history: the first ones), at most so many, for a picture.
    pub timeline: Option<usize>,
    /// Only this algorithm (one of [`ALGORITHMS`]); none: all that fit.
    pub algorithm: Option<String>,
    /// Operations of functions that the model does not know are passed over: they are another object's. Otherwise
    /// they are an error, since they may have changed the object.
    pub passes_over: bool,
}

/// The algorithms, by the names under which reports count them.
pub const ALGORITHMS: &[&str] = &["zones", "frontier", "depth-first"];

/// Decides whether the history is linearizable under the model of this name.
///
/// # Errors
/// There is no such model or algorithm, or an operation makes no sense to the model: in words.
pub fn check(
    history: &History,
    model: &str,
    options: &Options,
    limits: &Limits,
    watch: &dyn Watch,
) -> Result<Report, String> {
    struct Run<'a>(Check<'a>);
    impl Visitor for Run<'_> {
        type Output = Result<Report, String>;
        fn visit<M: Model + 'static>(self, model: M) -> Result<Report, String> {
            let parted = model.by_key();
            // Registers have engines of their own. Their options were looked at like any other model's.
            match (&model as &dyn Any).downcast_ref::<models::Register>() {
                Some(register) => {
                    let registers = Registers::new(self.0.history, register);
                    self.0.run(&registers, parted)
                }
                None => self.0.run(&Modelled { model }, parted),
            }
        }
    }
    let check = Check::new(history, model, options, limits, watch)?;
    models::with_model(model, &options.model, Run(check)).map_err(|error| error.to_string())?
}

/// As [`check`], under a model of the caller's own.
///
/// # Errors
/// As [`check`].
pub fn check_model<M: Model>(
    history: &History,
    name: &str,
    model: M,
    options: &Options,
    limits: &Limits,
    watch: &dyn Watch,
) -> Result<Report, String> {
    let parted = model.by_key();
    Check::new(history, name, options, limits, watch)?.run(&Modelled { model }, parted)
}

/// What was found about one object, by the history's operations.
struct Found {
    answer: Result<Answer, Exhausted>,
    algorithm: &'static str,
    /// The operation whose completion failed, or at which the search stands.
    at: Option<u32>,
    /// Operations of certain outcome that ended within what is verified, and of how many.
    completed: (usize, usize),
    possible: Vec<Possible>,
    witness: Option<Vec<u32>>,
}

impl Found {
    /// Nothing, as no engine began.
    fn nothing(why: Exhausted) -> Found {
        Found {
            answer: Err(why),
            algorithm: "none",
            at: None,
            completed: (0, 0),
            possible: Vec::new(),
            witness: None,
        }
    }
}

/// A kind of object, with the engines that decide its histories.
trait Object {
    /// Lets the engines decide the operations given, within `steps`. An error names an operation that makes no
    /// sense, and what was expected.
    fn decide(
        &self,
        history: &History,
        operations: &[u32],
        course: &mut Course,
        race: &Race,
    ) -> Result<Found, (u32, String)>;

    /// Whether an operation leaves the object as it is.
    fn observes(&self, history: &History, operation: &Operation) -> bool;

    /// Whether its engines are others than any model's, by which their alarms are looked at again.
    fn needs_second_opinion(&self) -> bool {
        false
    }

    /// The initial value, if it is a register.
    fn register(&self) -> Option<&Value> {
        None
    }
}

/// What is wanted besides the answer: each takes zones time of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Nothing,
    Survivors,
    Order,
}

/// How a race is to be run.
struct Race<'a> {
    steps: u64,
    remember: bool,
    wanted: Wanted,
    algorithm: Option<&'a str>,
    /// Depth-first search begins.
    is_open: bool,
}

impl Race<'_> {
    fn wants(&self, algorithm: &str) -> bool {
        self.algorithm.is_none_or(|only| only == algorithm)
    }

    fn in_turn<'a>(&self, mut entrants: Vec<Entrant<'a>>) -> Vec<Entrant<'a>> {
        if self.is_open {
            entrants.reverse();
        }
        entrants
    }
}

/// Registers, whose engines are made for them.
struct Registers<'a> {
    model: &'a models::Register,
    /// The initial value's number among the history's.
    initial: ValueId,
    /// Of each of the history's functions, whether these engines know it.
    knows: Vec<bool>,
    scratch: RefCell<Scratch>,
}

impl<'a> Registers<'a> {
    fn new(history: &History, model: &'a models::Register) -> Registers<'a> {
        // A value that the history never names is as good as any other that it never names.
        let initial = history.values.find(&model.initial).unwrap_or(history.values.len() as ValueId);
        let knows = |f: &str| matches!(f, "read" | "write") || f == "cas" && model.cas;
        let knows = history.functions.iter().map(knows).collect();
        Registers { model, initial, knows, scratch: RefCell::default() }
    }

    /// Other functions, which the engines would pass over, are for the model to refuse.
    fn refuse_strangers(&self, history: &History, operations: &[u32]) -> Result<(), (u32, String)> {
        let operation = |number: u32| &history.operations[number as usize];
        let mut strangers =
            operations.iter().copied().filter(|number| !self.knows[operation(*number).f as usize]);
        strangers.try_for_each(|number| {
            self.model.read(&Call::of(history, operation(number))).map(|_| ()).map_err(|why| (number, why))
        })
    }
}

impl Object for Registers<'_> {
    fn decide(
        &self,
        history: &History,
        operations: &[u32],
        course: &mut Course,
        race: &Race,
    ) -> Result<Found, (u32, String)> {
        if race.remember {
            // These engines skip what nobody saw, and so know no whole order.
            return Modelled { model: self.model }.decide(history, operations, course, race);
        }
        self.refuse_strangers(history, operations)?;
        let scratch = &mut self.scratch.borrow_mut();
        if !course.has_room(Register::bytes_for(history, operations.len())) {
            return Ok(Found::nothing(Exhausted::Memory));
        }
        let stopped = Cell::new(None);
        let register = prepare_with(history, course.prepared(operations, &stopped), self.initial, scratch)?;
        if let Some(stop) = stopped.get() {
            return Ok(Found::nothing(Exhausted::Stopped(stop)));
        }
        let alone = head_start(register.moments.len());
        let mut entrants: Vec<Entrant> = Vec::new();
        if race.wants("zones") {
            entrants
                .push(Entrant::new(u64::MAX, |memory| register::ZoneSearch::new(&register, history, memory)));
        }
        if race.wants("frontier") {
            entrants.push(Entrant::new(alone, |memory| register::Frontier::new(&register, history, memory)));
        }
        if race.wants("depth-first") {
            entrants.push(Entrant::new(alone, |memory| register::DepthFirst::new(&register, memory)));
        }
        let prepared = register.bytes() + scratch.bytes();
        let finish = course.run(race.in_turn(entrants), race.steps, prepared);
        if matches!(finish, Finish::Exhausted(Exhausted::NotApplicable, _)) && race.algorithm.is_none() {
            // Too much at once for engines with a slot for each operation: those for any model have no such bound.
            drop(finish);
            drop(register);
            return Modelled { model: self.model }.decide(history, operations, course, race);
        }
        Ok(found(&register.moments, |step| register.steps[step as usize].operation, finish, race))
    }

    fn observes(&self, history: &History, operation: &Operation) -> bool {
        history.function(operation) == "read" || operation.ending == Ending::Fail
    }

    fn needs_second_opinion(&self) -> bool {
        true
    }

    fn register(&self) -> Option<&Value> {
        Some(&self.model.initial)
    }
}

/// Any model.
struct Modelled<M> {
    model: M,
}

impl<M: Model> Object for Modelled<M> {
    fn decide(
        &self,
        history: &History,
        operations: &[u32],
        course: &mut Course,
        race: &Race,
    ) -> Result<Found, (u32, String)> {
        if !course.has_room(Problem::<M::Action>::bytes_for(history, operations)) {
            return Ok(Found::nothing(Exhausted::Memory));
        }
        let stopped = Cell::new(None);
        let problem = problem::prepare(history, course.prepared(operations, &stopped), &self.model)?;
        if let Some(stop) = stopped.get() {
            return Ok(Found::nothing(Exhausted::Stopped(stop)));
        }
        let alone = head_start(problem.moments.len());
        let prepared = problem.bytes(history);
        let operation_of = |step| problem.operation_of(step);
        let alarm = if race.wants("depth-first")
            && let Some((model, told_by)) = self.model.informed(&problem.actions)
        {
            let entrant = Entrant::new(alone, |memory| {
                depth_first::DepthFirst::new(&problem, Interned::new(&model, &problem), memory)
            });
            let finish = course.run(vec![entrant], race.steps.min(alone), prepared);
            match finish {
                Finish::Answered(_, Answer::Linearizable) => {
                    return Ok(found(&problem.moments, operation_of, finish, race));
                }
                Finish::Answered(engine, Answer::Inexplicable { moment, .. }) => {
                    Some(alarm(&problem, engine.name(), moment, told_by))
                }
                _ => None,
            }
        } else {
            None
        };
        if race.wanted != Wanted::Survivors
            && let Some(alarm) = alarm
        {
            return Ok(alarm);
        }
        let mut entrants: Vec<Entrant> = Vec::new();
        let (problem, model, remember) = (&problem, &self.model, race.remember);
        if race.wants("frontier") {
            entrants.push(Entrant::new(alone, move |memory| {
                frontier::Frontier::new(problem, Interned::new(model, problem), memory, remember)
            }));
        }
        if race.wants("depth-first") {
            entrants.push(Entrant::new(alone, move |memory| {
                depth_first::DepthFirst::new(problem, Interned::new(model, problem), memory)
            }));
        }
        let finish = course.run(race.in_turn(entrants), race.steps, prepared);
        debug_assert!(
            alarm.is_none() || !matches!(finish, Finish::Answered(_, Answer::Linearizable)),
            "an informed model explains what the model explains"
        );
        match (alarm, &finish) {
            (None, _)
            | (_, Finish::Answered(..) | Finish::Exhausted(Exhausted::Stopped(Stop::Cancelled), _)) => {
                Ok(found(&problem.moments, operation_of, finish, race))
            }
            // It is certain that something is wrong, and would have taken too long to say where that begins.
            (Some(alarm), Finish::Exhausted(..)) => Ok(alarm),
        }
    }

    fn observes(&self, history: &History, operation: &Operation) -> bool {
        model::observes(&self.model, history, operation)
    }
}

/// What a search by an informed model found inexplicable at a moment: by then, or once the step is completed that told
/// the model, something is wrong for certain.
fn alarm<A>(problem: &Problem<A>, algorithm: &'static str, moment: usize, told_by: usize) -> Found {
    let action = |step: u32| problem.steps[step as usize].action as usize;
    let told = problem
        .moments
        .iter()
        .position(|moment| matches!(moment, Moment::Return(step) if action(*step) == told_by));
    let moment = told.map_or(moment, |told| told.max(moment));
    let (at, completed) = standing(&problem.moments, |step| problem.operation_of(step), moment);
    Found {
        answer: Ok(Answer::Inexplicable { moment, is_first: false }),
        algorithm,
        at,
        completed,
        possible: Vec::new(),
        witness: None,
    }
}

/// Translates what an engine found from steps to operations.
fn found(moments: &[Moment], operation: impl Fn(u32) -> u32, finish: Finish, race: &Race) -> Found {
    match finish {
        Finish::Answered(engine, answer) => {
            let moment = match answer {
                Answer::Inexplicable { moment, .. } => moment,
                _ => moments.len(),
            };
            let order = if race.wanted == Wanted::Order { engine.witness() } else { None };
            let survivors = if race.wanted == Wanted::Survivors { engine.survivors() } else { Vec::new() };
            let possible = survivors.into_iter().map(|survivor| Possible {
                state: survivor.state,
                set_by: survivor.set_by.map(&operation),
                done: survivor.done.into_iter().map(&operation).collect(),
                why: survivor.why,
            });
            let (at, completed) = standing(moments, &operation, moment);
            Found {
                answer: Ok(answer),
                algorithm: engine.name(),
                at,
                completed,
                possible: possible.collect(),
                witness: order.map(|order| order.into_iter().map(&operation).collect()),
            }
        }
        Finish::Exhausted(why, engine) => {
            let verified = engine.as_ref().map_or(0, |engine| engine.verified().min(moments.len()));
            let (at, completed) = standing(moments, &operation, verified);
            Found {
                answer: Err(why),
                algorithm: engine.map_or("none", |engine| engine.name()),
                at,
                completed,
                possible: Vec::new(),
                witness: None,
            }
        }
    }
}

/// Whose moment it is, and how many operations of certain outcome had ended before it, of how many.
fn standing(
    moments: &[Moment],
    operation: impl Fn(u32) -> u32,
    moment: usize,
) -> (Option<u32>, (usize, usize)) {
    let returns = |part: &[Moment]| part.iter().filter(|moment| matches!(moment, Moment::Return(_))).count();
    let at = moments.get(moment).map(|moment| match moment {
        Moment::Invoke(step) | Moment::Return(step) => operation(*step),
    });
    (at, (returns(&moments[..moment]), returns(moments)))
}

/// One check under way.
struct Check<'a> {
    history: &'a History,
    name: &'a str,
    options: &'a Options,
    course: Course<'a>,
}

impl<'a> Check<'a> {
    fn new(
        history: &'a History,
        name: &'a str,
        options: &'a Options,
        limits: &Limits,
        watch: &'a dyn Watch,
    ) -> Result<Check<'a>, String> {
        match &options.algorithm {
            Some(name) if !ALGORITHMS.contains(&name.as_str()) => {
                Err(format!("no algorithm {name:?}; there are: {}", ALGORITHMS.join(", ")))
            }
            _ => Ok(Check { history, name, options, course: Course::new(*limits, watch, 0) }),
        }
    }

    fn run(mut self, object: &dyn Object, parted: bool) -> Result<Report, String> {
        let known = match models::model_info(self.name) {
            Some(info) if self.options.passes_over => info.functions,
            _ => &[],
        };
        let parts = parts(self.history, parted, known);
        self.course.held_bytes = parts.iter().map(|part| (part.capacity() * 4 + 40) as u64).sum();
        let mut report = Report {
            verdict: Verdict::Valid,
            model: self.name.to_owned(),
            reason: String::new(),
            operations: self.history.operations.len(),
            judged: parts.iter().map(Vec::len).sum(),
            keys: parts.len(),
            algorithms: BTreeMap::new(),
            steps: 0,
            peak_bytes: 0,
            verified: None,
            failure: None,
            minimal: None,
            witness: None,
            timeline: None,
        };
        let mut undecided: Vec<usize> = (0..parts.len()).collect();
        // The first object of which the verdict stays open, and the operation at which its search stands.
        let mut stands: Option<(usize, Option<u32>)> = None;
        for is_last in [false, true] {
            for at in std::mem::take(&mut undecided) {
                let operations = &parts[at];
                let steps = if is_last || parts.len() == 1 { u64::MAX } else { first_steps(operations) };
                let found = match self.decide(object, operations, steps) {
                    Ok(found) => found,
                    Err((number, why)) => {
                        return Err(format!(
                            "event {}: {why}",
                            self.history.operations[number as usize].invoked_at
                        ));
                    }
                };
                match found.answer {
                    Ok(Answer::Linearizable) => *report.algorithms.entry(found.algorithm).or_default() += 1,
                    Ok(_)
                        if object.needs_second_opinion()
                            && self.is_explained_after_all(object, operations) =>
                    {
                        *report.algorithms.entry("depth-first").or_default() += 1;
                    }
                    // A violation on one key outweighs an exhausted budget on another.
                    Ok(_) => {
                        report.algorithms.clear();
                        report.algorithms.insert(found.algorithm, 1);
                        self.fail(&mut report, object, operations, found);
                        return Ok(self.finish(report));
                    }
                    Err(Exhausted::Steps) if steps != u64::MAX => undecided.push(at),
                    Err(why) => {
                        stands.get_or_insert((at, found.at));
                        self.give_up(&mut report, operations, &found, why);
                    }
                }
            }
        }
        if parts.is_empty() {
            report.verdict = Verdict::Unknown;
            report.reason = "there is no operation in the history to judge".to_owned();
        } else if report.verdict == Verdict::Valid {
            report.reason = self.passed(&parts);
            if self.options.witness {
                self.course.watch.begin_explanation();
                // Each order takes as much as the part that it explains.
                let mut held = self.course.held_bytes;
                let orders = parts.iter().map(|part| {
                    let order = self.order(object, self.history, part, held)?;
                    held += size_of_val(&*order) as u64;
                    Some((self.key(part), order))
                });
                report.witness = Some(orders.flatten().collect());
            }
        }
        report.timeline = self.options.timeline.map(|most| match stands {
            Some((at, Some(number))) => Timeline::around(self.history, &parts[at], number, &[], most),
            _ => Timeline::first(self.history, &parts, most),
        });
        Ok(self.finish(report))
    }

    fn finish(self, report: Report) -> Report {
        Report { steps: self.course.steps, peak_bytes: self.course.peak_bytes, ..report }
    }

    fn key(&self, operations: &[u32]) -> String {
        let first = operations.first().map(|number| &self.history.operations[*number as usize]);
        first.map_or_else(String::new, |operation| self.history.key(operation).to_owned())
    }

    fn decide(
        &mut self,
        object: &dyn Object,
        operations: &[u32],
        steps: u64,
    ) -> Result<Found, (u32, String)> {
        let race = Race {
            steps,
            remember: false,
            wanted: Wanted::Survivors,
            algorithm: self.options.algorithm.as_deref(),
            is_open: false,
        };
        object.decide(self.history, operations, &mut self.course, &race)
    }

    fn passed(&self, parts: &[Vec<u32>]) -> String {
        let operations: usize = parts.iter().map(Vec::len).sum();
        match parts.len() {
            1 => format!("an order explains all {operations} operations"),
            keys => format!("for each of {keys} keys an order explains its operations, {operations} in all"),
        }
    }

    fn give_up(&self, report: &mut Report, operations: &[u32], found: &Found, why: Exhausted) {
        let of = match why {
            Exhausted::Steps => "out of steps",
            Exhausted::Memory => "out of memory",
            Exhausted::NotApplicable => match self.options.algorithm {
                Some(_) => "the algorithm that was asked for is not made for such a history",
                None => "no algorithm is made for such a history",
            },
            Exhausted::Stopped(Stop::Time) => "out of time",
            Exhausted::Stopped(Stop::Cancelled) => "cancelled",
        };
        report.verdict = Verdict::Unknown;
        if report.verified.is_some() {
            return;
        }
        let at = found.at.map(|number| &self.history.operations[number as usize]);
        let verified = Verified {
            key: self.key(operations),
            operations: found.completed.0,
            of: found.completed.1,
            events: at.map_or(0, |operation| operation.invoked_at),
            until_ns: at.map_or(0, |operation| operation.invoked_ns),
        };
        let what = if verified.key.is_empty() { "the history".to_owned() } else { verified.key.clone() };
        report.reason = format!(
            "{of}: {what} was verified up to event {} ({} of {} operations)",
            verified.events, verified.operations, verified.of
        );
        report.verified = Some(verified);
    }

    fn fail(&mut self, report: &mut Report, object: &dyn Object, operations: &[u32], found: Found) {
        let found = self.first(object, operations, found);
        let (Some(number), Ok(Answer::Inexplicable { is_first, .. })) = (found.at, found.answer) else {
            unreachable!("an inexplicable history names the moment at which it fails");
        };
        let blamed = &self.history.operations[number as usize];
        let failure = explain::failure(
            self.history,
            Failed {
                operations,
                operation: number,
                is_first,
                possible: found.possible,
                observes: &|operation| object.observes(self.history, operation),
                register: object.register(),
                forgotten_until: None,
                goes_on: false,
            },
        );
        report.verdict = Verdict::Invalid;
        report.reason = format!("{}, {}", explain::answered(self.history, blamed), failure.why);
        report.verified = Some(Verified {
            key: self.key(operations),
            operations: found.completed.0,
            of: found.completed.1,
            events: blamed.completed_at,
            until_ns: blamed.completed_ns,
        });
        report.failure = Some(failure);
        self.course.watch.begin_explanation();
        if self.options.minimal {
            report.minimal = self.minimal(object, operations, number);
        }
        if self.options.witness {
            report.witness = self.before(object, operations, number);
        }
        report.timeline = self.options.timeline.map(|most| {
            let minimal = report.minimal.iter().flat_map(|minimal| &minimal.operations);
            let minimal: Vec<u32> = minimal.map(|operation| operation.number).collect();
            Timeline::around(self.history, operations, number, &minimal, most)
        });
    }

    /// The first operation that cannot be explained, and what was possible before it, where the algorithm that
    /// decided did not find them: by the frontier, within the prefix that is known to fail.
    fn first(&mut self, object: &dyn Object, operations: &[u32], found: Found) -> Found {
        let is_first = matches!(found.answer, Ok(Answer::Inexplicable { is_first: true, .. }));
        if is_first && !found.possible.is_empty() {
            return found;
        }
        let race = Race {
            // Where another search was faster by far, this one must not take many times as long only to explain.
            steps: (self.course.steps / 5).max(first_steps(operations)),
            remember: false,
            wanted: Wanted::Survivors,
            algorithm: Some("frontier"),
            is_open: false,
        };
        match object.decide(self.history, operations, &mut self.course, &race) {
            Ok(again) if matches!(again.answer, Ok(Answer::Inexplicable { .. })) => {
                Found { algorithm: found.algorithm, ..again }
            }
            _ => found,
        }
    }

    /// Whether an order is found although engines of the object's own found none: a witness is a proof. They leave out
    /// much that nobody can have seen, by arguments that have been wrong before; a false alarm is the worst that a
    /// checker can do. Only where it costs milliseconds.
    fn is_explained_after_all(&mut self, object: &dyn Object, operations: &[u32]) -> bool {
        if operations.len() > SECOND_OPINION_OPERATIONS {
            return false;
        }
        let race = Race {
            steps: 20_000 + 200 * operations.len() as u64,
            remember: true,
            wanted: Wanted::Nothing,
            algorithm: Some("depth-first"),
            is_open: false,
        };
        object
            .decide(self.history, operations, &mut self.course, &race)
            .is_ok_and(|found| matches!(found.answer, Ok(Answer::Linearizable)))
    }

    /// An order that explains everything before the completion of `failed`.
    fn before(
        &mut self,
        object: &dyn Object,
        operations: &[u32],
        failed: u32,
    ) -> Option<BTreeMap<String, Vec<u32>>> {
        let blamed = &self.history.operations[failed as usize];
        let mut numbers = minimal::prefix(self.history, operations, failed);
        // What failed has no effect, and what it observed is what cannot be explained.
        numbers.retain(|number| *number != failed || blamed.ending != Ending::Fail);
        let held = self.with_copy(&numbers)?;
        let mut prefix = self.history.clone();
        for number in &numbers {
            let operation = &mut prefix.operations[*number as usize];
            if operation.completed_at >= blamed.completed_at {
                *operation = minimal::open(*operation);
            }
        }
        let order = self.order(object, &prefix, &numbers, held)?;
        Some(BTreeMap::from([(self.key(operations), order)]))
    }

    /// Memory held beside a copy of the history and these numbers, if there is room for them.
    fn with_copy(&self, numbers: &[u32]) -> Option<u64> {
        let held = minimal::copy_bytes(self.history) + size_of_val(numbers) as u64;
        self.course.has_room(held).then(|| self.course.held_bytes + held)
    }

    /// An order that explains the operations, if the search for one ends within a budget of its own.
    fn order(
        &self,
        object: &dyn Object,
        history: &History,
        operations: &[u32],
        held_bytes: u64,
    ) -> Option<Vec<u32>> {
        ["zones", "depth-first"].iter().find_map(|algorithm| {
            let mut course = Course::new(self.course.limits, self.course.watch, held_bytes);
            let race = Race {
                steps: ORDER_STEPS,
                remember: *algorithm != "zones",
                wanted: Wanted::Order,
                algorithm: Some(algorithm),
                is_open: false,
            };
            object.decide(history, operations, &mut course, &race).ok()?.witness
        })
    }

    /// None where there is no room for a copy of the history.
    fn minimal(&mut self, object: &dyn Object, operations: &[u32], failed: u32) -> Option<Minimal> {
        let history = self.history;
        let held = self.with_copy(operations)? + minimal::bytes_for(operations.len());
        let mut course = Course::new(self.course.limits, self.course.watch, held);
        let mut decide = |part: &History, question: Question| {
            let race = Race {
                steps: QUESTION_STEPS + 400 * part.operations.len() as u64,
                remember: false,
                wanted: Wanted::Nothing,
                algorithm: None,
                is_open: question == Question::Open,
            };
            let all: Vec<u32> = (0..part.operations.len() as u32).collect();
            match object.decide(part, &all, &mut course, &race).map(|found| found.answer) {
                Ok(Ok(Answer::Linearizable)) => Decided::Explained,
                Ok(Ok(_)) => Decided::Inexplicable,
                Ok(Err(Exhausted::Stopped(_))) => Decided::Spent,
                _ if course.steps >= course.limits.steps => Decided::Spent,
                _ => Decided::Undecided,
            }
        };
        let observes = |operation: &Operation| object.observes(history, operation);
        let shrunk = minimal::shrink(history, operations, failed, observes, &mut decide);
        Some(Minimal {
            operations: shrunk.kept.iter().map(|number| OperationReport::of(history, *number)).collect(),
            is_minimal: shrunk.is_minimal,
            tried: shrunk.tried,
        })
    }
}

/// The operations of each object, by number, ascending; objects in the order in which they first came.
///
/// Where `known` names functions, operations of others are left out.
fn parts(history: &History, parted: bool, known: &[&str]) -> Vec<Vec<u32>> {
    let counts: Vec<bool> =
        history.functions.iter().map(|name| known.is_empty() || known.contains(&name)).collect();
    let operations =
        || (0_u32..).zip(&history.operations).filter(|(_, operation)| counts[operation.f as usize]);
    let part = |operation: &Operation| if parted { operation.key as usize } else { 0 };
    let mut sizes = vec![0; if parted { history.keys.len() } else { 1 }];
    operations().for_each(|(_, operation)| sizes[part(operation)] += 1);
    let mut parts: Vec<Vec<u32>> = sizes.into_iter().map(Vec::with_capacity).collect();
    operations().for_each(|(number, operation)| parts[part(operation)].push(number));
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use mcp_chaos_history::jsonl;

    use super::*;
    use crate::limits::Unwatched;

    /// Registers whose own engines call every history inexplicable.
    struct Alarmist(Modelled<models::Register>);

    impl Object for Alarmist {
        fn decide(
            &self,
            history: &History,
            operations: &[u32],
            course: &mut Course,
            race: &Race,
        ) -> Result<Found, (u32, String)> {
            let found = self.0.decide(history, operations, course, race)?;
            let alarm = Answer::Inexplicable { moment: 0, is_first: true };
            Ok(if race.remember {
                found
            } else {
                Found { answer: Ok(alarm), at: operations.last().copied(), ..found }
            })
        }

        fn observes(&self, history: &History, operation: &Operation) -> bool {
            self.0.observes(history, operation)
        }

        fn needs_second_opinion(&self) -> bool {
            true
        }
    }

    #[test]
    fn an_alarm_that_a_witness_refutes_is_none() {
        let told = |read: u64| {
            let lines = format!(
                r#"{{"process":0,"type":"invoke","f":"write","value":1}}
{{"process":0,"type":"ok","f":"write","value":1}}
{{"process":0,"type":"invoke","f":"read","value":null}}
{{"process":0,"type":"ok","f":"read","value":{read}}}"#
            );
            let history = jsonl::read(lines.as_bytes()).unwrap();
            let model = models::Register { initial: Value::Null, cas: false };
            let options = Options::default();
            let check = Check::new(&history, "register", &options, &Limits::default(), &Unwatched).unwrap();
            check.run(&Alarmist(Modelled { model }), true).unwrap().verdict
        };
        assert_eq!((told(1), told(2)), (Verdict::Valid, Verdict::Invalid));
    }
}
