"""A right layer with masks, cut into the pieces that a fault changes.

Inside, as in `layer`, values, z and upstream gradients are (C, n) in the arithmetic of the layer, what a mask selects
is `select`, (C, n) of truth values, and statistics are (C,). The layers of `layer` have no masks, so that the other
wrong ones are not asked for them.
"""

from __future__ import annotations

import numpy as np

from bnconform.tests.mutants.layer import Array, Gradients, Layer


class Masked(Layer):
    """A right layer with `masked` and `masked_backward`."""

    def masked(self, x: Array, mask: Array, *, training: bool) -> Array:
        """y, as x in shape and dtype; in training the running statistics move by what is selected."""
        with np.errstate(all="ignore"):
            self.check_shapes(x)
            values, seen = self.channels(x), self.select(x, mask)
            centre, variance = self.normalizing_under_mask(values, seen, training)
            if training and self.tracked and not self.frozen:
                self.remember_selected(values, seen)
            y = self.affine(self.normalise(values, centre, variance, training), training)
            return self.reshape_like(self.show(y, values, seen, training), x)

    def masked_backward(self, x: Array, mask: Array, grad_output: Array, *, training: bool) -> Gradients:
        """(grad_x, grad_weight, grad_bias); the state stays as it is."""
        with np.errstate(all="ignore"):
            self.check_shapes(x)
            seen, upstream = self.select(x, mask), self.channels(grad_output)
            values = self.with_part(self.channels(x), seen, upstream)
            centre, variance = self.normalizing_under_mask(values, seen, training)
            z = self.normalise(values, centre, variance, training)
            flowing = self.through_selected(z, seen, upstream) if self.from_batch(training) else upstream
            grad_x = self.reshape_like(self.gradient_scale(variance, training)[:, None] * flowing, x)
            by_weight = by_bias = None
            if self.config.weight:
                by_weight = self.weight_gradient_under_mask(z, seen, upstream).astype(self.kept)
            if self.config.bias:
                by_bias = self.bias_gradient_under_mask(seen, upstream).astype(self.kept)
            return grad_x, by_weight, by_bias

    def check_shapes(self, x: Array) -> None:
        """Refuse another rank, and another number of channels."""
        if x.ndim != self.config.ndim or x.shape[1] != self.config.num_features:
            raise ValueError(f"x has shape {x.shape}; this layer takes rank {self.config.ndim}")

    def select(self, x: Array, mask: Array) -> Array:
        """What the mask selects, (C, n)."""
        whole = np.broadcast_to(mask != 0, x.shape)
        return np.moveaxis(whole, 1, 0).reshape(x.shape[1], -1)

    def normalizing_under_mask(self, values: Array, seen: Array, training: bool) -> tuple[Array, Array]:
        """The mean and variance, each (C,), that normalise."""
        if self.from_batch(training):
            return self.moments_under_mask(values, seen)
        return self.entry("running_mean"), self.entry("running_var")

    def moments_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """The mean and the biased variance of what is selected, each (C,), two-pass."""
        n = self.count_of(seen)
        mean = np.where(seen, values, 0).sum(axis=1) / n
        return mean, np.square(np.where(seen, values - mean[:, None], 0)).sum(axis=1) / n

    def count_of(self, seen: Array) -> Array:
        """How many values are selected of each channel, (C,), at least 1."""
        return np.asarray(np.maximum(seen.sum(axis=1), 1), self.work)

    def remember_selected(self, values: Array, seen: Array) -> None:
        """Count the batch, and move the running statistics of the channels of which something is selected."""
        self.count()
        mean, variance = self.memory_under_mask(values, seen)
        weight = self.batch_weight()
        some = self.moving(seen)
        for name, new in (("running_mean", mean), ("running_var", variance)):
            old = self.entry(name)
            self.entries[name] = np.where(some, self.blend(old, new, weight), old).astype(self.kept)

    def moving(self, seen: Array) -> Array:
        """The channels whose statistics move, (C,)."""
        return np.asarray(seen.any(axis=1))

    def memory_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """What is remembered: the mean and the unbiased variance of what is selected, each (C,); 0 of one value."""
        mean, variance = self.moments_under_mask(values, seen)
        n = self.count_of(seen)
        return mean, variance * (n / np.maximum(n - 1, 1))

    def show(self, y: Array, values: Array, seen: Array, training: bool) -> Array:
        """The output, (C, n), of what is normalised."""
        return y

    def with_part(self, values: Array, seen: Array, upstream: Array) -> Array:
        """The values, 0 where they are hidden and no gradient comes from."""
        return np.where(~seen & (upstream == 0), 0, values)

    def through_selected(self, z: Array, seen: Array, upstream: Array) -> Array:
        """G less, where something is selected, (sum(g) + z sum(g z)) / n, (C, n)."""
        n = self.count_of(seen)[:, None]
        through = upstream.sum(axis=1, keepdims=True) + z * (upstream * z).sum(axis=1, keepdims=True)
        return np.asarray(upstream - np.where(seen, through / n, 0))

    def weight_gradient_under_mask(self, z: Array, seen: Array, upstream: Array) -> Array:
        """The sum of g z, (C,)."""
        return np.asarray((upstream * z).sum(axis=1))

    def bias_gradient_under_mask(self, seen: Array, upstream: Array) -> Array:
        """The sum of g, (C,)."""
        return np.asarray(upstream.sum(axis=1))
