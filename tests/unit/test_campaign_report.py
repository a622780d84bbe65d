"""A campaign's report for machines (JUnit XML) and people (Markdown), and the ledger's file."""

import re
from xml.etree import ElementTree as ET

import pytest

from chaos.errors import InfrastructureError, UsageError
from chaos.ledger import Ledger, merged
from harness.campaign_report import update_ledger, write_junit, write_summary


def scenario(name, **other):
    return {
        "name": name,
        "file": f"scenarios/consensus/{name}.yaml",
        "examples": 600,
        "failed": 0,
        "unknown": 0,
        "harness_failures": 0,
        "simulated_s": 9000.0,
        "seconds": 30.1234,
        "goals_reached": ["leader_changed"],
        "goals_missed": [],
    } | other


def failure(signature, **other):
    check, shape = signature.split("/")
    return {
        "signature": signature,
        "check": check,
        "shape": shape,
        "reason": "n2 voted for n1 and n3 in term 4",
        "scenario": "random-mix",
        "count": 17,
        "first_example": 43,
        "first_after_s": 1.2,
        "first_seen": "2026-11-22T21:00:07+00:00",
        "plan_id": "a" * 32,
        "steps": 1,
        "nodes": 3,
        "operations": 4,
        "shrink_s": 8.1,
        "shrink_trials": 300,
        "note": None,
        "bundle": "state/bundles/a",
        "neighbour": "state/bundles/b",
        "candidate": "state/regressions/a.yaml",
        "replay": "mcp-chaos replay state/bundles/a",
    } | other


def report(**other):
    return {
        "format": 1,
        "backend": "sim",
        "plants": ["vote-not-durable"],
        "seed": 0,
        "workers": 2,
        "started_at": "2026-11-22T21:00:00+00:00",
        "seconds": 61.2,
        "examples": 1800,
        "simulated_s": 18000.0,
        "states": 5312,
        "interrupted": False,
        "finished": True,
        "exit_code": 1,
        "scenarios": [
            scenario("random-mix", failed=20, goals_missed=["log_truncated"]),
            scenario("bridge"),
            scenario("crash-points", unknown=2, goals_missed=["snapshot_installed"]),
            scenario("majority-ring", harness_failures=1),
        ],
        "failures": [failure("monotonic/vote-changed"), failure("durable/lost", count=3, note="time was up")],
        "crashes": [
            {"scenario": "bridge", "reason": "worker 2 died: SIGSEGV", "plan": "state/crashes/p.json"}
        ],
        "problems": ["the disk is nearly full"],
    } | other


# JUnit


def junit(tmp_path, data):
    write_junit(data, tmp_path / "deep/junit.xml")
    return ET.parse(tmp_path / "deep/junit.xml").getroot()


def require_structure(root):
    """What Jenkins's JUnit plugin and GitLab read: names, counts that agree, one outcome for each case."""
    assert root.tag == "testsuites"
    for element in [root, *root]:
        cases = list(element.iter("testcase"))
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(element.attrib[attribute]) == sum(case.find(tag) is not None for case in cases)
        assert int(element.attrib["tests"]) == len(cases)
        assert float(element.attrib["time"]) >= 0
        assert element.attrib["name"]
    for suite in root:
        assert suite.tag == "testsuite"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
        tags = [child.tag for child in suite]
        assert tags == ["properties", *["testcase"] * (len(tags) - 1)]
        names = [(case.attrib["classname"], case.attrib["name"]) for case in suite.iter("testcase")]
        assert len(set(names)) == len(names)
        for case in suite.iter("testcase"):
            assert float(case.attrib["time"]) >= 0
            assert [child.tag for child in case] in ([], ["failure"], ["error"], ["skipped"])
            assert all(child.attrib["message"] for child in case)


def test_junit_has_a_suite_for_each_scenario_and_a_case_for_each_failure(tmp_path):
    root = junit(tmp_path, report())
    require_structure(root)
    assert {key: root.attrib[key] for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6",
        "failures": "2",
        "errors": "2",
        "skipped": "2",
    }
    assert [suite.attrib["name"] for suite in root] == [
        "random-mix",
        "bridge",
        "crash-points",
        "majority-ring",
    ]
    found = root.find("testsuite/testcase[@name='monotonic/vote-changed']/failure")
    assert found.attrib["message"] == "n2 voted for n1 and n3 in term 4"
    assert found.attrib["type"] == "monotonic/vote-changed"
    assert "mcp-chaos replay state/bundles/a" in found.text
    assert "1 step, 3 nodes, 4 operations" in found.text


def test_unknown_is_no_pass_and_a_broken_harness_is_an_error(tmp_path):
    root = junit(tmp_path, report())
    skipped = root.find("testsuite[@name='crash-points']/testcase/skipped")
    assert skipped.attrib["message"] == "2 runs ended as unknown; never reached: snapshot_installed"
    assert root.find("testsuite[@name='bridge']/testcase/error").attrib["message"] == "worker 2 died: SIGSEGV"
    broke = root.find("testsuite[@name='majority-ring']/testcase/error").attrib["message"]
    assert broke == "the harness failed in 1 run"


