"""The report of a run: what it says, what it never says, and what stands in its way."""

from __future__ import annotations

import csv
import getpass
import json
import platform
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner
from fake_run import NAMES, FakeRun

from semilla.cli.report import command
from semilla.errors import StateError
from semilla.evidence.intervals import wilson
from semilla.reporting import charts, gallery
from semilla.reporting.class_scores import class_rows, confusion_matrix
from semilla.reporting.provenance import private, private_command
from semilla.reporting.run_data import read_run
from semilla.reporting.run_report import report
from semilla.reporting.verdict import verdict_words

SCHEMES = re.compile(r"^(?:data:image/(?:png|jpeg);base64,|data:,$|#)")


class Elements(HTMLParser):
    """All elements, attributes and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self.inside = Counter(), [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        self.tags[tag] += 1
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_data(self, data):
        if self.inside != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))


def small(**changes):
    return FakeRun(**{"sizes": {"labeled": 12, "unlabeled": 20, "test": 24}, "classes": NAMES[:3], **changes})


def page_of(fake, folder, **options):
    return report(fake.write(folder / "run"), **options).read_text(encoding="utf-8")


# What it says


def test_the_verdict_comes_first_and_in_numbers_a_manager_reads(reported):
    _, page = reported
    text = Elements(page).text
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings[0] == "The unlabeled data helped."
    for said in (
        "fixmatch is right in 90.0 % of cases",
        "is right in 75.0 %",
        "+15.0 points, with a 95 % interval from",
    ):
        assert said in text
    assert "On 200 labeled test examples" in text
    assert "The model to use is fixmatch-0, because the whole interval lies above zero." in text


def told(fake, folder):
    """The words of the verdict."""
    words = verdict_words(read_run(fake.write(folder / "run")))
    return words["headline"], " ".join(words["sentences"]).replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("word", "headline", "said"),
    [
        ("helped", "The unlabeled data helped.", "The whole interval lies above zero"),
        ("hurt", "The unlabeled data hurt.", "The whole interval lies below zero"),
        ("cannot tell", "Cannot tell with this many labels.", "about 812 labeled test examples instead of 24"),
    ],
)
def test_each_word_of_the_verdict(tmp_path, word, headline, said):
    first, rest = told(small(word=word), tmp_path)
    assert first == headline
    assert said in rest


def test_no_number_of_labels_settles_what_is_equal_or_nearly_so(tmp_path):
    for needed, said in ((None, "no number of test labels"), (10_000_000, "no affordable number"), (20, "about 25 ")):
        fake = small(word="cannot tell")
        fake.changes = {"verdict": {**fake.verdict(), "needed": needed}}
        assert said in told(fake, tmp_path / str(needed))[1]


def test_without_a_test_part_nothing_is_claimed(tmp_path):
    page = page_of(small(sizes={"labeled": 12, "unlabeled": 20}), tmp_path)
    text = Elements(page).text
    assert "No test set, no claim." in text
    assert "--test" in text
    assert "--holdout" in text
    for claim in ("helped", "accuracy", "F1", "is right in"):
        assert claim not in text, claim
    figures = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {"pseudo_labels", "classes_of_the_pool", "map", "map_of_classes"}


def test_without_a_baseline_the_accuracy_is_told_and_no_comparison(tmp_path):
    headline, text = told(small(baseline=False), tmp_path)
    assert headline == "No comparison was made."
    assert "--no-baseline" in text
    assert f"{100 * (24 - round(0.1 * 24)) / 24:.1f} %" in text


def test_leaked_test_examples_are_told_with_the_verdict(tmp_path):
    run = small().write(tmp_path / "run")
    path = run / "fits" / "fixmatch-0" / "fit.json"
    fit = json.loads(path.read_text())
    assert "too good" not in " ".join(verdict_words(read_run(run))["sentences"])
    path.write_text(json.dumps({**fit, "notes": ["warn[D030]: 3 test pictures are also among those trained on"]}))
    assert "Some test examples were also trained on" in " ".join(verdict_words(read_run(run))["sentences"])


@pytest.mark.parametrize("kept", [True, False])
def test_the_panel_on_pseudo_labels_follows_what_was_logged(tmp_path, kept):
    chart = charts.pseudo_label_chart(read_run(small(kept=kept).write(tmp_path / "run")).own)
    curves = {row[0] for row in chart.rows}
    assert ("of these, guessed right" in curves) == kept
    assert "unlabeled examples used" in curves
    assert "estimated" in chart.caption or not kept


def test_the_curves_of_both_fits_are_those_of_the_log(reported):
    run, _ = reported
    with (run / "figures/learning_curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("fixmatch-0", "supervised-0"):
        log = [json.loads(line) for line in (run / "fits" / name / "metrics.jsonl").read_text().splitlines()]
        told = [(int(row["step"]), float(row["accuracy"])) for row in rows if row["fit"] == name]
        assert told == [(line["step"], pytest.approx(line["test/accuracy"], rel=1e-5)) for line in log]


def test_scores_of_classes_agree_with_scikit_learn():
    from sklearn.metrics import confusion_matrix as reference
    from sklearn.metrics import precision_recall_fscore_support

    draw = np.random.default_rng(0)
    labels, guesses = draw.integers(0, 4, 300), draw.integers(0, 4, 300)
    matrix = confusion_matrix(labels, guesses, 4)
    assert (matrix == reference(labels, guesses)).all()
    rows = {row.name: row for row in class_rows(matrix, "abcd")}
    for name, *scores, count in zip("abcd", *precision_recall_fscore_support(labels, guesses), strict=True):
        row = rows[name]
        assert row.count == count
        assert [row.precision.mean, row.recall.mean, row.f1.mean] == pytest.approx(scores)
        for interval in (row.precision, row.recall, row.f1):
            assert 0 <= interval.low < interval.mean < interval.high <= 1
        assert row.recall == wilson(int(matrix["abcd".index(name), "abcd".index(name)]), count)


def test_the_weakest_class_comes_first_and_a_class_without_examples_last():
    rows = class_rows(np.array([[5, 5, 0], [0, 9, 0], [0, 0, 0]]), ("middling", "good", "absent"))
    assert [row.name for row in rows] == ["middling", "good", "absent"]
    assert rows[0].f1.mean < rows[1].f1.mean
    assert np.isnan(rows[2].f1.mean)


def test_the_interval_of_f1_covers():
    draw, inside = np.random.default_rng(0), 0
    truth = 2 * 0.2 / (2 * 0.2 + 0.1 + 0.05)
    for _ in range(400):
        right, missed, false, other = draw.multinomial(100, [0.2, 0.1, 0.05, 0.65])
        (row,) = [row for row in class_rows(np.array([[right, missed], [false, other]]), "ab") if row.name == "a"]
        inside += row.f1.low <= truth <= row.f1.high
    assert 0.92 <= inside / 400 <= 0.98  # 95 % nominal; the standard error of the count is 0.011


def test_the_fit_that_is_shipped_is_shown_unless_another_is_named(tmp_path):
    run = small(changes={"shipped": "supervised-0"}).write(tmp_path / "run")
    shown, named = read_run(run), read_run(run, "fixmatch-0")
    assert (shown.model.name, named.model.name) == ("supervised-0", "fixmatch-0")
    assert shown.own is not None
    assert shown.own.name == "fixmatch-0"
    said = "This report was asked to show fixmatch-0 instead."
    assert said in verdict_words(named)["sentences"]
    assert said not in verdict_words(shown)["sentences"]


# Pictures


def test_pictures_are_shown_where_the_data_still_are(reported):
    elements = Elements(reported[1])
    pictures = [value for tag, name, value in elements.attributes if (tag, name) == ("img", "src")]
    assert len(pictures) == 2 * gallery.SHOWN + 2 * gallery.MOST_PAIRS + 5 * 7
    assert all(picture.startswith("data:image/") for picture in pictures)
    assert "weak, strong" in elements.text


def test_the_surest_errors_are_errors_and_the_surest(reported):
    data = read_run(reported[0])
    part = data.model.parts["test"]
    sure = part.probabilities(data.model.temperature)
    shown = gallery.hardest(data, None, "test", sure, wrong_only=True)
    assert all(example.true != example.guess for example in shown)
    confidence = [example.confidence for example in shown]
    assert confidence == sorted(confidence, reverse=True)
    wrong = sure.argmax(1) != part.labels
    assert confidence[0] == sure.max(1)[wrong].max()
    doubts = gallery.hardest(data, None, "test", sure, wrong_only=False)
    assert doubts[0].confidence == sure.max(1).min()


def test_a_picture_twice_is_found_and_marked(reported):
    data = read_run(reported[0])
    dataset, why = gallery.load_again(data)
    assert why == ""
    pairs = gallery.look_alikes(data, dataset, "test")
    assert pairs[0].same
    assert pairs[0].distance == 0
    assert pairs[0].names == ("pool/343.png", "pool/3.png")
    assert pairs[0].pictures[0] == pairs[0].pictures[1]
    assert not any(pair.same for pair in pairs[1:])


def test_views_are_those_of_training(reported):
    data = read_run(reported[0])
    dataset, _ = gallery.load_again(data)
    names, rows = gallery.view_rows(data, dataset)
    assert names == ["none", "weak", "weak", "strong", "strong", "lecture", "lecture"]
    plain = gallery.thumbnail(dataset.inputs[0])
    assert rows[0][0] == plain
    assert all(len(set(row)) >= 5 for row in rows)


@pytest.mark.parametrize("change", ["gone", "labels", "size", "memory"])
def test_no_pictures_where_the_data_are_gone_or_changed(tmp_path, change):
    fake = small()
    fake.source = str(fake.arrays(tmp_path / "photos.npz"))
    if change == "gone":
        Path(fake.source).unlink()
    elif change == "labels":
        with np.load(fake.source) as arrays:
            changed = dict(arrays)
        changed["y_test"] = changed["y_test"][::-1]
        np.savez(fake.source, **changed)
    elif change == "size":
        fake.pixels = 16
    else:
        fake.source = None
    run = read_run(fake.write(tmp_path / "run"))
    dataset, why = gallery.load_again(run)
    assert dataset is None
    assert "no pictures" in why
    assert str(tmp_path) not in why
    part = run.model.parts["test"]
    assert gallery.hardest(run, dataset, "test", part.probabilities(), wrong_only=True)[0].picture == ""


def test_no_pictures_on_request(tmp_path):
    fake = small()
    fake.source = str(fake.arrays(tmp_path / "photos.npz"))
    page = page_of(fake, tmp_path, pictures=False)
    assert "<img" not in page
    assert "no pictures" not in page
    assert "Errors the model was surest of" in page


# What it never says


HOSTILE = {
    "markup": ("<img src=x onerror=alert(1)>", '"><script>alert(1)</script>', "' onmouseover='a(1)", "&lt;b&gt;"),
    "templates": ("{{ 7 * 7 }}", "{% raw %}", "${jndi:ldap://x}", "]]><svg/onload=1>"),
    "formulas": ("=HYPERLINK(1)", "@SUM(1)", "-1+1", "\tx"),
    "terminal": ("a\x1b[31mred", "new\nline", "\u202egnp.exe", "nul\x00"),
    "scripts": ("cafe\u0301", "\u05d0\u05d1", "\U0001f600", "猫"),
}


def hostile_run(names):
    """Names of a length, so that figures cut and place them alike."""
    classes = tuple(f"{name:~<40}" for name in names)
    return small(
        classes=classes,
        sizes={"labeled": 12, "unlabeled": 20, "test": 24},
        paths=lambda n: f"\udcff{classes[n % 4]}{n:04}",
    )


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    return Elements(page_of(hostile_run(("a", "b", "c", "d")), tmp_path_factory.mktemp("harmless")))


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_name_becomes_an_element_an_attribute_or_a_formula(tmp_path, harmless, kind):
    """T63, and T64 for the tables behind the figures."""
    elements = Elements(page_of(hostile_run(HOSTILE[kind]), tmp_path))
    assert elements.tags == harmless.tags
    names = Counter((tag, name) for tag, name, _ in elements.attributes)
    assert names == Counter((tag, name) for tag, name, _ in harmless.attributes)
    assert elements.tags["script"] == 0
    assert not [name for _, name, _ in elements.attributes if name.startswith("on")]
    for path in (tmp_path / "run/figures").glob("*.svg"):
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(path.read_bytes()).iter()}
        assert not tags & {"script", "img", "foreignObject", "a", "b"}, path.name
    for path in (tmp_path / "run/figures").glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        number = re.compile(r"-?[\d.]+(e-?\d+)?")
        bad = [
            cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r")) and not number.fullmatch(cell)
        ]
        assert not bad, path.name


def test_one_file_that_asks_for_nothing(reported):
    _, page = reported
    elements = Elements(page)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert ("meta", "content", policy) in elements.attributes
    assert page.index(policy) < page.index("<style")
    for tag, name, value in elements.attributes:
        if name in ("src", "href", "xlink:href", "srcset", "action", "poster", "background"):
            assert SCHEMES.match(value), (tag, name, value[:60])
        assert name != "xmlns"
        assert "url(" not in (value or "") or "url(#" in value
    assert not elements.tags.keys() & {"script", "iframe", "object", "embed", "form", "base", "a"}
    assert not re.search(r"@import|https?://", re.sub(r"base64,[A-Za-z0-9+/=]+", "", page))


def test_no_path_no_user_no_host(reported):
    run, page = reported
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    for secret in ("/places/", "somebody", str(run.parent)):
        assert secret not in text, secret
    for secret in (getpass.getuser(), platform.node()):
        assert not re.search(rf"\b{re.escape(secret)}\b", Elements(page).text), secret
    assert "semilla train …/photos --labels 40 --out=…/one" in Elements(page).text
    for path in (run / "figures").iterdir():
        assert b"/places/" not in path.read_bytes()
        assert str(run.parent).encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("read /places/bob/my data/x.png", "read …/my data/x.png"),
        ("C:\\Users\\bob\\x.png is bad", "…/x.png is bad"),
        ("~bob/x and ~/y", "…/x and …/y"),
        ("1/2 of a/b, and/or 3 / 4", "1/2 of a/b, and/or 3 / 4"),
        ("pool/cat/1.png", "pool/cat/1.png"),
        ("'/places/data/'", "'…/data'"),
    ],
)
def test_sentences_without_absolute_paths(text, shown):
    assert private(text) == shown


def test_commands_without_absolute_paths():
    words = ["semilla", "train", "/places/bob smith/my data", "--out=/x/y", "--set", "threshold=0.9", "pool/a", "~/z"]
    assert private_command(words) == "semilla train …/'my data' --out=…/y --set threshold=0.9 pool/a …/z"
    assert private_command("semilla train '/a b/c'") == "semilla train …/c"
    assert private_command("broken ' quote /a/b") == "broken ' quote …/b"


# Size and damage


def test_a_large_report_stays_small(tmp_path):
    fake = FakeRun(sizes={"labeled": 500, "unlabeled": 3000, "test": 1500}, pixels=64)
    fake.source = str(fake.arrays(tmp_path / "photos.npz"))
    page = page_of(fake, tmp_path)
    assert page.count("<img") > 60
    assert len(page.encode()) < 3_000_000


def test_an_old_run_without_outputs_still_has_its_curves(tmp_path):
    run = small().write(tmp_path / "run")
    for path in run.glob("fits/*/outputs.safetensors"):
        path.unlink()
    for name in ("run.json", "manifest.jsonl"):
        (run / name).unlink()
    with pytest.raises(StateError, match="holds 2 models"):
        report(run)
    page = report(run, "fixmatch-0").read_text()
    assert "How it learnt" in page
    assert "Class by class" not in page


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("run.json", b"{", "C005"),
        ("fits/fixmatch-0/fit.json", b"[]", "C022"),
        ("fits/fixmatch-0/model.json", b'{"format": 1}', "C022"),
        ("fits/fixmatch-0/metrics.jsonl", b'{"step"', "C005"),
        ("fits/fixmatch-0/outputs.safetensors", b"junk", "C022"),
        ("manifest.jsonl", b"no", "C005"),
    ],
)
def test_a_damaged_run_is_told_and_no_page_is_written(tmp_path, name, content, code):
    run = small().write(tmp_path / "run")
    (run / name).write_bytes(content)
    with pytest.raises(StateError) as error:
        report(run)
    assert error.value.code == code
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("change", ["classes", "labels", "rows", "nan"])
def test_outputs_that_do_not_fit_are_refused(tmp_path, change):
    run = small().write(tmp_path / "run")
    path = run / "fits/fixmatch-0/outputs.safetensors"
    tensors = safetensors.numpy.load(path.read_bytes())
    if change == "classes":
        tensors["test_logits"] = tensors["test_logits"][:, :2].copy()
    elif change == "labels":
        tensors["test_labels"] = tensors["test_labels"] + 1
    elif change == "rows":
        tensors["test_rows"] = tensors["test_rows"][:-1]
    else:
        tensors["test_logits"][0, 0] = np.nan
    path.write_bytes(safetensors.numpy.save(tensors))
    with pytest.raises(StateError, match=r"does not fit model\.json"):
        report(run)


def test_the_same_run_gives_the_same_page(tmp_path):
    run = small().write(tmp_path / "run")
    first = report(run).read_bytes()
    assert report(run).read_bytes() == first


def test_the_command(tmp_path):
    run = small().write(tmp_path / "run")
    called = CliRunner().invoke(command, [str(run), "--no-pictures", "--json"])
    assert called.exit_code == 0
    assert json.loads(called.output)["report"] == str(run / "report.html")
    called = CliRunner().invoke(command, [str(tmp_path / "nothing")])
    assert isinstance(called.exception, StateError)
    assert called.exception.code == "C023"
