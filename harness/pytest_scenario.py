"""What the pytest plugin does with one scenario file: search its family, shrink what fails, and put it into words."""

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from hypothesis import settings

from chaos.errors import InfrastructureError
from chaos.generate import MOST_SEED
from chaos.plan import Plan
from chaos.signature import Signature
from chaos.timeline import counted
from chaos.verdict import Verdict
from harness.account import shown_path
from harness.cluster import RunOptions
from harness.hunt.campaign import database_key
from harness.hunt.search import Batch, Execute, Found, Search, derived
from harness.hunt.shrinking import shrink_found
from harness.hunt.tasks import Family
from harness.run import Finished, keep
from harness.trial import Trial, executor, try_plan
from harness.violation import bundle_lines, violation_words

SHRINK_S: Final = 20.0
"""How long the shrinking of one failure may take."""


@dataclass(frozen=True)
class Wishes:
    """What the command line and the ini file ask for."""

    options: RunOptions
    examples: int
    """Of each scenario that leaves values open."""
    seed: int | None
    """None: each scenario's own, from its name."""


@dataclass(frozen=True)
class _Failure:
    signature: Signature
    words: str
    bundle: Path


@dataclass
class Examined:
    """What came of one scenario."""

    batch: Batch
    seed: int
    goals_missed: list[str]
    failures: list[_Failure] = field(default_factory=list)
    doubtful: Finished | None = None
    """The kept record of the first run that showed nothing."""

    @property
    def properties(self) -> list[tuple[str, object]]:
        """For JUnit XML."""
        found = [
            pair
            for failure in self.failures
            for pair in (("signature", str(failure.signature)), ("bundle", str(failure.bundle)))
        ]
        counts = {"examples": self.batch.examples, "states": len(self.batch.states), "seed": self.seed}
        return [*counts.items(), *found]

    def words(self) -> str | None:
        """Why the test fails; None if it does not."""
        examples = counted(self.batch.examples, "example")
        parts = [failure.words for failure in self.failures]
        if len(parts) > 1:
            parts = [
                f"Failure {number} of {len(parts)}: {text}" for number, text in enumerate(parts, start=1)
            ]
        if self.batch.unknown:
            parts.append(
                "\n".join(
                    [
                        f"unknown, which is never a pass: {self.batch.unknown} of {examples} showed nothing",
                        *(f"  {problem}" for problem in self.batch.problems),
                        *(bundle_lines(self.doubtful) if self.doubtful else []),
                    ]
                )
            )
        if self.goals_missed and not self.failures:
            parts.append(
                f"never reached in {examples}: {', '.join(self.goals_missed)} (`sometimes`). "
                "What never happens was not tested: more examples may reach it (--chaos-examples), or other faults"
            )
        return "\n\n".join(parts) or None


def examine(family: Family, wishes: Wishes) -> Examined:
    """Searches a family: its author's examples, what failed before, then members that Hypothesis draws.

    A file that leaves nothing open, not even the seed, is run once. Raises ChaosError where the harness fails: no
    verdict on the system under test can be had then.
    """
    scenario = family.load()
    seed = derived("pytest", family.name) % (MOST_SEED + 1) if wishes.seed is None else wishes.seed
    examples = wishes.examples
    if not scenario.hole_count and scenario.seed is not None:
        examples = 1
    database, key = settings().database, database_key(family, wishes.options)
    known = [] if database is None else sorted(database.fetch(key))

    watched = _Watched(wishes.options)
    with executor(wishes.options) as execute:
        search = Search(scenario, watched.watching(execute))
        batch = search.known(known)
        if batch.complete:
            batch = search.explore(seed, examples)
    if not batch.complete:
        raise KeyboardInterrupt
    if batch.harness_failures and not batch.found:
        failed = f"in {batch.harness_failures} of {batch.examples} examples the harness failed"
        where = bundle_lines(watched.doubtful) if watched.doubtful else []
        problems = [f"  {problem}" for problem in batch.problems]
        raise InfrastructureError("\n".join([failed, *problems, *where]))

    examined = Examined(
        batch,
        seed,
        goals_missed=[goal for goal in scenario.sometimes if goal not in batch.goals],
        doubtful=watched.doubtful,
    )
    firsts: dict[Signature, Found] = {}
    for found in batch.found:
        firsts.setdefault(found.signature, found)
        if database is not None and found.choices is not None:
            database.save(key, found.choices)
    if database is not None:
        for entry in batch.stale_choices:
            database.delete(key, entry)
    for found in firsts.values():
        failure, choices = _shrunk(family, found, watched, wishes.options)
        examined.failures.append(failure)
        if database is not None and choices is not None:
            database.save(key, choices)
    return examined


class _Watched:
    """Keeps what cannot be had again: the first run that showed nothing, and on containers each first failure."""

    def __init__(self, options: RunOptions) -> None:
        self.doubtful: Finished | None = None
        self.failed: dict[Signature, tuple[Trial, Finished]] = {}
        self._options = options

    def watching(self, execute: Execute) -> Execute:
        """The same, watched."""

        def watched(plan: Plan) -> Trial:
            started_at = datetime.now(UTC)
            trial = execute(plan)
            signature, verdict = trial.signature, trial.verdict
            if signature is not None:
                if self._options.backend != "sim" and signature not in self.failed:
                    self.failed[signature] = trial, _kept(trial, self._options, started_at, signature)
            elif verdict.verdict is not Verdict.VALID and not verdict.interrupted and self.doubtful is None:
                self.doubtful = _kept(trial, self._options, started_at, None)
            return trial

        return watched


def _kept(trial: Trial, options: RunOptions, started_at: datetime, signature: Signature | None) -> Finished:
    name = None if signature is None else f"{trial.plan.scenario}-{signature.slug}"
    return keep(trial.plan, options, trial.result, trial.verdict, started_at, name)


def _shrunk(
    family: Family, found: Found, watched: _Watched, options: RunOptions
) -> tuple[_Failure, bytes | None]:
    """The failure at its smallest, kept: first Hypothesis shrinks, then the reducer, both in simulation. A failure of
    containers that simulation does not show stays as it was found.
    """
    began_s = time.monotonic()
    simulated = replace(options, backend="sim")
    plan, choices = Plan.from_json(found.plan_json), found.choices
    elsewhere = watched.failed.get(found.signature)
    if elsewhere is not None and try_plan(plan, simulated).signature != found.signature:
        trial, kept = elsewhere
        words = violation_words(
            trial.plan,
            found.signature,
            trial.verdict.judgements,
            options=options,
            kept=kept,
            how_found=f"as found by example {found.example} (simulation does not show it)",
        )
        return _Failure(found.signature, words, kept.bundle.path), choices
    done = shrink_found(family.load(), plan, found.signature, choices, simulated, SHRINK_S)
    shrunk, choices = done.shrunk, done.choices
    if shrunk.interrupted:
        raise KeyboardInterrupt
    plan = shrunk.plan
    how = f"shrunk from example {found.example} in {time.monotonic() - began_s:.1f} s"
    started_at = datetime.now(UTC)
    trial = try_plan(plan, simulated)
    kept = _kept(trial, simulated, started_at, found.signature)
    words = violation_words(
        plan, found.signature, trial.verdict.judgements, options=simulated, kept=kept, how_found=how
    )
    if elsewhere is not None:
        words += f"\nOn {options.backend} it was found first, as {shown_path(elsewhere[1].bundle.path)}"
    return _Failure(found.signature, words, kept.bundle.path), choices
