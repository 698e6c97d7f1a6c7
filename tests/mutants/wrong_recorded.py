"""Wrong in what a recorded pass gives: later, twice, after other calls, after a load or a change of mode."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Gradients, Layer

Recorded = tuple[Array, Callable[[Array], Gradients]]


@wrong("BN-REC-VJP", "BN-REC-LATE")
class RecordedGradientIsDetached(Layer):
    """A recorded pass takes the statistics for constant; a backward pass of one call does not."""

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """The gradient for x is weight / std times g."""
        y, pullback = super().vjp(x, training=training)
        with np.errstate(all="ignore"):
            values = self.channels(x)
            scale = self.gradient_scale(self.moments(values)[1], training)

        def detach(grad_output: Array) -> Gradients:
            grad_x, grad_weight, grad_bias = pullback(grad_output)
            if training:
                grad_x = self.reshape_like(scale[:, None] * self.channels(grad_output), x)
            return grad_x, grad_weight, grad_bias

        return y, detach


@wrong("BN-REC-VJP")
class RecordedOutputIsOfTheMovedStatistics(Layer):
    """A pass recorded in evaluation returns x normalised by the batch."""

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """The output of a training pass."""
        y, pullback = super().vjp(x, training=training)
        if not training and self.tracked:
            values = self.channels(x)
            y = self.reshape_like(self.affine(self.normalise(values, *self.moments(values), True), True), x)
        return y, pullback


class _Saved(Layer):
    """A layer that saves what the backward pass needs on itself: mean and variance, of the last pass."""

    saved: tuple[Array, Array] | None = None

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """Those of the pass, saved."""
        self.saved = super().normalizing(values, x, training)
        return self.saved


class Pinned(Layer):
    """A right layer that normalises by statistics that it is given."""

    def __init__(self, config: Config, statistics: tuple[Array, Array] | None) -> None:
        super().__init__(config)
        self.statistics = statistics

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """The given ones."""
        assert self.statistics is not None
        return self.statistics


@wrong("BN-REC-LATE")
class SavedStatisticsKeptOnTheLayer(_Saved):
    """Mean and variance are saved on the layer, so that the next pass overwrites those of a recorded one."""

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """The pullback reads them when it is called."""
        given = x.copy()
        before = dict(self.entries)
        y = self.forward(x, training=training)

        def pullback(grad_output: Array) -> Gradients:
            recorded = Pinned(self.config, self.saved)
            recorded.entries = before
            return recorded.backward(given, grad_output, training=training)

        return y, pullback


@wrong("BN-REC-LATE")
class LastInputKeptOnTheLayer(Layer):
    """The normalised values are saved on the layer: a pullback after another pass of the same shape uses that one's."""

    last: Array | None = None

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right y; x is saved."""
        self.last = x.copy()
        return super().forward(x, training=training)

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """Of the last input, where it has the shape."""
        y, pullback = super().vjp(x, training=training)

        def late(grad_output: Array) -> Gradients:
            if self.last is None or self.last.shape != x.shape or np.array_equal(self.last, x):
                return pullback(grad_output)
            return self.backward(self.last, grad_output, training=training)

        return y, late


@wrong("BN-REC-LATE")
class SizeOfTheLastBatch(Layer):
    """The pullback divides by the number of values of the layer's last pass, not of its own."""

    size = 0

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right y; the number of values is noted."""
        self.size = x.size // x.shape[1]
        return super().forward(x, training=training)

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """The gradient for x is scaled by the two numbers' quotient."""
        y, pullback = super().vjp(x, training=training)
        own = x.size // x.shape[1]

        def late(grad_output: Array) -> Gradients:
            grad_x, grad_weight, grad_bias = pullback(grad_output)
            if training and own != self.size:
                grad_x = (grad_x * grad_x.dtype.type(own / self.size)).astype(grad_x.dtype)
            return grad_x, grad_weight, grad_bias

        return y, late


@wrong("BN-REC-LATE")
class OneRecordedPassAtATime(Layer):
    """A layer keeps one recorded pass: every pullback is that of the last, where the shape allows it."""

    latest: Callable[[Array], Gradients] | None = None
    shape: tuple[int, ...] = ()

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """The pullback looks the pass up on the layer, and cuts the upstream gradient to its size."""
        self.latest = None  # not to be copied with the layer
        y, pullback = super().vjp(x, training=training)
        self.latest, self.shape = pullback, x.shape

        def late(grad_output: Array) -> Gradients:
            assert self.latest is not None
            if self.shape == grad_output.shape:
                return self.latest(grad_output)
            _, grad_weight, grad_bias = self.latest(np.resize(grad_output, self.shape))
            return pullback(grad_output)[0], grad_weight, grad_bias

        return y, late


@wrong("BN-REC-TWICE")
class SecondPullbackDoubles(Layer):
    """The gradients for weight and bias add up from one call of a pullback to the next."""

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """Accumulated."""
        y, pullback = super().vjp(x, training=training)
        found: list[Array | None] = [None, None]

        def again(grad_output: Array) -> Gradients:
            grad_x, *rest = pullback(grad_output)
            for index, gradient in enumerate(rest):
                before = found[index]
                found[index] = gradient if before is None or gradient is None else before + gradient
            return grad_x, *(None if value is None else value.copy() for value in found)  # type: ignore[return-value]

        return y, again


