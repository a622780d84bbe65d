"""What every backend offers: the `Cluster` protocol, what each backend supports, and a run's result.

A backend knows how to do things to nodes and links; it knows no plans. Which step does what, when, and how
overlapping steps compose is :mod:`harness.nemesis`'s part, once for all backends that run in real time.
"""

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from chaos.errors import UnsupportedError, UsageError
from chaos.faults import KINDS
from chaos.portable import Support, action_of

if TYPE_CHECKING:
    from chaos._core import Evidence

Json = dict[str, Any]
"""A JSON object."""

Link = tuple[str, str]
"""A directed link, from and to: node names, or :data:`CLIENTS` for the side of the clients."""

CLIENTS = "clients"

PLAN_START_NS = 3_000_000_000
"""Where the plan's time 0 lies on the record's clock, on every backend: start-up comes before it."""

_ACTIONS = frozenset(map(action_of, KINDS))
"""Every `do` of a compiled step."""

_TCP: Final = "TCP delivers every byte once and in order, or breaks the connection"
_NO_SPARES: Final = "no container is kept ready beside the cluster, and nobody acts as its administrator"
_SLOW_DISK: Final = "the disk below a container is the machine's own, and no layer between can be slowed"
_CLOCK: Final = "containers share the machine's clocks, and the node reads them by itself"
_SIM_ONLY: Final = {
    "power_off": "killing a container keeps what the page cache holds, so no unsynced write is lost",
    "drop": _TCP,
    "duplicate": _TCP,
    "reorder": _TCP,
    "clock_offset": _CLOCK,
    "clock_jump": _CLOCK,
    "clock_drift": _CLOCK,
    "lying_fsync": "the disk below a container is the machine's own, and a kill keeps what its cache holds",
    "corrupt": "the harness writes no node's files",
    "wiped": "a node would come back as one that was never founded: the harness does not tell it that it was",
    "slow_node": "an engine's share of the processor is not a time for each input",
    "slow_disk": _SLOW_DISK,
    "slow_sync": _SLOW_DISK,
    "full_disk": "the disk below a container is the machine's own, and everybody's",
    "disk_error": "the disk below a container is the machine's own, and works",
    "add_node": _NO_SPARES,
    "remove_node": "the harness sends no administrator to containers",
    "replace_node": _NO_SPARES,
    "snapshot_now": "the harness does not ask containers' nodes for snapshots",
}
"""Actions that only the simulator has: why Docker has not."""

SUPPORT: Mapping[str, Support] = {
    "sim": Support(_ACTIONS, events=True, loss=True, spares=True),
    "docker": Support(
        _ACTIONS - _SIM_ONLY.keys(),
        events=False,
        loss=False,
        spares=False,
        because={
            **_SIM_ONLY,
            "spares": _NO_SPARES,
            "loss": "TCP through Toxiproxy delivers every message or breaks the connection",
            "on": "the harness sees a node's trace only after the moment has passed",
        },
    ),
}
"""What each backend carries out. A plan that needs more is refused before anything starts."""


def support_of(backend: str, option: str) -> Support:
    """The backend's row of the table. Raises :class:`UsageError` that names the option if there is none."""
    if backend not in SUPPORT:
        raise UsageError(f"{option} {backend}: expected {' or '.join(SUPPORT)}")
    return SUPPORT[backend]


@dataclass(frozen=True)
class Need:
    """What a step asks of a backend."""

    step: int
    kind: str
    action: str
    event: str | None


@dataclass(frozen=True)
class Skip:
    """A step that a backend cannot carry out, and why (in words)."""

    step: int
    reason: str


def needs_of(compiled: Mapping[str, Any]) -> list[Need]:
    """What a compiled plan's steps ask of a backend, in the plan's order."""
    needs = []
    for step in compiled["steps"]:
        on = step["when"].get("on")
        actions = sorted({case["do"] for case in step["cases"].values()})
        needs += [Need(step["id"], step["kind"], action, on["event"] if on else None) for action in actions]
    return needs


def carries_out(backend: str, compiled: Mapping[str, Any]) -> bool:
    """Whether a backend can do all that a compiled plan asks for."""
    return _supports(SUPPORT[backend], needs_of(compiled))


def refuse_unsupported(needs: Sequence[Need], backend: str, skip: bool) -> list[Skip]:
    """Holds a plan's needs against the support table.

    Returns the steps to leave out if ``skip``, at most one entry for each. Raises
    :class:`UnsupportedError`, naming all that is missing, if not.
    """
    support = SUPPORT[backend]
    skips: dict[int, str] = {}
    for need in needs:
        missing = []
        if need.action not in support.actions:
            missing.append((f"{need.kind} ({need.action})", support.because.get(need.action, "")))
        if need.event is not None and not support.events:
            missing.append((f"on: {{event: {need.event}}}", support.because.get("on", "")))
        for what, why in missing:
            reason = f"the {backend} backend does not support {what}" + (f": {why}" if why else "")
            skips.setdefault(need.step, reason)
    if skips and not skip:
        listed = "; ".join(f"faults[{step}]: {reason}" for step, reason in sorted(skips.items()))
        able = ", ".join(name for name, other in SUPPORT.items() if _supports(other, needs)) or "none"
        raise UnsupportedError(
            f"{listed}. Choose another backend (able: {able}), or leave such steps out with "
            "--skip-unsupported"
        )
    return [Skip(step, reason) for step, reason in sorted(skips.items())]


