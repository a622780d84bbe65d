"""The state machine: on a clean build nothing is found, a planted bug is, and by few rules."""

from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, run_state_machine_as_test

from chaos.errors import UsageError
from chaos.faults import KINDS
from harness.hand import ClusterByHand
from harness.hunt.search import FoundError
from harness.stateful import ClusterMachine, steps
from harness.store import open_bundle

ERRANDS = {"add_node", "remove_node", "replace_node"}
"""What an administrator does, and nobody by hand."""

QUICK = settings(
    max_examples=50, stateful_step_count=8, deadline=None, database=None, derandomize=True, print_blob=False
)


def test_a_clean_build_breaks_under_no_rules() -> None:
    looked = []

    class Clean(ClusterMachine):
        longest = "15s"

        @invariant()
        def at_most_one_leader_of_a_term(self) -> None:
            nodes = self.cluster.observe()["nodes"].values()
            terms = [node["term"] for node in nodes if node.get("role") == "leader"]
            assert len(set(terms)) == len(terms)
            looked.append(terms)

    run_state_machine_as_test(Clean, settings=QUICK)
    assert len(looked) > 100


def test_a_planted_bug_is_found_and_shrunk_to_few_mild_rules(tmp_path: Path) -> None:
    @seed(5)
    class Stale(ClusterMachine):
        plants = ("stale-read",)
        sections: ClassVar[dict[str, object]] = {"workload": {"keys": 1}}
        longest = "10s"
        out = tmp_path

    one_without_explanation = settings(
        QUICK,
        derandomize=False,
        max_examples=300,
        stateful_step_count=5,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )
    with pytest.raises(FoundError) as raised:
        run_state_machine_as_test(Stale, settings=one_without_explanation)
    assert str(raised.value).startswith(
        "by-hand violated linearizable on sim, with the planted bug stale-read"
    )
    rules = [line for line in raised.value.__notes__ if line.startswith("state.")]
    assert rules[-1] == "state.teardown()"
    assert len(rules) <= 4
    [path] = tmp_path.iterdir()  # of the smallest alone
    assert len(open_bundle(path).text("scenario.yaml").split("partition")) <= 3


def test_a_failing_rule_is_what_is_told() -> None:
    class Wrong(ClusterMachine):
        @invariant()
        def time_stands_still(self) -> None:
            assert self.cluster.now_ns == 0, "it went on"

    without_shrinking = settings(QUICK, phases=[Phase.generate])
    with pytest.raises(AssertionError, match="it went on"):
        run_state_machine_as_test(Wrong, settings=without_shrinking)


@settings(QUICK, max_examples=20)
@given(data=st.data(), kind=st.sampled_from(sorted(KINDS.keys() - ERRANDS)), nodes=st.sampled_from([3, 5]))
def test_steps_of_each_kind_can_be_applied(data: st.DataObject, kind: str, nodes: int) -> None:
    record = ClusterByHand(nodes=nodes).apply(data.draw(steps(kind, nodes)) | {"optional": True})
    assert record["kind"] == kind
    assert record["status"] == "done" or kind == "transfer_leader"  # the one drawn may lead already


def test_changes_of_the_membership_are_refused_by_hand() -> None:
    cluster = ClusterByHand(nodes=3, cluster={"spares": 1})
    with pytest.raises(UsageError, match=r"remove_node takes its time.* put it into the plan"):
        cluster.apply({"remove_node": {"node": "n1"}})
