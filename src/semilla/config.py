"""Settings: defaults ← a recipe's deltas ← what the user says, resolved once and saved with the run.

A setting is looked up by name, whether it belongs to the training (`Settings`) or to the method (its catalogue entry),
so that a recipe, ``--set key=value`` and a Python keyword all say the same word.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from semilla.errors import UsageError

Value = str | int | float | bool | None | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """What may be said for one name.

    Attributes:
        meaning: what it is.
        ours: the default here.
        paper: the paper's value, as text, because papers differ by data set.
        range: smallest and largest sensible value.
        choices: the allowed words.
        optional: whether None is allowed.
        length: how many words there must be; None for one or more.
        value_type: the type of its values where the default does not show it.
    """

    meaning: str
    ours: Any
    paper: str = ""
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False
    length: int | None = None
    value_type: type | None = None

    @property
    def kind(self) -> type:
        """The type of its values."""
        if self.value_type is not None or self.ours is not None:
            return self.value_type or type(self.ours)
        return str if self.choices else float


@dataclass(frozen=True, slots=True)
class Settings:
    """All that decides the weights of one fit, besides the data.

    A None stands for a default that depends on data or machine; `semilla.training.plan` fills it in and says why.

    Attributes:
        method: a name in `METHODS`.
        hyperparameters: the method's own arguments where they differ from its defaults.
        seed: decides label draw, initial weights, order, views and the method's draws.
        network: ``small_cnn``, ``wide_resnet`` or ``mlp``.
        width: the network's width.
        steps: optimizer steps.
        labeled_batch: labeled examples in a step.
        unlabeled_batch: unlabeled examples in a step.
        optimizer: ``sgd`` (Nesterov) or ``adamw``.
        learning_rate: the largest learning rate.
        momentum: of SGD.
        weight_decay: on weights with two or more dimensions; biases and normalisation are left alone.
        schedule: ``cosine`` falls as cos(7π/16 · progress), the papers' form; ``constant`` stays.
        warmup: share of the run over which the learning rate rises from 0.
        clip: largest gradient norm, or None.
        ema_decay: α of the averaged weights in the long run.
        unlabeled: ``rest`` of the pool, or ``all`` of it, the labeled examples included.
        device: ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32`` or ``bf16``.
        threads: CPU threads.
        evaluate_every: steps between evaluations.
        save_every: steps between checkpoints.
        log_every: steps between lines of metrics.jsonl.
        strict: a collapse ends the run with an error.
    """

    method: str = "fixmatch"
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    network: Literal["small_cnn", "wide_resnet", "mlp"] | None = None
    width: int | None = None
    steps: int | None = None
    labeled_batch: int | None = None
    unlabeled_batch: int | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.0
    clip: float | None = None
    ema_decay: float | None = None
    unlabeled: Literal["rest", "all"] = "rest"
    device: Literal["cpu", "cuda", "mps"] | None = None
    precision: Literal["fp32", "bf16"] | None = None
    threads: int | None = None
    evaluate_every: int | None = None
    save_every: int | None = None
    log_every: int | None = None
    strict: bool = False


FREE = frozenset({"evaluate_every", "save_every", "log_every", "strict"})
"""Settings that cannot change the weights, so that a resumed run may change them."""

_COUNTS = {"width", "steps", "labeled_batch", "unlabeled_batch", "threads"} | (FREE - {"strict"})
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(_COUNTS, (1, math.inf)),
    **dict.fromkeys(("momentum", "weight_decay", "warmup", "ema_decay"), (0.0, 1.0)),
    "learning_rate": (0.0, 100.0),
    "clip": (0.0, math.inf),
    "seed": (0, 2**64 - 1),
}


def _parameters() -> dict[str, Parameter]:
    """The settings as `Parameter` rows, read from the dataclass."""
    rows = {}
    hints = get_type_hints(Settings)
    for item in dataclasses.fields(Settings):
        options = set(get_args(hints[item.name])) if NoneType in get_args(hints[item.name]) else {hints[item.name]}
        wanted = next(option for option in options if option is not NoneType)
        literal = get_origin(wanted) is Literal
        rows[item.name] = Parameter(
            meaning="",
            ours=item.default,
            range=_RANGES.get(item.name),
            choices=get_args(wanted) if literal else (),
            optional=NoneType in options,
            value_type=str if literal else wanted,
        )
    del rows["method"], rows["hyperparameters"]
    return rows


PARAMETERS = _parameters()
"""What may be said for each setting of the training."""


def settings(method: str, known: Mapping[str, Parameter], *layers: Mapping[str, Any]) -> Settings:
    """The settings of a method: defaults, then each layer in turn, keys checked against both kinds of names.

    Args:
        method: the method's name.
        known: its hyperparameters, from the catalogue.
        layers: what to change, later layers last.

    Raises:
        UsageError: an unknown key (with the nearest known one), a wrong type, or a value out of range.
    """
    training: dict[str, Any] = {}
    hyperparameters: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            name = key.replace("-", "_")
            if name in known:
                hyperparameters[name] = _checked(name, value, known[name])
            elif name in PARAMETERS:
                training[name] = _checked(name, value, PARAMETERS[name])
            else:
                raise UsageError("U002", f"unknown setting {key!r} for {method}", nearest(name, [*known, *PARAMETERS]))
    return Settings(method=method, hyperparameters=hyperparameters, **training)


def parse_assignment(text: str) -> tuple[str, Value]:
    """``key=value`` as typed on the command line; the value in TOML's notation, or a bare word, or none."""
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise UsageError("U003", f"{text!r} is not of the form key=value", "for example --set threshold=0.9")
    raw = raw.strip()
    if raw.lower() == "none":
        return key.strip(), None
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = tuple(word.strip() for word in raw.split(",")) if "," in raw else raw
    except RecursionError:
        raise UsageError("U003", f"the value of {key.strip()} is nested too deep", "give a plain value") from None
    return key.strip(), tuple(value) if isinstance(value, list) else value


