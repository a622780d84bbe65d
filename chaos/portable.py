"""What a backend can carry out, and the part of a family that stays within it.

A family that leaves much open (`random`, `any`, `maybe`) mostly holds members for every backend: drawn from the
restricted family, none is refused. What a scenario fixes is never changed: if a backend lacks it, the scenario is
not portable, and is refused as a whole.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from chaos.document import Path, show_path
from chaos.errors import UnsupportedError
from chaos.holes import AnyOf, Maybe, highest, lowest
from chaos.scenario import FaultsItem, RandomSteps, Scenario, StepBase
from chaos.units import Share

_ACTIONS = {"partition": "cut", "one_way": "cut"}


@dataclass(frozen=True)
class Support:
    """What a backend can carry out: actions (`do` of a compiled step), and what needs more than actions."""

    actions: frozenset[str]
    events: bool
    """Whether steps can wait for an event of the protocol (`on`)."""
    loss: bool
    """Whether links can lose single messages all the time (`network.loss`)."""
    spares: bool
    """Whether there can be nodes that are no members (`cluster.spares`)."""
    because: Mapping[str, str] = field(default_factory=dict)
    """Why the others are missing: action, `on`, `loss` or `spares` → words."""


def action_of(kind: str) -> str:
    """The `do` of a compiled step of a kind of fault."""
    return _ACTIONS.get(kind, kind)


def restricted(scenario: Scenario, support: Support) -> Scenario:
    """The members of a family that a backend with this support can carry out; the scenario itself if all are.

    `random` keeps the supported kinds, and its triggers only where events are supported; `any` keeps the
    supported choices; a `maybe` that is not supported is left out, as are `examples`; an open `network.loss`
    or `cluster.spares` becomes 0. Raises :class:`UnsupportedError` that names each thing that cannot be left out by
    its path in the file (``faults[2]: …``).
    """
    missing: list[str] = []
    loss = scenario.network.loss
    if not support.loss and highest(loss) > 0:
        if lowest(loss) > 0:
            missing.append(_sentence(("network", "loss"), "a loss of messages", support.because.get("loss")))
        loss = Share(0)
    spares = scenario.cluster.spares
    if not support.spares and spares is not None and highest(spares, 0) > 0:
        if lowest(spares, 0) > 0:
            missing.append(_sentence(("cluster", "spares"), "a node to spare", support.because.get("spares")))
        spares = None
    faults: list[FaultsItem] = []
    for index, item in enumerate(scenario.faults):
        path: Path = ("faults", index)
        kept = _item(item, path, support)
        if isinstance(kept, str):
            missing.append(kept)
        elif kept is not None:
            faults.append(kept)
    if missing:
        raise UnsupportedError("; ".join(missing))

    members = []
    for example, member in zip(scenario.examples, scenario.example_scenarios, strict=True):
        try:
            members.append((example, restricted(member, support)))
        except UnsupportedError:
            continue
    kept_whole = [id(loss), id(spares), *map(id, faults), *(id(member) for _, member in members)]
    if kept_whole == list(
        map(
            id,
            (scenario.network.loss, scenario.cluster.spares, *scenario.faults, *scenario.example_scenarios),
        )
    ):
        return scenario
    kept_scenario = scenario.model_copy(
        update={
            "cluster": scenario.cluster.model_copy(update={"spares": spares}),
            "network": scenario.network.model_copy(update={"loss": loss}),
            "faults": faults,
            "examples": [example for example, _ in members],
        }
    )
    kept_scenario._examples = tuple(member for _, member in members)
    return kept_scenario


def _item(item: FaultsItem, path: Path, support: Support) -> FaultsItem | str | None:
    """What is left of one of the `faults`: the same object if it is whole, None if it may and must go.

    What must stay and is not supported: a sentence about it.
    """
    match item:
        case RandomSteps():
            return _random(item, (*path, "random"), support)
        case AnyOf():
            lacks = [next(_lacks(step, support), None) for step in item.any]
            kept = [step for step, lack in zip(item.any, lacks, strict=True) if lack is None]
            if len(kept) == len(item.any):
                return item
            if kept:
                return item.model_copy(update={"any": kept})
            return _sentence((*path, "any", 0), *next(_lacks(item.any[0], support)))
        case Maybe():
            return None if any(_lacks(item.maybe, support)) else item
        case StepBase():
            lack = next(_lacks(item, support), None)
            return item if lack is None else _sentence(path, *lack)
    raise AssertionError(f"no item of faults: {item}")


def _random(item: RandomSteps, path: Path, support: Support) -> RandomSteps | str | None:
    random = item.random
    kinds = [kind for kind in random.kinds if action_of(kind) in support.actions]
    waits = bool(random.triggers) and not support.events
    if len(kinds) == len(random.kinds) and not waits:
        return item
    if not kinds:
        kind = random.kinds[0]
        why = support.because.get(action_of(kind))
        return None if lowest(random.count) == 0 else _sentence((*path, "kinds"), kind, why)
    update: dict[str, object] = {"kinds": kinds} | ({"triggers": [], "nth": None} if waits else {})
    return item.model_copy(update={"random": random.model_copy(update=update)})


def _lacks(step: StepBase, support: Support) -> Iterator[tuple[str, str | None]]:
    """What a step needs and the backend lacks, and why it does."""
    if action_of(step.kind) not in support.actions:
        yield step.kind, support.because.get(action_of(step.kind))
    if step.on is not None and not support.events:
        yield "a moment in the protocol (on)", support.because.get("on")


def _sentence(path: Path, what: str, why: str | None) -> str:
    return f"{show_path(path)}: {what} is not supported" + (f": {why}" if why else "")
