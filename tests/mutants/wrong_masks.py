"""Wrong in what a mask does."""

from __future__ import annotations

import numpy as np

from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Gradients
from bnconform.tests.mutants.masks import Masked

# -- the statistics ---------------------------------------------------------------------------------------------------


@wrong("BN-MASK-STATS")
class VarianceDividesByAll(Masked):
    """The variance of what is selected is divided by the number of all values."""

    def moments_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """Too small."""
        mean, variance = super().moments_under_mask(values, seen)
        return mean, variance * self.count_of(seen) / self.work.type(values.shape[1])


@wrong("BN-MASK-STATS", "BN-MASK-RUN", thread="keras#18759")
class MaskAcceptedAndNotUsed(Masked):
    """A mask is taken, and the pass is one without."""

    def select(self, x: Array, mask: Array) -> Array:
        """Everything."""
        return np.ones_like(super().select(x, mask))


@wrong("BN-MASK-STATS", "BN-MASK-ONE", dtypes=("float64",))
class EpsilonInTheCount(Masked):
    """1e-7 is added to the number of selected values, so that nothing is divided by 0."""

    def count_of(self, seen: Array) -> Array:
        """A little more."""
        return np.asarray(super().count_of(seen) + self.work.type(1e-7))


@wrong("BN-MASK-STATS")
class MaskOfTheFirstSample(Masked):
    """The mask of the first sample stands for those of all."""

    def select(self, x: Array, mask: Array) -> Array:
        """As in the first."""
        whole = np.broadcast_to(mask != 0, x.shape)
        return super().select(x, np.broadcast_to(whole[:1], x.shape))


@wrong("BN-MASK-STATS")
class OnlyTheMeanIsMasked(Masked):
    """The variance is that of all values about the mean of what is selected."""

    def moments_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """Of all."""
        mean, _ = super().moments_under_mask(values, seen)
        return mean, np.square(values - mean[:, None]).mean(axis=1)


# -- what is remembered -----------------------------------------------------------------------------------------------


@wrong("BN-MASK-RUN")
class CorrectionCountsAll(Masked):
    """The unbiased variance is corrected by N / (N - 1) with N the number of all values."""

    def memory_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """Too little."""
        n = values.shape[1]
        mean, variance = self.moments_under_mask(values, seen)
        return mean, variance * self.work.type(n / max(n - 1, 1))


@wrong("BN-MASK-RUN")
class RemembersTheWholeBatch(Masked):
    """The output is of what is selected, the running statistics of all values."""

    def memory_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """Of all."""
        return super().memory_under_mask(values, np.ones_like(seen))


@wrong("BN-MASK-RUN")
class BatchWeighsByWhatIsSelected(Masked):
    """The weight of a batch in the running statistics is scaled by the share of its values that is selected."""

    share = 1.0

    def remember_selected(self, values: Array, seen: Array) -> None:
        """Less for a batch of which less is selected."""
        self.share = float(seen.mean())
        super().remember_selected(values, seen)
        self.share = 1.0

    def batch_weight(self) -> float:
        """Scaled."""
        return super().batch_weight() * self.share


@wrong("BN-MASK-RUN")
class MaskedVarianceBiased(Masked):
    """With a mask the running variance remembers the biased variance, and without one the unbiased."""

    def memory_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """Not corrected."""
        return self.moments_under_mask(values, seen)


# -- what is hidden ---------------------------------------------------------------------------------------------------


@wrong("BN-MASK-HIDDEN")
class MaskIsMultiplied(Masked):
    """x is multiplied with the mask: NaN and infinity under it are NaN in the mean."""

    def moments_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """Products."""
        n, weights = self.count_of(seen), seen.astype(self.work)
        mean = (values * weights).sum(axis=1) / n
        return mean, (np.square(values - mean[:, None]) * weights).sum(axis=1) / n


@wrong("BN-MASK-HIDDEN")
class DeviationsAreMultiplied(Masked):
    """The mean chooses what is selected, the squared deviations are multiplied with the mask."""

    def moments_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """Products in the second sum."""
        mean, _ = super().moments_under_mask(values, seen)
        squares = np.square(values - mean[:, None]) * seen.astype(self.work)
        return mean, squares.sum(axis=1) / self.count_of(seen)


