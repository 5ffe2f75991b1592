"""The ONNX file against PyTorch: every kind of network, any batch, and what becomes of one that disagrees."""

from __future__ import annotations

import io
import subprocess
import sys
import time

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from export.runs import GREY, Own, Stubborn, examples, write_run
from semilla.errors import StateError, UsageError
from semilla.exporting import onnx as room
from semilla.exporting.onnx import BATCHES, TOLERANCE, compare, write_onnx
from semilla.inference.model import load

KINDS = ["small_cnn", "whitened_cnn", "wide_resnet", "mlp", "resnet", "vit"]


def answers(data, inputs):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(["probabilities", "logits"], {"inputs": inputs})


def changed(data, change):
    """The file with its last weight matrix changed."""
    proto = onnx.load_from_string(data)
    weight = next(tensor for tensor in reversed(proto.graph.initializer) if len(tensor.dims) == 2)
    weight.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(weight)).astype(np.float32), weight.name))
    return proto.SerializeToString()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [*BATCHES, 64])
def test_a_program_without_semilla_gets_the_same_answers(written, kind, count):
    model, data = written(kind)
    inputs = examples(model.card["inputs"], count)
    probabilities, logits = answers(data, inputs)
    assert (probabilities.shape, probabilities.dtype) == ((count, 3), np.float32)
    np.testing.assert_allclose(probabilities, model.predict_proba(inputs), atol=1e-4)
    np.testing.assert_allclose(logits, model.logits(inputs), atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_is_whole_valid_and_reads_raw_inputs(written, kind):
    model, data = written(kind)
    onnx.checker.check_model(data, full_check=True)
    proto = onnx.load_from_string(data)
    (read,) = proto.graph.input
    raw = onnx.TensorProto.UINT8 if model.card["inputs"]["kind"] == "images" else onnx.TensorProto.FLOAT
    assert read.type.tensor_type.elem_type == raw
    batch, *rest = read.type.tensor_type.shape.dim
    assert batch.dim_param  # a name, no number: any batch
    assert [size.dim_value for size in rest] == model.card["inputs"]["shape"]
    assert [output.name for output in proto.graph.output] == ["probabilities", "logits"]
    stored = [*proto.graph.initializer]
    assert stored
    assert not any(tensor.external_data or tensor.data_location for tensor in stored)


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_does_not_tell_where_it_was_made(written, kind):
    _, data = written(kind)
    proto = onnx.load_from_string(data)
    assert not any(node.doc_string or node.metadata_props for node in proto.graph.node)
    for word in (b"stack_trace", b'File "', b"site-packages", sys.prefix.encode(), b"semilla/"):
        assert word not in data


def test_the_temperature_is_inside(written):
    _, data = written("small_cnn")
    inputs = examples(GREY, 20)
    probabilities, logits = answers(data, inputs)
    powers = np.exp(logits / 2.5)
    np.testing.assert_allclose(probabilities, powers / powers.sum(1, keepdims=True), atol=1e-5)
    plain = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.abs(probabilities - plain).max() > 0.01


def test_channels_last_weights_leave_no_trace_in_the_graph(written, tmp_path):
    _, data = written("small_cnn")
    other = load(write_run(tmp_path / "run"))
    other.net.to(memory_format=torch.channels_last)
    proto = onnx.load_from_string(write_onnx(other, {}))
    found, usual = ([node.op_type for node in graph.node] for graph in (proto.graph, onnx.load_from_string(data).graph))
    assert [name for name in found if name != "Div"] == [name for name in usual if name != "Div"]
    assert "Gather" not in found
    kernel = next(weight for weight in other.net.parameters() if weight.dim() == 4 and weight.shape[1] > 1)
    assert kernel.is_contiguous(memory_format=torch.channels_last)  # the model itself stays as it was
    compare(proto.SerializeToString(), other, examples(GREY, 8), "pictures")


def test_a_network_of_the_users_own(tmp_path):
    model = load(write_run(tmp_path / "run", spec={"name": "custom"}, inputs=GREY, network=Own()), network=Own())
    agreement = compare(write_onnx(model, {}), model, examples(GREY, 64), "pictures")
    assert agreement.probabilities <= TOLERANCE


def test_a_network_that_no_graph_can_hold_is_refused_in_words(tmp_path, capfd):
    run = write_run(tmp_path / "run", spec={"name": "custom"}, inputs=GREY, network=Stubborn())
    with pytest.raises(StateError, match="cannot write this network as ONNX") as refused:
        write_onnx(load(run, network=Stubborn()), {})
    assert refused.value.code == "C051"
    assert "\n" not in refused.value.message
    assert "--format safetensors" in refused.value.fix
    assert not list(tmp_path.glob("*.md"))  # nor does PyTorch leave a report behind


# The comparison


def test_the_agreement_is_measured_and_told(written):
    model, data = written("small_cnn")
    agreement = compare(data, model, examples(GREY, 64), "test examples")
    assert agreement.count == 64
    assert 0 <= agreement.probabilities <= 1e-5
    assert "on 64 test examples" in agreement.sentence()


def test_one_sample_is_enough_for_every_batch_size(written, monkeypatch):
    model, data = written("small_cnn")
    sizes = []
    run = room._run
    monkeypatch.setattr(room, "_run", lambda session, samples, size: sizes.append(size) or run(session, samples, size))
    assert compare(data, model, examples(GREY, 1), "one").count == max(BATCHES)
    assert sizes == [1, 2, 7]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda weight: weight + 0.01, id="shifted"),
        pytest.param(lambda weight: weight[::-1], id="classes swapped"),
        pytest.param(lambda weight: weight * np.nan, id="not a number"),
    ],
)
def test_a_file_that_disagrees_is_refused_with_the_numbers(written, change):
    model, data = written("small_cnn")
    with pytest.raises(StateError, match="disagree on 64 pictures") as refused:
        compare(changed(data, change), model, examples(GREY, 64), "pictures")
    assert refused.value.code == "C050"
    assert "1e-04 allowed" in refused.value.message
    assert "not kept" in refused.value.fix


