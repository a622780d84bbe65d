"""Scenario files: strict models, and YAML text → `Scenario` with errors that say where and what was expected.

Values of type `Open`, `Given`, `Choice` or `Pick` may be holes; a file with holes is a family. What can be
judged of every member is judged here, so that a drawing (`chaos.generate`) never fails: a step may only name
nodes that each possible cluster has, and begin and end before each possible heal.
"""

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

from pydantic import (
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    PrivateAttr,
    Tag,
    ValidationError,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema, ErrorDetails

from chaos import document as documents
from chaos import holes, topology
from chaos.document import Document, Path, Plain, Problem, printable, show, show_path
from chaos.errors import ScenarioError
from chaos.faults import KINDS, AddNode, Direction, Fault, NodeField, OnLinks, Partition, ReplaceNode
from chaos.holes import AnyOf, Between, Given, Maybe, Open, Pick, Spec, highest, is_hole, lowest, word, wrong
from chaos.topology import Selector, node_name
from chaos.units import Duration, Rate, Share, format_duration, parse_duration, parse_rate
from chaos.workload import Bursts, Workload, misnamed

RAFT_CHECKS = (
    "election_safety",
    "log_matching",
    "leader_completeness",
    "state_machine_safety",
    "committed_never_changes",
    "monotonic",
)
"""What the group ``raft`` stands for."""
CHECKS = ("linearizable", *RAFT_CHECKS, "durable", "recovers", "progresses", "available", "no_panic")
"""Every check that a scenario may name, in the order in which they are reported."""
ALWAYS = ("no_panic",)
"""Checks that every plan asks for."""

TRACE_EVENTS = {
    "started": 12,
    "initialized": 9,
    "role_changed": 60,
    "vote_cast": 30,
    "appended": 3000,
    "truncated": 10,
    "committed": 2000,
    "applied": 3000,
    "snapshot_made": 5,
    "snapshot_installed": 5,
    "config_changed": 9,
    "stopped": 5,
    "panicked": 2,
    "refused": 2,
}
"""What nodes trace, and up to which occurrence a ``random`` step may wait for it."""
DISK_EVENTS = {"disk_write": 4000, "disk_sync": 3000}
"""Disk operations, at which a step strikes before the operation is reported done."""
SENT_EVENTS = {
    "append_sent": 3000,
    "snapshot_sent": 5,
    "vote_requested": 30,
    "read_confirmed": 300,
    "read_answered": 600,
    "write_answered": 600,
}
"""What a node sends, of which no trace tells; a step strikes before it arrives."""
EVENTS = TRACE_EVENTS | DISK_EVENTS | SENT_EVENTS
"""What a step may wait for (`on`)."""

GOALS = {
    "leader_changed": "another node came to lead after the start",
    "log_truncated": "a node removed log entries that conflicted with the leader's",
    "snapshot_installed": "a node caught up from a snapshot",
    "node_refused": "a node refused to start on its disk",
    "read_after_leader_change": "a read was served within a second after a leader change",
    "voter_added": "a node votes that did not before",
    "voter_removed": "a node does not vote any more",
    "joint_left": "a joint configuration, in which old and new voters decide together, was over",
    "operation_during_partition": "an operation succeeded while links were cut",
}
"""What ``sometimes`` may name: runs in which it never happens have shown little. ``run`` reports it, a campaign
ends with 3 without it."""

MOST_STEPS = 64
MOST_OPERATIONS = 1_000_000
"""Of roaming clients in one run: so many a run can hold in memory, check and keep."""
MOST_EXAMPLES = 32
SCHEMA_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def _name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,79}", value, re.ASCII):
        raise wrong("a name of at most 80 small letters, digits, - and _")
    return value


NameField = Annotated[
    str, PlainValidator(_name), WithJsonSchema({"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,79}$"})
]
EventField = Annotated[str, word("an event", tuple(EVENTS))]
KindField = Annotated[str, word("a kind of fault", tuple(KINDS))]
CheckField = Annotated[str, word("a check", ("raft", *CHECKS))]
GoalField = Annotated[str, word("a goal", tuple(GOALS))]
TimeField = Annotated[Duration, holes.duration("0s", "60m")]
SpanField = Annotated[Duration, holes.duration("1ms", "60m")]
LatencyField = Annotated[Duration, holes.duration("0s", "10s")]
LossField = Annotated[Share, holes.share("0%", "50%")]


