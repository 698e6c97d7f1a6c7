"""Wrong in derivatives: forward mode, and second derivatives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.derivatives import Differentiable, Pass, mean
from bnconform.tests.mutants.layer import Array, Gradients

# -- forward mode -----------------------------------------------------------------------------------------------------


@wrong("BN-DERIV-JVP")
class TangentTakesStatisticsForConstant(Differentiable):
    """Forward mode scales the tangent in training as in evaluation."""

    def output_tangent(self, parts: Pass) -> Array:
        """Weight / std times t."""
        return np.asarray(self.scale(parts) * parts.moving)


@wrong("BN-DERIV-JVP")
class TangentTakesVarianceForConstant(Differentiable):
    """Forward mode flows through the mean and not through the variance."""

    def output_tangent(self, parts: Pass) -> Array:
        """The term with z is missing."""
        moving = parts.moving - mean(parts.moving) if parts.through else parts.moving
        return np.asarray(self.scale(parts) * moving)


@wrong("BN-DERIV-JVP")
class TangentTakesMeanForConstant(Differentiable):
    """Forward mode flows through the variance and not through the mean."""

    def output_tangent(self, parts: Pass) -> Array:
        """The mean of t is missing."""
        through = parts.z * mean(parts.z * parts.moving) if parts.through else 0
        return np.asarray(self.scale(parts) * (parts.moving - through))


@wrong("BN-DERIV-JVP", "BN-DERIV-EVAL-JVP")
class TangentWithoutDeviation(Differentiable):
    """The tangent is not divided by the standard deviation, which shows where that is far from 1."""

    def output_tangent(self, parts: Pass) -> Array:
        """The factor is missing."""
        return super().output_tangent(parts) / parts.factor


@wrong("BN-DERIV-JVP", "BN-DERIV-EVAL-JVP")
class TangentWithoutWeight(Differentiable):
    """Forward mode forgets the weight."""

    def output_tangent(self, parts: Pass) -> Array:
        """That of z."""
        return np.asarray(parts.factor * self.balance(parts))


@wrong("BN-DERIV-JVP")
class TangentOfUnbiasedVariance(Differentiable):
    """The derivative of the variance divides by n - 1, as that of the unbiased one does."""

    def output_tangent(self, parts: Pass) -> Array:
        """The term with z is n / (n - 1) times too large."""
        if not parts.through:
            return super().output_tangent(parts)
        n = parts.z.shape[1]
        along = mean(parts.z * parts.moving) * parts.z.dtype.type(n / (n - 1))
        return np.asarray(self.scale(parts) * (parts.moving - mean(parts.moving) - parts.z * along))


@wrong("BN-DERIV-JVP", "BN-DERIV-EVAL-JVP")
class TangentIsShifted(Differentiable):
    """The tangent goes through the whole affine map, so that the bias is added to it."""

    def output_tangent(self, parts: Pass) -> Array:
        """With the bias."""
        return self.shift(super().output_tangent(parts))


@wrong("BN-DERIV-EVAL-JVP")
class EvaluationTangentHasBatchTerms(Differentiable):
    """Forward mode takes the terms of training in evaluation too."""

    def output_tangent(self, parts: Pass) -> Array:
        """As in training."""
        return super().output_tangent(replace(parts, through=True))


@wrong("BN-DERIV-EVAL-JVP")
class TangentStaysInTheRunningMean(Differentiable):
    """What a training pass adds to the running mean keeps its tangent, which evaluation then takes off."""

    kept_tangent: Array | None = None

    def output_tangent(self, parts: Pass) -> Array:
        """Less that of the running mean."""
        found = super().output_tangent(parts)
        if parts.training:
            self.kept_tangent = mean(parts.moving) * parts.z.dtype.type(self.config.momentum or 0.1)
        elif self.kept_tangent is not None:
            found = found - self.scale(parts) * self.kept_tangent
        return found


@wrong("BN-DERIV-FLAGS", "BN-DERIV-JVP")
class TangentOfTheRunningMean(Differentiable):
    """Forward mode differentiates the moved running mean in the place of the batch's: momentum has a part in it."""

    def balance(self, parts: Pass) -> Array:
        """The mean of t, weighed."""
        found = super().balance(parts)
        weight = 1.0 if self.config.momentum is None else self.config.momentum
        return np.asarray(found + mean(parts.moving) * (1 - weight)) if parts.training else found


@wrong("BN-DERIV-FLAGS")
class UntrackedEvaluationTakenForConstant(Differentiable):
    """Without tracking evaluation normalises by the batch, and derivatives take that for constant."""

    def flows(self, training: bool) -> bool:
        """In training alone."""
        return training


