"""Scores along training, every method against supervised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from semilla.evidence.comparison import MEASURES, Outcome

OWN, BASELINE = "#1b6e53", "#8a8a8a"


def comparison_figure(outcomes: Sequence[Outcome], path: Path, title: str, baseline: str = "supervised") -> None:
    """One panel for each method: its mean score over the label draws with the range, and the baseline's.

    Args:
        outcomes: fits of several methods on the same draws.
        path: where to write the PNG.
        title: the figure's title.
        baseline: the method drawn in every panel.
    """
    methods = list(dict.fromkeys(outcome.job.row for outcome in outcomes))
    panels = [method for method in methods if method != baseline] or methods
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.7 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    measure = MEASURES[outcomes[0].measure]
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, method in zip(axes, panels, strict=False):
        if baseline in methods and method != baseline:
            _draw(axis, outcomes, baseline, BASELINE)
        _draw(axis, outcomes, method, OWN)
        axis.set_title(method, fontsize=10)
        axis.grid(alpha=0.25)
        axis.legend(loc="lower right" if measure.rises else "upper right", fontsize=8, frameon=False)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    scores = [100 * score for outcome in outcomes for _, score in outcome.curve]
    low, high = (max(-1.0, min(scores) - 5), 101.0) if measure.rises else (-1.0, max(scores) + 5)
    axes[0].set_ylim(low, high)  # no point is cut away
    figure.supxlabel("step", fontsize=9)
    figure.supylabel(f"test {measure.name} (%)", fontsize=9)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=140)


def _draw(axis: Axes, outcomes: Sequence[Outcome], method: str, colour: str) -> None:
    curves = [outcome.curve for outcome in outcomes if outcome.job.row == method]
    steps = [step for step, _ in curves[0]]
    scores = 100 * np.array([[score for _, score in curve] for curve in curves])
    label = f"{method} {scores[:, -1].mean():.1f} %"
    axis.plot(steps, scores.mean(0), color=colour, linewidth=1.8, label=label)
    axis.fill_between(steps, scores.min(0), scores.max(0), color=colour, alpha=0.18, linewidth=0)
