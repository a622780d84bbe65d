"""From what the command line was given to a campaign, and from its report to what people read."""

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from chaos import _core
from chaos.errors import ChaosError, UnsupportedError, UsageError
from chaos.timeline import counted
from chaos.verdict import EXIT_VALID
from harness.account import shown_path
from harness.backends import BACKENDS
from harness.campaign_report import read_ledger, update_ledger, write_junit, write_summary
from harness.cluster import RunOptions
from harness.examples import database_of
from harness.files import write_whole
from harness.hunt.campaign import Campaign, Wishes, batch_of
from harness.hunt.display import display_on
from harness.hunt.report import CampaignReport, FailureReport
from harness.hunt.state import Store
from harness.hunt.tasks import Family
from harness.options import seconds_of
from harness.output import complain
from harness.run import read_scenario_text, scenario_files

_DEFAULT_TIME = "1m"
_SHRINK_TIME = {"sim": "20s", "docker": "5m"}


@dataclass(frozen=True)
class Request:
    """What the user asked for, as words."""

    scenarios: tuple[Path, ...]
    options: RunOptions
    examples: int | None
    time: str | None
    workers: int | None
    seed: int
    first: bool
    shrink_time: str | None
    state: Path
    database: str | None
    fresh: bool
    batch: int | None
    guided: bool
    junit: Path | None
    summary: Path | None


def hunt_scenarios(request: Request, console: Console, watcher: Console) -> CampaignReport:
    """Runs the campaign. ``console`` is for its result, ``watcher`` for what it is at.

    Raises ScenarioError or UsageError before anything starts, InfrastructureError if it cannot go on.
    """
    wishes, left_out = _wishes(request)
    store = Store(request.state)
    with store.held():
        _probe(request, store)
        with display_on(watcher) as display:
            for words in left_out:
                display.say(words)
            report = Campaign(wishes, store, _database(request, store), display).run()
        print_report(report, console)
        _write_reports(request, store, report)
    return report


def _probe(request: Request, store: Store) -> None:
    """Raises ChaosError now for what could not be written at the end of the night."""
    for path in (request.junit, request.summary):
        if path is not None:
            write_whole(path, b"")
    if store.ledger.exists():
        read_ledger(store.ledger)


def _write_reports(request: Request, store: Store, report: CampaignReport) -> None:
    """Writes what is read elsewhere. A failure to write must not hide what was found."""
    try:
        ledger = update_ledger(store.ledger, report.to_dict())
        if request.junit is not None:
            write_junit(report.to_dict(), request.junit)
        if request.summary is not None:
            write_summary(report.to_dict(), request.summary, ledger)
    except ChaosError as error:
        if report.exit_code == EXIT_VALID:
            raise
        complain(str(error))


def _wishes(request: Request) -> tuple[Wishes, list[str]]:
    """What a campaign is to do, and which scenarios it leaves out, and why."""
    backend = request.options.backend
    if backend not in BACKENDS:
        raise UsageError(f"--backend {backend}: expected {' or '.join(BACKENDS)}")
    known = {name for name, *_ in _core.PLANTS}
    for plant in request.options.plants:
        if plant not in known:
            raise UsageError(f"--plant {plant}: no such planted bug; there are: {', '.join(sorted(known))}")
    seconds = None if request.time is None else seconds_of("--time", request.time)
    if seconds is None and request.examples is None:
        seconds = seconds_of("--time", _DEFAULT_TIME)
    families, left_out = _families(request)
    cores = len(os.sched_getaffinity(0))
    if backend != "sim" and (request.workers or 1) > 1:
        raise UsageError(f"--workers {request.workers}: one cluster at a time on {backend}; expected 1")
    return Wishes(
        families=tuple(sorted(families, key=lambda family: family.name)),
        options=replace(request.options, out=Store(request.state).bundles),
        seed=request.seed,
        examples=request.examples,
        seconds=seconds,
        workers=request.workers or (cores if backend == "sim" else 1),
        shrink_seconds=seconds_of("--shrink-time", request.shrink_time or _SHRINK_TIME[backend]),
        batch=request.batch or batch_of(backend, request.examples, guided=request.guided),
        first=request.first,
        guided=request.guided,
        fresh=request.fresh,
    ), left_out


