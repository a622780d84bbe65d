"""However a run ends, nothing of it stays: by Ctrl-C, once or many times, or by SIGKILL and `clean`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from harness.clean import remove_orphans

Ours = Callable[[int], list[str]]

HARNESS = """
import asyncio, json, sys
from chaos.generate import Sampler, draw_plan
from chaos.scenario import load_scenario
from harness.backends.containers import run_docker
from harness.cluster import RunOptions
text = "version: 1\\nscenario: ending\\ncluster: {nodes: 3}\\nworkload: {duration: 60s}\\n"
plan = draw_plan(load_scenario(text, "ending.yaml"), Sampler(1)).compiled()
def tell(progress):
    print(progress.phase, flush=True)
result = asyncio.run(run_docker(plan, RunOptions(backend="docker"), tell))
print(json.dumps({
    "signal": result.signal,
    "problems": result.problems,
    "events": len(result.evidence.history_jsonl().splitlines()),
    "traces": [len(result.evidence.trace_jsonl(node)) for node in result.evidence.nodes],
}), flush=True)
"""


@contextmanager
def harness_process() -> Iterator[subprocess.Popen[str]]:
    """A harness with a long run, in a process of its own."""
    process = subprocess.Popen([sys.executable, "-c", HARNESS], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        remove_orphans()


def wait_for(phase: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == phase:
            return
    raise AssertionError(f"the harness ended before {phase}: exit code {process.wait()}")


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("signals", [1, 3])
def test_ctrl_c_removes_all_and_keeps_what_was_seen(ours: Ours, signals: int) -> None:
    with harness_process() as process:
        wait_for("ready", process)
        time.sleep(1)
        for _ in range(signals):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        result = json.loads(output.splitlines()[-1])
        assert result["signal"] == "SIGINT"
        assert result["problems"] == []
        assert result["events"] > 20
        if signals == 1:
            assert all(result["traces"])
        assert ours(process.pid) == []


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("delay_s", [0.1, 0.8])
def test_a_signal_while_the_cluster_starts(ours: Ours, delay_s: float) -> None:
    with harness_process() as process:
        wait_for("start", process)
        time.sleep(delay_s)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert json.loads(output.splitlines()[-1])["signal"] == "SIGTERM"
        assert ours(process.pid) == []


@pytest.mark.usefixtures("engine")
def test_clean_removes_what_a_killed_harness_left_and_spares_a_live_run(ours: Ours) -> None:
    with harness_process() as killed, harness_process() as live:
        wait_for("ready", killed)
        wait_for("ready", live)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        left, alive = ours(killed.pid), ours(live.pid)
        assert len(left) == len(alive) == 3 + 1 + 1, "nodes, proxy, network"
        removed = remove_orphans()
        assert (len(removed.containers), len(removed.networks)) == (4, 1)
        assert any(f"process {live.pid}" in spared for spared in removed.spared)
        assert ours(killed.pid) == []
        assert ours(live.pid) == alive
        assert remove_orphans().total == 0, "a second time there is nothing to do"


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("delay_s", [0.05, 0.3, 0.6, 1.0])
def test_clean_after_sigkill_at_any_moment_of_the_start(ours: Ours, delay_s: float) -> None:
    with harness_process() as process:
        wait_for("start", process)
        time.sleep(delay_s)
        process.kill()
        process.wait()
        # A request that was under way when the harness died may still make its object.
        time.sleep(0.5)
        remove_orphans()
        assert ours(process.pid) == []
