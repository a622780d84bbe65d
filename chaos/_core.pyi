"""The Rust extension: the simulator, the checks, and evidence kept in Rust until somebody asks for bytes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypedDict, final, type_check_only

__all__ = [
    "CHECKS",
    "MODELS",
    "PLANTS",
    "START_NS",
    "Evidence",
    "OnlineCheck",
    "RejectedError",
    "TraceChecker",
    "Workload",
    "World",
    "check_history",
    "check_stream",
    "check_trace",
    "simulate",
]

CHECKS: Final[list[tuple[str, str, str, list[str]]]]
"""Each check: name, what it holds a system to, where it is defined, what evidence it needs."""

MODELS: Final[list[tuple[str, str, list[str], list[tuple[str, str]]]]]
"""Each sequential model: name, what it is, its functions, and which errors of which function saw something."""

PLANTS: Final[list[tuple[str, str, str, str]]]
"""Each planted bug: name, what a node with it does, where the failure was published."""

START_NS: Final[int]
"""The plan's time 0 on every record's clock, in ns: before it the cluster starts and sessions open."""

class RejectedError(ValueError):
    """What the caller gave is wrong, in words: the ``ValueError`` that everything below raises by itself."""

@type_check_only
class DrawnOperation(TypedDict):
    """One operation of a roaming client."""

    number: int
    """Which of the client's operations it is, from 1, those that the plan leaves out included."""
    think_ns: int
    """From the beginning of the client's operation before (for the first: the plan's start) to this one's."""
    key: str
    f: str
    """As the history calls it: `read`, `write`, `append`, …"""
    value: int | None
    """What is written, appended or added, or the number of a server's endpoint; None where there is none."""
    expected: int | None
    """What a ``cas`` expects; None: never written. None for the others."""
    argument: str
    """What the history has on its invocation, as JSON."""
    result: str
    """What the history has once it is done, but for what it found, as JSON."""

@type_check_only
class Stats(TypedDict, total=False):
    """Counts of a simulated run; empty for evidence that was read from files."""

    simulated_ns: int
    events: int
    messages: int
    delivered: int
    withheld: int
    lost: int
    disk_writes: int
    disk_syncs: int
    operations: int
    trace_records: int

@final
class Evidence:
    """What a run left behind: its history, one trace for each node, its nemesis log."""

    @staticmethod
    def from_jsonl(history: bytes, traces: Mapping[str, bytes], nemesis: bytes) -> Evidence:
        """Reads evidence from JSON Lines; ``traces`` by node name. No traces: the system writes none.

        Raises ``ValueError`` that names file, line, column and what was expected.
        """

    @property
    def trace_hash(self) -> str:
        """32 hexadecimal digits over every record in order: equal for records written out and read back."""

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes, in order."""

    @property
    def stats(self) -> Stats:
        """Counts of the simulation."""

    def history_jsonl(self) -> bytes:
        """The history, one event on each line."""

    def trace_jsonl(self, node: str) -> bytes:
        """One node's trace, one record on each line. Raises ``ValueError`` if there is no such node."""

    def nemesis_jsonl(self) -> bytes:
        """The nemesis log, one record on each line."""

    def judge(self, checks: Sequence[str], limits: str) -> str:
        """Judges by these checks (or groups, such as ``raft``); releases the GIL.

        ``limits`` is a JSON object: ``recovers_within_ns``, ``unavailable_at_most_ns`` (or null),
        ``progress_within_ns`` (or null), ``memory_bytes``, ``steps``; each may be left out. Gives a JSON list of
        ``{"check", "verdict", "reason", "evidence", "shape"}`` with the verdicts ``valid``, ``invalid``,
        ``unknown``, ``not_applicable``. ``shape`` says in a word how a check was violated, else it is null.
        Raises ``ValueError`` for an unknown check or limit.
        """

    def summary(self) -> str:
        """JSON: outcomes by function, the longest gap without a success, successes during each fault."""

    def states(self) -> list[int]:
        """The distinct abstract states that the run went through: 64-bit numbers, ascending; releases the GIL.

        A state is the cluster after one record of trace or nemesis log, without names, absolute terms, indexes
        or times: roles, who lags whom by nothing, few or many, uncommitted tails, faults in force. The same
        state has the same number in every run. Empty without a trace.
        """

    def transitions(self) -> list[int]:
        """The distinct steps from one abstract state to the next, and the conditions in which reads were answered.

        Numbers as those of `states`; releases the GIL.
        """

