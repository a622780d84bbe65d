"""One cause gives one or a few signatures under any seed and in any family, and these three causes share none."""

from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from chaos._core import simulate
from chaos.checks import judge
from chaos.generate import Sampler, draw_plan
from chaos.scenario import load_scenario
from chaos.signature import Signature, signature_of

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
GENERAL = (
    "consensus/random-mix.yaml",
    "consensus/crash-points.yaml",
    "consensus/power-loss-of-all.yaml",
    "consensus/isolated-leader.yaml",
    "consensus/portable-mix.yaml",
    "smoke/paused-leader.yaml",
)
FAILURES = {"stale-read": 60, "vote-not-durable": 12, "ack-before-commit": 80}
FAMILIES = {"vote-not-durable": ("consensus/crash-points.yaml", "consensus/random-mix.yaml")}
"""Where a forgotten vote shows at all: a node must lose power between its vote and the next sync."""


def signatures(plant: str, failures: int) -> Counter[Signature]:
    """The signatures of that many failures of a planted bug, drawn from each of the families in turn."""
    families = [load_scenario((SCENARIOS / name).read_text(), name) for name in FAMILIES.get(plant, GENERAL)]
    found: Counter[Signature] = Counter()
    for seed in count():
        for family in families:
            plan = draw_plan(family, Sampler(seed))
            signature = signature_of(judge(simulate(plan.compiled_json(), [plant]), plan))
            if signature is not None:
                found[signature] += 1
            if found.total() == failures:
                return found
    raise AssertionError("unreachable: seeds do not end")


@pytest.mark.slow
def test_each_planted_bug_has_few_signatures_and_none_of_anothers() -> None:
    found = {plant: signatures(plant, failures) for plant, failures in FAILURES.items()}
    for plant, counts in found.items():
        assert len(counts) <= 4, (plant, counts)
        others = {signature for other in found if other != plant for signature in found[other]}
        assert not others & set(counts), (plant, others)
        assert all(signature.shape != "violated" for signature in counts), "every violation says how"
    # A term goes to disk with the vote in it, or alone.
    forgotten = {Signature("monotonic", "vote-forgotten"), Signature("monotonic", "term-forgotten")}
    assert set(found["vote-not-durable"]) <= forgotten
    assert found["ack-before-commit"].keys() == {
        Signature("linearizable", "acknowledged-before-applied"),
        Signature("durable", "acknowledged-before-applied"),
    }
    assert {signature.check for signature in found["stale-read"]} == {"linearizable"}
    assert all(signature.shape.startswith("stale-read-from-") for signature in found["stale-read"])
