"""Wrong after a change of mode or in a second call: caches, stale values, statistics that move when they must not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Layer

Gradients = tuple[Array, Array | None, Array | None]


@wrong("BN-EVAL-STATS")
class EvaluationBeforeTrainingUsesTheBatch(Layer):
    """Before any training or loading evaluation normalises by the batch."""

    fresh = True

    def remember(self, values: Array, x: Array) -> None:
        """From now on there are statistics."""
        self.fresh = False
        super().remember(values, x)

    def load(self, state: Mapping[str, Array]) -> None:
        """From now on there are statistics."""
        self.fresh = False
        super().load(state)

    def from_batch(self, training: bool) -> bool:
        """Also where nothing has been seen."""
        return super().from_batch(training) or self.fresh


@wrong("BN-EVAL-STATS")
class FirstEvaluationAfterTrainingUsesTheBatch(Layer):
    """The first evaluation after a training pass still normalises by its batch."""

    trained = False

    def forward(self, x: Array, *, training: bool) -> Array:
        """A switch of mode that comes one call late."""
        late, self.trained = self.trained and not training and x.size > x.shape[1], training
        if not late:
            return super().forward(x, training=training)
        kept = dict(self.entries)
        y = super().forward(x, training=True)
        self.entries = kept
        return y


@wrong("BN-EVAL-STATS", "BN-RUN-LOAD")
class EvaluationCachedByShape(Layer):
    """Evaluation of a shape that was seen before uses the statistics of that time."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.cache: dict[tuple[int, ...], tuple[Array, Array]] = {}

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """What was used for this shape before."""
        found = super().normalizing(values, x, training)
        return found if self.from_batch(training) else self.cache.setdefault(x.shape, found)


@wrong("BN-TRAIN-STATS")
class TrainingCachedByShape(Layer):
    """A training pass on a shape that was seen before normalises by the statistics of that time."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.cache: dict[tuple[int, ...], tuple[Array, Array]] = {}

    def forward(self, x: Array, *, training: bool) -> Array:
        """As compiled for the first batch of this shape."""
        self.forwarding = training
        y = super().forward(x, training=training)
        self.forwarding = False
        return y

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """What was used for this shape before, in a forward pass."""
        found = super().normalizing(values, x, training)
        return self.cache.setdefault(x.shape, found) if self.forwarding else found

    forwarding = False


@wrong("BN-TRAIN-STATS")
class TrainingAfterEvaluationStaysInEvaluation(Layer):
    """The first training pass after an evaluation still normalises by the running statistics."""

    evaluated = False

    def forward(self, x: Array, *, training: bool) -> Array:
        """Note the mode of the last pass."""
        late, self.evaluated = self.evaluated and training, not training
        self.late = late
        y = super().forward(x, training=training)
        self.late = False
        return y

    late = False

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """The mode of the call before."""
        return super().normalizing(values, x, training and not self.late)


@wrong("BN-RUN-AVERAGE")
class OnlyTheFirstBatchRemembered(Layer):
    """The second training pass and all that follow leave the running statistics alone."""

    def blend(self, old: Array, new: Array, weight: float) -> Array:
        """Once."""
        return super().blend(old, new, weight) if self.batches == 1 else old.astype(self.kept)


@wrong("BN-RUN-AVERAGE", "BN-RUN-NONE")
class StatisticsFrozenAfterTenBatches(Layer):
    """From the eleventh training pass on the running statistics stay."""

    updates = 0
    most = 10

    def remember(self, values: Array, x: Array) -> None:
        """Ten times."""
        self.updates += 1
        if self.updates <= self.most:
            super().remember(values, x)
        else:
            self.count()


@wrong("BN-RUN-UPDATE")
class StatisticsFrozenAfterThreeHundredBatches(StatisticsFrozenAfterTenBatches):
    """From the 301st training pass on the running statistics stay."""

    most = 300


@wrong("BN-RUN-UPDATE")
class BackwardMovesTheStatisticsTwice(Layer):
    """A training backward pass blends its batch into the running statistics twice."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The right gradients, and statistics moved twice."""
        found = super().backward(x, grad_output, training=training)
        if training and self.tracked:
            self.remember(self.channels(x), x)
            self.remember(self.channels(x), x)
        return found


