"""One stream of events from three records; where two streams part, in time and in their turns."""

from typing import Any

import pytest

from chaos._core import START_NS
from chaos.generate import Sampler, draw_plan
from chaos.scenario import load_scenario
from chaos.timeline import (
    Records,
    clock,
    counted,
    ended_words,
    fault_words,
    merged,
    names,
    parting,
    parting_turn,
    span,
    turns,
    words,
)

MS = 1_000_000


def did(node: str, ms: int, event: str, **fields: Any) -> dict[str, Any]:
    return {"time_ns": START_NS + ms * MS, "node": node, "boot": 1, "event": event, **fields}


def leads(node: str, ms: int, term: int) -> dict[str, Any]:
    return did(node, ms, "role_changed", role="leader", term=term, leader=node)


def fault(ms: int, phase: str, nodes: list[str], **fields: Any) -> dict[str, Any]:
    record = {
        "step": 0, "phase": phase, "status": "done", "planned_ns": None, "time_ns": START_NS + ms * MS,
        "kind": "kill", "nodes": nodes, "links": [], "fixed": True,
    }  # fmt: skip
    return record | fields


def saw(index: int, ms: int, kind: str, **fields: Any) -> dict[str, Any]:
    record = {
        "index": index,
        "time_ns": START_NS + ms * MS,
        "process": 0,
        "type": kind,
        "f": "write",
        "key": "k0",
    }
    return record | {"value": 7, "node": "n1"} | fields


def run(history: list[dict[str, Any]], trace: list[dict[str, Any]], nemesis: list[dict[str, Any]]) -> Records:
    nodes = dict.fromkeys(record["node"] for record in trace)
    traces = {node: tuple(record for record in trace if record["node"] == node) for node in nodes}
    return Records(tuple(history), traces, tuple(nemesis))


ELECTED = [leads("n1", 0, 2), did("n1", 3, "committed", index=4), leads("n2", 20, 3)]
KILLED = [fault(10, "install", ["n1"], anchor="n1"), fault(30, "heal", ["n1"], anchor="n1")]


def test_events_are_in_time_order_and_causes_come_before_effects() -> None:
    records = run(
        [saw(0, 10, "invoke")], [leads("n2", 10, 3), leads("n1", 0, 2)], [fault(10, "install", ["n1"])]
    )
    assert [(event.source, event.time_ns) for event in merged(records)] == [
        ("trace", START_NS),
        ("nemesis", START_NS + 10 * MS),
        ("trace", START_NS + 10 * MS),
        ("history", START_NS + 10 * MS),
    ]


def test_until_keeps_the_moment_itself() -> None:
    records = run([], ELECTED, KILLED).until(START_NS + 10 * MS)
    assert [event.record["time_ns"] for event in records.events] == [
        START_NS, START_NS + 3 * MS, START_NS + 10 * MS
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (leads("n1", 0, 2), "n1 becomes leader of term 2"),
        (did("n3", 0, "vote_cast", term=4, candidate="n3"), "n3 votes for itself in term 4"),
        (did("n3", 0, "vote_cast", term=4, candidate="n1"), "n3 votes for n1 in term 4"),
        (did("n2", 0, "truncated", **{"from": 7}), "n2 removes its entries from 7 on"),
        (did("n2", 0, "appended", index=7, term=3, checksum="00"), "n2 has entry 7 of term 3 on disk"),
        (did("n2", 0, "panicked", message="index"), "n2 panics: index"),
        (did("n2", 0, "some_day"), "n2: some_day"),
    ],
)
def test_what_a_node_did_reads_as_a_clause(record: dict[str, Any], expected: str) -> None:
    (event,) = run([], [record], []).events
    assert words(event) == expected


