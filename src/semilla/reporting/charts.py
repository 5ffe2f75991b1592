"""The figures of a run's report: each a function from numbers to a `Chart`, or None where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from semilla.evidence.confusion import Confusion
from semilla.evidence.intervals import Interval, wilson
from semilla.evidence.verdict import ACCURACY
from semilla.inference.calibration import BINS, bins_of, calibration_error
from semilla.reporting.figures import COOL, GROUND, INK, OTHER, OWN, WARM, Chart, draw, label, percent
from semilla.reporting.page import minus
from semilla.reporting.run_data import FitData, FloatArray, IntArray

WIDE = 4.6
MOST_NUMBERED, MOST_NAMED, MOST_DRAWN = 12, 40, 500
"""Classes up to which a confusion matrix shows its counts, its names, and anything at all."""
_PERCENT = FuncFormatter(lambda value, place: f"{100 * value:.4g} %")
FEW = 5
"""Examples in a bin of confidence below which it is not drawn."""
_CLASS_COLOURS = (COOL, WARM, OWN, "#b0559b", "#a08a1e", "#5b6fd6", "#c2495a", "#4aa3a8", "#8a6a4f", "#7d8791")


def difference_chart(verdict: dict[str, Any]) -> Chart | None:
    """The verdict's difference and its interval against zero."""
    mean, low, high = (100 * value if value is not None else np.nan for value in verdict["difference"])
    if not np.isfinite([mean, low, high]).all():
        return None
    colour = {"helped": OWN, "hurt": WARM}.get(verdict["word"], OTHER)
    measure = verdict.get("measure", ACCURACY)

    def paint(axes: Axes) -> None:
        reach = 1.15 * max(abs(low), abs(high), 1.0)
        axes.axvline(0, color=INK, linewidth=1)
        axes.plot([low, high], [0, 0], color=colour, linewidth=5, solid_capstyle="round", alpha=0.45)
        axes.plot([mean], [0], "o", color=colour, markersize=9)
        axes.annotate(minus(f"{mean:+.1f}"), (mean, 0), (0, 9), textcoords="offset points", ha="center", color=INK)
        axes.xaxis.set_major_formatter(lambda value, place: minus(f"{value:+g}") if value else "0")
        axes.set(xlim=(-reach, reach), ylim=(-0.6, 1.1), yticks=[], xlabel=f"difference in points of {measure}")
        axes.spines["left"].set_visible(False)
        for side, words in ((0.0, "← worse than labels alone"), (1.0, "better than labels alone →")):
            axes.text(side, 1.02, words, transform=axes.transAxes, ha="left" if side == 0 else "right", fontsize=9)

    return draw(
        "difference",
        (WIDE, 1.25),
        paint,
        caption=f"The difference in {measure} and its 95 % interval. Only an interval that leaves out zero decides.",
        alt=minus(f"Difference in {measure} {mean:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}."),
        header=("estimate", "points"),
        rows=[("difference", mean), ("low", low), ("high", high)],
    )


def learning_chart(fits: Sequence[FitData], metric: str = ACCURACY, words: str = ACCURACY) -> Chart | None:
    """A held-out metric over the steps; the first fit stands out.

    Args:
        fits: whose curves are drawn.
        metric: as the log calls it.
        words: as people call it.
    """
    curves = [(fit, fit.curve(f"{fit.held_out}/{metric}")) for fit in fits]
    curves = [(fit, curve) for fit, curve in curves if curve]
    if not curves:
        return None

    def paint(axes: Axes) -> None:
        for place, (fit, curve) in reversed(list(enumerate(curves))):
            dashes = (0, (4, 2)) if place == 1 else (0, (1, 2))
            style: dict[str, Any] = {"color": OTHER, "linestyle": dashes} if place else {"color": OWN}
            steps, scores = zip(*curve, strict=True)
            axes.plot(steps, scores, linewidth=1.9, marker="o", markersize=2.8, label=label(fit.title, 24), **style)
        axes.set(xlabel="step", ylabel=f"{words} on the {curves[0][0].held_out} part")
        reached = [score for _, curve in curves for _, score in curve]
        most = max(1.01, max(reached))  # an error rate may be above 1; no point is cut away
        axes.set_ylim(max(-0.01, min(reached) - 0.05), min(most, max(reached) + 0.05))
        axes.yaxis.set_major_formatter(_PERCENT)
        axes.grid(axis="y")
        corner: Literal["lower right", "upper right"] = "lower right" if metric == ACCURACY else "upper right"
        axes.legend(*(list(reversed(found)) for found in axes.get_legend_handles_labels()), loc=corner)

    ends = ", ".join(f"{fit.title} ends at {percent(curve[-1][1])}" for fit, curve in curves)
    return draw(
        "learning_curves",
        (WIDE, 3.1),
        paint,
        caption=f"{words.capitalize()} on held-out labels while training. They were looked at, never learnt from.",
        alt=f"{words.capitalize()} over the training steps: {ends}.",
        header=("fit", "step", metric),
        rows=[(fit.name, step, score) for fit, curve in curves for step, score in curve],
    )


