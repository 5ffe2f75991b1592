"""The methods on strings against their equations: CTC by enumeration of all paths, a decoder by its own greedy loop.

Networks are as small as in `linear`: one matrix θ, so that every logit is known. As there, gradients are central
differences of the NumPy loss with everything held fixed that a method must hold fixed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semilla import randomness
from semilla.contract import Batch, Info, Logs, Method, Net, Output, Run, View
from semilla.errors import UsageError
from semilla.methods.character_consistency import CharacterConsistency
from semilla.methods.fixmatch import FixMatch
from semilla.methods.mean_teacher import MeanTeacher
from semilla.methods.pi_model import PiModel
from semilla.methods.pseudo_label import PseudoLabel
from semilla.methods.supervised import Supervised
from semilla.methods.uda import UDA
from semilla.parts.forward import together
from semilla.tasks import CTC, Alphabet, Attention

from . import equations as eq
from .linear import assert_terms

ALPHABET, SYMBOLS, FEATURES, FRAMES, LONGEST = Alphabet("ab"), 3, 3, 5, 3
LABELS = ["ab", "b", "", "ba"]
STEP = 3
GROWTH = eq.ramp(STEP / 10, 0.4)
Text = tuple[int, ...]
PATHS = {n: np.array(list(itertools.product(range(SYMBOLS), repeat=n))) for n in range(1, FRAMES + 1)}
READ = {n: [tuple(s for s, _ in itertools.groupby(path) if s) for path in paths.tolist()] for n, paths in PATHS.items()}


def assert_same(method: Method, problem: Lines | Decoder, expected: Callable[[eq.Array], eq.Terms]) -> Logs:
    net, ema = problem.net(problem.theta), problem.net(problem.teacher)
    run = Run(problem.task, ema.requires_grad_(True).eval(), STEP, 10, randomness.generator(0, "method", STEP))
    losses, logs = method(net, problem.batch(method), run)
    assert_terms(losses, net, ema, problem.theta, expected)
    return logs


# --- frames -----------------------------------------------------------------------------------------------------------


class FrameNet(nn.Module):
    def __init__(self, theta: eq.Array) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.from_numpy(theta.copy()))

    def forward(self, inputs: Tensor, width: Tensor | None = None) -> Output:
        frames = inputs[:, 0].transpose(1, 2)
        return Output(frames @ self.theta[:, :-1].T + self.theta[:, -1], frames, width)


class Lines:
    """Pictures of FEATURES rows whose columns are frames, with widths, and views moved by known, broken columns."""

    task = CTC(ALPHABET)

    def __init__(self, seed: int, unlabeled: int = 6) -> None:
        draws = np.random.default_rng(seed)
        self.theta = 1.5 * draws.normal(size=(SYMBOLS, FEATURES + 1))
        self.theta[0, -1] += 1.5  # the blank
        self.teacher = self.theta + 0.5 * draws.normal(size=self.theta.shape)
        self.x = draws.normal(size=(2, len(LABELS), 1, FEATURES, FRAMES))
        self.u = draws.normal(size=(2, unlabeled, 1, FEATURES, FRAMES))
        self.x_width, self.u_width = np.array([5, 4, 3, 5]), draws.integers(2, FRAMES + 1, unlabeled)
        self.x_shift, self.u_shift = draws.uniform(-2, 2, (2, len(LABELS))), draws.uniform(-2, 2, (2, unlabeled))

    def net(self, theta: eq.Array) -> Net:
        return Net(FrameNet(theta))

    def batch(self, method: Method) -> Batch:
        def views(inputs: eq.Array, shifts: eq.Array, width: eq.Array, count: int) -> tuple[View, ...]:
            maps = [torch.tensor([[[1, 0, shift], [0, 1, 0]] for shift in row]) for row in shifts]
            rows = zip(inputs[:count], maps, strict=False)
            return tuple(View(torch.from_numpy(each), there, torch.from_numpy(width)) for each, there in rows)

        x = views(self.x, self.x_shift, self.x_width, len(method.labeled_views))
        u = views(self.u, self.u_shift, self.u_width, len(method.unlabeled_views))
        return Batch(x, ALPHABET.encode(LABELS), u, torch.arange(len(LABELS)), torch.arange(len(self.u[0])))

    def logits(self, theta: eq.Array, inputs: eq.Array, width: eq.Array) -> list[eq.Array]:
        """The valid frames of every line, (T, C) each."""
        return [
            each[0, :, :w].T @ theta[:, :-1].T + theta[:, -1] for each, w in zip(inputs, width.tolist(), strict=True)
        ]

    def supervised(self, theta: eq.Array) -> float:
        targets = [tuple("ab".index(letter) + 1 for letter in label) for label in LABELS]
        lines = zip(self.logits(theta, self.x[0], self.x_width), targets, strict=True)
        return float(np.mean([ctc(z, text) for z, text in lines]))

    def moved(self, lines: list[eq.Array], seen: eq.Array, wanted: eq.Array) -> list[eq.Array]:
        return [shifted(eq.softmax(z), to - at) for z, at, to in zip(lines, seen, wanted, strict=True)]


def squares(z: eq.Array, q: eq.Array) -> eq.Array:
    """Summed over the symbols."""
    return ((eq.softmax(z) - q) ** 2).sum(-1)


def begun(method: Method) -> Method:
    """As if every guess had had a symbol in it since the first step."""
    assert isinstance(method, MeanTeacher | PiModel)
    method.onset.step.fill_(0)
    return method


def ctc(z: eq.Array, text: Text) -> float:
    """−log of the sum over every path that is read as the text, per symbol; 0 where there is none."""
    log_p = eq.log_softmax(z)
    scores = log_p[np.arange(len(z)), PATHS[len(z)]].sum(1)
    own = scores[[read == text for read in READ[len(z)]]]
    return float(-np.logaddexp.reduce(own) / max(1, len(text))) if len(own) else 0.0


def best(z: eq.Array) -> tuple[Text, float]:
    """The best path's text and the confidence in it."""
    text = tuple(s for s, _ in itertools.groupby(z.argmax(1).tolist()) if s)
    return text, float(np.exp(-ctc(z, text))) if text else 0.0


