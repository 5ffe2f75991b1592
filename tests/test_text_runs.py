"""Runs on lines of text, from the labels to the report: small ones, of digits drawn in one font."""

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow.parquet
import pytest
import safetensors.numpy
import torch
from click.testing import CliRunner
from PIL import Image, ImageDraw, ImageFont

import semilla
from semilla import comparing, demo, generated_start
from semilla.cli import cli
from semilla.data import preparation
from semilla.data.source import Source
from semilla.data.sources import load
from semilla.errors import DataError, StateError, UsageError
from semilla.evidence.comparison import run_job
from semilla.fitting import fit, plan_fit
from semilla.generated_start import corpus_for, pretrain_generated
from semilla.generating import Generated, renderer
from semilla.inference import files as inference_files
from semilla.inference import outputs
from semilla.inference.calibration import calibrated
from semilla.inference.reader import Reader, Readings
from semilla.reporting.reading_report import reading_figures
from semilla.reporting.run_data import read_run
from semilla.runs import next_steps
from semilla.tasks.spelling import Protocol

FONT = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
SMALL = {"network": "crnn", "width": 4, "device": "cpu", "precision": "fp32", "steps": 8, "labeled_batch": 8}
SMALL |= {"unlabeled_batch": 8, "evaluate_every": 4, "save_every": 4, "learning_rate": 0.01}


def picture(text):
    font = ImageFont.truetype(FONT, 12)
    image = Image.new("L", (int(font.getlength(text)) + 8, 16), 230)
    ImageDraw.Draw(image).text((4, 0), text, fill=20, font=font)
    return np.asarray(image)


def texts(count, length=4):
    """Different numbers of so many digits."""
    random = np.random.default_rng(length)
    return [str(number) for number in random.choice(9 * 10 ** (length - 1), count, replace=False) + 10 ** (length - 1)]


def arrays(labeled=16, unlabeled=24, tested=10):
    train, test = texts(labeled + unlabeled), texts(tested, 5)
    known = [text if place < labeled else None for place, text in enumerate(train)]
    return {
        "x_train": [picture(text) for text in train],
        "y_train": known,
        "x_test": [picture(text) for text in test],
        "y_test": test,
        "group_test": [f"w{place // 5}" for place in range(tested)],
        "group_train": [""] * len(train),
    }


