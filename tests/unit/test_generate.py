"""Drawing members of a family: bounded, shrinking to the mildest, and with a sampler that never shifts."""

import json
import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from chaos.faults import KINDS
from chaos.generate import Draw, Sampler, draw_plan, plans
from chaos.plan import Plan
from chaos.portable import action_of
from chaos.scenario import EVENTS, Scenario, load_scenario
from tests.strategies import FILES

HEAD = "version: 1\nscenario: family\n"
QUICK = settings(max_examples=4000, phases=[Phase.generate, Phase.shrink], database=None)


def family(text: str) -> Scenario:
    return load_scenario(HEAD + text, "family.yaml")


def bare(plan: Plan) -> str:
    """A plan without its seed: two such are different members, not only different runs of one."""
    return json.dumps({key: value for key, value in plan.document.items() if key != "seed"})


GENERAL = family(
    """
cluster: {nodes: {any: [3, 5]}}
workload: {duration: {between: [8s, 20s]}, rate: {between: [10/s, 200/s]}, keys: {between: [1, 4]}}
network: {latency: [1ms, {between: [2ms, 50ms]}], loss: {between: [0%, 5%]}}
faults:
  - at: {between: [1s, 15s]}
    for: {between: [1s, 10s]}
    partition:
      any: [{isolate: leader}, halves, majority_ring, {bridge: leader}, {groups: {between: [2, 9]}}]
  - maybe:
      on: {event: {any: [vote_cast, disk_sync]}, nth: {between: [1, 100]}}
      for: {between: [1s, 30s]}
      power_off: {any: [event, minority]}
  - random:
      count: {between: [0, 10]}
      kinds: [partition, one_way, latency, pause, kill, power_off, restart, transfer_leader, drop, duplicate,
        reorder, bandwidth, reset, slow_node, slow_disk, slow_sync, full_disk, disk_error,
        clock_offset, clock_jump, clock_drift, lying_fsync, corrupt, wiped]
      triggers: [vote_cast, disk_write, appended]
"""
)


ACTIONS = {*map(action_of, KINDS)}
LINKED = {"cut", "latency", "drop", "duplicate", "reorder", "bandwidth", "reset"}


def assert_bounded(plan: Plan) -> None:
    """What is true of every plan, whoever drew it."""
    assert 0 < plan.heal_ns <= plan.workload_ns
    for step in plan.steps:
        if step.at_ns is not None:
            assert 0 <= step.at_ns < plan.heal_ns
        end = (step.at_ns or 0) + (step.for_ns or 0)
        assert end <= plan.heal_ns
        assert (step.for_ns is None) or step.fault.lasts
        for case in step.cases(plan.nodes).values():
            assert case["do"] in ACTIONS
            # Which of the spares is added is known only when the time has come.
            assert case["links"] if case["do"] in LINKED else case["nodes"] or case["do"] == "add_node"
            assert set(case["nodes"]) <= {f"n{node}" for node in range(1, plan.nodes + 1)}
            assert case.get("delay_min_ns", 0) <= case.get("delay_max_ns", 0)


@given(plans(GENERAL))
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_every_plan_that_hypothesis_draws_is_bounded(plan):
    assert_bounded(plan)
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_thousand_seeds_give_a_thousand_plans(path):
    """At least 990 of 1,000 differ even if their seeds are left aside, where the author left holes."""
    scenario = load_scenario(path.read_text(), str(path))
    drawn = [draw_plan(scenario, Sampler(seed)) for seed in range(1000)]
    for plan in drawn[:100]:
        assert_bounded(plan)
    nothing_is_open = scenario.seed is not None and not scenario.hole_count
    assert len({plan.plan_id for plan in drawn}) == (1 if nothing_is_open else 1000)
    if scenario.hole_count:
        assert len({bare(plan) for plan in drawn}) >= 990


def test_a_sampler_draws_the_same_again_and_evenly():
    assert draw_plan(GENERAL, Sampler(7)) == draw_plan(GENERAL, Sampler(7))
    counts = [0] * 6
    for seed in range(6000):
        counts[Sampler(seed).index("die", 6)] += 1
    assert all(900 < count < 1100 for count in counts), counts


def test_a_change_to_one_hole_shifts_no_other():
    """The sampler's draws hang on their paths: neither an added step nor a wider range re-rolls the rest."""
    before = family("faults:\n  - at: {between: [1s, 9s]}\n    kill: minority\n")
    after = family(
        "workload: {keys: {between: [1, 9]}}\n"
        "faults:\n  - at: {between: [1s, 9s]}\n    kill: minority\n"
        "  - at: {between: [2s, 8s]}\n    pause: one\n"
    )
    for seed in range(50):
        one, other = (draw_plan(scenario, Sampler(seed)).steps[0] for scenario in (before, after))
        assert (one.at_ns, one.fault) == (other.at_ns, other.fault)


def shrunk(scenario: Scenario, holds: Callable[[Plan], bool], seed: int = 0) -> Plan:
    return find(plans(scenario), holds, settings=QUICK, random=random.Random(seed))


