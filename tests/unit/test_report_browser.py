"""The page in a real browser, where one is installed: its script's zoom, keys and jumps, and that what a history holds
never runs. The browser dumps the document after a script, put behind the page's own, has played the user.
"""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import chaos
from harness.report.page import page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")

HOSTILE = "</script><img src=x onerror=\"document.title='pwned'\"><svg onload=\"document.title='pwned'\">"
PLAYER = """<script>
const scroll = [...document.querySelectorAll(".scroll")].pop(), drawing = scroll.querySelector(".drawing");
const key = (name, at = scroll) => at.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
const at = () => ({
  width: +drawing.getAttribute("width"), left: scroll.scrollLeft, room: scroll.clientWidth,
  on: drawing.querySelector(".op.on")?.getAttribute("aria-label") ?? null,
  tip: document.getElementById("tip-box").hidden ? null : document.getElementById("tip-box").textContent,
});
const seen = {}; let failed = null;
addEventListener("error", event => { failed = event.message; });
function see(name, act) { if (act) act(); seen[name] = at(); }
%s
seen.failed = failed; seen.title = document.title; seen.images = document.images.length;
seen.sideways = document.documentElement.scrollWidth > innerWidth;
document.body.insertAdjacentHTML("beforeend", "<pre id=seen></pre>");
document.getElementById("seen").textContent = JSON.stringify(seen);
</script></body>"""

Event = dict[str, Any]


def operation(number: int, process: str, f: str, value: object, result: object) -> list[Event]:
    about = {"process": process, "f": f, "key": "k0"}
    return [
        {**about, "type": "invoke", "value": value, "time_ns": number * 2_000_000},
        {**about, "type": "ok", "value": result, "time_ns": number * 2_000_000 + 900_000},
    ]


def explained(events: list[Event]) -> str:
    return page(chaos.check(events, minimal=True, witness=True, timeline=200).data, HOSTILE)


def stale(count: int = 150) -> str:
    """A page of many writes, and a read of the first one's value in their midst."""
    events = [
        event for number in range(count) for event in operation(number, f"p{number % 6}", "write", number, 0)
    ]
    return explained(events[:200] + operation(count, "reader", "read", None, 0) + events[200:])


def play(text: str, tmp_path: Path, script: str, *, width: int = 1200) -> dict[str, Any]:
    """What the script saw of the page."""
    assert BROWSER is not None
    path = tmp_path / "page.html"
    path.write_text(text.replace("</body>", PLAYER % script), encoding="utf-8")
    dumped = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         f"--window-size={width},900", "--virtual-time-budget=3000", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    found = re.search(r'<pre id="seen">(.*?)</pre>', dumped.stdout, re.DOTALL)
    assert found, f"the browser gave no document: {dumped.stderr[-2000:]}"
    seen: dict[str, Any] = json.loads(html.unescape(found[1]))
    assert seen["failed"] is None
    return seen


def test_a_page_begins_at_the_error_and_keys_go_on_from_it(tmp_path: Path) -> None:
    seen = play(
        stale(),
        tmp_path,
        """see("start"); see("error", () => key("e")); see("next", () => key("ArrowRight"));
        see("body", () => { document.activeElement.blur(); key("+", document.body); });
        see("all", () => key("0")); see("end", () => key("End")); see("escape", () => key("Escape"));""",
    )
    assert seen["start"]["left"] > 0, "the error is not at the beginning of the picture"
    assert "read k0 = 0" in seen["error"]["on"]
    assert "no order explains this" in seen["error"]["tip"]
    assert seen["next"]["on"] != seen["error"]["on"]
    assert seen["body"]["width"] > seen["next"]["width"], "keys that do not scroll need no focus"
    assert seen["body"]["tip"] is None, "what the tip is about has moved"
    assert seen["all"]["width"] <= seen["all"]["room"]
    assert seen["end"]["tip"]
    assert seen["escape"]["tip"] is None


def test_the_wheel_zooms_about_the_pointer_and_the_pointer_drags(tmp_path: Path) -> None:
    seen = play(
        stale(),
        tmp_path,
        """const box = scroll.getBoundingClientRect(), x = box.left + 500, y = box.top + 60;
        const on = (made) => scroll.dispatchEvent(made), pointer = { clientX: x, clientY: y, cancelable: true };
        const wheel = by => on(new WheelEvent("wheel", { ...pointer, deltaY: by }));
        const point = (name, to) => on(new PointerEvent(name, { ...pointer, clientX: to, bubbles: true }));
        const under = () => (x - drawing.getBoundingClientRect().left) / +drawing.getAttribute("width");
        const before = under();
        see("start"); see("in", () => wheel(-300));
        seen.drift = Math.abs(under() - before) * seen.in.width;
        see("dragged", () => { point("pointerdown", x); point("pointermove", x - 120); point("pointerup", x - 120); });
        see("after", () => point("pointermove", x + 300));
        see("out", () => { for (let n = 0; n < 30; n++) wheel(300); });""",
    )
    assert seen["in"]["width"] > 2 * seen["start"]["width"]
    assert seen["drift"] < 2, "what is under the pointer stays there"
    assert seen["dragged"]["left"] == pytest.approx(seen["in"]["left"] + 120, abs=1)
    assert seen["after"]["left"] == seen["dragged"]["left"], "it was let go"
    assert seen["out"]["width"] <= seen["out"]["room"]


def test_what_a_history_holds_never_runs_and_a_narrow_window_does(tmp_path: Path) -> None:
    events = [
        event
        for number, (f, value, result) in enumerate(
            [("write", HOSTILE, HOSTILE), ("write", HOSTILE + "2", None), ("read", None, HOSTILE)]
        )
        for event in operation(number, HOSTILE, f, value, result)
    ]
    text = explained([{**event, "key": HOSTILE} for event in events])
    seen = play(text, tmp_path, 'see("start"); see("hover", () => key("End"));', width=500)
    assert seen["title"].startswith("Not linearizable")
    assert seen["images"] == 0
    assert "onerror" in seen["hover"]["tip"], "it is told as it is"
    assert not seen["sideways"]
