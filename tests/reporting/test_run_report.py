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

from semilla.cli import cli
from semilla.data.reading import CategoryColumn, NumberColumn, TableReading
from semilla.data.sources import load
from semilla.errors import StateError
from semilla.evidence.confusion import Confusion
from semilla.evidence.intervals import wilson
from semilla.reporting import charts, gallery
from semilla.reporting.class_scores import class_rows
from semilla.reporting.provenance import private, private_command, provenance
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
    assert headings[0] == "The unlabeled data helped in this run."
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
        ("helped", "The unlabeled data helped in this run.", "The whole interval lies above zero"),
        ("hurt", "The unlabeled data hurt in this run.", "from −20.0 to −2.0. The whole interval lies below zero"),
        ("cannot tell", "Cannot tell with this many labels.", "about 812 test labels instead of 24 settle it"),
    ],
)
def test_each_word_of_the_verdict(tmp_path, word, headline, said):
    first, rest = told(small(word=word), tmp_path)
    assert first == headline
    assert said in rest
    assert ("one run on these test examples" in rest) == (word != "cannot tell")
    assert ("The interval includes zero" in rest) == (word == "cannot tell")


def test_the_way_to_the_chance_of_training_is_named(reported):
    text = Elements(reported[1]).text
    assert "covered by the interval of semilla compare" in text
    assert "--seed" not in text


@pytest.mark.parametrize("difference", [[0.1, 0.04, 0.16], [0.1, -0.01, 0.21]])
def test_what_used_no_unlabeled_example_is_told_as_on_the_command_line(tmp_path, difference):
    fake = small(word="cannot tell")
    fake.changes = {"verdict": {**fake.verdict(), "used": 0.0, "difference": difference}}
    headline, rest = told(fake, tmp_path)
    assert headline == "Cannot tell."
    assert "No unlabeled example was used, so the difference is not their doing." in rest
    for claim in ("includes zero", "812", "settle"):
        assert claim not in rest


def test_a_damaged_verdict_is_told_as_such(tmp_path):
    fake = small()
    fake.changes = {"verdict": {**fake.verdict(), "word": "perhaps"}}
    with pytest.raises(StateError) as caught:
        told(fake, tmp_path)
    assert caught.value.code == "C005"


def test_labels_that_chose_the_model_are_told(tmp_path):
    said = "As these test labels chose it, its accuracy on them is a little too good."
    assert said in told(small(), tmp_path / "test")[1]
    sizes = {"labeled": 12, "unlabeled": 20, "development": 12, "test": 24}
    assert said not in told(small(sizes=sizes), tmp_path / "development")[1]


def test_no_number_of_labels_settles_what_is_equal_or_nearly_so(tmp_path):
    for needed, said in (
        (None, "No difference was seen"),
        (10_000_000, "more than 10,000,000 test"),
        (20, "about 25 "),
    ):
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
    assert "also trained on" not in " ".join(verdict_words(read_run(run))["sentences"])
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
    matrix = Confusion.of(labels, guesses, 4)
    table = matrix.table()
    assert (table == reference(labels, guesses)).all()
    rows = {row.name: row for row in class_rows(matrix, "abcd")}
    for name, *scores, count in zip("abcd", *precision_recall_fscore_support(labels, guesses), strict=True):
        row = rows[name]
        assert row.count == count
        assert [row.precision.mean, row.recall.mean, row.f1.mean] == pytest.approx(scores)
        for interval in (row.precision, row.recall, row.f1):
            assert 0 <= interval.low < interval.mean < interval.high <= 1
        assert row.recall == wilson(int(table["abcd".index(name), "abcd".index(name)]), count)


def test_the_weakest_class_comes_first_and_a_class_without_examples_last():
    rows = class_rows(Confusion.of_table([[5, 5, 0], [0, 9, 0], [0, 0, 0]]), ("middling", "good", "absent"))
    assert [row.name for row in rows] == ["middling", "good", "absent"]
    assert rows[0].f1.mean < rows[1].f1.mean
    assert np.isnan(rows[2].f1.mean)


def test_the_interval_of_f1_covers():
    draw, inside = np.random.default_rng(0), 0
    truth = 2 * 0.2 / (2 * 0.2 + 0.1 + 0.05)
    for _ in range(400):
        right, missed, false, other = draw.multinomial(100, [0.2, 0.1, 0.05, 0.65])
        (row,) = [
            row for row in class_rows(Confusion.of_table([[right, missed], [false, other]]), "ab") if row.name == "a"
        ]
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


