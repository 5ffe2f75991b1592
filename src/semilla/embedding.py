"""Frozen features of every example, written as a data set of vectors that ``semilla train`` reads."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np
import numpy.typing as npt
import torch

from semilla import __version__, files
from semilla.config import Settings
from semilla.config import settings as resolve
from semilla.contract import Net
from semilla.data.dataset import UNKNOWN, Dataset, Examples, Inputs, Split, take
from semilla.data.holdout import hold_out
from semilla.data.manifest import PARTS, Manifest
from semilla.data.pictures import printable
from semilla.data.preparation import preparation
from semilla.data.progress import Bar
from semilla.data.rows import Rows
from semilla.data.scan import Scan, scan
from semilla.data.source import Source
from semilla.data.sources import load as load_data
from semilla.data.sources import load_manifest
from semilla.errors import DataError, StateError, UsageError
from semilla.inference.forward import block_rows
from semilla.inference.model import CARD, Model, arrange, find_fit, load, make_views
from semilla.inference.reader import refuse_reader
from semilla.text import clean
from semilla.training import plan
from semilla.training.devices import choose_device

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Part:
    """The examples of one part: ``labels`` are names, ``""`` where the class is not known, None for a pool without."""

    name: str
    inputs: Inputs
    labels: list[str] | None
    paths: list[str]


def embed(
    data: Any,
    out: str | Path,
    *,
    network: str | None = None,
    weights: str | None = None,
    run: str | Path | None = None,
    fit: str | None = None,
    device: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: TextIO | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Write what a network's classifier would read of every example, in bounded memory.

    Args:
        data: as for ``semilla.train``, or a `Source`, which also says to what size pictures are brought; without a
            word it is that of the weights or, if they are random, of the pictures. For a run they are read as
            ``semilla.predict`` reads them, whatever their sizes and colors are.
        out: ``.npz`` (arrays as `semilla.data.arrays.from_arrays` takes them, and ``path_<part>``) or ``.parquet`` (a
            table of ``id``, ``split``, ``label``, ``embedding``). A description goes beside it as JSON.
        network: a network's name; its weights are random unless ``weights`` says otherwise.
        weights: a safetensors file, or ``hub`` to download those of a timm model.
        run: a finished run, whose model is used instead.
        fit: which fit of it.
        device: where to compute; None takes the fastest.
        seed: of random weights.
        overwrite: replace ``out``.
        progress: a stream for the progress bar; None shows none.
        say: called with each line for people.

    Returns:
        The description: the network, the counts, the width, the SHA-256 of the file.

    Raises:
        SemillaError: U064, the request contradicts itself; and what the data, the network and the weights may raise.
    """
    out = Path(out)
    _check_request(out, network, weights, run, overwrite)
    source = data if isinstance(data, Source) else Source(data)
    if run is None:
        changes = {"network": network, "weights": weights, "size": source.size, "device": device, "seed": seed}
        model, dataset = _untrained(resolve("supervised", {}, changes), source, progress, say)
    else:
        model = load(run, fit, pretrained=True)
        refuse_reader(model, "embed")
        model.net.to(choose_device(device)[0])
        dataset = _as_the_model_reads(source, model, progress, say)
    parts = _parts(dataset)
    counts = {part.name: len(part.inputs) for part in parts}
    with Bar(f"embedding {dataset.name}", sum(counts.values()), "examples", progress) as bar:
        width = _write(out, parts, lambda part: _features(model, part.inputs, bar.update), dataset.classes)
    about = _about(model, dataset, source, counts) | {"width": width, "weights": _origin(model, run, fit, seed)}
    with out.open("rb") as file:
        about["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    files.write_json(out.with_name(f"{out.name}.json"), about)
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    say(f"{out}: {told}, {width} features each; semilla train {out} takes them as vectors")
    return about


def _untrained(
    asked: Settings, source: Source, progress: TextIO | None, say: Callable[[str], object]
) -> tuple[Model, Dataset]:
    """A network by name, and the data in the size it wants."""
    size, reason = plan.choose_size(asked)
    if size is not None:
        say(f"pictures of files become {size} × {size} pixels: {reason}")
        source = dataclasses.replace(source, size=size)
    if asked.weights is None:
        say("the weights are random: a baseline, not useful features")
    dataset = load_data(source, progress)
    plan.check_size(asked, dataset)
    return _frozen(asked, dataset), dataset


def _check_request(
    out: Path, network: str | None, weights: str | None, run: str | Path | None, overwrite: bool
) -> None:
    if (network is None) == (run is None):
        raise UsageError("U064", "features of which network?", "give network (resnet18, …) or run, one of the two")
    if run is not None and weights is not None:
        raise UsageError("U064", "a run has its own weights", "leave weights out")
    if out.suffix not in (".npz", ".parquet"):
        raise UsageError("U064", f"{out.name!r} ends in neither .npz nor .parquet", "call it embeddings.npz")
    if not out.parent.is_dir():
        raise UsageError("U064", f"there is no folder {str(out.parent)!r}", "make it, or write elsewhere")
    if out.exists() and not overwrite:
        raise UsageError("U064", f"{str(out)!r} is there already", "add overwrite, or take another name")


def _as_the_model_reads(source: Source, model: Model, progress: TextIO | None, say: Callable[[str], object]) -> Dataset:
    """The data with pictures of files brought to the model's form; all else as training reads it.

    Raises:
        StateError: C020, a table whose columns would be read otherwise than those of training.
    """
    files_of_pictures = None
    if model.card["inputs"]["kind"] == "images" and not isinstance(source.data, Dataset):
        files_of_pictures = load_manifest(source)
    if files_of_pictures is None:
        dataset = load_data(source, progress)
        _check_reading(model, dataset)
        return dataset
    manifest, blobs = files_of_pictures
    found = scan(blobs, manifest.name, model.form, progress, source.max_pixels)
    dataset = _of_scan(manifest, found, _readable(manifest, found, source.on_bad_file == "skip", say))
    return dataset if source.holdout is None else hold_out(dataset, source.holdout)


def _readable(manifest: Manifest, found: Scan, skip: bool, say: Callable[[str], object]) -> npt.NDArray[np.int64]:
    """The rows of pictures that there are pixels of.

    Raises:
        DataError: D014, some cannot be read and are not to be left out, or none can.
    """
    if found.problems:
        row, reason = min(found.problems.items())
        count = f"{len(found.problems):,} of {len(manifest):,} pictures cannot be read"
        message = f"{count}; first: {clean(manifest.paths[row])} ({clean(reason)})"
        if not skip or len(found.problems) == len(manifest):
            raise DataError("D014", message, "remove or replace them, or leave them out: --on-bad-file skip")
        say(f"left out: {message}")
    return np.setdiff1d(np.arange(len(manifest)), list(found.problems))


def _of_scan(manifest: Manifest, found: Scan, index: npt.NDArray[np.int64]) -> Dataset:
    """Some rows of decoded pictures as a data set."""
    kept = dataclasses.replace(manifest, labels=tuple(map(printable, manifest.labels))).select(index.tolist())
    names = {*filter(None, kept.labels), *filter(None, map(printable, manifest.classes))}
    classes = tuple(sorted(names, key=str.encode))
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers.get(label or "", UNKNOWN) for label in kept.labels], np.int64)

    def part(name: str) -> Examples:
        rows = np.flatnonzero(np.array(kept.parts) == name)
        return Examples(Rows(found.pixels, index[rows]), labels[rows])

    train, *held_out = map(part, PARTS)
    development, test = (own if len(own) else None for own in held_out)
    return Dataset(kept.name, "images", classes, train.inputs, train.labels, development, test, manifest=kept)


