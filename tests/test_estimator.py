"""scikit-learn's own checks of `SemiSupervisedClassifier`, and what semi-supervised use adds to them."""

import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from semilla import SemiSupervisedClassifier
from semilla.estimator import SemiSupervisedKFold

TINY = {"width": 16, "threads": 1, "log_every": 60, "recipe": None}
EXPECTED = {"check_classifiers_classes": "−1 marks unlabeled rows, where this check has a class of that number"}


def classifier(method="pseudo_label", steps=60, settings=None, **more):
    return SemiSupervisedClassifier(method, steps=steps, settings={**TINY, **(settings or {})}, device="cpu", **more)


def expected(estimator):
    return EXPECTED


QUICK = (
    "check_estimators_pickle",
    "check_fit2d_1sample",
    "check_fit_idempotent",
    "check_n_features_in",
    "check_no_attributes_set_in_init",
    "check_dont_overwrite_attributes",
    "check_estimators_nan_inf",
    "check_classifiers_one_label",
    "check_classifier_not_supporting_multiclass",
    "check_parameters_default_constructible",
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_estimators_unfitted",
    "check_methods_subset_invariance",
    "check_dict_unchanged",
)


@pytest.mark.slow
@pytest.mark.filterwarnings("default:invalid value encountered in cast:RuntimeWarning")  # before y's inf is refused
@parametrize_with_checks([classifier()], expected_failed_checks=expected, xfail_strict=True)
def test_all_of_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the check itself warns of the failures it expects
def test_no_more_fail_than_expected():
    found = check_estimator(classifier(), expected_failed_checks=EXPECTED, on_fail=None, on_skip=None)
    failed = {each["check_name"] for each in found if each["status"] in ("xfail", "failed")}
    assert failed == set(EXPECTED)
    assert len(found) > 40


@parametrize_with_checks([classifier(steps=10)], expected_failed_checks=expected, xfail_strict=True)
def test_the_quick_ones_of_scikit_learns_checks(estimator, check):
    name = getattr(check, "func", check).__name__
    if name in QUICK:
        check(estimator)
    elif name in EXPECTED:
        raise AssertionError(EXPECTED[name])


@pytest.fixture(scope="module")
def blobs():
    """Three clouds in the plane, well apart: X, the true classes, and y with 6 labels of each class."""
    draw = np.random.default_rng(4)
    truth = np.arange(120) % 3
    X = draw.normal(size=(120, 2)) + 4 * np.array([[0, 0], [1, 0], [0, 1]])[truth]
    return X, truth, np.where(np.arange(120) < 18, truth, -1)


@pytest.fixture(scope="module")
def fitted(blobs):
    X, _, y = blobs
    return classifier().fit(X, y)


# Rows without a label


def test_it_learns_from_the_rows_with_labels(blobs, fitted):
    X, truth, _ = blobs
    assert fitted.classes_.tolist() == [0, 1, 2]
    assert fitted.score(X, truth) > 0.9
    assert fitted.n_features_in_ == 2
    assert fitted.n_iter_ == 60
    assert len(fitted.result_.outputs["labeled_labels"]) == 18
    assert len(fitted.result_.outputs["unlabeled_logits"]) == 102
    shares = fitted.predict_proba(X)
    assert shares.shape == (120, 3)
    np.testing.assert_allclose(shares.sum(1), 1)
    assert np.array_equal(fitted.classes_[shares.argmax(1)], fitted.predict(X))


def test_the_labels_of_other_rows_do_not_matter(blobs):
    X, truth, y = blobs
    clear = classifier(steps=5).fit(X, y).predict_proba(X)
    floats = np.where(y < 0, np.nan, y)
    names = np.where(y < 0, "", truth.astype("U1"))
    objects = [None if label < 0 else str(label) for label in y]
    for target in (floats, names, objects, np.array(objects, object)):
        found = classifier(steps=5).fit(X, target)
        np.testing.assert_array_equal(found.predict_proba(X), clear)


@pytest.mark.parametrize(
    ("gap", "kind"), [(None, list), ("", list), (None, np.array), ("", np.array), (math.nan, np.array)]
)
def test_text_labels_with_gaps(blobs, gap, kind):
    X, truth, y = blobs
    words = np.array(["ant", "bee", "cat"])[truth].tolist()
    target = [word if label >= 0 else gap for word, label in zip(words, y, strict=True)]
    target = target if kind is list else np.array(target, dtype=object)
    found = classifier().fit(X, target)
    assert list(found.classes_) == ["ant", "bee", "cat"]
    assert set(found.predict(X)) <= {"ant", "bee", "cat"}
    assert list(found.transduction_[:18]) == words[:18]
    assert set(found.transduction_) <= {"ant", "bee", "cat"}
    assert found.score(X, words) > 0.9
    assert found.score(X, target) == found.score(X[:18], words[:18])