def pseudo_label_chart(fit: FitData) -> Chart | None:
    """Share of the unlabeled examples that were used, and how often confident predictions are right."""
    part = fit.held_out
    names = {
        "used": "unlabeled examples used",
        f"{part}/kept": f"{part} examples that would be used",
        f"{part}/kept_accuracy": "of these, guessed right",
    }
    curves = {name: curve for key, name in names.items() if (curve := fit.curve(key))}
    if "unlabeled examples used" not in curves:
        return None
    styles: list[dict[str, Any]] = [
        {"color": COOL},
        {"color": OTHER, "linestyle": (0, (4, 2))},
        {"color": WARM, "marker": "o", "markersize": 3},
    ]
    look = dict(zip(names.values(), styles, strict=True))

    def paint(axes: Axes) -> None:
        for name, curve in curves.items():
            axes.plot(*zip(*curve, strict=True), linewidth=1.8, label=name, **look[name])
        axes.set(xlabel="step", ylabel="share of the examples", ylim=(-0.01, 1.03), yticks=np.linspace(0, 1, 6))
        axes.yaxis.set_major_formatter(_PERCENT)
        axes.grid(axis="y")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=1)

    estimated = len(curves) > 1
    more = f" How right they are is estimated on the {part} part at the same threshold." if estimated else ""
    ends = "; ".join(f"{name} {percent(curve[-1][1])}" for name, curve in curves.items())
    return draw(
        "pseudo_labels",
        (WIDE, 3.1 + 0.2 * len(curves)),
        paint,
        caption=f"How many unlabeled examples entered the loss.{more}",
        alt=f"Pseudo-labels over the training steps, at the end: {ends}.",
        header=("curve", "step", "share"),
        rows=[(name, step, value) for name, curve in curves.items() for step, value in curve],
    )


def confusion_chart(confusion: Confusion, classes: Sequence[str], part: str) -> Chart | None:
    """What each class was taken for: counts (true, predicted), coloured by the share of the true class.

    Beyond `MOST_DRAWN` classes there is none: a cell would be smaller than a dot.
    """
    count = len(classes)
    if count > MOST_DRAWN:
        return None
    matrix = confusion.table()
    shares = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    cells = np.empty((count, count, 4))
    right = np.eye(count, dtype=bool)
    for colour, where in ((OWN, right), (WARM, ~right)):
        cells[where, :3] = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    cells[..., 3] = np.where(right, 0.75 * shares, 0.85 * np.sqrt(shares))  # rare confusions must still be seen

    def paint(axes: Axes) -> None:
        axes.imshow(cells, interpolation="nearest")
        axes.set(xlabel="predicted", ylabel="true")
        if count <= MOST_NUMBERED:
            for true, predicted in np.argwhere(matrix):
                number = f"{matrix[true, predicted]}"
                axes.text(predicted, true, number, ha="center", va="center", fontsize=8.5 if len(number) < 4 else 7)
        if count <= MOST_NAMED:
            names, small = [label(name, 12) for name in classes], 9 if count <= MOST_NUMBERED else 5.5
            turn = 0 if max(map(len, names)) <= 2 else 90
            axes.set_xticks(range(count), names, rotation=turn, fontsize=small)
            axes.set_yticks(range(count), names, fontsize=small)
        axes.tick_params(length=0)

    worst = confusion.errors()[:1]
    most = "".join(
        f" Most often {label(classes[t])} was taken for {label(classes[p])}, {n} times." for t, p, n in worst
    )
    return draw(
        "confusion",
        (WIDE, 4.4),
        paint,
        caption=f"Rows: the true class; columns: what the model said, on the {part} part. Orange cells are errors.",
        alt=f"Confusion matrix of {count} classes.{most}",
        header=("true", "predicted", "count"),
        rows=[(classes[t], classes[p], int(matrix[t, p])) for t in range(count) for p in range(count)],
    )


class Bin(NamedTuple):
    """The examples of which a model is about equally sure.

    Attributes:
        low: the smallest confidence.
        high: the largest.
        examples: how many there are.
        confidence: their mean confidence; NaN without examples.
        right: the share that is right, with its interval.
    """

    low: float
    high: float
    examples: int
    confidence: float
    right: Interval


