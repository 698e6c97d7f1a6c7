"""The oracle: what a BatchNorm layer at any point of the behaviour space does, to 320 bits.

Written from the formulas (Ioffe and Szegedy 2015, algorithms 1 and 2 and section 3.1; PyTorch's documentation of
BatchNorm2d), and sharing no code with any implementation. Two pure functions, `forward` and `backward`, map a state
and an input to a record of everything that was computed on the way; the bounds are derived from the same record.

Shapes: x, y, grad_output, grad_x are (N, C, *S); weight, bias and running statistics are (C,). Inside a record
everything is broadcastable against x.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bnconform.spec import behaviour as b
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.config import Config
from bnconform.spec.exact import Exact, exact, require_precision, total
from bnconform.spec.oracle.formulas import (
    along_channels,
    effective_epsilon,
    inverse_deviation,
    inverse_deviation_slope,
    statistics_axes,
)
from bnconform.spec.oracle.read_back import mean_path, variance_path
from bnconform.spec.oracle.record import Backward, Batch, Forward, Moments, State
from bnconform.spec.oracle.running import batch_weight, counts, is_undefined, move_counter, update

__all__ = ["Backward", "Forward", "Moments", "State", "backward", "batch_weight", "forward", "initial_state", "replace"]


def initial_state(config: Config, behaviour: Behaviour = SPECIFIED) -> State:
    """The state of a layer that has just been built.

    Raises:
        PrecisionError: outside of `exact.arithmetic()`, as `forward` and `backward` do.
    """
    require_precision()
    size = config.num_features
    tracked = config.track_running_stats
    mean = 0.0 if behaviour.initial_running_mean is b.InitialRunningMean.ZERO else 1.0
    variance = 1.0 if behaviour.initial_running_variance is b.InitialRunningVariance.ONE else 0.0
    weight = 1.0 if behaviour.initial_weight is b.InitialWeight.ONE else 0.0
    bias = 0.0 if behaviour.initial_bias is b.InitialBias.ZERO else 1.0
    return State(
        running_mean=exact(np.full(size, mean)) if tracked else None,
        running_var=exact(np.full(size, variance)) if tracked else None,
        num_batches_tracked=0 if tracked else None,
        weight=exact(np.full(size, weight)) if config.weight else None,
        bias=exact(np.full(size, bias)) if config.bias else None,
    )


def forward(config: Config, behaviour: Behaviour, state: State, x: Exact | Batch, *, training: bool) -> Forward:
    """One forward pass of a layer in `state` at the point `behaviour`.

    Args:
        x: (N, C, *S), possibly empty; a Batch where several passes take the same input, or where there is a mask.
        training: the layer's mode.

    Raises:
        PrecisionError: outside of `exact.arithmetic()`.
    """
    require_precision()
    given = x if isinstance(x, Batch) else Batch(x)
    x, ndim = given.x, given.x.ndim
    batch = given.moments(statistics_axes(behaviour, ndim), behaviour) if x.size else None
    after, refused, unspecified = _state_after(config, behaviour, state, x, batch, training)
    mean, variance, mean_from_batch, variance_from_batch = _normalizing(
        config, behaviour, state, after, x, batch, training
    )
    last_axis = behaviour.evaluation_broadcast is b.EvaluationBroadcast.LAST_AXIS
    remembered = config.track_running_stats and not mean_from_batch and not variance_from_batch
    if last_axis and not training and remembered:
        if x.shape[-1] != x.shape[1]:
            refused = refused or "statistics of shape (C,) do not broadcast along the last axis"
        else:
            mean, variance = (v.reshape((1,) * (ndim - 1) + (-1,)) for v in (mean, variance))

    epsilon = effective_epsilon(config, behaviour)
    form = behaviour.epsilon_form
    if not training and behaviour.evaluation_epsilon_form is not b.EvaluationEpsilonForm.AS_TRAINING:
        form = b.EpsilonForm(behaviour.evaluation_epsilon_form.value)
    factor = inverse_deviation(variance, epsilon, form)
    scale, shift = _affine(behaviour, state, ndim, training)
    return Forward(
        config=config, behaviour=behaviour, before=state, training=training, refused=refused,
        state=state if refused else after, batch=given, moments=batch, mean=mean, variance=variance,
        mean_from_batch=mean_from_batch, variance_from_batch=variance_from_batch, epsilon=epsilon, form=form,
        inverse_std=factor, scale=scale, shift=shift, unspecified=unspecified,
        output=x if refused else None,
    )  # fmt: skip


def _state_after(
    config: Config, behaviour: Behaviour, state: State, x: Exact, batch: Moments | None, training: bool
) -> tuple[State, str, frozenset[str]]:
    """The state after a pass, why the input is refused or "", and the names of what nothing fixes."""
    values = counts(batch, x) if batch is not None else np.zeros(1, np.int64)
    as_training = behaviour.evaluation_update is b.EvaluationUpdate.AS_TRAINING
    updates = config.track_running_stats and (training or as_training)
    after, refused = state, ""
    unspecified: frozenset[str] = frozenset()
    if training and batch is None and behaviour.empty_batch is b.EmptyBatch.REFUSE:
        refused = "an empty batch has no statistics"
    elif training and batch is not None and 0 in values and behaviour.nothing_selected is b.NothingSelected.REFUSE:
        refused = "a channel of which nothing is selected has no statistics"
    elif training and 1 in values and behaviour.single_value is b.SingleValue.REFUSE:
        refused = "one value per channel has no unbiased variance"
    elif updates and behaviour.training_update is not b.TrainingUpdate.NEVER:
        after = update(config, behaviour, state, x, batch)
        if behaviour.training_update is b.TrainingUpdate.TWICE:
            after = update(config, behaviour, after, x, batch)
        if batch is not None and is_undefined(config, behaviour, state.count):
            unspecified = frozenset({"running_mean", "running_var"})
            if training and behaviour.training_statistics is b.TrainingStatistics.RUNNING_UPDATED:
                unspecified |= {"y", "grad_x", "grad_weight"}
    if batch is not None and np.min(batch.count) == 0 and (training or not config.track_running_stats):
        unspecified |= {"y", "grad_x", "grad_weight"}  # as they rest on the mean of nothing
    if not refused:
        after = move_counter(behaviour, state, after, training, updates)
    return after, refused, unspecified


def _normalizing(
    config: Config, behaviour: Behaviour, before: State, after: State, x: Exact, batch: Moments | None, training: bool
) -> tuple[Exact, Exact, bool, bool]:
    """The mean and variance that normalise, each with whether it is the batch's."""
    ndim = x.ndim
    remembered = before
    if not config.track_running_stats:
        initial = not training and behaviour.untracked_evaluation_statistics is b.UntrackedEvaluationStatistics.INITIAL
        mean_from_batch = variance_from_batch = not initial
    elif training:
        mean_from_batch = variance_from_batch = behaviour.training_statistics is b.TrainingStatistics.BATCH
        remembered = after if behaviour.training_statistics is b.TrainingStatistics.RUNNING_UPDATED else before
    else:
        choice = behaviour.evaluation_statistics
        mean_from_batch = choice in (b.EvaluationStatistics.BATCH, b.EvaluationStatistics.RUNNING_VARIANCE_ONLY)
        variance_from_batch = choice in (b.EvaluationStatistics.BATCH, b.EvaluationStatistics.RUNNING_MEAN_ONLY)
    ones = exact(np.ones((1,) * ndim))
    mean, variance = ones * 0, ones
    if remembered.running_mean is not None and remembered.running_var is not None:
        mean, variance = along_channels(remembered.running_mean, ndim), along_channels(remembered.running_var, ndim)
    if batch is not None:
        if mean_from_batch:
            mean = batch.mean
        if variance_from_batch:
            variance = _normalizing_variance(behaviour, batch)
    return mean, variance, mean_from_batch, variance_from_batch


