"""The passes of reducing: each offers candidates for a smaller plan, and learns whether each was taken.

A pass is a generator. What it yields is a plan's data with a name for it, made from the data as it is at that
moment (`State.document`): where the candidate before was taken, that is the candidate.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from chaos.faults import OPERATIONS as FAILING
from chaos.reducing.cluster import existing_operations, in_smaller_cluster
from chaos.reducing.cost import SETTINGS, UNITS, time_cost, unusual_settings
from chaos.reducing.data import (
    MILLISECOND,
    RANGES,
    SECOND,
    Document,
    anchored,
    end_of,
    get,
    in_time,
    kind_of,
    ns,
    put,
    with_step,
)
from chaos.reducing.forms import SHORTEST_FAULT, simpler_steps
from chaos.units import format_duration, format_rate, parse_rate, parse_share
from chaos.workload import operation_key

Candidates = Generator[tuple[str, Document], bool, None]
"""What a pass offers, each with its name; what comes back is whether it was taken."""


@dataclass(frozen=True)
class Moment:
    """When and where a step was carried out."""

    time_ns: int
    """From the start of the workload; negative before it."""
    anchor: str | None
    """The node that led then, or at which the step's event happened; None for a step that asks for neither."""


class State(Protocol):
    """What a pass may know."""

    @property
    def document(self) -> Document:
        """The plan as small as it is by now."""

    @property
    def nodes(self) -> int:
        """How many nodes it has."""

    def is_cheaper(self, document: Document) -> bool:
        """Whether a candidate would lower the cost: others need not be offered."""

    def lucky(self) -> bool:
        """Whether another seed may be tried: so many times, and no more."""

    def operations(self) -> Sequence[str]:
        """What the plan's clients did, in order."""

    def moments(self) -> Mapping[int, Moment] | None:
        """When and where its steps were carried out, by their numbers; None if that is not known."""


Pass = Callable[[State], Candidates]

LEAST_NODES: Final = 3
"""Smaller clusters tolerate no failure at all: what fails in one is no smaller case of the same thing."""
SIMPLE_SEEDS: Final = 11
"""Seeds from 0 that count as simpler than any other."""
OTHER_SEEDS: Final = 20
"""Seeds from 0 that a candidate may be tried under besides the plan's own."""
SIZES: Final = (100, 1_000, 10_000)
"""Sizes of values that are tried where none will not do, in bytes."""
_SEEDS_FOR_OPERATIONS: Final = 200
_SHORTEST_WORKLOAD: Final = SECOND
MILD_AMOUNTS: Final[Mapping[str, Sequence[str]]] = {
    "share": ("1%", "2%", "5%", "10%", "20%", "50%", "100%"),
    "rate": tuple(f"{rate}kB/s" for rate in (1000, 500, 200, 100, 50, 20, 10, 5, 2, 1)),
    "operations": FAILING,
}
"""Of faults, the mildest first."""


def _idle_steps(now: State) -> Candidates:
    """Without the steps that were never carried out."""
    moments = now.moments()
    if moments is not None:
        kept = [step for index, step in enumerate(now.document["faults"]) if index in moments]
        if len(kept) < len(now.document["faults"]):
            yield "those that never happened", {**now.document, "faults": kept}


def _fewer_steps(now: State) -> Candidates:
    yield from _fewer(
        list(now.document["faults"]), lambda steps: ("left out", {**now.document, "faults": steps})
    )


def _fewer_nodes(now: State) -> Candidates:
    for nodes in range(min(LEAST_NODES, now.nodes), now.nodes):
        for name, document in in_smaller_cluster(now.document, nodes):
            if (yield name, document):
                return


