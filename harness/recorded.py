"""A bundle's run as values: its plan, and its records."""

from pathlib import Path

from chaos._core import Evidence
from chaos.errors import BundleError
from chaos.plan import Plan
from chaos.signature import signature_of
from chaos.timeline import Records
from harness.store import Bundle

_TRACE = "trace/"


def plan_of(bundle: Bundle) -> Plan:
    """Raises BundleError if the plan is absent, damaged or no plan."""
    return Plan.from_json(bundle.text("plan.json"), str(bundle.path / "plan.json"))


def anchors_of(bundle: Bundle) -> dict[int, str]:
    """By which node each step's targets were found when it was carried out."""
    return {
        record["step"]: record["anchor"]
        for record in bundle.records("nemesis.jsonl")
        if record.get("phase") == "install"
        and isinstance(record.get("step"), int)
        and isinstance(record.get("anchor"), str)
    }


def records_of_run(evidence: Evidence) -> Records:
    """All that a run left that is in no bundle yet."""
    return Records.parse(
        evidence.history_jsonl(),
        {node: evidence.trace_jsonl(node) for node in evidence.nodes},
        evidence.nemesis_jsonl(),
    )


def records_of(bundle: Bundle) -> Records:
    """All that the run left. Raises BundleError if a file is damaged, or if no node left a trace."""
    traces = {Path(name).stem: bundle.text(name) for name in bundle.names(_TRACE)}
    if not any(traces.values()):
        raise BundleError(
            f"{bundle.path}: this bundle has no trace of any node, expected {_TRACE}NODE.jsonl: without them nobody "
            "can say what the nodes did"
        )
    try:
        return Records.parse(bundle.text("history.jsonl"), traces, bundle.text("nemesis.jsonl"))
    except ValueError as error:
        raise BundleError(f"{bundle.path}: a record is no JSON: {error}") from error


def headline(bundle: Bundle) -> str:
    """``random-mix on sim, seed 0, planted vote-not-durable: invalid (monotonic/term-back)``."""
    manifest = bundle.manifest
    planted = f", planted {', '.join(manifest.plants)}" if manifest.plants else ""
    verdict = bundle.verdict
    signature = signature_of(verdict.judgements)
    ended = f"invalid ({signature})" if signature else verdict.verdict.value
    return f"{manifest.scenario} on {manifest.backend}, seed {manifest.seed}{planted}: {ended}"
