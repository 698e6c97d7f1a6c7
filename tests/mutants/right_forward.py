"""Right by other means: what becomes of x once the statistics are known, and how it lies in memory meanwhile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bnconform.tests.mutants.algorithms import Array, direct, fold, moments_form, scale_first, weight_first
from bnconform.tests.mutants.assembled import PLAIN, Assembled
from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.layer import Layer


def fuse(a: Array, b: Array, c: Array) -> Array:
    """The product of a and b plus c, rounded once as an FMA unit does: computed in the next wider format."""
    wider = np.float64 if a.dtype == np.float32 else np.longdouble
    return np.asarray((a.astype(wider) * b.astype(wider) + c.astype(wider)).astype(a.dtype))


@right
class FoldedEvaluation(Assembled):
    """In evaluation one scale and one shift a channel; x - mean is never formed."""

    def output(self, values: Array, mean: Array, variance: Array, training: bool) -> Array:
        """The output (n, C) of values (n, C)."""
        form = direct if self.from_batch(training) else fold
        return form(values, mean, self.inverse_std(variance, training), *self.parameters())


@right
class FoldedThroughout(Assembled):
    """One scale and one shift a channel in both modes, and gradients from sums over x itself."""

    how = replace(PLAIN, normalize=fold, gradient=moments_form)


@right
class FusedMultiplyAdd(Assembled):
    """Every product that is added to something is rounded once with the sum."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The mean and the biased variance of a batch, each (C,); 0 and 1 of an empty one."""
        if not values.shape[1]:
            return super().moments(values)
        mean = values.mean(axis=1)
        squares = np.zeros_like(mean)
        for value in values.T:
            deviation = value - mean
            squares = fuse(deviation, deviation, squares)
        return mean, squares / self.work.type(values.shape[1])

    def output(self, values: Array, mean: Array, variance: Array, training: bool) -> Array:
        """The output (n, C) of values (n, C)."""
        factor, (weight, bias) = self.inverse_std(variance, training), self.parameters()
        scale = weight * factor
        return fuse(scale, values, fuse(-mean, scale, bias))

    def blend(self, old: Array, new: Array, weight: float) -> Array:
        """The old value plus a (new - old), the product and the sum rounded once, (C,), in the dtype that is kept."""
        return fuse(np.full_like(old, weight), new - old, old).astype(self.kept)


@right
class WeightTimesFactor(Assembled):
    """(x - m) (f w) + b, with one product a value, and the root taken of the quotient 1 / (var + eps)."""

    how = replace(PLAIN, normalize=scale_first, inverse=lambda variance, eps: np.sqrt(1 / (variance + eps)))


@right
class WeightBeforeFactor(Assembled):
    """The weight multiplies x - m before the inverse deviation does."""

    how = replace(PLAIN, normalize=weight_first)


@right
class DividedByRoot(Assembled):
    """Every value is divided by sqrt(var + eps); no inverse is formed."""

    def output(self, values: Array, mean: Array, variance: Array, training: bool) -> Array:
        """The output (n, C) of values (n, C)."""
        weight, bias = self.parameters()
        return np.asarray((values - mean) / np.sqrt(variance + self.work.type(self.config.eps)) * weight + bias)


@right
class RootByNewton(Assembled):
    """The inverse deviation is a crude guess of eight bits, made good by Newton's iteration."""

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """1 / sqrt(variance + eps), (C,)."""
        total = variance + self.work.type(self.config.eps)
        exact = 1 / np.sqrt(total)
        mantissa, exponent = np.frexp(exact)
        guess = np.ldexp(np.round(mantissa * 256) / 256, exponent).astype(self.work)
        half, three_halves = self.work.type(0.5), self.work.type(1.5)
        for _ in range(2 if self.work == np.float32 else 3):
            guess = guess * (three_halves - half * total * guess * guess)
        return np.where(np.isfinite(guess), guess, exact)


@right
class ChannelsLastInside(Layer):
    """Inside, the channels of one value lie side by side, so that sums over a channel run across memory."""

    def channels(self, x: Array) -> Array:
        """The values of x as (C, n), the channels contiguous."""
        rows = np.moveaxis(x, 1, -1).reshape(x.size // x.shape[1], x.shape[1])
        return np.ascontiguousarray(rows, self.work).T
