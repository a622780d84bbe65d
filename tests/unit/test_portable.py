"""The part of a family that a backend can carry out: nothing of it is ever refused, and nothing else is changed."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaos.errors import UnsupportedError
from chaos.faults import KINDS
from chaos.generate import Sampler, draw_plan, plans
from chaos.plan import Plan
from chaos.portable import action_of, restricted
from chaos.scenario import Scenario, load_scenario
from harness.cluster import SUPPORT, needs_of, refuse_loss, refuse_unsupported

FILES = sorted((Path(__file__).resolve().parents[2] / "scenarios").rglob("*.yaml"))
DOCKER = SUPPORT["docker"]
FIXED_BEYOND_DOCKER = {
    "clocks": "faults[0]: clock_drift",
    "crash-points": "faults[0]: power_off",
    "flipped-bit": "faults[0]: corrupt",
    "lying-fsync": "faults[0]: lying_fsync",
    "membership-mix": "cluster.spares: a node to spare",
    "power-loss-of-all": "faults[0]: power_off",
    "vote-forgotten": "faults[0]: a moment in the protocol",
    "wiped-node": "faults[0].any[0]: wiped",
}
"""Scenarios of ours that fix what only simulated disks, clocks and machines can do, and how that is told."""


def family(text: str) -> Scenario:
    return load_scenario(f"version: 1\nscenario: family\n{text}", "family.yaml")


def loaded(file: Path) -> Scenario:
    return load_scenario(file.read_text(encoding="utf-8"), str(file))


PORTABLE = [file for file in FILES if loaded(file).name not in FIXED_BEYOND_DOCKER]
WIDEST = """
cluster: {nodes: {any: [3, 5]}}
network: {loss: {between: [0%, 5%]}}
faults:
  - random: {count: {between: [1, 6]}, kinds: [power_off, kill, one_way, pause], triggers: [vote_cast], nth: 3}
  - random: {count: {between: [0, 3]}, kinds: [power_off]}
  - any:
      - {at: 1s, for: 1s, power_off: leader}
      - {on: vote_cast, for: 1s, kill: leader}
      - {at: {between: [1s, 2s]}, for: 1s, latency: {node: leader, delay: 30ms}}
  - maybe: {on: {event: appended, nth: 7}, kill: event}
  - maybe: {at: 3s, for: 1s, partition: {isolate: leader}}
examples:
  - {network.loss: 1%}
  - {network.loss: 0%, cluster.nodes: 3}
