"""What a plan costs: which of two that fail alike is the simpler one."""

from collections.abc import Sequence
from typing import Any, Final

from chaos.faults import OPERATIONS
from chaos.plan import Plan
from chaos.reducing.data import MILLISECOND, SECOND, Document, kind_of, selectors, times
from chaos.scenario import Cluster, Disk, Network
from chaos.topology import parse_node
from chaos.units import parse_byte_rate, parse_rate, parse_share
from chaos.workload import Workload

Cost = tuple[int, ...]

UNITS: Final = (SECOND, 100 * MILLISECOND, 10 * MILLISECOND, MILLISECOND)
"""From the roundest to the least round."""
_SHARE_UNITS: Final = (100_000, 10_000, 1_000)
"""10 %, 1 %, 0.1 %, in parts per million."""
_RATE_UNITS: Final = (10_000, 1_000, 100)
"""Bytes per second."""
_ALL_OPERATIONS: Final = 10**9

SETTINGS: Final[dict[str, Document]] = {
    "cluster": {
        key: value for key, value in Cluster().model_dump(mode="json").items() if key.startswith("snapshot")
    },
    "network": Network().model_dump(mode="json"),
    "disk": Disk().model_dump(mode="json"),
    "workload": {
        key: value
        for key, value in Workload.model_validate({}).model_dump(mode="json").items()
        if key
        in {
            "mix",
            "hot_key",
            "key_skew",
            "lease",
            "value_bytes",
            "bursts",
            "quiet",
            "home_read_every",
            "attempt_timeout",
            "operation_timeout",
        }
    },
}
"""Settings that have a plain default."""

_KIND_COST: Final = {
    "restart": 100,
    "reset": 150,
    "transfer_leader": 200,
    "snapshot_now": 210,
    "add_node": 240,
    "remove_node": 250,
    "replace_node": 420,
    "pause": 300,
    "clock_jump": 310,
    "clock_offset": 320,
    "clock_drift": 330,
    "slow_node": 350,
    "kill": 400,
    "full_disk": 450,
    "disk_error": 460,
    "power_off": 500,
    "corrupt": 510,
    "lying_fsync": 520,
    "wiped": 530,
    "slow_sync": 540,
    "slow_disk": 550,
    "latency": 600,
    "bandwidth": 610,
    "drop": 620,
    "reorder": 630,
    "duplicate": 640,
    "one_way": 700,
}
_SHAPE_COST: Final = {
    "isolate": 0,
    "halves": 800,
    "sides": 810,
    "one_way": 820,
    "groups": 830,
    "majority_ring": 840,
    "bridge": 850,
}
"""Of a partition. To cut nodes off is the simplest fault of all: nothing dies, and every backend can."""


def cost(plan: Plan) -> Cost:
    """What reducing lowers, the weightiest first.

    Steps and settings that are not the default (a slow disk is as much as a fault), nodes, operations (where
    `workload.only` names them; else more than any list), clients, keys, home readers, steps, how complicated the
    faults are, at which occurrence events are waited for, times (all of them, each the dearer the longer and the
    less round it is), other amounts of faults, the size of values, the rate, the seed, goals of the family.
    """
    return cost_of(plan.document)


def cost_of(document: Document) -> Cost:
    """The cost of a plan that is given as plain data."""
    workload = document["workload"]
    only = workload.get("only")
    seed = document["seed"]
    return (
        len(document["faults"]) + len(unusual_settings(document)),
        document["cluster"]["nodes"],
        _ALL_OPERATIONS if only is None else len(only),
        workload["clients"],
        workload["keys"],
        int(workload["home_readers"]),
        len(document["faults"]),
        sum(step_cost(step) for step in document["faults"]),
        sum(step["on"]["nth"] for step in document["faults"] if "on" in step),
        sum(time_cost(time) for time in times(document)),
        sum(amount_cost(step) for step in document["faults"]),
        workload.get("value_bytes") or 0,
        int(parse_rate(workload["rate"])),
        seed,
        len(document["sometimes"]),
    )


def unusual_settings(document: Document) -> list[tuple[str, str]]:
    """Settings that are not the default."""
    return [
        (section, key)
        for section, usual in SETTINGS.items()
        for key, value in usual.items()
        if document[section].get(key, value) != value
    ]


def time_cost(time: int) -> int:
    """The longer and the less round, the dearer: 5 s before 4930 ms, but 2400 ms before 5 s."""
    return time * (1 + _fineness(time, UNITS))


def amount_cost(step: Document) -> int:
    """How much of its kind a fault is, times aside: the larger a share, the less a link lets through, the more
    operations fail, the dearer; and the dearer the less round it is.
    """
    fault = step[kind_of(step)]
    price = 0
    if "share" in fault:
        share = parse_share(fault["share"])
        price += share * (1 + _fineness(share, _SHARE_UNITS))
    if "rate" in fault:
        rate = parse_byte_rate(fault["rate"])
        price += SECOND // rate * (1 + _fineness(rate, _RATE_UNITS))
    if "operations" in fault:
        price += OPERATIONS.index(fault["operations"])
    return price


def _fineness(value: int, units: Sequence[int]) -> int:
    return next((index for index, unit in enumerate(units) if value % unit == 0), len(units))


def step_cost(step: Document) -> int:
    """How complicated a step is; times aside."""
    kind = kind_of(step)
    fault = step[kind]
    price = 1000 * ("on" in step) + 10 * bool(fault.get("clients")) + bool(step["optional"])
    if "on" in step:
        price += "node" in step["on"]
    if kind == "partition":
        shape = _shape(fault)
        price += _SHAPE_COST[shape]
        price += fault["groups"] if shape == "groups" else 0
        order = [parse_node(node) for node in fault.get("order", [])]
        price += order != sorted(order)
    else:
        price += _KIND_COST[kind]
    return price + sum(selector_cost(selector) for _, selector in selectors(step))


def selector_cost(selector: Any) -> int:
    """Roles before names, for a role means the same in any run; one node before several."""
    match selector:
        case "leader" | "event":
            return 1
        case {"follower": rank}:
            return 1 + int(rank)
        case "all":
            return 30
        case [*names]:
            return 31 * len(names) + sum(parse_node(name) for name in names)
        case _:
            return 10 + parse_node(selector)


def _shape(partition: Document) -> str:
    return next(shape for shape in _SHAPE_COST if shape in partition)
