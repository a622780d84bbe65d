"""YAML text → plain data, with the position of every key and value, and with limits on everything.

Built on ruamel.yaml's stream of events rather than on its loader: the loader recurses, expands aliases before
anyone can count them, and runs into Python's own errors on odd numbers. Here every text gives data or a
`ScenarioError`.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from chaos.errors import ScenarioError

MOST_CHARACTERS = 256 * 1024
MOST_NODES = 20_000
MOST_DEPTH = 32
MOST_PROBLEMS = 5

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
Path = tuple[str | int, ...]

# The core schema of YAML 1.2 (so `on`, `yes` and `no` are words, and 1:30 is not a number).
_WORDS: dict[str, Plain] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
# Integers are read far beyond every range, so that the message names the range; Python itself reads 4,300 digits.
_INTEGER = re.compile(r"[-+]?[0-9]{1,4000}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,18}|[0-9]{1,18}(\.[0-9]{0,18})?)([eE][-+]?[0-9]{1,3})?", re.ASCII)
_KNOWN_TAGS = {"!", "tag:yaml.org,2002:str"}


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a text, both from 1 as editors count."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where: at a value, or at its key if ``at_key``."""

    path: Path
    found: str
    expected: str
    words: Sequence[str] = ()
    at_key: bool = False


@dataclass(slots=True)
class Document:
    """Plain data, and where each part of it stands."""

    source: str
    data: Plain
    values: dict[Path, Position] = field(default_factory=dict)
    keys: dict[Path, Position] = field(default_factory=dict)
    overridden: dict[Path, str] = field(default_factory=dict)
    """Paths that an override has set, and its text."""

    def at(self, path: Path) -> Plain:
        """The data at a path; None where there is none."""
        here = self.data
        for part in path:
            if isinstance(here, dict) and isinstance(part, str):
                here = here.get(part)
            elif isinstance(here, list) and isinstance(part, int) and part < len(here):
                here = here[part]
            else:
                return None
        return here

    def place(self, problem: Problem) -> str:
        """Where a problem stands: ``file:line:column``, or the override that set it."""
        prefixes = [problem.path[:length] for length in range(len(problem.path), -1, -1)]
        for path in prefixes:
            if path in self.overridden:
                return self.overridden[path]
        for path in prefixes:
            tables = (self.keys, self.values) if problem.at_key and path else (self.values, self.keys)
            for table in tables:
                if path in table:
                    return f"{self.source}:{table[path].line}:{table[path].column}"
        return f"{self.source}:1:1"

    def error(self, problems: Sequence[Problem]) -> ScenarioError:
        """One error for all: a line each for the first few, the others counted."""
        assert problems
        lines = [printable(self._line(problem)) for problem in problems[:MOST_PROBLEMS]]
        if len(problems) > MOST_PROBLEMS:
            lines.append(f"and {len(problems) - MOST_PROBLEMS} more")
        return ScenarioError("\n".join(lines))

    def _line(self, problem: Problem) -> str:
        path = f"{show_path(problem.path)}: " if problem.path else ""
        line = f"{self.place(problem)}: {path}found {problem.found}, expected {problem.expected}"
        word = self.at(problem.path) if not problem.at_key else problem.path[-1]
        near = nearest(word, problem.words)
        return f"{line}; did you mean {near}?" if near else line


def nearest(word: object, words: Sequence[str]) -> str | None:
    """The valid word most like the one found, or with a part that begins so; None if none is near."""
    if not isinstance(word, str):
        return None
    lower = word[:80].lower()
    begun = [valid for valid in words if f"_{valid}".find(f"_{lower}") >= 0 and word != valid]
    if begun and len(word) > 2:
        return begun[0]
    near = difflib.get_close_matches(lower, words, n=1, cutoff=0.7)
    return near[0] if near and near[0] != word else None


def printable(text: str) -> str:
    """The text with what a terminal should not be given escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def show_path(path: Path) -> str:
    """A path as people and ``--set`` write it: ``faults[2].kill``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text if len(text) <= 200 else f"{text[:200]}…"


