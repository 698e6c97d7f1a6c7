"""A right layer whose replicas are given masks, cut into the pieces that a fault changes.

Inside, as in `layer`, a shard is `values`, (C, n_i), in the arithmetic of the layer, and what its mask selects is
`seen`, (C, n_i) of truth values. What replicas tell each other is a list with one array for each, which `reduce` adds
up. The layers of `layer`, `masks` and `replicas` have no replicas with masks, so that the other wrong ones are not
asked for them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from bnconform.tests.mutants.layer import Array, Entries, Gradients, Layer

Statistics = tuple[Array, Array]
"""A mean and a biased variance, each (C,)."""


class MaskedReplicas(Layer):
    """A right layer with `masked_replicated` and `masked_replicated_vjp`."""

    def masked_replicated(
        self, xs: Sequence[Array], masks: Sequence[Array], *, training: bool
    ) -> list[tuple[Array, Entries]]:
        """(y, state) of each replica, all of which begin as this layer is; it stays so itself."""
        with np.errstate(all="ignore"):
            shards, seen = self.read(xs, masks)
            found = []
            for i, x in enumerate(xs):
                z = self.normalise_replica(shards, seen, i, training)
                y = self.reshape_like(self.affine(z, training), x)
                found.append((y, self.after(shards, seen, i, training)))
            return found

    def masked_replicated_vjp(
        self, xs: Sequence[Array], masks: Sequence[Array], grad_outputs: Sequence[Array], *, training: bool
    ) -> list[Gradients]:
        """The gradients of the sum over all replicas, as each of them gives them."""
        with np.errstate(all="ignore"):
            shards, seen = self.read(xs, masks)
            upstream = [self.channels(g) for g in grad_outputs]
            zs = [self.normalise_replica(shards, seen, j, training) for j in range(len(shards))]
            return [self.gradients_of(shards, seen, zs, upstream, i, xs[i], training) for i in range(len(xs))]

    def read(self, xs: Sequence[Array], masks: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        """The shards, and what is selected of each."""
        whole = [np.broadcast_to(mask != 0, x.shape) for x, mask in zip(xs, masks, strict=True)]
        seen = [np.moveaxis(one, 1, 0).reshape(one.shape[1], -1) for one in whole]
        return [self.channels(x) for x in xs], seen

    # -- forward -------------------------------------------------------------------------------------------------

    def normalise_replica(self, shards: list[Array], seen: list[Array], i: int, training: bool) -> Array:
        """Z of replica i, (C, n_i)."""
        mean, variance = self.normalizing_of(shards, seen, i, training)
        return self.normalise(shards[i], mean, variance, training)

    def normalizing_of(self, shards: list[Array], seen: list[Array], i: int, training: bool) -> Statistics:
        """What normalises replica i."""
        if self.from_batch(training):
            return self.statistics(shards, seen, i)
        return self.entry("running_mean"), self.entry("running_var")

    def statistics(self, shards: list[Array], seen: list[Array], i: int) -> Statistics:
        """Those of all that is selected, as replica i has them, two-pass."""
        n = self.work.type(self.total(seen, i))
        mean = self.reduce([self.choose(*each).sum(axis=1) for each in zip(shards, seen, strict=True)]) / n
        squares = [np.square(values - mean[:, None]) for values in shards]
        return mean, self.reduce([self.choose(*each).sum(axis=1) for each in zip(squares, seen, strict=True)]) / n

    def choose(self, values: Array, seen: Array) -> Array:
        """The values, 0 where they are hidden."""
        return np.where(seen, values, 0)

    def total(self, seen: list[Array], i: int) -> int:
        """How many values a channel are selected, as replica i knows."""
        return sum(int(one[0].sum()) for one in seen)

    def reduce(self, parts: list[Array]) -> Array:
        """The sum, (C,), of what each replica tells."""
        return np.asarray(sum(parts[1:], parts[0]))

    # -- what a replica remembers ----------------------------------------------------------------------------------

    def after(self, shards: list[Array], seen: list[Array], i: int, training: bool) -> Entries:
        """The state of replica i afterwards."""
        replica = copy.copy(self)
        replica.entries = dict(self.entries)
        if training and self.tracked:
            mean, variance = self.remember_replica(shards, seen, i)
            n = self.bessel_count(seen, i)
            replica.count()
            weight = replica.batch_weight()
            variance = variance * self.work.type(n / max(n - 1, 1))
            for name, new in (("running_mean", mean), ("running_var", variance)):
                replica.entries[name] = replica.blend(replica.entry(name), new, weight)
        return replica.state()

    def remember_replica(self, shards: list[Array], seen: list[Array], i: int) -> Statistics:
        """The mean and the biased variance that replica i remembers."""
        return self.statistics(shards, seen, i)

    def bessel_count(self, seen: list[Array], i: int) -> int:
        """The n of Bessel's factor."""
        return self.total(seen, i)

    # -- backward ------------------------------------------------------------------------------------------------

    def gradients_of(
        self,
        shards: list[Array],
        seen: list[Array],
        zs: list[Array],
        upstream: list[Array],
        i: int,
        x: Array,
        training: bool,
    ) -> Gradients:
        """What replica i gives."""
        _, variance = self.normalizing_of(shards, seen, i, training)
        flowing = upstream[i]
        if self.from_batch(training):
            flowing = self.through_all(seen, zs, upstream, i)
        by_x = self.gradient_scale(variance, training)[:, None] * flowing
        by_weight = (upstream[i] * zs[i]).sum(axis=1).astype(self.kept) if self.config.weight else None
        by_bias = upstream[i].sum(axis=1).astype(self.kept) if self.config.bias else None
        return self.reshape_like(by_x, x), by_weight, by_bias

    def through_all(self, seen: list[Array], zs: list[Array], upstream: list[Array], i: int) -> Array:
        """G less, where something is selected, (sum(g) + z sum(g z)) / n of replica i, the sums over all, (C, n_i)."""
        mean = self.reduce([g.sum(axis=1) for g in upstream])
        product = self.reduce([(g * z).sum(axis=1) for g, z in zip(upstream, zs, strict=True)])
        through = (mean[:, None] + zs[i] * product[:, None]) / self.work.type(self.divisor(seen, i))
        return np.asarray(upstream[i] - np.where(seen[i], through, 0))

    def divisor(self, seen: list[Array], i: int) -> float:
        """What the sums are divided by in the gradient for replica i."""
        return self.total(seen, i)
