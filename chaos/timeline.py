"""A run as one stream of events, in time order, in words; and where the streams of two runs part.

The three records of a run (docs/formats.md) are merged: what was done to the cluster, what nodes did, what
clients saw. Times in words count from the plan's start, with a sign: ``+2.814 s``.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

from chaos._core import START_NS
from chaos.plan import PlanStep, describe
from chaos.workload import READS, TRANSACTIONS

Record = dict[str, Any]
"""One object of JSON Lines, as docs/formats.md describes it."""

Source = Literal["nemesis", "trace", "history"]

_ORDER: Final[dict[Source, int]] = {"nemesis": 0, "trace": 1, "history": 2}
"""At one moment: what was done comes before what followed from it, and that before what clients saw of it."""


@dataclass(frozen=True)
class Records:
    """All records of one run."""

    history: tuple[Record, ...]
    traces: Mapping[str, tuple[Record, ...]]
    """Node → its records, in order."""
    nemesis: tuple[Record, ...]

    @classmethod
    def parse(
        cls, history: bytes | str, traces: Mapping[str, bytes | str], nemesis: bytes | str
    ) -> "Records":
        """From JSON Lines. Raises ValueError if they are none."""
        return cls(
            _objects(history), {node: _objects(text) for node, text in traces.items()}, _objects(nemesis)
        )

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that left a trace, by number."""
        return tuple(sorted(self.traces, key=node_number))

    def until(self, time_ns: int) -> "Records":
        """What had been recorded up to and including this moment."""
        return Records(
            _until(self.history, time_ns),
            {node: _until(trace, time_ns) for node, trace in self.traces.items()},
            _until(self.nemesis, time_ns),
        )

    @cached_property
    def events(self) -> tuple["Event", ...]:
        """The merged stream."""
        return merged(self)


@dataclass(frozen=True)
class Event:
    """One record in the merged stream. ``node`` is None where no single node is concerned."""

    time_ns: int
    source: Source
    node: str | None
    record: Record

    @cached_property
    def identity(self) -> str:
        """What two runs that do the same have in common here.

        Left out are a step's number (one step fewer renumbers the others), positions in the history, and the
        evidence of a fault, which is only complete when the fault is over.
        """
        left_out = {"nemesis": _OF_NEMESIS, "history": {"index"}, "trace": set[str]()}[self.source]
        return json.dumps(
            {key: value for key, value in self.record.items() if key not in left_out}, sort_keys=True
        )

    @property
    def nodes(self) -> tuple[str, ...]:
        """Every node concerned: those that a fault hits, or the one that did or answered something."""
        if self.source == "nemesis":
            return tuple(self.record["nodes"])
        return () if self.node is None else (self.node,)

    def to_dict(self, steps: Sequence[PlanStep] = ()) -> Record:
        """For ``--json``."""
        return {
            "time_ns": self.time_ns,
            "plan_ns": self.time_ns - START_NS,
            "source": self.source,
            "node": self.node,
            "words": words(self, steps),
            "record": self.record,
        }


_OF_NEMESIS: Final = {"step", "planned_ns", "evidence", "reason", "fixed"}


def merged(records: Records) -> tuple[Event, ...]:
    """All records in time order; at one moment, the nemesis before nodes before clients."""
    events = [Event(record["time_ns"], "nemesis", record.get("anchor"), record) for record in records.nemesis]
    for node in records.nodes:
        events += [Event(record["time_ns"], "trace", node, record) for record in records.traces[node]]
    events += [Event(record["time_ns"], "history", record.get("node"), record) for record in records.history]
    return tuple(sorted(events, key=lambda event: (event.time_ns, _ORDER[event.source])))


@dataclass(frozen=True)
class Parting:
    """Where two streams part: ``at`` events are common, then come ``a`` and ``b`` (None: that stream is over)."""

    at: int
    a: Event | None
    b: Event | None

    @property
    def time_ns(self) -> int:
        """The earlier of the two."""
        return min(event.time_ns for event in (self.a, self.b) if event is not None)


