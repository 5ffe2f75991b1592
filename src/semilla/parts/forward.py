"""Ways to run a network over several views, which differ in whose statistics BatchNorm normalises with and keeps.

The references disagree here more than anywhere else, so each method says on a visible line which way it takes:

* ``net(view)``: normalised by the view's own statistics, which also move the running ones;
* ``with frozen_bn(net): net(view)``: normalised by the view's own statistics, the running ones stay;
* ``together(net, …)``: one pass, normalised by the statistics of all views together;
* ``interleaved(net, …)``: MixMatch's equal-mixture sub-batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.modules.batchnorm import _BatchNorm

from semilla.contract import Net, Output, View
from semilla.errors import UsageError


def together(net: Net, *views: View, prefix: Tensor | None = None) -> list[Output]:
    """One forward over all views at once, cut apart again.

    Views of lines, padded to different widths, are padded to the largest, so that all have as many frames. The features
    and logits of each view keep their gradient.

    Args:
        net: the network.
        views: of one shape, but for the width of padded lines.
        prefix: what the task feeds a decoder.

    Raises:
        UsageError: U123, there is a prefix: a decoder must have read one view before it can be fed for another.
    """
    if prefix is not None:
        fix = "leave joint out, or take a task without decoder, such as ctc"
        raise UsageError("U123", "a decoder cannot read all views in one pass (joint)", fix)
    width, inputs = None, [view.inputs for view in views]
    if views[0].width is not None:
        width = torch.cat([view.width for view in views if view.width is not None])
        widest = max(each.shape[-1] for each in inputs)
        inputs = [pad(each, (0, widest - each.shape[-1])) for each in inputs]
    output = net(View(torch.cat(inputs), width=width))
    sizes = [len(view) for view in views]
    lengths = output.lengths.split(sizes) if output.lengths is not None else [None] * len(views)
    return [
        Output(*parts) for parts in zip(output.logits.split(sizes), output.features.split(sizes), lengths, strict=True)
    ]


def interleaved(net: Net, inputs: Tensor, size: int) -> Tensor:
    """Logits (N, C) of inputs (N, …), computed in sub-batches of about ``size`` rows that all have the same mixture.

    Every sub-batch takes each k-th row, so it holds labeled and unlabeled rows in the proportion of the whole, and
    only the first moves the running statistics (MixMatch's ``interleave``).
    """
    chunks = max(1, len(inputs) // size)
    logits = [net(View(inputs[0::chunks])).logits]
    with frozen_bn(net):
        logits += [net(View(inputs[chunk::chunks])).logits for chunk in range(1, chunks)]
    rows = torch.cat([torch.arange(chunk, len(inputs), chunks, device=inputs.device) for chunk in range(chunks)])
    return torch.cat(logits)[rows.argsort()]


@contextmanager
def frozen_bn(net: nn.Module) -> Iterator[None]:
    """Keep BatchNorm's running statistics as they are while it still normalises with those of the batch."""
    layers = [module for module in net.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False  # in training mode this leaves both normalisation and buffers as promised
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


@contextmanager
def training_mode(net: nn.Module, training: bool) -> Iterator[None]:
    """Run with ``net.train(training)`` and give the former mode back."""
    before = net.training
    net.train(training)
    try:
        yield
    finally:
        net.train(before)


def pooled(output: Output) -> Tensor:
    """(B, D) features of each example: of a sequence the mean over its valid positions."""
    features = output.features
    if features.dim() == 2:
        return features
    if output.lengths is None:
        return features.mean(1)
    valid = torch.arange(features.shape[1], device=features.device) < output.lengths.to(features.device)[:, None]
    return (features * valid[:, :, None]).sum(1) / output.lengths.to(features.device)[:, None].clamp_min(1)