def shifted(p: eq.Array, shift: float) -> eq.Array:
    """(T, C): what was said at columns ``shift`` further on; columns run from 0 to T, frame t's middle is t + ½."""
    at = np.arange(len(p)) + 0.5 + shift
    inside = (at >= 0) & (at < len(p))
    moved = np.stack([np.interp(at, np.arange(len(p)) + 0.5, column) for column in p.T], -1)
    return np.where(inside[:, None], moved, np.eye(SYMBOLS)[0])


def over_frames(divergence: Callable[[eq.Array, eq.Array], eq.Array], z: eq.Array, q: eq.Array) -> float:
    """Frames whose q is surest of a symbol weigh 1, the others share as much and weigh at most 1."""
    symbol = q.argmax(1) > 0
    if not symbol.any():
        return 0.0
    share = 0.0 if symbol.all() else min(1.0, symbol.sum() / (~symbol).sum())
    weights = np.where(symbol, 1.0, share)
    return float((weights * divergence(z, q)).sum() / weights.sum())


LINES = [Lines(seed) for seed in (3, 5, 8)]
over_lines = pytest.mark.parametrize("lines", LINES, ids=lambda lines: str(LINES.index(lines)))


def test_the_lines_exercise_masks_and_blanks() -> None:
    read = [best(z) for lines in LINES for z in lines.logits(lines.theta, lines.u[0], lines.u_width)]
    assert {len(text) for text, _ in read} >= {0, 1, 2}
    assert 4 < sum(confidence > 0.6 for _, confidence in read) < len(read) - 4
    moved = [
        q for lines in LINES for q in lines.moved(lines.logits(lines.theta, lines.u[0], lines.u_width), *lines.u_shift)
    ]
    assert sum(bool((q[:, 0] == 1).any()) for q in moved) > 4, "some views reach beyond the other"


@over_lines
def test_ctc_supervised(lines: Lines) -> None:
    method = Supervised(Info(SYMBOLS, 4, 6))
    assert assert_same(method, lines, lambda theta: {"supervised": lines.supervised(theta)}) == {}


@over_lines
@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("kind", [MeanTeacher, PiModel])
def test_ctc_mean_teacher_and_pi_model(lines: Lines, kind: type[Method], everything: bool) -> None:
    fixed = lines.teacher if kind is MeanTeacher else lines.theta
    taught = lines.moved(lines.logits(fixed, lines.u[0], lines.u_width), *lines.u_shift)
    # the teacher sees the second labeled view and the student the first; the Π-model's student sees the second
    first, second = (1, 0) if kind is MeanTeacher else (0, 1)
    if everything:
        again = lines.logits(fixed, lines.x[first], lines.x_width)
        taught = taught + lines.moved(again, lines.x_shift[first], lines.x_shift[second])

    def expected(theta: eq.Array) -> eq.Terms:
        student = lines.logits(theta, lines.u[1], lines.u_width)
        if everything:
            student = student + lines.logits(theta, lines.x[second], lines.x_width)
        each = [over_frames(squares, z, q) for z, q in zip(student, taught, strict=True)]
        return {"supervised": lines.supervised(theta), "consistency": 7 * GROWTH * float(np.mean(each))}

    info = Info(SYMBOLS, 4, 6)
    assert_same(begun(kind(info, weight=7.0, consistency_on="all" if everything else "unlabeled")), lines, expected)


