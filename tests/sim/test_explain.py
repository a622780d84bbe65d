"""The story of each planted bug names what a reader must know: who, in which term, which operation, which vote."""

import json
import re
from pathlib import Path

import pytest

from chaos.errors import BundleError, UsageError
from chaos.essence import Operation
from chaos.generate import Sampler, draw_plan
from chaos.scenario import load_scenario
from chaos.story import MOST_LINES
from harness.cluster import RunOptions
from harness.explain import Explanation, explain_bundle
from harness.run import run_plan
from harness.store import Bundle, open_bundle

ISOLATED_LEADER = (Path(__file__).resolve().parents[2] / "scenarios/smoke/isolated-leader.yaml").read_text()

FORGOTTEN_VOTE = """
version: 1
scenario: forgotten-vote
about: Whoever casts the fourth vote dies right after it.
cluster: {nodes: 3}
workload: {clients: 3, rate: 20/s, duration: 5s}
faults:
  - at: 500ms
    for: 100ms
    latency: {node: n1, delay: 5ms}
  - at: 1s
    transfer_leader: {follower: 1}
  - on: {event: vote_cast, nth: 4}
    for: 200ms
    kill: event
checks: [linearizable, raft, durable]
"""

EARLY_ACKNOWLEDGEMENT = """
version: 1
scenario: early-acknowledgement
cluster: {nodes: 3}
workload: {clients: 5, rate: 100/s, duration: 6s}
faults:
  - at: 2s
    for: 2s
    partition: {isolate: leader}
checks: [durable]
"""


def bundle(text: str, plant: str | None, out: Path, seed: int = 0) -> Bundle:
    plan = draw_plan(load_scenario(text, "test"), Sampler(seed))
    options = RunOptions(plants=(plant,) if plant else (), out=out)
    return run_plan(plan, options, lambda _: None).bundle


def story(bundle: Bundle, *, as_recorded: bool = True, seconds: float = 0.0) -> tuple[Explanation, list[str]]:
    explanation = explain_bundle(bundle, seconds=seconds, as_recorded=as_recorded, progress=lambda _: None)
    assert 3 <= len(explanation.story.lines) <= MOST_LINES
    times = [line.time_ns for line in explanation.story.lines]
    assert times == sorted(times)
    return explanation, [line.words for line in explanation.story.lines]


def place(lines: list[str], pattern: str) -> int:
    """Where the line that says this stands."""
    found = [number for number, line in enumerate(lines) if re.search(pattern, line)]
    assert found, f"{pattern}\n" + "\n".join(lines)
    return found[0]


def test_a_stale_read_is_told_with_the_deposed_leader_and_the_write_that_it_missed(tmp_path: Path) -> None:
    explanation, lines = story(bundle(ISOLATED_LEADER, "stale-read", tmp_path))
    offender = explanation.essence.offender
    assert isinstance(offender, Operation)
    assert offender.completion is not None
    deposed = offender.completion["node"]
    cut = place(lines, rf"^fault 0: cut the leader off from the other nodes \[{deposed}\]")
    election = place(
        lines, rf"n\d becomes leader of term 3, with the votes of .*; {deposed} knows nothing of it"
    )
    write = place(
        lines, rf"\(leader of term 3\) acknowledges .* of term 3, committed; {deposed} does not have it"
    )
    read = place(
        lines, rf"^{deposed}, which still takes itself for the leader of term 2 .*answers .* {offender.seen},"
    )
    assert cut < election < write < read == len(lines) - 1
    assert str(offender.seen) in explanation.story.ending
    assert len(explanation.essence.operations) == 3


def test_a_forgotten_vote_is_told_with_the_vote_the_crash_and_what_the_disk_held(tmp_path: Path) -> None:
    explanation, lines = story(bundle(FORGOTTEN_VOTE, "vote-not-durable", tmp_path))
    record = explanation.essence.offender
    assert isinstance(record, dict)
    node, boot = record["node"], record["boot"]
    vote = place(lines, rf"^{node} votes for (itself|n\d) in term 3$")
    killed = place(lines, rf"^fault 2: kill .*{node}")
    back = place(
        lines,
        rf"^{node} comes up \(boot {boot}\): its disk holds term 2, .* had been in term 3 and voted for",
    )
    assert vote < killed < back
    assert f"{node}'s term went back from 3 to 2" in explanation.story.ending
    assert "term 3" in explanation.story.ending.split("term went back")[1]


def test_an_early_acknowledgement_is_told_with_the_entry_and_what_became_of_it(tmp_path: Path) -> None:
    explanation, lines = story(bundle(EARLY_ACKNOWLEDGEMENT, "ack-before-commit", tmp_path))
    lost = explanation.essence.operations[0]
    assert lost.completion is not None
    old, index = lost.completion["node"], lost.completion["log_index"]
    cut = place(lines, rf"^fault 0: cut the leader off from the other nodes \[{old}\]")
    early = place(
        lines,
        rf"^{old} \(leader of term 2\) acknowledges .* as entry {index} of term 2, BEFORE it is committed: "
        rf"(of 3 nodes only {old} has|no node (ever )?has)",
    )
    election = place(lines, r"^n\d becomes leader of term 3")
    place(lines, rf"applies another entry {index}, of term 3: the acknowledged .* is lost")
    assert cut < early < election
    assert explanation.judgement.check == "durable"


def test_steps_that_are_not_needed_are_not_told_of(tmp_path: Path) -> None:
    """A simulated run is shrunk before: the latency goes, and each line on a fault is one that is needed."""
    kept = bundle(FORGOTTEN_VOTE, "vote-not-durable", tmp_path)
    explanation, lines = story(kept, as_recorded=False, seconds=60.0)
    assert not explanation.is_recorded
    assert len(explanation.plan.steps) < 3
    assert not [line for line in lines if "delay" in line]
    again = explain_bundle(kept, seconds=0.0, as_recorded=True, progress=lambda _: None)
    assert explanation.signature == again.signature
    assert again.is_recorded


def test_a_real_run_is_told_from_what_was_recorded(tmp_path: Path) -> None:
    """As if containers had recorded it."""
    kept = bundle(ISOLATED_LEADER, "stale-read", tmp_path)
    manifest = json.loads((kept.path / "manifest.json").read_text()) | {
        "backend": "docker",
        "trace_hash": None,
    }
    (kept.path / "manifest.json").write_text(json.dumps(manifest))
    explanation, lines = story(open_bundle(kept.path), as_recorded=False, seconds=60.0)
    assert explanation.is_recorded
    place(lines, "which still takes itself for the leader of term 2")


def test_a_run_that_violated_nothing_has_no_story(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="violated nothing"):
        story(bundle(EARLY_ACKNOWLEDGEMENT, None, tmp_path))


def test_a_bundle_without_traces_is_refused(tmp_path: Path) -> None:
    kept = bundle(ISOLATED_LEADER, "stale-read", tmp_path)
    manifest = json.loads((kept.path / "manifest.json").read_text())
    manifest["files"] = {name: digest for name, digest in manifest["files"].items() if "trace/" not in name}
    (kept.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="no trace of any node"):
        story(open_bundle(kept.path))
