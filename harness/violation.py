"""What people are told of a violation: the scenario, what was violated in words, the bundle, how to see it again."""

import os
import shlex
import textwrap
from collections.abc import Iterable
from pathlib import Path

from chaos.plan import Plan, scenario_of
from chaos.signature import Signature
from chaos.verdict import Judgement, Verdict
from harness.cluster import RunOptions


def violation_words(
    plan: Plan,
    signature: Signature,
    judgements: Iterable[Judgement],
    *,
    options: RunOptions,
    bundle: Path,
    how_found: str = "",
    replay: str | None = None,
) -> str:
    """A message of some lines. ``how_found`` says how the scenario shown was come by, ``replay`` how the failure is
    seen again where that is not by `mcp-chaos replay`.
    """
    bugs = f"bug{'s' * (len(options.plants) > 1)} {' and '.join(options.plants)}"
    planted = f", with the planted {bugs}" if options.plants else ""
    broken = [judged for judged in judgements if judged.verdict is Verdict.INVALID]
    steps, nodes = len(plan.steps), plan.nodes
    size = f"{steps} fault{'s' * (steps != 1)}, {nodes} node{'s' * (nodes != 1)}"
    return "\n".join(
        [
            f"{plan.scenario} violated {' and '.join(judged.check for judged in broken)} on {options.backend}{planted}",
            *(f"  {judged.check}: {judged.reason}" for judged in broken),
            "",
            f"The scenario, {size}{', ' * bool(how_found)}{how_found}:",
            "",
            textwrap.indent(scenario_of(plan), "    ").rstrip(),
            "",
            f"Signature: {signature}",
            f"Bundle:    {shown(bundle)}",
            f"Replay:    {replay or f'mcp-chaos replay {shlex.quote(shown(bundle))}'}",
        ]
    )


def shown(path: Path) -> str:
    """A path as short as it can be while it still works from here."""
    absolute = path.resolve()
    relative = os.path.relpath(absolute)
    return relative if not relative.startswith("..") else str(absolute)
