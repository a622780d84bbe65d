"""The process that works off a campaign's tasks, one at a time.

It talks over one pipe: a task comes in, `Progressed` and `Noticed` go out from time to time, and `Done` or `Broke` at
the end. Which plan it is at stands in a file of its own, so that a death leaves behind what it died of.
"""

import ctypes
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from hypothesis.configuration import set_hypothesis_home_dir

from chaos.errors import ChaosError, InfrastructureError
from chaos.plan import Plan
from harness.cluster import RunOptions
from harness.hunt.search import Batch, Execute, Found, Search, Stopped
from harness.hunt.tasks import Broke, Done, Known, Noticed, Progressed, Shrink, Smaller, Task
from harness.run import judge_result, keep
from harness.shrink import shrink_on_sim
from harness.trial import Trial, try_plan

TELL_EVERY_S: Final = 0.25
HYPOTHESIS_SHARE: Final = 0.4
"""How much of the time for shrinking is Hypothesis's own; the rest is the reducer's."""
_TIME_TO_CLEAN_UP_S: Final = 60.0
_THE_END: Final = (EOFError, BrokenPipeError, ConnectionResetError)
"""The campaign has closed the pipe, or is gone."""


def work(pipe: Connection, options: RunOptions, at_plan: Path, stop: "ctypes.c_bool") -> None:
    """The process's whole life: until the pipe is closed.

    ``at_plan``: the file that holds the plan under way. ``stop``: end what is under way at once (in shared memory,
    without a lock, which a process that is killed could take along).
    """
    simulates = options.backend == "sim"
    if not simulates:
        # Ctrl-C goes to the whole group of a terminal; a worker hears of it from the campaign alone, once.
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, args=[simulates], daemon=True).start()
    set_hypothesis_home_dir(at_plan.parent / "hypothesis")
    with suppress(*_THE_END, KeyboardInterrupt), _executor(options, at_plan) as execute:
        while True:
            task: Task = pipe.recv()
            pipe.send(_done(task, execute, options, _Wire(pipe, stop, at_plan)))
            at_plan.unlink(missing_ok=True)


class _Wire:
    """What a task has of the campaign while it is under way."""

    def __init__(self, pipe: Connection, stop: "ctypes.c_bool", at_plan: Path) -> None:
        self.at_plan = at_plan
        self._pipe = pipe
        self._stop = stop
        self._due_s = 0.0

    def is_stopped(self) -> bool:
        """Whether the task is to end."""
        return bool(self._stop.value)

    def tell(self, batch: Batch) -> None:
        """How far a batch is, now and then."""
        now_s = time.monotonic()
        if now_s >= self._due_s:
            self._due_s = now_s + TELL_EVERY_S
            self._send(Progressed(batch.examples, batch.simulated_ns, batch.failed.total()))

    def notice(self, found: Found) -> None:
        """What was found, at once."""
        self._send(Noticed(found))

    def _send(self, message: Progressed | Noticed) -> None:
        try:
            self._pipe.send(message)
        except _THE_END:
            raise Stopped from None  # nobody listens any more


def _done(task: Task, execute: Execute, options: RunOptions, wire: _Wire) -> Done | Broke:
    began_s = time.monotonic()
    batch = Batch()
    try:
        if isinstance(task, Shrink):
            return _shrink(task, options, wire, began_s)
        keeping = _nothing if options.backend == "sim" else partial(_keep, options)
        search = Search(
            task.family.load(),
            execute,
            tell=wire.tell,
            notice=wire.notice,
            stop=wire.is_stopped,
            keep=keeping,
        )
        batch = search.batch
        if isinstance(task, Known):
            search.known(task.choices)
        else:
            search.explore(task.seed, task.examples, first=task.first)
        return Done(batch, time.monotonic() - began_s)
    except _THE_END:
        raise
    except Exception as error:  # noqa: BLE001 the campaign says what it was, and goes on
        if not isinstance(error, ChaosError):
            # A mistake of ours, perhaps a panic inside the extension: the plan is evidence of it.
            traceback.print_exc()
        words = str(error) if isinstance(error, ChaosError) else f"{type(error).__name__}: {error}"
        plan = wire.at_plan.read_text(encoding="utf-8") if wire.at_plan.exists() else None
        batch.complete = False
        is_infrastructure = isinstance(error, InfrastructureError)
        return Broke(words, plan, batch, time.monotonic() - began_s, is_infrastructure)


def _nothing(_trial: Trial) -> str | None:
    """A simulated run is repeated when its bundle is wanted."""
    return None


def _keep(options: RunOptions, trial: Trial) -> str:
    signature = trial.signature
    assert signature is not None, "only what violates something is kept"
    name = f"{trial.plan.scenario}-{options.backend}-{signature.slug}-as-found"
    finished = keep(trial.plan, options, trial.result, trial.verdict, datetime.now(UTC), name)
    return str(finished.bundle.path)


def _shrink(task: Shrink, options: RunOptions, wire: _Wire, began_s: float) -> Done:
    """First Hypothesis, which knows how the plan was drawn, then the reducer, which knows what plans mean."""
    simulated = replace(options, backend="sim")
    plan, choices = Plan.from_json(task.plan_json), task.choices
    write_plan(wire.at_plan, plan)

    def execute(plan: Plan) -> Trial:
        return try_plan(plan, simulated)

    search = Search(task.family.load(), execute, stop=wire.is_stopped)
    if choices is not None:
        deadline_s = began_s + task.seconds * HYPOTHESIS_SHARE
        smaller = search.shrink(task.signature, choices, lambda: time.monotonic() < deadline_s)
        if smaller is not None:
            plan, choices = smaller
            write_plan(wire.at_plan, plan)
    left_s = max(0.0, began_s + task.seconds - time.monotonic())
    shrunk = shrink_on_sim(
        plan, task.signature, simulated.plants, left_s, lambda _: None, lambda: not wire.is_stopped()
    )
    search.batch.complete = not wire.is_stopped()
    neighbour = None if shrunk.neighbour is None else shrunk.neighbour.to_json()
    smallest = Smaller(shrunk.plan.to_json(), neighbour, shrunk.trials, choices)
    return Done(search.batch, time.monotonic() - began_s, smallest)


def write_plan(path: Path, plan: Plan) -> None:
    """Whole, for it is read when the writer has died; not synced, for the machine has not."""
    beside = path.with_suffix(".part")
    beside.write_text(plan.to_json(), encoding="utf-8")
    beside.replace(path)


@contextmanager
def _executor(options: RunOptions, at_plan: Path) -> Iterator[Execute]:
    """How plans are carried out: in a simulation each, or one after the other on a warm cluster."""

    def noted(execute: Callable[[Plan], Trial]) -> Execute:
        def noting(plan: Plan) -> Trial:
            write_plan(at_plan, plan)
            return execute(plan)

        return noting

    if options.backend == "sim":
        yield noted(lambda plan: try_plan(plan, options))
        return
    from harness.backends.warm import WarmDocker  # noqa: PLC0415 the simulator must work without Docker's packages

    with WarmDocker(options, lambda _: None) as warm:

        def on_warm(plan: Plan) -> Trial:
            result = warm.run(plan)
            return Trial(plan, result, judge_result(plan, result))

        yield noted(on_warm)


def _end_with_parent(simulates: bool) -> None:
    """A campaign that was killed cannot stop its workers."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    if not simulates:
        os.kill(os.getpid(), signal.SIGINT)  # so that the run removes its containers
        time.sleep(_TIME_TO_CLEAN_UP_S)
    os._exit(1)
