"""Histories judged while they are read, and not kept: what `mcp-chaos check --stream` does."""

import os
import select
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from chaos.errors import UsageError
from chaos.histories import Checked, Format, HistoryError, StreamInterrupted, StreamProgress, check_stream
from chaos.verdict import EXIT_INTERRUPTED, Verdict
from harness.check import (
    TRANSACTIONS,
    Asked,
    Outcome,
    in_directory,
    is_directory,
    standard_input,
    told,
    validate,
)
from harness.options import bytes_of, json_of

_CHUNK_BYTES = 1 << 20
_LOOK_EVERY_S = 0.05
"""How long a pipe is waited for before the clock is looked at."""

_NOT_KEPT = "a stream is read once and not kept"


def check_streams(files: Sequence[Path], asked: Asked) -> Outcome:
    """Judges each file by itself while it is read. Raises UsageError for what cannot be read, with file and line.

    Ctrl-C ends it: what was verified until then is told, and files that were not begun are not.
    """
    _validate(files, asked)
    found: list[tuple[str, Checked]] = []
    is_interrupted = False
    for file in files:
        try:
            found.append((str(file), _check_file(file, asked)))
        except StreamInterrupted as interrupted:
            found.append((str(file), interrupted.checked))
            is_interrupted = True
            break
    verdict, text, data = told(found, explained=False)
    ended_early = is_interrupted and verdict is not Verdict.INVALID
    return Outcome(EXIT_INTERRUPTED if ended_early else verdict.exit_code, text, data)


def _validate(files: Sequence[Path], asked: Asked) -> None:
    for option, is_given in (("--explain", asked.explain), ("--html", asked.page is not None)):
        if is_given:
            raise UsageError(f"{option}: {_NOT_KEPT}; expected it without --stream")
    validate(files, asked)
    if asked.algorithm is not None:
        raise UsageError(
            "--algorithm: a stream is judged by the online check alone; expected it without --stream"
        )
    if asked.model == TRANSACTIONS:
        raise UsageError(f"--model {TRANSACTIONS}: it needs the whole history; expected it without --stream")


def _check_file(file: Path, asked: Asked) -> Checked:
    name, nemesis = str(file), None
    if is_directory(file):
        file, nemesis = in_directory(file)
        name = str(file)
    pieces = _Pieces(file)
    progress = _Progress(pieces) if sys.stderr is not None and sys.stderr.isatty() else None
    try:
        checked = check_stream(
            iter(pieces),
            asked.model,
            history_format=cast("Format | None", asked.history_format),
            independent=asked.independent,
            initial=json_of("--initial", asked.initial),
            missing=json_of("--missing", asked.missing),
            by_key=False if asked.whole else None,
            memory_bytes=bytes_of("--memory", asked.memory),
            seconds=asked.seconds,
            nemesis=nemesis,
            progress=progress,
        )
    except HistoryError as error:
        raise UsageError(f"{name}: {error}") from error
    finally:
        if progress is not None:
            progress.clear()
    if pieces.is_blank and checked.data["stopped"] is None:
        raise UsageError(f"{name}: empty: expected a history (docs/histories.md)")
    return checked


class _Pieces:
    """A file, or what comes through a pipe, as it comes. Now and then an empty piece, while nothing does."""

    def __init__(self, file: Path) -> None:
        self.read_bytes = 0
        self.size_bytes: int | None = None
        """Of a file; a pipe has none."""
        self.is_blank = True
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        try:
            if str(self._file) == "-":
                yield from self._read(standard_input())
            else:
                with self._file.open("rb", buffering=0) as opened:
                    yield from self._read(cast("BinaryIO", opened))
        except OSError as error:
            raise UsageError(f"{self._file}: cannot be read: {error.strerror or error}") from error

    def _read(self, opened: BinaryIO) -> Iterator[bytes]:
        descriptor = opened.fileno()
        status = os.fstat(descriptor)
        is_file = stat.S_ISREG(status.st_mode)
        self.size_bytes = status.st_size if is_file else None
        while True:
            if not is_file and not select.select([descriptor], [], [], _LOOK_EVERY_S)[0]:
                yield b""
                continue
            piece = os.read(descriptor, _CHUNK_BYTES)
            if not piece:
                return
            self.read_bytes += len(piece)
            self.is_blank = self.is_blank and not piece.strip()
            yield piece


class _Progress:
    """One line on stderr that is written over."""

    def __init__(self, pieces: _Pieces) -> None:
        self._pieces = pieces
        self._began = time.monotonic()
        self._is_shown = False

    def __call__(self, far: StreamProgress) -> None:
        from harness.report.wording import counted  # noqa: PLC0415 only long streams need it

        rate = far.operations / max(1e-9, time.monotonic() - self._began)
        size = self._pieces.size_bytes
        part = f" ({self._pieces.read_bytes / size:.0%} of the file)" if size else ""
        keys = f" on {counted(far.keys, 'key')}" if far.keys > 1 else ""
        self._write(
            f"\r{counted(far.operations, 'operation')}{keys}{part}, {rate:,.0f} a second, "
            f"{far.held_bytes / 1e6:.1f} MB\x1b[K"
        )
        self._is_shown = True

    def clear(self) -> None:
        if self._is_shown:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            pass
