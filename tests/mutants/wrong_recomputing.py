"""Wrong in steps whose forward pass is run again for the gradients, and in accumulated gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Entries, Gradients, Layer
from bnconform.tests.mutants.recomputing import Recomputing
from bnconform.tests.mutants.wrong_recorded import Pinned

# -- the gradients ----------------------------------------------------------------------------------------------------


@wrong("BN-REMAT-GRAD")
class SecondRunInEvaluation(Recomputing):
    """The forward pass is run again in evaluation mode, so that the gradient takes the statistics for constant."""

    def second_run(self, x: Array, grad_output: Array, training: bool) -> Gradients:
        """Those of evaluation, by the running statistics."""
        return super().second_run(x, grad_output, False)


@wrong("BN-REMAT-GRAD")
class SecondRunWithMovedStatistics(Recomputing):
    """What is run again normalises by the running statistics that the first run has moved, through which it flows."""

    def second_run(self, x: Array, grad_output: Array, training: bool) -> Gradients:
        """With those of the layer in the place of the batch's."""
        if not training or not self.tracked:
            return super().second_run(x, grad_output, training)
        again = Pinned(self.config, (self.entry("running_mean"), self.entry("running_var")))
        again.entries = dict(self.entries)
        return again.backward(x, grad_output, training=True)


@wrong("BN-REMAT-GRAD")
class StatisticsKeptAndTakenForConstant(Recomputing):
    """Mean and variance are kept so that they need not be computed again, and no gradient flows through them."""

    def second_run(self, x: Array, grad_output: Array, training: bool) -> Gradients:
        """The gradient for x is weight / std times g."""
        grad_x, by_weight, by_bias = super().second_run(x, grad_output, training)
        if training:
            with np.errstate(all="ignore"):
                scale = self.gradient_scale(self.moments(self.channels(x))[1], training)
                grad_x = self.reshape_like(scale[:, None] * self.channels(grad_output), x)
        return grad_x, by_weight, by_bias


@wrong("BN-REMAT-GRAD")
class InputKeptInHalfPrecision(Recomputing):
    """The input is kept in half precision between the two runs, as compressed checkpoints do."""

    def save(self, x: Array) -> Array:
        """Rounded to float16."""
        return x.astype(np.float16).astype(x.dtype)


# -- the statistics ---------------------------------------------------------------------------------------------------


@wrong("BN-REMAT-STATS")
class MeanMovesInBothRuns(Recomputing):
    """The guard against the second run's update knows of the running variance and the counter alone."""

    def put_back(self, before: Entries) -> None:
        """But for the mean."""
        self.entries = before | {"running_mean": self.entries["running_mean"]}


@wrong("BN-REMAT-STATS")
class VarianceMovesInBothRuns(Recomputing):
    """The guard against the second run's update knows of the running mean and the counter alone."""

    def put_back(self, before: Entries) -> None:
        """But for the variance."""
        self.entries = before | {"running_var": self.entries["running_var"]}


