"""One paper per file, and the catalogue. Importing this package does not import PyTorch."""

from semilla.methods.catalogue import METHODS, PRETRAINING, Entry, find, names_for

__all__ = ["METHODS", "PRETRAINING", "Entry", "find", "names_for"]
