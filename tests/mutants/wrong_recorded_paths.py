"""Wrong in recorded passes of one rank, size, layout or configuration only: an operator's gradient has paths, too."""

from __future__ import annotations

from collections.abc import Callable

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Gradients, Layer
from bnconform.tests.mutants.wrong_layout import in_memory_order, is_channels_last

Recorded = tuple[Array, Callable[[Array], Gradients]]


def _half(gradient: Array | None) -> Array | None:
    return None if gradient is None else gradient * gradient.dtype.type(0.5)


class _OnePath(Layer):
    """A layer whose recorded passes are wrong under one circumstance; its backward passes of one call are right."""

    def is_taken(self, x: Array, training: bool) -> bool:
        """Whether the wrong path is taken."""
        raise NotImplementedError

    def spoilt(self, found: Gradients, x: Array, grad_output: Array) -> Gradients:
        """What the wrong path gives: half of the gradients of weight and bias."""
        return found[0], _half(found[1]), _half(found[2])

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """Right but for that path."""
        given = x.copy(order="K")
        y, pullback = super().vjp(x, training=training)
        if not self.is_taken(x, training):
            return y, pullback
        return y, lambda grad_output: self.spoilt(pullback(grad_output), given, grad_output)


@wrong("BN-REC-VJP")
class RecordedSequences(_OnePath):
    """At rank 3 a pass recorded in training loses half of what weight and bias get."""

    def is_taken(self, x: Array, training: bool) -> bool:
        return x.ndim == 3 and training


@wrong("BN-REC-VJP", thread="NNlib.jl#548")
class RecordedVolumesInEvaluation(_OnePath):
    """At rank 5 a pass recorded in evaluation loses half of what weight and bias get."""

    def is_taken(self, x: Array, training: bool) -> bool:
        return x.ndim == 5 and not training


@wrong("BN-REC-VJP")
class RecordedVolumesOfAnOddBatch(_OnePath):
    """At rank 5 the pullback of an odd number of samples leaves the last of them out of the gradient for x."""

    def is_taken(self, x: Array, training: bool) -> bool:
        return bool(x.ndim == 5 and x.shape[0] % 2 == 1 and x.shape[0] > 1)

    def spoilt(self, found: Gradients, x: Array, grad_output: Array) -> Gradients:
        """0 in the last sample."""
        found[0][-1] = 0
        return found


class _LayoutOfGradient(_OnePath):
    """The upstream gradient of a pullback is read in the order in which it lies in memory."""

    def spoilt(self, found: Gradients, x: Array, grad_output: Array) -> Gradients:
        """The gradients for what is read."""
        return self.backward(x, in_memory_order(grad_output), training=True)


@wrong("BN-REC-VJP")
class PullbackTakesChannelsLastForContiguous(_LayoutOfGradient):
    """Of images that lie channels-last the pullback reads the upstream gradient as it lies."""

    def is_taken(self, x: Array, training: bool) -> bool:
        return x.ndim == 4 and is_channels_last(x) and training


@wrong("BN-REC-VJP")
class PullbackTakesTransposedForContiguous(_LayoutOfGradient):
    """Of a transposed matrix the pullback reads the upstream gradient as it lies."""

    def is_taken(self, x: Array, training: bool) -> bool:
        return x.ndim == 2 and x.flags.f_contiguous and not x.flags.c_contiguous and training


@wrong("BN-REC-VJP")
class PullbackOfExpandedTakesItOnce(_OnePath):
    """An upstream gradient with stride 0 everywhere, as that of a sum, counts once a channel in a pullback."""

    def is_taken(self, x: Array, training: bool) -> bool:
        return True

    def spoilt(self, found: Gradients, x: Array, grad_output: Array) -> Gradients:
        """The bias gets one value's share."""
        grad_x, grad_weight, grad_bias = found
        if grad_bias is not None and grad_output.size > 1 and not any(grad_output.strides):
            grad_bias = grad_bias * grad_bias.dtype.type(x.shape[1] / x.size)
        return grad_x, grad_weight, grad_bias


@wrong("BN-REC-VJP")
class RecordedOneSample(_OnePath):
    """Of one sample a recorded pass takes a path of its own, which loses half of what weight and bias get."""

    def is_taken(self, x: Array, training: bool) -> bool:
        return bool(x.shape[0] == 1)


@wrong("BN-REC-VJP")
class RecordedOnePosition(_OnePath):
    """Of images of one position a recorded pass takes a path of its own, which is wrong."""

    def is_taken(self, x: Array, training: bool) -> bool:
        return bool(x.ndim == 4 and x.shape[2:] == (1, 1))


@wrong("BN-REC-VJP")
class RecordedOneChannel(_OnePath):
    """Of one channel a recorded pass takes a path of its own, which is wrong."""

    def is_taken(self, x: Array, training: bool) -> bool:
        return bool(x.shape[1] == 1)


