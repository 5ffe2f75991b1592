"""Settings: defaults ← a recipe's deltas ← what the user says, resolved once and saved with the run.

A setting is looked up by name, whether it belongs to the training (`Settings`) or to the method (its catalogue entry),
so that a recipe, ``--set key=value`` and a Python keyword all say the same word.
"""

from __future__ import annotations

import dataclasses
import math
import re
import reprlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib import resources
from importlib.util import find_spec
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
        network: one of `OWN_NETWORKS`, or ``timm/`` and the name of a timm model.
        width: the width of a network of semilla's own; the others have theirs.
        weights: a safetensors file to start from, or ``hub`` to download those of a timm model.
        layer_decay: factor on the learning rate from each layer to the one below it; None trains all at one rate.
        alphabet: what a recogniser of text can write at least, a preset's name; what the labels and the weights to
            start from hold is added. None for those alone.
        size: pixels of each side that pictures are brought to.
        resize: how: ``squash`` both sides, ``pad`` the shorter one, or ``crop`` the longer one.
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
        pool: what is unlabeled: the ``rest`` beside the labeled examples, or ``all``, those included.
        device: ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32`` or ``bf16``.
        memory_format: order of the memory of pictures and kernels: ``channels_last`` or ``contiguous``.
        threads: CPU threads.
        compile: whether PyTorch compiles the network before the first step: worth it for long runs on a GPU.
        evaluate_every: steps between evaluations.
        save_every: steps between checkpoints.
        log_every: steps between lines of metrics.jsonl.
        strict: a collapse ends the run with an error.
    """

    method: str = "fixmatch"
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    network: str | None = None
    width: int | None = None
    weights: str | None = None
    layer_decay: float | None = None
    alphabet: Literal["vietnamese", "english36", "ascii"] | None = None
    size: int | None = None
    resize: Literal["squash", "pad", "crop"] = "squash"
    steps: int | None = None
    labeled_batch: int | None = None
    unlabeled_batch: int | None = None
    optimizer: Literal["sgd", "adamw"] | None = None
    learning_rate: float | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.0
    clip: float | None = None
    ema_decay: float | None = None
    pool: Literal["rest", "all"] = "rest"
    device: Literal["cpu", "cuda", "mps"] | None = None
    precision: Literal["fp32", "bf16"] | None = None
    memory_format: Literal["channels_last", "contiguous"] | None = None
    threads: int | None = None
    compile: bool = False
    evaluate_every: int | None = None
    save_every: int | None = None
    log_every: int | None = None
    strict: bool = False


RECOGNISERS = {"crnn": "ctc", "conv_transformer": "ctc", "attention_reader": "attention"}
"""Networks that read text, and the task that each is made for."""

OWN_NETWORKS = ("mlp", "small_cnn", "whitened_cnn", "wide_resnet", *RECOGNISERS)
"""Networks that come with semilla; every other name is one of timm's."""

TIMM = "timm/"
"""What the name of a timm model begins with once it is resolved."""

FREE = frozenset({"evaluate_every", "save_every", "log_every", "strict"})
"""Settings that cannot change the weights, so that a resumed run may change them."""

_MANY = 2**31
_COUNTS = {"width", "steps", "labeled_batch", "unlabeled_batch", "threads"} | (FREE - {"strict"})
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(_COUNTS, (1, _MANY)),
    "threads": (1, 4096),
    **dict.fromkeys(("momentum", "weight_decay", "warmup", "ema_decay"), (0.0, 1.0)),
    "learning_rate": (0.0, 100.0),
    "layer_decay": (0.01, 1.0),
    "size": (8, 4096),
    "clip": (0.0, math.inf),
    "seed": (0, 2**64 - 1),
}


_RECIPE_BYTES, _DOTS = 64_000, 100


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
                checked = _checked(name, value, PARAMETERS[name])
                training[name] = network_name(checked) if name == "network" and checked is not None else checked
            else:
                raise UsageError("U002", f"unknown setting {key!r} for {method}", nearest(name, [*known, *PARAMETERS]))
    return Settings(method=method, hyperparameters=hyperparameters, **training)


