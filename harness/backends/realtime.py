"""A run in real time: start, clients and faults at once, recovery, final operations, evidence.

The same on every backend whose clock cannot be stepped. Whatever happens in the middle (a failure, Ctrl-C,
the engine's death), what was seen by then is kept, and the cluster is removed before this module lets go.
"""

import asyncio
import json
import re
import signal
import time
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from chaos import _core
from chaos.errors import InfrastructureError
from harness.backends.watching import CHECK, OnlineWatch
from harness.client import History, Home, Network, Operation, Roaming, Setting, jsonl
from harness.cluster import (
    Cluster,
    Collected,
    Death,
    Json,
    NodeView,
    OnProgress,
    Progress,
    RunClock,
    RunResult,
    Skip,
    leader_of,
)
from harness.nemesis import Nemesis, skipped_record
from harness.systems import mcp_manager as system

T = TypeVar("T")

_POLL_S = 0.1
_SETTLE_NS = 1_000_000_000
"""How long after the final operations nodes may take to have applied all of them."""
_TIME = re.compile(rb'^\{"time_ns":(\d+)')
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class LiveCluster(Cluster, Protocol):
    """What a run needs of a cluster besides the protocol that the nemesis uses."""

    clock: RunClock
    epoch_ns: int
    token: str
    lost: asyncio.Event
    problems: list[str]
    deaths: list[Death]

    def client_addresses(self) -> dict[str, str]:
        """Node → the URL at which clients reach it."""

    def builds(self) -> dict[str, str]:
        """Program → version."""

    def info(self) -> Json:
        """What the run was made from."""


