"""The clean build over all families: it must survive every plan, and every goal must be reached.

Plans are drawn at random, as many of each family in scenarios/consensus and scenarios/beyond, carried out in simulation
and judged. Writes docs/clean-run.md (or --out): how many, how fast, and after how many plans each goal under
`sometimes` was reached. With --results FILE each batch is kept as it ends, and the same command goes on from there.
Ends with 1 if anything failed, was unknown, or was not reached within 1,000 plans.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from results import Results, basis
from workers import carried_out

from chaos.generate import Sampler, draw_plan
from chaos.scenario import Scenario, load_scenario
from chaos.verdict import EXIT_INTERRUPTED, Verdict
from harness.cluster import RunOptions
from harness.files import write_whole
from harness.trial import try_plan

ROOT = Path(__file__).resolve().parent.parent
FAMILIES = [
    path for kind in ("consensus", "beyond") for path in sorted((ROOT / "scenarios" / kind).glob("*.yaml"))
]
PLANS = 500_000
BATCH = 250
GOAL_WITHIN = 1_000
MOST_TOLD = 20


@dataclass(frozen=True)
class Ran:
    """One batch of one family."""

    family: str
    batch: int
    plans: int
    seconds: float
    simulated_s: float
    wrong: list[str] = field(default_factory=list)
    """Plans that failed or showed nothing: seed and why."""
    goals: dict[str, int] = field(default_factory=dict)
    """After how many plans of the family each was reached first."""

    @property
    def identity(self) -> tuple[str, int, int]:
        """Which batch it is."""
        return self.family, self.batch, self.plans


@cache
def family(path: str) -> Scenario:
    """Loaded once in each process."""
    return load_scenario(Path(path).read_text(), path)


def run(path: str, batch: int, plans: int) -> Ran:
    """Carries one batch out."""
    scenario = family(path)
    wrong: list[str] = []
    goals: dict[str, int] = {}
    simulated_ns = 0
    began_s = time.process_time()
    for number in range(batch * BATCH, batch * BATCH + plans):
        trial = try_plan(draw_plan(scenario, Sampler(number)), RunOptions())
        if trial.verdict.verdict is not Verdict.VALID:
            doubts = "; ".join(trial.verdict.doubts)
            wrong.append(f"seed {number}: {trial.signature or trial.verdict.verdict.value} {doubts}".rstrip())
        simulated_ns += trial.result.evidence.stats["simulated_ns"]
        for goal in trial.goals:
            goals.setdefault(goal, number + 1)
    seconds = time.process_time() - began_s
    return Ran(scenario.scenario, batch, plans, seconds, simulated_ns / 1e9, wrong, goals)


def page(batches: list[Ran]) -> tuple[str, bool]:
    """What docs/clean-run.md says, and whether all is well."""
    plans = sum(ran.plans for ran in batches)
    seconds = sum(ran.seconds for ran in batches)
    simulated_s = sum(ran.simulated_s for ran in batches)
    wrong = [f"- {ran.family}, {what}" for ran in batches for what in ran.wrong]
    lines = [
        "# The clean build over all families",
        "",
        f"Written by `ci/clean_run.py`. {plans:,} plans, drawn at random from all families in `scenarios/consensus` "
        f"and `scenarios/beyond`: {len(wrong):,} failed or showed nothing.",
        f"{simulated_s / 3600:,.0f} hours of cluster time in {seconds / 3600:,.1f} hours of one core: "
        f"{plans / seconds:,.1f} plans a second, {simulated_s / seconds:,.0f} times real time.",
        "",
        "| family | plans | wrong | plans/s | goals, and after how many plans each was reached first |",
        "|---|---|---|---|---|",
    ]
    well = not wrong
    for path in FAMILIES:
        scenario = family(str(path))
        mine = [ran for ran in batches if ran.family == scenario.scenario]
        if not mine:
            continue
        reached = {
            goal: min(ran.goals[goal] for ran in mine if goal in ran.goals)
            for goal in {goal for ran in mine for goal in ran.goals}
        }
        late = [goal for goal in scenario.sometimes if reached.get(goal, GOAL_WITHIN + 1) > GOAL_WITHIN]
        well = well and not late
        goals = [
            f"{goal} {reached[goal]:,}" if goal in reached else f"{goal} never" for goal in scenario.sometimes
        ]
        count = sum(ran.plans for ran in mine)
        cells = [
            scenario.scenario,
            f"{count:,}",
            f"{sum(len(ran.wrong) for ran in mine):,}",
            f"{count / sum(ran.seconds for ran in mine):,.1f}",
            ", ".join(goals),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    if wrong:
        lines += ["", "## Wrong", "", *wrong[:MOST_TOLD]]
        if len(wrong) > MOST_TOLD:
            lines.append(f"- and {len(wrong) - MOST_TOLD:,} more")
    return "\n".join(lines) + "\n", well


def main() -> None:
    """Runs what is not done yet, writes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plans", type=int, default=PLANS, help="of all families together, at least")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--results", type=Path, help="keep each batch here, and go on from what is there")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "clean-run.md")
    chosen = parser.parse_args()
    each = -(-chosen.plans // len(FAMILIES))
    wanted = [
        (str(path), batch, min(BATCH, each - batch * BATCH))
        for batch in range(-(-each // BATCH))
        for path in FAMILIES
    ]
    results = Results(chosen.results, basis(*(path.read_text() for path in FAMILIES)))
    if results.stale:
        print(f"{chosen.results}: {results.stale} batches of another build or family are passed over")
    names = {(family(path).scenario, batch, plans) for path, batch, plans in wanted}
    batches = [ran for line in results.lines if (ran := Ran(**line)).identity in names]
    done = {ran.identity for ran in batches}
    left = [task for task in wanted if (family(task[0]).scenario, *task[1:]) not in done]
    try:
        for number, ran in enumerate(carried_out(run, left, chosen.workers), 1):
            batches.append(ran)
            results.add(asdict(ran))
            told = f": {json.dumps(ran.wrong)}" if ran.wrong else ""
            print(f"{number:,} of {len(left):,} batches, {ran.family} {ran.batch}{told}", flush=True)
    except KeyboardInterrupt:
        print(f"interrupted after {len(batches):,} batches", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    text, well = page(batches)
    write_whole(chosen.out, text.encode())
    sys.exit(not well)


if __name__ == "__main__":
    main()
