"""Wrong in what an operator gives beside y."""

from __future__ import annotations

import numpy as np

from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array
from bnconform.tests.mutants.saving import Saved, Saving

# -- the values -------------------------------------------------------------------------------------------------------


@wrong("BN-SAVED-MEAN", "BN-SAVED-RANK")
class SavedOfTheLastSample(Saving):
    """The mean that is saved is that of the last sample, whose loop was the last to write it."""

    def moments_to_save(self, x: Array) -> tuple[Array, Array]:
        """The variance is that of the batch."""
        return self.channels(x[-1:]).mean(axis=1), super().moments_to_save(x)[1]


@wrong("BN-SAVED-DEVIATION", thread="torch-xpu-ops#3349")
class SavedWithItsOwnEpsilon(Saving):
    """The inverse deviation that is saved has 1e-5 in the place of the epsilon that was given."""

    def of_moments(self, mean: Array, variance: Array, x: Array) -> dict[str, Array]:
        """As by default."""
        own = 1 / np.sqrt(variance + self.work.type(1e-5))
        return {**super().of_moments(mean, variance, x), "invstd": own}


@wrong("BN-SAVED-DEVIATION")
class SavedDeviationClamped(Saving):
    """The variance is raised to epsilon where it is smaller, and epsilon is not added."""

    def of_moments(self, mean: Array, variance: Array, x: Array) -> dict[str, Array]:
        """1 / sqrt(max(var, eps))."""
        clamped = 1 / np.sqrt(np.maximum(variance, self.work.type(self.config.eps)))
        return {**super().of_moments(mean, variance, x), "invstd": clamped}


@wrong("BN-SAVED-DEVIATION", "BN-SAVED-FLAGS")
class WeightFoldedIntoSavedDeviation(Saving):
    """The inverse deviation is saved as the scale, multiplied by the weight."""

    def of_moments(self, mean: Array, variance: Array, x: Array) -> dict[str, Array]:
        """Weight / sqrt(var + eps)."""
        found = super().of_moments(mean, variance, x)
        scale = self.entry("weight") * found["invstd"] if self.config.weight else found["invstd"]
        return {**found, "invstd": scale}


@wrong("BN-SAVED-VARIANCE")
class SavedVarianceBySamples(Saving):
    """The variance that is saved is corrected by the number of samples: N / (N - 1)."""

    def of_moments(self, mean: Array, variance: Array, x: Array) -> dict[str, Array]:
        """Where there are several."""
        factor = len(x) / max(len(x) - 1, 1)
        return {**super().of_moments(mean, variance, x), "variance": variance * self.work.type(factor)}


@wrong("BN-SAVED-VARIANCE")
class SavedSumOfSquares(Saving):
    """What is saved as the variance is the sum of squared deviations, not yet divided."""

    def of_moments(self, mean: Array, variance: Array, x: Array) -> dict[str, Array]:
        """Times n."""
        count = self.work.type(x.size // x.shape[1])
        return {**super().of_moments(mean, variance, x), "variance": variance * count}


# -- sizes and shapes -------------------------------------------------------------------------------------------------


@wrong("BN-SAVED-RANK", thread="pytorch#62594")
class SavedOfTheFirstBlock(Saving):
    """Channels past the first 64 are not written to what is saved."""

    def keep_as(self, found: dict[str, Array]) -> Saved:
        """Zeros."""
        return super().keep_as({name: np.where(np.arange(value.size) < 64, value, 0) for name, value in found.items()})


@wrong("BN-SAVED-RANK")
class OneChannelIsAScalar(Saving):
    """Axes of length 1 are dropped, that of the channels with them."""

    def keep_as(self, found: dict[str, Array]) -> Saved:
        """() where C is 1."""
        shown = super().keep_as(found)
        return {name: None if value is None else value.squeeze() for name, value in shown.items()}


@wrong("BN-SAVED-RANK")
class SavedOfTheFirstSlice(Saving):
    """At rank 5 what is saved is of the first of the slices along D."""

    def moments_to_save(self, x: Array) -> tuple[Array, Array]:
        """Of (N, C, 1, H, W)."""
        return super().moments_to_save(x[:, :, :1] if x.ndim == 5 else x)


@wrong("BN-SAVED-RANK")
class SavedOfTheFirst256Samples(Saving):
    """What is saved is of the first 256 samples, the block that the kernel goes through at once."""

    def moments_to_save(self, x: Array) -> tuple[Array, Array]:
        """The others are left out."""
        return super().moments_to_save(x[:256])


@wrong("BN-SAVED-DTYPE", dtypes=("float16", "bfloat16"), thread="Paddle#38288")
class SavedInTheDtypeOfX(Saving):
    """What is saved is rounded to the dtype of x."""

    def saved_statistics(self, x: Array, *, training: bool) -> Saved:
        """In half precision where x is."""
        found = super().saved_statistics(x, training=training)
        return {name: None if value is None else value.astype(x.dtype) for name, value in found.items()}


# -- flags and history ------------------------------------------------------------------------------------------------


@wrong("BN-SAVED-FLAGS")
class NothingSavedWithoutTracking(Saving):
    """Where no running statistics are tracked nothing is saved, though the batch's normalise."""

    def keep_as(self, found: dict[str, Array]) -> Saved:
        """Where they are, all."""
        return super().keep_as(found) if self.tracked else {}


@wrong("BN-SAVED-FLAGS")
class SavedFromTheUpdate(Saving):
    """The mean that is saved is taken from what the update made of the running one: (new - (1 - a) old) / a."""

    def saved_statistics(self, x: Array, *, training: bool) -> Saved:
        """With momentum 0 it is 0 / 0."""
        old = self.entry("running_mean") if self.tracked else None
        found = super().saved_statistics(x, training=training)
        if old is None or not training or not found:
            return found
        with np.errstate(all="ignore"):
            weight = self.work.type(self.batch_weight())
            mean = (self.entry("running_mean") - (1 - weight) * old) / weight
        # Where it is right it is as exact as it would be otherwise; what it loses is not the point.
        return {**found, "mean": found["mean"] if weight else mean.astype(self.kept)}


@wrong("BN-SAVED-PASS", thread="pytorch#178209")
class SavedOfThePassBefore(Saving):
    """What is given lies in a buffer that is written after it has been returned: it is that of the pass before."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.buffer: Saved | None = None

    def saved_statistics(self, x: Array, *, training: bool) -> Saved:
        """Of the first pass, its own."""
        found = super().saved_statistics(x, training=training)
        before, self.buffer = self.buffer or found, found or self.buffer
        return before if found else found


@wrong("BN-SAVED-PASS")
class SavingMovesOnceMore(Saving):
    """The statistics move for y, and once more for what is saved."""

    def saved_statistics(self, x: Array, *, training: bool) -> Saved:
        """Twice in training."""
        if training:
            self.forward(x, training=True)
        return super().saved_statistics(x, training=training)


@wrong("BN-SAVED-PASS")
class SavingInEvaluationMoves(Saving):
    """What is saved is always that of a training pass, which moves the statistics in evaluation, too."""

    def saved_statistics(self, x: Array, *, training: bool) -> Saved:
        """In either mode."""
        return super().saved_statistics(x, training=True)
