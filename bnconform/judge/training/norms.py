"""BatchNorm in double precision at a point of the behaviour space, for the reference network.

It knows the decisions of DECISIONS, those that show in a network of rank 4 and rank 2 that trains and predicts; the
others do not show there, or are not looked for. It is the textbook's formula and shares nothing with an adapter; a
self-test holds it against the oracle, which computes in 320 bits and is too slow to train with.

Notation, per channel: n values, mean m, variance v as `normalizing_variance` has it, divisor d (sqrt(v + e) where
`epsilon_form` is as specified), z = (x - m) / d, weight w, bias b, momentum a (the weight of the new batch).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnconform.backends.runner.lenet import EXACT, Array, Rounding
from bnconform.spec import behaviour as b
from bnconform.spec.behaviour import SPECIFIED, Behaviour

EPSILON, MOMENTUM = 1e-5, 0.1
"""What the documents' network gives its layers; the momentum as the weight of the new batch."""

DECISIONS = (
    "running_variance", "normalizing_variance", "momentum_weighs", "momentum_value", "epsilon_value", "epsilon_form",
    "evaluation_epsilon_form", "averaging", "initial_running_variance", "initial_running_mean", "running_mean",
    "training_update", "evaluation_statistics", "evaluation_affine", "training_gradient", "gradient_scale",
    "weight_gradient", "bias_gradient",
)  # fmt: skip
"""The decisions that this layer follows, the likeliest to differ first."""

ABSENT = (("training_gradient", "through_variance_only"), ("weight_gradient", "raw_input"))
"""Values of theirs that it does not follow."""


def singles() -> Iterator[tuple[str, str]]:
    """Every decision with each value that is not the specified one and that this layer follows."""
    for name in DECISIONS:
        for value in b.decision(name):
            if value is not getattr(SPECIFIED, name) and (name, str(value)) not in ABSENT:
                yield name, str(value)


def follow(behaviour: Behaviour) -> Behaviour:
    """The point with the specified value of whatever this layer does not follow."""
    kept = {name: value for name, value in behaviour.differences().items() if (name, value) in set(singles())}
    return SPECIFIED.but(**kept)


def column(values: Array, ndim: int) -> Array:
    """An array of shape (C,) along axis 1."""
    return values.reshape((1, -1) + (1,) * (ndim - 2))


def per_channel(x: Array) -> Array:
    """The mean over all axes but axis 1, (C,)."""
    mean: Array = x.mean(axis=(0, *range(2, x.ndim)))
    return mean


