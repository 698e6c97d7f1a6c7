"""The running statistics at any point of the behaviour space: what they remember of a batch, and with which weight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform.spec import behaviour as b
from bnconform.spec.behaviour import Behaviour
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact, exact, sqrt
from bnconform.spec.oracle.formulas import effective_epsilon, in_single, per_channel
from bnconform.spec.oracle.record import Moments, State


def memory_of(config: Config, behaviour: Behaviour, x: Exact, batch: Moments) -> tuple[Exact, Exact]:
    """What of one batch the running statistics remember: mean and variance, each (C,)."""
    mean = batch.mean
    if behaviour.running_mean is b.RunningMean.BESSEL_SCALED:
        mean = mean * bessel(behaviour, batch.unbiased_count)
    found = (per_channel(mean, x), _variance_to_remember(config, behaviour, x, batch))
    nothing = counts(batch, x) == 0
    if nothing.any() and behaviour.nothing_selected is b.NothingSelected.NAN_STATISTICS:
        unknown = exact(np.nan)
        return np.where(nothing, unknown, found[0]), np.where(nothing, unknown, found[1])
    return found


def counts(batch: Moments, x: Exact) -> NDArray[np.int64]:
    """How many values of each channel are counted: (C,), or (1,) where a mask hides none."""
    axes = (0, *range(2, x.ndim))
    if batch.counted is None:
        return np.array([int(np.prod([x.shape[axis] for axis in axes], dtype=np.int64))])
    return np.asarray(batch.counted.sum(axis=axes, dtype=np.int64))


def _variance_to_remember(config: Config, behaviour: Behaviour, x: Exact, batch: Moments) -> Exact:
    kind = behaviour.running_variance
    if kind is b.RunningVariance.UNCENTRED:
        return per_channel(batch.mean_square, x)
    found = np.asarray(batch.squares / batch.divisor, dtype=object)
    if kind in (b.RunningVariance.UNBIASED, b.RunningVariance.UNBIASED_PLUS_EPS):
        found = found * bessel(behaviour, batch.unbiased_count)
    biased = per_channel(found, x)
    if kind is b.RunningVariance.STANDARD_DEVIATION:
        return sqrt(biased)
    if kind is b.RunningVariance.SAMPLES:
        biased = biased * bessel_factor_of(x.shape[0])
    if kind in (b.RunningVariance.UNBIASED_PLUS_EPS, b.RunningVariance.BIASED_PLUS_EPS):
        biased = biased + effective_epsilon(config, behaviour)
    return np.asarray(biased, dtype=object)


def bessel(behaviour: Behaviour, n: Any) -> Exact:
    """The factor n / (n - 1), 0-d or of the shape of n; of one value, what the point makes of it."""
    several = np.maximum(n, 2)
    factor = np.asarray(exact(several) / exact(several - 1), dtype=object)
    if np.min(n) > 1:
        return factor
    alone = exact(np.nan if behaviour.single_value is b.SingleValue.NAN_STATISTICS else 1.0)
    return np.where(np.asarray(n) > 1, factor, alone)


def bessel_factor_of(samples: int) -> Exact:
    """The factor (0-d) N / (N - 1), 1 for one sample."""
    return np.asarray(exact(samples) / (samples - 1), dtype=object) if samples > 1 else exact(1.0)


def batch_weight(config: Config, behaviour: Behaviour, count: int) -> Exact:
    """The weight (0-d) of the next batch in the running statistics, `count` batches having been seen."""
    if config.momentum is None:
        kind = behaviour.momentum_none
        if kind in (b.MomentumNone.CUMULATIVE, b.MomentumNone.COUNTING_INITIAL):
            return _one_over(count + (1 if kind is b.MomentumNone.CUMULATIVE else 2))
        fixed = {b.MomentumNone.DEFAULT_MOMENTUM: 0.1, b.MomentumNone.BATCH: 1.0, b.MomentumNone.UNCHANGED: 0.0}
        return exact(fixed[kind])
    given = {b.MomentumValue.ALWAYS_0_1: 0.1, b.MomentumValue.ALWAYS_1: 1.0}
    weight = exact(given.get(behaviour.momentum_value, config.momentum))
    if behaviour.momentum_weighs is b.MomentumWeighs.RUNNING:
        weight = 1 - weight
    if behaviour.momentum_value is b.MomentumValue.SINGLE_PRECISION:
        weight = 1 - in_single(config, 1 - weight)
    if behaviour.momentum_value is b.MomentumValue.SINGLE_PRECISION_BATCH:
        weight = in_single(config, weight)
    if behaviour.averaging is b.Averaging.CUMULATIVE:
        return _one_over(count + 1)
    if behaviour.averaging is b.Averaging.FIRST_BATCH_COPIED and count == 0:
        return exact(1)
    return weight


def _one_over(count: int) -> Exact:
    return np.asarray(exact(1) / count, dtype=object)


def is_debiased(config: Config, behaviour: Behaviour) -> bool:
    """Whether what is shown is a hidden average h_k = (1 - a) h_(k-1) + a batch from 0, over d_k = 1 - (1 - a)**k."""
    return config.momentum is not None and behaviour.averaging is b.Averaging.ZERO_DEBIASED


def is_undefined(config: Config, behaviour: Behaviour, count: int) -> bool:
    """Whether the next update is 0/0, `count` batches having been seen: nothing fixes what it leaves."""
    keep = 1 - batch_weight(config, behaviour, count)
    return is_debiased(config, behaviour) and bool(keep ** (count + 1) == 1)


def blend(config: Config, behaviour: Behaviour, count: int) -> tuple[Exact, Exact]:
    """The weights (0-d) of the old value and of the batch in one update, `count` batches having been seen.

    1 and 0 where it is undefined, so that the oracle has a number there that is none to judge by.
    """
    weight = batch_weight(config, behaviour, count)
    keep = np.asarray(1 - weight, dtype=object)
    if is_undefined(config, behaviour, count):
        return exact(1), exact(0)
    if is_debiased(config, behaviour):
        before, now = 1 - keep**count, 1 - keep ** (count + 1)
        return np.asarray(keep * before / now, dtype=object), np.asarray(weight / now, dtype=object)
    return keep, weight


def keeps_variance(behaviour: Behaviour, batch: Moments, x: Exact) -> NDArray[np.bool_]:
    """Whether a batch leaves the running variance of a channel as it is, of which it has one value: (C,) or (1,)."""
    alone = np.asarray(counts(batch, x) == 1)
    if not alone.any():
        return alone
    return np.asarray(alone & (behaviour.single_value is b.SingleValue.BIAS_OUTPUT_VARIANCE_KEPT))


def update(config: Config, behaviour: Behaviour, state: State, x: Exact, batch: Moments | None) -> State:
    """The state after one more batch has moved the running statistics (the counter is left alone)."""
    if state.running_mean is None or state.running_var is None:
        return state
    if batch is None:
        if behaviour.empty_batch is b.EmptyBatch.NAN_STATISTICS:
            nan = state.running_mean * exact(np.nan)
            return replace(state, running_mean=nan, running_var=nan)
        return state
    mean, variance = memory_of(config, behaviour, x, batch)
    kept, weight = blend(config, behaviour, state.count)
    old_mean, old_variance = state.running_mean, state.running_var
    if weight == 0:
        # A weight of 0 or 1 leaves one term out, so that a NaN in it does not spread.
        mean, variance = old_mean, old_variance
    elif weight != 1 or is_debiased(config, behaviour):
        mean = kept * old_mean + weight * mean
        variance = kept * old_variance + weight * variance
    kept_as_it_is = keeps_variance(behaviour, batch, x)
    if kept_as_it_is.any():
        variance = np.where(kept_as_it_is, old_variance, variance)
    nothing = counts(batch, x) == 0
    if nothing.any() and behaviour.nothing_selected is b.NothingSelected.UNCHANGED:
        mean, variance = np.where(nothing, old_mean, mean), np.where(nothing, old_variance, variance)
    return replace(state, running_mean=mean, running_var=variance, updates=state.updates + 1)


def move_counter(behaviour: Behaviour, before: State, after: State, training: bool, updates: bool) -> State:
    """`after` with the counter that it has once a pass from the state `before` is over.

    Args:
        training: the mode of the pass. updates: whether it moves the running statistics.
    """
    if before.num_batches_tracked is None:
        return after
    counts = {
        b.BatchCounter.TRAINING_FORWARDS: training or updates,
        b.BatchCounter.ALL_FORWARDS: True,
        b.BatchCounter.NOTHING: False,
    }[behaviour.batch_counter]
    return replace(after, num_batches_tracked=before.num_batches_tracked + int(counts))
