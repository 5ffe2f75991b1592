"""Train with a few labels and many unlabeled examples, and learn honestly whether the unlabeled ones helped.

``semilla.train(...)`` and ``semilla.load(run)`` are the Python twins of the command line. They are imported when first
used, so that ``import semilla`` and ``semilla --help`` do not wait for PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from semilla.errors import SemillaError

if TYPE_CHECKING:
    from semilla.fitting import Result, train
    from semilla.predict import Model, load

try:
    __version__ = version("semilla")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

_LAZY = {"Model": "semilla.predict", "Result": "semilla.fitting", "load": "semilla.predict", "train": "semilla.fitting"}

__all__ = ["Model", "Result", "SemillaError", "__version__", "load", "train"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
