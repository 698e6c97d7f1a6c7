"""Wrong at the edges: NaN and infinity, constant channels, zero weights, extreme values, nothing and one value."""

from __future__ import annotations

import numpy as np

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Layer

Gradients = tuple[Array, Array | None, Array | None]

# -- NaN and infinity --------------------------------------------------------------------------------------------------


@wrong("BN-EDGE-NAN")
class NanSpreadsToOtherChannels(Layer):
    """A NaN in one channel makes the output of every channel NaN."""

    def affine(self, z: Array, training: bool) -> Array:
        """Plus nothing, computed over all channels."""
        return np.asarray(super().affine(z, training) + z.sum() * 0)


@wrong("BN-EDGE-NAN", thread="Flux.jl#2071")
class NanBecomesZero(Layer):
    """What is no number comes out as 0."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """Zero in place of NaN."""
        y = super().forward(x, training=training)
        return np.where(np.isnan(y), y.dtype.type(0), y)


@wrong("BN-EDGE-NAN")
class NanLeftOutOfTheStatistics(Layer):
    """The statistics of a batch are those of its numbers, and a NaN among them does not show."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """Zero in place of NaN, before anything is computed."""
        return super().moments(np.where(np.isnan(values), values.dtype.type(0), values))


@wrong("BN-EDGE-NAN")
class NanNotRemembered(Layer):
    """A batch whose mean is no number leaves the running statistics of its channel as they were."""

    def blend(self, old: Array, new: Array, weight: float) -> Array:
        """The old value in place of NaN."""
        return super().blend(old, np.where(np.isnan(new), old, new), weight)


@wrong("BN-EDGE-NAN")
class NanHiddenInTheGradient(Layer):
    """The gradient for x is 0 where it is no number."""

    def input_gradient(self, values: Array, z: Array, upstream: Array, variance: Array, training: bool) -> Array:
        """Zero in place of NaN."""
        found = super().input_gradient(values, z, upstream, variance, training)
        return np.where(np.isnan(found), found.dtype.type(0), found)


@wrong("BN-EDGE-NAN")
class NanSpreadsInTheBiasGradient(Layer):
    """A NaN in one channel of the upstream gradient makes the bias gradient of every channel NaN."""

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        """Plus nothing, computed over all channels."""
        return np.asarray(super().bias_gradient(upstream, training) + upstream.sum() * 0)


@wrong("BN-EDGE-NAN")
class InfinityClipped(Layer):
    """An infinite output becomes the largest number of its format."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """Clipped at the ends of the format."""
        y = super().forward(x, training=training)
        largest = y.dtype.type(np.finfo(y.dtype).max)
        return np.where(np.isinf(y), np.copysign(largest, y), y)


@wrong("BN-EDGE-NAN")
class MinusInfinityReadAsZero(Layer):
    """Minus infinity in x is read as 0; plus infinity and NaN are read as they are."""

    def channels(self, x: Array) -> Array:
        """Zero in place of minus infinity."""
        values = super().channels(x)
        return np.where(np.isneginf(values), values.dtype.type(0), values)


@wrong("BN-EDGE-NAN")
class NanInLoadedStatisticsIgnored(Layer):
    """In evaluation a running variance that is no number counts as 1."""

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """One in place of NaN."""
        mean, variance = super().normalizing(values, x, training)
        if self.from_batch(training):
            return mean, variance
        return mean, np.where(np.isnan(variance), variance.dtype.type(1), variance)


# -- constant channels and weights -------------------------------------------------------------------------------------


@wrong("BN-EDGE-CONSTANT")
class ConstantChannelGivesNan(Layer):
    """A channel without variance is divided by 0."""

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """Without epsilon where the variance is 0."""
        return np.where(variance == 0, variance.dtype.type(np.inf), super().inverse_std(variance, training))


@wrong("BN-EDGE-CONSTANT")
class ConstantChannelGivesZero(Layer):
    """A channel without variance comes out as 0 in place of the bias."""

    def affine(self, z: Array, training: bool) -> Array:
        """No bias where all is 0."""
        y = super().affine(z, training)
        return np.where(training & ~z.any(axis=1, keepdims=True), y.dtype.type(0), y)


@wrong("BN-EDGE-CONSTANT")
class ConstantChannelHasNoGradient(Layer):
    """A channel without variance has no gradient for x."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        """Zero where the variance is 0."""
        scale = super().gradient_scale(variance, training)
        return np.where(variance == 0, scale.dtype.type(0), scale)


@wrong("BN-EDGE-CONSTANT")
class ConstantChannelOfLargeValueSpoilt(Layer):
    """The running variance of a constant channel of large value becomes infinite."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """Divided by the variance on the way."""
        mean, variance = super().memory_of(values)
        return mean, np.where((variance == 0) & (mean > 50), variance.dtype.type(np.inf), variance)


@wrong("BN-EDGE-WEIGHT-ZERO")
class NormalisedValueFromTheOutput(Layer):
    """The weight's gradient recovers z from y by dividing by the weight, which may be 0."""

    def weight_gradient(self, values: Array, z: Array, upstream: Array, training: bool) -> Array:
        """Through y and back; no number for a weight of 0."""
        y = self.affine(z, training)
        recovered = (y - self.entry("bias")[:, None]) / self.entry("weight")[:, None]
        zero = self.entry("weight") == 0
        right = super().weight_gradient(values, z, upstream, training)
        return np.where(zero, (upstream * recovered).sum(axis=1), right)


