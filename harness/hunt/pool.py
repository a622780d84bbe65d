"""The workers as a campaign sees them: who is idle, what each says, who died and of what."""

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Final

from chaos.errors import InfrastructureError
from harness.cluster import RunOptions
from harness.hunt.search import Found
from harness.hunt.tasks import Broke, Done, Noticed, Progressed, Shrink, Task
from harness.hunt.worker import work

_SILENCE_S: Final = {"sim": 120.0, "docker": 1_800.0}
"""A worker that says nothing for so long is stuck: a simulated plan takes less than a second."""
_END_S: Final = {"sim": 2.0, "docker": 90.0}
"""How long a worker may take to end by itself."""
_GAP_S: Final = 5.0
"""Nobody listened for so long (the machine slept, or we were stopped): then silence says nothing of the workers."""


@dataclass(frozen=True)
class Died:
    """A worker ended, or was ended because it was stuck, with a task in hand."""

    reason: str
    plan_json: str | None
    """The plan that it was at."""
    found: tuple[Found, ...]
    """What it had told of by then."""


Message = Progressed | Done | Broke | Died


@dataclass
class _Worker:
    number: int
    process: SpawnProcess
    pipe: Connection
    at_plan: Path
    task: Task | None = None
    found: list[Found] = field(default_factory=list)
    heard_s: float = 0.0
    patience_s: float = 0.0


class Pool:
    """``count`` workers, each a process; a worker that dies is replaced. A context manager."""

    def __init__(self, options: RunOptions, count: int, directory: Path) -> None:
        """``directory``: for the workers' own files."""
        # A fork would copy the threads' locks of this process, and its memory.
        self._context: SpawnContext = multiprocessing.get_context("spawn")
        self._options = options
        self._count = count
        self._directory = directory
        self._stop = self._context.RawValue(ctypes.c_bool, False)
        self._listened_s = time.monotonic()
        self._workers: list[_Worker] = []

    def __enter__(self) -> "Pool":
        """Starts the workers. Raises InfrastructureError if they cannot be started."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for number in range(1, self._count + 1):
                self._workers.append(self._start(number))
        except OSError as error:
            self.close()
            raise InfrastructureError(f"workers cannot be started: {error.strerror or error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def idle(self) -> int:
        """How many workers have nothing to do."""
        return sum(worker.task is None for worker in self._workers)

    @property
    def under_way(self) -> list[Task]:
        """What is being worked on."""
        return [worker.task for worker in self._workers if worker.task is not None]

    def assign(self, task: Task) -> None:
        """Gives the task to an idle worker."""
        worker = next(worker for worker in self._workers if worker.task is None)
        if not worker.process.is_alive():
            self._replace(worker)
        worker.task = task
        worker.found = []
        worker.heard_s = time.monotonic()
        worker.patience_s = _SILENCE_S[self._options.backend]
        if isinstance(task, Shrink):
            worker.patience_s += task.seconds
        with suppress(OSError):  # it has died: `messages` will say so
            worker.pipe.send(task)

    def messages(self, timeout_s: float) -> list[tuple[Task, Message]]:
        """What workers said of their tasks, after at most ``timeout_s``; deaths included."""
        busy = [worker for worker in self._workers if worker.task is not None]
        wait([*(worker.pipe for worker in busy), *(worker.process.sentinel for worker in busy)], timeout_s)
        now_s = time.monotonic()
        if now_s - self._listened_s > _GAP_S:
            for worker in busy:
                worker.heard_s = now_s
        self._listened_s = now_s
        heard: list[tuple[Task, Message]] = []
        for worker in busy:
            task = worker.task
            assert task is not None
            message = self._hear(worker)
            if message is None:
                continue
            heard.append((task, message))
            if not isinstance(message, Progressed):
                worker.task = None
        return heard

    def stop_early(self, *, at_once: bool) -> None:
        """No worker begins another plan; what they have by then comes as `Done`.

        ``at_once``: a plan under way on a real backend, which may take minutes, is cut short as by Ctrl-C.
        """
        self._stop.value = True
        if at_once and self._options.backend != "sim":
            for worker in self._workers:
                if worker.task is not None and worker.process.pid is not None:
                    with suppress(ProcessLookupError):
                        os.kill(worker.process.pid, signal.SIGINT)

    def go_on(self) -> None:
        """Takes back `stop_early`."""
        self._stop.value = False

    def close(self) -> None:
        """Ends all workers: in order if they can, else by force."""
        self._stop.value = True
        for worker in self._workers:
            worker.pipe.close()
        deadline_s = time.monotonic() + _END_S[self._options.backend]
        for worker in self._workers:
            worker.process.join(max(0.0, deadline_s - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.at_plan.unlink(missing_ok=True)

    def _start(self, number: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        at_plan = self._directory / f"worker-{number}.json"
        at_plan.unlink(missing_ok=True)
        process = self._context.Process(
            target=work,
            args=(theirs, self._options, at_plan, self._stop),
            name=f"worker-{number}",
            daemon=False,
        )
        with _uninterruptible():
            process.start()
        theirs.close()
        return _Worker(number, process, ours, at_plan)

    def _hear(self, worker: _Worker) -> Message | None:
        why = None
        with suppress(EOFError, OSError):
            while worker.pipe.poll():
                message: Message | Noticed = worker.pipe.recv()
                worker.heard_s = time.monotonic()
                if not isinstance(message, Noticed):
                    return message
                worker.found.append(message.found)
            if worker.process.is_alive():
                if time.monotonic() - worker.heard_s < worker.patience_s:
                    return None
                worker.process.kill()
                why = f"said nothing for {worker.patience_s:.0f} s and was ended"
        worker.process.join()
        plan = None
        with suppress(OSError):
            plan = worker.at_plan.read_text(encoding="utf-8")
        words = f"worker {worker.number} {why or _end_of(worker.process.exitcode)}"
        return Died(words, plan, tuple(worker.found))

    def _replace(self, worker: _Worker) -> None:
        worker.pipe.close()
        fresh = self._start(worker.number)
        worker.process, worker.pipe = fresh.process, fresh.pipe


@contextmanager
def _uninterruptible() -> Iterator[None]:
    """What is started here ignores Ctrl-C from its first moment; what wants to hear of it says so itself."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _end_of(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"
