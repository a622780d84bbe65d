"""A Docker cluster that is kept between plans (`hunt --backend docker`), and used once (`run --backend docker`).

Kept are network, Toxiproxy and certificates. What could carry anything from one plan into the next is made anew:
nodes are fresh containers without data, founded under a new name; all proxies are deleted, with their toxics and
connections, and made again. Whatever goes wrong in a run, or ends it early, nothing at all is kept.
"""

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from chaos.errors import InfrastructureError
from chaos.plan import Plan
from harness.backends.builds import TOXIPROXY, prepare_images
from harness.backends.containers import ContainerCluster
from harness.backends.ground import Ground
from harness.backends.realtime import Interruption, LiveRun, to_its_end
from harness.clean import connect
from harness.cluster import (
    Json,
    OnProgress,
    Progress,
    RunOptions,
    RunResult,
    Skip,
    as_json,
    needs_of,
    refuse_loss,
    refuse_spares,
    refuse_unsupported,
    with_recorded_anchors,
    without_steps,
)

LeftOut = list[tuple[Mapping[str, Any], Skip]]


def _tell_nobody(_progress: Progress) -> None:
    pass


class WarmDocker:
    """Carries out plan after plan on one warm cluster. Use it with ``with``: leaving removes everything.

    Nothing is made before the first plan. Not for several threads at a time.
    """

    def __init__(self, options: RunOptions, on_progress: OnProgress = _tell_nobody) -> None:
        self._cluster = WarmCluster(options, on_progress)
        self._on_progress = on_progress
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._runner:
            for problem in self._runner.run(self._close()):
                self._on_progress(Progress("problem", problem))

    def run(self, plan: Plan) -> RunResult:
        """Carries a plan out.

        Raises :class:`chaos.errors.UnsupportedError` or :class:`InfrastructureError` if it cannot begin, the
        latter also if it could begin neither on the cluster at hand nor on another made in its place. What goes
        wrong later is in the result: failures in ``problems``, a signal in ``interrupted``.
        """
        return self._runner.run(self._cluster.run(plan.compiled()))

    async def _close(self) -> list[str]:
        with Interruption():  # a signal, however often it comes, does not end the removal
            return await to_its_end(self._cluster.close())


async def run_docker(
    plan: str | Mapping[str, Any], options: RunOptions, on_progress: OnProgress = _tell_nobody
) -> RunResult:
    """Carries one compiled plan out on a cluster of its own, and removes every trace of it from the engine.

    Raises :class:`chaos.errors.UnsupportedError` or :class:`InfrastructureError` if it cannot begin. From the
    first container on it always returns: failures are in ``problems``, a signal is in ``interrupted``.
    """
    return await WarmCluster(options, on_progress, lasting=False).run(plan)


class WarmCluster:
    """The same as :class:`WarmDocker` within an event loop. :meth:`close` must be called at the end."""

    def __init__(
        self, options: RunOptions, on_progress: OnProgress = _tell_nobody, *, lasting: bool = True
    ) -> None:
        """``lasting``: whether anything is kept after a plan."""
        self._options = options
        self._on_progress = on_progress
        self._lasting = lasting
        self._ground: Ground | None = None

    async def run(self, plan: str | Mapping[str, Any]) -> RunResult:
        """Carries a compiled plan out. See :meth:`WarmDocker.run`."""
        options = self._options
        compiled = with_recorded_anchors(as_json(plan), options.recorded_anchors)
        skips = refuse_unsupported(needs_of(compiled), "docker", options.skip_unsupported)
        refuse_spares(compiled, "docker")
        lossless = refuse_loss(compiled, "docker", options.skip_unsupported)
        steps = {step["id"]: step for step in compiled["steps"]}
        left_out = [(steps[skip.step], skip) for skip in skips]
        compiled = without_steps(compiled, skips)

        used = self._ground is not None
        result, stands = await self._carry_out(compiled, left_out)
        if used and not stands:
            why = "; ".join(problem.partition("\n")[0] for problem in result.problems)
            self._on_progress(Progress("start", f"another cluster is made: {why}"))
            result, stands = await self._carry_out(compiled, left_out)
            if not stands:
                raise InfrastructureError("\n".join(result.problems))
        if lossless:
            result.info.setdefault("notes", []).append(lossless)
        return result

    async def close(self) -> list[str]:
        """Removes everything. Returns what could not be removed, in words. Repeatable."""
        ground, self._ground = self._ground, None
        return [] if ground is None else await ground.remove()

    async def _carry_out(self, compiled: Json, left_out: LeftOut) -> tuple[RunResult, bool]:
        """The result, and whether the cluster let the plan begin.

        A node that ended by itself is the node's affair, and its trace is evidence: then the cluster did its part.
        """
        began_s = time.monotonic()
        ground = self._ground or await self._make_ground()
        self._ground = ground
        build_s = time.monotonic() - began_s
        with Interruption() as interruption:
            cluster = ContainerCluster(ground, compiled, self._options)
            run = LiveRun(
                "docker",
                compiled,
                left_out,
                self._on_progress,
                stop_at_violation=self._options.stop_at_violation,
            )
            result = None
            try:
                result = await run.carry_out(interruption, cluster, build_s)
            finally:
                kept = self._lasting and result is not None and not (result.problems or result.cut_short)
                began_s = time.monotonic()
                problems = [] if kept else await to_its_end(self.close())
            result.problems += problems
            result.timings["teardown_s"] += time.monotonic() - began_s
            by_itself = any(death.node != TOXIPROXY for death in result.deaths)
            return result, run.begun or by_itself or not result.problems

    async def _make_ground(self) -> Ground:
        client = await asyncio.to_thread(connect)
        try:
            made_from = await asyncio.to_thread(prepare_images, client, self._options, self._on_progress)
        except BaseException:
            client.close()
            raise
        return Ground(client, made_from, lasting=self._lasting)
