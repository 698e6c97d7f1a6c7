"""Right BatchNorm arithmetic in many orders and groupings, for the bounds and for the right implementations.

Everything works on x of shape (n, C) in one NumPy dtype: each operation is rounded to it. Nothing is shared with the
oracle or with a backend. An `Algorithm` is one implementation: how it sums, normalises, updates and differentiates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Sum = Callable[[Array], Array]
Statistics = Callable[[Array], tuple[Array, Array]]


def sequential(values: Array) -> Array:
    """The sum over axis 0 from the first value to the last, rounded after each."""
    return np.array(np.add.accumulate(values, axis=0)[-1])


def sum_reversed(values: Array) -> Array:
    """The sum from the last value to the first, as another memory order would give."""
    return sequential(values[::-1])


def pairwise(values: Array) -> Array:
    """The sum of the sums of both halves."""
    if len(values) == 1:
        return np.asarray(values[0])
    half = len(values) // 2
    return np.asarray(pairwise(values[:half]) + pairwise(values[half:]))


def sum_strided(values: Array) -> Array:
    """Four interleaved partial sums, as vector units keep."""
    return sequential(np.stack([sequential(values[lane::4]) for lane in range(min(4, len(values)))]))


def sum_in_blocks(values: Array) -> Array:
    """NumPy's own sum: pairwise over blocks where the values of a channel are contiguous, else in sequence."""
    return np.asarray(values.sum(axis=0))


def compensate(values: Array) -> Array:
    """In sequence, what each addition lost given to the next (Kahan 1965)."""
    result, lost = values[0], values[0] * number(0, values)
    for value in values[1:]:
        value = value - lost
        larger = result + value
        lost = (larger - result) - value
        result = larger
    return np.asarray(result)


def number(value: float, like: Array) -> Any:
    """A number in the dtype of `like`."""
    return np.asarray(value).astype(like.dtype)[()]


def two_pass(add: Sum) -> Statistics:
    """The mean, then the mean of the squared deviations."""

    def statistics(x: Array) -> tuple[Array, Array]:
        n = number(len(x), x)
        mean = add(x) / n
        deviations = x - mean
        return mean, add(deviations * deviations) / n

    return statistics


def correct(x: Array) -> tuple[Array, Array]:
    """Two-pass, less the square of the mean deviation; division as a product with a rounded 1/n."""
    inverse = number(1, x) / number(len(x), x)
    mean = sequential(x) * inverse
    deviations = x - mean
    rest = sequential(deviations) * inverse
    return mean, sequential(deviations * deviations) * inverse - rest * rest


def one_pass(add: Sum) -> Statistics:
    """The mean of the squares less the square of the mean, not below 0."""

    def statistics(x: Array) -> tuple[Array, Array]:
        n = number(len(x), x)
        mean = add(x) / n
        return mean, np.maximum(add(x * x) / n - mean * mean, number(0, x))

    return statistics


def shift(x: Array) -> tuple[Array, Array]:
    """One pass over the differences from the first value."""
    mean, variance = one_pass(sequential)(x - x[0])
    return x[0] + mean, variance


def welford(reciprocal: bool) -> Statistics:
    """Mean and squared deviations updated value by value, dividing by k or multiplying with a rounded 1/k."""

    def statistics(x: Array) -> tuple[Array, Array]:
        mean, squares = x[0], x[0] * number(0, x)
        for k, value in enumerate(x[1:], 2):
            difference = value - mean
            step = difference * (number(1, x) / number(k, x)) if reciprocal else difference / number(k, x)
            mean = mean + step
            squares = squares + difference * (value - mean)
        return mean, squares / number(len(x), x)

    return statistics


def merge(chunk: int, within: Statistics) -> Statistics:
    """Chunks of the given length, one after the other merged into the first (Chan, Golub and LeVeque 1983)."""

    def statistics(x: Array) -> tuple[Array, Array]:
        count = min(chunk, len(x))
        mean, variance = within(x[:count])
        squares = variance * number(count, x)
        for start in range(count, len(x), chunk):
            part = x[start : start + chunk]
            other, other_variance = within(part)
            length = number(len(part), x)
            whole = number(count + len(part), x)
            difference = other - mean
            squares = squares + other_variance * length
            squares = squares + difference * difference * (number(count, x) * length / whole)
            mean = mean + difference * (length / whole)
            count += len(part)
        return mean, squares / number(len(x), x)

    return statistics