@pytest.mark.parametrize("shipped", ["fixmatch-0", "supervised-0"])
def test_only_what_used_the_unlabeled_examples_was_trained_on_them(tmp_path, shipped):
    text = Elements(page_of(small(changes={"shipped": shipped}), tmp_path)).text
    both = "trained on 12 labeled and 20 unlabeled examples of 3 classes."
    alone = "supervised, trained on 12 labeled examples of 3 classes. The 20 unlabeled ones had no part in it."
    assert (both in text) == (shipped == "fixmatch-0")
    assert (alone in text) == (shipped == "supervised-0")


def test_a_run_that_was_interrupted_is_told_as_such(tmp_path):
    run = small().write(tmp_path / "run")
    assert "not finished" not in report(run).read_text()
    for name in ("model.json", "result.json", "outputs.safetensors"):
        (run / "fits/fixmatch-0" / name).unlink()
    (run / "run.json").unlink()
    called = CliRunner().invoke(cli, ["report", str(run)])
    assert called.exit_code == 0
    assert called.stderr.startswith("warn[C023]: fixmatch-0 begun and not finished")
    assert f"semilla train … --out {run} --resume goes on" in called.stderr
    page = (run / "report.html").read_text()
    assert re.findall(r"<h2>(.*?)</h2>", page)[0] == "This run is not finished."
    text = Elements(page).text
    assert "fixmatch-0 was begun and has no result, so what follows is without it." in text
    assert "semilla train … --resume" in text
    assert str(tmp_path) not in page


def test_negative_numbers_have_a_minus_sign(tmp_path):
    text = Elements(page_of(small(word="hurt"), tmp_path)).text
    assert "The difference is −11.0 points" in text
    assert not re.search(r"(?<![\w-])-\d", text)


# Pictures


def test_pictures_are_shown_where_the_data_still_are(reported):
    elements = Elements(reported[1])
    pictures = [value for tag, name, value in elements.attributes if (tag, name) == ("img", "src")]
    assert len(pictures) == 2 * gallery.SHOWN + 2 * gallery.MOST_PAIRS + 5 * 5
    assert all(picture.startswith("data:image/") for picture in pictures)
    assert "fixmatch trains on: weak, strong. supervised trains on: weak." in elements.text
    assert "lecture" not in elements.text


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
    names, rows = gallery.view_rows(data, dataset, ["none", "weak", "lecture"])
    assert names == ["none", "weak", "weak", "lecture", "lecture"]
    plain = gallery.thumbnail(dataset.inputs[0])
    assert rows[0][0] == plain
    assert all(len(set(row)) >= 4 for row in rows)


@pytest.mark.parametrize(
    ("method", "given", "used"),
    [
        ("fixmatch", {}, ["weak", "strong"]),
        ("fixmatch", {"views": ["weak", "lecture"], "labeled_view": "none"}, ["none", "weak", "lecture"]),
        ("supervised", {}, ["weak"]),
        ("pi_model", {"view": "strong"}, ["strong"]),
        ("one_of_mine", {"views": ["strong"]}, ["strong"]),
        ("one_of_mine", {}, []),
    ],
)
def test_the_views_in_use_are_those_of_the_settings_or_the_catalogue(reported, method, given, used):
    fit = read_run(reported[0]).own
    fit.described["fit"]["settings"] |= {"method": method, "hyperparameters": given}
    assert gallery.views_in_use(fit) == used


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
    said = []
    gallery.load_again(run, say=said.append)
    code = {"gone": "D001", "memory": None}.get(change, "C026")
    assert [line.partition("]")[0] for line in said] == ([f"warn[{code}"] if code else [])
    assert change != "gone" or fake.source in said[0]
    part = run.model.parts["test"]
    assert gallery.hardest(run, dataset, "test", part.probabilities(), wrong_only=True)[0].picture == ""


@pytest.mark.parametrize("source", ["a path", "none"])
def test_moved_data_are_told_on_stderr_and_shown_again_where_they_are_named(tmp_path, source):
    fake = small()
    fake.source = str(fake.arrays(tmp_path / "photos.npz")) if source == "a path" else None
    run = fake.write(tmp_path / "run")
    before = fake.arrays(tmp_path / "photos.npz").rename(tmp_path / "moved.npz")
    called = CliRunner().invoke(cli, ["report", str(run)])
    assert called.exit_code == 0
    moved = "warn[D001]: the galleries are left out, because the data are not at"
    assert called.stderr.startswith(f"{moved} {fake.source}" if fake.source else "")
    page = (run / "report.html").read_text()
    assert "<img" not in page
    assert str(tmp_path) not in page
    called = CliRunner().invoke(cli, ["report", str(run), "--data", str(before)])
    assert (called.exit_code, called.stderr) == (0, "")
    page = (run / "report.html").read_text()
    assert page.count("<img") > 40
    assert str(tmp_path) not in page


