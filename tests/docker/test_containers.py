"""Plans on real processes: each fault takes hold, its evidence shows it, and nothing stays behind."""

import json
import os
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from chaos.checks import judge
from chaos.errors import InfrastructureError, UnsupportedError, UsageError
from chaos.plan import Plan
from chaos.verdict import Verdict
from harness.cluster import Progress, RunResult

Run = Callable[..., RunResult]
Sound = Callable[[str, RunResult], None]

QUIET = "cluster: {nodes: 5}\nworkload: {duration: 2s}\n"


def busy() -> bool:
    """Whether others use this machine so much that times say nothing about us."""
    return os.getloadavg()[0] > (os.cpu_count() or 1)


def records(result: RunResult) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.evidence.nemesis_jsonl().splitlines()]


def installs(result: RunResult) -> dict[str, dict[str, Any]]:
    """Kind → the record of its installation."""
    return {record["kind"]: record for record in records(result) if record["phase"] == "install"}


def events(result: RunResult, node: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.evidence.trace_jsonl(node).splitlines()]


def history(result: RunResult) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.evidence.history_jsonl().splitlines()]


def containers_of_this_process(engine: docker.DockerClient, ending: str) -> list[Container]:
    """Those whose name ends so; other processes may have runs on the same engine."""
    ours = engine.containers.list(filters={"label": f"io.mcp-chaos.pid={os.getpid()}"})
    return [found for found in ours if str(found.name).endswith(ending)]


@pytest.fixture
def assert_sound(plan_of: Callable[[str], Plan]) -> Callable[[str, RunResult], None]:
    """The harness did its part, and the system did the right thing."""

    def look(text: str, result: RunResult) -> None:
        assert result.problems == []
        assert result.failed == []
        found = {
            judged.check: (judged.verdict, judged.reason) for judged in judge(result.evidence, plan_of(text))
        }
        assert not {check: why for check, why in found.items() if why[0] is not Verdict.VALID}

    return look


def test_a_cluster_is_soon_ready_serves_and_is_soon_gone(carry_out: Run, assert_sound: Sound) -> None:
    result = carry_out(QUIET, collect_data=True)
    assert_sound(QUIET, result)
    assert result.timings["ready_s"] <= (15 if busy() else 4), result.timings
    assert result.timings["collect_s"] + result.timings["teardown_s"] <= (10 if busy() else 3), result.timings
    outcomes = Counter(event["type"] for event in history(result) if not event.get("home"))
    assert outcomes["ok"] > (20 if busy() else 100)
    assert outcomes["info"] == 0
    assert set(result.logs) == {"n1", "n2", "n3", "n4", "n5", "toxiproxy"}
    assert all(result.data.values())
    assert len(result.data) == 5
    finals = [event for event in history(result) if event.get("final") and event["type"] == "ok"]
    assert Counter(event["f"] for event in finals) == {"write": 2, "read": 10}


def test_an_isolated_leader_holds_nothing_up_and_the_cut_holds(carry_out: Run, assert_sound: Sound) -> None:
    text = """
cluster: {nodes: 5}
workload: {duration: 7s}
heal: 5s
faults: [{at: 1s, for: 3s, partition: {isolate: leader}}]
"""
    result = carry_out(text)
    assert_sound(text, result)
    cut = installs(result)["partition"]
    assert cut["status"] == "done"
    assert cut["nodes"] == [cut["anchor"]]
    assert len(cut["evidence"]["links_held"]) == 8
    assert cut["evidence"]["messages_passed"] == 0
    assert cut["evidence"]["messages_elsewhere"] > 0
    others = [
        event for node in result.evidence.nodes if node != cut["anchor"] for event in events(result, node)
    ]
    elected = [event for event in others if event["event"] == "role_changed" and event["role"] == "leader"]
    assert any(cut["time_ns"] < event["time_ns"] for event in elected), "the rest elected another"


