"""1,000 seeds of each scenario in simulation: all valid, all plans distinct, each run repeated in another process.

Prints one line for each scenario and ends with 1 if anything was not as it must be. Options: --seeds, --workers,
and scenario files (all of scenarios/smoke and scenarios/consensus by default).
"""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from chaos.checks import judge
from chaos.generate import Sampler, draw_plan
from chaos.scenario import load_scenario
from chaos.verdict import Verdict

ROOT = Path(__file__).resolve().parent.parent


def run_seed(path: str, seed: int) -> tuple[int, str, str, str]:
    """(seed, plan id, trace hash, "" or what was wrong)."""
    from chaos._core import simulate  # noqa: PLC0415 each worker loads it by itself

    plan = draw_plan(load_scenario(Path(path).read_text(), path), Sampler(seed))
    evidence = simulate(plan.compiled_json(), [])
    wrong = [
        f"{judged.check} {judged.verdict.value}: {judged.reason}"
        for judged in judge(evidence, plan)
        if judged.verdict not in {Verdict.VALID, Verdict.NOT_APPLICABLE}
    ]
    return seed, plan.plan_id, evidence.trace_hash, "; ".join(wrong)


def pass_over(path: Path, seeds: int, workers: int) -> list[tuple[int, str, str, str]]:
    """One pass in fresh processes (spawned, so that nothing is shared with the other pass)."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(run_seed, [str(path)] * seeds, range(seeds), chunksize=25))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", type=Path)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    folders = ("smoke", "consensus")
    paths = options.scenarios or [
        path for name in folders for path in sorted((ROOT / "scenarios" / name).glob("*.yaml"))
    ]
    failed = False
    for path in paths:
        began = time.monotonic()
        first = pass_over(path, options.seeds, options.workers)
        second = pass_over(path, options.seeds, options.workers)
        wrong = [(seed, what) for seed, _, _, what in first if what]
        moved = [one[0] for one, two in zip(first, second, strict=True) if one[:3] != two[:3]]
        distinct = len({plan_id for _, plan_id, _, _ in first})
        failed |= bool(wrong or moved)
        print(
            f"{path.name}: {options.seeds} seeds, {distinct} distinct plans, {len(wrong)} not valid, "
            f"{len(moved)} not repeated exactly, {time.monotonic() - began:.1f} s",
            flush=True,
        )
        for seed, what in wrong[:5]:
            print(f"  seed {seed}: {what}")
        if moved:
            print(f"  seeds with another hash in the second process: {moved[:10]}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
