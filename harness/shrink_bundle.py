"""The verb `shrink`: a bundle that failed → the simplest plan that fails alike, as a bundle and as a scenario file.

A bundle from real containers is looked for in simulation first, where a plan is tried in milliseconds and fails
always or never. Only what is not found there is shrunk where it was seen, run by run.
"""

import contextlib
import json
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from chaos.document import show_path
from chaos.errors import ChaosError, InfrastructureError, UsageError
from chaos.plan import Plan, describe, describe_when
from chaos.reduce import nearby
from chaos.scenario import load_scenario
from chaos.signature import Signature, reason_of, signature_of
from chaos.timeline import counted
from chaos.verdict import EXIT_INTERRUPTED, EXIT_INVALID, EXIT_UNKNOWN
from harness.cluster import RunOptions, carries_out
from harness.files import write_whole
from harness.recorded import anchors_of, plan_of
from harness.repeat import Rate, shrink_by_repeating
from harness.run import Finished, keep
from harness.shrink import candidate_text, operations_of, shrink_on_sim
from harness.store import Bundle
from harness.trial import Trial, try_plan

Progress = Callable[[str], None]

_NO_SHAPE = "violated"
"""The shape in a signature where the check said none."""
_OTHER_SEEDS = 30
_TAG = "regression"
"""What a candidate is tagged with."""
_SHARE_OF_SEARCH = 1 / 3
"""How much of the time may go to finding in simulation what containers showed."""


@dataclass(frozen=True)
class Size:
    """How large a failing run is."""

    steps: int
    nodes: int
    clients: int
    operations: int
    """Those that clients did, but for the recovery's."""
    workload_s: float

    @classmethod
    def of(cls, plan: Plan, history: bytes) -> "Size":
        """Of a plan, and a run of it."""
        clients = plan.document["workload"]["clients"]
        done = len(operations_of(history))
        return cls(len(plan.steps), plan.nodes, clients, done, plan.workload_ns / 1e9)

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return dict(vars(self))


@dataclass(frozen=True)
class Kept:
    """What a shrunk failure is kept as."""

    plan: Plan
    after: Size
    bundle: Path
    neighbour: Path | None
    """The bundle of the nearest plan that passes."""
    difference: str | None
    """What is different in that plan, in words."""
    candidate: Path
    """The scenario file."""


@dataclass(frozen=True)
class ShrinkReport:
    """What shrinking a bundle came to. ``kept`` is None if the failure could not be seen again."""

    source: Path
    signature: Signature
    backend: str
    """Where it was shrunk."""
    how: str
    """How the failure was come by there, in words."""
    before: Size
    kept: Kept | None
    trials: int
    seconds: float
    finished: bool
    interrupted: bool
    rates: tuple[Rate, Rate] | None = None
    """How often the plan failed, before and after; None on `sim`, where a plan fails always or never."""
    problem: str | None = None

    @property
    def exit_code(self) -> int:
        """130 interrupted, 1 a failure was kept, 3 it did not come again."""
        if self.interrupted:
            return EXIT_INTERRUPTED
        return EXIT_UNKNOWN if self.kept is None else EXIT_INVALID

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        kept = self.kept
        return {
            "source": str(self.source),
            "signature": str(self.signature),
            "backend": self.backend,
            "how": self.how,
            "before": self.before.to_dict(),
            "after": None if kept is None else kept.after.to_dict(),
            "plan_id": None if kept is None else kept.plan.plan_id,
            "bundle": None if kept is None else str(kept.bundle),
            "neighbour": None if kept is None or kept.neighbour is None else str(kept.neighbour),
            "difference": None if kept is None else kept.difference,
            "candidate": None if kept is None else str(kept.candidate),
            "replay": None if kept is None else _replay(kept.bundle),
            "rates": None
            if self.rates is None
            else dict(zip(("before", "after"), map(_rate, self.rates), strict=True)),
            "trials": self.trials,
            "seconds": round(self.seconds, 3),
            "finished": self.finished,
            "interrupted": self.interrupted,
            "problem": self.problem,
            "exit_code": self.exit_code,
        }