def test_float_labels_with_gaps(blobs):
    X, truth, y = blobs
    target = np.where(y < 0, np.nan, truth + 0.0)
    found = classifier().fit(X, target)
    assert found.classes_.tolist() == [0.0, 1.0, 2.0]
    assert not np.isnan(found.transduction_).any()
    assert found.score(X, target) == found.score(X[:18], target[:18])
    assert math.isnan(found.score(X, np.full(120, np.nan)))


def test_another_mark_of_a_missing_label(blobs):
    X, truth, y = blobs
    target = np.where(y < 0, 99, truth - 1)
    found = classifier(missing_label=99).fit(X, target)
    assert found.classes_.tolist() == [-1, 0, 1]
    assert 99 not in found.transduction_
    assert found.score(X, truth - 1) > 0.9


@pytest.mark.parametrize("mark", [-1, -1.0, np.int64(-1), np.float32(-1)], ids=lambda mark: type(mark).__name__)
@pytest.mark.parametrize("kind", [int, float, np.float32, np.int8, object])
def test_a_mark_is_compared_as_a_number(blobs, mark, kind):
    X, truth, y = blobs
    found = classifier(steps=1, missing_label=mark).fit(X, y.astype(kind))
    assert found.classes_.tolist() == [0, 1, 2]
    assert found.classes_.dtype == (y if kind is object else y.astype(kind)).dtype
    assert found.transduction_[:18].tolist() == truth[:18].tolist()
    assert found.score(X, y.astype(kind)) == found.score(X[:18], truth[:18])
    tested = [test for _, test in SemiSupervisedKFold(3, missing_label=mark).split(X, y.astype(kind))]
    assert sorted(np.concatenate(tested).tolist()) == list(range(18))


@pytest.mark.parametrize(("mark", "kind"), [(99, float), (99.0, int), (99.0, float), (np.int8(99), object)])
def test_nothing_but_the_given_mark_is_a_gap(blobs, mark, kind):
    X, truth, y = blobs
    target = np.where(y < 0, 99, truth - 1).astype(kind)
    found = classifier(steps=1, missing_label=mark).fit(X, target)
    assert found.classes_.tolist() == [-1, 0, 1]
    assert len(found.result_.outputs["labeled_labels"]) == 18
    tested = [test for _, test in SemiSupervisedKFold(3, missing_label=mark).split(X, target)]
    assert sorted(np.concatenate(tested).tolist()) == list(range(18))


def test_a_mark_is_not_taken_for_something_of_another_kind(blobs):
    X, truth, y = blobs
    words = np.array(["", "-1", "1"])[truth]
    target = [word if label >= 0 else "?" for word, label in zip(words.tolist(), y, strict=True)]
    found = classifier(steps=1, missing_label="?").fit(X, target)
    assert found.classes_.tolist() == ["", "-1", "1"]
    with pytest.raises(ValueError, match=r"text and numbers side by side, such as '\?' and 0; make all"):
        classifier(missing_label=-1).fit(X, ["?" if label < 0 else label for label in y.tolist()])
    assert classifier(steps=1, missing_label=1).fit(X, truth > 0).classes_.tolist() == [False, True]


@pytest.mark.parametrize("gap", [None, math.nan, np.float32("nan")], ids=["None", "nan", "float32 nan"])
def test_a_gap_that_is_not_the_mark_is_refused(blobs, gap):
    X, truth, _ = blobs
    target = [*truth.tolist()[:18], *[gap] * 102]
    for call in (
        classifier(missing_label=99).fit,
        lambda X, y: list(SemiSupervisedKFold(3, missing_label=99).split(X, y)),
    ):
        with pytest.raises(ValueError, match="in row 18, which is no label and not missing_label = 99"):
            call(X, np.array(target, object))
    with pytest.raises(ValueError, match="nan in row 18"):
        classifier(missing_label=-1).fit(X, np.array(target, float))


MARKS = ["auto", None, math.nan]


