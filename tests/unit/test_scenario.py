"""Scenario files: what is read, what is refused and how the message helps."""

import json
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chaos import document, units
from chaos.errors import ScenarioError
from chaos.generate import Sampler, draw_plan
from chaos.holes import AnyOf, Between
from chaos.portable import action_of
from chaos.scenario import CHECKS, EVENTS, RAFT_CHECKS, json_schema, load_scenario
from harness.cluster import SUPPORT
from tests.strategies import FILES, SCENARIOS, TEXTS, mutated

HEAD = "version: 1\nscenario: x\n"


def refusal(text: str, *overrides: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(text, "x.yaml", overrides)
    return str(caught.value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_scenario_that_we_ship_loads_and_says_what_it_is_for(path):
    scenario = load_scenario(path.read_text(), str(path))
    assert len(scenario.about) > 80
    assert scenario.tags
    assert scenario.faults
    portable = not ({"sim", "general"} & set(scenario.tags)) or "portable" in scenario.tags
    kinds = {step.kind for seed in range(20) for step in draw_plan(scenario, Sampler(seed)).steps}
    events = {step.event for seed in range(20) for step in draw_plan(scenario, Sampler(seed)).steps} - {None}
    docker = SUPPORT["docker"].actions
    assert portable == (docker.issuperset(map(action_of, kinds)) and not events)


def test_a_scenario_may_be_as_short_as_this():
    scenario = load_scenario(HEAD, "x.yaml")
    assert scenario.name == "x"
    assert scenario.hole_count == 0
    assert set(RAFT_CHECKS) < set(scenario.check_names)


def test_holes_are_kept_as_such():
    scenario = load_scenario(HEAD + "cluster: {nodes: {any: [3, 5]}}\nheal: {between: [5s, 9s]}", "x.yaml")
    assert isinstance(scenario.cluster.nodes, AnyOf)
    assert isinstance(scenario.heal, Between)
    assert scenario.heal.between == [5 * 10**9, 9 * 10**9]
    assert scenario.hole_count == 2


@pytest.mark.parametrize(
    ("limit", "check"), [("unavailable_at_most", "available"), ("progress_within", "progresses")]
)
def test_a_limit_turns_its_check_on(limit: str, check: str):
    without = load_scenario(HEAD, "x").check_names
    assert check not in without
    limited = load_scenario(HEAD + f"limits: {{{limit}: 4s}}", "x").check_names
    assert limited == tuple(name for name in CHECKS if name in without or name == check)


# What is wrong, where the message points, and what it says.
REFUSED = [
    ("", "x.yaml:1:1: ", "an empty file"),
    ("# only a comment\n", "x.yaml:1:1: ", "an empty file"),
    ("null", "x.yaml:1:1: ", "an empty file"),
    ("- a\n- b", "x.yaml:1:1: ", "found a list of 2, expected a mapping that begins with `version: 1`"),
    ("just words", "x.yaml:1:1: ", "found 'just words'"),
    ("version: 1\n", "x.yaml:1:1: ", "found no key `scenario`"),
    ("scenario: x\n", "x.yaml:1:1: ", "found no key `version`"),
    ("version: 2\nscenario: x\n", "x.yaml:1:10: version: ", "found 2, expected 1"),
    ("version: true\nscenario: x\n", "x.yaml:1:10: version: ", "found true, expected 1"),
    ("version: {any: [1]}\nscenario: x\n", "x.yaml:1:10: version: ", "expected 1"),
    ("version: 1\nscenario: Not A Name\n", "x.yaml:2:11: scenario: ", "found 'Not A Name', expected a name"),
    ("version: 1\nscenario: {any: [a, b]}\n", "x.yaml:2:11: scenario: ", "found the hole `any`"),
    (HEAD + "a: [1, 2\n", "x.yaml:4:1: ", "broken YAML"),
    (HEAD + "cluster:\n\tnodes: 3\n", "x.yaml:4:1: ", "found a tab, expected spaces"),
    (
        HEAD + "cluster: {nodes: 3}\ncluster: {nodes: 5}\n",
        "x.yaml:4:1: ",
        "the key 'cluster' again (first in line 3)",
    ),
    (HEAD + "1: 2\n", "x.yaml:3:1: ", "found the key 1, expected a word as key"),
    (HEAD + "? [a]\n: b\n", "x.yaml:3:3: ", "a key that is no word"),
    (HEAD + "about: !!python/name:os.system x\n", "x.yaml:3:8: ", "found the tag"),
    (HEAD + "about: *nobody\n", "x.yaml:3:8: ", "*nobody, which no & names before"),
    (HEAD + "about: &a [*a]\n", "x.yaml:3:12: ", "*a inside of what it stands for"),
    (HEAD + "---\nversion: 1\n", "x.yaml:3:1: ", "a second document"),
    (HEAD + "about: \x00\n", "x.yaml:3:8: ", "a character that YAML does not allow"),
    (HEAD + 'about: "\\ud800"\n', "x.yaml:3:8: about: ", "surrogates"),
    (HEAD + "clutser: {nodes: 3}\n", "x.yaml:3:1: clutser: ", "did you mean cluster?"),
    (HEAD + "cluster: {node: 3}\n", "x.yaml:3:11: cluster.node: ", "did you mean nodes?"),
    (HEAD + "cluster: 3\n", "x.yaml:3:10: cluster: ", "found 3, expected a mapping with the keys nodes"),
    (HEAD + "cluster: {any: [{nodes: 3}]}\n", "x.yaml:3:10: cluster: ", "no hole may stand here"),
    (HEAD + "cluster: {nodes: 10}\n", "x.yaml:3:18: cluster.nodes: ", "found 10, expected at most 9"),
    (HEAD + "cluster: {nodes: 3.5}\n", "x.yaml:3:18: cluster.nodes: ", "found 3.5, expected a whole number"),
    (
        HEAD + "cluster: {nodes: true}\n",
        "x.yaml:3:18: cluster.nodes: ",
        "found true, expected a whole number",
    ),
    (HEAD + "cluster: {nodes: {any: []}}\n", "x.yaml:3:24: cluster.nodes.any: ", "at least 1 in the list"),
    (HEAD + "cluster: {nodes: {any: [3, x]}}\n", "x.yaml:3:28: cluster.nodes.any[1]: ", "found 'x'"),
    (
        HEAD + "cluster: {nodes: {between: [5, 3]}}\n",
        "x.yaml:3:28: cluster.nodes.between: ",
        "the low end first",
    ),
    (HEAD + "cluster: {nodes: {between: [3, 4, 5]}}\n", "x.yaml:3:28: ", "expected at most 2 in the list"),
    (HEAD + "cluster: {nodes: {any: [3], between: [3, 5]}}\n", "x.yaml:3:18: ", "found the hole `between`"),
    (HEAD + "workload: {kind: queue}\n", "x.yaml:3:18: workload.kind: ", "expected 'registers'"),
    (HEAD + "workload: {rate: 50}\n", "x.yaml:3:18: workload.rate: ", "a rate with a unit, such as 50/s"),
    (HEAD + "workload: {rate: 0/s}\n", "x.yaml:3:18: workload.rate: ", "from 0.1/s to 10000/s"),
    (HEAD + "workload: {duration: 20}\n", "x.yaml:3:22: ", "found 20, expected a duration with a unit"),
    (HEAD + "workload: {duration: 20 sec}\n", "x.yaml:3:22: ", "found '20 sec', expected a duration"),
    (HEAD + "workload: {duration: -2s}\n", "x.yaml:3:22: ", "found '-2s', expected a duration"),
    (HEAD + "workload: {duration: 2h}\n", "x.yaml:3:22: ", "found '2h', expected a duration"),
    (HEAD + "workload: {duration: 0.3ns}\n", "x.yaml:3:22: ", "a whole number of nanoseconds"),
    (HEAD + "workload: {mix: {read: 90}}\n", "x.yaml:3:17: workload.mix: ", "a sum of 150"),
    (HEAD + "workload: {mix: {between: [1, 2]}}\n", "x.yaml:3:17: workload.mix: ", "no hole may stand here"),
    (HEAD + "workload: {hot_key: 101%}\n", "x.yaml:3:21: workload.hot_key: ", "at most 100%"),
    (HEAD + "workload: {key_skew: 5}\n", "x.yaml:3:22: workload.key_skew: ", "at most 4"),
    (HEAD + "workload: {value_bytes: 65537}\n", "x.yaml:3:25: workload.value_bytes: ", "65536"),
    (
        HEAD + "workload: {quiet: {every: 1s, for: 1s}}\n",
        "x.yaml:3:36: workload.quiet.for: ",
        "shorter than the time from one to the next",
    ),
    (HEAD + "workload: {bursts: {every: 1s}}\n", "x.yaml:3:20: workload.bursts", "for"),
    (
        HEAD + "workload: {rate: 1000/s, duration: 1000s, bursts: {every: 2s, for: 1s, factor: 2}}\n",
        "x.yaml:3:18: workload.rate: ",
        "at most 1,000,000 in a run",
    ),
    (HEAD + "workload: {only: [c1.2, c1]}\n", "x.yaml:3:25: workload.only[1]: ", "the name of an operation"),
    (HEAD + "workload: {only: [c0.2]}\n", "x.yaml:3:19: workload.only[0]: ", "the name of an operation"),
    (HEAD + "workload: {only: [c1.02]}\n", "x.yaml:3:19: workload.only[0]: ", "the name of an operation"),
    (HEAD + "workload: {only: [c1.1000001]}\n", "x.yaml:3:19: ", "the name of an operation"),
    (HEAD + "workload: {only: [1.5]}\n", "x.yaml:3:19: workload.only[0]: ", "found 1.5, expected the name"),
    (HEAD + "workload: {only: c1.2}\n", "x.yaml:3:18: workload.only: ", "found 'c1.2', expected a list"),
    (HEAD + "workload: {only: {any: [c1.2]}}\n", "x.yaml:3:18: ", "this hole may not stand here"),
    (HEAD + "workload: {only: [{any: [c1.2]}]}\n", "x.yaml:3:19: ", "this hole may not stand here"),
    (
        HEAD + "workload: {only: [c5.1, c6.1]}\n",
        "x.yaml:3:25: ",
        "found 'c6.1', expected a client from c1 to c5",
    ),
    (
        HEAD + "workload: {only: [n5.1, n6.1]}\n",
        "x.yaml:3:25: ",
        "found 'n6.1', expected a node from n1 to n5",
    ),
    (HEAD + "workload: {clients: {any: [3, 1]}, only: [c2.1]}\n", "x.yaml:3:43: ", "a client from c1 to c1"),
    (HEAD + "workload: {only: [c1.1, c1.1]}\n", "x.yaml:3:25: workload.only[1]: ", "each operation once"),
    (HEAD + "network: {loss: 0.1}\n", "x.yaml:3:17: network.loss: ", "a share in percent"),
    (HEAD + "network: {loss: 90%}\n", "x.yaml:3:17: network.loss: ", "from 0% to 50%"),
    (HEAD + "network: {latency: [5ms, 1ms]}\n", "x.yaml:3:20: network.latency: ", "the least is never more"),
    (HEAD + "heal: 30s\n", "x.yaml:3:7: heal: ", "at most the workload's duration, 20s"),
    (HEAD + "checks: [linear]\n", "x.yaml:3:10: checks[0]: ", "did you mean linearizable?"),
    (HEAD + "checks: {any: [raft]}\n", "x.yaml:3:9: checks: ", "this hole may not stand here"),
    (HEAD + "checks: [{any: [raft]}]\n", "x.yaml:3:10: checks[0]: ", "this hole may not stand here"),
    (HEAD + "checks: []\n", "x.yaml:3:9: checks: ", "at least 1 in the list"),
    (HEAD + "checks: [raft, raft]\n", "x.yaml:3:16: checks[1]: ", "'raft' again"),
    (HEAD + "checks: [available]\n", "x.yaml:3:10: checks[0]: ", "unavailable_at_most"),
    (HEAD + "sometimes: [leader_change]\n", "x.yaml:3:13: sometimes[0]: ", "did you mean leader_changed?"),
    (HEAD + "limits: {recovers_within: {any: [1s]}}\n", "x.yaml:3:27: ", "this hole may not stand here"),
    (HEAD + "seed: -1\n", "x.yaml:3:7: seed: ", "at least 0"),
    (HEAD + "seed: 99999999999999999999\n", "x.yaml:3:7: seed: ", "at most 9007199254740991"),
    (HEAD + f"seed: -{'9' * 300}\n", "x.yaml:3:7: seed: ", "…, expected at least 0"),
    (HEAD + f"cluster: {{nodes: {'9' * 300}}}\n", "x.yaml:3:18: cluster.nodes: ", "…, expected at most 9"),
    (HEAD + f"cluster: {{nodes: {{any: [3, {'9' * 4000}]}}}}\n", "x.yaml:3:28: ", "…, expected at most 9"),
    (
        HEAD + "workload: {rate: 10000/s, duration: 60m}\n",
        "x.yaml:3:18: workload.rate: ",
        "found up to 36,000,000 operations (10000/s for 3600s), expected at most 1,000,000",
    ),
    (
        HEAD + "workload: {rate: {any: [10/s, 1000/s]}, duration: {between: [1s, 1001s]}}\n",
        "x.yaml:3:18: workload.rate: ",
        "found up to 1,001,000 operations",
    ),
    (
        HEAD + "examples: [{workload.rate: 10000/s, workload.duration: 101s}]\n",
        "x.yaml:3:12: examples[0]: workload.rate: ",
        "found up to 1,010,000 operations",
    ),
    (HEAD + "faults: {at: 1s, kill: n1}\n", "x.yaml:3:9: faults: ", "expected a list"),
    (HEAD + "faults: [{at: -1s, kill: n1}]\n", "x.yaml:3:15: faults[0].at: ", "it must not be negative"),
    (
        HEAD + "faults: [{at: 1s, bandwidth: {rate: 20}}]\n",
        "x.yaml:3:37: faults[0].bandwidth.rate: ",
        "bytes per second with a unit, such as 20kB/s",
    ),
    (HEAD + "faults: [{at: 1s, bandwidth: {rate: 1B/s}}]\n", "x.yaml:3:37: ", "from 100B/s to 1000MB/s"),
    (HEAD + "faults: [{at: 1s, drop: {share: 0%}}]\n", "x.yaml:3:33: ", "from 0.01% to 100%"),
    (HEAD + "faults: [{at: 1s, clock_drift: {node: n1, by: 60%}}]\n", "x.yaml:3:47: ", "from 0.01% to 50%"),
    (
        HEAD + "faults: [{at: 1s, for: 1s, clock_jump: {node: n1, by: 1s}}]\n",
        "",
        "clock_jump is over at once",
    ),
    (HEAD + "faults: [{at: 1s, for: 1s, reset: {}}]\n", "x.yaml:3:24: ", "reset is over at once"),
    (
        HEAD + "faults: [{at: 1s, disk_error: {node: n1, operations: sync}}]\n",
        "x.yaml:3:54: ",
        "did you mean syncs?",
    ),
    (
        HEAD + "faults: [{at: 1s, drop: {from: n1, share: 1%}}]\n",
        "x.yaml:3:32: ",
        "both `from` and `to`, or neither",
    ),
    (HEAD + "workload: {rate: -5/s}\n", "x.yaml:3:18: ", "it must not be negative"),
    (HEAD + "network: {loss: -1%}\n", "x.yaml:3:17: ", "it must not be negative"),
    (HEAD + "faults: [kill]\n", "x.yaml:3:10: faults[0]: ", "found 'kill', expected a mapping"),
    (HEAD + "faults: [{at: 1s}]\n", "x.yaml:3:10: faults[0]: ", "exactly one kind of fault"),
    (HEAD + "faults: [{kill: n1}]\n", "x.yaml:3:10: faults[0]: ", "neither `at` nor `on`"),
    (
        HEAD + "faults: [{at: 1s, on: applied, kill: n1}]\n",
        "x.yaml:3:23: faults[0].on: ",
        "both `at` and `on`",
    ),
    (HEAD + "faults: [{at: 1s, kil: n1}]\n", "x.yaml:3:19: faults[0].kil: ", "did you mean kill?"),
    (
        HEAD + "faults: [{at: 1s, kill: n1, pause: n2}]\n",
        "x.yaml:3:25: faults[0].kill: ",
        "found 2 (pause, kill)",
    ),
    (HEAD + "faults: [{at: 1s, kill: leeder}]\n", "x.yaml:3:25: faults[0].kill: ", "did you mean leader?"),
    (HEAD + "faults: [{at: 1s, kill: [n1, n1]}]\n", "x.yaml:3:25: faults[0].kill: ", "each node once"),
    (HEAD + "faults: [{at: 1s, kill: {node: 3}}]\n", "x.yaml:3:32: faults[0].kill.node: ", "found 3"),
    (
        HEAD + "faults: [{at: 1s, kill: {target: n1}}]\n",
        "x.yaml:3:26: faults[0].kill.target: ",
        "the keys node",
    ),
    (HEAD + "faults: [{at: 1s, kill: n9}]\n", "x.yaml:3:25: faults[0].kill: ", "a node from n1 to n5"),
    (
        HEAD + "cluster: {nodes: {any: [5, 3]}}\nfaults: [{at: 1s, kill: n4}]\n",
        "x.yaml:4:25: ",
        "in every cluster that may be drawn",
    ),
    (HEAD + "cluster: {nodes: 2}\nfaults: [{at: 1s, kill: minority}]\n", "x.yaml:4:25: ", "at least 3 nodes"),
    (
        HEAD + "cluster: {nodes: 2}\nfaults: [{at: 1s, partition: bridge}]\n",
        "x.yaml:4:30: ",
        "at least 3 nodes",
    ),
    (HEAD + "faults: [{at: 1s, kill: event}]\n", "x.yaml:3:25: faults[0].kill: ", "this step waits for none"),
    (
        HEAD + "faults: [{on: vote_casts, kill: n1}]\n",
        "x.yaml:3:15: faults[0].on: ",
        "did you mean vote_cast?",
    ),
    (
        HEAD + "faults: [{on: {event: applied, nth: 0}, kill: n1}]\n",
        "x.yaml:3:37: faults[0].on.nth: ",
        "at least 1",
    ),
    (
        HEAD + "faults: [{on: {event: applied, node: n6}, kill: n1}]\n",
        "x.yaml:3:38: ",
        "a node from n1 to n5",
    ),
    (
        HEAD + "faults: [{at: 16s, kill: n1}]\n",
        "x.yaml:3:15: faults[0].at: ",
        "a time before the heal at 15s",
    ),
    (
        HEAD + "faults: [{at: 30s, kill: n1}]\n",
        "x.yaml:3:15: faults[0].at: ",
        "three quarters of the workload",
    ),
    (
        HEAD + "faults: [{at: 14s, for: 2s, kill: n1}]\n",
        "x.yaml:3:25: faults[0].for: ",
        "found an end at 16s",
    ),
    (HEAD + "faults: [{at: {any: [1s, 15s]}, kill: n1}]\n", "x.yaml:3:15: faults[0].at: ", "found 15s"),
    (HEAD + "faults: [{at: 1s, for: 2s, restart: n1}]\n", "x.yaml:3:24: faults[0].for: ", "no `for`"),
    (
        HEAD + "faults: [{at: {maybe: 1s}, kill: n1}]\n",
        "x.yaml:3:15: faults[0].at: ",
        "this hole may not stand here",
    ),
    (HEAD + "faults: [{at: 1s, partition: ring}]\n", "x.yaml:3:30: ", "did you mean majority_ring?"),
    (HEAD + "faults: [{at: 1s, partition: {}}]\n", "x.yaml:3:30: ", "exactly one of the shapes"),
    (HEAD + "faults: [{at: 1s, partition: {isolate: all}}]\n", "x.yaml:3:40: ", "fewer than all"),
    (
        HEAD + "cluster: {nodes: 2}\nfaults: [{at: 1s, partition: {isolate: [n1, n2]}}]\n",
        "x.yaml:4:40: ",
        "fewer than all 2",
    ),
    (HEAD + "faults: [{at: 1s, partition: {bridge: majority}}]\n", "x.yaml:3:39: ", "a selector of one node"),
    (
        HEAD + "faults: [{at: 1s, partition: {bridge: n1, order: [n1, n2]}}]\n",
        "x.yaml:3:50: ",
        "every node of the cluster",
    ),
    (
        HEAD + "faults: [{at: 1s, partition: {isolate: n1, order: [n1]}}]\n",
        "x.yaml:3:51: ",
        "only with halves",
    ),
    (
        HEAD + "faults: [{at: 1s, partition: {sides: [[n1], [n1]]}}]\n",
        "x.yaml:3:38: ",
        "each node in one of them",
    ),
    (HEAD + "faults: [{at: 1s, partition: {sides: [[n7]]}}]\n", "x.yaml:3:38: ", "nodes from n1 to n5"),
    (
        HEAD + "faults: [{at: 1s, one_way: {from: leader}}]\n",
        "x.yaml:3:28: faults[0].one_way: ",
        "no key `to`",
    ),
    (
        HEAD + "faults: [{on: applied, one_way: {from: leader, to: event}}]\n",
        "x.yaml:3:52: ",
        "both by the event",
    ),
    (HEAD + "faults: [{at: 1s, latency: {node: n1}}]\n", "x.yaml:3:28: ", "no key `delay`"),
    (HEAD + "faults: [{at: 1s, latency: {delay: 1s, from: n1}}]\n", "x.yaml:3:46: ", "both `from` and `to`"),
    (
        HEAD + "faults: [{at: 1s, latency: {delay: 1s, from: n1, to: n2, node: n3}}]\n",
        "x.yaml:3:64: ",
        "either `node`",
    ),
    (HEAD + "faults: [{random: {count: 3}}]\n", "x.yaml:3:19: faults[0].random: ", "no key `kinds`"),
    (HEAD + "faults: [{random: {count: 3, kinds: [kil]}}]\n", "x.yaml:3:38: ", "did you mean kill?"),
    (
        HEAD + "faults: [{random: {count: 3, kinds: [kill], window: [9s, 1s]}}]\n",
        "x.yaml:3:53: ",
        "the low end first",
    ),
    (
        HEAD + "faults: [{random: {count: 3, kinds: [kill], window: [9s, 20s]}}]\n",
        "x.yaml:3:53: ",
        "ends before the heal",
    ),
    (
        HEAD + "faults: [{random: {count: 3, kinds: [kill], nth: 3}}]\n",
        "x.yaml:3:50: ",
        "`triggers` beside `nth`",
    ),
    (
        HEAD + "cluster: {nodes: 1}\nfaults: [{random: {count: 3, kinds: [kill]}}]\n",
        "x.yaml:4:37: ",
        "at least 3 nodes",
    ),
    (
        HEAD + "examples: [{cluster.node: 3}]\n",
        "x.yaml:3:12: examples[0]: cluster.node: ",
        "did you mean nodes?",
    ),
    (HEAD + "examples: [{'faults[0].at': 3s}]\n", "x.yaml:3:12: examples[0]: ", "an index below 0"),
]


@pytest.mark.parametrize(("text", "where", "what"), REFUSED)
def test_a_message_says_where_what_was_found_and_what_was_expected(text, where, what):
    message = refusal(text)
    assert message.startswith(where), message
    assert what in message, message


def test_as_many_operations_as_a_run_can_hold_are_accepted():
    load_scenario(HEAD + "workload: {rate: {maybe: 1000/s}, duration: 1000s}", "x")
    load_scenario(HEAD + "workload: {rate: 10000/s, duration: {maybe: 100s}}", "x")


@pytest.mark.parametrize("word", ["frobnicate", "izab", "nemesis", "x", "netsplit", "9" * 100])
def test_a_name_far_from_every_known_one_gets_no_proposal(word):
    for text in (
        f"{word}: 3",
        f"cluster: {{{word}: 3}}",
        f"faults: [{{at: 1s, {word}: n1}}]",
        f"checks: [{word}]",
    ):
        assert "did you mean" not in refusal(HEAD + text)
    assert "did you mean" not in refusal(HEAD + "faults: [{at: 1s, partition: one}]")


def test_unknown_keys_come_first_and_no_more_than_five_are_listed():
    lines = refusal(
        HEAD
        + "heal: 3\n"
        + "cluster: {nodes: 99, snapshot_every: 1, snapshot_keep: -1}\n"
        + "checks: [a]\n"
        + "faults: [{at: 3, kil: n1}, {at: x, kill: n1}]"
    ).split("\n")
    assert "kil" in lines[0]
    assert lines[5:] == ["and 2 more"]
    assert all(re.match(r"x\.yaml:[0-9]+:[0-9]+: ", line) for line in lines[:5])


def test_an_alias_bomb_is_refused_before_it_expands():
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 60)]
    assert "aliases that expand to too much" in refusal("\n".join(rows))


