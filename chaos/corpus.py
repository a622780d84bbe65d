"""Which plans are worth trying again, a little changed: those that reached what few others did.

A run shows *features* (numbers: abstract states that it went through, steps from one to the next). A plan that shows
one for the first time is kept. What is tried next is mostly a neighbour of a kept plan, chosen by a feature that few
runs have shown: so the search does not stay where it has been often (Böhme et al., "Coverage-based Greybox Fuzzing
as Markov Chain", CCS 2016). Every other plan is drawn at random, like all of them where nothing guides: no state that
the features do not tell apart is out of reach.
"""

from collections.abc import Iterable
from typing import Final

from chaos.mutate import Choices, Dice, made_anew, mutated
from chaos.plan import Plan
from chaos.scenario import Scenario

RANDOM_OF: Final = 2
"""One of so many plans is drawn at random."""
_LOOKED_AT: Final = 8
"""Of so many features, at random, the rarest chooses."""


class Corpus:
    """The plans of one family worth trying again. The same plans and features give the same proposals."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._kept: list[Choices] = []
        self._owner: dict[int, int] = {}
        """By feature: which kept plan is to be changed for its sake."""
        self._runs: dict[int, int] = {}
        """By feature: how many runs have shown it."""
        self._features: list[int] = []

    def __len__(self) -> int:
        """How many plans are kept."""
        return len(self._kept)

    @property
    def features(self) -> int:
        """How many features were seen."""
        return len(self._features)

    def propose(self, seed: int) -> tuple[Plan, Choices]:
        """The next plan to try: drawn at random with this seed, or a neighbour of one that is kept."""
        dice = Dice(seed)
        if not self._kept or dice.below(RANDOM_OF) == 0:
            return made_anew(self._scenario, Choices(seed), seed)
        choices = mutated(self._kept[self._rare(dice)], dice.pick(self._kept), dice)
        return made_anew(self._scenario, choices, seed)

    def _rare(self, dice: Dice) -> int:
        looked_at = [dice.pick(self._features) for _ in range(_LOOKED_AT)]
        return self._owner[min(looked_at, key=lambda feature: self._runs[feature])]

    def learn(self, choices: Choices, features: Iterable[int]) -> int:
        """What a run showed; how much of it was new. Not for a plan that fails: its neighbours fail alike."""
        new = 0
        for feature in features:
            runs = self._runs.get(feature, 0)
            self._runs[feature] = runs + 1
            if not runs:
                new += 1
                self._owner[feature] = len(self._kept)
                self._features.append(feature)
        if new:
            self._kept.append(choices)
        return new
