"""Who can reach whom: nodes and directed links as a networkx graph, selectors of nodes, shapes of partitions.

A selector says which nodes a fault hits (``leader``, ``minority``, ``n3``). Drawing *settles* it: what is
left to chance (which minority?) is chosen, what only the run knows (who leads?) stays, as its *anchor*. Given
the number of nodes and the anchor's node, a settled selector or shape stands for certain nodes or links,
computed here, once, for every backend.

Nodes are numbered from 1 and named ``n1``, ``n2``, …; the side of the clients on a link is ``clients``.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Final

import networkx as nx

Link = tuple[str, str]
Pick = Callable[[str, int], int]
"""``pick(name, count)`` chooses an index in ``0..count-1``; 0 is the mildest."""

CLIENTS: Final = "clients"
MOST_NODES: Final = 9
WORDS: Final = {
    "one": "one node, drawn",
    "leader": "the node that leads when the step is due",
    "follower": "one node that does not lead, drawn",
    "minority": "as many nodes as may fail with the others still a majority, drawn",
    "majority": "the smallest majority, drawn",
    "all": "every node",
    "event": "the node at which the step's event happened (steps with `on` only)",
}
SELECTOR_EXPECTED: Final = f"{', '.join(WORDS)}, a node such as n1, or a list of nodes"
_NODE = re.compile(r"n([1-9][0-9]?)", re.ASCII)


class SelectorError(ValueError):
    """A value is no selector. ``expected`` says what is, ``words`` are the valid words."""

    def __init__(self, expected: str, words: Sequence[str]) -> None:
        super().__init__(f"expected {expected}")
        self.expected = expected
        self.words = words


def node_name(node: int) -> str:
    """``n3`` for 3."""
    return f"n{node}"


def parse_node(value: object) -> int:
    """3 for ``n3``. Raises `SelectorError`."""
    match = _NODE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise SelectorError("a node such as n1", [node_name(node) for node in range(1, MOST_NODES + 1)])
    return int(match[1])


@dataclass(frozen=True, slots=True)
class Selector:
    """Which nodes. ``word`` is one of `WORDS`, or ``nodes`` for the named ones.

    ``rank`` is what drawing adds to ``follower``: the first, second, … node after the leader, in a ring.
    """

    word: str
    nodes: tuple[int, ...] = ()
    rank: int = 0

    @classmethod
    def parse(cls, value: object) -> "Selector":
        """From a file: a word, a node, a list of nodes, ``{follower: 2}``. Raises `SelectorError`."""
        words = [*WORDS, *(node_name(node) for node in range(1, MOST_NODES + 1))]
        match value:
            case str() if value in WORDS:
                return cls(value)
            case str() if _NODE.fullmatch(value):
                return cls("nodes", (parse_node(value),))
            case [_, *_] if len(value) <= MOST_NODES:
                nodes = tuple(parse_node(node) for node in value)
                if len(set(nodes)) != len(nodes):
                    raise SelectorError("each node once", ())
                return cls("nodes", nodes)
            case {"follower": int(rank), **rest} if not rest and rank is not True and 1 <= rank < MOST_NODES:
                return cls("follower", (), rank)
            case _:
                raise SelectorError(SELECTOR_EXPECTED, words)

    def plain(self) -> str | list[str] | dict[str, int]:
        """As a file has it."""
        if self.word == "nodes":
            names = [node_name(node) for node in self.nodes]
            return names[0] if len(names) == 1 else names
        return {"follower": self.rank} if self.rank else self.word

    @property
    def anchor(self) -> str:
        """What the run must tell to resolve it: ``leader``, ``event`` or ``none``."""
        return {"leader": "leader", "follower": "leader", "event": "event"}.get(self.word, "none")

    @property
    def single(self) -> bool:
        """Whether it always stands for exactly one node."""
        return self.word in {"one", "leader", "follower", "event"} or len(self.nodes) == 1

    @property
    def least_cluster(self) -> int:
        """The smallest cluster in which it stands for a node."""
        if self.nodes:
            return max(self.nodes)
        return {"follower": max(2, self.rank + 1), "minority": 3}.get(self.word, 1)

    @property
    def is_settled(self) -> bool:
        """Whether drawing has nothing left to choose."""
        return self.word not in {"one", "minority", "majority"} and (self.word != "follower" or self.rank > 0)

    def settled(self, nodes: int, pick: Pick) -> "Selector":
        """With everything that is left to chance chosen, for a cluster of that many nodes."""
        match self.word:
            case "one":
                return Selector("nodes", (1 + pick("one", nodes),))
            case "follower" if not self.rank:
                return Selector("follower", (), 1 + pick("follower", nodes - 1))
            case "minority" | "majority":
                size = quorum(nodes) if self.word == "majority" else nodes - quorum(nodes)
                return Selector("nodes", subset(nodes, size, pick(self.word, math.comb(nodes, size))))
            case _:
                return self

    def resolve(self, nodes: int, anchor: int | None) -> tuple[int, ...]:
        """The nodes meant, in ascending order, given the anchor's node. Only for a settled selector."""
        match self.word:
            case "nodes":
                return tuple(sorted(self.nodes))
            case "all":
                return tuple(range(1, nodes + 1))
            case "leader" | "event":
                assert anchor is not None
                return (anchor,)
            case "follower":
                assert anchor is not None
                assert self.rank
                return ((anchor - 1 + self.rank) % nodes + 1,)
            case _:
                raise AssertionError(f"not settled: {self}")

    def words(self) -> str:
        """In words: ``the leader``, ``n1 and n2``."""
        if self.nodes:
            return list_words(node_name(node) for node in self.nodes)
        if self.rank:
            return f"the {ordinal(self.rank)} follower after the leader"
        fixed = {"one": "one node", "leader": "the leader", "follower": "a follower", "all": "all nodes"}
        fixed |= {"minority": "a minority", "majority": "a majority", "event": "the node of the event"}
        return fixed[self.word]


