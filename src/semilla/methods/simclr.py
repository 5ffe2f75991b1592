"""SimCLR: two views of one example are each other's nearest among all views of the batch.

Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020, arXiv 2002.05709
(equation 1 and Algorithm 1).

    z    = g(f(view(u))) / ‖·‖, two views of each of the N examples: 2N rows
    ℓᵢⱼ  = −log exp(zᵢ·zⱼ / τ) / Σ_{k ≠ i} exp(zᵢ·zₖ / τ)
    L    = mean over all 2N rows of ℓ of a row and the other view of its example

Defaults and deviations:

* ``temperature`` 0.2 in place of the paper's 0.1 on ImageNet and 0.5 on CIFAR-10.
* g is linear, BatchNorm, ReLU, linear, as in the authors' program; it is thrown away after pre-training.
* One pass over both views, so that BatchNorm sees their common statistics and cannot tell the two apart.
"""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import nn
from torch.nn import functional as F

from semilla.contract import Batch, Info, Logs, Losses, Method, Net, Run
from semilla.parts.forward import together
from semilla.parts.projection import products, projection


@final
class SimCLR(Method):
    """Cross-entropy of finding the other view of an example among all views of the batch.

    Args:
        info: the data set's facts.
        temperature: τ.
        hidden: width of the projection's hidden layer.
        dimension: of the space in which views are compared.
        view: of every example, twice.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"classes"})
    labeled_views = ()

    def __init__(
        self,
        info: Info,
        *,
        temperature: float = 0.2,
        hidden: int = 512,
        dimension: int = 128,
        view: str = "contrastive",
    ) -> None:
        super().__init__()
        self.temperature, self.hidden, self.dimension = temperature, hidden, dimension
        self.unlabeled_views = (view, view)

    def heads(self, width: int) -> dict[str, nn.Module]:
        """The projection g over the features."""
        return {"projection": projection(width, self.hidden, self.dimension)}

    def forward(self, net: Net, batch: Batch, run: Run) -> tuple[Losses, Logs]:
        """Equation 1 over both views of every example."""
        first, second = together(net, *batch.u)
        features = torch.cat([first.features, second.features])
        z = F.normalize(net.heads["projection"](features).float(), dim=1)

        similarity = products(z) / self.temperature
        similarity = similarity.masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), -torch.inf)
        other = torch.arange(len(z), device=z.device).roll(len(first.features))
        right = (similarity.detach().argmax(1) == other).float().mean()
        return {"contrastive": F.cross_entropy(similarity, other)}, {"right": right}
