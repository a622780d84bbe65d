"""About 2,000 mutated texts, a share of each kind (`ci/fuzz_scenarios.py` has 20,000); and the judge judged itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.errors import BundleError, ScenarioError
from chaos.generate import Sampler, draw_plan
from chaos.plan import Plan
from chaos.scenario import load_scenario
from ci import fuzz_scenarios as fuzz
from ci.fuzz_scenarios import Case, DefectError

CASES = fuzz.cases(2_000)
HEAD = "version: 1\nscenario: x\n"


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_a_mutated_text_is_read_whole_or_refused_with_its_place(monkeypatch, kind):
    # The limit is one for a machine at rest; here only what takes for ever shall fail.
    monkeypatch.setattr(fuzz, "MOST_CPU_S", 10.0)
    outcomes = set()
    for number in [number for its, number in CASES if its == kind]:
        try:
            outcomes.add(fuzz.run_case(kind, number)[0])
        except DefectError as error:
            raise AssertionError(
                f"{error}\nagain: python ci/fuzz_scenarios.py --case {kind}/{number}"
            ) from error
    assert "refused" in outcomes
    if kind in {"data", "overrides", "plans", "manifests", "delete_lines", "swap_token", "change_number"}:
        assert "drawn" in outcomes


def test_a_case_is_the_same_in_every_process():
    script = (
        "from ci import fuzz_scenarios as f; print(ascii([f.made(k, n) for k in f.KINDS for n in range(3)]))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=Path(fuzz.__file__).parents[1],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


@pytest.mark.parametrize(
    ("message", "defect"),
    [
        ("found 3, expected 1", "does not say where"),
        ("x.yaml:3: found 3, expected 1", "does not say where"),
        ("x.yaml:4:1: found 3, expected 1", "a place that the text does not have"),
        ("x.yaml:1:12: found 3, expected 1", "a place that the text does not have"),
        ("x.yaml:0:1: found 3, expected 1", "a place that the text does not have"),
        ("x.yaml:1:1: broken", "does not say what was expected"),
        ("x.yaml:1:1: found \x1b, expected 1", "not printable"),
        ("x.yaml:1:1: found 3, expected 1\nfound 4, expected 1", "does not say where"),
        ("--set a=1: found 3, expected 1", "there is none"),
    ],
)
def test_the_judge_sees_a_bad_refusal(monkeypatch, message, defect):
    def refuse(*_):
        raise ScenarioError(message)

    monkeypatch.setattr(fuzz, "load_scenario", refuse)
    with pytest.raises(DefectError, match=defect):
        fuzz.outcome(Case(HEAD), 0)


def test_the_judge_sees_any_other_exception_and_a_plan_that_does_not_come_back(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(fuzz, "load_scenario", lambda *_: {}["x"])
        with pytest.raises(DefectError, match="load_scenario raised KeyError"):
            fuzz.outcome(Case(HEAD), 0)
    with monkeypatch.context() as patch:
        patch.setattr(fuzz, "scenario_of", lambda plan: f"{HEAD}seed: 99\n")
        with pytest.raises(DefectError, match="from its scenario file is another plan"):
            fuzz.outcome(Case(HEAD), 0)


def test_the_judge_ends_what_would_go_on_for_ever(monkeypatch):
    def for_ever(*_):
        while True:
            pass

    monkeypatch.setattr(fuzz, "MOST_CPU_S", 0.05)
    monkeypatch.setattr(fuzz, "load_scenario", for_ever)
    with pytest.raises(DefectError, match="of processor time or more"):
        fuzz.run_case("data", 0)


def test_a_plan_with_its_checks_in_another_order_is_refused():
    """It was read as a plan of its own, but its scenario.yaml was that of another."""
    plan = draw_plan(load_scenario(HEAD, "x.yaml"), Sampler(0))
    data = json.loads(plan.to_json())
    data["scenario"]["checks"].reverse()
    with pytest.raises(BundleError, match=r"p\.json: found the checks no_panic, .*, expected linearizable, "):
        Plan.from_json(json.dumps(data), "p.json")


BROKEN = [
    ("a: [1, 2\n", "4:1", "found the end of the file, expected ',' or ']'"),
    ("a: b: c\n", "3:5", "found `:` where no key may stand, expected keys on lines of their own"),
    ("faults\nchecks: [raft]\n", "3:1", "found a line that ends without `:`, expected `key: value`"),
    ("a: - b\n", "3:4", "found `-` where no list may begin, expected lists on lines of their own"),
    ("a: @b\n", "3:4", "found '@' at the beginning of a word, expected quotes"),
    ("a: 'b\nc: d\n", "5:1", "found the end of the file inside of quotes, expected the closing quote"),
    ('a: "\\q"\n', "3:6", "found an unknown escape after \\, expected one that YAML knows"),
    ("}\n", "3:1", "found '}', expected the end of the block (is the indentation right?)"),
]


@pytest.mark.parametrize(("line", "place", "what"), BROKEN)
def test_broken_yaml_is_told_with_what_was_expected(line, place, what):
    """What ruamel.yaml says is what was found alone (`mapping values are not allowed here`)."""
    with pytest.raises(ScenarioError) as caught:
        load_scenario(HEAD + line, "x.yaml")
    assert str(caught.value).startswith(f"x.yaml:{place}: broken YAML: {what}")


def test_an_override_in_a_message_is_printable_and_short():
    """Its bytes came through to the terminal as they were."""
    for override in ("cluster.nodes=\x1b[31m", "\x07\ud800=3", "a" * 5000, "cluster.nodes=\x85"):
        with pytest.raises(ScenarioError) as caught:
            load_scenario(HEAD, "x.yaml", [override])
        message = str(caught.value)
        assert message.startswith("--set ")
        assert message.isprintable()
        assert len(message) < 400


@pytest.mark.parametrize(
    ("fault", "path", "value"),
    [
        ("partition: {majority_ring: n1}", ("partition", "order"), None),
        ("latency: {node: n1, delay: 40ms, jitter: 20ms}", ("latency", "jitter"), "3s"),
        ("latency: {node: n1, delay: 40ms}", ("latency", "node"), None),
        ("one_way: {from: n1, to: n2}", ("one_way", "to"), "n1"),
    ],
)
def test_a_plan_whose_faults_are_not_as_drawing_leaves_them_is_refused(fault, path, value):
    """They were read, but drawing their scenario.yaml settled them: it was that of another plan."""
    plan = draw_plan(load_scenario(f"{HEAD}faults: [{{at: 1s, {fault}}}]", "x.yaml"), Sampler(0))
    assert Plan.from_json(plan.to_json()) == plan
    data = json.loads(plan.to_json())
    kind, key = path
    fault_data = data["scenario"]["faults"][0][kind]
    if value is None:
        del fault_data[key]
    else:
        fault_data[key] = value
    with pytest.raises(
        BundleError, match=r"p\.json: found step 0, .*, not as drawing leaves it|found a plan that leaves"
    ):
        Plan.from_json(json.dumps(data), "p.json")
