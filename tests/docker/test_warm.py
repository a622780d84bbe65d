"""One warm cluster for plan after plan: nothing of one is left for the next, and nothing stays at the end."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import docker
import psutil
import pytest
from docker.models.containers import Container

from chaos.errors import InfrastructureError, UnsupportedError
from chaos.plan import Plan
from chaos.verdict import Verdict
from harness.backends.warm import WarmDocker
from harness.clean import remove_orphans
from harness.cluster import Progress, RunOptions, RunResult
from harness.run import judge_result

PlanOf = Callable[[str], Plan]
Ours = Callable[[int], list[str]]

SHORT = "cluster: {nodes: 3}\nworkload: {duration: 1s}\nlimits: {recovers_within: 5s}\n"
OTHER = SHORT.replace("3}", "3, snapshot_every: 10, snapshot_keep: 5}") + "network: {latency: 0s}\n"
LONG = "cluster: {nodes: 3}\nworkload: {duration: 20s}\n"
ROUGH = """
cluster: {nodes: 5}
workload: {duration: 2s, keys: 3}
network: {latency: 30ms}
heal: 1500ms
faults:
  - {at: 300ms, partition: {isolate: leader, clients: true}}
  - {at: 300ms, latency: {delay: 50ms}}
  - {at: 500ms, kill: n2}
  - {at: 500ms, pause: n3}
limits: {recovers_within: 10s}
"""
HARNESS = """
from chaos.generate import Sampler, draw_plan
from chaos.scenario import load_scenario
from harness.backends.warm import WarmDocker
from harness.cluster import RunOptions
text = "version: 1\\nscenario: endless\\ncluster: {nodes: 3}\\nworkload: {duration: 1s}\\n"
plan = draw_plan(load_scenario(text, "endless.yaml"), Sampler(1))
with WarmDocker(RunOptions(backend="docker"), lambda progress: print(progress.phase, flush=True)) as warm:
    while True:
        warm.run(plan)
"""


class Warm:
    """A warm cluster, what it told, and what tests do to it at a phase of a run."""

    def __init__(self) -> None:
        self.told: list[Progress] = []
        self.at_phase: dict[str, Callable[[], object]] = {}
        self.docker = WarmDocker(RunOptions(backend="docker"), self._tell)

    def _tell(self, progress: Progress) -> None:
        self.told.append(progress)
        act = self.at_phase.pop(progress.phase, None)
        if act is not None:
            act()


@pytest.fixture
def warm(engine: docker.DockerClient) -> Iterator[Warm]:
    del engine
    made = Warm()
    with made.docker:
        yield made
    assert not [progress for progress in made.told if progress.phase == "problem"]


def assert_sound(plan: Plan, result: RunResult) -> None:
    verdict = judge_result(plan, result)
    assert verdict.harness_failures == ()
    wrong = {
        judged.check: judged.reason for judged in verdict.judgements if judged.verdict is Verdict.INVALID
    }
    assert not wrong


def events(result: RunResult, node: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.evidence.trace_jsonl(node).splitlines()]


def assert_began_empty(result: RunResult) -> None:
    """No node had an entry, and no register a value, when the plan began."""
    for node in result.evidence.nodes:
        first = next(event for event in events(result, node) if event["event"] == "started")
        founded = (first["boot"], first["last_index"], first["snapshot_index"])
        assert founded == (1, 1, 1), "entry 1 is the founding itself"
    written: set[str] = set()
    for line in result.evidence.history_jsonl().splitlines():
        event = json.loads(line)
        if event["type"] == "invoke" and event["f"] != "read":
            written.add(event["key"])
        if event["type"] == "ok" and event["f"] == "read" and event["key"] not in written:
            assert event["value"] is None, "it was written before this plan"


def container_of(engine: docker.DockerClient, name: str) -> Container:
    """The container of a name (`n1`, `toxiproxy`) of this process's run."""
    (found,) = engine.containers.list(
        filters={"label": f"io.mcp-chaos.pid={os.getpid()}", "name": f"-{name}$"}
    )
    return found


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return condition()


