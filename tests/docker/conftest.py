"""Tests on a real engine: skipped with a reason where there is none, failed if one is required.

`MCP_CHAOS_REQUIRE_DOCKER=1` (CI sets it) turns every such skip into a failure: a suite that silently skips
what it is there for would pass.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from chaos.errors import InfrastructureError
from chaos.generate import Sampler, draw_plan
from chaos.plan import Plan
from chaos.scenario import load_scenario
from harness import images
from harness.backends import run_on
from harness.backends.warm import run_docker
from harness.clean import connect
from harness.cluster import Progress, RunOptions, RunResult
from harness.labels import Owner, project_filter

HERE = Path(__file__).parent
REQUIRED = os.environ.get("MCP_CHAOS_REQUIRE_DOCKER") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.docker)
            item.add_marker(pytest.mark.timeout(120))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[misc,assignment]
    if REQUIRED and report.skipped and item.get_closest_marker("docker") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"MCP_CHAOS_REQUIRE_DOCKER=1 forbids this skip: {report.longrepr}"
    return report  # type: ignore[return-value]


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A client of the engine, which also has what runs are made from."""
    try:
        client = connect(timeout_s=10)
        images.node_binary()
        images.toxiproxy_binary()
    except InfrastructureError as error:
        pytest.skip(str(error))
    yield client
    client.close()


@pytest.fixture
def ours(engine: docker.DockerClient) -> Callable[[int], list[str]]:
    """What the engine has of a process's runs: containers, networks, volumes."""

    def list_of(pid: int) -> list[str]:
        found: list[dict[str, Any]] = [
            *engine.api.containers(all=True, filters=project_filter()),
            *engine.api.networks(filters=project_filter()),
            *(engine.api.volumes(filters=project_filter())["Volumes"] or []),
        ]
        owners = [(item, Owner.from_labels(item.get("Labels") or {})) for item in found]
        return [str(item.get("Id", item.get("Name"))) for item, owner in owners if owner and owner.pid == pid]

    return list_of


@pytest.fixture(autouse=True)
def nothing_stays(ours: Callable[[int], list[str]]) -> Iterator[None]:
    """Every test, whatever it does, leaves nothing in the engine."""
    yield
    assert ours(os.getpid()) == []


def _plan_of(text: str) -> Plan:
    return draw_plan(load_scenario(f"version: 1\nscenario: docker-test\n{text}", "test.yaml"), Sampler(7))


@pytest.fixture
def plan_of() -> Callable[[str], Plan]:
    """The plan of a scenario's text."""
    return _plan_of


@pytest.fixture
def carry_out(engine: docker.DockerClient) -> Callable[..., RunResult]:
    """Runs a scenario's text on containers."""
    del engine

    def run(text: str, **options: Any) -> RunResult:
        told: list[str] = []
        result = run_on(_plan_of(text), RunOptions(backend="docker", **options), told.append)
        assert told
        return result

    return run


@pytest.fixture
def carry_out_async(engine: docker.DockerClient) -> Callable[..., RunResult]:
    """The same with a callback for each progress event."""
    del engine

    def run(text: str, on_progress: Callable[[Progress], None]) -> RunResult:
        return asyncio.run(run_docker(_plan_of(text).compiled(), RunOptions(backend="docker"), on_progress))

    return run
