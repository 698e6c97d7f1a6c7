"""How far a right implementation may lie from the oracle: the statistics and the forward pass.

Every bound is derived, element by element, from the exact record of the computation. The model is the standard one
(Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., section 2.2): fl(a op b) = (a op b)(1 + d) + h
with |d| <= u, the unit roundoff of the arithmetic, and |h| <= the format's underflow; g(k) = k u / (1 - k u) bounds
the product of k such factors (lemma 3.1). Bounds of order u are stated; those of order u**2 are kept wherever two
errors multiply. A bound that would need k u < 1 and does not have it is infinite, never guessed. Which arithmetic
and which algorithms are admitted is said by an `ErrorModel`.

Infinite bounds meet zeros, and `round_error` makes what is not a number infinite: all of this is to be called within
`exact.arithmetic()`, where NumPy warns of nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bnconform.spec import behaviour as b
from bnconform.spec.behaviour import Behaviour
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import ErrorModel, error_model_of
from bnconform.spec.exact import Exact, Floats, exact, floats, is_finite, sqrt
from bnconform.spec.formats import Format
from bnconform.spec.oracle.formulas import inverse_deviation
from bnconform.spec.oracle.record import Forward, Moments, State
from bnconform.spec.oracle.running import batch_weight, blend, counts, is_debiased, memory_of

__all__ = [
    "ErrorModel",
    "ForwardErrors",
    "bessel",
    "enclosure",
    "error_model_of",
    "keep_as_inverse",
    "mean_error",
    "round_error",
    "running_errors",
    "spread",
    "square_error",
    "variance_error",
]

FOLD = 5
"""Roundings allowed on the operands of scale * x + shift, where x - mean is never formed and nothing cancels early:
storing the weight, forming scale and mean * scale, the product scale * x, taking mean * scale from the bias; the last
addition is the rounding to the output's format."""

SHIFT = 3
"""Roundings allowed on the bias: storing it, taking mean * scale from it, the last addition in the arithmetic."""

SCALED = 3
"""Roundings of a mean over all values that is scaled by N/n to be one over those that a mask selects."""

FACTOR = 5
"""Roundings allowed on 1/sqrt(var + eps): storing eps and the addition, halved by the root, and a reciprocal square
root good to 2 ulp, that is 4 u."""


def round_error(value: Floats, error: Floats, target: Format) -> Floats:
    """The bound after one rounding to the target format: error + u (|value| + error) + underflow.

    Infinite where nothing is known: an infinite error times zero, or a value that is not a number.
    """
    bound = error + target.unit_roundoff * (np.abs(value) + error) + target.underflow
    return np.asarray(np.where(np.isnan(bound), np.inf, bound))


def mean_error(batch: Moments, model: ErrorModel) -> Floats:
    """The bound on the batch mean: g(n - 1 + 3 log2 n) mean|x|, and n + 2 underflows.

    Summation in any order errs by at most g(n - 1) sum|x| (Higham, section 4.2), the division by two roundings more
    (it may be a product with a rounded 1/n). The updating form m = m_a + (m_b - m_a) n_b/n, which merges a chunk of
    n_b values into one of n_a, makes an error of u |m| + 3 u |m_b - m_a| n_b/n (with n_b = 1 the step of Welford's
    algorithm). Counted in roundings of one x_i: 1 for each merge that it goes through and, its own side having s values
    and the other r, at most 3 min(1, r/s) <= 3 log2((s + r)/s), whose sum telescopes to 3 log2 n. There are at
    most n - 1 merges. As n + 1 <= n - 1 + 3 log2 n from n = 2 on, this covers plain sums, and sums of chunks that
    are merged. A single value has no error; that which a mask leaves has SCALED roundings.

    With a mask n is the number of values that are counted, of each channel its own: those that are not enter sums as
    zeros, exactly, and a product with 0 or 1 is exact, too. A mean over all N that is scaled by N/n, a quotient of its
    own, has SCALED roundings beside those of the sum, which n - 1 + 3 log2 n has room for from n = 2 on.
    """
    n = batch.count
    if batch.counted is None and n == 1:
        return np.asarray(floats(batch.mean_magnitude) * 0 + model.compute.underflow)
    roundings = model.terms(n) - 1 + 3 * _logarithm(n)
    if batch.counted is not None:
        roundings = np.maximum(roundings, SCALED)
    return np.asarray(model.gamma(roundings) * floats(batch.mean_magnitude) + (n + 2) * model.compute.underflow)


