"""What was the case at a moment of a run: who led, which fault stood, who held an entry. Read from its records."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from chaos.timeline import Record, Records

DOWN_BY: Final = frozenset({"kill", "power_off", "restart"})
"""Faults that end a process."""


@dataclass(frozen=True)
class Standing:
    """What a node was at a moment. ``process`` is `up`, `paused` or `down`; a node that is down has its last role."""

    process: str
    role: str
    term: int
    leader: str | None
    vote: str | None
    """For whom it had voted in ``term``."""
    last_index: int
    commit: int
    applied: int

    def words(self) -> str:
        """``leader of term 3``, ``follower of n1 in term 3``, ``down (was candidate in term 2)``."""
        role = self.role.replace("_", "-")
        if self.role == "leader":
            part = f"leader of term {self.term}"
        elif self.role == "follower" and self.leader:
            part = f"follower of {self.leader} in term {self.term}"
        else:
            part = f"{role} in term {self.term}"
        if self.process == "down":
            return f"down (was {part})"
        return f"{part}, paused" if self.process == "paused" else part


@dataclass(frozen=True)
class Election:
    """A node that became leader. ``voters`` had their votes for it on disk by then, its own included."""

    time_ns: int
    node: str
    term: int
    voters: tuple[str, ...]


@dataclass(frozen=True)
class FaultSpan:
    """A fault that was carried out, and how long it stood. ``to_ns`` is None if it stood to the end."""

    from_ns: int
    to_ns: int | None
    install: Record

    def in_force(self, time_ns: int) -> bool:
        """Whether it stood at this moment."""
        return self.from_ns <= time_ns and (self.to_ns is None or time_ns < self.to_ns)


@dataclass(frozen=True)
class Life:
    """What became of a log entry. Times in ns; node → when it had the entry on disk, or removed it."""

    index: int
    term: int
    appended: dict[str, int]
    removed: dict[str, int]
    committed: tuple[int, str] | None
    """When it was first known as committed, and by whom."""


class Retrospect:
    """Questions about one run's records, all by time."""

    def __init__(self, records: Records) -> None:
        self.records = records

    @cached_property
    def elections(self) -> tuple[Election, ...]:
        """Every node that said that it leads, in time order."""
        votes: list[Record] = [r for r in self._trace() if r["event"] == "vote_cast"]
        found = []
        for record in self._trace():
            if record["event"] != "role_changed" or record["role"] != "leader":
                continue
            voters = {
                vote["node"]
                for vote in votes
                if vote["term"] == record["term"]
                and vote["candidate"] == record["node"]
                and vote["time_ns"] <= record["time_ns"]
            }
            found.append(Election(record["time_ns"], record["node"], record["term"], tuple(sorted(voters))))
        return tuple(sorted(found, key=lambda election: election.time_ns))

    @cached_property
    def faults(self) -> tuple[FaultSpan, ...]:
        """Every fault that was carried out, in the order in which they came."""
        heals: dict[int, int] = {}
        healed_ns = None
        for record in self.records.nemesis:
            if record["phase"] == "heal":
                heals[record["step"]] = record["time_ns"]
            elif record["phase"] == "all_healed":
                healed_ns = record["time_ns"]
        spans = [
            FaultSpan(record["time_ns"], heals.get(record["step"], healed_ns), record)
            for record in self.records.nemesis
            if record["phase"] == "install" and record["status"] == "done"
        ]
        return tuple(sorted(spans, key=lambda fault: fault.from_ns))

    def leader(self, time_ns: int) -> Election | None:
        """The newest leader: of those elected by then, the one of the greatest term."""
        elected = [election for election in self.elections if election.time_ns <= time_ns]
        return max(elected, key=lambda election: election.term, default=None)

    def in_force(self, time_ns: int) -> tuple[FaultSpan, ...]:
        """The faults that stood."""
        return tuple(fault for fault in self.faults if fault.in_force(time_ns))

    def standing(self, node: str, time_ns: int) -> Standing:
        """What the node was at the end of this moment."""
        role, term, leader, vote = "follower", 0, None, None
        last = commit = applied = 0
        up = False
        for record in self.records.traces.get(node, ()):
            if record["time_ns"] > time_ns:
                break
            event = record["event"]
            if event in {"started", "role_changed", "vote_cast"} and record["term"] != term:
                term, vote = record["term"], None
            match event:
                case "started":
                    role, leader, vote, up = "follower", None, record["vote"], True
                    last = commit = applied = record["snapshot_index"]
                case "role_changed":
                    role, leader = record["role"], record.get("leader")
                case "vote_cast":
                    vote = record["candidate"]
                case "appended":
                    last = record["index"]
                case "truncated":
                    last = record["from"] - 1
                case "committed":
                    commit = record["index"]
                case "applied":
                    applied = record["index"]
                case "snapshot_installed":
                    last = commit = applied = record["index"]
                case "stopped" | "panicked" | "refused":
                    up = False
        process = self._process(node, time_ns, up)
        return Standing(process, role, term, leader, vote, last, commit, applied)

    def life(self, index: int, term: int) -> Life:
        """What became of the entry of this index and term."""
        appended: dict[str, int] = {}
        removed: dict[str, int] = {}
        committed: list[tuple[int, str]] = []
        for node in self.records.nodes:
            held = False
            for record in self.records.traces[node]:
                match record["event"]:
                    case "appended" if record["index"] == index:
                        now = record["term"] == term
                        if now:
                            appended.setdefault(node, record["time_ns"])
                            removed.pop(node, None)
                        elif held:
                            removed[node] = record["time_ns"]
                        held = now
                    case "truncated" if held and record["from"] <= index:
                        removed[node], held = record["time_ns"], False
                    case "started" if held:
                        # The log as recovered follows, entry by entry: what is not in it is gone.
                        held = record["snapshot_index"] >= index
                        if record["last_index"] < index:
                            removed[node] = record["time_ns"]
                    case "committed" if held and record["index"] >= index:
                        committed.append((record["time_ns"], node))
        return Life(index, term, appended, removed, min(committed, default=None))

    def holders(self, life: Life, time_ns: int) -> tuple[str, ...]:
        """Who had the entry on disk at this moment."""
        return tuple(
            node
            for node, since in life.appended.items()
            if since <= time_ns and not (node in life.removed and life.removed[node] <= time_ns)
        )

    def entry_of(self, client: int, sequence: int) -> tuple[int, int] | None:
        """Index and term of the entry by which a client's request first took effect; None if it never did."""
        found = [
            record
            for record in self._trace()
            if record["event"] == "applied"
            and (record.get("client"), record.get("sequence")) == (client, sequence)
            and not record.get("duplicate")
        ]
        first = min(found, key=lambda record: record["time_ns"], default=None)
        return None if first is None else (first["index"], first["term"])

    def applied_at(self, index: int) -> Iterator[Record]:
        """Who applied what at an index, in time order."""
        found = [r for r in self._trace() if r["event"] == "applied" and r["index"] == index]
        yield from sorted(found, key=lambda record: record["time_ns"])

    def before(self, node: str, time_ns: int) -> Iterable[Record]:
        """The node's records before a moment, newest first."""
        trace = self.records.traces.get(node, ())
        return (record for record in reversed(trace) if record["time_ns"] < time_ns)

    def _trace(self) -> Iterator[Record]:
        for node in self.records.nodes:
            yield from self.records.traces[node]

    def _process(self, node: str, time_ns: int, up: bool) -> str:
        """By the nemesis log, against what the trace shows: a node that was killed is down until it has started."""
        if not up:
            return "down"
        killed = max(
            (
                fault.from_ns
                for fault in self.faults
                if fault.from_ns <= time_ns
                and fault.install["kind"] in DOWN_BY
                and node in fault.install["nodes"]
            ),
            default=None,
        )
        if killed is not None:
            started = [
                record["time_ns"]
                for record in self.records.traces.get(node, ())
                if record["event"] == "started" and killed < record["time_ns"] <= time_ns
            ]
            if not started:
                return "down"
        paused = any(
            fault.install["kind"] == "pause" and node in fault.install["nodes"] and fault.in_force(time_ns)
            for fault in self.faults
        )
        return "paused" if paused else "up"
