"""Verdicts merge as a lattice, and the three ways to fail stay apart."""

import pytest

from chaos.statistics import wilson_interval
from chaos.verdict import Judgement, RunVerdict, Verdict, merge


def judged(*verdicts: Verdict) -> tuple[Judgement, ...]:
    return tuple(Judgement(f"check{i}", verdict, "because") for i, verdict in enumerate(verdicts))


@pytest.mark.parametrize(
    ("verdicts", "merged"),
    [
        ([], Verdict.UNKNOWN),
        ([Verdict.NOT_APPLICABLE], Verdict.UNKNOWN),
        ([Verdict.VALID, Verdict.NOT_APPLICABLE], Verdict.VALID),
        ([Verdict.VALID, Verdict.UNKNOWN], Verdict.UNKNOWN),
        ([Verdict.UNKNOWN, Verdict.INVALID, Verdict.VALID], Verdict.INVALID),
    ],
)
def test_the_worst_verdict_wins(verdicts: list[Verdict], merged: Verdict) -> None:
    assert merge(verdicts) is merged


@pytest.mark.parametrize(
    ("run", "exit_code"),
    [
        (RunVerdict(judged(Verdict.VALID)), 0),
        (RunVerdict(judged(Verdict.VALID, Verdict.INVALID)), 1),
        (RunVerdict(judged(Verdict.UNKNOWN)), 3),
        (RunVerdict(judged(Verdict.VALID), doubts=("a fixed step was skipped",)), 3),
        (RunVerdict(judged(Verdict.VALID), harness_failures=("no proxy",)), 4),
        (RunVerdict(judged(Verdict.INVALID), harness_failures=("no proxy",)), 1),
        (RunVerdict(judged(Verdict.VALID), interrupted=True), 130),
        (RunVerdict(()), 3),
    ],
)
def test_exit_codes(run: RunVerdict, exit_code: int) -> None:
    assert run.exit_code == exit_code
    assert RunVerdict.from_dict(run.to_dict()) == run


def test_the_wilson_interval_is_the_published_one() -> None:
    low, high = wilson_interval(7, 20)
    assert (round(low, 2), round(high, 2)) == (0.18, 0.57)
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == 1.0
    with pytest.raises(ValueError, match="expected"):
        wilson_interval(3, 2)
