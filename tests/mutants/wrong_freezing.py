"""Wrong in what freezing a layer does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.freezing import Freezing
from bnconform.tests.mutants.layer import Array, Gradients, Layer
from bnconform.tests.mutants.masks import Masked
from bnconform.tests.mutants.right_freezing import FreezingUnderMasks

# -- the state --------------------------------------------------------------------------------------------------------


class Moving(Freezing):
    """One whose frozen training passes move some entries, by the batch that they are given."""

    moved: tuple[str, ...] = ()

    def forward(self, x: Array, *, training: bool) -> Array:
        """Y of evaluation."""
        y = super().forward(x, training=training)
        if self.is_frozen and training and self.tracked and x.size > x.shape[1]:
            before = dict(self.entries)
            self.remember(self.channels(x), x)
            self.entries = before | {name: self.entries[name] for name in self.moved}
        return y


@wrong("BN-FROZEN-STATE", thread="tensorflow#9141")
class FrozenMeanMoves(Moving):
    """The running mean of a frozen layer moves; the variance stays."""

    moved = ("running_mean",)


@wrong("BN-FROZEN-STATE")
class FrozenVarianceMoves(Moving):
    """The running variance of a frozen layer moves; the mean stays."""

    moved = ("running_var",)


@wrong("BN-FROZEN-STATE")
class FrozenCounterMoves(Moving):
    """The counter of a frozen layer counts its passes."""

    moved = ("num_batches_tracked",)


@wrong("BN-FROZEN-STATE")
class FrozenMasksMoveStatistics(FreezingUnderMasks):
    """Passes with a mask do not know of freezing: they move the statistics of a frozen layer."""

    def masked(self, x: Array, mask: Array, *, training: bool) -> Array:
        """As if it were not frozen."""
        return Masked.masked(self, x, mask, training=training)


@wrong("BN-FROZEN-STATE")
class FrozenStatisticsRewritten(Freezing):
    """Each frozen training pass writes the running variance anew, as 1 / i**2 - eps of the inverse deviation i."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """Rounded on the way."""
        y = super().forward(x, training=training)
        if self.is_frozen and training and self.tracked:
            inverse = self.inverse_std(self.entry("running_var"), False)
            again = 1 / inverse**2 - self.work.type(self.config.eps)
            self.entries["running_var"] = again.astype(self.kept)
        return y


# -- the passes -------------------------------------------------------------------------------------------------------


@wrong("BN-FROZEN-TRAIN")
class FrozenUntilEvaluation(Freezing):
    """Freezing is a switch to evaluation: an evaluation pass, and the training pass after it, switch it back."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """As of a layer that is not frozen from then on."""
        y = super().forward(x, training=training)
        self.is_frozen = self.is_frozen and training
        return y


@wrong("BN-FROZEN-TRAIN", "BN-FROZEN-EVAL", thread="maskrcnn-benchmark#267")
class FrozenWithoutEpsilon(Freezing):
    """A frozen layer is another class, which has no epsilon: x times w / sqrt(rv), plus the rest."""

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """1 / sqrt(rv)."""
        return np.asarray(1 / np.sqrt(variance)) if self.is_frozen else super().inverse_std(variance, training)


@wrong("BN-FROZEN-GRAD", thread="vision#1815")
class FrozenWithTheGradientOfTraining(Freezing):
    """The forward pass knows that the layer is frozen, and the backward pass does not: it is that of training."""

    def gradient_mode(self, training: bool) -> bool:
        """As it was asked for."""
        return training


@wrong("BN-FROZEN-GRAD")
class FrozenLetsNoGradientThrough(Freezing):
    """A frozen layer detaches its output: the gradient for x is 0."""

    def operands(self, found: Gradients) -> Gradients:
        """Zeros."""
        grad_x, *rest = super().operands(found)
        return (np.zeros_like(grad_x) if self.is_frozen else grad_x, rest[0], rest[1])


@wrong("BN-FROZEN-PARAMETERS")
class BiasIsNotFrozen(Freezing):
    """The weight of a frozen layer has no gradient, and its bias has one."""

    def operands(self, found: Gradients) -> Gradients:
        """Of the two."""
        return (found[0], None, found[2]) if self.is_frozen else found


@wrong("BN-FROZEN-FLAGS")
class FrozenRefusesOneValue(Freezing):
    """One value a channel is refused in training, frozen or not."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """By the mode that was asked for."""
        self.check(x, training)
        return super().forward(x, training=training)


@wrong("BN-FROZEN-FLAGS")
class FrozenByMomentumZero(Freezing):
    """Freezing lowers the momentum to 0, which a layer with a cumulative average does not have: it trains on."""

    def mode(self, training: bool) -> bool:
        """Frozen where the momentum is a number."""
        return training and not (self.is_frozen and self.config.momentum is not None)


# -- before and after -------------------------------------------------------------------------------------------------


@wrong("BN-FROZEN-AGAIN")
class FrozenForGood(Freezing):
    """What is frozen stays frozen."""

    def freeze(self, frozen: bool) -> None:
        """Never taken back."""
        self.is_frozen = self.is_frozen or frozen


@wrong("BN-FROZEN-AGAIN")
class FreezesAreCounted(Freezing):
    """Frozen twice, the layer must be let go twice."""

    depth = 0

    def freeze(self, frozen: bool) -> None:
        """As a lock."""
        self.depth = max(self.depth + (1 if frozen else -1), 0)
        self.is_frozen = self.depth > 0


@wrong("BN-FROZEN-AGAIN")
class FrozenBatchesAreCaughtUpOn(Freezing):
    """Batches that a frozen layer is trained with are put by, and remembered when it is let go."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.waiting: list[Array] = []

    def forward(self, x: Array, *, training: bool) -> Array:
        """Put by."""
        if self.is_frozen and training and self.tracked:
            self.waiting.append(x.copy())
        return super().forward(x, training=training)

    def freeze(self, frozen: bool) -> None:
        """And remembered."""
        super().freeze(frozen)
        while self.waiting and not frozen:
            x = self.waiting.pop(0)
            self.remember(self.channels(x), x)


