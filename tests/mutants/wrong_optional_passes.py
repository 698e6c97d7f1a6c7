"""Wrong in passes that a layer need not have, where a flag, a stride or a shape is another than these mostly meet."""

from __future__ import annotations

import numpy as np

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.derivatives import Differentiable, Pass
from bnconform.tests.mutants.freezing import Freezing
from bnconform.tests.mutants.layer import Array, Gradients, Layer
from bnconform.tests.mutants.masks import Masked
from bnconform.tests.mutants.replicas import ReplicatedLayer, Statistics
from bnconform.tests.mutants.transforming import Transforming
from bnconform.tests.mutants.wrong_layout import is_channels_last


@wrong("BN-DERIV-FLAGS")
class TangentForgetsTheWeightAlone(Differentiable):
    """In evaluation the tangent of y lacks the weight where there is no bias."""

    def jvp(self, x: Array, tangent: Array, *, training: bool) -> tuple[Array, Array]:
        """As if the weight were one."""
        y, moving = super().jvp(x, tangent, training=training)
        if training or not self.config.weight or self.config.bias:
            return y, moving
        weight = self.entry("weight").reshape((1, -1) + (1,) * (x.ndim - 2))
        with np.errstate(all="ignore"):
            return y, np.asarray(moving / weight, x.dtype)


@wrong("BN-DERIV-JVP")
class TangentOfTheFirstSample(Differentiable):
    """A tangent with stride 0 along the batch is taken for that of the first sample alone."""

    def jvp(self, x: Array, tangent: Array, *, training: bool) -> tuple[Array, Array]:
        """0 for the other samples."""
        if len(x) > 1 and tangent.strides[0] == 0:
            tangent = tangent * (np.arange(len(x)) == 0).reshape(-1, *(1,) * (x.ndim - 1))
        return super().jvp(x, tangent.astype(x.dtype), training=training)


@wrong("BN-DERIV-JVP-JVP")
class SecondTangentUntrackedIsZero(Differentiable):
    """In evaluation the second tangent of y is 0, also where the batch normalises as nothing is tracked."""

    def output_second(self, parts: Pass) -> Array:
        """By the mode alone."""
        found = super().output_second(parts)
        return found if parts.training or self.tracked else found * 0


@wrong("BN-DERIV-THIRD")
class ThirdWithoutAWeightLacksADeviation(Differentiable):
    """The third derivative has one inverse deviation too few where there is no weight."""

    def input_third(self, parts: Pass, second: Array) -> Array:
        """Divided by one that was due."""
        found = super().input_third(parts, second)
        return found if self.config.weight else np.asarray(found / parts.factor)


@wrong("BN-TRANS-JACFWD")
class LastColumnsAreZero(Transforming):
    """The Jacobian in forward mode is made of 32 columns at a time; those of a last block that is not whole are 0."""

    def jacfwd(self, x: Array, *, training: bool) -> Array:
        """Whole blocks alone, where there is one."""
        found = super().jacfwd(x, training=training)
        whole = x.size // 32 * 32
        if x.size > 32:
            found = found.reshape(*x.shape, x.size).copy()
            found[..., whole:] = 0
        return found.reshape(*x.shape, *x.shape)


@wrong("BN-TRANS-VMAP-BATCHES")
class BatchesOfOneSamplePooled(Transforming):
    """Batches of one sample each that are mapped in training are normalised together."""

    def vmap(self, xs: Array, *, training: bool) -> Array:
        """As one batch."""
        if not training or xs.shape[1] != 1:
            return super().vmap(xs, training=training)
        return self.forward(xs[:, 0], training=True)[:, None]


@wrong("BN-MASK-FLAGS")
class EverythingSelectedIsTraining(Masked):
    """Where a mask selects everything, its gradients in evaluation are those of training."""

    def masked_backward(self, x: Array, mask: Array, grad_output: Array, *, training: bool) -> Gradients:
        """Handed to the pass without a mask."""
        return super().masked_backward(x, mask, grad_output, training=training or bool(np.all(mask != 0)))


@wrong("BN-MASK-INTEGER")
class IntegersMultiply(Masked):
    """What a mask of integers hides is multiplied by 0, which hides no NaN."""

    def moments_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """NaN where NaN is hidden."""
        mean, variance = super().moments_under_mask(values, seen)
        lost = (values * 0 * ~seen).sum(axis=1) if self.multiplies else 0
        return np.asarray(mean + lost), np.asarray(variance + lost)

    multiplies = False

    def masked(self, x: Array, mask: Array, *, training: bool) -> Array:
        """By the mask's dtype."""
        self.multiplies = mask.dtype != bool
        return super().masked(x, mask, training=training)


@wrong("BN-REP-EMPTY")
class MergingEndsAtAnEmptyReplica(ReplicatedLayer):
    """Statistics are merged up to the first replica that has nothing; those behind it are forgotten."""

    def statistics(self, shards: list[Array], i: int) -> Statistics:
        """Of those before it, where there are such."""
        first = next((number for number, shard in enumerate(shards) if not shard.size), len(shards))
        return super().statistics(shards[:first] if first else shards, min(i, max(first - 1, 0)) if first else i)


@wrong("BN-FROZEN-PARAMETERS")
class FrozenWeightAloneTrains(Freezing):
    """A frozen layer with a weight and no bias gives the weight's gradient."""

    def operands(self, found: Gradients) -> Gradients:
        """As if it were not frozen."""
        return found if self.config.weight and not self.config.bias else super().operands(found)


@wrong("BN-LAYOUT-GRAD")
class SixtyFourSamplesOverAndOver(Layer):
    """For a channels-last x of more than 64 samples, the upstream gradient of sample n modulo 64 is read."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """A block's samples again."""
        if len(x) > 64 and is_channels_last(x):
            grad_output = grad_output[np.arange(len(x)) % 64]
        return super().backward(x, grad_output, training=training)


@wrong("BN-TRAIN-AFFINE")
class FirstWeightDecides(Layer):
    """There is no multiplication where the weight of the first channel is 1, whatever those of the others are."""

    def affine(self, z: Array, training: bool) -> Array:
        """As where all are."""
        if not self.config.weight or self.entry("weight")[0] != 1:
            return super().affine(z, training)
        return np.asarray(z + self.entry("bias")[:, None]) if self.config.bias else z
