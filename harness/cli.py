"""`mcp-chaos`: the command line.

With ``--json`` a command prints one machine-readable object on stdout, and nothing else there; people's text
and progress go to stderr. Exit codes: 0 valid, 1 invalid, 2 usage or scenario, 3 unknown, 4 the harness or its
infrastructure failed, 130 interrupted.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from chaos.errors import ChaosError
from chaos.verdict import EXIT_HARNESS, EXIT_INTERRUPTED, EXIT_USAGE, EXIT_VALID
from harness.output import complain, people, print_json, write

app = typer.Typer(
    name="mcp-chaos",
    help="Break a replicated service on purpose, and judge what it did: chaos and consensus testing from one "
    "YAML file, in deterministic simulation or on real containers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

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

DEFAULT_OUT = Path("chaos-runs")


@contextmanager
def _reported_errors(as_json: bool) -> Iterator[None]:
    """Turns every error into one message and its exit code; no traceback (MCP_CHAOS_DEBUG=1 shows it)."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except ChaosError as error:
        _fail(str(error), error.exit_code, as_json)
    except KeyboardInterrupt:
        _fail("interrupted", EXIT_INTERRUPTED, as_json)
    except Exception as error:
        if os.environ.get("MCP_CHAOS_DEBUG") == "1":
            raise
        if isinstance(error, ImportError) and error.name == "chaos._core":
            _fail(str(error), EXIT_HARNESS, as_json)
        _fail(
            f"mcp-chaos itself failed: {type(error).__name__}: {error}. This is a defect of mcp-chaos; "
            "MCP_CHAOS_DEBUG=1 shows where.",
            EXIT_HARNESS,
            as_json,
        )


def _fail(message: str, exit_code: int, as_json: bool) -> NoReturn:
    complain(message)
    if as_json:
        # If stdout itself is what failed, stderr has said it.
        with suppress(ChaosError):
            print_json({"error": message, "exit_code": exit_code})
    raise typer.Exit(exit_code)


@app.command()
def run(
    scenarios: Scenarios,
    backend: Backend = "sim",
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**63 - 1, help="Fills the scenario's holes, and is the run's own seed."),
    ] = 0,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Replace a value: `--set cluster.nodes=3`."),
    ] = None,
    plant: Plant = None,
    skip_unsupported: Annotated[
        bool,
        typer.Option(
            help="Leave out steps that the backend cannot do (each is recorded) instead of refusing."
        ),
    ] = False,
    out: Out = DEFAULT_OUT,
    node_binary: NodeBinary = None,
    toxiproxy_binary: ToxiproxyBinary = None,
    toxiproxy_image: ToxiproxyImage = None,
    keep_data: KeepData = False,
    as_json: Json = False,
) -> None:
    """Carry out one plan of each scenario, judge it, and keep everything as a bundle.

    Open values in the scenario are filled from `--seed`: the same file and seed give the same plan, and on `sim`
    the same run to the last event. Exit code: 0 valid, 1 a violation, 2 a bad scenario, 3 unknown, 4 the harness
    failed.

    Examples: `mcp-chaos run scenarios/smoke/isolated-leader.yaml` ·
    `mcp-chaos run FILE --backend docker --seed 7 --set cluster.nodes=3` ·
    `mcp-chaos run FILE --plant stale-read`
    """
    with _reported_errors(as_json):
        from harness.account import print_account  # noqa: PLC0415 keeps --help fast
        from harness.cluster import RunOptions  # noqa: PLC0415
        from harness.run import load_plan, run_plan, scenario_files, worst_exit_code  # noqa: PLC0415

        options = RunOptions(
            backend=backend,
            plants=tuple(plant or ()),
            out=out,
            skip_unsupported=skip_unsupported,
            node_binary=node_binary,
            toxiproxy_binary=toxiproxy_binary,
            toxiproxy_image=toxiproxy_image,
            collect_data=keep_data,
        )
        console = people(as_json)
        # Every file is read before the first run: a mistake in the last one is told at once.
        plans = [load_plan(path, seed, tuple(overrides or ())) for path in scenario_files(scenarios)]
        finished = []
        interrupted = False
        for plan in plans:
            try:
                done = run_plan(plan, options, progress=_progress())
            except KeyboardInterrupt:  # on `sim`; a real run notes the signal, and keeps what it saw
                interrupted = True
                complain(f"interrupted during {plan.scenario}; the same command repeats it exactly")
                break
            finished.append(done)
            if done.rescued_because:
                complain(done.rescued_because)
            print_account(done.bundle, console)
            if done.verdict.interrupted:
                break
        exit_code = EXIT_INTERRUPTED if interrupted else worst_exit_code(finished)
        if as_json:
            print_json({"exit_code": exit_code, "runs": [done.to_dict() for done in finished]})
        raise typer.Exit(exit_code)


