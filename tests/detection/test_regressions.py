"""Shrunk failures of planted bugs: each still fails with its bug, in the same way, and a clean node passes."""

import re
from pathlib import Path

import pytest

from chaos._core import PLANTS
from chaos.generate import Sampler, draw_plan
from chaos.scenario import load_scenario
from chaos.verdict import Verdict
from harness.cluster import RunOptions
from harness.trial import try_plan

FILES = sorted((Path(__file__).resolve().parents[2] / "scenarios" / "regressions").glob("*.yaml"))


def planted(path: Path) -> str:
    """The bug that the file's own comment names."""
    named = re.search(r"^# mcp-chaos run FILE --plant (\S+)$", path.read_text(), re.MULTILINE)
    assert named, f"{path} does not say with which planted bug it fails"
    return named[1]


def test_each_names_a_planted_bug() -> None:
    assert FILES
    assert {planted(path) for path in FILES} <= {name for name, *_ in PLANTS}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_fails_with_its_bug_alone(path: Path) -> None:
    plan = draw_plan(load_scenario(path.read_text(), str(path)), Sampler(0))
    assert plan.scenario == path.stem
    failing = try_plan(plan, RunOptions(plants=(planted(path),)))
    assert failing.signature is not None
    assert failing.signature.shape == path.stem
    assert try_plan(plan, RunOptions()).verdict.verdict is Verdict.VALID