def test_what_clients_saw_and_what_was_done_read_as_clauses() -> None:
    records = run(
        [
            saw(0, 1, "invoke"),
            saw(1, 2, "ok", log_index=9),
            saw(2, 3, "fail", f="cas", value=[7, 8], error="mismatch"),
            saw(3, 4, "info", error="timeout"),
        ],
        [],
        [
            fault(10, "install", ["n1", "n2"], anchor="n1"),
            fault(11, "install", ["n3"], status="skipped", reason="no"),
        ],
    )
    assert [words(event) for event in records.events] == [
        "process 0 invokes write k0 = 7 at n1",
        "process 0 ok: write k0 = 7 at n1, entry 9",
        "process 0 fail: cas k0: 7 → 8 at n1 (mismatch)",
        "process 0 unknown: write k0 = 7 at n1 (timeout)",
        "fault 0: kill [n1, n2; found by n1]",
        "fault 0 skipped: kill [n3]: no",
    ]


@pytest.mark.parametrize(
    ("step", "anchor", "expected"),
    [
        (
            "partition: {halves: leader, order: [n5, n3, n1, n2, n4]}",
            "n3",
            "split the nodes into halves, the leader in the smaller one [n3 n5 | n1 n2 n4; the leader was n3]",
        ),
        (
            "partition: {halves: n4, order: [n5, n3, n1, n2, n4]}",
            None,
            "split the nodes into halves, n4 in the smaller one [n4 n5 | n1 n2 n3]",
        ),
        (
            "partition: {halves: leader, order: [n5, n3, n1, n2, n4], clients: true}",
            "n3",
            "split the nodes into halves, the leader in the smaller one, clients included "
            "[n3 n5 | n1 n2 n4 clients; the leader was n3]",
        ),
        ("partition: {isolate: leader}", "n3", "cut the leader off from the other nodes [n3]"),
        (
            "partition: {isolate: {follower: 1}}",
            "n5",
            "cut the 1st follower after the leader off from the other nodes [n1; the leader was n5]",
        ),
        ("partition: {isolate: [n1, n2]}", None, "cut n1 and n2 off from the other nodes"),
        (
            "partition: {groups: 3, order: [n1, n5, n2, n4, n3]}",
            None,
            "split the nodes into 3 groups [n1 | n2 n5 | n3 n4]",
        ),
        (
            "partition: {sides: [[n1, n4]]}",
            None,
            "split the nodes into n1 n4 | the rest [n1 n4 | n2 n3 n5]",
        ),
        (
            "partition: {bridge: leader, order: [n1, n2, n3, n4, n5]}",
            "n3",
            "split the nodes into halves that only the leader connects [n1 n2 | n4 n5; n3 connects them]",
        ),
        (
            "partition: {bridge: n3, order: [n1, n2, n3, n4, n5]}",
            None,
            "split the nodes into halves that only n3 connects [n1 n2 | n4 n5]",
        ),
        (
            "partition: {majority_ring: leader, order: [n1, n2, n3, n4, n5]}",
            "n3",
            "cut the nodes into a ring of overlapping majorities that begins at the leader [the leader was n3]",
        ),
        (
            "one_way: {from: n1, to: leader}",
            "n3",
            "cut the links from n1 to the leader, one way [the leader was n3]",
        ),
        ("kill: {follower: 2}", "n3", "kill the 2nd follower after the leader [n5; the leader was n3]"),
        ("kill: n3", None, "kill n3"),
    ],
)
def test_a_fault_says_whom_it_split_from_whom_and_never_what_it_did_not(
    step: str, anchor: str | None, expected: str
) -> None:
    """Halves were once told as "[n3: n1, n2, n4, n5]", as if the leader had been cut off from all others."""
    text = (
        "version: 1\nscenario: split\ncluster: {nodes: 5}\nworkload: {duration: 5s}\n"
        f"faults: [{{at: 1s, for: 1s, {step}}}]\n"
    )
    plan = draw_plan(load_scenario(text, "test"), Sampler(0))
    case = plan.compiled()["steps"][0]["cases"][anchor or "*"]
    kind = step.partition(":")[0]
    record = fault(10, "install", case["nodes"], kind=kind, links=case["links"])
    if anchor is not None:
        record["anchor"] = anchor
    assert fault_words(record, plan.steps) == expected
    assert "leader" not in ended_words(record)


