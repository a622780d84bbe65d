"""The adapter of `mcp-manager`: its command line, its HTTP API, its status. No other module knows these.

Replies are sorted by what they say about an operation's *effect*, since that decides between `fail` and
`info` in the history: a reply that cannot be understood says nothing, so its effect is unknown.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from harness.cluster import NodeStatus

PROGRAM = "mcp-manager"
PEER_PORT = 7001
CLIENT_PORT = 8001
DATA_DIRECTORY = "/data"
TRACE_DIRECTORY = "/trace"
SECRETS_DIRECTORY = "/secrets"
SETTINGS_FILE = "settings.json"
TOKEN_FILE = "token"  # noqa: S105 a file's name
PADDING = "."
"""What fills a value up to its size."""
DIRECTORIES = (DATA_DIRECTORY, TRACE_DIRECTORY, SECRETS_DIRECTORY)
"""What the image must offer, writable to the node."""

EXIT_CODES: Mapping[int, str] = {
    0: "stopped gracefully",
    1: "failed",
    2: "refused its command line",
    3: "refused its data directory",
    101: "panicked",
}
CRASHES = frozenset({101, 132, 134, 135, 136, 139})
"""Exit codes of a process that broke down: a panic, or a signal that a fault in it raised."""


@dataclass(frozen=True)
class Request:
    """One HTTP request. ``mutates``: whether it may change replicated state."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    mutates: bool = False


class Kind(Enum):
    """What a reply says."""

    OK = "ok"
    MISMATCH = "mismatch"
    HELD = "held"
    NOT_HELD = "not_held"
    NOT_FOUND = "not_found"
    NOT_LEADER = "not_leader"
    UNAVAILABLE = "unavailable"
    SESSION_EXPIRED = "session_expired"
    STALE_SEQUENCE = "stale_sequence"
    UNKNOWN = "unknown"
    """It may or may not have an effect, now or later."""
    NOT_SENT = "not_sent"
    """Nothing left the client: no effect. (Made by clients, never by a node.)"""
    NO_ANSWER = "no_answer"
    """None came in time: unknown. (Made by clients, never by a node.)"""
    REFUSED = "refused"
    """The request itself was wrong: a fault of the harness."""


@dataclass(frozen=True)
class Reply:
    """A reply in the adapter's terms."""

    kind: Kind
    value: int | None = None
    """What the register held: on a read, and where a compare-and-set did not match. Null: never written, or no number
    (see `found`).
    """
    log_index: int | None = None
    node: str | None = None
    client: int | None = None
    leader: str | None = None
    """Who leads, as the answering node believes."""
    message: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    """All of it."""


_BY_CODE = {
    "mismatch": Kind.MISMATCH,
    "held": Kind.HELD,
    "not_held": Kind.NOT_HELD,
    "not_leader": Kind.NOT_LEADER,
    "unavailable": Kind.UNAVAILABLE,
    "session_expired": Kind.SESSION_EXPIRED,
    "stale_sequence": Kind.STALE_SEQUENCE,
    "timeout": Kind.UNKNOWN,
    "bad_request": Kind.REFUSED,
    "unauthorized": Kind.REFUSED,
    "not_found": Kind.REFUSED,
}


def serve_command() -> list[str]:
    """The arguments with which every node starts: all else is in its settings, put beside its secrets before."""
    return ["serve", f"--config={SECRETS_DIRECTORY}/{SETTINGS_FILE}"]


def serve_settings(
    node: str,
    peers: Mapping[str, str],
    compiled: Mapping[str, Any],
    epoch_ns: int,
    plants: Sequence[str],
) -> bytes:
    """A node's settings file. ``peers``: name → IP:PORT at which *this* node reaches it."""
    options = compiled["options"]
    settings = {
        "id": node,
        "data-dir": DATA_DIRECTORY,
        "listen-peers": f"0.0.0.0:{PEER_PORT}",
        "listen-clients": f"0.0.0.0:{CLIENT_PORT}",
        "tls-dir": SECRETS_DIRECTORY,
        "token-file": f"{SECRETS_DIRECTORY}/{TOKEN_FILE}",
        "trace": trace_path(node),
        "epoch-ns": epoch_ns,
        "seed": compiled["seed"],
        "tick-ms": options["tick_ns"] // 1_000_000,
        "heartbeat-ticks": options["heartbeat_ticks"],
        "election-ticks": options["election_ticks"],
        "snapshot-every": options["snapshot_every_entries"],
        "keep-entries": options["keep_entries"],
        "peer": [f"{name}={address}" for name, address in peers.items()],
        "plant": list(plants),
    }
    return json.dumps(settings).encode()


