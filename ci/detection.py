"""How soon each planted bug is found over the general families, and how small its failure becomes.

The general families are all of scenarios/consensus: some with a class of bugs in mind (clocks, membership, catching
up). For each bug and seed, plans are taken from the families in turn, carried out in simulation and judged until one
fails: at most --plans of them, or --minutes of one core. The page says where. --way says how plans are chosen: at
random, guided by what earlier ones reached (chaos/corpus.py), or both, to compare. Seconds are of processor time, so a
busy machine changes them little.

Writes docs/detection.md (or --out), as a whole or not at all; all in it but what hangs on time (seconds, searches and
shrinking that time ended) is the same each time. With --results FILE each search is kept as it ends, and the same
command goes on from there. Ends with 1 if a search missed. `make detection` takes 20 seeds.
"""

import argparse
import math
import os
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from results import Results, basis
from workers import carried_out

from chaos._core import PLANTS
from chaos.plan import Plan
from chaos.scenario import Scenario, load_scenario
from chaos.signature import Signature
from chaos.verdict import EXIT_INTERRUPTED
from harness.cluster import RunOptions
from harness.files import write_whole
from harness.hunt.shrinking import shrink_found
from harness.hunt.ways import WAYS
from harness.trial import try_plan

ROOT = Path(__file__).resolve().parent.parent
FAMILIES = ROOT / "scenarios" / "consensus"
SEEDS = 3
PLANS = 20_000
MINUTES = 10.0
SHRINK_S = 20.0
SHRUNK_SEEDS = 3
QUICK_SEEDS, QUICK_PLANS = 2, 1_000
SEEDS_APART = 1_000_003
"""Between the first plans of two seeds: more than a search draws."""
HOW = {"random": "drawn at random", "guided": "guided by what others reached"}

BEYOND = {"loss-unnoticed": "lying-fsync.yaml", "wiped-node-votes": "wiped-node.yaml"}
"""Planted bugs that only a fault beyond Raft's model brings out, with the family in scenarios/beyond that has it.
The general families leave such faults out: a clean cluster need not survive them whole."""

NOT_SHOWN = {
    "an entry of an earlier term committed by counting its copies (§3.6.2)": "raft-rs decides what is committed, "
    "not our layers",
}
"""Published failures that are not planted, with the reasons."""


@dataclass(frozen=True)
class Searched:
    """One search for one bug."""

    plant: str
    seed: int
    way: str
    plans: int
    seconds: float
    scenario: str | None = None
    """Where it was found; None if it was not."""
    signature: str | None = None
    steps: int | None = None
    """Of the smallest plan that fails in the same way."""
    operations: int | None = None


def paths_for(plant: str) -> list[Path]:
    """The files of the families in which a planted bug is looked for."""
    return (
        [ROOT / "scenarios" / "beyond" / BEYOND[plant]]
        if plant in BEYOND
        else sorted(FAMILIES.glob("*.yaml"))
    )


@cache
def families(plant: str) -> list[Scenario]:
    """The families in which a planted bug is looked for: all general ones, unless it needs a fault beyond the model."""
    return [load_scenario(path.read_text(), str(path)) for path in paths_for(plant)]


def search(plant: str, seed: int, way: str, plans: int, seconds: float, shrink_s: float) -> Searched:
    """Takes plans until one fails. The same in any process, but for the seconds."""
    searched = [(scenario, WAYS[way](scenario)) for scenario in families(plant)]
    options = RunOptions(plants=(plant,))
    began_s = time.process_time()
    for number in range(plans):
        scenario, chooser = searched[number % len(searched)]
        plan = chooser.propose(seed * SEEDS_APART + number)
        trial = try_plan(plan, options)
        signature = trial.signature
        took_s = time.process_time() - began_s
        if signature is not None:
            smallest = shrunk(scenario, plan, signature, options, shrink_s) if shrink_s else (None, None)
            return Searched(plant, seed, way, number + 1, took_s, scenario.name, str(signature), *smallest)
        if took_s > seconds:
            return Searched(plant, seed, way, number + 1, took_s)
        chooser.learn(trial)
    return Searched(plant, seed, way, plans, time.process_time() - began_s)


def shrunk(
    scenario: Scenario, plan: Plan, signature: Signature, options: RunOptions, seconds: float
) -> tuple[int, int | None]:
    """Steps and operations of the smallest plan that could be found in that time."""
    found = shrink_found(scenario, plan, signature, None, options, seconds).shrunk.plan
    only = found.document["workload"].get("only")
    return len(found.steps), None if only is None else len(only)


