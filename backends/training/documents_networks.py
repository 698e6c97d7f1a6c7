"""The documents' networks from scratch, as they print them: batch_norm, the module BatchNorm, and LeNet of these.

Documents 001_2dbeadbd725cf49d (d2l_zh; In [2], [3]) and 002_b673ca5c343f0bbc (d2l_en; 8.5.3, 8.5.4). Both fix epsilon
at 1e-5. Document 001 calls its layer with momentum 0.9 and weighs the old value by it, document 002 with 0.1, which
weighs the new one: the same numbers. That 001's text takes momentum for the influence of the new batch is shown by the
layer `documents.d2l_zh`, which is told the momentum of the text. As printed, 001's forward computes and returns
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from numpy.typing import NDArray

from bnconform.backends.training.torch_network import TorchLeNet, sequence

Array = NDArray[Any]


def batch_norm(x: Any, gamma: Any, beta: Any, moving_mean: Any, moving_var: Any, eps: float, keep: float) -> Any:
    """(y, moving mean, moving variance), the documents' function; `keep` weighs the old value."""
    import torch

    if not torch.is_grad_enabled():
        normal = (x - moving_mean) / torch.sqrt(moving_var + eps)
    else:
        assert len(x.shape) in (2, 4)
        over = (0,) if len(x.shape) == 2 else (0, 2, 3)
        mean = x.mean(dim=over, keepdim=len(x.shape) == 4)
        var = ((x - mean) ** 2).mean(dim=over, keepdim=len(x.shape) == 4)
        normal = (x - mean) / torch.sqrt(var + eps)
        moving_mean = keep * moving_mean + (1.0 - keep) * mean
        moving_var = keep * moving_var + (1.0 - keep) * var
    y = gamma * normal + beta
    return y, moving_mean.data, moving_var.data


def module(channels: int, rank: int, dtype: str, keep: float, *, returns: bool = True) -> Any:
    """The documents' module BatchNorm; `returns`: whether its forward has the line that returns the output."""
    import torch
    from torch import nn

    class BatchNorm(nn.Module):
        """With gamma, beta, moving_mean and moving_var, each (1, C) or (1, C, 1, 1)."""

        def __init__(self) -> None:
            super().__init__()
            shape = (1, channels) if rank == 2 else (1, channels, 1, 1)
            self.gamma, self.beta = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))
            self.running_mean = torch.zeros(shape, dtype=getattr(torch, dtype))
            self.running_var = torch.ones(shape, dtype=getattr(torch, dtype))

        def forward(self, x: Any) -> Any:
            y, self.running_mean, self.running_var = batch_norm(
                x, self.gamma, self.beta, self.running_mean, self.running_var, 1e-5, keep
            )
            return y if returns else None

    return BatchNorm()


class D2lEnNetwork:
    """Document 002's BNLeNetScratch."""

    deviations: ClassVar[Mapping[str, str]] = {"running_variance": "biased", "mode_source": "gradients_enabled"}
    keep = 1.0 - 0.1
    returns = True

    def build(self, weights: Mapping[str, Array], options: Any) -> TorchLeNet:
        """The network with these weights."""

        def norm(channels: int, rank: int) -> Any:
            return module(channels, rank, options.dtype, self.keep, returns=self.returns)

        return TorchLeNet(sequence(weights, norm, ("gamma", "beta")), options.rate)


class D2lZhNetwork(D2lEnNetwork):
    """Document 001's layer in its network, with the return that its forward lacks."""

    keep = 0.9


class D2lZhPrinted(D2lZhNetwork):
    """The same as it is printed."""

    returns = False
