"""How two plans differ, in words."""

from chaos.changes import plan_changes
from chaos.generate import Sampler, draw_plan
from chaos.plan import Plan
from chaos.scenario import load_scenario

TEXT = """
version: 1
scenario: two-faults
cluster: {nodes: 3}
workload: {clients: 2, rate: 20/s, duration: 4s}
faults:
  - {at: 1s, for: 1s, kill: n1}
  - {at: 2s, for: 1s, pause: n2}
checks: [linearizable]
"""


def plan(text: str = TEXT) -> Plan:
    return draw_plan(load_scenario(text, "test"), Sampler(0))


def test_a_plan_does_not_differ_from_itself_nor_by_its_name() -> None:
    assert plan_changes(plan(), plan()) == ()
    assert plan_changes(plan(), plan(TEXT.replace("two-faults", "other"))) == ()


def test_a_step_that_is_gone_a_new_one_and_a_changed_one_are_told_apart() -> None:
    gone, new = plan(TEXT.replace("  - {at: 1s, for: 1s, kill: n1}\n", "")), plan()
    (removed,) = plan_changes(new, gone)
    assert (removed.kind, removed.where, removed.a, removed.b) == (
        "removed",
        "step 0",
        "kill n1 (at 1s, for 1s)",
        None,
    )
    (added,) = plan_changes(gone, new)
    assert (added.kind, added.b) == ("added", "kill n1 (at 1s, for 1s)")
    (changed,) = plan_changes(plan(), plan(TEXT.replace("at: 2s", "at: 1900ms")))
    assert (changed.kind, changed.where) == ("changed", "step 1")
    assert (changed.a, changed.b) == ("pause n2 (at 2s, for 1s)", "pause n2 (at 1900ms, for 1s)")


def test_other_values_are_named_by_their_path() -> None:
    (change,) = plan_changes(plan(), plan(TEXT.replace("rate: 20/s", "rate: 30/s")))
    assert (change.kind, change.where, change.a, change.b) == ("value", "workload.rate", "20/s", "30/s")
