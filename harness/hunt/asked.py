"""Being asked to end: noted, never in the middle of something."""

import signal
from contextlib import suppress
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Asked:
    """How often somebody asked to end (Ctrl-C, SIGTERM) while this context is entered."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Asked":
        for number in _SIGNALS:
            with suppress(
                ValueError
            ):  # not in the main thread: then the caller's own handlers are all there is
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
