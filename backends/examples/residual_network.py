"""A small residual network with shared layers, for `bnconform deploy`.

    bnconform deploy --torch residual_network.py:make --tool all

It has what networks in use have and fusers get wrong: residual joins, a second reader of a convolution, a convolution
that two branches share, and a linear layer over (N, C, F) with a BatchNorm of C channels after it.
"""

from __future__ import annotations

from typing import Any


def make(width: int = 8, seed: int = 0) -> tuple[Any, Any]:
    """(the network, x): torch.nn.Module and (4, 3, 16, 16), both of numbers that are drawn; trained statistics too."""
    import torch

    torch.manual_seed(seed)
    network = train(network_of(width))
    return network, torch.randn(4, 3, 16, 16)


def network_of(width: int) -> Any:
    """The network, new."""
    import torch
    from torch import nn

    class Block(nn.Module):
        """Two convolutions, and what was given joined to them."""

        def __init__(self, entry: int, width: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(entry, width, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.relu = nn.ReLU()
            self.down = nn.Identity() if stride == 1 and entry == width else nn.Sequential(
                nn.Conv2d(entry, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )  # fmt: skip

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.relu(self.bn1(self.conv1(x)))
            return self.relu(self.bn2(self.conv2(y)) + self.down(x))

    class Shared(nn.Module):
        """One convolution for two branches, each with a BatchNorm of its own, and a reader before the second one."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(width, width, 3, 1, 1)
            self.one, self.other = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.one(self.conv(x))) + torch.relu(self.other(self.conv(-x)))

    class Tokens(nn.Module):
        """(N, C, H, W) as C tokens of H W features, mapped by a linear layer, and normalised by token."""

        def __init__(self, tokens: int, features: int) -> None:
            super().__init__()
            self.linear = nn.Linear(features, tokens)
            self.norm = nn.BatchNorm1d(tokens)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.norm(self.linear(torch.flatten(x, 2))))

    class Network(nn.Module):
        """Stem, three residual blocks, a shared convolution, tokens and a head."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            self.block1 = Block(width, width, 1)
            self.block2 = Block(width, 2 * width, 2)
            self.block3 = Block(2 * width, 2 * width, 1)
            self.shared = Shared(2 * width)
            self.pool = nn.MaxPool2d(2)
            self.tokens = Tokens(2 * width, 16)
            self.head = nn.Sequential(nn.Linear(4 * width * width, 2 * width), nn.BatchNorm1d(2 * width), nn.ReLU(),
                                      nn.Linear(2 * width, 10))  # fmt: skip

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.block3(self.block2(self.block1(self.stem(x))))
            return self.head(torch.flatten(self.tokens(self.pool(self.shared(x))), 1))

    return Network(width)


def train(network: Any) -> Any:
    """The network in evaluation, its BatchNorms with parameters and statistics as after training."""
    import torch

    for part in network.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            with torch.no_grad():
                part.weight.uniform_(0.5, 1.5)
                part.bias.uniform_(-0.5, 0.5)
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(2 * torch.randn(32, 3, 16, 16) + 0.5)
    return network.eval()
