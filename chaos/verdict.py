"""Verdicts: what a check found, how findings merge, and the exit codes they end in.

Three things are kept apart all the way up: a violated property (``invalid``), a property about which the
evidence says nothing (``unknown``), and a harness that failed (not a verdict at all: ``exit_code`` 4).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

EXIT_VALID = 0
EXIT_INVALID = 1
EXIT_USAGE = 2
EXIT_UNKNOWN = 3
EXIT_HARNESS = 4
EXIT_INTERRUPTED = 130


class Verdict(StrEnum):
    """What a check found. ``valid < unknown < invalid``; ``not_applicable`` takes no part in merging."""

    VALID = "valid"
    UNKNOWN = "unknown"
    INVALID = "invalid"
    NOT_APPLICABLE = "not_applicable"

    @property
    def exit_code(self) -> int:
        """0 valid, 1 invalid, 3 otherwise."""
        return {Verdict.VALID: EXIT_VALID, Verdict.INVALID: EXIT_INVALID}.get(self, EXIT_UNKNOWN)


_SEVERITY = {Verdict.NOT_APPLICABLE: -1, Verdict.VALID: 0, Verdict.UNKNOWN: 1, Verdict.INVALID: 2}


def merge(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several verdicts. Of none at all: unknown, since nothing was shown."""
    judged = [verdict for verdict in verdicts if verdict is not Verdict.NOT_APPLICABLE]
    return max(judged, key=_SEVERITY.__getitem__, default=Verdict.UNKNOWN)


@dataclass(frozen=True)
class Judgement:
    """What one check says of one run.

    ``reason`` is for people, ``evidence`` is the same as data (operations, events; shapes in docs/checks.md).
    ``shape`` says in a word how an invalid run violated the check, the same for one cause under any seed.
    """

    check: str
    verdict: Verdict
    reason: str
    evidence: Any = None
    shape: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Judgement":
        """From the JSON object that the Rust checker or a bundle gives."""
        return cls(
            data["check"], Verdict(data["verdict"]), data["reason"], data.get("evidence"), data.get("shape")
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``verdict.json``."""
        return {
            "check": self.check,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "evidence": self.evidence,
            "shape": self.shape,
        }


@dataclass(frozen=True)
class RunVerdict:
    """All judgements of one run, and what the harness has to say of itself.

    ``doubts`` are reasons why a run that broke nothing still shows nothing (a fixed step that was skipped);
    ``harness_failures`` are what the harness could not do.
    """

    judgements: tuple[Judgement, ...]
    doubts: tuple[str, ...] = ()
    harness_failures: tuple[str, ...] = ()
    interrupted: bool = field(default=False)

    @property
    def verdict(self) -> Verdict:
        """Merged over all judgements; doubts and harness failures make a valid run unknown."""
        merged = merge(judgement.verdict for judgement in self.judgements)
        if merged is Verdict.VALID and (self.doubts or self.harness_failures or self.interrupted):
            return Verdict.UNKNOWN
        return merged

    @property
    def exit_code(self) -> int:
        """130 interrupted, 1 invalid, 4 harness failed, 3 unknown, 0 valid; the first that holds."""
        if self.interrupted:
            return EXIT_INTERRUPTED
        if self.harness_failures and self.verdict is not Verdict.INVALID:
            return EXIT_HARNESS
        return self.verdict.exit_code

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``verdict.json``."""
        return {
            "verdict": self.verdict.value,
            "exit_code": self.exit_code,
            "checks": [judgement.to_dict() for judgement in self.judgements],
            "doubts": list(self.doubts),
            "harness_failures": list(self.harness_failures),
            "interrupted": self.interrupted,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "RunVerdict":
        """From ``verdict.json``."""
        return cls(
            tuple(Judgement.from_dict(check) for check in data["checks"]),
            tuple(data["doubts"]),
            tuple(data["harness_failures"]),
            bool(data["interrupted"]),
        )
