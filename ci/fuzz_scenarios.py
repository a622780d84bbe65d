"""Mutated scenario files, overrides, plans and manifests: each is read, or refused in words that say where.

A text that is read must draw a plan that compiles and comes back from its JSON and from its YAML. A text that is
refused must end in a ScenarioError whose every line says where (a line and a column that the text has, or the
override) and what was expected. Anything else is a defect: it is printed with the command that repeats it, and the
exit code is 1. Case N of a kind is a function of (kind, N) alone. Options: --texts, --workers, --case KIND/N.
"""

import argparse
import json
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from chaos import document
from chaos.bundle import parse_manifest
from chaos.errors import BundleError, ScenarioError
from chaos.generate import Sampler, draw_plan
from chaos.plan import Plan, scenario_of
from chaos.scenario import load_scenario

SCENARIOS = Path(__file__).resolve().parent.parent / "scenarios"
TEXTS = [path.read_text() for path in sorted(SCENARIOS.rglob("*.yaml"))]
DATA = [document.read(text, "x.yaml").data for text in TEXTS]
SOURCE = "x.yaml"
MOST_CPU_S = 1.0
"""What one text may cost, in seconds of processor time: a wall clock would measure the other work of the machine."""

_LINE_BREAK = re.compile(r"\r\n|[\r\n]")  # as ruamel.yaml counts lines
_TOKEN = re.compile(r"[^\s{}\[\],:]+")
_PLACE = re.compile(rf"{re.escape(SOURCE)}:([0-9]+):([0-9]+): \S")


class DefectError(AssertionError):
    """A text that was neither read whole nor refused as it should be."""


@dataclass(frozen=True)
class Case:
    """What is fed in. A mutated plan or manifest is a text of its own kind."""

    text: str
    overrides: tuple[str, ...] = ()


# ── what must hold ────────────────────────────────────────────────────────────────────────────────────────────────


def outcome(case: Case, seed: int) -> str:
    """``drawn`` or ``refused``, for a scenario file. Raises DefectError."""
    try:
        scenario = load_scenario(case.text, SOURCE, case.overrides)
    except ScenarioError as error:
        _require_place(str(error), case)
        result = "refused"
    except Exception as error:
        raise DefectError(f"load_scenario raised {type(error).__name__}: {str(error)[:200]}") from error
    else:
        try:
            for member in (scenario, *scenario.example_scenarios[:2]):
                _require_whole(draw_plan(member, Sampler(seed)))
        except DefectError:
            raise
        except Exception as error:
            raise DefectError(f"what was read raised {type(error).__name__}: {str(error)[:200]}") from error
        result = "drawn"
    return result


def _require_whole(plan: Plan) -> None:
    """The plan compiles, and comes back from its JSON and from its scenario file."""
    json.loads(plan.compiled_json())
    if Plan.from_json(plan.to_json()) != plan:
        raise DefectError("the plan read from its JSON is another plan")
    written = scenario_of(plan)
    again = draw_plan(load_scenario(written, "written.yaml"), Sampler(plan.seed + 1))
    if again != plan:
        raise DefectError(f"the plan read from its scenario file is another plan:\n{written}")


def _require_place(message: str, case: Case) -> None:
    """Each line of a refusal says where, in the text or in an override, and what was expected."""
    *lines, last = message.split("\n")
    lines += [] if lines and re.fullmatch(r"and [0-9]+ more", last) else [last]
    for line in lines:
        if not line.isprintable():
            raise DefectError(f"the message is not printable: {line!r}")
        if "expected " not in line:
            raise DefectError(f"the message does not say what was expected: {line}")
        if line.startswith("--set "):
            if not case.overrides:
                raise DefectError(f"the message names an override, but there is none: {line}")
            continue
        place = _PLACE.match(line)
        if place is None:
            raise DefectError(f"the message does not say where: {line}")
        row, column = int(place[1]), int(place[2])
        rows = _LINE_BREAK.split(case.text)
        if not (1 <= row <= len(rows) and 1 <= column <= len(rows[row - 1]) + 1):
            raise DefectError(f"the message names a place that the text does not have: {line}")


def plan_outcome(case: Case, seed: int) -> str:
    """``drawn`` or ``refused``, for a plan.json. Raises DefectError."""
    try:
        plan = Plan.from_json(case.text, SOURCE)
        _require_whole(plan)
    except BundleError as error:
        return _bundle_refusal(error)
    except DefectError:
        raise
    except Exception as error:
        raise DefectError(f"Plan.from_json raised {type(error).__name__}: {str(error)[:200]}") from error
    return "drawn"


