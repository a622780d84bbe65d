"""Where things are in a picture of a history: lanes, bars, and the points at which operations take effect.

Positions are in events: the picture's events in their order, from 0. A picture over time bends this axis by
:attr:`Scene.times_ns`; nothing changes its order by that.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.wording import Operation


@dataclass(frozen=True)
class Bar:
    """An operation from its invocation to its completion."""

    operation: Operation
    lane: int
    start: int
    end: int
    """Of an operation of unknown outcome: where the next of its process begins, or the picture ends."""
    ended: bool

    @property
    def number(self) -> int:
        """The operation's number in the history."""
        return int(self.operation["number"])


@dataclass(frozen=True)
class Point:
    """An operation takes effect here."""

    bar: Bar
    at: float
    rank: int
    """Which one it is in the whole order of its key, from 1."""


@dataclass(frozen=True)
class Scene:
    """All of it."""

    lanes: tuple[str, ...]
    bars: tuple[Bar, ...]
    length: int
    events: tuple[int, ...]
    """The picture's events by their positions in the history."""
    times_ns: tuple[int, ...]
    """The time of each event, and once more the last: never less than the one before."""
    paths: Mapping[str, tuple[Point, ...]]
    """Key -> the points of its order that the picture shows."""

    @property
    def has_times(self) -> bool:
        """Whether the history has times of its own: else its positions stand for them."""
        return (
            any(bar.operation["invoked_ns"] != bar.operation["invoked_at"] for bar in self.bars)
            and self.times_ns[0] < self.times_ns[-1]
        )

    def position_of(self, time_ns: int) -> float:
        """Where a time is among the events."""
        if time_ns < self.times_ns[0]:
            return 0.0
        for index in range(1, len(self.times_ns)):
            before, after = self.times_ns[index - 1], self.times_ns[index]
            if time_ns < after:
                return index - 1 + (time_ns - before) / (after - before)
        return float(self.length)


def scene(operations: Sequence[Operation], orders: Mapping[str, Sequence[int]] | None = None) -> Scene:
    """The picture of operations, and of ``orders``: key -> numbers in the order in which they take effect."""
    moments = sorted(
        {at for one in operations for at in (one["invoked_at"], one["completed_at"]) if at is not None}
    )
    place = {at: index for index, at in enumerate(moments)}
    length = len(moments)
    lanes = _lanes(operations)
    lane_of = {name: index for index, name in enumerate(lanes)}
    following: dict[str, int] = {}
    bars: list[Bar] = []
    for one in sorted(operations, key=lambda one: one["invoked_at"], reverse=True):
        process, start = str(one["process"]), place[one["invoked_at"]]
        ended = one["outcome"] != "unknown" and one["completed_at"] is not None
        end = place[one["completed_at"]] if ended else following.get(process, length)
        following[process] = start
        bars.append(Bar(one, lane_of[process], start, end, ended))
    bars.reverse()
    times = _times(operations, place)
    return Scene(lanes, tuple(bars), length, tuple(moments), times, _paths(bars, length, orders or {}))


def _lanes(operations: Sequence[Operation]) -> tuple[str, ...]:
    """Processes, numbers by value and before names."""
    names = {str(one["process"]) for one in operations}
    return tuple(sorted(names, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name)))


def _times(operations: Iterable[Operation], place: Mapping[int, int]) -> tuple[int, ...]:
    times: list[int | None] = [None] * len(place)
    for one in operations:
        times[place[one["invoked_at"]]] = one["invoked_ns"]
        if one["completed_at"] is not None:
            times[place[one["completed_at"]]] = one["completed_ns"]
    latest, made = None, []
    for time_ns in times:
        latest = time_ns if latest is None else max(latest, latest if time_ns is None else time_ns)
        made.append(latest or 0)
    return (*made, made[-1] if made else 0)


def _paths(
    bars: Sequence[Bar], length: int, orders: Mapping[str, Sequence[int]]
) -> dict[str, tuple[Point, ...]]:
    known = {bar.number: bar for bar in bars}
    paths = {}
    for key, order in orders.items():
        ranked = [(rank, known[number]) for rank, number in enumerate(order, 1) if number in known]
        if ranked:
            paths[key] = _points(ranked, length)
    return paths


def _points(ranked: Sequence[tuple[int, Bar]], length: int) -> tuple[Point, ...]:
    """A point within each bar, each after the one before.

    ``earliest`` and ``latest`` only grow along the order; whoever shares a room with others that follow leaves them
    their part of it.
    """
    earliest: list[float] = []
    for _, bar in ranked:
        earliest.append(max(bar.start, earliest[-1] if earliest else 0))
    latest: list[float] = []
    for _, bar in reversed(ranked):
        end = bar.end if bar.ended else length
        latest.append(min(end, latest[-1] if latest else length))
    latest.reverse()
    points: list[Point] = []
    at = -1.0
    for index, (rank, bar) in enumerate(ranked):
        begin = max(at, earliest[index])
        sharing = 1
        while index + sharing < len(ranked) and earliest[index + sharing] < latest[index]:
            sharing += 1
        at = begin + (latest[index] - begin) / (sharing + 1)
        points.append(Point(bar, at, rank))
    return tuple(points)


def names_of(data: Mapping[str, Any]) -> dict[int, Operation]:
    """Every operation that a report tells, by its number."""
    told: list[Operation] = []
    for part in (data.get("timeline"), data.get("minimal")):
        told += part["operations"] if part else []
    failure = data.get("failure")
    if failure:
        told += [failure["operation"], *failure["concurrent"]]
        told += [one["set_by"] for one in failure["configurations"] if one["set_by"]]
        told += [failure["overwritten_by"]] if failure["overwritten_by"] else []
    return {one["number"]: one for one in told}