def show(value: object) -> str:
    """A found value, short enough for a message."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value if len(value) <= 60 else f"{value[:60]}…")
        case list():
            return f"a list of {len(value)}"
        case dict():
            keys = ", ".join(str(key)[:30] for key in list(value)[:5])
            return f"a mapping with the keys {keys}" if value else "an empty mapping"
        case _:
            text = str(value)
            return text if len(text) <= 60 else f"{text[:60]}…"


def is_nothing(text: str) -> bool:
    """Whether a text in YAML is no value: blank, a comment, or null."""
    word = text.strip()
    return word.startswith("#") or _WORDS.get(word, word) is None


def read(text: str, source: str) -> Document:
    """Parses one YAML document. Raises `ScenarioError` for anything else, and above the limits."""
    if len(text) > MOST_CHARACTERS:
        raise ScenarioError(
            f"{source}:1:1: found {len(text):,} characters, expected at most {MOST_CHARACTERS:,}"
        )
    document = Document(source, None)
    try:
        root = _Builder(source).build(YAML(typ="safe", pure=True).parse(text))
    except ReaderError as error:
        before = text[: error.position]
        position = Position(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise _broken(source, position, "a character that YAML does not allow", "printable text") from None
    except MarkedYAMLError as error:
        raise _marked(source, error) from None
    except (YAMLError, ArithmeticError, ValueError, LookupError, TypeError, AttributeError) as error:
        # ruamel.yaml gives some broken directives and escapes Python's own errors.
        raise _broken(source, Position(1, 1), f"broken YAML ({str(error)[:80]})", "valid YAML") from None
    if root is None:
        raise _broken(source, Position(1, 1), "an empty file", "a scenario")
    document.data = _plain(root, (), document)
    return document


@dataclass(slots=True)
class _Node:
    """A parsed value. Aliases share nodes; ``size`` counts what they stand for before it is expanded."""

    position: Position
    scalar: Plain = None
    items: "list[_Node] | None" = None
    pairs: "dict[str, tuple[Position, _Node]] | None" = None
    anchor: str | None = None
    size: int = 1
    key: tuple[str, Position] | None = None


class _Builder:
    """Events → nodes, without recursion."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.open: list[_Node] = []
        self.anchors: dict[str, _Node] = {}
        self.root: _Node | None = None
        self.documents = 0
        self.count = 0

    def build(self, events: Iterator[Event]) -> _Node | None:
        for event in events:
            mark = event.start_mark
            position = Position(mark.line + 1, mark.column + 1)
            match event:
                case DocumentStartEvent():
                    self.documents += 1
                    if self.documents > 1:
                        raise _broken(self.source, position, "a second document", "one document in a file")
                case ScalarEvent():
                    self._value(_Node(position, scalar=self._scalar(event, position), anchor=event.anchor))
                case AliasEvent():
                    self._alias(str(event.anchor), position)
                case SequenceStartEvent():
                    self._enter(_Node(position, items=[], anchor=event.anchor))
                case MappingStartEvent():
                    self._enter(_Node(position, pairs={}, anchor=event.anchor))
                case SequenceEndEvent() | MappingEndEvent():
                    self._value(self.open.pop())
                case _:
                    pass
        empty = self.root is not None and self.root.items is None and self.root.pairs is None
        return None if empty and self.root is not None and self.root.scalar is None else self.root

    def _enter(self, node: _Node) -> None:
        if len(self.open) >= MOST_DEPTH:
            raise _broken(self.source, node.position, "deeper nesting", f"at most {MOST_DEPTH} levels")
        if self.open and self.open[-1].pairs is not None and self.open[-1].key is None:
            raise _broken(self.source, node.position, "a key that is no word", "a word as key")
        self.open.append(node)

    def _alias(self, name: str, position: Position) -> None:
        node = self.anchors.get(name)
        if node is None:
            known = any(open_node.anchor == name for open_node in self.open)
            found = f"*{name} inside of what it stands for" if known else f"*{name}, which no & names before"
            raise _broken(self.source, position, found, "an alias of an earlier value")
        self._value(node)

    def _value(self, node: _Node) -> None:
        if node.anchor is not None:
            self.anchors[node.anchor] = node
        self.count += 1
        if self.count > MOST_NODES or node.size > MOST_NODES:
            raise _broken(
                self.source, node.position, "too much", f"at most {MOST_NODES:,} values, aliases expanded"
            )
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        parent.size += node.size
        if parent.size > MOST_NODES:
            found = "aliases that expand to too much" if self.count <= MOST_NODES else "too much"
            raise _broken(
                self.source, node.position, found, f"at most {MOST_NODES:,} values, aliases expanded"
            )
        if parent.items is not None:
            parent.items.append(node)
            return
        assert parent.pairs is not None
        if parent.key is None:
            self._key(parent, node)
        else:
            name, position = parent.key
            parent.pairs[name] = (position, node)
            parent.key = None

    def _key(self, parent: _Node, node: _Node) -> None:
        assert parent.pairs is not None
        name = node.scalar
        if not isinstance(name, str):
            raise _broken(self.source, node.position, f"the key {show(name)}", "a word as key")
        if name in parent.pairs:
            line = parent.pairs[name][0].line
            raise _broken(
                self.source,
                node.position,
                f"the key {show(name)} again (first in line {line})",
                "each key once",
            )
        parent.key = (name, node.position)

    def _scalar(self, event: ScalarEvent, position: Position) -> Plain:
        text = event.value
        tag = None if event.tag is None else str(event.tag)
        if tag is not None and tag not in _KNOWN_TAGS:
            raise _broken(self.source, position, f"the tag {tag[:60]}", "no tag")
        if tag is not None or not event.implicit[0]:
            return str(text)
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        return str(text)