@wrong("BN-MASK-HIDDEN")
class HiddenValuesAreScaledAway(Masked):
    """A sum over all values less that over what is hidden: huge ones leave nothing of the rest."""

    def moments_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """A difference of two sums."""
        mean = (values.sum(axis=1) - np.where(seen, 0, values).sum(axis=1)) / self.count_of(seen)
        _, variance = super().moments_under_mask(values, seen)
        return mean, variance


@wrong("BN-MASK-OUTPUT")
class OutputIsTheBiasUnderTheMask(Masked):
    """The normalised value is 0 where nothing is selected, so that the output there is the bias."""

    def normalise_hidden(self, y: Array) -> Array:
        """The bias, (C, n)."""
        return self.shift(np.zeros_like(y))

    def show(self, y: Array, values: Array, seen: Array, training: bool) -> Array:
        """The bias there."""
        return np.where(seen, y, self.normalise_hidden(y)) if training else y


# -- shapes of masks --------------------------------------------------------------------------------------------------


@wrong("BN-MASK-SHAPE", thread="keras#19848")
class CountsTheElementsOfTheMask(Masked):
    """The number of selected values is that of the mask's own elements, before it is broadcast."""

    elements = 0

    def select(self, x: Array, mask: Array) -> Array:
        """The elements are kept."""
        self.elements = max(int((mask != 0).sum()), 1)
        return super().select(x, mask)

    def count_of(self, seen: Array) -> Array:
        """Those."""
        return np.full(len(seen), self.elements, self.work)


@wrong("BN-MASK-SHAPE")
class FewerAxesBeginAtTheFirst(Masked):
    """A mask with fewer axes than x is taken to have the first of them."""

    def select(self, x: Array, mask: Array) -> Array:
        """Axes are added at the end; ValueError where they do not fit."""
        return super().select(x, mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)))


@wrong("BN-MASK-CHANNELS")
class MaskOfTheFirstChannel(Masked):
    """The mask of the first channel stands for those of all."""

    def select(self, x: Array, mask: Array) -> Array:
        """As in the first."""
        found = super().select(x, mask)
        return np.repeat(found[:1], len(found), axis=0)


@wrong("BN-MASK-CHANNELS")
class OneCountForAllChannels(Masked):
    """Every channel is divided by the mean number of selected values."""

    def count_of(self, seen: Array) -> Array:
        """The same for all."""
        found = super().count_of(seen)
        return np.full_like(found, found.mean())


@wrong("BN-MASK-CHANNELS")
class MasksOfChannelsAreRefused(Masked):
    """A mask with as many channels as x is refused, though it broadcasts to it."""

    def select(self, x: Array, mask: Array) -> Array:
        """ValueError."""
        if mask.ndim >= x.ndim - 1 and mask.shape[1 - x.ndim] > 1:
            raise ValueError(f"the mask has shape {mask.shape}; it should have one channel")
        return super().select(x, mask)


@wrong("BN-MASK-ONE-CHANNEL", thread="keras#11123")
class OneChannelIsSqueezed(Masked):
    """Axes of length 1 are dropped, that of one channel too, which is then looked for."""

    def moments_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """IndexError where nothing is left."""
        mean, variance = super().moments_under_mask(values, seen)
        return mean, variance.reshape(np.squeeze(mean).shape[0])


@wrong("BN-MASK-INTEGER")
class IntegersAreTakenForIndices(Masked):
    """An integer mask chooses the values with those numbers, the first and the second of each channel."""

    def select(self, x: Array, mask: Array) -> Array:
        """Two values."""
        found = super().select(x, mask)
        if mask.dtype != bool:
            found = np.zeros_like(found)
            found[:, np.unique(mask)] = True
        return found


@wrong("BN-MASK-INTEGER")
class ComplementOfBits(Masked):
    """What is hidden is the bitwise complement of the mask, of which neither 0 nor 1 gives 0."""

    def select(self, x: Array, mask: Array) -> Array:
        """Nothing of an integer mask."""
        return super().select(x, np.asarray(~mask) == 0)


