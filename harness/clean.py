"""Removes what runs left in the engine: their own at their end, and orphans of runs that were killed.

An object is an orphan when the process that made it is gone (see :mod:`harness.labels`). Live runs are
spared; so is what another machine may own, unless everything is asked for.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import docker
from docker.errors import APIError, DockerException, NotFound
from requests.exceptions import RequestException

from chaos.errors import InfrastructureError
from harness.labels import PROJECT, Life, Owner, project_filter, run_filter

_SCRATCH_PREFIX = f"{PROJECT}-scratch-"
_PARALLEL_CALLS = 16
_PAUSE_BEFORE_RETRY_S = 0.1
_MOST_LOOKS = 5
_PAUSE_BETWEEN_LOOKS_S = 0.3

T = TypeVar("T")


@dataclass
class Removed:
    """Names of what was removed, of what was spared (and whose it is), and what went wrong."""

    containers: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    spared: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many objects were removed."""
        return sum(map(len, self.to_dict().values()))

    def add(self, other: "Removed") -> None:
        """Takes over what a later look removed; who is spared is what it says last."""
        for mine, theirs in zip(self.to_dict().values(), other.to_dict().values(), strict=True):
            mine.extend(theirs)
        self.spared = other.spared
        self.failures += other.failures

    def to_dict(self) -> dict[str, list[str]]:
        """Kind → names of what was removed."""
        return {
            "containers": self.containers,
            "networks": self.networks,
            "volumes": self.volumes,
            "images": self.images,
            "folders": self.folders,
        }


def connect(timeout_s: float = 30) -> docker.DockerClient:
    """A client of the engine that answers.

    Raises :class:`InfrastructureError` if none does, saying how to get one.
    """
    try:
        client = docker.from_env(timeout=int(timeout_s), max_pool_size=_PARALLEL_CALLS)
        client.ping()
    except (DockerException, RequestException) as error:
        raise InfrastructureError(
            f"no Docker engine answers ({_one_line(error)}). Start one, or run `ci/install-docker.sh` "
            "from a checkout (Debian); `--backend sim` needs none"
        ) from error
    return client


def remove_run(client: docker.DockerClient, run: str) -> Removed:
    """Kills and removes everything of one run, alive or not. Repeatable. Failures are listed, not raised."""
    removed = Removed()
    _remove_matching(client, run_filter(run), lambda _owner: True, removed)
    for directory in scratch_directories():
        if directory.name.startswith(f"{_SCRATCH_PREFIX}{run}-"):
            _remove_directory(directory, removed)
    return removed


def remove_containers(client: docker.DockerClient, containers: Iterable[str]) -> set[str]:
    """Kills and removes single containers, one after the other. Returns the ids of those that are gone."""
    gone = set()
    for container in containers:
        try:
            client.api.remove_container(container, v=True, force=True)
        except NotFound:
            pass
        except (DockerException, RequestException):
            continue
        gone.add(container)
    return gone


def remove_orphans(*, images: bool = False, everything: bool = False) -> Removed:
    """Removes the orphans of dead runs from the engine that answers. See :func:`clean`.

    Raises :class:`InfrastructureError` if no engine answers, or if something could not be removed.
    """
    client = connect()
    removed = Removed()
    try:
        # A harness that was killed just now may have left a request with the engine, which still makes its
        # object after the first look.
        for look in range(_MOST_LOOKS):
            found = clean(client, images=images, everything=everything)
            removed.add(found)
            if found.failures or (look > 0 and not found.total):
                break
            time.sleep(_PAUSE_BETWEEN_LOOKS_S)
    finally:
        client.close()
    if removed.failures:
        raise InfrastructureError(
            f"{removed.total} objects were removed, but not these: {'; '.join(removed.failures)}"
        )
    return removed


def clean(client: docker.DockerClient, *, images: bool = False, everything: bool = False) -> Removed:
    """Removes the orphans of dead runs.

    ``images`` also removes the images that were built (they are rebuilt when next needed) unless a live
    run uses them. ``everything`` also removes what live and unreachable owners have: for a machine that is
    to be left bare.
    """
    removed = Removed()
    live_containers = {
        owner.run
        for item in _attempt(removed, "list containers", lambda: _containers(client, project_filter())) or []
        if item["State"] == "running" and (owner := Owner.from_labels(item.get("Labels") or {}))
    }
    spared: dict[str, str] = {}

    def condemned(owner: Owner) -> bool:
        life = owner.life()
        if everything or life is Life.DEAD:
            return True
        if life is Life.ELSEWHERE and owner.run not in live_containers:
            # Nothing of it runs: after a reboot this is what a killed run looks like.
            return True
        where = f"process {owner.pid}" if life is Life.ALIVE else "a process of another machine or namespace"
        spared[owner.run] = f"run {owner.run} ({where})"
        return False

    _remove_matching(client, project_filter(), condemned, removed)
    for directory in scratch_directories():
        owner = _directory_owner(directory)
        if owner is None or condemned(owner):
            _remove_directory(directory, removed)
    if images:
        _remove_images(client, removed)
    removed.spared = sorted(spared.values())
    return removed


