"""What clients write into the history, against nodes that answer as a test wants."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from chaos._core import Expirations
from chaos.generate import Sampler, draw_plan
from chaos.scenario import load_scenario
from harness.backends.realtime import CompiledOperations
from harness.client import History, Home, Network, Operation, Operations, Roaming, Setting
from harness.cluster import PLAN_START_NS, RunClock
from harness.systems.mcp_manager import Kind, interpret, read

MS = 1_000_000
Answer = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


class StridingClock(RunClock):
    """A second passes at every reading: how many attempts a client makes hangs on nothing else.

    In real time its last attempt may be left with a millisecond, and then nobody can say how it ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now_ns = PLAN_START_NS

    def now_ns(self) -> int:
        self._now_ns += 1000 * MS
        return self._now_ns


class Script:
    """The operations of a test, given as (f, value, expected), and the slots of its home readers (all)."""

    def __init__(self, *operations: tuple[Any, ...], slots: tuple[int, ...] | None = None) -> None:
        self._operations = operations
        self._slots = slots

    def operation(self, client: int, n: int, last_seen: Mapping[str, int | None]) -> Operation | None:
        del client, last_seen
        if n >= len(self._operations):
            return None
        f, *rest = self._operations[n]
        value, expected = [*rest, None, None][:2]
        return Operation(MS, "k0", f, value, expected, number=n + 1)

    def key_at(self, key: int, since_start_ns: int) -> str:
        del since_start_ns
        return f"k{key}"

    def last_change(self, key: int, value: int) -> Operation:
        return Operation(0, f"k{key}", "write", value)

    def home_slot(self, node: str, slot: int) -> int | None:
        del node
        return slot if self._slots is None else next((one for one in self._slots if one >= slot), None)

    def due_ns(self, begun_ns: int, think_ns: int) -> int:
        return begun_ns + think_ns

    def waited_ns(self, time_ns: int) -> int:
        return time_ns


class Node:
    """One fake node: answers the session itself, everything else as the test says."""

    def __init__(self, name: str, answer: Answer) -> None:
        self.name = name
        self.answer = answer
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.sessions = 16

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else {}
        self.asked.append((request.method, request.path, body))
        if request.path == "/v1/sessions":
            self.sessions += 1
            return web.json_response({"client": self.sessions, "log_index": 1, "node": self.name})
        return await self.answer(request, body)

    @property
    def operations(self) -> list[tuple[str, str, dict[str, Any]]]:
        return [asked for asked in self.asked if asked[1] != "/v1/sessions"]


def error(status: int, code: str, **more: Any) -> web.Response:
    return web.json_response({"error": code, "message": "", **more}, status=status)


def ok(**body: Any) -> Answer:
    async def answer(_request: web.Request, _body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"log_index": 20, **body})

    return answer


def says(status: int, code: str, **more: Any) -> Answer:
    async def answer(_request: web.Request, _body: dict[str, Any]) -> web.StreamResponse:
        return error(status, code, **more)

    return answer


