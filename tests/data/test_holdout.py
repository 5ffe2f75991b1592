"""A test part cut out of the labeled examples: how many, which, and that nothing of it is trained on."""

from dataclasses import replace

import numpy as np
import pytest

from semilla.data.dataset import UNKNOWN, Dataset, Examples, split
from semilla.data.holdout import hold_out
from semilla.data.manifest import Manifest
from semilla.data.source import Source
from semilla.data.sources import load
from semilla.errors import DataError, UsageError


def dataset(*counts, unlabeled=30, groups=None, development=0, manifest=True):
    """Vectors that carry their own number, so many of each class and some without a label, all mixed."""
    labels = np.concatenate([np.repeat(np.arange(len(counts)), counts), np.full(unlabeled, UNKNOWN)])
    labels = np.random.default_rng(5).permutation(labels).astype(np.int64)
    held = np.arange(development) % len(counts)
    total = len(labels) + development
    names = tuple("abcdefgh"[: len(counts)])
    words = tuple(None if label < 0 else names[label] for label in (*labels, *held))
    rows = Manifest(
        name="made",
        paths=tuple(f"{row}.png" for row in range(total)),
        labels=words,
        parts=("train",) * len(labels) + ("development",) * development,
        groups=tuple(groups(row, labels) for row in range(len(labels))) + ("",) * development
        if groups
        else ("",) * total,
        sizes=tuple(range(total)),
        digests=tuple(f"{row:x}" for row in range(total)),
    )
    numbers = np.arange(total, dtype=np.float32)[:, None]
    return Dataset(
        name="made",
        kind="vectors",
        classes=names,
        inputs=numbers[: len(labels)],
        labels=labels,
        development=Examples(numbers[len(labels) :], held.astype(np.int64)) if development else None,
        manifest=rows if manifest else None,
    )


def numbers(inputs):
    """The rows of the original that these inputs are."""
    return inputs[:][:, 0].astype(int).tolist()


def per_class(labels, classes):
    return np.bincount(labels[labels >= 0], minlength=classes).tolist()


def failed(kind, data, holdout):
    with pytest.raises(kind) as caught:
        hold_out(data, holdout)
    return caught.value


@pytest.mark.parametrize("manifest", [True, False])
def test_a_share_of_each_class(manifest):
    data = dataset(40, 20, 10, manifest=manifest)
    cut = hold_out(data, 0.2)
    assert per_class(cut.test.labels, 3) == [8, 4, 2]
    assert per_class(cut.labels, 3) == [32, 16, 8]
    assert cut.notes[-1] == "14 of 70 labeled examples are kept back for testing"
    assert (cut.manifest is None) == (not manifest)


def test_a_number_of_examples():
    cut = hold_out(dataset(40, 20, 10), 35)
    assert per_class(cut.test.labels, 3) == [20, 10, 5]
    assert len(hold_out(dataset(50, 50), 1.0).test) == 2  # a count, not a share; one of each class at least


def test_small_classes_give_one_and_keep_one():
    cut = hold_out(dataset(60, 2, 1), 0.1)
    assert per_class(cut.test.labels, 3) == [6, 1, 0]
    cut = hold_out(dataset(60, 2, 1), 0.95)
    assert per_class(cut.labels, 3) == [3, 1, 1]


def test_only_labeled_examples_are_kept_back_and_each_is_somewhere_once():
    data = dataset(20, 10, unlabeled=50, development=6)
    cut = hold_out(data, 0.3)
    kept, test = numbers(cut.inputs), numbers(cut.test.inputs)
    assert sorted(kept + test) == list(range(80))
    assert kept == sorted(kept)
    assert data.labels[kept].tolist() == cut.labels.tolist()
    assert data.labels[test].tolist() == cut.test.labels.tolist()
    assert (cut.test.labels >= 0).all()
    assert (cut.labels == UNKNOWN).sum() == 50
    assert cut.development is data.development


def test_copies_in_the_development_part_are_left_out():
    data = dataset(20, 10, development=6)
    test = numbers(hold_out(data, 0.3).test.inputs)
    digests = list(data.manifest.digests)
    digests[len(data.labels) + 2] = digests[test[0]]
    cut = hold_out(replace(data, manifest=replace(data.manifest, digests=tuple(digests))), 0.3)
    assert numbers(cut.test.inputs) == test
    first = len(data.labels)
    assert numbers(cut.development.inputs) == [first, first + 1, first + 3, first + 4, first + 5]
    assert cut.manifest.parts.count("development") == 5
    assert len(cut.manifest) == len(data.manifest) - 1
    assert "1 copies or fellows" in cut.notes[-1]