def reliability(probabilities: FloatArray, labels: IntArray) -> list[Bin]:
    """How often a model is right in each bin of confidence."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    places = bins_of(confidence)
    counts = np.bincount(places, minlength=BINS).tolist()
    hits = np.bincount(places[right], minlength=BINS).tolist()
    sums = np.bincount(places, confidence, BINS).tolist()
    return [
        Bin(
            k / BINS,
            (k + 1) / BINS,
            counts[k],
            sums[k] / counts[k] if counts[k] else np.nan,
            wilson(hits[k], counts[k]),
        )
        for k in range(BINS)
    ]


def calibration_chart(before: FloatArray, after: FloatArray | None, labels: IntArray, part: str) -> Chart:
    """How often the model is right when it is so sure: reliability by confidence, with the number of examples.

    Args:
        before: (N, classes) probabilities as the network gives them.
        after: likewise with the fitted temperature, or None.
        labels: (N,).
        part: where they come from.
    """
    named = {"as trained": before} if after is None else {"as trained": before, "calibrated": after}
    bins = {name: reliability(probabilities, labels) for name, probabilities in named.items()}
    last = list(named)[-1]
    most = max(bin_.examples for bin_ in bins[last])

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.9, alpha=0.5)
        middles, heights = (
            [bin_.low + 0.5 / BINS for bin_ in bins[last]],
            [bin_.examples / most for bin_ in bins[last]],
        )
        axes.bar(middles, 0.22 * np.array(heights), 0.9 / BINS, color=OTHER, alpha=0.35)
        for name, all_bins in bins.items():
            shown = [bin_ for bin_ in all_bins if bin_.examples >= FEW]
            colour, mark = (OWN, "o-") if name == last else (OTHER, "s--")
            x, y = [bin_.confidence for bin_ in shown], [bin_.right.mean for bin_ in shown]
            axes.plot(x, y, mark, color=colour, linewidth=1.6, markersize=4.5, label=name)
            if name == last:
                ends = [bin_.right.low for bin_ in shown], [bin_.right.high for bin_ in shown]
                axes.vlines(x, *ends, color=colour, linewidth=1.3, alpha=0.6)
        axes.set(xlabel="confidence", ylabel="share right", xlim=(0, 1.01), ylim=(0, 1.03))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_PERCENT)
        axes.grid()
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)

    errors = {name: calibration_error(p.max(1), p.argmax(1) == labels) for name, p in named.items()}
    said = ", ".join(f"{name} {percent(error)}" for name, error in errors.items())
    return draw(
        "calibration",
        (WIDE, 4.3),
        paint,
        caption="On the diagonal a confidence of 80 % is right 80 times in 100; below it the model is too sure. Grey "
        f"bars: how many {part} examples, the longest {most:,}; points of fewer than {FEW} are left out. Expected "
        f"calibration error: {said}.",
        alt=f"Reliability diagram on the {part} part. Expected calibration error: {said}.",
        header=("probabilities", "from", "to", "count", "confidence", "share_right", "low", "high"),
        rows=[(name, *bin_[:4], *bin_.right) for name, all_bins in bins.items() for bin_ in all_bins],
    )


def class_chart(labeled: IntArray, predicted: IntArray, classes: Sequence[str]) -> Chart:
    """The classes' shares among the labels beside those the model predicts for the unlabeled examples."""
    shares = np.stack([counts / max(1, counts.sum()) for counts in (labeled, predicted)])
    order = np.arange(len(classes))
    if len(classes) > 25:
        order = np.sort(np.argsort(-np.abs(shares[1] - shares[0]), kind="stable")[:25])

    def paint(axes: Axes) -> None:
        height = np.arange(len(order))
        axes.barh(height - 0.2, shares[0, order], 0.36, color=OTHER, label="among the labels")
        axes.barh(height + 0.2, shares[1, order], 0.36, color=COOL, label="predicted, unlabeled")
        axes.set_yticks(height, [label(classes[number]) for number in order.tolist()])
        axes.invert_yaxis()
        axes.xaxis.set_major_locator(MaxNLocator(5))  # whatever room long names leave
        axes.xaxis.set_major_formatter(_PERCENT)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3 / (0.6 + 0.28 * len(order))), ncols=2)

    rest = f" Shown are the 25 of {len(classes)} classes that differ most." if len(order) < len(classes) else ""
    most = int(np.argmax(np.abs(shares[1] - shares[0])))
    return draw(
        "classes_of_the_pool",
        (WIDE, 1.1 + 0.28 * len(order)),
        paint,
        caption="What the model predicts for the unlabeled examples, against the labels it was given. A class that "
        f"swells or vanishes deserves a look.{rest}",
        alt=f"Class shares among labels and predictions; they differ most for {label(classes[most])}: "
        f"{percent(shares[0, most])} of the labels, {percent(shares[1, most])} of the predictions.",
        header=("class", "labeled", "predicted_unlabeled"),
        rows=[(name, int(labeled[k]), int(predicted[k])) for k, name in enumerate(classes)],
    )


