"""Operations, values, times and numbers in words, as the terminal and the page both say them."""

from collections.abc import Mapping
from typing import Any

Operation = Mapping[str, Any]

_SHOWN = 40
"""The most characters of a value: a longer one is told by its ends."""


def counted(count: int, noun: str) -> str:
    """``1 key``, ``2 keys``, ``1,200 operations``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def printable(text: object) -> str:
    """A text without what would not print; such characters show as a box."""
    return "".join(one if one.isprintable() or one == "\n" else "\ufffd" for one in str(text))


def cut(text: str, most: int) -> str:
    """A text of at most ``most`` characters, told by its beginning."""
    return text if len(text) <= most else text[: max(0, most - 1)] + "…"


def shown(value: Any, most: int = _SHOWN) -> str:
    """A value on one line: lists in brackets, texts bare unless that would mislead."""
    text = _bare(value)
    if len(text) <= most:
        return text
    head = (most - 1) * 2 // 3
    return f"{text[:head]}…{text[head + 1 - most :]}"


def _bare(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case list():
            return f"[{', '.join(_bare(one) for one in value)}]"
        case dict():
            return "{" + ", ".join(f"{name}: {_bare(one)}" for name, one in value.items()) + "}"
        case str() if not value or value != value.strip() or _misleads(value) or not value.isprintable():
            return repr(value)
        case _:
            return str(value)


def _misleads(text: str) -> bool:
    """Whether a text looks like another value."""
    try:
        float(text)
    except ValueError:
        return text in {"null", "true", "false"} or text.startswith(("[", "{", '"', "'"))
    return True


def call(operation: Operation, *, with_key: bool = True) -> str:
    """``read k0 = 3``, ``write k0 = 7``, ``cas k0 3 -> 4``: as short as it can be said."""
    key = f" {shown(operation['key'])}" if with_key and operation["key"] else ""
    f, argument, result = str(operation["f"]), operation["argument"], operation["result"]
    answered = operation["outcome"] == "ok"
    match f, argument:
        case "cas", [expected, new]:
            text = f"cas{key} {shown(expected)} -> {shown(new)}"
        case "write", _:
            text = f"write{key} = {shown(argument)}"
        case _, None:
            text = f"{f}{key}" + (f" = {shown(result)}" if answered else "")
        case _:
            text = f"{f}{key} {shown(argument)}" + (f" = {shown(result)}" if _tells(operation) else "")
    if operation["outcome"] == "fail":
        text += f" ({shown(operation['error'] or 'failed')})"
    return text if text.isprintable() else repr(text)[1:-1]


def _tells(operation: Operation) -> bool:
    """Whether an operation was answered something besides that it was done."""
    f, argument, result = operation["f"], operation["argument"], operation["result"]
    # Some stores answer a change with an empty text.
    return operation["outcome"] == "ok" and (
        result not in (None, argument) and not (result == "" and f in {"put", "append"})
    )


def micro(operation: Any) -> str:
    """A step of a transaction: ``append x 1``, ``r y = [1, 2]``."""
    match operation:
        case ["r", key, value]:
            return f"r {shown(key)} = {shown([] if value is None else value)}"
        case [f, key, value]:
            return f"{shown(f)} {shown(key)} {shown(value)}"
        case _:
            return shown(operation)


def label(operation: Operation, *, with_key: bool) -> str:
    """What stands on a bar, where there is little room: ``read 3``, ``write 7``, ``cas 3 → 4``."""
    key = f"{shown(operation['key'], 16)} " if with_key and operation["key"] else ""
    f, argument, result = str(operation["f"]), operation["argument"], operation["result"]
    if f == "cas" and isinstance(argument, list) and len(argument) == 2:
        return f"cas {key}{shown(argument[0], 16)} → {shown(argument[1], 16)}"
    parts = [shown(argument, 24)] if argument is not None else []
    if _tells(operation) or (argument is None and operation["outcome"] == "ok"):
        parts.append(shown(result, 24))
    return f"{f} {key}{' = '.join(parts)}".rstrip()


def often(anomaly: Mapping[str, Any]) -> str:
    """How many of an anomaly were found: of cycles, the components that have one."""
    if anomaly["cycle"]:
        return counted(anomaly["count"], "group") + " of transactions with such a cycle"
    return counted(anomaly["count"], "time")


def seconds(time_ns: float) -> str:
    """``2.814 s``."""
    return f"{time_ns / 1e9:.3f} s"


def effort(data: Mapping[str, Any]) -> str:
    """What the search was given and what it took."""
    algorithms = data["algorithms"]
    names = (
        (
            next(iter(algorithms))
            if len(algorithms) == 1 and data["keys"] == 1
            else ", ".join(f"{name} ({counted(count, 'key')})" for name, count in algorithms.items())
        )
        if algorithms
        else ""
    )
    passed = data["operations"] - data["judged"]
    return (
        f"{counted(data['operations'], 'operation')}"
        + (f" ({passed:,} of them say nothing)" if passed else "")
        + f" on {counted(data['keys'], 'key')}"
        + (f", decided by {names}" if names else "")
        + f"; {counted(data['steps'], 'step')}, {data['peak_bytes'] / 1e6:.1f} MB"
    )
