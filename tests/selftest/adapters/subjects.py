"""Two right layers that compute in unusual ways, and one with one fault, as a user might bring them.

They are judged by --backend FILE.py:CLASS, and import nothing of the suite.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def dtype_of(name: str) -> np.dtype[Any]:
    """NumPy's dtype of that name, bfloat16 included."""
    if name == "bfloat16":
        import ml_dtypes

        name = ml_dtypes.bfloat16
    return np.dtype(name)


class Layer:
    """What the three share: state, gradients, and float64 arithmetic for float64 input, float32 for any other."""

    def __init__(self, config: Any) -> None:
        self.config = config
        kept = dtype_of(config.param_dtype)
        self.work = np.dtype(np.float64 if "float64" in (config.dtype, config.param_dtype) else np.float32)
        ones, zeros = np.ones(config.num_features, kept), np.zeros(config.num_features, kept)
        tracked, affine = config.track_running_stats, config.affine
        self.entries: dict[str, Array | None] = {
            "running_mean": zeros.copy() if tracked else None,
            "running_var": ones.copy() if tracked else None,
            "num_batches_tracked": np.zeros((), np.int64) if tracked else None,
            "weight": ones.copy() if affine else None,
            "bias": zeros.copy() if affine else None,
        }

    def statistics(self, values: Array) -> tuple[Array, Array]:
        """Mean and biased variance of (n, C), n at least 2, each (C,)."""
        raise NotImplementedError

    def apply(self, values: Array, mean: Array, variance: Array, weight: Array, bias: Array) -> Array:
        """The normalised (n, C), times weight, plus bias."""
        raise NotImplementedError

    def memory_of(self, variance: Array, count: int) -> Array:
        """The variance to remember of a batch of `count` values a channel."""
        return variance * self.work.type(count / (count - 1))

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, as x in shape and dtype."""
        values = self._rows(x)
        with np.errstate(all="ignore"):
            if training or self.entries["running_mean"] is None:
                mean, variance = self._of_batch(values, x.shape)
            else:
                mean, variance = self._entry("running_mean"), self._entry("running_var")
            if training:
                self._remember(mean, variance, len(values))
            weight, bias = self._parameters()
            return self._back(self.apply(values, mean, variance, weight, bias), x)

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients of sum(y * grad_output); the running statistics stay."""
        if grad_output.shape != x.shape:
            raise ValueError(f"grad_output of shape {grad_output.shape} for x of shape {x.shape}")
        values, upstream = self._rows(x), self._rows(grad_output)
        from_batch = training or self.entries["running_mean"] is None
        with np.errstate(all="ignore"):
            if from_batch:
                mean, variance = self._of_batch(values, x.shape)
            else:
                mean, variance = self._entry("running_mean"), self._entry("running_var")
            scale = 1 / np.sqrt(variance + self.work.type(self.config.eps))
            z = (values - mean) * scale
            by_bias, by_weight = upstream.sum(axis=0), (upstream * z).sum(axis=0)
            gradient = upstream
            if from_batch and len(values):
                count = self.work.type(len(values))
                gradient = upstream - by_bias / count - z * (by_weight / count)
            grad_x = self._back(gradient * (scale * self._parameters()[0]), x)
        stored = self.entries["weight"]
        if stored is None:
            return grad_x, None, None
        return grad_x, by_weight.astype(stored.dtype), by_bias.astype(stored.dtype)

    def state(self) -> dict[str, Array | None]:
        """Copies of what the layer has."""
        return {name: None if value is None else value.copy() for name, value in self.entries.items()}

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Set what is given."""
        for name, value in state.items():
            current = self.entries[name]
            if current is None or value is None or value.shape != current.shape:
                raise ValueError(f"there is no such {name}")
        for name, value in state.items():
            current = self.entries[name]
            assert current is not None
            self.entries[name] = np.array(value, dtype=current.dtype)

    def _rows(self, x: Array) -> Array:
        """The values as (n, C), a row for each sample and position."""
        if x.ndim != self.config.ndim or x.shape[1] != self.config.num_features:
            raise ValueError(f"x of shape {x.shape} does not fit")
        return np.array(np.moveaxis(x, 1, -1), dtype=self.work).reshape(-1, self.config.num_features)

    def _back(self, rows: Array, x: Array) -> Array:
        shape = (x.shape[0], *x.shape[2:], x.shape[1])
        return np.array(np.moveaxis(rows.reshape(shape), -1, 1), dtype=x.dtype, order="C")

    def _of_batch(self, values: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        if len(values) == 0:
            return np.zeros(self.config.num_features, self.work), np.ones(self.config.num_features, self.work)
        if len(values) == 1:
            raise ValueError(f"one value per channel in {shape}")
        return self.statistics(values)

    def _entry(self, name: str) -> Array:
        value = self.entries[name]
        assert value is not None
        return value.astype(self.work)

    def _parameters(self) -> tuple[Array, Array]:
        if self.entries["weight"] is None:
            return np.ones(self.config.num_features, self.work), np.zeros(self.config.num_features, self.work)
        return self._entry("weight"), self._entry("bias")

    def _remember(self, mean: Array, variance: Array, count: int) -> None:
        counter = self.entries["num_batches_tracked"]
        if counter is None:
            return
        self.entries["num_batches_tracked"] = counter = counter + np.int64(1)
        if count == 0:
            return
        weight = self.work.type(1 / int(counter) if self.config.momentum is None else self.config.momentum)
        for name, value in (("running_mean", mean), ("running_var", self.memory_of(variance, count))):
            stored = self.entries[name]
            assert stored is not None
            self.entries[name] = ((1 - weight) * self._entry(name) + weight * value).astype(stored.dtype)


class WelfordLayer(Layer):
    """Mean and variance are updated value by value, and every value is normalised by a division."""

    def statistics(self, values: Array) -> tuple[Array, Array]:
        """One pass (Welford 1962)."""
        mean, squares = np.zeros_like(values[0]), np.zeros_like(values[0])
        for number, value in enumerate(values, 1):
            difference = value - mean
            mean = mean + difference / self.work.type(number)
            squares = squares + difference * (value - mean)
        return mean, squares / self.work.type(len(values))

    def apply(self, values: Array, mean: Array, variance: Array, weight: Array, bias: Array) -> Array:
        """(x - mean) / sqrt(var + eps), then weight and bias."""
        return np.asarray((values - mean) / np.sqrt(variance + self.work.type(self.config.eps)) * weight + bias)


class FoldedLayer(Layer):
    """In evaluation, as an inference engine has it: one scale and one shift a channel, x - mean never formed."""

    def statistics(self, values: Array) -> tuple[Array, Array]:
        """Two passes."""
        # In double precision: NumPy adds along the first axis one by one, and in single precision would lose count.
        mean = values.mean(axis=0, dtype=np.float64)
        return mean.astype(values.dtype), np.square(values - mean).mean(axis=0).astype(values.dtype)

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, as x in shape and dtype."""
        if training or self.entries["running_mean"] is None:
            return super().forward(x, training=training)
        weight, bias = self._parameters()
        with np.errstate(all="ignore"):
            scale = weight / np.sqrt(self._entry("running_var") + self.work.type(self.config.eps))
            shift = bias - self._entry("running_mean") * scale
            return self._back(self._rows(x) * scale + shift, x)

    def apply(self, values: Array, mean: Array, variance: Array, weight: Array, bias: Array) -> Array:
        """(x - mean) / sqrt(var + eps), then weight and bias."""
        factor = 1 / np.sqrt(variance + self.work.type(self.config.eps))
        return np.asarray((values - mean) * factor * weight + bias)


