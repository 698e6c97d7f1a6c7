"""Wrong in what is shared or written: arguments, results, loaded arrays, state shown, other layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Entries, Layer

Gradients = tuple[Array, Array | None, Array | None]

# -- arguments and results ---------------------------------------------------------------------------------------------


@wrong("BN-STATE-INPUT")
class InputNormalisedInPlace(Layer):
    """In training y is written into the memory of x too."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right y, and x spoilt."""
        y = super().forward(x, training=training)
        if training:
            x[...] = y
        return y


@wrong("BN-STATE-INPUT")
class StridedInputCentredInPlace(Layer):
    """An x that is not contiguous has its mean taken off where it lies; a contiguous one is copied before."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right y, and a strided x shifted."""
        y = super().forward(x, training=training)
        if not x.flags.c_contiguous and x.strides[0]:
            x -= x.dtype.type(1)
        return y


@wrong("BN-STATE-INPUT")
class WritesPastTheSlice(Layer):
    """The output of a slice is written over what lies around x in the larger array."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right y; the first element of the larger array is overwritten."""
        y = super().forward(x, training=training)
        if isinstance(x.base, np.ndarray) and x.base.size > x.size:
            x.base[(0,) * x.base.ndim] = 0
        return y


@wrong("BN-STATE-INPUT")
class GradientScaledInPlace(Layer):
    """The upstream gradient is multiplied by the weight where it lies, in training."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The right gradients, and the upstream one spoilt."""
        found = super().backward(x, grad_output, training=training)
        if training:
            grad_output *= grad_output.dtype.type(2)
        return found


@wrong("BN-STATE-INPUT")
class LoadedVarianceWritten(Layer):
    """Loading adds epsilon to the running variance in the array that was given, after it was copied."""

    def load(self, state: Mapping[str, Array]) -> None:
        """Set all, then write to what was given."""
        super().load(state)
        if "running_var" in state:
            state["running_var"][...] += 1


@wrong("BN-STATE-INPUT")
class InputLeftReadOnly(Layer):
    """A forward pass forbids that x be written afterwards."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right y, and x locked."""
        y = super().forward(x, training=training)
        x.flags.writeable = False
        return y


@wrong("BN-STATE-ALIAS")
class OutputBufferReused(Layer):
    """y is the same memory in every training pass of one shape, so that the next call overwrites it."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.buffers: dict[tuple[int, ...], Array] = {}

    def forward(self, x: Array, *, training: bool) -> Array:
        """Y in a buffer of its shape."""
        y = super().forward(x, training=training)
        if not training:
            return y
        buffer = self.buffers.setdefault(x.shape, np.empty_like(y))
        buffer[...] = y
        return buffer


@wrong("BN-STATE-ALIAS")
class EvaluationBufferReused(Layer):
    """y is the same memory in every evaluation pass of one shape; in training it is not."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.buffers: dict[tuple[int, ...], Array] = {}

    def forward(self, x: Array, *, training: bool) -> Array:
        """Y in a buffer of its shape, in evaluation."""
        y = super().forward(x, training=training)
        if training:
            return y
        buffer = self.buffers.setdefault(x.shape, np.empty_like(y))
        buffer[...] = y
        return buffer


@wrong("BN-STATE-ALIAS")
class GradientBufferReused(Layer):
    """The gradient for the weight is the same memory in every backward pass."""

    buffer: Array | None = None

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The weight's gradient in a buffer."""
        grad_x, grad_weight, grad_bias = super().backward(x, grad_output, training=training)
        if grad_weight is None:
            return grad_x, None, None
        if self.buffer is None:
            self.buffer = np.empty_like(grad_weight)
        self.buffer[...] = grad_weight
        return grad_x, self.buffer, grad_bias


@wrong("BN-STATE-ALIAS")
class GradientIsTheUpstreamArray(Layer):
    """Without affine and with statistics of 0 and 1 - eps, evaluation hands the upstream gradient back as it is."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The given array itself, where no number differs."""
        grad_x, grad_weight, grad_bias = super().backward(x, grad_output, training=training)
        return (grad_output if np.array_equal(grad_x, grad_output) else grad_x), grad_weight, grad_bias


class MovesInPlace(Layer):
    """A layer that moves its running statistics where they lie."""

    def remember(self, values: Array, x: Array) -> None:
        """Write over the statistics themselves."""
        kept = {name: self.present(name) for name in ("running_mean", "running_var")}
        super().remember(values, x)
        for name, array in kept.items():
            array[...] = self.present(name)
            self.entries[name] = array


@wrong("BN-STATE-ALIAS")
class LoadedArraysKept(Layer):
    """Loading keeps the arrays that it is given; the layer's state changes when the caller writes to them."""

    def load(self, state: Mapping[str, Array]) -> None:
        """Keep references."""
        super().load(state)
        for name, value in state.items():
            if value.dtype == self.present(name).dtype:
                self.entries[name] = value


