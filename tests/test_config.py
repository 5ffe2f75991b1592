"""Settings: layers, names of two kinds, types and ranges; assignments as typed; recipes as files."""

import dataclasses
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semilla import config
from semilla.config import PARAMETERS, Settings, nearest, parse_assignment, recipe, recipes, settings
from semilla.errors import UsageError
from semilla.methods import METHODS, PRETRAINING, find

UDA = find("uda").hyperparameters


def refused(*layers, method="uda"):
    with pytest.raises(UsageError) as caught:
        settings(method, find(method).hyperparameters, *layers)
    assert caught.value.exit_code == 2
    return caught.value


# Layers and names


def test_later_layers_win_and_each_name_finds_its_place():
    found = settings("uda", UDA, {"steps": 10, "threshold": 0.5, "seed": 1}, {"steps": 20}, {"threshold": 0.7})
    assert (found.steps, found.seed, found.hyperparameters) == (20, 1, {"threshold": 0.7})
    assert found.method == "uda"


def test_nothing_said_leaves_the_defaults():
    assert settings("uda", UDA) == Settings(method="uda")
    assert settings("uda", UDA, {}, {}) == Settings(method="uda")


def test_dashes_are_underscores():
    assert settings("uda", UDA, {"learning-rate": 0.1}).learning_rate == 0.1


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings("uda", UDA).steps = 3


@pytest.mark.parametrize(
    ("key", "word"),
    [("treshold", "threshold"), ("step", "steps"), ("lerning_rate", "learning_rate"), ("temprature", "temperature")],
)
def test_an_unknown_key_names_the_nearest(key, word):
    error = refused({key: 1})
    assert error.code == "U002"
    assert f"'{key}'" in error.message
    assert f"'{word}'" in error.fix


def test_a_key_of_another_method_is_unknown_here():
    assert refused({"threshold": 0.9}, method="mixmatch").code == "U002"


def test_method_and_hyperparameters_are_not_settings_to_change():
    assert refused({"method": "uda"}).code == "U002"
    assert refused({"hyperparameters": {}}).code == "U002"


def test_no_name_means_two_things():
    for entry in (METHODS | PRETRAINING).values():
        assert not entry.hyperparameters.keys() & PARAMETERS.keys(), entry.name


def test_every_setting_can_be_said():
    assert PARAMETERS.keys() == {field.name for field in dataclasses.fields(Settings)} - {"method", "hyperparameters"}
    for name, parameter in PARAMETERS.items():
        assert parameter.optional or parameter.ours is not None, name
        number = parameter.kind in (int, float) and not parameter.choices
        assert not number or parameter.range is not None, name


# Types, ranges, choices


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", 1.0),
        ("steps", "ten"),
        ("steps", True),
        ("seed", None),
        ("seed", 0.5),
        ("learning_rate", "fast"),
        ("learning_rate", True),
        ("strict", 1),
        ("strict", "yes"),
        ("threshold", None),
        ("threshold", [0.9]),
        ("joint", 0),
        ("views", 3),
        ("views", [1, 2]),
        ("network", "resnet"),
        ("network", 3),
        ("device", "gpu"),
        ("annealing", "cubic"),
        ("labeled_view", "hard"),
    ],
)
def test_a_wrong_type_or_word_is_refused_by_name_and_value(key, value):
    error = refused({key: value})
    assert error.code == "U005"
    assert key in error.message
    assert repr(value) in error.message
    assert error.fix


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", 0),
        ("seed", -1),
        ("seed", 2**64),
        ("learning_rate", -0.1),
        ("learning_rate", math.nan),
        ("learning_rate", 1000),
        ("momentum", 1.5),
        ("ema_decay", -0.01),
        ("warmup", 2),
        ("clip", math.inf),
        ("clip", -1.0),
        ("weight", math.inf),
        ("threshold", math.nan),
        ("threshold", -0.1),
        ("temperature", 0.0),
        ("threads", 0),
        ("log_every", 0),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(key, value):
    error = refused({key: value})
    assert error.code == "U006"
    assert f"{key} = {value}" in error.message
    assert f"{key} must be" in error.fix


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("learning_rate", 1, 1.0),
        ("threshold", 1.01, 1.01),
        ("momentum", 1, 1.0),
        ("momentum", 0, 0.0),
        ("seed", 2**64 - 1, 2**64 - 1),
        ("steps", None, None),
        ("clip", None, None),
        ("annealing", None, None),
        ("annealing", "exp", "exp"),
        ("views", ["weak", "weak"], ("weak", "weak")),
        ("views", ("none", "strong"), ("none", "strong")),
    ],
)
def test_sensible_values_are_kept_in_their_type(key, value, kept):
    found = settings("uda", UDA, {key: value})
    held = found.hyperparameters[key] if key in UDA else getattr(found, key)
    assert held == kept
    assert type(held) is type(kept)