@pytest.mark.parametrize("mark", [*MARKS, "NA"])
@pytest.mark.parametrize("kind", ["string", "str", "object", "category"])
def test_text_of_pandas_with_gaps(blobs, kind, mark):
    pd = pytest.importorskip("pandas")
    X, truth, y = blobs
    words = np.array(["ant", "bee", "cat"])[truth].tolist()
    target = pd.Series([word if label >= 0 else None for word, label in zip(words, y, strict=True)], dtype=kind)
    mark = pd.NA if mark == "NA" else mark
    found = classifier(steps=1, missing_label=mark).fit(X, target)
    assert found.classes_.tolist() == ["ant", "bee", "cat"]
    assert found.transduction_[:18].tolist() == words[:18]
    assert found.score(X, target) == found.score(X[:18], words[:18])
    tested = [test for _, test in SemiSupervisedKFold(3, missing_label=mark).split(X, target)]
    assert sorted(np.concatenate(tested).tolist()) == list(range(18))


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("kind", ["Int64", "Float64", "category", "object", "boolean"])
def test_numbers_of_pandas_with_gaps(blobs, kind, mark):
    pd = pytest.importorskip("pandas")
    X, truth, y = blobs
    truth = truth > 0 if kind == "boolean" else truth
    target = pd.Series([label if known >= 0 else None for label, known in zip(truth.tolist(), y, strict=True)])
    target = target.astype(object).where(target.notna(), pd.NA) if kind == "object" else target.astype(kind)
    found = classifier(steps=1, missing_label=mark).fit(X, target)
    assert found.classes_.tolist() == sorted(set(truth.tolist()))
    assert found.classes_.dtype.kind == ("b" if kind == "boolean" else "fi"[found.classes_.dtype.kind == "i"])
    assert found.transduction_[:18].tolist() == truth[:18].tolist()
    assert found.score(X, target) == found.score(X[:18], target[:18]) == found.score(X[:18], truth[:18])
    tested = [test for _, test in SemiSupervisedKFold(3, missing_label=mark).split(X, target)]
    assert sorted(np.concatenate(tested).tolist()) == list(range(18))


def test_whole_numbers_and_categories_of_pandas_stay_what_they_are(blobs):
    pd = pytest.importorskip("pandas")
    X, truth, y = blobs
    for target, mark in ((pd.Series(y, dtype="Int64"), -1.0), (pd.Categorical(y), -1), (pd.Series(y), "auto")):
        found = classifier(steps=1, missing_label=mark).fit(X, target)
        assert found.classes_.tolist() == [0, 1, 2]
        assert found.classes_.dtype.kind == "i"
        assert len(found.result_.outputs["labeled_labels"]) == 18
    found = classifier(steps=1).fit(X, pd.Categorical(np.array(list("abc"))[truth]))
    assert found.classes_.tolist() == ["a", "b", "c"]


