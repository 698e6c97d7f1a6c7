"""The oracle: what a BatchNorm layer at any point of the behaviour space does, to 320 bits.

Written from the formulas (Ioffe and Szegedy 2015, algorithms 1 and 2 and section 3.1; PyTorch's documentation of
BatchNorm2d), and sharing no code with any implementation. Two pure functions, `forward` and `backward`, map a state
and an input to a record of everything that was computed on the way; the bounds are derived from the same record.

Shapes: x, y, grad_output, grad_x are (N, C, *S); weight, bias and running statistics are (C,). Inside a record
everything is broadcastable against x.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from . import behaviour as b
from .behaviour import SPECIFIED, Behaviour
from .config import Config
from .exact import Exact, constant, exact, sqrt, total


@dataclass(frozen=True)
class State:
    """What a layer remembers between calls.

    Attributes:
        running_mean, running_var: (C,), or None where none are tracked.
        num_batches_tracked: the layer's counter, or None where it has none.
        weight, bias: (C,), or None where affine is off.
        updates: how many batches have moved the statistics since they were last initial. The oracle falls back on it
            where the layer shows no counter.
    """

    running_mean: Exact | None
    running_var: Exact | None
    num_batches_tracked: int | None
    weight: Exact | None
    bias: Exact | None
    updates: int = 0

    @property
    def count(self) -> int:
        """The number of batches seen."""
        return self.updates if self.num_batches_tracked is None else self.num_batches_tracked


@dataclass(frozen=True)
class Moments:
    """The statistics of one batch, with length 1 along the axes that they are taken over.

    Attributes:
        count: n, the number of values that each statistic is taken over.
        mean: m.
        squares: q, the sum of (x - m)**2.
        mean_magnitude: the mean of |x|.
        mean_square: the mean of x**2.
    """

    axes: tuple[int, ...]
    count: int
    mean: Exact
    squares: Exact
    mean_magnitude: Exact
    mean_square: Exact


@dataclass(frozen=True)
class Forward:
    """One forward pass.

    Attributes:
        config, behaviour, before, training: what was asked: the layer, the point of the space, the state before, the
            mode that decided.
        refused: why the input is refused at this point of the space; then nothing below `state` holds.
        state: the state afterwards.
        x: the input. moments: the batch's statistics, None where x is empty.
        mean, variance: what normalised, and whether each came from the batch (and so carries its rounding errors).
        epsilon, form: which epsilon entered the denominator, and how.
        inverse_std: the factor f(variance). scale, shift: the effective w and b in y = scale * z + shift.
        y: the output.
    """

    config: Config
    behaviour: Behaviour
    before: State
    training: bool
    refused: str
    state: State
    x: Exact
    moments: Moments | None
    mean: Exact
    variance: Exact
    mean_from_batch: bool
    variance_from_batch: bool
    epsilon: Exact
    form: b.EpsilonForm
    inverse_std: Exact
    scale: Exact
    shift: Exact
    y: Exact


@dataclass(frozen=True)
class Backward:
    """One forward and backward pass.

    `through_mean` and `through_variance` say which statistics the gradient flows through; `grad_z` is
    w * grad_output, `slope` is f'(variance) and `variance_slope` d variance / d x, both 0 where they play no part.
    `flowing` is the forward pass with the statistics that the gradient for x uses: those that normalised, but at
    points of the space whose evaluation gradient is that of training. grad_weight and grad_bias are None where
    there is no parameter.
    """

    forward: Forward
    flowing: Forward
    grad_output: Exact
    grad_z: Exact
    through_mean: bool
    through_variance: bool
    slope: Exact
    variance_slope: Exact
    grad_x: Exact
    grad_weight: Exact | None
    grad_bias: Exact | None


def initial_state(config: Config, behaviour: Behaviour = SPECIFIED) -> State:
    """The state of a layer that has just been built."""
    size = config.num_features
    tracked, affine = config.track_running_stats, config.affine
    mean = 0.0 if behaviour.initial_running_mean is b.InitialRunningMean.ZERO else 1.0
    variance = 1.0 if behaviour.initial_running_variance is b.InitialRunningVariance.ONE else 0.0
    weight = 1.0 if behaviour.initial_weight is b.InitialWeight.ONE else 0.0
    bias = 0.0 if behaviour.initial_bias is b.InitialBias.ZERO else 1.0
    return State(
        running_mean=exact(np.full(size, mean)) if tracked else None,
        running_var=exact(np.full(size, variance)) if tracked else None,
        num_batches_tracked=0 if tracked else None,
        weight=exact(np.full(size, weight)) if affine else None,
        bias=exact(np.full(size, bias)) if affine else None,
    )


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


def moments(x: Exact, axes: tuple[int, ...]) -> Moments:
    """The statistics of x over `axes`; x is not empty."""
    count = int(np.prod([x.shape[axis] for axis in axes], dtype=np.int64))
    mean = total(x, axes) / count
    centred = x - mean
    return Moments(
        axes, count, mean, total(centred * centred, axes), total(abs(x), axes) / count, total(x * x, axes) / count
    )


def effective_epsilon(config: Config, behaviour: Behaviour) -> Exact:
    """The epsilon that this point of the space really uses (0-d)."""
    given = exact(config.eps)
    return {
        b.EpsilonValue.AS_GIVEN: given,
        b.EpsilonValue.AT_LEAST_1E_5: exact(max(config.eps, 1e-5)),
        b.EpsilonValue.ALWAYS_1E_5: exact(1e-5),
        b.EpsilonValue.ALWAYS_1E_3: exact(1e-3),
    }[behaviour.epsilon_value]


def inverse_deviation(variance: Exact, epsilon: Exact, form: b.EpsilonForm) -> Exact:
    """f(variance), the factor that normalises; decreasing in the variance for every form."""
    if form is b.EpsilonForm.INSIDE:
        return 1 / sqrt(variance + epsilon)
    if form is b.EpsilonForm.OUTSIDE:
        return 1 / (sqrt(variance) + epsilon)
    if form is b.EpsilonForm.MAXIMUM:
        return 1 / sqrt(np.maximum(variance, epsilon))
    if form is b.EpsilonForm.SQUARED:
        return 1 / sqrt(variance + epsilon * epsilon)
    return 1 / sqrt(variance)


def inverse_deviation_slope(variance: Exact, epsilon: Exact, form: b.EpsilonForm) -> Exact:
    """f'(variance), at most zero; 0 where the square root of a zero variance has no derivative."""
    factor = inverse_deviation(variance, epsilon, form)
    if form is b.EpsilonForm.OUTSIDE:
        root = sqrt(variance)
        return np.where(variance > 0, -(factor**2) / (2 * np.where(variance > 0, root, 1)), 0)
    if form is b.EpsilonForm.MAXIMUM:
        return np.where(variance > epsilon, -(factor**3) / 2, 0)
    if form is b.EpsilonForm.ABSENT:
        return np.where(variance > 0, -(factor**3) / 2, 0)
    return -(factor**3) / 2