def shrink_bundle(
    bundle: Bundle,
    options: RunOptions,
    *,
    backend: str | None,
    seconds: float,
    most_trials: int,
    candidate: Path | None,
    progress: Progress,
    other_seeds: int = 0,
) -> ShrinkReport:
    """Shrinks what the bundle failed with, and keeps it.

    ``backend``: where; None for `sim` if the failure shows there, else where the bundle is from. ``most_trials``:
    how often at most a candidate is run where runs differ. ``candidate``: where the scenario file goes, if not
    below ``options.out``. ``other_seeds``: see `shrink_on_sim`.

    Raises BundleError for a bundle that cannot be read, UsageError for one that violated nothing, or for a
    ``candidate`` that cannot be written or is somebody's work; both before anything is tried.
    """
    if backend not in {None, "sim", "docker"}:
        raise UsageError(f"--backend {backend}: expected sim or docker")
    bundle.verify()
    plan = plan_of(bundle)
    signature = signature_of(bundle.verdict.judgements)
    if signature is None:
        raise UsageError(f"{bundle.path}: this run violated nothing, so there is no failure to shrink")
    if candidate is not None:
        _check_candidate(candidate)
    shrinking = _Shrinking(
        bundle, plan, signature, options, seconds, most_trials, candidate, progress, other_seeds
    )
    return shrinking.carry_out(backend)