@final
class World:
    """One simulated cluster on a virtual clock, stepped by hand.

    It is founded at time 0; the plan begins at ``START_NS``. Its methods release the GIL, may be called from
    any thread, and raise ``ValueError`` once it is finished.
    """

    def __new__(cls, compiled_plan: str, plants: Sequence[str] = ()) -> World:
        """Founds the cluster. Raises ``ValueError`` that names the path of what is wrong in the plan."""

    @property
    def now_ns(self) -> int:
        """The virtual time, in nanoseconds since the cluster was founded."""

    @property
    def is_over(self) -> bool:
        """True once the plan's timeline has come to its end: nothing happens any more."""

    def advance(self, until_ns: int) -> None:
        """Lets everything happen that is due up to and including ``until_ns``."""

    def apply(self, step: str) -> str:
        """Carries out a compiled step now, whatever its ``when`` says (it may be left out).

        Gives its nemesis record as JSON: ``done``, or ``skipped`` with the reason. Raises ``ValueError`` if
        the step cannot be read or its id is taken.
        """

    def operate(self, operation: str) -> int:
        """Begins an operation now, beside the workload's, and gives its number, from 0.

        ``operation`` is JSON: ``{"f": "read" | "write" | "cas", "key": "k0", "value": 5, "expected": null,
        "node": "n1", "home": false}``; all but ``f`` and ``key`` may be left out. With a ``node`` that one is
        asked, and no other; without, hints are followed and other nodes tried. ``home`` marks it as a home
        reader's: its pauses say nothing about availability. A ``cas`` that expects null expects a register that
        was never written.

        Operations under way at one time are done by clients of their own, at most 400, with process numbers from
        600 on. A client's first write opens a session, at any node that can, within the operation's time
        (``workload.operation_timeout``); to write at a node that is to be cut off, write once before. Nothing
        else in the run is drawn differently for it. Raises ``ValueError`` that says what is wrong.
        """

    def outcome(self, number: int) -> str | None:
        """How an operation of :meth:`operate` ended; None while it is under way.

        JSON: ``{"type": "ok" | "fail" | "info", "value", "error", "log_index", "time_ns"}``, as in a history
        (``docs/formats.md``); ``error`` and ``log_index`` may be null. Raises ``ValueError`` if there is no
        operation of this number.
        """

    def observe(self) -> str:
        """What the world looks like now, as JSON: it changes nothing.

        ``now_ns``, ``over``, and ``leader`` (of the live nodes that call themselves leader, the one with the
        greatest term; or null).

        ``nodes``, by name: ``process`` (``up``, ``paused``, ``starting``, ``down``, ``crashed``, ``ended``,
        or ``stopped``: its disk failed, and it waits for it to be well), ``boot``, and ``disk``: ``synced``
        (a power loss could take nothing), ``unsynced_bytes``. A node whose process is up or paused has
        besides ``role``, ``term``, ``vote``, ``leader``, ``commit``, ``applied``, ``first_index``,
        ``last_index``, ``persisted`` (the last index that it knows to be durable), ``snapshot_index``,
        ``state`` (checksum, 16 hexadecimal digits), ``log`` (the durable log, ascending: ``{"index",
        "term", "checksum"}``), and in ``disk`` also ``written_index`` (the last index handed to the disk,
        synced or not), ``busy`` (it is writing or syncing), ``queued`` (batches and snapshots that wait).

        ``links_cut``: directed links that are cut, ``["n1", "clients"]``. ``links_disturbed``: those whose messages
        suffer otherwise, by the kind of fault (``latency``, ``drop``, …).
        ``messages_in_flight``: how many, ``nodes`` (between nodes) and ``clients`` (between these and nodes).
        ``messages``: each of those between nodes, in the order in which they arrive: ``from``, ``to``, ``kind``
        (``append``, ``heartbeat_response``, …), ``term``, ``index``, ``log_term``, ``commit``, ``entries`` (how
        many), ``reject``, ``snapshot_index`` (or null), ``due_ns``. A message arrives only if its link is whole
        then.
        """

    def finish(self) -> Evidence:
        """Lets the rest of the plan happen: faults, heal, recovery, final operations."""

@final
class OnlineCheck:
    """Linearizability of a run's registers (which start as null), judged while the run goes on.

    What it calls a violation is one, however the run goes on. It judges an answer once all operations that were
    invoked before it, on the same key, have ended. Its methods may be called from any thread.
    """

    def __new__(cls) -> OnlineCheck: ...
    def push(self, events: bytes, steps: int = 1_000_000) -> None:
        """Takes the next events, whole lines of `history.jsonl` (or none), and judges for about so many steps.

        What is left is judged in the next call. Operations other than reads, writes and compare-and-sets are
        passed over. Releases the GIL. Raises ``ValueError`` for what is no event, or makes no sense after those
        before it.
        """

    def violation(self) -> str | None:
        """The first violation as JSON: ``{"key", "words"}``, such as `n1 answered read k0 = 3 at …`; or None."""

    def doubts(self) -> list[str]:
        """What could not be judged, in words: the key, since which event, why."""

