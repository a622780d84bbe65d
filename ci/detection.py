"""How soon each planted bug is found over the general families, and how small its failure becomes.

The general families are all of scenarios/consensus: none was written for one bug. For each bug and seed, plans are
drawn at random from the families in turn, carried out in simulation and judged until one fails: at most --plans of
them, or --minutes of one core. Seconds are of processor time, so a busy machine changes them little.

Writes docs/detection.md (or --out), as a whole or not at all; all in it but what hangs on time (seconds, searches and
shrinking that time ended) is the same each time. Ends with 1 if a search missed. `make detection` takes 20 seeds.
"""

import argparse
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from chaos.checks import judge
from chaos.generate import Sampler, draw_plan
from chaos.plan import Plan
from chaos.scenario import Scenario, load_scenario
from chaos.signature import Signature, signature_of

ROOT = Path(__file__).resolve().parent.parent
FAMILIES = ROOT / "scenarios" / "consensus"
PLANS = 20_000
MINUTES = 10.0
SHRINK_S = 20.0
SEEDS_APART = 1_000_003
"""Between the first plans of two seeds: more than a search draws."""

NOT_SHOWN = {
    "an entry of an earlier term committed by counting its copies (§3.6.2)": "raft-rs decides what is committed, "
    "not our layers",
    "lease read under clock drift": "waits for clock faults in the simulator",
    "state that depends on the order of a map": "of the same cause as `local-time` (a state machine that is not "
    "a function of its log), and no operation of the workloads walks a map",
    "wiped node that votes, configuration applied at the wrong time, learner counted as voter, removed node that "
    "still votes": "wait for membership changes and lost disks in the simulator",
}
"""Published failures that are not planted, with the reasons."""


@dataclass(frozen=True)
class Searched:
    """One search for one bug."""

    plant: str
    seed: int
    plans: int
    seconds: float
    scenario: str | None = None
    """Where it was found; None if it was not."""
    signature: Signature | None = None
    steps: int | None = None
    """Of the smallest plan that fails in the same way."""
    operations: int | None = None


@cache
def families() -> list[Scenario]:
    """All general families."""
    return [load_scenario(path.read_text(), str(path)) for path in sorted(FAMILIES.glob("*.yaml"))]


def signature_with(plan: Plan, plants: list[str]) -> Signature | None:
    """How the plan fails with these bugs; None if it does not."""
    from chaos._core import simulate  # noqa: PLC0415 each worker loads it by itself

    return signature_of(judge(simulate(plan.compiled_json(), plants), plan))


def search(plant: str, seed: int, plans: int, seconds: float, shrink_s: float) -> Searched:
    """Draws plans until one fails. The same in any process, but for the seconds."""
    scenarios = families()
    began_s = time.process_time()
    for number in range(plans):
        scenario = scenarios[number % len(scenarios)]
        plan = draw_plan(scenario, Sampler(seed * SEEDS_APART + number))
        signature = signature_with(plan, [plant])
        took_s = time.process_time() - began_s
        if signature is not None:
            smallest = shrunk(scenario, plan, signature, plant, shrink_s) if shrink_s else (None, None)
            return Searched(plant, seed, number + 1, took_s, scenario.name, signature, *smallest)
        if took_s > seconds:
            return Searched(plant, seed, number + 1, took_s)
    return Searched(plant, seed, plans, time.process_time() - began_s)


def shrunk(
    scenario: Scenario, plan: Plan, signature: Signature, plant: str, seconds: float
) -> tuple[int, int | None]:
    """Steps and operations of the smallest plan that could be found in that time."""
    from harness.cluster import RunOptions  # noqa: PLC0415 only this part needs the harness
    from harness.hunt.shrinking import shrink_found  # noqa: PLC0415

    found = shrink_found(scenario, plan, signature, None, RunOptions(plants=(plant,)), seconds).shrunk.plan
    only = found.document["workload"].get("only")
    return len(found.steps), None if only is None else len(only)


