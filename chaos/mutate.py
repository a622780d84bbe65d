"""Neighbours of a plan: its draws, a few of them changed.

A plan is what a `Draw` chose at each hole. Kept by the holes' paths, these choices make the plan again, and with some
of them changed a neighbour, which is a member of the family like any other: whatever a change opens (another kind of
fault has other holes) is drawn anew, and what it closes is left over. Two plans of a family are spliced by taking the
choices of one for some paths, of the other for the rest.

The changes are those of a fuzzer over structured input (AFL's havoc, Zalewski 2013; Padhye et al., "Semantic Fuzzing
with Zest", ISSTA 2019: parametric generators), at the grain of a plan: a time is shifted, a kind or a target swapped,
a step added, doubled or taken out, another seed given to the run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from chaos.generate import MOST_SEED, Draw, Sampler, draw_plan
from chaos.plan import Plan
from chaos.scenario import Scenario

T = TypeVar("T")

_FAULTS: Final = "faults"
_MOST_STACKED: Final = 2
"""One change, two, or four at once: two to the power of up to so much."""
_NEAR: Final = 16
"""A shift is by at most this part of the range."""


@dataclass(frozen=True)
class Choices:
    """What was chosen for one plan."""

    seed: int
    """The run's."""
    indexes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By path: which of how many."""
    lists: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By path: the least and the greatest number of elements of a list that was drawn."""


class Redraw:
    """A `Draw` that chooses again what was chosen before, and else asks a sampler."""

    def __init__(self, choices: Choices, fresh: Sampler) -> None:
        self._choices = choices
        self._fresh = fresh
        self._indexes: dict[str, tuple[int, int]] = {}
        self._lists: dict[str, tuple[int, int]] = {}

    @property
    def made(self) -> Choices:
        """What was chosen this time."""
        return Choices(self._choices.seed, self._indexes, self._lists)

    def seed(self) -> int:
        """The same run's."""
        return self._choices.seed

    def index(self, path: str, count: int) -> int:
        """As before; as far along as before if there are more to choose from now, or fewer."""
        kept = self._choices.indexes.get(path)
        if kept is None:
            index = self._fresh.index(path, count)
        else:
            before, of = kept
            index = before if of == count else before * count // of
        self._indexes[path] = index, count
        return index

    def some(self, path: str, low: int, high: int, element: Callable[[Draw, str], T]) -> list[T]:
        """Their number first."""
        self._lists[path] = low, high
        count = low + self.index(_count(path), high - low + 1)
        return [element(self, f"{path}[{index}]") for index in range(count)]


def made_anew(scenario: Scenario, choices: Choices, fresh: int) -> tuple[Plan, Choices]:
    """The plan of these choices; what they leave open is drawn with the seed ``fresh``."""
    draw = Redraw(choices, Sampler(fresh))
    return draw_plan(scenario, draw), draw.made


class Dice:
    """Throws that depend on a seed and their number alone."""

    def __init__(self, seed: int) -> None:
        self._sampler = Sampler(seed)
        self._thrown = 0

    def below(self, count: int) -> int:
        """An integer in ``0..count-1``."""
        self._thrown += 1
        return self._sampler.index(str(self._thrown), count)

    def pick(self, of: Sequence[T]) -> T:
        """One of these."""
        return of[self.below(len(of))]


def mutated(choices: Choices, other: Choices, dice: Dice) -> Choices:
    """One to four changes of these choices. ``other``: of a plan of the same family, to splice with."""
    for _ in range(1 << dice.below(_MOST_STACKED + 1)):
        change = dice.pick(_CHANGES)
        choices = change(choices, other, dice)
    return choices


def _reseed(choices: Choices, _: Choices, dice: Dice) -> Choices:
    """The same faults, other chances."""
    return Choices(dice.below(MOST_SEED + 1), choices.indexes, choices.lists)


def _redraw(choices: Choices, _: Choices, dice: Dice) -> Choices:
    """One choice anew: a kind, a target, a length, whether it waits for an event."""
    path = _path(choices, dice)
    if path is None:
        return choices
    count = choices.indexes[path][1]
    return _with(choices, {path: (dice.below(count), count)})


