"""The closed set of faults: what an author may write of each, what it does to whom, and its description.

A new kind is one class here and its name in `KINDS`: the schema, the steps of a scenario, ``random`` lists,
the compiled plan and the descriptions all follow from it. (What a backend does with a new ``do`` is its own
affair.)
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema

from chaos import topology
from chaos.holes import Given, Open, Pick, Spec, byte_rate, closed, duration, share, word, wrong
from chaos.topology import Link, Selector, SelectorError, node_name
from chaos.units import ByteRate, Duration, Share

Case = dict[str, Any]
"""What a backend carries out: ``do``, ``nodes``, ``links``, and what ``do`` needs besides."""

NODE_SCHEMA = {"type": "string", "pattern": "^n[1-9][0-9]?$", "description": "A node, such as n1."}
SELECTOR_SCHEMA = {
    "description": "Which nodes: "
    + "; ".join(f"{word}: {about}" for word, about in topology.WORDS.items())
    + ".",
    "anyOf": [
        {"enum": list(topology.WORDS)},
        NODE_SCHEMA,
        {"type": "array", "items": NODE_SCHEMA, "minItems": 1, "uniqueItems": True},
        {
            "type": "object",
            "properties": {"follower": {"type": "integer", "minimum": 1}},
            "required": ["follower"],
            "additionalProperties": False,
            "description": "The first, second, … node after the leader, in a ring.",
        },
    ],
}


def _node(value: object) -> int:
    try:
        return topology.parse_node(value)
    except SelectorError as error:
        raise wrong(error.expected, words=error.words) from None


def _selector(value: object) -> Selector:
    try:
        return Selector.parse(value)
    except SelectorError as error:
        raise wrong(error.expected, words=error.words) from None


def _single(value: object) -> Selector:
    selector = _selector(value)
    if not selector.single:
        raise wrong("a selector of one node: one, leader, follower, event or a node such as n1")
    return selector


def _fewer_than_all(value: object) -> Selector:
    selector = _selector(value)
    if selector.word == "all":
        raise wrong("fewer than all nodes: from what should they be cut off?")
    return selector


NodeField = Annotated[int, PlainValidator(_node), PlainSerializer(node_name), WithJsonSchema(NODE_SCHEMA)]
SelectorField = Annotated[
    Selector, PlainValidator(_selector), PlainSerializer(Selector.plain), WithJsonSchema(SELECTOR_SCHEMA)
]
SingleField = Annotated[
    Selector, PlainValidator(_single), PlainSerializer(Selector.plain), WithJsonSchema(SELECTOR_SCHEMA)
]
GroupField = Annotated[
    Selector,
    PlainValidator(_fewer_than_all),
    PlainSerializer(Selector.plain),
    WithJsonSchema(SELECTOR_SCHEMA),
]
DelayField = Annotated[Duration, duration("0s", "10s")]
ShareField = Annotated[Share, share("0.01%", "100%")]
DriftField = Annotated[Share, share("0.01%", "50%")]
ClockField = Annotated[Duration, duration("1ms", "60m")]
BandwidthField = Annotated[ByteRate, byte_rate("100B/s", "1000MB/s")]


class Fault(Spec):
    """What all kinds have in common."""

    kind: ClassVar[str]
    """The key by which a step names it."""
    about: ClassVar[str]
    """What it does, in a line."""
    lasts: ClassVar[bool] = True
    """Whether it stands for a while, so that a step may say `for` how long."""
    short_form: ClassVar[str | None] = None
    """The key that a value other than a mapping stands for."""
    at_random: ClassVar[object]
    """What a ``random`` step of this kind holds, with holes, mildest first."""
    on_event: ClassVar[object]
    """The same for a step that waits for an event."""

    @classmethod
    def expanded(cls, value: object) -> object:
        """``kill: leader`` is short for ``kill: {node: leader}``."""
        follower = isinstance(value, dict) and set(value) == {"follower"}
        short = cls.short_form is not None and (isinstance(value, str | list) or follower)
        return {cls.short_form: value} if short else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The mapping or its short form."""
        full = handler.resolve_ref_schema(handler(schema))
        full["description"] = cls.about
        if cls.short_form is None:
            return full
        return {"anyOf": [cls.short_schema(), full], "description": cls.about}

    @classmethod
    def short_schema(cls) -> dict[str, Any]:
        """The JSON Schema of the short form."""
        return SELECTOR_SCHEMA

    @property
    def least_cluster(self) -> int:
        """The smallest cluster in which it makes sense, its selectors aside."""
        return 1

    def settled(self, nodes: int, pick: topology.Pick) -> Self:
        """With what its selectors leave to chance chosen. All holes must be filled."""
        raise NotImplementedError

    def case(self, nodes: int, anchor: int | None) -> Case:
        """What to do, given the anchor's node. It must be settled."""
        raise NotImplementedError

    def words(self) -> str:
        """What it does, as a clause with no subject: ``kill the leader``."""
        raise NotImplementedError


