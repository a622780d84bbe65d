"""A plan: one concrete, finite, timed member of a scenario's family. It ends with every fault healed.

Its canonical JSON is its identity, and is a scenario with every hole filled and every default written out: so
a plan can be read, kept, edited and run again as a scenario, and gives the same plan then.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, cast

from chaos.document import Document, Plain
from chaos.errors import BundleError, ScenarioError
from chaos.faults import Fault
from chaos.holes import closed, is_hole
from chaos.scenario import Scenario, StepBase, validated, walk
from chaos.topology import Selector, node_name, ordinal
from chaos.units import Duration

FORMAT: Final = 1
"""The version of `Plan.to_json` and of `Plan.compiled`."""

OPTIONS: Final = {"tick_ns": 20_000_000, "heartbeat_ticks": 5, "election_ticks": 25}
"""Named defaults of the nodes, equal on all backends: elections are due after 25 to 50 ticks."""


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One fault of a plan: when, for how long, what, and to whom."""

    id: int
    """Its number, from 0."""
    fixed: bool
    """Whether the run is unknown if it could not be carried out."""
    at_ns: int | None
    """When it is due, from the start of the workload; None for a step that waits for an event."""
    event: str | None
    """What it waits for."""
    nth: int
    """At which occurrence, from 1."""
    node: int | None
    """At which node; None for any."""
    for_ns: int | None
    """How long it stands; None until the heal, or for what is over at once."""
    fault: Fault
    """What it does; settled."""

    @property
    def kind(self) -> str:
        """The fault's kind."""
        return self.fault.kind

    @property
    def anchor(self) -> str:
        """What the run must tell before it can be carried out: ``leader``, ``event`` or ``none``."""
        anchors = {value.anchor for _, value in walk(self.fault, ()) if isinstance(value, Selector)} - {
            "none"
        }
        assert len(anchors) <= 1, f"more than one anchor: {anchors}"
        return anchors.pop() if anchors else "none"

    def cases(self, nodes: int) -> dict[str, dict[str, Any]]:
        """What to do, by the anchor's node (``*`` where there is no anchor)."""
        if self.anchor == "none":
            return {"*": self.fault.case(nodes, None)}
        return {node_name(node): self.fault.case(nodes, node) for node in range(1, nodes + 1)}


