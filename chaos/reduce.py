"""Makes a failing plan small: fewer faults, nodes and operations, round values, and still the same failure.

Works on the plan, not on the choices that drew it (that is Hypothesis's shrinking), so any plan will do: one
from a bundle, one that a person wrote. The scheme is delta debugging (Zeller and Hildebrandt, "Simplifying and
Isolating Failure-Inducing Input", 2002) for lists, and C-Reduce's (Regehr et al., 2012) for all else: *passes*,
each of which offers candidates and learns whether each was taken, are repeated until none finds anything.

A candidate is taken if it is valid, of lower `cost`, and fails in the same way. The cost is a tuple of natural
numbers, compared from the left, and every candidate taken lowers it: so reducing ends.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from chaos.errors import BundleError
from chaos.plan import Plan
from chaos.reducing.cost import cost, cost_of
from chaos.reducing.data import Document
from chaos.reducing.near import nearby, neighbours, seeds_besides
from chaos.reducing.passes import (
    OPERATIONS,
    PASSES,
    PASSES_BY_LUCK,
    STRUCTURE,
    Moment,
    Pass,
)

__all__ = ["Moment", "Reduced", "cost", "nearby", "reduce", "seeds_besides"]

LUCK: Final = 800
"""Trials under other seeds, if nothing else is said."""


@dataclass(frozen=True)
class Reduced:
    """What reducing came to."""

    plan: Plan
    """The cheapest plan seen that fails in the same way."""
    neighbour: Plan | None
    """A passing plan that differs from it as little as could be found; None if none was."""
    trials: int
    """How many plans were tried."""
    finished: bool
    """Whether nothing was left to try; False if it was stopped before."""


class _Stopped(Exception):  # noqa: N818 it is no error
    """`keep_going` said no."""


def reduce(
    plan: Plan,
    fails: Callable[[Plan], bool],
    *,
    operations: Callable[[Plan], Sequence[str]] = lambda _: (),
    moments: Callable[[Plan], Mapping[int, Moment] | None] = lambda _: None,
    keep_going: Callable[[], bool] = lambda: True,
    passes: Callable[[Plan], bool] | None = None,
    taken: Callable[[Plan, str, int], None] = lambda plan, name, trials: None,
    luck: int = LUCK,
    hurry: Callable[[], bool] = lambda: False,
    overtime: int = 0,
) -> Reduced:
    """The smallest plan that can be found which fails as ``plan`` does; ``plan`` itself is taken to fail.

    ``fails`` tells whether a candidate shows the same failure; it is asked once for each plan. ``operations``
    names the operations that clients did in a run of a plan, in order (`workload.only` takes such names);
    ``moments`` tells when and where the steps were carried out in such a run, by their numbers; what is not there
    never happened (None if nothing is known). Both are only asked of plans that fail.
    ``passes`` tells whether a plan breaks nothing (it may fail in another way than ``plan``); by default, that
    it does not fail. ``taken`` is called for each smaller plan at once, with the name of the pass and the number
    of trials so far: a caller who is interrupted still has it.

    ``keep_going`` is asked before each trial. ``luck`` is how many candidates may be tried under another seed, once
    nothing more is found under the plan's own, and twice as many with single operations; ``hurry`` tells when it is
    time to go on to these. ``overtime`` is how many trials the search for a neighbour may take once ``keep_going``
    has said no.
    """
    reduction = _Reduction(plan, fails, operations, moments, keep_going, taken, luck, hurry)
    finished = True
    try:
        reduction.to_fixpoint()
    except _Stopped:
        finished = False
    neighbour = reduction.neighbour(passes, overtime)
    return Reduced(reduction.plan, neighbour, reduction.trials, finished)


class _Reduction:
    """The plan as small as it is by now, and what has been tried."""

    def __init__(
        self,
        plan: Plan,
        fails: Callable[[Plan], bool],
        operations: Callable[[Plan], Sequence[str]],
        moments: Callable[[Plan], Mapping[int, Moment] | None],
        keep_going: Callable[[], bool],
        taken: Callable[[Plan, str, int], None],
        luck: int,
        hurry: Callable[[], bool],
    ) -> None:
        self.plan = plan
        self.trials = 0
        self._cost = cost(plan)
        self._fails = fails
        self._operations = operations
        self._moments = moments
        self._keep_going = keep_going
        self._taken = taken
        self._hurry = hurry
        self._allowance = self._luck = luck
        self._known = {plan.plan_id: True}

    @property
    def document(self) -> Document:
        """The plan as plain data."""
        return self.plan.document

    @property
    def nodes(self) -> int:
        """How many nodes it has."""
        return self.plan.nodes

    def operations(self) -> Sequence[str]:
        """What its clients did, in order."""
        return self._operations(self.plan)

    def moments(self) -> Mapping[int, Moment] | None:
        """When its steps were carried out."""
        return self._moments(self.plan)

    def to_fixpoint(self) -> None:
        """All passes until none finds anything, at last with single operations too."""
        self._repeat(STRUCTURE)
        self._repeat(PASSES)
        while self._all(PASSES_BY_LUCK):
            self._repeat(PASSES)
        self._luck = 2 * self._allowance
        self._hurry = lambda: False  # there is nothing else to come
        self._repeat((*OPERATIONS, *PASSES))

    def is_cheaper(self, document: Document) -> bool:
        """Whether it would be taken if it fails."""
        return cost_of(document) < self._cost

    def lucky(self) -> bool:
        """Whether another seed may be tried."""
        if self._luck <= 0 or self._hurry():
            return False
        self._luck -= 1
        return True

    def _repeat(self, passes: Sequence[tuple[str, Pass]]) -> None:
        while self._all(passes):
            pass

    def _all(self, passes: Sequence[tuple[str, Pass]]) -> bool:
        """Whether any of the passes found anything."""
        return any([self._run(name, one) for name, one in passes])  # noqa: C419 each is to run

    def _run(self, name: str, one: Pass) -> bool:
        """Whether the pass found anything."""
        before = self._cost
        candidates = one(self)
        try:
            what, document = next(candidates)
            while True:
                what, document = candidates.send(self._try(f"{name}: {what}", document))
        except StopIteration:
            return self._cost < before

    def _try(self, name: str, document: Document) -> bool:
        if not self.is_cheaper(document):
            return False
        plan = self._plan_of(document)
        if plan is None or not self._does_fail(plan):
            return False
        price = cost(plan)
        assert price < self._cost, f"validation made the plan dearer: {name}"
        self.plan, self._cost = plan, price
        self._taken(plan, name, self.trials)
        return True

    def _does_fail(self, plan: Plan) -> bool:
        if plan.plan_id not in self._known:
            if not self._keep_going():
                raise _Stopped
            self.trials += 1
            self._known[plan.plan_id] = self._fails(plan)
        return self._known[plan.plan_id]

    def _plan_of(self, document: Document) -> Plan | None:
        """None if the candidate is no valid plan: then it is no candidate."""
        try:
            return self.plan.with_document(document)
        except BundleError:
            return None

    def neighbour(self, passes: Callable[[Plan], bool] | None, overtime: int) -> Plan | None:
        """The first of the nearest plans that passes."""
        for document in neighbours(self.document):
            plan = self._plan_of(document)
            if plan is None or plan == self.plan or self._known.get(plan.plan_id):
                continue
            if passes is None and plan.plan_id in self._known:
                return plan
            if not self._keep_going():
                if overtime <= 0:
                    continue
                overtime -= 1
            if plan.plan_id not in self._known:
                self.trials += 1
            if passes(plan) if passes is not None else not self._fails(plan):
                return plan
        return None