# As typed


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("threshold=0.9", ("threshold", 0.9)),
        ("steps=300", ("steps", 300)),
        ("steps = 1_000", ("steps", 1000)),
        ("joint=true", ("joint", True)),
        ("clip=none", ("clip", None)),
        ("clip=None", ("clip", None)),
        ("optimizer=adamw", ("optimizer", "adamw")),
        ('optimizer="adamw"', ("optimizer", "adamw")),
        ("views=weak,strong", ("views", ("weak", "strong"))),
        ('views=["weak", "strong"]', ("views", ("weak", "strong"))),
        ("weight_decay=5e-4", ("weight_decay", 5e-4)),
        ("a=b=c", ("a", "b=c")),
        ("network=", ("network", "")),
    ],
)
def test_an_assignment_is_read(text, pair):
    key, value = parse_assignment(text)
    assert (key, value) == pair
    assert type(value) is type(pair[1])


@pytest.mark.parametrize("text", ["threshold", "=0.9", " =1", ""])
def test_what_is_no_assignment_is_refused(text):
    with pytest.raises(UsageError, match="key=value") as caught:
        parse_assignment(text)
    assert caught.value.code == "U003"


def test_not_a_number_is_read_and_then_refused():
    key, value = parse_assignment("learning_rate=nan")
    assert math.isnan(value)
    assert refused({key: value}).code == "U006"


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text):
    try:
        key, _ = parse_assignment(f"key={text}")
    except UsageError:
        return
    assert key == "key"


def test_a_value_nested_without_end_is_refused():
    try:
        key, value = parse_assignment("steps=" + "[" * 5000)
    except UsageError:
        return
    assert refused({key: value}).exit_code == 2


# Recipes


def test_a_recipe_file_is_a_table_of_deltas(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '# semilla train digits --recipe mine.toml\nsteps = 50\nthreshold = 0.9\nviews = ["weak", "strong"]\n'
    )
    assert recipe(path) == recipe(str(path)) == {"steps": 50, "threshold": 0.9, "views": ["weak", "strong"]}
    found = settings("uda", UDA, recipe(path), {"steps": 60})
    assert (found.steps, found.hyperparameters) == (60, {"threshold": 0.9, "views": ("weak", "strong")})


def bad_recipe(name):
    with pytest.raises(UsageError) as caught:
        recipe(name)
    assert (caught.value.code, caught.value.exit_code) == ("U004", 2)
    return caught.value


def test_a_recipe_that_is_missing_or_too_large_or_no_toml(tmp_path):
    assert "gone.toml" in bad_recipe(tmp_path / "gone.toml").message
    large, broken = tmp_path / "large.toml", tmp_path / "broken.toml"
    large.write_text("#" * 1_000_001)
    assert "64 kB" in bad_recipe(large).message
    broken.write_text("steps = \n")
    assert "not valid TOML" in bad_recipe(broken).message


def test_a_recipe_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "binary.toml"
    path.write_bytes(b"steps = 1\n# \xff\xfe\n")
    bad_recipe(path)


def test_a_recipe_nested_without_end_is_refused(tmp_path):
    path = tmp_path / "deep.toml"
    path.write_text("steps = " + "[" * 100_000)
    bad_recipe(path)


def test_a_folder_is_no_recipe(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    bad_recipe(tmp_path / "folder.toml")


def test_a_recipe_cannot_say_what_is_not_a_setting(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[uda]\nthreshold = 0.9\n")
    assert refused(recipe(path)).code == "U002"


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A package with two recipes and something else."""
    for name, text in {
        "digits/uda.toml": "steps = 7",
        "mine/fixmatch.toml": "steps = 8",
        "digits/notes.md": "",
    }.items():
        (tmp_path / "recipes" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "recipes" / name).write_text(text)
    monkeypatch.setattr(config.resources, "files", lambda package: Path(tmp_path))


def test_recipes_that_come_with_semilla(shelf):
    assert recipes() == ["digits/uda", "mine/fixmatch"]
    assert recipe("digits/uda") == {"steps": 7}
    assert "'digits/uda'" in bad_recipe("digits/udda").fix
    bad_recipe("../recipes/digits/uda")
    bad_recipe("digits/notes")


def test_every_recipe_in_the_package_fits_its_method():
    for name in recipes():
        method = name.split("/")[1]
        settings(method, find(method).hyperparameters, recipe(name))


def test_the_nearest_word_or_all_of_them():
    assert nearest("treshold", ["threshold", "steps"]) == "did you mean 'threshold'?"
    assert nearest("qqq", ["threshold", "steps"]) == "known are: threshold, steps"
