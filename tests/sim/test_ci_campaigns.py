"""Campaigns of hours: what they write, and that they go on from what is there."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "ci" / script), "--workers", "1", *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    )


def test_a_search_for_planted_bugs_goes_on_from_its_results(tmp_path: Path) -> None:
    results, page = tmp_path / "results.jsonl", tmp_path / "page.md"
    search = [
        "detection.py",
        "--plans",
        60,
        "--shrink",
        0,
        "--way",
        "both",
        "--results",
        results,
        "--out",
        page,
    ]
    first = run(*search, "--seeds", 1, "stale-read")
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("seed  0") == 2, "once random, once guided"
    results.write_text(results.read_text() + '{"basis": "cut')
    again = run(*search, "--seeds", 2, "stale-read")
    assert "seed  0" not in again.stdout
    assert again.stdout.count("seed  1") == 2
    text = page.read_text()
    assert "| `stale-read` | read | 2 of 2 |" in text
    assert "## What guidance is worth" in text
    assert text.endswith(".\n")


def test_a_search_says_what_it_missed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    done = run("detection.py", "--quick", "--seeds", 1, "--plans", 1, "--out", page, "corrupt-frame-accepted")
    assert done.returncode == 1, done.stderr
    assert "1 of 1 searches ended without it, after 1 plans or more" in page.read_text()


def test_a_clean_run_counts_plans_and_goals_and_goes_on_from_its_results(tmp_path: Path) -> None:
    results, page = tmp_path / "results.jsonl", tmp_path / "page.md"
    done = run("clean_run.py", "--plans", 30, "--results", results, "--out", page)
    assert done.returncode in {0, 1}, done.stderr  # few plans reach every goal
    assert "0 failed or showed nothing" in page.read_text()
    assert "| catching-up |" in page.read_text()
    again = run("clean_run.py", "--plans", 30, "--results", results, "--out", page)
    assert again.stdout == "", "all of it is done"
    assert again.returncode == done.returncode


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_nothing_goes_on_when_a_campaign_has_ended(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    results = tmp_path / "results.jsonl"
    script = [sys.executable, ROOT / "ci" / "clean_run.py", "--plans", "500000", "--workers", "2"]
    running = subprocess.Popen(
        [*script, "--results", results, "--out", tmp_path / "page.md"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    while running.poll() is None and not results.exists():
        time.sleep(0.1)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    assert len(children) >= 2
    running.send_signal(sent)
    _, err = running.communicate(timeout=30)
    assert (running.returncode, "Traceback" in err) == (code, False), err
    until_s = time.monotonic() + 10
    while any(Path(f"/proc/{child}/exe").exists() for child in children):
        assert time.monotonic() < until_s, "its processes went on"
        time.sleep(0.05)
    assert not (tmp_path / "page.md").exists()
