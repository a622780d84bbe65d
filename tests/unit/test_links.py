"""Link faults as calls of Toxiproxy's API, against a server that remembers what it was asked."""

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from chaos.errors import InfrastructureError
from harness import links
from harness.cluster import CLIENTS
from harness.links import Delay, Links, all_links, port_of, proxies, stream_of

NODES = ("n1", "n2", "n3")
MS = 1_000_000


class FakeToxiproxy(ThreadingHTTPServer):
    """Proxies and toxics in memory. ``answers`` replaces the answer to the next call of a path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[tuple[str, str, Any]] = []
        self.proxies: dict[str, dict[str, Any]] = {}
        self.toxics: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, int] = {}
        self.hang = threading.Event()
        self.hang.set()


class _Handler(BaseHTTPRequestHandler):
    server: FakeToxiproxy

    def log_message(self, format: str, *_: Any) -> None:  # noqa: A002
        pass

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body: Any = json.loads(self.rfile.read(length)) if length else None
        self.server.calls.append((self.command, self.path, body))
        parts = self.path.strip("/").split("/")
        if self.path in self.server.answers:
            return self._answer(self.server.answers.pop(self.path), {"error": "as the test wants"})
        match [self.command, *parts]:
            case ["POST", "populate"]:
                for proxy in body:  # like the real one, it leaves others as they are
                    self.server.proxies[proxy["name"]] = proxy | {"listen": f"[::]:{proxy['listen'][8:]}"}
                    self.server.toxics.setdefault(proxy["name"], {})
                return self._answer(201, {"proxies": body})
            case ["GET", "proxies"]:
                listed = {
                    name: proxy | {"toxics": list(self.server.toxics[name].values())}
                    for name, proxy in self.server.proxies.items()
                }
                return self._answer(200, listed)
            case ["DELETE", "proxies", name]:
                self.server.toxics.pop(name)
                return self._answer(204 if self.server.proxies.pop(name, None) else 404, None)
            case ["POST", "proxies", _name]:
                self.server.hang.set()  # dropping its connections frees what hung
                return self._answer(200, body)
            case ["GET", "proxies", name, "toxics"]:
                return self._answer(200, list(self.server.toxics[name].values()))
            case ["POST", "proxies", name, "toxics"]:
                if body["name"] in self.server.toxics[name]:
                    return self._answer(409, {"error": "toxic already exists"})
                self.server.toxics[name][body["name"]] = body
                self.server.hang.wait(5)
                return self._answer(200, body)
            case ["DELETE", "proxies", name, "toxics", toxic]:
                found = self.server.toxics[name].pop(toxic, None)
                return self._answer(204 if found else 404, None if found else {"error": "toxic not found"})
        return self._answer(200, {"version": "git"})

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815

    def _answer(self, code: int, body: Any) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def addresses_of(nodes: Sequence[str]) -> dict[str, str]:
    return {node: f"10.0.0.{at}" for at, node in enumerate(nodes, 11)}


@pytest.fixture
def server() -> Iterator[FakeToxiproxy]:
    fake = FakeToxiproxy()
    threading.Thread(target=fake.serve_forever, daemon=True).start()
    yield fake
    fake.shutdown()
    fake.server_close()


@pytest.fixture
def cluster_links(server: FakeToxiproxy) -> Iterator[Links]:
    made = Links("127.0.0.1", server.server_port)
    made.wait_until_up(5)
    made.lay(addresses_of(NODES), Delay(0, 0))
    yield made
    made.close()


def test_each_directed_link_between_nodes_has_a_proxy_of_its_own_and_clients_share_one_for_each_node() -> (
    None
):
    streams = {link: stream_of(link) for link in all_links(NODES)}
    assert stream_of(("n1", "n2")) == links.Stream("n1-n2", "upstream")
    assert stream_of((CLIENTS, "n2")) == links.Stream("clients-n2", "upstream")
    assert stream_of(("n2", CLIENTS)) == links.Stream("clients-n2", "downstream")
    assert len(set(streams.values())) == len(streams) == 6 + 3 + 3


def test_ports_differ_even_in_the_largest_cluster() -> None:
    nodes = [f"n{number}" for number in range(1, links.MOST_NODES + 1)]
    made = proxies(dict.fromkeys(nodes, "10.0.0.1"))
    listens = {proxy["listen"] for proxy in made}
    assert len(listens) == len(made) == 99 * 98 + 99
    assert all(1024 < int(listen.split(":")[1]) < 32768 for listen in listens), "below the ephemeral range"


def test_a_proxy_leads_to_the_receiver() -> None:
    made = {proxy["name"]: proxy for proxy in proxies({"n1": "10.0.0.11", "n2": "10.0.0.12"})}
    assert made["n1-n2"]["upstream"] == "10.0.0.12:7001"
    assert made["clients-n1"]["upstream"] == "10.0.0.11:8001"
    assert made["n1-n2"]["listen"].endswith(f":{port_of(('n1', 'n2'))}")


@pytest.mark.parametrize(
    ("min_ns", "max_ns", "expected"),
    [
        (20 * MS, 60 * MS, Delay(40, 20)),
        (1 * MS, 5 * MS, Delay(3, 2)),
        (50 * MS, 50 * MS, Delay(50, 0)),
        (0, 400_000, Delay(0, 0)),
        (0, 3 * MS, Delay(2, 2)),
    ],
)
def test_a_range_becomes_latency_and_jitter(min_ns: int, max_ns: int, expected: Delay) -> None:
    assert Delay.between(min_ns, max_ns) == expected


def test_a_cut_swallows_upstream_and_is_healed_alone(server: FakeToxiproxy, cluster_links: Links) -> None:
    cluster_links.delay("step1", [("n1", "n2")], 20 * MS, 60 * MS)
    cluster_links.cut([("n1", "n2"), ("n2", CLIENTS)])
    cut = server.toxics["n1-n2"]["cut_upstream"]
    assert (cut["type"], cut["stream"], cut["attributes"]) == ("timeout", "upstream", {"timeout": 0})
    assert server.toxics["clients-n2"]["cut_downstream"]["stream"] == "downstream"
    assert not server.toxics["n2-n1"], "the way back is whole"
    cluster_links.restore([("n1", "n2"), ("n2", CLIENTS)])
    assert list(server.toxics["n1-n2"]) == ["step1_upstream"]
    assert cluster_links.toxics()[("n1", "n2")] == ["step1"]


def test_delays_of_several_steps_stand_beside_each_other(server: FakeToxiproxy, cluster_links: Links) -> None:
    cluster_links.delay("step1", [("n1", "n2")], 20 * MS, 60 * MS)
    cluster_links.delay("step2", [("n1", "n2")], 10 * MS, 10 * MS)
    assert cluster_links.toxics()[("n1", "n2")] == ["step1", "step2"]
    cluster_links.lift("step1", [("n1", "n2")])
    toxics = server.toxics["n1-n2"]
    assert toxics["step2_upstream"]["attributes"] == {"latency": 10, "jitter": 0}
    assert len(toxics) == 1


@pytest.mark.parametrize(("bytes_per_s", "made"), [(100, 1_000), (2_600, 3_000), (20_000, 20_000)])
def test_a_limit_is_whole_kilobytes_at_least_one(
    server: FakeToxiproxy, cluster_links: Links, bytes_per_s: int, made: int
) -> None:
    assert cluster_links.limit("step1", [("n1", "n2")], bytes_per_s) == made
    toxic = server.toxics["n1-n2"]["step1_upstream"]
    assert (toxic["type"], toxic["attributes"]) == ("bandwidth", {"rate": made // 1_000})
    cluster_links.lift("step1", [("n1", "n2")])
    assert not server.toxics["n1-n2"]


def test_a_reset_closes_the_connections_of_its_links_and_leaves_their_toxics(
    server: FakeToxiproxy, cluster_links: Links
) -> None:
    cluster_links.cut([("n1", "n2")])
    cluster_links.reset([("n1", "n2")])
    changes = [(path, body) for method, path, body in server.calls if body and "enabled" in body]
    assert changes == [("/proxies/n1-n2", {"enabled": state}) for state in (False, True)]
    assert cluster_links.toxics()[("n1", "n2")] == ["cut"]


def test_cutting_and_restoring_twice_changes_nothing(server: FakeToxiproxy, cluster_links: Links) -> None:
    for _ in range(2):
        cluster_links.cut([("n1", "n2")])
    assert list(server.toxics["n1-n2"]) == ["cut_upstream"]
    for _ in range(2):
        cluster_links.restore([("n1", "n2")])
    assert not server.toxics["n1-n2"]


def test_a_base_delay_lies_on_every_link_in_both_directions(
    server: FakeToxiproxy, cluster_links: Links
) -> None:
    cluster_links.lay(addresses_of(NODES), Delay(3, 2))
    assert all("base_upstream" in toxics for toxics in server.toxics.values())
    assert "base_downstream" in server.toxics["clients-n1"]
    assert "base_downstream" not in server.toxics["n1-n2"], "nothing flows that way"


def test_errors_that_the_library_passes_by_are_raised(server: FakeToxiproxy, cluster_links: Links) -> None:
    server.answers["/proxies/n1-n2/toxics"] = 500
    with pytest.raises(InfrastructureError, match="HTTP 500"):
        cluster_links.cut([("n1", "n2"), ("n1", "n3")])
    assert "cut_upstream" in server.toxics["n1-n3"], "the others are carried out all the same"


def test_a_link_that_does_not_exist_is_refused(cluster_links: Links) -> None:
    with pytest.raises(InfrastructureError, match="n9"):
        cluster_links.cut([("n1", "n9")])


def test_a_change_that_hangs_on_a_stuck_receiver_is_freed_by_dropping_connections(
    server: FakeToxiproxy, cluster_links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "_CALL_TIMEOUT_S", 0.2)
    server.hang.clear()
    cluster_links.cut([("n1", "n2")])
    changes = [(method, body) for method, path, body in server.calls if path == "/proxies/n1-n2"]
    assert changes == [("POST", {"enabled": False}), ("POST", {"enabled": True})]
    assert cluster_links.toxics()[("n1", "n2")] == ["cut"]


def test_the_links_of_a_new_cluster_have_nothing_of_the_one_before(
    server: FakeToxiproxy, cluster_links: Links
) -> None:
    cluster_links.cut([("n1", "n2"), ("n3", "n1")])
    cluster_links.delay("step1", [("n1", "n2")], 20 * MS, 60 * MS)
    cluster_links.lay(addresses_of(NODES[:2]), Delay(3, 2))
    assert set(server.proxies) == {"n1-n2", "n2-n1", "clients-n1", "clients-n2"}
    assert set(map(tuple, cluster_links.toxics().values())) == {("base",)}
    with pytest.raises(InfrastructureError, match="no such links"):
        cluster_links.cut([("n3", "n1")])


@pytest.mark.parametrize("damage", ["stays", "toxic", "upstream", "disabled", "missing"])
def test_links_that_are_not_as_they_were_asked_for_are_refused(
    server: FakeToxiproxy, cluster_links: Links, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    def answer(method: str, path: str, body: Any = None) -> Any:
        said = genuine(method, path, body)
        if (method, path) == ("POST", "/populate"):
            match damage:
                case "stays":
                    server.proxies["n9-n8"], server.toxics["n9-n8"] = {}, {}
                case "toxic":
                    left = {"name": "cut_upstream", "stream": "upstream"}
                    server.toxics["n1-n2"]["cut_upstream"] = left
                case "upstream":
                    server.proxies["n1-n2"]["upstream"] = "10.9.9.9:7001"
                case "disabled":
                    server.proxies["n1-n2"]["enabled"] = False
                case "missing":
                    del server.proxies["n1-n2"]
        return said

    genuine = cluster_links._call
    monkeypatch.setattr(cluster_links, "_call", answer)
    with pytest.raises(InfrastructureError, match=r"n9-n8|n1-n2"):
        cluster_links.lay(addresses_of(NODES), Delay(0, 0))


def test_an_answer_that_cannot_be_toxiproxys_is_an_infrastructure_error(
    server: FakeToxiproxy, cluster_links: Links
) -> None:
    """A network that was removed: whoever sits beyond the default route answered 404 to everything."""
    server.answers["/proxies"] = 404
    with pytest.raises(InfrastructureError, match="HTTP 404"):
        cluster_links.lay(addresses_of(NODES), Delay(0, 0))


def test_one_process_may_drive_several_servers(server: FakeToxiproxy, cluster_links: Links) -> None:
    other = FakeToxiproxy()
    threading.Thread(target=other.serve_forever, daemon=True).start()
    others = Links("127.0.0.1", other.server_port)
    try:
        others.lay(addresses_of(NODES), Delay(0, 0))
        others.cut([("n1", "n2")])
        assert list(other.toxics["n1-n2"]) == ["cut_upstream"]
        assert not server.toxics["n1-n2"]
        assert cluster_links.toxics()[("n1", "n2")] == []
    finally:
        others.close()
        other.shutdown()
        other.server_close()


def test_a_server_that_does_not_answer_is_an_infrastructure_error() -> None:
    gone = Links("127.0.0.1", port=9)
    with pytest.raises(InfrastructureError, match=r"Toxiproxy at 127\.0\.0\.1"):
        gone.wait_until_up(0.1)
    gone.close()