def _shorter(now: State) -> Candidates:
    """The heal right after the last fault, and the end of the workload right after the heal."""
    end = max((end_of(step) for step in now.document["faults"]), default=SHORTEST_FAULT)
    for heal in (end, -(-end // SECOND) * SECOND):
        if (yield "heal and end", _until(now.document, heal, heal)):
            break
    heal = ns(now.document["heal"])
    yield from _lower(
        "workload",
        ns(now.document["workload"]["duration"]),
        max(_SHORTEST_WORKLOAD, heal),
        lambda time: _until(now.document, ns(now.document["heal"]), time),
    )
    duration = ns(now.document["workload"]["duration"])
    yield from _lower("heal", heal, end, lambda time: _until(now.document, time, duration))


def _fewer_clients(now: State) -> Candidates:
    """First with the rate of each client as it was: then the clients that stay do what they did."""
    for clients in range(1, now.document["workload"]["clients"]):
        workload = now.document["workload"]
        rate = int(parse_rate(workload["rate"]))
        share = format_rate(max(1, rate * clients // workload["clients"]))
        for wanted in (share, workload["rate"]):
            changed = existing_operations({**workload, "clients": clients, "rate": wanted}, now.nodes)
            if (yield f"{clients} clients at {wanted}", {**now.document, "workload": changed}):
                return


def _fewer_keys(now: State) -> Candidates:
    for keys in range(1, now.document["workload"]["keys"]):
        if (yield f"{keys} keys", put(now.document, ("workload", "keys"), keys)):
            return


def _no_home_readers(now: State) -> Candidates:
    if now.document["workload"]["home_readers"]:
        changed = existing_operations({**now.document["workload"], "home_readers": False}, now.nodes)
        yield "none", {**now.document, "workload": changed}


def _plain_settings(now: State) -> Candidates:
    """Defaults; where those do not do, something nearer to them."""
    document = now.document
    for section, key in unusual_settings(document):
        document = put(document, (section, key), SETTINGS[section][key])
    if (yield "all", document):
        return
    for section, key in unusual_settings(now.document):
        yield f"{section}.{key}", put(now.document, (section, key), SETTINGS[section][key])
    for section, key in RANGES:
        least, most = now.document[section][key]
        usual = SETTINGS[section][key]
        if [least, most] != usual:
            yield (
                f"least {section}.{key}",
                put(now.document, (section, key), [SETTINGS[section][key][0], most]),
            )
            least = now.document[section][key][0]
            yield from _lower(
                f"{section}.{key}",
                ns(most),
                max(ns(least), ns(usual[1])),
                _time_at(now, section, key, 1),
            )
    for size in SIZES:
        value_bytes = now.document["workload"].get("value_bytes") or 0
        if size < value_bytes and (
            yield f"values of {size} bytes", put(now.document, ("workload", "value_bytes"), size)
        ):
            break
    loss = int(parse_share(now.document["network"]["loss"]))
    for percent in (1, 2, 5, 10, 20):
        if percent * 10_000 < loss and (yield "loss", put(now.document, ("network", "loss"), f"{percent}%")):
            break


def _simpler_faults(now: State) -> Candidates:
    """Each step in the simplest form that still does it."""
    for index in range(len(now.document["faults"])):
        taken = True
        while taken:
            taken = False
            for name, step in simpler_steps(now.document["faults"][index], now.nodes):
                if (yield f"step {index}: {name}", with_step(now.document, index, step)):
                    taken = True
                    break


def _times_for_events(now: State) -> Candidates:
    """A time instead of an event; or at least an earlier occurrence, at any node."""
    for index in range(len(now.document["faults"])):
        step = now.document["faults"][index]
        if "on" not in step:
            continue
        moment = (now.moments() or {}).get(index)
        if moment is not None and (
            yield from _first(
                f"step {index}", [_at(now.document, index, moment, time) for time in _rounded(moment.time_ns)]
            )
        ):
            continue
        if "node" in step["on"]:
            on = {key: value for key, value in step["on"].items() if key != "node"}
            yield f"step {index}, any node", with_step(now.document, index, {**step, "on": on})
        yield from _lower_count(now, index)


def _lower_count(now: State, index: int) -> Candidates:
    """The nth occurrence: the first, else by halving."""

    def waiting_for(nth: int) -> Document:
        document: Document = put(now.document, ("faults", index, "on", "nth"), nth)
        return document

    low, high = 1, now.document["faults"][index]["on"]["nth"]
    if high == low or (yield f"step {index}, first occurrence", waiting_for(low)):
        return
    while high - low > 1:
        middle = (low + high) // 2
        if (yield f"step {index}, occurrence", waiting_for(middle)):
            high = middle
        else:
            low = middle


def _sooner(now: State) -> Candidates:
    """The time before each step: it and all that follows come earlier together."""
    order = in_time(now.document)
    for position, index in enumerate(order):
        before = ns(now.document["faults"][order[position - 1]]["at"]) if position else 0
        later = order[position:]

        def after(gap: int, index: int = index, before: int = before, later: list[int] = later) -> Document:
            shift = before + gap - ns(now.document["faults"][index]["at"])
            document = now.document
            for one in later:
                at = max(0, ns(document["faults"][one]["at"]) + shift)
                document = put(document, ("faults", one, "at"), format_duration(at))
            return _until(
                document,
                max(MILLISECOND, ns(document["heal"]) + shift),
                ns(document["workload"]["duration"]) + shift,
            )

        yield from _lower(
            f"step {index} and later", ns(now.document["faults"][index]["at"]) - before, 0, after
        )


def _earlier(now: State) -> Candidates:
    """Each step alone."""
    for index in in_time(now.document):
        yield from _lower(
            f"step {index}",
            ns(now.document["faults"][index]["at"]),
            0,
            _time_at(now, "faults", index, "at"),
        )


def _briefer(now: State) -> Candidates:
    """How long each step stands, and how slow it makes links, processes and disks."""
    for index, step in enumerate(now.document["faults"]):
        for path, least in (
            (("for",), SHORTEST_FAULT),
            ((kind_of(step), "jitter"), 0),
            ((kind_of(step), "within"), 10 * MILLISECOND),
            ((kind_of(step), "delay"), (1 if kind_of(step).startswith("slow_") else 10) * MILLISECOND),
        ):
            value = get(now.document["faults"][index], path)
            if value is not None:
                yield from _lower(
                    f"step {index}, {path[-1]}",
                    ns(value),
                    least,
                    _time_at(now, "faults", index, *path),
                )


def _milder(now: State) -> Candidates:
    """Shares, rates and what fails, each the mildest and roundest that will do."""
    for index, step in enumerate(now.document["faults"]):
        for key, amounts in MILD_AMOUNTS.items():
            if key in step[kind_of(step)]:
                path = ("faults", index, kind_of(step), key)
                yield from _first(f"step {index}, {key}", [put(now.document, path, one) for one in amounts])


def _lower_rate(now: State) -> Candidates:
    for rate in ("1/s", "2/s", "5/s", "10/s", "20/s", "50/s", "100/s", "200/s", "500/s", "1000/s"):
        if (yield rate, put(now.document, ("workload", "rate"), rate)):
            return


def _simple_seed(now: State) -> Candidates:
    for seed in range(min(SIMPLE_SEEDS, now.document["seed"])):
        if (yield f"seed {seed}", {**now.document, "seed": seed}):
            return


def _no_goals(now: State) -> Candidates:
    """What the family should reach now and then is not asked of its one member."""
    if now.document["sometimes"]:
        yield "none", {**now.document, "sometimes": []}


def _fewer_operations(now: State) -> Candidates:
    """Only single ones."""

    def with_only(names: Sequence[str]) -> tuple[str, Document]:
        ordered = sorted(names, key=operation_key)
        return f"{len(names)}", put(now.document, ("workload", "only"), ordered)

    names = list(now.operations())
    if (yield with_only([])):
        return
    if now.document["workload"].get("only") is None:
        yield with_only(names)
    yield from _fewer(names, with_only)


def _few_operations(now: State) -> Candidates:
    """The first few of some clients, under other seeds.

    Where a cluster is busy, each operation shifts all that follows, and no single one can go.
    """
    home = now.document["workload"]["home_readers"]
    for seed in range(_SEEDS_FOR_OPERATIONS):
        for count in (2, 4, 8):
            for clients in (1, 3):
                who = [f"c{client}" for client in range(1, clients + 1)]
                who += [f"n{node}" for node in range(1, now.nodes + 1)] if home else []
                only = [f"{name}.{number}" for name in who for number in range(1, count + 1)]
                for rate in dict.fromkeys((now.document["workload"]["rate"], "100/s", "1000/s")):
                    workload = {**now.document["workload"], "clients": clients, "rate": rate, "only": only}
                    document = {**now.document, "seed": seed, "workload": workload}
                    if now.is_cheaper(document) and now.lucky():
                        yield f"{count} of {clients} clients at {rate}, seed {seed}", document


STRUCTURE: Final[tuple[tuple[str, Pass], ...]] = (
    ("idle steps", _idle_steps),
    ("plain settings", _plain_settings),
    ("fewer steps", _fewer_steps),
    ("fewer nodes", _fewer_nodes),
    ("sooner", _sooner),
    ("shorter", _shorter),
)
"""Big wins, which make all that follows faster."""

PASSES: Final[tuple[tuple[str, Pass], ...]] = (
    *STRUCTURE,
    ("fewer clients", _fewer_clients),
    ("fewer keys", _fewer_keys),
    ("no home readers", _no_home_readers),
    ("times for events", _times_for_events),
    ("lower rate", _lower_rate),
    ("earlier", _earlier),
    ("briefer", _briefer),
    ("milder", _milder),
    ("simple seed", _simple_seed),
    ("simpler faults", _simpler_faults),
    ("no goals", _no_goals),
)
"""All but single operations. Any order comes to an end."""


def _under_other_seeds(one: Pass) -> Pass:
    """The pass again, each candidate under other seeds: what is lost by luck may be won by luck."""

    def candidates(now: State) -> Candidates:
        inner = one(now)
        try:
            what, document = next(inner)
            while True:
                taken = False
                for seed in range(OTHER_SEEDS):
                    other = {**document, "seed": seed}
                    if not taken and seed != now.document["seed"] and now.is_cheaper(other) and now.lucky():
                        taken = yield f"{what}, seed {seed}", other
                what, document = inner.send(taken)
        except StopIteration:
            return

    return candidates


def _by_luck(*names: str) -> tuple[tuple[str, Pass], ...]:
    passes = dict(PASSES)
    return tuple((name, _under_other_seeds(passes[name])) for name in names)


PASSES_BY_LUCK: Final = _by_luck(
    "fewer nodes",
    "fewer steps",
    "sooner",
    "shorter",
    "fewer clients",
    "fewer keys",
    "plain settings",
    "times for events",
    "simpler faults",
)
"""What is worth other seeds, once nothing more is found under the plan's own."""


OPERATIONS: Final[tuple[tuple[str, Pass], ...]] = (
    ("fewer operations", _fewer_operations),
    ("few operations", _few_operations),
    ("fewer operations", _fewer_operations),
)
"""Single operations, at last: under another seed, or at other times, they would be others."""


def _fewer(items: list[Any], rebuilt: Callable[[list[Any]], tuple[str, Document]]) -> Candidates:
    """Delta debugging: without all, each half, each quarter, … each one."""
    size = len(items)
    while size:
        start = 0
        while start < len(items):
            kept = items[:start] + items[start + size :]
            if (yield rebuilt(kept)):
                items = kept
            else:
                start += size
        size = min(size, len(items)) // 2


def _first(name: str, documents: Iterable[Document]) -> Generator[tuple[str, Document], bool, bool]:
    """Whether any was taken; those after it are not tried."""
    for document in documents:
        if (yield name, document):
            return True
    return False


def _lower(name: str, value: int, least: int, plan_with: Callable[[int], Document]) -> Candidates:
    """The cheapest time that will do: the least, else by halving over whole seconds, then finer units."""
    if value > least and time_cost(least) < time_cost(value) and (yield name, plan_with(least)):
        return
    below, best = least, value
    for unit in UNITS:
        low, high = below // unit + 1, -(-best // unit)
        while low <= high:
            middle = (low + high) // 2
            time = middle * unit
            if time_cost(time) >= time_cost(best):
                high = middle - 1
            elif (yield name, plan_with(time)):
                best, high = time, middle - 1
            else:
                below, low = max(below, time), middle + 1
    if best == value:  # halving takes what fails at a time to fail at later ones too, which it need not
        for unit in UNITS:
            time = best // unit * unit
            if least < time and time_cost(time) < time_cost(best) and (yield name, plan_with(time)):
                return


def _time_at(now: State, *path: str | int) -> Callable[[int], Document]:
    """The plan with another time at a path."""
    return lambda time: put(now.document, path, format_duration(time))


def _until(document: Document, heal: int, duration: int) -> Document:
    """The plan with another heal and another end; the workload goes on to the heal at least."""
    duration = max(_SHORTEST_WORKLOAD, heal, duration)
    changed = put(document, ("workload", "duration"), format_duration(duration))
    return {**changed, "heal": format_duration(heal)}


def _at(document: Document, index: int, moment: Moment, time: int) -> Document:
    """A step at a time instead of an event, at the node where the event happened."""
    if moment.anchor is not None:
        document = anchored(document, index, moment.anchor)
    step = {key: value for key, value in document["faults"][index].items() if key != "on"}
    document = with_step(document, index, {"at": format_duration(time), **step})
    heal = max(ns(document["heal"]), end_of(document["faults"][index]))
    return _until(document, heal, ns(document["workload"]["duration"]))


def _rounded(time: int) -> list[int]:
    """A time and rounder ones near it, the roundest first."""
    time = max(0, time)
    return [(time + unit // 2) // unit * unit for unit in UNITS] + [time]
