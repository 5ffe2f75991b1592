"""Weak and strong views of whole batches, on the device."""

from semilla.augment.images import ImageViews
from semilla.augment.lines import LineViews
from semilla.augment.vectors import VectorViews

__all__ = ["ImageViews", "LineViews", "VectorViews"]
