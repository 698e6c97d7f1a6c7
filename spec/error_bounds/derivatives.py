"""How far a right implementation may lie from the oracle: forward-mode derivatives, and products with the Hessian.

Same model and same allowances as `forward` and `gradients`. t is the direction of x, g is grad_output, G = w g,
c = x - m, f = f(v); f' and f'' are derivatives for v, all other primes derivatives along t:

    m' = mean(t)    c' = t - m'    v' = (2/n) sum(c c')    y' = w (f c' + c f'(v) v')
    S = sum(G c)    grad_c = f G + (2/n) f'(v) S c         grad_x = grad_c - mean(grad_c)
    grad_c' = f'(v) v' G + (2/n) (f'(v) sum(G c') c + f''(v) v' S c + f'(v) S c')
    grad_weight' = sum(g (f c' + c f'(v) v'))              grad_bias' = 0

Automatic differentiation in either mode and order, and closed forms, evaluate these in many groupings, with terms
that cancel in exact arithmetic, such as the path of the mean through the variance. What they have in common is that
each computes a sum of products of x, m, t, g, w, f, f', f'' and 1/n. So the bounds follow one argument:

* Let E be the same sum with every product replaced by its size and no cancellation relied upon: |t| + mean|t| for c',
  |G| + mean|G| for G, |x| + |m| for c (|c| where `stable` excludes folded forms), a final mean added instead of
  subtracted, and means taken wherever some grouping takes them. A product that some grouping has, and another has not,
  is in E all the same; E is then larger than need be, never smaller.
* What is computed with errors is m, by `forward.mean_error`, f, f' and f'', each by its exact change over the error of
  v and its own roundings. A product of factors that err by da, db, ... changes by at most (|a| + da)(|b| + db)... -
  |a||b|... (`gradients.product_of`), which is summed over E.
* Each product passes through at most k roundings, so that the sum errs by g(k) times E, errors included (Higham, lemma
  3.1 and section 4.2).
* Each mean, sum and product may underflow once, which enters as the error of a factor in what follows.

k for y' is 2 n + TANGENT: t's mean and the sum in v' are n additions each. k for the Hessian is 5 n + SECOND: the means
of t, of g and of grad_c, and the sums in v' and in S. Where the batch does not normalise, y' = w f t has no sum, grad_x
does not depend on x and its derivative is exactly 0, as that for the bias is everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bnconform.spec import behaviour as b
from bnconform.spec.error_bounds.error_model import ErrorModel
from bnconform.spec.error_bounds.forward import FACTOR, ForwardErrors, enclosure, mean_error, round_error
from bnconform.spec.error_bounds.gradients import Erring, estimator_error, product_of, slope_error_of, weight_error
from bnconform.spec.exact import Exact, Floats, exact, floats
from bnconform.spec.oracle.derivatives import Hessian, SecondTangent, Tangent, ThirdDerivative
from bnconform.spec.oracle.formulas import (
    inverse_deviation_curvature,
    inverse_deviation_slope,
    inverse_deviation_third,
)
from bnconform.spec.oracle.read_back import channel_axes, mean_slope, weights
from bnconform.spec.oracle.record import Forward

MOVED = 6
"""Roundings of a running statistic that the batch has moved: its weight and factor, two each, and their products."""

TANGENT = 19 + MOVED
"""Roundings of one product in y' outside the sums: storing w and w f (2), t - mean (1), two divisions by n (4), x - m
twice or the operands of a folded form (4), c c' (1), 2/n (2), f' v' c w (3), the last two additions (2)."""

SECOND = 66 + MOVED
"""Roundings of one product in grad_x' outside the sums: storing w, w g and w f (3), t - mean and g - mean (2), three
divisions by n (6), x - m three times or folded (6), the products under the two sums (2), 2/n three times (6), the
product of five factors (4), the last mean's subtraction (1), the sum of four terms (3) and PRODUCT = 7 as in the
gradient itself; accumulating adjoints of a value that is used up to five times, at each of x, c, v, f, m and g (26)."""