def test_plans_of_different_sizes_follow_each_other_and_each_begins_with_nothing(
    warm: Warm, plan_of: PlanOf, ours: Ours
) -> None:
    """The second is cut, slow, killed and paused; the third has fewer nodes, other options, no base delay."""
    results = []
    for text in (SHORT, ROUGH, OTHER):
        plan = plan_of(text)
        result = warm.docker.run(plan)
        assert_sound(plan, result)
        assert_began_empty(result)
        results.append(result)
        with pytest.raises(UnsupportedError, match="power_off"):  # which costs the cluster nothing
            warm.docker.run(plan_of(f"{SHORT}faults: [{{at: 100ms, power_off: n1}}]\n"))
    assert len({result.info["run"] for result in results}) == 1, "on one and the same cluster"
    assert len({result.info["subnet"] for result in results}) == 1
    assert [result.info["plans_before"] for result in results] == [0, 1, 2]
    assert [len(result.evidence.nodes) for result in results] == [3, 5, 3]
    assert [result.info["base_latency_ms"]["latency"] for result in results] == [3, 30, 0]
    snapshots = [
        [event["event"] for event in events(result, "n1")].count("snapshot_made") for result in results
    ]
    assert snapshots[2] > 0, "each plan's options are its own"
    assert snapshots[0] == snapshots[1] == 0
    assert set(results[2].logs) == {"n1", "n2", "n3", "toxiproxy"}
    assert len(ours(os.getpid())) <= 2 + 2 * 5, "network, proxy, and at most two generations of nodes"


def test_a_failure_tears_everything_down_and_the_next_plan_begins_anew(
    warm: Warm, plan_of: PlanOf, ours: Ours, engine: docker.DockerClient
) -> None:
    warm.at_phase["ready"] = lambda: threading.Timer(0.3, container_of(engine, "toxiproxy").kill).start()
    broken = warm.docker.run(plan_of(LONG))
    assert any("Toxiproxy ended" in problem for problem in broken.problems)
    assert events(broken, "n1"), "what was seen is kept"
    assert ours(os.getpid()) == []
    plan = plan_of(SHORT)
    after = warm.docker.run(plan)
    assert_sound(plan, after)
    assert after.info["run"] != broken.info["run"]


def test_what_broke_between_two_plans_is_made_anew_once(
    warm: Warm, plan_of: PlanOf, engine: docker.DockerClient
) -> None:
    plan = plan_of(SHORT)
    first = warm.docker.run(plan)
    for container in engine.containers.list(filters={"label": f"io.mcp-chaos.run={first.info['run']}"}):
        container.remove(force=True)
    (network,) = engine.networks.list(filters={"label": f"io.mcp-chaos.run={first.info['run']}"})
    network.remove()
    second = warm.docker.run(plan)
    assert_sound(plan, second)
    assert second.info["run"] != first.info["run"]
    assert any("another cluster is made" in progress.message for progress in warm.told)


def test_what_stays_broken_is_an_infrastructure_error(
    warm: Warm, plan_of: PlanOf, engine: docker.DockerClient, ours: Ours, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm.docker.run(plan_of(SHORT))
    container_of(engine, "toxiproxy").kill()

    def refused(*_: Any, **__: Any) -> None:
        raise InfrastructureError("no network today")

    monkeypatch.setattr("harness.backends.engine.Engine.make_network", refused)
    with pytest.raises(InfrastructureError, match="no network today"):
        warm.docker.run(plan_of(SHORT))
    assert ours(os.getpid()) == []


def test_ctrl_c_ends_the_run_under_way_and_is_noted(warm: Warm, plan_of: PlanOf, ours: Ours) -> None:
    warm.at_phase["ready"] = lambda: threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    result = warm.docker.run(plan_of(LONG))
    assert (result.signal, result.problems) == ("SIGINT", [])
    assert events(result, "n1")
    assert ours(os.getpid()) == []


def test_leaving_removes_everything_whatever_was_raised(
    plan_of: PlanOf, ours: Ours, engine: docker.DockerClient
) -> None:
    del engine
    me = psutil.Process()
    descriptors, threads = me.num_fds(), me.num_threads()

    def defect() -> None:
        with WarmDocker(RunOptions(backend="docker")) as warm:
            warm.run(plan_of(SHORT))
            assert ours(os.getpid())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        defect()
    assert ours(os.getpid()) == []
    assert remove_orphans().total == 0
    assert within(5, lambda: me.num_fds() <= descriptors and me.num_threads() <= threads)


@pytest.mark.usefixtures("engine")
def test_clean_removes_what_a_killed_harness_left_between_two_plans(ours: Ours) -> None:
    with subprocess.Popen([sys.executable, "-c", HARNESS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        starts = (line for line in process.stdout if line.strip() == "start")
        begun = list(itertools.islice(starts, 2))
        process.kill()
    assert len(begun) == 2
    assert len(ours(process.pid)) > 2 + 3, "network, proxy, the nodes of one plan and some of another"
    remove_orphans()
    assert ours(process.pid) == []
