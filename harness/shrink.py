"""Shrinking in simulation: plans are tried by the hundred, nothing is kept of them but whether they failed alike.

What is tried, and why it ends, is `chaos.reduce`'s affair; here are the trials, the clock, and the candidate for a
regression scenario that a shrunk plan becomes.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from chaos._core import START_NS
from chaos.errors import UsageError
from chaos.generate import Sampler, draw_plan
from chaos.plan import Plan, scenario_of
from chaos.reduce import Moment, reduce, seeds_besides
from chaos.scenario import load_scenario
from chaos.signature import Signature
from chaos.timeline import counted
from harness.cluster import RunOptions, RunResult, carries_out
from harness.trial import try_plan

_NEIGHBOUR_TRIALS = 100
"""So many trials, of some milliseconds each, the search for a neighbour may take when the time is up."""
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Shrunk:
    """What shrinking came to."""

    plan: Plan
    """The simplest plan found that fails in the same way."""
    neighbour: Plan | None
    """A passing plan that differs from it as little as could be found; None if none was."""
    trials: int
    """How many plans were tried."""
    seconds: float
    """How long it took, in real time."""
    finished: bool = True
    """Whether nothing was left to try; False if time was up, or somebody interrupted."""
    interrupted: bool = False
    """Whether somebody did (SIGINT)."""


def shrink_on_sim(
    plan: Plan,
    signature: Signature,
    plants: Sequence[str],
    seconds: float,
    progress: Callable[[str], None],
    keep_going: Callable[[], bool] = lambda: True,
    *,
    other_seeds: int = 0,
    also_on: str | None = None,
) -> Shrunk:
    """The simplest plan that shows the signature in simulation, as ``plan`` is taken to do.

    It ends when nothing is left to try, after ``seconds``, when ``keep_going`` says no, or at a SIGINT: what was
    found by then is given. ``plants``: planted bugs that the nodes run with. What is simpler must show it under as
    many of ``other_seeds`` other seeds as ``plan`` does: a plan that rests on one order of events is small, and
    shows nothing where runs differ. ``also_on``: a backend that must be able to carry out what is simpler.
    """
    began_s = time.monotonic()
    trials = _Trials(signature, RunOptions(backend="sim", plants=tuple(plants)))
    least = seeds_that_show(plan, signature, plants, other_seeds)
    best = plan, 0

    def fails(smaller: Plan) -> bool:
        return (
            (also_on is None or carries_out(also_on, smaller.compiled()))
            and trials.fails(smaller)
            and (not least or seeds_that_show(smaller, signature, plants, other_seeds, least) >= least)
        )

    def taken(smaller: Plan, name: str, tried: int) -> None:
        nonlocal best
        best = smaller, tried
        progress(f"{size_of(smaller)} ({name}; {tried} trials, {time.monotonic() - began_s:.1f} s)")

    try:
        reduced = reduce(
            plan,
            fails,
            operations=trials.operations,
            moments=trials.moments,
            keep_going=lambda: time.monotonic() - began_s < seconds and keep_going(),
            passes=trials.passes,
            taken=taken,
            hurry=lambda: time.monotonic() - began_s > seconds / 2,
            overtime=_NEIGHBOUR_TRIALS,
        )
    except KeyboardInterrupt:
        return Shrunk(best[0], None, best[1], time.monotonic() - began_s, finished=False, interrupted=True)
    return Shrunk(
        reduced.plan,
        reduced.neighbour,
        reduced.trials,
        time.monotonic() - began_s,
        finished=reduced.finished,
    )


def seeds_that_show(
    plan: Plan, signature: Signature, plants: Sequence[str], other_seeds: int, least: int = 0
) -> int:
    """Under how many of so many other seeds the plan shows the signature; fewer, if ``least`` is out of reach."""
    options = RunOptions(backend="sim", plants=tuple(plants))
    seeds = seeds_besides(plan, other_seeds)
    shown = 0
    for tried, seed in enumerate(seeds):
        if shown + len(seeds) - tried < least:
            break
        other = plan.with_document({**plan.document, "seed": seed})
        shown += try_plan(other, options).signature == signature
    return shown


class _Trials:
    """Plans tried in simulation; of the last that failed, what it left."""

    def __init__(self, signature: Signature, options: RunOptions) -> None:
        self._signature = signature
        self._options = options
        self._found: dict[str, Signature | None] = {}
        self._last: tuple[Plan, RunResult] | None = None

    def fails(self, plan: Plan) -> bool:
        """Whether it shows the signature."""
        return self._shows(plan) == self._signature

    def passes(self, plan: Plan) -> bool:
        """Whether it violates nothing at all."""
        return self._shows(plan) is None

    def operations(self, plan: Plan) -> list[str]:
        """What its clients did."""
        return operations_of(self._result(plan).evidence.history_jsonl())

    def moments(self, plan: Plan) -> dict[int, Moment]:
        """When and where its steps were carried out."""
        return moments_of(self._result(plan).evidence.nemesis_jsonl())

    def _shows(self, plan: Plan) -> Signature | None:
        if plan.plan_id not in self._found:
            try:
                trial = try_plan(plan, self._options)
            except UsageError:  # a plan that the simulator refuses shows nothing
                self._found[plan.plan_id] = None
                return None
            self._found[plan.plan_id] = trial.signature
            if trial.signature == self._signature:
                self._last = plan, trial.result
        return self._found[plan.plan_id]

    def _result(self, plan: Plan) -> RunResult:
        if self._last is None or self._last[0] != plan:
            self._last = plan, try_plan(plan, self._options).result
        return self._last[1]


def operations_of(history: bytes) -> list[str]:
    """The names of the operations that a history tells of, as `workload.only` takes them, in order."""
    events = map(json.loads, history.splitlines())
    return [event["op"] for event in events if event["type"] == "invoke" and "op" in event]


def moments_of(nemesis: bytes) -> dict[int, Moment]:
    """When and where each step was carried out, by its number, from a nemesis log."""
    records: list[Mapping[str, Any]] = [json.loads(line) for line in nemesis.splitlines()]
    return {
        record["step"]: Moment(record["time_ns"] - START_NS, record.get("anchor"))
        for record in records
        if record["phase"] == "install" and record["status"] == "done"
    }


def size_of(plan: Plan) -> str:
    """``2 steps, 3 nodes, 4 operations, 1s of workload``."""
    workload = plan.document["workload"]
    only = workload.get("only")
    done = f"at {workload['rate']}" if only is None else counted(len(only), "operation")
    steps, nodes = counted(len(plan.steps), "step"), counted(plan.nodes, "node")
    return f"{steps}, {nodes}, {done}, {workload['duration']} of workload"


def candidate_text(plan: Plan, signature: Signature, plants: Sequence[str] = (), reason: str = "") -> str:
    """A scenario file for the regressions: the plan under a name of its own, and what it once showed.

    It runs by itself, and as the plan does. ``reason`` says in words what was violated.
    """
    planted = f" in a build with the planted bug {', '.join(plants)}" if plants else ""
    about = f"Once violated {signature}{planted}. Shrunk from a member of {plan.scenario}, in which the same failed."
    if reason:
        about += f" What was seen: {shorten(reason, 1000, placeholder=' […]')}"
    named = plan.with_document(
        {
            **plan.document,
            "scenario": f"{plan.scenario[: _LONGEST_NAME - len(signature.slug) - 1]}-{signature.slug}",
            "about": about,
            "tags": ["regression"],
        }
    )
    text = scenario_of(named)
    again = draw_plan(load_scenario(text, "candidate"), Sampler(0))
    assert again.compiled_json() == plan.compiled_json(), "a plan's scenario gives the plan"
    run = "".join(f" --plant {plant}" for plant in plants)
    return f"# mcp-chaos run FILE{run}\n{text}"
