"""Wrong where a layer has a weight and no bias, or a bias and no weight."""

from __future__ import annotations

import numpy as np

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Entries, Layer

Gradients = tuple[Array, Array | None, Array | None]


class _WeightAlone(Layer):
    """A layer that knows when it has a weight and no bias."""

    @property
    def weight_alone(self) -> bool:
        """Whether that is so."""
        return self.config.weight and not self.config.bias


class _BiasAlone(Layer):
    """A layer that knows when it has a bias and no weight."""

    @property
    def bias_alone(self) -> bool:
        """Whether that is so."""
        return self.config.bias and not self.config.weight


@wrong("BN-FLAG-WEIGHT-ALONE")
class WeightLostWithoutBias(_WeightAlone):
    """Where there is no bias the affine map is skipped, and the weight with it."""

    def affine(self, z: Array, training: bool) -> Array:
        """Z itself without a bias."""
        return z if self.weight_alone else super().affine(z, training)


@wrong("BN-FLAG-WEIGHT-ALONE")
class WeightLostWithoutBiasInEvaluation(_WeightAlone):
    """Where there is no bias evaluation skips the weight; training applies it."""

    def affine(self, z: Array, training: bool) -> Array:
        """Z itself in evaluation."""
        return z if self.weight_alone and not training else super().affine(z, training)


@wrong("BN-FLAG-WEIGHT-ALONE")
class HiddenBiasWithoutBias(_WeightAlone):
    """A layer without a bias keeps one in secret: the running mean, which it does not show as one."""

    def affine(self, z: Array, training: bool) -> Array:
        """With a bias of its own, where there is one to take."""
        y = super().affine(z, training)
        hidden = self.weight_alone and self.tracked
        return y + self.entry("running_mean")[:, None] if hidden else y


@wrong("BN-FLAG-WEIGHT-ALONE")
class BiasShownWithoutBias(_WeightAlone):
    """A layer without a bias shows one of zeros."""

    def state(self) -> Entries:
        """With a bias."""
        entries = super().state()
        return entries | {"bias": np.zeros_like(self.present("weight"))} if self.weight_alone else entries


@wrong("BN-FLAG-WEIGHT-ALONE")
class InputGradientWithoutWeightWhereNoBiasIs(_WeightAlone):
    """The gradient for x leaves the weight out where there is no bias."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        """1 / sqrt(variance + eps) there."""
        return self.inverse_std(variance, training) if self.weight_alone else super().gradient_scale(variance, training)


@wrong("BN-FLAG-WEIGHT-ALONE")
class BiasGradientWithoutBias(_WeightAlone):
    """The backward pass gives a gradient for a bias that does not exist."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The sum of g in place of None."""
        grad_x, grad_weight, grad_bias = super().backward(x, grad_output, training=training)
        if self.weight_alone:
            grad_bias = self.bias_gradient(self.channels(grad_output), training).astype(self.kept)
        return grad_x, grad_weight, grad_bias


@wrong("BN-FLAG-WEIGHT-ALONE")
class NoWeightGradientWithoutBias(_WeightAlone):
    """Without a bias the layer is taken for one without parameters: the weight gets no gradient."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """None in place of the weight's."""
        grad_x, grad_weight, grad_bias = super().backward(x, grad_output, training=training)
        return grad_x, None if self.weight_alone else grad_weight, grad_bias


@wrong("BN-FLAG-BIAS-ALONE")
class BiasLostWithoutWeight(_BiasAlone):
    """Where there is no weight the affine map is skipped, and the bias with it."""

    def affine(self, z: Array, training: bool) -> Array:
        """Z itself without a weight."""
        return z if self.bias_alone else super().affine(z, training)


@wrong("BN-FLAG-BIAS-ALONE")
class MissingWeightReadAsZero(_BiasAlone):
    """A weight that is not there counts as 0 in the gradient for x."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        """Nothing there."""
        scale = super().gradient_scale(variance, training)
        return np.zeros_like(scale) if self.bias_alone else scale


@wrong("BN-FLAG-BIAS-ALONE")
class WeightGradientWithoutWeight(_BiasAlone):
    """The backward pass gives a gradient for a weight that does not exist."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """Zeros in place of None."""
        grad_x, grad_weight, grad_bias = super().backward(x, grad_output, training=training)
        return grad_x, np.zeros_like(self.present("bias")) if self.bias_alone else grad_weight, grad_bias


@wrong("BN-FLAG-BIAS-ALONE")
class BiasGradientLostWithoutWeight(_BiasAlone):
    """Where there is no weight the bias gets a gradient of zeros, in evaluation alone."""

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        """Zeros there."""
        found = super().bias_gradient(upstream, training)
        return np.zeros_like(found) if self.bias_alone and not training else found


@wrong("BN-FLAG-BIAS-ALONE")
class NewBiasOfOneWithoutWeight(_BiasAlone):
    """A new bias is filled with 1 where there is no weight, as if it were one."""

    def initial(self) -> Entries:
        """1 in place of 0."""
        entries = super().initial()
        alone = self.config.bias and not self.config.weight
        return entries | {"bias": np.ones(self.config.num_features, self.kept)} if alone else entries
