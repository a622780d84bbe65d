"""Simpler forms of a step: another kind of fault, other nodes, fewer conditions."""

from collections.abc import Iterator
from typing import Any, Final

from chaos.faults import KINDS, OnLinks
from chaos.reducing.cost import selector_cost, step_cost
from chaos.reducing.data import MILLISECOND, Document, kind_of, put, selectors
from chaos.units import format_duration

SHORTEST_FAULT: Final = 100 * MILLISECOND
_ON_NODES: Final = ("restart", "pause", "kill", "power_off")


def simpler_steps(step: Document, nodes: int) -> Iterator[tuple[str, Document]]:
    """Forms of a step that are simpler than it, the simplest first."""
    kind = kind_of(step)
    fault = step[kind]
    forms = sorted(_forms(step, nodes), key=step_cost)
    least = step_cost(step)
    for form in forms:
        if step_cost(form) < least:
            yield "another fault", form
    for path, selector in selectors(step):
        for other in _simpler_selectors(selector, nodes, on_event="on" in step) if path else ():
            yield "other nodes", put(step, path, other)
    if fault.get("clients"):
        yield "not the clients", put(step, (kind, "clients"), False)
    if "order" in fault:
        yield "nodes in order", put(step, (kind, "order"), [f"n{node}" for node in range(1, nodes + 1)])
    if issubclass(KINDS[kind], OnLinks) and "from" in fault:
        plain = {key: value for key, value in fault.items() if key not in {"from", "to"}}
        for selector in _simpler_selectors("all", nodes, on_event="on" in step):
            yield "both ways", {**step, kind: {**plain, "node": selector}}
    if step["optional"]:
        yield "not optional", {**step, "optional": False}


def _forms(step: Document, nodes: int) -> Iterator[Document]:
    """The same step as other kinds of fault, at the nodes that it hit and at each single one."""
    kind = kind_of(step)
    own = [selector for _, selector in selectors(step)]
    single = _simpler_selectors("all", nodes, on_event="on" in step)
    rest = {key: value for key, value in step.items() if key != kind}
    lasting = {"for": rest.get("for", format_duration(SHORTEST_FAULT)), **rest}
    brief = {key: value for key, value in rest.items() if key != "for"}
    for selector in [*own, *(one for one in single if one not in own)]:
        if selector != "all":
            yield {**lasting, "partition": {"isolate": selector, "clients": False}}
        for other in _ON_NODES:
            yield {**(lasting if KINDS[other].lasts else brief), other: {"node": selector}}


def _simpler_selectors(selector: Any, nodes: int, *, on_event: bool) -> list[Any]:
    """Selectors that are simpler than one, the simplest first."""
    others: list[Any] = ["leader", *(["event"] if on_event else [])]
    others += [{"follower": rank} for rank in range(1, nodes)]
    others += [f"n{node}" for node in range(1, nodes + 1)]
    others += ["all"]
    if isinstance(selector, list):
        others += (
            [[name for name in selector if name != gone] for gone in selector] if len(selector) > 2 else []
        )
        others += [[f"n{node}" for node in range(1, len(selector) + 1)]]
    return [other for other in others if selector_cost(other) < selector_cost(selector)]
