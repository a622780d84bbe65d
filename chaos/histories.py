"""Histories of any system, checked on their own: ``chaos.check``.

The search is Rust's (``rust_core/crates/linearizability``, ``transactions``); a model may be a Python class, which is
slower by about two orders of magnitude: every step that was not taken before calls it.
"""

import json
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from chaos import _core
from chaos.errors import UsageError
from chaos.verdict import Verdict

DEFAULT_MODEL = "cas-register"
MEMORY_BYTES = 1 << 30
"""What the search may hold beside the history, unless something else is asked for."""

Level = Literal["serializable", "strict-serializable"]
Format = Literal["jsonl", "edn", "etcd-log"]
Algorithm = Literal["zones", "frontier", "depth-first"]


class HistoryError(UsageError):
    """A history that cannot be read, or a question about it that makes no sense. The message says where."""


@dataclass(frozen=True)
class Call:
    """An operation as a model in Python sees it. Lists and maps arrive as tuples, so that states can be hashed."""

    f: str
    key: str
    argument: Any
    outcome: Literal["ok", "fail", "unknown"]
    result: Any
    """What it answered; None unless ``outcome`` is ok."""
    error: str | None


@runtime_checkable
class Model(Protocol):
    """A sequential object, written in Python. ``by_key = False`` keeps a history whole."""

    initial: Hashable
    """What the object holds at the beginning."""

    def step(self, state: Any, call: Call) -> Iterable[Hashable]:
        """Every state in which the call may leave the object; none if it is impossible in ``state``."""


@dataclass(frozen=True)
class Checked:
    """What a check of a history found. ``data`` is all of it (docs/checkers.md, "What a check answers")."""

    verdict: Verdict
    reason: str
    data: Mapping[str, Any]

    @property
    def exit_code(self) -> int:
        """0 valid, 1 invalid, 3 unknown."""
        return self.verdict.exit_code


@dataclass(frozen=True)
class StreamProgress:
    """How far the check of a stream is."""

    events: int
    operations: int
    keys: int
    held_bytes: int


class StreamInterrupted(KeyboardInterrupt):
    """Ctrl-C, while a stream was judged: ``checked`` says how far it was verified."""

    def __init__(self, checked: Checked) -> None:
        super().__init__(checked.reason)
        self.checked = checked


def check(
    history: bytes | str | Iterable[Mapping[str, Any]],
    model: str | Model = DEFAULT_MODEL,
    *,
    history_format: Format | None = None,
    independent: bool = False,
    initial: Any = None,
    missing: Literal[""] | None = None,
    by_key: bool | None = None,
    level: Level = "strict-serializable",
    memory_bytes: int = MEMORY_BYTES,
    seconds: float | None = None,
    algorithm: Algorithm | None = None,
    minimal: bool = False,
    witness: bool = False,
    timeline: int | None = None,
    nemesis: bytes | None = None,
) -> Checked:
    """Whether a history is linearizable under a model (or, for ``list-append``, serializable at ``level``).

    ``history``: the text of a file in one of the formats of docs/histories.md, or events as dicts.
    ``model``: a name (``mcp-chaos check --models`` lists them) or a :class:`Model`.
    ``independent``: values of an EDN history are ``[key value]`` tuples.
    ``initial``: what a register holds at the beginning. ``missing``: what a missing key of ``key-value`` reads as.
    ``by_key``: part the history by key, for models that can do both.
    ``memory_bytes``, ``seconds``: beyond them the verdict is unknown, with how far the history was verified.
    ``minimal``, ``witness``, ``timeline`` (the most operations drawn): on demand, each with a cost of its own.
    ``nemesis``: a nemesis log (docs/formats.md), whose faults are told with the failure.

    Raises HistoryError for a history that cannot be read and for wrong options; whatever a Python model raises; and
    KeyboardInterrupt some milliseconds after Ctrl-C, with a note that tells how far the history was verified.
    """
    if isinstance(history, str):
        text = history.encode()
    elif isinstance(history, bytes):
        text = history
    else:
        text = "".join(_line(number, event) for number, event in enumerate(history, 1)).encode()
    options = _asked(
        model,
        format=history_format,
        independent=independent,
        initial=initial,
        missing=missing,
        parted=by_key,
        level=level,
        memory_bytes=memory_bytes,
        seconds=seconds,
        algorithm=algorithm,
        minimal=minimal,
        witness=witness,
        timeline=timeline,
    )
    try:
        answer = _core.check_history(text, options, nemesis=nemesis, **_own(model))
    except _core.RejectedError as error:
        raise HistoryError(str(error)) from error
    return _checked(answer)


def check_stream(
    pieces: Iterable[bytes],
    model: str | Model = DEFAULT_MODEL,
    *,
    history_format: Format | None = None,
    independent: bool = False,
    initial: Any = None,
    missing: Literal[""] | None = None,
    by_key: bool | None = None,
    memory_bytes: int = MEMORY_BYTES,
    seconds: float | None = None,
    nemesis: bytes | None = None,
    progress: Callable[[StreamProgress], object] | None = None,
) -> Checked:
    """As :func:`check`, of a history that is read once and not kept: larger than memory, or of a run under way.

    ``pieces``: its text, cut anywhere; what is complete in a piece is judged before the next one is asked for. While
    nothing comes an empty piece lets the check look at the clock. The first violation ends it.
    ``seconds``: counts from the beginning, waiting for pieces included.
    ``progress`` is called about five times a second while there is something to judge.

    Raises what :func:`check` raises, what ``pieces`` raises, and StreamInterrupted for KeyboardInterrupt.
    """
    options = _asked(
        model,
        format=history_format,
        independent=independent,
        initial=initial,
        missing=missing,
        parted=by_key,
        memory_bytes=memory_bytes,
        seconds=seconds,
    )
    tell = None if progress is None else lambda *far: progress(StreamProgress(*far))
    try:
        answer = _core.check_stream(iter(pieces), options, nemesis=nemesis, progress=tell, **_own(model))
    except _core.RejectedError as error:
        raise HistoryError(str(error)) from error
    except KeyboardInterrupt as interrupt:
        report = getattr(interrupt, "report", None)
        if report is None:
            raise
        raise StreamInterrupted(_checked(report)) from None
    return _checked(answer)


def _checked(answer: str) -> Checked:
    data = json.loads(answer)
    return Checked(Verdict(data["verdict"]), data["reason"], data)


def _asked(model: str | Model, **options: Any) -> str:
    """As the extension takes them. Raises HistoryError."""
    name = model if isinstance(model, str) else type(model).__name__
    try:
        return json.dumps({"model": name, **options})
    except (TypeError, ValueError, RecursionError) as error:
        raise HistoryError(f"options: {_why(error)}") from error


def _own(model: str | Model) -> dict[str, Any]:
    """A model of the caller's, as the extension takes it."""
    return {} if isinstance(model, str) else {"model": model, "call_type": Call}


def _line(number: int, event: Mapping[str, Any]) -> str:
    """An event as a line. Raises HistoryError."""
    try:
        return json.dumps(event) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise HistoryError(f"event {number}: {_why(error)}") from error


def _why(error: Exception) -> str:
    """Why something is no JSON."""
    if isinstance(error, RecursionError):
        return "lists within lists go too deep; expected at most 100 within each other"
    return f"{error}; expected what JSON can tell"
