"""Carries a compiled plan's steps out on a cluster in real time, and records what really happened.

Overlapping steps compose: a link stays cut until every step that cut it has ended, a node stays down while
any step holds it down. So the end of a step removes only what that step did. (A pause ends with the process:
a paused node that is killed comes back running.) Everything ends at the plan's heal time.

The meaning of each step is the simulator's (`rust_core/crates/sim/src/world/nemesis/mod.rs`).

That a cut took hold is shown by the receivers' own counters, not by the proxies' word: if anything came over
a link that was cut, the step *failed*, and the run says nothing about the system.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from chaos.errors import InfrastructureError
from harness.cluster import (
    CLIENTS,
    PLAN_START_NS,
    Cluster,
    Json,
    Link,
    NodeView,
    RunClock,
    leader_of,
)

RESOLVE_EVERY_S = 0.02
"""How often a step whose anchor does not exist (nobody leads) is tried again."""
RESOLVE_AT_MOST_NS = 2_000_000_000
GRACE_NS = 250_000_000
"""How long after a cut frames may still arrive that were in the receiver's socket already."""
_TOO_LATE = "every fault was healed before it could be carried out"
_CONNECTIONS_DIE_S = 0.05
"""How long the proxies need to notice that connections are gone."""
_TRANSFER_AT_MOST_S = 2.0


class Holds:
    """Who holds what: for each thing (a link, a node) the steps that keep it in a state."""

    def __init__(self) -> None:
        self._holders: dict[Any, set[int]] = {}

    def take(self, things: Iterable[Any], step: int) -> list[Any]:
        """``step`` holds these from now on. Returns those that nobody held before."""
        fresh = []
        for thing in things:
            holders = self._holders.setdefault(thing, set())
            if not holders:
                fresh.append(thing)
            holders.add(step)
        return fresh

    def release(self, things: Iterable[Any], step: int) -> list[Any]:
        """``step`` lets go. Returns those that nobody holds any more; what it never held is passed over."""
        freed = []
        for thing in things:
            holders = self._holders.get(thing, set())
            if step in holders:
                holders.remove(step)
                if not holders:
                    freed.append(thing)
        return freed

    def drop(self, thing: Any) -> None:
        """Nobody holds it any more, whoever did."""
        self._holders.pop(thing, None)

    def holders(self, thing: Any) -> set[int]:
        """The steps that hold a thing."""
        return set(self._holders.get(thing, ()))

    def held(self) -> set[Any]:
        """Everything that somebody holds."""
        return {thing for thing, holders in self._holders.items() if holders}


@dataclass(frozen=True)
class Sample:
    """The receivers' counters at one moment, and how often each node had been disturbed by then."""

    views: Mapping[str, NodeView]
    disturbed: Mapping[str, int]
    time_ns: int


@dataclass
class CutEvidence:
    """What the counters say about a cut, by link (`n1->n2`)."""

    passed: dict[str, int] = field(default_factory=dict)
    """Messages that came although the link was cut. Anything here is a failure of the harness."""
    held: list[str] = field(default_factory=list)
    """Cut links whose receiver counted nothing."""
    unwatched: dict[str, str] = field(default_factory=dict)
    """Cut links about which the counters say nothing, and why."""
    flowed: int = 0
    """Messages on uncut links between live nodes meanwhile: the counters do count."""
    window_ns: int = 0

    def json(self) -> Json:
        """For the record."""
        return {
            "messages_passed": sum(self.passed.values()),
            "messages_elsewhere": self.flowed,
            "counted_for_ms": self.window_ns // 1_000_000,
            "links_held": self.held,
            "links_passed": self.passed,
            "links_unwatched": self.unwatched,
        }


def judge_cut(cut: Collection[Link], uncut: Collection[Link], before: Sample, after: Sample) -> CutEvidence:
    """Compares the receivers' counters of two moments between which ``cut`` was cut the whole time.

    A counter proves something only if its node was up, running and undisturbed from one to the other.
    """
    evidence = CutEvidence(window_ns=after.time_ns - before.time_ns)
    for link in sorted(cut):
        name = name_of(link)
        if CLIENTS in link:
            evidence.unwatched[name] = "nodes count what peers send"
            continue
        growth = _growth(link, before, after)
        if isinstance(growth, str):
            evidence.unwatched[name] = growth
        elif growth:
            evidence.passed[name] = growth
        else:
            evidence.held.append(name)
    for link in uncut:
        growth = _growth(link, before, after)
        evidence.flowed += growth if isinstance(growth, int) else 0
    return evidence


