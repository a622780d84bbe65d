"""The ledger of failures over nights: merging is idempotent and hangs on no order."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.errors import UsageError
from chaos.ledger import Ledger, merged, parse_ledger, recurrence


def failure(signature="monotonic/vote-changed", **other):
    check, shape = signature.split("/")
    return {
        "signature": signature,
        "check": check,
        "shape": shape,
        "reason": "n2 voted twice in term 3",
        "scenario": "random-mix",
        "count": 17,
        "first_seen": "2026-11-20T01:02:03+00:00",
        "plan_id": "a" * 32,
        "steps": 2,
        "nodes": 3,
        "operations": 4,
        "bundle": "state/bundles/a",
        "candidate": "state/regressions/a.yaml",
        "replay": "mcp-chaos replay state/bundles/a",
    } | other


def report(day, *failures):
    return {"started_at": f"2026-11-{day}T01:00:00+00:00", "failures": list(failures)}


def test_a_failure_is_remembered_over_nights():
    ledger = merged(Ledger(), report(20, failure()))
    ledger = merged(ledger, report(21))
    ledger = merged(
        ledger, report(23, failure(count=3, scenario="bridge", first_seen="2026-11-23T01:09:00+00:00"))
    )
    entry = ledger.failures["monotonic/vote-changed"]
    assert (entry.nights, entry.total) == (2, 20)
    assert (entry.first_seen, entry.last_seen) == ("2026-11-20T01:02:03+00:00", "2026-11-23T01:09:00+00:00")
    assert entry.scenarios == ["bridge", "random-mix"]


def test_the_smallest_plan_is_kept_with_its_reason_and_its_place():
    small = failure(steps=1, reason="shorter", bundle="b", plan_id="b" * 32)
    fewer_nodes = failure(steps=1, nodes=1, operations=None, reason="fewest", bundle="c")
    ledger = merged(merged(Ledger(), report(20, failure())), report(21, small))
    entry = merged(ledger, report(22, failure(steps=9))).failures["monotonic/vote-changed"]
    assert (entry.best.bundle, entry.best.steps, entry.reason) == ("b", 1, "shorter")
    entry = merged(ledger, report(22, fewer_nodes)).failures["monotonic/vote-changed"]
    assert (entry.best.bundle, entry.reason) == ("c", "fewest")


def test_operations_that_nobody_counted_are_worse_than_many():
    ledger = merged(
        merged(Ledger(), report(20, failure(operations=None))), report(21, failure(operations=900))
    )
    assert ledger.failures["monotonic/vote-changed"].best.operations == 900


def test_a_campaign_that_went_on_replaces_what_it_had_said():
    ledger = merged(Ledger(), report(20, failure(count=5)))
    ledger = merged(ledger, report(20, failure(count=12)))
    ledger = merged(ledger, report(20, failure(count=12)))
    entry = ledger.failures["monotonic/vote-changed"]
    assert (entry.nights, entry.total) == (1, 12)


def test_a_failure_is_new_on_its_first_night_alone():
    first, second = report(20, failure()), report(21, failure(), failure("durable/lost"))
    ledger = merged(merged(Ledger(), first), second)
    assert not recurrence(ledger, second, "monotonic/vote-changed").is_new
    assert recurrence(ledger, second, "durable/lost").is_new
    assert recurrence(ledger, second, "available/gap") is None


REPORTS = st.lists(
    st.builds(
        report,
        st.integers(10, 13),
        st.builds(
            failure,
            st.sampled_from(["monotonic/vote-changed", "durable/lost"]),
            count=st.integers(1, 9),
            steps=st.integers(0, 2),
            operations=st.none() | st.integers(0, 2),
            plan_id=st.sampled_from(["a", "b"]),
            reason=st.sampled_from(["x", "y"]),
            candidate=st.none() | st.just("c.yaml"),
        ),
    ),
    max_size=5,
)


@given(REPORTS, st.randoms())
@settings(deadline=None)
def test_merging_hangs_on_no_order_and_changes_nothing_the_second_time(reports, random):
    ledger, other = Ledger(), Ledger()
    for one in reports:
        ledger = merged(ledger, one)
    shuffled = [*reports, *reports]
    random.shuffle(shuffled)
    for one in shuffled:
        other = merged(other, one)
    assert other.to_json() == ledger.to_json()


def test_the_file_comes_back_and_is_sorted():
    ledger = merged(Ledger(), report(20, failure(), failure("durable/lost")))
    text = ledger.to_json()
    assert parse_ledger(text, "failures.json") == ledger
    assert list(json.loads(text)["failures"]) == ["durable/lost", "monotonic/vote-changed"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 2}',
        '{"failures": {"a": {}}}',
        '{"format": 1, "more": 1}',
        "[" * 100_000,
        '"\\ud800"',
    ],
)
def test_what_is_no_ledger_is_refused_with_its_name(text):
    with pytest.raises(UsageError, match=r"^failures\.json: expected a ledger of failures"):
        parse_ledger(text, "failures.json")