def test_probabilities_alone_can_fail_the_comparison(written):
    """A lost temperature leaves the logits right."""
    model, data = written("small_cnn")
    proto = onnx.load_from_string(data)
    softmax = next(node for node in proto.graph.node if node.op_type == "Softmax")
    softmax.input[0] = "logits"
    with pytest.raises(StateError, match="C050"):
        compare(proto.SerializeToString(), model, examples(GREY, 64), "pictures")


def test_a_file_frozen_to_one_batch_size_fails(written):
    model, data = written("small_cnn")
    proto = onnx.load_from_string(data)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(StateError, match="onnxruntime cannot run the file") as refused:
        compare(proto.SerializeToString(), model, examples(GREY, 8), "pictures")
    assert refused.value.code == "C050"


# Refusals and manners


@pytest.mark.parametrize("name", room.LIBRARIES)
def test_a_missing_package_is_named_with_the_command_that_installs_it(written, monkeypatch, name):
    model, _ = written("mlp")
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=rf"needs {name}\n") as refused:
        write_onnx(model, {})
    assert refused.value.code == "U050"
    assert 'pip install "semilla[onnx]"' in refused.value.fix


def test_weights_beyond_one_file_are_refused_before_any_work(written, monkeypatch):
    model, _ = written("mlp")
    monkeypatch.setattr(room, "LARGEST", 100)
    monkeypatch.setattr(room, "_trace", lambda *arguments: pytest.fail("traced"))
    with pytest.raises(UsageError, match="ends at 2 GB") as refused:
        write_onnx(model, {})
    assert refused.value.code == "U053"


def test_a_model_as_large_as_protocol_buffers_allow_is_not_refused():
    assert 2**31 - 2**26 < room.LARGEST < 2**31


def test_what_takes_long_is_announced_once_and_what_does_not_is_not(monkeypatch):
    stream = io.StringIO()
    with room._announced("soon over", stream):
        pass
    monkeypatch.setattr(room, "_QUIET_SECONDS", 0.01)
    with room._announced("still at it", stream):
        time.sleep(0.2)
    assert stream.getvalue() == "still at it\n"


def test_nothing_else_reaches_the_console(tmp_path):
    run = write_run(tmp_path / "run", "mlp")
    code = (
        "from semilla.exporting import export\n"
        f"done = export({str(run)!r})\nassert done.agreement.probabilities <= 1e-4\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]  # nor is anything written beside