def scratch_directory(owner: Owner) -> Path:
    """A new private directory for a run's secrets on their way into containers; its name says whose it is."""
    name = f"{_SCRATCH_PREFIX}{owner.run}-"
    directory = Path(tempfile.mkdtemp(prefix=name))
    lines = [f"{key}={value}" for key, value in owner.labels().items()]
    (directory / "owner").write_text("\n".join(lines), encoding="utf-8")
    return directory


def scratch_directories() -> list[Path]:
    """Every such directory of any run."""
    return sorted(Path(tempfile.gettempdir()).glob(f"{_SCRATCH_PREFIX}*"))


def _directory_owner(directory: Path) -> Owner | None:
    try:
        text = (directory / "owner").read_text(encoding="utf-8")
    except OSError:
        return None
    return Owner.from_labels(dict(line.split("=", 1) for line in text.splitlines() if "=" in line))


def _remove_directory(directory: Path, removed: Removed) -> None:
    try:
        shutil.rmtree(directory)
        removed.folders.append(str(directory))
    except FileNotFoundError:
        pass
    except OSError as error:
        removed.failures.append(f"directory {directory}: {_one_line(error)}")


def _remove_matching(
    client: docker.DockerClient,
    filters: dict[str, list[str]],
    condemned: Callable[[Owner], bool],
    removed: Removed,
) -> None:
    """Containers first (networks and volumes in use cannot be removed), each kind in parallel."""

    def doomed(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        chosen = []
        for item in items:
            owner = Owner.from_labels(item.get("Labels") or {})
            if owner is not None and condemned(owner):
                chosen.append(item)
        return chosen

    containers = _attempt(removed, "list containers", lambda: _containers(client, filters)) or []
    _each(
        "container",
        doomed(containers),
        lambda item: client.api.remove_container(item["Id"], v=True, force=True),
        name=lambda item: str((item.get("Names") or [item["Id"][:12]])[0]).lstrip("/"),
        done=removed.containers,
        failures=removed.failures,
    )
    networks = _attempt(removed, "list networks", lambda: client.api.networks(filters=filters)) or []
    _each(
        "network",
        doomed(networks),
        lambda item: client.api.remove_network(item["Id"]),
        name=lambda item: str(item["Name"]),
        done=removed.networks,
        failures=removed.failures,
    )
    listed = _attempt(removed, "list volumes", lambda: client.api.volumes(filters=filters)) or {}
    _each(
        "volume",
        doomed(listed.get("Volumes") or []),
        lambda item: client.api.remove_volume(item["Name"], force=True),
        name=lambda item: str(item["Name"]),
        done=removed.volumes,
        failures=removed.failures,
    )


def _remove_images(client: docker.DockerClient, removed: Removed) -> None:
    found = _attempt(removed, "list images", lambda: client.api.images(filters=project_filter())) or []
    for image in found:
        names = [name for name in image.get("RepoTags") or [] if name != "<none>:<none>"] or [image["Id"]]
        for name in names:
            try:
                client.api.remove_image(name)
                removed.images.append(name)
            except NotFound:
                continue
            except APIError as error:
                if error.status_code == 409:  # a container, hence a live run, uses it
                    removed.failures.append(f"image {name}: in use")
                else:
                    removed.failures.append(f"image {name}: {_one_line(error)}")


def _containers(client: docker.DockerClient, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
    return list(client.api.containers(all=True, filters=filters))


def _each(
    kind: str,
    items: list[dict[str, Any]],
    remove: Callable[[dict[str, Any]], Any],
    *,
    name: Callable[[dict[str, Any]], str],
    done: list[str],
    failures: list[str],
) -> None:
    def one(item: dict[str, Any]) -> str | None:
        for attempt in range(3):
            try:
                remove(item)
            except NotFound:
                return None
            except (APIError, RequestException) as error:
                if isinstance(error, APIError) and "already in progress" in str(error):
                    return None  # somebody else (a second `clean`) removes it at this moment
                if attempt == 2:
                    return _one_line(error)
                time.sleep(_PAUSE_BEFORE_RETRY_S)
            else:
                return None
        return None

    if not items:
        return
    with ThreadPoolExecutor(_PARALLEL_CALLS) as pool:
        for item, failure in zip(items, pool.map(one, items), strict=True):
            if failure is None:
                done.append(name(item))
            else:
                failures.append(f"{kind} {name(item)}: {failure}")


def _attempt(removed: Removed, what: str, call: Callable[[], T]) -> T | None:
    try:
        return call()
    except (DockerException, RequestException) as error:
        removed.failures.append(f"cannot {what}: {_one_line(error)}")
        return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
