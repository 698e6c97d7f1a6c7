"""Right in derivatives, by other means: operation by operation, in either mode and grouping, or one of the two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.derivatives import Differentiable, Pass, mean
from bnconform.tests.mutants.layer import Array, Gradients


@dataclass(frozen=True)
class Dual:
    """A value and its derivative along a direction, as forward mode carries them."""

    value: Array
    moving: Array

    def __add__(self, other: Dual) -> Dual:
        return Dual(self.value + other.value, self.moving + other.moving)

    def __sub__(self, other: Dual) -> Dual:
        return Dual(self.value - other.value, self.moving - other.moving)

    def __mul__(self, other: Dual) -> Dual:
        return Dual(self.value * other.value, self.moving * other.value + self.value * other.moving)

    def times(self, number: float) -> Dual:
        """The product with a constant."""
        kind = self.value.dtype.type(number)
        return Dual(self.value * kind, self.moving * kind)

    def mean(self) -> Dual:
        """The mean of each channel, (C, 1)."""
        return Dual(mean(self.value), mean(self.moving))

    def not_negative(self) -> Dual:
        """max(0, value)."""
        return Dual(np.maximum(self.value, 0), np.where(self.value > 0, self.moving, 0))

    def inverse_root(self) -> Dual:
        """1 / sqrt, by a square root and a division."""
        root = np.sqrt(self.value)
        inverse = 1 / root
        return Dual(inverse, -inverse / (2 * self.value) * self.moving)


def constant(value: Array) -> Dual:
    """What does not depend on x."""
    return Dual(value, np.zeros_like(value))


class _Dual(Differentiable):
    """A layer whose forward and backward pass are written once and run on duals: the derivatives come out beside."""

    def output_tangent(self, parts: Pass) -> Array:
        """Of y."""
        x = Dual(parts.values, parts.moving)
        return self.apply_affine(x, *self.statistics(x, parts)).moving

    def apply_affine(self, x: Dual, centre: Dual, factor: Dual) -> Dual:
        """The weight times z; what the bias adds has no derivative."""
        return (x - centre) * factor * constant(self.weights(x.value))

    def weights(self, like: Array) -> Array:
        """The weight, or ones, (C, 1)."""
        return self.entry("weight")[:, None] if self.config.weight else np.ones((len(like), 1), like.dtype)

    def statistics(self, x: Dual, parts: Pass) -> tuple[Dual, Dual]:
        """The mean that normalises and 1 / sqrt(variance + eps), (C, 1)."""
        epsilon = constant(np.full((len(x.value), 1), self.config.eps, x.value.dtype))
        if not parts.through:
            return constant(self.entry("running_mean")[:, None]), constant(parts.factor)
        centre = x.mean()
        return centre, (self.variance(x, centre) + epsilon).inverse_root()

    def variance(self, x: Dual, centre: Dual) -> Dual:
        """The mean of the squared deviations."""
        deviations = x - centre
        return (deviations * deviations).mean()

    def hvp(self, x: Array, grad_output: Array, vector: Array, *, training: bool) -> Gradients:
        """By forward mode over the backward pass."""
        with np.errstate(all="ignore"):
            parts = self.read(x, vector, grad_output, training)
            by_x, by_weight = self.gradients(parts)
            second = by_weight.moving.sum(axis=1).astype(self.kept) if self.config.weight else None
            nothing = np.zeros(len(parts.z), self.kept) if self.config.bias else None
            return self.reshape_like(by_x.moving, x), second, nothing

    def gradients(self, parts: Pass) -> tuple[Dual, Dual]:
        """The gradient for x, and g z, of which that for the weight is the sum: by reverse mode, on duals.

        The path of the mean through the variance, which vanishes, is kept.
        """
        x, g = Dual(parts.values, parts.moving), constant(parts.upstream)
        centre, factor = self.statistics(x, parts)
        deviations = x - centre
        by_z = g * constant(self.weights(parts.values))
        by_deviation = by_z * factor
        if not parts.through:
            return by_deviation, g * (deviations * factor)
        n = parts.z.shape[1]
        by_factor = (by_z * deviations).mean().times(n)
        by_variance = by_factor * (factor * factor * factor).times(-0.5)
        by_deviation = by_deviation + (by_variance * deviations).times(2 / n)
        return by_deviation - by_deviation.mean(), g * (deviations * factor)


@right
class DerivativesByClosedForm(Differentiable):
    """Both derivatives by the formulas that a kernel would have."""


@right
class DerivativesByDualNumbers(_Dual):
    """Forward mode over the two-pass forward pass, and over the backward pass, operation by operation."""


@right
class DerivativesOfOnePass(_Dual):
    """The same of mean(x**2) - mean(x)**2, not below 0."""

    def variance(self, x: Dual, centre: Dual) -> Dual:
        """A difference of two means; where it would be below 0, a constant."""
        return ((x * x).mean() - centre * centre).not_negative()


@right
class TangentOfTheFoldedForm(_Dual):
    """Forward mode over scale * x + shift, in which x - mean is never formed."""

    def apply_affine(self, x: Dual, centre: Dual, factor: Dual) -> Dual:
        """Folded."""
        scale = factor * constant(self.weights(x.value))
        return x * scale - centre * scale


@right
class SecondDerivativesByReverseTwice(Differentiable):
    """Reverse mode over the backward pass: the adjoint of grad_x is the vector, and flows back to x."""

    def input_second(self, parts: Pass) -> Array:
        """The gradient of sum(t (g - mean(g) - z mean(g z)) f) for x, by the chain rule over z and f."""
        if not parts.through:
            return parts.z * 0
        z, g, t, n = parts.z, parts.upstream, parts.moving, parts.z.dtype.type(parts.z.shape[1])
        inner = g - mean(g) - z * mean(g * z)
        by_factor = (t * inner).sum(axis=1, keepdims=True)  # of the f outside
        along, across = (t * z).sum(axis=1, keepdims=True), (g * z).sum(axis=1, keepdims=True)
        by_z = -(t * across + g * along) / n
        # z = (x - m) f: its gradient goes to x as that of y does, and f has both.
        through = by_z - mean(by_z) - z * mean(by_z * z)
        return np.asarray(through - z * by_factor / n)

    def covariance(self, g: Array, t: Array) -> Array:
        """Not centred first."""
        return np.asarray(mean(g * t) - mean(g) * mean(t))


@right
class ThirdDerivativesByForwardMode(Differentiable):
    """Forward mode over the closed form of the second derivative, term by term, with the mean and factor moving."""

    def input_third(self, parts: Pass, second: Array) -> Array:
        """The derivative of hvp_x along the second vector, over weight f**3."""
        if not parts.through:
            return parts.z * 0
        z, g, t, u = parts.z, parts.upstream, parts.moving, second
        turning = -mean(z * u)  # of f, over f**2
        x = Dual(z, u - mean(u) - z * mean(z * u))  # z, and its derivative over f
        p, q = (x * constant(t)).mean(), (x * constant(g)).mean()
        inner = (p * q).times(3) - constant(self.covariance(g, t))
        found = p * constant(mean(g) - g) + q * constant(mean(t) - t) + x * inner
        return np.asarray(found.moving + 2 * turning * found.value)


@right
class DerivativesInDouble(Differentiable):
    """Derivatives are computed in double, the forward pass as it is."""

    def read(self, x: Array, direction: Array, grad_output: Array | None, training: bool) -> Pass:
        """The parts in double."""
        ordinary, self.work = self.work, np.dtype(np.float64)
        try:
            return super().read(x, direction, grad_output, training)
        finally:
            self.work = ordinary


@right
class TangentLeavesTheStatistics(Differentiable):
    """A pass with a tangent is pure: it moves no statistics, and no batch is counted."""

    def jvp(self, x: Array, tangent: Array, *, training: bool) -> tuple[Array, Array]:
        """The state as before."""
        before = dict(self.entries)
        found = super().jvp(x, tangent, training=training)
        self.entries = before
        return found


@right
class SecondDerivativesMoveOnce(Differentiable):
    """Second derivatives make a training forward pass first, which moves the statistics once."""

    def hvp(self, x: Array, grad_output: Array, vector: Array, *, training: bool) -> Gradients:
        """One update."""
        if training:
            self.forward(x, training=True)
        return super().hvp(x, grad_output, vector, training=training)


Method = Callable[..., tuple[Array, ...]]


@right
class ForwardModeAlone(Differentiable):
    """The layer has forward mode and no second derivatives."""

    hvp: Method = None  # type: ignore[assignment]


@right
class SecondDerivativesAlone(Differentiable):
    """The layer has second derivatives and no forward mode."""

    jvp: Method = None  # type: ignore[assignment]
