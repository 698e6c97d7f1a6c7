"""Wrong dtypes: results of another dtype than is due, and numbers that pass through a narrower one on their way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bnconform.spec.config import Config
from bnconform.spec.formats import numpy_dtype
from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Entries, Layer

HALF = ("float16", "bfloat16")


def through(values: Array, narrow: Any) -> Array:
    """The values after a detour through a narrower dtype."""
    return np.asarray(values.astype(narrow).astype(values.dtype))


def narrower(values: Array) -> Array:
    """Double precision through single, single through half."""
    return through(values, np.float32 if values.dtype == np.float64 else np.float16)


@wrong("BN-DTYPE-PRECISION", "BN-TRAIN-NORM", "BN-GRAD-INPUT", dtypes=("float64",))
class DoubleComputedInSingle(Layer):
    """Double-precision input is computed in single precision throughout, and widened at the end."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.work = np.dtype(np.float32)


@wrong("BN-DTYPE-PRECISION", "BN-TRAIN-NORM", dtypes=("float64",))
class DoubleVarianceInSingle(Layer):
    """The variance of double-precision input passes through single precision."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The mean, and a narrowed variance."""
        mean, variance = super().moments(values)
        return mean, through(variance, np.float32)


@wrong("BN-DTYPE-PRECISION", "BN-GRAD-INPUT", "BN-GRAD-WEIGHT", dtypes=("float64",))
class DoubleGradientsInSingle(Layer):
    """The gradients of double-precision input are computed from an upstream gradient in single precision."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients for a narrowed upstream gradient."""
        return super().backward(x, through(grad_output, np.float32), training=training)


@wrong("BN-DTYPE-PRECISION", "BN-RUN-MEAN", "BN-RUN-VAR", "BN-RUN-MOMENTUM", dtypes=("float64",))
class DoubleStatisticsInSingle(Layer):
    """The running statistics of a double-precision layer are moved in single precision."""

    def blend(self, old: Array, new: Array, weight: float) -> Array:
        """The moved statistic, narrowed."""
        return through(super().blend(old, new, weight), np.float32)


@wrong("BN-DTYPE-PRECISION", "BN-TRAIN-NORM", dtypes=("float64",))
class DoubleOutputThroughSingle(Layer):
    """The double-precision output passes through single precision."""

    def reshape_like(self, values: Array, x: Array) -> Array:
        """As x in shape and dtype, by way of float32."""
        return super().reshape_like(through(values, np.float32), x)


@wrong("BN-DTYPE-OUTPUT", "BN-DTYPE-GRAD", dtypes=("float64", *HALF))
class OutputAlwaysSingle(Layer):
    """Output and gradient for x are single-precision, whatever x is."""

    def reshape_like(self, values: Array, x: Array) -> Array:
        """As x in shape, in float32."""
        return super().reshape_like(values, np.asarray(x, np.float32))


@wrong("BN-DTYPE-OUTPUT", dtypes=HALF)
class EvaluationOutputWidened(Layer):
    """The evaluation output of half-precision input has the parameters' dtype."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """Y, in the parameters' dtype in evaluation."""
        return super().forward(x if training else x.astype(self.kept), training=training)


@wrong("BN-DTYPE-GRAD", dtypes=HALF)
class ParameterGradientsNarrowed(Layer):
    """The gradients for weight and bias have the dtype of x, narrower than the parameters'."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients, all of the dtype of x."""
        grad_x, *others = super().backward(x, grad_output, training=training)
        grad_weight, grad_bias = (None if value is None else value.astype(x.dtype) for value in others)
        return grad_x, grad_weight, grad_bias


@wrong("BN-DTYPE-PRECISION", "BN-GRAD-WEIGHT", "BN-GRAD-BIAS")
class ParameterGradientsRounded(Layer):
    """The gradients for weight and bias pass through a narrower dtype."""

    def weight_gradient(self, values: Array, z: Array, upstream: Array, training: bool) -> Array:
        """The sum of g z, narrowed."""
        return narrower(super().weight_gradient(values, z, upstream, training))

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        """The sum of g, narrowed."""
        return narrower(super().bias_gradient(upstream, training))


