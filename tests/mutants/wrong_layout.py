"""Wrong in how arrays are read: strides, offsets, rank, the number of channels, the size of the batch."""

from __future__ import annotations

import numpy as np

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Gradients, Layer


def in_memory_order(x: Array) -> Array:
    """The values of x in the order in which they lie in memory, taken for a contiguous array of its shape."""
    return x.ravel(order="K").reshape(x.shape)


def is_channels_last(x: Array) -> bool:
    """Whether x, of rank 3 or more, is dense with the channels innermost."""
    return x.ndim > 2 and not x.flags.c_contiguous and bool(np.moveaxis(x, 1, -1).flags.c_contiguous)


def as_channels_last(values: Array) -> Array:
    """The same values with the channels innermost in memory."""
    return np.moveaxis(np.array(np.moveaxis(values, 1, -1), order="C"), -1, 1)


def root(x: Array) -> Array:
    """The array whose memory x is a part of; x itself where it has its own."""
    base = x.base
    return base if isinstance(base, np.ndarray) and base.ndim == x.ndim else x


class AsRead(Layer):
    """A layer that reads x and the upstream gradient through `see`, which is right here."""

    def see(self, x: Array, training: bool) -> Array:
        """The values that are read for x."""
        return x

    def upstream(self, x: Array, grad_output: Array) -> Array:
        """The values that are read for the upstream gradient."""
        return grad_output

    def forward(self, x: Array, *, training: bool) -> Array:
        """As in a right layer, of what is read."""
        return super().forward(self.see(x, training), training=training)

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """As in a right layer, of what is read."""
        return super().backward(self.see(x, training), self.upstream(x, grad_output), training=training)


# -- strides and offsets -----------------------------------------------------------------------------------------------


@wrong("BN-LAYOUT-X")
class FortranOrderReadAsRowMajor(AsRead):
    """An x in Fortran order is read as if it were in row-major order."""

    def see(self, x: Array, training: bool) -> Array:
        """Row-major, whatever it is."""
        return in_memory_order(x) if x.flags.f_contiguous and not x.flags.c_contiguous else x


@wrong("BN-LAYOUT-X")
class TransposedSquareReadAsRowMajor(AsRead):
    """A matrix with as many rows as columns is read row by row, also where its columns lie one after the other."""

    def see(self, x: Array, training: bool) -> Array:
        """Row-major where the lengths do not tell."""
        is_square = x.ndim == 2 and x.shape[0] == x.shape[1]
        return in_memory_order(x) if is_square and x.flags.f_contiguous and not x.flags.c_contiguous else x


@wrong("BN-LAYOUT-X")
class TransposedImageReadAsItLies(AsRead):
    """Square images whose rows and columns are exchanged in memory are read as if they were not."""

    def see(self, x: Array, training: bool) -> Array:
        """Rows for columns, where the lengths do not tell."""
        exchanged = np.swapaxes(x, -1, -2)
        is_square = x.ndim > 3 and x.shape[-1] == x.shape[-2] > 1
        return exchanged if is_square and exchanged.flags.c_contiguous and not x.flags.c_contiguous else x


@wrong("BN-LAYOUT-GRAD")
class EqualLengthsExchangedInGradient(AsRead):
    """Of channels-last volumes as deep as they are high the upstream gradient is read with the two exchanged."""

    def upstream(self, x: Array, grad_output: Array) -> Array:
        """Depth and height exchanged where they are as long."""
        volume = x.ndim == 5 and x.shape[2] == x.shape[3] > 1
        return np.swapaxes(grad_output, 2, 3) if volume and is_channels_last(grad_output) else grad_output


@wrong("BN-LAYOUT-X")
class AddressRoundedDown(AsRead):
    """Whole vectors are loaded: an x that begins inside of one is read from the beginning of that vector on."""

    def see(self, x: Array, training: bool) -> Array:
        """Everything one place later; the first is what lies before the array."""
        return np.roll(x.ravel(), 1).reshape(x.shape) if x.flags.c_contiguous and x.ctypes.data % 16 else x


@wrong("BN-LAYOUT-X", thread="pytorch#62594")
class ChannelsLastReadWronglyInEvaluation(AsRead):
    """In evaluation a channels-last x is read as if the channels were not last; in training it is read as it lies."""

    def see(self, x: Array, training: bool) -> Array:
        """Row-major in evaluation."""
        return in_memory_order(x) if is_channels_last(x) and not training else x


