"""One failing call in float64: its operands, what is due of it, and what was seen, for relations to be tried on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bnconform.cases.program import SPREAD, Array, Step
from bnconform.diagnosis.experiments.trials import FailingCall
from bnconform.execution.trace import State, StepResult
from bnconform.judge.judgement import Comparison
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import error_model_of
from bnconform.spec.exact import Floats

SPARE = 16
"""Roundings beside those of the sums of n terms that a relation's own operations may add."""


@dataclass(frozen=True)
class CallView:
    """The last call of a program, one quantity of it.

    Attributes:
        comparison: the quantity that failed. call: the program's trace and all quantities that failed.
    """

    call: FailingCall
    comparison: Comparison

    @property
    def name(self) -> str:
        """Which quantity."""
        return self.comparison.name

    @property
    def seen(self) -> StepResult:
        """The call, as it was seen."""
        return self.call.trace.steps[-1]

    @property
    def step(self) -> Step:
        """The call."""
        return self.seen.step

    @property
    def config(self) -> Config:
        """The layer's configuration."""
        return self.call.trace.program.config

    @cached_property
    def observed(self) -> Floats:
        """What was seen."""
        return self.comparison.observed.astype(np.float64)

    @cached_property
    def expected(self) -> Floats:
        """What is due."""
        return np.array(self.comparison.exact.nearest, np.float64)

    @cached_property
    def bound(self) -> Floats:
        """How far what is seen may lie from that."""
        return np.broadcast_to(self.comparison.bound, self.expected.shape)

    @cached_property
    def u(self) -> float:
        """The unit roundoff of the arithmetic that a bound admits."""
        return error_model_of(self.config, SPECIFIED).u

    @property
    def slack(self) -> float:
        """Relative error of a product of sums of n values: n + SPARE roundings."""
        return (self.values + SPARE) * self.u

    @cached_property
    def x(self) -> Floats:
        """(N, C, *S)."""
        assert self.step.x is not None
        return self.step.x.astype(np.float64)

    @cached_property
    def grad_output(self) -> Floats | None:
        """(N, C, *S); None of a forward pass."""
        given = self.step.grad_output
        return None if given is None else given.astype(np.float64)

    @cached_property
    def tangent(self) -> Floats | None:
        """(N, C, *S), the direction of x; None where the pass has none."""
        given = self.step.tangent
        return None if given is None else given.astype(np.float64)

    @property
    def second(self) -> Floats | None:
        """(N, C, *S), the second direction of x; None where the pass has none."""
        given = self.step.second
        return None if given is None else given.astype(np.float64)

    @property
    def samples(self) -> int:
        """N."""
        return int(self.x.shape[0])

    @property
    def values(self) -> int:
        """N, the values of a channel."""
        return int(self.x.size // max(self.x.shape[1], 1))

    @property
    def is_spread(self) -> bool:
        """Whether the quantity is of the shape of x, and not one number a channel."""
        return self.name in SPREAD

    @cached_property
    def wrong_channels(self) -> NDArray[np.bool_]:
        """Every element of the channels in which something is wrong."""
        wrong: NDArray[np.bool_] = np.asarray(self.comparison.error_ratio > 1)
        if self.is_spread:
            axes = (0, *range(2, wrong.ndim))
            wrong = np.asarray(wrong.any(axis=axes, keepdims=True))
        return np.broadcast_to(wrong, self.expected.shape)

    def along(self, channel_values: Floats) -> Floats:
        """(C,) in a shape that goes with the quantity."""
        if not self.is_spread:
            return channel_values
        return channel_values.reshape((1, -1) + (1,) * (self.x.ndim - 2))

    def over_values(self, values: Floats) -> Floats:
        """The sum over samples and positions, (C,)."""
        return np.asarray(values.sum(axis=(0, *range(2, values.ndim))))

    @property
    def before(self) -> State:
        """The state before the call, as it was seen."""
        return self.seen.before

    def entry(self, name: str) -> Floats | None:
        """An entry of the state before the call, (C,)."""
        value = self.before.get(name)
        return None if value is None else value.astype(np.float64)

    @cached_property
    def weight(self) -> Floats:
        """(C,); ones where there is none."""
        found = self.entry("weight")
        return np.ones(self.x.shape[1]) if found is None else found

    @cached_property
    def bias(self) -> Floats:
        """(C,); zeros where there is none."""
        found = self.entry("bias")
        return np.zeros(self.x.shape[1]) if found is None else found

    @property
    def from_batch(self) -> bool:
        """Whether the statistics of the batch normalise."""
        return self.step.training or self.entry("running_mean") is None

    @cached_property
    def selected(self) -> NDArray[np.bool_] | None:
        """What a mask selects, of the shape of x; None where there is no mask."""
        return self.step.selected

    @cached_property
    def counts(self) -> Floats:
        """How many values of each channel the statistics are of, (C,), at least 1."""
        if self.selected is None:
            return np.full(self.x.shape[1], max(self.values, 1), np.float64)
        return np.maximum(self.over_values(self.selected.astype(np.float64)), 1)

    def of_selected(self, values: Floats) -> Floats:
        """The same with 0 where a mask selects nothing."""
        return values if self.selected is None else np.where(self.selected, values, 0)

    @cached_property
    def batch_mean(self) -> Floats:
        """(C,), of what is selected."""
        return self.over_values(self.of_selected(self.x)) / self.counts

    @cached_property
    def batch_variance(self) -> Floats:
        """The biased one, (C,), of what is selected."""
        centred = self.x - self.batch_mean.reshape((1, -1) + (1,) * (self.x.ndim - 2))
        return self.over_values(self.of_selected(centred**2)) / self.counts

    @cached_property
    def mean(self) -> Floats:
        """The one that normalises, (C,)."""
        running = self.entry("running_mean")
        return self.batch_mean if self.from_batch or running is None else running

    @cached_property
    def variance(self) -> Floats:
        """The one that normalises, (C,)."""
        running = self.entry("running_var")
        return self.batch_variance if self.from_batch or running is None else running

    @cached_property
    def deviation(self) -> Floats:
        """sqrt(variance + eps), (C,)."""
        return np.sqrt(np.maximum(self.variance + self.config.eps, 0))

    @property
    def momentum(self) -> float | None:
        """The weight of the batch in the running statistics; None where it is not known."""
        if self.config.momentum is not None:
            return self.config.momentum
        count = self.before.get("num_batches_tracked")
        return None if count is None else 1 / (int(count) + 1)

    def earlier(self) -> Iterator[Array]:
        """What earlier calls with other operands showed of the same quantity in the same shape, the latest first."""
        for seen in reversed(self.call.trace.steps[:-1]):
            values: State = {**seen.after, **seen.values}
            found = values.get(self.name)
            if found is not None and found.shape == self.observed.shape and not _is_same(seen, self.seen):
                yield found


def _is_same(one: StepResult, other: StepResult) -> bool:
    """Whether two passes are asked the same in the same state, so that they should answer the same."""
    if (one.step.op, one.step.training) != (other.step.op, other.step.training):
        return False
    names = ("weight", "bias") if one.step.training else ("weight", "bias", "running_mean", "running_var")
    names_given = ("x", "grad_output", "tangent", "second", "mask")
    pairs = [(getattr(one.step, name), getattr(other.step, name)) for name in names_given]
    pairs += [(one.before.get(name), other.before.get(name)) for name in names]
    return all(
        (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b)) for a, b in pairs
    )
