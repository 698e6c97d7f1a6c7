"""Wrong gradients beside a right forward pass: terms left out, other divisors, and faults that most inputs hide."""

from __future__ import annotations

import numpy as np

from bnconform.spec.formats import numpy_dtype
from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Layer


class _Statistics(Layer):
    """Keeps what the gradient for x needs beyond z and the upstream gradient."""

    variance: Array

    def input_gradient(self, values: Array, z: Array, upstream: Array, variance: Array, training: bool) -> Array:
        """The gradient for x; the variance is kept for the pieces."""
        self.variance = variance
        return super().input_gradient(values, z, upstream, variance, training)


@wrong("BN-GRAD-INPUT", "BN-GRAD-WEIGHT", thread="FlagGems#5222")
class InverseDeviationInvertedAgain(Layer):
    """The backward pass takes the saved inverse deviation for a variance: right only where that is near 1."""

    saved = False

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients with 1 / sqrt(1 / sqrt(variance + eps) + eps)."""
        self.saved = training
        result = super().backward(x, grad_output, training=training)
        self.saved = False
        return result

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """1 / sqrt(variance + eps), taken of itself in the backward pass."""
        factor = super().inverse_std(variance, training)
        return super().inverse_std(factor, training) if self.saved else factor


@wrong("BN-GRAD-INPUT")
class InputGradientForUnitVariance(_Statistics):
    """The path through the variance is divided by the variance once more, which shows unless that is 1."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g) - z mean(g z) / variance."""
        mean = upstream.mean(axis=1, keepdims=True)
        return np.asarray(upstream - mean - z * (upstream * z).mean(axis=1, keepdims=True) / self.variance[:, None])


@wrong("BN-GRAD-INPUT")
class InputGradientForConstantUpstream(Layer):
    """The gradient for x in training is 0, which is right where the upstream gradient is constant."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """Nothing."""
        return upstream * 0


@wrong("BN-GRAD-INPUT")
class InputGradientForOneUpstreamMean(Layer):
    """Every upstream gradient is replaced by the mean of its sample, as if positions had none of their own."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients for an upstream gradient that is averaged over positions in training."""
        axes = tuple(range(2, x.ndim))
        if training and axes:
            mean = grad_output.astype(self.work).mean(axis=axes, keepdims=True)
            grad_output = np.broadcast_to(mean, x.shape).astype(grad_output.dtype)
        return super().backward(x, grad_output, training=training)


@wrong("BN-GRAD-INPUT")
class InputGradientWithoutEpsilon(Layer):
    """The factor of the gradient for x leaves epsilon out, in training alone."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        """Weight / sqrt(variance)."""
        if not training:
            return super().gradient_scale(variance, training)
        factor = np.asarray(1 / np.sqrt(variance))
        return self.entry("weight") * factor if self.config.weight else factor


@wrong("BN-GRAD-INPUT")
class VariancePathWithoutEpsilon(_Statistics):
    """The path through the variance divides by the variance where it should by variance + eps."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g) - z mean(g z) (variance + eps) / variance."""
        excess = (self.variance + self.work.type(self.config.eps)) / self.variance
        mean = upstream.mean(axis=1, keepdims=True)
        return np.asarray(upstream - mean - z * (upstream * z).mean(axis=1, keepdims=True) * excess[:, None])


@wrong("BN-GRAD-INPUT")
class InputGradientDividedByOneLess(Layer):
    """The sums of the gradient for x are divided by n - 1, as if the unbiased variance normalised."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g) - z sum(g z) / (n - 1)."""
        mean = upstream.mean(axis=1, keepdims=True)
        divisor = self.work.type(max(upstream.shape[1] - 1, 1))
        return np.asarray(upstream - mean - z * (upstream * z).sum(axis=1, keepdims=True) / divisor)


@wrong("BN-GRAD-INPUT", "BN-GRAD-SUM")
class UpstreamMeanWithBessel(Layer):
    """The mean of the upstream gradient is divided by n - 1."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - sum(g) / (n - 1) - z mean(g z)."""
        divisor = self.work.type(max(upstream.shape[1] - 1, 1))
        return np.asarray(
            upstream - upstream.sum(axis=1, keepdims=True) / divisor - z * (upstream * z).mean(axis=1, keepdims=True)
        )


class _ByShape(Layer):
    """Keeps the shape of x for the pieces."""

    shape: tuple[int, ...]

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients; the shape is kept for the pieces."""
        self.shape = x.shape
        return super().backward(x, grad_output, training=training)


@wrong("BN-GRAD-INPUT")
class VariancePathDividedBySamples(_ByShape):
    """The sum of g z is divided by the number of samples, positions forgotten."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g) - z sum(g z) / N."""
        mean = upstream.mean(axis=1, keepdims=True)
        return np.asarray(upstream - mean - z * (upstream * z).sum(axis=1, keepdims=True) / self.shape[0])


