"""What the nodes of a plan stand on, and what may outlive them: network, Toxiproxy, TLS material, spare containers.

The network is a run's own, with fixed addresses and no way out. A node's data lies in its container's writable
layer: it outlives kill and start, and is gone with the container. So a new plan gets new containers, never used
ones; to have them at once they are made while the plan before is under way, and the old ones removed then.
"""

import asyncio
import itertools
import secrets
import shutil
from collections.abc import Awaitable, Collection, Sequence

import docker

from chaos.errors import InfrastructureError
from harness import images
from harness.backends.builds import TOXIPROXY, Images, output_of
from harness.backends.engine import Engine
from harness.clean import scratch_directory
from harness.labels import Owner
from harness.links import API_PORT, Delay, Links, number_of
from harness.systems import mcp_manager as system

_TOXIPROXY_HOST = 2
_TOXIPROXY_PATIENCE_S = 30.0
"""It is up within milliseconds; on a machine that is busy with other things, seconds."""
_FIRST_NODE_HOSTS = (10, 110)
"""Two plans that follow each other do not share addresses: nodes of the one may still wait for their removal."""


class Ground:
    """For the nodes of one plan after another; of one plan at a time."""

    def __init__(self, client: docker.DockerClient, made_from: Images, *, lasting: bool) -> None:
        """``lasting``: whether other plans are to follow the first. If not, nothing is kept ready for them."""
        self.engine = Engine(client, Owner.current(secrets.token_hex(6)))
        self.images = made_from
        self.token = secrets.token_hex(16)
        self.plans = 0
        """How many plans have begun on it."""
        self.subnet = ""
        self.proxy: str | None = None
        """Toxiproxy's container."""
        self._addresses: Sequence[str] = ()
        self._links: Links | None = None
        self._material: dict[str, dict[str, bytes]] = {}
        self._lasting = lasting
        self._serial = itertools.count(1)
        self._spare: dict[tuple[int, str], str] = {}
        self._used: set[str] = set()

    async def open(self, nodes: int) -> None:
        """Begins a plan: makes the network, and TLS material for so many nodes, unless there are such already."""
        self.plans += 1
        jobs: list[Awaitable[object]] = [self.engine.afterwards()]
        if not self._addresses:
            jobs.append(self.engine.call(self._make_network))
        if len(self._material) < nodes:
            jobs.append(self.engine.call(self._make_material, nodes))
        await all_of(*jobs)

    async def lay(self, nodes: Sequence[str], base: Delay) -> None:
        """Links between these nodes, and theirs alone. Toxiproxy is started for the first."""
        if self._links is None:
            command = ["-host=0.0.0.0", f"-port={API_PORT}"]
            quiet = {"LOG_LEVEL": "warn"}  # its default logs every connection of every client
            self.proxy = await self.engine.call(
                self._make, TOXIPROXY, self.images.toxiproxy.tag, command, self.proxy_address, **quiet
            )
            await self.engine.call(self.engine.start, self.proxy)
            self._links = Links(self.proxy_address)
            await self.engine.call(self._links.wait_until_up, _TOXIPROXY_PATIENCE_S)
        await self.engine.call(self._links.lay, {node: self.address(node) for node in nodes}, base)

    async def container(self, node: str) -> str:
        """A container for a node that never ran and has no data yet. It is not started."""
        turn = self._turn(self.plans)
        if (turn, node) in self._spare:
            return self._spare.pop((turn, node))
        return await self.engine.call(self._make_node, turn, node)

    def secrets_for(self, node: str, settings: bytes) -> bytes:
        """What a node needs to start, as a tar for its directory of secrets."""
        files = {**self._material[node], system.TOKEN_FILE: self.token.encode()}
        files[system.SETTINGS_FILE] = settings
        return images.tar(
            {name: (content, 0o600) for name, content in files.items()}, owner=images.UNPRIVILEGED
        )

    def prepare_next(self, nodes: Sequence[str]) -> None:
        """In the background: removes containers given back, and makes one for each of these nodes."""
        if not self._lasting:
            return
        self.engine.later(self._remove, tuple(self._used))
        for node in nodes:
            self.engine.later(self._make_spare, self._turn(self.plans + 1), node)

    def give_back(self, containers: Collection[str]) -> None:
        """These are not needed any more; :meth:`prepare_next` or the end removes them."""
        self._used |= set(containers)

    async def remove(self) -> list[str]:
        """Removes everything of it from the engine. Returns what could not be removed, in words."""
        problems = await self.engine.remove_all()
        if self._links is not None:
            self._links.close()
        self.engine.close()
        return problems

    @property
    def links(self) -> Links:
        """The links that were laid."""
        assert self._links is not None, "lay() makes the links"
        return self._links

    @property
    def proxy_address(self) -> str:
        """Toxiproxy's IP address."""
        return self._addresses[_TOXIPROXY_HOST]

    def address(self, node: str) -> str:
        """A node's IP address, in the plan that has begun."""
        return self._address(self._turn(self.plans), node)

    def _address(self, turn: int, node: str) -> str:
        return self._addresses[_FIRST_NODE_HOSTS[turn] + number_of(node)]

    def _turn(self, plan: int) -> int:
        return plan % len(_FIRST_NODE_HOSTS)

    # Blocking

    def _make_network(self) -> None:
        subnet = self.engine.make_network("net")
        self.subnet, self._addresses = str(subnet), [str(address) for address in subnet]

    def _make_material(self, nodes: int) -> None:
        directory = scratch_directory(self.engine.owner)
        try:
            target = directory / "tls"
            program = str(self.images.node_binary.path)
            output_of(system.certificates_command(program, str(target), nodes))
            self._material = {
                node: {name: (target / name).read_bytes() for name in system.secrets_of(node)}
                for node in (f"n{number}" for number in range(1, nodes + 1))
            }
        except OSError as error:
            raise InfrastructureError(f"cannot read the TLS material that was written: {error}") from error
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _make(self, name: str, image: str, command: list[str], address: str, **environment: str) -> str:
        network = self.engine.name("net")
        return self.engine.make_container(name, image, command, network, address, **environment)

    def _make_node(self, turn: int, node: str) -> str:
        name = f"{next(self._serial)}-{node}"
        address = self._address(turn, node)
        return self._make(name, self.images.node.tag, system.serve_command(), address)

    def _make_spare(self, turn: int, node: str) -> None:
        if (turn, node) not in self._spare:
            self._spare[turn, node] = self._make_node(turn, node)

    def _remove(self, containers: Collection[str]) -> None:
        self._used -= self.engine.remove(containers)


async def all_of(*jobs: Awaitable[object]) -> None:
    """Awaits all jobs; if one fails, the others are still waited for, so none goes on unseen."""
    results = await asyncio.gather(*jobs, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