class _OnNodes(Fault):
    """A fault that hits nodes as such."""

    short_form: ClassVar[str | None] = "node"
    verb: ClassVar[str]
    at_random: ClassVar[object] = {"any": ["one", "leader", "follower", "minority", "majority", "all"]}
    on_event: ClassVar[object] = {"any": ["event", "leader", "one", "minority", "majority", "all"]}

    node: Pick[SelectorField]
    """Which nodes."""

    def settled(self, nodes: int, pick: topology.Pick) -> Self:
        """With the nodes chosen."""
        return self.model_copy(update={"node": closed(self.node).settled(nodes, pick)})

    def case(self, nodes: int, anchor: int | None) -> Case:
        """The nodes, under the kind's own name."""
        return {"do": self.kind, "nodes": _names(closed(self.node).resolve(nodes, anchor)), "links": []}

    def words(self) -> str:
        """``kill n1 and n2``."""
        return f"{self.verb} {closed(self.node).words()}"


class Kill(_OnNodes):
    """See `about`."""

    kind = "kill"
    verb = "kill"
    about = "Kills the processes (SIGKILL). What they had written stays; after `for` they are started again."


class PowerOff(_OnNodes):
    """See `about`."""

    kind = "power_off"
    verb = "cut the power of"
    about = (
        "Cuts the power: what was written but not synced is lost or torn; after `for` they are started again."
    )


class Pause(_OnNodes):
    """See `about`."""

    kind = "pause"
    verb = "pause"
    about = "Stops the processes where they are; after `for` they go on as if no time had passed."


class Restart(_OnNodes):
    """See `about`."""

    kind = "restart"
    verb = "restart"
    lasts = False
    about = "Kills the processes and starts them again at once."


class TransferLeader(Fault):
    """See `about`."""

    kind = "transfer_leader"
    about = "Asks the leader to hand the leadership over to a node."
    lasts = False
    short_form = "to"
    at_random: ClassVar[object] = {"any": ["follower", "one"]}
    on_event: ClassVar[object] = {"any": ["event", "follower", "one"]}

    to: Pick[SingleField]
    """The node that is to lead."""

    def settled(self, nodes: int, pick: topology.Pick) -> Self:
        """With the node chosen."""
        return self.model_copy(update={"to": closed(self.to).settled(nodes, pick)})

    def case(self, nodes: int, anchor: int | None) -> Case:
        """``nodes`` is the one that is to lead."""
        return {"do": self.kind, "nodes": _names(closed(self.to).resolve(nodes, anchor)), "links": []}

    def words(self) -> str:
        """``hand the leadership over to n3``."""
        return f"hand the leadership over to {closed(self.to).words()}"


class AddNode(Fault):
    """See `about`."""

    kind = "add_node"
    about = "An administrator makes the next spare a member: it listens, and votes once it has nearly all of the log."
    lasts = False
    at_random: ClassVar[object] = {}
    on_event: ClassVar[object] = {}

    def settled(self, nodes: int, pick: topology.Pick) -> Self:
        """Nothing is left to choose: spares are taken in order."""
        return self

    def case(self, nodes: int, anchor: int | None) -> Case:
        """Which spare it will be is known only then."""
        return {"do": self.kind, "nodes": [], "links": []}

    def words(self) -> str:
        """``make a spare a member``."""
        return "make a spare a member"


class _OfOneMember(_OnNodes):
    """A change of the membership by which a node leaves."""

    lasts = False
    at_random: ClassVar[object] = {"any": ["follower", "one", "leader"]}
    on_event: ClassVar[object] = {"any": ["event", "follower", "one", "leader"]}

    node: Pick[SingleField]
    """Which node."""


class RemoveNode(_OfOneMember):
    """See `about`."""

    kind = "remove_node"
    verb = "remove from the cluster"
    about = "An administrator removes a node from the cluster, for good; its process goes on."


class ReplaceNode(_OfOneMember):
    """See `about`."""

    kind = "replace_node"
    verb = "lose and replace"
    about = (
        "A machine is lost for good, with its disk; an administrator has the next spare take its place, "
        "in one joint change."
    )


class SnapshotNow(_OnNodes):
    """See `about`."""

    kind = "snapshot_now"
    verb = "have a snapshot made by"
    lasts = False
    about = "The nodes make a snapshot now, and cut their logs behind it."


