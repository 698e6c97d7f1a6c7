"""PyTorch: nn.Sequential, as document 001_2dbeadbd725cf49d has it (In [4]), and torch.optim.SGD."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

PLACES = {"conv1": 0, "norm1": 1, "conv2": 4, "norm2": 5, "dense1": 9, "norm3": 10, "dense2": 12, "norm4": 13,
          "dense3": 15}  # fmt: skip
"""Where each layer stands in the sequence."""


class TorchLeNet:
    """A sequence of modules and its optimiser."""

    def __init__(self, net: Any, rate: float) -> None:
        import torch

        self.net = net
        self.optimizer = torch.optim.SGD(net.parameters(), lr=rate)

    def step(self, images: Array, labels: Array) -> float:
        """One step of SGD; the loss before it."""
        import torch

        self.net.train()
        self.optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(self.net(torch.tensor(images)), torch.tensor(labels))
        loss.backward()
        self.optimizer.step()
        return float(loss)

    def evaluate(self, images: Array, labels: Array) -> float:
        """The loss in evaluation mode, without gradients."""
        import torch

        self.net.eval()
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(self.net(torch.tensor(images)), torch.tensor(labels)))

    def statistics(self) -> list[tuple[Array, Array]]:
        """The buffers of each BatchNorm."""
        norms = [self.net[place] for name, place in PLACES.items() if name.startswith("norm")]
        return [(_array(norm.running_mean), _array(norm.running_var)) for norm in norms]


def _array(tensor: Any) -> Array:
    return np.array(tensor.detach().numpy()).reshape(-1)


def sequence(weights: Mapping[str, Array], norm: Any, names: tuple[str, str] = ("weight", "bias")) -> Any:
    """The document's nn.Sequential with these weights.

    Args:
        norm: makes a BatchNorm for so many channels and a rank. names: what it calls its parameters.
    """
    import torch
    from torch import nn

    net = nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5), norm(6, 4), nn.Sigmoid(), nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5), norm(16, 4), nn.Sigmoid(), nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Flatten(), nn.Linear(256, 120), norm(120, 2), nn.Sigmoid(), nn.Linear(120, 84), norm(84, 2), nn.Sigmoid(),
        nn.Linear(84, 10),
    )  # fmt: skip
    dtype = getattr(torch, str(weights["conv1.weight"].dtype))
    net.to(dtype)
    with torch.no_grad():
        for name, place in PLACES.items():
            for ours, theirs in zip(("weight", "bias"), names if name.startswith("norm") else ("weight", "bias"),
                                    strict=True):  # fmt: skip
                held = getattr(net[place], theirs)
                held.copy_(torch.tensor(weights[f"{name}.{ours}"]).reshape(held.shape))
    return net


class TorchNetwork:
    """The document's concise network: nn.BatchNorm2d and nn.BatchNorm1d."""

    deviations: ClassVar[Mapping[str, str]] = {}

    def build(self, weights: Mapping[str, Array], options: Any) -> TorchLeNet:
        """The network with these weights."""
        from torch import nn

        def norm(channels: int, rank: int) -> Any:
            kind = nn.BatchNorm2d if rank == 4 else nn.BatchNorm1d
            return kind(channels, eps=options.eps, momentum=options.momentum)

        return TorchLeNet(sequence(weights, norm), options.rate)
