"""Text with colours and tables: a rich console whose reader may go away (see :mod:`harness.output`)."""

import sys
from typing import Any, Self

from rich.console import Console

from chaos.errors import InfrastructureError
from harness.output import discard

_WIDTH_OF_A_FILE = 120


class Output(Console):
    """A console whose reader may go away."""

    @classmethod
    def for_people(cls, *, stderr: bool) -> Self:
        """Lines are not wrapped, and what is no terminal is as wide as a page."""
        console = cls(stderr=stderr, highlight=False, soft_wrap=True)
        if not console.is_terminal:
            console.width = max(console.width, _WIDTH_OF_A_FILE)
        return console

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
        discard(sys.stderr if self.stderr else sys.stdout)