@app.command()
def replay(
    bundle: Annotated[Path, typer.Argument(help="A bundle that `run` left.", show_default=False)],
    backend: Annotated[
        str | None, typer.Option(help="Replay elsewhere than where it was recorded: `sim` or `docker`.")
    ] = None,
    times: Annotated[int, typer.Option(min=1, max=10_000, help="Repeat, and say how often it failed.")] = 1,
    resolve: Annotated[
        str,
        typer.Option(help="Targets such as `leader`: `afresh` in each run, or `recorded` as in the bundle."),
    ] = "afresh",
    out: Out = DEFAULT_OUT,
    node_binary: NodeBinary = None,
    toxiproxy_binary: ToxiproxyBinary = None,
    toxiproxy_image: ToxiproxyImage = None,
    keep_data: KeepData = False,
    as_json: Json = False,
) -> None:
    """Carry a bundle's plan out again, and say whether its failure came again.

    On `sim` a replay is exact: the trace hash must equal the recorded one, or the first difference is shown
    (exit 4). On `docker` it never is: the same plan runs again, `--times N` gives a rate with its 95 % interval.
    Exit code: 1 if the failure came again, 0 if it did not.
    """
    with _reported_errors(as_json):
        from harness.cluster import RunOptions  # noqa: PLC0415
        from harness.replay import replay_bundle  # noqa: PLC0415
        from harness.store import open_bundle  # noqa: PLC0415

        opened = open_bundle(bundle)
        options = RunOptions(
            backend=backend or opened.manifest.backend,
            plants=tuple(opened.manifest.plants),
            out=out,
            node_binary=node_binary,
            toxiproxy_binary=toxiproxy_binary,
            toxiproxy_image=toxiproxy_image,
            collect_data=keep_data,
        )
        report = replay_bundle(
            opened, options, times=times, resolve=resolve, console=people(as_json), progress=_progress()
        )
        if as_json:
            print_json(report.to_dict())
        raise typer.Exit(report.exit_code)


@app.command()
def validate(scenarios: Scenarios, as_json: Json = False) -> None:
    """Read scenario files and say what is wrong with them: file, line, column, what was expected.

    Also draws a few plans from each, so that what is only wrong for some choices shows. Exit code: 0 or 2.
    """
    with _reported_errors(as_json):
        from harness.run import scenario_files, validate_file  # noqa: PLC0415

        console = people(as_json)
        results = [validate_file(path) for path in scenario_files(scenarios)]
        for result in results:
            if result["valid"]:
                holes = result["holes"]
                kind = "one plan (no holes)" if holes == 0 else f"a family with {holes} holes"
                console.print(f"[green]✓[/green] {escape(result['file'])}: {kind}")
            else:
                console.print(f"[red]✗[/red] {escape(result['error'])}")
        bad = not all(result["valid"] for result in results)
        if as_json:
            print_json({"valid": not bad, "files": results})
        raise typer.Exit(EXIT_USAGE if bad else EXIT_VALID)


@app.command()
def schema(
    as_json: Annotated[
        bool, typer.Option("--json", help="Accepted for uniformity: the schema is JSON.")
    ] = False,
) -> None:
    """Print the JSON Schema of scenario files, for editors.

    Save it and begin a scenario with `# yaml-language-server: $schema=PATH` to get completion.
    """
    with _reported_errors(as_json):
        from chaos.scenario import json_schema  # noqa: PLC0415

        print_json(json_schema())


