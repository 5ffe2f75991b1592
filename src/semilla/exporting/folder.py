"""``semilla.export``: a finished model, checked, in a folder of its own that can be given away.

Nothing that is written tells where on this machine the run or its data lie.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from torch import nn

from semilla import files
from semilla.errors import UsageError
from semilla.exporting.card import model_card
from semilla.exporting.facts import metadata, without_paths
from semilla.exporting.onnx import Agreement, compare, require_libraries, write_onnx
from semilla.exporting.samples import RANDOM, find_samples
from semilla.inference.model import CARD, WEIGHTS, Model, load, refuse_file
from semilla.inference.reader import refuse_reader
from semilla.reporting.run_data import RunData, read_run

FORMATS = ("onnx", "safetensors", "all")
ONNX, CONFIG, README = "model.onnx", "config.json", "README.md"

_OWN = {ONNX, WEIGHTS, CARD, CONFIG, README}
_WEIGHT_BYTES = 2**36


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        sizes: bytes of each file, by name.
        agreement: how near the ONNX file is to PyTorch, or None without one.
    """

    folder: Path
    sizes: dict[str, int]
    agreement: Agreement | None

    def lines(self) -> list[str]:
        """As text."""
        width = max(map(len, self.sizes))
        rows = [f"  {name:<{width}}  {_bytes(size):>9}" for name, size in self.sizes.items()]
        checked = [self.agreement.sentence()] if self.agreement else []
        if self.agreement and self.agreement.samples == RANDOM:
            checked[0] += "; --samples PATH compares them on inputs of yours"
        license_line = f"choose a license for your model in the first lines of {README}; it says 'other'"
        return [str(self.folder), *rows, *checked, license_line]

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        agreement = None
        if self.agreement is not None:
            agreement = {
                "samples": self.agreement.samples,
                "n": self.agreement.count,
                "probabilities": self.agreement.probabilities,
                "logits": self.agreement.logits,
            }
        return {"folder": str(self.folder), "files": self.sizes, "onnxruntime": agreement}


def export(
    run: str | Path,
    *,
    fit: str | None = None,
    format: str = "all",
    out: str | Path | None = None,
    samples: str | Path | None = None,
    overwrite: bool = False,
    network: nn.Module | None = None,
    progress: TextIO | None = None,
) -> Exported:
    """Write a run's model in the forms other programs read, with a model card.

    Args:
        run: the run's folder, or the folder of one of its fits.
        fit: which fit, where the run has several and ships none of them.
        format: ``onnx``, ``safetensors`` or ``all``. The model card is always written.
        out: the new folder; None stands for ``export`` inside the run's.
        samples: a folder of pictures, or other data, to compare the ONNX file with PyTorch on; None takes the run's
            test examples.
        overwrite: replace an export that is there.
        network: the module the run was trained with, where that was one of your own.
        progress: a stream for a line about what takes long; None says nothing.

    Raises:
        UsageError: U050, packages for ONNX are missing; U051, the folder exists; U052, it holds something else than an
            export; U053, the model is too large for ONNX; U054, there is no such format.
        StateError: C050, ONNX and PyTorch disagree; C051, the network cannot be written as ONNX; and those of
            `semilla.load`.
    """
    if format not in FORMATS:
        raise UsageError("U054", f"there is no format {format!r}", f"take one of {', '.join(FORMATS)}")
    run = Path(run)
    refuse_file(run)
    if format != "safetensors":
        require_libraries()
    target = Path(os.path.abspath(run / "export" if out is None else out))
    _refuse_existing(target, overwrite)
    if run.parent.name == "fits" and (run / CARD).is_file():  # the verdict is told where the run is
        run, fit = run.parent.parent, run.name
    data = read_run(run, fit)
    folder = run if (run / CARD).is_file() else run / "fits" / data.model.name
    model = load(folder, network=network)
    refuse_reader(model, "export")
    contents: dict[str, bytes] = {}
    agreement = None
    if format != "safetensors":
        contents[ONNX], agreement = _checked_onnx(model, data, samples, progress)
    if format != "onnx":
        contents |= _plain_files(folder, data)
    contents[README] = model_card(data, model, list(contents), agreement).encode()
    _place(target, contents)
    return Exported(
        target if out is None else Path(out), {name: len(held) for name, held in contents.items()}, agreement
    )


def _checked_onnx(
    model: Model, data: RunData, samples: str | Path | None, progress: TextIO | None
) -> tuple[bytes, Agreement]:
    inputs, words = find_samples(model, data.model.described.get("source"), samples)
    written = write_onnx(model, metadata(data, model), progress)
    return written, compare(written, model, inputs, words, progress)


def _plain_files(folder: Path, data: RunData) -> dict[str, bytes]:
    """The weights as they are, how to build the network, and the settings that trained it."""
    fit = data.model
    settings = {key: value for key, value in fit.described.get("fit", {}).items() if key != "classes"}
    config = {**settings, "versions": fit.described.get("versions", {})}
    card = {**fit.card, "network": without_paths(fit.card["network"])}  # the rest is needed to the letter
    return {
        WEIGHTS: files.read_bytes(folder / WEIGHTS, _WEIGHT_BYTES),
        CARD: files.to_json(card),
        CONFIG: files.to_json(without_paths(config)),
    }


def _refuse_existing(target: Path, overwrite: bool) -> None:
    """Nothing of the user's is ever replaced, and no folder that holds anything but an export.

    Raises:
        UsageError: U051 or U052.
    """
    if not os.path.lexists(target):
        return
    if not stat.S_ISDIR(os.lstat(target).st_mode):
        raise UsageError("U052", f"{str(target)!r} is not a folder, or a link to one", "take another --out")
    foreign = sorted(entry.name for entry in target.iterdir() if entry.name not in _OWN or not entry.is_file())
    if foreign:
        raise UsageError("U052", f"{str(target)!r} holds {foreign[0]!r}, which is of no export", "take another --out")
    if any(target.iterdir()) and not overwrite:
        raise UsageError("U051", f"{str(target)!r} holds an export already", "add --overwrite, or take another --out")


def _place(target: Path, contents: Mapping[str, bytes]) -> None:
    """Write all files under another name and move them into place together.

    Raises:
        ResourceError: R001, the disk is full or fails; what was there before is intact.
        UsageError: U014, the folder cannot be made.
    """
    size = sum(map(len, contents.values()))
    try:
        files.make_folder(target.parent)
    except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
        message = f"{str(target.parent)!r} cannot be made: {error.strerror}"
        raise UsageError("U014", message, "take another --out") from None
    before = target.with_name(f"{target.name}-before")
    with (
        files.resource_errors(f"cannot write {target.name}", target.parent, size),
        files.fresh_temporary(target) as temporary,
    ):
        files.disk.mkdir(temporary)
        for name, data in contents.items():
            files.write_new(temporary / name, data)
        files.fsync_dir(temporary)
        files.fault("export.rename")
        with files.fresh_temporary(before) as old:
            if target.exists():
                files.disk.rename(target, old)
            try:
                files.disk.rename(temporary, target)
            except BaseException:
                if old.exists():
                    files.disk.rename(old, target)
                raise
            files.remove(old)
        files.fsync_dir(target.parent)


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
