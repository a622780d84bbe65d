"""A failing plan and its passing neighbour part at the fault that was removed."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from chaos.errors import BundleError
from chaos.generate import Sampler, draw_plan
from chaos.plan import Plan
from chaos.scenario import load_scenario
from harness.cluster import RunOptions
from harness.diff import Difference, compare, print_difference
from harness.run import run_plan
from harness.store import Bundle, open_bundle

TEXT = """
version: 1
scenario: early-acknowledgement
cluster: {nodes: 3}
workload: {clients: 5, rate: 50/s, duration: 6s}
faults:
  - at: 1s
    for: 500ms
    pause: n2
  - at: 2s
    for: 2s
    partition: {isolate: leader}
checks: [durable]
"""


def plan(seed: int = 0) -> Plan:
    return draw_plan(load_scenario(TEXT, "test"), Sampler(seed))


def without_step(plan: Plan, step: int) -> Plan:
    faults = [fault for number, fault in enumerate(plan.document["faults"]) if number != step]
    return plan.with_document({**plan.document, "faults": faults})


def bundle(plan: Plan, out: Path, plant: str | None = "ack-before-commit") -> Bundle:
    return run_plan(plan, RunOptions(plants=(plant,) if plant else (), out=out), lambda _: None).bundle


def printed(difference: Difference) -> str:
    text = io.StringIO()
    print_difference(difference, Console(file=text, width=100, highlight=False, soft_wrap=True))
    return text.getvalue()


def test_a_failing_plan_and_its_passing_neighbour_part_at_the_fault_that_was_removed(tmp_path: Path) -> None:
    failing, passing = bundle(plan(), tmp_path), bundle(without_step(plan(), 1), tmp_path)
    difference = compare(failing, passing)
    (change,) = difference.changes
    assert (change.kind, change.where) == ("removed", "step 1")
    first = difference.first
    assert first is not None
    assert first.a is not None
    assert (first.a.source, first.a.record["kind"], first.a.record["phase"]) == (
        "nemesis",
        "partition",
        "install",
    )
    assert first.at > 100, "up to there the two runs are one"
    assert difference.exit_code == 1
    # What led to it: the last turns, and events of the nodes concerned, all before the fault.
    led_to = difference.led_to()
    assert 3 <= len(led_to) <= 13
    assert all(event.time_ns <= first.time_ns for event in led_to)
    assert [event for event in led_to if event.record.get("kind") == "pause"]
    # How the failing run goes on: another node is elected.
    assert [event for event in difference.goes_on(difference.a) if event.record.get("role") == "leader"]
    text = printed(difference)
    assert "step 1 only in A: cut the leader off from the other nodes (at 2s, for 2s)" in text
    assert "A  +2.000000 s  fault 1: cut the leader off from the other nodes" in text
    assert "no fault is in force" in text
    assert "leader of term 2" in text
    assert "invalid (durable/" in text
    assert "valid" in text


def test_a_run_does_not_differ_from_its_repetition(tmp_path: Path) -> None:
    difference = compare(bundle(plan(), tmp_path / "a"), bundle(plan(), tmp_path / "b"))
    assert (difference.exit_code, difference.first, difference.changes) == (0, None, ())
    assert "The runs do not differ" in printed(difference)
    assert json.loads(json.dumps(difference.to_dict()))["same"] is True


def test_the_same_plan_in_another_build_parts_at_the_first_thing_that_the_build_does_otherwise(
    tmp_path: Path,
) -> None:
    difference = compare(bundle(plan(), tmp_path / "a"), bundle(plan(), tmp_path / "b", plant=None))
    assert difference.changes == ()
    first = difference.first
    assert first is not None
    assert first.a is not None
    assert first.a.record["type"] == "ok", "the build with the bug acknowledges first"


def test_a_real_run_is_compared_by_the_order_of_its_turns(tmp_path: Path) -> None:
    """Another seed gives other times and perhaps another leader, but the faults and elections come in one order."""
    simulated = bundle(plan(), tmp_path / "a")
    other = bundle(plan(seed=5), tmp_path / "b")
    real = replace(other, manifest=other.manifest.model_copy(update={"backend": "docker"}))
    difference = compare(simulated, real)
    assert not difference.exact
    assert difference.event is None
    assert [change.where for change in difference.changes] == ["seed"]
    missing = bundle(without_step(plan(seed=5), 1), tmp_path / "c")
    real = replace(missing, manifest=missing.manifest.model_copy(update={"backend": "docker"}))
    difference = compare(simulated, real)
    first = difference.first
    assert first is not None
    assert first.a is not None
    assert first.a.record["kind"] == "partition"
    assert "Real runs never agree in time" in printed(difference)


def test_what_is_no_bundle_or_has_no_traces_is_refused(tmp_path: Path) -> None:
    kept = bundle(plan(), tmp_path)
    with pytest.raises(BundleError, match="no such directory"):
        open_bundle(tmp_path / "absent")
    files = {name: digest for name, digest in kept.manifest.files.items() if "trace/" not in name}
    bare = replace(kept, manifest=kept.manifest.model_copy(update={"files": files}))
    with pytest.raises(BundleError, match="no trace of any node"):
        compare(kept, bare)
