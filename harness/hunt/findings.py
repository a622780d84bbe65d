"""Failures as a campaign keeps them: a bundle as found, a bundle of the smallest plan and one of its nearest passing
neighbour, and a scenario file ready for `scenarios/regressions`.
"""

from dataclasses import replace
from datetime import UTC, datetime

from chaos.plan import Plan
from chaos.signature import Signature, reason_of
from harness.cluster import RunOptions
from harness.files import write_whole
from harness.hunt.state import ShrunkState, Store
from harness.hunt.tasks import Smaller
from harness.run import Finished, keep
from harness.shrink import candidate_text, operations_of
from harness.shrink_bundle import ShrinkReport
from harness.store import open_bundle
from harness.trial import Trial, try_plan


def keep_run(plan: Plan, options: RunOptions, name: str) -> tuple[Finished, Trial]:
    """Runs the plan once more and keeps the bundle as ``name``."""
    started_at = datetime.now(UTC)
    trial = try_plan(plan, options)
    return keep(plan, options, trial.result, trial.verdict, started_at, name), trial


def keep_shrunk(
    signature: Signature, smaller: Smaller, options: RunOptions, store: Store, seconds: float
) -> tuple[ShrunkState, list[str]]:
    """Keeps the smallest plan, its neighbour and the candidate; and says of bundles that lie elsewhere, why.

    ``options``: of the campaign.
    """
    simulated = replace(options, backend="sim")
    plan = Plan.from_json(smaller.plan_json)
    name = f"{plan.scenario}-{signature.slug}"
    kept, trial = keep_run(plan, simulated, name)
    rescued = [kept.rescued_because]
    neighbour = None
    if smaller.neighbour_json is not None:
        passing = Plan.from_json(smaller.neighbour_json)
        kept_passing, _ = keep_run(passing, simulated, f"{name}-passing")
        rescued.append(kept_passing.rescued_because)
        neighbour = kept_passing.bundle.path
    candidate = store.regressions / f"{name}.yaml"
    write_whole(candidate, candidate_text(plan, signature, options.plants).encode())
    state = ShrunkState(
        plan_json=plan.to_json(),
        reason=reason_of(signature, trial.verdict.judgements),
        trials=smaller.trials,
        seconds=round(seconds, 3),
        steps=len(plan.steps),
        nodes=plan.nodes,
        operations=len(operations_of(trial.result.evidence.history_jsonl())),
        bundle=str(kept.bundle.path),
        neighbour_bundle=None if neighbour is None else str(neighbour),
        candidate=str(candidate),
    )
    return state, [words for words in rescued if words is not None]


def state_of(report: ShrinkReport) -> ShrunkState:
    """The same of a bundle that was shrunk. It must have been kept."""
    kept = report.kept
    assert kept is not None, "only a failure that came again was kept"
    judgements = open_bundle(kept.bundle).verdict.judgements
    return ShrunkState(
        plan_json=kept.plan.to_json(),
        reason=reason_of(report.signature, judgements),
        trials=report.trials,
        seconds=round(report.seconds, 3),
        steps=kept.after.steps,
        nodes=kept.after.nodes,
        operations=kept.after.operations,
        bundle=str(kept.bundle),
        neighbour_bundle=None if kept.neighbour is None else str(kept.neighbour),
        candidate=str(kept.candidate),
    )