@final
class TraceChecker:
    """The Raft checks alone, over traces (docs/formats.md) that come piece by piece: of any system and length.

    While :attr:`wants` names a file, give its next piece; then :meth:`finish`. Files are joined in time order, so
    memory holds a piece of each file, and what the checks remember. Methods raise ``ValueError`` after the end.
    """

    def __new__(
        cls, files: Sequence[str], checks: Sequence[str] | None = None, memory_bytes: int | None = None
    ) -> TraceChecker:
        """``files``: the names of all files, each once. ``checks``: Raft checks by name; all if left out.

        Within ``memory_bytes`` (256 MiB if left out) the lowest part of the log is forgotten; what cannot be
        compared for it makes the answer ``unknown``. Raises ``ValueError`` for an unknown check, or one that needs
        more than traces.
        """

    @property
    def wants(self) -> str | None:
        """The file whose next piece is needed to go on; None: all have come to their end."""

    @property
    def records(self) -> int:
        """How many records have been judged."""

    def feed(self, name: str, piece: bytes) -> None:
        """Takes the next piece of a file, cut anywhere; an empty one ends it. Releases the GIL.

        Raises ``ValueError`` that names file, line, column and what was expected.
        """

    def finish(self) -> str:
        """The judgements as JSON, in the order of ``checks`` (see :meth:`Evidence.judge`); once.

        Raises ``ValueError`` if a file has not come to its end.
        """

@final
class Workload:
    """What the clients of a compiled plan do: the same on every backend."""

    def __new__(cls, compiled_plan: str) -> Workload:
        """Raises ``ValueError`` that names the path of what is wrong in the plan."""

    def operation(self, client: int, n: int, last_seen: Mapping[str, int | None]) -> DrawnOperation | None:
        """The n-th operation (from 0) of a roaming client (from 1) that the plan does not leave out: pure.

        ``None``: there are no more (only in a plan with ``workload.only``). ``last_seen`` holds, by key, what
        this client last saw there (None: never written); keys that it has not seen are absent. Raises
        ``ValueError`` for a client that the plan does not have.
        """

    def last_change(self, key: int, value: int) -> DrawnOperation:
        """What is done in place of this key once all faults are healed (without ``number`` and ``think_ns``): pure."""

    def key_at(self, key: int, since_start_ns: int) -> str:
        """What clients work on in place of this key, so long after the plan's start: pure.

        The same key, but among transactions, which go on to other lists.
        """

    def home_slot(self, node: str, slot: int) -> int | None:
        """The first slot, from ``slot`` (from 1) on, in which the home reader of this node reads: pure.

        ``None``: there are no more (only in a plan with ``workload.only``). A slot is one time that a read is
        due there. Raises ``ValueError`` for a node that the plan does not have.
        """

    def due_ns(self, begun_ns: int, think_ns: int) -> int:
        """When an operation is due that follows one begun at ``begun_ns``, from the plan's start, after a think time.

        Bursts and quiet windows counted.
        """

    def waited_ns(self, time_ns: int) -> int:
        """When an operation may begin that could begin then: then, or once it is quiet no more."""

class Expirations:
    """When the leases of a run may end, for its history: the same on every backend."""

    def __new__(cls, lease_ns: int) -> Expirations:
        """Of leases that last so long, by clocks that show the same."""

    def see(self, event: str) -> int | None:
        """Takes the history's next event, as JSON; gives a time at which to ask for what has ended."""

    def ended(self, now_ns: int) -> str:
        """The events to record for what may have ended by now, JSON; their ``index`` is the recorder's to give."""

def simulate(compiled_plan: str, plants: Sequence[str] = ()) -> Evidence:
    """Carries out a whole plan; releases the GIL.

    Raises ``ValueError`` that names the path of what is wrong in the plan, or an unknown planted bug.
    """

def check_history(
    history: bytes,
    options: str,
    *,
    nemesis: bytes | None = None,
    model: object | None = None,
    call_type: type | None = None,
) -> str:
    """Judges a history of any system; ``options`` and the answer are JSON (see :func:`chaos.histories.check`).

    ``model``: a Python object instead of a named model; ``call_type`` makes the calls that it sees. Looks for Ctrl-C
    every few milliseconds. Raises :class:`RejectedError` that names line and column or the wrong option, and what
    ``model`` raises.
    """

def check_stream(
    pieces: Iterator[bytes],
    options: str,
    *,
    nemesis: bytes | None = None,
    model: object | None = None,
    call_type: type | None = None,
    progress: Callable[[int, int, int, int], object] | None = None,
) -> str:
    """Judges a history while it is read; ``options`` and the answer are JSON (:func:`chaos.histories.check_stream`).

    ``progress`` gets events, operations, keys, and bytes held. Raises as :func:`check_history`, and what ``pieces``
    raises; a ``KeyboardInterrupt`` carries the answer until then as its ``report``.
    """

def check_trace(
    files: Sequence[tuple[str, bytes]], checks: Sequence[str] | None = None, memory_bytes: int | None = None
) -> str:
    """The Raft checks alone, over whole traces: name and content of each file; releases the GIL.

    Takes and gives what :class:`TraceChecker` does.
    """
