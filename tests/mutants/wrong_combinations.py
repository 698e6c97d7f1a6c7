"""Wrong only where two circumstances meet: what no probe that was placed by hand has asked for."""

from __future__ import annotations

from bnconform.spec.formats import numpy_dtype
from bnconform.tests.mutants.catalogue import wrong
from bnconform.tests.mutants.layer import Array, Layer

HALVES = ("bfloat16",)
WHOLE = ("float32",)
"""The dtype that is asked the whole covering array."""


@wrong("BN-PAIR")
class VolumesOfAnOddBatch(Layer):
    """At rank 5 the weight's gradient of an odd number of samples is divided by that number."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        grad_x, grad_weight, grad_bias = super().backward(x, grad_output, training=training)
        if grad_weight is not None and x.ndim == 5 and x.shape[0] % 2 and x.shape[0] > 1:
            grad_weight = grad_weight / grad_weight.dtype.type(x.shape[0])
        return grad_x, grad_weight, grad_bias


@wrong("BN-PAIR", dtypes=WHOLE)
class PastABlockOfSamplesAtRankThree(Layer):
    """At rank 3 the samples past 256 are left out of the mean that is remembered."""

    def remember(self, values: Array, x: Array) -> None:
        if x.ndim == 3 and x.shape[0] > 256:
            values = self.channels(x[:256])
        super().remember(values, x)


@wrong("BN-PAIR", dtypes=WHOLE)
class ChannelsPastABlockInEvaluation(Layer):
    """In evaluation at rank 3 channels past 128 get no bias."""

    def forward(self, x: Array, *, training: bool) -> Array:
        y = super().forward(x, training=training)
        if not training and x.ndim == 3 and x.shape[1] > 128 and self.entries["bias"] is not None:
            y[:, 128:] -= self.entry("bias")[128:, None].astype(y.dtype)
        return y


@wrong("BN-PAIR", dtypes=WHOLE)
class ReversedWidthOfOneSample(Layer):
    """One sample whose width is reversed in memory is read forwards."""

    def channels(self, x: Array) -> Array:
        if x.shape[0] == 1 and x.ndim > 2 and x.shape[-1] > 1 and x.strides[-1] < 0:
            x = x[..., ::-1]
        return super().channels(x)


@wrong("BN-PAIR")
class ExpandedGradientAtRankTwo(Layer):
    """At rank 2 an upstream gradient with stride 0 everywhere is taken for that of a mean."""

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        if x.ndim == 2 and x.size > 1 and not any(grad_output.strides):
            grad_output = grad_output / grad_output.dtype.type(x.shape[0] + 1)
        return super().backward(x, grad_output, training=training)


@wrong("BN-PAIR")
class RefilledInEvaluation(Layer):
    """In evaluation an array that was given before is answered as then, whatever has been written to it."""

    def __init__(self, config: object) -> None:
        super().__init__(config)  # type: ignore[arg-type]
        self.given: Array | None = None
        self.answer: Array | None = None

    def forward(self, x: Array, *, training: bool) -> Array:
        if not training and x is self.given and self.answer is not None:
            return self.answer.copy()
        y = super().forward(x, training=training)
        self.given, self.answer = (x, y.copy()) if not training else (None, None)
        return y


@wrong("BN-PAIR")
class WindowsPastATile(Layer):
    """Overlapping windows of more than 64 values a channel are centred by the mean of the first 64."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        mean, variance = super().moments(values)
        return (values[:, :64].mean(axis=1), variance) if self.overlap and values.shape[1] > 64 else (mean, variance)

    overlap = False

    def channels(self, x: Array) -> Array:
        self.overlap = x.ndim > 2 and 0 < x.strides[-1] == x.strides[-2] and x.shape[-2] > 1 and x.shape[-1] > 1
        return super().channels(x)


@wrong("BN-PAIR-SINGLE", dtypes=HALVES)
class NoGradientOfManyValues(Layer):
    """In half precision the gradient for x of more than 64 values a channel is 0."""

    def input_gradient(self, values: Array, z: Array, upstream: Array, variance: Array, training: bool) -> Array:
        found = super().input_gradient(values, z, upstream, variance, training)
        return found * 0 if values.shape[1] > 64 else found


@wrong("BN-PAIR-SINGLE", dtypes=HALVES)
class HalfPrecisionAtRankThree(Layer):
    """At rank 3 what is normalised is rounded to half precision before weight and bias act."""

    def affine(self, z: Array, training: bool) -> Array:
        if self.config.ndim == 3:
            z = z.astype(numpy_dtype(self.config.dtype)).astype(self.work)
        return super().affine(z, training)
