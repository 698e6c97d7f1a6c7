"""Paddle: nn.Sequential and optimizer.SGD."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bnconform.backends.paddle_layers import Paddle, import_package, place

Array = NDArray[Any]

PLACES = {"conv1": 0, "norm1": 1, "conv2": 4, "norm2": 5, "dense1": 9, "norm3": 10, "dense2": 12, "norm4": 13,
          "dense3": 15}  # fmt: skip
"""Where each layer stands in the sequence."""


class PaddleLeNet:
    """The sequence and its optimiser."""

    def __init__(self, net: Any, rate: float) -> None:
        paddle = import_package()
        self.net = net
        self.optimizer = paddle.optimizer.SGD(rate, parameters=net.parameters())

    def step(self, images: Array, labels: Array) -> float:
        """One step of SGD; the loss before it."""
        self.net.train()
        loss = self._loss(images, labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.clear_grad()
        return float(loss)

    def evaluate(self, images: Array, labels: Array) -> float:
        """The loss in evaluation mode."""
        self.net.eval()
        with import_package().no_grad():
            return float(self._loss(images, labels))

    def statistics(self) -> list[tuple[Array, Array]]:
        """The buffers of each BatchNorm."""
        norms = [self.net[place] for name, place in PLACES.items() if name.startswith("norm")]
        return [(np.array(norm._mean.numpy()), np.array(norm._variance.numpy())) for norm in norms]

    def _loss(self, images: Array, labels: Array) -> Any:
        paddle = import_package()
        logits = self.net(paddle.to_tensor(images))
        return paddle.nn.functional.cross_entropy(logits, paddle.to_tensor(labels))


class PaddleNetwork:
    """nn.BatchNorm2D and nn.BatchNorm1D, whose momentum weighs the old value."""

    deviations: ClassVar[Mapping[str, str]] = Paddle.deviations

    def build(self, weights: Mapping[str, Array], options: Any) -> PaddleLeNet:
        """The network with these weights."""
        paddle = import_package()
        nn = paddle.nn
        paddle.set_device(place(options.device))
        paddle.set_default_dtype(options.dtype)
        kept = {"momentum": 1 - options.momentum, "epsilon": options.eps}
        net = nn.Sequential(
            nn.Conv2D(1, 6, 5), nn.BatchNorm2D(6, **kept), nn.Sigmoid(), nn.AvgPool2D(2, 2),
            nn.Conv2D(6, 16, 5), nn.BatchNorm2D(16, **kept), nn.Sigmoid(), nn.AvgPool2D(2, 2),
            nn.Flatten(), nn.Linear(256, 120), nn.BatchNorm1D(120, **kept), nn.Sigmoid(),
            nn.Linear(120, 84), nn.BatchNorm1D(84, **kept), nn.Sigmoid(), nn.Linear(84, 10),
        )  # fmt: skip
        for name, where in PLACES.items():
            weight = weights[f"{name}.weight"]
            net[where].weight.set_value(weight.T if name.startswith("dense") else weight)
            net[where].bias.set_value(weights[f"{name}.bias"])
        return PaddleLeNet(net, options.rate)
