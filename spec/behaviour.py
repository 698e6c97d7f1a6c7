"""The behaviour space: every decision that a BatchNorm implementation makes, one decision each.

The specification is the point at which each decision has its first value (PyTorch's documented semantics);
another framework's convention is another point, and a bug is nearly always a neighbour. `spec.oracle` evaluates any
point. A decision's values are words that an adapter may declare: `deviations = {"running_variance": "biased"}`.

Notation: x of shape (N, C, *S); per channel n values, mean m, sum of squared deviations q; weight w, bias b,
epsilon e, momentum a (the weight of the new batch), running mean and variance rm, rv.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Self

from bnconform.spec.formats import DTYPES, is_half

HALVES = tuple(filter(is_half, DTYPES))
"""The dtypes of the input that the parameters do not share."""


BUT_BFLOAT16 = tuple(name for name in DTYPES if name != "bfloat16")
"""The dtypes of the input in which a sum over more than 128 values has bounds that tell something."""


class Decision(StrEnum):
    """One decision; the members are its values, the first is the specified one, `meaning` says each in words.

    `dtypes`: those of the input in which a value shows, that is, in which it does something else than the specified one
    where the parameters have the dtype that goes with the input's (`formats.parameter_dtype`). In the others no
    implementation can be told to have it or not to have it.
    """

    meaning: str
    dtypes: tuple[str, ...]

    def __new__(cls, value: str, meaning: str = "", dtypes: tuple[str, ...] = DTYPES) -> Self:
        # A default only because a type checker takes a look-up by value for a call of this.
        if not meaning:
            raise TypeError(f"the value {value!r} needs its meaning in words")
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.dtypes = dtypes
        return member


class StatisticsAxes(Decision):
    """Over which axes of x the batch statistics are taken."""

    PER_CHANNEL = "per_channel", "over the batch and all positions: one mean and variance a channel"
    PER_POSITION = "per_position", "over the batch alone (axis 0): every position has statistics of its own"
    PER_SAMPLE_CHANNEL = "per_sample_channel", "over the positions alone, as instance normalization"
    PER_SAMPLE = "per_sample", "over channels and positions, as layer normalization"
    ALL = "all", "over every axis: one mean and variance for the whole batch"


class NormalizingVariance(Decision):
    """Which variance divides in training."""

    BIASED = "biased", "q / n"
    UNBIASED = "unbiased", "q / (n - 1)"
    UNCENTRED = "uncentred", "the mean of x**2, the mean not subtracted"


class RunningMean(Decision):
    """What of the batch the running mean remembers."""

    MEAN = "mean", "m"
    BESSEL_SCALED = "bessel_scaled", "m n / (n - 1)"


class RunningVariance(Decision):
    """Which variance the running statistics remember."""

    UNBIASED = "unbiased", "q / (n - 1)"
    BIASED = "biased", "q / n"
    UNBIASED_PLUS_EPS = "unbiased_plus_eps", "q / (n - 1) + e"
    BIASED_PLUS_EPS = "biased_plus_eps", "q / n + e"
    SAMPLES = "samples", "q / n times N / (N - 1): corrected by the number of samples instead of values"
    STANDARD_DEVIATION = "standard_deviation", "the square root of q / n: a standard deviation, not a variance"
    UNCENTRED = "uncentred", "the mean of x**2"


class EpsilonForm(Decision):
    """Where epsilon enters the denominator."""

    INSIDE = "inside", "sqrt(var + e)"
    OUTSIDE = "outside", "sqrt(var) + e"
    MAXIMUM = "maximum", "sqrt(max(var, e))"
    SQUARED = "squared", "sqrt(var + e**2)"
    ABSENT = "absent", "sqrt(var)"


class EvaluationEpsilonForm(Decision):
    """Where epsilon enters the denominator in evaluation."""

    AS_TRAINING = "as_training", "as in training"
    INSIDE = "inside", "sqrt(var + e)"
    OUTSIDE = "outside", "sqrt(var) + e"
    MAXIMUM = "maximum", "sqrt(max(var, e))"
    ABSENT = "absent", "sqrt(var)"


class EpsilonValue(Decision):
    """Which epsilon is used."""

    AS_GIVEN = "as_given", "the configured one"
    AT_LEAST_1E_5 = "at_least_1e-5", "the configured one, raised to 1e-5 where it is smaller, without a word"
    ALWAYS_1E_5 = "always_1e-5", "1e-5, whatever is configured"
    ALWAYS_1E_3 = "always_1e-3", "1e-3, whatever is configured"
    SINGLE_PRECISION = "single_precision", "the configured one, rounded to single precision", ("float64",)


class MomentumWeighs(Decision):
    """Which value the momentum weighs in the running statistics."""

    BATCH = "batch", "the new batch: (1 - a) old + a batch"
    RUNNING = "running", "the old value: a old + (1 - a) batch"


class MomentumValue(Decision):
    """Which momentum is used."""

    AS_GIVEN = "as_given", "the configured one"
    ALWAYS_0_1 = "always_0.1", "0.1, whatever is configured"
    ALWAYS_1 = "always_1", "1, whatever is configured"
    SINGLE_PRECISION = (
        "single_precision",
        "the configured one, but that the weight of the old value is rounded to single precision",
        ("float64",),
    )
    SINGLE_PRECISION_BATCH = (
        "single_precision_batch",
        "the configured one, but that the weight of the new batch is rounded to single precision",
        ("float64",),
    )


class MomentumNone(Decision):
    """What momentum=None means; k counts the training batches, the present one included."""

    CUMULATIVE = "cumulative", "the average of all batches: weight 1/k"
    COUNTING_INITIAL = "counting_initial", "the initial value counts as a batch: weight 1/(k + 1)"
    DEFAULT_MOMENTUM = "default_momentum", "weight 0.1"
    BATCH = "batch", "weight 1: only the last batch is remembered"
    UNCHANGED = "unchanged", "weight 0: nothing is remembered"


class Averaging(Decision):
    """How batches are averaged where the momentum is a number."""

    EXPONENTIAL = "exponential", "an exponential moving average from the initial value"
    ZERO_DEBIASED = "zero_debiased", "an exponential moving average from 0, divided by 1 - (1 - a)**k"
    FIRST_BATCH_COPIED = "first_batch_copied", "the first batch replaces the initial value, then exponential"
    CUMULATIVE = "cumulative", "the average of all batches, whatever the momentum"


class InitialRunningMean(Decision):
    """The running mean before any batch."""

    ZERO = "zero", "0"
    ONE = "one", "1"


class InitialRunningVariance(Decision):
    """The running variance before any batch."""

    ONE = "one", "1"
    ZERO = "zero", "0"


class InitialWeight(Decision):
    """The weight before any training."""

    ONE = "one", "1"
    ZERO = "zero", "0"


class InitialBias(Decision):
    """The bias before any training."""

    ZERO = "zero", "0"
    ONE = "one", "1"


class TrainingStatistics(Decision):
    """Which statistics normalise in training."""

    BATCH = "batch", "those of the batch"
    RUNNING = "running", "the running ones, before their update"
    RUNNING_UPDATED = "running_updated", "the running ones, after their update"


class TrainingUpdate(Decision):
    """How often a training forward pass moves the running statistics."""

    ONCE = "once", "once"
    TWICE = "twice", "twice, with the same batch"
    NEVER = "never", "never"


class BatchCounter(Decision):
    """What num_batches_tracked counts."""

    TRAINING_FORWARDS = "training_forwards", "training forward passes"
    ALL_FORWARDS = "all_forwards", "forward passes in either mode"
    NOTHING = "nothing", "it never moves"


class EvaluationStatistics(Decision):
    """Which statistics normalise in evaluation, where running statistics are tracked."""

    RUNNING = "running", "the running ones"
    BATCH = "batch", "those of the batch"
    RUNNING_MEAN_ONLY = "running_mean_only", "the running mean with the batch's variance"
    RUNNING_VARIANCE_ONLY = "running_variance_only", "the batch's mean with the running variance"


class UntrackedEvaluationStatistics(Decision):
    """Which statistics normalise in evaluation, where none are tracked."""

    BATCH = "batch", "those of the batch"
    INITIAL = "initial", "mean 0 and variance 1"


class EvaluationUpdate(Decision):
    """Whether an evaluation forward pass moves the running statistics."""

    NEVER = "never", "never"
    AS_TRAINING = "as_training", "as a training pass does"


class ModeSource(Decision):
    """What decides between training and evaluation."""

    MODE = "mode", "the layer's mode"
    GRADIENTS_ENABLED = "gradients_enabled", "whether gradients are being recorded, so that every backward pass trains"


class EvaluationBroadcast(Decision):
    """Along which axis of x the running statistics lie in evaluation."""

    CHANNEL_AXIS = "channel_axis", "axis 1"
    LAST_AXIS = "last_axis", "the last axis, as an array of shape (C,) broadcasts; refused unless its length is C"


class AffineForm(Decision):
    """What weight and bias do to the normalised value z."""

    SCALE_THEN_SHIFT = "scale_then_shift", "w z + b"
    SHIFT_THEN_SCALE = "shift_then_scale", "w (z + b)"
    NO_BIAS = "no_bias", "w z"
    NO_WEIGHT = "no_weight", "z + b"
    ONE_PLUS_WEIGHT = "one_plus_weight", "(1 + w) z + b"
    ABSOLUTE_WEIGHT = "absolute_weight", "|w| z + b"


class EvaluationAffine(Decision):
    """Whether weight and bias act in evaluation."""

    AS_TRAINING = "as_training", "as in training"
    ABSENT = "absent", "they do not"


class TrainingGradient(Decision):
    """Through which statistics the gradient for x flows where they depend on the batch.

    They do where the batch's own normalise, and where running statistics do that the batch has just moved.
    """

    THROUGH_STATISTICS = "through_statistics", "through mean and variance"
    THROUGH_MEAN_ONLY = "through_mean_only", "through the mean; the variance is taken as constant"
    THROUGH_VARIANCE_ONLY = "through_variance_only", "through the variance; the mean is taken as constant"
    DETACHED = "detached", "through neither"


class EvaluationGradient(Decision):
    """The gradient for x where running statistics normalise that the batch has not moved."""

    CONSTANT_STATISTICS = "constant_statistics", "g w / sqrt(rv + e)"
    AS_TRAINING = "as_training", "as in training, from the batch's statistics"
    ZERO = "zero", "0"


class GradientScale(Decision):
    """Which factors the gradient for x carries."""

    FULL = "full", "w / sqrt(var + e)"
    WITHOUT_WEIGHT = "without_weight", "1 / sqrt(var + e): the weight is forgotten"
    WITHOUT_STD = "without_std", "w: right only where var + e is 1"


class WeightGradient(Decision):
    """The gradient for the weight; z is the normalised value."""

    SUM = "sum", "the sum of g z"
    MEAN = "mean", "the mean of g z"
    RAW_INPUT = "raw_input", "the sum of g x, x not normalised"
    ZERO = "zero", "0"


class BiasGradient(Decision):
    """The gradient for the bias."""

    SUM = "sum", "the sum of g"
    MEAN = "mean", "the mean of g"
    ZERO = "zero", "0"


class SingleValue(Decision):
    """What training does with one value a channel, whose unbiased variance does not exist."""

    REFUSE = "refuse", "an error"
    BIAS_OUTPUT = "bias_output", "the output is the bias, the running variance moves towards 0"
    BIAS_OUTPUT_VARIANCE_KEPT = "bias_output_variance_kept", "the output is the bias, the running variance stays"
    NAN_STATISTICS = "nan_statistics", "the output is the bias, the running variance becomes NaN"


class EmptyBatch(Decision):
    """What training does with an empty batch."""

    UNCHANGED = "unchanged", "an empty output, the statistics stay"
    REFUSE = "refuse", "an error"
    NAN_STATISTICS = "nan_statistics", "an empty output, the statistics become NaN"


class ReplicaStatistics(Decision):
    """Whose statistics normalise where a batch is spread over replicas; replica i has n_i of the n values."""

    ALL = "all", "those of all replicas' values"
    OWN = "own", "each replica's own"


class ReplicaWeights(Decision):
    """How replicas with unequal numbers of values weigh in the statistics of all."""

    BY_COUNT = "by_count", "by their number of values: every value weighs 1 / n"
    EQUALLY = "equally", "equally: the means over replicas of each one's means, NaN where one is empty"


class ReplicaUnbiasedCount(Decision):
    """Which number of values the unbiased estimators divide by, less one, in the statistics of all replicas."""

    ALL = "all", "that of all replicas, n"
    OWN = "own", "that of the replica that remembers them, n_i"


class ReplicaMemory(Decision):
    """What the running statistics of each replica remember of a batch that is spread over replicas."""

    NORMALIZING = "normalizing", "the statistics that normalise: the same on every replica where those are of all"
    OWN = "own", "each replica its own, whichever normalise"
    FIRST = "first", "those of the first replica, on every one"
    MEAN = "mean", "the mean of what each would remember of its own, on every replica"


class ReplicaGradient(Decision):
    """Whose upstream gradients reach x through statistics that are of all replicas."""

    ALL = "all", "those of all replicas"
    OWN = "own", "those of the replica that has x: what others make of the statistics is taken as constant"


class ReplicaParameterGradients(Decision):
    """What each replica gives as the gradients for weight and bias."""

    PARTS = "parts", "its part: the sum over replicas is the gradient of the one batch"
    TOTAL = "total", "that of the one batch, on every replica"
    MEAN = "mean", "the mean over replicas of their parts, on every replica"


class MaskedStatistics(Decision):
    """Of which values the statistics are where a mask selects some, a of n of them."""

    SELECTED = "selected", "of the selected ones: sums of them over a, deviations squared over a"
    ALL = "all", "of all: the mask is ignored"
    ZEROS_COUNTED = "zeros_counted", "of all, those that are not selected counted as 0"
    OTHERS = "others", "of those that are not selected"


class MaskedOutput(Decision):
    """What the output is where a mask selects nothing, and so what of grad_output there has a part in the gradients."""

    NORMALIZED = "normalized", "normalised by the statistics of what is selected, as everywhere"
    ZERO = "zero", "0, and grad_output there has no part"
    UNCHANGED = "unchanged", "x, and grad_output there goes to x alone"


class NothingSelected(Decision):
    """What the running statistics of a channel become in training where a mask selects nothing of it."""

    UNCHANGED = "unchanged", "they stay"
    NAN_STATISTICS = "nan_statistics", "NaN"
    ZERO_STATISTICS = "zero_statistics", "they move towards a mean of 0 and a variance of 0"
    REFUSE = "refuse", "an error"


class RecomputationUpdate(Decision):
    """How often a training pass moves the running statistics whose forward pass is run again for the gradients."""

    ONCE = "once", "once: running the forward pass again moves nothing"
    TWICE = "twice", "twice: whenever the forward pass is run, and each time it is counted"
    NEVER = "never", "never"


class SavedStatistics(Decision):
    """Which statistics an operator gives beside y, of a pass that is normalised by those of its batch."""

    NORMALIZING = "normalizing", "those that normalise"
    RUNNING = "running", "the running ones after the pass"


class SavedDeviation(Decision):
    """What an operator gives beside y as its inverse deviation, of the variance var that is saved."""

    INVERSE = "inverse", "1 / sqrt(var + e): the factor that normalises"
    WITHOUT_EPSILON = "without_epsilon", "1 / sqrt(var)"
    UNBIASED = "unbiased", "1 / sqrt(var n / (n - 1) + e)"
    DEVIATION = "deviation", "sqrt(var + e): not inverted"
    VARIANCE = "variance", "var"


class SavedVariance(Decision):
    """What an operator gives beside y as its variance, of the variance var that is saved."""

    VARIANCE = "variance", "var"
    UNBIASED = "unbiased", "var n / (n - 1)"
    PLUS_EPS = "plus_eps", "var + e"
    INVERSE_DEVIATION = "inverse_deviation", "1 / sqrt(var + e)"


class SavedInEvaluation(Decision):
    """What an operator gives beside y where running statistics normalise."""

    NOTHING = "nothing", "nothing, or arrays of no elements"
    RUNNING = "running", "the running statistics, which normalise"
    BATCH = "batch", "the statistics of the batch, though they normalise nothing"


class FrozenMode(Decision):
    """What a training pass does in a layer that is frozen."""

    EVALUATION = "evaluation", "what an evaluation pass does"
    TRAINING = "training", "what it does in any layer: only weight and bias are frozen"
    STATISTICS_KEPT = "statistics_kept", "the batch's statistics normalise, and the running ones stay"
    STATISTICS_MOVED = "statistics_moved", "the running statistics normalise, and are moved by the batch"


class FrozenGradients(Decision):
    """Which gradients there are for weight and bias in a layer that is frozen."""

    NONE = "none", "none"
    COMPUTED = "computed", "those that there are in any layer"


class VirtualBatch(Decision):
    """Of which samples of a batch the statistics are that normalise each of them in training.

    Pieces are normalised and remembered one after the other, in their order, as batches of their own.
    """

    WHOLE = "whole", "of all of them"
    PIECES_OF_32 = "pieces_of_32", "of its piece of 32; the last one is shorter where 32 does not divide the batch"
    PIECES_OF_128 = (
        "pieces_of_128",
        "of its piece of 128; the last one is shorter where 128 does not divide the batch",
        BUT_BFLOAT16,
    )
    EVEN_PIECES_OF_128 = (
        "even_pieces_of_128",
        "of its piece: as few as have no more than 128 each, of one size",
        BUT_BFLOAT16,
    )


class OutputDtype(Decision):
    """The dtype of y; the gradient for x has that of x."""

    INPUT = "input", "that of x"
    PARAMETER = "parameter", "that of the parameters", HALVES


class StatisticsDtype(Decision):
    """The dtype of the running statistics and of the parameters' gradients."""

    PARAMETER = "parameter", "that of the parameters"
    INPUT = "input", "that of x", HALVES


