"""One ONNX file that reads raw inputs and gives probabilities, held against PyTorch before anyone gets it.

The preparation of the inputs and the calibration are part of the graph, so that a program without semilla needs only
what the metadata say: how to bring a picture to the right size, and the names of the classes.
"""

from __future__ import annotations

import copy
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

import semilla
from semilla.augment import ImageViews, VectorViews
from semilla.contract import View
from semilla.errors import StateError, UsageError
from semilla.inference.model import Model

INPUT, PROBABILITIES, LOGITS = "inputs", "probabilities", "logits"
LIBRARIES = ("onnx", "onnxscript", "onnxruntime")

OPSET = 18
"""Old enough for runtimes of 2023 and later, new enough for PyTorch's exporter not to translate down."""
LARGEST = 2**31 - 2**24
"""Bytes of weights that fit into one file: protocol buffers end at 2 GiB, the graph and the metadata need some."""
TOLERANCE, MARGIN = 1e-4, 1e-3
"""How far a probability may be from PyTorch's, and from which lead on the first class must be the same one."""
BATCHES = (1, 2, 7)
"""Batch sizes of the check: one, and two that no graph would have frozen by accident."""

_QUIET_SECONDS = 2.0
_WITHOUT = "export the weights alone: --format safetensors"


@dataclass(frozen=True)
class Agreement:
    """How near the file's answers are to PyTorch's.

    Attributes:
        samples: what the inputs were, in words.
        count: how many.
        probabilities: largest absolute difference of a probability.
        logits: largest difference of a logit, absolute up to 1 and relative to the largest logit above.
    """

    samples: str
    count: int
    probabilities: float
    logits: float

    def sentence(self) -> str:
        """The comparison in words."""
        return (
            f"onnxruntime gives PyTorch's probabilities within {self.probabilities:.1e} on {self.count} {self.samples}"
        )


class Traced(nn.Module):
    """What the file computes: raw inputs → (probabilities, logits), both float32 (N, classes).

    Args:
        model: a trained model. Its network is copied, its weights in the order in which ONNX stores them: the
            channels-last order of training would be traced as a dozen operations that undo it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        views = model.views
        assert isinstance(views, ImageViews | VectorViews)
        scale, shape = (255.0, (1, -1, 1, 1)) if isinstance(views, ImageViews) else (1.0, (1, -1))
        self.net = copy.deepcopy(model.net).to("cpu").to(memory_format=torch.contiguous_format)
        self.temperature = model.temperature
        self.register_buffer("mean", (scale * views.mean).view(shape))
        self.register_buffer("std", (scale * views.std).view(shape))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Uint8 (N, C, H, W) images or float32 (N, D) vectors."""
        logits = self.net(View((inputs.to(torch.float32) - self.mean) / self.std)).logits.to(torch.float32)
        return torch.softmax(logits / self.temperature, -1), logits


def _library(name: str) -> Any:
    """Import a package of the extra.

    onnxruntime (1.32) keeps files for its telemetry in the home folder and in that for temporary files as soon as it is
    imported. Data never leave the machine here, so it gets folders that are thrown away, and is told to send nothing.
    """
    if name != "onnxruntime" or name in sys.modules:
        return import_module(name)
    names = ("HOME", "TMPDIR")
    before = {key: os.environ.get(key) for key in names}
    with tempfile.TemporaryDirectory() as elsewhere:
        os.environ |= dict.fromkeys(names, elsewhere)
        try:
            runtime = import_module(name)
            runtime.disable_telemetry_events()
        finally:
            for key, value in before.items():
                if value is None:
                    del os.environ[key]
                else:
                    os.environ[key] = value
    return runtime


def require_libraries() -> None:
    """Refuse before any work is done.

    Raises:
        UsageError: U050, a package of the extra is not installed.
    """
    missing = []
    for name in LIBRARIES:
        try:
            _library(name)
        except ImportError:
            missing.append(name)
    if missing:
        fix = 'python -m pip install "semilla[onnx]", or write no ONNX file: --format safetensors'
        raise UsageError("U050", f"writing ONNX needs {', '.join(missing)}", fix)


def write_onnx(model: Model, metadata: Mapping[str, str], progress: TextIO | None = None) -> bytes:
    """The model as one ONNX file, structurally checked but not yet compared with PyTorch.

    Args:
        model: a trained model.
        metadata: what the file is to say of itself, by key.
        progress: a stream for a line when it takes more than two seconds.

    Raises:
        UsageError: U050, packages are missing; U053, too large for one file.
        StateError: C051, PyTorch cannot express the network in ONNX, or what it wrote is not valid ONNX.
    """
    require_libraries()
    _refuse_large(model.net)
    with _announced("writing model.onnx (PyTorch's exporter takes a few seconds) …", progress), _quiet():
        proto = _trace(Traced(model).eval(), model.card["inputs"])
        _strip(proto)
        _describe(proto, metadata)
        data: bytes = proto.SerializeToString()
        try:
            import_module("onnx").checker.check_model(data, full_check=True)
        except Exception as error:  # the checker's and shape inference's own errors have no common ancestor
            raise StateError("C051", f"the ONNX file would not be valid: {_first_line(error)}", _WITHOUT) from error
    return data


