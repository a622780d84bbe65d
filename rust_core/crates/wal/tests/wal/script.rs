//! Scripts of actions, run on a log and on the model side by side.

use bytes::Bytes;
use mcp_chaos_consensus::{Batch, Configuration, Entry, EntryKind, HardState, Snapshot, SnapshotMeta};
use mcp_chaos_wal::{OpenError, Options, SimDisk, Wal, WalError};

use crate::model::State;

/// An action. Numbers are taken relative to what the log holds then, so that any row of actions makes sense.
#[derive(Clone, Debug)]
pub enum Action {
    /// Appends `count` entries of `bytes` each, the first overwriting the last `over` ones (or as many as are
    /// not committed), and raises the term if it overwrites any.
    Append {
        count: u64,
        bytes: usize,
        over: u64,
    },
    /// Votes in a new term.
    Vote,
    /// Commits everything.
    Commit,
    Sync,
    /// A snapshot of its own, this many entries below the log's end.
    Save {
        below_end: u64,
    },
    /// Compacts, keeping this many entries below the snapshot.
    Compact {
        keep: u64,
    },
    /// Installs a snapshot this far beyond the log's end (or below it, if negative), with a hard state or not,
    /// followed by one entry or not.
    Install {
        beyond_end: i64,
        with_state: bool,
        with_entry: bool,
    },
    /// The process is killed, and started again.
    Restart,
}

/// A run of a script: the log, and which states it may be found in if it stops now.
pub struct Run {
    options: Options,
    wal: Option<Wal<SimDisk>>,
    /// The disk, if the log could not be opened on it.
    unopened: Option<SimDisk>,
    /// Every state so far, the newest last.
    states: Vec<State>,
    /// The newest of them that is known to be durable.
    floor: usize,
    /// The boot number last reported.
    pub boot: u64,
    written: u64,
}

/// The power went, or the log refused.
pub type Stopped = String;

pub fn options() -> Options {
    Options { segment_bytes: 700, ..Options::new(3) }
}

pub fn founding_snapshot() -> Snapshot {
    let configuration = Configuration { voters: vec![1, 2, 3], ..Configuration::default() };
    Snapshot {
        meta: SnapshotMeta { index: 1, term: 1, configuration },
        data: Bytes::from_static(b"founding"),
    }
}

impl Run {
    /// Opens the disk and founds the node. What is left of the run after an error is for [`Run::admissible`].
    pub fn start(disk: SimDisk, options: Options) -> (Run, Result<(), Stopped>) {
        let states = vec![State::default()];
        let mut run = Run { options, wal: None, unopened: None, states, floor: 0, boot: 0, written: 0 };
        let result = run.open(disk).and_then(|()| run.found());
        (run, result)
    }

    /// Goes on with an opened log that holds `state`.
    pub fn resume(wal: Wal<SimDisk>, options: Options, state: State) -> Run {
        Run {
            options,
            boot: wal.boot(),
            wal: Some(wal),
            unopened: None,
            states: vec![state],
            floor: 0,
            written: 1_000_000,
        }
    }

    pub fn run(&mut self, script: &[Action]) -> Result<(), Stopped> {
        script.iter().try_for_each(|action| self.act(action))
    }

