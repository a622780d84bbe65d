"""`chaos.check_stream` and `mcp-chaos check --stream`: histories that are read once, and not kept."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import chaos
from chaos.histories import StreamProgress
from chaos.verdict import Verdict

Json = dict[str, Any]


def event(process: int, kind: str, f: str, value: object = None, **more: object) -> Json:
    return {"process": process, "type": kind, "f": f, "value": value, **more}


def text(events: list[Json]) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in events).encode()


def pieces(whole: bytes, draws: random.Random) -> Iterator[bytes]:
    """A text cut anywhere, sometimes with nothing for a while."""
    at = 0
    while at < len(whole):
        size = draws.choice([0, 1, 7, 100, 5000])
        yield whole[at : at + size]
        at += size


# Verdicts


def random_history(draws: random.Random) -> list[Json]:
    """A few clients of a register for each of a few keys, which sometimes answers wrongly, late or not at all."""
    held: dict[str, int | None] = {}
    open_: dict[int, tuple[str, str, Any]] = {}
    events: list[Json] = []
    lies = draws.choice([0, 0, 0.02])
    next_process = 4
    clients = list(range(4))
    for number in range(draws.choice([10, 60, 200])):
        process = draws.choice(clients)
        if process not in open_:
            f, key = draws.choice(["read", "write", "cas"]), f"k{draws.randrange(3)}"
            value: Any = {"read": None, "write": number % 7, "cas": [draws.randrange(7), number % 7]}[f]
            open_[process] = (f, key, value)
            events.append(event(process, "invoke", f, value, key=key))
            continue
        f, key, value = open_.pop(process)
        fate = draws.random()
        error = None
        if fate < 0.1:
            kind = "info"
            clients[clients.index(process)] = next_process
            next_process += 1
            if f == "write" and draws.random() < 0.5:
                held[key] = value
        elif f == "cas" and value[0] != held.get(key):
            kind, error = "fail", "mismatch"
        elif fate < 0.2:
            kind = "fail"
        else:
            kind = "ok"
            if f == "read":
                value = draws.randrange(7) if draws.random() < lies else held.get(key)
            else:
                held[key] = value if f == "write" else value[1]
        more = {} if error is None else {"error": error}
        events.append(event(process, kind, f, value, key=key, **more))
    return events


def test_the_verdict_is_that_of_the_whole_history() -> None:
    seen: set[Verdict] = set()
    for seed in range(300):
        draws = random.Random(seed)
        history = text(random_history(draws))
        whole = chaos.check(history)
        stream = chaos.check_stream(pieces(history, draws))
        assert stream.verdict is whole.verdict, (seed, whole.reason, stream.reason)
        if whole.verdict is Verdict.VALID:
            assert stream.data["operations"] == whole.data["operations"]
            assert stream.data["keys"] == whole.data["keys"]
            assert stream.reason == whole.reason
            assert stream.data["verified"] is None
        elif (
            stream.data["failure"]["key"] == whole.data["failure"]["key"]
            and whole.data["failure"]["is_first"]
        ):
            assert stream.data["failure"]["operation"] == whole.data["failure"]["operation"]
            assert stream.reason.split(", but")[0] == whole.reason.split(", but")[0]
        seen.add(whole.verdict)
    assert seen == {Verdict.VALID, Verdict.INVALID}


STALE = [
    event(0, "invoke", "write", 1),
    event(0, "ok", "write", 1),
    event(0, "invoke", "write", 2),
    event(0, "ok", "write", 2),
    event(1, "invoke", "read"),
    event(1, "ok", "read", 1),
]


def test_the_first_violation_ends_it() -> None:
    def endless() -> Iterator[bytes]:
        yield text(STALE)
        raise AssertionError("nothing more is read")

    checked = chaos.check_stream(endless())
    assert checked.verdict is Verdict.INVALID
    assert checked.reason == chaos.check(STALE).reason


def test_formats_come_in_pieces_too() -> None:
    edn = b"[{:process 0, :type :invoke, :f :write, :value 1}\n {:process 0, :type :ok, :f :write, :value 1}]"
    log = b"INFO  jepsen.util - 0 :invoke :write 1\nINFO  jepsen.util - 0 :ok :write 1\n"
    for history in (edn, log):
        assert chaos.check_stream(bytes([byte]) for byte in history).verdict is Verdict.VALID


class Stack:
    """A model of the caller's own."""

    initial: tuple[Any, ...] = ()

    def step(self, state: tuple[Any, ...], call: chaos.Call) -> list[tuple[Any, ...]]:
        if call.f == "push":
            return [(*state, call.argument)]
        return [state[:-1]] if state and state[-1] == call.result else []


