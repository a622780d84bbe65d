"""What the command line says, and to whom: also where the reader has gone away or the disk is full.

An exit code speaks of the system under test, so a failure to print must never become one of its values: a reader
that goes away (`… | head`) silences the rest and leaves the exit code as it is; any other failure is one of the
infrastructure.
"""

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from chaos.errors import ChaosError, InfrastructureError
from chaos.verdict import EXIT_HARNESS, EXIT_INTERRUPTED

if TYPE_CHECKING:
    from harness.console import Output


def people(as_json: bool) -> "Output":
    """Where people's text goes: stdout, unless that belongs to the JSON object."""
    from harness.console import Output  # noqa: PLC0415 rich takes long to load, and plain text does without

    return Output.for_people(stderr=as_json)


def escaped(text: str) -> str:
    """A text in which the console sees no markup."""
    from rich.markup import escape  # noqa: PLC0415 as above

    return escape(text)


def print_json(data: Any) -> None:
    """One JSON object on stdout. Raises InfrastructureError if it cannot be written."""
    write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def write(text: str) -> None:
    """Text on stdout as it is. Raises InfrastructureError if it cannot be written."""
    if sys.stdout is None:
        raise InfrastructureError("the output cannot be written: standard output is closed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)
    except OSError as error:
        discard(sys.stdout)
        raise InfrastructureError(f"the output cannot be written: {error.strerror or error}") from error


def complain(message: str) -> None:
    """One line on stderr, if there is anybody to read it."""
    if sys.stderr is None:
        return
    with suppress(OSError):
        sys.stderr.write(f"mcp-chaos: {message}\n")
        sys.stderr.flush()


def report(error: BaseException, *, as_json: bool) -> int:
    """Tells an error in one message on stderr (and as JSON), and gives back its exit code.

    Raises what is a defect of ours again where MCP_CHAOS_DEBUG=1 asks for its traceback.
    """
    if isinstance(error, ChaosError):
        message, exit_code = str(error), error.exit_code
    elif isinstance(error, KeyboardInterrupt):
        # Its notes tell how far a check had come.
        message, exit_code = ": ".join(["interrupted", *getattr(error, "__notes__", ())]), EXIT_INTERRUPTED
    elif os.environ.get("MCP_CHAOS_DEBUG") == "1":
        raise error
    elif isinstance(error, ImportError) and error.name == "chaos._core":
        message, exit_code = str(error), EXIT_HARNESS
    else:
        message, exit_code = (
            f"mcp-chaos itself failed: {type(error).__name__}: {error}. This is a defect of mcp-chaos; "
            "MCP_CHAOS_DEBUG=1 shows where.",
            EXIT_HARNESS,
        )
    complain(message)
    if as_json:
        # If stdout itself is what failed, stderr has said it.
        with suppress(ChaosError):
            print_json({"error": message, "exit_code": exit_code})
    return exit_code


def discard(stream: TextIO | None) -> None:
    """Sends what is still buffered, and all that follows, nowhere: the interpreter flushes when it ends."""
    if stream is None:
        return
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
