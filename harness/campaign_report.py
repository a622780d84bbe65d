"""What a campaign came to, for machines and for people: JUnit XML, a summary in Markdown, a ledger over nights.

All from the campaign's report as plain data (``campaign.json``).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from chaos.errors import InfrastructureError, UsageError
from chaos.ledger import Entry, Ledger, merged, parse_ledger, recurrence
from chaos.verdict import EXIT_HARNESS, EXIT_INTERRUPTED, EXIT_INVALID, EXIT_UNKNOWN, EXIT_VALID
from harness.files import write_whole

Report = Mapping[str, Any]

MOST_DETAILS: Final = 40
"""Failures that the summary shows whole: GitHub takes one megabyte."""
MOST_SCENARIO_CHARACTERS: Final = 16_000

_OUTCOMES: Final = {
    EXIT_VALID: "nothing found, and everything shown",
    EXIT_INVALID: "the system failed",
    EXIT_UNKNOWN: "nothing found, but not everything was shown",
    EXIT_HARNESS: "nothing found, but the harness failed",
    EXIT_INTERRUPTED: "interrupted",
}
# What XML 1.0 cannot hold, not even as a reference.
_NO_XML: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


# JUnit


def write_junit(report: Report, path: Path) -> None:
    """JUnit XML, a suite for each scenario. Raises InfrastructureError if it cannot be written.

    A suite holds a case for the scenario itself (an error if the harness failed, skipped if it shows nothing, for
    an unknown run or a goal never reached) and a failing case for each distinct failure that stands in it.
    """
    root = ET.Element("testsuites", name=f"mcp-chaos hunt on {report['backend']}")
    for scenario in report["scenarios"]:
        _suite(root, report, scenario)
    _count(root)
    root.set("time", _seconds(report["seconds"]))
    ET.indent(root)
    write_whole(path, ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def _suite(root: ET.Element, report: Report, scenario: Mapping[str, Any]) -> None:
    name = scenario["name"]
    suite = ET.SubElement(root, "testsuite", name=name)
    began = re.sub(r"(\.\d+)?(Z|[+-]\d\d:\d\d)$", "", report["started_at"])  # the schema knows no zones
    suite.set("timestamp", began)
    properties = ET.SubElement(suite, "properties")
    for key, value in {
        "file": scenario["file"],
        "backend": report["backend"],
        "plants": ",".join(report["plants"]),
        "seed": report["seed"],
        "plans": scenario["examples"],
        "simulated_s": scenario["simulated_s"],
    }.items():
        ET.SubElement(properties, "property", name=key, value=_xml(str(value)))
    own = ET.SubElement(suite, "testcase", classname=name, name=name, time=_seconds(scenario["seconds"]))
    broken = [crash["reason"] for crash in report["crashes"] if crash["scenario"] == name]
    if scenario["harness_failures"]:
        broken.insert(0, f"the harness failed in {_plural(scenario['harness_failures'], 'run')}")
    shown = _shows_nothing(scenario)
    if broken:
        error = ET.SubElement(own, "error", type="harness", message=_xml(broken[0]))
        error.text = _xml("\n".join(broken))
    elif shown:
        ET.SubElement(own, "skipped", message=_xml("; ".join(shown)))
    for failure in report["failures"]:
        if failure["scenario"] == name:
            _failing_case(suite, failure)
    _count(suite)
    suite.set("time", _seconds(scenario["seconds"]))


def _failing_case(suite: ET.Element, failure: Mapping[str, Any]) -> None:
    case = ET.SubElement(suite, "testcase", classname=failure["scenario"], name=_xml(failure["signature"]))
    case.set("time", _seconds(failure.get("shrink_s") or 0.0))
    found = ET.SubElement(
        case, "failure", type=_xml(failure["signature"]), message=_xml(failure["reason"].split("\n")[0])
    )
    found.text = _xml("\n".join([failure["reason"], "", *_facts(failure), "", _scenario_text(failure)]))


def _facts(failure: Mapping[str, Any]) -> Iterator[str]:
    """What people need to go on, a line each."""
    yield f"{_plural(failure['count'], 'plan')} failed so; the one kept has {_size(failure)}"
    yield f"replay: {failure['replay']}"
    for title, key in (("bundle", "bundle"), ("nearest passing", "neighbour"), ("candidate", "candidate")):
        if failure.get(key):
            yield f"{title}: {failure[key]}"
    if failure.get("note"):
        yield f"not shrunk: {failure['note']}"


def _count(element: ET.Element) -> None:
    cases = list(element.iter("testcase"))
    element.set("tests", str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(sum(case.find(tag) is not None for case in cases)))


def _seconds(value: float) -> str:
    return f"{value:.3f}"


def _xml(text: str) -> str:
    return _NO_XML.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


# Markdown


def write_summary(report: Report, path: Path, ledger: Ledger | None = None) -> None:
    """A job summary in GitHub's Markdown. Raises InfrastructureError if it cannot be written.

    With a ledger (which has this campaign in it) it says how often and since when each failure is seen, and what
    earlier nights have seen and this one has not.
    """
    write_whole(path, ("\n".join(_summary(report, ledger)) + "\n").encode(errors="backslashreplace"))


def _summary(report: Report, ledger: Ledger | None) -> Iterator[str]:
    outcome = _OUTCOMES.get(report["exit_code"], f"exit {report['exit_code']}")
    yield f"## mcp-chaos hunt on {report['backend']}: {outcome}"
    yield ""
    plants = f", planted: {', '.join(map(_code, report['plants']))}" if report["plants"] else ""
    yield (
        f"{report['examples']:,} plans in {report['seconds']:,.0f} s with {_plural(report['workers'], 'worker')}, "
        f"{report['simulated_s']:,.0f} s simulated, {report['states']:,} abstract states, seed {report['seed']}"
        f"{plants}. Begun {_time(report['started_at'])}."
    )
    yield ""
    yield from _table(
        ("scenario", "plans", "failed", "unknown", "harness failed", "simulated", "goals never reached"),
        [
            (
                _code(scenario["name"]),
                f"{scenario['examples']:,}",
                f"{scenario['failed']:,}",
                f"{scenario['unknown']:,}",
                f"{scenario['harness_failures']:,}",
                f"{scenario['simulated_s']:,.0f} s",
                ", ".join(map(_code, scenario["goals_missed"])) or "none",
            )
            for scenario in report["scenarios"]
        ],
    )
    yield from _failures(report, ledger)
    yield from _unseen(report, ledger)
    for title, key in (("Crashes", "crashes"), ("Problems", "problems")):
        if report[key]:
            yield f"### {title}"
            yield ""
            yield from (f"- {_crash_line(item)}" for item in report[key])
            yield ""


def _failures(report: Report, ledger: Ledger | None) -> Iterator[str]:
    failures = report["failures"]
    if not failures:
        return
    yield f"### {_plural(len(failures), 'distinct failure')}"
    yield ""
    rows = []
    for failure in failures:
        known = None if ledger is None else recurrence(ledger, report, failure["signature"])
        if known is None:
            seen = ("", _time(failure["first_seen"]), "")
        else:
            nights = (
                f"{known.entry.nights}, {'new' if known.is_new else f'{known.entry.total:,} plans in all'}"
            )
            seen = (nights, _time(known.entry.first_seen), _time(known.entry.last_seen))
        rows.append(
            (
                _code(failure["signature"]),
                _code(failure["scenario"]),
                f"{failure['count']:,}",
                *seen,
                _size(failure),
            )
        )
    yield from _table(
        ("signature", "scenario", "plans", "nights", "first seen", "last seen", "smallest"), rows
    )
    for failure in failures[:MOST_DETAILS]:
        yield from _details(failure)
    if len(failures) > MOST_DETAILS:
        yield f"{len(failures) - MOST_DETAILS} more stand in the table alone."
        yield ""


def _details(failure: Mapping[str, Any]) -> Iterator[str]:
    yield f"<details><summary>{_html(failure['signature'])}: {_html(failure['reason'])}</summary>"
    yield ""
    yield from _fenced("console", f"$ {failure['replay']}")
    text = _scenario_text(failure)
    if text:
        yield from _fenced("yaml", text)
    for title, key in (
        ("Bundle", "bundle"),
        ("Nearest passing plan", "neighbour"),
        ("Candidate", "candidate"),
    ):
        if failure.get(key):
            yield f"- {title}: {_code(failure[key])}"
    if failure.get("note"):
        yield f"- Not shrunk: {_html(failure['note'])}"
    yield ""
    yield "</details>"
    yield ""


def _unseen(report: Report, ledger: Ledger | None) -> Iterator[str]:
    """Failures of earlier nights: mended, or not met this time."""
    found = {failure["signature"] for failure in report["failures"]}
    rows: list[tuple[str, ...]] = [
        (
            _code(signature),
            ", ".join(map(_code, entry.scenarios)),
            str(entry.nights),
            _time(entry.first_seen),
            _time(entry.last_seen),
            _entry_size(entry),
        )
        for signature, entry in sorted(() if ledger is None else ledger.failures.items())
        if signature not in found
    ]
    if rows:
        yield "### Seen on earlier nights, not in this one"
        yield ""
        yield from _table(("signature", "scenarios", "nights", "first seen", "last seen", "smallest"), rows)


def _crash_line(item: Any) -> str:
    if isinstance(item, str):
        return _html(item)
    plan = f"; its plan: {_code(item['plan'])}" if item.get("plan") else ""
    return f"{_code(item['scenario'])}: {_html(item['reason'])}{plan}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"|{' --- |' * len(titles)}"
    for row in rows:
        cells = [cell.replace("|", "\\|") for cell in row]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _fenced(language: str, text: str) -> Iterator[str]:
    """A block whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield f"{fence}{language}"
    yield text.rstrip("\n")
    yield fence
    yield ""


