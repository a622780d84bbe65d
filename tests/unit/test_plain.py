"""`mcp-chaos check` in plain words: understood as the command itself would, and without what takes long to load."""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chaos.errors import UsageError
from harness import check as harness_check
from harness.check import Asked, Outcome
from harness.commands import plain
from harness.commands.app import app


@pytest.mark.parametrize(
    "line",
    [
        "check history.jsonl",
        "check one.jsonl - two.edn --json",
        "check --model register --format edn --independent h.edn --explain",
        "check h.jsonl --initial 3 --missing '\"\"' --whole --model key-value",
        "check h.jsonl --memory 64MB --time 10 --algorithm zones --model register --model cas-register",
        "check h.jsonl --time 0 --level serializable --model list-append",
    ],
)
def test_plain_words_mean_what_the_command_understands(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    understood: list[tuple[tuple[Path, ...], Asked, bool]] = []

    def note(files: Sequence[Path], asked: Asked) -> Outcome:
        understood.append((tuple(files), asked, "--json" in line))
        raise UsageError("noted")

    monkeypatch.setattr(harness_check, "check_histories", note)
    words = shlex.split(line)
    assert CliRunner().invoke(app, words).exit_code == 2
    read = plain.read(words)
    assert read is not None
    assert [(read.files, Asked(**read.options), read.as_json)] == understood


def test_an_extension_that_is_not_built_is_one_message(tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules["chaos._core"] = None
from harness.cli import main
sys.argv = ["mcp-chaos", "check", {str(tmp_path / "history.jsonl")!r}]
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("mcp-chaos")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "run scenario.yaml",
        "check",
        "check --json",
        "check --help",
        "check h.jsonl --model=register",
        "check h.jsonl --model",
        "check h.jsonl --initial -1",
        "check h.jsonl --time soon",
        "check h.jsonl --time ²",
        "check h.jsonl --explain --html page.html",
        "check --raft trace.jsonl",
        "check --stream h.jsonl",
        "check --models",
        "check -- -h.jsonl",
        "--version check h.jsonl",
    ],
)
def test_all_else_is_for_the_command(line: str) -> None:
    assert plain.read(shlex.split(line)) is None


def test_a_plain_check_does_not_wait_for_what_it_does_not_need(tmp_path: Path) -> None:
    """Typer and Pydantic took longer to load than 100,000 operations to be judged."""
    history = tmp_path / "history.jsonl"
    history.write_text('{"process":0,"type":"invoke","f":"write","value":1}\n')
    program = f"""
import sys
from harness.cli import main
sys.argv = ["mcp-chaos", "check", {str(history)!r}]
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
slow = sorted({{"typer", "click", "pydantic", "rich", "hypothesis", "jinja2", "yaml"}} & set(sys.modules))
assert not slow, slow
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
