"""The records of the oracle: the state of a layer, and everything that one forward or backward pass computes.

Shapes: x, y, grad_output, grad_x are (N, C, *S); weight, bias and running statistics are (C,). Inside a record
everything is broadcastable against x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform.spec.behaviour import (
    SPECIFIED,
    Behaviour,
    EpsilonForm,
    MaskedOutput,
    MaskedStatistics,
    TrainingStatistics,
)
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact, Floats, exact, floats, is_finite, total

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class State:
    """What a layer remembers between calls.

    Attributes:
        running_mean, running_var: (C,), or None where none are tracked.
        num_batches_tracked: the layer's counter, or None where it has none.
        weight, bias: (C,), each None where there is none.
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
    """The statistics of one batch, with length 1 along the axes that they are taken over; each is computed once.

    Attributes:
        x: the batch, which is not empty; 0 where a mask hides a value. floats: the same in float64.
        counted: the values that are counted, and entering: those of which the statistics are functions, both of the
            shape of x; None where that is all of them.
        bessel: the number of values that Bessel's factor is taken of, where that is not n (`oracle.replicas`); else 0.
    """

    x: Exact
    floats: Floats
    axes: tuple[int, ...]
    counted: Mask | None = None
    entering: Mask | None = None
    bessel: int = 0

    @cached_property
    def count(self) -> Any:
        """n, the number of values that each statistic is taken over: an int; where some are not counted, an array."""
        if self.counted is None:
            return self.size
        return self.counted.sum(axis=self.axes, keepdims=True, dtype=np.int64)

    @property
    def size(self) -> int:
        """How many values there are along the axes, counted or not."""
        return math.prod(self.x.shape[axis] for axis in self.axes)

    @property
    def unbiased_count(self) -> Any:
        """The n of Bessel's factor n / (n - 1) in what is remembered."""
        return self.bessel or self.count

    @cached_property
    def divisor(self) -> Any:
        """The same for exact numbers; 1 of nothing, whose sums are 0."""
        if self.counted is None:
            return self.count
        return exact(np.maximum(self.count, 1))

    @cached_property
    def mean(self) -> Exact:
        """The mean m."""
        return np.asarray(total(self.x, self.axes) / self.divisor, dtype=object)

    @cached_property
    def centred(self) -> Exact:
        """X - m, of the shape of x; 0 where a value is not counted."""
        found = np.asarray(self.x - self.mean, dtype=object)
        return found if self.counted is None else np.where(self.counted, found, exact(0.0))

    def of_entering(self, values: Exact) -> Exact:
        """Broadcast to the shape of x, and 0 where the statistics are no functions of x."""
        return values if self.entering is None else np.where(self.entering, values, exact(0.0))

    @cached_property
    def squares(self) -> Exact:
        """q, the sum of (x - m)**2."""
        return total(self.centred * self.centred, self.axes)

    @cached_property
    def mean_magnitude(self) -> Exact:
        """The mean of |x|."""
        if not is_finite(self.mean).all():
            return np.asarray(total(abs(self.x), self.axes) / self.divisor, dtype=object)
        # m less twice the part of it that is negative, which adds no error: nothing cancels.
        negative = np.add.reduce(self.x, axis=self.axes, keepdims=True, initial=0, where=self.floats < 0)
        return np.asarray(self.mean - 2 * negative / self.divisor, dtype=object)

    @cached_property
    def mean_square(self) -> Exact:
        """The mean of x**2: v + m**2."""
        if not is_finite(self.squares).all():
            return np.asarray(total(self.x * self.x, self.axes) / self.divisor, dtype=object)
        return np.asarray(self.squares / self.divisor + self.mean * self.mean, dtype=object)


