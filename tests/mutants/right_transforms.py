"""Right under transformations, by other means."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.layer import Array, Entries, Layer
from bnconform.tests.mutants.transforming import Transforming


@right
class MappedByALoop(Transforming):
    """Maps are loops, Jacobians are made row by row and column by column."""


@right
class LanesAsChannels(Transforming):
    """A batching rule: the lanes become channels, L C of them, of one layer that is called once."""

    def vmap(self, xs: Array, *, training: bool) -> Array:
        """As layers that are all in the same state."""
        state = {name: value for name, value in self.state().items() if value is not None}
        return self.vmap_layers(xs, [state] * len(xs), training=training)[0]

    def vmap_layers(
        self, xs: Array, states: Sequence[Mapping[str, Array]], *, training: bool
    ) -> tuple[Array, list[Entries]]:
        """By one pass over (N, L C, *S)."""
        count, channels = len(xs), self.config.num_features
        wide = Layer(replace(self.config, num_features=count * channels))
        each = [{**self.entries, **state} for state in states]
        for name in wide.entries:
            if wide.entries[name] is not None and name != "num_batches_tracked":
                wide.entries[name] = np.concatenate([np.asarray(state[name], self.kept) for state in each])
        ys = np.empty_like(xs)
        after: list[Entries] = []
        joined = np.moveaxis(xs, 0, 1).reshape(xs.shape[1], count * channels, *xs.shape[3:])
        for lane, state in enumerate(each):  # the counter is one for all, so that each lane is read of its own pass
            layer = copy.deepcopy(wide)
            if self.tracked:
                layer.entries["num_batches_tracked"] = np.asarray(state["num_batches_tracked"], np.int64)
            y = layer.forward(joined, training=training)
            part = slice(lane * channels, (lane + 1) * channels)
            ys[lane] = y[:, part]
            after.append({
                name: value if value is None or value.ndim == 0 else value[part]
                for name, value in layer.state().items()
            })  # fmt: skip
        return ys, after


@right
class JacobianInClosedForm(Transforming):
    """A Jacobian is written down at once, of the outer product of the normalised values of each channel."""

    def jacrev(self, x: Array, *, training: bool) -> Array:
        """(c = d) scale (1 - 1/n - z z/n), or (c = d) scale in evaluation."""
        with np.errstate(all="ignore"):
            values = self.channels(x)
            mean, variance = self.normalizing(values, x, training)
            z = self.normalise(values, mean, variance, training)
            size, n = values.shape
            blocks = np.broadcast_to(np.eye(n, dtype=z.dtype), (size, n, n))
            if self.from_batch(training):
                blocks = blocks - (1 + z[:, :, None] * z[:, None, :]) / z.dtype.type(n)
            whole = np.zeros((size, n, size, n), z.dtype)
            index = np.arange(size)
            whole[index, :, index, :] = self.gradient_scale(variance, training)[:, None, None] * blocks
            spread = whole.reshape((size, len(x), *x.shape[2:]) * 2)
            found = np.moveaxis(np.moveaxis(spread, 0, 1), x.ndim, x.ndim + 1)
            return np.array(found, x.dtype, order="C")

    def jacfwd(self, x: Array, *, training: bool) -> Array:
        """The same, as it is symmetric in each channel."""
        return self.jacrev(x, training=training)


@right
class ModesExchanged(Transforming):
    """The Jacobian in reverse mode is made of tangents, and that in forward mode of gradients."""

    def jacrev(self, x: Array, *, training: bool) -> Array:
        """Column by column."""
        return super().jacfwd(x, training=training)

    def jacfwd(self, x: Array, *, training: bool) -> Array:
        """Row by row."""
        return super().jacrev(x, training=training)


@right
class JacobianMovesOnce(Transforming):
    """A Jacobian in training makes one forward pass, which moves the statistics."""

    def jacrev(self, x: Array, *, training: bool) -> Array:
        """With one."""
        self.forward(x, training=training)
        return super().jacrev(x, training=training)

    def jacfwd(self, x: Array, *, training: bool) -> Array:
        """With one."""
        self.forward(x, training=training)
        return super().jacfwd(x, training=training)


@right
class ShapeByACopy(Transforming):
    """The shape of y is that which a copy of the layer gives for the values."""

    def eval_shape(self, x: Array, *, training: bool) -> tuple[tuple[int, ...], str]:
        """By a pass of another layer, which is thrown away."""
        y = copy.deepcopy(self).forward(x, training=training)
        return y.shape, str(y.dtype)
