"""`hunt`."""

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.common import (
    Backend,
    Json,
    NodeBinary,
    Plant,
    Scenarios,
    StopAtViolation,
    ToxiproxyBinary,
    ToxiproxyImage,
    reported_errors,
    stops_at_violation,
)
from harness.output import people, print_json

DEFAULT_STATE = Path("chaos-hunt")


def hunt(
    scenarios: Scenarios,
    examples: Annotated[
        int | None, typer.Option(min=1, max=10_000_000, help="How many plans to draw from each scenario.")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="How long to search: `10m`, `90s`. Without both: 1m."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes; one for each core.")] = None,
    backend: Backend = "sim",
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Of the search: another one draws others.")
    ] = 0,
    plant: Plant = None,
    first: Annotated[bool, typer.Option("--first", help="End the search with the first failure.")] = False,
    guided: Annotated[
        bool,
        typer.Option(
            "--guided/--random",
            help="Try neighbours of plans that reached something new, instead of plans drawn by Hypothesis.",
        ),
    ] = False,
    shrink_time: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="At most so long for each distinct failure; else 20s, and 5m on real backends.",
        ),
    ] = None,
    state: Annotated[
        Path,
        typer.Option(
            help="The campaign's directory: bundles, candidates, what to go on from.", file_okay=False
        ),
    ] = DEFAULT_STATE,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Where Hypothesis keeps what failed: `dir:PATH`, `github:OWNER/REPO`, or several with commas "
            "between (the first is written to). Else a directory in the state.",
        ),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, whatever the state says.")] = False,
    batch: Annotated[
        int | None, typer.Option(min=1, max=2000, help="How many plans Hypothesis draws in one go.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.", dir_okay=False)] = None,
    summary: Annotated[
        Path | None, typer.Option(help="Write a summary in Markdown here.", dir_okay=False)
    ] = None,
    stop_at_violation: StopAtViolation = None,
    node_binary: NodeBinary = None,
    toxiproxy_binary: ToxiproxyBinary = None,
    toxiproxy_image: ToxiproxyImage = None,
    as_json: Json = False,
) -> None:
    """Search families of scenarios for failures, and bring back each distinct one once, shrunk.

    Hypothesis draws plans from each scenario; every plan is carried out and judged. Failures are told apart by
    signature (which check, and how). Each ends as the smallest plan that still shows it, with its bundle, the nearest
    plan that passes, and a file ready for `scenarios/regressions`.

    Ctrl-C at any time loses nothing, and the same command goes on from there. What is found hangs on the seed and
    the number of examples, not on the number of workers. Exit code: 1 something was violated, 4 the harness failed,
    3 a run was unknown or a goal (`sometimes`) never reached, else 0.

    Examples: `mcp-chaos hunt scenarios/consensus --time 10m` ·
    `mcp-chaos hunt FILE --examples 1000 --plant stale-read` · `mcp-chaos hunt scenarios --backend docker --time 30m`
    """
    with reported_errors(as_json):
        from harness.cluster import RunOptions  # noqa: PLC0415 keeps --help fast
        from harness.hunt.verb import Request, hunt_scenarios  # noqa: PLC0415

        request = Request(
            scenarios=tuple(scenarios),
            options=RunOptions(
                backend=backend,
                plants=tuple(plant or ()),
                node_binary=node_binary,
                toxiproxy_binary=toxiproxy_binary,
                toxiproxy_image=toxiproxy_image,
                stop_at_violation=stops_at_violation(stop_at_violation, backend, default=True),
            ),
            examples=examples,
            time=time,
            workers=workers,
            seed=seed,
            first=first,
            shrink_time=shrink_time,
            state=state,
            database=database,
            fresh=fresh,
            batch=batch,
            guided=guided,
            junit=junit,
            summary=summary,
        )
        from harness.console import Output  # noqa: PLC0415 keeps --help fast

        watcher = Output(stderr=True, highlight=False)
        if not watcher.is_terminal:
            watcher = people(as_json=True)
        report = hunt_scenarios(request, people(as_json), watcher)
        if as_json:
            print_json(report.to_dict())
        raise typer.Exit(report.exit_code)