@wrong("BN-DERIV-FLAGS")
class NoParametersNoVariance(Differentiable):
    """The code path without weight and bias has forward mode without the variance."""

    def output_tangent(self, parts: Pass) -> Array:
        """The term with z is missing there."""
        if self.has_parameters or not parts.through:
            return super().output_tangent(parts)
        return np.asarray(parts.factor * (parts.moving - mean(parts.moving)))


# -- forward mode of forward mode -------------------------------------------------------------------------------------


@wrong("BN-DERIV-JVP-JVP", thread="pytorch#196699")
class SecondTangentTakesDeviationForConstant(Differentiable):
    """The rule for forward mode takes the deviation that the pass saved for a constant when it is differentiated."""

    def output_second(self, parts: Pass) -> Array:
        """Of z alone."""
        if not parts.through:
            return super().output_second(parts)
        z, t, u = parts.z, parts.upstream, parts.moving
        return np.asarray(mean(z * t) * (mean(u) - u) - z * self.covariance(t, u))


@wrong("BN-DERIV-JVP-JVP")
class SecondTangentIsZero(Differentiable):
    """The tangent of a tangent is dropped: zeros, as of a function that is linear."""

    def output_second(self, parts: Pass) -> Array:
        """Zeros."""
        return parts.z * 0


@wrong("BN-DERIV-JVP-JVP")
class SecondTangentForgetsTheCovariance(Differentiable):
    """The variance's own second derivative, the covariance of both tangents, is missing."""

    def output_second(self, parts: Pass) -> Array:
        """Added again."""
        found = super().output_second(parts)
        return found + parts.z * self.covariance(parts.upstream, parts.moving) if parts.through else found


# -- third derivatives ------------------------------------------------------------------------------------------------


@wrong("BN-DERIV-THIRD", thread="pytorch#186779")
class ThirdDerivativeTakesStatisticsForConstant(Differentiable):
    """The double backward is differentiated with the mean and the deviation that the pass saved taken for constants."""

    def input_third(self, parts: Pass, second: Array) -> Array:
        """The gradient of sum(u hvp_x) through z = (x - m) f, m and f constant."""
        if not parts.through:
            return super().input_third(parts, second)
        z, g, t, u = parts.z, parts.upstream, parts.moving, second
        p, q, r = mean(z * g), mean(z * t), mean(z * u)
        gt, gu, tu = self.covariance(g, t), self.covariance(g, u), self.covariance(t, u)
        return np.asarray(u * (3 * p * q - gt) + 3 * r * (q * g + p * t) - gu * t - tu * g)


@wrong("BN-DERIV-THIRD")
class ThirdDerivativeIsZero(Differentiable):
    """A custom operation stops derivatives after the second: zeros."""

    def input_third(self, parts: Pass, second: Array) -> Array:
        """Zeros."""
        return parts.z * 0


@wrong("BN-DERIV-THIRD")
class ThirdDerivativeForgetsAPowerOfTheDeviation(Differentiable):
    """The factor of the product of all three means is that of a quotient, 9, without the deviation's own 6."""

    def triple(self, p: Array, q: Array, r: Array) -> Array:
        """Nine."""
        return np.asarray(-9 * p * q * r)


@wrong("BN-DERIV-THIRD")
class ThirdDerivativeForgetsTheSecondDirection(Differentiable):
    """Of the three terms with products of two means that along the second vector is missing."""

    def pairs(self, p: Array, q: Array, r: Array, g: Array, t: Array, u: Array) -> Array:
        """Two of three."""
        return np.asarray(3 * (q * r * g + p * r * t))


# -- second derivatives -----------------------------------------------------------------------------------------------


@wrong("BN-DERIV-HVP", thread="chainer#3275")
class SecondDerivativeTakesVarianceForConstant(Differentiable):
    """The backward pass is differentiated with the standard deviation that was saved taken for constant."""

    def input_second(self, parts: Pass) -> Array:
        """Of z alone, and of z through the mean alone."""
        if not parts.through:
            return super().input_second(parts)
        z, g, t = parts.z, parts.upstream, parts.moving
        return np.asarray(mean(z * g) * (mean(t) - t) - z * self.covariance(g, t))