    pub fn act(&mut self, action: &Action) -> Result<(), Stopped> {
        let state = self.newest().clone();
        match action {
            Action::Append { count, bytes, over } => {
                let over = (*over).min(state.last_index() - state.hard_state.commit);
                let first = state.last_index() + 1 - over;
                let term = state.hard_state.term.max(1) + u64::from(over > 0);
                let entries = (first..first + count).map(|index| self.entry(index, term, *bytes)).collect();
                let vote = if over > 0 { 0 } else { state.hard_state.vote };
                let hard_state = Some(HardState { term, vote, commit: state.hard_state.commit });
                self.write(Batch { entries, hard_state, ..Batch::default() })
            }
            Action::Vote => {
                let hard_state =
                    HardState { term: state.hard_state.term + 1, vote: 2, commit: state.hard_state.commit };
                self.write(Batch { hard_state: Some(hard_state), ..Batch::default() })
            }
            Action::Commit => {
                let hard_state = HardState { commit: state.last_index(), ..state.hard_state };
                self.write(Batch { hard_state: Some(hard_state), ..Batch::default() })
            }
            Action::Sync => {
                self.wal().sync().map_err(words)?;
                self.all_durable();
                Ok(())
            }
            Action::Save { below_end } => {
                let index = state.last_index().saturating_sub(*below_end);
                if index <= state.snapshot_index() {
                    return Ok(());
                }
                let snapshot = self.snapshot(index, state.term_at(index));
                self.states.push(state.save_snapshot(&snapshot));
                self.wal().save_snapshot(&snapshot).map_err(words)?;
                self.all_durable();
                Ok(())
            }
            Action::Compact { keep } => {
                let from = (state.snapshot_index() + 1).saturating_sub(*keep);
                self.wal().compact(from).map_err(words)
            }
            Action::Install { beyond_end, with_state, with_entry } => {
                let index =
                    state.last_index().saturating_add_signed(*beyond_end).max(state.hard_state.commit + 1);
                let term = state.hard_state.term + 1;
                let snapshot = Box::new(self.snapshot(index, term));
                let entries = if *with_entry { vec![self.entry(index + 1, term, 20)] } else { Vec::new() };
                let hard_state = with_state.then_some(HardState { term, vote: 1, commit: index });
                let result =
                    self.write(Batch { snapshot: Some(snapshot), entries, hard_state, must_sync: true });
                if result.is_ok() {
                    self.floor = self.floor.max(self.states.len() - 2);
                }
                result
            }
            Action::Restart => {
                let disk = self.wal.take().expect("running").into_disk();
                self.open(disk)
            }
        }
    }

    /// The states in which the log may be found if it stops now.
    pub fn admissible(&self) -> &[State] {
        &self.states[self.floor..]
    }

    pub fn newest(&self) -> &State {
        self.states.last().expect("never empty")
    }

    pub fn wal(&mut self) -> &mut Wal<SimDisk> {
        self.wal.as_mut().expect("running")
    }

    pub fn into_disk(self) -> SimDisk {
        self.wal.map(Wal::into_disk).or(self.unopened).expect("the disk is in the log or outside of it")
    }

    fn open(&mut self, disk: SimDisk) -> Result<(), Stopped> {
        match Wal::open(disk, self.options.clone()) {
            Ok((wal, recovered)) => {
                assert_eq!(&State::from(&recovered), self.newest(), "a killed process loses nothing");
                assert!(recovered.boot > self.boot, "boot {} after {}", recovered.boot, self.boot);
                self.boot = recovered.boot;
                self.wal = Some(wal);
                self.all_durable();
                Ok(())
            }
            Err(failure) => {
                assert!(matches!(failure.error, OpenError::Disk(_)), "{failure}");
                self.unopened = Some(failure.disk);
                Err(failure.error.to_string())
            }
        }
    }

    fn found(&mut self) -> Result<(), Stopped> {
        let snapshot = founding_snapshot();
        self.states.push(self.newest().found("tests", &snapshot));
        self.wal().found("tests", &snapshot).map_err(words)?;
        self.all_durable();
        Ok(())
    }

    fn write(&mut self, batch: Batch) -> Result<(), Stopped> {
        let states = self.newest().write(&batch);
        self.states.extend(states);
        self.wal().write(&batch).map_err(words)
    }

    fn all_durable(&mut self) {
        self.floor = self.states.len() - 1;
    }

    /// Entries differ from all others ever written, so that none can pass for another.
    fn entry(&mut self, index: u64, term: u64, bytes: usize) -> Entry {
        self.written += 1;
        let mut data = self.written.to_le_bytes().to_vec();
        data.resize(bytes.max(8), 0);
        Entry { index, term, kind: EntryKind::Normal, data: data.into() }
    }

    fn snapshot(&mut self, index: u64, term: u64) -> Snapshot {
        self.written += 1;
        let configuration = founding_snapshot().meta.configuration;
        let data = format!("state {} at {index}", self.written).into_bytes().repeat(5);
        Snapshot { meta: SnapshotMeta { index, term, configuration }, data: data.into() }
    }
}

fn words(error: WalError) -> Stopped {
    assert!(!matches!(error, WalError::Invalid(_)), "{error}");
    error.to_string()
}