def test_depth_size_and_length_have_limits():
    assert "deeper nesting" in refusal("[" * 10_000)
    assert "deeper nesting" in refusal("{a: " * 10_000)
    assert "too much" in refusal("[" + "x," * 30_000 + "]")
    assert "characters, expected at most" in refusal("#" * 300_000)


def test_anchors_and_aliases_are_fine_in_measure():
    text = HEAD + "faults:\n  - &one {at: 1s, for: 1s, kill: n1}\n  - *one\n"
    assert [step.kind for step in load_scenario(text, "x").faults] == ["kill", "kill"]


def test_words_of_yaml_1_1_are_words():
    data = document.read("on: yes\noff: no\ntime: 1:30\noctal: 010\nhex: 0x1F\ntext: '5'", "x").data
    assert data == {"on": "yes", "off": "no", "time": "1:30", "octal": 10, "hex": "0x1F", "text": "5"}


OVERRIDDEN = HEAD + "faults:\n  - {at: {between: [1s, 9s]}, for: 2s, kill: leader}\n"


def test_overrides_replace_and_add_values():
    overrides = ["cluster.nodes=3", "faults[0].at=4s", "workload.keys={any: [1, 2]}", "seed=9"]
    scenario = load_scenario(OVERRIDDEN, "x", overrides)
    plan = draw_plan(scenario, Sampler(0))
    assert (plan.nodes, plan.seed, plan.steps[0].at_ns) == (3, 9, 4 * 10**9)
    assert isinstance(scenario.workload.keys, AnyOf)


