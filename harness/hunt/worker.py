"""The process that works off a campaign's tasks, one at a time.

It talks over one pipe: a task comes in, `Progressed` goes out from time to time and `Done` at the end. Which plan
it is at stands in a file of its own, so that a death leaves behind what it died of.
"""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Final

from chaos.errors import ChaosError
from chaos.plan import Plan
from chaos.scenario import Scenario, load_scenario
from chaos.signature import Signature
from harness.cluster import RunOptions
from harness.hunt.search import Batch, Execute, Search
from harness.run import judge_result, keep
from harness.shrink import shrink_on_sim
from harness.trial import Trial, try_plan

TELL_EVERY_S: Final = 0.25
_TIME_TO_CLEAN_UP_S: Final = 60.0
HYPOTHESIS_SHARE: Final = 0.4
"""How much of the time for shrinking is Hypothesis's own; the rest is the reducer's."""


@dataclass(frozen=True)
class Family:
    """A scenario file as a campaign hunts it."""

    name: str
    file: str
    text: str
    portable_on: str | None = None
    """The backend to which its faults are restricted, if any."""

    def load(self) -> Scenario:
        """The scenario. Raises ScenarioError, and UnsupportedError if it cannot be restricted."""
        scenario = load_scenario(self.text, self.file)
        if self.portable_on is None:
            return scenario
        from chaos.portable import restricted  # noqa: PLC0415
        from harness.cluster import support_of  # noqa: PLC0415

        return restricted(scenario, support_of(self.portable_on, "--backend"))


@dataclass(frozen=True)
class Known:
    """Run the author's examples, and what failed in earlier campaigns."""

    family: Family
    choices: tuple[bytes, ...]


@dataclass(frozen=True)
class Explore:
    """Run a batch of drawn plans."""

    family: Family
    number: int
    """Of the batch within its family, from 0."""
    seed: int
    examples: int
    first: bool = False
    """End with the first failure."""


@dataclass(frozen=True)
class Shrink:
    """Find the smallest plan of a failure, in simulation."""

    family: Family
    signature: Signature
    plan_json: str
    choices: bytes | None
    seconds: float


Task = Known | Explore | Shrink


@dataclass(frozen=True)
class Progressed:
    """Counts since the task's beginning."""

    examples: int
    simulated_ns: int
    failed: int


@dataclass(frozen=True)
class Smaller:
    """What shrinking came to. Plans as JSON: their models do not travel between processes."""

    plan_json: str
    neighbour_json: str | None
    trials: int
    choices: bytes | None
    """What Hypothesis would draw for its own smallest plan."""


@dataclass(frozen=True)
class Done:
    """A task is over. ``smaller`` only for `Shrink`."""

    batch: Batch
    seconds: float
    smaller: Smaller | None = None


@dataclass(frozen=True)
class Broke:
    """A task could not be done; the plan under way, if it was at one."""

    reason: str
    plan_json: str | None


def work(pipe: Connection, options: RunOptions, at_plan: Path, stop: Event) -> None:
    """The process's whole life: until the pipe is closed.

    ``at_plan``: the file that holds the plan under way. ``stop``: end what is under way at once.
    """
    simulates = options.backend == "sim"
    if simulates:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group: the campaign tells us
    threading.Thread(target=_end_with_parent, args=[simulates], daemon=True).start()
    # On a real backend Ctrl-C ends the run in order; between two runs it ends the process, in order too.
    the_end = (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt)
    with suppress(*the_end), _executor(options, at_plan) as execute:
        while True:
            task: Task = pipe.recv()
            began_s = time.monotonic()
            try:
                done = _do(task, execute, options, _Teller(pipe), stop)
                pipe.send(replace(done, seconds=time.monotonic() - began_s))
            except ChaosError as error:
                pipe.send(Broke(str(error), _text_of(at_plan)))
            except Exception as error:  # noqa: BLE001 the campaign says what it was, and goes on
                # A mistake of ours, perhaps a panic inside the extension: the plan is evidence of it.
                traceback.print_exc()
                pipe.send(Broke(f"{type(error).__name__}: {error}", _text_of(at_plan)))
            at_plan.unlink(missing_ok=True)


