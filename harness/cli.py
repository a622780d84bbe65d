"""`mcp-chaos`: the command line.

What understands every command (`harness.commands`) takes longer to load than a history of 100,000 operations to be
checked. So a check in plain words is understood without it (`harness.commands.plain`).
"""

import sys

from harness.commands import plain


def main() -> None:
    """The entry point `mcp-chaos`."""
    arguments = sys.argv[1:]
    check = plain.read(arguments)
    if check is not None:
        sys.exit(plain.run(check))
    from harness.commands.app import run  # noqa: PLC0415 see above

    sys.exit(run(as_json="--json" in arguments))


if __name__ == "__main__":
    main()
