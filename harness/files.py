"""Files that are there whole, or as they were."""

import os
import tempfile
from pathlib import Path

from chaos.errors import InfrastructureError


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside its name, syncs it, then renames. Raises InfrastructureError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(beside).chmod(0o644)
            Path(beside).replace(path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InfrastructureError(f"{path}: cannot be written: {error.strerror or error}") from error