class Direction(Spec):
    """From whom to whom."""

    from_: Pick[SelectorField] = Field(alias="from")
    """The senders."""
    to: Pick[SelectorField]
    """The receivers."""

    def settled(self, nodes: int, pick: topology.Pick) -> Self:
        """With both ends chosen."""
        senders = closed(self.from_).settled(nodes, lambda name, count: pick(f"from.{name}", count))
        receivers = closed(self.to).settled(nodes, lambda name, count: pick(f"to.{name}", count))
        if senders.nodes == receivers.nodes and len(senders.nodes) == 1:
            receivers = Selector("nodes", (senders.nodes[0] % nodes + 1,))
        return self.model_copy(update={"from_": senders, "to": receivers})

    def links(self, nodes: int, anchor: int | None, *, clients: bool) -> set[Link]:
        """The links that lead from the ones to the others."""
        senders, receivers = (closed(end).resolve(nodes, anchor) for end in (self.from_, self.to))
        return topology.one_way(nodes, senders, receivers, clients=clients)

    def ends_words(self) -> str:
        """``the leader to all nodes``."""
        senders, receivers = closed(self.from_), closed(self.to)
        itself = senders == receivers and senders.word in ("leader", "event", "follower")
        return f"{senders.words()} to {'the next node' if itself else receivers.words()}"


class OneWay(Direction, Fault):
    """See `about`."""

    kind = "one_way"
    about = "Cuts links in one direction only: what `from` sends to `to` is lost, the way back stays whole."
    at_random: ClassVar[object] = {
        "from": {"any": ["one", "leader", "minority"]},
        "to": {"any": ["one", "follower", "all"]},
    }
    on_event: ClassVar[object] = {
        "from": {"any": ["event", "one"]},
        "to": {"any": ["one", "minority", "all"]},
    }

    clients: bool = False
    """Whether the senders' answers to clients are lost too."""

    def case(self, nodes: int, anchor: int | None) -> Case:
        """The links that lead one way."""
        senders = closed(self.from_).resolve(nodes, anchor)
        return _cut(self.links(nodes, anchor, clients=self.clients), senders)

    def words(self) -> str:
        """``cut the links from the leader to all nodes``."""
        also = " and to the clients" if self.clients else ""
        return f"cut the links from {self.ends_words()}{also}, one way"


class _Delayed(Fault):
    """A fault that makes something take longer."""

    delay: Given[DelayField]
    """How much longer it takes."""
    jitter: Open[DelayField] = Duration(0)
    """By how much that may vary, both ways; no more than the delay counts."""

    def _jitter_settled(self) -> dict[str, object]:
        return {"jitter": min(closed(self.jitter), closed(self.delay))}

    def _range(self) -> dict[str, int]:
        """The least and the greatest delay."""
        delay, jitter = closed(self.delay), closed(self.jitter)
        return {"delay_min_ns": int(delay - jitter), "delay_max_ns": int(delay + jitter)}

    def _delay_words(self) -> str:
        """``50ms ± 10ms``."""
        jitter = f" ± {closed(self.jitter)}" if closed(self.jitter) else ""
        return f"{closed(self.delay)}{jitter}"


class OnLinks(Fault):
    """A fault on links: those of a node, or one way from some nodes to others."""

    node: Pick[SelectorField] | None = None
    """Whose links, in both directions; all nodes' if neither this nor `from` is given."""
    from_: Pick[SelectorField] | None = Field(None, alias="from")
    """One way: the senders; needs `to`."""
    to: Pick[SelectorField] | None = None
    """One way: the receivers; needs `from`."""

    @model_validator(mode="after")
    def _node_or_both_ends(self) -> Self:
        ends = [name for name, end in (("from", self.from_), ("to", self.to)) if end is not None]
        if len(ends) == 1:
            raise wrong("both `from` and `to`, or neither", at=(ends[0],))
        if ends and self.node is not None:
            raise wrong("either `node` or `from` and `to`", at=("node",))
        return self

    @property
    def with_clients(self) -> bool:
        """Whether the links to the clients are hit too."""
        return False

    def _direction(self) -> Direction | None:
        if self.from_ is None or self.to is None:
            return None
        return Direction.model_construct(from_=self.from_, to=self.to)

    def _node(self) -> Selector:
        return Selector("all") if self.node is None else closed(self.node)

    def settled(self, nodes: int, pick: topology.Pick) -> Self:
        """With the nodes chosen."""
        direction = self._direction()
        if direction is None:
            return self.model_copy(update={"node": self._node().settled(nodes, pick)})
        settled = direction.settled(nodes, pick)
        return self.model_copy(update={"from_": settled.from_, "to": settled.to})

    def case(self, nodes: int, anchor: int | None) -> Case:
        """The links, under the kind's own name."""
        direction = self._direction()
        if direction is not None:
            hit: Sequence[int] = closed(direction.from_).resolve(nodes, anchor)
            links = direction.links(nodes, anchor, clients=self.with_clients)
        else:
            hit = self._node().resolve(nodes, anchor)
            links = topology.touching(nodes, hit, clients=self.with_clients)
        return {"do": self.kind, "nodes": _names(hit), "links": _plain_links(links)}

    def _links_words(self) -> str:
        """``the links of the leader``."""
        direction = self._direction()
        where = f"from {direction.ends_words()}" if direction is not None else f"of {self._node().words()}"
        return f"the links {where}{', those to the clients too,' if self.with_clients else ''}"