def test_a_clean_campaign_has_passing_cases_alone(tmp_path):
    clean = report(exit_code=0, scenarios=[scenario("bridge")], failures=[], crashes=[], problems=[])
    root = junit(tmp_path, clean)
    require_structure(root)
    assert [list(case) for case in root.iter("testcase")] == [[]]


def test_what_xml_cannot_hold_is_escaped(tmp_path):
    odd = report(failures=[failure("durable/lost", reason="<n1> & \x00\x1b[31m \ud800 ]]> \U0001f600")])
    root = junit(tmp_path, odd)
    require_structure(root)
    message = root.find(".//failure").attrib["message"]
    assert message == "<n1> & \\x00\\x1b[31m \\ud800 ]]> \U0001f600"


# Markdown


def summary(tmp_path, data, ledger=None):
    write_summary(data, tmp_path / "summary.md", ledger)
    return (tmp_path / "summary.md").read_text()


def tables(text):
    """Every table of a Markdown text: lists of rows of cells, titles first."""
    found = []
    for block in text.split("\n\n"):
        rows = [line for line in block.split("\n") if line.startswith("|")]
        if rows:
            cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
            assert all(len(row) == len(cells[0]) for row in cells), block
            found.append([cells[0], *cells[2:]])
    return found


def test_the_summary_says_what_was_done_and_what_was_found(tmp_path):
    text = summary(tmp_path, report())
    assert text.startswith("## mcp-chaos hunt on sim: the system failed\n")
    scenarios, failures = tables(text)
    assert scenarios[1] == ["`random-mix`", "600", "20", "0", "0", "9,000 s", "`log_truncated`"]
    assert failures[1][:3] == ["`monotonic/vote-changed`", "`random-mix`", "17"]
    assert "$ mcp-chaos replay state/bundles/a" in text
    assert "worker 2 died: SIGSEGV; its plan: `state/crashes/p.json`" in text
    assert "- the disk is nearly full" in text
    assert "- Not shrunk: time was up" in text


def test_with_a_ledger_the_summary_says_since_when_and_what_did_not_come_back(tmp_path):
    yesterday = report(
        started_at="2026-11-21T21:00:00+00:00",
        failures=[
            failure("monotonic/vote-changed", first_seen="2026-11-21T21:00:03+00:00", count=2),
            failure("linearizable/stale-read", first_seen="2026-11-21T21:00:04+00:00"),
        ],
    )
    ledger = merged(merged(Ledger(), yesterday), report())
    _, failures, unseen = tables(summary(tmp_path, report(), ledger))
    assert failures[1][3:6] == ["2, 19 plans in all", "2026-11-21 21:00", "2026-11-22 21:00"]
    assert failures[2][3:6] == ["1, new", "2026-11-22 21:00", "2026-11-22 21:00"]
    assert [row[0] for row in unseen] == ["signature", "`linearizable/stale-read`"]


def test_the_shrunk_scenario_stands_in_a_block_that_it_cannot_break(tmp_path):
    candidate = tmp_path / "candidate.yaml"
    candidate.write_text("version: 1\nscenario: x\nabout: '````'\n")
    text = summary(tmp_path, report(failures=[failure("durable/lost", candidate=str(candidate))]))
    assert "`````yaml\nversion: 1\nscenario: x\nabout: '````'\n`````\n" in text


def test_words_of_a_failure_are_no_markup(tmp_path):
    text = summary(tmp_path, report(failures=[failure("durable/lost", reason="a | b <b> *c* `d`\n# e")]))
    assert "durable/lost: a \\| b &lt;b&gt; \\*c\\* \\`d\\` \\# e</summary>" in text
    assert all(tables(text))


def test_a_hundred_failures_do_not_fill_the_page(tmp_path):
    many = [failure(f"durable/lost-{number}") for number in range(100)]
    text = summary(tmp_path, report(failures=many))
    assert text.count("<details>") == 40
    assert "60 more stand in the table alone." in text


# The ledger's file


def test_the_ledger_is_kept_between_nights(tmp_path):
    path = tmp_path / "state/failures.json"
    update_ledger(path, report(started_at="2026-11-21T21:00:00+00:00"))
    ledger = update_ledger(path, report())
    assert ledger.failures["durable/lost"].nights == 2
    assert [file.name for file in path.parent.iterdir()] == ["failures.json"]


def test_what_is_no_ledger_is_left_as_it_is(tmp_path):
    path = tmp_path / "failures.json"
    for content in (b"{", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="expected a ledger of failures"):
            update_ledger(path, report())
        assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InfrastructureError, match=r"junit\.xml: cannot be written: "):
        write_junit(report(), tmp_path / "file/junit.xml")
    with pytest.raises(InfrastructureError, match="cannot be read: "):
        update_ledger(tmp_path, report())
