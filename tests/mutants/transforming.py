"""A right layer under transformations: maps are loops, and Jacobians made row by row or column by column.

It is cut into the pieces that a fault changes. The layers of `layer` know no transformations, so that the other wrong
ones are not asked for them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bnconform.tests.mutants.layer import Array, Entries, Layer


def units(x: Array) -> Iterator[Array]:
    """For each element of x an array of its shape and dtype that is 1 there and 0 elsewhere."""
    return (row.reshape(x.shape) for row in np.eye(x.size, dtype=x.dtype))


class Transforming(Layer):
    """A right layer with `vmap`, `vmap_layers`, `jacrev`, `jacfwd` and `eval_shape`."""

    def vmap(self, xs: Array, *, training: bool) -> Array:
        """The outputs for the batches of xs (L, N, C, *S); the layer stays as it is."""
        return np.stack([self.lane(number, xs, training) for number in range(len(xs))])

    def lane(self, number: int, xs: Array, training: bool) -> Array:
        """The output for one batch."""
        return copy.deepcopy(self).forward(xs[number], training=training)

    def vmap_layers(
        self, xs: Array, states: Sequence[Mapping[str, Array]], *, training: bool
    ) -> tuple[Array, list[Entries]]:
        """The outputs of layers like this one, each loaded with its state, and what each remembers."""
        layers = [copy.deepcopy(self) for _ in states]
        for layer, state in zip(layers, self.operands(states, training), strict=True):
            layer.load(state)
        ys = np.stack([self.member(layers, number, xs, training) for number in range(len(xs))])
        return ys, self.afterwards([layer.state() for layer in layers], training)

    def operands(self, states: Sequence[Mapping[str, Array]], training: bool) -> Sequence[Mapping[str, Array]]:
        """What each layer is loaded with."""
        return states

    def member(self, layers: Sequence[Any], number: int, xs: Array, training: bool) -> Array:
        """The output of one layer, which moves."""
        found: Array = layers[number].forward(xs[number], training=training)
        return found

    def afterwards(self, states: list[Entries], training: bool) -> list[Entries]:
        """What each layer is said to remember."""
        return states

    def jacrev(self, x: Array, *, training: bool) -> Array:
        """dy/dx, (N, C, *S, N, C, *S); the state stays as it is."""
        return np.stack([self.row(x, unit, training) for unit in units(x)]).reshape(x.shape + x.shape)

    def row(self, x: Array, unit: Array, training: bool) -> Array:
        """The gradient for x of one element of y."""
        return self.backward(x, unit, training=training)[0]

    def jacfwd(self, x: Array, *, training: bool) -> Array:
        """dy/dx, (N, C, *S, N, C, *S); the state stays as it is."""
        return np.stack([self.column(x, unit, training) for unit in units(x)], axis=-1).reshape(x.shape + x.shape)

    def column(self, x: Array, unit: Array, training: bool) -> Array:
        """The tangent of y as one element of x moves."""
        with np.errstate(all="ignore"):
            values, moving = self.channels(x), self.channels(unit)
            mean, variance = self.normalizing(values, x, training)
            z = self.normalise(values, mean, variance, training)
            if self.from_batch(training):
                moving = self.flowing(z, moving)
            return self.reshape_like(self.gradient_scale(variance, training)[:, None] * moving, x)

    def flowing(self, z: Array, moving: Array) -> Array:
        """What of a tangent is left after mean and variance have moved, (C, n)."""
        return self.through_statistics(z, moving)

    def eval_shape(self, x: Array, *, training: bool) -> tuple[tuple[int, ...], str]:
        """(shape, dtype) of y."""
        return x.shape, str(x.dtype)
