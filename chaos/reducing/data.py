"""Plans as plain data: reading parts of them, and copies with another part.

The data is that of `Plan.document`: a filled scenario, every value written out.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from chaos.faults import KINDS
from chaos.topology import parse_node
from chaos.units import parse_duration

Document = dict[str, Any]
"""A plan as plain data, as `Plan.document` gives it. Never changed in place: each candidate is a copy."""

SECOND: Final = 1_000_000_000
MILLISECOND: Final = 1_000_000
RANGES: Final = (("network", "latency"), ("disk", "sync"))
"""Settings that are ``[least, most]``."""

AMOUNTS: Final = ("delay", "jitter", "within")
"""Keys of faults that hold times."""

_HEADED: Final = ("halves", "majority_ring", "bridge")


def kind_of(step: Document) -> str:
    """The step's kind of fault."""
    return next(kind for kind in KINDS if kind in step)


def selectors(step: Document) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each selector of a step, with its path."""
    kind = kind_of(step)
    fault = step[kind]
    here: tuple[str, ...] = (kind,)
    if kind == "partition" and "one_way" in fault:
        fault, here = fault["one_way"], (kind, "one_way")
    for key in ("node", "to", "from", "isolate", *_HEADED):
        if key in fault:
            yield (*here, key), fault[key]
    if kind == "partition" and "sides" in fault:
        for side in fault["sides"]:
            yield (), side


def times(document: Document) -> Iterator[int]:
    """Every time of a plan, in ns."""
    yield ns(document["heal"])
    yield ns(document["workload"]["duration"])
    for section, key in RANGES:
        yield from map(ns, document[section][key])
    for step in document["faults"]:
        for path in (("at",), ("for",), *((kind_of(step), key) for key in AMOUNTS)):
            value = get(step, path)
            if value is not None:
                yield ns(value)


def named_nodes(step: Document) -> Iterator[int]:
    """Nodes that a step names."""
    for _, selector in selectors(step):
        names = selector if isinstance(selector, list) else [selector]
        yield from (parse_node(name) for name in names if isinstance(name, str) and name[1:].isdigit())
    if "on" in step and "node" in step["on"]:
        yield parse_node(step["on"]["node"])


def in_time(document: Document) -> list[int]:
    """The steps that are due at a time, by that."""
    timed = [index for index, step in enumerate(document["faults"]) if "at" in step]
    return sorted(timed, key=lambda index: ns(document["faults"][index]["at"]))


def end_of(step: Document) -> int:
    """When a step is over at the latest that can be told; what stands until the heal begins before it."""
    begin = ns(step["at"]) if "at" in step else 0
    return begin + (ns(step["for"]) if "for" in step else MILLISECOND)


def ns(text: str) -> int:
    """A duration in ns."""
    return int(parse_duration(text))


def get(data: Any, path: Sequence[str | int]) -> Any:
    """What is at a path; None where there is nothing."""
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    return data


def put(data: Any, path: Sequence[str | int], value: Any) -> Any:
    """A copy with another value at the path."""
    if not path:
        return value
    first, *rest = path
    if isinstance(data, list):
        assert isinstance(first, int)
        return [*data[:first], put(data[first], rest, value), *data[first + 1 :]]
    return {**data, first: put(data.get(first), rest, value)}


def with_step(document: Document, index: int, step: Document) -> Document:
    """A copy with another step at an index."""
    changed: Document = put(document, ("faults", index), step)
    return changed


def without_step(document: Document, index: int) -> Document:
    """A copy without a step."""
    steps = document["faults"]
    return {**document, "faults": [*steps[:index], *steps[index + 1 :]]}


def anchored(document: Document, index: int, anchor: str) -> Document:
    """With the nodes that were meant instead of ``leader``, ``event`` or a follower in one step.

    ``anchor`` is the node that led, or at which the event happened.
    """
    nodes = document["cluster"]["nodes"]
    for path, selector in selectors(document["faults"][index]):
        rank = selector["follower"] if isinstance(selector, dict) else 0
        if rank or selector in ("leader", "event"):
            node = (parse_node(anchor) - 1 + rank) % nodes + 1
            document = put(document, ("faults", index, *path), f"n{node}")
    return document
