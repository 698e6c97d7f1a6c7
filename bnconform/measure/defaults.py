"""Measuring the defaults of a layer that is asked for nothing but a number of channels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bnconform.cases.program import Program, forward
from bnconform.execution.trace import StepResult, Trace
from bnconform.judge.subject import Subject
from bnconform.spec.behaviour import SPECIFIED, Averaging, Behaviour, EpsilonForm, InitialRunningMean, TrainingUpdate
from bnconform.spec.config import Config

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


class NotAnswered(Exception):
    """A layer with the implementation's own defaults cannot be built, or does not answer; one line."""


def programs() -> tuple[Program, Program]:
    """What `measure` runs: for eps, and for the momentum."""
    config = Config(SHAPE[1])
    signs = np.where(np.arange(np.prod(SHAPE)).reshape(SHAPE) % 2, 1.0, -1.0)
    given = [(signs * SIZE).astype(np.float32), (signs + 1).astype(np.float32), (signs + 2).astype(np.float32)]
    return (
        Program(config, (forward(given[0]),), default=True),
        Program(config, (forward(given[1]), forward(given[2])), default=True),
    )


def measure(subject: Subject, point: Behaviour = SPECIFIED) -> Defaults:
    """The default eps and momentum, from what the layer does and not from what it says.

    eps: running statistics of 0 and 1 would give y = x / sqrt(1 + eps), too little to measure, so the batch decides:
    x = +-s has the variance s**2 and gives |y| = s / sqrt(s**2 + eps), from which eps follows. Momentum: a batch whose
    mean is 1 moves the running mean from 0 to the weight of the new batch, and a second, whose mean is 2, tells whether
    that weight stays. `point` says how epsilon enters, how batches are averaged and where the running mean starts.

    Raises:
        NotAnswered: where a layer with defaults cannot be built, or does not answer.
    """
    for_epsilon, for_momentum = programs()
    y = _read_answers(subject.run(for_epsilon))[0].values["y"]
    assert y is not None
    eps = _epsilon(float(SIZE), float(np.abs(y.astype(np.float64)).mean()), point.epsilon_form)
    means = [seen.after["running_mean"] for seen in _read_answers(subject.run(for_momentum))]
    if means[0] is None or means[1] is None:
        return Defaults(eps, None)
    first, second = float(means[0][0]), float(means[1][0])
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


def _read_answers(trace: Trace) -> list[StepResult]:
    """What the calls showed; NotAnswered where one did something else."""
    problems = [trace.broken, *(seen.raised or seen.misfit for seen in trace.steps)]
    if any(problems):
        raise NotAnswered(str(next(filter(None, problems))))
    return trace.steps


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