async def hangs(_request: web.Request, _body: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(5)
    raise AssertionError("nobody waits so long")


async def breaks(request: web.Request, _body: dict[str, Any]) -> web.StreamResponse:
    """The process dies with the request in hand."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def work(
    script: Operations,
    *answers: Answer | None,
    final: bool = False,
    home: bool = False,
    for_s: float = 1.2,
    during: Callable[[list[Node], list[TestServer]], Awaitable[None]] | None = None,
    striding: bool = False,
    **known: Any,
) -> tuple[list[dict[str, Any]], list[Node]]:
    """One client through a script on as many nodes; ``None`` is a node on whose port nobody listens."""
    nodes, addresses, servers = [], {}, []
    async with AsyncExitStack() as stack:
        for at, answer in enumerate(answers):
            node = Node(f"n{at + 1}", answer or hangs)
            nodes.append(node)
            if answer is None:
                addresses[node.name] = "http://127.0.0.1:9"
                continue
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", node.handle)
            server = TestServer(app)
            await stack.enter_async_context(server)
            servers.append(server)
            addresses[node.name] = str(server.make_url("")).rstrip("/")
        network = Network(addresses, "token")
        stack.push_async_callback(network.close)
        clock = StridingClock() if striding else RunClock()
        clock.begin_plan()
        scale = 100 if striding else 1
        setting = Setting(
            operations=script,
            network=network,
            clock=clock,
            history=History(clock),
            stop_ns=PLAN_START_NS + 10**10 * scale,
            attempt_timeout_ns=80 * MS * scale,
            operation_timeout_ns=250 * MS * scale,
            **known,
        )
        if home:
            reader = Home(setting, "n1", keys=2, interval_ns=50 * MS)
            if final:
                await reader.read_finally()
            else:
                await asyncio.wait([asyncio.create_task(reader.run())], timeout=for_s)
            return setting.history.events, nodes
        client = Roaming(setting, 1)
        running = asyncio.create_task(client.run())
        if during is not None:
            await during(nodes, servers)
        await asyncio.wait([running], timeout=for_s)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        if final:
            await client.write_finally(0)
        return setting.history.events, nodes


def run(*arguments: Any, **named: Any) -> tuple[list[dict[str, Any]], list[Node]]:
    return asyncio.run(work(*arguments, **named))


def outcome(events: list[dict[str, Any]]) -> tuple[Any, ...]:
    """Of the first operation: how it ended."""
    invoke = events[0]
    end = next(event for event in events[1:] if event["process"] == invoke["process"])
    return end["type"], end.get("error")


def test_a_write_that_was_acknowledged() -> None:
    events, nodes = run(Script(("write", 1_000_001)), ok())
    assert nodes[0].operations == [
        ("PUT", "/v1/settings/k0", {"client": 17, "sequence": 1, "value": "1000001"})
    ]
    invoke, done = events
    assert (invoke["type"], done["type"], done["value"], done["log_index"]) == ("invoke", "ok", 1_000_001, 20)
    assert (done["client"], done["sequence"], done["node"], done["process"]) == (17, 1, "n1", 0)
    assert (invoke["index"], done["index"]) == (0, 1)
    assert PLAN_START_NS <= invoke["time_ns"] <= done["time_ns"]
    assert "error" not in done
    assert "home" not in done
    assert "final" not in done


def test_a_read_gives_an_integer_or_null() -> None:
    events, _ = run(Script(("read",), ("read",)), ok(value="12"))
    assert [event["value"] for event in events] == [None, 12, None, 12]
    events, _ = run(Script(("read",)), ok(value=None))
    assert events[1]["value"] is None
    assert "client" not in events[1], "a read is not replicated"


def test_a_cas_carries_what_it_expects_and_a_mismatch_is_a_failure() -> None:
    answer = says(409, "mismatch", actual="5", version=4, log_index=31, effect="none")
    events, nodes = run(Script(("cas", 7, 3)), answer)
    assert nodes[0].operations[0][1:] == (
        "/v1/settings/k0/compare-and-set",
        {"client": 17, "sequence": 1, "expected": {"value": "3"}, "value": "7"},
    )
    end = events[1]
    assert (end["type"], end["error"], end["value"], end["log_index"]) == ("fail", "mismatch", [3, 7], 31)


def test_hints_are_followed_with_the_same_sequence() -> None:
    events, nodes = run(
        Script(("write", 5)), says(421, "not_leader", leader="n3", effect="none"), hangs, ok()
    )
    assert outcome(events) == ("ok", None)
    assert events[1]["node"] == "n3"
    assert not nodes[1].operations
    assert nodes[0].operations[0][2] == nodes[2].operations[0][2]


def test_what_was_only_ever_turned_away_failed() -> None:
    events, nodes = run(Script(("write", 5)), says(503, "unavailable", effect="none"), striding=True)
    assert outcome(events) == ("fail", "unavailable")
    assert len(nodes[0].operations) > 1, "it tried again"
    assert len({body["sequence"] for _, _, body in nodes[0].operations}) == 1


def test_a_refused_connection_had_no_effect() -> None:
    async def the_node_goes_away(_nodes: list[Node], servers: list[TestServer]) -> None:
        await asyncio.sleep(0.1)
        await servers[0].close()

    script = Script(("write", 5))
    events, nodes = run(script, says(503, "unavailable", effect="none"), during=the_node_goes_away)
    assert nodes[0].operations
    assert outcome(events) == ("fail", "connection_refused")


def test_a_reset_after_the_request_was_sent_leaves_it_unknown() -> None:
    events, _ = run(Script(("write", 5), ("read",)), breaks, striding=True)
    assert outcome(events) == ("info", "connection_reset")


def test_no_answer_leaves_it_unknown_and_the_client_goes_on_as_another_process_with_a_new_session() -> None:
    events, nodes = run(Script(("write", 5), ("write", 6)), hangs)
    # The last attempt may be left with a millisecond, too little to connect in.
    assert outcome(events) in {("info", "timeout"), ("info", "connection_refused")}
    later = events[2]
    assert (later["type"], later["process"], later["client"], later["sequence"]) == ("invoke", 1000, 18, 1)
    assert 230 * MS < events[1]["time_ns"] - events[0]["time_ns"] < 1000 * MS
    assert nodes[0].operations[0][2]["client"] == 17


def test_one_doubtful_attempt_is_enough_whatever_the_later_ones_say() -> None:
    # The first attempt hangs and may be proposed yet; that all others are turned away proves nothing.
    events, _ = run(Script(("write", 5)), hangs, says(503, "unavailable", effect="none"))
    assert outcome(events)[0] == "info"


def test_a_retry_by_the_http_library_does_not_turn_unknown_into_failed() -> None:
    # aiohttp repeats a PUT by itself when a kept connection breaks. Here the node takes the request, breaks
    # the connection and is gone: the repetition is refused, and yet the first one may have been proposed.
    takes = {"first": True}
    gone: list[TestServer] = []

    async def takes_and_dies(request: web.Request, _body: dict[str, Any]) -> web.StreamResponse:
        if takes.pop("first", False):
            return web.json_response({"log_index": 20})
        await gone[0].runner.sites.copy().pop().stop()  # type: ignore[union-attr]
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def remember(_nodes: list[Node], servers: list[TestServer]) -> None:
        gone.append(servers[0])

    events, _ = run(Script(("write", 5), ("write", 6)), takes_and_dies, during=remember)
    ends = [event["type"] for event in events if event["value"] == 6]
    assert ends == ["invoke", "info"]


def test_a_read_without_an_answer_failed() -> None:
    events, _ = run(Script(("read",)), hangs)
    assert outcome(events) == ("fail", "timeout")


def test_a_value_that_no_client_wrote_is_in_the_history_as_it_came() -> None:
    events, _ = run(Script(("read", None)), ok(value="12x"))
    assert (events[1]["type"], events[1]["value"]) == ("ok", "12x")


def test_an_expired_session_is_a_failure_at_first_and_unknown_on_a_retry() -> None:
    expired = says(410, "session_expired", effect="unknown")
    events, nodes = run(Script(("write", 5)), expired)
    assert outcome(events) == ("fail", "session_expired")
    assert nodes[0].sessions == 18, "it opens a new one"
    events, _ = run(Script(("write", 5)), hangs, expired)
    assert outcome(events) == ("info", "session_expired")


def test_an_interrupted_write_is_unknown_and_an_interrupted_read_failed() -> None:
    events, _ = run(Script(("write", 5)), hangs, for_s=0.1)
    assert outcome(events) == ("info", "interrupted")
    events, _ = run(Script(("read",)), hangs, for_s=0.1)
    assert outcome(events) == ("fail", "interrupted")


def test_a_final_write_is_marked_and_unique() -> None:
    events, _ = run(Script(("write", 1_000_001)), ok(), final=True)
    invoke, done = events[2:]
    assert (invoke["final"], done["final"], done["value"]) == (True, True, 1_000_002)


def test_both_events_of_an_operation_have_its_name_and_a_final_one_has_none() -> None:
    events, _ = run(Script(("write", 5), ("read",)), ok(value="5"), final=True)
    assert [event.get("op") for event in events] == ["c1.1", "c1.1", "c1.2", "c1.2", None, None]


def compiled(**workload: Any) -> CompiledOperations:
    mix = {"read": 0, "write": 100, "cas": 0}
    data = {"version": 1, "scenario": "x", "workload": {"clients": 1, "mix": mix, **workload}}
    return CompiledOperations(draw_plan(load_scenario(json.dumps(data), "x"), Sampler(0)).compiled())


def requests(node: Node) -> list[tuple[str, str, dict[str, Any]]]:
    """What the node was asked to do, without the session's part."""
    rest = [(method, path, dict(body)) for method, path, body in node.operations]
    return [
        (method, path, {key: value for key, value in body.items() if key not in {"client", "sequence"}})
        for method, path, body in rest
    ]


def test_a_client_of_leases_goes_on_as_the_holder_it_is_and_history_says_when_one_may_have_ended() -> None:
    leases = compiled(kind="leases", keys=1, only=["c1.1", "c1.2"])
    events, nodes = run(leases, ok(token=9), for_s=60, striding=True, kind="leases", lease_ns=300 * MS)
    lease = {"holder": "c1.1", "ttl_ms": 300}
    first, second = requests(nodes[0])
    assert first == ("PUT", "/v1/leases/k0", lease)
    renewed, given_back = (
        ("POST", "/v1/leases/k0/renew", lease),
        ("DELETE", "/v1/leases/k0", {"holder": "c1.1"}),
    )
    assert second in [renewed, given_back]
    assert [(event["f"], event["type"], event["value"]) for event in events[:2]] == [
        ("acquire", "invoke", "c1.1"),
        ("acquire", "ok", 9),
    ]


def test_what_a_client_of_leases_is_refused_it_has_seen() -> None:
    leases = compiled(kind="leases", keys=1, only=["c1.1"])
    held = says(409, "held", holder="c2", token=4, log_index=8, effect="none")
    events, _ = run(leases, held, for_s=60, striding=True, kind="leases")
    assert (events[1]["type"], events[1]["error"], events[1]["log_index"]) == ("fail", "held", 8)


def test_a_lease_that_nobody_gave_back_may_have_ended_before_what_is_heard_after_its_time() -> None:
    async def recorded() -> list[dict[str, Any]]:
        clock = RunClock()
        clock.begin_plan()
        history = History(clock, Expirations(30 * MS))
        history.add(3, "invoke", "acquire", "k0", "c4")
        history.add(3, "ok", "acquire", "k0", 17)
        history.add(5, "invoke", "acquire", "k0", "c6")
        await asyncio.sleep(0.05)
        history.add(5, "ok", "acquire", "k0", 18)
        return history.events

    events = asyncio.run(recorded())
    assert [(event["f"], event["type"], event["process"], event["value"]) for event in events[3:]] == [
        ("expire", "invoke", 599, "c4"),
        ("expire", "info", 599, "c4"),
        ("expire", "invoke", 1599, "c6"),
        ("expire", "info", 1599, "c6"),
        ("acquire", "ok", 5, 18),
    ]
    assert events[3]["time_ns"] - events[0]["time_ns"] >= 29 * MS
    assert [event["index"] for event in events] == list(range(8))


def test_clients_of_counters_lists_and_servers_ask_for_their_own() -> None:
    def asked(kind: str, **answer: Any) -> tuple[list[Any], list[Any]]:
        only = ["c1.1", "c1.2", "c1.3"]
        script = compiled(kind=kind, keys=1, only=only, mix={"read": 50, "write": 50, "cas": 0})
        events, nodes = run(
            script, ok(version=3, **answer), for_s=60, striding=True, kind=kind, value_bytes=4
        )
        ended = [(event["f"], event["value"]) for event in events if event["type"] == "ok"]
        return [(method, path) for method, path, _ in requests(nodes[0])], ended

    paths, ended = asked("counters", value=7)
    assert {("GET", "/v1/counters/k0"), ("POST", "/v1/counters/k0/add")} >= set(paths)
    assert all(value == 7 for f, value in ended if f == "read")
    paths, ended = asked("lists", lists=[["12..", "13"]])
    assert {("GET", "/v1/lists/k0"), ("POST", "/v1/lists")} >= set(paths)
    assert all(value == ([12, "13"] if f == "read" else None) for f, value in ended), "13 is of another size"
    server = {"name": "k0", "transport": "sse", "endpoint": "http://a", "state": "ready", "version": 3}
    paths, ended = asked("registry", server=server)
    assert all(path.startswith("/v1/servers/k0") for _, path in paths)
    assert all("version" not in value for f, value in ended if f == "lookup")


def test_a_server_that_is_not_there_is_an_answer() -> None:
    nobody = says(404, "not_found", log_index=8, effect="none")
    events, _ = run(Script(("lookup",)), nobody, kind="registry", striding=True)
    assert (events[1]["type"], events[1]["value"], events[1]["log_index"]) == ("ok", None, 8)


def test_a_transaction_asks_for_all_its_steps_at_once_and_tells_what_each_read_found() -> None:
    transactions = compiled(kind="transactions", keys=2, only=["c1.1"])
    drawn = transactions.operation(1, 0, {})
    assert drawn is not None
    asked = drawn.told[0]
    reads = sum(step[0] == "r" for step in asked)

    def ended(*lists: list[str]) -> tuple[str, Any]:
        events, nodes = run(
            transactions, ok(lists=lists), for_s=60, striding=True, kind="transactions", value_bytes=4
        )
        assert [(method, path) for method, path, _ in requests(nodes[0])] == [("POST", "/v1/lists")]
        assert events[0]["value"] == asked
        return events[1]["type"], events[1]["value"] if events[1]["type"] == "ok" else events[1]["error"]

    kind, told = ended(*([["12.."]] * reads))
    assert kind == "ok"
    assert told == [["r", step[1], [12]] if step[0] == "r" else step for step in asked]
    assert ended(*([["12.."]] * (reads + 1))) == ("info", "unexpected_answer")


def test_operations_left_out_are_passed_over_and_the_others_begin_and_write_as_they_would_have() -> None:
    every, some = compiled(), compiled(only=["c1.2", "c1.5"])
    drawn = [every.operation(1, n, {}) for n in range(5)]
    begins_ns = [sum(one.think_ns for one in drawn[: n + 1] if one is not None) for n in range(5)]
    events, nodes = run(some, ok(), final=True, for_s=60)
    assert [(event.get("op"), event["type"], event["value"]) for event in events] == [
        ("c1.2", "invoke", 1_000_002),
        ("c1.2", "ok", 1_000_002),
        ("c1.5", "invoke", 1_000_005),
        ("c1.5", "ok", 1_000_005),
        (None, "invoke", 1_000_006),
        (None, "ok", 1_000_006),
    ]
    for event, begins in ((events[0], begins_ns[1]), (events[2], begins_ns[4])):
        assert event["time_ns"] >= PLAN_START_NS + begins
    assert len(nodes[0].operations) == 3


def test_a_client_that_is_left_nothing_ends_and_still_writes_in_the_end() -> None:
    events, nodes = run(compiled(only=["n1.1"]), ok(), final=True, for_s=60)
    assert [(event["type"], event["value"]) for event in events] == [("invoke", 1_000_001), ("ok", 1_000_001)]
    assert len(nodes[0].operations) == 1


def test_a_final_write_without_a_session_failed() -> None:
    events, _ = run(Script(), None, final=True)
    assert [(event["type"], event.get("error")) for event in events] == [
        ("invoke", None),
        ("fail", "no_session"),
    ]


def test_a_home_reader_asks_only_its_node_and_reads_keys_in_turn() -> None:
    events, nodes = run(Script(), ok(value="3"), ok(value="4"), home=True, for_s=0.2)
    assert not nodes[1].asked
    assert [path for _, path, _ in nodes[0].asked][:3] == [f"/v1/settings/k{key}" for key in (0, 1, 0)]
    assert all(event["home"] and event["process"] == 500 and event["node"] == "n1" for event in events)


def test_a_home_reader_passes_over_slots_that_are_left_out_and_reads_the_key_of_the_slot() -> None:
    for slots, key in (((2,), "k1"), ((3,), "k0")):
        events, nodes = run(Script(slots=slots), ok(value="3"), home=True, for_s=60)
        assert [path for _, path, _ in nodes[0].asked] == [f"/v1/settings/{key}"]
        assert [(event["op"], event["key"]) for event in events] == [(f"n1.{slots[0]}", key)] * 2
        assert events[0]["time_ns"] >= PLAN_START_NS + (slots[0] - 1) * 50 * MS
    assert run(compiled(only=[]), ok(value="3"), home=True, for_s=60)[0] == []


def test_a_home_reader_that_is_turned_away_fails_at_once_but_tries_again_in_the_end() -> None:
    events, nodes = run(Script(), says(503, "unavailable", effect="none"), home=True, for_s=0.2)
    assert outcome(events) == ("fail", "unavailable")
    assert len(nodes[0].asked) == len([event for event in events if event["type"] == "invoke"])
    began_s = time.monotonic()
    events, nodes = run(Script(), says(503, "unavailable", effect="none"), home=True, final=True)
    assert len(nodes[0].asked) > 4
    assert time.monotonic() - began_s > 0.4
    assert [(event["type"], event["final"]) for event in events] == [("invoke", True), ("fail", True)] * 2


def test_answers_that_make_no_sense_leave_the_effect_unknown() -> None:
    for status, content in [
        (500, b"oops"),
        (200, b"[]"),
        (502, b""),
        (409, b'{"error": "new", "effect": "unknown"}'),
    ]:
        assert interpret(status, content).kind is Kind.UNKNOWN
    assert interpret(409, b'{"error": "new", "effect": "none"}').kind is Kind.UNAVAILABLE


def test_what_could_not_be_sent_is_told_from_what_got_no_answer() -> None:
    async def ask() -> list[Kind]:
        network = Network({"n1": "http://127.0.0.1:9"}, "token")
        try:
            return [(await network.send("n1", read("k0"), 50 * MS)).kind]
        finally:
            await network.close()

    assert asyncio.run(ask()) == [Kind.NOT_SENT]


def test_history_is_json_lines() -> None:
    history = History(RunClock())
    history.add(0, "invoke", "read", "k0", None, node="n1", error=None, final=False)
    (line,) = history.jsonl().splitlines()
    assert list(json.loads(line)) == ["index", "time_ns", "process", "type", "f", "key", "value", "node"]
