"""Right by other means: the formats in which a layer computes."""

from __future__ import annotations

import numpy as np

from bnconform.spec.config import Config
from bnconform.spec.formats import is_half, numpy_dtype
from bnconform.tests.mutants.algorithms import Array
from bnconform.tests.mutants.assembled import Assembled
from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.layer import Layer


@right
class DoubleThroughout(Layer):
    """Everything is computed in double and rounded once, to the dtype of x and of the parameters."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.work = np.dtype(np.float64)


@right
class StatisticsInDouble(Assembled):
    """The sums are double, forward and backward, what is done to every value is in the arithmetic of the layer."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The mean and the biased variance of a batch, each (C,), summed in double."""
        mean, variance = super().moments(values.astype(np.float64))
        return mean.astype(self.work), variance.astype(self.work)

    def gradients(
        self, values: Array, upstream: Array, mean: Array, variance: Array, training: bool
    ) -> tuple[Array, Array, Array]:
        """The gradients for x (n, C), for the weight and for the bias, of values and upstream gradient (n, C)."""
        factor, weight = self.inverse_std(variance, training), self.parameters()[0]
        z = (values - mean) * factor
        by_bias, by_weight = (part.sum(axis=0, dtype=np.float64) for part in (upstream, upstream * z))
        inner = upstream
        if self.from_batch(training):
            mean_gradient, slope = ((part / len(values)).astype(self.work) for part in (by_bias, by_weight))
            inner = upstream - mean_gradient - z * slope
        return np.asarray(inner * (factor * weight)), by_weight, by_bias


@right
class HalfForEveryValue(Assembled):
    """The sums are single; what is done to every value of a half-precision batch is rounded to its format each time."""

    @property
    def narrow(self) -> np.dtype[np.generic]:
        """The format for what is done to every value."""
        return numpy_dtype(self.config.dtype) if is_half(self.config.dtype) else self.work

    def output(self, values: Array, mean: Array, variance: Array, training: bool) -> Array:
        """The output (n, C) of values (n, C)."""
        factor = self.inverse_std(variance, training)
        parts = (values, mean, factor, *self.parameters())
        return self.how.normalize(*(part.astype(self.narrow) for part in parts))

    def gradients(
        self, values: Array, upstream: Array, mean: Array, variance: Array, training: bool
    ) -> tuple[Array, Array, Array]:
        """The gradients for x (n, C), for the weight and for the bias, of values and upstream gradient (n, C)."""
        factor, weight = self.inverse_std(variance, training), self.parameters()[0]
        x, g, m, f = (part.astype(self.narrow) for part in (values, upstream, mean, factor))
        z = (x - m) * f
        by_bias, by_weight = upstream.sum(axis=0), (g * z).astype(self.work).sum(axis=0)
        inner = g
        if self.from_batch(training):
            count = self.work.type(len(values))
            inner = g - (by_bias / count).astype(self.narrow) - z * (by_weight / count).astype(self.narrow)
        return np.asarray(inner * (factor * weight).astype(self.narrow)), by_weight, by_bias


@right
class HalfSignificand(Assembled):
    """Every operation is rounded to the significand of the half-precision input, in the exponent range of single."""

    def narrow(self, values: Array) -> Array:
        """Rounded to the significand of the input's dtype, (n, C) or (C,); as it is where that is not half."""
        bits = {"float16": 11, "bfloat16": 8}.get(self.config.dtype)
        if bits is None:
            return values
        mantissa, exponent = np.frexp(values)
        return np.asarray(np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits))

    def total(self, values: Array) -> Array:
        """The sum over axis 0: of halves of at most 16 values with every addition rounded, these summed in single."""
        rest = len(values) % 16
        padded = np.concatenate([values, np.zeros((16 - rest, values.shape[1]), values.dtype)]) if rest else values
        sums = padded.reshape(-1, 16, values.shape[1])
        while sums.shape[1] > 1:
            sums = self.narrow(sums[:, ::2] + sums[:, 1::2])
        return np.asarray(sums[:, 0].sum(axis=0))

    def average(self, values: Array) -> Array:
        """The mean over axis 0."""
        return self.narrow(self.total(values) / self.work.type(len(values)))

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The mean and the biased variance of a batch, each (C,); 0 and 1 of an empty one."""
        if not values.shape[1]:
            return super().moments(values)
        mean = self.average(values.T)
        deviations = self.narrow(values.T - mean)
        return mean, self.average(self.narrow(deviations * deviations))

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """1 / sqrt(variance + eps), (C,)."""
        return self.narrow(super().inverse_std(variance, training))

    def output(self, values: Array, mean: Array, variance: Array, training: bool) -> Array:
        """The output (n, C) of values (n, C)."""
        factor, (weight, bias) = self.inverse_std(variance, training), self.parameters()
        z = self.narrow(self.narrow(values - self.narrow(mean)) * factor)
        return self.narrow(self.narrow(z * self.narrow(weight)) + self.narrow(bias))

    def gradients(
        self, values: Array, upstream: Array, mean: Array, variance: Array, training: bool
    ) -> tuple[Array, Array, Array]:
        """The gradients for x (n, C), for the weight and for the bias, of values and upstream gradient (n, C)."""
        factor, weight = self.inverse_std(variance, training), self.narrow(self.parameters()[0])
        z = self.narrow(self.narrow(values - self.narrow(mean)) * factor)
        product, inner = self.narrow(upstream * z), upstream
        if self.from_batch(training):
            inner = self.narrow(self.narrow(upstream - self.average(upstream)) - z * self.average(product))
        return self.narrow(inner * self.narrow(factor * weight)), self.total(product), self.total(upstream)
