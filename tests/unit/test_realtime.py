"""A run in real time, without a cluster: traces on one clock, agreement, and what signals do."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from harness.backends.realtime import Interruption, agree, trace_of
from harness.cluster import PLAN_START_NS, Death, NodeStatus, NodeView, RunClock


def line(time_ns: int, event: str, boot: int = 1) -> bytes:
    return (
        json.dumps({"time_ns": time_ns, "node": "n1", "boot": boot, "event": event}).replace(" ", "").encode()
    )


def records(trace: bytes) -> list[dict[str, Any]]:
    return [json.loads(text) for text in trace.splitlines()]


def death(time_ns: int, exit_code: int) -> Death:
    return Death("n1", time_ns, exit_code, out_of_memory=False, last_log="")


# Traces


def test_a_trace_is_moved_to_the_records_clock_and_does_not_begin_before_it() -> None:
    content = line(100, "started") + b"\n" + line(900, "stopped") + b"\n"
    trace, notes = trace_of(content, "n1", -500)
    assert [record["time_ns"] for record in records(trace)] == [0, 400]
    assert notes == []
    assert trace_of(content, "n1", 0) == (content, []), "nothing else is touched"


def test_the_torn_last_line_of_a_killed_process_is_dropped() -> None:
    trace, notes = trace_of(line(1, "started") + b'\n{"time_ns":2,"no', "n1", 0)
    assert len(records(trace)) == 1
    assert len(notes) == 1


def test_an_empty_trace_stays_empty() -> None:
    assert trace_of(b"", "n1", 5) == (b"", [])


def test_a_process_that_broke_down_in_silence_gets_its_record() -> None:
    # An abort in the middle of an allocation writes no `panicked` record: the exit code is all there is.
    content = b"".join(
        text + b"\n" for text in (line(1, "started"), line(5, "committed"), line(20, "started", 2))
    )
    trace, notes = trace_of(content, "n1", 0, [death(10, 134)])
    found = records(trace)
    assert [(record["event"], record["boot"]) for record in found] == [
        ("started", 1),
        ("committed", 1),
        ("panicked", 1),
        ("started", 2),
    ]
    assert "134" in found[2]["message"]
    assert len(notes) == 1


@pytest.mark.parametrize("exit_code", [0, 1, 3, 137])
def test_other_deaths_are_no_panic(exit_code: int) -> None:
    content = line(1, "started") + b"\n"
    assert trace_of(content, "n1", 0, [death(10, exit_code)]) == (content, [])


def test_a_panic_that_was_recorded_is_not_recorded_twice() -> None:
    content = line(1, "started") + b"\n" + line(5, "panicked") + b"\n"
    assert trace_of(content, "n1", 0, [death(10, 101)]) == (content, [])


# Agreement


def view(node: str, role: str = "follower", applied: int = 5, state: str = "aa", **more: Any) -> NodeView:
    status = NodeStatus(node, 1, role, 2, "n1", applied, applied, state, {})
    return NodeView(node, **({"running": True, "paused": False, "status": status} | more))


def test_all_agree_when_one_leads_and_all_have_applied_the_same() -> None:
    leader = view("n1", "leader")
    assert agree({"n1": leader, "n2": view("n2")})
    assert not agree({"n1": view("n1"), "n2": view("n2")}), "nobody leads"
    assert not agree({"n1": leader, "n2": view("n2", applied=4)})
    assert not agree({"n1": leader, "n2": view("n2", state="bb")})
    assert not agree({"n1": leader, "n2": view("n2", status=None)}), "one does not answer"


# The clock


def test_the_plan_begins_at_three_seconds_on_the_records_clock() -> None:
    clock = RunClock()
    assert clock.now_ns() < PLAN_START_NS
    clock.begin_plan()
    assert 0 <= clock.now_ns() - PLAN_START_NS < 10**8
    # A time that counts from some epoch, moved by the shift, reads what that moment reads.
    epoch_ns, since_ns = 123, 10**18
    assert clock.of_monotonic(epoch_ns + since_ns) == since_ns + clock.shift_ns(epoch_ns)
    assert clock.of_monotonic(0) == 0


# Signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def forever(log: list[str]) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        log.append("ended")


def test_without_a_signal_the_result_comes_through() -> None:
    async def job() -> int:
        return 7

    async def run() -> int | None:
        with Interruption() as interruption:
            return await interruption.guard(job())

    assert asyncio.run(run()) == 7


def test_an_error_comes_through() -> None:
    async def job() -> None:
        raise ZeroDivisionError

    async def run() -> None:
        with Interruption() as interruption:
            await interruption.guard(job())

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_job_and_is_remembered(number: signal.Signals) -> None:
    log: list[str] = []

    async def run() -> tuple[None, str | None]:
        with Interruption() as interruption:
            asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), number)
            return await interruption.guard(forever(log)), interruption.signal

    assert asyncio.run(run()) == (None, number.name)
    assert log == ["ended"], "the job had its own clean-up"


def test_patience_outlasts_a_signal_but_not_two() -> None:
    log: list[str] = []

    async def run() -> None:
        with Interruption() as interruption:
            loop = asyncio.get_running_loop()
            loop.call_later(0.02, os.kill, os.getpid(), signal.SIGINT)
            assert await interruption.guard(forever(log)) is None
            assert await interruption.guard(asyncio.sleep(0.05, "patient"), patience=1) == "patient"
            loop.call_later(0.02, os.kill, os.getpid(), signal.SIGINT)
            assert await interruption.guard(forever(log), patience=1) is None

    asyncio.run(run())
    assert log == ["ended", "ended"]


def test_what_was_lost_ends_the_job() -> None:
    log: list[str] = []

    async def run() -> None:
        lost = asyncio.Event()
        with Interruption() as interruption:
            asyncio.get_running_loop().call_later(0.05, lost.set)
            assert await interruption.guard(forever(log), lost.wait()) is None
            assert interruption.signal is None

    asyncio.run(run())
    assert log == ["ended"]


def test_handlers_are_given_back_even_after_an_error() -> None:
    async def run() -> None:
        with Interruption():
            raise ZeroDivisionError

    with suppress(ZeroDivisionError):
        asyncio.run(run())