def _logarithm(n: Any) -> Any:
    """log2 n, of a number or of an array; 0 of 0."""
    return math.log2(n) if isinstance(n, int) else np.log2(np.maximum(n, 1))


def bessel(n: Any) -> Any:
    """N / (n - 1) of a number or, where a mask counts, of an array; 1 where n is not above 1."""
    if not isinstance(n, np.ndarray):
        return n / (n - 1) if n > 1 else 1.0
    return np.where(n > 1, n / np.maximum(n - 1, 1), 1.0)


def variance_error(batch: Moments, model: ErrorModel, from_mean: Floats | None = None) -> Floats:
    """The bound on the biased batch variance v = q/n, with M2 = mean(x**2) and dm the bound on the mean.

    Two-pass (Chan, Golub and LeVeque 1983, table 1): each (x - m)**2 carries three roundings, the sum n - 1, the
    division two, and the mean's error enters as its square because sum(x - m) = 0: g(n + 4)(v + dm**2) + dm**2.

    Updating, a chunk of a values merged with one of b: q = q_a + q_b + d**2 a b/n, d = m_b - m_a (b = 1: Welford's
    (x_k - m_(k-1))(x_k - m_k)). The roundings of the terms themselves make g(n + 5) v. The means err by at most
    c(a) u mean_a|x| with c(a) = a - 1 + 3 log2 a <= 2.26 a and c(1) = 0 (`mean_error`), and mean_a|x| <=
    sqrt(Q_a/a) with Q_a the chunk's sum of x**2. By Cauchy and Schwarz over all merges, as sum d**2 a b/n <= q, the
    means' errors change q by at most 2 u sqrt(q T Q), with Q = n M2 and T Q a bound on the sum over all merges of
    (ab/n)(c(a) sqrt(Q_a/a) + c(b) sqrt(Q_b/b))**2: one merge adds at most Q (b c(a)**2 + a c(b)**2)/n <=
    2.26**2 a b Q, and along any path of merges up to n values sum a b <= n**2/2. Hence UPDATING n u sqrt(v M2),
    UPDATING = sqrt(2) 2.26, the first power of the condition number sqrt(M2/v), and the products of two errors,
    (UPDATING n u)**2 M2/4. `blocked`: chunks of sqrt(n) values, merged in a tree of log2(n)/2 levels whose means
    err by c <= sqrt(n) + 4 log2 n, each level adding c**2 to T.

    These are the `stable` algorithms. One-pass, mean(x**2) - m**2: g(n + 2) M2 for the first, 2|m| dm + dm**2 + u m**2
    for the second, u v for the difference, with m**2 + v = M2: the second power of the condition number.

    Underflow: of the n products and sums, of the division, and of the mean's terms times their cofactor.

    Args:
        from_mean: the bound on the mean, where it is known.
    """
    n = batch.count
    variance, square = floats(batch.squares) / np.maximum(n, 1), floats(batch.mean_square)
    from_mean = mean_error(batch, model) if from_mean is None else from_mean
    merging = np.where(n > 1, model.gamma(model.updating(n)), 0.0)
    error = model.gamma(model.terms(n) + 5) * (variance + from_mean**2) + from_mean**2
    error = error + merging * np.sqrt(variance) * np.sqrt(square) + merging**2 / 4 * square
    cofactor = np.sqrt(variance)
    if not model.stable:
        cofactor = np.sqrt(square)
        product = 2 * np.abs(floats(batch.mean)) * from_mean + from_mean**2
        error = np.maximum(error, (1 + 4 * model.u) * (model.gamma(model.terms(n) + 3) * square + product))
    return np.asarray(error + (4 + 2 * (n + 2) * cofactor) * model.compute.underflow)


def square_error(batch: Moments, model: ErrorModel) -> Floats:
    """The bound on the mean of x**2, for the points of the space that use it: g(n + 3) M2."""
    error = model.gamma(model.terms(batch.count) + 3) * floats(batch.mean_square)
    return np.asarray(error + 4 * model.compute.underflow)


def enclosure(function: Callable[[Exact], Exact], value: Exact, error: Floats) -> Floats:
    """The largest change of a monotone function of a variance when it moves by at most `error`, computed exactly.

    The variance stays at or above 0: a negative one is a fault of its own (an implementation clips it).
    """
    finite = np.isfinite(error) & is_finite(value)
    width = exact(np.where(finite, error, 0.0))
    value = np.where(finite, value, exact(1.0))
    centre = function(value)
    below = function(np.where(value > width, value - width, value * 0))
    above = function(value + width)
    change = np.maximum(np.abs(floats(below - centre)), np.abs(floats(above - centre)))
    return np.asarray(np.where(finite & ~np.isnan(change), change, np.inf))