@wrong("BN-REC-TWICE")
class SecondPullbackIsTheFirst(Layer):
    """A pullback computes once, and answers every later call with that, whatever the upstream gradient."""

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """Kept."""
        y, pullback = super().vjp(x, training=training)
        found: list[Gradients] = []

        def again(grad_output: Array) -> Gradients:
            if not found:
                found.append(pullback(grad_output))
            grad_x, grad_weight, grad_bias = found[0]
            return grad_x.copy(), *(None if v is None else v.copy() for v in (grad_weight, grad_bias))  # type: ignore[return-value]

        return y, again


@wrong("BN-REC-TWICE")
class SecondPullbackIsZero(Layer):
    """A pullback uses its saved values up: the second call gives a gradient of zeros for x."""

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """Used up."""
        y, pullback = super().vjp(x, training=training)
        calls: list[None] = []

        def again(grad_output: Array) -> Gradients:
            calls.append(None)
            grad_x, grad_weight, grad_bias = pullback(grad_output)
            return np.zeros_like(grad_x) if len(calls) > 1 else grad_x, grad_weight, grad_bias

        return y, again


class _Present(Layer):
    """A layer whose pullbacks read some entries of its state when they are called."""

    read: tuple[str, ...] = ()

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """The pass is recorded but for what is read later."""
        given, before = x.copy(), dict(self.entries)
        y = self.forward(x, training=training)

        def pullback(grad_output: Array) -> Gradients:
            recorded = Layer(self.config)
            recorded.entries = before | {name: self.entries[name] for name in self.read}
            return recorded.backward(given, grad_output, training=training)

        return y, pullback


@wrong("BN-REC-LOAD")
class PullbackUsesThePresentWeight(_Present):
    """The pullback multiplies by the weight that the layer has by then."""

    read = ("weight",)


@wrong("BN-REC-MODE", "BN-REC-LOAD", thread="pytorch#13402")
class PullbackUsesThePresentStatistics(_Present):
    """The pullback of an evaluation pass divides by the running statistics that the layer has by then."""

    read = ("running_mean", "running_var")


@wrong("BN-REC-MODE")
class PullbackUsesThePresentMode(Layer):
    """The pullback goes by the mode of the layer's last pass."""

    mode = True

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right y; the mode is noted."""
        self.mode = training
        return super().forward(x, training=training)

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """By the mode of by then."""
        given, before = x.copy(), dict(self.entries)
        y = self.forward(x, training=training)

        def pullback(grad_output: Array) -> Gradients:
            recorded = Layer(self.config)
            recorded.entries = before
            return recorded.backward(given, grad_output, training=self.mode)

        return y, pullback


@wrong("BN-REC-MODE")
class EvaluationIsDetachedOnlyBeforeTraining(Layer):
    """Once it has trained, a layer pulls an evaluation pass back through the batch's statistics."""

    trained = False

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right y."""
        self.trained = self.trained or training
        return super().forward(x, training=training)

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """As in training, after training."""
        y, pullback = super().vjp(x, training=training)
        if training or not self.trained or not self.tracked:
            return y, pullback
        recorded, given = Layer(self.config), x.copy()
        recorded.entries = dict(self.entries)
        return y, lambda grad_output: recorded.backward(given, grad_output, training=True)


@wrong("BN-REC-INPUT")
class InputKeptByReference(Layer):
    """The recorded pass keeps the array itself; what the caller writes to it is differentiated."""

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """Of whatever x holds by then."""
        before = dict(self.entries)
        y = self.forward(x, training=training)

        def pullback(grad_output: Array) -> Gradients:
            recorded = Layer(self.config)
            recorded.entries = before
            return recorded.backward(x, grad_output, training=training)

        return y, pullback


@wrong("BN-REC-STATE")
class PullbackMovesTheStatistics(Layer):
    """The pullback makes a forward pass of its own, which moves the statistics once more."""

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """With a training pass more."""
        y, pullback = super().vjp(x, training=training)
        given = x.copy()

        def again(grad_output: Array) -> Gradients:
            if training:
                self.forward(given, training=True)
            return pullback(grad_output)

        return y, again


@wrong("BN-REC-STATE")
class RecordingMovesTwice(Layer):
    """A recorded training pass moves the statistics twice: when it is made, and when it is traced."""

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """Two passes."""
        found = super().vjp(x, training=training)
        if training:
            self.forward(x, training=True)
        return found


@wrong("BN-REC-STATE")
class PullbackCounts(Layer):
    """The pullback of a training pass counts a batch."""

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """Counted when it is pulled back."""
        y, pullback = super().vjp(x, training=training)

        def again(grad_output: Array) -> Gradients:
            if training and self.tracked:
                self.count()
            return pullback(grad_output)

        return y, again


@wrong("BN-REC-STATE")
class RecordedEvaluationMoves(Layer):
    """A pass recorded in evaluation moves the statistics, as gradients are enabled."""

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """Moved in either mode."""
        found = super().vjp(x, training=training)
        if not training and self.tracked:
            self.remember(self.channels(x), x)
        return found