def source(**words):
    return Source(arrays(**words), task="text", height=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a list, one text of which a page must escape."""
    place = tmp_path_factory.mktemp("lines")
    rows = ["path,text,group"]
    for number, text in enumerate(texts(60)):
        Image.fromarray(picture(text)).save(place / f"{number:03d}.png")
        shown = text if number < 40 else ""
        rows.append(f"{number:03d}.png,{'<b>' + text if number == 5 else shown},w{number % 8}")
    (place / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    words = {"task": "text", "height": 16, "holdout": 0.3, "threshold": 0.0}
    semilla.train(folder, method="fixmatch", out=out, **words, **SMALL)
    return out


def test_a_run_holds_readings_and_a_verdict_about_characters(run):
    described = json.loads((run / "run.json").read_text())
    assert described["verdict"]["measure"].startswith("characters")
    for fit_name in ("supervised-0", "fixmatch-0"):
        place = run / "fits" / fit_name
        rows = [json.loads(line) for line in (place / "readings.jsonl").read_text().splitlines()]
        parts = {part: [row for row in rows if row["part"] == part] for part in ("test", "labeled", "unlabeled")}
        assert all(parts.values())
        assert all("truth" in row for row in parts["test"] + parts["labeled"])
        assert not any("truth" in row for row in parts["unlabeled"])
        outputs = safetensors.numpy.load_file(place / "outputs.safetensors")
        assert len(outputs["test_edits"]) == len(parts["test"])
        assert len(np.unique(outputs["test_groups"])) < len(parts["test"])
        card = json.loads((place / "model.json").read_text())
        assert card["task"] == "ctc"
        assert set("0123456789") <= set(card["alphabet"])
        assert json.loads((place / "fit.json").read_text())["fit"]["classes"] == []


def test_no_writer_is_on_both_sides(run):
    rows = [json.loads(line) for line in (run / "manifest.jsonl").read_text().splitlines()]
    sides = {part: {row["group"] for row in rows if row["part"] == part} for part in ("train", "test")}
    assert sides["test"]
    assert not sides["test"] & sides["train"]


def test_a_resumed_fit_is_the_same_to_the_bit(tmp_path):
    whole = fit(source(), method="mean_teacher", out=tmp_path / "a", **SMALL)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    place = tmp_path / "b" / "fits" / "mean_teacher-0"
    for name in ("model.safetensors", "model.json", "result.json"):
        (place / name).unlink()
    last = max((place / "checkpoints").glob("step-*"))
    assert int(last.name[5:]) == 8
    shutil.rmtree(last)
    again = fit(source(), method="mean_teacher", out=tmp_path / "b", resume=True, **SMALL)
    names = ["model.safetensors", "readings.jsonl"]
    assert [(whole.folder / name).read_bytes() for name in names] == [
        (again.folder / name).read_bytes() for name in names
    ]


def test_hidden_texts_do_not_change_a_bit(tmp_path):
    """Neither does a character that stands in hidden texts alone: the alphabet is not made of them."""
    given = arrays(labeled=40, unlabeled=0)
    index = tmp_path / "index.txt"
    index.write_text("\n".join(map(str, range(16))))
    other = dict(given, y_train=[*given["y_train"][:16], *(f"{text}ớ" for text in given["y_train"][16:])])
    one, two = (
        fit(Source(data, task="text", height=16), method="fixmatch", threshold=0.0, labels_file=index, **SMALL)
        for data in (given, other)
    )
    assert "ớ" not in one.model.card["alphabet"] + two.model.card["alphabet"]
    states = [result.model.net.state_dict() for result in (one, two)]
    assert all((states[0][name] == states[1][name]).all() for name in states[0])


@pytest.mark.parametrize("network", ["conv_transformer", "attention_reader"])
def test_the_other_recognisers_train_and_read(network):
    result = fit(source(), method="fixmatch", threshold=0.0, **{**SMALL, "network": network, "steps": 4})
    assert set(result.scores) == {f"test/{name}" for name in ("cer", "wer", "accuracy", "1-ned", "kept", "kept_cer")}
    readings = result.model.read([picture("42"), picture("7")])
    assert len(readings) == 2
    assert ((readings.confidence >= 0) & (readings.confidence <= 1)).all()


def blank(number, width=64):
    """No two are equal."""
    pixels = np.full((16, width), 200, np.uint8)
    pixels[0, :8] = list(f"{number:08b}".encode())
    return pixels


def lines_of(names, labels, widths=(), **more):
    """Arrays of lines whose pictures say nothing; only their notes are looked at."""
    pictures = [blank(number, width) for number, width in enumerate(widths or [64] * len(names))]
    return Source({"x_train": pictures, "y_train": labels, **more}, task="text", height=16)


def noted(data, **words):
    said = []
    semilla.train(data, method="supervised", dry_run=True, say=said.append, **{**SMALL, **words})
    return "\n".join(said)


def test_what_training_cannot_use_is_said_before_it_begins():
    names, labels = range(6), ["ab", "aab", "ba", "abab", "", ""]
    told = noted(lines_of(names, labels, widths=[64, 12, 64, 64, 64, 64]))
    assert "warn[D192]: 1 of 4 labeled lines are too narrow for their text and teach nothing, such as x_train#1" in told
    assert "D192" not in noted(lines_of(names, labels, widths=[64, 16, 64, 64, 64, 64]))
    told = noted(lines_of(names, ["ab", "aéb", "ba", "é", "", ""]), alphabet="ascii")
    assert "1 characters of the labels join the alphabet ascii: 'é' (U+00E9" in told
    assert "2× as in x_train#1" in told
    assert "join the alphabet" not in noted(lines_of(names, labels), alphabet="ascii")


def test_few_writers_are_pointed_out():
    draw = {"x_test": [blank(100 + number) for number in range(120)], "y_test": ["ab"] * 120}
    train = lines_of(range(6), ["ab", "aab", "ba", "abab", "", ""], **draw, group_train=[""] * 6)
    few = dataclasses.replace(train, data={**train.data, "group_test": [f"w{number % 3}" for number in range(120)]})
    assert "warn[D060]: the 120 test lines are of 3 groups, such as writers" in noted(few)
    assert "D060" not in noted(train)


def test_the_corpus_is_not_chosen_by_hidden_transcriptions(monkeypatch, tmp_path):
    """One Vietnamese text among those that --labels-file leaves out decides nothing."""
    monkeypatch.setattr("semilla.starting.check_words", lambda *_: None)
    data = lines_of(range(6), ["ab", "aab", "ba", "ướng", "", ""])
    np.save(tmp_path / "labels.npy", np.array([0, 1, 2]))
    said = []
    for words in ({"labels_file": tmp_path / "labels.npy"}, {}):
        semilla.train(
            data, method="supervised", pretraining="generated", dry_run=True, say=said.append, **SMALL, **words
        )
    starts = [line for line in said if "generated lines of" in line]
    assert [line.rsplit(" ", 1)[1] for line in starts] == ["english", "vietnamese"]


def test_confidences_beside_texts_are_those_that_predict_gives(tmp_path, monkeypatch):
    def read(reader, lines):
        """As a reader that is too sure: two digits of four are right."""
        sure = np.linspace(0.6, 0.99, len(lines), dtype=np.float32)
        return Readings(["10"] * len(lines), calibrated(sure, reader.temperature))

    monkeypatch.setattr(Reader, "read", read)
    fitted = fit(source(labeled=16, unlabeled=8, tested=60), method="supervised", out=tmp_path, **SMALL)
    place = next((tmp_path / "fits").iterdir())
    assert fitted.model.card["calibration"]["fitted_on"] == "test"
    rows = [json.loads(line) for line in (place / "readings.jsonl").read_text().splitlines()]
    sure = [row["confidence"] for row in rows if row["part"] == "test"]
    again = fitted.model.read(arrays(16, 8, 60)["x_test"])
    np.testing.assert_allclose(sure, again.confidence, atol=1e-4)
    assert fitted.model.temperature < 0.7, "so that it is seen"
    assert json.loads((place / "result.json").read_text())["protocol"] == {
        "case": True,
        "punctuation": True,
        "symbols": None,
    }
    chart = next(each for each in reading_figures(read_run(tmp_path)).values() if each.name == "reliability")
    assert {row[0] for row in chart.rows} <= {"as trained", "calibrated"}
    assert "calibrated" in chart.caption


def test_characters_follow_a_teacher_only_where_there_is_a_decoder():
    result = fit(source(), method="character_consistency", threshold=0.0, **{**SMALL, "network": "attention_reader"})
    assert "test/cer" in result.scores
    with pytest.raises(UsageError, match=r"U007.*crnn"):
        semilla.train(Source("nowhere", task="text"), method="character_consistency", network="crnn")


def test_methods_that_are_not_for_strings_are_refused_before_any_data_are_read():
    with pytest.raises(UsageError, match=r"U007.*text"):
        semilla.train(Source("nowhere", task="text"), method="mixmatch")
    with pytest.raises(UsageError, match=r"U007.*class labels"):
        semilla.train("nowhere", method="character_consistency")


def test_a_network_for_pictures_reads_no_text_and_the_other_way_round():
    with pytest.raises(DataError, match="D112"):
        fit(source(), method="supervised", network="small_cnn", steps=1)
    with pytest.raises(DataError, match="D112"):
        fit("digits", labels=40, method="supervised", network="crnn", steps=1)


def test_predictions_have_text_confidence_and_a_reason_where_there_is_none(run, folder, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    names = [folder / "000.png", tmp_path / "broken.png", folder / "001.png"]
    done = semilla.predict(run, names, on_bad_file="skip")
    assert [row["error"] is None for row in done.rows] == [True, False, True]
    assert done.rows[1]["confidence"] is None
    assert [isinstance(row["text"], str) for row in done.rows] == [True, False, True]
    assert "probabilities" not in done.rows[0]
    with pytest.raises(DataError, match=r"D014(?s:.)*broken"):
        semilla.predict(run, names, tmp_path / "bad.csv")
    out = tmp_path / "read.csv"
    result = CliRunner().invoke(
        cli, ["predict", str(run), str(folder / "000.png"), "-o", str(out), "--precision", "0.9"]
    )
    assert result.exit_code == 0, result.output
    assert out.read_text().splitlines()[0] == "path,text,confidence,accepted,error"
    assert out.read_text().splitlines()[1].split(",")[3] == "false"  # too few lines to promise anything
    for words, code in (
        (["-o", str(out)], "C030"),
        (["-o", str(tmp_path / "x.txt")], "U031"),
        (["--embeddings", str(tmp_path / "x.npy")], "U033"),
    ):
        result = CliRunner().invoke(cli, ["predict", str(run), str(folder / "000.png"), *words])
        assert result.exit_code
        assert result.exception.code == code


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_reading_goes_on_where_it_was_stopped_and_is_shared_out(run, folder, tmp_path, monkeypatch, ending):
    monkeypatch.setattr(inference_files, "LINES", 4)
    names = sorted(folder.glob("*.png"))[:13]
    whole, part = tmp_path / f"whole{ending}", tmp_path / f"part{ending}"
    semilla.predict(run, names, whole)
    read, blocks = Reader.read, []

    def stopped(self, inputs):
        blocks.append(inputs)
        if len(blocks) == 3:
            raise KeyboardInterrupt
        return read(self, inputs)

    with monkeypatch.context() as context:
        context.setattr(Reader, "read", stopped)
        with pytest.raises(KeyboardInterrupt):
            semilla.predict(run, names, part)
    semilla.predict(run, names, part, resume=True)
    assert part.read_bytes() == whole.read_bytes()
    if ending == ".csv":
        shares = [semilla.predict(run, names, tmp_path / "share.csv", shard=(place, 2)).output for place in range(2)]
        rows = [line for share in shares for line in share.read_text("utf-8").splitlines()[1:]]
        assert sorted(rows) == sorted(whole.read_text("utf-8").splitlines()[1:])
    if ending == ".parquet":
        table = pyarrow.parquet.read_table(whole)
        assert table.column_names == ["path", "text", "confidence", "error"]
        assert len(table) == 13


def test_what_is_overwritten_is_there_until_there_is_something_to_write(run, folder, tmp_path):
    kept = tmp_path / "kept.csv"
    kept.write_text("keep me")
    name = folder / "000.png"
    for words in ((tmp_path / "no-run", name), (run, tmp_path / "nothing.png")):
        with pytest.raises((StateError, DataError)):
            semilla.predict(*words, kept, overwrite=True)
        assert kept.read_text() == "keep me"
    precious = tmp_path / "set.parquet"
    precious.mkdir()
    (precious / "part-0.parquet").write_text("precious")
    for place in (precious, precious / "part-0.parquet"):
        with pytest.raises(UsageError) as refused:
            semilla.predict(run, place, place, overwrite=True)
        assert refused.value.code in ("U014", "U022")
    assert (precious / "part-0.parquet").read_text() == "precious"
    semilla.predict(run, name, kept, overwrite=True)
    assert kept.read_text().startswith("path,text,")


def test_what_serves_classes_alone_says_so(run, tmp_path):
    for words in (["export", str(run), "--out", str(tmp_path / "ex")], ["embed", "digits", "--run", str(run)]):
        result = CliRunner().invoke(cli, [*words, *(["-o", str(tmp_path / "e.npz")] if words[0] == "embed" else [])])
        assert result.exception.code == "C028", result.output
    assert not any("export" in line for line in next_steps(run))


def test_one_picture_is_read_as_among_many(run, folder):
    reader = semilla.load(run)
    names = [folder / f"{number:03d}.png" for number in range(20)]
    together, alone = reader.read(names), [reader.read([name]) for name in names]
    assert together.texts == [one.texts[0] for one in alone]
    np.testing.assert_allclose(together.confidence, [one.confidence[0] for one in alone], atol=1e-4)
    with pytest.raises(StateError, match="C028"):
        reader.predict_proba(names)


def test_evaluate_says_rates_intervals_and_the_protocol(run, folder, tmp_path):
    result = CliRunner().invoke(cli, ["evaluate", str(run), "--predictions", str(tmp_path / "p.csv")])
    assert result.exit_code == 0, result.output
    assert re.search(r"CER \d+\.\d % \(\d+\.\d … \d+\.\d\) on \d+ test lines", result.output)
    assert "case counts, punctuation counts" in result.output
    assert (tmp_path / "p.csv").read_text().startswith("path,truth,text,confidence,edits\n")
    told = json.loads(CliRunner().invoke(cli, ["evaluate", str(run), "--protocol", "english36", "--json"]).output)
    assert told["protocol"]["case"] is False
    own = semilla.load(run)
    trained_on = CliRunner().invoke(cli, ["evaluate", str(run), "--data", str(folder)])
    assert trained_on.exception.code == "D030"
    assert "pictures were trained on, such as" in trained_on.exception.message
    elsewhere = CliRunner().invoke(cli, ["evaluate", str(run), "--data", str(folder), "--allow-leak", "--json"])
    assert json.loads(elsewhere.output)["n"] == 40
    assert json.loads(elsewhere.output)["part"] == "transcribed"
    assert own.height == 16


def test_the_report_shows_lines_and_escapes_what_they_say(run):
    semilla.report(run)
    page = (run / "report.html").read_text()
    assert "How well it reads" in page
    assert "Most errors" in page
    assert page.count('<img src="data:image/') >= 5
    assert "<b>0" not in page
    assert "<script" not in page
    assert (run / "figures" / "readings.csv").read_text().startswith("part,path,text,truth,confidence")


def test_the_plan_tells_the_alphabet_and_what_is_odd_in_it(tmp_path):
    given = arrays()
    given["y_train"][0] = "12\u0331"  # a mark that no composed character has
    given["y_test"][0] = "ế5"
    said = []
    semilla.train(Source(given, task="text", height=16), dry_run=True, say=said.append, **SMALL)
    told = "\n".join(said)
    assert "D190" in told
    assert "U+0331" in told
    assert "D191" in told
    assert "U+1EBF" in told
    assert re.search(r"labeled +16", told)


def test_a_start_from_generated_lines_is_made_grown_and_gone_on_from(tmp_path):
    words = {key: SMALL[key] for key in ("network", "width", "device", "precision", "labeled_batch")}
    start = pretrain_generated(tmp_path / "start", corpus="digits", lines=40, height=16, steps=3, **words)
    assert (start.folder / "readings.jsonl").exists()
    old = start.model.card["alphabet"]
    given = arrays()
    given["y_train"][:2] = ["1ế", "ế2"]
    data = Source(given, task="text", height=16)
    run = semilla.train(data, method="mean_teacher", init=tmp_path / "start", out=tmp_path / "run", **SMALL)
    assert set(run.fits) == {"from_scratch-0", "supervised-0", "mean_teacher-0"}
    card = run.fits["mean_teacher-0"].model.card
    assert card["alphabet"][: len(old)] == old
    assert card["alphabet"][len(old) :] == ["ế"]
    staged = semilla.train(
        data,
        method="supervised",
        pretraining="generated",
        out=tmp_path / "staged",
        **{**SMALL, "steps": 2},
    )
    assert (tmp_path / "staged" / "pretrain" / "run.json").exists()
    assert staged.verdict is None
    with pytest.raises(UsageError, match="U071"):
        semilla.train("digits", labels=40, pretraining="generated", out=tmp_path / "no")


def test_the_corpus_follows_the_letters_of_the_labels():
    assert corpus_for(["Đường Lê Lợi"]) == "vietnamese"
    assert corpus_for(["123", "9"]) == "digits"
    assert corpus_for(["Main Street 5"]) == "english"


def test_lines_drawn_as_they_are_needed_give_the_weights_that_kept_ones_give(tmp_path, monkeypatch):
    """Whether a line is in memory or drawn for its step changes no bit."""
    monkeypatch.setattr(generated_start, "HELD_OUT", 6)
    monkeypatch.setattr(
        preparation, "_DRAWN", 10**6
    )  # the levels' mean and deviation from all lines, as kept ones have
    words = {"corpus": texts(30), "lines": 30, "height": 16, **SMALL}
    kept = pretrain_generated(tmp_path / "kept", **words)
    drawn = pretrain_generated(tmp_path / "drawn", on_the_fly=True, **words)
    for one, other in zip(kept.model.net.parameters(), drawn.model.net.parameters(), strict=True):
        assert torch.equal(one, other)
    assert kept.scores == drawn.scores


def test_very_many_lines_are_not_drawn_before_they_are_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(generated_start, "HELD_OUT", 4)
    monkeypatch.setattr(preparation, "_DRAWN", 5)
    monkeypatch.setattr(outputs, "SAMPLED_LINES", 5)
    seen = []
    line = Generated.line
    monkeypatch.setattr(Generated, "line", lambda self, row: seen.append(row) or line(self, row))
    pretrain_generated(tmp_path / "drawn", corpus=texts(30), lines=3000, height=16, on_the_fly=True, **SMALL)
    assert len(set(seen)) < 8 * 8 + 200


def test_generated_pools_are_told_apart_without_drawing():
    pens = [renderer(texts(30), height=16, seed=seed) for seed in (0, 0, 1)]
    first, same, other = (Generated(pen, 5).digests for pen in pens)
    assert np.array_equal(first, same)
    assert not (first == other).all(1).any()
    assert len(np.unique(first, axis=0)) == 5
    assert np.array_equal(Generated(pens[0], 3, start=2).digests, first[2:])


def test_english36_writes_no_capitals_and_keeps_them_in_the_picture():
    pen = renderer(["Ab-C", "--"], height=16)
    dataset = generated_start.generated_dataset(pen, 20, protocol=Protocol.preset("english36"))
    assert set("".join(dataset.classes)) == set("abc")
    plain = generated_start.generated_dataset(pen, 20)
    assert set("".join(plain.classes)) - {" "} == set("Ab-C")
    assert len(dataset.labels) < 20


def test_what_generated_lines_are_like_is_said_on_the_command_line(tmp_path):
    (tmp_path / "texts.txt").write_text("7 8 9\n9 8 7\n", "utf-8")
    said = {"corpus": str(tmp_path / "texts.txt"), "look": "plain", "lines": 20, "steps": 2}
    semilla.train(
        source(), method="supervised", pretraining="generated", generated=said, out=tmp_path / "run", say=print, **SMALL
    )
    (card,) = (tmp_path / "run" / "pretrain").glob("fits/*/model.json")
    assert set(json.loads(card.read_text())["alphabet"]) == set("789 ")
    with pytest.raises(UsageError, match="add --pretrain generated") as refused:
        semilla.train(source(), generated=said)
    assert refused.value.code == "U008"
    with pytest.raises(UsageError, match="did you mean 'corpus'") as refused:
        semilla.train(source(), pretraining="generated", generated={"korpus": "x"}, out=tmp_path / "other")
    assert refused.value.code == "U002"


def test_lines_are_turned_to_learn_without_any_text(tmp_path):
    """Rotation makes a start that reads nothing itself, and from which a recogniser begins."""
    words = {name: value for name, value in SMALL.items() if name != "labeled_batch"}
    made = semilla.pretrain(source(), method="rotation", out=tmp_path / "start", **words)
    assert made.readout is None
    with pytest.raises(StateError) as refused:
        semilla.load(tmp_path / "start").predict([picture("123")])
    assert refused.value.code == "C027"
    began = safetensors.numpy.load_file(next((tmp_path / "start").glob("fits/*/model.safetensors")))
    run = semilla.train(source(), method="supervised", init=tmp_path / "start", **{**SMALL, "learning_rate": 1e-12})
    for name, value in run.fits["supervised-0"].model.net.state_dict().items():
        if "classifier" not in name:
            np.testing.assert_allclose(value, began[name], atol=1e-6)


def test_pretraining_without_lines_to_turn_is_refused():
    for words, said in (
        ({"method": "simclr"}, "take rotation"),
        ({"method": "rotation", "network": "attention_reader"}, "ctc"),
    ):
        with pytest.raises(UsageError, match=said) as refused:
            semilla.pretrain(source(), **words)
        assert refused.value.code == "U007"


def test_methods_of_text_see_strong_views_unless_told_otherwise():
    plan = plan_fit(load(source()), method="fixmatch")[0]
    assert plan.settings.hyperparameters["labeled_view"] == "strong"
    plain = plan_fit(load(source()), method="fixmatch", recipe=None)[0]
    assert "labeled_view" not in plain.settings.hyperparameters


def test_compared_from_a_start_the_labels_alone_stand_beside(tmp_path, monkeypatch):
    monkeypatch.setattr(comparing, "run_jobs", lambda jobs, *_: [run_job(job) for job in jobs])
    start = pretrain_generated(tmp_path / "start", corpus=texts(20), lines=20, height=32, **SMALL)
    assert start.folder is not None
    words = {**SMALL, "steps": 2, "labels": 10, "draws": 2, "init": tmp_path / "start"}
    del words["width"], words["network"]
    done = comparing.compare("digit_strings", ["mean_teacher"], out=tmp_path / "out", **words)
    assert [row.method for row in done.rows] == ["from_scratch", "supervised", "mean_teacher"]
    assert {row.measure for row in done.rows} == {"cer"}
    assert [line.split(":")[0] for line in done.lines()[-1:]] == ["mean_teacher"]
    scratch, own = (
        json.loads((tmp_path / "out" / "fits" / name / "fit.json").read_text())
        for name in ("from_scratch-0", "supervised-0")
    )
    assert scratch["fit"]["settings"]["width"] == own["fit"]["settings"]["width"] == 4
    assert "weights" not in scratch["fit"]["network"]
    assert "weights" in own["fit"]["network"]
    assert (tmp_path / "out" / "cer.png").is_file()


@pytest.mark.parametrize(
    ("name", "value"),
    [("lines", "abc"), ("lines", 1.5), ("lines", 0), ("balance", "x"), ("on_the_fly", "no"), ("look", 3), ("steps", 0)],
)
def test_a_value_that_generated_lines_cannot_have_is_told(name, value, tmp_path):
    with pytest.raises(UsageError, match=name) as refused:
        semilla.train(source(), pretraining="generated", generated={name: value}, out=tmp_path / "run")
    assert refused.value.code == "U006"


@pytest.mark.parametrize(("said", "code"), [({"look": "foo"}, "U133"), ({"corpus": "nope.txt"}, "D001")])
def test_a_dry_run_tells_what_the_start_would_stumble_over(said, code):
    with pytest.raises((UsageError, DataError)) as refused:
        semilla.train(source(), method="supervised", pretraining="generated", generated=said, dry_run=True, **SMALL)
    assert refused.value.code == code


def test_french_is_not_taken_for_vietnamese():
    assert corpus_for(["café", "château"]) == "english"
    assert corpus_for(["Hải"]) == "vietnamese"


def test_a_setting_of_no_compared_method_is_refused():
    with pytest.raises(UsageError, match="threshold") as refused:
        comparing.compare("digits", ["mean_teacher"], labels=40, threshold=0.5)
    assert refused.value.code == "U002"


def test_names_that_are_no_utf8_and_separators_of_lines_come_through_to_the_report(tmp_path):
    """Bytes of old archives, and characters at which `str.splitlines` cuts; all of them are sampled for `readings`."""
    place, odd = tmp_path / "lines", ["a\u2028b.png", "c\u2029d.png", "e\x85f.png"]
    place.mkdir()
    rows = ["path,text"]
    for number, text in enumerate(texts(24)):
        name = [*odd, os.fsdecode(b"anh\xe9.png")][number] if number < 4 else f"{number:02d}.png"
        Image.fromarray(picture(text)).save(place / name)
        rows += [f"{name},{text}"] if number < 18 and number != 3 else []
    (place / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    words = {"task": "text", "height": 16, "holdout": 0.3, "baseline": False}
    out = semilla.train(place, method="fixmatch", out=tmp_path / "run", **words, **SMALL).folder
    read = [json.loads(line) for line in (out / "fits/fixmatch-0/readings.jsonl").read_text().split("\n") if line]
    assert {*odd, os.fsdecode(b"anh\xe9.png")} <= {row["path"] for row in read}
    assert semilla.report(out).is_file()


@pytest.mark.parametrize("ask", [comparing.compare, lambda data, methods, **words: demonstrated(methods)])
def test_a_method_that_is_not_for_text_is_refused_before_anything_is_read_or_trained(ask, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        ask("nowhere", ["mixmatch"], task="text")
    assert caught.value.code == "U007"
    assert list(tmp_path.iterdir()) == []


def demonstrated(methods):
    demo.run_demo(1, methods, None, None, None, lambda line: None, "text")


def test_a_comparison_of_readers_says_what_it_took_for_the_same(tmp_path):
    words = SMALL | {"labels": None, "draws": 1, "out": tmp_path / "run", "workers": 1}
    comparing.compare(source(), ["supervised"], **words)
    assert json.loads((tmp_path / "run/compare.json").read_text())["protocol"] == Protocol().plain()
