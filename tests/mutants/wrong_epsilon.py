"""Wrong epsilons: clipped, added twice, or dependent on the variance."""

from __future__ import annotations

import numpy as np

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Layer


class _Epsilon(Layer):
    """Epsilon by another rule."""

    def epsilon(self, variance: Array, training: bool) -> Array | float:
        """What is added to the variance."""
        return self.config.eps

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """1 / sqrt(variance + that epsilon)."""
        return np.asarray(1 / np.sqrt(variance + np.asarray(self.epsilon(variance, training), self.work)))


@wrong("BN-TRAIN-EPS-VALUE")
class EpsilonAtLeastOneMillionth(_Epsilon):
    """Epsilon is raised to 1e-6 where it is smaller."""

    def epsilon(self, variance: Array, training: bool) -> float:
        """The configured one, clipped."""
        return max(self.config.eps, 1e-6)


@wrong("BN-TRAIN-EPS-VALUE")
class EpsilonAtLeastOneTrillionth(_Epsilon):
    """Epsilon is raised to 1e-12 where it is smaller."""

    def epsilon(self, variance: Array, training: bool) -> float:
        """The configured one, clipped."""
        return max(self.config.eps, 1e-12)


@wrong("BN-TRAIN-EPS-VALUE")
class EpsilonAtMostOneTenth(_Epsilon):
    """Epsilon is lowered to 0.1 where it is larger."""

    def epsilon(self, variance: Array, training: bool) -> float:
        """The configured one, clipped."""
        return min(self.config.eps, 0.1)


@wrong("BN-TRAIN-EPS", "BN-TRAIN-EPS-VALUE")
class EpsilonTwice(_Epsilon):
    """Epsilon is added twice."""

    def epsilon(self, variance: Array, training: bool) -> float:
        """Two of them."""
        return 2 * self.config.eps


@wrong("BN-TRAIN-EPS", "BN-TRAIN-EPS-VALUE")
class EpsilonScaledByVariance(_Epsilon):
    """Epsilon is multiplied by the variance before it is added."""

    def epsilon(self, variance: Array, training: bool) -> Array:
        """A share of the variance."""
        return variance * self.work.type(self.config.eps)


@wrong("BN-TRAIN-EPS-VALUE")
class EpsilonForSmallVarianceOnly(_Epsilon):
    """Epsilon is added only where the variance is below it."""

    def epsilon(self, variance: Array, training: bool) -> Array:
        """The configured one for small variances."""
        return np.where(variance < self.config.eps, self.config.eps, 0.0)


@wrong("BN-EVAL-EPS", "BN-INV-EPS-SUM")
class EpsilonTwiceInEvaluation(_Epsilon):
    """In evaluation epsilon is added to the running variance and again under the root."""

    def epsilon(self, variance: Array, training: bool) -> float:
        """One of them in training."""
        return self.config.eps if training else 2 * self.config.eps


@wrong("BN-TRAIN-EPS-VALUE")
class EpsilonCappedByVariance(_Epsilon):
    """Epsilon is lowered to the variance where it is larger."""

    def epsilon(self, variance: Array, training: bool) -> Array:
        """The smaller of the two."""
        return np.minimum(variance, self.config.eps)


@wrong("BN-EVAL-EPS")
class EpsilonOfTheDefaultInRankThreeEvaluation(_Epsilon):
    """In evaluation at rank 3 epsilon is 1e-5, whatever was configured."""

    def epsilon(self, variance: Array, training: bool) -> float:
        """The configured one elsewhere."""
        return 1e-5 if self.config.ndim == 3 and not training else self.config.eps


@wrong("BN-TRAIN-EPS", "BN-EVAL-EPS")
class EpsilonOfTheDefaultAtRankFive(_Epsilon):
    """At rank 5 epsilon is 1e-5, whatever was configured."""

    def epsilon(self, variance: Array, training: bool) -> float:
        """The configured one at the other ranks."""
        return 1e-5 if self.config.ndim == 5 else self.config.eps


@wrong("BN-TRAIN-EPS", "BN-EVAL-EPS")
class EpsilonOfTheDefaultWithoutAffine(_Epsilon):
    """Without weight and bias epsilon is 1e-5, whatever was configured."""

    def epsilon(self, variance: Array, training: bool) -> float:
        """The configured one with them."""
        return self.config.eps if self.has_parameters else 1e-5


@wrong("BN-TRAIN-EPS")
class EpsilonOfTheDefaultWithoutTracking(_Epsilon):
    """Without running statistics epsilon is 1e-5, whatever was configured."""

    def epsilon(self, variance: Array, training: bool) -> float:
        """The configured one with them."""
        return self.config.eps if self.tracked else 1e-5