@wrong("BN-EDGE-WEIGHT-ZERO", "BN-TRAIN-AFFINE")
class ZeroWeightTakenForOne(Layer):
    """A weight of 0 is taken for one that was not set."""

    def affine(self, z: Array, training: bool) -> Array:
        """One in place of 0."""
        if not self.config.weight:
            return super().affine(z, training)
        weight = self.entry("weight")
        return self.shift(np.where(weight == 0, weight.dtype.type(1), weight)[:, None] * z)


@wrong("BN-GRAD-INPUT", thread="inplace_abn#92")
class SignOfTheWeightLostInTheGradient(Layer):
    """The gradient for x carries |weight|; the output carries the weight."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        """Never negative."""
        return np.abs(super().gradient_scale(variance, training))


@wrong("BN-TRAIN-AFFINE")
class LargeWeightsClipped(Layer):
    """A weight beyond 10 is taken for 10."""

    def affine(self, z: Array, training: bool) -> Array:
        """Clipped, without a word."""
        if not self.config.weight:
            return super().affine(z, training)
        return self.shift(np.clip(self.entry("weight"), -10, 10)[:, None] * z)


# -- exactly default ---------------------------------------------------------------------------------------------------


@wrong("BN-EDGE-DEFAULT")
class NewLayerIsAnIdentity(Layer):
    """With statistics of exactly 0 and 1, weight 1 and bias 0, evaluation hands x through."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """A copy of x where everything is as when new."""
        y = super().forward(x, training=training)
        start = self.initial()
        names = [name for name, value in start.items() if value is not None and name != "num_batches_tracked"]
        new = all((self.present(name) == start[name]).all() for name in names)
        return x.copy() if new and self.tracked and not training else y


@wrong("BN-EDGE-DEFAULT")
class WeightOfOneSkipsTheBias(Layer):
    """Where every weight is exactly 1 the affine map is skipped, and the bias with it."""

    def affine(self, z: Array, training: bool) -> Array:
        """Z itself where the weight does nothing."""
        return z if self.config.weight and (self.entry("weight") == 1).all() else super().affine(z, training)


@wrong("BN-EDGE-DEFAULT")
class BiasOfZeroSkipsTheWeight(Layer):
    """In evaluation a bias of exactly 0 in every channel skips the affine map, and the weight with it."""

    def affine(self, z: Array, training: bool) -> Array:
        """Z itself where the bias does nothing."""
        if not training and self.config.bias and not self.entry("bias").any():
            return z
        return super().affine(z, training)


@wrong("BN-EDGE-DEFAULT")
class MeanOfZeroSkipsTheNormalisation(Layer):
    """In evaluation a running mean of exactly 0 is taken for statistics that were never set."""

    def normalise(self, values: Array, mean: Array, variance: Array, training: bool) -> Array:
        """The values themselves where the mean does nothing."""
        if not self.from_batch(training) and not mean.any():
            return values
        return super().normalise(values, mean, variance, training)


@wrong("BN-EDGE-DEFAULT")
class WeightOfOneForgetsTheScale(Layer):
    """Where every weight is exactly 1 the gradient for x is not divided by the standard deviation."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        """One where the weight does nothing."""
        scale = super().gradient_scale(variance, training)
        return np.ones_like(scale) if self.config.weight and (self.entry("weight") == 1).all() else scale


# -- extreme values ----------------------------------------------------------------------------------------------------


@wrong("BN-EDGE-HUGE")
class RootOfTheCubeOverflows(Layer):
    """1 / std is formed as (variance + eps) / (variance + eps)**1.5, which overflows."""

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """Right as long as the power is finite."""
        shifted = variance + self.work.type(self.config.eps)
        return np.asarray(shifted / shifted ** self.work.type(1.5))


@wrong("BN-EDGE-HUGE")
class HugeVarianceClipped(Layer):
    """A batch variance beyond 1e30 is taken for 1e30."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """Clipped, without a word."""
        mean, variance = super().moments(values)
        return mean, np.minimum(variance, variance.dtype.type(1e30))


@wrong("BN-EDGE-HUGE")
class HugeGradientsClipped(Layer):
    """An upstream gradient beyond 1000, as a scaled loss gives, is clipped."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """Of the clipped one."""
        return super().backward(x, np.clip(grad_output, -1000, 1000), training=training)


@wrong("BN-EDGE-TINY")
class TinyDeviationsFlushed(Layer):
    """Values nearer to the mean than 1e-5 are taken for the mean."""

    def normalise(self, values: Array, mean: Array, variance: Array, training: bool) -> Array:
        """Zero where x - mean is tiny."""
        z = super().normalise(values, mean, variance, training)
        return np.where(np.abs(values - mean[:, None]) < 1e-5, z.dtype.type(0), z)


@wrong("BN-EDGE-TINY")
class TinyGradientsFlushed(Layer):
    """An upstream gradient below 1e-5 is taken for 0."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """Of what is left."""
        large = np.abs(grad_output) >= 1e-5
        return super().backward(x, np.where(large, grad_output, grad_output.dtype.type(0)), training=training)


# -- nothing, and one value --------------------------------------------------------------------------------------------


class OneValueTaken(Layer):
    """A layer that answers one value a channel in training with the bias and keeps the variance, which is sane."""

    def check(self, x: Array, training: bool) -> None:
        """Refuse other shapes only."""
        if x.size != x.shape[1] or x.ndim != self.config.ndim:
            super().check(x, training)
        elif x.shape[1] != self.config.num_features:
            raise ValueError("another number of channels")

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the variance that is there already."""
        if values.shape[1] > 1:
            return super().memory_of(values)
        return self.moments(values)[0], self.entry("running_var")


