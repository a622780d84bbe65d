"""How fast the linearizability checker is and how much memory it needs, side by side with Porcupine.

Each measurement is a process of its own on one core, with the history in memory before the clock starts; ours is the
median of several, Porcupine's is one, ended after a time and held to an amount of memory. Seconds are those for which
the processor worked, of both: what a clock shows where nobody else wants it. Porcupine is built from `ci/porcupine`;
where no Go is there, its columns are empty. Both must give the same verdict.

`--write` puts the table into docs/checkers.md, as it was measured.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "checkers.md"
MARKERS = ("<!-- bench -->\n", "<!-- /bench -->")
CARGO = ("cargo", "--locked", "--manifest-path", str(ROOT / "rust_core" / "Cargo.toml"))
MEGABYTE = 1e6

OURS_RUNS = 5
OURS_TIMEOUT_S = 60.0
PORCUPINE_TIMEOUT_S = 60.0
PORCUPINE_MEMORY_BYTES = 8 << 30


@dataclass(frozen=True)
class History:
    """A file, with the model that judges it."""

    path: Path
    model: str = "cas-register"
    whole: bool = False
    """A map judged without parting it by key."""


@dataclass(frozen=True)
class Outcome:
    """What a checker did with one history."""

    verdict: str
    """`valid`, `invalid`, or why there is none."""
    seconds: float
    peak_bytes: int | None = None
    how: str = ""

    @property
    def decided(self) -> bool:
        """Whether there is a verdict."""
        return self.verdict in {"valid", "invalid"}


@dataclass(frozen=True)
class Row:
    """A line of the table: the slowest of its histories counts, or all of them together."""

    work: str
    target_s: float
    target_mb: float | None
    histories: Callable[["Histories"], Iterable[History]]
    command: bool = False
    """The whole command counts, from its start to its end, reading included."""
    together: bool = False
    hopeless: bool = False
    """Porcupine is known to end without an answer on some of them: `--quick` does not ask it."""
    porcupine_timeout_s: float = PORCUPINE_TIMEOUT_S


@dataclass
class Histories:
    """Makes histories when they are wanted; the same options are made once."""

    directory: Path
    generator: Path
    porcupine_data: Path | None
    made: dict[str, Path] = field(default_factory=dict)

    def generated(self, options: str) -> History:
        """What `examples/generate.rs` makes of these options."""
        if options not in self.made:
            path = self.directory / f"{len(self.made)}.jsonl"
            with path.open("wb") as output:
                subprocess.run([self.generator, *options.split()], stdout=output, check=True)
            self.made[options] = path
        return History(self.made[options])

    def of_porcupine(
        self, pattern: str, *, model: str = "cas-register", whole: bool = False
    ) -> list[History]:
        """Histories that Porcupine carries, the empty one left out."""
        if self.porcupine_data is None:
            return []
        paths = sorted(path for path in self.porcupine_data.glob(pattern) if path.stat().st_size)
        return [History(path, model, whole) for path in paths]


def rows() -> Iterator[Row]:
    """The table of what is promised."""
    yield Row(
        "the 102 etcd histories that Porcupine carries", 0.20, None,
        lambda make: make.of_porcupine("jepsen/*.log"), together=True,
    )  # fmt: skip
    for operations, clients, target_s, target_mb in ((10_000, 10, 0.020, 16.0), (100_000, 20, 1.0, 64.0)):
        for values in ("unique", "5"):
            for stale in ("", " --stale"):
                yield Row(
                    f"{operations:,} operations, C = {clients}, {values} values, "
                    f"{'one stale read' if stale else 'valid'}",
                    target_s,
                    target_mb,
                    one(f"--operations {operations} --clients {clients} --values {values}{stale}"),
                    hopeless=operations == 100_000,
                )
    for operations, target_s, most_mb in ((100_000, 0.050, None), (1_000_000, 1.0, 256.0)):
        for failing in ("", " --no-mismatch"):
            yield Row(
                f"{operations:,} operations, C = 10, unique values{', no cas fails' if failing else ''}",
                target_s,
                most_mb,
                one(f"--operations {operations} --clients 10 --values unique{failing}"),
                hopeless=True,
            )
    for name, words in (("c10-ok", "valid"), ("c10-bad", "not")):
        yield Row(
            f"key-value, 10 clients, not partitioned, {words}", 0.5, 64, key_value(name)
        )  # fmt: skip
    for operations in (1_000, 10_000):
        for values in ("unique", "5"):
            for stale in ("", " --stale"):
                yield Row(
                    f"{operations:,} operations, C = 5, {values} values, {'not valid' if stale else 'valid'}: "
                    "the slowest of 5, 10, 20, 50 unknown",
                    1.0,
                    None,
                    several(
                        f"--operations {operations} --clients 5 --values {values} --unknown {unknown}{stale}"
                        for unknown in (5, 10, 20, 50)
                    ),
                    hopeless=True,
                    porcupine_timeout_s=10.0,
                )

    yield Row(
        "`mcp-chaos check` on a file of 100,000 operations, C = 10, unique values, all in",
        0.6,
        None,
        one("--operations 100000 --clients 10 --values unique"),
        command=True,
        hopeless=True,
    )


RAFT = "the Raft checks, a trace of 1,000,000 records"


def raft() -> list[str]:
    """The cells of the Raft checks, which have no peer."""
    command = [CARGO[0], "run", "--quiet", "--release", *CARGO[1:]]
    command += ["--package", "mcp-chaos-checker", "--example", "raft_speed"]
    subprocess.run([*command[:1], "build", *command[2:]], check=True)
    # Making the trace takes a minute.
    ended = pinned(command, timeout_s=900)
    seconds = ended.worked(json.loads(ended.done.stdout)["seconds"])
    return [RAFT, "1.0 s", seconds_in_words(seconds), "", "yes" if seconds <= 1 else "**no**", "", "", ""]


def one(options: str) -> Callable[[Histories], list[History]]:
    return several([options])


def several(options: Iterable[str]) -> Callable[[Histories], list[History]]:
    listed = list(options)
    return lambda make: [make.generated(each) for each in listed]


def key_value(name: str) -> Callable[[Histories], list[History]]:
    return lambda make: make.of_porcupine(f"kv/{name}.txt", model="key-value", whole=True)


@dataclass(frozen=True)
class Ended:
    """A command that has ended, the seconds for which the processor worked on it, and those of the clock."""

    done: subprocess.CompletedProcess[str]
    worked_s: float
    elapsed_s: float

    def worked(self, elapsed_s: float) -> float:
        """Of a part of the command that took so long by the clock: how long the processor worked on it."""
        return elapsed_s * min(self.worked_s / self.elapsed_s, 1.0)


def pinned(
    command: list[str],
    *,
    timeout_s: float,
    memory_bytes: int | None = None,
    variables: dict[str, str] | None = None,
) -> "Ended":
    """Runs a command on one core. The last one: the first serves most interrupts."""

    def confine() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        if memory_bytes is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

    environment = {**os.environ, **(variables or {})}
    if memory_bytes is not None:
        # Go collects garbage before it runs into the limit.
        environment["GOMEMLIMIT"] = str(memory_bytes * 7 // 8)
    began_s = time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        preexec_fn=confine,
        env=environment,
        check=False,
    )
    elapsed_s = time.perf_counter() - began_s
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Ended(done, now.ru_utime - used.ru_utime + now.ru_stime - used.ru_stime, elapsed_s)


@dataclass(frozen=True)
class Checkers:
    """The programs that are compared."""

    decide: Path
    porcupine: Path | None

    def ours(self, row: Row, history: History, runs: int) -> Outcome:
        """The median of several runs."""
        if row.command:
            timed = [self._our_command(history) for _ in range(runs)]
            return Outcome(timed[0].verdict, statistics.median(outcome.seconds for outcome in timed))
        # What reading the history has freed must not serve the search unseen: the C library gives it back.
        for_memory = self._ours(history, {"MALLOC_MMAP_THRESHOLD_": "65536"})
        if not for_memory.decided:
            return for_memory
        timed = [self._ours(history) for _ in range(runs)]
        assert {outcome.verdict for outcome in timed} == {for_memory.verdict}, (history, timed)
        seconds = statistics.median(outcome.seconds for outcome in timed)
        return replace(for_memory, seconds=seconds)

    def _ours(self, history: History, variables: dict[str, str] | None = None) -> Outcome:
        command = [str(self.decide), str(history.path), "--model", history.model]
        command += ["--seconds", f"{OURS_TIMEOUT_S:.0f}", *(["--whole"] if history.whole else [])]
        done = pinned(command, timeout_s=OURS_TIMEOUT_S + 60, variables=variables).done
        if done.returncode != 0:
            raise SystemExit(f"bench_checkers: {' '.join(command)}: {done.stderr}")
        report = json.loads(done.stdout)
        verdict = report["verdict"] if report["verdict"] != "unknown" else report["reason"].partition(":")[0]
        return Outcome(verdict, report["cpu_s"], report["peak_bytes"], "+".join(report["algorithms"]))

    def _our_command(self, history: History) -> Outcome:
        command = [sys.executable, "-m", "harness.cli", "check", str(history.path), "--model", history.model]
        ended = pinned(command, timeout_s=OURS_TIMEOUT_S)
        verdict = {0: "valid", 1: "invalid"}.get(ended.done.returncode)
        if verdict is None:
            raise SystemExit(f"bench_checkers: {' '.join(command)}: {ended.done.stderr}")
        return Outcome(verdict, ended.worked_s)

    def theirs(self, row: Row, history: History) -> Outcome:
        """Porcupine's, once."""
        assert self.porcupine is not None
        timeout_s = row.porcupine_timeout_s
        command = [str(self.porcupine), f"-timeout={timeout_s}s", *(["-whole"] if history.whole else [])]
        command.append(str(history.path))
        try:
            ended = pinned(command, timeout_s=timeout_s + 60, memory_bytes=PORCUPINE_MEMORY_BYTES)
        except subprocess.TimeoutExpired:
            return Outcome("out of time", timeout_s)
        done = ended.done
        if done.returncode != 0:
            if "out of memory" in done.stderr or "cannot allocate memory" in done.stderr:
                return Outcome("out of memory", ended.worked_s)
            raise SystemExit(f"bench_checkers: {' '.join(command)}: {done.stderr[:2000]}")
        report = json.loads(done.stdout)
        verdict = {"ok": "valid", "illegal": "invalid", "unknown": "out of time"}[report["verdict"]]
        if row.command:
            return Outcome(verdict, ended.worked_s)
        return Outcome(verdict, ended.worked(report["seconds"]), report.get("peak_bytes"))


