"""How often planted bugs that were found in simulation show on real containers.

For each bug: plans are drawn at random from the families in scenarios/consensus in turn, with what containers cannot do
left out (as `--portable docker` does), and carried out in simulation until one fails, and fails alike under most other
seeds; it is shrunk there, to what fails under as many (`mcp-chaos shrink --other-seeds`); and the smallest plan is
carried out on Docker, --times times, each on fresh nodes. A run shows the bug if it violates the same check; the table
says too how often it was in the same way. Nothing is chosen by how well it does on containers.

Writes docs/on-containers.md (or --out), as a whole or not at all. With --results FILE each bug is kept as it ends, and
the same command goes on from there. Ends with 1 if a bug showed in no run, with 4 if containers could not be had.
"""

import argparse
import statistics
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from results import Results, basis

from chaos._core import PLANTS
from chaos.errors import ChaosError, UnsupportedError
from chaos.generate import Sampler, draw_plan
from chaos.plan import Plan, describe, describe_when
from chaos.portable import restricted
from chaos.scenario import Scenario, load_scenario
from chaos.signature import Signature
from chaos.statistics import wilson_interval
from chaos.verdict import EXIT_HARNESS, EXIT_INTERRUPTED, Verdict
from harness.cluster import RunOptions, support_of
from harness.files import write_whole
from harness.hunt.shrinking import shrink_found
from harness.shrink import seeds_that_show
from harness.trial import executor, try_plan

ROOT = Path(__file__).resolve().parent.parent
FAMILIES = sorted((ROOT / "scenarios" / "consensus").glob("*.yaml"))
PLANS = 2_000
SHRINK_S = 60.0
TIMES = 10
OTHER_SEEDS, MOST = 5, 3
"""A failure is taken that shows under so many of so many other seeds."""
FAILURES = 20
"""… or the one of so many that shows under the most."""


@dataclass(frozen=True)
class Shown:
    """One bug on containers."""

    plant: str
    scenario: str | None = None
    """The family in which it was found; None if it was not."""
    plans: int = 0
    """How many it took in simulation."""
    signature: str | None = None
    steps: list[str] | None = None
    """The smallest plan's, in words."""
    runs: int = 0
    under: int = 0
    """Of the other seeds, those under which the plan that was found fails alike in simulation."""
    again: int = 0
    """Runs that violated the same check."""
    alike: int = 0
    """… and in the same way."""
    others: dict[str, int] | None = None
    """What was seen otherwise, and how often."""
    seconds: float = 0.0
    """Of a run, in the median, its nodes' start included."""


def portable_families() -> list[Scenario]:
    """What containers can carry out of each family; a family that fixes something else is left out."""
    support = support_of("docker", "docker")
    found = []
    for path in FAMILIES:
        try:
            found.append(restricted(load_scenario(path.read_text(), str(path)), support))
        except UnsupportedError as error:
            print(f"{path.stem} is left out: {error}", flush=True)
    return found


def found_in_simulation(
    plant: str, families: list[Scenario], plans: int
) -> tuple[Scenario, Plan, Signature, int, int] | None:
    """The first plan that fails under most seeds: its family, how it fails, under how many, and how many it took."""
    options = RunOptions(plants=(plant,))
    best = None
    failures = 0
    for number in range(plans):
        scenario = families[number % len(families)]
        plan = draw_plan(scenario, Sampler(number))
        signature = try_plan(plan, options).signature
        if signature is None:
            continue
        failures += 1
        under = seeds_that_show(plan, signature, (plant,), OTHER_SEEDS)
        if best is None or under > best[3]:
            best = scenario, plan, signature, under, number + 1
        if under >= MOST or failures == FAILURES:
            break
    return best