THIRD = 155 + MOVED
"""Roundings of one product in third_x outside the sums: storing w, w g and w f (3), t, u and g less their means (3),
four divisions by n (8), x - m four times or folded (8), the products under the three sums (3), 2/n four times (8), the
product of six factors (5), the last mean's subtraction (1), the sum of twelve terms (11) and PRODUCT = 7; accumulating
adjoints of a value that is used up to fifteen times, at each of x, c, v, f, m, g and t (98)."""


def plus(*terms: Erring) -> Erring:
    """The sum of the sizes, and of the errors."""
    return np.asarray(sum(size for size, _ in terms)), np.asarray(sum(error for _, error in terms))


@dataclass(frozen=True)
class _Sizes:
    """The parts of E for one pass and direction, each with its error, broadcastable against x.

    Attributes:
        forward: the pass with the statistics that the derivative flows through. direction: t.
    """

    forward: Forward
    errors: ForwardErrors
    direction: Exact

    @property
    def model(self) -> ErrorModel:
        return self.errors.model

    @property
    def flows(self) -> bool:
        """Whether a statistic of the batch, or one that it has moved, normalises."""
        forward = self.forward
        from_batch = forward.mean_from_batch or forward.variance_from_batch or forward.reads_back
        return forward.moments is not None and from_batch

    def product(self, *factors: Erring) -> Erring:
        """The product, which may underflow."""
        size, error = product_of(*factors)
        return size, np.asarray(error + self.model.compute.underflow)

    def sum(self, term: Erring, axes: tuple[int, ...] | None = None) -> Erring:
        """The sum over what shares a statistic, or over `axes`."""
        moments = self.forward.moments
        assert moments is not None
        over = moments.axes if axes is None else axes
        return tuple(np.broadcast_to(part, self.forward.x.shape).sum(axis=over, keepdims=True) for part in term)

    def mean(self, term: Erring) -> Erring:
        """The mean over what shares a statistic, times what a moved mean has of it where that is more than 1."""
        moments = self.forward.moments
        assert moments is not None
        size, error = self.sum(term)
        share = (1.0, 0.0) if not self.forward.reads_back else self._moved[0]
        most = np.maximum(share[0], 1.0)
        return self.product((size / moments.count, error / moments.count), (most, np.asarray(share[1])))

    def spread(self, term: Erring) -> Erring:
        """A term, and its mean where the batch's mean plays a part."""
        return plus(term, self.mean(term)) if self.flows else term

    @cached_property
    def _moved(self) -> tuple[Erring, Erring]:
        """What a moved running mean has of the batch's, and a moved running variance of its biased variance."""
        forward, model = self.forward, self.model
        moments = forward.moments
        assert moments is not None
        shares = [(np.abs(floats(share)), weight_error(forward, share, model)) for share in weights(forward)]
        slope = np.abs(floats(mean_slope(forward, moments))) * moments.count
        return product_of(shares[0], (slope, np.zeros(()))), product_of(shares[1], estimator_error(forward, model))

    @cached_property
    def centred(self) -> Erring:
        """|x| + |m| for c, or |c|; where the batch has moved what normalises, both means are in it."""
        forward, errors, model = self.forward, self.errors, self.model
        size, error = errors.size, errors.mean
        moments = forward.moments
        if moments is not None and forward.behaviour.normalizing_variance is b.NormalizingVariance.UNCENTRED:
            size = np.abs(errors.x) + np.abs(floats(forward.mean))
        if moments is not None and forward.reads_back:
            size = size + np.abs(errors.x) + np.abs(floats(moments.mean))
            error = error + mean_error(moments, model)
        return np.asarray(size), np.asarray(error + model.compute.underflow)

    @cached_property
    def factor(self) -> Erring:
        """F."""
        return self.errors.factor, self.errors.inverse_std

    @cached_property
    def slope(self) -> Erring:
        """f'(v)."""
        forward = self.forward
        size = np.abs(floats(inverse_deviation_slope(forward.variance, forward.epsilon, forward.form)))
        return size, slope_error_of(self.errors)

    @cached_property
    def curvature(self) -> Erring:
        """f''(v): its exact change over the variance's error, 5 FACTOR + 4 roundings, and an underflow."""
        return self._of_variance(inverse_deviation_curvature, 5 * FACTOR + 4, 3 / 4, -2.5)

    @cached_property
    def third(self) -> Erring:
        """f'''(v): its exact change over the variance's error, 7 FACTOR + 9 roundings, and an underflow."""
        return self._of_variance(inverse_deviation_third, 7 * FACTOR + 9, 15 / 8, -3.5)

    def _of_variance(
        self, derivative: Callable[[Exact, Exact, b.EpsilonForm], Exact], roundings: int, factor: float, power: float
    ) -> Erring:
        """A derivative of f, which without the root of a zero variance is factor * (v + e)**power in size."""
        forward, model = self.forward, self.model
        form, epsilon, width = forward.form, forward.epsilon, self.errors.settled

        def along(variance: Exact) -> Exact:
            return derivative(variance, epsilon, form)

        size = np.abs(floats(along(forward.variance)))
        change = enclosure(along, forward.variance, width)
        variance = floats(forward.variance)
        if form in (b.EpsilonForm.OUTSIDE, b.EpsilonForm.ABSENT):  # unbounded towards a variance of 0
            change = np.where(variance <= width, np.inf, change)
        elif form is b.EpsilonForm.MAXIMUM:  # which jumps from 0 at epsilon
            jump = factor * float(floats(exact(floats(epsilon)) ** power))
            change = np.where(np.abs(variance - floats(epsilon)) <= width, np.maximum(change, jump), change)
        return size, np.asarray(change + model.gamma(roundings) * size + model.compute.underflow)

    @cached_property
    def tangent(self) -> Erring:
        """|t| + mean|t| for c'."""
        size = np.abs(floats(self.direction))
        return self.spread((size, np.zeros(size.shape)))

    def step(self, term: Erring) -> Erring:
        """A term times 2/n, the derivative of the variance for c; or that of what a moved variance has of it."""
        forward, moments = self.forward, self.forward.moments
        assert moments is not None
        unbiased = forward.behaviour.normalizing_variance is b.NormalizingVariance.UNBIASED and moments.count > 1
        share = self._moved[1] if forward.reads_back else (np.ones(()), np.zeros(()))
        divisor = moments.count - 1 if unbiased and not forward.reads_back else moments.count
        return self.product(term, share, (np.asarray(2 / divisor), np.zeros(())))

    @cached_property
    def variance(self) -> Erring:
        """V'."""
        return self.step(self.sum(self.product(self.centred, self.tangent)))

    @cached_property
    def normalized(self) -> Erring:
        """Z' = f c' + c f'(v) v', or f t where nothing of the batch normalises."""
        along = self.product(self.factor, self.tangent)
        return plus(along, self.product(self.centred, self.slope, self.variance)) if self.flows else along

    def total(self, term: Erring, sums: int, roundings: int) -> Floats:
        """The whole error: that of the factors, and the roundings of sums of n terms and of everything else."""
        moments = self.forward.moments
        n = moments.count if moments is not None and self.flows else 1
        size, error = term
        return np.asarray(error + self.model.gamma(sums * self.model.terms(n) + roundings) * (size + error))


