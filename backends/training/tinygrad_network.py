"""tinygrad: its layers in a class, and nn.optim.SGD."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from numpy.typing import NDArray

from bnconform.backends.tinygrad_layers import mode, name_a_clang, place, to_array, to_tensor

Array = NDArray[Any]

LAYERS = {"conv1": (1, 6), "conv2": (6, 16), "dense1": (256, 120), "dense2": (120, 84), "dense3": (84, 10)}
NORMS = {"norm1": 6, "norm2": 16, "norm3": 120, "norm4": 84}


class TinygradLeNet:
    """The layers by their names, and the optimiser."""

    def __init__(self, layers: Mapping[str, Any], rate: float, device: str) -> None:
        from tinygrad import nn

        self.layers, self.device = layers, device
        held = [getattr(layer, what) for layer in layers.values() for what in ("weight", "bias")]
        self.optimizer = nn.optim.SGD(held, lr=rate, device=place(device))

    def step(self, images: Array, labels: Array) -> float:
        """One step of SGD; the loss before it."""
        with mode(True):
            loss = self._loss(images, labels)
            self.optimizer.zero_grad()
            loss.backward()
            # Together: what is lazy would else be computed of the parameters after the step.
            kept = [getattr(self.layers[name], what) for name in NORMS for what in ("running_mean", "running_var")]
            loss.realize(*kept, *self.optimizer.schedule_step())
            return float(loss.item())

    def evaluate(self, images: Array, labels: Array) -> float:
        """The loss in evaluation mode."""
        with mode(False):
            return float(self._loss(images, labels).item())

    def statistics(self) -> list[tuple[Array, Array]]:
        """The tensors of each BatchNorm."""
        norms = [self.layers[name] for name in NORMS]
        return [(to_array(norm.running_mean, self.device), to_array(norm.running_var, self.device)) for norm in norms]

    def _loss(self, images: Array, labels: Array) -> Any:
        at = self.layers
        x = to_tensor(images, self.device)
        x = at["norm1"](at["conv1"](x)).sigmoid().avg_pool2d(2)
        x = at["norm2"](at["conv2"](x)).sigmoid().avg_pool2d(2).flatten(1)
        x = at["norm3"](at["dense1"](x)).sigmoid()
        x = at["norm4"](at["dense2"](x)).sigmoid()
        return at["dense3"](x).sparse_categorical_crossentropy(to_tensor(labels, self.device))


class TinygradNetwork:
    """nn.BatchNorm in a network of tinygrad's layers."""

    deviations: ClassVar[Mapping[str, str]] = {}

    def build(self, weights: Mapping[str, Array], options: Any) -> TinygradLeNet:
        """The network with these weights; its parameters have the dtype of theirs."""
        name_a_clang()
        from tinygrad import nn
        from tinygrad.helpers import DEFAULT_FLOAT

        DEFAULT_FLOAT.value = options.dtype
        layers: dict[str, Any] = {}
        for name, (entries, exits) in LAYERS.items():
            layers[name] = nn.Conv2d(entries, exits, 5) if name.startswith("conv") else nn.Linear(entries, exits)
        for name, channels in NORMS.items():
            layers[name] = nn.BatchNorm(channels, eps=options.eps, momentum=options.momentum)
            for what in ("running_mean", "running_var"):
                held = getattr(layers[name], what)
                held.replace(held.cast(options.dtype).to(place(options.device)).contiguous().realize())
        for name, layer in layers.items():
            for what in ("weight", "bias"):
                getattr(layer, what).replace(to_tensor(weights[f"{name}.{what}"], options.device))
        return TinygradLeNet(layers, options.rate, options.device)
