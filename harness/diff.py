"""The verb `diff`: how two plans differ, the first event in which their runs part, and what led to it.

Simulated runs are compared event by event, to the nanosecond. Real runs never agree in time, so what is compared is
the order of their turns: faults, elections, first commits of a term, starts, truncated logs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from chaos.changes import Change, plan_changes
from chaos.plan import Plan
from chaos.retrospect import Retrospect
from chaos.timeline import (
    Event,
    Parting,
    Records,
    Turn,
    clock,
    counted,
    fault_words,
    node_number,
    parting,
    parting_turn,
    turns,
    words,
)
from chaos.verdict import EXIT_INVALID, EXIT_VALID
from harness.recorded import headline, plan_of, records_of
from harness.store import Bundle

_LAST_TURNS = 5
_LAST_EVENTS = 8
_NEXT_TURNS = 5


@dataclass(frozen=True)
class Side:
    """One of the two runs."""

    bundle: Bundle
    plan: Plan
    records: Records
    turns: tuple[Turn, ...]

    def words(self, event: Event) -> str:
        """The event, with the plan's own words for faults."""
        return words(event, self.plan.steps)


@dataclass(frozen=True)
class Difference:
    """How two runs differ. ``event`` is None if they do not, or if they were not compared in time (``exact``)."""

    a: Side
    b: Side
    changes: tuple[Change, ...]
    exact: bool
    event: Parting | None
    turn: Parting | None
    """Where the order of their turns parts; None if it is the same."""

    @property
    def first(self) -> Parting | None:
        """The parting that is told: of events where they can be compared, else of turns."""
        return self.event if self.exact else self.turn

    @property
    def exit_code(self) -> int:
        """As `diff(1)`: 0 if plans and runs are the same, 1 if not."""
        return EXIT_INVALID if self.changes or self.first is not None else EXIT_VALID

    @property
    def concerned(self) -> tuple[str, ...]:
        """The nodes of the two events in which the runs part, and who led then."""
        if self.first is None:
            return ()
        found = {node for event in (self.first.a, self.first.b) if event is not None for node in event.nodes}
        leader = Retrospect(self.a.records).leader(self.first.time_ns)
        if leader is not None:
            found.add(leader.node)
        return tuple(sorted(found, key=node_number))

    def led_to(self) -> tuple[Event, ...]:
        """The last turns that both runs took, and the last common events of the nodes concerned."""
        if self.first is None:
            return ()
        if not self.exact:
            return tuple(
                turn.event for turn in self.a.turns[: self.first.at][-(_LAST_TURNS + _LAST_EVENTS) :]
            )
        common = self.a.records.events[: self.first.at]
        shared = {id(event) for event in common}
        last_turns = [turn.event for turn in self.a.turns if id(turn.event) in shared][-_LAST_TURNS:]
        nodes = set(self.concerned)
        # An entry that was committed is applied at once: telling both would fill the lines with echoes.
        near = [e for e in common if nodes & set(e.nodes) and e.record.get("event") != "applied"][
            -_LAST_EVENTS:
        ]
        told = {id(event): event for event in (*last_turns, *near)}
        return tuple(event for event in common if id(event) in told)

    def goes_on(self, side: Side) -> tuple[Event, ...]:
        """What a side does where they part, and the turns that it takes then."""
        if self.first is None:
            return ()
        own = self.first.a if side is self.a else self.first.b
        after = self.first.time_ns if own is None else own.time_ns
        following = [
            turn.event for turn in side.turns if turn.event.time_ns >= after and turn.event is not own
        ]
        return tuple([own] if own is not None else []) + tuple(following[:_NEXT_TURNS])

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "same": self.exit_code == EXIT_VALID,
            "exit_code": self.exit_code,
            "a": str(self.a.bundle.path),
            "b": str(self.b.bundle.path),
            "plan_changes": [change.to_dict() for change in self.changes],
            "compared_by": "events" if self.exact else "turns",
            "parting": self._parting_dict(self.first),
            "parting_turn": self._parting_dict(self.turn),
            "led_to": [event.to_dict(self.a.plan.steps) for event in self.led_to()],
            "at_that_moment": self._moment_dict(),
            "a_goes_on": [event.to_dict(self.a.plan.steps) for event in self.goes_on(self.a)],
            "b_goes_on": [event.to_dict(self.b.plan.steps) for event in self.goes_on(self.b)],
        }

    def _parting_dict(self, parted: Parting | None) -> dict[str, Any] | None:
        if parted is None:
            return None
        return {
            "common": parted.at,
            "time_ns": parted.time_ns,
            "a": parted.a.to_dict(self.a.plan.steps) if parted.a else None,
            "b": parted.b.to_dict(self.b.plan.steps) if parted.b else None,
        }

    def _moment_dict(self) -> dict[str, Any] | None:
        if self.first is None:
            return None
        before_ns = self.first.time_ns - 1
        run = Retrospect(self.a.records)
        return {
            "faults": [fault.install["step"] for fault in run.in_force(before_ns)],
            "nodes": {node: run.standing(node, before_ns).words() for node in self.a.records.nodes},
        }


