"""One walk over a scenario's holes, over a `Draw`: what fills them.

Hypothesis draws in ``hunt`` and in tests, for it shrinks; `Sampler` draws in ``run --seed N``, for one
example of Hypothesis is always the minimal one. Each draw is made under the path of its hole. `Sampler` uses
nothing else, so a change to one hole never shifts what is drawn for another.

Every member is bounded by construction: open times are clipped so that faults end by the heal.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Protocol, TypeVar, cast

from hypothesis import strategies as st
from pydantic import TypeAdapter

from chaos.faults import KINDS, Fault
from chaos.holes import AnyOf, Between, Maybe, Pick, Spec, closed, lowest
from chaos.plan import Plan
from chaos.scenario import EVENTS, Random, RandomSteps, Scenario, Step, StepBase, Trigger, heal_of
from chaos.units import ByteRate, Duration, Rate, Share, parse_duration

T = TypeVar("T")
V = TypeVar("V", bound=int)

MOST_SEED: Final = 2**32 - 1
_COARSEST: Final = 100_000_000  # ns: times snap to tenths of a second
_FINENESS: Final = 100  # and within these to hundredths of that
_LEAST_VALUES: Final = 20  # as many round values as a range has at least
_SHORTEST: Final = 1_000_000  # ns: what begins before the heal begins at least so much before it
_START: Final = parse_duration("500ms")
_NOTHING: Final = object()


class Draw(Protocol):
    """Where choices come from. 0 is the mildest: shrinking goes toward it."""

    def seed(self) -> int:
        """The seed of what chance decides within the run."""
        ...

    def index(self, path: str, count: int) -> int:
        """An integer in ``0..count-1`` for the hole at a path."""
        ...

    def some(self, path: str, low: int, high: int, element: "Callable[[Draw, str], T]") -> list[T]:
        """A list of ``low..high`` elements, each made by ``element(draw, path)``."""
        ...


class Sampler:
    """Draws that depend on (seed, path) alone, evenly spread."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def seed(self) -> int:
        """The sampler's own."""
        return self._seed

    def index(self, path: str, count: int) -> int:
        """Even over ``0..count-1`` (to within count in 2^64)."""
        digest = hashlib.blake2b(f"{self._seed}\0{path}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") * count >> 64

    def some(self, path: str, low: int, high: int, element: Callable[[Draw, str], T]) -> list[T]:
        """Their number first."""
        count = low + self.index(f"{path}.count", high - low + 1)
        return [element(self, f"{path}[{index}]") for index in range(count)]


