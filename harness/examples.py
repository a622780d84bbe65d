"""Hypothesis's example databases for campaigns, from a text of the command line.

``dir:PATH`` is a directory; ``github:OWNER/REPO`` or ``github:OWNER/REPO/ARTIFACT`` is what a workflow uploaded,
which can be read alone. Several with commas between them are read together; the first is written to.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hypothesis.database import (
    DirectoryBasedExampleDatabase,
    ExampleDatabase,
    GitHubArtifactDatabase,
    MultiplexedDatabase,
    ReadOnlyDatabase,
)

from chaos.errors import UsageError

ARTIFACT: Final = "mcp-chaos-examples"
"""The artifact's name if none is given: what .github/workflows/nightly.yml uploads."""
TOKEN: Final = "GITHUB_TOKEN"  # noqa: S105 the name of a variable, not its value
EXPECTED: Final = (
    "dir:PATH or github:OWNER/REPO[/ARTIFACT], or several with commas between, the first a directory"
)

_REPOSITORY = re.compile(
    r"(?P<owner>[A-Za-z0-9][A-Za-z0-9-]{0,38})/(?P<name>[A-Za-z0-9._-]{1,100})(/(?P<artifact>[^/\s]{1,200}))?"
)


def database_of(spec: str) -> ExampleDatabase:
    """The database that a text names. Raises UsageError that says what was expected.

    Nothing is read from the network before the first example is looked up. GitHub gives artifacts only to those
    who show a token, also those of public repositories: so its variable must be set.
    """
    parts = [part.strip() for part in spec.split(",")]
    if not all(parts):
        raise _wrong(spec, "an empty part")
    databases = [_one(part, spec) for part in parts]
    if isinstance(databases[0], ReadOnlyDatabase):
        raise _wrong(spec, "a database that can only be read in the first place, where new examples go")
    if len(set(parts)) != len(parts):
        raise _wrong(spec, "the same database twice")
    if len(databases) == 1:
        return databases[0]
    # A second directory belongs to somebody else, say to a shared file system: it is read alone.
    others = [one if isinstance(one, ReadOnlyDatabase) else ReadOnlyDatabase(one) for one in databases[1:]]
    return MultiplexedDatabase(databases[0], *others)


def _one(part: str, spec: str) -> ExampleDatabase:
    kind, colon, rest = part.partition(":")
    if kind == "dir" and colon and rest:
        return _directory(Path(rest).expanduser(), spec)
    if kind == "github" and colon:
        return _artifact(rest, spec)
    raise _wrong(spec, repr(part))


def _directory(path: Path, spec: str) -> ExampleDatabase:
    if path.exists() and not path.is_dir():
        raise _wrong(spec, f"{path}, a file")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--database {spec}: {path} cannot be made: {error.strerror or error}") from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise UsageError(f"--database {spec}: {path} cannot be written; expected a directory of yours")
    return DirectoryBasedExampleDatabase(path)


def _artifact(text: str, spec: str) -> ExampleDatabase:
    repository = _REPOSITORY.fullmatch(text)
    if repository is None:
        raise _wrong(spec, repr(f"github:{text}"))
    if not os.environ.get(TOKEN):
        raise UsageError(
            f"--database {spec}: found no {TOKEN} in the environment, expected one that may read the artifacts of "
            f"{repository['owner']}/{repository['name']}"
        )
    owner, name, artifact = repository["owner"], repository["name"], repository["artifact"] or ARTIFACT
    # Hypothesis keeps what it downloads by the artifact's name alone: those of two repositories would be mixed up.
    cache = _cache(os.environ) / owner / name / artifact
    return ReadOnlyDatabase(GitHubArtifactDatabase(owner, name, artifact_name=artifact, path=cache))


def _cache(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_CACHE_HOME", "")
    home = Path(base) if base.startswith("/") else Path(environment.get("HOME") or Path.home()) / ".cache"
    return home / "mcp-chaos" / "examples"


def _wrong(spec: str, found: str) -> UsageError:
    return UsageError(f"--database {spec}: found {found}, expected {EXPECTED}")