def compare(a: Bundle, b: Bundle) -> Difference:
    """How two bundles' plans and runs differ. Raises BundleError if one cannot be read, or has no traces."""
    exact = a.manifest.backend == b.manifest.backend == "sim"
    left, right = (_side(bundle, exact) for bundle in (a, b))
    return Difference(
        left,
        right,
        plan_changes(left.plan, right.plan),
        exact,
        parting(left.records.events, right.records.events) if exact else None,
        parting_turn(left.turns, right.turns),
    )


def _side(bundle: Bundle, exact: bool) -> Side:
    bundle.verify()
    records = records_of(bundle)
    return Side(bundle, plan_of(bundle), records, turns(records.events, by_name=exact))


def print_difference(difference: Difference, console: Console) -> None:
    """For people: plans, where the runs part, what led to it, how each goes on."""
    a, b, first = difference.a, difference.b, difference.first
    for letter, side in (("A", a), ("B", b)):
        console.print(Text(f"{letter}  {headline(side.bundle)}", "bold"))
        console.print(Text(f"   {side.bundle.path}", "dim"))
    _section(console, "How the plans differ")
    for change in _change_lines(difference.changes):
        console.print(change)
    if first is None:
        same = (
            "to the last event"
            if difference.exact
            else "in the order of their turns (times are not compared)"
        )
        console.print(f"\nThe runs do not differ: they are the same {same}.")
        return
    common = counted(first.at, "event" if difference.exact else "turn")
    _section(console, f"Where the runs part, after {common} in common")
    if not difference.exact:
        console.print(
            Text(
                "Real runs never agree in time: compared is the order of faults, elections, first commits of a term, "
                "starts and truncations, and which node it is only counts as leader, former leader or other.",
                "dim",
            )
        )
    for letter, side, event in (("A", a, first.a), ("B", b, first.b)):
        _print_event(console, letter, side, event)
    if difference.exact and difference.turn is not None and difference.turn != first:
        is_later = difference.turn.time_ns > first.time_ns
        if is_later:
            _section(console, f"The first turn that differs, after {difference.turn.at} in common")
            for letter, side, event in (("A", a, difference.turn.a), ("B", b, difference.turn.b)):
                _print_event(console, letter, side, event)
    _section(
        console, f"What led to it ({', '.join(difference.concerned) or 'all nodes'}, and the turns before)"
    )
    for event in difference.led_to():
        _print_event(console, " ", a, event)
    _section(console, "At that moment")
    for line in _moment_lines(difference):
        console.print(f"   {line}", markup=False)
    for letter, side in (("A", a), ("B", b)):
        _section(console, f"How {letter} goes on")
        for event in difference.goes_on(side):
            _print_event(console, letter, side, event)
        console.print(f"   in the end: {headline(side.bundle).rpartition(': ')[2]}", markup=False)
    console.print(
        Text("\nTimes count from the plan's start, which reads 3.000 s on the records' clock.", "dim")
    )


def _change_lines(changes: Sequence[Change]) -> Iterator[Text]:
    if not changes:
        yield Text("   not at all: the same plan")
    for change in changes:
        match change.kind:
            case "removed":
                yield Text(f"   {change.where} only in A: {change.a}", "red")
            case "added":
                yield Text(f"   {change.where} only in B: {change.b}", "green")
            case "changed":
                yield Text(f"   {change.where}  A: {change.a}\n{' ' * (5 + len(change.where))}B: {change.b}")
            case _:
                nothing = "nothing"
                yield Text(f"   {change.where}: {change.a or nothing} in A, {change.b or nothing} in B")


def _moment_lines(difference: Difference) -> Iterator[str]:
    first = difference.first
    assert first is not None
    before_ns = first.time_ns - 1
    run = Retrospect(difference.a.records)
    in_force = run.in_force(before_ns)
    for fault in in_force:
        what = fault_words(fault.install, difference.a.plan.steps)
        yield f"fault {fault.install['step']} in force since {clock(fault.from_ns)}: {what}"
    if not in_force:
        yield "no fault is in force"
    for node in difference.a.records.nodes:
        standing = run.standing(node, before_ns)
        yield f"{node}: {standing.words()}; log up to {standing.last_index}, committed up to {standing.commit}"


def _print_event(console: Console, letter: str, side: Side, event: Event | None) -> None:
    if event is None:
        console.print(f"{letter}  its run is over", markup=False)
        return
    console.print(f"{letter}  {clock(event.time_ns, 6)}  {side.words(event)}", markup=False)


def _section(console: Console, title: str) -> None:
    console.print(f"\n[bold]{title}[/bold]")