@wrong("BN-GRAD-INPUT")
class VariancePathPerSample(_ByShape):
    """The mean of g z is taken in each sample by itself."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g) - z mean(g z), the last mean over the positions of a sample."""
        product = (upstream * z).reshape(len(z), self.shape[0], -1).mean(axis=2, keepdims=True)
        mean = upstream.mean(axis=1, keepdims=True)
        positions = upstream.shape[1] // self.shape[0]
        return np.asarray(upstream - mean - z * np.repeat(product, positions, axis=2).reshape(z.shape))


@wrong("BN-GRAD-INPUT")
class VariancePathAcrossChannels(Layer):
    """The mean of g z is taken over all channels together."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g) - z mean(g z), the last mean over everything."""
        return np.asarray(upstream - upstream.mean(axis=1, keepdims=True) - z * (upstream * z).mean())


@wrong("BN-GRAD-INPUT", "BN-GRAD-SUM")
class UpstreamMeanKeptForOddBatches(_ByShape):
    """The mean of the upstream gradient is not subtracted where the number of samples is odd."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g) - z mean(g z), the second term for an even batch alone."""
        result = super().through_statistics(z, upstream)
        return result + upstream.mean(axis=1, keepdims=True) if self.shape[0] % 2 else result


@wrong("BN-GRAD-INPUT")
class VariancePathWithTheOtherSign(Layer):
    """The path through the variance is added instead of subtracted."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g) + z mean(g z)."""
        mean = upstream.mean(axis=1, keepdims=True)
        return np.asarray(upstream - mean + z * (upstream * z).mean(axis=1, keepdims=True))


@wrong("BN-GRAD-INPUT")
class MeanPathUnweighted(Layer):
    """The mean that is subtracted is that of g, not of weight times g."""

    def input_gradient(self, values: Array, z: Array, upstream: Array, variance: Array, training: bool) -> Array:
        """The gradient for x with that mean."""
        result = super().input_gradient(values, z, upstream, variance, training)
        if not (training and self.config.weight):
            return result
        mean = upstream.mean(axis=1, keepdims=True) * self.inverse_std(variance, training)[:, None]
        return np.asarray(result + (self.entry("weight")[:, None] - 1) * mean)


@wrong("BN-GRAD-EVAL-INPUT")
class EvaluationGradientWithoutWeight(Layer):
    """The gradient for x leaves the weight out, in evaluation alone."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        """1 / sqrt(running variance + eps) in evaluation."""
        return super().gradient_scale(variance, training) if training else self.inverse_std(variance, training)


@wrong("BN-GRAD-EVAL-INPUT", thread="NNlib.jl#548")
class EvaluationGradientZeroAtHighRanks(Layer):
    """The evaluation gradient for x is 0 at ranks 4 and 5."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        """Weight / sqrt(running variance + eps) at ranks 2 and 3."""
        scale = super().gradient_scale(variance, training)
        return scale if training or self.config.ndim < 4 else scale * 0


@wrong("BN-GRAD-EVAL-INPUT")
class EvaluationGradientByInitialStatistics(Layer):
    """The evaluation gradient for x takes the running variance to be 1."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        """Weight / sqrt(1 + eps) in evaluation."""
        return super().gradient_scale(variance if training else variance * 0 + 1, training)


@wrong("BN-GRAD-WEIGHT")
class WeightGradientFromOutput(Layer):
    """The gradient for the weight sums g y, with weight and bias in y, where g z is due."""

    def weight_gradient(self, values: Array, z: Array, upstream: Array, training: bool) -> Array:
        """The sum of g times the output."""
        return super().weight_gradient(values, self.affine(z, training), upstream, training)


@wrong("BN-GRAD-WEIGHT")
class WeightGradientCentredOnly(Layer):
    """The gradient for the weight sums g (x - mean), not divided by the standard deviation."""

    def weight_gradient(self, values: Array, z: Array, upstream: Array, training: bool) -> Array:
        """The sum of g (x - mean)."""
        centre = self.moments(values)[0] if self.from_batch(training) else self.entry("running_mean")
        return np.asarray((upstream * (values - centre[:, None])).sum(axis=1))


@wrong("BN-GRAD-WEIGHT")
class WeightGradientByBatchInEvaluation(Layer):
    """The gradient for the weight is taken with the batch's statistics in evaluation too."""

    def weight_gradient(self, values: Array, z: Array, upstream: Array, training: bool) -> Array:
        """The sum of g z with z of the batch."""
        mean, variance = self.moments(values)
        return super().weight_gradient(values, self.normalise(values, mean, variance, True), upstream, training)


