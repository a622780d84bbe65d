"""What the values of options mean. Each raises UsageError: the option, what was given, what was expected."""

import json
import re
from collections.abc import Sequence
from typing import Any

from chaos.errors import UsageError
from chaos.units import parse_duration

_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
}


def seconds_of(option: str, text: str) -> float:
    """A duration such as ``90s`` or ``5m``; no time at all is a mistake."""
    seconds = _seconds(option, text)
    if not seconds:
        raise UsageError(f"{option} {text}: expected more than no time at all")
    return seconds


def limit_of(option: str, text: str) -> float | None:
    """A duration, or a number of seconds; None if it is nought: no limit."""
    return _seconds(option, text, unit="s" if text[-1:].isdecimal() else "") or None


def _seconds(option: str, text: str, unit: str = "") -> float:
    try:
        return parse_duration(text + unit) / 1e9
    except ValueError as error:
        raise UsageError(f"{option} {text}: {error}") from None


def bytes_of(option: str, text: str) -> int:
    """A size such as ``64MB`` or ``2GiB``, in bytes."""
    match = re.fullmatch(r"(\d+)\s*([KMG]?I?B?)", text.strip(), re.IGNORECASE)
    unit = match and _UNITS.get(
        match[2].upper() + ("" if match[2].upper().endswith("B") or not match[2] else "B")
    )
    if not match or not unit:
        raise UsageError(f"{option} {text}: expected a size such as 64MB or 2GiB")
    size = int(match[1]) * unit
    if size >= 1 << 63:
        raise UsageError(f"{option} {text}: expected a size such as 64MB or 2GiB, no more than 8 EiB")
    return size


def json_of(option: str, given: str | None) -> Any:
    """A value in JSON; None if it was not given."""
    try:
        return None if given is None else json.loads(given)
    except ValueError as error:
        raise UsageError(f"{option} {given}: expected JSON: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{option}: lists within lists go too deep: expected at most 100") from error


def one_of(option: str, given: str, expected: Sequence[str]) -> None:
    """Nothing, if it is one of these words."""
    if given in expected:
        return
    from difflib import get_close_matches  # noqa: PLC0415 only mistakes need it

    near = get_close_matches(given, expected, 1)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(expected)}"
    raise UsageError(f"{option} {given}: {hint}")
