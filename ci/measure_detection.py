"""How soon `hunt` finds each planted bug in the general families, and how small it makes it.

For each bug and seed a campaign with one worker that ends with the first failure: plans and seconds to detection, and
the shrunk plan's steps, nodes and operations. Medians and worst. Ends with 1 if a bug was not found in the time given.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GENERAL = ("scenarios/consensus/random-mix.yaml", "scenarios/consensus/portable-mix.yaml")
COLUMNS = (
    ("plans", "first_example"), ("seconds", "first_after_s"), ("steps", "steps"), ("nodes", "nodes"),
    ("operations", "operations"), ("shrink s", "shrink_s"),
)  # fmt: skip


def campaign(plant: str, seed: int, budget: str) -> dict[str, Any]:
    """The report of one campaign."""
    with tempfile.TemporaryDirectory() as directory:
        command = [
            sys.executable, "-m", "harness.cli", "hunt", *(str(ROOT / path) for path in GENERAL), "--plant", plant,
            "--seed", str(seed), "--first", "--time", budget, "--workers", "1", "--state", directory, "--json",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        report: dict[str, Any] = json.loads(done.stdout)
        return report


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--time", default="5m", help="budget of each campaign")
    parser.add_argument("plants", nargs="*", default=["stale-read", "vote-not-durable", "ack-before-commit"])
    chosen = parser.parse_args()

    missed = 0
    print(f"{'':<20}{'found':>8}", *(f"{title + ' (med/max)':>24}" for title, _ in COLUMNS), sep="")
    for plant in chosen.plants:
        found: list[dict[str, Any]] = []
        for seed in range(chosen.seeds):
            failures = campaign(plant, seed, chosen.time)["failures"]
            if failures:
                found.append(min(failures, key=lambda failure: failure["first_example"]))
        missed += chosen.seeds - len(found)
        cells = [f"{plant:<20}{f'{len(found)}/{chosen.seeds}':>8}"]
        for _, key in COLUMNS:
            seen = [failure[key] for failure in found if failure[key] is not None]
            words = f"{statistics.median(seen):g} / {max(seen):g}" if seen else "never"
            cells.append(f"{words:>24}")
        print("".join(cells), flush=True)
        print(f"{'':<20}{', '.join(sorted({failure['signature'] for failure in found}))}", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