def _normalizing_variance(behaviour: Behaviour, batch: Moments) -> Exact:
    if behaviour.normalizing_variance is b.NormalizingVariance.UNCENTRED:
        return batch.mean_square
    return np.asarray(batch.squares / _divisor(behaviour, batch), dtype=object)


def _divisor(behaviour: Behaviour, batch: Moments) -> Any:
    """What the sum of squared deviations is divided by for the variance that normalises."""
    if behaviour.normalizing_variance is not b.NormalizingVariance.UNBIASED:
        return batch.divisor
    n = batch.count
    if batch.counted is None:
        return n - 1 if n > 1 else n
    return exact(np.where(n > 1, n - 1, np.maximum(n, 1)))


def _affine(behaviour: Behaviour, state: State, ndim: int, training: bool) -> tuple[Exact, Exact]:
    """The scale and shift that act on the normalised value; 1 and 0 in the place of a parameter that is not there."""
    one = exact(np.ones((1,) * ndim))
    if not training and behaviour.evaluation_affine is b.EvaluationAffine.ABSENT:
        return one, one * 0
    bias = one * 0 if state.bias is None else along_channels(state.bias, ndim)
    if state.weight is None:
        return one, bias * 0 if behaviour.affine_form is b.AffineForm.NO_BIAS else bias
    weight = along_channels(state.weight, ndim)
    form = behaviour.affine_form
    if form is b.AffineForm.SHIFT_THEN_SCALE:
        return weight, np.asarray(weight * bias, dtype=object)
    if form is b.AffineForm.NO_BIAS:
        return weight, bias * 0
    if form is b.AffineForm.NO_WEIGHT:
        return weight * 0 + 1, bias
    if form is b.AffineForm.ONE_PLUS_WEIGHT:
        return weight + 1, bias
    if form is b.AffineForm.ABSOLUTE_WEIGHT:
        return abs(weight), bias
    return weight, bias