"""


def refuse(plan: Plan) -> None:
    """Raises if the Docker backend would refuse the plan."""
    compiled = plan.compiled()
    refuse_unsupported(needs_of(compiled), "docker", skip=False)
    refuse_loss(compiled, "docker", skip=False)


def test_every_kind_is_compiled_to_the_action_that_support_is_told_in() -> None:
    for kind, fault in KINDS.items():
        text = f"faults: [{{random: {{count: 1, kinds: [{kind}]}}}}]"
        (need,) = needs_of(draw_plan(family(text), Sampler(1)).compiled())
        assert (need.kind, need.action) == (fault.kind, action_of(kind))


@pytest.mark.parametrize("scenario", [*map(loaded, PORTABLE), family(WIDEST)], ids=lambda one: one.name)
@settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_nothing_drawn_from_a_restricted_family_is_refused(scenario: Scenario, data: st.DataObject) -> None:
    kept = restricted(scenario, DOCKER)
    for one in (kept, *kept.example_scenarios):
        refuse(data.draw(plans(one)))
        refuse(draw_plan(one, Sampler(data.draw(st.integers(0, 2**32)))))


def test_unrestricted_the_widest_families_are_refused_often() -> None:
    """Else the test above would show nothing."""
    mixes = [family(WIDEST), *(loaded(file) for file in PORTABLE if file.stem == "random-mix")]
    assert len(mixes) == 2
    for scenario in mixes:
        refused = 0
        for seed in range(20):
            try:
                refuse(draw_plan(scenario, Sampler(seed)))
            except UnsupportedError:
                refused += 1
        assert refused > 10


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_is_portable_already_gives_the_same_plans(file: Path) -> None:
    scenario = loaded(file)
    assert restricted(scenario, SUPPORT["sim"]) is scenario
    if "portable" in scenario.tags:
        kept = restricted(scenario, DOCKER)
        assert kept is scenario
        for seed in range(3):
            assert draw_plan(kept, Sampler(seed)).plan_id == draw_plan(scenario, Sampler(seed)).plan_id


def test_what_is_left_of_a_wide_family() -> None:
    kept = restricted(family(WIDEST), DOCKER).model_dump(by_alias=True, exclude_defaults=True)
    assert "network" not in kept, "no loss"
    random, choice, partition = kept["faults"]
    assert random["random"]["kinds"] == ["kill", "one_way", "pause"]
    assert "triggers" not in random["random"]
    assert "nth" not in random["random"]
    assert [sorted(step) for step in choice["any"]] == [["at", "for", "latency"]]
    assert "partition" in partition["maybe"]
    assert kept["examples"] == [{"network.loss": "0%", "cluster.nodes": 3}]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("faults: [{at: 1s, kill: n1}, {at: 1s, for: 1s, power_off: n1}]", r"^faults\[1\]: power_off .*page cache"),
        ("faults: [{on: vote_cast, kill: event, optional: true}]", r"^faults\[0\]: a moment in .*trace only after"),
        ("faults: [{any: [{at: 1s, power_off: n1}, {on: appended, kill: n1}]}]", r"^faults\[0\]\.any\[0\]: power_off"),
        ("faults: [{at: 1s, drop: {share: 1%}}]", r"^faults\[0\]: drop .*TCP delivers every byte once"),
        ("faults: [{at: 1s, full_disk: n1}]", r"^faults\[0\]: full_disk .*the machine's own"),
        ("faults: [{random: {count: 2, kinds: [power_off]}}]", r"^faults\[0\]\.random\.kinds: power_off"),
        ("network: {loss: {any: [1%, 2%]}}", r"^network\.loss: a loss of messages .*TCP"),
        ("network: {loss: 1%}\nfaults: [{at: 1s, power_off: n1}]", r"^network\.loss: .*; faults\[0\]: power_off"),
    ],
)  # fmt: skip
def test_what_cannot_be_left_out_is_named(text: str, named: str) -> None:
    with pytest.raises(UnsupportedError, match=named):
        restricted(family(text), DOCKER)


@pytest.mark.parametrize("name", sorted(FIXED_BEYOND_DOCKER))
def test_scenarios_that_fix_what_docker_lacks_are_not_portable(name: str) -> None:
    (file,) = [file for file in FILES if loaded(file).name == name]
    with pytest.raises(UnsupportedError, match=f"^{re.escape(FIXED_BEYOND_DOCKER[name])}"):
        restricted(loaded(file), DOCKER)


@pytest.mark.parametrize(
    ("loss", "kept"), [("0%", True), ("{maybe: 1%}", False), ("{any: [1%, 0%]}", False), ("{any: [0%]}", True)]
)  # fmt: skip
def test_loss_that_may_be_none_becomes_none(loss: str, kept: bool) -> None:
    scenario = family(f"network: {{loss: {loss}}}")
    restricted_to = restricted(scenario, DOCKER)
    assert (restricted_to is scenario) is kept
    assert all(
        draw_plan(restricted_to, Sampler(seed)).compiled()["network"]["loss_ppm"] == 0 for seed in range(9)
    )


def test_spares_that_are_left_open_are_left_out() -> None:
    kept = restricted(family("cluster: {nodes: 3, spares: {any: [1, 0]}}"), DOCKER)
    assert {draw_plan(kept, Sampler(seed)).compiled().get("spares", 0) for seed in range(20)} == {0}