class Interruption:
    """SIGINT and SIGTERM while a run is under way: noted, never fatal in the middle of a clean-up.

    The first ends the run early, the second gives up the evidence as well; nothing ever stops the removal.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self.count = 0
        self._changed = asyncio.Event()
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            previous = signal.getsignal(number)
            # Not in the main thread: then the caller's own handlers are all there is.
            with suppress(ValueError, RuntimeError):
                loop.add_signal_handler(number, self._note, number)
                self._previous[number] = previous
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number, previous in self._previous.items():
            loop.remove_signal_handler(number)
            signal.signal(number, previous)

    def _note(self, number: signal.Signals) -> None:
        self.signal = self.signal or number.name
        self.count += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def guard(
        self, job: Coroutine[Any, Any, T], *others: Awaitable[Any], patience: int = 0
    ) -> T | None:
        """The job's result; ``None`` if it was cut short by a signal, or because one of ``others`` ended.

        ``patience``: how many signals it does not mind.
        """
        task = asyncio.ensure_future(job)
        watched = [asyncio.ensure_future(other) for other in others]
        try:
            while not task.done() and self.count <= patience and not any(other.done() for other in watched):
                signalled = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait({task, signalled, *watched}, return_when=asyncio.FIRST_COMPLETED)
                signalled.cancel()
            if task.done():
                return task.result()
            return None
        finally:
            for pending in (task, *watched):
                pending.cancel()
            await asyncio.gather(task, *watched, return_exceptions=True)


async def to_its_end(job: Coroutine[Any, Any, T]) -> T:
    """Awaits a job even if the caller is cancelled meanwhile (by a test's time limit, say): for removals."""
    task = asyncio.ensure_future(job)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()


class CompiledOperations:
    """The plan's operations, from the extension."""

    def __init__(self, compiled: Mapping[str, Any]) -> None:
        self._workload = _core.Workload(json.dumps(compiled))

    def operation(self, client: int, n: int, last_seen: Mapping[str, int | None]) -> Operation | None:
        """See :class:`harness.client.Operations`."""
        drawn = self._workload.operation(client, n, dict(last_seen))
        if drawn is None:
            return None
        return Operation(
            number=drawn["number"],
            think_ns=drawn["think_ns"],
            key=drawn["key"],
            f=drawn["f"],
            value=drawn["value"],
            expected=drawn["expected"],
            told=(json.loads(drawn["argument"]), json.loads(drawn["result"])),
        )

    def key_at(self, key: int, since_start_ns: int) -> str:
        """See :class:`harness.client.Operations`."""
        return self._workload.key_at(key, since_start_ns)

    def last_change(self, key: int, value: int) -> Operation:
        """See :class:`harness.client.Operations`."""
        drawn = self._workload.last_change(key, value)
        told = (json.loads(drawn["argument"]), json.loads(drawn["result"]))
        return Operation(0, drawn["key"], drawn["f"], drawn["value"], drawn["expected"], told=told)

    def home_slot(self, node: str, slot: int) -> int | None:
        """See :class:`harness.client.Operations`."""
        return self._workload.home_slot(node, slot)

    def due_ns(self, begun_ns: int, think_ns: int) -> int:
        """See :class:`harness.client.Operations`."""
        return self._workload.due_ns(begun_ns, think_ns)

    def waited_ns(self, time_ns: int) -> int:
        """See :class:`harness.client.Operations`."""
        return self._workload.waited_ns(time_ns)


class LiveRun:
    """One plan on one cluster."""

    def __init__(
        self,
        backend: str,
        compiled: Mapping[str, Any],
        skips: Sequence[tuple[Mapping[str, Any], Skip]],
        on_progress: OnProgress,
        *,
        stop_at_violation: bool = False,
    ) -> None:
        """``skips``: steps that the backend cannot carry out; ``compiled`` has them no more.

        ``stop_at_violation``: end the run early, as a signal would, once its history is not linearizable.
        """
        self._backend = backend
        self._compiled = compiled
        self._skips = skips
        self._on_progress = on_progress
        self.begun = False
        """Whether the plan's time 0 was reached."""
        self._history: History | None = None
        self._nemesis: Nemesis | None = None
        self._problems: list[str] = []
        self._ready_s = 0.0
        self._run_s = 0.0
        self._network: Network | None = None
        self._watch: OnlineWatch | None = None
        # The online check is of registers; others are judged at the end.
        if stop_at_violation and CHECK in compiled["checks"] and compiled["workload"]["kind"] == "registers":
            self._watch = OnlineWatch(lambda: [] if self._history is None else self._history.events)
        self._stopped: str | None = None

    async def carry_out(self, interruption: Interruption, cluster: LiveCluster, build_s: float) -> RunResult:
        """Runs the plan. Raises only what is a bug of ours, and even then the cluster is removed first."""
        collected = Collected()
        try:
            try:
                await interruption.guard(self._live(cluster), cluster.lost.wait(), *self._watched(cluster))
            except* InfrastructureError as group:
                self._problems += map(str, _leaves(group))
            began_s = time.monotonic()
            self._tell("collect", "reading traces and logs")
            collected = await interruption.guard(cluster.collect(), patience=1) or collected
            collect_s = time.monotonic() - began_s
        finally:
            began_s = time.monotonic()
            self._tell("stop", "removing the cluster")
            await to_its_end(self._remove(cluster))
            teardown_s = time.monotonic() - began_s
        timings = {
            "build_s": build_s,
            "ready_s": self._ready_s,
            "run_s": self._run_s,
            "collect_s": collect_s,
            "teardown_s": teardown_s,
        }
        return self._result(cluster, collected, timings, interruption)

    async def _live(self, cluster: LiveCluster) -> None:
        began_s = time.monotonic()
        self._tell("start", f"starting {len(cluster.nodes)} nodes")
        await cluster.start()
        await cluster.ready()
        self._ready_s = time.monotonic() - began_s
        self._tell("ready", f"{len(cluster.nodes)} nodes, ready after {self._ready_s:.1f} s")

        clock = cluster.clock
        self._network = Network(cluster.client_addresses(), cluster.token)
        setting = Setting.of(self._compiled, CompiledOperations(self._compiled), self._network, clock)
        self._history = setting.history
        workload = self._compiled["workload"]
        roaming = [Roaming(setting, number) for number in range(1, workload["clients"] + 1)]
        homes = [
            Home(setting, node, workload["keys"], workload["home_read_interval_ns"]) for node in cluster.nodes
        ]
        deadline_ns = clock.now_ns() + setting.operation_timeout_ns * 2
        opened = await asyncio.gather(*(client.open_session(deadline_ns) for client in roaming))
        if not all(opened):
            raise InfrastructureError("the cluster has a leader, but clients cannot open their sessions")

        clock.begin_plan()
        self.begun = True
        began_s = time.monotonic()
        try:
            await self._play(cluster, roaming, homes)
        finally:
            self._run_s = time.monotonic() - began_s

    async def _play(self, cluster: LiveCluster, roaming: Sequence[Roaming], homes: Sequence[Home]) -> None:
        """The plan, from its time 0 to the last operation."""
        clock, workload = cluster.clock, self._compiled["workload"]
        self._nemesis = Nemesis(self._compiled, cluster, clock, self._tell_record)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._nemesis.run())
            for client in roaming:
                group.create_task(client.run())
            if workload["home_readers"]:
                for home in homes:
                    group.create_task(home.run())
        healed_ns = self._nemesis.records[-1]["time_ns"]
        self._tell("recovery", "everything is healed; waiting until all nodes agree")
        await _agreed(cluster, healed_ns + self._compiled["timeline"]["recovers_within_ns"])
        keys = range(workload["keys"])
        await asyncio.gather(
            *(_write_all(client, keys[at :: len(roaming)]) for at, client in enumerate(roaming))
        )
        await asyncio.gather(*(home.read_finally() for home in homes))
        await _agreed(cluster, clock.now_ns() + _SETTLE_NS)

    def _watched(self, cluster: LiveCluster) -> list[Coroutine[Any, Any, None]]:
        """What else may end the run."""
        watch = self._watch
        if watch is None:
            return []

        async def stop_at_violation() -> None:
            await watch.until_violation()
            at_s = cluster.clock.now_ns() / 1e9
            self._stopped = f"stopped at {at_s:.3f} s: {watch.violation}, which cannot be explained"
            self._tell("violation", self._stopped)

        return [stop_at_violation()]

    async def _remove(self, cluster: LiveCluster) -> None:
        if self._network is not None:
            await self._network.close()
        self._problems += await cluster.stop()

    def _result(
        self,
        cluster: LiveCluster,
        collected: Collected,
        timings: dict[str, float],
        interruption: Interruption,
    ) -> RunResult:
        records = [skipped_record(step, None, 0, skip.reason) for step, skip in self._skips]
        records += self._nemesis.records if self._nemesis is not None else []
        records.sort(key=lambda record: record["time_ns"])
        history = self._history.jsonl() if self._history is not None else b""
        shift_ns = cluster.clock.shift_ns(cluster.epoch_ns)
        traces: dict[str, bytes] = {}
        notes: list[str] = []
        for node in cluster.nodes:
            deaths = [death for death in cluster.deaths if death.node == node]
            traces[node], found = trace_of(collected.traces.get(node, b""), node, shift_ns, deaths)
            notes += found
        if self._stopped is not None:
            notes.insert(0, self._stopped)
        elif self._watch is not None:
            notes += [f"not watched for a violation: {doubt}" for doubt in self._watch.doubts]
        return RunResult(
            backend=self._backend,
            evidence=_core.Evidence.from_jsonl(history, traces, jsonl(records)),
            logs=collected.logs,
            data=collected.data,
            builds=cluster.builds(),
            info={**cluster.info(), "notes": notes},
            timings=timings,
            skipped=[record for record in records if record["status"] == "skipped"],
            failed=[record for record in records if record["status"] == "failed"],
            deaths=list(cluster.deaths),
            problems=[*self._problems, *cluster.problems, *collected.problems],
            signal=interruption.signal,
            stopped=self._stopped,
        )

    def _tell(self, phase: str, message: str) -> None:
        self._on_progress(Progress(phase, message))

    def _tell_record(self, record: Json) -> None:
        hit = " ".join(record["nodes"]) or "the cluster"
        reason = f" ({record['reason']})" if "reason" in record else ""
        phase = "fault" if record["phase"] == "install" else "heal"
        message = f"{record['kind']} {record['phase']} on {hit}: {record['status']}{reason}"
        self._on_progress(Progress(phase, message, record))


