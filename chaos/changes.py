"""How two plans differ: steps that one has and the other has not, steps that were changed, other values."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

from chaos.plan import Plan, PlanStep, describe, describe_when

_NOT_COMPARED = frozenset({"faults", "scenario", "about", "tags", "sometimes"})


@dataclass(frozen=True)
class Change:
    """One difference. ``a`` and ``b`` say in words what stands on each side; None: nothing does."""

    kind: Literal["removed", "added", "changed", "value"]
    where: str
    """``step 2``, numbered as in the plan that has it (in A, if both have), or the path of a value."""
    a: str | None
    b: str | None

    def to_dict(self) -> dict[str, str | None]:
        """For ``--json``."""
        return {"kind": self.kind, "where": self.where, "a": self.a, "b": self.b}


def plan_changes(a: Plan, b: Plan) -> tuple[Change, ...]:
    """What must be done to ``a`` to have ``b``.

    What a scenario is called, is there for and hopes to see is not compared.
    """
    return (*_values("", _rest(a.document), _rest(b.document)), *_steps(a, b))


def _rest(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in _NOT_COMPARED}


def _values(path: str, a: object, b: object) -> Iterator[Change]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            yield from _values(f"{path}.{key}" if path else key, a.get(key), b.get(key))
    elif a != b:
        yield Change("value", path, _plain(a), _plain(b))


def _plain(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _steps(a: Plan, b: Plan) -> Iterator[Change]:
    left, right = ([json.dumps(step, sort_keys=True) for step in plan.document["faults"]] for plan in (a, b))
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    for kind, from_a, to_a, from_b, to_b in matcher.get_opcodes():
        if kind == "equal":
            continue
        gone, new = list(a.steps[from_a:to_a]), list(b.steps[from_b:to_b])
        for step in gone:
            like = next((other for other in new if other.kind == step.kind), None)
            if like is None:
                yield Change("removed", f"step {step.id}", step_words(step), None)
            else:
                new.remove(like)
                yield Change("changed", f"step {step.id}", step_words(step), step_words(like))
        for step in new:
            yield Change("added", f"step {step.id}", None, step_words(step))


def step_words(step: PlanStep) -> str:
    """``cut the power of n2 (at 4s, for 1s)``."""
    return f"{describe(step)} ({describe_when(step)})"
