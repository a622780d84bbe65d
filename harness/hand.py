"""A simulated cluster driven by hand, call by call, and judged at the end like any run.

    with ClusterByHand(nodes=3, plants=["stale-read"]) as cluster:
        cluster.advance("2s")
        cluster.isolate("leader", for_="4s")
        cluster.advance("5s")

Faults by hand are a list of steps and times, and so a plan: a violation is kept as a bundle that `mcp-chaos replay`
carries out again, and as a scenario file. (Operations by hand, `read`, `write` and `cas`, are judged like any other,
but no plan holds them: such a run repeats by being done again.) Times are durations as scenarios have them; they
count from the plan's time 0, when the cluster is founded, has a leader, and its clients begin to work.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from chaos._core import START_NS, RejectedError, World, simulate
from chaos.document import Document
from chaos.errors import ScenarioError, UsageError
from chaos.generate import Sampler, draw_plan
from chaos.holes import closed
from chaos.plan import Plan, describe
from chaos.scenario import CHECKS, MOST_OPERATIONS, MOST_STEPS, validated
from chaos.signature import Signature, signature_of
from chaos.units import UnitError, format_duration, parse_duration
from chaos.verdict import Judgement, RunVerdict, Verdict
from harness.cluster import Json, RunOptions, RunResult
from harness.hunt.search import error_of
from harness.run import Finished, judge_result, keep
from harness.trial import Trial
from harness.violation import violation_words

_LONGEST_NS: Final = parse_duration("60m")
_SHORTEST_NS: Final = parse_duration("1ms")
"""No fault of a scenario is shorter."""
_TAIL_NS: Final = parse_duration("3s")
"""How long clients go on working after the last heal, so that recovery is seen."""
_FIRST_VALUE: Final = 900_000_001
"""What is written by hand; the workload's clients write millions of their own."""
_OURS: Final = ("version", "scenario", "seed", "heal", "faults", "sometimes", "examples", "tags")
"""Keys of a scenario that the calls themselves say."""


@dataclass(frozen=True)
class _Fault:
    """A fault that was done: its step as a closed scenario has it, and when it was done."""

    at_ns: int
    step: Json
    lasts: bool

    @property
    def for_ns(self) -> int | None:
        return parse_duration(self.step["for"]) if "for" in self.step else None

    @property
    def end_ns(self) -> float:
        """When it ends; infinity for one that stands until it is healed."""
        if not self.lasts:
            return self.at_ns
        return math.inf if self.for_ns is None else self.at_ns + self.for_ns

    def ending(self, at_ns: int) -> "_Fault":
        """The same, over by then."""
        if self.end_ns <= at_ns:
            return self
        return replace(self, step={**self.step, "for": format_duration(at_ns - self.at_ns)})


@dataclass
class _Operation:
    """An operation that was begun: at what time, what, and how it ended, as far as is known."""

    at_ns: int
    what: Json
    outcome: Json | None = None


