"""A cycle of transactions drawn as SVG: boxes on a ring, in the order of the cycle, an arrow from each to the next.

The ring is the layout that shows a cycle best, and one that needs no numerics: networkx's layouts need numpy.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from harness.report.wording import cut, printable, shown

_WIDTH = 210
_LINE = 16
_MICRO = 5
"""The most micro-operations in a box."""
_DRAWN = 12
"""The longest cycle that is drawn."""

Place = tuple[float, float]


def cycle_picture(
    steps: Sequence[Mapping[str, Any]], nodes: Mapping[int, Mapping[str, Any]], caption: str
) -> str:
    """The cycle; nothing if it is too long to be seen."""
    count = len(steps)
    if not 2 <= count <= _DRAWN:
        return ""
    boxes = [_lines(step["from"], nodes.get(step["from"])) for step in steps]
    tall = max(len(lines) for lines in boxes) * _LINE + 12
    wide, high = (240.0, 0.0) if count == 2 else (150.0 + 55 * count, tall + 26.0 * count)
    width, height = 2 * wide + _WIDTH + 20, 2 * high + tall + (150 if count == 2 else 40)
    centre = (width / 2, height / 2)
    places = [
        (
            centre[0] - wide * math.cos(2 * math.pi * index / count),
            centre[1] - high * math.sin(2 * math.pi * index / count),
        )
        for index in range(count)
    ]
    sizes = [(_WIDTH / 2, (len(lines) * _LINE + 12) / 2) for lines in boxes]
    parts = [
        f'<figure class="cycle"><svg viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px" role="img">'
        f"<title>{escape(cut(caption, 400))}</title>"
        "<desc>Each box is a transaction; each arrow leads to one that must come later.</desc>"
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L10 5L0 10z"/></marker></defs>'
    ]
    labels = []
    for index, step in enumerate(steps):
        to = (index + 1) % count
        bend = 75.0 + tall / 6 if count == 2 else 0.0
        arrow, middle = _arrow(places[index], sizes[index], places[to], sizes[to], bend)
        parts.append(f'<path class="edge {escape(step["kind"])}" d="{arrow}" marker-end="url(#tip)"/>')
        labels.append(_label(middle, step))
    for (x, y), (half_width, half_height), lines in zip(places, sizes, boxes, strict=True):
        parts.append(
            f'<rect class="box" x="{x - half_width:.1f}" y="{y - half_height:.1f}" width="{2 * half_width:.0f}"'
            f' height="{2 * half_height:.0f}" rx="5"/>'
        )
        for row, line in enumerate(lines):
            parts.append(
                f'<text x="{x - half_width + 8:.1f}" y="{y - half_height + 18 + row * _LINE:.1f}"'
                f"{' class=head' if row == 0 else ''}>{escape(printable(line))}</text>"
            )
    return "".join([*parts, *labels, "</svg></figure>"])


def _lines(number: int, node: Mapping[str, Any] | None) -> list[str]:
    if node is None:
        return [f"T{number}"]
    did = node["micro_operations"] or []
    lines = [cut(_micro(one), 32) for one in did[:_MICRO]]
    more = [f"… and {len(did) - _MICRO} more"] if len(did) > _MICRO else []
    unknown = "" if node["outcome"] == "ok" else f", {node['outcome']}"
    return [cut(f"T{number}  (process {node['process']}{unknown})", 32), *lines, *more]


def _micro(operation: Any) -> str:
    match operation:
        case ["r", key, value]:
            return f"r {shown(key, 12)} = {shown([] if value is None else value, 18)}"
        case [f, key, value]:
            return f"{shown(f, 8)} {shown(key, 12)} {shown(value, 14)}"
        case _:
            return shown(operation, 30)


def _arrow(a: Place, size_a: Place, b: Place, size_b: Place, bend: float) -> tuple[str, Place]:
    """A path from the border of a box to the border of the next, and the place of its label."""
    middle = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
    length = math.hypot(b[0] - a[0], b[1] - a[1]) or 1.0
    across = ((b[1] - a[1]) / length, -(b[0] - a[0]) / length)
    control = (middle[0] + across[0] * 2 * bend, middle[1] + across[1] * 2 * bend)
    start, end = _border(a, size_a, control), _border(b, size_b, control)
    label = (middle[0] + across[0] * bend * 0.95, middle[1] + across[1] * bend * 0.95)
    if not bend:
        label = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    path = f"M{start[0]:.1f} {start[1]:.1f}Q{control[0]:.1f} {control[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
    return path, label


def _border(centre: Place, half: Place, towards: Place) -> Place:
    """Where the line from the middle of a box to a place leaves it."""
    dx, dy = towards[0] - centre[0], towards[1] - centre[1]
    scale = min(half[0] / abs(dx) if dx else math.inf, half[1] / abs(dy) if dy else math.inf, 1.0)
    return centre[0] + dx * scale, centre[1] + dy * scale


def _label(at: Place, step: Mapping[str, Any]) -> str:
    kind, values = step["kind"], [shown(value, 16) for value in step["values"]]
    key = "" if step["key"] is None else f" {shown(step['key'], 10)}"
    proof = {
        "ww": "{0} then {1}",
        "wr": "{0} seen in {1}",
        "rw": "{0} lacks {1}",
        "realtime": "event {0} before {1}",
    }.get(kind, "")
    words = proof.format(*values) if len(values) == 2 else ""
    text = f"{kind}{key}: {words}"
    half = len(text) * 3.5 + 6
    return (
        f'<g class="label {escape(kind)}"><title>{escape(cut(step["says"], 400))}</title>'
        f'<rect x="{at[0] - half:.1f}" y="{at[1] - 10:.1f}" width="{2 * half:.1f}" height="20" rx="10"/>'
        f'<text x="{at[0]:.1f}" y="{at[1] + 4:.1f}" text-anchor="middle">{escape(printable(text))}</text></g>'
    )
