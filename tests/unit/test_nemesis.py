"""Steps on a cluster that only remembers: when, on whom, in which order, and what the records say."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import pytest

from chaos import _core
from chaos.errors import InfrastructureError, UnsupportedError
from harness import nemesis
from harness.cluster import (
    CLIENTS,
    PLAN_START_NS,
    Collected,
    Json,
    Link,
    NodeStatus,
    NodeView,
    RunClock,
    leader_of,
    needs_of,
    refuse_loss,
    refuse_unsupported,
    with_recorded_anchors,
    without_steps,
)
from harness.nemesis import Holds, Nemesis, Sample, judge_cut

MS = 1_000_000
NODES = ("n1", "n2", "n3")


def status(node: str, **more: Any) -> NodeStatus:
    base = NodeStatus(node, 1, "follower", 2, "n1", 5, 5, "00", dict.fromkeys(NODES, 0))
    return replace(base, **more)


def view(node: str, **more: Any) -> NodeView:
    return NodeView(node, running=True, paused=False, status=status(node, **more))


class FakeCluster:
    """A cluster whose n1 leads. Messages pass on every link that is not cut, each time it is observed."""

    def __init__(self) -> None:
        self.nodes = NODES
        self.calls: list[tuple[Any, ...]] = []
        self.cut_links: set[Link] = set()
        self.down: set[str] = set()
        self.paused: set[str] = set()
        self.boots = dict.fromkeys(NODES, 1)
        self.received: dict[Link, int] = {}
        self.leader: str | None = "n1"
        self.leaking = False
        self.broken: set[str] = set()

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        if call[0] in self.broken:
            raise InfrastructureError(f"{call[0]} is broken")

    async def start(self) -> None: ...

    async def ready(self) -> None: ...

    async def collect(self) -> Collected:
        return Collected()

    async def stop(self) -> list[str]:
        return []

    async def kill(self, node: str) -> Json:
        self._note("kill", node)
        self.down.add(node)
        self.paused.discard(node)
        return {"running": False, "exit_code": 137}

    async def revive(self, node: str) -> Json:
        self._note("revive", node)
        self.down.discard(node)
        self.boots[node] += 1
        return {"running": True, "boot": self.boots[node]}

    async def pause(self, node: str) -> Json:
        self._note("pause", node)
        self.paused.add(node)
        return {"paused": True, "running": True}

    async def resume(self, node: str) -> Json:
        self._note("resume", node)
        self.paused.discard(node)
        return {"paused": False, "running": True}

    async def cut(self, links: Collection[Link]) -> Json:
        self._note("cut", *sorted(links))
        self.cut_links |= set(links)
        return {}

    async def restore(self, links: Collection[Link]) -> Json:
        self._note("restore", *sorted(links))
        self.cut_links -= set(links)
        return {}

    async def delay(self, name: str, links: Collection[Link], min_ns: int, max_ns: int) -> Json:
        self._note("delay", name, min_ns, max_ns, *sorted(links))
        return {"latency_ms": 1, "jitter_ms": 0}

    async def limit(self, name: str, links: Collection[Link], bytes_per_s: int) -> Json:
        self._note("limit", name, bytes_per_s, *sorted(links))
        return {}

    async def lift(self, name: str, links: Collection[Link]) -> Json:
        self._note("lift", name, *sorted(links))
        return {}

    async def reset(self, links: Collection[Link]) -> Json:
        self._note("reset", *sorted(links))
        return {}

    async def transfer_leader(self, leader: str, to: str) -> Json:
        self._note("transfer", leader, to)
        self.leader = to
        return {"answer": 202, "message": ""}

    async def observe(self) -> dict[str, NodeView]:
        for one in NODES:
            for other in NODES:
                if one != other and (self.leaking or (one, other) not in self.cut_links):
                    self.received[one, other] = self.received.get((one, other), 0) + 1
        return {node: self._view(node) for node in NODES}

    def _view(self, node: str) -> NodeView:
        silent = node in self.down or node in self.paused
        counts = {other: self.received.get((other, node), 0) for other in NODES if other != node}
        role = "leader" if node == self.leader else "follower"
        said = status(node, boot=self.boots[node], role=role, received=counts)
        return NodeView(node, node not in self.down, node in self.paused, None if silent else said)


def step(
    number: int, do: str, at_ms: int, for_ms: int | None, nodes: Collection[str] = (), **more: Any
) -> Json:
    links = [list(link) for link in more.pop("links", ())]
    case = {"do": do, "nodes": list(nodes), "links": links, **more}
    return {
        "id": number,
        "fixed": True,
        "kind": "partition" if do == "cut" else do,
        "when": {"at_ns": at_ms * MS},
        "for_ns": None if for_ms is None else for_ms * MS,
        "anchor": "none",
        "cases": {"*": case},
    }


def for_leader(made: Json) -> Json:
    return {**made, "anchor": "leader", "cases": {"n1": made["cases"]["*"]}}


def carry_out(
    steps: list[Json], heal_ms: int = 300, cluster: FakeCluster | None = None
) -> tuple[FakeCluster, list[Json]]:
    async def run() -> tuple[FakeCluster, list[Json]]:
        target = cluster or FakeCluster()
        clock = RunClock()
        clock.begin_plan()
        made = Nemesis({"steps": steps, "timeline": {"heal_ns": heal_ms * MS}}, target, clock)
        await made.run()
        return target, made.records

    return asyncio.run(run())


def told(records: list[Json]) -> list[tuple[Any, ...]]:
    return [(record["step"], record["phase"], record["status"]) for record in records]


# Holds


def test_only_the_first_takes_and_only_the_last_frees() -> None:
    holds = Holds()
    assert holds.take(["a", "b"], 1) == ["a", "b"]
    assert holds.take(["b", "c"], 2) == ["c"]
    assert holds.release(["a", "b"], 1) == ["a"]
    assert holds.release(["b", "c"], 2) == ["b", "c"]
    assert holds.release(["b"], 2) == [], "what is not held cannot be freed"
    assert not holds.held()


# Steps


def test_a_step_begins_and_ends_when_the_plan_says() -> None:
    cluster, records = carry_out([step(0, "kill", 50, 100, ["n2"])])
    assert cluster.calls == [("kill", "n2"), ("revive", "n2")]
    install, heal, healed = records
    assert install["planned_ns"] == PLAN_START_NS + 50 * MS
    assert 0 <= install["time_ns"] - install["planned_ns"] < 40 * MS
    assert heal["planned_ns"] == PLAN_START_NS + 150 * MS
    assert 100 * MS <= heal["time_ns"] - install["time_ns"] < 150 * MS
    assert install["evidence"]["processes"] == {"n2": "down"}
    assert heal["evidence"] == {"processes": {"n2": "up"}, "details": {"n2": {"running": True, "boot": 2}}}
    assert (healed["phase"], healed["kind"], healed["step"]) == ("all_healed", "all_healed", None)
    assert healed["time_ns"] >= PLAN_START_NS + 300 * MS


def test_what_has_no_end_ends_at_the_heal() -> None:
    cluster, records = carry_out([step(0, "pause", 20, None, ["n3"]), step(1, "kill", 250, 900, ["n2"])])
    assert told(records)[-1] == (None, "all_healed", "done")
    assert {call[0] for call in cluster.calls[2:]} == {"resume", "revive"}
    assert all(record["time_ns"] >= PLAN_START_NS + 300 * MS for record in records[2:])


def test_a_step_on_the_leader_waits_for_one_and_records_it() -> None:
    cluster = FakeCluster()
    cluster.leader = None

    async def elect() -> tuple[FakeCluster, list[Json]]:
        clock = RunClock()
        clock.begin_plan()
        steps = [for_leader(step(0, "kill", 10, 50, ["n1"]))]
        made = Nemesis({"steps": steps, "timeline": {"heal_ns": 400 * MS}}, cluster, clock)
        running = asyncio.create_task(made.run())
        await asyncio.sleep(0.1)
        cluster.leader = "n1"
        await running
        return cluster, made.records

    _, records = asyncio.run(elect())
    assert told(records)[0] == (0, "install", "done")
    assert records[0]["anchor"] == "n1"
    assert records[0]["time_ns"] >= PLAN_START_NS + 90 * MS


def test_a_step_on_a_leader_that_never_comes_is_skipped() -> None:
    cluster = FakeCluster()
    cluster.leader = None
    cluster, records = carry_out([for_leader(step(0, "kill", 10, 50, ["n1"]))], cluster=cluster)
    assert told(records) == [(0, "install", "skipped"), (None, "all_healed", "done")]
    assert "healed before" in records[0]["reason"], "the heal came within the 2 s that it waits"
    assert records[0]["fixed"] is True
    assert cluster.calls == []


def test_a_step_that_is_due_at_the_heal_is_skipped() -> None:
    _, records = carry_out([step(0, "kill", 300, 50, ["n1"])])
    assert told(records) == [(0, "install", "skipped"), (None, "all_healed", "done")]


def test_the_transfer_of_leadership_is_over_at_once() -> None:
    cluster, records = carry_out([step(0, "transfer_leader", 10, None, ["n2"])])
    assert cluster.calls == [("transfer", "n1", "n2")]
    assert told(records) == [(0, "install", "done"), (0, "heal", "done"), (None, "all_healed", "done")]
    assert records[0]["evidence"]["leader_before"] == "n1"
    assert records[1]["evidence"] == {"leader_after": "n2"}


def test_leadership_is_not_handed_to_the_leader() -> None:
    cluster, records = carry_out([step(0, "transfer_leader", 10, None, ["n1"])])
    assert records[0]["reason"] == "n1 led already"
    assert cluster.calls == []


# Composition


def test_a_link_stays_cut_until_every_step_that_cut_it_has_ended() -> None:
    first = [("n1", "n2"), ("n2", "n1")]
    second = [("n1", "n2"), ("n1", "n3")]
    cluster, records = carry_out(
        [step(0, "cut", 10, 100, links=first), step(1, "cut", 50, 120, links=second)]
    )
    assert cluster.calls == [
        ("cut", ("n1", "n2"), ("n2", "n1")),
        ("cut", ("n1", "n3")),
        ("restore", ("n2", "n1")),
        ("restore", ("n1", "n2"), ("n1", "n3")),
    ]
    assert records[1]["evidence"]["links_cut_before"] == 1
    assert records[2]["evidence"]["links_still_cut"] == [["n1", "n2"]]


def test_a_node_stays_down_while_any_step_holds_it_down() -> None:
    cluster, records = carry_out([step(0, "kill", 10, 80, ["n2"]), step(1, "kill", 40, 120, ["n2"])])
    assert cluster.calls == [("kill", "n2"), ("revive", "n2")]
    assert told(records)[2] == (0, "heal", "done")
    assert records[2]["evidence"]["details"]["n2"] == {"held_by_steps": [1]}


def test_the_restart_of_a_node_that_is_held_down_waits_for_that() -> None:
    cluster, _ = carry_out([step(0, "kill", 10, 120, ["n2"]), step(1, "restart", 40, None, ["n2"])])
    assert cluster.calls == [("kill", "n2"), ("revive", "n2")]


def test_a_restart_kills_and_starts_at_once() -> None:
    cluster, records = carry_out([step(0, "restart", 10, None, ["n1", "n2"])])
    assert sorted(cluster.calls) == [("kill", "n1"), ("kill", "n2"), ("revive", "n1"), ("revive", "n2")]
    assert told(records)[:2] == [(0, "install", "done"), (0, "heal", "done")]
    assert records[1]["time_ns"] < PLAN_START_NS + 100 * MS


def test_a_pause_ends_with_its_process() -> None:
    cluster, records = carry_out([step(0, "pause", 10, 150, ["n2"]), step(1, "kill", 40, 40, ["n2"])])
    assert cluster.calls == [("pause", "n2"), ("kill", "n2"), ("revive", "n2")]
    assert told(records)[-2] == (0, "heal", "done")
    assert records[-2]["evidence"]["processes"] == {"n2": "up"}


def test_there_is_nothing_to_pause_in_a_dead_node() -> None:
    cluster, records = carry_out([step(0, "kill", 10, 120, ["n2"]), step(1, "pause", 40, 40, ["n2"])])
    assert (1, "install", "skipped") in told(records)
    assert ("pause", "n2") not in cluster.calls


def test_delays_carry_the_name_of_their_step() -> None:
    links = [("n1", "n2")]
    made = step(3, "latency", 10, 50, links=links, delay_min_ns=20 * MS, delay_max_ns=60 * MS)
    cluster, _ = carry_out([made])
    assert cluster.calls == [
        ("delay", "step3", 20 * MS, 60 * MS, ("n1", "n2")),
        ("lift", "step3", ("n1", "n2")),
    ]


def test_a_limit_stands_and_a_reset_is_over_at_once() -> None:
    links = [("n1", "n2")]
    limited = step(3, "bandwidth", 10, 50, links=links, bytes_per_s=2_000)
    cluster, records = carry_out([limited, step(4, "reset", 20, None, links=links)])
    assert cluster.calls == [
        ("limit", "step3", 2_000, ("n1", "n2")),
        ("reset", ("n1", "n2")),
        ("lift", "step3", ("n1", "n2")),
    ]
    assert told(records)[1:3] == [(4, "install", "done"), (4, "heal", "done")]


# Failure


def test_what_the_harness_cannot_do_is_failed_and_what_it_did_is_healed() -> None:
    cluster = FakeCluster()
    cluster.broken.add("cut")
    cluster, records = carry_out([step(0, "cut", 10, 50, links=[("n1", "n2")])], cluster=cluster)
    assert told(records) == [(0, "install", "failed"), (0, "heal", "done"), (None, "all_healed", "done")]
    assert records[0]["reason"] == "cut is broken"
    assert cluster.calls[-1] == ("restore", ("n1", "n2")), "part of it may have taken hold"


# Evidence of cuts


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nemesis, "GRACE_NS", 20 * MS)


@pytest.mark.usefixtures("quick")
def test_a_cut_is_shown_to_hold_by_the_receivers_counters() -> None:
    links = [("n1", "n2"), (CLIENTS, "n2")]
    _, records = carry_out([step(0, "cut", 10, 100, links=links)])
    evidence = records[0]["evidence"]
    assert evidence["links_held"] == ["n1->n2"]
    assert evidence["messages_passed"] == 0
    assert evidence["messages_elsewhere"] > 0
    assert list(evidence["links_unwatched"]) == ["clients->n2"]


@pytest.mark.usefixtures("quick")
def test_a_cut_through_which_messages_came_is_a_failure_of_the_harness() -> None:
    cluster = FakeCluster()
    cluster.leaking = True
    _, records = carry_out([step(0, "cut", 10, 100, links=[("n1", "n2")])], cluster=cluster)
    assert records[0]["status"] == "failed"
    assert "n1->n2" in records[0]["reason"]


def sample(disturbed: Mapping[str, int] | None = None, **counts: int) -> Sample:
    views = {node: view(node) for node in NODES}
    views["n2"] = view("n2", received={"n1": counts.get("n1", 0), "n3": counts.get("n3", 0)})
    return Sample(views, disturbed or {}, 0)


def test_a_receiver_that_was_disturbed_meanwhile_proves_nothing() -> None:
    # A paused receiver finds what was sent before the cut in its socket when it goes on.
    evidence = judge_cut([("n1", "n2")], [], sample(n1=3), sample({"n2": 1}, n1=9))
    assert not evidence.passed
    assert "n2" in evidence.unwatched["n1->n2"]


def test_a_receiver_that_does_not_answer_proves_nothing() -> None:
    after = sample(n1=3)
    silent = Sample({**after.views, "n2": NodeView("n2", True, False, None)}, {}, 0)
    assert judge_cut([("n1", "n2")], [], sample(n1=3), silent).unwatched == {"n1->n2": "n2 did not answer"}


def test_counters_tell_what_passed_from_what_flowed_elsewhere() -> None:
    evidence = judge_cut([("n1", "n2")], [("n3", "n2")], sample(n1=3, n3=4), sample(n1=5, n3=10))
    assert (evidence.passed, evidence.flowed) == ({"n1->n2": 2}, 6)


# Who leads, and what a backend can do


def test_the_leader_is_the_live_one_with_the_greatest_term() -> None:
    old, new = view("n1", role="leader", term=3), view("n2", role="leader", term=4)
    assert leader_of([old, new, view("n3")]) == "n2"
    assert leader_of([old, replace(new, paused=True)]) == "n1"
    assert leader_of([view("n3")]) is None


def on(made: Json, event: str) -> Json:
    return {**made, "when": {"on": {"event": event, "nth": 1, "node": None}}}


def test_a_plan_that_needs_more_is_refused_by_name() -> None:
    plan = {"steps": [step(0, "kill", 1, 1, ["n1"]), on(step(1, "power_off", 1, 1, ["n1"]), "vote_cast")]}
    needs = needs_of(plan)
    assert refuse_unsupported(needs, "sim", skip=False) == []
    with pytest.raises(UnsupportedError, match=r"faults\[1\].*power_off.*able: sim.*--skip-unsupported"):
        refuse_unsupported(needs, "docker", skip=False)
    skips = refuse_unsupported(needs, "docker", skip=True)
    assert [skip.step for skip in skips] == [1]
    assert [left["id"] for left in without_steps(plan, skips)["steps"]] == [0]


def test_events_are_refused_on_containers() -> None:
    needs = needs_of({"steps": [on(step(0, "kill", 1, 1, ["n1"]), "vote_cast")]})
    with pytest.raises(UnsupportedError, match="vote_cast"):
        refuse_unsupported(needs, "docker", skip=False)


def test_recorded_targets_replace_the_search_for_them() -> None:
    plan = {"steps": [for_leader(step(0, "kill", 1, 1, ["n1"])), for_leader(step(1, "kill", 1, 1, ["n1"]))]}
    settled = with_recorded_anchors(plan, {0: "n1", 1: "n9"})
    assert settled["steps"][0]["anchor"] == "none"
    assert settled["steps"][0]["cases"]["*"]["nodes"] == ["n1"]
    assert settled["steps"][1] == plan["steps"][1], "a node that the plan has no case for"


def test_loss_is_refused_where_tcp_allows_none() -> None:
    lossy = {"network": {"loss_ppm": 10_000}}
    assert refuse_loss(lossy, "sim", skip=False) is None
    assert refuse_loss({"network": {"loss_ppm": 0}}, "docker", skip=False) is None
    with pytest.raises(UnsupportedError, match=r"network\.loss"):
        refuse_loss(lossy, "docker", skip=False)
    assert "left out" in str(refuse_loss(lossy, "docker", skip=True))


def test_the_plan_begins_at_the_same_time_on_every_backend() -> None:
    assert PLAN_START_NS == _core.START_NS
