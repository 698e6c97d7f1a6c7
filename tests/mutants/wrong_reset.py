"""Wrong in a reset of the statistics."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Layer


@wrong("BN-STATE-RESET")
class ResetDoesNothing(Layer):
    """A reset leaves everything as it is."""

    def reset(self) -> None:
        """Nothing."""


@wrong("BN-STATE-RESET")
class ResetForgetsTheCounter(Layer):
    """A reset leaves the counter as it is."""

    def reset(self) -> None:
        """The statistics alone."""
        count = self.entries["num_batches_tracked"]
        super().reset()
        self.entries["num_batches_tracked"] = count


@wrong("BN-STATE-RESET")
class ResetZeroesTheVariance(Layer):
    """A reset fills both statistics with 0."""

    def reset(self) -> None:
        """Zeros."""
        super().reset()
        if self.tracked:
            self.entries["running_var"] = np.zeros_like(self.present("running_var"))


@wrong("BN-STATE-RESET")
class ResetOfTheMeanAlone(Layer):
    """A reset leaves the running variance as it is."""

    def reset(self) -> None:
        """Mean and counter."""
        variance = self.entries["running_var"]
        super().reset()
        self.entries["running_var"] = variance


@wrong("BN-STATE-RESET")
class ResetOfTheParametersToo(Layer):
    """A reset makes weight and bias as when new, too."""

    def reset(self) -> None:
        """Everything."""
        self.entries = self.initial()


@wrong("BN-STATE-RESET")
class ResetStartsTracking(Layer):
    """Without tracking a reset makes statistics, which evaluation then uses."""

    def reset(self) -> None:
        """Statistics, whether there were any or not."""
        super().reset()
        size = self.config.num_features
        if not self.tracked:
            self.entries["running_mean"] = np.zeros(size, self.kept)
            self.entries["running_var"] = np.ones(size, self.kept)


@wrong("BN-STATE-RESET")
class CountOfItsOwnGoesOn(Layer):
    """With momentum None the weight of a batch goes by a count of its own, which a reset does not reach."""

    seen = 0

    def count(self) -> None:
        """Both counts."""
        super().count()
        self.seen += 1

    def load(self, state: Mapping[str, Array]) -> None:
        """A counter that is loaded is taken over."""
        super().load(state)
        self.seen = self.batches if "num_batches_tracked" in state else self.seen

    def batch_weight(self) -> float:
        """By the count of its own."""
        return 1 / self.seen if self.config.momentum is None else super().batch_weight()


@wrong("BN-STATE-RESET")
class FoldSurvivesReset(Layer):
    """What evaluation has folded of the statistics is made anew by a load and by training, and not by a reset."""

    folded: tuple[Array, Array] | None = None

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """The mean and variance; in evaluation those that were first seen."""
        found = super().normalizing(values, x, training)
        if self.from_batch(training):
            self.folded = None
            return found
        self.folded = self.folded or found
        return self.folded

    def load(self, state: Mapping[str, Array]) -> None:
        """Set what is given."""
        super().load(state)
        self.folded = None


@wrong("BN-STATE-RESET")
class ResetTakesTheOnesOfTheWeight(Layer):
    """A reset takes for the variance the ones of a weight that is as new, and later updates write there."""

    def reset(self) -> None:
        """The variance is the weight's own array where that holds ones."""
        super().reset()
        weight = self.entries["weight"]
        if self.tracked and weight is not None and (weight == 1).all():
            self.entries["running_var"] = weight

    def blend(self, old: Array, new: Array, weight: float) -> Array:
        """Written to the array of the variance where that is the weight's, too."""
        moved = super().blend(old, new, weight)
        stored = self.entries["running_var"]
        if stored is not None and stored is self.entries["weight"] and np.array_equal(stored, old):
            stored[:] = moved
            return stored
        return moved
