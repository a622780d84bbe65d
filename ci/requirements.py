"""Prints what pyproject.toml asks for (dependencies and the dev group), one requirement a line."""

import tomllib
from pathlib import Path

project = tomllib.loads(Path(__file__).resolve().parent.parent.joinpath("pyproject.toml").read_text())
print("\n".join(project["project"]["dependencies"] + project["dependency-groups"]["dev"]))
