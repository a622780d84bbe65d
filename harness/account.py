"""The account of a run: what was done to whom and when, what clients saw, each check, and how to do it again.

Written from the bundle alone, so that a run just finished and one found on disk read the same.
"""

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from chaos.plan import Plan, describe_when
from chaos.signature import signature_of
from chaos.timeline import counted, ended_words, fault_words
from chaos.topology import list_words
from chaos.verdict import RunVerdict, Verdict
from harness.cluster import PLAN_START_NS
from harness.recorded import plan_of
from harness.store import Bundle

Record = dict[str, Any]

_MARKS = {
    Verdict.VALID: Text("✓", "green"),
    Verdict.INVALID: Text("✗", "bold red"),
    Verdict.UNKNOWN: Text("?", "yellow"),
    Verdict.NOT_APPLICABLE: Text("–", "dim"),
}
_COLOURS = {Verdict.VALID: "bold green", Verdict.INVALID: "bold red", Verdict.UNKNOWN: "bold yellow"}
_LONGEST_EVIDENCE = 60
_OF_LINKS = (
    *("withheld", "delayed", "dropped", "duplicated", "reordered", "queued", "overflowed", "torn"),
    "delivered",
)
"""What is counted of each link under a fault."""


def print_account(bundle: Bundle, console: Console) -> None:
    """Prints the account of the run in ``bundle``. Raises BundleError if it cannot be read."""
    plan = plan_of(bundle)
    summary = json.loads(bundle.text("summary.json"))
    nemesis = bundle.records("nemesis.jsonl")
    verdict = bundle.verdict

    _head(bundle, plan, summary, console)
    if plan.steps:
        _section(console, "What was done")
        _steps(plan, nemesis, console)
    _section(console, "What clients saw")
    _operations(summary, console)
    for line in _service(summary, plan):
        console.print(f"  {line}")
    for line in _goals(summary, plan):
        console.print(f"  {line}")
    _section(console, "Checks")
    _checks(verdict, console)
    for doubt in verdict.doubts:
        console.print(f"  [yellow]?[/yellow] {escape(doubt)}")
    for note in summary["info"].get("notes", []):
        console.print(f"  [dim]–[/dim] {escape(note)}")
    for failure in verdict.harness_failures:
        console.print(f"  [yellow]![/yellow] harness: {escape(failure)}")
    _foot(bundle, verdict, console)


def _head(bundle: Bundle, plan: Plan, summary: Record, console: Console) -> None:
    manifest = bundle.manifest
    plants = f" · planted: {', '.join(manifest.plants)}" if manifest.plants else ""
    console.print(
        f"\n[bold]{escape(plan.scenario)}[/bold] on {manifest.backend}, seed {plan.seed}, "
        f"plan {plan.plan_id[:12]}[red]{escape(plants)}[/red]"
    )
    if plan.about:
        console.print(f"[dim]{escape(plan.about)}[/dim]")
    workload = plan.compiled()["workload"]
    console.print(
        f"{counted(plan.nodes, 'node')}, {counted(workload['clients'], 'client')}, "
        f"{counted(workload['keys'], 'key')}, "
        f"{_seconds(plan.workload_ns)} of workload; {_effort(manifest.timings, summary)}"
    )
    console.print(
        f"[dim]Times are on the record's clock, on which the plan starts at {_at(PLAN_START_NS)}.[/dim]"
    )


def _effort(timings: dict[str, float], summary: Record) -> str:
    stats = summary.get("stats") or {}
    if "simulated_ns" in stats and timings.get("run_s"):
        simulated = stats["simulated_ns"]
        return f"{_seconds(simulated)} simulated in {timings['run_s']:.2f} s"
    parts = [("ready in", "ready_s"), ("ran", "run_s"), ("torn down in", "teardown_s")]
    return ", ".join(f"{word} {timings[key]:.1f} s" for word, key in parts if key in timings)


