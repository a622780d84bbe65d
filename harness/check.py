"""Histories and traces from files, judged on their own: what `mcp-chaos check` does."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast, get_args

from chaos.errors import UsageError
from chaos.histories import DEFAULT_MODEL, Algorithm, Checked, Format, HistoryError, Level, check
from chaos.verdict import Verdict, merge
from harness.options import bytes_of, json_of, one_of
from harness.output import complain, print_json, write

DRAWN = 200
"""The most operations in a picture: more cannot be told apart."""

TRANSACTIONS = "list-append"

_CHUNK_BYTES = 1 << 22
_FORMATS = get_args(Format)
_LEVELS = get_args(Level)
_ALGORITHMS = get_args(Algorithm)
_WIDTH_OF_A_FILE = 120
_NARROWEST = 40


@dataclass(frozen=True)
class Asked:
    """The options of `check`, as they were given."""

    model: str = DEFAULT_MODEL
    history_format: str | None = None
    independent: bool = False
    initial: str | None = None
    missing: str | None = None
    whole: bool = False
    level: str = "strict-serializable"
    memory: str = "1GiB"
    seconds: float | None = 60.0
    """None: no limit."""
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
            complain(note)


def check_histories(files: Sequence[Path], asked: Asked) -> Outcome:
    """Judges each file by itself. Raises UsageError for what cannot be read, with file, line and column."""
    validate(files, asked)
    found = [(str(file), _check_file(file, asked)) for file in files]
    notes: tuple[str, ...] = ()
    if asked.page is not None:
        from harness.files import write_whole  # noqa: PLC0415 only pictures need them
        from harness.report.page import page  # noqa: PLC0415

        name, checked = found[0]
        write_whole(asked.page, page(checked.data, name).encode())
        notes = (f"the picture is in {asked.page}",)
    verdict, text, data = told(found, explained=asked.explain)
    return Outcome(verdict.exit_code, text, data, notes)


def told(found: Sequence[tuple[str, Checked]], *, explained: bool) -> tuple[Verdict, str, dict[str, Any]]:
    """What was found of each history by name: merged, for people, as data."""
    from harness.report.text import words  # noqa: PLC0415 not needed where a file cannot be read

    verdict = merge(checked.verdict for _, checked in found)
    width = _terminal_width()
    text = "".join(words(name, checked, explained=explained, width=width) for name, checked in found)
    each = [{"history": name, **checked.data} for name, checked in found]
    data = each[0] if len(each) == 1 else {"verdict": verdict.value, "histories": each}
    return verdict, text, data


def check_traces(files: Sequence[Path], *, memory: str) -> Outcome:
    """Judges the traces of one cluster's nodes, in files of any size, by Raft's invariants. Raises UsageError."""
    from chaos import _core  # noqa: PLC0415

    paths = {str(file): file for file in files}
    try:
        checker = _core.TraceChecker(list(paths), memory_bytes=bytes_of("--memory", memory))
        pieces = {name: _chunks(file) for name, file in paths.items()}
        while (name := checker.wants) is not None:
            checker.feed(name, next(pieces[name], b""))
        judged = json.loads(checker.finish())
    except ValueError as error:
        raise UsageError(str(error)) from error
    verdict = merge(Verdict(one["verdict"]) for one in judged)
    width = max(len(one["check"]) for one in judged)
    lines = [f"{one['verdict']:<8} {one['check']:<{width}}  {one['reason']}\n" for one in judged]
    return Outcome(verdict.exit_code, "".join(lines), {"verdict": verdict.value, "judgements": judged})


def models_in_words() -> str:
    """A table of the models: what each is, its functions, and which errors say something about the order."""
    from chaos._core import MODELS  # noqa: PLC0415

    width = max(len(name) for name, *_ in MODELS) + 2
    lines = []
    for name, about, functions, observations in MODELS:
        lines.append(f"{name:<{width}}{about}")
        lines.append(f"{'':<{width}}f: {', '.join(functions)}")
        if observations:
            seen = ", ".join(f"{f} {error}" for f, error in observations)
            lines.append(f"{'':<{width}}errors that saw something: {seen}")
    lines.append(f"{TRANSACTIONS:<{width}}transactions over lists (--level)")
    lines.append(f'{"":<{width}}f: txn, of ["append", key, value] and ["r", key, null]')
    return "\n".join(lines) + "\n"


def validate(files: Sequence[Path], asked: Asked) -> None:
    """Raises UsageError for options that make no sense, before anything is read."""
    from chaos._core import MODELS  # noqa: PLC0415

    if asked.page is not None and (not asked.explain or len(files) != 1):
        raise UsageError("--html: expected --explain and one history")
    if sum(str(file) == "-" for file in files) > 1:
        raise UsageError("-: standard input can be read only once")
    one_of("--model", asked.model, (*(name for name, *_ in MODELS), TRANSACTIONS))
    one_of("--level", asked.level, _LEVELS)
    if asked.history_format is not None:
        one_of("--format", asked.history_format, _FORMATS)
    if asked.algorithm is not None:
        one_of("--algorithm", asked.algorithm, _ALGORITHMS)
    json_of("--initial", asked.initial)
    json_of("--missing", asked.missing)
    bytes_of("--memory", asked.memory)


def _check_file(file: Path, asked: Asked) -> Checked:
    name, nemesis = str(file), None
    if is_directory(file):
        file, nemesis = in_directory(file)
        name = str(file)
    text = _whole(file)
    if not text[:_CHUNK_BYTES].strip() and not text.strip():
        raise UsageError(f"{name}: empty: expected a history (docs/histories.md)")
    try:
        return check(
            text,
            asked.model,
            history_format=cast("Format | None", asked.history_format),
            independent=asked.independent,
            initial=json_of("--initial", asked.initial),
            missing=json_of("--missing", asked.missing),
            by_key=False if asked.whole else None,
            level=cast("Level", asked.level),
            memory_bytes=bytes_of("--memory", asked.memory),
            seconds=asked.seconds,
            algorithm=cast("Algorithm | None", asked.algorithm),
            minimal=asked.explain,
            witness=asked.explain,
            timeline=DRAWN if asked.explain else None,
            nemesis=nemesis,
        )
    except HistoryError as error:
        raise UsageError(f"{name}: {error}") from error


def is_directory(file: Path) -> bool:
    """False also where nobody may look: reading it then says why."""
    return os.path.isdir(file)  # noqa: PTH112 Path.is_dir raises there


def _is_file(file: Path) -> bool:
    return os.path.isfile(file)  # noqa: PTH113 as above


def standard_input() -> BinaryIO:
    """What is piped in. Raises UsageError if it is closed."""
    if sys.stdin is None:
        raise UsageError("-: cannot be read: standard input is closed")
    return sys.stdin.buffer


def in_directory(directory: Path) -> tuple[Path, bytes | None]:
    """The history of a bundle, and what was done to the cluster; or Jepsen's of a test."""
    for name in ("history.jsonl", "history.edn"):
        history = directory / name
        if _is_file(history):
            log = directory / "nemesis.jsonl"
            return history, _whole(log) if _is_file(log) else None
    raise UsageError(f"{directory}: expected a bundle: there is no history.jsonl or history.edn in it")


def _whole(file: Path) -> bytes:
    """All of a file, once: in chunks that are joined it would be there twice."""
    try:
        if str(file) == "-":
            return standard_input().read()
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise UsageError(f"{file}: too large for the memory there is (docs/checkers.md, Limits)") from error


def _chunks(file: Path) -> Iterator[bytes]:
    try:
        if str(file) == "-":
            opened = standard_input()
            yield from iter(lambda: opened.read(_CHUNK_BYTES), b"")
            return
        with file.open("rb", buffering=0) as opened:
            yield from iter(lambda: opened.read(_CHUNK_BYTES), b"")
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from error


def _terminal_width() -> int:
    """Columns to write to: the terminal's, or a page's where nobody watches."""
    try:
        return max(_NARROWEST, os.get_terminal_size(sys.stdout.fileno()).columns)
    except (AttributeError, OSError, ValueError):
        return _WIDTH_OF_A_FILE
