"""``semilla.predict``: a trained model over files: listed, decoded, computed and written side by side.

Memory is bounded: a few blocks are on their way at a time, and of a folder only the names of the one that is being
walked through are held. The order of the files decides which block a file belongs to, and nothing else does, so that
resumed and shared runs write the same bytes as one that was left alone (see `semilla.inference.forward`).
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from semilla.data.images import MAX_PIXELS
from semilla.data.lines import Lines as LinePool
from semilla.data.progress import Bar
from semilla.errors import DataError, Interrupted, StateError, UsageError
from semilla.inference import calibration, listing
from semilla.inference.decode import Decoders
from semilla.inference.forward import Answer, block_rows, in_order
from semilla.inference.lines import open_lines
from semilla.inference.listing import Block, arguments, blocks, files_below, share, table_blocks
from semilla.inference.model import Model, load
from semilla.inference.output import Collected, FeaturesOutput, Layout, Output, Rows, check_path, clear, open_output
from semilla.inference.reader import Reader
from semilla.text import clean, escape_path
from semilla.training import devices
from semilla.training.signals import StopRequest

COLUMN = "column"
"""As ``embeddings``: features as a column of the Parquet file."""

LINES = 256
"""Lines of text in a block."""

_SHOWN = 10


@dataclass
class Predictions:
    """What came of a prediction.

    Attributes:
        output: the file, or None.
        count: files, or rows of tables, with those of an earlier start.
        bad_count: how many could not be read in this start.
        bad: (name, reason) of the first of them.
        accepted: how many reach the wanted precision in this start; None where none was asked for.
        threshold: the confidence that accepts them; None where none was asked for or none keeps the promise.
        notes: what the user should know.
        rows: the predictions, where there is no file: ``path``, ``label``, ``confidence``, ``probabilities``,
            ``accepted``, ``error``.
    """

    output: Path | None
    count: int = 0
    bad_count: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    accepted: int | None = None
    threshold: float | None = None
    notes: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        bad = [{"path": escape_path(name), "error": reason} for name, reason in self.bad]
        return {
            "output": None if self.output is None else str(self.output),
            "count": self.count,
            "unreadable": self.bad_count,
            "first_unreadable": bad,
            "accepted": self.accepted,
            "threshold": self.threshold,
            "notes": self.notes,
        }


def predict(
    run: str | Path | Model,
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | Path | None = None,
    *,
    fit: str | None = None,
    probabilities: bool = True,
    precision: float | None = None,
    embeddings: str | Path | None = None,
    on_bad_file: str = "error",
    csv_safe: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    shard: str | tuple[int, int] | None = None,
    follow_links: bool = False,
    max_pixels: int = MAX_PIXELS,
    device: str | None = None,
    workers: int | None = None,
    progress: TextIO | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Predictions:
    """Predict the class of every file, or read its text; what cannot be read has a row that says why.

    Args:
        run: a run folder, a fit's folder, or a model.
        inputs: pictures, folders, tables for a model of tables; ``@FILE`` a list of names, ``-`` one on standard input.
        output: a ``.csv``, ``.jsonl`` or ``.parquet`` file; ``-`` for CSV on standard output; None keeps the rows.
        fit: which fit, where the run has several.
        probabilities: whether each class has a column.
        precision: the share of right ones wanted among those accepted.
        embeddings: a ``.npy`` file for the features, or ``column`` in a Parquet file.
        on_bad_file: ``error`` raises D014 once everything is written; ``skip`` does not.
        csv_safe: whether text that a spreadsheet would take for a formula is made harmless, see `semilla.text`.
        resume: whether to go on behind what an interrupted run wrote.
        overwrite: whether to replace what is there.
        shard: ``i/n`` for the i-th of n shares, from 0; ``.part-i-of-n`` is added to the output's name.
        follow_links: whether links that leave a folder are followed.
        max_pixels: the largest picture that is opened.
        device: ``cpu``, ``cuda`` or ``mps``; None takes the fastest.
        workers: decoding processes; 0 decodes in this one; None takes one for two cores.
        progress: a stream for the progress; None shows none. With one, names and rows are counted beforehand.
        say: called with each line that the user should know, such as ``print``.

    Raises:
        SemillaError: a condition that can be mended; says how.
    """
    place, parts = share(shard)
    wanted = _Wanted(output, embeddings, on_bad_file, probabilities, precision, csv_safe, resume, overwrite)
    wanted = wanted.checked(place, parts)
    _refuse_input(inputs, wanted)
    model = run if isinstance(run, Model) else load(run, fit)
    model.net.to(devices.choose_device(device)[0])
    if isinstance(model, Reader) and embeddings is not None:
        raise UsageError("U033", "embeddings: not for a model that reads text", "leave it out")
    count = max(1, devices.usual_threads() // 2) if workers is None else workers
    return _Job(model, wanted, place, parts, follow_links, max_pixels, count, progress, say).run(inputs)


def _refuse_input(inputs: Any, wanted: _Wanted) -> None:
    """Refuse to write over what is to be read.

    Raises:
        UsageError: U022.
    """
    for path in (wanted.path, wanted.array):
        for name in arguments(inputs) if path is not None and path.exists() else ():
            if os.path.exists(name) and os.path.samefile(name, str(path)):
                raise UsageError("U022", f"the file to write to, {str(path)!r}, is among those to read", "name another")


@dataclass(frozen=True)
class _Wanted:
    """Where predictions go and what they hold: the arguments of `predict` of the same names."""

    output: str | Path | None
    embeddings: str | Path | None
    on_bad_file: str
    probabilities: bool
    precision: float | None
    csv_safe: bool
    resume: bool
    overwrite: bool

    @property
    def path(self) -> Path | None:
        """The file that is written, if it is one."""
        return None if self.output in (None, "-") else Path(str(self.output))

    @property
    def array(self) -> Path | None:
        """The file of features, if there is one."""
        return None if self.embeddings in (None, COLUMN) else Path(str(self.embeddings))

    def checked(self, place: int, parts: int) -> _Wanted:
        """The same with the names of a share; or an error for what does not go together."""
        if self.on_bad_file not in ("error", "skip"):
            raise UsageError(
                "U005", f"on_bad_file = {self.on_bad_file!r} is not one of error, skip", "give one of them"
            )
        if self.precision is not None and not 0 < self.precision < 1:
            raise UsageError("U006", f"precision = {self.precision} is out of range", "give a share such as 0.95")
        if self.resume and self.overwrite:
            raise UsageError("U008", "resume and overwrite contradict each other", "give one of them")
        if self.path is None and (self.resume or (parts > 1 and self.output == "-")):
            raise UsageError("U016", "only a file can be gone on with or shared", "name it: --output preds.csv")
        if self.embeddings == COLUMN and (self.path is None or self.path.suffix.lower() != ".parquet"):
            raise UsageError("U008", "only a .parquet file has a column for features", "name a .npy file for them")
        if self.array is not None and self.array.suffix.lower() != ".npy":
            raise UsageError("U031", f"{self.array.name!r} does not say which format", "end it with .npy")
        output = _part(self.path, place, parts) if self.path else self.output
        array = _part(self.array, place, parts) if self.array else self.embeddings
        for path in (output, array):
            if isinstance(path, Path):
                check_path(path, self.resume, self.overwrite)
        return replace(self, output=output, embeddings=array)


@dataclass(frozen=True)
class _Job:
    """One prediction: a model, where its results go, and how files are read."""

    model: Model
    wanted: _Wanted
    place: int
    parts: int
    follow_links: bool
    max_pixels: int
    workers: int
    progress: TextIO | None
    say: Callable[[str], object]

    @property
    def size(self) -> int:
        """Rows in a block."""
        return LINES if self._of_text else block_rows(self.model.card["inputs"]["shape"])

    def run(self, inputs: Any) -> Predictions:
        """Predict everything."""
        done = Predictions(self.wanted.path)

        def say(line: str) -> None:
            done.notes.append(line)
            self.say(line)

        done.threshold = self._threshold(say)
        total = self._total(inputs)
        listed = self._blocks(inputs, say)
        first = next(listed, None)
        if first is None:
            raise DataError("D004", "there is nothing to predict", "name picture files, or a folder that holds some")
        small = len(first.names) < self.size  # and there is no second: too few to start processes for
        mine = (block for block in chain([first], listed) if block.number % self.parts == self.place)
        with ExitStack() as stack:
            stop = stack.enter_context(StopRequest())
            outputs = self._outputs(stack, done)
            whole = _continued(outputs, self.size)
            begin = max(0, whole - 1) // self.size * self.size  # the last block there is computed again, to compare
            unit = "rows" if self._of_tables else "files"
            bar = stack.enter_context(Bar("predicting", total, unit, self.progress, done=begin, delay=1, keep=True))
            rows = stack.enter_context(self._predicted(islice(mine, begin // self.size, None), done.threshold, small))
            for some in rows:
                for output in outputs:
                    output.write(some, min(max(0, whole - begin), len(some)))
                begin += len(some)
                _count(done, some)
                bar.update(len(some))
                if stop.signal is not None:
                    raise Interrupted(stop.signal, saved=self.wanted.path is not None)
            if begin < whole:
                message = f"there are more rows in the output than files now: {whole:,} and {begin:,}"
                raise StateError("C031", message, "give the files it was begun with, or --overwrite it")
            for output in outputs:
                output.finish()
        done.count = begin
        self._report(done)
        return done

    def _threshold(self, say: Callable[[str], object]) -> float | None:
        """The confidence from which predictions are accepted; None where none is wanted or none keeps the promise."""
        if self.wanted.precision is None:
            return None
        fitted = self.model.card.get("calibration") or {}
        least = calibration.threshold(fitted.get("acceptance", ()), self.wanted.precision)
        share = 100 * self.wanted.precision
        goal = f"{share:g} % of these lines without any error" if self._of_text else f"a precision of {share:g} %"
        if least is None:
            why = (
                f"{fitted['n']} labels of its {fitted['fitted_on']} part do not show it" if fitted else "too few labels"
            )
            best = _most_promised(fitted)
            say(f"warn[D063]: nothing is accepted: {goal} cannot be promised for this model ({why}){best}")
        elif fitted["fitted_on"] == "test":
            say(f"accepted from a confidence of {least:.4g} on: {goal}, by the labels of the test part")
        else:
            say(f"accepted from a confidence of {least:.4g} on: {goal}")
        return least

    def _total(self, inputs: Any) -> int | None:
        """How many examples there are in this share, where somebody wants to see it and it can be known."""
        if self.progress is None:
            return None
        found = listing.count(inputs, self._of_tables, self.follow_links)
        return None if found is None else listing.share_of(found, self.size, self.place, self.parts)

    def _blocks(self, inputs: Any, say: Callable[[str], object]) -> Iterator[Block]:
        names, wanted = arguments(inputs), self.model.card["inputs"]
        if self._of_tables:
            return table_blocks(names, wanted.get("reading", {}), self.size, say)
        return blocks(files_below(names, self.follow_links, say), self.size)

    def _outputs(self, stack: ExitStack, done: Predictions) -> list[Output]:
        """The features' first: where both are written, the table is never ahead of them unless the system fails."""
        wanted, width = self.wanted, 0
        if wanted.embeddings is not None:
            width = self.model.embed(np.zeros((1, *self.model.card["inputs"]["shape"]), self._type)).shape[1]
        layout = Layout(
            self.model.classes,
            wanted.probabilities and not self._of_text,
            wanted.precision is not None,
            width if wanted.embeddings == COLUMN else 0,
            wanted.csv_safe,
            "text" if self._of_text else "label",
        )
        if wanted.overwrite:
            for path in (wanted.path, wanted.array):
                if path is not None:
                    clear(path)
        outputs: list[Output] = []
        if wanted.array is not None:
            outputs.append(stack.enter_context(closing(FeaturesOutput(wanted.array, width, wanted.resume))))
        if wanted.output is None:
            outputs.append(Collected(layout, done.rows))
        else:
            outputs.append(stack.enter_context(closing(open_output(wanted.path, layout, self.size, wanted.resume))))
        return outputs

    @property
    def _type(self) -> type[np.generic]:
        return np.float32 if self._of_tables else np.uint8

    @property
    def _of_tables(self) -> bool:
        return bool(self.model.card["inputs"]["kind"] == "vectors")

    @property
    def _of_text(self) -> bool:
        return isinstance(self.model, Reader)

    @contextmanager
    def _predicted(self, mine: Iterable[Block], least: float | None, small: bool) -> Iterator[Iterable[Rows]]:
        """Decoding, network and the caller work at the same time, each a few blocks ahead of the next."""
        if isinstance(self.model, Reader):
            yield _read(self.model, mine, self.max_pixels, least)
            return
        waiting: deque[tuple[list[str], dict[int, str]]] = deque()
        with ExitStack() as stack:

            def inputs() -> Iterator[npt.NDArray[Any]]:
                for names, (pixels, problems) in self._decoded(stack, mine, 0 if small else self.workers):
                    waiting.append((names, problems))
                    yield pixels

            def rows() -> Generator[Rows]:
                for answer in self.model.answers(inputs()):
                    yield _rows(self.model.classes, *waiting.popleft(), answer, least)

            yield stack.enter_context(closing(rows()))

    def _decoded(
        self, stack: ExitStack, mine: Iterable[Block], count: int
    ) -> Iterator[tuple[list[str], tuple[npt.NDArray[Any], dict[int, str]]]]:
        if self._of_tables:
            for block in mine:
                assert block.features is not None
                yield block.names, (block.features, {})
            return
        with Decoders(count, self.model.form, self.max_pixels) as decoders:

            def decode(block: Block) -> tuple[list[str], tuple[npt.NDArray[Any], dict[int, str]]]:
                return block.names, decoders(block.names)

            yield from in_order(decode, mine, max(1, count), count + 1)

    def _report(self, done: Predictions) -> None:
        """Raise what is to be said at the end about files that could not be read."""
        if not done.bad_count or self.wanted.on_bad_file == "skip" or self.wanted.output is None:
            return
        name, reason = done.bad[0]
        message = f"{done.bad_count:,} of {done.count:,} files could not be read; first: {clean(name)} ({reason})"
        raise DataError("D014", message, "they have rows with an error; --on-bad-file=skip takes that as success")


