"""Right over replicas with masks, by other means."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.layer import Array, Gradients
from bnconform.tests.mutants.masked_replicas import MaskedReplicas, Statistics


@right
class MaskedReplicasByTwoPasses(MaskedReplicas):
    """The sums of what is selected, and then of its squared deviations, are reduced."""


@right
class MaskedReplicasGatherTheSelected(MaskedReplicas):
    """Each gathers what is selected of all shards into one array, and computes what one layer would."""

    def statistics(self, shards: list[Array], seen: list[Array], i: int) -> Statistics:
        """Of the one batch, channel by channel."""
        values, chosen = np.concatenate(shards, axis=1), np.concatenate(seen, axis=1)
        return self.moments(np.stack([row[one] for row, one in zip(values, chosen, strict=True)]))


@right
class MaskedReplicasByMergedMoments(MaskedReplicas):
    """Each tells how many values it selects, with their mean and variance, which are merged two at a time."""

    def statistics(self, shards: list[Array], seen: list[Array], i: int) -> Statistics:
        """By Chan's formula, those that select nothing left out."""
        count, kind = 0, self.work.type
        mean = squares = np.zeros(self.config.num_features, self.work)
        for values, one in zip(shards, seen, strict=True):
            more = int(one[0].sum())
            if not more:
                continue
            other = np.where(one, values, 0).sum(axis=1) / kind(more)
            apart = other - mean
            squares = squares + np.where(one, np.square(values - other[:, None]), 0).sum(axis=1)
            squares = squares + np.square(apart) * kind(count * more / (count + more))
            mean = mean + apart * kind(more / (count + more))
            count += more
        return mean, squares / kind(max(count, 1))


@right
class MaskedReplicasByWeighedMeans(MaskedReplicas):
    """Each tells its mean and its mean of squares, which are averaged by how many values each selects."""

    def statistics(self, shards: list[Array], seen: list[Array], i: int) -> Statistics:
        """One-pass, not below 0."""
        mean = self._average(shards, seen)
        square = self._average([np.square(values) for values in shards], seen)
        return mean, np.maximum(square - np.square(mean), 0)

    def _average(self, each: list[Array], seen: list[Array]) -> Array:
        n, kind = self.total(seen, 0), self.work.type
        parts = []
        for values, one in zip(each, seen, strict=True):
            own = int(one[0].sum())
            parts.append(np.where(one, values, 0).sum(axis=1) / kind(max(own, 1)) * kind(own / n))
        return self.reduce(parts)


Method = Callable[..., list[Gradients]]


@right
class MaskedReplicasForwardAlone(MaskedReplicas):
    """The layer has replicas with masks, and no gradients of them."""

    masked_replicated_vjp: Method = None  # type: ignore[assignment]
