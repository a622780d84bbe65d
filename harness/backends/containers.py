"""A cluster of real processes in containers, with a Toxiproxy between every two of them (`--backend docker`).

Each run has a network of its own, with fixed addresses and no way out; no port is published, since the host
reaches container addresses over the bridge. A node's data lies in its container's writable layer: it outlives
kill and start, and is gone with the container.
"""

import asyncio
import hashlib
import ipaddress
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import docker
from docker.errors import APIError, DockerException, NotFound
from docker.types import IPAMConfig, IPAMPool, LogConfig
from requests.exceptions import RequestException

from chaos.errors import InfrastructureError, UsageError
from harness import images, links
from harness.backends import engineless
from harness.backends.realtime import Interruption, LiveRun
from harness.clean import connect, remove_run, scratch_directory
from harness.cluster import (
    CLIENTS,
    Collected,
    Death,
    Json,
    Link,
    NodeStatus,
    NodeView,
    OnProgress,
    Progress,
    RunClock,
    RunOptions,
    RunResult,
    as_json,
    leader_of,
    needs_of,
    refuse_loss,
    refuse_unsupported,
    with_recorded_anchors,
    without_steps,
)
from harness.labels import PROJECT, Owner, run_filter
from harness.systems import mcp_manager as system

T = TypeVar("T")

TOXIPROXY = "toxiproxy"

_SUBNETS = ipaddress.IPv4Network("10.188.0.0/14")
"""Runs take /24s of this private range."""
_SUBNET_ATTEMPTS = 32
_TOXIPROXY_HOST = 2
_FIRST_NODE_HOST = 10
_PARALLEL_CALLS = 12
_MEMORY_BYTES = 512 * 1024 * 1024
_PROCESSES = 256
_LOG_BYTES = "20m"
_OBSERVE_TIMEOUT_S = 0.25
_POLL_S = 0.025
_WATCH_S = 0.5
_WATCH_FAILURES_UNTIL_LOST = 3
_EXIT_TIMEOUT_S = 10
_REVIVE_TIMEOUT_S = 5.0
_IN_FLIGHT_TIMEOUT_S = 30.0
_REMOVAL_ATTEMPTS = 3
_REMOVAL_PAUSE_S = 1.0
_PROGRAM_TIMEOUT_S = 30
_LAST_LOG_LINES = 12
_KILLED = 137
_HAS_PROCESSES = frozenset({"running", "paused", "restarting"})
_NO_SPACE = "No space left on device"


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


async def run_docker(
    plan: str | Mapping[str, Any],
    options: RunOptions,
    on_progress: OnProgress = lambda _progress: None,
) -> RunResult:
    """Carries a compiled plan out on containers, and removes every trace of it from the engine.

    Raises :class:`chaos.errors.UnsupportedError` or :class:`InfrastructureError` if it cannot begin. From the
    first container on it always returns: failures are in ``problems``, a signal is in ``interrupted``.
    """
    compiled = with_recorded_anchors(as_json(plan), options.recorded_anchors)
    skips = refuse_unsupported(needs_of(compiled), "docker", options.skip_unsupported)
    lossless = refuse_loss(compiled, "docker", options.skip_unsupported)
    steps = {step["id"]: step for step in compiled["steps"]}
    left_out = [(steps[skip.step], skip) for skip in skips]
    compiled = without_steps(compiled, skips)
    began_s = time.monotonic()
    client = await asyncio.to_thread(connect)
    made_from = await asyncio.to_thread(prepare_images, client, options, on_progress)
    build_s = time.monotonic() - began_s
    cluster = ContainerCluster(client, made_from, compiled, options)
    try:
        with Interruption() as interruption:
            run = LiveRun("docker", compiled, left_out, on_progress)
            result = await run.carry_out(interruption, cluster, build_s)
        if lossless:
            result.info.setdefault("notes", []).append(lossless)
        return result
    finally:
        cluster.close()


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
        version = system.read_version(_output(system.version_command(program)))
        known = system.read_plants(_output(system.plants_command(program))) if plants else []
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


