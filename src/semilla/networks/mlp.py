"""A multilayer perceptron for feature vectors."""

from __future__ import annotations

from torch import Tensor, nn

from semilla.contract import Output


class MLP(nn.Module):
    """Linear, BatchNorm and ReLU, ``depth`` times, and a linear classifier.

    Args:
        inputs: features of an example.
        classes: number of classes.
        width: units of each hidden layer, and of the features.
        depth: hidden layers.
        batch_norm: normalise between the layers.
    """

    def __init__(self, inputs: int, classes: int, width: int = 128, depth: int = 2, batch_norm: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in [inputs, *[width] * (depth - 1)]:
            layers.append(nn.Linear(size, width, bias=not batch_norm))
            layers += [nn.BatchNorm1d(width), nn.ReLU()] if batch_norm else [nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, classes)

    def forward(self, inputs: Tensor) -> Output:
        """(B, inputs) → logits (B, classes), features (B, width)."""
        features = self.body(inputs)
        return Output(self.classifier(features), features)