BAD_OVERRIDES = [
    ("cluster.nodes", "--set cluster.nodes: ", "expected path=value"),
    ("=3", "--set =3: ", "expected path=value"),
    ("cluster..nodes=3", "--set cluster..nodes=3: ", "the path 'cluster..nodes'"),
    ("cluster.node=3", "--set cluster.node=3: cluster.node: ", "did you mean nodes?"),
    ("clutser.nodes=3", "--set clutser.nodes=3: clutser: ", "did you mean cluster?"),
    ("cluster.nodes=x", "--set cluster.nodes=x: cluster.nodes: ", "found 'x', expected a whole number"),
    ("cluster.nodes=", "--set cluster.nodes=: ", "found no value, expected one after the ="),
    ("cluster.nodes= # 3", "--set cluster.nodes= # 3: ", "found no value"),
    ("cluster.nodes=~", "--set cluster.nodes=~: ", "found no value"),
    ("cluster.nodes=[", "--set cluster.nodes=[:", "broken YAML"),
    ("faults[3].for=2s", "--set faults[3].for=2s: ", "expected an index below 1"),
    ("faults.for=2s", "--set faults.for=2s: ", "expected an index such as faults[0]"),
    ("faults[0].kill.node.x=n1", "--set faults[0].kill.node.x=n1: faults[0].kill: ", "found 'leader'"),
    ("faults[0].at=20s", "--set faults[0].at=20s: faults[0].at: ", "before the heal"),
    ("workload.duration=8s", "x.yaml:4:", "before the heal at 6s"),
]


