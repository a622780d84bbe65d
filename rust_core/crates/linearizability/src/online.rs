//! A check that takes events as they come: of a run under way, or of a file larger than memory.
//!
//! What an operation did is known only when it ends: a compare-and-set may turn out to have changed the state or
//! to have observed it. So each key's frontier (see the module `window`) follows at a distance: it takes in an
//! event once all operations invoked before it have ended. It gives the same answers as over the finished
//! history, as late as the slowest operation in flight is slow, and holds what is in flight, however long the
//! history is.
//!
//! An operation that does not end would hold up its key for ever. When as many events wait as
//! [`OnlineLimits::patience_events`] allows, the oldest is taken for one of unknown outcome, which is what it
//! turns out to be if it never ends. Should it end otherwise, that answer is not judged, and a [`Doubt`] says so;
//! no violation is ever reported that is none, because what an unknown operation may do includes all it did.

use std::collections::VecDeque;

use mcp_chaos_history::{Map, Outcome, Set, Value};

use crate::{
    engine::Survivor,
    machine::{Interned, table_bytes},
    model::{Call, Model, Reading},
    window::{Entry, Trouble, Window, Worked},
};

/// How far an online check may go.
#[derive(Clone, Copy, Debug)]
pub struct OnlineLimits {
    /// The most memory that searches may hold, all keys together, in bytes.
    pub memory_bytes: u64,
    /// How many events of one key may wait for an operation to end.
    pub patience_events: usize,
}

impl Default for OnlineLimits {
    fn default() -> OnlineLimits {
        OnlineLimits { memory_bytes: 256 << 20, patience_events: 1 << 16 }
    }
}

/// How an online check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is more to do with the events so far.
    Running,
    /// All that can be judged yet is explained, doubts apart.
    UpToDate,
    /// There is a violation: nothing more is judged.
    Violated,
}

/// An operation that nothing explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnlineViolation {
    /// Its key.
    pub key: String,
    /// Its number, from 0 in the order of invocations. Survivors number steps in the same way.
    pub operation: u32,
    /// What survived until right before its completion.
    pub survivors: Vec<Survivor>,
}

/// Something that could not be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The key of which it is so.
    pub key: String,
    /// Events before this position are judged, as far as this key goes.
    pub since_event: u64,
    /// The operation whose event that is, or whose answer was not judged.
    pub operation: u32,
    /// The cause, in words.
    pub why: String,
    /// Whether nothing that came later on this key was judged; else only the answer that the cause tells of.
    pub is_given_up: bool,
}

/// How many operations of certain outcome ended on a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub ended: u64,
    /// Those that are explained.
    pub explained: u64,
}

/// Up to where a key is explained that has more events waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frontline<'a> {
    /// The key.
    pub key: &'a str,
    /// Events before this position are explained.
    pub event: u64,
    /// The operation whose event it is.
    pub operation: u32,
}

/// An operation in flight.
#[derive(Debug)]
struct Flight {
    operation: u32,
    object: usize,
    f: Box<str>,
    key: Box<str>,
    argument: Value,
}

