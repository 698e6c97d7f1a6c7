"""Right with a mask, by other means."""

from __future__ import annotations

import numpy as np

from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.layer import Array, Gradients
from bnconform.tests.mutants.masks import Masked


@right
class MaskedByTheBook(Masked):
    """Sums over what is selected, two-pass, and the closed form of the gradients."""


@right
class MaskedByGathering(Masked):
    """What is selected of each channel is gathered into an array of its own, and the rest never looked at."""

    def moments_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """Channel by channel."""
        found = [row[chosen] if chosen.any() else row[:1] * 0 for row, chosen in zip(values, seen, strict=True)]
        mean = np.array([row.mean() for row in found], values.dtype)
        return mean, np.array([np.square(row - row.mean()).mean() for row in found], values.dtype)


@right
class MaskedOnePass(Masked):
    """The mean of squares less the square of the mean, not below 0, of zeros where nothing is selected."""

    def moments_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """A difference of two means."""
        n, kept = self.count_of(seen), np.where(seen, values, 0)
        mean = kept.sum(axis=1) / n
        return mean, np.maximum(np.square(kept).sum(axis=1) / n - mean * mean, 0)


@right
class MaskedMeanOfAllScaled(Masked):
    """Means over all values, of zeros where nothing is selected, scaled by N over the number of selected ones."""

    def moments_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """Two scaled means."""
        scale = self.work.type(values.shape[1]) / self.count_of(seen)
        mean = np.where(seen, values, 0).mean(axis=1) * scale
        return mean, np.where(seen, np.square(values - mean[:, None]), 0).mean(axis=1) * scale


@right
class MaskedUpdating(Masked):
    """Mean and sum of squared deviations are updated value by value, by those that are selected."""

    def moments_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """Welford's algorithm."""
        count, mean, squares = np.zeros((3, len(values)), values.dtype)
        for column, chosen in zip(values.T, seen.T, strict=True):
            count = count + chosen
            off = np.where(chosen, column - mean, 0)
            mean = mean + off / np.maximum(count, 1)
            squares = squares + off * np.where(chosen, column - mean, 0)
        return mean, squares / np.maximum(count, 1)


@right
class MaskedGradientStepByStep(Masked):
    """Reverse mode, operation by operation, of the two-pass statistics and the folded output."""

    def through_selected(self, z: Array, seen: Array, upstream: Array) -> Array:
        """The adjoints of mean and variance flow to what they are made of; the deviation is taken out again."""
        n = self.count_of(seen)[:, None]
        by_mean = -upstream.sum(axis=1, keepdims=True)
        by_variance = -(upstream * z).sum(axis=1, keepdims=True) / 2
        deviations = np.where(seen, z, 0)
        by_mean = by_mean - by_variance * 2 * deviations.sum(axis=1, keepdims=True) / n
        return np.asarray(upstream + np.where(seen, by_mean / n + by_variance * 2 * deviations / n, 0))


@right
class MaskedFolded(Masked):
    """The output is scale * x + shift."""

    def normalise(self, values: Array, mean: Array, variance: Array, training: bool) -> Array:
        """Folded."""
        factor = self.inverse_std(variance, training)
        return np.asarray(values * factor[:, None] - (mean * factor)[:, None])


@right
class MaskedOneValueRefused(Masked):
    """Where a mask leaves one value of a channel, or none, the pass is refused."""

    def normalizing_under_mask(self, values: Array, seen: Array, training: bool) -> tuple[Array, Array]:
        """ValueError in training."""
        if training and seen.sum(axis=1).min() < 2:
            raise ValueError("a mask that leaves less than two values of a channel leaves no variance")
        return super().normalizing_under_mask(values, seen, training)


@right
class MaskedNothingMovesToZero(Masked):
    """Where nothing is selected the sums are 0, and the running statistics move towards them."""

    def moving(self, seen: Array) -> Array:
        """All of them."""
        return np.ones(len(seen), bool)


@right
class MaskedBackwardMovesOnce(Masked):
    """A masked backward pass makes a training forward pass first, which moves the statistics once."""

    def masked_backward(self, x: Array, mask: Array, grad_output: Array, *, training: bool) -> Gradients:
        """One update."""
        found = super().masked_backward(x, mask, grad_output, training=training)
        if training:
            self.masked(x, mask, training=True)
        return found


@right
class MaskedForwardAlone(Masked):
    """The layer takes masks, and gives no gradients with one."""

    masked_backward = None  # type: ignore[assignment]
