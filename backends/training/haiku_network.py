"""Haiku: a function of its modules, channels last, which hk.transform_with_state makes pure; SGD by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bnconform.backends.jax_arrays import Place
from bnconform.backends.jax_haiku import Haiku
from bnconform.backends.training.layouts import channels_last, weight_last

Array = NDArray[Any]

LAYERS = ("conv1", "conv2", "dense1", "dense2", "dense3")
NORMS = ("norm1", "norm2", "norm3", "norm4")


def logits(options: Any) -> Any:
    """The pair (init, apply) of the network."""
    import haiku
    import jax

    def pool(x: Any) -> Any:
        return haiku.avg_pool(x, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def network(x: Any, training: bool) -> Any:
        def norm(name: str, x: Any) -> Any:
            layer = haiku.BatchNorm(True, True, 1 - options.momentum, options.eps, name=name)
            return jax.nn.sigmoid(layer(x, training))

        x = pool(norm("norm1", haiku.Conv2D(6, 5, padding="VALID", name="conv1")(x)))
        x = pool(norm("norm2", haiku.Conv2D(16, 5, padding="VALID", name="conv2")(x)))
        x = norm("norm3", haiku.Linear(120, name="dense1")(x.reshape(len(x), -1)))
        x = norm("norm4", haiku.Linear(84, name="dense2")(x))
        return haiku.Linear(10, name="dense3")(x)

    return haiku.without_apply_rng(haiku.transform_with_state(network))


class HaikuLeNet:
    """Parameters, state, and the jitted step and loss."""

    def __init__(self, apply: Any, parameters: Any, state: Any, where: Place, rate: float) -> None:
        import jax

        self.parameters, self.state, self.where = parameters, state, where

        def loss_of(parameters: Any, state: Any, images: Any, labels: Any, training: bool) -> Any:
            found, moved = apply(parameters, state, images, training)
            return -jax.nn.log_softmax(found)[jax.numpy.arange(len(labels)), labels].mean(), moved

        def step(parameters: Any, state: Any, images: Any, labels: Any) -> Any:
            slope = jax.value_and_grad(loss_of, has_aux=True)
            (loss, moved), slopes = slope(parameters, state, images, labels, True)
            return loss, jax.tree.map(lambda held, along: held - rate * along, parameters, slopes), moved

        self._step, self._loss = jax.jit(step), jax.jit(loss_of, static_argnums=4)

    def step(self, images: Array, labels: Array) -> float:
        """One step of SGD; the loss before it."""
        with self.where.enter():
            given = channels_last(images), labels
            loss, self.parameters, self.state = self._step(self.parameters, self.state, *given)
            return float(loss)

    def evaluate(self, images: Array, labels: Array) -> float:
        """The loss with is_training=False."""
        with self.where.enter():
            return float(self._loss(self.parameters, self.state, channels_last(images), labels, False)[0])

    def statistics(self) -> list[tuple[Array, Array]]:
        """The debiased averages of each BatchNorm."""
        pairs = [[self.state[f"{name}/~/{what}_ema"]["average"] for what in ("mean", "var")] for name in NORMS]
        return [(np.array(mean).reshape(-1), np.array(var).reshape(-1)) for mean, var in pairs]


class HaikuNetwork:
    """hk.BatchNorm in a transformed function."""

    deviations: ClassVar[Mapping[str, str]] = Haiku.deviations

    def build(self, weights: Mapping[str, Array], options: Any) -> HaikuLeNet:
        """The network with these weights."""
        import jax
        import jax.numpy as jnp

        where = Place(options.device, options.dtype == "float64")
        with where.enter():
            init, apply = logits(options)
            found, state = init(jax.random.PRNGKey(0), jnp.array(channels_last(options.example)), True)
            names = {**dict.fromkeys(LAYERS, ("w", "b")), **dict.fromkeys(NORMS, ("scale", "offset"))}
            parameters: dict[str, Any] = {}
            for name, (weight, bias) in names.items():
                given = weights[f"{name}.weight"]
                given = weight_last(name, given) if name in LAYERS else given
                held = found[name]
                parameters[name] = {
                    weight: jnp.array(given).reshape(held[weight].shape),
                    bias: jnp.array(weights[f"{name}.bias"]).reshape(held[bias].shape),
                }
        return HaikuLeNet(apply, parameters, state, where, options.rate)
