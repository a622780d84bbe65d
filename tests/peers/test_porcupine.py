"""Every verdict is Porcupine's too: on the histories that it carries, and on random ones."""

import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import chaos

ROOT = Path(__file__).resolve().parents[2]
VERDICTS = {"ok": "valid", "illegal": "invalid"}


@pytest.fixture(scope="session")
def porcupine() -> Path:
    """The program of ci/porcupine, built; its histories lie beside it."""
    if shutil.which("go") is None:
        # CI, which has Go, sets this: a suite that silently skips what it is there for would pass.
        skip = pytest.fail if os.environ.get("MCP_CHAOS_REQUIRE_DOCKER") == "1" else pytest.skip
        skip("Porcupine is built with Go, and there is none")
    return Path(subprocess.check_output([ROOT / "ci" / "build-porcupine.sh"], text=True).strip())


def answers(porcupine: Path, paths: list[Path], *options: str) -> dict[Path, str]:
    """Porcupine's verdicts in our words."""
    done = subprocess.run([porcupine, *options, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reports = map(json.loads, done.stdout.splitlines())
    return {Path(report["file"]): VERDICTS[report["verdict"]] for report in reports}


def disagreements(theirs: dict[Path, str], model: str, **options: Any) -> dict[str, tuple[str, str]]:
    """Histories of which ours says something else, with both verdicts."""
    ours = {path: chaos.check(path.read_bytes(), model, **options).verdict.value for path in theirs}
    return {path.name: (ours[path], theirs[path]) for path in theirs if ours[path] != theirs[path]}


def test_on_its_histories_of_etcd(porcupine: Path) -> None:
    paths = sorted((porcupine.parent / "test_data" / "jepsen").glob("etcd_*.log"))
    theirs = answers(porcupine, [path for path in paths if path.stat().st_size])
    assert sorted(theirs.values()).count("valid") == 23
    assert len(theirs) == 102
    assert not disagreements(theirs, "cas-register")


def test_on_its_histories_of_a_key_value_service(porcupine: Path) -> None:
    paths = sorted((porcupine.parent / "test_data" / "kv").glob("*.txt"))
    theirs = answers(porcupine, paths)
    assert len(theirs) == 6
    assert not disagreements(theirs, "key-value", missing="")
    # As Porcupine's own tests do: the map of 50 clients is too much to be judged whole.
    few = {path: verdict for path, verdict in theirs.items() if not path.name.startswith("c50")}
    assert not disagreements(few, "key-value", missing="", by_key=False)


def random_history(seed: int) -> str:
    """A register's history, of up to 160 operations of up to 6 clients; about half of them are not linearizable.

    Operations take effect at some moment while they are open, or, if they end unknown, at any later one or never.
    Then perhaps one answer is changed for another.
    """
    draw = random.Random(seed)
    values = list(range(draw.choice([1, 2, 3, 8, 200])))
    unknown = draw.choice([0, 0, 3, 6])  # With many more Porcupine is not done this year.
    register: int | None = None
    events: list[dict[str, Any]] = []
    clients: list[dict[str, Any] | None] = [None] * draw.randint(1, 6)
    processes = list(range(len(clients)))
    late: list[dict[str, Any]] = []
    left = draw.choice([6, 20, 60, 160])

    def take_effect(call: dict[str, Any]) -> None:
        nonlocal register
        match call["value"]:
            case [expected, new] if expected == register:
                register = new
            case [_, _]:
                call["error"] = "mismatch"
            case None:
                call["answer"] = register
            case new:
                register = new

    def emit(call: dict[str, Any], kind: str, **more: Any) -> None:
        said = {name: call[name] for name in ("process", "f", "value")}
        events.append(
            {"index": len(events), "time_ns": len(events), "type": kind, "key": "k0", **said, **more}
        )

    while left or any(clients):
        if late and draw.random() < 0.02:
            take_effect(late.pop(draw.randrange(len(late))))
        who = draw.randrange(len(clients))
        call = clients[who]
        if call is None and left:
            left -= 1
            f = draw.choice(["read", "read", "write", "write", "cas"])
            expected = register if draw.random() < 0.5 else draw.choice(values)
            new = draw.choice(values)
            value = {"read": None, "write": new, "cas": [expected, new]}[f]
            clients[who] = call = {"process": processes[who], "f": f, "value": value}
            emit(call, "invoke")
        elif call is not None and "outcome" not in call:
            call["outcome"] = "info" if unknown and draw.random() < 0.1 else "ok"
            unknown -= call["outcome"] == "info"
            if call["outcome"] == "ok" or draw.random() < 0.4:
                take_effect(call)
            elif draw.random() < 0.5:
                late.append(call)
        elif call is not None:
            clients[who] = None
            if call["outcome"] == "info":
                processes[who] += 100
                if draw.random() < 0.7:
                    emit(call, "info", error="timeout")
            elif "error" in call:
                emit(call, "fail", error="mismatch")
            elif call["f"] == "read":
                emit(call, "ok", value=call["answer"])
            else:
                emit(call, "ok")
    found = [event for event in events if event["type"] == "ok" and event["f"] == "read"]
    if found and draw.random() < 0.8:
        draw.choice(found)["value"] = draw.choice([None, *values])
    return "".join(json.dumps(event) + "\n" for event in events)


def test_on_random_histories(porcupine: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.jsonl" for seed in range(500)]
    for seed, path in enumerate(paths):
        path.write_text(random_history(seed), encoding="utf-8")
    theirs = answers(porcupine, paths)
    assert set(theirs.values()) == {"valid", "invalid"}
    assert not disagreements(theirs, "cas-register")


def test_its_version_is_the_one_that_is_told() -> None:
    pinned = re.search(
        r"anishathalye/porcupine v([\d.]+)",
        (ROOT / "ci" / "porcupine" / "go.mod").read_text(encoding="utf-8"),
    )
    assert pinned is not None
    assert f"Porcupine {pinned[1]}" in (ROOT / "ci" / "bench_checkers.py").read_text(encoding="utf-8")
