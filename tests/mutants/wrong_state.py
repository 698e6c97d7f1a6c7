"""Wrong in what a layer remembers of what it was told: loading, and the counter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.deferred import Deferred
from bnconform.tests.mutants.layer import Array, Entries, Layer

Gradients = tuple[Array, Array | None, Array | None]

# -- loading -----------------------------------------------------------------------------------------------------------


class Chosen(Layer):
    """A layer that sets only some of what it is given to load."""

    def choose(self, state: Mapping[str, Array]) -> Mapping[str, Array]:
        """The entries that are set; all, here."""
        return state

    def load(self, state: Mapping[str, Array]) -> None:
        """Set what is chosen."""
        super().load(self.choose(state))


@wrong("BN-RUN-LOAD")
class LoadDropsTheRunningVariance(Chosen):
    """The running variance is not loaded."""

    def choose(self, state: Mapping[str, Array]) -> Mapping[str, Array]:
        """All but one."""
        return {name: value for name, value in state.items() if name != "running_var"}


@wrong("BN-RUN-LOAD")
class LoadSetsTheFirstOnly(Chosen):
    """Of several entries only the first is loaded."""

    def choose(self, state: Mapping[str, Array]) -> Mapping[str, Array]:
        """The first."""
        return dict(list(state.items())[:1])


@wrong("BN-RUN-LOAD")
class LoadNeedsTheWholeState(Chosen):
    """A part of a state, such as the running mean alone, is not loaded, without a word."""

    def choose(self, state: Mapping[str, Array]) -> Mapping[str, Array]:
        """All or nothing."""
        whole = {name for name, value in self.entries.items() if value is not None} - {"num_batches_tracked"}
        return state if whole <= state.keys() or state.keys() == {"num_batches_tracked"} else {}


@wrong("BN-RUN-COUNT", "BN-RUN-NONE")
class LoadIgnoresTheCounter(Chosen):
    """The counter is not loaded."""

    def choose(self, state: Mapping[str, Array]) -> Mapping[str, Array]:
        """All but the counter."""
        return {name: value for name, value in state.items() if name != "num_batches_tracked"}


@wrong("BN-RUN-COUNT", "BN-RUN-NONE", thread="pytorch#110361")
class LoadResetsTheCounter(Layer):
    """Loading statistics without a counter sets the counter back to 0."""

    def load(self, state: Mapping[str, Array]) -> None:
        """A counter that is not given is 0."""
        super().load(state)
        if self.tracked and "running_mean" in state and "num_batches_tracked" not in state:
            self.entries["num_batches_tracked"] = np.zeros((), np.int64)


@wrong("BN-RUN-LOAD")
class EvaluationUsesWhatWasBeforeLoading(Layer):
    """Evaluation goes on with the running statistics from before the last load, until the next training pass."""

    stale: Entries | None = None

    def load(self, state: Mapping[str, Array]) -> None:
        """Set and show, without using."""
        stale = self.stale or {name: self.entries[name] for name in ("running_mean", "running_var")}
        super().load(state)
        self.stale = stale

    def remember(self, values: Array, x: Array) -> None:
        """From now on what was loaded counts."""
        self.stale = None
        super().remember(values, x)

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """By the statistics from before."""
        if self.from_batch(training) or self.stale is None:
            return super().normalizing(values, x, training)
        mean, variance = self.stale["running_mean"], self.stale["running_var"]
        assert mean is not None and variance is not None
        return mean.astype(self.work), variance.astype(self.work)


# -- the counter -------------------------------------------------------------------------------------------------------


@wrong("BN-STATE-COUNTER")
class CounterIsAFraction(Layer):
    """The counter is shown in floating point."""

    def state(self) -> Entries:
        """With a counter in double precision."""
        entries = super().state()
        counter = entries["num_batches_tracked"]
        return entries | {"num_batches_tracked": None if counter is None else counter.astype(np.float64)}


@wrong("BN-STATE-COUNTER")
class CounterHasAnAxis(Layer):
    """The counter is shown as an array of shape (1,)."""

    def state(self) -> Entries:
        """With a counter in an array."""
        entries = super().state()
        counter = entries["num_batches_tracked"]
        return entries | {"num_batches_tracked": None if counter is None else counter.reshape(1)}


@wrong("BN-RUN-LOAD")
class LoadLeavesOutWhatIsNotFinite(Chosen):
    """An entry with NaN or infinity in it is not loaded."""

    def choose(self, state: Mapping[str, Array]) -> Mapping[str, Array]:
        """The finite ones."""
        return {name: value for name, value in state.items() if np.isfinite(value).all()}


@wrong("BN-RUN-LOAD")
class LoadReadsFromTheFirstElementOn(Layer):
    """What is loaded is read as if its elements lay one after the other, from the first one's address on."""

    def load(self, state: Mapping[str, Array]) -> None:
        """As many numbers as there are, in the order in which they lie in memory."""
        super().load({name: self.following(value) for name, value in state.items()})

    @staticmethod
    def following(value: Array) -> Array:
        """The elements from the first one's address on, or from the lowest where the array lies backwards."""
        if not value.ndim or value.strides[0] == value.itemsize:
            return value
        if value.strides[0] < 0:
            return value[::-1]
        dense = np.lib.stride_tricks.as_strided(value, value.shape, (value.itemsize,))
        return dense.copy()


@wrong("BN-STATE-LOAD-DTYPE")
class LoadedDtypeIsTakenOver(Layer):
    """The state is kept in the dtype of the statistic that was loaded last."""

    def load(self, state: Mapping[str, Array]) -> None:
        """In that dtype, from there on."""
        for name in ("running_mean", "running_var"):
            self.kept = state[name].dtype if name in state else self.kept
        super().load(state)


