"""Work for several processes, none of which outlives this one."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

from harness.parent import end_with_parent

Outcome = TypeVar("Outcome")


def carried_out(
    work: Callable[..., Outcome], tasks: Iterable[tuple[Any, ...]], workers: int
) -> Iterator[Outcome]:
    """What comes of each task, as it ends. After an interrupt, or an error, nothing goes on."""
    # Not forked: a process that has simulated before has threads of its own.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        for task in as_completed([pool.submit(work, *task) for task in tasks]):
            yield task.result()
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; whoever gave the work decides
    end_with_parent()