def test_other_data_than_those_of_the_run_are_refused_and_the_page_stays(tmp_path):
    fake = small()
    fake.source = str(fake.arrays(tmp_path / "photos.npz"))
    run = fake.write(tmp_path / "run")
    before = report(run).read_bytes()
    others = FakeRun(sizes=small().sizes, classes=NAMES[:3], pixels=16).arrays(tmp_path / "others.npz")
    for data, code in ((others, "C026"), (tmp_path / "nothing.npz", "D001")):
        called = CliRunner().invoke(cli, ["report", str(run), "--data", str(data)])
        assert called.exception.code == code
    assert (run / "report.html").read_bytes() == before


def table_run(folder):
    """A run on a table whose rows can be told from their cells: the length of each is its number less 20."""
    fake = small(calibrated=False, paths="flowers.csv#{}".format)
    fake.source = str(folder / "flowers.csv")
    parts = [(part, fake.classes[label]) for part in fake.sizes for label in fake.labels(part)]
    with (folder / "flowers.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["length", "area", "<b>colour", "label", "split"])
        for row, (part, name) in enumerate(parts):
            label, split = "" if part == "unlabeled" else name, "test" if part == "test" else "train"
            rows.writerow([row - 20, row * 1234.5, ("red", "blue")[row % 2], label, split])
    run = fake.write(folder / "run")
    dataset = load(fake.source)
    for path in run.glob("fits/*/model.json"):
        card = json.loads(path.read_text())
        card["inputs"] = {"kind": "vectors", "shape": list(dataset.inputs.shape[1:]), "reading": dataset.reading}
        path.write_text(json.dumps(card))
    return run


def test_rows_of_a_table_are_told_by_their_cells(tmp_path):
    run = table_run(tmp_path)
    text = Elements(report(run).read_text(encoding="utf-8")).text
    told = re.findall(r"length (−?\d+), area ([\d.]+), <b>colour (red|blue)flowers.csv#(\d+)", text)
    assert len(told) == round(0.1 * 24) + gallery.SHOWN
    for length, area, colour, row in told:
        assert int(length.replace("−", "-")) == int(row) - 20
        assert float(area) == int(row) * 1234.5
        assert colour == ("red", "blue")[int(row) % 2]
    assert "<img" not in report(run).read_text()


def test_without_its_table_a_run_is_reported_by_row_numbers(tmp_path):
    run, said = table_run(tmp_path), []
    (tmp_path / "flowers.csv").unlink()
    page = report(run, say=said.append).read_text(encoding="utf-8")
    assert "so no values are shown" in page
    assert [line[:11] for line in said] == ["warn[D001]:"]
    assert "flowers.csv#" in page
    assert "length" not in page


def test_only_the_first_cells_of_a_row_are_told_and_short():
    numbers = tuple(NumberColumn(name, 10.0, 2.0) for name in ("a", "b" * 90, "c"))
    words = (CategoryColumn("d", ("x", "y")), CategoryColumn("e", ("z",)))
    told = gallery.cells_of(np.array([-6, 0.25, 0, 0, 0, 1], np.float32), TableReading(numbers, words))
    assert told == f"a −2, {'b' * 7}…{'b' * 16} 10.5, c 10, d a word that is new, …"


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


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("tables/flowers.csv", "tables/flowers.csv"),
        ("photos/", "photos/"),
        ("/places/somebody/my data/flowers.csv", "…/flowers.csv"),
        ("~/photos/", "…/photos"),
        ("C:\\Users\\bob\\x.csv", "…/x.csv"),
        ("digits", "digits"),
        (None, "photos"),
    ],
)
def test_the_data_are_named_as_the_user_did_without_absolute_paths(tmp_path, source, shown):
    fake = small()
    fake.source = source
    assert dict(provenance(read_run(fake.write(tmp_path / "run")))["facts"])["Data"] == shown


def test_names_beneath_pictures_are_short_and_whole_in_the_title(tmp_path):
    fake = small(paths="pictures/of/many/animals/{:04}.png".format)
    fake.source = str(fake.arrays(tmp_path / "photos.npz"))
    elements = Elements(page_of(fake, tmp_path))
    titles = [value for tag, name, value in elements.attributes if (tag, name) == ("code", "title")]
    assert len(titles) == round(0.1 * 24) + gallery.SHOWN + 2 * gallery.MOST_PAIRS
    assert all(re.fullmatch(r"pictures/of/many/animals/\d{4}\.png", title) for title in titles)
    assert "pictures/of/many" not in elements.text
    assert f"pict…s/{titles[0][-8:]}" in elements.text


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
    called = CliRunner().invoke(cli, ["report", str(run), "--no-pictures", "--json"])
    assert called.exit_code == 0
    assert json.loads(called.output)["report"] == str(run / "report.html")
    called = CliRunner().invoke(cli, ["report", str(tmp_path / "nothing")])
    assert isinstance(called.exception, StateError)
    assert called.exception.code == "C023"
