"""The simulator as a backend (`--backend sim`): the whole plan in one call, on a virtual clock.

It supports every fault. Nothing outlives the call, so there is nothing to clean up.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from chaos import _core
from chaos.errors import UsageError
from harness.cluster import (
    OnProgress,
    Progress,
    RunOptions,
    RunResult,
    as_json,
    needs_of,
    refuse_unsupported,
    with_recorded_anchors,
)


def run_sim(
    plan: str | Mapping[str, Any],
    options: RunOptions,
    on_progress: OnProgress = lambda _progress: None,
) -> RunResult:
    """Carries a compiled plan out in the simulator.

    Raises :class:`UsageError` if the simulator refuses the plan or knows no such planted bug.
    """
    compiled = with_recorded_anchors(as_json(plan), options.recorded_anchors)
    refuse_unsupported(needs_of(compiled), "sim", options.skip_unsupported)
    on_progress(Progress("start", f"simulating {compiled['nodes']} nodes"))
    began_s = time.monotonic()
    try:
        evidence = _core.simulate(json.dumps(compiled), options.plants)
    except ValueError as error:
        raise UsageError(f"the simulator refuses the plan: {error}") from error
    records = [json.loads(line) for line in evidence.nemesis_jsonl().splitlines()]
    return RunResult(
        backend="sim",
        evidence=evidence,
        timings={"run_s": time.monotonic() - began_s},
        skipped=[record for record in records if record["status"] == "skipped"],
        failed=[record for record in records if record["status"] == "failed"],
    )
