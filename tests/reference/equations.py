"""The equations of the methods a second time: NumPy, float64, from the papers and not from the package.

Functions of logits, one row for each example, so that nothing of a network is in the way. A gradient flows where the
caller recomputes the logits; what a method must hold fixed has an argument of its own. Every function carries a worked
example whose arithmetic can be followed by hand; the examples run as doctests.

Notation: z logits, p = softmax(z), B examples, C classes, t progress of the run in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Terms = dict[str, float]


# --- distributions ---------------------------------------------------------------------------------------------------


def softmax(z: Array) -> Array:
    """e^z / Σ e^z.

    Logits (0, ln 3): e^z = (1, 3), the sum is 4, p = (1/4, 3/4).

    >>> softmax(np.array([0.0, math.log(3.0)])).round(6).tolist()
    [0.25, 0.75]
    """
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def log_softmax(z: Array) -> Array:
    """z − log Σ e^z.

    Logits (0, ln 3): (−ln 4, ln 3 − ln 4) = (−1.386294, −0.287682).

    >>> log_softmax(np.array([0.0, math.log(3.0)])).round(6).tolist()
    [-1.386294, -0.287682]
    """
    shifted = z - z.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def sharpen(p: Array, temperature: float) -> Array:
    """p^(1/T) / Σ p^(1/T): MixMatch, equation 7. Dividing by max p first changes no ratio and keeps the sum above 0.

    p = (0.8, 0.2), T = ½: squares (0.64, 0.04), sum 0.68, so (16/17, 1/17) = (0.941176, 0.058824).

    >>> sharpen(np.array([0.8, 0.2]), 0.5).round(6).tolist()
    [0.941176, 0.058824]
    """
    powers = (p / p.max(axis=-1, keepdims=True)) ** (1.0 / temperature)
    return powers / powers.sum(axis=-1, keepdims=True)


def one_hot(y: npt.NDArray[np.int64], classes: int) -> Array:
    """Row i is 1 at y[i] and 0 elsewhere.

    >>> one_hot(np.array([1]), 3).tolist()
    [[0.0, 1.0, 0.0]]
    """
    return np.array([[1.0 if c == label else 0.0 for c in range(classes)] for label in y])


# --- losses of one example -------------------------------------------------------------------------------------------


def cross_entropy(z: Array, y: npt.NDArray[np.int64]) -> Array:
    """−log p_y: (B, C), (B,) → (B,). H of FixMatch, equation 3, with a hard label.

    z = (0, ln 3), y = 1: −ln ¾ = 0.287682.

    >>> cross_entropy(np.array([[0.0, math.log(3.0)]]), np.array([1])).round(6).tolist()
    [0.287682]
    """
    return np.array([-row[label] for row, label in zip(log_softmax(z), y, strict=True)])


def soft_cross_entropy(z: Array, q: Array) -> Array:
    """−Σ q log p: H(q, p) of MixMatch, equation 3.

    z = (0, ln 3), q = (½, ½): ½·1.386294 + ½·0.287682 = 0.836988. (Rounding q to whole numbers would give 0.)

    >>> soft_cross_entropy(np.array([[0.0, math.log(3.0)]]), np.array([[0.5, 0.5]])).round(6).tolist()
    [0.836988]
    """
    return -(q * log_softmax(z)).sum(axis=-1)


def kl(z: Array, q: Array) -> Array:
    """KL(q ‖ p) = Σ q (log q − log p), 0 log 0 = 0: the divergence of UDA, equation 1.

    z = (0, ln 3), q = (½, ½): ½ ln(½ / ¼) + ½ ln(½ / ¾) = ½·0.693147 − ½·0.405465 = 0.143841.

    >>> kl(np.array([[0.0, math.log(3.0)]]), np.array([[0.5, 0.5]])).round(6).tolist()
    [0.143841]
    """
    positive = np.where(q > 0, q, 1.0)
    return (q * (np.log(positive) - log_softmax(z))).sum(axis=-1)


def entropy(z: Array) -> Array:
    """−Σ p log p.

    p = (¼, ¾): ¼·1.386294 + ¾·0.287682 = 0.562335.

    >>> entropy(np.array([[0.0, math.log(3.0)]])).round(6).tolist()
    [0.562335]
    """
    return -(softmax(z) * log_softmax(z)).sum(axis=-1)


def mse_over_classes(z: Array, q: Array) -> Array:
    """(1/C) Σ (p − q)²: Laine & Aila 2017, Algorithm 1; MixMatch, equation 4.

    p = (¼, ¾), q = (½, ½): (¼² + ¼²) / 2 = 0.0625.

    >>> mse_over_classes(np.array([[0.0, math.log(3.0)]]), np.array([[0.5, 0.5]])).round(6).tolist()
    [0.0625]
    """
    return ((softmax(z) - q) ** 2).sum(axis=-1) / z.shape[-1]


# --- schedules -------------------------------------------------------------------------------------------------------


def ramp(t: float, end: float, shape: str = "linear", start: float = 0.0) -> float:
    """The share of λ reached at progress t, 1 from ``end`` on and 0 before ``start``.

    Linear: Lee 2013, equation 16. Sigmoid: exp(−5(1 − τ)²), Laine & Aila 2017, §2, with τ going from 0 to 1.

    A quarter of the way: linear 0.25; sigmoid exp(−5·0.75²) = exp(−2.8125) = 0.060055.

    >>> ramp(0.1, 0.4), round(ramp(0.1, 0.4, "sigmoid"), 6)
    (0.25, 0.060055)
    """
    if t >= end:
        return 1.0
    if t < start:
        return 0.0
    tau = (t - start) / (end - start)
    return tau if shape == "linear" else math.exp(-5.0 * (1.0 - tau) ** 2)


def tsa_threshold(t: float, classes: int, schedule: str) -> float:
    """η = a·(1 − 1/C) + 1/C, training-signal annealing of Xie et al. 2020.

    a is t (linear), e^(5(t − 1)) (exp) or 1 − e^(−5t) (log).

    Half-way with 10 classes: linear 0.5·0.9 + 0.1 = 0.55; exp e^(−2.5)·0.9 + 0.1 = 0.082085·0.9 + 0.1 = 0.173876;
    log (1 − 0.082085)·0.9 + 0.1 = 0.926124.

    >>> [round(tsa_threshold(0.5, 10, name), 6) for name in ("linear", "exp", "log")]
    [0.55, 0.173876, 0.926124]
    """
    a = {"linear": t, "exp": math.exp(5.0 * (t - 1.0)), "log": 1.0 - math.exp(-5.0 * t)}[schedule]
    return a * (1.0 - 1.0 / classes) + 1.0 / classes


def ema(teacher: Array, student: Array, step: int, decay: float) -> Array:
    """θ′ ← α θ′ + (1 − α) θ, α = min(1 − 1/(step + 1), decay): Tarvainen & Valpola 2017, §2, and their code.

    ``step`` counts the updates from 1, so that the first α is ½.

    Step 1, θ′ = 0, θ = 1: ½·0 + ½·1 = 0.5. Step 2: ⅔·0.5 + ⅓·1 = 0.666667. Step 10⁶ at decay 0.9: 0.9·0.5 + 0.1 = 0.55.

    >>> ema(np.array(0.0), np.array(1.0), 1, 0.9).item(), ema(np.array(0.5), np.array(1.0), 2, 0.9).round(6).item()
    (0.5, 0.666667)
    >>> ema(np.array(0.5), np.array(1.0), 10**6, 0.9).round(6).item()
    0.55
    """
    alpha = min(1.0 - 1.0 / (step + 1), decay)
    return alpha * teacher + (1.0 - alpha) * student


# --- methods ---------------------------------------------------------------------------------------------------------


def supervised(logits: Sequence[Array], y: npt.NDArray[np.int64]) -> Terms:
    """Mean cross-entropy over the examples, then over the views.

    One view, p = (¼, ¾) for both of two examples with y = (1, 0): (0.287682 + 1.386294) / 2 = 0.836988.

    >>> z = np.array([[0.0, math.log(3.0)]] * 2)
    >>> round(float(supervised([z], np.array([1, 0]))["supervised"]), 6)
    0.836988
    """
    return {"supervised": sum(cross_entropy(z, y).mean() for z in logits) / len(logits)}


def consistency(logits_x: Array, y: npt.NDArray[np.int64], logits_1: Array, logits_2: Array, weight: float) -> Terms:
    """L = mean CE(y, p(x)) + λ w(t) · mean over examples and classes of (p₂ − p₁)².

    Π-model: Laine & Aila 2017, Algorithm 1, both passes through the student. Mean Teacher: Tarvainen & Valpola 2017,
    §2, with p₁ of the teacher. ``weight`` is λ w(t).

    p₁ = (½, ½), p₂ = (¼, ¾), weight 8: 8 · (¼² + ¼²) / 2 = 0.5.

    >>> a, b = np.zeros((1, 2)), np.array([[0.0, math.log(3.0)]])
    >>> terms = consistency(b, np.array([1]), a, b, 8.0)
    >>> {name: round(float(value), 6) for name, value in terms.items()}
    {'supervised': 0.287682, 'unlabeled': 0.5}
    """
    return {
        "supervised": cross_entropy(logits_x, y).mean(),
        "unlabeled": weight * mse_over_classes(logits_2, softmax(logits_1)).mean(),
    }


def hard_guess(
    logits_x: Array, y: npt.NDArray[np.int64], guess: Array, student: Array, threshold: float, weight: float
) -> Terms:
    """L = mean CE(y, p(x)) + λ · (1/B′) Σ 1[max p(guess) > τ] CE(argmax p(guess), p(student)).

    FixMatch, equations 3 and 4: the guess from the weak view, the student on the strong one. Pseudo-Label, Lee 2013,
    equation 15 with a threshold: guess and student are the same logits. The sum runs over the kept examples and the
    divisor counts all of them.

    Guesses (0.9, 0.1) and (0.5, 0.5) at τ = 0.8 keep the first alone; students (¼, ¾) both: 1.386294 / 2 = 0.693147.

    >>> guess = np.log(np.array([[0.9, 0.1], [0.5, 0.5]]))
    >>> student = np.log(np.array([[0.25, 0.75], [0.25, 0.75]]))
    >>> round(float(hard_guess(student, np.array([1, 1]), guess, student, 0.8, 1.0)["unlabeled"]), 6)
    0.693147
    """
    total = 0.0
    for z_guess, z_student in zip(guess, student, strict=True):
        p = softmax(z_guess)
        if p.max() > threshold:
            total += -log_softmax(z_student)[p.argmax()]
    return {"supervised": cross_entropy(logits_x, y).mean(), "unlabeled": weight * total / len(guess)}


def annealed(logits_x: Array, y: npt.NDArray[np.int64], eta: float) -> float:
    """Σ 1[p_y ≤ η] CE / max(Σ 1[p_y ≤ η], 1): UDA's training-signal annealing.

    p = (¼, ¾) for labels 1 and 0, η = ½: p_y = ¾ is left out, ¼ stays: 1.386294 / 1. At η = 0.2 nothing stays: 0.

    >>> z = np.array([[0.0, math.log(3.0)]] * 2)
    >>> round(annealed(z, np.array([1, 0]), 0.5), 6), annealed(z, np.array([1, 0]), 0.2)
    (1.386294, 0.0)
    """
    kept = [-row[label] for row, label in zip(log_softmax(logits_x), y, strict=True) if math.exp(row[label]) <= eta]
    return float(sum(kept) / max(len(kept), 1))


def uda(
    logits_x: Array,
    y: npt.NDArray[np.int64],
    logits_w: Array,
    logits_s: Array,
    *,
    threshold: float,
    temperature: float,
    weight: float = 1.0,
    eta: float | None = None,
    minimization: float = 0.0,
) -> Terms:
    """L = CE_TSA(x) + λ · (1/B′) Σ 1[max p_w > τ] KL(softmax(z_w / T) ‖ p_s) + ε · mean H(p_s).

    Xie et al. 2020, equation 1, with confidence masking, sharpening and annealing. The mask reads p_w as it is; the
    target is sharpened.

    p_w = (0.8, 0.2), T = ½, τ = 0.7: q = (16/17, 1/17). p_s = (¼, ¾): 16/17 · ln(0.941176 / 0.25)
    + 1/17 · ln(0.058824 / 0.75) = 0.941176·1.325670 − 0.058824·2.545531 = 1.097952. At τ = 0.85 the sharpened 0.94
    would pass, the 0.8 does not: 0.

    >>> w, s = np.log(np.array([[0.8, 0.2]])), np.log(np.array([[0.25, 0.75]]))
    >>> for tau in (0.7, 0.85):
    ...     print(round(float(uda(s, np.array([1]), w, s, threshold=tau, temperature=0.5)["unlabeled"]), 6))
    1.097952
    0.0
    """
    total = 0.0
    for z_w, z_s in zip(logits_w, logits_s, strict=True):
        if softmax(z_w).max() > threshold:
            total += kl(z_s, softmax(z_w / temperature))
    first = cross_entropy(logits_x, y).mean() if eta is None else annealed(logits_x, y, eta)
    terms = {"supervised": first, "unlabeled": weight * total / len(logits_w)}
    return terms | ({"entropy": minimization * entropy(logits_s).mean()} if minimization else {})


# --- MixMatch --------------------------------------------------------------------------------------------------------


class Mixed(NamedTuple):
    """X′ with its labels and U′ with its guesses: lines 13 and 14 of Algorithm 1."""

    x: Array
    p: Array
    u: Array
    q: Array


def mixmatch_guess(logits: Sequence[Array], temperature: float) -> Array:
    """q̄_b = (1/K) Σ_k p(û_bk), then q_b = sharpen(q̄_b, T): MixMatch, equations 6 and 7.

    The probabilities are averaged, not the logits: (0.9, 0.1) and (0.7, 0.3) give (0.8, 0.2), and T = ½ (16/17, 1/17).

    >>> views = [np.log(np.array([[0.9, 0.1]])), np.log(np.array([[0.7, 0.3]]))]
    >>> mixmatch_guess(views, 0.5).round(6).tolist()
    [[0.941176, 0.058824]]
    """
    guesses = []
    for b in range(len(logits[0])):
        average = sum(softmax(view[b]) for view in logits) / len(logits)
        guesses.append(sharpen(average, temperature))
    return np.array(guesses)


def mixup(first: Array, second: Array, weight: float) -> Array:
    """λ′·first + (1 − λ′)·second with λ′ = max(λ, 1 − λ): MixMatch, equations 9 to 11. ``weight`` is the drawn λ.

    λ = 0.2: λ′ = 0.8, 0.8·1 + 0.2·0 = 0.8.

    >>> mixup(np.array([1.0]), np.array([0.0]), 0.2).tolist()
    [0.8]
    """
    larger = max(weight, 1.0 - weight)
    return larger * first + (1.0 - larger) * second


def mixmatch_mix(
    x: Array, y: Array, views: Sequence[Array], q: Array, order: npt.NDArray[np.int64], weights: Sequence[float]
) -> Mixed:
    """Lines 10 to 14 of Algorithm 1: collect X̂ and Û, shuffle their union into W, mix row by row.

    Args:
        x: (B, …) labeled inputs.
        y: (B, C) their labels.
        views: K arrays (B′, …) of unlabeled inputs. Û lists the first view of all examples, then the second, ….
        q: (B′, C) guesses, shared by an example's views.
        order: W_i is row ``order[i]`` of the union, labeled rows first.
        weights: λ of each row of the union.

    One labeled example 1 with label (1, 0), one unlabeled 3 with guess (0, 1), order (1, 0), λ = (0.6, 0.9):
    X′ = 0.6·1 + 0.4·3 = 1.8 with (0.6, 0.4); U′ = 0.9·3 + 0.1·1 = 2.8 with (0.1, 0.9).

    >>> mixed = mixmatch_mix(np.array([[1.0]]), np.array([[1.0, 0.0]]), [np.array([[3.0]])], np.array([[0.0, 1.0]]),
    ...                      np.array([1, 0]), [0.6, 0.9])
    >>> [part.round(6).tolist() for part in mixed]
    [[[1.8]], [[0.6, 0.4]], [[2.8]], [[0.1, 0.9]]]
    """
    labeled = [(x[b], y[b]) for b in range(len(x))]
    unlabeled = [(view[b], q[b]) for view in views for b in range(len(view))]
    union = labeled + unlabeled
    shuffled = [union[i] for i in order]
    mixed_x, mixed_u = [], []
    for i, pair in enumerate(labeled):
        mixed_x.append([mixup(a, b, weights[i]) for a, b in zip(pair, shuffled[i], strict=True)])
    for i, pair in enumerate(unlabeled, start=len(labeled)):
        mixed_u.append([mixup(a, b, weights[i]) for a, b in zip(pair, shuffled[i], strict=True)])
    return Mixed(*(np.array(column) for rows in (mixed_x, mixed_u) for column in zip(*rows, strict=True)))


def mixmatch_losses(logits_x: Array, p: Array, logits_u: Array, q: Array, weight: float) -> Terms:
    """L_X = mean H(p, p(x′)), L_U = mean over U′ and classes of (q − p(u′))²: MixMatch, equations 3 to 5.

    p(x′) = (¼, ¾) for the mixed label (½, ½): 0.836988; p(u′) = (¼, ¾) for q = (½, ½), weight 4: 4 · 0.0625 = 0.25.

    >>> z, half = np.array([[0.0, math.log(3.0)]]), np.array([[0.5, 0.5]])
    >>> {name: round(float(v), 6) for name, v in mixmatch_losses(z, half, z, half, 4.0).items()}
    {'supervised': 0.836988, 'unlabeled': 0.25}
    """
    return {
        "supervised": soft_cross_entropy(logits_x, p).mean(),
        "unlabeled": weight * mse_over_classes(logits_u, q).mean(),
    }


# --- pre-training ----------------------------------------------------------------------------------------------------


def nt_xent(first: Array, second: Array, temperature: float) -> Terms:
    """L = (1/2N) Σ_k [ℓ(2k−1, 2k) + ℓ(2k, 2k−1)], ℓ(i, j) = −log exp(s_ij/τ) / Σ_{m≠i} exp(s_im/τ), s the cosine.

    SimCLR: Chen et al. 2020, equation 1 and Algorithm 1, in which an example's views are neighbouring rows. The rows
    need not be normalised.

    z₁ = z₂ = (2, 0), (0, 1), τ = 1: a row is at cosine 1 to its other view and at 0 to both of the other example, so
    ℓ = −ln e / (e + 2) = ln(1 + 2/e) = ln 1.735759 = 0.551445 for each.

    >>> z = np.array([[2.0, 0.0], [0.0, 1.0]])
    >>> round(float(nt_xent(z, z, 1.0)["contrastive"]), 6)
    0.551445
    """
    rows = [row / math.sqrt((row**2).sum()) for pair in zip(first, second, strict=True) for row in pair]
    total = 0.0
    for i, row in enumerate(rows):
        j = i + 1 if i % 2 == 0 else i - 1
        powers = {m: math.exp(float(row @ other) / temperature) for m, other in enumerate(rows) if m != i}
        total -= math.log(powers[j] / sum(powers.values()))
    return {"contrastive": total / len(rows)}


def vicreg(first: Array, second: Array, invariance: float, variance: float, covariance: float) -> Terms:
    """λ s + μ (v(z) + v(z′)) / 2 + ν (c(z) + c(z′)): Bardes et al. 2022, equations 1 to 6.

    v (equations 1, 2) and c (3, 4) with N − 1; s (5) as the authors' program has it, a mean over the coordinates too,
    and like it half of both v.

    z = (1, 1), (−1, −1); z′ = (1, 0), (−1, 0), all weights 1. s = (0 + 1 + 0 + 1) / 4 = 0.5. The variances are 2, 2
    and 2, 0: only the last is short of 1, by 1 − √10⁻⁴ = 0.99, so v(z′) = 0.99 / 2 and the term is 0.2475. The only
    covariance is that of z, 2, which stands twice: c(z) = (4 + 4) / 2 = 4.

    >>> z, other = np.array([[1.0, 1.0], [-1.0, -1.0]]), np.array([[1.0, 0.0], [-1.0, 0.0]])
    >>> {name: round(float(value), 6) for name, value in vicreg(z, other, 1.0, 1.0, 1.0).items()}
    {'invariance': 0.5, 'variance': 0.2475, 'covariance': 4.0}
    """
    count, dimension = first.shape

    def moment(z: Array, i: int, j: int) -> float:
        pairs = zip(z[:, i] - z[:, i].mean(), z[:, j] - z[:, j].mean(), strict=True)
        return sum(float(a * b) for a, b in pairs) / (count - 1)

    def v(z: Array) -> float:
        return sum(max(0.0, 1.0 - math.sqrt(moment(z, j, j) + 1e-4)) for j in range(dimension)) / dimension

    def c(z: Array) -> float:
        others = [(i, j) for i in range(dimension) for j in range(dimension) if i != j]
        return sum(moment(z, i, j) ** 2 for i, j in others) / dimension

    return {
        "invariance": invariance * float(((first - second) ** 2).mean()),
        "variance": variance * (v(first) + v(second)) / 2,
        "covariance": covariance * (c(first) + c(second)),
    }


def rotation(pictures: Array, predict: Callable[[Array], Array], turns: Sequence[int]) -> Terms:
    """L = (1/N) Σ_i (1/K) Σ_y −log F_y(turn(u_i, 90° · y)): Gidaris et al. 2018, equations 2 and 3.

    Args:
        pictures: (N, height, width), of one channel.
        predict: logits (4,) of one picture.
        turns: those that are made, of 0 to 3, counterclockwise.

    All logits 0: every turn has the probability ¼, −ln ¼ = 1.386294.

    >>> round(float(rotation(np.zeros((1, 2, 2)), lambda picture: np.zeros(4), (0, 1, 2, 3))["rotation"]), 6)
    1.386294
    """
    losses = [-log_softmax(predict(np.rot90(picture, turn)))[turn] for picture in pictures for turn in turns]
    return {"rotation": sum(losses) / len(losses)}


# --- gradients -------------------------------------------------------------------------------------------------------


def numerical_gradient(loss: Callable[[Array], npt.ArrayLike], at: Array, step: float = 1e-5) -> Array:
    """Central differences (L(θ + h) − L(θ − h)) / 2h for every entry of θ: an error of order h² in float64.

    The shape is that of L's value, then that of θ.

    L = θ², θ = 3: ((3 + h)² − (3 − h)²) / 2h = 6.

    >>> numerical_gradient(lambda theta: (theta**2).sum(), np.array([3.0])).round(6).tolist()
    [6.0]
    """
    gradient = np.zeros((*np.shape(loss(at)), *at.shape))
    for index in np.ndindex(at.shape):
        shift = np.zeros_like(at)
        shift[index] = step
        gradient[(..., *index)] = (np.asarray(loss(at + shift)) - np.asarray(loss(at - shift))) / (2.0 * step)
    return gradient
