"""How far a right implementation may lie from the oracle: the gradients.

Same model and same allowances as `forward`. g is grad_output, G = w g, z = (x - m) f(v); the record of
`oracle.backward` gives every exact part. Automatic differentiation and the closed form evaluate the same terms in
different groupings; the bounds are sums over those terms, so they cover both.
"""

from __future__ import annotations

import numpy as np

from bnconform.spec import behaviour as b
from bnconform.spec.error_bounds.error_model import ErrorModel
from bnconform.spec.error_bounds.forward import (
    FACTOR,
    ForwardErrors,
    bessel,
    enclosure,
    mean_error,
    round_error,
    spread,
    variance_error,
)
from bnconform.spec.exact import Exact, Floats, exact, floats, sqrt, total
from bnconform.spec.oracle.formulas import along_channels, inverse_deviation_slope, per_channel
from bnconform.spec.oracle.read_back import channel_axes, estimator, mean_slope, spread_back, variance_step, weights
from bnconform.spec.oracle.record import Backward, Forward, Moments
from bnconform.spec.oracle.running import batch_weight, is_debiased

PRODUCT = 7
"""Roundings of one term w f (n g - sum(g) - z sum(g z)) / n outside its sum: storing w, n g, two subtractions, w f,
1/n and the product with it; the last product is the rounding to the output's format."""

MOVED = PRODUCT + 6
"""Roundings of one term that flows through a moved statistic; see `_through_read_back`."""


def _sum(values: Floats, axes: tuple[int, ...]) -> Floats:
    return np.asarray(values.sum(axis=axes, keepdims=True))


def _entering(batch: Moments, values: Floats) -> Floats:
    """Broadcast to the shape of x, and 0 where a mask keeps a value out of the statistics."""
    return values if batch.entering is None else np.where(batch.entering, values, 0.0)


def input_gradient(record: Backward, model: ErrorModel, known: ForwardErrors | None = None) -> Floats:
    """The bound (the shape of x) on grad_x = f G - mean(f G) + f'(v) v'_i S with S = sum(G (x - m)).

    * f G: PRODUCT roundings. mean(f G): n - 1 additions more, g(n + PRODUCT) mean|f G|. The factor's error changes both
      together, df |G - mean(G)|.
    * f'(v) v'_i S: `_through_variance`.
    * through running statistics that the batch has moved: `_through_read_back`, each term with its own error of f.
    * an underflow of w g, times f; and of every product.

    With a mask the sums of G run over everything that has an upstream gradient, the divisor n counts what is selected,
    and only that has the paths through mean and variance.

    Args:
        known: the bounds on the parts of the forward pass where they are known, which saves computing them again.
    """
    forward, behaviour = record.flowing, record.forward.behaviour
    value = floats(record.grad_x)
    batch = forward.moments
    from_batch = forward.mean_from_batch or forward.variance_from_batch
    reads_back = batch is not None and forward.reads_back
    constant = not from_batch and not reads_back
    if batch is not None and constant and behaviour.evaluation_gradient is b.EvaluationGradient.ZERO:
        return np.zeros(value.shape)
    errors = known if known is not None and known.record is forward else ForwardErrors(forward, model)
    factor, factor_error = errors.factor, errors.inverse_std
    grad_z = np.abs(floats(record.grad_z))
    # The same computed f stands in every term, so that its error meets the difference of the terms.
    balanced = grad_z if record.balanced is record.grad_z else np.abs(floats(record.balanced))
    rounding = model.gamma(PRODUCT) * grad_z
    if batch is not None and record.through_mean and not reads_back:
        mean_grad = _sum(np.broadcast_to(grad_z, value.shape), batch.axes) / np.maximum(batch.count, 1)
        rounding = rounding + _entering(batch, model.gamma(model.terms(batch.size) + PRODUCT) * mean_grad)
    error = factor_error * balanced + (factor + factor_error) * rounding
    if reads_back:
        error = error + _through_read_back(record, errors, model)
    elif batch is not None and record.through_variance:
        error = error + _through_variance(record, errors, model, grad_z)
    error = error + (factor + np.abs(floats(record.grad_output)) + 4) * model.compute.underflow
    if behaviour.gradient_scale is b.GradientScale.WITHOUT_STD:
        error = error / factor
    return round_error(value, np.broadcast_to(error, value.shape), model.gradient)


