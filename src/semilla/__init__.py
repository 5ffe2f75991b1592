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
    from semilla.checking import check
    from semilla.comparing import Comparison, compare
    from semilla.embedding import embed
    from semilla.estimator import SemiSupervisedClassifier
    from semilla.exporting import export
    from semilla.fitting import Result, fit
    from semilla.inference.files import Predictions, predict
    from semilla.inference.model import Model, load
    from semilla.pretraining import Pretrained, pretrain
    from semilla.reporting.run_report import report
    from semilla.runs import Trained, train

try:
    __version__ = version("semilla")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

_LAZY = {
    "Comparison": "semilla.comparing",
    "Model": "semilla.inference.model",
    "Predictions": "semilla.inference.files",
    "Pretrained": "semilla.pretraining",
    "Result": "semilla.fitting",
    "SemiSupervisedClassifier": "semilla.estimator",
    "Trained": "semilla.runs",
    "check": "semilla.checking",
    "compare": "semilla.comparing",
    "embed": "semilla.embedding",
    "export": "semilla.exporting",
    "fit": "semilla.fitting",
    "load": "semilla.inference.model",
    "predict": "semilla.inference.files",
    "pretrain": "semilla.pretraining",
    "report": "semilla.reporting.run_report",
    "train": "semilla.runs",
}

__all__ = [
    "Comparison",
    "Model",
    "Predictions",
    "Pretrained",
    "Result",
    "SemiSupervisedClassifier",
    "SemillaError",
    "Trained",
    "__version__",
    "check",
    "compare",
    "embed",
    "export",
    "fit",
    "load",
    "predict",
    "pretrain",
    "report",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