def _tag_pair(value: object) -> str:
    return "=pair" if isinstance(value, list) else holes.tag(value)


Range = Annotated[
    Annotated[LatencyField, Tag("=value")]
    | Annotated[AnyOf[LatencyField], Tag("=any")]
    | Annotated[Between[LatencyField], Tag("=between")]
    | Annotated[Maybe[LatencyField], Tag("=maybe")]
    | Annotated[list[Open[LatencyField]], Field(min_length=2, max_length=2), Tag("=pair")],
    Discriminator(_tag_pair),
]
"""A duration that always holds, or ``[least, most]``: each single one is drawn between these in the run."""


def _pair(low: str, high: str) -> Any:
    """A field that holds ``[low, high]`` if the file says nothing."""
    return Field(
        default_factory=lambda: [parse_duration(low), parse_duration(high)],
        json_schema_extra={"default": [low, high]},
    )


class Cluster(Spec):
    """The nodes under test."""

    nodes: Open[Annotated[int, Field(ge=1, le=topology.MOST_NODES)]] = 5
    """How many nodes; they are called n1, n2, …"""
    spares: Open[Annotated[int, Field(ge=0, le=topology.MOST_NODES - 1)]] | None = None
    """How many nodes more, with empty disks and no members, for `add_node` and `replace_node`. Simulator only."""
    snapshot_every: Open[Annotated[int, Field(ge=10, le=1_000_000)]] = 1000
    """After how many log entries a node makes a snapshot."""
    snapshot_keep: Open[Annotated[int, Field(ge=0, le=1_000_000)]] = 100
    """How many entries before the snapshot stay in the log, for followers that lag."""


class Network(Spec):
    """The links when no fault is on them. On Docker: toxics for `latency` from 1 ms on; `loss` is refused."""

    latency: Range = _pair("1ms", "5ms")
    """How long a message takes: a duration, or `[least, most]`. On Docker a toxic on each link, from 1 ms on."""
    loss: Open[LossField] = Share(0)
    """How many messages are lost. Simulator only: Docker refuses it."""


class Disk(Spec):
    """The disks. Only the simulator can be told; real disks are as they are."""

    sync: Range = _pair("200us", "2ms")
    """How long a sync takes: a duration, or `[least, most]`."""


class Trigger(Spec):
    """A moment in the protocol: the nth time that an event happens, counted from the nodes' first start."""

    event: Pick[EventField]
    """The event's name: what nodes trace, what their disks do (before it is reported done), what they send."""
    nth: Open[Annotated[int, Field(ge=1, le=10_000_000)]] = 1
    """At which occurrence, from 1."""
    node: Pick[NodeField] | None = None
    """At which node; at any if it is not given."""

    @classmethod
    def expanded(cls, value: object) -> object:
        """``on: vote_cast`` is short for ``on: {event: vote_cast}``."""
        return {"event": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The mapping or the event's name."""
        full = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"enum": list(EVENTS)}, full], "description": cls.__doc__}


