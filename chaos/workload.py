"""What clients do: the ``workload`` section of a scenario, and the numbers that a run takes from it.

The operations themselves are drawn in Rust (``sim::workload::operation``, a pure function of seed, client and
number), for the simulator and for the clients of containers alike.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from chaos import holes
from chaos.holes import Choice, Open, Spec, closed, wrong
from chaos.units import Duration, Rate, Share, parse_duration, parse_rate

MOST_NAMED = 10_000
"""So many operations a scenario may name: a file of them can still be read back."""
MOST_NUMBER = 1_000_000
"""The highest number of an operation: there are no more in a run (`chaos.scenario.MOST_OPERATIONS`)."""
READS = frozenset({"read", "lookup", "read_txn"})
"""What histories call operations that only ask."""
TRANSACTIONS = frozenset({"txn", "read_txn"})
"""… and those that are lists of steps."""
MOST_VALUE_BYTES = 64 * 1024
"""The largest value that a node takes (`mcp_manager::limits`)."""
_MOST_ELEMENT_BYTES = {"lists": 60 * 1024, "transactions": 64}
"""Of a list's element: nodes bound what one transaction appends, and what it reads."""

_OPERATION = r"^[cn][1-9][0-9]{0,2}\.[1-9][0-9]{0,6}$"


def operation_key(name: str) -> tuple[str, int, int]:
    """By what operations are sorted: clients first, then nodes, each with its numbers ascending."""
    who, number = name[1:].split(".")
    return name[0], int(who), int(number)


def _operation(value: object) -> str:
    known = isinstance(value, str) and re.fullmatch(_OPERATION[1:-1], value, re.ASCII)
    if not isinstance(value, str) or not known or operation_key(value)[2] > MOST_NUMBER:
        raise wrong(
            "the name of an operation, such as c3.12 (the 12th of client 3) or n2.7 (the 7th due read of the "
            "reader at home at n2)"
        )
    return value


OperationField = Annotated[
    str, PlainValidator(_operation), WithJsonSchema({"type": "string", "pattern": _OPERATION})
]


class Mix(Spec):
    """How many of a hundred operations are of which kind."""

    read: Annotated[int, Field(ge=0, le=100)] = 40
    """Reads, in percent; of what is no register, the rest are changes of its own kind."""
    write: Annotated[int, Field(ge=0, le=100)] = 40
    """Writes of registers, in percent."""
    cas: Annotated[int, Field(ge=0, le=100)] = 20
    """Compare-and-sets of registers, in percent."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.read + self.write + self.cas
        if total != 100:
            raise wrong("read, write and cas that add up to 100", found=f"a sum of {total}")
        return self


class Windows(Spec):
    """Windows of time that come again; the first begins after `every`, from the start of the workload."""

    every: Open[Annotated[Duration, holes.duration("100ms", "60m")]]
    """From the beginning of one to the beginning of the next."""
    for_: Open[Annotated[Duration, holes.duration("1ms", "60m")]] = Field(alias="for")
    """How long each is: less than from one to the next."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if holes.highest(self.for_) >= holes.lowest(self.every):
            raise wrong("windows that are shorter than the time from one to the next (`every`)", at=("for",))
        return self


class Bursts(Windows):
    """Windows in which every client goes so many times as fast."""

    factor: Open[Annotated[int, Field(ge=2, le=1000)]] = 10
    """How many times the rate."""