/// What is known of an operation that a key's frontier has not taken in.
#[derive(Debug)]
enum Outlook<A> {
    /// It has not ended; this is what it may do at most.
    InFlight(Option<A>),
    /// It has.
    Ended(Reading<A>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Invoke(u32),
    Return(u32),
}

impl Moment {
    fn operation(self) -> u32 {
        let (Moment::Invoke(operation) | Moment::Return(operation)) = self;
        operation
    }
}

/// One key's frontier, and the events that wait for it.
struct Object<M: Model> {
    machine: Interned<'static, M>,
    window: Window,
    numbers: Map<M::Action, u32>,
    actions_kept: usize,
    /// With their positions among all events.
    waiting: VecDeque<(Moment, u32)>,
    outlooks: Map<u32, Outlook<M::Action>>,
    /// The completion that the window works on, and its position.
    inside: Option<(u32, u32)>,
    explained: u64,
    bytes: u64,
}

enum Slot<M: Model> {
    Live(Box<Object<M>>),
    /// Nothing is open: only the states that are possible.
    Parked(Box<[M::State]>),
    /// It could not be judged any further.
    GivenUp,
}

/// How many keys with nothing open keep their searches ready.
const MOST_READY: usize = 64;

/// What each of them may remember of states that are past, about.
const REMEMBERED_BYTES: u64 = 64 << 10;

/// The check. Events go in by [`Online::invoke`] and [`Online::end`]; [`Online::advance`] judges.
pub struct Online<M: Model + Clone> {
    model: M,
    limits: OnlineLimits,
    keys: Map<Box<str>, usize>,
    names: Vec<Box<str>>,
    slots: Vec<Slot<M>>,
    tallies: Vec<Tally>,
    live: usize,
    given_up: usize,
    /// Objects that may have something to do.
    due: VecDeque<usize>,
    flights: Map<u32, Flight>,
    operations: u32,
    events: u64,
    steps: u64,
    /// What searches and parked states hold, and what names, and operations in flight hold outside themselves.
    bytes: u64,
    violation: Option<OnlineViolation>,
    /// One for each key.
    doubts: Vec<Doubt>,
    doubtful: Map<usize, usize>,
}

impl<M: Model + Clone> Online<M> {
    /// A check that knows no event yet.
    pub fn new(model: M, limits: OnlineLimits) -> Online<M> {
        Online {
            model,
            limits,
            keys: Map::default(),
            names: Vec::new(),
            slots: Vec::new(),
            tallies: Vec::new(),
            live: 0,
            given_up: 0,
            due: VecDeque::new(),
            flights: Map::default(),
            operations: 0,
            events: 0,
            steps: 0,
            bytes: 0,
            violation: None,
            doubts: Vec::new(),
            doubtful: Map::default(),
        }
    }

    /// The process invokes an operation; its number.
    ///
    /// # Errors
    /// The process has another operation in flight, or the operation makes no sense to the model.
    pub fn invoke(&mut self, process: u32, f: &str, key: &str, argument: &Value) -> Result<u32, String> {
        if self.flights.contains_key(&process) {
            return Err(format!("process {process} invokes an operation while its last has not ended"));
        }
        let reading = self.model.read(&Call { f, key, argument, outcome: Outcome::Unknown })?;
        let possible = match reading {
            Reading::Certain(action) | Reading::Possible(action) => Some(action),
            Reading::Nothing => None,
        };
        let operation = self.operations;
        let object = self.object(if self.model.by_key() { key } else { "" });
        let at = self.events as u32;
        self.operations += 1;
        self.events += 1;
        let flight = Flight { operation, object, f: f.into(), key: key.into(), argument: argument.clone() };
        self.bytes += flight.heap_bytes();
        self.flights.insert(process, flight);
        if let Some(object) = self.wake(object, (operation, at)) {
            object.waiting.push_back((Moment::Invoke(operation), at));
            object.outlooks.insert(operation, Outlook::InFlight(possible));
        }
        self.due.push_back(object);
        Ok(operation)
    }

    /// The process's operation ends.
    ///
    /// # Errors
    /// The process has none in flight, or such an end makes no sense to the model.
    pub fn end(&mut self, process: u32, outcome: Outcome) -> Result<(), String> {
        let Some(flight) = self.flights.get(&process) else {
            return Err(format!("process {process} ends an operation that it never invoked"));
        };
        let call = Call { f: &flight.f, key: &flight.key, argument: &flight.argument, outcome };
        let reading = self.model.read(&call)?;
        let (operation, at) = (flight.operation, flight.object);
        // A read that failed is what it was taken for.
        let told_nothing = || {
            let unknown = Call {
                f: &flight.f,
                key: &flight.key,
                argument: &flight.argument,
                outcome: Outcome::Unknown,
            };
            reading == Reading::Nothing && self.model.read(&unknown) == Ok(Reading::Nothing)
        };
        let tells = outcome != Outcome::Unknown && !told_nothing();
        self.bytes -= flight.heap_bytes();
        self.flights.remove(&process);
        let position = self.events as u32;
        self.events += 1;
        if let Reading::Certain(_) = reading {
            self.tallies[at].ended += 1;
        }
        let mut is_late = false;
        if let Some(object) = self.wake(at, (operation, position)) {
            if let Some(outlook) = object.outlooks.get_mut(&operation) {
                if let Reading::Certain(_) = reading {
                    object.waiting.push_back((Moment::Return(operation), position));
                }
                *outlook = Outlook::Ended(reading);
            } else {
                is_late = tells;
            }
        }
        if is_late {
            let why = format!(
                "operation {operation} ended after more events than may wait: its answer is not judged"
            );
            self.doubt(at, why, (operation, position), false);
        }
        self.due.push_back(at);
        Ok(())
    }