def test_killed_nodes_come_back_on_the_same_data(carry_out: Run, assert_sound: Sound) -> None:
    text = """
cluster: {nodes: 3}
workload: {duration: 5s}
heal: 4s
faults:
  - {at: 1s, for: 1s, kill: {node: n2}}
  - {at: 2500ms, restart: {node: n1}}
"""
    result = carry_out(text)
    assert_sound(text, result)
    for kind, node in (("kill", "n2"), ("restart", "n1")):
        assert installs(result)[kind]["evidence"]["details"][node]["exit_code"] == 137
        started = [event for event in events(result, node) if event["event"] == "started"]
        assert [event["boot"] for event in started] == [1, 2]
        assert started[1]["last_index"] + started[1]["snapshot_index"] > 1, "it found its log again"
    assert not result.deaths, "what was ordered is no surprise"


def test_pause_latency_one_way_and_transfer(carry_out: Run, assert_sound: Sound) -> None:
    text = """
cluster: {nodes: 3}
workload: {duration: 7s}
heal: 6s
faults:
  - {at: 500ms, for: 1s, pause: {node: n3}}
  - {at: 2s, for: 1s, latency: {node: n1, delay: 40ms, jitter: 20ms}}
  - {at: 3500ms, for: 1500ms, one_way: {from: n2, to: n3}}
  - {at: 5s, transfer_leader: {to: follower}}
"""
    result = carry_out(text)
    assert_sound(text, result)
    found = installs(result)
    assert found["pause"]["evidence"]["processes"] == {"n3": "paused"}
    times = [event["time_ns"] for event in events(result, "n3")]
    paused_ns = found["pause"]["time_ns"]
    assert not [time for time in times if paused_ns + 50_000_000 < time < paused_ns + 900_000_000]
    assert (found["latency"]["evidence"]["latency_ms"], found["latency"]["evidence"]["jitter_ms"]) == (40, 20)
    assert found["one_way"]["evidence"]["links_held"] == ["n2->n3"]
    transfer = found["transfer_leader"]
    ended = next(record for record in records(result) if (record["step"], record["phase"]) == (3, "heal"))
    led = ended["evidence"]["leader_after"]
    assert led == transfer["nodes"][0] != transfer["evidence"]["leader_before"]


def test_a_limit_holds_clients_back_and_a_reset_breaks_connections(
    carry_out: Run, assert_sound: Sound
) -> None:
    text = """
cluster: {nodes: 3}
workload: {duration: 6s}
heal: 5s
faults:
  - {at: 1s, for: 2s, bandwidth: {node: n3, rate: 1kB/s, clients: true}}
  - {at: 4s, reset: {node: n1, clients: true}}
"""
    result = carry_out(text)
    assert_sound(text, result)
    found = installs(result)
    limited = found["bandwidth"]
    assert limited["evidence"]["bytes_per_s"] == 1_000
    assert "step0" in limited["evidence"]["toxics"]["n3->clients"]
    from_ns, to_ns = limited["time_ns"], limited["time_ns"] + 2_000_000_000
    answered = [
        event["time_ns"] for event in history(result) if event["type"] == "ok" and event.get("node") == "n3"
    ]
    during = sum(from_ns + 100_000_000 < time < to_ns for time in answered)
    before = sum(from_ns - 1_000_000_000 < time < from_ns for time in answered)
    assert during < before, "two seconds of 1 kB/s carry less than one second without a limit"
    assert found["reset"]["status"] == "done"
    lost = [line for line in result.logs["n1"].decode().splitlines() if "connection lost" in line]
    assert lost, "n1 has noticed"


def test_overlapping_faults_compose_and_all_is_healed(carry_out: Run, assert_sound: Sound) -> None:
    text = """
cluster: {nodes: 3}
workload: {duration: 5s}
heal: 4s
faults:
  - {at: 500ms, for: 2s, partition: {isolate: n1, clients: true}}
  - {at: 1s, for: 500ms, one_way: {from: n1, to: n2}}
  - {at: 1s, for: 1s, latency: {node: n2, delay: 30ms, jitter: 10ms}}
  - {at: 2s, kill: {node: n3}}
  - {at: 2500ms, pause: {node: n2}}
"""
    result = carry_out(text)
    assert_sound(text, result)
    ended = {record["kind"]: record for record in records(result) if record["phase"] == "heal"}
    assert ended["one_way"]["evidence"]["links_still_cut"] == [["n1", "n2"]]
    assert installs(result)["latency"]["evidence"]["toxics"]["n1->n2"] == ["base", "cut", "step2"]
    healed = records(result)[-1]
    assert (healed["phase"], healed["status"]) == ("all_healed", "done")
    assert healed["evidence"] == {"do_not_answer": [], "still_in_force": []}


