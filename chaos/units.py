"""Quantities as people write them (`250ms`, `50/s`, `1%`) and as the machine counts them: in integers.

No floating point anywhere: a plan must mean the same on every machine, and its text must come back unchanged.
Each quantity is an ``int`` of its own class, so that code which draws values knows what round values are.
"""

import re
from decimal import Decimal

_NANOSECONDS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000}
_SECONDS = {"s": 1, "m": 60}
_BYTES = {"B": 1, "kB": 1_000, "MB": 1_000_000}

DURATION_PATTERN = r"^[0-9]{1,13}(\.[0-9]{1,12})?(ns|us|ms|s|m)$"
RATE_PATTERN = r"^[0-9]{1,12}(\.[0-9]{1,12})?/(s|m)$"
BYTE_RATE_PATTERN = r"^[0-9]{1,12}(\.[0-9]{1,6})?(B|kB|MB)/s$"
SHARE_PATTERN = r"^[0-9]{1,3}(\.[0-9]{1,4})?%$"

DURATION_EXPECTED = "a duration with a unit, such as 250ms, 2s, 1m or 300us"
RATE_EXPECTED = "a rate with a unit, such as 50/s or 3000/m"
BYTE_RATE_EXPECTED = "bytes per second with a unit, such as 20kB/s, 500B/s or 1MB/s"
SHARE_EXPECTED = "a share in percent, such as 1% or 0.5%"


class Duration(int):
    """A span of time in nanoseconds."""

    def __str__(self) -> str:
        return format_duration(self)


class Rate(int):
    """A rate in operations per 1,000 seconds."""

    def __str__(self) -> str:
        return format_rate(self)


class ByteRate(int):
    """A bandwidth in bytes per second."""

    def __str__(self) -> str:
        return format_byte_rate(self)


class Share(int):
    """A probability in parts per million."""

    def __str__(self) -> str:
        return format_share(self)


class UnitError(ValueError):
    """A text is not the quantity it should be. ``expected`` says in words what is."""

    def __init__(self, expected: str) -> None:
        super().__init__(f"expected {expected}")
        self.expected = expected


def parse_duration(value: object) -> Duration:
    """Nanoseconds from a text such as ``250ms``. Raises `UnitError`, also for parts of a nanosecond."""
    number, unit = _split(_matched(value, DURATION_PATTERN, DURATION_EXPECTED))
    nanoseconds = Decimal(number) * _NANOSECONDS[unit]
    if nanoseconds != int(nanoseconds):
        raise UnitError("a whole number of nanoseconds")
    return Duration(nanoseconds)


def format_duration(nanoseconds: int) -> str:
    """The shortest exact text in one unit: ``2s``, ``1500ms``, ``300us``."""
    if nanoseconds == 0:
        return "0s"
    for unit in ("s", "ms", "us"):
        if nanoseconds % _NANOSECONDS[unit] == 0:
            return f"{nanoseconds // _NANOSECONDS[unit]}{unit}"
    return f"{int(nanoseconds)}ns"


def parse_rate(value: object) -> Rate:
    """Operations per 1,000 seconds from ``50/s`` or ``3000/m``, rounded. Raises `UnitError`."""
    number, unit = _matched(value, RATE_PATTERN, RATE_EXPECTED).split("/")
    return Rate((Decimal(number) * 1000 / _SECONDS[unit]).to_integral_value())


def format_rate(per_1000s: int) -> str:
    """The exact rate per second: ``50/s``, ``2.5/s``."""
    return f"{_decimal(per_1000s, 3)}/s"


def parse_byte_rate(value: object) -> ByteRate:
    """Bytes per second from ``20kB/s``. Raises `UnitError`, also for parts of a byte."""
    number, unit = _split(_matched(value, BYTE_RATE_PATTERN, BYTE_RATE_EXPECTED).removesuffix("/s"))
    per_second = Decimal(number) * _BYTES[unit]
    if per_second != int(per_second):
        raise UnitError("a whole number of bytes per second")
    return ByteRate(per_second)


def format_byte_rate(bytes_per_s: int) -> str:
    """The shortest exact text in one unit: ``20kB/s``, ``1MB/s``, ``1500B/s``."""
    unit = next(unit for unit in ("MB", "kB", "B") if bytes_per_s % _BYTES[unit] == 0)
    return f"{bytes_per_s // _BYTES[unit]}{unit}/s"


def parse_share(value: object) -> Share:
    """Parts per million from a text in percent. Raises `UnitError`."""
    ppm = Decimal(_matched(value, SHARE_PATTERN, SHARE_EXPECTED).removesuffix("%")) * 10_000
    if ppm > 1_000_000:
        raise UnitError("at most 100%")
    return Share(ppm)


def format_share(ppm: int) -> str:
    """The exact share in percent: ``0.5%``."""
    return f"{_decimal(ppm, 4)}%"


def _matched(value: object, pattern: str, expected: str) -> str:
    if not isinstance(value, str):
        raise UnitError(expected)
    if not re.fullmatch(pattern, value, re.ASCII):
        negative = value.startswith("-") and re.fullmatch(pattern, value[1:], re.ASCII)
        raise UnitError(f"{expected}; it must not be negative" if negative else expected)
    return value


def _split(value: str) -> tuple[str, str]:
    unit = value.lstrip("0123456789.")
    return value.removesuffix(unit), unit


def _decimal(value: int, places: int) -> str:
    whole, part = divmod(int(value), 10**places)
    return f"{whole}.{part:0{places}d}".rstrip("0").rstrip(".")
