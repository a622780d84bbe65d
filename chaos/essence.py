"""The least evidence that still shows a violation: operations and trace records removed, one after the other.

The checks are a pure function of the evidence, so what a violation rests on is found by removing everything else
(delta debugging: Zeller and Hildebrandt, Simplifying and isolating failure-inducing input, 2002). The removal must
not create the violation, so what stays is held to two rules:

- The same check says the same of the same operation or record. A check of the trace must give the very same
  reason.
- For linearizability, every operation that wrote a value which a kept operation saw is kept. Then an order that
  explains the whole history would explain the part too: in it, the last write before each kept answer is kept, and
  whatever was removed between the two changed nothing. So a part that has no order shows that the whole has none.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from chaos._core import CHECKS, Evidence
from chaos.checks import LIVENESS, limits_json
from chaos.plan import Plan
from chaos.timeline import Record, Records
from chaos.verdict import Judgement, Verdict
from chaos.workload import READS

T = TypeVar("T")

_TELLING: Final = {"role_changed": 1, "vote_cast": 2, "started": 2}

_NEEDS: Final = {name: frozenset(needs) for name, _, _, needs in CHECKS}


@dataclass(frozen=True)
class Operation:
    """A client's operation: its two events. ``completion`` is None for one that never ended."""

    invoke: Record
    completion: Record | None

    @property
    def type(self) -> str:
        """``ok``, ``fail`` or ``info``."""
        return "info" if self.completion is None else str(self.completion["type"])

    @property
    def seen(self) -> str | None:
        """The value that it claims to have found, as JSON; None if it makes no such claim."""
        if self.completion is None or self.type != "ok":
            return None
        if self.invoke["f"] in READS:
            return json.dumps(self.completion["value"])
        return json.dumps(self.invoke["value"][0]) if self.invoke["f"] == "cas" else None

    @property
    def written(self) -> str | None:
        """The value that it leaves, as JSON, if it takes effect; None if it has none."""
        if self.type == "fail" or self.invoke["f"] not in {"write", "cas"}:
            return None
        return json.dumps(self.invoke["value"] if self.invoke["f"] == "write" else self.invoke["value"][1])


@dataclass(frozen=True)
class Essence:
    """What a violation rests on. Of a check of liveness nothing is removed: it is about what did *not* happen."""

    judgement: Judgement
    offender: Operation | Record | None
    """The operation or the trace record that the check names."""
    operations: tuple[Operation, ...]
    """The operations needed, in the order in which they began; the offender is the last to end."""
    records: tuple[Record, ...]
    """The trace records needed, in time order."""
    judged: int
    """How often the check was asked."""


def operations_of(history: Sequence[Record]) -> tuple[Operation, ...]:
    """The history's operations, in the order in which they began."""
    open_since: dict[int, int] = {}
    found: list[tuple[Record, Record | None]] = []
    for record in history:
        if record["type"] == "invoke":
            open_since[record["process"]] = len(found)
            found.append((record, None))
        elif record["process"] in open_since:
            at = open_since.pop(record["process"])
            found[at] = (found[at][0], record)
    return tuple(Operation(invoke, completion) for invoke, completion in found)


