"""Wrong in the numbers alone: unstable variances, sums that lose digits, roots and products that are nearly right."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Layer


def nearly(values: Array) -> Array:
    """The values with a relative error of 3e-6 in single precision (25 times its spacing), 1e-12 in double."""
    return np.asarray(values * values.dtype.type(1 + (3e-6 if values.dtype == np.float32 else 1e-12)))


def in_turn(values: Array) -> Array:
    """The sum over the last axis by one accumulator in the values' own dtype, each number added in its turn."""
    return np.asarray(np.add.accumulate(values, axis=-1)[..., -1])


@wrong("BN-NUM-STABLE", "BN-NUM-STABLE-GRAD", thread="objax#182")
class OnePassVariance(Layer):
    """The variance is mean(x**2) - mean(x)**2, clipped at 0."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the one-pass variance."""
        mean = values.mean(axis=1)
        return mean, np.maximum(np.square(values).mean(axis=1) - np.square(mean), 0)


@wrong("BN-NUM-FINITE", "BN-NUM-STABLE", thread="tt-metal#45968")
class OnePassVarianceBelowZero(Layer):
    """The variance is mean(x**2) - mean(x)**2 and may come out negative, whose root is no number."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the one-pass variance with nothing to keep it from below 0."""
        mean = values.mean(axis=1)
        return mean, np.square(values).mean(axis=1) - np.square(mean)


@wrong("BN-NUM-STABLE")
class OnePassVarianceShiftedByAStaleMean(Layer):
    """The one-pass variance is taken of x minus the running mean, which is far from the batch's."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the variance of the shifted values in one pass."""
        stale = self.entry("running_mean") if self.tracked else np.zeros(len(values), self.work)
        shifted = values - stale[:, None]
        mean = shifted.mean(axis=1)
        return mean + stale, np.maximum(np.square(shifted).mean(axis=1) - np.square(mean), 0)


@wrong("BN-NUM-STABLE")
class OnePassVarianceRemembered(Layer):
    """The running variance is of mean(x**2) - mean(x)**2; what normalises is not."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the unbiased one-pass variance."""
        mean, n = values.mean(axis=1), values.shape[1]
        variance = np.maximum(np.square(values).mean(axis=1) - np.square(mean), 0)
        return mean, np.asarray(variance * self.work.type(n / (n - 1)))


@wrong("BN-NUM-STABLE-GRAD")
class GradientsByOnePassVariance(Layer):
    """The gradients take a variance of their own, mean(x**2) - mean(x)**2."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        """Weight / sqrt(one-pass variance + eps) in training."""
        if training:
            variance = self.raw_variance
        return super().gradient_scale(variance, training)

    def input_gradient(self, values: Array, z: Array, upstream: Array, variance: Array, training: bool) -> Array:
        """The gradient for x with that variance."""
        self.raw_variance = np.maximum(np.square(values).mean(axis=1) - np.square(values.mean(axis=1)), 0)
        return super().input_gradient(values, z, upstream, variance, training)


@wrong("BN-NUM-LARGE-N", dtypes=("float32",))
class MeanByOneAccumulator(Layer):
    """The mean is one running sum over all values, whose error grows with their number."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The sum of the values in their turn, over n."""
        mean = in_turn(values) / self.work.type(values.shape[1])
        return mean, np.square(values - mean[:, None]).mean(axis=1)


@wrong("BN-NUM-LARGE-N", dtypes=("float32",))
class MeanByCountingUp(Layer):
    """The mean is moved by (x - mean) / k for each value in its turn, whose rounding adds up."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The mean, updated value by value."""
        mean = np.zeros(len(values), self.work)
        for k, column in enumerate(values.T, start=1):
            mean = mean + (column - mean) / self.work.type(k)
        return mean, np.square(values - mean[:, None]).mean(axis=1)


@wrong("BN-NUM-LARGE-N", dtypes=("float32",))
class SquaresByOneAccumulator(Layer):
    """The squares of the deviations are added in one running sum."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the squares in their turn."""
        mean = values.mean(axis=1)
        return mean, in_turn(np.square(values - mean[:, None])) / self.work.type(values.shape[1])


@wrong("BN-NUM-LARGE-N", dtypes=("float32",))
class BiasGradientByOneAccumulator(Layer):
    """The gradient for the bias is one running sum, whose error grows with the number of values."""

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        """The sum of g, one after the other."""
        return in_turn(upstream)


@wrong("BN-TRAIN-NORM", "BN-EVAL-STATS")
class FastInverseSquareRoot(Layer):
    """The reciprocal square root is an approximation, off by 3e-6 in single precision."""

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """1 / sqrt(variance + eps), nearly."""
        return nearly(super().inverse_std(variance, training))


