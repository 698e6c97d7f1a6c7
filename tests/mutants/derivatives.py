"""A right layer with derivatives by closed forms, cut into the pieces that a fault changes.

t is the direction of x, and inside, as in `layer`, everything is (C, n) in the arithmetic of the layer, statistics (C,
1). The layers of `layer` have no derivatives, so that the other wrong ones are not asked for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bnconform.tests.mutants.layer import Array, Gradients, Layer


@dataclass(frozen=True)
class Pass:
    """What a derivative is made of: x, z, t and g, (C, n), 1 / sqrt(variance + eps), (C, 1), and what it flows through.

    `upstream` is of zeros where none is given.
    """

    values: Array
    z: Array
    moving: Array
    upstream: Array
    factor: Array
    through: bool
    training: bool


def mean(values: Array) -> Array:
    """The mean of each channel, (C, 1)."""
    return np.asarray(values.mean(axis=1, keepdims=True))


class Differentiable(Layer):
    """A right layer with `jvp` and `hvp`."""

    def jvp(self, x: Array, tangent: Array, *, training: bool) -> tuple[Array, Array]:
        """(y, tangent_y); the statistics move as in a forward pass."""
        with np.errstate(all="ignore"):
            found = self.reshape_like(self.output_tangent(self.read(x, tangent, None, training)), x)
        return self.forward(x, training=training), found

    def jvp_jvp(self, x: Array, tangent: Array, second: Array, *, training: bool) -> Array:
        """The derivative of the tangent along a second one; the state stays as it is."""
        with np.errstate(all="ignore"):
            parts = self.read(x, second, tangent, training)
            return self.reshape_like(self.scale(parts) * parts.factor * self.output_second(parts), x)

    def output_second(self, parts: Pass) -> Array:
        """The derivative of the tangent of y over weight / (variance + eps), which is the formula of `input_second`."""
        return Differentiable.input_second(self, parts)

    def hvp(self, x: Array, grad_output: Array, vector: Array, *, training: bool) -> Gradients:
        """(hvp_x, hvp_weight, hvp_bias); the state stays as it is."""
        with np.errstate(all="ignore"):
            parts = self.read(x, vector, grad_output, training)
            by_x = self.reshape_like(self.scale(parts) * parts.factor * self.input_second(parts), x)
            by_weight = self.weight_second(parts).astype(self.kept) if self.config.weight else None
            by_bias = self.bias_second(parts).astype(self.kept) if self.config.bias else None
            return by_x, by_weight, by_bias

    def third(self, x: Array, grad_output: Array, vector: Array, second: Array, *, training: bool) -> Array:
        """The derivative of that of the gradient along a second vector; the state stays as it is."""
        with np.errstate(all="ignore"):
            parts = self.read(x, vector, grad_output, training)
            other = self.channels(second).astype(parts.z.dtype)
            return self.reshape_like(self.scale(parts) * parts.factor**2 * self.input_third(parts, other), x)

    def input_third(self, parts: Pass, second: Array) -> Array:
        """The third derivative for x over weight / (variance + eps)**(3/2)."""
        if not parts.through:
            return parts.z * 0
        z, g, t, u = parts.z, *(each - mean(each) for each in (parts.upstream, parts.moving, second))
        p, q, r = mean(z * g), mean(z * t), mean(z * u)
        gt, gu, tu = mean(g * t), mean(g * u), mean(t * u)
        return np.asarray(
            self.triple(p, q, r) * z + 3 * z * (r * gt + q * gu + p * tu) + self.pairs(p, q, r, g, t, u)
            - (tu * g + gu * t + gt * u)
        )  # fmt: skip

    def triple(self, p: Array, q: Array, r: Array) -> Array:
        """What the product of all three means is multiplied by, times that product."""
        return np.asarray(-15 * p * q * r)

    def pairs(self, p: Array, q: Array, r: Array, g: Array, t: Array, u: Array) -> Array:
        """The terms with the products of two means."""
        return np.asarray(3 * (q * r * g + p * r * t + p * q * u))

    def read(self, x: Array, direction: Array, grad_output: Array | None, training: bool) -> Pass:
        """The parts of one pass; ValueError as in a forward pass."""
        self.check(x, training)
        values, moving = self.channels(x), self.channels(direction)
        upstream = moving * 0 if grad_output is None else self.channels(grad_output)
        centre, variance = self.normalizing(values, x, training)
        z = self.normalise(values, centre, variance, training)
        factor = self.inverse_std(variance, training)[:, None]
        return Pass(values, z, moving, upstream, factor, self.flows(training), training)

    def flows(self, training: bool) -> bool:
        """Whether derivatives flow through the statistics."""
        return self.from_batch(training)

    def scale(self, parts: Pass) -> Array:
        """Weight / sqrt(variance + eps), (C, 1)."""
        return np.asarray(self.entry("weight")[:, None] * parts.factor if self.config.weight else parts.factor)

    def output_tangent(self, parts: Pass) -> Array:
        """The derivative of y."""
        return np.asarray(self.scale(parts) * self.balance(parts))

    def balance(self, parts: Pass) -> Array:
        """sqrt(variance + eps) times the derivative of z: t - mean(t) - z mean(z t), or t."""
        moving = parts.moving
        if not parts.through:
            return moving
        return np.asarray(moving - mean(moving) - parts.z * mean(parts.z * moving))

    def input_second(self, parts: Pass) -> Array:
        """The derivative of the gradient for x over weight / (variance + eps)."""
        if not parts.through:
            return parts.z * 0
        z, g, t = parts.z, parts.upstream, parts.moving
        p, q = mean(z * t), mean(z * g)
        return np.asarray(p * (mean(g) - g) + q * (mean(t) - t) + z * self.inner(parts, p, q, self.covariance(g, t)))

    def covariance(self, g: Array, t: Array) -> Array:
        """That of g and t, (C, 1)."""
        return mean((g - mean(g)) * (t - mean(t)))

    def inner(self, parts: Pass, p: Array, q: Array, s: Array) -> Array:
        """The factor of z, (C, 1), of p = mean(z t), q = mean(z g) and the covariance s."""
        return np.asarray(3 * p * q - s)

    def weight_second(self, parts: Pass) -> Array:
        """The derivative of the gradient for the weight, (C,)."""
        return np.asarray((parts.upstream * parts.factor * self.balance(parts)).sum(axis=1))

    def bias_second(self, parts: Pass) -> Array:
        """The derivative of the gradient for the bias, (C,)."""
        return np.zeros(len(parts.z), parts.z.dtype)
