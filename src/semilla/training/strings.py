"""Strings as labels: what a recogniser can write, how its task spells it, and weights that learn new symbols."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from semilla import files
from semilla.config import RECOGNISERS, Settings
from semilla.contract import Task
from semilla.data.dataset import Split
from semilla.networks import growth
from semilla.networks.weights import HUB, Weights
from semilla.tasks.alphabet import Alphabet
from semilla.tasks.attention import Attention
from semilla.tasks.ctc import CTC

_OF_SYMBOLS = ("classifier.weight", "classifier.bias", "embedding.weight")
"""Weights of recognisers that have a row for each symbol."""


def alphabet(settings: Settings, split: Split) -> Alphabet:
    """The symbols that a fit can write: those of the weights it starts from, of the preset asked for, of its labels.

    They keep the places that they have in the weights. The text of an example that is not labeled is never looked at.
    """
    known = known_to(settings.weights) or Alphabet("")
    if settings.alphabet is not None:
        known = known.grown([Alphabet.preset(settings.alphabet).symbols])
    return known.grown(texts(split))


def texts(split: Split) -> list[str]:
    """The transcriptions of the labeled lines."""
    return [split.classes[label] for label in split.labeled.labels]


def task(settings: Settings, split: Split) -> Task:
    """How the network's outputs are read."""
    own = alphabet(settings, split)
    return of_network(settings.network or "", own)


def of_network(network: str, symbols: Alphabet) -> Task:
    """The task that a recogniser is made for."""
    return CTC(symbols) if RECOGNISERS[network] == "ctc" else Attention(symbols)


def known_to(weights: str | None) -> Alphabet | None:
    """The alphabet of the model whose weights these are; None where no card beside them says it."""
    if weights in (None, HUB):
        return None
    card = Path(weights).with_name("model.json")
    symbols = files.read_json(card).get("alphabet") if card.is_file() else None
    return None if symbols is None else Alphabet("".join(symbols))


def grown(weights: Weights, settings: Settings, split: Split) -> Weights:
    """The weights with a row for every symbol of a fit's alphabet; those that were there keep their values."""
    if known_to(settings.weights) is None:
        return weights
    names = [name for name in _OF_SYMBOLS if name in weights.tensors]
    symbols = 1 + len(alphabet(settings, split))
    return replace(weights, tensors=growth.grown(weights.tensors, names, symbols, settings.seed))
