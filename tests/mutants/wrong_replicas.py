"""Wrong over replicas: what they tell each other, how it is weighed, what each remembers, and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Entries
from bnconform.tests.mutants.replicas import ReplicatedLayer, Statistics

# -- whose statistics -------------------------------------------------------------------------------------------------


@wrong("BN-REP-OUTPUT", "BN-REP-VARIANCE", "BN-REP-MEMORY")
class VariancesOfReplicasAveraged(ReplicatedLayer):
    """The variance is the mean of the replicas' own, and lacks what their means differ by."""

    def statistics(self, shards: list[Array], i: int) -> Statistics:
        """Each around its own mean."""
        mean, _ = super().statistics(shards, i)
        own = [np.square(values - values.mean(axis=1, keepdims=True)).sum(axis=1) for values in shards]
        return mean, self.reduce(own, i) / self.work.type(self.total(shards, i))


@wrong("BN-REP-OUTPUT")
class OnlyTheMeanIsShared(ReplicatedLayer):
    """The mean is that of all replicas, the variance each one's own around it."""

    def normalizing_of(self, shards: list[Array], i: int, training: bool) -> Statistics:
        """Of one's own deviations."""
        mean, variance = super().normalizing_of(shards, i, training)
        if self.from_batch(training) and shards[i].shape[1]:
            variance = np.square(shards[i] - mean[:, None]).mean(axis=1)
        return mean, variance


@wrong("BN-REP-OUTPUT")
class OnlyTheVarianceIsShared(ReplicatedLayer):
    """The variance is that of all replicas, the mean each one's own."""

    def normalizing_of(self, shards: list[Array], i: int, training: bool) -> Statistics:
        """Around one's own mean."""
        mean, variance = super().normalizing_of(shards, i, training)
        if self.from_batch(training) and shards[i].shape[1]:
            mean = shards[i].mean(axis=1)
        return mean, variance


@wrong("BN-REP-OUTPUT")
class LastReplicaIsNotHeard(ReplicatedLayer):
    """What the last replica tells is left out of every sum, but its values are counted."""

    def reduce(self, parts: list[Array], i: int) -> Array:
        """Without the last, where there are several."""
        return super().reduce(parts[:-1] or parts, i)


@wrong("BN-REP-OUTPUT")
class ReduceInHalfPrecision(ReplicatedLayer):
    """What replicas tell each other is rounded to half precision on the way."""

    def reduce(self, parts: list[Array], i: int) -> Array:
        """Each part rounded."""
        return super().reduce([part.astype(np.float16).astype(self.work) for part in parts], i)


@wrong("BN-REP-OUTPUT", thread="pytorch#36865")
class ReplicaWithOneValueRefused(ReplicatedLayer):
    """A replica with one value a channel is refused, though the batch has more."""

    def read(self, xs: Sequence[Array], training: bool) -> list[Array]:
        """Each shard is checked by itself."""
        if training and any(x.size == x.shape[1] for x in xs):
            raise ValueError("Expected more than 1 value per channel when training")
        return super().read(xs, training)


@wrong("BN-REP-OUTPUT")
class StatisticsOfTheFirstReplica(ReplicatedLayer):
    """All replicas normalise by the statistics of the first."""

    def statistics(self, shards: list[Array], i: int) -> Statistics:
        """Broadcast, not reduced."""
        return self.moments(shards[0])


# -- how unequal ones weigh -------------------------------------------------------------------------------------------


@wrong("BN-REP-UNEQUAL", "BN-REP-SIZES")
class EveryReplicaTakenToBeAsLargeAsTheFirst(ReplicatedLayer):
    """The number of all values is taken to be that of the first replica, times their number."""

    def total(self, shards: list[Array], i: int) -> int:
        """Never exchanged."""
        return max(int(shards[0].shape[1]), 1) * len(shards)


@wrong("BN-REP-UNEQUAL", "BN-REP-SIZES", thread="pytorch#22192")
class OthersTakenToBeAsLargeAsOneself(ReplicatedLayer):
    """Each replica takes the others to have as many values as itself."""

    def total(self, shards: list[Array], i: int) -> int:
        """Never exchanged."""
        return max(int(shards[i].shape[1]), 1) * len(shards)