def network_name(word: str) -> str:
    """A network's full name: one of semilla's own as it is, a timm model with ``timm/`` before it.

    PyTorch is not imported: a wrong word is told at once.

    Args:
        word: such as ``small_cnn``, ``resnet18``, ``resnet18.a1_in1k`` or ``timm/resnet18``.

    Raises:
        UsageError: U005, there is no network of that name, or it would need timm, which is not installed.
    """
    if word in OWN_NETWORKS:
        return word
    name, known = word.removeprefix(TIMM), timm_models()
    if name.partition(".")[0] in known:
        return TIMM + name
    own = ", ".join(OWN_NETWORKS)
    alike = get_close_matches(name, [*OWN_NETWORKS, *sorted(known)], n=3, cutoff=0.6)
    alike = alike or [model for model in sorted(known) if name and model.startswith(name)][:3]
    near = f"did you mean {' or '.join(map(repr, alike))}? " if alike else ""
    if known:
        raise UsageError(
            "U005",
            f"network = {reprlib.repr(word)} is not one of {own}, nor of timm's {len(known):,} models",
            near or "timm.list_models('*word*') in Python searches timm's",
        )
    message = f"network = {reprlib.repr(word)} is not one of {own}, and timm, which has others, is not installed"
    raise UsageError("U005", message, f"{near}pip install 'semilla[timm]'")


@cache
def timm_models() -> frozenset[str]:
    """Names of the models of the installed timm, read from its files, as importing it takes seconds; empty without it.

    A test holds this against ``timm.list_models()``.
    """
    found = find_spec("timm")
    if found is None or not found.submodule_search_locations:
        return frozenset()
    pages = Path(found.submodule_search_locations[0], "models").glob("*.py")
    marked = re.compile(r"^@register_model\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)
    return frozenset(name for page in pages for name in marked.findall(page.read_text(encoding="utf-8")))


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


TABLES = ("baseline", "pretrain")
"""Tables of a recipe: the deltas of the supervised training beside the method, and of the pre-training before it."""


def task_of(kind: str | None, network: str | None) -> str:
    """What a label is to the methods: ``classes``, ``ctc`` or ``attention``.

    Args:
        kind: of the data; None where it is not known yet and the network reads text.
        network: as asked for.
    """
    return "classes" if kind in ("images", "vectors") else RECOGNISERS.get(network or "crnn", "ctc")


def recipe(name: str | Path) -> dict[str, Any]:
    """The deltas of a recipe: one that comes with semilla (``digits/uda``) or a TOML file of the user's.

    Its `TABLES` are left to `table_of`.

    Raises:
        UsageError: no such recipe, not TOML, or larger than 64 kB.
    """
    return {key: value for key, value in _read_recipe(name).items() if key not in TABLES}


def table_of(name: str | Path, table: str) -> dict[str, Any] | None:
    """One of a recipe's `TABLES`; None where it does not speak of it. Raises as `recipe`."""
    own = _read_recipe(name).get(table)
    if own is not None and not isinstance(own, dict):
        raise UsageError("U005", f"{table} = {reprlib.repr(own)} is not a table of settings", f"write [{table}]")
    return own


def recipe_for(name: str | Path, method: str) -> str | Path:
    """The recipe of a method where only its folder is named: ``paper`` stands for ``paper/fixmatch``."""
    known = recipes()
    return f"{name}/{method}" if str(name) not in known and f"{name}/{method}" in known else name


def _read_recipe(name: str | Path) -> dict[str, Any]:
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise UsageError("U004", f"no recipe file {str(path)!r}", "check the path")
        if path.stat().st_size > _RECIPE_BYTES:
            raise UsageError("U004", f"recipe {str(path)!r} is larger than 64 kB", "a recipe is a short list of deltas")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise UsageError("U004", f"recipe {str(path)!r} is not UTF-8 text", "save it as UTF-8") from None
    else:
        known = recipes()
        if str(name) not in known:
            raise UsageError("U004", f"no recipe called {str(name)!r}", nearest(str(name), known))
        text = (resources.files("semilla") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    if any(line.count(".") > _DOTS for line in text.splitlines()):  # the parser's time grows with their square
        raise UsageError("U004", f"recipe {str(name)!r} has a line of more than {_DOTS} dots", "write plain values")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
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
                "U005", f"{name} = {reprlib.repr(word)} is not one of {allowed}", nearest(str(word), parameter.choices)
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
    raise UsageError("U005", f"{name} = {reprlib.repr(value)} is not {names[kind]}", f"give {name} {names[kind]}")


def _in_range(name: str, value: Any, low: float, high: float) -> Any:
    if not low <= value <= high or (isinstance(value, float) and not math.isfinite(value)):
        bound = f"{low} or more" if high in (_MANY, math.inf) else f"between {low} and {high}"
        raise UsageError("U006", f"{name} = {value} is out of range", f"{name} must be {bound}")
    return value
