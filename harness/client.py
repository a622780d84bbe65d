"""Workload clients on real nodes: what the simulator's are (`rust_core/crates/sim/src/clients`), over HTTP.

A roaming client keeps a session, follows hints to the leader and tries again elsewhere; a home reader only
ever asks its own node, so that somebody notices what a cut-off node still says.

What is kept apart with care: an operation that certainly had no effect (`fail`) and one of which nobody knows
(`info`). A request counts as sent from the moment its first byte may have left; an attempt that was sent and
not turned away may still take effect at any later time, however often the client tries again.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import aiohttp

from chaos._core import Expirations
from chaos.errors import InfrastructureError
from chaos.workload import READS
from harness.cluster import PLAN_START_NS, Json, RunClock
from harness.systems import mcp_manager as system
from harness.systems.mcp_manager import Kind, Reply, Request

PAUSE_NS = 20_000_000
"""How long a client waits before it asks again after it was turned away."""
MAX_HOPS = 3
"""How many hints a client follows in one attempt."""
PROCESS_STEP = 1_000
"""By how much a client's process number grows after an unknown outcome."""
FIRST_HOME_PROCESS = 500
"""The process number of n1's home reader."""

_ERRORS: Mapping[Kind, str] = {
    Kind.NOT_LEADER: "not_leader",
    Kind.UNAVAILABLE: "unavailable",
    Kind.SESSION_EXPIRED: "session_expired",
    Kind.STALE_SEQUENCE: "stale_sequence",
    Kind.MISMATCH: "mismatch",
    Kind.HELD: "held",
    Kind.NOT_HELD: "not_held",
    Kind.NOT_FOUND: "not_found",
    Kind.UNKNOWN: "connection_reset",
    Kind.NOT_SENT: "connection_refused",
    Kind.NO_ANSWER: "timeout",
    Kind.REFUSED: "refused",
}
"""The simulator's clients use the same words."""
_OBSERVATIONS = frozenset({Kind.HELD, Kind.NOT_HELD, Kind.NOT_FOUND})
"""Failures that have seen something, and went through the log."""


@dataclass(frozen=True)
class Operation:
    """What a client does next, as the plan has it."""

    think_ns: int
    """From the beginning of the client's operation before to the beginning of this one."""
    key: str
    f: str
    """`read`, `write`, `cas`, or another workload's."""
    value: int | None
    """What is written, appended or added."""
    expected: int | None = None
    """What a `cas` expects."""
    number: int | None = None
    """Which of the client's operations it is, from 1, those that the plan leaves out included.

    None: it is not of the workload, but of the recovery.
    """
    told: tuple[Any, Any] | None = None
    """What the history has on its invocation, and once it is done; None for the registers' own, which say it."""

    @property
    def argument(self) -> Any:
        """What the history has on its invocation."""
        if self.told is not None:
            return self.told[0]
        return [self.expected, self.value] if self.f == "cas" else self.value

    @property
    def result(self) -> Any:
        """What the history has once it is done, but for what it found."""
        return self.argument if self.told is None else self.told[1]


class Operations(Protocol):
    """The plan's operations: pure functions of client and number, in Rust for both backends."""

    def operation(self, client: int, n: int, last_seen: Mapping[str, int | None]) -> Operation | None:
        """The n-th operation (from 0) of a client (from 1) that last saw these values; None after the last."""

    def key_at(self, key: int, since_start_ns: int) -> str:
        """What clients work on in place of the key of this number, so long after the plan's start."""

    def last_change(self, key: int, value: int) -> Operation:
        """What is done in place of the key of this number once all faults are healed."""

    def home_slot(self, node: str, slot: int) -> int | None:
        """The first slot, from ``slot`` (from 1) on, in which a home reader reads; None after the last."""

    def due_ns(self, begun_ns: int, think_ns: int) -> int:
        """When what follows an operation begun at ``begun_ns``, from the plan's start, is due after a think time."""

    def waited_ns(self, time_ns: int) -> int:
        """When an operation may begin that could begin then: then, or once it is quiet no more."""


