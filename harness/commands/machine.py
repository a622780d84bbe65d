"""`doctor`, `clean` and `plants`."""

from typing import Annotated

import typer

from chaos.verdict import EXIT_HARNESS, EXIT_VALID
from harness.commands.common import Json, NodeBinary, ToxiproxyBinary, reported_errors
from harness.output import escaped, people, print_json


def doctor(
    node_binary: NodeBinary = None, toxiproxy_binary: ToxiproxyBinary = None, as_json: Json = False
) -> None:
    """Say what works on this machine, and how to get what does not.

    Exit code: 0 if `sim` works (Docker is optional), 4 if not even that.
    """
    with reported_errors(as_json):
        from harness.doctor import examine  # noqa: PLC0415

        findings = examine(node_binary, toxiproxy_binary)
        console = people(as_json)
        for finding in findings:
            mark = (
                "[green]✓[/green]"
                if finding.ok
                else "[yellow]–[/yellow]"
                if finding.optional
                else "[red]✗[/red]"
            )
            console.print(f"{mark} {finding.name}: {escaped(finding.found)}")
            if finding.cure:
                console.print(f"    {escaped(finding.cure)}")
        works = all(finding.ok or finding.optional for finding in findings)
        if as_json:
            print_json({"works": works, "findings": [finding.to_dict() for finding in findings]})
        raise typer.Exit(EXIT_VALID if works else EXIT_HARNESS)


def clean(
    images: Annotated[bool, typer.Option("--images", help="Remove our images too.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what dead runs left on the Docker engine: containers, networks, volumes.

    An object is an orphan if the process that made it is gone. Live runs are spared.
    """
    with reported_errors(as_json):
        from harness.clean import remove_orphans  # noqa: PLC0415

        removed = remove_orphans(images=images)
        console = people(as_json)
        if not removed.total:
            console.print("nothing to remove")
        for kind, names in removed.to_dict().items():
            for name in names:
                console.print(f"removed {kind.removesuffix('s')} {escaped(name)}")
        if as_json:
            print_json(removed.to_dict())


def plants(as_json: Json = False) -> None:
    """List the planted bugs that nodes can be run with, and what each models.

    They prove that the checks detect what they are there for: `mcp-chaos run FILE --plant NAME`.
    """
    with reported_errors(as_json):
        from chaos import _core  # noqa: PLC0415

        if as_json:
            listed = [
                {"name": name, "layer": layer, "about": about, "source": source}
                for name, layer, about, source in _core.PLANTS
            ]
            print_json({"plants": listed})
            return
        console = people(as_json)
        for name, layer, about, source in _core.PLANTS:
            console.print(
                f"[bold]{name}[/bold] ({layer})\n  {escaped(about)}\n  [dim]{escaped(source)}[/dim]"
            )