class _Shrinking:
    """One bundle on its way."""

    def __init__(
        self,
        bundle: Bundle,
        plan: Plan,
        signature: Signature,
        options: RunOptions,
        seconds: float,
        most_trials: int,
        candidate: Path | None,
        progress: Progress,
        other_seeds: int,
    ) -> None:
        self._bundle = bundle
        self._other_seeds = other_seeds
        self._plan = plan
        self._signature = signature
        self._simulated = replace(options, backend="sim")
        self._real = replace(options, backend="docker")
        self._seconds = seconds
        self._most_trials = most_trials
        self._candidate = candidate
        self._progress = progress
        self._began_s = time.monotonic()
        self._searched = 0
        self._before = Size.of(plan, bundle.read("history.jsonl"))

    def carry_out(self, backend: str | None) -> ShrinkReport:
        """See `shrink_bundle`."""
        from_sim = self._bundle.manifest.backend == "sim"
        if backend != "docker":
            found, interrupted = None, False
            try:
                found = self._again() if from_sim else self._found_in_simulation()
            except KeyboardInterrupt:
                interrupted = True
            if found is not None:
                return self._on_sim(found)
            if interrupted or from_sim or backend == "sim":
                tried = f"not seen again in simulation ({counted(self._searched, 'plan')} tried)"
                return self._report("sim", tried, None, 0, finished=not interrupted, interrupted=interrupted)
        searched = (
            f"; in simulation it was not found ({counted(self._searched, 'plan')} tried)"
            if self._searched
            else ""
        )
        return self._on_docker(f"the recorded plan, run by run{searched}")

    def _again(self) -> Plan | None:
        """The plan itself, if it still fails."""
        return self._plan if self._shows(self._plan) else None

    def _shows(self, plan: Plan) -> bool:
        self._searched += 1
        found = try_plan(plan, self._simulated).signature
        if found is not None and found.check == self._signature.check and self._signature.shape == _NO_SHAPE:
            self._signature = found  # the release that recorded it did not say how the check was violated
        return found == self._signature

    def _found_in_simulation(self) -> Plan | None:
        """A plan that shows in simulation what containers showed."""
        until_s = self._began_s + self._seconds * _SHARE_OF_SEARCH
        self._progress(f"looking for {self._signature} in simulation")
        for plan in nearby(self._plan, anchors_of(self._bundle), _OTHER_SEEDS):
            if self._searched and time.monotonic() > until_s:
                return None
            if self._shows(plan):
                return plan
        return None

    def _on_sim(self, plan: Plan) -> ShrinkReport:
        near = f"a plan near the recorded one, found in simulation ({counted(self._searched, 'plan')} tried)"
        how = "the recorded plan" if plan == self._plan else near
        left_s = max(0.0, self._began_s + self._seconds - time.monotonic())
        shrunk = shrink_on_sim(
            plan,
            self._signature,
            self._simulated.plants,
            left_s,
            self._progress,
            other_seeds=self._other_seeds,
            also_on=self._also_on(),
        )
        kept = self._keep(
            shrunk.plan,
            self._trial(shrunk.plan),
            None if shrunk.neighbour is None else self._trial(shrunk.neighbour),
            self._simulated,
        )
        return self._report(
            "sim", how, kept, shrunk.trials, finished=shrunk.finished, interrupted=shrunk.interrupted
        )

    def _also_on(self) -> str | None:
        """Where the smallest plan must be possible, too: where the bundle is from, if all of its own was."""
        backend = self._bundle.manifest.backend
        if backend == "sim" or not carries_out(backend, self._plan.compiled()):
            return None
        return backend

    def _trial(self, plan: Plan) -> Trial:
        return try_plan(plan, self._simulated)

    def _on_docker(self, how: str) -> ShrinkReport:
        from harness.backends.warm import WarmDocker  # noqa: PLC0415 the simulator must work without Docker's packages

        with WarmDocker(self._real, lambda event: self._progress(event.message)) as warm:
            left_s = max(0.0, self._began_s + self._seconds - time.monotonic())
            shrunk = shrink_by_repeating(
                self._plan,
                self._signature,
                warm.run,
                seconds=left_s,
                most_trials=self._most_trials,
                progress=self._progress,
            )
        kept = None
        if shrunk.failing is not None:
            kept = self._keep(shrunk.plan, shrunk.failing, shrunk.passing, self._real)
        return self._report(
            "docker",
            how,
            kept,
            shrunk.runs,
            finished=shrunk.finished,
            interrupted=shrunk.interrupted,
            rates=(shrunk.before, shrunk.rate),
            problem=shrunk.problem,
        )

    def _keep(self, plan: Plan, failing: Trial, passing: Trial | None, options: RunOptions) -> Kept:
        """Both runs as bundles, and the plan as a scenario."""
        name = f"{plan.scenario}-{options.backend}-{self._signature.slug}"
        bundle = self._kept(failing, options, f"{name}-shrunk")
        neighbour = None if passing is None else self._kept(passing, options, f"{name}-passing").bundle.path
        text = candidate_text(
            plan, self._signature, options.plants, reason_of(self._signature, failing.verdict.judgements)
        )
        if self._candidate is not None:
            candidate = self._candidate
        else:
            candidate = _free(
                options.out / "regressions" / f"{plan.scenario}-{self._signature.slug}.yaml", text
            )
        write_whole(candidate, text.encode())
        after = Size.of(plan, failing.result.evidence.history_jsonl())
        difference = None if passing is None else difference_words(plan, passing.plan)
        return Kept(plan, after, bundle.bundle.path, neighbour, difference, candidate)

    def _kept(self, trial: Trial, options: RunOptions, name: str) -> Finished:
        finished = keep(trial.plan, options, trial.result, trial.verdict, datetime.now(UTC), name)
        if finished.rescued_because:
            self._progress(finished.rescued_because)
        return finished

    def _report(
        self,
        backend: str,
        how: str,
        kept: Kept | None,
        trials: int,
        *,
        finished: bool,
        interrupted: bool,
        rates: tuple[Rate, Rate] | None = None,
        problem: str | None = None,
    ) -> ShrinkReport:
        return ShrinkReport(
            self._bundle.path,
            self._signature,
            backend,
            how,
            self._before,
            kept,
            trials + self._searched,
            time.monotonic() - self._began_s,
            finished,
            interrupted,
            rates,
            problem,
        )


