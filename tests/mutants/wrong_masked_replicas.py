"""Wrong over replicas with masks: whose masks, which numbers, what each remembers, and gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Entries
from bnconform.tests.mutants.masked_replicas import MaskedReplicas, Statistics

# -- whose masks ------------------------------------------------------------------------------------------------------


@wrong("BN-MASK-REP-STATS", "BN-MASK-REP-RUN")
class MasksOfOthersNotExchanged(MaskedReplicas):
    """A replica knows its own mask, and takes the values of the others whole."""

    def statistics(self, shards: list[Array], seen: list[Array], i: int) -> Statistics:
        """With the masks of others left out."""
        return super().statistics(shards, [one if j == i else np.ones_like(one) for j, one in enumerate(seen)], i)


@wrong("BN-MASK-REP-STATS")
class MaskOfTheFirstReplica(MaskedReplicas):
    """The mask of the first replica stands for those of all, as where it is no part of what is mapped."""

    def read(self, xs: Sequence[Array], masks: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        """The first for each."""
        return super().read(xs, [masks[0]] * len(masks))


@wrong("BN-MASK-REP-STATS", "BN-MASK-REP-RUN")
class MaskedSumsDividedByShardSizes(MaskedReplicas):
    """The sums of what is selected are divided by the number of all values of all shards."""

    def total(self, seen: list[Array], i: int) -> int:
        """Selected or not."""
        return sum(one.shape[1] for one in seen)


@wrong("BN-MASK-REP-STATS", "BN-MASK-REP-RUN")
class MaskedReplicasByThemselves(MaskedReplicas):
    """With a mask each replica normalises by its own selected values, as if it were alone."""

    def statistics(self, shards: list[Array], seen: list[Array], i: int) -> Statistics:
        """Nothing is exchanged."""
        return super().statistics([shards[i]], [seen[i]], 0)


# -- what is remembered -----------------------------------------------------------------------------------------------


@wrong("BN-MASK-REP-RUN")
class RemembersItsOwnSelection(MaskedReplicas):
    """Each replica remembers what its own mask selects, though what all select normalises."""

    def remember_replica(self, shards: list[Array], seen: list[Array], i: int) -> Statistics:
        """One's own."""
        return super().statistics([shards[i]], [seen[i]], 0)


@wrong("BN-MASK-REP-RUN")
class MaskedReplicasCorrectByAllValues(MaskedReplicas):
    """Bessel's factor of the remembered variance counts all values of all shards, selected or not."""

    def bessel_count(self, seen: list[Array], i: int) -> int:
        """Too many."""
        return sum(one.shape[1] for one in seen)


# -- what is hidden, and of whom nothing is selected ------------------------------------------------------------------


@wrong("BN-MASK-REP-HIDDEN")
class MaskMultipliedBeforeTheReduce(MaskedReplicas):
    """Shards are multiplied with their masks before their sums are exchanged: NaN times 0 is NaN everywhere."""

    def choose(self, values: Array, seen: Array) -> Array:
        """Products."""
        return values * seen.astype(self.work)


@wrong("BN-MASK-REP-UNEQUAL", "BN-MASK-REP-NONE", "BN-MASK-REP-GRAD-UNEQUAL", thread="flax#2417")
class MeansOfSelectionsAveraged(MaskedReplicas):
    """The statistics are means over replicas of each one's means of what is selected, whatever their numbers."""

    def statistics(self, shards: list[Array], seen: list[Array], i: int) -> Statistics:
        """NaN where one has nothing."""
        mean = self._average(shards, seen)
        return mean, self._average([np.square(values - mean[:, None]) for values in shards], seen)

    def _average(self, each: list[Array], seen: list[Array]) -> Array:
        means = [np.where(one, values, 0).sum(axis=1) / one.sum(axis=1) for values, one in zip(each, seen, strict=True)]
        return self.reduce([mean.astype(self.work) for mean in means]) / self.work.type(len(each))


@wrong("BN-MASK-REP-UNEQUAL")
class OthersTakenToSelectAsMany(MaskedReplicas):
    """Each replica takes the others to have selected as many values as itself, and never less than one."""

    def total(self, seen: list[Array], i: int) -> int:
        """Never exchanged."""
        return max(int(seen[i][0].sum()), 1) * len(seen)


@wrong("BN-MASK-REP-NONE")
class MeanOfNothingWeighsNothing(MaskedReplicas):
    """The mean of a replica of which nothing is selected, NaN, enters the weighed mean with a weight of 0."""

    def statistics(self, shards: list[Array], seen: list[Array], i: int) -> Statistics:
        """0 times NaN is NaN."""
        mean, variance = super().statistics(shards, seen, i)
        if any(not one.any() for one in seen):
            mean = mean + self.work.type(0) * self.work.type(np.nan)
        return mean, variance


@wrong("BN-MASK-REP-NONE")
class ReplicaThatSelectsNothingRemembersNothing(MaskedReplicas):
    """A replica of which nothing is selected leaves its running statistics as they are."""

    def after(self, shards: list[Array], seen: list[Array], i: int, training: bool) -> Entries:
        """As before."""
        return super().after(shards, seen, i, training and bool(seen[i].any()))


@wrong("BN-MASK-REP-NONE", "BN-MASK-REP-GRAD-UNEQUAL")
class ReplicaThatSelectsNothingRefused(MaskedReplicas):
    """A replica whose mask selects nothing raises, though the batch has other values."""

    def read(self, xs: Sequence[Array], masks: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        """Every mask must select something."""
        if not all(mask.any() for mask in masks):
            raise ValueError("a mask must select something")
        return super().read(xs, masks)


# -- gradients --------------------------------------------------------------------------------------------------------


@wrong("BN-MASK-REP-GRAD")
class MaskedBackwardWithinTheReplica(MaskedReplicas):
    """The backward pass takes sums of its own shard, where the statistics were of all."""

    def through_all(self, seen: list[Array], zs: list[Array], upstream: list[Array], i: int) -> Array:
        """As if there were no others."""
        return super().through_all([seen[i]], [zs[i]], [upstream[i]], 0)


@wrong("BN-MASK-REP-GRAD")
class MaskedBackwardDividesByAllValues(MaskedReplicas):
    """The sums of the backward pass are divided by the number of all values, selected or not."""

    def divisor(self, seen: list[Array], i: int) -> float:
        """Too many."""
        return float(sum(one.shape[1] for one in seen))


@wrong("BN-MASK-REP-GRAD")
class HiddenValuesOfReplicasHaveTheTerms(MaskedReplicas):
    """What is hidden has the terms of mean and variance in its gradient, of which it is no part."""

    def through_all(self, seen: list[Array], zs: list[Array], upstream: list[Array], i: int) -> Array:
        """Everywhere in one's own shard, the numbers being right."""
        through = upstream[i] - super().through_all([np.ones_like(one) for one in seen], zs, upstream, i)
        return np.asarray(upstream[i] - through * self.work.type(sum(map(np.size, seen)) / sum(map(np.sum, seen))))


@wrong("BN-MASK-REP-GRAD-UNEQUAL")
class MaskedBackwardTakesOthersForAsMany(MaskedReplicas):
    """The sums of the backward pass are divided by one's own number of selected values, times the replicas."""

    def divisor(self, seen: list[Array], i: int) -> float:
        """Right for equal numbers."""
        return len(seen) * max(int(seen[i][0].sum()), 1)
