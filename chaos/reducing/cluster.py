"""A plan in a smaller cluster: which node is which, and what becomes of those that are no more."""

from collections.abc import Iterator, Mapping, Sequence

from chaos.reducing.data import Document, kind_of, named_nodes, put, selectors
from chaos.topology import parse_node, quorum
from chaos.workload import operation_key


def in_smaller_cluster(document: Document, nodes: int) -> Iterator[tuple[str, Document]]:
    """The plan for fewer nodes, spares included, in some ways of saying which node is which."""
    spares = document["cluster"].get("spares", 0)
    before = document["cluster"]["nodes"] + spares
    named = sorted({node for step in document["faults"] for node in named_nodes(step)})
    ways: list[tuple[str, dict[int, int]]] = [
        ("absent nodes left out", {node: node for node in range(1, nodes + 1)}),
        ("absent nodes folded", {node: (node - 1) % nodes + 1 for node in range(1, before + 1)}),
    ]
    if len(named) <= nodes:
        spare = [node for node in range(1, before + 1) if node not in named][: nodes - len(named)]
        ways.append(
            ("nodes renamed", {node: at for at, node in enumerate(sorted([*named, *spare]), start=1)})
        )
    workload = existing_operations(document["workload"], nodes)
    for name, renamed in ways:
        for keep_majorities in (True, False):
            steps = [
                fitted
                for step in document["faults"]
                if (fitted := _fitted(step, before, nodes, renamed, keep_majorities)) is not None
            ]
            cluster = {**document["cluster"], "nodes": max(1, nodes - spares)}
            if spares:
                cluster["spares"] = nodes - cluster["nodes"]
            yield (
                f"{nodes} nodes, {name}",
                {**document, "cluster": cluster, "workload": workload, "faults": steps},
            )


def _fitted(
    step: Document, before: int, nodes: int, renamed: Mapping[int, int], keep_majorities: bool
) -> Document | None:
    """A step in a smaller cluster; None if all that it hit is absent.

    A list stays a minority or a majority if it was one and ``keep_majorities``.
    """
    kind = kind_of(step)
    if "on" in step and "node" in step["on"]:
        node = renamed.get(parse_node(step["on"]["node"]))
        if node is None:
            return None
        step = put(step, ("on", "node"), f"n{node}")
    for path, selector in selectors(step):
        if not path:
            continue
        other = selector
        if isinstance(selector, list):
            kept = _renamed(selector, renamed)
            if keep_majorities:
                small, large = nodes - quorum(nodes), quorum(nodes)
                kept = kept[: small if len(selector) < quorum(before) else max(large, len(kept) - 1)]
            other = kept[0] if len(kept) == 1 else kept
        elif isinstance(selector, dict):
            other = {"follower": min(selector["follower"], nodes - 1)}
        elif selector.startswith("n"):
            node = renamed.get(parse_node(selector))
            other = f"n{node}" if node else []
        if other == []:
            return None
        step = put(step, path, other)
    fault = step[kind]
    if "order" in fault:
        order = _renamed(fault["order"], renamed)
        order += [name for name in (f"n{node}" for node in range(1, nodes + 1)) if name not in order]
        step = put(step, (kind, "order"), order)
    if kind == "partition" and "groups" in fault:
        step = put(step, (kind, "groups"), min(fault["groups"], nodes))
    if kind == "partition" and "sides" in fault:
        seen: set[str] = set()
        sides = []
        for side in fault["sides"]:
            kept = [name for name in _renamed(side, renamed) if name not in seen]
            seen |= set(kept)
            sides += [kept] if kept else []
        step = put(step, (kind, "sides"), sides)
    return step


def _renamed(names: Sequence[str], renamed: Mapping[int, int]) -> list[str]:
    """Names of nodes after renaming, each once, absent ones left out."""
    others = [renamed[parse_node(name)] for name in names if parse_node(name) in renamed]
    return [f"n{node}" for node in dict.fromkeys(others)]


def existing_operations(workload: Document, nodes: int) -> Document:
    """The workload without named operations of clients and home readers that it does not have."""
    if workload.get("only") is None:
        return workload
    kept = [name for name in workload["only"] if _exists(name, workload, nodes)]
    return {**workload, "only": kept}


def _exists(name: str, workload: Document, nodes: int) -> bool:
    side, number, _ = operation_key(name)
    clients, at_home = int(workload["clients"]), bool(workload["home_readers"])
    return number <= clients if side == "c" else at_home and number <= nodes
