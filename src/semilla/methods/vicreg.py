"""VICReg: two views agree, while every coordinate keeps its variance and none repeats another.

Bardes, Ponce & LeCun, "VICReg: variance-invariance-covariance regularization for self-supervised learning",
ICLR 2022, arXiv 2105.04906 (equations 1 to 6). No negative pairs, no averaged network.

    z, z′ = g(f(view(u))), two views of N examples, d coordinates
    s     = mean over examples and coordinates of (z − z′)²
    v(z)  = mean over coordinates of max(0, 1 − √(Var(z) + 10⁻⁴))
    c(z)  = Σ over pairs i ≠ j of Cov(z)ᵢⱼ² / d
    L     = λ s + μ (v(z) + v(z′)) / 2 + ν (c(z) + c(z′))

Defaults and deviations:

* λ = μ = 25, ν = 1, the paper's. The paper writes v and c with N − 1, and the invariance without the division by d;
  its program, and this page, take the mean over the coordinates too, and halve the variance term (the paper does not).
* g has one hidden layer of 1,024 in place of two of 8,192, which suits small networks.
* One pass for each view, as in the paper's Algorithm 1.
"""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor, nn

from semilla.contract import Batch, Info, Logs, Losses, Method, Net, Run
from semilla.parts.projection import products, projection


@final
class VICReg(Method):
    """Invariance of the views, variance and covariance of the batch.

    Args:
        info: the data set's facts.
        invariance: λ.
        variance: μ.
        covariance: ν.
        hidden: width of the expander's hidden layer.
        dimension: d.
        view: of every example, twice.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"classes"})
    labeled_views = ()

    def __init__(
        self,
        info: Info,
        *,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        hidden: int = 1024,
        dimension: int = 1024,
        view: str = "contrastive",
    ) -> None:
        super().__init__()
        self.weights = invariance, variance, covariance
        self.hidden, self.dimension = hidden, dimension
        self.unlabeled_views = (view, view)

    def heads(self, width: int) -> dict[str, nn.Module]:
        """The expander g over the features."""
        return {"projection": projection(width, self.hidden, self.dimension)}

    def forward(self, net: Net, batch: Batch, run: Run) -> tuple[Losses, Logs]:
        """Equation 6."""
        z, other = (net.heads["projection"](net(view).features).float() for view in batch.u)
        invariance, variance, covariance = self.weights
        losses = {
            "invariance": invariance * (z - other).square().mean(),
            "variance": variance * (_variance(z) + _variance(other)) / 2,
            "covariance": covariance * (_covariance(z) + _covariance(other)),
        }
        return losses, {"spread": z.detach().std(0, correction=0).mean()}


def _variance(z: Tensor) -> Tensor:
    """How far the coordinates' deviations fall short of 1, on average."""
    rows = len(z)
    deviation = (z.var(0, correction=0) * rows / max(1, rows - 1) + 1e-4).sqrt()
    return torch.relu(1 - deviation).mean()


def _covariance(z: Tensor) -> Tensor:
    """Squares of the covariances of different coordinates, summed, for each coordinate."""
    z = z - z.mean(0)
    covariance = products(z.T) / max(1, len(z) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / z.shape[1]
