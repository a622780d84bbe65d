"""A failure that was found, at its smallest, in simulation.

First Hypothesis, which knows how the plan was drawn, then the reducer, which knows what plans mean.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from chaos.plan import Plan
from chaos.scenario import Scenario
from chaos.signature import Signature
from harness.cluster import RunOptions
from harness.hunt.search import Search
from harness.shrink import Shrunk, shrink_on_sim
from harness.trial import try_plan

HYPOTHESIS_SHARE: Final = 0.4
"""How much of the time is Hypothesis's own; the rest is the reducer's."""


@dataclass(frozen=True)
class FoundShrunk:
    """What shrinking came to."""

    shrunk: Shrunk
    choices: bytes | None
    """What Hypothesis would draw for its own smallest plan."""


def shrink_found(
    scenario: Scenario,
    plan: Plan,
    signature: Signature,
    choices: bytes | None,
    options: RunOptions,
    seconds: float,
    *,
    stop: Callable[[], bool] = lambda: False,
    at: Callable[[Plan], None] = lambda _: None,
    other_seeds: int = 0,
    also_on: str | None = None,
) -> FoundShrunk:
    """Shrinks a plan that shows the signature, for at most ``seconds``, or until ``stop`` says so.

    ``choices``: what Hypothesis drew; None for a plan that it did not draw. ``at`` hears which plan is begun with.
    ``other_seeds``, ``also_on``: see `shrink_on_sim`.
    """
    began_s = time.monotonic()
    simulated = replace(options, backend="sim")
    at(plan)
    if choices is not None:
        until_s = began_s + seconds * HYPOTHESIS_SHARE
        search = Search(scenario, lambda plan: try_plan(plan, simulated), stop=stop)
        smaller = search.shrink(signature, choices, lambda: time.monotonic() < until_s)
        if smaller is not None:
            plan, choices = smaller
            at(plan)
    left_s = max(0.0, began_s + seconds - time.monotonic())
    shrunk = shrink_on_sim(
        plan,
        signature,
        options.plants,
        left_s,
        lambda _: None,
        lambda: not stop(),
        other_seeds=other_seeds,
        also_on=also_on,
    )
    return FoundShrunk(shrunk, choices)
