"""A simulated world driven by hand, through the extension."""

import json
from typing import Any

import pytest

from chaos._core import START_NS, World
from chaos.checks import judge
from chaos.generate import Sampler, draw_plan
from chaos.plan import Plan
from chaos.scenario import EVENTS, load_scenario

S = 1_000_000_000


def plan_of(text: str) -> Plan:
    return draw_plan(load_scenario(f"version: 1\nscenario: w\n{text}", "w.yaml"), Sampler(3))


QUIET = plan_of("cluster: {nodes: 3}\nworkload: {only: [], home_readers: false, duration: 8s}\n")


def done(world: World, **operation: Any) -> dict[str, Any]:
    number = world.operate(json.dumps(operation))
    while (outcome := world.outcome(number)) is None:
        world.advance(world.now_ns + S // 100)
    ended: dict[str, Any] = json.loads(outcome)
    return ended


def test_scenarios_and_the_simulator_know_the_same_events() -> None:
    step = "faults: [{on: {event: vote_cast, node: n2}, restart: event, optional: true}]"
    compiled = plan_of(f"cluster: {{nodes: 3}}\n{step}\n").compiled_json()
    with pytest.raises(ValueError, match="no event") as refused:
        World(compiled.replace('"vote_cast"', '"vote"'))
    listed = str(refused.value).split("expected ")[1].replace(" or one of", ",").split(", ")
    assert sorted(listed) == sorted(EVENTS)
    for event in EVENTS:
        World(compiled.replace('"vote_cast"', f'"{event}"'))


def test_a_plan_without_operations_is_quiet_until_its_recovery_and_valid() -> None:
    world = World(QUIET.compiled_json())
    evidence = world.finish()
    events = [json.loads(line) for line in evidence.history_jsonl().splitlines()]
    assert len(events) == 2 * (2 + 2 * 3)
    assert all(event["final"] for event in events)
    assert {judgement.verdict for judgement in judge(evidence, QUIET)} == {"valid"}


def test_a_write_by_hand_is_read_at_every_node_and_judged() -> None:
    world = World(QUIET.compiled_json())
    world.advance(START_NS)
    wrote = done(world, f="write", key="k1", value=41)
    assert (wrote["type"], wrote["value"], wrote["error"]) == ("ok", 41, None)
    for node in ("n1", "n2", "n3"):
        read = done(world, f="read", key="k1", node=node, home=True)
        assert (read["type"], read["value"]) == ("ok", 41)
        assert read["log_index"] >= wrote["log_index"]
    evidence = world.finish()
    events = [json.loads(line) for line in evidence.history_jsonl().splitlines()]
    assert [event["type"] for event in events if 600 <= event["process"] < 1000] == ["invoke", "ok"] * 4
    assert {judgement.verdict for judgement in judge(evidence, QUIET)} == {"valid"}


def test_what_cannot_be_done_is_a_value_error_that_says_why() -> None:
    world = World(QUIET.compiled_json())
    with pytest.raises(ValueError, match=r'no register "k9"; the plan has k0 to k1'):
        world.operate('{"f": "read", "key": "k9"}')
    with pytest.raises(ValueError, match="none has the number 3"):
        world.outcome(3)


def test_an_observation_has_every_node_and_every_message_under_way() -> None:
    world = World(plan_of("cluster: {nodes: 3}\nworkload: {duration: 8s}\n").compiled_json())
    world.advance(START_NS + S)
    observed = json.loads(world.observe())
    assert set(observed["nodes"]) == {"n1", "n2", "n3"}
    for node in observed["nodes"].values():
        assert {"role", "term", "vote", "leader", "commit", "applied", "persisted", "log"} <= set(node)
        assert {"synced", "unsynced_bytes", "written_index", "busy", "queued"} == set(node["disk"])
    assert len(observed["messages"]) == observed["messages_in_flight"]["nodes"]
    world.advance(world.now_ns + 1)
    assert json.loads(world.observe())["now_ns"] == observed["now_ns"] + 1
