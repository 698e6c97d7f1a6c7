"""Right by other means: the gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bnconform.tests.mutants.algorithms import Array, centring_form, differentiate, means_form, moments_form, pairwise
from bnconform.tests.mutants.assembled import PLAIN, Assembled
from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.layer import Layer
from bnconform.tests.mutants.tape import Tape, TapeNode


@right
class GradientFromMeans(Assembled):
    """The gradient for x is (g - mean(g) - (x - m) f**2 mean(g (x - m))) f w, with sums over x - m instead of z."""

    how = replace(PLAIN, gradient=means_form)


@right
class GradientCentredFirst(Assembled):
    """The mean upstream gradient is taken off before anything else is done with it."""

    how = replace(PLAIN, gradient=centring_form, add=pairwise)


@right
class GradientByChainRule(Assembled):
    """The gradients for variance, mean and x one after the other, as in the paper, the vanishing path kept."""

    how = replace(PLAIN, gradient=differentiate)


@right
class GradientFromRawSums(Assembled):
    """The sums of g x and of g are all that is summed; x - m is never formed in the backward pass."""

    how = replace(PLAIN, gradient=moments_form)


class OnTape(Assembled):
    """What the layers have in common whose gradients come from a tape: the graph of y."""

    def variance_node(self, tape: Tape, x: TapeNode, mean: TapeNode, centred: TapeNode) -> TapeNode:
        """The biased variance of the batch, (1, C)."""
        return tape.mean(tape.times(centred, centred))

    def gradients(
        self, values: Array, upstream: Array, mean: Array, variance: Array, training: bool
    ) -> tuple[Array, Array, Array]:
        """The gradients for x (n, C), for the weight and for the bias, of values and upstream gradient (n, C)."""
        tape = Tape(self.how.add)
        x, weight, bias = (tape.leaf(np.atleast_2d(value)) for value in (values, *self.parameters()))
        if self.from_batch(training):
            centre = tape.mean(x)
            centred = tape.minus(x, centre)
            spread = self.variance_node(tape, x, centre, centred)
        else:
            centred, spread = tape.minus(x, tape.leaf(mean[None])), tape.leaf(variance[None])
        epsilon = tape.leaf(np.full((1, values.shape[1]), self.config.eps, values.dtype))
        factor = tape.inverse_root(tape.plus(spread, epsilon))
        y = tape.plus(tape.times(tape.times(centred, factor), weight), bias)
        found = tape.gradients(y, upstream)
        return found[x], found[weight][0], found[bias][0]


@right
class GradientByTape(OnTape):
    """The gradients come from reverse-mode differentiation of the two-pass graph, operation by operation."""


@right
class GradientByTapeOfOnePass(OnTape):
    """The gradients come from reverse-mode differentiation of the graph of mean(x**2) - mean(x)**2."""

    def variance_node(self, tape: Tape, x: TapeNode, mean: TapeNode, centred: TapeNode) -> TapeNode:
        """The biased variance of the batch, (1, C), not below 0."""
        return tape.not_negative(tape.minus(tape.mean(tape.times(x, x)), tape.times(mean, mean)))


@right
class GradientInDouble(Layer):
    """The backward pass is computed in double, the forward pass as it is."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """(grad_x, grad_weight, grad_bias) of sum(y * grad_output); the state stays as it is."""
        ordinary, self.work = self.work, np.dtype(np.float64)
        try:
            return super().backward(x, grad_output, training=training)
        finally:
            self.work = ordinary


@right
class BackwardTrains(Layer):
    """A backward pass in training makes a training forward pass first, which moves the statistics once."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """(grad_x, grad_weight, grad_bias) of sum(y * grad_output)."""
        if training:
            self.forward(x, training=True)
        return super().backward(x, grad_output, training=training)
