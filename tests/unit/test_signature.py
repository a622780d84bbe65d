"""A signature names the violated check nearest to the cause, and how it was violated."""

import pytest

from chaos._core import CHECKS
from chaos.signature import INSIDE, OUTSIDE, Signature, signature_of
from chaos.verdict import Judgement, Verdict


def violated(check: str, shape: str | None = None, time_ns: int | None = None) -> Judgement:
    evidence = {} if time_ns is None else {"record": {"time_ns": time_ns}}
    return Judgement(check, Verdict.INVALID, "because", evidence, shape)


def test_a_signature_reads_what_it_wrote() -> None:
    signature = Signature("monotonic", "vote-forgotten")
    assert str(signature) == "monotonic/vote-forgotten"
    assert Signature.parse(str(signature)) == signature
    assert Signature("no_panic", "panicked-a-b").slug == "no-panic-panicked-a-b"
    with pytest.raises(ValueError, match="monotonic/vote-forgotten"):
        Signature.parse("monotonic")


def test_a_run_that_violates_nothing_has_none() -> None:
    assert signature_of([]) is None
    assert (
        signature_of([Judgement("durable", Verdict.UNKNOWN, "because"), Judgement("raft", Verdict.VALID, "")])
        is None
    )


def test_every_check_has_its_place() -> None:
    names = {name for name, _, _, _ in CHECKS}
    assert names == set(INSIDE) | {name.partition("/")[0] for name in OUTSIDE}


def test_what_happened_inside_first_is_the_cause() -> None:
    truncated = violated("committed_never_changes", "truncated", 5)
    elected = violated("leader_completeness", "truncated", 9)
    read = violated("linearizable", "lost-write")
    assert signature_of([read, elected, truncated]) == Signature("committed_never_changes", "truncated")
    earlier = violated("leader_completeness", "elected-without-it", 4)
    assert signature_of([read, earlier, truncated]) == Signature("leader_completeness", "elected-without-it")


def test_at_the_same_moment_the_order_of_causes_decides() -> None:
    panicked = violated("no_panic", "panicked-to-commit", 5)
    matching = violated("log_matching", "entries-differ", 5)
    assert signature_of([panicked, matching]) == Signature("log_matching", "entries-differ")


@pytest.mark.parametrize(
    ("judgements", "signature"),
    [
        (["recovers/no-leader", "available/gap"], "recovers/no-leader"),
        (["linearizable/applied-twice", "durable/applied-twice"], "durable/applied-twice"),
        (
            ["durable/acknowledged-before-applied", "linearizable/acknowledged-before-applied"],
            "linearizable/acknowledged-before-applied",
        ),
        (
            ["recovers/node-behind", "durable/acknowledged-before-applied"],
            "durable/acknowledged-before-applied",
        ),
        (["recovers/node-behind", "no_panic/crashed"], "no_panic/crashed"),
        (["somebody-elses/check", "available/gap"], "available/gap"),
    ],
)
def test_what_clients_felt_comes_behind(judgements: list[str], signature: str) -> None:
    parsed = [Signature.parse(text) for text in judgements]
    assert str(signature_of([violated(one.check, one.shape) for one in parsed])) == signature


def test_a_violation_without_a_shape_is_grouped_by_its_check() -> None:
    assert signature_of([violated("durable")]) == Signature("durable", "violated")