@wrong("BN-DTYPE-STATS", "BN-DTYPE-HALF-RANGE", dtypes=("float16",), thread="torch-mlir#4480")
class StatisticsTakeTheInputsDtype(Layer):
    """The running statistics take the dtype of x at the first update."""

    def blend(self, old: Array, new: Array, weight: float) -> Array:
        """The moved statistic, in the dtype of x."""
        return super().blend(old, new, weight).astype(np.float16)


@wrong("BN-DTYPE-HALF-RANGE", dtypes=("float16",), thread="coreai-torch#54")
class StatisticsOverflowInHalf(Layer):
    """The running statistics pass through float16 in evaluation, where more than 65504 is infinite."""

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """The statistics, by way of the dtype of x where they are the running ones."""
        mean, variance = super().normalizing(values, x, training)
        return (mean, variance) if training else (through(mean, x.dtype), through(variance, x.dtype))


@wrong("BN-DTYPE-PRECISION", "BN-RUN-LOAD")
class LoadedStateRounded(Layer):
    """What is loaded passes through a narrower dtype."""

    def load(self, state: Mapping[str, Array]) -> None:
        """Set some entries, narrowed but for the counter."""
        super().load({name: narrower(value) if value.dtype.kind == "f" else value for name, value in state.items()})


@wrong("BN-EVAL-EPS")
class SmallRunningVarianceFlushed(Layer):
    """A running variance below 1e-7 is taken as 0."""

    def normalizing(self, values: Array, x: Array, training: bool) -> tuple[Array, Array]:
        """The statistics that normalise, small running variances flushed."""
        mean, variance = super().normalizing(values, x, training)
        return mean, variance if training else np.where(variance < 1e-7, 0, variance).astype(self.work)