@dataclass
class BehavingNorm:
    """A BatchNorm with its state.

    Attributes:
        rounding: what moves each of its results.
    """

    weight: Array
    bias: Array
    behaviour: Behaviour = SPECIFIED
    rounding: Rounding = EXACT
    eps: float = EPSILON
    momentum: float = MOMENTUM
    _mean: Array = field(init=False)
    _var: Array = field(init=False)
    _batches: int = 0
    _pass: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one = self.behaviour
        like = np.ones_like(self.weight, np.float64)
        self._mean = like * (one.initial_running_mean is b.InitialRunningMean.ONE)
        self._var = like * (one.initial_running_variance is b.InitialRunningVariance.ONE)
        fixed = {b.EpsilonValue.ALWAYS_1E_3: 1e-3, b.EpsilonValue.ALWAYS_1E_5: 1e-5}
        self.eps = fixed.get(one.epsilon_value, self.eps)
        if one.epsilon_value is b.EpsilonValue.AT_LEAST_1E_5:
            self.eps = max(self.eps, 1e-5)
        if one.epsilon_value is b.EpsilonValue.SINGLE_PRECISION:
            self.eps = float(np.float32(self.eps))
        self.momentum = _momentum(one, self.momentum)

    # -- passes ------------------------------------------------------------------------------------------------------

    def forward(self, x: Array) -> Array:
        """y, of a training pass; the running statistics move."""
        moved, ndim = self.rounding.move, x.ndim
        count = x.size // x.shape[1]
        mean = moved(per_channel(x), lambda: per_channel(np.abs(x)), count)
        centred = x - column(mean, ndim)
        # A one-pass algorithm subtracts squares: its error is of the size of the mean of x**2.
        spread = moved(per_channel(centred**2), lambda: per_channel(x**2), count)
        unbiased = spread * count / (count - 1)
        square = spread + mean**2
        kind = self.behaviour.normalizing_variance
        var = {b.NormalizingVariance.UNBIASED: unbiased, b.NormalizingVariance.UNCENTRED: square}.get(kind, spread)
        divisor, slope = self._divisor(var, str(self.behaviour.epsilon_form))
        z = centred / column(divisor, ndim)
        size = (np.abs(x) + np.abs(column(mean, ndim))) / column(divisor, ndim)
        z = moved(z, lambda: size)
        self._pass = {"x": x, "z": z, "divisor": divisor, "slope": slope, "count": count, "size": size}
        self._remember(mean, {"unbiased": unbiased, "biased": spread, "uncentred": square}, len(x), count)
        y = z * column(self.weight, ndim) + column(self.bias, ndim)
        found: Array = moved(y, lambda: np.abs(z * column(self.weight, ndim)) + np.abs(column(self.bias, ndim)))
        return found

    def backward(self, grad_output: Array) -> tuple[Array, Array, Array]:
        """The gradients for x, weight and bias of the last training pass."""
        one, moved, ndim = self.behaviour, self.rounding.move, grad_output.ndim
        z, divisor, count = self._pass["z"], self._pass["divisor"], self._pass["count"]
        size = np.abs(z)
        in_bias = moved(per_channel(grad_output), lambda: per_channel(np.abs(grad_output)), count)
        in_weight = moved(per_channel(grad_output * z), lambda: per_channel(np.abs(grad_output) * size), count)
        scale = np.ones_like(divisor) if one.gradient_scale is b.GradientScale.WITHOUT_STD else 1 / divisor
        if one.gradient_scale is not b.GradientScale.WITHOUT_WEIGHT:
            scale = scale * self.weight
        detached = one.training_gradient is b.TrainingGradient.DETACHED
        through = one.training_gradient is b.TrainingGradient.THROUGH_STATISTICS
        grad_x = grad_output
        if not detached:
            grad_x = grad_x - column(in_bias, ndim)
        if through:
            # d loss / d v is -w / d * sum(g z) * slope; v moves with x by 2 (x - m) / n, or / (n - 1).
            unbiased = one.normalizing_variance is b.NormalizingVariance.UNBIASED
            uncentred = one.normalizing_variance is b.NormalizingVariance.UNCENTRED
            share = count / (count - 1) if unbiased else 1.0
            along = self._pass["x"] if uncentred else z * column(divisor, ndim)
            grad_x = grad_x - column(2 * in_weight * share * self._pass["slope"], ndim) * along
        grad_x = grad_x * column(scale, ndim)

        def sizes() -> Array:
            terms = np.abs(grad_output) + np.abs(column(in_bias, ndim)) + size * np.abs(column(in_weight, ndim))
            found: Array = terms * np.abs(column(scale, ndim))
            return found

        moved_x: Array = moved(grad_x, sizes)
        whole = {b.WeightGradient.SUM: count, b.WeightGradient.MEAN: 1, b.WeightGradient.ZERO: 0}
        shift = {b.BiasGradient.SUM: count, b.BiasGradient.MEAN: 1, b.BiasGradient.ZERO: 0}
        return moved_x, in_weight * whole[one.weight_gradient], in_bias * shift[one.bias_gradient]

    def evaluate(self, x: Array) -> Array:
        """y, of an evaluation pass."""
        one, ndim = self.behaviour, x.ndim
        mean, var = self._mean, self._var
        kind = one.evaluation_statistics
        own_mean = per_channel(x)
        own_var = per_channel((x - column(own_mean, ndim)) ** 2)
        if kind in (b.EvaluationStatistics.BATCH, b.EvaluationStatistics.RUNNING_VARIANCE_ONLY):
            mean = own_mean
        if kind in (b.EvaluationStatistics.BATCH, b.EvaluationStatistics.RUNNING_MEAN_ONLY):
            var = own_var
        form = one.evaluation_epsilon_form
        word = str(one.epsilon_form if form is b.EvaluationEpsilonForm.AS_TRAINING else form)
        divisor, _ = self._divisor(var, word)
        absent = one.evaluation_affine is b.EvaluationAffine.ABSENT
        weight, bias = (np.ones_like(mean), np.zeros_like(mean)) if absent else (self.weight, self.bias)
        k = column(weight / divisor, ndim)
        y = (x - column(mean, ndim)) * k + column(bias, ndim)

        def size() -> Array:
            found: Array = (np.abs(x) + np.abs(column(mean, ndim))) * np.abs(k) + np.abs(column(bias, ndim))
            return found

        found: Array = self.rounding.move(y, size)
        return found

    def update(self, weight: Array, bias: Array) -> None:
        """Set the parameters."""
        self.weight, self.bias = weight, bias

    def statistics(self) -> tuple[Array, Array]:
        """The running mean and variance, as they are shown."""
        return self._mean.copy(), self._var.copy()

    # -- parts -------------------------------------------------------------------------------------------------------

    def _divisor(self, var: Array, form: str) -> tuple[Array, Array]:
        """(d, the derivative of d for v)."""
        root = np.sqrt(var)
        if form == "outside":
            d = root + self.eps
            return d, 1 / (2 * root)
        if form == "maximum":
            d = np.sqrt(np.maximum(var, self.eps))
            return d, np.where(var > self.eps, 1 / (2 * d), 0.0)
        added = {"inside": self.eps, "squared": self.eps**2, "absent": 0.0}[form]
        d = np.sqrt(var + added)
        return d, 1 / (2 * d)

    def _remember(self, mean: Array, variances: dict[str, Array], samples: int, count: int) -> None:
        one = self.behaviour
        if one.running_mean is b.RunningMean.BESSEL_SCALED:
            mean = mean * count / (count - 1)
        var = {
            "unbiased": variances["unbiased"],
            "biased": variances["biased"],
            "unbiased_plus_eps": variances["unbiased"] + self.eps,
            "biased_plus_eps": variances["biased"] + self.eps,
            "samples": variances["biased"] * samples / (samples - 1),
            "standard_deviation": np.sqrt(variances["biased"]),
            "uncentred": variances["uncentred"],
        }[str(one.running_variance)]
        turns = {b.TrainingUpdate.TWICE: 2, b.TrainingUpdate.NEVER: 0}.get(one.training_update, 1)
        for _ in range(turns):
            self._batches += 1
            a = self.momentum
            if one.averaging is b.Averaging.CUMULATIVE:
                a = 1 / self._batches
            elif one.averaging is b.Averaging.FIRST_BATCH_COPIED and self._batches == 1:
                a = 1.0
            elif one.averaging is b.Averaging.ZERO_DEBIASED:
                # An average from 0 divided by 1 - (1 - a)**k moves by a / (1 - (1 - a)**k); in the limit a = 0, 1 / k.
                a = a / (1 - (1 - a) ** self._batches) if a else 1 / self._batches
            self._mean, self._var = self._average(self._mean, mean, a), self._average(self._var, var, a)

    def _average(self, old: Array, new: Array, a: float) -> Array:
        found: Array = self.rounding.move((1 - a) * old + a * new, lambda: np.abs((1 - a) * old) + np.abs(a * new))
        return found


def _momentum(behaviour: Behaviour, given: float) -> float:
    """The weight of the new batch."""
    kind = behaviour.momentum_value
    fixed = {b.MomentumValue.ALWAYS_0_1: 0.1, b.MomentumValue.ALWAYS_1: 1.0}
    a = fixed.get(kind, given)
    if kind is b.MomentumValue.SINGLE_PRECISION:
        a = 1 - float(np.float32(1 - a))
    if kind is b.MomentumValue.SINGLE_PRECISION_BATCH:
        a = float(np.float32(a))
    return 1 - a if behaviour.momentum_weighs is b.MomentumWeighs.RUNNING else a
