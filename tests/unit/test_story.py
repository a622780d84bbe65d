"""The least evidence of a violation, and the story told of it, on runs written by hand."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos._core import START_NS, Evidence
from chaos.checks import judge
from chaos.essence import Essence, Operation, essence_of, least, operations_of
from chaos.generate import Sampler, draw_plan
from chaos.plan import Plan
from chaos.retrospect import Retrospect
from chaos.scenario import load_scenario
from chaos.story import MOST_LINES, Story, plan_times, tell
from chaos.timeline import Record, Records
from chaos.verdict import Judgement, Verdict

MS = 1_000_000
EMPTY = {"snapshot_index": 0, "snapshot_term": 0, "snapshot_state": "0" * 16, "last_index": 0}


def plan(checks: str, limits: str = "") -> Plan:
    text = (
        "version: 1\nscenario: by-hand\ncluster: {nodes: 3}\nworkload: {duration: 1s}\n"
        f"faults: [{{at: 100ms, for: 500ms, kill: n3}}]\nchecks: [{checks}]\nlimits: {{{limits}}}\n"
    )
    return draw_plan(load_scenario(text, "test"), Sampler(0))


class Client:
    """Writes a history: ``begin`` gives a function that ends the operation."""

    def __init__(self) -> None:
        self.events: list[Record] = []

    def op(
        self, process: int, f: str, value: Any, begin: int, end: int, kind: str = "ok", **more: Any
    ) -> None:
        shared = {"process": process, "f": f, "key": more.pop("key", "k0")}
        invoked = None if f == "read" else value
        self.events.append({"time_ns": START_NS + begin * MS, **shared, "type": "invoke", "value": invoked})
        answer = {"time_ns": START_NS + end * MS, **shared, "type": kind, "value": value, **more}
        self.events.append(answer)

    def history(self) -> tuple[Record, ...]:
        ordered = sorted(self.events, key=lambda event: (event["time_ns"], event["type"] != "invoke"))
        return tuple({"index": index, **event} for index, event in enumerate(ordered))


def did(node: str, ms: int, event: str, boot: int = 1, **fields: Any) -> Record:
    return {"time_ns": START_NS + ms * MS, "node": node, "boot": boot, "event": event, **fields}


def traced(*records: Record) -> dict[str, tuple[Record, ...]]:
    nodes = sorted({record["node"] for record in records})
    return {node: tuple(record for record in records if record["node"] == node) for node in nodes}


def explained(records: Records, plan: Plan) -> tuple[Essence, Story]:
    """As the first violated check of the plan sees it."""

    def lines(some: tuple[Record, ...]) -> bytes:
        return "".join(json.dumps(record) + "\n" for record in some).encode()

    traces = {node: lines(trace) for node, trace in records.traces.items()}
    evidence = Evidence.from_jsonl(lines(records.history), traces, lines(records.nemesis))
    judged: Judgement = next(j for j in judge(evidence, plan) if j.verdict is Verdict.INVALID)
    essence = essence_of(records, judged, plan)
    return essence, tell(Retrospect(records), essence, plan)


def stale_read() -> Records:
    """n1 leads term 2 and is deposed by n2 in term 3; a read at n1 then misses a write that n2 acknowledged."""
    client = Client()
    for number in range(30):
        client.op(0, "write", number, number * 10, number * 10 + 5, node="n1", log_index=number + 2)
        client.op(1, "read", number, number * 10 + 6, number * 10 + 8, node="n1", log_index=number + 2)
        client.op(
            2, "write", number, number * 10, number * 10 + 9, key="k1", node="n1", log_index=number + 100
        )
    client.op(0, "write", 99, 400, 410, node="n2", log_index=40)
    client.op(1, "read", 29, 420, 425, node="n1", log_index=31)
    client.op(1, "read", 99, 430, 435, node="n2", log_index=40)
    roles = [
        did("n1", -900, "started", term=1, vote=None, **EMPTY),
        did("n1", -500, "role_changed", role="leader", term=2, leader="n1"),
        did("n1", 291, "appended", index=31, term=2, checksum="00000000000000bb"),
        did("n1", 292, "committed", index=31),
        did("n2", 380, "vote_cast", term=3, candidate="n2"),
        did("n3", 382, "vote_cast", term=3, candidate="n2"),
        did("n2", 384, "role_changed", role="leader", term=3, leader="n2"),
        did("n2", 405, "appended", index=40, term=3, checksum="00000000000000aa"),
        did("n3", 406, "appended", index=40, term=3, checksum="00000000000000aa"),
        did("n2", 407, "committed", index=40),
    ]
    return Records(client.history(), traced(*roles), ())


def test_of_a_stale_read_three_operations_are_left_and_the_story_names_the_deposed_leader() -> None:
    essence, story = explained(stale_read(), plan("linearizable"))
    assert [(op.invoke["f"], op.written or op.seen) for op in essence.operations] == [
        ("write", "29"),
        ("write", "99"),
        ("read", "29"),
    ]
    text = "\n".join(line.words for line in story.lines)
    assert "n2 becomes leader of term 3, with the vote of n3 and its own; n1 knows nothing of it" in text
    assert "committed; n1 does not have it" in text
    assert (
        "n1, which still takes itself for the leader of term 2 (n2 has led term 3 for 41 ms), answers" in text
    )
    assert "29 had been overwritten, and that was acknowledged 10 ms before this read began" in story.ending
    assert len(story.lines) <= MOST_LINES


def test_a_removal_never_makes_a_read_that_somebody_wrote_into_one_that_nobody_did() -> None:
    """Without the write of 5 the first read would be a violation of its own; the second is the only one here."""
    client = Client()
    client.op(0, "write", 5, 0, 5)
    client.op(1, "read", 5, 10, 15)
    client.op(0, "write", 6, 20, 25)
    client.op(0, "cas", [6, 7], 30, 35)
    client.op(1, "read", 6, 40, 45)
    essence, _ = explained(Records(client.history(), {}, ()), plan("linearizable"))
    assert isinstance(essence.offender, Operation)
    assert essence.offender.seen == "6"
    kept = {op.written for op in essence.operations}
    assert {"6", "7"} <= kept
    assert "5" not in kept


def test_a_mismatch_that_cannot_be_keeps_every_write_before_it_and_none_after_it() -> None:
    """Whichever write is removed, it may have been the one that the mismatch saw."""
    client = Client()
    client.op(0, "write", 5, 0, 5)
    client.op(0, "write", 6, 10, 15)
    client.op(1, "read", 6, 12, 18)
    client.op(0, "cas", [6, 7], 20, 25, kind="fail", error="mismatch")
    client.op(0, "write", 8, 30, 35)
    client.op(1, "read", 8, 40, 45)
    essence, story = explained(Records(client.history(), {}, ()), plan("linearizable"))
    assert [op.written for op in essence.operations] == ["5", "6", None]
    assert "was told that k0 did not hold 6, but" in story.ending


def test_a_forgotten_vote_is_told_with_both_votes() -> None:
    noise = [did("n2", ms, "role_changed", role="follower", term=2, leader="n1") for ms in range(10, 40)]
    records = Records(
        (),
        traced(
            did("n3", 0, "started", term=2, vote=None, **EMPTY),
            did("n3", 50, "vote_cast", term=3, candidate="n2"),
            did("n3", 110, "started", boot=2, term=3, vote=None, **EMPTY),
            did("n3", 130, "vote_cast", boot=2, term=3, candidate="n1"),
            *noise,
            did("n2", 48, "vote_cast", term=3, candidate="n2"),
            did("n2", 60, "role_changed", role="leader", term=3, leader="n2"),
            did("n1", 125, "vote_cast", term=3, candidate="n1"),
            did("n1", 140, "role_changed", role="leader", term=3, leader="n1"),
        ),
        (
            {
                "step": 0, "phase": "install", "status": "done", "planned_ns": None,
                "time_ns": START_NS + 100 * MS, "kind": "kill", "nodes": ["n3"], "links": [], "fixed": True,
            },
        ),
    )  # fmt: skip
    essence, story = explained(records, plan("monotonic"))
    assert len(essence.records) == 2
    told = [line.words for line in story.lines]
    assert "n3 votes for n2 in term 3" in told
    assert "n3 votes for n1 in term 3: a second vote in this term, after the one for n2" in told
    assert any("n3 comes up (boot 2)" in line and "it had voted for n2 in this term" in line for line in told)
    assert any(line.startswith("fault 0: kill n3") for line in told)
    assert [line for line in told if "becomes leader of term 3" in line], told
    assert "n3 votes for n2 and for n1 in term 3" in story.ending


@given(st.lists(st.integers(0, 40), unique=True, max_size=40), st.data())
def test_least_finds_exactly_what_is_needed(items: list[int], data: st.DataObject) -> None:
    needed = set(data.draw(st.lists(st.sampled_from(items), unique=True))) if items else set()
    kept = least(items, lambda part: needed <= set(part))
    assert set(kept) == needed
    assert list(kept) == [item for item in items if item in needed], "in the order given"


def test_least_of_what_does_not_hold_is_all_of_it() -> None:
    assert least([1, 2, 3], lambda _: False) == (1, 2, 3)


def test_operations_pair_by_process_and_one_may_be_open() -> None:
    client = Client()
    client.op(0, "write", 1, 0, 30)
    client.op(1, "read", None, 10, 20)
    history = client.history()[:-1]
    first, second = operations_of(history)
    assert (first.completion, first.type) == (None, "info")
    assert second.seen == "null"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("n3's term went back from 6 to 5, at 10.261 s", "n3's term went back from 6 to 5, at +7.261 s"),
        ("acknowledged at 0.500 s)", "acknowledged at -2.500 s)"),
        (
            "the longest time without a success was 0.867 s, from 6.100 s to 6.967 s; the limit is 0.800 s",
            "the longest time without a success was 0.867 s, from +3.100 s to +3.967 s; the limit is 0.800 s",
        ),
        (
            "no roaming client's operation succeeded after the heal at 9.000 s",
            "no roaming client's operation succeeded after the heal at +6.000 s",
        ),
        (
            "after the heal at 9.000 s the first success came at 12.500 s; the limit is 3.000 s",
            "after the heal at +6.000 s the first success came at +9.500 s; the limit is 3.000 s",
        ),
        (
            "served again 0.250 s after the heal; all agree at the end",
            "served again 0.250 s after the heal; all agree at the end",
        ),
        (
            "n1 answered read k0 = 3 at 4.000 s (process 9), but 3 had been overwritten by compare-and-set k0 from 3 "
            "to 7 (process 2, acknowledged at 3.030 s)",
            "n1 answered read k0 = 3 at +1.000 s (process 9), but 3 had been overwritten by compare-and-set k0 from 3 "
            "to 7 (process 2, acknowledged at +0.030 s)",
        ),
        (
            "out of time: k0 was verified up to 4.500 s (3 of 9 operations)",
            "out of time: k0 was verified up to +1.500 s (3 of 9 operations)",
        ),
        (
            "the write of 5 on k0 (client 1, sequence 2, acknowledged at 5.250 s) should stand at index 7, but n2 "
            "applied request 3 of client 4 there at 6.000 s",
            "the write of 5 on k0 (client 1, sequence 2, acknowledged at +2.250 s) should stand at index 7, but n2 "
            "applied request 3 of client 4 there at +3.000 s",
        ),
        ("read k0 = 4.210 now", "read k0 = 4.210 now"),
    ],
)
def test_moments_in_a_checks_reason_are_turned_to_the_plans_clock_but_no_spans(
    reason: str, expected: str
) -> None:
    """A gap of 0.867 s was once told as one of -2.133 s."""
    assert plan_times(reason) == expected


def test_a_gap_is_told_with_the_length_and_the_limit_that_it_had() -> None:
    client = Client()
    client.op(0, "write", 1, 100, 110)
    client.op(0, "write", 2, 120, 987)
    traces = traced(did("n1", 0, "started", term=1, vote=None, **EMPTY))
    limited = plan("available", "unavailable_at_most: 800ms")
    _, story = explained(Records(client.history(), traces, ()), limited)
    assert "was 0.867 s, from +0.120 s to +0.987 s; the limit is 0.800 s" in story.ending
