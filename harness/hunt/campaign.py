"""The campaign: hands out batches, merges what comes back, has each distinct failure shrunk."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final, Protocol

from hypothesis.database import ExampleDatabase

from chaos.errors import ChaosError
from chaos.plan import Plan, describe, describe_when
from chaos.signature import Signature
from harness.cluster import RunOptions
from harness.files import write_whole
from harness.hunt.asked import Asked
from harness.hunt.findings import keep_run, keep_shrunk, state_of
from harness.hunt.pool import Died, Message, Pool
from harness.hunt.report import CampaignReport, CrashReport, FailureReport, FamilyReport
from harness.hunt.search import Batch, Found, derived
from harness.hunt.state import Crash, FailureState, FamilyState, Parameters, State, Store
from harness.hunt.tasks import Broke, Done, Explore, Family, Known, Progressed, Shrink, Task
from harness.shrink_bundle import shrink_bundle
from harness.store import open_bundle

_BATCH: Final = {"sim": 100, "docker": 4}
"""How many plans Hypothesis draws in one go, at most: it keeps about 1.7 kB for each."""
_GUIDED: Final = 10
"""So many times that where plans are guided: a batch learns from itself alone."""
_LEAST_BATCH: Final = 25
_BATCHES: Final = 8
_LOOK_S: Final = 0.2
_MOST_PROBLEMS: Final = 20
_MOST_CRASHES: Final = 50
_ENDS_IN_A_ROW: Final = 5
"""So many tasks in a row that nobody could do: then there is no going on."""
_MOST_TRIALS: Final = 10
"""How often at most a plan is run where runs differ, to see whether it fails."""
_KNOWN: Final = -1  # the batch number of what was known


@dataclass(frozen=True)
class Wishes:
    """What the user asked for. ``seconds`` or ``examples`` (of each scenario) bound it, or both do."""

    families: tuple[Family, ...]
    options: RunOptions
    seed: int
    examples: int | None
    seconds: float | None
    workers: int
    shrink_seconds: float
    batch: int
    first: bool = False
    """End the search with the first failure."""
    guided: bool = False
    """Choose plans by what earlier ones of their batch reached."""
    fresh: bool = False
    """Forget an unfinished campaign, and what was drawn before."""


@dataclass
class Now:
    """A campaign under way, for whoever watches."""

    phase: str = "searching"
    elapsed_s: float = 0.0
    examples: int = 0
    simulated_ns: int = 0
    speed: float = 0.0
    """Plans a second, in this invocation."""
    states: int = 0
    goals: list[tuple[str, list[str], list[str]]] = field(default_factory=list)
    """(scenario, reached, still missed)."""
    failures: list[tuple[str, int, bool]] = field(default_factory=list)
    """(signature, how often, whether it is shrunk)."""
    share: float = 0.0
    """Of the budget, from 0 to 1."""


class Display(Protocol):
    """Whoever watches."""

    def show(self, now: Now) -> None:
        """Called a few times a second."""

    def say(self, words: str) -> None:
        """Something that happened once."""


def batch_of(backend: str, examples: int | None, *, guided: bool = False) -> int:
    """How many plans a batch has if nobody says: few enough that several workers have something to do."""
    most = _BATCH[backend] * (_GUIDED if guided else 1)
    return most if examples is None else min(most, max(_LEAST_BATCH, examples // _BATCHES))


def digest_of(family: Family, options: RunOptions) -> str:
    """What a family's plans depend on: its text, where it runs, and the planted bugs."""
    parts = (family.text, options.backend, *sorted(options.plants))
    return blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


def database_key(family: Family, options: RunOptions) -> bytes:
    """Under which Hypothesis's database keeps the choices that fail; a key for each scenario."""
    return f"mcp-chaos/{family.name}/{options.backend}/{','.join(sorted(options.plants))}".encode()