def _families(request: Request) -> tuple[list[Family], list[str]]:
    """Every file is read before anything starts: a mistake in the last one is told at once."""
    portable_on = None if request.options.backend == "sim" else request.options.backend
    families, left_out = [], []
    for path in scenario_files(request.scenarios):
        text = read_scenario_text(path)
        try:
            scenario = Family("", str(path), text, portable_on).load()
        except UnsupportedError as error:
            left_out.append(f"left out: {path}: {error}")
            continue
        families.append(Family(scenario.name, str(path), text, portable_on))
    if not families:
        raise UnsupportedError("nothing is left to hunt: " + "; ".join(left_out))
    name, count = Counter(family.name for family in families).most_common(1)[0]
    if count > 1:
        files = ", ".join(family.file for family in families if family.name == name)
        raise UsageError(f"{files}: these have the same name, {name}; expected one for each scenario")
    return families, left_out


def _database(request: Request, store: Store) -> ExampleDatabase:
    if request.database is not None:
        return database_of(request.database)
    return DirectoryBasedExampleDatabase(store.examples)


def print_report(report: CampaignReport, console: Console) -> None:
    """What came of it: scenarios, each distinct failure, goals never reached."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("scenario")
    for title in ("plans", "failed", "unknown", "simulated", "goals"):
        table.add_column(title, justify="right")
    for family in report.scenarios:
        wanted = len(family.goals_reached) + len(family.goals_missed)
        table.add_row(
            family.name,
            f"{family.examples:,}",
            f"[red]{family.failed:,}[/red]" if family.failed else "0",
            f"[yellow]{family.unknown + family.harness_failures:,}[/yellow]"
            if family.unknown + family.harness_failures
            else "0",
            f"{family.simulated_s:,.0f} s" if family.simulated_s else "",
            f"{len(family.goals_reached)} of {wanted}" if wanted else "",
        )
    console.print()
    console.print(table)
    rate = report.examples / report.seconds if report.seconds else 0.0
    console.print(
        f"{report.examples:,} different plans in {report.seconds:,.1f} s ({rate:.1f}/s, {report.workers} workers), "
        f"{report.states:,} abstract states"
    )
    for family in report.scenarios:
        if family.goals_missed:
            console.print(
                f"[yellow]?[/yellow] {family.name}: never reached: {', '.join(family.goals_missed)}"
            )
    for crash in report.crashes:
        kept = f"; its plan: {crash.plan}" if crash.plan else ""
        console.print(f"[yellow]![/yellow] {escape(crash.reason + kept)}")
    for problem in report.problems:
        console.print(f"[yellow]?[/yellow] {escape(problem)}")
    for failure in report.failures:
        _print_failure(failure, console)
    console.print(f"\n{_conclusion(report)} (exit {report.exit_code})")
    if any(failure.candidate for failure in report.failures):
        console.print("Once a failure is mended, its candidate belongs into scenarios/regressions.")
    if not report.finished:
        console.print("The same command goes on from here.")


def _print_failure(failure: FailureReport, console: Console) -> None:
    console.print(
        f"\n[bold red]✗ {escape(failure.signature)}[/bold red]  {failure.count:,} of the plans, first in "
        f"{failure.scenario}, plan {failure.first_example:,} after {failure.first_after_s:.1f} s"
    )
    console.print(f"  {escape(failure.reason)}")
    if failure.shrink_s is not None:
        faults = counted(failure.steps, "step") + ":" if failure.steps else "no fault at all"
        console.print(
            f"  shrunk in {failure.shrink_s:.1f} s ({failure.shrink_trials:,} trials) to {failure.nodes} nodes, "
            f"{counted(failure.operations or 0, 'operation')}, {faults}"
        )
        for words in failure.faults:
            console.print(f"    {escape(words)}")
    elif failure.note is not None:
        console.print(f"  not shrunk: {escape(failure.note)}")
    lines = [("bundle", failure.bundle), ("passing", failure.neighbour), ("candidate", failure.candidate)]
    for title, path in lines:
        if path is not None:
            console.print(f"  {title + ':':<11}{escape(shown_path(Path(path)))}")
    bundle = escape(shown_path(Path(failure.bundle)))
    console.print(f"  {'explain:':<11}mcp-chaos explain {bundle}")
    if failure.neighbour is not None:
        console.print(f"  {'diff:':<11}mcp-chaos diff {bundle} {escape(shown_path(Path(failure.neighbour)))}")
    console.print(f"  {'replay:':<11}mcp-chaos replay {bundle}")


def _conclusion(report: CampaignReport) -> str:
    if report.interrupted:
        return "[bold yellow]Interrupted[/bold yellow]"
    if report.failures:
        return f"[bold red]{counted(len(report.failures), 'distinct failure')}[/bold red]"
    if report.exit_code == 0:
        return "[bold green]Nothing found[/bold green]"
    return "[bold yellow]Nothing found, but not everything was shown[/bold yellow]"
