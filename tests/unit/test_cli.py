"""The command line as a newcomer meets it: helpful, and one clear message for each mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "scenarios" / "smoke"


def mcp_chaos(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness.cli", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=os.environ | environment
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize("command", ["run", "replay", "validate", "schema", "doctor", "clean", "plants"])
def test_every_command_explains_itself(command: str) -> None:
    done = mcp_chaos(command, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout
    assert len(done.stdout.splitlines()) >= 10


def test_help_cuts_no_option_on_a_narrow_terminal() -> None:
    done = mcp_chaos("run", "--help", COLUMNS="80")
    assert "--skip-unsupported / --no-skip-unsupported" in done.stdout
    assert "…" not in mcp_chaos("--help", COLUMNS="80").stdout
    assert "..." not in mcp_chaos("--help", COLUMNS="80").stdout.partition("Commands:")[2]


@pytest.mark.parametrize(
    ("arguments", "help_of"),
    [
        (["run", "--nope"], "mcp-chaos run"),
        (["run"], "mcp-chaos run"),
        (["hunt", "x", "--examples", "many"], "mcp-chaos hunt"),
        (["nope"], "mcp-chaos"),
        (["--nope"], "mcp-chaos"),
    ],
)
def test_a_usage_error_points_to_the_help_of_its_command(arguments: list[str], help_of: str) -> None:
    done = mcp_chaos(*arguments)
    assert done.returncode == 2
    assert done.stderr.endswith(f". See `{help_of} --help`.\n")
    assert len(done.stderr.splitlines()) == 1


BROKEN = {
    "broken yaml": ("version: 1\nscenario: [a\n", "expected"),
    "unknown key": ("version: 1\nscenario: a\nclusterr: {nodes: 3}\n", "cluster"),
    "wrong unit": ("version: 1\nscenario: a\nworkload: {duration: 20 parsecs}\n", "duration"),
    "a node that does not exist": (
        "version: 1\nscenario: a\ncluster: {nodes: 3}\nfaults: [{at: 1s, for: 1s, kill: n9}]\n",
        "n9",
    ),
    "a hole where none may be": ("version: {any: [1, 2]}\nscenario: a\n", "version"),
    "not a mapping": ("- 1\n- 2\n", "mapping"),
    "empty": ("", "empty"),
    "an alias bomb": (
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
        ),
        "alias",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_scenario_is_one_message_with_its_place(name: str, tmp_path: Path) -> None:
    text, expected = BROKEN[name]
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    for command in ("run", "validate"):
        done = mcp_chaos(command, path, "--json")
        assert done.returncode == 2, done.stderr
        assert f"{path}:" in done.stdout
        assert expected in done.stdout.lower() or expected in done.stdout
        json.loads(done.stdout)


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"version: 1\nscenario: caf\xe9\n")
    done = mcp_chaos("run", path)
    assert done.returncode == 2
    assert f"{path}:2:14: expected UTF-8" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "absent.yaml"], "No such file"),
        (["run", "--backend", "dokcer", str(SMOKE / "isolated-leader.yaml")], "docker"),
        (["run", "--plant", "stale-reed", str(SMOKE / "isolated-leader.yaml")], "stale-read"),
        (["run", "--set", "cluster.nodez=3", str(SMOKE / "isolated-leader.yaml")], "nodes"),
        (["run", "--set", "nonsense", str(SMOKE / "isolated-leader.yaml")], "path=value"),
        (["replay", "absent"], "no such directory"),
        (["replay", str(ROOT / "chaos")], "not a bundle"),
    ],
)
def test_a_mistake_on_the_command_line_ends_with_2(arguments: list[str], message: str) -> None:
    done = mcp_chaos(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_json_of_each_command_that_needs_no_engine() -> None:
    schema = json.loads(mcp_chaos("schema").stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert {plant["name"] for plant in json.loads(mcp_chaos("plants", "--json").stdout)["plants"]} >= {
        "stale-read"
    }
    validated = json.loads(mcp_chaos("validate", SMOKE, "--json").stdout)
    assert validated["valid"]
    assert len(validated["files"]) >= 4
    assert json.loads(mcp_chaos("doctor", "--json").stdout)["works"]


def test_no_engine_is_said_with_the_cure(tmp_path: Path) -> None:
    done = mcp_chaos(
        "run", SMOKE / "isolated-leader.yaml", "--backend", "docker", "--out", tmp_path,
        DOCKER_HOST=f"unix://{tmp_path}/no.sock",
    )  # fmt: skip
    assert done.returncode == 4
    assert "engine" in done.stderr
    assert "install-docker.sh" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_account_of_a_run_says_what_happened(tmp_path: Path) -> None:
    done = mcp_chaos("run", SMOKE / "isolated-leader.yaml", "--out", tmp_path)
    assert done.returncode == 0, done.stdout
    for word in ("partition", "linearizable", "longest gap", "mcp-chaos replay", str(tmp_path)):
        assert word in done.stdout


def test_a_wrong_option_is_json_too() -> None:
    done = mcp_chaos("run", SMOKE / "isolated-leader.yaml", "--seed", "x", "--json")
    assert done.returncode == 2
    assert "--seed" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize("arguments", [["plants"], ["plants", "--json"], ["--version"], ["--help"]])
def test_a_full_disk_behind_the_output_is_no_verdict(arguments: list[str]) -> None:
    """Exit 1 means a violation: rich and the interpreter end with it, or with 120, when they cannot write."""
    command = [sys.executable, "-m", "harness.cli", *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert done.returncode == 4, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_leaves_the_exit_code(tmp_path: Path) -> None:
    program = (
        f"{sys.executable} -m harness.cli run {SMOKE / 'isolated-leader.yaml'} --out {tmp_path} | head -1"
    )
    shell = ["bash", "-c", f"{program} >/dev/null; exit ${{PIPESTATUS[0]}}"]
    done = subprocess.run(shell, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_device_is_no_scenario() -> None:
    done = mcp_chaos("run", "/dev/zero")
    assert done.returncode == 2
    assert "no regular file" in done.stderr


def test_an_interrupted_replay_says_what_was_done(tmp_path: Path) -> None:
    recorded = mcp_chaos("run", SMOKE / "isolated-leader.yaml", "--out", tmp_path, "--json")
    bundle = json.loads(recorded.stdout)["runs"][0]["bundle"]
    command = [
        sys.executable,
        "-m",
        "harness.cli",
        "replay",
        bundle,
        "--times",
        "5000",
        "--out",
        tmp_path / "r",
        "--json",
    ]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # The second one: the first is on disk a moment before its run counts.
    while running.poll() is None and len(list(tmp_path.glob("r/isolated*"))) < 2:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    report = json.loads(out)
    assert report["interrupted"]
    assert 1 <= len(report["runs"]) < 5000


def test_run_portable_draws_what_the_other_backend_can_do_too(tmp_path: Path) -> None:
    mix = ROOT / "scenarios" / "consensus" / "random-mix.yaml"
    done = mcp_chaos("run", mix, "--portable", "docker", "--seed", "5", "--json", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    (ran,) = json.loads(done.stdout)["runs"]
    steps = json.loads((Path(ran["bundle"]) / "plan.json").read_text())["scenario"]["faults"]
    assert steps
    assert not [step for step in steps if "on" in step or "power_off" in step]


def test_what_run_portable_cannot_leave_out_is_named() -> None:
    points = ROOT / "scenarios" / "consensus" / "crash-points.yaml"
    done = mcp_chaos("run", points, "--portable", "docker")
    assert done.returncode == 2
    assert "crash-points.yaml is not portable: faults[0]: power_off is not supported" in done.stderr
    done = mcp_chaos("run", points, "--portable", "qemu")
    assert done.returncode == 2
    assert "--portable qemu: expected sim or docker" in done.stderr