class StepBase(Spec):
    """One fault: when it begins (`at` or `on`), how long it stands (`for`), and what it does (one kind)."""

    at: Given[TimeField] | None = None
    """When it begins, from the start of the workload."""
    on: Trigger | None = None
    """At which moment in the protocol it begins, instead of a time."""
    for_: Open[SpanField] | None = Field(None, alias="for")
    """How long it stands; until the heal if it is not given."""
    optional: bool = False
    """Whether the run still counts if the step could not be carried out (else it is unknown)."""

    @property
    def kind(self) -> str:
        """The name of its kind of fault."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def fault(self) -> Fault | AnyOf[Fault]:
        """What it does; it may still be a hole."""
        return cast("Fault | AnyOf[Fault]", getattr(self, self.kind))

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise wrong(
                f"exactly one kind of fault: {', '.join(KINDS)}", at=tuple(kinds[1:2]), found=_count(kinds)
            )
        if (self.at is None) == (self.on is None):
            found = "both `at` and `on`" if self.at is not None else "neither `at` nor `on`"
            raise wrong(
                "exactly one of `at` and `on`", at=("on",) if self.on is not None else (), found=found
            )
        if self.for_ is not None and not KINDS[self.kind].lasts:
            raise wrong(f"no `for`: {self.kind} is over at once", at=("for",))
        return self


def _count(kinds: Sequence[str]) -> str:
    return f"{len(kinds)} ({', '.join(kinds)})" if kinds else "none"


def _step_class() -> type[StepBase]:
    fields: dict[str, Any] = {
        kind: (Pick[fault] | None, Field(None, description=fault.about))  # type: ignore[valid-type]
        for kind, fault in KINDS.items()
    }
    return create_model("Step", __base__=StepBase, __doc__=StepBase.__doc__, __module__=__name__, **fields)


if TYPE_CHECKING:
    Step = StepBase
else:
    Step = _step_class()


class Random(Spec):
    """A list of faults that drawing composes."""

    count: Given[Annotated[int, Field(ge=0, le=MOST_STEPS)]]
    """How many; {between: [0, 6]}, say. Shrinking takes out every one that is not needed."""
    kinds: list[KindField] = Field(min_length=1, max_length=32)
    """Which kinds may occur, mildest first."""
    window: list[TimeField] | None = Field(None, min_length=2, max_length=2)
    """From when to when they may begin; from 500ms to the heal if it is not given."""
    for_: Open[SpanField] = Field(
        default_factory=lambda: Between[SpanField](between=["200ms", "3s"]),  # type: ignore[list-item]
        alias="for",
        json_schema_extra={"default": {"between": ["200ms", "3s"]}},
    )
    """How long each of them stands."""
    triggers: list[EventField] = Field([], max_length=len(EVENTS))
    """Events at which they may begin instead of at a time."""
    nth: Open[Annotated[int, Field(ge=1, le=10_000_000)]] | None = None
    """At which occurrence of the event; by default as many as a run of some seconds has of it."""


class RandomSteps(Spec):
    """Stands in `faults` for as many steps as are drawn."""

    random: Random
    """What may be drawn."""


def _tag_step(value: object) -> str:
    if isinstance(value, RandomSteps) or (isinstance(value, dict) and "random" in value):
        return "=random"
    tag = holes.tag(value)
    return "=value" if tag == "=between" else tag


FaultsItem = Annotated[
    Annotated[Step, Tag("=value")]
    | Annotated[AnyOf[Step], Tag("=any")]
    | Annotated[Maybe[Step], Tag("=maybe")]
    | Annotated[RandomSteps, Tag("=random")],
    Discriminator(_tag_step),
]


class Limits(Spec):
    """How patient the checks are."""

    recovers_within: Annotated[Duration, holes.duration("100ms", "10m")] = parse_duration("10s")
    """How long after the heal the cluster may take to be whole again."""
    unavailable_at_most: Annotated[Duration, holes.duration("100ms", "60m")] | None = None
    """How long clients may go without a success, during faults and after; turns the check `available` on."""
    progress_within: Annotated[Duration, holes.duration("100ms", "60m")] | None = None
    """How long writes, or reads, may stall while a majority could go on, whatever faults stand; turns the check
    `progresses` on."""


class Scenario(Spec):
    """A scenario of mcp-chaos: what clients do, what is done to the cluster, what must hold all the same."""

    version: Literal[1]
    """The version of this format: 1."""
    scenario: NameField
    """Its name: small letters, digits, - and _."""
    about: Annotated[str, Field(max_length=2000)] = ""
    """What it is there to show, in a sentence or two."""
    tags: list[NameField] = Field([], max_length=32)
    """Words on what the scenario is good for; markers in pytest."""
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = None
    """Fixes what chance decides within a run (delays, election timeouts, what clients choose)."""
    cluster: Cluster = Cluster()
    """The nodes under test."""
    workload: Workload = Workload()
    """What clients do."""
    network: Network = Network()
    """The links when no fault is on them (on Docker: `latency` from 1 ms on, no `loss`)."""
    disk: Disk = Disk()
    """The disks (simulator only)."""
    heal: Open[SpanField] | None = None
    """When every fault still in force ends; after three quarters of the workload if it is not given."""
    faults: list[FaultsItem] = Field([], max_length=MOST_STEPS)
    """What is done to the cluster."""
    checks: list[CheckField] = Field(
        ["linearizable", "raft", "durable", "recovers"], min_length=1, max_length=32
    )
    """What must hold; `raft` stands for Raft's own invariants."""
    limits: Limits = Limits()
    """How patient the checks are."""
    sometimes: list[GoalField] = Field([], max_length=len(GOALS))
    """What should happen, for otherwise little was shown: a campaign in which it never does is no pass."""
    examples: list[dict[str, Any]] = Field([], max_length=MOST_EXAMPLES)
    """Members of interest, as paths and values: run before all others."""

    _examples: tuple["Scenario", ...] = PrivateAttr(())

    @property
    def name(self) -> str:
        """Its name."""
        return self.scenario

    @property
    def hole_count(self) -> int:
        """How many holes its author left, ``random`` lists included, words such as ``minority`` not."""
        return sum(1 for _, value in walk(self, ()) if is_hole(value) or isinstance(value, Random))

    @property
    def example_scenarios(self) -> tuple["Scenario", ...]:
        """The members named under `examples`; each may still have holes."""
        return self._examples

    @property
    def check_names(self) -> tuple[str, ...]:
        """The checks asked for, groups resolved, with those that every plan has."""
        asked = {*self.checks, *ALWAYS}
        if "raft" in asked:
            asked |= set(RAFT_CHECKS)
        if self.limits.unavailable_at_most is not None:
            asked.add("available")
        if self.limits.progress_within is not None:
            asked.add("progresses")
        return tuple(check for check in CHECKS if check in asked)


