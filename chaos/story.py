"""The story of a violation: the events that matter, in order, each in a line, and why they break the property.

What matters is the least evidence (:mod:`chaos.essence`) and what links it: who led when each operation was
answered, where its log entry stood, the elections and faults in between (:mod:`chaos.retrospect`).
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Final

from chaos._core import CHECKS, START_NS
from chaos.essence import Essence, Operation
from chaos.plan import Plan
from chaos.retrospect import DOWN_BY, Election, FaultSpan, Life, Retrospect
from chaos.timeline import (
    Record,
    clock,
    fault_words,
    found_words,
    names,
    node_number,
    operation_words,
    span,
    trace_words,
)
from chaos.workload import READS, TRANSACTIONS

MOST_LINES: Final = 12
"""How many events a story holds at most; its ending comes besides."""

_MOST_RECORDS: Final = 6
_MOST_OPERATIONS: Final = 6

_PROPERTY: Final = {name: about for name, about, _, _ in CHECKS}

_WHY: Final = {
    "monotonic": "A node may forget neither its term nor its vote, since both count as soon as others know of them",
    "election_safety": "A majority for each of two leaders in one term needs a node that votes twice",
    "leader_completeness": "What is committed is on a majority, and a leader needs votes of a majority that hold it",
}
"""What the violation of a check comes down to, where its own reason does not say."""


class Weight(IntEnum):
    """How much a line matters where there are too many."""

    REMOTE = 0
    CONTEXT = 1
    LINK = 2
    CORE = 3


@dataclass(frozen=True)
class Line:
    """One event of the story, in words. ``time_ns`` is on the records' clock."""

    time_ns: int
    words: str
    weight: Weight

    def to_dict(self) -> Record:
        """For ``--json``."""
        return {"time_ns": self.time_ns, "plan_ns": self.time_ns - START_NS, "words": self.words}


@dataclass(frozen=True)
class Story:
    """The events in order, and the ending: what was violated, and why this breaks it."""

    lines: tuple[Line, ...]
    ending: str


@dataclass
class _Draft:
    """Lines by what they are about, so that nothing is told twice."""

    lines: dict[tuple[Any, ...], Line] = field(default_factory=dict)

    def add(self, about: tuple[Any, ...], time_ns: int, weight: Weight, words: str) -> None:
        known = self.lines.get(about)
        if known is None or known.weight < weight:
            self.lines[about] = Line(time_ns, words, weight)

    def chosen(self, end_ns: int) -> tuple[Line, ...]:
        """The weightiest; of equals, those nearest to the end."""
        ranked = sorted(self.lines.values(), key=lambda line: (-line.weight, abs(end_ns - line.time_ns)))
        return tuple(sorted(ranked[:MOST_LINES], key=lambda line: line.time_ns))


def tell(run: Retrospect, essence: Essence, plan: Plan, *, each_step_counts: bool = False) -> Story:
    """The story of the violation that ``essence`` holds.

    ``each_step_counts``: without any of its faults the plan does not fail, as after shrinking: so all are told.
    """
    teller = _Teller(run, essence, plan, each_step_counts)
    return Story(teller.lines(), teller.ending())


