"""Properties that hold for every input, and the random numbers: known answers, independence, uniformity."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from semilla import randomness
from semilla.parts import mixing, ramps, targets, weights

examples = settings(max_examples=50, deadline=None, derandomize=True, database=None)

temperatures = st.floats(1e-4, 1.0)
shares = st.floats(0.0, 1.0)
seeds = st.integers(0, 2**64 - 1)


@st.composite
def distributions(draw: st.DrawFn) -> Tensor:
    """(B, C) float32 rows that sum to 1, some of their entries 0."""
    shape = draw(st.tuples(st.integers(1, 5), st.integers(2, 6)))
    raw = draw(hnp.arrays(np.float64, shape, elements=st.sampled_from([0.0, 1e-30, 1e-6, 0.1, 0.5, 0.51, 1.0, 3.0])))
    raw[:, 0] += raw.sum(axis=1) == 0
    return torch.from_numpy((raw / raw.sum(axis=1, keepdims=True)).astype(np.float32))


# --- targets ---


@examples
@given(distributions(), temperatures)
def test_sharpen_returns_distributions(p: Tensor, temperature: float) -> None:
    q = targets.sharpen(p, temperature)
    assert q.isfinite().all()
    assert (q >= 0).all()
    assert torch.allclose(q.sum(-1), torch.ones(len(q)), atol=1e-6)


@examples
@given(distributions(), temperatures)
def test_sharpen_keeps_the_ranking(p: Tensor, temperature: float) -> None:
    """What was larger is not smaller afterwards; the best class stays best and gains."""
    q = targets.sharpen(p, temperature)
    larger = p[:, :, None] > p[:, None, :]
    assert (q[:, :, None] >= q[:, None, :])[larger].all()
    best = p.argmax(-1, keepdim=True)
    assert (q.gather(-1, best) == q.max(-1, keepdim=True).values).all()
    assert (q.gather(-1, best) >= p.gather(-1, best) - 1e-6).all()


@examples
@given(distributions())
def test_sharpen_at_one_changes_nothing(p: Tensor) -> None:
    assert torch.allclose(targets.sharpen(p, 1.0), p, atol=1e-6)


@examples
@given(distributions(), st.floats(0.1, 1.0), st.floats(0.1, 1.0))
def test_sharpening_twice_multiplies_the_temperatures(p: Tensor, first: float, second: float) -> None:
    p = (p + 0.1) / (p + 0.1).sum(-1, keepdim=True)  # away from 0, where float32 forgets
    twice = targets.sharpen(targets.sharpen(p, first).clamp_min(1e-30), second)
    assert torch.allclose(twice, targets.sharpen(p, first * second), atol=1e-5)


def test_sharpen_towards_zero_is_one_hot() -> None:
    p = torch.tensor([[0.2, 0.5, 0.3], [0.34, 0.33, 0.33], [0.5, 0.5, 0.0]])
    assert torch.equal(targets.sharpen(p, 1e-6), torch.tensor([[0.0, 1, 0], [1, 0, 0], [0.5, 0.5, 0]]))


# --- weights ---


@examples
@given(shares, shares, st.floats(0.01, 1.0), st.sampled_from(["linear", "sigmoid"]), shares)
def test_ramps_grow_within_zero_and_one(a: float, b: float, end: float, shape: ramps.Ramp, share: float) -> None:
    earlier, later = (ramps.ramp(t, end, shape, start=share * end) for t in sorted((a, b)))
    assert 0.0 <= earlier <= later <= 1.0
    assert ramps.ramp(end, end, shape, start=share * end) == 1.0


@examples
@given(shares, shares, st.integers(2, 1000), st.sampled_from(["linear", "exp", "log"]))
def test_annealing_grows_from_chance_to_one(a: float, b: float, classes: int, schedule: weights.Annealing) -> None:
    earlier, later = (weights.annealing_threshold(t, classes, schedule) for t in sorted((a, b)))
    assert 1 / classes <= earlier <= later <= 1 + 1e-12


def test_log_releases_labels_first_and_exp_last() -> None:
    for progress in (0.1, 0.5, 0.9):
        eta = [weights.annealing_threshold(progress, 10, schedule) for schedule in ("exp", "linear", "log")]
        assert eta == sorted(eta)
        assert len(set(eta)) == 3


@examples
@given(st.data(), st.integers(1, 20))
def test_masked_mean_is_the_mean_of_the_subset(data: st.DataObject, size: int) -> None:
    values = torch.tensor(data.draw(st.lists(st.floats(-100, 100, width=32), min_size=size, max_size=size)))
    mask = torch.tensor(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=size, max_size=size)))
    expected = values[mask == 1].mean().item() if mask.any() else 0.0
    assert weights.masked_mean(values, mask).item() == pytest.approx(expected, abs=1e-4)


@examples
@given(shares, shares)
def test_a_higher_threshold_keeps_fewer(a: float, b: float) -> None:
    confidence = torch.linspace(0, 1, 33)
    lower, higher = sorted((a, b))
    assert (weights.above(confidence, higher) <= weights.above(confidence, lower)).all()


# --- mixing ---


@examples
@given(st.integers(0, 1000), st.floats(0.01, 100.0), st.integers(1, 50))
def test_mixing_weights_favor_the_first(step: int, alpha: float, size: int) -> None:
    weight = mixing.mixing_weights(randomness.generator(0, "method", step), alpha, size, torch.device("cpu"))
    assert weight.shape == (size,)
    assert ((weight >= 0.5) & (weight <= 1.0)).all()


def test_mixing_weights_differ_between_examples() -> None:
    weight = mixing.mixing_weights(randomness.generator(0, "method", 0), 0.75, 100, torch.device("cpu"))
    assert len(weight.unique()) == 100


def test_mixing_weights_follow_the_folded_beta() -> None:
    """E max(λ, 1 − λ) of Beta(1, 1) is ¾, its variance 1/48: the mean of 4,000 within 5 standard errors."""
    weight = mixing.mixing_weights(randomness.generator(7, "method", 0), 1.0, 4000, torch.device("cpu"))
    assert abs(weight.mean().item() - 0.75) < 5 * (1 / 48 / 4000) ** 0.5


@examples
@given(st.data(), st.integers(1, 6))
def test_mix_stays_between(data: st.DataObject, size: int) -> None:
    numbers = hnp.arrays(np.float32, (size, 2), elements=st.floats(-10, 10, width=32))
    a, b = torch.from_numpy(data.draw(numbers)), torch.from_numpy(data.draw(numbers))
    weight = torch.from_numpy(data.draw(hnp.arrays(np.float32, size, elements=st.floats(0, 1, width=32))))
    mixed = mixing.mix(a, b, weight)
    assert (mixed >= torch.minimum(a, b) - 1e-5).all()
    assert (mixed <= torch.maximum(a, b) + 1e-5).all()
    assert torch.equal(mixing.mix(a, b, torch.ones(size)), a)
    assert torch.equal(mixing.mix(a, b, torch.zeros(size)), b)


# --- randomness ---

# Known answers published with the generator (Random123): counter, key → words
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_known_answers(counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]) -> None:
    found = randomness.philox(tuple(np.array([word], np.uint32) for word in counter), key)
    assert tuple(int(word[0]) for word in found) == answer
    assert all(word.dtype == np.uint32 for word in found)


def philox_by_hand(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    """Ten rounds in Python integers, as in the paper's definition."""
    (a, b, c, d), (k, m) = counter, key
    for _ in range(10):
        left, right = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = right >> 32 ^ b ^ k, right & 0xFFFFFFFF, left >> 32 ^ d ^ m, left & 0xFFFFFFFF
        k, m = (k + 0x9E3779B9) & 0xFFFFFFFF, (m + 0xBB67AE85) & 0xFFFFFFFF
    return a, b, c, d


