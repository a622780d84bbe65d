"""Bugs that let a cluster stand still are found under faults that stand; the reason says who refuses what, and why."""

import re
from pathlib import Path

import pytest

from chaos._core import simulate
from chaos.checks import judge
from chaos.generate import Sampler, draw_plan
from chaos.scenario import load_scenario
from chaos.signature import Signature, reason_of, signature_of

FAMILY = Path(__file__).resolve().parents[2] / "scenarios" / "consensus" / "standing-faults.yaml"
BEHIND = Signature("recovers", "node-behind")
STUCK = (
    r"n\d leads in term \d+ and commits \(index \d+ at [\d.]+ s\): "
    r".*n\d hears it, but ends at index \d+, and has appended nothing"
)


@pytest.mark.parametrize(
    ("plant", "expected", "reason"),
    [
        # What the leader believes to be unreachable it never sends anything again.
        ("wake-up-lost", BEHIND, STUCK),
        # The leader waits for a snapshot to be acknowledged that was lost on its way.
        ("queue-never-resends", BEHIND, STUCK),
        # A leader without a quorum goes on sending heartbeats, which keep those that hear it from electing another.
        (
            "leader-never-steps-down",
            Signature("progresses", "leader-without-quorum"),
            r"n\d leads in term \d+ though only [12] of [35] voters answer it: .*"
            r"n\d (hears it, but its answers are lost|is cut off from it) since "
            r".*still follows? it and elects? no other",
        ),
    ],
)
def test_a_cluster_that_stands_still_is_found_with_its_reason(
    plant: str, expected: Signature, reason: str
) -> None:
    family = load_scenario(FAMILY.read_text(), FAMILY.name)
    for seed in range(200):
        plan = draw_plan(family, Sampler(seed))
        judged = judge(simulate(plan.compiled_json(), [plant]), plan)
        if signature_of(judged) == expected:
            assert re.search(reason, reason_of(expected, judged))
            return
    pytest.fail(f"{plant} was not found as {expected} in 200 plans")