def along_channels(values: Exact, ndim: int) -> Exact:
    """(C,) as (1, C, 1, ...)."""
    return values.reshape((1, -1) + (1,) * (ndim - 2))


def per_channel(values: Exact, like: Exact) -> Exact:
    """A statistic of any axes as one value a channel, (C,): the mean over whatever else it varies with."""
    spread = np.broadcast_to(values, like.shape) if values.shape[1] != like.shape[1] else values
    axes = (0, *range(2, spread.ndim))
    count = int(np.prod([spread.shape[axis] for axis in axes], dtype=np.int64))
    return (total(spread, axes) / count).reshape(-1)


def forward(config: Config, behaviour: Behaviour, state: State, x: Exact, *, training: bool) -> Forward:
    """One forward pass of a layer in `state` at the point `behaviour`.

    Args:
        x: (N, C, *S), possibly empty.
        training: the layer's mode.
    """
    tracked = config.track_running_stats
    ndim = x.ndim
    axes = statistics_axes(behaviour, ndim)
    empty = x.size == 0
    values = x.size // x.shape[1] if x.shape[1] else 0
    updates = tracked and (training or behaviour.evaluation_update is b.EvaluationUpdate.AS_TRAINING)

    batch = None if empty else moments(x, axes)
    after = state
    refused = ""
    if training and empty and behaviour.empty_batch is b.EmptyBatch.REFUSE:
        refused = "an empty batch has no statistics"
    elif training and values == 1 and behaviour.single_value is b.SingleValue.REFUSE:
        refused = "one value per channel has no unbiased variance"
    elif updates and behaviour.training_update is not b.TrainingUpdate.NEVER:
        after = updated(config, behaviour, state, x, batch)
        if behaviour.training_update is b.TrainingUpdate.TWICE:
            after = updated(config, behaviour, after, x, batch)
    if not refused:
        after = _counted(behaviour, state, after, training, updates)

    mean, variance, mean_from_batch, variance_from_batch = _normalizing(
        config, behaviour, state, after, x, batch, training
    )
    last_axis = behaviour.evaluation_broadcast is b.EvaluationBroadcast.LAST_AXIS
    if last_axis and not training and tracked and not mean_from_batch and not variance_from_batch:
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
    y = x if refused else scale * ((x - mean) * factor) + shift
    return Forward(
        config=config, behaviour=behaviour, before=state, training=training, refused=refused,
        state=state if refused else after, x=x, moments=batch, mean=mean, variance=variance,
        mean_from_batch=mean_from_batch, variance_from_batch=variance_from_batch, epsilon=epsilon, form=form,
        inverse_std=factor, scale=scale, shift=shift, y=y,
    )  # fmt: skip


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
    if behaviour.normalizing_variance is b.NormalizingVariance.UNBIASED and batch.count > 1:
        return batch.squares / (batch.count - 1)
    return batch.squares / batch.count