@examples
@given(st.tuples(*[st.integers(0, 2**32 - 1)] * 4), st.tuples(*[st.integers(0, 2**32 - 1)] * 2))
def test_philox_in_python_integers(counter: tuple[int, ...], key: tuple[int, int]) -> None:
    found = randomness.philox(tuple(np.array([word], np.uint32) for word in counter), key)
    assert tuple(int(word[0]) for word in found) == philox_by_hand(counter, key)


@examples
@given(seeds, st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8), st.integers(0, 2**32 - 1), st.data())
def test_a_sample_draws_the_same_in_any_company(seed: int, samples: list[int], epoch: int, data: st.DataObject) -> None:
    """Neither the rest of the batch, nor the sample's place in it, nor how many words are asked for matters."""
    count, fewer = 9, data.draw(st.integers(1, 9))
    together = randomness.words(seed, "view", np.full(len(samples), epoch), samples, count)
    place = data.draw(st.integers(0, len(samples) - 1))
    alone = randomness.words(seed, "view", epoch, samples[place], fewer)
    assert together.shape == (len(samples), count)
    assert np.array_equal(together[place, :fewer], alone[0])


@examples
@given(seeds, st.integers(0, 2**32 - 2), st.integers(0, 2**32 - 2))
def test_every_coordinate_changes_the_draw(seed: int, epoch: int, sample: int) -> None:
    def four(seed: int, stream: str, epoch: int, sample: int) -> tuple[int, ...]:
        return tuple(randomness.words(seed, stream, epoch, sample, 4)[0].tolist())

    draws = {
        four(seed, "view", epoch, sample),
        four(seed ^ 1, "view", epoch, sample),
        four(seed ^ 1 << 32, "view", epoch, sample),
        four(seed, "view 1", epoch, sample),
        four(seed, "view", epoch + 1, sample),
        four(seed, "view", epoch, sample + 1),
    }
    assert len(draws) == 6


