"""Finds the binaries that run in containers, and builds ``FROM scratch`` images of them from memory.

No image is ever pulled. An image is tagged with the hash of what is in it, so an unchanged binary is not
built twice, and a changed one is never mistaken for the old.
"""

import fcntl
import hashlib
import io
import os
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError, BuildError, DockerException, ImageNotFound
from requests.exceptions import RequestException

import harness
from chaos.errors import InfrastructureError
from harness.labels import PROJECT, project_labels

NODE = "mcp-manager"
TOXIPROXY_VERSION = "v2.12.0"
TOXIPROXY_MODULE = f"github.com/Shopify/toxiproxy/v2/cmd/server@{TOXIPROXY_VERSION}"

NODE_BINARY_VARIABLE = "MCP_CHAOS_NODE_BINARY"
TOXIPROXY_BINARY_VARIABLE = "MCP_CHAOS_TOXIPROXY_BINARY"

NODE_BUILD_COMMAND = (
    'RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --target x86_64-unknown-linux-gnu '
    "-p mcp-manager-node --features plants,faults --manifest-path rust_core/Cargo.toml"
)

UNPRIVILEGED = 65534
"""User and group (nobody) as which the processes in the containers run."""

_BUILD_TIMEOUT_S = 600


@dataclass(frozen=True)
class Binary:
    """A program to put into an image: where it is, and how it was found (in words)."""

    path: Path
    found: str


@dataclass(frozen=True)
class Image:
    """An image in the engine: its tag, and whether this call built it."""

    tag: str
    built: bool


def node_binary(option: Path | None = None, environment: Mapping[str, str] = os.environ) -> Binary:
    """The static node binary. Raises :class:`InfrastructureError` that says which command builds it."""
    named = _named(option, "--node-binary", environment, NODE_BINARY_VARIABLE)
    if named is None:
        for candidate in _node_candidates(environment):
            if candidate.path.is_file():
                named = candidate
                break
    if named is None:
        raise InfrastructureError(
            f"no node binary {NODE!r} found (looked at --node-binary, {NODE_BINARY_VARIABLE}, the package, "
            f"the checkout's cargo target). Build it from a checkout with: {NODE_BUILD_COMMAND}"
        )
    _refuse_dynamic(named.path, f"Build it with: {NODE_BUILD_COMMAND}")
    return named


def toxiproxy_binary(option: Path | None = None, environment: Mapping[str, str] = os.environ) -> Binary:
    """The Toxiproxy server: the one named, or the cached one, which is built with Go when first needed."""
    named = _named(option, "--toxiproxy-binary", environment, TOXIPROXY_BINARY_VARIABLE)
    if named is None:
        cached = toxiproxy_cache(environment)
        if cached.is_file():
            return Binary(cached, "the user's cache")
        _build_toxiproxy(cached, environment)
        named = Binary(cached, f"built from {TOXIPROXY_MODULE}")
    _refuse_dynamic(named.path, "Build it with: ci/build-toxiproxy.sh")
    return named


