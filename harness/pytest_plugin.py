"""The pytest plugin: scenario files are tests, and the fixture `chaos_cluster` is a cluster to drive by hand.

pytest loads this module in every project of an environment that has mcp-chaos. So it imports nothing of ours before
there is a scenario file or a test that asks for the fixture, and looks only into YAML files that may be scenarios.
"""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from harness.hand import ClusterByHand
    from harness.hunt.tasks import Family
    from harness.pytest_scenario import Examined, Wishes

_BACKENDS: Final = ("sim", "docker")
_EXAMPLES: Final = {"sim": 100, "docker": 3}
_MOST_BYTES: Final = 1 << 20
_BEGINS: Final = re.compile(rb"^scenario[ \t]*:", re.MULTILINE)
_MAY_BE: Final = re.compile(
    rb"""^(?:"scenario"|'scenario')[ \t]*:   # a quoted key at the beginning of a line
    |\A(?:[ \t]*(?:\#.*)?\r?\n)*[ \t]*\{(?:.|\n)*\bscenario\b   # a mapping in braces""",
    re.MULTILINE | re.VERBOSE,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options; each has a counterpart in the ini file."""
    group = parser.getgroup("mcp-chaos", "scenarios as tests (mcp-chaos)")
    group.addoption(
        "--chaos-backend",
        choices=_BACKENDS,
        help="Where scenarios run: `sim`, simulated (the default), or `docker`, on real containers.",
    )
    group.addoption(
        "--chaos-examples",
        type=_at_least(1),
        metavar="N",
        help="How many members are drawn of each scenario that leaves values or its seed open: 100, or 3 on docker.",
    )
    group.addoption(
        "--chaos-seed",
        type=_at_least(0),
        metavar="N",
        help="Draws other members. Without it they follow from the scenario's name, so that a run repeats.",
    )
    group.addoption(
        "--chaos-plant",
        action="append",
        metavar="NAME",
        help="Run nodes with this planted bug (see `mcp-chaos plants`). May be repeated.",
    )
    group.addoption(
        "--chaos-out", metavar="DIR", help="Where bundles of failures are written: chaos-runs by default."
    )
    parser.addini("chaos_backend", "as --chaos-backend", default="")
    parser.addini("chaos_examples", "as --chaos-examples", default="")
    parser.addini("chaos_seed", "as --chaos-seed", default="")
    parser.addini("chaos_plants", "as --chaos-plant, separated by blanks", type="args", default=[])
    parser.addini("chaos_out", "as --chaos-out, from the ini file's folder", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Refuses planted bugs that there are not, and a place for bundles that cannot be one."""
    plants = _plants(config)
    if plants:  # else nothing of ours is imported
        from chaos import _core  # noqa: PLC0415

        known = sorted(name for name, *_ in _core.PLANTS)
        for plant in plants:
            if plant not in known:
                option = "--chaos-plant" if config.getoption("chaos_plant") else "chaos_plants"
                raise pytest.UsageError(
                    f"{option}: found {plant!r}, expected a planted bug: {', '.join(known)}"
                )
    if config.getoption("chaos_out") or config.getini("chaos_out"):
        out = _out(config)
        there = next(path for path in (out, *out.parents) if path.exists())
        if not there.is_dir():
            option = "--chaos-out" if config.getoption("chaos_out") else "chaos_out"
            raise pytest.UsageError(
                f"{option}: found {there}, a file; expected a directory, or a new one's name"
            )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A YAML file with a top-level `scenario:` that holds a name is one of ours; all others are left alone."""
    if file_path.suffix in {".yaml", ".yml"} and _is_scenario(file_path):
        return ScenarioFile.from_parent(parent, path=file_path)
    return None


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """What is about to run, where there is something of ours."""
    count = sum(isinstance(item, ScenarioItem) for item in items)
    if not count:
        return []
    wishes = _wishes(config)
    plants = f", planted: {', '.join(wishes.options.plants)}" if wishes.options.plants else ""
    drawn = (
        "by the scenario's name (--chaos-seed for others)"
        if wishes.seed is None
        else f"by seed {wishes.seed}"
    )
    scenarios = f"{count} scenario{'s' * (count != 1)}"
    return [
        f"mcp-chaos: {scenarios} on {wishes.options.backend}, up to {wishes.examples} examples each, "
        f"drawn {drawn}{plants}"
    ]


class ScenarioFile(pytest.File):
    """A scenario file: one test."""

    def collect(self) -> Iterable[pytest.Item]:
        """The scenario. A mistake in it is an error of collection, with file, line, column and what was expected."""
        from chaos.errors import ChaosError  # noqa: PLC0415
        from chaos.scenario import load_scenario  # noqa: PLC0415
        from harness.hunt.tasks import Family  # noqa: PLC0415
        from harness.run import read_scenario_text  # noqa: PLC0415

        wishes = _wishes(self.config)
        source = self.nodeid or str(self.path)
        try:
            text = read_scenario_text(self.path)
            scenario = load_scenario(text, source)
        except ChaosError as error:
            raise self.CollectError(str(error).replace(f"{self.path}:", f"{source}:")) from None
        portable_on = None if wishes.options.backend == "sim" else wishes.options.backend
        family = Family(scenario.name, source, text, portable_on)
        item: pytest.Item = ScenarioItem.from_parent(self, name=scenario.name, family=family)
        for tag in dict.fromkeys(scenario.tags):
            _mark(item, tag, "a tag of scenarios")
        if wishes.options.backend == "docker":
            _mark(item, "docker", "needs a Docker engine")
        return [item]


class ScenarioItem(pytest.Item):
    """A scenario as a test. It is carried out as its own set-up: so what the harness fails at is an error, and what
    the system under test does wrong is a failure.
    """

    def __init__(self, *, family: "Family", **arguments: Any) -> None:
        super().__init__(**arguments)
        self._family = family
        self._examined: Examined | None = None

    def setup(self) -> None:
        """Carries out the scenario: the author's examples, what failed before, then members that are drawn."""
        from chaos.errors import ChaosError, UnsupportedError  # noqa: PLC0415
        from harness.pytest_scenario import examine  # noqa: PLC0415

        wishes = _wishes(self.config)
        try:
            if wishes.options.backend == "docker":
                _require_engine()
            self._examined = examine(self._family, wishes)
        except UnsupportedError as error:  # what is not portable is no test of this backend
            pytest.skip(str(error))
        except ChaosError as error:  # it speaks for itself, without a traceback; in set-up this is an error
            pytest.fail(str(error), pytrace=False)
        self.user_properties += self._examined.properties

    def runtest(self) -> None:
        """Fails for what was found."""
        assert self._examined is not None
        words = self._examined.words()
        if words:
            pytest.fail(words, pytrace=False)

    def teardown(self) -> None:
        """Lets go of what was found."""
        self._examined = None

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where it stands, for reports."""
        return self.path, None, f"scenario {self.name}"


_CLUSTERS: Final = pytest.StashKey[list["ClusterByHand"]]()


@pytest.fixture
def chaos_cluster(request: pytest.FixtureRequest) -> "Callable[..., ClusterByHand]":
    """Makes clusters in simulation that the test drives by hand: ``chaos_cluster(nodes=3)``.

    It takes what `harness.hand.ClusterByHand` takes; planted bugs and the seed come from the command line unless they
    are given. After the test each is healed and judged: a violation that it did not `expect` fails the test.
    """
    from harness.hand import ClusterByHand  # noqa: PLC0415

    wishes = _wishes(request.config)
    if wishes.options.backend != "sim":
        pytest.skip(
            "chaos_cluster drives the simulator only; `pytest --chaos-backend docker` runs scenario files"
        )
    clusters = request.node.stash.setdefault(_CLUSTERS, [])
    name = re.sub(r"[^a-z0-9_-]+", "-", request.node.name.lower()).strip("-_")[:80]

    def make(**arguments: Any) -> "ClusterByHand":
        defaults: dict[str, Any] = {
            "plants": wishes.options.plants,
            "seed": wishes.seed or 0,
            "out": wishes.options.out,
            "name": name or "by-hand",
        }
        cluster = ClusterByHand(**(defaults | arguments))
        clusters.append(cluster)
        return cluster

    return make


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """After a test that drove clusters by hand, these are judged: as a part of the test, so that it fails."""
    result = yield
    for cluster in item.stash.get(_CLUSTERS, []):
        signature = cluster.signature
        if signature is not None:
            item.user_properties.append(("signature", str(signature)))
        _check(cluster)
    return result


def _check(cluster: "ClusterByHand") -> None:
    from harness.hunt.search import FoundError  # noqa: PLC0415

    try:
        cluster.check()
    except (AssertionError, FoundError) as error:
        pytest.fail(str(error), pytrace=False)


def _is_scenario(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES)
    except OSError:
        return False
    begins = _BEGINS.search(content) is not None
    if not begins and not (b"scenario" in content and _MAY_BE.search(content)):
        return False
    from chaos.document import read  # noqa: PLC0415
    from chaos.errors import ScenarioError  # noqa: PLC0415

    try:
        data = read(content.decode("utf-8"), str(path)).data
    except (ScenarioError, UnicodeDecodeError):
        return begins  # its author will want to know
    # Other programs have such a key too: Ansible Molecule's holds a mapping.
    return isinstance(data, dict) and "scenario" in data and not isinstance(data["scenario"], dict)


def _mark(item: pytest.Item, name: str, about: str) -> None:
    """Marks the item, and makes the marker known, as `--strict-markers` wants it."""
    known = {line.split(":")[0].split("(")[0].strip() for line in item.config.getini("markers")}
    if name not in known:
        item.config.addinivalue_line("markers", f"{name}: {about}")
    item.add_marker(name)


_WISHES: Final = pytest.StashKey["Wishes"]()


def _wishes(config: pytest.Config) -> "Wishes":
    """The options, or their counterparts in the ini file. Raises pytest.UsageError for a wrong one there."""
    if _WISHES in config.stash:
        return config.stash[_WISHES]
    from harness.cluster import RunOptions  # noqa: PLC0415
    from harness.pytest_scenario import Wishes  # noqa: PLC0415

    backend = config.getoption("chaos_backend") or config.getini("chaos_backend") or "sim"
    if backend not in _BACKENDS:
        raise pytest.UsageError(f"chaos_backend: found {backend!r}, expected {' or '.join(_BACKENDS)}")
    wishes = Wishes(
        options=RunOptions(
            backend=backend,
            plants=_plants(config),
            out=_out(config),
        ),
        examples=_number(config, "chaos_examples", 1) or _EXAMPLES[backend],
        seed=_number(config, "chaos_seed", 0),
    )
    config.stash[_WISHES] = wishes
    return wishes


def _plants(config: pytest.Config) -> tuple[str, ...]:
    return tuple(config.getoption("chaos_plant") or config.getini("chaos_plants"))


def _out(config: pytest.Config) -> Path:
    given = config.getoption("chaos_out")
    if given:
        return Path(config.invocation_params.dir, given)
    written = config.getini("chaos_out")
    return Path(config.rootpath, written) if written else Path(config.invocation_params.dir, "chaos-runs")


def _number(config: pytest.Config, name: str, least: int) -> int | None:
    given: int | None = config.getoption(name)
    written = config.getini(name)
    if given is not None or not written:
        return given
    try:
        return _at_least(least)(written)
    except argparse.ArgumentTypeError as error:
        raise pytest.UsageError(f"{name}: {error}") from None


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,15}", text, re.ASCII) or int(text) < least:
            raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from {least} on")
        return int(text)

    return parse


def _require_engine() -> None:
    """Skips where no Docker engine answers; with MCP_CHAOS_REQUIRE_DOCKER=1 that is an error."""
    import os  # noqa: PLC0415

    from chaos.errors import InfrastructureError  # noqa: PLC0415
    from harness.clean import connect  # noqa: PLC0415

    try:
        connect(timeout_s=10).close()
    except InfrastructureError as error:
        if os.environ.get("MCP_CHAOS_REQUIRE_DOCKER") == "1":
            raise
        pytest.skip(str(error))