def _check_reading(model: Model, dataset: Dataset) -> None:
    """Refuse a table whose columns would be read otherwise than those of training.

    Raises:
        StateError: C020.
    """
    if dataset.kind == "vectors" and model.card["inputs"].get("reading", {}) != dataset.reading:
        message = f"{dataset.name} is not the table the run was trained on, so its columns are read otherwise"
        raise StateError(
            "C020", message, "semilla predict RUN TABLE --embeddings FILE.npy reads any table as training did"
        )


def _frozen(asked: Settings, dataset: Dataset) -> Model:
    """A network that was not trained here, with the preparation its weights expect or that of the data."""
    settings = dataclasses.replace(asked, width=plan.WIDTHS.get(asked.network or ""))
    with torch.random.fork_rng([]):
        torch.manual_seed(asked.seed % 2**63)
        pool, none = Examples(dataset.inputs, dataset.labels), np.zeros(0, np.int64)
        parts = Split(dataset.classes, pool, take(dataset.inputs, none), none, none)
        backbone, spec = plan.build_network(settings, dataset, parts)
    inputs = preparation(dataset, parts)
    if scale := plan.normalisation(settings, dataset.inputs.shape[1]):
        inputs |= {"mean": scale[0], "std": scale[1]}
    net = Net(plan.placed(backbone, choose_device(asked.device)[0])).eval().requires_grad_(False)
    card = {"network": spec, "classes": list(dataset.classes), "inputs": inputs}
    return Model(net, dataset.classes, card, make_views(inputs))


def _parts(dataset: Dataset) -> list[_Part]:
    """What there is to embed, in the order of `Dataset`."""
    names: tuple[Any, ...] = (*dataset.classes, "")  # -1, the label of what is not known, finds the last
    pools: list[tuple[str, Inputs, npt.NDArray[np.int64] | None]] = [("train", dataset.inputs, dataset.labels)]
    for part in ("development", "test"):
        held_out: Examples | None = getattr(dataset, part)
        if held_out is not None:
            pools.append((part, held_out.inputs, held_out.labels))
    if dataset.unlabeled is not None:
        pools.append(("unlabeled", dataset.unlabeled, None))
    assert UNKNOWN == -1
    return [
        _Part(name, inputs, None if labels is None else [names[k] for k in labels], _paths(dataset, name, inputs))
        for name, inputs, labels in pools
    ]


