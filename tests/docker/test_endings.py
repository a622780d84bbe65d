"""However a run ends, nothing of it stays: by Ctrl-C, once or many times, or by SIGKILL and `clean`."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from harness.clean import remove_orphans, remove_run
from harness.cluster import Progress, RunResult
from harness.labels import run_filter

Ours = Callable[[int], list[str]]

FORWARDER = """
import asyncio, sys
async def pipe(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def serve(reader, writer):
    engine_reader, engine_writer = await asyncio.open_unix_connection(sys.argv[1])
    await asyncio.gather(pipe(reader, engine_writer), pipe(engine_reader, writer), return_exceptions=True)
async def main():
    server = await asyncio.start_unix_server(serve, sys.argv[2])
    print("listening", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""

HARNESS = """
import asyncio, json, sys
from chaos.generate import Sampler, draw_plan
from chaos.scenario import load_scenario
from harness.backends.warm import run_docker
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


def test_an_engine_that_goes_away_costs_the_run_but_not_the_evidence(
    engine: docker.DockerClient,
    carry_out_async: Callable[..., RunResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not engine.api.base_url.startswith("http+docker://") or os.geteuid() != 0:
        pytest.skip("needs root, and an engine on a local socket: it is cut off by a forwarder in between")
    socket = tmp_path / "docker.sock"
    real = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    forwarder = subprocess.Popen(
        [sys.executable, "-c", FORWARDER, real, str(socket)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert forwarder.stdout is not None
        assert forwarder.stdout.readline() == "listening\n"
        monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")

        def cut_off(progress: Progress) -> None:
            if progress.phase == "ready":
                threading.Timer(1.5, forwarder.kill).start()

        result = carry_out_async("cluster: {nodes: 3}\nworkload: {duration: 60s}\n", cut_off)
        assert any("does not answer any more" in problem for problem in result.problems)
        assert len(result.evidence.history_jsonl().splitlines()) > 20
        assert all(result.evidence.trace_jsonl(node) for node in result.evidence.nodes)
        deadline_s = time.monotonic() + 5
        while engine.api.containers(filters=run_filter(result.info["run"])):
            assert time.monotonic() < deadline_s, "processes of the run go on"
            time.sleep(0.1)  # the engine takes note of their end
        removed = remove_run(engine, result.info["run"])
        assert (len(removed.containers), len(removed.networks)) == (4, 1)
    finally:
        forwarder.kill()
        forwarder.wait()
        assert forwarder.stdout is not None
        forwarder.stdout.close()
