"""The pytest plugin, as a project that has mcp-chaos installed sees it: each test is such a project."""

import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import harness.pytest_scenario  # runs in this process would import it anew, each
from chaos.errors import InfrastructureError
from chaos.plan import Plan
from harness.cluster import RunOptions
from harness.replay import violated
from harness.store import open_bundle
from harness.trial import Trial

pytest_plugins = ["pytester"]

CUT_OFF = """\
version: 1
scenario: cut-off
tags: [portable, my-tag]
cluster: {nodes: 3}
workload: {clients: 2, rate: 40/s, duration: 3s, keys: 1}
heal: 2500ms
faults:
  - at: {between: [200ms, 400ms]}
    for: 2s
    partition: {isolate: leader}
sometimes: [operation_during_partition]
"""
OTHERS = {
    "docker-compose.yaml": "services:\n  web: {image: nginx, labels: [scenario]}\n",
    ".github/workflows/ci.yml": "on: push\njobs: {test: {steps: [{run: pytest scenarios/}]}}\n",
    "mkdocs.yml": "site_name: scenario\nnav:\n  - scenario: scenario.md\n",
    "molecule.yml": "driver: {name: docker}\nscenario:\n  name: default\n",
    "template.yaml": "Resources: !Ref scenario\n# scenario: in a comment\n",
    "broken.yaml": "a: [1\n scenario: x",
    "text.yaml": '"\\\nscenario: x"\n',
}


def write(pytester: pytest.Pytester, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """In a process of its own, with Hypothesis's database in the project's folder."""
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "--strict-markers", *arguments)


def run_here(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """In this process, which has imported everything already."""
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers", *arguments)


def cases(junit: Path) -> dict[str, tuple[list[str], list[tuple[str, str]]]]:
    """Of each test case in the file: what it has besides its properties, and these."""
    return {
        case.attrib["name"]: (
            [child.tag for child in case if child.tag != "properties"],
            [(prop.attrib["name"], prop.attrib["value"]) for prop in case.iter("property")],
        )
        for case in ET.parse(junit).iter("testcase")
    }


def test_scenario_files_are_collected_and_no_other_yaml(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        {**OTHERS, "scenarios/cut.yaml": CUT_OFF, "in-braces.yml": "{version: 1, scenario: braces}\n"},
    )
    result = run_here(pytester, "--collect-only", "-q")
    collected = [line for line in result.outlines if "::" in line]
    assert collected == ["in-braces.yml::braces", "scenarios/cut.yaml::cut-off"]
    assert result.ret == 0


def test_a_project_without_scenarios_pays_for_nothing(pytester: pytest.Pytester) -> None:
    heavy = (
        "'chaos', 'harness.run', 'harness.hand', 'harness.pytest_scenario', 'pydantic', 'networkx', 'ruamel'"
    )
    write(
        pytester,
        {name: text for name, text in OTHERS.items() if not re.search("^scenario", text, re.MULTILINE)},
    )
    pytester.makepyfile("def test_of_theirs(): pass")
    pytester.makeconftest(
        "import sys\n"
        "def pytest_unconfigure():\n"
        f"    print('imported:', [name for name in ({heavy}) if name in sys.modules])\n"
        "    print('loaded:', 'harness.pytest_plugin' in sys.modules)\n"
    )
    result = run(pytester)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["imported: []", "loaded: True"])


def test_a_mistake_is_an_error_of_collection_with_its_place(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        {
            "typo.yaml": "version: 1\nscenario: typo\ncluster: {node: 3}\n",
            "unreadable.yaml": "version: 1\nscenario: unreadable\nfaults: [\n",
            "list.yaml": "version: 1\nscenario: [a]\n",
        },
    )
    result = run_here(pytester)
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(
        ["typo.yaml:3:11: cluster.node: found an unknown key 'node'*did you mean nodes?"]
    )
    result.stdout.fnmatch_lines(["unreadable.yaml:*: *expected*"])
    result.stdout.fnmatch_lines(["list.yaml:2:11: scenario: found *expected a name*"])
    assert "Traceback" not in result.stdout.str()
    assert ".py:" not in result.stdout.str()


def test_a_clean_build_passes_and_tags_are_markers(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        {"scenarios/cut.yaml": CUT_OFF, "calm.yaml": CUT_OFF.split("tags")[0].replace("cut-off", "calm")},
    )
    result = run_here(pytester, "-v", "-m", "my-tag", "--chaos-examples", "3")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["scenarios/cut.yaml::cut-off PASSED*"])
    result.stdout.fnmatch_lines(
        ["mcp-chaos: 1 scenario on sim, up to 3 examples each, drawn by the scenario's name*"]
    )
    assert not (pytester.path / "chaos-runs").exists(), "of what passes nothing is kept"


