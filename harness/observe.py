"""What a simulated cluster is at one moment, printed: processes, roles, logs, disks, links, messages under way."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chaos.timeline import counted, node_number, span

_LAST_ENTRIES = 3
_MOST_MESSAGES = 20
_DISTURBED = {
    "bandwidth": "narrow",
    "drop": "lossy",
    "duplicate": "doubling",
    "latency": "slow",
    "reorder": "reordering",
}
"""What links are under each kind of fault that lets messages through."""

Json = dict[str, Any]


def print_observation(observed: Json, console: Console) -> None:
    """Prints what `chaos._core.World.observe` gave."""
    nodes: Mapping[str, Json] = observed["nodes"]
    table = Table.grid(padding=(0, 2))
    heads = ("", "process", "role", "term", "vote", "leader", "commit", "applied", "disk")
    table.add_row(*(Text(head, "dim") for head in heads))
    for name in sorted(nodes, key=node_number):
        table.add_row(*_node_row(name, nodes[name]))
    console.print(table)
    _section(console, "Logs")
    for name in sorted(nodes, key=node_number):
        for number, line in enumerate(log_lines(nodes[name])):
            console.print(f"{name if number == 0 else ' ' * len(name)}  {line}", markup=False)
    _section(console, "Links")
    links = list(_link_lines(observed))
    for line in links or ["all whole"]:
        console.print(line, markup=False)
    _section(console, "Messages under way")
    for line in message_lines(observed):
        console.print(line, markup=False)


def _node_row(name: str, node: Json) -> tuple[str | Text, ...]:
    process = f"{node['process']}, boot {node['boot']}"
    if "role" not in node:
        return (name, Text(process, "red"), "–", "–", "–", "–", "–", "–", disk_words(node))
    role = node["role"].replace("_", "-")
    return (
        name,
        Text(process, "" if node["process"] == "up" else "yellow"),
        Text(role, "bold" if role == "leader" else ""),
        str(node["term"]),
        node["vote"] or "–",
        node["leader"] or "–",
        str(node["commit"]),
        str(node["applied"]),
        disk_words(node),
    )


def disk_words(node: Json) -> str:
    """What of the node's writes is synced: ``all synced``, or how much is not, and what waits for the disk."""
    disk = node["disk"]
    words = ["all synced" if disk["synced"] else f"{counted(disk['unsynced_bytes'], 'byte')} not synced"]
    written, persisted, last = disk.get("written_index"), node.get("persisted"), node.get("last_index")
    if written is not None and persisted is not None and written > persisted:
        noun = "entry" if persisted + 1 == written else "entries"
        words.append(f"{noun} {_range(persisted + 1, written)} not yet known as durable")
    if written is not None and last is not None and last > written:
        words.append(f"{_range(written + 1, last)} not written")
    if disk.get("busy"):
        words.append("busy")
    if disk.get("queued"):
        words.append(f"{disk['queued']} waiting")
    return ", ".join(words)


def log_lines(node: Json) -> Iterator[str]:
    """A node's log: the terms of its entries in ranges, and its last entries with their checksums."""
    entries: list[Json] = node.get("log") or []
    if "log" not in node:
        yield "not known while the node is down"
        return
    snapshot = f"snapshot up to {node['snapshot_index']}; " if node.get("snapshot_index") else ""
    if not entries:
        yield f"{snapshot}no entries"
        return
    yield f"{snapshot}entries {', '.join(term_ranges(entries))}"
    last = ", ".join(f"{entry['index']}: {entry['checksum']}" for entry in entries[-_LAST_ENTRIES:])
    yield f"the last: {last}"


def term_ranges(entries: Iterable[Json]) -> Iterator[str]:
    """``2–9 of term 2``, ``10 of term 3``."""
    for term, group in groupby(entries, key=lambda entry: int(entry["term"])):
        indexes = [entry["index"] for entry in group]
        yield f"{_range(indexes[0], indexes[-1])} of term {term}"


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}–{last}"


def _link_lines(observed: Json) -> Iterator[str]:
    disturbed: Mapping[str, list[list[str]]] = observed["links_disturbed"]
    faults = [("cut", observed["links_cut"])]
    faults += [(_DISTURBED.get(kind, kind), links) for kind, links in disturbed.items()]
    for word, named in faults:
        links = {(link[0], link[1]) for link in named}
        both = sorted((a, b) for a, b in links if (b, a) in links and (a, b) < (b, a))
        one_way = sorted((a, b) for a, b in links if (b, a) not in links)
        words = [f"{a} ↔ {b}" for a, b in both] + [f"{a} → {b}" for a, b in one_way]
        if words:
            yield f"{word}: {', '.join(words)}"


def message_lines(observed: Json) -> Iterator[str]:
    """How many messages are under way, and each, the next to arrive first, as far as they are few."""
    counts = observed["messages_in_flight"]
    yield f"{counts['nodes']} between nodes, {counts['clients']} between clients and nodes"
    messages: list[Json] = observed.get("messages") or []
    for message in messages[:_MOST_MESSAGES]:
        yield message_words(message, observed["now_ns"])
    if len(messages) > _MOST_MESSAGES:
        yield f"… and {len(messages) - _MOST_MESSAGES} more"


def message_words(message: Json, now_ns: int) -> str:
    """``n1 → n2  append, term 3, index 12 of term 2, 2 entries, commit 11; arrives in 1.2 ms``."""
    words = [message["kind"].replace("_", " "), f"term {message['term']}"]
    if message["index"]:
        of_term = f" of term {message['log_term']}" if message["log_term"] else ""
        words.append(f"index {message['index']}{of_term}")
    if message["entries"]:
        words.append(counted(message["entries"], "entry", "entries"))
    if message["commit"]:
        words.append(f"commit {message['commit']}")
    if message["snapshot_index"]:
        words.append(f"snapshot up to {message['snapshot_index']}")
    if message["reject"]:
        words.append("rejected")
    due = span(message["due_ns"] - now_ns)
    return f"{message['from']} → {message['to']}  {', '.join(words)}; arrives in {due}"


def _section(console: Console, title: str) -> None:
    console.print(f"\n[bold]{title}[/bold]")
