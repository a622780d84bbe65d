//! What every algorithm of the portfolio is: a search that can be run a little, asked how far it came, and
//! dropped. So several race on one thread, deterministically.

/// A search for an order that explains one object's history.
pub trait Engine {
    /// The algorithm's name, as reports call it.
    fn name(&self) -> &'static str;

    /// Goes on for about `fuel` steps. A step is what takes some ten nanoseconds; what cannot be divided (a table that
    /// grows, say) takes some milliseconds more for each hundred megabytes held.
    fn advance(&mut self, fuel: u64) -> Progress;

    /// Steps taken so far.
    fn steps(&self) -> u64;

    /// Memory held now, capacity rather than content, in bytes: within 10 % of what the allocator gave. An
    /// engine is made with a limit, which it never exceeds: it answers [`Answer::OutOfMemory`] first, or forgets
    /// what it can do without.
    fn bytes(&self) -> u64;

    /// How many moments of the history are verified: some order explains that prefix.
    fn verified(&self) -> usize;

    /// What survived until right before the moment at which an inexplicable history failed; empty for an engine
    /// that does not know.
    fn survivors(&self) -> Vec<Survivor> {
        Vec::new()
    }

    /// The steps in an order that explains the history; none if it is not linearizable, if the engine was not
    /// made to remember it, or cannot.
    fn witness(&self) -> Option<Vec<u32>> {
        None
    }

    /// What the model said when it failed ([`Answer::ModelFailed`]).
    fn failure(&self) -> Option<&str> {
        None
    }
}

/// How an engine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    Running,
    /// It is at its end.
    Done(Answer),
}

/// What an engine found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Some order explains everything.
    Linearizable,
    /// None does.
    Inexplicable {
        /// The moment (a position among the problem's moments) at which the engine saw it.
        moment: usize,
        /// True if this is the completion of the shortest prefix that no order explains: an engine that looks
        /// ahead may fail elsewhere.
        is_first: bool,
    },
    /// It would need more memory than it was given.
    OutOfMemory,
    /// This algorithm is not made for such a history.
    NotApplicable,
    /// The model could not say what a step does (one given from Python may raise an exception):
    /// [`Engine::failure`] tells why.
    ModelFailed,
}

/// A configuration that explained the history so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// The object's state, in words.
    pub state: String,
    /// Of the steps in flight, those that had taken effect in it.
    pub done: Vec<u32>,
    /// The step that set the state, if the engine knows; none for the initial state.
    pub set_by: Option<u32>,
    /// Why the step that failed is impossible here, in words that follow a comma.
    pub why: String,
}