def parting(a: Sequence[Event], b: Sequence[Event]) -> Parting | None:
    """The first event in which two runs differ, to the nanosecond; None if they are the same."""
    for at, (left, right) in enumerate(zip(a, b, strict=False)):
        if left.record is not right.record and left.identity != right.identity:
            return Parting(at, left, right)
    common = min(len(a), len(b))
    if len(a) == len(b):
        return None
    return Parting(common, a[common] if len(a) > common else None, b[common] if len(b) > common else None)


@dataclass(frozen=True)
class Turn:
    """An event that decides how a run goes on, and ``shape``: what it is, its time aside."""

    shape: str
    event: Event


def turns(events: Iterable[Event], *, by_name: bool) -> tuple[Turn, ...]:
    """The order in which faults came, nodes were elected and first committed in their terms, fell and came up.

    ``by_name`` False compares what real runs can have in common, whose elections fall out by chance: a node
    counts as one that leads, led before or never led, and terms are not compared.
    """
    found: list[Turn] = []
    leader: str | None = None
    led: set[str] = set()
    committed_by: set[tuple[str, int]] = set()
    terms: dict[str, int] = {}

    def part(node: str) -> str:
        if by_name:
            return node
        return "the leader" if node == leader else "a former leader" if node in led else "another node"

    for event in events:
        record, shape = event.record, None
        if event.source == "nemesis":
            hit = sorted(map(part, record["nodes"]))
            shape = f"{record['phase']} {record['kind']} {record['status']}: {', '.join(hit)}"
        elif event.source == "trace":
            assert event.node is not None
            term = record.get("term")
            if record["event"] in {"role_changed", "vote_cast"} and term is not None:
                terms[event.node] = term
            match record["event"]:
                case "role_changed" if record["role"] == "leader":
                    shape = f"{part(event.node)} leads" + (f" term {term}" if by_name else "")
                    leader = event.node
                    led.add(event.node)
                case "committed" if event.node == leader:
                    office = (event.node, terms[event.node])
                    if office not in committed_by:
                        committed_by.add(office)
                        shape = f"{part(event.node)} commits"
                case "started" | "truncated" | "snapshot_installed" | "stopped" | "panicked" | "refused":
                    shape = f"{part(event.node)} {record['event']}"
        if shape is not None:
            found.append(Turn(shape, event))
    return tuple(found)


def parting_turn(a: Sequence[Turn], b: Sequence[Turn]) -> Parting | None:
    """The first turn in which two runs differ; None if they took the same turns. ``at`` counts common turns."""
    for at, (left, right) in enumerate(zip(a, b, strict=False)):
        if left.shape != right.shape:
            return Parting(at, left.event, right.event)
    common = min(len(a), len(b))
    if len(a) == len(b):
        return None
    return Parting(
        common,
        a[common].event if len(a) > common else None,
        b[common].event if len(b) > common else None,
    )


def clock(time_ns: int, digits: int = 3) -> str:
    """A moment of the records, counted from the plan's start and cut off after ``digits``: ``+2.814 s``."""
    whole, rest = divmod(abs(time_ns - START_NS), 1_000_000_000)
    return f"{'-' if time_ns < START_NS else '+'}{whole}.{rest:09d}"[: digits - 9 or None] + " s"


def span(duration_ns: int) -> str:
    """A duration in words, to three figures or so: ``0.4 ms``, ``57 ms``, ``1.52 s``."""
    if duration_ns < 10_000_000:
        return f"{duration_ns / 1e6:.1f} ms"
    if duration_ns < 1_000_000_000:
        return f"{duration_ns / 1e6:.0f} ms"
    return f"{duration_ns / 1e9:.2f} s"


def names(nodes: Iterable[str]) -> str:
    """``n1``, ``n1 and n2``, ``n1, n2 and n3``, in the order of their numbers."""
    ordered = sorted(nodes, key=node_number)
    return " and ".join(filter(None, [", ".join(ordered[:-1]), *ordered[-1:]]))


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """``1 client``, ``3 clients``; ``plural`` is needed where it is more than an ``s``."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def node_number(name: str) -> int:
    """3 for ``n3``; names of another form come last."""
    digits = name.removeprefix("n")
    return int(digits) if digits.isdigit() else 1 << 62


def words(event: Event, steps: Sequence[PlanStep] = ()) -> str:
    """The event in a line; ``steps`` are the plan's, whose own words are used for faults."""
    if event.source == "nemesis":
        return _nemesis_words(event.record, steps)
    return _history_words(event.record) if event.source == "history" else trace_words(event.record)