def test_pandas_is_not_imported_for_its_missing_values():
    code = (
        "import sys, numpy as np; from semilla.estimator import SemiSupervisedKFold; sys.modules.pop('pandas', None);"
        "y = np.array(['a', 'b', None] * 4, object); folds = list(SemiSupervisedKFold(2).split(y, y));"
        "assert len(folds) == 2; assert 'pandas' not in sys.modules, 'imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_transduction_keeps_the_labels_that_were_given(blobs):
    X, truth, y = blobs
    wrong = y.copy()
    wrong[:3] = (truth[:3] + 1) % 3  # what was said stands, even against the evidence
    found = classifier().fit(X, wrong)
    assert found.transduction_[:18].tolist() == wrong[:18].tolist()
    assert found.transduction_[18:].tolist() == found.predict(X)[18:].tolist()
    assert found.transduction_.shape == (120,)
    words = np.array([None if label < 0 else "abc"[label] for label in wrong], object)
    assert classifier().fit(X, words).transduction_[:18].tolist() == words[:18].tolist()


def test_all_rows_labeled_serve_as_unlabeled_too(blobs):
    X, truth, _ = blobs
    found = classifier(steps=5).fit(X, truth)
    assert found.result_.settings.pool == "all"
    assert len(found.result_.outputs["unlabeled_logits"]) == 120
    assert found.transduction_.tolist() == truth.tolist()


def test_more_rows_without_labels(blobs):
    X, _, y = blobs
    found = classifier(steps=5).fit(X[:18], y[:18], X_unlabeled=X[18:])
    assert len(found.result_.outputs["unlabeled_logits"]) == 102
    assert found.result_.settings.pool == "rest"
    assert len(found.transduction_) == 18
    both = classifier(steps=5).fit(X[:60], y[:60], X_unlabeled=X[60:])
    assert len(both.result_.outputs["unlabeled_logits"]) == 102
    with pytest.raises(ValueError, match="features"):
        classifier(steps=5).fit(X, y, X_unlabeled=X[:, :1])


# Other tools of scikit-learn


def test_in_a_pipeline_with_a_scaler(blobs):
    X, truth, y = blobs
    line = make_pipeline(StandardScaler(), classifier()).fit(1e4 * X + 7, y)
    assert line.score(1e4 * X + 7, truth) > 0.9
    assert line[-1].n_features_in_ == 2


def test_cross_validation_with_gaps(blobs):
    X, _, y = blobs
    scores = cross_val_score(classifier(), X, y, cv=SemiSupervisedKFold(3), error_score="raise")
    assert scores.shape == (3,)
    assert (scores > 0.6).all()
    line = make_pipeline(StandardScaler(), classifier(steps=20))
    assert np.isfinite(cross_val_score(line, X, y, cv=SemiSupervisedKFold(2), error_score="raise")).all()


@pytest.mark.parametrize("gap", [-1, None, "", math.nan])
def test_the_folds_test_labeled_rows_only(blobs, gap):
    X, truth, y = blobs
    words = truth.astype(float) if gap != gap else truth if gap == -1 else np.array(list("abc"))[truth]
    target = [gap if label < 0 else word for word, label in zip(words.tolist(), y, strict=True)]
    target = np.array(target) if gap in (-1, "") or gap != gap else target
    folds = list(SemiSupervisedKFold(3, missing_label=gap).split(X, target))
    assert len(folds) == 3
    assert sorted(row for _, test in folds for row in test.tolist()) == list(range(18))
    for training, test in folds:
        assert sorted([*training, *test]) == list(range(120))
        assert set(range(18, 120)) <= set(training.tolist())
        assert np.bincount(truth[test]).tolist() == [2, 2, 2]


def test_the_folds_know_the_same_mark_in_floats(blobs):
    X, _, y = blobs
    tested = [test for _, test in SemiSupervisedKFold(3).split(X, y.astype(float))]
    assert sorted(np.concatenate(tested).tolist()) == list(range(18))


def test_the_folds_can_be_shuffled(blobs):
    X, _, y = blobs
    folds = [
        [test.tolist() for _, test in SemiSupervisedKFold(3, shuffle=True, random_state=seed).split(X, y)]
        for seed in (0, 0, 1)
    ]
    assert folds[0] == folds[1] != folds[2]


def test_grid_search_over_method_settings(blobs):
    X, truth, y = blobs
    grid = {"settings": [{**TINY, "threshold": value} for value in (0.6, 0.99)], "method": ["pseudo_label", "uda"]}
    search = GridSearchCV(classifier(steps=8), grid, cv=SemiSupervisedKFold(2), error_score="raise").fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.cv_results_["params"]) == 4
    best = search.best_params_
    chosen = search.best_estimator_.result_.settings
    assert chosen.method == best["method"]
    assert chosen.hyperparameters == {"threshold": best["settings"]["threshold"]}
    assert search.predict(X).shape == truth.shape


def test_a_copy_has_the_same_parameters(fitted):
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "model_")
    with pytest.raises(NotFittedError):
        copy.predict(np.zeros((2, 2)))


def test_a_fitted_one_survives_pickling(blobs, fitted):
    X, _, _ = blobs
    back = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(back.predict_proba(X), fitted.predict_proba(X))
    assert back.predict(X).tolist() == fitted.predict(X).tolist()
    assert back.transduction_.tolist() == fitted.transduction_.tolist()


def test_the_seed(blobs):
    X, _, y = blobs

    def shares(random_state):
        return classifier(steps=4, random_state=random_state).fit(X, y).predict_proba(X)

    assert np.array_equal(shares(3), shares(3))
    assert not np.array_equal(shares(3), shares(4))
    assert np.array_equal(shares(np.random.RandomState(1)), shares(np.random.RandomState(1)))
    assert np.array_equal(shares(np.random.default_rng(1)), shares(np.random.default_rng(1)))
    assert not np.array_equal(shares(None), shares(None))


# Pictures


@pytest.fixture(scope="module")
def pictures():
    draw = np.random.default_rng(2)
    truth = np.arange(60) % 2
    X = (draw.integers(0, 100, (60, 8, 8)) + 150 * truth[:, None, None]).astype(np.uint8)
    return X, truth, np.where(np.arange(60) < 12, truth, -1)


