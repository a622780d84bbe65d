"""A checked history in words, for a terminal: the verdict, what cannot be explained, and a small picture of why."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chaos.histories import Checked
from chaos.verdict import Verdict
from harness.report.scene import Bar, Scene, names_of, scene
from harness.report.wording import (
    Operation,
    call,
    counted,
    cut,
    effort,
    micro,
    often,
    printable,
    seconds,
    shown,
)

_MARKS = {Verdict.VALID: "✓", Verdict.INVALID: "✗", Verdict.UNKNOWN: "?"}
_CONFIGURATIONS = 8
_FAULTS = 5
_ANOMALIES = 8
_DOUBTS = 8
_DRAWN = 24
"""The most operations in a picture: one line each."""
_LEAST_BAR = 12
_INDENT = "    "


def words(name: str, checked: Checked, *, explained: bool, width: int) -> str:
    """What `mcp-chaos check` prints of one history, in lines of about ``width`` columns."""
    lines = [f"{_MARKS[checked.verdict]} {name}: {checked.verdict.value}: {checked.reason}"]
    if "anomalies" in checked.data:
        lines += _anomalies(checked.data)
    else:
        lines += _failure(checked.data)
        lines += _doubts(checked.data)
        lines.append(f"  {effort(checked.data)}")
        if checked.data["minimal"]:
            lines += _minimal(checked.data, width)
        elif explained:
            lines += _explained(checked.data, width)
    # What a history holds must not steer the terminal.
    return "".join(f"{printable(line).rstrip()}\n" for line in lines)


def _failure(data: Mapping[str, Any]) -> Iterator[str]:
    failure = data["failure"]
    if failure is None:
        return
    known = names_of(data)
    told = failure["configurations"][:_CONFIGURATIONS]
    if told:
        total = failure["configurations_in_all"]
        yield f"  {counted(total, 'way')} to explain all that came earlier, and none allows it:"
        for one in told:
            by = one["set_by"]
            setter = f", left so by {call(by)} (process {by['process']})" if by else ""
            yield f"{_INDENT}{one['state']}{setter}: {one['why']}{_pending(one['pending'], known)}"
        if total > len(told):
            yield f"{_INDENT}… and {total - len(told):,} more"
    for band in failure["faults"][:_FAULTS]:
        yield f"  in force at the time: {band['words']} ({seconds(band['from_ns'])} to {seconds(band['to_ns'])})"
    if len(failure["faults"]) > _FAULTS:
        yield f"  and {counted(len(failure['faults']) - _FAULTS, 'fault')} more"
    if not failure["is_first"]:
        yield "  (whether an earlier operation is already inexplicable was not found within the limits)"


def _doubts(data: Mapping[str, Any]) -> Iterator[str]:
    """Keys of a stream that were not judged to their end; the reason tells of the first."""
    doubts = data.get("doubts", ())
    if len(doubts) < 2:
        return
    yield "  not judged to their end:"
    for doubt in doubts[:_DOUBTS]:
        done = doubt["verified"]
        part = f"{done['operations']:,} of {counted(done['of'], 'operation')}"
        yield f"{_INDENT}{shown(done['key'])}: {part}: {doubt['why']}"
    if data["doubts_in_all"] > _DOUBTS:
        yield f"{_INDENT}… and {data['doubts_in_all'] - _DOUBTS:,} more"


def _pending(numbers: Sequence[int], known: Mapping[int, Operation]) -> str:
    if not numbers:
        return ""
    if len(numbers) <= 2 and all(number in known for number in numbers):
        return f"; not yet in effect: {', '.join(call(known[number]) for number in numbers)}"
    return f"; {counted(len(numbers), 'operation')} in flight not yet in effect"


def _minimal(data: Mapping[str, Any], width: int) -> Iterator[str]:
    minimal = data["minimal"]
    operations: Sequence[Operation] = minimal["operations"]
    least = (
        "the smallest part that is still wrong" if minimal["is_minimal"] else "a smaller part, still wrong"
    )
    yield f"  {least} ({counted(len(operations), 'operation')}; x: what no order explains):"
    yield from lanes(scene(operations), width, impossible=data["failure"]["operation"]["number"])


def _explained(data: Mapping[str, Any], width: int) -> Iterator[str]:
    timeline = data["timeline"]
    if not timeline or not timeline["operations"]:
        return
    orders = data["witness"] or {}
    operations = timeline["operations"]
    if data["verdict"] == "unknown":
        # What had ended before is explained: the search stands where the next one begins or ends.
        stands = sum(one["invoked_at"] < data["verified"]["events"] for one in operations)
        operations = operations[max(0, min(stands - _DRAWN // 2, len(operations) - _DRAWN)) :]
    operations = operations[:_DRAWN]
    drawn = scene(operations, orders)
    if drawn.paths:
        yield "  an order that explains it (o: the operation takes effect):"
    elif data["verdict"] == "unknown":
        yield "  where the search stood:"
    else:
        yield "  the beginning:"
    yield from lanes(drawn, width, impossible=None)
    more = timeline["left_out"] + len(timeline["operations"]) - len(operations)
    if more:
        yield f"{_INDENT}… and {counted(more, 'operation')} more"


def lanes(drawn: Scene, width: int, *, impossible: int | None) -> Iterator[str]:
    """Each operation as a bar from its invocation to its completion, on a line of its own, in order of invocation.

    Words stand right of the bars; in a narrow terminal bars give way first, then words are cut.
    """
    bars = drawn.bars[:_DRAWN]
    process = min(12, max((len(name) for name in drawn.lanes), default=0))
    texts = [call(bar.operation) for bar in bars]
    room = max(20, width - len(_INDENT) - process - 3)
    label = min(max((len(text) for text in texts), default=0), max(10, room // 2))
    # At least two columns for each event, so that bars that touch in time do not touch on the screen.
    space = max(_LEAST_BAR, min(room - label, 6 * drawn.length))
    points = {point.bar.number: point.at for path in drawn.paths.values() for point in path}
    for bar, text in zip(bars, texts, strict=True):
        name = cut(drawn.lanes[bar.lane], process)
        picture = _bar(bar, drawn.length, space, points.get(bar.number), wrong=bar.number == impossible)
        yield f"{_INDENT}{name:>{process}} {picture:<{space}}  {cut(text, room - space)}"
    if len(drawn.bars) > len(bars):
        yield f"{_INDENT}… and {counted(len(drawn.bars) - len(bars), 'operation')} more"


def _bar(bar: Bar, length: int, space: int, point: float | None, *, wrong: bool) -> str:
    def column(at: float) -> int:
        return min(space - 1, int(at * (space - 1) / max(1, length - 1)))

    start = column(bar.start)
    end = max(column(bar.end), min(start + 1, space - 1)) if bar.ended else space - 1
    inside = {"ok": "=", "fail": "-", "unknown": "."}[bar.operation["outcome"]]
    cells = ["x" if wrong else inside] * (end - start + 1)
    cells[0] = "|"
    cells[-1] = "|" if bar.ended else ">"
    if point is not None:
        cells[max(0, min(len(cells) - 1, column(point) - start))] = "o"
    return " " * start + "".join(cells)


def _anomalies(data: Mapping[str, Any]) -> Iterator[str]:
    anomalies = data["anomalies"]
    for anomaly in anomalies[:_ANOMALIES]:
        if not anomaly["cycle"]:
            yield f"  {anomaly['name']} ({often(anomaly)}): {cut(anomaly['says'], 400)}"
            continue
        steps = anomaly["cycle"]
        yield (
            f"  {anomaly['name']} ({often(anomaly)}); each of these must come before the next,"
            " and the last before the first:"
        )
        for step in steps:
            yield f"{_INDENT}T{step['from']} -> T{step['to']}  {step['kind']:<8}  {cut(step['says'], 400)}"
    if len(anomalies) > _ANOMALIES:
        yield f"  and {len(anomalies) - _ANOMALIES} kinds of anomaly more"
    named = {number for anomaly in anomalies for number in anomaly["transactions"]}
    nodes = [node for node in data["graph"]["nodes"] if node["transaction"] in named]
    if nodes:
        yield "  these transactions:"
    for node in nodes[:_DRAWN]:
        did = ", ".join(micro(one) for one in node["micro_operations"] or [])
        outcome = "" if node["outcome"] == "ok" else f" ({node['outcome']})"
        yield f"{_INDENT}T{node['transaction']}, process {node['process']}{outcome}: {cut(did, 300)}"
    yield f"  {counted(data['transactions'], 'transaction')}"
