"""The bundle: everything that a run leaves, in a versioned directory. This module knows its form, not files.

========================  ======================================================================
``manifest.json``         format version, plan, seed, backend, plants, builds, trace hash, checksums
``plan.json``             the plan, in canonical JSON: its identity
``scenario.yaml``         the same, every hole filled, runnable by itself
``history.jsonl``         what clients saw
``trace/NODE.jsonl``      what each node did
``nemesis.jsonl``         what was done to the cluster, when, and how it is known to have held
``verdict.json``          every check's verdict, with evidence
``summary.json``          counts and gaps: what the account prints
``logs/NODE.log``         what nodes and proxies printed (real backends)
``data/NODE.tar``         each node's data directory (real backends, if asked for)
========================  ======================================================================
"""

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chaos.errors import BundleError

FORMAT = 1


class Manifest(BaseModel):
    """``manifest.json``. ``files`` maps each other file of the bundle to its SHA-256 in hexadecimal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    scenario: str
    plan_id: str
    seed: int
    backend: Literal["sim", "local", "docker"]
    plants: list[str] = Field(default_factory=list)
    trace_hash: str | None = None
    """Only on ``sim``: real runs never repeat exactly."""
    started_at: str
    """UTC, ISO 8601."""
    builds: dict[str, str] = Field(default_factory=dict)
    """Versions and digests of what ran: extension, node binary, Toxiproxy."""
    timings: dict[str, float] = Field(default_factory=dict)
    """Seconds, by phase."""
    files: dict[str, str] = Field(default_factory=dict)


def parse_manifest(text: str, source: str) -> Manifest:
    """The manifest in ``text``. Raises BundleError that names ``source`` and, for another version, that."""
    try:
        data: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise BundleError(f"{source}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise BundleError(f"{source}: nested too deeply; expected a manifest") from error
    if not isinstance(data, dict) or "format" not in data:
        raise BundleError(f"{source}: expected a manifest, an object with `format`")
    version = data["format"]
    if version != FORMAT:
        raise BundleError(
            f"{source}: bundle format {version!r} is not known to this release (it reads format {FORMAT}). "
            "A newer release of mcp-chaos may."
        )
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{source}: {where}: {first['msg']}") from error
