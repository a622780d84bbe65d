"""One base class for every error that a user may see; each says what was expected and what to do.

The command line turns a ``ChaosError`` into one message and its ``exit_code`` (see :mod:`chaos.verdict`):
2 usage or scenario, 3 unknown, 4 the harness or its infrastructure. A violation found is not an error.
"""


class ChaosError(Exception):
    """Base class. ``exit_code`` is what the process ends with when nobody handles the error."""

    exit_code = 4


class UsageError(ChaosError):
    """The command, an option or a file given to it is wrong. Cure: what the message says was expected."""

    exit_code = 2


class ScenarioError(UsageError):
    """A scenario file is wrong. The message begins with ``file:line:column`` and names the path in the file."""


class UnsupportedError(UsageError):
    """The plan needs what the chosen backend lacks. Cure: another backend, or ``--skip-unsupported``."""


class BundleError(UsageError):
    """A bundle cannot be read: not one, damaged, or of a format version this release does not know."""


class InfrastructureError(ChaosError):
    """The harness could not do its part (no engine, an image is missing, the disk is full)."""

    exit_code = 4
