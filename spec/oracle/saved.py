"""What an operator gives beside y: the statistics of a pass, as its backward pass wants them.

They are functions of the mean and the variance that a forward pass has found, at any point of the behaviour space.
Shapes: what is saved is (C,); inside, mean and variance are broadcastable against x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bnconform.spec import behaviour as b
from bnconform.spec.exact import Exact, sqrt
from bnconform.spec.oracle.formulas import along_channels, inverse_deviation, per_channel
from bnconform.spec.oracle.record import Forward

NAMES = ("saved_mean", "saved_invstd", "saved_variance")
"""What may be saved, as `bnconform.cases.program.RESULTS` calls it."""


@dataclass(frozen=True)
class Saved:
    """The statistics that a pass gives beside y.

    Attributes:
        record: the pass.
        source: whose they are: "normalizing", of the pass; "running", the ones after it; "batch", of a batch that
            normalises nothing.
        mean, variance: broadcastable against x.
    """

    record: Forward
    source: str
    mean: Exact
    variance: Exact

    @property
    def correction(self) -> Exact:
        """Of a variance over n > 1 values of a batch, n / (n - 1), and 1 of every other; of its shape."""
        batch = self.record.moments
        one: Exact = np.asarray(self.variance * 0 + 1, dtype=object)
        from_batch = self.source == "batch" or (self.source == "normalizing" and self.record.variance_from_batch)
        if batch is None or not from_batch:
            return one
        n = np.asarray(batch.count)
        return np.asarray(np.where(n > 1, one * n / np.maximum(n - 1, 1), one), dtype=object)

    def deviation_of(self, variance: Exact) -> Exact:
        """What is given as the inverse deviation, of a variance: monotone in it."""
        kind, record = self.record.behaviour.saved_deviation, self.record
        if kind is b.SavedDeviation.VARIANCE:
            return variance
        if kind is b.SavedDeviation.WITHOUT_EPSILON:
            return np.asarray(1 / sqrt(variance), dtype=object)
        if kind is b.SavedDeviation.UNBIASED:
            variance = variance * self.correction
        factor = inverse_deviation(variance, record.epsilon, record.form)
        return np.asarray(1 / factor, dtype=object) if kind is b.SavedDeviation.DEVIATION else factor

    def variance_of(self, variance: Exact) -> Exact:
        """What is given as the variance, of a variance: monotone in it."""
        kind, record = self.record.behaviour.saved_variance, self.record
        if kind is b.SavedVariance.UNBIASED:
            return np.asarray(variance * self.correction, dtype=object)
        if kind is b.SavedVariance.PLUS_EPS:
            return np.asarray(variance + record.epsilon, dtype=object)
        if kind is b.SavedVariance.INVERSE_DEVIATION:
            return inverse_deviation(variance, record.epsilon, record.form)
        return variance

    def value(self, name: str) -> Exact:
        """One of NAMES, (C,)."""
        if name == "saved_mean":
            return per_channel(self.mean, self.record.x)
        made = self.deviation_of if name == "saved_invstd" else self.variance_of
        return per_channel(made(self.variance), self.record.x)


def results_beside(record: Forward) -> Saved | None:
    """What a pass gives beside y; None where it is nothing.

    Args:
        record: a pass that is not refused, over a batch that is not empty.
    """
    behaviour, batch, after = record.behaviour, record.moments, record.state
    if record.mean_from_batch or record.variance_from_batch:
        running = behaviour.saved_statistics is b.SavedStatistics.RUNNING
        if running and after.running_mean is not None and after.running_var is not None:
            mean, variance = (along_channels(v, record.x.ndim) for v in (after.running_mean, after.running_var))
            return Saved(record, "running", mean, variance)
        return Saved(record, "normalizing", record.mean, record.variance)
    kind = behaviour.saved_in_evaluation
    if kind is b.SavedInEvaluation.NOTHING:
        return None
    if kind is b.SavedInEvaluation.BATCH and batch is not None:
        return Saved(record, "batch", batch.mean, np.asarray(batch.squares / batch.divisor, dtype=object))
    return Saved(record, "normalizing", record.mean, record.variance)
