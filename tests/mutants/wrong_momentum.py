"""Wrong averages: momentum that weighs mean and variance differently, falsy or clipped momenta, wrong counts."""

from __future__ import annotations

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Layer


class _TwoWeights(Layer):
    """Mean and variance are weighed differently; `blend` is called for the mean first."""

    second = False

    def blend(self, old: Array, new: Array, weight: float) -> Array:
        """The mean as it should be, the variance by `variance_weight`."""
        result = super().blend(old, new, self.variance_weight(weight) if self.second else weight)
        self.second = not self.second
        return result

    def variance_weight(self, weight: float) -> float:
        """The weight of the batch in the running variance."""
        return weight


@wrong("BN-RUN-MOMENTUM")
class MomentumReversedInVariance(_TwoWeights):
    """The momentum weighs the batch in the running mean, and the old value in the running variance."""

    def variance_weight(self, weight: float) -> float:
        """The other weight."""
        return 1 - weight


@wrong("BN-RUN-MOMENTUM")
class MomentumForTheMeanAlone(_TwoWeights):
    """The running variance is replaced by each batch's, whatever the momentum."""

    def variance_weight(self, weight: float) -> float:
        """Nothing of the old value is kept."""
        return 1.0


@wrong("BN-RUN-MOMENTUM")
class MomentumSquaredInVariance(_TwoWeights):
    """The momentum is applied twice to the running variance."""

    def variance_weight(self, weight: float) -> float:
        """The square of the momentum."""
        return weight * weight


@wrong("BN-RUN-AVERAGE")
class MomentumDecays(Layer):
    """The momentum shrinks with every batch that has been seen."""

    def batch_weight(self) -> float:
        """The weight, halved with each batch."""
        weight = super().batch_weight()
        return weight if self.config.momentum is None else weight * 0.5 ** (self.batches - 1)


@wrong("BN-RUN-MOMENTUM")
class MomentumZeroTakenForNone(Layer):
    """A momentum of 0 is taken for None, which is as false."""

    def batch_weight(self) -> float:
        """1/k for a momentum of 0 too."""
        return self.config.momentum or 1 / self.batches


@wrong("BN-RUN-MOMENTUM")
class MomentumZeroTakenForDefault(Layer):
    """A momentum of 0 is replaced by 0.1, as if none had been given."""

    def batch_weight(self) -> float:
        """The momentum, or 0.1 where it is false."""
        return 1 / self.batches if self.config.momentum is None else self.config.momentum or 0.1


@wrong("BN-RUN-MOMENTUM")
class MomentumOneIgnored(Layer):
    """With a momentum of 1 the running statistics do not move."""

    def batch_weight(self) -> float:
        """0 for a momentum of 1."""
        return 0.0 if self.config.momentum == 1 else super().batch_weight()


@wrong("BN-RUN-MOMENTUM")
class MomentumKeptAboveOneHundredth(Layer):
    """The momentum is raised to 0.01 where it is smaller."""

    def batch_weight(self) -> float:
        """The momentum, clipped."""
        return max(super().batch_weight(), 0.01)


@wrong("BN-RUN-MOMENTUM")
class MomentumKeptBelowNineTenths(Layer):
    """The momentum is lowered to 0.9 where it is larger, in numbers other than None."""

    def batch_weight(self) -> float:
        """The momentum, clipped."""
        weight = super().batch_weight()
        return weight if self.config.momentum is None else min(weight, 0.9)


@wrong("BN-RUN-NONE")
class CumulativeAverageCountsEvaluations(Layer):
    """With momentum None the weight is 1/k with k counting evaluations too."""

    forwards = 0

    def forward(self, x: Array, *, training: bool) -> Array:
        """Y; every pass is counted."""
        self.forwards += 1
        return super().forward(x, training=training)

    def batch_weight(self) -> float:
        """The momentum, or one over the passes of either mode."""
        return 1 / self.forwards if self.config.momentum is None else self.config.momentum


@wrong("BN-RUN-NONE")
class CumulativeAverageForgetsTheCounter(Layer):
    """With momentum None the weight comes from a count that loading does not set."""

    own = 0

    def batch_weight(self) -> float:
        """The momentum, or one over the layer's own count."""
        self.own += 1
        return 1 / self.own if self.config.momentum is None else self.config.momentum


@wrong("BN-RUN-NONE")
class CumulativeAverageStopsAtThree(Layer):
    """With momentum None the weight is never below a third."""

    def batch_weight(self) -> float:
        """1/k to k = 3."""
        return max(super().batch_weight(), 1 / 3) if self.config.momentum is None else self.config.momentum
