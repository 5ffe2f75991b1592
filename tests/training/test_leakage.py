"""The label of an unlabeled example cannot reach the weights, and a view belongs to its example, not to its batch."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from small import CPU, NAMES, digits, go, make_fit, same, train, weights

from semilla.contract import Batch
from semilla.data.labels import choose_labels
from semilla.training.batches import Batches

ROWS = choose_labels(digits().labels, digits().classes, 40, 11)
USED = {name: {"threshold": 0.11} for name in ("uda", "pseudo_label", "fixmatch")}  # so that the guesses do teach


def with_hidden(labels):
    """Digits whose unlabeled rows say something else."""
    whole = digits()
    changed = labels.copy()
    changed[ROWS] = whole.labels[ROWS]
    return dataclasses.replace(whole, labels=changed)


def hidden_versions():
    labels = digits().labels
    scrambled = np.random.default_rng(0).permutation(labels)
    return {"scrambled": scrambled, "removed": np.full_like(labels, -1), "shifted": (labels + 1) % 10}


@pytest.mark.parametrize("pool", ["rest", "all"])
@pytest.mark.parametrize("method", NAMES)
def test_hidden_labels_do_not_change_a_bit(method, pool):
    options = {"steps": 4, "pool": pool, "ema_decay": 0.5, **USED.get(method, {})}
    expected = go(make_fit(method, rows=ROWS, **options)).digest
    for name, labels in hidden_versions().items():
        assert go(make_fit(method, data=with_hidden(labels), rows=ROWS, **options)).digest == expected, name


def test_labels_of_the_labeled_rows_do_matter():
    labels = digits().labels.copy()
    labels[ROWS] = np.roll(labels[ROWS], 1)
    relabeled = dataclasses.replace(digits(), labels=labels)
    assert go(make_fit(rows=ROWS, steps=2)).digest != go(make_fit(data=relabeled, rows=ROWS, steps=2)).digest


def test_the_whole_of_train_is_blind_to_hidden_labels(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS.tolist()))
    expected = train("fixmatch", labels_file=path, steps=4, threshold=0.11)
    for labels in hidden_versions().values():
        result = train("fixmatch", data=with_hidden(labels), labels_file=path, steps=4, threshold=0.11)
        assert same(weights(result), weights(expected))
        assert result.history == expected.history


def test_a_batch_has_no_place_for_the_label_of_an_unlabeled_example():
    assert [field.name for field in dataclasses.fields(Batch)] == ["x", "y", "u", "x_index", "u_index"]
    fit = make_fit("fixmatch")
    batch = Batches(fit.parts, fit.build()[0].method, fit.views, fit.settings, CPU).at(0)
    assert len(batch.y) == len(batch.x_index) == 12
    assert len(batch.u_index) == 8
    labels = torch.from_numpy(digits().labels)
    assert torch.equal(batch.y, labels[torch.from_numpy(fit.parts.labeled_index)[batch.x_index]])


def batches_of(fit, **sizes):
    settings = dataclasses.replace(fit.settings, **sizes)
    return Batches(fit.parts, fit.build()[0].method, fit.views, settings, CPU)


@pytest.mark.parametrize(("pool", "shared"), [("rest", 0), ("all", 40)])
def test_labeled_examples_are_in_the_unlabeled_pool_only_with_all(pool, shared):
    fit = make_fit("fixmatch", rows=ROWS, pool=pool)
    seen = np.concatenate([batches_of(fit, unlabeled_batch=60).at(step).u_index.numpy() for step in range(15)])
    assert len(np.unique(seen)) == len(fit.parts.unlabeled) == 857 + shared  # 900 draws go through all of them
    assert len(np.intersect1d(fit.parts.unlabeled_index[seen], ROWS)) == shared


def views_by_example(fit, count, **sizes):
    """Pixels of the first pass over both pools, by kind, view and example."""
    batches = batches_of(fit, **sizes)
    found = {}
    for step in range(count):
        batch = batches.at(step)
        for kind, views, index in (("x", batch.x, batch.x_index), ("u", batch.u, batch.u_index)):
            for place, view in enumerate(views):
                for row, example in enumerate(index.tolist()):
                    found.setdefault((kind, place, example), view.inputs[row])
    return found


@pytest.mark.parametrize("method", ["fixmatch", "mixmatch", "supervised"])
def test_an_example_looks_the_same_whatever_the_batch_around_it(method):
    options = {"views": ("weak", "strong")} if method == "supervised" else {}
    fit = make_fit(method, seed=4, **options)
    small = views_by_example(fit, 8, labeled_batch=5, unlabeled_batch=3)
    large = views_by_example(fit, 2, labeled_batch=20, unlabeled_batch=17)
    common = small.keys() & large.keys()
    assert len(common) >= 40
    for key in common:
        torch.testing.assert_close(small[key], large[key], rtol=0, atol=0, msg=str(key))


def test_two_views_of_one_name_and_two_passes_differ():
    fit = make_fit("mixmatch", seed=4)
    batches = batches_of(fit, labeled_batch=40)
    first, second = batches.at(0), batches.at(1)  # each the whole labeled pool
    order = [batch.x_index.argsort() for batch in (first, second)]
    assert not torch.equal(first.x[0].inputs[order[0]], second.x[0].inputs[order[1]])
    assert not torch.equal(first.u[0].inputs, first.u[1].inputs)
    again = batches_of(fit, labeled_batch=40).at(1)  # no batch needs the ones before it
    assert torch.equal(again.x[0].inputs, second.x[0].inputs)


def test_supervised_draws_no_unlabeled_example():
    batch = batches_of(make_fit("supervised")).at(0)
    assert batch.u == ()
    assert len(batch.u_index) == 0