def test_a_plan_that_containers_cannot_carry_out_is_refused_or_thinned(carry_out: Run) -> None:
    text = "cluster: {nodes: 3}\nworkload: {duration: 1s}\nfaults: [{at: 100ms, for: 200ms, power_off: n1}]\n"
    with pytest.raises(UnsupportedError, match="power_off"):
        carry_out(text)
    result = carry_out(text, skip_unsupported=True)
    assert result.problems == []
    assert [record["kind"] for record in result.skipped] == ["power_off"]


def test_what_is_missing_is_said_before_anything_starts(carry_out: Run) -> None:
    with pytest.raises(UsageError, match=r"--plant no-such-bug: .* does not carry it"):
        carry_out(QUIET, plants=("no-such-bug",))
    with pytest.raises(InfrastructureError, match="no image 'mcp-chaos-test/absent'"):
        carry_out(QUIET, toxiproxy_image="mcp-chaos-test/absent")


def test_a_cluster_that_does_not_get_ready_says_what_each_node_did(carry_out: Run) -> None:
    result = carry_out(QUIET, ready_timeout_s=0.01)
    (problem,) = result.problems
    assert "did not get ready" in problem
    assert all(f"{name}: running" in problem for name in ("n1", "n5", "toxiproxy"))


def test_a_death_that_nobody_ordered_is_noticed(carry_out_async: Run, engine: docker.DockerClient) -> None:
    def kill_one(progress: Progress) -> None:
        if progress.phase == "ready":
            (container,) = containers_of_this_process(engine, "-n2")
            threading.Timer(0.5, container.kill).start()

    result = carry_out_async(
        "cluster: {nodes: 3}\nworkload: {duration: 3s}\nlimits: {recovers_within: 1s}\n", kill_one
    )
    (death,) = result.deaths
    assert (death.node, death.exit_code, death.out_of_memory) == ("n2", 137, False)
    assert result.problems == ["n2 was killed by somebody other than this run"]
    assert events(result, "n2"), "what the dead node left is kept"


def test_the_loss_of_the_proxy_ends_the_run_and_keeps_the_evidence(
    carry_out_async: Run, engine: docker.DockerClient
) -> None:
    def kill_proxy(progress: Progress) -> None:
        if progress.phase == "ready":
            (container,) = containers_of_this_process(engine, "-toxiproxy")
            threading.Timer(1, container.kill).start()

    result = carry_out_async("cluster: {nodes: 3}\nworkload: {duration: 20s}\n", kill_proxy)
    assert any("Toxiproxy ended" in problem for problem in result.problems)
    assert 0 < result.timings["run_s"] < 20, "it did not come to its end"
    assert [event for event in history(result) if event["type"] == "ok"]
    assert events(result, "n1")


def test_an_error_in_the_middle_leaves_nothing_behind(
    carry_out_async: Run, ours: Callable[[int], list[str]]
) -> None:
    def fail(progress: Progress) -> None:
        if progress.phase == "ready":
            assert ours(os.getpid())
            raise ZeroDivisionError("a defect")

    with pytest.raises((ZeroDivisionError, ExceptionGroup)):
        carry_out_async(QUIET, fail)
    assert ours(os.getpid()) == []


@pytest.mark.parametrize("kind", ["counters", "lists", "registry", "leases", "transactions"])
def test_clients_of_every_workload_are_judged_by_its_model(
    carry_out: Callable[..., RunResult], plan_of: Callable[[str], Plan], kind: str
) -> None:
    text = (
        f"cluster: {{nodes: 3}}\nworkload: {{kind: {kind}, clients: 3, rate: 40/s, duration: 5s}}\n"
        "heal: 4s\nfaults: [{at: 1s, for: 1s, kill: leader}]\n"
    )
    result = carry_out(text)
    judged = judge(result.evidence, plan_of(text))
    assert {one.check: one.reason for one in judged if one.verdict is not Verdict.VALID} == {}
    assert len({event["f"] for event in history(result) if event["type"] == "ok"}) > 1
