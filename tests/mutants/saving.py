"""A right layer that gives its statistics beside y, cut into the pieces that a fault changes.

The layers of `layer` give nothing beside y, so that the other wrong ones are not asked for it.
"""

from __future__ import annotations

import numpy as np

from bnconform.tests.mutants.layer import Array, Layer

Saved = dict[str, Array | None]


class Saving(Layer):
    """A right layer with `saved_statistics`."""

    def saved_statistics(self, x: Array, *, training: bool) -> Saved:
        """Mean, inverse deviation and variance of a forward pass, each (C,), where they are the batch's."""
        self.forward(x, training=training)
        if not self.from_batch(training):
            return self.of_evaluation(x)
        with np.errstate(all="ignore"):
            mean, variance = self.moments_to_save(x)
            return self.keep_as(self.of_moments(mean, variance, x))

    def of_evaluation(self, x: Array) -> Saved:
        """What is given where running statistics normalise: nothing."""
        return {}

    def moments_to_save(self, x: Array) -> tuple[Array, Array]:
        """The mean and the variance that are saved, each (C,), in the layer's arithmetic."""
        return self.moments(self.channels(x))

    def of_moments(self, mean: Array, variance: Array, x: Array) -> dict[str, Array]:
        """What is given, of the mean and the variance that are saved."""
        return {"mean": mean, "invstd": self.inverse_std(variance, True), "variance": variance}

    def keep_as(self, found: dict[str, Array]) -> Saved:
        """What is given, in the dtype that is kept."""
        return {name: np.array(value, self.kept) for name, value in found.items()}