def _affine(behaviour: Behaviour, state: State, ndim: int, training: bool) -> tuple[Exact, Exact]:
    """The scale and shift that act on the normalised value."""
    one = exact(np.ones((1,) * ndim))
    absent = not training and behaviour.evaluation_affine is b.EvaluationAffine.ABSENT
    if absent or state.weight is None or state.bias is None:
        return one, one * 0
    weight, bias = along_channels(state.weight, ndim), along_channels(state.bias, ndim)
    return {
        b.AffineForm.SCALE_THEN_SHIFT: (weight, bias),
        b.AffineForm.SHIFT_THEN_SCALE: (weight, weight * bias),
        b.AffineForm.NO_BIAS: (weight, bias * 0),
        b.AffineForm.NO_WEIGHT: (weight * 0 + 1, bias),
        b.AffineForm.ONE_PLUS_WEIGHT: (weight + 1, bias),
        b.AffineForm.ABSOLUTE_WEIGHT: (abs(weight), bias),
    }[behaviour.affine_form]


def remembered(config: Config, behaviour: Behaviour, x: Exact, batch: Moments) -> tuple[Exact, Exact, float]:
    """What of one batch the running statistics remember: mean (C,), variance (C,), and the variance's factor over q/n."""
    n = batch.count
    if n > 1:
        bessel = n / (n - 1)
        factor = exact(n) / (n - 1)
    else:
        bessel, factor = 1.0, exact(np.nan if behaviour.single_value is b.SingleValue.NAN_STATISTICS else 1.0)
    mean = per_channel(batch.mean, x)
    if behaviour.running_mean is b.RunningMean.BESSEL_SCALED:
        mean = mean * factor
    biased = per_channel(batch.squares, x) / n
    epsilon = effective_epsilon(config, behaviour)
    samples = x.shape[0]
    corrected = exact(samples) / (samples - 1) if samples > 1 else exact(1.0)
    kind = behaviour.running_variance
    variance, relative = {
        b.RunningVariance.UNBIASED: (biased * factor, bessel),
        b.RunningVariance.BIASED: (biased, 1.0),
        b.RunningVariance.UNBIASED_PLUS_EPS: (biased * factor + epsilon, bessel),
        b.RunningVariance.BIASED_PLUS_EPS: (biased + epsilon, 1.0),
        b.RunningVariance.SAMPLES: (biased * corrected, float(corrected)),
        b.RunningVariance.STANDARD_DEVIATION: (sqrt(biased), 1.0),
        b.RunningVariance.UNCENTRED: (per_channel(batch.mean_square, x), 1.0),
    }[kind]
    return mean, variance, relative