@over_lines
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.6])
def test_ctc_uda(lines: Lines, threshold: float, joint: bool) -> None:
    weak = lines.logits(lines.theta, lines.u[0], lines.u_width)
    kept = [best(z)[1] > threshold for z in weak]
    p = lines.moved(weak, *lines.u_shift)

    def expected(theta: eq.Array) -> eq.Terms:
        strong = lines.logits(theta, lines.u[1], lines.u_width)
        each = [over_frames(eq.kl, z, eq.sharpen(q, 0.4)) for z, q in zip(strong, p, strict=True)]
        spread = [over_frames(lambda z, _: eq.entropy(z), z, q) for z, q in zip(strong, p, strict=True)]
        return {
            "supervised": lines.supervised(theta),
            "consistency": 0.7 * float(np.mean(np.array(kept) * each)),
            "entropy": 0.1 * float(np.mean(spread)),
        }

    method = UDA(Info(SYMBOLS, 4, 6), threshold=threshold, weight=0.7, entropy=0.1, joint=joint)
    assert assert_same(method, lines, expected)["used"].item() == np.float32(np.mean(kept))


@over_lines
@pytest.mark.parametrize("threshold", [0.0, 0.6])
@pytest.mark.parametrize("kind", [FixMatch, PseudoLabel])
def test_ctc_fixmatch_and_pseudo_label(lines: Lines, kind: type[Method], threshold: float) -> None:
    read = [best(z) for z in lines.logits(lines.theta, lines.u[0], lines.u_width)]
    view, growth = (1, 1.0) if kind is FixMatch else (0, GROWTH)

    def expected(theta: eq.Array) -> eq.Terms:
        student = lines.logits(theta, lines.u[view], lines.u_width)
        each = [(sure > threshold) * ctc(z, text) for z, (text, sure) in zip(student, read, strict=True)]
        return {"supervised": lines.supervised(theta), "consistency": 0.7 * growth * float(np.mean(each))}

    logs = assert_same(kind(Info(SYMBOLS, 4, 6), threshold=threshold, weight=0.7), lines, expected)
    assert logs["used"].item() == np.float32(np.mean([sure > threshold for _, sure in read]))


def test_one_pass_over_lines_padded_to_different_widths() -> None:
    """Each view reads in the common pass what it reads by itself."""
    net, draws = LINES[0].net(LINES[0].theta), np.random.default_rng(0)
    views = [
        View(torch.from_numpy(draws.normal(size=(2, 1, FEATURES, columns))), width=torch.tensor([columns, 2]))
        for columns in (3, 5, 4)
    ]
    for view, found in zip(views, together(net, *views), strict=True):
        own, columns = net(view), view.inputs.shape[-1]
        torch.testing.assert_close(found.logits[:, :columns], own.logits)
        assert torch.equal(found.lengths, own.lengths)
        assert found.logits.shape[1] == FRAMES


# --- a decoder --------------------------------------------------------------------------------------------------------


class LinearDecoder(nn.Module):
    """logits_t = θ [picture, symbol before, how far, 1]: fed, or what it says greedily."""

    def __init__(self, theta: eq.Array) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.from_numpy(theta.copy()))

    def say(self, inputs: Tensor, prefix: Tensor) -> Output:
        before = nn.functional.one_hot(prefix, SYMBOLS).to(inputs)
        far = torch.arange(prefix.shape[1]).to(inputs).expand(len(inputs), -1)[:, :, None]
        rows = [inputs[:, None].expand(-1, prefix.shape[1], -1), before, far, torch.ones_like(far)]
        features = torch.cat(rows, -1)
        return Output(features @ self.theta.T, features, (prefix > 0).sum(1) + 1)

    def forward(self, inputs: Tensor, prefix: Tensor | None = None) -> Output:
        if prefix is not None:
            return self.say(inputs, prefix)._replace(lengths=None)  # the contract counts what was fed
        with torch.no_grad():
            prefix = torch.zeros(len(inputs), 1, dtype=torch.int64)
            for _ in range(LONGEST):
                symbol = self.say(inputs, prefix).logits[:, -1].argmax(-1)
                ended = (prefix[:, 1:] == 0).any(1)
                prefix = torch.cat([prefix, symbol.masked_fill(ended, 0)[:, None]], 1)
        prefix = prefix[:, : int((prefix > 0).sum(1).max()) + 1]
        return self.say(inputs, prefix)