def backward(
    config: Config, behaviour: Behaviour, state: State, x: Exact | Batch, grad_output: Exact, *, training: bool
) -> Backward:
    """One forward and backward pass of a layer in `state`; the chain rule through the record of `forward`.

    With z = (x - m) f(v), G = w * grad_output and d v / d x_i = v'_i:
    grad_x_i = f G_i - mean(f G) + f'(v) v'_i * sum(G (x - m)), where the second term is the path through the mean
    and the third the path through the variance (the mean's path through the variance vanishes, as sum(x - m) = 0).
    For sqrt(v + e) this is w f (g - mean(g) - z mean(g z)). Where running statistics normalise that this batch has
    moved, the two paths are those of `read_back`.

    With a mask, n counts what is selected, only that has the two paths, and the sums run over everything that has an
    upstream gradient: what is hidden is normalised by the same mean and variance.
    """
    effective = training or behaviour.mode_source is b.ModeSource.GRADIENTS_ENABLED
    given, upstream = x if isinstance(x, Batch) else Batch(x), grad_output
    if given.mask is not None:
        given, grad_output = _with_part(behaviour, given, grad_output)
    record = forward(config, behaviour, state, given, training=effective)
    x, batch = record.x, record.moments
    reads_back = batch is not None and record.reads_back
    flowing, through_mean, through_variance = _flowing(record, reads_back)
    constant = not (record.mean_from_batch or record.variance_from_batch or reads_back)
    silent = batch is not None and constant and behaviour.evaluation_gradient is b.EvaluationGradient.ZERO
    variance, factor = flowing.variance, flowing.inverse_std

    grad_z = grad_output if behaviour.gradient_scale is b.GradientScale.WITHOUT_WEIGHT else record.scale * grad_output
    slope = variance_slope = product = factor * 0
    balanced = grad_z
    if batch is not None and through_mean and not reads_back:
        balanced = grad_z - batch.of_entering(total(grad_z, batch.axes) / batch.divisor)
    if batch is not None and any(factor.shape[axis] > 1 for axis in batch.axes) and balanced is not grad_z:
        grad_x = factor * grad_z
        grad_x = grad_x - batch.of_entering(total(grad_x, batch.axes) / batch.divisor)
    else:
        # The factor is one number for all that share a mean.
        grad_x = factor * balanced
    if reads_back:
        grad_x = grad_x + mean_path(record, grad_z) if through_mean else grad_x
        grad_x = grad_x + variance_path(record, grad_z) if through_variance else grad_x
    if batch is not None and through_variance and not reads_back:
        uncentred = behaviour.normalizing_variance is b.NormalizingVariance.UNCENTRED
        slope = inverse_deviation_slope(variance, record.epsilon, record.form)
        step = np.asarray(exact(2) / _divisor(behaviour, batch), dtype=object)
        variance_slope = batch.of_entering((batch.x if uncentred else batch.centred) * step)
        product = total(grad_z * flowing.centred, batch.axes)
        grad_x = grad_x + batch.of_entering(slope * product * variance_slope)
    if behaviour.gradient_scale is b.GradientScale.WITHOUT_STD:
        grad_x = grad_x / factor
    if silent:
        grad_x = grad_x * 0
    if record.hidden is not None and behaviour.masked_output is b.MaskedOutput.UNCHANGED:
        grad_x = np.where(record.hidden, grad_x + upstream, grad_x)

    grad_weight, grad_bias = _parameter_gradients(behaviour, record, state, x, grad_output)
    return Backward(
        forward=record, flowing=flowing, grad_output=grad_output, grad_z=grad_z, balanced=balanced,
        through_mean=through_mean, through_variance=through_variance, slope=slope, variance_slope=variance_slope,
        product=product, grad_x=grad_x, grad_weight=grad_weight, grad_bias=grad_bias,
    )  # fmt: skip