def recipe(name: str | Path) -> dict[str, Any]:
    """The deltas of a recipe: one that comes with semilla (``digits/uda``) or a TOML file of the user's.

    Raises:
        UsageError: no such recipe, not TOML, or larger than 1 MB.
    """
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise UsageError("U004", f"no recipe file {str(path)!r}", "check the path")
        if path.stat().st_size > 1_000_000:
            raise UsageError("U004", f"recipe {str(path)!r} is larger than 1 MB", "a recipe is a short list of deltas")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise UsageError("U004", f"recipe {str(path)!r} is not UTF-8 text", "save it as UTF-8") from None
    else:
        known = recipes()
        if str(name) not in known:
            raise UsageError("U004", f"no recipe called {str(name)!r}", nearest(str(name), known))
        text = (resources.files("semilla") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError("U004", f"recipe {str(name)!r} is not valid TOML: {error}", "correct that line") from None


def recipes() -> list[str]:
    """Names of the recipes that come with semilla, ``set/method``."""
    root = resources.files("semilla") / "recipes"
    folders = sorted((entry for entry in root.iterdir() if entry.is_dir()), key=lambda entry: entry.name)
    return [
        f"{folder.name}/{name.removesuffix('.toml')}"
        for folder in folders
        for name in sorted(file.name for file in folder.iterdir())
        if name.endswith(".toml")
    ]


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint: the nearest known word, or all of them."""
    known = list(known)
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known)}"


def _checked(name: str, value: Any, parameter: Parameter) -> Any:
    if value is None and parameter.optional:
        return None
    value = _typed(name, value, parameter.kind)
    words = value if parameter.kind is tuple else (value,)
    for word in words if parameter.choices else ():
        if word not in parameter.choices:
            allowed = ", ".join(parameter.choices)
            raise UsageError(
                "U005", f"{name} = {word!r} is not one of {allowed}", nearest(str(word), parameter.choices)
            )
    if not words or (parameter.length is not None and len(words) != parameter.length):
        raise UsageError(
            "U005", f"{name} takes {parameter.length or 'at least one'} words, not {len(words)}", "add them"
        )
    return _in_range(name, value, *parameter.range) if parameter.range else value


def _typed(name: str, value: Any, kind: type) -> Any:
    if kind is tuple:
        words = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (list, tuple)) else None
        if words is not None and all(isinstance(word, str) for word in words):
            return words
    elif kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif type(value) is kind:
        return value
    names = {bool: "true or false", int: "a whole number", float: "a number", tuple: "words", str: "a word"}
    raise UsageError("U005", f"{name} = {value!r} is not {names[kind]}", f"give {name} {names[kind]}")


def _in_range(name: str, value: Any, low: float, high: float) -> Any:
    if not low <= value <= high or (isinstance(value, float) and not math.isfinite(value)):
        bound = f"between {low} and {high}" if high < math.inf else f"{low} or more"
        raise UsageError("U006", f"{name} = {value} is out of range", f"{name} must be {bound}")
    return value
