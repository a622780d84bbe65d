"""What a campaign came to: for people, as JSON, and as an exit code."""

from dataclasses import asdict, dataclass
from typing import Any

from chaos.verdict import EXIT_HARNESS, EXIT_INTERRUPTED, EXIT_INVALID, EXIT_UNKNOWN, EXIT_VALID

FORMAT = 1


@dataclass(frozen=True)
class FamilyReport:
    """One scenario. ``seconds`` are those of workers."""

    name: str
    file: str
    examples: int
    failed: int
    unknown: int
    harness_failures: int
    simulated_s: float
    seconds: float
    goals_reached: tuple[str, ...]
    goals_missed: tuple[str, ...]


@dataclass(frozen=True)
class FailureReport:
    """One distinct failure: its smallest plan, and where everything lies.

    ``neighbour``: the bundle of the nearest plan that passes. ``shrink_s`` is None if it was not shrunk.
    """

    signature: str
    check: str
    shape: str
    reason: str
    scenario: str
    count: int
    first_example: int
    first_after_s: float
    first_seen: str
    plan_id: str
    steps: int
    nodes: int
    operations: int | None
    faults: tuple[str, ...]
    """The plan's steps in words."""
    shrink_s: float | None
    shrink_trials: int | None
    note: str | None
    """Why it was not shrunk."""
    bundle: str
    neighbour: str | None
    candidate: str | None
    replay: str


@dataclass(frozen=True)
class CrashReport:
    """A task that nobody could finish, and the file with the plan under way."""

    scenario: str
    reason: str
    plan: str | None


@dataclass(frozen=True)
class CampaignReport:
    """A whole campaign. ``seconds`` on the wall, over all its invocations."""

    backend: str
    plants: tuple[str, ...]
    seed: int
    workers: int
    started_at: str
    seconds: float
    examples: int
    simulated_s: float
    states: int
    interrupted: bool
    scenarios: tuple[FamilyReport, ...]
    failures: tuple[FailureReport, ...]
    crashes: tuple[CrashReport, ...]
    problems: tuple[str, ...]
    finished: bool
    """False if its budget is not used up: the same command goes on."""

    @property
    def exit_code(self) -> int:
        """130 interrupted; 1 if anything was violated; else 4 if the harness failed; else 3 for what is unknown, or a
        goal never reached, or nothing run at all; else 0.
        """
        if self.interrupted:
            return EXIT_INTERRUPTED
        if self.failures:
            return EXIT_INVALID
        if self.crashes or any(family.harness_failures for family in self.scenarios):
            return EXIT_HARNESS
        shown = all(
            family.examples and not family.unknown and not family.goals_missed for family in self.scenarios
        )
        return EXIT_VALID if shown else EXIT_UNKNOWN

    def to_dict(self) -> dict[str, Any]:
        """`campaign.json`, and what ``--json`` prints."""
        return {"format": FORMAT, **asdict(self), "exit_code": self.exit_code}