def test_a_model_in_python_and_what_it_raises() -> None:
    pushed = [event(0, "invoke", "push", 1), event(0, "ok", "push", 1), event(0, "invoke", "pop")]
    assert chaos.check_stream([text([*pushed, event(0, "ok", "pop", 1)])], Stack()).verdict is Verdict.VALID
    assert chaos.check_stream([text([*pushed, event(0, "ok", "pop", 2)])], Stack()).verdict is Verdict.INVALID

    class Broken(Stack):
        def step(self, state: tuple[Any, ...], call: chaos.Call) -> list[tuple[Any, ...]]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        chaos.check_stream([text([*pushed, event(0, "ok", "pop", 1)])], Broken())


# Streams that go wrong


def test_what_is_no_history_is_one_error_with_its_line() -> None:
    for bad, message in {
        b'{"process":0,"type":"okay","f":"write"}\n': "line 7, column 21: unknown type",
        b"\n\nhello\n": "line 9, column 1: 'h' is not expected here",
        text([event(5, "ok", "read", 3)]): "line 7, column 1: process 5 ends an operation that it never",
        text([event(5, "invoke", "enqueue", 3)]): "line 7, column 1: model cas-register knows",
        b'{"process":0': "line 7, column 13: the line ends too early",
    }.items():
        good = text(STALE[:4] + STALE[2:4])
        with pytest.raises(chaos.HistoryError, match=message):
            chaos.check_stream([good, bad])
    with pytest.raises(chaos.HistoryError, match="list-append needs the whole history"):
        chaos.check_stream([], "list-append")


@pytest.mark.parametrize("error", [ConnectionResetError("gone"), ValueError("I/O operation on closed file")])
def test_what_the_pieces_raise_arrives_as_it_is(error: Exception) -> None:
    def torn() -> Iterator[bytes]:
        yield text(STALE[:4])
        raise error

    with pytest.raises(type(error)) as raised:
        chaos.check_stream(torn())
    assert raised.value is error


def test_options_that_are_no_json_are_refused() -> None:
    with pytest.raises(chaos.HistoryError, match=r"^options: "):
        chaos.check_stream([], initial=object())


def test_ctrl_c_tells_how_far_it_was_verified() -> None:
    def interrupted() -> Iterator[bytes]:
        yield text(STALE[:4])
        raise KeyboardInterrupt

    with pytest.raises(chaos.StreamInterrupted) as raised:
        chaos.check_stream(interrupted())
    checked = raised.value.checked
    assert checked.verdict is Verdict.UNKNOWN
    assert checked.data["stopped"] == "cancelled"
    assert checked.data["verified"]["operations"] == 2
    assert checked.reason.startswith(
        "cancelled: 4 events were read, and the history was verified up to event 4"
    )


def test_time_counts_while_nothing_comes() -> None:
    def silent() -> Iterator[bytes]:
        yield text(STALE[:4])
        while True:
            time.sleep(0.01)
            yield b""

    began = time.monotonic()
    checked = chaos.check_stream(silent(), seconds=0.2)
    assert time.monotonic() - began < 5
    assert checked.data["stopped"] == "time"
    assert checked.data["verified"]["events"] == 4


# Size