@app.command()
def doctor(
    node_binary: NodeBinary = None, toxiproxy_binary: ToxiproxyBinary = None, as_json: Json = False
) -> None:
    """Say what works on this machine, and how to get what does not.

    Exit code: 0 if `sim` works (Docker is optional), 4 if not even that.
    """
    with _reported_errors(as_json):
        from harness.doctor import examine  # noqa: PLC0415

        findings = examine(node_binary, toxiproxy_binary)
        console = people(as_json)
        for finding in findings:
            mark = (
                "[green]✓[/green]"
                if finding.ok
                else "[yellow]–[/yellow]"
                if finding.optional
                else "[red]✗[/red]"
            )
            console.print(f"{mark} {finding.name}: {escape(finding.found)}")
            if finding.cure:
                console.print(f"    {escape(finding.cure)}")
        works = all(finding.ok or finding.optional for finding in findings)
        if as_json:
            print_json({"works": works, "findings": [finding.to_dict() for finding in findings]})
        raise typer.Exit(EXIT_VALID if works else EXIT_HARNESS)


@app.command()
def clean(
    images: Annotated[bool, typer.Option("--images", help="Remove our images too.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what dead runs left on the Docker engine: containers, networks, volumes.

    An object is an orphan if the process that made it is gone. Live runs are spared.
    """
    with _reported_errors(as_json):
        from harness.clean import remove_orphans  # noqa: PLC0415

        removed = remove_orphans(images=images)
        console = people(as_json)
        if not removed.total:
            console.print("nothing to remove")
        for kind, names in removed.to_dict().items():
            for name in names:
                console.print(f"removed {kind.removesuffix('s')} {escape(name)}")
        if as_json:
            print_json(removed.to_dict())


@app.command()
def plants(as_json: Json = False) -> None:
    """List the planted bugs that nodes can be run with, and what each models.

    They prove that the checks detect what they are there for: `mcp-chaos run FILE --plant NAME`.
    """
    with _reported_errors(as_json):
        from chaos import _core  # noqa: PLC0415

        if as_json:
            listed = [
                {"name": name, "about": about, "source": source} for name, about, source in _core.PLANTS
            ]
            print_json({"plants": listed})
            return
        console = people(as_json)
        for name, about, source in _core.PLANTS:
            console.print(f"[bold]{name}[/bold]\n  {escape(about)}\n  [dim]{escape(source)}[/dim]")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed  # noqa: PLC0415

        with _reported_errors(as_json=False):
            write(f"mcp-chaos {installed('mcp-chaos')}\n")
        raise typer.Exit


def _progress() -> Callable[[str], None]:
    """Progress in one line each on stderr; silent where nobody watches."""
    if not sys.stderr.isatty():
        return lambda _: None
    console = Console(stderr=True, highlight=False)
    return lambda text: console.print(text, style="dim", markup=False)


def main() -> None:
    """The entry point `mcp-chaos`."""
    as_json = "--json" in sys.argv[1:]
    try:
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        complain("interrupted")
        code = EXIT_INTERRUPTED
    except typer.TyperException as error:  # a wrong option, a missing argument
        code = _usage_error(error, as_json)
    except typer.Abort:
        code = EXIT_INTERRUPTED
    except OSError as error:  # --help into a reader that went away, or onto a full disk
        complain(f"the output cannot be written: {error.strerror or error}")
        code = EXIT_HARNESS
    sys.exit(code if isinstance(code, int) else EXIT_VALID)


def _usage_error(error: typer.TyperException, as_json: bool) -> int:
    words = getattr(error, "format_message", lambda: str(error))()
    if words:
        complain(f"{words} See `mcp-chaos --help`.")
    if as_json:
        with suppress(ChaosError):
            print_json({"error": words, "exit_code": EXIT_USAGE})
    return EXIT_USAGE


if __name__ == "__main__":
    main()
