"""The workers as a campaign sees them: who is idle, what each says, who died and of what."""

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Final

from harness.cluster import RunOptions
from harness.hunt.worker import Broke, Done, Progressed, Shrink, Task, work

_SILENCE_S: Final = {"sim": 120.0, "docker": 1_800.0}
"""A worker that says nothing for so long is stuck: a simulated plan takes less than a second."""
_END_S: Final = {"sim": 2.0, "docker": 90.0}
"""How long a worker may take to end by itself."""


@dataclass(frozen=True)
class Died:
    """A worker ended, or was ended because it was stuck, with a task in hand."""

    reason: str
    plan_json: str | None
    """The plan that it was at."""


Message = Progressed | Done | Broke | Died


@dataclass
class _Worker:
    number: int
    process: SpawnProcess
    pipe: Connection
    at_plan: Path
    task: Task | None = None
    heard_s: float = 0.0
    patience_s: float = 0.0


class Pool:
    """``count`` workers, each a process; a worker that dies is replaced. A context manager."""

    def __init__(self, options: RunOptions, count: int, directory: Path) -> None:
        """``directory``: for the workers' own files."""
        # A fork would copy the threads' locks of this process, and its memory.
        self._context: SpawnContext = multiprocessing.get_context("spawn")
        self._options = options
        self._directory = directory
        self._stop = self._context.Event()
        directory.mkdir(parents=True, exist_ok=True)
        self._workers = [self._start(number) for number in range(1, count + 1)]

    def __enter__(self) -> "Pool":
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
        worker.task = task
        worker.heard_s = time.monotonic()
        worker.patience_s = _SILENCE_S[self._options.backend]
        if isinstance(task, Shrink):
            worker.patience_s += task.seconds
        with suppress(BrokenPipeError):  # it has died: `messages` will say so
            worker.pipe.send(task)

    def messages(self, timeout_s: float) -> list[tuple[Task, Message]]:
        """What workers said of their tasks, after at most ``timeout_s``; deaths included."""
        busy = [worker for worker in self._workers if worker.task is not None]
        wait([*(worker.pipe for worker in busy), *(worker.process.sentinel for worker in busy)], timeout_s)
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
        self._stop.set()
        if at_once and self._options.backend != "sim":
            for worker in self._workers:
                if worker.task is not None and worker.process.pid is not None:
                    with suppress(ProcessLookupError):
                        os.kill(worker.process.pid, signal.SIGINT)

    def go_on(self) -> None:
        """Takes back `stop_early`."""
        self._stop.clear()

    def close(self) -> None:
        """Ends all workers: in order if they can, else by force."""
        self._stop.set()
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
        process.start()
        theirs.close()
        return _Worker(number, process, ours, at_plan)

    def _hear(self, worker: _Worker) -> Message | None:
        message: Message | None = None
        with suppress(EOFError, ConnectionResetError):
            if worker.pipe.poll():
                message = worker.pipe.recv()
                worker.heard_s = time.monotonic()
                return message
            if worker.process.is_alive():
                if time.monotonic() - worker.heard_s < worker.patience_s:
                    return None
                worker.process.kill()
                return self._replace(worker, f"said nothing for {worker.patience_s:.0f} s and was ended")
        return self._replace(worker, None)

    def _replace(self, worker: _Worker, why: str | None) -> Died:
        worker.process.join()
        plan = None
        with suppress(OSError):
            plan = worker.at_plan.read_text(encoding="utf-8")
        died = Died(f"worker {worker.number} {why or _end_of(worker.process.exitcode)}", plan)
        if not self._stop.is_set():
            worker.pipe.close()
            fresh = self._start(worker.number)
            worker.process, worker.pipe = fresh.process, fresh.pipe
        return died


def _end_of(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"