@dataclass(frozen=True, eq=False)
class Plan:
    """A scenario with every hole filled. Equal if the canonical JSON is."""

    closed: Scenario
    """The scenario, hole-free, everything drawn, defaults written out."""
    steps: tuple[PlanStep, ...] = field(repr=False)
    """Its faults."""

    @classmethod
    def of(cls, scenario: Scenario) -> "Plan":
        """The plan that a filled scenario is."""
        return cls(
            scenario,
            tuple(_step(index, cast("StepBase", step)) for index, step in enumerate(scenario.faults)),
        )

    @classmethod
    def from_json(cls, text: str, source: str = "plan.json") -> "Plan":
        """Reads what `to_json` wrote. Raises `BundleError`: no plan, another format, something left out."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{source}: found no JSON ({str(error)[:80]}), expected a plan") from None
        if not isinstance(data, dict) or set(data) != {"format", "scenario"}:
            raise BundleError(f"{source}: expected a plan, an object with `format` and `scenario`")
        if data["format"] != FORMAT:
            found = str(data["format"])[:40]
            raise BundleError(
                f"{source}: found a plan of format {found}, expected {FORMAT}: use the release that wrote it"
            )
        try:
            plan = cls._of_data(data["scenario"], source)
        except ScenarioError as error:
            raise BundleError(str(error)) from None
        if json.loads(plan.to_json()) != data:
            raise BundleError(
                f"{source}: found a plan that leaves something out, expected every value written out"
            )
        return plan

    @classmethod
    def _of_data(cls, data: Plain, source: str) -> "Plan":
        scenario = validated(Document(source, data))
        complete = scenario.seed is not None and scenario.heal is not None
        complete &= isinstance(scenario.network.latency, list) and isinstance(scenario.disk.sync, list)
        for _, value in walk(scenario, ()):
            if is_hole(value) or (isinstance(value, Selector) and not value.is_settled):
                complete = False
        if not complete or not all(isinstance(step, StepBase) for step in scenario.faults):
            raise BundleError(f"{source}: found a scenario that leaves values open, expected a plan")
        plan = cls.of(scenario)
        for step in plan.steps:
            if not _is_settled(step.fault, plan.nodes):
                raise BundleError(
                    f"{source}: found step {step.id}, {step.kind}, not as drawing leaves it, expected a plan"
                )
        if tuple(scenario.checks) != scenario.check_names:
            found, expected = ", ".join(scenario.checks), ", ".join(scenario.check_names)
            raise BundleError(f"{source}: found the checks {found}, expected {expected}, in this order")
        return plan

    def with_document(self, data: Mapping[str, Any]) -> "Plan":
        """The plan that a changed copy of `document` is. Raises `BundleError` if that is no valid plan."""
        try:
            return self._of_data(dict(data), "plan")
        except ScenarioError as error:
            raise BundleError(str(error)) from None

    @cached_property
    def document(self) -> dict[str, Any]:
        """The filled scenario as plain data. Do not change it."""
        return self.closed.model_dump(mode="json", by_alias=True, exclude_none=True)

    @cached_property
    def _json(self) -> str:
        return json.dumps(
            {"format": FORMAT, "scenario": self.document}, sort_keys=True, separators=(",", ":")
        )

    def to_json(self) -> str:
        """Canonical: sorted keys, no blanks, ASCII, one line without its end."""
        return self._json

    @cached_property
    def plan_id(self) -> str:
        """32 hex digits (blake2b) of the canonical JSON."""
        return hashlib.blake2b(self._json.encode(), digest_size=16).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self._json == other._json

    def __hash__(self) -> int:
        return hash(self._json)

    @property
    def scenario(self) -> str:
        """The scenario's name."""
        return self.closed.scenario

    @property
    def about(self) -> str:
        """What the scenario is there to show."""
        return self.closed.about

    @property
    def seed(self) -> int:
        """Decides what is left to chance within the run."""
        assert self.closed.seed is not None
        return self.closed.seed

    @property
    def nodes(self) -> int:
        """How many nodes, spares included."""
        return closed(self.closed.cluster.nodes) + self.spares

    @property
    def spares(self) -> int:
        """How many of them, the last ones, are no members at first."""
        spares = self.closed.cluster.spares
        return 0 if spares is None else closed(spares)

    @property
    def checks(self) -> tuple[str, ...]:
        """What must hold, in the order of the report."""
        return self.closed.check_names

    @property
    def sometimes(self) -> tuple[str, ...]:
        """What should happen: `run` reports whether it did."""
        return tuple(self.closed.sometimes)

    @property
    def workload_ns(self) -> int:
        """How long clients work."""
        return int(closed(self.closed.workload.duration))

    @property
    def heal_ns(self) -> int:
        """When every fault still in force ends."""
        assert self.closed.heal is not None
        return int(closed(self.closed.heal))

    def compiled(self) -> dict[str, Any]:
        """The plan as a backend carries it out: integers, and a table of cases for each step. Do not change it."""
        return self._compiled

    @cached_property
    def _compiled(self) -> dict[str, Any]:
        return _compile(self)

    def compiled_json(self) -> str:
        """The same as canonical JSON."""
        return json.dumps(self._compiled, sort_keys=True, separators=(",", ":"))


def _compile(plan: Plan) -> dict[str, Any]:
    """Selectors and shapes are resolved here, over networkx, for every node that the anchor may turn out to be.

    So all backends mean the same by them.
    """
    scenario = plan.closed
    latency, sync = (cast("list[Duration]", pair) for pair in (scenario.network.latency, scenario.disk.sync))
    limits = scenario.limits
    patience = limits.unavailable_at_most
    return {
        "format": FORMAT,
        "seed": plan.seed,
        "nodes": plan.nodes,
        **({"spares": plan.spares} if plan.spares else {}),
        "options": {
            **OPTIONS,
            "snapshot_every_entries": closed(scenario.cluster.snapshot_every),
            "keep_entries": closed(scenario.cluster.snapshot_keep),
        },
        "network": {
            "latency_min_ns": int(latency[0]),
            "latency_max_ns": int(latency[1]),
            "loss_ppm": int(closed(scenario.network.loss)),
        },
        "disk": {"sync_min_ns": int(sync[0]), "sync_max_ns": int(sync[1])},
        "workload": scenario.workload.compiled(),
        "timeline": {
            "workload_ns": plan.workload_ns,
            "heal_ns": plan.heal_ns,
            "recovers_within_ns": int(limits.recovers_within),
            "unavailable_at_most_ns": None if patience is None else int(patience),
        },
        "steps": [_compiled_step(step, plan.nodes) for step in plan.steps],
        "checks": list(plan.checks),
    }