def _with_part(behaviour: Behaviour, given: Batch, grad_output: Exact) -> tuple[Batch, Exact]:
    """A masked batch and grad_output as far as they have a part in the gradients.

    What is hidden and has no upstream gradient has none: whatever it is, NaN too, the function is constant in it, and
    its product with that gradient is 0. It stands as 0.
    """
    mask = given.mask
    assert mask is not None
    hidden = ~mask
    if behaviour.masked_output is not b.MaskedOutput.NORMALIZED:
        grad_output = np.where(hidden, exact(0.0), grad_output)
    without = hidden & np.asarray(grad_output == 0, bool)
    enters = behaviour.masked_statistics in (b.MaskedStatistics.ALL, b.MaskedStatistics.OTHERS)
    if enters or np.isfinite(given.floats[without]).all():
        return given, grad_output
    return Batch(np.where(without, exact(0.0), given.x), mask), grad_output


def _flowing(record: Forward, reads_back: bool) -> tuple[Forward, bool, bool]:
    """The pass with the statistics that the gradient for x uses, and whether it flows through each of the two."""
    behaviour, batch = record.behaviour, record.moments
    through_mean, through_variance = record.mean_from_batch or reads_back, record.variance_from_batch or reads_back
    as_training = behaviour.evaluation_gradient is b.EvaluationGradient.AS_TRAINING
    if batch is not None and not (through_mean or through_variance) and as_training:
        through_mean = through_variance = True
        variance = _normalizing_variance(behaviour, batch)
        factor = inverse_deviation(variance, record.epsilon, record.form)
        record = replace(
            record, mean=batch.mean, variance=variance, inverse_std=factor,
            mean_from_batch=True, variance_from_batch=True,
        )  # fmt: skip
    kind, both = behaviour.training_gradient, b.TrainingGradient.THROUGH_STATISTICS
    through_mean = through_mean and kind in (both, b.TrainingGradient.THROUGH_MEAN_ONLY)
    through_variance = through_variance and kind in (both, b.TrainingGradient.THROUGH_VARIANCE_ONLY)
    return record, through_mean, through_variance


def _parameter_gradients(
    behaviour: Behaviour, record: Forward, state: State, x: Exact, grad_output: Exact
) -> tuple[Exact | None, Exact | None]:
    """(grad_weight, grad_bias), each (C,), at the specified or any other form of the affine map.

    None for a parameter that is not there; it is 1 or 0 for the gradient of the other.
    """
    if state.weight is None and state.bias is None:
        return None, None
    if not x.size:
        return None if state.weight is None else state.weight * 0, None if state.bias is None else state.bias * 0
    axes = (0, *range(2, x.ndim))
    count = x.size // x.shape[1]
    raw = behaviour.weight_gradient is b.WeightGradient.RAW_INPUT
    by_weight = total(grad_output * (x if raw else record.normalized), axes).reshape(-1)
    by_bias = total(grad_output, axes).reshape(-1)
    form = behaviour.affine_form
    if form is b.AffineForm.SHIFT_THEN_SCALE:
        by_weight = by_weight if state.bias is None else by_weight + state.bias * by_bias
        by_bias = by_bias if state.weight is None else state.weight * by_bias
    elif form is b.AffineForm.ABSOLUTE_WEIGHT:
        by_weight = by_weight if state.weight is None else np.where(state.weight < 0, -by_weight, by_weight)
    elif form is b.AffineForm.NO_BIAS:
        by_bias = by_bias * 0
    elif form is b.AffineForm.NO_WEIGHT:
        by_weight = by_weight * 0
    if not record.training and behaviour.evaluation_affine is b.EvaluationAffine.ABSENT:
        by_weight, by_bias = by_weight * 0, by_bias * 0
    if behaviour.weight_gradient is b.WeightGradient.MEAN:
        by_weight = by_weight / count
    if behaviour.weight_gradient is b.WeightGradient.ZERO:
        by_weight = by_weight * 0
    if behaviour.bias_gradient is b.BiasGradient.MEAN:
        by_bias = by_bias / count
    if behaviour.bias_gradient is b.BiasGradient.ZERO:
        by_bias = by_bias * 0
    return None if state.weight is None else by_weight, None if state.bias is None else by_bias
