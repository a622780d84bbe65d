"""Every command of `mcp-chaos`, each in a module of this package."""

from contextlib import suppress
from typing import Annotated

import typer

from chaos.errors import ChaosError
from chaos.verdict import EXIT_HARNESS, EXIT_INTERRUPTED, EXIT_USAGE, EXIT_VALID
from harness.commands import checking, hunting, machine, running, scenarios, seeing, shrinking
from harness.commands.common import reported_errors
from harness.output import complain, print_json, write

app = typer.Typer(
    name="mcp-chaos",
    help="Break a replicated service on purpose, and judge what it did: chaos and consensus testing from one "
    "YAML file, in deterministic simulation or on real containers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Boxes cut the names of options on a terminal of 80 columns.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _command, _in_short in (
    (running.run, "Carry out one plan of each scenario, and judge it."),
    (hunting.hunt, "Search families of scenarios for failures."),
    (running.replay, "Carry a bundle's plan out again, and compare."),
    (shrinking.shrink, "Find the simplest plan that fails as a bundle did."),
    (checking.check, "Judge a history of any system."),
    (seeing.explain, "Tell the story of a failure."),
    (seeing.diff, "Show how two plans differ, and where their runs part."),
    (scenarios.validate, "Say what is wrong with scenario files."),
    (scenarios.schema, "Print the JSON Schema of scenario files."),
    (machine.doctor, "Say what works on this machine."),
    (machine.clean, "Remove what dead runs left on the Docker engine."),
    (machine.plants, "List the planted bugs."),
):
    app.command(short_help=_in_short)(_command)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed  # noqa: PLC0415

        with reported_errors(as_json=False):
            write(f"mcp-chaos {installed('mcp-chaos')}\n")
        raise typer.Exit


def run(*, as_json: bool) -> int:
    """Does what the command line asks for, and gives back the exit code."""
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
    return code if isinstance(code, int) else EXIT_VALID


def _usage_error(error: typer.TyperException, as_json: bool) -> int:
    words = getattr(error, "format_message", lambda: str(error))()
    if words:
        context = getattr(error, "ctx", None)
        command = context.info_name if context is not None and context.parent is not None else None
        help_of = "mcp-chaos" if command is None else f"mcp-chaos {command}"
        complain(f"{words.removesuffix('.')}. See `{help_of} --help`.")
    if as_json:
        with suppress(ChaosError):
            print_json({"error": words, "exit_code": EXIT_USAGE})
    return EXIT_USAGE