def tree(leaf: int, within: Statistics) -> Statistics:
    """Halves merged with each other, down to chunks of at most `leaf` values (Chan, Golub and LeVeque 1983)."""

    def squares(x: Array) -> tuple[Array, Array]:
        if len(x) <= leaf:
            mean, variance = within(x)
            return mean, np.asarray(variance * number(len(x), x))
        half = len(x) // 2
        (left, left_squares), (right, right_squares) = squares(x[:half]), squares(x[half:])
        share = number(len(x) - half, x) / number(len(x), x)
        difference = right - left
        between = difference * difference * (number(half, x) * share)
        return np.asarray(left + difference * share), np.asarray(left_squares + right_squares + between)

    def statistics(x: Array) -> tuple[Array, Array]:
        mean, total = squares(x)
        return mean, total / number(len(x), x)

    return statistics


def in_format(wider: Any, within: Statistics) -> Statistics:
    """Statistics computed in another format, each rounded once at the end."""

    def statistics(x: Array) -> tuple[Array, Array]:
        mean, variance = within(x.astype(wider))
        return mean.astype(x.dtype), variance.astype(x.dtype)

    return statistics


def _root_then_divide(variance: Array, eps: Any) -> Array:
    return np.asarray(number(1, variance) / np.sqrt(variance + eps))


def _power(variance: Array, eps: Any) -> Array:
    return np.asarray(np.sqrt(number(1, variance) / (variance + eps)))


def direct(x: Array, mean: Array, factor: Array, weight: Array, bias: Array) -> Array:
    """(x - mean) f w + b."""
    return np.asarray((x - mean) * factor * weight + bias)


def divide(x: Array, mean: Array, factor: Array, weight: Array, bias: Array) -> Array:
    """The division by 1/f written out: w ((x - mean) / (1/f)) + b."""
    return np.asarray(weight * ((x - mean) / (number(1, x) / factor)) + bias)


def scale_first(x: Array, mean: Array, factor: Array, weight: Array, bias: Array) -> Array:
    """(x - mean) (f w) + b."""
    return np.asarray((x - mean) * (factor * weight) + bias)


def weight_first(x: Array, mean: Array, factor: Array, weight: Array, bias: Array) -> Array:
    """(w (x - mean)) f + b."""
    return np.asarray((weight * (x - mean)) * factor + bias)


def fold(x: Array, mean: Array, factor: Array, weight: Array, bias: Array) -> Array:
    """Scale times x plus shift, x - mean never formed."""
    scale = weight * factor
    return np.asarray(scale * x + (bias - mean * scale))


def convex(old: Array, batch: Array, momentum: float) -> Array:
    """(1 - a) old + a batch."""
    a = number(momentum, old)
    return np.asarray((number(1, old) - a) * old + a * batch)


def incremental(old: Array, batch: Array, momentum: float) -> Array:
    """The increment form: old + a (batch - old)."""
    return np.asarray(old + number(momentum, old) * (batch - old))


def decay_given(old: Array, batch: Array, momentum: float) -> Array:
    """The decay form: old - (old - batch)(1 - d), where d = 1 - a is what the layer was given."""
    decay = number(1 - momentum, old)
    return np.asarray(old - (old - batch) * (number(1, old) - decay))


def interpolate(old: Array, batch: Array, momentum: float) -> Array:
    """The increment form from the nearer end: old + a (batch - old), or batch - (batch - old)(1 - a) from a half on."""
    if momentum < 0.5:
        return incremental(old, batch, momentum)
    return np.asarray(batch - (batch - old) * (number(1, old) - number(momentum, old)))


Gradient = Callable[[Array, Array, Array, Array, Array, Sum], tuple[Array, Array]]