def test_a_failure_is_shrunk_told_in_words_and_kept(pytester: pytest.Pytester) -> None:
    write(pytester, {"cut.yaml": CUT_OFF})
    result = run(pytester, "--chaos-plant", "stale-read", "--chaos-examples", "5", "--junitxml", "junit.xml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "cut-off violated linearizable on sim, with the planted bug stale-read",
            "  linearizable: n? answered read *",
            "The scenario, 1 fault, 3 nodes, shrunk from example 1 in *",
            "    # mcp-chaos run FILE --plant stale-read",
            "    scenario: cut-off",
            "        partition: {isolate: leader}",
            "Signature: linearizable/*",
            "Replay:    mcp-chaos replay chaos-runs/*",
            "Explain:   mcp-chaos explain chaos-runs/*",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    outcome, properties = cases(pytester.path / "junit.xml")["cut-off"]
    assert outcome == ["failure"]
    found = dict(properties)
    assert found["signature"].startswith("linearizable/")
    assert int(found["examples"]) >= 1
    assert int(found["states"]) > 0
    bundle = open_bundle(Path(found["bundle"]))
    bundle.verify()
    assert violated(bundle.verdict) == ("linearizable",)
    assert len(Plan.from_json(bundle.text("plan.json")).steps) == 1


def test_it_works_in_several_processes_and_from_the_ini_file(pytester: pytest.Pytester) -> None:
    write(pytester, {f"s{number}.yaml": CUT_OFF.replace("cut-off", f"cut-{number}") for number in range(2)})
    pytester.makeini(
        "[pytest]\nchaos_plants = stale-read\nchaos_examples = 1\nchaos_out = kept\nchaos_seed = 4\n"
    )
    result = run(pytester, "-n", "2", "--junitxml", "junit.xml")
    result.assert_outcomes(failed=2)
    found = cases(pytester.path / "junit.xml")
    assert set(found) == {"cut-0", "cut-1"}
    for outcome, properties in found.values():
        assert outcome == ["failure"]
        assert dict(properties)["seed"] == "4"
        assert Path(dict(properties)["bundle"]).parent == pytester.path / "kept"


def test_what_shows_nothing_is_no_pass(pytester: pytest.Pytester) -> None:
    """A fixed step that could not be carried out, a goal never reached."""
    calm = "version: 1\nscenario: {}\nseed: 1\nworkload: {{duration: 5s, rate: 10/s, clients: 1}}\n"
    down = "faults:\n  - {at: 100ms, for: 3s, kill: all}\n  - {at: 200ms, for: 1s, pause: leader}\nheal: 4s\n"
    write(
        pytester,
        {
            "down.yaml": calm.format("down") + down,
            "still.yaml": calm.format("still") + "sometimes: [leader_changed]\n",
        },
    )
    result = run_here(pytester)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["unknown, which is never a pass: 1 of 1 example showed nothing", "  down, plan *step 1*"]
    )
    result.stdout.fnmatch_lines(["never reached in 1 example: leader_changed (`sometimes`)*"])


@pytest.mark.parametrize("examples", ["", "examples: [{}]\n"])
def test_what_the_harness_cannot_do_is_an_error_and_no_failure(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, examples: str
) -> None:
    def fails(_plan: Plan, _options: RunOptions) -> Trial:
        raise InfrastructureError("no room is left")

    monkeypatch.setattr(harness.trial, "try_plan", fails)
    write(pytester, {"cut.yaml": CUT_OFF + examples})
    result = run_here(pytester, "--junitxml", "junit.xml")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["no room is left"])
    assert ".py:" not in result.stdout.str()
    assert cases(pytester.path / "junit.xml")["cut-off"][0] == ["error"]


@pytest.mark.parametrize(("seed", "count"), [("", "4"), ("seed: 7\n", "1")])
def test_a_scenario_without_holes_runs_once_only_if_its_seed_is_given(
    pytester: pytest.Pytester, seed: str, count: str
) -> None:
    calm = "version: 1\nscenario: calm\nworkload: {duration: 1s, rate: 10/s, clients: 1}\n"
    write(pytester, {"calm.yaml": calm + seed})
    result = run_here(pytester, "--chaos-examples", "4", "--junitxml", "junit.xml")
    result.assert_outcomes(passed=1)
    assert dict(cases(pytester.path / "junit.xml")["calm"][1])["examples"] == count


