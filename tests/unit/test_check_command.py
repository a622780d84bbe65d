"""`mcp-chaos check` as a newcomer meets it: a file of their own, and one clear message for each mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

VALID = """{"process":0,"type":"invoke","f":"write","value":1}
{"process":0,"type":"ok","f":"write","value":1}
{"process":1,"type":"invoke","f":"read"}
{"process":1,"type":"ok","f":"read","value":1}
"""
STALE = (
    VALID
    + """{"process":0,"type":"invoke","f":"write","value":2}
{"process":0,"type":"ok","f":"write","value":2}
{"process":1,"type":"invoke","f":"read"}
{"process":1,"type":"ok","f":"read","value":1}
"""
)
EDN = """{:process 0, :type :invoke, :f :write, :value 1}
{:process 0, :type :ok, :f :write, :value 1}
"""


def check(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness.cli", "check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, input=stdin)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture
def valid(tmp_path: Path) -> Path:
    path = tmp_path / "valid.jsonl"
    path.write_text(VALID)
    return path


@pytest.fixture
def stale(tmp_path: Path) -> Path:
    path = tmp_path / "stale.jsonl"
    path.write_text(STALE)
    return path


def test_exit_codes_are_the_verdicts(valid: Path, stale: Path) -> None:
    assert check(valid).returncode == 0
    done = check(stale)
    assert done.returncode == 1
    assert done.stdout.startswith(f"✗ {stale}: invalid: process 1 was answered read = 1")


def test_several_histories_at_once_and_as_one_object(valid: Path, stale: Path) -> None:
    done = check(valid, stale, "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["verdict"] == "invalid"
    assert [one["verdict"] for one in told["histories"]] == ["valid", "invalid"]


def test_standard_input_and_other_formats(tmp_path: Path) -> None:
    assert check("-", stdin=STALE).returncode == 1
    jepsen = tmp_path / "test"
    jepsen.mkdir()
    (jepsen / "history.edn").write_text(EDN)
    assert check(jepsen).returncode == 0


def test_an_explanation_in_text_and_as_a_page(stale: Path, tmp_path: Path) -> None:
    done = check(stale, "--explain", "--html", tmp_path / "out" / "page.html")
    assert done.returncode == 1
    assert "the smallest part that is still wrong (3 operations" in done.stdout
    assert "|xx" in done.stdout
    assert "page.html" in done.stderr
    assert "<svg" in (tmp_path / "out" / "page.html").read_text()


def test_the_models_are_listed() -> None:
    done = check("--models")
    assert done.returncode == 0
    assert "cas mismatch" in done.stdout
    assert "list-append" in done.stdout


MISTAKES: dict[str, tuple[list[str], str]] = {
    "a model that is none": (["--model", "cas-regster"], "--model cas-regster: did you mean cas-register?"),
    "a format that is none": (["--format", "xml"], "--format xml: expected one of jsonl, edn, etcd-log"),
    "a level that is none": (["--level", "serialisable"], "--level serialisable: did you mean serializable?"),
    "an algorithm that is none": (["--algorithm", "front"], "--algorithm front: did you mean frontier?"),
    "a size that is none": (["--memory", "lots"], "--memory lots: expected a size such as 64MB or 2GiB"),
    "a time that is none": (["--time", "soon"], "--time soon: expected a duration with a unit"),
    "no JSON": (["--initial", "{"], "--initial {: expected JSON"),
    "a page of nothing": (["--html", "x.html"], "--html: expected --explain and one history"),
    "another model's function": (["--model", "queue"], "model queue knows enqueue, dequeue, not write"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_option_is_one_message(name: str, valid: Path) -> None:
    arguments, message = MISTAKES[name]
    done = check(valid, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_what_cannot_be_read_is_one_message_with_its_place(tmp_path: Path, valid: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "typo.jsonl").write_text(VALID.replace('"ok"', '"okay"', 1))
    (tmp_path / "bundle").mkdir()
    for name, message in {
        "absent.jsonl": "absent.jsonl: cannot be read: No such file or directory",
        "empty.jsonl": "empty.jsonl: empty: expected a history",
        "binary": "binary: line 1, column 1: ",
        "typo.jsonl": "typo.jsonl: line 2, column ",
        "bundle": "bundle: expected a bundle: there is no history.jsonl",
    }.items():
        done = check(valid, tmp_path / name)
        assert done.returncode == 2, name
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    done = check(tmp_path / "typo.jsonl", "--json")
    assert json.loads(done.stdout)["exit_code"] == 2


def test_a_reader_that_goes_away_changes_nothing(stale: Path) -> None:
    command = f"{sys.executable} -m harness.cli check {stale} --explain --json"
    done = subprocess.run(
        ["bash", "-c", f"{command} | true; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == ""


def hard(path: Path) -> Path:
    """A search that takes long: 26 additions at once make 67 million sums, and a read sees one that is none."""
    lines: list[dict[str, object]] = [
        {"process": n, "type": "invoke", "f": "add", "value": 3**n} for n in range(26)
    ]
    lines.append({"process": 90, "type": "invoke", "f": "read"})
    lines.append({"process": 90, "type": "ok", "f": "read", "value": 2})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_time_and_memory_are_limits(tmp_path: Path) -> None:
    history = hard(tmp_path / "hard.jsonl")
    done = check(history, "--model", "counter", "--time", "300ms", "--memory", "64MB", "--json")
    told = json.loads(done.stdout)
    assert done.returncode in {1, 3}
    assert told["peak_bytes"] <= 64e6 * 1.1


def test_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    history = hard(tmp_path / "hard.jsonl")
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "check", "-", "--model", "counter", "--memory", "2GiB"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    assert process.stdin
    # More than a pipe holds: once it is written, the program is there and reads.
    process.stdin.write(history.read_text().replace(", ", ",  " + " " * 4000))
    process.stdin.close()
    process.stdin = None
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=30)
    if process.returncode != 1:  # else it had found the violation by then
        assert process.returncode == 130
        assert complaints.startswith("mcp-chaos: interrupted: the history was verified up to event ")