class Batch:
    """An input, (N, C, *S), possibly empty, with the statistics that were asked for of it: each is computed once.

    Attributes:
        x: the numbers in 320 bits. floats: the same in float64. bessel: that of its `Moments`.
        mask: of the shape of x, the values that are selected; None where there is no mask.
    """

    def __init__(self, values: Any, mask: Mask | None = None, bessel: int = 0) -> None:
        self.bessel = bessel
        self.x = exact(values)
        self.floats = floats(values) if values.dtype == object else values.astype(np.float64)
        self.mask = mask
        self._moments: dict[tuple[tuple[int, ...], str], Moments] = {}

    def moments(self, axes: tuple[int, ...], behaviour: Behaviour = SPECIFIED) -> Moments:
        """The statistics over `axes`, of what the mask selects at this point of the space."""
        kind = MaskedStatistics.ALL if self.mask is None else behaviour.masked_statistics
        if (axes, kind) not in self._moments:
            self._moments[axes, kind] = self._of(axes, kind)
        return self._moments[axes, kind]

    def _of(self, axes: tuple[int, ...], kind: MaskedStatistics) -> Moments:
        if self.mask is None or kind is MaskedStatistics.ALL:
            return Moments(self.x, self.floats, axes, bessel=self.bessel)
        seen = ~self.mask if kind is MaskedStatistics.OTHERS else self.mask
        x, near = np.where(seen, self.x, exact(0.0)), np.where(seen, self.floats, 0.0)
        counted = None if kind is MaskedStatistics.ZEROS_COUNTED else seen
        return Moments(x, near, axes, counted, seen, self.bessel)


@dataclass(frozen=True)
class Forward:
    """One forward pass.

    Attributes:
        config, behaviour, before, training: what was asked: the layer, the point of the space, the state before, the
            mode that decided.
        refused: why the input is refused at this point of the space; then nothing below `state` holds.
        state: the state afterwards.
        batch: the input. moments: its statistics, None where it is empty.
        mean, variance: what normalised, and whether each came from the batch (and so carries its rounding errors).
        epsilon, form: which epsilon entered the denominator, and how.
        inverse_std: the factor f(variance). scale, shift: the effective w and b in y = scale * z + shift.
        unspecified: the names of what a pass computes here that nothing fixes, as it rests on 0/0: what the record
            has in its place is none to judge by.
        output: what stands in the place of the output, where it is not computed from the record.
    """

    config: Config
    behaviour: Behaviour
    before: State
    training: bool
    refused: str
    state: State
    batch: Batch
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
    unspecified: frozenset[str] = frozenset()
    output: Exact | None = None

    @property
    def x(self) -> Exact:
        """The input."""
        return self.batch.x

    @cached_property
    def centred(self) -> Exact:
        """The x less the mean that normalises, broadcastable to the shape of x."""
        if self.batch.mask is None and self.moments is not None and self.mean is self.moments.mean:
            return self.moments.centred
        return np.asarray(self.x - self.mean, dtype=object)

    @cached_property
    def normalized(self) -> Exact:
        """The value z = (x - m) f(v)."""
        return np.asarray(self.centred * self.inverse_std, dtype=object)

    @cached_property
    def y(self) -> Exact:
        """The output: `output` where that is given, scale * z + shift elsewhere, but what stands where a mask hides."""
        if self.output is not None:
            return self.output
        found = np.asarray(self.centred * (self.inverse_std * self.scale) + self.shift, dtype=object)
        if self.hidden is None:
            return found
        unchanged = self.behaviour.masked_output is MaskedOutput.UNCHANGED
        return np.where(self.hidden, self.x if unchanged else exact(0.0), found)

    @cached_property
    def hidden(self) -> Mask | None:
        """Where the output is not normalised, as a mask hides the value; None where that is nowhere."""
        mask = self.batch.mask
        if mask is None or self.behaviour.masked_output is MaskedOutput.NORMALIZED:
            return None
        return np.asarray(~mask)

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
    where they play no part. `balanced` is grad_z, less its mean where the gradient flows through the batch's mean;
    `product` is the sum of grad_z * (x - m) over what shares a variance, 0 where none flows through it.
    `flowing` is the forward pass with the statistics that the gradient for x uses: those that normalised, but at
    points of the space whose evaluation gradient is that of training. grad_weight and grad_bias are None where
    there is no parameter.
    """

    forward: Forward
    flowing: Forward
    grad_output: Exact
    grad_z: Exact
    balanced: Exact
    through_mean: bool
    through_variance: bool
    slope: Exact
    variance_slope: Exact
    product: Exact
    grad_x: Exact
    grad_weight: Exact | None
    grad_bias: Exact | None