def quorum(nodes: int) -> int:
    """The least number of nodes that is a majority."""
    return nodes // 2 + 1


def permutation(nodes: int, rank: int) -> tuple[int, ...]:
    """The order of the nodes with that rank among all, lexicographically; 0 is n1, n2, …"""
    assert 0 <= rank < math.factorial(nodes)
    left = list(range(1, nodes + 1))
    order = []
    for size in range(nodes - 1, -1, -1):
        index, rank = divmod(rank, math.factorial(size))
        order.append(left.pop(index))
    return tuple(order)


def subset(nodes: int, size: int, rank: int) -> tuple[int, ...]:
    """The set of ``size`` nodes with that rank among all, lexicographically; 0 is n1, n2, …"""
    assert 0 <= rank < math.comb(nodes, size)
    chosen: list[int] = []
    node = 0
    while len(chosen) < size:
        node += 1
        with_node = math.comb(nodes - node, size - len(chosen) - 1)
        if rank < with_node:
            chosen.append(node)
        else:
            rank -= with_node
    return tuple(chosen)


def headed(order: Sequence[int], head: int) -> tuple[int, ...]:
    """The order with ``head`` first and the others behind it as they were."""
    return (head, *(node for node in order if node != head))


@cache
def network(nodes: int) -> "nx.DiGraph[str]":
    """The whole network: every node linked to every other and to the clients, both ways. Do not change it."""
    graph = nx.complete_graph(
        [*(node_name(node) for node in range(1, nodes + 1)), CLIENTS], create_using=nx.DiGraph
    )
    return nx.freeze(graph)  # type: ignore[no-any-return]


def between(nodes: int, senders: Iterable[str], receivers: Iterable[str]) -> set[Link]:
    """The directed links from the ones to the others (``clients`` may be among either)."""
    graph = network(nodes)
    to = set(receivers)
    return {(a, b) for a in senders for b in graph.successors(a) if b in to}


def touching(nodes: int, group: Iterable[int], *, clients: bool) -> set[Link]:
    """Every directed link from or to one of the group; those to the clients too if asked."""
    graph = network(nodes)
    names = {node_name(node) for node in group}
    links = {*graph.in_edges(names), *graph.out_edges(names)}
    return {link for link in links if clients or CLIENTS not in link}


