"""Each planted bug is found through the general families, and never without its plant."""

import json
import re
from pathlib import Path

import pytest

from chaos._core import PLANTS, simulate
from chaos.checks import judge
from chaos.generate import Sampler, draw_plan
from chaos.scenario import load_scenario
from chaos.verdict import Verdict

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
ISOLATED_LEADER = SCENARIOS / "smoke" / "isolated-leader.yaml"
RANDOM_MIX = SCENARIOS / "consensus" / "random-mix.yaml"


def broken_checks(path: Path, seed: int, plants: list[str]) -> dict[str, str]:
    """The checks that a run violates, with the reasons."""
    plan = draw_plan(load_scenario(path.read_text(), str(path)), Sampler(seed))
    evidence = simulate(plan.compiled_json(), plants)
    return {
        judged.check: judged.reason for judged in judge(evidence, plan) if judged.verdict is Verdict.INVALID
    }


FAMILIES = sorted((SCENARIOS / "consensus").glob("*.yaml"))
MOST_PLANS = 2_000
"""The rarest need a few hundred."""
OWN = {
    "lease-read-drift": [SCENARIOS / "consensus" / "clocks.yaml"],
    "loss-unnoticed": [SCENARIOS / "beyond" / "lying-fsync.yaml"],
    "wiped-node-votes": [SCENARIOS / "beyond" / "wiped-node.yaml"],
}
"""What few families bring out: one needs clocks that drift, two a fault beyond Raft's model."""
SEEN_BY = {
    "ack-before-commit": {"linearizable", "durable"},
    "append-not-synced": {"committed_never_changes", "leader_completeness", "durable"},
    "applied-index-ahead": {"state_machine_safety"},
    "change-not-rolled-back": {"election_safety"},
    "conflicting-log-kept": {"no_panic"},
    "corrupt-frame-accepted": {"log_matching", "no_panic"},
    "follower-commits-unchecked": {"no_panic", "state_machine_safety", "committed_never_changes"},
    "gap-after-snapshot": {"no_panic"},
    "leader-never-steps-down": {"recovers"},
    "learner-counted": {"committed_never_changes", "election_safety"},
    "lease-ends-early": {"linearizable", "state_machine_safety"},
    "lease-read": {"linearizable"},
    "lease-read-drift": {"linearizable"},
    "local-time": {"state_machine_safety"},
    "loss-unnoticed": {"no_panic"},
    "map-order": {"state_machine_safety"},
    "queue-never-resends": {"recovers"},
    "read-before-applied": {"linearizable"},
    "read-before-own-commit": {"linearizable"},
    "read-context-reused": {"linearizable"},
    "removed-node-votes": {"election_safety"},
    "retry-applied-twice": {"durable"},
    "second-change-pending": {"election_safety"},
    "session-forgotten": {"state_machine_safety"},
    "snapshot-misses-key": {"state_machine_safety"},
    "snapshot-not-synced": {"no_panic"},
    "stale-read": {"linearizable"},
    "suffix-truncated": {"no_panic"},
    "torn-tail-kept": {"no_panic"},
    "vote-counted-twice": {"election_safety"},
    "vote-not-durable": {"monotonic", "election_safety"},
    "wake-up-lost": {"recovers"},
    "wiped-node-votes": {"monotonic", "election_safety"},
}
"""All of the catalogue, and the checks that see each. `make detection` measures how soon."""


BY_CLIENTS = [
    ("counters", "retry-applied-twice"),
    ("lists", "retry-applied-twice"),
    ("registry", "stale-read"),
    ("leases", "lease-read"),
    ("leases", "stale-read"),
    ("transactions", "stale-read"),
]
"""Families of other workloads than registers, and bugs that their clients see for themselves."""


