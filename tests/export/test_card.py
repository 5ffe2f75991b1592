"""The model card: valid for the hub, honest in words, and hostile names stay names."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.runs import write_manifest, write_run, write_verdict
from semilla.exporting import export
from semilla.exporting.markup import Plain, markdown, yaml
from semilla.text import clean

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "a: b # no comment\n- x\n---\nlicense: mit",
    "| cell | ![x](http://evil.example/x.png) [y](javascript:1) `z` **b** $m$ ~s~ @all #1 www.evil.example",
    "&amp; \\| \u202e\x00\x7f\x85\u2028 😀 {{ 7 * 7 }} {% raw %} %YAML 1.2 !!python/object:os.system 'it''s'",
)


def card(run, **more):
    export(run, format="safetensors", **more)
    return (run / "export" / "README.md").read_text("utf-8")


def front(text):
    yaml_library = pytest.importorskip("yaml", reason="PyYAML is not installed")
    _, matter, _ = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    return yaml_library.safe_load(matter)


def body(text):
    return re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)[2]


def sections(text):
    parts = re.split(r"^## (.*)$", body(text), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


# What the hub reads


def test_the_front_matter_is_what_the_hub_expects(tmp_path):
    said = front(card(write_run(tmp_path / "run")))
    assert said["library_name"] == "semilla"
    assert said["license"] == "other"
    assert said["pipeline_tag"] == "image-classification"
    assert said["tags"] == ["semi-supervised-learning", "fixmatch", "safetensors"]
    (model,) = said["model-index"]
    (result,) = model["results"]
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"] == {"name": "pets", "type": "pets", "split": "test"}
    (accuracy,) = result["metrics"]
    assert (accuracy["type"], accuracy["value"]) == ("accuracy", 0.9)
    low, high = accuracy["args"]["interval_95"]
    assert 0.79 < low < 0.9 < high < 0.96
    assert accuracy["args"]["n"] == 60


def test_the_hubs_own_library_reads_it(tmp_path):
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    loaded = hub.ModelCard(card(write_run(tmp_path / "run")))
    (result,) = loaded.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("accuracy", 0.9, "pets")


def test_vectors_are_tabular(tmp_path):
    assert front(card(write_run(tmp_path / "run", "mlp")))["pipeline_tag"] == "tabular-classification"


def test_without_a_test_part_no_figure_is_given(tmp_path):
    text = card(write_run(tmp_path / "run", test=0))
    assert "model-index" not in front(text)
    assert "None: there is no labeled test part" in sections(text)["Scores"]
    assert "how often the model is right is not known" in sections(text)["Limits"]


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True),
        st.recursive(
            st.text() | st.integers() | st.booleans() | st.floats(-1e6, 1e6),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"k[a-z]{1,5}", fullmatch=True), inner)
            ),
            max_leaves=8,
        ),
        max_size=4,
    )
)
def test_whatever_is_said_comes_back_from_yaml(value):
    library = pytest.importorskip("yaml", reason="PyYAML is not installed")

    def cleaned(item):
        if isinstance(item, dict):
            return {key: cleaned(inner) for key, inner in item.items()}
        if isinstance(item, list):
            return [cleaned(inner) for inner in item]
        return clean(item) if isinstance(item, str) else pytest.approx(item, abs=1e-6)

    keyed = {f"x{key}": item for key, item in value.items()}  # "no" and "null" are values in YAML, ours are words
    assert (library.safe_load(yaml(keyed)) or {}) == cleaned(keyed)


# Hostile names


def test_hostile_names_neither_break_the_yaml_nor_become_markup(tmp_path):
    classes = HOSTILE[:3]
    run = write_run(
        tmp_path / "run", classes=classes, data=HOSTILE[3], notes=HOSTILE, settings={"labels_file": HOSTILE[4]}
    )
    write_verdict(run, why=HOSTILE[0])
    text = card(run)
    said = front(text)
    assert said["license"] == "other"
    assert set(said) == {"license", "library_name", "pipeline_tag", "tags", "model-index"}
    tame = card(write_run(tmp_path / "tame", notes=["n"] * len(HOSTILE), settings={"labels_file": "f"}))
    assert list(sections(text)) == list(sections(tame))
    for mark in ("|", "<", "`", "**", "](", "http:", "@", "www.", "$"):
        own = re.sub(r"\\.", "", body(text)).count(mark)  # what is escaped does not count
        assert own == re.sub(r"\\.", "", body(tame)).count(mark), mark
    rows = [line for line in sections(text)["Scores"].splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows[3:]} == {6}
    assert not set(text) & {"\x00", "\x7f", "\x85", "\u202e", "\u2028"}
    assert "49" not in text  # no template inside a name is evaluated


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_data_name_is_one_text_in_the_yaml(tmp_path, name):
    said = front(card(write_run(tmp_path / "run", data=name)))
    (result,) = said["model-index"][0]["results"]
    assert re.fullmatch(r"[A-Za-z0-9._-]+", result["dataset"]["type"])
    assert result["dataset"]["split"] == "test"


@given(st.text())
def test_escaped_text_holds_no_markup_and_loses_no_letter(text):
    shown = markdown(text)
    bare = re.sub(r"\\(.)", "", shown)
    assert not re.search(r"[`*_\[\]|<>#$~@]|:\S|www\.", bare, re.IGNORECASE)
    assert "\n" not in shown
    unescaped = re.sub(r"\\(.)", r"\1", shown)
    back = unescaped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert back == " ".join(clean(text).split())


def test_only_what_is_marked_as_markup_passes():
    assert markdown(Plain("**x**")) == "**x**"
    assert markdown("**x**") == r"\*\*x\*\*"


# The words


@pytest.mark.parametrize(
    ("word", "more", "said"),
    [
        ("helped", {}, "In this run the unlabeled examples helped."),
        (
            "hurt",
            {"difference": [-0.1, -0.2, -0.05]},
            "The difference is -10.0 points, with a 95 % interval from -20.0",
        ),
        ("cannot tell", {"needed": 1234}, "about 1,234 test labels instead of 60 settle it."),
        ("cannot tell", {"needed": 10_000_000}, "it would take more than 10,000,000 test labels to settle it."),
        ("cannot tell", {}, "No difference was seen"),
        (
            "cannot tell",
            {"used": 0.0, "needed": 1234},
            "cannot be told: no unlabeled example was used, so the difference",
        ),
    ],
)
def test_the_verdict_in_words(tmp_path, word, more, said):
    run = write_run(tmp_path / "run")
    write_verdict(run, word, **more)
    words = sections(card(run))["Did the unlabeled data help?"]
    assert said in words
    assert "On 60 test examples fixmatch has an accuracy of 90.0 % (80.0 – 95.0)" in words
    assert "70.0 % (60.0 – 80.0)" in words
    assert ("one run on these test examples" in words) == ("semilla compare" in words) == (word != "cannot tell")
    assert ("with this many test labels" in words) == (word == "cannot tell" and "used" not in more)
    assert ("1,234" in words) == (more == {"needed": 1234})


def test_labels_that_chose_the_model_are_told(tmp_path):
    said = "These test labels also chose the model"
    run = write_run(tmp_path / "run")
    assert said not in sections(card(run))["Limits"]
    write_verdict(run)
    assert said in sections(card(run, overwrite=True))["Limits"]
    import safetensors.numpy

    place = run / "fits" / "fixmatch-0" / "outputs.safetensors"
    outputs = safetensors.numpy.load_file(place)
    chose = {f"development_{name}": outputs[f"test_{name}"] for name in ("logits", "labels")}
    safetensors.numpy.save_file({**outputs, **chose}, place)
    assert said not in sections(card(run, overwrite=True))["Limits"]


def test_without_a_comparison_nothing_is_claimed(tmp_path):
    assert "nothing is claimed" in card(write_run(tmp_path / "run"))


def test_the_supervised_model_is_called_so(tmp_path):
    run = write_run(tmp_path / "run")
    write_run(tmp_path / "run", method="supervised")
    write_verdict(run, "hurt", difference=[-0.1, -0.2, -0.05])
    text = card(run, fit="supervised-0")
    assert "The exported model is the supervised one" in text
    assert "This model was chosen because" not in text  # the run ships the other one


def test_the_table_counts_and_scores_each_class(tmp_path):
    run = write_run(tmp_path / "run")
    import safetensors.numpy

    place = run / "fits" / "fixmatch-0" / "outputs.safetensors"
    said = safetensors.numpy.load_file(place)
    said["test_labels"] = np.array([0] * 4 + [1] * 4 + [2] * 2)
    said["test_logits"] = np.eye(3, dtype=np.float32)[[0, 0, 0, 1, 1, 1, 1, 1, 2, 2]]
    safetensors.numpy.save_file(said, place)
    rows = [line for line in sections(card(run))["Scores"].splitlines() if line.startswith("|")]
    assert rows[2] == "| Accuracy | 90.0 % (59.6 – 98.2) |"
    assert [row.split("|")[1:4] for row in rows[5:]] == [
        [" cat ", " 3 ", " 4 "],
        [" dog ", " 3 ", " 4 "],
        [" owl ", " 3 ", " 2 "],
    ]
    assert "75.0 %" in rows[5].split("|")[4]
    assert "100.0 %" in rows[5].split("|")[5]  # precision
    assert "100.0 %" in rows[6].split("|")[4]
    assert "80.0 %" in rows[6].split("|")[5]


def test_the_card_names_method_citation_calibration_settings_and_versions(tmp_path):
    calibration = {"temperature": 1.75, "fitted_on": "test", "n": 60, "error": [0.08, 0.02]}
    text = sections(card(write_run(tmp_path / "run", calibration=calibration, notes=["warn[D053]: few labels"])))
    assert "arXiv 2001.07685" in text["Method"]
    assert r"small\_cnn" in text["Method"]
    assert "temperature 1.75" in text["Calibration"]
    assert "60 examples of the test part" in text["Calibration"]
    assert "8.0 % without it and 2.0 % with it" in text["Calibration"]
    assert "| threshold | 0.9 |" in text["Training"]
    assert "torch " in text["Training"]
    assert r"warn\[D053\]" in text["Data"]
    assert "9 labeled and 50 unlabeled" in card(write_run(tmp_path / "other"))
    assert "not calibrated" in sections(card(write_run(tmp_path / "third")))["Calibration"]


def test_the_limits_tell_a_small_test_part_and_duplicates(tmp_path):
    run = write_run(tmp_path / "run")
    assert "was not looked into" in sections(card(run))["Limits"]
    assert "The figures rest on 60 test examples" in sections(card(run, overwrite=True))["Limits"]
    assert "2 of 3 classes have fewer than 30" in sections(card(run, overwrite=True))["Limits"]
    write_manifest(run, ("a", "b", "c"))
    assert "No test file is byte for byte" in sections(card(run, overwrite=True))["Limits"]
    write_manifest(run, ("a", "a", "c"))
    assert "flatters the figures: 1." in sections(card(run, overwrite=True))["Limits"]


def test_the_weights_a_model_began_with_are_named(tmp_path):
    run = write_run(tmp_path / "run", settings={"weights": "/places/jane/convnext.safetensors"})
    assert "the weights convnext.safetensors, whose license" in sections(card(run))["Limits"]


def test_only_files_that_are_there_are_explained(quick, tmp_path):
    run = write_run(tmp_path / "run")
    assert "InferenceSession" not in card(run)
    export(run, format="onnx", overwrite=True)
    text = (run / "export" / "README.md").read_text()
    assert "InferenceSession" in text
    assert "semilla.load" not in text
    assert "onnx" in front(text)["tags"]


def test_the_code_in_the_card_runs(quick, tmp_path, monkeypatch):
    from export.runs import GREY, examples

    run = write_run(tmp_path / "run")
    export(run)
    monkeypatch.chdir(run / "export")
    snippets = re.findall(
        r"^```python\n(.*?)^```$", (run / "export" / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert len(snippets) == 3
    known = {"inputs": examples(GREY, 4)}
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), known)
    assert known["probabilities"].shape == (4, 3)
    assert known["names"] == [("cat", "dog", "owl")[k] for k in known["probabilities"].argmax(1)]
    assert "body.0.weight" in known["tensors"]