@dataclass(frozen=True)
class ForwardErrors:
    """Bounds on the parts of one forward pass, broadcastable against x; everything else is built from them."""

    record: Forward
    model: ErrorModel

    @cached_property
    def batch_mean(self) -> Floats:
        """On the mean of the batch, which is not empty."""
        assert self.record.moments is not None
        return mean_error(self.record.moments, self.model)

    @cached_property
    def batch_variance(self) -> Floats:
        """On the biased variance of the batch, which is not empty."""
        assert self.record.moments is not None
        return variance_error(self.record.moments, self.model, self.batch_mean)

    def _error_of_memory(self, value: Exact, which: int) -> Floats:
        """On a remembered statistic: exact but for a rounding to the arithmetic's format where that is narrower."""
        record, model = self.record, self.model
        error = np.abs(floats(value)) * (model.u if model.u > model.statistics.unit_roundoff else 0.0)
        if record.reads_back:
            moved = self.running[which]
            error = error + moved.reshape((1, -1) + (1,) * (record.x.ndim - 2))
        return np.asarray(error)

    @cached_property
    def running(self) -> tuple[Floats, Floats]:
        """On the running statistics after the pass, see `running_errors`."""
        record = self.record
        return running_errors(record.config, record.behaviour, record.before, record, self.model, self)

    @cached_property
    def factor(self) -> Floats:
        """The size of f(variance)."""
        return np.abs(floats(self.record.inverse_std))

    @cached_property
    def mean(self) -> Floats:
        """On the mean that normalises: `mean_error`, or that of a remembered one."""
        record = self.record
        if record.mean_from_batch and record.moments is not None:
            return self.batch_mean
        return self._error_of_memory(record.mean, 0)

    @cached_property
    def variance(self) -> Floats:
        """On the variance that normalises: `variance_error` times its factor over q/n with two roundings more."""
        record, model = self.record, self.model
        batch = record.moments
        if not (record.variance_from_batch and batch is not None):
            return self._error_of_memory(record.variance, 1)
        kind = record.behaviour.normalizing_variance
        if kind is b.NormalizingVariance.UNCENTRED:
            return square_error(batch, model)
        scale = bessel(batch.count) if kind is b.NormalizingVariance.UNBIASED else 1.0
        return np.asarray(scale * self.batch_variance + 2 * model.u * np.abs(floats(record.variance)))

    @cached_property
    def settled(self) -> Floats:
        """On var + eps: epsilon is stored in the arithmetic's format, where it may underflow."""
        return np.asarray(self.variance + self.model.compute.underflow)

    @cached_property
    def inverse_std(self) -> Floats:
        """On f(variance): its exact change over the variance's error, and FACTOR roundings."""
        record = self.record
        change = enclosure(lambda v: inverse_deviation(v, record.epsilon, record.form), record.variance, self.settled)
        return np.asarray(change + FACTOR * self.model.u * self.factor)

    @cached_property
    def size(self) -> Floats:
        """The size |x| + |m| of the operands where z is formed without x - m; |x - m| where that is excluded."""
        if self.model.stable:
            return np.abs(self.centred)
        return np.asarray(np.abs(self.x) + np.abs(floats(self.record.mean)))

    @cached_property
    def operands(self) -> Floats:
        """The size of the operands of z: f times `size`."""
        return np.asarray(self.factor * self.size)

    @cached_property
    def x(self) -> Floats:
        """The input as float64."""
        return self.record.batch.floats

    @cached_property
    def centred(self) -> Floats:
        """The deviations x - m."""
        return floats(self.record.centred)

    @cached_property
    def normalized(self) -> Floats:
        """On z = (x - m) f: f dm + |x - m| df + dm df, FOLD roundings of the operands, an underflow of each factor."""
        factor = self.factor
        carried = factor * self.mean + np.abs(self.centred) * self.inverse_std + self.mean * self.inverse_std
        underflow = (factor + self.size + 4) * self.model.compute.underflow
        return np.asarray(carried + self.model.gamma(FOLD) * self.operands + underflow)

    @cached_property
    def value(self) -> Floats:
        """The output as float64."""
        return floats(self.record.y)

    @cached_property
    def output(self) -> Floats:
        """On y = w z + b: |w| times that of z, SHIFT roundings of b, and one rounding to the output's format.

        The roundings of w z are covered by FOLD, which counts all those of scale * x + shift. A product with w that
        underflows, w itself or scale = w f among them, costs an underflow times the other factor.
        """
        record, model = self.record, self.model
        error = np.abs(floats(record.scale)) * self.normalized + model.gamma(SHIFT) * np.abs(floats(record.shift))
        error = error + (self.operands + self.size + 3) * model.compute.underflow
        bound = round_error(self.value, np.broadcast_to(error, self.value.shape), model.output)
        # What stands where a mask hides a value, 0 or x, is not computed.
        return bound if record.hidden is None else np.where(record.hidden, 0.0, bound)


