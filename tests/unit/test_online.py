"""A history judged while the run goes on, and a run that ends with its first violation."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from chaos._core import OnlineCheck
from chaos.errors import UsageError
from chaos.generate import Sampler, draw_plan
from chaos.plan import Plan
from chaos.scenario import load_scenario
from chaos.verdict import Verdict
from harness.backends.realtime import Interruption, LiveRun
from harness.backends.watching import OnlineWatch
from harness.client import jsonl
from harness.cluster import PLAN_START_NS, Collected, Death, Json, NodeStatus, NodeView, RunClock, RunResult
from harness.commands.common import stops_at_violation
from harness.run import judge_result

# The binding


def events(text: str) -> list[Json]:
    """Events such as `0 invoke write 5`, with semicolons between, one every 10 ms."""
    found = []
    for index, words in enumerate(text.split("; ")):
        process, kind, f, *rest = words.split()
        values = [None if word == "-" else int(word) for word in rest]
        value = values if f == "cas" else (values or [None])[0]
        event = {"index": index, "time_ns": index * 10**7, "process": int(process), "type": kind}
        found.append({**event, "f": f, "key": "k0", "value": value})
    return found


STALE = "0 invoke write 3; 0 ok write 3; 1 invoke write 7; 1 ok write 7; 9 invoke read; 9 ok read 3"


def test_a_stale_read_is_found_at_once() -> None:
    check = OnlineCheck()
    *before, answer = events(STALE)
    check.push(jsonl(before))
    assert check.violation() is None
    check.push(jsonl([answer]))
    violation = json.loads(check.violation() or "null")
    words = "the system answered read k0 = 3 at 0.050 s (process 9)"
    assert violation == {"key": "k0", "words": words}
    check.push(jsonl(events("5 invoke write 1; 5 ok write 1")))
    assert json.loads(check.violation() or "null") == violation, "the first one stays"


@pytest.mark.parametrize(
    "text",
    [
        STALE.replace("read 3", "read 7"),
        "0 invoke write 3; 0 info write 3; 1 invoke read; 1 ok read -; 1 invoke read; 1 ok read 3",
        "0 invoke write 3; 1 invoke read; 1 ok read 3; 0 ok write 3",
        "0 invoke enqueue 3; 1 invoke read; 1 ok read -; 0 ok enqueue 3; 0 invoke dequeue; 0 ok dequeue 8",
    ],
)
def test_what_can_be_explained_is_no_violation(text: str) -> None:
    check = OnlineCheck()
    for event in events(text):
        check.push(jsonl([event]))
        assert check.violation() is None
    assert check.doubts() == []


def test_a_step_budget_leaves_the_rest_for_later() -> None:
    check = OnlineCheck()
    check.push(jsonl(events(STALE)), steps=1)
    assert check.violation() is None
    for _ in range(100):
        check.push(b"", steps=1)
    assert check.violation() is not None


def test_what_is_no_history_is_refused() -> None:
    with pytest.raises(ValueError, match="history event"):
        OnlineCheck().push(b"{}\n")
    with pytest.raises(ValueError, match="process 0 ends an operation that it never invoked"):
        OnlineCheck().push(jsonl(events("0 ok read 1")))


def test_a_check_that_fails_ends_no_run() -> None:
    async def run() -> OnlineWatch:
        watch = OnlineWatch(lambda: events("0 ok read 1"))
        await asyncio.wait([asyncio.create_task(watch.until_violation())], timeout=0.3)
        return watch

    watch = asyncio.run(run())
    assert watch.violation is None
    assert watch.doubts == ["process 0 ends an operation that it never invoked"]


# The run


PLAN = """
version: 1
scenario: stopping
cluster: {nodes: 1}
workload: {duration: 20s, clients: 2, keys: 1, rate: 200/s}
"""


def plan_of(text: str = PLAN) -> Plan:
    return draw_plan(load_scenario(text, "test.yaml"), Sampler(1))


class FakeCluster:
    """One node that answers as a register does, and after ``stale_after`` writes what it held at first."""

    def __init__(self, stale_after: int) -> None:
        self.nodes = ("n1",)
        self.clock = RunClock()
        self.epoch_ns = 0
        self.token = "token"
        self.lost = asyncio.Event()
        self.problems: list[str] = []
        self.deaths: list[Death] = []
        self.calls: list[str] = []
        self._stale_after = stale_after
        self._values: list[Any] = [None]
        self._server: TestServer | None = None

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else {}
        if request.path == "/v1/sessions":
            return web.json_response({"client": len(self._values), "log_index": 1})
        if request.method == "GET":
            stale = len(self._values) > self._stale_after
            return web.json_response({"log_index": 1, "value": self._values[0 if stale else -1]})
        if request.method == "POST" and body["expected"]["value"] != self._values[-1]:
            return web.json_response({"error": "mismatch", "actual": self._values[-1]}, status=409)
        self._values.append(body["value"])
        return web.json_response({"log_index": 1})

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._server = TestServer(app)
        await self._server.start_server()

    async def ready(self) -> None: ...

    def client_addresses(self) -> dict[str, str]:
        assert self._server is not None
        return {"n1": str(self._server.make_url("")).rstrip("/")}

    async def observe(self) -> dict[str, NodeView]:
        status = NodeStatus("n1", 1, "leader", 1, "n1", 1, 1, "aa", {})
        return {"n1": NodeView("n1", running=True, paused=False, status=status)}

    async def collect(self) -> Collected:
        self.calls.append("collect")
        return Collected()

    async def stop(self) -> list[str]:
        self.calls.append("stop")
        if self._server is not None:
            await self._server.close()
        return []

    def builds(self) -> dict[str, str]:
        return {}

    def info(self) -> Json:
        return {}


async def carry_out(plan: Plan, *, stale_after: int, stop: bool) -> RunResult:
    cluster = FakeCluster(stale_after)
    run = LiveRun("docker", plan.compiled(), [], lambda _: None, stop_at_violation=stop)
    with Interruption() as interruption:
        result = await run.carry_out(interruption, cluster, 0.0)  # type: ignore[arg-type]  # no faults here
    assert cluster.calls == ["collect", "stop"]
    return result


def test_a_run_ends_with_its_first_violation_and_is_judged() -> None:
    plan = plan_of()
    result = asyncio.run(carry_out(plan, stale_after=20, stop=True))
    assert result.timings["run_s"] < 10, "the plan goes on for 20 s"
    assert result.stopped is not None
    assert result.stopped.startswith("stopped at ")
    assert "n1 answered " in result.stopped
    assert result.stopped.endswith("which cannot be explained")
    assert result.info["notes"][0] == result.stopped
    assert not result.interrupted
    assert result.problems == []

    verdict = judge_result(plan, result)
    judged = {one.check: one for one in verdict.judgements}
    assert judged["linearizable"].verdict is Verdict.INVALID
    assert judged["linearizable"].reason.partition(",")[0] in result.stopped, "both blame the same answer"
    assert "cut short" in judged["recovers"].reason
    assert verdict.exit_code == 1


SHORT = PLAN.replace("20s", "1s")


@pytest.mark.parametrize(
    ("text", "stale_after", "stop"),
    [
        (SHORT, 10**9, True),
        (SHORT, 20, False),
        (SHORT + "checks: [recovers]\n", 20, True),
    ],
    ids=["nothing is violated", "nobody asked for it", "the plan does not ask for the check"],
)
def test_other_runs_go_to_their_end(text: str, stale_after: int, stop: bool) -> None:
    result = asyncio.run(carry_out(plan_of(text), stale_after=stale_after, stop=stop))
    assert result.stopped is None
    assert result.info["notes"] == []
    last = json.loads(result.evidence.history_jsonl().splitlines()[-1])
    assert last["final"]
    # The last operation of the plan's second comes somewhat before its end: each waits for a time of its own.
    assert last["time_ns"] > PLAN_START_NS + 8 * 10**8


# The option


@pytest.mark.parametrize("backend", ["sim", "docker"])
def test_hunts_stop_on_real_backends_and_other_runs_where_asked_to(backend: str) -> None:
    real = backend != "sim"
    assert stops_at_violation(None, backend, default=True) is real
    assert stops_at_violation(None, backend, default=False) is False
    assert stops_at_violation(False, backend, default=True) is False
    if real:
        assert stops_at_violation(True, backend, default=False)
        return
    with pytest.raises(UsageError, match="--stop-at-violation: a simulated run is over at once"):
        stops_at_violation(True, backend, default=False)