class HypothesisDraw:
    """Draws that Hypothesis makes, remembers and shrinks. ``draw`` is a composite strategy's."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def seed(self) -> int:
        """Any; it shrinks to 0."""
        return self._draw(st.integers(0, MOST_SEED))

    def index(self, path: str, count: int) -> int:
        """Any in ``0..count-1``; it shrinks to 0. One possibility is no choice."""
        return self._draw(st.integers(0, count - 1)) if count > 1 else 0

    def some(self, path: str, low: int, high: int, element: Callable[[Draw, str], T]) -> list[T]:
        """Hypothesis can take out any element, not only the last.

        Each begins with a draw that shrinks to leaving it out: Hypothesis lowers single draws, and sets a
        whole element to its simplest, before all else; it seldom finds the exact stretch of draws to delete.
        """
        drawn = self._draw(st.lists(_element(path, element, wanted=False), max_size=high))
        kept = [one for one in drawn if not isinstance(one, _Absent)]
        while len(kept) < low:
            one = self._draw(_element(path, element, wanted=True))
            assert not isinstance(one, _Absent)
            kept.append(one)
        return kept


class _Absent:
    """An element that was left out."""


_KEEP: Final = 8  # of so many elements one is left out


@st.composite
def _element(draw: st.DrawFn, path: str, element: Callable[[Draw, str], T], *, wanted: bool) -> T | _Absent:
    if not wanted and draw(st.integers(0, _KEEP - 1)) == 0:
        return _Absent()
    return element(HypothesisDraw(draw), f"{path}[]")


def draw_plan(scenario: Scenario, draw: Draw) -> Plan:
    """The member of the family that the draws choose."""
    nodes_drawn = _filled_spec(scenario.cluster, "cluster", draw)
    workload = _filled_spec(scenario.workload, "workload", draw)
    network = _filled_spec(scenario.network, "network", draw)
    disk = _filled_spec(scenario.disk, "disk", draw)
    heal = _filled(scenario.heal, "heal", draw)
    until = heal_of(closed(workload.duration), None if heal is _NOTHING else cast("int | None", heal))
    spares = 0 if nodes_drawn.spares is None else closed(nodes_drawn.spares)
    walk = _Steps(closed(nodes_drawn.nodes) + spares, until)
    steps = [
        step
        for index, item in enumerate(scenario.faults)
        for step in walk.item(item, f"faults[{index}]", draw)
    ]
    filled = scenario.model_copy(
        update={
            "seed": draw.seed() if scenario.seed is None else scenario.seed,
            "cluster": nodes_drawn,
            "workload": workload,
            "network": network.model_copy(update={"latency": _pair(network.latency)}),
            "disk": disk.model_copy(update={"sync": _pair(disk.sync)}),
            "heal": until,
            "faults": steps,
            "checks": list(scenario.check_names),
            "examples": [],
        }
    )
    return Plan.of(filled)


def plans(scenario: Scenario) -> st.SearchStrategy[Plan]:
    """All members of the family, for Hypothesis."""
    return _plans(scenario)


@st.composite
def _plans(draw: st.DrawFn, scenario: Scenario) -> Plan:
    return draw_plan(scenario, HypothesisDraw(draw))


class _Steps:
    """Fills the list of faults for a cluster of a drawn size and a drawn heal."""

    def __init__(self, nodes: int, heal: Duration) -> None:
        self.nodes = nodes
        self.heal = heal

    def item(self, item: object, path: str, draw: Draw) -> list[StepBase]:
        """The steps that one element of ``faults`` becomes."""
        match item:
            case RandomSteps():
                return self._random(item.random, f"{path}.random", draw)
            case AnyOf():
                index = draw.index(path, len(item.any))
                return self.item(item.any[index], f"{path}.any[{index}]", draw)
            case Maybe():
                return self.item(item.maybe, f"{path}.maybe", draw) if draw.index(path, 2) else []
            case StepBase():
                return [self._step(item, path, draw)]
            case _:
                raise AssertionError(f"no step: {item}")

    def _step(self, step: StepBase, path: str, draw: Draw) -> StepBase:
        update: dict[str, object] = {}
        latest_end = self.heal
        if step.at is not None:
            update["at"] = at = self._begin(step, f"{path}.at", draw)
            latest_end = Duration(self.heal - at)
        else:
            assert step.on is not None
            update["on"] = _filled_spec(step.on, f"{path}.on", draw)
        span = _filled(step.for_, f"{path}.for", draw, limit=latest_end)
        update["for_"] = (
            None if span is None or span is _NOTHING else Duration(min(cast("int", span), latest_end))
        )
        here = f"{path}.{step.kind}"
        fault = cast("Fault", _filled(step.fault, here, draw))
        update[step.kind] = fault.settled(self.nodes, lambda name, count: draw.index(f"{here}.{name}", count))
        return step.model_copy(update=update)

    def _begin(self, step: StepBase, path: str, draw: Draw) -> Duration:
        latest = self.heal - max(lowest(step.for_ or 0), _SHORTEST)
        if not isinstance(step.at, Between):
            return Duration(cast("int", _filled(step.at, path, draw)))
        low, high = step.at.between
        coarse = _in_range(low, high, path, draw, limit=latest)
        fine = _round_step(low, high) // _FINENESS
        offset = fine * draw.index(f"{path}.fine", _FINENESS) if fine else 0
        return Duration(min(coarse + offset, max(low, min(high, latest))))

    def _random(self, random: Random, path: str, draw: Draw) -> list[StepBase]:
        count = cast("int | list[int]", random.count)
        if isinstance(random.count, Between):
            low, high = random.count.between
        else:
            low = high = cast("int", _filled(count, f"{path}.count", draw))
        return draw.some(path, low, high, lambda draw, path: self._one_random(random, path, draw))

    def _one_random(self, random: Random, path: str, draw: Draw) -> StepBase:
        kind = random.kinds[draw.index(f"{path}.kind", len(random.kinds))]
        waits = bool(random.triggers) and draw.index(f"{path}.waits", 2) == 1
        window = random.window or [min(_START, self.heal), self.heal]
        step: dict[str, Any] = {
            kind: random_fault(kind, on_event=waits),
            "for_": random.for_ if KINDS[kind].lasts else None,
            "optional": True,
        }
        timed = Step.model_construct(at=Between.model_construct(between=window), for_=step["for_"])
        at = self._begin(
            timed, f"{path}.at", draw
        )  # drawn in any case, so that shrinking can do without `on`
        if not waits:
            step["at"] = at
        else:
            event = random.triggers[draw.index(f"{path}.event", len(random.triggers))]
            nth = random.nth or Between.model_construct(between=[1, EVENTS[event]])
            step["on"] = Trigger.model_construct(event=event, nth=nth, node=None)
        return self._step(Step.model_construct(**step), path, draw)


@cache
def random_fault(kind: str, *, on_event: bool) -> Fault | AnyOf[Fault]:
    """What a ``random`` step of a kind holds: a fault with holes."""
    fault = KINDS[kind]
    adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", Pick)[fault])
    return cast(
        "Fault | AnyOf[Fault]", adapter.validate_python(fault.on_event if on_event else fault.at_random)
    )


def _filled(value: object, path: str, draw: Draw, limit: Duration | None = None) -> object:
    """A value with no holes; `_NOTHING` for an empty `Maybe`. ``limit`` is for a range: see `_in_range`."""
    match value:
        case AnyOf():
            index = draw.index(path, len(value.any))
            return _filled(value.any[index], f"{path}.any[{index}]", draw)
        case Between():
            low, high = value.between
            return _in_range(low, high, path, draw, limit)
        case Maybe():
            return _filled(value.maybe, f"{path}.maybe", draw) if draw.index(path, 2) else _NOTHING
        case Spec():
            return _filled_spec(value, path, draw)
        case list():
            return [_filled(item, f"{path}[{index}]", draw) for index, item in enumerate(value)]
        case _:
            return value


S = TypeVar("S", bound=Spec)


def _filled_spec(spec: S, path: str, draw: Draw) -> S:
    update: dict[str, object] = {}
    for name, field in type(spec).model_fields.items():
        value = getattr(spec, name)
        filled = _filled(value, f"{path}.{field.alias or name}", draw)
        if filled is not value:
            update[name] = field.get_default(call_default_factory=True) if filled is _NOTHING else filled
    return spec.model_copy(update=update) if update else spec


def _in_range(low: V, high: V, path: str, draw: Draw, limit: int | None = None) -> V:
    """A value from ``low`` to ``high``: an end or a round one between them, ascending.

    What exceeds a ``limit`` is never given. How much is drawn does not hang on the limit, which may itself
    hang on other draws: a simpler value of those must never ask for more draws, or shrinking could not
    take it.
    """
    assert low <= high
    step = _round_step(low, high)
    top = high if limit is None else type(high)(max(int(low), min(int(high), limit)))
    count, drawable = _count_in_range(low, top, step), _count_in_range(low, high, step)
    index = draw.index(path, drawable) * count // drawable
    if index == 0:
        return low
    return top if index == count - 1 else type(low)((low // step + index) * step)


def _count_in_range(low: int, high: int, step: int) -> int:
    """How many values: the ends, and the multiples of the step strictly between them."""
    return 1 if low == high else 2 + max(0, -(-high // step) - 1 - low // step)


def _round_step(low: int, high: int) -> int:
    """The power of ten whose multiples count as round within a range; 1 for what is counted."""
    if not isinstance(low, ByteRate | Duration | Rate | Share):
        return 1
    step = 1
    while step * 10 * _LEAST_VALUES <= high - low and not (isinstance(low, Duration) and step >= _COARSEST):
        step *= 10
    return step


def _pair(value: object) -> list[object]:
    return value if isinstance(value, list) else [value, value]
