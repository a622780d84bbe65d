"""A checked history as one HTML page: it asks the network for nothing, and can be kept beside the history or sent.

Histories come from anywhere, so every text in them is escaped. The drawing is whole without the script
(``page.js``), which adds zoom, time as the axis, and tooltips.
"""

from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from typing import Any

from harness.report.cycles import cycle_picture
from harness.report.lanes import picture
from harness.report.scene import names_of, scene
from harness.report.wording import call, counted, cut, effort, micro, often, printable, seconds, shown

_HEADS = {
    "valid": ("✓", "Linearizable"),
    "invalid": ("✗", "Not linearizable"),
    "unknown": ("?", "Not decided"),
}
_CONFIGURATIONS = 12
_PENDING = 6
_TRANSACTIONS = 64


def page(data: Mapping[str, Any], name: str) -> str:
    """The page of a check's answer (docs/checkers.md, "What a check answers"); ``name`` is what was checked."""
    assets = files("harness.report")
    transactions = "anomalies" in data
    mark, title = _HEADS[data["verdict"]]
    if transactions and data["verdict"] != "unknown":
        title = data["level"].capitalize() if data["verdict"] == "valid" else f"Not {data['level']}"
    body = "".join(_transactions(data) if transactions else _history(data))
    facts = (
        f"{counted(data['transactions'], 'transaction')}, level {data['level']}"
        if transactions
        else f"model {data['model']}; {effort(data)}"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}: {_text(name)}</title>"
        f"<style>\n{assets.joinpath('page.css').read_text(encoding='utf-8')}</style></head>\n"
        f'<body class="{escape(data["verdict"])}"><header><h1><span class="mark" aria-hidden="true">{mark}</span> '
        f'{escape(title)}</h1><p class="name">{_text(name)}</p>'
        f'<p class="reason">{_text(data["reason"])}</p><p class="facts">{_text(facts)}</p></header>\n'
        f"<main>{body}</main>\n"
        f"<script>\n{assets.joinpath('page.js').read_text(encoding='utf-8')}</script></body></html>\n"
    )


def _text(text: object) -> str:
    """Escaped, and without control characters."""
    return escape(printable(text))


def _history(data: Mapping[str, Any]) -> Iterator[str]:
    failure, minimal, timeline = data["failure"], data["minimal"], data["timeline"]
    impossible = failure["operation"]["number"] if failure else None
    if failure:
        yield '<div class="why">'
        if minimal:
            title = (
                "The smallest part that is still wrong"
                if minimal["is_minimal"]
                else "A smaller part, still wrong"
            )
            yield f"<section><h2>{title} <small>{counted(len(minimal['operations']), 'operation')}</small></h2>"
            yield picture(
                scene(minimal["operations"]), f"{title}: {data['reason']}", impossible=impossible, small=True
            )
            yield "</section>"
        yield from _configurations(data)
        yield "</div>"
    if timeline and timeline["operations"]:
        yield from _timeline(data, impossible)
    elif not timeline:
        yield '<p class="note">No operations are drawn: the check was not asked to explain.</p>'