def test_hypothesis_shrinks_to_the_mildest_member():
    plan = shrunk(GENERAL, lambda _: True)
    assert plan.seed == 0
    assert plan.nodes == 3
    assert [(step.at_ns, step.for_ns) for step in plan.steps] == [(10**9, 10**9)]
    assert plan.document["workload"]["rate"] == "10/s"
    assert plan.document["network"]["loss"] == "0%"


@pytest.mark.parametrize("kind", KINDS)
def test_random_steps_that_are_not_needed_go_away(kind):
    scenario = family(f"faults: [{{random: {{count: {{between: [0, 8]}}, kinds: [{', '.join(KINDS)}]}}}}]")
    plan = shrunk(
        scenario, lambda plan: any(step.kind == kind and step.at_ns > 3 * 10**9 for step in plan.steps)
    )
    [step] = plan.steps
    assert step.kind == kind
    assert step.at_ns <= 31 * 10**8
    assert step.at_ns % 10**6 == 0
    assert step.for_ns in {None, 200_000_000}


def test_two_steps_that_are_needed_stay():
    scenario = family(
        "faults: [{random: {count: {between: [0, 8]}, kinds: [pause, kill], triggers: [vote_cast]}}]"
    )
    wanted = {"pause", "kill"}
    plan = shrunk(scenario, lambda plan: wanted <= {step.kind for step in plan.steps})
    assert sorted(step.kind for step in plan.steps) == ["kill", "pause"]
    assert {step.at_ns for step in plan.steps} == {500_000_000}


@given(st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_open_times_are_clipped_to_the_heal(seed):
    scenario = family(
        "workload: {duration: {between: [4s, 20s]}}\n"
        "faults:\n  - {at: {between: [1s, 20s]}, for: {between: [500ms, 9s]}, pause: one}\n"
        "  - {at: {between: [1s, 20s]}, for: 2s, kill: one}\n"
    )
    plan = draw_plan(scenario, Sampler(seed))
    assert_bounded(plan)
    assert plan.heal_ns == plan.workload_ns * 3 // 4 // 10**6 * 10**6
    assert plan.steps[1].for_ns == 2 * 10**9


def test_times_snap_to_round_values_between_exact_ends():
    scenario = family(
        "workload: {keys: {between: [3, 900]}}\n"
        "faults: [{at: {between: [1234567ns, 9s]}, for: {between: [333ms, 4s]}, pause: n1}]"
    )
    drawn = [draw_plan(scenario, Sampler(seed)) for seed in range(300)]
    assert all(plan.steps[0].at_ns % 10**6 == 0 or plan.steps[0].at_ns < 3 * 10**8 for plan in drawn)
    assert all(plan.steps[0].for_ns % 10**8 == 0 or plan.steps[0].for_ns == 333 * 10**6 for plan in drawn)
    keys = {plan.document["workload"]["keys"] for plan in drawn}
    assert len({key % 10 for key in keys}) == 10, "what is counted has no round values"


def test_random_steps_may_wait_for_events_and_never_make_the_run_unknown():
    scenario = family(
        f"faults: [{{random: {{count: 20, kinds: [{', '.join(KINDS)}], triggers: [vote_cast, applied]}}}}]"
    )
    steps = [step for seed in range(50) for step in draw_plan(scenario, Sampler(seed)).steps]
    assert len(steps) == 1000
    assert not any(step.fixed for step in steps)
    assert {step.event for step in steps} == {None, "vote_cast", "applied"}
    assert {step.kind for step in steps} == set(KINDS)
    assert all(1 <= step.nth <= EVENTS[step.event] for step in steps if step.event)


def test_the_seed_of_the_file_wins_over_the_draws():
    assert draw_plan(family("seed: 42"), Sampler(7)).seed == 42
    assert draw_plan(family(""), Sampler(7)).seed == 7


def test_maybe_leaves_a_value_to_its_default_or_a_step_out():
    scenario = family(
        "workload: {keys: {maybe: 9}}\nfaults: [{maybe: {at: 1s, for: {maybe: 3s}, pause: n1}}]"
    )
    drawn = [draw_plan(scenario, Sampler(seed)) for seed in range(100)]
    assert {plan.document["workload"]["keys"] for plan in drawn} == {2, 9}
    assert {len(plan.steps) for plan in drawn} == {0, 1}
    assert {step.for_ns for plan in drawn for step in plan.steps} == {None, 3 * 10**9}


def test_any_draw_will_do():
    class Last:
        """Always the last choice: every range's high end."""

        def seed(self) -> int:
            return 1

        def index(self, path: str, count: int) -> int:
            return count - 1

        def some(self, path: str, low: int, high: int, element: Callable[[Draw, str], object]) -> list:
            return [element(self, f"{path}[{index}]") for index in range(high)]

    plan = draw_plan(GENERAL, Last())
    assert_bounded(plan)
    assert plan.nodes == 5
    assert len(plan.steps) == 12