@pytest.mark.parametrize(("override", "where", "what"), BAD_OVERRIDES)
def test_a_wrong_override_is_named(override, where, what):
    message = refusal(OVERRIDDEN.replace("between: [1s, 9s]", "any: [1s, 9s]"), override)
    assert message.startswith(where), message
    assert what in message, message


def test_examples_are_members_of_the_family():
    text = OVERRIDDEN + "examples:\n  - {cluster.nodes: 3, 'faults[0].at': 2s}\n  - {seed: 4}\n"
    first, second = load_scenario(text, "x", ["workload.keys=7"]).example_scenarios
    plan = draw_plan(first, Sampler(1))
    assert (plan.nodes, plan.steps[0].at_ns, plan.document["workload"]["keys"]) == (3, 2 * 10**9, 7)
    assert draw_plan(second, Sampler(1)).seed == 4


def read_or_refuse(text: str) -> None:
    try:
        scenario = load_scenario(text, "x.yaml")
    except ScenarioError as error:
        message = str(error)
    else:
        draw_plan(scenario, Sampler(1)).compiled_json()
        return
    assert re.match(r"x\.yaml:[0-9]+:[0-9]+: \S", message), message
    assert message.replace("\n", "").isprintable()


FUZZ = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


@given(mutated())
@FUZZ
def test_a_mutated_file_is_read_or_refused_with_its_position(text):
    read_or_refuse(text)