def long_history(operations: int) -> Iterator[bytes]:
    """Ten clients of one register: about a megabyte for each piece."""
    lines: list[str] = []
    for number in range(0, operations, 10):
        for process in range(10):
            f, value = ("write", number + process) if process < 5 else ("read", None)
            lines.append(json.dumps(event(process, "invoke", f, value)))
        for process in range(10):
            f, value = ("write", number + process) if process < 5 else ("read", number + 4)
            lines.append(json.dumps(event(process, "ok", f, value)))
        if len(lines) > 20_000:
            yield ("\n".join(lines) + "\n").encode()
            lines.clear()
    yield "\n".join(lines).encode()


def test_memory_does_not_grow_with_the_history() -> None:
    told: list[StreamProgress] = []
    chaos.check_stream(long_history(30_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    checked = chaos.check_stream(long_history(200_000), progress=told.append)
    assert checked.verdict is Verdict.VALID, checked.reason
    assert checked.data["operations"] == 200_000
    assert checked.data["peak_bytes"] < 16e6
    # The text alone is 30 MB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024
    assert told == sorted(told, key=lambda one: one.operations)


# The command


def run(*arguments: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "harness.cli", "check", "--stream", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120, input=stdin)
    assert b"Traceback" not in done.stderr, done.stderr
    return done


def test_a_file_and_standard_input(tmp_path: Path) -> None:
    stale = tmp_path / "stale.jsonl"
    stale.write_bytes(text(STALE))
    done = run(stale)
    assert done.returncode == 1
    out = done.stdout.decode()
    assert out.startswith(f"✗ {stale}: invalid: process 1 was answered read = 1")
    assert "2, left so by write = 2 (process 0): it holds 2, not 1" in out
    assert "decided by online" in out
    done = run("-", "--json", stdin=text(STALE[:4]))
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert (told["history"], told["events"], told["stopped"], told["doubts"]) == ("-", 4, None, [])
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "history.jsonl").write_bytes(text(STALE[:4]))
    assert run(bundle, stale, "--json").returncode == 1


MISTAKES: dict[str, tuple[list[str], str]] = {
    "an explanation": (["--explain"], "--explain: a stream is read once and not kept"),
    "a page": (["--explain", "--html", "x.html"], "--explain: a stream is read once and not kept"),
    "an algorithm": (["--algorithm", "zones"], "--algorithm: a stream is judged by the online check alone"),
    "transactions": (["--model", "list-append"], "--model list-append: it needs the whole history"),
    "a model that is none": (["--model", "cas-regster"], "did you mean cas-register?"),
    "another model's function": (["--model", "queue"], "line 1, column 1: model queue knows enqueue"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_option_is_one_message(name: str, tmp_path: Path) -> None:
    arguments, message = MISTAKES[name]
    (tmp_path / "stale.jsonl").write_bytes(text(STALE))
    done = run(tmp_path / "stale.jsonl", *arguments)
    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert done.stdout == b""


def test_what_cannot_be_read_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"\n")
    (tmp_path / "text").write_bytes(b"hello\n")
    for name, message in {
        "empty.jsonl": "empty.jsonl: empty: expected a history",
        "text": "text: line 1, column 1: this is like no format",
        "absent": "absent: cannot be read: No such file",
    }.items():
        done = run(tmp_path / name)
        assert done.returncode == 2
        assert message in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1


def test_a_violation_is_told_while_the_system_still_runs() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "check", "--stream", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    process.stdin.write(text(STALE))
    process.stdin.flush()
    # The pipe stays open.
    assert process.stdout.readline().startswith("✗ -: invalid: ".encode())
    assert process.wait(timeout=30) == 1
    process.stdin.close()
    process.stdout.close()


def test_ctrl_c_ends_it_at_once_with_what_was_verified() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "check", "--stream", "-", "--json"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ,
    )  # fmt: skip
    assert process.stdin
    # More than a pipe holds: once it is written, the program is there and reads.
    whole = b"".join(long_history(5_000)) + b"\n"
    process.stdin.write(whole)
    process.stdin.flush()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, complaints = process.communicate(timeout=30)
    assert time.monotonic() - began < 5
    assert process.returncode == 130
    assert complaints == b""
    told = json.loads(out)
    assert (told["verdict"], told["stopped"]) == ("unknown", "cancelled")
    assert told["verified"]["operations"] == told["verified"]["of"] == 5_000