@dataclass(frozen=True)
class Behaviour:
    """One point of the space; the default is the specification.

    Values may be given as words; ValueError, naming the choices, for a word that a decision does not have.
    """

    statistics_axes: StatisticsAxes = StatisticsAxes.PER_CHANNEL
    normalizing_variance: NormalizingVariance = NormalizingVariance.BIASED
    epsilon_form: EpsilonForm = EpsilonForm.INSIDE
    epsilon_value: EpsilonValue = EpsilonValue.AS_GIVEN
    affine_form: AffineForm = AffineForm.SCALE_THEN_SHIFT
    training_statistics: TrainingStatistics = TrainingStatistics.BATCH
    evaluation_statistics: EvaluationStatistics = EvaluationStatistics.RUNNING
    untracked_evaluation_statistics: UntrackedEvaluationStatistics = UntrackedEvaluationStatistics.BATCH
    evaluation_epsilon_form: EvaluationEpsilonForm = EvaluationEpsilonForm.AS_TRAINING
    evaluation_affine: EvaluationAffine = EvaluationAffine.AS_TRAINING
    evaluation_broadcast: EvaluationBroadcast = EvaluationBroadcast.CHANNEL_AXIS
    evaluation_update: EvaluationUpdate = EvaluationUpdate.NEVER
    mode_source: ModeSource = ModeSource.MODE
    initial_running_mean: InitialRunningMean = InitialRunningMean.ZERO
    initial_running_variance: InitialRunningVariance = InitialRunningVariance.ONE
    initial_weight: InitialWeight = InitialWeight.ONE
    initial_bias: InitialBias = InitialBias.ZERO
    running_mean: RunningMean = RunningMean.MEAN
    running_variance: RunningVariance = RunningVariance.UNBIASED
    momentum_weighs: MomentumWeighs = MomentumWeighs.BATCH
    momentum_value: MomentumValue = MomentumValue.AS_GIVEN
    momentum_none: MomentumNone = MomentumNone.CUMULATIVE
    averaging: Averaging = Averaging.EXPONENTIAL
    training_update: TrainingUpdate = TrainingUpdate.ONCE
    batch_counter: BatchCounter = BatchCounter.TRAINING_FORWARDS
    training_gradient: TrainingGradient = TrainingGradient.THROUGH_STATISTICS
    evaluation_gradient: EvaluationGradient = EvaluationGradient.CONSTANT_STATISTICS
    gradient_scale: GradientScale = GradientScale.FULL
    weight_gradient: WeightGradient = WeightGradient.SUM
    bias_gradient: BiasGradient = BiasGradient.SUM
    single_value: SingleValue = SingleValue.REFUSE
    empty_batch: EmptyBatch = EmptyBatch.UNCHANGED
    replica_statistics: ReplicaStatistics = ReplicaStatistics.ALL
    replica_weights: ReplicaWeights = ReplicaWeights.BY_COUNT
    replica_unbiased_count: ReplicaUnbiasedCount = ReplicaUnbiasedCount.ALL
    replica_memory: ReplicaMemory = ReplicaMemory.NORMALIZING
    replica_gradient: ReplicaGradient = ReplicaGradient.ALL
    replica_parameter_gradients: ReplicaParameterGradients = ReplicaParameterGradients.PARTS
    masked_statistics: MaskedStatistics = MaskedStatistics.SELECTED
    masked_output: MaskedOutput = MaskedOutput.NORMALIZED
    nothing_selected: NothingSelected = NothingSelected.UNCHANGED
    recomputation_update: RecomputationUpdate = RecomputationUpdate.ONCE
    virtual_batch: VirtualBatch = VirtualBatch.WHOLE
    saved_statistics: SavedStatistics = SavedStatistics.NORMALIZING
    saved_deviation: SavedDeviation = SavedDeviation.INVERSE
    saved_variance: SavedVariance = SavedVariance.VARIANCE
    saved_in_evaluation: SavedInEvaluation = SavedInEvaluation.NOTHING
    frozen_mode: FrozenMode = FrozenMode.EVALUATION
    frozen_gradients: FrozenGradients = FrozenGradients.NONE
    output_dtype: OutputDtype = OutputDtype.INPUT
    statistics_dtype: StatisticsDtype = StatisticsDtype.PARAMETER

    def __post_init__(self) -> None:
        for field in fields(self):
            kind = decision(field.name)
            try:
                object.__setattr__(self, field.name, kind(getattr(self, field.name)))
            except ValueError:
                choices = ", ".join(str(value) for value in kind)
                raise ValueError(f"{field.name} = {getattr(self, field.name)!r}: choose one of {choices}") from None

    def but(self, **values: str) -> Behaviour:
        """The point that differs from this one in the given decisions; ValueError for an unknown name or value."""
        for name in values:
            decision(name)
        changes: dict[str, Any] = dict(values)
        return replace(self, **changes)

    def differences(self, other: Behaviour | None = None) -> dict[str, str]:
        """The decisions, with their values here, in which this point differs from `other` (the specification)."""
        base = SPECIFIED if other is None else other
        return {
            field.name: str(getattr(self, field.name))
            for field in fields(self)
            if getattr(self, field.name) is not getattr(base, field.name)
        }

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes of the input in which everything shows that differs from the specification."""
        values = [decision(name)(value) for name, value in self.differences().items()]
        return tuple(dtype for dtype in DTYPES if all(dtype in value.dtypes for value in values))

    def neighbours(self) -> Iterator[tuple[str, str, Behaviour]]:
        """Every point that differs from this one in one decision: (decision, value, point)."""
        for field in fields(self):
            for value in decision(field.name):
                if value is not getattr(self, field.name):
                    yield field.name, str(value), self.but(**{field.name: value})


OF_ABILITY: Mapping[str, str] = {
    **dict.fromkeys(("masked_statistics", "masked_output", "nothing_selected"), "masked"),
    **dict.fromkeys(
        ("replica_statistics", "replica_weights", "replica_unbiased_count", "replica_memory"), "replicated"
    ),
    "recomputation_update": "recomputed",
    **dict.fromkeys(
        ("saved_statistics", "saved_deviation", "saved_variance", "saved_in_evaluation"), "saved_statistics"
    ),
    **dict.fromkeys(("frozen_mode", "frozen_gradients"), "freeze"),
    **dict.fromkeys(("replica_gradient", "replica_parameter_gradients"), "replicated_vjp"),
}
"""The decisions that show in a pass alone which a layer need not have, with the feature that it is."""

_KINDS: Mapping[str, type[Decision]] = {field.name: type(getattr(Behaviour, field.name)) for field in fields(Behaviour)}


def decision(name: str) -> type[Decision]:
    """The decision called `name`; ValueError, listing them all, where there is none."""
    if name not in _KINDS:
        raise ValueError(f"unknown decision {name!r}; the decisions are {', '.join(sorted(_KINDS))}")
    return _KINDS[name]


def decisions() -> Mapping[str, type[Decision]]:
    """All decisions by name, in the order of the space."""
    return _KINDS


SPECIFIED = Behaviour()
"""The specified point."""
