"""Ways to choose the plans of a search: at random, or guided by what earlier runs reached."""

from typing import Protocol

from chaos.corpus import Corpus
from chaos.generate import Sampler, draw_plan
from chaos.mutate import Choices
from chaos.plan import Plan
from chaos.scenario import Scenario
from harness.trial import Trial


class Way(Protocol):
    """Chooses plans of one family. The same numbers and runs give the same plans."""

    def propose(self, number: int) -> Plan:
        """The plan to try next; ``number`` is a seed, another one each time."""

    def learn(self, trial: Trial) -> None:
        """What became of it, unless it failed: neighbours of a failing plan fail alike."""


class AtRandom:
    """Plans that know nothing of each other."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario

    def propose(self, number: int) -> Plan:
        """Drawn with this seed."""
        return draw_plan(self._scenario, Sampler(number))

    def learn(self, trial: Trial) -> None:
        """Nothing."""


class Guided:
    """Neighbours of plans that reached what few others did; see `chaos.corpus`."""

    def __init__(self, scenario: Scenario) -> None:
        self._corpus = Corpus(scenario)
        self._proposed: Choices | None = None

    def propose(self, number: int) -> Plan:
        """Drawn with this seed, or a neighbour of one that is kept."""
        plan, self._proposed = self._corpus.propose(number)
        return plan

    def learn(self, trial: Trial) -> None:
        """Which abstract states it went through, and how from one to the next."""
        assert self._proposed is not None, "a plan is proposed before it is run"
        self._corpus.learn(self._proposed, trial.features)


WAYS: dict[str, type[AtRandom] | type[Guided]] = {"random": AtRandom, "guided": Guided}
"""By name."""
