"""Selectors and partition shapes, proven over networkx."""

import math

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos import topology
from chaos.topology import CLIENTS, Link, Selector, SelectorError, node_name, quorum


@st.composite
def orders(draw: st.DrawFn, least: int = 3) -> tuple[int, ...]:
    """An order of the nodes of some cluster."""
    nodes = draw(st.integers(least, topology.MOST_NODES))
    return tuple(draw(st.permutations(range(1, nodes + 1))))


def remaining(nodes: int, cut: set[Link]) -> nx.DiGraph:
    """The links among the nodes that are left when some are cut."""
    graph = topology.network(nodes).copy()
    graph.remove_edges_from(cut)
    graph.remove_node(CLIENTS)
    return graph


def majorities(graph: nx.DiGraph) -> list[frozenset[str]]:
    """For each node, itself and whom it reaches both ways directly."""
    return [frozenset({node, *(n for n in graph[node] if graph.has_edge(n, node))}) for node in graph]


@given(orders())
def test_in_a_majority_ring_every_node_reaches_a_majority_and_no_two_the_same(order):
    graph = remaining(len(order), topology.majority_ring(len(order), order))
    seen = majorities(graph)
    assert all(len(majority) >= quorum(len(order)) for majority in seen)
    assert len(set(seen)) == len(order)
    assert nx.is_strongly_connected(graph)


@given(orders())
def test_a_bridge_is_the_only_node_that_connects_both_halves(order):
    graph = remaining(len(order), topology.bridge(len(order), order))
    assert nx.is_strongly_connected(graph)
    bridge = node_name(order[0])
    assert bridge in set(nx.articulation_points(graph.to_undirected()))
    graph.remove_node(bridge)
    sides = [len(side) for side in nx.strongly_connected_components(graph)]
    assert len(sides) == 2
    assert abs(sides[0] - sides[1]) <= 1
    assert 1 + max(sides) >= quorum(len(order))


@given(orders(least=2), st.data())
def test_isolated_nodes_keep_each_other_and_reach_nobody_else(order, data):
    group = order[: data.draw(st.integers(1, len(order) - 1))]
    graph = remaining(len(order), topology.isolate(len(order), group))
    sides = {frozenset(side) for side in nx.strongly_connected_components(graph)}
    assert sides == {frozenset(map(node_name, side)) for side in (group, order[len(group) :])}
    assert all(graph.subgraph(side).number_of_edges() == len(side) * (len(side) - 1) for side in sides)


@given(orders(least=2))
def test_halves_put_the_first_node_in_the_smaller_one(order):
    graph = remaining(len(order), topology.halves(len(order), order))
    smaller, larger = sorted(
        nx.strongly_connected_components(graph), key=lambda s: (len(s), node_name(order[0]) not in s)
    )
    assert node_name(order[0]) in smaller
    assert len(smaller) == len(order) // 2
    assert len(larger) == len(order) - len(smaller)


@given(orders(least=2), st.data())
def test_groups_are_as_equal_as_can_be(order, data):
    count = data.draw(st.integers(2, len(order)))
    dealt = topology.groups(len(order), count, order)
    assert [node for group in dealt for node in group] == list(order)
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    graph = remaining(len(order), topology.separate(len(order), dealt, clients=False))
    assert nx.number_strongly_connected_components(graph) == count


@given(st.integers(2, 9), st.data())
def test_a_one_way_cut_always_cuts_something_and_leaves_the_way_back(nodes, data):
    some = st.lists(st.integers(1, nodes), min_size=1, unique=True)
    senders, receivers = data.draw(some), data.draw(some)
    cut = topology.one_way(nodes, senders, receivers)
    assert cut
    assert all(a in map(node_name, senders) for a, _ in cut)
    back = {(b, a) for a, b in cut}
    assert not back & cut or set(senders) & set(receivers)


def test_clients_are_cut_only_if_asked():
    for shape in (topology.halves, topology.majority_ring, topology.bridge):
        order = (3, 1, 2, 4, 5)
        assert not any(CLIENTS in link for link in shape(5, order))
        assert (CLIENTS, "n3") in shape(5, order, clients=True) or shape is topology.bridge
    assert topology.isolate(3, [2], clients=True) >= {("clients", "n2"), ("n2", "clients")}
    assert topology.one_way(3, [2], [1, 3], clients=True) == {("n2", "n1"), ("n2", "n3"), ("n2", "clients")}


@given(st.integers(1, 7))
def test_ranks_of_permutations_and_subsets_count_each_once(nodes):
    if nodes <= 5:
        every = [topology.permutation(nodes, rank) for rank in range(math.factorial(nodes))]
        assert every == sorted(set(every))
        assert len(every) == math.factorial(nodes)
    for size in range(nodes + 1):
        sets = [topology.subset(nodes, size, rank) for rank in range(math.comb(nodes, size))]
        assert sets == sorted(set(sets))
        assert all(len(chosen) == size for chosen in sets)


@pytest.mark.parametrize("value", [*topology.WORDS, "n3", ["n1", "n5"], {"follower": 2}])
def test_selectors_read_back_as_they_were_written(value):
    assert Selector.parse(value).plain() == value


@pytest.mark.parametrize(
    "value", [3, None, "", "leaders", "n0", "n100", [], ["n1", "n1"], {"follower": True}, {}]
)
def test_what_is_no_selector_is_refused(value):
    with pytest.raises(SelectorError):
        Selector.parse(value)


@given(st.sampled_from(sorted(topology.WORDS)), st.integers(3, 9), st.data())
def test_a_settled_selector_resolves_to_as_many_nodes_as_its_word_says(word, nodes, data):
    settled = Selector(word).settled(nodes, lambda _, count: data.draw(st.integers(0, count - 1)))
    assert settled.is_settled
    assert settled.settled(nodes, lambda *_: pytest.fail("nothing is left to draw")) == settled
    anchor = data.draw(st.integers(1, nodes))
    hit = settled.resolve(nodes, anchor)
    sizes = {"all": nodes, "majority": quorum(nodes), "minority": nodes - quorum(nodes)}
    assert len(set(hit)) == len(hit) == sizes.get(word, 1)
    assert set(hit) <= set(range(1, nodes + 1))
    assert (anchor in hit) == (word in {"leader", "event", "all"}) or settled.anchor == "none"
    assert settled.words()