def table(catalogue: Iterable[tuple[str, str, str]], searches: list[Searched], limits: str) -> str:
    """The page."""
    by_plant: dict[str, list[Searched]] = {}
    for one in searches:
        by_plant.setdefault(one.plant, []).append(one)
    lines = [
        "# How soon planted bugs are found",
        "",
        "Written by `make detection` (`ci/detection.py`). Plans are drawn at random from all families in "
        "`scenarios/consensus` in turn;",
        f"none of them was written for one bug. {limits} Seconds are of one core, and differ from run to run.",
        "Median and worst are over the searches that found it. Steps and operations are those of the shrunk plans, in "
        "the median.",
        "",
        "| planted bug | found | plans: median, worst | seconds: median, worst | steps | operations | seen by |",
        "|---|---|---|---|---|---|---|",
    ]
    misses = []
    known = [entry for entry in catalogue if entry[0] in by_plant]
    for name, _, _ in known:
        mine = by_plant[name]
        found = [one for one in mine if one.signature is not None]
        seen = Counter(f"{one.signature.check}/{one.signature.shape}" for one in found if one.signature)
        cells = [
            f"`{name}`",
            f"{len(found)} of {len(mine)}",
            both([one.plans for one in found]),
            both([round(one.seconds, 2) for one in found]),
            middle([one.steps for one in found if one.steps is not None]),
            middle([one.operations for one in found if one.operations is not None]),
            ", ".join(
                f"`{shape}` {count}" for shape, count in sorted(seen.items(), key=lambda s: (-s[1], s[0]))
            ),
        ]
        lines.append("| " + " | ".join(cells) + " |")
        missed = [one for one in mine if one.signature is None]
        if missed:
            misses.append(
                f"- `{name}`: {len(missed)} of {len(mine)} searches ended without it, after "
                f"{min(one.plans for one in missed):,} plans or more."
            )
    lines += ["", "## Missed", "", *(misses or ["None."])]
    lines += ["", "## What each does, and where it was published", ""]
    lines += [f"- `{name}`: {about}. {source}." for name, about, source in known]
    lines += ["", "## Published failures that are not planted", ""]
    lines += [f"- {what}: {why}." for what, why in NOT_SHOWN.items()]
    return "\n".join(lines) + "\n"


def middle(numbers: list[int]) -> str:
    """The median."""
    return f"{statistics.median(numbers):g}" if numbers else ""


def both(numbers: list[int] | list[float]) -> str:
    """Median and worst."""
    return f"{statistics.median(numbers):,g}, {max(numbers):,g}" if numbers else "never"


def write_whole(path: Path, text: str) -> None:
    """As a whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def main() -> None:
    """Searches, writes the page."""
    from chaos._core import PLANTS  # noqa: PLC0415 workers need it later

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--plans", type=int, default=PLANS, help="at most so many for each seed")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of one core, at most, for each seed")
    parser.add_argument(
        "--shrink", type=float, default=SHRINK_S, help="seconds for each failure; 0: not at all"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="where to write; docs/detection.md if all are looked for")
    parser.add_argument("plants", nargs="*", help="all of them by default")
    chosen = parser.parse_args()
    names = [name for name, _, _ in PLANTS]
    if unknown := set(chosen.plants) - set(names):
        parser.error(f"no planted bugs: {', '.join(sorted(unknown))}; there are {', '.join(names)}")

    if chosen.plants and chosen.out is None:
        parser.error("--out: docs/detection.md is of all planted bugs; name a file for the table of a few")
    out = chosen.out or ROOT / "docs" / "detection.md"

    searches = []
    # Not forked: a process that has simulated before has threads of its own.
    with ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool:
        tasks = [
            pool.submit(search, name, seed, chosen.plans, chosen.minutes * 60, chosen.shrink)
            for name in chosen.plants or names
            for seed in range(chosen.seeds)
        ]
        for task in tasks:
            one = task.result()
            searches.append(one)
            what = f"{one.signature.check}/{one.signature.shape}" if one.signature else "not found"
            print(
                f"{one.plant:<28} seed {one.seed:>2} {one.plans:>7,} plans {one.seconds:>8.2f} s  {what}",
                flush=True,
            )

    limits = f"{chosen.seeds} seeds, each at most {chosen.plans:,} plans or {chosen.minutes:g} minutes of one core."
    write_whole(out, table(PLANTS, searches, limits))
    sys.exit(any(one.signature is None for one in searches))


if __name__ == "__main__":
    main()