@wrong("BN-REP-SIZES")
class ReplicasWeighBySamples(ReplicatedLayer):
    """The means of replicas weigh by their numbers of samples, whatever their numbers of positions."""

    samples: tuple[int, ...] = ()

    def read(self, xs: Sequence[Array], training: bool) -> list[Array]:
        """Keep the numbers of samples."""
        self.samples = tuple(map(len, xs))
        return super().read(xs, training)

    def statistics(self, shards: list[Array], i: int) -> Statistics:
        """By samples."""
        weights = [self.work.type(count / sum(self.samples)) for count in self.samples]
        mean = self._weigh(shards, weights)
        return mean, self._weigh([np.square(values - mean[:, None]) for values in shards], weights)

    def _weigh(self, each: list[Array], weights: list[Any]) -> Array:
        return np.asarray(
            sum(part.mean(axis=1) * weight for part, weight in zip(each, weights, strict=True) if part.shape[1])
        )


# -- an empty replica -------------------------------------------------------------------------------------------------


@wrong("BN-REP-EMPTY")
class EmptyReplicaTellsNoNumber(ReplicatedLayer):
    """The mean of an empty replica, NaN, enters the weighed mean with a weight of 0."""

    def statistics(self, shards: list[Array], i: int) -> Statistics:
        """0 times NaN is NaN."""
        mean, variance = super().statistics(shards, i)
        empty = np.zeros((self.config.num_features, 0), self.work)
        if any(not values.shape[1] for values in shards):
            mean = mean + self.work.type(0) * empty.sum(axis=1) / self.work.type(0)
        return mean, variance


@wrong("BN-REP-EMPTY")
class EmptyReplicaRemembersNothing(ReplicatedLayer):
    """A replica with an empty shard leaves its running statistics as they are."""

    def after(self, shards: list[Array], i: int, training: bool) -> Entries:
        """As before."""
        return super().after(shards, i, training and bool(shards[i].shape[1]))


@wrong("BN-REP-EMPTY", thread="pytorch#36530")
class EmptyReplicaRefused(ReplicatedLayer):
    """A replica that is given nothing raises."""

    def read(self, xs: Sequence[Array], training: bool) -> list[Array]:
        """Every shard must have a sample."""
        if not all(map(len, xs)):
            raise ValueError("a batch must not be empty")
        return super().read(xs, training)


@wrong("BN-REP-EMPTY")
class EmptyReplicaCountsForOne(ReplicatedLayer):
    """The number of values of an empty replica is taken to be 1, so that nothing is divided by 0."""

    def total(self, shards: list[Array], i: int) -> int:
        """At least one each."""
        return sum(max(values.shape[1], 1) for values in shards)


# -- what is remembered -----------------------------------------------------------------------------------------------


@wrong("BN-REP-MEMORY")
class EveryReplicaCounted(ReplicatedLayer):
    """The counter moves by the number of replicas."""

    def after(self, shards: list[Array], i: int, training: bool) -> Entries:
        """One batch for each."""
        found = super().after(shards, i, training)
        if training and found["num_batches_tracked"] is not None:
            found["num_batches_tracked"] = found["num_batches_tracked"] + len(shards) - 1
        return found


@wrong("BN-REP-MEMORY", "BN-REP-VARIANCE")
class StatisticsMoveOnceForEachReplica(ReplicatedLayer):
    """The running statistics are moved by the same batch as often as there are replicas."""

    def after(self, shards: list[Array], i: int, training: bool) -> Entries:
        """Several updates, one counted."""
        found, before = super().after(shards, i, training), self.entries
        if training and self.tracked:
            for _ in shards[1:]:
                self.entries = {**found, "num_batches_tracked": before["num_batches_tracked"]}
                found = super().after(shards, i, training)
            self.entries = before
        return found


@wrong("BN-REP-MEMORY")
class OnlyTheFirstReplicaRemembers(ReplicatedLayer):
    """Replicas but the first leave their running statistics as they are."""

    def after(self, shards: list[Array], i: int, training: bool) -> Entries:
        """As before."""
        return super().after(shards, i, training and i == 0)


@wrong("BN-REP-VARIANCE")
class UnbiasedByTheNumberOfReplicas(ReplicatedLayer):
    """The remembered variance is divided by n less the number of replicas, one for each mean."""

    def remember_replica(self, shards: list[Array], i: int) -> Statistics:
        """N / (n - R)."""
        mean, variance = self.statistics(shards, i)
        n = self.total(shards, i)
        return mean, variance * self.work.type(n / max(n - len(shards), 1))


@wrong("BN-REP-VARIANCE")
class BesselCountsReplicas(ReplicatedLayer):
    """Bessel's factor is R / (R - 1), of the number of replicas."""

    def bessel_count(self, shards: list[Array], i: int) -> int:
        """As if each told one value."""
        return max(len(shards), 2)


# -- gradients --------------------------------------------------------------------------------------------------------


@wrong("BN-REP-GRAD")
class BackwardWithinTheReplica(ReplicatedLayer):
    """The backward pass takes means of its own shard, where the statistics were of all."""

    def through_all(self, shards: list[Array], zs: list[Array], upstream: list[Array], i: int) -> Array:
        """As if there were no others."""
        return self.through_statistics(zs[i], upstream[i])