def map_by_part(points: FloatArray, parts: Sequence[str], wrong: npt.NDArray[np.bool_]) -> Chart:
    """Where labeled, unlabeled and test examples lie, and where the errors are.

    Args:
        points: (N, 2).
        parts: of each point.
        wrong: (N,) whether the model's prediction is an error.
    """
    which = np.array(parts)
    held = next((name for name in ("test", "development") if name in parts), "")

    def paint(axes: Axes) -> None:
        marks: dict[str, dict[str, Any]] = {
            "unlabeled": {"s": 9, "color": OTHER, "alpha": 0.5, "linewidths": 0},
            held: {"s": 10, "color": COOL, "alpha": 0.75, "linewidths": 0},
            "labeled": {"s": 34, "color": OWN, "marker": "D", "edgecolors": "white", "linewidths": 0.7},
        }
        for name, mark in marks.items():
            own = (which == name) & ~wrong
            if own.any():
                axes.scatter(*points[own].T, label=name, rasterized=True, **mark)
        if wrong.any():
            mark = {"s": 20, "color": WARM, "marker": "x", "linewidths": 1.2}
            axes.scatter(*points[wrong].T, label=f"{held}, wrong", rasterized=True, **mark)
        _map_axes(axes)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, markerscale=1.4, handletextpad=0.2)

    return draw(
        "map",
        (WIDE, 4.6),
        paint,
        caption="Every dot is an example, near those the network sees alike. Unlabeled examples far from any label "
        "(green) are where labels would teach most; crosses are errors.",
        alt=f"Map of {len(points)} examples by part; {int(wrong.sum())} are errors.",
        header=("x", "y", "part", "wrong"),
        rows=[(float(x), float(y), str(p), int(w)) for (x, y), p, w in zip(points, which, wrong, strict=True)],
    )


def map_by_class(points: FloatArray, predicted: IntArray, classes: Sequence[str]) -> Chart:
    """The same map, by what the model takes each example for."""
    counts = np.bincount(predicted, minlength=len(classes))

    def paint(axes: Axes) -> None:
        colours = [_CLASS_COLOURS[number % len(_CLASS_COLOURS)] for number in predicted]
        axes.scatter(points[:, 0], points[:, 1], s=11, c=colours, alpha=0.7, linewidths=0, rasterized=True)
        halo = {"boxstyle": "round,pad=0.15", "facecolor": GROUND, "alpha": 0.75, "linewidth": 0}
        for number in np.argsort(-counts)[:20]:
            if counts[number]:
                own = points[predicted == number]
                middle = own[np.argmin(np.abs(own - np.median(own, 0)).sum(1))]
                name = label(classes[number], 14)
                axes.text(middle[0], middle[1], name, ha="center", va="center", fontsize=9.5, weight="bold", bbox=halo)
        _map_axes(axes)

    return draw(
        "map_of_classes",
        (WIDE, 4.6),
        paint,
        caption="The same map, coloured and named by predicted class.",
        alt=f"Map of {len(points)} examples by predicted class; {int((counts > 0).sum())} classes are predicted.",
        header=("x", "y", "predicted"),
        rows=[(float(x), float(y), classes[k]) for (x, y), k in zip(points, predicted, strict=True)],
    )


def _map_axes(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel("map: only near distances mean something", fontsize=9)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.margins(0.03)


def embed(features: npt.NDArray[Any], seed: int = 0) -> FloatArray:
    """Features (N, D) as points (N, 2): principal components, then t-SNE (van der Maaten and Hinton 2008), seeded."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    centred = np.asarray(features, np.float64) - np.mean(features, 0, dtype=np.float64)
    scale = centred.std()
    if scale == 0 or len(centred) < 3:
        return np.zeros((len(centred), 2))
    width = min(30, centred.shape[1], len(centred) - 1)
    reduced = PCA(width, random_state=seed).fit_transform(centred / scale)
    if len(reduced) < 30 or width < 2:
        return np.pad(reduced[:, :2], ((0, 0), (0, max(0, 2 - width))))
    near = min(30.0, len(reduced) / 4)
    points = TSNE(2, perplexity=near, init="pca", max_iter=500, angle=0.7, random_state=seed).fit_transform(reduced)
    return np.asarray(points, np.float64)
