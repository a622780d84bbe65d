"""``chaos.check``: histories of any system, from Python."""

import json
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chaos
from chaos.verdict import Verdict

Event = dict[str, Any]


def invoke(process: object, f: str, value: object = None, **more: object) -> Event:
    return {"process": process, "type": "invoke", "f": f, "value": value, **more}


def ended(process: object, kind: str, f: str, value: object = None, **more: object) -> Event:
    return {"process": process, "type": kind, "f": f, "value": value, **more}


def done(process: object, f: str, argument: object, result: object = None, **more: object) -> list[Event]:
    """An operation with nothing beside it."""
    return [invoke(process, f, argument, **more), ended(process, "ok", f, result, **more)]


STALE = [*done("a", "write", 1, 1), *done("a", "write", 2, 2), *done("b", "read", None, 1)]
FRESH = [*done("a", "write", 1, 1), *done("a", "write", 2, 2), *done("b", "read", None, 2)]


def test_an_order_explains_it() -> None:
    checked = chaos.check(FRESH, witness=True)
    assert checked.verdict is Verdict.VALID
    assert checked.exit_code == 0
    assert checked.data["failure"] is None
    assert list(checked.data["witness"].values()) == [[0, 1, 2]]


def test_a_stale_read_is_told_with_what_overwrote_the_value() -> None:
    checked = chaos.check(STALE, minimal=True, timeline=10)
    assert checked.verdict is Verdict.INVALID
    assert checked.exit_code == 1
    failure = checked.data["failure"]
    assert (failure["operation"]["f"], failure["operation"]["result"]) == ("read", 1)
    assert failure["is_first"]
    assert checked.data["minimal"]["is_minimal"]
    assert len(checked.data["timeline"]["operations"]) == 3
    assert "read = 1" in checked.reason


def test_a_text_and_its_bytes_and_its_events_are_the_same_history() -> None:
    text = "".join(json.dumps(event) + "\n" for event in STALE)
    answers = [chaos.check(history).data for history in (text, text.encode(), STALE, iter(STALE))]
    assert answers == answers[:1] * 4


def test_out_of_time_is_unknown_and_says_so() -> None:
    """Many writes at once and a read of something else: hard to refute, and there is no time."""
    writes = [invoke(n, "write", n % 3) for n in range(24)]
    reads = [event for n in range(40) for event in done(100, "read", None, (n * 7) % 3)]
    ends = [ended(n, "ok", "write", n % 3) for n in range(24)]
    history = [*writes, *reads, *ends, *done(200, "read", None, 1), *done(200, "read", None, 2)]
    checked = chaos.check(history, seconds=0.0, algorithm="frontier")
    assert checked.verdict is not Verdict.VALID
    if checked.verdict is Verdict.UNKNOWN:
        assert checked.exit_code == 3
        assert "time" in checked.reason


@pytest.mark.parametrize(
    ("history", "options", "place"),
    [
        (b'{"process":0,"type":"inovke","f":"read"}\n', {}, "line 1, column"),
        (b'{"process":0,"type":"ok","f":"read","value":1}\n', {}, "line 1"),
        (b"\x7fELF\x00\x01", {}, "line 1"),
        (STALE, {"model": "cas-regster"}, 'did you mean "cas-register"'),
        (STALE, {"model": "queue"}, "not write"),
        (STALE, {"history_format": "xml"}, "jsonl"),
        (STALE, {"algorithm": "guessing"}, "guessing"),
        (STALE, {"model": "list-append", "level": "sometimes"}, "serializable"),
        (STALE, {"model": "registry", "initial": [1]}, "begins empty"),
    ],
)
def test_what_makes_no_sense_is_one_error_with_its_place(
    history: Any, options: dict[str, Any], place: str
) -> None:
    with pytest.raises(chaos.HistoryError, match=place.replace("[", r"\[")):
        chaos.check(history, **options)


def test_transactions() -> None:
    skew = [
        invoke(0, "txn", [["r", "x", None], ["append", "y", 1]]),
        invoke(1, "txn", [["r", "y", None], ["append", "x", 1]]),
        ended(0, "ok", "txn", [["r", "x", []], ["append", "y", 1]]),
        ended(1, "ok", "txn", [["r", "y", []], ["append", "x", 1]]),
        *done(2, "txn", [["r", "x", None], ["r", "y", None]], [["r", "x", [1]], ["r", "y", [1]]]),
    ]
    checked = chaos.check(skew, "list-append", level="serializable")
    assert checked.verdict is Verdict.INVALID
    assert [anomaly["name"] for anomaly in checked.data["anomalies"]] == ["G2"]
    assert chaos.check(skew[:1] + skew[2:3], "list-append").verdict is Verdict.VALID


