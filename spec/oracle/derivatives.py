"""The derivative of the output, and that of the gradients, as x moves along a direction: difference quotients.

The oracle differentiates itself, at any point of the behaviour space, without a formula for derivatives that could be
wrong: with F what a pass computes and t the direction, dF/dh at h = 0 is (F(x + h t) - F(x - h t)) / (2 h) for a tiny
h. Its error, beside what a bound admits, is nothing:

* Truncation. F is made of the channel's mean, which is linear in h, of its variance v(h) = v + 2 c h + s h**2, with c
  the covariance of x and t and s the variance of t, and of powers of v(h) + e. So it is analytic in h up to the nearest
  zero of v(h) + e; the zeros' product is (v + e)/s, and they are conjugate or equal as c**2 <= v s, so that they lie at
  sqrt((v + e)/s), which is at least R = sqrt(v + e)/max|t|. (A running variance that the batch has moved by its share
  a <= 1 has a s in the place of s.) With M the largest |F| for complex |h| <= R/2, Cauchy's estimate of the third
  derivative gives an error of at most h**2 M / (R/2)**3 = 2 (2 h/R)**2 M/R. As `step` takes h <= 2**-100 R, that is
  2**-197 of M/R, the size of the terms that the derivative is the sum of.
* Rounding. F errs by k n 2**-320 of the terms that it sums, k some tens of operations a value and n sums, and the
  quotient by that over h, which is at least 2**-101 of R: k n 2**-219 of M/R. Each channel has a step of its own; where
  statistics are taken over channels all have the smallest, and lose what the largest R is larger. x + h t is exact
  where the numbers of x are less than 2**100 times those of t.

Together that is less than 2**-150 of the derivative's size, and the narrowest bound for float64 is 2**-53 of it. Where
F is not differentiable (epsilon_form = maximum at v = e, or a root of 0) there is no derivative to have. In evaluation
F is a line, and the quotient exact but for rounding. The self-tests hold it against closed forms in rational
arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gmpy2
import numpy as np

from bnconform.spec.behaviour import Behaviour
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact, floats, require_precision
from bnconform.spec.oracle.passes import backward, forward
from bnconform.spec.oracle.record import Backward, Batch, Forward, State

STEP_BITS = 100
"""By how many bits the step h is smaller than the distance over which the function is analytic."""


@dataclass(frozen=True)
class Tangent:
    """A forward pass, and how fast its output changes as x moves along `tangent`: `tangent_y`, (N, C, *S)."""

    forward: Forward
    tangent: Exact
    tangent_y: Exact


@dataclass(frozen=True)
class SecondTangent:
    """A forward pass, and how fast its tangent along `tangent` changes as x moves along `second`: (N, C, *S)."""

    forward: Forward
    tangent: Exact
    second: Exact
    second_y: Exact


@dataclass(frozen=True)
class Hessian:
    """A backward pass, and how fast its gradients change as x moves along `vector`: (N, C, *S), (C,) and (C,).

    hvp_weight and hvp_bias are None where there is no parameter.
    """

    backward: Backward
    vector: Exact
    hvp_x: Exact
    hvp_weight: Exact | None
    hvp_bias: Exact | None


@dataclass(frozen=True)
class ThirdDerivative:
    """A backward pass, and how fast hvp_x along `vector` changes as x moves along `second`: third_x, (N, C, *S)."""

    backward: Backward
    vector: Exact
    second: Exact
    third_x: Exact


def step(record: Forward, direction: Exact) -> Exact:
    """The step h of each channel, (1, C, 1, ...): a power of two, 2**-STEP_BITS of sqrt(variance + e) over max|t|.

    Where statistics are taken over channels, too, all have the smallest. A channel of which there is nothing to
    differentiate has a step of 1.
    """
    axes = (0, *range(2, direction.ndim))
    factor = np.abs(floats(record.inverse_std))
    factor = factor.max(axis=tuple(axis for axis in range(factor.ndim) if axis != 1), keepdims=True, initial=0.0)
    size = np.abs(floats(direction)).max(axis=axes, keepdims=True, initial=0.0)
    mixed = record.moments is not None and 1 in record.moments.axes
    if mixed or factor.shape[1] != size.shape[1]:
        factor, size = np.full_like(size, factor.max(initial=0.0)), np.full_like(size, size.max(initial=0.0))
    told = (size > 0) & (size < np.inf) & (factor > 0) & (factor < np.inf)
    exponent = np.where(told, np.floor(-np.log2(np.where(told, factor, 1)) - np.log2(np.where(told, size, 1))), 0)
    steps = [gmpy2.exp2(int(value) - STEP_BITS) if there else gmpy2.mpfr(1) for value, there in zip(
        exponent.ravel(), told.ravel(), strict=True
    )]  # fmt: skip
    return np.array(steps, dtype=object).reshape(size.shape)


def jvp(
    config: Config, behaviour: Behaviour, state: State, x: Exact | Batch, tangent: Exact, *, training: bool
) -> Tangent:
    """One forward pass of a layer in `state`, with the derivative of its output along `tangent`.

    Args:
        x, tangent: (N, C, *S). Weight, bias and the state before the pass are held fixed.

    Raises:
        PrecisionError: outside of `exact.arithmetic()`, as `hvp` does.
    """
    require_precision()
    record = forward(config, behaviour, state, x, training=training)
    h = step(record, tangent)
    above, below = (
        forward(config, behaviour, state, record.x + sign * h * tangent, training=training).y for sign in (1, -1)
    )
    return Tangent(record, tangent, np.asarray((above - below) / (2 * h), dtype=object))


def _find_mixed_difference(function: Callable[[Exact], Exact], x: Exact, one: Exact, other: Exact) -> Exact:
    """The mixed second difference of a function: the sum over both signs of a b F(x + a one + b other)."""
    terms = [a * b * function(x + a * one + b * other) for a in (1, -1) for b in (1, -1)]
    return np.asarray(sum(terms[1:], start=terms[0]), dtype=object)


def jvp_jvp(
    config: Config,
    behaviour: Behaviour,
    state: State,
    x: Exact | Batch,
    tangent: Exact,
    second: Exact,
    *,
    training: bool,
) -> SecondTangent:
    """One forward pass, with the mixed second derivative of its output along two tangents.

    With h and k the steps of the two it is the sum over both signs of F(x + a h t + b k u) a b / (4 h k). Truncation is
    that of the module's docstring for each direction. Rounding is k n 2**-320 over h k, which is at least 2**-202 of
    R**2, that is k n 2**-118 of the sizes that the derivative is the sum of: float64's bound is 2**-53 of those.
    """
    require_precision()
    record = forward(config, behaviour, state, x, training=training)
    from_batch = record.mean_from_batch or record.variance_from_batch or record.reads_back
    if record.moments is None or not from_batch:  # y is a line, of which the quotient would leave roundings
        return SecondTangent(record, tangent, second, np.asarray(0 * record.y, dtype=object))
    h, k = step(record, tangent), step(record, second)

    def output(x: Exact) -> Exact:
        return forward(config, behaviour, state, x, training=training).y

    value = _find_mixed_difference(output, record.x, h * tangent, k * second) / (4 * h * k)
    return SecondTangent(record, tangent, second, value)


def hvp(
    config: Config,
    behaviour: Behaviour,
    state: State,
    x: Exact | Batch,
    grad_output: Exact,
    vector: Exact,
    *,
    training: bool,
) -> Hessian:
    """One backward pass of a layer in `state`, with the derivative of its gradients along `vector`.

    With L = sum(y * grad_output) these are the rows for x, weight and bias of the Hessian of L, times the vector in x;
    at a point whose gradient is not the derivative of L, the derivative of that gradient.
    """
    require_precision()
    record = backward(config, behaviour, state, x, grad_output, training=training)
    h = step(record.flowing, vector)
    above, below = (
        backward(config, behaviour, state, record.forward.x + sign * h * vector, grad_output, training=training)
        for sign in (1, -1)
    )

    def quotient(name: str) -> Exact | None:
        high, low = getattr(above, name), getattr(below, name)
        divisor = 2 * h if name == "grad_x" else 2 * h.reshape(-1)
        return None if high is None else np.asarray((high - low) / divisor, dtype=object)

    by_x = quotient("grad_x")
    assert by_x is not None
    return Hessian(record, vector, by_x, quotient("grad_weight"), quotient("grad_bias"))


def third(
    config: Config,
    behaviour: Behaviour,
    state: State,
    x: Exact | Batch,
    grad_output: Exact,
    vector: Exact,
    second: Exact,
    *,
    training: bool,
) -> ThirdDerivative:
    """One backward pass of a layer in `state`, with the mixed second derivative of grad_x along two vectors.

    With L = sum(y * grad_output) it is the third derivative of L for x, applied to both vectors; the quotient, and what
    it errs by, are those of `jvp_jvp`.
    """
    require_precision()
    record = backward(config, behaviour, state, x, grad_output, training=training)
    h, k = step(record.flowing, vector), step(record.flowing, second)

    def gradient(x: Exact) -> Exact:
        return backward(config, behaviour, state, x, grad_output, training=training).grad_x

    value = _find_mixed_difference(gradient, record.forward.x, h * vector, k * second) / (4 * h * k)
    return ThirdDerivative(record, vector, second, value)
