"""A recorded simulation comes back to the last event, in another process too; and a difference is shown."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"


def mcp_chaos(*arguments: str | Path, expect: int) -> str:
    command = [sys.executable, "-m", "harness.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == expect, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    out = mcp_chaos(
        "run", SCENARIOS / "smoke" / "isolated-leader.yaml",
        "--plant", "stale-read", "--out", tmp_path / "runs", "--json", expect=1,
    )  # fmt: skip
    return Path(json.loads(out)["runs"][0]["bundle"])


def test_a_replay_in_another_process_is_exact(recorded: Path, tmp_path: Path) -> None:
    report = json.loads(mcp_chaos("replay", recorded, "--out", tmp_path / "again", "--json", expect=1))
    assert report["exact"]
    assert report["difference"] is None
    assert report["failed_again"] == 1
    manifest = json.loads((recorded / "manifest.json").read_text())
    assert report["runs"][0]["trace_hash"] == manifest["trace_hash"]


def test_the_bundles_scenario_is_runnable_by_itself_and_gives_the_same_run(
    recorded: Path, tmp_path: Path
) -> None:
    out = mcp_chaos(
        "run", recorded / "scenario.yaml",
        "--plant", "stale-read", "--out", tmp_path / "runs", "--json", expect=1,
    )  # fmt: skip
    manifest = json.loads((recorded / "manifest.json").read_text())
    assert json.loads(out)["runs"][0]["plan_id"] == manifest["plan_id"]
    assert json.loads(out)["runs"][0]["trace_hash"] == manifest["trace_hash"]


def test_a_replay_that_differs_says_where(recorded: Path, tmp_path: Path) -> None:
    """As if another build had recorded it: the plant is taken out of the manifest."""
    manifest = json.loads((recorded / "manifest.json").read_text()) | {"plants": []}
    (recorded / "manifest.json").write_text(json.dumps(manifest))
    report = json.loads(mcp_chaos("replay", recorded, "--out", tmp_path / "again", "--json", expect=4))
    assert " s: " in report["difference"]
    assert "recorded" in report["difference"]


def test_a_bundle_that_is_not_whole_is_refused(recorded: Path, tmp_path: Path) -> None:
    (recorded / "history.jsonl").unlink()
    mcp_chaos("replay", recorded, "--out", tmp_path / "again", expect=2)