Catalogue = Iterable[tuple[str, str, str, str]]


def page(catalogue: Catalogue, searches: list[Searched], limits: str, shrunk_seeds: int) -> str:
    """All that docs/detection.md says."""
    known = [entry for entry in catalogue if any(one.plant == entry[0] for one in searches)]
    ways = [way for way in WAYS if any(one.way == way for one in searches)]
    lines = [
        "# How soon planted bugs are found",
        "",
        "Written by `make detection` (`ci/detection.py`). Plans are taken from all families in "
        "`scenarios/consensus` in turn;",
        "some were written with a class of bugs in mind (membership, catching up, and `clocks`, which begins with what "
        "reads under a",
        f"lease cannot stand). {limits} Seconds are of one core, and differ from run to run.",
        "Median and worst are over the searches that found it. Steps and operations are those of the shrunk plans, in "
        "the median",
        f"of the first {shrunk_seeds} seeds.",
        "",
        "What only a fault beyond Raft's model brings out is looked for in one family of `scenarios/beyond`: "
        + ", ".join(f"`{name}` in `{file}`" for name, file in BEYOND.items())
        + ".",
    ]
    for way in ways:
        mine = [one for one in searches if one.way == way]
        lines += ["", f"## Plans {HOW[way]}", "", *table(known, mine)]
    if len(ways) == 2:
        lines += ["", "## What guidance is worth", "", *comparison(known, searches)]
    lines += ["", "## Missed", "", *(missed(known, searches) or ["None."])]
    lines += ["", "## What each does, and where it was published", ""]
    lines += [f"- `{name}`: {about}. {source}." for name, _, about, source in known]
    lines += ["", "## Published failures that are not planted", ""]
    lines += [f"- {what}: {why}." for what, why in NOT_SHOWN.items()]
    return "\n".join(lines) + "\n"