def essence_of(records: Records, judgement: Judgement, plan: Plan) -> Essence:
    """The least evidence that ``judgement``, which must be a violation, rests on."""
    trial = _Trials(judgement, plan, records)
    needs = _NEEDS.get(judgement.check, frozenset())
    offender = _offender(records, trial.evidence)
    if judgement.check in LIVENESS:
        return Essence(judgement, offender, (), (), 0)
    if judgement.check == "linearizable":
        assert isinstance(offender, Operation)
        if trial.objects == "transactions":
            # The check names those that make no sense together.
            begun = {whole["invoke"]["index"] for whole in trial.evidence["transactions"]}
            together = [op for op in operations_of(records.history) if op.invoke["index"] in begun]
            return Essence(judgement, offender, _in_order(together), (), trial.count)
        kept = _least_history(records, offender, trial, ())
        if trial.shape_of(kept, trial.trace, offender) != trial.shape:
            # How it was violated rests on what the nodes did, and on more operations than the violation itself.
            kept = _least_history(records, offender, trial, trial.trace)
        return Essence(judgement, offender, kept, (), trial.count)
    operations = operations_of(records.history) if "history" in needs else ()
    # Of a term, its votes and its leader stay longest: they say more than a change of role does.
    ranked = sorted(trial.trace, key=lambda record: _TELLING.get(record["event"], 0))
    lines = least(ranked, lambda part: trial.same(operations, part))
    if "history" in needs:
        named = _named_operations(operations, trial.evidence)
        if trial.same(named, lines):
            operations = named
        operations = least(operations, lambda part: trial.same(part, lines))
    return Essence(
        judgement,
        offender,
        tuple(operations),
        tuple(sorted(lines, key=lambda record: record["time_ns"])),
        trial.count,
    )


