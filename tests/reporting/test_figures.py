"""Figures: what they are drawn from, what they leave behind, and text from data in them."""

from __future__ import annotations

import csv
import io
import re
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from semilla.evidence.confusion import Confusion
from semilla.evidence.intervals import wilson
from semilla.reporting import charts, curves
from semilla.reporting.figures import GROUND, INK, draw, inline_svg, label, table
from semilla.reporting.run_data import FitData
from semilla.text import csv_original

HOSTILE = (
    "$x^2_{$",
    "<script>alert(1)</script>",
    "_hidden",
    "a\nb\x00\u202ec",
    "\udcff",
    "\\frac{1}{0}",
    "猫",
    "&amp;",
)


def one_line(axes):
    axes.plot([0, 1], [0, 1], label="line")
    axes.set(xlabel="x", ylabel="y")


def simple(paint=one_line, **changes):
    options = {"caption": "c", "alt": "a line", "header": ("x",), "rows": [(1,)]}
    return draw("simple", (3, 2), paint, **{**options, **changes})


def test_the_same_figure_has_the_same_bytes():
    first, second = simple(), simple()
    assert first.svg == second.svg
    assert first.png == second.png


def test_a_figure_lies_in_three_files(tmp_path):
    chart = simple(rows=[(0.123456789,), (2,)])
    chart.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["simple.csv", "simple.png", "simple.svg"]
    assert (tmp_path / "simple.png").read_bytes().startswith(b"\x89PNG")
    assert ElementTree.fromstring((tmp_path / "simple.svg").read_bytes()).tag.endswith("svg")
    assert (tmp_path / "simple.csv").read_bytes() == b"x\r\n0.123457\r\n2\r\n"


def test_the_inline_picture_takes_the_colours_of_the_page():
    text = simple().inline()
    assert "currentColor" in text
    for foreign in (INK, GROUND, "xmlns", "<style", "<metadata", "DOCTYPE", "DejaVu", "http"):
        assert foreign not in text
    assert 'aria-label="a line"' in text


def test_inline_pictures_share_no_id_and_refer_only_to_their_own():
    ids = {}
    for name in ("one", "two"):
        svg = inline_svg(simple().svg, name, "alt")
        ids[name] = re.findall(r' id="([^"]*)"', svg)
        used = re.findall(r'(?:href="#|url\(#)([^")]*)', svg)
        assert used
        assert set(used) <= set(ids[name])
    assert not set(ids["one"]) & set(ids["two"])


@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_data_are_drawn_as_they_are_and_never_as_markup_or_mathematics(name):
    chart = charts.confusion_chart(Confusion.of_table([[3, 1], [0, 4]]), (name, "plain"), "test")
    texts = [
        "".join(text.itertext()) for text in ElementTree.fromstring(chart.svg).iter() if text.tag.endswith("}text")
    ]
    assert label(name, 12) in texts
    inline = ElementTree.fromstring(chart.inline())
    assert not [element for element in inline.iter() if element.tag == "script"]


def test_long_names_are_cut():
    assert label("x" * 40, 10) == "x" * 9 + "…"


@pytest.mark.parametrize("cell", ["=1+1", "+x", "-1+1", "@SUM(1)", "\tx", "\rx", "'x", 'a,"b"', "two\nlines", "-0.5"])
def test_no_cell_of_text_is_a_formula_and_every_one_comes_back(cell):
    text = table(("name",), [(cell,)]).decode()
    ((read,),) = list(csv.reader(io.StringIO(text, newline="")))[1:]
    assert not read.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert csv_original(read) == cell


def test_numbers_stay_numbers_in_csv():
    assert table(("a", "b", "c", "d"), [(-0.5, -3, None, float("nan"))]).decode() == "a,b,c,d\r\n-0.5,-3,,\r\n"


def fit(name="fixmatch-0", **curves):
    """A fit of which only the log is known: the values of each column, one for each step."""
    history = [
        {"step": step, **{key.replace("_", "/", 1): values[step] for key, values in curves.items()}}
        for step in range(len(next(iter(curves.values()))))
    ]
    return FitData(name, {}, {"classes": ["a"]}, {}, history, {})


@pytest.fixture
def axes(monkeypatch):
    """What the next chart is drawn on."""
    found = Figure().subplots()
    monkeypatch.setattr(charts, "draw", lambda name, size, paint, **words: paint(found))
    return found


@pytest.mark.parametrize("scores", [[0.1, 0.5, 0.6, 0.61, 0.62], [0.0, 1.0], [0.5], [0.97, 0.98, 0.99, 1.0]])
def test_no_point_of_a_learning_curve_is_cut_away(axes, scores):
    charts.learning_chart([fit(test_accuracy=scores), fit("supervised-0", test_accuracy=scores[::-1])])
    low, high = axes.get_ylim()
    assert low < min(scores)
    assert max(scores) < high
    assert axes.get_ylabel() == "accuracy on the test part"


