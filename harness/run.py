"""The verb `run`: scenario file → plan → cluster → evidence → verdict → bundle. The main loop is `run_plan`."""

import json
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chaos.bundle import Manifest
from chaos.checks import judge
from chaos.errors import ScenarioError, UnsupportedError, UsageError
from chaos.generate import Sampler, draw_plan
from chaos.plan import Plan, scenario_of
from chaos.portable import Support, restricted
from chaos.scenario import load_scenario
from chaos.verdict import EXIT_HARNESS, EXIT_INTERRUPTED, EXIT_INVALID, EXIT_UNKNOWN, EXIT_VALID, RunVerdict
from harness.backends import run_on
from harness.cluster import RunOptions, RunResult
from harness.store import Bundle, open_bundle, write_bundle

Progress = Callable[[str], None]

_SEEDS_TRIED_BY_VALIDATE = 20
_MAX_SCENARIO_BYTES = 1 << 20


@dataclass(frozen=True)
class Finished:
    """One run, judged and kept."""

    bundle: Bundle
    verdict: RunVerdict
    rescued_because: str | None = None
    """Why the bundle does not lie where it was to lie; None if it does."""

    @property
    def exit_code(self) -> int:
        """The verdict's; but 4 for a run that broke nothing and whose bundle could not be written in its place."""
        code = self.verdict.exit_code
        return EXIT_HARNESS if self.rescued_because and code in {EXIT_VALID, EXIT_UNKNOWN} else code

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``: the verdict, the summary, and where the bundle lies."""
        return {
            "scenario": self.bundle.manifest.scenario,
            "backend": self.bundle.manifest.backend,
            "seed": self.bundle.manifest.seed,
            "plan_id": self.bundle.manifest.plan_id,
            "trace_hash": self.bundle.manifest.trace_hash,
            "bundle": str(self.bundle.path),
            "summary": json.loads(self.bundle.text("summary.json")),
            "nemesis": self.bundle.records("nemesis.jsonl"),
            "timings": self.bundle.manifest.timings,
            **self.verdict.to_dict(),
            "exit_code": self.exit_code,
            "rescued_because": self.rescued_because,
        }


def run_plan(plan: Plan, options: RunOptions, progress: Progress) -> Finished:
    """Carries one plan out and keeps what it left. Raises ChaosError only where there is nothing to keep."""
    started_at = datetime.now(UTC)
    result = run_on(plan, options, progress)
    progress("judging")
    verdict = judge_result(plan, result)
    return keep(plan, options, result, verdict, started_at)


def judge_result(plan: Plan, result: RunResult) -> RunVerdict:
    """The verdict over all the plan's checks.

    A run that the harness did not finish is judged by safety alone: what it did see counts, but nothing
    can be said of recovery or availability.
    """
    nemesis = [json.loads(line) for line in result.evidence.nemesis_jsonl().splitlines()]
    doubts = [
        f"step {record['step']} ({record['kind']}) is fixed by the scenario but was skipped: {record['reason']}"
        for record in nemesis
        if record["fixed"] and record["phase"] == "install" and record["status"] == "skipped"
    ]
    failures = [
        f"step {record['step']} ({record['kind']}, {record['phase']}) failed: {record['reason']}"
        for record in nemesis
        if record["status"] == "failed"
    ]
    failures += result.problems
    complete = not failures and not result.cut_short
    judgements = judge(result.evidence, plan, complete=complete)
    return RunVerdict(judgements, tuple(doubts), tuple(failures), result.interrupted)


def keep(
    plan: Plan,
    options: RunOptions,
    result: RunResult,
    verdict: RunVerdict,
    started_at: datetime,
    name: str | None = None,
) -> Finished:
    """Writes the bundle of a run, under a name that says what it was of unless one is given."""
    evidence = result.evidence
    simulated = options.backend == "sim"
    summary = json.loads(evidence.summary()) | {"stats": evidence.stats, "info": result.info}
    files = {
        "plan.json": (plan.to_json() + "\n").encode(),
        "scenario.yaml": scenario_of(plan).encode(),
        "history.jsonl": evidence.history_jsonl(),
        "nemesis.jsonl": evidence.nemesis_jsonl(),
        "verdict.json": (json.dumps(verdict.to_dict(), indent=2, ensure_ascii=False) + "\n").encode(),
        "summary.json": (json.dumps(summary, indent=2) + "\n").encode(),
        **{f"trace/{node}.jsonl": evidence.trace_jsonl(node) for node in evidence.nodes},
        **{f"logs/{name}.log": text for name, text in result.logs.items()},
        **{f"data/{node}.tar": content for node, content in result.data.items()},
    }
    manifest = Manifest(
        scenario=plan.scenario,
        plan_id=plan.plan_id,
        seed=plan.seed,
        backend=options.backend,  # type: ignore[arg-type]  # run_on has refused every other name
        plants=list(options.plants),
        trace_hash=evidence.trace_hash if simulated else None,
        started_at=started_at.isoformat(timespec="milliseconds"),
        builds={"mcp-chaos": version("mcp-chaos")} | result.builds,
        timings=result.timings,
    )
    name = name or f"{plan.scenario}-{options.backend}-{plan.seed}-{started_at:%Y%m%dT%H%M%SZ}"
    path, rescued_because = write_bundle(options.out, name, manifest, files)
    return Finished(open_bundle(path), verdict, rescued_because)


def worst_exit_code(runs: Iterable[Finished]) -> int:
    """Of several runs: 130 if interrupted, 1 if any is invalid, else 4, else 3, else 0."""
    codes = {run.exit_code for run in runs}
    for code in (EXIT_INTERRUPTED, EXIT_INVALID, EXIT_HARNESS, EXIT_UNKNOWN):
        if code in codes:
            return code
    return EXIT_VALID


def scenario_files(paths: Sequence[Path]) -> list[Path]:
    """Files as given; of a directory, the YAML files below it, hidden folders left out. Raises UsageError."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(
                file
                for file in path.rglob("*")
                if file.suffix in {".yaml", ".yml"}
                and not any(part.startswith(".") for part in file.relative_to(path).parts)
            )
            if not found:
                raise UsageError(
                    f"{path}: no scenario in this directory; expected files that end in .yaml or .yml"
                )
            files += found
        else:
            files.append(path)
    return files