# -- gradients --------------------------------------------------------------------------------------------------------


@wrong("BN-MASK-GRAD")
class SumsOverWhatIsSelected(Masked):
    """The sums that flow through the statistics leave out the gradients of what is hidden, which they normalise too."""

    def through_selected(self, z: Array, seen: Array, upstream: Array) -> Array:
        """Sums over a part."""
        found = super().through_selected(z, seen, np.where(seen, upstream, 0))
        return np.where(seen, found, upstream)


@wrong("BN-MASK-GRAD")
class GradientDividesByAll(Masked):
    """The terms of mean and variance are divided by the number of all values."""

    def through_selected(self, z: Array, seen: Array, upstream: Array) -> Array:
        """Too small a correction."""
        share = self.count_of(seen)[:, None] / self.work.type(z.shape[1])
        return np.asarray(upstream + (super().through_selected(z, seen, upstream) - upstream) * share)


@wrong("BN-MASK-GRAD")
class HiddenValuesHaveTheTermsOfTheStatistics(Masked):
    """The gradient for what is hidden has the terms of mean and variance, of which it is no part."""

    def through_selected(self, z: Array, seen: Array, upstream: Array) -> Array:
        """Everywhere."""
        n = self.count_of(seen)[:, None]
        through = upstream.sum(axis=1, keepdims=True) + z * (upstream * z).sum(axis=1, keepdims=True)
        return np.asarray(upstream - through / n)


@wrong("BN-MASK-GRAD")
class GradientsUnderTheMaskAreDropped(Masked):
    """The upstream gradient counts as 0 where nothing is selected, as if the output were hidden there."""

    def masked_backward(self, x: Array, mask: Array, grad_output: Array, *, training: bool) -> Gradients:
        """Without it."""
        seen = np.broadcast_to(mask != 0, x.shape)
        return super().masked_backward(x, mask, np.where(seen, grad_output, 0).astype(x.dtype), training=training)


@wrong("BN-MASK-GRAD")
class GradientWithoutTheMask(Masked):
    """The forward pass has the mask, and the backward pass is that without one."""

    def masked_backward(self, x: Array, mask: Array, grad_output: Array, *, training: bool) -> Gradients:
        """As of a pass without."""
        return self.backward(x, grad_output, training=training)


@wrong("BN-MASK-GRAD-PARAMETERS")
class WeightGradientOfWhatIsSelected(Masked):
    """The gradient for the weight sums over what is selected alone."""

    def weight_gradient_under_mask(self, z: Array, seen: Array, upstream: Array) -> Array:
        """A part."""
        return super().weight_gradient_under_mask(z, seen, np.where(seen, upstream, 0))


@wrong("BN-MASK-GRAD-PARAMETERS")
class BiasGradientOfWhatIsSelected(Masked):
    """The gradient for the bias sums over what is selected alone."""

    def bias_gradient_under_mask(self, seen: Array, upstream: Array) -> Array:
        """A part."""
        return super().bias_gradient_under_mask(seen, np.where(seen, upstream, 0))


@wrong("BN-MASK-GRAD-HIDDEN")
class HiddenValuesPoisonTheGradients(Masked):
    """A gradient of 0 is multiplied with what is hidden, which makes NaN of NaN and of infinity."""

    def with_part(self, values: Array, seen: Array, upstream: Array) -> Array:
        """As they are."""
        return values


# -- modes, flags and state -------------------------------------------------------------------------------------------


@wrong("BN-MASK-EVAL")
class EvaluationIsMasked(Masked):
    """With a mask evaluation normalises by the statistics of what is selected."""

    def normalizing_under_mask(self, values: Array, seen: Array, training: bool) -> tuple[Array, Array]:
        """The batch's."""
        return self.moments_under_mask(values, seen)


@wrong("BN-MASK-EVAL")
class EvaluationIsHidden(Masked):
    """In evaluation the output is 0 where nothing is selected."""

    def show(self, y: Array, values: Array, seen: Array, training: bool) -> Array:
        """Zeros there."""
        return y if training else np.where(seen, y, 0)