class History:
    """What clients saw, in the order in which they saw it."""

    def __init__(self, clock: RunClock, expirations: Expirations | None = None) -> None:
        """``expirations``: of leases, which end without anybody's word."""
        self.events: list[Json] = []
        self._clock = clock
        self._expirations = expirations

    def add(self, process: int, kind: str, f: str, key: str, value: Any, **more: Any) -> None:
        """Appends an event, behind leases that may have ended. Fields of ``more`` that are null or false are left out.

        What somebody hears after a lease's end may follow from it, so its end stands before that.
        """
        if self._expirations is not None:
            for ended in json.loads(self._expirations.ended(self._clock.now_ns())):
                self.events.append({**ended, "index": len(self.events)})
        event = {
            "index": len(self.events),
            "time_ns": self._clock.now_ns(),
            "process": process,
            "type": kind,
            "f": f,
            "key": key,
            "value": value,
        }
        event |= {
            name: content for name, content in more.items() if content is not None and content is not False
        }
        self.events.append(event)
        if self._expirations is not None:
            self._expirations.see(json.dumps(event))

    def jsonl(self) -> bytes:
        """`history.jsonl`."""
        return jsonl(self.events)


def jsonl(records: list[Json]) -> bytes:
    """Records as JSON Lines."""
    return "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records).encode()


class Network:
    """Sends requests to nodes through their clients' links."""

    def __init__(self, addresses: Mapping[str, str], token: str) -> None:
        """``addresses``: node → base URL."""
        self.nodes = tuple(addresses)
        self._addresses = addresses
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_mark_as_sent)
        self._session = aiohttp.ClientSession(
            headers=system.authorization(token),
            connector=aiohttp.TCPConnector(limit=0),
            trace_configs=[trace],
        )

    async def send(self, node: str, request: Request, timeout_ns: int) -> Reply:
        """The reply, or how it failed: before anything was sent, or after."""
        # aiohttp repeats some requests by itself on a new connection. Then the last error may be "refused"
        # although the first try was sent; so what counts is whether anything ever was.
        sent = SimpleNamespace(any=False)
        timeout = aiohttp.ClientTimeout(total=max(timeout_ns, 1) / 1e9)
        try:
            async with self._session.request(
                request.method,
                self._addresses[node] + request.path,
                json=request.body,
                timeout=timeout,
                trace_request_ctx=sent,
            ) as answer:
                return system.interpret(answer.status, await answer.read())
        except TimeoutError:
            return Reply(Kind.NO_ANSWER if sent.any else Kind.NOT_SENT, message="timeout")
        except (aiohttp.ClientError, OSError) as error:
            return Reply(
                Kind.UNKNOWN if sent.any else Kind.NOT_SENT, message=f"{type(error).__name__}: {error}"
            )

    async def close(self) -> None:
        """Closes all connections."""
        await self._session.close()


async def _mark_as_sent(_session: aiohttp.ClientSession, context: SimpleNamespace, _parameters: Any) -> None:
    context.trace_request_ctx.any = True


@dataclass(frozen=True)
class Setting:
    """What all clients of a run know. Times are nanoseconds."""

    operations: Operations
    network: Network
    clock: RunClock
    history: History
    stop_ns: int
    """On the record's clock: no operation begins at it or later, but the final ones."""
    attempt_timeout_ns: int
    operation_timeout_ns: int
    value_bytes: int = 0
    """The least size of a stored value."""
    kind: str = "registers"
    """What clients work on."""
    lease_ns: int = 2_000_000_000
    """How long a lease lasts."""

    @staticmethod
    def of(
        compiled: Mapping[str, Any], operations: Operations, network: Network, clock: RunClock
    ) -> "Setting":
        """The setting of a compiled plan."""
        workload = compiled["workload"]
        return Setting(
            operations=operations,
            network=network,
            clock=clock,
            history=History(clock, _expirations(compiled)),
            stop_ns=PLAN_START_NS + compiled["timeline"]["workload_ns"],
            attempt_timeout_ns=workload["attempt_timeout_ns"],
            operation_timeout_ns=workload["operation_timeout_ns"],
            value_bytes=workload.get("value_bytes", 0),
            kind=workload["kind"],
            lease_ns=workload.get("lease_ns", 2_000_000_000),
        )

    def due_ns(self, begun_ns: int, think_ns: int) -> int:
        """When an operation begins, on the record's clock, after one begun at ``begun_ns``: not before now."""
        due_ns = self.operations.due_ns(begun_ns - PLAN_START_NS, think_ns)
        return PLAN_START_NS + self.operations.waited_ns(max(due_ns, self.clock.now_ns() - PLAN_START_NS))

    def is_quiet(self, time_ns: int) -> bool:
        """Whether no client begins anything at that time."""
        since_ns = time_ns - PLAN_START_NS
        return self.operations.waited_ns(since_ns) > since_ns

    def as_read(self, key: str, reply: Reply | None = None) -> Any:
        """What the history says of a read: of one that is not answered yet, or of what it found."""
        found = None
        if reply is not None and reply.kind is not Kind.NOT_FOUND:
            found = system.found(self.kind, reply, self.value_bytes)
        return system.as_told(self.kind, key, found)


