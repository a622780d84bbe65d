"""A history drawn as SVG: a lane for each process, a bar for each operation, the order as a path from bar to bar."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from harness.report.scene import Bar, Point, Scene
from harness.report.wording import call, cut, label, printable, seconds

_LANE = 26
_GAP = 4
_BAR = 19
_NAMES = 5
"""Colours for functions; the last is everybody else's."""
_USUAL = ("read", "write", "cas")
_BAND = 16
_AXIS = 22
_LETTER = 6.6
"""How wide a letter of a fault's words is, about."""
_SMALL_WIDTH = 560
_WIDTH = 1130


def picture(
    scene: Scene,
    caption: str,
    *,
    impossible: int | None,
    emphasised: frozenset[int] = frozenset(),
    faults: Sequence[Mapping[str, Any]] = (),
    explained_until: int | None = None,
    small: bool,
) -> str:
    """A figure: tools, names of lanes, and the drawing; ``small`` has no tools and no axis.

    ``explained_until`` is the event before which a search that ended early has found an order.
    """
    return "".join(_Picture(scene, caption, impossible, emphasised, faults, explained_until, small).parts())


class _Picture:
    def __init__(
        self,
        scene: Scene,
        caption: str,
        impossible: int | None,
        emphasised: frozenset[int],
        faults: Sequence[Mapping[str, Any]],
        explained_until: int | None,
        small: bool,
    ) -> None:
        self.scene, self.caption, self.impossible = scene, caption, impossible
        self.emphasised, self.small = emphasised, small
        ends = [bar.end for bar in scene.bars if bar.number == impossible]
        if explained_until is not None:
            ends = [bisect_left(scene.events, explained_until)]
        self.until = ends[0] if ends else None
        room = _SMALL_WIDTH if small else _WIDTH
        self.unit = max(10.0, min(90.0, room / max(1, scene.length)))
        self.bands = list(_rows(scene, faults, self.unit))
        self.head = 6 if small else _AXIS + _BAND * (1 + max((row for row, *_ in self.bands), default=-1))
        self.height = self.head + _LANE * len(scene.lanes) + 6
        self.ranks = {point.bar.number: point.rank for path in scene.paths.values() for point in path}
        self.with_key = len({bar.operation["key"] for bar in scene.bars}) > 1
        self.functions = sorted({str(bar.operation["f"]) for bar in scene.bars}, key=_first_the_usual)

    def x(self, at: float) -> str:
        return f"{at * self.unit:.1f}".removesuffix(".0")

    def parts(self) -> Iterator[str]:
        """The figure's markup."""
        scene = self.scene
        yield f'<figure class="picture{" small" if self.small else ""}">'
        if not self.small:
            yield from self.tools()
        yield '<div class="scroll" tabindex="0" role="group"'
        yield ' aria-label="Operations; arrow keys go from one to the next">'
        yield f'<div class="names" style="padding-top:{self.head}px" aria-hidden="true">'
        for name in scene.lanes:
            yield f'<div title="process {_text(name)}">{_text(cut(name, 14))}</div>'
        yield "</div>"
        width = self.x(scene.length)
        times = "" if self.small or not scene.has_times else self.times()
        events = "" if self.small else self.events()
        yield f'<svg class="drawing" width="{width}" height="{self.height}" role="img" data-length="{scene.length}"'
        yield f' data-unit="{self.unit:.2f}"{events}{times}><title>{_text(cut(self.caption, 300))}</title>'
        yield "<desc>One lane for each process, one bar for each operation, from its invocation to its completion."
        yield " The line goes through the operations in the order that explains them.</desc>"
        yield '<defs><linearGradient id="g"><stop offset=".3" stop-color="#fff"/>'
        yield '<stop offset="1" stop-color="#fff" stop-opacity=".08"/></linearGradient>'
        yield '<mask id="fade" maskContentUnits="objectBoundingBox"><rect width="1" height="1" fill="url(#g)"/></mask>'
        yield "</defs>" if self.small else '</defs><g class="axis"></g>'
        yield from self.faults()
        for lane in range(len(scene.lanes)):
            yield f'<g transform="translate(0,{self.head + lane * _LANE + _GAP})">'
            yield f'<path class="rule" d="M0 {_LANE - _GAP}H99999"/>'
            for bar in scene.bars:
                if bar.lane == lane:
                    yield self.bar(bar)
            yield "</g>"
        for path in scene.paths.values():
            yield from self.path(path)
        yield from self.end_of_explanation()
        yield "</svg></div>"
        yield from self.legend()
        yield "</figure>"

    def times(self) -> str:
        first = self.scene.times_ns[0]
        since = " ".join(_milliseconds(time_ns - first) for time_ns in self.scene.times_ns)
        return f' data-times="{since}" data-start="{_milliseconds(first)}"'

    def events(self) -> str:
        return f' data-events="{" ".join(map(str, self.scene.events))}"'

    def bar(self, bar: Bar) -> str:
        one = bar.operation
        f = min(self.functions.index(str(one["f"])), _NAMES - 1)
        kinds = [f"f{f}", str(one["outcome"])]
        if bar.number == self.impossible:
            kinds.append("bad")
        elif bar.number in self.emphasised:
            kinds.append("key")
        end = bar.end if bar.ended else max(bar.end, bar.start + 1)
        words = _text(label(one, with_key=self.with_key))
        return (
            f'<svg class="op {" ".join(kinds)}" data-x="{bar.start} {end}" x="{self.x(bar.start)}"'
            f' width="{self.x(end - bar.start)}" height="{_BAR}"><title>{_text(self.told(bar))}</title>'
            f'<rect/><text x="5" y="12">{words}</text></svg>'
        )

    def told(self, bar: Bar) -> str:
        """The whole operation."""
        one = bar.operation
        end = one["completed_at"]
        text = f"{one['process']}: {call(one)}\n{one['outcome']}"
        if one["error"] and one["outcome"] != "ok":
            text += f" ({cut(str(one['error']), 120)})"
        text += f", events {one['invoked_at']}–{'' if end is None else end}"
        if self.scene.has_times:
            text += f", {seconds(one['invoked_ns'])}"
            text += "" if one["completed_ns"] is None else f"–{seconds(one['completed_ns'])}"
        if bar.number == self.impossible:
            text += "\nno order explains this"
        elif bar.number in self.ranks:
            text += f"\ntakes effect as number {self.ranks[bar.number]}"
        return text

    def faults(self) -> Iterator[str]:
        for row, start, end, band in self.bands:
            words = f"{band['words']}\n{seconds(band['from_ns'])}–{seconds(band['to_ns'])}"
            yield f'<rect class="fault" data-x="{start:.2f} {end:.2f}" x="{self.x(start)}" y="{_AXIS + row * _BAND}"'
            yield f' width="{self.x(end - start)}" height="{self.height}"><title>{_text(words)}</title></rect>'
            yield f'<svg class="words" data-x="{start:.2f} {end:.2f}" x="{self.x(start)}" y="{_AXIS + row * _BAND}"'
            yield f' width="{self.x(end - start)}" height="{_BAND}">'
            yield f'<text x="4" y="12">{_text(_named(band))}</text></svg>'

    def path(self, path: Sequence[Point]) -> Iterator[str]:
        places = [(self.x(one.at), self.y(one.bar.lane)) for one in path]
        yield f'<polyline class="order" data-p="{" ".join(f"{one.at:.2f}" for one in path)}"'
        yield f' points="{" ".join(f"{x},{y}" for x, y in places)}"/>'
        yield '<g class="points">' + "".join(f'<circle cx="{x}" cy="{y}"/>' for x, y in places) + "</g>"

    def y(self, lane: int) -> int:
        return self.head + lane * _LANE + _GAP + _BAR - 3

    def end_of_explanation(self) -> Iterator[str]:
        """The line up to which the history is explained."""
        if self.until is not None:
            yield f'<path class="until" data-x="{self.until}" transform="translate({self.x(self.until)},0)"'
            yield f' d="M0 {self.head}V{self.height}"/>'

    def tools(self) -> Iterator[str]:
        yield '<div class="tools" hidden><button data-do="in" title="Zoom in (+)">+</button>'
        yield '<button data-do="out" title="Zoom out (-)">&minus;</button>'
        yield '<button data-do="all" title="All of it (0)">All</button>'
        if self.impossible is not None:
            yield '<button data-do="error" class="bad" title="Key e">Jump to the first error</button>'
        if self.scene.has_times:
            yield '<span role="group" aria-label="Axis"><button data-do="events" aria-pressed="true">Events</button>'
            yield '<button data-do="time" aria-pressed="false" title="Key t">Time</button></span>'
        yield "<small>wheel: zoom · drag: move · arrow keys: next operation</small></div>"

    def legend(self) -> Iterator[str]:
        if self.small:
            return
        outcomes = {str(bar.operation["outcome"]) for bar in self.scene.bars}
        yield "<figcaption>"
        for index, f in enumerate(self.functions[: _NAMES - 1]):
            yield f'<span><i class="f{index}"></i>{_text(cut(f, 24))}</span>'
        if len(self.functions) >= _NAMES:
            yield f'<span><i class="f{_NAMES - 1}"></i>others</span>'
        if "unknown" in outcomes:
            yield '<span><i class="f0 fading"></i>outcome unknown</span>'
        if "fail" in outcomes:
            yield '<span><i class="f0 fail"></i>failed</span>'
        if self.impossible is not None:
            yield '<span><i class="bad"></i>no order explains it</span>'
        if self.emphasised:
            yield '<span><i class="f0 key"></i>of the smallest part</span>'
        if self.scene.paths:
            yield '<span><i class="line"></i>takes effect, in this order</span>'
        if self.until is not None:
            yield '<span><i class="until"></i>explained up to here</span>'
        if self.bands:
            yield '<span><i class="fault"></i>fault in force</span>'
        yield "</figcaption>"


