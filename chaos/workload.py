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
from chaos.units import Duration, Rate, parse_duration, parse_rate

MOST_NAMED = 10_000
"""So many operations a scenario may name: a file of them can still be read back."""
MOST_NUMBER = 1_000_000
"""The highest number of an operation: there are no more in a run (`chaos.scenario.MOST_OPERATIONS`)."""

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
    """Reads, in percent."""
    write: Annotated[int, Field(ge=0, le=100)] = 40
    """Writes, in percent."""
    cas: Annotated[int, Field(ge=0, le=100)] = 20
    """Compare-and-sets, in percent."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.read + self.write + self.cas
        if total != 100:
            raise wrong("read, write and cas that add up to 100", found=f"a sum of {total}")
        return self


class Workload(Spec):
    """Clients that read and write registers, each key for itself."""

    kind: Literal["registers"] = "registers"
    """What clients do. `registers`: they read, write and compare-and-set versioned settings."""
    clients: Open[Annotated[int, Field(ge=1, le=64)]] = 5
    """How many clients roam over the nodes, one operation at a time each."""
    rate: Open[Annotated[Rate, holes.rate("0.1/s", "10000/s")]] = parse_rate("100/s")
    """Operations of all roaming clients together."""
    duration: Open[Annotated[Duration, holes.duration("1s", "60m")]] = parse_duration("20s")
    """How long clients work; before its end everything is healed (see `heal`)."""
    keys: Open[Annotated[int, Field(ge=1, le=1000)]] = 2
    """How many registers there are."""
    mix: Choice[Mix] = Mix()
    """How many of a hundred operations are of which kind."""
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

    def compiled(self) -> dict[str, object]:
        """As a compiled plan has it. All holes must be filled."""
        mix = closed(self.mix)
        return {
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