def on_containers(plant: str, families: list[Scenario], plans: int, shrink_s: float, times: int) -> Shown:
    """Finds it, shrinks it, and carries the smallest plan out on containers."""
    found = found_in_simulation(plant, families, plans)
    if found is None:
        return Shown(plant, plans=plans)
    scenario, plan, signature, under, tried = found
    smallest = shrink_found(
        scenario,
        plan,
        signature,
        None,
        RunOptions(plants=(plant,)),
        shrink_s,
        other_seeds=OTHER_SEEDS,
        also_on="docker",
    ).shrunk.plan
    again = alike = runs = 0
    others: Counter[str] = Counter()
    took_s = []
    with executor(RunOptions(backend="docker", plants=(plant,))) as carry_out:
        for _ in range(times):
            began_s = time.monotonic()
            trial = carry_out(smallest)
            took_s.append(time.monotonic() - began_s)
            if trial.result.interrupted:
                raise KeyboardInterrupt
            verdict = trial.verdict
            if verdict.harness_failures and verdict.verdict is not Verdict.INVALID:
                print(f"{plant}: {'; '.join(verdict.harness_failures)}", flush=True)
                continue  # it says nothing about the bug
            runs += 1
            violated = {one.check: one.shape for one in verdict.judgements if one.verdict is Verdict.INVALID}
            shape = violated.get(signature.check)
            again += shape is not None
            alike += shape == signature.shape
            if shape is None:
                others[str(trial.signature or verdict.verdict.value)] += 1
            elif shape != signature.shape:
                others[str(Signature(signature.check, shape))] += 1
    return Shown(
        plant=plant,
        scenario=scenario.scenario,
        plans=tried,
        signature=str(signature),
        steps=[f"{describe_when(step)}: {describe(step)}" for step in smallest.steps],
        runs=runs,
        under=under,
        again=again,
        alike=alike,
        others=dict(sorted(others.items())),
        seconds=round(statistics.median(took_s), 1),
    )


def page(shown: list[Shown], words: str) -> str:
    """All that docs/on-containers.md says."""
    found = [one for one in shown if one.signature is not None]
    lines = [
        "# How often planted bugs show on containers",
        "",
        "Written by `make containers` (`ci/on_containers.py`). Each bug was found in simulation, in what containers "
        "can carry out of",
        f"the families in `scenarios/consensus`: the first failure that comes again under {MOST} of {OTHER_SEEDS} "
        f"other seeds (or of {FAILURES} the",
        "one that does under the most). It was shrunk there to what fails under as many of these seeds, and counts, "
        f"whatever becomes of it on containers. {words}",
        "",
        "| planted bug | found as | in | other seeds | runs that showed it | 95 % interval | in the same way "
        "| otherwise | s a run |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        low, high = wilson_interval(one.again, one.runs) if one.runs else (0.0, 1.0)
        cells = [
            f"`{one.plant}`",
            f"`{one.signature}`",
            str(one.scenario),
            f"{one.under} of {OTHER_SEEDS}",
            f"{one.again} of {one.runs}",
            f"{low * 100:.0f} to {high * 100:.0f} %",
            str(one.alike),
            ", ".join(f"{what} {count}" for what, count in (one.others or {}).items()),
            f"{one.seconds:g}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "## The smallest plans", ""]
    lines += [f"- `{one.plant}`: {'; '.join(one.steps or []) or 'no fault at all'}." for one in found]
    missing = [one for one in shown if one.signature is None]
    lines += ["", "## Not found in what containers can do", ""]
    lines += [f"- `{one.plant}`, in {one.plans:,} plans." for one in missing] or ["None."]
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    """What the command line says."""
    names = [name for name, *_ in PLANTS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=TIMES, help="runs of each on containers")
    parser.add_argument("--plans", type=int, default=PLANS, help="at most so many in simulation")
    parser.add_argument("--shrink", type=float, default=SHRINK_S, help="seconds for each")
    parser.add_argument("--results", type=Path, help="keep each bug here, and go on from what is there")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "on-containers.md")
    parser.add_argument("plants", nargs="*", help="all of them by default")
    chosen = parser.parse_args()
    if unknown := set(chosen.plants) - set(names):
        parser.error(f"no planted bugs: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    chosen.plants = chosen.plants or names
    return chosen


def main() -> None:
    """Searches, carries out, writes the page."""
    chosen = arguments()
    families = portable_families()
    limits = (chosen.times, chosen.plans, chosen.shrink)
    results = Results(chosen.results, basis(limits, *(path.read_text() for path in FAMILIES)))
    done = {one.plant: one for one in (Shown(**line) for line in results.lines)}
    for plant in chosen.plants:
        if plant in done:
            continue
        try:
            done[plant] = on_containers(plant, families, chosen.plans, chosen.shrink, chosen.times)
        except ChaosError as error:
            print(f"{plant}: {error}", file=sys.stderr)
            sys.exit(EXIT_HARNESS)
        except KeyboardInterrupt:
            print(f"interrupted at {plant}", file=sys.stderr)
            sys.exit(EXIT_INTERRUPTED)
        results.add(asdict(done[plant]))
        one = done[plant]
        print(f"{plant:<28} {one.again} of {one.runs}  {one.signature or 'not found'}", flush=True)
    shown = [done[plant] for plant in chosen.plants]
    write_whole(chosen.out, page(shown, f"Each smallest plan ran {chosen.times} times.").encode())
    sys.exit(any(one.signature is not None and one.again == 0 for one in shown))


if __name__ == "__main__":
    main()