class _OnTcpLinks(OnLinks):
    """A fault on links that clients' connections can suffer as well."""

    clients: bool = False
    """Whether it hits the links to the clients too."""

    @property
    def with_clients(self) -> bool:
        """As the file says."""
        return self.clients


# The bases stand in this order so that the amounts are read, and drawn, before the links.
class Latency(_OnTcpLinks, _Delayed):
    """See `about`."""

    kind = "latency"
    about = (
        "Delays messages by `delay`, give or take `jitter`, on the links of `node`, or one way `from` … `to`."
    )
    at_random: ClassVar[object] = {
        "node": {"any": ["one", "leader", "minority", "all"]},
        "delay": {"between": ["10ms", "400ms"]},
        "jitter": {"between": ["0s", "200ms"]},
    }
    on_event: ClassVar[object] = {
        "node": {"any": ["event", "one", "minority", "all"]},
        "delay": {"between": ["10ms", "400ms"]},
        "jitter": {"between": ["0s", "200ms"]},
    }

    def settled(self, nodes: int, pick: topology.Pick) -> Self:
        """With the nodes chosen, and no more jitter than delay."""
        return super().settled(nodes, pick).model_copy(update=self._jitter_settled())

    def case(self, nodes: int, anchor: int | None) -> Case:
        """The links, and the least and the greatest delay."""
        return super().case(nodes, anchor) | self._range()

    def words(self) -> str:
        """``delay the links of the leader by 50ms ± 10ms``."""
        return f"delay {self._links_words()} by {self._delay_words()}"


class _OnShare(OnLinks):
    """A fault that hits a share of the messages between nodes. Clients' links ride on TCP, which would hide it."""

    share: Given[ShareField]
    """How many of the messages, in percent."""

    def case(self, nodes: int, anchor: int | None) -> Case:
        """The links, and the share."""
        return super().case(nodes, anchor) | {"share_ppm": int(closed(self.share))}

    def _share_words(self) -> str:
        """``5% of the messages on the links of n1``."""
        return f"{closed(self.share)} of the messages on {self._links_words()}"


class Drop(_OnShare):
    """See `about`."""

    kind = "drop"
    about = "Loses a `share` of the messages between nodes, on the links of `node`, or one way `from` … `to`."
    at_random: ClassVar[object] = {
        "node": {"any": ["one", "leader", "minority", "all"]},
        "share": {"between": ["1%", "40%"]},
    }
    on_event: ClassVar[object] = {
        "node": {"any": ["event", "one", "minority", "all"]},
        "share": {"between": ["1%", "40%"]},
    }

    def words(self) -> str:
        """``drop 5% of the messages on the links of the leader``."""
        return f"drop {self._share_words()}"


class _Late(_OnShare):
    """A fault on a share of the messages that makes something of them late."""

    at_random: ClassVar[object] = {
        "node": {"any": ["one", "leader", "minority", "all"]},
        "share": {"between": ["1%", "50%"]},
        "within": {"between": ["10ms", "1s"]},
    }
    on_event: ClassVar[object] = {
        "node": {"any": ["event", "one", "minority", "all"]},
        "share": {"between": ["1%", "50%"]},
        "within": {"between": ["10ms", "1s"]},
    }

    within: Given[DelayField]
    """How late it is at most; each time is drawn."""

    def case(self, nodes: int, anchor: int | None) -> Case:
        """The links, the share, and the time."""
        return super().case(nodes, anchor) | {"within_ns": int(closed(self.within))}


class Duplicate(_Late):
    """See `about`."""

    kind = "duplicate"
    about = (
        "A `share` of the messages between nodes arrives twice, the copy up to `within` after its original."
    )

    def words(self) -> str:
        """``deliver 5% of the messages on the links of the leader twice, the copy within 200ms``."""
        return f"deliver {self._share_words()} twice, the copy within {closed(self.within)}"


