"""Measuring the defaults of a layer that is asked for nothing but a number of channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bnconform.cases.program import Array
from bnconform.execution.instrumented import Guarded
from bnconform.spec.behaviour import SPECIFIED, Averaging, Behaviour, EpsilonForm, InitialRunningMean, TrainingUpdate

SHAPE = (2, 3, 2, 2)
SIZE = np.float32(1e-3)
"""The deviation of the batch that measures epsilon: its square is of the size of the usual ones."""


@dataclass(frozen=True)
class Defaults:
    """What a layer does that was asked for nothing.

    Attributes:
        eps: as its output has it, to some three digits.
        momentum: the weight of the new batch in the running mean; None where it keeps no running statistics.
        cumulative: whether the second batch has half that weight, as in an average over all batches.
    """

    eps: float
    momentum: float | None
    cumulative: bool = False

    def describe(self) -> str:
        """All of it in words."""
        known = math.isfinite(self.eps)
        words = f"default eps {self.eps:.3g}" if known else "default eps not measurable"
        if self.momentum is None:
            return f"{words}, no running statistics"
        if self.cumulative:
            return f"{words}, no default momentum: the average of all batches"
        if not math.isfinite(self.momentum):
            return f"{words}, default momentum not measurable"
        return f"{words}, default momentum {self.momentum:.3g} (the weight of the new batch)"


def measured(build: Callable[[], Guarded], point: Behaviour = SPECIFIED) -> Defaults:
    """The default eps and momentum, from what the layer does and not from what it says; Raised or Misfit.

    eps: running statistics of 0 and 1 would give y = x / sqrt(1 + eps), too little to measure, so the batch decides:
    x = +-s has the variance s**2 and gives |y| = s / sqrt(s**2 + eps), from which eps follows. Momentum: a batch whose
    mean is 1 moves the running mean from 0 to the weight of the new batch, and a second, whose mean is 2, tells whether
    that weight stays. `point` says how epsilon enters, how batches are averaged and where the running mean starts.
    """
    signs = np.where(np.arange(np.prod(SHAPE)).reshape(SHAPE) % 2, 1.0, -1.0)
    y = build().forward((signs * SIZE).astype(np.float32), training=True).astype(np.float64)
    eps = _epsilon(float(SIZE), float(np.abs(y).mean()), point.epsilon_form)
    layer = build()
    first = _moved(layer, signs + 1)
    if first is None:
        return Defaults(eps, None)
    second = _moved(layer, signs + 2)
    assert second is not None
    if point.initial_running_mean is InitialRunningMean.ONE or point.training_update is not TrainingUpdate.ONCE:
        return Defaults(eps, math.nan)
    if (first == 1 and abs(second - 1.5) < CLOSE) or (first == 0.5 and abs(second - 1) < CLOSE):
        return Defaults(eps, first, cumulative=True)
    if point.averaging is Averaging.ZERO_DEBIASED and first == 1:
        # (1 - a) a + 2 a over 1 - (1 - a)**2 is (3 - a)/(2 - a).
        return Defaults(eps, (2 * second - 3) / (second - 1))
    if point.averaging is Averaging.FIRST_BATCH_COPIED and first == 1:
        return Defaults(eps, second - 1)
    return Defaults(eps, first)


CLOSE = 1e-5
"""Many roundings of float32, and far less than any momentum makes of a difference."""


def _epsilon(size: float, scale: float, form: EpsilonForm) -> float:
    """The epsilon at which a deviation of `size` is normalised to `scale`."""
    if not 0 < scale < math.inf:
        return math.nan
    denominator = size / scale
    if form is EpsilonForm.OUTSIDE:
        return denominator - size
    if form is EpsilonForm.MAXIMUM:
        return denominator**2
    return math.sqrt(max(denominator**2 - size**2, 0.0)) if form is EpsilonForm.SQUARED else denominator**2 - size**2


def _moved(layer: Guarded, x: Array) -> float | None:
    layer.forward(x.astype(np.float32), training=True)
    mean = layer.state()["running_mean"]
    return None if mean is None else float(mean[0])