def agree(views: Mapping[str, NodeView]) -> bool:
    """Whether one node leads, and all nodes have applied the same entries to the same state."""
    statuses = [view.status for view in views.values()]
    if leader_of(views.values()) is None or None in statuses:
        return False
    seen = {(status.applied, status.state) for status in statuses if status is not None}
    return len(seen) == 1


def trace_of(
    content: bytes, node: str, shift_ns: int, deaths: Sequence[Death] = ()
) -> tuple[bytes, list[str]]:
    """A node's trace on the record's clock, and notes on what was done to it.

    ``shift_ns`` is added to every time; what comes to lie before 0 becomes 0. A last line without its end
    (the process was killed in the middle of it) is dropped: nothing that followed from it left the node. A
    process that broke down without a `panicked` record of its own gets one, since it could write none.
    """
    notes = []
    whole, _, torn = content.rpartition(b"\n")
    if torn:
        notes.append(f"trace of {node}: its torn last line was dropped")

    def shifted(match: re.Match[bytes]) -> bytes:
        return b'{"time_ns":%d' % max(0, int(match[1]) + shift_ns)

    lines = [_TIME.sub(shifted, line, count=1) for line in whole.split(b"\n") if line]
    for death in deaths:
        if death.exit_code in system.CRASHES:
            notes += _witness(lines, death)
    return b"".join(line + b"\n" for line in lines), notes


def _witness(lines: list[bytes], death: Death) -> list[str]:
    """Adds the record of a breakdown where it belongs: after the last record of the boot that it ended."""
    records = [json.loads(line) for line in lines]
    before = [at for at, record in enumerate(records) if record["time_ns"] <= death.time_ns]
    boot = records[before[-1]]["boot"] if before else 1
    same_boot = [at for at, record in enumerate(records) if record["boot"] == boot]
    if any(records[at]["event"] == "panicked" for at in same_boot):
        return []
    record = {
        "time_ns": death.time_ns,
        "node": death.node,
        "boot": boot,
        "event": "panicked",
        "message": f"the process ended with exit code {death.exit_code}, and nobody had ordered it",
    }
    lines.insert(same_boot[-1] + 1 if same_boot else 0, json.dumps(record, separators=(",", ":")).encode())
    return [f"trace of {death.node}: the harness added its end (exit code {death.exit_code})"]


async def _agreed(cluster: LiveCluster, deadline_ns: int) -> None:
    """Waits until one node leads and all agree, or the time is up: the checks judge which it was."""
    while True:
        if agree(await cluster.observe()) or cluster.clock.now_ns() >= deadline_ns:
            return
        await asyncio.sleep(_POLL_S)


async def _write_all(client: Roaming, keys: Sequence[int]) -> None:
    for key in keys:
        await client.write_finally(key)


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