def tangent(record: Tangent, model: ErrorModel, known: ForwardErrors | None = None) -> Floats:
    """The bound (the shape of x) on y', 2 n + TANGENT roundings of its products.

    Args:
        known: the bounds on the parts of the forward pass where they are known, which saves computing them again.
    """
    errors = known if known is not None and known.record is record.forward else ForwardErrors(record.forward, model)
    sizes = _Sizes(record.forward, errors, record.tangent)
    scale = np.abs(floats(record.forward.scale))
    value = floats(record.tangent_y)
    error = sizes.total(sizes.product((scale, np.zeros(())), sizes.normalized), 2, TANGENT)
    return round_error(value, np.broadcast_to(error, value.shape), model.output)


def second_tangent(record: SecondTangent, model: ErrorModel, known: ForwardErrors | None = None) -> Floats:
    """The bound (the shape of x) on y'' along t and u, 4 n + SECOND roundings of its products; 0 where y is linear.

    With c' and v' along t, and c* and v* those along u, c' and c* do not depend on x, and v'* = (2/n) sum(c' c*):

        y'* = w (f'(v) v* c' + f'(v) v' c* + f''(v) v' v* c + f'(v) v'* c)

    so that it is a sum of products of the factors of grad_x', no more of them, and with a mean less: the sums of n
    terms are the means of t and of u, those in v' and v*, of which each product has at most four.
    """
    forward = record.forward
    value = floats(record.second_y)
    errors = known if known is not None and known.record is forward else ForwardErrors(forward, model)
    one, other = (_Sizes(forward, errors, direction) for direction in (record.tangent, record.second))
    if not one.flows:
        return np.zeros(value.shape)
    both = one.step(one.sum(one.product(one.tangent, other.tangent)))
    within = plus(
        one.product(one.slope, other.variance, one.tangent),
        one.product(one.slope, one.variance, other.tangent),
        one.product(one.centred, one.curvature, one.variance, other.variance),
        one.product(one.centred, one.slope, both),
    )
    scale = np.abs(floats(forward.scale))
    error = one.total(one.product((scale, np.zeros(())), within), 4, SECOND)
    return round_error(value, np.broadcast_to(error, value.shape), model.output)


