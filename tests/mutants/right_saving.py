"""Right in what an operator gives beside y, by unusual means."""

from __future__ import annotations

import numpy as np

from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.layer import Array
from bnconform.tests.mutants.saving import Saved, Saving


@right
class SavedMeanAndInverseAlone(Saving):
    """A mean and an inverse deviation are given, as PyTorch's operator gives them, and no variance."""

    def of_moments(self, mean: Array, variance: Array, x: Array) -> dict[str, Array]:
        """Two of three."""
        found = super().of_moments(mean, variance, x)
        return {name: found[name] for name in ("mean", "invstd")}


@right
class SavedMeanAndVarianceAlone(Saving):
    """A mean and a variance are given, as TensorFlow's operator gives them, and no inverse deviation."""

    def of_moments(self, mean: Array, variance: Array, x: Array) -> dict[str, Array]:
        """Two of three."""
        found = super().of_moments(mean, variance, x)
        return {name: found[name] for name in ("mean", "variance")}


@right
class SavedVarianceFromItsInverse(Saving):
    """The variance is what an inverse deviation i of the kept dtype says: 1 / i**2 - eps."""

    def of_moments(self, mean: Array, variance: Array, x: Array) -> dict[str, Array]:
        """Rounded on the way."""
        found = super().of_moments(mean, variance, x)
        inverse = found["invstd"].astype(self.kept).astype(self.work)
        return {**found, "variance": 1 / inverse**2 - self.work.type(self.config.eps)}


@right
class SavedByWelford(Saving):
    """What is saved is found value by value, from the last to the first, by updating a mean and a sum of squares."""

    def moments_to_save(self, x: Array) -> tuple[Array, Array]:
        """In the layer's arithmetic."""
        values = self.channels(x)[:, ::-1]
        mean, squares = np.zeros(len(values), self.work), np.zeros(len(values), self.work)
        for number, column in enumerate(values.T, 1):
            off = column - mean
            mean = mean + off / self.work.type(number)
            squares = squares + off * (column - mean)
        return mean, squares / self.work.type(values.shape[1])


@right
class SavedWithoutAnUpdate(Saving):
    """What is saved is asked for without a step of training: the running statistics stay."""

    def saved_statistics(self, x: Array, *, training: bool) -> Saved:
        """Put back."""
        before = dict(self.entries)
        found = super().saved_statistics(x, training=training)
        self.entries = before
        return found


@right
class RunningSavedInEvaluation(Saving):
    """In evaluation the running statistics are given, as on PyTorch's GPUs, and arrays without elements where not."""

    def of_evaluation(self, x: Array) -> Saved:
        """Those that normalise."""
        mean, variance = self.entry("running_mean"), self.entry("running_var")
        shown = self.keep_as(self.of_moments(mean, variance, x))
        return {**shown, "variance": shown["variance"]}
