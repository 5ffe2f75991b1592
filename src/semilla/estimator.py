"""A scikit-learn classifier that learns from the rows without a label too."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from numbers import Number
from typing import Any, Literal

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

_SETTING = "settings__"
_AS_TEXT = str(UNKNOWN)  # what NumPy makes of −1 beside text


class SemiSupervisedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Train on labeled and unlabeled rows as ``fit(X, y)``, as scikit-learn's semi-supervised estimators do.

    A row is unlabeled where y is −1 (also as the text that NumPy makes of it), NaN, None, "" or pandas' NA. Where every
    row has a label, the same rows also serve as the unlabeled ones. `score` ignores unlabeled rows, so that
    ``cross_val_score`` may be given a y with gaps; `SemiSupervisedKFold` keeps all unlabeled rows on the training side.

    Args:
        method: a name from ``semilla methods``, or a `semilla.contract.Method` of your own.
        missing_label: the one value that marks an unlabeled row; ``auto`` takes all of the above. Numbers are compared
            as numbers, so that −1 is −1.0; None, NaN and pandas' NA are the same mark.
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
        target = _as_labels(y, warn=True)
        if len(target) != len(X):
            raise ValueError(f"X has n_samples = {len(X)}, y has {len(target)} labels")
        known = _known(target, self.missing_label)
        if not known.any():
            raise ValueError("y has no label at all; give each of 2 or more classes at least one")
        labeled = _plain(target[known])
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
        self.transduction_ = self.predict(X)
        self.transduction_[known] = labeled
        return self

    def _train(self, X: npt.NDArray[Any], labels: npt.NDArray[np.int64], extra: npt.NDArray[Any] | None) -> None:
        kind: Literal["vectors", "images"] = "vectors" if X.ndim == 2 else "images"
        names = tuple(map(str, range(len(self.classes_))))
        dataset = Dataset("X", kind, names, _laid_out(X), labels, unlabeled=None if extra is None else _laid_out(extra))
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

    def set_params(self, **params: Any) -> SemiSupervisedClassifier:
        """As scikit-learn's; ``settings__learning_rate`` and the like set one of the further settings, for searches."""
        own = {name.removeprefix(_SETTING): value for name, value in params.items() if name.startswith(_SETTING)}
        super().set_params(**{name: value for name, value in params.items() if not name.startswith(_SETTING)})
        if own:
            self.settings = {**(self.settings or {}), **own}
        return self

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
        target = _as_labels(y)
        known = _known(target, self.missing_label)
        if not known.any():
            return math.nan
        weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        guessed = self.predict(X)[known]
        return float(accuracy_score(_plain(target[known]), guessed, sample_weight=weight))

    def _rows(self, X: Any, reset: bool) -> npt.NDArray[Any]:
        rows: npt.NDArray[Any] = validate_data(self, X, reset=reset, allow_nd=True, dtype="numeric")
        return rows


class SemiSupervisedKFold(StratifiedKFold):  # type: ignore[misc]  # scikit-learn has no types
    """Folds over the labeled rows alone; every unlabeled row is on the training side of each.

    Args:
        n_splits: folds.
        missing_label: what marks an unlabeled row, as for `SemiSupervisedClassifier`.
        shuffle: whether the labeled rows are shuffled first.
        random_state: seed of the shuffling.
    """

    def __init__(
        self, n_splits: int = 5, *, missing_label: Any = "auto", shuffle: bool = False, random_state: Any = None
    ) -> None:
        super().__init__(n_splits=n_splits, shuffle=shuffle, random_state=random_state)
        self.missing_label = missing_label

    def split(self, X: Any, y: Any, groups: Any = None) -> Any:
        """Pairs of training and test rows."""
        target = _as_labels(y)
        known = _known(target, self.missing_label)
        labeled, rest = np.flatnonzero(known), np.flatnonzero(~known)
        for training, test in super().split(labeled, target[labeled].astype(str)):
            yield np.sort(np.concatenate([labeled[training], rest])), labeled[test]


def _as_labels(y: Any, warn: bool = False) -> npt.NDArray[Any]:
    """(n,) labels. Text and missing values side by side stay objects, or NumPy would make texts of both."""
    if isinstance(y, list | tuple) and any(value is None or isinstance(value, str) for value in y):
        y = np.array(y, dtype=object)
    elif hasattr(y, "__array__"):  # scikit-learn would make floats of pandas' whole numbers and truth values
        y = np.asarray(y)
    labels: npt.NDArray[Any] = column_or_1d(y, warn=warn)
    return labels


def _known(target: npt.NDArray[Any], missing_label: Any) -> npt.NDArray[np.bool_]:
    """(n,) whether a row has a label.

    Raises:
        ValueError: a row has nothing there, and ``missing_label`` is something else.
    """
    auto = isinstance(missing_label, str) and missing_label == "auto"
    gaps = (None, "", UNKNOWN, _AS_TEXT) if auto else (missing_label,)
    marks = [gap for gap in gaps if not _is_nothing(gap)]
    values, places = target, np.arange(len(target))
    if target.dtype != object:
        values, places = np.unique(target, return_inverse=True)  # a few values instead of a million rows
    nothing = [_is_nothing(value) for value in values.tolist()]
    if any(nothing) and len(marks) == len(gaps):
        row = np.flatnonzero(np.array(nothing)[places])[0]
        raise ValueError(
            f"y has {target[row]} in row {row}, which is no label and not missing_label = {missing_label!r}; "
            "mark every unlabeled row alike, or leave missing_label out"
        )
    pairs = zip(values.tolist(), nothing, strict=True)
    known = [not (none or any(_same(value, mark) for mark in marks)) for value, none in pairs]
    return np.array(known, bool)[places]


def _same(value: Any, mark: Any) -> bool:
    """Whether they are equal and of one kind: in Python True is 1."""
    return bool(value == mark) and _is_number(value) == _is_number(mark)


def _is_nothing(value: Any) -> bool:
    """None, NaN or pandas' NA; whoever has that has imported pandas already."""
    if value is None or value is getattr(sys.modules.get("pandas"), "NA", None):
        return True
    return isinstance(value, float | np.floating) and math.isnan(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, Number) and not isinstance(value, bool)


def _plain(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Numbers as an array of numbers: beside a missing value they may have been objects. Text stays as it is.

    Raises:
        ValueError: there are text and other things, which have no order.
    """
    if labels.dtype != object:
        return labels
    texts = [isinstance(value, str) for value in labels]
    if any(texts) and not all(texts):
        text, other = labels[texts.index(True)], labels[texts.index(False)]
        raise ValueError(f"y has text and numbers side by side, such as {text!r} and {other!r}; make all of them text")
    if all(isinstance(value, Number | np.bool_) for value in labels):
        return np.array(labels.tolist())
    return labels


def _seed(random_state: Any) -> int:
    if random_state is None:
        return int(np.random.default_rng().integers(2**32))
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
