"""Each planted bug is found through the general families, and never without its plant."""

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


def test_the_catalogue_is_the_one_tested_here() -> None:
    assert {name for name, _, _ in PLANTS} == {"stale-read", "vote-not-durable", "ack-before-commit"}


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
