"""The verb `replay`: the bundle's plan again. Exact on `sim`; a rate with its interval elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rich.console import Console

from chaos.errors import BundleError, UsageError
from chaos.statistics import wilson_interval
from chaos.verdict import (
    EXIT_HARNESS,
    EXIT_INTERRUPTED,
    EXIT_INVALID,
    EXIT_UNKNOWN,
    EXIT_VALID,
    RunVerdict,
    Verdict,
)
from harness.account import print_account
from harness.cluster import RunOptions
from harness.recorded import anchors_of, plan_of
from harness.run import Finished, run_plan
from harness.store import Bundle, parse_record


@dataclass(frozen=True)
class ReplayReport:
    """What a replay showed.

    ``difference`` is None, or where an exact replay first left the recording. ``again`` counts the runs that
    violated a check which the recorded run violated too, of ``judged`` runs: those in which the harness did its
    part.
    """

    exact: bool
    runs: tuple[Finished, ...]
    broken: tuple[str, ...]
    difference: str | None
    interrupted: bool

    @property
    def judged(self) -> int:
        """How many runs say something about the system."""
        return sum(not run.verdict.harness_failures or bool(violated(run.verdict)) for run in self.runs)

    @property
    def again(self) -> int:
        """How many of them failed as the recorded run did."""
        return sum(bool(set(self.broken) & set(violated(run.verdict))) for run in self.runs)

    @property
    def exit_code(self) -> int:
        """130 interrupted; 4 if an exact replay differs; 1 if the failure came again; else 4 if the harness failed in
        any run, 3 if any is unknown, 0.
        """
        if self.interrupted:
            return EXIT_INTERRUPTED
        if self.difference is not None:
            return EXIT_HARNESS
        if self.again:
            return EXIT_INVALID
        if self.judged < len(self.runs) or any(run.rescued_because for run in self.runs):
            return EXIT_HARNESS
        unknown = any(run.verdict.verdict is Verdict.UNKNOWN for run in self.runs)
        return EXIT_UNKNOWN if unknown else EXIT_VALID

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``. ``rate`` is null if no run could be judged."""
        rate = None
        if self.judged:
            low, high = wilson_interval(self.again, self.judged)
            rate = {"share": self.again / self.judged, "low": low, "high": high, "confidence": 0.95}
        return {
            "exact": self.exact,
            "recorded_violations": list(self.broken),
            "failed_again": self.again,
            "judged": self.judged,
            "runs": [run.to_dict() for run in self.runs],
            "rate": rate,
            "difference": self.difference,
            "interrupted": self.interrupted,
            "exit_code": self.exit_code,
        }


def replay_bundle(
    bundle: Bundle,
    options: RunOptions,
    *,
    times: int,
    resolve: str,
    console: Console,
    progress: Callable[[str], None],
) -> ReplayReport:
    """Runs the bundle's plan ``times`` times on ``options.backend`` and compares with what was recorded.

    Raises BundleError for a bundle that cannot be read, UsageError for a ``resolve`` that does not exist.
    """
    check_resolve(resolve)
    bundle.verify()
    plan = plan_of(bundle)
    exact = options.backend == "sim" and bundle.manifest.backend == "sim" and resolve == "afresh"
    if resolve == "recorded":
        options = replace(options, recorded_anchors=anchors_of(bundle))
    broken = violated(bundle.verdict)

    runs: list[Finished] = []
    difference = None
    interrupted = False
    for number in range(1, times + 1):
        try:
            run = run_plan(plan, options, progress)
        except KeyboardInterrupt:  # on `sim`; a real run notes the signal, and keeps what it saw
            interrupted = True
            break
        runs.append(run)
        if times == 1:
            print_account(run.bundle, console)
        else:
            told = f"run {number} of {times}: {describe_verdict(run.verdict)}  {run.bundle.path}"
            console.print(told, markup=False)
        if run.verdict.interrupted:
            interrupted = True
            break
        if exact and difference is None:
            difference = first_difference(bundle, run.bundle)
    report = ReplayReport(exact, tuple(runs), broken, difference, interrupted)
    _print_report(report, bundle, console)
    return report


def check_resolve(resolve: str) -> None:
    """Raises UsageError for a way to resolve targets that does not exist."""
    if resolve not in {"afresh", "recorded"}:
        raise UsageError(f"--resolve {resolve}: expected afresh or recorded")


def violated(verdict: RunVerdict) -> tuple[str, ...]:
    """The names of the checks that a run violated."""
    return tuple(judged.check for judged in verdict.judgements if judged.verdict is Verdict.INVALID)


def describe_verdict(verdict: RunVerdict) -> str:
    """One word, or the names of what was violated."""
    broken = violated(verdict)
    return f"invalid ({', '.join(broken)})" if broken else verdict.verdict.value


def _time_ns(text: str, path: Path, line: int) -> int:
    time_ns = parse_record(text, path, line).get("time_ns")
    if not isinstance(time_ns, int):
        raise BundleError(f"{path}:{line}: expected a record with its time_ns")
    return time_ns


def first_difference(recorded: Bundle, repeated: Bundle) -> str | None:
    """None if the trace hashes are equal, else the first line in which the two recordings part."""
    if recorded.manifest.trace_hash == repeated.manifest.trace_hash:
        return None
    builds = recorded.manifest.builds, repeated.manifest.builds
    note = "" if builds[0] == builds[1] else f" (recorded by {builds[0]}, repeated by {builds[1]})"
    earliest: tuple[int, str] | None = None
    for name in ["history.jsonl", "nemesis.jsonl", *recorded.names("trace/")]:
        if name not in repeated.manifest.files:
            return f"{name}: not in the repeated run{note}"
        pairs = zip_longest(recorded.lines(name), repeated.lines(name))
        for line, (before, after) in enumerate(pairs, start=1):
            if before != after:
                time_ns = min(
                    _time_ns(text, bundle.path / name, line)
                    for text, bundle in ((before, recorded), (after, repeated))
                    if text is not None
                )
                found = f"{name}, line {line}: recorded {before or 'nothing'}, now {after or 'nothing'}"
                if earliest is None or time_ns < earliest[0]:
                    earliest = (time_ns, found)
                break
    if earliest is None:
        return f"the trace hashes differ, though every recorded line is the same{note}"
    return f"at {earliest[0] / 1e9:.6f} s: {earliest[1]}{note}"


def _print_report(report: ReplayReport, bundle: Bundle, console: Console) -> None:
    if report.difference is not None:
        console.print("The replay is not the recorded run.", style="red")
        console.print(f"First difference {report.difference}", markup=False)
        return
    if not report.runs:
        console.print("Interrupted before the first run was over.")
        return
    if report.exact:
        console.print(f"Exact: the trace hash equals the recorded one, {bundle.manifest.trace_hash}.")
    if not report.broken:
        console.print("The recorded run violated nothing, so there was no failure to see again.")
    elif report.exact:
        console.print("The failure came again." if report.again else "The failure did not come again.")
    elif report.judged:
        low, high = wilson_interval(report.again, report.judged)
        interval = f"{low * 100:.0f}–{high * 100:.0f} %"
        share = f"{report.again / report.judged:.0%}"
        console.print(f"failed {report.again} of {report.judged} ({share}, 95 % interval {interval})")
    unjudged = len(report.runs) - report.judged
    if unjudged:
        console.print(f"In {unjudged} more the harness failed; they say nothing.")
