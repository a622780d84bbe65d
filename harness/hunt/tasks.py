"""What a campaign and its workers say to each other: tasks, and what comes of them. All of it is pickled."""

from dataclasses import dataclass

from chaos.portable import restricted
from chaos.scenario import Scenario, load_scenario
from chaos.signature import Signature
from harness.cluster import support_of
from harness.hunt.search import Batch, Found


@dataclass(frozen=True)
class Family:
    """A scenario file as a campaign hunts it."""

    name: str
    file: str
    text: str
    portable_on: str | None = None
    """The backend to which its faults are restricted, if any."""

    def load(self) -> Scenario:
        """The scenario. Raises ScenarioError, and UnsupportedError if it cannot be restricted."""
        scenario = load_scenario(self.text, self.file)
        if self.portable_on is None:
            return scenario
        return restricted(scenario, support_of(self.portable_on, "--backend"))


@dataclass(frozen=True)
class Known:
    """Run the author's examples, and what failed in earlier campaigns."""

    family: Family
    choices: tuple[bytes, ...]


@dataclass(frozen=True)
class Explore:
    """Run a batch of drawn plans."""

    family: Family
    number: int
    """Of the batch within its family, from 0."""
    seed: int
    examples: int
    first: bool = False
    """End with the first failure."""
    guided: bool = False
    """Mostly neighbours of plans that reached something new."""


@dataclass(frozen=True)
class Shrink:
    """Find the smallest plan of a failure, in simulation."""

    family: Family
    signature: Signature
    plan_json: str
    choices: bytes | None
    seconds: float


Task = Known | Explore | Shrink


@dataclass(frozen=True)
class Progressed:
    """Counts since the task's beginning."""

    examples: int
    simulated_ns: int
    failed: int


@dataclass(frozen=True)
class Noticed:
    """A batch has found something, which must not be lost with it."""

    found: Found


@dataclass(frozen=True)
class Smaller:
    """What shrinking came to. Plans as JSON: their models do not travel between processes."""

    plan_json: str
    neighbour_json: str | None
    trials: int
    choices: bytes | None
    """What Hypothesis would draw for its own smallest plan."""


@dataclass(frozen=True)
class Done:
    """A task is over. ``smaller`` only for `Shrink`."""

    batch: Batch
    seconds: float
    smaller: Smaller | None = None


@dataclass(frozen=True)
class Broke:
    """A task could not be done."""

    reason: str
    plan_json: str | None
    """The plan under way, if it was at one."""
    batch: Batch
    """What it had come to by then."""
    seconds: float
    infrastructure: bool
    """Whether the harness could not do its part: then the plan has nothing to do with it."""