@wrong("BN-LAYOUT-X", thread="pytorch#181411")
class ChannelsLastReadWronglyInBackward(Layer):
    """The backward pass reads a channels-last x as if the channels were not last; the bias gradient survives."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """Of a row-major x."""
        return super().backward(in_memory_order(x) if is_channels_last(x) else x, grad_output, training=training)


@wrong("BN-LAYOUT-X")
class SwappedAxesReadAsRowMajor(AsRead):
    """An x whose batch and channel axes are exchanged in memory is read as if they were not."""

    def see(self, x: Array, training: bool) -> Array:
        """Row-major where only the first two axes are exchanged."""
        swapped = not x.flags.c_contiguous and np.swapaxes(x, 0, 1).flags.c_contiguous
        return in_memory_order(x) if swapped and x.ndim > 2 else x


@wrong("BN-LAYOUT-X")
class ChannelsBehindTheHeightReadAsRowMajor(AsRead):
    """In training an x whose channels lie behind its first axis of positions is read as if they lay before it."""

    def see(self, x: Array, training: bool) -> Array:
        """Row-major where only these two axes are exchanged."""
        exchanged = training and x.ndim > 3 and not x.flags.c_contiguous and x.swapaxes(1, 2).flags.c_contiguous
        return in_memory_order(x) if exchanged else x


@wrong("BN-LAYOUT-X")
class StepOfTheLastAxisIgnored(AsRead):
    """The last axis is read element after element, although x takes every other one only."""

    def see(self, x: Array, training: bool) -> Array:
        """Neighbours in memory, within the memory of x."""
        if x.strides[-1] != 2 * x.itemsize:
            return x
        return np.lib.stride_tricks.as_strided(x, x.shape, (*x.strides[:-1], x.itemsize))


@wrong("BN-LAYOUT-X")
class OffsetOfXIgnored(AsRead):
    """A slice of a larger array is read from the beginning of that array."""

    def see(self, x: Array, training: bool) -> Array:
        """The same shape at offset 0."""
        whole = root(x)
        return whole[tuple(slice(length) for length in x.shape)] if whole.strides == x.strides else x


@wrong("BN-LAYOUT-X")
class StepOfTheBatchIgnored(AsRead):
    """In training the samples of a batch are read one after the other, although x takes every third only."""

    def see(self, x: Array, training: bool) -> Array:
        """Consecutive samples of the larger array."""
        whole = root(x)
        stepped = x.strides[0] == 3 * whole.strides[0] and len(whole) >= len(x)
        return whole[: len(x)] if training and stepped else x


@wrong("BN-LAYOUT-X")
class NegativeStridesTakenForPositive(AsRead):
    """A batch that runs backwards through memory is read forwards."""

    def see(self, x: Array, training: bool) -> Array:
        """From the lowest address up."""
        return x[::-1] if x.strides[0] < 0 else x


@wrong("BN-RUN-VAR")
class ExpandedBatchCountedAsOneSample(Layer):
    """A batch with stride 0, the same sample again and again, is counted as one sample in the unbiased variance."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """Corrected by the number of distinct values."""
        mean, variance = self.moments(values)
        n = values.shape[1] // self.repeats
        return mean, variance * self.work.type(n / (n - 1))

    def remember(self, values: Array, x: Array) -> None:
        """Note how often a sample is repeated."""
        self.repeats = len(x) if x.strides[0] == 0 and x.size > x.shape[1] * len(x) else 1
        super().remember(values, x)


@wrong("BN-LAYOUT-GRAD")
class FortranGradientReadAsRowMajor(AsRead):
    """An upstream gradient in Fortran order is read as if it were in row-major order."""

    def upstream(self, x: Array, grad_output: Array) -> Array:
        """Row-major, whatever it is."""
        wrongly = grad_output.flags.f_contiguous and not grad_output.flags.c_contiguous
        return in_memory_order(grad_output) if wrongly else grad_output


@wrong("BN-LAYOUT-GRAD", thread="pytorch#64100")
class XReadInTheFormatOfTheGradient(AsRead):
    """Where the upstream gradient is channels-last and x is not, x is read as if it were."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """Channels-last kernels are chosen by the gradient alone."""
        if is_channels_last(grad_output) and not is_channels_last(x):
            x = np.moveaxis(in_memory_order(x).reshape(x.shape[0], *x.shape[2:], x.shape[1]), -1, 1)
        return super().backward(x, grad_output, training=training)


@wrong("BN-LAYOUT-GRAD")
class GradientWrongOnlyWithBothChannelsLast(AsRead):
    """Where x and the upstream gradient are both channels-last, the gradient is read as if it were not."""

    def upstream(self, x: Array, grad_output: Array) -> Array:
        """Row-major where both are not."""
        return in_memory_order(grad_output) if is_channels_last(x) and is_channels_last(grad_output) else grad_output


@wrong("BN-LAYOUT-GRAD")
class ExpandedGradientHasOneSample(AsRead):
    """An upstream gradient with stride 0 along the batch is used for the first sample only."""

    def upstream(self, x: Array, grad_output: Array) -> Array:
        """Zero past the first sample."""
        if grad_output.strides[0] != 0:
            return grad_output
        first = np.zeros(grad_output.shape, grad_output.dtype)
        first[0] = grad_output[0]
        return first


@wrong("BN-LAYOUT-GRAD")
class OffsetOfTheGradientIgnored(AsRead):
    """An upstream gradient that is a slice is read from the beginning of the larger array."""

    def upstream(self, x: Array, grad_output: Array) -> Array:
        """The same shape at offset 0."""
        whole = root(grad_output)
        inside = whole.strides == grad_output.strides
        return whole[tuple(slice(length) for length in grad_output.shape)] if inside else grad_output


@wrong("BN-LAYOUT-GRAD")
class GradientReversedInEvaluation(AsRead):
    """In evaluation an upstream gradient that runs backwards through memory is read forwards."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """From the lowest address up, in evaluation."""
        reversed_ = grad_output.strides[0] < 0 and not training
        return super().backward(x, grad_output[::-1] if reversed_ else grad_output, training=training)


# -- rank and shape ----------------------------------------------------------------------------------------------------


@wrong("BN-LAYOUT-FORMAT")
class FormatOfXKeptInTraining(Layer):
    """In training y is in channels-last memory where x is, in evaluation it is contiguous."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """Laid out as x."""
        y = super().forward(x, training=training)
        return as_channels_last(y) if training and is_channels_last(x) else y


@wrong("BN-LAYOUT-FORMAT")
class GradientComesChannelsLast(Layer):
    """The gradient for x is in channels-last memory, whatever x is."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The same numbers."""
        grad_x, *others = super().backward(x, grad_output, training=training)
        return as_channels_last(grad_x), others[0], others[1]


