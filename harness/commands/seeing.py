"""`diff` and `explain`: seeing what happened in runs that are over."""

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.common import Json, progress, reported_errors
from harness.output import people, print_json


def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="A bundle.", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Show how two plans differ, the first event in which their runs part, and what led to it.

    Made for a failing plan and its nearest passing neighbour (`mcp-chaos shrink` keeps both). Simulated runs are
    compared event by event, to the nanosecond. Real runs never agree in time: as soon as one of the two is real, the
    order of faults, elections, first commits of a term, starts and truncations is compared, and nothing else.
    Exit code, as of diff(1): 0 the same, 1 different, 2 a bundle that cannot be read.
    """
    with reported_errors(as_json):
        from harness.diff import compare, print_difference  # noqa: PLC0415 keeps --help fast
        from harness.store import open_bundle  # noqa: PLC0415

        difference = compare(open_bundle(a), open_bundle(b))
        print_difference(difference, people(as_json))
        if as_json:
            print_json(difference.to_dict())
        raise typer.Exit(difference.exit_code)


def explain(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle of a run that violated something.", show_default=False)
    ],
    as_recorded: Annotated[
        bool,
        typer.Option(
            "--as-recorded", help="Tell of the recorded run, not of a smaller one that fails in the same way."
        ),
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=0, max=3600, help="How long to look for a smaller plan, in simulation.")
    ] = 10.0,
    as_json: Json = False,
) -> None:
    """Tell the story of a failure: the events that matter, in order, with nodes and terms, in about ten lines.

    What matters is found by removing: faults and operations that a simulated run does not need to fail in the same
    way, then every record that the violated check does not need to find the same. What is left is told with what
    links it: who led, which entry stood where, elections and faults in between. A run on containers is told from what
    was recorded. Exit code: 0, or 2 for a bundle that cannot be read or that violated nothing.
    """
    with reported_errors(as_json):
        from harness.explain import explain_bundle, print_explanation  # noqa: PLC0415 keeps --help fast
        from harness.store import open_bundle  # noqa: PLC0415

        explanation = explain_bundle(
            open_bundle(bundle), seconds=seconds, as_recorded=as_recorded, progress=progress()
        )
        print_explanation(explanation, people(as_json))
        if as_json:
            print_json(explanation.to_dict())
