"""Failures across campaigns: what was seen when, how often, and the smallest plan that shows it.

Pure: the file is `harness.campaign_report`'s. Merging a campaign is idempotent and hangs on no order, for each
entry keeps its counts by campaign: a campaign that went on after an interruption replaces what it had said before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chaos.errors import UsageError

FORMAT: Final = 1


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Smallest(_Kept):
    """The smallest plan known for a failure."""

    plan_id: str
    steps: int = Field(ge=0)
    nodes: int = Field(ge=1)
    operations: int | None = Field(None, ge=0)
    """How many operations its clients do; None if nobody counted them, which is as good as very many."""
    bundle: str
    """Where that campaign put it."""
    candidate: str | None = None
    """A scenario file ready for `scenarios/regressions`, where that campaign put it."""
    replay: str
    """The command that runs it again."""

    @property
    def order(self) -> tuple[int, int, bool, int, str]:
        """Smaller is better; the id decides between plans of one size."""
        return (self.steps, self.nodes, self.operations is None, self.operations or 0, self.plan_id)


class Entry(_Kept):
    """What is known of one signature. Times are UTC, ISO 8601."""

    reason: str
    """The violation in words, as the smallest plan shows it."""
    scenarios: list[str] = Field(min_length=1)
    """Where it was seen, ascending."""
    first_seen: str
    last_seen: str
    """In the last campaign that saw it: when that began, or first saw it."""
    counts: dict[str, int] = Field(min_length=1)
    """How many plans failed so, by the time at which the campaign began."""
    best: Smallest

    @property
    def nights(self) -> int:
        """How many campaigns saw it."""
        return len(self.counts)

    @property
    def total(self) -> int:
        """How many plans failed so, in all campaigns."""
        return sum(self.counts.values())


class Ledger(_Kept):
    """All failures that a series of campaigns has seen, by signature."""

    format: Literal[1] = 1
    failures: dict[str, Entry] = Field(default_factory=dict)

    def to_json(self) -> str:
        """``failures.json``: sorted, so that two of them can be compared by eye."""
        ordered = Ledger(failures=dict(sorted(self.failures.items())))
        return ordered.model_dump_json(indent=2) + "\n"


@dataclass(frozen=True)
class Recurrence:
    """What the ledger says of a failure of this campaign."""

    entry: Entry
    is_new: bool
    """Whether no earlier campaign saw it."""


def parse_ledger(text: str, source: str) -> Ledger:
    """The ledger in ``text``. Raises UsageError that names ``source`` and says what is wrong."""
    try:
        return Ledger.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        found = f"{where}: {first['msg']}" if where else first["msg"]
        raise UsageError(
            f"{source}: expected a ledger of failures, as `hunt` leaves one ({found}); restore it from an earlier "
            "night, or remove it to begin a new one"
        ) from None


def merged(ledger: Ledger, report: Mapping[str, Any]) -> Ledger:
    """The ledger with what a campaign (``campaign.json``) found."""
    began = str(report["started_at"])
    failures = dict(ledger.failures)
    for failure in report["failures"]:
        name = str(failure["signature"])
        entry = _entry(failure, began)
        failures[name] = joined(failures[name], entry) if name in failures else entry
    return Ledger(failures=failures)


def recurrence(ledger: Ledger, report: Mapping[str, Any], signature: str) -> Recurrence | None:
    """What is known of a signature, this campaign included; None if the ledger does not know it."""
    entry = ledger.failures.get(signature)
    if entry is None:
        return None
    return Recurrence(entry, is_new=min(entry.counts) >= str(report["started_at"]))


def joined(one: Entry, other: Entry) -> Entry:
    """Two entries of the same signature as one. Of one campaign's two counts the greater is the later."""
    smaller = min(
        one, other, key=lambda entry: (entry.best.order, entry.reason, entry.best.model_dump_json())
    )
    return Entry(
        reason=smaller.reason,
        scenarios=sorted({*one.scenarios, *other.scenarios}),
        first_seen=min(one.first_seen, other.first_seen),
        last_seen=max(one.last_seen, other.last_seen),
        counts=dict(sorted((*one.counts.items(), *other.counts.items()))),  # ascending: the greater stays
        best=smaller.best,
    )


def _entry(failure: Mapping[str, Any], began: str) -> Entry:
    first_seen = failure.get("first_seen") or began
    return Entry(
        reason=failure["reason"],
        scenarios=[failure["scenario"]],
        first_seen=first_seen,
        last_seen=max(began, first_seen),
        counts={began: failure["count"]},
        best=Smallest(
            plan_id=failure["plan_id"],
            steps=failure["steps"],
            nodes=failure["nodes"],
            operations=failure.get("operations"),
            bundle=failure["bundle"],
            candidate=failure.get("candidate"),
            replay=failure["replay"],
        ),
    )
