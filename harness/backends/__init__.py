"""The backends, by name. Each yields the same kind of result; see :mod:`harness.cluster`."""

import asyncio
from collections.abc import Callable

from chaos.errors import UsageError
from chaos.plan import Plan
from harness.cluster import Progress, RunOptions, RunResult

BACKENDS = ("sim", "docker")
"""The names that ``--backend`` takes."""


def run_on(plan: Plan, options: RunOptions, progress: Callable[[str], None]) -> RunResult:
    """Carries a plan out on the backend that the options name.

    Raises :class:`chaos.errors.ChaosError` if it cannot begin; what goes wrong later is in the result.
    """

    def tell(event: Progress) -> None:
        progress(event.message)

    # Imported when needed: the simulator must work where no Docker package does.
    if options.backend == "sim":
        from harness.backends.simulated import run_sim  # noqa: PLC0415

        return run_sim(plan.compiled(), options, tell)
    if options.backend == "docker":
        from harness.backends.warm import run_docker  # noqa: PLC0415

        return asyncio.run(run_docker(plan.compiled(), options, tell))
    raise UsageError(f"--backend {options.backend}: expected {' or '.join(BACKENDS)}")