@wrong("BN-REMAT-STATS", thread="pytorch-pfn-extras#117")
class TwoUpdatesOfHalfTheMomentum(Recomputing):
    """Both runs move the statistics, with half the momentum each: the old value keeps (1 - a/2)**2 and not 1 - a."""

    def recomputed(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The counter is that of one."""
        whole, count = self.config, self.entries["num_batches_tracked"]
        if whole.momentum is None or not training or not self.tracked:
            return super().recomputed(x, grad_output, training=training)
        self.config = replace(whole, momentum=whole.momentum / 2)
        self.first_run(x, training)
        self.first_run(x, training)
        self.config = whole
        if count is not None:
            self.entries["num_batches_tracked"] = np.asarray(count + 1, np.int64)
        return self.backward(x, grad_output, training=training)


@wrong("BN-REMAT-STATS", "BN-REMAT-COUNTER", thread="fairscale#1035")
class NeitherRunMoves(Recomputing):
    """The first run is one without gradients, the second one is guarded, and neither moves the statistics."""

    def first_run(self, x: Array, training: bool) -> None:
        """Put back."""
        before = dict(self.entries)
        super().first_run(x, training)
        self.entries = before


@wrong("BN-REMAT-COUNTER")
class CounterMovesInBothRuns(Recomputing):
    """The guard against the second run's update knows of mean and variance, and not of the counter."""

    def put_back(self, before: Entries) -> None:
        """But for the counter."""
        self.entries = before | {"num_batches_tracked": self.entries["num_batches_tracked"]}


@wrong("BN-REMAT-EVAL")
class SecondRunAlwaysTrains(Recomputing):
    """In evaluation the second run is one of training, as it is made with gradients enabled."""

    def second_run(self, x: Array, grad_output: Array, training: bool) -> Gradients:
        """The statistics move, once."""
        if training:
            return super().second_run(x, grad_output, training)
        self.forward(x, training=True)
        return self.backward(x, grad_output, training=True)


# -- afterwards -------------------------------------------------------------------------------------------------------


@wrong("BN-REMAT-AFTER")
class TrackingStaysOff(Recomputing):
    """Tracking is switched off for the second run, and not switched on again."""

    def second_run(self, x: Array, grad_output: Array, training: bool) -> Gradients:
        """Statistics stay from here on."""
        self.frozen = True
        return super().second_run(x, grad_output, training)

    def first_run(self, x: Array, training: bool) -> None:
        """Each step moves them, once."""
        self.frozen = False
        super().first_run(x, training)


@wrong("BN-REMAT-AFTER")
class MomentumStaysLowered(Recomputing):
    """The momentum is lowered to 1 - sqrt(1 - a) for two updates, and stays so for passes without recomputation."""

    lowered = False

    def recomputed(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """One update with the momentum as it is meant to be."""
        self.lowered = False
        found = super().recomputed(x, grad_output, training=training)
        self.lowered = True
        return found

    def batch_weight(self) -> float:
        """That of two updates, once there was a step."""
        weight = super().batch_weight()
        return 1 - float(np.sqrt(1 - weight)) if self.lowered else weight


@wrong("BN-REMAT-AFTER")
class EvaluationAfterAStepUsesTheBatch(Recomputing):
    """The layer stays in the second run's mode: an evaluation pass right after a training step is one of training."""

    trained = False

    def recomputed(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The mode is noted."""
        found = super().recomputed(x, grad_output, training=training)
        self.trained = training
        return found

    def forward(self, x: Array, *, training: bool) -> Array:
        """In the mode that was noted, once."""
        stays, self.trained = self.trained, False
        return super().forward(x, training=training or stays)


# -- micro-batches ----------------------------------------------------------------------------------------------------


class _Adding(Recomputing):
    """A layer that adds up its parameters' gradients over steps."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.sums: list[Array | None] = [None, None]

    def add(self, found: Gradients) -> Gradients:
        """The gradients of a step with the sums of those before."""
        grad_x, *rest = found
        self.sums = [
            new if old is None or new is None else np.asarray(old + new)
            for old, new in zip(self.sums, rest, strict=True)
        ]
        return grad_x, self.sums[0], self.sums[1]


@wrong("BN-REMAT-ACCUMULATE")
class GradientsAddUpOverSteps(_Adding):
    """The parameters' gradients of a step have those of the steps before in them."""

    def second_run(self, x: Array, grad_output: Array, training: bool) -> Gradients:
        """Added up."""
        return self.add(super().second_run(x, grad_output, training))


@wrong("BN-REMAT-ACCUMULATE")
class NextStepTakenForTheSecondRun(Recomputing):
    """A batch of the size of the one before is taken for its second run, and moves nothing."""

    last: tuple[int, ...] = ()

    def first_run(self, x: Array, training: bool) -> None:
        """Where the shape is new, the statistics move."""
        before = dict(self.entries)
        super().first_run(x, training)
        if x.shape == self.last:
            self.entries = before
        self.last = x.shape


@wrong("BN-ACC-SUM")
class ParameterGradientsAreMeansOverSamples(Layer):
    """In evaluation the gradients for weight and bias are divided by the number of samples."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """Means; right for one sample."""
        grad_x, by_weight, by_bias = super().backward(x, grad_output, training=training)
        if training or not len(x):
            return grad_x, by_weight, by_bias
        samples = self.kept.type(len(x))
        means = (None if one is None else (one / samples).astype(self.kept) for one in (by_weight, by_bias))
        by_weight, by_bias = means
        return grad_x, by_weight, by_bias


@wrong("BN-ACC-STEPS")
class OneUpdateForAllMicroBatches(Layer):
    """Statistics move in the first training pass after a load, and then not until the parameters are set again."""

    moved = False

    def forward(self, x: Array, *, training: bool) -> Array:
        """Put back from the second pass on."""
        before = dict(self.entries)
        y = super().forward(x, training=training)
        if self.moved and training:
            self.entries = before
        self.moved = self.moved or training
        return y

    def load(self, state: dict[str, Array]) -> None:  # type: ignore[override]
        """As the optimizer does after the last micro-batch."""
        super().load(state)
        self.moved = False


@wrong("BN-ACC-STEPS")
class PullbacksAddUp(_Adding):
    """The parameters' gradients of a pullback have those of the pullbacks of other passes before it in them."""

    recomputed = None  # type: ignore[assignment]

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Gradients]]:
        """Once each: a second pullback of the same pass gives what the first gave."""
        y, pullback = super().vjp(x, training=training)
        given: list[Gradients] = []

        def adding(grad_output: Array) -> Gradients:
            if not given:
                given.append(self.add(pullback(grad_output)))
            return given[0]

        return y, adding