def fault_words(record: Record, steps: Sequence[PlanStep] = ()) -> str:
    """What a fault does, and to whom: ``cut the leader off from the other nodes [n3]``."""
    step = record["step"]
    known = steps[step] if step is not None and step < len(steps) else None
    what = record["kind"] if known is None else describe(known)
    return f"{what}{whom_words(record, what, known)}"


def whom_words(record: Record, what: str, step: PlanStep | None = None) -> str:
    """Whom a fault hit, in brackets behind a space, as far as ``what`` does not say it already; else nothing.

    ``[n3]``; of a node that was found by another one ``[n1; the leader was n3]``; of nodes that were split
    ``[n3 n5 | n1 n2 n4; the leader was n3]``.
    """
    anchor, hit = record.get("anchor"), record["nodes"]
    is_named = all(node in what for node in hit)
    is_split = record["kind"] == "partition" and len(hit) > 1
    sides = _sides(record) if is_split else []
    parts = []
    if not sides or sorted(hit) in map(sorted, sides):
        # A ring of majorities has no sides, and every node is part of it.
        is_ring = is_split and not sides
        parts += [] if is_named or is_ring else [", ".join(hit)]
        is_told = hit == [anchor]
    else:
        parts.append(" | ".join(" ".join(side) for side in sides))
        between = set(hit).difference(*sides)
        parts += [f"{names(between)} connects them"] if any(node not in what for node in between) else []
        is_told = anchor in between or [anchor] in sides
    if anchor and not is_told:
        role = {"leader": "the leader was", "event": "the event was at"}
        parts.append(f"{role.get(step.anchor if step else '', 'found by')} {anchor}")
    return f" [{'; '.join(parts)}]" if parts else ""


def _sides(record: Record) -> list[list[str]]:
    """The sides into which cut links split the nodes at their ends, the anchor's first; none if these are no sides."""
    cut = {(a, b) for a, b in record["links"]}
    ends = {node for link in cut for node in link}
    reached = {frozenset(b for b in ends if a == b or not {(a, b), (b, a)} <= cut) for a in ends}
    if len(reached) < 2 or sum(map(len, reached)) != len(ends) or any((b, a) not in cut for a, b in cut):
        return []
    anchor = record.get("anchor")
    return sorted(
        (sorted(side, key=node_number) for side in reached),
        key=lambda side: (anchor not in side, len(side), node_number(side[0])),
    )


def ended_words(record: Record) -> str:
    """Which fault is over, and whom it had hit: ``partition [n3]``. By whom they were found was said before."""
    return f"{record['kind']}{whom_words({**record, 'anchor': None}, record['kind'])}"


_ENDS: Final = 4
"""So many elements of a long list are told at each end."""


def operation_words(record: Record) -> str:
    """``write k0 = 5``, ``read k0``, ``cas k0: 5 → 6``; of an answered read ``read k0 = 5``."""
    function, key, value = record["f"], record["key"], record["value"]
    if function == "cas" and isinstance(value, list) and len(value) == 2:
        return f"cas {key}: {json.dumps(value[0])} → {json.dumps(value[1])}"
    if function in TRANSACTIONS and isinstance(value, list):
        return f"{function} {', '.join(map(_micro_words, value))}"
    if function in READS and record["type"] != "ok":
        return f"{function} {key}"
    if function in {
        "append",
        "acquire",
        "renew",
        "release",
        "register",
        "set_state",
        "add",
        "deregister",
        "expire",
    }:
        answered = function == "acquire" and record["type"] == "ok"
        what = f" under token {value}" if answered else f" {json.dumps(value, ensure_ascii=False)}"
        return f"{function} {key}{'' if value is None else what}"
    return f"{function} {key} = {json.dumps(value, ensure_ascii=False)}"


def _micro_words(step: Sequence[Any]) -> str:
    """``append k0 5``, ``r k1``, ``r k1 = [3]``."""
    act, key, value = step
    if act == "append":
        return f"append {key} {json.dumps(value, ensure_ascii=False)}"
    return f"r {key}" if value is None else f"r {key} = {found_words(value)}"


