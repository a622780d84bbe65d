"""What a campaign of hours has found so far: lines of JSON in a file, so that it can be stopped and taken up again."""

import hashlib
import json
from pathlib import Path
from typing import Any

from chaos import _core

ROOT = Path(__file__).resolve().parent.parent


def basis(*parts: object) -> str:
    """What results depend on: the extension, the Python that makes and judges plans, and all that is given here."""
    digest = hashlib.blake2b(digest_size=8)
    for source in sorted(
        path for package in ("chaos", "harness", "ci") for path in (ROOT / package).rglob("*.py")
    ):
        digest.update(b"\0" + source.read_bytes())
    assert _core.__file__ is not None
    digest.update(Path(_core.__file__).read_bytes())
    for part in parts:
        digest.update(b"\0" + str(part).encode())
    return digest.hexdigest()


class Results:
    """The lines of one file that rest on the same basis. Without a file nothing is kept."""

    def __init__(self, path: Path | None, basis: str) -> None:
        self._path = path
        self._basis = basis
        self.lines: list[dict[str, Any]] = []
        self.stale = 0
        """Lines that rest on something else: another build, other limits, other families."""
        if path is None or not path.exists():
            return
        content = path.read_text()
        if content and not content.endswith("\n"):
            with path.open("a") as file:
                file.write("\n")  # what was cut stays a line of its own
        for text in content.splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue  # it was cut
            if line.pop("basis", None) == basis:
                self.lines.append(line)
            else:
                self.stale += 1

    def add(self, line: dict[str, Any]) -> None:
        """One more; on disk when this returns."""
        self.lines.append(line)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps({"basis": self._basis, **line}) + "\n")
