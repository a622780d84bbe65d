"""What is asked of a Docker engine on behalf of one run: everything made here carries the run's labels.

The calls block; :meth:`Engine.call` takes them off the event loop. No port is ever published and no image
pulled: the host reaches container addresses over the bridge.
"""

import asyncio
import hashlib
import ipaddress
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.types import IPAMConfig, IPAMPool, LogConfig
from requests.exceptions import RequestException

from chaos.errors import InfrastructureError
from harness.backends import engineless
from harness.clean import remove_containers, remove_run
from harness.labels import PROJECT, Owner, run_filter

T = TypeVar("T")

_SUBNETS = ipaddress.IPv4Network("10.188.0.0/14")
"""Runs take /24s of this private range."""
_SUBNET_ATTEMPTS = 32
_PARALLEL_CALLS = 12
_MEMORY_BYTES = 512 * 1024 * 1024
_PROCESSES = 256
_LOG_BYTES = "20m"
_EXIT_TIMEOUT_S = 10
_IN_FLIGHT_TIMEOUT_S = 30.0
_REMOVAL_ATTEMPTS = 3
_REMOVAL_PAUSE_S = 1.0
_LAST_LOG_LINES = 12
_HAS_PROCESSES = frozenset({"running", "paused", "restarting"})


class Engine:
    """One run's objects in a Docker engine. Containers are named by their ids.

    The blocking methods raise what the Docker package raises; through :meth:`call` that becomes
    :class:`InfrastructureError`.
    """

    def __init__(self, client: docker.DockerClient, owner: Owner) -> None:
        self.client = client
        self.owner = owner
        self._pool = ThreadPoolExecutor(_PARALLEL_CALLS, thread_name_prefix="engine")
        self._background = ThreadPoolExecutor(1, thread_name_prefix="engine-background")
        self._last: Future[object] | None = None
        self._in_flight: set[asyncio.Future[Any]] = set()
        self._made: set[str] = set()
        self._closing = False

    async def call(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Runs a blocking call in a thread. Cancelling the caller does not lose sight of the call:
        :meth:`remove_all` waits for it, since it may be making a container at that moment.
        """
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, partial(_translated, function, *arguments, **named))
        self._in_flight.add(future)
        future.add_done_callback(self._finished)
        return await asyncio.shield(future)

    def later(self, function: Callable[..., object], *arguments: Any) -> None:
        """Runs a blocking call after the others that were given here, one at a time, whether or not the event
        loop runs. What it raises is lost: it is for what can as well be done afterwards.
        """
        if not self._closing:
            self._last = self._background.submit(function, *arguments)

    async def afterwards(self) -> None:
        """Waits until all that was given to :meth:`later` is done."""
        if self._last is not None:
            await asyncio.wait({asyncio.wrap_future(self._last)})

    def _finished(self, future: asyncio.Future[Any]) -> None:
        self._in_flight.discard(future)
        if not future.cancelled():
            future.exception()  # looked at: whoever waited for it may be gone

    # Blocking

    def make_network(self, name: str) -> ipaddress.IPv4Network:
        """A bridge network with a free subnet of its own and no way out."""
        for attempt, subnet in enumerate(free_subnets(taken_subnets(self.client), self.owner.run)):
            pool = IPAMPool(subnet=str(subnet), gateway=str(subnet[1]))
            try:
                self.client.networks.create(
                    self.name(name),
                    driver="bridge",
                    internal=True,
                    check_duplicate=True,
                    ipam=IPAMConfig(pool_configs=[pool]),
                    labels=self.owner.labels(),
                )
            except APIError as error:
                # Another run, or another process, took it in the meantime.
                if "overlap" in str(error).lower() and attempt < _SUBNET_ATTEMPTS:
                    continue
                raise
            return subnet
        raise InfrastructureError(f"no free /24 in {_SUBNETS}: `mcp-chaos clean` removes dead runs' networks")

    def make_container(
        self, name: str, image: str, command: list[str], network: str, address: str, **environment: str
    ) -> str:
        """A container that may do nothing but run its one program, and is not started yet. Gives its id.

        Its host name is what follows the last `-` of its name.
        """
        if self._closing:
            raise InfrastructureError("the run is being ended")
        api = self.client.api
        host = api.create_host_config(
            network_mode=network,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            pids_limit=_PROCESSES,
            mem_limit=_MEMORY_BYTES,
            log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": _LOG_BYTES}),
        )
        made = api.create_container(
            image,
            command,
            name=self.name(name),
            hostname=name.rpartition("-")[2],
            environment=environment,
            labels=self.owner.labels(),
            host_config=host,
            networking_config={
                "EndpointsConfig": {network: api.create_endpoint_config(ipv4_address=address)}
            },
        )
        container = str(made["Id"])
        self._made.add(container)
        return container

    def put(self, container: str, directory: str, archive: bytes) -> None:
        """Unpacks a tar in a directory of a container."""
        self.client.api.put_archive(container, directory, archive)

    def start(self, container: str) -> None:
        """Starts its program, on the data it had."""
        self.client.api.start(container)

    def kill(self, container: str) -> int:
        """Waits until it has ended; its exit code. A container that has ended already is left alone."""
        try:
            self.client.api.kill(container)
        except APIError as error:
            if error.status_code != 409:  # 409: it is not running
                raise
        return int(self.client.api.wait(container, timeout=_EXIT_TIMEOUT_S)["StatusCode"])

    def pause(self, container: str, *, pause: bool) -> None:
        """Freezes or thaws its processes, if they are not so already."""
        change = self.client.api.pause if pause else self.client.api.unpause
        try:
            change(container)
        except APIError as error:
            # 409, of older engines 500: it is not running, or is so already. Its state tells.
            known = any(
                words in str(error) for words in ("is not running", "is not paused", "already paused")
            )
            if error.status_code not in {409, 500} or not known:
                raise

    def state(self, container: str) -> dict[str, Any]:
        """Docker's own `State`."""
        state: dict[str, Any] = self.client.api.inspect_container(container)["State"]
        return state

    def with_processes(self) -> set[str]:
        """The run's containers that have not ended."""
        listed = self.client.api.containers(filters=run_filter(self.owner.run))
        return {item["Id"] for item in listed if item["State"] in _HAS_PROCESSES}

    def log(self, container: str, since_s: float) -> bytes:
        """Standard output and error since a time (seconds since 1970)."""
        content: bytes = self.client.api.logs(container, since=since_s)
        return content

    def log_end(self, container: str) -> str:
        """The last lines of it."""
        content: bytes = self.client.api.logs(container, tail=_LAST_LOG_LINES)
        return content.decode(errors="replace")

    def archive(self, container: str, path: str) -> bytes | None:
        """A tar of a file or directory; ``None`` if there is none (the process never ran)."""
        try:
            chunks, _stat = self.client.api.get_archive(container, path)
        except NotFound:
            return None
        return b"".join(chunks)

    def remove(self, containers: Collection[str]) -> set[str]:
        """Kills and removes containers. Returns those that are gone; :meth:`remove_all` tries the others again."""
        gone = remove_containers(self.client, containers)
        self._made -= gone
        return gone

    # The end

    async def remove_all(self) -> list[str]:
        """Waits for calls that are under way (they may still make something), then removes all of the run.

        Returns what could not be removed, in words. Repeatable.
        """
        self._closing = True
        loop = asyncio.get_running_loop()
        background = partial(self._background.shutdown, cancel_futures=True)
        waits = [*self._in_flight, loop.run_in_executor(self._pool, background)]
        await asyncio.wait(waits, timeout=_IN_FLIGHT_TIMEOUT_S)
        for attempt in range(_REMOVAL_ATTEMPTS):
            removed = await loop.run_in_executor(self._pool, remove_run, self.client, self.owner.run)
            if not removed.failures:
                return []
            if attempt + 1 < _REMOVAL_ATTEMPTS:
                await asyncio.sleep(_REMOVAL_PAUSE_S)
        # Without its engine a container goes on running: at least its processes must not.
        running = engineless.kill_all(self._made)
        still = f"; still running: {', '.join(running)}" if running else "; its processes were killed"
        return [
            f"the engine did not remove the run's objects ({removed.failures[0]}){still}. "
            "`mcp-chaos clean` removes them once the engine answers"
        ]

    def close(self) -> None:
        """Gives back the threads and the connection. After :meth:`remove_all`."""
        self._pool.shutdown(wait=False)
        self._background.shutdown(wait=False)
        self.client.close()

    def name(self, what: str) -> str:
        """The name in the engine of what the run calls so."""
        return f"{PROJECT}-{self.owner.run}-{what}"


def free_subnets(taken: Sequence[ipaddress.IPv4Network], run: str) -> Iterator[ipaddress.IPv4Network]:
    """The /24s of our range that overlap nothing taken, beginning at a place that depends on the run.

    Two runs that start at the same time thus rarely want the same one.
    """
    subnets = list(_SUBNETS.subnets(new_prefix=24))
    first = int.from_bytes(hashlib.sha256(run.encode()).digest()[:4], "big") % len(subnets)
    for subnet in subnets[first:] + subnets[:first]:
        if not any(subnet.overlaps(other) for other in taken):
            yield subnet


def taken_subnets(client: docker.DockerClient) -> list[ipaddress.IPv4Network]:
    """The subnets of the engine's networks and of this machine's routes (IPv4)."""
    taken = [
        ipaddress.IPv4Network(pool["Subnet"], strict=False)
        for network in client.api.networks()
        for pool in (network.get("IPAM") or {}).get("Config") or []
        if ":" not in pool.get("Subnet", ":")
    ]
    with suppress(OSError):  # no such file on this system: the engine refuses what overlaps
        for line in Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            destination, mask = (int.from_bytes(bytes.fromhex(fields[at]), "little") for at in (1, 7))
            if mask:  # the default route overlaps everything
                taken.append(ipaddress.IPv4Network((destination, mask.bit_count()), strict=False))
    return taken


def _translated(function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    try:
        return function(*arguments, **named)
    except NotFound as error:
        raise InfrastructureError(
            f"the engine does not know it (removed by somebody else?): {error}"
        ) from error
    except (DockerException, RequestException) as error:
        raise InfrastructureError(f"the Docker engine: {' '.join(str(error).split())}") from error