def least(items: Sequence[T], holds: Callable[[Sequence[T]], bool]) -> tuple[T, ...]:
    """A part of ``items`` for which ``holds`` and from which no single item can be removed.

    ``items`` as they are if it does not hold for them. Halves go first, then quarters, and so on.
    """
    kept = list(items)
    if not holds(kept):
        return tuple(items)
    size = max(1, len(kept) // 2)
    while True:
        at, removed = 0, False
        while at < len(kept):
            part = kept[:at] + kept[at + size :]
            if holds(part):
                kept, removed = part, True
            else:
                at += size
        if size == 1 and not removed:
            return tuple(kept)
        size = min(max(1, size // 2), max(1, len(kept)))


class _Trials:
    """Judges parts of the evidence, and says whether they show the same violation."""

    def __init__(self, judgement: Judgement, plan: Plan, records: Records) -> None:
        self.count = 0
        self._judgement = judgement
        self.shape = judgement.shape or "violated"
        self.evidence: Record = judgement.evidence if isinstance(judgement.evidence, dict) else {}
        self._limits = limits_json(plan)
        self.objects: str = plan.compiled()["workload"]["kind"]
        self._nodes = records.nodes
        self._nemesis = _lines(records.nemesis)
        self.trace = tuple(record for node in records.nodes for record in records.traces[node])
        # Records are kept as text: a part is judged some hundred times.
        self._text = {id(record): _line(record) for record in (*self.trace, *records.history)}
        self._place = {id(record): place for place, record in enumerate(self.trace)}

    def judged(self, operations: Sequence[Operation], traces: Sequence[Record]) -> Judgement | None:
        """What the check says of this part; None if it says nothing at all."""
        self.count += 1
        events = [event for op in operations for event in (op.invoke, op.completion) if event is not None]
        events.sort(key=lambda event: int(event["index"]))
        by_node: dict[str, list[str]] = {node: [] for node in self._nodes} if traces else {}
        for record in sorted(traces, key=lambda record: self._place[id(record)]):
            by_node[record["node"]].append(self._text[id(record)])
        evidence = Evidence.from_jsonl(
            "".join(self._text[id(event)] for event in events).encode(),
            {node: "".join(lines).encode() for node, lines in by_node.items()},
            self._nemesis,
        )
        found = json.loads(evidence.judge([self._judgement.check], self._limits))
        return Judgement.from_dict(found[0]) if found else None

    def same(self, operations: Sequence[Operation], traces: Sequence[Record]) -> bool:
        """Whether the check says the very same of this part as of the whole."""
        judged = self.judged(operations, traces)
        return judged is not None and (judged.verdict, judged.shape, judged.reason) == (
            Verdict.INVALID,
            self._judgement.shape,
            self._judgement.reason,
        )

    def shape_of(
        self, operations: Sequence[Operation], traces: Sequence[Record], offender: Operation
    ) -> str | None:
        """In which manner the check blames the offender in this part; None if it does not."""
        judged = self.judged(operations, traces)
        if judged is None or judged.verdict is not Verdict.INVALID:
            return None
        invoke = (judged.evidence.get("operation") or {}).get("invoke") or {}
        return (judged.shape or "violated") if invoke.get("index") == offender.invoke["index"] else None


def _least_history(
    records: Records, offender: Operation, trial: _Trials, traces: Sequence[Record]
) -> tuple[Operation, ...]:
    """Without ``traces``: operations that no order explains. With them, also in the manner that the nodes show."""

    def holds(part: Sequence[Operation]) -> bool:
        shape = trial.shape_of(part, traces, offender)
        return shape is not None and (not traces or shape == trial.shape)

    key = offender.invoke["key"]
    on_key = [op for op in operations_of(records.history) if op.invoke["key"] == key]
    able = [op for op in on_key if op.type != "fail" and op.invoke["index"] != offender.invoke["index"]]
    writers: dict[str, list[Operation]] = {}
    for op in able:
        if op.written is not None:
            writers.setdefault(op.written, []).append(op)

    def closed(part: Sequence[Operation]) -> list[Operation]:
        """With every writer of every value that an operation of it saw."""
        found = {id(op): op for op in (*part, offender)}
        todo = list(found.values())
        while todo:
            seen = todo.pop().seen
            for writer in writers.get(seen, ()) if seen is not None else ():
                if id(writer) not in found:
                    found[id(writer)] = writer
                    todo.append(writer)
        return list(found.values())

    if trial.objects != "registers":
        # What was read of them may rest on every change before.
        assert offender.completion is not None
        ended = offender.completion["index"]
        return _in_order([*(op for op in able if op.invoke["index"] < ended), offender])
    if offender.type == "fail":
        # A mismatch saw that the value was *not* one: whichever write before it is removed, it may have been that
        # one's. Only what began after it was over, and so came after it in any order, can go.
        assert offender.completion is not None
        over = offender.completion["index"]
        before = [op for op in able if op.invoke["index"] < over]
        changes = [op for op in before if op.invoke["f"] != "read"]
        reads = [
            op
            for op in before
            if op.invoke["f"] == "read" and op.completion is not None and op.completion["index"] < over
        ]
        if not holds(closed([*reads, *changes])):
            return _in_order([*able, offender])
        return _in_order(closed([*least(reads, lambda part: holds(closed([*part, *changes]))), *changes]))
    # What comes first is removed first: reads, then whatever drags others in with it; what the check names stays
    # longest, since its words will be read beside the story.
    named = (trial.evidence.get("overwritten_by") or {}).get("invoke") or {}
    rank = {"read": 0, "cas": 1, "write": 2}
    able.sort(key=lambda op: (op.invoke["index"] == named.get("index"), rank[op.invoke["f"]]))
    kept = least(able, lambda part: holds(closed(part)))
    return _in_order(closed(kept))


def _in_order(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    return tuple(sorted(operations, key=lambda op: int(op.invoke["index"])))


def _offender(records: Records, evidence: Record) -> Operation | Record | None:
    named = _named_operations(operations_of(records.history), {"operation": evidence.get("operation")})
    if named:
        return named[0]
    record = evidence.get("record")
    return record if isinstance(record, dict) else None


def _named_operations(operations: Sequence[Operation], evidence: Record) -> tuple[Operation, ...]:
    """The operations that a check's evidence names: `operation`, an operation or its completion; `operations`."""
    named = [evidence.get("operation"), *(evidence.get("operations") or [])]
    indexes = {(data.get("invoke") or data).get("index") for data in named if isinstance(data, dict)}
    return tuple(
        op
        for op in operations
        if op.invoke["index"] in indexes or (op.completion is not None and op.completion["index"] in indexes)
    )


def _lines(records: Sequence[Record]) -> bytes:
    return "".join(_line(record) for record in records).encode()


def _line(record: Record) -> str:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False) + "\n"