def sum_form(x: Array, g: Array, mean: Array, factor: Array, weight: Array, add: Sum) -> tuple[Array, Array]:
    """The closed form: w f / n (n g - sum(g) - z sum(g z)), and sum(g z)."""
    n = number(len(x), x)
    z = (x - mean) * factor
    by_weight = add(g * z)
    return np.asarray((weight * factor / n) * (n * g - add(g) - z * by_weight)), by_weight


def means_form(x: Array, g: Array, mean: Array, factor: Array, weight: Array, add: Sum) -> tuple[Array, Array]:
    """(g - mean(g) - (x - m) f**2 mean(g (x - m))) f w, and f sum(g (x - m))."""
    n = number(len(x), x)
    deviations = x - mean
    product = add(g * deviations)
    inner = g - add(g) / n - deviations * (product / n * factor * factor)
    return np.asarray(inner * (factor * weight)), np.asarray(product * factor)


def centring_form(x: Array, g: Array, mean: Array, factor: Array, weight: Array, add: Sum) -> tuple[Array, Array]:
    """The mean gradient taken off first: c = g - mean(g), w f c - z (w f mean(c z)), and sum(g z)."""
    n = number(len(x), x)
    z = (x - mean) * factor
    centred = g - add(g) / n
    scale = weight * factor
    return np.asarray(scale * centred - z * (scale * (add(centred * z) / n))), add(g * z)


def differentiate(x: Array, g: Array, mean: Array, factor: Array, weight: Array, add: Sum) -> tuple[Array, Array]:
    """What reverse-mode differentiation of the two-pass form does, the vanishing path through the mean kept."""
    n = number(len(x), x)
    deviations = x - mean
    by_z = g * weight
    by_factor = add(by_z * deviations)
    by_variance = by_factor * (number(-0.5, x) * factor * factor * factor)
    by_deviation = by_z * factor + by_variance * (number(2, x) * deviations / n)
    by_mean = -add(by_deviation)
    return np.asarray(by_deviation + by_mean / n), add(g * (deviations * factor))


def moments_form(x: Array, g: Array, mean: Array, factor: Array, weight: Array, add: Sum) -> tuple[Array, Array]:
    """The one-pass form: sums of g x and of g, x - mean never formed."""
    n = number(len(x), x)
    total = add(g)
    by_weight = (add(g * x) - mean * total) * factor
    slope = by_weight * factor / n
    scale = weight * factor
    return np.asarray(scale * (g - total / n - (slope * x - slope * mean))), np.asarray(by_weight)


@dataclass(frozen=True)
class Algorithm:
    """One implementation; `stable` where it forms neither a one-pass variance nor a folded output."""

    name: str
    statistics: Statistics
    normalize: Callable[[Array, Array, Array, Array, Array], Array]
    update: Callable[[Array, Array, float], Array]
    gradient: Gradient
    add: Sum
    inverse: Callable[[Array, Any], Array] = _root_then_divide
    stable: bool = False

    def __str__(self) -> str:
        return self.name


SUBJECTS = (
    Algorithm("two_pass", two_pass(sequential), direct, convex, sum_form, sequential, stable=True),
    Algorithm("two_pass_pairwise", two_pass(pairwise), direct, incremental, means_form, pairwise, _power, stable=True),
    Algorithm("two_pass_corrected", correct, divide, decay_given, differentiate, sequential, stable=True),
    Algorithm("two_pass_channels_last", two_pass(sum_strided), divide, convex, differentiate, sum_strided, stable=True),
    Algorithm("welford", welford(False), direct, incremental, sum_form, sum_reversed, stable=True),
    Algorithm("welford_reciprocal", welford(True), direct, decay_given, means_form, sequential, _power, stable=True),
    Algorithm("chan_of_two_pass", merge(4, two_pass(sequential)), direct, convex, sum_form, sum_strided, stable=True),
    Algorithm("chan_of_welford", merge(8, welford(True)), divide, incremental, means_form, pairwise, stable=True),
    Algorithm("one_pass", one_pass(sequential), direct, convex, moments_form, sequential),
    Algorithm("one_pass_pairwise", one_pass(pairwise), fold, incremental, sum_form, pairwise, _power),
    Algorithm("one_pass_folded", one_pass(sum_strided), fold, decay_given, moments_form, sum_strided),
    Algorithm("two_pass_folded", two_pass(sum_reversed), fold, convex, moments_form, sum_reversed),
)