def separate(nodes: int, groups: Sequence[Iterable[int]], *, clients: bool) -> set[Link]:
    """The links between different groups. Clients, if cut, stay with the largest (the last of equals)."""
    sides = [{node_name(node) for node in group} for group in groups]
    if clients:
        max(reversed(sides), key=len).add(CLIENTS)
    return {
        link
        for side in sides
        for other in sides
        if side is not other
        for link in nx.edge_boundary(network(nodes), side, other)
    }


def isolate(nodes: int, group: Iterable[int], *, clients: bool = False) -> set[Link]:
    """Cuts a group off from the other nodes, both ways; within the group nothing changes."""
    inside = set(group)
    cut = separate(nodes, [inside, set(range(1, nodes + 1)) - inside], clients=False)
    if clients:
        cut |= _from_clients(nodes, inside)
    return cut


def halves(nodes: int, order: Sequence[int], *, clients: bool = False) -> set[Link]:
    """Two halves; the first of the order is in the smaller one."""
    middle = max(1, nodes // 2)
    return separate(nodes, [order[:middle], order[middle:]], clients=clients)


def majority_ring(nodes: int, order: Sequence[int], *, clients: bool = False) -> set[Link]:
    """Every node reaches a majority directly, and no two the same one (Jepsen's majorities ring).

    Nodes stand in a ring and keep the links to their nearest neighbours; of three nodes, where that would be
    all, the first of the order is the middle of a chain. Clients, if they are cut, lose the first.
    """
    assert nodes >= 3
    reach = quorum(nodes) // 2
    if nodes == 3:
        kept = {(order[0], order[1]), (order[0], order[2])}
    else:
        kept = {(order[i], order[(i + step) % nodes]) for i in range(nodes) for step in range(1, reach + 1)}
    linked = {(node_name(a), node_name(b)) for pair in kept for a, b in (pair, pair[::-1])}
    cut = {link for link in network(nodes).edges if CLIENTS not in link and link not in linked}
    return cut | (_from_clients(nodes, order[:1]) if clients else set())


def bridge(nodes: int, order: Sequence[int], *, clients: bool = False) -> set[Link]:
    """Two halves that only the first node of the order still connects (Jepsen's bridge).

    Clients, if they are cut, stay with the second half and the bridge.
    """
    assert nodes >= 3
    middle = 1 + (nodes - 1) // 2
    cut = separate(nodes, [order[1:middle], order[middle:]], clients=False)
    return cut | (_from_clients(nodes, order[1:middle]) if clients else set())


def groups(nodes: int, count: int, order: Sequence[int]) -> list[tuple[int, ...]]:
    """The order dealt into that many groups, in stretches as equal as can be, the smaller first."""
    assert 1 <= count <= nodes
    ends = [nodes * index // count for index in range(count + 1)]
    return [tuple(order[start:end]) for start, end in pairwise(ends)]


def one_way(
    nodes: int, senders: Sequence[int], receivers: Sequence[int], *, clients: bool = False
) -> set[Link]:
    """Cuts what the senders send to the receivers; the way back stays whole.

    Where both are one and the same node (the leader happens to be the receiver named), the receiver is the
    next node in the ring, so that something is cut. ``clients``: what the senders answer clients is lost too.
    """
    to = [node for node in receivers if list(senders) != [node]] or [senders[0] % nodes + 1]
    cut = between(nodes, map(node_name, senders), map(node_name, to))
    return cut | (between(nodes, map(node_name, senders), [CLIENTS]) if clients else set())


def _from_clients(nodes: int, group: Iterable[int]) -> set[Link]:
    names = [node_name(node) for node in group]
    return between(nodes, names, [CLIENTS]) | between(nodes, [CLIENTS], names)


def in_order(links: Iterable[Link]) -> list[Link]:
    """Links in one fixed order: by name, the clients last."""
    return sorted(links, key=lambda link: tuple((name == CLIENTS, name) for name in link))


def list_words(names: Iterable[str]) -> str:
    """``n1``, ``n1 and n2``, ``n1, n2 and n3``."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``11th``."""
    suffix = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