def test_the_end_of_a_partition_tells_the_sides_too() -> None:
    links = [["n1", "n2"], ["n2", "n1"], ["n3", "n1"], ["n1", "n3"]]
    record = fault(10, "heal", ["n1", "n2", "n3"], kind="partition", links=links, anchor="n2")
    assert ended_words(record) == "partition [n1 | n2 n3]"
    assert ended_words(fault(10, "heal", ["n1"], kind="kill", anchor="n1")) == "kill [n1]"


def test_one_of_a_thing_is_told_in_the_singular() -> None:
    assert [counted(number, "client") for number in (0, 1, 2)] == ["0 clients", "1 client", "2 clients"]
    assert [counted(number, "entry", "entries") for number in (1, 2)] == ["1 entry", "2 entries"]


def test_times_count_from_the_plans_start_and_are_cut_off_not_rounded() -> None:
    assert clock(START_NS + 2_814_999_999) == "+2.814 s"
    assert clock(START_NS - 1) == "-0.000 s"
    assert clock(0) == "-3.000 s"
    assert clock(START_NS + 1, 9) == "+0.000000001 s"
    assert (span(400_000), span(57 * MS), span(1520 * MS)) == ("0.4 ms", "57 ms", "1.52 s")
    assert names(["n10", "n2", "n1"]) == "n1, n2 and n10"


def test_a_run_does_not_part_from_itself() -> None:
    events = run([saw(0, 1, "invoke")], ELECTED, KILLED).events
    assert parting(events, events) is None
    assert parting_turn(turns(events, by_name=True), turns(events, by_name=True)) is None


def test_runs_part_at_the_first_event_that_differs() -> None:
    a = run([saw(0, 25, "invoke")], ELECTED, KILLED).events
    b = run([saw(0, 25, "invoke", value=8)], ELECTED, KILLED).events
    parted = parting(a, b)
    assert parted is not None
    assert (parted.at, parted.time_ns) == (4, START_NS + 25 * MS)
    assert parted.a is not None
    assert parted.a.record["value"] == 7


def test_a_run_that_ends_earlier_parts_at_its_end() -> None:
    a, b = run([], ELECTED, []).events, run([], ELECTED[:2], []).events
    parted = parting(a, b)
    assert parted is not None
    assert (parted.at, parted.b) == (2, None)


def test_the_number_of_a_step_and_the_evidence_of_a_fault_do_not_part_runs() -> None:
    """Taking a step out renumbers those behind it, and a fault's counters go on until it is over."""
    a = run([], ELECTED, [fault(10, "install", ["n1"], step=3, evidence={"links": 1}, fixed=False)]).events
    b = run([], ELECTED, [fault(10, "install", ["n1"], step=2, evidence={"links": 2})]).events
    assert parting(a, b) is None


def test_turns_of_real_runs_are_compared_by_what_nodes_were_not_by_their_names_terms_and_times() -> None:
    a = run([], ELECTED, KILLED).events
    other = [leads("n3", 5, 7), did("n3", 9, "committed", index=4), leads("n1", 44, 9)]
    b = run(
        [], other, [fault(31, "install", ["n3"], anchor="n3"), fault(90, "heal", ["n3"], anchor="n3")]
    ).events
    assert parting_turn(turns(a, by_name=False), turns(b, by_name=False)) is None
    assert parting_turn(turns(a, by_name=True), turns(b, by_name=True)) is not None
    # But a fault that hits a follower is another one than a fault that hits the leader.
    c = run([], other, [fault(31, "install", ["n2"]), fault(90, "heal", ["n2"])]).events
    parted = parting_turn(turns(a, by_name=False), turns(c, by_name=False))
    assert parted is not None
    assert parted.a is not None
    assert parted.a.source == "nemesis"
