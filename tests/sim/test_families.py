"""Hypothesis draws plans from each family and runs them: the clean build survives every one."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaos._core import simulate
from chaos.checks import judge
from chaos.generate import Sampler, draw_plan, plans
from chaos.plan import Plan
from chaos.scenario import Scenario, load_scenario
from chaos.verdict import Verdict

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
FILES = sorted([*SCENARIOS.glob("smoke/*.yaml"), *SCENARIOS.glob("consensus/*.yaml")])
BEYOND = sorted(SCENARIOS.glob("beyond/*.yaml"))
EXAMPLES = 500
BEYOND_MODEL = {"corrupt", "lying_fsync", "wiped"}


def load(path: Path) -> Scenario:
    return load_scenario(path.read_text(), str(path))


def assert_valid(plan: Plan) -> None:
    evidence = simulate(plan.compiled_json(), [])
    for judged in judge(evidence, plan):
        assert judged.verdict in {Verdict.VALID, Verdict.NOT_APPLICABLE}, f"{judged.check}: {judged.reason}"


FAMILIES = [path for path in FILES if load(path).hole_count]


def test_there_are_at_least_eight_scenarios() -> None:
    assert len(FILES) >= 8


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_first_seeds_of_each_scenario_are_valid(path: Path) -> None:
    for seed in range(10):
        assert_valid(draw_plan(load(path), Sampler(seed)))


@pytest.mark.parametrize("path", BEYOND, ids=lambda path: path.stem)
def test_beyond_rafts_model_the_node_concerned_refuses_and_the_others_go_on(path: Path) -> None:
    refused = 0
    for seed in range(30):
        plan = draw_plan(load(path), Sampler(seed))
        evidence = simulate(plan.compiled_json(), [])
        for judged in judge(evidence, plan):
            assert judged.verdict in {Verdict.VALID, Verdict.NOT_APPLICABLE}, (
                f"{judged.check}: {judged.reason}"
            )
        log = map(json.loads, evidence.nemesis_jsonl().splitlines())
        hit = {node for record in log if record["kind"] in BEYOND_MODEL for node in record["nodes"]}
        traces = (evidence.trace_jsonl(f"n{node}").splitlines() for node in range(1, plan.nodes + 1))
        last = (json.loads(trace[-1]) for trace in traces)
        out = {record["node"] for record in last if record["event"] in {"refused", "stopped"}}
        assert out <= hit, f"seed {seed}"
        refused += len(out)
    assert refused >= 10


def test_the_examples_that_authors_wrote_down_are_valid() -> None:
    """They are members that once mattered: run before anything is drawn."""
    examples = [example for path in FILES for example in load(path).example_scenarios]
    assert examples
    for example in examples:
        assert_valid(draw_plan(example, Sampler(0)))


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(data=st.data(), family=st.sampled_from(FAMILIES))
def test_hypothesis_breaks_nothing(data: st.DataObject, family: Path) -> None:
    assert_valid(data.draw(plans(load(family))))


@pytest.mark.slow
def test_a_failing_plan_shrinks() -> None:
    """With a planted bug Hypothesis ends on a plan with few steps, nodes and clients."""
    scenario = load(SCENARIOS / "consensus" / "random-mix.yaml")
    failing: list[Plan] = []

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(plan=plans(scenario))
    def search(plan: Plan) -> None:
        evidence = simulate(plan.compiled_json(), ["stale-read"])
        if any(judged.verdict is Verdict.INVALID for judged in judge(evidence, plan)):
            failing.append(plan)
            raise AssertionError("found")

    with pytest.raises(AssertionError, match="found"):
        search()
    smallest = failing[-1]
    assert smallest.nodes == 3
    assert len(smallest.steps) <= 2