def read_scenario_text(path: Path) -> str:
    """The file's text. Raises ScenarioError if it is missing, no regular file, too large, or not UTF-8."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait, a device never ends
            raise ScenarioError(f"{path}:1:1: found no regular file, expected a scenario")
        with path.open("rb") as file:
            content = file.read(_MAX_SCENARIO_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ScenarioError(
            f"{path}:1:1: cannot be read: {reason}. Expected the path of a scenario file"
        ) from error
    if len(content) > _MAX_SCENARIO_BYTES:
        raise ScenarioError(f"{path}:1:1: larger than {_MAX_SCENARIO_BYTES >> 20} MiB; expected a scenario")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        found = f"byte {content[error.start]:#04x}"
        raise ScenarioError(f"{path}:{line}:{column}: expected UTF-8 text, found {found}") from error


def load_plan(path: Path, seed: int, overrides: Sequence[str] = (), support: Support | None = None) -> Plan:
    """The plan that ``seed`` draws from the scenario at ``path``, or from the part of it that has ``support``.

    Raises ScenarioError; UnsupportedError if the scenario fixes what has no support.
    """
    scenario = load_scenario(read_scenario_text(path), str(path), overrides)
    if support is not None:
        try:
            scenario = restricted(scenario, support)
        except UnsupportedError as error:
            raise UnsupportedError(f"{path} is not portable: {error}") from error
    return draw_plan(scenario, Sampler(seed))


def validate_file(path: Path) -> dict[str, Any]:
    """What `validate` says of one file: ``{"file", "valid", "holes"}`` or ``{"file", "valid", "error"}``."""
    try:
        scenario = load_scenario(read_scenario_text(path), str(path))
        for seed in range(_SEEDS_TRIED_BY_VALIDATE):
            draw_plan(scenario, Sampler(seed))
    except ScenarioError as error:
        return {"file": str(path), "valid": False, "error": str(error)}
    return {"file": str(path), "valid": True, "scenario": scenario.name, "holes": scenario.hole_count}
