"""Failure signatures: which property was violated, and how, in words that are the same for one cause under any seed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from chaos.verdict import Judgement, Verdict

CAUSES_FIRST: Final = (
    "monotonic",
    "election_safety",
    "log_matching",
    "leader_completeness",
    "committed_never_changes",
    "state_machine_safety",
    "durable",
    "linearizable",
    "no_panic",
    "recovers",
    "available",
)
"""Checks from causes to consequences: a forgotten vote elects two leaders, and these lose writes."""


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
            raise ValueError(f"found {text!r}, expected a signature such as monotonic/vote-changed")
        return cls(check, shape)


def signature_of(judgements: Iterable[Judgement]) -> Signature | None:
    """The signature of a run; None if nothing was violated."""
    violated = [judged for judged in judgements if judged.verdict is Verdict.INVALID]
    if not violated:
        return None
    cause = min(violated, key=lambda judged: _rank(judged.check))
    return Signature(cause.check, cause.shape or "violated")


def _rank(check: str) -> int:
    return CAUSES_FIRST.index(check) if check in CAUSES_FIRST else len(CAUSES_FIRST)
