"""How fast `hunt` searches, end to end, and where the time goes.

The family: five nodes, ten simulated seconds of workload at 100 operations a second, up to five faults (the general
portable family with two values settled). First one process by hand, its parts timed; then the command itself, with
one worker and with two. Medians of several rounds: machines are shared.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from chaos import _core
from chaos.checks import judge
from chaos.generate import plans
from chaos.plan import Plan
from chaos.scenario import load_scenario

SCENARIO = Path(__file__).resolve().parents[1] / "scenarios" / "consensus" / "portable-mix.yaml"
SETTLED = {"cluster: {nodes: {any: [3, 5]}}": "cluster: {nodes: 5}"}


def family() -> str:
    """The scenario's text with five nodes."""
    text = SCENARIO.read_text(encoding="utf-8")
    for open_value, settled in SETTLED.items():
        assert open_value in text, f"{SCENARIO} has changed: {open_value} is gone"
        text = text.replace(open_value, settled)
    return text


def parts(examples: int) -> dict[str, float]:
    """Milliseconds of one process for each plan, by part."""
    scenario = load_scenario(family(), str(SCENARIO))
    spent_s: dict[str, float] = defaultdict(float)

    def timed(part: str, began_s: float) -> float:
        now_s = time.perf_counter()
        spent_s[part] += now_s - began_s
        return now_s

    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @seed(1)
    @given(plan=plans(scenario))
    def one(plan: Plan) -> None:
        now_s = time.perf_counter()
        compiled = plan.compiled_json()
        now_s = timed("compile", now_s)
        evidence = _core.simulate(compiled, [])
        now_s = timed("simulate", now_s)
        judge(evidence, plan)
        now_s = timed("judge (all checks)", now_s)
        evidence.states()
        timed("states", now_s)

    began_s = time.perf_counter()
    one()
    total_s = time.perf_counter() - began_s
    spent_s["draw (Hypothesis)"] = total_s - sum(spent_s.values())
    return {part: seconds / examples * 1e3 for part, seconds in spent_s.items()}


def hunted(workers: int, seconds: int) -> float:
    """Plans a second of the command itself, from its own report."""
    with tempfile.TemporaryDirectory() as directory:
        scenario = Path(directory) / "bench.yaml"
        scenario.write_text(family(), encoding="utf-8")
        command = [
            sys.executable, "-m", "harness.cli", "hunt", str(scenario), "--time", f"{seconds}s",
            "--workers", str(workers), "--state", f"{directory}/state", "--json",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        report = json.loads(done.stdout)
        assert report["exit_code"] == 0, done.stderr
        return float(report["examples"] / report["seconds"])


def main() -> None:
    """Prints what it measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()

    spent_ms = parts(chosen.examples)
    total_ms = sum(spent_ms.values())
    print(f"one process, {chosen.examples} plans: {1e3 / total_ms:.1f} plans/s, of which for each plan")
    for part, milliseconds in sorted(spent_ms.items(), key=lambda item: -item[1]):
        print(f"  {part:<22}{milliseconds:7.2f} ms  {milliseconds / total_ms:4.0%}")
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(chosen.rounds):
        for workers, seen in rates.items():
            seen.append(hunted(workers, chosen.seconds))
    for workers, seen in rates.items():
        listed = ", ".join(f"{rate:.1f}" for rate in seen)
        print(f"hunt, {workers} worker(s): {statistics.median(seen):.1f} plans/s (of {listed})")
    ratio = statistics.median(two / one for one, two in zip(rates[1], rates[2], strict=True))
    print(f"two workers to one: {ratio:.2f} times (median over rounds)")


if __name__ == "__main__":
    main()