def manifest_outcome(case: Case, seed: int) -> str:
    """``drawn`` or ``refused``, for a manifest.json. Raises DefectError."""
    try:
        parse_manifest(case.text, SOURCE)
    except BundleError as error:
        return _bundle_refusal(error)
    except Exception as error:
        raise DefectError(f"parse_manifest raised {type(error).__name__}: {str(error)[:200]}") from error
    return "drawn"


def _bundle_refusal(error: BundleError) -> str:
    message = str(error)
    if not message.startswith(f"{SOURCE}:") or not message.replace("\n", "").isprintable():
        raise DefectError(f"the refusal does not name its file, or is not printable: {message!r}")
    return "refused"


# ── accidents to texts ────────────────────────────────────────────────────────────────────────────────────────────

ODD_TEXTS = [
    "", "~", "null", "true", "yes", "0", "-1", "1", "3.5", "1e999", "-1e999", ".nan", ".inf", "0x1F", "0o17", "1_000",
    "9007199254740992", "18446744073709551616", "9" * 400, "9" * 5000, "-" + "9" * 5000, "1" * 13 + "s", "0s", "1ns",
    "0.1ns", "1.5ms", "59m", "61m", "1h", "2 s", "-2s", "1e3s", "٣s", "1s\n", "0%", "50%", "50.0001%", "100%", "101%",
    "-1%", "0/s", "0.1/s", "10000/s", "10001/s", "600000/m", "1/m", "n0", "n1", "n9", "n10", "n01", "N1", "leader",
    "event", "follower", "minority", "majority", "all", "one", "raft", "any", "between", "maybe", "random", "é",
    "\U0001f600", "\u202e", "\u200b", "\ufeff", "\u2028", "\x85", "\x00", "\x1b[31m", "\ud800", "2026-01-01", "1:30",
    "<<", "=", "*", "&", "!", "!!binary aGk=", "!!python/object:os.system x", "!t x", "%", "@", "`", "|", ">-", "?",
    "-", ":", "#", "'", '"', "\\", "{", "}", "[", "]", ",", "---", "...", "\t", "__class__", "x" * 3000, "{any: []}",
    "{any: [1s, 2s]}", "{between: [1s, 2s]}", "{maybe: 1s}", "{any: [{any: [1s]}]}", "[n1, n1]", "[n1, n2]", "[]", "{}",
    "{follower: 2}", "{follower: 99}", "{from: leader, to: event}", "[1s, 2s]", "[2s, 1s]", "[[n1], [n2]]",
]  # fmt: skip

TextMutation = Callable[[Random, str], str]


def _lines(text: str) -> list[str]:
    return text.split("\n")


def _token_in(random: Random, text: str) -> tuple[int, int]:
    tokens = [match.span() for match in _TOKEN.finditer(text)]
    return random.choice(tokens) if tokens else (0, 0)


def _put(text: str, span: tuple[int, int], new: str) -> str:
    return text[: span[0]] + new + text[span[1] :]


def flip_bytes(random: Random, text: str) -> str:
    """Some bits of some bytes; what is then no UTF-8 becomes half a character."""
    content = bytearray(text.encode(errors="surrogatepass"))
    for _ in range(random.randint(1, 4)):
        if content:
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return content.decode(errors=random.choice(["replace", "surrogateescape"]))


def delete_lines(random: Random, text: str) -> str:
    """One to three lines."""
    lines = _lines(text)
    at = random.randrange(len(lines))
    del lines[at : at + random.randint(1, 3)]
    return "\n".join(lines)


def double_lines(random: Random, text: str) -> str:
    """One to three lines again, here or elsewhere: keys and elements twice."""
    lines = _lines(text)
    at = random.randrange(len(lines))
    block = lines[at : at + random.randint(1, 3)] * random.choice([1, 1, 1, 70])
    target = random.choice([at, random.randrange(len(lines))])
    return "\n".join(lines[:target] + block + lines[target:])


def swap_lines(random: Random, text: str) -> str:
    """Two lines change places."""
    lines = _lines(text)
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return "\n".join(lines)


def swap_token(random: Random, text: str) -> str:
    """A word gives way to one of another file."""
    other = random.choice(TEXTS)
    first, last = _token_in(random, other)
    return _put(text, _token_in(random, text), other[first:last])


