"""A checked history in words and as a page: what must be in it, whatever the history holds."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chaos
from harness.report.page import page
from harness.report.scene import scene
from harness.report.text import words
from harness.report.wording import call, shown

Event = dict[str, Any]
HOSTILE = "</script><script>alert('x')</script>\x1b[31m&\"\u202e"
VOID = {"meta", "stop", "br"}


def operation(process: object, f: str, argument: object, result: object, time_ns: int = 0) -> list[Event]:
    return [
        {"process": process, "type": "invoke", "f": f, "value": argument, "key": "k0", "time_ns": time_ns},
        {"process": process, "type": "ok", "f": f, "value": result, "key": "k0", "time_ns": time_ns + 900},
    ]


def stale(count: int = 3) -> list[Event]:
    writes = [event for n in range(count) for event in operation(n % 20, "write", n, n, n * 1000)]
    return [*writes, *operation(99, "read", None, 0, count * 1000)]


def explained(history: list[Event], model: str = "cas-register") -> chaos.Checked:
    return chaos.check(history, model, minimal=True, witness=True, timeline=200)


class Balanced(HTMLParser):
    """Counts elements; fails where one is closed that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID and tag not in {"th", "td", "li", "p", "tr"}:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in {"href", "src"}
            assert "alert(" not in (value or "") or name in {"title", "aria-label"}

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"th", "td", "li", "p", "tr"}:
            assert self.open.pop() == tag


def parsed(text: str) -> Balanced:
    parser = Balanced()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    assert not re.search(r"https?://(?!www\.w3\.org)|@import|url\((?!#)", text)
    return parser


def test_a_violation_is_red_and_has_its_smallest_part_above() -> None:
    text = page(explained(stale()).data, "h.jsonl")
    parsed(text)
    assert "Not linearizable" in text
    assert "The smallest part that is still wrong" in text
    assert len(re.findall(r'class="op [^"]*\bbad\b', text)) == 2
    assert "Jump to the first error" in text


def test_the_order_of_a_valid_history_is_a_path_that_never_goes_back() -> None:
    history = [event for n in range(5) for event in operation(n, "write", n, n)]
    text = page(explained(history).data, "h.jsonl")
    parsed(text)
    path = re.search(r'class="order" data-p="([^"]+)"', text)
    assert path
    places = [float(place) for place in path[1].split()]
    assert len(places) == 5
    assert all(one < other for one, other in pairwise(places))
    assert "Jump to the first error" not in text


def test_what_a_history_holds_is_text_never_markup() -> None:
    history = [
        {"process": HOSTILE, "type": "invoke", "f": HOSTILE, "value": HOSTILE, "key": HOSTILE},
        {"process": HOSTILE, "type": "ok", "f": HOSTILE, "value": HOSTILE, "key": HOSTILE},
    ]
    for event in history:
        event["f"] = "write"
    history += [{**history[0], "f": "read", "value": None}, {**history[1], "f": "read", "value": "<b>"}]
    checked = explained(history)
    text = page(checked.data, HOSTILE)
    assert parsed(text).seen.count("script") == 1
    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert "\x1b" not in words("h", checked, explained=True, width=80)


def test_two_hundred_operations_make_a_small_page() -> None:
    text = page(explained(stale(300)).data, "h.jsonl")
    parsed(text)
    assert len(text) < 80_000
    assert "more not drawn" in text


def test_faults_stand_behind_the_operations() -> None:
    data = explained(stale()).data
    data["timeline"]["faults"] = [{"words": "partition {n1} | <n2>", "from_ns": 500, "to_ns": 2500}]
    text = page(data, "h.jsonl")
    parsed(text)
    assert "partition {n1} | &lt;n2&gt;" in text
    assert 'class="fault"' in text


def test_faults_in_one_row_leave_each_other_room_for_their_words() -> None:
    data = explained(stale(40)).data
    data["timeline"]["faults"] = [
        {"words": f"the clock of n{at} jumps by 1.2 s", "from_ns": at * 1000, "to_ns": at * 1000}
        for at in (3, 4, 30)
    ]
    text = page(data, "h.jsonl")
    rows = re.findall(r'class="words" data-x="\S+ \S+" x="\S+" y="(\d+)"', text)
    assert len(rows) == 3
    assert rows[0] != rows[1]
    assert rows[0] == rows[2]