def _code(text: str) -> str:
    one_line = " ".join(text.split())
    return f"``{one_line}``" if "`" in one_line else f"`{one_line}`"


def _html(text: str) -> str:
    """Words in the middle of Markdown and HTML: nothing in them is markup."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", plain)


# Both


def _shows_nothing(scenario: Mapping[str, Any]) -> list[str]:
    """Why a scenario that failed nowhere still shows less than it should."""
    words = []
    if not scenario["examples"]:
        words.append("no plan was run")
    if scenario["unknown"]:
        words.append(f"{_plural(scenario['unknown'], 'run')} ended as unknown")
    if scenario["goals_missed"]:
        words.append(f"never reached: {', '.join(scenario['goals_missed'])}")
    return words


def _scenario_text(failure: Mapping[str, Any]) -> str:
    """The scenario file of the smallest plan, where it still lies; else nothing."""
    places = [Path(failure["candidate"])] if failure.get("candidate") else []
    for path in (*places, Path(failure["bundle"]) / "scenario.yaml"):
        with suppress(OSError, UnicodeDecodeError):
            text = path.read_text(encoding="utf-8")
            rest = len(text) - MOST_SCENARIO_CHARACTERS
            return text if rest <= 0 else f"{text[:MOST_SCENARIO_CHARACTERS]}\n# … {rest:,} more characters"
    return ""


def _size(plan: Mapping[str, Any]) -> str:
    operations = plan.get("operations")
    counted = "" if operations is None else f", {_plural(operations, 'operation')}"
    return f"{_plural(plan['steps'], 'step')}, {_plural(plan['nodes'], 'node')}{counted}"


def _entry_size(entry: Entry) -> str:
    return _size(entry.best.model_dump())


def _plural(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _time(text: str) -> str:
    """``2026-11-22 21:00`` from ISO 8601 in UTC."""
    return text[:16].replace("T", " ")


# Over nights


def read_ledger(path: Path) -> Ledger:
    """The ledger at ``path``, an empty one if there is none.

    Raises UsageError if what lies there is no ledger, InfrastructureError if it cannot be read.
    """
    try:
        return parse_ledger(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        return Ledger()
    except UnicodeDecodeError:
        raise UsageError(f"{path}: expected a ledger of failures, found no text") from None
    except OSError as error:
        raise InfrastructureError(f"{path}: cannot be read: {error.strerror or error}") from error


def update_ledger(path: Path, report: Report) -> Ledger:
    """Merges a campaign into the ledger at ``path``, and gives it back. Raises as `read_ledger`.

    Written whole; what is no ledger is left as it is.
    """
    ledger = merged(read_ledger(path), report)
    write_whole(path, ledger.to_json().encode())
    return ledger