@wrong("BN-TRAIN-NORM")
class TrainingOutputNearlyRight(Layer):
    """The training output is off by 3e-6 of itself."""

    def affine(self, z: Array, training: bool) -> Array:
        """Weight times z plus bias, off in training."""
        y = super().affine(z, training)
        return nearly(y) if training else y


@wrong("BN-EVAL-STATS")
class EvaluationOutputNearlyRight(Layer):
    """The evaluation output is off by 3e-6 of itself."""

    def affine(self, z: Array, training: bool) -> Array:
        """Weight times z plus bias, off in evaluation."""
        y = super().affine(z, training)
        return y if training else nearly(y)


@wrong("BN-RUN-MEAN")
class RunningMeanNearlyRight(Layer):
    """The mean that is remembered is off by 3e-6 of itself."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, nearly, and the unbiased variance."""
        mean, variance = super().memory_of(values)
        return nearly(mean), variance


@wrong("BN-RUN-VAR")
class RunningVarianceNearlyRight(Layer):
    """The variance that is remembered is off by 3e-6 of itself."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the unbiased variance, nearly."""
        mean, variance = super().memory_of(values)
        return mean, nearly(variance)


@wrong("BN-GRAD-INPUT")
class InputGradientNearlyRight(Layer):
    """The training gradient for x is off by 3e-6 of itself."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """The part through the statistics, off as a whole."""
        return nearly(super().through_statistics(z, upstream))


@wrong("BN-GRAD-EVAL-INPUT")
class EvaluationInputGradientNearlyRight(Layer):
    """The evaluation gradient for x is off by 3e-6 of itself."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        """Weight / sqrt(variance + eps), off in evaluation."""
        scale = super().gradient_scale(variance, training)
        return scale if training else nearly(scale)


@wrong("BN-GRAD-WEIGHT")
class WeightGradientNearlyRight(Layer):
    """The gradient for the weight is off by 3e-6 of itself."""

    def weight_gradient(self, values: Array, z: Array, upstream: Array, training: bool) -> Array:
        """The sum of g z, nearly."""
        return nearly(super().weight_gradient(values, z, upstream, training))


@wrong("BN-GRAD-BIAS")
class BiasGradientNearlyRight(Layer):
    """The gradient for the bias is off by 3e-6 of itself."""

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        """The sum of g, nearly."""
        return nearly(super().bias_gradient(upstream, training))


@wrong("BN-STATE-REPEAT", "BN-EVAL-STATS")
class NoiseFromCallToCall(Layer):
    """The evaluation output differs from one call to the next by a few millionths."""

    calls = 0

    def affine(self, z: Array, training: bool) -> Array:
        """Weight times z plus bias, nearly, at every other evaluation."""
        y = super().affine(z, training)
        self.calls += not training
        return nearly(y) if self.calls % 2 and not training else y


def truncate(values: Array, bits: int) -> Array:
    """The values with the last bits of their significands cut off."""
    whole: Any = {4: np.int32, 8: np.int64}[values.itemsize]
    return np.asarray((np.ascontiguousarray(values).view(whole) & whole(-1 << bits)).view(values.dtype))


class _Truncating(Layer):
    @property
    def cut(self) -> int:
        """The bits that are left out: 13 of float32 leave the 10 of TF32, 29 of float64 leave those of float32."""
        return 13 if self.work == np.float32 else 29


@wrong("BN-DTYPE-PRECISION", "BN-TRAIN-NORM", "BN-EVAL-AFFINE")
class AffineProductTruncated(_Truncating):
    """The operands of weight times z are cut to fewer bits, as in TF32, before they are multiplied."""

    def affine(self, z: Array, training: bool) -> Array:
        """The product of truncated operands, plus the bias."""
        if not self.config.weight:
            return super().affine(z, training)
        weight = truncate(self.entry("weight"), self.cut)
        return self.shift(np.asarray(weight[:, None] * truncate(z, self.cut)))


@wrong("BN-DTYPE-PRECISION", "BN-GRAD-WEIGHT")
class WeightGradientProductTruncated(_Truncating):
    """The operands of g z are cut to fewer bits, as in TF32, before they are multiplied."""

    def weight_gradient(self, values: Array, z: Array, upstream: Array, training: bool) -> Array:
        """The sum of products of truncated operands."""
        return super().weight_gradient(values, truncate(z, self.cut), truncate(upstream, self.cut), training)


@wrong("BN-DTYPE-PRECISION", "BN-RUN-VAR")
class SquaresTruncated(_Truncating):
    """The deviations are cut to fewer bits, as in TF32, before they are squared."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the mean square of truncated deviations."""
        mean = values.mean(axis=1)
        return mean, np.square(truncate(values - mean[:, None], self.cut)).mean(axis=1)