def collapse(row: Row, outcomes: list[Outcome]) -> Outcome:
    """A row's figures of those of its histories: their sum, or the slowest's time and the largest's memory."""
    undecided = [outcome for outcome in outcomes if not outcome.decided]
    slowest = max(undecided or outcomes, key=lambda outcome: outcome.seconds)
    verdict = slowest.verdict
    if undecided and len(outcomes) > 1:
        verdict = f"{verdict} ({len(undecided)} of {len(outcomes)} without an answer)"
    peaks = [outcome.peak_bytes for outcome in outcomes if outcome.peak_bytes is not None]
    seconds = sum(outcome.seconds for outcome in outcomes) if row.together else slowest.seconds
    hows = ", ".join(sorted({outcome.how for outcome in outcomes}))
    return Outcome(verdict, seconds, max(peaks) if peaks else None, hows)


def seconds_in_words(seconds: float) -> str:
    return (
        f"{seconds * 1e3:.2g} ms"
        if seconds < 0.01
        else f"{seconds * 1e3:.0f} ms"
        if seconds < 1
        else f"{seconds:.1f} s"
    )


def figures(outcome: Outcome | None) -> tuple[str, str]:
    """Time and memory as the table shows them."""
    if outcome is None:
        return "", ""
    time_shown = seconds_in_words(outcome.seconds)
    if not outcome.decided:
        time_shown = f"{outcome.verdict}, {time_shown}"
    megabytes = "" if outcome.peak_bytes is None else f"{outcome.peak_bytes / MEGABYTE:,.0f} MB"
    return time_shown, megabytes


