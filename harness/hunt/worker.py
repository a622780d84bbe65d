"""The process that works off a campaign's tasks, one at a time.

It talks over one pipe: a task comes in, `Progressed` and `Noticed` go out from time to time, and `Done` or `Broke` at
the end. Which plan it is at stands in a file of its own, so that a death leaves behind what it died of.
"""

import ctypes
import os
import signal
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from hypothesis.configuration import set_hypothesis_home_dir

from chaos.errors import ChaosError, InfrastructureError
from chaos.plan import Plan
from harness.cluster import RunOptions
from harness.hunt.search import Batch, Execute, Found, Search, Stopped
from harness.hunt.shrinking import shrink_found
from harness.hunt.tasks import Broke, Done, Known, Noticed, Progressed, Shrink, Smaller, Task
from harness.parent import end_with_parent
from harness.run import keep
from harness.trial import Trial, executor

TELL_EVERY_S: Final = 0.25
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
    # A campaign that was killed cannot stop its workers.
    end_with_parent(None if simulates else _clean_up)
    set_hypothesis_home_dir(at_plan.parent / "hypothesis")
    with suppress(*_THE_END, KeyboardInterrupt), executor(options) as execute:

        def noting(plan: Plan) -> Trial:
            write_plan(at_plan, plan)
            return execute(plan)

        while True:
            task: Task = pipe.recv()
            pipe.send(_done(task, noting, options, _Wire(pipe, stop, at_plan)))
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
            explore = search.explore_guided if task.guided else search.explore
            explore(task.seed, task.examples, first=task.first)
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
    done = shrink_found(
        task.family.load(),
        Plan.from_json(task.plan_json),
        task.signature,
        task.choices,
        options,
        task.seconds,
        stop=wire.is_stopped,
        at=lambda plan: write_plan(wire.at_plan, plan),
        also_on=task.family.portable_on,
    )
    shrunk = done.shrunk
    neighbour = None if shrunk.neighbour is None else shrunk.neighbour.to_json()
    smallest = Smaller(shrunk.plan.to_json(), neighbour, shrunk.trials, done.choices)
    return Done(Batch(complete=not wire.is_stopped()), time.monotonic() - began_s, smallest)


def write_plan(path: Path, plan: Plan) -> None:
    """Whole, for it is read when the writer has died; not synced, for the machine has not."""
    beside = path.with_suffix(".part")
    beside.write_text(plan.to_json(), encoding="utf-8")
    beside.replace(path)


def _clean_up() -> None:
    os.kill(os.getpid(), signal.SIGINT)  # so that the run removes its containers
    time.sleep(_TIME_TO_CLEAN_UP_S)
