"""Plans: identity, canonical JSON, the scenario that each is, and what backends are given."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.errors import BundleError
from chaos.generate import Sampler, draw_plan
from chaos.plan import Plan, describe, describe_when, scenario_of
from chaos.scenario import load_scenario
from tests.strategies import TEXTS


def plan_of(text: str, seed: int = 7) -> Plan:
    return draw_plan(load_scenario(f"version: 1\nscenario: p\n{text}", "p.yaml"), Sampler(seed))


ISOLATED = plan_of("cluster: {nodes: 3}\nfaults: [{at: 4s, for: 2s, partition: {isolate: leader}}]")


def test_a_compiled_plan_says_for_each_anchor_what_to_do():
    compiled = dict(ISOLATED.compiled())
    [step] = compiled.pop("steps")
    assert compiled == {
        "format": 1,
        "seed": 7,
        "nodes": 3,
        "options": {
            "tick_ns": 20_000_000,
            "heartbeat_ticks": 5,
            "election_ticks": 25,
            "snapshot_every_entries": 1000,
            "keep_entries": 100,
        },
        "network": {"latency_min_ns": 1_000_000, "latency_max_ns": 5_000_000, "loss_ppm": 0},
        "disk": {"sync_min_ns": 200_000, "sync_max_ns": 2_000_000},
        "workload": {
            "kind": "registers",
            "clients": 5,
            "rate_per_1000s": 100_000,
            "keys": 2,
            "read_percent": 40,
            "cas_percent": 20,
            "home_readers": True,
            "home_read_interval_ns": 100_000_000,
            "attempt_timeout_ns": 500_000_000,
            "operation_timeout_ns": 2_000_000_000,
            "only": None,
        },
        "timeline": {
            "workload_ns": 20_000_000_000,
            "heal_ns": 15_000_000_000,
            "recovers_within_ns": 10_000_000_000,
            "unavailable_at_most_ns": None,
        },
        "checks": [
            "linearizable",
            "election_safety",
            "log_matching",
            "leader_completeness",
            "state_machine_safety",
            "committed_never_changes",
            "monotonic",
            "durable",
            "recovers",
            "no_panic",
        ],
    }
    assert step == {
        "id": 0,
        "fixed": True,
        "kind": "partition",
        "when": {"at_ns": 4_000_000_000},
        "for_ns": 2_000_000_000,
        "anchor": "leader",
        "cases": {
            "n1": {
                "do": "cut",
                "nodes": ["n1"],
                "links": [["n1", "n2"], ["n1", "n3"], ["n2", "n1"], ["n3", "n1"]],
            },
            "n2": {
                "do": "cut",
                "nodes": ["n2"],
                "links": [["n1", "n2"], ["n2", "n1"], ["n2", "n3"], ["n3", "n2"]],
            },
            "n3": {
                "do": "cut",
                "nodes": ["n3"],
                "links": [["n1", "n3"], ["n2", "n3"], ["n3", "n1"], ["n3", "n2"]],
            },
        },
    }


def one_step(text: str, nodes: int = 3) -> dict:
    [step] = plan_of(f"cluster: {{nodes: {nodes}}}\nfaults: [{{{text}}}]").compiled()["steps"]
    return step


def test_what_needs_no_anchor_has_one_case():
    step = one_step("at: 1s, kill: [n1, n3], for: 1s")
    assert step["anchor"] == "none"
    assert step["cases"] == {"*": {"do": "kill", "nodes": ["n1", "n3"], "links": []}}


def test_an_event_is_waited_for():
    step = one_step("on: {event: disk_sync, nth: 7, node: n2}, power_off: event, optional: true")
    assert step["when"] == {"on": {"event": "disk_sync", "nth": 7, "node": "n2"}}
    assert (step["anchor"], step["fixed"], step["for_ns"]) == ("event", False, None)
    assert step["cases"]["n2"] == {"do": "power_off", "nodes": ["n2"], "links": []}


def test_latency_has_its_ends_and_its_links():
    step = one_step("at: 1s, latency: {node: n1, delay: 50ms, jitter: 80ms, clients: true}")
    case = step["cases"]["*"]
    assert (case["delay_min_ns"], case["delay_max_ns"]) == (0, 100_000_000)
    assert ["n1", "clients"] in case["links"]
    assert ["clients", "n1"] in case["links"]
    assert len(case["links"]) == 6
    one_way = one_step("at: 1s, latency: {from: leader, to: all, delay: 50ms}")["cases"]["n2"]
    assert one_way["links"] == [["n2", "n1"], ["n2", "n3"]]


LINKS_OF_N1 = [["n1", "n2"], ["n1", "n3"], ["n2", "n1"], ["n3", "n1"]]
AMOUNTS = [
    ("drop: {node: n1, share: 2.5%}", {"do": "drop", "links": LINKS_OF_N1, "share_ppm": 25_000}),
    (
        "duplicate: {node: n1, share: 1%, within: 20ms}",
        {"do": "duplicate", "links": LINKS_OF_N1, "share_ppm": 10_000, "within_ns": 20_000_000},
    ),
    (
        "reorder: {from: n1, to: n2, share: 1%, within: 20ms}",
        {"do": "reorder", "links": [["n1", "n2"]], "share_ppm": 10_000, "within_ns": 20_000_000},
    ),
    (
        "bandwidth: {from: n1, to: n3, rate: 1.5kB/s}",
        {"do": "bandwidth", "links": [["n1", "n3"]], "bytes_per_s": 1_500},
    ),
    ("reset: {node: n1}", {"do": "reset", "links": LINKS_OF_N1}),
    (
        "slow_node: {node: n1, delay: 3ms, jitter: 9ms}",
        {"do": "slow_node", "links": [], "delay_min_ns": 0, "delay_max_ns": 6_000_000},
    ),
    (
        "slow_sync: {node: n1, delay: 3ms}",
        {"do": "slow_sync", "links": [], "delay_min_ns": 3_000_000, "delay_max_ns": 3_000_000},
    ),
    ("clock_offset: {node: n1, by: 2s}", {"do": "clock_offset", "links": [], "ahead_ns": 2_000_000_000}),
    (
        "clock_jump: {node: n1, by: 5ms, back: true}",
        {"do": "clock_jump", "links": [], "ahead_ns": -5_000_000},
    ),
    ("clock_drift: {node: n1, by: 2.5%}", {"do": "clock_drift", "links": [], "fast_ppm": 25_000}),
    (
        "clock_drift: {node: n1, by: 10%, slower: true}",
        {"do": "clock_drift", "links": [], "fast_ppm": -100_000},
    ),
    ("lying_fsync: n1", {"do": "lying_fsync", "links": []}),
    ("corrupt: n1", {"do": "corrupt", "links": [], "part": "any"}),
    ("corrupt: {node: n1, part: log}", {"do": "corrupt", "links": [], "part": "log"}),
    ("wiped: n1", {"do": "wiped", "links": []}),
    ("full_disk: n1", {"do": "full_disk", "links": []}),
    ("disk_error: n1", {"do": "disk_error", "links": [], "operations": "syncs"}),
    ("disk_error: {node: n1, operations: all}", {"do": "disk_error", "links": [], "operations": "all"}),
]


@pytest.mark.parametrize(("text", "case"), AMOUNTS)
def test_faults_with_amounts_have_them_in_integers(text, case):
    assert one_step(f"at: 1s, {text}")["cases"]["*"] == {"nodes": ["n1"], **case}


def test_leadership_goes_to_one_node():
    step = one_step("at: 1s, transfer_leader: {follower: 2}")
    assert {anchor: case["nodes"] for anchor, case in step["cases"].items()} == {
        "n1": ["n3"],
        "n2": ["n1"],
        "n3": ["n2"],
    }
    assert one_step("at: 1s, transfer_leader: n3")["cases"]["*"]["nodes"] == ["n3"]


def test_a_one_way_cut_that_would_be_empty_takes_the_next_node():
    cases = one_step("at: 1s, one_way: {from: leader, to: n2}")["cases"]
    assert cases["n1"]["links"] == [["n1", "n2"]]
    assert cases["n2"]["links"] == [["n2", "n3"]]


def test_sides_take_those_that_nobody_names_as_one_more():
    case = one_step("at: 1s, partition: {sides: [[n1], [n2]], clients: true}", nodes=5)["cases"]["*"]
    links = {tuple(link) for link in case["links"]}
    assert ("n1", "n2") in links
    assert ("n2", "n5") in links
    assert ("n4", "n5") not in links
    assert ("clients", "n1") in links
    assert ("clients", "n5") not in links


WORDS = [
    (
        "at: 1s, for: 2s, partition: {isolate: leader}",
        "at 1s, for 2s",
        "cut the leader off from the other nodes",
    ),
    (
        "at: 1s, partition: {isolate: leader, clients: true}",
        "at 1s, until the heal",
        "cut the leader off from the other nodes, clients included",
    ),
    ("at: 1500ms, restart: [n1, n2, n3]", "at 1500ms", "restart n1, n2 and n3"),
    (
        "on: {event: vote_cast, nth: 2}, power_off: event",
        "at the 2nd vote_cast, until the heal",
        "cut the power of the node of the event",
    ),
    (
        "on: {event: applied, nth: 11, node: n3}, kill: n1",
        "at the 11th applied at n3, until the heal",
        "kill n1",
    ),
    (
        "at: 1s, one_way: {from: leader, to: all}",
        "at 1s, until the heal",
        "cut the links from the leader to all nodes, one way",
    ),
    (
        "at: 1s, one_way: {from: leader, to: leader}",
        "at 1s, until the heal",
        "cut the links from the leader to the next node, one way",
    ),
    (
        "at: 1s, latency: {delay: 50ms, jitter: 10ms}",
        "at 1s, until the heal",
        "delay the links of all nodes by 50ms ± 10ms",
    ),
    (
        "at: 1s, transfer_leader: {follower: 1}",
        "at 1s",
        "hand the leadership over to the 1st follower after the leader",
    ),
    (
        "at: 1s, partition: {halves: n2}",
        "at 1s, until the heal",
        "split the nodes into halves, n2 in the smaller one",
    ),
    (
        "at: 1s, partition: {bridge: n2}",
        "at 1s, until the heal",
        "split the nodes into halves that only n2 connects",
    ),
    ("at: 1s, partition: {groups: 2}", "at 1s, until the heal", "split the nodes into 2 groups"),
    (
        "at: 1s, drop: {node: leader, share: 5%}",
        "at 1s, until the heal",
        "drop 5% of the messages on the links of the leader",
    ),
    (
        "at: 1s, duplicate: {share: 5%, within: 1s}",
        "at 1s, until the heal",
        "deliver 5% of the messages on the links of all nodes twice, the copy within 1s",
    ),
    (
        "at: 1s, reorder: {from: n1, to: n2, share: 5%, within: 1s}",
        "at 1s, until the heal",
        "hold 5% of the messages on the links from n1 to n2 back by up to 1s",
    ),
    (
        "at: 1s, bandwidth: {node: n1, rate: 20000B/s, clients: true}",
        "at 1s, until the heal",
        "limit the links of n1, those to the clients too, to 20kB/s each",
    ),
    (
        "at: 1s, reset: {node: n1, clients: true}",
        "at 1s",
        "reset the connections on the links of n1, those to the clients too",
    ),
    (
        "at: 1s, slow_disk: {node: [n1, n2], delay: 5ms, jitter: 1ms}",
        "at 1s, until the heal",
        "slow down each write and sync of n1 and n2 by 5ms ± 1ms",
    ),
    (
        "at: 1s, clock_offset: {node: n1, by: 2s}",
        "at 1s, until the heal",
        "hold the time of day of n1 ahead by 2s",
    ),
    (
        "at: 1s, clock_jump: {node: leader, by: 60m, back: true}",
        "at 1s",
        "set the time of day of the leader back by 3600s",
    ),
    (
        "at: 1s, clock_drift: {node: [n1, n2], by: 10%, slower: true}",
        "at 1s, until the heal",
        "let the clocks of n1 and n2 go 10% too slowly",
    ),
    (
        "at: 1s, for: 2s, lying_fsync: n1",
        "at 1s, for 2s",
        "report syncs done without doing them on the disk of n1",
    ),
    ("at: 1s, corrupt: {node: n1, part: snapshot}", "at 1s", "flip a bit of the snapshot on the disk of n1"),
    ("at: 1s, wiped: leader", "at 1s", "wipe the disk of the leader"),
    ("at: 1s, full_disk: leader", "at 1s, until the heal", "fill the disk of the leader"),
    ("at: 1s, disk_error: n2", "at 1s, until the heal", "let syncs fail on the disk of n2"),
    ("at: 1s, pause: leader", "at 1s, until the heal", "pause the leader"),
]


@pytest.mark.parametrize(("text", "when", "what"), WORDS)
def test_steps_read_as_people_speak(text, when, what):
    [step] = plan_of(f"faults: [{{{text}}}]").steps
    assert describe_when(step) == when
    assert describe(step) == what


def test_identity_is_the_canonical_json():
    again = plan_of("cluster: {nodes: 3}\nfaults: [{at: 4000ms, for: 2s, partition: {isolate: leader}}]")
    assert again == ISOLATED
    assert hash(again) == hash(ISOLATED)
    assert again.plan_id == ISOLATED.plan_id
    assert len(again.plan_id) == 32
    assert plan_of("cluster: {nodes: 3}").plan_id != ISOLATED.plan_id
    assert ISOLATED != "a plan"


def test_the_identity_of_a_plan_does_not_change_between_releases():
    """If this fails, kept bundles are read differently now: raise the format, keep the old one readable."""
    assert ISOLATED.plan_id == "0ae0c4e8b95911fa64739be8599ad918"


@given(st.sampled_from(TEXTS), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_a_plan_survives_its_json_and_its_scenario(text, seed):
    plan = draw_plan(load_scenario(text, "shipped.yaml"), Sampler(seed))
    assert Plan.from_json(plan.to_json()) == plan
    written = load_scenario(scenario_of(plan), "written.yaml")
    assert written.hole_count == 0
    assert draw_plan(written, Sampler(seed + 1)).plan_id == plan.plan_id


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@settings(deadline=None)
def test_any_about_survives_in_the_scenario(about):
    escaped = "".join(f"\\U{ord(char):08x}" for char in about)
    scenario = load_scenario(f'version: 1\nscenario: p\nabout: "{escaped}"', "p.yaml")
    plan = draw_plan(scenario, Sampler(1))
    assert draw_plan(load_scenario(scenario_of(plan), "p.yaml"), Sampler(2)) == plan
    assert plan.about == about


def test_a_compiled_plan_is_integers_and_words_only():
    def floats(value: object) -> bool:
        if isinstance(value, dict):
            return any(map(floats, value.values()))
        return any(map(floats, value)) if isinstance(value, list) else isinstance(value, float)

    for text in TEXTS:
        plan = draw_plan(load_scenario(text, "shipped.yaml"), Sampler(3))
        assert not floats(json.loads(plan.compiled_json()))
        assert json.loads(plan.compiled_json()) == plan.compiled()


def changed(**change: object) -> str:
    data = json.loads(ISOLATED.to_json())
    data["scenario"] |= change
    return json.dumps(data)


BROKEN = [
    ("", "no JSON"),
    ("[" * 100_000, "no JSON"),
    ("[]", "expected a plan"),
    ('{"format": 1}', "expected a plan"),
    ('{"format": 2, "scenario": {}}', "format 2, expected 1"),
    ('{"format": 1, "scenario": {}}', "no key `scenario`"),
    ('{"format": 1, "scenario": {"version": 1, "scenario": "p"}}', "leaves values open"),
    (changed(cluster={"nodes": {"any": [3, 5]}}), "leaves values open"),
    (changed(faults=[{"at": "1s", "kill": "minority"}]), "leaves values open"),
    (changed(faults=[{"at": "1s", "kill": "n4"}]), "from n1 to n3"),
    (changed(faults=[{"at": "1s", "kill": "n3"}]), "leaves something out"),
    (changed(cluster={"nodes": 3}), "leaves something out"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_what_is_no_plan_is_refused_by_name(text, message):
    with pytest.raises(BundleError, match=r"b/plan\.json") as caught:
        Plan.from_json(text, "b/plan.json")
    assert message in str(caught.value)


def test_uneven_traffic_is_compiled_and_without_it_nothing_of_it_is_said() -> None:
    head = "version: 1\nscenario: some\nworkload: "
    shape = "{hot_key: 80%, key_skew: 1, value_bytes: 4000, bursts: {every: 3s, for: 1s}, quiet: {every: 5s, for: 2s}}"
    plan = draw_plan(load_scenario(head + shape, "x"), Sampler(0))
    plain = draw_plan(load_scenario(head + "{}", "x"), Sampler(0))
    more = {
        "hot_key_ppm": 800_000,
        "key_skew": 1,
        "value_bytes": 4000,
        "bursts": {"every_ns": 3 * 10**9, "for_ns": 10**9, "factor": 10},
        "quiet": {"every_ns": 5 * 10**9, "for_ns": 2 * 10**9},
    }
    assert plan.compiled()["workload"] == plain.compiled()["workload"] | more
    assert Plan.from_json(plan.to_json()) == plan
    assert draw_plan(load_scenario(scenario_of(plan), "x"), Sampler(1)) == plan


def test_leases_last_two_seconds_unless_the_plan_says_otherwise_and_nothing_else_has_any() -> None:
    def compiled(workload: str) -> dict[str, object]:
        found: dict[str, object] = plan_of(f"workload: {workload}").compiled()["workload"]
        return found

    assert compiled("{kind: leases}")["lease_ns"] == 2 * 10**9
    assert compiled("{kind: leases, lease: 500ms}")["lease_ns"] == 5 * 10**8
    assert "lease_ns" not in compiled("{kind: lists, lease: 500ms}")
