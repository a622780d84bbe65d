"""The one way in which every backend's run is judged.

The checks themselves are in Rust (`rust_core/crates/checker`, one file for each property): the same code
judges what the simulator kept in memory and what was collected from containers.
"""

import json
from typing import Any

from chaos import _core
from chaos.plan import Plan
from chaos.verdict import Judgement, Verdict

LIVENESS = frozenset({"recovers", "progresses", "available"})
"""What only a run that reached its end can show."""

MEMORY_BYTES = 1 << 30
STEPS = 200_000_000


def limits_json(plan: Plan) -> str:
    """The limits that the checks are judged within, as the extension takes them."""
    timeline = plan.compiled()["timeline"]
    progress_within = plan.closed.limits.progress_within
    return json.dumps(
        {
            "recovers_within_ns": timeline["recovers_within_ns"],
            "unavailable_at_most_ns": timeline["unavailable_at_most_ns"],
            "progress_within_ns": None if progress_within is None else int(progress_within),
            "objects": plan.compiled()["workload"]["kind"],
            "memory_bytes": MEMORY_BYTES,
            "steps": STEPS,
        }
    )


def judge(evidence: "_core.Evidence", plan: Plan, *, complete: bool = True) -> tuple[Judgement, ...]:
    """Every check that the plan asks for, in its order.

    ``complete`` is False for a run that was cut short: then liveness is unknown, by name.
    """
    judged: list[dict[str, Any]] = json.loads(
        evidence.judge([name for name in plan.checks if complete or name not in LIVENESS], limits_json(plan))
    )
    by_name = {data["check"]: Judgement.from_dict(data) for data in judged}
    cut_short = "the run was cut short, so nothing can be said of what would have followed"
    return tuple(by_name.get(name) or Judgement(name, Verdict.UNKNOWN, cut_short) for name in plan.checks)
