"""Small fits with a network by its name."""

from __future__ import annotations

import numpy as np
from small import SMALL, digits

from semilla import config
from semilla.data.dataset import split
from semilla.data.labels import choose_labels
from semilla.fitting import Fit
from semilla.methods import find
from semilla.training import plan


def fit_with(network, data=None, **changes):
    """FixMatch on 40 digits, or on what is labeled in other data; not yet run."""
    data = digits() if data is None else data
    rows = choose_labels(data.labels, data.classes, 40, 0) if data is digits() else np.flatnonzero(data.labels >= 0)
    wanted = {**SMALL, **changes, "network": network}
    parts = split(data, rows)
    return Fit(
        data, parts, *plan.complete(config.settings("fixmatch", find("fixmatch").hyperparameters, wanted), data, parts)
    )
