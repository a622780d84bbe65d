"""What the command line says, and to whom: also where the reader has gone away or the disk is full.

An exit code speaks of the system under test, so a failure to print must never become one of its values: a reader
that goes away (`… | head`) silences the rest and leaves the exit code as it is; any other failure is one of the
infrastructure.
"""

import json
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from rich.console import Console

from chaos.errors import InfrastructureError

_WIDTH_OF_A_FILE = 120


class Output(Console):
    """A console whose reader may go away."""

    def on_broken_pipe(self) -> None:
        """Rich would end the process with 1, which means a violation."""
        raise BrokenPipeError

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich prints. Raises InfrastructureError if the text cannot be written."""
        try:
            super().print(*objects, **options)
        except BrokenPipeError:
            self._silence()
        except OSError as error:
            self._silence()
            raise InfrastructureError(f"the output cannot be written: {error.strerror or error}") from error

    def _silence(self) -> None:
        _discard(sys.stderr if self.stderr else sys.stdout)


def people(as_json: bool) -> Output:
    """Where people's text goes: stdout, unless that belongs to the JSON object."""
    console = Output(stderr=as_json, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH_OF_A_FILE)
    return console


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
        _discard(sys.stdout)
    except OSError as error:
        _discard(sys.stdout)
        raise InfrastructureError(f"the output cannot be written: {error.strerror or error}") from error


def complain(message: str) -> None:
    """One line on stderr, if there is anybody to read it."""
    if sys.stderr is None:
        return
    with suppress(OSError):
        sys.stderr.write(f"mcp-chaos: {message}\n")
        sys.stderr.flush()


def _discard(stream: TextIO | None) -> None:
    """Sends what is still buffered, and all that follows, nowhere: the interpreter flushes when it ends."""
    if stream is None:
        return
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
