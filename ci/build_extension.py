"""Builds ``chaos._core`` through maturin into the running interpreter's environment, if its sources changed.

maturin always installs again, which costs seconds; a stamp of the sources' content avoids that.
Run from anywhere: maturin itself must run from the repository root (elsewhere it builds the wrong thing).
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = Path(sys.prefix)
STAMP = ENVIRONMENT / ".extension"


def fingerprint() -> str:
    """A digest over every file that the extension is built from."""
    digest = hashlib.sha256()
    sources = [
        path
        for pattern in ("*.rs", "*.toml", "*.lock")
        for path in (ROOT / "rust_core").rglob(pattern)
        if "target" not in path.relative_to(ROOT).parts
    ]
    for path in sorted([*sources, ROOT / "pyproject.toml"]):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def main() -> int:
    now = fingerprint()
    if STAMP.is_file() and STAMP.read_text() == now and list((ROOT / "chaos").glob("_core*.so")):
        return 0
    print("building the Rust extension (a few minutes the first time) …", file=sys.stderr, flush=True)
    environment = os.environ | {"VIRTUAL_ENV": str(ENVIRONMENT)}
    environment.pop("CONDA_PREFIX", None)
    command = [str(ENVIRONMENT / "bin" / "maturin"), "develop", "--release", "--locked", "--quiet"]
    built = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    if built.returncode == 0:
        STAMP.write_text(now)
    return built.returncode


if __name__ == "__main__":
    sys.exit(main())
