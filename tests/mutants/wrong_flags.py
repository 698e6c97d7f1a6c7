"""Wrong with some of the flags: affine, track_running_stats, momentum None, and their combinations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Entries, Layer


@wrong("BN-FLAG-AFFINE-OFF")
class AffineOffShowsAWeight(Layer):
    """Without affine the layer has a weight all the same."""

    def state(self) -> Entries:
        """With a weight of 1."""
        entries = super().state()
        return entries if self.has_parameters else entries | {"weight": self.ones()}

    def ones(self) -> Array:
        """1 for every channel."""
        made = Layer(Config(self.config.num_features, param_dtype=self.config.param_dtype))
        return made.present("weight")


@wrong("BN-FLAG-AFFINE-OFF", "BN-GRAD-AFFINE")
class AffineOffGivesParameterGradients(Layer):
    """Without affine the backward pass gives gradients for weight and bias all the same."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """Zeros in place of None."""
        grad_x, grad_weight, grad_bias = super().backward(x, grad_output, training=training)
        if not self.has_parameters:
            zeros = Layer(Config(self.config.num_features, param_dtype=self.config.param_dtype)).present("bias")
            return grad_x, zeros, zeros.copy()
        return grad_x, grad_weight, grad_bias


@wrong("BN-FLAG-AFFINE-OFF")
class AffineOffAddsTheRunningMean(Layer):
    """Without affine evaluation adds the running mean in place of a bias."""

    def affine(self, z: Array, training: bool) -> Array:
        """With a bias of its own."""
        if self.has_parameters or training or not self.tracked:
            return super().affine(z, training)
        return z + self.entry("running_mean")[:, None]


@wrong("BN-FLAG-TRACK-OFF", thread="pytorch#20967")
class TrackOffKeepsItsBuffers(Layer):
    """Without tracking the layer shows buffers, and training moves them."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.hidden = Layer(Config(config.num_features, ndim=config.ndim, param_dtype=config.param_dtype))

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right y; hidden statistics move."""
        y = super().forward(x, training=training)
        if not self.tracked and training:
            self.hidden.forward(x, training=True)
        return y

    def state(self) -> Entries:
        """With the hidden statistics."""
        entries, hidden = super().state(), self.hidden.state()
        shown = {name: hidden[name] for name in ("running_mean", "running_var")}
        return entries if self.tracked else entries | shown


@wrong("BN-FLAG-TRACK-OFF-EVAL")
class TrackOffEvaluatesByHiddenStatistics(Layer):
    """Without tracking statistics are remembered in secret, and evaluation after training uses them."""

    seen: tuple[Array, Array] | None = None

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """The last training batch's in evaluation."""
        found = super().normalizing(values, x, training)
        if self.tracked:
            return found
        if training:
            self.seen = found
        return found if training or self.seen is None else self.seen


@wrong("BN-FLAG-TABLE")
class MomentumNoneWithoutAffineRemembersNothing(Layer):
    """With momentum None and without affine, and only then, the running statistics never move."""

    def batch_weight(self) -> float:
        """Zero for one combination of flags."""
        return 0.0 if self.config.momentum is None and not self.has_parameters else super().batch_weight()


@wrong("BN-FLAG-TABLE")
class WithoutAnyFlagEvaluationHandsThrough(Layer):
    """Without affine and without tracking, with momentum None, evaluation hands x through."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """A copy of x for one combination of flags."""
        bare = not self.has_parameters and not self.tracked and self.config.momentum is None
        return x.copy() if bare and not training else super().forward(x, training=training)


@wrong("BN-RUN-VAR")
class MomentumNoneWithoutAffineRemembersTheBiasedVariance(Layer):
    """With momentum None and without affine, and only then, the biased variance is remembered."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """Biased for one combination of flags."""
        bare = self.config.momentum is None and not self.has_parameters
        return self.moments(values) if bare else super().memory_of(values)


@wrong("BN-GRAD-AFFINE")
class GradientWithoutAffineOrTrackingDetached(Layer):
    """Without affine and without tracking the gradient in evaluation takes the statistics for constant."""

    def from_batch_gradient(self, training: bool) -> bool:
        """Whether the gradient flows through the statistics."""
        return training or self.tracked or self.has_parameters

    def through_statistics(self, z: Array, upstream: Array) -> Array:
        """Not at all in the one case."""
        return upstream if self.detached else super().through_statistics(z, upstream)

    detached = False

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """Note the case."""
        self.detached = not self.from_batch_gradient(training)
        return super().backward(x, grad_output, training=training)


@wrong("BN-FLAG-DEFAULTS")
class OtherDefaults(Layer):
    """A layer that is asked for nothing has the epsilon 1e-3 and a momentum of 0.01."""

    DEFAULTS: ClassVar[Mapping[str, float]] = {"eps": 1e-3, "momentum": 0.01}