def _most_promised(fitted: dict[str, Any]) -> str:
    """The highest precision that can be promised, down to a tenth of a percent, and for how many; "" for none."""
    table = fitted.get("acceptance", ())
    tenths = bisect_left(range(1, 1000), True, key=lambda tenth: calibration.threshold(table, tenth / 1000) is None)
    if not table or not tenths:
        return ""
    least = calibration.threshold(table, tenths / 1000)
    accepted = next(row[1] for row in table if row[0] == least)
    share = f"{100 * accepted / fitted['n']:.0f} % of the examples"
    return f"; the highest that can is {tenths / 10:g} %, for {share}: --precision {tenths / 1000:g}"


def _continued(outputs: list[Output], size: int) -> int:
    """Let every output go on behind the same row, and say which."""
    whole = min(output.rows for output in outputs)
    if any(output.rows != whole for output in outputs):
        whole -= whole % size  # a power cut left one ahead of the other: all go back to the end of a block
    for output in outputs:
        output.continue_at(whole)
    return whole


def _read(reader: Reader, mine: Iterable[Block], max_pixels: int, least: float | None) -> Iterator[Rows]:
    """Blocks of lines, each read as a whole."""
    for block in mine:
        opened, problems = open_lines(block.names, reader.height, max_pixels)
        found = reader.read(LinePool.of(opened, reader.height))
        yield Rows(
            paths=[escape_path(name) for name in block.names],
            answers=found.texts,
            confidence=found.confidence,
            probabilities=np.zeros((len(found), 0), np.float32),
            accepted=found.confidence >= (np.inf if least is None else np.float32(least)),
            features=np.zeros((len(found), 0), np.float32),
            errors=problems,
        )


