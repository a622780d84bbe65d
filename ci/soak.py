"""Plans in simulation by the thousand: all valid, each run repeated in another process to the same trace hash.

By default 1,000 seeds of each scenario. With --plans N, N random plans an equal share of each scenario, half drawn
by Hypothesis and half by the sampler, each as many times in a process with one PYTHONHASHSEED as in one with another:
the second draws the sampler's plans anew, and reads Hypothesis's from their JSON.

Prints a line for each scenario and ends with 1 if anything was not as it must be. Options: --seeds, --plans,
--workers, and scenario files (all of scenarios/smoke and scenarios/consensus by default).
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed

from chaos.checks import judge
from chaos.generate import Sampler, draw_plan, plans
from chaos.plan import Plan
from chaos.scenario import load_scenario
from chaos.verdict import Verdict

ROOT = Path(__file__).resolve().parent.parent


Run = tuple[str, str, str]
"""Plan id, trace hash, "" or what was wrong."""
Drawn = tuple[str, int | str]
"""A scenario's file, and a sampler's seed or the JSON of a plan."""

BATCH = 50  # plans that Hypothesis draws in one go: the first of each go are small ones


def run_plan(plan: Plan) -> Run:
    """One run, judged."""
    from chaos._core import simulate  # noqa: PLC0415 each worker loads it by itself

    evidence = simulate(plan.compiled_json(), [])
    wrong = [
        f"{judged.check} {judged.verdict.value}: {judged.reason}"
        for judged in judge(evidence, plan)
        if judged.verdict not in {Verdict.VALID, Verdict.NOT_APPLICABLE}
    ]
    return plan.plan_id, evidence.trace_hash, "; ".join(wrong)


def run_drawn(drawn: Drawn) -> Run:
    """Draws or reads the plan here, in this process, and runs it."""
    path, what = drawn
    if isinstance(what, str):
        return run_plan(Plan.from_json(what))
    return run_plan(draw_plan(load_scenario(Path(path).read_text(), path), Sampler(what)))


def pass_over(todo: list[Drawn], workers: int, hash_seed: int) -> list[Run]:
    """One pass in fresh processes (spawned, so that nothing is shared with the other pass)."""
    os.environ["PYTHONHASHSEED"] = str(hash_seed)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(run_drawn, todo, chunksize=25))


def by_hypothesis(path: Path, count: int) -> Iterator[str]:
    """The JSON of so many plans, drawn as `hunt` draws them."""
    scenario = load_scenario(path.read_text(), str(path))
    for batch in range(-(-count // BATCH)):
        drawn: list[str] = []

        @hypothesis_seed(batch)
        @settings(
            max_examples=BATCH,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(plans(scenario))
        def collect(plan: Plan) -> None:
            drawn.append(plan.to_json())  # noqa: B023 called before the next batch

        collect()
        yield from drawn[: count - batch * BATCH]


def compared(title: str, todo: list[Drawn], workers: int) -> bool:
    """Runs everything twice, prints what came of it, and says whether all was as it must be."""
    began = time.monotonic()
    first, second = (pass_over(todo, workers, hash_seed) for hash_seed in (1, 2))
    wrong = [(drawn, what) for drawn, (_, _, what) in zip(todo, first, strict=True) if what]
    moved = [drawn for drawn, one, two in zip(todo, first, second, strict=True) if one[:2] != two[:2]]
    distinct = len({plan_id for plan_id, _, _ in first})
    print(
        f"{title}: {len(todo)} plans, {distinct} distinct, {len(wrong)} not valid, "
        f"{len(moved)} not repeated exactly, {time.monotonic() - began:.1f} s",
        flush=True,
    )
    for (path, what), reason in wrong[:5]:
        print(f"  {path} {what}: {reason}")
    for path, what in moved[:5]:
        print(f"  another hash in the second process: {path} {what}")
    return not wrong and not moved


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", type=Path)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--plans", type=int, help="random plans from all scenarios, instead of seeds of each")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    folders = ("smoke", "consensus")
    paths = options.scenarios or [
        path for name in folders for path in sorted((ROOT / "scenarios" / name).glob("*.yaml"))
    ]
    fine = True
    for index, path in enumerate(paths):
        todo: list[Drawn] = [(str(path), seed) for seed in range(options.seeds)]
        if options.plans is not None:
            share = options.plans // len(paths) + (index < options.plans % len(paths))
            todo = [(str(path), text) for text in by_hypothesis(path, share // 2)]
            todo += [(str(path), seed) for seed in range(share - len(todo))]
        fine &= compared(path.name, todo, options.workers)
    return int(not fine)


if __name__ == "__main__":
    sys.exit(main())
