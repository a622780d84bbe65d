"""Whose is this container? Every object that a run makes in the engine carries the answer as labels.

A run killed with SIGKILL cannot clean up after itself, so what it leaves must say, on its own, which
process made it: the process id alone would not do (ids are used again), so the process's start time, its
pid namespace and the host's boot id stand beside it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import psutil

PROJECT = "mcp-chaos"
"""The value of the project label, and the prefix of every name."""

_PROJECT = "io.mcp-chaos.project"
_RUN = "io.mcp-chaos.run"
_PID = "io.mcp-chaos.pid"
_STARTED = "io.mcp-chaos.started-ms"
_BOOT = "io.mcp-chaos.host-boot"
_NAMESPACE = "io.mcp-chaos.pid-namespace"

_START_TIME_TOLERANCE_MS = 2_000
"""psutil derives start times from the boot time, which moves when the clock is set."""


class Life(Enum):
    """What is known about the process that owns an object."""

    ALIVE = "alive"
    DEAD = "dead"
    ELSEWHERE = "elsewhere"
    """It lives, or lived, where this process cannot see: another host, boot or pid namespace."""


@dataclass(frozen=True)
class Owner:
    """The run and the process to which an object belongs. Times are milliseconds since 1970."""

    run: str
    pid: int
    started_ms: int
    host_boot: str
    pid_namespace: str

    @staticmethod
    def current(run: str) -> "Owner":
        """This process, as the owner of ``run``."""
        started_ms = int(psutil.Process().create_time() * 1000)
        return Owner(run, os.getpid(), started_ms, _host_boot(), _pid_namespace())

    @staticmethod
    def from_labels(labels: Mapping[str, str]) -> "Owner | None":
        """The owner that an object's labels name; ``None`` if it is not one of ours."""
        if labels.get(_PROJECT) != PROJECT or _RUN not in labels:
            return None
        try:
            pid, started_ms = int(labels.get(_PID, "0")), int(labels.get(_STARTED, "0"))
        except ValueError:
            pid, started_ms = 0, 0  # damaged labels: no such process lives, so the object is an orphan
        return Owner(labels[_RUN], pid, started_ms, labels.get(_BOOT, ""), labels.get(_NAMESPACE, ""))

    def labels(self) -> dict[str, str]:
        """The labels to put on an object of this owner."""
        return {
            **project_labels(),
            _RUN: self.run,
            _PID: str(self.pid),
            _STARTED: str(self.started_ms),
            _BOOT: self.host_boot,
            _NAMESPACE: self.pid_namespace,
        }

    def life(self) -> Life:
        """Whether the owning process is still there (the same one, not another with its number)."""
        if self.host_boot != _host_boot() or self.pid_namespace != _pid_namespace():
            return Life.ELSEWHERE
        if self.pid <= 0:
            return Life.DEAD
        try:
            process = psutil.Process(self.pid)
            started_ms = int(process.create_time() * 1000)
            if process.status() == psutil.STATUS_ZOMBIE:
                return Life.DEAD
        except psutil.NoSuchProcess:
            return Life.DEAD
        except psutil.AccessDenied:
            return Life.ALIVE  # somebody has this number and we may not look: rather spare than kill
        same = abs(started_ms - self.started_ms) <= _START_TIME_TOLERANCE_MS
        return Life.ALIVE if same else Life.DEAD


def project_labels() -> dict[str, str]:
    """The label that everything of this project carries, images included (they outlive runs)."""
    return {_PROJECT: PROJECT}


def project_filter() -> dict[str, list[str]]:
    """The engine's filter for everything of this project."""
    return {"label": [f"{_PROJECT}={PROJECT}"]}


def run_filter(run: str) -> dict[str, list[str]]:
    """The engine's filter for everything of one run."""
    return {"label": [f"{_PROJECT}={PROJECT}", f"{_RUN}={run}"]}


def _host_boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - not a path but a namespace's name
