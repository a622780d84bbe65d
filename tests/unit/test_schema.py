"""The JSON Schema by which editors complete scenario files."""

import json

import jsonschema
import pytest

from chaos import document
from chaos.errors import ScenarioError
from chaos.faults import KINDS
from chaos.scenario import CHECKS, EVENTS, GOALS, json_schema, load_scenario
from tests.strategies import FILES, SCENARIOS

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_it_is_a_schema_of_the_draft_it_names():
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_scenario_that_we_ship_conforms_to_it(path):
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=../schema.json\n")
    VALIDATOR.validate(document.read(text, str(path)).data)


def test_the_file_that_editors_read_is_this_schema():
    shipped = json.loads((SCENARIOS / "schema.json").read_text())
    assert shipped == SCHEMA, "run `mcp-chaos schema > scenarios/schema.json`"


def test_every_key_has_a_description():
    bare = []
    for name, part in [("", SCHEMA), *SCHEMA["$defs"].items()]:
        for body in [part, *part.get("anyOf", [])]:
            for key, value in body.get("properties", {}).items():
                named = SCHEMA["$defs"].get(value.get("$ref", "").removeprefix("#/$defs/"), {})
                if not value.get("description") and not named.get("description"):
                    bare.append(f"{name}.{key}")
    assert bare == []


def test_every_word_of_the_closed_lists_is_in_it():
    text = json.dumps(SCHEMA)
    for word in [*KINDS, *CHECKS, *EVENTS, *GOALS, "raft"]:
        assert json.dumps(word) in text


@pytest.mark.parametrize(
    "change",
    [
        {"clutser": {}},
        {"version": 2},
        {"checks": ["linear"]},
        {"faults": [{"at": "2s", "kil": "leader"}]},
        {"faults": [{"at": 2, "kill": "leader"}]},
        {"faults": [{"at": "2s", "kill": "leeder"}]},
        {"workload": {"rate": "50"}},
        {"checks": {"any": ["raft"]}},
    ],
)
def test_it_refuses_what_the_reader_refuses(change):
    data = {"version": 1, "scenario": "x", **change}
    assert not VALIDATOR.is_valid(data)
    with pytest.raises(ScenarioError):
        load_scenario(json.dumps(data), "x")


@pytest.mark.parametrize(
    "change",
    [
        {"cluster": {"nodes": {"any": [3, 5]}}},
        {"workload": {"keys": {"between": [1, 4]}, "home_readers": {"maybe": False}}},
        {"network": {"latency": ["1ms", {"any": ["5ms", "9ms"]}]}},
        {"faults": [{"at": "2s", "partition": "halves"}, {"on": "vote_cast", "kill": ["n1", "n2"]}]},
        {"faults": [{"maybe": {"at": "1s", "kill": {"any": ["leader", "n1"]}}}]},
        {"faults": [{"random": {"count": 3, "kinds": ["kill"]}}]},
        {"faults": [{"any": [{"at": "1s", "restart": "all"}, {"at": "2s", "restart": {"follower": 1}}]}]},
        {
            "faults": [
                {"at": "1s", "latency": {"from": "n1", "to": "all", "delay": {"between": ["1ms", "9ms"]}}}
            ]
        },
    ],
)
def test_it_accepts_holes_and_short_forms_as_the_reader_does(change):
    data = {"version": 1, "scenario": "x", **change}
    VALIDATOR.validate(data)
    load_scenario(json.dumps(data), "x")
