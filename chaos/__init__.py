"""Chaos and consensus testing: the pure part. Values and functions; no clock, file, socket or randomness.

The way through it: :mod:`chaos.scenario` reads a YAML file, :mod:`chaos.generate` draws a
:class:`chaos.plan.Plan` from it, a backend of :mod:`harness` carries the plan out, and
:mod:`chaos.checks` judges what clients saw and nodes did.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaos.histories import Call, Checked, HistoryError, Model, StreamInterrupted, check, check_stream

__all__ = ["Call", "Checked", "HistoryError", "Model", "StreamInterrupted", "check", "check_stream"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Loads the Rust extension; where it is missing (a checkout without it shadows a wheel) says the cure."""
        if name in __all__:
            return getattr(import_module("chaos.histories"), name)
        if name != "_core":
            raise AttributeError(f"module 'chaos' has no attribute {name!r}")
        try:
            return import_module("chaos._core")
        except ImportError as error:
            raise ImportError(
                f"the Rust extension chaos._core is not built for this interpreter ({error}). In a checkout run "
                "`make setup`; elsewhere install the wheel again, and run from outside the checkout.",
                name="chaos._core",
            ) from error
