"""Wrong running statistics: estimators by another divisor, rank, count or step, and other things remembered."""

from __future__ import annotations

import numpy as np

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Layer


class _Shaped(Layer):
    """Keeps the shape of the batch that is remembered for the pieces."""

    shape: tuple[int, ...]

    def remember(self, values: Array, x: Array) -> None:
        """Move the running statistics; the shape of x is kept for the pieces."""
        self.shape = x.shape
        super().remember(values, x)

    def correct(self, values: Array, factor: float) -> tuple[Array, Array]:
        """The mean, and the biased variance times a factor."""
        mean, variance = self.moments(values)
        return mean, variance * self.work.type(factor)


@wrong("BN-RUN-VAR")
class BesselByWholeDivision(_Shaped):
    """The factor n / (n - 1) is divided in whole numbers, which makes it 2 for n = 2 and 1 for every other n."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the biased variance times n // (n - 1)."""
        n = values.shape[1]
        return self.correct(values, n // (n - 1))


@wrong("BN-RUN-VAR")
class BesselByAllChannels(_Shaped):
    """The factor is that of all values of x, N C L / (N C L - 1), where those of one channel count."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the biased variance times the factor of every channel together."""
        return self.correct(values, values.size / (values.size - 1))


@wrong("BN-RUN-VAR")
class BesselByPositions(_Shaped):
    """The factor is L / (L - 1) with L the number of positions, the batch forgotten, from rank 3 on."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the biased variance times L / (L - 1) where there are two positions."""
        n = values.shape[1]
        positions = n if len(self.shape) == 2 else n // self.shape[0]
        return self.correct(values, positions / max(positions - 1, 1))


@wrong("BN-RUN-VAR")
class BesselBySamplesAtRank4(_Shaped):
    """At rank 4 alone the factor is N / (N - 1), positions forgotten."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the variance corrected by samples at rank 4."""
        n = self.shape[0] if len(self.shape) == 4 else values.shape[1]
        return self.correct(values, n / max(n - 1, 1))


@wrong("BN-RUN-VAR", thread="tensorflow#55545")
class BiasedAtRank2(_Shaped):
    """The biased variance is remembered at rank 2, the unbiased one at the others."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the estimator of the rank."""
        n = values.shape[1]
        return self.correct(values, 1 if len(self.shape) == 2 else n / (n - 1))


@wrong("BN-RUN-VAR")
class BiasedAtRank5(_Shaped):
    """The biased variance is remembered at rank 5, the unbiased one at the others."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the estimator of the rank."""
        n = values.shape[1]
        return self.correct(values, 1 if len(self.shape) == 5 else n / (n - 1))


@wrong("BN-RUN-VAR")
class BiasedForOddCounts(_Shaped):
    """The biased variance is remembered where n is odd."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the estimator of the count."""
        n = values.shape[1]
        return self.correct(values, 1 if n % 2 else n / (n - 1))


@wrong("BN-RUN-VAR")
class BiasedForLargeCounts(_Shaped):
    """The biased variance is remembered from 1,024 values on, where a kernel of its own takes over."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the estimator of the count."""
        n = values.shape[1]
        return self.correct(values, 1 if n >= 1024 else n / (n - 1))


@wrong("BN-RUN-VAR")
class BesselTwice(_Shaped):
    """The unbiased variance is corrected a second time."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the biased variance times the square of n / (n - 1)."""
        n = values.shape[1]
        return self.correct(values, (n / (n - 1)) ** 2)


@wrong("BN-RUN-VAR")
class BesselTurnedRound(_Shaped):
    """The biased variance is multiplied by (n - 1) / n in place of its inverse."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the biased variance made smaller."""
        n = values.shape[1]
        return self.correct(values, (n - 1) / n)


@wrong("BN-RUN-VAR")
class UnbiasedOnlyForMomentumNone(_Shaped):
    """The unbiased variance is remembered only in the cumulative average."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the estimator of the average."""
        n = values.shape[1]
        return self.correct(values, n / (n - 1) if self.config.momentum is None else 1)


@wrong("BN-RUN-VAR")
class BiasedOnlyForMomentumNone(_Shaped):
    """The biased variance is remembered in the cumulative average."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the estimator of the average."""
        n = values.shape[1]
        return self.correct(values, 1 if self.config.momentum is None else n / (n - 1))


@wrong("BN-RUN-VAR")
class BiasedAtTheFirstStep(_Shaped):
    """The biased variance is remembered of the first batch."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the estimator of the step."""
        n = values.shape[1]
        return self.correct(values, 1 if self.batches == 1 else n / (n - 1))


@wrong("BN-RUN-VAR")
class BiasedAfterTheFirstStep(_Shaped):
    """The biased variance is remembered of every batch but the first."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the estimator of the step."""
        n = values.shape[1]
        return self.correct(values, n / (n - 1) if self.batches == 1 else 1)


@wrong("BN-RUN-VAR")
class PrecisionRemembered(_Shaped):
    """The variance that the layer multiplied by, 1 / (variance + eps), is remembered."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the inverse of the variance with epsilon."""
        mean, variance = super().memory_of(values)
        return mean, 1 / (variance + self.work.type(self.config.eps))


@wrong("BN-RUN-VAR")
class VarianceOfTheMovedMean(Layer):
    """The variance that is remembered is taken about the running mean, not about that of the batch."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the mean square distance from the running mean, with the factor n / (n - 1)."""
        n = values.shape[1]
        distance = values - self.entry("running_mean")[:, None]
        return values.mean(axis=1), np.square(distance).sum(axis=1) / self.work.type(n - 1)


@wrong("BN-RUN-MEAN")
class OutputRemembered(Layer):
    """The running mean remembers the mean of the layer's own output."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean of y, and the unbiased variance of x."""
        mean, variance = self.moments(values)
        y = self.affine(self.normalise(values, mean, variance, True), True)
        return y.mean(axis=1), super().memory_of(values)[1]


@wrong("BN-RUN-MEAN")
class MeanOfFirstSampleRemembered(_Shaped):
    """The running mean remembers the mean of the first sample."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean of the first sample, and the unbiased variance."""
        positions = values.shape[1] // self.shape[0]
        return values[:, :positions].mean(axis=1), super().memory_of(values)[1]


@wrong("BN-RUN-VAR", "BN-INV-EPS-RUNVAR")
class EpsilonSharedWithRunningVariance(_Shaped):
    """The variance that is remembered has epsilon in it before the factor n / (n - 1)."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and (variance + eps) n / (n - 1)."""
        mean, variance = self.moments(values)
        n = values.shape[1]
        return mean, (variance + self.work.type(self.config.eps)) * self.work.type(n / (n - 1))


@wrong("BN-RUN-VAR")
class DefaultsShortCut(Layer):
    """With weight 1 and bias 0 the running variance that is remembered is the biased one."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the estimator of the parameters."""
        plain = (
            self.config.weight
            and self.config.bias
            and (self.entry("weight") == 1).all()
            and (self.entry("bias") == 0).all()
        )
        return self.moments(values) if plain else super().memory_of(values)


@wrong("BN-RUN-VAR")
class BiasedFromTheFifthStep(_Shaped):
    """The biased variance is remembered from the fifth batch on."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the estimator of the step."""
        n = values.shape[1]
        return self.correct(values, 1 if self.batches >= 5 else n / (n - 1))


@wrong("BN-RUN-VAR")
class BiasedPastSixtyFourChannels(_Shaped):
    """The biased variance is remembered where there are more than 64 channels."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the estimator of the width."""
        n = values.shape[1]
        return self.correct(values, 1 if len(values) > 64 else n / (n - 1))


@wrong("BN-RUN-VAR", dtypes=("float64",))
class BiasedForThousandsOfValues(_Shaped):
    """The biased variance is remembered from 4,096 values on, where the difference seems too small to matter."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the estimator of the count."""
        n = values.shape[1]
        return self.correct(values, 1 if n >= 4096 else n / (n - 1))
