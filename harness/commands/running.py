"""`run` and `replay`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chaos.errors import UsageError
from chaos.verdict import EXIT_INTERRUPTED
from harness.commands.common import (
    DEFAULT_OUT,
    Backend,
    Json,
    KeepData,
    NodeBinary,
    Out,
    Plant,
    Scenarios,
    StopAtViolation,
    ToxiproxyBinary,
    ToxiproxyImage,
    progress,
    reported_errors,
    stops_at_violation,
)
from harness.output import complain, people, print_json

if TYPE_CHECKING:
    from harness.store import Bundle


def run(
    scenarios: Scenarios,
    backend: Backend = "sim",
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**63 - 1, help="Fills the scenario's holes, and is the run's own seed."),
    ] = 0,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Replace a value: `--set cluster.nodes=3`."),
    ] = None,
    plant: Plant = None,
    skip_unsupported: Annotated[
        bool,
        typer.Option(
            help="Leave out steps that the backend cannot do (each is recorded) instead of refusing."
        ),
    ] = False,
    portable: Annotated[
        str | None,
        typer.Option(
            metavar="BACKEND",
            help="Draw only what this backend too can do: kinds of faults and choices that it lacks are passed over.",
        ),
    ] = None,
    stop_at_violation: StopAtViolation = None,
    out: Out = DEFAULT_OUT,
    node_binary: NodeBinary = None,
    toxiproxy_binary: ToxiproxyBinary = None,
    toxiproxy_image: ToxiproxyImage = None,
    keep_data: KeepData = False,
    as_json: Json = False,
) -> None:
    """Carry out one plan of each scenario, judge it, and keep everything as a bundle.

    Open values in the scenario are filled from `--seed`: the same file and seed give the same plan, and on `sim`
    the same run to the last event. Exit code: 0 valid, 1 a violation, 2 a bad scenario, 3 unknown, 4 the harness
    failed.

    Examples: `mcp-chaos run scenarios/smoke/isolated-leader.yaml` ·
    `mcp-chaos run FILE --backend docker --seed 7 --set cluster.nodes=3` ·
    `mcp-chaos run FILE --plant stale-read` · `mcp-chaos run FILE --portable docker`
    """
    with reported_errors(as_json):
        from harness.account import print_account  # noqa: PLC0415 keeps --help fast
        from harness.cluster import RunOptions, support_of  # noqa: PLC0415
        from harness.run import load_plan, run_plan, scenario_files, worst_exit_code  # noqa: PLC0415

        options = RunOptions(
            backend=backend,
            plants=tuple(plant or ()),
            out=out,
            skip_unsupported=skip_unsupported,
            node_binary=node_binary,
            toxiproxy_binary=toxiproxy_binary,
            toxiproxy_image=toxiproxy_image,
            collect_data=keep_data,
            stop_at_violation=stops_at_violation(stop_at_violation, backend, default=False),
        )
        console = people(as_json)
        # Every file is read before the first run: a mistake in the last one is told at once.
        support = support_of(portable, "--portable") if portable is not None else None
        files = scenario_files(scenarios)
        plans = [load_plan(path, seed, tuple(overrides or ()), support) for path in files]
        finished = []
        interrupted = False
        for plan in plans:
            try:
                done = run_plan(plan, options, progress=progress())
            except KeyboardInterrupt:  # on `sim`; a real run notes the signal, and keeps what it saw
                interrupted = True
                complain(f"interrupted during {plan.scenario}; the same command repeats it exactly")
                break
            finished.append(done)
            if done.rescued_because:
                complain(done.rescued_because)
            print_account(done.bundle, console)
            if done.verdict.interrupted:
                break
        exit_code = EXIT_INTERRUPTED if interrupted else worst_exit_code(finished)
        if as_json:
            print_json({"exit_code": exit_code, "runs": [done.to_dict() for done in finished]})
        raise typer.Exit(exit_code)


def replay(
    bundle: Annotated[Path, typer.Argument(help="A bundle that `run` left.", show_default=False)],
    backend: Annotated[
        str | None, typer.Option(help="Replay elsewhere than where it was recorded: `sim` or `docker`.")
    ] = None,
    times: Annotated[int, typer.Option(min=1, max=10_000, help="Repeat, and say how often it failed.")] = 1,
    resolve: Annotated[
        str,
        typer.Option(help="Targets such as `leader`: `afresh` in each run, or `recorded` as in the bundle."),
    ] = "afresh",
    until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Stop at this moment, such as `3.2s` or `3200ms` after the plan's start, and print what every node "
            "is and has, links and messages under way. In simulation only.",
        ),
    ] = None,
    events: Annotated[
        bool,
        typer.Option(
            "--events",
            help="Print all events in time order, one a line; with --until, those before the moment.",
        ),
    ] = False,
    stop_at_violation: StopAtViolation = None,
    out: Out = DEFAULT_OUT,
    node_binary: NodeBinary = None,
    toxiproxy_binary: ToxiproxyBinary = None,
    toxiproxy_image: ToxiproxyImage = None,
    keep_data: KeepData = False,
    as_json: Json = False,
) -> None:
    """Carry a bundle's plan out again, and say whether its failure came again.

    On `sim` a replay is exact: the trace hash must equal the recorded one, or the first difference is shown
    (exit 4). On `docker` it never is: the same plan runs again, `--times N` gives a rate with its 95 % interval.
    Exit code: 1 if the failure came again, 0 if it did not.

    `--until` and `--events` look into a run instead: nothing is judged and no bundle is written. Their times count
    from the plan's start, as a scenario's `at` does (in records and accounts that moment reads 3 s). Exit code: 0,
    or 4 if what was replayed is not what the bundle recorded. Events of a run on `docker` are those recorded.
    """
    with reported_errors(as_json):
        from harness.cluster import RunOptions  # noqa: PLC0415
        from harness.replay import replay_bundle  # noqa: PLC0415
        from harness.store import open_bundle  # noqa: PLC0415

        opened = open_bundle(bundle)
        if until is not None or events:
            exit_code = _look(opened, backend, times, resolve, until, events, as_json)
            raise typer.Exit(exit_code)
        again_on = backend or opened.manifest.backend
        options = RunOptions(
            backend=again_on,
            plants=tuple(opened.manifest.plants),
            out=out,
            node_binary=node_binary,
            toxiproxy_binary=toxiproxy_binary,
            toxiproxy_image=toxiproxy_image,
            collect_data=keep_data,
            stop_at_violation=stops_at_violation(stop_at_violation, again_on, default=False),
        )
        report = replay_bundle(
            opened, options, times=times, resolve=resolve, console=people(as_json), progress=progress()
        )
        if as_json:
            print_json(report.to_dict())
        raise typer.Exit(report.exit_code)


def _look(
    bundle: "Bundle",
    backend: str | None,
    times: int,
    resolve: str,
    until: str | None,
    events: bool,
    as_json: bool,
) -> int:
    """`replay --until` and `--events`. Gives the exit code."""
    from harness.moment import moment_of, print_moment  # noqa: PLC0415
    from harness.replay import check_resolve  # noqa: PLC0415

    if times != 1:
        raise UsageError(f"--times {times}: with --until or --events there is one run to look into")
    check_resolve(resolve)
    moment = moment_of(bundle, backend=backend or bundle.manifest.backend, until=until, resolve=resolve)
    print_moment(moment, people(as_json), with_events=events and not as_json)
    if as_json:
        print_json(moment.to_dict(with_events=events))
    return moment.exit_code