class Decoder:
    """Pictures are vectors of FEATURES numbers."""

    task = Attention(ALPHABET)

    def __init__(self, seed: int, unlabeled: int = 6) -> None:
        draws = np.random.default_rng(seed)
        self.theta = 1.2 * draws.normal(size=(SYMBOLS, FEATURES + SYMBOLS + 2))
        self.theta[:, -2] = [1.0, -0.3, -0.3]  # the further, the sooner it ends
        self.teacher = self.theta + 0.3 * draws.normal(size=self.theta.shape)
        self.x, self.u = draws.normal(size=(2, len(LABELS), FEATURES)), draws.normal(size=(2, unlabeled, FEATURES))

    def net(self, theta: eq.Array) -> Net:
        return Net(LinearDecoder(theta))

    def batch(self, method: Method) -> Batch:
        x = tuple(View(torch.from_numpy(each)) for each in self.x[: len(method.labeled_views)])
        u = tuple(View(torch.from_numpy(each)) for each in self.u[: len(method.unlabeled_views)])
        return Batch(x, ALPHABET.encode(LABELS), u, torch.arange(len(LABELS)), torch.arange(len(self.u[0])))

    def supervised(self, theta: eq.Array) -> float:
        targets = [tuple("ab".index(letter) + 1 for letter in label) for label in LABELS]
        return float(np.mean([spelled(theta, u, text) for u, text in zip(self.x[0], targets, strict=True)]))


def fed(theta: eq.Array, picture: eq.Array, text: Text) -> eq.Array:
    """(len + 1, C) logits for every symbol of the text and the end."""
    rows = [[*picture, *np.eye(SYMBOLS)[symbol], t, 1.0] for t, symbol in enumerate((0, *text))]
    return np.array(rows) @ theta.T


def spelled(theta: eq.Array, picture: eq.Array, text: Text) -> float:
    """−log p of the text and its end, a mean over both."""
    return float(eq.cross_entropy(fed(theta, picture, text), np.array([*text, 0])).mean())


def said(theta: eq.Array, picture: eq.Array) -> tuple[Text, float]:
    """What the decoder says by itself, and its confidence: 0 for nothing and for what has no end."""
    text: Text = ()
    while (symbol := int(fed(theta, picture, text)[-1].argmax())) and len(text) <= LONGEST:
        text = (*text, symbol)
    if not text or len(text) > LONGEST:
        return text, 0.0
    p = eq.softmax(fed(theta, picture, text))[np.arange(len(text) + 1), [*text, 0]]
    return text, float(p.prod() ** (1 / len(text)))


def over_symbols(divergence: Callable[..., eq.Array], z: eq.Array, q: eq.Array) -> float:
    """A mean over symbols and end; of one that was stopped after LONGEST + 1 symbols, over these."""
    there = min(len(q), LONGEST + 1)
    return float(divergence(z[:there], q[:there]).mean()) if len(q) > 1 else 0.0  # the end alone: an empty string


DECODERS = [Decoder(seed) for seed in (0, 7, 9)]
over_decoders = pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: str(DECODERS.index(decoder)))


def test_the_decoders_exercise_masks_and_ends() -> None:
    for net in ("theta", "teacher"):
        read = [said(getattr(decoder, net), u) for decoder in DECODERS for u in decoder.u[0]]
        assert {len(text) for text, _ in read} >= {0, 1, 2}
        assert max(len(text) for text, _ in read) == LONGEST + 1, "one is stopped"
        assert 3 < sum(confidence > 0.5 for _, confidence in read) < len(read) - 3


