"""Shrinking where a run never repeats exactly: a candidate is tried several times, and counts if it fails once."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from chaos._core import Evidence
from chaos.errors import InfrastructureError, UsageError
from chaos.plan import Plan
from chaos.reduce import reduce
from chaos.signature import Signature
from chaos.statistics import wilson_interval
from harness.cluster import RunResult
from harness.shrink import moments_of, operations_of, size_of
from harness.trial import Trial

MISSED = 0.05
"""How often, at most, a candidate that fails as often as the plan at hand may be taken for one that does not."""


@dataclass(frozen=True)
class Rate:
    """How often a plan failed in the same way, of the runs in which the harness did its part."""

    failed: int = 0
    runs: int = 0

    def and_one(self, *, failed: bool) -> "Rate":
        """With one more run."""
        return Rate(self.failed + failed, self.runs + 1)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share (Wilson). There must be a run."""
        return wilson_interval(self.failed, self.runs)

    def runs_needed(self, most: int) -> int:
        """How many runs show, but for `MISSED`, whether a plan fails as often as this one; ``most`` at most."""
        if self.failed == 0:
            return most
        if self.failed == self.runs:
            return min(most, 2)  # all of a few runs is not always
        return max(1, min(most, math.ceil(math.log(MISSED) / math.log(1 - self.failed / self.runs))))

    def __str__(self) -> str:
        if not self.runs:
            return "never run"
        low, high = self.interval
        share = f"{self.failed / self.runs:.0%}, 95 % interval {low * 100:.0f}–{high * 100:.0f} %"
        return f"failed {self.failed} of {self.runs} ({share})"


@dataclass
class Repeated:
    """The smallest plan found by repeated runs, and what is known of it."""

    plan: Plan
    before: Rate
    """Of the plan as it was."""
    rate: Rate
    """Of the smallest plan."""
    failing: Trial | None
    """A run of it that failed; None if not even the plan as it was did."""
    neighbour: Plan | None = None
    passing: Trial | None = None
    """A run of the neighbour."""
    runs: int = 0
    seconds: float = 0.0
    finished: bool = False
    interrupted: bool = False
    problem: str | None = None
    """What the harness could not do, if that ended it early."""


@dataclass
class _Seen:
    rate: Rate = field(default_factory=Rate)
    failing: Trial | None = None
    passing: Trial | None = None


def shrink_by_repeating(
    plan: Plan,
    signature: Signature,
    run: Callable[[Plan], RunResult],
    *,
    seconds: float,
    most_trials: int,
    progress: Callable[[str], None],
) -> Repeated:
    """Shrinks a plan on a backend whose runs differ.

    First the plan itself is run, ``most_trials`` times at most, for the rate at which it fails; from that follows
    how often a candidate is tried before it counts as one that does not. ``seconds`` limits all of it, but a run
    that has begun is waited for. At a SIGINT, or if the harness fails, what was found by then is given. Raises
    InfrastructureError if nothing was.
    """
    began_s = time.monotonic()
    runs = _Runs(signature, run, progress)
    best = plan

    def left() -> bool:
        return time.monotonic() - began_s < seconds

    def taken(smaller: Plan, name: str, _trials: int) -> None:
        nonlocal best
        best = smaller
        progress(f"{size_of(smaller)} ({name}; {runs.count} runs, {time.monotonic() - began_s:.0f} s)")

    neighbour = None
    finished = interrupted = False
    problem = None
    before = Rate()
    try:
        # A third of the time at most, for the rate is only there to make good use of the rest.
        while before.runs < most_trials and (before.failed == 0 or time.monotonic() - began_s < seconds / 3):
            if before.runs and not left():
                break
            before = runs.once_more(plan).rate
        needed = before.runs_needed(most_trials)
        if before.failed:
            progress(f"{before}; a candidate is run up to {needed} times")
            reduced = reduce(
                plan,
                lambda candidate: runs.fails(candidate, needed),
                operations=lambda candidate: operations_of(runs.evidence(candidate).history_jsonl()),
                moments=lambda candidate: moments_of(runs.evidence(candidate).nemesis_jsonl()),
                keep_going=left,
                passes=lambda candidate: runs.passes(candidate, needed),
                taken=taken,
                luck=0,
            )
            best, neighbour, finished = reduced.plan, reduced.neighbour, reduced.finished
    except KeyboardInterrupt:
        interrupted = True
    except InfrastructureError as error:
        if not before.failed:
            raise
        problem = str(error)
    return Repeated(
        best,
        before,
        runs.of(best).rate,
        runs.of(best).failing,
        neighbour,
        None if neighbour is None else runs.of(neighbour).passing,
        runs.count,
        time.monotonic() - began_s,
        finished,
        interrupted,
        problem,
    )


class _Runs:
    """Every plan that was run, and how often it failed."""

    def __init__(
        self, signature: Signature, run: Callable[[Plan], RunResult], progress: Callable[[str], None]
    ) -> None:
        self.count = 0
        self._signature = signature
        self._run = run
        self._progress = progress
        self._seen: dict[str, _Seen] = {}

    def of(self, plan: Plan) -> _Seen:
        """What is known of a plan."""
        return self._seen.setdefault(plan.plan_id, _Seen())

    def once_more(self, plan: Plan) -> _Seen:
        """Runs it. Raises KeyboardInterrupt if a signal ended the run, InfrastructureError if the harness failed."""
        seen = self.of(plan)
        result = self._run(plan)
        self.count += 1
        trial = Trial.of(plan, result)
        failed = trial.signature == self._signature
        if failed:
            seen.failing = trial
        if trial.verdict.interrupted:
            raise KeyboardInterrupt
        if trial.verdict.harness_failures and not failed:
            raise InfrastructureError("; ".join(trial.verdict.harness_failures))
        if trial.signature is None:
            seen.passing = trial
        seen.rate = seen.rate.and_one(failed=failed)
        self._progress(f"{size_of(plan)}: {'failed' if failed else 'did not fail'} (run {seen.rate.runs})")
        return seen

    def fails(self, plan: Plan, times: int) -> bool:
        """Whether it fails at least once in so many runs."""
        try:
            while self.of(plan).rate.failed == 0 and self.of(plan).rate.runs < times:
                self.once_more(plan)
        except UsageError:  # what the backend cannot carry out is no candidate
            return False
        return self.of(plan).rate.failed > 0

    def passes(self, plan: Plan, times: int) -> bool:
        """Whether it never fails in so many runs, and violates nothing in at least one of them."""
        return not self.fails(plan, times) and self.of(plan).passing is not None

    def evidence(self, plan: Plan) -> Evidence:
        """Of a run of it that failed."""
        failing = self.of(plan).failing
        assert failing is not None, "asked only of plans that fail"
        return failing.result.evidence