def hessian_input(record: Hessian, model: ErrorModel, known: ForwardErrors | None = None) -> Floats:
    """The bound (the shape of x) on grad_x', 5 n + SECOND roundings of its products; 0 where x plays no part in grad_x.

    At a point whose gradient lacks 1/sqrt(var + eps), that of (grad_x/f)' = grad_x'/f - grad_x f'(v) v'/f**2.
    """
    backward, behaviour = record.backward, record.backward.forward.behaviour
    forward, value = backward.flowing, floats(record.hvp_x)
    errors = known if known is not None and known.record is forward else ForwardErrors(forward, model)
    sizes = _Sizes(forward, errors, record.vector)
    constant = not (backward.forward.mean_from_batch or backward.forward.variance_from_batch or forward.reads_back)
    if not sizes.flows or (constant and behaviour.evaluation_gradient is b.EvaluationGradient.ZERO):
        return np.zeros(value.shape)
    given = np.broadcast_to(np.abs(floats(backward.grad_z)), value.shape)
    upstream = sizes.spread((given, np.zeros(value.shape)))
    product_sum = sizes.sum(sizes.product(upstream, sizes.centred))
    moved_sum = sizes.sum(sizes.product(upstream, sizes.tangent))
    within = plus(
        sizes.product(upstream, sizes.slope, sizes.variance),
        sizes.step(sizes.product(sizes.slope, moved_sum, sizes.centred)),
        sizes.step(sizes.product(sizes.curvature, sizes.variance, product_sum, sizes.centred)),
        sizes.step(sizes.product(sizes.slope, product_sum, sizes.tangent)),
    )
    found = sizes.spread(within)
    if behaviour.gradient_scale is b.GradientScale.WITHOUT_STD:
        factor, factor_error = sizes.factor
        rest = np.maximum(factor - factor_error, 0)
        inverse = 1 / factor, np.where(rest > 0, factor_error / (factor * rest), np.inf)
        gradient = plus(
            sizes.product(sizes.factor, upstream), sizes.step(sizes.product(sizes.slope, product_sum, sizes.centred))
        )
        moved = sizes.product(sizes.spread(gradient), sizes.slope, sizes.variance, inverse, inverse)
        found = plus(sizes.product(found, inverse), moved)
    error = sizes.total(found, 5, SECOND)
    return round_error(value, np.broadcast_to(error, value.shape), model.gradient)


