"""What the reducer takes away, with failures made up for the purpose: a predicate over plans stands for the runs."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaos.errors import BundleError
from chaos.generate import Sampler, draw_plan, plans
from chaos.plan import Plan, PlanStep, scenario_of
from chaos.reduce import Moment, Reduced, cost, nearby, reduce
from chaos.scenario import load_scenario

RANDOM_MIX = Path(__file__).resolve().parents[2] / "scenarios" / "consensus" / "random-mix.yaml"

LARGE = """
version: 1
scenario: large
seed: 123456
cluster: {nodes: 7, snapshot_every: 50}
workload: {clients: 5, rate: 100/s, duration: 12s, keys: 3, attempt_timeout: 700ms, hot_key: 80%, key_skew: 1,
  value_bytes: 16000, bursts: {every: 3s, for: 1s}, quiet: {every: 5s, for: 1s}}
network: {latency: [2ms, 60ms], loss: 1%}
disk: {sync: [200us, 50ms]}
heal: 9s
faults:
  - {at: 1234ms, for: 2345ms, kill: n2, optional: true}
  - {at: 1319ms, for: 1900ms, power_off: [n1, n4, n5, n7]}
  - {at: 4s, for: 1s, partition: {bridge: n6, order: [n7, n6, n5, n4, n3, n2, n1], clients: true}}
  - {on: {event: vote_cast, nth: 9, node: n3}, for: 700ms, power_off: event}
  - {at: 5s, for: 3s, latency: {from: n2, to: leader, delay: 123ms, jitter: 45ms}}