def _expirations(compiled: Mapping[str, Any]) -> Expirations | None:
    workload = compiled["workload"]
    # Containers share the machine's clock, which no fault sets.
    return Expirations(workload["lease_ns"]) if workload["kind"] == "leases" else None


@dataclass
class _Task:
    """What is under way: the opening of a session, or one operation with all its attempts."""

    deadline_ns: int
    attempt_deadline_ns: int = 0
    hops: int = 0
    in_doubt: bool = False
    """An attempt was sent and not turned away: its effect is unknown."""
    error: str = "timeout"


class Roaming:
    """One roaming client: one operation at a time."""

    def __init__(self, setting: Setting, number: int) -> None:
        """``number``: from 1."""
        self._setting = setting
        self._number = number
        self._process = number - 1
        self._at = (number - 1) % len(setting.network.nodes)
        self._session: int | None = None
        self._sequence = 0
        self._n = 0
        """Operations of the workload begun so far."""
        self._last_begun = 0
        """The number of the operation begun last; those left out count, and the final ones go on counting."""
        self._seen: dict[str, int | None] = {}

    async def open_session(self, deadline_ns: int) -> bool:
        """Opens a session. False if none could be opened in time."""
        self._session, self._sequence = None, 0
        reply = await self._settle(system.open_session(), _Task(deadline_ns))
        if reply is None or reply.kind is not Kind.OK:
            return False
        self._session = reply.client
        return True

    async def run(self) -> None:
        """Does what the plan has for this client, from the plan's start to the workload's end."""
        setting = self._setting
        begun_ns = PLAN_START_NS
        while True:
            # What it does may depend on what it has seen by then; when it does it does not.
            coming = setting.operations.operation(self._number, self._n, self._seen)
            if coming is None:
                return
            due_ns = setting.due_ns(begun_ns, coming.think_ns)
            if due_ns >= setting.stop_ns:
                return
            await _sleep_until(setting.clock, due_ns)
            # An operation does not begin without a session, which may take as long as nobody leads.
            if self._session is None and not await self.open_session(setting.stop_ns):
                return
            begun_ns = setting.clock.now_ns()
            if begun_ns >= setting.stop_ns:
                return
            operation = setting.operations.operation(self._number, self._n, self._seen)
            assert operation is not None, "what is coming does not hang on what the client has seen"
            assert operation.number is not None, "it is of the workload"
            self._n += 1
            self._last_begun = operation.number
            await self._operate(operation)

    async def write_finally(self, key: int) -> None:
        """After the workload's end: one change, marked as final."""
        deadline_ns = self._setting.clock.now_ns() + self._setting.operation_timeout_ns
        self._last_begun += 1
        value = self._number * 1_000_000 + self._last_begun
        change = self._setting.operations.last_change(key, value)
        if self._session is None and not await self.open_session(deadline_ns):
            history, node = self._setting.history, self._setting.network.nodes[self._at]
            for kind, more in (("invoke", {}), ("fail", {"error": "no_session"})):
                history.add(
                    self._process, kind, change.f, change.key, change.argument, node=node, final=True, **more
                )
            return
        await self._operate(change)

    async def _operate(self, operation: Operation) -> None:
        """One operation, from its invocation to its outcome."""
        setting = self._setting
        reads = operation.f in READS
        if not reads:
            self._sequence += 1
        argument = setting.as_read(operation.key) if reads else operation.argument
        more: Json = {"client": None, "sequence": None}
        if operation.number is None:
            more |= {"final": True}
        else:
            more |= {"op": f"c{self._number}.{operation.number}"}
        if not reads:
            more |= {"client": self._session, "sequence": self._sequence}

        def record(kind: str, value: Any, **extra: Any) -> None:
            node = self._setting.network.nodes[self._at]
            setting.history.add(
                self._process, kind, operation.f, operation.key, value, node=node, **more, **extra
            )

        record("invoke", argument)
        task = _Task(setting.clock.now_ns() + setting.operation_timeout_ns)
        try:
            reply = await self._settle(self._request(operation), task)
        except (asyncio.CancelledError, InfrastructureError):
            # The run is being ended with the operation under way: nobody will know.
            record("fail" if reads else "info", argument, error="interrupted")
            raise
        if (
            operation.f == "txn"
            and reply is not None
            and reply.kind is Kind.OK
            and not system.answers(argument, reply)
        ):
            # What cannot be understood says nothing of the effect.
            reply, task.in_doubt, task.error = None, True, "unexpected_answer"
        kind = reply.kind if reply is not None else None
        if reply is not None and (kind is Kind.OK or (reads and kind is Kind.NOT_FOUND)):
            result = setting.as_read(operation.key, reply) if reads else self._done(operation, reply)
            if reads and setting.kind == "registers":
                self._seen[operation.key] = reply.value
            record("ok", result, log_index=reply.log_index)
            return
        if reply is not None and kind in _OBSERVATIONS:
            if kind is Kind.NOT_HELD:
                self._seen[operation.key] = None
            record("fail", argument, error=_ERRORS[reply.kind], log_index=reply.log_index)
            return
        if reply is not None and kind is Kind.MISMATCH:
            self._seen[operation.key] = reply.value
            record("fail", argument, error="mismatch", log_index=reply.log_index)
            return
        error = _ERRORS[kind] if kind is not None else task.error
        if kind in {Kind.SESSION_EXPIRED, Kind.STALE_SEQUENCE}:
            self._session = None
        if task.in_doubt and not reads:
            record("info", argument, error=error)
            # The sequence number is in doubt, and so is the process: both begin anew.
            self._process += PROCESS_STEP
            self._session = None
        else:
            record("fail", argument, error=error)
        if self._session is None:
            await self.open_session(setting.stop_ns)

    def _done(self, operation: Operation, reply: Reply) -> Any:
        """What the history has of a change that was done; what the client has seen by it is kept."""
        match operation.f:
            case "write" | "cas":
                self._seen[operation.key] = operation.value
            case "acquire":
                self._seen[operation.key] = operation.value
                return int(reply.body["token"])
            case "release":
                self._seen[operation.key] = None
            case "txn":
                return system.transacted(operation.argument, reply, self._setting.value_bytes)
        return operation.result

    def _request(self, operation: Operation) -> Request:
        if operation.f in READS:
            return system.read_object(self._setting.kind, operation.key)
        assert self._session is not None, "an operation has its session"
        size = self._setting.value_bytes
        if operation.f not in {"write", "cas"}:
            terms = {
                "client": self._session,
                "sequence": self._sequence,
                "ttl_ms": self._setting.lease_ns // 1_000_000,
                "value_bytes": size,
            }
            return system.change(operation.f, operation.key, operation.value, operation.argument, terms)
        assert operation.value is not None, "a write has its value"
        value = system.stored(operation.value, size)
        if operation.f == "write":
            return system.write(operation.key, value, self._session, self._sequence)
        expected = None if operation.expected is None else system.stored(operation.expected, size)
        return system.compare_and_set(operation.key, expected, value, self._session, self._sequence)

    async def _settle(self, request: Request, task: _Task) -> Reply | None:
        """Asks until somebody decides, or the task's time is up (`None`)."""
        setting = self._setting
        nodes = setting.network.nodes
        while True:
            now_ns = setting.clock.now_ns()
            if now_ns >= task.deadline_ns:
                return None
            if now_ns >= task.attempt_deadline_ns:
                task.attempt_deadline_ns, task.hops = now_ns + setting.attempt_timeout_ns, 0
            until_ns = min(task.attempt_deadline_ns, task.deadline_ns)
            reply = await setting.network.send(nodes[self._at], request, until_ns - now_ns)
            match reply.kind:
                case (
                    Kind.OK
                    | Kind.MISMATCH
                    | Kind.HELD
                    | Kind.NOT_HELD
                    | Kind.NOT_FOUND
                    | Kind.SESSION_EXPIRED
                    | Kind.STALE_SEQUENCE
                ):
                    return reply
                case Kind.REFUSED:
                    raise InfrastructureError(
                        f"{nodes[self._at]} refused {request.method} {request.path}: {reply.message}"
                    )
                case Kind.NO_ANSWER:
                    task.in_doubt = True
                    task.error = _ERRORS[reply.kind]
                    self._turn_to_next(task)
                    continue
                case Kind.UNKNOWN:
                    task.in_doubt = True
            task.error = _ERRORS[reply.kind]
            hint = reply.leader if reply.leader in nodes and reply.leader != nodes[self._at] else None
            if reply.kind is Kind.NOT_LEADER and hint is not None and task.hops < MAX_HOPS:
                task.hops += 1
                self._at = nodes.index(hint)
            else:
                self._turn_to_next(task)
            await asyncio.sleep(PAUSE_NS / 1e9)

    def _turn_to_next(self, task: _Task) -> None:
        self._at = (self._at + 1) % len(self._setting.network.nodes)
        task.attempt_deadline_ns = 0


