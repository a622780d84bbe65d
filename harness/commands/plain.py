"""`mcp-chaos check` in plain words, understood without the libraries that understand every command.

Plain is what names `check` first, then histories and the options below, each as a word of its own. Anything else,
mistakes too, is for the commands themselves (:mod:`harness.commands.checking`), which say what was expected.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.output import report

_MOST_DIGITS = 9
"""Of a time in plain words."""

_TEXTS = {
    "--model": "model",
    "--format": "history_format",
    "--initial": "initial",
    "--missing": "missing",
    "--level": "level",
    "--memory": "memory",
    "--algorithm": "algorithm",
}
_FLAGS = {"--independent": "independent", "--whole": "whole", "--explain": "explain"}


@dataclass(frozen=True)
class Check:
    """What is to be checked, and how it is told."""

    files: tuple[Path, ...]
    options: dict[str, Any]
    """Of `harness.check.Asked`."""
    as_json: bool


def read(arguments: Sequence[str]) -> Check | None:
    """What the command line asks for; none if it does not do so in plain words."""
    if not arguments or arguments[0] != "check":
        return None
    files: list[Path] = []
    options: dict[str, Any] = {}
    as_json = False
    words = iter(arguments[1:])
    for word in words:
        if word in _FLAGS:
            options[_FLAGS[word]] = True
        elif word == "--json":
            as_json = True
        elif word in _TEXTS:
            value = next(words, "-")
            if value.startswith("-"):
                return None
            options[_TEXTS[word]] = value
        elif word == "--time":
            value = next(words, "")
            if not value.isascii() or not value.isdecimal() or len(value) > _MOST_DIGITS:
                return None
            options["seconds"] = float(value) or None
        elif word == "-" or (word and not word.startswith("-")):
            files.append(Path(word))
        else:
            return None
    if not files:
        return None
    return Check(tuple(files), options, as_json)


def run(check: Check) -> int:
    """Judges the histories, tells what was found, and gives back the exit code."""
    try:
        # An extension that is not built is told as any error; other commands need not wait for this.
        from harness.check import Asked, check_histories  # noqa: PLC0415

        outcome = check_histories(check.files, Asked(**check.options))
        outcome.show(as_json=check.as_json)
    except (Exception, KeyboardInterrupt) as error:
        raise SystemExit(report(error, as_json=check.as_json)) from error
    return outcome.exit_code
