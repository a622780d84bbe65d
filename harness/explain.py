"""The verb `explain`: the story of a bundle's failure, told of the smallest plan that fails in the same way.

A simulated run is first shrunk, because a story with one fault is better than one with eight. Then everything is
removed from its evidence that the violation does not need, and what is left is told with what links it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chaos.errors import UsageError
from chaos.essence import Essence, essence_of
from chaos.plan import Plan
from chaos.retrospect import Retrospect
from chaos.signature import Signature, signature_of
from chaos.story import Story, tell
from chaos.timeline import Records, clock
from chaos.verdict import EXIT_VALID, Judgement, RunVerdict, Verdict
from harness.cluster import RunOptions
from harness.recorded import headline, plan_of, records_of, records_of_run
from harness.shrink import shrink_on_sim, size_of
from harness.store import Bundle
from harness.trial import try_plan


@dataclass(frozen=True)
class Explanation:
    """A story, and what it is told of: the bundle's own run, or a smaller one that fails in the same way."""

    bundle: Bundle
    signature: Signature
    plan: Plan
    is_recorded: bool
    judgement: Judgement
    also: tuple[str, ...]
    """Other checks that the same run violates."""
    essence: Essence
    story: Story

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "bundle": str(self.bundle.path),
            "signature": str(self.signature),
            "check": self.judgement.check,
            "reason": self.judgement.reason,
            "also_violated": list(self.also),
            "as_recorded": self.is_recorded,
            "plan_id": self.plan.plan_id,
            "plan": self.plan.document,
            "story": [line.to_dict() for line in self.story.lines],
            "ending": self.story.ending,
            "operations": [
                {"invoke": op.invoke, "completion": op.completion} for op in self.essence.operations
            ],
            "records": list(self.essence.records),
            "exit_code": EXIT_VALID,
        }


def explain_bundle(
    bundle: Bundle, *, seconds: float, as_recorded: bool, progress: Callable[[str], None]
) -> Explanation:
    """The story of the bundle's failure.

    A simulated run is shrunk for at most ``seconds``, unless ``as_recorded``. Raises UsageError for a bundle that
    violated nothing, BundleError for one that cannot be read or has no traces.
    """
    bundle.verify()
    plan, records, verdict = plan_of(bundle), records_of(bundle), bundle.verdict
    signature = signature_of(verdict.judgements)
    if signature is None:
        raise UsageError(
            f"{bundle.path}: this run violated nothing (it ended as {verdict.verdict.value}), so there is no failure "
            "to explain"
        )
    is_recorded = True
    if not as_recorded and bundle.manifest.backend == "sim":
        progress("looking for a smaller plan that fails in the same way")
        smaller = _smaller(plan, signature, tuple(bundle.manifest.plants), seconds, progress)
        if smaller is not None:
            plan, records, verdict = smaller
            is_recorded = False
    judged = next(j for j in verdict.judgements if j.check == signature.check)
    progress("removing what the violation does not need")
    essence = essence_of(records, judged, plan)
    also = tuple(
        j.check for j in verdict.judgements if j.verdict is Verdict.INVALID and j.check != signature.check
    )
    story = tell(Retrospect(records), essence, plan, each_step_counts=not is_recorded)
    return Explanation(bundle, signature, plan, is_recorded, judged, also, essence, story)


def _smaller(
    plan: Plan,
    signature: Signature,
    plants: tuple[str, ...],
    seconds: float,
    progress: Callable[[str], None],
) -> tuple[Plan, Records, RunVerdict] | None:
    """A smaller plan that shows the signature, and its run; None if there is none, or if this build shows another."""
    options = RunOptions(backend="sim", plants=plants)
    if try_plan(plan, options).signature != signature:
        return None
    shrunk = shrink_on_sim(plan, signature, plants, seconds, progress)
    if shrunk.plan == plan:
        return None
    trial = try_plan(shrunk.plan, options)
    if trial.signature != signature:
        return None
    return shrunk.plan, records_of_run(trial.result.evidence), trial.verdict


def print_explanation(explanation: Explanation, console: Console) -> None:
    """For people: what it is told of, the events in order, and the ending."""
    console.print(Text(headline(explanation.bundle), "bold"))
    if explanation.is_recorded:
        console.print(Text("Told of the run as it was recorded.", "dim"))
    else:
        console.print(
            Text(
                f"Told of a smaller plan that fails in the same way ({size_of(explanation.plan)}). "
                "`--as-recorded` tells of the recorded run itself.",
                "dim",
            ),
            soft_wrap=False,
        )
    console.print(
        Text("Times count from the plan's start, which reads 3.000 s on the records' clock.", "dim")
    )
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for number, line in enumerate(explanation.story.lines, start=1):
        table.add_row(str(number), clock(line.time_ns), Text(line.words))
    console.print()
    console.print(table)
    console.print()
    console.print(Text(explanation.story.ending, "red"), soft_wrap=False)
    if explanation.also:
        console.print(Text(f"The same run also violates {', '.join(explanation.also)}.", "dim"))
