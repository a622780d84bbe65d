"""Histories and traces from files, judged on their own: what `mcp-chaos check` does."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.errors import UsageError
from chaos.histories import Checked, HistoryError, check
from chaos.verdict import EXIT_INVALID, EXIT_UNKNOWN, EXIT_VALID, Verdict, merge
from harness.files import write_whole
from harness.output import people, print_json, write
from harness.report.text import words

DRAWN = 200
"""The most operations in a picture: more cannot be told apart."""

_CHUNK_BYTES = 1 << 22
_EXIT_CODES = {Verdict.VALID: EXIT_VALID, Verdict.INVALID: EXIT_INVALID, Verdict.UNKNOWN: EXIT_UNKNOWN}
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


@dataclass(frozen=True)
class Asked:
    """The options of `check`, as they were given."""

    model: str
    history_format: str | None = None
    independent: bool = False
    initial: str | None = None
    whole: bool = False
    level: str = "strict-serializable"
    memory: str = "1GiB"
    seconds: float | None = None
    algorithm: str | None = None
    explain: bool = False
    page: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What was found, for people and as data."""

    exit_code: int
    text: str
    data: dict[str, Any]
    notes: tuple[str, ...] = ()
    """Where something was written."""

    def show(self, *, as_json: bool) -> None:
        """Prints it: for people, or one JSON object on stdout."""
        if as_json:
            print_json(self.data)
        else:
            write(self.text)
        for note in self.notes:
            people(True).print(note, markup=False)


def check_histories(files: Sequence[Path], asked: Asked) -> Outcome:
    """Judges each file by itself. Raises UsageError for what cannot be read, with file, line and column."""
    if asked.page is not None and (not asked.explain or len(files) != 1):
        raise UsageError("--html: expected --explain and one history")
    found = [(str(file), _check_file(file, asked)) for file in files]
    notes: tuple[str, ...] = ()
    if asked.page is not None:
        from harness.report.page import page  # noqa: PLC0415 only pictures need it

        name, checked = found[0]
        write_whole(asked.page, page(checked.data, name).encode())
        notes = (f"picture: {asked.page}",)
    verdict = merge(checked.verdict for _, checked in found)
    if len(found) == 1:
        data = {"history": found[0][0], **found[0][1].data}
    else:
        data = {
            "verdict": verdict.value,
            "histories": [{"history": name, **checked.data} for name, checked in found],
        }
    text = "".join(words(name, checked, explained=asked.explain) for name, checked in found)
    return Outcome(_EXIT_CODES[verdict], text, data, notes)


def check_traces(files: Sequence[Path], *, memory: str) -> Outcome:
    """Judges the traces of one cluster's nodes, in files of any size, by Raft's invariants."""
    from chaos import _core  # noqa: PLC0415

    checker = _core.TraceChecker(["raft"], memory_bytes=bytes_of(memory))
    for file in files:
        try:
            for chunk in _chunks(file):
                checker.feed(str(file), chunk)
        except ValueError as error:
            raise UsageError(str(error)) from error
    judged = json.loads(checker.finish())
    verdict = merge(Verdict(one["verdict"]) for one in judged)
    width = max(len(one["check"]) for one in judged)
    lines = [f"{one['verdict']:<8} {one['check']:<{width}}  {one['reason']}\n" for one in judged]
    return Outcome(_EXIT_CODES[verdict], "".join(lines), {"verdict": verdict.value, "judgements": judged})


def _check_file(file: Path, asked: Asked) -> Checked:
    nemesis: bytes | None = None
    if file.is_dir():
        # A bundle: what was done to the cluster lies beside the history.
        file, log = file / "history.jsonl", file / "nemesis.jsonl"
        nemesis = log.read_bytes() if log.is_file() else None
    try:
        initial = None if asked.initial is None else json.loads(asked.initial)
    except ValueError as error:
        raise UsageError(f"--initial {asked.initial}: expected JSON: {error}") from error
    text = b"".join(_chunks(file))
    try:
        return check(
            text,
            asked.model,
            history_format=asked.history_format,
            independent=asked.independent,
            initial=initial,
            by_key=False if asked.whole else None,
            level=asked.level,
            memory_bytes=bytes_of(asked.memory),
            seconds=asked.seconds,
            algorithm=asked.algorithm,
            minimal=asked.explain,
            witness=asked.explain,
            timeline=DRAWN if asked.explain else None,
            nemesis=nemesis,
        )
    except HistoryError as error:
        raise UsageError(f"{file}: {error}") from error


def _chunks(file: Path) -> Iterator[bytes]:
    try:
        if str(file) == "-":
            yield from iter(lambda: sys.stdin.buffer.read(_CHUNK_BYTES), b"")
            return
        with file.open("rb") as opened:
            yield from iter(lambda: opened.read(_CHUNK_BYTES), b"")
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from error


def bytes_of(text: str) -> int:
    """A size such as ``64MB`` or ``2GiB``, in bytes. Raises UsageError."""
    match = re.fullmatch(r"(\d+)\s*([KMG]?I?B?)", text.strip(), re.IGNORECASE)
    unit = match and _UNITS.get(match[2].upper() + ("" if match[2].upper().endswith("B") or not match[2] else "B"))
    if not match or not unit:
        raise UsageError(f"--memory {text}: expected a size such as 64MB or 2GiB")
    return int(match[1]) * unit
