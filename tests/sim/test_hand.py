"""Clusters driven by hand: what was done is a plan, and the plan repeats the run."""

from pathlib import Path

import pytest

from chaos._core import simulate
from chaos.errors import ScenarioError, UsageError
from chaos.plan import Plan
from chaos.verdict import Verdict
from harness.cluster import RunOptions
from harness.hand import ClusterByHand
from harness.hunt.search import FoundError
from harness.run import run_plan
from harness.store import open_bundle


def stale(out: Path) -> ClusterByHand:
    """An old leader that serves what it should not."""
    cluster = ClusterByHand(plants=["stale-read"], out=out, name="stale")
    cluster.advance("500ms")
    cluster.isolate("leader")
    cluster.advance("3s")
    cluster.heal()
    return cluster


def test_time_passes_as_it_is_told_to() -> None:
    cluster = ClusterByHand()
    assert cluster.now_ns == 0
    cluster.advance("1500ms")
    assert cluster.now_ns == 1_500_000_000
    assert cluster.leader in {"n1", "n2", "n3"}
    assert set(cluster.observe()["nodes"]) == {"n1", "n2", "n3"}


def test_an_isolated_leader_is_replaced_and_the_run_is_valid() -> None:
    with ClusterByHand(nodes=5, checks=["linearizable", "raft", "recovers"]) as cluster:
        before = cluster.leader
        record = cluster.isolate("leader", for_="4s")
        assert record["anchor"] == before
        assert cluster.observe()["links_cut"]
        cluster.wait_for(lambda: cluster.leader != before)
        cluster.wait_for(lambda: not cluster.observe()["links_cut"])
    assert cluster.finish().verdict is Verdict.VALID
    assert [step.kind for step in cluster.plan.steps] == ["partition"]


def test_every_kind_of_fault_can_be_done_in_a_scenarios_words() -> None:
    with ClusterByHand() as cluster:
        for step in (
            {"partition": {"isolate": "one"}, "for": "300ms"},
            {"one_way": {"from": "leader", "to": "all"}, "for": "300ms"},
            {"latency": {"delay": "50ms", "jitter": "10ms"}, "for": "300ms"},
            {"pause": "minority", "for": "300ms"},
            {"kill": "one", "for": "300ms"},
            {"power_off": "all", "for": "300ms"},
        ):
            assert cluster.apply(step)["status"] == "done"
            cluster.advance("300ms")
        cluster.wait_for(lambda: cluster.leader)
        cluster.apply({"restart": "one"})
        cluster.wait_for(lambda: cluster.leader)
        cluster.apply({"transfer_leader": "follower"})
        cluster.advance("1s")
    assert len(cluster.plan.steps) == 8


def test_what_was_done_by_hand_is_a_plan_that_repeats_to_the_last_event(tmp_path: Path) -> None:
    cluster = stale(tmp_path)
    cluster.apply({"kill": "minority"})
    cluster.heal()
    cluster.apply({"latency": {"delay": "20ms"}, "for": "1s"})
    cluster.advance("1s")
    cluster.apply({"pause": "leader", "for": "5s"})  # the end of the run comes first
    cluster.advance("100ms")
    cluster.apply({"partition": {"isolate": "leader"}, "optional": True})
    bundle = cluster.keep().bundle
    plan = Plan.from_json(bundle.text("plan.json"))
    assert simulate(plan.compiled_json(), ["stale-read"]).trace_hash == bundle.manifest.trace_hash
    again = run_plan(plan, RunOptions(plants=("stale-read",), out=tmp_path), lambda _: None)
    assert again.bundle.manifest.trace_hash == bundle.manifest.trace_hash


def test_healing_changes_nothing_of_what_was_before() -> None:
    """The run so far is carried out again for it: it must be the same run."""
    cluster, untouched = ClusterByHand(seed=3), ClusterByHand(seed=3)
    for one in (cluster, untouched):
        one.apply({"pause": "one"})
        one.advance("700ms")
        one.isolate("minority")
        one.advance("900ms")
    before = untouched.observe()
    cluster.heal()
    after = cluster.observe()
    assert before["links_cut"]
    assert not after["links_cut"]
    assert after["now_ns"] == before["now_ns"]
    for node, was in before["nodes"].items():
        if was["process"] == "up":
            assert after["nodes"][node]["log"] == was["log"]
    assert {node["process"] for node in after["nodes"].values()} == {"up"}