def _configurations(data: Mapping[str, Any]) -> Iterator[str]:
    failure = data["failure"]
    known = names_of(data)
    total, told = failure["configurations_in_all"], failure["configurations"]

    def names(numbers: list[int]) -> str:
        words = [
            f"{_text(call(known[number]))} <small>({_text(known[number]['process'])})</small>"
            if number in known
            else f"operation {number}"
            for number in numbers[:_PENDING]
        ]
        more = [f"{len(numbers) - _PENDING:,} more"] if len(numbers) > _PENDING else []
        return ", ".join([*words, *more])

    yield "<section><h2>Why no order explains it</h2>"
    operation = failure["operation"]
    yield f'<p><b class="bad">{_text(call(operation))}</b> of process {_text(operation["process"])} '
    yield (
        "can take effect in none of the states that explain all that came earlier:</p>"
        if told
        else ("fits no order of what came earlier.</p>")
    )
    if told:
        yield '<ol class="states">'
        for one in told[:_CONFIGURATIONS]:
            yield f"<li><code>{_text(one['state'])}</code>"
            if one["set_by"]:
                setter = one["set_by"]
                yield f", left so by {_text(call(setter))} <small>({_text(setter['process'])})</small>"
            yield f": {_text(one['why'])}"
            if one["done"]:
                yield f"<br><small>in flight, and in effect: {names(one['done'])}</small>"
            if one["pending"]:
                yield f"<br><small>in flight, not yet in effect: {names(one['pending'])}</small>"
            yield "</li>"
        yield "</ol>"
        if total > min(len(told), _CONFIGURATIONS):
            yield f'<p class="note">… and {total - min(len(told), _CONFIGURATIONS):,} more such states.</p>'
    if failure["overwritten_by"]:
        by = failure["overwritten_by"]
        yield f"<p>The value had been overwritten by {_text(call(by))} of process {_text(by['process'])}.</p>"
    for band in failure["faults"]:
        yield f"<p>In force at the time: {_text(band['words'])} "
        yield f"<small>({seconds(band['from_ns'])} to {seconds(band['to_ns'])})</small></p>"
    if not failure["is_first"]:
        yield '<p class="note">Whether an earlier operation is already inexplicable was not found within the '
        yield "limits.</p>"
    yield "</section>"


def _timeline(data: Mapping[str, Any], impossible: int | None) -> Iterator[str]:
    timeline, minimal, failure = data["timeline"], data["minimal"], data["failure"]
    orders = data["witness"] or {}
    if failure:
        orders = {key: order for key, order in orders.items() if key == failure["key"]}
    drawn = scene(timeline["operations"], orders)
    key = f" on {shown(failure['key'])}" if failure and failure["key"] else ""
    left_out = timeline["left_out"]
    title = {
        "invalid": "What happened around it",
        "unknown": "What happened where the search stood",
        "valid": "What happened",
    }
    yield f"<section><h2>{title[data['verdict']]}{_text(key)} "
    yield f"<small>{counted(len(drawn.bars), 'operation')}"
    yield f", {left_out:,} more not drawn" if left_out else ""
    yield "</small></h2>"
    caption = f"Operations of {counted(len(drawn.lanes), 'client')}: {data['reason']}"
    emphasised = frozenset(one["number"] for one in minimal["operations"]) if minimal else frozenset()
    yield picture(
        drawn,
        caption,
        impossible=impossible,
        emphasised=emphasised,
        faults=timeline["faults"],
        explained_until=data["verified"]["events"] if data["verdict"] == "unknown" else None,
        small=False,
    )
    yield "</section>"


def _transactions(data: Mapping[str, Any]) -> Iterator[str]:
    nodes = {node["transaction"]: node for node in data["graph"]["nodes"]}
    for anomaly in data["anomalies"]:
        yield f'<section><h2><b class="bad">{_text(anomaly["name"])}</b> '
        yield f"<small>{often(anomaly)}</small></h2>"
        if anomaly["cycle"]:
            yield cycle_picture(anomaly["cycle"], nodes, f"{anomaly['name']}: {anomaly['says']}")
            yield "<ol>"
            for step in anomaly["cycle"]:
                kind = _text(step["kind"])
                yield f'<li><b class="{kind}">{kind}</b> {_text(cut(step["says"], 400))}</li>'
            yield "</ol><p>Each must come before the next, and the last before the first: there is no order.</p>"
        else:
            yield f"<p>{_text(cut(anomaly['says'], 800))}</p>"
        yield "</section>"
    if nodes:
        yield "<section><h2>The transactions</h2><table><tr><th>transaction<th>process<th>outcome<th>events"
        yield "<th>what it did</tr>"
        for node in list(nodes.values())[:_TRANSACTIONS]:
            end = node["completed_at"]
            did = ", ".join(micro(one) for one in node["micro_operations"] or [])
            yield f"<tr{' class=named' if node['named'] else ''}><td>T{node['transaction']}"
            yield f"<td>{_text(node['process'])}<td>{_text(node['outcome'])}"
            yield f"<td>{node['invoked_at']}–{'' if end is None else end}<td>{_text(cut(did, 300))}</tr>"
        yield "</table></section>"
