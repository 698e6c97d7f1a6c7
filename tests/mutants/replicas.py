"""A right layer whose batch may be spread over replicas, cut into the pieces that a fault changes.

Inside, as in `layer`, a shard is `values`, (C, n_i), in the arithmetic of the layer. What replicas tell each other is a
list with one array for each, which `reduce` adds up. The layers of `layer` have no replicas, so that the other wrong
ones are not asked for them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from bnconform.tests.mutants.layer import Array, Entries, Gradients, Layer

Statistics = tuple[Array, Array]
"""A mean and a biased variance, each (C,)."""


class ReplicatedLayer(Layer):
    """A right layer with `replicated` and `replicated_vjp`."""

    def replicated(self, xs: Sequence[Array], *, training: bool) -> list[tuple[Array, Entries]]:
        """(y, state) of each replica, all of which begin as this layer is; it stays so itself."""
        with np.errstate(all="ignore"):
            shards = self.read(xs, training)
            outputs = [self.output(shards, i, training) for i in range(len(xs))]
            states = [self.after(shards, i, training) for i in range(len(xs))]
            return [(self.reshape_like(y, x), state) for y, x, state in zip(outputs, xs, states, strict=True)]

    def replicated_vjp(self, xs: Sequence[Array], grad_outputs: Sequence[Array], *, training: bool) -> list[Gradients]:
        """The gradients of the sum over all replicas, as each of them gives them."""
        with np.errstate(all="ignore"):
            shards = self.read(xs, training)
            upstream = [self.channels(g) for g in grad_outputs]
            return [self.gradients_of(shards, upstream, i, xs[i], training) for i in range(len(xs))]

    def read(self, xs: Sequence[Array], training: bool) -> list[Array]:
        """The shards, (C, n_i); ValueError for input that has no answer."""
        for x in xs:
            if x.ndim != self.config.ndim or x.shape[1] != self.config.num_features:
                raise ValueError(f"x has the shape {x.shape}")
        shards = [self.channels(x) for x in xs]
        if self.from_batch(training) and self.total(shards, 0) == 1:
            raise ValueError("one value per channel has no variance")
        return shards

    # -- forward -------------------------------------------------------------------------------------------------

    def output(self, shards: list[Array], i: int, training: bool) -> Array:
        """Y of replica i, (C, n_i)."""
        return self.affine(self.normalise_replica(shards, i, training), training)

    def normalise_replica(self, shards: list[Array], i: int, training: bool) -> Array:
        """Z of replica i, (C, n_i)."""
        mean, variance = self.normalizing_of(shards, i, training)
        return self.normalise(shards[i], mean, variance, training)

    def normalizing_of(self, shards: list[Array], i: int, training: bool) -> Statistics:
        """What normalises replica i."""
        if self.from_batch(training):
            return self.statistics(shards, i)
        return self.entry("running_mean"), self.entry("running_var")

    def statistics(self, shards: list[Array], i: int) -> Statistics:
        """Those of all shards as replica i has them, two-pass."""
        n = self.work.type(self.total(shards, i))
        mean = self.reduce([values.sum(axis=1) for values in shards], i) / n
        squares = self.reduce([np.square(values - mean[:, None]).sum(axis=1) for values in shards], i)
        return mean, squares / n

    def total(self, shards: list[Array], i: int) -> int:
        """How many values a channel there are, as replica i knows."""
        return sum(values.shape[1] for values in shards)

    def reduce(self, parts: list[Array], i: int) -> Array:
        """The sum, (C,), of what each replica tells, as replica i hears it."""
        return np.asarray(sum(parts[1:], parts[0]))

    # -- what a replica remembers ----------------------------------------------------------------------------------

    def after(self, shards: list[Array], i: int, training: bool) -> Entries:
        """The state of replica i afterwards."""
        replica = copy.copy(self)
        replica.entries = dict(self.entries)
        if training and self.tracked:
            replica.move(*self.remember_replica(shards, i))
        return replica.state()

    def remember_replica(self, shards: list[Array], i: int) -> Statistics:
        """The mean and the unbiased variance that replica i remembers."""
        mean, variance = self.statistics(shards, i)
        n = self.bessel_count(shards, i)
        return mean, variance * self.work.type(n / (n - 1))

    def bessel_count(self, shards: list[Array], i: int) -> int:
        """The n of Bessel's factor."""
        return self.total(shards, i)

    def move(self, mean: Array, variance: Array) -> None:
        """Count a batch, and move the running statistics by it."""
        self.count()
        weight = self.batch_weight()
        self.entries["running_mean"] = self.blend(self.entry("running_mean"), mean, weight)
        self.entries["running_var"] = self.blend(self.entry("running_var"), variance, weight)

    # -- backward ------------------------------------------------------------------------------------------------

    def gradients_of(self, shards: list[Array], upstream: list[Array], i: int, x: Array, training: bool) -> Gradients:
        """What replica i gives."""
        zs = [self.normalise_replica(shards, j, training) for j in range(len(shards))]
        _, variance = self.normalizing_of(shards, i, training)
        flowing = upstream[i]
        if self.from_batch(training):
            flowing = self.through_all(shards, zs, upstream, i)
        by_x = self.gradient_scale(variance, training)[:, None] * flowing
        by_weight = self.weight_part(zs, upstream, i).astype(self.kept) if self.config.weight else None
        by_bias = self.bias_part(upstream, i).astype(self.kept) if self.config.bias else None
        return self.reshape_like(by_x, x), by_weight, by_bias

    def through_all(self, shards: list[Array], zs: list[Array], upstream: list[Array], i: int) -> Array:
        """G - mean(g) - z mean(g z) of replica i, the means over all, (C, n_i)."""
        n = self.work.type(self.total(shards, i))
        mean = self.reduce([g.sum(axis=1) for g in upstream], i) / n
        product = self.reduce([(g * z).sum(axis=1) for g, z in zip(upstream, zs, strict=True)], i) / n
        return np.asarray(upstream[i] - mean[:, None] - zs[i] * product[:, None])

    def weight_part(self, zs: list[Array], upstream: list[Array], i: int) -> Array:
        """What replica i gives for the weight, (C,)."""
        return np.asarray((upstream[i] * zs[i]).sum(axis=1))

    def bias_part(self, upstream: list[Array], i: int) -> Array:
        """What replica i gives for the bias, (C,)."""
        return np.asarray(upstream[i].sum(axis=1))