class Stack:
    """Last in, first out; an empty one says so."""

    initial: tuple[Any, ...] = ()

    def step(self, state: tuple[Any, ...], call: chaos.Call) -> Iterable[tuple[Any, ...]]:
        if call.f == "push":
            return [(*state, call.argument)]
        if call.outcome == "fail":
            return [] if state else [state]
        if call.outcome == "unknown":
            return [state[:-1]]
        return [state[:-1]] if state and state[-1] == call.result else []

    def is_observation(self, call: chaos.Call) -> bool:
        return call.error == "empty"


def test_a_model_in_python() -> None:
    pushes = [*done(0, "push", [1, 2]), *done(0, "push", "b")]
    good = [*pushes, *done(1, "pop", None, "b"), *done(1, "pop", None, [1, 2])]
    assert chaos.check(good, Stack()).verdict is Verdict.VALID
    first_in = chaos.check([*pushes, *done(1, "pop", None, [1, 2])], Stack(), minimal=True)
    assert first_in.verdict is Verdict.INVALID
    assert first_in.data["model"] == "Stack"
    assert first_in.data["failure"]["operation"]["number"] == 2


def test_a_failure_that_a_python_model_calls_an_observation_counts() -> None:
    empty = [invoke(1, "pop"), ended(1, "fail", "pop", error="empty")]
    assert chaos.check(empty, Stack()).verdict is Verdict.VALID
    assert chaos.check([*done(0, "push", 1), *empty], Stack()).verdict is Verdict.INVALID
    refused = [invoke(1, "pop"), ended(1, "fail", "pop", error="refused")]
    assert chaos.check([*done(0, "push", 1), *refused], Stack()).verdict is Verdict.VALID


class Coin:
    """It shows either side after a toss: a model with more than one next state."""

    initial = "heads"

    def step(self, state: str, call: chaos.Call) -> Iterable[str]:
        if call.f == "toss":
            return ["heads", "tails"]
        return [state] if call.outcome != "ok" or call.result == state else []


def test_a_python_model_that_may_go_several_ways() -> None:
    tossed = [*done(0, "toss", None), *done(0, "look", None, "tails")]
    assert chaos.check(tossed, Coin()).verdict is Verdict.VALID
    assert chaos.check([*tossed, *done(0, "look", None, "heads")], Coin()).verdict is Verdict.INVALID


class Broken:
    initial = 0

    def step(self, state: int, call: chaos.Call) -> Iterable[int]:
        raise LookupError(f"no rule for {call.f}")


def test_what_a_python_model_raises_arrives_as_it_is() -> None:
    with pytest.raises(LookupError, match="no rule for write"):
        chaos.check(FRESH, Broken())


class Accounts:
    """Transfers between keys: it makes sense only as a whole."""

    initial = (("a", 5), ("b", 0))
    by_key = False

    def step(self, state: tuple[tuple[str, int], ...], call: chaos.Call) -> Iterable[Any]:
        held = dict(state)
        if call.f == "move":
            other = "b" if call.key == "a" else "a"
            held[call.key] -= call.argument
            held[other] += call.argument
            return [tuple(sorted(held.items()))] if held[call.key] >= 0 else []
        return [state] if call.outcome != "ok" or held[call.key] == call.result else []


def test_a_python_model_may_keep_all_keys_together() -> None:
    moved = done(0, "move", 5, key="a")
    assert chaos.check([*moved, *done(1, "read", None, 5, key="b")], Accounts()).verdict is Verdict.VALID
    assert chaos.check([*moved, *done(1, "read", None, 0, key="b")], Accounts()).verdict is Verdict.INVALID


# What must not change a verdict, over random histories of a register.


@dataclass(frozen=True)
class Op:
    process: int
    f: str
    argument: Any
    result: Any
    outcome: str
    start: float
    end: float


def events(operations: Sequence[Op]) -> list[Event]:
    timed: list[tuple[float, int, Event]] = []
    for number, one in enumerate(operations):
        timed.append((one.start, number, invoke(one.process, one.f, one.argument)))
        if one.outcome == "ok":
            timed.append((one.end, number, ended(one.process, "ok", one.f, one.result)))
        elif one.outcome == "fail":
            timed.append((one.end, number, ended(one.process, "fail", one.f, error="mismatch")))
    return [event for _, _, event in sorted(timed, key=lambda item: item[:2])]


@st.composite
def registers(draw: st.DrawFn) -> list[Op]:
    """Two to nine operations, each by a process of its own, on few values: about half are linearizable."""
    count = draw(st.integers(2, 9))
    places = draw(st.permutations(range(2 * count)))
    values = st.integers(0, 2)
    operations = []
    for number in range(count):
        start, end = sorted(places[2 * number : 2 * number + 2])
        f = draw(st.sampled_from(["read", "write", "write", "cas"]))
        outcome = draw(st.sampled_from(["ok", "ok", "ok", "unknown", "fail" if f == "cas" else "ok"]))
        argument: Any = None
        if f != "read":
            argument = draw(values) if f == "write" else [draw(values), draw(values)]
        result = draw(values) if f == "read" else argument
        operations.append(Op(number, f, argument, result, outcome, start, end))
    return operations


