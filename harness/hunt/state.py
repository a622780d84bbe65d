"""A campaign on disk. Written whole after every batch, so that it goes on from there whatever happens.

========================  =================================================================
``state.json``            what this module keeps
``states.bin``            abstract states covered, 8 bytes each, little-endian, ascending
``campaign.json``         the report of the last campaign
``failures.json``         the ledger: what was seen when and how often, over all campaigns
``examples/``             Hypothesis's example database, unless another was named
``bundles/``              a bundle for each distinct failure: as found, shrunk, and its passing neighbour
``regressions/``          candidates for `scenarios/regressions`
``crashes/``              plans at which a worker died
========================  =================================================================
"""

import array
import fcntl
import os
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chaos.errors import InfrastructureError, UsageError
from harness.files import write_whole

FORMAT: Final = 1
_STATE: Final = "state.json"
_STATES: Final = "states.bin"


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FamilyState(_Kept):
    """How far one scenario has come."""

    name: str
    file: str
    digest: str
    """Of the file's text and of what the nodes run with: another one begins anew."""
    first: int = 0
    """The campaign's first batch: those before belong to earlier campaigns."""
    done: list[int] = Field(default_factory=list)
    """Batches of this campaign that are over, ascending."""
    known_done: bool = False
    """The author's examples and the database were run."""
    examples: int = 0
    failed: int = 0
    unknown: int = 0
    harness_failures: int = 0
    simulated_ns: int = 0
    busy_s: float = 0.0
    """Seconds of workers."""
    goals: list[str] = Field(default_factory=list)
    """Of the goals that the scenario declares: those reached."""
    wanted: list[str] = Field(default_factory=list)
    """All that it declares."""
    one_member: bool = False
    """It leaves nothing open, not even the seed: one plan is all there is."""


class ShrunkState(_Kept):
    """What shrinking came to."""

    plan_json: str
    reason: str
    """What it violates, in words."""
    trials: int
    seconds: float
    steps: int
    nodes: int
    operations: int
    bundle: str
    neighbour_bundle: str | None
    candidate: str


class FailureState(_Kept):
    """One distinct failure."""

    signature: str
    reason: str
    scenario: str
    order: tuple[int, int, int]
    """(family, batch, example) of the plan that stands for it: the least of all that failed so."""
    plan_json: str
    choices: str | None
    """In base64."""
    count: int = 0
    first_example: int
    """The how-manieth plan of the campaign was the first that failed so."""
    first_after_s: float
    first_seen: str
    found_bundle: str | None
    """The run as it was found; in simulation it is carried out again for that once the search is over."""
    shrunk: ShrunkState | None = None
    unshrinkable: str | None = None
    """Why it could not be shrunk."""

    def entry(self) -> bytes | None:
        """What Hypothesis drew."""
        return None if self.choices is None else b64decode(self.choices)

    @staticmethod
    def encoded(choices: bytes | None) -> str | None:
        """The same as text."""
        return None if choices is None else b64encode(choices).decode()


class Crash(_Kept):
    """A task that nobody could finish."""

    scenario: str
    reason: str
    plan: str | None
    """The file with the plan under way."""


class Parameters(_Kept):
    """What a campaign's plans depend on."""

    families: list[tuple[str, str]]
    """Name and digest of each, in order."""
    backend: str
    plants: list[str]
    seed: int
    batch: int
    guided: bool = False

    @property
    def identity(self) -> tuple[Any, ...]:
        """What makes two invocations the same campaign. A larger budget goes on with the batches of the smaller."""
        return self.families, self.backend, self.plants, self.seed, self.guided


class State(_Kept):
    """Everything about a campaign but the abstract states."""

    format: Literal[1] = 1
    parameters: Parameters
    finished: bool = False
    started_at: str
    elapsed_s: float = 0.0
    families: list[FamilyState]
    failures: dict[str, FailureState] = Field(default_factory=dict)
    crashes: list[Crash] = Field(default_factory=list)
    problems: list[str] = Field(default_factory=list)
    cursors: dict[str, int] = Field(default_factory=dict)
    """Digest of a family → its next batch: so that another night draws other plans."""


class Store:
    """A campaign's directory, held by one campaign at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def bundles(self) -> Path:
        """Where bundles go."""
        return self.directory / "bundles"

    @property
    def regressions(self) -> Path:
        """Where candidates go."""
        return self.directory / "regressions"

    @property
    def crashes(self) -> Path:
        """Where plans go at which a worker died."""
        return self.directory / "crashes"

    @property
    def ledger(self) -> Path:
        """Failures over all campaigns."""
        return self.directory / "failures.json"

    @property
    def workers(self) -> Path:
        """The workers' own files."""
        return self.directory / "workers"

    @property
    def examples(self) -> Path:
        """Hypothesis's example database, if no other is named."""
        return self.directory / "examples"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else may use the directory meanwhile. Raises UsageError if somebody does."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise InfrastructureError(
                f"--state {self.directory}: cannot be written: {error.strerror}"
            ) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"--state {self.directory}: another hunt is using it; name another directory"
                ) from None
            yield
        finally:
            os.close(descriptor)

    def load(self) -> State | None:
        """What is kept; None if nothing is. Raises UsageError for what this release cannot read."""
        path = self.directory / _STATE
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: cannot be read: {error}. Begin anew with --fresh") from error
        try:
            return State.model_validate_json(text)
        except ValidationError as error:
            found = error.errors()[0]
            where = ".".join(map(str, found["loc"]))
            raise UsageError(
                f"{path}: not a campaign that this release can go on with ({where}: {found['msg']}). "
                "Begin anew with --fresh"
            ) from None

    def save(self, state: State) -> None:
        """Keeps it. Raises InfrastructureError if it cannot be written."""
        write_whole(self.directory / _STATE, (state.model_dump_json(indent=1) + "\n").encode())

    def set_aside(self, state: State) -> Path:
        """Keeps an unfinished campaign under another name; gives that back."""
        aside = self.directory / f"state-{state.started_at.replace(':', '')}.json"
        write_whole(aside, (state.model_dump_json(indent=1) + "\n").encode())
        return aside

    def load_states(self) -> set[int]:
        """The abstract states covered so far; a damaged file counts as none."""
        try:
            content = (self.directory / _STATES).read_bytes()
        except OSError:
            return set()
        states = array.array("Q")
        states.frombytes(content[: len(content) // 8 * 8])
        if sys.byteorder == "big":
            states.byteswap()
        return set(states)

    def save_states(self, states: set[int]) -> None:
        """Keeps them."""
        packed = array.array("Q", sorted(states))
        if sys.byteorder == "big":
            packed.byteswap()
        write_whole(self.directory / _STATES, packed.tobytes())
