"""Layers with one fault each that no decision of the behaviour space expresses, for the diagnosis to name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bnconform.tests.mutants.layer import Array, Gradients, Layer


class Rank4OddSamples(Layer):
    """At rank 4 with an odd number of samples the output is a hundredth too large."""

    def reshape_like(self, values: Array, x: Array) -> Array:
        y = super().reshape_like(values, x)
        return y * y.dtype.type(1.01) if x.ndim == 4 and len(x) % 2 else y


class SecondBackward(Layer):
    """From the second backward pass on the gradient for x is doubled."""

    passes = 0

    def input_gradient(self, values: Array, z: Array, upstream: Array, variance: Array, training: bool) -> Array:
        self.passes += 1
        found = super().input_gradient(values, z, upstream, variance, training)
        return found * 2 if self.passes > 1 else found


class WeightLoadedAlone(Layer):
    """A load of the weight alone is forgotten in the output."""

    alone = False

    def load(self, state: Mapping[str, Array]) -> None:
        super().load(state)
        self.alone = set(state) == {"weight"}

    def affine(self, z: Array, training: bool) -> Array:
        found = super().affine(z, training)
        return found * self.work.type(1.5) if self.alone else found


class Unsteady(Layer):
    """Every call answers a little more."""

    calls = 0

    def affine(self, z: Array, training: bool) -> Array:
        Unsteady.calls += 1
        return super().affine(z, training) * self.work.type(1 + 1e-3 * (Unsteady.calls % 7))


class NoGradientOfAParameterAlone(Layer):
    """A weight without a bias, or a bias without a weight, has no gradient."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """None for it."""
        grad_x, grad_weight, grad_bias = super().backward(x, grad_output, training=training)
        alone = self.config.weight != self.config.bias
        return (grad_x, None, None) if alone else (grad_x, grad_weight, grad_bias)


class ZeroGradient(Layer):
    """The gradient for x is zero."""

    def input_gradient(self, values: Array, z: Array, upstream: Array, variance: Array, training: bool) -> Array:
        return super().input_gradient(values, z, upstream, variance, training) * 0


class PreviousAnswer(Layer):
    """A second pass over the same shape answers what the first one did."""

    last: Array | None = None

    def forward(self, x: Array, *, training: bool) -> Array:
        y = super().forward(x, training=training)
        if self.last is not None and self.last.shape == y.shape:
            return self.last
        self.last = y
        return y


class MomentumOff(Layer):
    """The momentum is a little more than the one given."""

    def batch_weight(self) -> float:
        return super().batch_weight() * 1.001


class MomentumOffByLittle(Layer):
    """The momentum is very little more than the one given."""

    def batch_weight(self) -> float:
        return super().batch_weight() * 1.00001


class TenEpsilon(Layer):
    """Epsilon is ten times the one given."""

    def inverse_std(self, variance: Array, training: bool) -> Array:
        return np.asarray(1 / np.sqrt(variance + self.work.type(10 * self.config.eps)))


class FixedEpsilon(Layer):
    """Epsilon is 2e-3, whatever is given."""

    def inverse_std(self, variance: Array, training: bool) -> Array:
        return np.asarray(1 / np.sqrt(variance + self.work.type(2e-3)))


class DividesByTwoLess(Layer):
    """The running variance divides by n - 2."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        mean, variance = self.moments(values)
        n = values.shape[1]
        return mean, variance * self.work.type(n / max(n - 2, 1))


class SquaredWeight(Layer):
    """The output is made with the square of the weight."""

    def affine(self, z: Array, training: bool) -> Array:
        if not self.config.affine:
            return z
        return self.entry("weight")[:, None] ** 2 * z + self.entry("bias")[:, None]


class BiasSubtracted(Layer):
    """The bias is subtracted."""

    def affine(self, z: Array, training: bool) -> Array:
        if not self.config.affine:
            return z
        return self.entry("weight")[:, None] * z - self.entry("bias")[:, None]


class WeightGradientLacksMean(Layer):
    """The gradient for the weight is made of x over the deviation, the mean not subtracted."""

    def weight_gradient(self, values: Array, z: Array, upstream: Array, training: bool) -> Array:
        _, variance = self.moments(values) if self.from_batch(training) else (None, self.entry("running_var"))
        return np.asarray((upstream * values).sum(axis=1) * self.inverse_std(variance, training))


class OppositeGradient(Layer):
    """The gradient for x has the opposite sign."""

    def input_gradient(self, values: Array, z: Array, upstream: Array, variance: Array, training: bool) -> Array:
        return -super().input_gradient(values, z, upstream, variance, training)


class GradientDividesByOneLess(Layer):
    """In the gradient for x both means divide by n - 1."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        n = upstream.shape[1]
        less = self.work.type(n / max(n - 1, 1))
        mean = upstream.mean(axis=1, keepdims=True) * less
        return np.asarray(upstream - mean - z * (upstream * z).mean(axis=1, keepdims=True) * less)


class ManyValues(Layer):
    """From 257 values a channel on the output is a tenth too large."""

    def affine(self, z: Array, training: bool) -> Array:
        return super().affine(z, training) * self.work.type(1.1 if z.shape[1] >= 257 else 1)


class ManySamples(Layer):
    """From 5 samples on the output is a tenth too large."""

    def reshape_like(self, values: Array, x: Array) -> Array:
        y = super().reshape_like(values, x)
        return y * y.dtype.type(1.1) if len(x) >= 5 else y


class HighChannels(Layer):
    """Channels from the 64th on are zero."""

    def reshape_like(self, values: Array, x: Array) -> Array:
        y = super().reshape_like(values, x)
        y[:, 64:] = 0
        return y


class NoMultipleOfFour(Layer):
    """Where the number of channels is no multiple of 4 the output is a tenth too large."""

    def affine(self, z: Array, training: bool) -> Array:
        return super().affine(z, training) * self.work.type(1.1 if len(z) % 4 else 1)


class StridedInput(Layer):
    """Input that is not contiguous is read in the order of memory."""

    def channels(self, x: Array) -> Array:
        return super().channels(np.ravel(x, order="K").reshape(x.shape))


class StridedGradient(Layer):
    """At rank 4 the gradient for x is halved where grad_output is not contiguous."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        found = super().backward(x, grad_output, training=training)
        if grad_output.ndim == 4 and not grad_output.flags.c_contiguous:
            return found[0] / found[0].dtype.type(2), found[1], found[2]
        return found