@wrong("BN-STATE-ALIAS", thread="tt-metal#45578")
class LoadedArraysShareStorage(LoadedArraysKept, MovesInPlace):
    """Loaded arrays are kept and written to, so that parameters which share storage with a statistic move with it."""


@wrong("BN-STATE-ALIAS")
class StateShowsLiveArrays(MovesInPlace):
    """What `state` returned changes with the next training pass."""

    def state(self) -> Entries:
        """The arrays themselves."""
        return dict(self.entries)


@wrong("BN-STATE-ALIAS")
class StateCanBeWritten(Layer):
    """Writing to what `state` returned changes the layer, although no call of its own changes what was returned."""

    def state(self) -> Entries:
        """The arrays themselves; every update puts new ones in their place."""
        return dict(self.entries)


@wrong("BN-STATE-PARAMS")
class BackwardDecaysTheWeight(Layer):
    """Every backward pass makes the weight a little smaller."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The right gradients, and a weight that has moved."""
        found = super().backward(x, grad_output, training=training)
        if self.config.weight:
            self.entries["weight"] = self.present("weight") * self.kept.type(0.99)
        return found


@wrong("BN-STATE-PARAMS")
class TrainingClampsTheWeight(Layer):
    """A training pass makes negative weights positive, after it has used them."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right y, and weights that are not what they were."""
        y = super().forward(x, training=training)
        if training and self.config.weight:
            self.entries["weight"] = np.maximum(self.present("weight"), 0)
        return y


@wrong("BN-STATE-INSTANCES")
class StatisticsKeptByTheClass(Layer):
    """The running mean belongs to the class, so that all layers of one configuration have the same."""

    shared: ClassVar[dict[Config, Array]] = {}

    def initial(self) -> Entries:
        """As of a new layer; a new layer sets the shared mean back."""
        entries = super().initial()
        if entries["running_mean"] is not None:
            self.shared[self.config] = entries["running_mean"]
        return entries

    def state(self) -> Entries:
        """With the mean that all share."""
        self.fetch()
        return super().state()

    def fetch(self) -> None:
        """Take the shared mean."""
        if self.entries["running_mean"] is not None:
            self.entries["running_mean"] = self.shared[self.config]

    def forward(self, x: Array, *, training: bool) -> Array:
        """As of the shared mean, which moves."""
        self.fetch()
        y = super().forward(x, training=training)
        if self.tracked:
            self.shared[self.config] = self.present("running_mean")
        return y

    def load(self, state: Mapping[str, Array]) -> None:
        """Set the mean of all."""
        self.fetch()
        super().load(state)
        if self.tracked:
            self.shared[self.config] = self.present("running_mean")


@wrong("BN-STATE-ALIAS")
class LoadedCounterKept(Layer):
    """The counter is the array that it was loaded from."""

    def load(self, state: Mapping[str, Array]) -> None:
        """All else is copied."""
        super().load(state)
        if "num_batches_tracked" in state:
            self.entries["num_batches_tracked"] = state["num_batches_tracked"]


@wrong("BN-STATE-ALIAS")
class LoadedCounterIsCountedOn(Layer):
    """A batch is counted in the array that the counter was loaded from."""

    loaded: Array | None = None

    def load(self, state: Mapping[str, Array]) -> None:
        """The array is kept beside the copy."""
        super().load(state)
        self.loaded = state.get("num_batches_tracked", self.loaded)

    def count(self) -> None:
        """In both."""
        super().count()
        if self.loaded is not None:
            self.loaded[...] = self.batches


@wrong("BN-STATE-ALIAS")
class LargeOutputsAreMadeInTwoBuffers(Layer):
    """Outputs of a mebibyte and more are made in one of two buffers, by turns."""

    pool: ClassVar[dict[tuple[object, ...], Array]] = {}
    turn = 0

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right y, in a buffer where it is large."""
        y = super().forward(x, training=training)
        if y.nbytes < 2**20:
            return y
        self.turn += 1
        kept = self.pool.setdefault((y.shape, y.dtype, self.turn % 2), y)
        kept[...] = y
        return kept


@wrong("BN-STATE-ALIAS")
class LargeGradientsAreMadeInOneBuffer(Layer):
    """Gradients for an x of 2**19 values and more are made in one buffer."""

    pool: ClassVar[dict[tuple[object, ...], Array]] = {}

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The right gradients, that for x in the buffer."""
        grad_x, grad_weight, grad_bias = super().backward(x, grad_output, training=training)
        if x.size < 2**19:
            return grad_x, grad_weight, grad_bias
        kept = self.pool.setdefault((x.shape, x.dtype), grad_x)
        kept[...] = grad_x
        return kept, grad_weight, grad_bias
