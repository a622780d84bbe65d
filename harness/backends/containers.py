"""A plan's nodes as real processes in containers, with a Toxiproxy between every two of them.

What they stand on (network, proxies, certificates) is :mod:`harness.backends.ground`'s, and may have carried the
nodes of other plans before.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import aiohttp

from chaos.errors import InfrastructureError
from harness import images, links
from harness.backends import engineless
from harness.backends.builds import TOXIPROXY
from harness.backends.ground import Ground, all_of
from harness.cluster import (
    CLIENTS,
    Collected,
    Death,
    Json,
    Link,
    NodeStatus,
    NodeView,
    RunClock,
    RunOptions,
    leader_of,
)
from harness.systems import mcp_manager as system

T = TypeVar("T")

_OBSERVE_TIMEOUT_S = 0.25
_POLL_S = 0.025
_WATCH_S = 0.5
_WATCH_FAILURES_UNTIL_LOST = 3
_REVIVE_TIMEOUT_S = 5.0
_KILLED = 137
_NO_SPACE = "No space left on device"


class ContainerCluster:
    """A :class:`harness.cluster.Cluster` on a Docker engine, for one plan."""

    def __init__(self, ground: Ground, compiled: Mapping[str, Any], options: RunOptions) -> None:
        self.nodes = tuple(f"n{number}" for number in range(1, compiled["nodes"] + 1))
        self.lost = asyncio.Event()
        """Set when the engine or the proxy is gone: the run cannot go on."""
        self.problems: list[str] = []
        self.deaths: list[Death] = []
        self.epoch_ns = 0
        """The time 0 of the nodes' traces, as CLOCK_MONOTONIC shows it."""
        self.clock = RunClock()
        self.token = ground.token
        self._ground = ground
        self._engine = ground.engine
        self._compiled = compiled
        self._options = options
        self._began_s = 0.0
        self._plans_before = ground.plans
        self._containers: dict[str, str] = {}
        self._session: aiohttp.ClientSession | None = None
        self._down = set(self.nodes)
        self._paused: set[str] = set()
        self._boots: dict[str, int] = {}
        self._starting = set(self.nodes)
        self._deadline_s: float | None = None
        """When patience ends, on time.monotonic(); nothing before every container has been started."""
        self._watcher: asyncio.Task[None] | None = None
        self._closing = False

    # Start-up

    async def start(self) -> None:
        """Makes what the nodes stand on where it misses, then nodes without data, and founds every one.

        A node is founded as soon as it runs and all links are there: it need not wait for the slowest.
        """
        self.epoch_ns, self._began_s = time.monotonic_ns(), time.time()
        self._session = aiohttp.ClientSession(headers=system.authorization(self.token))
        await self._ground.open(len(self.nodes))
        self._watcher = asyncio.create_task(self._watch())
        laid = asyncio.ensure_future(self._ground.lay(self.nodes, self._base_delay()))
        await all_of(laid, *(self._bring_up(node, laid) for node in self.nodes))

    async def ready(self) -> None:
        """Waits until one node leads and all know it.

        Raises :class:`InfrastructureError` with each container's state and last log lines if a process ends
        before that, or the time runs out.
        """
        while True:
            views = await self.observe()
            leader = leader_of(views.values())
            known = {view.status.leader if view.status else None for view in views.values()}
            if leader is not None and known == {leader}:
                self._ground.prepare_next(self.nodes)
                return
            await self._wait_on("one leader that all nodes know")

    def client_addresses(self) -> dict[str, str]:
        """Node → the URL at which clients reach it, through its clients' proxy."""
        host = self._ground.proxy_address
        return {node: f"http://{host}:{links.port_of((CLIENTS, node))}" for node in self.nodes}

    # Faults

    async def kill(self, node: str) -> Json:
        """SIGKILL, also of a paused process; then waits until the engine says that it has ended."""
        self._down.add(node)
        self._paused.discard(node)
        return {"running": False, "exit_code": await self._on(node, self._engine.kill)}

    async def revive(self, node: str) -> Json:
        """Starts the container again, and waits until the node answers under a new boot number.

        A node that ends instead (because it refuses its data, say) is evidence, not an error.
        """
        broken = next((death for death in self.deaths if death.node == node), None)
        if broken is not None:  # It broke down by itself: what it would do next is nobody's promise.
            return {"running": False, "boot": None, "exit_code": broken.exit_code}
        before = self._boots.get(node, 0)
        await self._on(node, self._engine.start)
        self._down.discard(node)
        deadline_s = time.monotonic() + _REVIVE_TIMEOUT_S
        while node not in self._down and time.monotonic() < deadline_s:
            status = await self._status(node)
            if status is not None and status.boot > before:
                return {"running": True, "boot": status.boot}
            await asyncio.sleep(_POLL_S)
        state = await self._on(node, self._engine.state)
        return {"running": state["Running"], "boot": None, "exit_code": state["ExitCode"]}

    async def pause(self, node: str) -> Json:
        """Freezes the container's processes. One that has ended stays as it is."""
        self._paused.add(node)
        await self._on(node, self._engine.pause, pause=True)
        state = await self._on(node, self._engine.state)
        if not state["Paused"]:
            self._paused.discard(node)
        return {"paused": state["Paused"], "running": state["Running"]}

    async def resume(self, node: str) -> Json:
        """Thaws them."""
        await self._on(node, self._engine.pause, pause=False)
        self._paused.discard(node)
        state = await self._on(node, self._engine.state)
        return {"paused": state["Paused"], "running": state["Running"]}

    async def cut(self, links: Collection[Link]) -> Json:
        """Swallows what flows on these links."""
        await self._engine.call(self._ground.links.cut, links)
        return {"toxics": await self._toxics(links)}

    async def restore(self, links: Collection[Link]) -> Json:
        """Lets them carry again."""
        await self._engine.call(self._ground.links.restore, links)
        return {"toxics": await self._toxics(links)}

    async def delay(self, name: str, links: Collection[Link], min_ns: int, max_ns: int) -> Json:
        """Adds a delay to these links."""
        delay = await self._engine.call(self._ground.links.delay, name, links, min_ns, max_ns)
        made = {"latency_ms": delay.latency_ms, "jitter_ms": delay.jitter_ms}
        return {**made, "toxics": await self._toxics(links)}

    async def limit(self, name: str, links: Collection[Link], bytes_per_s: int) -> Json:
        """Limits what these links let through."""
        made = await self._engine.call(self._ground.links.limit, name, links, bytes_per_s)
        return {"bytes_per_s": made, "toxics": await self._toxics(links)}

    async def lift(self, name: str, links: Collection[Link]) -> Json:
        """Takes a delay or a limit away."""
        await self._engine.call(self._ground.links.lift, name, links)
        return {"toxics": await self._toxics(links)}

    async def reset(self, links: Collection[Link]) -> Json:
        """Closes the connections."""
        await self._engine.call(self._ground.links.reset, links)
        return {}

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
        """Freezes what still runs (so that traces end after all that clients saw), then reads everything.

        What a frozen process has written by then is what a killed one would leave. Killing takes an engine some
        tenths of a second for each, and can be done at the removal.
        """
        collected = Collected()
        self._down.update(self.nodes)
        jobs = [self._collect_one(node, collected) for node in (*self.nodes, TOXIPROXY)]
        await asyncio.gather(*jobs)
        return collected

    async def stop(self) -> list[str]:
        """Gives the containers back: what they stand on is not this cluster's to remove, but its maker's."""
        self._closing = True
        if self._watcher is not None:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        if self._session is not None:
            await self._session.close()
            self._session = None
        self._ground.give_back(self._containers.values())
        return []

    def builds(self) -> dict[str, str]:
        """Program → version."""
        made_from = self._ground.images
        return {
            "mcp-manager": made_from.node_version,
            "toxiproxy": f"{images.TOXIPROXY_VERSION} ({made_from.toxiproxy_source})",
            "docker": made_from.engine,
        }

    def info(self) -> Json:
        """What the run was made from."""
        base, made_from = self._base_delay(), self._ground.images
        return {
            "run": self._engine.owner.run,
            "plans_before": self._plans_before,
            "subnet": self._ground.subnet,
            "node_image": made_from.node.tag,
            "node_binary": f"{made_from.node_binary.path} ({made_from.node_binary.found})",
            "toxiproxy_image": made_from.toxiproxy.tag,
            "base_latency_ms": {"latency": base.latency_ms, "jitter": base.jitter_ms},
        }

    # Helpers

    async def _bring_up(self, node: str, laid: "asyncio.Future[None]") -> None:
        try:
            self._containers[node] = await self._ground.container(node)
            await self._on(node, self._engine.put, system.SECRETS_DIRECTORY, self._secrets(node))
            await self._on(node, self._engine.start)
            self._down.discard(node)
        finally:
            self._starting.discard(node)
            if not self._starting:
                self._deadline_s = time.monotonic() + self._options.ready_timeout_s
        await asyncio.wait({laid})
        if laid.exception() is None:
            await self._found(node)

    def _secrets(self, node: str) -> bytes:
        proxy = self._ground.proxy_address
        peers = {peer: f"{proxy}:{links.port_of((node, peer))}" for peer in self.nodes if peer != node}
        settings = system.serve_settings(
            node, peers, self._compiled, epoch_ns=self.epoch_ns, plants=self._options.plants
        )
        return self._ground.secrets_for(node, settings)

    async def _found(self, node: str) -> None:
        # The plan's number, so that no message of an earlier plan's nodes could ever count.
        request = system.initialize(f"{self._engine.owner.run}-{self._plans_before + 1}", self.nodes)
        while True:
            answer = ""
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                code, content = await self._ask(node, request, timeout_s=1.0)
                if 200 <= code < 300:
                    return
                answer = f"; it answered HTTP {code} {content.decode(errors='replace')[:200]}"
            await self._wait_on(f"{node} to be founded{answer}")

    async def _wait_on(self, what: str) -> None:
        """A short sleep, unless a process has ended or the time is up."""
        late = self._deadline_s is not None and time.monotonic() > self._deadline_s
        if self.deaths or late or self.lost.is_set():
            waited_s = self._options.ready_timeout_s
            why = "a process ended" if self.deaths else f"not within {waited_s:g} s"
            raise InfrastructureError(
                f"the cluster did not get ready: waited for {what}, {why}\n{await self._account()}"
            )
        await asyncio.sleep(_POLL_S)

    async def _account(self) -> str:
        """Each container's state and last log lines, for an error's message."""
        lines = []
        for name in self._all_containers():
            try:
                state = await self._on(name, self._engine.state)
                log = await self._on(name, self._engine.log_end)
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
        url = f"http://{self._ground.address(node)}:{system.CLIENT_PORT}{request.path}"
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with self._session.request(request.method, url, json=request.body, timeout=timeout) as answer:
            return answer.status, await answer.read()

    async def _toxics(self, chosen: Collection[Link]) -> dict[str, list[str]]:
        in_force = await self._engine.call(self._ground.links.toxics)
        return {f"{link[0]}->{link[1]}": in_force[link] for link in sorted(chosen)}

    async def _watch(self) -> None:
        """Notices deaths that nobody ordered, and the loss of the engine or the proxy."""
        failures = 0
        while not self.lost.is_set():
            await asyncio.sleep(_WATCH_S)
            try:
                alive = await self._engine.call(self._engine.with_processes)
                for name, container in self._all_containers().items():
                    if container not in alive:
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
        state = await self._on(name, self._engine.state)
        if state["Running"] or name in self._down or self._closing:
            return
        self._down.add(name)  # known from here on; a step that starts it again takes it out
        code, out_of_memory = int(state["ExitCode"]), bool(state["OOMKilled"])
        log = await self._on(name, self._engine.log_end)
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
        if name not in self._all_containers():
            return
        try:
            if name != TOXIPROXY:
                await self._on(name, self._engine.pause, pause=True)
        except InfrastructureError as error:
            collected.problems.append(f"{name} could not be stopped: {error}")
        try:
            collected.logs[name] = await self._on(name, self._engine.log, self._began_s)
            if name == TOXIPROXY:
                return
            archive = await self._on(name, self._engine.archive, system.trace_path(name))
            for _name, content in images.untar(archive) if archive is not None else ():
                collected.traces[name] = content
            if self._options.collect_data:
                data = await self._on(name, self._engine.archive, system.DATA_DIRECTORY)
                if data is not None:
                    collected.data[name] = data
        except InfrastructureError as error:
            collected.problems.append(f"what {name} left behind could not be read: {error}")
            trace = engineless.read_from(self._all_containers()[name], system.trace_path(name))
            if trace is not None:
                collected.traces[name] = trace

    def _all_containers(self) -> dict[str, str]:
        """Name → container: the nodes', and Toxiproxy's."""
        proxy = self._ground.proxy
        return self._containers | ({TOXIPROXY: proxy} if proxy is not None else {})

    async def _on(self, name: str, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """A blocking call on a container, off the event loop."""
        return await self._engine.call(function, self._all_containers()[name], *arguments, **named)

    def _base_delay(self) -> links.Delay:
        """The plan's ordinary network delay, as far as it is worth a toxic (from 1 ms on)."""
        network = self._compiled["network"]
        if network["latency_min_ns"] < 1_000_000:
            return links.Delay(0, 0)
        return links.Delay.between(network["latency_min_ns"], network["latency_max_ns"])


def _meaning(code: int) -> str:
    return f" ({system.EXIT_CODES[code]})" if code in system.EXIT_CODES else ""