def _growth(link: Link, before: Sample, after: Sample) -> int | str:
    """By how much the receiver's counter grew, or why it says nothing."""
    sender, receiver = link
    first, last = before.views[receiver].status, after.views[receiver].status
    if first is None or last is None:
        return f"{receiver} did not answer"
    if before.disturbed.get(receiver, 0) != after.disturbed.get(receiver, 0) or first.boot != last.boot:
        return f"{receiver} was stopped or started meanwhile"
    return last.received.get(sender, 0) - first.received.get(sender, 0)


def name_of(link: Link) -> str:
    """``n1->n2``."""
    return f"{link[0]}->{link[1]}"


class Nemesis:
    """One plan's faults on one cluster. :meth:`run` returns when all is healed."""

    def __init__(
        self,
        compiled: Mapping[str, Any],
        cluster: Cluster,
        clock: RunClock,
        on_record: Callable[[Json], None] = lambda _record: None,
    ) -> None:
        self.records: list[Json] = []
        """Nemesis records in the order in which things happened."""
        self._steps: Sequence[Mapping[str, Any]] = compiled["steps"]
        self._heal_ns: int = PLAN_START_NS + compiled["timeline"]["heal_ns"]
        self._cluster = cluster
        self._clock = clock
        self._on_record = on_record
        self._healing = asyncio.Event()
        self._cuts = Holds()
        self._downs = Holds()
        self._pauses = Holds()
        self._links_lock = asyncio.Lock()
        self._node_locks = {node: asyncio.Lock() for node in cluster.nodes}
        self._disturbed = dict.fromkeys(cluster.nodes, 0)

    async def run(self) -> None:
        """Carries out every step, and heals everything at the heal time at the latest."""
        steps = [asyncio.create_task(self._step(step)) for step in self._steps]
        try:
            await self._sleep_until(self._heal_ns)
            self._healing.set()
            await asyncio.gather(*steps)
        finally:
            # Only after a failure or a cancellation is any left; the cluster is torn down then.
            for task in steps:
                task.cancel()
            await asyncio.gather(*steps, return_exceptions=True)
        views = await self._cluster.observe()
        dead = sorted(node for node, view in views.items() if view.status is None)
        leftover = [
            *map(name_of, sorted(self._cuts.held())),
            *sorted(self._downs.held() | self._pauses.held()),
        ]
        self._record(
            {
                "step": None,
                "phase": "all_healed",
                "status": "failed" if leftover else "done",
                "planned_ns": self._heal_ns,
                "time_ns": self._clock.now_ns(),
                "kind": "all_healed",
                "nodes": [],
                "links": [],
                "evidence": {"do_not_answer": dead, "still_in_force": leftover},
                **({"reason": f"still in force: {', '.join(leftover)}"} if leftover else {}),
                "fixed": False,
            }
        )

    async def _step(self, step: Mapping[str, Any]) -> None:
        planned_ns = PLAN_START_NS + step["when"]["at_ns"]
        await self._sleep_until(min(planned_ns, self._heal_ns))
        if self._healing.is_set() or planned_ns >= self._heal_ns:
            self._skip(step, planned_ns, _TOO_LATE)
            return
        anchor, case = await self._resolve(step)
        if self._healing.is_set():
            self._skip(step, planned_ns, _TOO_LATE)
            return
        if case is None:
            why = "nobody led, for 2 s" if anchor is None else f"the plan has no case for {anchor}"
            self._skip(step, planned_ns, why)
            return
        record = self._begin(step, case, "install", planned_ns, anchor)
        try:
            await self._install(step, case, record)
        except InfrastructureError as error:
            record |= {"status": "failed", "reason": str(error)}
        record["time_ns"] = self._clock.now_ns()
        self._record(record)
        if record["status"] == "skipped":
            return  # nothing was done that would have to be undone
        # What failed half-way is healed too: it may have taken hold in part.
        await self._stand(step, case, record)
        due_ns = None if step["for_ns"] is None else planned_ns + step["for_ns"]
        healed = self._begin(step, case, "heal", due_ns or self._heal_ns, anchor)
        try:
            healed["evidence"] = await self._heal(step, case)
        except InfrastructureError as error:
            healed |= {"status": "failed", "reason": str(error)}
        healed["time_ns"] = self._clock.now_ns()
        self._record(healed)

    async def _stand(self, step: Mapping[str, Any], case: Mapping[str, Any], record: Json) -> None:
        """Waits until the fault's time is up, and gathers the evidence that a cut holds."""
        if case["do"] in {"restart", "transfer_leader", "reset"}:
            return
        end_ns = self._heal_ns
        if step["for_ns"] is not None:
            end_ns = min(end_ns, record["time_ns"] + step["for_ns"])
        if case["do"] != "cut" or record["status"] != "done":
            await self._sleep_until(end_ns)
            return
        if end_ns - record["time_ns"] < 2 * GRACE_NS:
            record["evidence"]["counters"] = (
                "it stood too briefly for the receivers' counters to show anything"
            )
            await self._sleep_until(end_ns)
            return
        links = _links(case)
        await self._sleep_until(record["time_ns"] + GRACE_NS)
        whole = [link for link in self._peer_links() if link not in self._cuts.held()]
        before = await self._sample()
        await self._sleep_until(end_ns)
        after = await self._sample()
        still_whole = [link for link in whole if link not in self._cuts.held()]
        evidence = judge_cut(links, still_whole, before, after)
        record["evidence"] |= evidence.json()
        if evidence.passed:
            record |= {
                "status": "failed",
                "reason": f"messages came over links that were cut: {evidence.passed}",
            }

    async def _install(self, step: Mapping[str, Any], case: Mapping[str, Any], record: Json) -> None:
        number = step["id"]
        match case["do"]:
            case "cut":
                async with self._links_lock:
                    fresh = self._cuts.take(_links(case), number)
                    record["evidence"] = await self._cluster.cut(fresh) if fresh else {}
                    if len(fresh) < len(case["links"]):
                        record["evidence"]["links_cut_before"] = len(case["links"]) - len(fresh)
            case "latency":
                async with self._links_lock:
                    record["evidence"] = await self._cluster.delay(
                        f"step{number}", _links(case), case["delay_min_ns"], case["delay_max_ns"]
                    )
            case "bandwidth":
                async with self._links_lock:
                    record["evidence"] = await self._cluster.limit(
                        f"step{number}", _links(case), case["bytes_per_s"]
                    )
            case "reset":
                async with self._connections_die():
                    record["evidence"] = await self._cluster.reset(_links(case))
            case "kill" | "restart":
                async with self._connections_die():
                    record["evidence"] = await self._on_nodes(case, lambda node: self._kill(node, number))
            case "pause":
                record["evidence"] = await self._on_nodes(case, lambda node: self._pause(node, number))
                if "paused" not in record["evidence"]["processes"].values():
                    reason = "there was no process to stop: the nodes were down"
                    record |= {"status": "skipped", "reason": reason}
            case "transfer_leader":
                await self._transfer(case["nodes"][0], record)
            case other:
                raise InfrastructureError(f"this backend has no action {other!r}")

    async def _heal(self, step: Mapping[str, Any], case: Mapping[str, Any]) -> Json:
        number = step["id"]
        match case["do"]:
            case "cut":
                async with self._links_lock:
                    freed = self._cuts.release(_links(case), number)
                    evidence = await self._cluster.restore(freed) if freed else {}
                    held = [list(link) for link in _links(case) if link in self._cuts.held()]
                    return {"links_still_cut": held, **evidence}
            case "latency" | "bandwidth":
                async with self._links_lock:
                    return await self._cluster.lift(f"step{number}", _links(case))
            case "reset":
                return {}
            case "kill" | "restart":
                return await self._on_nodes(case, lambda node: self._revive(node, number))
            case "transfer_leader":
                return {"leader_after": await self._led_by(case["nodes"][0])}
            case _:
                return await self._on_nodes(case, lambda node: self._resume(node, number))

    @asynccontextmanager
    async def _connections_die(self) -> AsyncIterator[None]:
        """No toxic changes meanwhile, nor until the proxies have noticed.

        A connection that dies while a toxic of its link is added or removed can block that proxy for ever
        (Toxiproxy 2.12: the change waits for a stub whose writer has left): so never both at once.
        """
        await self._links_lock.acquire()
        try:
            yield
        finally:
            asyncio.get_running_loop().call_later(_CONNECTIONS_DIE_S, self._links_lock.release)

    # Nodes: one change at a time for each. Each gives the process's state in a word, and details

    async def _kill(self, node: str, step: int) -> Json:
        async with self._node_locks[node]:
            self._pauses.drop(node)
            if not self._downs.take([node], step):
                return {"process": "down", "was": "down"}
            self._disturbed[node] += 1
            return {"process": "down", **await self._cluster.kill(node)}

    async def _revive(self, node: str, step: int) -> Json:
        async with self._node_locks[node]:
            if not self._downs.release([node], step):
                return {"process": "down", "held_by_steps": sorted(self._downs.holders(node))}
            self._disturbed[node] += 1
            seen = await self._cluster.revive(node)
            return {"process": "up" if seen["running"] else "ended", **seen}

    async def _pause(self, node: str, step: int) -> Json:
        async with self._node_locks[node]:
            if self._downs.holders(node):
                return {"process": "down"}
            if not self._pauses.take([node], step):
                return {"process": "paused", "was": "paused"}
            self._disturbed[node] += 1
            seen = await self._cluster.pause(node)
            if not seen["paused"]:
                self._pauses.drop(node)
            return {"process": "paused" if seen["paused"] else "ended", **seen}

    async def _resume(self, node: str, step: int) -> Json:
        async with self._node_locks[node]:
            if not self._pauses.release([node], step):
                held = sorted(self._pauses.holders(node))
                if held:
                    return {"process": "paused", "held_by_steps": held}
                return {"process": "down" if self._downs.holders(node) else "up"}
            self._disturbed[node] += 1
            seen = await self._cluster.resume(node)
            return {"process": "paused" if seen["paused"] else "up" if seen["running"] else "ended", **seen}

    async def _transfer(self, to: str, record: Json) -> None:
        leader = await self._leader()
        if leader is None:
            record |= {"status": "skipped", "reason": "nobody led"}
            return
        if leader == to:
            record |= {"status": "skipped", "reason": f"{to} led already"}
            return
        answer = await self._cluster.transfer_leader(leader, to)
        record["evidence"] = {"leader_before": leader, **answer}
        if not 200 <= answer["answer"] < 300:
            record |= {"status": "skipped", "reason": f"{leader} would not: {answer['message']}"}
            return

    async def _led_by(self, to: str) -> str | None:
        """Who leads once that node does, or its time is up."""
        deadline_ns = self._clock.now_ns() + int(_TRANSFER_AT_MOST_S * 1e9)
        led = None
        while led != to and self._clock.now_ns() < deadline_ns and not self._healing.is_set():
            await asyncio.sleep(RESOLVE_EVERY_S)
            led = leader_of((await self._cluster.observe()).values())
        return led

    # Helpers

    async def _resolve(self, step: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any] | None]:
        """The anchor and what is to be done; no case if there was no anchor in time."""
        cases: Mapping[str, Any] = step["cases"]
        if step["anchor"] == "none":
            return None, cases["*"]
        leader = await self._leader()
        return leader, cases.get(leader) if leader is not None else None

    async def _leader(self) -> str | None:
        """Who leads; waits a while for somebody who does."""
        deadline_ns = self._clock.now_ns() + RESOLVE_AT_MOST_NS
        while True:
            leader = leader_of((await self._cluster.observe()).values())
            if leader is not None or self._healing.is_set() or self._clock.now_ns() >= deadline_ns:
                return leader
            await asyncio.sleep(RESOLVE_EVERY_S)

    async def _on_nodes(self, case: Mapping[str, Any], change: Callable[[str], Awaitable[Json]]) -> Json:
        """Does it to all nodes at the same time; the first error is raised after all have ended."""
        nodes = case["nodes"]
        results = await asyncio.gather(*(change(node) for node in nodes), return_exceptions=True)
        details: dict[str, Json] = {}
        for node, result in zip(nodes, results, strict=True):
            if isinstance(result, BaseException):
                raise result
            details[node] = result
        processes = {node: detail.pop("process") for node, detail in details.items()}
        return {"processes": processes, "details": details}

    async def _sample(self) -> Sample:
        views = await self._cluster.observe()
        return Sample(views, dict(self._disturbed), self._clock.now_ns())

    def _peer_links(self) -> list[Link]:
        nodes = self._cluster.nodes
        return [(one, other) for one in nodes for other in nodes if one != other]

    async def _sleep_until(self, time_ns: int) -> None:
        """Until that time on the record's clock, or until everything is to be healed."""
        wait_s = (time_ns - self._clock.now_ns()) / 1e9
        if wait_s <= 0:
            return
        try:
            await asyncio.wait_for(self._healing.wait(), wait_s)
        except TimeoutError:
            return

    def _begin(
        self,
        step: Mapping[str, Any],
        case: Mapping[str, Any],
        phase: str,
        planned_ns: int,
        anchor: str | None,
    ) -> Json:
        return {
            "step": step["id"],
            "phase": phase,
            "status": "done",
            "planned_ns": planned_ns,
            "time_ns": 0,
            "kind": step["kind"],
            "nodes": list(case["nodes"]),
            "links": [list(link) for link in case["links"]],
            **({"anchor": anchor} if anchor is not None else {}),
            "evidence": {},
            "fixed": step["fixed"],
        }

    def _skip(self, step: Mapping[str, Any], planned_ns: int, reason: str) -> None:
        self._record(skipped_record(step, planned_ns, self._clock.now_ns(), reason))

    def _record(self, record: Json) -> None:
        self.records.append(record)
        self._on_record(record)


def skipped_record(step: Mapping[str, Any], planned_ns: int | None, time_ns: int, reason: str) -> Json:
    """The record of a step that was not carried out."""
    return {
        "step": step["id"],
        "phase": "install",
        "status": "skipped",
        "planned_ns": planned_ns,
        "time_ns": time_ns,
        "kind": step["kind"],
        "nodes": [],
        "links": [],
        "reason": reason,
        "fixed": step["fixed"],
    }


def _links(case: Mapping[str, Any]) -> list[Link]:
    return [(source, target) for source, target in case["links"]]
