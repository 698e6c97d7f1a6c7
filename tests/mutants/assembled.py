"""A layer whose arithmetic is put together from `algorithms`: how it sums, normalises, updates and differentiates."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from bnconform.tests.mutants.algorithms import Algorithm, convex, direct, sum_form, sum_in_blocks, two_pass
from bnconform.tests.mutants.layer import Array, Layer

PLAIN = Algorithm("plain", two_pass(sum_in_blocks), direct, convex, sum_form, sum_in_blocks)
"""Two-pass, (x - m) f w + b, (1 - a) old + a batch, the closed form."""


class Assembled(Layer):
    """A right layer; a subclass says `how` it computes."""

    how: ClassVar[Algorithm] = PLAIN

    def forward(self, x: Array, *, training: bool) -> Array:
        """The output, as x in shape and dtype; ValueError for input that has no answer."""
        with np.errstate(all="ignore"):
            self.check(x, training)
            values = self.channels(x)
            mean, variance = self.normalizing(values, x, training)
            if training and self.tracked:
                self.remember(values, x)
            return self.reshape_like(self.output(values.T, mean, variance, training).T, x)

    def output(self, values: Array, mean: Array, variance: Array, training: bool) -> Array:
        """The output (n, C) of values (n, C)."""
        return self.how.normalize(values, mean, self.inverse_std(variance, training), *self.parameters())

    def parameters(self) -> tuple[Array, Array]:
        """Weight and bias, each (C,): 1 and 0 where there are none."""
        size = self.config.num_features
        weight = self.entry("weight") if self.config.weight else np.ones(size, self.work)
        return weight, self.entry("bias") if self.config.bias else np.zeros(size, self.work)

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The mean and the biased variance of a batch, each (C,); 0 and 1 of an empty one."""
        if not values.shape[1]:
            return super().moments(values)
        return self.how.statistics(values.T)

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """1 / sqrt(variance + eps), (C,)."""
        return self.how.inverse(variance, self.work.type(self.config.eps))

    def blend(self, old: Array, new: Array, weight: float) -> Array:
        """The running statistic moved towards the batch's, (C,), in the dtype that is kept."""
        return self.how.update(old, new, weight).astype(self.kept)

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """(grad_x, grad_weight, grad_bias) of sum(y * grad_output); the state stays as it is."""
        if not x.size:
            return super().backward(x, grad_output, training=training)
        with np.errstate(all="ignore"):
            self.check(x, training)
            self.check_upstream(x, grad_output)
            values, upstream = self.channels(x), self.channels(grad_output)
            mean, variance = self.normalizing(values, x, training)
            by_input, by_weight, by_bias = self.gradients(values.T, upstream.T, mean, variance, training)
            grad_x = self.reshape_like(by_input.T, x)
            grad_weight = by_weight.astype(self.kept) if self.config.weight else None
            return grad_x, grad_weight, by_bias.astype(self.kept) if self.config.bias else None

    def gradients(
        self, values: Array, upstream: Array, mean: Array, variance: Array, training: bool
    ) -> tuple[Array, Array, Array]:
        """The gradients for x (n, C), for the weight and for the bias, of values and upstream gradient (n, C)."""
        factor, weight = self.inverse_std(variance, training), self.parameters()[0]
        by_input, by_weight = self.how.gradient(values, upstream, mean, factor, weight, self.how.add)
        if not self.from_batch(training):
            by_input = upstream * (factor * weight)
        return by_input, by_weight, self.how.add(upstream)
