"""One batch of a family: Hypothesis draws plans, each is carried out and judged.

Hypothesis is used as it is meant: a violation raises, and each failure signature has an exception class of its own,
so that failures of several causes are told apart and each is shrunk to its own minimum. Batches are bounded, for
Hypothesis keeps every example of a run in memory.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as seeded
from hypothesis.database import ExampleDatabase

from chaos.generate import Sampler, draw_plan, plans
from chaos.plan import Plan
from chaos.scenario import Scenario
from chaos.signature import Signature, reason_of
from chaos.verdict import Verdict
from harness.hunt.ways import Guided
from harness.trial import Trial

Execute = Callable[[Plan], Trial]
"""Carries a plan out and judges it."""

MOST_PROBLEMS: Final = 5
"""Of so many runs that showed nothing a batch keeps the reasons."""


class FoundError(Exception):
    """A plan that violates something; see `error_of`."""


class Stopped(BaseException):
    """The batch is to end at once. No `Exception`: for Hypothesis that would be a failure of the plan."""


class _AbortedError(BaseException):
    """A plan could not be carried out: no failure of the plan either, and nothing to try again."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


@cache
def error_of(signature: Signature) -> type[FoundError]:
    """The exception class of a signature: Hypothesis tells failures apart by class and place."""
    return type(f"Found_{signature.slug}", (FoundError,), {"__doc__": str(signature)})


@dataclass(frozen=True)
class Found:
    """A failing plan."""

    signature: Signature
    reason: str
    """What was violated, in words."""
    plan_json: str
    choices: bytes | None
    """What Hypothesis drew, as its database keeps it; None for a plan that it did not draw."""
    example: int
    """The how-manieth of its batch it was, from 1."""
    bundle: str | None = None
    """Where its run was kept: of a run that cannot be repeated exactly."""
    after_s: float = field(default=0.0, compare=False)
    """Since the batch began."""


@dataclass
class Batch:
    """What a batch came to. Times are seconds, ``simulated_ns`` is virtual time."""

    examples: int = 0
    complete: bool = True
    failed: Counter[Signature] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)
    """The first failing plan of each signature."""
    unknown: int = 0
    harness_failures: int = 0
    problems: list[str] = field(default_factory=list)
    simulated_ns: int = 0
    states: set[int] = field(default_factory=set)
    goals: set[str] = field(default_factory=set)
    stale_choices: list[bytes] = field(default_factory=list)
    """Of the database's entries those that do not fail any more."""


class Choices(ExampleDatabase):
    """The database of one run of Hypothesis: the choices that failed, whatever the test is called."""

    def __init__(self, entries: Iterable[bytes] = ()) -> None:
        super().__init__()
        self.entries = set(entries)

    def save(self, key: bytes, value: bytes) -> None:
        """Hypothesis found that these fail."""
        if _is_primary(key):
            self.entries.add(value)

    def fetch(self, key: bytes) -> Iterable[bytes]:
        """What to try first."""
        return sorted(self.entries) if _is_primary(key) else ()

    def delete(self, key: bytes, value: bytes) -> None:
        """They do not fail, or smaller ones do."""
        if _is_primary(key):
            self.entries.discard(value)


def _is_primary(key: bytes) -> bool:
    return not key.endswith((b".secondary", b".pareto"))


