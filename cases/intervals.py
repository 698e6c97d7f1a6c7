"""What printed digits mean, and how far they let the answers of a right BatchNorm move.

A printed 0.5330 stands for every number in [0.53295, 0.53305]. Where a document prints both its input and its output,
the true input x* is known only to lie in a box around the numbers x that a layer is given, |x*_i - x_i| <= d_i, so the
answer for x may differ from the printed one by more than the printed digit. This module carries that box through the
specified computation; nothing is estimated, every step encloses the exact range (in 320 bits, widened at the end).

With n values a channel, mean m, deviation s = sqrt(q / n), and x* = x + e, |e_i| <= d_i:

* mean: |m* - m| = |mean(e)| <= mean(d).
* deviation: s = ||P x|| / sqrt(n), where P subtracts the mean; P is an orthogonal projector, so by the triangle
  inequality |s* - s| <= ||P e|| / sqrt(n) <= ||e|| / sqrt(n) <= sqrt(mean(d**2)). The deviation is 1-Lipschitz in the
  root mean square of the change, whatever the data.
* variance: the square of that interval, cut off at 0; sqrt(var + eps) and the estimator n/(n-1) are monotone in it.
* x - m: e_i - mean(e) has the coefficient 1 - 1/n on e_i and 1/n on every other, so it moves by at most
  (1 - 2/n) d_i + mean(d) (for n >= 2).
* z = (x - m) / sqrt(var + eps): the product of two intervals, extremes at the corners.
* running statistics: (1 - a) old + a batch, with both weights non-negative, so the ends map to the ends.
* evaluation: x - running mean and sqrt(running var + eps) are intervals likewise.

y = w z + b with the exactly known initial w and b.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnconform.spec.config import Config
from bnconform.spec.exact import Exact, constant, exact, sqrt, total
from bnconform.spec.oracle.formulas import along_channels

NUMBER = re.compile(r"-?\d+(\.(\d*))?")


def half_digit(text: str) -> str:
    """Half a unit of the last printed digit, as a fraction's text.

    0 for a literal without a point and for "9.", which is how torch prints the members of a tensor of whole numbers.
    ValueError for text that is not a number.
    """
    match = NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a printed number")
    digits = match[2]
    return f"1/{2 * 10 ** len(digits)}" if digits else "0"


def centres(texts: tuple[str, ...]) -> Exact:
    """The printed numbers themselves, flat, to 320 bits."""
    return _array([constant(text.rstrip(".")) for text in texts])


def half_digits(texts: tuple[str, ...]) -> Exact:
    """Half of each number's last digit, flat, to 320 bits."""
    return _array([constant(half_digit(text)) for text in texts])


def _array(values: list[Any]) -> Exact:
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result


@dataclass(frozen=True)
class Interval:
    """Arrays of lower and upper ends."""

    low: Exact
    high: Exact

    @classmethod
    def around(cls, value: Exact, radius: Exact) -> Interval:
        """[value - radius, value + radius]."""
        return cls(value - radius, value + radius)

    def farthest(self, value: Exact) -> Exact:
        """The largest distance from `value` to a point of the interval."""
        return np.asarray(np.maximum(abs(self.high - value), abs(self.low - value)), dtype=object)


@dataclass(frozen=True)
class Known:
    """What is known of a layer's state: running statistics, each (C,), or None where none are tracked."""

    running_mean: Interval | None
    running_var: Interval | None
    updates: int = 0


def initially(config: Config) -> Known:
    """A new layer: mean 0, variance 1, exactly."""
    if not config.track_running_stats:
        return Known(None, None)
    zero = exact(np.zeros(config.num_features))
    return Known(Interval(zero, zero), Interval(zero + 1, zero + 1))


def propagate(
    config: Config, known: Known, x: Exact, radius: Exact, *, training: bool
) -> tuple[dict[str, Interval], Known]:
    """One forward pass of the specified layer (weight 1, bias 0) over every input within `radius` of x.

    Args:
        x, radius: (N, C, *S), at least two values a channel.

    Returns:
        The range of each observable (see bnconform.cases.golden) and what is known of the state afterwards.
    """
    axes = (0, *range(2, x.ndim))
    n = x.size // x.shape[1]
    if training or known.running_mean is None or known.running_var is None:
        mean = Interval.around(total(x, axes) / n, total(radius, axes) / n)
        centred_value = x - total(x, axes) / n
        centred = Interval.around(centred_value, radius * (n - 2) / n + total(radius, axes) / n)
        deviation = sqrt(total(centred_value * centred_value, axes) / n)
        reach = sqrt(total(radius * radius, axes) / n)
        variance = Interval(np.maximum(deviation - reach, exact(0.0)) ** 2, (deviation + reach) ** 2)
    else:
        ends = (known.running_mean, known.running_var)
        mean, variance = (Interval(along_channels(e.low, x.ndim), along_channels(e.high, x.ndim)) for e in ends)
        centred = Interval(x - radius - mean.high, x + radius - mean.low)
    after = _update(config, known, mean, variance, n) if training else known

    eps = exact(config.eps)
    root = Interval(sqrt(variance.low + eps), sqrt(variance.high + eps))
    corners = [end / divisor for end in (centred.low, centred.high) for divisor in (root.low, root.high)]
    normalized = Interval(np.minimum.reduce(corners), np.maximum.reduce(corners))
    ranges = {
        "mean": _flat(mean),
        "variance": _flat(variance),
        "centred": centred,
        "deviation": _flat(root),
        "normalized": normalized,
        "y": normalized,
    }
    return ranges | memory_of(after), after


def memory_of(known: Known) -> dict[str, Interval]:
    """The running statistics as observables; nothing where none are tracked."""
    if known.running_mean is None or known.running_var is None:
        return {}
    return {"running_mean": known.running_mean, "running_var": known.running_var}


def _flat(interval: Interval) -> Interval:
    return Interval(interval.low.reshape(-1), interval.high.reshape(-1))


def _update(config: Config, known: Known, mean: Interval, variance: Interval, n: int) -> Known:
    if known.running_mean is None or known.running_var is None:
        return known
    weight = exact(1) / (known.updates + 1) if config.momentum is None else exact(config.momentum)
    factor = exact(n) / (n - 1)

    def blend(old: Interval, new: Interval, scale: Exact) -> Interval:
        low, high = (scale * end.reshape(-1) for end in (new.low, new.high))
        return Interval((1 - weight) * old.low + weight * low, (1 - weight) * old.high + weight * high)

    return Known(
        blend(known.running_mean, mean, exact(1.0)), blend(known.running_var, variance, factor), known.updates + 1
    )
