"""MLX: an mlx.nn.Module, channels last, nn.value_and_grad and optimizers.SGD."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bnconform.backends.mlx_layers import mlx_device, to_array, to_mlx
from bnconform.backends.training.layouts import channels_last, weight_last

Array = NDArray[Any]

LAYERS = {"conv1": (1, 6), "conv2": (6, 16), "dense1": (256, 120), "dense2": (120, 84), "dense3": (84, 10)}
NORMS = {"norm1": 6, "norm2": 16, "norm3": 120, "norm4": 84}


def make(options: Any) -> Any:
    """The module, with weights of its own."""
    from mlx import nn

    class LeNet(nn.Module):
        """The document's layers, in their order."""

        def __init__(self) -> None:
            super().__init__()
            for name, (entries, exits) in LAYERS.items():
                layer = nn.Conv2d(entries, exits, 5) if name.startswith("conv") else nn.Linear(entries, exits)
                setattr(self, name, layer)
            for name, channels in NORMS.items():
                setattr(self, name, nn.BatchNorm(channels, eps=options.eps, momentum=options.momentum))
            self.pool = nn.AvgPool2d(2, 2)

        def __call__(self, x: Any) -> Any:
            x = self.pool(nn.sigmoid(self.norm1(self.conv1(x))))
            x = self.pool(nn.sigmoid(self.norm2(self.conv2(x)))).flatten(1)
            x = nn.sigmoid(self.norm3(self.dense1(x)))
            x = nn.sigmoid(self.norm4(self.dense2(x)))
            return self.dense3(x)

    return LeNet()


class MlxLeNet:
    """The module and its optimiser, on one device."""

    def __init__(self, net: Any, rate: float, device: str) -> None:
        from mlx import nn, optimizers

        self.net, self.device = net, mlx_device(device)
        self.optimizer = optimizers.SGD(rate)

        def loss_of(net: Any, images: Any, labels: Any) -> Any:
            return nn.losses.cross_entropy(net(images), labels, reduction="mean")

        self._loss, self._slopes = loss_of, nn.value_and_grad(net, loss_of)

    def step(self, images: Array, labels: Array) -> float:
        """One step of SGD; the loss before it."""
        import mlx.core as mx

        self.net.train()
        with mx.stream(self.device):
            loss, slopes = self._slopes(self.net, to_mlx(channels_last(images)), to_mlx(labels))
            self.optimizer.update(self.net, slopes)
            mx.eval(loss, self.net.parameters())
            return float(loss.item())

    def evaluate(self, images: Array, labels: Array) -> float:
        """The loss in evaluation mode."""
        import mlx.core as mx

        self.net.eval()
        with mx.stream(self.device):
            return float(self._loss(self.net, to_mlx(channels_last(images)), to_mlx(labels)).item())

    def statistics(self) -> list[tuple[Array, Array]]:
        """The buffers of each BatchNorm."""
        norms = [getattr(self.net, name) for name in NORMS]
        return [(to_array(norm.running_mean), to_array(norm.running_var)) for norm in norms]


class MlxNetwork:
    """mlx.nn.BatchNorm in an mlx.nn.Module."""

    deviations: ClassVar[Mapping[str, str]] = {}

    def build(self, weights: Mapping[str, Array], options: Any) -> MlxLeNet:
        """The network with these weights."""
        import mlx.core as mx

        with mx.stream(mlx_device(options.device)):
            net = make(options)
            given = []
            for name in (*LAYERS, *NORMS):
                weight = weights[f"{name}.weight"]
                if name in LAYERS:  # (outputs, ..., inputs)
                    weight = np.ascontiguousarray(np.moveaxis(weight_last(name, weight), -1, 0))
                given += [(f"{name}.weight", to_mlx(weight)), (f"{name}.bias", to_mlx(weights[f"{name}.bias"]))]
            net.set_dtype(getattr(mx, options.dtype))
            net.load_weights(given, strict=False)
            mx.eval(net.parameters())
        return MlxLeNet(net, options.rate, options.device)
