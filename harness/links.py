"""Faults on links, as proxies and toxics of a Toxiproxy server.

Each directed link between nodes has a proxy of its own (peers speak over one-way streams), and each node one
more that all clients go through. A cut swallows what flows, an added delay holds it back, a
limit lets so much through; a reset closes the connections.

`toxiproxy-python` is wrapped here and nowhere else. Its limits shape this module: the server's address is a
class attribute, so each :class:`Links` speaks through a subclass of its own; its calls have no timeout and pass
most errors by, so they go through its ``APIConsumer`` with a timeout, and the answer is looked at.

Traps in Toxiproxy 2.12 that the code steers round:

* Removing a ``timeout`` toxic closes the connections it held. Another change to the same proxy before they
  are gone from its table can block for ever: a removal is therefore followed by a short rest.
* Adding or removing a toxic waits for the link's writer, which hangs while the receiver is paused and its
  socket is full. After a timeout the proxy's connections are dropped (disabled, enabled), which frees it.
* ``/reset`` removes toxics one by one and so runs into both; :meth:`Links.lay` deletes whole proxies instead,
  which closes their connections first.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from requests.exceptions import RequestException, Timeout
from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from chaos.errors import InfrastructureError
from harness.cluster import CLIENTS, Link

T = TypeVar("T")

API_PORT = 8474
PEER_PORT = 7001
CLIENT_PORT = 8001
_FIRST_CLIENT_PROXY_PORT = 19_000
_FIRST_PEER_PROXY_PORT = 20_000
MOST_NODES = 99
"""The port of a link between nodes has two digits for each end."""

_CALL_TIMEOUT_S = 3.0
_REST_AFTER_REMOVAL_S = 0.02
_PARALLEL_CALLS = 8
_MILLISECOND_NS = 1_000_000
_KILOBYTE = 1_000
"""Toxiproxy counts rates in whole ones a second."""
_DIRECT = {"no_proxy": "*"}
"""The server is a container on this machine: no HTTP proxy of the environment stands between."""


@dataclass(frozen=True)
class Delay:
    """A delay as Toxiproxy takes it: uniform in latency ± jitter, whole milliseconds."""

    latency_ms: int
    jitter_ms: int

    @staticmethod
    def between(min_ns: int, max_ns: int) -> "Delay":
        """The delay that is uniform from min to max, to the nearest millisecond."""
        assert 0 <= min_ns <= max_ns, f"an empty range: {min_ns}..{max_ns}"
        latency_ms = round((min_ns + max_ns) / 2 / _MILLISECOND_NS)
        jitter_ms = min(latency_ms, round((max_ns - min_ns) / 2 / _MILLISECOND_NS))
        return Delay(latency_ms, jitter_ms)

    @property
    def nothing(self) -> bool:
        """Too short for Toxiproxy to make."""
        return self.latency_ms == 0


@dataclass(frozen=True)
class Stream:
    """One direction of one proxy."""

    proxy: str
    direction: str


def number_of(node: str) -> int:
    """3 for ``n3``."""
    return int(node.removeprefix("n"))


def stream_of(link: Link) -> Stream:
    """Where a directed link's bytes flow.

    Between nodes always upstream: the one who dials is the one who sends. From a node to the clients,
    downstream: replies come back over the connection that the client opened.
    """
    source, target = link
    if target == CLIENTS:
        return Stream(f"{CLIENTS}-{source}", "downstream")
    return Stream(f"{source}-{target}", "upstream")


def port_of(link: Link) -> int:
    """The port on which the proxy of a link listens."""
    source, target = link
    if CLIENTS in link:
        return _FIRST_CLIENT_PROXY_PORT + number_of(target if source == CLIENTS else source)
    return _FIRST_PEER_PROXY_PORT + 100 * number_of(source) + number_of(target)


def peer_links(nodes: Sequence[str]) -> list[Link]:
    """Every directed link between nodes."""
    return [(source, target) for source in nodes for target in nodes if source != target]


def all_links(nodes: Sequence[str]) -> list[Link]:
    """Every directed link, the clients' included."""
    return [*peer_links(nodes), *((CLIENTS, node) for node in nodes), *((node, CLIENTS) for node in nodes)]


def proxies(addresses: Mapping[str, str]) -> list[dict[str, Any]]:
    """The proxies of a cluster, as Toxiproxy's `populate` takes them. ``addresses``: node → IP address."""
    nodes = list(addresses)
    assert len(nodes) <= MOST_NODES, f"at most {MOST_NODES} nodes, found {len(nodes)}"
    links = [*peer_links(nodes), *((CLIENTS, node) for node in nodes)]
    return [
        {
            "name": stream_of(link).proxy,
            "listen": f"0.0.0.0:{port_of(link)}",
            "upstream": f"{addresses[link[1]]}:{CLIENT_PORT if CLIENTS in link else PEER_PORT}",
            "enabled": True,
        }
        for link in links
    ]