@pytest.mark.parametrize(("family", "plant"), BY_CLIENTS)
def test_clients_of_every_workload_see_a_bug_by_the_model_of_what_they_work_on(
    family: str, plant: str
) -> None:
    path = SCENARIOS / "consensus" / f"{family}.yaml"
    for seed in range(600):
        reason = broken_checks(path, seed, [plant]).get("linearizable")
        if reason is not None:
            assert re.search(r" k\d", reason), reason
            assert "linearizable" not in broken_checks(path, seed, [])
            return
    pytest.fail(f"{plant} was not seen by clients in 600 plans of {family}")


def test_every_planted_bug_is_looked_for_and_has_a_source() -> None:
    assert set(SEEN_BY) == {name for name, *_ in PLANTS}
    assert all("https://" in source for *_, source in PLANTS)


@pytest.mark.parametrize("plant", SEEN_BY)
def test_the_general_families_find_it_and_a_clean_node_passes_the_same_plan(plant: str) -> None:
    families = [load_scenario(path.read_text(), str(path)) for path in OWN.get(plant, FAMILIES)]
    for seed in range(MOST_PLANS):
        plan = draw_plan(families[seed % len(families)], Sampler(seed))
        broken = {
            judged.check
            for judged in judge(simulate(plan.compiled_json(), [plant]), plan)
            if judged.verdict is Verdict.INVALID
        }
        if broken:
            assert SEEN_BY[plant] & broken, broken
            clean = judge(simulate(plan.compiled_json()), plan)
            assert not [judged.check for judged in clean if judged.verdict is Verdict.INVALID]
            return
    pytest.fail(f"{plant} was not found in {MOST_PLANS} plans")


BEYOND = [
    ("flipped-bit", "corrupt", "corrupt-frame-accepted", "state_machine_safety"),
    ("lying-fsync", "lying_fsync", "loss-unnoticed", "no_panic"),
]
"""Faults of disks beyond Raft's model, and bugs that show only through them."""


@pytest.mark.parametrize(("family", "fault", "plant", "check"), BEYOND)
def test_a_disk_that_rots_or_lies_brings_out_a_bug_that_the_same_plan_without_it_does_not(
    family: str, fault: str, plant: str, check: str
) -> None:
    path = SCENARIOS / "beyond" / f"{family}.yaml"
    scenario = load_scenario(path.read_text(), str(path))
    for seed in range(300):
        if check in broken_checks(path, seed, [plant]):
            plan = draw_plan(scenario, Sampler(seed))
            compiled = json.loads(plan.compiled_json())
            compiled["steps"] = [step for step in compiled["steps"] if step["kind"] != fault]
            without = judge(simulate(json.dumps(compiled), [plant]), plan)
            assert check not in {judged.check for judged in without if judged.verdict is Verdict.INVALID}
            assert broken_checks(path, seed, []) == {}, "the clean node refuses"
            return
    pytest.fail(f"{plant} was not seen through {fault} in 300 plans")


@pytest.mark.slow
def test_stale_reads_are_found_behind_an_isolated_leader() -> None:
    reasons = [broken_checks(ISOLATED_LEADER, seed, ["stale-read"]) for seed in range(100)]
    found = [reason["linearizable"] for reason in reasons if "linearizable" in reason]
    assert len(found) >= 95
    assert all("k" in reason and "read" in reason for reason in found), "the operations are named"


@pytest.mark.slow
def test_an_isolated_leader_of_the_clean_build_serves_no_stale_read() -> None:
    assert [seed for seed in range(100) if broken_checks(ISOLATED_LEADER, seed, [])] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "seen_by"),
    [
        ("vote-not-durable", {"monotonic", "election_safety"}),
        ("ack-before-commit", {"linearizable", "durable"}),
    ],
)
def test_the_general_mix_finds_the_bug_within_a_thousand_seeds(plant: str, seen_by: set[str]) -> None:
    for seed in range(1000):
        broken = broken_checks(RANDOM_MIX, seed, [plant])
        if broken:
            assert seen_by & set(broken), broken
            assert not broken_checks(RANDOM_MIX, seed, []), "the same plan passes without the plant"
            return
    pytest.fail(f"{plant} was not found in 1,000 seeds of {RANDOM_MIX.name}")