def refuse_loss(compiled: Mapping[str, Any], backend: str, skip: bool) -> str | None:
    """Holds the plan's ``network.loss`` against the support table.

    Returns what is left out, in words, if ``skip``; None if there is no loss or the backend supports it. Raises
    :class:`UnsupportedError` if not.
    """
    support = SUPPORT[backend]
    if support.loss or not compiled["network"]["loss_ppm"]:
        return None
    reason = f"the {backend} backend does not support network.loss: {support.because['loss']}"
    if not skip:
        raise UnsupportedError(
            f"{reason}. Choose another backend (able: sim), or leave it out with --skip-unsupported"
        )
    return f"left out: {reason}"


def refuse_spares(compiled: Mapping[str, Any], backend: str) -> None:
    """Raises :class:`UnsupportedError` where the plan has spare nodes and the backend keeps none ready."""
    support = SUPPORT[backend]
    if compiled.get("spares") and not support.spares:
        raise UnsupportedError(
            f"the {backend} backend does not support cluster.spares: {support.because['spares']}. Choose another "
            "backend (able: sim)"
        )


def _supports(support: Support, needs: Iterable[Need]) -> bool:
    return all(need.action in support.actions and (need.event is None or support.events) for need in needs)


@dataclass(frozen=True)
class NodeStatus:
    """What a node says of itself."""

    node: str
    boot: int
    role: str
    term: int
    leader: str | None
    commit: int
    applied: int
    state: str
    """Checksum of the applied state."""
    received: Mapping[str, int]
    """Messages received from each peer since this boot: the proof of a cut, or of its absence."""
    version: str = ""
    features: tuple[str, ...] = ()
    plants: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeView:
    """A node as the harness sees it: its process, and what it says (``None`` if it did not answer)."""

    node: str
    running: bool
    paused: bool
    status: NodeStatus | None

    @property
    def live(self) -> bool:
        """Whether the process can make progress."""
        return self.running and not self.paused


def leader_of(views: Iterable[NodeView]) -> str | None:
    """Who leads: of the live, unpaused nodes that call themselves leader, the one with the greatest term.

    A leader that was cut off goes on calling itself so for a while, in an older term.
    """
    leaders = [
        (view.status.term, view.node)
        for view in views
        if view.live and view.status and view.status.role == "leader"
    ]
    return max(leaders)[1] if leaders else None


@dataclass(frozen=True)
class Death:
    """A process that ended although nobody ordered it. ``time_ns`` is on the record's clock."""

    node: str
    time_ns: int
    exit_code: int
    out_of_memory: bool
    last_log: str


@dataclass
class Collected:
    """What nodes leave behind. Traces are bytes of JSON Lines on the *nodes'* clock (see ``epoch``)."""

    traces: dict[str, bytes] = field(default_factory=dict)
    logs: dict[str, bytes] = field(default_factory=dict)
    data: dict[str, bytes] = field(default_factory=dict)
    """Node → a tar of its data directory."""
    problems: list[str] = field(default_factory=list)


class Cluster(Protocol):
    """A cluster in real time. Everything but ``stop`` may raise :class:`InfrastructureError`."""

    nodes: tuple[str, ...]

    async def start(self) -> None:
        """Makes network, proxies and nodes. If it raises, ``stop`` must still be called."""

    async def ready(self) -> None:
        """Founds the cluster and waits until one node leads."""

    async def kill(self, node: str) -> Json:
        """SIGKILL: what was written survives. Returns the evidence that the process is gone."""

    async def revive(self, node: str) -> Json:
        """Starts a dead node on the data it had, and waits until it answers."""

    async def pause(self, node: str) -> Json:
        """Stops the process as by SIGSTOP."""

    async def resume(self, node: str) -> Json:
        """Lets a paused process go on."""

    async def cut(self, links: Collection[Link]) -> Json:
        """Nothing passes these links any more. Links that are cut already stay so."""

    async def restore(self, links: Collection[Link]) -> Json:
        """Undoes :meth:`cut`."""

    async def delay(self, name: str, links: Collection[Link], min_ns: int, max_ns: int) -> Json:
        """Everything on these links takes longer. Delays of several names add up."""

    async def limit(self, name: str, links: Collection[Link], bytes_per_s: int) -> Json:
        """No more than this gets through on each of these links. Of several limits the least counts."""

    async def lift(self, name: str, links: Collection[Link]) -> Json:
        """Undoes the :meth:`delay` or :meth:`limit` of that name."""

    async def reset(self, links: Collection[Link]) -> Json:
        """Breaks the connections over these links."""

    async def transfer_leader(self, leader: str, to: str) -> Json:
        """Asks the leader to hand over."""

    async def observe(self) -> dict[str, NodeView]:
        """Every node as it is now. Nodes that do not answer in time have no status."""

    async def collect(self) -> Collected:
        """Traces, logs and data of all nodes, dead ones included. Never raises: what failed is listed."""

    async def stop(self) -> list[str]:
        """Removes everything. Never raises; returns what could not be removed, in words. Repeatable."""