sometimes: [leader_changed]
"""


def plan_of(text: str) -> Plan:
    return draw_plan(load_scenario(text, "test.yaml"), Sampler(7))


def with_faults(*faults: str, heal: str = "9s", nodes: int = 5) -> Plan:
    steps = "".join(f"  - {{{fault}}}\n" for fault in faults)
    text = f"version: 1\nscenario: some\ncluster: {{nodes: {nodes}}}\nworkload: {{duration: 12s}}\nheal: {heal}\n"
    return plan_of(f"{text}faults:\n{steps}")


def reduced(plan: Plan, fails: Callable[[Plan], bool] = lambda _: True, **options: Any) -> Plan:
    """The plan that is left; what holds of every reduction is asserted."""
    return whole(plan, fails, **options).plan


def whole(plan: Plan, fails: Callable[[Plan], bool], **options: Any) -> Reduced:
    options.setdefault("luck", 50)
    asked: list[str] = []
    costs = [cost(plan)]

    def counting(candidate: Plan) -> bool:
        asked.append(candidate.plan_id)
        return fails(candidate)

    result = reduce(plan, counting, taken=lambda taken, _name, _trials: costs.append(cost(taken)), **options)
    assert fails(result.plan)
    assert len(asked) == len(set(asked)), "each plan is tried once"
    assert costs == sorted(costs, reverse=True)
    assert len(costs) == len(set(costs)), "each plan taken is cheaper than the one before"
    assert cost(result.plan) == costs[-1]
    return result


def steps_of_kind(plan: Plan, *kinds: str) -> list[PlanStep]:
    return [step for step in plan.steps if step.kind in kinds]


def test_what_matters_not_at_all_is_all_taken_away() -> None:
    plan = reduced(plan_of(LARGE))
    assert (plan.steps, plan.nodes, plan.workload_ns, plan.seed, plan.sometimes) == ((), 3, 10**9, 0, ())
    workload = plan.document["workload"]
    assert (workload["clients"], workload["keys"], workload["home_readers"]) == (1, 1, False)
    assert plan.document["network"] == {"latency": ["1ms", "5ms"], "loss": "0%"}
    assert plan.document["disk"] == {"sync": ["200us", "2ms"]}
    assert plan.document["cluster"]["snapshot_every"] == 1000
    assert workload["attempt_timeout"] == "500ms"
    assert not {"hot_key", "key_skew", "value_bytes", "bursts", "quiet"} & set(workload)


def test_values_that_must_be_large_are_as_small_as_will_do() -> None:
    def is_large(plan: Plan) -> bool:
        return int(plan.document["workload"].get("value_bytes") or 0) >= 900

    assert reduced(plan_of(LARGE), is_large).document["workload"]["value_bytes"] == 1000


def test_only_the_steps_that_are_needed_stay() -> None:
    plan = reduced(plan_of(LARGE), lambda plan: {"kill", "latency"} <= {step.kind for step in plan.steps})
    assert [step.kind for step in plan.steps] == ["kill", "latency"]


def test_steps_that_never_happened_go_in_one_trial() -> None:
    plan = plan_of(LARGE)
    taken: list[int] = []
    reduce(
        plan,
        lambda candidate: len(candidate.steps) >= 2,
        moments=lambda plan: {0: Moment(0, None), 4: Moment(0, None)} if len(plan.steps) == 5 else None,
        taken=lambda plan, _name, _trials: taken.append(len(plan.steps)),
    )
    assert taken[0] == 2


@pytest.mark.parametrize("least", [3, 4, 5, 6, 7])
def test_the_cluster_is_the_smallest_that_fails(least: int) -> None:
    assert reduced(plan_of(LARGE), lambda plan: plan.nodes >= least).nodes == least


def test_a_cluster_of_two_stays_one() -> None:
    assert reduced(plan_of(LARGE.replace("nodes: 7", "nodes: 2").split("faults:")[0])).nodes == 2


def test_a_majority_stays_a_majority_in_a_smaller_cluster() -> None:
    def cuts_power_of_a_majority(plan: Plan) -> bool:
        powerless = [
            step.cases(plan.nodes)["*"]["nodes"]
            for step in steps_of_kind(plan, "power_off")
            if step.anchor == "none"
        ]
        return any(len(nodes) > plan.nodes // 2 and len(nodes) < plan.nodes for nodes in powerless)

    plan = reduced(with_faults("at: 1s, for: 1s, power_off: [n2, n3, n5]"), cuts_power_of_a_majority)
    assert plan.nodes == 3
    assert plan.document["faults"][0]["power_off"] == {"node": ["n1", "n2"]}


def test_faults_end_as_soon_as_they_may_and_the_workload_with_them() -> None:
    plan = with_faults("at: 3s, for: 2s, pause: leader")
    plan = reduced(plan, lambda plan: any(step.for_ns == 2 * 10**9 for step in plan.steps))
    assert plan.document["faults"] == [
        {"at": "0s", "for": "2s", "optional": False, "partition": {"isolate": "leader", "clients": False}}
    ]
    assert (plan.document["heal"], plan.document["workload"]["duration"]) == ("2s", "2s")


def test_as_many_clients_and_keys_as_are_needed() -> None:
    def fails(plan: Plan) -> bool:
        workload = plan.document["workload"]
        return bool(workload["clients"] >= 3 and workload["keys"] >= 2 and workload["home_readers"])

    workload = reduced(plan_of(LARGE), fails).document["workload"]
    assert (workload["clients"], workload["keys"], workload["home_readers"]) == (3, 2, True)


def test_fewer_clients_go_on_at_the_rate_that_each_had() -> None:
    """Then those that stay do the same as before, at the same times."""
    tried: list[tuple[int, str]] = []

    def fails(plan: Plan) -> bool:
        workload = plan.document["workload"]
        tried.append((workload["clients"], workload["rate"]))
        return False

    reduce(plan_of(LARGE), fails, luck=0)
    assert {(1, "20/s"), (2, "40/s"), (4, "80/s")} <= set(tried)


def test_a_rate_is_lowered_to_a_round_one() -> None:
    def fails(plan: Plan) -> bool:
        return plan.compiled()["workload"]["rate_per_1000s"] >= 17_000  # type: ignore[no-any-return]

    assert reduced(plan_of(LARGE), fails).document["workload"]["rate"] == "20/s"


@pytest.mark.parametrize(
    ("fault", "key", "least", "left"),
    [
        ("drop: {node: n1, share: 38.1234%}", "share", lambda share: float(share[:-1]) >= 4.5, "5%"),
        ("drop: {node: n1, share: 100%}", "share", lambda share: share == "100%", "100%"),
        ("bandwidth: {node: n1, rate: 1234B/s}", "rate", lambda rate: rate != "1MB/s", "500kB/s"),
        ("disk_error: {node: n1, operations: all}", "operations", lambda what: what != "syncs", "writes"),
    ],
)
def test_an_amount_is_as_mild_and_round_as_it_may(
    fault: str, key: str, least: Callable[[str], bool], left: str
) -> None:
    plan = with_faults(f"at: 1s, for: 1s, {fault}")

    def fails(plan: Plan) -> bool:
        return any(key in value and least(value[key]) for value in fault_values(plan))

    assert [value[key] for value in fault_values(reduced(plan, fails))] == [left]


def fault_values(plan: Plan) -> list[dict[str, Any]]:
    return [value for step in plan.document["faults"] for value in step.values() if isinstance(value, dict)]


def test_a_setting_that_is_needed_comes_as_near_to_its_default_as_it_may() -> None:
    def fails(plan: Plan) -> bool:
        return plan.compiled()["disk"]["sync_max_ns"] >= 17_000_000  # type: ignore[no-any-return]

    document = reduced(plan_of(LARGE), fails).document
    assert document["disk"] == {"sync": ["200us", "20ms"]}
    assert document["network"] == {"latency": ["1ms", "5ms"], "loss": "0%"}


@pytest.mark.parametrize(
    ("needed", "left"),
    [
        ({"restart", "kill", "power_off"}, "restart"),
        ({"kill", "power_off"}, "kill"),
        ({"power_off"}, "power_off"),
    ],
)
def test_a_fault_becomes_the_simplest_that_fails_alike(needed: set[str], left: str) -> None:
    plan = with_faults("at: 1s, for: 1s, power_off: [n1, n4]")
    plan = reduced(plan, lambda plan: bool(steps_of_kind(plan, *needed)))
    assert [step.kind for step in plan.steps] == [left]
    assert plan.document["faults"][0][left] == {"node": "leader"}, "a role before names of nodes"


@pytest.mark.parametrize(
    "fault",
    [
        "partition: {bridge: n2, clients: true}",
        "partition: {groups: 3}",
        "partition: {sides: [[n1, n2], [n3]]}",
        "one_way: {from: leader, to: all}",
        "latency: {node: all, delay: 100ms, jitter: 20ms}",
    ],
)
def test_any_fault_may_become_an_isolated_node(fault: str) -> None:
    plan = reduced(with_faults(f"at: 1s, for: 1s, {fault}"), lambda plan: len(plan.steps) == 1)
    assert plan.document["faults"][0]["partition"] == {"isolate": "leader", "clients": False}


def test_a_shape_that_is_needed_has_its_nodes_in_order_and_spares_the_clients() -> None:
    def builds_a_bridge(plan: Plan) -> bool:
        return any("bridge" in step.get("partition", {}) for step in plan.document["faults"])

    plan = reduced(plan_of(LARGE), builds_a_bridge)
    assert plan.document["faults"][0]["partition"] == {
        "bridge": "leader",
        "order": ["n1", "n2", "n3"],
        "clients": False,
    }


def test_an_event_becomes_the_time_at_which_it_happened_and_the_node_where() -> None:
    def fails(plan: Plan) -> bool:
        step = plan.document["faults"][0] if plan.steps else {}
        return "power_off" in step and ("on" in step or (step["at"] >= "3s" and "n2" in str(step)))

    plan = with_faults("on: {event: vote_cast, nth: 9}, for: 1s, power_off: event")
    plan = reduced(plan, fails, moments=lambda _: {0: Moment(3_141_592_653, "n2")}, luck=0)
    assert plan.document["faults"][0]["at"] == "3s"
    assert plan.document["faults"][0]["power_off"] == {"node": "n2"}


def test_an_event_that_is_needed_is_waited_for_as_few_times_as_will_do() -> None:
    plan = with_faults("on: {event: appended, nth: 1000, node: n2}, for: 1s, kill: event")
    plan = reduced(plan, lambda plan: any(step.event and step.nth >= 37 for step in plan.steps))
    assert plan.document["faults"][0]["on"] == {"event": "appended", "nth": 37}


@pytest.mark.parametrize(
    ("least_ms", "left"),
    [(0, "0s"), (3000, "3s"), (3200, "4s"), (4920, "5s"), (120, "120ms"), (170, "200ms"), (1600, "2s")],
)
def test_a_time_is_as_early_and_as_round_as_it_may(least_ms: int, left: str) -> None:
    plan = with_faults("at: 4933ms, for: 1s, pause: leader")
    plan = reduced(plan, lambda plan: any((step.at_ns or 0) >= least_ms * 10**6 for step in plan.steps))
    assert plan.document["faults"][0]["at"] == left


def test_what_lies_between_two_steps_is_shortened_too() -> None:
    def fails(plan: Plan) -> bool:
        times = [step.at_ns or 0 for step in plan.steps]
        return len(times) == 2 and times[1] - times[0] >= 10**9

    plan = with_faults("at: 2718ms, for: 1s, pause: leader", "at: 6282ms, for: 1s, pause: leader")
    assert [step.at_ns for step in reduced(plan, fails).steps] == [0, 10**9]


@pytest.mark.parametrize(("needed", "left"), [(4, 4), (123456, 123456)])
def test_a_seed_is_small_if_a_small_one_fails(needed: int, left: int) -> None:
    assert reduced(plan_of(LARGE), lambda plan: plan.seed in {needed, 123456}).seed == left


def test_other_seeds_are_tried_where_the_plans_own_does_not_let_a_step_go() -> None:
    def fails(plan: Plan) -> bool:
        return len(plan.steps) == 2 or (len(plan.steps) == 1 and plan.seed == 17)

    plan = with_faults("at: 1s, for: 1s, pause: leader", "at: 3s, for: 1s, pause: leader")
    assert len(reduced(plan, fails, luck=500).steps) == 1
    assert len(reduced(plan, fails, luck=0).steps) == 2


def test_single_operations_are_left_of_many() -> None:
    every = [f"c{client}.{number}" for number in range(1, 41) for client in (1, 2, 3)] + ["n1.3", "n2.7"]

    def done(plan: Plan) -> list[str]:
        only = plan.document["workload"].get("only")
        return every if only is None else only

    def fails(plan: Plan) -> bool:
        workload = plan.document["workload"]
        return workload["clients"] >= 3 and workload["home_readers"] and {"c3.12", "n2.7"} <= set(done(plan))

    result = whole(plan_of(LARGE), fails, operations=done)
    assert result.plan.document["workload"]["only"] == ["c3.12", "n2.7"]
    assert result.trials < 300


def test_a_failure_that_needs_no_operation_ends_with_none() -> None:
    plan = reduced(
        plan_of(LARGE), operations=lambda plan: plan.document["workload"].get("only", ["c1.1", "c2.1"])
    )
    assert plan.document["workload"]["only"] == []


def test_named_operations_go_with_their_client_and_their_node() -> None:
    plan = plan_of(LARGE.replace("keys: 3", "keys: 3, only: [c1.1, c5.2, n7.1]"))
    plan = reduced(plan, lambda plan: "c1.1" in plan.document["workload"]["only"])
    assert plan.document["workload"]["only"] == ["c1.1"]
    assert (plan.nodes, plan.document["workload"]["clients"]) == (3, 1)


def test_nothing_is_tried_when_there_is_no_time() -> None:
    result = reduce(plan_of(LARGE), lambda _: True, keep_going=lambda: False)
    assert (result.plan, result.trials, result.neighbour, result.finished) == (plan_of(LARGE), 0, None, False)


def test_it_stops_with_the_best_so_far() -> None:
    tries = iter(range(8))
    result = reduce(plan_of(LARGE), lambda _: True, keep_going=lambda: next(tries, None) is not None)
    assert not result.finished
    assert cost(result.plan) < cost(plan_of(LARGE))


def test_the_neighbour_passes_and_differs_by_a_little() -> None:
    plan = with_faults("at: 1s, for: 5s, partition: {isolate: leader}")
    result = whole(plan, lambda plan: any((step.for_ns or 0) >= 2 * 10**9 for step in plan.steps))
    assert result.neighbour is not None
    assert result.plan.document["faults"][0]["for"] == "2s"
    assert result.neighbour.document["faults"][0]["for"] == "1990ms"
    changed = {**result.plan.document, "faults": result.neighbour.document["faults"]}
    assert result.neighbour.document == changed, "all else is the same"


def test_a_neighbour_that_fails_in_another_way_is_none() -> None:
    plan = with_faults("at: 1s, for: 2s, kill: leader")
    result = whole(plan, lambda plan: len(plan.steps) == 1, passes=lambda plan: plan.seed == 5)
    assert result.neighbour is not None
    assert result.neighbour.seed == 5
    assert whole(plan, lambda _: True, passes=lambda _: False).neighbour is None


def test_plans_nearby_begin_with_the_plan_itself_and_end() -> None:
    plan = with_faults("at: 3s, for: 2s, kill: leader", "at: 4s, for: 1s, pause: {follower: 2}")
    others = list(nearby(plan, {0: "n4", 1: "n5"}, seeds=3))
    assert others[0] == plan
    assert [step["kill" if "kill" in step else "pause"]["node"] for step in others[1].document["faults"]] == [
        "n4",
        "n2",
    ]
    assert len(others) == len(set(others)) == 5 * 4 * 2
    assert {other.seed for other in others} == {7, 0, 1, 2}


def test_a_changed_document_is_a_plan_or_an_error() -> None:
    plan = plan_of(LARGE)
    assert plan.with_document(plan.document) == plan
    assert plan.with_document({**plan.document, "seed": 3}).seed == 3
    for wrong in ({"seed": -1}, {"heal": "13s"}, {"cluster": {"nodes": 3}}, {"seed": None}):
        with pytest.raises(BundleError):
            plan.with_document({**plan.document, **wrong})


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    plan=plans(load_scenario(RANDOM_MIX.read_text(), "random-mix.yaml")),
    salt=st.integers(0, 1000),
    share=st.integers(1, 6),
)
def test_whatever_fails_the_reduced_plan_is_valid_and_costs_no_more(
    plan: Plan, salt: int, share: int
) -> None:
    left = iter(range(400))
    operations = [f"c{client}.{number}" for client in (1, 2) for number in (1, 2, 3)]

    def fails(candidate: Plan) -> bool:
        if candidate == plan:
            return True
        digest = hashlib.blake2b(f"{salt} {candidate.plan_id}".encode()).digest()
        return digest[0] % share == 0

    def done(candidate: Plan) -> list[str]:
        only = candidate.document["workload"].get("only")
        clients = candidate.document["workload"]["clients"]
        return [name for name in only or operations if int(name[1]) <= clients]

    result = whole(plan, fails, operations=done, keep_going=lambda: next(left, None) is not None)
    small = result.plan
    assert cost(small) <= cost(plan)
    assert Plan.from_json(small.to_json()) == small
    assert small.compiled_json()
    assert draw_plan(load_scenario(scenario_of(small), "small.yaml"), Sampler(1)) == small, (
        "it runs by itself"
    )
    assert small.heal_ns <= small.workload_ns