def verdict(operations: Sequence[Op]) -> Verdict:
    return chaos.check(events(operations), initial=0).verdict


def applied(state: Any, one: Op) -> list[Any]:
    """The register again, in a few lines: every state after the operation; none if it is impossible."""
    match one.f, one.outcome:
        case "read", "ok":
            return [state] if state == one.result else []
        case "read", _:
            return [state]
        case "write", _:
            return [one.argument]
        case "cas", "fail":
            return [state] if state != one.argument[0] else []
        case "cas", _:
            return [one.argument[1]] if state == one.argument[0] else []
    raise AssertionError(one)


def explains(order: Sequence[int], operations: Sequence[Op], initial: Any) -> bool:
    """Whether an order is one of these operations, against no two's real time, and possible for the register."""
    by_invocation = sorted(operations, key=lambda one: one.start)
    chosen = [by_invocation[number] for number in order]
    missing = [one for one in by_invocation if one not in chosen]
    if len(set(order)) != len(order) or any(one.outcome == "ok" for one in missing):
        return False
    for index, later in enumerate(chosen):
        if any(later.outcome != "unknown" and later.end < earlier.start for earlier in chosen[:index]):
            return False
    state = initial
    for one in chosen:
        following = applied(state, one)
        if not following:
            return False
        state = following[0]
    return True


@given(registers())
def test_a_valid_historys_witness_stands_before_a_simple_verifier(operations: list[Op]) -> None:
    checked = chaos.check(events(operations), initial=0, witness=True)
    if checked.verdict is Verdict.VALID:
        orders = list(checked.data["witness"].values())
        assert len(orders) <= 1
        assert explains(orders[0] if orders else [], operations, 0)


@given(registers(), st.data())
def test_a_shorter_interval_makes_nothing_valid(operations: list[Op], data: st.DataObject) -> None:
    number = data.draw(st.sampled_from(range(len(operations))))
    one = operations[number]
    start = data.draw(st.floats(one.start, one.end, exclude_min=True, exclude_max=True))
    shrunk = Op(one.process, one.f, one.argument, one.result, one.outcome, start, one.end)
    if verdict(operations) is Verdict.INVALID:
        assert verdict([*operations[:number], shrunk, *operations[number + 1 :]]) is Verdict.INVALID


@given(registers(), st.permutations(range(9)))
def test_names_of_clients_do_not_matter(operations: list[Op], names: list[int]) -> None:
    renamed = [
        Op(names[one.process] + 70, one.f, one.argument, one.result, one.outcome, one.start, one.end)
        for one in operations
    ]
    assert verdict(renamed) is verdict(operations)


@given(registers(), st.integers(0, 2), st.floats(-1, 20))
def test_one_more_unknown_write_makes_nothing_invalid(operations: list[Op], value: int, start: float) -> None:
    if verdict(operations) is Verdict.VALID:
        assert verdict([*operations, Op(50, "write", value, None, "unknown", start, 99)]) is Verdict.VALID


@given(registers(), st.floats(-1, 20))
def test_without_an_unknown_write_that_nobody_saw_nothing_becomes_valid(
    operations: list[Op], start: float
) -> None:
    unseen = Op(50, "write", "unseen", None, "unknown", start, 99)
    if verdict([*operations, unseen]) is Verdict.INVALID:
        assert verdict(operations) is Verdict.INVALID


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [101, 100_000])
def test_values_within_values_have_an_end(depth: int) -> None:
    with pytest.raises(chaos.HistoryError, match=r"(line|event) 1.*lists within lists go too deep"):
        chaos.check([invoke(0, "write", nested(depth))])
    text = b'{"process":0,"type":"invoke","f":"write","value":' + b"[" * depth + b"]" * depth + b"}"
    with pytest.raises(chaos.HistoryError, match=r"line 1.*lists within lists go too deep"):
        chaos.check(text)


def test_an_initial_value_within_values_has_an_end() -> None:
    with pytest.raises(chaos.HistoryError, match=r"options: lists within lists go too deep"):
        chaos.check(FRESH, initial=nested(100_000))


def test_what_json_cannot_tell_is_named() -> None:
    with pytest.raises(chaos.HistoryError, match=r"event 2: .*object.* is not JSON serializable"):
        chaos.check([invoke(0, "write", 1), ended(0, "ok", "write", object())])


# Limits


def hard() -> list[Event]:
    """Forty additions at once, then a number that none of their sums is: nobody decides that soon."""
    begun = [invoke(number, "add", 1 << number) for number in range(40)]
    last = [ended(0, "ok", "add"), *done("reader", "read", None, -1)]
    return [*begun, *last, *(ended(number, "ok", "add") for number in range(1, 40))]


def test_an_interrupt_tells_how_far_it_came() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt) as raised:
            chaos.check(hard(), "counter", memory_bytes=1 << 28)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert raised.value.__notes__[0].startswith("the history was verified up to event ")