def load_scenario(text: str, source: str, overrides: Sequence[str] = ()) -> Scenario:
    """Reads a scenario. ``source`` names it in messages, ``overrides`` are ``path=value``, as of ``--set``.

    Raises `ScenarioError`, whatever the text.
    """
    document = documents.read(text, source)
    for override in overrides:
        _override(document, override)
    scenario = validated(document)
    examples = []
    for index, example in enumerate(scenario.examples):
        member = Document(source, copy.deepcopy(document.data), document.values, document.keys)
        member.overridden.update(document.overridden)
        where = printable(f"{document.place(Problem(('examples', index), '', ''))}: examples[{index}]")
        assert isinstance(member.data, dict)
        del member.data["examples"]
        for path, value in example.items():
            _put(member, _parse_path(path, where), value, where)
        examples.append(validated(member))
    scenario._examples = tuple(examples)
    return scenario


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of scenario files, holes included, for editors."""
    schema = Scenario.model_json_schema(by_alias=True, schema_generator=_SchemaGenerator)
    names = _short_names(list(schema["$defs"]))
    return {"$schema": SCHEMA_DRAFT, **cast("dict[str, Any]", _renamed(schema, names))}


class _SchemaGenerator(GenerateJsonSchema):
    """Shows defaults as a file would have them."""

    def encode_default(self, dft: object) -> object:
        """Quantities as text."""
        if isinstance(dft, Duration | Rate | Share):
            return str(dft)
        return (
            [self.encode_default(item) for item in dft]
            if isinstance(dft, list)
            else super().encode_default(dft)
        )


def walk(value: object, path: Path) -> Iterator[tuple[Path, object]]:
    """Every model, hole and leaf below a value, itself included, with its path in the file."""
    yield path, value
    if isinstance(value, Spec):
        for name, field in type(value).model_fields.items():
            yield from walk(getattr(value, name), (*path, field.alias or name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from walk(item, (*path, index))


def heal_of(duration: int, heal: int | None) -> Duration:
    """When everything is healed, given the workload's duration: by default after three quarters of it."""
    millisecond = 1_000_000
    return Duration(duration * 3 // 4 // millisecond * millisecond if heal is None else min(heal, duration))


def validated(document: Document) -> Scenario:
    """The scenario that a document holds. Raises `ScenarioError`."""
    data = document.data
    if not isinstance(data, dict):
        raise document.error([Problem((), show(data), "a mapping that begins with `version: 1`")])
    version = data.get("version", 1)
    if version != 1 or isinstance(version, bool):
        raise document.error([Problem(("version",), show(version), "1, the one version of this format")])
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        found = [_problem(document, details) for details in error.errors(include_url=False)]
        raise document.error(sorted(found, key=lambda problem: not problem.at_key)) from None
    problems = list(_inconsistencies(scenario))
    if problems:
        raise document.error([_located(document, problem) for problem in problems])
    return scenario


_EXPECTED: dict[str, Callable[[dict[str, Any]], str]] = {
    "literal_error": lambda context: str(context["expected"]),
    "int_type": lambda _: "a whole number",
    "string_type": lambda _: "text",
    "string_unicode": lambda _: "text without halves of characters (surrogates)",
    "bool_type": lambda _: "true or false",
    "list_type": lambda _: "a list",
    "dict_type": lambda _: "a mapping",
    "greater_than_equal": lambda context: f"at least {context['ge']}",
    "less_than_equal": lambda context: f"at most {context['le']}",
    "string_too_long": lambda context: f"at most {context['max_length']} characters",
    "too_short": lambda context: f"at least {context['min_length']} in the list",
    "too_long": lambda context: f"at most {context['max_length']} in the list",
}


def _problem(document: Document, details: ErrorDetails) -> Problem:
    """A pydantic error in our words, with its path in the file."""
    context = details.get("ctx", {})
    kind = details["type"]
    if kind == "missing":
        path = _in_file(document, details["loc"][:-1])
        return Problem(path, f"no key `{details['loc'][-1]}`", "it, for it has no default")
    path = _in_file(document, (*details["loc"], *context.get("at", ())))
    value = document.at(path)
    if kind == "scenario":
        unknown = context["found"].startswith("an unknown key")
        found, expected = context["found"] or show(value), context["expected"]
        problem = Problem(path, found, expected, context["words"], at_key=unknown)
    else:
        expected = _EXPECTED[kind](context) if kind in _EXPECTED else details["msg"]
        problem = Problem(path, show(value), expected)
    hole = next((word for word in holes.HOLE_WORDS if isinstance(value, dict) and word in value), None)
    if hole is not None and not problem.at_key and not context.get("found"):
        expected = f"{problem.expected} (this hole may not stand here)"
        problem = Problem(path, f"the hole `{hole}`", expected)
    return problem


def _in_file(document: Document, parts: Sequence[str | int]) -> Path:
    """A pydantic location without what is not in the file: tags of holes, keys left out in short forms."""
    path: Path = ()
    for part in parts:
        here = document.at(path)
        known = part in here if isinstance(here, dict) else isinstance(here, list) and isinstance(part, int)
        if known:
            path = (*path, part)
    return path


def _located(document: Document, problem: Problem) -> Problem:
    path = _in_file(document, problem.path)
    return Problem(path, problem.found or show(document.at(path)), problem.expected, problem.words)


def _inconsistencies(scenario: Scenario) -> Iterator[Problem]:
    """What is wrong between values that are each right."""
    least_nodes = lowest(scenario.cluster.nodes, 5) + lowest(scenario.cluster.spares or 0, 0)
    if highest(scenario.cluster.nodes, 5) + highest(scenario.cluster.spares or 0, 0) > topology.MOST_NODES:
        expected = f"at most {topology.MOST_NODES} nodes together with the spares"
        yield Problem(("cluster", "spares"), "", expected)
    shortest = lowest(scenario.workload.duration, parse_duration("20s"))
    if scenario.heal is not None and lowest(scenario.heal, shortest) > shortest:
        yield Problem(("heal",), "", f"at most the workload's duration, {format_duration(shortest)}")
    heal = min(heal_of(shortest, choice) for choice in holes.choices(scenario.heal))
    yield from _too_many_operations(scenario)
    for index, expected in misnamed(scenario.workload, least_nodes):
        yield Problem(("workload", "only", index), "", expected)
    for place, pair in (
        (("network", "latency"), scenario.network.latency),
        (("disk", "sync"), scenario.disk.sync),
    ):
        if isinstance(pair, list) and highest(pair[0]) > lowest(pair[1]):
            yield Problem(place, "", "[least, most], where the least is never more than the most")
    for check, limit in (("available", "unavailable_at_most"), ("progresses", "progress_within")):
        if check in scenario.checks and getattr(scenario.limits, limit) is None:
            index = scenario.checks.index(check)
            yield Problem(("checks", index), "", f"`limits: {{{limit}: …}}` beside the check `{check}`")
    yield from _repeated(("checks",), scenario.checks)
    yield from _repeated(("sometimes",), scenario.sometimes)
    for path, value in walk(scenario, ()):
        if isinstance(value, StepBase):
            yield from _step_problems(path, value, scenario, least_nodes, heal)
        if isinstance(value, Random):
            yield from _random_problems(path, value, least_nodes, heal)


def _too_many_operations(scenario: Scenario) -> Iterator[Problem]:
    rate = Rate(highest(scenario.workload.rate, parse_rate("100/s")))
    duration = Duration(highest(scenario.workload.duration, parse_duration("20s")))
    more = max(holes.choices(scenario.workload.bursts), key=_more, default=None)
    operations = rate * duration * _more(more) // 10**12
    if operations > MOST_OPERATIONS:
        bursts = "" if more is None else ", bursts included"
        found = f"up to {operations:,} operations ({rate} for {duration}{bursts})"
        expected = f"at most {MOST_OPERATIONS:,} in a run: a lower rate or a shorter duration"
        yield Problem(("workload", "rate"), found, expected)


def _more(bursts: Bursts | None) -> int:
    """How many times as many operations there may be with bursts, rounded up."""
    if bursts is None:
        return 1
    in_bursts = highest(bursts.factor) * highest(bursts.for_)
    return 1 + -(-in_bursts // lowest(bursts.every))


def _repeated(path: Path, words: Sequence[str]) -> Iterator[Problem]:
    for index, one in enumerate(words):
        if one in words[:index]:
            yield Problem((*path, index), f"{one!r} again", "each once")


def _step_problems(
    path: Path, step: StepBase, scenario: Scenario, nodes: int, heal: Duration
) -> Iterator[Problem]:
    yield from _time_problems(path, step, scenario, heal)
    every = " in every cluster that may be drawn" if is_hole(scenario.cluster.nodes) else ""
    for here, value in walk(step, path):
        match value:
            case Selector():
                if value.least_cluster > nodes:
                    yield Problem(here, "", _nodes_expected(value, nodes) + every)
                if value.anchor == "event" and step.on is None:
                    yield Problem(here, "", "a selector other than event: this step waits for none (`on`)")
            case Partition():
                yield from _partition_problems(here, value, scenario, nodes)
            case Direction():
                yield from _anchor_problems((*here, "to"), value.from_, value.to)
            case OnLinks() if value.from_ is not None:
                yield from _anchor_problems((*here, "to"), value.from_, value.to)
            case Trigger():
                for node in holes.choices(value.node):
                    if node is not None and node > nodes:
                        yield Problem((*here, "node"), "", f"a node from n1 to n{nodes}{every}")
            case _:
                pass
        if isinstance(value, AddNode | ReplaceNode) and highest(scenario.cluster.spares or 0, 0) == 0:
            yield Problem(here, value.kind, "`cluster: {spares: …}`, of which one could be added")
        if isinstance(value, Fault) and value.least_cluster > nodes:
            yield Problem(
                here, f"{value.kind} in a cluster of {nodes}", f"at least {value.least_cluster} nodes"
            )


def _nodes_expected(selector: Selector, nodes: int) -> str:
    if selector.nodes:
        return f"a node from n1 to n{nodes}" if nodes > 1 else "n1, the only node"
    return f"at least {selector.least_cluster} nodes for that, not {nodes},"


def _partition_problems(
    path: Path, partition: Partition, scenario: Scenario, nodes: int
) -> Iterator[Problem]:
    spares = set(holes.choices(scenario.cluster.spares))
    sizes = {size + (more or 0) for size in holes.choices(scenario.cluster.nodes) for more in spares}
    if partition.order is not None and sizes != {len(partition.order)}:
        yield Problem((*path, "order"), "", "every node of the cluster once, and a cluster of one size")
    for selector in holes.choices(partition.isolate):
        if selector is not None and len(selector.nodes) >= nodes:
            yield Problem((*path, "isolate"), "", f"fewer than all {nodes} nodes")
    if partition.sides is not None:
        named = [node for side in partition.sides for node in side]
        if max(named) > nodes:
            yield Problem((*path, "sides"), f"the node {node_name(max(named))}", f"nodes from n1 to n{nodes}")
        if len(partition.sides) == 1 and len(named) >= nodes:
            yield Problem((*path, "sides"), "all nodes on one side", "more than one side")


def _anchor_problems(path: Path, senders: object, receivers: object) -> Iterator[Problem]:
    ends = [{selector.anchor for selector in holes.choices(end)} for end in (senders, receivers)]
    for one, other in (ends, ends[::-1]):
        if "leader" in one and "event" in other:
            yield Problem(path, "", "both ends told by the leader, or both by the event")


def _time_problems(path: Path, step: StepBase, scenario: Scenario, heal: Duration) -> Iterator[Problem]:
    ends = f"the heal at {heal}"
    if scenario.heal is None:
        ends += " (three quarters of the workload, unless `heal` says otherwise)"
    spans = [span for span in holes.choices(step.for_) if span is not None]
    shortest = min(spans, default=Duration(0))
    if step.at is None:
        if shortest > heal:
            yield Problem((*path, "for"), "", f"no more than {ends}")
        return
    times = (
        holes.choices(step.at)[:1] if isinstance(step.at, Between) else holes.choices(step.at, Duration(0))
    )
    for time in times:
        if time >= heal:
            yield Problem((*path, "at"), "" if len(times) == 1 else str(time), f"a time before {ends}")
        elif time + shortest > heal:
            found = f"an end at {Duration(time + shortest)}"
            yield Problem((*path, "for"), found, f"an end before {ends}")


def _random_problems(path: Path, random: Random, nodes: int, heal: Duration) -> Iterator[Problem]:
    if nodes < 3:
        yield Problem((*path, "kinds"), f"random faults in a cluster of {nodes}", "at least 3 nodes")
    low, high = random.window or [min(parse_duration("500ms"), heal), heal]
    shortest = lowest(random.for_, parse_duration("200ms"))
    if low > high:
        yield Problem((*path, "window"), "", "the low end first")
    elif high > heal:
        yield Problem((*path, "window"), "", f"a window that ends before the heal at {heal}")
    elif low + shortest > heal:
        yield Problem((*path, "for"), "", f"an end before the heal at {heal}")
    yield from _repeated((*path, "kinds"), random.kinds)
    yield from _repeated((*path, "triggers"), random.triggers)
    if random.nth is not None and not random.triggers:
        yield Problem((*path, "nth"), "", "`triggers` beside `nth`")


_PATH = re.compile(r"[A-Za-z_]{1,64}|\[[0-9]{1,6}\]|\.", re.ASCII)


def _override(document: Document, override: str) -> None:
    path, equals, value = override.partition("=")
    where = f"--set {printable(override if len(override) <= 200 else f'{override[:200]}…')}"
    if not equals or not path.strip():
        raise ScenarioError(f"{where}: found no path and value, expected path=value, such as cluster.nodes=3")
    place = _parse_path(path.strip(), where)
    if documents.is_nothing(value):
        raise ScenarioError(f"{where}: found no value, expected one after the =, such as cluster.nodes=3")
    _put(document, place, documents.read(value, where).data, where)


def _parse_path(text: str, where: str) -> Path:
    parts = _PATH.findall(text)
    words = [part for part in parts if part != "."]
    path = tuple(int(word[1:-1]) if word.startswith("[") else word for word in words)
    if "".join(parts) != text or not path or show_path(path) != text:
        raise ScenarioError(
            f"{where}: found the path {show(text)}, expected one such as cluster.nodes or faults[0].for"
        )
    return path


def _put(document: Document, path: Path, value: Plain, where: str) -> None:
    """Sets the value at a path; a mapping that is not there is made."""
    here = document.data
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        inside = show_path(path[:depth]) or "the file"
        if isinstance(here, dict) and isinstance(part, str):
            if last or part not in here or here[part] is None:
                made: Plain = [] if not last and isinstance(path[depth + 1], int) else {}
                here[part] = value if last else made
                document.overridden[path[: depth + 1]] = where
            here = here[part]
        elif isinstance(here, list) and isinstance(part, int):
            if part >= len(here):
                raise ScenarioError(f"{where}: found {inside}[{part}], expected an index below {len(here)}")
            if last:
                here[part] = value
                document.overridden[path] = where
            here = here[part]
        else:
            expected = (
                f"an index such as {inside}[0]" if isinstance(here, list) else "a path that the file has"
            )
            near = documents.nearest(part, list(here)) if isinstance(here, dict) else None
            hint = f"; did you mean {near}?" if near else ""
            raise ScenarioError(f"{where}: {inside}: found {show(here)}, expected {expected}{hint}")


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """Generic models have their arguments in their names; editors need not show that."""
    short: dict[str, str] = {}
    for name in names:
        base = name.split("_", 1)[0]
        taken = set(short.values())
        number = next(n for n in range(1, len(names) + 2) if (base if n == 1 else f"{base}{n}") not in taken)
        short[name] = base if number == 1 else f"{base}{number}"
    return short


def _renamed(value: object, names: dict[str, str]) -> object:
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    renamed: dict[str, object] = {}
    for key, item in value.items():
        if key == "$ref":
            renamed[key] = f"#/$defs/{names[str(item).removeprefix('#/$defs/')]}"
        elif key == "$defs":
            renamed[key] = {names[name]: _renamed(part, names) for name, part in item.items()}
        elif key == "title" and isinstance(item, str):
            continue
        else:
            renamed[key] = _renamed(item, names)
    return renamed