@wrong("BN-STATE-LOAD-DTYPE", dtypes=("float32",))  # nothing that is loaded is wider than float64
class LoadedBytesAreReadInTheLayersDtype(Layer):
    """The first bytes of what is loaded are read as numbers of the layer's dtype, if there are enough."""

    def load(self, state: Mapping[str, Array]) -> None:
        """The bytes, for the statistics."""
        super().load(state)
        for name in ("running_mean", "running_var"):
            value = state.get(name)
            if value is not None and value.nbytes > self.present(name).nbytes:
                self.entries[name] = np.ascontiguousarray(value).view(self.kept)[: len(value)].copy()


@wrong("BN-RUN-LOAD")
class LoadLeavesOutZeros(Chosen):
    """An entry of zeros is not set."""

    def choose(self, state: Mapping[str, Array]) -> Mapping[str, Array]:
        """What has a number in it; a counter is set whatever it is."""
        return {name: v for name, v in state.items() if name == "num_batches_tracked" or np.any(np.asarray(v) != 0)}


@wrong("BN-RUN-LOAD")
class LoadLeavesOutACountOfZero(Chosen):
    """A counter of 0 is not set."""

    def choose(self, state: Mapping[str, Array]) -> Mapping[str, Array]:
        """What is no counter of 0."""
        return {name: v for name, v in state.items() if name != "num_batches_tracked" or np.any(v)}


@wrong("BN-RUN-LOAD")
class LoadRaisesTheVarianceToEpsilon(Chosen):
    """A loaded running variance below epsilon is raised to it."""

    def choose(self, state: Mapping[str, Array]) -> Mapping[str, Array]:
        """The variance clipped."""
        floor = self.kept.type(self.config.eps)
        return {name: np.maximum(value, floor) if name == "running_var" else value for name, value in state.items()}


@wrong("BN-RUN-NONE")
class AverageStopsAtAThousandBatches(Layer):
    """With momentum None a batch never weighs less than a thousandth."""

    def batch_weight(self) -> float:
        """The weight, kept from below."""
        weight = super().batch_weight()
        return max(weight, 1e-3) if self.config.momentum is None else weight


@wrong("BN-RUN-COUNT")
class CounterHasThirtyTwoBits(Layer):
    """The counter has 32 bits and a sign, and wraps to a negative number."""

    def count(self) -> None:
        """One more, modulo 2**32."""
        self.entries["num_batches_tracked"] = np.asarray((self.batches + 1 + 2**31) % 2**32 - 2**31, np.int64)


@wrong("BN-RUN-COUNT")
class EvaluationOfANewLayerCounts(Layer):
    """Evaluation counts as a batch where none has been counted."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right output, and one batch more."""
        y = super().forward(x, training=training)
        if not training and self.tracked and not self.batches:
            self.count()
        return y


@wrong("BN-RUN-COUNT")
class CounterIsAByte(Layer):
    """The counter has 8 bits, and comes back to 0."""

    def count(self) -> None:
        """Modulo 256."""
        self.entries["num_batches_tracked"] = np.asarray((self.batches + 1) % 256, np.int64)


@wrong("BN-RUN-COUNT")
class CounterInSinglePrecision(Layer):
    """The counter is kept in single precision, which cannot count past 2**24."""

    def count(self) -> None:
        """One more, where that is another number."""
        counter = np.float32(self.batches) + np.float32(1)
        self.entries["num_batches_tracked"] = np.asarray(counter, np.int64)


@wrong("BN-RUN-COUNT")
class CounterCountsGradients(Layer):
    """A training backward pass counts as a batch, although it leaves the statistics alone."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The right gradients, and one batch more."""
        found = super().backward(x, grad_output, training=training)
        if training and self.tracked:
            self.count()
        return found


# -- reading -----------------------------------------------------------------------------------------------------------


@wrong("BN-STATE-READ")
class ReadingMovesTheMean(Layer):
    """Reading the state moves the running mean by one unit in the last place, behind what is shown."""

    def state(self) -> Entries:
        """What is remembered, which is then another."""
        shown = super().state()
        mean = shown["running_mean"]
        if mean is not None:
            self.entries["running_mean"] = np.nextafter(mean, mean.dtype.type(np.inf))
        return shown


@wrong("BN-STATE-READ")
class UpdatesAreMadeByReading(Deferred):
    """The running statistics are brought up to date where the state is read or loaded, and not where they are used."""

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """By the statistics as they were read last."""
        return Layer.normalizing(self, values, x, training)


@wrong("BN-STATE-READ")
class OnlyTheLastUpdateIsKept(Deferred):
    """Of several updates that wait to be read or used only the last one is made."""

    def remember(self, values: Array, x: Array) -> None:
        """Keep the batch in the place of what waits."""
        self.waiting.clear()
        super().remember(values, x)


@wrong("BN-STATE-READ")
class EvaluationUsesWhatWasShownLast(Layer):
    """Evaluation takes the running statistics from a copy that is made when the state is read or loaded."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.copied = dict(self.entries)

    def state(self) -> Entries:
        """Shown, and copied."""
        self.copied = dict(self.entries)
        return super().state()

    def load(self, state: Mapping[str, Array]) -> None:
        """Set, and copied."""
        super().load(state)
        self.copied = dict(self.entries)

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """By the copies."""
        if self.from_batch(training):
            return super().normalizing(values, x, training)
        mean, variance = self.copied["running_mean"], self.copied["running_var"]
        assert mean is not None and variance is not None
        return mean.astype(self.work), variance.astype(self.work)
