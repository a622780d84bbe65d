"""A failure is shrunk through the command: what is left is small, fails by itself, and its neighbour passes."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from chaos.errors import UsageError
from chaos.generate import Sampler, draw_plan
from chaos.plan import Plan
from chaos.reduce import cost
from chaos.scenario import load_scenario
from chaos.signature import Signature
from harness.account import print_account, shown_path
from harness.backends import run_on
from harness.cluster import RunOptions, RunResult, carries_out
from harness.commands.app import app
from harness.repeat import Rate, shrink_by_repeating
from harness.run import run_plan
from harness.shrink import seeds_that_show, shrink_on_sim
from harness.shrink_bundle import difference_words, shrink_bundle
from harness.store import Bundle, open_bundle
from harness.trial import try_plan

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
RANDOM_MIX = SCENARIOS / "consensus" / "random-mix.yaml"
ISOLATED_LEADER = SCENARIOS / "smoke" / "isolated-leader.yaml"
POWER_LOSS = SCENARIOS / "consensus" / "power-loss-of-all.yaml"
STALE = RunOptions(plants=("stale-read",))


def nobody(_text: str) -> None:
    """Progress that nobody watches."""


def mcp_chaos(*arguments: str | Path, expect: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "harness.cli", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == expect, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def drawn(path: Path, seed: int) -> Plan:
    return draw_plan(load_scenario(path.read_text(), str(path)), Sampler(seed))


def failing(out: Path, path: Path = ISOLATED_LEADER, options: RunOptions = STALE) -> Bundle:
    """The bundle of a run with a planted bug."""
    options = RunOptions(plants=options.plants, out=out)
    return run_plan(drawn(path, 0), options, nobody).bundle


def shown(plan: Plan, plants: tuple[str, ...] = STALE.plants) -> Signature | None:
    return try_plan(plan, RunOptions(plants=plants)).signature


@pytest.mark.slow
def test_a_forgotten_vote_is_shrunk_to_a_scenario_that_fails_by_itself(tmp_path: Path) -> None:
    found = mcp_chaos(
        "run", RANDOM_MIX, "--plant", "vote-not-durable", "--seed", "5", "--out", tmp_path / "runs", expect=1
    )
    bundle = found["runs"][0]["bundle"]
    report = mcp_chaos("shrink", bundle, "--out", tmp_path / "shrunk", expect=1)

    assert report["signature"].startswith("monotonic/")
    assert report["backend"] == "sim"
    assert report["finished"]
    assert report["before"]["steps"] == 7
    assert report["before"]["nodes"] == 5
    assert 1 <= report["after"]["steps"] <= 3
    assert report["after"]["nodes"] == 3
    assert report["after"]["operations"] <= 10

    replayed = mcp_chaos("replay", report["bundle"], "--out", tmp_path / "again", expect=1)
    assert replayed["exact"]
    assert replayed["difference"] is None

    neighbour = open_bundle(Path(report["neighbour"]))
    assert neighbour.verdict.exit_code == 0
    assert neighbour.manifest.plan_id != report["plan_id"]

    candidate = Path(report["candidate"])
    assert candidate.parent == tmp_path / "shrunk" / "regressions"
    assert report["signature"] in candidate.read_text()
    again = mcp_chaos("run", candidate, "--plant", "vote-not-durable", "--out", tmp_path / "again", expect=1)
    assert again["runs"][0]["trace_hash"] == open_bundle(Path(report["bundle"])).manifest.trace_hash
    mcp_chaos("run", candidate, "--out", tmp_path / "again", expect=0)


def test_a_stale_read_ends_as_a_handful_of_operations(tmp_path: Path) -> None:
    bundle = failing(tmp_path)
    report = shrink_bundle(
        bundle, STALE, backend=None, seconds=60, most_trials=1, candidate=tmp_path / "c.yaml", progress=nobody
    )
    assert report.kept is not None
    assert (report.kept.after.steps, report.kept.after.nodes) == (1, 3)
    assert report.kept.after.operations <= 10
    assert report.kept.candidate == tmp_path / "c.yaml"


def test_what_is_different_in_the_neighbour_is_told() -> None:
    plan = drawn(ISOLATED_LEADER, 0)
    step = {**plan.document["faults"][0], "for": "1990ms"}
    moved = plan.with_document({**plan.document, "faults": [step]})
    assert difference_words(plan, moved) == "faults[0].for is 1990ms instead of 6s"
    without = plan.with_document({**plan.document, "faults": []})
    assert difference_words(plan, without) == (
        "without at 2s, for 6s: cut the leader off from the other nodes"
    )


def test_a_bundle_that_violated_nothing_is_refused(tmp_path: Path) -> None:
    bundle = failing(tmp_path, options=RunOptions())
    assert "violated nothing" in mcp_chaos("shrink", bundle.path, "--out", tmp_path, expect=2)["error"]


def test_a_failure_that_does_not_come_again_is_unknown(tmp_path: Path) -> None:
    """As if a later build had mended it: the plant is taken out of the manifest."""
    bundle = failing(tmp_path)
    manifest = json.loads((bundle.path / "manifest.json").read_text()) | {"plants": []}
    (bundle.path / "manifest.json").write_text(json.dumps(manifest))
    report = mcp_chaos("shrink", bundle.path, "--out", tmp_path / "shrunk", expect=3)
    assert report["bundle"] is None
    assert not (tmp_path / "shrunk").exists()


def test_an_earlier_candidate_is_not_written_over(tmp_path: Path) -> None:
    def shrunk(seconds: float) -> Path:
        report = shrink_bundle(
            bundle, options, backend=None, seconds=seconds, most_trials=1, candidate=None, progress=nobody
        )
        assert report.kept is not None
        return report.kept.candidate

    bundle = failing(tmp_path)
    options = RunOptions(plants=STALE.plants, out=tmp_path)
    first = shrunk(60)
    assert shrunk(60) == first, "the same text again"
    first.write_text("# somebody's work\n")
    assert shrunk(60) == first.with_name(f"{first.stem}-2.yaml")
    assert first.read_text() == "# somebody's work\n"


@pytest.mark.parametrize(
    "work",
    ["# somebody's work\n", "version: 1\nscenario: mine\nworkload: {duration: 1s}\n", "\udcff"],
)
def test_a_named_file_that_is_no_candidate_is_refused_before_anything_is_tried(
    tmp_path: Path, work: str
) -> None:
    """It was once written over without a word."""
    bundle = failing(tmp_path / "runs")
    taken = tmp_path / "mine.yaml"
    taken.write_bytes(work.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=r"mine\.yaml: this file exists and is no scenario with the tag"):
        shrunk_to(taken, bundle)
    assert taken.read_bytes() == work.encode("utf-8", "surrogateescape")


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_tried(tmp_path: Path) -> None:
    bundle = failing(tmp_path / "runs")
    (tmp_path / "file").write_text("")
    for nowhere in (
        tmp_path / "file" / "c.yaml",
        tmp_path / "file" / "deep" / "c.yaml",
        tmp_path / ("x" * 300),
    ):
        with pytest.raises(UsageError, match="cannot be written"):
            shrunk_to(nowhere, bundle)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "runs"]


def shrunk_to(candidate: Path, bundle: Bundle) -> None:
    """Shrinks with a progress that nobody may be told."""

    def never(text: str) -> None:
        raise AssertionError(text)

    shrink_bundle(bundle, STALE, backend=None, seconds=60, most_trials=1, candidate=candidate, progress=never)


def test_an_earlier_candidate_that_is_named_is_written_over_and_the_report_says_what_to_do_next(
    tmp_path: Path,
) -> None:
    bundle = failing(tmp_path / "runs")
    candidate = tmp_path / "below" / "c.yaml"
    texts = []
    for _ in range(2):
        done = CliRunner().invoke(
            app,
            ["shrink", str(bundle.path), "--out", str(tmp_path), "--candidate", str(candidate)],
            env={"COLUMNS": "1000"},
        )
        assert done.exit_code == 1, done.output
        texts.append(candidate.read_text())
        candidate.write_text(f"{texts[-1]}# edited\n")
    assert texts[0] == texts[1]
    told = dict(line.split(":", 1) for line in done.stdout.splitlines() if re.match(r"[A-Z][a-z]+: ", line))
    kept, neighbour = told["Bundle"].strip(), told["Neighbour"].split()[0]
    assert told["Diff"].strip() == f"mcp-chaos diff {kept} {neighbour}"
    assert told["Explain"].strip() == f"mcp-chaos explain {kept}"


def test_the_account_of_a_violation_ends_in_how_to_have_it_explained_and_counts_one_as_one(
    tmp_path: Path,
) -> None:
    def told(bundle: Bundle) -> str:
        text = io.StringIO()
        print_account(bundle, Console(file=text, width=1000))
        return text.getvalue()

    bundle = failing(tmp_path)
    assert told(bundle).splitlines()[-1] == f"Explain: mcp-chaos explain {shown_path(bundle.path)}"
    plan = drawn(ISOLATED_LEADER, 0)
    workload = plan.document["workload"] | {"clients": 1, "keys": 1}
    single = plan.with_document(plan.document | {"workload": workload})
    clean = told(run_plan(single, RunOptions(out=tmp_path), nobody).bundle)
    assert "Explain:" not in clean
    assert re.search(r"^\d nodes, 1 client, 1 key, ", clean, re.MULTILINE)


def interrupting_after(count: int) -> Callable[[str], None]:
    """Progress at which somebody presses Ctrl-C."""
    left = iter(range(count - 1))

    def progress(_text: str) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return progress


def test_an_interrupted_shrink_keeps_the_best_so_far(tmp_path: Path) -> None:
    bundle = failing(tmp_path)
    options = RunOptions(plants=STALE.plants, out=tmp_path)
    report = shrink_bundle(
        bundle,
        options,
        backend=None,
        seconds=60,
        most_trials=1,
        candidate=None,
        progress=interrupting_after(3),
    )
    assert report.exit_code == 130
    assert report.kept is not None
    assert report.kept.after.nodes == 3
    assert open_bundle(report.kept.bundle).verdict.exit_code == 1


def test_the_time_limit_holds_and_the_plan_then_is_the_best_so_far() -> None:
    plan = drawn(ISOLATED_LEADER, 0)
    signature = shown(plan)
    assert signature is not None
    shrunk = shrink_on_sim(plan, signature, STALE.plants, 0.0, nobody)
    assert (shrunk.plan, shrunk.finished) == (plan, False)
    assert shrunk.neighbour is not None, "for that a little more time is taken"
    assert shown(shrunk.neighbour) is None


def test_what_must_fail_under_other_seeds_stays_as_likely() -> None:
    plan = drawn(ISOLATED_LEADER, 0)
    signature = shown(plan)
    assert signature is not None
    under = seeds_that_show(plan, signature, STALE.plants, 5)
    assert under > 1, "the scenario is written for this bug"
    shrunk = shrink_on_sim(plan, signature, STALE.plants, 8.0, nobody, other_seeds=5)
    assert cost(shrunk.plan) < cost(plan)
    assert shown(shrunk.plan) == signature
    assert seeds_that_show(shrunk.plan, signature, STALE.plants, 5) >= under


def test_what_another_backend_must_do_too_stays_possible_there() -> None:
    plants = ("snapshot-not-synced",)
    found = ((seed, shown(drawn(POWER_LOSS, seed), plants)) for seed in range(50))
    seed, signature = next((seed, signature) for seed, signature in found if signature is not None)
    plan = drawn(POWER_LOSS, seed)
    plain = shrink_on_sim(plan, signature, plants, 4.0, nobody)
    assert cost(plain.plan) < cost(plan)
    assert not carries_out("docker", plain.plan.compiled()), "no power is lost there"
    shrunk = shrink_on_sim(plan, signature, plants, 4.0, nobody, also_on="docker")
    assert shrunk.plan == plan or carries_out("docker", shrunk.plan.compiled())
    assert shrunk.neighbour is not None
    assert shown(shrunk.neighbour, plants) is None, "it was run, whether or not Docker could do so too"


def differing(rate_of: Callable[[Plan, int], bool]) -> Callable[[Plan], RunResult]:
    """A backend on which a plan shows its failure in some runs only: in the others the bug is not there."""
    runs = iter(range(1_000_000))

    def run(plan: Plan) -> RunResult:
        plants = STALE.plants if rate_of(plan, next(runs)) else ()
        return run_on(plan, RunOptions(plants=plants), nobody)

    return run


def test_where_runs_differ_a_candidate_counts_if_it_fails_once() -> None:
    plan = drawn(ISOLATED_LEADER, 0)
    signature = shown(plan)
    assert signature is not None
    shrunk = shrink_by_repeating(
        plan,
        signature,
        differing(lambda _plan, run: run % 2 == 1),
        seconds=8,
        most_trials=6,
        progress=nobody,
    )
    assert shrunk.before.runs >= 2
    assert 0 < shrunk.before.failed < shrunk.before.runs
    assert shrunk.failing is not None
    assert shrunk.failing.plan == shrunk.plan
    assert shown(shrunk.plan) == signature
    assert shrunk.plan.nodes == 3


def test_where_nothing_fails_again_nothing_is_shrunk() -> None:
    plan = drawn(ISOLATED_LEADER, 0)
    shrunk = shrink_by_repeating(
        plan,
        Signature("linearizable", "never"),
        differing(lambda _plan, _run: False),
        seconds=60,
        most_trials=3,
        progress=nobody,
    )
    assert (shrunk.plan, shrunk.runs, shrunk.before, shrunk.failing) == (plan, 3, Rate(0, 3), None)


@pytest.mark.parametrize(
    ("rate", "needed"), [((1, 2), 5), ((9, 10), 2), ((1, 20), 50), ((3, 3), 2), ((0, 4), 50)]
)
def test_the_rarer_a_failure_the_more_runs_a_candidate_gets(rate: tuple[int, int], needed: int) -> None:
    assert Rate(*rate).runs_needed(50) == needed
    assert Rate(*rate).runs_needed(1) == 1


def test_a_rate_is_told_with_its_interval() -> None:
    assert str(Rate(7, 20)) == "failed 7 of 20 (35%, 95 % interval 18–57 %)"
    assert str(Rate()) == "never run"
