"""Failure signatures: which property was violated, and how, in words that are the same for one cause under any seed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from chaos.verdict import Judgement, Verdict

INSIDE: Final = (
    "monotonic",
    "election_safety",
    "log_matching",
    "leader_completeness",
    "committed_never_changes",
    "state_machine_safety",
    "no_panic",
)
"""Checks on the nodes' insides, from causes to consequences. What they saw has a time, and a cause comes before what it
leads to: a forgotten vote elects two leaders, these lose a write, and a node that finds its log changed panics."""

OUTSIDE: Final = (
    "durable",
    "linearizable",
    "durable/acknowledged-before-applied",
    "recovers",
    "progresses",
    "available",
)
"""What clients felt, from causes to consequences; any of the former leads to these. An early acknowledgement is mostly
felt by a read long before it is clear whether the write was lost, so there the read tells first."""


@dataclass(frozen=True, order=True)
class Signature:
    """What failures of one cause have in common."""

    check: str
    """The violated check nearest to the cause."""
    shape: str
    """How it was violated; `violated` where the check does not say."""

    def __str__(self) -> str:
        return f"{self.check}/{self.shape}"

    @property
    def slug(self) -> str:
        """Fit for a file's name."""
        return f"{self.check}-{self.shape}".replace("_", "-").replace("/", "-")

    @classmethod
    def parse(cls, text: str) -> "Signature":
        """Reads what ``str`` wrote. Raises ValueError."""
        check, slash, shape = text.partition("/")
        if not (check and slash and shape):
            raise ValueError(f"found {text!r}, expected a signature such as monotonic/vote-forgotten")
        return cls(check, shape)


def signature_of(judgements: Iterable[Judgement]) -> Signature | None:
    """The signature of a run; None if nothing was violated."""
    violated = [judged for judged in judgements if judged.verdict is Verdict.INVALID]
    if not violated:
        return None
    cause = min(violated, key=_rank)
    return Signature(cause.check, cause.shape or "violated")


def reason_of(signature: Signature, judgements: Iterable[Judgement]) -> str:
    """The words of the check that gave the signature."""
    reasons = (
        judged.reason
        for judged in judgements
        if judged.check == signature.check and judged.verdict is Verdict.INVALID
    )
    return next(reasons, "it did not fail so again")


def _rank(judged: Judgement) -> tuple[int, int, int]:
    """Smaller is nearer to the cause: what the inside shows, whatever came first; then what clients felt."""
    if judged.check in INSIDE:
        return (0, _time_ns(judged.evidence), INSIDE.index(judged.check))
    for name in (f"{judged.check}/{judged.shape}", judged.check):
        if name in OUTSIDE:
            return (1, 0, OUTSIDE.index(name))
    return (1, 0, len(OUTSIDE))


def _time_ns(evidence: Any) -> int:
    """When the record that violated the check was written; 0, the static order alone, where there is none."""
    record = evidence.get("record") if isinstance(evidence, dict) else None
    time_ns = record.get("time_ns") if isinstance(record, dict) else None
    return time_ns if isinstance(time_ns, int) else 0