    /// No more events will come: operations in flight are of unknown outcome.
    pub fn finish(&mut self) {
        for (_, flight) in std::mem::take(&mut self.flights) {
            self.bytes -= flight.heap_bytes();
            if let Slot::Live(object) = &mut self.slots[flight.object]
                && let Some(outlook) = object.outlooks.get_mut(&flight.operation)
            {
                outlook.give_up();
            }
        }
        self.due.extend(0..self.slots.len());
    }

    /// Judges what can be judged, for about `fuel` steps.
    pub fn advance(&mut self, fuel: u64) -> Standing {
        let until = self.steps.saturating_add(fuel);
        while self.violation.is_none() {
            let Some(at) = self.due.front().copied() else { return Standing::UpToDate };
            if self.steps >= until {
                return Standing::Running;
            }
            let tables = self.tables_bytes();
            let Slot::Live(object) = &mut self.slots[at] else {
                self.due.pop_front();
                continue;
            };
            self.bytes -= object.bytes;
            let held = self.bytes + tables;
            object.window.memory_bytes = self.limits.memory_bytes.saturating_sub(held);
            let before = object.window.steps_taken;
            let ended = object.go(before + (until - self.steps), self.limits.patience_events);
            self.steps += object.window.steps_taken - before + 1;
            self.tallies[at].explained += std::mem::take(&mut object.explained);
            object.bytes = object.bytes();
            self.bytes += object.bytes;
            match ended {
                Ok(Worked::Running) => {}
                Ok(Worked::Explained) => {
                    self.due.pop_front();
                    self.park(at);
                }
                Ok(Worked::Inexplicable) => {
                    self.violation = Some(OnlineViolation {
                        key: self.names[at].to_string(),
                        operation: object.inside.expect("a completion failed").0,
                        survivors: object.window.survivors(&object.machine),
                    });
                }
                Err(trouble) => {
                    self.bytes -= object.bytes;
                    self.live -= 1;
                    let since = object.stands_at().expect("something could not be taken in");
                    self.give_up(at, trouble, since);
                }
            }
        }
        Standing::Violated
    }

    /// The violation, if there is one.
    pub fn violation(&self) -> Option<&OnlineViolation> {
        self.violation.as_ref()
    }

    /// What could not be judged, by key and cause. Without a violation and without doubts, all is explained.
    pub fn doubts(&self) -> &[Doubt] {
        &self.doubts
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Memory held, in bytes: searches, parked states, key names, operations in flight.
    pub fn bytes(&self) -> u64 {
        self.bytes + self.tables_bytes()
    }

    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.names.len()
    }

    /// How many of them are given up.
    pub fn keys_given_up(&self) -> usize {
        self.given_up
    }

    /// What became of a key's operations so far; the empty one's, where keys are judged together.
    pub fn tally(&self, key: &str) -> Tally {
        self.keys.get(key).map(|object| self.tallies[*object]).unwrap_or_default()
    }

    /// The same of all keys.
    pub fn tally_of_all(&self) -> Tally {
        self.tallies.iter().fold(Tally::default(), |sum, one| Tally {
            ended: sum.ended + one.ended,
            explained: sum.explained + one.explained,
        })
    }

    /// Of the keys that are not given up, the one that is explained least far; none if all events are taken in.
    pub fn frontline(&self) -> Option<Frontline<'_>> {
        let lives = self.names.iter().zip(&self.slots).filter_map(|(name, slot)| match slot {
            Slot::Live(object) => object.stands_at().map(|at| (name, at)),
            _ => None,
        });
        lives.min_by_key(|(_, (_, event))| *event).map(|(key, (operation, event))| Frontline {
            key,
            event: event.into(),
            operation,
        })
    }

    /// The operations that a violation might yet name: what is in flight, waits, or set a state that is possible.
    pub fn operations_at_stake(&self) -> Set<u32> {
        let mut found: Set<u32> = self.flights.values().map(|flight| flight.operation).collect();
        for slot in &self.slots {
            if let Slot::Live(object) = slot {
                found.extend(object.outlooks.keys());
                found.extend(object.waiting.iter().map(|(moment, _)| moment.operation()));
                object.window.name_steps(&mut found);
            }
        }
        found
    }

