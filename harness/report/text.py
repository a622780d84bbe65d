"""A checked history in words, for a terminal: the verdict, what cannot be explained, and a small picture of why."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chaos.histories import Checked
from chaos.timeline import counted
from chaos.verdict import Verdict

Operation = Mapping[str, Any]

_MARKS = {Verdict.VALID: "✓", Verdict.INVALID: "✗", Verdict.UNKNOWN: "?"}
_LANE = 64
_CONFIGURATIONS = 8


def words(name: str, checked: Checked, *, explained: bool) -> str:
    """What `mcp-chaos check` prints of one history."""
    lines = [f"{_MARKS[checked.verdict]} {name}: {checked.verdict.value}: {checked.reason}"]
    if "anomalies" in checked.data:
        lines += _anomalies(checked.data)
    else:
        lines += _failure(checked.data)
        lines.append(f"  {_effort(checked.data)}")
        if checked.data.get("minimal"):
            lines += _minimal(checked.data)
        elif explained and checked.verdict is Verdict.VALID:
            lines += _witness(checked.data)
    return "".join(f"{line}\n" for line in lines)


def call(operation: Operation) -> str:
    """``read k0 = 3``, ``write k0 = 7``, ``cas k0 3 -> 4``: as short as it can be said."""
    key = f" {operation['key']}" if operation["key"] else ""
    f, argument, result = operation["f"], operation["argument"], operation["result"]
    if f == "cas" and isinstance(argument, list) and len(argument) == 2:  # noqa: PLR2004 expected and new
        text = f"cas{key} {shown(argument[0])} -> {shown(argument[1])}"
    elif f == "write":
        text = f"write{key} = {shown(argument)}"
    elif argument is None:
        text = f"{f}{key}" + (f" = {shown(result)}" if operation["outcome"] == "ok" else "")
    else:
        told = operation["outcome"] == "ok" and result not in (None, argument)
        text = f"{f}{key} {shown(argument)}" + (f" = {shown(result)}" if told else "")
    if operation["outcome"] == "fail":
        text += f" ({operation['error'] or 'failed'})"
    return text


def shown(value: Any) -> str:
    """A value for people: nested lists in brackets, texts bare unless they would mislead."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{', '.join(shown(one) for one in value)}]"
    return str(value)


def _failure(data: Mapping[str, Any]) -> Iterator[str]:
    failure = data["failure"]
    if failure is None:
        return
    configurations = failure["configurations"]
    if configurations:
        total = failure["configurations_in_all"]
        yield f"  what was possible just before ({counted(total, 'way')} to explain all that came earlier):"
        for one in configurations[:_CONFIGURATIONS]:
            by = f", left so by {call(one['set_by'])} (process {one['set_by']['process']})" if one["set_by"] else ""
            pending = len(one["pending"])
            open_words = f"; {counted(pending, 'operation')} in flight not yet in effect" if pending else ""
            yield f"    {one['state']}{by}: {one['why']}{open_words}"
        if total > _CONFIGURATIONS:
            yield f"    … and {total - _CONFIGURATIONS} more"
    for band in failure["faults"]:
        yield f"  in force at the time: {band['words']} ({_seconds(band['from_ns'])} to {_seconds(band['to_ns'])})"
    if not failure["is_first"]:
        yield "  (whether an earlier operation is already inexplicable could not be found within the limits)"


def _effort(data: Mapping[str, Any]) -> str:
    algorithms = ", ".join(
        name if count == 1 and len(data["algorithms"]) == 1 else f"{name} ({counted(count, 'key')})"
        for name, count in data["algorithms"].items()
    )
    by = f" by {algorithms}" if algorithms else ""
    return (
        f"{counted(data['operations'], 'operation')} on {counted(data['keys'], 'key')}{by}; "
        f"{data['steps']} steps, {data['peak_bytes'] / 1e6:.1f} MB"
    )


def _minimal(data: Mapping[str, Any]) -> Iterator[str]:
    minimal = data["minimal"]
    operations: Sequence[Operation] = minimal["operations"]
    least = "the smallest part that is still wrong" if minimal["is_minimal"] else "a smaller part that is still wrong"
    yield f"  {least} ({counted(len(operations), 'operation')}; x is what cannot be explained):"
    yield from lanes(operations, data["failure"]["operation"]["number"])


def lanes(operations: Sequence[Operation], impossible: int | None) -> Iterator[str]:
    """Each operation as a bar from its invocation to its completion, in the order of events."""
    moments = sorted(
        {at for one in operations for at in (one["invoked_at"], one["completed_at"]) if at is not None}
    )
    place = {at: index for index, at in enumerate(moments)}
    scale = max(1, _LANE // max(1, len(moments)))
    width = len(moments) * scale
    process = max((len(str(one["process"])) for one in operations), default=0)
    for one in operations:
        start = place[one["invoked_at"]] * scale
        ended = one["outcome"] != "unknown" and one["completed_at"] is not None
        end = place[one["completed_at"]] * scale if ended else width
        mark = "x" if one["number"] == impossible else "="
        bar = " " * start + "|" + mark * max(0, end - start - 1) + ("|" if ended else ">")
        yield f"    {one['process']:>{process}} {bar:<{width + 1}}  {call(one)}"


def _witness(data: Mapping[str, Any]) -> Iterator[str]:
    timeline = data.get("timeline") or {"operations": []}
    known = {one["number"]: one for one in timeline["operations"]}
    for key, order in (data.get("witness") or {}).items():
        head = [known[number] for number in order if number in known][:12]
        if head:
            more = f", … ({len(order)} in all)" if len(order) > len(head) else ""
            yield f"  an order for {key or 'it'}: " + ", ".join(call(one) for one in head) + more


def _anomalies(data: Mapping[str, Any]) -> Iterator[str]:
    for anomaly in data["anomalies"]:
        yield f"  {anomaly['name']} ({counted(anomaly['count'], 'time')}): {anomaly['about']}"
        for sentence in anomaly["sentences"]:
            yield f"    {sentence}"


def _seconds(time_ns: int) -> str:
    return f"{time_ns / 1e9:.3f} s"
