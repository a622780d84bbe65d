"""A replay that stops at a moment shows the state that the records tell of, and is checked against them."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from chaos._core import START_NS, World
from chaos.errors import UsageError
from chaos.generate import Sampler, draw_plan
from chaos.retrospect import Retrospect
from chaos.scenario import load_scenario
from chaos.timeline import clock, turns
from harness.cluster import RunOptions
from harness.commands.app import app
from harness.moment import Moment, moment_of, parse_until
from harness.recorded import plan_of, records_of
from harness.run import run_plan
from harness.store import Bundle, open_bundle

TEXT = """
version: 1
scenario: until
cluster: {nodes: 3}
workload: {clients: 3, rate: 50/s, duration: 5s}
faults:
  - {at: 1s, for: 1500ms, partition: {isolate: leader}}
  - {at: 1500ms, for: 1s, kill: n2}
  - {at: 3s, for: 500ms, pause: leader}
checks: [linearizable, raft]
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    plan = draw_plan(load_scenario(TEXT, "test"), Sampler(3))
    return run_plan(plan, RunOptions(out=tmp_path_factory.mktemp("runs")), lambda _: None).bundle


def at(bundle: Bundle, until: str | None, backend: str = "sim") -> Moment:
    return moment_of(bundle, backend=backend, until=until, resolve="afresh")


@pytest.mark.parametrize("until", ["0s", "900ms", "1.2s", "1700ms", "2.6s", "3100ms", "4s"])
def test_the_state_at_a_moment_is_what_the_records_up_to_it_tell(recorded: Bundle, until: str) -> None:
    moment = at(recorded, until)
    assert moment.difference is None
    assert moment.is_compared
    assert moment.exit_code == 0
    assert moment.observation is not None
    time_ns = START_NS + parse_until(until)
    told = Retrospect(records_of(recorded).until(time_ns))
    assert moment.observation["now_ns"] == time_ns
    for node, seen in moment.observation["nodes"].items():
        standing = told.standing(node, time_ns)
        if seen["process"] in {"down", "starting"}:
            assert standing.process == "down", node
            continue
        assert standing.process == seen["process"], node
        assert (standing.role, standing.term) == (seen["role"], seen["term"]), node
        assert standing.vote == seen["vote"], node
        assert standing.applied == seen["applied"], node
        assert standing.last_index == seen["log"][-1]["index"], "the log as it is on disk"
        for entry in seen["log"][-5:]:
            life = told.life(entry["index"], entry["term"])
            assert node in told.holders(life, time_ns), (node, entry)
    faults = {fault.install["kind"] for fault in told.in_force(time_ns)}
    assert ("partition" in faults) == bool(moment.observation["links_cut"])


def test_two_stops_on_the_way_are_one_stop_at_the_end(recorded: Bundle) -> None:
    world = World(plan_of(recorded).compiled_json(), recorded.manifest.plants)
    for until in ("700ms", "1700ms", "3100ms"):
        world.advance(START_NS + parse_until(until))
        assert json.loads(world.observe()) == at(recorded, until).observation


def test_the_events_up_to_a_moment_are_the_recorded_ones(recorded: Bundle) -> None:
    events = at(recorded, "1700ms").events
    everything = records_of(recorded).events
    assert [event.record for event in events] == [event.record for event in everything[: len(events)]]
    assert everything[len(events)].time_ns > START_NS + 1_700_000_000
    assert len(at(recorded, None).events) == len(everything)


def test_a_replay_that_leaves_the_recording_before_the_moment_says_where(
    recorded: Bundle, tmp_path: Path
) -> None:
    """As if another build had recorded it: with a bug that answers too early."""
    plan = plan_of(recorded)
    planted = run_plan(plan, RunOptions(plants=("ack-before-commit",), out=tmp_path), lambda _: None).bundle
    path = planted.path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"plants": []}))
    moment = at(open_bundle(planted.path), "4s")
    assert moment.exit_code == 4
    assert moment.difference is not None
    assert moment.difference.startswith("at +0.")
    assert "history.jsonl" in moment.difference
    # Before the first answer the two are still the same.
    assert at(open_bundle(planted.path), "0s").difference is None


