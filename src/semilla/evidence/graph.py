"""A classic of semi-supervised learning on vectors: labels spread over a graph of nearest neighbors."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from semilla.data.dataset import Dataset, Inputs, Split
from semilla.errors import DataError

NEIGHBORS, CLAMPING = 10, 0.2
_CONSTANT = 1e-8


def label_spreading(dataset: Dataset, split: Split) -> tuple[float | None, npt.NDArray[np.int64]]:
    """Label spreading (Zhou et al. 2004, "Learning with local and global consistency") with scikit-learn.

    The graph holds the labeled and the unlabeled examples; a test example is not in it and gets the average of its
    nearest neighbors in it. The features of vectors are standardised on the graph's examples, pixels are left as they
    are: they have one scale already. 10,000 rows of 512 features take 11 s on one core.

    Args:
        dataset: where the test part is; images are taken as rows of pixels.
        split: what may be trained on.

    Returns:
        Accuracy on the test part, None without one; and int64 (N,) predicted classes of the test part, or of the
        unlabeled examples where there is none.

    Raises:
        DataError: D114, fewer examples than neighbors.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.semi_supervised import LabelSpreading

    labeled, unlabeled = _rows(split.labeled.inputs), _rows(split.unlabeled)
    graph = np.concatenate([labeled, unlabeled])
    if len(graph) <= NEIGHBORS:
        fix = f"label spreading joins {NEIGHBORS} neighbors: give more examples"
        raise DataError("D114", f"{len(graph)} examples are too few for a graph", fix)
    mean, deviation = _scale(graph) if dataset.kind == "vectors" else (0.0, 1.0)
    labels = np.concatenate([split.labeled.labels, np.full(len(unlabeled), -1)])
    model = LabelSpreading(kernel="knn", n_neighbors=NEIGHBORS, alpha=CLAMPING, max_iter=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # by then only far islands still change
        # an island of the graph without a label gets no mass: 0 / 0, which the most frequent class stands in for
        warnings.simplefilter("ignore", RuntimeWarning)
        model.fit((graph - mean) / deviation, labels)
        test = dataset.test
        asked = unlabeled if test is None else _rows(test.inputs)
        share = model.predict_proba((asked - mean) / deviation)
    unknown = ~np.isfinite(share).all(1) | (share.sum(1) == 0)
    predicted = model.classes_[np.nan_to_num(share).argmax(1)].astype(np.int64)
    predicted[unknown] = np.bincount(split.labeled.labels).argmax()
    return (None if test is None else float((predicted == test.labels).mean())), predicted


def _rows(inputs: Inputs) -> npt.NDArray[np.float32]:
    return np.asarray(inputs[:], np.float32).reshape(len(inputs), -1)


def _scale(rows: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    deviation = rows.std(0)
    return rows.mean(0), np.where(deviation > _CONSTANT, deviation, np.float32(1.0))