def batch_weight(config: Config, behaviour: Behaviour, count: int) -> Exact:
    """The weight (0-d) of the next batch in the running statistics, `count` batches having been seen."""
    if config.momentum is None:
        return {
            b.MomentumNone.CUMULATIVE: exact(1) / (count + 1),
            b.MomentumNone.COUNTING_INITIAL: exact(1) / (count + 2),
            b.MomentumNone.DEFAULT_MOMENTUM: exact(0.1),
            b.MomentumNone.BATCH: exact(1),
            b.MomentumNone.UNCHANGED: exact(0),
        }[behaviour.momentum_none]
    weight = {
        b.MomentumValue.AS_GIVEN: exact(config.momentum),
        b.MomentumValue.ALWAYS_0_1: exact(0.1),
        b.MomentumValue.ALWAYS_1: exact(1),
    }[behaviour.momentum_value]
    if behaviour.momentum_weighs is b.MomentumWeighs.RUNNING:
        weight = 1 - weight
    if behaviour.averaging is b.Averaging.CUMULATIVE:
        return exact(1) / (count + 1)
    if behaviour.averaging is b.Averaging.FIRST_BATCH_COPIED and count == 0:
        return exact(1)
    return weight


def updated(config: Config, behaviour: Behaviour, state: State, x: Exact, batch: Moments | None) -> State:
    """The state after one more batch has moved the running statistics (the counter is left alone)."""
    if state.running_mean is None or state.running_var is None:
        return state
    if batch is None:
        if behaviour.empty_batch is b.EmptyBatch.NAN_STATISTICS:
            nan = state.running_mean * exact(np.nan)
            return replace(state, running_mean=nan, running_var=nan)
        return state
    mean, variance, _ = remembered(config, behaviour, x, batch)
    weight = batch_weight(config, behaviour, state.count)
    old_mean, old_variance = state.running_mean, state.running_var
    if config.momentum is not None and behaviour.averaging is b.Averaging.ZERO_DEBIASED:
        # The hidden average h_k = (1 - a) h_(k-1) + a batch starts at 0; what is shown is h_k / (1 - (1 - a)**k).
        keep = 1 - weight
        before, now = 1 - keep**state.count, 1 - keep ** (state.count + 1)
        if now == 0:
            return replace(state, updates=state.updates + 1)
        mean = (keep * before * old_mean + weight * mean) / now
        variance = (keep * before * old_variance + weight * variance) / now
    else:
        # weight 0 or 1 leaves one term out, so that a NaN in it does not spread.
        mean = old_mean if weight == 0 else mean if weight == 1 else (1 - weight) * old_mean + weight * mean
        variance = (
            old_variance
            if weight == 0
            else variance
            if weight == 1
            else (1 - weight) * old_variance + weight * variance
        )
    if x.shape[0] * int(np.prod(x.shape[2:], dtype=np.int64)) == 1:
        if behaviour.single_value is b.SingleValue.BIAS_OUTPUT_VARIANCE_KEPT:
            variance = old_variance
    return replace(state, running_mean=mean, running_var=variance, updates=state.updates + 1)


def _counted(behaviour: Behaviour, before: State, after: State, training: bool, updates: bool) -> State:
    if before.num_batches_tracked is None:
        return after
    counts = {
        b.BatchCounter.TRAINING_FORWARDS: training or updates,
        b.BatchCounter.ALL_FORWARDS: True,
        b.BatchCounter.NOTHING: False,
    }[behaviour.batch_counter]
    return replace(after, num_batches_tracked=before.num_batches_tracked + int(counts))