class Reorder(_Late):
    """See `about`."""

    kind = "reorder"
    about = "Holds a `share` of the messages between nodes back by up to `within`; others may overtake them."

    def words(self) -> str:
        """``hold 5% of the messages on the links of the leader back by up to 200ms``."""
        return f"hold {self._share_words()} back by up to {closed(self.within)}"


class Bandwidth(_OnTcpLinks):
    """See `about`."""

    kind = "bandwidth"
    about = (
        "Lets no more than `rate` through on each link of `node`, or one way `from` … `to`; the rest waits."
    )
    at_random: ClassVar[object] = {
        "node": {"any": ["one", "leader", "minority", "all"]},
        "rate": {"between": ["1kB/s", "50kB/s"]},
    }
    on_event: ClassVar[object] = {
        "node": {"any": ["event", "one", "minority", "all"]},
        "rate": {"between": ["1kB/s", "50kB/s"]},
    }

    rate: Given[BandwidthField]
    """Bytes per second, in each direction of each link."""

    def case(self, nodes: int, anchor: int | None) -> Case:
        """The links, and how much they let through."""
        return super().case(nodes, anchor) | {"bytes_per_s": int(closed(self.rate))}

    def words(self) -> str:
        """``limit the links of the leader to 20kB/s each``."""
        return f"limit {self._links_words()} to {closed(self.rate)} each"


class Reset(_OnTcpLinks):
    """See `about`."""

    kind = "reset"
    about = "Breaks the connections of `node`, or one way `from` … `to`: what is under way is lost, senders are told."
    lasts = False
    at_random: ClassVar[object] = {
        "any": [
            {"node": {"any": ["one", "leader", "minority", "all"]}},
            {"node": {"any": ["one", "leader", "minority", "all"]}, "clients": True},
        ]
    }
    on_event: ClassVar[object] = {
        "any": [
            {"node": {"any": ["event", "one", "minority", "all"]}},
            {"node": {"any": ["event", "one", "minority", "all"]}, "clients": True},
        ]
    }

    def words(self) -> str:
        """``reset the connections on the links of the leader``."""
        return f"reset the connections on {self._links_words()}".removesuffix(",")


class _Slow(_Delayed, _OnNodes):
    """A fault that makes nodes slow at something."""

    short_form: ClassVar[str | None] = None
    at_random: ClassVar[object] = {
        "node": {"any": ["one", "leader", "follower", "minority", "all"]},
        "delay": {"between": ["1ms", "50ms"]},
        "jitter": {"between": ["0s", "50ms"]},
    }
    on_event: ClassVar[object] = {
        "node": {"any": ["event", "leader", "one", "minority", "all"]},
        "delay": {"between": ["1ms", "50ms"]},
        "jitter": {"between": ["0s", "50ms"]},
    }

    def settled(self, nodes: int, pick: topology.Pick) -> Self:
        """With the nodes chosen, and no more jitter than delay."""
        return super().settled(nodes, pick).model_copy(update=self._jitter_settled())

    def case(self, nodes: int, anchor: int | None) -> Case:
        """The nodes, and the least and the greatest delay."""
        return super().case(nodes, anchor) | self._range()

    def words(self) -> str:
        """``slow down each sync of the leader by 5ms ± 2ms``."""
        return f"{self.verb} {closed(self.node).words()} by {self._delay_words()}"


class SlowNode(_Slow):
    """See `about`."""

    kind = "slow_node"
    verb = "slow down each input of"
    about = (
        "Each input that the processes handle takes `delay` more, give or take `jitter`; the others queue."
    )


class SlowDisk(_Slow):
    """See `about`."""

    kind = "slow_disk"
    verb = "slow down each write and sync of"
    about = "Each write to the disks and each sync takes `delay` more, give or take `jitter`."


class SlowSync(_Slow):
    """See `about`."""

    kind = "slow_sync"
    verb = "slow down each sync of"
    about = "Each sync of the disks takes `delay` more, give or take `jitter`."


class FullDisk(_OnNodes):
    """See `about`."""

    kind = "full_disk"
    verb = "fill the disk of"
    about = "Nothing more fits on the disks. A node that must write stops, and is started again when there is room."


OPERATIONS = ("syncs", "writes", "reads", "all")
OperationsField = Annotated[str, word("what fails", OPERATIONS)]