def test_a_moment_beyond_the_end_is_refused(recorded: Bundle) -> None:
    with pytest.raises(
        UsageError, match=r"10m: beyond the end; the run ends \d+\.\d{3} s after the plan's start"
    ):
        at(recorded, "10m")


@pytest.mark.parametrize("text", ["3", "-1", "soon", "1.5", "--1s", "+-1s", "1 s 2"])
def test_what_is_no_moment_is_refused(recorded: Bundle, text: str) -> None:
    with pytest.raises(UsageError, match="expected a duration"):
        at(recorded, text)


def test_the_same_moment_may_be_written_in_two_ways() -> None:
    assert parse_until("3.2s") == parse_until("3200ms") == parse_until("+3.2s") == 3_200_000_000


@pytest.mark.parametrize(
    "time_ns", [0, 1_000_000, START_NS - 2_496_000_000, START_NS, START_NS + 1_017_000_000]
)
def test_a_moment_may_be_given_as_it_is_printed(time_ns: int) -> None:
    printed = clock(time_ns)
    assert parse_until(printed) == parse_until(printed.replace(" ", "")) == time_ns - START_NS
    assert parse_until(printed.removeprefix("+")) == time_ns - START_NS


def test_a_run_may_be_stopped_before_the_plans_start_but_not_before_it_was_founded(recorded: Bundle) -> None:
    """Elections before the plan's start are printed, so there is something to look at."""
    elected = next(turn for turn in turns(records_of(recorded).events, by_name=True) if "leads" in turn.shape)
    assert 0 < elected.event.time_ns < START_NS
    before = f"{elected.event.time_ns - START_NS}ns"
    moment = at(recorded, before)
    assert moment.difference is None
    assert moment.observation is not None
    assert moment.observation["leader"] == elected.event.node
    assert at(recorded, "-3s").difference is None
    code, text = said("replay", recorded.path, f"--until={before}", "--json")
    assert (code, json.loads(text)["until_ns"]) == (0, elected.event.time_ns - START_NS)
    with pytest.raises(UsageError, match=r"the run begins 3\.000 s before the plan's start"):
        at(recorded, "-3.001s")


def test_a_simulated_run_on_containers_is_stopped_nowhere(recorded: Bundle) -> None:
    """It was once said that the bundle was one of containers, which it is not."""
    with pytest.raises(UsageError, match=r"^--until works in simulation only; leave out --backend docker$"):
        at(recorded, "1s", backend="docker")


def test_a_real_run_cannot_be_stopped_but_its_plan_can_in_simulation(recorded: Bundle) -> None:
    manifest = recorded.manifest.model_copy(update={"backend": "docker"})
    real = Bundle(recorded.path, manifest)
    with pytest.raises(UsageError, match="--backend sim"):
        at(real, "1s", backend="docker")
    moment = at(real, "1s", backend="sim")
    assert moment.observation is not None
    assert not moment.is_compared
    assert len(at(real, None, backend="docker").events) == len(records_of(recorded).events)


def said(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout


def test_the_command_line_prints_nodes_logs_links_and_messages(recorded: Bundle) -> None:
    code, text = said("replay", recorded.path, "--until", "1200ms", "--events")
    assert code == 0, text
    for words in ("n1", "leader", "Logs", "of term 2", "cut: ", "Messages under way", "Exact: "):
        assert words in text
    assert "+1.000000 s  fault 0: cut the leader off from the other nodes" in text
    code, text = said("replay", recorded.path, "--until", "1200ms", "--events", "--json")
    report: dict[str, Any] = json.loads(text)
    assert report["record_ns"] == START_NS + 1_200_000_000
    assert report["difference"] is None
    assert report["events"][-1]["time_ns"] <= report["record_ns"]
    assert set(report["observation"]["nodes"]) == {"n1", "n2", "n3"}


@pytest.mark.parametrize("options", [("--times", "2"), ("--resolve", "never")])
def test_options_that_do_not_go_together_are_refused(recorded: Bundle, options: tuple[str, str]) -> None:
    code, _ = said("replay", recorded.path, "--until", "1s", *options)
    assert code == 2
