"""What an observation reads like: disks, logs, links, messages."""

import io
from typing import Any

import pytest
from rich.console import Console

from harness.observe import disk_words, log_lines, message_words, print_observation, term_ranges

DISK = {"synced": True, "unsynced_bytes": 0, "written_index": 12, "busy": False, "queued": 0}
MESSAGE = {
    "from": "n1", "to": "n2", "kind": "append", "term": 3, "index": 12, "log_term": 2, "commit": 11,
    "entries": 2, "reject": False, "snapshot_index": None, "due_ns": 1_200_000,
}  # fmt: skip


def node(**fields: Any) -> dict[str, Any]:
    return {
        "process": "up", "boot": 1, "role": "leader", "term": 3, "vote": "n1", "leader": "n1", "commit": 11,
        "applied": 11, "persisted": 12, "last_index": 12, "snapshot_index": 1, "disk": DISK,
        "log": [{"index": index, "term": 2 if index < 10 else 3, "checksum": f"c{index}"} for index in range(2, 13)],
    } | fields  # fmt: skip


@pytest.mark.parametrize(
    ("disk", "fields", "expected"),
    [
        ({}, {}, "all synced"),
        ({"synced": False, "unsynced_bytes": 90, "busy": True}, {}, "90 bytes not synced, busy"),
        (
            {"synced": False, "unsynced_bytes": 90, "written_index": 14, "queued": 1},
            {"last_index": 15},
            "90 bytes not synced, entries 13–14 not yet known as durable, 15 not written, 1 waiting",
        ),
    ],
)
def test_a_disk_says_what_is_synced_and_what_is_not(
    disk: dict[str, Any], fields: dict[str, Any], expected: str
) -> None:
    assert disk_words(node(disk=DISK | disk, **fields)) == expected


def test_a_log_is_told_by_the_terms_of_its_entries_and_its_last_ones() -> None:
    assert list(term_ranges(node()["log"])) == ["2–9 of term 2", "10–12 of term 3"]
    assert list(log_lines(node())) == [
        "snapshot up to 1; entries 2–9 of term 2, 10–12 of term 3",
        "the last: 10: c10, 11: c11, 12: c12",
    ]
    assert list(log_lines(node(log=[]))) == ["snapshot up to 1; no entries"]
    assert list(log_lines({"process": "down"})) == ["not known while the node is down"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "n1 → n2  append, term 3, index 12 of term 2, 2 entries, commit 11; arrives in 1.0 ms"),
        (
            {"kind": "append_response", "log_term": 0, "entries": 0, "commit": 0, "reject": True},
            "n1 → n2  append response, term 3, index 12, rejected; arrives in 1.0 ms",
        ),
        (
            {"kind": "snapshot", "index": 0, "entries": 0, "commit": 0, "snapshot_index": 100},
            "n1 → n2  snapshot, term 3, snapshot up to 100; arrives in 1.0 ms",
        ),
    ],
)
def test_a_message_says_what_it_is_and_when_it_arrives(fields: dict[str, Any], expected: str) -> None:
    assert message_words(MESSAGE | fields, now_ns=200_000) == expected


def test_a_whole_observation_fits_a_terminal_of_a_hundred_columns() -> None:
    observed = {
        "now_ns": 200_000,
        "nodes": {
            "n10": {"process": "down", "boot": 2, "disk": {"synced": False, "unsynced_bytes": 7}},
            "n1": node(),
            "n2": node(role="pre_candidate", leader=None, vote=None, process="paused"),
        },
        "links_cut": [["n1", "n2"], ["n2", "n1"], ["n1", "clients"]],
        "links_disturbed": {"drop": [["n1", "n10"], ["n10", "n1"]], "latency": [["n2", "n1"]]},
        "messages_in_flight": {"nodes": 30, "clients": 1},
        "messages": [MESSAGE] * 30,
    }
    text = io.StringIO()
    print_observation(observed, Console(file=text, width=100, highlight=False))
    lines = text.getvalue().splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert [line.split()[0] for line in lines[1:4]] == ["n1", "n2", "n10"]
    assert "pre-candidate" in lines[2]
    assert "cut: n1 ↔ n2, n1 → clients" in lines
    assert "lossy: n1 ↔ n10" in lines
    assert "slow: n2 → n1" in lines, "only what is delayed is slow"
    assert "… and 10 more" in lines
