"""The states that a layer may be in after calls of which nothing was seen: intervals, and states between them.

`bnconform.cases.reachable` carries them through a program, and says why the ends and corners are enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bnconform.spec import oracle
from bnconform.spec.exact import Exact, Floats, exact, floats, is_finite

SLACK = 1 + 2.0**-40
"""What a bound grows by for the roundings of its own computation, which is in double precision."""

BEYOND = float(np.finfo(np.float64).max)
"""The ends of an interval that says only that a number is finite."""

Part = tuple[Exact, Floats]
"""A possible exact result and the bound on its error."""


class Open(Exception):
    """Nothing but the state that the layer shows would say what is due; the text says why."""


@dataclass(frozen=True)
class FloatInterval:
    """Two ends of one shape in float64; the low one is NaN where the result is not finite.

    It may then be NaN or infinity, whichever: the high end is infinity. Where it can only be NaN, so is the high end.
    """

    low: Floats
    high: Floats


def hull(parts: Sequence[Part], largest: float = np.inf, *, stored: bool = False) -> FloatInterval:
    """The interval around every part, its ends stepped out to the next float64.

    An end is infinite where the exact result may round beyond `largest`, as infinity of that sign is then right; and
    the largest float64 where no bound is known but the result is finite. `stored`: a NaN that was set stays NaN.

    Raises:
        Open: where some part is finite and another is not.
    """
    finite = [is_finite(value) for value, _ in parts]
    if not all(np.array_equal(finite[0], other) for other in finite):
        raise Open("whether it is finite depends on the state that the layer shows")
    lows, highs = [], []
    for value, bound in parts:
        known = np.isfinite(bound) & finite[0]
        reach = exact(np.where(known, np.broadcast_to(bound, value.shape) * SLACK, 0.0))
        safe = np.where(finite[0], value, exact(0.0))
        low, high = _outward(safe - reach, -np.inf), _outward(safe + reach, np.inf)
        low, high = np.where(known, low, -BEYOND), np.where(known, high, BEYOND)
        overflows = np.abs(floats(safe)) + bound * SLACK >= largest
        sign = np.sign(floats(safe))
        lows.append(np.where(overflows & (sign < 0), -np.inf, low))
        highs.append(np.where(overflows & (sign > 0), np.inf, high))
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    nan = np.all([np.isnan(floats(value)) for value, _ in parts], axis=0) & stored
    return FloatInterval(np.where(finite[0], low, np.nan), np.where(finite[0], high, np.where(nan, np.nan, np.inf)))


def _outward(values: Exact, towards: float) -> Floats:
    """The nearest float64 not on the inner side; the conversion is to the nearest, so step out where that is inside."""
    nearest = floats(values)
    inside = exact(nearest) > values if towards < 0 else exact(nearest) < values
    return np.where(np.asarray(inside, bool), np.nextafter(nearest, towards), nearest)


@dataclass(frozen=True)
class PossibleState:
    """One state that the calls may have led to.

    Attributes:
        state: what is exact of the state: weight, bias and the counters.
        mean, variance: the running statistics, (C,), or None where none are tracked.
    """

    state: oracle.State
    mean: FloatInterval | None
    variance: FloatInterval | None

    def at(self, mean: Floats, variance: Floats) -> oracle.State:
        """The state with these statistics."""
        return replace(self.state, running_mean=exact(mean), running_var=exact(variance))

    def ends(self) -> tuple[oracle.State, ...]:
        """The state with all low ends and with all high ends."""
        if self.mean is None or self.variance is None:
            return (self.state,)
        (low, high), (least, most) = ends_of(self.mean), ends_of(self.variance)
        return self.at(low, least), self.at(high, most)

    def corners(self, kink: float) -> tuple[oracle.State, ...]:
        """The state at every corner of the box of both statistics, and at the variances nearest to `kink`."""
        if self.mean is None or self.variance is None:
            return (self.state,)
        least, most = ends_of(self.variance)
        means, variances = _distinct(*ends_of(self.mean)), _distinct(least, most, np.clip(kink, least, most))
        return tuple(self.at(mean, variance) for mean in means for variance in variances)


def ends_of(interval: FloatInterval) -> tuple[Floats, Floats]:
    """The ends; infinity and NaN where the number may be either."""
    unknown = np.isnan(interval.low)
    return np.where(unknown, interval.high, interval.low), np.where(unknown, np.nan, interval.high)


def _distinct(*arrays: Floats) -> list[Floats]:
    found: list[Floats] = []
    for array in arrays:
        if not any(np.array_equal(array, other, equal_nan=True) for other in found):
            found.append(array)
    return found


def join(possible: list[PossibleState]) -> list[PossibleState]:
    """The states, those of one count of batches made one."""
    found: dict[tuple[int | None, int], PossibleState] = {}
    for before in possible:
        key = before.state.num_batches_tracked, before.state.updates
        other = found.get(key, before)
        found[key] = PossibleState(before.state, both(other.mean, before.mean), both(other.variance, before.variance))
    return list(found.values())


def both(one: FloatInterval | None, other: FloatInterval | None) -> FloatInterval | None:
    """The interval around two of one statistic; Open where one is finite and the other is not."""
    if one is None or other is None:
        return one
    if not np.array_equal(np.isnan(one.low), np.isnan(other.low)):
        raise Open("whether a running statistic is finite depends on whether a backward pass moves it")
    return FloatInterval(np.minimum(one.low, other.low), np.fmax(one.high, other.high))