def odd_token(random: Random, text: str) -> str:
    """A word gives way to something that no scenario has there."""
    return _put(text, _token_in(random, text), random.choice(ODD_TEXTS))


def insert_odd(random: Random, text: str) -> str:
    """Something odd between any two characters."""
    at = random.randint(0, len(text))
    return _put(text, (at, min(len(text), at + random.choice([0, 0, 1, 5]))), random.choice(ODD_TEXTS))


def indent(random: Random, text: str) -> str:
    """One line or all that follow move to the right or to the left; blanks or tabs."""
    lines = _lines(text)
    at = random.randrange(len(lines))
    until = random.choice([at + 1, at + 3, len(lines)])
    blank = random.choice([" ", "  ", "\t", "    ", " " * 300, "\u00a0"])
    for index in range(at, min(until, len(lines))):
        line = lines[index]
        lines[index] = blank + line if random.random() < 0.6 else line.removeprefix(blank)
    return "\n".join(lines)


def truncate(random: Random, text: str) -> str:
    """The beginning, or the end."""
    at = random.randint(0, len(text))
    return text[:at] if random.random() < 0.8 else text[at:]


def rename_key(random: Random, text: str) -> str:
    """A key loses, doubles or swaps letters, or becomes another key."""
    keys = [match.span(1) for match in re.finditer(r"\b(\w{1,64}):", text)]
    if not keys:
        return text
    first, last = random.choice(keys)
    key = text[first:last]
    at = random.randrange(len(key))
    other = random.choice(re.findall(r"\b(\w{1,64}):", random.choice(TEXTS)))
    new = random.choice(
        [key[:at] + key[at + 1 :], key[:at] + key[at] + key[at:], key.upper(), other, f'"{key}"']
    )
    return _put(text, (first, last), new)


def change_number(random: Random, text: str) -> str:
    """A number becomes huge, negative, zero, or gets other digits or another unit."""
    numbers = [match.span() for match in re.finditer(r"[0-9]+", text)]
    if not numbers:
        return text
    span = random.choice(numbers)
    digits = text[slice(*span)]
    other = [str(random.randint(0, 10 ** random.randint(1, 20))), f"{digits}{random.choice('sm%/')}", "0"]
    longer = [
        digits * random.choice([2, 5, 40, 2000]),
        f"-{digits}",
        f"{digits}.5",
        f"{digits}e9",
        f"0{digits}",
    ]
    new = random.choice(other + longer)
    return _put(text, span, new)


def anchors(random: Random, text: str) -> str:
    """An anchor before one value, an alias or a merge key in place of others."""
    name = random.choice(["a", "b", "é", "a" * 2000])
    values = [match.span(1) for match in re.finditer(r": ([^\s#].*)", text)]
    if len(values) < 2:
        return f"x: &{name} [*{name}]\n{text}"
    one, other = sorted(random.sample(values, 2))
    if random.random() < 0.2:
        one, other = other, one
    alias = random.choice([f"*{name}", f"{{<<: *{name}}}", f"[*{name}, *{name}]", f"&{name} *{name}"])
    for span, new in sorted([(one, f"&{name} {text[slice(*one)]}"), (other, alias)], reverse=True):
        text = _put(text, span, new)
    return text


