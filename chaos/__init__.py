"""Chaos and consensus testing: the pure part. Values and functions; no clock, file, socket or randomness.

The way through it: :mod:`chaos.scenario` reads a YAML file, :mod:`chaos.generate` draws a
:class:`chaos.plan.Plan` from it, a backend of :mod:`harness` carries the plan out, and
:mod:`chaos.checks` judges what clients saw and nodes did.
"""

try:
    import chaos._core  # noqa: F401 whether it is there is the question
except ImportError as error:  # A checkout without the extension shadows an installed wheel.
    raise ImportError(
        "the Rust extension chaos._core is not built for this interpreter "
        f"({error}). In a checkout run `make setup`; elsewhere install the wheel again and run "
        "from outside the checkout."
    ) from error