def found_words(value: Any) -> str:
    """A value as JSON; of a long list its ends: ``[3, 4, … 52 more …, 8, 9]``."""
    if not isinstance(value, list) or len(value) <= 2 * _ENDS + 1:
        return json.dumps(value, ensure_ascii=False)
    first, last = (json.dumps(part, ensure_ascii=False)[1:-1] for part in (value[:_ENDS], value[-_ENDS:]))
    return f"[{first}, … {len(value) - 2 * _ENDS} more …, {last}]"


def _nemesis_words(record: Record, steps: Sequence[PlanStep]) -> str:
    if record["phase"] == "all_healed":
        return "every fault is healed; recovery is measured from here"
    number = f"fault {record['step']}"
    if record["status"] != "done":
        return f"{number} {record['status']}: {fault_words(record, steps)}: {record.get('reason', '')}"
    if record["phase"] == "heal":
        return f"{number} ends: {ended_words(record)}"
    return f"{number}: {fault_words(record, steps)}"


def _history_words(record: Record) -> str:
    what = operation_words(record)
    who = f"process {record['process']}"
    at = f" at {record['node']}" if record.get("node") else ""
    error = f" ({record['error']})" if record.get("error") else ""
    entry = ""
    if record.get("log_index") is not None:
        entry = f", {'applied up to' if record['f'] in READS else 'entry'} {record['log_index']}"
    match record["type"]:
        case "invoke":
            return f"{who} invokes {what}{at}"
        case "ok":
            return f"{who} ok: {what}{at}{entry}"
        case "fail":
            return f"{who} fail: {what}{at}{error}"
        case _:
            return f"{who} unknown: {what}{at}{error}"


def trace_words(record: Record) -> str:
    """A node's record in words."""
    node, get = record["node"], record.get
    match record["event"]:
        case "started":
            vote = f"a vote for {get('vote')}" if get("vote") else "no vote"
            log = f"log up to entry {get('last_index')}"
            return (
                f"{node} comes up (boot {record['boot']}): its disk holds term {get('term')}, {vote}, {log}"
            )
        case "initialized":
            return f"{node} is founded as one of {names(record['voters'])}"
        case "role_changed":
            role, term = record["role"].replace("_", "-"), record["term"]
            if record["role"] == "leader":
                return f"{node} becomes leader of term {term}"
            if record["role"] in {"candidate", "pre_candidate"}:
                return f"{node} becomes {role} in term {term}"
            led = f" of {get('leader')}" if get("leader") else ""
            return f"{node} is follower{led} in term {term}" + ("" if led else ", and knows no leader yet")
        case "vote_cast":
            whom = "itself" if record["candidate"] == node else record["candidate"]
            return f"{node} votes for {whom} in term {record['term']}"
        case "appended":
            return f"{node} has entry {record['index']} of term {record['term']} on disk"
        case "truncated":
            return f"{node} removes its entries from {record['from']} on"
        case "committed":
            return f"{node} knows entries up to {record['index']} as committed"
        case "applied":
            again = ", a retry that changes nothing" if get("duplicate") else ""
            return f"{node} applies entry {record['index']} of term {record['term']}{again}"
        case "snapshot_made":
            return f"{node} has a snapshot up to entry {record['index']}"
        case "snapshot_installed":
            return f"{node} installs the leader's snapshot up to entry {record['index']}"
        case "config_changed":
            joint = f" on the way from {names(left)}" if (left := get("voters_outgoing")) else ""
            listening = f"; listening: {names(learners)}" if (learners := get("learners")) else ""
            return f"{node} has the voters {names(record['voters'])}{joint}{listening}"
        case "stopped":
            return f"{node} stops by itself: {record['reason']}"
        case "panicked":
            return f"{node} panics: {record['message']}"
        case "refused":
            return f"{node} refuses to start: {record['reason']}"
        case other:
            return f"{node}: {other}"


def _objects(text: bytes | str) -> tuple[Record, ...]:
    return tuple(json.loads(line) for line in text.splitlines())


def _until(records: Iterable[Record], time_ns: int) -> tuple[Record, ...]:
    return tuple(record for record in records if record["time_ns"] <= time_ns)