def measure(row: Row, make: Histories, checkers: Checkers, *, quick: bool) -> list[str] | None:
    """The row's cells; none if it needs histories that are not there."""
    histories = list(row.histories(make))
    if not histories:
        return None
    runs = 3 if len(histories) > 1 else OURS_RUNS
    each = [checkers.ours(row, history, runs) for history in histories]
    ours = collapse(row, each)
    theirs: Outcome | None = None
    if checkers.porcupine is not None and not (quick and row.hopeless):
        answers = [checkers.theirs(row, history) for history in histories]
        for history, mine, other in zip(histories, each, answers, strict=True):
            if mine.decided and other.decided and mine.verdict != other.verdict:
                raise SystemExit(
                    f"bench_checkers: {history}: ours says {mine.verdict}, Porcupine {other.verdict}"
                )
        theirs = collapse(row, answers)
    target = seconds_in_words(row.target_s) + ("" if row.target_mb is None else f", {row.target_mb:.0f} MB")
    reached = ours.decided and ours.seconds <= row.target_s
    if row.target_mb is not None and ours.peak_bytes is not None:
        reached = reached and ours.peak_bytes <= row.target_mb * 1_048_576
    return [row.work, target, *figures(ours), "yes" if reached else "**no**", ours.how, *figures(theirs)]