def _rows(
    scene: Scene, faults: Sequence[Mapping[str, Any]], unit: float
) -> Iterator[tuple[int, float, float, Mapping[str, Any]]]:
    """Faults that the picture shows, each in the first row where neither it nor its words cover another."""
    ends: list[float] = []
    for band in sorted(faults, key=lambda band: (band["from_ns"], band["to_ns"])):
        if band["to_ns"] < scene.times_ns[0] or band["from_ns"] > scene.times_ns[-1]:
            continue
        start = scene.position_of(band["from_ns"])
        end = max(scene.position_of(band["to_ns"]), start + 0.2)
        row = next((row for row, until in enumerate(ends) if until <= start), len(ends))
        ends[row : row + 1] = [max(end, start + _LETTER * len(_named(band)) / unit)]
        yield row, start, end, band


def _named(band: Mapping[str, Any]) -> str:
    return cut(str(band["words"]), 60)


def _first_the_usual(f: str) -> tuple[int, str]:
    """So that a function has one colour in all pictures."""
    return (_USUAL.index(f) if f in _USUAL else len(_USUAL), f)


def _milliseconds(time_ns: int) -> str:
    return f"{time_ns / 1e6:.4f}".rstrip("0").rstrip(".")


def _text(text: object) -> str:
    return escape(printable(text))