class _ChannelsPastABlock(_OnePath):
    """Channels past a block get no gradient."""

    block: int

    def is_taken(self, x: Array, training: bool) -> bool:
        return bool(x.shape[1] > self.block)

    def spoilt(self, found: Gradients, x: Array, grad_output: Array) -> Gradients:
        """0 past the block."""
        found[0][:, self.block :] = 0
        return found


@wrong("BN-REC-VJP", thread="pytorch#62594")
class PullbackOfChannelsPast64(_ChannelsPastABlock):
    """In a pullback channels past 64 get a gradient of 0."""

    block = 64


@wrong("BN-REC-VJP")
class PullbackOfChannelsPast256(_ChannelsPastABlock):
    """In a pullback channels past 256 get a gradient of 0."""

    block = 256


@wrong("BN-REC-VJP")
class PullbackOfManyPositions(_OnePath):
    """In a pullback positions past 256 get a gradient of 0."""

    def is_taken(self, x: Array, training: bool) -> bool:
        return bool(x[0, 0].size > 256)

    def spoilt(self, found: Gradients, x: Array, grad_output: Array) -> Gradients:
        """0 past a block of positions."""
        found[0].reshape(*x.shape[:2], -1)[:, :, 256:] = 0
        return found


@wrong("BN-REC-VJP")
class PullbackOfManySamples(_OnePath):
    """In a pullback samples past 1024 get a gradient of 0."""

    def is_taken(self, x: Array, training: bool) -> bool:
        return bool(x.shape[0] > 1024)

    def spoilt(self, found: Gradients, x: Array, grad_output: Array) -> Gradients:
        """0 past a block of samples."""
        found[0][1024:] = 0
        return found


@wrong("BN-REC-VJP")
class RecordedWithoutBias(_OnePath):
    """A recorded pass of a layer with a weight and no bias loses half of what the weight gets."""

    def is_taken(self, x: Array, training: bool) -> bool:
        return self.config.weight and not self.config.bias


@wrong("BN-REC-VJP")
class RecordedWithoutWeight(_OnePath):
    """A recorded pass of a layer with a bias and no weight loses half of what the bias gets."""

    def is_taken(self, x: Array, training: bool) -> bool:
        return self.config.bias and not self.config.weight


@wrong("BN-REC-VJP")
class RecordedWithoutMomentum(_OnePath):
    """A recorded training pass of a layer with momentum None is pulled back as if it had been made twice."""

    def is_taken(self, x: Array, training: bool) -> bool:
        return self.config.momentum is None and training


@wrong("BN-REC-VJP")
class RecordedAtMomentumOne(_OnePath):
    """A pass that is recorded at momentum 1 loses half of what weight and bias get."""

    def is_taken(self, x: Array, training: bool) -> bool:
        return self.config.momentum == 1


@wrong("BN-REC-VJP", "BN-SET-EPS")
class RecordedWithASmallEpsilon(_OnePath):
    """An epsilon above 0.1 is not the one that a pullback uses."""

    def is_taken(self, x: Array, training: bool) -> bool:
        return self.config.eps > 0.1

    def spoilt(self, found: Gradients, x: Array, grad_output: Array) -> Gradients:
        """Too much."""
        return found[0] * found[0].dtype.type(1.5), found[1], found[2]


class _Ring(Layer):
    """What a recorded pass saves is kept on the layer, of the last few passes only."""

    places: int

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """The pullback is that of the pass whose place it is by then."""
        y, pullback = super().vjp(x, training=training)
        passes: dict[int, Callable[[Array], Gradients]] = self.__dict__.setdefault("passes", {})
        number = self.__dict__["number"] = self.__dict__.get("number", -1) + 1
        passes[number % self.places] = pullback
        return y, lambda grad_output: passes[number % self.places](grad_output)


@wrong("BN-REC-LATE")
class TwoRecordedPassesAreKept(_Ring):
    """A third recorded pass overwrites what the first has saved."""

    places = 2


@wrong("BN-REC-LATE")
class FourRecordedPassesAreKept(_Ring):
    """A fifth recorded pass overwrites what the first has saved."""

    places = 4


@wrong("BN-REC-TWICE")
class ThirdPullbackAccumulates(Layer):
    """Asked a third time, a pullback adds to what it has given before."""

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """The weight's gradient of the third time is added to that of the second."""
        y, pullback = super().vjp(x, training=training)
        before: list[Array | None] = []

        def again(grad_output: Array) -> Gradients:
            grad_x, grad_weight, grad_bias = pullback(grad_output)
            before.append(grad_weight)
            if len(before) > 2 and grad_weight is not None and before[1] is not None:
                grad_weight = grad_weight + before[1]
            return grad_x, grad_weight, grad_bias

        return y, again
