"""Wrong where hand-made probes and pairs of circumstances long asked nothing: found by layers written without sight of
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Gradients, Layer
from bnconform.tests.mutants.wrong_layout import is_channels_last

HALF = 0.5


@wrong("BN-EDGE-WEIGHT-ZERO")
class ParametersOfZeroGetNothing(Layer):
    """Where weight and bias are 0 throughout, the bias gets a gradient of 0."""

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        found = super().bias_gradient(upstream, training)
        names = ("weight", "bias")
        unused = all(self.entries[name] is not None and not self.entry(name).any() for name in names)
        return found * 0 if unused else found


@wrong("BN-EDGE-NAN")
class NanInTheBiasSpreads(Layer):
    """A NaN in the bias of one channel makes every channel NaN in evaluation."""

    def shift(self, values: Array) -> Array:
        found = super().shift(values)
        return found + 0 * self.entry("bias").sum() if self.config.bias else found


@wrong("BN-GRAD-INPUT")
class EqualNegativeWeightsLoseTheirSign(Layer):
    """Weights that are all alike are taken for one number, without its sign, in the backward pass."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        scale = super().gradient_scale(variance, training)
        weight = self.entries["weight"]
        alike = weight is not None and weight.size > 1 and bool((weight == weight[0]).all())
        return np.abs(scale) if alike else scale


@wrong("BN-TRAIN-AFFINE")
class NegativeWeightsThroughoutLoseTheirSign(Layer):
    """Where all of several weights are negative, their size alone scales."""

    def affine(self, z: Array, training: bool) -> Array:
        weight = self.entries["weight"]
        if weight is not None and weight.size > 1 and bool((weight < 0).all()):
            return self.shift(np.abs(self.entry("weight"))[:, None] * z)
        return super().affine(z, training)


@wrong("BN-GRAD-INPUT")
class TinyWeightsAreZero(Layer):
    """In the backward pass a weight below 1e-6 counts as 0."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        scale = super().gradient_scale(variance, training)
        weight = self.entries["weight"]
        return scale if weight is None else np.where(np.abs(weight) < 1e-6, 0 * scale, scale)


@wrong("BN-GRAD-INPUT")
class EpsilonIsAtMostHalfInBackwardPasses(Layer):
    """The backward pass in training takes 0.5 for an epsilon above it."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        scale = super().gradient_scale(variance, training)
        if not training or self.config.eps <= 0.5:
            return scale
        given, taken = (scale.dtype.type(eps) for eps in (self.config.eps, 0.5))
        return np.asarray(scale * np.sqrt((variance + given) / (variance + taken)))


class _OfImages(Layer):
    """What the images of a pass are is known to its pieces."""

    image: tuple[int, ...] = ()

    def channels(self, x: Array) -> Array:
        self.image = x.shape[2:]
        return super().channels(x)


@wrong("BN-GRAD-INPUT")
class LastPixelOfSevenBySeven(_OfImages):
    """In images of 7 by 7 the gradient for x leaves the last value of the batch out of its mean."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        found = super().through_statistics(z, upstream)
        return found + upstream[:, -1:] / found.dtype.type(z.shape[1]) if self.image == (7, 7) else found


@wrong("BN-GRAD-INPUT")
class RowsOfEightByEight(_OfImages):
    """In images of 8 by 8 the gradient for x leaves the last row of the batch out of its mean."""

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        found = super().through_statistics(z, upstream)
        if self.image != (8, 8):
            return found
        return np.asarray(found + upstream[:, -8:].sum(axis=1, keepdims=True) / found.dtype.type(z.shape[1]))


@wrong("BN-GRAD-EVAL-INPUT")
class EighthBackwardPassForgetsTheWeight(Layer):
    """From the eighth backward pass on evaluation leaves the weight out of the gradient for x."""

    passes = 0

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        self.passes += 1
        return super().backward(x, grad_output, training=training)

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        if self.passes >= 8 and not training:
            return self.inverse_std(variance, training)
        return super().gradient_scale(variance, training)


@wrong("BN-EVAL-STATS")
class SixteenthEvaluationIsByTheBatch(Layer):
    """From the sixteenth evaluation in a row on the batch's statistics normalise."""

    evaluations = 0

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        self.evaluations = 0 if training else self.evaluations + 1
        return super().normalizing(values, x, training or self.evaluations >= 16)