def laughs(random: Random, text: str) -> str:
    """Aliases of aliases of aliases: a small text that stands for a huge one."""
    width, depth = random.randint(2, 12), random.randint(2, 40)
    rows = ["a0: &a0 [n1, n2]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, depth)]
    bomb = "\n".join(rows)
    return random.choice(
        [f"{bomb}\n{text}", f"{text}\n{bomb}\nfaults: *a{depth - 1}\n", f"{text}\nchecks: *a0\n"]
    )


def tags(random: Random, text: str) -> str:
    """A tag before a value, or a directive before the document."""
    tag = random.choice(
        ["!!str", "!", "!!int", "!!map", "!!python/name:os.system", "!e!x", "!<x>", "!<tag:%zz>", "!%41"]
    )
    if random.random() < 0.3:
        directive = random.choice(
            ["%YAML 1.1", "%YAML 9.9", "%YAML x", f"%YAML {'1' * 5000}.1", "%TAG !e! tag:x:", "%x y"]
        )
        return f"{directive}\n---\n{text}"
    first, _ = _token_in(random, text)
    return _put(text, (first, first), f"{tag} ")


def line_ends(random: Random, text: str) -> str:
    """CRLF, CR, or another break that Unicode knows, everywhere or here and there."""
    brk = random.choice(["\r\n", "\r", "\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\n\n"])
    every = random.random() < 0.5
    return "".join(brk if char == "\n" and (every or random.random() < 0.2) else char for char in text)


def nul(random: Random, text: str) -> str:
    """NUL and other control characters."""
    for _ in range(random.randint(1, 3)):
        at = random.randint(0, len(text))
        text = _put(text, (at, at), random.choice("\x00\x07\x08\x1b\x7f\x80\ufeff\ufffe"))
    return text


def nesting(random: Random, text: str) -> str:
    """A value inside of many brackets or blocks."""
    depth = random.choice([5, 25, 31, 32, 33, 100, 3000])
    span = _token_in(random, text)
    value = text[slice(*span)]
    opening, closing = random.choice(
        [("[", "]"), ("{a: ", "}"), ("{any: [", "]}"), ("{maybe: ", "}"), ("- ", ""), ("? ", "")]
    )
    return _put(text, span, opening * depth + value + random.choice([closing * depth, ""]))


def long_line(random: Random, text: str) -> str:
    """A word, a list or a comment of many thousand characters."""
    count = random.choice([500, 5_000, 60_000, 270_000])
    new = random.choice(
        ["x" * count, "x " * (count // 2), f"[{'n1,' * (count // 3)}]", f"#{'x' * count}", f"'{'y' * count}'"]
    )
    return _put(text, _token_in(random, text), new)


def second_document(random: Random, text: str) -> str:
    """Two files in one, or a marker in the middle."""
    lines = _lines(text)
    lines.insert(
        random.randrange(len(lines) + 1),
        random.choice(["---", "...", "--- x", "---\n" + random.choice(TEXTS)]),
    )
    return "\n".join(lines)


TEXT_MUTATIONS: dict[str, TextMutation] = {
    mutation.__name__: mutation
    for mutation in (
        flip_bytes, delete_lines, double_lines, swap_lines, swap_token, odd_token, insert_odd, indent, truncate,
        rename_key, change_number, anchors, laughs, tags, line_ends, nul, nesting, long_line, second_document,
    )
}  # fmt: skip


# ── accidents to data ─────────────────────────────────────────────────────────────────────────────────────────────

ODD_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 9, 10, 63, 64, 65, 100, 101, 10**6, 10**7, 10**7 + 1, 2**53 - 1, 2**53, 2**64,
    10**400, 0.0, 1.5, -0.0, 1e308, "", " ", "x", "é", "\ud83d", "\x00", "#", "null", "1", [], {}, [[]], [None], [1, 2],
    ["n1"], ["n1", "n1"], ["n2", "n1"], [f"n{n}" for n in range(1, 10)], ["1s"], ["1s", "2s"], ["2s", "1s"],
    {"any": []}, {"any": ["1s"]}, {"any": [1, 3, 5]}, {"any": ["n1", "leader"]}, {"any": "1s"}, {"any": {}},
    {"any": [{"any": [1]}]}, {"between": [1, 9]}, {"between": [9, 1]}, {"between": [3, 5]}, {"between": ["1s", "2s"]},
    {"between": ["0s", "60m"]}, {"between": []}, {"between": [1]}, {"between": [1, "2s"]},
    {"between": ["leader", "n1"]},
    {"between": [True, False]}, {"maybe": None}, {"maybe": "1s"}, {"maybe": 3}, {"maybe": {"maybe": 1}},
    {"any": [1], "between": [1, 2]}, {"random": {}}, {"random": {"count": 64, "kinds": ["kill"]}}, {"": 1}, {"x": 1},
    {"event": "applied", "nth": 3}, {"event": {"any": ["applied", "vote_cast"]}, "node": "n2"}, {"follower": 1},
    {"follower": 4}, {"halves": "one"}, {"groups": {"between": [2, 9]}}, {"sides": [["n1"], ["n2", "n3"]]},
    {"from": "leader", "to": "all"}, {"from": "event", "to": "event"}, {"delay": "10s", "jitter": "10s"},
    {"order": ["n1"]},
    {"at": "1s", "kill": "leader"}, {"on": "vote_cast", "kill": "event"}, {"at": "0s", "for": "60m", "pause": "all"},
]  # fmt: skip

Slot = tuple[Any, Any]
"""A list or mapping, and the index or key of one of its values."""


def _slots(data: Any) -> list[Slot]:
    found: list[Slot] = []
    todo = [data]
    while todo:
        here = todo.pop()
        keys = (
            list(here) if isinstance(here, dict) else list(range(len(here))) if isinstance(here, list) else []
        )
        found += [(here, key) for key in keys]
        todo += [here[key] for key in keys]
    return found


def _odd_value(random: Random) -> Any:
    """Something odd, something from a file, or odd text; always a value of its own."""
    kind = random.random()
    if kind < 0.5:
        value = random.choice(ODD_VALUES)
    elif kind < 0.75:
        holder, key = random.choice(_slots(random.choice(DATA)))
        value = holder[key]
    else:
        value = random.choice(ODD_TEXTS)
    return _copied(value)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def change_data(random: Random, data: Any) -> Any:
    """One accident to one value of a parsed file."""
    slots = _slots(data)
    if not slots:
        return _odd_value(random)
    holder, key = random.choice(slots)
    value = holder[key]
    match random.randrange(9):
        case 0 | 1:
            holder[key] = _odd_value(random)
        case 3:
            del holder[key]
        case 4 if isinstance(holder, dict):
            holder[random.choice(["x", "", "any", "node", "é", "k" * 2000, "at", "for", "on", "nth"])] = (
                _odd_value(random)
            )
        case 4:
            holder += [_copied(value)] * random.choice([1, 1, 70])
        case 5:
            hole = random.choice(["any", "between", "maybe", "random", "x"])
            holder[key] = {hole: value if hole == "maybe" else [value] * random.randint(0, 3)}
        case 6 | 7:
            holder[key] = _near(random, value)
        case _:
            other, its = random.choice(slots)
            holder[key], other[its] = _copied(other[its]), _copied(value)
    return data


def _near(random: Random, value: Any) -> Any:
    """A value of the same kind, or nearly so."""
    match value:
        case bool():
            return not value
        case int():
            return random.choice([value + 1, value - 1, value * 1000, -value, float(value), str(value)])
        case str():
            digits = re.sub(r"[0-9]+", lambda _: str(random.randint(0, 10 ** random.randint(0, 6))), value)
            unit = re.sub(
                r"(ns|us|ms|s|m|%|/s|/m)$",
                lambda _: random.choice(["ns", "us", "ms", "s", "m", "h", "%", "/s", "/m", ""]),
                value,
            )
            return random.choice(
                [digits, unit, value.upper(), value + " ", value[:-1], [value], {"any": [value]}]
            )
        case list():
            return random.choice([value[::-1], value * 2, value[:1], value[0] if value else {}])
        case _:
            return [value]


def _written(random: Random, data: Any) -> str:
    """JSON is YAML: one line, or a line for each value."""
    return json.dumps(data, indent=random.choice([None, 1, 2]), ensure_ascii=random.random() < 0.5)


# ── cases ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def text_case(random: Random, kind: str) -> Case:
    """A file after one accident of a kind, and perhaps others."""
    text = TEXT_MUTATIONS[kind](random, random.choice(TEXTS))
    while random.random() < 0.35:
        text = random.choice(list(TEXT_MUTATIONS.values()))(random, text)
    return Case(text)


def data_case(random: Random) -> Case:
    """A file whose data had one accident, or up to four."""
    data = _copied(random.choice(DATA))
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        data = change_data(random, data)
    return Case(_written(random, data))


def override_case(random: Random) -> Case:
    """A file as it is, and one to three overrides."""
    index = random.randrange(len(TEXTS))
    return Case(
        TEXTS[index], tuple(_override(random, DATA[index]) for _ in range(random.choice([1, 1, 2, 3])))
    )


def _override(random: Random, data: Any) -> str:
    path, value = random.choice([*_leaves(data, ()), (("seed",), 1), (("heal",), "4s")])
    new = random.choice([_near(random, value), _near(random, value), _odd_value(random)])
    written = json.dumps(new, ensure_ascii=False)
    text = f"{document.show_path(path)}={random.choice([written, written, random.choice(ODD_TEXTS)])}"
    if random.random() < 0.2:
        text = random.choice([odd_token, insert_odd, flip_bytes, truncate, change_number])(random, text)
    return text


def _leaves(data: Any, path: document.Path) -> Iterator[tuple[document.Path, Any]]:
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in pairs:
        yield (*path, key), value
        yield from _leaves(value, (*path, key))


def plan_case(random: Random) -> Case:
    """A plan.json after accidents to its text or to its data."""
    plan = draw_plan(load_scenario(random.choice(TEXTS), SOURCE), Sampler(random.randrange(50)))
    return _json_case(random, plan.to_json())


MANIFEST = {
    "format": 1, "scenario": "x", "plan_id": "0" * 32, "seed": 0, "backend": "sim", "plants": ["stale-read"],
    "trace_hash": "0" * 16, "started_at": "2026-01-01T00:00:00+00:00", "builds": {"mcp-chaos": "0.1.0"},
    "timings": {"run": 0.5}, "files": {"plan.json": "0" * 64, "trace/n1.jsonl": "1" * 64},
}  # fmt: skip


def manifest_case(random: Random) -> Case:
    """A manifest.json after accidents to its text or to its data."""
    return _json_case(random, json.dumps(MANIFEST, indent=2))


def _json_case(random: Random, text: str) -> Case:
    if random.random() < 0.4:
        return Case(random.choice(list(TEXT_MUTATIONS.values()))(random, text))
    data = json.loads(text)
    for _ in range(random.choice([1, 1, 2])):
        data = change_data(random, data)
    return Case(_written(random, data))


KINDS = (*TEXT_MUTATIONS, "data", "overrides", "plans", "manifests")
SHARES = dict.fromkeys(TEXT_MUTATIONS, 1) | {"data": 10, "overrides": 5, "plans": 4, "manifests": 2}
"""How many cases of each kind there are in proportion: most defects of a checker of data need valid YAML."""


class Overrun(BaseException):
    """Raised in the middle of what takes far too long; no ``except Exception`` holds it back."""


def _overrun(*_: object) -> None:
    raise Overrun


def run_case(kind: str, number: int) -> tuple[str, float]:
    """The outcome of one case, and the seconds of processor time that it took. Raises DefectError.

    Only in a process's main thread: a signal ends what would go on for ever.
    """
    case = made(kind, number)
    judge = {"plans": plan_outcome, "manifests": manifest_outcome}.get(kind, outcome)
    before = signal.signal(signal.SIGPROF, _overrun)
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, 5 * MOST_CPU_S)
    try:
        found = judge(case, number)
    except Overrun:
        found = "overrun"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    spent = time.process_time() - began
    if spent > MOST_CPU_S:
        raise DefectError(f"{spent:.2f} s of processor time or more, expected at most {MOST_CPU_S} s")
    return found, spent


def made(kind: str, number: int) -> Case:
    """Case ``number`` of a kind, the same on every machine."""
    random = Random(f"{kind}/{number}")  # noqa: S311 accidents, not secrets
    special = {"data": data_case, "overrides": override_case, "plans": plan_case, "manifests": manifest_case}
    return special[kind](random) if kind in special else text_case(random, kind)


def cases(count: int) -> list[tuple[str, int]]:
    """About ``count`` cases, of each kind its share."""
    whole = sum(SHARES.values())
    return [(kind, number) for kind in KINDS for number in range(-(-count * SHARES[kind] // whole))]


def _judged(one: tuple[str, int]) -> tuple[str, int, str, str, float]:
    """(kind, number, outcome, "" or the defect, seconds of processor time)."""
    try:
        found, spent = run_case(*one)
    except DefectError as error:
        return (*one, "defect", str(error), 0.0)
    return (*one, found, "", spent)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--case", metavar="KIND/N", help="show this one case, and what becomes of it")
    options = parser.parse_args()
    if options.case:
        kind, _, number = options.case.partition("/")
        case = made(kind, int(number))
        print(case.text, *(f"--set {override!r}" for override in case.overrides), sep="\n")
        print(_judged((kind, int(number)))[2:])
        return 0
    began = time.monotonic()
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(_judged, cases(options.texts), chunksize=50))
    counts = Counter((kind, found) for kind, _, found, _, _ in results)
    for kind in KINDS:
        slowest = max(spent for its, _, _, _, spent in results if its == kind)
        told = ", ".join(f"{counts[kind, found]} {found}" for found in ("drawn", "refused", "defect"))
        print(f"{kind:16} {told}, slowest {slowest:.2f} s")
    defects = [(kind, number, defect) for kind, number, _, defect, _ in results if defect]
    for kind, number, defect in defects[:40]:
        print(
            f"DEFECT {kind}/{number}: {defect}\n  again: python ci/fuzz_scenarios.py --case {kind}/{number}"
        )
    total = Counter(found for _, _, found, _, _ in results)
    print(f"{len(results)} cases in {time.monotonic() - began:.0f} s: {dict(total)}")
    return int(bool(defects))


if __name__ == "__main__":
    sys.exit(main())