class ClusterByHand:
    """One simulated cluster, driven by hand. A context manager: at its end the run is finished and judged."""

    def __init__(
        self,
        *,
        nodes: int = 3,
        plants: Sequence[str] = (),
        seed: int = 0,
        name: str = "by-hand",
        out: Path = Path("chaos-runs"),
        **sections: Any,
    ) -> None:
        """Founds the cluster, and lets it come to its plan's time 0.

        ``plants``: planted bugs (`mcp-chaos plants`). ``seed``: of all that chance decides. ``name``: what bundles
        are called by. ``out``: where a bundle goes. ``sections``: any of a scenario's ``workload``, ``network``,
        ``disk``, ``cluster``, ``checks``, ``limits``, ``about``, in the words of scenarios/README.md. Raises
        ScenarioError for what no scenario may say, UsageError for an unknown planted bug.
        """
        refused = [key for key in _OURS if key in sections]
        if refused or "duration" in (sections.get("workload") or {}):
            what = refused[0] if refused else "workload.duration"
            raise UsageError(f"by hand: {what} is not given: the calls say it")
        cluster = {"nodes": nodes, **(sections.pop("cluster", None) or {})}
        data = {"version": 1, "scenario": name, "seed": seed, "cluster": cluster, **sections}
        self._seed = seed
        self._base: Json = data
        self._base = self._plan("by hand", [], _SHORTEST_NS, parse_duration("1s")).document
        rate = max(
            1, closed(self._plan("by hand", [], _SHORTEST_NS, parse_duration("1s")).closed.workload.rate)
        )
        self._most_ns = min(_LONGEST_NS, MOST_OPERATIONS * 10**12 // int(rate))
        self._options = RunOptions(backend="sim", plants=tuple(plants), out=out)
        self._calls: list[_Fault | _Operation] = []
        self._applied = 0
        self._expected: tuple[str, ...] = ()
        self._finished: tuple[Plan, RunResult, RunVerdict, datetime] | None = None
        self._kept: Finished | None = None
        try:
            self._world = self._carried_out(self._plan_so_far(), 0)
        except ValueError as error:
            raise UsageError(f"by hand: the simulator refuses: {error}") from error

    @property
    def _faults(self) -> list[_Fault]:
        return [call for call in self._calls if isinstance(call, _Fault)]

    @property
    def _operations(self) -> list[_Operation]:
        return [call for call in self._calls if isinstance(call, _Operation)]

    # What is

    @property
    def now_ns(self) -> int:
        """The virtual time since the plan's time 0, in nanoseconds."""
        return self._world.now_ns - START_NS

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        nodes: int = self._base["cluster"]["nodes"]
        return nodes

    @property
    def leader(self) -> str | None:
        """Who leads: of the live nodes that call themselves leader, the one with the greatest term."""
        leader: str | None = self.observe()["leader"]
        return leader

    def observe(self) -> Json:
        """What `World.observe` tells: for each node its process, disk, replica and log; links cut or slow."""
        self._refuse_if_over()
        observed: Json = json.loads(self._world.observe())
        return observed

    # What is done

    def advance(self, span: str) -> None:
        """Lets time pass. Raises UsageError for no duration, or if the run were to last longer than 60 minutes."""
        self._advance(_duration("advance", span))

    def wait_for(self, condition: Callable[[], object], *, within: str = "10s", every: str = "20ms") -> None:
        """Lets time pass until the condition holds. Raises AssertionError if it does not ``within`` that time."""
        until_ns = self.now_ns + _duration("within", within)
        pace_ns = max(1, _duration("every", every))
        while not condition():
            if self.now_ns >= until_ns:
                raise AssertionError(f"what was waited for did not happen within {within} of simulated time")
            self._advance(min(pace_ns, until_ns - self.now_ns))

    def apply(self, step: Mapping[str, Any]) -> Json:
        """Does a fault now, in a scenario's words: ``{"partition": {"isolate": "leader"}, "for": "1s"}``.

        Without ``for`` it stands until `heal`. Gives its nemesis record. One that comes at the very moment at
        which another ends comes a millisecond later, as in a plan's order. Raises ScenarioError for no fault,
        UsageError if the cluster's state does not allow it (nobody leads) and it is not ``optional``.
        """
        self._refuse_if_over()
        given = [key for key in ("at", "on") if key in step]
        if given:
            raise UsageError(f"apply: found `{given[0]}`, expected none: by hand a fault is done now")
        if len(self._faults) >= MOST_STEPS:
            raise UsageError(f"apply: found {MOST_STEPS} faults already, the most that one run may have")
        if any(fault.end_ns == self.now_ns for fault in self._faults if fault.lasts):
            self._advance(_SHORTEST_NS)
        at_ns = self.now_ns
        steps = [*(fault.step for fault in self._faults), {"at": format_duration(at_ns), **step}]
        plan = self._plan("apply", steps, self._most_ns, self._most_ns)
        compiled = {**plan.compiled()["steps"][-1], "id": self._applied}
        self._applied += 1
        try:
            record: Json = json.loads(self._world.apply(json.dumps(compiled)))
        except RejectedError as error:
            raise UsageError(f"apply: {error}") from None
        if record["status"] == "done":
            self._calls.append(_Fault(at_ns, plan.document["faults"][-1], plan.steps[-1].fault.lasts))
        elif plan.steps[-1].fixed:
            raise UsageError(f"apply: could not {describe(plan.steps[-1])}: {record.get('reason')}")
        return record

    def isolate(self, nodes: str | Sequence[str], for_: str | None = None) -> Json:
        """Cuts nodes off from the others, but not from their clients: short for `apply` of a partition."""
        target = nodes if isinstance(nodes, str) else list(nodes)
        return self.apply({"partition": {"isolate": target}} | ({} if for_ is None else {"for": for_}))

    def heal(self) -> None:
        """Ends every fault that is in force; one begun just now stands for a millisecond."""
        self._refuse_if_over()
        standing = [fault for fault in self._faults if fault.end_ns > self.now_ns]
        if not standing:
            return
        shortest_end_ns = max(fault.at_ns for fault in standing) + _SHORTEST_NS
        self._advance(max(0, shortest_end_ns - self.now_ns))
        now_ns = self.now_ns
        # How long a fault stands is said when it begins. So the run so far is carried out once more, to this
        # moment: the simulator is exact, and draws hang on what they are for, so all else is as it was.
        self._calls = [call.ending(now_ns) if isinstance(call, _Fault) else call for call in self._calls]
        self._world = self._carried_out(self._plan_so_far(), now_ns)

    # What clients do, beside the workload

    def read(self, key: str = "k0", node: str | None = None) -> Json:
        """Reads a register and waits for the answer: ``{"type": "ok", "value": 5, "error": None, …}``.

        ``node`` is asked and no other, if it is given. ``type`` is ``ok``, ``fail`` or ``info`` (docs/formats.md).
        """
        return self._ended(self.operate("read", key, node=node))

    def write(self, key: str = "k0", value: int | None = None, node: str | None = None) -> Json:
        """Writes a value (by default one that nobody else writes) and waits until it is known what came of it."""
        return self._ended(self.operate("write", key, value, node=node))

    def cas(self, key: str, expected: int | None, value: int | None = None, node: str | None = None) -> Json:
        """Writes if the register holds what is expected (None: never written), and waits as `write` does."""
        return self._ended(self.operate("cas", key, value, expected, node=node))

    def operate(
        self,
        f: str,
        key: str = "k0",
        value: int | None = None,
        expected: int | None = None,
        *,
        node: str | None = None,
    ) -> int:
        """Begins a ``read``, ``write`` or ``cas`` and lets no time pass; its number is for `outcome`.

        Raises UsageError for none of these, an unknown register, an unknown node.
        """
        self._refuse_if_over()
        what: Json = {"f": f, "key": key}
        if f in {"write", "cas"}:
            what["value"] = _FIRST_VALUE + len(self._operations) if value is None else value
        what |= {"expected": expected} if f == "cas" else {}
        what |= {} if node is None else {"node": node}
        try:
            number = self._world.operate(json.dumps(what))
        except ValueError as error:
            raise UsageError(str(error)) from None
        self._calls.append(_Operation(self.now_ns, what))
        return number

    def outcome(self, number: int) -> Json | None:
        """How an operation ended; None while it is under way."""
        operation = self._operations[number]
        if operation.outcome is None and self._finished is None:
            told = self._world.outcome(number)
            operation.outcome = None if told is None else json.loads(told)
        return operation.outcome

    def _ended(self, number: int) -> Json:
        timeout_ns = parse_duration(self._base["workload"]["operation_timeout"])
        within = format_duration(timeout_ns + parse_duration("1s"))  # by then the client has given it up
        self.wait_for(lambda: self.outcome(number), within=within, every="1ms")
        outcome = self.outcome(number)
        assert outcome is not None
        return outcome

    # What came of it

    def expect(self, check: str) -> None:
        """The run is to violate this check: then that is no failure, and its absence is one."""
        if check not in CHECKS:
            raise UsageError(f"expect: found {check!r}, expected a check: {', '.join(CHECKS)}")
        self._expected = (*self._expected, check)

    def finish(self) -> RunVerdict:
        """Heals, lets the cluster recover, and judges the run. Repeatable; nothing else may be called after it."""
        if self._finished is None:
            started_at = datetime.now(UTC)
            latest_ns = max((fault.at_ns for fault in self._faults), default=0)
            heal_ns = max(self.now_ns, latest_ns + _SHORTEST_NS)
            steps = [
                fault.ending(heal_ns).step if fault.for_ns is not None else fault.step
                for fault in self._faults
            ]
            plan = self._plan("finish", steps, heal_ns, heal_ns + _TAIL_NS)
            for number in range(len(self._operations)):
                self.outcome(number)
            evidence = self._carried_out(plan).finish()
            result = RunResult(backend="sim", evidence=evidence)
            if self._operations:
                lines = (json.dumps(asdict(operation)) for operation in self._operations)
                result.logs["by-hand"] = "".join(f"{line}\n" for line in lines).encode()
            self._finished = plan, result, judge_result(plan, result), started_at
        return self._finished[2]

    @property
    def trial(self) -> Trial:
        """The run, judged. Finishes it."""
        self.finish()
        assert self._finished is not None
        plan, result, verdict, _ = self._finished
        return Trial(plan, result, verdict)

    @property
    def plan(self) -> Plan:
        """The run as a plan. Finishes it."""
        self.finish()
        assert self._finished is not None
        return self._finished[0]

    @property
    def signature(self) -> Signature | None:
        """What was violated, and how; None if nothing was. Finishes the run."""
        return signature_of(self.finish().judgements)

    def keep(self) -> Finished:
        """Writes the run's bundle, once. Finishes the run."""
        self.finish()
        if self._kept is None:
            assert self._finished is not None
            plan, result, verdict, started_at = self._finished
            self._kept = keep(plan, self._options, result, verdict, started_at)
        return self._kept

    def check(self, *, keep: bool = True) -> None:
        """Finishes the run and fails if it violated what it was not expected to, or showed nothing.

        Raises the exception class of the failure's signature with what was violated in words, the run as a
        scenario, and where its bundle is (only its name, and no bundle, without ``keep``); AssertionError for an
        unknown verdict, which is never a pass, and for an expected violation that did not come.
        """
        verdict = self.finish()
        broken = [judged for judged in verdict.judgements if judged.verdict is Verdict.INVALID]
        unexpected = [judged for judged in broken if judged.check not in self._expected]
        missing = set(self._expected) - {judged.check for judged in broken}
        if unexpected:
            signature = signature_of(unexpected)
            assert signature is not None
            raise error_of(signature)(self._violation(signature, unexpected) if keep else str(signature))
        if missing:
            raise AssertionError(f"expected a violation of {', '.join(sorted(missing))}, found none")
        if not broken and verdict.verdict is not Verdict.VALID:
            raise AssertionError("\n".join(["unknown, which is never a pass:", *_doubts(verdict)]))

    def _violation(self, signature: Signature, broken: Sequence[Judgement]) -> str:
        kept = self.keep()
        assert self._finished is not None
        plan, result, _, _ = self._finished
        exact = simulate(plan.compiled_json(), self._options.plants).trace_hash == result.evidence.trace_hash
        return violation_words(
            plan,
            signature,
            broken,
            options=self._options,
            kept=kept,
            replay=None if exact else "by running this again: operations by hand are no part of a plan",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.check()

    # How it is carried out

    def _refuse_if_over(self) -> None:
        if self._finished is not None:
            raise UsageError("this run is finished: make a new cluster")

    def _advance(self, span_ns: int) -> None:
        self._refuse_if_over()
        until_ns = self.now_ns + span_ns
        if until_ns > self._most_ns - _SHORTEST_NS:
            raise UsageError(f"advance: a run may last {format_duration(self._most_ns)} at most")
        self._world.advance(START_NS + until_ns)

    def _plan_so_far(self) -> Plan:
        """The run as it stands, with no end in sight."""
        return self._plan("by hand", [fault.step for fault in self._faults], self._most_ns, self._most_ns)

    def _plan(self, source: str, steps: Sequence[Mapping[str, Any]], heal_ns: int, duration_ns: int) -> Plan:
        data = {
            **self._base,
            "workload": {**(self._base.get("workload") or {}), "duration": format_duration(duration_ns)},
            "heal": format_duration(heal_ns),
            "faults": [dict(step) for step in steps],
        }
        document = Document(source, data, overridden={(): source})
        try:
            return draw_plan(validated(document), Sampler(self._seed))
        except ScenarioError as error:
            raise ScenarioError(str(error).replace(f"faults[{len(steps) - 1}].", "")) from None

    def _carried_out(self, plan: Plan, until_ns: int | None = None) -> World:
        """A world in which all of the plan's steps were done by hand, at their times; advanced to ``until_ns``."""
        compiled = plan.compiled()
        world = World(json.dumps({**compiled, "steps": []}), self._options.plants)
        steps = iter(compiled["steps"])
        for call in self._calls:
            world.advance(START_NS + call.at_ns)
            if isinstance(call, _Fault):
                world.apply(json.dumps(next(steps)))
            else:
                world.operate(json.dumps(call.what))
        self._applied = len(self._faults)
        if until_ns is not None:
            world.advance(START_NS + until_ns)
        return world


def _duration(what: str, text: str) -> int:
    try:
        return parse_duration(text)
    except UnitError as error:
        raise UsageError(f"{what}: found {text!r}, expected {error.expected}") from None


def _doubts(verdict: RunVerdict) -> list[str]:
    unknown = [
        f"{judged.check}: {judged.reason}"
        for judged in verdict.judgements
        if judged.verdict is Verdict.UNKNOWN
    ]
    return [*verdict.doubts, *verdict.harness_failures, *unknown]