@examples
@given(seeds, st.integers(0, 200), st.integers(0, 2**32 - 1))
def test_permutations_are_permutations(seed: int, size: int, epoch: int) -> None:
    order = randomness.permutation(seed, "order", epoch, size)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(size))


def test_all_permutations_are_equally_likely() -> None:
    """Chi-square over the 24 orders of 4 samples in 4,800 epochs: below the 99.9 % point of 23 degrees of freedom."""
    found = Counter(tuple(randomness.permutation(1, "order", epoch, 4).tolist()) for epoch in range(4800))
    counts = np.array([found[order] for order in itertools.permutations(range(4))])
    assert counts.sum() == 4800
    assert ((counts - 200) ** 2 / 200).sum() < 49.73


def test_uniform_is_uniform() -> None:
    """Chi-square over 256 cells of 2¹⁷ draws: below the 99.9 % point of 255 degrees of freedom, and above the 0.1 %."""
    drawn = randomness.uniform(5, "labeled view 0", np.zeros(2**15), np.arange(2**15), 4)
    assert drawn.dtype == np.float32
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    for column in (*drawn.T, drawn.ravel()):
        counts = np.bincount((column * 256).astype(int), minlength=256)
        expected = len(column) / 256
        assert 191 < ((counts - expected) ** 2 / expected).sum() < 330.5


def test_uniform_uses_all_24_bits() -> None:
    drawn = randomness.uniform(0, "view", 0, np.arange(1000), 4).astype(np.float64) * 2**24
    assert np.array_equal(drawn, drawn.round())
    assert (drawn.astype(np.int64) & 1).mean() == pytest.approx(0.5, abs=0.05)


def test_streams_epochs_and_samples_are_independent() -> None:
    """No pair of columns is correlated beyond 5 standard errors of 1/√n."""
    n = 20000
    columns = [
        randomness.uniform(0, "labeled view 0", 0, np.arange(n), 2),
        randomness.uniform(0, "labeled view 1", 0, np.arange(n), 2),
        randomness.uniform(0, "labeled view 0", np.ones(n), np.arange(n), 2),
        randomness.uniform(0, "labeled view 0", 0, np.arange(1, n + 1), 2),
        randomness.uniform(1, "labeled view 0", 0, np.arange(n), 2),
    ]
    correlation = np.corrcoef(np.concatenate(columns, axis=1).T)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 5 / n**0.5


def test_generator_belongs_to_seed_stream_and_step() -> None:
    def draws(seed: int, stream: str, step: int) -> list[float]:
        return randomness.generator(seed, stream, step).random(4).tolist()

    found = [draws(0, "method", 0), draws(0, "method", 1), draws(1, "method", 0), draws(0, "views", 0)]
    assert draws(0, "method", 0) == found[0]
    assert len({tuple(row) for row in found}) == 4
    assert draws(2**64 - 1, "method", 2**32) != draws(2**64 - 1, "method", 2**32 + 1)


def test_steps_do_not_overlap() -> None:
    """One step's draws do not run into the next one's: 10,000 words of each share no block."""
    first, second = (randomness.generator(0, "method", step).integers(2**63, size=10000) for step in (0, 1))
    assert not set(first.tolist()) & set(second.tolist())


@examples
@given(seeds, st.integers(0, 2**32 - 1))
def test_torch_seeds_fit_and_differ(seed: int, step: int) -> None:
    found = randomness.torch_seed(seed, step)
    assert 0 <= found < 2**63
    assert found != randomness.torch_seed(seed, (step + 1) % 2**32)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_out_of_range_are_refused(seed: int) -> None:
    for draw in (
        lambda: randomness.words(seed, "view", 0, 0, 1),
        lambda: randomness.uniform(seed, "view", 0, 0, 1),
        lambda: randomness.permutation(seed, "view", 0, 3),
        lambda: randomness.torch_seed(seed, 0),
    ):
        with pytest.raises(ValueError, match="seed"):
            draw()


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_generator_refuses_seeds_out_of_range(seed: int) -> None:
    with pytest.raises((ValueError, OverflowError)):
        randomness.generator(seed, "method", 0)
