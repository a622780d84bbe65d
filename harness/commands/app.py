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
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _command in (
    running.run,
    hunting.hunt,
    running.replay,
    shrinking.shrink,
    checking.check,
    seeing.explain,
    seeing.diff,
    scenarios.validate,
    scenarios.schema,
    machine.doctor,
    machine.clean,
    machine.plants,
):
    app.command()(_command)


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
        complain(f"{words} See `mcp-chaos --help`.")
    if as_json:
        with suppress(ChaosError):
            print_json({"error": words, "exit_code": EXIT_USAGE})
    return EXIT_USAGE