@pytest.mark.parametrize("shape", [(60, 8, 8), (60, 8, 8, 1), (60, 1, 8, 8), (60, 8, 8, 3)])
def test_pictures(pictures, shape):
    X, truth, y = pictures
    X = np.repeat(X[..., None], 3, -1) if shape[-1] == 3 else X.reshape(shape)
    found = classifier("fixmatch", steps=25, settings={"width": 4}).fit(X, y)
    assert found.result_.settings.network == "small_cnn"
    assert found.predict_proba(X).shape == (60, 2)
    assert found.score(X, truth) > 0.8
    assert found.transduction_[:12].tolist() == truth[:12].tolist()


def test_more_pictures_without_labels(pictures):
    X, _, y = pictures
    found = classifier("fixmatch", steps=2, settings={"width": 4}).fit(X[:12], y[:12], X_unlabeled=X[12:])
    assert len(found.result_.outputs["unlabeled_logits"]) == 48


# What is called, and what is refused


def test_the_callback_is_called(blobs):
    X, _, y = blobs
    calls = []
    classifier(steps=12, settings={"log_every": 4}, callback=lambda *said: calls.append(said)).fit(X, y)
    assert calls
    assert {steps for _, steps, _ in calls} == {12}
    assert [step for step, _, _ in calls] == sorted(step for step, _, _ in calls)
    assert calls[-1][0] == 12
    assert all(math.isfinite(means["loss"]) for _, _, means in calls if means)
    assert any("loss" in means for _, _, means in calls)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"method": "fixmacth"}, "did you mean 'fixmatch'"),
        ({"settings": {"treshold": 0.9}}, "did you mean 'threshold'"),
        ({"settings": {"threshold": "high"}}, "give threshold a number"),
        ({"network": "small_cnn"}, "mlp"),
        ({"steps": 0}, "steps must be 1 or more"),
    ],
)
def test_wrong_settings_are_value_errors_with_a_fix(blobs, more, says):
    X, _, y = blobs
    with pytest.raises(ValueError, match=says) as caught:
        classifier(**more).fit(X, y)
    assert str(caught.value).startswith("error[")
    assert "fix: " in str(caught.value)


def test_wrong_data_are_value_errors(blobs):
    X, _, y = blobs
    for target, says in (
        (np.full(120, -1), "give each of 2 or more classes"),
        (np.where(y == 0, 0, -1), "need 2 classes"),
        (y[:50], "n_samples = 120"),
    ):
        with pytest.raises(ValueError, match=says):
            classifier().fit(X, target)
    with pytest.raises(ValueError, match="StandardScaler"):
        classifier().fit(1e300 * X, y)
    with pytest.raises(ValueError, match="NaN"):
        classifier().fit(np.where(X > 0, X, np.nan), y)


@pytest.mark.parametrize("trained", [False, True])
def test_pictures_of_floats_are_a_value_error(pictures, trained):
    X, _, y = pictures
    found = classifier("fixmatch", steps=1, settings={"width": 4})
    call = found.fit(X, y).predict if trained else lambda floats: found.fit(floats, y)
    with pytest.raises(ValueError, match="uint8"):
        call(X / 255)


def test_the_settings_given_stay_as_they_were(blobs):
    X, truth, _ = blobs
    settings = dict(TINY)
    SemiSupervisedClassifier("pseudo_label", steps=2, settings=settings, device="cpu").fit(X, truth)
    assert settings == TINY


def test_a_search_over_a_hyperparameter():
    x, y = make_blobs(60, centers=2, random_state=0)
    estimator = SemiSupervisedClassifier("fixmatch", steps=3, device="cpu", settings={"width": 8, "threads": 1})
    search = GridSearchCV(estimator, {"settings__threshold": [0.5, 0.9]}, cv=2).fit(x, y)
    assert search.best_params_["settings__threshold"] in (0.5, 0.9)
    best = search.best_estimator_
    assert best.settings == {"width": 8, "threads": 1, **{"threshold": search.best_params_["settings__threshold"]}}
    assert best.result_.settings.hyperparameters["threshold"] == best.settings["threshold"]
    assert estimator.settings == {"width": 8, "threads": 1}, "a clone is set, not the one that was given"


def test_minus_one_as_numpy_writes_it_beside_text():
    x, _ = make_blobs(40, centers=2, random_state=0)
    y = np.array(["cat", "dog", -1, "cat"] * 10)
    assert "-1" in y
    fitted = SemiSupervisedClassifier("supervised", steps=2, device="cpu", settings={"width": 8}).fit(x, y)
    assert fitted.classes_.tolist() == ["cat", "dog"]