@wrong("BN-MASK-FLAGS")
class UntrackedEvaluationForgetsTheMask(Masked):
    """Without tracking evaluation normalises by the whole batch, whatever the mask."""

    def normalizing_under_mask(self, values: Array, seen: Array, training: bool) -> tuple[Array, Array]:
        """Of all, in evaluation."""
        if self.from_batch(training) and not training:
            return self.moments_under_mask(values, np.ones_like(seen))
        return super().normalizing_under_mask(values, seen, training)


@wrong("BN-MASK-FLAGS")
class NoParametersNoMask(Masked):
    """The code path without weight and bias forgets the mask."""

    def select(self, x: Array, mask: Array) -> Array:
        """Everything there."""
        found = super().select(x, mask)
        return found if self.has_parameters else np.ones_like(found)


@wrong("BN-MASK-STATE")
class MaskStaysInTheLayer(Masked):
    """A mask holds for later passes without one, where it fits."""

    last: Array | None = None

    def masked(self, x: Array, mask: Array, *, training: bool) -> Array:
        """Kept."""
        self.last = np.broadcast_to(mask != 0, x.shape)
        return super().masked(x, mask, training=training)

    def forward(self, x: Array, *, training: bool) -> Array:
        """With the last one."""
        if self.last is not None and self.last.shape == x.shape:
            return super().masked(x, self.last, training=training)
        return super().forward(x, training=training)


@wrong("BN-MASK-STATE")
class MaskedPassIsNotCounted(Masked):
    """The counter stays in a masked pass, though the statistics move."""

    def remember_selected(self, values: Array, seen: Array) -> None:
        """As it was before."""
        before = self.entries["num_batches_tracked"]
        super().remember_selected(values, seen)
        self.entries["num_batches_tracked"] = before


@wrong("BN-MASK-STATE")
class MaskedPassMovesTwice(Masked):
    """The statistics are moved once by a pass for them, and once by the pass for the output."""

    def remember_selected(self, values: Array, seen: Array) -> None:
        """Twice."""
        super().remember_selected(values, seen)
        super().remember_selected(values, seen)


@wrong("BN-MASK-STATE")
class MaskedBackwardMovesTwice(Masked):
    """A masked backward pass makes two forward passes that move the statistics."""

    def masked_backward(self, x: Array, mask: Array, grad_output: Array, *, training: bool) -> Gradients:
        """Two updates."""
        found = super().masked_backward(x, mask, grad_output, training=training)
        if training:
            self.masked(x, mask, training=True)
            self.masked(x, mask, training=True)
        return found


# -- one value, and none ----------------------------------------------------------------------------------------------


@wrong("BN-MASK-ONE")
class OneSelectedValueMakesNotANumber(Masked):
    """The unbiased variance of one selected value is 0/0, and is remembered."""

    def memory_under_mask(self, values: Array, seen: Array) -> tuple[Array, Array]:
        """NaN of one value."""
        mean, variance = self.moments_under_mask(values, seen)
        n = self.count_of(seen)
        return mean, variance * n / (n - 1)


@wrong("BN-MASK-NONE")
class MeanOfNothingIsRemembered(Masked):
    """Where nothing is selected the sums are divided by 0, and the running statistics become NaN."""

    def count_of(self, seen: Array) -> Array:
        """0 where there is nothing."""
        return np.asarray(seen.sum(axis=1), self.work)

    def moving(self, seen: Array) -> Array:
        """All of them."""
        return np.ones(len(seen), bool)


class _Padding(Masked):
    """A layer that looks for the end of each sequence, and takes the mask for one of padding at the end."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.positions = config.ndim - 2


@wrong("BN-MASK-SHAPE", "BN-MASK-STATS")
class MaskIsTakenForPadding(_Padding):
    """Each sample's mask is taken for as many positions from the first on as it selects."""

    def select(self, x: Array, mask: Array) -> Array:
        """The first ones."""
        if not self.positions:
            return super().select(x, mask)
        whole = np.broadcast_to(mask != 0, x.shape).reshape(*x.shape[:2], -1)
        first = np.arange(whole.shape[2]) < whole.sum(axis=2, keepdims=True)
        return super().select(x, first.reshape(x.shape))