class ContainerCluster:
    """A :class:`harness.cluster.Cluster` on a Docker engine. One in a process at a time (see `links`)."""

    def __init__(
        self,
        client: docker.DockerClient,
        made_from: Images,
        compiled: Mapping[str, Any],
        options: RunOptions,
    ) -> None:
        self.nodes = tuple(f"n{number}" for number in range(1, compiled["nodes"] + 1))
        self.lost = asyncio.Event()
        """Set when the engine or the proxy is gone: the run cannot go on."""
        self.problems: list[str] = []
        self.deaths: list[Death] = []
        self.epoch_ns = 0
        """The time 0 of the nodes' traces, as CLOCK_MONOTONIC shows it."""
        self.clock = RunClock()
        self.token = secrets.token_hex(16)
        self.subnet: ipaddress.IPv4Network | None = None
        self._client = client
        self._images = made_from
        self._compiled = compiled
        self._options = options
        self._run = secrets.token_hex(6)
        self._owner = Owner.current(self._run)
        self._containers: dict[str, str] = {}
        self._links: links.Links | None = None
        self._session: aiohttp.ClientSession | None = None
        self._down: set[str] = set()
        self._paused: set[str] = set()
        self._boots: dict[str, int] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._pool = ThreadPoolExecutor(_PARALLEL_CALLS, thread_name_prefix="engine")
        self._in_flight: set[asyncio.Future[Any]] = set()
        self._closing = False

    # Start-up

    async def start(self) -> None:
        """Makes network, proxies and nodes, as far as possible at the same time."""
        self.epoch_ns = time.monotonic_ns()
        self._session = aiohttp.ClientSession(headers=system.authorization(self.token))
        _network, material = await _all(self._call(self._make_network), self._call(self._make_secrets))
        await _all(
            self._start_toxiproxy(),
            *(self._call(self._make_node, node, material[node]) for node in self.nodes),
        )
        await _all(*(self._call(self._engine_start, node) for node in self.nodes))
        self._watcher = asyncio.create_task(self._watch())

    async def ready(self) -> None:
        """Founds every node and waits until one leads and all know it.

        Raises :class:`InfrastructureError` with each container's state and last log lines if a process ends
        before that, or the time runs out.
        """
        deadline_s = time.monotonic() + self._options.ready_timeout_s
        request = system.initialize(self._run, self.nodes)
        await _all(*(self._found(node, request, deadline_s) for node in self.nodes))
        while True:
            views = await self.observe()
            leader = leader_of(views.values())
            known = {view.status.leader if view.status else None for view in views.values()}
            if leader is not None and known == {leader}:
                return
            await self._wait_on(deadline_s, "one leader that all nodes know")

    def client_addresses(self) -> dict[str, str]:
        """Node → the URL at which clients reach it, through its clients' proxy."""
        host = self._address(_TOXIPROXY_HOST)
        return {node: f"http://{host}:{links.port_of((CLIENTS, node))}" for node in self.nodes}

    # Faults

    async def kill(self, node: str) -> Json:
        """SIGKILL, also of a paused process; then waits until the engine says that it has ended."""
        self._down.add(node)
        self._paused.discard(node)
        return {"running": False, "exit_code": await self._call(self._engine_kill, node)}

    async def revive(self, node: str) -> Json:
        """Starts the container again, and waits until the node answers under a new boot number.

        A node that ends instead (because it refuses its data, say) is evidence, not an error.
        """
        broken = next((death for death in self.deaths if death.node == node), None)
        if broken is not None:  # It broke down by itself: what it would do next is nobody's promise.
            return {"running": False, "boot": None, "exit_code": broken.exit_code}
        before = self._boots.get(node, 0)
        await self._call(self._engine_start, node)
        self._down.discard(node)
        deadline_s = time.monotonic() + _REVIVE_TIMEOUT_S
        while node not in self._down and time.monotonic() < deadline_s:
            status = await self._status(node)
            if status is not None and status.boot > before:
                return {"running": True, "boot": status.boot}
            await asyncio.sleep(_POLL_S)
        state = await self._call(self._state, node)
        return {"running": state["Running"], "boot": None, "exit_code": state["ExitCode"]}

    async def pause(self, node: str) -> Json:
        """Freezes the container's processes. One that has ended stays as it is."""
        self._paused.add(node)
        await self._call(self._engine_pause, node, pause=True)
        state = await self._call(self._state, node)
        if not state["Paused"]:
            self._paused.discard(node)
        return {"paused": state["Paused"], "running": state["Running"]}

    async def resume(self, node: str) -> Json:
        """Thaws them."""
        await self._call(self._engine_pause, node, pause=False)
        self._paused.discard(node)
        state = await self._call(self._state, node)
        return {"paused": state["Paused"], "running": state["Running"]}

    async def cut(self, links: Collection[Link]) -> Json:
        """Swallows what flows on these links."""
        await self._call(self._proxied.cut, links)
        return {"toxics": await self._toxics(links)}

    async def restore(self, links: Collection[Link]) -> Json:
        """Lets them carry again."""
        await self._call(self._proxied.restore, links)
        return {"toxics": await self._toxics(links)}

    async def delay(self, name: str, links: Collection[Link], min_ns: int, max_ns: int) -> Json:
        """Adds a delay to these links."""
        delay = await self._call(self._proxied.delay, name, links, min_ns, max_ns)
        made = {"latency_ms": delay.latency_ms, "jitter_ms": delay.jitter_ms}
        return {**made, "toxics": await self._toxics(links)}

    async def undelay(self, name: str, links: Collection[Link]) -> Json:
        """Takes it away."""
        await self._call(self._proxied.undelay, name, links)
        return {"toxics": await self._toxics(links)}

    async def transfer_leader(self, leader: str, to: str) -> Json:
        """Asks the leader, directly and not through its proxy."""
        try:
            code, content = await self._ask(leader, system.transfer_leader(to), _OBSERVE_TIMEOUT_S * 4)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Another fault took the leader in this very moment.
            return {"asked": leader, "to": to, "answer": 0, "message": f"no answer ({type(error).__name__})"}
        return {"asked": leader, "to": to, "answer": code, "message": content.decode(errors="replace")[:200]}

    async def observe(self) -> dict[str, NodeView]:
        """Every node as it is now; nodes that the harness holds down or paused are not asked."""
        answers = await asyncio.gather(*(self._status(node) for node in self.nodes))
        return {
            node: NodeView(node, running=node not in self._down, paused=node in self._paused, status=status)
            for node, status in zip(self.nodes, answers, strict=True)
        }

    # The end

    async def collect(self) -> Collected:
        """Kills what still runs (so that traces end after all that clients saw), then reads everything."""
        collected = Collected()
        self._down.update(self.nodes)
        jobs = [self._collect_one(node, collected) for node in (*self.nodes, TOXIPROXY)]
        await asyncio.gather(*jobs)
        return collected

    async def stop(self) -> list[str]:
        """Waits for calls that are under way (they may still make something), then removes all of the run."""
        self._closing = True
        if self._watcher is not None:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        if self._in_flight:
            await asyncio.wait(set(self._in_flight), timeout=_IN_FLIGHT_TIMEOUT_S)
        if self._links is not None:
            self._links.detach()
        if self._session is not None:
            await self._session.close()
            self._session = None
        loop = asyncio.get_running_loop()
        for attempt in range(_REMOVAL_ATTEMPTS):
            removed = await loop.run_in_executor(self._pool, remove_run, self._client, self._run)
            if not removed.failures:
                return []
            if attempt + 1 < _REMOVAL_ATTEMPTS:
                await asyncio.sleep(_REMOVAL_PAUSE_S)
        # Without its engine a container goes on running: at least its processes must not.
        running = engineless.kill_all(list(self._containers.values()))
        still = f"; still running: {', '.join(running)}" if running else "; its processes were killed"
        return [
            f"the engine did not remove the run's objects ({removed.failures[0]}){still}. "
            "`mcp-chaos clean` removes them once the engine answers"
        ]

    def close(self) -> None:
        """Gives back the threads and the engine's connection. After ``stop``."""
        self._pool.shutdown(wait=False)
        self._client.close()

    def builds(self) -> dict[str, str]:
        """Program → version."""
        return {
            "mcp-manager": self._images.node_version,
            "toxiproxy": f"{images.TOXIPROXY_VERSION} ({self._images.toxiproxy_source})",
            "docker": self._images.engine,
        }

    def info(self) -> Json:
        """What the run was made from."""
        base = self._base_delay()
        return {
            "run": self._run,
            "subnet": str(self.subnet),
            "node_image": self._images.node.tag,
            "node_binary": f"{self._images.node_binary.path} ({self._images.node_binary.found})",
            "toxiproxy_image": self._images.toxiproxy.tag,
            "base_latency_ms": {"latency": base.latency_ms, "jitter": base.jitter_ms},
        }

    # The engine, blocking: these run in threads, through `_call`

    def _make_network(self) -> None:
        for attempt, subnet in enumerate(free_subnets(taken_subnets(self._client), self._run)):
            pool = IPAMPool(subnet=str(subnet), gateway=str(subnet[1]))
            try:
                self._client.networks.create(
                    self._name("net"),
                    driver="bridge",
                    internal=True,
                    check_duplicate=True,
                    ipam=IPAMConfig(pool_configs=[pool]),
                    labels=self._owner.labels(),
                )
            except APIError as error:
                # Another run, or another process, took it in the meantime.
                if "overlap" in str(error).lower() and attempt < _SUBNET_ATTEMPTS:
                    continue
                raise
            self.subnet = subnet
            return
        raise InfrastructureError(f"no free /24 in {_SUBNETS}: `mcp-chaos clean` removes dead runs' networks")

    def _make_secrets(self) -> dict[str, bytes]:
        """Each node's TLS material and the token, as a tar for its container."""
        directory = scratch_directory(self._owner)
        try:
            target = directory / "tls"
            program = str(self._images.node_binary.path)
            _output(system.certificates_command(program, str(target), len(self.nodes)))
            return {
                node: images.tar(
                    {name: ((target / name).read_bytes(), 0o600) for name in system.secrets_of(node)}
                    | {"token": (self.token.encode(), 0o600)},
                    owner=images.UNPRIVILEGED,
                )
                for node in self.nodes
            }
        except OSError as error:
            raise InfrastructureError(f"cannot read the TLS material that was written: {error}") from error
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _make_node(self, node: str, material: bytes) -> None:
        proxy = self._address(_TOXIPROXY_HOST)
        peers = {peer: f"{proxy}:{links.port_of((node, peer))}" for peer in self.nodes if peer != node}
        command = system.serve_command(
            node, peers, self._compiled, epoch_ns=self.epoch_ns, plants=self._options.plants
        )
        self._make_container(node, self._images.node.tag, command, {})
        self._client.api.put_archive(self._containers[node], system.SECRETS_DIRECTORY, material)

    def _make_container(self, name: str, image: str, command: list[str], environment: dict[str, str]) -> None:
        if self._closing:
            raise InfrastructureError("the run is being ended")
        network = self._name("net")
        address = self._address(_TOXIPROXY_HOST if name == TOXIPROXY else self._node_host(name))
        api = self._client.api
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
            name=self._name(name),
            hostname=name,
            environment=environment,
            labels=self._owner.labels(),
            host_config=host,
            networking_config={
                "EndpointsConfig": {network: api.create_endpoint_config(ipv4_address=address)}
            },
        )
        self._containers[name] = made["Id"]

    def _engine_start(self, name: str) -> None:
        self._client.api.start(self._containers[name])

    def _engine_kill(self, name: str) -> int:
        """The exit code. A container that has ended already is left alone."""
        try:
            self._client.api.kill(self._containers[name])
        except APIError as error:
            if error.status_code != 409:  # 409: it is not running
                raise
        return int(self._client.api.wait(self._containers[name], timeout=_EXIT_TIMEOUT_S)["StatusCode"])

    def _engine_pause(self, name: str, *, pause: bool) -> None:
        change = self._client.api.pause if pause else self._client.api.unpause
        try:
            change(self._containers[name])
        except APIError as error:
            # 409, of older engines 500: it is not running, or is so already. Its state tells.
            known = any(
                words in str(error) for words in ("is not running", "is not paused", "already paused")
            )
            if error.status_code not in {409, 500} or not known:
                raise

    def _state(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = self._client.api.inspect_container(self._containers[name])["State"]
        return state

    def _log(self, name: str) -> bytes:
        content: bytes = self._client.api.logs(self._containers[name])
        return content

    def _log_end(self, name: str) -> str:
        content: bytes = self._client.api.logs(self._containers[name], tail=_LAST_LOG_LINES)
        return content.decode(errors="replace")

    def _archive(self, name: str, path: str) -> bytes | None:
        """A tar of a file or directory; ``None`` if there is none (the process never ran)."""
        try:
            chunks, _stat = self._client.api.get_archive(self._containers[name], path)
        except NotFound:
            return None
        return b"".join(chunks)

    # Helpers

    async def _start_toxiproxy(self) -> None:
        command = ["-host=0.0.0.0", f"-port={links.API_PORT}"]
        quiet = {"LOG_LEVEL": "warn"}  # its default logs every connection of every client
        await self._call(self._make_container, TOXIPROXY, self._images.toxiproxy.tag, command, quiet)
        await self._call(self._engine_start, TOXIPROXY)
        self._links = links.Links(self._address(_TOXIPROXY_HOST), self.nodes)
        self._links.attach()
        await self._call(self._links.wait_until_up, self._options.ready_timeout_s)
        addresses = {node: self._address(self._node_host(node)) for node in self.nodes}
        await self._call(self._links.populate, addresses, self._base_delay())

    async def _found(self, node: str, request: system.Request, deadline_s: float) -> None:
        while True:
            answer = ""
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                code, content = await self._ask(node, request, timeout_s=1.0)
                if 200 <= code < 300:
                    return
                answer = f"; it answered HTTP {code} {content.decode(errors='replace')[:200]}"
            await self._wait_on(deadline_s, f"{node} to be founded{answer}")

    async def _wait_on(self, deadline_s: float, what: str) -> None:
        """A short sleep, unless a process has ended or the time is up."""
        if self.deaths or time.monotonic() > deadline_s or self.lost.is_set():
            waited_s = self._options.ready_timeout_s
            why = "a process ended" if self.deaths else f"not within {waited_s:g} s"
            raise InfrastructureError(
                f"the cluster did not get ready: waited for {what}, {why}\n{await self._account()}"
            )
        await asyncio.sleep(_POLL_S)

    async def _account(self) -> str:
        """Each container's state and last log lines, for an error's message."""
        lines = []
        for name in self._containers:
            try:
                state = await self._call(self._state, name)
                log = await self._call(self._log_end, name)
            except InfrastructureError as error:
                lines.append(f"{name}: {error}")
                continue
            ended = (
                "" if state["Running"] else f", exit code {state['ExitCode']}{_meaning(state['ExitCode'])}"
            )
            lines.append(f"{name}: {state['Status']}{ended}")
            lines += [f"    {line}" for line in log.splitlines()]
        return "\n".join(lines)

    async def _status(self, node: str) -> NodeStatus | None:
        if node in self._down or node in self._paused:
            return None
        try:
            code, content = await self._ask(node, system.status(), _OBSERVE_TIMEOUT_S)
            status = system.read_status(content) if code == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None
        if status is not None:
            self._boots[node] = max(self._boots.get(node, 0), status.boot)
        return status

    async def _ask(self, node: str, request: system.Request, timeout_s: float) -> tuple[int, bytes]:
        """A request of the harness's own: straight to the node, since links may be cut."""
        assert self._session is not None, "start() makes the session"
        url = f"http://{self._address(self._node_host(node))}:{system.CLIENT_PORT}{request.path}"
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with self._session.request(request.method, url, json=request.body, timeout=timeout) as answer:
            return answer.status, await answer.read()

    async def _toxics(self, chosen: Collection[Link]) -> dict[str, list[str]]:
        in_force = await self._call(self._proxied.toxics)
        return {f"{link[0]}->{link[1]}": in_force[link] for link in sorted(chosen)}

    async def _watch(self) -> None:
        """Notices deaths that nobody ordered, and the loss of the engine or the proxy."""
        failures = 0
        while not self.lost.is_set():
            await asyncio.sleep(_WATCH_S)
            try:
                listed = await self._call(
                    self._client.api.containers, all=True, filters=run_filter(self._run)
                )
                running = {item["Id"] for item in listed if item["State"] in _HAS_PROCESSES}
                for name, identity in list(self._containers.items()):
                    if identity not in running:
                        await self._consider(name)
                failures = 0
            except InfrastructureError as error:
                failures += 1
                if failures >= _WATCH_FAILURES_UNTIL_LOST:
                    self.problems.append(f"the Docker engine does not answer any more: {error}")
                    self.lost.set()

    async def _consider(self, name: str) -> None:
        """Records the death of a process, unless it was ordered or is known."""
        if name in self._down or self._closing:
            return
        state = await self._call(self._state, name)
        if state["Running"] or name in self._down or self._closing:
            return
        self._down.add(name)  # known from here on; a step that starts it again takes it out
        code, out_of_memory = int(state["ExitCode"]), bool(state["OOMKilled"])
        log = await self._call(self._log_end, name)
        death = Death(name, self.clock.now_ns(), code, out_of_memory, log)
        self.deaths.append(death)
        if name == TOXIPROXY:
            self.problems.append(f"Toxiproxy ended with exit code {code}: {log}")
            self.lost.set()
        elif out_of_memory:
            self.problems.append(f"{name} was killed for want of memory")
        elif code == _KILLED:
            self.problems.append(f"{name} was killed by somebody other than this run")
        elif _NO_SPACE in log:
            self.problems.append(f"the disk is full: {name} ended with exit code {code}")

    async def _collect_one(self, name: str, collected: Collected) -> None:
        if name not in self._containers:
            return
        try:
            if name != TOXIPROXY:
                await self._call(self._engine_kill, name)
        except InfrastructureError as error:
            collected.problems.append(f"{name} could not be stopped: {error}")
        try:
            collected.logs[name] = await self._call(self._log, name)
            if name == TOXIPROXY:
                return
            archive = await self._call(self._archive, name, system.trace_path(name))
            for _name, content in images.untar(archive) if archive is not None else ():
                collected.traces[name] = content
            if self._options.collect_data:
                data = await self._call(self._archive, name, system.DATA_DIRECTORY)
                if data is not None:
                    collected.data[name] = data
        except InfrastructureError as error:
            collected.problems.append(f"what {name} left behind could not be read: {error}")
            trace = engineless.read_from(self._containers[name], system.trace_path(name))
            if trace is not None:
                collected.traces[name] = trace

    async def _call(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Runs a blocking call in a thread. Cancelling the caller does not lose sight of the call:
        ``stop`` waits for it, since it may be making a container at that moment.
        """
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, partial(_translated, function, *arguments, **named))
        self._in_flight.add(future)
        future.add_done_callback(self._finished)
        return await asyncio.shield(future)

    def _finished(self, future: asyncio.Future[Any]) -> None:
        self._in_flight.discard(future)
        if not future.cancelled():
            future.exception()  # looked at: whoever waited for it may be gone

    @property
    def _proxied(self) -> links.Links:
        assert self._links is not None, "start() makes the links"
        return self._links

    def _base_delay(self) -> links.Delay:
        """The plan's ordinary network delay, as far as it is worth a toxic (from 1 ms on)."""
        network = self._compiled["network"]
        if network["latency_min_ns"] < 1_000_000:
            return links.Delay(0, 0)
        return links.Delay.between(network["latency_min_ns"], network["latency_max_ns"])

    def _node_host(self, node: str) -> int:
        return _FIRST_NODE_HOST + links.number_of(node)

    def _address(self, host: int) -> str:
        assert self.subnet is not None, "start() chooses the subnet"
        return str(self.subnet[host])

    def _name(self, what: str) -> str:
        return f"{PROJECT}-{self._run}-{what}"


async def _all(*jobs: Any) -> list[Any]:
    """Awaits all jobs; if one fails, the others are still waited for, so none goes on unseen."""
    results = await asyncio.gather(*jobs, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return list(results)


def _translated(function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    try:
        return function(*arguments, **named)
    except NotFound as error:
        raise InfrastructureError(
            f"the engine does not know it (removed by somebody else?): {error}"
        ) from error
    except (DockerException, RequestException) as error:
        raise InfrastructureError(f"the Docker engine: {' '.join(str(error).split())}") from error


def _output(command: list[str]) -> str:
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


def _meaning(code: int) -> str:
    return f" ({system.EXIT_CODES[code]})" if code in system.EXIT_CODES else ""
