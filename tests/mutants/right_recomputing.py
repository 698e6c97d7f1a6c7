"""Right in steps whose forward pass is run again, by unusual means."""

from __future__ import annotations

import numpy as np

from bnconform.tests.mutants.catalogue import right
from bnconform.tests.mutants.layer import Array, Gradients
from bnconform.tests.mutants.recomputing import Recomputing


@right
class RunAgainAndPutBack(Recomputing):
    """The forward pass is run twice, and what the second run moved is put back."""


@right
class MovedBySecondRunAlone(Recomputing):
    """The first run moves nothing; the statistics move when the forward pass is run again for the gradients."""

    def first_run(self, x: Array, training: bool) -> None:
        """Put back."""
        before = dict(self.entries)
        super().first_run(x, training)
        self.entries = before

    def put_back(self, before: dict[str, Array | None]) -> None:
        """Nothing is put back."""


@right
class NothingRunAgain(Recomputing):
    """A policy that saves everything: the forward pass is recorded, and nothing is run again."""

    def recomputed(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """As a recorded pass and its pullback."""
        return self.vjp(x, training=training)[1](grad_output)


@right
class SecondRunInDouble(Recomputing):
    """The second run, and the gradients, are computed in double precision and rounded once."""

    def second_run(self, x: Array, grad_output: Array, training: bool) -> Gradients:
        """The arithmetic is wider while they are."""
        narrow = self.work
        self.work = np.dtype(np.float64)
        found = super().second_run(x, grad_output, training)
        self.work = narrow
        return found


@right
class SecondRunReversed(Recomputing):
    """The second run goes through the batch from its last sample to its first."""

    def second_run(self, x: Array, grad_output: Array, training: bool) -> Gradients:
        """The gradient for x is turned back."""
        grad_x, by_weight, by_bias = super().second_run(x[::-1].copy(), grad_output[::-1].copy(), training)
        return grad_x[::-1].copy(), by_weight, by_bias