@wrong("BN-GRAD-BIAS")
class BiasGradientOverBatchOnly(_ByShape):
    """The gradient for the bias is summed over the batch and averaged over positions."""

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        """The sum of g over the number of positions."""
        positions = max(upstream.shape[1] // max(self.shape[0], 1), 1)
        return np.asarray(super().bias_gradient(upstream, training) / self.work.type(positions))


@wrong("BN-GRAD-BIAS")
class BiasGradientOfFirstPosition(_ByShape):
    """The gradient for the bias is summed over the batch at the first position alone."""

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        """The sum of g over the samples' first positions."""
        positions = max(upstream.shape[1] // max(self.shape[0], 1), 1)
        return np.asarray(upstream[:, ::positions].sum(axis=1))


@wrong("BN-GRAD-BIAS", "BN-GRAD-WEIGHT")
class ParameterGradientsMissingInEvaluation(Layer):
    """Weight and bias have gradients of 0 in evaluation, as if they were frozen with the statistics."""

    def weight_gradient(self, values: Array, z: Array, upstream: Array, training: bool) -> Array:
        """The sum of g z in training."""
        return super().weight_gradient(values, z, upstream, training) * training

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        """The sum of g in training."""
        return super().bias_gradient(upstream, training) * training


@wrong("BN-GRAD-UPSTREAM", "BN-STATE-REPEAT")
class GradientsAccumulate(Layer):
    """The gradients for weight and bias add up from one backward call to the next."""

    earlier: tuple[Array, Array] | None = None

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients, with those of all earlier calls."""
        grad_x, grad_weight, grad_bias = super().backward(x, grad_output, training=training)
        if grad_weight is None or grad_bias is None:
            return grad_x, grad_weight, grad_bias
        if self.earlier is not None:
            grad_weight, grad_bias = grad_weight + self.earlier[0], grad_bias + self.earlier[1]
        self.earlier = grad_weight, grad_bias
        return grad_x, grad_weight.copy(), grad_bias.copy()


@wrong("BN-GRAD-UPSTREAM")
class SecondBackwardFromStaleSums(Layer):
    """The second backward call of a layer takes the sums of g z of the first."""

    first: Array | None = None

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g) - z mean(g z), the last mean that of the first call."""
        if self.first is None:
            self.first = (upstream * z).mean(axis=1, keepdims=True)
        return np.asarray(upstream - upstream.mean(axis=1, keepdims=True) - z * self.first)


@wrong("BN-STATE-REPEAT", "BN-GRAD-UPSTREAM")
class SecondBackwardDetached(Layer):
    """From the second backward call of a layer on, the gradient for x leaves the statistics out."""

    calls = 0

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g) - z mean(g z) once, then g."""
        self.calls += 1
        return upstream if self.calls > 1 else super().through_statistics(z, upstream)


@wrong("BN-GRAD-AFFINE")
class UntrackedEvaluationDetached(Layer):
    """Without running statistics the evaluation gradient for x leaves the batch's statistics out."""

    def input_gradient(self, values: Array, z: Array, upstream: Array, variance: Array, training: bool) -> Array:
        """The gradient for x, through the statistics in training alone."""
        if training or self.tracked:
            return super().input_gradient(values, z, upstream, variance, training)
        return np.asarray(self.gradient_scale(variance, training)[:, None] * upstream)


@wrong("BN-GRAD-INPUT", "BN-GRAD-EVAL-INPUT")
class GradientByAbsoluteWeight(Layer):
    """The gradient for x carries the weight without its sign."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        """|weight| / sqrt(variance + eps)."""
        factor = self.inverse_std(variance, training)
        return np.abs(self.entry("weight")) * factor if self.config.weight else factor


@wrong("BN-GRAD-AFFINE")
class GradientWrongWithoutAffine(Layer):
    """Without weight and bias the gradient for x leaves out the path through the variance."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g), and - z mean(g z) where there is a weight."""
        if self.has_parameters:
            return super().through_statistics(z, upstream)
        return np.asarray(upstream - upstream.mean(axis=1, keepdims=True))


@wrong("BN-GRAD-INPUT", "BN-GRAD-EVAL-INPUT")
class InputGradientClipped(Layer):
    """The gradient for x is clipped to [-1, 1]."""

    def input_gradient(self, values: Array, z: Array, upstream: Array, variance: Array, training: bool) -> Array:
        """The gradient for x, clipped."""
        return np.clip(super().input_gradient(values, z, upstream, variance, training), -1, 1)


@wrong("BN-GRAD-EVAL-INPUT", "BN-GRAD-INPUT")
class UpstreamGradientClipped(Layer):
    """An upstream gradient beyond 3 is clipped."""

    def input_gradient(self, values: Array, z: Array, upstream: Array, variance: Array, training: bool) -> Array:
        """The gradient for x of a clipped upstream gradient."""
        return super().input_gradient(values, z, np.clip(upstream, -3, 3), variance, training)


@wrong("BN-GRAD-INPUT")
class SmallVarianceGradientDropped(_Statistics):
    """The path through the statistics is left out where the variance is below 1e-2."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g) - z mean(g z) unless the variance is small."""
        result = super().through_statistics(z, upstream)
        return np.where((self.variance < 1e-2)[:, None], upstream, result)


@wrong("BN-GRAD-UPSTREAM")
class ConstantUpstreamShortCut(Layer):
    """A constant upstream gradient in a channel gives it a gradient of 0 for the bias too."""

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        """The sum of g unless it is constant in training."""
        constant = np.ptp(upstream, axis=1) == 0 if training and upstream.size else np.zeros(len(upstream), bool)
        return np.where(constant, 0, super().bias_gradient(upstream, training))


@wrong("BN-GRAD-INPUT", "BN-GRAD-SUM")
class LastValueLeftOut(Layer):
    """The sums of the gradient for x leave out the last value where n is odd."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g) - z mean(g z), the sums over an even number of values."""
        n = upstream.shape[1]
        part = slice(0, n - n % 2 if n > 1 else n)
        mean = upstream[:, part].sum(axis=1, keepdims=True) / n
        projected = (upstream * z)[:, part].sum(axis=1, keepdims=True) / n
        return np.asarray(upstream - mean - z * projected)


@wrong("BN-EDGE-WEIGHT-ZERO")
class ZeroWeightDetachesEveryChannel(Layer):
    """Where one channel has weight 0 the path through the statistics is left out in all."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g) - z mean(g z) unless some weight is 0."""
        if self.config.weight and (self.entry("weight") == 0).any():
            return upstream
        return super().through_statistics(z, upstream)


@wrong("BN-GRAD-INPUT")
class StatisticsDetachedAtMomentumZero(Layer):
    """With momentum 0, which moves no running statistics, the batch's are taken for constants."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g) - z mean(g z) at any other momentum."""
        return upstream if self.config.momentum == 0 else super().through_statistics(z, upstream)


@wrong("BN-GRAD-INPUT")
class StatisticsDetachedAtMomentumNone(Layer):
    """With momentum None the batch's statistics are taken for constants."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """G - mean(g) - z mean(g z) with a momentum."""
        return upstream if self.config.momentum is None else super().through_statistics(z, upstream)


@wrong("BN-GRAD-UPSTREAM")
class BiasGradientKeptByAddress(Layer):
    """The sum for the bias is kept by the upstream gradient's address, so that a refilled one gives the old sum."""

    kept_sum: tuple[Array, Array | None] | None = None

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients; that for the bias as it was when this array came first."""
        grad_x, by_weight, by_bias = super().backward(x, grad_output, training=training)
        if self.kept_sum is None or self.kept_sum[0] is not grad_output:
            self.kept_sum = grad_output, by_bias
        found = self.kept_sum[1]
        return grad_x, by_weight, None if found is None else found.copy()


@wrong("BN-EDGE-SIZE", dtypes=("float32", "float64"))
class LastBlockTwice(Layer):
    """Where n is a multiple of 512, and more, the last block is summed twice into the gradient for the bias."""

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        """The sum over n; of a last whole block twice."""
        found = super().bias_gradient(upstream, training)
        count = upstream.shape[1]
        return found + upstream[:, -512:].sum(axis=1) if count > 512 and count % 512 == 0 else found


@wrong("BN-DTYPE-HALF-SINGLE", dtypes=("bfloat16",))
class MatrixBiasGradientInBfloat16(Layer):
    """Of matrices in bfloat16 the gradient for the bias is summed in bfloat16, one value after the other."""

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        """The sum over n, rounded after each value where x is a matrix."""
        if self.config.ndim > 2 or not upstream.shape[1]:
            return super().bias_gradient(upstream, training)
        narrow = numpy_dtype("bfloat16")
        return np.cumsum(upstream.astype(narrow), axis=1, dtype=narrow)[:, -1].astype(upstream.dtype)
