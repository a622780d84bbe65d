"""Bundles on disk: written beside their final name, synced, then renamed. So one is there whole, or not at all."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.bundle import Manifest, parse_manifest
from chaos.document import show
from chaos.errors import BundleError, InfrastructureError
from chaos.verdict import RunVerdict

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Bundle:
    """A bundle that was opened: its manifest, and its other files on demand."""

    path: Path
    manifest: Manifest

    def read(self, name: str) -> bytes:
        """The content of one file. Raises BundleError if it is absent or not what the manifest says."""
        expected = self.manifest.files.get(name)
        if expected is None:
            raise BundleError(f"{self.path}: this bundle has no {name}")
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise BundleError(
                f"{self.path / name}: {error.strerror or error}: the bundle is not whole; copy it again"
            ) from error
        if hashlib.sha256(content).hexdigest() != expected:
            raise BundleError(f"{self.path / name}: damaged: its content is not what {MANIFEST} recorded")
        return content

    def text(self, name: str) -> str:
        """As ``read``, decoded as UTF-8. Raises BundleError also for what is no text."""
        try:
            return self.read(name).decode("utf-8")
        except UnicodeDecodeError as error:
            raise BundleError(
                f"{self.path / name}: expected UTF-8, which byte {error.start} is not"
            ) from error

    def records(self, name: str) -> list[dict[str, Any]]:
        """The objects of a file of JSON Lines, in order. Raises BundleError for a line that is none."""
        return [parse_record(line, self.path / name, at) for at, line in enumerate(self.lines(name), start=1)]

    def lines(self, name: str) -> list[str]:
        """The lines of a file, without their ends (and whatever else Unicode takes for a line's end left in)."""
        text = self.text(name)
        return text.removesuffix("\n").split("\n") if text else []

    def names(self, prefix: str) -> list[str]:
        """Files below ``prefix``, ascending."""
        return sorted(name for name in self.manifest.files if name.startswith(prefix))

    @property
    def verdict(self) -> RunVerdict:
        """What the run ended as. Raises BundleError if that cannot be read."""
        try:
            return RunVerdict.from_dict(json.loads(self.text("verdict.json")))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BundleError(
                f"{self.path / 'verdict.json'}: expected a verdict, found something else"
            ) from error

    def verify(self) -> None:
        """Reads every file. Raises BundleError for the first that is absent or damaged."""
        for name in self.manifest.files:
            self.read(name)


def parse_record(line: str, path: Path, number: int) -> dict[str, Any]:
    """The object in a line of a file of JSON Lines. Raises BundleError that names file and line."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise BundleError(f"{path}:{number}: found {show(line)}, expected an object of JSON")
    return record


def open_bundle(path: Path) -> Bundle:
    """The bundle at ``path``. Raises BundleError if there is none, or one that this release cannot read."""
    manifest = path / MANIFEST
    if path.is_file() and path.name == MANIFEST:
        path, manifest = path.parent, path
    if path.is_file():
        raise BundleError(
            f"{path}: a file; expected the directory of a bundle, as `mcp-chaos run` leaves one"
        )
    if not path.is_dir():
        raise BundleError(f"{path}: no such directory; expected a bundle, as `mcp-chaos run` leaves one")
    try:
        text = manifest.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BundleError(f"{path}: not a bundle: it has no {MANIFEST}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{manifest}: cannot be read: {error}") from error
    return Bundle(path, parse_manifest(text, str(manifest)))


def write_bundle(
    directory: Path, name: str, manifest: Manifest, files: Mapping[str, bytes]
) -> tuple[Path, str | None]:
    """Writes a bundle ``name`` (a number is added if taken) under ``directory``.

    Returns where it lies. If ``directory`` cannot be written (a full disk), the evidence goes to the system's
    temporary directory instead, and the second value says why. Raises InfrastructureError, with both reasons, if
    that fails too.
    """
    try:
        return _write(directory, name, manifest, files), None
    except OSError as first:
        fallback = Path(tempfile.gettempdir()) / "mcp-chaos-rescued"
        reason = f"the bundle could not be written to {directory} ({first.strerror or first})"
        try:
            return _write(fallback, name, manifest, files), f"{reason}; it lies in {fallback} instead"
        except OSError as second:
            raise InfrastructureError(
                f"{reason}, nor to {fallback} ({second.strerror or second}). Free some space, or name another "
                "place with --out."
            ) from second


def _write(directory: Path, name: str, manifest: Manifest, files: Mapping[str, bytes]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{name}.partial-", dir=directory))
    try:
        digests = {}
        for relative, content in files.items():
            target = partial / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_synced(target, content)
            digests[relative] = hashlib.sha256(content).hexdigest()
        complete = manifest.model_copy(update={"files": digests})
        _write_synced(partial / MANIFEST, (complete.model_dump_json(indent=2) + "\n").encode())
        for folder in {partial, *(path for path in partial.rglob("*") if path.is_dir())}:
            _sync_directory(folder)
        partial.chmod(0o755)
        final = _rename_to_free_name(partial, directory, name)
        _sync_directory(directory)
        return final
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _rename_to_free_name(partial: Path, directory: Path, name: str) -> Path:
    for number in range(1, 10_000):
        final = directory / (name if number == 1 else f"{name}-{number}")
        if final.exists():
            continue
        # Another run may take the name in between: a rename onto a directory with files in it fails.
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            try:
                return partial.rename(final)
            except OSError:
                if not final.exists():
                    raise
    raise FileExistsError(f"every name from {name} to {name}-9999 is taken in {directory}")


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
