"""Neighbours of plans: each is a member of its family, and the same seeds give the same ones."""

from pathlib import Path

import pytest

from chaos.corpus import Corpus
from chaos.generate import Sampler, draw_plan
from chaos.mutate import Choices, Dice, made_anew, mutated
from chaos.plan import Plan
from chaos.scenario import Scenario, load_scenario

FAMILIES = sorted((Path(__file__).resolve().parents[2] / "scenarios" / "consensus").glob("*.yaml"))
SMALL = """
version: 1
scenario: small
cluster: {nodes: {any: [3, 5]}}
workload: {duration: 4s}
heal: 3s
faults:
  - random: {count: {between: [1, 4]}, kinds: [kill, pause, latency], for: {between: [100ms, 1s]}}
checks: [linearizable]
"""


def family(path: Path) -> Scenario:
    return load_scenario(path.read_text(), str(path))


@pytest.mark.parametrize("path", FAMILIES, ids=lambda path: path.stem)
def test_with_no_choices_kept_a_plan_is_the_samplers_and_its_choices_make_it_again(path: Path) -> None:
    scenario = family(path)
    for seed in range(3):
        plan, choices = made_anew(scenario, Choices(seed), seed)
        assert plan == draw_plan(scenario, Sampler(seed))
        assert made_anew(scenario, choices, fresh=999) == (plan, choices)


@pytest.mark.parametrize("path", FAMILIES, ids=lambda path: path.stem)
def test_every_mutant_is_a_plan_of_the_family(path: Path) -> None:
    scenario = family(path)
    _, choices = made_anew(scenario, Choices(1), 1)
    _, other = made_anew(scenario, Choices(2), 2)
    seen = set()
    for number in range(20):
        plan, choices = made_anew(scenario, mutated(choices, other, Dice(number)), number)
        assert Plan.from_json(plan.to_json()) == plan, "it is read back as it is"
        assert plan.checks == scenario.check_names
        seen.add(plan.plan_id)
    assert len(seen) > 10


def test_lists_stay_within_their_bounds_and_elements_keep_their_choices() -> None:
    scenario = load_scenario(SMALL, "small.yaml")
    lengths = set()
    for seed in range(60):
        before, choices = made_anew(scenario, Choices(seed), seed)
        _, other = made_anew(scenario, Choices(seed + 1000), seed + 1000)
        after, _ = made_anew(scenario, mutated(choices, other, Dice(seed)), seed)
        assert 1 <= len(after.steps) <= 4
        lengths.add(len(after.steps) - len(before.steps))
    assert {-1, 0, 1} <= lengths


def test_one_change_leaves_most_of_a_plan_as_it_was() -> None:
    scenario = load_scenario(SMALL, "small.yaml")
    shared = 0
    for seed in range(60):
        before, choices = made_anew(scenario, Choices(seed), seed)
        after, _ = made_anew(scenario, mutated(choices, choices, Dice(seed)), seed)
        shared += bool({str(step.fault) for step in before.steps} & {str(step.fault) for step in after.steps})
    assert shared > 40


def test_a_corpus_keeps_what_shows_something_new_and_tries_its_neighbours() -> None:
    scenario = load_scenario(SMALL, "small.yaml")
    corpus = Corpus(scenario)
    plan, first = corpus.propose(0)
    assert plan == draw_plan(scenario, Sampler(0)), "the first is drawn at random"
    assert corpus.learn(first, [1, 2, 3]) == 3
    assert corpus.learn(Choices(7), [2, 3]) == 0
    assert (len(corpus), corpus.features) == (1, 3)
    seeds = [corpus.propose(seed)[1].seed for seed in range(1, 101)]
    of_the_first = sum(seed == first.seed for seed in seeds)
    assert 20 < of_the_first < 60, "half are drawn at random, of the rest some have another seed"


def test_the_same_runs_lead_to_the_same_proposals() -> None:
    def proposals() -> list[str]:
        corpus = Corpus(load_scenario(SMALL, "small.yaml"))
        ids = []
        for seed in range(60):
            plan, choices = corpus.propose(seed)
            corpus.learn(choices, [step.at_ns or 0 for step in plan.steps])
            ids.append(plan.plan_id)
        return ids

    assert proposals() == proposals()