    fn tables_bytes(&self) -> u64 {
        table_bytes(self.keys.capacity(), size_of::<(Box<str>, usize)>())
            + table_bytes(self.flights.capacity(), size_of::<(u32, Flight)>())
            + (self.names.capacity() * size_of::<Box<str>>()
                + self.slots.capacity() * size_of::<Slot<M>>()
                + self.tallies.capacity() * size_of::<Tally>()
                + self.doubts.capacity() * size_of::<Doubt>()
                + self.due.capacity() * size_of::<usize>()) as u64
            + table_bytes(self.doubtful.capacity(), size_of::<(usize, usize)>())
    }

    /// `since`: an operation, and the position of its event.
    fn doubt(&mut self, object: usize, why: String, since: (u32, u32), is_given_up: bool) {
        if let Some(known) = self.doubtful.get(&object) {
            self.doubts[*known].is_given_up |= is_given_up;
            return;
        }
        let key = self.names[object].to_string();
        self.doubtful.insert(object, self.doubts.len());
        let (operation, since_event) = (since.0, since.1.into());
        self.bytes += (key.len() + why.len()) as u64;
        self.doubts.push(Doubt { key, since_event, operation, why, is_given_up });
    }

    fn give_up(&mut self, object: usize, trouble: Trouble, since: (u32, u32)) {
        self.slots[object] = Slot::GivenUp;
        self.given_up += 1;
        let why = match trouble {
            Trouble::OutOfMemory => "the search needs more memory than it was given".into(),
            Trouble::ModelFailed(words) => words,
        };
        self.doubt(object, why, since, true);
    }

    /// The number of a key's object.
    fn object(&mut self, key: &str) -> usize {
        if let Some(known) = self.keys.get(key) {
            return *known;
        }
        let number = self.slots.len();
        self.keys.insert(key.into(), number);
        self.names.push(key.into());
        self.bytes += 2 * allocated(key.len());
        let states: Box<[M::State]> = [self.model.initial()].into();
        self.bytes += parked_bytes(&self.model, &states);
        self.slots.push(Slot::Parked(states));
        self.tallies.push(Tally::default());
        number
    }

    /// The object, ready to take an event in; none if it was given up.
    fn wake(&mut self, at: usize, event: (u32, u32)) -> Option<&mut Object<M>> {
        if let Slot::Parked(states) = &mut self.slots[at] {
            let states = std::mem::take(states);
            self.bytes -= parked_bytes(&self.model, &states);
            match Object::new(self.model.clone(), states, self.limits.memory_bytes) {
                Ok(object) => {
                    self.bytes += object.bytes;
                    self.live += 1;
                    self.slots[at] = Slot::Live(Box::new(object));
                }
                Err(trouble) => self.give_up(at, trouble, event),
            }
        }
        match &mut self.slots[at] {
            Slot::Live(object) => Some(object),
            _ => None,
        }
    }

    /// Keeps of an object with nothing open only what it may hold, if many are ready.
    fn park(&mut self, at: usize) {
        let Slot::Live(object) = &self.slots[at] else { return };
        if self.live <= MOST_READY || !object.waiting.is_empty() || !object.window.is_quiet() {
            return;
        }
        let states = object.window.states();
        let states: Box<[M::State]> =
            states.iter().map(|state| object.machine.state(*state).clone()).collect();
        self.bytes = self.bytes - object.bytes + parked_bytes(&self.model, &states);
        self.live -= 1;
        self.slots[at] = Slot::Parked(states);
    }
}

/// What the allocator takes for so many bytes.
pub(crate) fn allocated(bytes: usize) -> u64 {
    if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) as u64 }
}

impl Flight {
    /// What it holds outside itself.
    fn heap_bytes(&self) -> u64 {
        allocated(self.f.len()) + allocated(self.key.len()) + value_bytes(&self.argument)
    }
}

/// What a value holds outside itself, if nobody shares it.
pub(crate) fn value_bytes(value: &Value) -> u64 {
    if let Some(text) = value.as_text() {
        allocated(text.len() + 16)
    } else if let Some(list) = value.as_list() {
        allocated(size_of_val(list) + 16) + list.iter().map(value_bytes).sum::<u64>()
    } else {
        0
    }
}