def _text_of(at_plan: Path) -> str | None:
    return at_plan.read_text(encoding="utf-8") if at_plan.exists() else None


def _do(task: Task, execute: Execute, options: RunOptions, tell: "_Teller", stop: Event) -> Done:
    scenario = task.family.load()
    if isinstance(task, Shrink):
        return _shrink(task, scenario, options, stop)
    keep = _nothing if options.backend == "sim" else partial(_keep, options)
    search = Search(scenario, execute, tell=tell, stop=stop.is_set, keep=keep)
    if isinstance(task, Known):
        return Done(search.known(task.choices), 0)
    return Done(search.explore(task.seed, task.examples, first=task.first), 0)


def _nothing(_trial: Trial) -> str | None:
    """A simulated run is repeated when its bundle is wanted."""
    return None


def _keep(options: RunOptions, trial: Trial) -> str:
    signature = trial.signature
    assert signature is not None, "only what violates something is kept"
    name = f"{trial.plan.scenario}-{options.backend}-{signature.slug}-as-found"
    finished = keep(trial.plan, options, trial.result, trial.verdict, datetime.now(UTC), name)
    return str(finished.bundle.path)


def _shrink(task: Shrink, scenario: Scenario, options: RunOptions, stop: Event) -> Done:
    """First Hypothesis, which knows how the plan was drawn, then the reducer, which knows what plans mean."""
    began_s = time.monotonic()
    simulated = replace(options, backend="sim")
    plan, choices = Plan.from_json(task.plan_json), task.choices

    def execute(plan: Plan) -> Trial:
        return try_plan(plan, simulated)

    search = Search(scenario, execute, stop=stop.is_set)
    if choices is not None:
        deadline_s = began_s + task.seconds * HYPOTHESIS_SHARE
        smaller = search.shrink(task.signature, choices, lambda: time.monotonic() < deadline_s)
        if smaller is not None:
            plan, choices = smaller
    left_s = max(0.0, began_s + task.seconds - time.monotonic())
    shrunk = shrink_on_sim(
        plan, task.signature, simulated.plants, left_s, lambda _: None, lambda: not stop.is_set()
    )
    search.batch.complete = not stop.is_set()
    neighbour = None if shrunk.neighbour is None else shrunk.neighbour.to_json()
    return Done(search.batch, 0, Smaller(shrunk.plan.to_json(), neighbour, shrunk.trials, choices))


@contextmanager
def _executor(options: RunOptions, at_plan: Path) -> Iterator[Execute]:
    """How plans are carried out: in a simulation each, or one after the other on a warm cluster."""

    def noted(execute: Callable[[Plan], Trial]) -> Execute:
        def noting(plan: Plan) -> Trial:
            at_plan.write_text(plan.to_json())
            return execute(plan)

        return noting

    if options.backend == "sim":
        yield noted(lambda plan: try_plan(plan, options))
        return
    from harness.backends.warm import WarmDocker  # noqa: PLC0415

    with WarmDocker(options, lambda _: None) as warm:

        def on_warm(plan: Plan) -> Trial:
            result = warm.run(plan)
            return Trial(plan, result, judge_result(plan, result))

        yield noted(on_warm)


class _Teller:
    """Tells the campaign how far a batch is, now and then."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._due_s = 0.0

    def __call__(self, batch: Batch) -> None:
        now_s = time.monotonic()
        if now_s >= self._due_s:
            self._due_s = now_s + TELL_EVERY_S
            self._pipe.send(Progressed(batch.examples, batch.simulated_ns, batch.failed.total()))


def _end_with_parent(simulates: bool) -> None:
    """A campaign that was killed cannot stop its workers."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    if not simulates:
        os.kill(os.getpid(), signal.SIGINT)  # so that the run removes its containers
        time.sleep(_TIME_TO_CLEAN_UP_S)
    os._exit(1)