class Home:
    """The reader that only ever asks one node."""

    def __init__(self, setting: Setting, node: str, keys: int, interval_ns: int) -> None:
        self._setting = setting
        self._node = node
        self._keys = keys
        self._interval_ns = interval_ns
        self._index = setting.network.nodes.index(node)

    async def run(self) -> None:
        """Reads the keys in turn, at its interval, to the workload's end."""
        setting = self._setting
        # Not all readers at one moment.
        first_due_ns = PLAN_START_NS + self._interval_ns * self._index // len(setting.network.nodes)
        slot = setting.operations.home_slot(self._node, 1)
        while slot is not None:
            due_ns = first_due_ns + (slot - 1) * self._interval_ns
            if due_ns >= setting.stop_ns:
                return
            if setting.is_quiet(due_ns):
                slot = setting.operations.home_slot(self._node, slot + 1)
                continue
            await _sleep_until(setting.clock, due_ns)
            key = setting.operations.key_at((slot - 1) % self._keys, due_ns - PLAN_START_NS)
            await self._read(key, op=f"{self._node}.{slot}")
            # Slots that were due while this read was under way are passed over.
            late_ns = max(0, setting.clock.now_ns() - due_ns)
            slot = setting.operations.home_slot(self._node, slot + late_ns // self._interval_ns + 1)

    async def read_finally(self) -> None:
        """After the workload's end: reads every key once, marked as final; tries again for a while."""
        for key in range(self._keys):
            deadline_ns = self._setting.clock.now_ns() + self._setting.operation_timeout_ns
            last = self._setting.operations.key_at(key, self._setting.stop_ns - PLAN_START_NS)
            await self._read(last, tries_until_ns=deadline_ns)

    async def _read(self, key: str, *, op: str | None = None, tries_until_ns: int | None = None) -> None:
        setting = self._setting
        process = FIRST_HOME_PROCESS + self._index

        def record(kind: str, value: Any, **extra: Any) -> None:
            setting.history.add(
                process, kind, system.READ_AS.get(setting.kind, "read"), key, value,
                node=self._node, op=op, home=True, final=tries_until_ns is not None, **extra,
            )  # fmt: skip

        asked = setting.as_read(key)
        record("invoke", asked)
        while True:
            try:
                request = system.read_object(setting.kind, key)
                reply = await setting.network.send(self._node, request, setting.attempt_timeout_ns)
            except asyncio.CancelledError:
                record("fail", asked, error="interrupted")
                raise
            if reply.kind in {Kind.OK, Kind.NOT_FOUND}:
                record("ok", setting.as_read(key, reply), log_index=reply.log_index)
                return
            if tries_until_ns is None or setting.clock.now_ns() + PAUSE_NS >= tries_until_ns:
                record("fail", asked, error=_ERRORS[reply.kind])
                return
            await asyncio.sleep(PAUSE_NS / 1e9)


async def _sleep_until(clock: RunClock, time_ns: int) -> None:
    wait_ns = time_ns - clock.now_ns()
    if wait_ns > 0:
        await asyncio.sleep(wait_ns / 1e9)