class DiskError(_OnNodes):
    """See `about`."""

    kind = "disk_error"
    about = (
        "Operations of the disks fail; what a failed sync was to write is lost. A node that meets this stops, and "
        "is started again when the disk is well."
    )
    at_random: ClassVar[object] = {
        "node": {"any": ["one", "leader", "follower", "minority", "all"]},
        "operations": {"any": list(OPERATIONS)},
    }
    on_event: ClassVar[object] = {
        "node": {"any": ["event", "leader", "one", "minority", "all"]},
        "operations": {"any": list(OPERATIONS)},
    }

    operations: Pick[OperationsField] = "syncs"
    """Which operations fail: syncs, writes, reads (which only a node that starts does), or all."""

    def case(self, nodes: int, anchor: int | None) -> Case:
        """The nodes, and what fails."""
        return super().case(nodes, anchor) | {"operations": closed(self.operations)}

    def words(self) -> str:
        """``let syncs fail on the disk of n1``."""
        what = closed(self.operations)
        return (
            f"let {'everything' if what == 'all' else what} fail on the disk of {closed(self.node).words()}"
        )


class LyingFsync(_OnNodes):
    """See `about`."""

    kind = "lying_fsync"
    verb = "report syncs done without doing them on the disk of"
    about = (
        "Beyond Raft's model. Syncs are reported done and do nothing: power lost meanwhile takes back what was "
        "acknowledged. What is left at the end reaches the disk."
    )


PARTS = ("any", "log", "snapshot")
PartField = Annotated[str, word("what is hit", PARTS)]


class Corrupt(_OnNodes):
    """See `about`."""

    kind = "corrupt"
    about = "Beyond Raft's model. One bit on the disk flips; it is seen when it is read next: at a restart."
    lasts = False
    at_random: ClassVar[object] = {
        "node": {"any": ["one", "leader", "follower", "minority"]},
        "part": {"any": list(PARTS)},
    }
    on_event: ClassVar[object] = {
        "node": {"any": ["event", "one", "minority"]},
        "part": {"any": list(PARTS)},
    }

    part: Pick[PartField] = "any"
    """In which files: any, those of the log, or snapshots."""

    def case(self, nodes: int, anchor: int | None) -> Case:
        """The nodes, and in which files."""
        return super().case(nodes, anchor) | {"part": closed(self.part)}

    def words(self) -> str:
        """``flip a bit of the log on the disk of n1``."""
        part = closed(self.part)
        what = "" if part == "any" else f" of the {part}"
        return f"flip a bit{what} on the disk of {closed(self.node).words()}"


class Wiped(_OnNodes):
    """See `about`."""

    kind = "wiped"
    verb = "wipe the disk of"
    about = "Beyond Raft's model. The processes die, lose all that is on their disks, and are started again at once."
    lasts = False
    at_random: ClassVar[object] = {"any": ["one", "leader", "follower", "minority"]}
    on_event: ClassVar[object] = {"any": ["event", "one", "minority"]}


_WAYS = {"any": ["one", "leader", "follower", "minority", "majority", "all"]}
_WAYS_OF_EVENT = {"any": ["event", "leader", "one", "minority", "majority", "all"]}


class _OnClocks(_OnNodes):
    """A fault that moves clocks by a time, one way or the other."""

    short_form: ClassVar[str | None] = None
    at_random: ClassVar[object] = {
        "any": [
            {"node": _WAYS, "by": {"between": ["10ms", "5s"]}},
            {"node": _WAYS, "by": {"between": ["10ms", "5s"]}, "back": True},
            {"node": _WAYS, "by": {"between": ["5s", "60m"]}},
            {"node": _WAYS, "by": {"between": ["5s", "60m"]}, "back": True},
        ]
    }
    on_event: ClassVar[object] = {
        "any": [
            {"node": _WAYS_OF_EVENT, "by": {"between": ["10ms", "5s"]}},
            {"node": _WAYS_OF_EVENT, "by": {"between": ["10ms", "5s"]}, "back": True},
            {"node": _WAYS_OF_EVENT, "by": {"between": ["5s", "60m"]}},
            {"node": _WAYS_OF_EVENT, "by": {"between": ["5s", "60m"]}, "back": True},
        ]
    }

    by: Given[ClockField]
    """By how much: forward, unless `back`."""
    back: bool = False
    """Whether the clocks go back instead of forward."""

    def case(self, nodes: int, anchor: int | None) -> Case:
        """The nodes, and by how much their clocks are ahead."""
        ahead_ns = -int(closed(self.by)) if self.back else int(closed(self.by))
        return super().case(nodes, anchor) | {"ahead_ns": ahead_ns}

    def words(self) -> str:
        """``set the clock of n1 back by 2s``."""
        way = "back" if self.back else "ahead"
        return f"{self.verb} {closed(self.node).words()} {way} by {closed(self.by)}"


class ClockOffset(_OnClocks):
    """See `about`."""

    kind = "clock_offset"
    verb = "hold the time of day of"
    about = "The time of day (CLOCK_REALTIME) stands `by` so much ahead, or `back`; timers do not notice."


