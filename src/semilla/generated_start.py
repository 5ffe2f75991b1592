"""A recogniser that has read generated lines alone: what training on few transcribed ones starts from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from semilla import files
from semilla.data.dataset import Dataset, Examples, take
from semilla.data.lines import Lines
from semilla.data.rows import Pool, Rows
from semilla.errors import UsageError
from semilla.fitting import Result, make_run_folder, plan_fit, versions
from semilla.generating import Generated, Renderer, generate, renderer
from semilla.inference.model import RUN
from semilla.tasks.alphabet import VIETNAMESE
from semilla.tasks.spelling import Protocol
from semilla.text import clean

GENERATED = "generated"
"""What asks for it among the methods of pre-training."""
LINES, HELD_OUT, STEPS = 20_000, 300, 2_000
"""Lines to learn from, lines to be scored on, and steps, unless others are asked for."""
_LATIN_1 = 255
_LOOKS = ("corpus", "look", "fonts", "mode", "case", "balance", "text_column")
WORDS = (*_LOOKS, "lines", "on_the_fly", "protocol")
"""What may be said of the lines."""


def pretrain_generated(
    out: str | Path,
    *,
    corpus: str | os.PathLike[str] | Sequence[str] = "vietnamese",
    look: str = "all",
    fonts: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    lines: int = LINES,
    mode: str = "lines",
    case: str = "keep",
    balance: float = 0.0,
    on_the_fly: bool = False,
    text_column: str | None = None,
    protocol: str = "exact",
    height: int = 32,
    seed: int = 0,
    minutes: float | None = None,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "semilla.train(…)",
    progress: TextIO | None = None,
    say: Callable[[str], object] = lambda line: None,
    **changes: Any,
) -> Result:
    """Train a recogniser on generated lines, which need neither pictures nor transcriptions.

    Args:
        out: the run folder.
        corpus: as for `semilla.generating.generate_text`, and so the next seven.
        look: what the lines look like.
        fonts: to draw with.
        lines: how many.
        mode: ``lines`` or ``words``.
        case: of the letters.
        balance: how much rare characters are preferred.
        on_the_fly: draw lines whenever a step needs them instead of keeping all of them in memory: for very many.
        text_column: of the corpus.
        protocol: how a line is transcribed, a name of `semilla.tasks.spelling.Protocol.preset`: with ``english36`` the
            pictures keep capitals and signs and the transcriptions do not.
        height: pixels.
        seed: of the lines and of the training.
        minutes: of training, instead of ``steps``.
        resume: take up a run where it stopped; the same lines are drawn again.
        overwrite: start anew.
        command: what to write into the run folder as its origin.
        progress: a stream for progress bars.
        say: called with each line for people.
        **changes: settings of the training by name, such as ``steps=4000, network="crnn"``.

    Raises:
        SemillaError: those of the generator and of training.
    """
    folder = Path(out)
    words: dict[str, Any] = {"mode": mode, "case": case, "balance": balance, "text_column": text_column}
    faces = [fonts] if isinstance(fonts, str | os.PathLike) else fonts
    pen = renderer(corpus, fonts=faces, height=height, look=look, seed=seed, **words)
    for line in pen.warnings():
        say(line)
    dataset = generated_dataset(pen, lines, progress, Protocol.preset(protocol), on_the_fly)
    own = {"views": ("weak",), "steps": None if minutes else STEPS, **changes, "seed": seed}
    own = {name: value for name, value in own.items() if value is not None}
    common: dict[str, Any] = {"out": folder, "resume": resume, "minutes": minutes, "recipe": None}
    fit, place = plan_fit(dataset, method="supervised", name=GENERATED, **common, **own)
    say(f"{len(dataset.labels):,} generated lines of {clean(pen.corpus.name)}: {fit.settings.steps:,} steps")
    make_run_folder(folder)
    result = fit.run(place, resume=resume, overwrite=overwrite, progress=progress)
    _write(folder, fit.name, dataset, command)
    say(f"on generated lines that it did not learn from: CER {100 * result.scores['test/cer']:.1f} %")
    return result


def check_word(name: str, value: Any) -> None:
    """Refuse what is not the kind of value that a word about generated lines takes.

    Raises:
        UsageError: U006.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    kinds = {
        "lines": (whole and value >= 1, "a whole number from 1"),
        "steps": (whole and value >= 1, "a whole number from 1"),
        "balance": (whole or isinstance(value, float), "a number from 0 to 1"),
        "on_the_fly": (isinstance(value, bool), "true or false"),
        "fonts": (isinstance(value, str | os.PathLike | list | tuple), "a file, a folder, or several"),
        "corpus": (isinstance(value, str | os.PathLike | list | tuple), "a name, a file, or texts"),
    }
    fine, wanted = kinds.get(name, (isinstance(value, str), "a word"))
    if not fine:
        raise UsageError("U006", f"{name} = {value!r} of generated lines is not possible", f"give {wanted}")


def check_words(words: Mapping[str, Any], height: int) -> None:
    """Read corpus and fonts as `pretrain_generated` would, and draw nothing.

    Raises:
        SemillaError: those of the generator.
    """
    Protocol.preset(words.get("protocol", "exact"))
    own = {name: value for name, value in words.items() if name in _LOOKS}
    if isinstance(own.get("fonts"), str | os.PathLike):
        own["fonts"] = [own["fonts"]]
    renderer(own.pop("corpus", "vietnamese"), height=height, **own)


def generated_dataset(
    pen: Renderer,
    count: int,
    progress: TextIO | None = None,
    protocol: Protocol | None = None,
    on_the_fly: bool = False,
) -> Dataset:
    """Generated lines as a data set: ``count`` to learn from, `HELD_OUT` more to be scored on.

    Lines of which a protocol leaves nothing are left out.
    """
    if on_the_fly:
        pool: Pool = (drawing := Generated(pen, count + HELD_OUT))
        texts = drawing.texts
    else:
        block = generate(pen, count + HELD_OUT, progress=progress)
        pool, texts = Lines.of(list(block), block.height), list(block.texts)
    texts = texts if protocol is None else [protocol.apply(text) for text in texts]
    classes = tuple(sorted(set(texts) - {""}))
    number = {text: place for place, text in enumerate(classes)}
    kept = np.array([place for place, text in enumerate(texts) if text], np.int64)
    labels = np.array([number[texts[place]] for place in kept], np.int64)
    rows, count = Rows(pool, kept), int((kept < count).sum())
    test = Examples(take(rows, np.arange(count, len(kept))), labels[count:])
    return Dataset(GENERATED, "text", classes, take(rows, np.arange(count)), labels[:count], test=test)


def corpus_for(texts: Sequence[str]) -> str:
    """The built-in corpus that is nearest to the labels: by their letters."""
    letters = set("".join(texts))
    if letters & {letter for letter in VIETNAMESE if ord(letter) > _LATIN_1}:  # é and à are French as well
        return "vietnamese"
    return "digits" if letters and all(letter.isdigit() for letter in letters) else "english"


def _write(folder: Path, name: str, dataset: Dataset, command: str) -> None:
    described = {
        "format": 1,
        "command": command,
        "data": {"name": dataset.name, "kind": dataset.kind, "classes": [], "source": None, "notes": []},
        "fits": [name],
        "verdict": None,
        "shipped": name,
        "why": "it was trained on generated lines; semilla train DATA --task text --init starts from it",
        "versions": versions(),
    }
    files.write_json(folder / RUN, described)