@dataclass(frozen=True)
class Answer:
    """What a algorithm gives for one batch: y and grad_x (n, C), the rest (C,), in the dtypes of the layer."""

    y: Array
    running_mean: Array
    running_var: Array
    grad_x: Array
    grad_weight: Array
    grad_bias: Array


def answer(
    algorithm: Algorithm,
    x: Array,
    g: Array,
    state: dict[str, Array],
    eps: float,
    momentum: float,
    compute: Any,
    training: bool,
) -> Answer:
    """One forward and backward pass, every operation in the dtype `compute`, results in those of x and the state."""
    narrow = {name: value.astype(compute) for name, value in state.items()}
    wide, upstream = x.astype(compute), g.astype(compute)
    epsilon = number(eps, wide)
    parameters = state["weight"].dtype
    running_mean, running_var = state["running_mean"], state["running_var"]
    if training:
        mean, variance = algorithm.statistics(wide)
        unbiased = variance * (number(len(x), wide) / number(len(x) - 1, wide))
        running_mean = algorithm.update(narrow["running_mean"], mean, momentum).astype(parameters)
        running_var = algorithm.update(narrow["running_var"], unbiased, momentum).astype(parameters)
    else:
        mean, variance = narrow["running_mean"], narrow["running_var"]
    factor = algorithm.inverse(variance, epsilon)
    y = algorithm.normalize(wide, mean, factor, narrow["weight"], narrow["bias"])
    grad_x, grad_weight = algorithm.gradient(wide, upstream, mean, factor, narrow["weight"], algorithm.add)
    if not training:
        grad_x = upstream * (factor * narrow["weight"])
    grad_bias = algorithm.add(upstream)
    return Answer(
        y.astype(x.dtype), running_mean, running_var, grad_x.astype(x.dtype),
        grad_weight.astype(parameters), grad_bias.astype(parameters),
    )  # fmt: skip


def read_back(
    algorithm: Algorithm, x: Array, g: Array, state: dict[str, Array], eps: float, momentum: float, compute: Any
) -> Answer:
    """As `answer` in training, but the running statistics normalise, once moved, and the gradient flows through them.

    What reverse-mode differentiation does: of the two-pass variance where the algorithm is stable, its vanishing path
    through the mean kept, and of the one-pass variance, as 2 x/n less 2 m/n, where it is not.
    """
    narrow = {name: value.astype(compute) for name, value in state.items()}
    wide, upstream, parameters = x.astype(compute), g.astype(compute), state["weight"].dtype
    n, two, add = number(len(x), wide), number(2, wide), algorithm.add
    bessel = n / number(len(x) - 1, wide)
    batch_mean, batch_variance = algorithm.statistics(wide)
    running_mean = algorithm.update(narrow["running_mean"], batch_mean, momentum).astype(parameters)
    running_var = algorithm.update(narrow["running_var"], batch_variance * bessel, momentum).astype(parameters)
    mean, factor = running_mean.astype(compute), algorithm.inverse(running_var.astype(compute), number(eps, wide))
    y = algorithm.normalize(wide, mean, factor, narrow["weight"], narrow["bias"])
    a = number(momentum, wide) if algorithm.update is not decay_given else number(1, wide) - number(1 - momentum, wide)
    by_z, deviations = upstream * narrow["weight"], wide - mean
    by_variance = add(by_z * deviations) * (number(-0.5, wide) * factor * factor * factor) * a * bessel
    by_mean = -add(by_z * factor) * a
    if algorithm.stable:
        by_value = by_variance * (two * (wide - batch_mean) / n)
        by_mean = by_mean - add(by_value)
    else:
        by_value = by_variance * (two * wide / n)
        by_mean = by_mean - two * batch_mean * by_variance
    grad_x, grad_weight = by_z * factor + by_value + by_mean / n, add(upstream * (deviations * factor))
    return Answer(
        y.astype(x.dtype), running_mean, running_var, grad_x.astype(x.dtype),
        grad_weight.astype(parameters), add(upstream).astype(parameters),
    )  # fmt: skip