class ClockJump(_OnClocks):
    """See `about`."""

    kind = "clock_jump"
    verb = "set the time of day of"
    about = (
        "The time of day (CLOCK_REALTIME) jumps once, ahead or `back`, and stays there; timers do not notice."
    )
    lasts = False


class ClockDrift(_OnNodes):
    """See `about`."""

    kind = "clock_drift"
    about = (
        "Clocks, timers included (CLOCK_MONOTONIC), go too fast `by` a share, or too slowly (`slower`). What they "
        "gained or lost stays."
    )
    short_form: ClassVar[str | None] = None
    at_random: ClassVar[object] = {
        "any": [
            {"node": _WAYS, "by": {"between": ["1%", "20%"]}},
            {"node": _WAYS, "by": {"between": ["1%", "20%"]}, "slower": True},
        ]
    }
    on_event: ClassVar[object] = {
        "any": [
            {"node": _WAYS_OF_EVENT, "by": {"between": ["1%", "20%"]}},
            {"node": _WAYS_OF_EVENT, "by": {"between": ["1%", "20%"]}, "slower": True},
        ]
    }

    by: Given[DriftField]
    """By how much: faster, unless `slower`."""
    slower: bool = False
    """Whether the clocks go too slowly."""

    def case(self, nodes: int, anchor: int | None) -> Case:
        """The nodes, and by how much their clocks are too fast."""
        fast_ppm = -int(closed(self.by)) if self.slower else int(closed(self.by))
        return super().case(nodes, anchor) | {"fast_ppm": fast_ppm}

    def words(self) -> str:
        """``let the clocks of n1 go 10% too fast``."""
        how = "too slowly" if self.slower else "too fast"
        return f"let the clocks of {closed(self.node).words()} go {closed(self.by)} {how}"


SHAPES = ("isolate", "halves", "majority_ring", "bridge", "groups", "sides", "one_way")
_HEADED = ("halves", "majority_ring", "bridge")


