"""What can still be done for containers when their engine is gone: find, read and kill their processes.

Containers outlive a dockerd that dies. The kernel knows which process is in which container, by its control
group, whose name holds the container's id. Reading and killing take root, or the process's own user.
"""

import os
import signal
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


def processes_of(containers: Collection[str], proc: Path = _PROC) -> dict[int, str]:
    """Process → container, for these containers' ids (64 hexadecimal digits: no other group is named so)."""
    found = {}
    for entry in proc.iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError):  # it has ended
            groups = (entry / "cgroup").read_text(encoding="utf-8", errors="replace")
            for container in containers:
                if container in groups:
                    found[int(entry.name)] = container
    return found


def read_from(container: str, path: str, proc: Path = _PROC) -> bytes | None:
    """A file of a container that still runs; ``None`` if it cannot be read."""
    for process in processes_of([container], proc):
        with suppress(OSError):
            return (proc / str(process) / "root" / path.lstrip("/")).read_bytes()
    return None


def kill_all(containers: Collection[str]) -> list[str]:
    """Kills every process of these containers. Returns those that could not be killed, in words."""
    failures = []
    for process, container in processes_of(containers).items():
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
        except PermissionError:
            failures.append(f"process {process} of container {container[:12]}")
    return failures