def keep_as_inverse(value: Floats, epsilon: float, model: ErrorModel) -> Floats:
    """What a running variance rv errs by where it is kept as i = 1/sqrt(rv + eps) and shown as 1/i**2 - eps.

    Forming i takes an addition under the root, a root and a division, 2.5 u of i; showing it doubles that and adds a
    square, a division and a subtraction: at most 8 u (rv + eps).
    """
    bound = 8 * model.statistics.unit_roundoff * (np.abs(value) + epsilon)
    return np.asarray(np.where(np.isnan(bound), np.inf, bound))


def running_errors(
    config: Config,
    behaviour: Behaviour,
    before: State,
    record: Forward,
    model: ErrorModel,
    known: ForwardErrors | None = None,
    inherited: tuple[Floats, Floats] | None = None,
) -> tuple[Floats, Floats]:
    """The bounds (C,) on running mean and running variance after one update from the state `before`, known exactly.

    new = (1 - a) old + a batch. The batch's value errs as `mean_error`, or as `variance_error` times the estimator's
    factor with two roundings more; `_blending` adds the update's own, and one rounding to the statistics' format is
    the last. With weight 0 nothing changes. A zero-debiased average shows a hidden one over d = 1 - (1 - a)**k: the
    weights' errors make k u in d, so that the hidden average, d and their quotient err by (k + 5) u of all operands
    over d.

    Args:
        known: the bounds on the batch's statistics where they are known, which saves computing them again.
        inherited: the bounds on running mean and running variance of `before`, where an update has made that state,
            too: the weight of the old value times them is added, and its roundings are those of one so much larger.
    """
    after = record.state
    old_errors = (np.zeros(()), np.zeros(())) if inherited is None else inherited
    assert after.running_mean is not None and after.running_var is not None
    assert before.running_mean is not None and before.running_var is not None
    if record.moments is None or after.updates == before.updates:
        shape = after.running_mean.shape
        return np.zeros(shape) + old_errors[0], np.zeros(shape) + old_errors[1]
    batch = record.moments
    mean, variance = memory_of(config, behaviour, record.x, batch)
    weight = float(floats(batch_weight(config, behaviour, before.count)))
    errors = ForwardErrors(record, model) if known is None else known
    mean_bound = _error_of_remembered_mean(behaviour, errors, mean)
    variance_bound = _error_of_remembered_variance(behaviour, errors, variance)
    bounds = []
    kept = abs(float(floats(blend(config, behaviour, before.count)[0])))
    for old, new, value, error, old_error in (
        (before.running_mean, after.running_mean, mean, mean_bound, old_errors[0]),
        (before.running_var, after.running_var, variance, variance_bound, old_errors[1]),
    ):
        size_old, size_value, size_new = (np.abs(floats(v)) for v in (old, value, new))
        size_old = size_old + old_error
        if is_debiased(config, behaviour) and weight > 0:
            divisor = 1 - (1 - weight) ** (before.count + 1)
            roundings = model.gamma(before.count + 6) * (size_old + size_value + size_new)
            carried = (weight * error + roundings + 4 * model.compute.underflow) / divisor
        else:
            carried = weight * error + _blending(weight, size_old, size_value, model)
            if behaviour.training_update is b.TrainingUpdate.TWICE:
                # Between the two updates the value lies between the old one and the batch's.
                between = np.maximum(size_old, size_value)
                first = round_error(between, carried, model.statistics)
                carried = (1 - weight) * first + weight * error + _blending(weight, between, size_value, model)
        carried = carried + (kept * old_error if kept else 0.0)
        if weight == 0 and model.u <= model.statistics.unit_roundoff:
            bounds.append(np.asarray(np.where(np.isnan(carried), np.inf, carried)))
        else:
            bounds.append(round_error(size_new, carried, model.statistics))
    # Where a variance is kept as an inverse deviation, it is that which is stored and shown.
    found = bounds[0], np.asarray(bounds[1] + keep_as_inverse(floats(after.running_var), config.eps, model))
    nothing = counts(batch, record.x) == 0
    if nothing.any() and behaviour.nothing_selected is b.NothingSelected.UNCHANGED:
        return np.where(nothing, 0.0, found[0]), np.where(nothing, 0.0, found[1])
    return found