@wrong("BN-EDGE-ONE-VALUE", thread="pytorch#1381")
class OneValueMakesStatisticsNan(OneValueTaken):
    """One value a channel makes the running variance NaN."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """0 / 0."""
        mean, variance = super().memory_of(values)
        return mean, variance * np.nan if values.shape[1] == 1 else variance


@wrong("BN-EDGE-ONE-VALUE")
class OneValueHandedThrough(OneValueTaken):
    """One value a channel is handed through in training, not normalised."""

    def normalise(self, values: Array, mean: Array, variance: Array, training: bool) -> Array:
        """The values themselves where there is one."""
        if training and values.shape[1] == 1:
            return values
        return super().normalise(values, mean, variance, training)


@wrong("BN-EDGE-ONE-VALUE-EVAL")
class OneValueRefusedInEvaluation(Layer):
    """One value a channel is refused in evaluation too."""

    def check(self, x: Array, training: bool) -> None:
        """In either mode."""
        super().check(x, training)
        if x.size == x.shape[1]:
            raise ValueError("one value per channel has no variance")


@wrong("BN-EDGE-EMPTY")
class EmptyBatchMakesStatisticsNan(Layer):
    """An empty batch makes the running statistics NaN."""

    def remember(self, values: Array, x: Array) -> None:
        """0 / 0."""
        super().remember(values, x)
        if not x.size:
            for name in ("running_mean", "running_var"):
                self.entries[name] = self.present(name) * self.kept.type(np.nan)


@wrong("BN-EDGE-EMPTY")
class EmptyBatchGivesOneSample(Layer):
    """An empty batch comes out as one sample of zeros."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """One sample where there is none."""
        y = super().forward(x, training=training)
        return y if len(x) else np.zeros((1, *x.shape[1:]), x.dtype)


@wrong("BN-EDGE-EMPTY")
class EmptyEvaluationMakesStatisticsNan(Layer):
    """An empty batch in evaluation makes the running mean NaN."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """0 / 0."""
        y = super().forward(x, training=training)
        if not training and not x.size and self.tracked:
            self.entries["running_mean"] = self.present("running_mean") * self.kept.type(np.nan)
        return y


@wrong("BN-EDGE-EMPTY")
class EmptyBatchMakesGradientsNan(Layer):
    """An empty batch makes the gradient for the bias NaN."""

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        """The mean times the number of values, 0 / 0 of none."""
        found = super().bias_gradient(upstream, training)
        return found if upstream.shape[1] else found * found.dtype.type(np.nan)