def compare(
    data: bytes, model: Model, samples: npt.NDArray[Any], words: str, progress: TextIO | None = None
) -> Agreement:
    """Hold an ONNX file against PyTorch, in batches of 1, 2 and 7.

    Args:
        data: the file.
        model: what it was made from.
        samples: inputs as the model reads them, at least one.
        words: what they are, for the reader.
        progress: as in `write_onnx`.

    Raises:
        StateError: C050, they differ by more than `TOLERANCE`, or choose different classes.
    """
    samples = samples[np.arange(max(len(samples), max(BATCHES))) % len(samples)]
    with _announced("comparing model.onnx with PyTorch …", progress), _quiet():
        wanted = model.predict_proba(samples), model.logits(samples)
        results = _run_all(data, samples)
    scale = max(1.0, float(np.abs(wanted[1]).max()))
    agreement = Agreement(
        words,
        len(samples),
        max(_distance(probabilities, wanted[0]) for probabilities, _ in results),
        max(_distance(found, wanted[1]) for _, found in results) / scale,
    )
    first, second = np.sort(wanted[0], 1)[:, :-3:-1].T
    clear = first - second > MARGIN
    other = max(int((found.argmax(1) != wanted[0].argmax(1))[clear].sum()) for found, _ in results)
    # Written so that NaN fails too.
    if not (agreement.probabilities <= TOLERANCE and agreement.logits <= TOLERANCE and other == 0):
        raise StateError(
            "C050",
            f"onnxruntime and PyTorch disagree on {len(samples)} {words}: probabilities by "
            f"{agreement.probabilities:.1e}, logits by {agreement.logits:.1e} of the largest, {TOLERANCE:.0e} allowed; "
            f"{other} other classes chosen",
            f"the file was not kept; {_WITHOUT}",
        )
    return agreement


def _trace(traced: nn.Module, inputs: Mapping[str, Any]) -> Any:
    """PyTorch's exporter, for any batch size."""
    dtype = torch.uint8 if inputs["kind"] == "images" else torch.float32
    example = torch.zeros(2, *inputs["shape"], dtype=dtype)  # a batch of 1 would be taken for a constant
    try:
        program = torch.onnx.export(
            traced,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[PROBABILITIES, LOGITS],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
    except Exception as error:  # whatever a network of the user's own does while it is traced
        raise StateError(
            "C051", f"PyTorch cannot write this network as ONNX: {_first_line(error)}", _WITHOUT
        ) from error
    assert program is not None
    return program.model_proto


def _refuse_large(net: nn.Module) -> None:
    size = sum(tensor.numel() * tensor.element_size() for tensor in net.state_dict().values())
    if size > LARGEST:
        message = f"{size / 1e9:.1f} GB of weights do not fit into one ONNX file, which ends at 2 GB"
        raise UsageError("U053", message, _WITHOUT)


def _strip(proto: Any) -> None:
    """Remove what the exporter tells of the machine: stack traces name the files of this installation."""
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for function in proto.functions:
        for part in (function, *function.node):
            part.ClearField("metadata_props")
            part.ClearField("doc_string")


def _describe(proto: Any, metadata: Mapping[str, str]) -> None:
    proto.producer_name, proto.producer_version = "semilla", semilla.__version__
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)


def _session(data: bytes) -> Any:
    runtime = _library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only: it warns of every constant it folds
    return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _run_all(data: bytes, samples: npt.NDArray[Any]) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """The file's answers in batches of each size."""
    try:
        session = _session(data)
        return [_run(session, samples, size) for size in BATCHES]
    except Exception as error:  # its errors have no common ancestor
        message = f"onnxruntime cannot run the file: {_first_line(error)}"
        raise StateError("C050", message, f"the file was not kept; {_WITHOUT}") from error


def _run(session: Any, samples: npt.NDArray[Any], size: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    parts = [
        session.run([PROBABILITIES, LOGITS], {INPUT: np.ascontiguousarray(samples[start : start + size])})
        for start in range(0, len(samples), size)
    ]
    probabilities, logits = (np.concatenate(column) for column in zip(*parts, strict=True))
    return probabilities, logits


def _distance(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    return float(np.abs(found.astype(np.float64) - wanted).max())


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextmanager
def _quiet() -> Iterator[None]:
    """Deprecations inside the libraries are none of the user's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _announced(text: str, stream: TextIO | None) -> Iterator[None]:
    """Say what is going on, unless it is over in two seconds."""
    if stream is None:
        yield
        return
    timer = threading.Timer(_QUIET_SECONDS, lambda: print(text, file=stream, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