def _through_variance(record: Backward, errors: ForwardErrors, model: ErrorModel, grad_z: Floats) -> Floats:
    """On f'(v) v'_i S, the product of three factors that all err; `grad_z` is |w g|.

    * S: two roundings of x - m and w g and one of their product, n sums: g(n + 3) sum|G| |x - m|, and sum|G| dm. A
      one-pass form sum(G x) - m sum(G) has |x| + |m| in place of |x - m|.
    * f'(v): its exact change over the variance's error; three factors f of FACTOR roundings each, and two products.
    * v'_i = 2 (x_i - m)/n: (2/n)(dm + 3 u |x_i - m|); |x_i| + |m| for |x_i - m| in the one-pass form, 2 x_i/n - 2 m/n.
      Differentiating the two-pass form adds the path of the mean through the variance, -2 mean(x - m)/n, exactly
      zero but computed with an error of at most dm + g(n) mean|x - m|.
    * the products of the three, with w, and the subtraction: PRODUCT roundings.
    * an underflow of each factor, n of them in the sum.
    """
    forward = record.flowing
    batch = forward.moments
    assert batch is not None
    n, u, underflow = batch.count, model.u, model.compute.underflow
    product = np.abs(floats(record.product))
    product_error = model.gamma(model.terms(batch.size) + 3) * _sum(grad_z * errors.size, batch.axes)
    product_error = product_error + _sum(grad_z * errors.mean + (1 + errors.size) * underflow, batch.axes)
    slope, slope_error = np.abs(floats(record.slope)), slope_error_of(errors)
    step = np.abs(floats(record.variance_slope))
    kind = forward.behaviour.normalizing_variance
    divisor = np.maximum(n, 1) / (bessel(batch.count) if kind is b.NormalizingVariance.UNBIASED else 1.0)
    distance = np.abs(errors.centred if forward.centred is batch.centred else floats(batch.centred))
    residue = errors.mean + model.gamma(model.terms(n)) * _sum(distance, batch.axes) / np.maximum(n, 1)
    size = np.abs(errors.x) if kind is b.NormalizingVariance.UNCENTRED else errors.size
    step_error = _entering(batch, (2 / divisor) * (errors.mean + 3 * u * size + residue) + underflow)
    # Expanded, as the difference of two nearly equal products would lose the error in the products' own rounding.
    error = slope_error * step * product + slope * step_error * product + slope * step * product_error
    error = error + slope_error * step_error * product + slope_error * step * product_error
    error = error + slope * step_error * product_error + slope_error * step_error * product_error
    return np.asarray(error + model.gamma(PRODUCT) * slope * step * product)


Erring = tuple[Floats, Floats]
"""A factor's size and the bound on its error."""