HEAD = ["work", "at most", "ours", "memory", "reached", "by", "Porcupine 1.3.1", "memory"]


def markdown(cells: list[list[str]]) -> str:
    lines = [HEAD, ["---"] * len(HEAD), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write(table: str) -> None:
    """Puts the table between the document's markers."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, begin, rest = text.partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not end:
        raise SystemExit(f"bench_checkers: {DOCUMENT} has no {MARKERS[0].strip()} … {MARKERS[1]}")
    DOCUMENT.write_text(f"{before}{begin}{table}{end}{after}", encoding="utf-8")


def build() -> tuple[Path, Checkers, Path | None]:
    """The generator, the checkers, and where Porcupine's histories are."""
    done = subprocess.run(
        [CARGO[0], "build", "--release", *CARGO[1:], "--package", "mcp-chaos-linearizability", "--examples",
         "--message-format=json"],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    built = [json.loads(line) for line in done.stdout.splitlines()]
    programs = {each["target"]["name"]: Path(each["executable"]) for each in built if each.get("executable")}
    porcupine: Path | None = None
    if shutil.which("go"):
        path = subprocess.check_output([ROOT / "ci" / "build-porcupine.sh"], text=True).strip()
        porcupine = Path(path)
    else:
        print("no Go: Porcupine is not measured, nor are the histories that it carries", file=sys.stderr)
    data = None if porcupine is None else porcupine.parent / "test_data"
    return programs["generate"], Checkers(programs["decide"], porcupine), data


def main() -> None:
    """Prints the table as it comes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="do not ask Porcupine where it is known to give no answer"
    )
    parser.add_argument("--only", default="", help="only rows whose work contains this")
    parser.add_argument(
        "--write", action="store_true", help=f"put the table into {DOCUMENT.relative_to(ROOT)}"
    )
    chosen = parser.parse_args()
    generator, checkers, data = build()
    cells: list[list[str]] = []
    print(markdown([]), end="")
    with tempfile.TemporaryDirectory() as directory:
        make = Histories(Path(directory), generator, data)
        for row in rows():
            if chosen.only not in row.work:
                continue
            measured = measure(row, make, checkers, quick=chosen.quick)
            if measured is not None:
                cells.append(measured)
                print(f"| {' | '.join(measured)} |", flush=True)
    if chosen.only in RAFT:
        cells.append(raft())
        print(f"| {' | '.join(cells[-1])} |", flush=True)
    if chosen.write:
        write(markdown(cells))


if __name__ == "__main__":
    main()
