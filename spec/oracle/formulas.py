"""The formulas of one batch at any point of the behaviour space: its statistics, and the factor that normalises."""

from __future__ import annotations

import numpy as np

from bnconform.spec import behaviour as b
from bnconform.spec.behaviour import Behaviour
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact, exact, floats, sqrt, total


def statistics_axes(behaviour: Behaviour, ndim: int) -> tuple[int, ...]:
    """The axes of x over which batch statistics are taken."""
    positions = tuple(range(2, ndim))
    return {
        b.StatisticsAxes.PER_CHANNEL: (0, *positions),
        b.StatisticsAxes.PER_POSITION: (0,),
        b.StatisticsAxes.PER_SAMPLE_CHANNEL: positions,
        b.StatisticsAxes.PER_SAMPLE: (1, *positions),
        b.StatisticsAxes.ALL: tuple(range(ndim)),
    }[behaviour.statistics_axes]


def in_single(config: Config, value: Exact) -> Exact:
    """A number that the layer is given, as a Python float, rounded to single precision if the parameters have more.

    If they have not, every bound admits that it is stored in their dtype, and no other rounding can be told from that.
    """
    if config.param_dtype != "float64":
        return value
    with np.errstate(all="ignore"):
        return exact(floats(value).astype(np.float32))


def effective_epsilon(config: Config, behaviour: Behaviour) -> Exact:
    """The epsilon that this point of the space really uses (0-d)."""
    kind = behaviour.epsilon_value
    if kind is b.EpsilonValue.AT_LEAST_1E_5:
        return exact(max(config.eps, 1e-5))
    if kind is b.EpsilonValue.ALWAYS_1E_5:
        return exact(1e-5)
    if kind is b.EpsilonValue.ALWAYS_1E_3:
        return exact(1e-3)
    if kind is b.EpsilonValue.SINGLE_PRECISION:
        return in_single(config, exact(config.eps))
    return exact(config.eps)


def inverse_deviation(variance: Exact, epsilon: Exact, form: b.EpsilonForm) -> Exact:
    """f(variance), the factor that normalises; decreasing in the variance for every form."""
    if form is b.EpsilonForm.INSIDE:
        deviation = sqrt(variance + epsilon)
    elif form is b.EpsilonForm.OUTSIDE:
        deviation = sqrt(variance) + epsilon
    elif form is b.EpsilonForm.MAXIMUM:
        deviation = sqrt(np.maximum(epsilon, variance))  # in this order, as of objects a NaN is kept if it is second
    elif form is b.EpsilonForm.SQUARED:
        deviation = sqrt(variance + epsilon * epsilon)
    else:
        deviation = sqrt(variance)
    return np.asarray(1 / deviation, dtype=object)


def inverse_deviation_slope(variance: Exact, epsilon: Exact, form: b.EpsilonForm) -> Exact:
    """f'(variance), at most zero; 0 where the square root of a zero variance has no derivative."""
    factor = inverse_deviation(variance, epsilon, form)
    slope = np.asarray(-(factor**3) / 2, dtype=object)
    if form is b.EpsilonForm.OUTSIDE:
        root = sqrt(variance)
        return np.where(variance > 0, -(factor**2) / (2 * np.where(variance > 0, root, 1)), 0)
    if form is b.EpsilonForm.MAXIMUM:
        return np.where(variance > epsilon, slope, 0)
    if form is b.EpsilonForm.ABSENT:
        return np.where(variance > 0, slope, 0)
    return slope


def inverse_deviation_curvature(variance: Exact, epsilon: Exact, form: b.EpsilonForm) -> Exact:
    """f''(variance), at least zero; 0 where the square root of a zero variance has no derivative."""
    factor = inverse_deviation(variance, epsilon, form)
    curvature = np.asarray(3 * factor**5 / 4, dtype=object)
    if form is b.EpsilonForm.OUTSIDE:
        safe = np.where(variance > 0, variance, 1)
        root = sqrt(safe)
        return np.where(variance > 0, factor**3 / (2 * safe) + factor**2 / (4 * root**3), 0)
    if form is b.EpsilonForm.MAXIMUM:
        return np.where(variance > epsilon, curvature, 0)
    if form is b.EpsilonForm.ABSENT:
        return np.where(variance > 0, curvature, 0)
    return curvature


def inverse_deviation_third(variance: Exact, epsilon: Exact, form: b.EpsilonForm) -> Exact:
    """f'''(variance), at most zero; 0 where the square root of a zero variance has no derivative."""
    factor = inverse_deviation(variance, epsilon, form)
    found = np.asarray(-15 * factor**7 / 8, dtype=object)
    if form is b.EpsilonForm.OUTSIDE:
        safe = np.where(variance > 0, variance, 1)
        root = sqrt(safe)
        terms = factor**4 / root**3 + factor**3 / safe**2 + factor**2 / (2 * root**5)
        return np.where(variance > 0, -3 * terms / 4, 0)
    if form is b.EpsilonForm.MAXIMUM:
        return np.where(variance > epsilon, found, 0)
    if form is b.EpsilonForm.ABSENT:
        return np.where(variance > 0, found, 0)
    return found


def along_channels(values: Exact, ndim: int) -> Exact:
    """(C,) as (1, C, 1, ...)."""
    return values.reshape((1, -1) + (1,) * (ndim - 2))


def per_channel(values: Exact, like: Exact) -> Exact:
    """A statistic of any axes as one value a channel, (C,): the mean over whatever else it varies with."""
    if values.shape[1] == like.shape[1] == values.size:
        return values.reshape(-1)
    spread = np.broadcast_to(values, like.shape) if values.shape[1] != like.shape[1] else values
    axes = (0, *range(2, spread.ndim))
    count = int(np.prod([spread.shape[axis] for axis in axes], dtype=np.int64))
    return np.asarray(total(spread, axes) / count, dtype=object).reshape(-1)