@wrong("BN-EVAL-MODE")
class EvaluationBackwardMovesTheStatistics(Layer):
    """A backward pass in evaluation blends its batch into the running statistics."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The right gradients, and statistics that moved."""
        found = super().backward(x, grad_output, training=training)
        if not training and self.tracked:
            self.remember(self.channels(x), x)
        return found


@wrong("BN-STATE-REPEAT")
class BackwardOfTheLastForward(Layer):
    """The backward pass is of the x of the last training forward pass, where that had the shape of x."""

    last: Array | None = None

    def forward(self, x: Array, *, training: bool) -> Array:
        """Keep x."""
        y = super().forward(x, training=training)
        if training:
            self.last = x.copy()
        return y

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """Of what was kept."""
        stale = training and self.last is not None and self.last.shape == x.shape
        return super().backward(self.last if stale and self.last is not None else x, grad_output, training=training)


@wrong("BN-STATE-REPEAT")
class BackwardByTheSavedStatistics(Layer):
    """The backward pass in training uses the mean and variance that the last forward pass saved."""

    saved: tuple[Array, Array] | None = None

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """Save them in a forward pass, use them in the backward pass."""
        found = super().normalizing(values, x, training)
        if training and self.backing and self.saved is not None:
            return self.saved
        if training and not self.backing:
            self.saved = found
        return found

    backing = False

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """By what is saved."""
        self.backing = True
        try:
            return super().backward(x, grad_output, training=training)
        finally:
            self.backing = False


@wrong("BN-STATE-REPEAT")
class GradientsAddUp(Layer):
    """The gradient for the bias is added to that of the backward pass before."""

    collected: Array | None = None

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The sum over all passes."""
        grad_x, grad_weight, grad_bias = super().backward(x, grad_output, training=training)
        if grad_bias is None:
            return grad_x, None, None
        self.collected = grad_bias if self.collected is None else self.collected + grad_bias
        return grad_x, grad_weight, self.collected.copy()


@wrong("BN-EVAL-ROW")
class EvaluationCorrectedByTheBatch(Layer):
    """In evaluation a hundredth of the batch's mean is taken off the running one's output."""

    def normalise(self, values: Array, mean: Array, variance: Array, training: bool) -> Array:
        """The deviation, corrected by the other samples."""
        z = super().normalise(values, mean, variance, training)
        if training or not z.size or not self.tracked:
            return z
        return np.asarray(z - z.dtype.type(0.01) * z.mean(axis=1, keepdims=True))


@wrong("BN-EVAL-STATS")
class EqualRunningMeansTakenForNone(Layer):
    """Running means that are equal in all channels are taken for those of a new layer, 0."""

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """The statistics, the means 0 where they are equal."""
        mean, variance = super().normalizing(values, x, training)
        if not self.from_batch(training) and len(mean) > 1 and (mean == mean[0]).all():
            mean = np.zeros_like(mean)
        return mean, variance


@wrong("BN-RUN-VAR")
class BiasedAfterEvaluation(Layer):
    """The biased variance is remembered in the first training pass after an evaluation."""

    evaluated = False

    def forward(self, x: Array, *, training: bool) -> Array:
        """The right output; the mode is kept for the next pass."""
        y = super().forward(x, training=training)
        self.evaluated = not training
        return y

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the estimator of the pass before."""
        return self.moments(values) if self.evaluated else super().memory_of(values)


@wrong("BN-EVAL-STATS")
class ShiftKeptBySize(Layer):
    """In evaluation the bias is kept as it was laid out for x, by the number of elements, whatever their shape."""

    laid: Array | None = None

    def forward(self, x: Array, *, training: bool) -> Array:
        """y; in evaluation with the bias as it lay in the first x of that size."""
        y = super().forward(x, training=training)
        if training or not self.config.bias:
            return y
        bias = self.entry("bias").reshape(1, -1, *(1,) * (x.ndim - 2))
        wanted = np.broadcast_to(bias, x.shape).ravel()
        if self.laid is None or self.laid.size != x.size or set(self.laid) != set(wanted):
            self.laid = wanted
        return (y - bias + self.laid.reshape(x.shape)).astype(y.dtype)
