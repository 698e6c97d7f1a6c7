"""Right in what a recorded pass gives, by unusual means."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.layer import Array, Gradients, Layer

Recorded = tuple[Array, Callable[[Array], Gradients]]


@right
class PullbackOnce(Layer):
    """What a recorded pass saved is freed by its first pullback; a second one is refused."""

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """RuntimeError the second time."""
        y, pullback = super().vjp(x, training=training)
        saved = [pullback]

        def once(grad_output: Array) -> Gradients:
            if not saved:
                raise RuntimeError("what the pass had saved has been freed")
            return saved.pop()(grad_output)

        return y, once


@right
class PullbackRefusedAfterWrites(Layer):
    """A pullback is refused once anything of the state was written to since its pass, as by a version counter."""

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """RuntimeError where a load, or in evaluation an update, came between."""
        y, pullback = super().vjp(x, training=training)
        used = ("weight",) if training else ("weight", "running_mean", "running_var")
        versions = {name: self.entries[name] for name in used}

        def check(grad_output: Array) -> Gradients:
            if any(self.entries[name] is not value for name, value in versions.items()):
                raise RuntimeError("a tensor that is needed for the gradient was modified by an inplace operation")
            return pullback(grad_output)

        return y, check


@right
class RecordedPassLeavesTheStatistics(Layer):
    """A recorded pass is pure: it moves no statistics, and no batch is counted."""

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """The state as before."""
        before = dict(self.entries)
        found = super().vjp(x, training=training)
        self.entries = before
        return found


@right
class RecordedAsNormalisedValues(Layer):
    """A recorded pass keeps the normalised values and the scale, not x: the gradient is made of these."""

    def vjp(self, x: Array, *, training: bool) -> Recorded:
        """By the closed form."""
        with np.errstate(all="ignore"):
            self.check(x, training)
            values = self.channels(x)
            mean, variance = self.normalizing(values, x, training)
            z = self.normalise(values, mean, variance, training)
            scale = self.gradient_scale(variance, training)[:, None]
        y = self.forward(x, training=training)
        through, like = self.from_batch(training) and bool(z.size), np.empty(x.shape, x.dtype)

        def pullback(grad_output: Array) -> Gradients:
            with np.errstate(all="ignore"):
                upstream = self.channels(grad_output)
                flowing = self.through_statistics(z, upstream) if through else upstream
                by_weight, by_bias = (upstream * z).sum(axis=1), upstream.sum(axis=1)
                grad_weight = by_weight.astype(self.kept) if self.config.weight else None
                return (
                    self.reshape_like(scale * flowing, like),
                    grad_weight,
                    by_bias.astype(self.kept) if self.config.bias else None,
                )

        return y, pullback


@right
class RecordsNothing(Layer):
    """The layer has no recorded passes, so that none is asked for."""

    vjp = None  # type: ignore[assignment]