def _shift(choices: Choices, _: Choices, dice: Dice) -> Choices:
    """One choice a little up or down: mostly a time, or the number of the event waited for."""
    path = _path(choices, dice, least=_NEAR // 2)
    if path is None:
        return choices
    index, count = choices.indexes[path]
    by = 1 + dice.below(max(1, count // _NEAR))
    shifted = index + by if dice.below(2) else index - by
    return _with(choices, {path: (min(max(shifted, 0), count - 1), count)})


def _add(choices: Choices, other: Choices, dice: Dice) -> Choices:
    """One more element in a list, drawn anew, or one that there is once more, or one of the other plan's."""
    path = _list(choices, dice)
    if path is None or _length(choices, path) >= choices.lists[path][1]:
        return choices
    length = _length(choices, path)
    source, at = choices, dice.below(length + 1)
    theirs = _length(other, path) if path in other.lists else 0
    if theirs and dice.below(2):
        source, at = other, dice.below(theirs)
    element = {} if at == length and source is choices else _moved(source, path, at, length)
    return _with(_resized(choices, path, length + 1), element)


def _take_out(choices: Choices, _: Choices, dice: Dice) -> Choices:
    """One element of a list less."""
    path = _list(choices, dice)
    if path is None or _length(choices, path) <= choices.lists[path][0]:
        return choices
    length, at = _length(choices, path), dice.below(_length(choices, path))
    last = _moved(choices, path, length - 1, at) if at < length - 1 else {}
    return _with(_without(_without(_resized(choices, path, length - 1), path, at), path, length - 1), last)


def _replace(choices: Choices, other: Choices, dice: Dice) -> Choices:
    """One element of a list anew, or by one of the other plan's."""
    path = _list(choices, dice)
    if path is None or not _length(choices, path):
        return choices
    at = dice.below(_length(choices, path))
    theirs = _length(other, path) if path in other.lists else 0
    element = _moved(other, path, dice.below(theirs), at) if theirs and dice.below(2) else {}
    return _with(_without(choices, path, at), element)


def _splice(choices: Choices, other: Choices, dice: Dice) -> Choices:
    """The other plan's faults in this one's cluster and network, or one of its faults, or its cluster."""
    roots = sorted({_root(path) for path in other.indexes})
    if not roots:
        return choices
    faults = [root for root in roots if root.startswith(_FAULTS)]
    taken = {*faults} if faults and dice.below(2) else {dice.pick(roots)}
    kept = {path: chosen for path, chosen in choices.indexes.items() if _root(path) not in taken}
    theirs = {path: chosen for path, chosen in other.indexes.items() if _root(path) in taken}
    lists = {path: bounds for path, bounds in choices.lists.items() if _root(path) not in taken}
    lists |= {path: bounds for path, bounds in other.lists.items() if _root(path) in taken}
    return Choices(choices.seed, {**kept, **theirs}, lists)


_CHANGES: Final[tuple[Callable[[Choices, Choices, Dice], Choices], ...]] = (
    _reseed,
    _redraw,
    _redraw,
    _shift,
    _shift,
    _add,
    _take_out,
    _replace,
    _splice,
)
"""Each is as likely as it stands here. One that does not apply changes nothing."""


def _path(choices: Choices, dice: Dice, least: int = 2) -> str | None:
    """A choice among at least so many; mostly one about faults."""
    open_paths = [path for path, (_, count) in choices.indexes.items() if count >= least]
    about_faults = [path for path in open_paths if path.startswith(_FAULTS)]
    if about_faults and dice.below(4):
        return dice.pick(about_faults)
    return dice.pick(open_paths) if open_paths else None


def _list(choices: Choices, dice: Dice) -> str | None:
    return dice.pick(sorted(choices.lists)) if choices.lists else None


def _count(path: str) -> str:
    return f"{path}.count"


def _length(choices: Choices, path: str) -> int:
    return choices.lists[path][0] + choices.indexes[_count(path)][0]


def _resized(choices: Choices, path: str, length: int) -> Choices:
    low, high = choices.lists[path]
    return _with(choices, {_count(path): (length - low, high - low + 1)})


def _with(choices: Choices, changed: Mapping[str, tuple[int, int]]) -> Choices:
    return Choices(choices.seed, {**choices.indexes, **changed}, choices.lists)


def _without(choices: Choices, path: str, at: int) -> Choices:
    prefix = f"{path}[{at}]"
    kept = {key: chosen for key, chosen in choices.indexes.items() if not key.startswith(prefix)}
    return Choices(choices.seed, kept, choices.lists)


def _moved(choices: Choices, path: str, at: int, to: int) -> dict[str, tuple[int, int]]:
    """The choices of one element of a list, as those of another."""
    prefix = f"{path}[{at}]"
    return {
        f"{path}[{to}]{key[len(prefix) :]}": chosen
        for key, chosen in choices.indexes.items()
        if key.startswith(prefix)
    }


def _root(path: str) -> str:
    """``faults[2]`` of ``faults[2].kill.node``, ``network`` of ``network.loss``."""
    return path.partition(".")[0]
