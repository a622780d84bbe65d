"""Campaigns as a user runs them: what they find, that nothing is lost, and that workers change nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from chaos.plan import Plan

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
ISOLATED = SCENARIOS / "consensus" / "isolated-leader.yaml"
PORTABLE = SCENARIOS / "consensus" / "portable-mix.yaml"
QUIET = """
version: 1
scenario: quiet
workload: {duration: 2s, keys: {between: [1, 9]}}
heal: 1s
checks: [linearizable, raft]
"""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "harness.cli", "hunt", *map(str, arguments), "--json"]


def hunt(*arguments: object) -> dict[str, Any]:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["exit_code"] == done.returncode
    return report


def begin(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, error = process.communicate(timeout=120)
    assert "Traceback" not in error, error
    report: dict[str, Any] = json.loads(out)
    return report


def wait_for(condition: Any, what: str) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail(f"waited a minute for {what}")


def plans_under_way(state: Path) -> list[Path]:
    return list((state / "workers").glob("worker-*.json"))


def batches_done(state: Path) -> list[int]:
    """Of the first family."""
    if not (state / "state.json").exists():
        return []
    done: list[int] = json.loads((state / "state.json").read_text())["families"][0]["done"]
    return done


def findings(report: dict[str, Any]) -> Any:
    """What may not hang on the number of workers, nor on chance."""
    timeless = {"signature", "reason", "scenario", "count"}
    return (
        report["examples"],
        report["states"],
        report["simulated_s"],
        [{key: failure[key] for key in timeless} for failure in report["failures"]],
        [(family["name"], family["examples"], family["failed"]) for family in report["scenarios"]],
    )


@pytest.mark.slow
def test_a_planted_bug_is_found_shrunk_and_kept(tmp_path: Path) -> None:
    report = hunt(ISOLATED, "--examples", 25, "--plant", "stale-read", "--state", tmp_path / "state")
    assert report["exit_code"] == 1, report
    failure = report["failures"][0]
    assert failure["check"] == "linearizable"
    assert failure["count"] > 5
    assert (failure["steps"], failure["nodes"]) == (1, 3)
    assert failure["operations"] <= 20
    run = [sys.executable, "-m", "harness.cli"]
    for arguments, exit_code in [
        (["replay", failure["bundle"]], 1),
        (["replay", failure["neighbour"]], 0),
        (["run", failure["candidate"], "--plant", "stale-read"], 1),
        (["run", failure["candidate"]], 0),
    ]:
        done = subprocess.run(
            [*run, *arguments, "--out", str(tmp_path / "runs")], capture_output=True, check=False
        )
        assert done.returncode == exit_code, (arguments, done.stderr)
    assert json.loads((tmp_path / "state" / "campaign.json").read_text()) == report


@pytest.mark.slow
def test_workers_change_nothing_but_the_time(tmp_path: Path) -> None:
    reports = [
        hunt(
            ISOLATED, PORTABLE, "--examples", 24, "--batch", 8, "--plant", "ack-before-commit",
            "--workers", workers, "--shrink-time", "1s", "--state", tmp_path / str(workers),
        )
        for workers in (1, 2)
    ]  # fmt: skip
    assert findings(reports[0]) == findings(reports[1])
    assert reports[0]["failures"]


def test_a_clean_campaign_says_so_and_the_next_one_draws_other_plans(tmp_path: Path) -> None:
    scenario = tmp_path / "quiet.yaml"
    scenario.write_text(QUIET)
    state = tmp_path / "state"
    first = hunt(scenario, "--examples", 10, "--workers", 1, "--state", state)
    assert (first["exit_code"], first["finished"], first["failures"]) == (0, True, [])
    assert first["examples"] == 10
    assert first["states"] > 1
    assert batches_done(state) == [0]
    hunt(scenario, "--examples", 10, "--workers", 1, "--state", state)
    assert batches_done(state) == [1]
    hunt(scenario, "--examples", 10, "--workers", 1, "--state", state, "--fresh")
    assert batches_done(state) == [0]


def test_a_goal_that_is_never_reached_is_no_pass(tmp_path: Path) -> None:
    scenario = tmp_path / "quiet.yaml"
    scenario.write_text(QUIET + "sometimes: [snapshot_installed]\n")
    report = hunt(scenario, "--examples", 5, "--workers", 1, "--state", tmp_path / "state")
    assert report["exit_code"] == 3, report
    assert report["scenarios"][0]["goals_missed"] == ["snapshot_installed"]


def test_ctrl_c_loses_nothing_and_the_same_command_goes_on(tmp_path: Path) -> None:
    state = tmp_path / "state"
    arguments = (PORTABLE, "--examples", 60, "--batch", 10, "--workers", 1, "--state", state)
    process = begin(*arguments)
    wait_for(lambda: batches_done(state), "the first batch")
    os.killpg(process.pid, signal.SIGINT)
    interrupted = end(process)
    assert (interrupted["exit_code"], interrupted["finished"]) == (130, False)
    assert 8 <= interrupted["examples"] < 60
    resumed = hunt(*arguments)
    assert (resumed["exit_code"], resumed["finished"]) == (0, True)
    # At most the batch that was interrupted is done again; Hypothesis draws a plan twice now and then.
    assert 50 <= resumed["examples"] < 70
    assert resumed["seconds"] > interrupted["seconds"]


def test_a_campaign_that_was_killed_goes_on_and_leaves_no_worker(tmp_path: Path) -> None:
    state = tmp_path / "state"
    arguments = (PORTABLE, "--examples", 30, "--batch", 10, "--workers", 1, "--state", state)
    process = begin(*arguments)
    wait_for(lambda: plans_under_way(state), "a worker")
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    psutil.wait_procs(workers, timeout=30)
    assert not [worker for worker in workers if worker.is_running()]
    assert hunt(*arguments)["exit_code"] == 0


def test_a_worker_that_dies_is_reported_and_its_plan_kept(tmp_path: Path) -> None:
    state = tmp_path / "state"
    process = begin(PORTABLE, "--examples", 30, "--batch", 10, "--workers", 1, "--state", state)
    wait_for(lambda: plans_under_way(state), "a plan under way")
    worker = next(
        child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())
    )
    worker.send_signal(signal.SIGSEGV)
    report = end(process)
    assert report["exit_code"] == 4, report
    crash = report["crashes"][0]
    assert "worker 1 was ended by SIGSEGV" in crash["reason"]
    assert Plan.from_json(Path(crash["plan"]).read_text()).scenario == "portable-mix"
    assert 15 <= report["examples"] <= 30, "the other batches were run"


def test_a_directory_belongs_to_one_campaign(tmp_path: Path) -> None:
    state = tmp_path / "state"
    process = begin(PORTABLE, "--time", "1m", "--workers", 1, "--state", state)
    wait_for(lambda: plans_under_way(state), "the first campaign")
    second = hunt(PORTABLE, "--examples", 5, "--state", state)
    assert second["exit_code"] == 2
    assert "another hunt is using it" in second["error"]
    os.killpg(process.pid, signal.SIGINT)
    assert end(process)["exit_code"] == 130


def test_mistakes_are_told_before_anything_starts(tmp_path: Path) -> None:
    scenario = tmp_path / "quiet.yaml"
    scenario.write_text(QUIET)
    twin = tmp_path / "twin.yaml"
    twin.write_text(QUIET)
    for arguments, words in [
        ((scenario, twin), "the same name, quiet"),
        ((scenario, "--time", "soon"), "--time soon"),
        ((scenario, "--plant", "gremlin"), "no such planted bug"),
        ((scenario, "--backend", "moon"), "expected sim or docker"),
        ((scenario, "--database", "ftp:x"), "ftp:x"),
        ((tmp_path / "none.yaml",), "none.yaml:1:1"),
    ]:
        report = hunt(*arguments, "--state", tmp_path / "state")
        assert report["exit_code"] == 2, arguments
        assert words in report["error"]
