"""A scikit-learn classifier that learns from the rows without a label too."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from semilla.data.arrays import as_images
from semilla.data.dataset import UNKNOWN, Dataset
from semilla.errors import SemillaError
from semilla.fitting import fit


class SemiSupervisedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Train on labeled and unlabeled rows as ``fit(X, y)``, as scikit-learn's semi-supervised estimators do.

    A row is unlabeled where y is −1 (whole numbers), NaN (floats), None or "" (text). Where every row has a label, the
    same rows also serve as the unlabeled ones. `score` ignores unlabeled rows, so that ``cross_val_score`` may be given
    a y with gaps; `SemiSupervisedKFold` keeps all unlabeled rows on the training side.

    Args:
        method: a name from ``semilla methods``, or a `semilla.contract.Method` of your own.
        missing_label: what marks an unlabeled row; ``auto`` is as above.
        steps: optimizer steps; None takes semilla's default.
        network: a name or a module, as for `semilla.train`; None chooses by the data.
        device: ``cpu``, ``cuda``, ``mps``; None takes the fastest.
        settings: further settings and hyperparameters of `semilla.train`, by name.
        random_state: the seed, a whole number, a NumPy generator, or None for one that is drawn.
        callback: called as (step, steps, means of the log) now and then while training.

    Attributes:
        classes_: the labels, sorted.
        transduction_: (n_samples,) the label of every row of X: the one given, or the one predicted.
        model_: the `semilla.Model`.
        result_: the `semilla.Result` of training.
        n_features_in_: columns of X.
        n_iter_: steps made.
    """

    def __init__(
        self,
        method: Any = "fixmatch",
        *,
        missing_label: Any = "auto",
        steps: int | None = None,
        network: Any = None,
        device: str | None = None,
        settings: dict[str, Any] | None = None,
        random_state: Any = 0,
        callback: Callable[[int, int, dict[str, float]], object] | None = None,
    ) -> None:
        self.method = method
        self.missing_label = missing_label
        self.steps = steps
        self.network = network
        self.device = device
        self.settings = settings
        self.random_state = random_state
        self.callback = callback

    def fit(self, X: Any, y: Any, X_unlabeled: Any = None) -> SemiSupervisedClassifier:
        """Train.

        Args:
            X: (n, features) numbers, or uint8 images (n, H, W), (n, H, W, C) or (n, C, H, W).
            y: (n,) labels; see above for what marks an unlabeled row.
            X_unlabeled: more rows without labels, as X.

        Raises:
            ValueError: the data cannot be learnt from; says why and how to mend it.
        """
        X = self._rows(X, reset=True)
        target = column_or_1d(_as_labels(y), warn=True)
        if len(target) != len(X):
            raise ValueError(f"X has n_samples = {len(X)}, y has {len(target)} labels")
        known = self._known(target)
        if not known.any():
            raise ValueError("y has no label at all; give each of 2 or more classes at least one")
        labeled = target[known]
        check_classification_targets(labeled.astype(str) if labeled.dtype == object else labeled)
        self.classes_, codes = np.unique(labeled, return_inverse=True)
        if len(X) < 2 or len(self.classes_) < 2:
            raise ValueError(
                f"n_samples = {len(X)} of {len(self.classes_)} class: need 2 classes or more to tell apart"
            )
        labels = np.full(len(X), UNKNOWN, np.int64)
        labels[known] = codes
        extra = None if X_unlabeled is None else self._rows(X_unlabeled, reset=False)
        self._train(X, labels, extra)
        guessed = self.predict(X)
        self.transduction_ = np.where(known, target, guessed) if target.dtype != object else guessed.astype(object)
        if target.dtype == object:
            self.transduction_[known] = target[known]
        return self

    def _train(self, X: npt.NDArray[Any], labels: npt.NDArray[np.int64], extra: npt.NDArray[Any] | None) -> None:
        kind = "vectors" if X.ndim == 2 else "images"
        names = tuple(map(str, range(len(self.classes_))))
        dataset = Dataset("X", kind, names, _laid_out(X), labels, unlabeled=None if extra is None else _laid_out(extra))  # type: ignore[arg-type]
        changes = dict(self.settings or {})
        if (labels != UNKNOWN).all() and extra is None:
            changes.setdefault("pool", "all")
        if self.steps is not None:
            changes["steps"] = self.steps
        if self.device is not None:
            changes["device"] = self.device
        changes.setdefault("seed", _seed(self.random_state))
        try:
            self.result_ = fit(dataset, method=self.method, network=self.network, progress=self.callback, **changes)
        except SemillaError as error:
            raise ValueError(str(error)) from error
        self.model_, self.n_iter_ = self.result_.model, self.result_.settings.steps

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """(n, classes) probabilities, in the order of ``classes_``."""
        check_is_fitted(self)
        shares = self.model_.predict_proba(_laid_out(self._rows(X, reset=False))).astype(np.float64)
        normalised: npt.NDArray[np.float64] = shares / shares.sum(1, keepdims=True)
        return normalised

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """(n,) the most probable label of each row."""
        best = self.predict_proba(X).argmax(1)
        chosen: npt.NDArray[Any] = self.classes_[best]
        return chosen

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy over the rows that have a label; NaN where none has."""
        target = np.asarray(_as_labels(y))
        known = self._known(target)
        if not known.any():
            return math.nan
        weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        guessed = self.predict(X)[known]
        truth = target[known].astype(guessed.dtype) if target.dtype == object else target[known]
        return float(accuracy_score(truth, guessed, sample_weight=weight))

    def _rows(self, X: Any, reset: bool) -> npt.NDArray[Any]:
        rows: npt.NDArray[Any] = validate_data(self, X, reset=reset, allow_nd=True, dtype="numeric")
        return rows

    def _known(self, target: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        if self.missing_label != "auto":
            return np.array([not _same(value, self.missing_label) for value in target.tolist()], bool)
        if target.dtype.kind in "iu":
            return np.asarray(target != UNKNOWN)
        if target.dtype.kind == "f":
            return np.asarray(~np.isnan(target) & (target != UNKNOWN))
        missing = (None, "", UNKNOWN)
        return np.array(
            [not (any(_same(value, gap) for gap in missing) or _same(value, math.nan)) for value in target.tolist()],
            bool,
        )


class SemiSupervisedKFold(StratifiedKFold):  # type: ignore[misc]
    """Folds over the labeled rows alone; every unlabeled row is on the training side of each.

    Args:
        n_splits: folds.
        missing_label: what marks an unlabeled row, −1 unless said.
        shuffle: whether the labeled rows are shuffled first.
        random_state: seed of the shuffling.
    """

    def __init__(
        self, n_splits: int = 5, *, missing_label: Any = -1, shuffle: bool = False, random_state: Any = None
    ) -> None:
        super().__init__(n_splits=n_splits, shuffle=shuffle, random_state=random_state)
        self.missing_label = missing_label

    def split(self, X: Any, y: Any, groups: Any = None) -> Any:
        """Pairs of training and test rows."""
        target = np.asarray(_as_labels(y))
        gaps = (self.missing_label, None, "", math.nan, float(UNKNOWN))
        known = np.array([not any(_same(value, gap) for gap in gaps) for value in target.tolist()], bool)
        labeled, rest = np.flatnonzero(known), np.flatnonzero(~known)
        for training, test in super().split(labeled, target[labeled].astype(str)):
            yield np.sort(np.concatenate([labeled[training], rest])), labeled[test]


def _as_labels(y: Any) -> Any:
    """Text and missing values side by side stay objects, or NumPy would make texts of both."""
    if isinstance(y, list | tuple) and any(value is None or isinstance(value, str) for value in y):
        return np.array(y, dtype=object)
    return y


def _same(value: Any, gap: Any) -> bool:
    if isinstance(gap, float) and math.isnan(gap):
        return isinstance(value, float) and math.isnan(value)
    return value is gap or (type(value) is type(gap) and bool(value == gap))


def _seed(random_state: Any) -> int:
    if random_state is None:
        return int(np.random.SeedSequence().entropy) % 2**32  # type: ignore[arg-type]
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**32))
    return int(random_state)


def _laid_out(X: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """float32 vectors, or uint8 images (n, C, H, W)."""
    if X.ndim == 2:
        with np.errstate(over="ignore"):
            vectors = np.ascontiguousarray(X, np.float32)
        if not np.isfinite(vectors).all():
            raise ValueError("X has values too large for 32-bit floats; scale it, as with StandardScaler")
        return vectors
    try:
        return as_images(X, "X")
    except SemillaError as error:
        raise ValueError(str(error)) from error