@wrong("BN-FROZEN-AGAIN")
class LettingGoStartsAnew(Freezing):
    """A layer that is let go forgets its running statistics, as a new one."""

    def freeze(self, frozen: bool) -> None:
        """They are reset."""
        if self.is_frozen and not frozen:
            self.reset()
        super().freeze(frozen)


@wrong("BN-FROZEN-LOAD")
class FoldedWhenFrozen(Freezing):
    """Scale and shift are computed when the layer is frozen; what is loaded afterwards waits until it is let go."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.folded: Layer | None = None

    def freeze(self, frozen: bool) -> None:
        """The entries of then are kept."""
        if frozen and not self.is_frozen:
            self.folded = Layer(self.config)
            self.folded.entries = dict(self.entries)
        super().freeze(frozen)

    def forward(self, x: Array, *, training: bool) -> Array:
        """By those."""
        if self.is_frozen and self.folded is not None:
            return self.folded.forward(x, training=False)
        return super().forward(x, training=training)


@wrong("BN-FROZEN-LOAD")
class FrozenStatisticsCannotBeLoaded(Freezing):
    """A frozen layer takes a weight and a bias that are loaded, and keeps its statistics, without a word."""

    def load(self, state: Mapping[str, Array]) -> None:
        """Weight and bias alone."""
        kept = {name: value for name, value in state.items() if name in ("weight", "bias")}
        super().load(kept if self.is_frozen else state)


@wrong("BN-FROZEN-RECORDED")
class PullbackAsksWhetherFrozen(Freezing):
    """The gradients of a recorded pass are of evaluation if the layer is frozen when they are asked for."""

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Gradients]]:
        """As it is then."""
        recorded = Freezing(self.config)
        recorded.entries, given = dict(self.entries), x.copy()
        y = self.forward(x, training=training)

        def pullback(grad_output: Array) -> Gradients:
            recorded.freeze(self.is_frozen)
            return recorded.backward(given, grad_output, training=training)

        return y, pullback
