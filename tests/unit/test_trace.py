"""The Raft checks alone, over traces that anybody may have written: docs/formats.md is true."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from chaos._core import TraceChecker, check_trace

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"
EXAMPLE, SECOND_LEADER = (
    block.encode() for block in re.findall(r"```jsonl\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
)


def verdicts(judgements: str) -> dict[str, str]:
    return {judgement["check"]: judgement["verdict"] for judgement in json.loads(judgements)}


def by_node(trace: bytes) -> dict[str, bytes]:
    """A file for each node, as nodes write them."""
    files: dict[str, bytes] = {}
    for line in trace.splitlines(keepends=True):
        node = json.loads(line)["node"]
        files[node] = files.get(node, b"") + line
    return files


def test_the_documented_trace_holds() -> None:
    answer = verdicts(check_trace([("example", EXAMPLE)]))
    assert len(answer) == 6
    assert set(answer.values()) == {"valid"}


def test_the_documented_violation_is_found() -> None:
    judgements: list[dict[str, Any]] = json.loads(check_trace([("example", EXAMPLE + SECOND_LEADER)]))
    found = [judgement for judgement in judgements if judgement["verdict"] != "valid"]
    assert [judgement["check"] for judgement in found] == ["election_safety"]
    assert found[0]["reason"].startswith("term 2 had two leaders: n2 at ")


def test_files_of_nodes_in_pieces_are_judged_as_one() -> None:
    files = by_node(EXAMPLE + SECOND_LEADER)
    checker = TraceChecker(list(files))
    while (name := checker.wants) is not None:
        checker.feed(name, files[name][:50])
        files[name] = files[name][50:]
    assert checker.records == EXAMPLE.count(b"\n") + 1
    assert checker.finish() == check_trace([("example", EXAMPLE + SECOND_LEADER)])
    with pytest.raises(ValueError, match="has given its answer"):
        checker.finish()


def test_only_what_is_asked_for_is_judged() -> None:
    answer = verdicts(check_trace([("example", EXAMPLE)], checks=["monotonic", "log_matching"]))
    assert list(answer) == ["monotonic", "log_matching"]
    assert set(verdicts(check_trace([("empty", b"")])).values()) == {"unknown"}


@pytest.mark.parametrize(
    ("files", "checks", "message"),
    [
        ([("a", b"{}")], None, "^a: line 1, column .* expected a trace record"),
        ([("a", b""), ("a", b"")], None, "^a was given twice"),
        ([], ["durable"], "^durable needs more than traces"),
        ([], ["raft_safety"], "^no check "),
    ],
)
def test_what_is_wrong_is_said(
    files: list[tuple[str, bytes]], checks: list[str] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_trace(files, checks)


def test_a_file_must_come_to_its_end() -> None:
    checker = TraceChecker(["a", "b"])
    checker.feed("a", b"")
    with pytest.raises(ValueError, match=r"^b has not come to its end"):
        checker.finish()
