"""A trial: one plan carried out and judged, with nothing kept. What hunting, shrinking and explaining are made of."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from chaos.plan import Plan
from chaos.signature import Signature, signature_of
from chaos.verdict import RunVerdict
from harness.backends import run_on
from harness.cluster import RunOptions, RunResult
from harness.run import judge_result


@dataclass(frozen=True)
class Trial:
    """A plan, what it yielded, and the verdict on it."""

    plan: Plan
    result: RunResult
    verdict: RunVerdict

    @classmethod
    def of(cls, plan: Plan, result: RunResult) -> "Trial":
        """A run of the plan, judged."""
        return cls(plan, result, judge_result(plan, result))

    @property
    def signature(self) -> Signature | None:
        """What was violated, and how; None if nothing was."""
        return signature_of(self.verdict.judgements)

    @property
    def goals(self) -> list[str]:
        """Which of the things that a scenario may want to see (`sometimes`) happened."""
        reached: list[str] = json.loads(self.result.evidence.summary())["goals"]
        return reached

    @cached_property
    def states(self) -> list[int]:
        """The abstract states that the run went through, as numbers."""
        return self.result.evidence.states()

    @cached_property
    def transitions(self) -> list[int]:
        """The steps between those states, and the conditions in which reads were answered, as numbers."""
        return self.result.evidence.transitions()

    @property
    def features(self) -> list[int]:
        """What a guided search counts."""
        return [*self.states, *self.transitions]


def try_plan(plan: Plan, options: RunOptions, progress: Callable[[str], None] = lambda _: None) -> Trial:
    """Carries the plan out on the backend that the options name, and judges it.

    Raises ChaosError if it cannot begin.
    """
    return Trial.of(plan, run_on(plan, options, progress))


@contextmanager
def executor(options: RunOptions) -> Iterator[Callable[[Plan], Trial]]:
    """How many plans are tried: in a simulation each, or one after the other on a warm cluster."""
    if options.backend == "sim":
        yield lambda plan: try_plan(plan, options)
        return
    from harness.backends.warm import WarmDocker  # noqa: PLC0415 the simulator must work without Docker's packages

    with WarmDocker(options) as warm:
        yield lambda plan: Trial.of(plan, warm.run(plan))
