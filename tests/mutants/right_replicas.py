"""Right over replicas, by other means: what they tell each other, in which order, and what becomes of the layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.layer import Array, Entries, Gradients
from bnconform.tests.mutants.replicas import ReplicatedLayer, Statistics


@right
class ReplicasByTwoPasses(ReplicatedLayer):
    """The sums of all values, and then of all squared deviations, are reduced."""


@right
class ReplicasByMergedMoments(ReplicatedLayer):
    """Each tells its number of values, mean and variance, which are merged two at a time."""

    def statistics(self, shards: list[Array], i: int) -> Statistics:
        """By Chan's formula, empty ones left out."""
        count, kind = 0, self.work.type
        mean = squares = np.zeros(self.config.num_features, self.work)
        for values in shards:
            more = values.shape[1]
            if not more:
                continue
            other = values.mean(axis=1)
            apart = other - mean
            squares = squares + np.square(values - other[:, None]).sum(axis=1)
            squares = squares + np.square(apart) * kind(count * more / (count + more))
            mean = mean + apart * kind(more / (count + more))
            count += more
        return mean, squares / kind(max(count, 1))


@right
class ReplicasByMeanOfMeans(ReplicatedLayer):
    """Each tells its mean and its mean of squares, which are averaged with their numbers of values as weights."""

    def statistics(self, shards: list[Array], i: int) -> Statistics:
        """One-pass, not below 0."""
        mean = self._average(shards, shards)
        square = self._average(shards, [np.square(values) for values in shards])
        return mean, np.maximum(square - np.square(mean), 0)

    def through_all(self, shards: list[Array], zs: list[Array], upstream: list[Array], i: int) -> Array:
        """By averages, too."""
        mean = self._average(shards, upstream)
        product = self._average(shards, [g * z for g, z in zip(upstream, zs, strict=True)])
        return np.asarray(upstream[i] - mean[:, None] - zs[i] * product[:, None])

    def _average(self, shards: list[Array], each: list[Array]) -> Array:
        n, kind = self.total(shards, 0), self.work.type
        means = [part.mean(axis=1) * kind(part.shape[1] / n) for part in each if part.shape[1]]
        return np.asarray(sum(means[1:], means[0]))


@right
class ReplicasInARing(ReplicatedLayer):
    """Each adds up what it hears beginning with its own, so that replicas differ in the last bits."""

    def reduce(self, parts: list[Array], i: int) -> Array:
        """In another order on every replica."""
        turned = [*parts[i:], *parts[:i]]
        return super().reduce(turned, i)


@right
class ReplicasGatherEverything(ReplicatedLayer):
    """Each gathers the values of all, and computes what one layer would."""

    def statistics(self, shards: list[Array], i: int) -> Statistics:
        """Of the one batch."""
        return self.moments(np.concatenate(shards, axis=1))

    def through_all(self, shards: list[Array], zs: list[Array], upstream: list[Array], i: int) -> Array:
        """Of the one batch, of which its part is kept."""
        found = self.through_statistics(np.concatenate(zs, axis=1), np.concatenate(upstream, axis=1))
        before = sum(values.shape[1] for values in shards[:i])
        return np.asarray(found[:, before : before + shards[i].shape[1]])


@right
class ReplicasReduceInDouble(ReplicatedLayer):
    """What replicas tell each other is added up in double."""

    def reduce(self, parts: list[Array], i: int) -> Array:
        """Rounded once at the end."""
        return np.asarray(super().reduce([part.astype(np.float64) for part in parts], i).astype(self.work))


@right
class LayerFollowsItsFirstReplica(ReplicatedLayer):
    """The layer itself remembers what its first replica does."""

    def replicated(self, xs: Sequence[Array], *, training: bool) -> list[tuple[Array, Entries]]:
        """The state moves."""
        found = super().replicated(xs, training=training)
        self.entries = dict(found[0][1])
        return found


@right
class LayerWithoutACounterForReplicas(ReplicatedLayer):
    """Replicas show no counter, as the layer has none of them."""

    def after(self, shards: list[Array], i: int, training: bool) -> Entries:
        """Without it."""
        return {**super().after(shards, i, training), "num_batches_tracked": None}


Method = Callable[..., list[Gradients]]


@right
class ReplicasForwardAlone(ReplicatedLayer):
    """The layer has replicas, and no gradients of them."""

    replicated_vjp: Method = None  # type: ignore[assignment]
