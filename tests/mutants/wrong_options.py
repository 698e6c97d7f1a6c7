"""Other policies on options that a layer has no use for."""

from __future__ import annotations

import numpy as np

from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Layer


@wrong("BN-ERR-MOMENTUM")
class MomentumIsCut(Layer):
    """A momentum above 1 counts as 1, and one below 0 as 0."""

    def batch_weight(self) -> float:
        """In [0, 1]."""
        return min(max(super().batch_weight(), 0.0), 1.0)


@wrong("BN-ERR-MOMENTUM")
class NegativeMomentumIsRefused(Layer):
    """A momentum below 0 is refused, one above 1 is not."""

    def __init__(self, config: Config) -> None:
        if config.momentum is not None and config.momentum < 0:
            raise ValueError("momentum is negative")
        super().__init__(config)


@wrong("BN-ERR-EPSILON")
class EpsilonIsAtLeastZero(Layer):
    """A negative epsilon counts as 0, and so does NaN, which no comparison holds for."""

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """By an epsilon that is not negative."""
        return np.asarray(1 / np.sqrt(variance + self.work.type(self.config.eps if self.config.eps > 0 else 0.0)))


@wrong("BN-ERR-EPSILON")
class EpsilonLosesItsSign(Layer):
    """A negative epsilon counts as its absolute value."""

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """By the absolute value."""
        return np.asarray(1 / np.sqrt(variance + self.work.type(abs(self.config.eps))))


@wrong("BN-ERR-NO-CHANNELS")
class NoChannelsGiveNothing(Layer):
    """An x without channels is given back, in a forward pass."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """Nothing, of the shape of x."""
        return super().forward(x, training=training) if x.shape[1] else np.array(x)


@wrong("BN-ERR-NO-CHANNELS")
class NoChannelsAreRefusedWhenBuilt(Layer):
    """A layer without channels is refused."""

    def __init__(self, config: Config) -> None:
        if config.num_features < 1:
            raise ValueError("num_features is 0")
        super().__init__(config)