fn parked_bytes<M: Model>(model: &M, states: &[M::State]) -> u64 {
    states.iter().map(|state| (size_of::<M::State>() + model.state_bytes(state)) as u64).sum()
}

impl<A> Outlook<A> {
    /// From now on its outcome is unknown.
    fn give_up(&mut self) {
        if let Outlook::InFlight(possible) = self {
            *self = Outlook::Ended(possible.take().map_or(Reading::Nothing, Reading::Possible));
        }
    }
}

impl<M: Model> Object<M> {
    fn new(model: M, states: Box<[M::State]>, memory_bytes: u64) -> Result<Object<M>, Trouble> {
        let mut machine = Interned::over(model, Vec::new().into());
        let mut window = Window::new(&mut machine, memory_bytes, false)?;
        window.forget_bytes = REMEMBERED_BYTES;
        let states: Vec<u32> = states.into_iter().map(|state| machine.intern(state)).collect();
        window.start_from(&machine, &states)?;
        let mut object = Object {
            machine,
            window,
            numbers: Map::default(),
            actions_kept: 0,
            waiting: VecDeque::new(),
            outlooks: Map::default(),
            inside: None,
            explained: 0,
            bytes: 0,
        };
        object.bytes = object.bytes();
        Ok(object)
    }

    fn bytes(&self) -> u64 {
        self.window.bytes(&self.machine)
            + (size_of::<Object<M>>()
                + size_of_val(self.machine.actions())
                + self.waiting.capacity() * size_of::<(Moment, u32)>()) as u64
            + table_bytes(self.numbers.capacity(), size_of::<(M::Action, u32)>())
            + table_bytes(self.outlooks.capacity(), size_of::<(u32, Outlook<M::Action>)>())
    }

    /// Takes events in, until about `until` steps of the window are taken.
    fn go(&mut self, until: u64, patience: usize) -> Result<Worked, Trouble> {
        loop {
            match self.window.work(&mut self.machine, until)? {
                Worked::Explained => self.explained += u64::from(self.inside.take().is_some()),
                other => return Ok(other),
            }
            if self.window.steps_taken >= until {
                return Ok(Worked::Running);
            }
            let Some((moment, position)) = self.waiting.front().copied() else {
                return Ok(Worked::Explained);
            };
            match moment {
                Moment::Invoke(operation) => {
                    let outlook = self.outlooks.get_mut(&operation).expect("it is kept until it is taken in");
                    if self.waiting.len() > patience {
                        outlook.give_up();
                    }
                    let Outlook::Ended(_) = outlook else { return Ok(Worked::Explained) };
                    let Some(Outlook::Ended(reading)) = self.outlooks.remove(&operation) else {
                        unreachable!()
                    };
                    self.take_in(operation, reading)?;
                }
                Moment::Return(operation) => {
                    self.window.complete(operation);
                    self.inside = Some((operation, position));
                }
            }
            self.window.steps_taken += 1;
            self.waiting.pop_front();
        }
    }

    /// The event that it is at, by its operation and its position; none if all are taken in.
    fn stands_at(&self) -> Option<(u32, u32)> {
        let waiting = || self.waiting.front().map(|(moment, at)| (moment.operation(), *at));
        self.inside.or_else(waiting)
    }

    fn take_in(&mut self, operation: u32, reading: Reading<M::Action>) -> Result<(), Trouble> {
        let (action, required) = match reading {
            Reading::Certain(action) => (action, true),
            Reading::Possible(action) => (action, false),
            Reading::Nothing => return Ok(()),
        };
        if self.machine.actions().len() > self.actions_kept * 2 + 128 {
            self.forget_actions();
        }
        let Object { numbers, machine, .. } = self;
        let action = match numbers.get(&action) {
            Some(known) => *known,
            None => {
                let number = machine.add_action(action.clone());
                numbers.insert(action, number);
                number
            }
        };
        self.window.invoke(&mut self.machine, Entry { step: operation, action, required })
    }

    /// Keeps only actions of operations in the window.
    fn forget_actions(&mut self) {
        let live = self.window.actions();
        self.machine.keep_only_actions(&live);
        self.window.renumber_actions(&self.machine, &live);
        self.numbers =
            (0..).zip(self.machine.actions()).map(|(number, action)| (action.clone(), number)).collect();
        self.actions_kept = live.len();
    }
}