@pytest.mark.parametrize("ini", [False, True])
def test_an_unknown_planted_bug_is_told_in_a_line(pytester: pytest.Pytester, ini: bool) -> None:
    write(pytester, {"cut.yaml": CUT_OFF})
    if ini:
        pytester.makeini("[pytest]\nchaos_plants = nope\n")
    result = run_here(pytester, *([] if ini else ["--chaos-plant", "nope"]))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    option = "chaos_plants" if ini else "--chaos-plant"
    result.stderr.fnmatch_lines([f"*{option}: found 'nope', expected a planted bug: *stale-read*"])


@pytest.mark.parametrize("out", ["a-file", "a-file/below"])
def test_a_file_is_no_place_for_bundles(pytester: pytest.Pytester, out: str) -> None:
    write(pytester, {"cut.yaml": CUT_OFF, "a-file": ""})
    result = run_here(pytester, "--chaos-out", out)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--chaos-out: found */a-file, a file; expected a directory*"])


def test_a_bundle_that_lies_elsewhere_says_why(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(pytester.path))
    write(pytester, {"cut.yaml": CUT_OFF, "chaos-runs": "a file of theirs"})
    result = run_here(pytester, "--chaos-plant", "stale-read", "--chaos-examples", "5")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["Bundle: *mcp-chaos-rescued/*", " *the bundle could not be written to *chaos-runs*"]
    )


def test_without_an_engine_docker_skips_or_fails_where_it_is_required(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{pytester.path}/no-engine.sock")
    monkeypatch.delenv("MCP_CHAOS_REQUIRE_DOCKER", raising=False)
    write(pytester, {"cut.yaml": CUT_OFF})
    result = run_here(pytester, "--chaos-backend", "docker", "-m", "docker", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*Docker*"])
    monkeypatch.setenv("MCP_CHAOS_REQUIRE_DOCKER", "1")
    run_here(pytester, "--chaos-backend", "docker").assert_outcomes(errors=1)


def test_wrong_options_are_told_in_a_line(pytester: pytest.Pytester) -> None:
    write(pytester, {"cut.yaml": CUT_OFF})
    result = run_here(pytester, "--chaos-examples", "0")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--chaos-examples: found '0', expected a whole number from 1 on"])
    pytester.makeini("[pytest]\nchaos_backend = k8s\n")
    result = run_here(pytester)
    result.stdout.fnmatch_lines(["*chaos_backend: found 'k8s', expected sim or docker*"])
    assert result.ret != 0


def test_an_interrupt_ends_it_at_once(pytester: pytest.Pytester) -> None:
    write(pytester, {"long.yaml": CUT_OFF.replace("duration: 3s", "duration: 60m").replace("2500ms", "59m")})
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command,
        cwd=pytester.path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in iter(lambda: process.stdout.read(1), ""):  # type: ignore[union-attr]
            if line == ":":  # of long.yaml::cut-off
                break
        output = process.stdout.read(5)
        process.send_signal(signal.SIGINT)
        output += process.stdout.read()
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert "KeyboardInterrupt" in output
    assert "Traceback" not in output


BY_HAND = """
def test_fine(chaos_cluster):
    cluster = chaos_cluster(nodes=3)
    cluster.isolate("leader", for_="2s")
    cluster.advance("3s")

def test_stale(chaos_cluster):
    cluster = chaos_cluster(plants=["stale-read"])
    cluster.isolate("leader", for_="2s")
    cluster.advance("3s")

def test_expected(chaos_cluster):
    cluster = chaos_cluster(plants=["stale-read"])
    cluster.isolate("leader", for_="2s")
    cluster.advance("3s")
    cluster.expect("linearizable")

def test_expected_in_vain(chaos_cluster):
    chaos_cluster().expect("durable")

def test_wrong(chaos_cluster):
    chaos_cluster().isolate("leeder")
"""


def test_clusters_by_hand_are_judged_as_a_part_of_their_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_by_hand=BY_HAND)
    result = run_here(pytester, "-rA")
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(
        [
            "test_stale violated linearizable on sim, with the planted bug stale-read",
            "Replay:    mcp-chaos replay chaos-runs/test_stale-*",
        ]
    )
    result.stdout.fnmatch_lines(["expected a violation of durable, found none"])
    result.stdout.fnmatch_lines(["*isolate: found 'leeder', expected*did you mean leader?*"])
    result.stdout.fnmatch_lines(
        ["PASSED test_by_hand.py::test_fine", "PASSED test_by_hand.py::test_expected"]
    )
    result.stdout.fnmatch_lines(["FAILED test_by_hand.py::test_stale*"])
