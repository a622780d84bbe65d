//! Decides a history, and says what that cost: a JSON line on standard output.
//!
//! `cargo run --release -p mcp-chaos-linearizability --example decide -- HISTORY [--model cas-register]`
//!
//! The clock runs while the history, in memory already, is prepared and judged. Memory is what judging added to the
//! process at its peak, so a measurement of it is a process of its own (`ci/bench_checkers.py`).

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a measurement reads the clock")]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use mcp_chaos_history::{History, Value, read_any};
use mcp_chaos_linearizability::{Limits, Options, Stop, Watch, check};
use serde_json::json;

const HELP: &str = "\
decide HISTORY      in any format that docs/histories.md describes
--model NAME        what is judged (cas-register)
--algorithm NAME    only this one, instead of all that fit
--whole             a map that is not parted by key
--runs N            how often it is judged: the median counts (1)
--seconds S         give up after so many (60)
--memory-mb M       the most that the search may hold (1024)";

struct Asked {
    file: String,
    model: String,
    options: Options,
    runs: usize,
    limits: Limits,
    seconds: u64,
}

fn main() -> ExitCode {
    match asked(std::env::args().skip(1)).and_then(|asked| measure(&asked)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("decide: {why}");
            ExitCode::from(2)
        }
    }
}

fn asked(mut arguments: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut asked = Asked {
        file: String::new(),
        model: "cas-register".to_owned(),
        options: Options::default(),
        runs: 1,
        limits: Limits::default(),
        seconds: 60,
    };
    while let Some(argument) = arguments.next() {
        let mut text = || arguments.next().ok_or_else(|| format!("{argument} takes a value\n{HELP}"));
        let number = |text: String| {
            text.parse::<u64>().map_err(|_| format!("{argument} takes a whole number, not '{text}'"))
        };
        match argument.as_str() {
            "--model" => asked.model = text()?,
            "--algorithm" => asked.options.algorithm = Some(text()?),
            "--runs" => asked.runs = number(text()?)?.max(1) as usize,
            "--seconds" => asked.seconds = number(text()?)?,
            "--memory-mb" => asked.limits.memory_bytes = number(text()?)? << 20,
            "--whole" => {
                asked.options.model.parted = Some(false);
            }
            _ if !argument.starts_with('-') && asked.file.is_empty() => asked.file = argument,
            _ => return Err(format!("'{argument}' is not understood\n{HELP}")),
        }
    }
    if asked.file.is_empty() {
        return Err(format!("which history?\n{HELP}"));
    }
    if asked.model == "key-value" {
        // As in the histories of Go's MIT 6.824 course, which Porcupine carries.
        asked.options.model.missing = Some(Value::text(""));
    }
    Ok(asked)
}

/// Ends a check whose time is over.
struct Deadline(Instant);

impl Watch for Deadline {
    fn stop(&self) -> Option<Stop> {
        (Instant::now() >= self.0).then_some(Stop::Time)
    }
}

fn measure(asked: &Asked) -> Result<serde_json::Value, String> {
    let began = Instant::now();
    let history = load(&asked.file)?;
    let load = began.elapsed();

    // Forgets the process's peak so far (proc(5), clear_refs).
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = status("VmRSS");
    let mut peak = None;
    let mut times = Vec::with_capacity(asked.runs);
    let mut processor = Vec::with_capacity(asked.runs);
    let mut last = None;
    for _ in 0..asked.runs {
        let (began, ran) = (Instant::now(), on_processor());
        let watch = Deadline(began + Duration::from_secs(asked.seconds));
        let report = check(&history, &asked.model, &asked.options, &asked.limits, &watch)?;
        times.push(began.elapsed());
        processor.extend(on_processor().zip(ran).map(|(now, then)| now.saturating_sub(then)));
        // Later runs find memory that the first has freed.
        peak = peak.or_else(|| Some(status("VmHWM")?.saturating_sub(before?)));
        last = Some(report);
    }
    times.sort_unstable();
    processor.sort_unstable();
    let report = last.ok_or("no run")?;
    Ok(json!({
        "file": asked.file,
        "operations": report.operations,
        "verdict": report.verdict,
        "reason": report.reason,
        "algorithms": report.algorithms.keys().collect::<Vec<_>>(),
        "load_s": load.as_secs_f64(),
        "seconds": times[times.len() / 2].as_secs_f64(),
        "cpu_s": processor.get(processor.len() / 2).map(Duration::as_secs_f64),
        "steps": report.steps,
        "peak_bytes": peak,
        "search_bytes": report.peak_bytes,
    }))
}

fn load(file: &str) -> Result<History, String> {
    let text = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    read_any(&text, &mcp_chaos_history::Options::default()).map_err(|error| format!("{file}: {error}"))
}

/// How long this thread has run: what the clock shows where nobody else wants the processor (proc(5), schedstat).
fn on_processor() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// The process's figure of this name, in bytes; none where the system does not tell.
fn status(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