def test_an_unknown_verdict_shows_where_the_search_stood() -> None:
    history = [event for n in range(60) for event in operation(n, "enqueue", n % 2, None, n)]
    # Nobody knows what became of these, and with them very many orders are possible.
    history += [
        {"process": f"lost {n}", "type": "invoke", "f": "enqueue", "key": "k0", "value": n % 3}
        for n in range(24)
    ]
    history += [event for n in range(50) for event in operation("r", "dequeue", None, n % 2)]
    history += operation("r", "dequeue", None, 77)
    checked = chaos.check(history, "queue", seconds=0.01, minimal=True, witness=True, timeline=60)
    assert checked.verdict == "unknown"
    text = page(checked.data, "h.jsonl")
    parsed(text)
    assert "What happened where the search stood" in text
    assert 'class="until"' in text
    told = words("h.jsonl", checked, explained=True, width=80)
    assert "where the search stood" in told
    assert "dequeue" in told


def test_the_axis_and_the_words_of_an_operation_name_the_same_events() -> None:
    text = page(explained(stale(300)).data, "h.jsonl")
    events = re.search(r'data-events="([^"]+)"', text)
    assert events
    told = {int(number) for ends in re.findall(r"events (\d+)–(\d*)", text) for number in ends if number}
    assert told == set(map(int, events[1].split()))


def transactions() -> list[Event]:
    def txn(process: int, kind: str, *micro: list[Any]) -> Event:
        return {"process": process, "type": kind, "f": "txn", "value": list(micro)}

    return [
        txn(0, "invoke", ["r", "<x>", None], ["append", "y", 1]),
        txn(1, "invoke", ["r", "y", None], ["append", "<x>", 1]),
        txn(0, "ok", ["r", "<x>", []], ["append", "y", 1]),
        txn(1, "ok", ["r", "y", []], ["append", "<x>", 1]),
        txn(2, "invoke", ["r", "<x>", None], ["r", "y", None]),
        txn(2, "ok", ["r", "<x>", [1]], ["r", "y", [1]]),
    ]


def test_a_cycle_of_transactions_is_drawn_and_told() -> None:
    checked = explained(transactions(), "list-append")
    text = page(checked.data, "h.jsonl")
    parsed(text)
    assert "Not strict-serializable" in text
    assert text.count('class="box"') == 2
    assert text.count('class="edge rw"') == 2
    assert "T0 read &lt;x&gt;" in text
    told = words("h.jsonl", checked, explained=False, width=80)
    assert "T0 -> T1  rw" in told
    assert "T1 -> T0  rw" in told


@pytest.mark.parametrize("width", [40, 80, 120])
def test_lanes_fit_the_terminal(width: int) -> None:
    history = [
        *stale(6),
        {
            "process": "long-name-of-a-client-7",
            "type": "invoke",
            "f": "write",
            "key": "k0",
            "value": "v" * 300,
        },
    ]
    told = words("h.jsonl", explained(history), explained=True, width=width).splitlines()
    lanes = [line for line in told if re.search(r"\|[=x.-]|\.>", line)]
    assert any("xx" in line for line in lanes)
    assert all(len(line) <= width for line in lanes)


def test_an_order_is_drawn_with_points_in_a_terminal() -> None:
    history = [event for n in range(3) for event in operation(n, "write", n, n)]
    told = words("h.jsonl", explained(history), explained=True, width=80)
    assert told.count("o") > 3
    assert "an order that explains it" in told


def test_values_are_told_shortly_and_never_mislead() -> None:
    assert [shown(value) for value in (None, True, 3, "3", "x y", "", [1, ["a"]], {"a": None})] == [
        "null", "true", "3", "'3'", "x y", "''", "[1, [a]]", "{a: null}"
    ]  # fmt: skip
    assert len(shown("v" * 300)) == 40
    cas = {"f": "cas", "key": "k", "argument": [1, 2], "result": [1, 2], "outcome": "ok", "error": None}
    assert call(cas) == "cas k 1 -> 2"
    assert call({**cas, "outcome": "fail", "error": "mismatch"}) == "cas k 1 -> 2 (mismatch)"


@settings(max_examples=60)
@given(st.permutations(range(12)), st.sets(st.integers(0, 5)))
def test_points_are_within_their_bars_and_in_order(places: list[int], unknown: set[int]) -> None:
    operations = []
    for number in range(6):
        start, end = sorted(places[2 * number : 2 * number + 2])
        gone = number in unknown
        operations.append(
            {
                "number": number, "process": str(number), "f": "write", "key": "", "argument": number,
                "result": None, "error": None, "outcome": "unknown" if gone else "ok", "invoked_at": start,
                "completed_at": None if gone else end, "invoked_ns": start, "completed_ns": None if gone else end,
            }
        )  # fmt: skip
    # Any order by invocation is one that real time allows.
    order = sorted(range(6), key=lambda number: operations[number]["invoked_at"])
    points = scene(operations, {"": order}).paths[""]
    assert [point.bar.number for point in points] == order
    assert all(one.at < other.at for one, other in pairwise(points))
    assert all(point.bar.start <= point.at for point in points)
    assert all(point.at <= point.bar.end for point in points if point.bar.ended)