@wrong("BN-REP-GRAD")
class BackwardSumsNotDividedByAll(ReplicatedLayer):
    """The sums of all replicas in the backward pass are divided by one's own number of values."""

    def through_all(self, shards: list[Array], zs: list[Array], upstream: list[Array], i: int) -> Array:
        """R times too large."""
        found = super().through_all(shards, zs, upstream, i)
        ratio = self.work.type(self.total(shards, i) / max(shards[i].shape[1], 1))
        return np.asarray(upstream[i] - (upstream[i] - found) * ratio)


@wrong("BN-REP-GRAD")
class OnlyTheMeanOfGradientsIsReduced(ReplicatedLayer):
    """In the backward pass the mean of g is that of all replicas, the mean of g z one's own."""

    def through_all(self, shards: list[Array], zs: list[Array], upstream: list[Array], i: int) -> Array:
        """Half of it is exchanged."""
        n = self.work.type(self.total(shards, i))
        mean = self.reduce([g.sum(axis=1) for g in upstream], i) / n
        product = (upstream[i] * zs[i]).mean(axis=1, keepdims=True)
        return np.asarray(upstream[i] - mean[:, None] - zs[i] * product)


@wrong("BN-REP-GRAD-UNEQUAL", thread="pytorch#36382")
class BackwardWeighsReplicasEqually(ReplicatedLayer):
    """The means of the backward pass are means over replicas of each one's, as its forward pass' are not."""

    def through_all(self, shards: list[Array], zs: list[Array], upstream: list[Array], i: int) -> Array:
        """Right for equal shards."""
        count = self.work.type(len(shards))
        mean = self.reduce([g.mean(axis=1) for g in upstream], i) / count
        product = self.reduce([(g * z).mean(axis=1) for g, z in zip(upstream, zs, strict=True)], i) / count
        return np.asarray(upstream[i] - mean[:, None] - zs[i] * product[:, None])


@wrong("BN-REP-GRAD-PARAMETERS")
class WeightGradientOfOwnStatistics(ReplicatedLayer):
    """The gradient for the weight has the shard normalised by itself in it."""

    def weight_part(self, zs: list[Array], upstream: list[Array], i: int) -> Array:
        """Normalised once more."""
        z = zs[i]
        own = (z - z.mean(axis=1, keepdims=True)) / z.std(axis=1, keepdims=True)
        return np.asarray((upstream[i] * own).sum(axis=1))


@wrong("BN-REP-GRAD-PARAMETERS")
class BiasGradientReducedAlone(ReplicatedLayer):
    """The gradient for the bias is reduced over replicas, that for the weight is not."""

    def bias_part(self, upstream: list[Array], i: int) -> Array:
        """The sum of all."""
        return self.reduce([g.sum(axis=1) for g in upstream], i)


@wrong("BN-REP-GRAD-PARAMETERS")
class PartsDividedByTheReplicas(ReplicatedLayer):
    """Each replica divides its part by the number of replicas, which add up to the mean of what is due."""

    def weight_part(self, zs: list[Array], upstream: list[Array], i: int) -> Array:
        """Over R."""
        return super().weight_part(zs, upstream, i) / self.work.type(len(zs))

    def bias_part(self, upstream: list[Array], i: int) -> Array:
        """Over R."""
        return super().bias_part(upstream, i) / self.work.type(len(upstream))


# -- evaluation -------------------------------------------------------------------------------------------------------


@wrong("BN-REP-EVAL")
class EvaluationHearsTheOthers(ReplicatedLayer):
    """In evaluation what others are given is reduced and weighed by 0, so that their NaN comes through."""

    def output(self, shards: list[Array], i: int, training: bool) -> Array:
        """Plus 0 times the sum of all."""
        found = super().output(shards, i, training)
        if self.from_batch(training):
            return found
        everything = self.reduce([values.sum(axis=1) for values in shards], i)
        return np.asarray(found + self.work.type(0) * everything[:, None])


@wrong("BN-REP-EVAL")
class EvaluationMovesTheReplicas(ReplicatedLayer):
    """Replicas remember what they are given in evaluation, too."""

    def after(self, shards: list[Array], i: int, training: bool) -> Entries:
        """As in training."""
        return super().after(shards, i, True)


@wrong("BN-REP-EVAL")
class EvaluationBySharedStatistics(ReplicatedLayer):
    """Replicas normalise by the batch of all in evaluation."""

    def normalizing_of(self, shards: list[Array], i: int, training: bool) -> Statistics:
        """As in training."""
        return self.statistics(shards, i)
