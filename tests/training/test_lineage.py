"""What a resumed run may change: nothing that decides the result, unless it is asked for by name."""

import copy
import logging

import pytest

from semilla.config import FREE, PARAMETERS, Settings
from semilla.errors import StateError, UsageError
from semilla.training.lineage import FORBIDDEN, ON_REQUEST, check_same, identity, replayed

SAVED = {
    "settings": {
        "method": "uda",
        "hyperparameters": {"threshold": 0.8},
        "seed": 3,
        "steps": 100,
        "network": "mlp",
        "width": 8,
        "learning_rate": 0.03,
        "clip": None,
        "log_every": 5,
        "device": "cpu",
    },
    "network": {"name": "mlp", "width": 8},
    "classes": ["a", "b"],
    "data": {"name": "digits", "fingerprint": "12ab", "labeled": 40, "unlabeled": 857},
    "evaluate_on": "test",
}


def changed(path, value):
    """SAVED with one value changed."""
    new = copy.deepcopy(SAVED)
    *folders, last = path.split(".")
    inner = new
    for name in folders:
        inner = inner[name]
    inner[last] = value
    return new


def refused(asked, *arguments, **more):
    with pytest.raises(StateError) as caught:
        check_same(SAVED, asked, *arguments, **more)
    assert caught.value.code == "C003"
    return caught.value


def test_the_three_kinds_share_out_all_settings():
    assert set(PARAMETERS) | {"method"} == FREE | FORBIDDEN | ON_REQUEST
    assert not FREE & FORBIDDEN
    assert not ON_REQUEST & (FREE | FORBIDDEN)
    assert {"learning_rate", "steps", "device", "precision", "threads", "unlabeled_batch"} <= ON_REQUEST
    assert {"method", "seed", "network", "width", "optimizer", "size"} <= FORBIDDEN


def test_the_same_is_the_same():
    assert check_same(SAVED, copy.deepcopy(SAVED)) == []


@pytest.mark.parametrize("name", sorted(FREE))
def test_free_settings_may_differ_without_a_word(name):
    assert check_same(SAVED, changed(f"settings.{name}", 99)) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("settings.learning_rate", 0.1), ("settings.clip", 1.0), ("settings.hyperparameters.threshold", 0.9)],
)
def test_what_may_change_on_request(key, value):
    name = key.split(".")[-1]
    error = refused(changed(key, value))
    assert f"{key}: " in error.message
    assert f"→ {value}" in error.message
    assert f"--allow-change {name}" in error.fix
    (told,) = check_same(SAVED, changed(key, value), [name])
    assert told.startswith(f"{key}: ")
    assert told.endswith(f" → {value}")


def test_a_dash_is_an_underscore():
    assert len(check_same(SAVED, changed("settings.learning_rate", 0.1), ["learning-rate"])) == 1


def test_a_request_is_for_its_own_setting_only():
    asked = changed("settings.learning_rate", 0.1)
    asked["settings"]["clip"] = 1.0
    error = refused(asked, ["clip"])
    assert "settings.learning_rate: 0.03 → 0.1" in error.message
    assert "clip" not in error.message
    assert len(check_same(SAVED, asked, ["clip", "learning_rate"])) == 2


@pytest.mark.parametrize("name", sorted(FORBIDDEN | FREE))
def test_what_is_never_asked_for(name):
    with pytest.raises(UsageError) as caught:
        check_same(SAVED, SAVED, [name])
    assert caught.value.code == "U019"
    assert name in caught.value.message
    assert ("may always differ" in caught.value.message) == (name in FREE)
    assert "learning_rate" in caught.value.fix


@pytest.mark.parametrize("key", ["settings.seed", "settings.method", "settings.width", "network.width"])
def test_what_never_changes_is_refused_with_another_way_out(key):
    error = refused(changed(key, 77), ["learning_rate"], data=True)
    assert key in error.message
    assert "--allow-change" not in error.fix
    assert "--out" in error.fix


def test_keys_that_came_or_went_are_differences():
    less = copy.deepcopy(SAVED)
    del less["settings"]["hyperparameters"]["threshold"]
    assert "threshold: 0.8 → None" in refused(less).message
    assert "views: None → ['weak']" in refused(changed("settings.hyperparameters.views", ["weak"])).message


def test_other_data_only_where_that_is_allowed():
    asked = changed("data.fingerprint", "ffff")
    asked["data"]["unlabeled"] = 900
    error = refused(asked)
    assert "data.fingerprint: 12ab → ffff" in error.message
    assert "data.unlabeled: 857 → 900" in error.message
    assert "--allow-data-change" in error.fix
    assert check_same(SAVED, asked, data=True) == ["data.fingerprint: 12ab → ffff", "data.unlabeled: 857 → 900"]
    refused(changed("classes", ["a", "c"]), data=True)


@pytest.mark.parametrize(
    ("word", "key"), [("classes", "classes"), ("data.fingerprint", "data.fingerprint"), ("treshold", "settings.clip")]
)
def test_only_settings_are_asked_for(word, key):
    with pytest.raises((StateError, UsageError)):
        check_same(SAVED, changed(key, "other") if word == key else SAVED, [word])


def test_many_differences_are_told_in_ten_lines():
    asked = copy.deepcopy(SAVED)
    asked["settings"]["hyperparameters"] = {f"name{number:02}": number for number in range(30)}
    assert refused(asked).message.count("→") == 10


# What was left open when the run began


BEGAN = {
    "fit": {"settings": {"steps": 300, "width": 8, "learning_rate": 0.05, "device": "cpu"}},
    "versions": {"torch": "2.10", "numpy": "2.1"},
    "reasons": {"steps": "the default", "width": "small images", "device": "the only one", "gone": "of an old version"},
}
NOW = {"torch": "2.10", "numpy": "2.1"}


def test_what_was_left_open_is_as_it_was():
    filled, reasons = replayed(Settings("uda", width=16), BEGAN, False, NOW)
    assert (filled.steps, filled.device, filled.width) == (300, "cpu", 16)
    assert filled.learning_rate is None  # it has no reason: the user gave it, and must give it again
    assert reasons == {"steps": "the default", "device": "the only one"}


def test_a_budget_in_minutes_takes_the_steps_that_were():
    said = Settings("uda", steps=50)
    assert replayed(said, BEGAN, False, NOW)[0].steps == 50
    filled, reasons = replayed(said, BEGAN, True, NOW)
    assert filled.steps == 300
    assert "steps" in reasons


def test_other_versions_are_told(caplog):
    with caplog.at_level(logging.WARNING, "semilla"):
        replayed(Settings("uda"), BEGAN, False, NOW)
        assert not caplog.records
        replayed(Settings("uda"), BEGAN, False, {**NOW, "torch": "2.11"})
    (record,) = caplog.records
    assert "C025" in record.getMessage()
    assert "torch 2.10 → 2.11" in record.getMessage()
    assert "numpy" not in record.getMessage()


def test_a_change_that_was_taken_back_is_part_of_the_lineage():
    changes = [["settings.clip: None → 1.0"], ["settings.clip: 1.0 → None"]]
    assert identity(SAVED, []) == identity(SAVED, ())
    assert len({identity(SAVED, []), identity(SAVED, changes), identity(SAVED, changes[:1])}) == 3
    assert identity(changed("settings.log_every", 7), []) == identity(SAVED, [])
    assert identity(changed("settings.steps", 7), []) != identity(SAVED, [])