def print_report(report: ShrinkReport, console: Console) -> None:
    """What was done, in some lines."""

    def tell(text: str) -> None:
        console.print(text, markup=False)

    tell(f"{report.signature} in {report.source}")
    effort = f"{counted(report.trials, 'trial')} in {report.seconds:.1f} s on {report.backend}"
    kept = report.kept
    if kept is None:
        why = (
            "Interrupted before the failure was seen again"
            if report.interrupted
            else "The failure did not come again"
        )
        tell(f"{why}: {report.how}, {effort}.")
        if report.rates is not None and report.rates[0].runs:
            tell(f"  The recorded plan {report.rates[0]}.")
        return
    ended = "" if report.finished else (", interrupted" if report.interrupted else ", until the time was up")
    if report.problem is not None:
        ended = f", until the harness failed: {report.problem}"
    tell(f"Shrunk from {report.how}: {effort}{ended}.")
    for name, unit in (
        ("steps", ""),
        ("nodes", ""),
        ("clients", ""),
        ("operations", ""),
        ("workload_s", " s"),
    ):
        before, after = getattr(report.before, name), getattr(kept.after, name)
        tell(f"  {name.removesuffix('_s'):<11}{before:>6g}{unit} → {after:g}{unit}")
    if report.rates is not None:
        tell(f"  rate       before: {report.rates[0]}; after: {report.rates[1]}")
    tell("What is left")
    for step in kept.plan.steps:
        tell(f"  {describe_when(step)}: {describe(step)}")
    only = kept.plan.document["workload"].get("only")
    if not kept.plan.steps:
        tell("  no fault at all")
    if only is not None:
        tell(f"  operations: {', '.join(only) or 'none'}")
    tell(f"Bundle:    {kept.bundle}")
    passes = f"{kept.neighbour} (passes: {kept.difference})"
    tell(f"Neighbour: {passes if kept.neighbour else 'none found'}")
    tell(f"Candidate: {kept.candidate}")
    tell(f"Replay:    {_replay(kept.bundle)}")
    if kept.neighbour is not None:
        tell(f"Diff:      mcp-chaos diff {shlex.quote(str(kept.bundle))} {shlex.quote(str(kept.neighbour))}")
    tell(f"Explain:   mcp-chaos explain {shlex.quote(str(kept.bundle))}")


def difference_words(plan: Plan, other: Plan) -> str:
    """What is different in another plan: ``faults[0].for is 1990ms instead of 2s``."""
    kept = other.document["faults"]
    if len(kept) == len(plan.steps) - 1:
        gone = next(
            step
            for step, fault in zip(plan.steps, plan.document["faults"], strict=True)
            if step.id >= len(kept) or fault != kept[step.id]
        )
        return f"without {describe_when(gone)}: {describe(gone)}"
    return "; ".join(_differences(plan.document, other.document, ()))


def _differences(before: Any, after: Any, path: tuple[str | int, ...]) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _differences(before.get(key), after.get(key), (*path, key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differences(one, other, (*path, index))
    elif before != after:
        yield f"{show_path(path)} is {json.dumps(after)} instead of {json.dumps(before)}".replace('"', "")


def _replay(bundle: Path) -> str:
    return f"mcp-chaos replay {shlex.quote(str(bundle))}"


def _rate(rate: Rate) -> dict[str, Any] | None:
    if not rate.runs:
        return None
    low, high = rate.interval
    return {"failed": rate.failed, "runs": rate.runs, "low": low, "high": high, "confidence": 0.95}


def _free(path: Path, text: str) -> Path:
    """The path, or with a number if another text is there: it may be somebody's work."""
    for number in range(1, 10_000):
        free = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        try:
            if free.read_text(encoding="utf-8") == text:
                return free
        except FileNotFoundError:
            return free
        except (OSError, UnicodeDecodeError):
            continue
    raise InfrastructureError(
        f"{path}: every name up to {path.stem}-9999 is taken; remove some, or give --candidate"
    )


def _check_candidate(path: Path) -> None:
    """Raises UsageError if a scenario cannot be written there, or if something is there that is no regression."""
    try:
        with contextlib.suppress(FileNotFoundError):
            path.lstat()
            _check_is_regression(path)
        # Below a directory that does not exist yet, nothing is made before there is something to keep.
        nearest = next(parent for parent in path.absolute().parents if parent.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UsageError(f"--candidate {path}: cannot be written: {error.strerror or error}") from error


def _check_is_regression(path: Path) -> None:
    try:
        is_ours = _TAG in load_scenario(path.read_text(encoding="utf-8"), str(path)).tags
    except (ChaosError, UnicodeDecodeError):
        is_ours = False
    if not is_ours:
        raise UsageError(
            f"--candidate {path}: this file exists and is no scenario with the tag `{_TAG}`, so it is not written over"
        )
