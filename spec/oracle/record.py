"""The records of the oracle: the state of a layer, and everything that one forward or backward pass computes.

Shapes: x, y, grad_output, grad_x are (N, C, *S); weight, bias and running statistics are (C,). Inside a record
everything is broadcastable against x.
"""

from __future__ import annotations

from dataclasses import dataclass

from bnconform.spec.behaviour import Behaviour, EpsilonForm, TrainingStatistics
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact


@dataclass(frozen=True)
class State:
    """What a layer remembers between calls.

    Attributes:
        running_mean, running_var: (C,), or None where none are tracked.
        num_batches_tracked: the layer's counter, or None where it has none.
        weight, bias: (C,), or None where affine is off.
        updates: how many batches have moved the statistics since they were last initial. The oracle falls back on it
            where the layer shows no counter.
    """

    running_mean: Exact | None
    running_var: Exact | None
    num_batches_tracked: int | None
    weight: Exact | None
    bias: Exact | None
    updates: int = 0

    @property
    def count(self) -> int:
        """The number of batches seen."""
        return self.updates if self.num_batches_tracked is None else self.num_batches_tracked


@dataclass(frozen=True)
class Moments:
    """The statistics of one batch, with length 1 along the axes that they are taken over.

    Attributes:
        count: n, the number of values that each statistic is taken over.
        mean: m.
        squares: q, the sum of (x - m)**2.
        mean_magnitude: the mean of |x|.
        mean_square: the mean of x**2.
    """

    axes: tuple[int, ...]
    count: int
    mean: Exact
    squares: Exact
    mean_magnitude: Exact
    mean_square: Exact


@dataclass(frozen=True)
class Forward:
    """One forward pass.

    Attributes:
        config, behaviour, before, training: what was asked: the layer, the point of the space, the state before, the
            mode that decided.
        refused: why the input is refused at this point of the space; then nothing below `state` holds.
        state: the state afterwards.
        x: the input. moments: the batch's statistics, None where x is empty.
        mean, variance: what normalised, and whether each came from the batch (and so carries its rounding errors).
        epsilon, form: which epsilon entered the denominator, and how.
        inverse_std: the factor f(variance). scale, shift: the effective w and b in y = scale * z + shift.
        y: the output.
        unfixed: the names of what a pass computes here that nothing fixes, as it rests on 0/0: what the record has in
            its place is none to judge by.
    """

    config: Config
    behaviour: Behaviour
    before: State
    training: bool
    refused: str
    state: State
    x: Exact
    moments: Moments | None
    mean: Exact
    variance: Exact
    mean_from_batch: bool
    variance_from_batch: bool
    epsilon: Exact
    form: EpsilonForm
    inverse_std: Exact
    scale: Exact
    shift: Exact
    y: Exact
    unfixed: frozenset[str] = frozenset()

    @property
    def reads_back(self) -> bool:
        """Whether what normalises are running statistics that this very batch has moved."""
        updated = self.behaviour.training_statistics is TrainingStatistics.RUNNING_UPDATED
        return updated and self.training and self.before.running_mean is not None


@dataclass(frozen=True)
class Backward:
    """One forward and backward pass.

    `through_mean` and `through_variance` say which statistics the gradient flows through; `grad_z` is
    w * grad_output, `slope` is f'(variance) and `variance_slope` d variance / d x of the batch's own variance, both 0
    where they play no part.
    `flowing` is the forward pass with the statistics that the gradient for x uses: those that normalised, but at
    points of the space whose evaluation gradient is that of training. grad_weight and grad_bias are None where
    there is no parameter.
    """

    forward: Forward
    flowing: Forward
    grad_output: Exact
    grad_z: Exact
    through_mean: bool
    through_variance: bool
    slope: Exact
    variance_slope: Exact
    grad_x: Exact
    grad_weight: Exact | None
    grad_bias: Exact | None