def table(known: Catalogue, searches: list[Searched]) -> list[str]:
    """A row for each bug, of the searches of one way."""
    lines = [
        "| planted bug | layer | found | plans: median, worst | seconds: median, worst | steps | operations "
        "| in | seen by |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, layer, *_ in known:
        mine = [one for one in searches if one.plant == name]
        found = [one for one in mine if one.signature is not None]
        seen = by_count(one.signature for one in found if one.signature)
        cells = [
            f"`{name}`",
            layer,
            f"{len(found)} of {len(mine)}",
            median_and_worst([one.plans for one in found]),
            median_and_worst([round(one.seconds, 2) for one in found]),
            middle([one.steps for one in found if one.steps is not None]),
            middle([one.operations for one in found if one.operations is not None]),
            places(one.scenario for one in found if one.scenario),
            ", ".join(f"`{shape}` {count}" for shape, count in seen),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def comparison(known: Catalogue, searches: list[Searched]) -> list[str]:
    """The median plans to detection of both ways; a search that missed counts as longer than any other."""
    lines = [
        "Median plans to detection over all seeds; a search that missed counts as infinite.",
        "",
        "| planted bug | random | guided | random / guided |",
        "|---|---|---|---|",
    ]
    ratios, left_out = [], []
    for name, *_ in known:
        needed: dict[str, list[float]] = defaultdict(list)
        for one in searches:
            if one.plant == name:
                needed[one.way].append(one.plans if one.signature else math.inf)
        random, guided = (statistics.median(needed[way]) if needed[way] else math.nan for way in WAYS)
        ratio = random / guided
        lines.append(f"| `{name}` | {random:g} | {guided:g} | {ratio:.2f} |")
        if math.isfinite(ratio) and ratio > 0:
            ratios.append(ratio)
        else:
            left_out.append(f"`{name}`")
    if ratios:
        lines += ["", f"Geometric mean of {len(ratios)} ratios: {statistics.geometric_mean(ratios):.2f}."]
    if left_out:
        lines += ["", f"No ratio, for one way or both missed it in the median: {', '.join(left_out)}."]
    return lines


def missed(known: Catalogue, searches: list[Searched]) -> list[str]:
    """What was not found."""
    lines = []
    for name, *_ in known:
        for way in WAYS:
            mine = [one for one in searches if (one.plant, one.way) == (name, way)]
            ended = [one.plans for one in mine if one.signature is None]
            if ended:
                lines.append(
                    f"- `{name}`, {HOW[way]}: {len(ended)} of {len(mine)} searches ended without it, after "
                    f"{min(ended):,} plans or more."
                )
    return lines


def by_count(names: Iterable[str]) -> list[tuple[str, int]]:
    """How often each occurs, the most frequent first."""
    return sorted(Counter(names).items(), key=lambda entry: (-entry[1], entry[0]))


def places(families: Iterable[str]) -> str:
    """The family in which most were found, and how many others."""
    counts = by_count(families)
    if not counts:
        return ""
    others = f" and {len(counts) - 1} more" if counts[1:] else ""
    return f"{counts[0][0]} {counts[0][1]}{others}"


def middle(numbers: list[int]) -> str:
    """The median."""
    return f"{statistics.median(numbers):g}" if numbers else ""


def median_and_worst(numbers: list[int] | list[float]) -> str:
    """Both."""
    return f"{statistics.median(numbers):,g}, {max(numbers):,g}" if numbers else "never"


def arguments() -> argparse.Namespace:
    """What the command line says."""
    names = [name for name, *_ in PLANTS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--plans", type=int, help="at most so many for each seed")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of one core, at most, for each seed")
    parser.add_argument("--shrink", type=float, help="seconds for each failure; 0: not at all")
    parser.add_argument(
        "--shrunk-seeds",
        type=int,
        default=SHRUNK_SEEDS,
        help="shrink what so many seeds found, of the first way",
    )
    parser.add_argument("--way", choices=[*WAYS, "both"], default="random", help="how plans are chosen")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"a first look: {QUICK_SEEDS} seeds, {QUICK_PLANS:,} plans, no shrinking",
    )
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--results", type=Path, help="keep each search here, and go on from what is there")
    parser.add_argument("--out", type=Path, help="where to write; docs/detection.md if all are looked for")
    parser.add_argument("plants", nargs="*", help="all of them by default")
    chosen = parser.parse_args()
    if unknown := set(chosen.plants) - set(names):
        parser.error(f"no planted bugs: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if (chosen.plants or chosen.quick) and chosen.out is None:
        parser.error(
            "--out: docs/detection.md is of a whole search for all planted bugs; name a file for less"
        )
    seeds, plans, shrink_s = (QUICK_SEEDS, QUICK_PLANS, 0.0) if chosen.quick else (SEEDS, PLANS, SHRINK_S)
    chosen.seeds = chosen.seeds or seeds
    chosen.plans = chosen.plans or plans
    chosen.shrink = shrink_s if chosen.shrink is None else chosen.shrink
    chosen.out = chosen.out or ROOT / "docs" / "detection.md"
    chosen.plants = chosen.plants or names
    chosen.ways = list(WAYS) if chosen.way == "both" else [chosen.way]
    return chosen


def main() -> None:
    """Searches, writes the page."""
    chosen = arguments()
    limits = (chosen.plans, chosen.minutes, chosen.shrink, chosen.shrunk_seeds, chosen.ways[0])
    results = Results(
        chosen.results,
        basis(limits, *(path.read_text() for name in chosen.plants for path in paths_for(name))),
    )
    if results.stale:
        print(f"{chosen.results}: {results.stale} searches of another build, family or limit are passed over")
    wanted = [
        (name, seed, way) for seed in range(chosen.seeds) for name in chosen.plants for way in chosen.ways
    ]
    done = {(one.plant, one.seed, one.way): one for one in (Searched(**line) for line in results.lines)}

    def shrink_s(key: tuple[str, int, str]) -> float:
        _, seed, way = key
        return chosen.shrink if seed < chosen.shrunk_seeds and way == chosen.ways[0] else 0.0

    left = [(*key, chosen.plans, chosen.minutes * 60, shrink_s(key)) for key in wanted if key not in done]
    try:
        for one in carried_out(search, left, chosen.workers):
            done[one.plant, one.seed, one.way] = one
            results.add(asdict(one))
            print(
                f"{one.plant:<28} seed {one.seed:>2} {one.way} {one.plans:>7,} plans {one.seconds:>8.2f} s  "
                f"{one.signature or 'not found'}",
                flush=True,
            )
    except KeyboardInterrupt:
        print(f"interrupted after {len(done):,} of {len(wanted):,} searches", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    searches = [done[key] for key in wanted]
    words = f"{chosen.seeds} seeds, each at most {chosen.plans:,} plans or {chosen.minutes:g} minutes of one core."
    write_whole(chosen.out, page(PLANTS, searches, words, chosen.shrunk_seeds).encode())
    sys.exit(any(one.signature is None for one in searches))


if __name__ == "__main__":
    main()
