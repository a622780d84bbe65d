"""Plans that differ from a plan only a little."""

from collections.abc import Iterator, Mapping
from typing import Final

from chaos.errors import BundleError
from chaos.plan import Plan
from chaos.reducing.data import MILLISECOND, Document, anchored, in_time, ns, put, without_step
from chaos.reducing.passes import SIMPLE_SEEDS
from chaos.units import format_duration

_MOVES: Final = (10 * MILLISECOND, 100 * MILLISECOND, 500 * MILLISECOND)


def neighbours(document: Document) -> Iterator[Document]:
    """Plans that differ a little, the nearest first: one time moved, a step or an operation fewer, another seed."""
    for move in _MOVES:
        for index, step in enumerate(document["faults"]):
            for key, sign in (("at", 1), ("at", -1), ("for", -1), ("for", 1)):
                time = ns(step[key]) + sign * move if key in step else -1
                if time >= 0:
                    yield put(document, ("faults", index, key), format_duration(time))
    for index in reversed(range(len(document["faults"]))):
        yield without_step(document, index)
    only = document["workload"].get("only")
    if only:
        for name in reversed(only):
            yield put(document, ("workload", "only"), [other for other in only if other != name])
    for seed in range(SIMPLE_SEEDS):
        yield {**document, "seed": seed}
    yield {**document, "faults": []}


def seeds_besides(plan: Plan, count: int) -> list[int]:
    """So many seeds that are not the plan's own, the simplest ones."""
    own = plan.document["seed"]
    return [seed for seed in range(count + 1) if seed != own][:count]


def nearby(plan: Plan, anchors: Mapping[int, str], seeds: int) -> Iterator[Plan]:
    """Plans that may show elsewhere what this one has shown once: where a run never repeats exactly.

    The plan itself, then with the targets that were chosen in its run (``anchors``: step → node), each under
    ``seeds`` other seeds and with all its times moved a little.
    """
    settled = plan.document
    for index, anchor in anchors.items():
        if index < len(plan.steps):
            settled = anchored(settled, index, anchor)
    variants = [plan.document, settled]
    seen = set()
    for move in (0, -MILLISECOND * 50, MILLISECOND * 50, -MILLISECOND * 200, MILLISECOND * 200):
        for seed in [plan.document["seed"], *seeds_besides(plan, seeds)]:
            for variant in variants:
                document = {**variant, "seed": seed}
                for index in in_time(document):
                    # Each step by another share of it, so that the times between them vary too.
                    time = ns(document["faults"][index]["at"]) + move * (1 + index % 3) // 3
                    document = put(document, ("faults", index, "at"), format_duration(max(0, time)))
                try:
                    other = plan.with_document(document)
                except BundleError:
                    continue
                if other.plan_id not in seen:
                    seen.add(other.plan_id)
                    yield other