class Links:
    """The links of one cluster at a time. Blocking; safe to use from several threads, but for :meth:`lay`."""

    def __init__(self, host: str, port: int = API_PORT) -> None:
        """``host``, ``port``: where Toxiproxy's API listens. There are no links yet."""
        self._host = host
        self._api: Any = type("Server", (APIConsumer,), {"host": host, "port": port})
        self._links: frozenset[Link] = frozenset()
        self._busy: dict[str, threading.Lock] = {}
        self._pool = ThreadPoolExecutor(_PARALLEL_CALLS, thread_name_prefix="links")

    def close(self) -> None:
        """Gives back the threads. The server is left as it is."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def wait_until_up(self, timeout_s: float) -> None:
        """Waits until the server answers."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                self._call("GET", "/version")
            except InfrastructureError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.01)
            else:
                return

    def lay(self, addresses: Mapping[str, str], base: Delay) -> None:
        """The links of a new cluster: whatever the server had is deleted, with every toxic and connection.

        Each link gets its ordinary delay, if it is to have one. ``addresses``: node → IP address. Raises
        :class:`InfrastructureError` if the server then says that it has anything else than what was asked for.
        """
        self._links = frozenset(all_links(list(addresses)))
        self._busy = {stream_of(link).proxy: threading.Lock() for link in self._links}
        wanted = proxies(addresses)
        _raise_first(self._pool.map(_failure_of(self._delete), self._call("GET", "/proxies")))
        self._call("POST", "/populate", wanted)
        if not base.nothing:
            self._delay("base", self._links, base)
        self._verify(wanted, base)

    def _verify(self, wanted: Sequence[Mapping[str, Any]], base: Delay) -> None:
        found = self._call("GET", "/proxies")
        differing = set(found) ^ {proxy["name"] for proxy in wanted}
        for proxy in wanted:
            made = found.get(proxy["name"], {})
            port = str(made.get("listen")).rpartition(":")[2]
            is_so = port == proxy["listen"].rpartition(":")[2] and made.get("upstream") == proxy["upstream"]
            if not (is_so and made.get("enabled")):
                differing.add(proxy["name"])
        expected = [] if base.nothing else ["base"]
        differing |= {
            stream_of(link).proxy for link, names in self._named(found).items() if names != expected
        }
        if differing:
            raise InfrastructureError(
                f"Toxiproxy at {self._host} does not have the links that it was given: {sorted(differing)}"
            )

    def _delete(self, proxy: str) -> None:
        with suppress(_GoneAlreadyError):
            self._call("DELETE", f"/proxies/{proxy}")

    def cut(self, links: Collection[Link]) -> None:
        """Swallows what flows on these links from now on. Links that are cut already stay so."""
        self._each(links, lambda stream: self._add(stream, "cut", "timeout", {"timeout": 0}))

    def restore(self, links: Collection[Link]) -> None:
        """Lets these links carry again. Connections that were held are closed: the ends dial anew."""
        self._each(links, lambda stream: self._remove(stream, "cut", closes=True))

    def delay(self, name: str, links: Collection[Link], min_ns: int, max_ns: int) -> Delay:
        """Holds back what flows on these links. Delays of different names add up. At least 1 ms."""
        delay = Delay.between(max(min_ns, _MILLISECOND_NS), max(max_ns, _MILLISECOND_NS))
        self._delay(name, links, delay)
        return delay

    def limit(self, name: str, links: Collection[Link], bytes_per_s: int) -> int:
        """Lets so much through on each of these links, and gives how much that is: whole kB/s, at least one.

        Of several limits on a link the least counts.
        """
        rate_kb = max(1, round(bytes_per_s / _KILOBYTE))
        self._each(links, lambda stream: self._add(stream, name, "bandwidth", {"rate": rate_kb}))
        return rate_kb * _KILOBYTE

    def lift(self, name: str, links: Collection[Link]) -> None:
        """Takes the delay or limit of that name away; what it held back follows at once, in order."""
        self._each(links, lambda stream: self._remove(stream, name, closes=False))

    def reset(self, links: Collection[Link]) -> None:
        """Closes the connections over these links: what is under way is lost, and both ends see it.

        Not by the toxic ``reset_peer``: to a connection that is open already, it does no more than this.
        """
        self._each(links, lambda stream: self._drop_connections(stream.proxy))

    def toxics(self) -> dict[Link, list[str]]:
        """What is in force on each link, by name, as the server itself says."""
        return self._named(self._call("GET", "/proxies"))

    def _named(self, listed: Mapping[str, Any]) -> dict[Link, list[str]]:
        """Link → the names of its toxics, of what the server listed."""
        found: dict[Link, list[str]] = {}
        for link in sorted(self._links):
            stream = stream_of(link)
            suffix = f"_{stream.direction}"
            found[link] = [
                toxic["name"].removesuffix(suffix)
                for toxic in listed.get(stream.proxy, {}).get("toxics", [])
                if toxic["stream"] == stream.direction
            ]
        return found

    def _delay(self, name: str, links: Collection[Link], delay: Delay) -> None:
        attributes = {"latency": delay.latency_ms, "jitter": delay.jitter_ms}
        self._each(links, lambda stream: self._add(stream, name, "latency", attributes))

    def _each(self, links: Collection[Link], change: Callable[[Stream], None]) -> None:
        """Carries a change out on all links, several at a time. Raises the first error after all ended."""
        unknown = sorted(set(links) - self._links)
        if unknown:
            raise InfrastructureError(f"no such links in this cluster: {unknown}")
        streams = [stream_of(link) for link in sorted(set(links))]
        _raise_first(self._pool.map(_failure_of(change), streams))

    def _add(self, stream: Stream, name: str, kind: str, attributes: Mapping[str, int]) -> None:
        toxic = f"{name}_{stream.direction}"
        body = {
            "name": toxic,
            "type": kind,
            "stream": stream.direction,
            "toxicity": 1.0,
            "attributes": attributes,
        }

        def add() -> None:
            with suppress(_ThereAlreadyError):  # HTTP 409: it is there already, which is what was wanted
                self._call("POST", f"/proxies/{stream.proxy}/toxics", body)

        with self._busy[stream.proxy]:
            self._change(stream.proxy, add, lambda names: toxic in names)

    def _remove(self, stream: Stream, name: str, *, closes: bool) -> None:
        toxic = f"{name}_{stream.direction}"

        def remove() -> None:
            with suppress(_GoneAlreadyError):
                self._call("DELETE", f"/proxies/{stream.proxy}/toxics/{toxic}")

        with self._busy[stream.proxy]:
            self._change(stream.proxy, remove, lambda names: toxic not in names)
            if closes:
                time.sleep(_REST_AFTER_REMOVAL_S)

    def _change(self, proxy: str, change: Callable[[], None], holds: Callable[[set[str]], bool]) -> None:
        """Carries a change out; if the link's writer hangs, drops the proxy's connections and looks again."""
        try:
            change()
        except _TimedOutError:
            self._reopen(proxy)
            names = {toxic["name"] for toxic in self._call("GET", f"/proxies/{proxy}/toxics")}
            if not holds(names):
                change()

    def _drop_connections(self, proxy: str) -> None:
        with self._busy[proxy]:
            self._reopen(proxy)

    def _reopen(self, proxy: str) -> None:
        self._call("POST", f"/proxies/{proxy}", {"enabled": False})
        self._call("POST", f"/proxies/{proxy}", {"enabled": True})

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        """One call of Toxiproxy's API. Whatever is answered but a success is an error; so is an answer of another
        server, which is what comes when the network is gone and something beyond the default route replies.
        """
        what = f"Toxiproxy at {self._host}: {method} {path}"
        try:
            if method == "GET":
                response = self._api.get(path, timeout=_CALL_TIMEOUT_S, proxies=_DIRECT)
            elif method == "DELETE":
                response = self._api.delete(path, timeout=_CALL_TIMEOUT_S, proxies=_DIRECT)
            else:
                response = self._api.post(path, json=body, timeout=_CALL_TIMEOUT_S, proxies=_DIRECT)
        except Timeout as error:
            raise _TimedOutError(f"{what}: no answer in {_CALL_TIMEOUT_S} s") from error
        except NotFound as error:
            raise _GoneAlreadyError(f"{what}: HTTP 404 {error}") from error
        except ProxyExists as error:
            raise _ThereAlreadyError(f"{what}: HTTP 409 {error}") from error
        except (InvalidToxic, RequestException) as error:
            raise InfrastructureError(f"{what}: {error}") from error
        if response.status_code >= 400:
            raise InfrastructureError(f"{what}: HTTP {response.status_code} {response.text[:200]}")
        try:
            return response.json() if response.content else None
        except RequestException as error:
            raise InfrastructureError(f"{what}: an answer that is not JSON: {response.text[:200]}") from error


class _GoneAlreadyError(InfrastructureError):
    """HTTP 404: the server knows no such thing."""


class _ThereAlreadyError(InfrastructureError):
    """HTTP 409: the server has it already."""


class _TimedOutError(InfrastructureError):
    """The server did not answer in time."""


def _failure_of(change: Callable[[T], None]) -> Callable[[T], InfrastructureError | None]:
    """The same, but what it raises is returned."""

    def tried(thing: T) -> InfrastructureError | None:
        try:
            change(thing)
        except InfrastructureError as error:
            return error
        return None

    return tried


def _raise_first(outcomes: Iterable[InfrastructureError | None]) -> None:
    """After all have come in."""
    failures = [outcome for outcome in outcomes if outcome is not None]
    if failures:
        raise failures[0]
