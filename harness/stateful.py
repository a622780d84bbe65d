"""A Hypothesis state machine over a simulated cluster: Hypothesis decides, step by step, what happens to it.

    class Mine(ClusterMachine):
        nodes = 5

        @invariant()
        def terms_are_few(self):
            assert all(node.get("term", 0) < 50 for node in self.cluster.observe()["nodes"].values())

    TestMine = Mine.TestCase

When Hypothesis has done its steps, everything is healed and the run is judged. Hypothesis is told what was reached
(`--hypothesis-show-statistics` lists it) and aims at runs that go through many abstract states. A violation raises the
exception class of its signature: Hypothesis tells failures apart by it, and looks for the fewest and mildest rules that
lead there.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final, cast

from hypothesis import event, target
from hypothesis import strategies as st
from hypothesis.control import current_build_context
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from chaos.document import Document
from chaos.faults import KINDS
from chaos.generate import plans
from chaos.plan import Plan
from chaos.scenario import MOST_STEPS, validated
from chaos.topology import node_name
from chaos.units import parse_duration
from harness.cluster import Json
from harness.hand import ClusterByHand

SPANS: Final = ("200ms", "1s", "3s")
"""For how long time passes at once, and faults stand; the mildest first."""


@cache
def steps(kind: str, nodes: int) -> st.SearchStrategy[Json]:
    """Faults of a kind in a cluster of that many nodes, as `ClusterByHand.apply` takes them, mildest first.

    Raises ScenarioError if a cluster of that size has none.
    """
    fault = KINDS[kind]
    step = {"at": "1ms", kind: fault.at_random} | ({"for": {"any": list(SPANS)}} if fault.lasts else {})
    data: Json = {"version": 1, "scenario": "step", "seed": 0, "cluster": {"nodes": nodes}, "faults": [step]}
    return plans(validated(Document(f"a {kind} in a cluster of {nodes}", data))).map(_step_of)


def _step_of(plan: Plan) -> Json:
    [step] = plan.document["faults"]
    return {key: value for key, value in step.items() if key not in {"at", "optional"}}


def _a(kind: str) -> st.SearchStrategy[Json]:
    return cast("st.SearchStrategy[Json]", st.runner().flatmap(lambda machine: steps(kind, machine.nodes)))


def _a_node() -> st.SearchStrategy[str | None]:
    """One that is asked and no other; None: whoever answers."""
    return cast(
        "st.SearchStrategy[str | None]",
        st.runner().flatmap(
            lambda machine: st.sampled_from([None, *map(node_name, range(1, machine.nodes + 1))])
        ),
    )


_THEN = st.sampled_from(("0s", *SPANS))


def _fault(kind: str) -> Callable[["ClusterMachine", Json, str], None]:
    """The rule by which a fault of this kind happens."""

    def happens(machine: "ClusterMachine", step: Json, then: str) -> None:
        machine._do(step, then)

    happens.__name__, happens.__doc__ = kind, f"See `chaos.faults.{KINDS[kind].__name__}`."
    may = precondition(lambda machine: machine._may_fail())
    return cast("Callable[[ClusterMachine, Json, str], None]", may(rule(step=_a(kind), then=_THEN)(happens)))


class ClusterMachine(RuleBasedStateMachine):
    """What Hypothesis can do to a cluster. Subclass it: set what is below, add rules and invariants of your own."""

    nodes: ClassVar[int] = 3
    """How many nodes, at least 3."""
    plants: ClassVar[Sequence[str]] = ()
    """Planted bugs, to see that they are found."""
    seed: ClassVar[int] = 0
    """Of all that chance decides within a run: delays, election timeouts, what clients do."""
    sections: ClassVar[Mapping[str, Any]] = {}
    """A scenario's `workload`, `network`, `disk`, `cluster`, `checks`, `limits`. Few operations make for quick
    shrinking, many find more.
    """
    longest: ClassVar[str] = "30s"
    """How much virtual time the rules of one example may take."""
    out: ClassVar[Path] = Path("chaos-runs")
    """Where the bundle of a failure goes."""

    cluster: ClusterByHand
    """The cluster, for rules and invariants."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = ClusterByHand(
            nodes=self.nodes, plants=self.plants, seed=self.seed, out=self.out, **self.sections
        )
        self._longest_ns = parse_duration(self.longest)
        self._faults = 0

    def teardown(self) -> None:
        """Heals, and judges the run."""
        if (
            sys.exc_info()[0] is None
        ):  # else a rule or an invariant has failed already, or the example was given up
            self.cluster.check(keep=current_build_context().is_final)
            trial = self.cluster.trial
            for goal in trial.goals:
                event(goal)
            for kind in sorted({step.kind for step in trial.plan.steps}):
                event(f"fault: {kind}")
            # What a guided hunt counts.
            target(float(len(trial.states)), label="abstract states gone through")
            target(float(len(trial.transitions)), label="steps between them")

    def _has_time(self) -> bool:
        return self.cluster.now_ns < self._longest_ns

    def _may_fail(self) -> bool:
        return self._has_time() and self._faults < MOST_STEPS

    def _do(self, step: Json, then: str) -> None:
        # Optional: with nobody leading there is no leader to hit, and that is no fault of the example's.
        self._faults += 1
        self.cluster.apply({**step, "optional": True})
        self.cluster.advance(then)

    @precondition(_has_time)
    @rule(span=st.sampled_from(SPANS))
    def advance(self, span: str) -> None:
        """Time passes."""
        self.cluster.advance(span)

    @precondition(_has_time)
    @rule(f=st.sampled_from(["read", "write"]), node=_a_node(), then=_THEN)
    def operate(self, f: str, node: str | None, then: str) -> None:
        """An operation on the register k0 begins, beside the workload's."""
        self.cluster.operate(f, node=node)
        self.cluster.advance(then)

    @rule()
    def heal(self) -> None:
        """Every fault ends."""
        self.cluster.heal()

    transfer_leader = _fault("transfer_leader")
    latency = _fault("latency")
    pause = _fault("pause")
    partition = _fault("partition")
    one_way = _fault("one_way")
    restart = _fault("restart")
    kill = _fault("kill")
    power_off = _fault("power_off")
    drop = _fault("drop")
    duplicate = _fault("duplicate")
    reorder = _fault("reorder")
    bandwidth = _fault("bandwidth")
    reset = _fault("reset")
    slow_node = _fault("slow_node")
    slow_disk = _fault("slow_disk")
    slow_sync = _fault("slow_sync")
    full_disk = _fault("full_disk")
    disk_error = _fault("disk_error")
    clock_offset = _fault("clock_offset")
    clock_jump = _fault("clock_jump")
    clock_drift = _fault("clock_drift")
    snapshot_now = _fault("snapshot_now")
    # Not among the rules: lying_fsync, corrupt, wiped (beyond Raft's model); add_node, remove_node, replace_node (an
    # administrator's changes take a while, and cannot be made by hand).
