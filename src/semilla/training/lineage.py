"""May a run be taken up again? What may differ, what may differ on request, and what never may."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from semilla.config import FREE, PARAMETERS, Settings, nearest
from semilla.errors import StateError, UsageError

FORBIDDEN = frozenset({"method", "network", "width", "weights", "size", "resize", "optimizer", "layer_decay", "seed"})
"""Settings that make another run of it: the checkpoint's tensors or draws would not belong to it."""

ON_REQUEST = frozenset(PARAMETERS) - FREE - FORBIDDEN
"""Settings that a resumed run may change where the user says so; it is not bit-exact from there on."""

_SHOWN = 10


def replayed(
    asked: Settings, saved: Mapping[str, Any], timed: bool, versions: Mapping[str, str]
) -> tuple[Settings, dict[str, str]]:
    """What was left open is what it was when the run began, whatever this machine would choose now.

    Args:
        asked: the settings before the open ones are filled in.
        saved: the fit's description as it was written.
        timed: whether a budget in minutes decides the steps.
        versions: of what the bits depend on, now.
    """
    old, known = saved["fit"]["settings"], saved["versions"]
    changes = [f"{name} {known.get(name)} → {now}" for name, now in versions.items() if known.get(name) != now]
    if changes:
        logging.getLogger("semilla").warning(
            "warn[C025]: resumed with other versions, not bit-exact: %s", ", ".join(changes)
        )
    reasons = {
        name: why
        for name, why in saved["reasons"].items()
        if name in old and (getattr(asked, name) is None or (timed and name == "steps"))  # minutes overrule a recipe
    }
    return replace(asked, **{name: old[name] for name in reasons}), reasons


def check_same(
    saved: Mapping[str, Any], asked: Mapping[str, Any], allowed: Iterable[str] = (), data: bool = False
) -> list[str]:
    """Refuse to resume a run as another one.

    Args:
        saved: what decided the result when the run began.
        asked: what would decide it now.
        allowed: settings that may differ.
        data: whether the data may differ.

    Returns:
        Every difference that was allowed, as ``key: old → new``.

    Raises:
        StateError: C003, a difference that is not allowed, with all of them as old → new.
        UsageError: U019, a setting is allowed to differ that never may.
    """
    wanted = {name.replace("-", "_") for name in allowed}
    if wrong := sorted(wanted & (FORBIDDEN | FREE)):
        why = "may always differ" if wrong[0] in FREE else "cannot change within a run"
        raise UsageError("U019", f"allow_change {wrong[0]}: it {why}", f"it is for {', '.join(sorted(ON_REQUEST))}")
    old, new = _flat(saved), _flat(asked)
    known = ON_REQUEST | {_name(key) for key in (*old, *new) if key.startswith("settings.hyperparameters.")}
    if strange := sorted(wanted - known - FREE - FORBIDDEN):
        raise UsageError("U019", f"allow_change {strange[0]}: there is no such setting", nearest(strange[0], known))
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    different = {key: f"{key}: {old.get(key)} → {new.get(key)}" for key in keys if _name(key) not in FREE}
    refused = {key for key in different if not (_name(key) in wanted or (data and key.startswith("data.")))}
    if refused:
        lines = "".join(f"\n  {different[key]}" for key in sorted(refused)[:_SHOWN])
        raise StateError("C003", f"the run to resume was started otherwise:{lines}", _fix(refused))
    return list(different.values())


def identity(described: Mapping[str, Any], changed: Iterable[Iterable[str]]) -> str:
    """What the weights descend from, as 16 hexadecimal digits: another one once a resumed run was allowed a change.

    Args:
        described: what decided the result, as `semilla.fitting.Fit.describe` tells it.
        changed: the differences that each resumption was allowed.
    """
    decisive = {key: value for key, value in _flat(described).items() if _name(key) not in FREE}
    told = json.dumps([decisive, [list(each) for each in changed]], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _fix(refused: set[str]) -> str:
    if all(key.startswith("data.") for key in refused):
        return "resume with the same data, or add --allow-data-change: another lineage from there on"
    settings = sorted(key for key in refused if key.startswith("settings."))
    if len(settings) == len(refused) and not FORBIDDEN & {_name(key) for key in settings}:
        words = " ".join(f"--allow-change {_name(key)}" for key in settings)
        return f"resume with the same settings, or add {words}: not bit-exact from there on"
    return "resume with the same settings and data, or start a new run with another --out"


def _name(key: str) -> str:
    return key.removeprefix("settings.").removeprefix("hyperparameters.")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