class PerSample(Layer):
    """A layer that can take statistics over each sample by itself."""

    def by_sample(self, values: Array, x: Array) -> tuple[Array, Array]:
        """The mean and variance of the last sample, each (C,)."""
        last = values[:, values.shape[1] // len(x) * (len(x) - 1) :] if len(x) else values
        return self.moments(last)


@wrong("BN-RANK")
class RankThreeForgetsItsBatch(PerSample):
    """At rank 3 alone, the last sample's statistics normalise the whole batch."""

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """Of the last sample at rank 3."""
        if x.ndim == 3 and self.from_batch(training):
            return self.by_sample(values, x)
        return super().normalizing(values, x, training)


@wrong("BN-RANK")
class RankFiveForgetsItsDepth(Layer):
    """At rank 5 statistics are taken over the first plane of the depth alone."""

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """Of x[:, :, 0] at rank 5."""
        if x.ndim == 5 and self.from_batch(training) and x.size:
            return self.moments(self.channels(x[:, :, 0]))
        return super().normalizing(values, x, training)


@wrong("BN-RANK")
class RankTwoNormalisedAlongFeatures(Layer):
    """At rank 2 the whole batch is taken for one sample, and each row is normalised along its features."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """A layer normalization, in training at rank 2."""
        y = super().forward(x, training=training)
        if x.ndim != 2 or not training or x.shape[1] == 1:
            return y
        mean, variance = self.moments(x.astype(self.work))
        z = self.normalise(x.astype(self.work), mean, variance, training)
        return self.affine(z.T, training).T.astype(x.dtype)


@wrong("BN-GRAD-EVAL-INPUT", thread="NNlib.jl#548")
class EvaluationGradientWrongAtRanksFourAndFive(Layer):
    """In evaluation at ranks 4 and 5 the gradient flows through statistics, as in training."""

    def input_gradient(self, values: Array, z: Array, upstream: Array, variance: Array, training: bool) -> Array:
        """As in training at ranks 4 and 5."""
        if not training and self.config.ndim >= 4:
            upstream = self.through_statistics(z, upstream)
        return super().input_gradient(values, z, upstream, variance, training)


@wrong("BN-RUN-MEAN")
class RankThreeRemembersItsLastSample(PerSample):
    """At rank 3 the running statistics remember the last sample's mean; the output is right."""

    def remember(self, values: Array, x: Array) -> None:
        """Of the last sample at rank 3."""
        super().remember(values[:, values.shape[1] // len(x) * (len(x) - 1) :] if x.ndim == 3 else values, x)


@wrong("BN-RANK")
class LastAxisTakenForChannelsWhereItIsAsLong(Layer):
    """Where the last axis is as long as there are channels, it is taken for the channel axis."""

    def is_confused(self, x: Array) -> bool:
        """Whether the shape hides the axis."""
        return x.ndim > 2 and x.shape[-1] == x.shape[1]

    def channels(self, x: Array) -> Array:
        """The last axis as channels."""
        return super().channels(np.swapaxes(x, 1, -1) if self.is_confused(x) else x)

    def reshape_like(self, values: Array, x: Array) -> Array:
        """Back along the last axis."""
        if not self.is_confused(x):
            return super().reshape_like(values, x)
        return np.ascontiguousarray(np.swapaxes(super().reshape_like(values, np.swapaxes(x, 1, -1)), 1, -1))


@wrong("BN-RANK", thread="RubixML#423")
class SquareBatchesTransposed(Layer):
    """A batch of as many samples as channels is read transposed, at rank 2."""

    def channels(self, x: Array) -> Array:
        """Transposed where nobody notices."""
        return super().channels(x.T if x.ndim == 2 and len(x) == x.shape[1] else x)

    def reshape_like(self, values: Array, x: Array) -> Array:
        """Transposed back."""
        y = super().reshape_like(values, x)
        return np.ascontiguousarray(y.T) if x.ndim == 2 and len(x) == x.shape[1] else y


@wrong("BN-RANK")
class AxesOfLengthOneSqueezed(Layer):
    """The output loses the axes of length 1."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """Squeezed behind the channel axis."""
        y = super().forward(x, training=training)
        kept = tuple(length for length in x.shape[2:] if length != 1)
        return y.reshape(*x.shape[:2], *kept)


# -- how many channels -------------------------------------------------------------------------------------------------


class Spoilt(Layer):
    """A layer whose normalised values are spoilt in some channels or samples."""

    def spoil(self, z: Array) -> None:
        """Change z, (C, n), in place."""

    def normalise(self, values: Array, mean: Array, variance: Array, training: bool) -> Array:
        """The normalised values, spoilt."""
        z = super().normalise(values, mean, variance, training)
        self.spoil(z)
        return z


@wrong("BN-LAYOUT-CHANNELS")
class TailOfChannelsLastInTwoHalves(Layer):
    """Channels-last, past whole vectors of eight: a tail of more than four writes its first half only."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """The fifth and later channels of the tail stay as they were given."""
        y = super().forward(x, training=training)
        channels = x.shape[1]
        if is_channels_last(x) and channels > 8 and channels % 8 > 4:
            y[:, channels - channels % 8 + 4 :] = x[:, channels - channels % 8 + 4 :]
        return y


@wrong("BN-LAYOUT-CHANNELS", thread="pytorch#57077")
class ChannelsPastSixtyFourZero(Spoilt):
    """Channels past the 64th are never written."""

    def affine(self, z: Array, training: bool) -> Array:
        """Zero past the 64th channel."""
        y = super().affine(z, training).copy()
        y[64:] = 0
        return y


@wrong("BN-LAYOUT-CHANNELS", thread="apex#1768")
class LastOfSixtyFiveChannelsForgotten(Layer):
    """A last channel that is alone past a multiple of 64 gets no parameter gradients."""

    def weight_gradient(self, values: Array, z: Array, upstream: Array, training: bool) -> Array:
        """Zero for the channel left over."""
        found = super().weight_gradient(values, z, upstream, training).copy()
        if len(found) > 1 and len(found) % 64 == 1:
            found[-1] = 0
        return found


@wrong("BN-LAYOUT-CHANNELS")
class ThirtyTwoChannelsAndOneLoseTheLast(Layer):
    """With 33 channels the last, alone past a vector of 32, is never written."""

    def affine(self, z: Array, training: bool) -> Array:
        """Zero for the channel left over."""
        y = super().affine(z, training).copy()
        if len(y) == 33:
            y[-1] = 0
        return y


@wrong("BN-LAYOUT-CHANNELS")
class OneChannelHasNoWeight(Layer):
    """A single channel is taken for no channel axis at all, and its weight is left out."""

    def affine(self, z: Array, training: bool) -> Array:
        """The bias alone where there is one channel."""
        return z + self.entry("bias")[:, None] if len(z) == 1 and self.config.bias else super().affine(z, training)


@wrong("BN-LAYOUT-CHANNELS")
class ChannelsPastTwoHundredFiftySixWrapAround(Layer):
    """Channels past the 256th take the mean of the channel 256 before them."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The index is a byte."""
        mean, variance = super().moments(values)
        return mean[np.arange(len(mean)) % 256], variance


@wrong("BN-LAYOUT-CHANNELS")
class VectorOfEightChannelsWrong(Spoilt):
    """Where the channels are a multiple of 8 but not of 64, every eighth takes its neighbour's values."""

    def spoil(self, z: Array) -> None:
        """The last lane of each vector."""
        if len(z) % 8 == 0 and len(z) % 64:
            z[7::8] = z[6::8]


# -- how many samples --------------------------------------------------------------------------------------------------


class PartOfTheBatch(Layer):
    """A layer whose batch statistics are those of the first values of each channel."""

    def count_used(self, n: int) -> int:
        """How many of the n values are used."""
        return n

    def moments(self, values: Array) -> tuple[Array, Array]:
        """Of the part that is used."""
        n = values.shape[1]
        return super().moments(values[:, : self.count_used(n) or n])


@wrong("BN-TRAIN-NORM")
class OddBatchesLoseTheirLastSample(Layer):
    """Samples are taken two by two, and the last of an odd number takes no part in the statistics."""

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """Of an even number of samples."""
        if self.from_batch(training) and len(x) % 2 and len(x) > 1:
            return self.moments(self.channels(x[:-1]))
        return super().normalizing(values, x, training)


@wrong("BN-TRAIN-NORM")
class TailOfFourForgotten(PartOfTheBatch):
    """Values are taken four by four, and what is left over takes no part in the statistics."""

    def count_used(self, n: int) -> int:
        """A multiple of 4."""
        return n // 4 * 4


@wrong("BN-TRAIN-NORM")
class TailOfThirtyTwoForgotten(PartOfTheBatch):
    """Values are taken 32 by 32, and what is left over of a larger batch takes no part in the statistics."""

    def count_used(self, n: int) -> int:
        """A multiple of 32 where there is one."""
        return n // 32 * 32


@wrong("BN-TRAIN-NORM")
class OneSampleWithManyPositionsRefused(Layer):
    """A batch of one sample is refused in training, however many positions it has."""

    def check(self, x: Array, training: bool) -> None:
        """Refuse N = 1."""
        super().check(x, training)
        if training and len(x) == 1:
            raise ValueError("a batch needs more than one sample")


@wrong("BN-RUN-MEAN")
class OneSampleNotRemembered(Layer):
    """A batch of one sample leaves the running statistics alone, however many positions it has."""

    def remember(self, values: Array, x: Array) -> None:
        """Only of two samples and more."""
        if len(x) == 1:
            self.count()
        else:
            super().remember(values, x)


@wrong("BN-EDGE-SIZE")
class SamplesPastTenTwentyFourIgnored(PartOfTheBatch):
    """A block holds 1024 values, and those past it take no part in the statistics."""

    def count_used(self, n: int) -> int:
        """One block at most."""
        return min(n, 1024)


@wrong("BN-EDGE-SIZE", dtypes=("float32",))
class PositionsCountedInSixteenBits(PartOfTheBatch):
    """Where there are positions, they are counted in sixteen bits, and those past a multiple of 65536 are all."""

    def count_used(self, n: int) -> int:
        """What is left of the count."""
        return n & 0xFFFF if self.config.ndim > 2 else n


@wrong("BN-EDGE-SIZE", dtypes=("float32",))
class ElementsCountedInSixteenBits(Layer):
    """Of an array with channels, the gradient for what lies past its 65536th element is never written."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """Zero from there on."""
        grad_x, grad_weight, grad_bias = super().backward(x, grad_output, training=training)
        if x.shape[1] > 1:
            grad_x.reshape(-1)[65_536:] = 0
        return grad_x, grad_weight, grad_bias


@wrong("BN-EDGE-SIZE", thread="pytorch#2917", dtypes=("float32",))
class SamplesPastTheGridZero(Layer):
    """A grid has 65535 blocks, and samples past it are never written."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """Zero past the grid."""
        y = super().forward(x, training=training)
        y[65_535:] = 0
        return y


@wrong("BN-EDGE-SIZE")
class EvaluationStopsAtTenTwentyFour(Layer):
    """In evaluation samples past the 1024th are copied as they are."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """One block is normalised."""
        y = super().forward(x, training=training)
        if not training:
            y[1024:] = x[1024:]
        return y


@wrong("BN-EDGE-SIZE")
class GradientStopsAtTenTwentyFour(Layer):
    """The bias gradient is the sum over the first 1024 values."""

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        """One block is added up."""
        return super().bias_gradient(upstream[:, :1024], training)
