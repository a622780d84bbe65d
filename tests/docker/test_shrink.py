"""What real containers showed is shrunk: in simulation, where it is found there too, or run by run."""

from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from chaos.plan import Plan
from harness.cluster import RunOptions
from harness.run import run_plan
from harness.shrink_bundle import shrink_bundle
from harness.store import Bundle, open_bundle

CUT_LEADER = """
cluster: {nodes: 3}
workload: {clients: 3, rate: 60/s, duration: 4s, keys: 1}
heal: 4s
faults:
  - {at: 500ms, for: 3s, partition: {isolate: leader}}
  - {at: 700ms, for: 100ms, latency: {node: leader, delay: 10ms}, optional: true}
"""


@pytest.fixture
def found(engine: docker.DockerClient, plan_of: Callable[[str], Plan], tmp_path: Path) -> Bundle:
    """A stale read, as containers showed it."""
    del engine
    options = RunOptions(backend="docker", plants=("stale-read",), out=tmp_path)
    bundle = run_plan(plan_of(CUT_LEADER), options, lambda _: None).bundle
    assert bundle.verdict.exit_code == 1
    return bundle


def test_a_failure_of_containers_is_shrunk_in_simulation(found: Bundle, tmp_path: Path) -> None:
    options = RunOptions(plants=("stale-read",), out=tmp_path)
    report = shrink_bundle(
        found, options, backend=None, seconds=60, most_trials=3, candidate=None, progress=lambda _: None
    )
    assert report.backend == "sim"
    assert report.exit_code == 1
    assert report.kept is not None
    assert (report.kept.after.steps, report.kept.after.nodes) == (1, 3)
    assert open_bundle(report.kept.bundle).manifest.backend == "sim"


def test_a_failure_of_containers_is_shrunk_run_by_run(found: Bundle, tmp_path: Path) -> None:
    """In a little time only a little is done; but what is kept has failed, on containers."""
    options = RunOptions(plants=("stale-read",), out=tmp_path)
    report = shrink_bundle(
        found, options, backend="docker", seconds=40, most_trials=2, candidate=None, progress=lambda _: None
    )
    assert report.backend == "docker"
    assert report.kept is not None
    assert 1 <= report.kept.after.steps <= report.before.steps
    assert report.trials >= 2
    assert report.rates is not None
    assert all(rate.failed >= 1 for rate in report.rates)
    shrunk = open_bundle(report.kept.bundle)
    assert shrunk.manifest.backend == "docker"
    assert shrunk.verdict.exit_code == 1
