"""The verb `run`: scenario file → plan → cluster → evidence → verdict → bundle. The main loop is `run_plan`."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chaos.bundle import Manifest
from chaos.checks import judge
from chaos.errors import ScenarioError, UsageError
from chaos.generate import Sampler, draw_plan
from chaos.plan import Plan, scenario_of
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
            "nemesis": [json.loads(line) for line in self.bundle.text("nemesis.jsonl").splitlines()],
            "timings": self.bundle.manifest.timings,
            **self.verdict.to_dict(),
        }


def run_plan(plan: Plan, options: RunOptions, progress: Progress) -> Finished:
    """Carries one plan out and keeps what it left. Raises ChaosError only where there is nothing to keep."""
    started_at = datetime.now(UTC)
    result = run_on(plan, options, progress)
    progress("judging")
    verdict = judge_result(plan, result)
    bundle = keep(plan, options, result, verdict, started_at)
    return Finished(bundle, verdict)


def judge_result(plan: Plan, result: RunResult) -> RunVerdict:
    """The verdict over all the plan's checks.

    A run that the harness could not finish is judged by safety alone: what it did see counts, but nothing
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
    complete = not failures and not result.interrupted
    judgements = judge(result.evidence, plan, complete=complete)
    return RunVerdict(judgements, tuple(doubts), tuple(failures), result.interrupted)


def keep(
    plan: Plan, options: RunOptions, result: RunResult, verdict: RunVerdict, started_at: datetime
) -> Bundle:
    """Writes the bundle of a run."""
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
    name = f"{plan.scenario}-{options.backend}-{plan.seed}-{started_at:%Y%m%dT%H%M%SZ}"
    return open_bundle(write_bundle(options.out, name, manifest, files))


def worst_exit_code(verdicts: Iterable[RunVerdict]) -> int:
    """Of several runs: 130 if interrupted, 1 if any is invalid, else 4, else 3, else 0."""
    codes = {verdict.exit_code for verdict in verdicts}
    for code in (EXIT_INTERRUPTED, EXIT_INVALID, EXIT_HARNESS, EXIT_UNKNOWN):
        if code in codes:
            return code
    return EXIT_VALID


def scenario_files(paths: Sequence[Path]) -> list[Path]:
    """Files as given; of a directory, the YAML files below it that begin a scenario. Raises UsageError."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.rglob("*.y*ml") if file.suffix in {".yaml", ".yml"})
            if not found:
                raise UsageError(f"{path}: no scenario in this directory; expected files that end in .yaml")
            files += found
        else:
            files.append(path)
    return files


def read_scenario_text(path: Path) -> str:
    """The file's text. Raises ScenarioError if it is missing, too large, or not UTF-8."""
    try:
        if path.stat().st_size > _MAX_SCENARIO_BYTES:
            raise ScenarioError(
                f"{path}:1:1: larger than {_MAX_SCENARIO_BYTES >> 20} MiB; expected a scenario"
            )
        content = path.read_bytes()
    except OSError as error:
        raise ScenarioError(f"{path}:1:1: cannot be read: {error.strerror or error}") from error
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        raise ScenarioError(
            f"{path}:{line}:{column}: expected UTF-8 text, found byte {content[error.start]:#04x}"
        ) from error


def load_plan(path: Path, seed: int, overrides: Sequence[str] = ()) -> Plan:
    """The plan that ``seed`` draws from the scenario at ``path``. Raises ScenarioError."""
    scenario = load_scenario(read_scenario_text(path), str(path), overrides)
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