def test_no_point_of_a_comparison_is_cut_away(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(curves.Figure, "savefig", lambda figure, path, dpi: drawn.append(figure.axes[0].get_ylim()))
    scores = {"supervised": (0.1, 0.5, 0.6, 0.7), "fixmatch": (0.08, 0.6, 0.9, 1.0)}
    outcomes = [
        SimpleNamespace(job=SimpleNamespace(row=method), curve=list(enumerate(curve)), measure="accuracy")
        for method, curve in scores.items()
    ]
    curves.comparison_figure(outcomes, tmp_path / "accuracy.png", "three draws")
    ((low, high),) = drawn
    assert low < 8
    assert high > 100


def test_the_panel_on_pseudo_labels_says_what_its_axis_shows(axes):
    charts.pseudo_label_chart(fit(used=[0.0, 0.5, 1.0]))
    assert axes.get_ylabel() == "share of the examples"
    low, high = axes.get_ylim()
    assert low < 0
    assert high > 1


def test_negative_differences_have_a_minus_sign_in_the_figure_and_a_hyphen_in_its_numbers():
    chart = charts.difference_chart({"difference": [-0.047, -0.084, -0.013], "word": "hurt"})
    text = chart.svg.decode()
    assert ">−4.7<" in text
    assert not re.search(r">-[\d.]+<", text)
    assert chart.alt == "Difference in accuracy −4.7 points, 95 % interval −8.4 to −1.3."
    assert table(chart.header, chart.rows).decode().splitlines()[1] == "difference,-4.7"


def test_the_confusion_matrix_lists_every_pair():
    matrix = Confusion.of_table([[5, 2, 0], [0, 6, 1], [0, 0, 3]])
    chart = charts.confusion_chart(matrix, ("a", "b", "c"), "test")
    assert len(chart.rows) == 9
    assert {(t, p): n for t, p, n in chart.rows}["a", "b"] == 2
    assert matrix.errors() == [(0, 1, 2), (1, 2, 1)]
    assert "a was taken for b, 2 times" in chart.alt


def test_reliability_counts_each_example_once_and_agrees_with_a_count_by_hand():
    sure = np.array([0.95, 0.97, 0.96, 0.99, 0.55, 0.8])
    bins = charts.reliability(np.stack([sure, 1 - sure], 1), np.array([0, 1, 0, 0, 0, 1]))
    assert sum(bin_.examples for bin_ in bins) == 6
    top = bins[-1]
    assert (top.examples, top.right) == (4, wilson(3, 4))
    assert top.confidence == pytest.approx(0.9675)


def test_a_calibration_chart_shows_both_and_names_both_errors():
    draw_ = np.random.default_rng(0)
    before = draw_.dirichlet(np.ones(3) / 4, 200)
    after = 0.5 * before + 0.5 / 3
    chart = charts.calibration_chart(before, after, draw_.integers(0, 3, 200), "test")
    assert {row[0] for row in chart.rows} == {"as trained", "calibrated"}
    assert re.search(r"as trained [\d.]+\s%, calibrated [\d.]+\s%", chart.alt)


def test_class_shares_name_the_class_that_differs_most():
    chart = charts.class_chart(np.array([5, 5, 0]), np.array([50, 0, 50]), ("a", "b", "c"))
    assert chart.rows == [("a", 5, 50), ("b", 5, 0), ("c", 0, 50)]
    assert "most for b" in chart.alt


def test_many_classes_are_drawn_without_names_and_told_in_full():
    names = tuple(f"class {number}" for number in range(120))
    chart = charts.confusion_chart(Confusion.of_table(np.eye(120)), names, "test")
    assert len(chart.rows) == 120**2
    assert len(chart.svg) < 100_000
    shares = charts.class_chart(np.ones(120, np.int64), np.arange(120), names)
    assert "25 of 120" in shares.caption
    assert len(shares.rows) == 120


def test_ten_thousand_classes_have_no_picture_of_every_pair():
    names = tuple(map(str, range(10_000)))
    assert charts.confusion_chart(Confusion.of(np.arange(9), np.arange(9), 10_000), names, "test") is None


@pytest.mark.parametrize("count", [1, 2, 12, 60])
def test_a_map_has_a_finite_point_for_each_example_and_is_a_function_of_its_seed(count):
    features = np.random.default_rng(0).normal(size=(count, 5))
    points = charts.embed(features, 3)
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    assert (points == charts.embed(features, 3)).all()


@pytest.mark.parametrize("features", [np.zeros((50, 4)), np.ones((50, 1)), np.arange(50.0)[:, None]])
def test_a_map_of_poor_features_is_still_a_map(features):
    points = charts.embed(features)
    assert points.shape == (50, 2)
    assert np.isfinite(points).all()


def test_alike_examples_lie_together_on_the_map():
    draw_ = np.random.default_rng(0)
    features = np.concatenate([draw_.normal(0, 1, (40, 8)), draw_.normal(12, 1, (40, 8))])
    points = charts.embed(features)
    middles = points[:40].mean(0), points[40:].mean(0)
    spread = np.linalg.norm(points[:40] - middles[0], axis=1).max()
    assert np.linalg.norm(middles[0] - middles[1]) > spread
