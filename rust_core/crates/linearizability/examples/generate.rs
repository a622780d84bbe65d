//! Writes a history of a register as JSON Lines (docs/formats.md), to measure checkers with.
//!
//! `cargo run --release -p mcp-chaos-linearizability --example generate -- --operations 10000 --clients 10 > h.jsonl`
//!
//! `--help` lists the options. The same options give the same file.

use std::{
    fmt::Display,
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use workload::{Action, Edge, Ending, Held, Operation, Shape, Stale, Workload};

mod workload;

const HELP: &str = "\
--operations N      how many operations (10000)
--clients C         how many are always in flight (10)
--values unique|K   each mutation has a value of its own, or one of K (unique)
--unknown U         how many end unknown (0)
--cas PERCENT       the share of compare-and-sets; of the rest half are reads, half are writes (20)
--no-mismatch       no compare-and-set fails; else about half of them do
--stale             one read near the end finds a value overwritten long before
--seed S            (1)";

fn main() -> ExitCode {
    match options(std::env::args().skip(1)) {
        Ok(Some(shape)) => match print(&shape) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failure(&error),
        },
        Ok(None) => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(why) => failure(&why),
    }
}

fn failure(why: &dyn Display) -> ExitCode {
    eprintln!("generate: {why}");
    ExitCode::from(2)
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Option<Shape>, String> {
    let mut shape = Shape::default();
    while let Some(name) = arguments.next() {
        let mut number = || -> Result<u64, String> {
            let text = arguments.next().unwrap_or_default();
            text.parse().map_err(|_| format!("{name} takes a whole number, not '{text}'"))
        };
        match name.as_str() {
            "--help" => return Ok(None),
            "--stale" => shape.stale = true,
            "--no-mismatch" => shape.mismatch = false,
            "--operations" => shape.operations = number()? as usize,
            "--clients" => shape.clients = number()? as usize,
            "--unknown" => shape.unknown = number()? as usize,
            "--cas" => shape.cas_percent = number()?,
            "--seed" => shape.seed = number()?,
            "--values" => {
                let text = arguments.next().unwrap_or_default();
                shape.values = match text.as_str() {
                    "unique" => None,
                    _ => Some(
                        text.parse()
                            .ok()
                            .filter(|values| *values > 0)
                            .ok_or_else(|| format!("--values takes unique or a number, not '{text}'"))?,
                    ),
                };
            }
            _ => return Err(format!("there is no option {name}; there are\n{HELP}")),
        }
    }
    if shape.clients == 0 || shape.cas_percent > 100 || shape.unknown > shape.operations {
        return Err(
            "at least one client, at most 100 % of cas, no more unknown outcomes than operations".into()
        );
    }
    Ok(Some(shape))
}

fn print(shape: &Shape) -> io::Result<()> {
    let Workload { operations, events, stale } = workload::register(shape);
    if shape.stale {
        match stale {
            Some((_, Stale::Overwritten)) => {}
            Some((_, Stale::NeverWritten)) => {
                eprintln!(
                    "generate: no overwritten value is certainly gone: the read finds what nobody wrote"
                );
            }
            None => eprintln!("generate: there is no read to make stale"),
        }
    }
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    for (index, (number, edge)) in events.iter().enumerate() {
        print_event(&mut out, index, &operations[*number], *edge)?;
    }
    out.flush()
}

fn print_event(out: &mut impl Write, index: usize, operation: &Operation, edge: Edge) -> io::Result<()> {
    let kind = match (edge, operation.ending) {
        (Edge::Invoke, _) => "invoke",
        (Edge::Complete, Ending::Ok(_)) => "ok",
        (Edge::Complete, Ending::Mismatch) => "fail",
        (Edge::Complete, Ending::Unknown) => "info",
    };
    let f = match operation.action {
        Action::Read => "read",
        Action::Write(_) => "write",
        Action::Cas(..) => "cas",
    };
    let (time_ns, process) = (index as u64 * 1_000_000, operation.process);
    write!(
        out,
        r#"{{"index":{index},"time_ns":{time_ns},"process":{process},"type":"{kind}","f":"{f}","key":"k0","value":"#
    )?;
    match operation.action {
        Action::Read => {
            let found =
                if let (Edge::Complete, Ending::Ok(found)) = (edge, operation.ending) { found } else { None };
            write!(out, "{}", Json(found))?;
        }
        Action::Write(new) => write!(out, "{new}")?,
        Action::Cas(expected, new) => write!(out, "[{},{new}]", Json(expected))?,
    }
    let error = match kind {
        "fail" => r#","error":"mismatch""#,
        "info" => r#","error":"timeout""#,
        _ => "",
    };
    writeln!(out, "{error}}}")
}

/// A value as JSON.
struct Json(Held);

impl Display for Json {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self.0 {
            Some(value) => write!(formatter, "{value}"),
            None => formatter.write_str("null"),
        }
    }
}
