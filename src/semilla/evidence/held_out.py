"""Held-out examples to score a model on: the run's own, or others that are read as the model reads its inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from semilla import files
from semilla.config import nearest
from semilla.data import tables
from semilla.data.arrays import NAMES
from semilla.data.dataset import UNKNOWN, Dataset, Examples, Inputs, held_out_fingerprint
from semilla.data.leaks import row_hashes
from semilla.data.manifest import Manifest
from semilla.data.numpy_files import read_numpy
from semilla.data.scan import scan
from semilla.data.source import Source
from semilla.data.sources import load as load_data
from semilla.data.sources import load_manifest
from semilla.errors import DataError, StateError, UsageError
from semilla.fitting import OUTPUTS
from semilla.inference.model import Model
from semilla.inference.outputs import TRAINED


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Examples whose labels are known.

    Attributes:
        inputs: as `Model.logits` takes them.
        truth: int64 (N,) positions in the model's classes.
        names: (N,) what each is called.
        own: whether they are the held-out part of the run's own data.
        notes: what the user should know.
    """

    inputs: Any
    truth: npt.NDArray[np.int64]
    names: list[str]
    own: bool = False
    notes: tuple[str, ...] = ()


def held_out(
    model: Model, folder: Path, data: Any, part: str, allow_leak: bool = False, progress: TextIO | None = None
) -> HeldOut:
    """The examples of a part.

    Args:
        model: who is to be scored.
        folder: of its fit.
        data: other data than the run's; pictures and tables without such a part are scored as a whole.
        part: ``test`` or ``development``.
        allow_leak: whether pictures that were trained on are accepted.
        progress: where the progress of decoding goes.

    Raises:
        UsageError: U009, the run does not say where its data came from.
        DataError: D014, pictures cannot be read; D030, some were trained on; D052, a class the model does not know;
            D061, there is no such part; D081, a table without labels.
        StateError: C026, the held-out parts of the run's own data have changed.
    """
    if data is None:
        saved = files.read_json(folder / "fit.json")
        source = saved.get("source")
        if source is None:
            raise UsageError("U009", f"{folder.name} was trained on arrays in memory", "name the data: --data PATH")
        known = Source.from_plain(source) if isinstance(source, Mapping) else Source(source)
        dataset = _load_again(known, folder, progress)
        if held_out_fingerprint(dataset) != saved["fit"]["data"].get("held_out"):
            message = f"what {dataset.name} holds for testing is not what it was when {folder.name} was trained"
            fix = "some of it may have been trained on; give the data back as they were, or name others: --data PATH"
            raise StateError("C026", message, fix)
        return _of_dataset(model, dataset, part, own=True)
    arrays = _only_a_test_part(data)
    if arrays is not None:
        return _noting_leaks(_of_dataset(model, load_data(arrays), part, whole=True), folder, allow_leak)
    if not isinstance(data, Dataset) and (pictures := load_manifest(data)) is not None:
        return _of_pictures(model, *pictures, part, None if allow_leak else folder, progress)
    if isinstance(data, str | os.PathLike) and (path := Path(data)).is_file() and tables.is_table(path, Source(path)):
        return _noting_leaks(_of_table(model, path, folder), folder, allow_leak)
    return _noting_leaks(_of_dataset(model, load_data(data, progress), part), folder, allow_leak)


def _load_again(source: Source, folder: Path, progress: TextIO | None) -> Dataset:
    try:
        return load_data(source, progress)
    except DataError as error:
        if error.code not in ("D001", "D002", "D005"):
            raise
        message = f"the data of {folder.name}, {os.fspath(source.data)!r}, are not where they were"
        raise DataError("D001", message, "name where they are now, or others: --data PATH") from error


def _of_dataset(model: Model, dataset: Dataset, part: str, own: bool = False, whole: bool = False) -> HeldOut:
    known = np.flatnonzero(dataset.labels != UNKNOWN)
    examples = Examples(dataset.inputs[known], dataset.labels[known]) if whole else getattr(dataset, part)
    if examples is None or not len(examples):
        fix = "name data that have labels: --data PATH" + ("" if part == "test" else ", or --part test")
        raise DataError("D061", f"{dataset.name} has no {part} part", fix)
    truth = _positions(model, [dataset.classes[label] for label in examples.labels])
    names = [f"x_{part}#{row}" for row in range(len(truth))]
    if dataset.manifest is not None:
        manifest = dataset.manifest
        names = [path for path, own_part in zip(manifest.paths, manifest.parts, strict=True) if own_part == part]
    inputs: Inputs = examples.inputs
    return HeldOut(inputs, truth, names, own)


