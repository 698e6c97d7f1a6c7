"""The gradient for x through running statistics that normalise the very batch that has just moved them.

A channel's running mean is m = (..) + a k M with M the batch's mean, k Bessel's factor where that is remembered and a
the batch's weight; its running variance is v = (..) + a V with V whatever is remembered of the batch's variance. With
G = w grad_output, L = sum G_i (x_i - m) f(v) and sums over the channel

    dL/dx_j = f G_j - a k f sum(G) dM/dx_j + a f'(v) sum(G (x - m)) dV/dx_j,  dM/dx_j = 1/n.

dV/dx_j is centred on the batch's own mean M (its path through M vanishes, as sum(x - M) = 0), but sum(G (x - m)) on
the running mean, which normalises. Shapes: what belongs to a channel is (1, C, 1, ...).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform.spec import behaviour as b
from bnconform.spec.exact import Exact, exact, sqrt, total
from bnconform.spec.oracle.formulas import along_channels, inverse_deviation_slope, per_channel
from bnconform.spec.oracle.record import Forward, Moments
from bnconform.spec.oracle.running import bessel, bessel_factor_of, blend, keeps_variance

Array = NDArray[Any]


def channel_axes(x: Array) -> tuple[int, ...]:
    """The axes over which a channel extends."""
    return (0, *range(2, x.ndim))


def weights(record: Forward) -> tuple[Exact, Exact]:
    """The weights of the batch in the running mean and variance after the pass, broadcastable against x."""
    config, behaviour, before = record.config, record.behaviour, record.before
    share = exact(0)
    for done in range(record.state.updates - before.updates):
        kept, new = blend(config, behaviour, replace(before, updates=before.updates + done).count)
        share = np.asarray(kept * share + new, dtype=object)
    assert record.moments is not None
    return share, _but(share, keeps_variance(behaviour, record.moments, record.x), record.x.ndim)


def _but(share: Exact, unmoved: NDArray[np.bool_], ndim: int) -> Exact:
    """The weight, 0 for the channels that do not move: 0-d, or along the channels where only some of them do not."""
    if not unmoved.any():
        return share
    return share * 0 if unmoved.all() else np.where(unmoved.reshape((1, -1) + (1,) * (ndim - 2)), share * 0, share)


def estimator(record: Forward, batch: Moments) -> Exact:
    """The factor (broadcastable against a channel's statistics) by which V grows with the biased batch variance.

    0 for the root of a variance of 0, which has no derivative.
    """
    kind = record.behaviour.running_variance
    if kind in (b.RunningVariance.UNBIASED, b.RunningVariance.UNBIASED_PLUS_EPS):
        return bessel(record.behaviour, batch.unbiased_count)
    if kind is b.RunningVariance.SAMPLES:
        return bessel_factor_of(record.x.shape[0])
    if kind is b.RunningVariance.STANDARD_DEVIATION:
        root = along_channels(sqrt(per_channel(batch.squares / batch.divisor, record.x)), record.x.ndim)
        return np.where(root > 0, 1 / (2 * np.where(root > 0, root, 1)), root * 0)
    return exact(1)


def spread_back(gradient: Array, batch: Moments, x: Exact) -> Array:
    """The gradient for a batch statistic of any axes, of what is one value a channel: `per_channel`, transposed."""
    statistic = batch.mean.shape
    shape = statistic if statistic[1] == x.shape[1] else x.shape
    count = int(np.prod([shape[axis] for axis in channel_axes(x)], dtype=np.int64))
    axes = tuple(axis for axis in range(x.ndim) if statistic[axis] == 1 != shape[axis])
    spread = np.broadcast_to(gradient / count, shape)
    return np.asarray(np.add.reduce(spread, axis=axes, keepdims=True)) if axes else spread


def mean_slope(record: Forward, batch: Moments) -> Exact:
    """The derivative of what the running mean remembers for each value of x, broadcastable against x."""
    scaled = record.behaviour.running_mean is b.RunningMean.BESSEL_SCALED
    factor = bessel(record.behaviour, batch.unbiased_count) if scaled else exact(1)
    return batch.of_entering(np.asarray(factor / batch.divisor, dtype=object))


def variance_step(record: Forward, batch: Moments) -> Exact:
    """The derivative (broadcastable against x) of the biased batch variance, or of the mean of x**2, for each x."""
    uncentred = record.behaviour.running_variance is b.RunningVariance.UNCENTRED
    return batch.of_entering(np.asarray(2 * (batch.x if uncentred else batch.centred) / batch.divisor, dtype=object))


def mean_path(record: Forward, grad_z: Exact) -> Exact:
    """The part of the gradient for x that flows through the running mean; the shape of x or broadcastable to it."""
    batch = record.moments
    assert batch is not None
    weight, _ = weights(record)
    gradient = -weight * record.inverse_std * total(grad_z, channel_axes(record.x))
    return np.asarray(spread_back(gradient, batch, record.x) * mean_slope(record, batch), dtype=object)


def variance_path(record: Forward, grad_z: Exact) -> Exact:
    """The part of the gradient for x that flows through the running variance."""
    batch = record.moments
    assert batch is not None
    _, weight = weights(record)
    slope = inverse_deviation_slope(record.variance, record.epsilon, record.form)
    product = total(grad_z * record.centred, channel_axes(record.x))
    gradient = weight * slope * product * estimator(record, batch)
    return np.asarray(spread_back(gradient, batch, record.x) * variance_step(record, batch), dtype=object)