@wrong("BN-DERIV-HVP")
class SecondDerivativeTakesMeanForConstant(Differentiable):
    """The backward pass is differentiated with the mean that was saved taken for constant."""

    def input_second(self, parts: Pass) -> Array:
        """Without the mean of t."""
        if not parts.through:
            return super().input_second(parts)
        z, g, t = parts.z, parts.upstream, parts.moving
        p, q = mean(z * t), mean(z * g)
        return np.asarray(p * (mean(g) - g) - q * t + z * (3 * p * q - mean(g * t)))


@wrong("BN-DERIV-HVP", thread="Paddle#27549")
class SecondDerivativeIsZero(Differentiable):
    """Everything that was saved is taken for constant, so that the gradient for x seems not to depend on x."""

    def input_second(self, parts: Pass) -> Array:
        """Zeros."""
        return parts.z * 0


@wrong("BN-DERIV-HVP")
class SecondDerivativeOfConstantStatistics(Differentiable):
    """Only the upstream gradient's factor is differentiated: the other two terms are forgotten."""

    def input_second(self, parts: Pass) -> Array:
        """The first term."""
        p = mean(parts.z * parts.moving)
        return p * (mean(parts.upstream) - parts.upstream) if parts.through else parts.z * 0


class _Inner(Differentiable):
    """A layer with another factor of z."""

    products, covariances = 3.0, 1.0

    def inner(self, parts: Pass, p: Array, q: Array, s: Array) -> Array:
        """Some p q less some s."""
        kind = parts.z.dtype.type
        return np.asarray(kind(self.products) * p * q - kind(self.covariances) * s)


@wrong("BN-DERIV-HVP")
class OneOfThreeProducts(_Inner):
    """Two of the three products of means that belong to z are missing."""

    products = 1.0


@wrong("BN-DERIV-HVP")
class TwoOfThreeProducts(_Inner):
    """One of the three products of means that belong to z is missing."""

    products = 2.0


@wrong("BN-DERIV-HVP")
class CovarianceMissing(_Inner):
    """The covariance of upstream gradient and vector is missing."""

    covariances = 0.0


@wrong("BN-DERIV-HVP")
class CovarianceTwice(_Inner):
    """The covariance of upstream gradient and vector is there twice: once by each order of differentiation."""

    covariances = 2.0


@wrong("BN-DERIV-HVP")
class CovarianceNotCentred(Differentiable):
    """The mean of g t stands in the place of their covariance."""

    def covariance(self, g: Array, t: Array) -> Array:
        """Not centred."""
        return mean(g * t)


@wrong("BN-DERIV-HVP")
class VarianceAboutAStoppedMean(Differentiable):
    """The variance is taken about a mean whose gradient is stopped: it is 0 in first derivatives, and not in second."""

    def input_second(self, parts: Pass) -> Array:
        """Of the deviations that the variance squares, t and not t - mean(t)."""
        found = super().input_second(parts)
        return found - mean(parts.z * parts.upstream) * mean(parts.moving) if parts.through else found


@wrong("BN-DERIV-HVP")
class EpsilonForgottenInTheSecondDerivative(Differentiable):
    """The mean of z squared is taken for 1, which it is only without epsilon."""

    def inner(self, parts: Pass, p: Array, q: Array, s: Array) -> Array:
        """One of the products has a factor 1 / mean(z**2)."""
        return np.asarray((2 + 1 / mean(parts.z * parts.z)) * p * q - s)


@wrong("BN-DERIV-HVP")
class VectorAndUpstreamAreNotExchanged(Differentiable):
    """Of the two terms that mirror each other one is missing, so that the Hessian is not symmetric."""

    def input_second(self, parts: Pass) -> Array:
        """Without q (mean(t) - t)."""
        found = super().input_second(parts)
        if not parts.through:
            return found
        return np.asarray(found - mean(parts.z * parts.upstream) * (mean(parts.moving) - parts.moving))


@wrong("BN-DERIV-HVP")
class SecondDerivativeHasDeviationOnce(Differentiable):
    """The second derivative divides by the standard deviation once, as the first does, and not twice."""

    def input_second(self, parts: Pass) -> Array:
        """One factor too few."""
        return super().input_second(parts) / parts.factor


@wrong("BN-DERIV-HVP")
class SecondDerivativeWithoutWeight(Differentiable):
    """The second derivative for x forgets the weight."""

    def input_second(self, parts: Pass) -> Array:
        """The weight is taken off again."""
        found = super().input_second(parts)
        return found / self.entry("weight")[:, None] if self.config.weight else found


