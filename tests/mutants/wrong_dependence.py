"""What should not matter and does: momentum, running statistics, the order of the samples, other channels, scale."""

from __future__ import annotations

import numpy as np

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Layer


@wrong("BN-TRAIN-STATS", "BN-INV-RUNNING")
class VarianceAboutTheRunningMean(Layer):
    """The variance that normalises in training is taken about the running mean."""

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """The mean of the batch, and its mean square distance from the running one."""
        mean, variance = super().normalizing(values, x, training)
        if training and self.tracked:
            variance = np.square(values - self.entry("running_mean")[:, None]).mean(axis=1)
        return mean, variance


@wrong("BN-TRAIN-STATS", "BN-INV-RUNNING")
class TrainingOutputClippedByRunningVariance(Layer):
    """The deviation that normalises in training is kept within twice the running one."""

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """The statistics, the variance clipped at 4 times the running one."""
        mean, variance = super().normalizing(values, x, training)
        if training and self.tracked:
            variance = np.minimum(variance, 4 * self.entry("running_var"))
        return mean, variance


@wrong("BN-INV-MOMENTUM", "BN-TRAIN-STATS")
class MomentumInTheOutput(Layer):
    """In training the statistics that normalise are the running ones blended with the batch's by the momentum."""

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """The batch's statistics at momentum 1, others below."""
        mean, variance = super().normalizing(values, x, training)
        if training and self.tracked and self.config.momentum is not None:
            weight = self.work.type(self.config.momentum)
            mean = (1 - weight) * self.entry("running_mean") + weight * mean
        return mean, variance


@wrong("BN-INV-PERMUTE", "BN-TRAIN-NORM")
class FirstHalfOfTheBatch(Layer):
    """Beyond 4 samples only the first half of the batch is taken into the statistics."""

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """The statistics, of half the samples in training."""
        if training and len(x) > 4:
            values = values[:, : values.shape[1] // 2]
        return super().normalizing(values, x, training)


@wrong("BN-INV-PERMUTE", "BN-TRAIN-NORM")
class LaterSamplesWeighMore(Layer):
    """The mean weighs later samples more than earlier ones."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """A weighted mean, and the mean square distance from it."""
        n = values.shape[1]
        weights = 1 + 0.01 * (np.arange(n, dtype=self.work) - (n - 1) / 2) / max(n, 1)
        mean = np.asarray((values * weights).mean(axis=1), self.work)
        return mean, np.square(values - mean[:, None]).mean(axis=1)


@wrong("BN-INV-CHANNEL", "BN-TRAIN-NORM")
class ChannelsInPairs(Layer):
    """Two neighbouring channels share their statistics, as in group normalization."""

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """The statistics, of pairs of channels in training."""
        mean, variance = super().normalizing(values, x, training)
        if not training:
            return mean, variance
        for first in range(0, len(mean) - 1, 2):
            pair = slice(first, first + 2)
            centre = mean[pair].mean()
            variance[pair] = (variance[pair] + np.square(mean[pair] - centre)).mean()
            mean[pair] = centre
        return mean, variance


@wrong("BN-INV-SCALE", "BN-INV-SHIFT", "BN-TRAIN-NORM")
class OutlyingValuesClipped(Layer):
    """Values beyond 3 are clipped before the statistics are taken."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The statistics of clipped values."""
        return super().moments(np.clip(values, -3, 3))


@wrong("BN-TRAIN-NORM")
class NormalisedValueClipped(Layer):
    """The normalised value is clipped to [-1.25, 1.25]."""

    def normalise(self, values: Array, mean: Array, variance: Array, training: bool) -> Array:
        """Z, clipped in training."""
        z = super().normalise(values, mean, variance, training)
        return np.clip(z, -1.25, 1.25) if training else z


@wrong("BN-INV-FLATTEN", "BN-RANK", "BN-TRAIN-NORM")
class UnbiasedNormalisationAtRank5(Layer):
    """At rank 5 alone the unbiased variance normalises."""

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """The statistics, the variance corrected at rank 5."""
        mean, variance = super().normalizing(values, x, training)
        n = values.shape[1]
        return mean, variance * self.work.type(n / (n - 1)) if training and x.ndim == 5 else variance


@wrong("BN-RUN-SEQUENCE", "BN-EVAL-STATS")
class StatisticsCachedForEvaluation(Layer):
    """The first evaluation after a load keeps its factor for those that follow, training between or not."""

    cached: Array | None = None

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """1 / sqrt(variance + eps), that of the first evaluation in later ones."""
        factor = super().inverse_std(variance, training)
        if training or not self.tracked:
            return factor
        if self.cached is None:
            self.cached = factor
        return self.cached


@wrong("BN-EVAL-STATS", "BN-EVAL-NO-UPDATE")
class UpdatedBeforeEvaluation(Layer):
    """In evaluation the running statistics are moved first, and then normalise."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """Y, after an update in evaluation too."""
        if not training and self.tracked and x.size > x.shape[1]:
            self.remember(self.channels(x), x)
        return super().forward(x, training=training)


@wrong("BN-INV-CHANNEL", "BN-RUN-VAR")
class RunningVarianceOfNeighbour(Layer):
    """A channel's running variance takes a little of the next channel's."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and a variance mixed with that of the neighbour."""
        mean, variance = super().memory_of(values)
        return mean, 0.99 * variance + self.work.type(0.01) * np.roll(variance, 1)


@wrong("BN-TRAIN-NORM")
class NegativeInputScaled(Layer):
    """In training y is a hundredth too large where every value of x is negative."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """The output, scaled where x has one sign."""
        y = super().forward(x, training=training)
        return (y * y.dtype.type(1.01)).astype(x.dtype) if training and x.size and (x < 0).all() else y