class Campaign:
    """One invocation of `hunt`."""

    def __init__(self, wishes: Wishes, store: Store, database: ExampleDatabase, display: Display) -> None:
        self._wishes = wishes
        self._store = store
        self._database = database
        self._display = display
        self._families = {family.name: family for family in wishes.families}
        self._parameters = Parameters(
            families=[(family.name, digest_of(family, wishes.options)) for family in wishes.families],
            backend=wishes.options.backend,
            plants=sorted(wishes.options.plants),
            seed=wishes.seed,
            batch=wishes.batch,
            guided=wishes.guided,
        )
        self._state, self._resumed = self._opened()
        self._batch = self._state.parameters.batch
        self._states = store.load_states() if self._resumed else set[int]()
        self._elapsed_before_s = self._state.elapsed_s
        self._examples_before = self._examples
        self._began_s = time.monotonic()
        self._progress: dict[int, Progressed] = {}
        self._cut: list[tuple[FamilyState, Batch, float]] = []
        """Batches that were cut short: in a campaign that is resumed they are done again."""
        self._again: list[Known | Explore] = []
        """Tasks that were not begun: their workers could not live."""
        self._asked = Asked()
        self._cannot: str | None = None
        """Why there is no going on."""
        self._ends_in_a_row = 0

    def run(self) -> CampaignReport:
        """Searches until the budget is used up or somebody asks to end, then shrinks. Whatever ends it, what was found
        is kept. Raises InfrastructureError if workers cannot be started or the state cannot be written.
        """
        if self._resumed:
            self._display.say(f"going on with the campaign in {self._store.directory}: {self._so_far()}")
        simulates = self._wishes.options.backend == "sim"
        with self._asked, Pool(self._wishes.options, self._wishes.workers, self._store.workers) as pool:
            self._search(pool)
            if simulates:
                self._keep_found()
                self._shrink(pool)
            if self._asked.count:
                self._drain(pool)
                self._keep_found()
        interrupted = self._asked.count > 0
        if not simulates and not interrupted:
            interrupted = self._shrink_bundles()
        self._state.finished = not interrupted and self._cannot is None
        if self._state.finished:
            self._count_what_was_cut()
        self._save()
        if interrupted:
            self._count_what_was_cut()  # for the report alone: the state will have them whole
        report = self.report(interrupted=interrupted)
        write_whole(self._store.directory / "campaign.json", _as_json(report))
        return report

    # What to do

    def _search(self, pool: Pool) -> None:
        tasks = self._tasks()
        while not self._asked.count:
            over = self._is_over()
            if over:
                pool.stop_early(at_once=False)
            while pool.idle and not over:
                task = self._again.pop() if self._again else next(tasks, None)
                if task is None:
                    break
                pool.assign(task)
            if not pool.under_way:
                break
            self._hear(pool)
        if not self._asked.count:
            pool.go_on()

    def _tasks(self) -> Iterator[Known | Explore]:
        """What is known first, then batches of all families in turn."""
        for family in self._wishes.families:
            if not self._of(family).known_done:
                key = database_key(family, self._wishes.options)
                yield Known(family, tuple(sorted(self._database.fetch(key))))
        # A short budget must not end with the same families each time.
        families = sorted(self._wishes.families, key=lambda family: self._of(family).first)
        number = 0
        while True:
            went_on = False
            for family in families:
                state = self._of(family)
                left = self._batch
                if self._wishes.examples is not None:
                    left = min(left, self._wishes.examples - number * self._batch)
                if left <= 0 or (number and state.one_member):
                    continue
                went_on = True
                batch = state.first + number
                if batch not in state.done:
                    seed = derived(self._wishes.seed, family.name, batch)
                    yield Explore(family, batch, seed, left, self._wishes.first, self._wishes.guided)
            if not went_on:
                return
            number += 1

    def _shrink(self, pool: Pool) -> None:
        waiting = [name for name, failure in sorted(self._state.failures.items()) if failure.shrunk is None]
        while (waiting or pool.under_way) and not self._asked.count:
            while waiting and pool.idle:
                pool.assign(self._shrinking(waiting.pop(0)))
            self._hear(pool, phase="shrinking")

    def _shrink_bundles(self) -> bool:
        """What was found on a real backend: looked for in simulation first, and else shrunk where it was found.

        Whether somebody interrupted.
        """
        for name, failure in sorted(self._state.failures.items()):
            if failure.shrunk is not None or failure.found_bundle is None:
                continue
            self._display.say(f"shrinking {name}")
            try:
                report = shrink_bundle(
                    open_bundle(Path(failure.found_bundle)),
                    self._wishes.options,
                    backend=None,
                    seconds=self._wishes.shrink_seconds,
                    most_trials=_MOST_TRIALS,
                    candidate=self._store.regressions
                    / f"{failure.scenario}-{Signature.parse(name).slug}.yaml",
                    progress=lambda _: None,
                )
            except KeyboardInterrupt:
                return True
            except ChaosError as error:
                failure.unshrinkable = str(error)
                continue
            if report.interrupted:
                return True
            if report.kept is None:
                failure.unshrinkable = report.how
            else:
                failure.shrunk = state_of(report)
            self._save()
        return False

    def _shrinking(self, name: str) -> Shrink:
        failure = self._state.failures[name]
        return Shrink(
            self._families[failure.scenario],
            Signature.parse(name),
            failure.plan_json,
            failure.entry(),
            self._wishes.shrink_seconds,
        )

    def _drain(self, pool: Pool) -> None:
        """Takes what workers have by now."""
        self._display.say("interrupted: keeping what there is")
        pool.stop_early(at_once=True)
        while pool.under_way and self._asked.count < 2:
            self._hear(pool, phase="ending")
        if pool.under_way:
            self._display.say("interrupted again: what is under way is given up")

    def _is_over(self) -> bool:
        if self._cannot is not None or (self._wishes.first and self._state.failures):
            return True
        return self._wishes.seconds is not None and self._elapsed_s >= self._wishes.seconds

    # What comes of it

    def _hear(self, pool: Pool, phase: str = "searching") -> None:
        for task, message in pool.messages(_LOOK_S):
            self._take(task, message)
        self._display.show(self._now(phase, pool))

    def _take(self, task: Task, message: Message) -> None:
        if isinstance(message, Progressed):
            self._progress[id(task)] = message
            return
        self._progress.pop(id(task), None)
        if isinstance(message, Done):
            self._ends_in_a_row = 0
            if isinstance(task, Shrink):
                self._take_shrunk(task, message)
            else:
                self._take_batch(task, message.batch, message.seconds)
        else:
            self._take_end(task, message)
        self._save()

    def _take_end(self, task: Task, message: Broke | Died) -> None:
        """A task that was not done: what it had found counts, and whatever ended it is told."""
        if not isinstance(task, Shrink):
            batch, seconds = _what_is_left(message)
            self._take_batch(task, batch, seconds)
        if self._asked.count:
            return
        self._ends_in_a_row += 1
        if self._ends_in_a_row >= _ENDS_IN_A_ROW and self._cannot is None:
            self._cannot = f"{_ENDS_IN_A_ROW} tasks in a row could not be done: {message.reason}"
            self._display.say(self._cannot)
        kind = f"batch {task.number}" if isinstance(task, Explore) else type(task).__name__.lower()
        words = f"{kind} of {task.family.name}: {message.reason}"
        if isinstance(task, Shrink):
            self._state.failures[str(task.signature)].unshrinkable = message.reason
        blameless = isinstance(message, Broke) and message.infrastructure
        if not blameless and message.plan_json is None and not isinstance(task, Shrink):
            self._again.append(task)  # its worker died before it began a plan
        elif not blameless and not isinstance(task, Shrink):
            self._end(task)  # it would die of it again
        self._crash(task.family, words, None if blameless else message.plan_json)

    def _take_batch(self, task: Known | Explore, batch: Batch, seconds: float) -> None:
        state = self._of(task.family)
        began_s = self._elapsed_s - seconds
        number = _KNOWN if isinstance(task, Known) else task.number
        for found in batch.found:
            self._take_found(task.family, number, found, self._examples, began_s)
        self._states |= batch.states
        self._problem(*batch.problems)
        state.goals = sorted({*state.goals, *(batch.goals & {*state.wanted})})
        if self._wishes.options.backend == "sim":  # elsewhere one run that passes says little
            for entry in batch.stale_choices:
                self._database.delete(database_key(task.family, self._wishes.options), entry)
        if batch.complete or self._wishes.options.backend != "sim":
            self._count(state, batch, seconds)
        else:
            self._cut.append((state, batch, seconds))
        if batch.complete:
            self._end(task)

    def _count(self, state: FamilyState, batch: Batch, seconds: float) -> None:
        for signature, count in batch.failed.items():
            self._state.failures[str(signature)].count += count
        state.examples += batch.examples
        state.failed += batch.failed.total()
        state.unknown += batch.unknown
        state.harness_failures += batch.harness_failures
        state.simulated_ns += batch.simulated_ns
        state.busy_s += seconds

    def _count_what_was_cut(self) -> None:
        for state, batch, seconds in self._cut:
            self._count(state, batch, seconds)
        self._cut.clear()

    def _end(self, task: Known | Explore) -> None:
        """The task is over and done with."""
        state = self._of(task.family)
        if isinstance(task, Known):
            state.known_done = True
        else:
            state.done = sorted({*state.done, task.number})
            self._state.cursors[state.digest] = max(state.done) + 1

    def _take_found(self, family: Family, number: int, found: Found, before: int, began_s: float) -> None:
        name = str(found.signature)
        order = (self._wishes.families.index(family), number, found.example)
        failure = self._state.failures.get(name)
        if failure is None:
            self._display.say(f"{family.name}: {name}: {found.reason}")
            failure = self._state.failures[name] = FailureState(
                signature=name,
                reason=found.reason,
                scenario=family.name,
                order=order,
                plan_json=found.plan_json,
                choices=FailureState.encoded(found.choices),
                first_example=before + found.example,
                first_after_s=round(max(0.0, began_s + found.after_s), 3),
                first_seen=datetime.now(UTC).isoformat(timespec="seconds"),
                found_bundle=found.bundle,
            )
        elif order < failure.order and failure.shrunk is None:
            failure.order, failure.plan_json = order, found.plan_json
            failure.scenario, failure.reason = family.name, found.reason
            failure.choices = FailureState.encoded(found.choices)
            failure.found_bundle = found.bundle
        else:
            return
        self._remember(family, found.choices)

    def _keep_found(self) -> None:
        """A bundle of each plan that stands for a failure, once it is known which that is."""
        for name, failure in sorted(self._state.failures.items()):
            if failure.found_bundle is None and self._wishes.options.backend == "sim":
                plan = Plan.from_json(failure.plan_json)
                slug = Signature.parse(name).slug
                kept, _ = keep_run(plan, self._wishes.options, f"{plan.scenario}-{slug}-as-found")
                failure.found_bundle = str(kept.bundle.path)
                self._problem(*filter(None, [kept.rescued_because]))
                self._save()

    def _take_shrunk(self, task: Shrink, done: Done) -> None:
        failure = self._state.failures[str(task.signature)]
        if not done.batch.complete:
            return
        assert done.smaller is not None, "a shrink ends with a plan"
        self._remember(task.family, done.smaller.choices)
        try:
            failure.shrunk, rescued = keep_shrunk(
                task.signature, done.smaller, self._wishes.options, self._store, done.seconds
            )
        except ChaosError as error:
            failure.unshrinkable = str(error)
        else:
            self._problem(*rescued)

    def _remember(self, family: Family, choices: bytes | None) -> None:
        """For the next campaign, which tries them first."""
        if choices is not None:
            self._database.save(database_key(family, self._wishes.options), choices)

    def _crash(self, family: Family, words: str, plan_json: str | None) -> None:
        known = next((crash for crash in self._state.crashes if crash.reason == words), None)
        if known is not None or len(self._state.crashes) >= _MOST_CRASHES:
            return
        path = None
        if plan_json is not None:
            digest = blake2b(plan_json.encode(), digest_size=6).hexdigest()
            path = self._store.crashes / f"{family.name}-{digest}.json"
            write_whole(path, plan_json.encode())
        self._display.say(words)
        self._state.crashes.append(
            Crash(scenario=family.name, reason=words, plan=None if path is None else str(path))
        )

    def _problem(self, *words: str) -> None:
        room = _MOST_PROBLEMS - len(self._state.problems)
        self._state.problems += [text for text in words if text not in self._state.problems][: max(0, room)]

    # State

    def _opened(self) -> tuple[State, bool]:
        """The unfinished campaign with the same parameters, or a new one; and whether it is resumed."""
        kept = None if self._wishes.fresh else self._store.load()
        if kept is not None and not kept.finished:
            if kept.parameters.identity == self._parameters.identity:
                return kept, True
            aside = self._store.set_aside(kept)
            self._display.say(
                f"the campaign in {self._store.directory} was not finished, but was another one: "
                f"set aside as {aside.name}, beginning anew"
            )
        cursors = {} if kept is None else kept.cursors
        families = []
        for family in self._wishes.families:
            digest = digest_of(family, self._wishes.options)
            scenario = family.load()
            families.append(
                FamilyState(
                    name=family.name,
                    file=family.file,
                    digest=digest,
                    first=cursors.get(digest, 0),
                    wanted=list(scenario.sometimes),
                    one_member=not scenario.hole_count and scenario.seed is not None,
                )
            )
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        state = State(parameters=self._parameters, started_at=started_at, families=families, cursors=cursors)
        return state, False

    def _save(self) -> None:
        self._state.elapsed_s = round(self._elapsed_s, 3)
        self._store.save(self._state)
        self._store.save_states(self._states)

    def _of(self, family: Family) -> FamilyState:
        return next(state for state in self._state.families if state.name == family.name)

    @property
    def _elapsed_s(self) -> float:
        return self._elapsed_before_s + time.monotonic() - self._began_s

    @property
    def _examples(self) -> int:
        return sum(state.examples for state in self._state.families)

    def _so_far(self) -> str:
        return f"{self._examples} plans run, {len(self._state.failures)} distinct failures"

    # For people

    def _now(self, phase: str, pool: Pool) -> Now:
        under_way = [self._progress[id(task)] for task in pool.under_way if id(task) in self._progress]
        examples = self._examples + sum(progress.examples for progress in under_way)
        state = self._state
        now = Now(
            phase=phase,
            elapsed_s=self._elapsed_s,
            examples=examples,
            simulated_ns=sum(family.simulated_ns for family in state.families)
            + sum(progress.simulated_ns for progress in under_way),
            speed=(examples - self._examples_before) / max(1e-9, time.monotonic() - self._began_s),
            states=len(self._states),
            goals=[
                (family.name, family.goals, [goal for goal in family.wanted if goal not in family.goals])
                for family in state.families
            ],
            failures=[
                (name, failure.count, failure.shrunk is not None)
                for name, failure in sorted(state.failures.items())
            ],
        )
        shares = [0.0]
        if self._wishes.seconds is not None:
            shares.append(now.elapsed_s / self._wishes.seconds)
        if self._wishes.examples is not None:
            shares.append(examples / (self._wishes.examples * len(state.families)))
        now.share = min(1.0, max(shares))
        return now

    def report(self, *, interrupted: bool) -> CampaignReport:
        """What the campaign has come to."""
        state, wishes = self._state, self._wishes
        return CampaignReport(
            backend=wishes.options.backend,
            plants=tuple(wishes.options.plants),
            seed=wishes.seed,
            workers=wishes.workers,
            started_at=state.started_at,
            seconds=round(self._elapsed_s, 3),
            examples=self._examples,
            simulated_s=sum(family.simulated_ns for family in state.families) / 1e9,
            states=len(self._states),
            interrupted=interrupted,
            scenarios=tuple(map(_family_report, state.families)),
            failures=tuple(_failure_report(failure) for _, failure in sorted(state.failures.items())),
            crashes=tuple(CrashReport(crash.scenario, crash.reason, crash.plan) for crash in state.crashes),
            problems=(*state.problems, *filter(None, [self._cannot])),
            finished=state.finished,
        )