@over_decoders
@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("kind", [MeanTeacher, PiModel])
def test_attention_mean_teacher_and_pi_model(decoder: Decoder, kind: type[Method], everything: bool) -> None:
    """The student is fed the teacher's string, or the true one of a labeled example."""
    fixed = decoder.teacher if kind is MeanTeacher else decoder.theta
    texts = [said(fixed, u)[0] for u in decoder.u[0]]
    seen, learned = list(decoder.u[0]), list(decoder.u[1])
    if everything:
        texts = texts + [tuple("ab".index(letter) + 1 for letter in label) for label in LABELS]
        first, second = (1, 0) if kind is MeanTeacher else (0, 1)
        seen, learned = seen + list(decoder.x[first]), learned + list(decoder.x[second])
    q = [eq.softmax(fed(fixed, u, text)) for u, text in zip(seen, texts, strict=True)]

    def expected(theta: eq.Array) -> eq.Terms:
        student = [fed(theta, u, text) for u, text in zip(learned, texts, strict=True)]
        each = [over_symbols(squares, z, p) for z, p in zip(student, q, strict=True)]
        return {"supervised": decoder.supervised(theta), "consistency": 7 * GROWTH * float(np.mean(each))}

    info = Info(SYMBOLS, 4, 6)
    assert_same(begun(kind(info, weight=7.0, consistency_on="all" if everything else "unlabeled")), decoder, expected)


@over_decoders
@pytest.mark.parametrize("threshold", [0.0, 0.5])
@pytest.mark.parametrize("kind", [UDA, CharacterConsistency])
def test_attention_uda_and_character_consistency(decoder: Decoder, kind: type[Method], threshold: float) -> None:
    fixed = decoder.theta if kind is UDA else decoder.teacher
    read = [said(fixed, u) for u in decoder.u[0]]
    q = [eq.sharpen(eq.softmax(fed(fixed, u, text)), 0.4) for u, (text, _) in zip(decoder.u[0], read, strict=True)]

    def expected(theta: eq.Array) -> eq.Terms:
        student = [fed(theta, u, text) for u, (text, _) in zip(decoder.u[1], read, strict=True)]
        each = [over_symbols(eq.kl, z, p) for z, p in zip(student, q, strict=True)]
        kept = [sure > threshold for _, sure in read]
        return {"supervised": decoder.supervised(theta), "consistency": 0.7 * float(np.mean(np.array(kept) * each))}

    logs = assert_same(kind(Info(SYMBOLS, 4, 6), threshold=threshold, weight=0.7), decoder, expected)
    assert logs["used"].item() == np.float32(np.mean([sure > threshold for _, sure in read]))


@over_decoders
@pytest.mark.parametrize("threshold", [0.0, 0.5])
@pytest.mark.parametrize("kind", [FixMatch, PseudoLabel])
def test_attention_fixmatch_and_pseudo_label(decoder: Decoder, kind: type[Method], threshold: float) -> None:
    read = [said(decoder.theta, u) for u in decoder.u[0]]
    view, growth = (1, 1.0) if kind is FixMatch else (0, GROWTH)

    def expected(theta: eq.Array) -> eq.Terms:
        student = zip(decoder.u[view], read, strict=True)
        each = [(sure > threshold) * spelled(theta, u, text) for u, (text, sure) in student]
        return {"supervised": decoder.supervised(theta), "consistency": 0.7 * growth * float(np.mean(each))}

    assert_same(kind(Info(SYMBOLS, 4, 6), threshold=threshold, weight=0.7), decoder, expected)


@pytest.mark.parametrize("kind", [UDA, FixMatch])
def test_one_pass_is_refused_to_a_decoder(kind: type[Method]) -> None:
    with pytest.raises(UsageError) as caught:
        assert_same(kind(Info(SYMBOLS, 4, 6), joint=True), DECODERS[0], lambda theta: {})
    assert caught.value.code == "U123"


@pytest.mark.parametrize("kind", [MeanTeacher, PiModel])
def test_the_ramp_begins_where_the_plateau_of_empty_guesses_ends(kind: type[Method]) -> None:
    """Nothing is read up to step 3; from then on the ramp counts, whatever is read later."""
    lines, weights = Lines(3), []
    method = kind(Info(SYMBOLS, 4, 6), weight=1.0, ramp=0.4)
    empty, read = lines.theta.copy(), lines.theta.copy()
    empty[0, -1] += 50.0
    read[0, -1] -= 50.0
    for step, theta in enumerate([empty, empty, empty, read, empty, read, read, read]):
        net, ema = lines.net(theta), lines.net(theta).eval()
        run = Run(lines.task, ema, step, 10, randomness.generator(0, "method", step))
        method(net, lines.batch(method), run)
        weights.append(method.onset.progress(run, lines.task.guess(net(lines.batch(method).u[0]))))
        restored = kind(Info(SYMBOLS, 4, 6))
        restored.load_state_dict(method.state_dict())
        assert restored.onset.step == method.onset.step
    assert weights == pytest.approx([0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4])
