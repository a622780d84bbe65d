"""What the commands share: their common options, how errors are told, progress.

With ``--json`` a command prints one machine-readable object on stdout, and nothing else there; people's text
and progress go to stderr. Exit codes: 0 valid, 1 invalid, 2 usage or scenario, 3 unknown, 4 the harness or its
infrastructure failed, 130 interrupted.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from chaos.errors import UsageError
from harness.output import report

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; text goes to stderr.")]
Scenarios = Annotated[
    list[Path],
    typer.Argument(help="Scenario files (YAML), or directories of them.", show_default=False),
]
Backend = Annotated[
    str,
    typer.Option(
        help="`sim`: deterministic, in this process. `docker`: real containers, every link through Toxiproxy.",
    ),
]
Plant = Annotated[
    list[str] | None,
    typer.Option(help="Run nodes with this planted bug (see `mcp-chaos plants`). May be repeated."),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        envvar="MCP_CHAOS_RUNS",
        help="Where bundles are written.",
        file_okay=False,
    ),
]
NodeBinary = Annotated[
    Path | None,
    typer.Option(help="The static mcp-manager binary for containers; found by itself in a checkout."),
]
ToxiproxyBinary = Annotated[
    Path | None,
    typer.Option(help="The Toxiproxy server binary; else the one that `make toxiproxy` built."),
]

ToxiproxyImage = Annotated[
    str | None,
    typer.Option(help="An image of yours in the engine, whose entry point is a Toxiproxy 2.12 server."),
]
KeepData = Annotated[
    bool,
    typer.Option("--keep-data", help="Keep each container's data directory in the bundle, as a tar."),
]

StopAtViolation = Annotated[
    bool | None,
    typer.Option(
        "--stop-at-violation/--no-stop-at-violation",
        help="End a run early, once its history is not linearizable. On real backends only; `hunt` does it there.",
        show_default=False,
    ),
]

DEFAULT_OUT = Path("chaos-runs")


@contextmanager
def reported_errors(as_json: bool) -> Iterator[None]:
    """Turns every error into one message and its exit code; no traceback (MCP_CHAOS_DEBUG=1 shows it)."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except (Exception, KeyboardInterrupt) as error:
        raise typer.Exit(report(error, as_json=as_json)) from error


def stops_at_violation(asked: bool | None, backend: str, *, default: bool) -> bool:
    """Whether runs end early. ``default``: on real backends, where nothing was asked for. Raises UsageError."""
    if asked and backend == "sim":
        raise UsageError(
            "--stop-at-violation: a simulated run is over at once, and its bundle holds all of it; expected a real "
            "backend, such as --backend docker"
        )
    return asked if asked is not None else default and backend != "sim"


def progress() -> Callable[[str], None]:
    """Progress in one line each on stderr; silent where nobody watches."""
    if not sys.stderr.isatty():
        return lambda _: None
    from rich.console import Console  # noqa: PLC0415 takes long to load

    console = Console(stderr=True, highlight=False)
    return lambda text: console.print(text, style="dim", markup=False)