@wrong("BN-DERIV-HVP")
class SecondDerivativeAddsUpPerSample(Differentiable):
    """The means in the second derivative are taken over the batch's first half, as a kernel with two blocks may."""

    def covariance(self, g: Array, t: Array) -> Array:
        """Of a part, if there is more than one value in it."""
        half = max(g.shape[1] // 2, 1)
        return super().covariance(g[:, :half], t[:, :half])


@wrong("BN-DERIV-HVP-WEIGHT", thread="pytorch#3076")
class WeightHasNoSecondDerivative(Differentiable):
    """The derivative of the weight's gradient is dropped: a zero."""

    def weight_second(self, parts: Pass) -> Array:
        """Zeros."""
        return super().weight_second(parts) * 0


@wrong("BN-DERIV-HVP-WEIGHT")
class WeightHasNoSecondDerivativeInEvaluation(Differentiable):
    """In evaluation nothing seems to depend on x, the weight's gradient neither."""

    def weight_second(self, parts: Pass) -> Array:
        """Zeros in evaluation."""
        found = super().weight_second(parts)
        return found if parts.through else found * 0


@wrong("BN-DERIV-HVP-WEIGHT")
class WeightSecondDerivativeOfConstantStatistics(Differentiable):
    """The derivative of the weight's gradient takes the statistics for constant."""

    def weight_second(self, parts: Pass) -> Array:
        """The sum of g t / std."""
        return np.asarray((parts.upstream * parts.factor * parts.moving).sum(axis=1))


@wrong("BN-DERIV-HVP-WEIGHT")
class WeightSecondDerivativeIsAMean(Differentiable):
    """The derivative of the weight's gradient is a mean, not a sum."""

    def weight_second(self, parts: Pass) -> Array:
        """Over n."""
        return np.asarray(super().weight_second(parts) / parts.z.dtype.type(parts.z.shape[1]))


@wrong("BN-DERIV-HVP-WEIGHT")
class BiasSecondDerivativeIsTheVectorsSum(Differentiable):
    """The gradient for the bias is differentiated as though grad_output moved along the vector."""

    def bias_second(self, parts: Pass) -> Array:
        """The sum of t."""
        return np.asarray(parts.moving.sum(axis=1))


@wrong("BN-DERIV-EVAL-HVP")
class EvaluationHessianHasBatchTerms(Differentiable):
    """In evaluation the second derivative for x is that of training."""

    def input_second(self, parts: Pass) -> Array:
        """As in training."""
        return super().input_second(replace(parts, through=True))


@wrong("BN-DERIV-EVAL-HVP")
class EvaluationHessianAfterTraining(Differentiable):
    """Once it has trained, a layer's running statistics depend on x in second derivatives."""

    trained = False

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right y."""
        self.trained = self.trained or training
        return super().forward(x, training=training)

    def input_second(self, parts: Pass) -> Array:
        """As in training, a tenth of it."""
        if parts.through or not self.trained:
            return super().input_second(parts)
        return np.asarray(super().input_second(replace(parts, through=True)) * parts.z.dtype.type(0.1))


@wrong("BN-DERIV-FLAGS")
class NoParametersNoCovariance(Differentiable):
    """The code path without weight and bias lacks the covariance in its second derivative."""

    def inner(self, parts: Pass, p: Array, q: Array, s: Array) -> Array:
        """Missing there."""
        return super().inner(parts, p, q, s if self.has_parameters else s * 0)


# -- state ------------------------------------------------------------------------------------------------------------


@wrong("BN-DERIV-STATE")
class TangentMovesTwice(Differentiable):
    """A training pass with a tangent makes two forward passes, one for each result."""

    def jvp(self, x: Array, tangent: Array, *, training: bool) -> tuple[Array, Array]:
        """Two updates."""
        found = super().jvp(x, tangent, training=training)
        if training:
            self.forward(x, training=True)
        return found


@wrong("BN-DERIV-STATE")
class TangentMovesInEvaluation(Differentiable):
    """A pass with a tangent moves the statistics in evaluation too."""

    def jvp(self, x: Array, tangent: Array, *, training: bool) -> tuple[Array, Array]:
        """An update in either mode."""
        found = super().jvp(x, tangent, training=training)
        if not training and self.tracked:
            self.remember(self.channels(x), x)
        return found


@wrong("BN-DERIV-STATE")
class SecondDerivativeMovesTwice(Differentiable):
    """Second derivatives make two forward passes, and both move the statistics."""

    def hvp(self, x: Array, grad_output: Array, vector: Array, *, training: bool) -> Gradients:
        """Two updates."""
        for _ in range(2 if training else 0):
            self.forward(x, training=True)
        return super().hvp(x, grad_output, vector, training=training)