class Workload(Spec):
    """Clients that read and change registers, or other objects: each key for itself, or several at one moment."""

    kind: Literal["registers", "counters", "lists", "registry", "leases", "transactions"] = "registers"
    """What clients do. `registers`: they read, write and compare-and-set versioned settings. `counters`: they add and
    read. `lists`: they append and read. `registry`: they register, move, remove and look up MCP servers. `leases`:
    they acquire, renew and release leases under fencing tokens, and read who holds them. `transactions`: they append to
    several lists and read some, all at one moment."""
    clients: Open[Annotated[int, Field(ge=1, le=64)]] = 5
    """How many clients roam over the nodes, one operation at a time each."""
    rate: Open[Annotated[Rate, holes.rate("0.1/s", "10000/s")]] = parse_rate("100/s")
    """Operations of all roaming clients together."""
    duration: Open[Annotated[Duration, holes.duration("1s", "60m")]] = parse_duration("20s")
    """How long clients work; before its end everything is healed (see `heal`)."""
    keys: Open[Annotated[int, Field(ge=1, le=1000)]] = 2
    """How many registers, counters, lists, servers or leases there are; transactions go on to others now and
    then, so that no list becomes long."""
    mix: Choice[Mix] = Mix()
    """How many of a hundred operations are of which kind."""
    hot_key: Open[Annotated[Share, holes.share("0%", "100%")]] | None = None
    """How many operations are on the first key, whatever else is drawn; without this key none are set apart."""
    key_skew: Open[Annotated[int, Field(ge=0, le=4)]] | None = None
    """How uneven the keys are: the nth has 1/n to this power of the first one's share (Zipf's law); 0 is even."""
    lease: Open[Annotated[Duration, holes.duration("10ms", "10m")]] | None = None
    """How long a lease lasts unless it is renewed, 2s by default. Only for `leases`."""
    value_bytes: Open[Annotated[int, Field(ge=0, le=MOST_VALUE_BYTES)]] | None = None
    """The least size of a value on the wire and on disks; the history has it without its padding. For `registers` and
    elements of lists: at most 60 KiB in `lists`, 64 bytes in `transactions`, which read whole lists."""
    bursts: Choice[Bursts] | None = None
    """When clients go faster."""
    quiet: Choice[Windows] | None = None
    """When no client begins anything."""
    home_readers: Choice[bool] = True
    """Whether each node has a reader besides that asks no other: it sees what a cut-off node still says."""
    home_read_every: Open[Annotated[Duration, holes.duration("10ms", "1m")]] = parse_duration("100ms")
    """How often each home reader reads."""
    attempt_timeout: Open[Annotated[Duration, holes.duration("10ms", "1m")]] = parse_duration("500ms")
    """After how long a client tries another node."""
    operation_timeout: Open[Annotated[Duration, holes.duration("10ms", "10m")]] = parse_duration("2s")
    """After how long a client gives an operation up."""
    only: list[OperationField] | None = Field(default=None, max_length=MOST_NAMED)
    """The operations that are done, by name, when they would have been done; without this key all are."""

    @model_validator(mode="after")
    def _small_elements(self) -> Self:
        most = _MOST_ELEMENT_BYTES.get(self.kind, MOST_VALUE_BYTES)
        if self.value_bytes is not None and holes.highest(self.value_bytes) > most:
            raise wrong(f"at most {most} for {self.kind}", at=("value_bytes",))
        return self

    def compiled(self) -> dict[str, object]:
        """As a compiled plan has it. All holes must be filled."""
        mix = closed(self.mix)
        return {
            **self._shape(),
            "kind": self.kind,
            "clients": closed(self.clients),
            "rate_per_1000s": int(closed(self.rate)),
            "keys": closed(self.keys),
            "read_percent": mix.read,
            "cas_percent": mix.cas,
            "home_readers": closed(self.home_readers),
            "home_read_interval_ns": int(closed(self.home_read_every)),
            "attempt_timeout_ns": int(closed(self.attempt_timeout)),
            "operation_timeout_ns": int(closed(self.operation_timeout)),
            "only": None if self.only is None else sorted(self.only, key=operation_key),
        }

    def _shape(self) -> dict[str, object]:
        """What makes the traffic uneven: nothing of what is not asked for, so that plans without it stay the same."""
        bursts = None if self.bursts is None else closed(self.bursts)
        quiet = None if self.quiet is None else closed(self.quiet)
        shape: dict[str, object] = {
            "hot_key_ppm": None if self.hot_key is None else int(closed(self.hot_key)),
            "lease_ns": self._lease_ns(),
            "key_skew": None if self.key_skew is None else closed(self.key_skew),
            "value_bytes": None if self.value_bytes is None else closed(self.value_bytes),
            "bursts": None if bursts is None else {**_windows(bursts), "factor": closed(bursts.factor)},
            "quiet": None if quiet is None else _windows(quiet),
        }
        return {name: value for name, value in shape.items() if value is not None}

    def _lease_ns(self) -> int | None:
        if self.kind != "leases":
            return None
        return int(parse_duration("2s") if self.lease is None else closed(self.lease))


def _windows(windows: Windows) -> dict[str, int]:
    return {"every_ns": int(closed(windows.every)), "for_ns": int(closed(windows.for_))}


def misnamed(workload: Workload, nodes: int) -> Iterator[tuple[int, str]]:
    """Which of the operations in ``only`` cannot be in every cluster of ``nodes``: position, what was expected."""
    clients = holes.lowest(workload.clients, 5)
    earlier: set[str] = set()
    for position, name in enumerate(workload.only or ()):
        kind, who, _ = operation_key(name)
        if kind == "c" and who > clients:
            yield position, f"a client from c1 to c{clients}"
        elif kind == "n" and who > nodes:
            yield position, f"a node from n1 to n{nodes}"
        elif name in earlier:
            yield position, "each operation once"
        earlier.add(name)
