"""Wrong in what is answered that must be refused, and in what a refusal leaves behind."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Gradients, Layer


class Lenient(Layer):
    """A layer that reads x in a shape of its own making before it is checked."""

    def fit(self, x: Array, training: bool) -> Array:
        """X as it is read; as it is, here."""
        return x

    def forward(self, x: Array, *, training: bool) -> Array:
        """Of what is read, in the shape of x where it has as many values."""
        y = super().forward(self.fit(x, training), training=training)
        return y.reshape(x.shape) if y.size == x.size else y


@wrong("BN-ERR-CHANNELS")
class OneChannelBroadcast(Lenient):
    """An x of one channel is broadcast to the channels of the layer."""

    def fit(self, x: Array, training: bool) -> Array:
        """The channel again and again."""
        if x.ndim < 2 or x.shape[1] != 1:
            return x
        return np.broadcast_to(x, (len(x), self.config.num_features, *x.shape[2:]))


@wrong("BN-ERR-CHANNELS")
class MoreChannelsCutOff(Lenient):
    """Channels past those of the layer are left out."""

    def fit(self, x: Array, training: bool) -> Array:
        """The first channels."""
        return x if x.ndim < 2 else x[:, : self.config.num_features]


@wrong("BN-ERR-CHANNELS")
class MissingChannelsZeroInEvaluation(Lenient):
    """In evaluation channels that are missing are taken for zeros; in training they are missed."""

    def fit(self, x: Array, training: bool) -> Array:
        """Filled up with zeros."""
        if training or x.ndim < 2 or x.shape[1] >= self.config.num_features:
            return x
        missing = self.config.num_features - x.shape[1]
        return np.concatenate([x, np.zeros((len(x), missing, *x.shape[2:]), x.dtype)], axis=1)


@wrong("BN-ERR-CHANNELS")
class TwiceTheChannelsTakenForTwiceTheBatch(Lenient):
    """An x with a multiple of the layer's channels is taken for a larger batch."""

    def fit(self, x: Array, training: bool) -> Array:
        """The groups of channels as samples."""
        if x.ndim < 2 or x.shape[1] % self.config.num_features:
            return x
        return x.reshape(-1, self.config.num_features, *x.shape[2:])


@wrong("BN-ERR-CHANNELS")
class WrongChannelsGiveNan(Layer):
    """In training an x with another number of channels gives NaN in place of an error."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """NaN in the shape of x."""
        if training and x.ndim > 1 and x.shape[1] != self.config.num_features:
            return np.full(x.shape, np.nan, x.dtype)
        return super().forward(x, training=training)


@wrong("BN-ERR-RANK")
class RankOneTakenForOneSample(Lenient):
    """In evaluation an x of rank 1 is taken for one sample."""

    def fit(self, x: Array, training: bool) -> Array:
        """With the axes that are missing."""
        return x if training or x.ndim > 1 else x.reshape(1, -1, *(1,) * (self.config.ndim - 2))


@wrong("BN-ERR-RANK")
class RankOneTakenForABatch(Lenient):
    """In training every value of an x of rank 1 is taken for a sample with equal channels."""

    def fit(self, x: Array, training: bool) -> Array:
        """The values, again for every channel."""
        if not training or x.ndim > 1:
            return x
        shape = (len(x), self.config.num_features, *(1,) * (self.config.ndim - 2))
        return np.broadcast_to(x.reshape(-1, *(1,) * (self.config.ndim - 1)), shape)


@wrong("BN-ERR-STATE")
class RefusalMovesTheMean(Layer):
    """A batch that is refused in training has moved the running mean before."""

    def check(self, x: Array, training: bool) -> None:
        """Move, then look."""
        try:
            super().check(x, training)
        except ValueError:
            if training and self.tracked:
                self.entries["running_mean"] = self.present("running_mean") + self.kept.type(1)
            raise


@wrong("BN-ERR-STATE")
class RefusalIsCounted(Layer):
    """A batch that is refused in training is counted."""

    def check(self, x: Array, training: bool) -> None:
        """Count, then look."""
        try:
            super().check(x, training)
        except ValueError:
            if training and self.tracked:
                self.count()
            raise


@wrong("BN-ERR-STATE")
class RefusalInEvaluationResetsTheVariance(Layer):
    """An x that is refused in evaluation leaves a running variance of 1."""

    def check(self, x: Array, training: bool) -> None:
        """Start anew, then look."""
        try:
            super().check(x, training)
        except ValueError:
            if not training and self.tracked:
                self.entries["running_var"] = np.ones_like(self.present("running_var"))
            raise


@wrong("BN-ERR-STATE")
class RefusedBackwardSpoilsTheWeight(Layer):
    """A backward pass that is refused has already written to the weight."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """Write, then look."""
        try:
            return super().backward(x, grad_output, training=training)
        except ValueError:
            if self.config.weight:
                self.entries["weight"] = np.zeros_like(self.present("weight"))
            raise


@wrong("BN-ERR-STATE")
class RefusalLeavesTheTrainingMode(Layer):
    """After a batch that is refused in training evaluation normalises by its own batch."""

    left = False

    def check(self, x: Array, training: bool) -> None:
        """Look, and remember a refusal until the next training pass."""
        self.left = self.left and not training
        try:
            super().check(x, training)
        except ValueError:
            self.left = self.left or training
            raise

    def from_batch(self, training: bool) -> bool:
        """Also after a refusal."""
        return super().from_batch(training) or self.left


@wrong("BN-ERR-LOAD")
class LoadIgnoresWhatIsNotThere(Layer):
    """An entry that the layer does not have is left out of loading, without a word."""

    def load(self, state: Mapping[str, Array]) -> None:
        """Set what exists."""
        super().load({name: value for name, value in state.items() if self.entries.get(name) is not None})


@wrong("BN-ERR-LOAD")
class LoadBroadcastsOneValue(Layer):
    """A loaded array of shape (1,) is broadcast to all channels."""

    def load(self, state: Mapping[str, Array]) -> None:
        """One value for all."""
        size = (self.config.num_features,)
        super().load({name: np.broadcast_to(v, size) if np.shape(v) == (1,) else v for name, v in state.items()})


@wrong("BN-ERR-LOAD")
class LoadCutsLongerArrays(Layer):
    """Of a loaded array with more channels than the layer the first are taken."""

    def load(self, state: Mapping[str, Array]) -> None:
        """As many as fit."""
        size = self.config.num_features
        super().load({name: v[:size] if np.ndim(v) else v for name, v in state.items()})


@wrong("BN-TRAIN-NORM", "BN-EVAL-STATS")
class OutputIsAMaskedArray(Layer):
    """y is a masked array, which computes by rules of its own."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right numbers in the wrong kind of array."""
        masked: Array = np.ma.masked_array(super().forward(x, training=training))
        return masked