def backward(
    config: Config, behaviour: Behaviour, state: State, x: Exact, grad_output: Exact, *, training: bool
) -> Backward:
    """One forward and backward pass of a layer in `state`; the chain rule through the record of `forward`.

    With z = (x - m) f(v), G = w * grad_output and d v / d x_i = v'_i:
    grad_x_i = f G_i - mean(f G) + f'(v) v'_i * sum(G (x - m)), where the second term is the path through the mean
    and the third the path through the variance (the mean's path through the variance vanishes, as sum(x - m) = 0).
    For sqrt(v + e) this is w f (g - mean(g) - z mean(g z)).
    """
    effective = training or behaviour.mode_source is b.ModeSource.GRADIENTS_ENABLED
    record = forward(config, behaviour, state, x, training=effective)
    batch = record.moments
    through_mean, through_variance = record.mean_from_batch, record.variance_from_batch
    flowing = record
    kind = behaviour.training_gradient
    silent = False
    if batch is not None and not (through_mean or through_variance):
        choice = behaviour.evaluation_gradient
        silent = choice is b.EvaluationGradient.ZERO
        if choice is b.EvaluationGradient.AS_TRAINING:
            through_mean = through_variance = True
            variance = _normalizing_variance(behaviour, batch)
            factor = inverse_deviation(variance, record.epsilon, record.form)
            flowing = replace(
                record, mean=batch.mean, variance=variance, inverse_std=factor,
                mean_from_batch=True, variance_from_batch=True,
            )  # fmt: skip
    mean, variance, factor = flowing.mean, flowing.variance, flowing.inverse_std
    through_mean = through_mean and kind in (
        b.TrainingGradient.THROUGH_STATISTICS,
        b.TrainingGradient.THROUGH_MEAN_ONLY,
    )
    through_variance = through_variance and kind in (
        b.TrainingGradient.THROUGH_STATISTICS,
        b.TrainingGradient.THROUGH_VARIANCE_ONLY,
    )

    grad_z = grad_output if behaviour.gradient_scale is b.GradientScale.WITHOUT_WEIGHT else record.scale * grad_output
    grad_x = factor * grad_z
    slope = variance_slope = factor * 0
    if batch is not None and through_mean:
        grad_x = grad_x - total(factor * grad_z, batch.axes) / batch.count
    if batch is not None and through_variance:
        uncentred = behaviour.normalizing_variance is b.NormalizingVariance.UNCENTRED
        unbiased = behaviour.normalizing_variance is b.NormalizingVariance.UNBIASED and batch.count > 1
        slope = inverse_deviation_slope(variance, record.epsilon, record.form)
        variance_slope = 2 * (x if uncentred else x - batch.mean) / (batch.count - 1 if unbiased else batch.count)
        grad_x = grad_x + slope * variance_slope * total(grad_z * (x - mean), batch.axes)
    if behaviour.gradient_scale is b.GradientScale.WITHOUT_STD:
        grad_x = grad_x / factor
    if silent:
        grad_x = grad_x * 0

    grad_weight = grad_bias = None
    if state.weight is not None and state.bias is not None and x.size:
        grad_weight, grad_bias = _parameter_gradients(behaviour, record, state, x, grad_output)
    elif state.weight is not None and state.bias is not None:
        grad_weight, grad_bias = state.weight * 0, state.bias * 0
    return Backward(
        forward=record, flowing=flowing, grad_output=grad_output, grad_z=grad_z,
        through_mean=through_mean, through_variance=through_variance, slope=slope, variance_slope=variance_slope,
        grad_x=grad_x, grad_weight=grad_weight, grad_bias=grad_bias,
    )  # fmt: skip


def _parameter_gradients(
    behaviour: Behaviour, record: Forward, state: State, x: Exact, grad_output: Exact
) -> tuple[Exact, Exact]:
    """(grad_weight, grad_bias), each (C,), at the specified or any other form of the affine map."""
    axes = (0, *range(2, x.ndim))
    count = x.size // x.shape[1]
    assert state.weight is not None and state.bias is not None
    normalised = (x - record.mean) * record.inverse_std
    by_weight = total(grad_output * normalised, axes).reshape(-1)
    if behaviour.weight_gradient is b.WeightGradient.RAW_INPUT:
        by_weight = total(grad_output * x, axes).reshape(-1)
    by_bias = total(grad_output, axes).reshape(-1)
    form = behaviour.affine_form
    if form is b.AffineForm.SHIFT_THEN_SCALE:
        by_weight, by_bias = by_weight + state.bias * by_bias, state.weight * by_bias
    elif form is b.AffineForm.ABSOLUTE_WEIGHT:
        by_weight = np.where(state.weight < 0, -by_weight, by_weight)
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
    return by_weight, by_bias


__all__ = ["Backward", "Forward", "Moments", "State", "backward", "constant", "forward", "initial_state"]