def _steps(plan: Plan, nemesis: list[Record], console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    for record in nemesis:
        if record["phase"] == "all_healed":
            table.add_row(
                _at(record["time_ns"]), "", "every fault is healed; recovery is measured from here", ""
            )
            continue
        step = plan.steps[record["step"]]
        what = fault_words(record, plan.steps) if record["phase"] == "install" else _ends(record)
        style = {"done": "", "skipped": "yellow", "failed": "red"}[record["status"]]
        if record["status"] != "done":
            when = f" (planned {describe_when(step)})"
            what = f"{what}: {record['status']}{when}: {record.get('reason', '')}"
        table.add_row(_at(record["time_ns"]), str(record["step"]), Text(what, style), _evidence(record))
    console.print(table)


def _ends(record: Record) -> str:
    """``partition ends [n3]``."""
    kind = str(record["kind"])
    return ended_words(record).replace(kind, f"{kind} ends", 1)


def _evidence(record: Record) -> Text:
    """What shows that the fault took hold, as far as there is room for it."""
    text = ", ".join(evidence_words(record.get("evidence") or {}))
    return Text(text if len(text) <= _LONGEST_EVIDENCE else text[: _LONGEST_EVIDENCE - 1] + "…", "dim")


def evidence_words(evidence: Record) -> Iterator[str]:
    """What a fault did: counts over all its links that are not zero, or what became of the processes."""
    links = evidence.get("links")
    if isinstance(links, list):
        totals = {key: sum(link.get(key, 0) for link in links) for key in _OF_LINKS}
        yield ", ".join(f"{total} {key}" for key, total in totals.items() if total) or "no message came"
    if "messages_passed" in evidence:
        passed, elsewhere = evidence["messages_passed"], evidence.get("messages_elsewhere")
        yield f"{counted(passed, 'message')} passed, {elsewhere} on other links"
    for node, slowed in (evidence.get("slowed") or {}).items():
        counts = {name: count for name, count in slowed.items() if count and name != "added_ns"}
        if counts:
            what = list_words(counted(count, name.removesuffix("s")) for name, count in counts.items())
            yield f"{node} slowed at {what} by {_seconds(slowed['added_ns'])}"
        else:
            yield f"{node} had nothing to be slow at"
    for node, clock in (evidence.get("clocks") or {}).items():
        yield f"{node} {_ahead(clock['ahead_ns'])}, {counted(clock['ticks'], 'tick')}"
    for node, lies in (evidence.get("lies") or {}).items():
        yield f"{node} lied {counted(lies['syncs'], 'time')}, took {counted(lies['lost_bytes'], 'byte')} back"
    for node, flipped in (evidence.get("flipped") or {}).items():
        yield f"{node} {flipped['file']} at {flipped['offset']}" if flipped else f"{node} had no such file"
    for node, count in (evidence.get("disk_failures") or {}).items():
        yield f"{node} stopped {counted(count, 'time')} by its disk" if count else f"{node} never failed"
    if "voters" in evidence:
        yield f"voters {', '.join(evidence['voters'])}"
    processes = evidence.get("processes")
    if isinstance(processes, dict):
        yield from (f"{node} {state}" for node, state in processes.items())


def _ahead(ahead_ns: int) -> str:
    """``0.8 s behind``."""
    return f"{_seconds(abs(ahead_ns))} {'behind' if ahead_ns < 0 else 'ahead'}" if ahead_ns else "on time"


def _operations(summary: Record, console: Console) -> None:
    table = Table.grid(padding=(0, 3))
    table.add_row("", *(Text(word, "dim", justify="right") for word in ("ok", "fail", "unknown")))
    for function, counts in summary["operations"].items():
        failed = str(counts["fail"])
        if counts["mismatch"]:
            failed += f" ({counts['mismatch']} mismatched)"
        cells = (str(counts["ok"]), failed, str(counts["info"]))
        table.add_row(f"  {function}", *(Text(cell, justify="right") for cell in cells))
    console.print(table)


def _service(summary: Record, plan: Plan) -> Iterator[str]:
    gap = summary["longest_gap"]
    if gap:
        limit = plan.compiled()["timeline"]["unavailable_at_most_ns"]
        allowed = f", at most {_seconds(limit)} allowed" if limit is not None else ""
        during = ", ".join(f"{step} {kind}" for step, kind in summary["faults_in_longest_gap"])
        during = f", during {during}" if during else ""
        yield (
            f"longest gap without a success: {_seconds(gap['to_ns'] - gap['from_ns'])} "
            f"({_at(gap['from_ns'])} to {_at(gap['to_ns'])}{during}{allowed})"
        )
    for fault in summary["during_faults"]:
        if fault["to_ns"] > fault["from_ns"]:
            yield (
                f"during {fault['step']} {fault['kind']} ({_seconds(fault['to_ns'] - fault['from_ns'])}): "
                f"{counted(fault['succeeded'], 'operation')} succeeded{_by_function(fault)}, "
                f"and {counted(fault['home_reads'], 'read')} at home nodes"
            )
    if summary.get("nothing_under_faults"):
        yield (
            "nothing succeeded while a fault was in force: this run says nothing of the system under faults"
        )
    recovery = summary["first_success_after_heal"]
    if recovery:
        if recovery["time_ns"] is None:
            yield "after the heal: no operation succeeded"
        else:
            yield f"first success after the heal: {_seconds(recovery['time_ns'] - recovery['healed_ns'])} later"


def _by_function(fault: Record) -> str:
    """`` (before, during, after: read 310, 12, 95; write …)``: how each function fared around the fault."""
    around = fault.get("by_function") or {}
    parts = [
        f"{name} {counts['before']}, {counts['during']}, {counts['after']}" for name, counts in around.items()
    ]
    return f" (before, during, after: {'; '.join(parts)})" if parts else ""


def _goals(summary: Record, plan: Plan) -> Iterator[str]:
    reached = set(summary.get("goals", []))
    if plan.sometimes:
        words = ", ".join(
            f"{goal} {'reached' if goal in reached else 'not reached'}" for goal in plan.sometimes
        )
        yield f"sometimes: {words}"


def _checks(verdict: RunVerdict, console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    for judged in verdict.judgements:
        table.add_row("", _MARKS[judged.verdict], judged.check, Text(judged.reason, overflow="fold"))
    console.print(table)


def _foot(bundle: Bundle, verdict: RunVerdict, console: Console) -> None:
    word = "interrupted" if verdict.interrupted else verdict.verdict.value
    console.print(f"\nVerdict: [{_COLOURS[verdict.verdict]}]{word}[/] (exit {verdict.exit_code})")
    path = shown_path(bundle.path)
    console.print(f"Bundle:  {escape(path)}")
    console.print(f"Replay:  mcp-chaos replay {escape(shlex.quote(path))}")
    # Nobody can tell the story of a run of which no node left a trace.
    if signature_of(verdict.judgements) is not None and bundle.names("trace/"):
        console.print(f"Explain: mcp-chaos explain {escape(shlex.quote(path))}")


def shown_path(path: Path) -> str:
    """As short as it can be while it still works from here."""
    absolute = path.resolve()
    relative = os.path.relpath(absolute)
    return relative if not relative.startswith("..") else str(absolute)


def _section(console: Console, title: str) -> None:
    console.print(f"\n[bold]{title}[/bold]")


def _at(time_ns: int) -> str:
    """A moment on the record's clock."""
    return f"{time_ns / 1e9:.3f} s"


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns / 1e9:.3f}".rstrip("0").rstrip(".") + " s"