def _rows(
    classes: tuple[str, ...], names: list[str], problems: dict[int, str], answer: Answer, least: float | None
) -> Rows:
    unfit = np.flatnonzero(~np.isfinite(answer.probabilities).all(1))
    problems = problems | {int(row): "the network's answer is not finite" for row in unfit if int(row) not in problems}
    labels = answer.logits.argmax(1)
    confidence = answer.probabilities[np.arange(len(names)), labels]
    return Rows(
        paths=[escape_path(name) for name in names],
        answers=[classes[label] for label in labels.tolist()],
        confidence=confidence,
        probabilities=answer.probabilities,
        accepted=confidence >= (np.inf if least is None else np.float32(least)),
        features=answer.features,
        errors=problems,
    )


def _count(done: Predictions, rows: Rows) -> None:
    for row, reason in sorted(rows.errors.items()):
        done.bad_count += 1
        if len(done.bad) < _SHOWN:
            done.bad.append((rows.paths[row], reason))
    if rows.accepted.any() or done.threshold is not None:
        fine = rows.accepted.copy()
        fine[list(rows.errors)] = False
        done.accepted = (done.accepted or 0) + int(fine.sum())


def _part(path: Path, place: int, parts: int) -> Path:
    return path if parts == 1 else path.with_name(f"{path.stem}.part-{place}-of-{parts}{path.suffix}")
