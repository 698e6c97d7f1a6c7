"""Flax: an nnx.Module of nnx layers, channels last; SGD by hand, as it is one line in JAX. Everything is jitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bnconform.backends.jax_arrays import Place
from bnconform.backends.jax_flax import FlaxNNX
from bnconform.backends.training.layouts import channels_last, weight_last

Array = NDArray[Any]

LAYERS = {"conv1": (1, 6), "conv2": (6, 16), "dense1": (256, 120), "dense2": (120, 84), "dense3": (84, 10)}
NORMS = {"norm1": 6, "norm2": 16, "norm3": 120, "norm4": 84}


class FlaxLeNet:
    """The module, and its jitted step and evaluation."""

    def __init__(self, net: Any, where: Place, rate: float) -> None:
        import jax
        from flax import nnx

        self.net, self.where = net, where

        def loss_of(net: Any, images: Any, labels: Any) -> Any:
            chosen = jax.nn.log_softmax(net(images))
            return -chosen[jax.numpy.arange(len(labels)), labels].mean()

        def step(net: Any, images: Any, labels: Any) -> Any:
            loss, gradients = nnx.value_and_grad(loss_of)(net, images, labels)
            moved = jax.tree.map(lambda held, slope: held - rate * slope, nnx.state(net, nnx.Param), gradients)
            nnx.update(net, moved)
            return loss

        self._step, self._loss = nnx.jit(step), nnx.jit(loss_of)

    def step(self, images: Array, labels: Array) -> float:
        """One step of SGD; the loss before it."""
        self.net.train()
        with self.where.enter():
            return float(self._step(self.net, channels_last(images), labels))

    def evaluate(self, images: Array, labels: Array) -> float:
        """The loss in evaluation mode."""
        self.net.eval()
        with self.where.enter():
            return float(self._loss(self.net, channels_last(images), labels))

    def statistics(self) -> list[tuple[Array, Array]]:
        """The BatchStats of each BatchNorm."""
        norms = [getattr(self.net, name) for name in NORMS]
        return [(np.array(norm.mean[...]), np.array(norm.var[...])) for norm in norms]


def make(options: Any) -> Any:
    """The module, with weights of its own."""
    import jax
    from flax import nnx

    dtype = jax.numpy.dtype(options.dtype)
    rngs = nnx.Rngs(0)

    class LeNet(nnx.Module):
        """The document's layers, in their order."""

        def __init__(self) -> None:
            for name, (entries, exits) in LAYERS.items():
                if name.startswith("conv"):
                    layer = nnx.Conv(entries, exits, (5, 5), padding="VALID", param_dtype=dtype, rngs=rngs)
                else:
                    layer = nnx.Linear(entries, exits, param_dtype=dtype, rngs=rngs)
                setattr(self, name, layer)
            for name, channels in NORMS.items():
                kept = {"momentum": 1 - options.momentum, "epsilon": options.eps, "param_dtype": dtype}
                setattr(self, name, nnx.BatchNorm(channels, use_running_average=False, rngs=rngs, **kept))

        def __call__(self, x: Any) -> Any:
            x = nnx.avg_pool(nnx.sigmoid(self.norm1(self.conv1(x))), (2, 2), (2, 2))
            x = nnx.avg_pool(nnx.sigmoid(self.norm2(self.conv2(x))), (2, 2), (2, 2))
            x = x.reshape(len(x), -1)
            x = nnx.sigmoid(self.norm3(self.dense1(x)))
            x = nnx.sigmoid(self.norm4(self.dense2(x)))
            return self.dense3(x)

    return LeNet()


class FlaxNetwork:
    """nnx.BatchNorm in an nnx.Module."""

    deviations: ClassVar[Mapping[str, str]] = FlaxNNX.deviations

    def build(self, weights: Mapping[str, Array], options: Any) -> FlaxLeNet:
        """The network with these weights."""
        import jax.numpy as jnp

        where = Place(options.device, options.dtype == "float64")
        with where.enter():
            net = make(options)
            for name in LAYERS:
                getattr(net, name).kernel[...] = jnp.array(weight_last(name, weights[f"{name}.weight"]))
                getattr(net, name).bias[...] = jnp.array(weights[f"{name}.bias"])
            for name in NORMS:
                getattr(net, name).scale[...] = jnp.array(weights[f"{name}.weight"])
                getattr(net, name).bias[...] = jnp.array(weights[f"{name}.bias"])
        return FlaxLeNet(net, where, options.rate)