class EvaluationOnly(Layer):
    """In evaluation the output is a tenth too large."""

    def affine(self, z: Array, training: bool) -> Array:
        return super().affine(z, training) * self.work.type(1 if training else 1.1)


class CumulativeOff(Layer):
    """With momentum None the new batch weighs twice too much from the second batch on."""

    def batch_weight(self) -> float:
        weight = super().batch_weight()
        return min(1.0, 2 * weight) if self.config.momentum is None and self.batches > 1 else weight


class NegativeWeight(Layer):
    """Where the weight is negative the output is a tenth too large."""

    def affine(self, z: Array, training: bool) -> Array:
        y = super().affine(z, training)
        if self.config.affine:
            y = np.where(self.entry("weight")[:, None] < 0, y * self.work.type(1.1), y)
        return np.asarray(y)


class AfterEvaluation(Layer):
    """The training pass after an evaluation pass is a tenth too large."""

    evaluated = False

    def forward(self, x: Array, *, training: bool) -> Array:
        y = super().forward(x, training=training)
        wrong, self.evaluated = training and self.evaluated, not training
        return y * y.dtype.type(1.1) if wrong else y


class WithoutParameters(Layer):
    """Without weight and bias the output is a tenth too large."""

    def affine(self, z: Array, training: bool) -> Array:
        return super().affine(z, training) * self.work.type(1 if self.config.affine else 1.1)


class WeightTwiceInGradient(Layer):
    """The gradient for x has the weight twice."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        scale = super().gradient_scale(variance, training)
        return scale * self.entry("weight") if self.config.affine else scale


class MeanGradientOverSamples(Layer):
    """The gradient for the bias is divided by the number of samples."""

    samples = 1

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        self.samples = len(x)
        return super().backward(x, grad_output, training=training)

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        return super().bias_gradient(upstream, training) / self.work.type(self.samples)


class StaleWeight(Layer):
    """The output is made with the weight as it was before it was loaded."""

    old: Any = None

    def load(self, state: Mapping[str, Array]) -> None:
        self.old = self.entries["weight"]
        super().load(state)

    def affine(self, z: Array, training: bool) -> Array:
        if not self.config.affine or self.old is None:
            return super().affine(z, training)
        return np.asarray(self.old.astype(self.work)[:, None] * z + self.entry("bias")[:, None])


class LargeMean(Layer):
    """The mean is lost where it is large beside the deviation."""

    def affine(self, z: Array, training: bool) -> Array:
        return super().affine(z, training)

    def moments(self, values: Array) -> tuple[Array, Array]:
        mean, variance = super().moments(values)
        with np.errstate(all="ignore"):
            return mean, np.where(np.abs(mean) > 4 * np.sqrt(variance), variance * self.work.type(1.3), variance)


class SmallError(Layer):
    """The output is too large by 3e-6 of itself."""

    def affine(self, z: Array, training: bool) -> Array:
        return super().affine(z, training) * self.work.type(1 + 3e-6)


class RankOrOdd(Layer):
    """At rank 3, and with an odd number of samples, the output is a tenth too large."""

    def reshape_like(self, values: Array, x: Array) -> Array:
        y = super().reshape_like(values, x)
        return y * y.dtype.type(1.1) if x.ndim == 3 or len(x) % 2 else y


class Noise(Layer):
    """The output is off by something that depends on every value of the input."""

    def affine(self, z: Array, training: bool) -> Array:
        return np.asarray(super().affine(z, training) + self.work.type(0.01) * np.sin(1e3 * z))


class PrimeSamples(Layer):
    """With a prime number of samples the output is a tenth too large."""

    def reshape_like(self, values: Array, x: Array) -> Array:
        y = super().reshape_like(values, x)
        count = len(x)
        prime = count > 1 and all(count % k for k in range(2, count))
        return np.asarray(y * y.dtype.type(1.1)) if prime else y


class OneElement(Layer):
    """The first element of the output is off by one half."""

    def reshape_like(self, values: Array, x: Array) -> Array:
        y = super().reshape_like(values, x)
        y.reshape(-1)[:1] += y.dtype.type(0.5)
        return y


class OddFactor(Layer):
    """The output is too large by one over seven times the square of the number of values."""

    def affine(self, z: Array, training: bool) -> Array:
        factor = self.work.type(1 + 1 / (7 * max(z.shape[1], 1) ** 2))
        return np.asarray(super().affine(z, training) * factor)


class ManyUpdates(Layer):
    """After 64 training passes the running mean moves twice as far."""

    def blend(self, old: Array, new: Array, weight: float) -> Array:
        return super().blend(old, new, min(1.0, 2 * weight) if self.batches > 64 else weight)


class LastChannel(Layer):
    """The last channel's output is zero, where there are two or more."""

    def affine(self, z: Array, training: bool) -> Array:
        y = super().affine(z, training)
        if len(y) > 1:
            y[-1] = 0
        return y