def _paths(dataset: Dataset, part: str, inputs: Inputs) -> list[str]:
    if dataset.manifest is not None and part != "unlabeled":
        rows = zip(dataset.manifest.paths, dataset.manifest.parts, strict=True)
        if len(found := [path for path, own in rows if own == part]) == len(inputs):
            return found
    return [f"x_{part}#{row}" for row in range(len(inputs))]


def _features(model: Model, inputs: Inputs, done: Callable[[int], object]) -> Iterator[Features]:
    """Block after block, a few of them ahead of the writer and no more."""
    rows = block_rows(inputs.shape[1:])
    blocks = (
        arrange(np.asarray(inputs[start : start + rows]), model.card["inputs"], start)
        for start in range(0, len(inputs), rows)
    )
    for answer in model.answers(blocks):
        yield np.ascontiguousarray(answer.features, np.float32)
        done(len(answer.features))


def _write(
    out: Path, parts: list[_Part], features: Callable[[_Part], Iterator[Features]], classes: Iterable[str]
) -> int:
    """Write the file so that it is whole or not there; returns the number of features."""
    with files.resource_errors(f"cannot write {out.name}", out.parent, 0), files.fresh_temporary(out) as temporary:
        write = _write_npz if out.suffix == ".npz" else _write_parquet
        width = write(temporary, parts, features, list(classes))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        files.disk.rename(temporary, out)
        files.fsync_dir(out.parent)
    return width


def _write_npz(
    path: Path, parts: list[_Part], features: Callable[[_Part], Iterator[Features]], classes: list[str]
) -> int:
    width = 0
    with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:
        for part in parts:
            with archive.open(f"x_{part.name}.npy", "w", force_zip64=True) as file:
                width = _write_rows(file, len(part.inputs), features(part))
            texts = {f"path_{part.name}": part.paths}
            if part.labels is not None:
                texts[f"y_{part.name}"] = part.labels
            _write_texts(archive, texts)
        _write_texts(archive, {"classes": classes})
    return width


def _write_rows(file: BinaryIO | Any, count: int, blocks: Iterator[Features]) -> int:
    """An array in NumPy's format, a block at a time: its header needs only the shape."""
    width = 0
    for place, block in enumerate(blocks):
        if place == 0:
            width = block.shape[1]
            shape = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
            np.lib.format.write_array_header_2_0(file, shape)
        file.write(block.astype("<f4", copy=False).tobytes())
    return width


def _write_texts(archive: zipfile.ZipFile, texts: dict[str, list[str]]) -> None:
    for name, values in texts.items():
        with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array(file, np.array(values, dtype=str), allow_pickle=False)


def _write_parquet(
    path: Path, parts: list[_Part], features: Callable[[_Part], Iterator[Features]], classes: list[str]
) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError(
            "U064", "Parquet files need pyarrow", "pip install 'semilla[parquet]', or write .npz"
        ) from error
    writer, width = None, 0
    try:
        for part in parts:
            start = 0
            for block in features(part):
                rows, width = slice(start, start := start + len(block)), block.shape[1]
                lists = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), width)
                labels = [label or None for label in part.labels[rows]] if part.labels else [None] * len(block)
                columns = {
                    "id": [_text(path) for path in part.paths[rows]],
                    "split": ["train" if part.name == "unlabeled" else part.name] * len(block),
                    "label": pa.array(labels, pa.string()),
                    "embedding": lists,
                }
                table = pa.table(columns)
                writer = writer or pq.ParquetWriter(path, table.schema)
                writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    return width


def _text(path: str) -> str:
    """A path as UTF-8 can say it."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _about(model: Model, dataset: Dataset, source: Source, counts: dict[str, int]) -> dict[str, Any]:
    """Where the features come from, as JSON values."""
    return {
        "format": 1,
        "data": {"name": dataset.name, "source": source.plain(), "classes": list(dataset.classes), "examples": counts},
        "network": {key: value for key, value in model.card["network"].items() if key != "weights"},
        "inputs": model.card["inputs"],
        "versions": {"semilla": __version__, "torch": torch.__version__, "numpy": np.__version__},
    }


def _origin(model: Model, run: str | Path | None, fit: str | None, seed: int) -> dict[str, Any]:
    """Whose weights they are: a run's, a file's, or nobody's."""
    if run is not None:
        folder = find_fit(Path(run), fit)
        return {"run": str(folder), "sha256": files.read_json(folder / CARD).get("weights_sha256")}
    return model.card["network"].get("weights") or {"random": True, "seed": seed}
