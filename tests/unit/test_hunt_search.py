"""One batch of a hunt: what Hypothesis draws, how failures are told apart, what is remembered."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from chaos.errors import InfrastructureError
from chaos.plan import Plan
from chaos.scenario import Scenario, load_scenario
from chaos.signature import Signature
from chaos.verdict import Judgement, RunVerdict, Verdict
from harness.hunt.search import Batch, Choices, Search, derived, error_of

FAMILY = """
version: 1
scenario: family
cluster: {nodes: {any: [3, 5]}}
workload: {duration: 4s, keys: {between: [1, 9]}}
heal: 3s
faults:
  - random:
      count: {between: [0, 6]}
      kinds: [pause, kill, partition]
checks: [linearizable, durable]
sometimes: [leader_changed]
"""
STALE = Signature("linearizable", "stale-read")
LOST = Signature("durable", "lost")


def family(text: str = FAMILY) -> Scenario:
    return load_scenario(text, "family.yaml")


@dataclass
class Evidence:
    stats: dict[str, int] = field(default_factory=lambda: {"simulated_ns": 10})


@dataclass
class Result:
    evidence: Evidence = field(default_factory=Evidence)


@dataclass
class Trial:
    """What `Search` asks of one."""

    plan: Plan
    signature: Signature | None
    verdict: RunVerdict
    result: Result = field(default_factory=Result)
    goals: tuple[str, ...] = ("leader_changed",)
    states: tuple[int, ...] = (1, 2)

    @property
    def features(self) -> list[int]:
        return [1, 2, *(step.at_ns or 0 for step in self.plan.steps)]


class Cluster:
    """Fails as the test says."""

    def __init__(self, fails: Callable[[Plan], Signature | None]) -> None:
        self.fails = fails
        self.plans: list[Plan] = []

    def __call__(self, plan: Plan) -> Any:
        self.plans.append(plan)
        signature = self.fails(plan)
        judged = [Judgement("recovers", Verdict.VALID, "")]
        if signature is not None:
            judged.append(
                Judgement(signature.check, Verdict.INVALID, f"broken: {signature}", shape=signature.shape)
            )
        return Trial(plan, signature, RunVerdict(tuple(judged)))


def kinds(plan: Plan) -> list[str]:
    return [step.kind for step in plan.steps]


def two_bugs(plan: Plan) -> Signature | None:
    if "kill" in kinds(plan) and plan.nodes == 5:
        return LOST
    return STALE if "partition" in kinds(plan) else None


@pytest.mark.parametrize("explore", [Search.explore, Search.explore_guided])
def test_a_batch_is_a_pure_function_of_family_and_seed(explore: Callable[[Search, int, int], Batch]) -> None:
    batches = []
    for _ in range(2):
        cluster = Cluster(two_bugs)
        batch = explore(Search(family(), cluster), derived(7, "family", 3), 60)
        batches.append(([plan.plan_id for plan in cluster.plans], batch))
    assert batches[0] == batches[1]
    other = Cluster(two_bugs)
    explore(Search(family(), other), derived(7, "family", 4), 60)
    assert [plan.plan_id for plan in other.plans] != batches[0][0]


def test_a_batch_goes_on_after_a_failure_and_tells_failures_apart() -> None:
    cluster = Cluster(two_bugs)
    batch = Search(family(), cluster).explore(1, 100)
    assert {found.signature for found in batch.found} == {LOST, STALE}
    assert len(batch.found) == 2, "each signature once"
    assert 80 <= batch.examples <= 100
    assert batch.examples == len(cluster.plans), "what Hypothesis repeats is not run again"
    assert batch.failed[STALE] > 3
    assert all(found.reason == f"broken: {found.signature}" for found in batch.found)
    assert two_bugs(Plan.from_json(batch.found[0].plan_json)) is not None
    assert batch.goals == {"leader_changed"}
    assert (batch.states, batch.simulated_ns) == ({1, 2}, 10 * batch.examples)


def test_a_guided_batch_finds_the_same_failures_and_ends_with_the_first_if_told_to() -> None:
    cluster = Cluster(two_bugs)
    batch = Search(family(), cluster).explore_guided(1, 100)
    assert {found.signature for found in batch.found} == {LOST, STALE}
    assert len(batch.found) == 2, "each signature once"
    assert batch.examples == len(cluster.plans) == len({plan.plan_id for plan in cluster.plans})
    assert batch.complete
    first = Search(family(), Cluster(two_bugs)).explore_guided(1, 100, first=True)
    assert (first.found, first.complete) == (batch.found[:1], False)


def test_what_failed_fails_first_in_the_next_campaign() -> None:
    batch = Search(family(), Cluster(two_bugs)).explore(1, 100)
    entries = [found.choices for found in batch.found if found.choices is not None]
    assert len(entries) == 2
    cluster = Cluster(two_bugs)
    again = Search(family(), cluster).known(entries)
    assert {found.signature for found in again.found} == {LOST, STALE}
    assert len(cluster.plans) == 2
    assert not again.stale_choices
    mended = Search(family(), Cluster(lambda _: None)).known(entries)
    assert (mended.found, mended.stale_choices) == ([], entries)


def test_the_author_s_examples_are_run_first() -> None:
    text = FAMILY + "examples:\n  - {cluster.nodes: 5, workload.keys: 8}\n"
    cluster = Cluster(lambda plan: STALE if plan.nodes == 5 else None)
    batch = Search(family(text), cluster).known([])
    assert [plan.nodes for plan in cluster.plans] == [5]
    assert [(found.signature, found.choices) for found in batch.found] == [(STALE, None)]


def test_hypothesis_shrinks_one_signature_and_slips_to_no_other() -> None:
    search = Search(family(), Cluster(two_bugs))
    found = {one.signature: one for one in search.explore(1, 100).found}
    for signature, kind in ((LOST, "kill"), (STALE, "partition")):
        choices = found[signature].choices
        assert choices is not None
        smaller = Search(family(), Cluster(two_bugs)).shrink(signature, choices, lambda: True)
        assert smaller is not None
        plan, entry = smaller
        assert set(kinds(plan)) == {kind}
        assert len(plan.steps) <= 2, "the reducer of plans does the rest"
        assert two_bugs(plan) == signature
        again = Search(family(), Cluster(two_bugs)).known([entry])
        assert [Plan.from_json(one.plan_json) for one in again.found] == [plan]


def test_shrinking_that_runs_out_of_time_ends_with_what_it_has() -> None:
    found = Search(family(), Cluster(two_bugs)).explore(1, 100).found[0]
    assert found.choices is not None
    cluster = Cluster(two_bugs)
    smaller = Search(family(), cluster).shrink(found.signature, found.choices, lambda: False)
    assert smaller is not None
    assert smaller[0] == Plan.from_json(found.plan_json)
    assert len(cluster.plans) == 1


def test_a_batch_that_is_stopped_keeps_what_it_found() -> None:
    cluster = Cluster(two_bugs)
    search = Search(family(), cluster, stop=lambda: len(cluster.plans) >= 30)
    batch = search.explore(1, 100)
    assert not batch.complete
    assert batch.examples == 30
    assert batch.found


def test_a_plan_that_cannot_be_carried_out_is_no_failure_of_the_plan() -> None:
    # Hypothesis would take the error for a bug, run the plan again, and call the test flaky if it then passes.
    tried: list[Plan] = []

    def execute(plan: Plan) -> Any:
        tried.append(plan)
        raise InfrastructureError("the engine went away")

    for attempt in (
        lambda: Search(family(), execute).explore(1, 20),
        lambda: Search(family(FAMILY + "examples:\n  - {cluster.nodes: 5}\n"), execute).known([]),
    ):
        tried.clear()
        with pytest.raises(InfrastructureError, match="went away"):
            attempt()
        assert len(tried) == 1


def test_a_family_with_one_member_is_run_once() -> None:
    text = FAMILY.replace("{any: [3, 5]}", "3").replace("{between: [1, 9]}", "2")
    text = text[: text.index("faults:")] + "seed: 4\nchecks: [durable]\n"
    cluster = Cluster(lambda _: None)
    assert Search(family(text), cluster).explore(1, 50).examples == 1
    failing = Cluster(lambda _: LOST)
    batch = Search(family(text), failing).explore(1, 50)
    assert (len(failing.plans), len(batch.found)) == (1, 1)


def test_runs_that_show_nothing_are_counted_with_their_reasons() -> None:
    def execute(plan: Plan) -> Any:
        unknown = plan.nodes == 3
        judged = Judgement("linearizable", Verdict.UNKNOWN if unknown else Verdict.VALID, "out of budget")
        failures = () if unknown else ("the engine went away",)
        return Trial(plan, None, RunVerdict((judged,), harness_failures=failures))

    batch = Search(family(), execute).explore(1, 40)
    assert batch.unknown + batch.harness_failures == batch.examples
    assert batch.unknown
    assert batch.harness_failures
    assert len(batch.problems) == 5
    assert any("linearizable: out of budget" in words for words in batch.problems)
    assert any("the engine went away" in words for words in batch.problems)


def test_each_signature_has_a_class_of_its_own() -> None:
    assert error_of(LOST) is error_of(Signature("durable", "lost"))
    assert error_of(LOST) is not error_of(STALE)


def test_the_database_of_one_run_keeps_primary_entries_only() -> None:
    database = Choices([b"b"])
    database.save(b"key", b"a")
    database.save(b"key.secondary", b"c")
    database.delete(b"key.secondary", b"a")
    assert list(database.fetch(b"another")) == [b"a", b"b"]
    assert list(database.fetch(b"key.pareto")) == []
    database.delete(b"key", b"a")
    assert database.entries == {b"b"}


def test_seeds_depend_on_every_part() -> None:
    seeds = {derived(*parts) for parts in [(1, "a", 0), (1, "a", 1), (1, "b", 0), (2, "a", 0), (1, "a0")]}
    assert len(seeds) == 5