@wrong("BN-TRAIN-STATS")
class StatisticsKeptByTheFirstValues(Layer):
    """A batch of the shape and the first sixteen values of an earlier one is normalised by the statistics of that."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.known: dict[tuple[Any, ...], tuple[Array, Array]] = {}

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        found = super().normalizing(values, x, training)
        if not self.from_batch(training) or x.size < 32:
            return found
        return self.known.setdefault((x.shape, x.ravel()[:16].tobytes()), found)


class _HalfOfBias(Layer):
    """The bias gets half of its gradient under a circumstance."""

    def is_met(self, x: Array) -> bool:
        """Whether it is that one."""
        raise NotImplementedError

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        grad_x, grad_weight, grad_bias = super().backward(x, grad_output, training=training)
        if grad_bias is not None and self.is_met(x):
            grad_bias = grad_bias * grad_bias.dtype.type(HALF)
        return grad_x, grad_weight, grad_bias


@wrong("BN-LAYOUT-CHANNELS")
class ManyChannelsOfManySamples(_HalfOfBias):
    """Past a tile of 64 by 64 channels and samples the bias gets half of its gradient."""

    def is_met(self, x: Array) -> bool:
        return x.ndim == 2 and x.shape[1] > 64 and x.shape[0] > 64


@wrong("BN-LAYOUT-CHANNELS")
class ManyChannelsOfManyPositions(_HalfOfBias):
    """Of channels-last images with more than 64 channels and positions the bias gets half of its gradient."""

    def is_met(self, x: Array) -> bool:
        return is_channels_last(x) and x.shape[1] > 64 and x[0, 0].size > 64


@wrong("BN-LAYOUT-CHANNELS", thread="torch-xpu-ops#1429")
class ChannelsLastManyValuesOfManyChannels(_HalfOfBias):
    """Of channels-last images with more than 8 channels and 512 values each the bias gets half of its gradient."""

    def is_met(self, x: Array) -> bool:
        return is_channels_last(x) and x.shape[1] > 8 and x.size // x.shape[1] > 512


@wrong("BN-RANK")
class OneVolumeTakenForChannelsLast(Layer):
    """One sample of rank 4 or 5 whose last axis is as long as there are channels is taken for channels-last."""

    def channels(self, x: Array) -> Array:
        if x.ndim > 3 and x.shape[0] == 1 and x.shape[-1] == x.shape[1] and x.shape[2] != x.shape[1]:
            x = np.swapaxes(x, 1, -1)
        return super().channels(x)


@wrong("BN-REC-STATE")
class RecordedPassCountsTwiceInTheAverage(Layer):
    """With momentum None a recorded training pass moves the statistics twice."""

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Gradients]]:
        found = super().vjp(x, training=training)
        if training and self.config.momentum is None:
            self.forward(x, training=True)
        return found


@wrong("BN-SET-MOMENTUM")
class UpdatePutOffTakesTheLaterMomentum(Layer):
    """An update is made when the state is asked for or used next, with the momentum that is set by then."""

    late: tuple[Array, Array] | None = None

    def remember(self, values: Array, x: Array) -> None:
        self.settle()
        self.late = values, x

    def settle(self) -> None:
        """Make the update that was put off."""
        late, self.late = self.late, None
        if late is not None:
            super().remember(*late)

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        if not training:
            self.settle()
        return super().normalizing(values, x, training)

    def state(self) -> dict[str, Array | None]:
        self.settle()
        return super().state()

    def load(self, state: Any) -> None:
        self.settle()
        super().load(state)

    def reset(self) -> None:
        self.late = None
        super().reset()


@wrong("BN-TRAIN-STATS")
class SampleOfZerosIsPadding(Layer):
    """A sample of zeros is taken for padding, and takes no part in the statistics that normalise."""

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        there = x.reshape(x.shape[0], -1).any(axis=1)
        if self.from_batch(training) and x.ndim > 2 and there.any():
            return self.moments(self.channels(x[there]))
        return super().normalizing(values, x, training)
