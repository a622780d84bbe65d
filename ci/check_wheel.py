"""Builds the wheel, asserts what is in it, and uses it from outside the checkout, in an environment of its own: the
command, and pytest in the project of a newcomer.

A checkout hides what a wheel lacks: the repository root is importable there.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCENARIO = ROOT / "scenarios" / "smoke" / "isolated-leader.yaml"


def build(out: Path) -> Path:
    command = [f"{sys.prefix}/bin/maturin", "build", "--release", "--locked", "--quiet", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True)
    [wheel] = out.glob("*.whl")
    return wheel


def expected_names() -> set[str]:
    """Every module of both packages, their type markers and stubs, what pages are made of, and the extension."""
    names = {
        str(path.relative_to(ROOT))
        for package in ("chaos", "harness")
        for pattern in ("*.py", "*.pyi", "*.css", "*.js", "py.typed")
        for path in (ROOT / package).rglob(pattern)
    }
    return names | {"chaos/_core.abi3.so"}


def check_pytest(program: Path, project: Path, environment: dict[str, str]) -> None:
    """One scenario file beside YAML of other kinds: it passes, and with a planted bug fails with words."""
    (project / "scenarios").mkdir(parents=True)
    shutil.copy(SCENARIO, project / "scenarios")
    (project / "docker-compose.yaml").write_text("services:\n  web:\n    image: nginx\n")
    for arguments, code, expected in (
        (["scenarios/"], 0, ["1 passed"]),
        (["."], 0, ["1 passed"]),
        (
            ["scenarios/", "--chaos-plant", "stale-read"],
            1,
            [
                "isolated-leader violated linearizable",
                "partition: {isolate: leader}",
                "mcp-chaos replay",
                "1 failed",
            ],
        ),
    ):
        run = [f"{program}/python", "-m", "pytest", *arguments]
        done = subprocess.run(run, cwd=project, env=environment, capture_output=True, text=True, check=False)
        missing = [words for words in expected if words not in done.stdout]
        if done.returncode != code or missing:
            print(done.stdout, done.stderr, file=sys.stderr)
            sys.exit(f"pytest {' '.join(arguments)}: ended with {done.returncode}, without {missing}")
        print(f"$ pytest {' '.join(arguments)}\n{done.stdout}", flush=True)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        wheel = build(place / "dist")
        with zipfile.ZipFile(wheel) as archive:
            found = {name for name in archive.namelist() if ".dist-info/" not in name}
        expected = expected_names()
        if found != expected:
            print(f"missing from the wheel: {sorted(expected - found)}", file=sys.stderr)
            print(f"should not be in it: {sorted(found - expected)}", file=sys.stderr)
            return 1
        venv.create(place / "venv", with_pip=True)
        program = place / "venv" / "bin"
        constraints = ROOT / "ci" / "constraints.txt"
        install = [f"{program}/python", "-m", "pip", "install", "--quiet", "--constraint", constraints]
        subprocess.run([*install, wheel], cwd=place, check=True)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        run = [f"{program}/mcp-chaos", "run", SCENARIO, "--out", place / "runs"]
        subprocess.run(run, cwd=place, env=environment, stdout=subprocess.DEVNULL, check=True)
        subprocess.run([*install, f"{wheel}[pytest]"], cwd=place, check=True)
        check_pytest(program, place / "project", environment)
        print(
            f"{wheel.name}: {len(found)} files as expected; it runs outside the checkout, as does pytest with it"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