def _of_pictures(
    model: Model, manifest: Manifest, blobs: Any, part: str, trained: Path | None, progress: TextIO | None
) -> HeldOut:
    """Pictures in the form of the model, whatever their own sizes are."""
    labeled = [row for row, label in enumerate(manifest.labels) if label is not None]
    rows = [row for row in labeled if manifest.parts[row] == part]
    notes: tuple[str, ...] = ()
    if not rows:
        rows, notes = labeled, (f"{manifest.name} has no {part} part: all its {len(labeled):,} labels are scored",)
    if not rows:
        raise DataError("D061", f"{manifest.name} has no labeled picture", "put pictures into a folder for each class")
    found = scan(blobs, manifest.name, model.form, progress)
    bad = [row for row in rows if row in found.problems]
    if bad:
        first = f"{manifest.paths[bad[0]]} ({found.problems[bad[0]]})"
        raise DataError("D014", f"{len(bad)} of {len(rows)} pictures cannot be read; first: {first}", "remove them")
    if trained is not None:
        check_leak(trained, {found.digests[row]: manifest.paths[row] for row in rows})
    index = np.array(rows, np.int64)
    truth = _positions(model, [manifest.labels[row] or "" for row in rows])
    return HeldOut(_Selected(found.pixels, index), truth, [manifest.paths[row] for row in rows], notes=notes)


class _Selected:
    """Rows of a pool that are gathered a slice at a time."""

    def __init__(self, pool: Any, index: npt.NDArray[np.int64]) -> None:
        self._pool, self._index = pool, index
        self.shape, self.dtype = (len(index), *pool.shape[1:]), pool.dtype

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, rows: slice) -> Any:
        return self._pool[self._index[rows]]


def _of_table(model: Model, path: Path, folder: Path) -> HeldOut:
    """Rows of a table, its columns read as those of training were."""
    reading = model.card["inputs"].get("reading", {})
    features = np.concatenate([values for _, values in tables.read_features(path, reading)])
    table = tables.open_table(path)
    source = files.read_json(folder / "fit.json").get("source") or {}
    wanted = source.get("label_column") if isinstance(source, Mapping) else None
    column = next((name for name in table.columns if name == wanted or name.lower() in tables.LABELS), None)
    if column is None:
        fix = nearest(wanted or tables.LABELS[0], table.columns)
        raise DataError("D081", f"{path.name} has no column of labels", f"call it {wanted or tables.LABELS[0]}; {fix}")
    labels = [text for chunk in table.chunks(4096) for text in chunk.texts(column)]
    rows = [row for row, label in enumerate(labels) if label]
    truth = _positions(model, [labels[row] for row in rows])
    return HeldOut(features[rows], truth, [f"{path.name}#{row}" for row in rows])


def _noting_leaks(found: HeldOut, folder: Path, allowed: bool) -> HeldOut:
    """The same, with what is to be said of examples that were trained on; equal pictures are refused."""
    path = folder / OUTPUTS
    if not path.is_file():
        return found
    with safe_open(path, "numpy") as outputs:
        if TRAINED not in list(outputs.keys()):
            return found
        trained = outputs.get_tensor(TRAINED)
    shared = int(np.isin(row_hashes(found.inputs).view(np.int64), trained).sum())
    if not shared:
        return found
    message = f"{shared:,} of {len(found.truth):,} examples are equal to some that were trained on"
    if found.inputs.ndim > 2 and not allowed:
        raise DataError("D030", message, "leave them out, or accept it: --allow-leak")
    return replace(found, notes=(*found.notes, f"warn[D030]: {message}: the scores may be too good"))


def _only_a_test_part(data: Any) -> dict[str, Any] | None:
    """Arrays that hold a test part and nothing to train on, as if they were all there is."""
    if isinstance(data, str | os.PathLike) and os.fspath(data).lower().endswith(".npz") and os.path.isfile(data):
        data = read_numpy(Path(data), NAMES)
    if not isinstance(data, Mapping) or "x_train" in data or not {"x_test", "y_test"} <= set(data):
        return None
    return {"x_train": data["x_test"], "y_train": data["y_test"]}


def _positions(model: Model, names: list[str]) -> npt.NDArray[np.int64]:
    place = {name: number for number, name in enumerate(model.classes)}
    unknown = sorted(set(names) - set(place))
    if unknown:
        raise DataError("D052", f"the model knows no class {unknown[0]!r}", "use data with the classes of training")
    return np.array([place[name] for name in names], np.int64)


def check_leak(folder: Path, digests: dict[str, str]) -> None:
    """Refuse pictures that were trained on.

    Args:
        folder: of the fit.
        digests: the pictures' names by their digests.

    Raises:
        DataError: D030.
    """
    path = folder.parent.parent / "manifest.jsonl"
    if not path.is_file():
        return
    trained = Manifest.read(path)
    known = zip(trained.digests, trained.parts, strict=False)
    same = [digests[digest] for digest, part in known if part == "train" and digest in digests]
    if same:
        message = f"{len(same)} of {len(digests)} pictures were trained on, such as {same[0]}"
        raise DataError("D030", message, "leave them out, or accept it: --allow-leak")