def third_input(record: ThirdDerivative, model: ErrorModel, known: ForwardErrors | None = None) -> Floats:
    """The bound (the shape of x) on third_x, 7 n + THIRD roundings of its products; 0 where x plays no part in grad_x.

    Of grad_c', along t, the derivative along u, for which * stands, with v'* = (2/n) sum(c' c*) and c'* = 0:

        grad_c'* = (f'' v* v' + f' v'*) G
                   + (2/n) (f'' v* sum(G c') c + f' sum(G c') c*
                            + (f''' v* v' + f'' v'*) S c + f'' v' (S* c + S c*) + f'' v* S c' + f' S* c')

    with S* = sum(G c*). The sums of n terms are the means of t, u, g and grad_c'*, and those in v', v* and S: seven. At
    a point whose gradient lacks 1/sqrt(var + eps) nothing is derived, and everything admitted.
    """
    backward, behaviour = record.backward, record.backward.forward.behaviour
    forward, value = backward.flowing, floats(record.third_x)
    errors = known if known is not None and known.record is forward else ForwardErrors(forward, model)
    one, other = (_Sizes(forward, errors, direction) for direction in (record.vector, record.second))
    constant = not (backward.forward.mean_from_batch or backward.forward.variance_from_batch or forward.reads_back)
    if not one.flows or (constant and behaviour.evaluation_gradient is b.EvaluationGradient.ZERO):
        return np.zeros(value.shape)
    if behaviour.gradient_scale is b.GradientScale.WITHOUT_STD:
        return np.full(value.shape, np.inf)
    given = np.broadcast_to(np.abs(floats(backward.grad_z)), value.shape)
    upstream = one.spread((given, np.zeros(value.shape)))
    product_sum = one.sum(one.product(upstream, one.centred))
    along, across = (one.sum(one.product(upstream, each.tangent)) for each in (one, other))
    both = one.step(one.sum(one.product(one.tangent, other.tangent)))
    second_of_factor = plus(one.product(one.curvature, one.variance, other.variance), one.product(one.slope, both))
    second_of_slope = plus(one.product(one.third, one.variance, other.variance), one.product(one.curvature, both))
    within = plus(
        one.product(second_of_factor, upstream),
        one.step(one.product(one.curvature, other.variance, along, one.centred)),
        one.step(one.product(one.slope, along, other.tangent)),
        one.step(one.product(second_of_slope, product_sum, one.centred)),
        one.step(one.product(one.curvature, one.variance, across, one.centred)),
        one.step(one.product(one.curvature, one.variance, product_sum, other.tangent)),
        one.step(one.product(one.curvature, other.variance, product_sum, one.tangent)),
        one.step(one.product(one.slope, across, one.tangent)),
    )
    error = one.total(one.spread(within), 7, THIRD)
    return round_error(value, np.broadcast_to(error, value.shape), model.gradient)


def hessian_weight(record: Hessian, model: ErrorModel, known: ForwardErrors | None = None) -> Floats:
    """The bound (C,) on grad_weight' = sum(g z'), 5 n + SECOND roundings of its products, which those of grad_x' cover.

    At the points of the space whose sum is over g x it is that of sum(g t), at those with a mean it is divided.
    """
    forward, value = record.backward.forward, record.hvp_weight
    assert value is not None
    behaviour, shown = forward.behaviour, floats(value)
    unused = behaviour.evaluation_affine is b.EvaluationAffine.ABSENT and not forward.training
    no_weight = behaviour.affine_form is b.AffineForm.NO_WEIGHT
    if unused or no_weight or behaviour.weight_gradient is b.WeightGradient.ZERO:
        return np.zeros(shown.shape)
    errors = known if known is not None and known.record is forward else ForwardErrors(forward, model)
    sizes = _Sizes(forward, errors, record.vector)
    given = np.abs(floats(record.backward.grad_output))
    upstream = sizes.spread((given, np.zeros(given.shape)))
    axes = channel_axes(forward.x)
    raw = behaviour.weight_gradient is b.WeightGradient.RAW_INPUT
    moving = (np.abs(floats(record.vector)), np.zeros(given.shape)) if raw else sizes.normalized
    n = forward.x.size // forward.x.shape[1]
    term = sizes.product(upstream, moving)
    size, error = (np.broadcast_to(part, forward.x.shape).sum(axis=axes) for part in term)
    if behaviour.weight_gradient is b.WeightGradient.MEAN:
        size, error = size / n, error / n
    error = error + model.gamma(5 * model.terms(n) + SECOND) * (size + error)
    return round_error(shown, error, model.statistics)


def hessian_bias(record: Hessian, model: ErrorModel, known: ForwardErrors | None = None) -> Floats:
    """The bound (C,) on grad_bias', 0: the gradient for the bias does not depend on x."""
    assert record.hvp_bias is not None
    return np.zeros(record.hvp_bias.shape)
