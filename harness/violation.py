"""What people are told of a violation: the scenario, what was violated in words, the bundle, how to see it again."""

import shlex
import textwrap
from collections.abc import Iterable

from chaos.plan import Plan, scenario_of
from chaos.signature import Signature
from chaos.timeline import counted
from chaos.verdict import Judgement, Verdict
from harness.account import shown_path
from harness.cluster import RunOptions
from harness.run import Finished


def violation_words(
    plan: Plan,
    signature: Signature,
    judgements: Iterable[Judgement],
    *,
    options: RunOptions,
    kept: Finished,
    how_found: str = "",
    replay: str | None = None,
) -> str:
    """A message of some lines. ``how_found`` says how the scenario shown was come by, ``replay`` how the failure is
    seen again where that is not by `mcp-chaos replay`: then there is nothing to explain either, for an explanation
    replays too.
    """
    bugs = f"bug{'s' * (len(options.plants) > 1)} {' and '.join(options.plants)}"
    planted = f", with the planted {bugs}" if options.plants else ""
    broken = [judged for judged in judgements if judged.verdict is Verdict.INVALID]
    run = "".join(f" --plant {plant}" for plant in options.plants)
    scenario = (f"# mcp-chaos run FILE{run}\n" if run else "") + scenario_of(plan)
    bundle = shlex.quote(shown_path(kept.bundle.path))
    size = f"{counted(len(plan.steps), 'fault')}, {counted(plan.nodes, 'node')}"
    return "\n".join(
        [
            f"{plan.scenario} violated {' and '.join(judged.check for judged in broken)} on {options.backend}{planted}",
            *(f"  {judged.check}: {judged.reason}" for judged in broken),
            "",
            f"The scenario, {size}{', ' * bool(how_found)}{how_found}:",
            "",
            textwrap.indent(scenario, "    ").rstrip(),
            "",
            f"Signature: {signature}",
            *bundle_lines(kept),
            f"Replay:    {replay or f'mcp-chaos replay {bundle}'}",
            *([] if replay else [f"Explain:   mcp-chaos explain {bundle}"]),
        ]
    )


def bundle_lines(kept: Finished) -> list[str]:
    """Where the bundle lies, and why not where it was to."""
    because = [] if kept.rescued_because is None else [f"           {kept.rescued_because}"]
    return [f"Bundle:    {shown_path(kept.bundle.path)}", *because]