class _Unchecked(Layer):
    """A layer that does not look at the shape of the upstream gradient."""

    def check_upstream(self, x: Array, grad_output: Array) -> None:
        """Nothing is looked at."""


@wrong("BN-ERR-GRAD")
class UpstreamReadAsFlatMemory(_Unchecked):
    """The upstream gradient is read as flat memory, as many numbers as x has, again from the start where it ends."""

    def fitting(self, x: Array, grad_output: Array) -> Array:
        """Resized."""
        return np.resize(grad_output, x.shape)


@wrong("BN-ERR-GRAD")
class UpstreamOfAsManyNumbersIsTaken(_Unchecked):
    """An upstream gradient of another shape is taken where it has as many numbers as x."""

    def fitting(self, x: Array, grad_output: Array) -> Array:
        """The numbers in the shape of x."""
        return grad_output.reshape(x.shape)


@wrong("BN-ERR-GRAD")
class SamplesOfTheUpstreamCutOff(_Unchecked):
    """Samples of the upstream gradient past those of x are left out; missing ones are refused."""

    def fitting(self, x: Array, grad_output: Array) -> Array:
        """The first samples."""
        if grad_output.shape[1:] != x.shape[1:] or len(grad_output) < len(x):
            raise ValueError("grad_output does not fit")
        return grad_output[: len(x)]


@wrong("BN-ERR-GRAD")
class PositionsOfTheUpstreamFilledInEvaluation(_Unchecked):
    """In evaluation positions that the upstream gradient lacks are taken for zeros."""

    def fitting(self, x: Array, grad_output: Array) -> Array:
        """Zeros at the end of the last axis."""
        if grad_output.shape == x.shape:
            return grad_output
        lacking = x.shape[-1] - grad_output.shape[-1]
        if self.training or x.ndim < 3 or lacking < 0 or grad_output.shape[:-1] != x.shape[:-1]:
            raise ValueError("grad_output does not fit")
        return np.pad(grad_output, [(0, 0)] * (x.ndim - 1) + [(0, lacking)])

    training = True

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The mode is noted."""
        self.training = training
        return super().backward(x, grad_output, training=training)


@wrong("BN-ERR-CHANNELS")
class BackwardTakesTheFirstChannels(Layer):
    """A backward pass over more channels than the layer has answers for the first ones, and zeros for the rest."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """Cut, and filled up."""
        own = self.config.num_features
        if x.ndim != self.config.ndim or x.shape[1] <= own or grad_output.shape != x.shape:
            return super().backward(x, grad_output, training=training)
        grad_x, grad_weight, grad_bias = super().backward(x[:, :own], grad_output[:, :own], training=training)
        whole = np.zeros_like(x)
        whole[:, :own] = grad_x
        return whole, grad_weight, grad_bias


@wrong("BN-ERR-LOAD")
class LoadFlattensColumns(Layer):
    """An entry of another rank with as many values is loaded as if it were of shape (C,)."""

    def load(self, state: Mapping[str, Array]) -> None:
        """Flat, where there is one value a channel."""
        channels = self.config.num_features
        super().load({name: np.ravel(v) if np.size(v) == channels and np.ndim(v) else v for name, v in state.items()})