class ForgetfulLayer(FoldedLayer):
    """Its one fault: the variance is remembered as it normalised, with n instead of n - 1."""

    def memory_of(self, variance: Array, count: int) -> Array:
        """The biased variance."""
        return variance


class Welford:
    """A right implementation by Welford's algorithm."""

    name = "welford"
    deviations: Mapping[str, str] = {}
    unsupported: Mapping[str, str] = {}
    layer: type[Layer] = WelfordLayer

    def devices(self) -> list[str]:
        """The CPU."""
        return ["cpu"]

    def build(self, config: Any, device: str) -> Layer:
        """A layer."""
        return self.layer(config)

    def build_default(self, num_features: int, device: str) -> Layer:
        """A layer with the usual defaults."""
        return self.layer(SimpleNamespace(num_features=num_features, **DEFAULTS))


DEFAULTS = {
    "eps": 1e-5,
    "momentum": 0.1,
    "affine": True,
    "track_running_stats": True,
    "ndim": 4,
    "dtype": "float32",
    "param_dtype": "float32",
}


class Folded(Welford):
    """A right implementation that folds evaluation into scale and shift."""

    name = "folded"
    layer = FoldedLayer


class RemembersBiased(Welford):
    """A wrong implementation: it remembers the biased variance."""

    name = "remembers-biased"
    layer = ForgetfulLayer