@given(st.text(max_size=200) | st.text(alphabet="{}[]:,-&*!|>'\"%@`#? \n\tab1.~=", max_size=60))
@example("%YAML 9.9\n---\na: b")
@example("%TAG ! tag:x,2000:\n---\n!a b")
@example('"\\U99999999"')
@example('"\\x"')
@example("a: 0o8")
@example("? ")
@example("\ufeffversion: 1")
@example("'")
@FUZZ
def test_any_text_is_read_or_refused_with_its_position(text):
    read_or_refuse(text)


JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["1s", "n1", "leader", "all"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["any", "between", "maybe", "at", "for", "kill", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
KEYS = sorted(json_schema()["properties"])


@given(st.dictionaries(st.sampled_from(KEYS), JSONS, max_size=4))
@FUZZ
def test_any_data_under_known_keys_is_read_or_refused(data):
    read_or_refuse(json.dumps({"version": 1, "scenario": "x"} | data))


@given(st.integers(0, 3600 * 10**9))
def test_durations_read_back_as_they_were_written(nanoseconds):
    assert units.parse_duration(units.format_duration(nanoseconds)) == nanoseconds


@given(st.integers(0, 10**7), st.integers(0, 10**6))
def test_rates_and_shares_read_back_as_they_were_written(per_1000s, ppm):
    assert units.parse_rate(units.format_rate(per_1000s)) == per_1000s
    assert units.parse_share(units.format_share(ppm)) == ppm


@pytest.mark.parametrize(
    ("text", "value"),
    [("250ms", 250_000_000), ("1.5s", 1_500_000_000), ("2m", 120 * 10**9), ("300us", 300_000), ("7ns", 7)],
)
def test_durations_have_units(text, value):
    assert units.parse_duration(text) == value


def test_rates_are_counted_in_1000_seconds():
    assert units.parse_rate("50/s") == units.parse_rate("3000/m") == 50_000


GUIDE = (SCENARIOS / "README.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_example_in_the_authors_guide_works(block):
    whole = block if block.lstrip("# ").startswith(("version:", "yaml-language-server")) else HEAD + block
    for seed in range(5):
        draw_plan(load_scenario(whole, "README.md"), Sampler(seed))


def test_the_authors_guide_names_every_word():
    schema = json_schema()
    words = {*EVENTS, *CHECKS, *schema["properties"]}
    words |= {key for part in schema["$defs"].values() for key in part.get("properties", {})}
    assert sorted(word for word in words if f"`{word}`" not in GUIDE and f"{word}:" not in GUIDE) == []


def test_shipped_files_are_not_empty_of_tests():
    assert len(TEXTS) >= 8
    assert len(BLOCKS) >= 8
