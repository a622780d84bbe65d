"""`validate` and `schema`."""

from typing import Annotated

import typer

from chaos.verdict import EXIT_USAGE, EXIT_VALID
from harness.commands.common import Json, Scenarios, reported_errors
from harness.output import escaped, people, print_json


def validate(scenarios: Scenarios, as_json: Json = False) -> None:
    """Read scenario files and say what is wrong with them: file, line, column, what was expected.

    Also draws a few plans from each, so that what is only wrong for some choices shows. Exit code: 0 or 2.
    """
    with reported_errors(as_json):
        from chaos.timeline import counted  # noqa: PLC0415
        from harness.run import scenario_files, validate_file  # noqa: PLC0415

        console = people(as_json)
        results = [validate_file(path) for path in scenario_files(scenarios)]
        for result in results:
            if result["valid"]:
                holes = result["holes"]
                kind = "one plan (no holes)" if holes == 0 else f"a family with {counted(holes, 'hole')}"
                console.print(f"[green]✓[/green] {escaped(result['file'])}: {kind}")
            else:
                console.print(f"[red]✗[/red] {escaped(result['error'])}")
        bad = not all(result["valid"] for result in results)
        if as_json:
            print_json({"valid": not bad, "files": results})
        raise typer.Exit(EXIT_USAGE if bad else EXIT_VALID)


def schema(
    as_json: Annotated[
        bool, typer.Option("--json", help="Accepted for uniformity: the schema is JSON.")
    ] = False,
) -> None:
    """Print the JSON Schema of scenario files, for editors.

    Save it and begin a scenario with `# yaml-language-server: $schema=PATH` to get completion.
    """
    with reported_errors(as_json):
        from chaos.scenario import json_schema  # noqa: PLC0415

        print_json(json_schema())