def _compiled_step(step: PlanStep, nodes: int) -> dict[str, Any]:
    node = None if step.node is None else node_name(step.node)
    when: dict[str, Any] = {"at_ns": step.at_ns}
    if step.at_ns is None:
        when = {"on": {"event": step.event, "nth": step.nth, "node": node}}
    return {
        "id": step.id,
        "fixed": step.fixed,
        "kind": step.kind,
        "when": when,
        "for_ns": step.for_ns,
        "anchor": step.anchor,
        "cases": step.cases(nodes),
    }


def describe(step: PlanStep) -> str:
    """What a step does, in words: ``cut the leader off from the other nodes``."""
    return step.fault.words()


def describe_when(step: PlanStep) -> str:
    """When a step is due and how long it stands: ``at 4s, for 2s``."""
    if step.at_ns is not None:
        when = f"at {Duration(step.at_ns)}"
    else:
        where = "" if step.node is None else f" at {node_name(step.node)}"
        when = f"at the {ordinal(step.nth)} {step.event}{where}"
    if not step.fault.lasts:
        return when
    return f"{when}, until the heal" if step.for_ns is None else f"{when}, for {Duration(step.for_ns)}"


def scenario_of(plan: Plan) -> str:
    """A scenario file with every hole filled: it runs by itself, and as the same plan."""
    lines = [f"# Plan {plan.plan_id}, every hole filled.\n"]
    for key, value in plan.document.items():
        if value in ([], ""):
            continue
        if key == "faults":
            lines.append("faults:\n")
            lines += [_yaml_step(step) for step in value]
        else:
            lines.append(f"{key}: {_yaml(value)}\n")
    return "".join(lines)


def _yaml_step(step: Mapping[str, Any]) -> str:
    pairs = [f"{key}: {_yaml(value)}\n" for key, value in step.items() if value is not False]
    return "  - " + "    ".join(pairs)


def _yaml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case list():
            return f"[{', '.join(map(_yaml, value))}]"
        case dict():
            pairs = (
                f"{key}: {_yaml(item)}" for key, item in value.items() if (key, item) != ("clients", False)
            )
            return f"{{{', '.join(pairs)}}}"
        case _:
            return _yaml_text(str(value))


def _yaml_text(text: str) -> str:
    """Plain where that is safe (words, durations, rates, shares), else in double quotes."""
    word = text.replace("_", "").replace("-", "").replace("/", "").replace(".", "").replace("%", "")
    if word.isascii() and word.isalnum() and text[0].isalnum() and not text.isdigit() and _stays_text(text):
        return text
    escaped = (char if char.isprintable() and char not in '"\\' else _escaped(char) for char in text)
    return f'"{"".join(escaped)}"'


def _stays_text(text: str) -> bool:
    numeric = text[0].isdigit() and text[-1].isdigit()
    return not numeric and text.lower() not in {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"


class _OpenError(Exception):
    """There is something left to choose."""


def _is_settled(fault: Fault, nodes: int) -> bool:
    """Whether drawing would leave the fault as it is: else its scenario file would be that of another plan."""

    def pick(name: str, count: int) -> int:
        raise _OpenError

    try:
        return fault.settled(nodes, pick) == fault
    except _OpenError:
        return False


def _step(index: int, step: StepBase) -> PlanStep:
    on = step.on
    return PlanStep(
        id=index,
        fixed=not step.optional,
        at_ns=None if step.at is None else int(closed(step.at)),
        event=None if on is None else closed(on.event),
        nth=1 if on is None else closed(on.nth),
        node=None if on is None or on.node is None else closed(on.node),
        for_ns=None if step.for_ is None else int(closed(step.for_)),
        fault=cast("Fault", step.fault),
    )
