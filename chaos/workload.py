"""What clients do: the ``workload`` section of a scenario, and the numbers that a run takes from it.

The operations themselves are drawn in Rust (``sim::workload::operation``, a pure function of seed, client and
number), for the simulator and for the clients of containers alike.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from chaos import holes
from chaos.holes import Choice, Open, Spec, closed, wrong
from chaos.units import Duration, Rate, parse_duration, parse_rate


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
        }
