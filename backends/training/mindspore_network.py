"""MindSpore: nn.SequentialCell and nn.SGD, run operation by operation (PyNative mode)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from numpy.typing import NDArray

from bnconform.backends.mindspore_layers import MindSpore, on, to_array, to_tensor

Array = NDArray[Any]

PLACES = {"conv1": 0, "norm1": 1, "conv2": 4, "norm2": 5, "dense1": 9, "norm3": 10, "dense2": 12, "norm4": 13,
          "dense3": 15}  # fmt: skip
"""Where each layer stands in the sequence."""


class MindSporeLeNet:
    """The cell and its optimiser."""

    def __init__(self, mindspore: Any, net: Any, rate: float) -> None:
        self.net = net
        loss = mindspore.nn.CrossEntropyLoss()
        self.optimizer = mindspore.nn.SGD(net.trainable_params(), rate)

        def loss_of(images: Any, labels: Any) -> Any:
            return loss(net(images), labels)

        self._loss = loss_of
        self._slopes = mindspore.value_and_grad(loss_of, None, self.optimizer.parameters)
        self._labels = mindspore.int32

    def step(self, images: Array, labels: Array) -> float:
        """One step of SGD; the loss before it."""
        self.net.set_train(True)
        loss, slopes = self._slopes(to_tensor(images), to_tensor(labels).astype(self._labels))
        self.optimizer(slopes)
        return float(to_array(loss))

    def evaluate(self, images: Array, labels: Array) -> float:
        """The loss in evaluation mode."""
        self.net.set_train(False)
        return float(to_array(self._loss(to_tensor(images), to_tensor(labels).astype(self._labels))))

    def statistics(self) -> list[tuple[Array, Array]]:
        """The parameters of each BatchNorm."""
        norms = [self.net[place] for name, place in PLACES.items() if name.startswith("norm")]
        return [(to_array(norm.moving_mean), to_array(norm.moving_variance)) for norm in norms]


class MindSporeNetwork:
    """nn.BatchNorm2d and nn.BatchNorm1d, whose momentum weighs the old value."""

    deviations: ClassVar[Mapping[str, str]] = {}

    def build(self, weights: Mapping[str, Array], options: Any) -> MindSporeLeNet:
        """The network with these weights."""
        if options.dtype in MindSpore.unsupported:
            raise NotImplementedError(MindSpore.unsupported[options.dtype])
        mindspore = on(options.device)
        nn = mindspore.nn
        kept = {"momentum": 1 - options.momentum, "eps": options.eps}
        net = nn.SequentialCell(
            nn.Conv2d(1, 6, 5, pad_mode="valid", has_bias=True), nn.BatchNorm2d(6, **kept), nn.Sigmoid(),
            nn.AvgPool2d(2, 2),
            nn.Conv2d(6, 16, 5, pad_mode="valid", has_bias=True), nn.BatchNorm2d(16, **kept), nn.Sigmoid(),
            nn.AvgPool2d(2, 2),
            nn.Flatten(), nn.Dense(256, 120), nn.BatchNorm1d(120, **kept), nn.Sigmoid(),
            nn.Dense(120, 84), nn.BatchNorm1d(84, **kept), nn.Sigmoid(), nn.Dense(84, 10),
        )  # fmt: skip
        for name, place in PLACES.items():
            for what, theirs in (("weight", "gamma"), ("bias", "beta")):
                held = getattr(net[place], theirs if name.startswith("norm") else what)
                held.set_data(to_tensor(weights[f"{name}.{what}"]))
        return MindSporeLeNet(mindspore, net, options.rate)
