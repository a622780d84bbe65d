"""The online check of a run in real time (`--stop-at-violation`): the history is judged while clients work.

Events go in batches to a thread, where the extension judges without the interpreter's lock: clients never wait.
What it finds only ends the run; the verdict is that of the checks over the whole evidence.
"""

import asyncio
import json
from collections.abc import Callable, Sequence

from chaos._core import OnlineCheck
from harness.client import jsonl
from harness.cluster import Json

_EVERY_S = 0.05
CHECK = "linearizable"
"""The check whose violation ends the run: a plan that does not ask for it runs to its end."""


class OnlineWatch:
    """Follows one run's history."""

    def __init__(self, events: Callable[[], Sequence[Json]]) -> None:
        """``events``: the history so far; it only grows."""
        self.violation: str | None = None
        """What nothing explains, in words, once there is such a thing."""
        self.doubts: list[str] = []
        """What was not followed to the end of the watch, in words."""
        self._events = events
        self._taken = 0
        self._check = OnlineCheck()

    async def until_violation(self) -> None:
        """Ends when nothing explains an answer; never, if all is well, or if the check itself fails."""
        while self.violation is None:
            await asyncio.sleep(_EVERY_S)
            batch = list(self._events()[self._taken :])
            self._taken += len(batch)
            try:
                await asyncio.to_thread(self._judge, batch)
            except (ValueError, RuntimeError) as error:  # not a reason to end a run: it is judged anyway
                self.doubts.append(str(error))
                await asyncio.Event().wait()

    def _judge(self, batch: list[Json]) -> None:
        self._check.push(jsonl(batch))
        self.doubts = self._check.doubts()
        found = self._check.violation()
        if found is not None:
            self.violation = json.loads(found)["words"]