class Search:
    """Carries out the plans of one family, and counts what comes of them.

    ``tell`` hears of each example when it is over, ``notice`` of each distinct failure; ``stop`` is asked before each
    example; ``keep`` keeps a run that violated something, and says where.
    """

    def __init__(
        self,
        scenario: Scenario,
        execute: Execute,
        *,
        tell: Callable[[Batch], None] = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
        keep: Callable[[Trial], str | None] = lambda _: None,
        notice: Callable[[Found], None] = lambda _: None,
    ) -> None:
        self.batch = Batch()
        self._scenario = scenario
        self._execute = execute
        self._tell = tell
        self._stop = stop
        self._keep = keep
        self._notice = notice
        self._showed_all = False
        self._began_s = time.monotonic()
        self._bundles: dict[str, str | None] = {}
        self._seen: dict[str, tuple[Signature | None, str]] = {}
        self._tries_more: Callable[[], bool] = lambda: True
        self._tried: Trial | None = None
        """The plan carried out last, unless it failed."""

    def known(self, choices: Iterable[bytes]) -> Batch:
        """First what is known: the author's examples, and what failed in earlier campaigns."""
        try:
            for example in self._scenario.example_scenarios:
                plan = draw_plan(example, Sampler(0))
                try:
                    signature, reason = self._try(plan)
                except _AbortedError as aborted:
                    raise aborted.cause from None
                if signature is not None:
                    self._note(signature, reason, plan, None)
            for entry in choices:
                self._showed_all = True  # unless the run says otherwise
                found = self._drive(0, 1, Choices([entry]), [Phase.reuse], set())
                if found is not None:
                    self._note(*found)
                elif self._showed_all:  # a run that shows nothing does not show that it passes
                    self.batch.stale_choices.append(entry)
        except (Stopped, KeyboardInterrupt):
            self.batch.complete = False
        return self.batch

    def explore(self, seed: int, examples: int, *, first: bool = False) -> Batch:
        """Up to ``examples`` plans that Hypothesis draws; a pure function of the family and the seed.

        ``first``: end with the first failure.
        """
        known: set[Signature] = set()
        left, run = examples, 0
        try:
            while left > 0:
                before = self.batch.examples
                found = self._drive(derived(seed, run), left, Choices(), [Phase.generate], known)
                if found is None:
                    break
                # Hypothesis stops at a failure. The rest of the batch looks for others.
                self._note(*found)
                if first:
                    self.batch.complete = False
                    break
                known.add(found[0])
                left -= max(1, self.batch.examples - before)
                run += 1
        except (Stopped, KeyboardInterrupt):
            self.batch.complete = False
        return self.batch

    def explore_guided(self, seed: int, examples: int, *, first: bool = False) -> Batch:
        """The same, of plans that are mostly neighbours of those that reached something new (`chaos.corpus`)."""
        way = Guided(self._scenario)
        known: set[Signature] = set()
        try:
            for number in range(examples):
                plan = way.propose(derived(seed, number))
                self._tried = None
                signature, reason = self._try(plan)
                if self._tried is not None:
                    way.learn(self._tried)
                if signature is not None and signature not in known:
                    known.add(signature)
                    self._note(signature, reason, plan, None)
                    if first:
                        self.batch.complete = False
                        break
        except _AbortedError as aborted:
            raise aborted.cause from None
        except (Stopped, KeyboardInterrupt):
            self.batch.complete = False
        return self.batch

    def shrink(
        self, signature: Signature, choices: bytes, keep_going: Callable[[], bool]
    ) -> tuple[Plan, bytes] | None:
        """Hypothesis's own smallest plan with this signature, and its choices; None if it fails no more.

        When ``keep_going`` says so, it ends with the smallest by then.
        """
        # Hypothesis stops shrinking by itself only after 300 s. When nothing new fails any more it is soon done.
        self._tries_more = keep_going
        database = Choices([choices])
        try:
            found = self._drive(0, 1, database, [Phase.reuse, Phase.shrink], None, wanted=signature)
        except (Stopped, KeyboardInterrupt):
            return None
        if found is None:
            return None
        _, _, plan, entry = found
        return plan, entry or choices

    def _drive(
        self,
        seed: int,
        examples: int,
        database: Choices,
        phases: list[Phase],
        known: set[Signature] | None,
        wanted: Signature | None = None,
    ) -> tuple[Signature, str, Plan, bytes | None] | None:
        """One run of Hypothesis, to its end or its first failure.

        With ``wanted`` only that signature counts as a failure, else every one that is not ``known``.
        """
        last: list[tuple[Signature, str, Plan]] = []

        @settings(  # above the seed, which would take the database away
            max_examples=examples,
            database=database,
            phases=phases,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
            print_blob=False,
            report_multiple_bugs=False,
        )
        @seeded(seed)
        @given(plan=plans(self._scenario))
        def hunted(plan: Plan) -> None:
            signature, reason = self._try(plan)
            if signature is None or (signature in known if known is not None else signature != wanted):
                return
            last[:] = [(signature, reason, plan)]
            raise error_of(signature)(reason)

        try:
            hunted()
        except FoundError:
            signature, reason, plan = last[0]
            # After a shrink the smallest entry is the last that failed; there is one without a shrink.
            entry = min(database.entries, key=lambda entry: (len(entry), entry), default=None)
            return signature, reason, plan, entry
        except _AbortedError as aborted:
            raise aborted.cause from None
        return None

    def _try(self, plan: Plan) -> tuple[Signature | None, str]:
        """Carries the plan out, unless it was; what it violates, and in which words."""
        if plan.plan_id in self._seen:  # Hypothesis repeats a failing example before it reports it
            return self._seen[plan.plan_id]
        if self._stop():
            raise Stopped
        if self._seen and not self._tries_more():
            return None, ""
        try:
            trial = self._execute(plan)
        except Exception as error:
            raise _AbortedError(error) from error
        batch = self.batch
        evidence, verdict = trial.result.evidence, trial.verdict
        interrupted = verdict.interrupted
        if interrupted and trial.signature is None:
            raise Stopped
        self._showed_all = verdict.verdict is Verdict.VALID
        batch.examples += 1
        batch.simulated_ns += evidence.stats.get("simulated_ns", 0)
        batch.states.update(trial.states)
        batch.goals.update(trial.goals)
        signature = trial.signature
        reason = ""
        if signature is not None:
            batch.failed[signature] += 1
            self._bundles[plan.plan_id] = self._keep(trial)
            reason = reason_of(signature, verdict.judgements)
            if interrupted:  # but it had violated something by then
                self._note(signature, reason, plan, None)
                raise Stopped
        elif verdict.harness_failures:
            batch.harness_failures += 1
            self._note_problem(plan, verdict.harness_failures[0])
        elif verdict.verdict is not Verdict.VALID:
            batch.unknown += 1
            self._note_problem(plan, _doubt(trial))
        self._tried = trial if signature is None else None
        self._seen[plan.plan_id] = signature, reason
        self._tell(batch)
        return signature, reason

    def _note(self, signature: Signature, reason: str, plan: Plan, choices: bytes | None) -> None:
        found = Found(
            signature,
            reason,
            plan.to_json(),
            choices,
            self.batch.examples,
            self._bundles.get(plan.plan_id),
            time.monotonic() - self._began_s,
        )
        self.batch.found.append(found)
        self._notice(found)

    def _note_problem(self, plan: Plan, words: str) -> None:
        if len(self.batch.problems) < MOST_PROBLEMS:
            self.batch.problems.append(f"{plan.scenario}, plan {plan.plan_id[:12]}: {words}")


def _doubt(trial: Trial) -> str:
    if trial.verdict.doubts:
        return trial.verdict.doubts[0]
    unknown = [judged for judged in trial.verdict.judgements if judged.verdict is Verdict.UNKNOWN]
    return f"{unknown[0].check}: {unknown[0].reason}" if unknown else "nothing was judged"


def derived(*parts: object) -> int:
    """A seed that depends on all of these (64 bits)."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
