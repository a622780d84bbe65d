"""The verb `replay`: the bundle's plan again. Exact on `sim`; a rate with its interval elsewhere."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from rich.console import Console

from chaos.errors import UsageError
from chaos.plan import Plan
from chaos.statistics import wilson_interval
from chaos.verdict import EXIT_HARNESS, EXIT_INTERRUPTED, EXIT_INVALID, EXIT_VALID, RunVerdict, Verdict
from harness.account import print_account
from harness.cluster import RunOptions
from harness.run import Finished, run_plan
from harness.store import Bundle


@dataclass(frozen=True)
class ReplayReport:
    """What a replay showed.

    ``difference`` is None, or where an exact replay first left the recording. ``again`` counts the runs that
    violated a check which the recorded run violated too.
    """

    exact: bool
    runs: tuple[Finished, ...]
    again: int
    broken: tuple[str, ...]
    difference: str | None

    @property
    def exit_code(self) -> int:
        """4 if an exact replay differs, 1 if the failure came again, 4 if the harness failed in all, else 0."""
        if any(run.verdict.interrupted for run in self.runs):
            return EXIT_INTERRUPTED
        if self.difference is not None:
            return EXIT_HARNESS
        if self.again:
            return EXIT_INVALID
        if all(run.verdict.harness_failures for run in self.runs):
            return EXIT_HARNESS
        return EXIT_VALID

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        low, high = wilson_interval(self.again, len(self.runs))
        return {
            "exact": self.exact,
            "recorded_violations": list(self.broken),
            "failed_again": self.again,
            "runs": [run.to_dict() for run in self.runs],
            "rate": {"share": self.again / len(self.runs), "low": low, "high": high, "confidence": 0.95},
            "difference": self.difference,
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
    if resolve not in {"afresh", "recorded"}:
        raise UsageError(f"--resolve {resolve}: expected afresh or recorded")
    plan = Plan.from_json(bundle.text("plan.json"), str(bundle.path / "plan.json"))
    exact = options.backend == "sim" and bundle.manifest.backend == "sim" and resolve == "afresh"
    if resolve == "recorded":
        nemesis = [json.loads(line) for line in bundle.text("nemesis.jsonl").splitlines()]
        anchors = {
            record["step"]: record["anchor"]
            for record in nemesis
            if record["phase"] == "install" and record.get("anchor")
        }
        options = replace(options, recorded_anchors=anchors)
    broken = violated(bundle.verdict)

    runs: list[Finished] = []
    for number in range(1, times + 1):
        run = run_plan(plan, options, progress)
        runs.append(run)
        if times == 1:
            print_account(run.bundle, console)
        else:
            console.print(f"run {number} of {times}: {describe_verdict(run.verdict)}  {run.bundle.path}")
        if run.verdict.interrupted:
            break

    difference = first_difference(bundle, runs[0].bundle) if exact else None
    again = sum(bool(set(broken) & set(violated(run.verdict))) for run in runs)
    report = ReplayReport(exact, tuple(runs), again, broken, difference)
    _print_report(report, bundle, console)
    return report


def violated(verdict: RunVerdict) -> tuple[str, ...]:
    """The names of the checks that a run violated."""
    return tuple(judged.check for judged in verdict.judgements if judged.verdict is Verdict.INVALID)


def describe_verdict(verdict: RunVerdict) -> str:
    """One word, or the names of what was violated."""
    broken = violated(verdict)
    return f"invalid ({', '.join(broken)})" if broken else verdict.verdict.value


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
        pairs = zip_longest(recorded.text(name).splitlines(), repeated.text(name).splitlines())
        for line, (before, after) in enumerate(pairs, start=1):
            if before != after:
                time_ns = min(json.loads(text)["time_ns"] for text in (before, after) if text is not None)
                found = f"{name}, line {line}: recorded {before or 'nothing'}, now {after or 'nothing'}"
                if earliest is None or time_ns < earliest[0]:
                    earliest = (time_ns, found)
                break
    if earliest is None:
        return f"the trace hashes differ, though every recorded line is the same{note}"
    return f"at {earliest[0] / 1e9:.6f} s: {earliest[1]}{note}"


def _print_report(report: ReplayReport, bundle: Bundle, console: Console) -> None:
    if report.difference is not None:
        console.print(
            f"[red]The replay is not the recorded run.[/red] First difference {report.difference}",
            markup=True,
        )
        return
    if report.exact:
        console.print(f"Exact: the trace hash equals the recorded one, {bundle.manifest.trace_hash}.")
    if not report.broken:
        console.print("The recorded run violated nothing, so there was no failure to see again.")
        return
    total = len(report.runs)
    if report.exact:
        console.print("The failure came again." if report.again else "The failure did not come again.")
    else:
        low, high = wilson_interval(report.again, total)
        interval = f"{low * 100:.0f}–{high * 100:.0f} %"
        console.print(
            f"failed {report.again} of {total} ({report.again / total:.0%}, 95 % interval {interval})"
        )