def certificates_command(program: str, directory: str, nodes: int) -> list[str]:
    """The command that writes the cluster's TLS material."""
    return [program, "certs", "--out", directory, "--nodes", str(nodes)]


def version_command(program: str) -> list[str]:
    """The command that prints version and features; see :func:`read_version`."""
    return [program, "version", "--json"]


def plants_command(program: str) -> list[str]:
    """The command that lists the planted bugs of a build; see :func:`read_plants`."""
    return [program, "plants", "--json"]


def read_version(output: str) -> str:
    """Version and features in a line. Raises :class:`ValueError` if the output is none."""
    try:
        said = json.loads(output)
        features = ", ".join(said["features"])
        return f"{said['version']} ({features})" if features else str(said["version"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a version: {output[:200]!r}") from error


def read_plants(output: str) -> list[str]:
    """The names of the planted bugs that a build carries. Raises :class:`ValueError` if the output is none."""
    try:
        return [plant["name"] for plant in json.loads(output)["plants"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a list of plants: {output[:200]!r}") from error


def secrets_of(node: str) -> tuple[str, ...]:
    """The files of the TLS material that a node needs."""
    return ("ca.pem", f"{node}.pem", f"{node}.key")


def trace_path(node: str) -> str:
    """Where a node writes its trace."""
    return f"{TRACE_DIRECTORY}/{node}.jsonl"


def authorization(token: str) -> dict[str, str]:
    """The header that a node asks for."""
    return {"Authorization": f"Bearer {token}"}


def status() -> Request:
    """Asks for a node's status."""
    return Request("GET", "/v1/status")


def initialize(cluster: str, voters: Sequence[str]) -> Request:
    """Founds the cluster on one node. Repeatable with the same arguments."""
    return Request("POST", "/v1/init", {"cluster": cluster, "voters": list(voters)})


def transfer_leader(to: str) -> Request:
    """Asks a leader to hand over."""
    return Request("POST", "/v1/leader/transfer", {"to": to})


def open_session() -> Request:
    """Opens a session: a replicated operation, harmless if repeated (an unused session expires)."""
    return Request("POST", "/v1/sessions", {})


def read(key: str) -> Request:
    """Reads a register."""
    return Request("GET", f"/v1/settings/{key}")


def stored(value: int, value_bytes: int) -> str:
    """A value as it is stored: padded to a size."""
    return str(value).ljust(value_bytes, PADDING)


def write(key: str, value: str, client: int, sequence: int) -> Request:
    """Writes a register."""
    body = {"client": client, "sequence": sequence, "value": value}
    return Request("PUT", f"/v1/settings/{key}", body, mutates=True)


def compare_and_set(key: str, expected: str | None, value: str, client: int, sequence: int) -> Request:
    """Writes a register if it holds ``expected`` (``None``: was never written)."""
    body = {
        "client": client,
        "sequence": sequence,
        "expected": {"value": expected},
        "value": value,
    }
    return Request("POST", f"/v1/settings/{key}/compare-and-set", body, mutates=True)


_READS: Mapping[str, str] = {
    "registers": "settings",
    "counters": "counters",
    "lists": "lists",
    "registry": "servers",
    "leases": "leases",
    "transactions": "lists",
}
"""Where the objects of a workload are."""

READ_AS: Mapping[str, str] = {"registry": "lookup", "transactions": "read_txn"}
"""What histories of a workload call a read, where it is not `read`."""


def read_object(kind: str, key: str) -> Request:
    """Reads what a workload of this kind works on."""
    return Request("GET", f"/v1/{_READS[kind]}/{key}")


def found(kind: str, reply: Reply, value_bytes: int) -> Any:
    """What a read of a workload's object found, as the history has it; what no client stored so, as a text."""
    body = reply.body
    match kind:
        case "lists" | "transactions":
            return [_element(element, value_bytes) for element in body["lists"][0]]
        case "registry":
            server = body.get("server")
            return server and {name: server[name] for name in ("transport", "endpoint", "state")}
        case "leases":
            return body["holder"]
        case "counters":
            return reply.value
        case _:
            value = body.get("value")
            return None if value is None else _element(str(value), value_bytes)


def as_told(kind: str, key: str, value: Any) -> Any:
    """What the history says of a read that found so much, or nothing yet: among transactions it is one, too."""
    return [["r", key, value]] if kind == "transactions" else value


def answers(asked: Sequence[Sequence[Any]], reply: Reply) -> bool:
    """Whether a reply to a transaction has a list for each of its reads."""
    found = reply.body.get("lists")
    return isinstance(found, list) and len(found) == sum(step[0] == "r" for step in asked)


def transacted(asked: Sequence[Sequence[Any]], reply: Reply, value_bytes: int) -> list[Any]:
    """A transaction as it was asked for, with what its reads found; see `answers`."""
    lists = iter(reply.body["lists"])
    return [
        ["r", step[1], [_element(element, value_bytes) for element in next(lists)]]
        if step[0] == "r"
        else step
        for step in asked
    ]


def _element(text: str, value_bytes: int) -> int | str:
    number = text.rstrip(PADDING)
    return int(number) if _is_number(number) and stored(int(number), value_bytes) == text else text


def change(f: str, key: str, value: int | None, argument: Any, terms: Mapping[str, Any]) -> Request:
    """A change of anything but a register. ``terms``: the session, and for leases ``ttl_ms``; sizes of elements."""
    body = {"client": terms["client"], "sequence": terms["sequence"]}
    lease = {**body, "holder": argument, "ttl_ms": terms["ttl_ms"]}
    match f:
        case "add":
            return Request("POST", f"/v1/counters/{key}/add", {**body, "amount": value}, mutates=True)
        case "append":
            assert value is not None
            element = stored(value, terms["value_bytes"])
            steps = [{"append": {"key": key, "element": element}}]
            return Request("POST", "/v1/lists", {**body, "steps": steps}, mutates=True)
        case "txn":
            steps = [
                {"read": {"key": on}}
                if act == "r"
                else {"append": {"key": on, "element": stored(appended, terms["value_bytes"])}}
                for act, on, appended in argument
            ]
            return Request("POST", "/v1/lists", {**body, "steps": steps}, mutates=True)
        case "register":
            return Request("PUT", f"/v1/servers/{key}", {**body, **argument}, mutates=True)
        case "set_state":
            return Request("PUT", f"/v1/servers/{key}/state", {**body, "state": argument}, mutates=True)
        case "deregister":
            return Request("DELETE", f"/v1/servers/{key}", body, mutates=True)
        case "acquire":
            return Request("PUT", f"/v1/leases/{key}", lease, mutates=True)
        case "renew":
            return Request("POST", f"/v1/leases/{key}/renew", lease, mutates=True)
        case "release":
            return Request("DELETE", f"/v1/leases/{key}", {**body, "holder": argument}, mutates=True)
        case _:
            raise AssertionError(f"no change: {f}")


def interpret(status_code: int, content: bytes) -> Reply:
    """What a reply says. Anything that is not one of the API's own answers leaves the effect unknown."""
    try:
        body = json.loads(content) if content else {}
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return Reply(Kind.UNKNOWN, message=f"HTTP {status_code} with a body that is not an object")
    try:
        return _interpret(status_code, body)
    except (KeyError, TypeError, ValueError) as error:
        return Reply(Kind.UNKNOWN, message=f"HTTP {status_code} with an unexpected body ({error!r})")


def _interpret(status_code: int, body: Mapping[str, Any]) -> Reply:
    log_index, node = body.get("log_index"), body.get("node")
    if 200 <= status_code < 300:
        return Reply(
            Kind.OK,
            value=_number(body.get("value")),
            body=body,
            log_index=log_index,
            node=node,
            client=body.get("client"),
        )
    code = body["error"]
    kind = _BY_CODE.get(code, Kind.UNKNOWN)
    if kind is Kind.UNKNOWN and body.get("effect") == "none":
        kind = Kind.UNAVAILABLE  # a code of a newer node, which says that nothing happened
    if code == "not_found" and log_index is not None:
        kind = Kind.NOT_FOUND  # of a server, said by the log; else there is no such path
    return Reply(
        kind,
        value=_number(body.get("actual")),
        log_index=log_index,
        node=node,
        leader=body.get("leader"),
        message=f"{code}: {body.get('message', '')}".rstrip(": "),
    )


def _number(value: str | int | None) -> int | None:
    if not isinstance(value, str):
        return value
    number = value.rstrip(PADDING)
    return int(number) if _is_number(number) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def read_status(content: bytes) -> NodeStatus:
    """A node's status. Raises :class:`ValueError` if that is not what it is."""
    try:
        body = json.loads(content)
        return NodeStatus(
            node=body["node"],
            boot=int(body["boot"]),
            role=body["role"],
            term=int(body["term"]),
            leader=body["leader"],
            commit=int(body["commit"]),
            applied=int(body["applied"]),
            state=str(body["state"]),
            received={str(peer): int(count) for peer, count in body["received"].items()},
            version=str(body.get("version", "")),
            features=tuple(body.get("features", ())),
            plants=tuple(body.get("plants", ())),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a node's status: {error!r} in {content[:200]!r}") from error