def _through_read_back(record: Backward, errors: ForwardErrors, model: ErrorModel) -> Floats:
    """The two paths of `spec.oracle.read_back`: a f sum(G) k/n through the mean, a f'(v) S c V'_i through the variance.

    The roundings count against sum|G| and sum|G| |x - m|, those of x - m, w g and the sums as in `_through_variance`.
    MOVED = PRODUCT + 6 covers the rest of one term: what PRODUCT does, two each for a factor k or c = n/(n - 1), the
    product with a, and where a channel has several statistics the average of those; a sum over channels is counted with
    C more. The errors of the factors multiply (`product_of`):

    * a: `weight_error`; f and m, which include what the update errs by: `ForwardErrors`; f'(v): `slope_error_of`;
    * c = 1/(2 sqrt(V)) where a standard deviation is remembered: its exact change over the error of V;
    * V'_i = 2 (x_i - M)/n: (2/n)(dM + 3 u |x_i - M|) with M the batch's own mean, dM its `mean_error`; |x_i| + |M| for
      |x_i - M| in the one-pass form. Differentiating the two-pass form adds the path of M through V, -2 mean(x - M)/n,
      exactly zero but computed with an error of at most dM + g(n) mean|x - M|. V' = 2 x_i/n has no mean.
    """
    forward = record.flowing
    batch, axes, underflow = forward.moments, channel_axes(forward.x), model.compute.underflow
    assert batch is not None
    grad_z = np.broadcast_to(np.abs(floats(record.grad_z)), forward.x.shape)
    terms = model.terms(forward.x.size // forward.x.shape[1])
    if batch.mean.shape[1] != forward.x.shape[1]:
        terms += model.terms(forward.x.shape[1])
    error = np.zeros(forward.x.shape)
    shares = [(floats(weight), weight_error(forward, weight, model)) for weight in weights(forward)]
    if record.through_mean:
        total_grad = np.abs(floats(total(np.broadcast_to(record.grad_z, forward.x.shape), axes)))
        total_error = model.gamma(terms + MOVED) * _sum(grad_z, axes) + underflow
        factor = errors.factor, errors.inverse_std
        _, moved = product_of(shares[0], factor, (total_grad, total_error))
        error = error + spread_back(moved, batch, forward.x) * np.abs(floats(mean_slope(forward, batch)))
    if record.through_variance:
        slope = np.abs(floats(inverse_deviation_slope(forward.variance, forward.epsilon, forward.form)))
        product = np.abs(floats(total(record.grad_z * forward.centred, axes)))
        product_error = model.gamma(terms + MOVED) * _sum(grad_z * errors.size, axes)
        product_error = product_error + _sum(grad_z * errors.mean + (1 + errors.size) * underflow, axes)
        moved, moved_error = product_of(
            shares[1], (slope, slope_error_of(errors)), (product, product_error), estimator_error(forward, model)
        )
        moved, moved_error = spread_back(moved, batch, forward.x), spread_back(moved_error, batch, forward.x)
        step = np.abs(floats(variance_step(forward, batch)))
        _, through = product_of((moved, moved_error + model.gamma(MOVED) * moved), (step, _step_error(forward, model)))
        error = error + through
    return np.asarray(error)


def product_of(*factors: Erring) -> Erring:
    """A product of factors that all err, expanded so that nothing cancels: (a + da)(b + db) - a b."""
    size, error = factors[0]
    for other, other_error in factors[1:]:
        size, error = size * other, error * (other + other_error) + size * other_error
    return np.asarray(size), np.asarray(error)


def weight_error(forward: Forward, weight: Exact, model: ErrorModel) -> Floats:
    """On the batch's weight a in the statistics that it has moved; exactly 0 or 1 where no average is debiased.

    A weight errs by u, of 1 where it is formed as 1 - (1 - a), and one rounding is to spare; after two updates it is
    a + (1 - a) a, twice that. A debiased one is a/d, d = 1 - (1 - a)**k, which errs by the roundings counted in
    `running_errors` over d.
    """
    config, behaviour, before = forward.config, forward.behaviour, forward.before
    updates = forward.state.updates - before.updates
    if is_debiased(config, behaviour) and np.any(weight != 0):
        now = 1 - (1 - float(floats(batch_weight(config, behaviour, before.count)))) ** (before.count + 1)
        return np.asarray(model.gamma(updates * (before.count + 6)) / now)
    return np.where((weight == 0) | (weight == 1), 0.0, model.gamma(2 * updates))


def estimator_error(forward: Forward, model: ErrorModel) -> Erring:
    """The factor c and, where it is that of a root, its error; a quotient's roundings are counted elsewhere."""
    batch = forward.moments
    assert batch is not None
    size = np.abs(floats(estimator(forward, batch)))
    if forward.behaviour.running_variance is not b.RunningVariance.STANDARD_DEVIATION:
        return size, np.zeros(size.shape)
    ndim = forward.x.ndim
    variance = along_channels(per_channel(batch.squares / batch.divisor, forward.x), ndim)
    error = spread(variance_error(batch, model), floats(batch.squares) / np.maximum(batch.count, 1), forward, model)
    change = enclosure(lambda value: 1 / (2 * sqrt(value)), variance, error.reshape(variance.shape))
    return size, np.asarray(change + 4 * model.u * size)


def _step_error(forward: Forward, model: ErrorModel) -> Floats:
    """On V'_i; see `_through_read_back`."""
    batch = forward.moments
    assert batch is not None
    n, x = np.maximum(batch.count, 1), np.abs(forward.batch.floats)
    if forward.behaviour.running_variance is b.RunningVariance.UNCENTRED:
        return _entering(batch, np.asarray(6 / n * model.u * x + model.compute.underflow))
    from_mean, distance = mean_error(batch, model), np.abs(floats(batch.centred))
    residue = from_mean + model.gamma(model.terms(n)) * _sum(distance, batch.axes) / n
    size = distance if model.stable else x + np.abs(floats(batch.mean))
    return _entering(batch, np.asarray((2 / n) * (from_mean + 3 * model.u * size + residue) + model.compute.underflow))


def slope_error_of(errors: ForwardErrors) -> Floats:
    """On f'(v): its exact change over the variance's error, 3 FACTOR + 2 roundings, and an underflow."""
    forward, model = errors.record, errors.model
    slope = np.abs(floats(inverse_deviation_slope(forward.variance, forward.epsilon, forward.form)))
    change = _slope_change(forward, errors.settled)
    return np.asarray(change + model.gamma(3 * FACTOR + 2) * slope + model.compute.underflow)


def _slope_change(forward: Forward, width: Floats) -> Floats:
    """The largest change of f' when the variance moves by at most `width`.

    f' is monotone but for two forms: that with a maximum jumps from 0 to -e**(-3/2)/2 at e, and where a root of the
    variance stands alone f' is unbounded towards 0.
    """
    epsilon, form, variance = forward.epsilon, forward.form, floats(forward.variance)
    change = enclosure(lambda v: inverse_deviation_slope(v, epsilon, form), forward.variance, width)
    if form in (b.EpsilonForm.OUTSIDE, b.EpsilonForm.ABSENT):
        return np.asarray(np.where(variance <= width, np.inf, change))
    if form is b.EpsilonForm.MAXIMUM:
        threshold = float(floats(epsilon))
        jump = float(floats(exact(threshold) ** -1.5)) / 2
        return np.asarray(np.where(np.abs(variance - threshold) <= width, np.maximum(change, jump), change))
    return change


def weight_gradient(record: Backward, model: ErrorModel, known: ForwardErrors | None = None) -> Floats:
    """The bound (C,) on the sum of g z: g(n + 1) sum|g z| for the products and the sum, and sum|g| dz.

    dz, from the forward pass, holds the FOLD roundings of z's operands. Where it is formed as
    f (sum(g x) - m sum(g)) the sums run over f |g| (|x| + |m|) instead of |g z|. At the points of the space whose sum
    is over g x, or holds the bias too, the operands are those. `known`: as of `input_gradient`.
    """
    forward = record.forward
    behaviour = forward.behaviour
    assert record.grad_weight is not None
    value = floats(record.grad_weight)
    no_weight = behaviour.affine_form is b.AffineForm.NO_WEIGHT
    if _is_unused(forward) or behaviour.weight_gradient is b.WeightGradient.ZERO or no_weight:
        return np.zeros(value.shape)
    errors = known if known is not None and known.record is forward else ForwardErrors(forward, model)
    axes = (0, *range(2, forward.x.ndim))
    n = forward.x.size // forward.x.shape[1]
    grad = np.abs(floats(record.grad_output))
    roundings = model.gamma(model.terms(n) + 1)
    if behaviour.weight_gradient is b.WeightGradient.RAW_INPUT:
        error = roundings * _sum(grad * np.abs(errors.x), axes)
    else:
        error = _sum(grad * (roundings * errors.operands + errors.normalized), axes)
    error = error.reshape(-1) + (n + 1) * model.compute.underflow
    if behaviour.affine_form is b.AffineForm.SHIFT_THEN_SCALE and forward.before.bias is not None:
        size = np.abs(floats(forward.before.bias)) * _sum(grad, axes).reshape(-1)
        error = error + model.gamma(model.terms(n) + 3) * size
    if behaviour.weight_gradient is b.WeightGradient.MEAN:
        error = error / n + 2 * model.u * np.abs(value)
    return round_error(value, error, model.statistics)


def bias_gradient(record: Backward, model: ErrorModel, known: ForwardErrors | None = None) -> Floats:
    """The bound (C,) on the sum of g: g(n) sum|g| (Higham, section 4.2), n - 1 additions and one rounding to spare.

    `known` is what the other bounds on gradients take; this one needs nothing of it.
    """
    forward = record.forward
    behaviour = forward.behaviour
    assert record.grad_bias is not None
    value = floats(record.grad_bias)
    no_bias = behaviour.affine_form is b.AffineForm.NO_BIAS
    if _is_unused(forward) or no_bias or behaviour.bias_gradient is b.BiasGradient.ZERO:
        return np.zeros(value.shape)
    axes = (0, *range(2, forward.x.ndim))
    n = forward.x.size // forward.x.shape[1]
    error = model.gamma(model.terms(n)) * _sum(np.abs(floats(record.grad_output)), axes).reshape(-1)
    error = error + n * model.compute.underflow
    if behaviour.affine_form is b.AffineForm.SHIFT_THEN_SCALE and forward.before.weight is not None:
        error = error * np.abs(floats(forward.before.weight)) + model.gamma(2) * np.abs(value)
    if behaviour.bias_gradient is b.BiasGradient.MEAN:
        error = error / n + 2 * model.u * np.abs(value)
    return round_error(value, error, model.statistics)


def _is_unused(forward: Forward) -> bool:
    """Whether weight and bias play no part in the output, so that their gradients are 0."""
    absent = forward.behaviour.evaluation_affine is b.EvaluationAffine.ABSENT
    return absent and not forward.training
