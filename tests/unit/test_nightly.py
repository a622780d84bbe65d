"""ci/nightly.sh, with a stand-in for `mcp-chaos hunt`; and the workflow that runs it."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "ci/nightly.sh"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))

# Writes what `hunt` writes, and what it was called with; ends with EXIT_sim or EXIT_docker.
HUNT = """#!/usr/bin/env bash
set -eu
echo "$*" >>"$CALLS"
while (($#)); do
  case $1 in --state) state=$2 ;; --backend) backend=$2 ;; --junit) junit=$2 ;; --summary) summary=$2 ;; esac
  shift
done
exit_code=EXIT_$backend
[[ -z ${DIES:-} ]] || exit "${!exit_code}"
mkdir -p "$state/bundles/found-$backend" "$state/bundles/.half.partial-1" "$state/regressions" "$state/crashes"
echo '<testsuites/>' >"$junit"
echo "## $backend" >"$summary"
echo plan >"$state/bundles/found-$backend/plan.json"
echo x >"$state/regressions/$backend.yaml"
echo '{"exit_code": '"${!exit_code}"'}'
exit "${!exit_code}"
"""


@pytest.fixture
def night(tmp_path):
    """Runs a night: (exit code, what was called, the directory that it left)."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, text in {"mcp-chaos": HUNT, "make": '#!/bin/sh\necho "make $*" >>"$CALLS"\n'}.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)

    def run(sim, docker=0, **environment):
        calls = tmp_path / "calls"
        calls.write_text("")
        done = subprocess.run(
            [SCRIPT],
            cwd=tmp_path,
            text=True,
            capture_output=True,
            check=False,
            env={
                **{
                    key: value
                    for key, value in os.environ.items()
                    if not key.startswith(("GITHUB_", "NIGHTLY_"))
                },
                "PATH": f"{commands}:{os.environ['PATH']}",
                "MCP_CHAOS": str(commands / "mcp-chaos"),
                "MCP_CHAOS_REQUIRE_DOCKER": "1",  # then nobody asks whether an engine answers
                "CALLS": str(calls),
                "NIGHTLY_STATE": "state",
                "NIGHTLY_OUT": "out",
                "EXIT_sim": str(sim),
                "EXIT_docker": str(docker),
                **environment,
            },
        )
        assert done.stderr == ""
        return done.returncode, calls.read_text().splitlines(), tmp_path / "out"

    return run


def test_a_night_hunts_in_simulation_then_on_containers(night, tmp_path):
    code, calls, out = night(0, NIGHTLY_TIME="2m", NIGHTLY_DOCKER_TIME="1m", NIGHTLY_WORKERS="3")
    assert code == 0
    state = tmp_path / "state"
    assert calls == [
        f"hunt scenarios/consensus --backend sim --time 2m --workers 3 --state {state}/sim "
        f"--database dir:{state}/examples --junit {out}/junit-sim.xml --summary {out}/summary-sim.md --json",
        "make --no-print-directory node toxiproxy",
        f"hunt scenarios/consensus --backend docker --time 1m --workers 1 --state {state}/docker "
        f"--database dir:{state}/examples --junit {out}/junit-docker.xml --summary {out}/summary-docker.md --json",
    ]
    assert json.loads((out / "campaign-sim.json").read_text()) == {"exit_code": 0}


def test_what_a_night_wrote_is_in_one_directory(night):
    _, _, out = night(1)
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found == {
        *(f"{name}-{backend}.{end}" for name, end in (("junit", "xml"), ("summary", "md"), ("campaign", "json"))
          for backend in ("sim", "docker")),
        "bundles/found-sim/plan.json",
        "bundles/found-docker/plan.json",
        "regressions/sim.yaml",
        "regressions/docker.yaml",
    }  # fmt: skip


def test_bundles_of_earlier_nights_are_not_uploaded_again_and_go_in_the_end(night, tmp_path):
    bundles = tmp_path / "state/sim/bundles"
    for name, age_days in (("yesterday", 1), ("long-ago", 60)):
        (bundles / name).mkdir(parents=True)
        then = time.time() - age_days * 86_400
        os.utime(bundles / name, (then, then))
    _, _, out = night(0)
    assert {path.name for path in (out / "bundles").iterdir()} == {"found-sim", "found-docker"}
    assert {path.name for path in bundles.iterdir()} == {"yesterday", "found-sim", ".half.partial-1"}


def test_the_place_is_emptied_of_the_last_night_and_of_nothing_else(night, tmp_path):
    for name in ("bundles/old", "mine"):
        (tmp_path / "out" / name).mkdir(parents=True)
    (tmp_path / "out/junit-sim.xml").write_text("old")
    _, _, out = night(0, NIGHTLY_DOCKER_TIME="0s")
    assert not (out / "bundles/old").exists()
    assert (out / "mine").exists()
    assert (out / "junit-sim.xml").read_text() == "<testsuites/>\n"


@pytest.mark.parametrize(
    ("sim", "docker", "both"),
    [(0, 3, 3), (3, 0, 3), (3, 4, 4), (4, 1, 1), (2, 3, 2), (137, 3, 137), (1, 130, 130)],
)  # fmt: skip
def test_the_graver_exit_code_is_the_nights(night, sim, docker, both):
    assert night(sim, docker)[0] == both


def test_after_an_interruption_nothing_more_is_begun(night):
    code, calls, _ = night(130)
    assert code == 130
    assert len(calls) == 1


def test_without_time_for_containers_they_are_left_alone(night):
    code, calls, _ = night(0, docker=1, NIGHTLY_DOCKER_TIME="0s")
    assert code == 0
    assert len(calls) == 1


def test_summaries_are_appended_to_the_jobs_summary(night, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n")
    night(0, GITHUB_STEP_SUMMARY=str(page))
    assert page.read_text() == "before\n## sim\n## docker\n"


def test_a_hunt_that_dies_is_told_in_the_summary(night):
    code, _, out = night(4, docker=4, DIES="1")
    assert code == 4
    assert (
        out / "summary-sim.md"
    ).read_text() == "## mcp-chaos hunt on sim ended with 4 before it could report\n"


# Workflows (actionlint checks more, where it is installed)


def load(path):
    return YAML(typ="safe", pure=True).load(path.read_text())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_may_only_read_and_name_their_actions_versions(path):
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 300
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[a-z/-]+@v[0-9]+", step["uses"])
            else:
                assert "${{" not in step["run"], "what a person types in must not become part of a script"


def test_the_nightly_workflow_runs_the_script_and_keeps_its_state():
    workflow = load(ROOT / ".github/workflows/nightly.yml")
    steps = workflow["jobs"]["hunt"]["steps"]
    names = [step.get("uses", step.get("run", "")).split("@")[0] for step in steps]
    at = names.index("ci/nightly.sh")
    assert names.index("actions/cache/restore") < at < names.index("actions/cache/save")
    assert {re.sub(r"[{}$ ]|env\.", "", step["with"]["path"]) for step in steps if "path" in step.get("with", {})} == {
        "NIGHTLY_STATE", "NIGHTLY_OUT", "NIGHTLY_STATE/examples",
    }  # fmt: skip
    assert all(step.get("if") == "always()" for step in steps[at + 1 :])
    read = set(re.findall(r"\$\{(NIGHTLY_[A-Z_]+)", SCRIPT.read_text()))
    assert {*workflow["env"], *steps[at]["env"]} <= read
    assert {"schedule", "workflow_dispatch"} == set(workflow["on"])