class RunClock:
    """The record's clock: CLOCK_MONOTONIC, on which the plan's time 0 reads :data:`PLAN_START_NS`.

    Until the plan begins it counts from its making, so that start-up has times too.
    """

    def __init__(self) -> None:
        self._plan_start_ns = time.monotonic_ns() + PLAN_START_NS

    def begin_plan(self) -> None:
        """The plan's time 0 is now."""
        self._plan_start_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        """The time to write into records."""
        return self.of_monotonic(time.monotonic_ns())

    def shift_ns(self, epoch_ns: int) -> int:
        """What to add to times that count from ``epoch_ns`` (CLOCK_MONOTONIC) to have them on this clock."""
        return epoch_ns - self._plan_start_ns + PLAN_START_NS

    def of_monotonic(self, monotonic_ns: int) -> int:
        """A reading of CLOCK_MONOTONIC on the record's clock; what lies before its beginning is 0."""
        return max(0, monotonic_ns - self._plan_start_ns + PLAN_START_NS)


@dataclass(frozen=True)
class Progress:
    """Something to tell whoever watches a run.

    ``phase`` is `build`, `start`, `ready`, `fault`, `heal`, `recovery`, `violation`, `collect`, `stop` or
    `problem`; ``record`` is the nemesis record behind a `fault` or `heal`.
    """

    phase: str
    message: str
    record: Json | None = None


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class RunOptions:
    """How a plan is to be carried out. Backends pass over what does not concern them."""

    backend: str = "sim"
    plants: tuple[str, ...] = ()
    """Planted bugs to switch on (the build must carry them)."""
    out: Path = Path("chaos-runs")
    """Where bundles go."""
    skip_unsupported: bool = False
    """Leave out steps that the backend cannot carry out (each is recorded) instead of refusing the plan."""
    node_binary: Path | None = None
    toxiproxy_binary: Path | None = None
    toxiproxy_image: str | None = None
    """An image in the engine whose entry point is a Toxiproxy 2.12 server."""
    ready_timeout_s: float = 20.0
    """How long a cluster may take from its start to a leader."""
    collect_data: bool = False
    """Also keep a tar of each node's data directory."""
    stop_at_violation: bool = False
    """End a run in real time early, once its history is not linearizable."""
    recorded_anchors: Mapping[int, str] = field(default_factory=dict)
    """Step → node: targets as they were resolved in an earlier run, instead of afresh."""


@dataclass
class RunResult:
    """What a run yields, whatever the backend."""

    backend: str
    evidence: "Evidence"
    logs: dict[str, bytes] = field(default_factory=dict)
    """Node (or `toxiproxy`) → its standard output and error."""
    data: dict[str, bytes] = field(default_factory=dict)
    """Node → a tar of its data directory, where the backend has one and it was asked for."""
    builds: dict[str, str] = field(default_factory=dict)
    """Program → version, for the bundle's manifest."""
    info: Json = field(default_factory=dict)
    """Images, binaries, subnet, notes on the evidence."""
    timings: dict[str, float] = field(default_factory=dict)
    """Real seconds: `build_s` (finding or building binaries and images), `ready_s` (from there to a leader),
    `run_s` (from the plan's time 0 to the last operation), `collect_s`, `teardown_s`."""
    skipped: list[Json] = field(default_factory=list)
    """The nemesis records of steps that were skipped."""
    failed: list[Json] = field(default_factory=list)
    """The nemesis records of steps that the harness could not carry out."""
    deaths: list[Death] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What went wrong in the harness or its infrastructure. If anything did, the run proves nothing
    (exit 4)."""
    signal: str | None = None
    """The signal that ended the run early (`SIGINT`, `SIGTERM`), if one did."""
    stopped: str | None = None
    """The violation that ended the run early, in words, if one did."""

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the run early."""
        return self.signal is not None

    @property
    def cut_short(self) -> bool:
        """Whether the run ended early, for whatever reason."""
        return self.interrupted or self.stopped is not None


def as_json(compiled: str | Mapping[str, Any]) -> Json:
    """A compiled plan as an object, whichever form it came in."""
    return dict(json.loads(compiled)) if isinstance(compiled, str) else dict(compiled)


def without_steps(compiled: Mapping[str, Any], skips: Sequence[Skip]) -> Json:
    """The plan without the steps that are to be left out."""
    left_out = {skip.step for skip in skips}
    return {**compiled, "steps": [step for step in compiled["steps"] if step["id"] not in left_out]}


def with_recorded_anchors(compiled: Mapping[str, Any], anchors: Mapping[int, str]) -> Json:
    """The plan with the targets of these steps (step → anchor) settled instead of resolved in the run."""
    steps = []
    for step in compiled["steps"]:
        anchor = anchors.get(step["id"])
        settled = anchor is not None and anchor in step["cases"]
        steps.append({**step, "anchor": "none", "cases": {"*": step["cases"][anchor]}} if settled else step)
    return {**compiled, "steps": steps}