def toxiproxy_is_at_hand(option: Path | None = None, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether :func:`toxiproxy_binary` answers without building."""
    named = option or environment.get(TOXIPROXY_BINARY_VARIABLE)
    return bool(named) or toxiproxy_cache(environment).is_file()


def toxiproxy_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the built Toxiproxy is kept, whether or not it is there yet."""
    base = environment.get("XDG_CACHE_HOME", "")
    home = Path(base) if base.startswith("/") else Path(environment.get("HOME") or Path.home()) / ".cache"
    return home / PROJECT / f"toxiproxy-{TOXIPROXY_VERSION}" / "server"


def ensure_image(
    client: docker.DockerClient, name: str, binary: Binary, directories: tuple[str, ...]
) -> Image:
    """An image that holds ``binary`` as ``/name`` and these empty directories; built only if it misses.

    Raises :class:`InfrastructureError` if the engine cannot build it.
    """
    try:
        content = binary.path.read_bytes()
    except OSError as error:
        raise InfrastructureError(f"cannot read {binary.path}: {error.strerror}") from error
    dockerfile = _dockerfile(name)
    identity = hashlib.sha256(repr((dockerfile, directories, UNPRIVILEGED)).encode() + content).hexdigest()
    tag = f"{PROJECT}/{name}:{identity[:16]}"
    try:
        try:
            client.images.get(tag)
        except ImageNotFound:
            root = tar({name: (content, 0o755)}, directories=directories)
            context = tar({"Dockerfile": (dockerfile.encode(), 0o644), "root.tar": (root, 0o644)})
            # `images.build` reads the engine's answer to the end and raises what went wrong in it.
            client.images.build(
                fileobj=io.BytesIO(context), custom_context=True, tag=tag, labels=project_labels(),
                rm=True, forcerm=True, network_mode="none",
            )  # fmt: skip
            return Image(tag, built=True)
    except (BuildError, APIError, DockerException, RequestException) as error:
        raise InfrastructureError(f"the engine could not build the image {tag}: {error}") from error
    return Image(tag, built=False)


def require_image(client: docker.DockerClient, tag: str) -> Image:
    """An image that the user named, which must be in the engine: nothing is pulled."""
    try:
        client.images.get(tag)
    except ImageNotFound as error:
        raise InfrastructureError(
            f"the engine has no image {tag!r}, and images are not pulled: load it first, or leave the option "
            "out to have one built"
        ) from error
    except (DockerException, RequestException) as error:
        raise InfrastructureError(f"the engine did not answer for the image {tag!r}: {error}") from error
    return Image(tag, built=False)


def tar(
    files: Mapping[str, tuple[bytes, int]], *, owner: int = 0, directories: tuple[str, ...] = ()
) -> bytes:
    """A tar of files of ``owner``, given as path → (content, mode), and of directories that only the
    unprivileged user may enter.

    Timestamps are zero: equal content gives equal bytes.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for directory in directories:
            entry = tarfile.TarInfo(directory.strip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o700
            entry.uid = entry.gid = UNPRIVILEGED
            archive.addfile(entry)
        for path, (content, mode) in files.items():
            entry = tarfile.TarInfo(path.strip("/"))
            entry.size, entry.mode, entry.uid, entry.gid = len(content), mode, owner, owner
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def untar(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """The regular files of a tar as (path, content). Links and devices are passed over."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for member in opened:
            if member.isfile() and (handle := opened.extractfile(member)) is not None:
                yield member.name, handle.read()


def is_static(path: Path) -> bool:
    """Whether a file is an ELF program that needs no dynamic loader (it has no ``PT_INTERP`` segment).

    Raises :class:`InfrastructureError` if it is no ELF program at all.
    """
    program_header_interpreter = 3
    try:
        with path.open("rb") as file:
            header = file.read(64)
            if len(header) < 64 or header[:4] != b"\x7fELF" or header[4] != 2 or header[5] != 1:
                raise InfrastructureError(f"{path} is not a 64-bit little-endian ELF program")
            (table_offset,) = struct.unpack_from("<Q", header, 32)
            entry_size, entries = struct.unpack_from("<HH", header, 54)
            file.seek(table_offset)
            table = file.read(entry_size * entries)
    except OSError as error:
        raise InfrastructureError(f"cannot read {path}: {error.strerror}") from error
    offsets = range(0, len(table), entry_size)
    return all(struct.unpack_from("<I", table, at)[0] != program_header_interpreter for at in offsets)


def _dockerfile(name: str) -> str:
    return f'FROM scratch\nADD root.tar /\nUSER {UNPRIVILEGED}:{UNPRIVILEGED}\nENTRYPOINT ["/{name}"]\n'


def _named(option: Path | None, flag: str, environment: Mapping[str, str], variable: str) -> Binary | None:
    """What the user named must exist: falling back to another binary would test the wrong one."""
    for value, how in ((option, flag), (environment.get(variable), variable)):
        if value:
            path = Path(value)
            if not path.is_file():
                raise InfrastructureError(f"{how} names {path}, which is not a file")
            return Binary(path, how)
    return None


def _node_candidates(environment: Mapping[str, str]) -> Iterator[Binary]:
    package = Path(harness.__file__).parent
    yield Binary(package / "bin" / NODE, "the package")
    workspace = package.parent / "rust_core"
    if (workspace / "Cargo.toml").is_file():
        target = environment.get("CARGO_TARGET_DIR") or workspace / "target"
        yield Binary(
            Path(target) / "x86_64-unknown-linux-gnu" / "release" / NODE, "the checkout's cargo target"
        )


def _refuse_dynamic(path: Path, cure: str) -> None:
    if not is_static(path):
        raise InfrastructureError(
            f"{path} is dynamically linked: it cannot run in an empty container. {cure}"
        )


def _build_toxiproxy(target: Path, environment: Mapping[str, str]) -> None:
    go = shutil.which("go", path=environment.get("PATH"))
    if go is None:
        raise InfrastructureError(
            f"Toxiproxy is needed for link faults, and there is no Go to build it. Install Go, or name a "
            f"Toxiproxy {TOXIPROXY_VERSION} server with --toxiproxy-binary, {TOXIPROXY_BINARY_VARIABLE} or "
            "--toxiproxy-image"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.parent / "lock"):
            if target.is_file():
                return  # another process built it while this one waited
            staging = target.parent / "staging"
            shutil.rmtree(staging, ignore_errors=True)
            result = subprocess.run(  # noqa: S603 - the command is fixed
                [go, "install", TOXIPROXY_MODULE],
                env={**environment, "CGO_ENABLED": "0", "GOBIN": str(staging), "GOFLAGS": "-trimpath"},
                capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S, check=False,
            )  # fmt: skip
            if result.returncode != 0:
                raise InfrastructureError(
                    f"`go install {TOXIPROXY_MODULE}` failed: {result.stderr.strip()[-1000:]}"
                )
            (staging / "server").replace(target)
            shutil.rmtree(staging, ignore_errors=True)
    except subprocess.TimeoutExpired as error:
        raise InfrastructureError(
            f"`go install {TOXIPROXY_MODULE}` took more than {_BUILD_TIMEOUT_S} s"
        ) from error
    except OSError as error:
        raise InfrastructureError(f"cannot keep Toxiproxy in {target.parent}: {error}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