class Partition(Fault):
    """See `about`."""

    kind = "partition"
    about = (
        "Cuts links between nodes, by one shape. `partition: halves` is short for `partition: {halves: one}`."
    )
    at_random: ClassVar[object] = {
        "any": [
            {"isolate": {"any": ["one", "leader", "minority"]}},
            {"halves": {"any": ["one", "leader"]}},
            {"bridge": {"any": ["one", "leader"]}},
            {"majority_ring": {"any": ["one", "leader"]}},
            {"groups": 3},
        ]
    }
    on_event: ClassVar[object] = {
        "any": [{"isolate": {"any": ["event", "minority"]}}, {"halves": "event"}, {"bridge": "event"}]
    }

    isolate: Pick[GroupField] | None = None
    """These nodes are cut off from the others, both ways; among themselves nothing changes."""
    halves: Pick[SingleField] | None = None
    """Two halves; this node is in the smaller one."""
    majority_ring: Pick[SingleField] | None = None
    """Every node still reaches a majority, and no two the same one; this node is where the ring begins."""
    bridge: Pick[SingleField] | None = None
    """Two halves that only this node still connects."""
    groups: Open[Annotated[int, Field(ge=2, le=topology.MOST_NODES)]] | None = None
    """So many groups, as equal as can be, drawn."""
    sides: list[list[NodeField]] | None = None
    """These groups; nodes that none of them names form one more."""
    one_way: Direction | None = None
    """Links in one direction only, as the fault `one_way`."""
    order: list[NodeField] | None = None
    """In which order the nodes are dealt into halves, ring or groups; drawn if it is not given."""
    clients: bool = False
    """Whether clients are cut off too: from the isolated nodes, or from all but the largest side."""

    @classmethod
    def expanded(cls, value: object) -> object:
        """A bare shape has a drawn node at its head."""
        if isinstance(value, str):
            if value not in _HEADED:
                shapes = f"{', '.join(_HEADED)}, or a mapping with one of {', '.join(SHAPES)}"
                raise wrong(shapes, words=_HEADED)
            return {value: "one"}
        return value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The mapping, or a bare shape."""
        full = super().__get_pydantic_json_schema__(schema, handler)
        return {"anyOf": [{"enum": list(_HEADED)}, full], "description": cls.about}

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        shapes = [shape for shape in SHAPES if getattr(self, shape) is not None]
        if len(shapes) != 1:
            raise wrong(f"exactly one of the shapes {', '.join(SHAPES)}", at=tuple(shapes[1:2]))
        if self.order is not None:
            if self.shape not in {*_HEADED, "groups"}:
                raise wrong("`order` only with halves, majority_ring, bridge or groups", at=("order",))
            if sorted(self.order) != list(range(1, len(self.order) + 1)):
                raise wrong("every node of the cluster once", at=("order",))
        if self.sides is not None:
            named = [node for side in self.sides for node in side]
            if not named or len(set(named)) != len(named) or not all(self.sides):
                raise wrong("lists of nodes, none empty, each node in one of them at most", at=("sides",))
        return self

    @property
    def shape(self) -> str:
        """Which of `SHAPES` it is."""
        return next(shape for shape in SHAPES if getattr(self, shape) is not None)

    @property
    def least_cluster(self) -> int:
        """A ring and a bridge need three nodes, to cut at all takes two."""
        return 3 if self.shape in {"majority_ring", "bridge"} else 2

    def _head(self) -> Selector:
        head: Selector = closed(getattr(self, self.shape))
        return head

    def settled(self, nodes: int, pick: topology.Pick) -> Self:
        """With nodes and order chosen."""
        update: dict[str, object] = {}
        if self.shape == "isolate" or self.shape in _HEADED:
            update[self.shape] = self._head().settled(nodes, pick)
        if self.one_way is not None:
            update["one_way"] = self.one_way.settled(nodes, pick)
        if self.groups is not None:
            update["groups"] = min(closed(self.groups), nodes)
        if (self.groups is not None or self.shape in _HEADED) and self.order is None:
            rank = pick("order", math.factorial(nodes))
            update["order"] = list(topology.permutation(nodes, rank))
        return self.model_copy(update=update)

    def case(self, nodes: int, anchor: int | None) -> Case:
        """The links that the shape cuts."""
        everyone = range(1, nodes + 1)
        hit: Sequence[int]
        if self.one_way is not None:
            hit = closed(self.one_way.from_).resolve(nodes, anchor)
            return _cut(self.one_way.links(nodes, anchor, clients=self.clients), hit)
        if self.sides is not None:
            rest = set(everyone) - {node for side in self.sides for node in side}
            sides = [set(side) for side in self.sides] + ([rest] if rest else [])
            return _cut(topology.separate(nodes, sides, clients=self.clients), everyone)
        if self.groups is not None:
            sides = [
                set(side) for side in topology.groups(nodes, closed(self.groups), self.order or everyone)
            ]
            return _cut(topology.separate(nodes, sides, clients=self.clients), everyone)
        hit = self._head().resolve(nodes, anchor)
        if self.isolate is not None:
            return _cut(topology.isolate(nodes, hit, clients=self.clients), hit)
        shapes = {
            "halves": topology.halves,
            "majority_ring": topology.majority_ring,
            "bridge": topology.bridge,
        }
        order = topology.headed(self.order or everyone, hit[0])
        return _cut(shapes[self.shape](nodes, order, clients=self.clients), everyone)

    def words(self) -> str:
        """``cut the leader off from the other nodes``."""
        if self.one_way is not None:
            words = f"cut the links from {self.one_way.ends_words()}, one way"
        elif self.sides is not None:
            sides = " | ".join(" ".join(node_name(node) for node in side) for side in self.sides)
            words = f"split the nodes into {sides} | the rest"
        elif self.groups is not None:
            words = f"split the nodes into {closed(self.groups)} groups"
        else:
            head = self._head().words()
            words = {
                "isolate": f"cut {head} off from the other nodes",
                "halves": f"split the nodes into halves, {head} in the smaller one",
                "majority_ring": f"cut the nodes into a ring of overlapping majorities that begins at {head}",
                "bridge": f"split the nodes into halves that only {head} connects",
            }[self.shape]
        return f"{words}, clients included" if self.clients else words


KINDS: dict[str, type[Fault]] = {
    fault.kind: fault
    for fault in (
        Partition,
        OneWay,
        Latency,
        Drop,
        Duplicate,
        Reorder,
        Bandwidth,
        Reset,
        ClockOffset,
        ClockJump,
        ClockDrift,
        SlowNode,
        SlowDisk,
        SlowSync,
        Pause,
        FullDisk,
        DiskError,
        Kill,
        PowerOff,
        Restart,
        TransferLeader,
        SnapshotNow,
        AddNode,
        RemoveNode,
        ReplaceNode,
        Corrupt,
        LyingFsync,
        Wiped,
    )
}
"""Every kind, by its name, the mildest first."""


def _names(nodes: Sequence[int]) -> list[str]:
    return [node_name(node) for node in nodes]


def _plain_links(links: set[Link]) -> list[list[str]]:
    return [list(link) for link in topology.in_order(links)]


def _cut(links: set[Link], hit: Sequence[int]) -> Case:
    return {"do": "cut", "nodes": _names(hit), "links": _plain_links(links)}
