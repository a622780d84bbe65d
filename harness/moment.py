"""`replay --until` and `--events`: a simulated run again up to one moment, and what there is to see at it.

The plan is carried out by the same world that observes it, which is then let go on to its end: so what the replay
recorded up to the moment is known, and compared with what the bundle recorded.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from chaos._core import START_NS, World
from chaos.errors import UsageError
from chaos.plan import Plan
from chaos.timeline import Event, Record, Records, clock, counted, words
from chaos.units import UnitError, parse_duration
from chaos.verdict import EXIT_HARNESS, EXIT_VALID
from harness.cluster import with_recorded_anchors
from harness.observe import print_observation
from harness.recorded import anchors_of, headline, plan_of, records_of, records_of_run
from harness.store import Bundle


@dataclass(frozen=True)
class Moment:
    """A run up to a moment. ``until_ns`` counts from the plan's start; None: to its end."""

    bundle: Bundle
    plan: Plan
    until_ns: int | None
    observation: dict[str, Any] | None
    """What `World.observe` gave at the moment; None if it was not asked for."""
    events: tuple[Event, ...]
    """All events up to the moment, in time order."""
    is_replay: bool
    """Whether the plan was carried out again; else the events are those of the bundle."""
    is_compared: bool
    """Whether the bundle is of a simulation too, so that its records must be the same."""
    difference: str | None
    """Where the replay left the recording, up to the moment; None if it did not."""

    @property
    def exit_code(self) -> int:
        """4 if the replay is not the recorded run up to the moment, else 0: nothing was judged."""
        return EXIT_HARNESS if self.difference is not None else EXIT_VALID

    def to_dict(self, *, with_events: bool) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "until_ns": self.until_ns,
            "record_ns": None if self.until_ns is None else START_NS + self.until_ns,
            "observation": self.observation,
            "compared_with_recording": self.is_compared,
            "difference": self.difference,
            "events": [event.to_dict(self.plan.steps) for event in self.events] if with_events else None,
            "exit_code": self.exit_code,
        }


def parse_until(text: str) -> int:
    """Nanoseconds on the plan's clock from ``3.2s``, ``3200ms``, or as moments are printed: ``+3.200 s``.

    A moment before the plan's start is negative, down to the cluster's founding. Raises UsageError.
    """
    written = text.strip()
    is_before = written.startswith("-")
    # People copy moments from what is printed, where a space stands before the unit.
    unsigned = re.sub(r"(?<=[0-9]) +(?=[a-z])", "", written[1:] if written[:1] in {"+", "-"} else written)
    try:
        since_start_ns = int(parse_duration(unsigned))
    except UnitError as error:
        raise UsageError(
            f"--until {text}: {error}. It counts from the plan's start, as a scenario's `at` does"
        ) from None
    if is_before and since_start_ns > START_NS:
        founded = clock(2 * START_NS).removeprefix("+")
        raise UsageError(f"--until {text}: the run begins {founded} before the plan's start")
    return -since_start_ns if is_before else since_start_ns


def moment_of(bundle: Bundle, *, backend: str, until: str | None, resolve: str) -> Moment:
    """Carries the bundle's plan out in simulation up to a moment (``until``; None: to the end).

    A run on containers cannot be stopped at a moment, and cannot be repeated exactly: without ``until`` its recorded
    events are given as they are. Raises UsageError for a moment in such a run or one beyond the end, BundleError for a
    bundle that cannot be read.
    """
    until_ns = None if until is None else parse_until(until)
    bundle.verify()
    plan = plan_of(bundle)
    if backend != "sim":
        if until_ns is not None and bundle.manifest.backend == "sim":
            raise UsageError(f"--until works in simulation only; leave out --backend {backend}")
        if until_ns is not None:
            raise UsageError(
                f"--until: {bundle.path} is a run on {backend}, which cannot be stopped at a moment; "
                "`--backend sim` carries its plan out in simulation, where it can (another run of the same plan)"
            )
        return Moment(bundle, plan, None, None, records_of(bundle).events, False, False, None)
    compiled = plan.compiled()
    if resolve == "recorded":
        compiled = with_recorded_anchors(compiled, anchors_of(bundle))
    try:
        world = World(json.dumps(compiled), bundle.manifest.plants)
    except ValueError as error:
        raise UsageError(f"the simulator refuses the plan: {error}") from error
    observation = None
    if until_ns is not None:
        world.advance(START_NS + until_ns)
        if world.is_over and world.now_ns < START_NS + until_ns:
            end = clock(world.now_ns).removeprefix("+")
            raise UsageError(f"--until {until}: beyond the end; the run ends {end} after the plan's start")
        observation = json.loads(world.observe())
    replayed = records_of_run(world.finish())
    is_compared = bundle.manifest.backend == "sim" and resolve == "afresh"
    difference = None
    if until_ns is not None:
        replayed = replayed.until(START_NS + until_ns)
    if is_compared:
        recorded = records_of(bundle)
        difference = first_parting(
            recorded if until_ns is None else recorded.until(START_NS + until_ns), replayed
        )
    return Moment(bundle, plan, until_ns, observation, replayed.events, True, is_compared, difference)


def first_parting(recorded: Records, replayed: Records) -> str | None:
    """Where two recordings part, in words; None if they are the same."""
    found: list[tuple[int, str]] = []
    files: list[tuple[str, tuple[Record, ...], tuple[Record, ...]]] = [
        ("history.jsonl", recorded.history, replayed.history),
        ("nemesis.jsonl", recorded.nemesis, replayed.nemesis),
    ]
    for node in dict.fromkeys((*recorded.nodes, *replayed.nodes)):
        both = (recorded.traces.get(node, ()), replayed.traces.get(node, ()))
        files.append((f"trace/{node}.jsonl", *both))
    for name, before, after in files:
        for line in range(max(len(before), len(after))):
            sides = [records[line] if line < len(records) else None for records in (before, after)]
            if sides[0] != sides[1]:
                was, now = ("nothing" if side is None else json.dumps(side) for side in sides)
                time_ns = min(side["time_ns"] for side in sides if side is not None)
                found.append((time_ns, f"{name}, line {line + 1}: recorded {was}, now {now}"))
                break
    if not found:
        return None
    time_ns, what = min(found)
    return f"at {clock(time_ns, 6)}: {what}"


def print_moment(moment: Moment, console: Console, *, with_events: bool) -> None:
    """For people: the events if asked for, the observation, and whether the replay is the recorded run."""
    console.print(Text(headline(moment.bundle), "bold"))
    console.print(
        Text("Times count from the plan's start, which reads 3.000 s on the records' clock.", "dim")
    )
    if with_events:
        console.print()
        for event in moment.events:
            console.print(f"{clock(event.time_ns, 6):>12}  {words(event, moment.plan.steps)}", markup=False)
    if moment.observation is not None and moment.until_ns is not None:
        now_ns = START_NS + moment.until_ns
        console.print(
            Text(f"\nAt {clock(now_ns)} ({now_ns / 1e9:.3f} s on the records' clock)\n", "bold"),
            soft_wrap=False,
        )
        print_observation(moment.observation, console)
    console.print()
    if moment.difference is not None:
        console.print("The replay is not the recorded run.", style="red")
        console.print(f"First difference {moment.difference}", markup=False)
    elif moment.is_compared:
        everything = counted(len(moment.events), "record")
        console.print(f"Exact: {everything} up to here, each as it was recorded.")
    elif moment.is_replay:
        console.print("Another run of the recorded plan: there is nothing that it must equal.")
    else:
        console.print("As recorded: a real run cannot be repeated event by event.")
