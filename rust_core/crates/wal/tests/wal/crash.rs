//! The power goes, or the process is killed, at every single operation of the disk, before, during and after
//! it; then also while the log is opened again. Nothing that was durable may be lost, nothing may appear that
//! was never written, and the log must be fit to go on.

use mcp_chaos_evidence::rng::Stream;
use mcp_chaos_wal::{CrashPoint, Moment, SimDisk, Wal};

use crate::model::State;
use crate::script::{Action, Run, options};

/// One of everything, and enough of it for several segments. Long entries span sectors.
fn script() -> Vec<Action> {
    use Action::*;
    let append = |count, bytes, over| Append { count, bytes, over };
    vec![
        Vote,
        Sync,
        append(1, 64, 0),
        append(2, 8, 0),
        Sync,
        append(3, 300, 0),
        append(2, 40, 2),
        Commit,
        Sync,
        append(1, 1500, 0),
        append(1, 10, 0),
        Sync,
        Save { below_end: 2 },
        Compact { keep: 1 },
        append(4, 200, 0),
        append(1, 30, 3),
        Save { below_end: 0 },
        append(1, 30, 0),
        Compact { keep: 0 },
        Install { beyond_end: 10, with_state: true, with_entry: false },
        append(2, 100, 0),
        Sync,
        append(1, 2000, 0),
        Restart,
        append(2, 20, 1),
        Install { beyond_end: -1, with_state: false, with_entry: true },
        Vote,
        Sync,
        append(3, 250, 0),
        append(3, 250, 0),
        Save { below_end: 1 },
        Compact { keep: 0 },
        append(1, 5, 0),
        append(1, 5, 0),
    ]
}

const MOMENTS: [Moment; 3] = [Moment::Before, Moment::During, Moment::After];
/// Different leftovers of each power loss.
const LEFTOVERS: u64 = 6;

fn crash_point(nth: u64, moment: Moment) -> CrashPoint {
    CrashPoint { op: None, nth, moment }
}

/// How the process dies: the power goes and takes a draw of what is volatile, or nothing is lost.
fn die(disk: &mut SimDisk, leftover: u64, nth: u64) {
    if leftover > 0 {
        disk.power_off(Stream::new(leftover, "power_off", 3, 0), nth);
    }
    disk.restart();
}

/// Runs the script with the crash point set; the run, and whether it was reached.
fn run_into(point: Option<CrashPoint>) -> (Run, bool) {
    let mut disk = SimDisk::new();
    if let Some(point) = point {
        disk.crash_at(point);
    }
    let (mut run, started) = Run::start(disk, options());
    let ended = started.and_then(|()| run.run(&script()));
    (run, ended.is_err())
}

/// Opens and checks; then writes on, restarts, and checks again.
fn check_recovery(disk: SimDisk, admissible: &[State], boot: u64, context: &str) {
    let (wal, recovered) =
        Wal::open(disk, options()).unwrap_or_else(|failure| panic!("{context}: {failure}"));
    let state = State::from(&recovered);
    assert!(admissible.contains(&state), "{context}: found {state:#?}, expected one of {admissible:#?}");
    assert!(recovered.boot > boot, "{context}: boot {} after {boot}", recovered.boot);
    assert!(wal.disk().is_synced(), "{context}: what was reported must be durable");

    let (again, repeated) = Wal::open(wal.into_disk(), options()).expect("opened before");
    assert_eq!(
        (&State::from(&repeated), repeated.boot),
        (&state, recovered.boot + 1),
        "{context}: opened twice"
    );

    if state.cluster.is_empty() {
        return;
    }
    let mut run = Run::resume(again, options(), state);
    let more = [
        Action::Append { count: 2, bytes: 700, over: 1 },
        Action::Sync,
        Action::Save { below_end: 1 },
        Action::Compact { keep: 0 },
        Action::Append { count: 1, bytes: 8, over: 0 },
        Action::Restart,
    ];
    run.run(&more).unwrap_or_else(|error| panic!("{context}: {error}"));
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_synced() {
    let (run, crashed) = run_into(None);
    assert!(!crashed);
    let operations = run.into_disk().operations();
    assert!(operations > 100, "the script is worth running: {operations} operations");
    for nth in 1..=operations {
        for moment in MOMENTS {
            for leftover in 0..=LEFTOVERS {
                let (run, crashed) = run_into(Some(crash_point(nth, moment)));
                assert!(crashed, "operation {nth} was reached");
                let (admissible, boot) = (run.admissible().to_vec(), run.boot);
                let mut disk = run.into_disk();
                die(&mut disk, leftover, nth);
                check_recovery(
                    disk,
                    &admissible,
                    boot,
                    &format!("operation {nth}, {moment:?}, leftover {leftover}"),
                );
            }
        }
    }
}

#[test]
fn a_crash_while_opening_after_a_crash_loses_nothing_either() {
    let operations = run_into(None).0.into_disk().operations();
    for nth in 1..=operations {
        for leftover in 0..=2 {
            let (run, _) = run_into(Some(crash_point(nth, Moment::During)));
            let (admissible, boot) = (run.admissible().to_vec(), run.boot);
            let mut crashed = run.into_disk();
            die(&mut crashed, leftover, nth);
            for second in 1.. {
                let mut disk = crashed.clone();
                disk.crash_at(crash_point(second, MOMENTS[(second % 3) as usize]));
                let mut disk = match Wal::open(disk, options()) {
                    Ok(_) => break,
                    Err(failure) => failure.disk,
                };
                die(&mut disk, (nth + second) % 3, second);
                check_recovery(
                    disk,
                    &admissible,
                    boot,
                    &format!("operation {nth}, then {second}, leftover {leftover}"),
                );
            }
        }
    }
}

#[test]
fn power_loss_between_operations_keeps_what_was_synced() {
    for leftover in 1..=40 {
        let (mut run, _) = Run::start(SimDisk::new(), options());
        let (mut actions, script) = (0, script());
        for action in script.iter().cycle().take(script.len() + leftover as usize) {
            run.act(action).expect("powered");
            actions += 1;
            let mut disk = run.wal().disk().clone();
            die(&mut disk, leftover, actions);
            check_recovery(
                disk,
                run.admissible(),
                run.boot,
                &format!("after action {actions}, leftover {leftover}"),
            );
        }
    }
}

#[test]
fn after_a_disk_error_every_call_fails_even_when_the_power_is_back() {
    let (mut run, _) = run_into(None);
    run.wal().disk_mut().crash_at(crash_point(1, Moment::Before));
    assert!(run.act(&Action::Vote).is_err());
    run.wal().disk_mut().restart();
    for action in [Action::Vote, Action::Sync, Action::Compact { keep: 0 }] {
        let error = run.act(&action).expect_err("poisoned");
        assert!(error.contains("failed earlier"), "{error}");
    }
}
