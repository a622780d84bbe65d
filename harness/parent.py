"""Processes that do not outlive the one that started them."""

import os
import threading
from collections.abc import Callable
from multiprocessing import parent_process


def end_with_parent(first: Callable[[], None] | None = None) -> None:
    """From now on this process, which `multiprocessing` started, ends when its parent is gone, even by SIGKILL.

    ``first``: called before, in a thread of its own.
    """
    parent = parent_process()
    assert parent is not None, "only a process that another started has a parent to end with"

    def wait_and_end() -> None:
        parent.join()
        if first is not None:
            first()
        os._exit(1)

    threading.Thread(target=wait_and_end, daemon=True).start()
