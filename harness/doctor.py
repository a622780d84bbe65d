"""What works on this machine, and how to get what does not. Changes nothing: it builds and starts nothing."""

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chaos.errors import InfrastructureError
from harness import images

_LEAST_PYTHON = (3, 11)
_OLDEST_API = (1, 40)


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``optional``: `sim` works without it."""

    name: str
    ok: bool
    optional: bool
    found: str
    cure: str | None = None
    """What to do about it, if anything is to be done."""

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def examine(node_binary: Path | None = None, toxiproxy_binary: Path | None = None) -> list[Finding]:
    """Looks at everything. Never raises for what it finds."""
    findings = [_python(), _extension(), *_engine()]
    findings.append(_binary("node binary", lambda: images.node_binary(node_binary)))
    findings += _toxiproxy(toxiproxy_binary)
    return findings


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= _LEAST_PYTHON
    least = ".".join(map(str, _LEAST_PYTHON))
    return Finding("Python", ok, False, found, None if ok else f"Install Python {least} or later.")


def _extension() -> Finding:
    cure = "In a checkout run `make setup`; elsewhere install the wheel again."
    try:
        core = importlib.import_module("chaos._core")
    except ImportError as error:
        return Finding("extension chaos._core", False, False, f"cannot be imported ({error})", cure)
    planted = len(getattr(core, "PLANTS", ()))
    found = f"{getattr(core, '__file__', 'built in')}, {planted} planted bugs"
    return Finding("extension chaos._core", True, False, found)


def _engine() -> Iterator[Finding]:
    cure = "On Debian run `ci/install-docker.sh` from a checkout; else see https://docs.docker.com/engine/install/."
    # Imported here: it needs the extension, which may be what is missing.
    try:
        from harness.backends.engine import free_subnets, taken_subnets  # noqa: PLC0415
        from harness.clean import connect  # noqa: PLC0415
    except ImportError as error:
        yield Finding("Docker engine", False, True, f"not looked at ({error.name or error} is missing)", None)
        return

    try:
        client = connect(timeout_s=5)
    except InfrastructureError as error:
        yield Finding("Docker engine", False, True, str(error), cure)
        return
    with _closing(client):
        try:
            version = client.version()
            spoken = tuple(int(part) for part in str(version.get("ApiVersion", "0.0")).split("."))
            system = version.get("Os", "")
            found = f"{version.get('Version', '?')} (API {version.get('ApiVersion', '?')}, {system})"
            ok = spoken >= _OLDEST_API and system == "linux"
            yield Finding(
                "Docker engine", ok, True, found, None if ok else "Docker 20.10 or later, on Linux."
            )
            subnet = next(free_subnets(taken_subnets(client), "doctor"), None)
        except Exception as error:  # noqa: BLE001 - whatever the engine does, doctor reports it
            yield Finding("Docker engine", False, True, f"answers, but not as expected: {error}", cure)
            return
    if subnet is None:
        yield Finding(
            "free subnet", False, True, "none", "`mcp-chaos clean` removes the networks of dead runs."
        )
    else:
        yield Finding("free subnet", True, True, f"{subnet} among others")


def _toxiproxy(option: Path | None) -> list[Finding]:
    go = shutil.which("go")
    findings = []
    if images.toxiproxy_is_at_hand(option):
        findings.append(_binary("Toxiproxy", lambda: images.toxiproxy_binary(option)))
    elif go is not None:
        found = f"not built yet; the first Docker run builds {images.TOXIPROXY_VERSION} with Go, once"
        findings.append(Finding("Toxiproxy", True, True, found))
    else:
        cure = f"Install Go, or name a server with --toxiproxy-binary or {images.TOXIPROXY_BINARY_VARIABLE}."
        findings.append(Finding("Toxiproxy", False, True, "not built, and there is no Go to build it", cure))
    needed = None if go or findings[0].ok else "It builds Toxiproxy: https://go.dev/doc/install."
    findings.append(Finding("Go", go is not None, True, go or "not found", needed))
    return findings


def _binary(name: str, find: Callable[[], images.Binary]) -> Finding:
    try:
        binary = find()
    except InfrastructureError as error:
        found, _, cure = str(error).partition(". ")
        return Finding(name, False, True, found, cure or None)
    return Finding(name, True, True, f"{binary.path} ({binary.found})")


@contextmanager
def _closing(client: Any) -> Iterator[None]:
    try:
        yield
    finally:
        client.close()
