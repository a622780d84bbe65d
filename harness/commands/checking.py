"""`check`: a history of any system, or the trace of any Raft, judged on its own."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.commands.common import Json, reported_errors


def _print_models(wanted: bool) -> None:
    if wanted:
        with reported_errors(as_json=False):
            from harness.check import models_in_words  # noqa: PLC0415
            from harness.output import write  # noqa: PLC0415

            write(models_in_words())
        raise typer.Exit


def check(
    history: Annotated[
        list[Path],
        typer.Argument(
            metavar="HISTORY",
            help="A history, a bundle, or `-` for standard input; with `--raft`, the traces of a cluster's nodes.",
            show_default=False,
            allow_dash=True,
            readable=False,  # said by what reads it, in the same words everywhere
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="What the object is: register, cas-register, key-value, queue, … (`--models`), or list-append for "
            "transactions.",
            show_default="cas-register",
        ),
    ] = None,
    _models: Annotated[
        bool,
        typer.Option(
            "--models", help="List the models, with their functions.", is_eager=True, callback=_print_models
        ),
    ] = False,
    raft: Annotated[bool, typer.Option("--raft", help="Judge Raft traces by Raft's own invariants.")] = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Judge the history while it is read, and do not keep it: for one larger than memory, or of a system "
            "that still runs (`tail -n +1 -f … | mcp-chaos check - --stream`). Ends with the first violation.",
        ),
    ] = False,
    history_format: Annotated[
        str | None,
        typer.Option(
            "--format", help="jsonl, edn (Jepsen) or etcd-log (Porcupine); else by its first lines."
        ),
    ] = None,
    independent: Annotated[
        bool, typer.Option("--independent", help="Values of an EDN history are `[key value]` tuples.")
    ] = False,
    initial: Annotated[
        str | None, typer.Option(help="What a register holds at the beginning, as JSON.", show_default="null")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Do not part the history by key (models that can do both).")
    ] = False,
    missing: Annotated[
        str | None,
        typer.Option(help='What a missing key reads as, for key-value: null or `""`.', show_default="null"),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            help="Of list-append: serializable or strict-serializable.", show_default="strict-serializable"
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="The most memory of the search, beside the history: `64MB`, `2GiB`.", show_default="1GiB"
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            help="The longest that the search may take: `90s`, `5m`, or seconds; 0: no limit. Of a stream: from its "
            "beginning on, waiting included.",
            show_default="60s; with --stream 0",
        ),
    ] = None,
    algorithm: Annotated[
        str | None,
        typer.Option(help="Only this one of zones, frontier, depth-first.", show_default="all that fit"),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="A smallest sub-history that is still wrong, and a picture of it; of a valid history, an order.",
        ),
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option(
            "--html", help="With --explain: write the picture as a page of its own.", dir_okay=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge a history of any system, on its own: is it linearizable (or its transactions serializable)?

    Formats are in docs/histories.md, models and limits in docs/checkers.md. Beyond `--memory` or `--time` the answer is
    unknown, with how far the history was verified. Exit code: 0 valid, 1 invalid, 2 a history or option that makes no
    sense, 3 unknown.
    """
    with reported_errors(as_json):
        # Imported here: a check of a small history must not wait for what the other commands need.
        from harness.check import Asked, check_histories, check_traces  # noqa: PLC0415
        from harness.options import limit_of  # noqa: PLC0415

        asked = Asked(
            history_format=history_format,
            independent=independent,
            initial=initial,
            missing=missing,
            whole=whole,
            algorithm=algorithm,
            explain=explain,
            page=page,
        )
        given: dict[str, Any] = {"model": model, "level": level, "memory": memory}
        given = {name: value for name, value in given.items() if value is not None}
        if time is not None or stream:
            given["seconds"] = limit_of("--time", time or "0")
        asked = replace(asked, **given)
        if raft:
            # Traces are always read as streams.
            outcome = check_traces(history, memory=asked.memory)
        elif stream:
            from harness.check_stream import check_streams  # noqa: PLC0415

            outcome = check_streams(history, asked)
        else:
            outcome = check_histories(history, asked)
        outcome.show(as_json=as_json)
        raise typer.Exit(outcome.exit_code)