def _what_is_left(message: Broke | Died) -> tuple[Batch, float]:
    """What a batch that was not done had come to by then."""
    if isinstance(message, Broke):
        return message.batch, message.seconds
    batch = Batch(complete=False, found=list(message.found))
    batch.failed.update(found.signature for found in message.found)
    batch.examples = max((found.example for found in message.found), default=0)
    return batch, 0.0


def _family_report(family: FamilyState) -> FamilyReport:
    return FamilyReport(
        name=family.name,
        file=family.file,
        examples=family.examples,
        failed=family.failed,
        unknown=family.unknown,
        harness_failures=family.harness_failures,
        simulated_s=family.simulated_ns / 1e9,
        seconds=round(family.busy_s, 3),
        goals_reached=tuple(family.goals),
        goals_missed=tuple(goal for goal in family.wanted if goal not in family.goals),
    )


def _failure_report(failure: FailureState) -> FailureReport:
    signature, shrunk = Signature.parse(failure.signature), failure.shrunk
    plan = Plan.from_json(failure.plan_json if shrunk is None else shrunk.plan_json)
    bundle = (failure.found_bundle or "") if shrunk is None else shrunk.bundle
    return FailureReport(
        signature=failure.signature,
        check=signature.check,
        shape=signature.shape,
        reason=failure.reason if shrunk is None else shrunk.reason,
        scenario=failure.scenario,
        count=max(1, failure.count),
        first_example=failure.first_example,
        first_after_s=failure.first_after_s,
        first_seen=failure.first_seen,
        plan_id=plan.plan_id,
        steps=len(plan.steps),
        nodes=plan.nodes,
        operations=None if shrunk is None else shrunk.operations,
        faults=tuple(f"{describe_when(step)}: {describe(step)}" for step in plan.steps),
        shrink_s=None if shrunk is None else shrunk.seconds,
        shrink_trials=None if shrunk is None else shrunk.trials,
        note=failure.unshrinkable,
        bundle=bundle,
        neighbour=None if shrunk is None else shrunk.neighbour_bundle,
        candidate=None if shrunk is None else shrunk.candidate,
        replay=f"mcp-chaos replay {bundle}",
    )


def _as_json(report: CampaignReport) -> bytes:
    return (json.dumps(report.to_dict(), indent=2, ensure_ascii=False) + "\n").encode()
