"""A campaign as it goes: a live panel on a terminal, a line now and then elsewhere."""

import sys
import time
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.hunt.campaign import Now

_EVERY_S: Final = 15.0
_MOST_FAILURES: Final = 12


class Lines:
    """For logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._due_s = time.monotonic() + _EVERY_S

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, now: Now) -> None:
        """A line every few seconds."""
        if time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + _EVERY_S
            self._console.print(_summary(now), markup=False)

    def say(self, words: str) -> None:
        """A line."""
        self._console.print(words, markup=False)


class Panel:
    """For people: redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=5, transient=True)

    def __enter__(self) -> "Panel":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, now: Now) -> None:
        """Draws it anew."""
        self._live.update(_panel(now))

    def say(self, words: str) -> None:
        """A line above the panel, which stays."""
        self._console.print(words, markup=False)


def display_on(console: Console) -> Lines | Panel:
    """What fits the console."""
    return Panel(console) if console.is_terminal and sys.stderr is not None else Lines(console)


def _summary(now: Now) -> str:
    goals = sum(len(reached) for _, reached, _ in now.goals)
    wanted = goals + sum(len(missed) for _, _, missed in now.goals)
    return (
        f"{now.phase}: {_clock(now.elapsed_s)}, {now.examples:,} plans, {now.speed:.1f}/s, "
        f"{_clock(now.simulated_ns / 1e9)} simulated, {now.states:,} states, goals {goals} of {wanted}, "
        f"{len(now.failures)} distinct failures"
    )


def _panel(now: Now) -> Group:
    facts = Table.grid(padding=(0, 3))
    for _ in range(5):
        facts.add_column(justify="left")
    facts.add_row(
        _fact(f"{now.examples:,}", "plans"),
        _fact(f"{now.speed:.1f}/s", ""),
        _fact(_clock(now.simulated_ns / 1e9), "simulated"),
        _fact(f"{now.states:,}", "states"),
        _fact(f"{len(now.failures)}", "distinct failures", "bold red" if now.failures else "bold green"),
    )
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(f"{now.phase} {_clock(now.elapsed_s)}", "bold"),
        ProgressBar(total=1.0, completed=now.share, width=40),
    )
    rows: list[Text | Table] = [head, facts]
    missed = [(name, goals) for name, _, goals in now.goals if goals]
    if missed:
        words = "; ".join(f"{name}: {', '.join(goals)}" for name, goals in missed)
        rows.append(Text(f"not reached yet: {words}", "yellow"))
    for name, count, shrunk in now.failures[:_MOST_FAILURES]:
        rows.append(Text(f"  ✗ {name}  {count:,} times{', shrunk' if shrunk else ''}", "red"))
    if len(now.failures) > _MOST_FAILURES:
        rows.append(Text(f"  and {len(now.failures) - _MOST_FAILURES} more", "red"))
    return Group(*rows)


def _fact(number: str, what: str, style: str = "bold") -> Text:
    return Text.assemble((number, style), (f" {what}" if what else "", "dim"))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"