class _Teller:
    def __init__(self, run: Retrospect, essence: Essence, plan: Plan, each_step_counts: bool) -> None:
        self.run, self.essence, self.plan = run, essence, plan
        self.each_step_counts = each_step_counts
        self.judgement = essence.judgement
        self.evidence: Record = self.judgement.evidence if isinstance(self.judgement.evidence, dict) else {}
        self.draft = _Draft()
        self.concerned: set[str] = set()
        self.times: list[int] = []
        self.twice: str | None = None
        self.forgotten: str | None = None

    def lines(self) -> tuple[Line, ...]:
        for operation in self._told_operations():
            self._operation(operation)
        self._records()
        if self.judgement.check in {"monotonic", "election_safety"}:
            self._votes()
        if self.judgement.check == "leader_completeness":
            self._missing_entry()
        if not self.times:
            self._whole_run()
        start, end = min(self.times), max(self.times)
        self._elections(start, end)
        self._faults(start, end)
        return self.draft.chosen(end)

    def ending(self) -> str:
        """What the property demands, and how this breaks it."""
        check, offender = self.judgement.check, self.essence.offender
        overwriter = self.evidence.get("overwritten_by")
        if check == "linearizable" and isinstance(offender, Operation) and overwriter and offender.seen:
            acknowledged = overwriter["completion"]["time_ns"]
            before = offender.invoke["time_ns"] - acknowledged
            return (
                f"{_property(check)}: {_value(offender.seen)} had been overwritten, and that was acknowledged "
                f"{span(before)} before this {_noun(offender)} began: it had to see "
                f"{_new_value(overwriter['invoke'])}, or something newer."
            )
        contradiction = self._contradiction()
        if contradiction:
            return f"{_property(check)}: {contradiction}."
        why = self.twice or self.forgotten or _WHY.get(check, "")
        return f"{_property(check)}: {plan_times(self.judgement.reason)}. {why}".rstrip(". ") + "."

    def _contradiction(self) -> str | None:
        """Why no order explains the kept operations, where two of them cannot both be."""
        offender = self.essence.offender
        if self.plan.compiled()["workload"]["kind"] != "registers":
            return None  # what is read of them is more than one operation's doing
        if isinstance(offender, Operation) and offender.type == "fail" and offender.invoke["f"] == "cas":
            return self._wrong_mismatch(offender)
        if not isinstance(offender, Operation) or offender.seen is None or offender.completion is None:
            return None
        began = offender.invoke["time_ns"]
        for other in self.essence.operations:
            if other is offender or other.seen is None or other.completion is None:
                continue
            if other.seen == offender.seen:
                once = len([op for op in self.essence.operations if op.written == other.seen]) == 1
                if (
                    once
                    and offender.written
                    and other.written
                    and {other.invoke["f"], offender.invoke["f"]} == {"cas"}
                ):
                    return (
                        f"two compare-and-sets found {other.seen} and replaced it, which was written once: only one of "
                        "them can have found it"
                    )
                continue
            since = span(began - other.completion["time_ns"])
            if other.completion["time_ns"] < began and self._written_before(
                offender.seen, other.invoke["time_ns"]
            ):
                return (
                    f"{other.seen} had been answered {since} before this {_noun(offender)} began, so {offender.seen}, "
                    "which is older, could not be answered any more"
                )
            both = min(began, other.invoke["time_ns"])
            if all(self._written_before(value, both) for value in (offender.seen, other.seen)):
                return (
                    f"{other.seen} and {offender.seen} had both been written and acknowledged before either was read, "
                    "so both reads had to see the same one, the later"
                )
        return None

    def _wrong_mismatch(self, offender: Operation) -> str | None:
        """A compare-and-set was told of another value, where there could be none."""
        expected = offender.invoke["value"][0]
        possible = [value["value"] for value in self.evidence.get("possible_values") or []]
        if not possible or any(value != expected for value in possible):
            return None
        return (
            f"{_client(offender)} was told that {offender.invoke['key']} did not hold {json.dumps(expected)}, but by "
            "all that had been acknowledged until then it could hold nothing else"
        )

    def _written_before(self, value: str, time_ns: int) -> bool:
        """Whether every write of a value was over by then."""
        return all(
            op.completion is not None and op.type == "ok" and op.completion["time_ns"] < time_ns
            for op in self.essence.operations
            if op.written == value
        )

    # Operations and their entries.

    def _told_operations(self) -> tuple[Operation, ...]:
        """All, unless they are many, as for a mismatch: then who wrote what it expected, and the last of the rest."""
        operations, offender = self.essence.operations, self.essence.offender
        if len(operations) <= _MOST_OPERATIONS or not isinstance(offender, Operation):
            return operations
        is_cas = offender.invoke["f"] == "cas"
        expected = json.dumps(offender.invoke["value"][0]) if is_cas else offender.seen
        writers = [op for op in operations if op.written == expected]
        rest = [op for op in operations if op.written != expected]
        told = {id(op) for op in (*writers[-_MOST_OPERATIONS:], *rest[-(_MOST_OPERATIONS // 2) :])}
        return tuple(op for op in operations if id(op) in told)

    def _operation(self, operation: Operation) -> None:
        completion = operation.completion
        self.times.append(operation.invoke["time_ns"])
        if completion is None or operation.type != "ok":
            what = operation_words(operation.invoke)
            error = f" ({completion['error']})" if completion and completion.get("error") else ""
            told = completion or operation.invoke
            words = f"{_client(operation)} tries {what}; nobody knows whether it takes effect{error}"
            if operation.type == "fail" and completion:
                words = (
                    f"{completion.get('node') or 'the system'} refuses {what} of {_client(operation)}{error}"
                )
            self.draft.add(("operation", id(operation)), told["time_ns"], Weight.CORE, words)
            self.times.append(told["time_ns"])
            return
        self.times.append(completion["time_ns"])
        if completion.get("node"):
            self.concerned.add(completion["node"])
        if operation.invoke["f"] in READS or completion.get("log_index") is None:
            self._answer(operation, completion)
        else:
            self._write(operation, completion)

    def _answer(self, operation: Operation, completion: Record) -> None:
        """A read, and what the node that answered it was at that moment."""
        node, time_ns = completion.get("node"), completion["time_ns"]
        words = f"{_client(operation)} reads {operation.invoke['key']}"
        waited = f", asked at {clock(operation.invoke['time_ns'])}"
        found = completion["value"][0][2] if operation.invoke["f"] in TRANSACTIONS else completion["value"]
        value = found_words(found)
        if node is None:
            words = f"{words} and is told {value}{waited}"
        else:
            standing = self._standing(node, time_ns)
            applied = completion.get("log_index")
            upto = f", having applied entries up to {applied}" if applied is not None else ""
            words = (
                f"{node}{standing} answers {_client(operation, of=True)} read of {operation.invoke['key']}"
            )
            words += f" with {value}{upto}{waited}"
        self.draft.add(("operation", id(operation)), time_ns, Weight.CORE, words)

    def _write(self, operation: Operation, completion: Record) -> None:
        """A write that was acknowledged: by whom, as which entry, and who had that entry by then."""
        node, time_ns, index = completion.get("node"), completion["time_ns"], completion["log_index"]
        term = self._term_of_entry(operation, completion)
        # What a transaction read is known once it is done.
        told = completion if operation.invoke["f"] in TRANSACTIONS else operation.invoke
        what, client = operation_words(told), _client(operation)
        by = f"{node}{self._standing(node, time_ns)}" if node else "the system"
        entry = f"entry {index}" + (f" of term {term}" if term is not None else "")
        life = None if term is None else self.run.life(index, term)
        safe = self._how_safe(life, time_ns) if life is not None else ""
        told_ns, words = time_ns, f"{by} acknowledges {what} to {client} as {entry}{safe}"
        if self._seen_early(operation, time_ns):
            told_ns = operation.invoke["time_ns"]
            words = f"{client} asks for {what}; {by} acknowledges it at {clock(time_ns)}, as {entry}{safe}"
        self.draft.add(("operation", id(operation)), told_ns, Weight.CORE, words)
        if life is not None:
            self._fate(life, operation, time_ns)

    def _seen_early(self, operation: Operation, acknowledged_ns: int) -> bool:
        """Whether another operation saw what this one wrote before it was acknowledged."""
        return operation.written is not None and any(
            other.seen == operation.written
            and other.completion is not None
            and other.completion["time_ns"] < acknowledged_ns
            for other in self.essence.operations
        )

    def _how_safe(self, life: Life, time_ns: int) -> str:
        """Whether the entry was committed when it was acknowledged, and if not, who had it on disk."""
        holders = self.run.holders(life, time_ns)
        if life.committed is not None and life.committed[0] <= time_ns:
            offender = self.essence.offender
            answered = offender.completion if isinstance(offender, Operation) else None
            node = (answered or {}).get("node")
            # A node that has applied it may hold it in a snapshot.
            lacks = node in self.run.records.traces and node not in holders
            if lacks and self.run.standing(str(node), time_ns).applied < life.index:
                return f", committed; {node} does not have it"
            return ", committed"
        if not life.appended:
            where = "no node ever has it on disk"
        elif not holders:
            where = "no node has it on disk yet"
        elif len(holders) > self.plan.nodes // 2:
            where = "a majority has it on disk, but nobody knows that yet"
        else:
            have = "has" if len(holders) == 1 else "have"
            where = f"of {self.plan.nodes} nodes only {names(holders)} {have} it on disk"
        late = ""
        if life.committed is not None:
            late = f" (that is {span(life.committed[0] - time_ns)} later)"
        return f", BEFORE it is committed{late}: {where}"

    def _fate(self, life: Life, operation: Operation, acknowledged_ns: int) -> None:
        """Of an entry that was never committed: who removed it, and what was applied in its place."""
        if life.committed is not None:
            return
        what = operation_words(operation.invoke)
        instead = next((r for r in self.run.applied_at(life.index) if r["term"] != life.term), None)
        if instead is not None:
            self.times.append(instead["time_ns"])
            self.draft.add(
                ("applied", life.index),
                instead["time_ns"],
                Weight.CORE,
                f"{instead['node']} applies another entry {life.index}, of term {instead['term']}: "
                f"the acknowledged {what} is lost",
            )
        if life.removed:
            time_ns = min(life.removed.values())
            self.times.append(time_ns)
            leader = self.run.leader(time_ns)
            for_whom = f": {leader.node}, leader of term {leader.term}, never had it" if leader else ""
            s = "s" * (len(life.removed) == 1)
            self.draft.add(
                ("removed", life.index, life.term),
                time_ns,
                Weight.CORE,
                f"{names(life.removed)} remove{s} entry {life.index} of term {life.term} ({what}){for_whom}",
            )

    def _term_of_entry(self, operation: Operation, completion: Record) -> int | None:
        """The term of the entry that the answering node held at the answer's index."""
        node, index, time_ns = completion.get("node"), completion["log_index"], completion["time_ns"]
        if node is not None:
            for record in self.run.before(node, time_ns + 1):
                if record["event"] in {"appended", "applied"} and record["index"] == index:
                    return int(record["term"])
        entry = None
        if completion.get("client") is not None:
            entry = self.run.entry_of(completion["client"], completion["sequence"])
        if entry is not None and entry[0] == index:
            return entry[1]
        # Acknowledged before anybody had it on disk: then it is of the term of the leader that answered.
        if node is None or node not in self.run.records.traces:
            return None
        standing = self.run.standing(node, time_ns)
        return standing.term if standing.role == "leader" else None

    def _standing(self, node: str, time_ns: int) -> str:
        """What the node is, as an apposition; for a deposed leader, who leads meanwhile."""
        if node not in self.run.records.traces:
            return ""
        standing = self.run.standing(node, time_ns)
        newest = self.run.leader(time_ns)
        if standing.role == "leader" and newest is not None and newest.term > standing.term:
            since = span(time_ns - newest.time_ns)
            return (
                f", which still takes itself for the leader of term {standing.term} "
                f"({newest.node} has led term {newest.term} for {since}),"
            )
        # The answer was under way when the node went down.
        return f" ({replace(standing, process='up').words()})" if standing.term else ""

    # Trace records.

    def _records(self) -> None:
        """The records that the violation rests on, and the one that the check names."""
        offender = self.essence.offender
        records = list(self.essence.records)
        if isinstance(offender, dict) and offender not in records:
            records.append(offender)
        if self.essence.operations:
            # The operations and the fate of their entries are told already; only the named record adds to them.
            records = [record for record in records if record == offender]
        votes = {(r["node"], r["time_ns"]) for r in records if r["event"] == "vote_cast"}
        records = [
            r for r in records if r["event"] != "role_changed" or (r["node"], r["time_ns"]) not in votes
        ]
        for record in records:
            self.times.append(record["time_ns"])
            self.concerned.add(record["node"])
        for record in records[:1] + records[1:][-(_MOST_RECORDS - 1) :]:
            if record["event"] == "started":
                self._came_up(record, Weight.CORE)
            elif record["event"] == "role_changed" and record["role"] == "leader":
                self._election(_election_of(self.run, record), Weight.CORE)
            elif record["event"] == "vote_cast":
                self._vote(record)
            else:
                self.draft.add(
                    (record["event"], record["node"], record["time_ns"], record.get("index")),
                    record["time_ns"],
                    Weight.CORE if record == offender else Weight.LINK,
                    trace_words(record),
                )

    def _came_up(self, record: Record, weight: Weight) -> None:
        """A start: what the disk held, against what the node had said before."""
        node = record["node"]
        before = self.run.standing(node, record["time_ns"] - 1)
        words = trace_words(record)
        if before.term > record["term"]:
            vote = f" and voted for {_itself(before.vote, node)} in it" if before.vote else ""
            words += f"; before, it had been in term {before.term}{vote}"
            self.forgotten = (
                f"Term and vote must be on disk before anybody is told of them: {node} could now vote in term "
                f"{before.term} again, for another node, and two leaders could be elected in it"
            )
        elif before.term == record["term"] and before.vote and before.vote != record["vote"]:
            words += f"; before, it had voted for {_itself(before.vote, node)} in this term"
        self.draft.add(("started", node, record["boot"]), record["time_ns"], weight, words)

    def _votes(self) -> None:
        """A vote that was forgotten, whom it elected, and whom the node votes for when it votes again."""
        offender = self.essence.offender
        if not isinstance(offender, dict):
            return
        terms = {record["term"] for record in (*self.essence.records, offender) if "term" in record}
        if offender["event"] == "started":
            term = self.run.standing(offender["node"], offender["time_ns"] - 1).term
            voters = {offender["node"]}
        else:
            term = offender.get("term", max(terms, default=0))
            voters = _voted_twice(self.run, term) or {offender["node"]}
        for node in voters:
            boots: set[int] = set()
            for record in self.run.records.traces.get(node, ()):
                if record["event"] == "vote_cast" and record["term"] == term:
                    self._vote(record)
                    boots.add(record["boot"])
            for record in self.run.records.traces.get(node, ()):
                # What lay between two votes in one term: the start that forgot the first.
                if record["event"] == "started" and boots and min(boots) < record["boot"] <= max(boots):
                    self._came_up(record, Weight.CORE)
        for node in self.run.records.nodes:
            for record in self.run.records.traces[node]:
                if record["event"] == "vote_cast" and (record["term"], record["candidate"]) == (term, node):
                    self._vote(record)
        for election in self.run.elections:
            if election.term == term:
                self._election(election, Weight.CORE)

    def _vote(self, record: Record) -> None:
        self.times.append(record["time_ns"])
        again = [
            earlier
            for earlier in self.run.before(record["node"], record["time_ns"])
            if earlier["event"] == "vote_cast"
            and earlier["term"] == record["term"]
            and earlier["candidate"] != record["candidate"]
        ]
        words = trace_words(record)
        if again:
            first = _itself(again[0]["candidate"], record["node"])
            words += f": a second vote in this term, after the one for {first}"
            self.twice = (
                f"{record['node']} votes for {first} and for {_itself(record['candidate'], record['node'])} in term "
                f"{record['term']}: so two leaders can be elected in it"
            )
        self.draft.add(
            ("vote", record["node"], record["term"], record["time_ns"]), record["time_ns"], Weight.CORE, words
        )

    def _missing_entry(self) -> None:
        details = self.evidence.get("details") or {}
        index, committed = details.get("index"), details.get("committed")
        if index is None or not committed:
            return
        life = self.run.life(index, committed["term"])
        if life.committed is not None:
            time_ns, node = life.committed
            self.times.append(time_ns)
            holders = names(self.run.holders(life, time_ns))
            self.draft.add(
                ("committed", index, life.term),
                time_ns,
                Weight.CORE,
                f"{node} knows entry {index} of term {life.term} as committed: it is on the disks of {holders}",
            )
        for election in self.run.elections:
            if election.term == details.get("term"):
                self._election(election, Weight.CORE)

    def _whole_run(self) -> None:
        """A violation of liveness has no event of its own: what each node was at the end."""
        records = self.run.records
        end = max((record["time_ns"] for record in records.history), default=START_NS)
        self.times += [START_NS, end]
        for node in records.nodes:
            standing = self.run.standing(node, end)
            self.draft.add(
                ("end", node),
                end,
                Weight.CORE,
                f"at the end {node} is {standing.words()}, and has applied entries up to {standing.applied}",
            )

    # What links them.

    def _elections(self, start: int, end: int) -> None:
        first = self.run.leader(start)
        if first is not None:
            self._election(first, Weight.CONTEXT)
        during = [election for election in self.run.elections if start < election.time_ns <= end]
        for election in during:
            self._election(election, Weight.LINK)

    def _election(self, election: Election | None, weight: Weight) -> None:
        if election is None:
            return
        node, term, time_ns = election.node, election.term, election.time_ns
        words = f"{node} becomes leader of term {term}"
        others = [voter for voter in election.voters if voter != node]
        if others:
            needed = self.plan.nodes // 2 + 1
            words += f", with the vote{'s' * (len(others) > 1)} of {names(others)} and its own"
            forgetful = [voter for voter in others if voter in self.concerned]
            is_about_votes = self.judgement.check in {"monotonic", "election_safety"}
            if is_about_votes and forgetful and len(election.voters) - len(forgetful) < needed:
                words += f" ({needed} are needed)"
        deposed = [
            other
            for other in self.run.records.nodes
            if other != node
            and (standing := self.run.standing(other, time_ns)).role == "leader"
            and standing.term < term
            and standing.process != "down"
        ]
        if deposed:
            old = self.run.standing(deposed[0], time_ns)
            paused = ", paused," if old.process == "paused" else ""
            words += f"; {deposed[0]}{paused} knows nothing of it and stays leader of term {old.term}"
        self.draft.add(("leads", node, term), time_ns, weight, words)

    def _faults(self, start: int, end: int) -> None:
        for fault in self.run.faults:
            over = fault.to_ns if fault.to_ns is not None else end
            if fault.from_ns > end or (over < start and not self.each_step_counts):
                continue
            hit = set(fault.install["nodes"])
            leader = self.run.leader(fault.from_ns)
            near = bool(hit & self.concerned) or (leader is not None and leader.node in hit) or not hit
            near |= self.each_step_counts
            weight = Weight.LINK if near else Weight.CONTEXT
            self.draft.add(
                ("fault", fault.install["step"]), fault.from_ns, weight, self._fault_words(fault, end)
            )
            if fault.install["kind"] in DOWN_BY:
                self._starts(fault, end, Weight.LINK if near else Weight.REMOTE)

    def _fault_words(self, fault: FaultSpan, end: int) -> str:
        words = f"fault {fault.install['step']}: {fault_words(fault.install, self.plan.steps)}"
        step = self.plan.steps[fault.install["step"]]
        is_brief = not step.fault.lasts or fault.install["kind"] in DOWN_BY
        if fault.to_ns is not None and fault.to_ns <= end and not is_brief:
            return f"{words}, for {span(fault.to_ns - fault.from_ns)}"
        return words

    def _starts(self, fault: FaultSpan, end: int, weight: Weight) -> None:
        """When the nodes that a fault ended came up again, as far as that matters."""
        for node in fault.install["nodes"]:
            if node not in self.concerned:
                continue
            for record in self.run.records.traces.get(node, ()):
                if record["event"] == "started" and fault.from_ns < record["time_ns"] <= end:
                    self._came_up(record, weight)
                    break


_MOMENT: Final = re.compile(r"\b(at|from|to|until|since) (\d+\.\d{3}) s\b")
"""How a check's reason says when something was; spans and limits follow other words (``was``, ``is``)."""


def plan_times(text: str) -> str:
    """Moments in a check's reason, which are on the records' clock, counted from the plan's start instead.

    How long something took, and what a limit is, stays as it is.
    """

    def relative(found: re.Match[str]) -> str:
        return f"{found[1]} {clock(round(float(found[2]) * 1e9))}"

    return _MOMENT.sub(relative, text)


def _property(check: str) -> str:
    about = _PROPERTY.get(check, "").removesuffix(".")
    return f"Violated: {check} ({about[:1].lower()}{about[1:]})" if about else f"Violated: {check}"


def _client(operation: Operation, *, of: bool = False) -> str:
    invoke = operation.invoke
    if invoke.get("home") and invoke.get("node"):
        return f"the reader at {invoke['node']}" if not of else "its reader's"
    return f"process {invoke['process']}" + ("'s" if of else "")


def _value(seen: str) -> str:
    return "the initial value null" if seen == "null" else seen


def _noun(operation: Operation) -> str:
    function = str(operation.invoke["f"])
    return {"cas": "compare-and-set"}.get(function, function)


def _new_value(invoke: Record) -> str:
    value = invoke["value"][1] if invoke["f"] == "cas" else invoke["value"]
    return json.dumps(value, ensure_ascii=False)


def _itself(candidate: str | None, node: str) -> str:
    return "itself" if candidate == node else str(candidate)


def _election_of(run: Retrospect, record: Record) -> Election | None:
    found: Iterable[Election] = (
        election
        for election in run.elections
        if (election.node, election.time_ns) == (record["node"], record["time_ns"])
    )
    return next(iter(found), None)


def _voted_twice(run: Retrospect, term: int) -> set[str]:
    votes: dict[str, set[str]] = {}
    for node in sorted(run.records.nodes, key=node_number):
        for record in run.records.traces[node]:
            if record["event"] == "vote_cast" and record["term"] == term:
                votes.setdefault(node, set()).add(record["candidate"])
    return {node for node, candidates in votes.items() if len(candidates) > 1}
