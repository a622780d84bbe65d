"""Strategies that several test files share: scenario files and broken variants of them."""

from pathlib import Path

from hypothesis import strategies as st

SCENARIOS = Path(__file__).parent.parent / "scenarios"
FILES = sorted(SCENARIOS.rglob("*.yaml"))
TEXTS = [path.read_text() for path in FILES]

FRAGMENTS = [
    "any",
    "between",
    "maybe",
    "random",
    "{",
    "}",
    "[",
    "]",
    ":",
    ": ",
    "- ",
    "\n",
    "\t",
    "  ",
    "#",
    "&a ",
    "*a",
    "!!python/object:os.system ",
    "!t ",
    "|",
    ">-",
    "'",
    '"',
    "\\",
    "%",
    "@",
    "`",
    "? ",
    "---\n",
    "...\n",
    "<<: ",
    "n9",
    "n0",
    "leader",
    "event",
    "all",
    "minority",
    "9999999999999999999999",
    "-1",
    "0",
    "1e999",
    ".nan",
    "null",
    "true",
    "2s",
    "0s",
    "-2s",
    "1h",
    "50%",
    "101%",
    "0/s",
    "faults",
    "checks",
    "version: 2",
    "\x00",
    "\u2028",
    "\ud800",
    "\U0001f600",
    "é",
    "%YAML 1.1\n",
    "%TAG ! tag:x:\n",
    "0x1F",
    "1_000",
    "2026-01-01",
    "=",
    "~",
]


@st.composite
def mutated(draw: st.DrawFn, texts: list[str] = TEXTS) -> str:
    """A valid scenario file after a few small accidents."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        match draw(st.sampled_from(["replace", "delete", "double", "swap lines"])):
            case "replace":
                text = text[:start] + draw(st.sampled_from(FRAGMENTS) | st.text(max_size=5)) + text[end:]
            case "delete":
                text = text[:start] + text[end:]
            case "double":
                text = text[:end] + text[start:]
            case _:
                lines = text.split("\n")
                first, second = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
                lines[first], lines[second] = lines[second], lines[first]
                text = "\n".join(lines)
    return text
