"""What containers are made from: binaries found or built, images built of them, and words on where they came from."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException

from chaos.errors import InfrastructureError, UsageError
from harness import images
from harness.cluster import OnProgress, Progress, RunOptions
from harness.systems import mcp_manager as system

TOXIPROXY = "toxiproxy"

_PROGRAM_TIMEOUT_S = 30


@dataclass(frozen=True)
class Images:
    """What the containers of a run are made from, and words on where it came from."""

    node: images.Image
    node_binary: images.Binary
    node_version: str
    toxiproxy: images.Image
    toxiproxy_source: str
    engine: str
    """The engine's version."""


def prepare_images(client: docker.DockerClient, options: RunOptions, on_progress: OnProgress) -> Images:
    """Finds the binaries and builds the images that are not built yet.

    Raises :class:`InfrastructureError` that says which command cures it.
    """
    binary = images.node_binary(options.node_binary)
    version = _said_by(binary, options.plants)
    if options.toxiproxy_image is not None:
        toxiproxy, source = images.require_image(client, options.toxiproxy_image), "an image that was named"
    else:
        if not images.toxiproxy_is_at_hand(options.toxiproxy_binary):
            on_progress(Progress("build", f"building Toxiproxy {images.TOXIPROXY_VERSION} with Go, once"))
        server = images.toxiproxy_binary(options.toxiproxy_binary)
        toxiproxy = images.ensure_image(client, TOXIPROXY, server, ())
        source = f"{server.path} ({server.found})"
    node = images.ensure_image(client, system.PROGRAM, binary, system.DIRECTORIES)
    try:
        engine = str(client.version().get("Version", ""))
    except (DockerException, RequestException) as error:
        raise InfrastructureError(f"the Docker engine does not say its version: {error}") from error
    return Images(node, binary, version, toxiproxy, source, engine)


def _said_by(binary: images.Binary, plants: Sequence[str]) -> str:
    """The node's version. Raises :class:`UsageError` if the build lacks one of the planted bugs."""
    program = str(binary.path)
    try:
        version = system.read_version(output_of(system.version_command(program)))
        known = system.read_plants(output_of(system.plants_command(program))) if plants else []
    except ValueError as error:
        raise InfrastructureError(
            f"{program} ({binary.found}) does not seem to be a node: {error}"
        ) from error
    missing = sorted(set(plants) - set(known))
    if missing:
        carries = (
            f"it carries {', '.join(known)}" if known else f"build one that does: {images.NODE_BUILD_COMMAND}"
        )
        raise UsageError(f"--plant {missing[0]}: {program} ({version}) does not carry it; {carries}")
    return version


def output_of(command: list[str]) -> str:
    """What a command of the node binary prints. Raises :class:`InfrastructureError` if it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - the program is the node binary that was chosen
            command, capture_output=True, text=True, timeout=_PROGRAM_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InfrastructureError(f"`{' '.join(command)}` could not be run: {error}") from error
    if done.returncode != 0:
        raise InfrastructureError(
            f"`{' '.join(command)}` ended with exit code {done.returncode}: {done.stderr.strip()[-500:]}"
        )
    return done.stdout