def test_operations_by_hand_see_and_are_seen(tmp_path: Path) -> None:
    """A write is read elsewhere, a compare-and-set looks first, and all of it is judged."""
    with ClusterByHand(workload={"only": []}, out=tmp_path) as cluster:
        assert cluster.read("k0")["value"] is None
        assert cluster.write("k0", 5)["type"] == "ok"
        assert cluster.read("k0")["value"] == 5
        assert cluster.cas("k0", 4, 6)["error"] == "mismatch"
        assert cluster.cas("k0", 5, 6)["type"] == "ok"
        cluster.isolate("leader", for_="2s")
        under_way = cluster.operate("write", "k1")
        assert cluster.outcome(under_way) is None
        cluster.heal()
        assert cluster.outcome(under_way) is None, "what was done before a heal is still under way"
        cluster.wait_for(lambda: cluster.outcome(under_way))
        with pytest.raises(UsageError, match="no register"):
            cluster.read("k9")
    bundle = cluster.keep().bundle
    history = bundle.records("history.jsonl")
    assert [event["value"] for event in history if event["type"] == "ok" and event["f"] == "read"][:2] == [
        None,
        5,
    ]
    assert len(bundle.records("logs/by-hand.log")) == 6


def test_an_old_leader_is_caught_by_a_read_by_hand(tmp_path: Path) -> None:
    """Write at the new leader, read at the old one: what a person would try first."""
    cluster = ClusterByHand(plants=["stale-read"], workload={"only": []}, out=tmp_path)
    old = cluster.leader
    cluster.write("k0", 1)
    cluster.isolate("leader")
    cluster.wait_for(lambda: cluster.leader != old)
    cluster.write("k0", 2)
    assert cluster.read("k0", node=old)["value"] == 1
    with pytest.raises(FoundError) as raised:
        cluster.check()
    assert "linearizable" in str(raised.value)
    assert "Replay:    by running this again" in str(raised.value)


def test_a_violation_fails_with_words_a_scenario_and_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(FoundError) as raised, stale(tmp_path):
        pass
    words = str(raised.value)
    assert words.startswith("stale violated linearizable on sim, with the planted bug stale-read\n")
    assert "partition: {isolate: leader}" in words
    [path] = tmp_path.iterdir()
    assert f"mcp-chaos replay {path}" in words
    open_bundle(path).verify()


def test_an_expected_violation_is_no_failure_and_its_absence_is_one(tmp_path: Path) -> None:
    with stale(tmp_path) as cluster:
        cluster.expect("linearizable")
    assert not list(tmp_path.iterdir())
    with (
        pytest.raises(AssertionError, match="expected a violation of durable, found none"),
        ClusterByHand() as calm,
    ):
        calm.expect("durable")


def test_an_unknown_verdict_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaos.checks.STEPS", 1)
    with (
        pytest.raises(AssertionError, match="unknown, which is never a pass:\nlinearizable: "),
        ClusterByHand(),
    ):
        pass


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"kil": "leader"}, "apply: kil: found an unknown key 'kil', .* did you mean kill?"),
        ({"kill": "n9"}, "apply: kill: found 'n9', expected a node from n1 to n3"),
        ({"kill": "event"}, "apply: kill: found 'event', expected a selector other than event"),
        ({"at": "1s", "kill": "n1"}, "apply: found `at`, expected none"),
        ({"kill": "n1", "for": "2"}, "apply: for: found '2', expected a duration"),
    ],
)
def test_a_step_that_is_none_is_refused_in_a_line(step: dict[str, str], words: str) -> None:
    cluster = ClusterByHand()
    with pytest.raises(UsageError, match=words.replace("?", r"\?")):
        cluster.apply(step)
    assert cluster.plan.steps == ()


def test_a_step_that_the_clusters_state_does_not_allow_is_refused_unless_it_is_optional() -> None:
    with ClusterByHand() as cluster:
        cluster.apply({"kill": "all", "for": "1s"})
        with pytest.raises(UsageError, match="could not cut the leader off from the other nodes: nobody led"):
            cluster.isolate("leader")
        skipped = cluster.apply({"partition": {"isolate": "leader"}, "optional": True})
        assert skipped["status"] == "skipped"
        cluster.advance("1s")
    assert [step.kind for step in cluster.plan.steps] == ["kill"]


def test_what_cannot_be_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match=r"by hand: workload\.duration is not given"):
        ClusterByHand(workload={"duration": "3s"})
    with pytest.raises(ScenarioError, match=r"by hand: cluster\.nodes: found 99, expected at most 9"):
        ClusterByHand(nodes=99)
    with pytest.raises(UsageError, match='no planted bug "stale-reed"'):
        ClusterByHand(plants=["stale-reed"])
    cluster = ClusterByHand()
    with pytest.raises(UsageError, match="advance: found 2, expected a duration"):
        cluster.advance(2)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a run may last 3600s at most"):
        cluster.advance("61m")
    with pytest.raises(UsageError, match="expect: found 'linear', expected a check"):
        cluster.expect("linear")
    with pytest.raises(AssertionError, match="did not happen within 200ms"):
        cluster.wait_for(lambda: False, within="200ms")
    cluster.finish()
    with pytest.raises(UsageError, match="this run is finished"):
        cluster.advance("1s")
