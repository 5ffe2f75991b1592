"""From what the user names (a data set, a path, arrays) to labeled and unlabeled examples. NumPy only."""

from semilla.data.dataset import Dataset, Examples, Split, fingerprint, split
from semilla.data.labels import choose_labels, read_index_file
from semilla.data.order import Order
from semilla.data.sources import load

__all__ = [
    "Dataset",
    "Examples",
    "Order",
    "Split",
    "choose_labels",
    "fingerprint",
    "load",
    "read_index_file",
    "split",
]