@wrong("BN-RUN-VAR")
class SmallBatchVarianceFlushed(Layer):
    """A batch variance below 1e-6 is remembered as 0."""

    def memory_of(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the variance unless it is small."""
        mean, variance = super().memory_of(values)
        return mean, np.where(variance < 1e-6, 0, variance).astype(self.work)


@wrong("BN-DTYPE-PRECISION", "BN-TRAIN-NORM")
class WeightRounded(Layer):
    """The weight passes through a narrower dtype before it is used."""

    def affine(self, z: Array, training: bool) -> Array:
        """The narrowed weight times z plus bias."""
        if not self.config.weight:
            return super().affine(z, training)
        return self.shift(np.asarray(narrower(self.entry("weight"))[:, None] * z))


@wrong("BN-DTYPE-PRECISION", "BN-TRAIN-NORM")
class InputRounded(Layer):
    """X passes through a narrower dtype before anything is computed."""

    def channels(self, x: Array) -> Array:
        """X as (C, n), narrowed."""
        return narrower(super().channels(x))


@wrong("BN-DTYPE-PRECISION", "BN-TRAIN-AFFINE")
class NormalisedValueRounded(Layer):
    """The normalised value passes through a narrower dtype before weight and bias act on it."""

    def normalise(self, values: Array, mean: Array, variance: Array, training: bool) -> Array:
        """Z, narrowed."""
        return narrower(super().normalise(values, mean, variance, training))


@wrong("BN-TRAIN-EPS-VALUE", "BN-EVAL-EPS", dtypes=("float64", "float32"))
class EpsilonInHalf(Layer):
    """Epsilon passes through float16, where small ones lose digits."""

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """1 / sqrt(variance + eps) with the eps that float16 holds."""
        return np.asarray(1 / np.sqrt(variance + self.work.type(np.float16(self.config.eps))))


@wrong("BN-TRAIN-EPS", "BN-DTYPE-PRECISION")
class EpsilonAddedInNarrowerDtype(Layer):
    """Variance and epsilon are added in a narrower dtype."""

    def inverse_std(self, variance: Array, training: bool) -> Array:
        """1 / sqrt(variance + eps) with the sum narrowed."""
        return np.asarray(1 / np.sqrt(narrower(variance + self.work.type(self.config.eps))))


@wrong("BN-DTYPE-PRECISION", "BN-TRAIN-NORM")
class SumsInNarrowerDtype(Layer):
    """Mean and variance are accumulated in a narrower dtype than that of x."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The mean and the biased variance, both summed narrowly."""
        narrow = np.float32 if self.work == np.float64 else np.float16
        mean = values.mean(axis=1, dtype=narrow).astype(self.work)
        return mean, np.square(values - mean[:, None]).mean(axis=1, dtype=narrow).astype(self.work)


@wrong("BN-DTYPE-HALF-SINGLE", dtypes=HALF)
class HalfSumsInHalf(Layer):
    """Half-precision input is summed in half precision."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The mean and the biased variance with an accumulator of the dtype of x."""
        narrow = values.astype(numpy_dtype(self.config.dtype))
        mean = np.add.accumulate(narrow, axis=1)[:, -1].astype(self.work) / values.shape[1]
        return mean, np.square(values - mean[:, None]).mean(axis=1)


@wrong("BN-DTYPE-HALF-RANGE", dtypes=("float16",))
class GradientsWhereTheVarianceOverflows(Layer):
    """The gradients hold the batch's variance in float16, in which it is infinite above 65504; the output does not."""

    def gradient_scale(self, variance: Array, training: bool) -> Array:
        """Zero for such a channel."""
        scale = super().gradient_scale(variance, training)
        if self.config.dtype != "float16" or not self.from_batch(training):
            return scale
        return np.asarray(np.where(variance > np.finfo(np.float16).max, self.work.type(0), scale))


@wrong("BN-DTYPE-HALF-RANGE", dtypes=("float16",), thread="pytorch#147303")
class SquaresOverflowInHalf(Layer):
    """The squares of the deviations are held in float16, where those beyond 256 are infinite."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The mean, and the mean of squares that passed through float16."""
        mean = values.mean(axis=1)
        return mean, through(np.square(values - mean[:, None]), np.float16).mean(axis=1)


@wrong("BN-DTYPE-HALF-RANGE", dtypes=("float16",))
class CountOverflowsInHalf(Layer):
    """The number of values is held in float16, where more than 65504 is infinite."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        """The sums over a count in float16."""
        n = self.work.type(np.float16(values.shape[1]))
        mean = values.sum(axis=1) / n
        return mean, np.square(values - mean[:, None]).sum(axis=1) / n


@wrong("BN-DTYPE-HALF-SINGLE", dtypes=HALF)
class HalfOutputTruncated(Layer):
    """The output is cut to the dtype of x in place of being rounded."""

    def reshape_like(self, values: Array, x: Array) -> Array:
        """The number of the dtype of x that is nearest on the side of 0."""
        nearest = super().reshape_like(values, x)
        exact = super().reshape_like(values, np.asarray(x, self.work))
        beyond = np.abs(nearest.astype(self.work)) > np.abs(exact)
        return np.where(beyond, np.nextafter(nearest, np.zeros((), x.dtype)), nearest)


@wrong("BN-EDGE-HUGE", dtypes=("bfloat16",))
class BrainFloatThroughFloat16(Layer):
    """Bfloat16 input passes through float16, whose range is far smaller."""

    def channels(self, x: Array) -> Array:
        """X as (C, n), by way of float16."""
        return through(super().channels(x), np.float16)


@wrong("BN-DTYPE-STATS", dtypes=HALF)
class StatisticsBuiltInTheInputsDtype(Layer):
    """The running statistics of a new layer have the dtype of x, and become wider with the first update."""

    def initial(self) -> Entries:
        """The state of a new layer, its statistics in half precision."""
        made = super().initial()
        for name in ("running_mean", "running_var"):
            value = made[name]
            made[name] = None if value is None else value.astype(numpy_dtype(self.config.dtype))
        return made
