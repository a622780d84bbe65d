"""Builds the wheel, asserts what is in it, and uses it from outside the checkout, in an environment of its own.

A checkout hides what a wheel lacks: the repository root is importable there.
"""

import os
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
    """Every module of both packages, their type markers and stubs, and the extension."""
    names = {
        str(path.relative_to(ROOT))
        for package in ("chaos", "harness")
        for pattern in ("*.py", "*.pyi", "py.typed")
        for path in (ROOT / package).rglob(pattern)
    }
    return names | {"chaos/_core.abi3.so"}


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
        install = [f"{program}/python", "-m", "pip", "install", "--quiet", "--constraint", constraints, wheel]
        subprocess.run(install, cwd=place, check=True)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        run = [f"{program}/mcp-chaos", "run", SCENARIO, "--out", place / "runs"]
        subprocess.run(run, cwd=place, env=environment, stdout=subprocess.DEVNULL, check=True)
        print(f"{wheel.name}: {len(found)} files as expected, and it runs outside the checkout")
    return 0


if __name__ == "__main__":
    sys.exit(main())
