"""Equinox: its layers on one sample, channels first, under jax.vmap with the axis of the batch; SGD by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bnconform.backends.jax_arrays import Place
from bnconform.backends.jax_equinox import statistics_index, usable

Array = NDArray[Any]

AXIS = "batch"
LAYERS = ("conv1", "conv2", "dense1", "dense2", "dense3")
NORMS = {"norm1": 6, "norm2": 16, "norm3": 120, "norm4": 84}


class EquinoxLeNet:
    """The module, its state, and its jitted step and loss."""

    def __init__(self, net: Any, state: Any, where: Place, rate: float) -> None:
        import equinox
        import jax

        self.net, self.state, self.where = net, state, where

        def loss_of(net: Any, state: Any, images: Any, labels: Any) -> Any:
            logits, moved = jax.vmap(net, axis_name=AXIS, in_axes=(0, None), out_axes=(0, None))(images, state)
            chosen = jax.nn.log_softmax(logits)
            return -chosen[jax.numpy.arange(len(labels)), labels].mean(), moved

        def step(net: Any, state: Any, images: Any, labels: Any) -> Any:
            found, slopes = equinox.filter_value_and_grad(loss_of, has_aux=True)(net, state, images, labels)
            changes = jax.tree.map(lambda slope: None if slope is None else -rate * slope, slopes)
            return found[0], equinox.apply_updates(net, changes), found[1]

        self._step, self._loss = equinox.filter_jit(step), equinox.filter_jit(loss_of)

    def step(self, images: Array, labels: Array) -> float:
        """One step of SGD; the loss before it."""
        with self.where.enter():
            loss, self.net, self.state = self._step(self.net, self.state, images, labels)
            return float(loss)

    def evaluate(self, images: Array, labels: Array) -> float:
        """The loss in inference mode."""
        import equinox

        with self.where.enter():
            loss, _ = self._loss(equinox.nn.inference_mode(self.net), usable(self.state), images, labels)
            return float(loss)

    def statistics(self) -> list[tuple[Array, Array]]:
        """What the state holds of each BatchNorm."""
        norms = [getattr(self.net, name) for name in NORMS]
        pairs = [self.state.get(statistics_index(norm)) for norm in norms]
        return [(np.array(mean), np.array(var)) for mean, var in pairs]


def make(options: Any) -> Any:
    """(module, state), with weights of its own."""
    import equinox
    import jax

    dtype = jax.numpy.dtype(options.dtype)
    keys = jax.random.split(jax.random.PRNGKey(0), len(LAYERS))

    def norm(channels: int) -> Any:
        return equinox.nn.BatchNorm(
            channels, AXIS, eps=options.eps, momentum=1 - options.momentum, dtype=dtype, mode="batch"
        )

    class LeNet(equinox.Module):
        """The document's layers, in their order."""

        conv1: Any
        norm1: Any
        conv2: Any
        norm2: Any
        pool: Any
        dense1: Any
        norm3: Any
        dense2: Any
        norm4: Any
        dense3: Any

        def __init__(self) -> None:
            nn = equinox.nn
            self.conv1 = nn.Conv2d(1, 6, 5, dtype=dtype, key=keys[0])
            self.conv2 = nn.Conv2d(6, 16, 5, dtype=dtype, key=keys[1])
            self.pool = nn.AvgPool2d(2, 2)
            self.dense1 = nn.Linear(256, 120, dtype=dtype, key=keys[2])
            self.dense2 = nn.Linear(120, 84, dtype=dtype, key=keys[3])
            self.dense3 = nn.Linear(84, 10, dtype=dtype, key=keys[4])
            self.norm1, self.norm2, self.norm3, self.norm4 = (norm(channels) for channels in NORMS.values())

        def __call__(self, x: Any, state: Any) -> Any:
            x, state = self.norm1(self.conv1(x), state)
            x = self.pool(jax.nn.sigmoid(x))
            x, state = self.norm2(self.conv2(x), state)
            x = self.pool(jax.nn.sigmoid(x)).reshape(-1)
            x, state = self.norm3(self.dense1(x), state)
            x, state = self.norm4(self.dense2(jax.nn.sigmoid(x)), state)
            return self.dense3(jax.nn.sigmoid(x)), state

    return equinox.nn.make_with_state(LeNet)()


class EquinoxNetwork:
    """equinox.nn.BatchNorm with mode="batch" in an equinox.Module."""

    deviations: ClassVar[Mapping[str, str]] = {}

    def build(self, weights: Mapping[str, Array], options: Any) -> EquinoxLeNet:
        """The network with these weights."""
        import equinox
        import jax.numpy as jnp

        where = Place(options.device, options.dtype == "float64")
        with where.enter():
            net, state = make(options)
            places = [(name, what) for name in (*LAYERS, *NORMS) for what in ("weight", "bias")]
            held = [getattr(getattr(net, name), what) for name, what in places]
            given = [
                jnp.array(weights[".".join(place)]).reshape(old.shape) for place, old in zip(places, held, strict=True)
            ]
            net = equinox.tree_at(lambda net: [getattr(getattr(net, name), what) for name, what in places], net, given)
        return EquinoxLeNet(net, state, where, options.rate)