def test_it_is_hidden_from_training():
    cut = hold_out(dataset(20, 10, unlabeled=50), 0.3)
    parts = split(cut)
    trained = set(numbers(parts.labeled.inputs)) | set(numbers(parts.unlabeled))
    assert not trained & set(numbers(cut.test.inputs))
    assert len(trained) == 80 - len(cut.test)
    every = split(cut, pool="all")
    assert not set(numbers(every.unlabeled)) & set(numbers(cut.test.inputs))


def test_the_original_stays_as_it_was():
    data = dataset(20, 10)
    before = data.inputs.copy(), data.labels.copy(), data.manifest.parts
    hold_out(data, 0.3)
    assert np.array_equal(data.inputs, before[0])
    assert np.array_equal(data.labels, before[1])
    assert data.manifest.parts == before[2]
    assert data.test is None


def test_the_choice_is_drawn_and_the_same_each_time():
    data = dataset(40, 40)
    test = numbers(hold_out(data, 0.25).test.inputs)
    assert numbers(hold_out(dataset(40, 40), 0.25).test.inputs) == test
    own = np.flatnonzero(data.labels == 0)
    chosen = [row for row in test if data.labels[row] == 0]
    assert chosen != own[:10].tolist()
    assert chosen != own[-10:].tolist()


@pytest.mark.parametrize("development", [0, 7])
def test_each_manifest_row_is_that_of_its_example(development):
    data = dataset(20, 10, unlabeled=12, development=development)
    cut = hold_out(data, 0.3)
    held = [] if cut.development is None else numbers(cut.development.inputs)
    order = [*numbers(cut.inputs), *held, *numbers(cut.test.inputs)]
    rows = cut.manifest
    assert rows.paths == tuple(f"{number}.png" for number in order)
    assert rows.digests == tuple(f"{number:x}" for number in order)
    assert rows.labels == tuple(data.manifest.labels[number] for number in order)
    assert rows.sizes == tuple(order)
    wanted = ["train"] * len(cut.labels) + ["development"] * development + ["test"] * len(cut.test)
    assert list(rows.parts) == wanted
    assert [rows.labels[row] for row in range(len(rows) - len(cut.test), len(rows))] == [
        data.classes[label] for label in cut.test.labels
    ]


def test_groups_stay_together():
    data = dataset(40, 40, groups=lambda row, labels: f"writer {row % 11}")
    cut = hold_out(data, 0.3)
    train, test = (
        {data.manifest.groups[row] for row in rows}
        for rows in ([row for row in numbers(cut.inputs) if data.labels[row] >= 0], numbers(cut.test.inputs))
    )
    assert test
    assert not train & test
    assert train | test == set(data.manifest.groups)
    assert 24 - 8 <= len(cut.test) <= 24 + 8  # a group has about 7
    at_test = {group for group, part in zip(cut.manifest.groups, cut.manifest.parts, strict=True) if part == "test"}
    assert at_test == test
    assert numbers(hold_out(data, 0.3).test.inputs) == numbers(cut.test.inputs)


@pytest.mark.parametrize("holdout", [0, 0.0, -0.2, -3, 30, 31, float("nan"), float("inf")])
def test_what_cannot_be_kept_back(holdout):
    error = failed(UsageError, dataset(20, 10), holdout)
    assert error.code == "U018"
    assert "30 labeled examples" in error.message
    assert "below 30" in error.fix


def test_a_test_part_is_not_cut_twice():
    cut = hold_out(dataset(20, 10), 0.2)
    assert failed(UsageError, cut, 0.2).code == "U017"


def test_no_class_is_left_without_a_label():
    data = dataset(20, 20, 20, groups=lambda row, labels: f"camera {labels[row]}")  # each class is a group
    error = failed(DataError, data, 20)
    assert error.code == "D062"
    assert "without a labeled example" in error.message
    assert any(f"class {name!r}" in error.message for name in data.classes)


def test_an_empty_test_part_is_refused():
    assert failed(UsageError, dataset(1, 1, 1), 0.5).code == "U018"


def test_rows_without_a_group_stand_alone():
    data = dataset(50, 50, groups=lambda row, labels: "writer" if row < 4 else "")
    cut = hold_out(data, 0.3)
    assert 24 <= len(cut.test) <= 36


def test_a_test_group_leaves_no_unlabeled_row_in_training():
    data = dataset(40, 40, unlabeled=40, groups=lambda row, labels: f"writer {row % 11}")
    cut = hold_out(data, 0.3)
    at_test = {data.manifest.groups[row] for row in numbers(cut.test.inputs)}
    assert not at_test & {data.manifest.groups[row] for row in numbers(cut.inputs)}


def test_a_source_asks_for_it():
    data = dataset(20, 10)
    assert load(Source(data, holdout=0.3)).test.labels.tolist() == hold_out(data, 0.3).test.labels.tolist()
    assert load(Source(data)).test is None
