"""`shrink`."""

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.common import (
    DEFAULT_OUT,
    Json,
    NodeBinary,
    Out,
    ToxiproxyBinary,
    ToxiproxyImage,
    progress,
    reported_errors,
)
from harness.output import people, print_json


def shrink(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle of a run that violated something.", show_default=False)
    ],
    seconds: Annotated[
        float,
        typer.Option(min=1, max=86_400, help="How long it may take. A run that has begun is waited for."),
    ] = 60.0,
    backend: Annotated[
        str | None,
        typer.Option(
            help="Where: `sim` or `docker`. By default in simulation if the failure shows there, else where the "
            "bundle is from."
        ),
    ] = None,
    trials: Annotated[
        int,
        typer.Option(
            min=1, max=1000, help="How often at most a candidate is run on `docker`, where runs differ."
        ),
    ] = 5,
    other_seeds: Annotated[
        int,
        typer.Option(
            min=0,
            max=100,
            help="Simpler plans must fail under as many of so many other seeds as the bundle's does, in simulation: "
            "for what is to show on `docker`, too.",
        ),
    ] = 0,
    out: Out = DEFAULT_OUT,
    candidate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Where the scenario file goes; else below `regressions` in the directory of the bundles. An earlier "
            "candidate is written over, nothing else is.",
        ),
    ] = None,
    node_binary: NodeBinary = None,
    toxiproxy_binary: ToxiproxyBinary = None,
    toxiproxy_image: ToxiproxyImage = None,
    as_json: Json = False,
) -> None:
    """Find the simplest plan that fails as the bundle did: few faults, nodes and operations, round values.

    It is kept as a bundle of its own, with the bundle of the nearest plan that passes, and as a scenario file that
    runs by itself. What real containers showed is looked for in simulation first; else candidates are run several
    times each, and the rates at which they failed are told. Ctrl-C keeps the best so far. Exit code: 1 if a failure
    was kept, 3 if it did not come again, 2 if the bundle violated nothing.
    """
    with reported_errors(as_json):
        from harness.cluster import RunOptions  # noqa: PLC0415 keeps --help fast
        from harness.shrink_bundle import print_report, shrink_bundle  # noqa: PLC0415
        from harness.store import open_bundle  # noqa: PLC0415

        opened = open_bundle(bundle)
        options = RunOptions(
            plants=tuple(opened.manifest.plants),
            out=out,
            node_binary=node_binary,
            toxiproxy_binary=toxiproxy_binary,
            toxiproxy_image=toxiproxy_image,
        )
        report = shrink_bundle(
            opened,
            options,
            backend=backend,
            seconds=seconds,
            most_trials=trials,
            candidate=candidate,
            progress=progress(),
            other_seeds=other_seeds,
        )
        print_report(report, people(as_json))
        if as_json:
            print_json(report.to_dict())
        raise typer.Exit(report.exit_code)
