"""Where a result comes from, without saying whose machine it was."""

from __future__ import annotations

import hashlib
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from semilla.reporting.run_data import RunData

_PATH = re.compile(r"(?<![\w.…/\\])(?:~\w*|[A-Za-z]:)?[\\/](?:[^\s'\"\\/]+[\\/])*([^\s'\"\\/]+)[\\/]?")
_WORD = re.compile(r"(-[\w-]*=|)((?:~|[A-Za-z]:)?[\\/].*|~.*)", re.DOTALL)


def private(text: str) -> str:
    """A sentence without absolute paths: of each only the last name is left, and a home folder is ``~``."""
    home = str(Path.home())
    return _PATH.sub(r"…/\1", text.replace(home, "~") if home != "/" else text)


def private_command(command: Any) -> str:
    """A command, given as text or as words, with the last names of its absolute paths."""
    if isinstance(command, str):
        try:
            command = shlex.split(command)
        except ValueError:
            return private(command)
    words = []
    for word in map(str, command or ()):
        path = _WORD.fullmatch(word)
        words.append(f"{path[1]}…/{shlex.quote(_last(path[2]))}" if path else shlex.quote(word))
    return " ".join(words)


def _last(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def provenance(run: RunData) -> dict[str, Any]:
    """``facts`` as (what, value) and ``settings`` as (name, value, reason)."""
    fit = run.model
    described, settings = fit.described.get("fit", {}), fit.settings
    data, calibration = described.get("data", {}), fit.card.get("calibration")
    facts = [
        ("Command", private_command(run.summary.get("command"))),
        ("Data", _data_name(fit.described.get("source"), str(data.get("name", "")))),
        ("Data fingerprint", data.get("fingerprint", "")),
        ("Manifest SHA-256", _sha256(run.folder / "manifest.jsonl")),
        ("Weights SHA-256", fit.card.get("weights_sha256", "")),
        ("Fit", fit.name),
        ("Seed", settings.get("seed")),
        ("Network", ", ".join(f"{key} {_plain(value)}" for key, value in described.get("network", {}).items())),
        ("Device", ", ".join(str(settings[key]) for key in ("device", "precision") if settings.get(key))),
        ("Versions", ", ".join(f"{name} {value}" for name, value in fit.described.get("versions", {}).items())),
        ("Started", _moment(fit.times and fit.times[0])),
        ("Finished", _moment(fit.times and fit.times[1])),
        ("Seconds of training", fit.result.get("seconds")),
        ("Calibration", calibration and f"temperature {calibration['temperature']:.3g}, {_fitted(calibration)}"),
    ]
    reasons = fit.described.get("reasons", {})
    rows = [(name, private(_plain(value)), private(str(reasons.get(name, "")))) for name, value in settings.items()]
    return {"facts": [(name, str(value)) for name, value in facts if value not in (None, "")], "settings": rows}


def _data_name(source: Any, name: str) -> str:
    """The data as the user named them, of an absolute path the last name; data in memory by their own name."""
    given = source.get("data") if isinstance(source, dict) else source
    if not isinstance(given, str):
        return private(name)
    return f"…/{_last(given)}" if _WORD.fullmatch(given) else given


def _fitted(calibration: dict[str, Any]) -> str:
    return f"fitted on {calibration.get('n', 0):,} {calibration.get('fitted_on', '')} examples"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return " × ".join(map(_plain, value))
    return f"{value:.6g}" if isinstance(value, float) else "–" if value is None else str(value)


def _moment(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _sha256(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