def _plain(node: _Node, path: Path, document: Document) -> Plain:
    document.values[path] = node.position
    if node.items is not None:
        return [_plain(item, (*path, index), document) for index, item in enumerate(node.items)]
    if node.pairs is not None:
        data: dict[str, Plain] = {}
        for name, (position, value) in node.pairs.items():
            document.keys[*path, name] = position
            data[name] = _plain(value, (*path, name), document)
        return data
    return node.scalar


def _broken(source: str, position: Position, found: str, expected: str) -> ScenarioError:
    message = f"{source}:{position.line}:{position.column}: found {found}, expected {expected}"
    return ScenarioError(printable(message))


def _marked(source: str, error: MarkedYAMLError) -> ScenarioError:
    # A key without its colon is noticed lines later.
    marks = (error.context_mark, error.problem_mark)
    mark = next(filter(None, marks if "simple key" in str(error.context) else marks[::-1]), None)
    position = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
    problem = " ".join(str(error.problem or error.context or "").split())[:160]
    if "\\t" in problem or "'\t'" in problem:
        return _broken(source, position, "a tab", "spaces: YAML indents by spaces only")
    found, expected = _in_words(problem)
    where = f"{source}:{position.line}:{position.column}"
    return ScenarioError(printable(f"{where}: broken YAML: found {found}, expected {expected}"))


# What ruamel.yaml reports with what was found alone, and what it would have expected.
_PROBLEMS = {
    "could not find expected ':'": ("a line that ends without `:`", "`key: value`"),
    "mapping values are not allowed": (
        "`:` where no key may stand",
        "keys on lines of their own, indented alike; quotes around text with `: ` in it",
    ),
    "sequence entries are not allowed": (
        "`-` where no list may begin",
        "lists on lines of their own; quotes around text",
    ),
    "mapping keys are not allowed": ("`?` where no key may stand", "quotes around text that begins so"),
    "found unexpected end of stream": ("the end of the file inside of quotes", "the closing quote"),
    "found unexpected document separator": ("`---` or `...` inside of quotes", "the closing quote"),
    "found unexpected ':'": ("`:` inside of a word", "quotes around text with `:` in it"),
    "found unknown escape character": (
        "an unknown escape after \\",
        "one that YAML knows, such as \\n, or single quotes",
    ),
    "found undefined tag handle": ("a tag", "no tag"),
    "found duplicate YAML directive": ("two %YAML lines", "none"),
    "duplicate tag handle": ("two %TAG lines for one handle", "none"),
    "found incompatible YAML document": ("a %YAML line of another version", "none"),
    "more indented follow up line": (
        "a line that is indented less than an empty one before it",
        "the same indentation",
    ),
    "found non-comment content": ("text after `...`", "nothing after the end of the document"),
}
_NAMES = {
    "<stream end>": "the end of the file",
    "<block end>": "the end of the block (is the indentation right?)",
    "<document start>": "`---`",
    "<document end>": "`...`",
    "<block mapping start>": "a key (is the indentation right?)",
    "<block sequence start>": "a list (is the indentation right?)",
    "<scalar>": "a word",
    "\\x00": "the end of the file",
}


def _in_words(problem: str) -> tuple[str, str]:
    """What was found and what was expected, from a message of ruamel.yaml."""
    for begin, words in _PROBLEMS.items():
        if problem.startswith(begin):
            return words
    if match := re.match(r"found character (.+) that cannot start any token", problem):
        return f"{match[1]} at the beginning of a word", "quotes around text that begins so"
    if match := re.match(r"expected (.+?),? but (?:found|got) (.+)", problem):
        expected, found = (_NAMES.get(word.strip("(),'"), word) for word in match.groups())
        return found, expected
    return f"what it may not hold ({problem})", "valid YAML"
