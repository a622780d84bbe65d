"""What the account of a run says in words."""

from typing import Any

import pytest

from harness.account import evidence_words


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        # Of many counts, those that are not zero.
        (
            {"slowed": {"n1": {"writes": 0, "syncs": 12, "added_ns": 500_000_000}}},
            "n1 slowed at 12 syncs by 0.5 s",
        ),
        (
            {"slowed": {"n1": {"writes": 1, "syncs": 2, "added_ns": 500_000_000}}},
            "n1 slowed at 1 write and 2 syncs by 0.5 s",
        ),
        ({"slowed": {"n2": {"inputs": 0, "added_ns": 0}}}, "n2 had nothing to be slow at"),
        (
            {"links": [{"delivered": 3, "dropped": 0}, {"delivered": 4, "dropped": 2}]},
            "2 dropped, 7 delivered",
        ),
        ({"links": []}, "no message came"),
        ({"disk_failures": {"n1": 0, "n2": 2}}, "n1 never failed, n2 stopped 2 times by its disk"),
        ({"processes": {"n1": "paused"}}, "n1 paused"),
        ({}, ""),
    ],
)
def test_evidence_is_told_without_what_did_not_happen(evidence: dict[str, Any], expected: str) -> None:
    assert ", ".join(evidence_words(evidence)) == expected