def _blending(weight: float, old: Floats, value: Floats, model: ErrorModel) -> Floats:
    """The roundings of one update, but for the last, which is that to the statistics' format.

    (1 - a) old + a batch: the weights err by u each (some implementations are given 1 - a and subtract it from 1),
    and the products are rounded: (2 - a) u |old| + (1 + a) u |batch|. old + a (batch - old): the difference, the
    weight and the product: (1 + 2 a) u (|old| + |batch|). With a = 1 the weights are exact and the difference is left.
    With a = 0 only an arithmetic narrower than the statistics changes the old value. An arithmetic other than the
    statistics' rounds the sum as well.
    """
    if weight == 0:
        narrower = model.u if model.u > model.statistics.unit_roundoff else 0.0
        return np.asarray(narrower * old + model.compute.underflow)
    if weight == 1:
        by_old = by_value = 1.0
    else:
        by_old, by_value = max(2 - weight, 1 + 2 * weight), 1 + 2 * weight
    if model.compute != model.statistics:
        by_old, by_value = by_old + 1, by_value + 1
    return np.asarray(model.gamma(by_old) * old + model.gamma(by_value) * value + 4 * model.compute.underflow)


def _error_of_remembered_mean(behaviour: Behaviour, errors: ForwardErrors, mean: Exact) -> Floats:
    """On what the running mean remembers of the batch."""
    record, model = errors.record, errors.model
    batch = record.moments
    assert batch is not None
    scaled = behaviour.running_mean is b.RunningMean.BESSEL_SCALED and np.max(batch.unbiased_count) > 1
    scale = bessel(batch.unbiased_count) if scaled else 1.0
    error = spread(errors.batch_mean * scale, floats(batch.mean_magnitude) * scale, record, model)
    return np.asarray(error + model.gamma(3) * np.abs(floats(mean))) if scaled else error


def _error_of_remembered_variance(behaviour: Behaviour, errors: ForwardErrors, variance: Exact) -> Floats:
    """On what the running variance remembers of the batch; the factor and epsilon cost two roundings."""
    record, model = errors.record, errors.model
    batch = record.moments
    assert batch is not None
    kind = behaviour.running_variance
    if kind is b.RunningVariance.UNCENTRED:
        return spread(square_error(batch, model), floats(batch.mean_square), record, model)
    unbiased = kind in (b.RunningVariance.UNBIASED, b.RunningVariance.UNBIASED_PLUS_EPS)
    scale = bessel(batch.unbiased_count) if unbiased else 1.0
    size = floats(batch.squares) / np.maximum(batch.count, 1)
    error = spread(errors.batch_variance * scale, size * scale, record, model)
    if kind is b.RunningVariance.STANDARD_DEVIATION:
        error = enclosure(sqrt, variance * variance, error)
    elif kind is b.RunningVariance.SAMPLES:
        error = error * record.x.shape[0] / max(record.x.shape[0] - 1, 1)
    return np.asarray(error + 2 * model.u * np.abs(floats(variance)) + model.compute.underflow)


def spread(error: Floats, size: Floats, record: Forward, model: ErrorModel) -> Floats:
    """A bound of a statistic's shape as one value a channel.

    Where a channel has several statistics the oracle averages k of them: the largest bound, and a sum's roundings of
    the largest of their sizes.
    """
    shape = (1, record.x.shape[1]) + (1,) * (record.x.ndim - 2)
    spread = np.broadcast_to(error, np.broadcast_shapes(error.shape, shape))
    axes = tuple(axis for axis in range(spread.ndim) if axis != 1)
    averaged = spread.size // record.x.shape[1]
    bound = spread.max(axis=axes)
    if averaged > 1:
        bound = bound + model.gamma(averaged + 1) * np.broadcast_to(size, spread.shape).max(axis=axes)
    return np.asarray(bound)
