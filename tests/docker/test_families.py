"""Hypothesis draws plans for real containers, and a planted bug is found on them."""

import json
from pathlib import Path

import docker
from hypothesis import HealthCheck, Phase, given, seed, settings

from chaos.generate import Sampler, draw_plan, plans
from chaos.plan import Plan
from chaos.scenario import load_scenario
from chaos.verdict import Verdict
from harness.backends import run_on
from harness.cluster import PLAN_START_NS, RunOptions
from harness.run import judge_result

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
PORTABLE_MIX = SCENARIOS / "consensus" / "portable-mix.yaml"
ISOLATED_LEADER = SCENARIOS / "smoke" / "isolated-leader.yaml"


def on_docker(plan: Plan, *plants: str) -> dict[str, tuple[Verdict, str]]:
    """Each check's verdict and reason; the harness must not have failed."""
    result = run_on(plan, RunOptions(backend="docker", plants=plants), lambda _: None)
    judged = judge_result(plan, result)
    assert judged.harness_failures == ()
    return {one.check: (one.verdict, one.reason) for one in judged.judgements}


def test_five_drawn_plans_break_nothing(engine: docker.DockerClient) -> None:
    del engine
    scenario = load_scenario(PORTABLE_MIX.read_text(), str(PORTABLE_MIX))
    ran: list[str] = []

    # No shrinking: a failure here is replayed from its printed plan, in simulation first.
    @seed(5)
    @settings(
        max_examples=5,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(plan=plans(scenario))
    def search(plan: Plan) -> None:
        ran.append(plan.plan_id)
        for check, (verdict, reason) in on_docker(plan).items():
            assert verdict in {Verdict.VALID, Verdict.NOT_APPLICABLE}, (
                f"{check}: {reason}\n{json.dumps(plan.document)}"
            )

    search()
    assert len(set(ran)) == 5


def test_a_stale_read_is_found_behind_a_real_proxy(engine: docker.DockerClient) -> None:
    del engine
    plan = draw_plan(load_scenario(ISOLATED_LEADER.read_text(), str(ISOLATED_LEADER)), Sampler(0))
    verdict, reason = on_docker(plan, "stale-read")["linearizable"]
    assert verdict is Verdict.INVALID
    assert "answered read" in reason
    # By a write that had been acknowledged, or by one in flight that another read had seen.
    assert "overwritten" in reason or "just before, it holds" in reason


def test_a_run_ends_with_the_first_stale_read(engine: docker.DockerClient) -> None:
    del engine
    plan = draw_plan(load_scenario(ISOLATED_LEADER.read_text(), str(ISOLATED_LEADER)), Sampler(0))
    options = RunOptions(backend="docker", plants=("stale-read",), stop_at_violation=True)
    result = run_on(plan, options, lambda _: None)
    assert result.stopped is not None
    assert "answered read" in result.stopped
    assert result.problems == []
    last = json.loads(result.evidence.history_jsonl().splitlines()[-1])
    assert last["time_ns"] < PLAN_START_NS + plan.workload_ns, "the plan would have gone on"

    verdict = judge_result(plan, result)
    judged = {one.check: one for one in verdict.judgements}
    assert judged["linearizable"].reason.partition(",")[0] in result.stopped
    assert "cut short" in judged["recovers"].reason
    assert verdict.exit_code == 1
